"""An inventory in place of a listing: the same findings, and no run on one that cannot be trusted."""

from __future__ import annotations

import gzip
import random
import sys
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stocktake import inventory
from stocktake.errors import InventoryUnusable, ListingTooLarge, RunInProgress
from stocktake.inventory_rows import FORMATS
from stocktake.layouts import SYSTEM_PREFIX
from stocktake.model import ListedObject, State
from stocktake.storage import Content
from stocktake.storage.memory import MemoryStore
from stocktake.storage.ordering import RESERVE_BYTES
from tests.inventories import CHECKSUM, COLUMNS, MANIFEST, VERSIONED, Delivery, Row, a_file, a_parquet_file, a_row, md5, the_schema
from tests.unit.test_reconciliation import a_world_with_one_of_each, aged
from tests.unit.world import Crash, World, never

DAY = 86_400_000


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def an_inventory(
    world: World,
    rows: Iterable[Row] | None = None,
    *,
    files: int = 3,
    columns: tuple[str, ...] = COLUMNS,
    prefix: str = "",
    form: str = "CSV",
) -> Delivery:
    """Makes an inventory of a world's bucket as it is now, of what lies under a prefix there, or of these rows and our own."""
    source = world.store.bucket
    listed: list[Row] = [a_row(row, source) for page in world.store.list(prefix if rows is None else SYSTEM_PREFIX) for row in page]
    listed += rows or []
    return Delivery(world.files.bucket, world.files.plant, listed, world.clock.at, source=source, files=files, columns=columns, form=form)


def compared(world: World, location: str) -> str:
    """Runs a reconciliation of an inventory, as the state machine would, and returns its id."""
    run_id = world.runs.request(inventory=location).operation_id
    assert world.runs.plan(run_id)["sorts"]
    while not world.runs.sort_inventory(run_id, out_of_time=lambda: True)["done"]:
        pass
    return world.walked(run_id)


