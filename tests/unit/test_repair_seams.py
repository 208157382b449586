"""Where runs, repairs, restorations and the purge meet: what was stopped, overtaken, asked for twice, or looks at another bucket."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from stocktake.errors import Conflict, LedgerRestored, RunIncomplete, RunInProgress
from stocktake.identity import IDENTITY_KEY
from stocktake.model import State
from stocktake.quarantine import DAY_MS, enter_copy
from stocktake.reconciliation.lease import LEASE_MS, SKEW_MS, STEP_MS
from tests.unit.world import Crash, World, never

KEYS = tuple(f"projects/p1/scenes/s{number}/media/a.png" for number in range(3))
QUARANTINE = {"orphan": "quarantine"}


def set_aside(world: World) -> str:
    """Lets a run's repair set three orphans aside and returns the run."""
    world.plant(*KEYS)
    run_id = world.seen_twice()
    world.repair(run_id, QUARANTINE)
    assert world.bucket_keys() == set()
    return run_id


def after(done: int, then: Callable[[], Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """Does `then` once, when `call` was made so many times."""
    calls = itertools.count(1)

    def counted(*args: Any, **named: Any) -> Any:
        answer = call(*args, **named)
        if next(calls) == done:
            then()
        return answer

    return counted


def another_bucket(world: World) -> None:
    """Puts another bucket under the same name: with its own mark, and what a backup of ours may hold."""
    world.store.plant(IDENTITY_KEY, json.dumps({"bucket_id": "another"}).encode())


def test_no_run_begins_beside_a_restoration_though_the_repair_before_it_has_ended(world: World) -> None:
    run_id = set_aside(world)
    world.restorations.request(run_id)
    with pytest.raises(RunInProgress, match=run_id):
        world.runs.request()
    assert world.restorations.step(run_id, out_of_time=never)["done"]
    assert world.bucket_keys() == set(KEYS)
    world.runs.request()


def test_a_restoration_that_ended_and_died_before_it_gave_the_lease_back_stands_in_nobodys_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = world.seen_twice()
    world.restorations.request(run_id)
    with monkeypatch.context() as patched:
        patched.setattr(world.runs.lease, "free", lambda *_: None)
        assert world.restorations.step(run_id, out_of_time=never)["done"]
    world.runs.request()


@pytest.mark.parametrize("way", ["stopped", "overtaken"])
def test_a_restoration_that_was_stopped_or_overtaken_restores_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    run_id = set_aside(world)
    world.restorations.request(run_id)

    def end() -> None:
        if way == "stopped":
            world.runs.stop(run_id)
        else:
            world.clock.advance(LEASE_MS + SKEW_MS + 1)
            world.runs.request()

    monkeypatch.setattr(world.quarantine, "restore", after(1, end, world.quarantine.restore))
    assert world.restorations.step(run_id, out_of_time=never)["done"]
    assert len(world.bucket_keys()) == 1


def test_nothing_is_purged_from_another_bucket_and_no_entry_says_so(world: World) -> None:
    set_aside(world)
    world.clock.advance(30 * DAY_MS)
    world.reconcile()
    another_bucket(world)
    with pytest.raises(RunIncomplete, match="another bucket"):
        world.expiry.purge(out_of_time=never)
    assert {entry.status for entry in world.quarantine.recent(10)[0]} == {"HELD"}
    assert {entry.state for entry in world.ledger.entries()} == {State.QUARANTINED}


def test_nothing_is_restored_into_another_bucket(world: World) -> None:
    run_id = set_aside(world)
    entry = world.quarantine.recent(1)[0][0]
    world.restorations.request(run_id)
    another_bucket(world)
    with pytest.raises(RunIncomplete, match="another bucket"):
        world.restorations.step(run_id, out_of_time=never)
    with pytest.raises(RunIncomplete, match="another bucket"):
        world.restorations.restore(entry.operation_id)
    assert world.bucket_keys() == set()
    assert {entry.status for entry in world.quarantine.recent(10)[0]} == {"HELD"}


def test_nothing_is_restored_alone_or_by_run_while_the_ledger_is_older_than_an_erasure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = set_aside(world)
    entry = world.quarantine.recent(1)[0][0]
    world.restorations.request(run_id)

    def restored() -> None:
        raise LedgerRestored("the tables are older")

    monkeypatch.setattr(world.tombstones, "check", restored)
    with pytest.raises(LedgerRestored):
        world.restorations.restore(entry.operation_id)
    with pytest.raises(LedgerRestored):
        world.restorations.step(run_id, out_of_time=never)
    assert world.bucket_keys() == set()


def test_the_same_repair_asked_for_again_does_not_end_the_step_that_is_at_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(*KEYS)
    run_id, repairs = world.seen_twice(), world.repairs()

    def again() -> None:
        repairs.request(run_id, QUARANTINE, out_of_time=never)

    again()
    monkeypatch.setattr(world.actor, "act", after(1, again, world.actor.act))
    assert repairs.step(run_id, out_of_time=never)["done"]
    repair = repairs.repair(run_id)
    assert repair is not None
    assert (repair["status"], repair["done"]) == ("DONE", {"QUARANTINE": 3})


def test_the_same_restoration_asked_for_again_does_not_end_the_step_that_is_at_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = set_aside(world)
    world.restorations.request(run_id)
    monkeypatch.setattr(world.quarantine, "restore", after(1, lambda: world.restorations.request(run_id), world.quarantine.restore))
    assert world.restorations.step(run_id, out_of_time=never)["done"]
    assert world.bucket_keys() == set(KEYS)


def test_a_late_failure_of_a_repair_that_was_stopped_takes_no_lease_away(world: World) -> None:
    world.plant(*KEYS)
    run_id, repairs = world.seen_twice(), world.repairs()
    repairs.request(run_id, QUARANTINE, out_of_time=never)
    world.runs.stop(run_id)
    world.restorations.request(run_id)
    repairs.fail(run_id, "late")
    assert world.restorations.step(run_id, out_of_time=never)["done"]
    restoration = world.restorations.restoration(run_id)
    assert restoration is not None
    assert restoration["status"] == "DONE"


def test_an_execution_whose_turn_is_over_neither_acts_for_the_next_one_nor_ends_it(world: World) -> None:
    world.plant(*KEYS)
    run_id, repairs = world.seen_twice(), world.repairs()
    repairs.request(run_id, QUARANTINE, out_of_time=never)
    world.runs.stop(run_id)
    repairs.request(run_id, QUARANTINE, out_of_time=never)
    assert repairs.step(run_id, turn=1, out_of_time=never)["done"]
    assert world.bucket_keys() == set(KEYS)
    repairs.fail(run_id, "late", turn=1)
    assert repairs.step(run_id, turn=2, out_of_time=never)["done"]
    repair = repairs.repair(run_id)
    assert repair is not None
    assert (repair["status"], repair["done"]) == ("DONE", {"QUARANTINE": 3})


def test_what_has_ended_is_not_failed_by_a_step_that_says_so_late(world: World) -> None:
    run_id = set_aside(world)
    world.repairs().fail(run_id, "late")
    assert (world.repairs().repair(run_id) or {})["status"] == "DONE"
    world.restorations.request(run_id)
    world.restorations.step(run_id, out_of_time=never)
    world.restorations.fail(run_id, "late")
    assert (world.restorations.restoration(run_id) or {})["status"] == "DONE"


def test_a_move_that_was_begun_is_ended_though_another_clock_says_that_it_is_too_early(world: World) -> None:
    world.plant(KEYS[0])
    run_id, repairs = world.seen_twice(), world.repairs()
    repairs.request(run_id, QUARANTINE, out_of_time=never)
    killing = after(1, _crash, world.store.delete)
    world.store.delete, real = killing, world.store.delete  # type: ignore[method-assign]  # killed once the original is gone
    with pytest.raises(Crash):
        repairs.step(run_id, out_of_time=never)
    world.store.delete = real  # type: ignore[method-assign]
    world.clock.advance(-world.grace_ms)
    assert repairs.step(run_id, out_of_time=never)["done"]
    assert [entry.status for entry in world.quarantine.recent(10)[0]] == ["HELD"]


def _crash() -> None:
    raise Crash


def moved_and_killed(world: World) -> str:
    """Lets a repair be killed between the deletion of the original and the entry's last word, and be stopped, and its step be over."""
    world.plant(KEYS[0])
    run_id, repairs = world.seen_twice(), world.repairs()
    repairs.request(run_id, QUARANTINE, out_of_time=never)
    real = world.store.delete
    world.store.delete = after(1, _crash, real)  # type: ignore[method-assign]
    with pytest.raises(Crash):
        repairs.step(run_id, out_of_time=never)
    world.store.delete = real  # type: ignore[method-assign]
    world.runs.stop(run_id)
    world.clock.advance(STEP_MS + SKEW_MS + 1)
    assert world.bucket_keys() == set()
    return run_id


@pytest.mark.parametrize("way", ["alone", "by run"])
def test_what_a_stopped_repair_had_moved_and_not_said_so_can_be_restored(world: World, way: str) -> None:
    run_id = moved_and_killed(world)
    [entry] = world.quarantine.recent(10)[0]
    if way == "alone":
        world.restorations.restore(entry.operation_id)
    else:
        world.restorations.request(run_id)
        world.restorations.step(run_id, out_of_time=never)
    assert world.bucket_keys() == {KEYS[0]}
    assert world.quarantine.entry(entry.operation_id).status == "RESTORED"
    assert world.tells_one_story()


def test_a_move_whose_original_is_still_there_is_not_restored_and_loses_nothing(world: World) -> None:
    world.plant(KEYS[0])
    stored = world.store.head(KEYS[0])
    assert stored is not None
    real = world.store.copy
    world.store.copy = after(1, _crash, real)  # type: ignore[method-assign]
    with pytest.raises(Crash):
        world.quarantine.set_aside(KEYS[0], stored.etag, stored, run_id="r", why="a test")
    world.store.copy = real  # type: ignore[method-assign]
    [entry] = world.quarantine.recent(10)[0]
    with pytest.raises(Conflict, match="being moved"):
        world.quarantine.restore(entry.operation_id)
    assert world.bucket_keys() == {KEYS[0]}
    assert world.quarantine.set_aside(KEYS[0], stored.etag, stored, run_id="r", why="a test").status == "HELD"
    world.quarantine.restore(entry.operation_id)
    assert world.bucket_keys() == {KEYS[0]}


def test_a_plan_that_two_go_on_with_at_once_holds_what_the_one_saw_that_was_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(*KEYS)
    run_id, repairs = world.seen_twice(), world.repairs()
    plans, put = repairs._plans, world.operations.put
    plan = plans.begin(world.runs.run(run_id), {"orphan": "adopt"}, 0)

    def rival() -> None:
        """Writes down what it holds, and comes too late to say so."""
        monkeypatch.setattr(world.operations, "put", after(1, _crash, put))
        monkeypatch.setattr("stocktake.repair.plans._PAGE", 500)
        with pytest.raises(Crash):
            plans.go_on(plan, out_of_time=never)

    monkeypatch.setattr("stocktake.repair.plans._PAGE", 1)
    monkeypatch.setattr(world.operations, "put", after(1, rival, put))
    went_on = plans.go_on(plan, out_of_time=lambda: True)
    assert went_on.document["held"] == len(plans.some(went_on, 0, 100)) == 1


def test_what_is_acknowledged_is_not_said_to_be_repaired(world: World) -> None:
    world.plant(*KEYS)
    run_id = world.seen_twice()
    world.repair(run_id, {"orphan": "acknowledge"})
    world.plant("projects/p1/scenes/t/media/b.png")
    world.clock.advance(world.grace_ms + 1)
    newer = world.reconcile()
    world.repair(newer, {"orphan": "adopt"})
    lines, _ = world.repairs().actions(newer, None, 100, None)
    assert [(line["key"], line["result"]) for line in lines] == [("projects/p1/scenes/t/media/b.png", "done")]
    told, _ = world.repairs().actions(run_id, None, 100, None)
    assert [line["action"] for line in told] == ["acknowledge"] * 3


def test_a_copy_that_a_deletion_left_in_quarantine_is_purged_only_while_it_is_that_copy(world: World) -> None:
    aside = ".stocktake/quarantine/p1/left"
    world.store.plant(aside, b"the copy")
    copy = world.store.head(aside)
    assert copy is not None
    at = world.clock()
    enter_copy(
        world.operations, "left", copy, key=KEYS[0], project_id="p1", epoch=1, run_id="d", why="a test", at=at, expires_at=at + DAY_MS
    )
    world.store.plant(aside, b"the coat")
    world.clock.advance(2 * DAY_MS)
    world.reconcile()
    assert world.expiry.purge(out_of_time=never) == {"purged": 0, "kept": 1}
    assert aside in world.every_key()


def test_an_orphan_whose_other_spelling_is_recorded_by_now_is_not_deleted(world: World) -> None:
    composed, apart = "projects/p1/scenes/s/media/\u00e9.png", "projects/p1/scenes/s/media/e\u0301.png"
    world.plant(composed)
    run_id, repairs = world.seen_twice(), world.repairs()
    repairs.request(run_id, {"orphan": "delete"}, out_of_time=never)
    world.record(apart, State.STORED)
    assert world.ended(repairs, run_id)["reasons"] == {"changed": 1}
    assert world.bucket_keys() == {composed}


def test_a_repair_that_was_stopped_says_what_it_had_done_by_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(4)))
    run_id = world.seen_twice()
    repairs = world.repairs()
    repairs.request(run_id, {"orphan": "adopt"}, out_of_time=never)
    monkeypatch.setattr(world.runs.lease, "keep", after(3, lambda: world.runs.stop(run_id), world.runs.lease.keep))
    assert repairs.step(run_id, out_of_time=never)["done"]
    repair = repairs.repair(run_id)
    assert repair is not None
    assert (repair["status"], repair["done"], repair["cursor"]) == ("STOPPED", {"ADOPT": 3}, 3)
