"""Storage switched off: small objects lie in the ledger, whole, and every other promise holds as it does for the bucket."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from stocktake.alignment import Outcome
from stocktake.errors import (
    InvalidRequest,
    ObjectExternal,
    ObjectMissing,
    PreconditionFailed,
    QuotaExceeded,
    StorageDisabled,
    TooLarge,
)
from stocktake.intents import REMEMBERED_MS
from stocktake.ledger import shard_of
from stocktake.ledger.rows import MAX_INLINE_BYTES
from stocktake.model import Announced, Details, NewObject, Quota, Record, State
from tests.unit.killing import killed_at
from tests.unit.ledger.builders import Deployment
from tests.unit.world import World, an_image, never


@pytest.fixture
def off(world: World) -> World:
    return world.without_storage()


def inline_keys(deployment: Deployment) -> set[str]:
    """Returns the keys of which the ledger holds bytes."""
    rows = deployment.tables.client.scan(TableName=deployment.tables.objects.Meta.table_name)["Items"]
    return {row["key"]["S"] for row in rows if row["shard"]["S"].startswith("inline#")}


def announced(body: bytes) -> Announced:
    return Announced("image/png", len(body), "ab" * 32)


def test_an_upload_keeps_its_bytes_in_the_ledger_and_leaves_the_bucket_alone(off: World) -> None:
    off.store.calls.clear()
    record = off.upload(file_name="a.png", metadata={"n": 1}, sensitive=("n",))
    assert (record.state, record.etag, record.size) == (State.INLINE, record.sha256, len(an_image()))
    assert (record.width, record.file_name, record.metadata, record.sealed is not None) == (8, "a.png", {}, True)
    assert (off.ledger.content(record), off.serving.url(record)) == (an_image(), None)
    assert off.counts() == {"INLINE": (1, record.size)}
    assert off.store.calls == []


def test_a_project_is_opened_without_asking_the_bucket(off: World) -> None:
    off.store.calls.clear()
    off.uploads.create_project("p2", {})
    assert off.store.calls == []


def test_bytes_of_the_ledger_are_served_whole_in_ranges_and_by_condition_also_where_a_redirect_was_asked_for(off: World) -> None:
    record = off.upload()
    for read in (off.serving.bytes, off.serving.redirect):
        served = read(record.object_id, {})
        assert served.url is None
        assert served.content is not None
        assert served.content.body == an_image()
        part = read(record.object_id, {"range": "bytes=2-4"}).content
        assert part is not None
        assert (part.body, part.content_range) == (an_image()[2:5], f"bytes 2-4/{record.size}")
        assert read(record.object_id, {"if-none-match": f'"{record.sha256}"'}).content is None
        with pytest.raises(PreconditionFailed):
            read(record.object_id, {"if-match": '"other"'})


def test_an_external_object_is_a_redirect_to_https_and_never_bytes(world: World) -> None:
    record = world.record("projects/p1/a.png", State.EXTERNAL, etag=None, original_url="https://images.example.com/a.png")
    assert world.serving.redirect(record.object_id, {}).url == "https://images.example.com/a.png"
    with pytest.raises(ObjectExternal, match="migrate it"):
        world.serving.bytes(record.object_id, {})
    plain = world.record("projects/p1/b.png", State.EXTERNAL, etag=None, original_url="http://images.example.com/a.png")
    with pytest.raises(ObjectExternal, match="not https"):
        world.serving.redirect(plain.object_id, {})


def test_what_is_refused_of_the_bucket_is_refused_of_the_ledger(off: World) -> None:
    with pytest.raises(InvalidRequest):
        off.put(an_image()[:-5])
    with pytest.raises(TooLarge, match="1000 are the most while storage is switched off"):
        off.put(an_image() + bytes(1000))
    with pytest.raises(StorageDisabled, match="EnableStorage"):
        off.presigned.begin("p1", announced(an_image()), off.reserve())
    assert off.counts() == {}


def test_the_ledger_takes_no_more_than_a_row_holds_and_no_bytes_without_their_record(world: World) -> None:
    project = world.ledger.project("p1")
    record = Record("k", "o", "p1", project.epoch, State.INLINE, MAX_INLINE_BYTES + 1, 1, 1)
    with pytest.raises(TooLarge):
        world.ledger.move(None, record, gated=True, content=bytes(record.size))
    for content in (None, bytes(4)):
        with pytest.raises(ValueError, match="all 5 of them"):
            world.ledger.move(None, replace(record, size=5), gated=True, content=content)
    largest = world.ledger.move(None, replace(record, size=MAX_INLINE_BYTES), gated=True, content=bytes(MAX_INLINE_BYTES))
    assert world.ledger.content(largest) == bytes(MAX_INLINE_BYTES)


def test_a_quota_holds_for_what_lies_in_the_ledger(off: World) -> None:
    off.uploads.set_quota("p1", Quota(objects=1))
    off.upload()
    with pytest.raises(QuotaExceeded):
        off.upload(color=1)
    assert off.counts() == {"INLINE": (1, len(an_image()))}


def test_a_job_is_completed_by_outputs_that_lie_in_the_ledger(off: World) -> None:
    job = off.generations.create("p1", {}, (), 1, off.reserve())
    off.put(an_image(), generation_id=job.generation_id, output=0)
    again = off.generations.generation(job.generation_id)
    assert (again.status, [output.status for output in again.outputs]) == ("completed", ["inline"])


def test_an_upload_killed_at_any_call_is_one_inline_object_once_it_is_sent_again(off: World, deployment: Deployment) -> None:
    for call in itertools.count():
        off.clock.advance(REMEMBERED_MS)
        reserved = off.reserve()
        with killed_at(off, deployment, call) as killing:
            off.uploads.put("p1", NewObject(an_image()), reserved)
        record = off.uploads.put("p1", NewObject(an_image()), replace(reserved, is_retry=True)).record
        assert (record.object_id, off.ledger.content(record)) == (reserved.object_id, an_image())
        if not killing.happened:
            break
    assert call >= 3
    assert off.counts() == {"INLINE": (call + 1, (call + 1) * len(an_image()))}
    assert len(inline_keys(deployment)) == call + 1


def test_no_bytes_survive_their_record(off: World, deployment: Deployment) -> None:
    off.object_deletions.delete(off.upload().object_id)
    assert inline_keys(deployment) == set()
    sizes = [off.upload(color=color).size for color in range(3)]
    off.record("projects/p1/x.png", State.EXTERNAL)
    receipt = off.delete_project()
    assert (receipt["status"], receipt["records"], receipt["inline"]) == ("DELETED", 4, {"objects": 3, "bytes": sum(sizes)})
    assert (inline_keys(deployment), off.counts()) == (set(), {})


def test_a_removal_counts_two_rows_for_a_record_with_bytes(off: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.ledger.ledger._ACTIONS", 5)
    keys = itertools.islice((key for n in itertools.count() if shard_of(key := f"projects/p1/{n}.png", 16) == "00"), 5)
    seen = [off.record(key, State.INLINE) for key in keys]
    deployment.faults.calls.clear()
    assert off.ledger.remove_many(seen).removed.objects == 5
    assert deployment.faults.done("TransactWriteItems") == 3
    assert inline_keys(deployment) == set()


def test_neither_an_event_nor_a_reconciliation_takes_what_lies_in_the_ledger_for_missing(off: World) -> None:
    record = off.upload()
    assert off.aligner().align(record.key).outcome is Outcome.IN_LINE
    off.clock.advance(2 * 3_600_000)
    assert off.found(off.reconcile()) == {("unstored", "inline", record.key)}
    assert off.counts() == {"INLINE": (1, record.size)}


def test_an_intent_of_an_upload_that_died_is_tidied_and_leaves_no_bytes(off: World, deployment: Deployment) -> None:
    with killed_at(off, deployment, 2) as killing:
        off.upload()
    assert killing.happened
    off.clock.advance(61_000)
    off.presigned.tidy(out_of_time=never)
    assert (off.counts(), inline_keys(deployment)) == ({}, set())


def test_an_object_is_read_though_it_is_migrated_at_this_moment(world: World, deployment: Deployment) -> None:
    record = world.without_storage().upload()
    real = world.ledger.content

    def migrated(record: Record) -> bytes | None:
        stored = world.store.put(record.key, an_image(), content_type="image/png", sha256=record.sha256 or "")
        world.ledger.move(record, replace(record, state=State.STORED, etag=stored.etag), gated=True)
        return real(record)

    world.ledger.content = migrated  # type: ignore[method-assign]  # the moment between two reads
    assert world.bytes_of(record) == an_image()
    world.ledger.content = real  # type: ignore[method-assign]  # back
    world.store.remove(record.key)
    with pytest.raises(ObjectMissing):
        world.bytes_of(record)


def test_sensitive_fields_and_details_are_checked_before_anything_is_written(off: World) -> None:
    with pytest.raises(InvalidRequest):
        off.uploads.put("p1", NewObject(an_image(), None, Details(cache_control="\n")), off.reserve())
    assert off.counts() == {}
