"""Which bucket a run looks at, what time it is there, and what makes the whole of a run doubtful: then nothing is acted on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stocktake.errors import BucketNotFound, RunIncomplete, StocktakeError, StorageDenied, StorageUnavailable, WrongRegion
from stocktake.identity import IDENTITY_KEY
from stocktake.model import FindingClass, State
from stocktake.reconciliation.doubts import is_whole, unreadable
from tests.unit.world import HOUR, World, never

ORPHAN = "projects/p1/scenes/s/media/orphan.png"


def in_region(world: World, region: str | None, *, configured: str = "eu-north-1", known: str | None = None) -> World:
    """Returns this deployment, marked while its bucket said `known`, over a bucket that says `region`."""
    world.store.region = known
    world.operations.remove("settings")
    configured_as = World(world.store, world.ledger, world.operations, world.clock, new_id=world.new_id)
    vars(configured_as)["identity"] = type(world.identity)(world.store, world.operations, world.clock, world.new_id, configured)
    configured_as.identity.ensure()
    world.store.region = region
    return configured_as


def ended(world: World, error: type[StocktakeError]) -> Any:
    """Plans a run, which must fail, and returns what it says of itself."""
    with pytest.raises(error):
        world.plan()
    run = world.runs.recent(1)[0]
    assert list(world.operations.all_parts(run.operation_id, "range#")) == []
    with pytest.raises(RunIncomplete):
        world.repairs().request(run.operation_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    return run


def test_a_bucket_in_another_region_is_told_apart_and_the_parameter_named(world: World) -> None:
    world = in_region(world, "eu-north-1", configured="us-east-1")
    run = ended(world, WrongRegion)
    assert run.status == "INCOMPLETE"
    assert all(said in run.document["why"] for said in ("'eu-north-1'", "'us-east-1'", "StorageRegion"))
    seen = world.identity.diagnose()
    assert (seen["status"], seen["region"], seen["configured_region"]) == ("wrong-region", "eu-north-1", "us-east-1")
    assert seen["why"] == run.document["why"]


def test_to_ask_which_bucket_it_is_binds_the_ledger_to_none(world: World) -> None:
    world.operations.remove("settings")
    world.store.region = "eu-north-1"
    for configured, status in (("eu-north-1", "ok"), ("us-east-1", "wrong-region")):
        identity = type(world.identity)(world.store, world.operations, world.clock, world.new_id, configured)
        assert (identity.diagnose()["status"], identity.diagnose()["known_bucket_id"]) == (status, None)
    assert world.operations.get("settings", "identity") is None


def test_a_bucket_of_the_same_name_in_another_region_than_before_is_another_bucket(world: World) -> None:
    world = in_region(world, "eu-west-1", configured="eu-west-1", known="eu-north-1")
    assert "was in 'eu-north-1'" in ended(world, RunIncomplete).document["why"]


@pytest.mark.parametrize(("region", "configured"), [("eu-north-1", "eu-north-1"), (None, "us-east-1"), ("auto", "auto"), ("wnam", "auto")])
def test_a_region_that_is_right_or_that_nobody_tells_is_no_problem(world: World, region: str | None, configured: str) -> None:
    world = in_region(world, region, configured=configured)
    assert world.identity.diagnose()["status"] == "ok"


@pytest.mark.parametrize(
    ("mark", "said"),
    [(None, "made anew"), (b'{"bucket_id": "another"}', "another bucket"), (b"not ours", "another bucket")],
)
def test_a_bucket_without_the_mark_or_with_anothers_is_diagnosed_by_name(world: World, mark: bytes | None, said: str) -> None:
    world.store.remove(IDENTITY_KEY)
    if mark:
        world.store.plant(IDENTITY_KEY, mark)
    seen = world.identity.diagnose()
    assert (seen["status"], said in seen["why"]) == ("run-incomplete", True)


def test_a_mark_holds_the_region_it_was_made_in(world: World) -> None:
    world.store.remove(IDENTITY_KEY)
    in_region(world, None, known="eu-north-1")
    content = world.store.get(IDENTITY_KEY)
    assert content is not None
    assert json.loads(content.body)["region"] == "eu-north-1"


@pytest.mark.parametrize("error", [BucketNotFound, StorageDenied])
def test_a_bucket_that_is_not_there_or_not_ours_to_read_is_said_on_the_run(world: World, error: type[StocktakeError]) -> None:
    world.store.fail("whereabouts", error=error("the bucket is not there"), times=2)
    assert world.identity.diagnose()["why"] == "the bucket is not there"
    assert ended(world, error).document["why"] == "the bucket is not there"


def test_a_store_that_does_not_answer_is_asked_again_by_the_state_machine(world: World) -> None:
    world.store.fail("whereabouts", error=StorageUnavailable("try again"))
    with pytest.raises(StorageUnavailable):
        world.runs.plan("a")
    assert world.runs.plan("a")["walks"] is True


@pytest.mark.parametrize(("skew", "added"), [(0, 0), (59_000, 0), (-59_000, 0), (200_000, 200_000), (-200_000, 200_000)])
def test_a_clock_that_is_off_lengthens_the_grace_window(world: World, skew: int, added: int) -> None:
    world.store.skew_ms = skew
    run = world.runs.run(world.plan()["run_id"])
    assert abs(run.document["grace_ms"] - world.grace_ms - added) < 1000
    assert abs(run.document["clock_skew_ms"] - skew) < 1000


def test_what_is_young_by_the_longer_window_is_no_finding(world: World) -> None:
    world.upload()
    world.plant(ORPHAN)
    world.clock.advance(world.grace_ms + 100_000)
    world.store.skew_ms = 200_000
    assert world.found(world.reconcile()) == set()
    world.store.skew_ms = 0
    assert len(world.found(world.reconcile())) == 1


@pytest.mark.parametrize(("skew", "word"), [(302_000, "ahead of"), (-302_000, "behind")])
def test_a_clock_that_is_over_five_minutes_off_ends_the_run_and_says_so(world: World, skew: int, word: str) -> None:
    world.store.skew_ms = skew
    run = ended(world, RunIncomplete)
    assert (run.status, word in run.document["why"]) == ("INCOMPLETE", True)


def test_a_bucket_that_is_exchanged_while_it_is_walked_completes_no_run(world: World) -> None:
    world.upload()
    run_id = world.plan()["run_id"]
    world.runs.walk(run_id, 0, out_of_time=never)
    world.store.plant(IDENTITY_KEY, b'{"bucket_id": "another"}')
    assert world.runs.summarise(run_id)["status"] == "INCOMPLETE"
    assert "another bucket" in world.runs.run(run_id).document["why"]


def test_a_bucket_that_is_exchanged_after_a_run_is_not_acted_on(world: World) -> None:
    world.upload()
    world.plant(ORPHAN)
    world.clock.advance(world.grace_ms + 1)
    run_id = world.reconcile()
    world.store.plant(IDENTITY_KEY, b'{"bucket_id": "another"}')
    with pytest.raises(RunIncomplete, match="another bucket"):
        world.repairs().request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)


def test_the_first_run_only_reports_unless_someone_says_they_have_read_it(world: World) -> None:
    world.upload()
    world.plant(ORPHAN)
    world.clock.advance(world.grace_ms + 1)
    first = world.reconcile()
    repairs = world.repairs()
    with pytest.raises(RunIncomplete, match="first_run"):
        repairs.request(first, {"orphan": "quarantine"}, out_of_time=never)
    assert repairs.repair(first) is None
    world.clock.advance(HOUR)
    second = world.reconcile()
    assert repairs.request(second, {"orphan": "quarantine"}, out_of_time=never)["status"] == "RUNNING"


@pytest.mark.parametrize(
    ("refused", "objects", "is_doubtful"),
    [(0, 0, False), (0, 5, False), (4, 5, False), (5, 5, True), (3, 0, True), (99, 1000, False), (100, 9999, True), (100, 10_000, False)],
)
def test_a_run_that_could_look_at_too_little_of_what_differs_is_in_doubt(refused: int, objects: int, is_doubtful: bool) -> None:
    said = unreadable({"unreadable": {"objects": refused}, "bucket": {"objects": objects}})
    assert (said is not None) is is_doubtful


def test_a_run_that_was_refused_all_there_is_is_incomplete_and_says_so(world: World) -> None:
    world.plant(ORPHAN)
    world.clock.advance(world.grace_ms + 1)
    world.store.fail("head", key=ORPHAN, error=StorageDenied("of a policy", code="403"))
    run = world.runs.run(world.reconcile())
    assert (run.status, "refuses to show 1 keys" in run.document["why"]) == ("INCOMPLETE", True)


@pytest.fixture
def shrinking(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A bucket of eight objects, compared once; losing two or more is much."""
    monkeypatch.setattr("stocktake.reconciliation.doubts.LOST_OBJECTS", 2)
    for number in range(8):
        world.upload(color=number)
    world.clock.advance(world.grace_ms + 1)
    world.reconcile()
    world.clock.advance(1)
    return world


