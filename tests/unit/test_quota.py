from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from stocktake.errors import ProjectClosed, ProjectNotFound, QuotaExceeded, StocktakeError
from stocktake.importing import Fetcher
from stocktake.model import Announced, Details, NewObject, Project, Quota, Record, State
from stocktake.storage.memory import MemoryStore
from stocktake.upload import Limits, Uploads
from tests.unit.killing import killed_at
from tests.unit.ledger.builders import Deployment
from tests.unit.world import Clock, World, an_image, never

SIZE = len(an_image())
ONE = NewObject(an_image())


def limit(world: World, objects: int | None = None, size: int | None = None) -> Project:
    return world.uploads.set_quota("p1", Quota(objects, size))


def held(world: World, project_id: str = "p1") -> tuple[int, int]:
    """Returns objects and bytes that a quota counts."""
    counts = world.counts(project_id)
    counts.pop("MISSING", None)
    return sum(objects for objects, _ in counts.values()), sum(size for _, size in counts.values())


def begin(world: World, body: bytes = an_image()) -> Record:
    announced = Announced("image/png", len(body), hashlib.sha256(body).hexdigest(), None, Details())
    return world.presigned.begin("p1", announced, world.reserve()).record


def test_a_project_takes_what_its_quota_allows_to_the_last_object(world: World) -> None:
    limit(world, objects=2)
    world.upload()
    world.upload()
    with pytest.raises(QuotaExceeded, match="3 objects and may hold 2"):
        world.upload()
    assert held(world) == (2, 2 * SIZE)
    assert world.tells_one_story()


def test_a_project_takes_what_its_quota_allows_to_the_last_byte(world: World) -> None:
    limit(world, size=2 * SIZE)
    world.upload()
    world.upload()
    with pytest.raises(QuotaExceeded, match=f"{3 * SIZE} bytes and may hold {2 * SIZE}"):
        world.upload()
    limit(world, size=3 * SIZE - 1)
    with pytest.raises(QuotaExceeded):
        world.upload()


def test_what_a_quota_refuses_moves_no_byte(world: World) -> None:
    limit(world, objects=0)
    with pytest.raises(QuotaExceeded):
        world.upload()
    assert not [call for call in world.store.calls if call[0] == "put" and str(call[1]).startswith("projects/")]
    assert world.counts() == {}


def test_what_is_deleted_is_given_back(world: World) -> None:
    limit(world, objects=1, size=SIZE)
    record = world.upload()
    world.object_deletions.delete(record.object_id)
    world.upload()
    assert held(world) == (1, SIZE)


def test_an_upload_that_was_announced_counts_until_it_ends(world: World) -> None:
    limit(world, objects=1)
    begin(world)
    with pytest.raises(QuotaExceeded):
        world.upload()
    world.clock.advance(1_000_000)
    world.presigned.tidy(out_of_time=never)
    world.upload()


def test_an_upload_that_is_announced_is_held_to_the_quota(world: World) -> None:
    limit(world, size=SIZE - 1)
    with pytest.raises(QuotaExceeded):
        begin(world)
    assert world.counts() == {}


def test_an_upload_that_is_aborted_is_given_back(world: World) -> None:
    limit(world, objects=1)
    world.presigned.abort(begin(world).object_id)
    world.upload()


def test_what_the_bucket_lost_does_not_count(world: World) -> None:
    limit(world, objects=1)
    record = world.upload()
    world.store.remove(record.key)
    world.aligner().align(record.key)
    world.upload()
    assert world.counts() == {"MISSING": (1, SIZE), "STORED": (1, SIZE)}


def test_what_is_set_aside_still_counts(world: World) -> None:
    limit(world, objects=1)
    world.record("projects/p1/x.png", State.QUARANTINED)
    with pytest.raises(QuotaExceeded):
        world.upload()


def test_a_quota_may_be_set_below_what_is_held_and_then_takes_nothing(world: World) -> None:
    record = world.upload()
    assert limit(world, objects=0).quota == Quota(0, None)
    with pytest.raises(QuotaExceeded):
        world.upload()
    assert world.bytes_of(record) == an_image()


