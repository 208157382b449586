"""Existing records in, unstored ones into the bucket, the ledger out: exact, whatever is killed, doubled, stopped and begun again."""

from __future__ import annotations

import hashlib
import itertools
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from stocktake.errors import (
    Conflict,
    InvalidRequest,
    LedgerError,
    OperationNotFound,
    ProjectNotFound,
    StorageDisabled,
    StorageUnavailable,
    UploadIncomplete,
)
from stocktake.ids import new_id
from stocktake.importing import Fetched, Fetcher
from stocktake.ledger.operations import cursor_of
from stocktake.migration.entries import NewMigration, Source
from stocktake.model import Announced, Quota, Record, State
from stocktake.storage.memory import MemoryStore
from tests.unit.killing import killed_at
from tests.unit.ledger.builders import Deployment, no_answer
from tests.unit.world import HOUR, Crash, World, an_image, never

URL = "https://images.example.com/a.png"
KEY = "projects/p1/scenes/s/media/a.png"


class FakeFetcher(Fetcher):
    """Gives one file, whatever is asked for, or raises."""

    def __init__(self, body: bytes | Exception) -> None:
        super().__init__(hosts=("*",), max_bytes=10**6, seconds=1)
        self.body = body
        self.asked: list[str] = []

    def fetch(self, url: str) -> Fetched:
        self.asked.append(url)
        if isinstance(self.body, Exception):
            raise self.body
        return Fetched(self.body, "image/png", url)


def a_line(color: int = 0, **fields: Any) -> dict[str, Any]:
    """Makes a line; with a url or a key it has no content."""
    content = {} if {"url", "key", "data_url"} & set(fields) else {"content_base64": b64encode(an_image(color)).decode()}
    return {"project_id": "p1", **content, **fields}


def file_of(*lines: Mapping[str, Any] | str) -> bytes:
    return b"".join((line if isinstance(line, str) else json.dumps(line)).encode() + b"\n" for line in lines)


def imported(
    world: World, *lines: Mapping[str, Any] | str, pump: bool = True, form: Any = "jsonl", body: bytes | None = None, **asked: Any
) -> str:
    """Asks for a migration of these lines, puts the file as the answer says, starts it, and returns its id."""
    body = file_of(*lines) if body is None else body
    new = NewMigration(Source(form, len(body), hashlib.sha256(body).hexdigest()), **asked)
    operation = world.migrations.request(new)
    upload = world.migrations.upload(operation)
    assert upload is not None
    assert world.files.fetch(upload, body).status == 200
    world.migrations.start(operation.operation_id)
    if pump:
        world.pump()
    return operation.operation_id


def totals(world: World, migration_id: str) -> dict[str, dict[str, int]]:
    """Returns the numbers of a run by phase, without those that are 0."""
    by_phase = world.migrations.totals(world.migrations.operation(migration_id))
    return {phase: {name: number for name, number in numbers.items() if number} for phase, numbers in by_phase.items()}


def problems(world: World, migration_id: str) -> list[str]:
    """Returns the types of the problems of a run, in order."""
    page, cursor = world.migrations.results(migration_id, "failed", 500, None)
    assert cursor is None
    return [result["problem"].removeprefix("urn:stocktake:problem:") for result in page]


def status(world: World, migration_id: str) -> str:
    return world.migrations.operation(migration_id).status


def record_of(world: World, key: str) -> Record:
    record = world.ledger.record(key)
    assert record is not None
    return record


def with_fetcher(world: World, body: bytes | Exception) -> World:
    return replace(world, fetcher=FakeFetcher(body))


def an_external(world: World, **fields: Any) -> Record:
    """Imports a URL and leaves it where it is."""
    imported(world, a_line(url=URL, id="external", **fields))
    [entry] = [entry for entry in world.ledger.entries() if entry.state is State.EXTERNAL]
    return record_of(world, entry.key)


# ---- every kind of line


def test_lines_of_every_kind_are_imported_migrated_and_counted(world: World) -> None:
    world.plant(KEY, body=an_image(9))
    migration_id = imported(
        world,
        a_line(1, id="one", metadata={"n": 1.0}, created_at="2024-01-01", file_name="one.png"),
        {"project_id": "proj_p1", "data_url": f"data:image/png;base64,{b64encode(an_image(2)).decode()}"},
        a_line(url=URL),
        a_line(key=KEY, id="four", metadata={"old": True}, created_at=5),
        "{broken",
        a_line(key="projects/p1/scenes/s/media/none.png"),
        a_line(3, project_id="p9"),
        {"project_id": "p1", "content_base64": "AAAA"},
        a_line(4, colour="red"),
    )
    assert status(world, migration_id) == "COMPLETE"
    size = len(an_image(1)) + len(an_image(2))
    assert totals(world, migration_id) == {
        "import": {"seen": 9, "done": 4, "failed": 5, "bytes": size + len(an_image(9)), "inline": 2, "external": 1, "key": 1},
        "migrate": {"seen": 4, "done": 2, "failed": 1, "skipped": 1, "bytes": size},
    }
    assert problems(world, migration_id) == [
        "invalid-request",
        "object-missing",
        "project-not-found",
        "unsupported-type",
        "invalid-request",
        "import-disabled",
    ]
    assert world.counts() == {"STORED": (3, size + len(an_image(9))), "EXTERNAL": (1, 0)}
    assert world.tells_one_story()
    [one] = [record for record in world.serving.page("p1", 10, None)[0] if record.file_name == "one.png"]
    assert (one.metadata, one.created_at, one.source, one.width) == ({"n": 1.0}, 1_704_067_200_000, "migration", 8)
    assert (world.bytes_of(one), world.ledger.content(one)) == (an_image(1), None)
    adopted = record_of(world, KEY)
    assert (adopted.metadata, adopted.created_at, adopted.layout) == ({"old": True}, 5, "hierarchical")


