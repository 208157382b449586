"""What is counted by layout, content type, provider and purpose."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from stocktake.errors import RecordChanged
from stocktake.ledger import Cell, CountRows
from stocktake.ledger.counting import FURTHER, MAX_NAME, MAX_NAMES
from stocktake.model import State, Tally
from tests.planting import put_records
from tests.unit.ledger.builders import NOW, Deployment, a_record, an_intent, conflict, entry, no_answer


def stored(deployment: Deployment, dimension: str, project: str = "p1") -> dict[str, int]:
    """Returns the stored objects by cell."""
    cells = deployment.ledger.project_counts(project).dimensions[dimension]
    return {name: cell.stored.objects for name, cell in cells.items() if cell.stored.objects}


def test_an_upload_is_counted_when_it_is_announced_and_as_stored_when_it_is(deployment: Deployment) -> None:
    ledger = deployment.ledger
    intent = ledger.move(None, an_intent(size=10, metadata={"provider": "openai", "purpose": "input"}), gated=True)
    ten = Tally(1, 10)
    counts = ledger.project_counts("p1")
    assert counts.dimensions == {
        "layout": {"current": Cell(Tally(), ten)},
        "type": {"image/png": Cell(Tally(), ten)},
        "provider": {"openai": Cell(Tally(), ten)},
        "purpose": {"input": Cell(Tally(), ten)},
    }
    ledger.move(intent, replace(intent, state=State.STORED, size=12, content_type="image/webp", etag="e"), gated=True)
    counts, twelve = ledger.project_counts("p1"), Tally(1, 12)
    assert counts.dimensions["type"] == {"image/webp": Cell(twelve, twelve)}
    assert counts.dimensions["provider"] == {"openai": Cell(twelve, twelve)}
    record = ledger.record(intent.key)
    assert record is not None
    ledger.move(record, None, gated=False)
    assert not any(ledger.project_counts("p1").dimensions.values())


def test_what_a_bucket_calls_its_objects_is_counted_by_name_only_where_an_upload_may_be_it(deployment: Deployment) -> None:
    for number, content_type in enumerate(["IMAGE/PNG; charset=x", "image/png", "text/made-up", "application/x-1", None, ""]):
        deployment.record(f"k{number}", content_type=content_type)
    assert stored(deployment, "type") == {"image/png": 2, "other": 2, "none": 2}


def test_every_type_of_an_upload_is_counted_by_its_name(deployment: Deployment) -> None:
    from stocktake.checks import ALLOWED

    for content_type in ALLOWED:
        deployment.record(content_type, content_type=content_type)
    assert stored(deployment, "type") == dict.fromkeys(ALLOWED, 1)


def test_names_are_texts_that_fit_and_what_is_none_is_counted_as_that(deployment: Deployment) -> None:
    long = "x" * MAX_NAME
    for number, provider in enumerate([long, long + "x", " padded ", "two\nlines", "", "  ", 7, None, ["a"]]):
        deployment.record(f"k{number}", metadata={"provider": provider})
    assert stored(deployment, "provider") == {long: 1, "padded": 1, "other": 2, "none": 5}
    assert stored(deployment, "purpose") == {"none": 9}


def test_the_first_names_of_a_project_are_counted_and_all_others_together(deployment: Deployment) -> None:
    for number in range(MAX_NAMES + 5):
        deployment.record(f"k{number}", metadata={"provider": f"v{number}"})
    deployment.record("again", metadata={"provider": "v0"})
    counted = stored(deployment, "provider")
    assert counted == {**{f"v{number}": 1 for number in range(MAX_NAMES)}, "v0": 2, "other": 5}
    row = deployment.tables.projects.get("p1", "project", consistent_read=True)
    assert f"v{MAX_NAMES}" not in row.names


def test_a_removal_takes_a_record_off_the_cells_it_was_counted_in(deployment: Deployment) -> None:
    records = [
        deployment.record(f"k{n}", metadata={"provider": f"v{n}"}, content_type=f"image/{'png' if n % 2 else 'gif'}") for n in range(20)
    ]
    summary = deployment.ledger.remove_many([*map(entry, records[:12]), *records[12:18]])
    assert summary.removed.objects == 18
    assert stored(deployment, "provider") == {"v18": 1, "v19": 1}
    assert stored(deployment, "type") == {"image/gif": 1, "image/png": 1}


def test_a_removal_of_what_the_index_shows_reads_nothing(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    deployment.ledger.create_project("p1", {}, NOW)
    for number in range(150):
        deployment.record(f"k{number}")
    shown = list(deployment.ledger.project_records("p1"))
    deployment.faults.calls.clear()
    deployment.ledger.remove_many(shown)
    assert (deployment.faults.done("BatchGetItem"), deployment.faults.done("TransactWriteItems")) == (0, 2)
    assert {state: tally for state, tally in deployment.ledger.counts("p1").items() if tally != Tally()} == {}


def test_a_removal_of_what_does_not_say_its_cells_reads_them_together(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    deployment.ledger.create_project("p1", {}, NOW)
    records = [deployment.record(f"k{number}") for number in range(150)]
    deployment.faults.calls.clear()
    assert deployment.ledger.remove_many(map(entry, records)).removed.objects == 150
    assert (deployment.faults.done("BatchGetItem"), deployment.faults.done("TransactWriteItems")) == (2, 4)


def test_a_move_costs_two_items_whatever_is_counted(deployment: Deployment) -> None:
    deployment.record("first", metadata={"provider": "openai", "purpose": "input"})
    deployment.faults.calls.clear()
    deployment.record("k", metadata={"provider": "openai", "purpose": "input"})
    ((name, params),) = deployment.faults.calls
    assert (name, len(params["TransactItems"])) == ("TransactWriteItems", 2)


def test_a_name_is_read_once_and_written_once(deployment: Deployment) -> None:
    deployment.record("k0", metadata={"provider": "openai"})
    assert (deployment.faults.done("GetItem"), deployment.faults.done("UpdateItem")) == (1, 1)
    other = type(deployment.ledger)(deployment.tables, shards=16)
    deployment.faults.calls.clear()
    for number in range(3):
        other.move(None, a_record(f"k{number + 1}", metadata={"provider": "openai"}), gated=True)
    assert [name for name, _ in deployment.faults.calls].count("UpdateItem") == 0
    assert stored(deployment, "provider") == {"openai": 4}


def test_two_that_bring_a_name_at_one_moment_count_it_as_one(deployment: Deployment) -> None:
    other = type(deployment.ledger)(deployment.tables, shards=16, sleep=deployment.slept.append)
    deployment.ledger.record("warm")
    other.record("warm")

    def rival() -> None:
        other.move(None, a_record("theirs", metadata={"provider": "theirs", "purpose": "x"}), gated=True)

    deployment.faults.before("UpdateItem", rival)
    deployment.record("ours", metadata={"provider": "ours", "purpose": "x"})
    assert stored(deployment, "provider") == {"theirs": 1, "ours": 1}
    assert stored(deployment, "purpose") == {"x": 2}


def test_a_deletion_that_begins_as_a_name_comes_loses_no_name(deployment: Deployment) -> None:
    deployment.record("k", metadata={"provider": "first"})

    def rival() -> None:
        deployment.record("k2", metadata={"provider": "second"})

    deployment.faults.before("TransactWriteItems", rival)
    deployment.ledger.begin_deletion("p1", "d", NOW)
    assert stored(deployment, "provider") == {"first": 1, "second": 1}


def test_a_tombstone_holds_no_name_and_the_next_life_begins_anew(deployment: Deployment) -> None:
    record = deployment.record("k", metadata={"provider": "somebody", "purpose": "secret"})
    closed = deployment.ledger.begin_deletion("p1", "d", NOW)
    assert stored(deployment, "provider") == {"somebody": 1}, "what a deletion still has to remove is counted by its name"
    deployment.ledger.remove_many([record])
    deployment.ledger.finish_deletion("p1", "d", closed.epoch, NOW)
    for row in deployment.tables.projects.scan():
        assert "somebody" not in repr(row.attribute_values)
        assert "secret" not in repr(row.attribute_values)
    again = deployment.ledger.create_project("p1", {}, NOW)
    deployment.record("k", epoch=again.epoch, metadata={"provider": "anybody"})
    assert stored(deployment, "provider") == {"anybody": 1}


def test_a_write_of_another_life_takes_no_place_among_the_names_of_this_one(deployment: Deployment) -> None:
    deployment.record("now", metadata={"provider": "x"})
    deployment.ledger.move(None, a_record("k", epoch=7, metadata={"provider": "of another life"}), gated=False)
    assert stored(deployment, "provider") == {"x": 1, "other": 1}
    assert deployment.ledger.cells("p1", 7, {"provider": "x"}) == {"provider": FURTHER}


def test_a_name_that_a_closed_project_cannot_take_up_is_counted_as_a_further_one_at_once(deployment: Deployment) -> None:
    put_records(deployment.tables, [older := a_record("k", metadata={"provider": "new"})])
    deployment.ledger.begin_deletion("p1", "d", NOW)
    deployment.slept.clear()
    deployment.ledger.move(older, replace(older, state=State.QUARANTINED), gated=False)
    record = deployment.ledger.record("k")
    assert (record and record.counted_as, deployment.slept) == (f"current\nimage/png\n{FURTHER}\n", [])


def test_who_read_a_record_before_it_was_counted_elsewhere_does_not_move_it(deployment: Deployment) -> None:
    record = deployment.record("k")
    with pytest.raises(RecordChanged):
        deployment.ledger.move(replace(record, counted_as=None), replace(record, state=State.MISSING), gated=False)
    with pytest.raises(RecordChanged):
        deployment.ledger.move(replace(record, counted_as="flat\nother\n\n"), None, gated=False)
    assert deployment.ledger.remove_many([entry(record)]).removed.objects == 1
    assert not any(deployment.ledger.project_counts("p1").dimensions.values())


def test_counts_are_exact_under_100_writers_and_their_retries(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    deployment.ledger.create_project("p1", {}, NOW)
    real, calls = deployment.faults._real, itertools.count(1)

    def troubled(operation: str, params: dict[str, Any]) -> Any:
        number = next(calls)
        if operation == "TransactWriteItems" and number % 3 == 0:
            raise conflict()
        answer = real(operation, params)
        if operation == "TransactWriteItems" and number % 7 == 0:
            raise no_answer()
        return answer

    deployment.faults._real = troubled

    def write(number: int) -> None:
        said = {"provider": f"v{number % 40}", "purpose": ["input", "output"][number % 2]}
        key = f"projects/p1/2026/11/{number:026d}.png"
        intent = deployment.ledger.move(None, an_intent(key, size=number, metadata=said), gated=True)
        record = deployment.ledger.move(intent, replace(intent, state=State.STORED, etag="e"), gated=True)
        if number % 5 == 0:
            deployment.ledger.move(record, replace(record, state=State.MISSING), gated=False)
        elif number % 5 == 1:
            deployment.ledger.remove_many([entry(record)])

    with ThreadPoolExecutor(100) as pool:
        list(pool.map(write, range(100)))
    deployment.faults._real = real
    counts = deployment.ledger.project_counts("p1")
    assert (counts.states[State.STORED].objects, counts.states[State.MISSING].objects) == (60, 20)
    assert sum((cell.stored for cell in counts.dimensions["provider"].values()), Tally()) == counts.states[State.STORED]
    assert counts.dimensions["purpose"]["input"].records.objects == sum(n % 2 == 0 and n % 5 != 1 for n in range(100))
    rows = CountRows(deployment.tables, sleep=deployment.slept.append)
    for shard in (f"{number:02x}" for number in range(16)):
        (page,) = rows.records(shard, "")
        (row,) = rows.rows(shard)
        assert {name: n for name, n in row.numbers.items() if n} == {name: n for name, n in page.numbers.get("p1", {}).items() if n}


def test_a_count_row_stays_small_whatever_callers_say(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    deployment.ledger.create_project("p1", {}, NOW)
    for number in range(3 * MAX_NAMES):
        deployment.record(
            f"k{number}", metadata={"provider": f"{number:0>60}", "purpose": f"{number:x>60}"}, content_type=f"image/{number}"
        )
    for row in deployment.tables.client.scan(TableName=deployment.tables.projects.Meta.table_name)["Items"]:
        assert sum(len(name) + len(str(value)) for name, value in row.items()) < 10_000


def test_a_project_whose_own_row_is_lost_is_counted_by_its_count_rows(deployment: Deployment) -> None:
    deployment.record("k")
    deployment.tables.projects("p1", "project").delete()
    ((counts),) = deployment.ledger.all_counts()
    assert (counts.project_id, counts.states[State.STORED]) == ("p1", Tally(1, 10))


def test_a_count_row_that_is_lost_keeps_nobody_from_the_counts(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(shards=4)
    deployment.ledger.create_project("p1", {}, NOW)
    deployment.ledger.create_project("p2", {}, NOW)
    deployment.record("k", project_id="p2")
    for part in ("counts#00", "counts#01", "counts#02", "counts#03"):
        deployment.tables.projects("p1", part).delete()
    assert {counts.project_id: counts.states[State.STORED].objects for counts in deployment.ledger.all_counts()} == {"p1": 0, "p2": 1}
    assert deployment.ledger.counts("p1")[State.STORED] == Tally()


def test_the_counts_of_all_are_read_by_four_at_once_and_each_row_once(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(shards=4)
    for number in range(12):
        deployment.ledger.create_project(f"p{number}", {}, NOW)
        deployment.record(f"{number}/k", project_id=f"p{number}")
    deployment.faults.calls.clear()
    deployment.faults.page_size = 3
    counted = list(deployment.ledger.all_counts())
    assert sorted(project.project_id for project in counted) == sorted(f"p{number}" for number in range(12))
    assert all(project.states[State.STORED] == Tally(1, 10) for project in counted)
    asked: list[Any] = [params.get("Segment") for name, params in deployment.faults.calls if name == "Scan"]
    assert (set(asked), {name for name, _ in deployment.faults.calls}) == ({0, 1, 2, 3}, {"Scan"})


def test_a_record_that_is_counted_between_its_look_and_its_removal_is_looked_at_again(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    deployment.ledger.create_project("p1", {}, NOW)
    older = a_record("k")
    put_records(deployment.tables, [older])
    deployment.faults.before("TransactWriteItems", lambda: deployment.ledger.attribute([older]))
    assert deployment.ledger.remove_many([entry(older)]).removed.objects == 1
    counts = deployment.ledger.project_counts("p1")
    assert not any(counts.numbers.values())


def test_one_record_that_changed_keeps_no_other_from_being_attributed(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(shards=1)
    deployment.ledger.create_project("p1", {}, NOW)
    older = [a_record(f"k{number}") for number in range(4)]
    put_records(deployment.tables, older, shards=1)
    deployment.ledger.move(older[1], replace(older[1], state=State.MISSING), gated=False)
    deployment.ledger.move(older[2], None, gated=False)
    assert deployment.ledger.attribute(older) == 2
    assert stored(deployment, "type") == {"image/png": 2}
    assert deployment.ledger.project_counts("p1").unattributed == Cell()
