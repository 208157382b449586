"""What is in quarantine: listed, restored to the field, alone or by run, purged, and drilled."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from stocktake.alignment import Outcome
from stocktake.drills import KEY as DRILLED
from stocktake.errors import (
    Conflict,
    LedgerRestored,
    ObjectChanged,
    ObjectExists,
    OperationNotFound,
    RecordChanged,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from stocktake.ledger import Operation
from stocktake.model import State, StoredObject
from stocktake.quarantine import DAY_MS, MAX_BYTES, MOVE_MS
from stocktake.repair import restoring
from tests.unit.hashless import HashlessStore
from tests.unit.killing import killed_at
from tests.unit.ledger.builders import Deployment
from tests.unit.test_reconciliation import ORPHAN, aged
from tests.unit.world import Clock, Crash, World, never

HEADERS: dict[str, Any] = {
    "content_type": "image/png",
    "cache_control": "no-store",
    "content_disposition": 'attachment; filename="a.png"',
    "metadata": {"author": "someone", "note": "smörgåsbord"},
}


def aside(world: World, key: str = ORPHAN, run_id: str = "r", body: bytes = b"precious") -> Operation:
    """Puts an object with every header and sets it aside."""
    world.store.put(key, body, sha256=hashlib.sha256(body).hexdigest(), **HEADERS)
    stored = world.store.head(key)
    assert stored is not None
    return world.quarantine.set_aside(key, stored.etag, stored, run_id=run_id, why="a test")


def left_moving(world: World) -> Operation:
    """Lets a move meet an outage once the hold and the copy are there, and returns its entry."""
    world.reconcile()
    world.store.fail("delete", key=ORPHAN)
    with pytest.raises(StorageUnavailable):
        aside(world)
    [entry] = world.quarantine.recent(1)[0]
    return entry


def expired(world: World) -> World:
    """Lets everything in quarantine be over its days, after a run that saw it all."""
    world.clock.advance(30 * DAY_MS)
    world.reconcile()
    return world


def purged(world: World) -> dict[str, Any]:
    return world.expiry.purge(out_of_time=never)


def statuses(world: World) -> list[str]:
    return [entry.status for entry in world.quarantine.recent(100)[0]]


def test_what_is_restored_is_as_it_was_in_every_header_and_every_field(world: World) -> None:
    entry = aside(world)
    held = world.ledger.record(ORPHAN)
    world.clock.advance(DAY_MS)
    world.quarantine.restore(entry.operation_id)
    content, record = world.store.get(ORPHAN), world.ledger.record(ORPHAN)
    assert content is not None and record is not None and held is not None
    assert content.body == b"precious"
    assert {name: getattr(content.object, name) for name in HEADERS} == HEADERS
    moved = {"state", "updated_at", "version"}
    assert {name: value for name, value in asdict(record).items() if name not in moved} == {
        name: value for name, value in asdict(held).items() if name not in moved
    }
    assert (record.state, record.metadata, record.content_type) == (State.STORED, HEADERS["metadata"], "image/png")


def test_what_one_request_cannot_copy_is_not_set_aside_and_says_so(world: World) -> None:
    large = StoredObject(ORPHAN, MAX_BYTES + 1, "etag", 0)
    with pytest.raises(TooLarge, match="one request copies at most"):
        world.quarantine.set_aside(ORPHAN, "etag", large, run_id="r", why="")
    assert statuses(world) == []


def test_entries_are_paged_and_filtered_by_project_status_and_run(world: World) -> None:
    world.uploads.create_project("p2", {})
    for number, (project, run_id) in enumerate([("p1", "r1"), ("p2", "r1"), ("p1", "r2"), ("p1", "r1")]):
        world.clock.advance(1)
        aside(world, f"projects/{project}/scenes/s{number}/media/a.png", run_id)
    entries, _ = world.quarantine.recent(10, project="proj_p1", run_id="r1")
    assert [entry.document["key"].split("/")[3] for entry in entries] == ["s3", "s0"]
    world.quarantine.restore(entries[0].operation_id)
    assert [entry.operation_id for entry in world.quarantine.recent(10, status="RESTORED")[0]] == [entries[0].operation_id]
    first, cursor = world.quarantine.recent(3)
    assert (len(first), len(world.quarantine.recent(3, cursor)[0]), world.quarantine.recent(3, cursor)[1]) == (3, 1, None)


def test_what_is_over_its_days_is_purged_with_its_record_and_nothing_before(world: World) -> None:
    aside(world)
    world.clock.advance(30 * DAY_MS - 1)
    world.reconcile()
    assert purged(world) == {"purged": 0, "kept": 0}
    world.clock.advance(1)
    assert purged(world) == {"purged": 1, "kept": 0}
    assert (statuses(world), world.counts(), world.ledger.record(ORPHAN)) == (["PURGED"], {}, None)
    assert not [key for key in world.every_key() if "quarantine" in key]
    with pytest.raises(Conflict, match="purged"):
        world.quarantine.restore(world.quarantine.recent(1)[0][0].operation_id)


def test_what_was_restored_by_now_is_not_purged_though_the_list_has_not_heard_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    aside(world)
    stale = list(world.operations.of_kind("quarantine"))
    world.quarantine.restore(stale[0].operation_id)
    expired(world)
    monkeypatch.setattr(world.operations, "of_kind", lambda kind: iter(stale if kind == "quarantine" else ()))
    assert purged(world) == {"purged": 0, "kept": 0}
    assert (world.counts(), world.bucket_keys()) == ({"STORED": (1, stale[0].document["size"])}, {ORPHAN})


def test_runs_that_were_skipped_keep_nothing_from_being_purged(world: World) -> None:
    aside(world)
    expired(world)
    for _ in range(2):
        world.clock.advance(1)
        world.operations.put(world.new_id(0), "", "reconciliation", {}, created_at=world.clock(), status="SKIPPED")
    assert purged(world)["purged"] == 1


@pytest.mark.parametrize("status", ["REQUESTED", "RUNNING", "INCOMPLETE", "FAILED"])
def test_nothing_is_purged_unless_the_newest_run_saw_everything(world: World, status: str) -> None:
    aside(world)
    newest = expired(world).runs.recent(1)[0]
    world.operations.update(newest, status=status)
    assert (purged(world)["purged"], statuses(world)) == (0, ["HELD"])


def test_nothing_is_purged_where_no_run_ever_was_or_the_ledger_was_restored(world: World) -> None:
    aside(world)
    world.clock.advance(31 * DAY_MS)
    assert purged(world)["purged"] == 0
    world.reconcile()
    world.tombstones.check = lambda: (_ for _ in ()).throw(LedgerRestored("older"))  # type: ignore[method-assign]  # as after a restore
    with pytest.raises(LedgerRestored):
        purged(world)
    assert statuses(world) == ["HELD"]


@pytest.mark.parametrize("body", [b"stranger", b"another length"])
def test_a_copy_that_is_another_by_now_is_not_purged(world: World, body: bytes) -> None:
    entry = aside(world)
    world.plant(entry.document["quarantine_key"], body=body)
    for _ in range(2):
        assert purged(expired(world)) == {"purged": 0, "kept": 1}
    kept = world.quarantine.entry(entry.operation_id)
    assert (kept.status, "look at it" in kept.document["kept"]) == ("HELD", True)
    assert world.counts() == {"QUARANTINED": (1, 8)}


def test_what_is_being_restored_is_not_purged_and_what_is_being_purged_is_not_restored(world: World) -> None:
    entry = aside(world)
    restoring = world.operations.update(entry, status="RESTORING")
    assert purged(expired(world)) == {"purged": 0, "kept": 0}
    world.operations.update(restoring, status="PURGING")
    with pytest.raises(Conflict, match="purging"):
        world.quarantine.restore(entry.operation_id)
    assert purged(world) == {"purged": 1, "kept": 0}


def test_a_record_that_is_no_longer_the_entry_s_is_left_by_its_purge(world: World) -> None:
    aside(world)
    record = world.ledger.record(ORPHAN)
    assert record is not None
    world.ledger.move(record, replace(record, state=State.STORED), gated=True)
    world.plant(ORPHAN)
    assert purged(expired(world)) == {"purged": 1, "kept": 0}
    assert world.counts() == {"STORED": (1, 8)}


def test_a_purge_short_of_time_leaves_the_rest_for_the_next(world: World) -> None:
    for number in range(2):
        aside(world, f"projects/p1/scenes/s{number}/media/a.png")
    late = iter([False, True])
    assert expired(world).expiry.purge(out_of_time=lambda: next(late))["purged"] == 1
    assert purged(world)["purged"] == 1


def test_a_purge_goes_on_past_what_cannot_be_removed_and_says_so_at_its_end(world: World) -> None:
    entries = []
    for number in range(3):
        world.clock.advance(1)  # the oldest comes first
        entries.append(aside(world, f"projects/p1/scenes/s{number}/media/a.png"))
    held_fast = entries[0].document["quarantine_key"]
    world.store.fail("delete", key=held_fast, times=2, error=StorageDenied("object lock"))
    expired(world)
    for _ in range(2):
        with pytest.raises(StorageDenied, match="object lock"):
            purged(world)
        assert [world.quarantine.entry(entry.operation_id).status for entry in entries] == ["PURGING", "PURGED", "PURGED"]
    assert purged(world) == {"purged": 1, "kept": 0}


def test_what_is_restored_while_a_purge_looks_at_it_is_no_trouble_of_the_purge(world: World) -> None:
    restored, other = aside(world), aside(world, "projects/p1/scenes/other/media/a.png")
    expired(world)

    def restore(operation: str, key: str | None) -> None:
        world.store.on_call = None
        world.quarantine.restore(restored.operation_id)

    world.store.on_call = restore
    assert purged(world) == {"purged": 1, "kept": 0}
    assert [world.quarantine.entry(entry.operation_id).status for entry in (restored, other)] == ["RESTORED", "PURGED"]
    assert world.bucket_keys() == {ORPHAN}


# of a project that is deleted, or of none


def of_deleted(world: World) -> Operation:
    """Sets an object aside that came under a project's key after its deletion."""
    world.delete_project("p1")
    return aside(world)


