from __future__ import annotations

import contextlib
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stocktake.alignment import Outcome
from stocktake.cdn import PurgeFailure
from stocktake.checks import Inspected
from stocktake.errors import (
    LedgerError,
    ObjectDeleted,
    ObjectNotFound,
    ObjectQuarantined,
    RecordChanged,
    StorageError,
    StorageUnavailable,
)
from stocktake.ledger import Operation
from stocktake.model import Announced, Details, Record, Reserved, SessionPlace, State
from stocktake.object_deletion import KEEP_MS, KIND
from stocktake.storage import SignedRequest
from stocktake.storage.memory import MemoryStore
from tests.unit.world import DAY, SWEEP_DELAY, Crash, ListeningCdn, World, an_image, never

Hook = Callable[[str], None]
FOREIGN_KEY = "projects/p1/scenes/s/media/a.png"
"""Of an older layout: others made it, and may write it again."""
SHA256 = "a2d51ce2a95cb1ff2b0d2dbdbf8ee3ea9ce5ef05ac1d6dd1ce1ea5d9c1a50e5b"


@pytest.fixture
def versioned(world: World) -> World:
    """The same deployment over a bucket that keeps versions."""
    return world.with_store(MemoryStore("data", now=world.clock, versioning=True))


@pytest.fixture
def public(world: World) -> World:
    """The same deployment, whose bucket is served publicly behind a CDN."""
    return World(world.store, world.ledger, world.operations, world.clock, public_base_url="https://cdn.example")


