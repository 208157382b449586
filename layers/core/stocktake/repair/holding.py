"""The key of an orphan, held while its object is deleted, so that nothing can be recorded under it meanwhile.

A look at the ledger tells of the moment before. What holds a key is a record of it, QUARANTINED, as while an object is set aside: an event,
an import or another repair that would record the object finds the key taken and leaves it alone. It goes once the object is gone, or is
seen not to be the one that was to go.

One whose deletion broke off stays, since nobody can tell whether the store still is at it, and is let go by the next apply that comes to
the same finding, whatever that is to do, or that refreshes the finding a newer run makes of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from stocktake.alignment import Aligner, record_of_object
from stocktake.errors import ProjectClosed, ProjectNotFound, RecordChanged
from stocktake.model import ProjectState, Record, State, StoredObject

_PREFIX = "deleting-"
"""Begins the object id of what holds a key; no object's own id has it."""
_ATTEMPTS = 5


class Holds:
    """The keys that are held. One apply is alive at a time, so whoever acts may let go of what an earlier one held."""

    def __init__(self, aligner: Aligner, *, now: Callable[[], int]) -> None:
        self._aligner = aligner
        self._ledger = aligner.ledger
        self._now = now

    def take(self, seen: StoredObject, run_id: str) -> None:
        """Writes the record that holds the key of an orphan.

        An orphan of a deleted project needs none, for nothing can be recorded in it.

        Raises:
            RecordChanged: the key has a record by now, or its project is closing, or nobody can tell any more whose it is.
        """
        parsed = self._aligner.layouts.parse(seen.key)
        stem = self._aligner.owner_of(parsed)
        try:
            project = self._ledger.project(stem) if stem is not None else None
        except ProjectNotFound:
            project = None
        if project is None or parsed is None:
            raise RecordChanged(f"nobody can tell any more whose {seen.key!r} is")
        if project.state is ProjectState.DELETED:
            return
        name = hashlib.sha256(f"{run_id}\n{seen.key}\n{seen.etag}".encode()).hexdigest()[:32]
        held = record_of_object(
            seen, parsed, project, state=State.QUARANTINED, object_id=_PREFIX + name, at=self._now(), source="reconciliation"
        )
        try:
            self._ledger.move(None, held, gated=True)
        except ProjectClosed as closed:
            raise RecordChanged(f"the project of {seen.key!r} is being deleted: its deletion removes the object") from closed

    def let_go(self, key: str) -> Record | None:
        """Removes what holds a key, and returns a record of it that holds nothing, where there is one."""
        for _ in range(_ATTEMPTS):
            record = self._ledger.record(key)
            if not is_hold(record):
                return record
            try:
                self._ledger.move(record, None, gated=False)
            except RecordChanged:  # the deletion of its project took it first
                continue
            return None
        raise RecordChanged(f"what holds {key!r} changed {_ATTEMPTS} times while it was let go")


def is_hold(record: Record | None) -> bool:
    """Says whether a record does nothing but hold its key."""
    return record is not None and record.state is State.QUARANTINED and holds(record.object_id)


def holds(object_id: str) -> bool:
    """Says whether an object id is of what holds a key."""
    return object_id.startswith(_PREFIX)
