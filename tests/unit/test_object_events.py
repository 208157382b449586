from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stocktake.alignment import Alignment, Outcome
from stocktake.errors import InvalidRequest, RecordChanged, StorageUnavailable
from stocktake.model import Record, State
from tests.unit.shapes import SHAPES, s3
from tests.unit.world import World, an_image

KEY = "projects/p1/scenes/s/media/a.png"


def put_event(key: str, bucket: str = "data") -> str:
    return json.dumps(s3(bucket, key, False, None))


def test_an_event_of_another_bucket_is_refused_and_nothing_is_touched(world: World) -> None:
    record = world.upload()
    with pytest.raises(InvalidRequest, match="other-bucket"):
        world.events.handle(put_event(record.key, "other-bucket"))
    assert world.ledger.record(record.key) == record


def test_an_object_put_behind_our_back_is_adopted(world: World) -> None:
    world.plant(KEY, body=b"12345")
    [(_, alignment)] = world.events.handle(put_event(KEY))
    assert alignment.outcome is Outcome.ADOPTED
    record = world.ledger.record(KEY)
    assert record is not None
    assert (record.state, record.size, record.source, record.layout) == (State.STORED, 5, "event", "hierarchical")
    assert world.counts() == {"STORED": (1, 5)}


def test_an_object_removed_behind_our_back_is_marked_missing_and_no_longer_counted_as_stored(world: World) -> None:
    record = world.upload()
    world.store.delete(record.key)
    assert world.aligner().align(record.key).outcome is Outcome.MARKED_MISSING
    assert world.counts() == {"MISSING": (1, record.size)}


def test_an_object_overwritten_behind_our_back_refreshes_its_record(world: World) -> None:
    record = world.upload()
    world.plant(record.key, body=b"another")
    assert world.aligner().align(record.key).outcome is Outcome.REFRESHED
    assert world.counts() == {"STORED": (1, 7)}


def test_a_missing_object_that_returns_is_stored_again(world: World) -> None:
    record = world.upload()
    world.store.delete(record.key)
    world.aligner().align(record.key)
    world.plant(record.key)
    assert world.aligner().align(record.key).outcome is Outcome.RETURNED
    assert list(world.counts()) == ["STORED"]


def test_the_event_of_our_own_upload_changes_nothing(world: World) -> None:
    record = world.upload()
    assert world.aligner().align(record.key).outcome is Outcome.IN_LINE
    assert world.ledger.record(record.key) == record


def test_an_adopted_object_of_the_current_layout_keeps_the_id_in_its_key(world: World) -> None:
    record = world.upload()
    world.ledger.move(record, None, gated=False)
    adopted = world.aligner("reconciliation").align(record.key).after
    assert adopted is not None
    assert adopted.object_id == record.object_id


def test_a_copy_of_an_object_gets_an_id_of_its_own(world: World) -> None:
    record = world.upload()
    copy = record.key.replace("/2026/", "/2025/")
    world.plant(copy)
    adopted = world.aligner().align(copy).after
    assert adopted is not None
    assert adopted.object_id != record.object_id


@pytest.mark.parametrize(
    ("key", "outcome"),
    [
        ("backup.tar", Outcome.UNKNOWN_KEY),
        ("projects/nobody/scenes/s/media/a.png", Outcome.NO_PROJECT),
        ("images/session/persona/1703123456789-a.png", Outcome.NO_PROJECT),
        (".stocktake/identity.json", Outcome.SYSTEM),
        (KEY, Outcome.ABSENT),
    ],
)
def test_what_cannot_be_anyones_is_left_for_reconciliation(world: World, key: str, outcome: Outcome) -> None:
    if outcome is not Outcome.ABSENT:
        world.plant(key)
    assert world.aligner().align(key).outcome is outcome
    assert list(world.ledger.entries()) == []


def test_an_object_of_a_project_being_deleted_is_never_adopted(world: World) -> None:
    world.deletions.request("p1")
    world.plant(KEY)
    assert world.aligner().align(KEY).outcome is Outcome.PROJECT_CLOSED
    assert world.counts() == {}


def test_a_project_closed_between_look_and_write_is_not_written_into(world: World) -> None:
    world.plant(KEY)

    def close(operation: str, key: str | None) -> None:
        world.store.on_call = None
        world.deletions.request("p1")

    world.store.on_call = close
    assert world.aligner().align(KEY).outcome is Outcome.PROJECT_CLOSED
    assert world.counts() == {}


def test_an_intent_whose_object_is_another_is_left_for_reconciliation(world: World) -> None:
    world.record(KEY, State.PENDING, sha256="ab" * 32)
    world.plant(KEY, body=b"12345")
    assert world.aligner().align(KEY).outcome is Outcome.DIFFERS


def test_an_intent_waits_until_its_end_and_is_then_forgotten(world: World) -> None:
    world.record(KEY, State.PENDING)
    assert world.aligner().align(KEY).outcome is Outcome.WAITING
    world.clock.advance(60_001)
    assert world.aligner().align(KEY).outcome is Outcome.FORGOTTEN
    assert world.counts() == {}


@pytest.mark.parametrize("state", [State.QUARANTINED, State.INLINE, State.EXTERNAL])
@pytest.mark.parametrize("present", [True, False])
def test_records_held_by_other_flows_are_not_touched(world: World, state: State, present: bool) -> None:
    record = world.record(KEY, state)
    if present:
        world.plant(KEY)
    assert world.aligner().align(KEY).outcome in (Outcome.HELD, Outcome.IN_LINE)
    assert world.ledger.record(KEY) == record


