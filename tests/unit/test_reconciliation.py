from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest

from stocktake.alignment import Outcome
from stocktake.errors import OperationNotFound, RunIncomplete, StorageDenied, StorageError, StorageUnavailable
from stocktake.explanations import notes
from stocktake.identity import IDENTITY_KEY
from stocktake.model import State
from stocktake.reconciliation import Wanted, nested, run_of_execution
from stocktake.reconciliation.totals import count_of_project
from stocktake.storage.memory import MemoryStore
from tests.unit.world import HOUR, Crash, World, never

ORPHAN = "projects/p1/scenes/s/media/orphan.png"


def aged(world: World) -> World:
    """Lets everything that is there grow older than the grace window."""
    world.clock.advance(world.grace_ms + 1)
    return world


def a_world_with_one_of_each(world: World) -> dict[str, str]:
    keys = {
        "matched": world.upload(color=1).key,
        "missing": world.upload(color=2).key,
        "size": world.upload(color=3).key,
        "etag": world.upload(color=4).key,
        "returned": world.upload(color=5).key,
        "orphan": ORPHAN,
        "unknown": "backup.tar",
        "pending": "projects/p1/2026/11/00000000000000000000000900.png",
        "inline": "projects/p1/2026/11/00000000000000000000000901.png",
        "external": "projects/p1/2026/11/00000000000000000000000902.png",
    }
    size = world.ledger.record(keys["etag"]).size  # type: ignore[union-attr]  # uploaded above
    world.store.remove(keys["missing"])
    world.store.remove(keys["returned"])
    world.aligner().align(keys["returned"])
    world.plant(keys["returned"])
    world.plant(keys["size"], body=b"short")
    world.plant(keys["etag"], body=bytes(size))
    world.plant(keys["orphan"], keys["unknown"])
    world.record(keys["pending"], State.PENDING)
    world.record(keys["inline"], State.INLINE)
    world.record(keys["external"], State.EXTERNAL)
    return keys


def counts(world: World, run_id: str) -> dict[str, Any]:
    return dict(world.runs.run(run_id).document["counts"])


def test_every_difference_is_found_once_and_nothing_else(world: World) -> None:
    keys = a_world_with_one_of_each(world)
    run_id = aged(world).reconcile()
    assert world.found(run_id) == {
        ("missing", "gone", keys["missing"]),
        ("mismatch", "size", keys["size"]),
        ("mismatch", "etag", keys["etag"]),
        ("mismatch", "returned", keys["returned"]),
        ("orphan", "active", keys["orphan"]),
        ("unknown", "no_layout", keys["unknown"]),
        ("unstored", "pending", keys["pending"]),
        ("unstored", "inline", keys["inline"]),
        ("unstored", "external", keys["external"]),
    }
    assert world.runs.run(run_id).status == "COMPLETE"


def test_comparing_changes_nothing(world: World) -> None:
    a_world_with_one_of_each(world)
    aged(world).reconcile()
    before = (world.bucket_keys(), list(world.ledger.entries()), world.counts())
    aged(world).reconcile()
    assert (world.bucket_keys(), list(world.ledger.entries()), world.counts()) == before


def test_every_finding_says_what_it_means_and_what_to_do(world: World) -> None:
    a_world_with_one_of_each(world)
    page, _ = world.runs.findings(aged(world).reconcile(), None, 100, None)
    assert all(len(finding["meaning"]) > 30 and finding["recommended"] for finding in page)


def test_findings_are_paged_and_filtered_by_class(world: World) -> None:
    a_world_with_one_of_each(world)
    run_id = aged(world).reconcile()
    first, cursor = world.runs.findings(run_id, Wanted("mismatch"), 2, None)
    second, end = world.runs.findings(run_id, Wanted("mismatch"), 2, cursor)
    assert [finding["class"] for finding in first + second] == ["mismatch"] * 3
    assert end is None


def test_a_finding_says_since_when_and_in_how_many_runs_in_a_row_exactly_it_was_seen(world: World) -> None:
    a_world_with_one_of_each(world)
    first = aged(world).reconcile()
    began = world.clock.at
    world.clock.advance(HOUR)
    world.plant("backup.tar", body=b"another")
    second = aged(world).reconcile()
    seen = {finding["key"]: (finding["first_seen_at"], finding["sightings"]) for finding in world.runs.findings(second, None, 100, None)[0]}
    assert seen.pop("backup.tar") == (world.clock.at, 1)
    assert set(seen.values()) == {(began, 2)}
    assert {finding["sightings"] for finding in world.runs.findings(first, None, 100, None)[0]} == {1}


