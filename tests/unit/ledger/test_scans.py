from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stocktake.errors import InvalidRequest, LedgerError, ProjectNotFound
from stocktake.ledger import ledger, shard_of
from stocktake.ledger.count_pages import count_page
from stocktake.ledger.entry_pages import entry_page
from stocktake.ledger.rows import entry_of
from stocktake.model import LedgerEntry, State, Tally
from tests.unit.ledger.builders import NOW, Deployment, Faults, a_record, an_intent, client_error, entry

# moto mangles carriage returns and line feeds in keys; surrogates are no Unicode
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=12)
_KEYS = st.one_of(
    _TEXT, st.sampled_from(["a", "a/", "a/b", "a-b", "a.b", "a b", "A", "é", "e\u0301", "\uffff", "\U00010000", "\x00", "~", "%2F", "+"])
)


def _of_names(keys: set[str]) -> set[str]:
    """Returns the keys that can all be recorded: a name has one record, in whatever spelling."""
    return set({unicodedata.normalize("NFC", key): key for key in sorted(keys)}.values())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.sets(_KEYS, max_size=25).map(_of_names), bounds=st.tuples(_KEYS | st.just(""), _KEYS | st.none()), page_size=st.integers(1, 4)
)
def test_a_range_of_the_ledger_is_one_stream_sorted_as_a_bucket_lists(
    deploy: Callable[..., Deployment], keys: set[str], bounds: tuple[str, str | None], page_size: int
) -> None:
    deployment = deploy(shards=4)
    deployment.ledger.create_project("p1", {}, NOW)
    records = {key: deployment.record(key, size=len(key)) for key in keys}
    deployment.faults.page_size = page_size
    ordered = sorted(keys, key=str.encode)
    assert list(deployment.ledger.entries()) == [entry(records[key]) for key in ordered]
    after, until = bounds
    within = [key for key in ordered if key.encode() > after.encode() and (until is None or key.encode() <= until.encode())]
    assert [found.key for found in deployment.ledger.entries(after, until)] == within
    assert [found.key for found in deployment.ledger.project_records("proj_p1", after=after)] == [key for key in ordered if key > after]
    assert sorted(key for shard in range(4) for key in deployment.ledger.shard_keys(shard)) == ordered


def test_a_range_leaves_out_where_it_begins_and_holds_where_it_ends(deployment: Deployment) -> None:
    for key in "abcd":
        deployment.record(key)
    assert [found.key for found in deployment.ledger.entries("b", "d")] == ["c", "d"]
    assert [found.key for found in deployment.ledger.entries("b")] == ["c", "d"]
    assert [found.key for found in deployment.ledger.entries("", "b")] == ["a", "b"]
    assert [*deployment.ledger.entries("b", "b"), *deployment.ledger.entries("d", "b")] == []


def test_entries_reads_no_page_before_it_is_needed(deployment: Deployment) -> None:
    for number in range(8):
        deployment.record(f"k{number}")
    deployment.faults.page_size = 1
    deployment.faults.calls.clear()
    stream = deployment.ledger.entries()
    assert deployment.faults.done("Query") == 0
    next(stream)
    assert deployment.faults.done("Query") <= 16 + 8  # the first page of every shard; moto shows an empty page after the last
    asked = [params for name, params in deployment.faults.calls if name == "Query"]
    assert all("ProjectionExpression" in params and params["Limit"] <= 1000 for params in asked)


_NUMBERS = st.integers(0, 10**15).map(lambda number: {"N": str(number)})
_TEXTS = st.text().map(lambda text: {"S": text})
_ROWS = st.fixed_dictionaries(
    {
        "key": _TEXTS,
        "project_id": _TEXTS,
        "state": st.sampled_from(State).map(lambda state: {"S": state.value}),
        "size": _NUMBERS,
        "updated_at": _NUMBERS,
        "version": _NUMBERS,
    },
    optional={"etag": _TEXTS, "counted_as": _TEXTS, "names": st.just({"SS": ["of something else"]})},
)


@given(rows=st.lists(_ROWS.flatmap(lambda row: st.permutations(list(row.items())).map(dict)), max_size=5))
def test_a_page_read_at_once_says_what_its_rows_say(rows: list[dict[str, Any]]) -> None:
    last, consumed = {"key": {"S": "k"}, "shard": {"S": "00"}}, {"CapacityUnits": 0.5}
    body = json.dumps({"Count": len(rows), "Items": rows, "LastEvaluatedKey": last, "ConsumedCapacity": consumed}).encode()
    page = entry_page(body)
    assert page["Items"] == [entry_of(row) for row in rows]
    assert all(type(read) is LedgerEntry for read in page["Items"])
    assert (page["LastEvaluatedKey"], page["ConsumedCapacity"]) == (last, consumed)
    assert entry_page(b'{"Items": []}') == {"Items": [], "LastEvaluatedKey": None, "ConsumedCapacity": None}


