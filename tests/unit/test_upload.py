from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest

from stocktake.errors import (
    Conflict,
    InvalidKey,
    InvalidRequest,
    LedgerError,
    ObjectDeleted,
    ObjectExists,
    ProjectClosed,
    ProjectExists,
    ProjectNotFound,
    RecordChanged,
    StorageDenied,
    StorageUnavailable,
    TooLarge,
    UnsupportedType,
)
from stocktake.model import NewObject, State
from tests.unit.world import Crash, World, an_image


def test_an_upload_ends_as_a_stored_record_a_confirmed_object_and_a_count(world: World) -> None:
    body = an_image(1)
    record = world.upload(color=1)
    stored = world.store.head(record.key)
    assert stored is not None
    assert (record.state, record.size, record.etag) == (State.STORED, len(body), stored.etag)
    assert record.key == f"projects/p1/2026/11/{record.object_id}.png"
    assert world.counts() == {"STORED": (1, len(body))}
    assert world.ledger.record(record.key) == record


def test_the_intent_is_written_before_any_byte(world: World) -> None:
    seen: list[State] = []

    def look(operation: str, key: str | None) -> None:
        if operation == "put" and key is not None and key.startswith("projects/"):
            record = world.ledger.record(key)
            seen.append(record.state if record else State.MISSING)

    world.store.on_call = look
    world.upload()
    assert seen == [State.PENDING]


def test_metadata_comes_back_exactly_as_sent_with_its_types(world: World) -> None:
    metadata = {"aspectRatio": "16:9", "numberOfImages": 2, "scale": 1.0, "nested": {"é": [None, True, 1e-9]}}
    record = world.upload(metadata=metadata)
    assert json.dumps(world.serving.metadata(world.serving.record(record.object_id))) == json.dumps(metadata)


def test_objects_are_cached_for_a_year_unless_the_upload_says_otherwise(world: World) -> None:
    by_default, own = world.upload(), world.upload(cache_control="private, max-age=60")
    for record, expected in ((by_default, "public, max-age=31536000"), (own, "private, max-age=60")):
        stored = world.store.head(record.key)
        assert stored is not None
        assert stored.cache_control == record.cache_control == expected