def lose(world: World, objects: int) -> None:
    for entry in list(world.ledger.entries())[:objects]:
        world.store.remove(entry.key)


def test_a_bucket_that_lost_much_since_the_last_run_is_in_doubt_until_someone_knows_why(shrinking: World) -> None:
    lose(shrinking, 2)
    doubted = shrinking.reconcile()
    run = shrinking.runs.run(doubted)
    assert (run.status, "accept_loss" in run.document["why"]) == ("INCOMPLETE", True)
    shrinking.clock.advance(1)
    accepted = shrinking.runs.request(accept_loss=True).operation_id
    shrinking.runs.plan(accepted)
    shrinking.runs.walk(accepted, 0, out_of_time=never)
    assert shrinking.runs.summarise(accepted)["status"] == "COMPLETE"


def test_a_bucket_that_lost_little_is_believed(shrinking: World) -> None:
    lose(shrinking, 1)
    assert shrinking.runs.run(shrinking.reconcile()).status == "COMPLETE"


def test_a_loss_that_events_have_marked_is_one_until_someone_knows_why(shrinking: World) -> None:
    marked = list(shrinking.ledger.entries())[:3]
    lose(shrinking, 3)
    for entry in marked:
        shrinking.aligner().align(entry.key)
    for _ in range(2):
        run = later(shrinking)
        assert (run.status, run.document["counts"]["lost"]["objects"]["objects"]) == ("INCOMPLETE", 3)
    assert later(shrinking, accept_loss=True).status == "COMPLETE"
    lost_again = later(shrinking)
    assert (lost_again.status, "lost" in lost_again.document["counts"]) == ("COMPLETE", False)


