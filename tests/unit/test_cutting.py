"""Where a run is cut, and cut again: every key in one range, no range empty, whatever the keys look like."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocktake.reconciliation.cutting import PIECES, PROBES, cut_again, cuts
from stocktake.storage.memory import MemoryStore
from tests.unit.world import Clock, Crash, World, never

WHOLE = 10  # halvings of the 1024 characters that all keys may have in common


def a_bucket(*keys: str) -> MemoryStore:
    store = MemoryStore("data", now=Clock())
    for key in keys:
        store.plant(key, b"x")
    return store


def held(keys: list[str], after: str, cut: list[str], until: str | None) -> list[int]:
    """Says how many keys each piece holds."""
    bounds: list[Any] = [after, *cut, until]
    return [sum(after < key and (until is None or key <= until) for key in keys) for after, until in pairwise(bounds)]


texts = st.text(st.sampled_from("ab/-.~0Zé漢"), min_size=1, max_size=6)
prefixes = st.sampled_from(["", "p/", "projects/proj_sunset/scenes/s/media/" * 3])


@settings(max_examples=40, deadline=None)
@given(prefixes, st.sets(texts, max_size=12), texts, st.none() | texts)
def test_a_range_is_cut_again_into_pieces_none_of_which_is_empty(prefix: str, names: set[str], after: str, until: str | None) -> None:
    keys = [prefix + name for name in names]
    after, until = prefix + after, None if until is None else prefix + until
    cut = cut_again(a_bucket(*keys), after, until, PIECES)
    assert cut == sorted(set(cut))
    assert all(after < text and (until is None or text < until) for text in cut)
    if cut:
        assert all(held(keys, after, cut, until))


def test_many_keys_are_cut_into_as_many_pieces_as_were_asked_for_with_few_requests() -> None:
    keys = [f"projects/proj_sunset/2026/11/{number:026d}.png" for number in range(4000)]
    store = a_bucket(*keys)
    cut = cut_again(store, "", None, PIECES)
    assert len(cut) == PIECES - 1
    assert max(held(keys, "", cut, None)) < 2000
    assert len(store.calls) <= (PIECES - 1) * (PROBES + WHOLE)


def test_a_store_whose_order_is_its_own_is_not_cut() -> None:
    assert cut_again(MemoryStore("data", now=Clock(), ordering="directory"), "", None, PIECES) == []


def test_a_run_is_cut_where_the_one_before_had_its_keys(world: World) -> None:
    thousand = 1000
    known = [("a", 60 * thousand), ("b", 60 * thousand), ("c", 10), ("d", 150 * thousand), (None, 5)]
    assert cuts(world.store, world.ledger, known) == ["b", "d"]


def test_a_sample_that_outgrows_memory_is_thinned_and_still_cuts_evenly(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.cutting.KEPT_KEYS", 50)
    monkeypatch.setattr("stocktake.reconciliation.cutting.KEYS_PER_RANGE", 16 * 100)
    keys = [f"{number:05d}" for number in range(1000)]
    monkeypatch.setattr(world.ledger, "shard_keys", lambda shard: iter(keys))
    found = held(keys, "", cuts(world.store, world.ledger, ()), None)
    assert len(found) == 11
    assert max(found) - min(found) <= 2 * 32


def rounds(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """Compares in rounds, as the state machine does, with steps of five keys; returns the run and how many rounds it took."""
    monkeypatch.setattr("stocktake.reconciliation.walking.CHECK_EVERY", 5)
    plan = world.plan()
    run_id, count = plan["run_id"], 0
    while plan["walks"]:
        count += 1
        for piece in plan["ranges"]:
            while not piece["done"]:
                piece = world.runs.walk(run_id, piece["number"], steps=piece["steps"], out_of_time=lambda: True)
        plan = world.runs.plan_again(run_id, out_of_time=never)
    world.runs.summarise(run_id)
    return run_id, count


def test_a_bucket_the_ledger_knows_nothing_of_is_walked_in_few_rounds_and_every_key_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plant(*(f"projects/p1/scenes/{number:04d}/media/a.png" for number in range(200)))  # young: counted, and no finding
    run_id, count = rounds(world, monkeypatch)
    run = world.runs.run(run_id)
    assert (run.status, run.document["counts"]["bucket"]["objects"]) == ("COMPLETE", 200)
    assert count < 7  # one range alone would take 14
    assert run.document["ranges"] == sum(1 for _ in world.operations.all_parts(run_id, "range#"))


def test_no_more_ranges_are_made_than_the_state_machine_can_be_told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.runs.MAX_RANGES", 3)
    world.plant(*(f"projects/p1/scenes/{number:04d}/media/a.png" for number in range(60)))
    run_id, _ = rounds(world, monkeypatch)
    run = world.runs.run(run_id)
    assert (run.document["ranges"] <= 3, run.document["counts"]["bucket"]["objects"]) == (True, 60)


@pytest.mark.parametrize("call", range(3))
def test_a_cut_that_is_killed_on_the_way_loses_no_key(world: World, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    world.plant(*(f"projects/p1/scenes/{number:04d}/media/a.png" for number in range(60)))
    run_id = world.plan()["run_id"]
    monkeypatch.setattr("stocktake.reconciliation.walking.CHECK_EVERY", 5)
    world.runs.walk(run_id, 0, out_of_time=lambda: True)
    real, calls = world.operations.put_new, iter(range(100))

    def killed(*arguments: Any, **named: Any) -> bool:
        if next(calls) == call:
            raise Crash
        return real(*arguments, **named)

    monkeypatch.setattr(world.operations, "put_new", killed)
    with pytest.raises(Crash):
        world.runs.plan_again(run_id, out_of_time=never)
    monkeypatch.setattr(world.operations, "put_new", real)
    for piece in world.runs.plan_again(run_id, out_of_time=never)["ranges"]:
        world.runs.walk(run_id, piece["number"], out_of_time=never)
    for piece in world.runs.plan_again(run_id, out_of_time=never)["ranges"]:
        world.runs.walk(run_id, piece["number"], out_of_time=never)
    assert world.runs.summarise(run_id)["status"] == "COMPLETE"
    assert world.runs.run(run_id).document["counts"]["bucket"]["objects"] == 60


def test_a_range_that_there_is_no_time_to_cut_is_walked_on_as_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(*(f"projects/p1/scenes/{number:04d}/media/a.png" for number in range(60)))
    run_id = world.plan()["run_id"]
    monkeypatch.setattr("stocktake.reconciliation.walking.CHECK_EVERY", 5)
    world.runs.walk(run_id, 0, out_of_time=lambda: True)
    assert [piece["number"] for piece in world.runs.plan_again(run_id, out_of_time=lambda: True)["ranges"]] == [0]