@pytest.mark.parametrize(
    ("body", "error"), [(b"<html>", UnsupportedType), (an_image() + bytes(100_000), TooLarge)], ids=["not an image", "too large"]
)
def test_what_is_refused_leaves_nothing_behind(world: World, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        world.put(body)
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_a_large_object_is_taken_with_a_warning(world: World) -> None:
    uploaded = world.put(an_image() + bytes(95_000))
    assert uploaded.warnings
    assert not world.put(an_image()).warnings


def test_a_project_nobody_opened_takes_no_uploads(world: World) -> None:
    with pytest.raises(ProjectNotFound):
        world.upload("nobody")


def test_a_project_is_opened_once_under_all_its_spellings(world: World) -> None:
    world.uploads.create_project("proj_7", {"customer": "Ada"})
    assert world.serving.project("7").project_id == "proj_7"
    for spelling in ("proj_7", "7", "proj_proj_7"):
        with pytest.raises(ProjectExists):
            world.uploads.create_project(spelling, {})
    with pytest.raises(InvalidKey):
        world.uploads.create_project("../etc", {})


def test_a_closed_project_takes_no_uploads(world: World) -> None:
    world.deletions.request("p1")
    with pytest.raises(ProjectClosed, match="deleting"):
        world.upload()
    assert world.bucket_keys() == set()


def test_a_project_deleted_while_the_bytes_are_on_their_way_refuses_the_commit_and_keeps_nothing(world: World) -> None:
    def close(operation: str, key: str | None) -> None:
        if operation == "put":
            world.store.on_call = None
            world.deletions.request("p1")

    world.store.on_call = close
    with pytest.raises(ProjectClosed):
        world.upload()
    assert set(world.counts()) == {"PENDING"}  # for its deletion, or for an undo
    world.pump()
    assert (world.bucket_keys(), world.counts(), world.ledger.project("p1").state) == (set(), {}, "DELETED")


def test_a_project_closed_before_the_intent_is_written_gets_no_byte(world: World) -> None:
    real = world.ledger.project

    def closing(project_id: str):  # type: ignore[no-untyped-def]  # stands in for project
        world.ledger.project = real  # type: ignore[method-assign]  # once
        project = real(project_id)
        world.deletions.request(project_id)
        return project

    world.ledger.project = closing  # type: ignore[method-assign]  # a race, injected
    with pytest.raises(ProjectClosed):
        world.upload()
    assert [call for call in world.store.calls if call[0] == "put" and str(call[1]).startswith("projects/")] == []


def test_an_upload_never_overwrites_what_lies_under_its_key(world: World) -> None:
    def squat(operation: str, key: str | None) -> None:
        if operation == "put" and key is not None:
            world.store.on_call = None
            world.plant(key, body=b"someone else's")

    world.store.on_call = squat
    with pytest.raises(ObjectExists):
        world.upload()
    [key] = world.bucket_keys()
    content = world.store.get(key)
    assert content is not None
    assert content.body == b"someone else's"


def test_a_put_refused_for_certain_withdraws_its_intent(world: World) -> None:
    world.store.fail("put", error=StorageDenied("no"))
    with pytest.raises(StorageDenied):
        world.upload()
    assert world.counts() == {}


def test_a_put_that_was_taken_and_whose_confirmation_was_denied_keeps_its_intent(world: World) -> None:
    world.store.fail("put", error=StorageDenied("the confirming HEAD was refused"), after_effect=True)
    with pytest.raises(StorageDenied):
        world.upload()
    assert list(world.counts()) == ["PENDING"]
    assert len(world.bucket_keys()) == 1


def test_a_cache_control_no_header_carries_is_refused_before_anything_is_written(world: World) -> None:
    with pytest.raises(InvalidRequest, match="cache_control"):
        world.upload(cache_control="public\r\nSet-Cookie: x")
    assert world.counts() == {}


def test_a_projects_metadata_has_a_limit(world: World) -> None:
    with pytest.raises(TooLarge, match="100000"):
        world.uploads.create_project("large", {"text": "x" * 100_000})


def test_a_put_whose_end_is_not_known_leaves_its_intent(world: World) -> None:
    world.store.fail("put", error=StorageUnavailable("no answer"))
    with pytest.raises(StorageUnavailable):
        world.upload()
    assert list(world.counts()) == ["PENDING"]


def test_an_upload_whose_own_event_committed_it_first_succeeds_once(world: World) -> None:
    real = world.ledger.move

    def rival(before, after, *, gated, content=None):  # type: ignore[no-untyped-def]  # stands in for move
        if before is not None and before.state is State.PENDING:
            world.ledger.move = real  # type: ignore[method-assign]  # once
            world.aligner().align(before.key)
        return real(before, after, gated=gated, content=content)

    world.ledger.move = rival  # type: ignore[method-assign]  # a race, injected
    record = world.upload()
    assert (record.state, record.version) == (State.STORED, 2)
    assert list(world.counts()) == ["STORED"]


def test_an_upload_slower_than_its_intent_lives_is_recorded_all_the_same(world: World) -> None:
    real = world.ledger.move

    def forgotten(before, after, *, gated, content=None):  # type: ignore[no-untyped-def]  # stands in for move
        if before is not None and before.state is State.PENDING and after is not None:
            world.ledger.move = real  # type: ignore[method-assign]  # once
            real(before, None, gated=False)
        return real(before, after, gated=gated, content=content)

    world.ledger.move = forgotten  # type: ignore[method-assign]  # a race, injected
    assert world.upload().state is State.STORED
    assert world.tells_one_story()
    assert list(world.counts()) == ["STORED"]


def test_an_upload_whose_object_was_deleted_meanwhile_stays_deleted(world: World) -> None:
    def delete(operation: str, key: str | None) -> None:
        if operation == "put" and key is not None:
            world.store.on_call = None
            record = world.ledger.record(key)
            assert record is not None
            world.object_deletions.delete(record.object_id)

    world.store.on_call = delete
    with pytest.raises(ObjectDeleted):
        world.upload()
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_an_upload_that_lost_its_record_to_a_retry_leaves_the_retry_its_bytes(world: World) -> None:
    real, reserved = world.ledger.move, world.reserve()
    new = NewObject(an_image())

    def overtaken(before, after, *, gated, content=None):  # type: ignore[no-untyped-def]  # stands in for move
        if before is not None and before.state is State.PENDING and after is not None:
            world.ledger.move = real  # type: ignore[method-assign]  # once
            real(before, None, gated=False)
            world.uploads.put("p1", new, replace(reserved, is_retry=True))
        return real(before, after, gated=gated, content=content)

    world.ledger.move = overtaken  # type: ignore[method-assign]  # a race, injected
    record = world.uploads.put("p1", new, reserved).record
    assert record.state is State.STORED
    assert world.tells_one_story()


@pytest.mark.parametrize("step", range(12))
def test_an_upload_killed_at_any_call_leaves_what_reconciliation_settles(world: World, step: int) -> None:
    calls = 0

    def kill(operation: str, key: str | None) -> None:
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise Crash

    world.store.on_call = kill
    real = world.ledger.move

    def killed_move(before, after, *, gated, content=None):  # type: ignore[no-untyped-def]  # stands in for move
        kill("move", None)
        moved = real(before, after, gated=gated, content=content)
        kill("moved", None)
        return moved

    world.ledger.move = killed_move  # type: ignore[method-assign]  # a crash, injected
    with contextlib.suppress(Crash):
        world.upload()
    world.store.on_call, world.ledger.move = None, real  # type: ignore[method-assign]  # the crash is over
    assert not [entry for entry in world.ledger.entries() if entry.state is State.STORED and world.store.head(entry.key) is None]
    assert world.bucket_keys() <= {entry.key for entry in world.ledger.entries()}
    world.clock.advance(world.grace_ms + 1)
    world.repair(world.reconcile(), {"unstored": "settle"})
    assert world.tells_one_story()
    assert set(world.counts()) <= {"STORED"}
    world.clock.advance(world.grace_ms + 1)
    assert world.found(world.reconcile()) == set()


def test_a_ledger_that_does_not_answer_stops_the_upload_before_any_byte(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise LedgerError("no answer")

    monkeypatch.setattr(world.ledger, "move", broken)
    with pytest.raises(LedgerError):
        world.upload()
    assert world.bucket_keys() == set()


def test_a_project_opened_anew_while_it_was_remembered_takes_uploads_under_its_new_epoch(world: World) -> None:
    before = world.upload()
    elsewhere = World(world.store, world.ledger, world.operations, world.clock)
    elsewhere.delete_project()
    world.clock.at = before.updated_at  # all of it within the five seconds
    elsewhere.uploads.create_project("p1", {})
    after = world.uploads.put("p1", NewObject(an_image(2)), world.reserve()).record
    assert after.epoch == world.ledger.project("p1").epoch > before.epoch


def test_a_project_that_was_closed_while_it_was_remembered_takes_nothing(world: World) -> None:
    world.upload()
    World(world.store, world.ledger, world.operations, world.clock).deletions.request("p1")
    keys = world.bucket_keys()
    with pytest.raises(ProjectClosed):
        world.upload(color=2)
    assert (world.bucket_keys(), world.counts()["STORED"][0]) == (keys, 1)


def test_an_intent_that_is_being_ended_is_not_committed(world: World) -> None:
    real = world.ledger.move

    def ended(before, after, *, gated, content=None):  # type: ignore[no-untyped-def]  # stands in for move
        if before is not None and before.state is State.PENDING and after is not None:
            world.ledger.move = real  # type: ignore[method-assign]  # once
            marked = real(before, replace(before, source="ended"), gated=False)
            with pytest.raises(RecordChanged, match="being ended"):
                world.intents.commit(marked, world.store.head(before.key))  # type: ignore[arg-type]  # it is there
        return real(before, after, gated=gated, content=content)

    world.ledger.move = ended  # type: ignore[method-assign]  # a race, injected
    with pytest.raises(Conflict, match="was ended"):
        world.upload()
    assert list(world.counts()) == ["PENDING"]


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_a_file_name_has_a_length(world: World, name: str) -> None:
    with pytest.raises(InvalidRequest, match="file_name"):
        world.upload(file_name=name)
    assert world.counts() == {}
