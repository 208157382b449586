from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.errors import (
    BreakerOpen,
    Conflict,
    InvalidRequest,
    ObjectChanged,
    ObjectExists,
    OperationNotFound,
    RecordChanged,
    RunIncomplete,
    StorageError,
)
from stocktake.identity import IDENTITY_KEY
from stocktake.model import FindingClass, State
from stocktake.reconciliation.walking import finding_part
from stocktake.repair.breaker import Breaker, Oldest, Planned
from stocktake.repair.policies import ACTIONS
from stocktake.requests import _ACTIONS
from tests.unit.test_reconciliation import ORPHAN, a_world_with_one_of_each, aged
from tests.unit.world import HOUR, OBVIOUS, Crash, World, never

EVERYTHING = {"missing": "mark_missing", "mismatch": "refresh", "unstored": "settle", "orphan": "quarantine"}


def test_what_is_obvious_is_repaired_and_the_rest_left_alone(world: World) -> None:
    keys = a_world_with_one_of_each(world)
    repair = world.repair(world.seen_twice())
    assert (repair["status"], repair["done"], repair["skipped"]) == ("DONE", {"MARK_MISSING": 1, "QUARANTINE": 1}, 0)
    missing, orphan = world.ledger.record(keys["missing"]), world.ledger.record(keys["orphan"])
    assert missing is not None and orphan is not None
    assert (missing.state, orphan.state) == (State.MISSING, State.QUARANTINED)
    assert keys["orphan"] not in world.bucket_keys()
    assert keys["unknown"] in world.bucket_keys()


def test_after_everything_is_repaired_a_second_run_finds_only_what_no_action_is_for(world: World) -> None:
    keys = a_world_with_one_of_each(world)
    world.repair(world.seen_twice(), EVERYTHING)
    assert world.found(world.seen_twice()) == {
        ("unknown", "no_layout", keys["unknown"]),
        ("unstored", "inline", keys["inline"]),
        ("unstored", "external", keys["external"]),
    }


def test_an_orphan_can_be_adopted(world: World) -> None:
    world.plant(ORPHAN)
    repair = world.repair(world.seen_twice(), {"orphan": "adopt"})
    assert repair["done"] == {"ADOPT": 1}
    assert world.tells_one_story()


@pytest.mark.parametrize(
    "plan",
    [
        {"unknown": "delete"},
        {"unknown": "quarantine"},
        {"nonsense": "x"},
        {"missing": "delete"},
        {"orphan.none": "delete"},
        {"orphan.none": "adopt"},
    ],
)
def test_what_nobody_can_tell_the_owner_of_no_policy_can_delete(world: World, plan: dict[str, str]) -> None:
    world.plant("backup.tar", ORPHAN)
    run_id = world.seen_twice()
    with pytest.raises(InvalidRequest):
        world.repairs().request(run_id, plan, first_run=True, out_of_time=never)
    assert world.bucket_keys() == {"backup.tar", ORPHAN}


@pytest.mark.parametrize("status", ["FAILED", "INCOMPLETE", "RUNNING", "REQUESTED"])
def test_a_run_that_did_not_see_everything_is_never_acted_on(world: World, status: str) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    world.operations.update(world.runs.run(run_id), status=status)
    with pytest.raises(RunIncomplete, match=status.lower()):
        world.repairs().request(run_id, OBVIOUS, first_run=True, out_of_time=never)
    assert world.bucket_keys() == {ORPHAN}


