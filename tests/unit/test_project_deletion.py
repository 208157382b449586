from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stocktake.alignment import Outcome
from stocktake.discovery import Named
from stocktake.errors import Conflict, InvalidRequest, LedgerError, OperationNotFound, ProjectClosed, ProjectNotFound, StorageUnavailable
from stocktake.layouts import build_session
from stocktake.ledger.operations import cursor_of
from stocktake.model import DeletionMode, LedgerEntry, ProjectState, SessionPlace, State
from stocktake.project_deletion.removal import unsettled
from stocktake.project_deletion.steps import SWEEP_OVERDUE_MS
from stocktake.storage.memory import MemoryStore
from tests.unit.world import DAY, SWEEP_DELAY, Crash, World, an_image, never

OLD_KEYS = [
    "projects/proj_p1/scenes/s1/media/clip.mp4",
    "proj_proj_p1_s1_media.mp4",
    "proj_p1_s1_media.mp4",
    "audio/proj_p1/s1/voice.mp3",
    "images/proj_p1/s1/still.png",
]

LATE_IN_ORDER = "projects/p1/scenes/s/media/z.png"
"""Behind the third of the old keys."""


def crash(*_: object, **__: object) -> None:
    raise Crash


def objects(receipt: dict[str, Any], by: str) -> dict[str, int]:
    return {name: tally["objects"] for name, tally in receipt[f"by_{by}"].items()}


def versioned(world: World) -> World:
    return world.with_store(MemoryStore("data", now=world.clock, versioning=True))


def session_key(number: int = 1) -> str:
    return build_session("s1", "ada", f"{number:026d}", "png")


def deliver_what_is_due(world: World) -> None:
    """Delivers all but what is delayed: after the first round, all but the final sweep."""
    while due := [sent for sent in world.messages if sent[2] <= world.clock()]:
        world.messages.remove(due[0])
        world.deliver(*due[0][:2])


def all_remaining(world: World, deletion_id: str) -> list[dict[str, Any]]:
    """Reads every page of what a deletion could not remove."""
    lines, cursor = [], None
    while True:
        page = world.deletions.remaining(deletion_id, cursor)
        lines += page["remaining"]
        if (cursor := page["cursor"]) is None:
            return lines


def sha256_of(*keys: str) -> str:
    return hashlib.sha256("".join(f"{key}\0" for key in sorted(keys)).encode()).hexdigest()


def receipt_of(world: World, deletion_id: str) -> dict[str, Any]:
    receipt = world.deletions.receipt(deletion_id)
    assert receipt is not None
    return receipt


def deletion_met_by_a_late_put(world: World, *keys: str) -> str:
    """Removes all in round 1, lets URLs given out before write again, and returns the deletion's id before its final sweep."""
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    assert world.bucket_keys() == set()
    world.plant(*keys, body=b"late")
    return deletion_id


def asked_for(world: World) -> list[str | None]:
    return [key for operation, key in world.store.calls if operation == "head"]


def test_a_deletion_removes_every_layout_and_its_receipt_says_so(world: World) -> None:
    uploaded = [world.upload(color=number) for number in range(3)]
    world.plant(*OLD_KEYS, body=b"12345")
    receipt = world.delete_project()
    assert receipt["status"] == "DELETED"
    assert objects(receipt, "layout") == {"current": 3, "hierarchical": 1, "flat": 2, "content": 2}
    assert objects(receipt, "source") == {"both": 3, "listing": 5}
    assert (receipt["objects"], receipt["bytes"]) == (8, sum(record.size for record in uploaded) + 25)
    assert (receipt["records"], receipt["remaining"], receipt["suspects"]) == (3, [], [])
    assert {listing["objects"] for listing in receipt["listings"]} == {0}
    assert (world.bucket_keys(), world.counts(), list(world.ledger.entries())) == (set(), {}, [])
    assert world.ledger.project("p1").state is ProjectState.DELETED


def test_no_receipt_and_no_deleted_before_the_final_sweep(world: World) -> None:
    world.upload()
    deletion = world.deletions.request("p1")
    requested_at = world.clock()
    while world.messages and world.messages[0][2] == world.clock():
        queue, message, _ = world.messages.popleft()
        world.deliver(queue, message)
    assert world.bucket_keys() == set()
    assert world.deletions.receipt(deletion.operation_id) is None
    assert world.ledger.project("p1").state is ProjectState.DELETING
    world.pump()
    assert world.clock() >= requested_at + 960_000
    assert world.deletions.receipt(deletion.operation_id) is not None


def test_a_sweep_that_comes_early_waits(world: World) -> None:
    deletion = world.deletions.request("p1")
    world.deletions.discover(deletion.operation_id, 1, out_of_time=never)
    world.messages.clear()
    world.deletions.sweep(deletion.operation_id, 1, out_of_time=never)
    [(queue, message, visible_at)] = world.messages
    assert (queue, message["step"]) == ("steps", "verify")
    assert visible_at == world.clock() + 900_000  # the longest delay SQS takes


def test_an_object_that_arrives_late_is_swept_and_counted(world: World) -> None:
    world.upload()
    deletion = world.deletions.request("p1")

    def late(operation: str, key: str | None) -> None:
        if operation == "delete_many":
            world.store.on_call = None
            world.plant("projects/p1/scenes/s/media/late.png")

    world.store.on_call = late
    world.pump()
    receipt = world.deletions.receipt(deletion.operation_id)
    assert receipt is not None
    assert (receipt["status"], receipt["rounds"], receipt["objects"]) == ("DELETED", 2, 2)
    assert world.bucket_keys() == set()


def test_the_neighbour_whose_id_begins_with_ours_is_untouched_to_the_byte(world: World) -> None:
    world.uploads.create_project("p10", {})
    neighbours = world.upload("p10")
    others = ["projects/p10/scenes/s/media/a.png", "proj_p10_s_m.mp4", "proj_proj_p10_s_m.mp4", "audio/proj_p10/s/a.mp3"]
    world.plant(*others, *OLD_KEYS)
    world.upload("p1")
    assert world.delete_project("p1")["status"] == "DELETED"
    assert world.bucket_keys() == {neighbours.key, *others}
    assert world.counts("p10") == {"STORED": (1, neighbours.size)}


def test_an_object_only_the_ledger_knows_is_removed_and_counted_as_such(world: World) -> None:
    key = "images/session/persona/1703123456789-a.png"
    world.plant(key, body=b"12345")
    world.record(key, State.STORED)
    receipt = world.delete_project()
    assert objects(receipt, "source") == {"ledger": 1}
    assert receipt["bytes"] == 5
    assert world.bucket_keys() == set()


def test_a_row_that_points_at_nothing_goes_without_being_counted_as_an_object(world: World) -> None:
    world.record("projects/p1/scenes/s/media/gone.png", State.STORED)
    world.record("projects/p1/scenes/s/media/inline.png", State.INLINE)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["objects"], receipt["records"]) == ("DELETED", 0, 2)
    assert world.counts() == {}


def test_keys_that_refuse_to_die_are_named_with_the_stores_reason(world: World) -> None:
    stubborn = sorted(world.upload(color=number).key for number in range(3))[:2]
    for key in stubborn:
        world.store.refuse_delete(key, "AccessDenied", "the object is locked")
    receipt = world.delete_project()
    assert receipt["status"] == "INCOMPLETE"
    assert [left["key"] for left in receipt["remaining"]] == stubborn
    assert {left["why"] for left in receipt["remaining"]} == {"AccessDenied: the object is locked"}
    assert (receipt["objects"], receipt["rounds"]) == (1, 3)
    assert world.bucket_keys() == set(stubborn)
    assert world.ledger.project("p1").state is ProjectState.DELETING
    assert world.dead_letters == [{"deletion_id": receipt["deletion_id"], "step": "resume"}]


def test_a_receipt_names_the_removed_keys_by_their_hash_round_by_round(world: World) -> None:
    world.plant(*OLD_KEYS)
    late = "projects/p1/scenes/s/media/late.png"
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.plant(late, OLD_KEYS[0])
    world.pump()
    hashes = receipt_of(world, deletion_id)["removed_keys_sha256"]
    assert hashes["rounds"] == {"1": sha256_of(*OLD_KEYS), "2": sha256_of(late, OLD_KEYS[0])}
    assert hashes["all"] == sha256_of(*OLD_KEYS, OLD_KEYS[0], late)


def test_what_was_refused_is_on_the_receipt_with_its_retries_and_not_among_the_removed(world: World) -> None:
    world.plant(*OLD_KEYS)
    freed, locked = OLD_KEYS[:2]
    world.store.refuse_delete(freed, "SlowDown", "reduce your rate")
    world.store.refuse_delete(locked, "AccessDenied", "the object is locked")
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.store.allow_delete(freed)
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["refused_objects"], receipt["retries"]) == (2, 3)  # one round more for the one, two for the other
    assert {line["key"]: (line["code"], line["refusals"]) for line in receipt["refused"]} == {
        freed: ("SlowDown", 1),
        locked: ("AccessDenied", 3),
    }
    assert [(left["key"], left["refusals"]) for left in receipt["remaining"]] == [(locked, 3)]
    assert receipt["removed_keys_sha256"]["all"] == sha256_of(*(key for key in OLD_KEYS if key != locked))


def test_a_receipt_says_who_asked_by_a_pseudonym_that_only_who_knows_the_name_can_confirm(world: World) -> None:
    deletion_id = world.deletions.request("p1", requested_by="jwt:https://issuer.example:ada").operation_id
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert receipt["requested_by"] == hashlib.sha256(f"{deletion_id}\0jwt:https://issuer.example:ada".encode()).hexdigest()
    assert "ada" not in str(receipt) + str(world.deletions.operation(deletion_id))