@pytest.mark.parametrize("since", ["nothing", "opened anew"])
def test_what_came_after_its_projects_deletion_is_restored_to_the_byte_and_without_a_record(world: World, since: str) -> None:
    entry = of_deleted(world)
    if since == "opened anew":
        world.uploads.create_project("p1", {})
    assert world.restorations.restore(entry.operation_id).status == "RESTORED"
    content = world.store.get(ORPHAN)
    assert content is not None
    assert (content.body, {name: getattr(content.object, name) for name in HEADERS}) == (b"precious", HEADERS)
    assert (world.ledger.record(ORPHAN), entry.document["quarantine_key"] in world.every_key()) == (None, False)


@pytest.mark.parametrize("was", ["deleted", "open"])
def test_nothing_is_restored_that_was_set_aside_before_its_project_was_deleted(world: World, was: str) -> None:
    if was == "deleted":
        entry = of_deleted(world)
        world.uploads.create_project("p1", {})
    else:
        entry = aside(world)
    copy = world.store.get(entry.document["quarantine_key"])
    assert copy is not None
    world.delete_project("p1")
    world.store.plant(entry.document["quarantine_key"], copy.body)  # as if the deletion had not got at it
    for again in (False, True):
        if again:
            world.uploads.create_project("p1", {})
        with pytest.raises(Conflict, match="was deleted since"):
            world.quarantine.restore(entry.operation_id)
    assert ORPHAN not in world.every_key()


