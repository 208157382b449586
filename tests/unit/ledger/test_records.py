from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from stocktake.errors import (
    ConfigurationError,
    InvalidKey,
    InvalidRequest,
    LedgerError,
    ObjectNotFound,
    ProjectClosed,
    ProjectNotFound,
    RecordChanged,
    TooLarge,
)
from stocktake.ledger import Ledger
from stocktake.ledger.rows import MAX_ROW_BYTES
from stocktake.model import Record, State, Tally
from tests.unit.ledger.builders import NOW, Deployment, a_record, an_intent, nonzero


def test_a_record_comes_back_as_it_was_written(deployment: Deployment) -> None:
    record = a_record(
        sha256="ab" * 32,
        cache_control="no-store",
        file_name="Ünï cödé.png",
        generation_id="g1",
        source="event",
        layout="hierarchical",
        metadata={"prompt": "a cat"},
    )
    assert deployment.ledger.move(None, record, gated=True) == record
    assert deployment.ledger.record(record.key) == record


def test_a_key_without_record_reads_as_none(deployment: Deployment) -> None:
    assert deployment.ledger.record("nothing/here") is None


def test_every_move_raises_the_version_by_one_and_what_was_read_before_is_refused(deployment: Deployment) -> None:
    first = deployment.record("k")
    second = deployment.ledger.move(first, replace(first, state=State.MISSING), gated=True)
    assert (first.version, second.version) == (1, 2)
    with pytest.raises(RecordChanged):
        deployment.ledger.move(first, replace(first, size=99), gated=True)
    assert deployment.ledger.record("k") == second


def test_a_second_record_of_one_key_is_refused(deployment: Deployment) -> None:
    first = deployment.record("k")
    with pytest.raises(RecordChanged):
        deployment.ledger.move(None, a_record("k", size=99), gated=True)
    assert deployment.ledger.record("k") == first


def test_counts_follow_the_record_through_its_life(deployment: Deployment) -> None:
    ledger = deployment.ledger
    intent = ledger.move(None, an_intent("k", size=10), gated=True)
    assert nonzero(ledger.counts("p1")) == {State.PENDING: Tally(1, 10)}
    stored = ledger.move(intent, replace(intent, state=State.STORED, size=12), gated=True)
    assert nonzero(ledger.counts("p1")) == {State.STORED: Tally(1, 12)}
    missing = ledger.move(stored, replace(stored, state=State.MISSING), gated=False)
    assert nonzero(ledger.counts("p1")) == {State.MISSING: Tally(1, 12)}
    assert ledger.move(missing, None, gated=False) is None
    assert nonzero(ledger.counts("p1")) == {}
    assert ledger.record("k") is None


def test_a_removed_key_can_be_recorded_anew_and_what_was_read_before_does_not_pass_for_it(deployment: Deployment) -> None:
    before = deployment.record("k", size=10)
    deployment.ledger.move(before, None, gated=False)
    again = deployment.record("k", size=25)
    assert again.version == before.version
    with pytest.raises(RecordChanged):
        deployment.ledger.move(before, None, gated=False)
    assert nonzero(deployment.ledger.counts("p1")) == {State.STORED: Tally(1, 25)}


def test_a_refused_move_leaves_the_counts_alone(deployment: Deployment) -> None:
    record = deployment.record("k")
    with pytest.raises(RecordChanged):
        deployment.ledger.move(replace(record, version=7), None, gated=False)
    assert nonzero(deployment.ledger.counts("p1")) == {State.STORED: Tally(1, 10)}


def test_a_commit_touches_two_items_and_no_more(deployment: Deployment) -> None:
    deployment.record("k")
    (items,) = [params["TransactItems"] for name, params in deployment.faults.calls if name == "TransactWriteItems"]
    assert [list(item) for item in items] == [["Put"], ["Update"]]


def test_a_closed_project_accepts_no_commit(deployment: Deployment) -> None:
    intent = deployment.ledger.move(None, an_intent("k"), gated=True)
    deployment.ledger.begin_deletion("p1", "d1", NOW)
    with pytest.raises(ProjectClosed, match="deleting"):
        deployment.ledger.move(intent, replace(intent, state=State.STORED), gated=True)
    with pytest.raises(ProjectClosed):
        deployment.ledger.move(None, a_record("new"), gated=True)
    assert deployment.ledger.record("k") == intent
    assert nonzero(deployment.ledger.counts("p1")) == {State.PENDING: Tally(1, 10)}


