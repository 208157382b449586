from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stocktake.errors import InvalidRequest, LedgerError, OperationNotFound, RecordChanged, TooLarge
from stocktake.ledger import Operation, Operations
from stocktake.ledger.operations import MAX_DOCUMENT_BYTES
from tests.unit.ledger.builders import NOW, Deployment, client_error, conflict, no_answer


@pytest.fixture
def operations(deployment: Deployment) -> Operations:
    return deployment.operations


def a_deletion(operations: Operations, operation_id: str = "d1", **changes: Any) -> Operation:
    given: dict[str, Any] = {"created_at": NOW, "status": "running", **changes}
    return operations.put(operation_id, "", "deletion", {"project_id": "p1"}, **given)


def test_an_operation_comes_back_as_it_was_put(operations: Operations) -> None:
    document = {"n": 1.0, "text": "Ünï \ud800", "nested": [None, True, {"x": []}]}
    put = operations.put("r1", "range#001", "range", document, created_at=NOW, status="open", expires_at=NOW + 999)
    assert put == Operation("r1", "range#001", "range", "open", NOW, 1, document, {}, expires_at=NOW)
    got = operations.get("r1", "range#001")
    assert got == put and repr(got.document) == repr(document)
    assert operations.get("r1") is None


def test_putting_again_replaces_the_document_and_keeps_the_counters(operations: Operations) -> None:
    a_deletion(operations, expires_at=NOW)
    operations.add("d1", "", "batches", 3)
    again = operations.put("d1", "", "deletion", {"x": 2}, created_at=NOW + 1, status="done")
    assert again == Operation("d1", "", "deletion", "done", NOW + 1, 2, {"x": 2}, {"batches": 3})


def test_what_must_not_be_there_yet_is_refused_when_it_is(operations: Operations) -> None:
    first = a_deletion(operations, if_absent=True)
    with pytest.raises(RecordChanged):
        a_deletion(operations, if_absent=True, status="other")
    assert operations.get("d1") == first


def test_of_two_who_put_a_new_part_the_second_is_told_so(operations: Operations) -> None:
    given: dict[str, Any] = {"created_at": NOW, "status": "open"}
    assert operations.put_new("r1", "finding#1", "finding", {"by": "first"}, **given)
    assert not operations.put_new("r1", "finding#1", "finding", {"by": "second"}, **given)
    finding = operations.get("r1", "finding#1")
    assert finding is not None and finding.document == {"by": "first"}


@pytest.mark.parametrize("met", [None, client_error("ConditionalCheckFailedException", "UpdateItem")], ids=["no answer", "its own write"])
def test_a_new_part_whose_reply_was_lost_was_put(deployment: Deployment, met: Exception | None) -> None:
    operations = Operations(deployment.tables, sleep=lambda _: None)
    deployment.faults.lose_reply("UpdateItem", *([met] if met else []))
    assert operations.put_new("r1", "finding#1", "finding", {"by": "us"}, created_at=NOW, status="open")
    finding = operations.get("r1", "finding#1")
    assert finding is not None and (finding.document, finding.kind, finding.version) == ({"by": "us"}, "finding", 1)


def test_an_update_is_of_the_version_that_was_read(operations: Operations) -> None:
    read = a_deletion(operations)
    updated = operations.update(read, status="verifying")
    assert (updated.status, updated.version, updated.document) == ("verifying", 2, read.document)
    with pytest.raises(RecordChanged):
        operations.update(read, document={"lost": True})
    assert operations.update(updated, document={"x": 1}) == operations.get("d1")
    gone = Operation("never", "", None, "", 0, 1, {})
    with pytest.raises(RecordChanged):
        operations.update(gone, status="x")
    assert operations.get("never") is None


def test_an_update_moves_the_expiry_only_where_one_is_given(operations: Operations) -> None:
    read = a_deletion(operations, expires_at=NOW)
    moved = operations.update(read, expires_at=NOW + 5999)
    assert moved.expires_at == NOW + 5000
    assert operations.update(moved, status="done").expires_at == NOW + 5000


def test_an_update_takes_an_operation_off_the_list_of_its_kind_only_where_it_is_told_to(operations: Operations) -> None:
    kept = operations.update(a_deletion(operations), status="done")
    assert [found.operation_id for found in operations.of_kind("deletion")] == ["d1"]
    assert operations.update(kept, listed=False).kind is None
    assert list(operations.of_kind("deletion")) == []


def test_counters_do_not_disturb_an_update(operations: Operations) -> None:
    read = a_deletion(operations)
    assert operations.add("d1", "", "removed", 98) == 98
    assert operations.add("d1", "", "removed", 2) == 100
    assert operations.add("d1", "", "failed", 1) == 1
    assert operations.update(read, status="done").counters == {"removed": 100, "failed": 1}