def test_a_restore_touches_no_record_of_another_object_that_is_set_aside(world: World) -> None:
    older = of_deleted(world)
    world.uploads.create_project("p1", {})
    newer = aside(world, run_id="newer", body=b"of the project that was opened anew")
    world.quarantine.restore(older.operation_id)
    held = world.ledger.record(ORPHAN)
    assert held is not None
    assert (held.object_id, held.state) == (newer.operation_id, State.QUARANTINED)


@pytest.mark.parametrize("since", ["deleted", "deleted and opened anew"])
def test_a_move_that_began_before_its_project_was_deleted_does_not_go_on_after_it(world: World, deployment: Deployment, since: str) -> None:
    with killed_at(world, deployment, 5):
        aside(world)
    [entry] = world.quarantine.recent(1)[0]
    assert (entry.status, world.ledger.record(ORPHAN)) == ("MOVING", None)
    world.delete_project("p1")
    if since != "deleted":
        world.uploads.create_project("p1", {})
    with pytest.raises(RecordChanged, match="opened or deleted since"):
        aside(world)
    assert (statuses(world), world.store.head(ORPHAN) is not None, world.counts()) == (["CANCELLED"], True, {})


# a move that broke off


def broken_off(world: World, deployment: Deployment, call: int) -> bool:
    """Kills a move before its call number `call`, and says whether it came so far."""
    with killed_at(world, deployment, call) as killing:
        aside(world)
    return killing.happened


@pytest.mark.parametrize("way", ["restore", "purge"])
def test_a_move_killed_before_any_call_is_ended_once_nobody_can_be_at_it(world: World, deployment: Deployment, way: str) -> None:
    world.reconcile()
    for call in itertools.count():
        happened = broken_off(world, deployment, call)
        for entry in world.quarantine.recent(1)[0]:
            world.clock.advance(MOVE_MS)
            if way == "restore":
                assert world.quarantine.restore(entry.operation_id).status == "RESTORED", call
                assert world.quarantine.restore(entry.operation_id).status == "RESTORED", call
            else:
                purged(world)
                status, is_there = world.quarantine.entry(entry.operation_id).status, world.store.head(ORPHAN) is not None
                assert (status, is_there) in (("CANCELLED", True), ("HELD", False)), call
                if status == "HELD":
                    world.quarantine.restore(entry.operation_id)
            content, record = world.store.get(ORPHAN), world.ledger.record(ORPHAN)
            assert content is not None and content.body == b"precious", call
            assert record is None or record.state is State.STORED, call
            assert entry.document["quarantine_key"] not in world.every_key(), call
            if record is not None:
                world.ledger.move(record, None, gated=False)
            world.operations.remove(entry.operation_id)
        world.store.remove(ORPHAN)
        assert world.counts() == {}, call
        if not happened:
            return


