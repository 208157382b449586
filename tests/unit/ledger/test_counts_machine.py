"""Whatever happens in whatever order, the count rows say what the records say."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from stocktake.errors import ProjectClosed, ProjectExists, ProjectNotFound, RecordChanged
from stocktake.ledger import Cell, CountRows
from stocktake.ledger.counting import Names
from stocktake.model import ProjectState, Record, State, Tally
from tests.planting import put_records
from tests.unit.ledger.builders import NOW, Deployment, a_record, conflict, no_answer, nonzero

_PROJECTS = ("p1", "p2")
_KEYS = st.sampled_from([f"{project}/{name}" for project in _PROJECTS for name in "abc"])
_BOOLEANS = st.booleans()
_PROJECT_IDS = st.sampled_from(_PROJECTS)


class CountsFollowRecords(RuleBasedStateMachine):
    deploy: ClassVar[Callable[..., Deployment]]

    @initialize()
    def begin(self) -> None:
        self.deployment = type(self).deploy(shards=2)
        self.ledger = self.deployment.ledger
        self.records: dict[str, Record] = {}
        self.stale: list[Record] = []
        self.projects: dict[str, tuple[ProjectState, int]] = {}

    def _takes(self, record: Record) -> bool:
        return self.projects.get(record.project_id) == (ProjectState.ACTIVE, record.epoch)

    @rule(project=_PROJECT_IDS)
    def create(self, project: str) -> None:
        state, epoch = self.projects.get(project, (ProjectState.DELETED, 0))
        if state is ProjectState.DELETED:
            assert self.ledger.create_project(project, {}, NOW).epoch == epoch + 1
            self.projects[project] = (ProjectState.ACTIVE, epoch + 1)
        else:
            with pytest.raises(ProjectExists):
                self.ledger.create_project(project, {}, NOW)

    @rule(project=_PROJECT_IDS)
    def close(self, project: str) -> None:
        if project not in self.projects:
            with pytest.raises(ProjectNotFound):
                self.ledger.begin_deletion(project, "d", NOW)
            return
        state, epoch = self.projects[project]
        if state is ProjectState.ACTIVE:
            self.projects[project] = (ProjectState.DELETING, epoch + 1)
        closed = self.ledger.begin_deletion(project, "d", NOW)
        assert (closed.state, closed.epoch) == self.projects[project]

    @rule(project=_PROJECT_IDS)
    def finish(self, project: str) -> None:
        state, epoch = self.projects.get(project, (None, 0))
        if state is ProjectState.DELETING:
            self.ledger.finish_deletion(project, "d", epoch, NOW)
            self.projects[project] = (ProjectState.DELETED, epoch)

    @rule(
        key=_KEYS,
        state=st.sampled_from(State),
        size=st.integers(0, 2**40),
        epoch=st.integers(1, 3),
        gated=st.booleans(),
        said=st.fixed_dictionaries({}, optional={"provider": st.sampled_from("wxyz"), "purpose": st.sampled_from(["in", "out", 7])}),
        content_type=st.sampled_from(["image/png", "video/mp4", "text/odd", None]),
    )
    def write(self, key: str, state: State, size: int, epoch: int, gated: bool, said: dict[str, Any], content_type: str | None) -> None:
        project = key.split("/")[0]
        before = self.records.get(key)
        becomes_inline = state is State.INLINE and (before is None or before.state is not State.INLINE)
        if state is State.INLINE:
            size = size % 100 if before is None or becomes_inline else before.size
        after = replace(
            before or a_record(key, project_id=project), state=state, size=size, epoch=epoch, metadata=said, content_type=content_type
        )
        content = bytes(size) if becomes_inline else None
        if project not in self.projects:
            with pytest.raises(ProjectNotFound):
                self.ledger.move(before, after, gated=gated, content=content)
        elif gated and not self._takes(after):
            with pytest.raises(ProjectClosed):
                self.ledger.move(before, after, gated=gated, content=content)
        else:
            if before is not None:
                self.stale.append(before)
            moved = self.ledger.move(before, after, gated=gated, content=content)
            self.records[key] = moved

    @rule(key=_KEYS)
    def remove(self, key: str) -> None:
        before = self.records.pop(key, None)
        if before is not None:
            self.stale.append(before)
            self.ledger.move(before, None, gated=False)

    @rule(data=st.data())
    def write_on_what_was_read_before(self, data: st.DataObject) -> None:
        old = [record for record in self.stale if (now := self.records.get(record.key)) is None or now.version > record.version]
        if old:
            with pytest.raises(RecordChanged):
                self.ledger.move(data.draw(st.sampled_from(old)), None, gated=False)

    @rule(keys=st.lists(_KEYS, max_size=6), data=st.data())
    def remove_many(self, keys: list[str], data: st.DataObject) -> None:
        seen = {key: self.records[key] for key in keys if key in self.records}
        one_is_gone_by_then = data.draw(_BOOLEANS)
        if seen and one_is_gone_by_then:
            gone = self.records.pop(next(iter(seen)))
            self.ledger.move(gone, None, gated=False)
        present = [record for key, record in seen.items() if key in self.records]
        summary = self.ledger.remove_many(seen.values())
        assert summary.removed == Tally(len(present), sum(record.size for record in present))
        assert summary.already_gone == len(seen) - len(present)
        for key in seen:
            self.records.pop(key, None)

    @rule(fault=st.sampled_from(["conflict", "lost before", "lost after"]))
    def trouble(self, fault: str) -> None:
        """The next transaction meets a rival, or an answer is lost."""
        if fault == "lost after":
            self.deployment.faults.lose_reply("TransactWriteItems")
        else:
            self.deployment.faults.refuse("TransactWriteItems", conflict() if fault == "conflict" else no_answer())
        self.create("p1")
        self.deployment.faults._planned.clear()

    @invariant()
    def counts_are_the_sum_over_the_records(self) -> None:
        if not hasattr(self, "ledger"):
            return
        expected: dict[str, dict[State, Tally]] = {project: {} for project in self.projects}
        for record in self.records.values():
            tallies = expected[record.project_id]
            tallies[record.state] = tallies.get(record.state, Tally()) + Tally(1, record.size)
        assert {
            counts.project_id: (counts.state, {state: tally for state, tally in counts.states.items() if tally.objects})
            for counts in self.ledger.all_counts()
        } == {project: (self.projects[project][0], tallies) for project, tallies in expected.items()}
        for project in self.projects:
            assert all(tally.bytes == 0 for tally in self.ledger.counts(project).values() if not tally.objects)
            assert set(nonzero(self.ledger.counts(project))) == set(expected[project])
        assert [found.key for found in self.ledger.entries()] == sorted(self.records)

    @rule(key=_KEYS)
    def forget_what_it_is_counted_as(self, key: str) -> None:
        """A record of an older version, which no dimension counts; a recount has it counted."""
        record = self.records.get(key)
        if record is None:
            return
        self.ledger.move(self.records[key], None, gated=False)
        older = replace(record, state=State.MISSING, counted_as=None)
        put_records(self.deployment.tables, [older], shards=2)
        assert self.ledger.attribute([older]) == 1
        assert self.ledger.attribute([older]) == 0, "it was read before that, and is counted by now"
        read = self.ledger.record(key)
        assert read is not None
        self.stale.append(record)
        self.records[key] = read

    @invariant()
    def every_dimension_counts_what_the_records_say(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for project in self.projects:
            counts = self.ledger.project_counts(project)
            records = [record for record in self.records.values() if record.project_id == project]
            assert counts.unattributed == Cell()
            for dimension in ("layout", "type", "provider", "purpose"):
                expected: dict[str, Cell] = {}
                for record in records:
                    tally = Tally(1, record.size)
                    name = self._name(record, dimension)
                    expected[name] = expected.get(name, Cell()) + Cell(tally if record.state is State.STORED else Tally(), tally)
                assert counts.dimensions[dimension] == expected, (project, dimension)
        rows = CountRows(self.deployment.tables, sleep=self.deployment.slept.append)
        for shard in ("00", "01"):
            (page,) = rows.records(shard, "")
            counted = {row.project: {name: n for name, n in row.numbers.items() if n} for row in rows.rows(shard)}
            found = {project: {name: n for name, n in numbers.items() if n} for project, numbers in page.numbers.items()}
            assert {project: numbers for project, numbers in counted.items() if numbers} == found

    def _name(self, record: Record, dimension: str) -> str:
        """Says in which cell a record is to be found; a name that came when there were enough, or in another life, is among the others."""
        if dimension == "layout":
            return record.layout
        if dimension == "type":
            return "none" if record.content_type is None else record.content_type if "/odd" not in record.content_type else "other"
        said = record.metadata.get(dimension)
        if not isinstance(said, str):
            return "none"
        kept = self.ledger.record(record.key)
        assert kept is not None and kept.counted_as is not None
        cell = kept.counted_as.split("\n")[2 if dimension == "provider" else 3]
        state, epoch = self.projects[record.project_id]
        if state is ProjectState.DELETED or record.epoch != epoch - (state is ProjectState.DELETING):
            # outlived its project, which no deletion with a receipt lets happen: its cell has the name it has in the present life, if any
            row = self.deployment.tables.projects.get(record.project_id, "project", consistent_read=True)
            return Names.parse(row.names).name(dimension, cell)
        return "other" if cell == "+" else said

    @invariant()
    def bytes_are_there_for_every_inline_record_and_for_no_other(self) -> None:
        if not hasattr(self, "ledger"):
            return
        tables = self.deployment.tables
        rows = tables.client.scan(TableName=tables.objects.Meta.table_name)["Items"]
        held: dict[str, Any] = {row["key"]["S"]: row["content"]["B"] for row in rows if row["shard"]["S"].startswith("inline#")}
        inline = {key: b64encode(bytes(record.size)).decode() for key, record in self.records.items() if record.state is State.INLINE}
        assert held == inline


def test_count_rows_equal_the_sum_over_the_records_after_any_history(deploy: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.ledger.counting.MAX_NAMES", 2)
    machine = type("Machine", (CountsFollowRecords,), {"deploy": staticmethod(deploy)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
    )
