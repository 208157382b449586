"""object_events, project_deletion, reconciliation and analytics, driven by the files of events/."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

import analytics
import migration
import project_deletion
import reconciliation
import upload
from stocktake import dashboard
from stocktake.errors import ConfigurationError, ConfirmationFailed
from stocktake.ids import now_ms
from stocktake.model import ProjectState
from stocktake.services import Services
from tests.functions.conftest import BODY, DELETION_ID, EVENTS, EXPORT_ID, KEY, REGION, RUN_ID, Scene, context, event, sent
from tests.inventories import Delivery, a_row
from tests.unit.test_edges import ENVIRONMENT


def remove(key: str = KEY) -> None:
    boto3.client("s3", REGION).delete_object(Bucket="stocktake-data", Key=key)


def put(key: str, body: bytes = BODY) -> None:
    boto3.client("s3", REGION).put_object(Bucket="stocktake-data", Key=key, Body=body)


# project_deletion


def test_a_dry_run_answers_what_would_go(scene: Scene) -> None:
    scene.an_object()
    status, plan = scene.api(project_deletion.api_handler, "project_deletion/dry_run")
    assert (status, plan["objects"], plan["keys"]) == (200, 1, [KEY])


@pytest.mark.parametrize("query", [{"dry_run": "yes"}, {"dryrun": "true"}, {"dry_run": "True"}, {"dry_run": ""}])
def test_a_mistyped_dry_run_is_refused_and_deletes_nothing(scene: Scene, query: dict[str, str]) -> None:
    scene.an_object()
    answer = project_deletion.api_handler({**event("project_deletion/delete_project"), "queryStringParameters": query}, context())
    assert (answer["statusCode"], json.loads(answer["body"])["type"]) == (400, "urn:stocktake:problem:invalid-request")
    assert scene.services.ledger.project("proj_sunset").state is ProjectState.ACTIVE


@pytest.mark.parametrize(
    ("handler", "case", "changes"),
    [
        (project_deletion.api_handler, "project_deletion/dry_run", {"queryStringParameters": {"dry_run": "true", "cursor": ""}}),
        (project_deletion.api_handler, "project_deletion/delete_project", {"body": '{"mode": "fast"}'}),
        (project_deletion.api_handler, "project_deletion/get_receipt", {"queryStringParameters": {"as": "pdf"}}),
        (project_deletion.api_handler, "project_deletion/get_remaining", {"queryStringParameters": {"cursor": ""}}),
        (project_deletion.api_handler, "project_deletion/replay_erasures", {"body": '{"foo": 1}'}),
        (project_deletion.api_handler, "project_deletion/diagnose_discovery", {"queryStringParameters": {"limit": "0"}}),
        (reconciliation.api_handler, "reconciliation/start", {"body": '{"foo": 1}'}),
        (reconciliation.api_handler, "reconciliation/get_findings", {"queryStringParameters": {"class": "nope"}}),
        (reconciliation.api_handler, "reconciliation/get_findings", {"queryStringParameters": {"first_seen_after": "yesterday"}}),
        (reconciliation.api_handler, "reconciliation/get_changes", {"queryStringParameters": None}),
        (reconciliation.api_handler, "reconciliation/apply", {"body": "{}"}),
        (analytics.handler, "analytics/list_deletions", {"queryStringParameters": {"limit": "0"}}),
    ],
)
def test_what_is_not_known_or_not_said_is_refused(scene: Scene, handler: Any, case: str, changes: dict[str, Any]) -> None:
    assert handler({**event(case), **changes}, context())["statusCode"] == 400


def test_a_deletion_goes_from_request_to_receipt_message_by_message(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: DELETION_ID)
    scene.an_object()
    put("proj_proj_sunset_s_media.mp4")
    status, deletion = scene.api(project_deletion.api_handler, "project_deletion/delete_project")
    assert (status, deletion["deletion_id"], deletion["reason"]) == (202, DELETION_ID, "the customer asked for it")
    assert "receipt" not in deletion
    assert scene.call(project_deletion.fan_out_handler, "project_deletion/discover") == {"batchItemFailures": []}
    assert scene.queued("deletion_batch_queue_url") == [{"deletion_id": DELETION_ID, "part": "batch#01#00000000"}]
    assert scene.call(project_deletion.worker_handler, "project_deletion/batch") == {"batchItemFailures": []}
    operation = scene.services.operations.get(DELETION_ID)
    assert operation is not None
    scene.services.operations.update(operation, document={**operation.document, "sweep_at": now_ms()})
    assert scene.call(project_deletion.fan_out_handler, "project_deletion/sweep") == {"batchItemFailures": []}
    status, deletion = scene.api(project_deletion.api_handler, "project_deletion/get_deletion")
    assert (status, deletion["status"], deletion["receipt"]["objects"]) == (200, "DELETED", 2)
    assert deletion["receipt"]["finished_at"].endswith("Z")
    answer = scene.call(project_deletion.api_handler, "project_deletion/get_receipt")
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, deletion["receipt"])
    assert scene.api(project_deletion.api_handler, "project_deletion/get_receipt")[0] == 200
    assert scene.api(project_deletion.api_handler, "project_deletion/get_receipt_to_print")[0] == 200
    assert answer["headers"]["Content-Disposition"] == f'attachment; filename="receipt-{DELETION_ID}.json"'
    page = scene.call(project_deletion.api_handler, "project_deletion/get_receipt_to_print")
    assert (page["statusCode"], page["headers"]["Content-Type"], DELETION_ID in page["body"]) == (200, "text/html; charset=utf-8", True)
    status, remaining = scene.api(project_deletion.api_handler, "project_deletion/get_remaining")
    assert (status, remaining["remaining"], remaining["cursor"]) == (200, [], None)
    status, verified = scene.api(project_deletion.api_handler, "project_deletion/verify_deletion")
    assert (status, verified["remaining"]["objects"]) == (200, 0)
    status, replayed = scene.api(project_deletion.api_handler, "project_deletion/replay_erasures")
    assert (status, replayed) == (200, {"dry_run": False, "complete": True, "tombstones": 0, "replayed": []})
    [tombstone] = boto3.client("s3", REGION).list_objects_v2(Bucket="stocktake-reports", Prefix="tombstones/")["Contents"]
    assert tombstone["Key"] == f"tombstones/999999999999-{DELETION_ID}.json"
    status, again = scene.api(project_deletion.api_handler, "project_deletion/delete_project")
    assert (status, again["receipt"]) == (200, deletion["receipt"])
    assert scene.call(project_deletion.fan_out_handler, "project_deletion/resume") == {"batchItemFailures": []}
    status, listed = scene.api(analytics.handler, "analytics/list_deletions")
    assert (status, [line["status"] for line in listed["deletions"]]) == (200, ["DELETED"])


def test_a_deletion_is_set_aside_undone_asked_for_again_and_erased_message_by_message(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: DELETION_ID)
    scene.services = Services({**scene.environment, "UNDO_DAYS": "1"})
    for module in (project_deletion, upload, analytics):
        monkeypatch.setattr(module, "services", scene.services)
    before = scene.an_object()
    status, plan = scene.api(project_deletion.api_handler, "project_deletion/dry_run")
    assert (status, plan["undo_seconds"]) == (200, 86_400)
    status, deletion = scene.api(project_deletion.api_handler, "project_deletion/delete_project")
    assert (status, deletion["status"], deletion["round"], deletion["erases_at"] > deletion["requested_at"]) == (202, "REQUESTED", 0, True)
    taken = {"batchItemFailures": list[str]()}
    assert scene.call(project_deletion.fan_out_handler, "project_deletion/set_aside") == taken
    assert scene.queued("deletion_batch_queue_url") == [{"deletion_id": DELETION_ID, "part": "aside#00000000"}]
    assert scene.call(project_deletion.worker_handler, "project_deletion/batch_aside") == taken
    assert scene.call(project_deletion.fan_out_handler, "project_deletion/set_aside") == taken  # adds it up
    assert scene.call(project_deletion.fan_out_handler, "project_deletion/windows") == taken  # a day early
    status, deletion = scene.api(project_deletion.api_handler, "project_deletion/get_deletion")
    assert (status, deletion["status"], deletion["set_aside"]["objects"], deletion["batches"]["done"]) == (200, "HELD", 1, 1)
    assert scene.services.store.head(KEY) is None
    assert scene.api(upload.handler, "upload/get_content")[0] == scene.api(upload.handler, "upload/get_object")[0] == 404
    assert scene.api(project_deletion.api_handler, "project_deletion/verify_deletion")[1]["status"] == "HELD"
    assert scene.api(project_deletion.api_handler, "project_deletion/get_remaining")[1]["remaining"] == []
    status, deletion = scene.api(project_deletion.api_handler, "project_deletion/undo_deletion")
    assert (status, deletion["status"]) == (202, "RESTORING")
    operation = scene.services.operations.get(DELETION_ID)
    assert operation is not None
    scene.services.operations.update(operation, document={**operation.document, "restore_at": now_ms()})
    for handler, case in (
        (project_deletion.fan_out_handler, "undo"),
        (project_deletion.worker_handler, "batch_back"),
        (project_deletion.fan_out_handler, "undo"),
    ):
        assert scene.call(handler, f"project_deletion/{case}") == taken
    status, deletion = scene.api(project_deletion.api_handler, "project_deletion/undo_deletion")
    assert (status, deletion["status"], deletion["undone"]["objects"]) == (200, "UNDONE", 1)
    assert scene.api(upload.handler, "upload/get_object")[0] == 200
    after = scene.services.ledger.record(KEY)
    assert after is not None
    assert replace(after, version=before.version) == before
    monkeypatch.setattr("stocktake.services.new_id", lambda at: "01KAHDELETE000000000000001")
    monkeypatch.setattr(project_deletion, "services", Services(scene.services._environment))
    status, deletion = scene.api(project_deletion.api_handler, "project_deletion/delete_project", body='{"undo": false}')
    assert (status, deletion["round"], deletion["erases_at"]) == (202, 1, None)
    status, listed = scene.api(analytics.handler, "analytics/list_deletions")
    assert (status, sorted(line["status"] for line in listed["deletions"])) == (200, ["REQUESTED", "UNDONE"])


def test_there_is_no_receipt_and_nothing_remains_before_the_final_sweep(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: DELETION_ID)
    scene.api(project_deletion.api_handler, "project_deletion/delete_project")
    for case in ("get_receipt", "get_remaining"):
        status, problem = scene.api(project_deletion.api_handler, f"project_deletion/{case}")
        assert (status, problem["type"]) == (409, "urn:stocktake:problem:conflict")


def test_a_diagnosis_shows_both_ways_of_looking_and_deletes_nothing(scene: Scene) -> None:
    scene.an_object()
    put("proj_proj_sunset_s_media.mp4")
    status, found = scene.api(project_deletion.api_handler, "project_deletion/diagnose_discovery")
    assert (status, found["found"]["both"]["objects"], [line["key"] for line in found["only_one"]]) == (
        200,
        1,
        ["proj_proj_sunset_s_media.mp4"],
    )
    assert scene.services.ledger.project("proj_sunset").state is ProjectState.ACTIVE


def test_a_cursor_without_a_dry_run_is_refused_and_deletes_nothing(scene: Scene) -> None:
    status, problem = scene.api(project_deletion.api_handler, "project_deletion/delete_project", queryStringParameters={"cursor": "YQ"})
    assert (status, problem["type"]) == (400, "urn:stocktake:problem:invalid-request")
    assert scene.services.ledger.project("proj_sunset").state is ProjectState.ACTIVE


def test_a_message_of_a_deletion_nobody_asked_for_goes_back_to_the_queue(scene: Scene) -> None:
    for handler, case in ((project_deletion.fan_out_handler, "discover"), (project_deletion.worker_handler, "batch")):
        failed = scene.call(handler, f"project_deletion/{case}")
        assert len(failed["batchItemFailures"]) == 1
    assert scene.api(project_deletion.api_handler, "project_deletion/get_deletion")[0] == 404


# reconciliation


def test_a_run_goes_from_request_to_repair_step_by_step(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [RUN_ID]
    monkeypatch.setattr("stocktake.services.new_id", lambda at: ids[0])
    hour = 3_600_000
    monkeypatch.setattr("stocktake.services.now_ms", lambda: now_ms() + hour)
    scene.an_object()
    remove()
    put(orphan := "projects/proj_sunset/scenes/s/media/orphan.png")
    earlier = scene.a_run("01KAHEAR1YER00000000000000")
    assert scene.services.reconciliations.run(earlier).status == "COMPLETE"
    hour *= 2
    status, run = scene.api(reconciliation.api_handler, "reconciliation/start")
    assert (status, run["run_id"], run["status"]) == (202, RUN_ID, "REQUESTED")
    assert scene.launched == [{"action": "compare", "run_id": RUN_ID}]
    plan = reconciliation.step_handler({**event("reconciliation/step_plan"), "run_id": RUN_ID}, context())
    piece = {"run_id": RUN_ID, "number": 0, "steps": 0, "done": False}
    assert plan == {"run_id": RUN_ID, "ranges": [piece], "walks": True, "sorts": False, "workers": 6}
    assert scene.api(reconciliation.api_handler, "reconciliation/get_run")[1]["progress"]["keys"] == 0
    ids[0] = "01KAHRECNC0000000000000001"
    status, problem = scene.api(reconciliation.api_handler, "reconciliation/start")
    assert (status, problem["type"]) == (409, "urn:stocktake:problem:run-in-progress")
    ids[0] = RUN_ID
    assert scene.call(reconciliation.step_handler, "reconciliation/step_walk")["done"] is True
    again = reconciliation.step_handler({**event("reconciliation/step_plan"), "step": "plan_again", "run_id": RUN_ID}, context())
    assert (again["ranges"], again["walks"]) == ([], False)
    assert scene.call(reconciliation.step_handler, "reconciliation/step_compare_runs")["done"] is True
    assert scene.call(reconciliation.step_handler, "reconciliation/step_summarise")["status"] == "COMPLETE"
    status, run = scene.api(reconciliation.api_handler, "reconciliation/get_run")
    assert (run["status"], run["counts"]["missing"]["objects"], run["counts"]["orphan"]["objects"]) == ("COMPLETE", 1, 1)
    counted = run["cost"]["counted"]
    assert min(counted["requests"][kind] for kind in ("list", "get", "query", "read", "write", "transaction")) > 0
    assert (counted["ledger_units"]["read"] > 0, counted["usd"] is not None) == (True, True)
    status, page = scene.api(reconciliation.api_handler, "reconciliation/get_findings")
    assert (status, [finding["key"] for finding in page["findings"]]) == (200, [KEY])
    images = {"queryStringParameters": {"urls": "true"}}
    status, seen = scene.api(reconciliation.api_handler, "reconciliation/get_findings", **images)
    assert (status, [finding["key"] for finding in seen["findings"] if "url" in finding]) == (200, [orphan])
    assert (run["changes"]["since"], run["changes"]["unchanged"]) == (earlier, {"missing": 1, "orphan": 1})
    status, changes = scene.api(reconciliation.api_handler, "reconciliation/get_changes")
    assert (status, changes["findings"]) == (200, [])
    status, counted = scene.api(reconciliation.api_handler, "reconciliation/get_projects")
    assert (status, [line["project"] for line in counted["projects"]]) == (200, ["sunset"])
    monkeypatch.setattr("stocktake.services.new_id", lambda at: EXPORT_ID)
    status, export = scene.api(migration.api_handler, "migration/create_findings_export")
    assert (status, export["run_id"], export["format"]) == (202, RUN_ID, "csv")
    status, plan = scene.api(reconciliation.api_handler, "reconciliation/plan")
    assert (status, [line["count"] for line in plan["actions"]]) == (200, [1, 1])
    assert scene.api(reconciliation.api_handler, "reconciliation/apply")[0] == 202
    assert scene.launched[-1] == {"action": "apply", "run_id": RUN_ID, "turn": 1}
    assert scene.call(reconciliation.step_handler, "reconciliation/step_apply")["done"] is True
    status, run = scene.api(reconciliation.api_handler, "reconciliation/get_run")
    assert run["repair"]["done"] == {"MARK_MISSING": 1, "QUARANTINE": 1}
    status, page = scene.api(reconciliation.api_handler, "reconciliation/list_actions")
    assert [(line["class"], line["result"]) for line in page["actions"]] == [("missing", "done"), ("orphan", "done")]
    status, quarantine = scene.api(reconciliation.api_handler, "reconciliation/list_quarantine")
    [entry] = quarantine["entries"]
    asked = event("reconciliation/restore")
    asked["rawPath"] = f"/quarantine/{entry['entry_id']}/restore"
    answer = reconciliation.api_handler(asked, context())
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (200, "RESTORED")
    status, runs = scene.api(reconciliation.api_handler, "reconciliation/list_runs")
    assert [line["run_id"] for line in runs["reconciliations"]] == [RUN_ID, earlier]
    assert scene.call(reconciliation.step_handler, "reconciliation/step_fail_apply")["status"] == "FAILED"
    asked = event("reconciliation/apply") | {"body": json.dumps({"plan_id": plan["plan_id"]})}
    answer = reconciliation.api_handler(asked, context())
    assert (answer["statusCode"], json.loads(answer["body"])["type"]) == (409, "urn:stocktake:problem:conflict")
    status, problem = scene.api(reconciliation.api_handler, "reconciliation/stop")
    assert (status, problem["type"]) == (409, "urn:stocktake:problem:conflict")


def test_a_run_that_was_stopped_walks_nothing_and_the_next_one_may_begin(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: RUN_ID)
    scene.api(reconciliation.api_handler, "reconciliation/start")
    status, run = scene.api(reconciliation.api_handler, "reconciliation/stop")
    assert (status, run["status"]) == (200, "STOPPED")
    plan = reconciliation.step_handler({**event("reconciliation/step_plan"), "run_id": RUN_ID}, context())
    assert (plan["ranges"], plan["walks"]) == ([], False)
    assert scene.call(reconciliation.step_handler, "reconciliation/step_plan")["walks"] is True


def test_a_dry_run_says_what_a_run_would_cost_and_starts_none(scene: Scene) -> None:
    status, estimate = scene.api(reconciliation.api_handler, "reconciliation/start", body='{"dry_run": true}')
    assert (status, estimate["by_run"], estimate["ranges"]) == (200, None, 1)
    assert scene.launched == []


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
def test_a_run_may_compare_an_inventory_in_place_of_a_listing(scene: Scene, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: RUN_ID)
    monkeypatch.setattr("stocktake.services.now_ms", lambda: now_ms() + 3_600_000)
    scene.an_object()
    put("backup.tar")
    s3 = boto3.client("s3", REGION)
    rows = [a_row(found, "stocktake-data") for page in scene.services.store.list() for found in page]
    inventory = Delivery(
        "stocktake-reports",
        lambda key, body: s3.put_object(Bucket="stocktake-reports", Key=key, Body=body),
        rows,
        now_ms() + 1_800_000,
        source="stocktake-data",
        form=form,
    )
    body = json.dumps({"inventory": inventory.deliver()})
    both = event("reconciliation/start") | {"body": json.dumps({**json.loads(body), "dry_run": True})}
    assert reconciliation.api_handler(both, context())["statusCode"] == 400
    status, run = scene.api(reconciliation.api_handler, "reconciliation/start", body=body)
    assert (status, run["inventory"]["files"], run["inventory"]["sorted"]) == (202, 3, 0)
    planned = reconciliation.step_handler({**event("reconciliation/step_plan"), "run_id": RUN_ID}, context())
    assert planned["sorts"] is True
    while not scene.call(reconciliation.step_handler, "reconciliation/step_sort_inventory")["done"]:
        pass
    assert scene.call(reconciliation.step_handler, "reconciliation/step_walk")["done"] is True
    assert scene.call(reconciliation.step_handler, "reconciliation/step_compare_runs")["done"] is True
    assert scene.call(reconciliation.step_handler, "reconciliation/step_summarise")["run_id"] == RUN_ID
    run = scene.api(reconciliation.api_handler, "reconciliation/get_run")[1]
    assert (run["status"], run.get("why")) == ("COMPLETE", None)
    assert (run["inventory"]["sorted"], run["counts"]["matched"]["objects"], run["counts"]["unknown"]["objects"]) == (3, 1, 1)


def test_an_inventory_that_cannot_be_compared_is_refused_by_name(scene: Scene) -> None:
    status, problem = scene.api(reconciliation.api_handler, "reconciliation/start", body='{"inventory": "s3://elsewhere/a/manifest.json"}')
    assert (status, problem["type"]) == (400, "urn:stocktake:problem:inventory-unusable")
    assert "InventoryBucketName" in problem["detail"] and scene.launched == []


def test_a_bucket_says_whether_it_is_the_ledgers(scene: Scene) -> None:
    status, seen = scene.api(reconciliation.api_handler, "reconciliation/get_identity")
    assert (status, seen["status"], seen["bucket_id"]) == (200, "ok", seen["known_bucket_id"])


@pytest.mark.parametrize(
    "body", [{}, {"plan": {"missing": "forget"}, "policy": "safe"}, {"policy": "bold"}, {"plan": {"unknown": "delete"}}]
)
def test_what_to_repair_is_said_in_one_way_and_in_words_that_are_known(scene: Scene, body: dict[str, Any]) -> None:
    for case in ("plan", "apply"):
        answer = reconciliation.api_handler(event(f"reconciliation/{case}") | {"body": json.dumps(body)}, context())
        assert (answer["statusCode"], json.loads(answer["body"])["type"]) == (400, "urn:stocktake:problem:invalid-request")


def test_what_is_acknowledged_is_listed_and_reported_again_once_that_is_revoked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.now_ms", lambda: now_ms() + 3_600_000)
    put("backup.tar")
    scene.a_run(RUN_ID)
    asked = event("reconciliation/apply") | {"body": json.dumps({"plan": {"unknown": "acknowledge"}, "first_run": True})}
    assert reconciliation.api_handler(asked, context())["statusCode"] == 202
    assert scene.call(reconciliation.step_handler, "reconciliation/step_apply")["done"] is True
    counts = scene.services.reconciliations.run(scene.a_run("01KAHLATER0000000000000000")).document["counts"]
    assert (counts["acknowledged"]["objects"], "unknown" in counts) == (1, False)
    status, page = scene.api(reconciliation.api_handler, "reconciliation/list_acknowledgements")
    assert (status, [row["key"] for row in page["acknowledgements"]]) == (200, ["backup.tar"])
    asked = event("reconciliation/revoke_acknowledgement")
    asked["rawPath"] = f"/acknowledgements/{page['acknowledgements'][0]['acknowledgement_id']}"
    answer = reconciliation.api_handler(asked, context())
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (200, "REVOKED")
    assert reconciliation.api_handler(asked, context())["statusCode"] == 404
    assert scene.api(reconciliation.api_handler, "reconciliation/list_acknowledgements")[1]["acknowledgements"] == []


def test_what_a_run_set_aside_is_taken_back_by_one_request(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.now_ms", lambda: now_ms() + 3_600_000)
    put("projects/proj_sunset/scenes/s/media/orphan.png")
    scene.a_run(RUN_ID)
    store = scene.services.store
    [key] = [row.key for page in store.list("projects/") for row in page]
    stored = store.head(key)
    assert stored is not None
    scene.services.quarantine.set_aside(key, stored.etag, stored, run_id=RUN_ID, why="a test")
    [finding] = scene.services.operations.all_parts(RUN_ID, "finding#orphan#")
    scene.services.operations.update(finding, status="QUARANTINE")
    status, restoration = scene.api(reconciliation.api_handler, "reconciliation/restore_run")
    assert (status, restoration["status"]) == (202, "RUNNING")
    assert scene.launched == [{"action": "apply", "run_id": RUN_ID, "turn": "restore-1"}]
    assert scene.call(reconciliation.step_handler, "reconciliation/step_apply")["done"] is True
    status, run = scene.api(reconciliation.api_handler, "reconciliation/get_run")
    assert (run["restoration"]["restored"], run["restoration"]["failed"]) == (1, 0)
    asked = event("reconciliation/list_quarantine") | {"queryStringParameters": {"run": RUN_ID, "status": "RESTORED", "project": "sunset"}}
    answer = reconciliation.api_handler(asked, context())
    assert [entry["key"] for entry in json.loads(answer["body"])["entries"]] == [key]


def test_a_drill_is_run_by_request_and_by_its_schedule_and_its_failure_is_an_error(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    status, drill = scene.api(reconciliation.api_handler, "reconciliation/drill")
    assert (status, drill["status"], drill["differences"]) == (200, "PASSED", [])
    assert scene.call(reconciliation.step_handler, "reconciliation/step_drill")["status"] == "PASSED"
    monkeypatch.setattr(type(scene.services.store), "copy", lambda *_, **__: None)
    with pytest.raises(ConfirmationFailed, match="gone from the bucket"):
        scene.call(reconciliation.step_handler, "reconciliation/step_drill")
    status, page = scene.api(reconciliation.api_handler, "reconciliation/list_drills")
    assert [row["status"] for row in page["drills"]] == ["FAILED", "PASSED", "PASSED"]
    assert 0 <= page["age_seconds"] < 60


def test_the_schedule_purges_only_after_a_whole_run(scene: Scene) -> None:
    assert "nothing is purged" in scene.call(reconciliation.step_handler, "reconciliation/step_purge")["why"]
    scene.a_run(RUN_ID)
    assert scene.call(reconciliation.step_handler, "reconciliation/step_purge") == {"purged": 0, "kept": 0}


def test_a_scheduled_run_comes_without_an_id_and_retried_keeps_the_one_it_got(scene: Scene) -> None:
    first = scene.call(reconciliation.step_handler, "reconciliation/step_plan")
    second = scene.call(reconciliation.step_handler, "reconciliation/step_plan")
    assert first == second
    assert len(scene.services.reconciliations.recent(10)) == 1


def test_a_run_that_broke_off_says_why(scene: Scene) -> None:
    assert scene.call(reconciliation.step_handler, "reconciliation/step_fail")["status"] == "FAILED"
    run = scene.services.reconciliations.run(RUN_ID)
    assert "the store did not answer" in run.document["why"]
    status, problem = scene.api(reconciliation.api_handler, "reconciliation/apply")
    assert (status, problem["type"]) == (409, "urn:stocktake:problem:run-incomplete")
    assert scene.api(reconciliation.api_handler, "reconciliation/restore")[0] == 404


# analytics


def test_counts_are_answered_overall_and_by_project(scene: Scene) -> None:
    scene.an_object()
    status, overall = scene.api(analytics.handler, "analytics/overall")
    assert (status, overall["stored"], overall["bucket"]) == (200, {"objects": 1, "bytes": len(BODY)}, None)
    status, project = scene.api(analytics.handler, "analytics/of_project")
    assert (status, project["counts"]["STORED"]["objects"]) == (200, 1)


def test_the_dashboard_may_run_itself_and_show_images_of_the_bucket(scene: Scene) -> None:
    answer = scene.call(analytics.handler, "analytics/dashboard")
    assert (answer["statusCode"], answer["body"], answer["headers"]["Content-Type"]) == (200, dashboard.page(), "text/html; charset=utf-8")
    assert answer["headers"]["Content-Security-Policy"].endswith("; img-src data: https://stocktake-data.s3.eu-north-1.amazonaws.com")


def test_the_dashboard_comes_without_images_where_a_setting_is_malformed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analytics, "services", Services({**scene.environment, "GRACE_MARGIN_SECONDS": "an hour"}))
    answer = scene.call(analytics.handler, "analytics/dashboard")
    assert (answer["statusCode"], answer["body"]) == (200, dashboard.page())
    assert answer["headers"]["Content-Security-Policy"].endswith("; img-src data:")


def test_the_dashboard_comes_small_to_who_can_unpack_it(scene: Scene) -> None:
    asked = sent("analytics/dashboard", headers={"accept-encoding": "gzip, br"})
    answer = analytics.handler(asked, context())
    assert answer["headers"]["Content-Encoding"] == "gzip"
    assert gzip.decompress(base64.b64decode(answer["body"])).decode() == dashboard.page()
    assert len(answer["body"]) < 100_000


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({}, "https://stocktake-data.s3.eu-north-1.amazonaws.com"),
        ({"STORAGE_ADDRESSING": "path"}, "https://s3.eu-north-1.amazonaws.com"),
        ({"STORAGE_ENDPOINT": "http://127.0.0.1:8333", "STORAGE_ADDRESSING": "path"}, "http://127.0.0.1:8333"),
    ],
)
def test_the_dashboard_names_where_signed_urls_lie_and_no_secret_is_read_for_that(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], origin: str
) -> None:
    secret = {"STORAGE_CREDENTIALS_SECRET": "nobody's"} if "STORAGE_ENDPOINT" in changes else {}
    services = Services({**scene.environment, **secret, **changes})
    assert services.image_origin == origin
    monkeypatch.setitem(vars(services), "_store_keys", ("AK", "SK"))
    assert services.store.presign_get("a key", seconds=60).startswith(f"{origin}/")


# the composition root


def test_credentials_come_from_the_secret_that_is_named(scene: Scene) -> None:
    secrets = boto3.client("secretsmanager", REGION)
    arn = secrets.create_secret(Name="storage", SecretString='{"access_key_id": "AK", "secret_access_key": "SK"}')["ARN"]
    settings = scene.services.settings
    foreign = {
        **ENVIRONMENT,
        "AWS_REGION": REGION,
        "STORAGE_ENDPOINT": "https://store.example",
        "STORAGE_CREDENTIALS_SECRET": arn,
        "OBJECTS_TABLE": settings.objects_table,
        "PROJECTS_TABLE": settings.projects_table,
        "OPERATIONS_TABLE": settings.operations_table,
    }
    url = Services(foreign).store.presign_get("k", seconds=60)
    assert url.startswith("https://") and "store.example" in url and "Credential=AK" in url
    secrets.put_secret_value(SecretId=arn, SecretString="hunter2")
    with pytest.raises(ConfigurationError, match="must hold JSON") as refused:
        Services(foreign).store.presign_get("k", seconds=60)
    assert "hunter2" not in repr(refused.value) + repr(refused.value.__cause__)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Services({**foreign, "STORAGE_CREDENTIALS_SECRET": "arn:aws:secretsmanager:eu-north-1:123456789012:secret:none-abcdef"}).store.head(
            "k"
        )


def test_what_a_store_can_do_is_known_to_every_process(scene: Scene) -> None:
    assert scene.services.conformance.known() == scene.services.store.known_profile()
    assert Services(scene.environment).store.known_profile() == scene.services.store.known_profile()


@pytest.mark.parametrize(
    "kept", [{"conditional_put": True}, {"store": "AWS S3 stocktake-data", "version": 1, "probed_at": 1, "noted": [], "profile": {}}]
)
def test_what_an_older_version_kept_of_a_store_is_tried_again(scene: Scene, kept: dict[str, Any]) -> None:
    scene.services.operations.put("settings", "store-profile", None, kept, created_at=0, status="KNOWN")
    assert Services(scene.environment).store.profile().ordered_listing
    assert Services(scene.environment).conformance.known() is not None


def test_what_was_kept_of_another_store_is_tried_again(scene: Scene) -> None:
    elsewhere = Services({**scene.environment, "STORAGE_BUCKET": "stocktake-reports"})
    assert elsewhere.conformance.known() is None


def test_conformance_says_what_the_store_can_do_and_what_that_chooses(scene: Scene) -> None:
    status, known = scene.api(reconciliation.api_handler, "reconciliation/get_conformance")
    assert (status, known["store"]) == (200, "AWS S3 stocktake-data")
    lines = {line["name"]: line for line in known["lines"]}
    assert {name: line["holds"] for name, line in lines.items()} == scene.services.store.known_profile().as_dict()
    assert "before the copy" in lines["conditional_copy"]["chooses"]

    status, tried = scene.api(reconciliation.api_handler, "reconciliation/get_conformance", queryStringParameters={"fresh": "true"})
    assert status == 200
    assert tried["probed_at"] > known["probed_at"]
    assert {line["name"] for line in tried["lines"] if line["holds"]} > {"ordered_listing", "names_deleted", "lists_uploads"}


def test_every_event_file_is_driven_by_a_test() -> None:
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    unused = [path.stem for path in EVENTS.glob("*/*.json") if path.stem not in source]
    assert unused == []


def test_the_contract_is_served_and_known_by_its_tag(scene: Scene) -> None:
    for name, start in (("analytics/openapi", '{"openapi":"3.1.0"'), ("analytics/docs", "<!doctype html>")):
        answer = scene.call(analytics.handler, name)
        assert (answer["statusCode"], answer["body"][: len(start)]) == (200, start)
        status, _ = scene.api(analytics.handler, name, headers={"if-none-match": answer["headers"]["ETag"]})
        assert status == 304
    status, problem = scene.api(analytics.handler, "analytics/openapi", queryStringParameters={"format": "yaml"})
    assert (status, problem["type"]) == (400, "urn:stocktake:problem:invalid-request")


def test_an_id_that_is_longer_than_any_is_refused_and_not_asked_of_the_ledger(scene: Scene) -> None:
    long = "x" * 3000
    for handler, name, path in (
        (analytics.handler, "analytics/of_project", f"/projects/{long}/analytics"),
        (project_deletion.api_handler, "project_deletion/delete_project", f"/projects/{long}"),
        (project_deletion.api_handler, "project_deletion/get_deletion", f"/deletions/{long}"),
        (project_deletion.api_handler, "project_deletion/get_receipt", f"/deletions/{long}/receipt"),
        (project_deletion.api_handler, "project_deletion/get_remaining", f"/deletions/{long}/remaining"),
        (project_deletion.api_handler, "project_deletion/verify_deletion", f"/deletions/{long}/verify"),
        (project_deletion.api_handler, "project_deletion/diagnose_discovery", f"/diagnostics/projects/{long}/discovery"),
        (reconciliation.api_handler, "reconciliation/get_run", f"/reconciliations/{long}"),
        (reconciliation.api_handler, "reconciliation/get_findings", f"/reconciliations/{long}/findings"),
        (reconciliation.api_handler, "reconciliation/get_changes", f"/reconciliations/{long}/changes"),
        (reconciliation.api_handler, "reconciliation/get_projects", f"/reconciliations/{long}/projects"),
        (migration.api_handler, "migration/create_findings_export", f"/reconciliations/{long}/export"),
        (reconciliation.api_handler, "reconciliation/apply", f"/reconciliations/{long}/apply"),
        (reconciliation.api_handler, "reconciliation/restore", f"/quarantine/{long}/restore"),
    ):
        assert scene.api(handler, name, path=path)[0] == 400, path