def test_a_quota_may_be_raised_and_taken_off(world: World) -> None:
    limit(world, objects=0)
    limit(world, objects=1)
    world.upload()
    assert limit(world).quota is None
    world.upload()


def test_a_quota_is_one_under_every_spelling_of_the_project(world: World) -> None:
    limit(world, objects=1)
    world.upload("proj_p1")
    with pytest.raises(QuotaExceeded):
        world.upload("p1")


def test_a_quota_is_its_projects_alone(world: World) -> None:
    world.uploads.create_project("p2", {}, Quota(objects=0))
    world.upload("p1")
    with pytest.raises(QuotaExceeded):
        world.upload("p2")


def test_a_project_that_is_closed_or_never_was_has_no_quota_to_change(world: World) -> None:
    with pytest.raises(ProjectNotFound):
        world.uploads.set_quota("nobody", Quota(1))
    world.deletions.request("p1")
    with pytest.raises(ProjectClosed):
        limit(world, objects=1)


def test_a_project_opened_without_a_quota_gets_the_deployments(world: World) -> None:
    uploads = Uploads(
        world.store,
        world.ledger,
        world.intents,
        world.generations,
        identity=world.identity,
        fetcher=Fetcher(hosts=(), max_bytes=1, seconds=1),
        rules=world.rules,
        limits=Limits(),
        default_quota=Quota(5, 500),
        now=world.clock,
    )
    assert uploads.create_project("defaults", {}).quota == Quota(5, 500)
    assert uploads.create_project("own", {}, Quota(objects=9)).quota == Quota(9, None)
    assert uploads.create_project("unlimited", {}, Quota()).quota is None
    world.delete_project("own")
    assert uploads.create_project("own", {}).quota == Quota(5, 500)


def test_two_uploads_that_count_at_the_same_time_do_not_both_pass(world: World) -> None:
    limit(world, objects=1)
    real, refused = world.ledger.counts, []

    def rival(project_id: str):  # type: ignore[no-untyped-def]  # stands in for counts
        world.ledger.counts = real  # type: ignore[method-assign]  # once
        with pytest.raises(QuotaExceeded):
            world.upload(color=1)
        refused.append(project_id)
        return real(project_id)

    world.ledger.counts = rival  # type: ignore[method-assign]  # a race, injected
    world.upload()
    assert refused == ["p1"]
    assert held(world) == (1, SIZE)


def test_uploads_in_threads_never_pass_a_quota_together(world: World) -> None:
    limit(world, objects=3)

    def put(color: int) -> bool:
        try:
            world.upload(color=color)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        stored = sum(pool.map(put, range(10)))
    assert stored <= 3
    assert {state: objects for state, (objects, _) in world.counts().items()} in ({"STORED": stored}, {})
    for color in range(3 - stored):
        world.upload(color=20 + color)  # what was refused has given back all it held
    assert held(world) == (3, 3 * SIZE)


def test_an_intent_whose_writer_died_before_it_asked_is_held_to_the_quota_by_the_retry(world: World, deployment: Deployment) -> None:
    limit(world, objects=1)
    reserved = world.reserve()
    for call in itertools.count():
        with killed_at(world, deployment, call) as killing:
            world.uploads.put("p1", ONE, reserved)
        assert killing.happened
        if "PENDING" in world.counts():
            break
    world.record("projects/p1/rival.png", State.STORED)
    with pytest.raises(QuotaExceeded):
        world.uploads.put("p1", ONE, replace(reserved, is_retry=True))
    world.clock.advance(61_000)
    world.presigned.tidy(out_of_time=never)  # the intent was found and not written, so it is left to its end
    assert held(world)[0] == 1
    assert world.bucket_keys() == set()


