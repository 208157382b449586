"""migration, driven by the files of events/: from a request to a page of results, and the ledger out again."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

import analytics
import migration
import reconciliation
import upload
from stocktake.ids import now_ms
from stocktake.model import Record, State
from tests.functions.conftest import BODY, EXPORT_ID, KEY, MIGRATION_ID, OBJECT_ID, RECOUNT_ID, REGION, Scene, context, event

LINE = b'{"project_id": "proj_sunset", "id": "row 1", "url": "https://images.example.com/a.png"}\n'


def ask(scene: Scene, case: str, **changes: Any) -> tuple[int, Any]:
    return scene.api(migration.api_handler, f"migration/{case}", **changes)


def test_a_migration_goes_from_request_to_results_message_by_message(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: MIGRATION_ID)
    status, made = ask(scene, "create_with_source")
    assert (status, made["migration_id"], made["status"], made["phase"], made["batch"]) == (202, MIGRATION_ID, "WAITING", "import", 100)
    assert (made["upload"]["method"], made["upload"]["headers"]["Content-Length"]) == ("PUT", str(len(LINE)))
    assert (ask(scene, "start_migration")[0], ask(scene, "stop_migration")[0]) == (409, 409)
    boto3.client("s3", REGION).put_object(Bucket="stocktake-reports", Key=f"migrations/{MIGRATION_ID}/source", Body=LINE)
    status, started = ask(scene, "start_migration")
    assert (status, started["status"], started["upload"], started["started_at"][-1]) == (202, "RUNNING", None, "Z")
    assert scene.queued("migration_queue_url") == [{"migration_id": MIGRATION_ID, "turn": 1}]
    assert scene.call(migration.step_handler, "migration/step_migration") == {"batchItemFailures": []}
    status, ended = ask(scene, "get_migration")
    assert (status, ended["status"], ended["why"]) == (200, "COMPLETE", None)
    nothing = dict.fromkeys(("seen", "done", "skipped", "failed", "bytes", "inline", "external", "key"), 0)
    assert ended["totals"] == {
        "import": {**nothing, "seen": 1, "done": 1, "external": 1},
        "migrate": {**nothing, "seen": 1, "failed": 1},
    }
    status, page = ask(scene, "list_results")
    assert (status, page["cursor"]) == (200, None)
    [failed] = page["results"]
    assert (failed["phase"], failed["outcome"], failed["problem"]) == ("migrate", "failed", "urn:stocktake:problem:import-disabled")
    assert "ImportHosts" in failed["why"]
    status, listed = ask(scene, "list_migrations")
    assert [row["migration_id"] for row in listed["migrations"]] == [MIGRATION_ID]
    assert ask(scene, "start_migration")[1]["run"] == 2
    assert ask(scene, "stop_migration")[1]["status"] == "STOPPED"


def test_a_migration_without_a_source_begins_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: MIGRATION_ID)
    status, made = ask(scene, "create")
    assert (status, made["status"], made["source"], made["project_id"]) == (202, "RUNNING", None, "proj_sunset")
    assert scene.queued("migration_queue_url") == [{"migration_id": MIGRATION_ID, "turn": 1}]


def test_an_export_goes_from_request_to_its_file(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: EXPORT_ID)
    scene.an_object()
    status, made = ask(scene, "create_export")
    assert (status, made["export_id"], made["status"], made["files"]) == (202, EXPORT_ID, "RUNNING", [])
    assert scene.queued("migration_queue_url") == [{"export_id": EXPORT_ID}]
    assert scene.call(migration.step_handler, "migration/step_export") == {"batchItemFailures": []}
    status, export = ask(scene, "get_export")
    [file] = export["files"]
    assert (status, export["status"], export["lines"], export["bytes"]) == (200, "COMPLETE", 1, file["bytes"])
    assert f"/exports/{EXPORT_ID}/00000.jsonl?" in file["url"]
    body = boto3.client("s3", REGION).get_object(Bucket="stocktake-reports", Key=f"exports/{EXPORT_ID}/00000.jsonl")["Body"].read()
    assert json.loads(body)["object_id"] == OBJECT_ID


def test_a_message_of_a_migration_nobody_asked_for_goes_back_to_the_queue(scene: Scene) -> None:
    for case in ("step_migration", "step_export"):
        assert len(scene.call(migration.step_handler, f"migration/{case}")["batchItemFailures"]) == 1
    assert (ask(scene, "get_migration")[0], ask(scene, "get_export")[0]) == (404, 404)


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("create", {"body": '{"batch": 101}'}),
        ("create", {"body": '{"create_projects": true}'}),
        ("create", {"body": '{"foo": 1}'}),
        ("create_with_source", {"body": '{"source": {"format": "xml", "bytes": 1, "sha256": "00"}}'}),
        ("list_results", {"queryStringParameters": {"outcome": "imported"}}),
        ("list_migrations", {"queryStringParameters": {"limit": "0"}}),
        ("start_migration", {"body": '{"now": true}'}),
        ("create_export", {"body": '{"contents": "yes"}'}),
    ],
)
def test_what_is_not_known_or_not_possible_is_refused(scene: Scene, case: str, changes: dict[str, Any]) -> None:
    answer = migration.api_handler({**event(f"migration/{case}"), **changes}, context())
    assert (answer["statusCode"], json.loads(answer["body"])["type"]) == (400, "urn:stocktake:problem:invalid-request")


def test_bytes_that_lie_in_the_ledger_are_answered_with_where_a_redirect_was_asked_for(scene: Scene) -> None:

    project = scene.services.ledger.project("proj_sunset")
    at = now_ms()
    record = Record(
        KEY, OBJECT_ID, project.project_id, project.epoch, State.INLINE, len(BODY), at, at, etag="ab" * 32, content_type="image/png"
    )
    scene.services.ledger.move(None, record, gated=True, content=BODY)
    answer = scene.call(upload.handler, "upload/get_content_redirect")
    assert (answer["statusCode"], answer["isBase64Encoded"], answer["headers"]["Etag" if "Etag" in answer["headers"] else "ETag"]) == (
        200,
        True,
        f'"{"ab" * 32}"',
    )
    assert answer["headers"]["X-Content-Type-Options"] == "nosniff"
    external = scene.services.ledger.move(
        None,
        Record(
            "projects/proj_sunset/x.png",
            "o2",
            project.project_id,
            project.epoch,
            State.EXTERNAL,
            0,
            at,
            at,
            original_url="https://a.example/b",
        ),
        gated=True,
    )
    asked = event("upload/get_content_redirect")
    path = f"/objects/{external.object_id}/content"
    asked["rawPath"] = asked["requestContext"]["http"]["path"] = path
    answer = upload.handler(asked, context())
    assert (answer["statusCode"], answer["headers"]["Location"]) == (302, "https://a.example/b")


def test_a_recount_goes_from_request_to_its_differences(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: RECOUNT_ID)
    scene.an_object()
    assert ask(scene, "get_recount")[0] == 404
    status, made = ask(scene, "create_recount")
    assert (status, made["recount_id"], made["status"], made["repair"], made["shards"]) == (
        202,
        RECOUNT_ID,
        "RUNNING",
        True,
        {"done": 0, "of": 16},
    )
    assert scene.queued("migration_queue_url") == [{"recount_id": RECOUNT_ID}]
    assert scene.call(migration.step_handler, "migration/step_recount") == {"batchItemFailures": []}
    status, told = ask(scene, "get_recount")
    assert (status, told["status"], told["rows"], told["drifted"], told["finished_at"][-1]) == (200, "DONE", 16, [], "Z")
    status, listed = ask(scene, "list_recounts")
    assert (status, [row["recount_id"] for row in listed["recounts"]]) == (200, [RECOUNT_ID])
    status, overall = scene.api(analytics.handler, "analytics/overall")
    assert (overall["recounted_at"], overall["recount"]["recount_id"]) == (told["finished_at"], RECOUNT_ID)
    assert overall["by_type"] == [{"name": "image/png", "objects": 1, "bytes": len(BODY)}]


def test_a_day_keeps_its_counts_and_begins_a_recount(scene: Scene) -> None:
    scene.an_object()
    assert scene.call(migration.step_handler, "migration/begin_day") == {"batchItemFailures": []}
    (message,) = scene.queued("migration_queue_url")
    assert message["recount_id"].startswith("daily-20")
    status, history = scene.api(analytics.handler, "analytics/history")
    assert (status, [day["stored"]["objects"] for day in history["days"]], history["runs"]) == (200, [1], [])
    assert (history["days"][0]["at"][-1], history["days"][0]["bucket"]) == ("Z", None)


def test_a_complete_run_is_kept_in_the_history(scene: Scene) -> None:
    scene.an_object()
    run_id = scene.a_run("01KAHRUN000000000000000000")
    done = reconciliation.step_handler({"step": "summarise", "run_id": run_id}, context())
    assert done == {"run_id": run_id, "status": "COMPLETE"}
    _, history = scene.api(analytics.handler, "analytics/history")
    assert [(run["run_id"], run["records"]["objects"], run["bucket"]["objects"]) for run in history["runs"]] == [(run_id, 1, 1)]
    assert [day["bucket"]["run_id"] for day in history["days"]] == [run_id]
