from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from stocktake.errors import InvalidRequest, ProjectClosed, ProjectNotFound, StocktakeError, StorageUnavailable, UnsupportedType
from stocktake.model import Details, NewObject, Reserved, State
from stocktake.upload import Uploaded
from tests.unit.world import World, an_image, never

WORKERS, ITEMS = 5, 20
"""The limits of the world's uploads."""


def an_item(color: int = 0) -> NewObject:
    return NewObject(an_image(color), None, Details(file_name=f"{color}.png"))


def images(count: int) -> list[NewObject | StocktakeError]:
    return [an_item(color) for color in range(count)]


def put_many(world: World, items: list[NewObject | StocktakeError], identities: list[Reserved] | None = None) -> list[Uploaded | Exception]:
    reserved = identities or [world.reserve() for _ in items]
    return world.uploads.put_many("p1", items, reserved.__getitem__, out_of_time=never)


def test_every_item_has_its_result_in_its_place(world: World) -> None:
    results = put_many(world, images(7))
    assert [result.record.file_name for result in results if isinstance(result, Uploaded)] == [f"{color}.png" for color in range(7)]
    for color, result in enumerate(results):
        assert isinstance(result, Uploaded)
        assert world.bytes_of(result.record) == an_image(color)
    assert world.counts()["STORED"][0] == 7
    assert world.tells_one_story()


def test_an_item_that_is_refused_loses_no_other(world: World) -> None:
    unread = InvalidRequest("content_base64 is not base64")
    results = put_many(world, [an_item(0), unread, NewObject(b"<html>"), an_item(1)])
    assert results[1] is unread
    assert isinstance(results[2], UnsupportedType)
    assert [isinstance(result, Uploaded) for result in results] == [True, False, False, True]
    assert world.counts()["STORED"][0] == 2


def test_what_nobody_foresaw_in_one_item_is_that_items_result(world: World) -> None:
    identities = [world.reserve() for _ in range(3)]
    strange = ValueError("a fault of ours")

    def break_one(operation: str, key: str | None) -> None:
        if operation == "put" and identities[1].object_id in str(key):
            raise strange

    world.store.on_call = break_one
    results = put_many(world, images(3), identities)
    assert results[1] is strange
    assert [isinstance(result, Uploaded) for result in results] == [True, False, True]


def test_an_item_without_identity_loses_no_other(world: World) -> None:
    def reserve(number: int) -> Reserved:
        if number == 0:
            raise ValueError("no identity")
        return world.reserve()

    results = world.uploads.put_many("p1", images(2), reserve, out_of_time=never)
    assert [type(result) for result in results] == [ValueError, Uploaded]


def test_so_many_items_are_stored_at_once_and_no_more(world: World) -> None:
    together = threading.Barrier(WORKERS, timeout=20)
    threads: set[int] = set()

    def meet(operation: str, key: str | None) -> None:
        if operation == "put":
            threads.add(threading.get_ident())
            together.wait()  # fails where fewer are under way

    world.store.on_call = meet
    results = put_many(world, images(ITEMS))
    assert all(isinstance(result, Uploaded) for result in results)
    assert len(threads) == WORKERS


def test_items_there_is_no_time_for_are_told_to_come_again_and_write_nothing(world: World) -> None:
    begun = threading.Semaphore(3)
    results = world.uploads.put_many("p1", images(8), lambda _: world.reserve(), out_of_time=lambda: not begun.acquire(blocking=False))
    late = [result for result in results if not isinstance(result, Uploaded)]
    assert len(late) == 5
    assert all(isinstance(result, StorageUnavailable) and "send it again" in str(result) for result in late)
    assert {state: objects for state, (objects, _) in world.counts().items()} == {"STORED": 3}


@pytest.mark.parametrize("count", [0, ITEMS + 1])
def test_a_batch_has_a_number_of_items_and_else_nothing_is_stored(world: World, count: int) -> None:
    with pytest.raises(InvalidRequest, match=f"1 to {ITEMS}"):
        put_many(world, images(count))
    assert world.counts() == {}


def test_the_largest_batch_is_taken_and_counted_exactly(world: World) -> None:
    results = put_many(world, images(ITEMS))
    sizes = [result.record.size for result in results if isinstance(result, Uploaded)]
    assert world.counts() == {"STORED": (ITEMS, sum(sizes))}
    assert len({result.record.object_id for result in results if isinstance(result, Uploaded)}) == ITEMS


def test_a_batch_sent_again_under_its_identity_finishes_what_failed_and_stores_nothing_twice(world: World) -> None:
    identities = [world.reserve() for _ in range(6)]
    world.store.fail("put", times=2)
    world.store.fail("put", skip=1, error=StorageUnavailable("the reply was lost"), after_effect=True)
    first = put_many(world, images(6), identities)
    assert sum(isinstance(result, Uploaded) for result in first) == 3
    again = put_many(world, images(6), [replace(identity, is_retry=True) for identity in identities])
    records = [result.record for result in again if isinstance(result, Uploaded)]
    assert [record.object_id for record in records] == [identity.object_id for identity in identities]
    assert {state: objects for state, (objects, _) in world.counts().items()} == {"STORED": 6}
    assert world.tells_one_story()


def test_a_batch_into_a_project_that_closes_meanwhile_keeps_only_what_was_committed(world: World) -> None:
    closing = threading.Lock()

    def close(operation: str, key: str | None) -> None:
        if operation == "put" and closing.acquire(blocking=False):
            world.deletions.request("p1")

    world.store.on_call = close
    results = put_many(world, images(8))
    stored = {result.record.key for result in results if isinstance(result, Uploaded)}
    assert all(isinstance(result, ProjectClosed) for result in results if not isinstance(result, Uploaded))
    assert {entry.key for entry in world.ledger.entries() if entry.state is State.STORED} == stored
    world.pump()
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_a_batch_for_a_project_that_never_was_says_so_of_every_item(world: World) -> None:
    results = world.uploads.put_many("nobody", images(2), lambda _: world.reserve(), out_of_time=never)
    assert [type(result) for result in results] == [ProjectNotFound] * 2