def test_the_oldest_are_repaired_up_to_the_cap_and_the_rest_is_put_off_until_the_next_apply(world: World) -> None:
    world.plant("projects/p1/scenes/z/media/oldest.png")
    world.seen_twice()
    world.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(4)))
    run_id = world.seen_twice()
    repairs = world.repairs(max_actions=2)
    asked = repairs.request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    assert "OVER THE BREAKER: 5 actions are wanted" in asked["planned"]["warning"]
    repair = world.ended(repairs, run_id)
    assert (repair["done"], repair["skipped"], repair["deferred"]) == ({"QUARANTINE": 2}, 0, 3)
    assert world.bucket_keys() == {f"projects/p1/scenes/s{number}/media/a.png" for number in (1, 2, 3)}
    lines, _ = repairs.actions(run_id, "deferred", 10, None)
    assert {(line["key"], line["reason"]) for line in lines} == {(key, "deferred") for key in world.bucket_keys()}
    repairs.request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    assert [payload["turn"] for payload in world.launched] == [1, 2]
    again = world.ended(repairs, run_id)
    assert (again["done"], again["deferred"]) == ({"QUARANTINE": 2}, 1)


def test_the_breaker_knows_shares_of_large_buckets_and_what_one_project_may_lose(world: World) -> None:
    assert Breaker(1000, 5, 1000).allowed(10_000, ["quarantine"]) == 500
    assert Breaker(1000, 5, 1000).allowed(10, ["quarantine"]) == 100
    assert Breaker(50, 5, 1000).allowed(10, ["quarantine"]) == 50
    world.uploads.create_project("p2", {})
    world.plant(*(f"projects/{project}/scenes/s{number}/media/a.png" for project in ("p1", "p2") for number in range(3)))
    run_id = world.seen_twice()
    repairs = world.repairs(max_per_project=2)
    repairs.request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    assert world.ended(repairs, run_id)["deferred"] == 2
    assert sorted(key.split("/")[1] for key in world.bucket_keys()) == ["p1", "p2"]


def test_a_plan_that_deletes_for_good_is_held_to_a_share_of_a_bucket_of_any_size(world: World) -> None:
    assert Breaker(1000, 5, 1000).allowed(60, ["mark_missing", "delete"]) == 3
    assert Breaker(1000, 5, 1000).allowed(10, ["delete"]) == 1
    assert Breaker(0, 5, 1000).allowed(10, ["delete"]) == 0
    world.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(4)))
    run_id = world.seen_twice()
    repairs = world.repairs(max_percent=50)
    assert "OVER THE BREAKER: 4 actions" in repairs.plan(run_id, {"orphan": "delete"}, out_of_time=never)["warning"]
    repairs.request(run_id, {"orphan": "delete"}, first_run=True, out_of_time=never)
    assert world.ended(repairs, run_id)["done"] == {"DELETE": 2}


@pytest.mark.parametrize("cap", ["max_actions", "max_per_project"])
def test_a_breaker_that_was_lowered_since_holds_for_what_was_planned_before_and_what_is_under_way(world: World, cap: str) -> None:
    world.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(3)))
    run_id = world.seen_twice()
    as_planned, lowered = world.repairs(), world.repairs(**{cap: 2})
    plan_id = as_planned.plan(run_id, {"orphan": "quarantine"}, out_of_time=never)["plan_id"]
    with pytest.raises(BreakerOpen, match="lowered"):
        lowered.request(run_id, plan_id=plan_id, first_run=True, out_of_time=never)
    as_planned.request(run_id, plan_id=plan_id, first_run=True, out_of_time=never)
    as_planned.step(run_id, out_of_time=lambda: True)
    with pytest.raises(BreakerOpen, match="lowered"):
        lowered.step(run_id, out_of_time=never)
    assert len(world.bucket_keys()) == 2