def test_what_is_younger_than_the_grace_window_is_no_finding(world: World) -> None:
    a_world_with_one_of_each(world)
    run_id = world.reconcile()
    assert world.found(run_id) == set()
    assert counts(world, run_id)["young"]["objects"] == 9


def test_an_overwrite_within_the_grace_window_is_young_though_its_record_is_old(world: World) -> None:
    record = world.upload()
    aged(world)
    world.plant(record.key, body=b"just now")
    assert world.found(world.reconcile()) == set()


def test_a_record_touched_within_the_grace_window_is_young_though_it_was_created_long_ago(world: World) -> None:
    record = world.upload()
    aged(world)
    world.plant(record.key, body=b"overwritten")
    world.aligner().align(record.key)
    world.store.remove(record.key)
    assert world.found(world.reconcile()) == set()


def test_nothing_is_missing_on_the_word_of_a_listing(world: World) -> None:
    record = world.upload()
    world.store.hide(record.key)
    run_id = aged(world).reconcile()
    assert world.found(run_id) == set()
    assert counts(world, run_id)["unlisted"]["objects"] == 1


@pytest.mark.parametrize("error", [StorageDenied("of a policy", code="403"), StorageError("of another key of encryption", code="400")])
def test_what_the_store_refuses_to_show_is_counted_and_found_to_be_nothing(world: World, error: StorageError) -> None:
    lost, changed, _ = (world.upload(color=color) for color in range(3))
    world.store.remove(lost.key)
    world.plant(changed.key, ORPHAN, "projects/p1/scenes/s/media/other.png", body=b"12345")
    for key in (lost.key, changed.key, ORPHAN):
        world.store.fail("head", key=key, error=error)
    run_id = aged(world).reconcile()
    counted = counts(world, run_id)
    assert world.runs.run(run_id).status == "COMPLETE"
    assert world.found(run_id) == {("orphan", "active", "projects/p1/scenes/s/media/other.png")}
    assert (counted["unreadable"], counted["bucket"]["objects"]) == ({"objects": 3, "bytes": 10}, 4)
    of_layouts = {layout: of["unreadable"]["objects"] for layout, of in counted["by_layout"].items() if "unreadable" in of}
    assert of_layouts == {"current": 2, "hierarchical": 1}
    of_project = count_of_project(world.operations, world.runs.run(run_id), "p1")
    assert of_project["classes"]["unreadable"] == {"objects": 3, "bytes": 10}
    assert notes(counted)["unreadable"]


def test_a_key_that_is_longer_than_stores_take_ends_no_run(world: World) -> None:
    world.upload()
    world.plant("projects/p1/scenes/s/media/" + "\u00e9" * 550)
    assert counts(world, aged(world).reconcile())["unreadable"]["objects"] == 1


def test_a_store_that_refuses_everything_ends_the_walk_which_goes_on_later(world: World) -> None:
    world.plant(ORPHAN)
    run_id = aged(world).plan()["run_id"]
    world.store.fail("head", error=StorageError("a bare 400", code="400"))
    world.store.fail("whereabouts", error=StorageDenied("the token has expired", code="ExpiredToken"))
    with pytest.raises(StorageDenied, match="expired"):
        world.runs.walk(run_id, 0, out_of_time=never)
    world.walked(run_id)
    assert (world.found(run_id), "unreadable" in counts(world, run_id)) == ({("orphan", "active", ORPHAN)}, False)


def test_an_upload_that_commits_during_the_walk_is_no_orphan(world: World) -> None:
    world.plant(ORPHAN)
    aged(world)

    def commit(operation: str, key: str | None) -> None:
        if operation == "head" and key == ORPHAN:
            world.store.on_call = None
            world.aligner().align(ORPHAN)

    real = world.ledger.record
    seen = 0

    def record(key: str):  # type: ignore[no-untyped-def]  # stands in for record
        nonlocal seen
        seen += 1
        if seen == 1:
            world.ledger.record = real  # type: ignore[method-assign]  # once
            world.aligner().align(ORPHAN)
        return real(key)

    world.ledger.record = record  # type: ignore[method-assign]  # a race, injected
    assert world.found(world.reconcile()) == set()


