"""The drill: an object of our own is set aside and restored, and held against what it was, so that quarantine is known to work before it
is needed.

It goes the way of every orphan: a project of its own, a key of a known layout, the same steps. Its object bears an upload's mark, so that
no event makes a record of it. All it ever writes lies under one key and one project: what a drill that was killed has left is found by the
next one, which takes it away first, and takes away nothing that a drill has not marked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from stocktake.errors import Conflict, ProjectExists, StocktakeError
from stocktake.layouts import project_stem
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.model import Record, State, StoredObject
from stocktake.quarantine import Quarantine
from stocktake.storage import Content, Store
from stocktake.storage.rules import INTENT

KIND = "drill"
PROJECT = "stocktake-drill"
KEY = f"projects/{PROJECT}/scenes/drill/media/planted.txt"
_MARK = "stocktake-drill"
_LONGEST_MS = 600_000
"""For which a drill that says it is running is believed: twice what a step may take."""
_KEEP_MS = 400 * 86_400_000
_HEADERS = ("size", "content_type", "cache_control", "content_disposition", "metadata")
_MOVES = frozenset({"state", "etag", "updated_at", "version"})
"""What of a record the way there and back changes."""


class Drills:
    """The drills of one deployment."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        operations: Operations,
        quarantine: Quarantine,
        *,
        now: Callable[[], int],
        new_id: Callable[[int], str],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self._quarantine = quarantine
        self._now = now
        self._new_id = new_id

    def run(self) -> Operation:
        """Plants an object, sets it aside, restores it, compares, takes it away again, and returns what came of it: PASSED or FAILED.

        Raises:
            Conflict: another is running.
            LedgerError: its result could not be kept.
        """
        self._end_killed()
        at = self._now()
        drill = self._operations.put(
            f"drill-{self._new_id(at)}",
            "",
            KIND,
            {"started_at": at, "etag": None},
            created_at=at,
            status="RUNNING",
            expires_at=at + _KEEP_MS,
        )
        why, differences = None, list[str]()
        try:
            self._clean()
            drill, planted = self._plant(drill)
            differences = self._there_and_back(drill.operation_id, planted)
        except StocktakeError as error:
            why = f"{type(error).__name__}: {error}"
        try:
            self._discard_of(drill)
            self._clean()
        except StocktakeError as error:
            why = why or f"what it planted could not be taken away: {error}"
        passed = why is None and not differences
        document = {**drill.document, "finished_at": self._now(), "differences": differences, "why": why}
        return self._operations.update(drill, document=document, status="PASSED" if passed else "FAILED")

    def recent(self, limit: int) -> list[Operation]:
        """Reads the newest."""
        return self._operations.recent(KIND, limit)

    def _plant(self, drill: Operation) -> tuple[Operation, StoredObject]:
        with suppress(ProjectExists):
            self._ledger.create_project(PROJECT, {"purpose": "quarantine drills"}, self._now())
        body = _body(drill.operation_id)
        planted = self._store.put(
            KEY,
            body,
            content_type="text/plain; charset=utf-8",
            sha256=hashlib.sha256(body).hexdigest(),
            metadata={INTENT: drill.operation_id, _MARK: "planted", "note": "smörgåsbord, 100 %"},
            cache_control="private, max-age=60",
            content_disposition='attachment; filename="planted.txt"',
            only_if_absent=True,
        )
        return self._operations.update(drill, document={**drill.document, "etag": planted.etag}), planted

    def _there_and_back(self, drill_id: str, planted: StoredObject) -> list[str]:
        differences = []
        entry = self._quarantine.set_aside(KEY, planted.etag, planted, run_id=drill_id, why="a drill")
        held = self._ledger.record(KEY)
        if self._store.head(KEY) is not None:
            differences.append("the object still lay under its key after it was set aside")
        if held is None or held.state is not State.QUARANTINED:
            differences.append("no QUARANTINED record held the key while the object was set aside")
        self._quarantine.restore(entry.operation_id)
        return differences + _compared(_body(drill_id), planted, self._store.get(KEY), held, self._ledger.record(KEY))

    def _end_killed(self) -> None:
        for drill in self._operations.recent(KIND, 5):
            if drill.status != "RUNNING":
                continue
            if drill.document["started_at"] > self._now() - _LONGEST_MS:
                raise Conflict("a drill is running: wait for its result")
            self._discard_of(drill)
            self._operations.update(drill, document={**drill.document, "differences": [], "why": "it was killed"}, status="FAILED")

    def _discard_of(self, drill: Operation) -> None:
        etag = drill.document["etag"]
        entry = self._quarantine.begun(drill.operation_id, KEY, etag) if etag else None
        if entry is not None and entry.status not in ("RESTORED", "CANCELLED"):
            self._quarantine.discard(entry)

    def _clean(self) -> None:
        """Takes away what a drill put under its key, record first: an object without a record that bears our mark is adopted by nobody."""
        found, record = self._store.head(KEY), self._ledger.record(KEY)
        is_ours = found is None or _MARK in found.metadata
        if record is not None and is_ours and project_stem(record.project_id) == project_stem(PROJECT):
            self._ledger.move(record, None, gated=False)
        if found is not None and is_ours:
            self._store.delete(KEY, if_etag=found.etag)


def _body(drill_id: str) -> bytes:
    return f"{drill_id}: planted by a drill of the quarantine, and taken away by it\n".encode()


def _compared(body: bytes, planted: StoredObject, restored: Content | None, held: Record | None, record: Record | None) -> list[str]:
    """Names everything that is not as it was."""
    if restored is None:
        return ["the object is not back under its key"]
    differences = ["the bytes are others"] if restored.body != body else []
    differences += [f"header {name}" for name in _HEADERS if getattr(restored.object, name) != getattr(planted, name)]
    if record is None or held is None:
        return [*differences, "there is no record of the restored object"]
    if (record.state, record.etag) != (State.STORED, restored.object.etag):
        differences.append("the record does not say STORED with the object's ETag")
    before: dict[str, Any] = asdict(held)
    differences += [f"field {name} of the record" for name, value in asdict(record).items() if name not in _MOVES and value != before[name]]
    return differences