def test_csv_brings_the_same(world: World) -> None:
    world.plant(KEY, body=an_image(9))
    body = f'project_id,key,url,metadata,id\np1,{KEY},,"{{""n"": 1}}",a\np1,,{URL},,b\np1,,,,c\n'.encode()
    migration_id = imported(world, form="csv", body=body)
    assert totals(world, migration_id)["import"] == {"seen": 3, "done": 2, "failed": 1, "bytes": len(an_image(9)), "external": 1, "key": 1}
    assert record_of(world, KEY).metadata == {"n": 1}


def test_a_csv_file_with_a_column_that_is_not_known_fails_whole_and_says_which(world: World) -> None:
    migration_id = imported(world, form="csv", body=b"project_id,colour\np1,red\n")
    operation = world.migrations.operation(migration_id)
    assert (operation.status, "colour" in operation.document["why"], totals(world, migration_id)["import"]) == ("FAILED", True, {})


def test_what_is_too_large_for_the_ledger_goes_straight_into_the_bucket(world: World) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><desc>' + b"a" * 2000 + b"</desc></svg>"
    migration_id = imported(world, {"project_id": "p1", "content_base64": b64encode(svg).decode()})
    assert totals(world, migration_id)["import"]["done"] == 1
    assert world.counts() == {"STORED": (1, len(svg))}
    assert world.tells_one_story()


def test_projects_are_made_only_where_that_was_asked(world: World) -> None:
    lines = [a_line(number, project_id="p7") for number in range(4)]
    assert problems(world, imported(world, *lines)) == ["project-not-found"] * 4
    migration_id = imported(world, *lines, a_line(project_id="proj_"), create_projects=True)
    assert totals(world, migration_id)["import"]["done"] == 4
    assert problems(world, migration_id) == ["invalid-key"]
    assert world.counts("p7") == {"STORED": (4, 4 * len(an_image()))}


def test_lines_of_another_project_than_the_one_asked_for_are_skipped(world: World) -> None:
    world.uploads.create_project("p2", {})
    migration_id = imported(world, a_line(1), a_line(2, project_id="p2"), project_id="proj_p1")
    assert totals(world, migration_id)["import"]["skipped"] == 1
    assert (world.counts("p1"), world.counts("p2")) == ({"STORED": (1, len(an_image(1)))}, {})


def test_a_closed_project_and_a_full_one_take_nothing(world: World) -> None:
    world.uploads.create_project("p2", {}, Quota(objects=1))
    world.uploads.create_project("p3", {})
    world.delete_project("p3")
    migration_id = imported(world, a_line(1, project_id="p2"), "", a_line(2, project_id="p2"), a_line(3, project_id="p3"), batch=1)
    assert problems(world, migration_id) == ["quota-exceeded", "project-closed"]
    assert world.counts("p2") == {"STORED": (1, len(an_image(1)))}


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("projects/p2/scenes/s/media/a.png", "conflict"),
        ("loose/file.png", "invalid-key"),
        (".stocktake/identity.json", "invalid-key"),
        (".stocktake/quarantine/p1/e", "invalid-key"),
        ("proj_p2_s_a.png", "conflict"),
    ],
)
def test_a_key_of_another_project_or_of_nobody_is_never_adopted(world: World, key: str, problem: str) -> None:
    world.plant(key, body=an_image())
    assert problems(world, imported(world, a_line(key=key))) == [problem]
    assert world.ledger.record(key) is None


def test_a_key_that_names_no_project_is_adopted_by_the_one_its_line_names(world: World) -> None:
    key = "images/s1/boomer/1703123456789-abc123def.jpg"
    world.plant(key, body=an_image(1, "JPEG"))
    imported(world, a_line(key=key, content_type="application/octet-stream"))
    assert (record_of(world, key).project_id, record_of(world, key).layout) == ("p1", "session")


def test_a_hash_that_is_said_must_hold(world: World) -> None:
    world.plant(KEY, body=an_image())
    wrong = "ab" * 32
    assert problems(world, imported(world, a_line(sha256=wrong), a_line(key=KEY, sha256=wrong))) == ["invalid-request"] * 2
    right = hashlib.sha256(an_image()).hexdigest()
    imported(world, a_line(sha256=right), a_line(key=KEY, sha256=right))
    assert record_of(world, KEY).sha256 == right


def test_sensitive_metadata_is_sealed_as_an_uploads_is(world: World) -> None:
    imported(world, a_line(metadata={"name": "Ada", "n": 1}, sensitive=["name"]))
    [record] = world.serving.page("p1", 10, None)[0]
    assert (record.metadata, world.serving.metadata(record)) == ({"n": 1}, {"name": "Ada", "n": 1})


# ---- identity