@pytest.mark.parametrize(("state", "kind"), [("active", "active"), ("deleting", "deleting"), ("deleted", "deleted"), ("none", "none")])
def test_an_orphan_says_what_became_of_its_project(world: World, state: str, kind: str) -> None:
    if state == "deleting":
        world.deletions.request("p1")
    elif state == "deleted":
        world.delete_project("p1")
    key = "projects/nobody/scenes/s/media/a.png" if state == "none" else ORPHAN
    world.plant(key)
    assert world.found(aged(world).reconcile()) == {("orphan", kind, key)}


def test_an_intent_whose_bytes_arrived_is_told_from_one_whose_bytes_are_another(world: World) -> None:
    world.store.fail("put", error=StorageUnavailable("the reply was lost"), after_effect=True)
    with pytest.raises(StorageUnavailable):
        world.upload()
    other = "projects/p1/2026/11/00000000000000000000000900.png"
    world.record(other, State.PENDING, sha256="00" * 32)
    world.plant(other, body=b"12345")
    found = world.found(aged(world).reconcile())
    assert {(name, kind) for name, kind, _ in found} == {("unstored", "uncommitted"), ("mismatch", "not_as_announced")}


def test_quarantined_records_are_not_found_again(world: World) -> None:
    world.record("projects/p1/scenes/s/media/aside.png", State.QUARANTINED)
    run_id = aged(world).reconcile()
    assert world.found(run_id) == set()
    assert counts(world, run_id)["known"]["objects"] == 1


def test_what_an_event_marked_missing_is_found_at_once_and_until_somebody_has_seen_it(world: World) -> None:
    lost = world.upload(color=1).key
    world.store.delete(lost)
    world.aligner().align(lost)
    assert world.found(world.reconcile()) == {("unstored", "missing", lost)}
    run_id = world.reconcile()
    world.repair(run_id, {"unstored": "acknowledge"})
    assert counts(world, world.reconcile())["acknowledged"]["objects"] == 1


def test_a_marked_record_of_a_project_on_its_way_out_is_no_finding(world: World) -> None:
    lost = world.upload(color=1).key
    world.store.delete(lost)
    world.aligner().align(lost)
    world.deletions.request("p1")
    assert counts(world, world.reconcile())["leaving"]["objects"] == 1


def test_an_object_that_reappears_under_a_quarantined_record_is_a_finding(world: World) -> None:
    world.record(ORPHAN, State.QUARANTINED)
    world.plant(ORPHAN)
    assert world.found(aged(world).reconcile()) == {("mismatch", "reappeared", ORPHAN)}


def test_the_bucket_is_counted_whole_per_project_and_layout(world: World) -> None:
    record = world.upload()
    world.plant(ORPHAN, "backup.tar", "projects/nobody/scenes/s/media/a.png", body=b"12345")
    run_id = aged(world).reconcile()
    assert counts(world, run_id)["bucket"] == {"objects": 4, "bytes": record.size + 15}
    assert counts(world, run_id)["layout"]["unknown"] == {"objects": 1, "bytes": 5}
    assert world.analytics.project("p1")["bucket"]["objects"] == 2


def test_more_projects_than_one_row_holds_are_counted_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.walking.PROJECTS_PER_PART", 1)
    monkeypatch.setattr("stocktake.reconciliation.walking.SAVE_EVERY", 1)
    for number in range(3):
        world.uploads.create_project(f"q{number}", {})
        world.upload(f"q{number}", color=number)
    aged(world).reconcile()
    assert [world.analytics.project(f"q{number}")["bucket"]["objects"] for number in range(3)] == [1, 1, 1]


def test_the_first_project_marks_the_bucket_as_ours(world: World) -> None:
    content = world.store.get(IDENTITY_KEY)
    assert content is not None
    world.uploads.create_project("p2", {})
    world.reconcile()
    assert world.store.get(IDENTITY_KEY) == content


def unmarked(world: World) -> World:
    """Returns a deployment that has never seen its bucket."""
    row = world.operations.get("settings", "identity")
    assert row is not None
    world.store.remove(IDENTITY_KEY)
    world.operations = Forgetful(world.operations)  # type: ignore[assignment]  # stands in for it
    return World(world.store, world.ledger, world.operations, world.clock)