@pytest.mark.parametrize("way", ["restore", "purge"])
def test_the_end_of_a_broken_off_move_killed_before_any_call_is_done_by_the_next(world: World, deployment: Deployment, way: str) -> None:
    world.reconcile()
    for call in itertools.count():
        world.store.fail("delete", key=ORPHAN)  # the hold is there, the copy, and the original
        with pytest.raises(StorageUnavailable):
            aside(world)
        [entry] = world.quarantine.recent(1)[0]
        world.clock.advance(MOVE_MS)

        def end(entry_id: str = entry.operation_id) -> None:
            if way == "restore":
                world.quarantine.restore(entry_id)
            else:
                world.quarantine.purge(out_of_time=never)

        with killed_at(world, deployment, call) as killing:
            end()
        end()
        record = world.ledger.record(ORPHAN)
        status = world.quarantine.entry(entry.operation_id).status
        assert (status, record is None) == (("CANCELLED", True) if way == "purge" else ("RESTORED", False)), call
        assert world.bucket_keys() == {ORPHAN} and entry.document["quarantine_key"] not in world.every_key(), call
        if record is not None:
            assert record.state is State.STORED, call
            world.ledger.move(record, None, gated=False)
        world.store.remove(ORPHAN)
        world.operations.remove(entry.operation_id)
        if not killing.happened:
            return


@pytest.mark.parametrize("way", ["restore", "purge"])
def test_a_move_that_may_be_alive_is_ended_by_nobody(world: World, way: str) -> None:
    world.reconcile()
    world.store.fail("delete", key=ORPHAN, times=2)
    with pytest.raises(StorageUnavailable):
        aside(world)
    world.clock.advance(MOVE_MS)
    with pytest.raises(StorageUnavailable):
        aside(world)  # another attempt: it may be at work from now on for as long again
    [entry] = world.quarantine.recent(1)[0]
    world.clock.advance(MOVE_MS - 1)
    if way == "restore":
        with pytest.raises(Conflict, match="being moved"):
            world.quarantine.restore(entry.operation_id)
    else:
        assert purged(world) == {"purged": 0, "kept": 0}
    assert (statuses(world), world.counts()) == (["MOVING"], {"QUARANTINED": (1, 8)})
    assert entry.document["quarantine_key"] in world.every_key()


@pytest.mark.parametrize("way", ["restore", "purge"])
def test_an_attempt_that_goes_on_at_the_moment_a_move_is_ended_loses_nothing(world: World, way: str) -> None:
    entry = left_moving(world)
    world.clock.advance(MOVE_MS)

    def go_on(operation: str, key: str | None) -> None:
        if key == entry.document["quarantine_key"]:  # the last look before the move is ended
            world.store.on_call = None
            aside(world)

    world.store.on_call = go_on
    if way == "restore":
        with pytest.raises(RecordChanged):
            world.quarantine.restore(entry.operation_id)
    else:
        assert purged(world) == {"purged": 0, "kept": 0}
    assert (statuses(world), world.bucket_keys()) == (["HELD"], set())
    world.quarantine.restore(entry.operation_id)
    assert world.bucket_keys() == {ORPHAN} and world.tells_one_story()


def test_a_move_that_was_ended_is_not_gone_on_with(world: World) -> None:
    left_moving(world)
    world.clock.advance(MOVE_MS)
    purged(world)
    with pytest.raises(ObjectChanged, match="broken off"):
        aside(world)
    assert (statuses(world), world.bucket_keys(), world.counts()) == (["CANCELLED"], {ORPHAN}, {})


def test_a_broken_off_move_of_a_project_that_closed_since_is_restored_by_nobody_and_ended_by_the_purge(world: World) -> None:
    entry = left_moving(world)
    world.clock.advance(MOVE_MS)
    world.deletions.request("p1", reason="a test")
    with pytest.raises(Conflict, match="was deleted since"):
        world.quarantine.restore(entry.operation_id)
    assert statuses(world) == ["MOVING"]
    purged(world)
    assert (statuses(world), world.bucket_keys()) == (["CANCELLED"], {ORPHAN})