def test_a_sweep_short_of_time_names_every_key_that_remains_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"projects/p1/scenes/s/media/{number}.png" for number in range(5)]
    world.plant(*keys, "projects/p1/unexplained")
    for key in keys:
        world.store.refuse_delete(key)
    monkeypatch.setattr("stocktake.project_deletion.steps.MAX_ROUNDS", 1)
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(960_000)
    world.messages.clear()
    for _ in range(7):
        assert world.deletions.receipt(deletion_id) is None
        world.deletions.sweep(deletion_id, 1, out_of_time=lambda: True)
    receipt = receipt_of(world, deletion_id)
    assert [line["key"] for line in all_remaining(world, deletion_id)] == [*keys, "projects/p1/unexplained"]
    assert (receipt["remaining_objects"], receipt["suspect_objects"]) == (5, 1)
    assert sum(listing["objects"] for listing in receipt["listings"]) == 5


def test_a_named_key_that_still_refuses_after_a_sweep_short_of_time_is_never_said_to_be_deleted(world: World) -> None:
    names = [session_key(number) for number in range(2)]
    for name in names:
        world.record(name, State.PENDING)
    deletion_id = deletion_met_by_a_late_put(world, names[0])
    world.store.refuse_delete(names[0])
    world.pump()
    # the sweep of the round in which it ended handed on behind the second name
    operation = world.deletions.operation(deletion_id)
    world.operations.update(operation, document={**operation.document, "asked": names[1]})
    world.deliver("steps", world.dead_letters[0])
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], [left["key"] for left in receipt["remaining"]]) == ("INCOMPLETE", [names[0]])


@pytest.mark.parametrize("mode", [DeletionMode.LEDGER, DeletionMode.LISTING])
def test_a_deletion_by_one_way_alone_is_incomplete_where_the_other_still_sees_something(world: World, mode: DeletionMode) -> None:
    recorded = world.upload().key
    world.plant(OLD_KEYS[0])
    world.record(session_key(), State.MISSING)
    deletion_id = world.deletions.request("p1", mode=mode).operation_id
    world.pump()
    receipt = receipt_of(world, deletion_id)
    left = {"ledger": OLD_KEYS[0], "listing": session_key()}[mode]
    assert (receipt["status"], receipt["mode"], [line["key"] for line in receipt["remaining"]]) == ("INCOMPLETE", mode, [left])
    assert "mode both" in receipt["remaining"][0]["why"]
    assert (recorded in world.bucket_keys(), world.ledger.record(recorded)) == (False, None)
    assert world.deletions.request("p1", mode=DeletionMode.BOTH).document["mode"] == "both"
    world.pump()
    assert (receipt_of(world, deletion_id)["status"], world.bucket_keys()) == ("DELETED", set())


@pytest.mark.parametrize("mode", [DeletionMode.LEDGER, DeletionMode.LISTING])
def test_a_deletion_by_one_way_alone_is_deleted_where_both_see_nothing_any_more(world: World, mode: DeletionMode) -> None:
    record = world.upload()
    deletion_id = world.deletions.request("p1", mode=mode).operation_id
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"], receipt["records"], receipt["bytes"]) == ("DELETED", 1, 1, record.size)
    assert objects(receipt, "source") == {mode.value: 1}


@pytest.mark.parametrize("mode", list(DeletionMode))
def test_bytes_and_urls_that_lie_in_the_ledger_go_in_every_mode_that_looks_there(world: World, mode: DeletionMode) -> None:
    inline = world.record(session_key(), State.INLINE)
    world.record("projects/p1/scenes/s/media/external.png", State.EXTERNAL, size=0)
    stored = world.upload()
    deletion_id = world.deletions.request("p1", mode=mode).operation_id
    world.pump()
    if mode is DeletionMode.LISTING:
        receipt = receipt_of(world, deletion_id)
        assert (receipt["status"], receipt["remaining_objects"], receipt["inline"]) == ("INCOMPLETE", 2, {"objects": 0, "bytes": 0})
        assert world.ledger.content(inline) is not None
        world.deletions.request("p1", mode=DeletionMode.BOTH)
        world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"], receipt["records"]) == ("DELETED", 1, 3)
    assert receipt["inline"] == {"objects": 1, "bytes": inline.size}
    assert (world.ledger.content(inline), world.ledger.record(stored.key), world.counts()) == (None, None, {})


def test_another_mode_for_a_deletion_under_way_is_refused(world: World) -> None:
    world.deletions.request("p1", mode=DeletionMode.LISTING)
    assert world.deletions.request("p1").document["mode"] == "listing"
    with pytest.raises(Conflict, match="mode listing"):
        world.deletions.request("p1", mode=DeletionMode.BOTH)


def test_a_sequential_deletion_removes_key_after_key_and_batch_after_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.batches.SEQUENTIAL_KEYS", 2)
    world.plant(*OLD_KEYS)
    world.deliveries = 2
    deletion_id = world.deletions.request("p1", mode=DeletionMode.SEQUENTIAL).operation_id
    at_once = []
    while world.messages:
        at_once.append(len([sent for sent in world.messages if sent[0] == "batches"]))
        queue, message, visible_at = world.messages.popleft()
        world.clock.at = max(world.clock.at, visible_at)
        world.deliver(queue, message)
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"], receipt["batches"], max(at_once)) == ("DELETED", 5, 3, 1)
    assert [key for operation, key in world.store.calls if operation == "delete_many"] == sorted(OLD_KEYS)


@pytest.mark.parametrize("way", ["verify", "redrive"])
def test_an_incomplete_deletion_taken_up_again_ends_deleted(world: World, way: str) -> None:
    record = world.upload()
    world.store.refuse_delete(record.key)
    deletion_id = world.delete_project()["deletion_id"]
    world.store.allow_delete(record.key)
    if way == "verify":
        verified = world.deletions.verify(deletion_id, out_of_time=never)
        assert (verified["status"], verified["keys"]) == ("INCOMPLETE", [record.key])
    else:
        world.deliver("steps", world.dead_letters[0])
    world.pump()
    receipt = world.deletions.receipt(deletion_id)
    assert receipt is not None
    assert (receipt["status"], receipt["objects"]) == ("DELETED", 1)
    assert world.bucket_keys() == set()


def test_what_looks_like_the_projects_and_is_not_provably_so_is_reported_and_never_deleted(world: World) -> None:
    world.uploads.create_project("p1_x", {})
    suspects = {"projects/p1/readme.txt", "proj_p1_x_y_z.mp4", "proj_p1_lonely"}
    world.plant(*suspects)
    receipt = world.delete_project()
    assert receipt["status"] == "INCOMPLETE"
    assert {suspect["key"] for suspect in receipt["suspects"]} == suspects
    assert world.bucket_keys() == suspects


def test_a_key_under_a_prefix_of_the_project_whose_layout_names_none_is_left_to_its_record_or_reported(world: World) -> None:
    world.uploads.create_project("p2", {})
    # of a persona that is named as a project is spelled
    nobodys, theirs, ours = (f"images/proj_p1/170312345678{number}-a.png" for number in range(3))
    world.plant(nobodys, theirs, ours, ".stocktake/quarantine/p1/a/b")
    world.record(theirs, State.STORED, project_id="p2")
    world.record(ours, State.STORED)
    receipt = world.delete_project()
    assert (receipt["status"], objects(receipt, "source")) == ("INCOMPLETE", {"both": 1})
    assert [suspect["key"] for suspect in receipt["suspects"]] == [".stocktake/quarantine/p1/a/b", nobodys]
    assert world.bucket_keys() == {nobodys, theirs}


def test_a_dry_run_says_what_would_go_and_removes_nothing(world: World) -> None:
    world.upload()
    world.plant(*OLD_KEYS)
    before = world.bucket_keys()
    plan = world.deletions.dry_run("proj_p1", out_of_time=never)
    assert (plan["complete"], plan["objects"], set(plan["keys"])) == (True, 6, before)
    assert world.bucket_keys() == before
    assert world.ledger.project("p1").state is ProjectState.ACTIVE
    cut = world.deletions.dry_run("p1", out_of_time=lambda: True)
    assert (cut["complete"], cut["objects"]) == (False, 1)


def test_a_dry_run_names_every_key_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.previews.KEYS_SHOWN", 2)
    world.plant(*OLD_KEYS)
    first = world.deletions.dry_run("p1", out_of_time=never)
    assert (first["objects"], len(first["keys"]), objects(first, "layout")) == (5, 2, {"content": 2, "flat": 2, "hierarchical": 1})
    keys, cursor = first["keys"], first["cursor"]
    while cursor is not None:
        page = world.deletions.dry_run("p1", cursor=cursor, out_of_time=never)
        assert page["objects"] == len(page["keys"])
        keys, cursor = keys + page["keys"], page["cursor"]
    assert keys == sorted(OLD_KEYS)


def test_a_diagnosis_says_what_only_one_way_found_and_why_and_changes_nothing(world: World) -> None:
    world.upload()
    world.plant(OLD_KEYS[0], session_key(), "projects/p1/unexplained")
    world.record(session_key(), State.STORED)
    world.record("projects/p1/scenes/s/media/gone.png", State.STORED)
    world.record("projects/p1/scenes/s/media/inline.png", State.INLINE)
    world.record("projects/p1/scenes/s/media/external.png", State.EXTERNAL, size=0)
    hidden = "projects/p1/scenes/s/media/hidden.png"
    world.plant(hidden)
    world.record(hidden, State.STORED)
    world.store.hide(hidden)
    before = world.every_key()
    found = world.deletions.diagnose("p1", limit=100, cursor=None, out_of_time=never)
    assert {source: tally["objects"] for source, tally in found["found"].items()} == {"both": 1, "ledger": 2, "listing": 1, "record": 3}
    why = {line["key"]: line["why"] for line in found["only_one"]}
    assert "behind the ledger's back" in why[OLD_KEYS[0]]
    assert "no prefix" in why[session_key()]
    assert "drops keys" in why[hidden]
    assert "the bucket has nothing" in why["projects/p1/scenes/s/media/gone.png"]
    assert "lie in the ledger" in why["projects/p1/scenes/s/media/inline.png"]
    assert "foreign URL" in why["projects/p1/scenes/s/media/external.png"]
    assert [line["key"] for line in found["suspects"]] == ["projects/p1/unexplained"]
    assert (found["cursor"], found["state"], world.every_key()) == (None, "ACTIVE", before)


