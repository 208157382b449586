"""A name has one record, in whatever Unicode spelling."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest

from stocktake.errors import ProjectClosed, RecordChanged
from stocktake.ledger.rows import spelling_row
from stocktake.model import State
from tests.planting import put_records
from tests.unit.ledger.builders import NOW, Deployment, a_record

FOLDER = "projects/p1/scenes/s/media/"
COMPOSED, DECOMPOSED = "caf\u00e9 K\u00f6ln", "cafe\u0301 Ko\u0308ln"
MIXED, KELVIN = "cafe\u0301 K\u00f6ln", "cafe\u0301 \u212ao\u0308ln"
PAIRS = [(COMPOSED, MIXED), (MIXED, COMPOSED), (DECOMPOSED, MIXED), (KELVIN, DECOMPOSED), ("5 K", "5 \u212a"), ("5 \u212a", "5 K")]
PAIRS += [("q\u0307\u0323", "q\u0323\u0307"), ("\u2126", "\u03a9"), ("a;", "a\u037e"), ("\u1fef", "`")]


def rows_of(deployment: Deployment) -> int:
    """Counts the rows of the objects' table: records, and whatever goes with them."""
    return int(deployment.tables.client.scan(TableName=deployment.tables.objects.Meta.table_name)["Count"])


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_name_that_is_recorded_is_not_recorded_again_in_another_spelling(deployment: Deployment, first: str, second: str) -> None:
    assert first != second
    recorded, ledger = deployment.record(FOLDER + first), deployment.ledger
    with pytest.raises(RecordChanged):
        deployment.record(FOLDER + second)
    assert (ledger.record(FOLDER + second), ledger.spelled_otherwise(FOLDER + second)) == (None, recorded)
    assert ledger.spelled_otherwise(recorded.key) is None


@pytest.mark.parametrize("in_bulk", [False, True])
@pytest.mark.parametrize("state", [State.STORED, State.INLINE])
@pytest.mark.parametrize("name", [COMPOSED, MIXED])
def test_a_name_is_free_again_once_its_record_is_gone(deployment: Deployment, name: str, state: State, in_bulk: bool) -> None:
    content = bytes(10) if state is State.INLINE else None
    record = deployment.ledger.move(None, a_record(FOLDER + name, state=state), gated=True, content=content)
    assert record is not None
    if in_bulk:
        assert deployment.ledger.remove_many([record]).removed.objects == 1
    else:
        deployment.ledger.move(record, None, gated=False)
    assert (rows_of(deployment), deployment.ledger.spelled_otherwise(FOLDER + DECOMPOSED)) == (0, None)
    assert deployment.record(FOLDER + DECOMPOSED).version == 1


@pytest.mark.parametrize("state", [State.STORED, State.INLINE])
@pytest.mark.parametrize("name", ["plain", COMPOSED, MIXED])
def test_a_closed_project_is_told_from_a_name_that_is_taken(deployment: Deployment, name: str, state: State) -> None:
    deployment.ledger.begin_deletion("p1", "d", NOW)
    with pytest.raises(ProjectClosed):
        content = bytes(10) if state is State.INLINE else None
        deployment.ledger.move(None, a_record(FOLDER + name, state=state), gated=True, content=content)
    assert rows_of(deployment) == 0


@pytest.mark.parametrize(("first", "second"), PAIRS[:3])
def test_two_spellings_at_one_moment_make_one_record(deployment: Deployment, first: str, second: str) -> None:
    deployment.faults.before("TransactWriteItems", lambda: deployment.record(FOLDER + first))
    with pytest.raises(RecordChanged):
        deployment.record(FOLDER + second)
    assert [entry.key for entry in deployment.ledger.entries()] == [FOLDER + first]


def test_records_in_many_spellings_are_removed_together(deployment: Deployment) -> None:
    records = [
        a_record(f"{FOLDER}{number}{MIXED}", version=1) for number in range(55)
    ]  # with their spellings more than a transaction takes
    put_records(deployment.tables, records)
    deployment.faults.calls.clear()
    assert deployment.ledger.remove_many(records).removed.objects == 55
    assert deployment.faults.done("TransactWriteItems") == 2
    assert rows_of(deployment) == 0


def test_a_name_that_is_longer_than_any_key_is_one_name_too(deployment: Deployment) -> None:
    folder, long = "projects/p1/scenes/s/media/", "\u0958" * 332  # NFC makes two letters of each
    assert len((folder + long).encode()) <= 1024 < len(unicodedata.normalize("NFC", folder + long).encode())
    record = deployment.record(folder + long)
    assert deployment.ledger.spelled_otherwise(folder + long) is None
    deployment.ledger.move(record, None, gated=False)
    assert rows_of(deployment) == 0


def test_what_an_older_version_recorded_is_found_once_it_was_noted(deployment: Deployment) -> None:
    ledger, other = deployment.ledger, FOLDER + DECOMPOSED
    old, plain = deployment.record(FOLDER + MIXED), deployment.record(FOLDER + "plain")
    spelling_row(deployment.tables.spellings, old.key).delete()
    assert ledger.spelled_otherwise(other) is None
    ledger.note_spelling(old)
    ledger.note_spelling(plain)
    assert (ledger.spelled_otherwise(other), rows_of(deployment)) == (old, 3)
    writes = deployment.faults.done("TransactWriteItems")
    ledger.note_spelling(old)
    assert deployment.faults.done("TransactWriteItems") == writes
    ledger.move(old, None, gated=False)
    ledger.note_spelling(old)  # it went at this moment
    assert rows_of(deployment) == 1


def test_of_two_records_of_one_name_that_an_older_version_wrote_the_other_stays_found(deployment: Deployment) -> None:
    found = deployment.record(FOLDER + MIXED)
    other = replace(a_record(FOLDER + DECOMPOSED), version=1)
    put_records(deployment.tables, [other])
    spelling_row(deployment.tables.spellings, found.key).save()  # of the two it names this one
    deployment.ledger.move(other, None, gated=False)
    assert deployment.ledger.spelled_otherwise(FOLDER + COMPOSED) == found
    deployment.ledger.move(found, None, gated=False)
    assert rows_of(deployment) == 0


def test_counting_what_an_older_version_recorded_notes_its_spelling_too(deployment: Deployment) -> None:
    old = replace(a_record(FOLDER + MIXED), version=1)
    put_records(deployment.tables, [old])
    spelling_row(deployment.tables.spellings, old.key).delete()
    assert deployment.ledger.attribute([old]) == 1
    found = deployment.ledger.spelled_otherwise(FOLDER + DECOMPOSED)
    assert found is not None
    assert found.key == old.key


def test_a_key_that_can_have_no_other_spelling_costs_nothing(deployment: Deployment) -> None:
    deployment.faults.calls.clear()
    record = deployment.record("projects/p1/2026/11/01KAHXPKEN0000000000000000.png")
    [(_, written)] = [call for call in deployment.faults.calls if call[0] == "TransactWriteItems"]
    assert len(written["TransactItems"]) == 2
    deployment.faults.calls.clear()
    assert deployment.ledger.spelled_otherwise(record.key) is None
    assert deployment.faults.calls == []
