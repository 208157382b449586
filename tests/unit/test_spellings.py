"""One object in several spellings, on a store that takes them for one: whatever is done, its bytes stay and it has one record."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stocktake.alignment import Outcome
from stocktake.ledger.rows import spelling_row
from stocktake.model import State
from stocktake.storage.memory import MemoryStore
from tests.unit.folding import FoldingStore
from tests.unit.ledger.builders import Deployment
from tests.unit.test_migration import a_line, imported, problems
from tests.unit.test_one_object import diagnosis
from tests.unit.world import Clock, World, never

PLACE = "projects/p1/scenes/{}/media/{}.png"
COMPOSED, DECOMPOSED = PLACE.format("caf\u00e9", "K\u00f6ln"), PLACE.format("cafe\u0301", "Ko\u0308ln")
MIXED, KELVIN = PLACE.format("cafe\u0301", "K\u00f6ln"), PLACE.format("cafe\u0301", "\u212ao\u0308ln")
# each line is one name: composed and decomposed, a letter that NFC makes another, marks in any order
ALIKE = [
    ["\u00e9", "e\u0301"],
    ["\u00c5", "A\u030a", "\u212b"],
    ["\u03a9", "\u2126"],
    ["K", "\u212a"],
    [";", "\u037e"],
    ["`", "\u1fef"],
    ["\u1e69", "s\u0323\u0307", "s\u0307\u0323", "\u1e61\u0323", "\u1e63\u0307"],
    ["q\u0323\u0307", "q\u0307\u0323"],
    ["\ud55c", "\u1112\u1161\u11ab", "\ud558\u11ab"],
    ["a"],
]
PAIRS = [(COMPOSED, MIXED), (MIXED, COMPOSED), (KELVIN, MIXED), (PLACE.format("s", "5K"), PLACE.format("s", "5\u212a"))]
EVERYTHING = {
    "missing": "forget",
    "mismatch": "refresh",
    "unstored": "settle",
    "unknown": "acknowledge",
    "duplicate_spelling": "acknowledge",
}


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@st.composite
def one_object(draw: st.DrawFn) -> list[str]:
    """Draws some spellings of one key."""
    letters = [draw(st.lists(st.sampled_from(ALIKE), min_size=1, max_size=4)) for _ in range(2)]

    def spelled() -> str:
        return PLACE.format(*("".join(draw(st.sampled_from(alike)) for alike in part) for part in letters))

    return [spelled() for _ in range(draw(st.integers(2, 4)))]


def on(store: MemoryStore, deployment: Deployment, *, like_r2: bool = True) -> World:
    """Opens a project over a store; one like R2 takes no condition on a deletion."""
    told = replace(store.profile(), conditional_delete=not like_r2)
    store._told = store._profile = told
    made = World(store, deployment.ledger, deployment.operations, store._now)  # type: ignore[arg-type]  # the clock it was made with
    made.uploads.create_project("p1", {})
    return made


def folding(deployment: Deployment, *, like_r2: bool = True) -> World:
    return on(FoldingStore("data", now=Clock()), deployment, like_r2=like_r2)


def test_the_spellings_that_are_tried_are_of_one_name_each() -> None:
    assert all(nfc(one) == nfc(other) for alike in ALIKE for one, other in pairwise(alike))
    assert nfc(KELVIN) == nfc(DECOMPOSED) == nfc(MIXED) == COMPOSED


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(one_object(), min_size=1, max_size=3, unique_by=lambda spellings: nfc(spellings[0])),
    st.sampled_from(["quarantine", "delete", "adopt"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_an_object_in_any_spellings_keeps_its_bytes_and_its_one_record(
    deploy: Callable[..., Deployment], objects: list[list[str]], action: str, like_r2: bool, is_told: bool, is_older: bool
) -> None:
    world = folding(deploy(), like_r2=like_r2)
    orphan = "projects/p1/scenes/plain/media/a.png"
    for spellings in objects:
        recorded, *others = spellings
        world.plant(recorded, body=b"live")
        world.aligner().align(recorded)
        if is_older and recorded != nfc(recorded):
            spelling_row(world.ledger._tables.spellings, recorded).delete()
        for other in others:
            world.clock.advance(1000)
            world.plant(other, body=b"live")
            if is_told and not is_older:
                world.aligner().align(other)
    world.plant(orphan)
    for _ in range(2):
        is_there = world.store.head(orphan) is not None
        run_id = world.seen_twice()
        done = world.repair(run_id, {**EVERYTHING, "orphan": action})["done"]
        assert sum(done.get(name, 0) for name in ("QUARANTINE", "DELETE", "ADOPT")) <= 1  # the one that is an orphan
        counts = world.runs.run(run_id).document["counts"]
        assert (counts["bucket"]["objects"], "unlisted" in counts) == (len(objects) + is_there, False)
    for recorded, *others in objects:
        for key in (recorded, *others):
            content = world.store.get(key)
            assert content is not None
            assert content.body == b"live"
            if not is_older:
                world.aligner().align(key)
    entries = {entry.key: entry.state for entry in world.ledger.entries() if entry.key != orphan}
    assert entries == {spellings[0]: State.STORED for spellings in objects}
    assert (world.store.head(orphan) is not None) == (action == "adopt")


@pytest.mark.parametrize("action", ["quarantine", "delete", "adopt"])
@pytest.mark.parametrize(("found", "recorded"), PAIRS)
def test_an_orphan_that_was_recorded_in_another_spelling_meanwhile_stays(
    deployment: Deployment, found: str, recorded: str, action: str
) -> None:
    world = folding(deployment, like_r2=False)
    world.plant(found, body=b"live")
    run_id, repairs = world.seen_twice(), world.repairs()
    repairs.request(run_id, {"orphan": action}, first_run=True, out_of_time=never)
    world.record(recorded, State.STORED, size=4)
    assert world.ended(repairs, run_id)["done"] == {}
    assert [entry.key for entry in world.ledger.entries()] == [recorded]
    assert world.store.head(found) is not None


def test_an_orphan_of_nobody_that_was_imported_in_another_spelling_meanwhile_stays(deployment: Deployment) -> None:
    world = folding(deployment)
    found, recorded = (f"images/{session}/persona/1795239000000-a.png" for session in ("\u00e9", "e\u0301"))
    world.plant(found, body=b"live")
    run_id, repairs = world.seen_twice(), world.repairs()
    repairs.request(run_id, {"orphan.none": "quarantine"}, first_run=True, out_of_time=never)
    world.record(recorded, State.STORED, size=4)
    assert world.ended(repairs, run_id)["reasons"] == {"changed": 1}
    assert world.store.head(found) is not None


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_events_of_one_object_at_one_moment_make_one_record(deployment: Deployment, first: str, second: str) -> None:
    world = folding(deployment)
    world.plant(first)

    def meet(operation: str, key: str | None) -> None:
        if operation == "head":
            world.store.on_call = None
            assert world.aligner().align(first).outcome is Outcome.ADOPTED

    world.store.on_call = meet
    assert world.aligner().align(second).outcome is Outcome.SPELLED_OTHERWISE
    assert [entry.key for entry in world.ledger.entries()] == [first]


@pytest.mark.parametrize(("recorded", "told"), PAIRS)
def test_an_event_in_another_spelling_is_one_of_the_record_there_is(deployment: Deployment, recorded: str, told: str) -> None:
    world = folding(deployment)
    world.plant(recorded)
    world.aligner().align(recorded)
    world.plant(told, body=b"another")
    aligned = world.aligner().align(told)
    assert (aligned.outcome, aligned.after and aligned.after.key, aligned.after and aligned.after.size) == (
        "spelled_otherwise",
        recorded,
        7,
    )
    world.store.remove(told)
    world.aligner().align(told)
    assert [(entry.key, entry.state) for entry in world.ledger.entries()] == [(recorded, State.MISSING)]


@pytest.mark.parametrize("make", [FoldingStore, MemoryStore])
def test_two_objects_are_two_where_the_store_says_so(deployment: Deployment, make: type[MemoryStore]) -> None:
    world = on(make("data", now=Clock()), deployment)
    world.plant(MIXED)
    world.aligner().align(MIXED)
    world.plant(KELVIN)
    world.clock.advance(2 * world.grace_ms)
    kind = "recorded_otherwise" if make is FoldingStore else "two_objects"
    assert world.found(world.reconcile()) == {("duplicate_spelling", kind, KELVIN)}


def test_looking_at_one_key_says_what_a_run_says(deployment: Deployment) -> None:
    world = folding(deployment)
    world.plant(MIXED)
    world.aligner().align(MIXED)
    world.plant(KELVIN)
    said = diagnosis(world).of_key(KELVIN)["finding"]
    assert (said["class"], said["kind"]) == ("duplicate_spelling", "recorded_otherwise")


def test_a_file_that_brings_a_name_in_another_spelling_is_told_so(deployment: Deployment) -> None:
    world = folding(deployment)
    world.plant(MIXED)
    for lines in ([a_line(key=MIXED), a_line(key=KELVIN)], [a_line(key=DECOMPOSED)]):
        assert problems(world, imported(world, *lines)) == ["conflict"]
    assert problems(world, imported(world, a_line(key=DECOMPOSED), dry_run=True)) == ["conflict"]
    assert [nfc(entry.key) for entry in world.ledger.entries()] == [COMPOSED]