def test_a_diagnosis_goes_on_page_by_page_and_its_counts_add_up(world: World) -> None:
    world.upload()
    world.plant(*OLD_KEYS, "projects/p1/unexplained")
    lines, counted, cursor = [], 0, None
    for _ in range(10):
        page = world.deletions.diagnose("p1", limit=2, cursor=cursor, out_of_time=never)
        lines += page["only_one"] + page["suspects"]
        counted += sum(tally["objects"] for tally in page["found"].values())
        if (cursor := page["cursor"]) is None:
            break
    assert sorted(line["key"] for line in lines) == sorted([*OLD_KEYS, "projects/p1/unexplained"])
    assert counted == 6


def test_a_made_up_cursor_is_refused_before_anything_is_listed(world: World) -> None:
    for cursor in ("!", cursor_of("x" * 1025)):
        with pytest.raises(InvalidRequest, match="not one this service gave out"):
            world.deletions.diagnose("p1", limit=2, cursor=cursor, out_of_time=never)
        with pytest.raises(InvalidRequest, match="not one this service gave out"):
            world.deletions.dry_run("p1", cursor=cursor, out_of_time=never)


def test_asking_twice_is_one_deletion(world: World) -> None:
    world.upload()
    first, second = world.deletions.request("p1"), world.deletions.request("proj_p1")
    assert first.operation_id == second.operation_id
    world.pump()
    receipt = world.deletions.receipt(first.operation_id)
    assert receipt is not None
    assert receipt["objects"] == 1
    assert world.deletions.request("p1").status == "DELETED"


def test_a_request_killed_before_it_was_announced_is_mended_by_asking_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: object, **kwargs: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(world.operations, "put_new", killed)
        world.deletions.request("p1")
    assert world.ledger.project("p1").state is ProjectState.DELETING
    assert world.delete_project()["status"] == "DELETED"


def test_a_project_created_anew_is_another_epoch_that_the_old_deletion_never_touches(world: World) -> None:
    world.upload()
    old = world.delete_project()
    world.uploads.create_project("p1", {})
    record = world.upload(color=9)
    for step in ("discover", "verify"):
        world.deliver("steps", {"deletion_id": old["deletion_id"], "step": step, "round": old["rounds"]})
    world.deliver("steps", {"deletion_id": old["deletion_id"], "step": "resume"})
    world.deliver("batches", {"deletion_id": old["deletion_id"], "part": "batch#01#00000000"})
    world.pump()
    assert world.bucket_keys() == {record.key}
    assert world.counts() == {"STORED": (1, record.size)}
    verified = world.deletions.verify(old["deletion_id"], out_of_time=never)
    assert (verified["status"], verified["remaining"]) == ("DELETED", {"objects": 0, "bytes": 0})
    assert record.epoch > old["epoch"]


def test_every_message_delivered_twice_changes_nothing_in_the_receipt(world: World) -> None:
    for number in range(4):
        world.upload(color=number)
    world.plant(*OLD_KEYS)
    world.deliveries = 2
    receipt = world.delete_project()
    assert (receipt["status"], receipt["objects"], receipt["records"], receipt["batches"]) == ("DELETED", 9, 4, 1)
    assert (receipt["retries"], receipt["refused"]) == (0, [])
    assert objects(receipt, "source") == {"both": 4, "listing": 5}


@pytest.mark.parametrize("step", range(0, 40, 3))
def test_a_deletion_killed_at_any_call_and_delivered_again_ends_with_the_same_receipt(
    world: World, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr("stocktake.project_deletion.removal._WHOLE", 1)
    monkeypatch.setattr("stocktake.project_deletion.removal._SHARES", (25, 25, 25, 25))  # a batch is of four parts
    uploaded = [world.upload(color=number).key for number in range(3)]
    world.plant(*OLD_KEYS)
    calls = 0

    def kill(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise Crash

    deletion = world.deletions.request("p1")
    world.store.on_call = kill
    for name in ("put", "put_new", "put_once_and_count", "update"):
        _kill_around(world.operations, name, kill)
    _kill_around(world.ledger, "remove_many", kill)
    while world.messages:
        queue, message, visible_at = world.messages[0]
        world.clock.at = max(world.clock.at, visible_at)
        with contextlib.suppress(Crash):
            world.deliver(queue, message)
            world.messages = deque(sent for sent in world.messages if sent is not world.messages[0])
    world.store.on_call = None
    receipt = world.deletions.receipt(deletion.operation_id)
    assert receipt is not None
    assert (receipt["status"], receipt["objects"], receipt["records"]) == ("DELETED", 8, 3)
    assert objects(receipt, "source") == {"both": 3, "listing": 5}
    assert receipt["removed_keys_sha256"]["all"] == sha256_of(*uploaded, *OLD_KEYS)
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_a_batch_of_which_some_records_could_not_be_removed_has_no_result_and_is_done_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake.project_deletion.removal._WHOLE", 1)
    monkeypatch.setattr("stocktake.project_deletion.removal._SHARES", (40, 40, 20))
    for number in range(5):
        world.upload(color=number)
    deletion = world.deletions.request("p1")
    real, calls = world.ledger.remove_many, itertools.count()

    def failing(entries: Any) -> Any:
        if next(calls) == 0:
            raise LedgerError("the ledger is too busy")
        return real(entries)

    monkeypatch.setattr(world.ledger, "remove_many", failing)
    with pytest.raises(LedgerError):
        deliver_what_is_due(world)
    assert world.operations.get(deletion.operation_id, "result#01#00000000") is None
    assert (world.bucket_keys(), world.counts()[State.STORED][0]) == (set(), 2)
    world.deliver("batches", {"deletion_id": deletion.operation_id, "part": "batch#01#00000000"})
    done = world.operations.get(deletion.operation_id, "result#01#00000000")
    assert done is not None
    assert (done.document["records"], world.counts()) == (5, {})


def test_the_records_of_what_was_refused_stay_whichever_part_of_a_batch_it_is_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.removal._WHOLE", 1)
    monkeypatch.setattr("stocktake.project_deletion.removal._SHARES", (25, 25, 25, 25))
    keys = sorted(world.upload(color=number).key for number in range(7))
    refused = {keys[1], keys[2], keys[6]}
    for key in refused:
        world.store.refuse_delete(key, "AccessDenied", "locked")
    receipt = world.delete_project()
    assert {left["key"] for left in receipt["remaining"]} == refused
    assert (world.bucket_keys(), world.counts()[State.STORED][0]) == (refused, 3)


def _kill_around(target: object, name: str, kill: Any) -> None:
    real = getattr(target, name)

    def around(*args: Any, **kwargs: Any) -> Any:
        kill()
        result = real(*args, **kwargs)
        kill()
        return result

    setattr(target, name, around)


def test_a_discovery_short_of_time_hands_the_rest_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.batches.BATCH_KEYS", 2)
    for number in range(5):
        world.upload(color=number)
    deletion = world.deletions.request("p1")
    world.messages.clear()
    deletion_id = deletion.operation_id
    for _ in range(3):
        world.deletions.discover(deletion_id, 1, out_of_time=lambda: True)
    world.pump()
    receipt = world.deletions.receipt(deletion_id)
    assert receipt is not None
    assert (receipt["status"], receipt["objects"], receipt["batches"]) == ("DELETED", 5, 4)


def test_each_delivery_of_a_discovery_reads_and_sends_again_only_the_last_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.batches.BATCH_KEYS", 1)
    world.plant(*(f"projects/p1/scenes/s/media/{number}.png" for number in range(5)))
    deletion_id = world.deletions.request("p1").operation_id
    world.messages.clear()
    sent = []
    for _ in range(4):
        world.deletions.discover(deletion_id, 1, out_of_time=lambda: True)
        sent.append([int(message["part"][-8:]) for queue, message, _ in world.messages if queue == "batches"])
        world.messages.clear()
    assert sent == [[0], [0, 1], [1, 2], [2, 3]]


def test_more_keys_than_one_request_takes_go_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.batches.BATCH_BYTES", 200)
    world.plant(*(f"projects/p1/scenes/s/media/{number:03}.png" for number in range(10)))
    receipt = world.delete_project()
    assert (receipt["status"], receipt["objects"]) == ("DELETED", 10)
    assert receipt["batches"] > 2


def test_keys_that_json_makes_six_times_as_long_still_fit_into_rows(world: World) -> None:
    world.plant(*(f"projects/p1/scenes/s/media/{number:03}{chr(1) * 900}" for number in range(100)))
    receipt = world.delete_project()
    assert (receipt["status"], receipt["objects"]) == ("DELETED", 100)


def test_a_stores_words_in_another_script_do_not_make_a_result_too_long_for_its_row(world: World) -> None:
    keys = [f"projects/p1/scenes/s/media/{number:030}.png" for number in range(900)]
    world.plant(*keys)
    for key in keys:
        world.store.refuse_delete(key, "AccessDenied", "\u9396" * 200)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["remaining_objects"]) == ("INCOMPLETE", len(keys))


def test_a_store_that_does_not_answer_loses_nothing(world: World) -> None:
    world.upload()
    deletion = world.deletions.request("p1")
    world.deletions.discover(deletion.operation_id, 1, out_of_time=never)
    world.store.fail("delete_many", error=StorageUnavailable("no answer"))
    with pytest.raises(StorageUnavailable):
        world.deletions.work(deletion.operation_id, "batch#01#00000000", out_of_time=never)
    world.pump()
    receipt = world.deletions.receipt(deletion.operation_id)
    assert receipt is not None
    assert receipt["status"] == "DELETED"


def test_versions_and_delete_markers_go_too(world: World) -> None:
    world = versioned(world)
    record = world.upload()
    world.plant(record.key, body=b"newer")
    hidden = "projects/p1/scenes/s/media/hidden.png"
    world.plant(hidden)
    world.store.remove(hidden)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["versions"], receipt["objects"]) == ("DELETED", 4, 2)
    assert [version for version in world.store.list_versions() if not version.key.startswith(".stocktake/")] == []