def test_a_line_that_cannot_be_taken_is_shown_by_what_it_calls_its_object(world: World) -> None:
    lines = ['{"project_id": "p1", "id": "image-17", "content_base64": "#"}', '{"id": 7}', "[]", '{"id": "cut']
    migration_id = imported(world, *lines)
    assert [result["id"] for result in world.migrations.results(migration_id, "failed", 10, None)[0]] == ["image-17", None, None, None]


def test_why_a_line_failed_begins_with_what_is_wrong_and_is_cut_between_words(world: World) -> None:
    migration_id = imported(world, '{"project_id": "p1", "colour": "red"}', '{"id": "cut')
    unknown, cut = (result["why"] for result in world.migrations.results(migration_id, "failed", 10, None)[0])
    assert unknown.startswith("the line cannot be read: colour is unknown (known are: ")
    assert (unknown.endswith(", …"), len(unknown) <= 200) == (True, True)
    assert cut.startswith("the line cannot be read: Invalid JSON")


def test_a_line_with_an_id_finds_its_record_in_every_later_migration(world: World) -> None:
    lines = [a_line(1, id="a"), a_line(url=URL, id="b"), a_line(2)]
    imported(world, *lines)
    before = world.counts()
    migration_id = imported(world, *lines[:2])
    assert totals(world, migration_id)["import"] == {"seen": 2, "skipped": 2}
    assert world.counts() == before


def test_an_id_that_comes_with_other_bytes_is_a_conflict_and_changes_nothing(world: World) -> None:
    imported(world, a_line(1, id="a"))
    migration_id = imported(world, a_line(2, id="a"), {"project_id": "p1", "id": "a", "url": "https://images.example.com/a.gif"})
    assert problems(world, migration_id)[:2] == ["conflict"] * 2
    assert world.counts() == {"STORED": (1, len(an_image(1)))}


def test_a_key_that_an_event_recorded_before_is_skipped_and_one_of_another_project_fails(world: World) -> None:
    shared = "images/s/baby-boomer/1795239000000-a1b2c3.png"
    world.uploads.create_project("p2", {})
    world.plant(KEY, body=an_image(9))
    world.plant(shared, body=an_image(8))
    world.aligner().align(KEY)
    imported(world, a_line(key=shared))
    migration_id = imported(world, a_line(key=KEY), a_line(key=shared), a_line(key=shared, project_id="p2"))
    outcomes = [result["outcome"] for result in world.migrations.results(migration_id, None, 3, None)[0]]
    assert outcomes == ["skipped", "skipped", "failed"]
    assert problems(world, migration_id) == ["conflict"]
    assert record_of(world, shared).project_id == "p1"


def test_of_two_lines_of_one_key_in_one_batch_the_first_is_imported(world: World) -> None:
    world.plant(KEY, body=an_image(9))
    migration_id = imported(world, a_line(key=KEY), a_line(key=KEY), a_line(key=KEY, id="x"), a_line(key=KEY))
    outcomes = [result["outcome"] for result in world.migrations.results(migration_id, None, 4, None)[0]]
    assert outcomes == ["done", "skipped", "failed", "skipped"]
    assert totals(world, migration_id)["import"] == {"seen": 4, "done": 1, "skipped": 2, "failed": 1, "bytes": len(an_image(9)), "key": 1}


@pytest.mark.parametrize("object_id", ["Z" * 26, "7" + "Z" * 25])
def test_an_object_id_of_a_time_that_has_not_come_is_none_of_ours(world: World, object_id: str) -> None:
    assert problems(world, imported(world, a_line(object_id=object_id))) == ["invalid-request"]


def test_a_key_whose_upload_is_not_complete_is_not_called_imported(world: World) -> None:
    body = an_image(1)
    announced = Announced("image/png", len(body), hashlib.sha256(body).hexdigest())
    begun = world.presigned.begin("p1", announced, world.reserve())
    assert begun.request is not None
    assert world.store.fetch(begun.request, body).status == 200
    migration_id = imported(world, a_line(key=begun.record.key))
    assert (problems(world, migration_id), record_of(world, begun.record.key).state) == (["conflict"], State.PENDING)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (a_line(key=KEY, id="x"), a_line(key=f"{KEY}.png", id="x")),
        (a_line(1, id="x"), a_line(1, id="x", layout={"name": "session", "session": "s", "persona": "p"})),
        (a_line(key=KEY, id="x"), a_line(1, id="x")),
    ],
    ids=["two keys", "two layouts", "a key and bytes"],
)
def test_an_id_is_of_one_object_however_far_apart_its_lines_are(world: World, first: dict[str, Any], second: dict[str, Any]) -> None:
    for key in (KEY, f"{KEY}.png"):
        world.plant(key, body=an_image(9))
    migration_id = imported(world, first, second, batch=1)
    assert problems(world, migration_id) == ["conflict"]
    again = imported(world, first, second)
    assert [result["outcome"] for result in world.migrations.results(again, None, 2, None)[0]] == ["skipped", "failed"]
    assert len(list(world.ledger.entries())) == 1


def test_an_exported_line_makes_no_second_object_of_its_id_in_another_project(world: World) -> None:
    world.uploads.create_project("p2", {})
    imported(world, a_line(1, id="x"))
    [entry] = world.ledger.entries()
    object_id = record_of(world, entry.key).object_id
    migration_id = imported(world, a_line(1, object_id=object_id, project_id="p2"))
    assert problems(world, migration_id) == ["conflict"]
    assert world.ledger.by_object_id(object_id).project_id == "p1"


