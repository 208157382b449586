"""Deletions that can be undone: set aside, held, erased at the end or moved back before; races, crashes, and what cannot be moved."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stocktake.alignment import Outcome
from stocktake.errors import (
    Conflict,
    InvalidRequest,
    LedgerRestored,
    ObjectNotFound,
    ObjectQuarantined,
    ProjectClosed,
    RecordChanged,
    StorageDenied,
    StorageError,
    StorageUnavailable,
)
from stocktake.ledger import Operation
from stocktake.model import Announced, DeletionMode, ProjectState, Quota, Record, State
from stocktake.project_deletion.set_aside import Moves
from stocktake.project_deletion.undo_window import WORKER_MS
from stocktake.storage.memory import MemoryStore
from tests.unit.hashless import HashlessStore
from tests.unit.killing import killed_at
from tests.unit.ledger.builders import Deployment
from tests.unit.test_tombstones import Backup
from tests.unit.world import DAY, HOUR, Clock, Crash, World, an_image, never

OLD_KEY = "projects/proj_p1/scenes/s1/media/clip.mp4"
INLINE_KEY = "projects/p1/scenes/s/media/inline.png"
WINDOW = 2 * DAY


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    return deploy(shards=1)  # races and crashes meet every call: no more of them than need be


@pytest.fixture
def world(deployment: Deployment) -> World:
    return a_world(deployment)


def a_world(deployment: Deployment, *, versioning: bool = False) -> World:
    """Makes a deployment with an undo window of two days, and the project p1 open."""
    clock = Clock()
    world = World(MemoryStore("data", now=clock, versioning=versioning), deployment.ledger, deployment.operations, clock, undo_ms=WINDOW)
    world.uploads.create_project("p1", {"customer": "Ada"}, Quota(objects=100))
    return world


# ---- doing


def deliver_due(world: World) -> None:
    """Delivers all that is not delayed."""
    while due := [sent for sent in world.messages if sent[2] <= world.clock()]:
        world.messages.remove(due[0])
        for _ in range(world.deliveries):
            world.deliver(*due[0][:2])


def hold(world: World) -> str:
    """Deletes p1 and sets it aside; returns the deletion's id."""
    deletion_id = world.deletions.request("p1", reason="a test").operation_id
    deliver_due(world)
    assert status(world, deletion_id) == "HELD"
    return deletion_id


def hold_at_the_next_put(world: World) -> list[str]:
    """Has `hold` come in between the next put and its commit; the deletion's id is in the list from then on."""
    deletions: list[str] = []

    def held(operation: str, key: str | None) -> None:
        if operation == "put":
            world.store.on_call = None
            deletions.append(hold(world))

    world.store.on_call = held
    return deletions


def undo(world: World, deletion_id: str) -> Operation:
    """Undoes a deletion to its end."""
    world.deletions.undo(deletion_id)
    world.pump()
    operation = world.deletions.operation(deletion_id)
    assert operation.status == "UNDONE"
    return operation


def status(world: World, deletion_id: str) -> str:
    return world.deletions.operation(deletion_id).status


def end_windows(world: World) -> int:
    """Lets the window pass, and the schedule look."""
    world.clock.advance(WINDOW)
    return world.deletions.close_windows(out_of_time=never)


def all_there_is(world: World) -> dict[str, Any]:
    """Returns the bucket to the byte, the ledger to the field but for the number of a record's version, and the project."""
    contents = {key: world.store.get(key) for key in world.every_key()}
    return {
        "objects": {
            key: (content.body, replace(content.object, last_modified=0)) for key, content in contents.items() if content is not None
        },
        "records": {
            entry.key: replace(record, version=0) for entry in world.ledger.entries() if (record := world.ledger.record(entry.key))
        },
        "counts": world.counts(),
        "project": world.ledger.project("p1"),
    }


def stock(world: World) -> list[Record]:
    """Gives p1 an object with a record, one of an old layout without, and one that lies in the ledger."""
    uploaded = world.upload(color=1, metadata={"prompt": "a sunset", "n": 1.0}, file_name="sunset.png")
    world.store.plant(OLD_KEY, b"12345", content_type="video/mp4", metadata={"Scene": "1"}, cache_control="no-store")
    return [uploaded, world.record(INLINE_KEY, State.INLINE)]


def crash(*_: object, **__: object) -> None:
    raise Crash


# ---- setting aside, holding, moving back


def test_what_is_set_aside_is_in_nobodys_reach_and_nothing_is_erased(world: World) -> None:
    uploaded, inline = stock(world)
    before = all_there_is(world)
    deletion_id = hold(world)
    assert world.bucket_keys() == set()
    assert sorted(content[0] for key, content in all_there_is(world)["objects"].items() if key.startswith(".stocktake/quarantine/p1/")) == (
        sorted(content[0] for key, content in before["objects"].items() if not key.startswith(".stocktake/"))
    )
    assert world.counts() == {"QUARANTINED": (1, uploaded.size), "INLINE": (1, inline.size)}
    for record in (uploaded, inline):
        with pytest.raises(ObjectNotFound):
            world.serving.redirect(record.object_id, {})
        with pytest.raises(ObjectNotFound):
            world.serving.bytes(record.object_id, {})
    assert world.serving.page("p1", 10, None) == ([], None)
    assert world.tells_one_story()
    operation = world.deletions.operation(deletion_id)
    aside = operation.document["set_aside"]
    assert operation.document["erases_at"] == operation.document["requested_at"] + WINDOW
    assert (aside["objects"], aside["bytes"], aside["records"], aside["left_objects"]) == (2, uploaded.size + 5, 1, 0)
    assert {name: tally["objects"] for name, tally in aside["by_layout"].items()} == {"current": 1, "hierarchical": 1}
    with pytest.raises(Conflict, match="held"):
        world.deletions.written_receipt(deletion_id)
    looked = world.deletions.verify(deletion_id, out_of_time=never)
    assert looked["status"] == "HELD"
    # two copies, each counted once and not again by its record, and what lies in the ledger
    assert (looked["remaining"], len(looked["keys"])) == ({"objects": 3, "bytes": uploaded.size + 5}, 3)