def test_versions_that_went_while_another_of_their_key_was_refused_are_counted(world: World) -> None:
    world = versioned(world)
    key = OLD_KEYS[0]
    for body in (b"1", b"22", b"333"):
        world.plant(key, body=body)
    oldest = list(world.store.list_versions(key))[-1]
    world.store.refuse_delete(key, "AccessDenied", "locked", version_id=oldest.version_id)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["objects"], receipt["versions"], receipt["bytes"]) == ("INCOMPLETE", 0, 2, 5)
    world.store.allow_delete(key)
    world.deletions.verify(receipt["deletion_id"], out_of_time=never)
    world.pump()
    receipt = receipt_of(world, receipt["deletion_id"])
    assert (receipt["status"], receipt["objects"], receipt["versions"], receipt["bytes"]) == ("DELETED", 1, 3, 6)


def test_a_record_stays_while_a_version_of_its_key_is_refused_though_the_key_takes_several_lines(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake.project_deletion.batches.VERSIONS_AT_ONCE", 2)
    monkeypatch.setattr("stocktake.project_deletion.removal._WHOLE", 1)
    world = versioned(world)
    record = world.upload()
    for body in (b"1", b"22", b"333", b"4444"):
        world.plant(record.key, body=body)
    oldest = list(world.store.list_versions(record.key))[-1]
    world.store.refuse_delete(record.key, "AccessDenied", "locked", version_id=oldest.version_id)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["objects"], receipt["records"], receipt["versions"]) == ("INCOMPLETE", 0, 0, 4)
    assert world.ledger.record(record.key) is not None
    world.store.allow_delete(record.key)
    world.deletions.verify(receipt["deletion_id"], out_of_time=never)
    world.pump()
    receipt = receipt_of(world, receipt["deletion_id"])
    assert (receipt["status"], receipt["objects"], receipt["records"], receipt["versions"]) == ("DELETED", 1, 1, 5)


def test_open_multipart_uploads_are_aborted_and_counted_once(world: World) -> None:
    world.store.plant_multipart_upload("projects/p1/scenes/s/media/big.mp4")
    world.store.plant_multipart_upload("projects/p10/scenes/s/media/big.mp4")
    world.deliveries = 2
    receipt = world.delete_project()
    assert receipt["multipart_uploads_aborted"] == 1
    assert [upload.key for upload in world.store.list_multipart_uploads()] == ["projects/p10/scenes/s/media/big.mp4"]


def test_a_store_that_lists_out_of_order_loses_nothing(world: World) -> None:
    world = world.with_store(MemoryStore("data", now=world.clock, ordering="directory"))
    keys = {f"projects/p1/scenes/{scene}/media/a.png" for scene in ("a", "a-b", "a.b", "ab")}
    world.plant(*keys)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["objects"]) == ("DELETED", 4)
    assert world.bucket_keys() == set()


def test_a_record_newer_than_the_index_said_goes_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record = world.upload()
    real = world.ledger.remove_many

    def stale(entries):  # type: ignore[no-untyped-def]  # stands in for remove_many
        summary = real([])
        return type(summary)(changed=tuple(entry.key for entry in entries))

    monkeypatch.setattr(world.ledger, "remove_many", stale)
    assert world.delete_project()["records"] == 1
    assert world.ledger.record(record.key) is None


def test_an_open_upload_that_is_not_provably_the_projects_is_named_and_not_aborted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.discovery._NEIGHBOURS_AT_ONCE", 1)
    world.uploads.create_project("p1_1", {})
    neighbour = "proj_p1_1_1_m.mp4"  # of p1 or of p1_1
    world.plant(neighbour, "videos/proj_p1/s/a.mp4")
    world.record(neighbour, State.STORED, project_id="p1_1")
    uploads = ["audio/proj_p1/big.mp3", "projects/p1/big.mp4", "projects/p1/scenes/s/media/big.mp4"]
    for key in uploads:
        world.store.plant_multipart_upload(key)
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(SWEEP_DELAY)
    for _ in range(4):
        world.messages.clear()
        world.deletions.sweep(deletion_id, 1, out_of_time=lambda: True)
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"], receipt["multipart_uploads_aborted"]) == ("INCOMPLETE", 1, 1)
    assert [(line["key"], line["bytes"]) for line in receipt["suspects"]] == [(key, 0) for key in uploads[:2]]
    assert receipt["suspects"][0]["why"].startswith("a multipart upload is open under it, and")
    assert [upload.key for upload in world.store.list_multipart_uploads()] == uploads[:2]
    for upload in list(world.store.list_multipart_uploads()):
        world.store.abort_multipart_upload(upload.key, upload.upload_id)
    world.deletions.verify(deletion_id, out_of_time=never)
    world.pump()
    assert receipt_of(world, deletion_id)["status"] == "DELETED"


def test_an_upload_begun_after_discovery_is_aborted_by_the_sweep(world: World) -> None:
    deletion = world.deletions.request("p1")
    world.deletions.discover(deletion.operation_id, 1, out_of_time=never)
    world.store.plant_multipart_upload("projects/p1/scenes/s/media/big.mp4")
    world.messages.popleft()
    world.pump()
    receipt = world.deletions.receipt(deletion.operation_id)
    assert receipt is not None
    assert (receipt["status"], receipt["multipart_uploads_aborted"]) == ("DELETED", 1)
    assert list(world.store.list_multipart_uploads()) == []


@pytest.mark.parametrize("step", ["discover", "verify"])
@pytest.mark.parametrize("later", [0, 1])
def test_a_step_overtaken_by_the_end_of_its_deletion_aborts_no_upload_of_the_project_created_anew(
    world: World, step: str, later: int
) -> None:
    deletion_id = world.deletions.request("p1").operation_id
    if step == "verify":
        deliver_what_is_due(world)
        world.clock.advance(SWEEP_DELAY)
    late = {"deletion_id": deletion_id, "step": step, "round": 1}
    began_at = world.clock()

    def meanwhile(operation: str, key: str | None) -> None:
        if operation == "list_multipart_uploads":
            world.store.on_call = None
            world.deliver("steps", late)
            world.pump()
            world.uploads.create_project("p1", {})
            if not later:
                world.clock.at = began_at  # as a store tells it whose clock goes behind
            world.store.plant_multipart_upload("projects/p1/scenes/s/media/big.mp4")

    world.store.on_call = meanwhile
    world.deliver("steps", late)
    assert world.deletions.operation(deletion_id).status == "DELETED"
    assert len(list(world.store.list_multipart_uploads())) == 1
    assert not list(world.operations.all_parts(deletion_id, "upload#"))


def test_an_upload_begun_while_a_step_looks_is_left_to_the_sweep(world: World) -> None:
    deletion_id = world.deletions.request("p1").operation_id

    def meanwhile(operation: str, key: str | None) -> None:
        if operation == "list_multipart_uploads":
            world.store.on_call = None
            world.clock.advance(1)
            world.store.plant_multipart_upload("projects/p1/scenes/s/media/big.mp4")

    world.store.on_call = meanwhile
    world.deletions.discover(deletion_id, 1, out_of_time=never)
    assert len(list(world.store.list_multipart_uploads())) == 1
    world.pump()
    assert (receipt_of(world, deletion_id)["multipart_uploads_aborted"], list(world.store.list_multipart_uploads())) == (1, [])


def test_a_round_whose_announcement_was_lost_is_announced_again(world: World) -> None:
    record = world.upload()
    world.store.refuse_delete(record.key)
    deletion_id = world.delete_project()["deletion_id"]
    world.store.allow_delete(record.key)
    world.deletions.resume(deletion_id)
    world.messages.clear()  # the message of the next round is lost
    world.deliver("steps", {"deletion_id": deletion_id, "step": "resume"})
    world.pump()
    receipt = world.deletions.receipt(deletion_id)
    assert receipt is not None
    assert receipt["status"] == "DELETED"


@pytest.mark.parametrize("way", ["request", "verify"])
def test_a_sweep_whose_message_was_lost_is_sent_again_once_it_is_overdue(world: World, way: str) -> None:
    def ask() -> None:
        if way == "request":
            world.deletions.request("p1")
        else:
            world.deletions.verify(deletion_id, out_of_time=never)

    world.upload()
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.messages.clear()
    world.clock.at = world.deletions.operation(deletion_id).document["sweep_at"] + SWEEP_OVERDUE_MS
    ask()
    assert not world.messages  # it may be only late
    world.clock.at += 1
    ask()
    world.pump()
    assert receipt_of(world, deletion_id)["status"] == "DELETED"
    ask()
    assert not world.messages