def test_of_two_forms_of_one_id_in_one_batch_the_first_is_imported(world: World) -> None:
    migration_id = imported(world, a_line(1, id="a"), a_line(url="https://images.example.com/a.gif", id="a"))
    assert (problems(world, migration_id), world.counts()) == (["conflict"], {"STORED": (1, len(an_image(1)))})


def test_of_two_lines_of_one_id_in_one_batch_the_first_is_imported(world: World) -> None:
    migration_id = imported(world, a_line(1, id="a"), a_line(1, id="a"), a_line(2, id="a"))
    assert totals(world, migration_id)["import"] == {
        "seen": 3,
        "done": 1,
        "skipped": 1,
        "failed": 1,
        "bytes": len(an_image(1)),
        "inline": 1,
    }


def test_what_was_deleted_by_request_is_not_brought_back_by_its_id_until_the_project_lives_anew(world: World) -> None:
    imported(world, a_line(1, id="a"))
    [record] = world.serving.page("p1", 10, None)[0]
    world.object_deletions.delete(record.object_id)
    assert problems(world, imported(world, a_line(1, id="a"))) == ["object-deleted"]
    assert world.counts() == {}
    world.delete_project()
    world.clock.advance(HOUR)
    world.uploads.create_project("p1", {})
    world.intents.forget("p1")
    assert totals(world, imported(world, a_line(1, id="a")))["import"]["done"] == 1


# ---- into the bucket


def test_an_external_object_is_fetched_checked_and_stored_with_where_it_came_from(world: World) -> None:
    record = an_external(world)
    world = with_fetcher(world, an_image(5))
    world.migrations.request(NewMigration())
    world.pump()
    stored = record_of(world, record.key)
    assert (stored.state, stored.original_url, stored.width, stored.content_type) == (State.STORED, URL, 8, "image/png")
    assert world.bytes_of(stored) == an_image(5)
    assert world.counts() == {"STORED": (1, len(an_image(5)))}


@pytest.mark.parametrize(
    ("given", "problem"),
    [(b"<html>gone</html>", "unsupported-type"), (StorageUnavailable("later"), "storage-unavailable")],
)
def test_an_external_object_that_gives_none_stays_as_it_is_and_is_tried_again_by_another_run(
    world: World, given: bytes | Exception, problem: str
) -> None:
    record = an_external(world)
    fetcher = FakeFetcher(given)
    world = replace(world, fetcher=fetcher)
    migration_id = world.migrations.request(NewMigration()).operation_id
    world.pump()
    assert problems(world, migration_id) == [problem]
    assert record_of(world, record.key).state is State.EXTERNAL
    fetcher.body = an_image(5)
    world.migrations.start(migration_id)
    world.pump()
    assert totals(world, migration_id)["migrate"] == {"seen": 1, "done": 1, "bytes": len(an_image(5))}


def test_an_external_object_is_held_to_the_hash_its_line_said(world: World) -> None:
    an_external(world, sha256="ab" * 32)
    world = with_fetcher(world, an_image(5))
    migration_id = world.migrations.request(NewMigration()).operation_id
    world.pump()
    assert (problems(world, migration_id), world.bucket_keys()) == (["invalid-request"], set())


def test_an_external_object_that_is_over_the_quota_stays_where_it_is(world: World) -> None:
    record = an_external(world)
    world.uploads.set_quota("p1", Quota(bytes=5))
    world = with_fetcher(world, an_image(5))
    migration_id = world.migrations.request(NewMigration()).operation_id
    world.pump()
    assert problems(world, migration_id) == ["quota-exceeded"]
    assert (world.counts(), world.bucket_keys()) == ({"EXTERNAL": (1, 0)}, set())
    assert record_of(world, record.key).size == 0


def test_what_was_put_before_a_crash_is_what_is_stored_though_the_url_gives_another_by_then(world: World) -> None:
    record = an_external(world)
    world = with_fetcher(world, an_image(5))
    world.store.fail("put", error=Crash(), after_effect=True)
    with pytest.raises(Crash):
        world.storing.store(record.key)
    world = with_fetcher(world, an_image(6))
    assert world.bytes_of(world.storing.store(record.key)) == an_image(5)


def an_inline(world: World, color: int = 0, **fields: Any) -> Record:
    return world.without_storage().upload(color=color, **fields)


def test_a_store_that_keeps_no_hash_is_read_back_before_the_inline_copy_goes(world: World) -> None:
    store = MemoryStore("data", now=world.clock, profile=replace(world.store.profile(), keeps_sha256=False))
    world = world.with_store(store)
    record = an_inline(world)
    real = store.get

    def damaged(key: str, **options: Any) -> Any:
        content = real(key, **options)
        return replace(content, body=b"damaged") if content else None

    store.get = damaged  # type: ignore[method-assign]  # a store that loses bytes and says nothing
    migration_id = world.migrations.request(NewMigration()).operation_id
    world.pump()
    assert problems(world, migration_id) == ["confirmation-failed"]
    assert (record_of(world, record.key).state, world.ledger.content(record)) == (State.INLINE, an_image())
    store.get = real  # type: ignore[method-assign]  # mended
    world.migrations.start(migration_id)
    world.pump()
    assert (record_of(world, record.key).state, world.ledger.content(record)) == (State.STORED, None)


