"""The single actions of a repair: adopt, delete, forget, refetch, acknowledge; each also killed before every call."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stocktake.alignment import Outcome
from stocktake.errors import ImportRefused, ObjectNotFound, OperationNotFound, StorageDenied, StorageError
from stocktake.findings import Finding, classify
from stocktake.importing import Fetched
from stocktake.ledger import Operation
from stocktake.model import FindingClass, Record, State
from stocktake.reconciliation.walking import finding_part
from stocktake.repair.policies import POLICIES
from tests.unit.killing import killed_at
from tests.unit.ledger.builders import Deployment
from tests.unit.test_reconciliation import ORPHAN, aged
from tests.unit.world import World, an_image, never

URL = "https://images.example.com/1.png"


class Foreign:
    """A foreign host, in place of the fetcher."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def fetch(self, url: str) -> Fetched:
        return Fetched(self.body, "image/png", url)


def missing(world: World) -> Record:
    """A record with a URL whose object is gone, among others that are there."""
    world.upload(color=7)
    record = world.upload(color=1, metadata={"prompt": "a sunset"})
    record = world.ledger.move(record, replace(record, original_url=URL), gated=True)
    world.store.remove(record.key)
    world.fetcher = Foreign(an_image(1))  # type: ignore[assignment]  # stands in for the network
    return record


def bound(world: World, **profile: bool) -> World:
    """Makes the store's profile say something else."""
    known = replace(world.store.profile(), **profile)
    world.store.profile = lambda: known  # type: ignore[method-assign]  # the twin can do everything
    return world


def test_what_is_adopted_says_what_the_object_says_of_itself(world: World) -> None:
    body = an_image()
    world.store.put(
        ORPHAN,
        body,
        content_type="image/png",
        sha256=hashlib.sha256(body).hexdigest(),
        metadata={"author": "someone"},
        cache_control="no-store",
    )
    assert world.repair(aged(world).reconcile(), {"orphan": "adopt"})["done"] == {"ADOPT": 1}
    record = world.ledger.record(ORPHAN)
    assert record is not None
    assert (record.content_type, record.cache_control, record.metadata) == ("image/png", "no-store", {"author": "someone"})
    assert (record.state, record.layout, record.size) == (State.STORED, "hierarchical", len(body))


def test_what_an_upload_of_ours_left_without_a_record_is_adopted_under_its_own_id(world: World) -> None:
    record = world.upload()
    world.ledger.move(record, None, gated=False)
    assert world.repair(aged(world).reconcile(), {"orphan": "adopt"})["done"] == {"ADOPT": 1}
    adopted = world.ledger.record(record.key)
    assert adopted is not None
    assert (adopted.object_id, adopted.sha256, adopted.metadata) == (record.object_id, record.sha256, {})


def test_late_bytes_of_a_deleted_object_are_not_adopted_under_a_key_that_names_no_object(world: World) -> None:
    record = world.upload()
    content = world.store.get(record.key)
    assert content is not None
    world.object_deletions.delete(record.object_id)
    world.store.put(
        ORPHAN,
        content.body,
        content_type="image/png",
        sha256=hashlib.sha256(content.body).hexdigest(),
        metadata={"intent": record.object_id},
    )
    assert world.repair(aged(world).reconcile(), {"orphan": "adopt"})["reasons"] == {"deleted": 1}


def test_an_orphan_is_deleted_only_where_the_store_holds_the_deletion_to_what_was_seen(world: World) -> None:
    world.plant(ORPHAN)
    assert world.repair(world.seen_twice(), {"orphan": "delete"})["done"] == {"DELETE": 1}
    assert (world.bucket_keys(), world.counts(), world.quarantine.recent(1)[0]) == (set(), {}, [])
    world.plant(ORPHAN)
    assert bound(world, conditional_delete=False).repair(world.seen_twice(), {"orphan": "delete"})["done"] == {"QUARANTINE": 1}
    assert (world.bucket_keys(), len(world.quarantine.recent(1)[0])) == (set(), 1)