@pytest.mark.parametrize("lost", ["discover", "one batch", "all batches"])
@pytest.mark.parametrize("mode", [DeletionMode.BOTH, DeletionMode.SEQUENTIAL])
def test_what_was_lost_on_its_way_is_sent_again_by_verify_once_it_is_overdue(
    world: World, monkeypatch: pytest.MonkeyPatch, lost: str, mode: DeletionMode
) -> None:
    monkeypatch.setattr("stocktake.project_deletion.batches.BATCH_KEYS", 1)
    monkeypatch.setattr("stocktake.project_deletion.batches.SEQUENTIAL_KEYS", 1)
    for number in range(3):
        world.upload(color=number)
    deletion_id = world.deletions.request("p1", mode=mode).operation_id
    if lost == "discover":
        world.messages.clear()
    else:
        while not any(queue == "batches" for queue, _, _ in world.messages):
            queue, message, _ = world.messages.popleft()
            world.deliver(queue, message)
        world.messages.popleft()
        if lost == "all batches":
            world.messages.clear()
        else:
            deliver_what_is_due(world)
    world.clock.at = world.deletions.operation(deletion_id).document["sweep_at"] + SWEEP_OVERDUE_MS + 1
    world.deletions.verify(deletion_id, out_of_time=never)
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"], receipt["batches"]) == ("DELETED", 3, 3)


def test_a_verification_sends_steps_and_no_batches_which_its_function_may_not(world: World) -> None:
    world.upload()
    deletion_id = world.deletions.request("p1", mode=DeletionMode.SEQUENTIAL).operation_id
    world.deletions.discover(deletion_id, 1, out_of_time=never)
    world.messages.clear()
    world.clock.advance(DAY)
    world.deletions.verify(deletion_id, out_of_time=never)
    assert [queue for queue, _, _ in world.messages] == ["steps"]


def test_sending_again_hands_on_what_it_has_no_time_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.batches.BATCH_KEYS", 1)
    for number in range(3):
        world.upload(color=number)
    deletion_id = world.deletions.request("p1").operation_id
    while not any(queue == "batches" for queue, _, _ in world.messages):
        queue, message, _ = world.messages.popleft()
        world.deliver(queue, message)
    world.messages.clear()
    assert world.deletions.resend(deletion_id, 1, 1, out_of_time=iter([False, True]).__next__) == "REMOVING"
    assert [message.get("part") or message["first"] for _, message, _ in world.messages] == ["batch#01#00000001", 2]
    world.messages.clear()
    assert world.deletions.resend(deletion_id, 2, 0, out_of_time=never) == "REMOVING"
    assert not world.messages  # of a round that is not this one


def test_a_round_that_has_just_begun_is_not_overdue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.upload()
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.at = world.deletions.operation(deletion_id).document["sweep_at"] + SWEEP_OVERDUE_MS + 1
    world.plant("proj_p1_s_late.mp4")
    sweep = world.messages.popleft()
    world.deliver(*sweep[:2])  # finds more, and begins another round
    queue, message, _ = world.messages.popleft()
    world.deliver(queue, message)
    world.messages.clear()
    world.deletions.verify(deletion_id, out_of_time=never)
    assert not world.messages


def test_a_flat_key_of_two_candidates_goes_with_the_project_its_record_names(world: World) -> None:
    world.uploads.create_project("p1_x", {})
    ours, theirs = "proj_p1_x_y_a.mp4", "proj_p1_x_y_b.mp4"
    world.plant(ours, theirs)
    world.record(ours, State.STORED)
    world.record(theirs, State.STORED, project_id="p1_x")
    receipt = world.delete_project()
    assert (receipt["status"], receipt["suspects"]) == ("DELETED", [])
    assert world.bucket_keys() == {theirs}


def test_all_versions_of_a_key_that_only_the_ledger_shows_go_for_good(world: World) -> None:
    world = versioned(world)
    key = "images/session/persona/1703123456789-a.png"
    world.plant(key, body=b"one")
    world.plant(key, body=b"three")
    world.record(key, State.STORED)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["versions"], receipt["bytes"]) == ("DELETED", 2, 8)
    assert [version for version in world.store.list_versions() if version.key == key] == []


def test_more_versions_of_a_key_than_a_row_holds_count_as_one_object(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.batches.VERSIONS_AT_ONCE", 2)
    world = versioned(world)
    for number in range(5):
        world.plant("projects/p1/scenes/s/media/a.png", body=bytes(number))
    receipt = world.delete_project()
    assert (receipt["status"], receipt["objects"], receipt["versions"], receipt["bytes"]) == ("DELETED", 1, 5, 10)


def test_a_receipt_with_more_left_than_it_holds_says_how_much(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.receipts.LIST_BYTES", 1000)
    monkeypatch.setattr("stocktake.project_deletion.remaining.PART_BYTES", 1000)
    keys = [f"projects/p1/unexplained-{number:03}" for number in range(30)]
    world.plant(*keys)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["suspect_objects"]) == ("INCOMPLETE", 30)
    assert 0 < len(receipt["suspects"]) < 30
    assert [line["key"] for line in all_remaining(world, receipt["deletion_id"])] == keys


def test_an_old_batch_delivered_after_the_project_was_created_anew_removes_nothing(world: World) -> None:
    key = "projects/p1/scenes/s/media/a.png"
    world.plant(key)
    old = world.delete_project()
    world.uploads.create_project("p1", {})
    world.plant(key)  # the same key, of the new epoch
    world.deliver("batches", {"deletion_id": old["deletion_id"], "part": "batch#01#00000000"})
    assert world.bucket_keys() == {key}


@pytest.mark.parametrize("killed", [False, True])
def test_a_discovery_overtaken_by_the_end_of_its_deletion_removes_nothing_of_the_project_created_anew(
    world: World, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    world.plant(OLD_KEYS[2])
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(SWEEP_DELAY)
    world.plant(OLD_KEYS[2])
    world.deletions.sweep(deletion_id, 1, out_of_time=never)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(world.operations, "update", crash)  # its batches are written, and how many there are is not
        world.deletions.discover(deletion_id, 2, out_of_time=never)
    finish, made = world.ledger.finish_deletion, []

    def killed_afterwards(*args: Any) -> None:
        finish(*args)
        raise Crash

    def meanwhile(operation: str, key: str | None) -> None:
        # another delivery of the discovery is faster, the deletion ends, and the project is opened again
        if operation == "list":
            world.store.on_call = None
            with monkeypatch.context() as patch, contextlib.suppress(Crash):
                if killed:
                    patch.setattr(world.ledger, "finish_deletion", killed_afterwards)
                world.deletions.discover(deletion_id, 2, out_of_time=never)
                world.pump()
            world.uploads.create_project("p1", {})
            world.plant(LATE_IN_ORDER)
            made.append(LATE_IN_ORDER)

    world.store.on_call = meanwhile
    world.deletions.discover(deletion_id, 2, out_of_time=never)
    world.pump()
    assert (made, world.bucket_keys()) == ([LATE_IN_ORDER], {LATE_IN_ORDER})
    assert world.deletions.operation(deletion_id).status == "DELETED"


def test_a_batch_that_refuses_very_many_versions_still_fits_into_its_result(world: World) -> None:
    world = versioned(world)
    keys = [f"projects/p1/scenes/s/media/{number:03d}{'x' * 100}.png" for number in range(2)]
    for _ in range(1000):
        world.plant(*keys)
    for key in keys:
        world.store.refuse_delete(key, "AccessDenied", "m" * 100)
    receipt = world.delete_project()
    assert (receipt["status"], [line["key"] for line in receipt["remaining"]]) == ("INCOMPLETE", keys)
    assert receipt["refused_objects"] == 2


def test_the_sweep_waits_for_the_last_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.batches.BATCH_KEYS", 1)
    world.plant("projects/p1/scenes/s/media/a.png", "projects/p1/scenes/s/media/b.png")
    deletion = world.deletions.request("p1")
    world.deletions.discover(deletion.operation_id, 1, out_of_time=never)
    world.deletions.work(deletion.operation_id, "batch#01#00000000", out_of_time=never)
    assert [message for _, message, _ in world.messages if message.get("step") == "verify"] == []
    world.deletions.work(deletion.operation_id, "batch#01#00000001", out_of_time=never)
    assert len([message for _, message, _ in world.messages if message.get("step") == "verify"]) == 1


def test_an_unknown_project_or_deletion_is_a_named_error(world: World) -> None:
    with pytest.raises(ProjectNotFound):
        world.deletions.request("nobody")
    with pytest.raises(OperationNotFound):
        world.deletions.receipt("nothing")
    deletion = world.deletions.request("p1")
    with pytest.raises(OperationNotFound, match="batch#01#00000007"):
        world.deletions.work(deletion.operation_id, "batch#01#00000007", out_of_time=never)


def test_a_verification_short_of_time_says_that_it_did_not_see_everything(world: World) -> None:
    deletion_id = world.delete_project()["deletion_id"]
    world.plant("projects/p1/scenes/s/media/after.png")
    assert world.deletions.verify(deletion_id, out_of_time=never)["keys"] == ["projects/p1/scenes/s/media/after.png"]
    assert world.deletions.verify(deletion_id, out_of_time=lambda: True)["complete"] is False


def test_a_receipt_and_a_tombstone_hold_no_personal_data(world: World) -> None:
    world.uploads.create_project("p2", {"customer": "Ada Lovelace"})
    world.upload("p2", metadata={"prompt": "Ada's portrait"})
    receipt = world.delete_project("p2")
    assert "Ada" not in str(receipt)
    assert dict(world.ledger.project("p2").metadata) == {}


def test_a_put_of_a_session_key_after_its_record_went_is_swept_and_counted(world: World) -> None:
    world.plant(session_key())
    world.record(session_key(), State.STORED)
    deletion_id = deletion_met_by_a_late_put(world, session_key())
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["rounds"], receipt["remaining"]) == ("DELETED", 2, [])
    assert objects(receipt, "source") == {"ledger": 1, "named": 1}
    assert objects(receipt, "layout") == {"session": 2}
    assert receipt["by_source"]["named"]["bytes"] == 4
    assert world.bucket_keys() == set()


@pytest.mark.parametrize("way", ["upload", "migration"])
def test_bytes_of_a_session_key_whose_commit_was_refused_are_swept(world: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    place = SessionPlace("ada", "s1")
    inline = world.without_storage().put(an_image(), session_place=place).record if way == "migration" else None
    world.clock.advance(DAY)
    records = world.ledger.project_records

    def lagging(*args: Any, **options: Any) -> Iterator[LedgerEntry]:
        # as an index that does not show yet that the migration touched the record a moment ago
        return (each if inline is None else each._replace(version=1, updated_at=inline.updated_at) for each in records(*args, **options))

    def removed(operation: str, key: str | None) -> None:
        if operation == "put":
            world.store.on_call = None
            world.deletions.request("p1")
            with monkeypatch.context() as patched:
                patched.setattr(world.ledger, "project_records", lagging)
                deliver_what_is_due(world)

    world.store.on_call = removed
    with pytest.raises(ProjectClosed):
        world.upload(session_place=place) if inline is None else world.storing.store(inline.key)
    assert (len(world.bucket_keys()), list(world.ledger.entries())) == (1, [])
    world.pump()
    receipt = receipt_of(world, str(world.ledger.project("p1").deletion_id))
    assert (receipt["status"], objects(receipt, "source"), world.bucket_keys()) == ("DELETED", {"named": 1}, set())


def test_a_put_that_ends_after_the_final_sweep_is_recorded_by_nobody_and_named_by_a_verification(world: World) -> None:
    def deleted(operation: str, key: str | None) -> None:
        if operation == "put":
            world.store.on_call = None
            world.delete_project()

    world.store.on_call = deleted
    with pytest.raises(ProjectClosed):
        world.upload()
    [key] = world.bucket_keys()
    assert world.aligner().align(key).outcome is Outcome.LATE
    checked = world.deletions.verify(str(world.ledger.project("p1").deletion_id), out_of_time=never)
    assert (checked["keys"], world.counts()) == ([key], {})


def test_an_upload_announced_long_ago_whose_bytes_come_late_is_swept_too(world: World) -> None:
    world.record(session_key(), State.PENDING, expires_at=world.clock() + 7 * DAY)
    world.clock.advance(2 * DAY)
    deletion_id = deletion_met_by_a_late_put(world, session_key())
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], objects(receipt, "source")) == ("DELETED", {"named": 1})
    assert world.bucket_keys() == set()


