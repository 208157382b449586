"""Findings that a repair had begun on and not ended: taken up again by the same plan, by another one, or by a newer run's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from stocktake.alignment import Aligner, Outcome
from stocktake.errors import StorageDenied, StorageError, StorageUnavailable
from stocktake.ledger import Operation
from stocktake.model import Record, State
from stocktake.quarantine import MOVE_MS
from stocktake.reconciliation.lease import SKEW_MS, STEP_MS
from stocktake.repair.holding import is_hold
from tests.unit.killing import before_call, killed_at
from tests.unit.ledger.builders import Deployment
from tests.unit.test_repair_actions import found
from tests.unit.world import HOUR, Crash, World, never

KEY = "projects/p1/scenes/s1/media/a.png"


def broken_off(world: World, policy: dict[str, str], call: str = "delete") -> str:
    """Lets a repair meet an outage at the first such call to the bucket until it has failed and its step is over, and returns its run."""
    run_id, repairs = world.seen_twice(), world.repairs()
    repairs.request(run_id, policy, first_run=True, out_of_time=never)
    world.store.fail(call, key=KEY)  # type: ignore[arg-type]  # of a parameter
    with pytest.raises(StorageUnavailable):
        repairs.step(run_id, out_of_time=never)
    repairs.fail(run_id, "the store did not answer")
    world.clock.advance(STEP_MS + SKEW_MS + 1)
    assert world.finding(run_id, KEY)["repair"] == "ACTING"
    return run_id


def killed_after(world: World, finding: Operation, action: str, name: str) -> Operation:
    """Lets an action be killed once the bucket has done the call of this name, and returns the finding it leaves."""
    real = getattr(world.store, name)

    def killed(*args: Any, **named: Any) -> None:
        real(*args, **named)
        raise Crash

    setattr(world.store, name, killed)
    with pytest.raises(Crash):
        world.actor.act(finding, "r", action)
    setattr(world.store, name, real)
    return again(world, finding)


def again(world: World, finding: Operation) -> Operation:
    """Reads a finding as it is by now."""
    row = world.operations.get(finding.operation_id, finding.part)
    assert row is not None
    return row


@pytest.mark.parametrize("action", ["quarantine", "adopt", "acknowledge"])
def test_a_deletion_that_broke_off_is_not_ended_by_a_plan_that_says_something_else(world: World, action: str) -> None:
    world.plant(KEY)
    run_id = broken_off(world, {"orphan": "delete"})
    plan = world.repairs().plan(run_id, {"orphan": action}, out_of_time=never)
    assert [(line["action"], line["count"]) for line in plan["actions"]] == [(action, 1)]
    done = "ACKNOWLEDGED" if action == "acknowledge" else action.upper()
    assert world.repair(run_id, {"orphan": action})["done"] == {done: 1}
    assert (world.bucket_keys() == {KEY}, len(world.quarantine.recent(9)[0])) == ((False, 1) if action == "quarantine" else (True, 0))
    assert not any(is_hold(world.ledger.record(entry.key)) for entry in world.ledger.entries())


def test_a_forgetting_that_broke_off_forgets_nothing_under_a_plan_that_says_something_else(world: World) -> None:
    world.upload(color=9)
    record = world.record(KEY, State.STORED)
    world.clock.advance(world.grace_ms + 1)
    run_id, repairs = world.seen_twice(), world.repairs()
    repairs.request(run_id, {"missing": "forget"}, first_run=True, out_of_time=never)
    world.store.on_call = _unavailable_from(2, "head", record.key)
    with pytest.raises(StorageUnavailable):
        repairs.step(run_id, out_of_time=never)
    world.store.on_call = None
    repairs.fail(run_id, "the store did not answer")
    world.clock.advance(STEP_MS + SKEW_MS + 1)
    world.repair(run_id, {"missing": "mark_missing"})
    kept = world.ledger.record(record.key)
    assert kept is not None
    assert (kept.object_id, kept.state) == (record.object_id, State.MISSING)


def _unavailable_from(first: int, name: str, key: str) -> Callable[[str, str | None], None]:
    calls = itertools.count(1)

    def fail(operation: str, of: str | None) -> None:
        if (operation, of) == (name, key) and next(calls) >= first:
            raise StorageUnavailable("not now")

    return fail


@pytest.mark.parametrize("policy", [{"orphan": "delete"}, {"orphan": "quarantine"}])
def test_the_same_bytes_put_again_after_an_action_broke_off_are_not_touched(world: World, policy: dict[str, str]) -> None:
    world.plant(KEY)
    run_id = broken_off(world, policy)
    world.store.remove(KEY)
    world.clock.advance(30 * 24 * HOUR)
    world.plant(KEY)
    world.clock.advance(1000)
    repair = world.repair(run_id, policy)
    assert (repair["done"], repair["reasons"]) == ({}, {"changed": 1})
    assert (world.bucket_keys(), world.ledger.record(KEY)) == ({KEY}, None)


def begun_and_broken_off(world: World, action: str) -> Operation:
    """Lets an action meet an outage once it has said that it begins, before it has done anything, and returns its finding."""
    finding = found(world, KEY)
    world.store.on_call = _unavailable_from(2, "head", KEY)
    with pytest.raises(StorageUnavailable):
        world.actor.act(finding, "r", action)
    world.store.on_call = None
    return again(world, finding)


def test_an_adoption_that_broke_off_adopts_nothing_that_was_put_since(world: World) -> None:
    world.plant(KEY)
    begun = begun_and_broken_off(world, "adopt")
    world.clock.advance(HOUR)
    world.plant(KEY)
    assert world.actor.act(begun, "r", "adopt").document["reason"] == "changed"
    assert world.ledger.record(KEY) is None


@pytest.mark.parametrize("is_told", [True, False])
def test_what_came_back_after_its_marking_broke_off_is_not_said_to_be_marked(world: World, is_told: bool) -> None:
    world.record(KEY, State.STORED)
    begun = begun_and_broken_off(world, "mark_missing")
    world.plant(KEY)
    if is_told:
        world.aligner().align(KEY)
    ended = world.actor.act(begun, "r", "mark_missing")
    assert (ended.status, ended.document["reason"]) == ("SKIPPED", "in_line" if is_told else "changed")


def test_a_refresh_that_broke_off_makes_no_record_where_it_was_forgotten_since(world: World) -> None:
    record = world.record(KEY, State.STORED)
    world.plant(KEY)
    begun = begun_and_broken_off(world, "refresh")
    world.ledger.move(record, None, gated=False)
    assert world.actor.act(begun, "r", "refresh").document["reason"] == "changed"
    assert world.ledger.record(KEY) is None


def test_the_same_bytes_put_again_after_the_deletion_are_not_deleted_by_its_second_delivery(world: World) -> None:
    world.plant(KEY)
    begun = killed_after(world, found(world, KEY), "delete", "delete")
    world.clock.advance(HOUR)
    world.plant(KEY)
    assert world.actor.act(begun, "r", "delete").document["reason"] == "changed"
    assert (world.bucket_keys(), world.ledger.record(KEY)) == ({KEY}, None)


@pytest.mark.parametrize("action", ["delete", "adopt", "quarantine", "acknowledge"])
def test_what_the_store_had_deleted_is_said_to_be_deleted_whatever_is_wanted_by_now(world: World, action: str) -> None:
    world.plant(KEY)
    begun = killed_after(world, found(world, KEY), "delete", "delete")
    assert world.actor.act(begun, "r", action).status == "DELETE"
    assert (world.bucket_keys(), world.ledger.record(KEY), world.counts()) == (set(), None, {})


@pytest.mark.parametrize(
    ("first", "then"), [("delete", "adopt"), ("delete", "quarantine"), ("quarantine", "adopt"), ("quarantine", "delete")]
)
def test_an_action_killed_before_any_call_and_followed_by_another_one_leaves_what_it_says(
    world: World, deployment: Deployment, first: str, then: str
) -> None:
    for call in itertools.count():
        key = f"projects/p1/scenes/s{call}/media/a.png"
        world.plant(key)
        finding = found(world, key)
        with killed_at(world, deployment, call) as killing:
            world.actor.act(finding, "r", first)
        ended = again(world, finding)
        if ended.status in ("FOUND", "ACTING"):
            ended = world.actor.act(ended, "r", then)
        record, stored = world.ledger.record(key), world.store.head(key)
        assert not is_hold(record), call
        left = {
            "ADOPT": (stored is not None, record is not None and record.state is State.STORED),
            "DELETE": (stored is None, record is None),
            "QUARANTINE": (stored is None, record is not None and record.state is State.QUARANTINED),
        }
        assert left[ended.status] == (True, True), (call, ended)
        if not killing.happened:
            return


def test_an_object_that_is_recorded_at_any_moment_of_its_deletion_is_not_deleted(world: World, deployment: Deployment) -> None:
    for call in itertools.count():
        key = f"projects/p1/scenes/s{call}/media/a.png"
        world.plant(key)
        finding = found(world, key)
        with before_call(world, deployment, call, lambda key=key: world.aligner().align(key)) as happened:  # type: ignore[misc]
            ended = world.actor.act(finding, "r", "delete")
        record, stored = world.ledger.record(key), world.store.head(key)
        if ended.status == "DELETE":
            assert (record, stored) == (None, None), call
        else:
            assert record is not None and stored is not None, call
            assert (ended.document["reason"], record.state) == ("changed", State.STORED), call
        if not happened:
            return


def test_a_key_that_a_deletion_held_and_left_is_an_orphans_again_once_a_newer_run_is_repaired(world: World) -> None:
    world.plant(KEY)
    broken_off(world, {"orphan": "delete"})
    newer = world.seen_twice()
    assert world.found(newer) == {("mismatch", "reappeared", KEY)}
    assert world.repair(newer, {"mismatch": "refresh"})["done"] == {"REFRESH": 1}
    assert (world.ledger.record(KEY), world.counts()) == (None, {})
    assert world.found(world.seen_twice()) == {("orphan", "active", KEY)}


def test_a_refresh_killed_while_it_lets_go_of_a_key_adopts_nothing_when_it_is_begun_again(world: World, deployment: Deployment) -> None:
    for call in itertools.count():
        key = f"projects/p1/scenes/s{call}/media/a.png"
        world.plant(key)
        world.store.fail("delete", key=key)
        with pytest.raises(StorageUnavailable):
            world.actor.act(found(world, key), "r", "delete")
        reappeared = found(world, key)
        with killed_at(world, deployment, call) as killing:
            world.actor.act(reappeared, "r", "refresh")
        ended = again(world, reappeared)
        if ended.status in ("FOUND", "ACTING"):
            ended = world.actor.act(ended, "r", "refresh")
        assert (ended.status, world.ledger.record(key), world.store.head(key) is None) == ("REFRESH", None, False), call
        if not killing.happened:
            return


def test_an_orphan_of_nobody_whose_project_is_opened_by_then_is_left_alone(world: World) -> None:
    key = "projects/newp/scenes/s/media/a.png"
    world.plant(key)
    run_id = world.seen_twice()
    world.uploads.create_project("newp", {})
    assert world.repair(run_id, {"orphan.none": "quarantine"})["reasons"] == {"changed": 1}
    assert world.bucket_keys() == {key}


def test_a_key_that_a_deletion_held_is_let_go_where_its_object_is_refused_by_then(world: World) -> None:
    world.plant(KEY)
    run_id = broken_off(world, {"orphan": "delete"})
    world.store.fail("head", key=KEY, times=2, error=StorageDenied("a policy since", code="403"))
    assert world.repair(run_id, {"orphan": "delete"})["reasons"] == {"denied": 1}
    assert (world.ledger.record(KEY), list(world.operations.of_kind("hold"))) == (None, [])


@pytest.mark.parametrize("error", [StorageDenied("a policy since", code="403"), StorageError("a bare 400", code="400")])
def test_a_record_is_kept_where_its_object_is_refused_when_it_is_forgotten(world: World, error: StorageError) -> None:
    record = world.record(KEY, State.STORED)
    finding = found(world, KEY)
    world.store.fail("head", key=KEY, skip=1, error=error)
    assert world.actor.act(finding, "r", "forget").document["reason"] == "denied"
    assert world.ledger.record(KEY) == record


@pytest.mark.parametrize("is_back", [True, False])
def test_a_record_is_kept_when_nobody_can_tell_whether_its_object_came_back_while_it_was_forgotten(world: World, is_back: bool) -> None:
    record = world.record(KEY, State.STORED, metadata={"prompt": "a sunset"})
    finding = found(world, KEY)
    world.store.on_call = _unavailable_from(2, "head", KEY)
    with pytest.raises(StorageUnavailable):
        world.actor.act(finding, "r", "forget")
    world.store.on_call = None
    kept = world.ledger.record(KEY)
    assert kept is not None
    assert (kept.object_id, kept.metadata, kept.state) == (record.object_id, {"prompt": "a sunset"}, State.STORED)
    if is_back:
        world.plant(KEY)
    else:
        world.ledger.move(kept, None, gated=False)  # by somebody else
    assert world.actor.act(again(world, finding), "r", "forget").document["reason"] == "changed"


def test_what_was_forgotten_before_a_kill_is_said_to_be_though_its_object_came_back_since(world: World) -> None:
    world.record(KEY, State.STORED)
    finding = found(world, KEY)
    real, heads = world.store.head, itertools.count(1)

    def killed(key: str) -> Any:
        if next(heads) == 2:
            raise Crash
        return real(key)

    world.store.head = killed  # type: ignore[method-assign]
    with pytest.raises(Crash):
        world.actor.act(finding, "r", "forget")
    world.store.head = real  # type: ignore[method-assign]
    world.plant(KEY)
    assert world.actor.act(again(world, finding), "r", "forget").status == "FORGET"
    assert world.bucket_keys() == {KEY}


def test_what_is_skipped_under_another_plan_is_said_of_what_that_one_wanted(world: World) -> None:
    world.plant(KEY)
    run_id = broken_off(world, {"orphan": "delete"})
    world.plant(KEY, body=b"another")
    assert world.repair(run_id, {"orphan": "quarantine"})["reasons"] == {"changed": 1}
    [line], _ = world.repairs().actions(run_id, None, 9, None)
    assert (line["action"], line["result"]) == ("quarantine", "skipped")


def set_aside_and_killed(world: World, finding: Operation) -> Operation:
    """Lets a quarantine be killed once its entry says HELD, before the finding says so, and returns the finding."""
    real = world.operations.update

    def killed(row: Operation, **changes: Any) -> Operation:
        if changes.get("status") == "QUARANTINE":
            raise Crash
        return real(row, **changes)

    world.operations.update = killed  # type: ignore[method-assign,assignment]
    with pytest.raises(Crash):
        world.actor.act(finding, "r", "quarantine")
    world.operations.update = real  # type: ignore[method-assign]
    return again(world, finding)


@pytest.mark.parametrize("action", ["quarantine", "adopt"])
def test_what_was_set_aside_before_a_kill_is_said_to_be_though_another_object_came_since(world: World, action: str) -> None:
    world.plant(KEY)
    begun = set_aside_and_killed(world, found(world, KEY))
    world.plant(KEY, body=b"another")
    assert world.actor.act(begun, "r", action).status == "QUARANTINE"
    assert world.quarantine.recent(1)[0][0].status == "HELD"


def test_what_was_restored_since_stays_so_when_its_move_is_dropped(world: World) -> None:
    world.plant(KEY)
    begun = set_aside_and_killed(world, found(world, KEY))
    [entry] = world.quarantine.recent(1)[0]
    world.quarantine.restore(entry.operation_id)
    assert world.actor.act(begun, "r", "delete").document["reason"] == "changed"
    assert world.quarantine.entry(entry.operation_id).status == "RESTORED"
    assert world.tells_one_story()


def test_what_an_event_did_first_is_not_said_to_have_been_done(world: World) -> None:
    world.record(KEY, State.STORED)
    world.plant(KEY)
    finding = found(world, KEY)
    heads = itertools.count(1)

    def event(operation: str, _: str | None) -> None:
        if operation == "head" and next(heads) == 2:
            world.store.on_call = None
            world.aligner().align(KEY)

    world.store.on_call = event
    assert world.actor.act(finding, "r", "refresh").document["reason"] == "in_line"


def test_a_late_object_of_a_deleted_project_is_deleted_and_adopted_by_no_event_where_it_is_opened_anew(world: World) -> None:
    world.upload()
    world.delete_project()
    world.plant(KEY)
    run_id = world.seen_twice()
    assert world.found(run_id) == {("orphan", "deleted", KEY)}

    def opened() -> None:
        world.uploads.create_project("p1", {})
        assert world.aligner().align(KEY).outcome is Outcome.HELD

    at_call(world, "delete", opened)
    assert world.repair(run_id, {"orphan": "delete"})["done"] == {"DELETE": 1}
    assert (world.bucket_keys(), world.ledger.record(KEY), world.counts()) == (set(), None, {})


def at_call(world: World, name: str, then: Callable[[], object]) -> None:
    """Does something right before the next such call to the bucket about the key."""

    def called(operation: str, key: str | None) -> None:
        if (operation, key) == (name, KEY):
            world.store.on_call = None
            then()

    world.store.on_call = called


@pytest.mark.parametrize(("action", "call"), [("delete", "delete"), ("quarantine", "copy"), ("quarantine", "delete")])
def test_what_is_written_while_an_action_holds_its_key_is_recorded_when_it_lets_go(world: World, action: str, call: str) -> None:
    world.plant(KEY)
    run_id = world.seen_twice()

    def written() -> None:
        world.plant(KEY, body=b"of a living writer")
        assert world.aligner().align(KEY).outcome is Outcome.HELD

    at_call(world, call, written)
    assert world.repair(run_id, {"orphan": action})["reasons"] == {"changed": 1}
    assert world.tells_one_story()
    assert world.counts() == {"STORED": (1, 18)}


def test_what_was_written_while_a_deletion_that_broke_off_held_its_key_is_recorded_when_it_is_let_go(world: World) -> None:
    world.plant(KEY)
    run_id = broken_off(world, {"orphan": "delete"})
    world.plant(KEY, body=b"of a living writer")
    world.repair(run_id, {"orphan": "quarantine"})
    assert world.tells_one_story()


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_key_that_a_deletion_held_and_that_no_apply_comes_to_again_is_let_go_by_the_purge(world: World, is_gone: bool) -> None:
    world.plant(KEY)
    broken_off(world, {"orphan": "delete"})
    if is_gone:
        world.store.remove(KEY)
    world.clock.advance(MOVE_MS - STEP_MS - SKEW_MS - 2)
    world.holds.purge(out_of_time=never)
    assert is_hold(world.ledger.record(KEY)), "a step may be at it"
    world.clock.advance(world.grace_ms)
    world.reconcile()
    world.expiry.purge(out_of_time=never)
    assert (world.ledger.record(KEY), world.counts(), world.operations.recent("hold", 9)) == (None, {}, [])


def test_a_key_that_a_step_comes_to_again_while_it_is_purged_stays_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(KEY)
    run_id = broken_off(world, {"orphan": "delete"})
    world.clock.advance(MOVE_MS)
    let_go = Aligner.let_go

    def at_it(aligner: Aligner, held: Record, *, was_removed: bool) -> None:
        monkeypatch.undo()
        stored = world.store.head(KEY)
        assert stored is not None
        world.holds.take(stored, run_id, held)
        let_go(aligner, held, was_removed=was_removed)

    monkeypatch.setattr(Aligner, "let_go", at_it)
    world.holds.purge(out_of_time=never)
    assert is_hold(world.ledger.record(KEY))
    assert len(world.operations.recent("hold", 9)) == 1


def test_a_deletion_whose_hold_the_deletion_of_the_project_takes_at_any_moment_is_ended(world: World, deployment: Deployment) -> None:
    for call in itertools.count():
        key = f"projects/p1/scenes/s{call}/media/a.png"
        world.plant(key)
        finding = found(world, key)

        def take(key: str = key) -> None:
            record = world.ledger.record(key)
            if record is not None:
                world.ledger.move(record, None, gated=False)

        with before_call(world, deployment, call, take) as happened:
            ended = world.actor.act(finding, "r", "delete")
        assert (ended.status, world.ledger.record(key), world.store.head(key)) == ("DELETE", None, None), call
        if not happened:
            return


def test_a_move_that_is_half_done_is_planned_to_be_ended_though_another_clock_says_that_it_is_too_early(world: World) -> None:
    world.plant(KEY)
    run_id = broken_off(world, {"orphan": "quarantine"})
    world.clock.advance(-world.grace_ms)
    counts = {
        action: world.repairs().plan(run_id, {"orphan": action}, out_of_time=never)["actions"][0]["count"]
        for action in ("quarantine", "delete")
    }
    assert counts == {"quarantine": 1, "delete": 0}