def test_an_undone_deletion_leaves_everything_as_it_was_to_the_byte_and_the_field(world: World) -> None:
    stock(world)
    job = world.generations.create("p1", {}, (), 1, world.reserve())
    world.record("projects/p1/scenes/s/media/lost.png", State.MISSING)
    world.record("projects/p1/scenes/s/media/far.png", State.EXTERNAL, size=0)
    before = all_there_is(world)
    world.clock.advance(HOUR)
    deletion_id = hold(world)
    operation = undo(world, deletion_id)
    assert all_there_is(world) == before
    assert world.generations.generation(job.generation_id).generation_id == job.generation_id
    undone = operation.document["undone"]
    assert (undone["objects"], undone["not_restored_objects"], undone["not_restored"]) == (2, 0, [])
    with pytest.raises(Conflict, match="was undone"):
        world.deletions.written_receipt(deletion_id)
    assert world.deletions.undo(deletion_id).status == "UNDONE"
    assert (end_windows(world), list(world.messages), all_there_is(world)) == (0, [], before)
    assert world.upload(color=2).state is State.STORED


def test_an_undo_killed_as_it_opened_the_project_ends_though_another_deletion_has_begun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(world)
    first = hold(world)
    open_again = world.ledger.undo_deletion

    def killed(*args: Any) -> None:
        open_again(*args)
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(world.ledger, "undo_deletion", killed)
        undo(world, first)
    second = hold(world)
    assert second != first
    world.deliver("steps", {"deletion_id": first, "step": "undo", "after": ""})
    assert (status(world, first), status(world, second), world.bucket_keys()) == ("UNDONE", "HELD", set())
    assert world.ledger.project("p1").state is ProjectState.DELETING
    undo(world, second)


def test_a_project_deleted_again_after_an_undo_is_another_deletion(world: World) -> None:
    stock(world)
    first = hold(world)
    undo(world, first)
    second = hold(world)
    assert second != first
    for message in ({"step": "set_aside", "round": 0}, {"step": "undo", "after": ""}):
        world.deliver("steps", {"deletion_id": first, **message})
    assert (status(world, second), world.bucket_keys()) == ("HELD", set())
    undo(world, second)
    assert world.ledger.project("p1").state is ProjectState.ACTIVE


def test_at_the_end_of_its_window_everything_is_erased_and_only_then_there_is_a_receipt(world: World) -> None:
    uploaded, _ = stock(world)
    deletion_id = hold(world)
    world.clock.advance(WINDOW - HOUR)
    assert (world.deletions.close_windows(out_of_time=never), status(world, deletion_id)) == (0, "HELD")
    world.clock.advance(HOUR)
    assert world.deletions.close_windows(out_of_time=never) == 1
    with pytest.raises(Conflict, match="erased"):
        world.deletions.undo(deletion_id)
    world.pump()
    receipt = world.deletions.receipt(deletion_id)
    assert receipt is not None
    assert (receipt["status"], receipt["objects"], receipt["records"], receipt["inline"]["objects"]) == ("DELETED", 2, 2, 1)
    keys = sorted([uploaded.key, OLD_KEY])
    assert receipt["set_aside"]["keys_sha256"] == hashlib.sha256("".join(f"{key}\0" for key in keys).encode()).hexdigest()
    assert receipt["set_aside"]["by_layout"].keys() == {"current", "hierarchical"}
    assert ([key for key in world.every_key() if "p1" in key], world.counts()) == ([], {})
    assert world.deletions.close_windows(out_of_time=never) == 0


def test_an_erasure_at_once_has_no_window_and_ends_one_that_is_open(world: World) -> None:
    stock(world)
    hold(world)
    deletion = world.deletions.request("p1", undo=False)
    assert (deletion.status, deletion.document["round"]) == ("REMOVING", 1)
    world.pump()
    receipt = world.deletions.receipt(deletion.operation_id)
    assert receipt is not None
    assert receipt["status"] == "DELETED"
    world.uploads.create_project("p1", {})
    world.upload()
    assert world.deletions.request("p1", undo=False).document["erases_at"] is None
    world.pump()
    assert world.bucket_keys() == set()


def test_without_a_window_a_deletion_cannot_be_undone(world: World) -> None:
    deletion_id = world.deletions.request("p1", undo=False).operation_id
    with pytest.raises(Conflict, match="without an undo window"):
        world.deletions.undo(deletion_id)
    world.pump()
    with pytest.raises(Conflict):
        world.deletions.undo(deletion_id)


def test_a_window_that_has_ended_is_not_undone_though_its_erasure_has_not_begun(world: World) -> None:
    deletion_id = hold(world)
    world.clock.advance(WINDOW)
    with pytest.raises(Conflict, match="over"):
        world.deletions.undo(deletion_id)
    assert status(world, deletion_id) == "HELD"


def test_a_deletion_by_the_ledger_alone_is_refused_where_it_would_set_aside(world: World) -> None:
    with pytest.raises(InvalidRequest, match="undo false"):
        world.deletions.request("p1", mode=DeletionMode.LEDGER)
    assert world.ledger.project("p1").state is ProjectState.ACTIVE


def test_a_dry_run_says_for_how_long_it_could_be_undone(world: World) -> None:
    assert world.deletions.dry_run("p1", out_of_time=never)["undo_seconds"] == WINDOW // 1000
    assert world.deletions.dry_run("p1", undo=False, out_of_time=never)["undo_seconds"] == 0


def test_a_cdn_forgets_what_is_set_aside(deployment: Deployment) -> None:
    world = replace(a_world(deployment), public_base_url="https://media.example")
    uploaded = world.upload()
    world.cdn.refusing = {f"https://media.example/{uploaded.key}"}
    deletion_id = hold(world)
    assert world.cdn.purged == []
    world.cdn.refusing = set()
    end_windows(world)
    world.pump()
    assert set(world.cdn.purged) == {f"https://media.example/{uploaded.key}"}
    receipt = world.deletions.receipt(deletion_id)
    assert receipt is not None
    assert receipt["cdn"]["failed"] == 0


# ---- what cannot be moved, and what comes late