def test_a_late_put_is_swept_with_every_version_of_its_key(world: World) -> None:
    world = versioned(world)
    world.record(session_key(), State.PENDING)
    deletion_id = deletion_met_by_a_late_put(world, session_key(), session_key(), session_key() + "x")
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"], receipt["versions"]) == ("DELETED", 1, 2)
    assert {version.key for version in world.store.list_versions("images/")} == {session_key() + "x"}


def test_only_keys_that_no_prefix_shows_and_a_url_may_still_write_are_asked_for_again(world: World) -> None:
    world.record(session_key(1), State.MISSING)
    world.clock.advance(960_001)
    world.record(session_key(2), State.MISSING)
    world.record("projects/p1/scenes/s/media/clip.mp4", State.PENDING)
    world.deletions.request("p1")
    deliver_what_is_due(world)
    world.store.calls.clear()
    world.pump()
    assert asked_for(world) == [session_key(2)]


def test_a_result_does_not_repeat_the_keys_that_were_listed(world: World) -> None:
    world.upload()
    deletion_id = world.delete_project()["deletion_id"]
    assert list(unsettled(world.operations, deletion_id, rounds=1)) == []


def with_public_urls(world: World) -> World:
    world.public_base_url = "https://media.example"
    return world


def test_a_cdn_is_told_of_the_public_urls_once_their_bytes_are_gone_and_of_late_ones_too(world: World) -> None:
    world = with_public_urls(world)
    odd, late = "projects/p1/scenes/a b/media/é?.png", "projects/p1/scenes/s/media/late.png"
    locked = "projects/p1/scenes/s/media/locked.png"
    world.plant(odd, locked, ".stocktake/quarantine/p1/e")
    world.store.refuse_delete(locked)
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    assert world.cdn.purged == ["https://media.example/projects/p1/scenes/a%20b/media/%C3%A9%3F.png"]
    world.plant(late)
    world.pump()
    assert world.cdn.purged[1:] == [f"https://media.example/{late}"]
    assert receipt_of(world, deletion_id)["cdn"] == {"provider": "listening", "purged": 2, "failed": 0, "failures": []}


@pytest.mark.parametrize("heals", [False, True])
def test_what_a_cdn_did_not_take_is_tried_again_before_the_receipt_and_stands_on_it(world: World, heals: bool) -> None:
    world = with_public_urls(world)
    world.plant(*OLD_KEYS)
    url = f"https://media.example/{OLD_KEYS[0]}"
    world.cdn.refusing.add(url)
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    if heals:
        world.cdn.refusing.clear()
    world.pump()
    receipt = receipt_of(world, deletion_id)
    failures = [] if heals else [{"key": OLD_KEYS[0], "why": "the CDN answered 500"}]
    assert receipt["cdn"] == {"provider": "listening", "purged": 5 - len(failures), "failed": len(failures), "failures": failures}
    assert receipt["status"] == "DELETED"


def test_no_url_is_purged_where_only_presigned_ones_give_objects(world: World) -> None:
    world.plant(*OLD_KEYS)
    assert world.delete_project()["cdn"]["purged"] == 0
    assert world.cdn.purged == []


def test_a_late_object_that_refuses_to_go_is_on_the_receipt_and_goes_when_it_may(world: World) -> None:
    world.record(session_key(), State.PENDING)
    deletion_id = deletion_met_by_a_late_put(world, session_key())
    world.store.refuse_delete(session_key(), "AccessDenied", "the object is locked")
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["rounds"], receipt["objects"]) == ("INCOMPLETE", 3, 0)
    assert [(left["key"], left["why"]) for left in receipt["remaining"]] == [(session_key(), "AccessDenied: the object is locked")]
    world.store.allow_delete(session_key())
    world.deliver("steps", world.dead_letters[0])
    world.pump()
    assert receipt_of(world, deletion_id)["status"] == "DELETED"
    assert world.bucket_keys() == set()


def test_a_late_object_is_left_alone_where_its_key_is_not_provably_the_projects(world: World) -> None:
    world.uploads.create_project("p1_x", {})
    both, theirs_by_key, theirs_by_record = "proj_p1_x_y_a.mp4", "audio/proj_p1_x/s/a.mp3", session_key()
    for key in (both, theirs_by_key, theirs_by_record):
        world.record(key, State.MISSING)
    deletion_id = deletion_met_by_a_late_put(world, both, theirs_by_key, theirs_by_record)
    world.record(theirs_by_record, State.STORED, project_id="p1_x")
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], [suspect["key"] for suspect in receipt["suspects"]], receipt["remaining"]) == ("INCOMPLETE", [both], [])
    assert world.bucket_keys() == {both, theirs_by_key, theirs_by_record}


def test_a_verification_asks_for_keys_that_no_prefix_shows(world: World) -> None:
    world.record(session_key(1), State.PENDING)
    world.record(session_key(2), State.PENDING)
    deletion_id = world.delete_project()["deletion_id"]
    world.plant(session_key(2), body=b"late")
    verified = world.deletions.verify(deletion_id, out_of_time=never)
    assert (verified["complete"], verified["keys"], verified["remaining"]) == (True, [session_key(2)], {"objects": 1, "bytes": 4})
    world.store.remove(session_key(2))
    assert world.deletions.verify(deletion_id, out_of_time=never)["remaining"] == {"objects": 0, "bytes": 0}
    assert world.deletions.verify(deletion_id, out_of_time=lambda: True)["complete"] is False


def test_what_names_keys_expires_and_the_receipt_stays(world: World) -> None:
    world.upload()
    world.plant("projects/p1/unexplained")
    world.store.begin_multipart_upload("projects/p1/scenes/s/media/a.png", content_type="image/png")
    deletion_id = world.delete_project()["deletion_id"]
    rows = {row.part.partition("#")[0]: row for row in world.operations.all_parts(deletion_id)}
    assert set(rows) == {"batch", "result", "upload", "remaining", "receipt"}
    for name, row in rows.items():
        assert (row.expires_at is None) == (name == "receipt"), name
    assert world.deletions.operation(deletion_id).expires_at is None