def test_what_broke_off_and_was_written_anew_meanwhile_is_held_and_the_new_object_recorded(world: World) -> None:
    left_moving(world)
    world.plant(ORPHAN, body=b"written anew")
    world.clock.advance(MOVE_MS)
    purged(world)
    assert (statuses(world), world.counts(), world.bucket_keys()) == (["HELD"], {"STORED": (1, 12)}, {ORPHAN})
    [entry] = world.quarantine.recent(1)[0]
    with pytest.raises(ObjectExists):
        world.quarantine.restore(entry.operation_id)


def test_what_broke_off_and_is_gone_with_its_copy_says_so_and_holds_its_key_no_longer(world: World) -> None:
    world.reconcile()
    world.store.fail("copy", error=StorageUnavailable("no answer"))
    with pytest.raises(StorageUnavailable):
        aside(world)
    world.store.remove(ORPHAN)
    [entry] = world.quarantine.recent(1)[0]
    with pytest.raises(Conflict, match="nothing can be restored"):
        world.quarantine.restore(entry.operation_id)
    world.clock.advance(MOVE_MS)
    purged(world)
    assert (statuses(world), world.counts()) == (["CANCELLED"], {})


def test_an_original_in_its_place_is_known_though_its_copy_has_another_etag(world: World) -> None:
    entry = left_moving(world)
    world.plant(entry.document["quarantine_key"], body=b"PRECIOUS")  # as a copy of what was uploaded in parts looks
    world.clock.advance(MOVE_MS)
    world.quarantine.restore(entry.operation_id)
    content = world.store.get(ORPHAN)
    assert content is not None
    assert (content.body, world.counts()) == (b"precious", {"STORED": (1, 8)})


@pytest.mark.parametrize(
    ("lies_there", "is_back"),
    [(b"precious", True), (b"PRECIOUS", True), (b"strangex", False), (None, False)],
    ids=["the original", "its copy", "a stranger of the same size", "nothing"],
)
def test_a_restore_that_finds_no_copy_any_more_believes_only_what_was_set_aside(
    world: World, lies_there: bytes | None, *, is_back: bool
) -> None:
    entry = aside(world)
    # as a copy of what was uploaded in parts: it has another ETag
    told = {**entry.document, "copy_etag": hashlib.md5(b"PRECIOUS", usedforsecurity=False).hexdigest()}
    world.operations.update(entry, document=told, status="RESTORING")
    world.store.remove(entry.document["quarantine_key"])
    if lies_there is not None:
        world.plant(ORPHAN, body=lies_there)
    if is_back:
        assert world.quarantine.restore(entry.operation_id).status == "RESTORED"
    else:
        with pytest.raises(Conflict, match="is gone from the bucket"):
            world.quarantine.restore(entry.operation_id)
    assert world.counts() == {"STORED" if is_back else "QUARANTINED": (1, 8)}


def without_hashes(deployment: Deployment) -> World:
    """Makes a deployment over a store whose ETags say nothing of the bytes."""
    clock = Clock()
    world = World(HashlessStore("data", now=clock), deployment.ledger, deployment.operations, clock)
    world.uploads.create_project("p1", {})
    return world


def planted_aside(world: World) -> Operation:
    """Sets aside an object that says nothing of where it is from."""
    world.plant(ORPHAN, body=b"precious")
    stored = world.store.head(ORPHAN)
    assert stored is not None
    return world.quarantine.set_aside(ORPHAN, stored.etag, stored, run_id="r", why="a test")


def test_a_restore_killed_before_any_call_is_ended_by_the_next_where_no_etag_is_a_hash(
    deploy: Callable[..., Deployment],
) -> None:
    for call in itertools.count():
        world = without_hashes(deployment := deploy())
        entry = planted_aside(world)
        with killed_at(world, deployment, call) as killing:
            world.quarantine.restore(entry.operation_id)
        assert world.quarantine.restore(entry.operation_id).status == "RESTORED", call
        assert world.store.head(entry.document["quarantine_key"]) is None, call
        assert (world.bucket_keys(), world.counts()) == ({ORPHAN}, {"STORED": (1, 8)}), call
        record, stored = world.ledger.record(ORPHAN), world.store.head(ORPHAN)
        assert record is not None and stored is not None
        assert record.etag == stored.etag, call
        if not killing.happened:
            return