def test_an_inventory_gives_the_findings_of_a_listing(world: World, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_PAGE_ROWS", 2)
    a_world_with_one_of_each(world)
    by_listing = aged(world).reconcile()
    listed = world.runs.run(by_listing).document["counts"]
    run_id = compared(world, an_inventory(world, form=form).deliver())
    run = world.runs.run(run_id)
    assert (run.status, world.found(run_id), run.document["counts"]) == ("COMPLETE", world.found(by_listing), listed)
    assert world.found(by_listing)


def test_the_bucket_is_not_listed_for_its_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.upload()
    location = an_inventory(aged(world)).deliver()
    run_id = world.runs.request(inventory=location).operation_id
    world.runs.plan(run_id)

    def listed(*_: object, **__: object) -> None:
        raise AssertionError("the bucket was listed")

    while not world.runs.sort_inventory(run_id, out_of_time=never)["done"]:
        pass
    monkeypatch.setattr(world.store, "list", listed)
    assert world.runs.walk(run_id, 0, out_of_time=never)["done"]


def test_an_old_inventory_finds_nothing_in_what_happened_since(world: World) -> None:
    stays, goes = world.upload(color=1), world.upload(color=2)
    replaced = world.upload(color=3)
    delivered = an_inventory(aged(world))
    world.clock.advance(2 * DAY)
    world.upload(color=4)
    world.object_deletions.delete(goes.object_id)
    world.plant(replaced.key, body=b"written over")
    world.aligner().align(replaced.key)
    world.plant("backup.tar")
    run_id = compared(aged(world), delivered.deliver())
    counts = world.runs.run(run_id).document["counts"]
    assert (world.found(run_id), counts["matched"]["objects"], counts["young"]["objects"]) == (set(), 1, 2)
    assert counts["settled"]["objects"] == 1 and world.ledger.record(stays.key)


def test_what_the_inventory_leaves_out_is_not_missing_while_the_bucket_has_it(world: World, form: str) -> None:
    record = world.upload()
    run_id = compared(aged(world), an_inventory(world, [], form=form).deliver())
    run = world.runs.run(run_id)
    assert (world.found(run_id), run.document["counts"]["unlisted"]["objects"]) == (set(), 1) and world.ledger.record(record.key) == record
    assert (run.status, "leaves out 1 of the 1 objects" in run.document["why"]) == ("INCOMPLETE", True)


@pytest.mark.parametrize(("left_out", "status"), [(1, "COMPLETE"), (2, "INCOMPLETE")])
def test_an_inventory_that_leaves_out_a_share_of_what_the_ledger_knows_is_in_doubt_whatever_is_accepted(
    world: World, left_out: int, status: str
) -> None:
    keys = [world.record(f"projects/p1/scenes/s/media/{number}.png", State.STORED).key for number in range(100)]
    for key in keys[:left_out]:
        world.plant(key, body=b"there!")
    listed = [a_row(ListedObject(key, 5, "0" * 32, world.clock.at), world.store.bucket) for key in keys[left_out:]]
    location = an_inventory(aged(world), listed).deliver()
    run_id = world.runs.request(inventory=location, accept_loss=True).operation_id
    world.runs.plan(run_id)
    world.runs.sort_inventory(run_id, out_of_time=never)
    world.walked(run_id)
    assert world.runs.run(run_id).status == status


def test_an_inventory_without_the_mark_of_the_bucket_ends_the_run_before_it_is_walked(world: World, form: str) -> None:
    world.plant("audio/proj_p1/s/a.mp3", "projects/p1/scenes/s/media/orphan.png")
    run_id = compared(aged(world), an_inventory(world, prefix="audio/", form=form).deliver())
    run = world.runs.run(run_id)
    assert (run.status, "identity.json" in run.document["why"], world.found(run_id)) == ("INCOMPLETE", True, set())
    assert world.runs.run(compared(world, an_inventory(world, form=form).deliver())).status == "COMPLETE"


def test_a_sort_that_was_killed_before_it_looked_for_the_mark_looks_for_it_when_it_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = world.runs.request(inventory=an_inventory(world, prefix="audio/", files=1).deliver()).operation_id
    world.runs.plan(run_id)
    with monkeypatch.context() as killed, pytest.raises(Crash):
        killed.setattr(world.inventories, "check_whole", lambda *_: (_ for _ in ()).throw(Crash))
        world.runs.sort_inventory(run_id, out_of_time=never)
    assert world.runs.run(run_id).document["inventory"]["sorted"] == 1
    assert world.runs.sort_inventory(run_id, out_of_time=never)["done"]
    assert world.runs.run(run_id).status == "INCOMPLETE"


def test_what_came_after_the_inventory_is_not_what_it_left_out(world: World) -> None:
    record = world.upload()
    world.store.delete(record.key)
    delivered = an_inventory(aged(world))
    world.clock.advance(2 * DAY)
    world.plant(record.key)
    run_id = compared(aged(world), delivered.deliver())
    counts = world.runs.run(run_id).document["counts"]
    assert (world.found(run_id), "unlisted" in counts, "bucket" in counts) == (set(), False, False)


def test_the_counts_that_are_shown_stay_those_of_a_listing(world: World) -> None:
    world.upload()
    by_listing = aged(world).reconcile()
    compared(world, an_inventory(world).deliver())
    assert world.analytics.overall()["bucket"]["run_id"] == by_listing


def test_objects_that_came_after_the_inventory_are_none_that_were_lost_before_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.doubts.LOST_OBJECTS", 1)
    world.upload(color=1)
    before = an_inventory(aged(world))
    world.clock.advance(2 * DAY)
    world.upload(color=2)
    aged(world).reconcile()
    run_id = compared(world, before.deliver())
    assert (world.runs.run(run_id).status, world.runs.run(run_id).document["counts"]["bucket"]["objects"]) == ("COMPLETE", 1)


def alone() -> tuple[inventory.Inventories, MemoryStore]:
    """Inventories of a bucket `data`, on the first day, and where they and their pages lie."""
    store = MemoryStore("operations", now=lambda: DAY)
    return inventory.Inventories("data", {"operations": store}, store, now=lambda: DAY), store


def test_a_range_reads_no_page_behind_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_PAGE_ROWS", 2)
    inventories, store = alone()
    rows = [a_row(ListedObject(f"k{number}", 1, "etag", 1)) for number in range(8)]
    inventories.sort("r1", inventories.manifest(Delivery("operations", store.plant, rows, DAY, source="data", files=1).deliver()), 0)
    read = list[str]()
    real = store.get

    def reading(key: str) -> Content | None:
        read.append(key)
        return real(key)

    monkeypatch.setattr(store, "get", reading)
    assert [row.key for row in inventories.listed("r1", 1, after="k1", until="k3")] == ["k2", "k3"]
    assert len(read) == 3  # the index, and two pages: the first may hold keys behind the cursor


def test_older_versions_and_delete_markers_are_no_objects(world: World, form: str) -> None:
    record = world.upload()
    found = ListedObject(record.key, record.size, record.etag or "", world.clock.at)
    now, other = a_row(found, world.store.bucket), a_row(found._replace(key="backup.tar"), world.store.bucket)
    rows = [
        {**now, "IsLatest": "false", "ETag": "old", "VersionId": "v0"},
        now,
        {**other, "IsDeleteMarker": "true", "Size": "", "ETag": ""},
        {**other, "IsLatest": "false"},
    ]
    run_id = compared(aged(world), an_inventory(world, rows, columns=VERSIONED, form=form).deliver())
    assert (world.found(run_id), world.runs.run(run_id).document["counts"]["bucket"]["objects"]) == (set(), 1)


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ({"sourceBucket": "another"}, "of the bucket 'another'"),
        ({"fileFormat": "ORC"}, "format CSV or Parquet"),
        ({"fileFormat": "Parquet", "fileSchema": the_schema(COLUMNS[:3], "Parquet")}, "LastModifiedDate and ETag"),
        ({"fileFormat": "Parquet"}, "lacks Bucket"),
        ({"fileSchema": "Bucket, Key, Size"}, "LastModifiedDate and ETag"),
        ({"creationTimestamp": "1000"}, "days old"),
        ({"creationTimestamp": "9999999999999"}, "days old"),
        ({"creationTimestamp": "yesterday"}, "none of S3 Inventory"),
        ({"files": []}, "0 files"),
        ({"files": [{"key": "k", "size": 0, "MD5checksum": "0" * 32}]}, "none of S3 Inventory"),
        ({"files": [{"key": "k", "size": 1}]}, "none of S3 Inventory"),
        ({"fileFormat": None}, "None"),
    ],
)
def test_an_inventory_that_cannot_stand_for_the_bucket_is_refused_at_once(world: World, spoilt: dict[str, Any], why: str) -> None:
    delivered = an_inventory(world)
    delivered.told |= spoilt
    with pytest.raises(InventoryUnusable, match=why):
        world.runs.request(inventory=delivered.deliver())
    assert world.runs.recent(10) == [] and world.launched == []