def test_inline_bytes_that_are_not_those_recorded_are_never_stored(world: World, deployment: Deployment) -> None:
    record = an_inline(world)
    tables = deployment.tables
    [row] = [
        row for row in tables.client.scan(TableName=tables.objects.Meta.table_name)["Items"] if row["shard"]["S"].startswith("inline#")
    ]
    tables.client.put_item(TableName=tables.objects.Meta.table_name, Item={**row, "content": {"B": "AAAA"}})
    migration_id = world.migrations.request(NewMigration()).operation_id
    world.pump()
    assert (problems(world, migration_id), world.bucket_keys()) == (["confirmation-failed"], set())
    assert record_of(world, record.key).state is State.INLINE


def test_another_object_under_the_key_is_never_overwritten(world: World) -> None:
    record = an_inline(world)
    world.plant(record.key)
    migration_id = world.migrations.request(NewMigration()).operation_id
    world.pump()
    assert problems(world, migration_id) == ["object-exists"]
    found = world.store.get(record.key)
    assert found is not None
    assert found.body == b"stranger"


def test_a_record_killed_at_any_call_of_its_migration_is_inline_with_its_bytes_or_stored(world: World, deployment: Deployment) -> None:
    for call in itertools.count():
        record = an_inline(world, call)
        with killed_at(world, deployment, call) as killing:
            world.storing.store(record.key)
        now = record_of(world, record.key)
        held = world.ledger.content(record)
        assert (now.state, held) in ((State.INLINE, an_image(call)), (State.STORED, None))
        assert world.bytes_of(now) == an_image(call)
        assert world.storing.store(record.key).state is State.STORED
        if not killing.happened:
            break
    assert call >= 5
    assert world.tells_one_story()


def test_an_object_deleted_while_it_is_migrated_leaves_no_bytes(world: World) -> None:
    record = an_inline(world)

    def deleting(operation: str, key: str | None) -> None:
        if operation == "put":
            world.store.on_call = None
            world.object_deletions.delete(record.object_id)

    world.store.on_call = deleting
    migration_id = world.migrations.request(NewMigration()).operation_id
    world.pump()
    assert totals(world, migration_id)["migrate"] == {"seen": 1, "skipped": 1}
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_a_project_deleted_while_it_is_migrated_ends_in_a_receipt_that_holds(world: World) -> None:
    record = an_inline(world)

    def closing(operation: str, key: str | None) -> None:
        if operation == "put":
            world.store.on_call = None
            world.deletions.request("p1")

    world.store.on_call = closing
    migration_id = world.migrations.request(NewMigration()).operation_id
    world.pump()
    assert problems(world, migration_id) == ["project-closed"]
    assert (world.bucket_keys(), world.counts(), world.ledger.content(record)) == (set(), {}, None)


def test_bytes_that_a_killed_migration_puts_after_its_object_was_deleted_are_swept(world: World) -> None:
    record = an_inline(world)
    world.clock.advance(24 * HOUR)
    receipts: list[dict[str, Any]] = []

    def deleting(operation: str, key: str | None) -> None:
        if operation == "put":
            world.store.on_call = None
            receipts.append(world.object_deletions.delete(record.object_id))

    world.store.on_call = deleting
    world.store.fail("put", error=Crash(), after_effect=True)
    with pytest.raises(Crash):
        world.storing.store(record.key)
    assert world.bucket_keys() == {record.key}
    world.clock.at = receipts[0]["sweep_at"]
    world.object_deletions.tidy(out_of_time=never)
    assert world.bucket_keys() == set()


# ---- stopping, killing, doubling


def mixed(count: int) -> list[dict[str, Any] | str]:
    """Makes lines of which every third is broken."""
    return [a_line(number, id=f"i{number}") if number % 3 else "{broken" for number in range(count)]


def expected_of(count: int) -> dict[str, dict[str, int]]:
    good = [len(an_image(number)) for number in range(count) if number % 3]
    return {
        "import": {"seen": count, "done": len(good), "failed": count - len(good), "bytes": sum(good), "inline": len(good)},
        "migrate": {"seen": len(good), "done": len(good), "bytes": sum(good)},
    }


def test_a_migration_stopped_in_each_phase_goes_on_where_it_stopped(world: World) -> None:
    migration_id = imported(world, *mixed(9), batch=2, pump=False)
    stops = 0

    def late() -> bool:  # asked after every batch
        nonlocal stops
        stops += 1
        return True

    seen: list[int] = []
    while status(world, migration_id) != "COMPLETE":
        world.migrations.stop(migration_id)
        before = totals(world, migration_id)
        _, message, _ = world.messages.popleft()
        assert world.migrations.step(migration_id, message["turn"], out_of_time=late) == "STOPPED"
        assert totals(world, migration_id) == before
        world.messages.clear()
        turn = world.migrations.start(migration_id).document["turn"]
        world.migrations.step(migration_id, turn, out_of_time=late)
        seen.append(sum(numbers.get("seen", 0) for numbers in totals(world, migration_id).values()))
    assert totals(world, migration_id) == expected_of(9)
    assert sorted(set(seen)) == seen[: len(set(seen))]
    assert len(seen) >= 7
    assert world.tells_one_story()