@pytest.mark.parametrize(
    ("action", "call", "error"),
    [
        ("delete", "delete", StorageDenied("a lock", code="AccessDenied")),
        ("delete", "head", StorageError("a bare 400", code="400")),
        ("quarantine", "delete", StorageDenied("a policy", code="AccessDenied")),
        ("quarantine", "copy", StorageDenied("another key of KMS", code="AccessDenied")),
    ],
)
def test_what_the_store_refuses_of_one_key_is_said_of_it_and_left_as_it_was_and_the_others_go_on(
    world: World, action: str, call: Any, error: StorageError
) -> None:
    keys = [f"projects/p1/scenes/s{number}/media/a.png" for number in range(3)]
    world.plant(*keys)
    run_id = world.seen_twice()
    world.store.fail(call, key=keys[0], error=error)
    repair = world.repair(run_id, {"orphan": action})
    assert (repair["done"], repair["reasons"]) == ({action.upper(): 2}, {"denied": 1})
    assert world.finding(run_id, keys[0])["skipped"] == str(error)
    assert (world.bucket_keys(), world.ledger.record(keys[0])) == ({keys[0]}, None)
    assert [held.document["key"] for held in world.quarantine.recent(9, status="MOVING")[0]] == []
    assert list(world.operations.of_kind("hold")) == []


@pytest.mark.parametrize("call", ["head", "delete"])
def test_a_store_that_refuses_everything_ends_the_step_and_the_next_goes_on(world: World, call: Any) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    repairs = world.repairs()
    repairs.request(run_id, {"orphan": "delete"}, first_run=True, out_of_time=never)

    def expired(operation: str, key: str | None) -> None:
        if operation == call:
            world.store.on_call = None
            world.store.fail("whereabouts", error=StorageDenied("the token has expired", code="ExpiredToken"))
            raise StorageError("a bare 400", code="400")

    world.store.on_call = expired
    with pytest.raises(StorageDenied, match="expired"):
        repairs.step(run_id, out_of_time=never)
    assert world.ended(repairs, run_id)["done"] == {"DELETE": 1}


def test_what_is_written_between_the_look_and_the_deletion_stays(world: World) -> None:
    world.plant(ORPHAN, body=b"older")
    run_id = world.seen_twice()

    def overwrite(operation: str, key: str | None) -> None:
        if operation == "delete" and key == ORPHAN:
            world.store.on_call = None
            world.plant(ORPHAN, body=b"newer")

    world.store.on_call = overwrite
    assert world.repair(run_id, {"orphan": "delete"})["reasons"] == {"changed": 1}
    assert (world.bucket_keys(), world.counts()) == ({ORPHAN}, {"STORED": (1, 5)})


