"""What a store was seen to do: kept, shared, explained, and tried again when it is old."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from stocktake.conformance import MEANINGS, OLD_MS, PART, Conformance
from stocktake.storage import Learned, Profile
from stocktake.storage.memory import MemoryStore
from tests.unit.world import World


@pytest.fixture
def conformance(world: World) -> Conformance:
    return Conformance(world.operations, "https://store.example media", 2, world.clock)


def a_profile(world: World) -> Profile:
    return world.store.profile()


def test_every_line_of_a_profile_is_explained() -> None:
    assert set(MEANINGS) == {field.name for field in fields(Profile)}
    for meaning in MEANINGS.values():
        assert meaning.if_true != meaning.if_false


def test_what_was_learned_is_known_and_what_was_noted_is_kept_until_the_store_is_tried_again(
    world: World, conformance: Conformance
) -> None:
    assert conformance.known() is None
    profile = a_profile(world)
    conformance.learn(profile, Learned.PROBED)
    tried_at = world.clock()
    world.clock.advance(1000)
    doubtful = replace(profile, ordered_listing=False)
    conformance.learn(doubtful, Learned.OUT_OF_ORDER)

    assert conformance.known() == doubtful
    answer = conformance.answer(doubtful)
    assert (answer["probed_at"], answer["noted"]) == (tried_at, [{"what": "out-of-order", "noted_at": tried_at + 1000}])

    conformance.learn(profile, Learned.PROBED)
    assert conformance.answer(profile)["noted"] == []


@pytest.mark.parametrize("change", [{"store": "https://store.example other"}, {"version": 3}])
def test_what_was_learned_of_another_store_or_by_other_trials_is_not_known(
    world: World, conformance: Conformance, change: dict[str, object]
) -> None:
    conformance.learn(a_profile(world), Learned.PROBED)

    assert replace(conformance, **change).known() is None  # type: ignore[arg-type]  # one field or the other


@pytest.mark.parametrize("lacking", ["lists_uploads", "conditional_put"])
def test_a_profile_that_lacks_a_line_is_not_known(world: World, conformance: Conformance, lacking: str) -> None:
    conformance.learn(a_profile(world), Learned.PROBED)
    row = world.operations.get("settings", PART)
    assert row is not None
    kept = {name: value for name, value in row.document["profile"].items() if name != lacking}
    world.operations.put("settings", PART, None, {**row.document, "profile": kept}, created_at=1, status="KNOWN")

    assert conformance.known() is None


def test_a_line_says_which_way_the_code_goes(world: World, conformance: Conformance) -> None:
    profile = replace(a_profile(world), ordered_listing=False)
    conformance.learn(profile, Learned.PROBED)

    lines = {line["name"]: (line["holds"], line["chooses"]) for line in conformance.answer(profile)["lines"]}
    assert lines["ordered_listing"] == (False, MEANINGS["ordered_listing"].if_false)
    assert lines["conditional_put"] == (True, MEANINGS["conditional_put"].if_true)


class Tried(MemoryStore):
    """Counts how often it is tried."""

    tries = 0

    def probe(self) -> Profile:
        self.tries += 1
        return super().probe()


@pytest.mark.parametrize("noted", [False, True])
def test_a_store_is_tried_again_after_a_week_and_what_a_listing_has_shown_stays(
    world: World, conformance: Conformance, noted: bool
) -> None:
    store = Tried(now=world.clock)
    conformance.renew(store)  # nothing is known yet: whoever needs it first tries it
    conformance.learn(store.profile(), Learned.PROBED)
    if noted:
        conformance.learn(store.profile(), Learned.OUT_OF_ORDER)
    conformance.renew(store)
    assert store.tries == 0

    world.clock.advance(OLD_MS + 1)
    conformance.renew(store)
    assert store.tries == 1
    assert store.profile().ordered_listing is not noted
