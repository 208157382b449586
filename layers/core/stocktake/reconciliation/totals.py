"""What a run counts: per range while it walks, per project in rows of bounded size, and nested as it is answered.

A key is counted once under what became of it (its class, or `matched`, `young`, ...), for its layout and for its project. The sides are
counted apart from that: `bucket` is every object, `stored` every record that says it has one. A pair that matches is on both sides, and so
is counted on neither while walking: that is nearly every key of a bucket, and counting it is most of what a walk costs.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from stocktake.errors import InvalidRequest
from stocktake.ledger import Operation, Operations
from stocktake.ledger.operations import cursor_of, text_of_cursor

PROJECTS_PER_PART = 500
"""Projects counted in one row: 500 x at most 650 bytes, were there every class of finding, stays under DynamoDB's 400 KB."""

PROJECTS_OF_RANGE = "#projects#"
"""In the name of a row of what a range counted by project, between the range's name and the row's number."""

MATCHED = "matched"
BUCKET = "bucket"
STORED = "stored"
_SIDES = (BUCKET, STORED)

Tallies = dict[str, dict[str, list[int]]]
"""Objects and bytes, by layout or project and then by what they are counted under."""


@dataclass(slots=True)
class Totals:
    """What one range saw, kept with its cursor. `projects` are those since the last row of them was written."""

    layouts: Tallies = field(default_factory=dict)
    projects: Tallies = field(default_factory=dict)
    states: dict[str, list[int]] = field(default_factory=dict)
    lost: dict[str, list[int]] = field(default_factory=dict)
    flushed: int = 0

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Takes up what a range saw before its cursor."""
        states, lost = document.get("states", {}), document.get("lost", {})
        return cls(document.get("layouts", {}), document["projects"], states, lost, document["flushed"])

    def match(self, project: str, layout: str, size: int) -> None:
        """Counts a key of which both sides tell the same."""
        try:
            of_layout, of_project = self.layouts[layout][MATCHED], self.projects[project][MATCHED]
        except KeyError:
            of_layout, of_project = _tally(self.layouts, layout, MATCHED), _tally(self.projects, project, MATCHED)
        of_layout[0] += 1
        of_layout[1] += size
        of_project[0] += 1
        of_project[1] += size

    def add(self, what: str, project: str | None, layout: str, size: int) -> None:
        """Counts any other key; None is a project for what is our own, and in no project's count."""
        for tallies, name in ((self.layouts, layout), (self.projects, project)):
            if name is not None:
                tally = _tally(tallies, name, what)
                tally[0] += 1
                tally[1] += size

    def record(self, state: str, size: int) -> None:
        """Counts a record that does not match by its state."""
        tally = self.states.setdefault(state, [0, 0])
        tally[0] += 1
        tally[1] += size

    def lose(self, what: str, size: int) -> None:
        """Counts, beside what it is found as, a key that lost its `objects` or its `records` side since the run before."""
        tally = self.lost.setdefault(what, [0, 0])
        tally[0] += 1
        tally[1] += size

    def document(self) -> dict[str, Any]:
        """Returns what a range's row keeps."""
        named = {"layouts": self.layouts, "projects": self.projects, "states": self.states, "lost": self.lost}
        return {**named, "flushed": self.flushed, "counts": dict(self.counts())}

    def counts(self) -> Counter[str]:
        """Names what was counted as a run answers it: `{"orphan.objects": 3, "layout.current.bytes": 9, ...}`."""
        counts: Counter[str] = Counter()
        for layout, tallies in self.layouts.items():
            for what, tally in _whole(tallies).items():
                if what not in _SIDES:
                    _name(counts, what, tally)
                    _name(counts, f"by_layout.{layout}.{what}", tally)
                elif what == BUCKET:
                    _name(counts, BUCKET, tally)
                    _name(counts, f"layout.{layout}", tally)
                else:
                    _name(counts, "ledger.stored", tally)
        for state, tally in self.states.items():
            _name(counts, f"ledger.{state}", tally)
        for what, tally in self.lost.items():
            _name(counts, f"lost.{what}", tally)
        return counts


