"""Findings as they are asked for: any mixture of filters, page by page, in memory and requests that no run can make grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from stocktake.errors import InvalidRequest
from stocktake.explanations import SENTENCES
from stocktake.layouts import project_stem
from stocktake.ledger import Operation, Operations
from stocktake.ledger.operations import cursor_of
from stocktake.reconciliation.owners import NOBODY
from stocktake.reconciliation.walking import UNEXPLAINED

READ_AT_MOST = 2000
"""Findings read for one page: most filters are no part of a row's name, so what does not pass is read too, and ends a page early."""
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which findings are asked for; None asks for any.

    Args:
        project: as anyone spells it; `(none)` for keys that belong to no project the ledger knows.
        layout: its name; `unknown` for keys that none explains.
        repair: what was done about it, as `FOUND` or `QUARANTINE`.
        first_seen_after, first_seen_before: milliseconds, neither included.
        is_new: whether the run was the first to see exactly this.

    Raises:
        InvalidRequest: there is no such kind, in the class where one is named: an empty list would say that nothing is wrong.
    """

    finding_class: str | None = None
    kind: str | None = None
    project: str | None = None
    layout: str | None = None
    repair: str | None = None
    first_seen_after: int | None = None
    first_seen_before: int | None = None
    is_new: bool | None = None

    def __post_init__(self) -> None:
        kinds = sorted({kind for of_class, kind in SENTENCES if self.finding_class in (None, of_class)})
        if self.kind is not None and self.kind not in kinds:
            of_class = f" in class {self.finding_class}" if self.finding_class else ""
            raise InvalidRequest(f"there is no kind {self.kind!r} of findings{of_class}: ask for one of {', '.join(kinds)}")

    @property
    def prefix(self) -> str:
        """What the names of the rows begin with among which they are."""
        return "finding#" if self.finding_class is None else f"finding#{self.finding_class}#"

    @property
    def is_plain(self) -> bool:
        """Whether every row of that prefix is wanted."""
        return all(getattr(self, field.name) is None for field in fields(self) if field.name != "finding_class")

    def takes(self, row: Operation) -> bool:
        """Says whether a finding's row is wanted."""
        document = row.document
        since = document["first_seen_at"]
        return (
            self.kind in (None, document["kind"])
            and (self.project is None or project_stem(self.project) == (document["project"] or NOBODY))
            and self.layout in (None, document["layout"] or UNEXPLAINED)
            and self.repair in (None, row.status)
            and (self.first_seen_after is None or since > self.first_seen_after)
            and (self.first_seen_before is None or since < self.first_seen_before)
            and (self.is_new is None or self.is_new == (document["sightings"] == 1))
        )


def selected(operations: Operations, run_id: str, wanted: Wanted, limit: int, cursor: str | None) -> tuple[list[Operation], str | None]:
    """Reads one page of a run's findings, in key order within a class.

    Returns:
        At most `limit` of them, fewer also where READ_AT_MOST were read; and the cursor of the next page, or None on the last one.

    Raises:
        InvalidRequest: the cursor is not one of ours, or of another class.
    """
    found: list[Operation] = []
    left = READ_AT_MOST
    while True:
        rows, cursor = operations.parts(run_id, wanted.prefix, limit if wanted.is_plain else min(_ROWS_AT_ONCE, left), cursor)
        for row in rows:
            if wanted.takes(row):
                found.append(row)
            if len(found) == limit:
                return found, None if cursor is None and row is rows[-1] else cursor_of(row.part)
        left -= len(rows)
        if cursor is None or left <= 0:
            return found, cursor


def rows_after(operations: Operations, run_id: str, prefix: str, after: str | None) -> Iterator[Operation]:
    """Yields the rows whose names begin with `prefix` and come after `after`, by name, page by page."""
    cursor = None if after is None else cursor_of(after)
    while True:
        rows, cursor = operations.parts(run_id, prefix, _ROWS_AT_ONCE, cursor)
        yield from rows
        if cursor is None:
            return