@pytest.mark.parametrize(
    "location",
    [
        "",
        "manifest.json",
        "s3://files",
        "s3://files/inventories/x.csv",
        "s3://elsewhere/inventories/a/manifest.json",
        "s3://files/a/manifest.json",
    ],
)
def test_manifests_are_read_from_where_the_deployer_said_alone(world: World, location: str) -> None:
    world.files.plant("a/manifest.json", b"{}")
    with pytest.raises(InventoryUnusable, match="s3://"):
        world.inventories.manifest(location.replace("files", world.files.bucket))


@pytest.mark.parametrize("spoil", ["checksum", "no checksum", "manifest", "no manifest"])
def test_a_manifest_without_its_checksum_is_none(world: World, spoil: str) -> None:
    location = an_inventory(world).deliver()
    key = CHECKSUM if "checksum" in spoil else MANIFEST
    world.files.remove(key)
    if not spoil.startswith("no "):
        world.files.plant(key, b"{}")
    with pytest.raises(InventoryUnusable):
        world.inventories.manifest(location)


def _truncated(body: bytes) -> bytes:
    return body[: len(body) // 2]


def _as_rows(change: Callable[[dict[str, Any]], dict[str, Any]], columns: tuple[str, ...] = COLUMNS) -> Callable[[bytes], bytes]:
    row = a_row(ListedObject("backup.tar", 1, "etag", 1))
    return lambda _: a_file([change(row)], columns)


@pytest.mark.parametrize(
    ("spoil", "tells"),
    [
        (None, True),
        (None, False),
        (_truncated, True),
        (_truncated, False),
        (lambda body: body[:4] + b"\x01" + body[5:], True),
        (lambda body: body[:-1], False),
        (lambda body: body + b"and more", True),
        (lambda _: b"no gzip", False),
        (lambda _: gzip.compress(b'"data","a"\n'), False),
        (lambda _: gzip.compress(b'"data","a\n'), False),
        (_as_rows(lambda row: {**row, "Bucket": "another"}), False),
        (_as_rows(lambda row: {**row, "Key": ""}), False),
        (_as_rows(lambda row: {**row, "Key": "%FF"}), False),
        (_as_rows(lambda row: {**row, "Size": "-1"}), False),
        (_as_rows(lambda row: {**row, "Size": ""}), False),
        (_as_rows(lambda row: {**row, "LastModifiedDate": "now"}), False),
        (_as_rows(lambda row: row, COLUMNS[:-1]), False),
        (_as_rows(lambda row: row, (*COLUMNS, "VersionId")), False),
    ],
)
def test_a_file_that_is_not_what_its_manifest_says_ends_the_run_incomplete(
    world: World, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes] | None, *, tells: bool
) -> None:
    """`tells`: the manifest speaks of the file as it was before."""
    ends_incomplete(world, monkeypatch, "CSV", spoil, tells=tells)