def test_what_a_store_cannot_copy_or_delete_stays_in_place_and_is_named(world: World) -> None:
    uploaded, _ = stock(world)
    other = world.upload(color=5)
    world.store.fail("copy", key=uploaded.key, error=StorageError("one request copies at most 5 GiB"), times=9)
    world.store.fail("delete", key=other.key, error=StorageDenied("the bucket's policy denies it"), times=9)
    before = world.bucket_keys()
    deletion_id = hold(world)
    assert world.bucket_keys() == {uploaded.key, other.key}
    aside = world.deletions.operation(deletion_id).document["set_aside"]
    assert {left["key"]: left["why"] for left in aside["left"]} == {
        uploaded.key: "one request copies at most 5 GiB",
        other.key: "the bucket's policy denies it",
    }
    page = world.deletions.remaining(deletion_id, None)
    assert (page["status"], {left["key"] for left in page["remaining"]}) == ("HELD", {uploaded.key, other.key})
    undo(world, deletion_id)
    assert world.bucket_keys() == before
    assert world.counts()["STORED"][0] == 2


def test_an_object_that_the_store_refuses_to_show_stays_in_place_and_is_named(world: World) -> None:
    uploaded, _ = stock(world)
    before = world.bucket_keys()
    world.store.fail("head", key=uploaded.key, error=StorageError("a bare 400, as of what another key encrypts", code="400"))
    deletion_id = hold(world)
    assert world.bucket_keys() == {uploaded.key}
    [left] = world.deletions.operation(deletion_id).document["set_aside"]["left"]
    assert left == {"key": uploaded.key, "bytes": uploaded.size, "why": "a bare 400, as of what another key encrypts"}
    undo(world, deletion_id)
    assert (world.bucket_keys(), world.counts()["STORED"][0]) == (before, 1)


@pytest.mark.parametrize("call", ["head", "copy"])
def test_a_store_that_refuses_everything_leaves_nothing_in_place_for_it(world: World, call: Any) -> None:
    uploaded, _ = stock(world)
    world.store.fail(call, key=uploaded.key, error=StorageDenied("the token has expired", code="403"))
    world.store.fail("whereabouts", error=StorageDenied("the token has expired", code="ExpiredToken"))
    world.deletions.request("p1", reason="a test")
    with pytest.raises(StorageDenied, match="expired"):
        deliver_due(world)


def test_an_object_that_came_under_the_key_is_left_and_what_it_keeps_out_can_be_restored_later(world: World) -> None:
    uploaded, _ = stock(world)
    deletion_id = hold(world)
    world.plant(uploaded.key, body=b"another")
    undone = undo(world, deletion_id).document["undone"]
    assert (undone["objects"], undone["not_restored_objects"]) == (1, 1)
    assert [line["key"] for line in undone["not_restored"]] == [uploaded.key]
    assert "another object" in undone["not_restored"][0]["why"]
    assert world.deletions.remaining(deletion_id, None)["remaining"] == undone["not_restored"]
    content = world.store.get(uploaded.key)
    assert content is not None
    assert content.body == b"another"
    [entry], _ = world.quarantine.recent(10)
    with pytest.raises(Conflict):
        world.quarantine.restore(entry.operation_id)
    world.store.remove(uploaded.key)
    world.quarantine.restore(entry.operation_id)
    assert world.bytes_of(uploaded) == an_image(1)


def test_the_record_of_what_an_undo_could_not_move_back_is_held_no_longer_than_its_copy(world: World) -> None:
    uploaded = world.upload()
    deletion_id = hold(world)
    world.plant(uploaded.key, body=b"another")
    undo(world, deletion_id)
    assert world.aligner().align(uploaded.key).outcome is Outcome.HELD
    world.clock.advance(WINDOW)
    assert world.quarantine.purge(out_of_time=never) == {"purged": 1, "kept": 0}
    record = world.ledger.record(uploaded.key)
    assert record is not None
    assert (record.object_id, record.state) == (uploaded.object_id, State.MISSING)
    assert world.aligner().align(uploaded.key).outcome is Outcome.RETURNED
    assert world.counts() == {"STORED": (1, 7)}


def test_a_copy_that_is_gone_is_named_and_its_record_says_missing(world: World) -> None:
    uploaded = world.upload()
    deletion_id = hold(world)
    world.store.remove(next(key for key in world.every_key() if "/quarantine/" in key))
    undone = undo(world, deletion_id).document["undone"]
    assert [line["key"] for line in undone["not_restored"]] == [uploaded.key]
    assert world.counts() == {"MISSING": (1, uploaded.size)}


def test_an_object_that_changes_while_it_is_set_aside_stays_and_the_one_that_was_seen_is_kept(world: World) -> None:
    uploaded = world.upload(color=1)

    def overwrite(operation: str, key: str | None) -> None:
        if operation == "delete":
            world.store.on_call = None
            world.plant(uploaded.key, body=b"newer")

    world.store.on_call = overwrite
    deletion_id = hold(world)
    aside = world.deletions.operation(deletion_id).document["set_aside"]
    assert (world.bucket_keys(), [left["key"] for left in aside["left"]]) == ({uploaded.key}, [uploaded.key])
    undo(world, deletion_id)
    content = world.store.get(uploaded.key)
    assert content is not None
    assert content.body == b"newer"
    [entry], _ = world.quarantine.recent(10)
    assert entry.document["key"] == uploaded.key


def test_an_object_that_is_written_over_between_two_deliveries_of_its_batch_stays(world: World) -> None:
    world.store.plant(OLD_KEY, b"older")
    deletion_id = world.deletions.request("p1").operation_id
    world.store.fail("delete", key=OLD_KEY)
    with pytest.raises(StorageUnavailable):
        deliver_due(world)
    world.store.plant(OLD_KEY, b"newer")
    world.deliver("batches", {"deletion_id": deletion_id, "part": "aside#00000000"})
    deliver_due(world)
    content = world.store.get(OLD_KEY)
    assert content is not None
    assert (status(world, deletion_id), content.body) == ("HELD", b"newer")


