"""A request that is sent again has the identity it had: whatever became of the attempt before it, there is one object."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from stocktake.errors import (
    Conflict,
    ImportDisabled,
    ImportRefused,
    ObjectDeleted,
    ObjectUnavailable,
    ProjectClosed,
    ProjectNotFound,
    StorageDenied,
    StorageUnavailable,
    TooLarge,
    UnsupportedType,
)
from stocktake.importing import Fetched, Fetcher
from stocktake.intents import REMEMBERED_MS
from stocktake.model import Details, NewObject, Record, Reserved, State
from stocktake.upload import Limits, Uploads
from tests.unit.killing import killed_at
from tests.unit.ledger.builders import Deployment
from tests.unit.world import World, an_image, never

URL = "https://images.example.com/a.png?signature=abc"


class FakeFetcher(Fetcher):
    """Gives what it was told to, and notes what it was asked for."""

    def __init__(self, *answers: Fetched | Exception) -> None:
        super().__init__(hosts=(), max_bytes=1, seconds=1)
        self.answers = list(answers)
        self.asked: list[str] = []

    def fetch(self, url: str) -> Fetched:
        self.asked.append(url)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def fetched(body: bytes, content_type: str | None = "image/png") -> Fetched:
    return Fetched(body, content_type, URL)


def importing(world: World, *answers: Fetched | Exception) -> tuple[Uploads, FakeFetcher]:
    fetcher = FakeFetcher(*answers)
    uploads = Uploads(
        world.store,
        world.ledger,
        world.intents,
        world.generations,
        identity=world.identity,
        fetcher=fetcher,
        rules=world.rules,
        limits=Limits(max_bytes=100, warn_bytes=100_000),
        default_quota=None,
        now=world.clock,
    )
    return uploads, fetcher


def put(world: World, reserved: Reserved, color: int = 0) -> Record:
    return world.uploads.put("p1", NewObject(an_image(color)), reserved).record


def again(reserved: Reserved) -> Reserved:
    return replace(reserved, is_retry=True)


# ---- retries


@pytest.mark.parametrize("later", [0, 61_000], ids=["at once", "after the intent's life"])
def test_an_upload_killed_at_any_call_is_one_object_of_the_same_id_and_key_once_it_is_sent_again(
    world: World, deployment: Deployment, later: int
) -> None:
    after: set[str] = set()
    for call in itertools.count():
        world.clock.advance(REMEMBERED_MS)
        reserved = world.reserve()
        with killed_at(world, deployment, call) as killing:
            put(world, reserved)
        before = {entry.key for entry in world.ledger.entries()}
        world.clock.advance(later)
        record = put(world, again(reserved))
        assert (record.object_id, record.created_at) == (reserved.object_id, reserved.at)
        after = {entry.key for entry in world.ledger.entries()}
        assert before | {record.key} == after
        assert len(after) == call + 1
        if not killing.happened:
            assert call >= 4
            break
    assert world.tells_one_story()
    assert world.counts() == {"STORED": (len(after), len(after) * len(an_image()))}


def test_a_retry_after_its_intent_was_tidied_away_stores_the_object_all_the_same(world: World) -> None:
    reserved = world.reserve()
    world.store.fail("put")
    with pytest.raises(StorageUnavailable):
        put(world, reserved)
    world.clock.advance(61_000)
    world.presigned.tidy(out_of_time=never)
    assert world.counts() == {}
    assert put(world, again(reserved)).object_id == reserved.object_id
    assert world.tells_one_story()


def test_a_retry_finds_its_success_as_it_is(world: World) -> None:
    reserved = world.reserve()
    first = put(world, reserved)
    world.clock.advance(5000)
    puts = len([call for call in world.store.calls if call[0] == "put"])
    assert put(world, again(reserved)) == first
    assert len([call for call in world.store.calls if call[0] == "put"]) == puts


def test_a_retry_of_what_was_deleted_says_so_and_stores_nothing(world: World) -> None:
    reserved = world.reserve()
    put(world, reserved)
    world.object_deletions.delete(reserved.object_id)
    with pytest.raises(ObjectDeleted, match="requested"):
        put(world, again(reserved))
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_a_retry_that_meets_the_deletion_of_its_object_does_not_bring_it_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = world.reserve()
    put(world, reserved)
    real = world.sealer.seal

    def deleting(*arguments, **named):  # type: ignore[no-untyped-def]  # stands in for seal, the last call before the intent
        world.object_deletions.delete(reserved.object_id)
        return real(*arguments, **named)

    monkeypatch.setattr(world.sealer, "seal", deleting)
    with pytest.raises(ObjectDeleted):
        put(world, again(reserved))
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_a_retry_of_other_bytes_is_refused_and_leaves_the_first(world: World) -> None:
    reserved = world.reserve()
    first = put(world, reserved)
    with pytest.raises(Conflict, match="other bytes"):
        put(world, again(reserved), color=1)
    assert world.bytes_of(first) == an_image()


@pytest.mark.parametrize("state", [State.MISSING, State.QUARANTINED])
def test_a_retry_does_not_store_over_what_is_lost_or_set_aside(world: World, state: State) -> None:
    reserved = world.reserve()
    record = put(world, reserved)
    world.store.remove(record.key)
    world.ledger.move(record, replace(record, state=state), gated=True)
    with pytest.raises(ObjectUnavailable, match=state.lower()):
        put(world, again(reserved))
    assert world.bucket_keys() == set()


def test_a_retry_into_a_project_that_closed_is_refused(world: World) -> None:
    reserved = world.reserve()
    world.store.fail("put")
    with pytest.raises(StorageUnavailable):
        put(world, reserved)
    world.deletions.request("p1")
    with pytest.raises(ProjectClosed):
        put(world, again(reserved))
    world.pump()
    world.uploads.create_project("p1", {})
    assert put(world, again(reserved)).epoch == 3


def test_a_denied_put_whose_object_was_committed_by_its_twin_keeps_the_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = world.reserve()
    real = world.store.head

    def twin(key: str):  # type: ignore[no-untyped-def]  # stands in for head
        monkeypatch.setattr(world.store, "head", real)
        found = real(key)
        put(world, again(reserved))
        return found

    def deny(operation: str, key: str | None) -> None:
        if operation == "put" and key is not None and key.startswith("projects/"):
            world.store.on_call = None
            monkeypatch.setattr(world.store, "head", twin)

    world.store.on_call = deny
    world.store.fail("put", error=StorageDenied("no"))
    with pytest.raises(StorageDenied):
        put(world, reserved)
    assert list(world.counts()) == ["STORED"]
    assert world.tells_one_story()


# ---- importing from URLs


def test_an_import_is_stored_with_where_it_came_from(world: World) -> None:
    uploads, _ = importing(world, fetched(an_image(), "IMAGE/PNG"))
    record = uploads.import_url("p1", URL, Details(file_name="a.png", metadata={"provider": "x"}), world.reserve()).record
    assert (record.source, record.original_url, record.state) == ("import", URL, State.STORED)
    assert (record.file_name, record.metadata) == ("a.png", {"provider": "x"})
    assert world.bytes_of(record) == an_image()


def test_an_import_may_be_larger_than_a_request_and_is_warned_of(world: World) -> None:
    uploads, _ = importing(world, fetched(an_image() + bytes(100_000)))
    assert uploads.import_url("p1", URL, Details(), world.reserve()).warnings


@pytest.mark.parametrize("error", [ImportDisabled("off"), ImportRefused("redirect"), TooLarge("too large")])
def test_an_import_that_is_refused_leaves_nothing_behind(world: World, error: Exception) -> None:
    uploads, _ = importing(world, error)
    with pytest.raises(type(error)):
        uploads.import_url("p1", URL, Details(), world.reserve())
    assert (world.bucket_keys(), world.counts()) == (set(), {})


@pytest.mark.parametrize("answer", [fetched(b"<html>", "image/png"), fetched(an_image(), "image/jpeg")])
def test_what_a_url_gives_is_looked_at_as_what_is_sent(world: World, answer: Fetched) -> None:
    uploads, _ = importing(world, answer)
    with pytest.raises(UnsupportedType):
        uploads.import_url("p1", URL, Details(), world.reserve())
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_a_project_that_takes_no_uploads_lets_nothing_be_fetched(world: World) -> None:
    uploads, fetcher = importing(world)
    with pytest.raises(ProjectNotFound):
        uploads.import_url("nobody", URL, Details(), world.reserve())
    world.deletions.request("p1")
    with pytest.raises(ProjectClosed):
        uploads.import_url("p1", URL, Details(), world.reserve())
    assert fetcher.asked == []


def test_an_import_sent_again_finds_its_success_also_when_the_url_is_dead_by_then(world: World) -> None:
    uploads, fetcher = importing(world, fetched(an_image()))
    reserved = world.reserve()
    first = uploads.import_url("p1", URL, Details(), reserved)
    assert uploads.import_url("p1", URL, Details(), again(reserved)) == first
    assert len(fetcher.asked) == 1


def test_an_import_killed_at_any_call_is_one_object_once_it_is_sent_again(world: World, deployment: Deployment) -> None:
    uploads, fetcher = importing(world)
    for call in itertools.count():
        fetcher.answers = [fetched(an_image()), fetched(an_image())]
        reserved = world.reserve()
        with killed_at(world, deployment, call) as killing:
            uploads.import_url("p1", URL, Details(), reserved)
        assert uploads.import_url("p1", URL, Details(), again(reserved)).record.object_id == reserved.object_id
        assert world.counts()["STORED"][0] == call + 1
        if not killing.happened:
            break
    assert world.tells_one_story()


def test_an_import_that_was_begun_and_gives_other_bytes_now_is_refused(world: World) -> None:
    uploads, _ = importing(world, fetched(an_image(0)), fetched(an_image(1)))
    reserved = world.reserve()
    world.store.fail("put")
    with pytest.raises(StorageUnavailable):
        uploads.import_url("p1", URL, Details(), reserved)
    with pytest.raises(Conflict, match="other bytes"):
        uploads.import_url("p1", URL, Details(), again(reserved))