def test_a_closed_project_accepts_no_change_that_leaves_the_counts_alone_either(deployment: Deployment) -> None:
    record = deployment.record("k")
    refreshed = replace(record, etag="other")
    moved = deployment.ledger.move(record, refreshed, gated=True)
    assert moved.etag == "other"
    deployment.ledger.begin_deletion("p1", "d1", NOW)
    with pytest.raises(ProjectClosed):
        deployment.ledger.move(moved, replace(moved, etag="third"), gated=True)
    with pytest.raises(RecordChanged):
        deployment.ledger.move(record, refreshed, gated=False)


def test_a_commit_of_a_past_epoch_is_refused_after_the_project_was_opened_anew(deployment: Deployment) -> None:
    ledger = deployment.ledger
    closed = ledger.begin_deletion("p1", "d1", NOW)
    ledger.finish_deletion("p1", "d1", closed.epoch, NOW)
    reopened = ledger.create_project("p1", {}, NOW)
    with pytest.raises(ProjectClosed, match=f"epoch {reopened.epoch}"):
        ledger.move(None, a_record("late", epoch=1), gated=True)
    assert ledger.move(None, a_record("new", epoch=reopened.epoch), gated=True) is not None


def test_a_closed_project_still_lets_its_records_go(deployment: Deployment) -> None:
    record = deployment.record("k")
    deployment.ledger.begin_deletion("p1", "d1", NOW)
    deployment.ledger.move(record, None, gated=False)
    assert nonzero(deployment.ledger.counts("p1")) == {}


@pytest.mark.parametrize("gated", [True, False])
def test_a_project_never_created_takes_no_record_and_gets_no_counts(deployment: Deployment, gated: bool) -> None:
    with pytest.raises(ProjectNotFound):
        deployment.ledger.move(None, a_record("k", project_id="nobody"), gated=gated)
    assert deployment.ledger.record("k") is None
    with pytest.raises(ProjectNotFound):
        deployment.ledger.counts("nobody")


@pytest.mark.parametrize(("gated", "attribute"), [(True, "epoch"), (False, "state")])
def test_count_rows_changed_by_other_hands_are_an_error_and_not_a_closed_project(
    deployment: Deployment, gated: bool, attribute: str
) -> None:
    record = deployment.record("k")
    shard = deployment.ledger._shard("k")
    deployment.tables.projects("p1", f"counts#{shard}").update([getattr(deployment.tables.projects, attribute).remove()])
    with pytest.raises(LedgerError, match="other hands"):
        deployment.ledger.move(record, replace(record, size=20), gated=gated)


def test_every_spelling_of_a_project_counts_as_one(deployment: Deployment) -> None:
    deployment.record("a", project_id="proj_p1")
    deployment.record("b", project_id="proj_proj_p1")
    assert nonzero(deployment.ledger.counts("proj_p1")) == {State.STORED: Tally(2, 20)}
    assert nonzero(deployment.ledger.counts("p1")) == {State.STORED: Tally(2, 20)}


def test_concurrent_commits_keep_the_counts_exact(deployment: Deployment) -> None:
    ledger = deployment.ledger

    def commit(number: int) -> None:
        key = f"k{number % 20}"  # every key is fought for by three
        for _ in range(50):
            before = ledger.record(key)
            after = a_record(key, size=number) if before is None else replace(before, size=before.size + 1, state=State.MISSING)
            try:
                ledger.move(before, after, gated=True)
                return
            except RecordChanged:
                continue
        raise AssertionError("never got its turn")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(commit, range(60)))
    records = list(ledger.entries())
    assert {record.version for record in records} == {3}
    assert nonzero(ledger.counts("p1")) == {State.MISSING: Tally(20, sum(record.size for record in records))}


def test_only_a_pending_record_keeps_an_expiry(deployment: Deployment) -> None:
    intent = deployment.ledger.move(None, an_intent("k"), gated=True)
    assert intent.expires_at == NOW + 60_000
    stored = deployment.ledger.move(intent, replace(intent, state=State.STORED), gated=True)
    assert stored.expires_at is None
    assert deployment.ledger.record("k") == stored


def test_a_record_is_found_by_its_object_id(deployment: Deployment) -> None:
    record = deployment.record("k", object_id="o1")
    assert deployment.ledger.by_object_id("o1") == record


def test_an_object_id_not_on_the_index_yet_is_looked_for_again(deployment: Deployment) -> None:
    record = a_record("k", object_id="o1")
    deployment.faults.before("Query", lambda: None)  # the first look finds nothing yet
    deployment.faults.before("Query", lambda: deployment.ledger.move(None, record, gated=True))
    assert deployment.ledger.by_object_id("o1") == record