@pytest.mark.parametrize("moment", ["before it is held", "after it is held"])
def test_an_object_deleted_by_itself_while_it_is_set_aside_does_not_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    uploaded = world.upload()
    world.clock.advance(HOUR)
    move = world.ledger.move

    def held(before: Any, after: Any, **kwargs: Any) -> Any:
        if after is None or after.state is not State.QUARANTINED:
            return move(before, after, **kwargs)
        monkeypatch.setattr(world.ledger, "move", move)
        if moment == "before it is held":
            world.object_deletions.delete(uploaded.object_id)
            return move(before, after, **kwargs)
        moved: list[Any] = []

        def announced(operation: str, key: str | None) -> None:
            # that it goes was written down while its record said stored
            if operation == "list_multipart_uploads" and not moved:
                moved.append(move(before, after, **kwargs))

        monkeypatch.setattr(world.store, "on_call", announced)
        with pytest.raises(ObjectQuarantined):
            world.object_deletions.delete(uploaded.object_id)
        monkeypatch.setattr(world.store, "on_call", None)
        return moved[0]

    monkeypatch.setattr(world.ledger, "move", held)
    deletion_id = hold(world)
    assert world.object_deletions.tidy(out_of_time=never) == 0
    undo(world, deletion_id)
    world.object_deletions.tidy(out_of_time=never)
    assert world.object_deletions.delete(uploaded.object_id)["deleted_at"] is not None
    assert [key for key in world.every_key() if "p1" in key] == []
    assert (world.counts(), list(world.ledger.entries())) == ({}, [])


def test_a_record_that_told_of_another_object_before_tells_of_that_one_after_an_undo(world: World) -> None:
    world.store.plant(OLD_KEY, b"12345")
    told = world.record(OLD_KEY, State.STORED, etag="1" * 32)
    undo(world, hold(world))
    record = world.ledger.record(OLD_KEY)
    assert record is not None
    assert replace(record, version=told.version) == told


def test_an_object_of_the_same_size_that_came_under_the_key_is_not_taken_for_the_one_that_was_set_aside(world: World) -> None:
    world.store.plant(OLD_KEY, b"older")
    deletion_id = hold(world)
    world.store.plant(OLD_KEY, b"newer")
    undone = undo(world, deletion_id).document["undone"]
    assert [line["key"] for line in undone["not_restored"]] == [OLD_KEY]
    content = world.store.get(OLD_KEY)
    assert content is not None
    assert content.body == b"newer"
    assert [world.store.get(key).body for key in world.every_key() if "/quarantine/" in key] == [b"older"]  # type: ignore[union-attr]  # they are there