def _as_parquet(columns: tuple[str, ...] = COLUMNS, **change: object) -> Callable[[bytes], bytes]:
    row = a_row(ListedObject("backup.tar", 1, "etag", 1))
    return lambda _: a_parquet_file([{**row, **change}], columns)


@pytest.mark.parametrize(
    ("spoil", "tells"),
    [
        (None, True),
        (_truncated, True),
        (_truncated, False),
        (lambda body: body[:9] + b"\x01" + body[10:], True),
        (lambda body: body[:-1], False),
        (lambda body: body[:4] + bytes(len(body) // 2) + body[4 + len(body) // 2 :], False),
        (lambda body: body[:-8] + b"\xff\xff\xff\x7f" + body[-4:], False),
        (lambda body: body + b"and more", False),
        (lambda _: b"no Parquet", False),
        (lambda _: a_file([a_row(ListedObject("backup.tar", 1, "etag", 1))]), False),
        (_as_parquet(Bucket="another"), False),
        (_as_parquet(Bucket=""), False),
        (_as_parquet(Key=""), False),
        (_as_parquet(Size=-1), False),
        (_as_parquet(Size=""), False),
        (_as_parquet(LastModifiedDate=""), False),
        (_as_parquet(VERSIONED, IsLatest=""), False),
        (_as_parquet(VERSIONED, IsDeleteMarker=""), False),
        (_as_parquet(COLUMNS[:4]), False),
    ],
)
def test_a_parquet_file_that_is_not_what_its_manifest_says_ends_the_run_incomplete(
    world: World, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes] | None, *, tells: bool
) -> None:
    ends_incomplete(world, monkeypatch, "Parquet", spoil, tells=tells)


def ends_incomplete(
    world: World, monkeypatch: pytest.MonkeyPatch, form: str, spoil: Callable[[bytes], bytes] | None, *, tells: bool
) -> None:
    """Spoils one file of an inventory and holds its run to what it must say."""
    monkeypatch.setattr(inventory, "_READ_BYTES", 8)  # so that a file is read in pieces
    world.upload()
    delivered = an_inventory(aged(world), form=form)
    location = delivered.deliver()
    run_id = world.runs.request(inventory=location).operation_id
    world.runs.plan(run_id)
    key = sorted(delivered.files)[1]
    if spoil is None:
        world.files.remove(key)
    else:
        body = spoil(delivered.files[key])
        world.files.plant(key, body)
        if not tells:
            told = next(file for file in delivered.told["files"] if file["key"] == key)
            told |= {"size": len(body), "MD5checksum": md5(body)}
            delivered.files[key] = body
            delivered.deliver()
    while not world.runs.sort_inventory(run_id, out_of_time=never)["done"]:
        pass
    world.walked(run_id)
    run = world.runs.run(run_id)
    assert run.status == "INCOMPLETE" and key in run.document["why"]
    assert world.found(run_id) == set() and "counts" not in run.document
    assert world.runs.run(world.reconcile()).status == "COMPLETE"


def test_without_the_layer_that_reads_it_a_run_of_parquet_says_what_is_missing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.upload()
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    run = world.runs.run(compared(aged(world), an_inventory(world, form="Parquet").deliver()))
    assert (run.status, "ParquetLayer" in run.document["why"], "counts" in run.document) == ("INCOMPLETE", True, False)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", None])
def test_times_of_parquet_are_of_utc_in_whatever_unit_they_are_written(unit: str, zone: str | None) -> None:
    inventories, store = alone()
    rows = [ListedObject(f"k{at}", 1, "etag", at) for at in (-1, 0, 1_142_294_400_000, 1_795_239_000_123)]
    delivered = Delivery("operations", store.plant, [], DAY, source="data", files=1, form="Parquet")
    delivered.put_file(0, a_parquet_file(map(a_row, rows), unit=unit, zone=zone))
    inventories.sort("r1", inventories.manifest(delivered.deliver()), 0)
    assert sorted(inventories.listed("r1", 1, after="", until=None)) == sorted(rows)


def test_a_flag_that_the_manifest_does_not_tell_of_holds_as_well() -> None:
    inventories, store = alone()
    row = a_row(ListedObject("k", 1, "etag", 1))
    rows = [{**row, "Key": "old", "IsLatest": "false"}, {**row, "Key": "gone", "IsDeleteMarker": "true"}, row]
    delivered = Delivery("operations", store.plant, [], DAY, source="data", files=1, form="Parquet")
    delivered.put_file(0, a_parquet_file(rows, VERSIONED))
    inventories.sort("r1", inventories.manifest(delivered.deliver()), 0)
    assert [found.key for found in inventories.listed("r1", 1, after="", until=None)] == ["k"]


def test_a_column_of_the_manifest_that_a_parquet_file_lacks_is_named() -> None:
    inventories, store = alone()
    delivered = Delivery("operations", store.plant, [], DAY, source="data", files=1, form="Parquet")
    delivered.put_file(0, a_parquet_file([a_row(ListedObject("k", 1, "etag", 1))], COLUMNS[:3]))
    with pytest.raises(InventoryUnusable, match="no column LastModifiedDate and ETag"):
        inventories.sort("r1", inventories.manifest(delivered.deliver()), 0)


def test_no_byte_is_decoded_of_a_parquet_file_that_is_not_the_one_of_its_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    inventories, store = alone()
    delivered = Delivery("operations", store.plant, [], DAY, source="data", files=1, form="Parquet")
    delivered.told["files"][0]["MD5checksum"] = "0" * 32

    def decoded(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(inventory, "parquet_rows", decoded)
    with pytest.raises(InventoryUnusable, match="MD5"):
        inventories.sort("r1", inventories.manifest(delivered.deliver()), 0)


def test_the_copy_of_a_parquet_file_counts_among_what_the_disk_must_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    inventories, store = alone()
    large = {**a_row(ListedObject("k", 1, "etag", 1)), "StorageClass": random.Random(1).randbytes(100_000).hex()}
    delivered = Delivery("operations", store.plant, [large], DAY, source="data", files=1, form="Parquet")
    manifest = inventories.manifest(delivered.deliver())
    size = manifest.files[0].size  # many times what the sort of one row takes
    monkeypatch.setattr("stocktake.storage.ordering.shutil.disk_usage", lambda _: SimpleNamespace(free=RESERVE_BYTES + size + 100))
    store.calls.clear()
    with pytest.raises(ListingTooLarge, match="SortDiskMegabytes"):
        inventories.sort("r1", manifest, 0)
    assert store.calls == []  # nothing was copied
    monkeypatch.undo()
    inventories.sort("r1", manifest, 0)
    assert [found.key for found in inventories.listed("r1", 1, after="", until=None)] == ["k"]


def test_a_manifest_that_was_replaced_meanwhile_ends_the_run_incomplete(world: World) -> None:
    location = an_inventory(world).deliver()
    run_id = world.runs.request(inventory=location).operation_id
    world.runs.plan(run_id)
    world.clock.advance(1)
    an_inventory(world).deliver()
    assert world.runs.sort_inventory(run_id, out_of_time=never)["done"]
    assert world.runs.run(run_id).status == "INCOMPLETE"


def test_a_run_that_sorts_keeps_its_turn(world: World) -> None:
    run_id = world.runs.request(inventory=an_inventory(world).deliver()).operation_id
    world.runs.plan(run_id)
    world.clock.advance(10 * 60_000)
    assert not world.runs.sort_inventory(run_id, out_of_time=lambda: True)["done"]
    world.clock.advance(12 * 60_000)
    with pytest.raises(RunInProgress):
        world.runs.request()


def test_a_run_that_was_stopped_sorts_no_more(world: World) -> None:
    run_id = world.runs.request(inventory=an_inventory(world).deliver()).operation_id
    world.runs.plan(run_id)
    world.runs.stop(run_id)
    before = set(world.files.keys())
    assert world.runs.sort_inventory(run_id, out_of_time=never)["done"] and set(world.files.keys()) == before


_KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(
    [
        "a,b",
        'a"b',
        "a b",
        "a+b",
        "a%2Fb",
        "a%",
        "%25",
        "é",
        "e\u0301",
        "\U0001f600",
        "a\nb",
        "a\r\nb",
        "\x00",
        "'",
        "\\",
        "",
        "a//b",
        "..",
        "~",
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=st.sampled_from(FORMATS),
    keys=st.sets(_KEYS.filter(bool), max_size=20),
    files=st.integers(1, 4),
    bounds=st.tuples(_KEYS | st.just(""), _KEYS.filter(bool) | st.none()),
)
def test_any_range_of_any_keys_comes_in_order_and_as_it_was_written(
    form: str, keys: set[str], files: int, bounds: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_PAGE_ROWS", 3)
    rows = [ListedObject(key, number, f"etag{number}", 1_795_239_000_000 + number) for number, key in enumerate(sorted(keys))]
    at = 1_795_300_000_000
    store = MemoryStore("operations", now=lambda: at)
    inventories = inventory.Inventories("data", {"operations": store}, store, now=lambda: at)
    # some keys were written over while S3 scanned the bucket, and are named twice
    older = [row._replace(last_modified=row.last_modified - 1, etag="older") for row in rows[::3]]
    delivered = Delivery("operations", store.plant, map(a_row, [*rows, *older]), at, source="data", files=files, form=form)
    manifest = inventories.manifest(delivered.deliver())
    for number in range(files):
        inventories.sort("r1", manifest, number)
    after, until = bounds
    found = list(inventories.listed("r1", files, after=after, until=until))
    assert [row.key for row in found] == [row.key for row in rows if row.key > after and (until is None or row.key <= until)]
    assert {*rows, *older}.issuperset(found)


def test_of_two_files_that_name_a_key_the_one_that_saw_it_later_is_believed(world: World, form: str) -> None:
    record = world.upload()
    found = ListedObject(record.key, record.size, record.etag or "", world.clock.at)
    rows = [a_row(found, world.store.bucket), a_row(found._replace(etag="older", last_modified=world.clock.at - 1), world.store.bucket)]
    for in_order in (rows, rows[::-1]):
        run_id = compared(aged(world), an_inventory(world, in_order, files=2, form=form).deliver())
        assert world.runs.run(run_id).document["counts"]["matched"]["objects"] == 1