def test_counting_begins_a_part_but_no_operation(operations: Operations) -> None:
    assert operations.add("d1", "tally", "seen", 5) == 5
    tally = operations.get("d1", "tally")
    assert tally == Operation("d1", "tally", None, "", 0, 0, {}, {"seen": 5})
    with pytest.raises(OperationNotFound):
        operations.add("d1", "", "seen", 5)
    assert operations.get("d1") is None


def test_every_call_of_add_is_told_another_value(deployment: Deployment) -> None:
    a_deletion(deployment.operations)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: deployment.operations.add("d1", "", "n", 1), range(20)))
    assert sorted(told) == list(range(1, 21))


def test_a_part_is_put_and_counted_once_however_often_it_is_delivered(operations: Operations) -> None:
    a_deletion(operations)
    assert operations.put_once_and_count("d1", "batch#1", {"removed": 7}, "", "batches_done", created_at=NOW, status="done", expires_at=NOW)
    assert not operations.put_once_and_count("d1", "batch#1", {"removed": 9}, "", "batches_done")
    assert operations.put_once_and_count("d1", "batch#2", {"removed": 7}, "", {"batches_done": 1, "removed": 7})
    main = operations.get("d1")
    assert main is not None and main.counters == {"batches_done": 2, "removed": 7}
    assert operations.get("d1", "batch#1") == Operation("d1", "batch#1", None, "done", NOW, 1, {"removed": 7}, {}, expires_at=NOW)


def test_concurrent_deliveries_of_one_part_count_once(deployment: Deployment) -> None:
    operations = deployment.operations
    a_deletion(operations)
    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(lambda n: operations.put_once_and_count("d1", f"batch#{n % 5}", {}, "", "done"), range(20)))
    main = operations.get("d1")
    assert sum(first) == 5 and main is not None and main.counters == {"done": 5}


def test_a_part_counts_on_another_part_which_it_may_begin(operations: Operations) -> None:
    assert operations.put_once_and_count("d1", "key#1", {}, "tally", "failed")
    tally = operations.get("d1", "tally")
    assert tally is not None and tally.counters == {"failed": 1}
    with pytest.raises(OperationNotFound):
        operations.put_once_and_count("d1", "key#2", {}, "", "failed")
    assert operations.get("d1", "key#2") is None


def test_parts_are_paged_in_either_direction_without_the_main_row(operations: Operations) -> None:
    a_deletion(operations)
    for number in range(5):
        operations.put("d1", f"finding#{number}", "finding", {"n": number}, created_at=NOW, status="open")
    operations.put("d1", "range#0", "range", {}, created_at=NOW, status="open")
    operations.put("d2", "finding#9", "finding", {}, created_at=NOW, status="open")

    def read(prefix: str, limit: int, *, forward: bool = True) -> list[list[str]]:
        pages, cursor = [], None
        while True:
            page, cursor = operations.parts("d1", prefix, limit, cursor, forward=forward)
            pages.append([operation.part for operation in page])
            if cursor is None:
                return pages

    findings = [f"finding#{number}" for number in range(5)]
    assert read("finding#", 2) == [findings[:2], findings[2:4], findings[4:]]
    assert read("finding#", 5) == [findings]
    assert read("finding#", 3, forward=False) == [findings[:1:-1], findings[1::-1]]
    assert read("", 10) == [[*findings, "range#0"]]
    assert read("nothing", 10) == [[]]
    assert [operation.part for operation in operations.all_parts("d1")] == [*findings, "range#0"]
    assert [operation.part for operation in operations.all_parts("d1", "range#")] == ["range#0"]


def test_parts_are_read_page_by_page(deployment: Deployment) -> None:
    for number in range(5):
        deployment.operations.put("r", f"finding#{number}", "finding", {}, created_at=NOW, status="open")
    deployment.faults.page_size = 2
    stream = deployment.operations.all_parts("r")
    next(stream)
    assert deployment.faults.done("Query") == 1
    assert len(list(stream)) == 4


def test_a_cursor_of_others_is_refused(operations: Operations) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        operations.parts("d1", "", 3, "***")


def test_recent_lists_operations_of_a_kind_newest_first_and_none_of_their_parts(operations: Operations) -> None:
    for number in range(4):
        a_deletion(operations, f"d{number}", created_at=NOW + number)
        operations.put(f"d{number}", "batch#1", "deletion", {}, created_at=NOW + number, status="x")
    operations.put("r1", "", "reconciliation", {}, created_at=NOW, status="done")
    assert [operation.operation_id for operation in operations.recent("deletion", 3)] == ["d3", "d2", "d1"]
    assert [operation.operation_id for operation in operations.recent("reconciliation", 9)] == ["r1"]