class Forgetful:
    """Operations that know no identity until one is written."""

    def __init__(self, operations: Any) -> None:
        self._operations = operations
        self.identity: dict[str, Any] | None = None

    def get(self, operation_id: str, part: str = "") -> Any:
        if (operation_id, part) == ("settings", "identity"):
            return None if self.identity is None else SimpleNamespace(document=self.identity)
        return self._operations.get(operation_id, part)

    def put_new(self, operation_id: str, part: str, kind: str | None, document: dict[str, Any], **times: Any) -> bool:
        if (operation_id, part) == ("settings", "identity"):
            self.identity = document
            return True
        return bool(self._operations.put_new(operation_id, part, kind, document, **times))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operations, name)


def test_two_firsts_at_once_agree_on_the_identity(world: World) -> None:
    world = unmarked(world)

    def rival(operation: str, key: str | None) -> None:
        if operation == "put" and key == IDENTITY_KEY:
            world.store.on_call = None
            world.store.plant(IDENTITY_KEY, b'{"bucket_id": "theirs"}')

    world.store.on_call = rival
    world.uploads.create_project("p2", {})
    known = world.operations.get("settings", "identity")
    assert known is not None
    assert known.document["bucket_id"] == "theirs"


def test_a_new_stack_takes_over_the_identity_its_bucket_has(world: World) -> None:
    world = unmarked(world)
    world.store.plant(IDENTITY_KEY, b'{"bucket_id": "from before"}')
    world.reconcile()
    known = world.operations.get("settings", "identity")
    assert known is not None
    assert known.document["bucket_id"] == "from before"


@pytest.mark.parametrize(("identity", "message"), [(None, "emptied"), (b'{"bucket_id": "another"}', "another bucket")])
def test_a_wrong_or_emptied_bucket_ends_the_run_without_a_finding(world: World, identity: bytes | None, message: str) -> None:
    world.upload()
    world.reconcile()
    aged(world)
    world.store.remove(IDENTITY_KEY)
    if identity:
        world.store.plant(IDENTITY_KEY, identity)
    with pytest.raises(RunIncomplete, match=message):
        world.plan()
    run = world.runs.recent(1)[0]
    assert run.status == "INCOMPLETE"
    assert message in run.document["why"]
    assert world.found(run.operation_id) == set()


def test_an_empty_bucket_under_a_full_ledger_is_incomplete(world: World) -> None:
    record = world.upload()
    run_id = world.plan()["run_id"]
    world.store.remove(record.key)
    world.clock.advance(2 * HOUR)
    world.runs.walk(run_id, 0, out_of_time=never)
    assert world.runs.summarise(run_id)["status"] == "INCOMPLETE"
    assert "lists no object" in world.runs.run(run_id).document["why"]


def test_an_object_the_listing_dropped_is_counted_as_the_bucket_has_it(world: World) -> None:
    record = world.upload()
    world.upload(color=1)
    world.store.hide(record.key)
    run_id = aged(world).reconcile()
    assert (counts(world, run_id)["bucket"]["objects"], counts(world, run_id)["unlisted"]["objects"]) == (2, 1)
    assert world.analytics.overall()["drift"]["objects"] == world.analytics.project("p1")["drift"]["objects"] == 0


def test_a_plan_made_again_cuts_at_the_same_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.cutting.KEYS_PER_RANGE", 8)
    for number in range(20):
        world.upload(color=number)
    run_id = aged(world).plan()["run_id"]
    for number in range(20, 40):
        world.upload(color=number)
    again = world.runs.plan(run_id)
    for piece in again["ranges"]:
        world.runs.walk(run_id, piece["number"], out_of_time=never)
    world.runs.summarise(run_id)
    assert counts(world, run_id)["bucket"]["objects"] == 40


def test_one_object_under_two_unicode_spellings_is_no_orphan(world: World) -> None:
    composed, decomposed = "projects/p1/scenes/s/media/caf\u00e9.png", "projects/p1/scenes/s/media/cafe\u0301.png"
    world.plant(composed)
    world.aligner().align(composed)
    world.store.remove(composed)
    world.plant(decomposed)  # as R2 lists it after an overwrite in the other spelling
    assert world.found(aged(world).reconcile()) == {
        ("duplicate_spelling", "recorded_otherwise", decomposed),
        ("duplicate_spelling", "stored_otherwise", composed),
    }
    assert world.aligner().align(decomposed).outcome is Outcome.SPELLED_OTHERWISE