@pytest.mark.parametrize("way", ["aside", "back"])
def test_a_copy_that_a_store_cut_short_is_never_taken_for_the_object(world: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    world.store.plant(OLD_KEY, b"12345")
    copy = world.store.copy

    def cut_short(source: str, target: str, **kwargs: Any) -> Any:
        if copy(source, target, **kwargs) is None:
            return None
        world.store.plant(target, b"12")
        return world.store.head(target)

    with monkeypatch.context() as patch:
        if way == "aside":
            patch.setattr(world.store, "copy", cut_short)
        deletion_id = hold(world)
    assert (OLD_KEY in world.bucket_keys()) == (way == "aside")
    assert world.deletions.operation(deletion_id).document["set_aside"]["left_objects"] == (way == "aside")
    if way == "back":
        monkeypatch.setattr(world.store, "copy", cut_short)
    undone = undo(world, deletion_id).document["undone"]
    whole = [key for key in world.every_key() if (content := world.store.get(key)) is not None and content.body == b"12345"]
    assert len(whole) == 1
    assert undone["not_restored_objects"] == (way == "back")
    if way == "aside":
        assert whole == [OLD_KEY]


def test_an_object_whose_record_is_of_another_project_stays_in_its_reach(world: World) -> None:
    world.uploads.create_project("p2", {})
    world.store.plant(OLD_KEY, b"12345")
    world.record(OLD_KEY, State.STORED, project_id="p2")
    deletion_id = hold(world)
    [left] = world.deletions.remaining(deletion_id, None)["remaining"]
    assert (left["key"], left["why"]) == (OLD_KEY, "its record names another project: it stays in place")
    assert (world.bucket_keys(), world.counts("p2")) == ({OLD_KEY}, {"STORED": (1, 5)})


def test_what_was_set_aside_is_added_up_without_a_read_for_each_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.undo_window.ASIDE_KEYS", 1)
    for number in range(4):
        world.store.plant(f"projects/p1/scenes/s/media/{number}.png", b"12345")
    get, asked = world.operations.get, list[str]()

    def counted(operation_id: str, part: str = "") -> Operation | None:
        asked.append(part)
        return get(operation_id, part)

    monkeypatch.setattr(world.operations, "get", counted)
    deletion_id = hold(world)
    assert len([part for part in asked if part.startswith("seen#")]) == 2 * 4  # before a worker writes it, and after
    aside = world.deletions.operation(deletion_id).document["set_aside"]
    keys = "".join(f"projects/p1/scenes/s/media/{number}.png\0" for number in range(4))
    assert (aside["objects"], aside["keys_sha256"]) == (4, hashlib.sha256(keys.encode()).hexdigest())


def test_what_came_back_under_a_key_that_a_repair_holds_stays_and_so_does_what_is_held(world: World) -> None:
    world.plant(OLD_KEY)
    world.repair(world.seen_twice())
    world.plant(OLD_KEY, body=b"came back")
    before = all_there_is(world)
    deletion_id = hold(world)
    [left] = world.deletions.remaining(deletion_id, None)["remaining"]
    assert (left["key"], "quarantined" in left["why"], world.bucket_keys()) == (OLD_KEY, True, {OLD_KEY})
    undo(world, deletion_id)
    assert all_there_is(world) == before


def test_an_upload_under_way_waits_takes_no_commit_and_can_be_completed_after_an_undo(world: World) -> None:
    body = an_image(7)
    announced = Announced("image/png", len(body), sha256=hashlib.sha256(body).hexdigest())
    uploads = [world.presigned.begin("p1", announced, world.reserve()) for _ in range(2)]
    for upload in uploads:
        assert upload.request is not None
        assert world.store.fetch(upload.request, body).status == 200
    deletion_id = hold(world)
    assert {left["key"] for left in world.deletions.remaining(deletion_id, None)["remaining"]} == {each.record.key for each in uploads}
    with pytest.raises(ProjectClosed):
        world.presigned.complete(uploads[0].record.object_id, (), out_of_time=never)
    assert world.aligner().align(uploads[0].record.key).outcome is Outcome.PROJECT_CLOSED
    world.clock.advance(HOUR)  # their time is over
    world.store.calls.clear()
    assert (world.presigned.tidy(out_of_time=never), world.store.calls) == ({"project-closed": 2}, [])
    undo(world, deletion_id)
    assert world.presigned.complete(uploads[0].record.object_id, (), out_of_time=never).state is State.STORED
    assert world.presigned.tidy(out_of_time=never) == {"committed": 1}
    assert world.counts() == {"STORED": (2, 2 * len(body))}


def test_bytes_whose_commit_meets_a_closed_project_wait_for_the_end_of_its_window(world: World) -> None:
    deletions = hold_at_the_next_put(world)
    with pytest.raises(ProjectClosed):
        world.upload()
    undo(world, deletions[0])
    world.clock.advance(HOUR)
    assert world.presigned.tidy(out_of_time=never) == {"committed": 1}
    deletions = hold_at_the_next_put(world)
    with pytest.raises(ProjectClosed):
        world.upload(color=1)
    end_windows(world)
    world.pump()
    assert (world.bucket_keys(), world.counts(), status(world, deletions[0])) == (set(), {}, "DELETED")


@pytest.mark.parametrize("way", ["upload", "migration"])
def test_the_slower_of_two_attempts_erases_nothing_of_what_the_faster_one_stored_before_the_window(world: World, way: str) -> None:
    inline = world.without_storage().put(an_image()).record if way == "migration" else None
    move, deletions = world.ledger.move, list[str]()

    def overtaken(before: Record | None, after: Record | None, **options: Any) -> Any:
        if before is not None and after is not None and after.state is State.STORED:
            world.ledger.move = move  # type: ignore[method-assign]  # once
            world.aligner().align(before.key) if inline is None else world.storing.store(before.key)
            deletions.append(hold(world))
        return move(before, after, **options)

    world.ledger.move = overtaken  # type: ignore[method-assign]  # a race, injected
    with pytest.raises(ProjectClosed):
        world.upload() if inline is None else world.storing.store(inline.key)
    undo(world, deletions[0])
    [entry] = world.ledger.entries()
    record = world.ledger.record(entry.key)
    assert record is not None
    assert (record.state, world.bytes_of(record)) == (State.STORED, an_image())


def test_bytes_that_a_migration_put_as_the_project_closed_are_found_by_the_next_one_after_an_undo(world: World) -> None:
    inline = world.without_storage().put(an_image()).record
    deletions = hold_at_the_next_put(world)
    with pytest.raises(ProjectClosed):
        world.storing.store(inline.key)
    undo(world, deletions[0])
    assert world.bytes_of(world.storing.store(inline.key)) == an_image()
    assert world.counts() == {"STORED": (1, inline.size)}


def test_late_bytes_of_a_url_given_out_before_are_neither_adopted_nor_mixed_up(world: World) -> None:
    body = an_image(7)
    announced = Announced("image/png", len(body), sha256=hashlib.sha256(body).hexdigest())
    upload = world.presigned.begin("p1", announced, world.reserve())
    assert upload.request is not None
    world.store.fetch(upload.request, body)
    record = world.presigned.complete(upload.record.object_id, (), out_of_time=never)
    deletion_id = hold(world)
    assert world.store.fetch(upload.request, body).status == 200
    world.aligner().align(record.key)
    assert world.counts() == {"QUARANTINED": (1, record.size)}
    undone = undo(world, deletion_id).document["undone"]
    assert (undone["objects"], undone["not_restored"]) == (1, [])  # the URL takes no other bytes than those that lay there
    assert (world.bytes_of(record), world.counts()) == (body, {"STORED": (1, record.size)})


def test_what_a_repair_had_set_aside_before_stays_and_can_be_restored_after_an_undo(world: World) -> None:
    world.plant(OLD_KEY)
    world.repair(world.seen_twice())
    [entry], _ = world.quarantine.recent(10)
    deletion_id = hold(world)
    assert world.store.head(entry.document["quarantine_key"]) is not None
    with pytest.raises(Conflict, match="deleted since"):
        world.quarantine.restore(entry.operation_id)
    undo(world, deletion_id)
    assert world.counts() == {"QUARANTINED": (1, 8)}
    world.quarantine.restore(entry.operation_id)
    assert world.counts() == {"STORED": (1, 8)}


def test_older_versions_stay_until_the_erasure(deployment: Deployment) -> None:
    world = a_world(deployment, versioning=True)
    world.store.plant(OLD_KEY, b"first")
    world.store.plant(OLD_KEY, b"second")
    deletion_id = hold(world)
    assert len([version for version in world.store.list_versions(OLD_KEY) if not version.is_delete_marker]) == 2
    undo(world, deletion_id)
    content = world.store.get(OLD_KEY)
    assert content is not None
    assert (content.body, list(world.store.list_versions(".stocktake/quarantine/"))) == (b"second", [])
    hold(world)
    end_windows(world)
    world.pump()
    assert [version.key for version in world.store.list_versions() if "p1" in version.key] == []


# ---- races, repetitions, crashes


def test_every_message_delivered_twice_changes_nothing(world: World) -> None:
    world.deliveries = 2
    stock(world)
    before = all_there_is(world)
    deletion_id = hold(world)
    assert world.deletions.operation(deletion_id).document["set_aside"]["objects"] == 2
    assert undo(world, deletion_id).document["undone"]["objects"] == 2
    assert all_there_is(world) == before


def test_of_an_undo_and_an_erasure_at_one_moment_one_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(world)
    deletion_id = hold(world)
    update = world.operations.update

    def overtaken(operation: Operation, **changes: Any) -> Operation:
        monkeypatch.setattr(world.operations, "update", update)
        world.deletions.request("p1", undo=False)
        return update(operation, **changes)

    monkeypatch.setattr(world.operations, "update", overtaken)
    with pytest.raises(Conflict, match="erased"):
        world.deletions.undo(deletion_id)
    world.pump()
    assert (status(world, deletion_id), world.bucket_keys()) == ("DELETED", set())


def test_of_an_erasure_and_an_undo_at_one_moment_one_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(world)
    before = world.bucket_keys()
    deletion_id = hold(world)
    update = world.operations.update

    def overtaken(operation: Operation, **changes: Any) -> Operation:
        monkeypatch.setattr(world.operations, "update", update)
        world.deletions.undo(deletion_id)
        return update(operation, **changes)

    monkeypatch.setattr(world.operations, "update", overtaken)
    assert world.deletions.request("p1", undo=False).status == "RESTORING"
    with pytest.raises(Conflict, match="being undone"):
        world.deletions.request("p1")
    world.pump()
    assert (status(world, deletion_id), world.bucket_keys()) == ("UNDONE", before)


def test_nothing_is_moved_back_while_a_worker_may_still_be_setting_aside(world: World) -> None:
    stock(world)
    before = world.bucket_keys()
    deletion_id = world.deletions.request("p1").operation_id
    world.deletions.set_aside(deletion_id, out_of_time=never)
    [batch] = [message for queue, message, _ in world.messages if queue == "batches"]

    def undone_meanwhile(operation: str, key: str | None) -> None:
        if operation == "copy":
            world.store.on_call = None
            world.deletions.undo(deletion_id)
            world.deletions.restore(deletion_id, "", out_of_time=never)

    world.store.on_call = undone_meanwhile
    world.deliver("batches", batch)  # it began before the undo, and moves all of its batch
    assert world.bucket_keys() == set()
    assert not any(message.get("part", "").startswith("restore#") for _, message, _ in world.messages)
    world.clock.advance(WORKER_MS)
    world.pump()
    world.deliver("batches", batch)
    assert (status(world, deletion_id), world.bucket_keys()) == ("UNDONE", before)


def test_the_final_sweep_of_an_erasure_waits_for_workers_that_may_still_be_setting_aside(world: World) -> None:
    stock(world)
    deletion_id = world.deletions.request("p1").operation_id
    world.deletions.set_aside(deletion_id, out_of_time=never)
    end_windows(world)
    assert world.deletions.operation(deletion_id).document["sweep_at"] == world.clock() + WORKER_MS


def test_a_planner_that_goes_on_after_an_undo_began_does_not_end_it_early(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.undo_window.ASIDE_KEYS", 1)
    keys = [f"projects/p1/scenes/s/media/{number}.png" for number in range(3)]
    for key in keys:
        world.store.plant(key, b"12345")
    deletion_id = world.deletions.request("p1").operation_id
    for _ in range(2):
        world.deletions.set_aside(deletion_id, out_of_time=lambda: True)
    for number in range(2):
        world.deliver("batches", {"deletion_id": deletion_id, "part": f"aside#{number:08d}"})

    def meanwhile(operation: str, key: str | None) -> None:
        if operation == "list":
            world.store.on_call = None
            world.deletions.undo(deletion_id)
            world.clock.advance(WORKER_MS)
            world.deletions.restore(deletion_id, "", out_of_time=never)

    world.store.on_call = meanwhile
    world.deletions.set_aside(deletion_id, out_of_time=never)  # plans the third batch, of which nothing will be moved
    world.messages.clear()
    world.deletions.undo(deletion_id)
    world.deliver(*world.messages.popleft()[:2])
    late = next(sent for sent in world.messages if sent[1].get("part") == "restore#00000001")
    world.messages.remove(late)
    world.pump()
    world.messages.append(late)
    world.pump()
    assert (status(world, deletion_id), world.bucket_keys()) == ("UNDONE", set(keys))


def test_what_has_been_held_for_longer_than_a_worker_lives_is_moved_back_at_once(world: World) -> None:
    stock(world)
    deletion_id = hold(world)
    assert world.deletions.undo(deletion_id).document["restore_at"] == world.clock() + WORKER_MS
    undo(world, deletion_id)
    deletion_id = hold(world)
    world.clock.advance(WORKER_MS)
    assert world.deletions.undo(deletion_id).document["restore_at"] == world.clock()


def test_an_undo_before_anything_was_set_aside_opens_the_project_again_and_late_batches_move_nothing(world: World) -> None:
    stock(world)
    before = all_there_is(world)
    deletion_id = world.deletions.request("p1").operation_id
    world.deletions.set_aside(deletion_id, out_of_time=never)
    late = list(world.messages)
    world.messages.clear()
    undo(world, deletion_id)
    for queue, message, _ in late:
        world.deliver(queue, message)
    assert (all_there_is(world), status(world, deletion_id)) == (before, "UNDONE")


@pytest.mark.parametrize("killed", [False, True])
def test_a_slower_planner_that_saw_fewer_batches_does_not_end_setting_aside_early(
    world: World, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    monkeypatch.setattr("stocktake.project_deletion.undo_window.ASIDE_KEYS", 1)
    for number in range(2):
        world.store.plant(f"projects/p1/scenes/s/media/{number}.png", b"12345")
    deletion_id = world.deletions.request("p1").operation_id
    world.deletions.set_aside(deletion_id, out_of_time=lambda: True)  # the first batch

    def meanwhile(operation: str, key: str | None) -> None:
        # another delivery plans the second as well, and a worker is done with it
        if operation == "list":
            world.store.on_call = None
            with monkeypatch.context() as patch, contextlib.suppress(Crash):
                if killed:
                    patch.setattr(world.operations, "update", crash)  # before it has said how many there are
                world.deletions.set_aside(deletion_id, out_of_time=never)
            world.deliver("batches", {"deletion_id": deletion_id, "part": "aside#00000001"})

    world.store.on_call = meanwhile
    world.deletions.set_aside(deletion_id, out_of_time=never)
    assert status(world, deletion_id) == "SETTING_ASIDE"
    deliver_due(world)
    assert (status(world, deletion_id), world.bucket_keys()) == ("HELD", set())


def test_of_two_planners_that_cut_their_batches_otherwise_neither_leaves_a_key_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = "stocktake.project_deletion.undo_window.ASIDE_KEYS"
    monkeypatch.setattr(cut, 2)
    for number in range(3):
        world.store.plant(f"projects/p1/scenes/s/media/{number}.png", b"12345")
    deletion_id = world.deletions.request("p1").operation_id
    put_new = world.operations.put_new

    def after_another(operation_id: str, part: str, *args: Any, **kwargs: Any) -> bool:
        if part == "aside#00000000":
            monkeypatch.setattr(world.operations, "put_new", put_new)
            with monkeypatch.context() as patch:
                patch.setattr(cut, 1)
                world.deletions.set_aside(deletion_id, out_of_time=lambda: True)
        return put_new(operation_id, part, *args, **kwargs)

    monkeypatch.setattr(world.operations, "put_new", after_another)
    deliver_due(world)
    assert (status(world, deletion_id), world.bucket_keys()) == ("HELD", set())


def test_setting_aside_goes_on_where_its_time_ran_out_among_records_that_have_no_object(world: World) -> None:
    inline = [world.record(f"projects/p1/scenes/s/media/{number}.png", State.INLINE).key for number in range(3)]
    world.store.plant(OLD_KEY, b"12345")
    deletion_id = world.deletions.request("p1").operation_id
    world.messages.clear()
    for key in inline:
        world.deletions.set_aside(deletion_id, out_of_time=lambda: True)
        assert world.deletions.operation(deletion_id).document["planned_to"] == key
    deliver_due(world)
    assert (status(world, deletion_id), world.bucket_keys()) == ("HELD", set())


def test_each_delivery_of_a_setting_aside_reads_and_sends_again_only_the_last_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.undo_window.ASIDE_KEYS", 1)
    world.plant(*(f"projects/p1/scenes/s/media/{number}.png" for number in range(4)))
    deletion_id = world.deletions.request("p1").operation_id
    world.messages.clear()
    sent = []
    for _ in range(3):
        world.deletions.set_aside(deletion_id, out_of_time=lambda: True)
        sent.append([int(message["part"][-8:]) for queue, message, _ in world.messages if queue == "batches"])
        world.messages.clear()
    assert sent == [[0], [0, 1], [1, 2]]


def test_what_was_set_aside_is_added_up_by_a_step_and_by_no_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(OLD_KEY)
    deletion_id = world.deletions.request("p1").operation_id
    world.deletions.set_aside(deletion_id, out_of_time=never)
    world.messages.clear()
    world.deliver("batches", {"deletion_id": deletion_id, "part": "aside#00000000"})
    assert (status(world, deletion_id), [queue for queue, _, _ in world.messages]) == ("SETTING_ASIDE", ["steps"])
    deliver_due(world)
    assert status(world, deletion_id) == "HELD"


def test_work_short_of_time_hands_the_rest_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.undo_window.ASIDE_KEYS", 1)
    world.plant(OLD_KEY, "audio/proj_p1/s1/voice.mp3", "proj_p1_s1_media.mp4")
    before = all_there_is(world)
    deletion_id = world.deletions.request("p1").operation_id
    late = iter([True, False] * 40)

    def sometimes_late() -> bool:
        return next(late)

    def pump_short_of_time() -> None:
        while world.messages:
            queue, message, visible_at = world.messages.popleft()
            world.clock.at = max(world.clock.at, visible_at)
            if queue == "batches":
                world.deletions.work(deletion_id, message["part"], out_of_time=sometimes_late)
            elif message["step"] == "undo":
                world.deletions.restore(deletion_id, message["after"], out_of_time=sometimes_late)
            else:
                world.deletions.set_aside(deletion_id, out_of_time=sometimes_late)

    pump_short_of_time()
    assert (status(world, deletion_id), world.bucket_keys()) == ("HELD", set())
    assert world.deletions.operation(deletion_id).document["planned"] == 3
    world.deletions.undo(deletion_id)
    pump_short_of_time()
    assert (status(world, deletion_id), all_there_is(world)) == ("UNDONE", before)


@pytest.mark.parametrize("call", range(2, 50, 4))
def test_a_deletion_and_its_undo_killed_at_any_call_leave_everything_as_it_was(world: World, deployment: Deployment, call: int) -> None:
    stock(world)
    before = all_there_is(world)
    deletion_id = world.deletions.request("p1").operation_id
    pump_with_one_death_a_message(world, deployment, call)
    assert (status(world, deletion_id), world.bucket_keys()) == ("HELD", set())
    assert world.deletions.operation(deletion_id).document["set_aside"]["objects"] == 2
    world.deletions.undo(deletion_id)
    pump_with_one_death_a_message(world, deployment, call)
    assert (status(world, deletion_id), all_there_is(world)) == ("UNDONE", before)


def pump_with_one_death_a_message(world: World, deployment: Deployment, call: int) -> None:
    """Delivers every message, each killed once before its call of this number, and delivered again."""
    while world.messages:
        queue, message, visible_at = world.messages.popleft()
        world.clock.at = max(world.clock.at, visible_at)
        with killed_at(world, deployment, call) as killing:
            world.deliver(queue, message)
        if killing.happened:
            world.deliver(queue, message)


@pytest.mark.parametrize("call", ["_release", "_drop"])
def test_an_undo_killed_where_no_etag_is_a_hash_knows_what_it_had_put_back(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    world = without_hashes(deployment)
    deletion_id = hold(world)

    def killed(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched, contextlib.suppress(Crash):
        patched.setattr(Moves, call, killed)
        undo(world, deletion_id)
    assert undo(world, deletion_id).document["undone"]["not_restored_objects"] == 0
    assert (status(world, deletion_id), world.bucket_keys(), world.counts()) == ("UNDONE", {OLD_KEY}, {"STORED": (1, 8)})
    assert world.tells_one_story()


def test_what_came_under_a_key_before_the_undo_is_not_taken_for_what_was_put_back_where_no_etag_is_a_hash(deployment: Deployment) -> None:
    world = without_hashes(deployment)
    deletion_id = hold(world)
    world.store.plant(OLD_KEY, b"strangex")
    world.clock.advance(HOUR)
    assert undo(world, deletion_id).document["undone"]["not_restored_objects"] == 1
    assert len(world.quarantine.recent(9)[0]) == 1


def test_a_killed_restore_of_what_an_undo_left_behind_is_ended_where_no_etag_is_a_hash(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = without_hashes(deployment)
    deletion_id = hold(world)
    world.store.plant(OLD_KEY, b"another object")
    undo(world, deletion_id)
    [entry] = world.quarantine.recent(1)[0]
    world.store.remove(OLD_KEY)

    def killed(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(world.ledger, "move", killed)
        world.quarantine.restore(entry.operation_id)
    assert world.quarantine.restore(entry.operation_id).status == "RESTORED"
    record = world.ledger.record(OLD_KEY)
    assert record is not None
    assert record.state is State.STORED


def without_hashes(deployment: Deployment) -> World:
    """Makes a deployment over a store whose ETags say nothing of the bytes, with a recorded object of an older layout."""
    clock = Clock()
    world = World(HashlessStore("data", now=clock), deployment.ledger, deployment.operations, clock, undo_ms=WINDOW)
    world.uploads.create_project("p1", {})
    world.plant(OLD_KEY, body=b"precious")
    world.aligner().align(OLD_KEY)
    return world


def test_a_schedule_killed_before_it_announced_an_erasure_announces_it_the_next_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(world)
    deletion_id = hold(world)

    def killed(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(World, "_send", killed)
        end_windows(world)
    assert (status(world, deletion_id), list(world.messages)) == ("REMOVING", [])
    world.deletions.close_windows(out_of_time=never)
    world.pump()
    assert status(world, deletion_id) == "DELETED"


def test_a_request_killed_before_its_deletion_was_written_is_mended_by_asking_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put_new = world.operations.put_new

    def killed(operation_id: str, *args: Any, **kwargs: Any) -> bool:
        if args[1] == "deletion":
            raise Crash
        return put_new(operation_id, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(world.operations, "put_new", killed)
        world.deletions.request("p1")
    assert end_windows(world) == 0
    hold(world)
    assert end_windows(world) == 1


@pytest.mark.parametrize("way", ["request", "verify", "redrive"])
def test_a_step_whose_message_was_lost_is_sent_again_by_whoever_asks(world: World, way: str) -> None:
    stock(world)
    deletion_id = world.deletions.request("p1").operation_id

    def ask() -> None:
        world.messages.clear()
        if way == "request":
            with contextlib.suppress(Conflict):
                world.deletions.request("p1")
            with contextlib.suppress(Conflict):
                world.deletions.undo(deletion_id) if status(world, deletion_id) == "RESTORING" else None
        elif way == "verify":
            world.deletions.verify(deletion_id, out_of_time=never)
        else:
            world.deletions.resume(deletion_id)

    ask()
    deliver_due(world)
    assert status(world, deletion_id) == "HELD"
    world.deletions.undo(deletion_id)
    ask()
    world.pump()
    assert status(world, deletion_id) == "UNDONE"


def test_a_store_that_does_not_answer_loses_nothing(world: World) -> None:
    stock(world)
    before = all_there_is(world)
    deletion_id = world.deletions.request("p1").operation_id
    for operation in ("head", "copy", "delete"):
        world.store.fail(operation)
    while world.messages:
        sent = world.messages.popleft()
        try:
            world.deliver(*sent[:2])
        except StorageUnavailable:
            world.messages.append(sent)
    assert (status(world, deletion_id), world.bucket_keys()) == ("HELD", set())
    undo(world, deletion_id)
    assert all_there_is(world) == before


def test_a_record_that_changes_at_the_moment_it_is_held_is_held_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record = world.upload()
    move, changed = world.ledger.move, iter([True])

    def moved(before: Record | None, after: Any, **options: Any) -> Any:
        if next(changed, False):
            raise RecordChanged("it changed")
        return move(before, after, **options)

    monkeypatch.setattr(world.ledger, "move", moved)
    hold(world)
    assert world.counts() == {"QUARANTINED": (1, record.size)}


def test_after_a_restore_of_the_tables_nothing_is_set_aside_undone_or_erased_before_the_replay(
    world: World, deployment: Deployment
) -> None:
    stock(world)
    world.uploads.create_project("p2", {})
    deletion_id = world.deletions.request("p1").operation_id
    world.deletions.set_aside(deletion_id, out_of_time=never)
    backup = Backup(deployment)
    sent = list(world.messages)
    world.deletions.request("p2", undo=False)
    world.pump()
    backup.restore()
    before = world.every_key()
    for queue, message, _ in sent:
        with pytest.raises(LedgerRestored):
            world.deliver(queue, message)
    with pytest.raises(LedgerRestored):
        world.deletions.undo(deletion_id)
    with pytest.raises(LedgerRestored):
        world.deletions.restore(deletion_id, "", out_of_time=never)
    with pytest.raises(LedgerRestored):
        end_windows(world)
    assert (world.every_key(), status(world, deletion_id)) == (before, "SETTING_ASIDE")
    world.deletions.replay(out_of_time=never)
    assert world.deletions.close_windows(out_of_time=never) == 1


def test_a_replay_erases_what_was_erased_though_the_tables_still_hold_it_aside(world: World, deployment: Deployment) -> None:
    stock(world)
    deletion_id = hold(world)
    world.deletions.undo(deletion_id)
    backup = Backup(deployment)
    world.pump()
    world.messages.clear()
    world.deletions.request("p1", undo=False)
    world.pump()
    backup.restore()
    assert status(world, deletion_id) == "RESTORING"
    world.deletions.replay(out_of_time=never)
    world.pump()
    assert (status(world, deletion_id), world.ledger.project("p1").state) == ("DELETED", ProjectState.DELETED)


def test_what_names_keys_outlives_the_longest_window_and_expires(world: World) -> None:
    world.upload()
    deletion_id = hold(world)
    undo(world, deletion_id)
    rows = [row for row in world.operations.all_parts(deletion_id) if row.part.partition("#")[0] in ("aside", "seen", "moved", "restored")]
    assert {row.part.partition("#")[0] for row in rows} == {"aside", "seen", "moved", "restored"}
    assert all(row.expires_at is not None and row.expires_at > world.clock.at + 90 * DAY for row in rows)