@pytest.mark.parametrize("row", [{"key": {"S": "k"}}, {"state": {"S": "ELSEWHERE"}}, {"size": {"S": "many"}}])
def test_a_row_that_is_no_record_ends_a_scan_by_name(row: dict[str, Any]) -> None:
    whole = {name: {"N": "1"} for name in ("size", "updated_at", "version")} | {"state": {"S": "STORED"}, "project_id": {"S": "p"}}
    spoilt = row if "key" in row else {"key": {"S": "k"}, **whole, **row}
    with pytest.raises(LedgerError, match="no record"):
        entry_page(json.dumps({"Items": [spoilt]}).encode())


def test_a_count_row_that_counts_nothing_ends_an_overview_by_name() -> None:
    with pytest.raises(LedgerError, match="counts nothing"):
        count_page(b'{"Items": [{"project": {"S": "p"}, "part": {"S": "counts#00"}, "l:current:o": {"N": "many"}}]}')


def test_the_keys_of_one_shard_are_sorted_and_all_of_that_shard(deployment: Deployment) -> None:
    keys = [f"k{number:02}" for number in range(60)]
    for key in keys:
        deployment.record(key)
    for shard in ("00", "0f"):
        of_shard = [key for key in keys if shard_of(key, 16) == shard]
        assert list(deployment.ledger.shard_keys(shard)) == of_shard
        assert list(deployment.ledger.shard_keys(int(shard, 16), after="k10", until="k30")) == [
            key for key in of_shard if "k10" < key <= "k30"
        ]


def test_the_shard_of_a_key_is_fixed_for_all_time(deployment: Deployment) -> None:
    assert deployment.ledger.shards == 16
    assert [shard_of(key, 16) for key in ("a", "projects/p1/2026/01/a.png", "ünï")] == ["02", "08", "09"]
    assert {len(shard_of(str(number), 64)) for number in range(100)} == {2}


def test_a_projects_records_are_its_own_and_in_key_order(deployment: Deployment) -> None:
    deployment.ledger.create_project("p10", {}, NOW)
    for key in ("c", "a", "b"):
        deployment.record(key, layout="flat")
    deployment.record("d", project_id="p10")
    found = list(deployment.ledger.project_records("p1"))
    assert [record.key for record in found] == ["a", "b", "c"]
    assert found[0] == LedgerEntry("a", "p1", State.STORED, 10, "0cc175b9", updated_at=NOW, version=1, counted_as="flat\nimage/png\n\n")
    assert [record.key for record in deployment.ledger.project_records("p1", after="a", limit=1)] == ["b"]
    for nothing in (deployment.ledger.project_records("p1", limit=0), deployment.ledger.project_records("proj_")):
        assert list(nothing) == []


def test_pages_of_a_project_hold_whole_records_and_end(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number}", metadata={"n": number}) for number in range(5)]
    first, cursor = deployment.ledger.page_of_project("p1", 2)
    second, next_cursor = deployment.ledger.page_of_project("p1", 2, cursor)
    third, end = deployment.ledger.page_of_project("p1", 2, next_cursor)
    assert first + second + third == records
    assert (len(third), end) == (1, None)
    assert deployment.ledger.page_of_project("p1", 5) == (records, None)
    assert deployment.ledger.page_of_project("nobody", 5) == ([], None)


def test_a_page_ends_before_the_record_that_does_not_fit_and_the_next_begins_with_it(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number}") for number in range(4)]
    room = iter([True, True, False])
    page, cursor = deployment.ledger.page_of_project("p1", 4, fits=lambda _: next(room))
    assert (page, deployment.ledger.page_of_project("p1", 4, cursor)) == (records[:2], (records[2:], None))


def test_a_record_that_fits_no_page_is_a_page_of_its_own(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number}") for number in range(2)]
    first, cursor = deployment.ledger.page_of_project("p1", 4, fits=lambda _: False)
    assert (first, deployment.ledger.page_of_project("p1", 4, cursor, fits=lambda _: False)) == ([records[0]], ([records[1]], None))


