from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stocktake.alignment import Outcome
from stocktake.errors import InvalidRequest, RecordChanged
from stocktake.model import Record, State
from stocktake.object_events import read_events
from tests.unit.world import World, an_image

EVENTS = Path(__file__).parents[2] / "events" / "object_events"
KEY = "projects/p1/scenes/s/media/a.png"


def bodies(case: str) -> list[str]:
    return [record["body"] for record in json.loads((EVENTS / f"{case}.json").read_text())["Records"]]


def put_event(key: str, bucket: str = "data") -> str:
    return json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]})


@pytest.mark.parametrize("case", ["s3_created_encoded_key", "eventbridge_created"])
def test_a_key_is_decoded_once_where_its_store_encodes_it_and_never_elsewhere(case: str) -> None:
    [event] = read_events(bodies(case)[0])
    assert (
        event.key
        == {
            "s3_created_encoded_key": "projects/proj_sunset/scenes/act one+two/media/café.png",
            "eventbridge_created": "projects/proj_sunset/scenes/act one/media/café.png",
        }[case]
    )


def test_the_test_event_of_a_new_notification_names_no_object() -> None:
    assert read_events(bodies("s3_test_event")[0]) == []


@pytest.mark.parametrize(
    "body", ["not JSON", "[]", "7", "{}", '{"Records": [{"s3": {}}]}', '{"source": "aws.s3", "detail": {}}', '{"Records": [7]}']
)
def test_what_is_no_notification_is_refused_by_name(body: str) -> None:
    with pytest.raises(InvalidRequest, match="notification"):
        read_events(body)


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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["put", "overwrite", "remove"]), st.integers(0, 2)), min_size=1, max_size=8), st.randoms())
def test_any_storm_of_doubled_and_reordered_events_ends_with_ledger_equal_to_bucket(
    world: World, changes: list[tuple[str, int]], dice: Any
) -> None:
    keys = [f"projects/p1/scenes/s{number}/media/a.png" for number in range(3)]
    storm = [keys[number] for _, number in changes] * 2
    dice.shuffle(storm)  # drawn before anything is done: an example that is given up must leave no change without its event
    sizes = itertools.count(1)
    for change, number in changes:
        if change == "remove":
            world.store.delete(keys[number])
        else:
            world.plant(keys[number], body=an_image() if change == "put" else bytes(next(sizes)))
    for key in storm:
        world.events.handle(put_event(key))
    assert {entry.key for entry in world.ledger.entries() if entry.state is State.STORED} == world.bucket_keys()
    listed = {row.key: row.size for page in world.store.list() for row in page}
    assert all(entry.size == listed[entry.key] for entry in world.ledger.entries() if entry.state is State.STORED)