@contextlib.contextmanager
def watching(world: World, hook: Hook) -> Iterator[None]:
    """Calls `hook` with the name of every call: before those of the store, before and after the ledger's and the operations' writes."""
    written = ((world.ledger, "move"), (world.operations, "put"), (world.operations, "update"))
    real = [(owner, name, getattr(owner, name)) for owner, name in written]

    def around(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def hooked(*args: Any, **kwargs: Any) -> Any:
            hook(f"before {name}")
            result = call(*args, **kwargs)
            hook(f"after {name}")
            return result

        return hooked

    for owner, name, call in real:
        setattr(owner, name, around(name, call))
    world.store.on_call = lambda operation, key: hook(operation)
    try:
        yield
    finally:
        world.store.on_call = None
        for owner, name, call in real:
            setattr(owner, name, call)


def at_step(number: int, do: Callable[[], object]) -> tuple[Hook, list[str]]:
    """Returns a hook that does something at one call, and the list of calls it has seen."""
    seen: list[str] = []

    def hook(name: str) -> None:
        seen.append(name)
        if len(seen) == number:
            do()

    return hook, seen


def crash() -> None:
    raise Crash


def put_request(world: World, record: Record, *, seconds: int = 900) -> SignedRequest:
    """Signs a PUT of the record's key, as a presigned upload of it would have."""
    assert record.sha256 is not None
    return world.store.presign_put(record.key, seconds=seconds, size=record.size, content_type="image/png", sha256=record.sha256)


def begin_upload(world: World, body: bytes, **details: Any) -> tuple[Record, SignedRequest]:
    """Begins a presigned upload, and returns its intent and the PUT that it is waiting for."""
    sha256 = world.store.plant("probe", body).sha256
    world.store.remove("probe")
    begun = world.presigned.begin("p1", Announced("image/png", len(body), sha256, None, Details(**details)), world.reserve())
    assert begun.request is not None
    return begun.record, begun.request


def adopted(world: World, key: str = FOREIGN_KEY, body: bytes = b"theirs") -> Record:
    """Puts an object behind the ledger's back and lets its event adopt it."""
    world.plant(key, body=body)
    record = world.aligner().align(key).after
    assert record is not None
    return record


def tombstone(world: World, object_id: str) -> Operation | None:
    return world.operations.get(f"deleted-{object_id}")


def waiting(world: World) -> list[str]:
    """Returns the ids of the objects whose deletion still needs something done."""
    return [found.document["object_id"] for found in world.operations.of_kind(KIND)]


def after_the_last_url(world: World) -> int:
    """Lets the sweep's delay pass, runs the timer, and returns how many deletions are done for good."""
    world.clock.advance(SWEEP_DELAY)
    return world.object_deletions.tidy(out_of_time=never)


# ---- what a deletion does


def test_deleting_an_object_removes_bytes_record_and_count(world: World) -> None:
    record = world.upload()
    world.object_deletions.delete(record.object_id)
    assert (world.bucket_keys(), world.counts()) == (set(), {})
    with pytest.raises(ObjectDeleted, match="requested"):
        world.serving.record(record.object_id)


def test_a_receipt_says_what_went_and_when(world: World) -> None:
    record = world.upload()
    world.clock.advance(DAY)
    at = world.clock()
    assert world.object_deletions.delete(record.object_id) == {
        "object_id": record.object_id,
        "project_id": "p1",
        "key": record.key,
        "why": "requested",
        "requested_at": at,
        "sweep_at": None,
        "deleted_at": at,
        "swept_at": at,
        "bytes": record.size,
        "versions": 0,
        "multipart_uploads_aborted": 0,
        "cdn": {"provider": "listening", "purged": False, "why": None},  # nothing is served publicly
    }


def test_a_deletion_is_announced_before_bytes_go_and_bytes_go_before_the_record_and_the_receipt_comes_last(world: World) -> None:
    record = world.upload()
    story: list[tuple[str, str | None, bool, bool]] = []

    def look(name: str) -> None:
        found = tombstone(world, record.object_id)
        in_bucket = record.key in world.every_key()
        state = (found.status if found else None, in_bucket, world.ledger.record(record.key) is not None)
        if not story or story[-1][1:] != state:
            story.append((name, *state))

    with watching(world, look):
        world.object_deletions.delete(record.object_id)
    assert [state[1:] for state in story] == [
        (None, True, True),
        ("DELETING", True, True),
        ("DELETING", False, True),
        ("DELETING", False, False),
        ("DELETED", False, False),
    ]


def test_the_bucket_is_asked_again_before_the_record_goes(world: World) -> None:
    record = world.upload()
    calls: list[str] = []
    with watching(world, calls.append):
        world.object_deletions.delete(record.object_id)
    assert "head" in calls[calls.index("delete") : calls.index("before move")]


@pytest.mark.parametrize("state", [State.PENDING, State.MISSING, State.INLINE, State.EXTERNAL])
def test_what_has_no_bytes_in_the_bucket_can_be_deleted_too(world: World, state: State) -> None:
    record = world.record(FOREIGN_KEY, state)
    receipt = world.object_deletions.delete(record.object_id)
    assert (receipt["bytes"], world.counts()) == (record.size if state is State.INLINE else 0, {})
    assert world.ledger.content(record) is None


def test_a_quarantined_object_is_not_deleted_by_hand(world: World) -> None:
    record = world.record("projects/p1/x.png", State.QUARANTINED)
    with pytest.raises(ObjectQuarantined, match="restore it first"):
        world.object_deletions.delete(record.object_id)
    assert (list(world.counts()), waiting(world)) == (["QUARANTINED"], [])


@pytest.mark.parametrize("object_id", ["", "nobody"])
def test_what_never_was_cannot_be_deleted_and_leaves_no_tombstone(world: World, object_id: str) -> None:
    with pytest.raises(ObjectNotFound):
        world.object_deletions.delete(object_id)
    assert tombstone(world, object_id) is None


def test_a_tombstone_keeps_nothing_of_what_the_caller_said(world: World) -> None:
    record = world.upload(file_name="Ada Lovelace.png", metadata={"who": "Ada", "what": "Lovelace"}, sensitive=("who",))
    world.object_deletions.delete(record.object_id)
    row = tombstone(world, record.object_id)
    assert row is not None
    assert not [word for word in ("Ada", "Lovelace", "who", "what", "sealed") if word in json.dumps(dict(row.document))]


def test_a_tombstone_outlives_every_url_there_can_be(world: World) -> None:
    record = world.upload()
    world.object_deletions.delete(record.object_id)
    row = tombstone(world, record.object_id)
    assert row is not None and row.expires_at is not None
    assert row.expires_at >= world.clock() + KEEP_MS - 1000 > world.clock() + 7 * DAY


# ---- once, however often


def test_asked_again_a_deletion_gives_the_same_receipt(world: World) -> None:
    record = world.upload()
    receipt = world.object_deletions.delete(record.object_id)
    world.clock.advance(1)
    calls = len(world.store.calls)
    assert world.object_deletions.delete(record.object_id) == receipt
    assert len(world.store.calls) == calls


def test_the_receipt_says_later_that_the_key_was_swept_and_nothing_else_of_it_changes(world: World) -> None:
    record = world.upload()
    receipt = world.object_deletions.delete(record.object_id)
    assert receipt["swept_at"] is None
    assert after_the_last_url(world) == 1
    assert world.object_deletions.delete(record.object_id) == {**receipt, "swept_at": world.clock()}


def test_a_deletion_killed_at_any_call_is_ended_by_asking_again_and_says_the_same(world: World) -> None:
    for step in itertools.count(1):
        record = world.upload(color=step)
        world.store.plant_multipart_upload(record.key)
        hook, _ = at_step(step, crash)
        try:
            with watching(world, hook):
                world.object_deletions.delete(record.object_id)
        except Crash:
            pass
        else:
            break  # there were fewer calls
        world.clock.advance(1)
        receipt = world.object_deletions.delete(record.object_id)
        assert (receipt["bytes"], receipt["multipart_uploads_aborted"]) == (record.size, 1)
        assert world.object_deletions.delete(record.object_id) == receipt
        assert (world.bucket_keys(), world.counts(), list(world.store.list_multipart_uploads())) == (set(), {}, [])
    assert step > 12


def test_a_deletion_killed_at_any_call_is_ended_by_the_timer(world: World) -> None:
    for step in itertools.count(1):
        record = world.upload(color=step)
        hook, _ = at_step(step, crash)
        try:
            with watching(world, hook):
                world.object_deletions.delete(record.object_id)
        except Crash:
            pass
        else:
            break
        announced = tombstone(world, record.object_id) is not None
        world.object_deletions.tidy(out_of_time=never)
        assert (world.ledger.record(record.key) is None) == (record.key not in world.every_key()) == announced
        world.clock.advance(SWEEP_DELAY)
        world.object_deletions.tidy(out_of_time=never)
        assert waiting(world) == []
    assert step > 12


def test_two_deletions_at_once_give_one_receipt_wherever_they_meet(world: World) -> None:
    receipts: list[dict[str, Any]] = []

    def rival(object_id: str) -> None:
        receipts.append(world.object_deletions.delete(object_id))
        world.clock.advance(1)  # the slower one would write another time

    for step in itertools.count(1):
        receipts.clear()
        record = world.upload(color=step)
        with watching(world, at_step(step, functools.partial(rival, record.object_id))[0]):
            receipts.append(world.object_deletions.delete(record.object_id))
        if len(receipts) == 1:
            break  # there were fewer calls
        assert receipts[0] == receipts[1] == world.object_deletions.delete(record.object_id)
        assert (world.bucket_keys(), world.counts()) == (set(), {})
    assert step > 10


def test_the_timer_meeting_a_deletion_under_way_does_not_change_its_receipt(world: World) -> None:
    record = world.upload()
    seen: list[str] = []

    def timer(name: str) -> None:
        if name == "after move" and not seen:
            seen.append(name)
            world.object_deletions.tidy(out_of_time=never)
            world.clock.advance(1)

    with watching(world, timer):
        receipt = world.object_deletions.delete(record.object_id)
    assert seen
    assert receipt == world.object_deletions.delete(record.object_id)
    assert receipt["deleted_at"] == receipt["requested_at"]


def test_a_timer_that_reads_a_tombstone_late_does_not_change_the_receipt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record = world.upload()
    hook, _ = at_step(5, crash)
    with contextlib.suppress(Crash), watching(world, hook):
        world.object_deletions.delete(record.object_id)
    late = list(world.operations.of_kind(KIND))
    assert [found.status for found in late] == ["DELETING"]
    receipt = world.object_deletions.delete(record.object_id)
    world.clock.advance(SWEEP_DELAY)
    monkeypatch.setattr(world.operations, "of_kind", lambda kind: iter(late))  # the index lags behind the rows
    world.object_deletions.tidy(out_of_time=never)
    assert world.object_deletions.delete(record.object_id) == receipt


# ---- with the events of its own doing


def test_deleting_an_object_whose_event_comes_first_still_removes_the_record(world: World) -> None:
    record = world.upload()

    def event(operation: str, key: str | None) -> None:
        if operation == "delete" and key == record.key:
            world.store.on_call = None
            world.store.delete(record.key)
            world.aligner().align(record.key)

    world.store.on_call = event
    world.object_deletions.delete(record.object_id)
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_events_of_a_deleted_object_delivered_again_at_any_call_bring_nothing_back(world: World) -> None:
    for step in itertools.count(1):
        record = world.upload(color=step)
        hook, seen = at_step(step, functools.partial(world.aligner().align, record.key))
        with watching(world, hook):
            world.object_deletions.delete(record.object_id)
        assert world.aligner().align(record.key).outcome is Outcome.ABSENT
        assert (world.bucket_keys(), world.counts()) == (set(), {})
        if len(seen) < step:
            break
    assert step > 10


def test_a_record_that_never_stands_still_is_told_to_be_tried_again_and_the_deletion_is_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = world.upload()

    def lost(*args: object, **kwargs: object) -> None:
        raise RecordChanged("someone was quicker")

    with monkeypatch.context() as patch, pytest.raises(RecordChanged, match="kept changing"):
        patch.setattr(world.ledger, "move", lost)
        world.object_deletions.delete(record.object_id)
    assert waiting(world) == [record.object_id]
    world.object_deletions.delete(record.object_id)
    assert world.counts() == {}


@pytest.mark.parametrize("moment", ["before put", "after put", "delete", "before move", "before update"])
def test_an_object_deleted_while_its_project_is_deleted_is_gone_once_wherever_they_meet(world: World, moment: str) -> None:
    record = world.upload()
    met: list[str] = []

    def rival(name: str) -> None:
        if name == moment and not met:
            met.append(name)
            world.delete_project()

    with watching(world, rival):
        receipt = world.object_deletions.delete(record.object_id)
    assert (met, receipt["bytes"]) == ([moment], record.size)
    assert (world.bucket_keys(), world.counts(), world.dead_letters) == (set(), {}, [])


# ---- versions and parts


def test_every_version_goes_and_the_receipt_counts_them(versioned: World) -> None:
    record = versioned.upload()
    versioned.plant(record.key, body=b"overwritten")
    versioned.store.remove(record.key)
    versioned.plant(record.key, body=an_image())
    receipt = versioned.object_deletions.delete(record.object_id)
    assert (receipt["versions"], receipt["bytes"]) == (4, 2 * record.size + len(b"overwritten"))
    assert list(versioned.store.list_versions(record.key)) == []


def test_a_version_that_a_delete_marker_hides_goes_too(versioned: World) -> None:
    record = versioned.upload()
    versioned.store.remove(record.key)
    versioned.object_deletions.delete(record.object_id)
    assert list(versioned.store.list_versions(record.key)) == []


def test_what_is_written_and_hidden_again_while_versions_go_is_seen(versioned: World) -> None:
    record = versioned.upload()

    def rival(operation: str, key: str | None) -> None:
        if operation == "delete_versions":
            versioned.store.on_call = None
            versioned.plant(record.key, body=b"late")
            versioned.store.remove(record.key)

    versioned.store.on_call = rival
    with pytest.raises(StorageError, match="still in the bucket"):
        versioned.object_deletions.delete(record.object_id)
    versioned.object_deletions.delete(record.object_id)
    assert list(versioned.store.list_versions(record.key)) == []


def test_a_version_that_refuses_to_go_is_an_error_by_name_and_the_deletion_is_taken_up_again(versioned: World) -> None:
    record = versioned.upload()
    versioned.store.refuse_delete(record.key, "AccessDenied", "it is locked")
    with pytest.raises(StorageError, match="AccessDenied: it is locked"):
        versioned.object_deletions.delete(record.object_id)
    assert versioned.ledger.record(record.key) is not None
    assert waiting(versioned) == [record.object_id]
    versioned.store.allow_delete(record.key)
    receipt = versioned.object_deletions.delete(record.object_id)
    assert (receipt["versions"], list(versioned.store.list_versions(record.key))) == (1, [])


def test_open_uploads_of_the_key_are_aborted_and_counted(world: World) -> None:
    record = world.upload()
    for _ in range(2):
        world.store.plant_multipart_upload(record.key)
    receipt = world.object_deletions.delete(record.object_id)
    assert (receipt["multipart_uploads_aborted"], list(world.store.list_multipart_uploads())) == (2, [])


def test_a_key_that_only_begins_the_same_loses_nothing(versioned: World) -> None:
    record = versioned.upload()
    neighbour = f"{record.key}.bak"
    versioned.plant(neighbour)
    versioned.store.plant_multipart_upload(neighbour)
    versioned.object_deletions.delete(record.object_id)
    assert [version.key for version in versioned.store.list_versions()].count(neighbour) == 1
    assert [upload.key for upload in versioned.store.list_multipart_uploads()] == [neighbour]


def test_an_object_that_something_keeps_writing_is_not_said_to_be_deleted(world: World) -> None:
    record = world.upload()

    def rewrite(operation: str, key: str | None) -> None:
        if operation == "head" and world.store.calls[-2][0] != "head" and record.key not in world.every_key():
            world.plant(record.key)

    world.store.on_call = rewrite
    with pytest.raises(StorageError, match="still in the bucket"):
        world.object_deletions.delete(record.object_id)
    world.store.on_call = None
    assert waiting(world) == [record.object_id]
    assert world.ledger.record(record.key) is not None


@pytest.mark.parametrize("operation", ["head", "list_versions", "list_multipart_uploads", "abort_multipart_upload", "delete"])
def test_a_store_that_does_not_answer_leaves_a_deletion_to_be_taken_up(world: World, operation: Any) -> None:
    record = world.upload()
    world.store.plant_multipart_upload(record.key)
    world.store.fail(operation, error=StorageUnavailable("no answer"), after_effect=True)
    with pytest.raises(StorageUnavailable):
        world.object_deletions.delete(record.object_id)
    receipt = world.object_deletions.delete(record.object_id)
    assert (receipt["bytes"], receipt["multipart_uploads_aborted"], world.bucket_keys()) == (record.size, 1, set())


# ---- late bytes


@pytest.mark.parametrize("place", [None, SessionPlace("ada"), SessionPlace("ada", "s1")], ids=["current", "persona", "session"])
def test_bytes_that_come_after_the_deletion_are_not_adopted_and_are_swept_once_their_url_is_dead(
    world: World, place: SessionPlace | None
) -> None:
    record = world.upload(session_place=place)
    late = put_request(world, record)
    world.object_deletions.delete(record.object_id)
    assert world.store.fetch(late, an_image()).status == 200
    assert world.aligner().align(record.key).outcome is Outcome.DELETED
    assert (world.counts(), world.bucket_keys()) == ({}, {record.key})
    assert after_the_last_url(world) == 1
    assert (world.bucket_keys(), waiting(world)) == (set(), [])


def test_nothing_is_swept_before_the_last_url_is_dead(world: World) -> None:
    record = world.upload()
    world.object_deletions.delete(record.object_id)
    world.plant(record.key)
    world.clock.advance(SWEEP_DELAY - 1)
    assert world.object_deletions.tidy(out_of_time=never) == 0
    assert world.bucket_keys() == {record.key}
    world.clock.advance(1)
    assert world.object_deletions.tidy(out_of_time=never) == 1
    assert world.bucket_keys() == set()


def test_an_object_older_than_any_url_needs_no_sweep(world: World) -> None:
    record = world.upload()
    world.clock.advance(SWEEP_DELAY)
    assert world.object_deletions.delete(record.object_id)["sweep_at"] is None
    assert waiting(world) == []


def test_the_sweep_of_an_upload_that_was_retried_waits_for_the_url_of_the_retry(world: World) -> None:
    reserved = world.reserve()
    world.clock.advance(DAY)  # the first attempt died before it wrote anything
    announced = Announced("image/png", len(an_image()), world.store.plant("probe", an_image()).sha256)
    begun = world.presigned.begin("p1", announced, replace(reserved, is_retry=True))
    assert begun.request is not None
    world.object_deletions.delete(begun.record.object_id)
    world.store.remove("probe")
    world.object_deletions.tidy(out_of_time=never)
    assert world.store.fetch(begun.request, an_image()).status == 200
    after_the_last_url(world)
    assert world.bucket_keys() == set()


def test_the_sweep_of_an_announced_upload_waits_for_bytes_that_may_be_on_their_way_now(world: World) -> None:
    intent = world.intents.announce(
        "p1", world.reserve(), Inspected("image/png", "png", 8, 8), Details(), size=8, sha256=SHA256, source="multipart", lives_ms=DAY
    )
    world.clock.advance(SWEEP_DELAY)
    receipt = world.object_deletions.delete(intent.object_id)
    assert receipt["sweep_at"] == world.clock() + SWEEP_DELAY


def test_an_intent_deleted_before_its_bytes_came_leaves_nothing_when_they_come(world: World) -> None:
    intent, request = begin_upload(world, an_image())
    world.object_deletions.delete(intent.object_id)
    assert world.store.fetch(request, an_image()).status == 200
    assert world.aligner().align(intent.key).outcome is Outcome.DELETED
    after_the_last_url(world)
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_a_retry_of_an_upload_that_was_deleted_meanwhile_is_told_so_and_stores_nothing(world: World) -> None:
    record = world.upload()
    world.object_deletions.delete(record.object_id)
    retry = Reserved(record.object_id, record.created_at, is_retry=True)
    with pytest.raises(ObjectDeleted, match="requested"):
        world.intents.announce(
            "p1", retry, Inspected("image/png", "png", 8, 8), Details(), size=1, sha256=SHA256, source="upload", lives_ms=1
        )
    assert (world.bucket_keys(), world.counts()) == (set(), {})


# ---- keys that others made


def test_a_key_that_others_write_again_after_a_deletion_is_another_object_and_is_not_swept(world: World) -> None:
    first = adopted(world)
    assert world.object_deletions.delete(first.object_id)["sweep_at"] is None
    second = adopted(world)
    assert second.object_id != first.object_id
    after_the_last_url(world)
    assert (world.bucket_keys(), list(world.counts())) == ({FOREIGN_KEY}, ["STORED"])


@pytest.mark.parametrize("recorded", [True, False])
def test_a_deletion_taken_up_again_leaves_what_others_wrote_since_its_record_went(world: World, recorded: bool) -> None:
    first = adopted(world)

    def killed(name: str) -> None:
        if name == "after move":
            raise Crash

    with contextlib.suppress(Crash), watching(world, killed):
        world.object_deletions.delete(first.object_id)
    world.plant(FOREIGN_KEY)
    if recorded:
        world.aligner().align(FOREIGN_KEY)
    world.object_deletions.tidy(out_of_time=never)
    assert (world.bucket_keys(), waiting(world)) == ({FOREIGN_KEY}, [])
    assert list(world.counts()) == (["STORED"] if recorded else [])


def test_late_bytes_that_an_operator_set_aside_and_restored_are_not_swept(world: World) -> None:
    record = world.upload()
    world.object_deletions.delete(record.object_id)
    stored = world.store.plant(record.key, b"late and wanted")
    entry = world.quarantine.set_aside(record.key, stored.etag, stored, run_id="run", why="an orphan")
    world.quarantine.restore(entry.operation_id)
    after_the_last_url(world)
    assert (world.bucket_keys(), list(world.counts())) == ({record.key}, ["STORED"])


# ---- the timer


def test_the_timer_ends_what_stopped_half_way_and_leaves_what_is_not_due(world: World) -> None:
    stopped, done = world.upload(color=1), world.upload(color=2)
    world.object_deletions.delete(done.object_id)
    world.store.fail("delete", key=stopped.key)
    with pytest.raises(StorageUnavailable):
        world.object_deletions.delete(stopped.object_id)
    before = len(world.store.calls)
    assert world.object_deletions.tidy(out_of_time=never) == 0  # one is deleted now, and neither is done for good
    assert {key for _, key in world.store.calls[before:]} == {stopped.key}
    assert world.bucket_keys() == set()
    assert after_the_last_url(world) == 2
    assert world.object_deletions.tidy(out_of_time=never) == 0


def test_a_deletion_that_cannot_be_ended_keeps_no_other_waiting_and_is_an_error_by_name(world: World) -> None:
    stuck, other = world.upload(color=1), world.upload(color=2)
    for record in (stuck, other):
        world.object_deletions.delete(record.object_id)
        world.clock.advance(1)
    world.plant(other.key)
    world.clock.advance(SWEEP_DELAY)
    world.store.fail("delete", key=stuck.key, error=StorageError("it refuses"))
    with pytest.raises(StorageError, match="it refuses"):
        world.object_deletions.tidy(out_of_time=never)
    assert (world.bucket_keys(), waiting(world)) == (set(), [stuck.object_id])


def test_the_timer_stops_when_its_time_is_over_and_goes_on_the_next_time(world: World) -> None:
    for color in range(3):
        world.object_deletions.delete(world.upload(color=color).object_id)
    world.clock.advance(SWEEP_DELAY)
    answers = iter([False, True])
    assert world.object_deletions.tidy(out_of_time=lambda: next(answers)) == 1
    assert world.object_deletions.tidy(out_of_time=never) == 2


def test_a_ledger_that_does_not_answer_before_the_tombstone_leaves_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record = world.upload()

    def broken(*args: object, **kwargs: object) -> None:
        raise LedgerError("no answer")

    with monkeypatch.context() as patch, pytest.raises(LedgerError):
        patch.setattr(world.operations, "put", broken)
        world.object_deletions.delete(record.object_id)
    assert world.bytes_of(record) == an_image()


# ---- all of it together


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["delete", "killed delete", "timer", "late put", "event", "retry", "minute"]), min_size=1, max_size=10),
    st.lists(st.integers(1, 14), min_size=10, max_size=10),
)
def test_whatever_happens_around_a_deletion_it_ends_with_nothing_left_and_one_receipt(
    world: World, actions: list[str], steps: list[int]
) -> None:
    record = world.upload()
    late = put_request(world, record)
    receipts = [world.object_deletions.delete(record.object_id)] if actions[0] == "delete" else []
    for action, step in zip(actions, steps, strict=False):
        if action == "delete":
            receipts.append(world.object_deletions.delete(record.object_id))
        elif action == "killed delete":
            with contextlib.suppress(Crash), watching(world, at_step(step, crash)[0]):
                world.object_deletions.delete(record.object_id)
        elif action == "timer":
            world.object_deletions.tidy(out_of_time=never)
        elif action == "late put":
            world.store.fetch(late, an_image())
        elif action == "event":
            world.aligner().align(record.key)
        elif action == "minute":
            world.clock.advance(60_000)
        elif receipts:
            with pytest.raises(ObjectDeleted):
                world.object_deletions.check_not_deleted(record.object_id)
    receipts.append(world.object_deletions.delete(record.object_id))
    world.store.fetch(late, an_image())
    world.aligner().align(record.key)
    after_the_last_url(world)
    assert (world.bucket_keys(), world.counts(), waiting(world)) == (set(), {}, [])
    assert len({json.dumps({**receipt, "swept_at": None}) for receipt in receipts}) == 1