def test_no_records_are_read_for_a_page_that_is_full(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_KEYS_PER_READ", 2)
    for number in range(5):
        deployment.record(f"k{number}")
    room = iter([True, False])
    deployment.ledger.page_of_project("p1", 5, fits=lambda _: next(room))
    assert deployment.faults.done("BatchGetItem") == 1


def test_a_page_leaves_out_what_went_meanwhile(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number}") for number in range(3)]
    deployment.faults.before("BatchGetItem", lambda: deployment.ledger.move(records[1], None, gated=False))
    assert deployment.ledger.page_of_project("p1", 3) == ([records[0], records[2]], None)


@pytest.mark.parametrize("cursor", ["", "not base64!", "/w", "_w"])
def test_a_cursor_of_others_is_refused(deployment: Deployment, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        deployment.ledger.page_of_project("p1", 2, cursor)


def test_expired_intents_are_found_and_nothing_else(deployment: Deployment) -> None:
    ledger = deployment.ledger
    old = ledger.move(None, an_intent("old", expires_at=NOW - 1), gated=True)
    due = ledger.move(None, an_intent("due", expires_at=NOW), gated=True)
    ledger.move(None, an_intent("young", expires_at=NOW + 1), gated=True)
    committed = ledger.move(None, an_intent("committed", expires_at=NOW - 1), gated=True)
    ledger.move(committed, replace(committed, state=State.STORED), gated=True)
    deployment.record("stored")
    assert sorted(ledger.expired_intents(NOW), key=lambda record: record.key) == [due, old]


def test_each_look_for_expired_intents_begins_at_another_shard(deploy: Callable[..., Deployment]) -> None:
    ledger = deploy(shards=2).ledger
    ledger.create_project("p1", {}, NOW)
    for number in range(6):
        ledger.move(None, an_intent(f"k{number}", expires_at=NOW), gated=True)
    looks = [[record.key for record in ledger.expired_intents(NOW + later)] for later in range(2)]
    assert looks[0][0] != looks[1][0]
    assert sorted(looks[0]) == sorted(looks[1])


@pytest.mark.parametrize("change", [{"state": State.STORED}, {"expires_at": NOW + 60_000}], ids=["committed", "prolonged"])
def test_an_intent_that_moved_on_after_the_index_was_read_is_not_expired(deployment: Deployment, change: dict[str, Any]) -> None:
    intent = deployment.ledger.move(None, an_intent("k", expires_at=NOW - 1), gated=True)
    deployment.faults.before("GetItem", lambda: deployment.ledger.move(intent, replace(intent, **change), gated=True))
    assert list(deployment.ledger.expired_intents(NOW)) == []


def test_rows_a_batch_read_leaves_unprocessed_are_asked_for_again(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number}") for number in range(4)]
    unprocessed = _unprocessed_once(deployment.faults, times=2)
    assert deployment.ledger.page_of_project("p1", 4) == (records, None)
    assert unprocessed() == 0 and len(deployment.slept) == 2
    _unprocessed_once(deployment.faults, times=1000)
    with pytest.raises(LedgerError, match="busy"):
        deployment.ledger.page_of_project("p1", 4)


def _unprocessed_once(faults: Faults, *, times: int) -> Callable[[], int]:
    left = times
    real = faults._real

    def call(operation: str, params: dict[str, dict[str, dict[str, list[object]]]]) -> object:
        nonlocal left
        if operation != "BatchGetItem" or not left:
            return real(operation, params)
        left -= 1
        ((table, request),) = params["RequestItems"].items()
        reply = real(operation, {**params, "RequestItems": {table: {**request, "Keys": request["Keys"][:1]}}})
        return {**reply, "UnprocessedKeys": {table: {"Keys": request["Keys"][1:] or request["Keys"]}}}

    faults._real = call
    return lambda: left


def test_a_read_that_fails_is_a_ledger_error_with_its_cause(deployment: Deployment) -> None:
    deployment.faults.refuse("Query", client_error("ProvisionedThroughputExceededException", "Query"))
    with pytest.raises(LedgerError, match="ProvisionedThroughput") as failure:
        list(deployment.ledger.entries())
    assert failure.value.__cause__ is not None


def test_removal_takes_records_and_their_counts_together(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number}", size=number) for number in range(30)]
    summary = deployment.ledger.remove_many([*map(entry, records[:10]), *records[10:20]])
    assert (summary.removed, summary.already_gone, summary.changed) == (Tally(20, sum(range(20))), 0, ())
    assert deployment.ledger.counts("p1")[State.STORED] == Tally(10, sum(range(20, 30)))
    assert [record.key for record in deployment.ledger.project_records("p1")] == sorted(record.key for record in records[20:])


def test_removal_again_is_exact_and_says_what_was_gone(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number}") for number in range(12)]
    deployment.ledger.remove_many(records[:6])
    summary = deployment.ledger.remove_many(records)
    assert (summary.removed, summary.already_gone) == (Tally(6, 60), 6)
    assert deployment.ledger.remove_many(records).already_gone == 12
    assert deployment.ledger.counts("p1")[State.STORED] == Tally()


def test_removal_leaves_what_changed_since_it_was_seen(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number}") for number in range(12)]
    changed = deployment.ledger.move(records[3], replace(records[3], state=State.MISSING), gated=False)
    summary = deployment.ledger.remove_many(records)
    assert (summary.removed, summary.already_gone, summary.changed) == (Tally(11, 110), 0, ("k3",))
    assert list(deployment.ledger.entries()) == [entry(changed)]
    assert deployment.ledger.counts("p1")[State.MISSING] == Tally(1, 10)


def test_removal_of_a_record_of_a_project_never_created_is_an_error(deployment: Deployment) -> None:
    with pytest.raises(ProjectNotFound):
        deployment.ledger.remove_many([a_record("k", project_id="nobody")])


def test_removal_fills_transactions(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(shards=1)
    deployment.ledger.create_project("p1", {}, NOW)
    records = [deployment.record(f"k{number:03}") for number in range(100)]
    deployment.faults.calls.clear()
    summary = deployment.ledger.remove_many(iter(records))
    sizes = [len(params["TransactItems"]) for name, params in deployment.faults.calls if name == "TransactWriteItems"]
    assert (sizes, summary.removed) == ([100, 2], Tally(100, 1000))


def test_removal_packs_few_count_rows_and_many_records_into_a_transaction(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number:03}") for number in range(170)]
    deployment.faults.calls.clear()
    summary = deployment.ledger.remove_many(records)
    sizes = [len(params["TransactItems"]) for name, params in deployment.faults.calls if name == "TransactWriteItems"]
    assert (summary.removed, sizes[0], sum(sizes)) == (Tally(170, 1700), 100, 170 + 17)  # one count row is in both
    assert deployment.ledger.counts("p1")[State.STORED] == Tally()


def test_removal_leaves_room_for_the_count_row_of_the_last_record(deployment: Deployment) -> None:
    by_shard: dict[str, list[str]] = {"00": [], "01": []}
    for number in range(4000):
        by_shard.get(shard_of(f"k{number}", 16), []).append(f"k{number}")
    records = [deployment.record(key) for key in (*by_shard["00"][:98], by_shard["01"][0])]
    deployment.faults.calls.clear()
    assert deployment.ledger.remove_many(records).removed == Tally(99, 990)
    sizes = [len(params["TransactItems"]) for name, params in deployment.faults.calls if name == "TransactWriteItems"]
    assert sizes == [99, 2]


def test_removal_takes_what_is_named_twice_once(deployment: Deployment) -> None:
    records = [deployment.record(f"k{number}") for number in range(3)]
    assert deployment.ledger.remove_many([*records, records[0]]).removed == Tally(3, 30)


def test_removal_of_many_projects_counts_on_each(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(shards=1)
    for number in range(70):
        deployment.ledger.create_project(f"p{number}", {}, NOW)
    records = [deployment.record(f"k{number}", project_id=f"p{number}") for number in range(70)]
    assert deployment.ledger.remove_many(records[1:]).removed == Tally(69, 690)
    assert [deployment.ledger.counts(f"p{number}")[State.STORED].objects for number in range(70)] == [1] + 69 * [0]


def test_removal_names_the_project_whose_count_rows_are_lost(deployment: Deployment) -> None:
    deployment.ledger.create_project("p2", {}, NOW)
    records = [deployment.record("k1"), deployment.record("k2", project_id="p2")]
    for row in list(deployment.tables.projects.query("p2")):
        if row.part.startswith("counts#"):
            row.delete()
    with pytest.raises(LedgerError, match="'p2'"):
        deployment.ledger.remove_many(records)
    assert deployment.ledger.record("k1") == records[0]


def test_removal_of_rows_too_large_for_one_transaction_is_split(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(shards=1)
    deployment.ledger.create_project("p1", {}, NOW)
    records = [deployment.record(f"k{number}") for number in range(5)]
    deployment.faults.refuse("TransactWriteItems", client_error("ValidationException"))
    deployment.faults.refuse("TransactWriteItems", client_error("TransactionCanceledException", reasons=("ValidationError", "None")))
    assert deployment.ledger.remove_many(records).removed == Tally(5, 50)
    deployment.faults.refuse("TransactWriteItems", client_error("ValidationException"))
    with pytest.raises(LedgerError):
        deployment.ledger.remove_many(records[:1])


def test_removal_whose_reply_was_lost_counts_what_it_removed(deployment: Deployment) -> None:
    records = [deployment.record("k")]
    deployment.faults.lose_reply("TransactWriteItems")
    assert deployment.ledger.remove_many(records).removed == Tally(1, 10)
    assert deployment.ledger.counts("p1")[State.STORED] == Tally()


def test_removal_gives_up_on_records_that_seem_unchanged_and_still_refuse(deployment: Deployment) -> None:
    record = deployment.record("k")
    refusal = client_error("TransactionCanceledException", reasons=("ConditionalCheckFailed", "None"))
    deployment.faults.refuse("TransactWriteItems", refusal, times=10)
    with pytest.raises(LedgerError, match="kept changing"):
        deployment.ledger.remove_many([record])
    assert deployment.ledger.record("k") == record