def test_a_loss_that_was_accepted_and_is_marked_by_a_repair_is_not_met_again(shrinking: World) -> None:
    lose(shrinking, 3)
    accepted = later(shrinking, accept_loss=True)
    assert shrinking.repair(accepted.operation_id, {"missing": "mark_missing"})["done"] == {"MARK_MISSING": 3}
    assert later(shrinking).status == "COMPLETE"


def test_what_a_repair_took_out_of_the_bucket_is_no_loss(compared: World) -> None:
    compared.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(30)))
    assert compared.repair(compared.seen_twice(), {"orphan": "quarantine"})["done"] == {"QUARANTINE": 31}
    assert later(compared).status == "COMPLETE"


def test_records_that_never_had_an_object_have_lost_none(shrinking: World) -> None:
    for number in range(8):
        shrinking.record(f"projects/p1/scenes/s/media/{number}.png", State.EXTERNAL)
    run = later(shrinking)
    assert (run.status, run.document["counts"]["unstored"]["objects"]) == ("COMPLETE", 8)


def test_what_the_run_before_did_not_know_is_no_loss(shrinking: World) -> None:
    for number in range(9):
        shrinking.record(f"projects/p1/scenes/s{number}/media/a.png", State.STORED)
    run = later(shrinking)
    assert (run.status, run.document["counts"]["missing"]["objects"]) == ("COMPLETE", 9)


def test_no_more_can_be_lost_than_there_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.doubts.LOST_OBJECTS", 2)
    world.reconcile()
    world.upload()
    for number in range(9):  # brought from elsewhere, with the times they had there
        world.record(f"projects/p1/scenes/s{number}/media/a.png", State.STORED, created_at=0)
    run = later(world)
    assert (run.status, run.document["counts"]["missing"]["objects"]) == ("COMPLETE", 9)