def test_a_migration_killed_at_any_call_counts_every_line_once(world: World, deployment: Deployment) -> None:
    for call in itertools.count(0, 5):  # every fifth: all of them are as good, and dear
        project = f"k{call}"
        world.uploads.create_project(project, {})
        lines = [{**line, "project_id": project} if isinstance(line, dict) else line for line in mixed(3)]
        migration_id = imported(world, *lines, batch=2, pump=False, project_id=project)
        turn = world.messages.popleft()[1]["turn"]
        with killed_at(world, deployment, call) as killing:
            world.migrations.step(migration_id, turn, out_of_time=never)
        world.clock.advance(300_000)
        world.messages.clear()
        world.migrations.step(migration_id, turn, out_of_time=never)
        assert status(world, migration_id) == "COMPLETE"
        assert totals(world, migration_id) == expected_of(3)
        if not killing.happened:
            break
    assert call >= 40
    assert world.tells_one_story()


def test_a_message_delivered_twice_is_acted_on_once(world: World) -> None:
    world.deliveries = 2
    assert totals(world, imported(world, *mixed(5), batch=2)) == expected_of(5)


def test_two_steps_at_one_moment_count_as_one(world: World) -> None:
    migration_id = imported(world, *mixed(7), batch=2, pump=False)
    turn = world.messages.popleft()[1]["turn"]
    steps = 0

    def meanwhile() -> bool:
        # the lease of the first has ended, and another delivery overtakes it
        nonlocal steps
        steps += 1
        if steps == 1:
            world.clock.advance(300_000)
            world.migrations.step(migration_id, turn, out_of_time=never)
        return False

    world.migrations.step(migration_id, turn, out_of_time=meanwhile)
    assert status(world, migration_id) == "COMPLETE"
    assert totals(world, migration_id) == expected_of(7)


def test_while_one_step_works_another_does_nothing(world: World) -> None:
    migration_id = imported(world, *mixed(3), pump=False)
    turn = world.messages.popleft()[1]["turn"]

    def meanwhile() -> bool:
        before = totals(world, migration_id)
        world.migrations.step(migration_id, turn, out_of_time=never)
        assert totals(world, migration_id) == before
        return False

    world.migrations.step(migration_id, turn, out_of_time=meanwhile)
    assert totals(world, migration_id) == expected_of(3)


def test_a_complete_migration_started_again_does_only_what_is_left(world: World) -> None:
    migration_id = imported(world, *mixed(3), a_line(key=KEY, id="late"))
    assert totals(world, migration_id)["import"]["failed"] == 2
    world.plant(KEY, body=an_image(9))
    world.migrations.start(migration_id)
    world.pump()
    size = len(an_image(9))
    assert totals(world, migration_id) == {
        "import": {"seen": 4, "done": 1, "skipped": 2, "failed": 1, "bytes": size, "key": 1},
        "migrate": {"seen": 3, "skipped": 3},
    }
    assert world.migrations.operation(migration_id).document["run"] == 2


def test_a_ledger_that_does_not_answer_leaves_the_migration_to_the_queue(world: World, deployment: Deployment) -> None:
    migration_id = imported(world, *mixed(3), pump=False)
    turn = world.messages.popleft()[1]["turn"]
    deployment.faults.refuse("BatchGetItem", no_answer())
    with pytest.raises(LedgerError):
        world.migrations.step(migration_id, turn, out_of_time=never)
    world.migrations.step(migration_id, turn, out_of_time=never)  # at once: the lease was given back
    assert totals(world, migration_id) == expected_of(3)


def test_a_file_that_went_fails_the_migration_with_its_reason(world: World) -> None:
    migration_id = imported(world, *mixed(3), pump=False)
    world.files.remove(f"migrations/{migration_id}/source")
    world.pump()
    operation = world.migrations.operation(migration_id)
    assert (operation.status, "is not there" in operation.document["why"]) == ("FAILED", True)
    with pytest.raises(UploadIncomplete):
        world.migrations.start(migration_id)


# ---- asking


def test_a_migration_without_a_source_takes_what_is_unstored_of_all_projects_or_of_one(world: World) -> None:
    world.uploads.create_project("p2", {})
    world.upload()
    mine, other = an_inline(world, 1), world.without_storage().upload("p2", 2)
    migration_id = world.migrations.request(NewMigration(project_id="proj_p1")).operation_id
    world.pump()
    assert totals(world, migration_id)["migrate"] == {"seen": 2, "done": 1, "skipped": 1, "bytes": mine.size}
    assert record_of(world, other.key).state is State.INLINE
    migration_id = world.migrations.request(NewMigration()).operation_id
    world.pump()
    assert totals(world, migration_id)["migrate"] == {"seen": 3, "done": 1, "skipped": 2, "bytes": other.size}
    assert world.tells_one_story()


