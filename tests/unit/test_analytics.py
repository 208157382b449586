from __future__ import annotations

import pytest

from stocktake.errors import ProjectNotFound
from stocktake.model import State
from tests.unit.test_reconciliation import ORPHAN, aged
from tests.unit.world import World


def test_first_field_report_19_rows_15_objects_analytics_says_15(world: World) -> None:
    for number in range(15):
        world.upload(color=number)
    for number in range(4):  # rows whose images never reached the bucket: they point at the generator's own URLs
        world.record(f"projects/p1/2026/11/{900 + number:026d}.png", State.EXTERNAL if number % 2 else State.PENDING)
    aged(world).reconcile()
    overall = world.analytics.overall()
    assert overall["records"]["objects"] == 19
    assert overall["stored"]["objects"] == 15
    assert overall["bucket"]["objects"] == 15
    assert overall["drift"]["objects"] == 0
    assert overall["findings"]["unstored"]["objects"] == 4


def test_second_field_report_12_rows_none_of_them_there(world: World) -> None:
    keys = [world.upload(color=number).key for number in range(12)]
    there = [f"projects/p1/scenes/s{number}/media/a.png" for number in range(6)]
    world.plant(*there)  # the bucket holds six others
    for key in keys:
        world.store.remove(key)
    run_id = aged(world).reconcile()
    assert {key for name, _, key in world.found(run_id) if name == "missing"} == set(keys)
    assert world.analytics.overall()["drift"]["objects"] == 6 - 12
    assert world.repair(run_id, {"missing": "mark_missing"})["done"] == {"MARK_MISSING": 12}
    overall = world.analytics.overall()
    assert (overall["stored"]["objects"], overall["counts"]["MISSING"]["objects"]) == (0, 12)
    assert {key for name, _, key in world.found(aged(world).reconcile()) if name == "missing"} == set()


def test_before_the_first_run_the_bucket_is_not_guessed(world: World) -> None:
    world.upload()
    overall = world.analytics.overall()
    assert (overall["bucket"], overall["drift"], overall["findings"]) == (None, None, None)


def test_the_drift_is_bucket_minus_ledger_with_the_time_it_was_counted(world: World) -> None:
    world.plant(ORPHAN, body=b"12345")
    world.upload()
    aged(world).reconcile()
    counted_at = world.clock()
    world.clock.advance(1000)
    overall = world.analytics.overall()
    assert overall["drift"] == {"objects": 1, "bytes": 5}
    assert (overall["bucket"]["counted_at"], overall["as_of"]) == (counted_at, counted_at + 1000)


def test_an_incomplete_run_is_never_shown_as_the_bucket(world: World) -> None:
    world.upload()
    aged(world).reconcile()
    world.upload(color=1)
    world.runs.summarise(world.plan()["run_id"])
    assert world.analytics.overall()["bucket"]["objects"] == 1


def test_each_project_has_its_own_line(world: World) -> None:
    world.uploads.create_project("proj_a", {})
    record = world.upload("proj_a")
    lines = {line["project_id"]: line["counts"]["STORED"]["objects"] for line in world.analytics.overall()["projects"]}
    assert lines == {"p1": 0, "proj_a": 1}
    assert world.analytics.project("a")["stored"] == {"objects": 1, "bytes": record.size}
    with pytest.raises(ProjectNotFound):
        world.analytics.project("nobody")


def test_runs_and_deletions_are_listed_newest_first(world: World) -> None:
    first = world.reconcile()
    world.clock.advance(1)
    second = world.reconcile()
    assert [run.operation_id for run in world.analytics.runs(5)] == [second, first]
    deletion = world.deletions.request("p1")
    assert [operation.operation_id for operation in world.analytics.deletions(5)] == [deletion.operation_id]