def test_every_finding_looks_at_the_clock_and_is_not_walked_again(world: World) -> None:
    world.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(5)))
    run_id = aged(world).plan()["run_id"]
    steps = 1
    while not world.runs.walk(run_id, 0, out_of_time=lambda: True)["done"]:
        steps += 1
    assert steps > 5
    world.runs.summarise(run_id)
    assert counts(world, run_id)["orphan"]["objects"] == 5


def test_a_range_not_walked_to_its_end_makes_the_run_incomplete(world: World) -> None:
    world.upload()
    run_id = world.plan()["run_id"]
    assert world.runs.summarise(run_id)["status"] == "INCOMPLETE"
    assert world.analytics.overall()["bucket"] is None


def test_a_failed_page_fails_the_step_and_walking_again_finds_the_same(world: World) -> None:
    keys = a_world_with_one_of_each(world)
    run_id = aged(world).plan()["run_id"]
    world.store.fail("list", error=StorageUnavailable("a page failed"))
    with pytest.raises(StorageUnavailable):
        world.runs.walk(run_id, 0, out_of_time=never)
    world.runs.walk(run_id, 0, out_of_time=never)
    world.runs.summarise(run_id)
    assert len(world.found(run_id)) == len(keys) - 1


def test_a_run_that_broke_off_says_why(world: World) -> None:
    run = world.runs.request()
    assert world.launched == [{"action": "compare", "run_id": run.operation_id}]
    world.runs.fail(run.operation_id, "the store did not answer")
    assert world.runs.run(run.operation_id).status == "FAILED"
    scheduled = run_of_execution("arn:execution:1")
    assert world.runs.fail(scheduled, "before there was a run")["status"] == world.runs.run(scheduled).status == "FAILED"
    with pytest.raises(OperationNotFound):
        world.runs.run("nothing")
    with pytest.raises(OperationNotFound):
        world.runs.walk(run.operation_id, 7, out_of_time=never)


def test_a_walk_short_of_time_saves_its_cursor_and_the_next_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.walking.CHECK_EVERY", 1)
    keys = a_world_with_one_of_each(world)
    run_id = aged(world).plan()["run_id"]
    steps = 0
    while not world.runs.walk(run_id, 0, out_of_time=lambda: True)["done"]:
        steps += 1
    assert steps > 5
    world.runs.summarise(run_id)
    assert len(world.found(run_id)) == len(keys) - 1
    assert counts(world, run_id)["bucket"]["objects"] == 6
    assert world.runs.walk(run_id, 0, out_of_time=never)["done"]


