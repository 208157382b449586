"""Whose a key is, and what has become of that project."""

from __future__ import annotations

from stocktake.errors import ProjectNotFound
from stocktake.layouts import ParsedKey, Registry, project_stem
from stocktake.ledger import Ledger, Operations
from stocktake.model import LedgerEntry, ProjectState, Record, State
from stocktake.object_deletion import is_deleted

NOBODY = "(none)"
"""Counts objects that belong to no project the ledger knows."""


class Owners:
    """Whose a key is, asked once per project while a range is walked."""

    def __init__(self, ledger: Ledger, layouts: Registry) -> None:
        self._ledger = ledger
        self._layouts = layouts
        self._states: dict[str, str] = {}

    def of(self, parsed: ParsedKey | None, entry: LedgerEntry | Record | None) -> str:
        if entry is not None:
            return project_stem(entry.project_id)
        stem = self._stem(parsed)
        return stem if stem is not None and self._state(stem) != "none" else NOBODY

    def state(self, parsed: ParsedKey | None) -> str:
        stem = self._stem(parsed)
        return "none" if stem is None else self._state(stem)

    def _stem(self, parsed: ParsedKey | None) -> str | None:
        return None if parsed is None else self._layouts.owner(parsed, lambda stem: self._state(stem) != "none")

    def _state(self, stem: str) -> str:
        if stem not in self._states:
            try:
                self._states[stem] = self._ledger.project(stem).state.lower()
            except ProjectNotFound:
                self._states[stem] = "none"
        return self._states[stem]


def is_leaving(ledger: Ledger, operations: Operations, record: Record) -> bool:
    """Says whether a record without its object is on its way out: a deletion removes the bytes first and the record after them.

    A record that never had an object is not. A project whose row is gone was not deleted: that leaves a row. Its records are missed as any
    other's.
    """
    if record.state not in (State.STORED, State.MISSING):
        return False
    try:
        is_closed = ledger.project(record.project_id).state is not ProjectState.ACTIVE  # as it is now: a deletion may have begun meanwhile
    except ProjectNotFound:
        is_closed = False
    return is_closed or is_deleted(operations, record.object_id)