def test_a_dry_run_counts_and_writes_nothing_but_itself(world: World) -> None:
    world.plant(KEY, body=an_image(9))
    inline = an_inline(world, 1)
    before = [record_of(world, entry.key) for entry in world.ledger.entries()]
    lines: list[Any] = [a_line(2, id="a"), a_line(url=URL), a_line(key=KEY), "{broken", a_line(3, project_id="new")]
    migration_id = imported(world, *lines, dry_run=True, create_projects=True)
    size = len(an_image(2)) + len(an_image(9)) + len(an_image(3))
    assert totals(world, migration_id) == {
        "import": {"seen": 5, "done": 4, "failed": 1, "bytes": size, "inline": 2, "external": 1, "key": 1},
        "migrate": {"seen": 1, "done": 1, "bytes": inline.size, "inline": 1},
    }
    assert [record_of(world, entry.key) for entry in world.ledger.entries()] == before
    assert (world.bucket_keys(), world.ledger.has_project("new")) == ({KEY}, False)


def test_a_dry_run_promises_nothing_of_a_url_that_may_not_be_asked(world: World) -> None:
    an_external(world)  # of a deployment that imports from no URL

    def dry(world: World) -> list[str]:
        operation = world.migrations.request(NewMigration(dry_run=True))
        world.pump()
        return problems(world, operation.operation_id)

    assert dry(world) == ["import-disabled"]
    willing = with_fetcher(world, an_image(1))
    assert dry(willing) == []
    assert willing.fetcher.asked == []  # type: ignore[attr-defined]  # it is a FakeFetcher


def test_a_project_none_of_whose_lines_is_taken_is_no_failure(world: World) -> None:
    migration_id = imported(world, "{broken", project_id="new", create_projects=True)
    assert (status(world, migration_id), problems(world, migration_id)) == ("COMPLETE", ["invalid-request"])


def test_trouble_that_nobody_foresaw_is_one_lines_and_says_nothing_of_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("stocktake.migration.imports.read_url", broken)
    migration_id = imported(world, a_line(url=URL), a_line(1))
    assert (problems(world, migration_id), totals(world, migration_id)["import"]["done"]) == (["internal"], 1)
    assert "secret" not in str(world.migrations.results(migration_id, None, 10, None))


def test_while_storage_is_off_records_are_imported_and_left_in_the_ledger(world: World) -> None:
    off = world.without_storage()
    with pytest.raises(StorageDisabled):
        off.migrations.request(NewMigration())
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><desc>' + b"a" * 2000 + b"</desc></svg>"
    migration_id = imported(off, a_line(1), {"project_id": "p1", "content_base64": b64encode(svg).decode()})
    assert (status(off, migration_id), problems(off, migration_id)) == ("COMPLETE", ["too-large"])
    assert off.counts() == {"INLINE": (1, len(an_image(1)))}


def test_a_migration_waits_for_the_file_it_announced_and_for_no_other(world: World) -> None:
    body = file_of(a_line())
    operation = world.migrations.request(NewMigration(Source("jsonl", len(body), hashlib.sha256(body).hexdigest())))
    upload = world.migrations.upload(operation)
    assert upload is not None
    with pytest.raises(UploadIncomplete, match="PUT it"):
        world.migrations.start(operation.operation_id)
    with pytest.raises(Conflict, match="nothing to stop"):
        world.migrations.stop(operation.operation_id)
    assert world.files.fetch(upload, b"x" * len(body)).status == 400
    world.files.plant(f"migrations/{operation.operation_id}/source", body + b" ")
    with pytest.raises(Conflict, match="announced"):
        world.migrations.start(operation.operation_id)


def test_what_never_was_asked_for_is_not_found(world: World) -> None:
    for ask in (world.migrations.operation, world.migrations.start, world.exports.operation):
        for name in ("", "nobody"):
            with pytest.raises(OperationNotFound):
                ask(name)
    with pytest.raises(ProjectNotFound):
        world.migrations.request(NewMigration(project_id="nobody"))
    with pytest.raises(ProjectNotFound):
        world.exports.request("nobody", contents=False)


def test_a_batch_of_lines_that_name_their_objects_at_great_length_has_its_results(world: World) -> None:
    lines = [a_line(key="\U0001f600" * 1024), a_line(key='\x01"' * 512), a_line(url="http://x.example", id="\U0001f600" * 255)] * 33
    migration_id = imported(world, *lines, a_line(1), batch=100)
    assert status(world, migration_id) == "COMPLETE"
    assert totals(world, migration_id)["import"] == {"seen": 100, "done": 1, "failed": 99, "bytes": len(an_image(1)), "inline": 1}
    first = world.migrations.results(migration_id, None, 1, None)[0][0]["id"]
    assert first == "\U0001f600" * 256


def test_results_come_page_by_page_in_order_and_by_outcome(world: World) -> None:
    migration_id = imported(world, *mixed(7), batch=2)

    def every(outcome: Any, limit: int) -> list[dict[str, Any]]:
        found, cursor = [], None
        while True:
            page, cursor = world.migrations.results(migration_id, outcome, limit, cursor)
            assert len(page) <= limit
            found += page
            if cursor is None:
                return found

    whole = every(None, 500)
    assert [(result["phase"], result.get("line")) for result in whole] == [("import", n) for n in range(1, 8)] + [("migrate", None)] * 4
    for limit in (1, 2, 3):
        assert every(None, limit) == whole
        for outcome in ("done", "failed", "skipped"):
            assert every(outcome, limit) == [result for result in whole if result["outcome"] == outcome]
    run = "result#0001#"
    for text in ("other", f"{run}@1", f"{run}import#abc@0", f"{run}import#00000000@²", "result#0002#import#00000000@0"):
        with pytest.raises(InvalidRequest, match="cursor"):
            world.migrations.results(migration_id, None, 1, cursor_of(text))


