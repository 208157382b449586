"""Where the walks of a run meet: ranges that are cut, begun again, killed, and a store that lists more than it was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from stocktake.model import FindingClass, ListedObject
from stocktake.reconciliation import counts_by_project, walking
from stocktake.reconciliation.walking import finding_part
from tests.unit.world import Crash, World, never


def walked(world: World, run_id: str) -> dict[str, Any]:
    """Walks every open range to its end, ends the run, and returns its counts."""
    for row in list(world.operations.all_parts(run_id, "range#")):
        if row.status == "OPEN":
            while not world.runs.walk(run_id, int(row.part.split("#")[1]), out_of_time=never)["done"]:
                pass
    world.runs.summarise(run_id)
    return dict(world.runs.run(run_id).document["counts"])


def test_a_store_that_begins_its_listing_anew_counts_nothing_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(6)))
    world.clock.advance(world.grace_ms + 1)
    listing = world.store.list

    def anew(prefix: str = "", *, after: str = "", page_size: int = 1000) -> Iterator[Sequence[ListedObject]]:
        return listing(prefix, page_size=page_size)

    run_id = world.plan()["run_id"]
    assert not world.runs.walk(run_id, 0, out_of_time=lambda: True)["done"]
    monkeypatch.setattr(world.store, "list", anew)
    assert walked(world, run_id)["orphan"]["objects"] == 6


def test_projects_counted_by_a_step_that_was_killed_are_not_counted_again_by_the_pieces_of_its_range(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        world.uploads.create_project(f"q{number}", {})
        world.upload(f"q{number}")
    world.clock.advance(world.grace_ms + 1)
    monkeypatch.setattr(walking, "PROJECTS_PER_PART", 2)
    run_id = world.plan()["run_id"]
    update, calls = world.operations.update, iter([False, True])

    def killed(row: Any, **changes: Any) -> Any:
        if row.part == "range#0000" and next(calls, False):
            raise Crash
        return update(row, **changes)

    with monkeypatch.context() as patched:
        patched.setattr(world.operations, "update", killed)
        with pytest.raises(Crash):
            world.runs.walk(run_id, 0, out_of_time=never)
    monkeypatch.setattr("stocktake.reconciliation.runs.PIECES", 4)
    world.runs.plan_again(run_id, out_of_time=never)
    walked(world, run_id)
    page, _ = counts_by_project(world.operations, world.runs.run(run_id), 10, None)
    assert {line["project"]: line["bucket"]["objects"] for line in page} == {f"q{number}": 1 for number in range(4)}


def test_a_record_whose_projects_row_is_gone_is_missed_as_any_other(world: World) -> None:
    world.upload(color=1)
    world.uploads.create_project("p2", {})
    lost = [world.upload("p2", color=color) for color in range(2)][1]
    world.store.remove(lost.key)
    tables = world.ledger._tables
    tables.client.delete_item(TableName=tables.projects.Meta.table_name, Key={"project": {"S": "p2"}, "part": {"S": "project"}})
    run_id = world.seen_twice()
    assert world.found(run_id) == {("missing", "gone", lost.key)}
    assert world.runs.run(run_id).status == "COMPLETE"
    assert world.runs.run(run_id).document["counts"]["matched"]["objects"] == 2
    assert world.repair(run_id)["done"] == {"MARK_MISSING": 1}


def test_no_two_findings_have_one_name() -> None:
    long = f"projects/p1/scenes/s/media/{'a' * 980}.png"
    name = finding_part(FindingClass.ORPHAN, long).removeprefix("finding#orphan#")
    keys = [long, name, finding_part(FindingClass.ORPHAN, name).removeprefix("finding#orphan#"), f"{name}\n", name.upper()]
    assert len({finding_part(FindingClass.ORPHAN, key) for key in keys}) == len(keys)
    assert finding_part(FindingClass.ORPHAN, "a#b") == "finding#orphan#a#b"
    assert len(finding_part(FindingClass.DUPLICATE_SPELLING, "\U0001f600" * 256).encode()) <= 1024


ORPHANS = [f"projects/p1/scenes/s1/media/{number}.png" for number in range(3)]


def killed_before_it_saves(world: World, monkeypatch: pytest.MonkeyPatch, run_id: str, number: int = 0) -> None:
    """Walks a range to its end and dies before that is saved: its findings are written, and counted nowhere."""

    def killed(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(world.runs._walker, "_save", killed)
        with pytest.raises(Crash):
            world.runs.walk(run_id, number, out_of_time=never)


@pytest.mark.parametrize("is_begun_anew", [False, True])
def test_what_a_killed_step_found_and_is_no_longer_true_is_found_by_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_begun_anew: bool
) -> None:
    monkeypatch.setattr(walking, "PARTS_AT_ONCE", 1)
    lost = world.upload().key
    world.upload(color=1)
    world.plant(*ORPHANS)
    world.store.remove(lost)
    world.clock.advance(world.grace_ms + 1)
    run_id = world.plan()["run_id"]
    if is_begun_anew:
        assert not world.runs.walk(run_id, 0, out_of_time=lambda: True)["done"]
        world.store.distrust_order()
        assert not world.runs.walk(run_id, 0, out_of_time=never)["done"]
    else:
        killed_before_it_saves(world, monkeypatch, run_id)
    for key in (ORPHANS[0], lost):
        world.aligner().align(key)
    world.store.remove(ORPHANS[1])
    counts = walked(world, run_id)
    world.changes.step(run_id, out_of_time=never)
    assert world.found(run_id) == {("orphan", "active", ORPHANS[2]), ("unstored", "missing", lost)}
    assert (counts["orphan"]["objects"], counts["unstored"]["objects"], "missing" in counts) == (1, 1, False)
    assert world.changes.counts(world.runs.run(run_id))["new"] == {"orphan": 1, "unstored": 1}  # type: ignore[index]  # it is complete


def test_a_range_begun_again_leaves_the_findings_of_its_neighbours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{'k' * 1023}{last}" for last in "abhi"]  # of which a row's name holds the same letters, and a hash
    monkeypatch.setattr(walking, "PARTS_AT_ONCE", 1)
    world.plant("a", *keys, "l")
    world.clock.advance(world.grace_ms + 1)
    monkeypatch.setattr("stocktake.reconciliation.runs.cuts", lambda *_: [keys[0], keys[2]])
    run_id = world.plan()["run_id"]
    for number in (0, 2):
        world.runs.walk(run_id, number, out_of_time=never)
    killed_before_it_saves(world, monkeypatch, run_id, 1)
    world.store.remove(keys[2])  # whose row lies behind that of the next range
    counts = walked(world, run_id)
    assert {key for _, _, key in world.found(run_id)} == {"a", *keys[:2], keys[3], "l"}
    assert counts["unknown"]["objects"] == 5


def test_a_step_that_slept_while_another_walked_its_range_removes_none_of_its_findings(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plant(*ORPHANS)
    world.clock.advance(world.grace_ms + 1)
    run_id = world.plan()["run_id"]
    killed_before_it_saves(world, monkeypatch, run_id)
    parts = world.operations.parts

    def slept(*asked: Any) -> Any:
        read = parts(*asked)
        if read[0]:
            monkeypatch.setattr(world.operations, "parts", parts)
            assert world.runs.walk(run_id, 0, out_of_time=never)["done"]
        return read

    monkeypatch.setattr(world.operations, "parts", slept)
    assert world.runs.walk(run_id, 0, out_of_time=never)["done"]
    assert {key for _, _, key in world.found(run_id)} == set(ORPHANS)