@pytest.mark.parametrize("body", [b"strangex", b"precious but longer"])
def test_what_lies_under_the_key_before_a_restore_is_not_taken_for_its_copy_where_no_etag_is_a_hash(
    deployment: Deployment, body: bytes
) -> None:
    world = without_hashes(deployment)
    entry = planted_aside(world)
    world.plant(ORPHAN, body=body)
    for _ in range(2):
        with pytest.raises(ObjectExists):
            world.quarantine.restore(entry.operation_id)
    world.store.fail("copy")
    with pytest.raises(StorageUnavailable):
        world.quarantine.restore(entry.operation_id)
    with pytest.raises(ObjectExists):
        world.quarantine.restore(entry.operation_id)
    assert world.quarantine.entry(entry.operation_id).status == "HELD"


def test_what_comes_at_the_moment_of_a_restore_is_not_taken_for_its_copy_where_no_etag_is_a_hash(deployment: Deployment) -> None:
    world = without_hashes(deployment)
    entry = planted_aside(world)

    def stranger(operation: str, _: str | None) -> None:
        if operation == "copy":
            world.store.on_call = None
            world.plant(ORPHAN, body=b"strangex")

    world.store.on_call = stranger
    with pytest.raises(ObjectExists):
        world.quarantine.restore(entry.operation_id)
    assert world.quarantine.entry(entry.operation_id).status == "HELD"


def test_what_comes_with_other_headers_after_a_restore_was_killed_is_not_taken_for_its_copy(deployment: Deployment) -> None:
    world = without_hashes(deployment)
    entry = planted_aside(world)
    world.store.fail("copy")
    with pytest.raises(StorageUnavailable):
        world.quarantine.restore(entry.operation_id)
    world.store.put(ORPHAN, b"strangex", sha256=hashlib.sha256(b"strangex").hexdigest(), **HEADERS)
    with pytest.raises(ObjectExists):
        world.quarantine.restore(entry.operation_id)


@pytest.mark.parametrize("what", ["purge", "restore"])
def test_a_way_out_of_quarantine_killed_before_any_call_is_ended_by_the_next(world: World, deployment: Deployment, what: str) -> None:
    world.reconcile()
    for call in itertools.count():
        key = f"projects/p1/scenes/s{call}/media/a.png"
        entry = aside(world, key)
        if what == "purge":
            world.clock.advance(30 * DAY_MS)

        def leave(entry_id: str = entry.operation_id) -> None:
            if what == "purge":
                world.quarantine.purge(out_of_time=never)
            else:
                world.quarantine.restore(entry_id)

        with killed_at(world, deployment, call) as killing:
            leave()
        leave()
        record, stored = world.ledger.record(key), world.store.head(key)
        assert world.store.head(entry.document["quarantine_key"]) is None, call
        assert (record is None, stored is None) == (what == "purge", what == "purge"), call
        if record is not None:
            assert record.state is State.STORED, call
            world.store.remove(key)
            world.ledger.move(record, None, gated=False)
        assert world.counts() == {}, call
        # what is done is forgotten, so that the next round's list has one entry
        world.operations.remove(entry.operation_id)
        if not killing.happened:
            return


def all_aside(world: World, count: int) -> tuple[list[str], str]:
    """Sets so many objects aside by one run; returns their keys and the run's id."""
    keys = [f"projects/p1/scenes/s{number}/media/a.png" for number in range(count)]
    world.plant(*keys)
    run_id = world.seen_twice()
    world.repair(run_id, {"orphan": "quarantine"})
    return keys, run_id


def test_a_run_is_taken_back_whole_and_what_cannot_be_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, run_id = all_aside(world, 3)
    other = aside(world)
    monkeypatch.setattr(restoring, "_FINDINGS_AT_ONCE", 2)
    with monkeypatch.context() as lagging:  # the list of the quarantine, by an index, as it was before the repair
        lagging.setattr(world.operations, "recent_page", lambda *_: ([], None))
        take_back(world, run_id, keys)
    [held] = world.quarantine.recent(10, run_id=run_id, status="HELD")[0]
    assert "already holds another object" in held.document["not_restored"]
    assert world.quarantine.entry(other.operation_id).status == "HELD"
    world.store.remove(keys[1])
    assert world.restorations.request(run_id)["turn"] == 2
    while not world.restorations.step(run_id, out_of_time=lambda: True)["done"]:
        pass
    assert world.quarantine.recent(10, run_id=run_id, status="HELD")[0] == []
    assert world.restorations.step(run_id, out_of_time=never)["done"]


def test_a_restoration_that_was_killed_counts_what_it_had_restored_and_looks_at_the_clock_after_each(world: World) -> None:
    _, run_id = all_aside(world, 4)
    world.restorations.request(run_id)
    assert not world.restorations.step(run_id, out_of_time=lambda: True)["done"]
    assert (world.restorations.restoration(run_id) or {})["restored"] == 1
    copies = itertools.count(1)

    def die(operation: str, key: str | None) -> None:
        if operation == "copy" and next(copies) == 3:
            raise Crash

    world.store.on_call = die
    with pytest.raises(Crash):
        world.restorations.step(run_id, out_of_time=never)
    world.store.on_call = None
    assert world.restorations.step(run_id, out_of_time=never)["done"]
    assert (world.restorations.restoration(run_id) or {})["restored"] == 4


