from __future__ import annotations

from typing import Any

import pytest

from stocktake.errors import LedgerRestored, ProjectExists, StorageError
from stocktake.layouts import build_session
from stocktake.model import DeletionMode, ProjectState, State
from tests.unit.ledger.builders import Deployment
from tests.unit.world import World, never


class Backup:
    """All rows of the tables as they were at one time, and the way back to them."""

    def __init__(self, deployment: Deployment) -> None:
        self._client = deployment.tables.client
        models = (deployment.tables.objects, deployment.tables.projects, deployment.tables.operations)
        self._rows = {model.Meta.table_name: self._scan(model.Meta.table_name) for model in models}

    def restore(self) -> None:
        for table, rows in self._rows.items():
            keys = [row["AttributeName"] for row in self._client.describe_table(TableName=table)["Table"]["KeySchema"]]
            for row in self._scan(table):
                self._client.delete_item(TableName=table, Key={name: row[name] for name in keys})
            for row in rows:
                self._client.put_item(TableName=table, Item=row)

    def _scan(self, table: str) -> list[Any]:
        return list(self._client.scan(TableName=table)["Items"])


def tombstone_files(world: World) -> list[str]:
    return sorted(world.operations_bucket.keys())


def test_a_tombstone_is_written_before_the_receipt_and_names_no_caller(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    put_new = world.operations.put_new

    def watched(operation_id: str, part: str, *args: Any, **kwargs: Any) -> bool:
        if part.startswith("receipt#"):
            seen.append(tombstone_files(world))
        return put_new(operation_id, part, *args, **kwargs)

    monkeypatch.setattr(world.operations, "put_new", watched)
    world.upload()
    receipt = world.delete_project()
    assert seen == [[f"tombstones/999999999999-{receipt['deletion_id']}.json"]]
    content = world.operations_bucket.get(seen[0][0])
    assert content is not None
    assert b'"epoch": 2' in content.body


def test_what_an_incomplete_deletion_removed_stays_removed_after_a_restore(world: World, deployment: Deployment) -> None:
    world.upload()
    stays = world.upload(color=1)
    backup = Backup(deployment)
    world.store.refuse_delete(stays.key)
    assert world.delete_project()["status"] == "INCOMPLETE"
    backup.restore()
    with pytest.raises(LedgerRestored):
        world.deletions.request("p1")
    (begun,) = world.deletions.replay(out_of_time=never)["replayed"]
    world.store.allow_delete(stays.key)
    world.pump()
    receipt = world.deletions.receipt(begun["deletion_id"])
    assert receipt is not None
    assert (receipt["status"], receipt["objects"], receipt["records"]) == ("INCOMPLETE", 0, 2)
    assert [left["key"] for left in receipt["remaining"]] == [stays.key]
    assert "mode both" in receipt["remaining"][0]["why"]
    assert list(world.ledger.entries()) == []
    world.deletions.request("p1", mode=DeletionMode.BOTH)
    world.pump()
    receipt = world.deletions.receipt(begun["deletion_id"])
    assert receipt is not None
    assert (receipt["status"], receipt["objects"], world.bucket_keys()) == ("DELETED", 1, set())


def test_a_restored_ledger_stops_deletions_and_repairs_until_what_was_erased_is_erased_again(world: World, deployment: Deployment) -> None:
    world.uploads.create_project("p2", {})
    neighbour = world.upload("p2")
    world.uploads.create_project("p3", {"customer": "Ada"})
    run_id = world.reconcile()
    world.upload("p1", color=1)
    backup = Backup(deployment)
    world.delete_project("p1")
    world.delete_project("p3")
    backup.restore()
    assert world.ledger.project("p1").state is ProjectState.ACTIVE

    before = world.every_key()
    with pytest.raises(LedgerRestored, match="knows 0 erasures and the operations bucket 2"):
        world.deletions.request("p2")
    with pytest.raises(LedgerRestored):
        world.repairs().request(run_id, {"missing": "mark_missing"}, out_of_time=never)
    assert (world.every_key(), world.ledger.project("p2").state) == (before, ProjectState.ACTIVE)

    dry = world.deletions.replay(dry_run=True, out_of_time=never)
    assert {line["project_id"] for line in dry["replayed"]} == {"p1", "p3"}
    assert (dry["dry_run"], dry["tombstones"], world.ledger.project("p1").state) == (True, 2, ProjectState.ACTIVE)
    with pytest.raises(LedgerRestored):
        world.deletions.request("p2")

    answer = world.deletions.replay(out_of_time=never)
    assert (answer["complete"], answer["tombstones"]) == (True, 2)
    assert {line["project_id"] for line in answer["replayed"]} == {"p1", "p3"}
    assert world.ledger.project("p1").state is ProjectState.DELETING  # closed at once
    world.pump()
    for line in answer["replayed"]:
        receipt = world.deletions.receipt(line["deletion_id"])
        assert receipt is not None
        assert (receipt["status"], receipt["mode"], receipt["objects"]) == ("DELETED", "ledger", 0)
    assert [entry.key for entry in world.ledger.entries()] == [neighbour.key]
    assert dict(world.ledger.project("p3").metadata) == {}
    assert world.deletions.replay(out_of_time=never) == {"dry_run": False, "complete": True, "tombstones": 0, "replayed": []}
    assert world.delete_project("p2")["status"] == "DELETED"


def test_a_replay_removes_bytes_that_a_restore_brought_back_into_the_ledger(world: World, deployment: Deployment) -> None:
    inline = world.record("projects/p1/scenes/s/media/a.png", State.INLINE)
    backup = Backup(deployment)
    world.delete_project()
    backup.restore()
    assert world.ledger.content(inline) is not None
    [line] = world.deletions.replay(out_of_time=never)["replayed"]
    world.pump()
    receipt = world.deletions.receipt(line["deletion_id"])
    assert receipt is not None
    assert (receipt["status"], receipt["inline"]) == ("DELETED", {"objects": 1, "bytes": inline.size})
    assert (world.ledger.content(inline), world.ledger.record(inline.key)) == (None, None)


def test_a_replay_deletes_no_object_that_only_the_bucket_knows(world: World, deployment: Deployment) -> None:
    world.upload()
    backup = Backup(deployment)
    world.delete_project()
    world.uploads.create_project("p1", {})
    anew = world.upload(color=9)
    backup.restore()  # the record of what was uploaded into the project created anew is lost
    [line] = world.deletions.replay(out_of_time=never)["replayed"]
    world.pump()
    receipt = world.deletions.receipt(line["deletion_id"])
    assert receipt is not None
    assert (receipt["status"], [left["key"] for left in receipt["remaining"]]) == ("INCOMPLETE", [anew.key])
    assert world.bucket_keys() == {anew.key}


OLD_KEY = "projects/p1/scenes/s/media/a.png"
"""Of an older layout: whoever wrote it once may write it again."""


@pytest.mark.parametrize("key", [OLD_KEY, build_session("s1", "ada", f"{7:026d}", "png")], ids=["listed", "under no prefix"])
def test_a_replay_deletes_no_object_of_the_project_created_anew_whose_key_a_record_names(
    world: World, deployment: Deployment, key: str
) -> None:
    world.plant(key, body=b"first life")
    world.record(key, State.STORED)
    backup = Backup(deployment)
    world.delete_project()
    world.uploads.create_project("p1", {})
    world.plant(key, body=b"second life")
    upload = world.store.begin_multipart_upload(f"{OLD_KEY}.mp4", content_type="video/mp4", cache_control=None)
    backup.restore()
    [line] = world.deletions.replay(out_of_time=never)["replayed"]
    world.pump()
    receipt = world.deletions.receipt(line["deletion_id"])
    assert receipt is not None
    assert (receipt["status"], receipt["objects"], receipt["records"]) == ("INCOMPLETE", 0, 1)
    assert [left["key"] for left in receipt["remaining"]] == [key]
    assert [left["key"] for left in receipt["suspects"]] == [f"{OLD_KEY}.mp4"]
    content = world.store.get(key)
    assert content is not None
    assert (content.body, [each.upload_id for each in world.store.list_multipart_uploads()]) == (b"second life", [upload])
    assert list(world.ledger.entries()) == []


def test_a_project_whose_records_a_replay_has_removed_can_be_opened_anew_whatever_lies_in_the_bucket(
    world: World, deployment: Deployment
) -> None:
    world.upload()
    backup = Backup(deployment)
    world.delete_project()
    world.uploads.create_project("p1", {})
    anew = world.upload(color=9)
    backup.restore()
    [line] = world.deletions.replay(out_of_time=never)["replayed"]
    world.pump()
    assert world.deletions.operation(line["deletion_id"]).status == "INCOMPLETE"
    world.intents.forget("p1")
    world.uploads.create_project("p1", {})
    again = world.upload(color=10)
    world.deletions.verify(line["deletion_id"], out_of_time=never)
    world.deletions.resume(line["deletion_id"])
    world.pump()
    assert world.bucket_keys() == {anew.key, again.key}
    assert world.ledger.record(again.key) is not None


def test_what_a_replay_left_goes_when_its_project_is_deleted_again_in_another_mode(world: World, deployment: Deployment) -> None:
    world.upload()
    backup = Backup(deployment)
    world.delete_project()
    world.plant(OLD_KEY)
    backup.restore()
    world.deletions.replay(out_of_time=never)
    world.pump()
    deletion = world.deletions.request("p1", mode=DeletionMode.BOTH)
    with pytest.raises(ProjectExists):  # while it goes on
        world.uploads.create_project("p1", {})
    world.pump()
    assert (world.deletions.operation(deletion.operation_id).status, world.bucket_keys()) == ("DELETED", set())
    assert world.ledger.project("p1").state is ProjectState.DELETED


def test_a_batch_of_before_a_restore_that_comes_during_the_replay_removes_nothing(world: World, deployment: Deployment) -> None:
    world.plant(OLD_KEY, body=b"first life")
    deletion_id = world.deletions.request("p1").operation_id
    queue, message, _ = world.messages.popleft()
    world.deliver(queue, message)
    [(_, batch, _)] = world.messages
    backup = Backup(deployment)
    world.pump()
    world.uploads.create_project("p1", {})
    world.plant(OLD_KEY, body=b"second life")
    backup.restore()
    assert world.deletions.replay(out_of_time=never)["replayed"][0]["deletion_id"] == deletion_id
    world.deliver("batches", batch)
    world.pump()
    world.deliver("batches", batch)
    assert world.bucket_keys() == {OLD_KEY}


def test_a_deletion_that_was_restored_half_done_is_gone_on_with(world: World, deployment: Deployment) -> None:
    record = world.upload()
    deletion_id = world.deletions.request("p1").operation_id
    queue, message, _ = world.messages.popleft()
    world.deliver(queue, message)  # planned, and nothing removed yet
    backup = Backup(deployment)
    world.pump()
    backup.restore()
    assert world.ledger.record(record.key) is not None
    with pytest.raises(LedgerRestored):
        world.deletions.sweep(deletion_id, 1, out_of_time=never)
    with pytest.raises(LedgerRestored):
        world.deletions.work(deletion_id, "batch#01#00000000", out_of_time=never)
    [line] = world.deletions.replay(out_of_time=never)["replayed"]
    assert line["deletion_id"] == deletion_id
    world.pump()
    receipt = world.deletions.receipt(deletion_id)
    assert receipt is not None
    assert (receipt["status"], world.ledger.record(record.key)) == ("DELETED", None)


def test_a_replay_short_of_time_lets_nothing_go_on_and_is_said_again(world: World, deployment: Deployment) -> None:
    backup = Backup(deployment)
    world.delete_project()
    backup.restore()
    assert world.deletions.replay(out_of_time=lambda: True)["complete"] is False
    with pytest.raises(LedgerRestored):
        world.deletions.request("p1")
    first = world.deletions.replay(out_of_time=never)["replayed"]
    assert len(first) == 1
    assert world.deletions.request("p1").operation_id == first[0]["deletion_id"]


def test_a_replay_that_is_not_through_stays_frozen_though_the_deletions_it_began_have_ended(world: World, deployment: Deployment) -> None:
    for project in ("p2", "p3"):
        world.uploads.create_project(project, {})
        world.upload(project)
    backup = Backup(deployment)
    for project in ("p1", "p2", "p3"):
        world.delete_project(project)
    backup.restore()
    ticks = iter([False])
    first = world.deletions.replay(out_of_time=lambda: next(ticks, True))
    assert (first["complete"], [line["project_id"] for line in first["replayed"]]) == (False, ["p3"])
    world.pump()  # its tombstone is written, and the others are still to be replayed
    with pytest.raises(LedgerRestored):
        world.deletions.request("p2")
    rest = world.deletions.replay(out_of_time=never)
    assert (rest["complete"], {line["project_id"] for line in rest["replayed"]}) == (True, {"p1", "p2"})
    world.pump()
    assert list(world.ledger.entries()) == []
    assert world.deletions.replay(out_of_time=never)["tombstones"] == 0


def test_a_project_of_a_later_epoch_is_not_the_one_that_was_erased(world: World) -> None:
    world.delete_project()
    world.uploads.create_project("p1", {})
    record = world.record("projects/p1/scenes/s/media/a.png", State.STORED)
    world.operations.put("settings", "tombstones", None, {}, created_at=0, status="")
    world.operations.add("settings", "tombstones", "written", -1)
    assert world.deletions.replay(out_of_time=never) == {"dry_run": False, "complete": True, "tombstones": 1, "replayed": []}
    assert world.ledger.record(record.key) is not None


def test_a_strange_file_among_the_tombstones_is_named_and_stops_deletions(world: World) -> None:
    world.operations_bucket.plant("tombstones/0-notes.txt")
    world.operations_bucket.plant("tombstones/!notes")
    with pytest.raises(StorageError, match="!notes"):
        world.tombstones.check()