def test_a_plan_whose_rows_time_has_tidied_away_ends_what_asks_for_them(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    repairs = world.repairs()
    plan_id = repairs.plan(run_id, OBVIOUS, out_of_time=never)["plan_id"]
    repairs.request(run_id, plan_id=plan_id, first_run=True, out_of_time=never)
    plan = repairs._plans.get(run_id, plan_id)
    world.operations.update(plan, document={**plan.document, "saved": "gone"})
    for _ in range(2):
        with pytest.raises(Conflict, match="kept no longer"):
            repairs.step(run_id, out_of_time=never)
        world.operations.update(repairs._plans.get(run_id, plan_id), status="PLANNING")  # which reads what it holds before it goes on


def test_the_share_is_of_the_objects_the_run_counted(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    run = world.runs.run(run_id)
    counts = {**run.document["counts"], "bucket": {"objects": 10_000, "bytes": 0}}
    world.operations.update(run, document={**run.document, "counts": counts})
    assert world.repairs(max_percent=6).plan(run_id, OBVIOUS, out_of_time=never)["allowed"] == {"actions": 600, "per_project": 1000}


@pytest.mark.parametrize("cap", ["max_actions", "max_percent", "max_per_project"])
def test_a_breaker_of_0_lets_nothing_of_any_kind_pass_also_while_a_repair_runs(world: World, cap: str) -> None:
    record = world.upload()
    world.store.remove(record.key)
    world.upload(color=1)
    run_id = aged(world).reconcile()
    shut = world.repairs(**{cap: 0})
    plan = shut.plan(run_id, {"missing": "mark_missing"}, out_of_time=never)
    [line] = plan["actions"]
    assert (line["count"], line["deferred"]["count"], plan["first"]) == (0, 1, [])
    with pytest.raises(BreakerOpen):
        shut.request(run_id, {"missing": "mark_missing"}, first_run=True, out_of_time=never)
    world.repairs().request(run_id, {"missing": "mark_missing"}, first_run=True, out_of_time=never)
    with pytest.raises(BreakerOpen):
        shut.step(run_id, out_of_time=never)
    after = world.ledger.record(record.key)
    assert after is not None
    assert after.state is State.STORED


@given(
    ages=st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc")), max_size=40),
    total=st.integers(0, 8),
    per_project=st.integers(0, 4),
)
def test_one_pass_holds_what_sorting_by_age_would_have_taken(ages: list[tuple[int, str]], total: int, per_project: int) -> None:
    offered = [Planned(age, f"finding#{number:02}", "orphan", project, 1) for number, (age, project) in enumerate(ages)]
    expected: list[Planned] = []
    for planned in sorted(offered):
        of_project = sum(taken.project == planned.project for taken in expected)
        if len(expected) < total and of_project < per_project:
            expected.append(planned)
    oldest = Oldest(total, per_project, offered[:10])
    for planned in offered:  # the first ten come twice
        oldest.offer(planned)
    assert oldest.held() == expected


def test_one_repair_runs_at_a_time(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    repairs = world.repairs()
    plan_id = repairs.plan(run_id, OBVIOUS, out_of_time=never)["plan_id"]
    repairs.request(run_id, OBVIOUS, first_run=True, out_of_time=never)
    for changes in ({"policy": {"orphan": "adopt"}}, {"plan_id": plan_id}):
        with pytest.raises(Conflict, match="is being repaired"):
            repairs.request(run_id, first_run=True, out_of_time=never, **changes)


def test_an_orphan_seen_once_or_not_long_ago_is_not_moved_and_says_so(world: World) -> None:
    world.plant(ORPHAN)
    once = aged(world).reconcile()
    world.clock.advance(world.grace_ms - 1)
    lately = world.reconcile()
    for run_id in (once, lately):
        for action in ("quarantine", "delete"):
            [line] = world.repairs().plan(run_id, {"orphan": action}, out_of_time=never)["actions"]
            assert (line["count"], line["skipped"]) == (0, {"seen_once": 1})
            repair = world.repair(run_id, {"orphan": action})
            assert (repair["done"], repair["skipped"], repair["reasons"]) == ({}, 1, {"seen_once": 1})
            [said], _ = world.repairs().actions(run_id, None, 10, None)
            assert (said["result"], said["reason"]) == ("skipped", "seen_once")
    assert world.bucket_keys() == {ORPHAN}
    world.clock.advance(1)
    assert world.repair(lately, {"orphan": "quarantine"})["done"] == {"QUARANTINE": 1}


def test_an_orphan_that_changed_between_two_runs_was_seen_once(world: World) -> None:
    world.plant(ORPHAN)
    aged(world).reconcile()
    world.plant(ORPHAN, body=b"another")
    run_id = aged(world).reconcile()
    aged(world)
    assert world.repair(run_id)["reasons"] == {"seen_once": 1}


def test_what_was_planned_is_looked_at_again_at_the_moment_of_acting(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    repairs = world.repairs()
    plan_id = repairs.plan(run_id, {"orphan": "quarantine"}, out_of_time=never)["plan_id"]
    row = world.operations.get(run_id, finding_part(FindingClass.ORPHAN, ORPHAN))
    assert row is not None
    world.operations.update(row, document={**row.document, "sightings": 1})
    repairs.request(run_id, plan_id=plan_id, first_run=True, out_of_time=never)
    assert world.ended(repairs, run_id)["reasons"] == {"seen_once": 1}
    assert world.bucket_keys() == {ORPHAN}


def test_a_plan_says_what_would_be_done_and_changes_nothing(world: World) -> None:
    keys = a_world_with_one_of_each(world)
    run_id = world.seen_twice()
    before = (world.bucket_keys(), list(world.ledger.entries()), world.runs.findings(run_id, None, 100, None))
    plan = world.repairs().plan(run_id, EVERYTHING, out_of_time=never)
    assert (world.bucket_keys(), list(world.ledger.entries()), world.runs.findings(run_id, None, 100, None)) == before
    lines = {line["class"]: (line["action"], line["count"], line["skipped"]) for line in plan["actions"]}
    assert lines == {
        "missing": ("mark_missing", 1, {}),
        "mismatch": ("refresh", 3, {}),
        "unstored": ("settle", 1, {"other_kind": 2}),
        "orphan": ("quarantine", 1, {}),
    }
    [orphan] = [finding for finding in plan["first"] if finding["class"] == "orphan"]
    stored = world.store.head(keys["orphan"])
    assert stored is not None
    assert (orphan["action"], orphan["object"]["etag"], orphan["sightings"]) == ("quarantine", stored.etag, 2)
    assert (plan["status"], "warning" in plan) == ("READY", False)


@pytest.mark.parametrize(("source", "hours", "count"), [("upload", 0, 1), ("upload", 3, 0), ("presigned", 0, 0), ("ended", 0, 0)])
def test_a_plan_counts_no_upload_that_settling_would_find_waiting(world: World, source: str, hours: int, count: int) -> None:
    ends_at = world.clock() + world.grace_ms + hours * HOUR
    pending = world.record("projects/p1/scenes/s/media/a.png", State.PENDING, source=source, expires_at=ends_at)
    run_id = aged(world).reconcile()
    plan = world.repairs().plan(run_id, {"unstored": "settle"}, out_of_time=never)
    [line] = plan["actions"]
    assert (line["count"], line["skipped"]) == (count, {} if count else {"waiting": 1})
    repair = world.repair(run_id, {"unstored": "settle"})
    assert (repair["done"], repair["reasons"]) == (({"SETTLE": 1}, {}) if count else ({}, {"waiting": 1}))
    assert (world.ledger.record(pending.key) is None) == bool(count)


def test_what_is_unstored_may_be_named_by_its_kind_and_each_kind_has_what_can_be_done_about_it(world: World) -> None:
    gone = world.record("projects/p1/scenes/s/media/gone.png", State.MISSING)
    pending = world.record("projects/p1/scenes/s/media/pending.png", State.PENDING, expires_at=world.clock())
    policy = {"unstored": "settle", "unstored.missing": "forget"}
    plan = world.repairs().plan(run_id := aged(world).reconcile(), policy, out_of_time=never)
    assert {line["class"]: (line["count"], line["skipped"]) for line in plan["actions"]} == {name: (1, {}) for name in policy}
    assert {finding["key"]: finding["action"] for finding in plan["first"]} == {gone.key: "forget", pending.key: "settle"}
    assert world.repair(run_id, policy)["done"] == {"SETTLE": 1, "FORGET": 1}
    assert not list(world.ledger.entries())


def test_the_document_names_what_a_plan_may_say() -> None:
    assert {name: tuple(said["enum"]) for name, said in _ACTIONS.items()} == {name: ACTIONS[name] for name in _ACTIONS}
    assert _ACTIONS.keys() == ACTIONS.keys()


def test_a_plan_is_applied_as_it_was_planned_once_and_within_the_hour(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    repairs = world.repairs()
    stale, plan = (repairs.plan(run_id, {"orphan": "quarantine"}, out_of_time=never)["plan_id"] for _ in range(2))
    world.clock.advance(HOUR)
    with pytest.raises(Conflict, match="expired"):
        repairs.request(run_id, plan_id=plan, first_run=True, out_of_time=never)
    plan = repairs.plan(run_id, {"orphan": "quarantine"}, out_of_time=never)["plan_id"]
    first = repairs.request(run_id, plan_id=plan, first_run=True, out_of_time=never)
    assert repairs.request(run_id, plan_id=plan, first_run=True, out_of_time=never) == first
    assert world.ended(repairs, run_id)["done"] == {"QUARANTINE": 1}
    for old in (plan, stale):
        with pytest.raises(Conflict, match="acted on since"):
            repairs.request(run_id, plan_id=old, first_run=True, out_of_time=never)
    with pytest.raises(OperationNotFound):
        repairs.request(run_id, plan_id="nothing", first_run=True, out_of_time=never)


def test_a_plan_short_of_time_goes_on_where_it_stopped_also_under_an_apply(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.repair.plans._PAGE", 2)
    monkeypatch.setattr("stocktake.repair.plans._ROW", 2)
    world.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(7)))
    run_id = aged(world).reconcile()
    repairs = world.repairs(max_actions=5)
    plan = repairs.plan(run_id, {"orphan": "adopt"}, out_of_time=lambda: True)
    assert (plan["status"], plan["actions"][0]["count"]) == ("PLANNING", 2)
    repairs.request(run_id, plan_id=plan["plan_id"], first_run=True, out_of_time=never)
    while not repairs.step(run_id, out_of_time=lambda: True)["done"]:
        pass
    repair = repairs.repair(run_id)
    assert repair is not None
    assert (repair["done"], repair["deferred"]) == ({"ADOPT": 5}, 2)
    whole = repairs.planned(run_id, plan["plan_id"], out_of_time=never)
    assert (whole["status"], whole["actions"][0]["count"], whole["actions"][0]["deferred"]["count"]) == ("APPLIED", 5, 2)


def test_an_object_that_is_live_again_by_then_is_not_touched(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    world.aligner().align(ORPHAN)
    repair = world.repair(run_id)
    assert (repair["done"], repair["skipped"]) == ({}, 1)
    assert world.bucket_keys() == {ORPHAN}
    [finding], _ = world.runs.findings(run_id, None, 10, None)
    assert "changed since the finding" in finding["skipped"]


def test_an_object_overwritten_since_the_finding_is_not_touched(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    world.plant(ORPHAN, body=b"something else")
    assert world.repair(run_id)["skipped"] == 1
    assert world.bucket_keys() == {ORPHAN}


def test_an_object_overwritten_between_copy_and_delete_stays_and_the_copy_is_held(world: World) -> None:
    world.plant(ORPHAN, body=b"older")
    run_id = world.seen_twice()

    def overwrite(operation: str, key: str | None) -> None:
        if operation == "delete" and key == ORPHAN:
            world.store.on_call = None
            world.plant(ORPHAN, body=b"newer")

    world.store.on_call = overwrite
    assert world.repair(run_id)["skipped"] == 1
    assert set(_bodies(world)) >= {b"older", b"newer"}
    assert world.counts() == {"STORED": (1, 5)}
    with pytest.raises(ObjectExists):
        world.quarantine.restore(world.quarantine.recent(1)[0][0].operation_id)


def test_an_original_deleted_before_a_crash_is_not_lost_to_a_stranger_under_its_key(world: World) -> None:
    world.plant(ORPHAN, body=b"precious")
    stored = world.store.head(ORPHAN)
    assert stored is not None
    real = world.operations.update

    def killed(*args: object, **kwargs: object) -> None:
        raise Crash

    world.operations.update = killed  # type: ignore[method-assign,assignment]  # a crash, injected
    with contextlib.suppress(Crash):
        world.quarantine.set_aside(ORPHAN, stored.etag, stored, run_id="r", why="")
    world.operations.update = real  # type: ignore[method-assign]  # the crash is over
    world.plant(ORPHAN, body=b"a stranger")
    with pytest.raises(ObjectChanged):
        world.quarantine.set_aside(ORPHAN, stored.etag, world.store.head(ORPHAN), run_id="r", why="")
    assert b"precious" in _bodies(world)


def test_a_move_given_up_before_the_copy_is_cancelled(world: World) -> None:
    world.plant(ORPHAN)
    stored = world.store.head(ORPHAN)
    assert stored is not None

    def vanish(operation: str, key: str | None) -> None:
        if operation == "copy":
            world.store.on_call = None
            world.store.remove(ORPHAN)

    world.store.on_call = vanish
    with pytest.raises(ObjectChanged, match="gone"):
        world.quarantine.set_aside(ORPHAN, stored.etag, stored, run_id="r", why="")
    assert world.counts() == {}
    with pytest.raises(Conflict, match="cancelled"):
        world.quarantine.restore(world.quarantine.recent(1)[0][0].operation_id)
    with pytest.raises(ObjectChanged, match="given up"):
        world.quarantine.set_aside(ORPHAN, stored.etag, stored, run_id="r", why="")


def test_an_object_recorded_between_look_and_move_is_not_set_aside(world: World) -> None:
    world.plant(ORPHAN)
    stored = world.store.head(ORPHAN)
    assert stored is not None
    world.aligner().align(ORPHAN)
    with pytest.raises(RecordChanged, match="has a record by now"):
        world.quarantine.set_aside(ORPHAN, stored.etag, stored, run_id="r", why="")
    assert world.tells_one_story()


def test_a_record_that_moved_since_the_finding_is_not_acted_on_though_the_object_did_not(world: World) -> None:
    record = world.upload()
    world.plant(record.key, body=b"overwritten")
    run_id = world.seen_twice()
    current = world.ledger.record(record.key)
    assert current is not None
    world.ledger.move(current, replace(current, metadata={"touched": True}), gated=True)
    assert world.repair(run_id, {"mismatch": "refresh"})["skipped"] == 1


def test_a_key_with_trouble_of_its_own_does_not_stop_the_others(world: World) -> None:
    keys = [f"projects/p1/scenes/s{number}/media/a.png" for number in range(3)]
    world.plant(*keys)
    run_id = world.seen_twice()
    world.store.fail("copy", key=keys[1], error=StorageError("an object over 5 GiB cannot be copied"))
    repair = world.repair(run_id)
    assert (repair["done"], repair["skipped"]) == ({"QUARANTINE": 2}, 1)
    assert world.bucket_keys() == {keys[1]}
    assert world.counts()["QUARANTINED"][0] == 2


def test_what_is_set_aside_is_deleted_with_its_project_and_counted(world: World) -> None:
    world.plant(ORPHAN, body=b"12345")
    world.repair(world.seen_twice())
    entry_id = world.quarantine.recent(1)[0][0].operation_id
    receipt = world.delete_project()
    assert (receipt["status"], receipt["by_layout"]["quarantine"]) == ("DELETED", {"objects": 1, "bytes": 5})
    assert [key for key in world.every_key() if "quarantine" in key] == []
    with pytest.raises(Conflict, match="was deleted since"):
        world.quarantine.restore(entry_id)
    world.uploads.create_project("p1", {})
    with pytest.raises(Conflict, match="was deleted since"):
        world.quarantine.restore(entry_id)


def test_a_deployment_that_looks_at_another_bucket_by_then_does_nothing(world: World) -> None:
    record = world.upload()
    world.store.remove(record.key)
    world.upload(color=1)
    run_id = aged(world).reconcile()
    world.repairs().request(run_id, {"missing": "mark_missing"}, first_run=True, out_of_time=never)
    world.store.remove(IDENTITY_KEY)
    with pytest.raises(RunIncomplete, match="not the bucket"):
        world.repairs().step(run_id, out_of_time=never)
    assert "MISSING" not in world.counts()


def test_a_launch_that_failed_is_mended_by_asking_again(world: World) -> None:
    world.plant(ORPHAN)
    run_id = world.seen_twice()
    repairs = world.repairs()
    first = repairs.request(run_id, OBVIOUS, first_run=True, out_of_time=never)
    assert repairs.request(run_id, OBVIOUS, first_run=True, out_of_time=never) == first
    assert world.launched == [{"action": "apply", "run_id": run_id, "turn": 1}] * 2
    with pytest.raises(Conflict):
        repairs.request(run_id, {"orphan": "adopt"}, first_run=True, out_of_time=never)


def test_a_missing_object_that_came_back_by_then_is_not_marked(world: World) -> None:
    record = world.upload()
    world.store.remove(record.key)
    world.upload(color=9)
    run_id = world.seen_twice()
    world.plant(record.key)
    assert world.repair(run_id)["skipped"] == 1
    after = world.ledger.record(record.key)
    assert after is not None
    assert after.state is State.STORED


def test_what_was_set_aside_is_restored_to_the_byte_and_recorded(world: World) -> None:
    world.plant(ORPHAN, body=b"precious")
    world.repair(world.seen_twice())
    entry = world.quarantine.recent(1)[0][0]
    restored = world.quarantine.restore(entry.operation_id)
    assert restored.status == "RESTORED"
    content, record = world.store.get(ORPHAN), world.ledger.record(ORPHAN)
    assert content is not None and record is not None
    assert (content.body, record.state, record.size) == (b"precious", State.STORED, 8)
    assert world.tells_one_story()
    assert [key for key in world.every_key() if "quarantine" in key] == []
    assert world.quarantine.restore(entry.operation_id).status == "RESTORED"


@pytest.mark.parametrize("key", ["projects/nobody/scenes/s/media/a.png", "images/session/persona/1703123456789-a.png"])
def test_an_orphan_of_no_project_is_set_aside_and_restored_without_a_record(world: World, key: str) -> None:
    world.plant(key)
    run_id = world.seen_twice()
    world.repair(run_id, {"orphan": "quarantine"})
    assert world.bucket_keys() == {key}  # nobody can tell whose it is: a plan has to say that it is meant
    world.repair(world.seen_twice(), {"orphan.none": "quarantine"})
    assert world.bucket_keys() == set()
    world.quarantine.restore(world.quarantine.recent(1)[0][0].operation_id)
    assert world.bucket_keys() == {key}
    assert list(world.ledger.entries()) == []


def test_a_restore_never_overwrites_what_lies_under_the_key_by_now(world: World) -> None:
    world.plant(ORPHAN, body=b"old")
    world.repair(world.seen_twice())
    world.plant(ORPHAN, body=b"new")
    with pytest.raises(ObjectExists):
        world.quarantine.restore(world.quarantine.recent(1)[0][0].operation_id)
    content = world.store.get(ORPHAN)
    assert content is not None
    assert content.body == b"new"


def test_a_restore_killed_after_the_copy_goes_on(world: World) -> None:
    world.plant(ORPHAN, body=b"precious")
    world.repair(world.seen_twice())
    entry_id = world.quarantine.recent(1)[0][0].operation_id

    def kill(operation: str, key: str | None) -> None:
        if operation == "delete":
            world.store.on_call = None
            raise Crash

    world.store.on_call = kill
    with contextlib.suppress(Crash):
        world.quarantine.restore(entry_id)
    world.quarantine.restore(entry_id)
    assert world.tells_one_story()


def test_a_copy_that_is_gone_cannot_be_restored_and_says_so(world: World) -> None:
    world.plant(ORPHAN)
    world.repair(world.seen_twice())
    entry = world.quarantine.recent(1)[0][0]
    world.store.remove(entry.document["quarantine_key"])
    with pytest.raises(Conflict, match="gone from the bucket"):
        world.quarantine.restore(entry.operation_id)
    with pytest.raises(OperationNotFound):
        world.quarantine.restore("nothing")


@pytest.mark.parametrize("step", range(16))
def test_a_repair_killed_at_any_call_and_started_again_loses_nothing(world: World, step: int) -> None:
    world.plant(ORPHAN, body=b"precious")
    record = world.upload()
    world.store.remove(record.key)
    run_id = world.seen_twice()
    repairs = world.repairs()
    repairs.request(run_id, OBVIOUS, first_run=True, out_of_time=never)
    calls = 0

    def kill(operation: str, key: str | None) -> None:
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise Crash

    world.store.on_call = kill
    real = world.operations.update

    def killed_update(*args, **kwargs):  # type: ignore[no-untyped-def]  # stands in for update
        kill("update", None)
        updated = real(*args, **kwargs)
        kill("updated", None)
        return updated

    world.operations.update = killed_update  # type: ignore[method-assign]  # a crash, injected
    with contextlib.suppress(Crash):
        repairs.step(run_id, out_of_time=never)
    assert any(body == b"precious" for body in _bodies(world))
    repairs.step(run_id, out_of_time=never)
    world.store.on_call, world.operations.update = None, real  # type: ignore[method-assign]  # the crash is over
    repair = repairs.repair(run_id)
    assert repair is not None
    assert (repair["status"], repair["done"], repair["skipped"]) == ("DONE", {"MARK_MISSING": 1, "QUARANTINE": 1}, 0)
    assert world.bucket_keys() == set()
    assert any(body == b"precious" for body in _bodies(world))


def _bodies(world: World) -> list[bytes]:
    on_call, world.store.on_call = world.store.on_call, None
    contents = [world.store.get(key) for key in world.every_key()]
    world.store.on_call = on_call
    return [content.body for content in contents if content is not None]


def test_a_repair_short_of_time_hands_on_and_one_that_failed_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(*(f"projects/p1/scenes/s{number:03}/media/a.png" for number in range(6)))
    run_id = aged(world).reconcile()
    repairs = world.repairs()
    assert repairs.repair(run_id) is None
    assert repairs.fail(run_id, "too early")["status"] == "FAILED"
    repairs.request(run_id, {"orphan": "adopt"}, first_run=True, out_of_time=never)
    assert world.launched[-1] == {"action": "apply", "run_id": run_id, "turn": 1}
    steps = 1
    while not repairs.step(run_id, out_of_time=lambda: True)["done"]:
        steps += 1
    assert steps == 6
    assert repairs.step(run_id, out_of_time=never)["done"] is True
    repair = repairs.repair(run_id)
    assert repair is not None
    assert repair["done"] == {"ADOPT": 6}
    repairs.request(run_id, {"orphan": "adopt"}, first_run=True, out_of_time=never)
    repairs.fail(run_id, "the store did not answer")
    failed = repairs.repair(run_id)
    assert failed is not None
    assert (failed["status"], failed["why"]) == ("FAILED", "the store did not answer")


def test_an_object_that_vanished_is_not_set_aside(world: World) -> None:
    with pytest.raises(ObjectChanged):
        world.quarantine.set_aside(ORPHAN, "etag", None, run_id="r", why="")


def test_an_orphan_of_a_project_that_closes_meanwhile_is_left_to_its_deletion(world: World) -> None:
    world.plant(ORPHAN)
    stored = world.store.head(ORPHAN)
    assert stored is not None
    world.deletions.request("p1")
    with pytest.raises(RecordChanged, match="being deleted"):
        world.quarantine.set_aside(ORPHAN, stored.etag, stored, run_id="r", why="")
    assert (world.bucket_keys(), world.counts()) == ({ORPHAN}, {})