def with_many_neighbours(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gives p1_2 six keys between those that p1 has under its flat prefix, and has the clock looked at after every second of them."""
    monkeypatch.setattr("stocktake.discovery._NEIGHBOURS_AT_ONCE", 2)
    world.uploads.create_project("p1_2", {})
    theirs = [f"proj_p1_2_s{number}_media.mp4" for number in range(6)]
    world.plant("proj_p1_1_media.mp4", *theirs, "proj_p1_3_media.mp4")
    for key in theirs:
        world.record(key, State.STORED, project_id="p1_2")
    return theirs


def test_a_sweep_past_very_many_neighbours_goes_on_where_its_time_ran_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = with_many_neighbours(world, monkeypatch)
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(960_000)
    world.messages.clear()
    reached = []
    while world.deletions.receipt(deletion_id) is None:
        world.deletions.sweep(deletion_id, 1, out_of_time=lambda: True)
        reached.append(world.deletions.operation(deletion_id).document.get("swept_to"))
    assert reached == [theirs[1], theirs[3], theirs[5], theirs[5]]
    assert receipt_of(world, deletion_id)["status"] == "DELETED"
    assert world.bucket_keys() == set(theirs)


def test_a_discovery_past_very_many_neighbours_goes_on_where_its_time_ran_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = with_many_neighbours(world, monkeypatch)
    deletion_id = world.deletions.request("p1").operation_id
    world.messages.clear()
    for _ in range(6):
        world.deletions.discover(deletion_id, 1, out_of_time=lambda: True)
    document = world.deletions.operation(deletion_id).document
    assert (document["planned"], document["planned_to"]) == (2, theirs[5])
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"]) == ("DELETED", 2)
    assert world.bucket_keys() == set(theirs)


def test_a_discovery_goes_on_where_its_time_ran_out_among_suspects(world: World) -> None:
    suspects = [f"projects/p1/unexplained-{number}" for number in range(3)]
    world.plant(*suspects, "videos/proj_p1/s/a.mp4")
    deletion_id = world.deletions.request("p1").operation_id
    world.messages.clear()
    for key in suspects:
        world.deletions.discover(deletion_id, 1, out_of_time=lambda: True)
        assert world.deletions.operation(deletion_id).document["planned_to"] == key
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"], receipt["suspect_objects"]) == ("INCOMPLETE", 1, 3)


def test_a_dry_run_gets_on_where_its_time_runs_out_among_suspects(world: World) -> None:
    world.plant("projects/p1/unexplained-1", "projects/p1/unexplained-2", "videos/proj_p1/s/a.mp4")
    keys: list[str] = []
    cursor, pages = None, 0
    while True:
        ticks = iter([False])
        page = world.deletions.dry_run("p1", cursor=cursor, out_of_time=lambda: next(ticks, True))  # noqa: B023  # called in this turn
        keys += page["keys"]
        pages += 1
        assert pages <= 3
        if (cursor := page["cursor"]) is None:
            break
    assert (keys, page["complete"]) == (["videos/proj_p1/s/a.mp4"], True)


def test_a_diagnosis_that_had_time_for_nothing_is_not_at_its_end(world: World) -> None:
    world.plant("projects/p1/scenes/s/media/a.png", "projects/p1/scenes/s/media/b.png")
    page = world.deletions.diagnose("p1", limit=10, cursor=None, out_of_time=lambda: True)
    assert [line["key"] for line in page["only_one"]] == ["projects/p1/scenes/s/media/a.png"]
    page = world.deletions.diagnose("p1", limit=10, cursor=page["cursor"], out_of_time=lambda: True)
    assert ([line["key"] for line in page["only_one"]], page["cursor"]) == (["projects/p1/scenes/s/media/b.png"], None)


def test_a_verification_of_an_old_deletion_says_nothing_of_a_later_life_that_is_being_deleted_too(world: World) -> None:
    old = world.delete_project()
    world.uploads.create_project("p1", {})
    world.upload()
    world.deletions.request("p1")
    assert world.deletions.verify(old["deletion_id"], out_of_time=never)["keys"] == []


def test_a_receipt_does_not_wait_for_a_cdn_that_there_is_no_time_to_tell(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.project_deletion.purging._KEYS_AT_ONCE", 2)
    world = replace(world, public_base_url="https://media.example")
    world.plant(*OLD_KEYS)
    world.cdn.refusing = {f"https://media.example/{key}" for key in OLD_KEYS}
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(SWEEP_DELAY)
    world.cdn.refusing.clear()
    ticks = iter([False])
    world.deletions.sweep(deletion_id, 1, out_of_time=lambda: next(ticks, True))
    cdn = receipt_of(world, deletion_id)["cdn"]
    assert (cdn["purged"], cdn["failed"]) == (2, 3)
    assert {failure["why"] for failure in cdn["failures"]} == {"there was no time left to tell the CDN"}


def test_what_a_worker_has_no_time_to_tell_the_cdn_of_is_told_before_the_receipt(world: World) -> None:
    world = replace(world, public_base_url="https://media.example")
    world.plant(*OLD_KEYS)
    deletion_id = world.deletions.request("p1").operation_id
    world.deletions.discover(deletion_id, 1, out_of_time=never)
    world.deletions.work(deletion_id, "batch#01#00000000", out_of_time=lambda: True)
    assert (world.bucket_keys(), world.cdn.purged) == (set(), [])
    world.pump()
    assert (receipt_of(world, deletion_id)["cdn"]["purged"], len(world.cdn.purged)) == (5, 5)


def test_a_further_round_looks_from_the_start_again_whatever_the_one_before_passed_by(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_many_neighbours(world, monkeypatch)
    world.store.refuse_delete("proj_p1_1_media.mp4")
    deletion_id = world.deletions.request("p1").operation_id
    for _ in range(6):
        world.deletions.discover(deletion_id, 1, out_of_time=lambda: True)
    deliver_what_is_due(world)
    world.clock.advance(960_000)
    world.deletions.sweep(deletion_id, 1, out_of_time=never)
    assert world.deletions.operation(deletion_id).document["round"] == 2
    world.store.allow_delete("proj_p1_1_media.mp4")
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"], receipt["rounds"]) == ("DELETED", 2, 2)


def test_a_further_sweep_looks_from_the_start_again_whatever_the_one_before_passed_by(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = with_many_neighbours(world, monkeypatch)
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(SWEEP_DELAY)
    world.messages.clear()
    world.deletions.sweep(deletion_id, 1, out_of_time=lambda: True)
    assert world.deletions.operation(deletion_id).document["swept_to"] > "proj_p1_1_media.mp4"
    world.plant("videos/proj_p1/s/late.mp4")
    world.deletions.sweep(deletion_id, 1, out_of_time=never)
    world.clock.advance(60_000)
    world.messages.clear()
    world.deletions.discover(deletion_id, 2, out_of_time=never)
    world.plant("proj_p1_1_media.mp4")  # before the key that the first sweep came to
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["objects"], receipt["rounds"]) == ("DELETED", 4, 3)
    assert world.bucket_keys() == set(theirs)


@pytest.mark.parametrize("look", ["dry_run", "diagnose", "verify"])
def test_looking_past_very_many_neighbours_says_that_its_time_ran_out(world: World, monkeypatch: pytest.MonkeyPatch, look: str) -> None:
    with_many_neighbours(world, monkeypatch)
    ticks = iter([False, True])  # the key before them was in time

    def late() -> bool:
        return next(ticks, True)

    if look == "verify":
        deletion_id = world.deletions.request("p1").operation_id
        deliver_what_is_due(world)
        assert world.deletions.verify(deletion_id, out_of_time=lambda: True)["complete"] is False
    elif look == "dry_run":
        page = world.deletions.dry_run("p1", out_of_time=late)
        assert (page["complete"], page["keys"]) == (False, ["proj_p1_1_media.mp4"])
        rest = world.deletions.dry_run("p1", cursor=page["cursor"], out_of_time=never)
        assert rest["keys"] == ["proj_p1_3_media.mp4"]
    else:
        page = world.deletions.diagnose("p1", limit=10, cursor=None, out_of_time=late)
        assert [line["key"] for line in page["only_one"]] == ["proj_p1_1_media.mp4"]
        rest = world.deletions.diagnose("p1", limit=10, cursor=page["cursor"], out_of_time=never)
        assert ([line["key"] for line in rest["only_one"]], rest["cursor"]) == (["proj_p1_3_media.mp4"], None)


def test_a_sweep_with_more_names_than_time_asks_for_each_once_and_ends(world: World) -> None:
    names = [session_key(number) for number in range(4)]
    for name in names:
        world.record(name, State.PENDING)
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(960_000)
    world.messages.clear()
    world.store.calls.clear()
    for _ in range(5):
        world.deletions.sweep(deletion_id, 1, out_of_time=lambda: True)
    # the stream looks one ahead
    assert sorted(key for key in asked_for(world) if key) == sorted(names)
    world.pump()
    assert receipt_of(world, deletion_id)["status"] == "DELETED"


def test_a_further_discovery_short_of_time_goes_on_where_it_stopped_asking(world: World) -> None:
    names = [session_key(number) for number in range(4)]
    for name in names:
        world.record(name, State.PENDING)
    deletion_id = deletion_met_by_a_late_put(world, names[0], names[3])
    world.clock.advance(960_000)
    world.messages.clear()
    world.deletions.sweep(deletion_id, 1, out_of_time=never)
    world.messages.clear()
    for _ in range(5):
        world.deletions.discover(deletion_id, 2, out_of_time=lambda: True)
    assert world.deletions.operation(deletion_id).document["planned"] == 4
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], objects(receipt, "source")) == ("DELETED", {"named": 2})


def test_names_of_all_rounds_come_in_key_order_and_once(world: World) -> None:
    rows = {
        "result#01#00000000": ["a", "d"],
        "result#01#00000001": ["f"],
        "result#02#00000000": ["b", "d", "g"],
        "result#03#00000000": ["c"],
    }
    for part, keys in rows.items():
        document = {"unsettled": [[key, key == "d"] for key in keys]}
        world.operations.put_new("deletion", part, None, document, created_at=1, status="")
    assert [name.key for name in unsettled(world.operations, "deletion", rounds=3)] == ["a", "b", "c", "d", "f", "g"]
    assert list(unsettled(world.operations, "deletion", rounds=1, after="a")) == [Named("d", announced=True), Named("f", announced=False)]


def test_a_multipart_upload_under_a_key_that_no_prefix_shows_is_aborted_and_counted_once(world: World) -> None:
    world.record(session_key(), State.PENDING)
    world.store.plant_multipart_upload(session_key())
    world.store.plant_multipart_upload(session_key() + "x")  # another's, whose key begins with ours
    world.deliveries = 2
    assert world.delete_project()["multipart_uploads_aborted"] == 1
    assert [upload.key for upload in world.store.list_multipart_uploads()] == [session_key() + "x"]


def test_a_multipart_upload_begun_after_its_record_went_is_aborted_by_the_sweep(world: World) -> None:
    world.record(session_key(), State.PENDING)
    deletion_id = deletion_met_by_a_late_put(world)
    world.store.plant_multipart_upload(session_key())
    world.pump()
    receipt = receipt_of(world, deletion_id)
    assert (receipt["status"], receipt["rounds"], receipt["multipart_uploads_aborted"]) == ("DELETED", 1, 1)
    assert list(world.store.list_multipart_uploads()) == []


def test_only_for_an_intent_that_no_prefix_shows_are_uploads_asked_for_by_key(world: World) -> None:
    world.record(session_key(), State.STORED)
    world.record("projects/p1/scenes/s/media/clip.mp4", State.PENDING)
    world.delete_project()
    asked = [key for operation, key in world.store.calls if operation == "list_multipart_uploads" and key]
    assert [key for key in asked if not key.endswith(("/", "_"))] == []


def test_versions_under_the_key_of_an_inline_record_go_too(world: World) -> None:
    world = versioned(world)
    world.plant(session_key())
    world.record(session_key(), State.INLINE)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["versions"], receipt["rounds"]) == ("DELETED", 1, 1)
    assert list(world.store.list_versions("images/")) == []


def test_what_a_killed_migration_put_for_an_inline_record_goes_too(world: World) -> None:
    world.plant(session_key())
    world.record(session_key(), State.INLINE)
    world.clock.advance(DAY)
    receipt = world.delete_project()
    assert (receipt["status"], receipt["by_source"], receipt["inline"]) == (
        "DELETED",
        {"ledger": {"objects": 1, "bytes": 8}},
        {"objects": 1, "bytes": 5},
    )
    assert world.bucket_keys() == set()


def test_a_verification_names_open_uploads_as_the_receipt_does(world: World) -> None:
    world.store.plant_multipart_upload("projects/p1/unexplained")
    receipt = world.delete_project()
    assert [suspect["key"] for suspect in receipt["suspects"]] == ["projects/p1/unexplained"]
    world.store.plant_multipart_upload(OLD_KEYS[0])
    checked = world.deletions.verify(receipt["deletion_id"], out_of_time=never)
    assert (checked["suspect_objects"], checked["remaining"]["objects"]) == (2, 0)
    assert checked["suspects"] == [
        receipt["suspects"][0],
        {"key": OLD_KEYS[0], "bytes": 0, "why": "a multipart upload is open under it, and it is the project's"},
    ]


def test_a_dry_run_and_a_verification_abort_nothing(world: World) -> None:
    world.record(session_key(), State.PENDING)
    world.store.plant_multipart_upload(session_key())
    world.deletions.dry_run("p1", out_of_time=never)
    deletion_id = world.deletions.request("p1").operation_id
    world.deletions.verify(deletion_id, out_of_time=never)
    assert [upload.key for upload in world.store.list_multipart_uploads()] == [session_key()]


def operations_of(world: World, stem: str) -> list[str]:
    """Begins what requests of a project leave behind, and returns the ids."""
    made = [f"{kind}-{stem}" for kind in ("generation", "idempotency", "multipart")]
    for operation_id in made:
        kind = f"{operation_id.split('-')[0]}#{stem}"
        world.operations.put(operation_id, "", kind, {"prompt": "Ada's portrait"}, created_at=world.clock(), status="DONE")
        world.operations.put(operation_id, "output#1", None, {"key": "k"}, created_at=world.clock(), status="DONE")
    return made


def left_of(world: World, operation_ids: list[str]) -> list[str]:
    return [made for made in operation_ids if world.operations.get(made) or list(world.operations.all_parts(made))]


def test_a_deletion_leaves_nothing_of_what_requests_said(world: World) -> None:
    world.uploads.create_project("p10", {})
    ours, theirs = operations_of(world, "p1"), operations_of(world, "p10")
    world.uploads.create_project("proj_p2", {})
    spelled_otherwise = operations_of(world, "p2")
    assert world.delete_project("proj_p1")["status"] == "DELETED"
    assert world.delete_project("proj_p2")["status"] == "DELETED"
    assert left_of(world, [*ours, *spelled_otherwise]) == []
    assert left_of(world, theirs) == theirs


def test_a_deletion_that_ends_incomplete_leaves_no_prompts_either(world: World) -> None:
    world.plant("projects/p1/unexplained")
    made = operations_of(world, "p1")
    assert world.delete_project()["status"] == "INCOMPLETE"
    assert left_of(world, made) == []


def test_a_sweep_short_of_time_forgets_one_by_one_and_says_deleted_only_then(world: World) -> None:
    made = operations_of(world, "p1")
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(960_000)
    for number in range(1, 4):
        world.messages.clear()
        world.deletions.sweep(deletion_id, 1, out_of_time=lambda: True)
        assert len(left_of(world, made)) == 3 - number
        assert world.deletions.receipt(deletion_id) is None
        assert world.ledger.project("p1").state is ProjectState.DELETING
    world.pump()
    assert receipt_of(world, deletion_id)["status"] == "DELETED"


@pytest.mark.parametrize("killed", [False, True])
def test_a_sweep_overtaken_by_another_leaves_the_project_created_anew_alone(world: World, killed: bool) -> None:
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(960_000)
    of_kind, finish, made = world.operations.of_kind, world.ledger.finish_deletion, []

    def killed_afterwards(*args: Any) -> None:
        finish(*args)
        raise Crash

    def meanwhile(kind: str) -> Any:
        # another delivery of the sweep ends the deletion, and the project is opened again, while this one has only begun
        world.operations.of_kind = of_kind  # type: ignore[method-assign]  # stands in for of_kind once
        if killed:
            world.ledger.finish_deletion = killed_afterwards  # type: ignore[assignment,method-assign]  # stands in for it
        with contextlib.suppress(Crash):
            world.deletions.sweep(deletion_id, 1, out_of_time=never)
        world.ledger.finish_deletion = finish  # type: ignore[method-assign]  # the one it had
        world.clock.advance(1)
        world.uploads.create_project("p1", {})
        made.extend(operations_of(world, "p1"))
        made.append(world.upload().key)
        return of_kind(kind)

    world.operations.of_kind = meanwhile  # type: ignore[method-assign]  # stands in for of_kind
    world.deletions.sweep(deletion_id, 1, out_of_time=never)
    world.pump()
    assert left_of(world, made[:3]) == made[:3]
    assert world.bucket_keys() == {made[3]}
    assert world.deletions.operation(deletion_id).status == "DELETED"


def test_a_sweep_killed_as_the_project_was_finished_leaves_the_project_created_anew_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletion_id = world.deletions.request("p1").operation_id
    deliver_what_is_due(world)
    world.clock.advance(960_000)
    real = world.ledger.finish_deletion

    def killed(*args: Any) -> None:
        real(*args)
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(world.ledger, "finish_deletion", killed)
        world.deletions.sweep(deletion_id, 1, out_of_time=never)
    world.uploads.create_project("p1", {})
    record = world.upload()
    world.store.plant_multipart_upload("projects/p1/scenes/s/media/big.mp4")
    world.pump()
    assert world.deletions.operation(deletion_id).status == "DELETED"
    assert world.bucket_keys() == {record.key}
    assert len(list(world.store.list_multipart_uploads())) == 1


@pytest.mark.parametrize("step", range(0, 171, 9))
def test_a_deletion_of_session_keys_killed_at_any_call_ends_with_the_same_receipt(world: World, step: int) -> None:
    for number in range(2):
        world.plant(session_key(number))
        world.record(session_key(number), State.STORED)
    world.record(session_key(2), State.PENDING)
    world.store.plant_multipart_upload(session_key(2))
    made = operations_of(world, "p1")
    calls = 0

    def kill(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise Crash

    def late(*args: Any, **kwargs: Any) -> Any:
        written = put_once(*args, **kwargs)
        if world.deletions.operation(deletion_id).document["round"] == 1:
            world.plant(session_key(0), session_key(2))
        return written

    deletion_id = world.deletions.request("p1").operation_id
    put_once = world.operations.put_once_and_count
    world.operations.put_once_and_count = late  # type: ignore[method-assign]  # a PUT that comes as soon as the records are gone
    world.store.on_call = kill
    for name in ("put", "put_new", "put_once_and_count", "update", "remove"):
        _kill_around(world.operations, name, kill)
    for name in ("remove_many", "finish_deletion"):
        _kill_around(world.ledger, name, kill)
    while world.messages:
        queue, message, visible_at = world.messages[0]
        world.clock.at = max(world.clock.at, visible_at)
        with contextlib.suppress(Crash):
            world.deliver(queue, message)
            world.messages = deque(sent for sent in world.messages if sent is not world.messages[0])
    world.store.on_call = None
    receipt = receipt_of(world, deletion_id)
    assert calls > step  # the last steps of this test kill the last calls
    assert (receipt["status"], receipt["records"], receipt["rounds"]) == ("DELETED", 3, 2)
    assert objects(receipt, "source") == {"ledger": 2, "named": 2}
    removed = [session_key(number) for number in (0, 0, 1, 2)]
    assert receipt["removed_keys_sha256"]["all"] == sha256_of(*removed)
    assert receipt["multipart_uploads_aborted"] == 1
    assert (world.bucket_keys(), list(world.ledger.entries()), left_of(world, made)) == (set(), [], [])