def test_an_upload_whose_twin_was_committed_meanwhile_is_not_taken_away_by_a_quota_that_is_full_now(world: World) -> None:
    limit(world, objects=1)
    reserved, real = world.reserve(), world.ledger.counts

    def twin(project_id: str):  # type: ignore[no-untyped-def]  # stands in for counts
        world.ledger.counts = real  # type: ignore[method-assign]  # once
        world.uploads.put("p1", ONE, replace(reserved, is_retry=True))
        world.record("projects/p1/rival.png", State.STORED)
        return real(project_id)

    world.ledger.counts = twin  # type: ignore[method-assign]  # a race, injected
    uploaded = world.uploads.put("p1", ONE, reserved)
    assert world.ledger.record(uploaded.record.key) == uploaded.record
    assert world.bytes_of(uploaded.record) == an_image()


class QuotasHold(RuleBasedStateMachine):
    """Whatever is uploaded, announced, lost and deleted: what a project takes stays under its quota, and room is never lost."""

    deploy: ClassVar[Callable[..., Deployment]]

    @initialize(objects=st.none() | st.integers(0, 3), size=st.none() | st.integers(0, 4 * SIZE))
    def begin(self, objects: int | None, size: int | None) -> None:
        made, clock = type(self).deploy(shards=2), Clock()
        self.world = World(MemoryStore("data", now=clock), made.ledger, made.operations, clock)
        self.quota = Quota(objects, size)
        self.world.uploads.create_project("p1", {}, self.quota)
        self.stored: list[Record] = []
        self.announced: list[Record] = []

    def _fits(self, size: int) -> bool:
        objects, total = held(self.world)
        most, largest = self.quota.objects, self.quota.bytes
        return (most is None or objects + 1 <= most) and (largest is None or total + size <= largest)

    @rule(extra=st.integers(0, SIZE), is_announced=st.booleans())
    def upload(self, extra: int, is_announced: bool) -> None:
        body = an_image() + bytes(extra)
        fits = self._fits(len(body))
        try:
            if is_announced:
                self.announced.append(begin(self.world, body))
            else:
                self.stored.append(self.world.put(body).record)
        except QuotaExceeded:
            assert not fits
        else:
            assert fits

    @precondition(lambda self: self.stored)
    @rule()
    def delete(self) -> None:
        self.world.object_deletions.delete(self.stored.pop().object_id)

    @precondition(lambda self: self.stored)
    @rule()
    def lose(self) -> None:
        record = self.stored.pop()
        self.world.store.remove(record.key)
        self.world.aligner().align(record.key)

    @precondition(lambda self: self.announced)
    @rule()
    def abort(self) -> None:
        self.world.presigned.abort(self.announced.pop().object_id)

    @rule(objects=st.none() | st.integers(0, 3))
    def change(self, objects: int | None) -> None:
        self.quota = self.world.uploads.set_quota("p1", Quota(objects, self.quota.bytes)).quota or Quota()

    @invariant()
    def what_is_held_is_what_was_taken(self) -> None:
        if hasattr(self, "world"):
            taken = [*self.stored, *self.announced]
            assert held(self.world) == (len(taken), sum(record.size for record in taken))


def test_a_quota_holds_whatever_happens(deploy: Callable[..., Deployment]) -> None:
    QuotasHold.deploy = deploy
    checks = list(HealthCheck)
    run_state_machine_as_test(
        QuotasHold, settings=settings(max_examples=6, stateful_step_count=8, deadline=None, suppress_health_check=checks, database=None)
    )


def test_a_refusal_whose_withdrawal_fails_leaves_an_intent_that_ends_by_itself(world: World) -> None:
    limit(world, objects=0)
    real = world.ledger.move

    def broken(before, after, *, gated, content=None):  # type: ignore[no-untyped-def]  # stands in for move
        if after is None:
            raise StocktakeError("no answer")
        return real(before, after, gated=gated, content=content)

    world.ledger.move = broken  # type: ignore[method-assign]  # a fault, injected
    with pytest.raises(StocktakeError):
        world.upload()
    world.ledger.move = real  # type: ignore[method-assign]  # over
    world.clock.advance(60_001)
    world.presigned.tidy(out_of_time=never)
    assert (world.counts(), world.bucket_keys()) == ({}, set())