def test_what_is_left_is_told_while_it_runs(world: World) -> None:
    migration_id = imported(world, *mixed(8), batch=2, pump=False)
    told = [world.migrations.remaining(world.migrations.operation(migration_id))]
    while world.messages:
        _, message, _ = world.messages.popleft()
        world.migrations.step(migration_id, message["turn"], out_of_time=lambda: True)
        told.append(world.migrations.remaining(world.migrations.operation(migration_id)))
    assert told[0] == told[-1] == {"lines": None, "records": None}
    records = [left["records"] for left in told if left["records"] is not None]
    assert records[-1] in (0, 1, 2)
    assert records == sorted(records, reverse=True)
    assert 1 <= (told[1]["lines"] or 0) <= 12


# ---- out, and in again


def exported(world: World, project_id: str | None = None, *, contents: bool = True) -> bytes:
    """Exports the ledger and fetches the files."""
    export_id = world.exports.request(project_id, contents=contents).operation_id
    world.pump()
    operation = world.exports.operation(export_id)
    assert operation.status == "COMPLETE"
    bodies = []
    for file in world.exports.files(operation):
        body = world.files.fetch(file.url).body
        assert (len(body), hashlib.sha256(body).hexdigest(), body.count(b"\n")) == (file.bytes, file.sha256, file.lines)
        bodies.append(body)
    return b"".join(bodies)


def comparable(record: Record) -> Record:
    """Leaves out when and how a record was written."""
    return replace(record, updated_at=0, version=0, epoch=0, source="")


def test_an_export_imported_into_a_fresh_ledger_gives_the_same_records(world: World, deploy: Callable[..., Deployment]) -> None:
    world = replace(world, new_id=new_id)  # real ids, whose time is in their keys
    world.upload(color=1, file_name="ü.png", metadata={"n": 1.0, "secret": "s"}, sensitive=("secret",), cache_control="no-store")
    an_external(world, metadata={"external": True})
    world.without_storage().upload(color=2, metadata={"inline": True})
    world.plant(KEY, body=an_image(3))
    world.aligner().align(KEY)
    world.record("projects/p1/pending.png", State.PENDING)
    records = [record_of(world, entry.key) for entry in world.ledger.entries() if entry.state is not State.PENDING]
    body = exported(world)
    fresh_tables = deploy()
    fresh = World(world.store, fresh_tables.ledger, fresh_tables.operations, world.clock)
    # migrating is another matter: what was unstored stays so
    off = fresh.without_storage()
    migration_id = imported(off, body=body, create_projects=True)
    assert problems(off, migration_id) == []
    again = [record_of(off, entry.key) for entry in off.ledger.entries()]
    assert list(map(comparable, again)) == list(map(comparable, records))
    [sealed] = [record for record in again if record.sealed]
    assert off.serving.metadata(sealed) == {"n": 1.0, "secret": "s"}
    [inline] = [record for record in again if record.state is State.INLINE]
    assert off.ledger.content(inline) == an_image(2)


def test_without_contents_an_inline_line_says_that_its_bytes_are_not_in_it(world: World) -> None:
    an_inline(world)
    body = exported(world, "p1", contents=False)
    assert b"content_base64" not in body
    world.without_storage().record("projects/p1/x.png", State.MISSING)
    assert problems(world, imported(world, body=body)) == ["invalid-request"]


def test_an_export_of_one_project_holds_no_other(world: World) -> None:
    world.uploads.create_project("p2", {})
    world.upload("p1"), world.upload("p2")
    assert [json.loads(line)["project_id"] for line in exported(world, "p2").splitlines()] == ["p2"]


def test_an_export_goes_over_files_and_steps_and_says_each_record_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.migration.exports.FILE_BYTES", 1000)
    keys = {world.record(f"projects/p1/{number}.png", State.STORED).key for number in range(7)}
    export_id = world.exports.request(None, contents=False).operation_id
    steps = 0
    while world.messages:
        world.messages.popleft()
        world.exports.step(export_id, out_of_time=lambda: True)
        steps += 1
    operation = world.exports.operation(export_id)
    lines = [json.loads(line) for file in world.exports.files(operation) for line in world.files.fetch(file.url).body.splitlines()]
    assert (operation.status, {line["key"] for line in lines}, len(lines), steps > 1) == ("COMPLETE", keys, 7, True)


def test_an_export_killed_at_any_call_says_each_record_once(world: World, deployment: Deployment) -> None:
    keys = sorted(world.record(f"projects/p1/{number}.png", State.STORED).key for number in range(2))
    for call in itertools.count(0, 2):
        export_id = world.exports.request("p1", contents=False).operation_id
        world.files.on_call = None
        with killed_at(world, deployment, call) as killing:
            world.exports.step(export_id, out_of_time=never)
        world.clock.advance(300_000)
        world.exports.step(export_id, out_of_time=never)
        files = world.exports.files(world.exports.operation(export_id))
        lines = [json.loads(line) for file in files for line in world.files.fetch(file.url).body.splitlines()]
        assert [line["key"] for line in lines] == keys
        if not killing.happened:
            break
    assert call >= 6
