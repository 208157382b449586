"""Which bucket a run looks at, what time it is there, and what makes the whole of a run doubtful: then nothing is acted on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stocktake.errors import BucketNotFound, RunIncomplete, StocktakeError, StorageDenied, StorageUnavailable, WrongRegion
from stocktake.identity import IDENTITY_KEY
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


@pytest.fixture
def shrinking(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A bucket of eight objects, compared once; losing two or more is much."""
    monkeypatch.setattr("stocktake.reconciliation.runs.LOST_OBJECTS", 2)
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


def test_what_the_ledger_let_go_of_is_no_loss(shrinking: World) -> None:
    lose(shrinking, 4)
    for entry in list(shrinking.ledger.entries())[:4]:
        shrinking.ledger.move(shrinking.ledger.record(entry.key), None, gated=False)
    assert shrinking.runs.run(shrinking.reconcile()).status == "COMPLETE"


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
