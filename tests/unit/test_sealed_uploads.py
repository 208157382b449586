"""What is named sensitive is in clear nowhere but in the answer to a GET of its own object or job."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from stocktake import upload_answers
from stocktake.errors import InvalidRequest, QuotaExceeded, SealingError, StorageDenied
from stocktake.idempotency import Idempotency, Scope
from stocktake.ids import id_of_time
from stocktake.model import Announced, Details, NewObject, Quota, Record
from stocktake.storage.rules import INTENT
from tests.unit.ledger.builders import Deployment
from tests.unit.world import World, an_image, never

SECRET = "a wish nobody else may read"
SENT = {"aspectRatio": "16:9", "prompt": SECRET, "participant": {"name": SECRET, "age": 33}, "numberOfImages": 2}
SENSITIVE = ("participant", "prompt")
SPELLINGS = (SECRET, base64.b64encode(SECRET.encode()).decode()[:-4])


def by_put(world: World) -> Record:
    return world.upload(metadata=SENT, sensitive=SENSITIVE, file_name="a.png")


def by_batch(world: World) -> Record:
    item = NewObject(an_image(), None, Details(metadata=SENT, sensitive=SENSITIVE))
    [result] = world.uploads.put_many("p1", [item], lambda _: world.reserve(), out_of_time=never)
    assert not isinstance(result, Exception)
    return result.record


def by_presigned_put(world: World) -> Record:
    body = an_image()
    details = Details(metadata=SENT, sensitive=SENSITIVE)
    upload = world.presigned.begin(
        "p1", Announced("image/png", len(body), hashlib.sha256(body).hexdigest(), None, details), world.reserve()
    )
    assert upload.request is not None
    assert not any(spelling in str(upload) for spelling in SPELLINGS)
    assert world.store.fetch(upload.request, body).status == 200
    return world.presigned.complete(upload.record.object_id, (), out_of_time=never)


WAYS = pytest.mark.parametrize("way", [by_put, by_batch, by_presigned_put])


def raw_rows(deployment: Deployment) -> list[dict[str, Any]]:
    client = deployment.tables.client
    tables = (deployment.tables.objects, deployment.tables.projects, deployment.tables.operations)
    return [dict(item) for table in tables for item in client.scan(TableName=str(table.Meta.table_name))["Items"]]


def assert_unread(text: str) -> None:
    assert not [spelling for spelling in SPELLINGS if spelling in text]


@WAYS
def test_the_stored_rows_hold_no_sealed_value(world: World, deployment: Deployment, way: Callable[[World], Record]) -> None:
    record = way(world)
    world.generations.create("p1", SENT, SENSITIVE, 1, world.reserve())
    rows = raw_rows(deployment)
    assert record.key in str(rows)
    assert_unread(str(rows))


@WAYS
def test_the_headers_of_the_object_hold_neither_sealed_nor_other_metadata(world: World, way: Callable[[World], Record]) -> None:
    stored = world.store.head(way(world).key)
    assert stored is not None
    assert_unread(str(stored))
    assert not [name for name in SENT if name in str(stored)]
    assert stored.metadata.keys() <= {INTENT, "sha256"}


@WAYS
def test_answers_name_the_sealed_fields_and_only_the_objects_own_get_opens_them(world: World, way: Callable[[World], Record]) -> None:
    record = way(world)
    page, _ = world.serving.page("p1", 10, None)
    for shown in (record, *page, world.serving.record(record.object_id)):
        answer = upload_answers.record(shown)
        assert_unread(json.dumps(answer))
        assert answer["metadata"] == {"aspectRatio": "16:9", "numberOfImages": 2}
        assert set(answer["sealed"]) == set(SENSITIVE)
    opened = upload_answers.record(record, None, world.serving.metadata(record))
    assert json.dumps(opened["metadata"]) == json.dumps(SENT)


def test_an_answer_that_is_kept_for_replay_holds_no_sealed_value(world: World, deployment: Deployment) -> None:
    idempotency = Idempotency(world.operations, now=world.clock, new_id=lambda at: id_of_time(at, "0" * 16))
    scope = Scope("anonymous", "POST /projects/p1/objects", "key", "fingerprint", "p1")
    kept = idempotency.once(scope, lambda _: (201, json.dumps(upload_answers.record(by_put(world)))))
    assert_unread(kept.body)
    [answer] = [
        json.loads(row["document"]["S"])["answer"] for row in raw_rows(deployment) if "answer" in row.get("document", {}).get("S", "")
    ]
    assert json.loads(zlib.decompress(base64.b64decode(answer["piece"])))["sealed"] == ["prompt", "participant"]
    assert_unread(zlib.decompress(base64.b64decode(answer["piece"])).decode())


@WAYS
def test_nothing_that_is_logged_at_any_level_holds_a_sealed_value(
    world: World, way: Callable[[World], Record], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    record = way(world)
    world.serving.metadata(record)
    world.object_deletions.delete(record.object_id)
    assert caplog.records
    assert_unread("".join(entry.getMessage() for entry in caplog.records))


def test_no_error_shows_a_sealed_value(world: World) -> None:
    with pytest.raises(InvalidRequest) as absent:
        world.upload(metadata=SENT, sensitive=("absent",))
    world.store.fail("put", error=StorageDenied("no"))
    with pytest.raises(StorageDenied) as denied:
        by_put(world)
    world.uploads.set_quota("p1", Quota(objects=0))
    with pytest.raises(QuotaExceeded) as full:
        by_put(world)
    assert_unread(str([absent.value, denied.value, full.value]))


def test_what_is_held_in_hand_does_not_show_its_metadata_or_its_bytes(world: World) -> None:
    new = NewObject(an_image(), None, Details(metadata=SENT, sensitive=SENSITIVE))
    assert_unread(repr(new))
    assert "PNG" not in repr(new)


def test_sealed_metadata_opens_for_no_other_object(world: World) -> None:
    mine, other = by_put(world), world.upload(color=1)
    moved = world.ledger.record(other.key)
    assert moved is not None
    with pytest.raises(SealingError):
        world.sealer.open(mine.metadata, mine.sealed, project_id="p1", subject_id=moved.object_id)


def test_sealed_metadata_opens_under_every_spelling_of_its_project(world: World) -> None:
    record = world.upload("proj_p1", metadata=SENT, sensitive=SENSITIVE)
    assert world.serving.metadata(world.serving.record(record.object_id)) == SENT


def test_sealed_metadata_of_an_output_survives_a_second_sending(world: World) -> None:
    job = world.generations.create("p1", {}, (), 1, world.reserve())
    sent = {"metadata": SENT, "sensitive": SENSITIVE, "generation_id": job.generation_id, "output": 0}
    first, second = world.upload(**sent), world.upload(**sent)  # type: ignore[arg-type]  # details as they are
    assert first == second
    assert world.serving.metadata(second) == SENT


def test_a_deletion_leaves_no_sealed_value_and_no_metadata_behind(world: World, deployment: Deployment) -> None:
    world.object_deletions.delete(by_put(world).object_id)
    rows = str(raw_rows(deployment))
    assert_unread(rows)
    assert "16:9" not in rows and "sealed" not in rows
