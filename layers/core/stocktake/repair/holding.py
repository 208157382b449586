"""The key of an orphan, held while its object is deleted, so that nothing can be recorded under it meanwhile.

A look at the ledger tells of the moment before. What holds a key is a record of it, QUARANTINED, as while an object is set aside: an event,
an import or another repair that would record the object finds the key taken and leaves it alone. It goes once the object is gone, or is
seen not to be the one that was to go.

One whose deletion broke off stays, since nobody can tell whether the store still is at it. It is let go by the next apply that comes to
the same finding, whatever that is to do, or that refreshes the finding a newer run makes of it; or by the purge, which reads of it in the
operations, where no finding will tell of it any more, once no step can be at its object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from stocktake.alignment import Aligner, record_of_object
from stocktake.errors import ProjectClosed, ProjectNotFound, RecordChanged
from stocktake.ledger import Operations
from stocktake.model import ProjectState, Record, State, StoredObject
from stocktake.quarantine import MOVE_MS

KIND = "hold"
_PREFIX = "deleting-"
"""Begins the object id of what holds a key; no object's own id has it."""
_ATTEMPTS = 5


class Holds:
    """The keys that are held. One apply is alive at a time, so whoever acts may let go of what an earlier one held."""

    def __init__(self, aligner: Aligner, operations: Operations, *, now: Callable[[], int]) -> None:
        self._aligner = aligner
        self._ledger = aligner.ledger
        self._operations = operations
        self._now = now

    def take(self, seen: StoredObject, run_id: str, record: Record | None) -> None:
        """Writes the record that holds the key of an orphan, or makes the one that holds it say that somebody is at it anew.

        A deleted project's is held too: the project may be opened anew at any moment.

        Args:
            record: what the ledger says of the key.

        Raises:
            RecordChanged: the key has another record by now, or its project is closing, or nobody can tell any more whose it is.
        """
        at = self._now()
        if is_hold(record):
            assert record is not None  # it holds the key
            self._note(record, run_id, at)
            self._ledger.move(record, replace(record, updated_at=at), gated=False)
            return
        parsed = self._aligner.layouts.parse(seen.key)
        stem = self._aligner.owner_of(parsed)
        try:
            project = self._ledger.project(stem) if stem is not None else None
        except ProjectNotFound:
            project = None
        if project is None or parsed is None:
            raise RecordChanged(f"nobody can tell any more whose {seen.key!r} is")
        if project.state is ProjectState.DELETING:
            raise RecordChanged(f"the project of {seen.key!r} is being deleted: its deletion removes the object")
        name = hashlib.sha256(f"{run_id}\n{seen.key}\n{seen.etag}".encode()).hexdigest()[:32]
        held = record_of_object(seen, parsed, project, state=State.QUARANTINED, object_id=_PREFIX + name, at=at, source="reconciliation")
        self._note(held, run_id, at)
        try:
            self._ledger.move(None, held, gated=project.state is ProjectState.ACTIVE)
        except ProjectClosed as closed:
            raise RecordChanged(f"the project of {seen.key!r} is being deleted: its deletion removes the object") from closed

    def let_go(self, key: str, *, was_removed: bool = False) -> Record | None:
        """Removes what holds a key, and returns the record it has then, if any. See `Aligner.let_go`."""
        for _ in range(_ATTEMPTS):
            record = self._ledger.record(key)
            if record is None or not is_hold(record):
                return record
            with suppress(RecordChanged):  # the deletion of its project took it first
                self._aligner.let_go(record, was_removed=was_removed)
                self._operations.remove(record.object_id)
        raise RecordChanged(f"what holds {key!r} changed {_ATTEMPTS} times while it was let go")

    def purge(self, *, out_of_time: Callable[[], bool]) -> None:
        """Lets go of the keys that no step can be at any more.

        Raises:
            StorageError, LedgerError: one could not be let go; the next time goes on.
        """
        for listed in self._operations.of_kind(KIND):
            if out_of_time():
                return
            # the record first: a step that comes to it after this changes it
            record = self._ledger.record(listed.document["key"])
            row = self._operations.get(listed.operation_id)
            if row is None or row.created_at > self._now() - MOVE_MS:
                continue
            if record is not None and is_hold(record) and record.object_id == row.operation_id:
                with suppress(RecordChanged):
                    self._aligner.let_go(record, was_removed=False)
                    self._operations.remove(row.operation_id)
            else:
                self._operations.remove(row.operation_id)  # it was let go, or never came to hold anything

    def _note(self, held: Record, run_id: str, at: int) -> None:
        self._operations.put(held.object_id, "", KIND, {"key": held.key, "run_id": run_id}, created_at=at, status="HELD")


def is_hold(record: Record | None) -> bool:
    """Says whether a record does nothing but hold its key."""
    return record is not None and record.state is State.QUARANTINED and holds(record.object_id)


def holds(object_id: str) -> bool:
    """Says whether an object id is of what holds a key."""
    return object_id.startswith(_PREFIX)