def test_an_object_that_returns_while_it_is_being_marked_missing_is_not_lost(world: World) -> None:
    record = world.upload()
    body = world.bytes_of(record)
    world.store.delete(record.key)
    real = world.ledger.move

    def returns(before, after, *, gated, content=None):  # type: ignore[no-untyped-def]  # stands in for move
        world.ledger.move = real  # type: ignore[method-assign]  # once
        world.plant(record.key, body=body)
        world.aligner().align(record.key)  # its own event finds record and bucket equal, and writes nothing
        return real(before, after, gated=gated, content=content)

    world.ledger.move = returns  # type: ignore[method-assign]  # a race, injected
    assert world.aligner().align(record.key).outcome is Outcome.RETURNED
    assert list(world.counts()) == ["STORED"]


def test_a_record_that_never_stands_still_is_given_back_to_the_queue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(KEY)

    def lost(*args: object, **kwargs: object) -> Record:
        raise RecordChanged("someone was quicker")

    monkeypatch.setattr(world.ledger, "move", lost)
    with pytest.raises(RecordChanged, match="5 times"):
        world.aligner().align(KEY)


def asked(world: World) -> list[str]:
    """Notes every key that the bucket is asked about from here on."""
    keys: list[str] = []
    world.store.on_call = lambda operation, key: keys.append(key or "") if operation == "head" else None
    return keys


def test_of_several_events_of_one_key_that_come_together_the_bucket_is_asked_once(world: World) -> None:
    world.plant(KEY)
    heads = asked(world)
    settled: dict[str, Alignment] = {}
    together = json.dumps({"Records": s3("data", KEY, True, "01")["Records"] + s3("data", KEY, False, None)["Records"]})
    for body in (together, put_event(KEY), together):
        assert {alignment.outcome for _, alignment in world.events.handle(body, settled)} == {Outcome.ADOPTED}
    assert heads == [KEY]
    world.events.handle(put_event(KEY))  # received later: the bucket may say something else by now
    assert heads == [KEY, KEY]


def test_a_key_that_could_not_be_asked_about_is_asked_again_for_the_next_event_of_it(world: World) -> None:
    world.plant(KEY)
    settled: dict[str, Alignment] = {}

    def unavailable(operation: str, key: str | None) -> None:
        world.store.on_call = None  # once
        raise StorageUnavailable("no answer")

    world.store.on_call = unavailable
    with pytest.raises(StorageUnavailable):
        world.events.handle(put_event(KEY), settled)
    [(_, alignment)] = world.events.handle(put_event(KEY), settled)
    assert alignment.outcome is Outcome.ADOPTED


@pytest.mark.parametrize("removed", [True, False])
def test_what_an_event_says_happened_decides_nothing(world: World, removed: bool) -> None:
    world.plant(KEY)
    newest, oldest = "F" * 40, "0"
    for sequencer in (newest, None, oldest, newest):
        for shape in SHAPES.values():
            world.events.handle(json.dumps(shape("data", KEY, removed, sequencer)))
    assert world.counts() == {"STORED": (1, len(b"stranger"))}


SEQUENCERS = st.none() | st.text("0123456789ABCDEF", max_size=20)
CHANGES = st.tuples(
    st.sampled_from(["put", "overwrite", "remove"]), st.integers(0, 2), st.sampled_from(sorted(SHAPES)), SEQUENCERS, st.integers(0, 2)
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CHANGES, min_size=1, max_size=8), st.integers(0, 2**32))
def test_any_storm_of_doubled_reordered_late_and_lost_events_of_all_shapes_ends_with_ledger_equal_to_bucket(
    world: World, changes: list[tuple[str, int, str, str | None, int]], seed: int
) -> None:
    """An event may be lost, never come, or come many times, so long as one of its key comes after the key's last change."""
    keys = [f"projects/p1/scenes/act {number} + 5% é/media/a.png" for number in range(3)]
    sizes = itertools.count(1)
    dice = random.Random(seed)  # none of hypothesis' own: an example that is given up midway would leave changes without their events
    under_way: list[Mapping[str, Any] | list[Any]] = []
    last: dict[str, Any] = {}

    def deliver(notifications: list[Any]) -> None:
        settled: dict[str, Alignment] = {}
        for notification in notifications:
            world.events.handle(json.dumps(notification), settled)

    for change, number, shape, sequencer, copies in changes:
        if change == "remove":
            world.store.delete(keys[number])
        else:
            world.plant(keys[number], body=an_image() if change == "put" else bytes(next(sizes)))
        event = SHAPES[shape](world.store.bucket, keys[number], change == "remove", sequencer)
        under_way += [event] * copies  # none of them: lost
        last[keys[number]] = event
        if under_way and dice.random() < 0.3:
            deliver([dice.choice(under_way) for _ in range(2)])  # and again later
    storm = under_way + list(last.values())
    dice.shuffle(storm)
    half = len(storm) // 2
    deliver(storm[:half])
    deliver(storm[half:])
    assert {entry.key for entry in world.ledger.entries() if entry.state is State.STORED} == world.bucket_keys()
    listed = {row.key: row.size for page in world.store.list() for row in page}
    assert all(entry.size == listed[entry.key] for entry in world.ledger.entries() if entry.state is State.STORED)