def test_operations_of_a_kind_come_page_by_page_newest_first_and_end(operations: Operations) -> None:
    for number in range(4):
        a_deletion(operations, f"d{number}", created_at=NOW + number // 2)  # two of each moment
    first, cursor = operations.recent_page("deletion", 1)
    second, following = operations.recent_page("deletion", 2, cursor)
    third, end = operations.recent_page("deletion", 1, following)
    assert first + second + third == operations.recent("deletion", 9)
    assert (len(third), end, operations.recent_page("deletion", 4)[1], operations.recent_page("nothing", 4)) == (1, None, None, ([], None))


def test_a_page_of_a_kind_that_a_read_did_not_fill_says_where_to_go_on(operations: Operations) -> None:
    for number in range(4):
        operations.put(f"d{number}", "", "deletion", {"text": "x" * 340_000}, created_at=NOW + number, status="x")
    page, cursor = operations.recent_page("deletion", 4)
    assert 0 < len(page) < 4 and cursor is not None
    assert page + operations.recent_page("deletion", 4, cursor)[0] == [operations.get(f"d{number}") for number in (3, 2, 1, 0)]


@pytest.mark.parametrize("cursor", ["***", "eA", "eCNk", "MSM"], ids=["not ours", "x", "x#d", "1#"])
def test_a_cursor_of_another_list_is_refused_by_that_of_a_kind(operations: Operations, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        operations.recent_page("deletion", 3, cursor)


def test_a_name_that_would_sort_before_the_operation_is_refused(operations: Operations) -> None:
    for part in ("!", " x", "\x00"):
        with pytest.raises(ValueError, match="sort"):
            operations.put("d1", part, None, {}, created_at=NOW, status="")


def test_a_document_that_is_too_large_or_no_json_is_refused(deployment: Deployment) -> None:
    operations = deployment.operations
    read = a_deletion(operations)
    large = {"x": "ü" * (MAX_DOCUMENT_BYTES // 2)}
    for write in (
        lambda document: operations.put("d2", "", "k", document, created_at=NOW, status=""),
        lambda document: operations.update(read, document=document),
        lambda document: operations.put_once_and_count("d1", "p", document, "", "n"),
    ):
        with pytest.raises(TooLarge, match="spread it"):
            write(large)
        with pytest.raises(InvalidRequest, match="JSON"):
            write({"x": float("nan")})
    assert operations.get("d1") == read


def test_a_put_whose_reply_was_lost_is_a_success(deployment: Deployment) -> None:
    deployment.faults.lose_reply("UpdateItem")
    put = a_deletion(deployment.operations, if_absent=True)
    assert deployment.operations.get("d1") == put
    assert put.version == 1


def test_a_put_that_botocore_repeated_meets_its_own_write_and_is_a_success(deployment: Deployment) -> None:
    deployment.faults.lose_reply("UpdateItem", client_error("ConditionalCheckFailedException", "UpdateItem"))
    assert a_deletion(deployment.operations, if_absent=True).version == 1


def test_a_put_without_answer_is_an_error(deployment: Deployment) -> None:
    deployment.faults.refuse("UpdateItem", no_answer())
    with pytest.raises(LedgerError):
        a_deletion(deployment.operations)
    assert deployment.operations.get("d1") is None


def test_a_busy_row_is_waited_for(deployment: Deployment) -> None:
    operations = deployment.operations
    busy = client_error("TransactionConflictException", "UpdateItem")
    deployment.faults.refuse("UpdateItem", busy, times=9)
    a_deletion(operations)
    deployment.faults.refuse("UpdateItem", busy, times=9)
    assert operations.add("d1", "", "n", 1) == 1
    deployment.faults.refuse("TransactWriteItems", conflict(), times=9)
    assert operations.put_once_and_count("d1", "p", {}, "", "n")
    assert len(deployment.slept) == 27
    for write in (lambda: a_deletion(operations), lambda: operations.add("d1", "", "n", 1)):
        deployment.faults.refuse("UpdateItem", busy, times=10)
        with pytest.raises(LedgerError, match="busy"):
            write()


def test_a_part_whose_reply_was_lost_is_counted_once(deployment: Deployment) -> None:
    operations = deployment.operations
    a_deletion(operations)
    deployment.faults.lose_reply("TransactWriteItems")
    assert operations.put_once_and_count("d1", "p", {}, "", "n")
    main = operations.get("d1")
    assert main is not None and main.counters == {"n": 1}