def test_what_the_store_refuses_to_take_back_says_why_and_keeps_no_other_from_it(world: World) -> None:
    keys, run_id = all_aside(world, 3)
    world.restorations.request(run_id)
    world.store.fail("copy", key=keys[0], error=StorageDenied("another key of KMS", code="AccessDenied"))
    assert world.restorations.step(run_id, out_of_time=never)["done"]
    assert world.bucket_keys() == set(keys[1:])
    [left] = world.quarantine.recent(10, run_id=run_id, status="RESTORING")[0]
    assert left.document["not_restored"] == "another key of KMS"
    world.restorations.request(run_id)
    world.store.fail("copy", key=keys[0], error=StorageDenied("the token has expired", code="403"))
    world.store.on_call = lambda operation, key: world.store.fail("whereabouts") if operation == "copy" else None
    with pytest.raises(StorageUnavailable):
        world.restorations.step(run_id, out_of_time=never)


def take_back(world: World, run_id: str, keys: list[str]) -> None:
    world.plant(keys[1], body=b"a stranger")
    assert world.restorations.request(run_id) == world.restorations.request(run_id)
    assert world.launched[-1] == {"action": "apply", "run_id": run_id, "turn": "restore-1"}
    with pytest.raises(Conflict, match="being restored"):
        world.repairs().request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    assert world.restorations.step(run_id, out_of_time=never)["done"]
    restoration = world.restorations.restoration(run_id)
    assert restoration is not None
    assert (restoration["status"], restoration["restored"], restoration["failed"]) == ("DONE", 2, 1)
    assert world.bucket_keys() == set(keys)


def test_a_run_that_is_being_repaired_is_not_taken_back_and_one_that_broke_off_says_why(world: World) -> None:
    run_id = aged(world).reconcile()
    with pytest.raises(OperationNotFound):
        world.restorations.request("nothing")
    world.repairs().request(run_id, {"orphan": "adopt"}, first_run=True, out_of_time=never)
    with pytest.raises(Conflict, match="being repaired"):
        world.restorations.request(run_id)
    world.ended(world.repairs(), run_id)
    world.restorations.request(run_id)
    assert world.restorations.is_running(run_id)
    world.restorations.fail(run_id, "the store did not answer")
    failed = world.restorations.restoration(run_id)
    assert failed is not None
    assert (failed["status"], failed["why"]) == ("FAILED", "the store did not answer")


# an end before its days are over


@pytest.mark.parametrize("came", [b"it came since", b"precious"])
def test_what_is_held_is_removed_early_and_what_came_under_its_key_is_recorded(world: World, came: bytes) -> None:
    entry = aside(world)
    key = entry.document["key"]
    world.plant(key, body=came)
    assert world.aligner().align(key).outcome is Outcome.HELD
    ended = world.expiry.purge_early(entry.operation_id)
    assert (ended.status, world.store.head(entry.document["quarantine_key"])) == ("PURGED", None)
    record = world.ledger.record(key)
    assert record is not None
    assert (record.state, record.size) == (State.STORED, len(came))
    assert world.expiry.purge_early(entry.operation_id) == ended
    with pytest.raises(Conflict, match="purged"):
        world.quarantine.restore(entry.operation_id)


def test_only_what_is_held_is_removed_early_and_never_what_is_no_copy(world: World) -> None:
    entry = aside(world)
    world.plant(entry.document["quarantine_key"], body=b"something else")
    with pytest.raises(Conflict, match="not what was set aside"):
        world.expiry.purge_early(entry.operation_id)
    assert world.store.head(entry.document["quarantine_key"]) is not None
    restored = aside(world)
    world.quarantine.restore(restored.operation_id)
    with pytest.raises(Conflict, match="restored: only what is held"):
        world.expiry.purge_early(restored.operation_id)


# whose it may be


@pytest.mark.parametrize("key", ["projects/p9/scenes/s1/media/a.png", "proj_p9_2_x_media.mp4"])
def test_what_was_nobodys_when_it_was_set_aside_goes_with_the_project_that_is_opened_since(world: World, key: str) -> None:
    world.plant(key)
    world.repair(world.seen_twice(), {"orphan.none": "quarantine"})
    [entry] = world.quarantine.recent(9)[0]
    assert (entry.status, entry.document["project_id"]) == ("HELD", None)
    world.uploads.create_project("p9", {})
    assert world.delete_project("p9")["status"] == "DELETED"
    assert world.store.head(entry.document["quarantine_key"]) is None
    with pytest.raises(Conflict, match="deleted since"):
        world.quarantine.restore(entry.operation_id)