def _tally(tallies: Tallies, name: str, what: str) -> list[int]:
    return tallies.setdefault(name, {}).setdefault(what, [0, 0])


def _whole(tallies: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Returns the tallies with what matched counted on both sides too."""
    whole = {what: list(tally) for what, tally in tallies.items()}
    for side in _SIDES if MATCHED in tallies else ():
        whole[side] = [a + b for a, b in zip(whole.get(side, (0, 0)), tallies[MATCHED], strict=True)]
    return whole


def _name(counts: Counter[str], name: str, tally: list[int]) -> None:
    counts[f"{name}.objects"] += tally[0]
    counts[f"{name}.bytes"] += tally[1]


def added_up(rows: Iterable[Operation]) -> tuple[Counter[str], Tallies, list[str]]:
    """Adds up the rows of a run's ranges, which come by name: each range before its projects.

    Returns the run's counts, those of its projects, and the names of the ranges that are still open.
    """
    counts: Counter[str] = Counter()
    projects: Tallies = {}
    still_open = []
    flushed: dict[str, int] = {}
    for row in rows:
        of, is_of_projects, number = row.part.partition(PROJECTS_OF_RANGE)
        if not is_of_projects:
            flushed[of] = row.document["flushed"]
        elif int(number) >= flushed[of]:
            continue  # written by a step that was killed before its range said so, or before the range was begun again
        if row.status == "OPEN":
            still_open.append(row.part)
        counts.update(row.document["counts"])
        for project, tallies in row.document["projects"].items():
            for what, (objects, size) in tallies.items():
                tally = _tally(projects, project, what)
                tally[0] += objects
                tally[1] += size
    return counts, projects, still_open


def project_row(stem: str, rows: int) -> int:
    """Says in which of `rows` rows of a run a project's count lies."""
    return zlib.crc32(stem.encode()) % rows


def projects_part(number: int) -> str:
    """Names a row of a run's counts by project."""
    return f"projects#{number:06d}"


def count_of_project(operations: Operations, run: Operation, stem: str) -> dict[str, dict[str, Any]]:
    """Reads what a run counted for one project: in the bucket, as stored in the ledger, and by class."""
    row = operations.get(run.operation_id, projects_part(project_row(stem, run.document["project_rows"])))
    return _of_project(row.document["projects"].get(stem, {}) if row else {})


def counts_by_project(operations: Operations, run: Operation, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """Reads one page of what a run counted by project and class: at most one row of them, so a page may have fewer than `limit`.

    Raises:
        InvalidRequest: the cursor is not one of ours.
    """
    number, _, after = text_of_cursor(cursor).partition("#") if cursor else ("0", "", "")
    if not number.isdecimal() or len(number) > 6:
        raise InvalidRequest("the cursor is of another list: begin again without it")
    row = operations.get(run.operation_id, projects_part(int(number)))
    names = sorted(name for name in row.document["projects"] if name > after) if row else []
    page = [{"project": name, **_of_project(row.document["projects"][name])} for name in names[:limit]] if row else []
    if len(names) > limit:
        return page, cursor_of(f"{int(number)}#{names[limit - 1]}")
    following = int(number) + 1
    return page, cursor_of(f"{following}#") if following < run.document.get("project_rows", 0) else None


def _of_project(tallies: Mapping[str, list[int]]) -> dict[str, Any]:
    whole = {what: {"objects": objects, "bytes": size} for what, (objects, size) in _whole(tallies).items()}
    none = {"objects": 0, "bytes": 0}
    return {"bucket": whole.pop(BUCKET, none), "ledger": whole.pop(STORED, none), "classes": dict(sorted(whole.items()))}


def nested(counts: Mapping[str, int]) -> dict[str, Any]:
    """Turns `{"ledger.stored.objects": 3}` into `{"ledger": {"stored": {"objects": 3}}}`."""
    tree: dict[str, Any] = {}
    for name, number in sorted(counts.items()):
        *path, last = name.split(".")
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch[last] = number
    return tree