@pytest.mark.parametrize("object_id", ["unknown", ""])
def test_an_unknown_object_id_is_not_found(deployment: Deployment, object_id: str) -> None:
    with pytest.raises(ObjectNotFound):
        deployment.ledger.by_object_id(object_id)


def test_an_index_that_still_shows_what_is_gone_is_not_believed(deployment: Deployment) -> None:
    record = deployment.record("k", object_id="o1")
    answer = deployment.tables.client.query(
        TableName=deployment.tables.objects.Meta.table_name,
        IndexName="by_object_id",
        KeyConditionExpression="object_id = :id",
        ExpressionAttributeValues={":id": {"S": "o1"}},
    )
    deployment.ledger.move(record, replace(record, object_id="o2"), gated=True)
    real = deployment.faults._real
    deployment.faults._real = lambda operation, params: {**answer} if operation == "Query" else real(operation, params)
    with pytest.raises(ObjectNotFound):
        deployment.ledger.by_object_id("o1")


@pytest.mark.parametrize(
    "metadata",
    [
        {"ratio": "16:9", "n": 2, "x": 1.0, "big": 10**30, "none": None, "yes": True, "nested": {"list": [1, 1.0, "1", [], {}]}, "": ""},
        {"ünï": "😀 \u0000 \r\n", "lone surrogate": "\ud800"},
        {},
    ],
)
def test_metadata_comes_back_with_its_json_types(deployment: Deployment, metadata: dict[str, Any]) -> None:
    deployment.record("k", metadata=metadata)
    record = deployment.ledger.record("k")
    assert record is not None
    assert repr(record.metadata) == repr(metadata)


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "metadata",
    [{"x": float("nan")}, {"x": [float("inf")]}, {"x": b"bytes"}, {1: "one"}, {"x": [{2: "two"}]}, {"deep": _nested(100_000)}],
    ids=["nan", "infinity", "bytes", "number as key", "number as inner key", "too deep"],
)
def test_metadata_that_would_not_come_back_as_sent_is_refused(deployment: Deployment, metadata: dict[Any, Any]) -> None:
    with pytest.raises(InvalidRequest, match="metadata"):
        deployment.ledger.move(None, a_record("k", metadata=metadata), gated=True)


def test_a_record_too_large_for_a_row_is_refused_before_anything_is_sent(deployment: Deployment) -> None:
    with pytest.raises(TooLarge, match="send less metadata"):
        deployment.record("k", metadata={"x": "ü" * (MAX_ROW_BYTES // 2)})
    assert deployment.faults.done("TransactWriteItems") == 0
    deployment.record("k", metadata={"x": "y" * (MAX_ROW_BYTES - 1000)})


@pytest.mark.parametrize("key", ["", "k" * 1025, "ü" * 513, "\ud800"])
def test_what_is_no_key_is_refused(deployment: Deployment, key: str) -> None:
    with pytest.raises(InvalidKey):
        deployment.ledger.move(None, a_record(key), gated=True)


def test_the_longest_key_is_kept(deployment: Deployment) -> None:
    key = "ü" * 512
    deployment.record(key)
    assert [record.key for record in deployment.ledger.project_records("p1")] == [key]


@pytest.mark.parametrize("changes", [{"project_id": "proj_"}, {"object_id": ""}, {"file_name": "\ud800"}])
def test_a_record_without_owner_or_id_or_with_broken_text_is_refused(deployment: Deployment, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        deployment.ledger.move(None, a_record("k", **changes), gated=True)


def test_a_move_keeps_key_and_project(deployment: Deployment) -> None:
    record = deployment.record("k")
    wrong: tuple[tuple[Record | None, Record | None], ...] = (
        (None, None),
        (record, a_record("other")),
        (record, replace(record, project_id="p2")),
    )
    for before, after in wrong:
        with pytest.raises(ValueError, match="move"):
            deployment.ledger.move(before, after, gated=True)
    respelled = deployment.ledger.move(record, replace(record, project_id="proj_p1"), gated=True)
    assert respelled.version == 2


def test_the_ledger_of_another_number_of_shards_is_refused(deployment: Deployment) -> None:
    with pytest.raises(ConfigurationError, match="16"):
        Ledger(deployment.tables, shards=32).record("k")
    for shards in (0, -1, 3, 128):
        with pytest.raises(ConfigurationError, match="power of two"):
            Ledger(deployment.tables, shards=shards)