def test_the_cdn_is_told_to_forget_the_object_once_its_bytes_are_gone(public: World) -> None:
    there_when_purged: list[bool] = []

    class Watching(ListeningCdn):
        def purge(self, urls: Sequence[str], out_of_time: Callable[[], bool] = never) -> list[PurgeFailure]:
            there_when_purged.append(record.key in public.bucket_keys())
            return super().purge(urls)

    public.cdn = Watching()
    record = public.upload()
    receipt = public.object_deletions.delete(record.object_id)
    assert receipt["cdn"] == {"provider": "listening", "purged": True, "why": None}
    assert (public.cdn.purged, there_when_purged) == ([f"https://cdn.example/{record.key}"], [False])
    assert public.object_deletions.delete(record.object_id) == receipt
    assert len(public.cdn.purged) == 1


def test_what_the_cdn_did_not_take_stands_on_the_receipt_and_is_tried_again_when_asked_again(public: World) -> None:
    record = public.upload()
    public.cdn.refusing = {f"https://cdn.example/{record.key}"}
    receipt = public.object_deletions.delete(record.object_id)
    assert receipt["cdn"] == {"provider": "listening", "purged": False, "why": "the CDN answered 500"}
    assert receipt["deleted_at"] is not None
    assert public.ledger.record(record.key) is None
    public.cdn.refusing = set()
    assert public.object_deletions.delete(record.object_id)["cdn"] == {"provider": "listening", "purged": True, "why": None}


def test_the_sweep_of_a_key_has_the_cdn_forget_what_a_late_put_let_it_keep(public: World) -> None:
    record = public.upload()
    receipt = public.object_deletions.delete(record.object_id)
    assert receipt["swept_at"] is None
    public.clock.advance(SWEEP_DELAY)
    assert public.object_deletions.tidy(out_of_time=never) == 1
    assert public.cdn.purged == [f"https://cdn.example/{record.key}"] * 2


def test_of_an_upload_that_was_never_served_no_cdn_is_told(public: World) -> None:
    record = public.upload()
    assert public.object_deletions.delete(record.object_id, why="refused: too-large")["cdn"] is None
    assert public.cdn.purged == []