def test_what_the_ledger_let_go_of_is_no_loss(shrinking: World) -> None:
    lose(shrinking, 4)
    for entry in list(shrinking.ledger.entries())[:4]:
        shrinking.ledger.move(shrinking.ledger.record(entry.key), None, gated=False)
    assert shrinking.runs.run(shrinking.reconcile()).status == "COMPLETE"


# what the ledger lost


@pytest.fixture
def compared(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A bucket of twenty objects with records and one without, compared once; losing two or more is much."""
    monkeypatch.setattr("stocktake.reconciliation.doubts.LOST_OBJECTS", 2)
    for number in range(20):
        world.upload(color=number)
    world.plant(ORPHAN)
    world.clock.advance(world.grace_ms + 1)
    world.reconcile()
    return world


def without_rows(world: World, rows: int) -> None:
    """Takes rows away as a restore of the tables to an earlier time does: nothing of it is counted, and the bucket stays as it is."""
    for entry in list(world.ledger.entries())[:rows]:
        record = world.ledger.record(entry.key)
        assert record is not None
        world.ledger.move(record, None, gated=False)


def later(world: World, **asked: Any) -> Any:
    """Compares again, a grace window later, and returns the run."""
    world.clock.advance(world.grace_ms + 1)
    run_id = world.runs.request(**asked).operation_id
    world.runs.plan(run_id)
    return world.runs.run(world.walked(run_id))


def test_a_ledger_that_lost_many_rows_is_in_doubt_until_someone_knows_why(compared: World) -> None:
    without_rows(compared, 3)
    for _ in range(2):
        run = later(compared)
        assert (run.status, "accept_loss" in run.document["why"]) == ("INCOMPLETE", True)
        assert "3 objects that the bucket had in the run before have no record any more, of some 20" in run.document["why"]
        with pytest.raises(RunIncomplete):
            compared.repairs().request(run.operation_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    assert later(compared, accept_loss=True).status == "COMPLETE"
    assert later(compared).status == "COMPLETE"


def test_rows_whose_objects_no_layout_explains_are_lost_as_well(compared: World) -> None:
    for number in range(3):
        compared.store.plant(f"elsewhere/{number}", b"there")
        compared.record(f"elsewhere/{number}", State.STORED, etag=compared.store.head(f"elsewhere/{number}").etag)  # type: ignore[union-attr]  # just put
    assert later(compared).status == "COMPLETE"
    for number in range(3):
        compared.ledger.move(compared.ledger.record(f"elsewhere/{number}"), None, gated=False)
    assert later(compared).status == "INCOMPLETE"


def test_a_ledger_that_was_emptied_is_in_doubt_beside_any_number_of_objects(compared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.doubts.LOST_OBJECTS", 100)
    without_rows(compared, 20)
    compared.clock.advance(compared.grace_ms + 1)
    compared.upload()
    run = later(compared)
    assert (run.status, "20 objects" in run.document["why"], "of some 20" in run.document["why"]) == ("INCOMPLETE", True, True)


def test_what_was_without_a_record_and_acknowledged_is_no_loss_when_that_ends(compared: World) -> None:
    keys = [f"projects/p1/scenes/s{number}/media/a.png" for number in range(30)]
    compared.plant(*keys)
    compared.repair(later(compared).operation_id, {"orphan": "acknowledge"})
    assert "orphan" not in later(compared).document["counts"]
    for acknowledged in compared.acknowledgements.recent(10, None)[0]:
        compared.acknowledgements.revoke(acknowledged.operation_id)
    compared.plant(*keys[:5], body=b"written anew")
    run = later(compared)
    assert (run.status, "lost" in run.document["counts"]) == ("COMPLETE", False)
    assert run.document["counts"]["orphan"]["objects"] >= 10


def test_keys_that_a_new_layout_explains_have_lost_no_record(compared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    compared.plant(*(f"elsewhere/{number}" for number in range(30)))
    assert later(compared).document["counts"]["unknown"]["objects"] == 30
    monkeypatch.setattr("stocktake.reconciliation.walking.classify", lambda *_: (FindingClass.ORPHAN, "none"))
    run = later(compared)
    assert (run.status, run.document["counts"]["orphan"]["objects"]) == ("COMPLETE", 31)


def test_a_ledger_that_lost_few_rows_is_believed(compared: World) -> None:
    without_rows(compared, 2)  # a tenth is not more than a tenth
    assert later(compared).status == "COMPLETE"


def test_rows_that_are_lost_after_much_was_deleted_are_held_against_what_was_left(compared: World) -> None:
    for entry in list(compared.ledger.entries())[:12]:
        compared.object_deletions.delete(compared.ledger.record(entry.key).object_id)  # type: ignore[union-attr]  # just listed
    without_rows(compared, 2)
    run = later(compared)
    assert (run.status, "2 objects" in run.document["why"], "of some 8" in run.document["why"]) == ("INCOMPLETE", True, True)


def test_objects_that_came_around_the_ledger_are_no_loss_of_it(compared: World) -> None:
    compared.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(30)))
    run = later(compared)
    assert (run.status, run.document["counts"]["orphan"]["objects"]) == ("COMPLETE", 31)


def test_what_was_young_without_a_record_and_came_of_age_is_no_loss(compared: World) -> None:
    compared.plant(*(f"projects/p1/scenes/s{number}/media/a.png" for number in range(30)))
    run = compared.runs.run(compared.reconcile())
    assert (run.status, run.document["counts"]["young"]["objects"]) == ("COMPLETE", 30)
    assert later(compared).status == "COMPLETE"


def test_records_that_are_marked_missing_or_deleted_with_their_objects_are_no_loss(compared: World) -> None:
    lose(compared, 2)
    run = later(compared)
    assert run.status == "COMPLETE"
    compared.repair(run.operation_id, {"missing": "mark_missing"})
    assert later(compared).status == "COMPLETE"
    compared.delete_project("p1")
    assert later(compared).status == "COMPLETE"


# all keys, each once


@pytest.mark.parametrize("lost", [0, 1, 2, None])
def test_a_run_without_a_row_of_its_ranges_is_not_complete(world: World, monkeypatch: pytest.MonkeyPatch, lost: int | None) -> None:
    monkeypatch.setattr("stocktake.reconciliation.runs.cuts", lambda *_: ["b", "p"])
    world.upload()
    run_id = world.plan()["run_id"]
    for number in range(3):
        assert world.runs.walk(run_id, number, out_of_time=never)["done"]
    hidden = {f"range#{number:04d}" for number in range(3) if lost in (None, number)}
    all_parts = world.operations.all_parts
    monkeypatch.setattr(world.operations, "all_parts", lambda *asked: (row for row in all_parts(*asked) if row.part not in hidden))
    assert world.runs.summarise(run_id)["status"] == "INCOMPLETE"
    assert "not all the keys" in world.runs.run(run_id).document["why"]


@pytest.mark.parametrize(
    ("bounds", "whole"),
    [
        ([("", None)], True),
        ([("m", None), ("", "b"), ("b", "m")], True),
        ([], False),
        ([("", "b")], False),
        ([("", "b"), ("c", None)], False),
        ([("", "c"), ("b", None)], False),
        ([("", None), ("", None)], False),
        ([("", "b"), ("", "b"), ("b", None)], False),
        ([("", None), ("b", None)], False),
    ],
)
def test_ranges_are_whole_where_each_begins_at_the_end_of_the_one_before(bounds: list[tuple[str, str | None]], *, whole: bool) -> None:
    assert is_whole(bounds) is whole


@pytest.mark.parametrize("operation", ["list", "head"])
def test_a_run_of_which_a_request_failed_for_good_is_never_acted_on(world: World, operation: Any) -> None:
    world.upload()
    world.plant(ORPHAN)
    world.clock.advance(world.grace_ms + 1)
    run_id = world.plan()["run_id"]
    world.store.fail(operation, error=StorageUnavailable("a page failed"))
    with pytest.raises(StorageUnavailable):
        world.runs.walk(run_id, 0, out_of_time=never)
    world.runs.fail(run_id, "a page failed")
    with pytest.raises(RunIncomplete, match="failed"):
        world.repairs().request(run_id, {"orphan": "quarantine"}, first_run=True, out_of_time=never)
    assert world.runs.walk(run_id, 0, out_of_time=never)["done"]
    assert world.found(run_id) == set()