def test_what_may_be_of_two_projects_is_a_suspect_of_both_also_where_it_was_set_aside(world: World) -> None:
    for project_id in ("p9", "p9_2"):
        world.uploads.create_project(project_id, {})
    world.plant("proj_p9_2_x_media.mp4")
    world.repair(world.seen_twice(), {"orphan.none": "quarantine"})
    [entry] = world.quarantine.recent(9)[0]
    for project_id in ("p9", "p9_2"):
        receipt = world.delete_project(project_id)
        assert (receipt["status"], [of["key"] for of in receipt["suspects"]]) == ("INCOMPLETE", [entry.document["quarantine_key"]])
    with pytest.raises(Conflict, match="deleted since"):
        world.quarantine.restore(entry.operation_id)


# the drill


def left(world: World) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """What a drill left behind in the bucket and in the counts of its project."""
    return [key for key in world.every_key() if "drill" in key], world.counts("stocktake-drill")


def test_a_drill_passes_and_leaves_nothing(world: World) -> None:
    drill = world.drills.run()
    assert (drill.status, drill.document["differences"], drill.document["why"]) == ("PASSED", [], None)
    assert left(world) == ([], {})
    assert world.drills.run().status == "PASSED"
    assert [row.status for row in world.drills.recent(5)] == ["PASSED", "PASSED"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"content_type": "text/html"}, "header content_type"),
        ({"cache_control": "no-store"}, "header cache_control"),
        ({"metadata": {"stocktake-drill": "planted"}}, "header metadata"),
        ({}, "the bytes are others"),
    ],
)
def test_a_drill_names_what_is_not_as_it_was(world: World, damage: dict[str, Any], said: str) -> None:
    restore = world.quarantine.restore

    def damaged(entry_id: str) -> Operation:
        restored, content = restore(entry_id), world.store.get(DRILLED)
        assert content is not None
        body = content.body if damage else b"x" * len(content.body)
        kept = {name: getattr(content.object, name) for name in HEADERS} | damage
        world.store.put(DRILLED, body, sha256=hashlib.sha256(body).hexdigest(), **kept)
        return restored

    world.quarantine.restore = damaged  # type: ignore[method-assign]  # a store that keeps not all
    drill = world.drills.run()
    assert drill.status == "FAILED"
    assert said in drill.document["differences"]
    assert left(world) == ([], {})


def test_a_drill_that_the_store_refuses_fails_and_the_next_cleans_up(world: World) -> None:
    world.store.fail("copy", error=StorageError("no copies today"))
    drill = world.drills.run()
    assert (drill.status, "no copies today" in drill.document["why"]) == ("FAILED", True)
    assert left(world) == ([], {})


def test_a_drill_touches_nothing_that_it_has_not_planted(world: World) -> None:
    world.uploads.create_project("stocktake-drill", {})
    world.plant(DRILLED, body=b"somebody's")
    world.aligner().align(DRILLED)
    assert world.drills.run().status == "FAILED"
    assert world.counts("stocktake-drill") == {"STORED": (1, 10)}
    assert DRILLED in world.every_key()


def test_no_event_makes_a_record_of_what_a_drill_planted(world: World) -> None:
    def event(operation: str, key: str | None) -> None:
        if operation == "copy":
            world.store.on_call = None
            world.aligner().align(DRILLED)

    world.store.on_call = event
    assert world.drills.run().status == "PASSED"


def test_two_drills_do_not_meet(world: World) -> None:
    row = world.operations.put("drill-x", "", "drill", {"started_at": world.clock(), "etag": None}, created_at=1, status="RUNNING")
    with pytest.raises(Conflict, match="is running"):
        world.drills.run()
    world.clock.advance(600_000)
    assert world.drills.run().status == "PASSED"
    killed = world.operations.get(row.operation_id)
    assert killed is not None
    assert (killed.status, killed.document["why"]) == ("FAILED", "it was killed")


def test_a_drill_killed_before_any_call_is_cleaned_up_by_the_next(world: World, deployment: Deployment) -> None:
    world.drills.run()
    for call in itertools.count():
        with killed_at(world, deployment, call) as killing:
            world.drills.run()
        world.clock.advance(600_000)
        if not killing.happened:
            break
        if call % 4 == 3:  # it meets what four that were killed have left
            assert world.drills.run().status == "PASSED", call
            assert left(world) == ([], {}), call
    assert not {"MOVING", "HELD", "RESTORING"} & set(statuses(world))
