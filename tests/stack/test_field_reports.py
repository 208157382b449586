"""Five teams whose bucket and database drifted apart, and what would have become of it with Stocktake, told as their operators would have
seen it: by the command line, and by the API where that is what an application calls. docs/field-reports.md tells the same in words.

The numbers are the reports' own. What has to be older than the grace window is planted first, and ages while other stories are told; bucket
and ledger are compared twice in all, for every story at once.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.stack.api import (
    GRACE_SECONDS,
    Run,
    asked,
    at_the_terminal,
    begun,
    call,
    configured,
    counts,
    events_taken,
    keys,
    opened,
    refused,
    send,
    uploaded,
    without_events,
)
from tests.unit.world import an_image
from tools.stack import Settings, Stack
from tools.stack.settings import REGION

YEAR = "public, max-age=31536000, immutable"
CDN = "https://images.z-interact.example"
PROVIDER = "https://images.provider.example/ephemeral/4711.png"


@dataclass(frozen=True)
class Wreck:
    """What is wrong before anybody looks, by the team whose it is, and since when.

    `dashboard` has 19 records and 15 objects, `strays` two objects that nobody recorded. `misled` sent 12 objects while the region was set
    wrong; `rows` has 12 records without an object, and beside them `rescued` are six objects without a record. `doomed` is full of what
    older versions left, and `neighbour` is called almost like it.
    """

    dashboard: str
    never_sent: dict[str, Any]
    inline: dict[str, Any]
    external_key: str
    public: dict[str, Any]
    lost_key: str
    strays: str
    stray_keys: list[str]
    misled: str
    misdirected: list[dict[str, Any]]
    rows: str
    row_keys: list[str]
    rescued: list[str]
    doomed: str
    neighbour: str
    left_by_older_versions: list[str]
    at: float


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stocktake(stack: Stack, stack_settings: Settings, home: Path) -> Iterator[Run]:
    with at_the_terminal(stack, stack_settings, home) as run:
        yield run


@pytest.fixture(scope="module", autouse=True)
def wreck(stack: Stack, stocktake: Run, tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    bucket, folder = stack.bucket_client(), tmp_path_factory.mktemp("wreck")
    dashboard, strays, misled, rows = (opened(stack) for _ in range(4))
    tag = dashboard.partition("-")[2]
    layout = {"name": "session", "persona": f"realtor-{tag}"}
    row_keys = [record["key"] for record in batch(stack, rows, [item(n, layout=layout) for n in range(12)])]
    # 16 images are stored, a 17th keeps its provider's URL, an 18th is announced and never sent, a 19th comes while storage is switched off
    stored = batch(stack, dashboard, [item(n) for n in range(16)])
    _, imported = stocktake("import", written(folder / "rows.jsonl", [{"project_id": dashboard, "url": PROVIDER}]), "--project", dashboard)
    assert imported["result"]["migration"]["totals"]["import"]["external"] == 1
    external_key = next(
        of["key"] for of in call(stack, "GET", f"/projects/{dashboard}/objects", 200)["objects"] if of["state"] == "EXTERNAL"
    )
    never_sent = begun(stack, dashboard, an_image(17))
    with configured(stack, ENABLE_STORAGE="false", PUBLIC_BASE_URL=CDN):
        inline = uploaded(stack, dashboard, an_image(18))
        public = call(stack, "GET", f"/objects/{stored[1]['object_id']}", 200)
    with configured(stack, STORAGE_REGION="eu-north-1"):
        twelve = {"objects": [item(n) for n in range(12)]}
        misdirected = call(stack, "POST", f"/projects/{misled}/objects/batch", 207, json=twelve)["results"]
    doomed, neighbour = f"proj_{tag}", f"proj_{tag}0"
    for project in (doomed, neighbour):
        call(stack, "POST", "/projects", 201, json={"project_id": project})
        batch(stack, project, [item(n) for n in range(2)])
    left = [
        *(f"projects/{doomed}/scenes/SCENE_{n}/media/still.png" for n in range(2)),
        *(f"proj_proj_{tag}_scene{n}_media.mp4" for n in range(2)),
        f"proj_{tag}_scene1_media.mp4",
        f"audio/{doomed}/SCENE_1/voice.mp3",
    ]
    stray_keys = [f"projects/{strays}/scenes/s1/media/{name}.png" for name in ("kept", "junk")]
    rescued = [f"images/guest-{tag}/{1761529430465 + n}-3by50ra1{n}.png" for n in range(6)]
    events_taken(stack)
    with without_events(stack):
        for key in (*left, *stray_keys, *rescued):
            bucket.put_object(Bucket=stack.bucket, Key=key, Body=an_image(99), ContentType="image/png")
        for key in (stored[0]["key"], *row_keys):
            bucket.delete_object(Bucket=stack.bucket, Key=key)
    return Wreck(
        dashboard=dashboard,
        never_sent=never_sent,
        inline=inline,
        external_key=external_key,
        lost_key=stored[0]["key"],
        public=public,
        strays=strays,
        stray_keys=stray_keys,
        misled=misled,
        misdirected=misdirected,
        rows=rows,
        row_keys=row_keys,
        rescued=rescued,
        doomed=doomed,
        neighbour=neighbour,
        left_by_older_versions=left,
        at=time.monotonic(),
    )


@pytest.fixture(scope="module")
def looked(stocktake: Run, wreck: Wreck) -> tuple[str, float]:
    """Compares bucket and ledger once all of the wreck is older than the grace window; returns the run, and when it had ended."""
    return compared(stocktake, wreck.at), time.monotonic()


@pytest.fixture(scope="module")
def first_look(looked: tuple[str, float]) -> str:
    return looked[0]


@pytest.fixture(scope="module")
def second_look(stocktake: Run, looked: tuple[str, float]) -> str:
    """Compares once more: what moves objects wants them seen twice, a grace window apart."""
    return compared(stocktake, looked[1])


# ---- a deleted project left files behind (004), first half


@pytest.fixture(scope="module")
def deletion(stack: Stack, stocktake: Run, wreck: Wreck) -> dict[str, Any]:
    """Has the doomed project deleted, key after key. Its receipt comes while the other stories are told."""
    code, preview = stocktake("delete-project", wreck.doomed, "--dry-run")
    assert code == 0
    tallies = {name: tally["objects"] for name, tally in preview["result"]["preview"]["by_layout"].items()}
    assert tallies == {"current": 2, "hierarchical": 2, "flat": 3, "content": 1}
    assert set(wreck.left_by_older_versions) < set(preview["result"]["preview"]["keys"])
    assert [key for key in wreck.left_by_older_versions if keys(stack, key)] == wreck.left_by_older_versions
    code, begun = stocktake("delete-project", wreck.doomed, "--mode", "sequential", "--reason", "the owner left", "--yes")
    assert code == 0
    found: dict[str, Any] = begun["result"]["deletion"]
    return found


def test_what_a_deletion_would_remove_is_told_by_both_ways_of_looking_before_anything_goes(stack: Stack, wreck: Wreck) -> None:
    found = call(stack, "GET", f"/diagnostics/projects/{wreck.doomed}/discovery", 200)
    assert {name: tally["objects"] for name, tally in found["found"].items()} == {"both": 2, "listing": 6}
    assert sorted(line["key"] for line in found["only_one"]) == sorted(wreck.left_by_older_versions)
    assert {line["why"] for line in found["only_one"]}


def test_a_project_that_is_being_deleted_takes_nothing_more_and_says_under_which_id_it_goes(
    stack: Stack, wreck: Wreck, deletion: dict[str, Any]
) -> None:
    png = {"content-type": "image/png"}
    assert refused(stack, "POST", f"/projects/{wreck.doomed}/objects", data=an_image(7), headers=png) == (409, "project-closed")
    under_way = call(stack, "GET", f"/deletions/{deletion['deletion_id']}", 200)
    assert (under_way["mode"], under_way["reason"], under_way["project_id"]) == ("sequential", "the owner left", wreck.doomed)
    assert stack.api.get(f"/projects/{wreck.doomed}").json()["deletion_id"] == deletion["deletion_id"]


# ---- a storage service for generated images (002)


def test_generated_images_come_in_by_batch_are_served_for_a_year_and_each_is_answered_for(stack: Stack) -> None:
    project, place = opened(stack), {"name": "session", "persona": "baby-boomer", "session": "session-123"}
    metadata = {
        "prompt": "Modern workspace",
        "provider": "openai",
        "size": "1024x1024",
        "participantId": "participant-456",
        "quality": None,
    }
    good = item(1, layout=place, metadata=metadata, sensitive=["participantId"])
    page = {"content_base64": base64.b64encode(b"<!doctype html><script>alert(1)</script>").decode(), "content_type": "image/png"}
    climbing = {**item(3), "layout": {**place, "session": "../.."}}
    items = [good, item(2), page, climbing, {**item(4), "file_name": "../../etc/passwd"}]
    results = call(stack, "POST", f"/projects/{project}/objects/batch", 207, json={"objects": items})["results"]
    assert [result["status"] for result in results] == [201, 201, 415, 400, 201]
    assert "'../..'" in results[3]["problem"]["detail"]
    stored, odd = results[0]["object"], results[4]["object"]
    assert re.fullmatch(r"images/session-123/baby-boomer/\d{13}-[0-9A-Z]{16}\.png", stored["key"])
    assert (odd["file_name"], odd["key"].startswith(f"projects/{project}/")) == ("../../etc/passwd", True)
    assert ("participantId" in stored["metadata"], stored["sealed"]) == (False, ["participantId"])
    record = call(stack, "GET", f"/objects/{stored['object_id']}", 200)
    assert (record["metadata"], record["bytes"]) == (metadata, len(an_image(1)))
    served = requests.get(record["url"], timeout=10)
    assert (served.content, served.headers["content-type"], served.headers["cache-control"]) == (an_image(1), "image/png", YEAR)
    assert counts(stack, project) == {"STORED": 3}


def test_a_domain_of_ones_own_is_where_an_image_is_public(wreck: Wreck) -> None:
    assert wreck.public["url"] == f"{CDN}/{wreck.public['key']}"


def test_an_upload_over_10_mb_is_warned_of_before_it_is_sent(stack: Stack) -> None:
    announced = {"content_type": "image/png", "bytes": 10_000_001, "sha256": "0" * 64}
    upload = call(stack, "POST", f"/projects/{opened(stack)}/uploads", 201, json=announced)
    assert upload["warnings"] == ["the object has 10000001 bytes, over the 10000000 from which on it is large"]
    call(stack, "DELETE", f"/uploads/{upload['upload_id']}", 204)


def test_base64_images_move_out_of_the_database_in_batches_and_the_statistics_say_so(stack: Stack, stocktake: Run, tmp_path: Path) -> None:
    project = opened(stack)
    lines = [{"project_id": project, "id": f"row-{n}", "data_url": f"data:image/png;base64,{encoded(n)}"} for n in range(11)]
    broken = {"project_id": project, "id": "row-11", "content_base64": "AAAA"}
    code, moved = stocktake("import", written(tmp_path / "base64.jsonl", [*lines, broken]), "--project", project, "--batch", "10")
    totals = moved["result"]["migration"]["totals"]
    assert (code, totals["import"]["failed"], totals["migrate"]["done"], len(moved["result"]["failed"])) == (1, 1, 11, 1)
    code, seen = stocktake("projects", project)
    assert (code, seen["result"]["counts"]["STORED"]) == (0, {"objects": 11, "bytes": sum(len(an_image(n)) for n in range(11))})
    assert len(keys(stack, f"projects/{project}/")) == 11


def test_one_command_tests_the_connection_and_leaves_nothing(stocktake: Run) -> None:
    code, tested = stocktake("self-test")
    assert code == 0
    assert {"put", "confirmed", "metadata", "bytes", "url", "delete", "gone"} <= {step["step"] for step in tested["result"]["steps"]}


# ---- 16:9 came back as 1:1 (003)


def test_16_9_comes_back_as_16_9_and_one_job_lists_its_two_images(stack: Stack) -> None:
    project = opened(stack)
    sent = {"prompt": "A sunset", "aspectRatio": "16:9", "numberOfImages": 2}
    job = call(stack, "POST", f"/projects/{project}/generations", 201, json={"metadata": sent, "outputs": 2})
    for output in range(2):
        options = {"generation": {"generation_id": job["generation_id"], "output": output}}
        record = uploaded(stack, project, an_image(output), stocktake_options=json.dumps(options))
        assert (record["metadata"], record["generation"]) == ({}, options["generation"])  # what was not sent has no default
    done = call(stack, "GET", f"/generations/{job['generation_id']}", 200)
    assert (done["status"], json.dumps(done["metadata"]), len(done["images"])) == ("completed", json.dumps(sent), 2)
    assert [requests.get(image["url"], timeout=10).content for image in done["images"]] == [an_image(0), an_image(1)]
    assert [of["generation_id"] for of in call(stack, "GET", f"/projects/{project}/generations", 200)["generations"]] == [
        job["generation_id"]
    ]
    assert counts(stack, project) == {"STORED": 2}


def test_a_field_that_nobody_knows_is_refused_by_name_and_never_dropped(stack: Stack) -> None:
    project = opened(stack)
    for path, body in (("generations", {"prompt": "A sunset", "aspectRatio": "16:9"}), ("objects", {**item(1), "aspectRatio": "16:9"})):
        answer = asked(stack, "POST", f"/projects/{project}/{path}", json=body)
        assert (answer.status_code, "aspectRatio" in answer.json()["detail"]) == (400, True), answer.text
    assert call(stack, "GET", f"/projects/{project}/generations", 200)["generations"] == []


def test_a_table_without_what_the_code_reads_by_is_told_by_name(stack: Stack, stocktake: Run, home: Path) -> None:
    with a_table_of_before(stack) as table:
        profile(home, stack, OBJECTS_TABLE=table)
        code, health = stocktake("--profile", "before", "doctor", "--direct")
    failed = [check for check in health["result"]["checks"] if check["verdict"] == "fail"]
    assert code == 1
    assert [check for check in failed if "by_object_id" in str(check)] != [], failed


# ---- the dashboard said 19, the bucket held 15 (000), first half


def test_19_records_against_15_objects_explain_themselves(stocktake: Run, wreck: Wreck, first_look: str) -> None:
    code, seen = stocktake("analytics", wreck.dashboard)
    sides = seen["result"]
    assert (code, sides["records"]["objects"], sides["stored"]["objects"], sides["bucket"]["objects"]) == (1, 19, 16, 15)
    assert sides["drift"]["objects"] == -1
    code, found = stocktake("findings", first_look, "--project", wreck.dashboard)
    assert code == 1
    assert {(row["class"], row["kind"]): row["key"] for row in found["result"]["findings"]} == {
        ("unstored", "pending"): wreck.never_sent["object"]["key"],
        ("unstored", "inline"): wreck.inline["key"],
        ("unstored", "external"): wreck.external_key,
        ("missing", "gone"): wreck.lost_key,
    }
    assert all(row["meaning"] and row["likely_cause"] and row["recommended"] for row in found["result"]["findings"])


def test_an_orphan_that_was_seen_once_is_in_no_plan(stocktake: Run, first_look: str) -> None:
    code, dry = stocktake("reconcile", "--run", first_look, "--apply", "--do", "orphan=quarantine", "--first-run")
    assert (code, dry["result"]["applied"], dry["result"]["plan"]["actions"][0]["skipped"]["seen_once"] >= 2) == (1, False, True)


# ---- twelve rows pointed at nothing (001)


def test_twelve_uploads_with_the_wrong_region_are_twelve_errors_and_no_record_of_anything_stored(stack: Stack, wreck: Wreck) -> None:
    told = Counter((result["status"], result["problem"]["type"].rpartition(":")[2]) for result in wreck.misdirected)
    assert told == {(502, "wrong-region"): 12}
    assert all(f"it is in '{REGION}'" in result["problem"]["detail"] for result in wreck.misdirected)
    assert counts(stack, wreck.misled).get("STORED", 0) == 0


def test_a_bucket_in_another_region_is_recognised_and_nothing_is_done_to_it(stack: Stack, wreck: Wreck, first_look: str) -> None:
    repair = {"plan": {"missing": "forget"}, "first_run": True}
    with configured(stack, "ReconciliationApiFunction", STORAGE_REGION="eu-north-1"):
        identity = call(stack, "GET", "/diagnostics/identity", 200)
        assert (identity["status"], identity["configured_region"], "StorageRegion" in identity["why"]) == (
            "wrong-region",
            "eu-north-1",
            True,
        )
        assert refused(stack, "POST", f"/reconciliations/{first_look}/apply", json=repair) == (502, "wrong-region")
    assert counts(stack, wreck.rows) == {"STORED": 12}


def test_bytes_that_did_not_arrive_are_not_recorded_as_stored_whatever_the_uploader_says(stack: Stack) -> None:
    project = opened(stack)
    upload = begun(stack, project, an_image(1))
    assert refused(stack, "POST", f"/uploads/{upload['upload_id']}/complete") == (409, "upload-incomplete")
    assert counts(stack, project) == {"PENDING": 1}


def test_rows_that_point_at_nothing_are_shown_one_by_one_and_marked_and_never_deleted(
    stack: Stack, stocktake: Run, wreck: Wreck, first_look: str, tmp_path: Path
) -> None:
    code, found = stocktake("findings", first_look, "--class", "missing", "--project", wreck.rows)
    assert (code, sorted(row["key"] for row in found["result"]["findings"])) == (1, sorted(wreck.row_keys))
    assert counts(stack, wreck.rows) == {"STORED": 12}  # a run changes nothing

    # the object debugger: record, object, URL, what lies beside it
    code, looked = stocktake("inspect", wreck.row_keys[0])
    assert (code, looked["result"]["object"], looked["result"]["finding"]["class"]) == (1, None, "missing")
    code, looked = stocktake("inspect", wreck.rescued[0])
    assert (code, looked["result"]["record"], looked["result"]["url"]["status"] in (200, 206)) == (1, None, True)
    assert wreck.rescued[1] in [row["key"] for row in looked["result"]["neighbours"]]

    repair = ("reconcile", "--run", first_look, "--apply", "--do", "missing=mark_missing", "--first-run")
    code, dry = stocktake(*repair)
    assert (code, dry["result"]["applied"], dry["result"]["plan"]["actions"][0]["count"] >= 12) == (1, False, True)
    assert counts(stack, wreck.rows) == {"STORED": 12}
    _, done = stocktake(*repair, "--yes")
    assert done["result"]["run"]["repair"]["status"] == "DONE"
    assert counts(stack, wreck.rows) == {"MISSING": 12}
    first = call(stack, "GET", f"/projects/{wreck.rows}/objects", 200, params={"limit": 1})["objects"][0]
    assert refused(stack, "GET", f"/objects/{first['object_id']}/content") == (409, "object-missing")

    # the six that the bucket did hold are somebody's: they are taken over by key, and a row of nothing is not
    rows = [{"project_id": wreck.rows, "key": key} for key in (*wreck.rescued, wreck.rescued[0].replace("3by", "4by"))]
    _, imported = stocktake("import", written(tmp_path / "rescued.jsonl", rows), "--project", wreck.rows)
    totals = imported["result"]["migration"]["totals"]["import"]
    assert (totals["key"], totals["failed"], imported["result"]["failed"][0]["problem"].rpartition(":")[2]) == (6, 1, "object-missing")
    assert counts(stack, wreck.rows) == {"MISSING": 12, "STORED": 6}


# ---- the dashboard said 19, the bucket held 15 (000), second half


def test_after_the_repair_15_of_19_are_stored_and_both_sides_say_so(
    stack: Stack, stocktake: Run, wreck: Wreck, first_look: str, second_look: str
) -> None:
    _, seen = stocktake("analytics", wreck.dashboard)
    sides = seen["result"]
    assert (sides["records"]["objects"], sides["stored"]["objects"], sides["bucket"]["objects"]) == (19, 15, 15)
    assert sides["drift"] == {"objects": 0, "bytes": 0}
    assert counts(stack, wreck.dashboard) == {"STORED": 15, "PENDING": 1, "INLINE": 1, "EXTERNAL": 1, "MISSING": 1}
    # the one that was never sent is sent, the one in the ledger moves; the provider's stays until its host may be fetched from
    again = call(stack, "GET", f"/uploads/{wreck.never_sent['upload_id']}", 200)
    assert send(again["request"], an_image(17)) == 200
    call(stack, "POST", f"/uploads/{wreck.never_sent['upload_id']}/complete", 200)
    _, moved = stocktake("migrate", "--project", wreck.dashboard, "--yes")
    assert [row["problem"].rpartition(":")[2] for row in moved["result"]["failed"]] == ["import-disabled"]
    assert counts(stack, wreck.dashboard) == {"STORED": 17, "EXTERNAL": 1, "MISSING": 1}
    assert len(keys(stack, f"projects/{wreck.dashboard}/")) == 17


def test_orphans_are_set_aside_and_one_that_was_none_comes_back(
    stack: Stack, stocktake: Run, wreck: Wreck, first_look: str, second_look: str
) -> None:
    code, found = stocktake("findings", second_look, "--class", "orphan", "--project", wreck.strays)
    assert (code, [row["key"] for row in found["result"]["findings"]]) == (1, sorted(wreck.stray_keys))
    _, done = stocktake("reconcile", "--run", second_look, "--apply", "--do", "orphan=quarantine", "--yes")
    assert done["result"]["run"]["repair"]["done"]["QUARANTINE"] >= 2
    assert keys(stack, f"projects/{wreck.strays}/") == []
    _, aside = stocktake("quarantine", "--project", wreck.strays)
    kept = next(entry for entry in aside["result"]["entries"] if entry["key"].endswith("kept.png"))
    code, _ = stocktake("restore", kept["entry_id"])
    assert (code, keys(stack, f"projects/{wreck.strays}/")) == (0, [kept["key"]])
    assert counts(stack, wreck.strays) == {"STORED": 1, "QUARANTINED": 1}
    assert keys(stack, wreck.rescued[0].rpartition("/")[0]) == wreck.rescued  # a key of no one project is not an orphan's plan to touch


# ---- a deleted project left files behind (004), second half


def test_a_deletion_ends_in_a_receipt_and_nothing_is_left_under_any_layout(
    stack: Stack, stocktake: Run, wreck: Wreck, deletion: dict[str, Any]
) -> None:
    code, verified = stocktake("verify", wreck.doomed, "--wait")
    assert (code, verified["result"]["verified"]["remaining"]) == (0, {"objects": 0, "bytes": 0})
    receipt = verified["result"]["deletion"]["receipt"]
    assert (receipt["deletion_id"], receipt["status"], receipt["objects"]) == (deletion["deletion_id"], "DELETED", 8)
    assert {name: tally["objects"] for name, tally in receipt["by_layout"].items()} == {
        "current": 2,
        "hierarchical": 2,
        "flat": 3,
        "content": 1,
    }
    assert {name: tally["objects"] for name, tally in receipt["by_source"].items()} == {"both": 2, "listing": 6}
    assert {(listing["objects"]) for listing in receipt["listings"]} == {0}
    assert (receipt["refused"], receipt["remaining"], receipt["suspects"]) == ([], [], [])
    assert [key for key in wreck.left_by_older_versions if keys(stack, key)] == []
    assert counts(stack, wreck.neighbour) == {"STORED": 2}
    page = stack.api.get(f"/deletions/{deletion['deletion_id']}/receipt", params={"as": "html"})
    assert (page.status_code, deletion["deletion_id"] in page.text) == (200, True)


# ---- small


def compared(stocktake: Run, since: float) -> str:
    """Compares bucket and ledger once the grace window has passed; returns the run."""
    time.sleep(max(0, since + GRACE_SECONDS + 1 - time.monotonic()))
    _, ended = stocktake("reconcile")
    assert ended["result"]["run"]["status"] == "COMPLETE", ended
    run_id: str = ended["result"]["run"]["run_id"]
    return run_id


def encoded(number: int) -> str:
    return base64.b64encode(an_image(number)).decode()


def item(number: int, **fields: Any) -> dict[str, Any]:
    return {"content_base64": encoded(number), **fields}


def batch(stack: Stack, project: str, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    results = call(stack, "POST", f"/projects/{project}/objects/batch", 207, json={"objects": items})["results"]
    return [result["object"] for result in results]


def written(path: Path, lines: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


@contextmanager
def a_table_of_before(stack: Stack) -> Iterator[str]:
    """Makes the table of objects as it would be before a migration that nobody ran: with its key, and one index of three."""
    dynamodb, name = stack.aws("dynamodb"), f"objects-of-before-{time.time_ns()}"
    of_now = dynamodb.describe_table(TableName=stack.resources["ObjectsTable"])["Table"]
    index = next(of for of in of_now["GlobalSecondaryIndexes"] if of["IndexName"] == "by_project")
    names = {part["AttributeName"] for part in (*of_now["KeySchema"], *index["KeySchema"])}
    dynamodb.create_table(
        TableName=name,
        KeySchema=of_now["KeySchema"],
        AttributeDefinitions=[of for of in of_now["AttributeDefinitions"] if of["AttributeName"] in names],
        GlobalSecondaryIndexes=[{member: index[member] for member in ("IndexName", "KeySchema", "Projection")}],
        BillingMode="PAY_PER_REQUEST",
    )
    try:
        yield name
    finally:
        dynamodb.delete_table(TableName=name)


def profile(folder: Path, stack: Stack, **settings: str) -> None:
    """Writes a profile `before`: this deployment, with settings that its functions do not have."""
    file = folder / "stocktake" / "config.toml"
    file.parent.mkdir()
    lines = (f'{name} = "{value}"' for name, value in settings.items())
    file.write_text(
        f'[profiles.before]\nstack = "{stack.stack_name}"\nregion = "{REGION}"\nendpoint_url = "{stack.endpoint}"\n'
        "[profiles.before.settings]\n" + "\n".join(lines)
    )