def test_the_same_bytes_written_again_after_the_deletion_are_recorded(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    delete = world.store.delete

    def deleted(key: str, **condition: Any) -> None:
        delete(key, **condition)
        world.plant(ORPHAN)
        assert world.aligner().align(ORPHAN).outcome is Outcome.HELD

    world.store.delete = deleted  # type: ignore[method-assign]  # a writer comes right after it
    assert world.repair(run_id, {"orphan": "delete"})["done"] == {"DELETE": 1}
    record = world.ledger.record(ORPHAN)
    assert record is not None
    assert record.state is State.STORED


def test_an_orphan_that_has_a_record_by_now_is_not_deleted_by_a_deletion_that_was_begun(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    row = world.operations.get(run_id, finding_part(FindingClass.ORPHAN, ORPHAN))
    assert row is not None
    world.operations.update(row, document={**row.document, "acting": "delete"}, status="ACTING")
    world.aligner().align(ORPHAN)
    assert world.repair(run_id, {"orphan": "delete"})["reasons"] == {"changed": 1}
    assert world.tells_one_story()


def test_a_forgotten_record_goes_with_its_counts_and_a_row_says_what_it_was(world: World) -> None:
    record = missing(world)
    before = world.counts()["STORED"]
    assert world.repair(aged(world).reconcile(), {"missing": "forget"})["done"] == {"FORGET": 1}
    assert world.ledger.record(record.key) is None
    assert world.counts() == {"STORED": (before[0] - 1, before[1] - record.size)}
    row = world.operations.get(f"forgotten-{record.object_id}")
    assert row is not None
    assert (row.status, row.document["key"], row.document["sha256"]) == ("FORGOTTEN", record.key, record.sha256)
    assert "a sunset" not in str(row.document)
    with pytest.raises(ObjectNotFound):
        world.ledger.by_object_id(record.object_id)


def test_an_object_that_comes_back_while_its_record_is_forgotten_keeps_it(world: World) -> None:
    record = missing(world)
    run_id = aged(world).reconcile()
    heads = 0

    def come_back(operation: str, key: str | None) -> None:
        nonlocal heads
        heads += operation == "head" and key == record.key
        if heads == 2:
            world.store.on_call = None
            world.plant(record.key, body=an_image(1))

    world.store.on_call = come_back
    assert world.repair(run_id, {"missing": "forget"})["reasons"] == {"changed": 1}
    kept = world.ledger.record(record.key)
    assert kept is not None
    assert (kept.object_id, kept.metadata) == (record.object_id, record.metadata)


def test_what_is_refetched_is_put_back_to_the_byte_and_recorded_as_it_was(world: World) -> None:
    record = missing(world)
    assert world.repair(aged(world).reconcile(), {"missing": "refetch"})["done"] == {"REFETCH": 1}
    after = world.ledger.record(record.key)
    assert after is not None
    assert world.bytes_of(after) == an_image(1)
    kept = ("object_id", "state", "size", "sha256", "content_type", "metadata", "created_at", "original_url")
    assert [getattr(after, name) for name in kept] == [getattr(record, name) for name in kept]
    assert world.found(aged(world).reconcile()) == set()


@pytest.mark.parametrize("change", ["other bytes", "no url", "no hash", "refused"])
def test_what_the_source_does_not_give_as_it_was_is_left_missing_and_says_so(world: World, change: str) -> None:
    record = missing(world)
    current = world.ledger.record(record.key)
    assert current is not None
    if change == "other bytes":
        world.fetcher.body = an_image(2)  # type: ignore[attr-defined]  # the stand-in's
    elif change == "refused":
        world.fetcher.fetch = lambda url: (_ for _ in ()).throw(ImportRefused("404"))  # type: ignore[method-assign]  # as above
    else:
        changed = replace(current, original_url=None) if change == "no url" else replace(current, sha256=None)
        world.ledger.move(current, changed, gated=True)
    run_id = aged(world).reconcile()
    assert world.repair(run_id, {"missing": "refetch"})["reasons"] == {"import_refused": 1}
    assert record.key not in world.bucket_keys()
    finding = world.finding(run_id, record.key)
    assert ("other bytes" in finding["skipped"]) == (change == "other bytes")


@pytest.mark.parametrize("action", ["refetch", "forget"])
def test_a_record_that_an_event_marked_may_be_fetched_again_or_forgotten(world: World, action: str) -> None:
    record = missing(world)
    world.aligner().align(record.key)
    run_id = world.reconcile()
    assert world.found(run_id) == {("unstored", "missing", record.key)}
    assert world.repair(run_id, {"unstored": action})["done"] == {action.upper(): 1}
    after = world.ledger.record(record.key)
    assert (after and after.state, record.key in world.bucket_keys()) == ((State.STORED, True) if action == "refetch" else (None, False))
    assert world.found(aged(world).reconcile()) == set()


def test_who_has_a_record_marked_has_seen_it_and_is_not_told_again_until_it_changes(world: World) -> None:
    record = missing(world)
    world.repair(aged(world).reconcile(), {"missing": "mark_missing"})
    quiet = aged(world).reconcile()
    counts = world.runs.run(quiet).document["counts"]
    assert (world.found(quiet), counts["acknowledged"]["objects"], "unstored" in counts) == (set(), 1, False)
    marked = world.ledger.record(record.key)
    assert marked is not None
    world.ledger.move(marked, replace(marked, file_name="another.png"), gated=True)
    assert world.found(aged(world).reconcile()) == {("unstored", "missing", record.key)}


@pytest.mark.parametrize("action", ["forget", "refetch"])
def test_what_is_quiet_because_it_was_marked_may_be_forgotten_or_fetched_again_and_what_somebody_acknowledged_may_not(
    world: World, action: str
) -> None:
    record = world.upload()
    world.upload(color=9)
    world.store.remove(record.key)
    world.repair(world.seen_twice(), {"missing": "mark_missing"})
    run_id = world.seen_twice()
    assert world.found(run_id) == set()
    assert world.repairs().plan(run_id, {"unstored": "settle"}, out_of_time=never)["actions"][0]["count"] == 0
    assert world.repairs().plan(run_id, {"unstored": action}, out_of_time=never)["actions"][0]["count"] == 1
    if action == "forget":
        assert world.repair(run_id, {"unstored": "forget"})["done"] == {"FORGET": 1}
        assert world.ledger.record(record.key) is None
        return
    world.acknowledgements.acknowledge(world.finding(run_id, record.key), run_id=run_id)
    assert world.repairs().plan(run_id, {"unstored": action}, out_of_time=never)["actions"][0]["count"] == 0


def test_a_record_is_kept_whole_though_the_event_of_its_objects_return_came_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record, _ = world.upload(metadata={"prompt": "a cat"}, file_name="cat.png"), world.upload(color=9)
    body = world.bytes_of(record)
    world.store.remove(record.key)
    run_id, move = world.seen_twice(), world.ledger.move

    def event_first(before: Any, after: Any, **named: Any) -> Any:
        moved = move(before, after, **named)
        if after is None:
            monkeypatch.undo()
            world.plant(record.key, body=body)
            assert world.aligner().align(record.key).outcome is Outcome.ADOPTED
        return moved

    monkeypatch.setattr(world.ledger, "move", event_first)
    assert world.repair(run_id, {"missing": "forget"})["reasons"] == {"changed": 1}
    kept = world.ledger.record(record.key)
    assert kept is not None
    assert (kept.object_id, kept.state, kept.metadata, kept.file_name) == (record.object_id, State.STORED, {"prompt": "a cat"}, "cat.png")
    assert world.tells_one_story()


def test_an_inline_record_is_refetched_from_the_ledger(world: World) -> None:
    inline = world.without_storage().put(an_image(3)).record
    assert world.repair(aged(world).reconcile(), {"unstored": "refetch"})["done"] == {"REFETCH": 1}
    after = world.ledger.record(inline.key)
    assert after is not None
    assert (after.state, world.bytes_of(after)) == (State.STORED, an_image(3))


def test_an_acknowledged_finding_is_quiet_until_it_changes(world: World) -> None:
    world.plant("backup.tar", ORPHAN)
    run_id = aged(world).reconcile()
    assert world.repair(run_id, {"unknown": "acknowledge"})["done"] == {"ACKNOWLEDGED": 1}
    quiet = aged(world).reconcile()
    counts = world.runs.run(quiet).document["counts"]
    assert (counts["acknowledged"]["objects"], counts["orphan"]["objects"], "unknown" in counts) == (1, 1, False)
    assert world.finding(quiet, "backup.tar")["repair"] == "ACKNOWLEDGED"
    assert world.repairs().plan(quiet, {"unknown": "acknowledge"}, out_of_time=never)["actions"][0]["count"] == 0
    world.plant("backup.tar", body=b"another")
    assert world.runs.run(aged(world).reconcile()).document["counts"]["unknown"]["objects"] == 1


@pytest.mark.parametrize("action", ["delete", "quarantine"])
def test_what_was_acknowledged_since_is_left_alone_by_the_plan_of_an_older_run(world: World, action: str) -> None:
    world.plant(ORPHAN)
    older = world.seen_twice()
    world.clock.advance(1)
    world.repair(world.reconcile(), {"orphan": "acknowledge"})
    assert world.repair(older, {"orphan": action})["reasons"] == {"acknowledged": 1}
    assert world.store.head(ORPHAN) is not None


def test_an_acknowledgement_can_be_revoked_and_made_anew(world: World) -> None:
    world.plant("backup.tar")
    finding = world.finding(aged(world).reconcile(), "backup.tar")
    made = world.acknowledgements.acknowledge(finding, run_id="r")
    assert world.acknowledgements.covers(finding)
    world.acknowledgements.revoke(made.operation_id)
    assert (world.acknowledgements.covers(finding), world.acknowledgements.recent(10, None)[0]) == (False, [])
    for gone in (made.operation_id, "settings"):
        with pytest.raises(OperationNotFound):
            world.acknowledgements.revoke(gone)
    world.acknowledgements.acknowledge(finding, run_id="r")
    assert [row.operation_id for row in world.acknowledgements.recent(10, None)[0]] == [made.operation_id]


def test_the_safe_policy_loses_nothing(world: World) -> None:
    missing(world)
    world.plant(ORPHAN, "backup.tar")
    keys, records = set(world.every_key()), {entry.key for entry in world.ledger.entries()}
    world.repair(world.seen_twice(), POLICIES["safe"])
    assert (set(world.every_key()), {entry.key for entry in world.ledger.entries()}) == (keys, records)


def test_an_object_too_large_to_copy_is_planned_as_such(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    row = world.operations.get(run_id, finding_part(FindingClass.ORPHAN, ORPHAN))
    assert row is not None
    world.operations.update(row, document={**row.document, "bytes": 5 * 2**30 + 1})
    assert world.repairs().plan(run_id, {"orphan": "quarantine"}, out_of_time=never)["actions"][0]["skipped"] == {"too_large": 1}


def found(world: World, key: str) -> Operation:
    """Writes what a run would have found of a key, seen twice and long ago."""
    record, stored = world.ledger.record(key), world.store.head(key)
    parsed = world.layouts.parse(key)
    verdict = classify(stored, record, parsed, "active")
    assert verdict is not None
    finding = Finding(key, *verdict, stored, record, parsed.layout if parsed else None, "p1")
    document = {**finding.document(), "sightings": 2, "first_seen_at": world.clock() - world.grace_ms}
    return world.operations.put("r", finding_part(verdict[0], key), None, document, created_at=world.clock(), status="FOUND")


def _orphan(world: World, number: int) -> str:
    key = f"projects/p1/scenes/s{number}/media/a.png"
    world.plant(key)
    return key


def _missing(world: World, number: int) -> str:
    record = world.record(f"projects/p1/scenes/s{number}/media/a.png", State.STORED, **FETCHED)
    return record.key


FETCHED: dict[str, Any] = {
    "size": len(an_image(1)),
    "sha256": hashlib.sha256(an_image(1)).hexdigest(),
    "content_type": "image/png",
    "original_url": URL,
}
Ended = Callable[[World, str], bool]


@pytest.mark.parametrize(
    ("action", "status", "made", "ended"),
    [
        ("delete", "DELETE", _orphan, lambda world, key: world.store.head(key) is None and world.counts() == {}),
        ("quarantine", "QUARANTINE", _orphan, lambda world, key: world.counts() == {"QUARANTINED": (1, 8)}),
        ("forget", "FORGET", _missing, lambda world, key: world.counts() == {}),
        ("refetch", "REFETCH", _missing, lambda world, key: world.counts() == {"STORED": (1, FETCHED["size"])}),
        ("acknowledge", "ACKNOWLEDGED", _orphan, lambda world, key: len(world.acknowledgements.recent(100, None)[0]) == 1),
    ],
)
def test_an_action_killed_before_any_call_and_begun_again_ends_as_if_it_had_not_been(
    world: World, deployment: Deployment, action: str, status: str, made: Callable[[World, int], str], ended: Ended
) -> None:
    world.fetcher = Foreign(an_image(1))  # type: ignore[assignment]  # stands in for the network
    for call in itertools.count():
        key = made(world, call)
        finding = found(world, key)
        with killed_at(world, deployment, call) as killing:
            world.actor.act(finding, "r", action)
        again = world.operations.get("r", finding.part)
        assert again is not None
        if again.status in ("FOUND", "ACTING"):
            again = world.actor.act(again, "r", action)
        assert (again.status, ended(world, key)) == (status, True), call
        # what the next round is to see alone
        world.store.remove(key)
        record = world.ledger.record(key)
        if record is not None:
            world.ledger.move(record, None, gated=False)
        for row in world.acknowledgements.recent(100, None)[0]:
            world.acknowledgements.revoke(row.operation_id)
        if not killing.happened:
            return
