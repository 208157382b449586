"""The walk beside a comparison of sets: written from the words of the classes, and knowing nothing of streams, cursors and pages."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stocktake.model import ListedObject, Record, State
from stocktake.storage.memory import MemoryStore
from tests.planting import put_records
from tests.unit.ledger.builders import Deployment
from tests.unit.world import Clock, World

# names that stores, URLs, XML, file systems and sorting have stumbled over
NAMES = ["a", "a-b", "a.b", "ab", "a b", "a+b", "a%41", "\u00e9", "e\u0301", "\u00c5ngstrom", "A\u030angstrom"]
NAMES += ["\U0001f600", "..", "a&<b>", "#?", "\x01"]
PLACES = {
    "projects/alive/scenes/s/media/{}": "active",
    "proj_alive_s_{}": "active",
    "audio/proj_closing/s/{}": "deleting",
    "projects/proj_gone/scenes/s/media/{}": "deleted",
    "images/proj_nobody/s/{}": "none",
    "images/session/persona/1795239000000-{}.png": "any",
    "backups/{}/": "any",
}
SESSION = "images/session/persona/1795239000000-{}.png"
SIZE = 5


@dataclass(frozen=True)
class Situation:
    """What lies under one key. `object` is how it compares with what a record says of it; `age` is in half grace windows."""

    object: str | None
    record: State | None
    object_age: int
    record_age: int
    hidden: bool = False


class Shuffling(MemoryStore):
    """A store that lists backwards, and every page twice."""

    def list(self, prefix: str = "", *, after: str = "", page_size: int = 7) -> Iterator[Sequence[ListedObject]]:
        for page in super().list(prefix, after=after, page_size=page_size):
            yield page[::-1]
            yield page


situations = st.builds(
    Situation,
    st.sampled_from([None, "same", "same", "size", "etag"]),
    st.sampled_from([None, None, State.STORED, State.STORED, *State]),
    st.sampled_from([1, 3, 3, 3, 3]),
    st.sampled_from([1, 3, 3, 3, 3]),
    st.sampled_from([False, False, False, False, True]),
)
keys = st.tuples(st.sampled_from(sorted(PLACES)), st.sampled_from(NAMES))


def judged(situation: Mapping[tuple[str, str], Situation]) -> set[tuple[str, str, str]]:
    """Says what a run must find: (class, kind, key)."""
    of = {place.format(name): (place, name, one) for (place, name), one in situation.items()}
    objects = {key for key, (_, _, one) in of.items() if one.object is not None}
    listed = {key for key in objects if not of[key][2].hidden}
    records = {key for key, (_, _, one) in of.items() if one.record is not None}
    found = set()
    for key in listed | records:
        place, name, one = of[key]
        is_marked = one.record is State.MISSING and key not in objects
        if (key in objects and one.object_age < 2) or (key in records and one.record_age < 2 and not is_marked):
            continue
        alike = {other for other in of if other != key and unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", key)}
        state = one.record
        if state is None:
            if alike & listed:
                found.add(("duplicate_spelling", "two_objects", key))
            elif alike & records:
                found.add(("duplicate_spelling", "recorded_otherwise", key))
            elif place == "backups/{}/" or (place == SESSION and name not in ("a", "ab")):
                found.add(("unknown", "no_layout", key))
            else:
                found.add(("orphan", "none" if PLACES[place] == "any" else PLACES[place], key))
        elif state is State.STORED and key not in objects:
            found.add(("duplicate_spelling", "stored_otherwise", key) if alike & (objects - records) else ("missing", "gone", key))
        elif state is State.STORED and one.object != "same":
            found.add(("mismatch", str(one.object), key))
        elif state is State.PENDING:
            kinds = {None: ("unstored", "pending"), "same": ("unstored", "uncommitted")}
            found.add((*kinds.get(one.object, ("mismatch", "not_as_announced")), key))
        elif state in (State.INLINE, State.EXTERNAL) or is_marked:
            found.add(("unstored", state.lower(), key))
        elif state is State.MISSING:
            found.add(("mismatch", "returned", key))
        elif state is State.QUARANTINED and key in listed:  # what it says is believed, and not asked
            found.add(("mismatch", "reappeared", key))
    return found


def planted(deployment: Deployment, store: MemoryStore, clock: Clock, situation: Mapping[tuple[str, str], Situation]) -> World:
    """Makes a deployment of that situation, at the moment a run begins."""
    world = World(store, deployment.ledger, deployment.operations, clock)
    for project in ("alive", "closing", "gone"):
        world.uploads.create_project(project, {})
    for project in ("closing", "gone"):
        world.ledger.begin_deletion(project, f"deletion-{project}", clock.at)
    world.ledger.finish_deletion("gone", "deletion-gone", world.ledger.project("gone").epoch, clock.at)
    now, records = clock.at, []
    for number, ((place, name), one) in enumerate(situation.items()):
        key = place.format(name)
        etag = "not its own"
        if one.object is not None:
            clock.at = now - one.object_age * world.grace_ms // 2
            store.plant(key, bytes(SIZE + 1 if one.object == "size" else SIZE))
            found = store.head(key)
            assert found is not None
            etag = etag if one.object == "etag" else found.etag
            if one.hidden:
                store.hide(key)
        if one.record is not None:
            at = now - one.record_age * world.grace_ms // 2
            records.append(Record(key, f"{number:026d}", "alive", 1, one.record, SIZE, at, at, etag=etag))
    clock.at = now
    put_records(deployment.tables, records)
    return world


# a situation this large cannot be made small in the time there is: what differs is in the message
@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.dictionaries(keys, situations, min_size=25, max_size=45), st.sampled_from(["in order", "by directory", "backwards and twice"]))
def test_the_walk_finds_what_a_comparison_of_sets_finds_and_counts_it(
    deploy: Callable[..., Deployment], situation: dict[tuple[str, str], Situation], order: str
) -> None:
    clock = Clock()
    make = Shuffling if order == "backwards and twice" else MemoryStore
    store = make("data", now=clock, ordering="utf8" if order == "in order" else "directory")
    world = planted(deploy(), store, clock, situation)
    store.plant("backups/never-empty/", b"")
    run_id = world.reconcile()
    found, expected = world.found(run_id), judged(situation)
    assert (found - expected, expected - found) == (set(), set())
    counts = world.runs.run(run_id).document["counts"]
    assert {name: counts.get(name, {}).get("objects", 0) for name, _, _ in expected} == Counter(name for name, _, _ in expected)
    matched = [one for one in situation.values() if one.object == "same" and one.record is State.STORED and not one.hidden]
    assert counts.get("matched", {}).get("objects", 0) == len(matched)