@pytest.mark.parametrize("step", range(0, 30, 4))
def test_a_walk_killed_at_any_call_and_started_again_reports_the_same(world: World, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr("stocktake.reconciliation.walking.SAVE_EVERY", 2)
    keys = a_world_with_one_of_each(world)
    run_id = aged(world).plan()["run_id"]
    calls = 0

    def kill(operation: str, key: str | None) -> None:
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise Crash

    world.store.on_call = kill
    try:
        world.runs.walk(run_id, 0, out_of_time=never)
    except Crash:
        world.runs.walk(run_id, 0, out_of_time=never)
    world.runs.summarise(run_id)
    assert len(world.found(run_id)) == len(keys) - 1
    assert counts(world, run_id)["bucket"]["objects"] == 6


def test_a_large_ledger_is_cut_into_ranges_that_see_every_key_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.cutting.KEYS_PER_RANGE", 8)
    for number in range(40):
        world.upload(color=number)
    plan = aged(world).plan()
    assert len(plan["ranges"]) > 1
    for piece in plan["ranges"]:
        world.runs.walk(plan["run_id"], piece["number"], out_of_time=never)
    world.runs.summarise(plan["run_id"])
    assert counts(world, plan["run_id"])["matched"]["objects"] == 40
    assert world.found(plan["run_id"]) == set()


def test_a_store_that_lists_out_of_order_gets_the_same_findings(world: World) -> None:
    world = world.with_store(MemoryStore("data", now=world.clock, ordering="directory"))
    keys = {f"projects/p1/scenes/{scene}/media/a.png" for scene in ("a", "a-b", "a.b", "ab")}
    world.plant(*keys)
    assert {key for _, _, key in world.found(aged(world).reconcile())} == keys


SCENES = ("a", "a-b", "a.b", "ab", "b", "b-c")


def a_world_that_lists_by_directory(world: World) -> tuple[World, set[str]]:
    """A store that was seen to list in order and does not; with an orphan in each scene, and one missing record."""
    promised = world.store.profile()
    world = world.with_store(MemoryStore("data", now=world.clock, ordering="directory", profile=promised))
    keys = {f"projects/p1/scenes/{scene}/media/a.png" for scene in SCENES}
    world.plant(*keys)
    gone = world.upload(color=1).key
    world.store.remove(gone)
    return aged(world), keys | {gone}


def test_a_store_that_breaks_the_order_it_promised_gets_the_same_findings_by_the_sort(world: World) -> None:
    world, keys = a_world_that_lists_by_directory(world)
    run_id = world.plan()["run_id"]
    assert not world.runs.walk(run_id, 0, out_of_time=never)["done"]
    assert not world.store.profile().ordered_listing
    assert world.runs.walk(run_id, 0, out_of_time=never)["done"]
    assert world.runs.summarise(run_id)["status"] == "COMPLETE"
    assert {key for _, _, key in world.found(run_id)} == keys
    assert counts(world, run_id)["bucket"]["objects"] == len(SCENES)
    assert world.plan()["ranges"] == [{"run_id": ANY, "number": 0, "steps": 0, "done": False}]


def test_what_was_counted_before_the_order_broke_is_not_counted_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.walking.SAVE_EVERY", 1)
    monkeypatch.setattr("stocktake.reconciliation.walking.PROJECTS_PER_PART", 0)
    world, keys = a_world_that_lists_by_directory(world)
    run_id = world.plan()["run_id"]
    while not world.runs.walk(run_id, 0, out_of_time=never)["done"]:
        pass
    world.runs.summarise(run_id)
    assert counts(world, run_id)["bucket"]["objects"] == len(SCENES)
    run = world.runs.run(run_id)
    assert count_of_project(world.operations, run, "p1")["bucket"]["objects"] == len(SCENES)
    assert {key for _, _, key in world.found(run_id)} == keys


def test_a_range_begun_before_the_order_broke_begins_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.walking.CHECK_EVERY", 1)
    keys = {f"projects/p1/scenes/{scene}/media/a.png" for scene in SCENES}
    world.plant(*keys)
    run_id = aged(world).plan()["run_id"]
    assert not world.runs.walk(run_id, 0, out_of_time=lambda: True)["done"]
    world.store.distrust_order()
    assert not world.runs.walk(run_id, 0, out_of_time=never)["done"]
    row = world.operations.get(run_id, "range#0000")
    assert row is not None
    # from its very beginning, since keys before the cursor may have been left out
    assert (row.document["cursor"], row.document["counts"]) == (row.document["after"], {})
    assert world.runs.walk(run_id, 0, out_of_time=never)["done"]
    world.runs.summarise(run_id)
    assert {key for _, _, key in world.found(run_id)} == keys
    assert counts(world, run_id)["bucket"]["objects"] == len(SCENES)


def test_ranges_walked_before_the_order_broke_in_another_make_the_run_incomplete(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.cutting.KEYS_PER_RANGE", 8)
    for number in range(40):
        world.upload(color=number)
    plan = aged(world).plan()
    world.runs.walk(plan["run_id"], 0, out_of_time=never)
    world.store.distrust_order()
    for piece in plan["ranges"]:
        world.runs.walk(plan["run_id"], piece["number"], out_of_time=never)
    assert world.runs.summarise(plan["run_id"])["status"] == "INCOMPLETE"
    assert "out of order" in world.runs.run(plan["run_id"]).document["why"]


def test_what_changes_between_the_listing_and_the_second_look_is_young(world: World) -> None:
    world.plant(ORPHAN)
    aged(world)

    def overwrite(operation: str, key: str | None) -> None:
        if operation == "head" and key == ORPHAN:
            world.store.on_call = None
            world.plant(ORPHAN, body=b"just now")

    world.store.on_call = overwrite
    assert world.found(world.reconcile()) == set()


def test_a_key_of_any_length_makes_a_finding(world: World) -> None:
    key = "x" * 1024
    world.plant(key)
    assert world.found(aged(world).reconcile()) == {("unknown", "no_layout", key)}


def test_counts_are_answered_as_a_tree() -> None:
    assert nested({"a.b.objects": 1, "a.b.bytes": 2, "c": 3}) == {"a": {"b": {"objects": 1, "bytes": 2}}, "c": 3}
