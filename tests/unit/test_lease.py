"""One run at a time: two at once, one that died, one that slept, and one that is stopped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from stocktake.errors import Conflict, LeaseLost, MessagingError, RecordChanged, RunIncomplete, RunInProgress, StorageUnavailable
from stocktake.reconciliation.lease import LEASE_MS, SKEW_MS, STEP_MS
from tests.unit.world import HOUR, Crash, World, never

ORPHAN = "projects/p1/scenes/s/media/orphan.png"
DEAD = LEASE_MS + SKEW_MS + 1


def an_orphan(world: World) -> World:
    """Lets there be something to find, old enough."""
    world.upload()
    world.plant(ORPHAN)
    world.clock.advance(world.grace_ms + 1)
    return world


def asleep_before(world: World, method: str, meanwhile: Any) -> None:
    """Lets `meanwhile` happen right before the next call of a method of the operations: a step that sleeps there, and wakes."""
    real = getattr(world.operations, method)

    def late(*arguments: Any, **named: Any) -> Any:
        setattr(world.operations, method, real)
        meanwhile()
        return real(*arguments, **named)

    setattr(world.operations, method, late)


def replaced(world: World) -> str:
    """Lets the lease run out and another run take over; returns its id."""
    world.clock.advance(DEAD)
    run_id: str = world.plan()["run_id"]
    return run_id


def test_a_second_run_is_refused_while_one_is_alive_and_told_which(world: World) -> None:
    first = world.runs.request().operation_id
    with pytest.raises(RunInProgress, match=first) as refused:
        world.runs.request()
    assert refused.value.run_id == first
    assert len(world.launched) == 1


def test_a_scheduled_run_is_skipped_while_one_is_alive_and_says_why(world: World) -> None:
    first = world.runs.request().operation_id
    assert world.runs.plan("scheduled-1") == {"run_id": "scheduled-1", "ranges": [], "walks": False, "workers": 6, "sorts": False}
    skipped = world.runs.run("scheduled-1")
    assert (skipped.status, first in skipped.document["why"]) == ("SKIPPED", True)
    assert world.runs.plan("scheduled-1")["walks"] is False
    assert world.runs.plan(first)["walks"] is True


def test_after_a_run_the_next_one_begins_under_a_higher_number(world: World) -> None:
    fences = [world.runs.run(world.reconcile()).document["fence"] for _ in range(2)]
    assert fences[0] < fences[1]


@pytest.mark.parametrize(("waited", "taken"), [(DEAD - 1, False), (DEAD, True)])
def test_a_dead_run_is_replaced_only_when_every_clock_agrees_that_its_time_is_over(world: World, waited: int, taken: bool) -> None:
    dead = world.plan()["run_id"]
    world.clock.advance(waited)
    assert world.plan()["walks"] is taken
    assert world.runs.run(dead).status == ("FAILED" if taken else "RUNNING")


def test_a_walk_prolongs_the_lease(world: World) -> None:
    run_id = an_orphan(world).plan()["run_id"]
    for _ in range(3):
        world.clock.advance(LEASE_MS - 1)
        world.runs.walk(run_id, 0, out_of_time=lambda: True)
    assert world.plan()["walks"] is False


def test_a_walk_that_slept_past_its_end_writes_no_finding(world: World) -> None:
    run_id = an_orphan(world).plan()["run_id"]
    asleep_before(world, "put_while", lambda: replaced(world))
    assert world.runs.walk(run_id, 0, out_of_time=never)["done"]
    assert world.found(run_id) == set()
    assert world.runs.summarise(run_id)["status"] == "FAILED"


def test_a_walk_that_slept_while_another_step_began_its_range_writes_nothing(world: World) -> None:
    run_id = an_orphan(world).plan()["run_id"]

    def other() -> None:
        world.store.fail("head", error=StorageUnavailable("before it saved anything"))
        with pytest.raises(StorageUnavailable):
            world.runs.walk(run_id, 0, out_of_time=never)

    asleep_before(world, "put_while", other)
    with pytest.raises(RecordChanged):
        world.runs.walk(run_id, 0, out_of_time=never)
    assert world.found(run_id) == set()


def test_a_summary_that_slept_past_its_end_completes_nothing(world: World) -> None:
    run_id = an_orphan(world).plan()["run_id"]
    world.runs.walk(run_id, 0, out_of_time=never)
    asleep_before(world, "put_while", lambda: replaced(world))
    with pytest.raises(RecordChanged):
        world.runs.summarise(run_id)
    assert world.runs.run(run_id).status == "FAILED"
    assert world.analytics.overall()["bucket"] is None


def test_a_summary_of_a_replaced_run_writes_nothing_at_all(world: World) -> None:
    run_id = an_orphan(world).plan()["run_id"]
    world.runs.walk(run_id, 0, out_of_time=never)
    world.operations.update(world.operations.get("settings", "reconciliation-lease"), status="FREE")  # type: ignore[arg-type]  # it is there
    with pytest.raises(LeaseLost):
        world.runs.summarise(run_id)
    assert world.operations.get(run_id, "projects#000000") is None


def test_no_run_begins_beside_a_repair_nor_a_repair_beside_a_run(world: World) -> None:
    run_id = an_orphan(world).reconcile()
    repairs = world.repairs()
    repairs.request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    with pytest.raises(RunInProgress, match="apply"):
        world.runs.request()
    assert repairs.step(run_id, out_of_time=never)["done"]
    world.clock.advance(world.grace_ms + 1)
    newer = world.reconcile()
    alive = world.runs.request().operation_id
    with pytest.raises(RunInProgress, match=alive):
        repairs.request(newer, {"orphan": "quarantine"}, out_of_time=never)
    assert repairs.repair(newer) is None


def test_a_repair_that_slept_past_its_end_acts_on_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = an_orphan(world).reconcile()
    repairs = world.repairs()
    repairs.request(run_id, {"orphan": "adopt"}, first_run=True, out_of_time=never)
    held = repairs._plans.some

    def late(*asked: Any) -> Any:
        replaced(world)
        return held(*asked)

    monkeypatch.setattr(repairs._plans, "some", late)
    assert repairs.step(run_id, out_of_time=never)["done"]
    assert ORPHAN in world.bucket_keys()
    assert {finding["repair"] for finding in world.runs.findings(run_id, None, 10, None)[0]} == {"FOUND"}
    repair = repairs.repair(run_id)
    assert repair is not None
    assert (repair["status"], "took its place" in repair["why"]) == ("FAILED", True)


def test_a_stopped_run_keeps_its_findings_lets_the_next_begin_and_is_never_acted_on(world: World) -> None:
    world.plant("projects/p1/scenes/t/media/orphan.png")
    run_id = an_orphan(world).plan()["run_id"]
    world.runs.walk(run_id, 0, out_of_time=lambda: True)
    found = world.found(run_id)
    assert found
    world.runs.stop(run_id)
    assert world.runs.stop(run_id).status == "STOPPED"
    assert world.runs.walk(run_id, 0, out_of_time=never)["done"]
    assert world.runs.summarise(run_id)["status"] == world.runs.fail(run_id, "its map was lost")["status"] == "STOPPED"
    assert world.found(run_id) == found
    with pytest.raises(RunIncomplete, match="stopped"):
        world.repairs().request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    world.runs.request()


def test_a_stop_ends_a_repair_too(world: World) -> None:
    run_id = an_orphan(world).reconcile()
    with pytest.raises(Conflict, match="ended"):
        world.runs.stop(run_id)
    repairs = world.repairs()
    repairs.request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    for _ in range(2):
        world.runs.stop(run_id)
        assert (repairs.repair(run_id) or {})["status"] == "STOPPED"
    assert repairs.step(run_id, out_of_time=never)["done"]
    assert ORPHAN in world.bucket_keys()
    world.runs.request()


def at_the_object(world: World, run_id: str, action: str, meanwhile: Callable[[], object], error: BaseException | None = None) -> None:
    """Lets a step of a repair be at its object, about to delete it, while something else happens; then it goes on, or dies of the error."""
    repairs = world.repairs()
    repairs.request(run_id, {"orphan": action}, out_of_time=never)

    def at_it(operation: str, key: str | None) -> None:
        if (operation, key) == ("delete", ORPHAN):
            world.store.on_call = None
            meanwhile()
            if error is not None:
                raise error

    world.store.on_call = at_it
    with suppress(Crash, StorageUnavailable):
        assert repairs.step(run_id, out_of_time=never)["done"]
    world.store.on_call = None


@pytest.mark.parametrize("then", ["adopt", "acknowledge"])
@pytest.mark.parametrize("action", ["quarantine", "delete"])
@pytest.mark.parametrize("end", ["stop", "fail"])
def test_nothing_else_is_done_while_a_step_of_an_ended_repair_is_at_an_object(world: World, end: str, action: str, then: str) -> None:
    run_id = an_orphan(world).seen_twice()

    def meanwhile() -> None:
        world.runs.stop(run_id) if end == "stop" else world.repairs().fail(run_id, "no answer")
        world.runs.stop(run_id) if end == "stop" else None
        for begin in (lambda: world.repair(run_id, {"orphan": then}), lambda: world.restorations.request(run_id), world.runs.request):
            with pytest.raises(RunInProgress, match=r"ending \(apply\).* in 10 minutes") as refused:
                begin()
            assert refused.value.run_id == run_id

    at_the_object(world, run_id, action, meanwhile)
    assert ORPHAN not in world.bucket_keys()
    assert world.repair(run_id, {"orphan": then})["done"] == {}
    assert [entry.status for entry in world.quarantine.recent(9)[0]] == (["HELD"] if action == "quarantine" else [])


@pytest.mark.parametrize("error", [Crash(), StorageUnavailable("no answer")])
def test_an_ended_repair_whose_step_may_have_a_deletion_under_way_stands_in_the_way_until_that_must_be_over(
    world: World, error: BaseException
) -> None:
    run_id = an_orphan(world).seen_twice()
    at_the_object(world, run_id, "delete", lambda: None, error)
    world.runs.stop(run_id)
    world.clock.advance(STEP_MS + SKEW_MS)
    with pytest.raises(RunInProgress, match="ending"):
        world.runs.request()
    world.clock.advance(1)
    assert world.repair(run_id, {"orphan": "adopt"})["done"] == {"ADOPT": 1}
    assert world.tells_one_story()


def test_the_lease_goes_back_with_the_last_of_two_steps_that_are_at_work(world: World) -> None:
    fence = world.runs.take("r", "apply").fence
    with world.runs.lease.step("r", fence):
        with world.runs.lease.step("r", fence):
            world.runs.lease.free("r", "apply")
            with pytest.raises(LeaseLost):
                world.runs.lease.keep("r", fence)
        with pytest.raises(RunInProgress, match="ending"):
            world.runs.request()
    world.runs.request()


def test_a_step_that_died_long_ago_keeps_no_lease_from_going_back(world: World) -> None:
    fence = world.runs.take("r", "apply").fence
    with suppress(Crash), world.runs.lease.step("r", fence):
        raise Crash
    for _ in range(2):
        world.clock.advance(LEASE_MS // 2 + 1)
        world.runs.lease.keep("r", fence)
    world.runs.lease.free("r", "apply")
    world.runs.request()


def test_a_run_that_could_not_be_launched_is_failed_and_stands_in_nobodys_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise MessagingError("the state machine did not start")

    monkeypatch.setattr(world.runs, "_launch", refuse)
    with pytest.raises(MessagingError):
        world.runs.request()
    assert world.runs.recent(1)[0].status == "FAILED"
    assert world.plan()["walks"] is True


def test_a_run_that_has_ended_is_followed_at_once_though_it_died_before_it_gave_the_lease_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = an_orphan(world).plan()["run_id"]
    world.runs.walk(run_id, 0, out_of_time=never)
    with monkeypatch.context() as patched:
        patched.setattr(world.runs, "_show", lambda run: None)
        patched.setattr(world.runs.lease, "free", lambda *_: None)
        assert world.runs.summarise(run_id)["status"] == "COMPLETE"
    repairs = world.repairs()
    repairs.request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    with monkeypatch.context() as patched:
        patched.setattr(world.runs.lease, "free", lambda *_: None)
        assert repairs.step(run_id, out_of_time=never)["done"]
    assert world.runs.run(world.plan()["run_id"]).document["previous"] == run_id


def test_a_repair_that_begins_anew_is_not_taken_for_the_one_that_has_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    world.repair(run_id, {"missing": "mark_missing"})
    repairs, take = world.repairs(), world.runs.lease.take

    def rivalled(*asked: Any) -> Any:
        held = take(*asked)
        monkeypatch.undo()
        with pytest.raises(RunInProgress):
            world.runs.request()
        return held

    monkeypatch.setattr(world.runs.lease, "take", rivalled)
    repairs.request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    assert world.ended(repairs, run_id)["done"] == {"QUARANTINE": 1}


def test_what_two_dead_runs_left_open_is_closed_by_the_third(world: World) -> None:
    first = world.plan()["run_id"]
    world.clock.advance(DEAD)
    world.runs.lease.take("second", "compare")  # and died before it closed the first
    world.clock.advance(DEAD)
    world.plan()
    assert world.runs.run(first).status == "FAILED"
    row = world.operations.get(first, "range#0000")
    assert row is not None
    assert row.status == "CLOSED"


def test_progress_counts_what_is_walked(world: World) -> None:
    run_id = an_orphan(world).plan()["run_id"]
    world.clock.advance(1000)
    world.runs.walk(run_id, 0, out_of_time=lambda: True)
    progress = world.runs.progress(world.runs.run(run_id))
    assert progress is not None
    assert progress["keys"] > 0
    world.clock.advance(HOUR)
    world.runs.stop(run_id)
    assert world.runs.progress(world.runs.run(run_id)) is None
