"""The undo window of a deletion: all is set aside first, erased when the window ends, or moved back before that.

```
REQUESTED -> SETTING_ASIDE -> HELD --(erases_at)--> REMOVING ...   the deletion as it is without a window
     |             |            |
     +-------------+------------+--(undo)--> RESTORING -> UNDONE
```

Nothing is erased before the window ends. While it is open the deletion is in round 0, whose rows are

- `aside#N`: the keys of a batch, written before its message is sent;
- `seen#N`: what lay under them when a worker first took the batch up, which is what it moves, however often it is delivered;
- `moved#N`, `restored#N`: what came of moving it aside and back, written once, in one transaction with the counter of finished batches.

Undo and erasure both begin by a compare-and-set of the deletion's row out of the same three states, so one of them wins. A worker that
began before may still be moving objects then; none lives longer than `WORKER_MS`, and none begins once the deletion is not being set
aside any more. So objects are moved back only after that time, and the final sweep of an erasure is not before it (`quiet_at`).

An open window also has a row of a kind of its own, which a schedule reads: a message may be lost, and no message waits for days.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple
from typing import Any

from stocktake.discovery import Discovered
from stocktake.errors import Conflict, OperationNotFound, RecordChanged
from stocktake.ledger import JsonText, Ledger, Operation, Operations
from stocktake.model import Tally
from stocktake.project_deletion.batches import KEEP_MS, batches, items_of, last_key
from stocktake.project_deletion.purging import Purging
from stocktake.project_deletion.receipts import Totals
from stocktake.project_deletion.set_aside import ASIDE_KEYS, Moves, NotRestored, Seen, entry_id, line
from stocktake.project_deletion.wiring import Wiring
from stocktake.quarantine import enter_copy
from stocktake.storage import Store

REQUESTED, SETTING_ASIDE, HELD = "REQUESTED", "SETTING_ASIDE", "HELD"
RESTORING, UNDONE = "RESTORING", "UNDONE"
OPEN = (REQUESTED, SETTING_ASIDE, HELD)
KIND = "undo-window"
WORKER_MS = 61_000
"""Longer than a worker lives: the Timeout of its function, and a second for clocks that differ."""
_ROWS_OF_A_PAGE = 20
"""Of a few dozen keys each, so that their lines fit into an answer."""
SHOWN_BYTES = 20_000
"""JSON of the first lines of a list that stands in the deletion's own row; all of them are in the rows of the batches."""


class UndoWindow:
    """The round 0 of the deletions of one bucket."""

    def __init__(
        self, store: Store, ledger: Ledger, operations: Operations, wiring: Wiring, purging: Purging, *, now: Callable[[], int]
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self._wiring = wiring
        self._purging = purging
        self._now = now

    # the windows that are open

    def enter(self, deletion_id: str, erases_at: int) -> None:
        """Notes an open window where the schedule finds it."""
        document = {"deletion_id": deletion_id, "erases_at": erases_at}
        self._operations.put_new(_window_id(deletion_id), "", KIND, document, created_at=self._now(), status="OPEN")

    def entered(self) -> Iterator[str]:
        """Yields the deletions whose window was noted and not taken off, oldest first."""
        return (row.document["deletion_id"] for row in self._operations.of_kind(KIND))

    def leave(self, deletion_id: str) -> None:
        """Takes a window off the list. Saying it again changes nothing."""
        row = self._operations.get(_window_id(deletion_id))
        if row is not None and row.kind is not None:
            with contextlib.suppress(RecordChanged):  # another delivery of this step did
                self._operations.update(row, status="OVER", listed=False)

    def quiet_at(self, operation: Operation) -> int:
        """Returns from when on no worker can be setting anything of this deletion aside, if the window is closed now."""
        return (operation.document["held_at"] if operation.status == HELD else self._now()) + WORKER_MS

    # setting aside

    def set_aside(
        self,
        operation: Operation,
        found: Callable[[str], Iterable[Discovered]],
        stopped_at: Callable[[], str | None],
        out_of_time: Callable[[], bool],
    ) -> str:
        """Plans the batches to set aside and sends them; hands on what it has no time for. Returns the deletion's status afterwards.

        Args:
            found: every object of the project after a key, in key order.
            stopped_at: the key at which it ended for want of time, among keys of neighbours; None at its end.
        """
        deletion_id = operation.operation_id
        if operation.status == REQUESTED:
            operation = self._transition(deletion_id, (REQUESTED,), SETTING_ASIDE, lambda _: {}) or operation
        if operation.status == SETTING_ASIDE:
            if operation.document["planned"] is None and not self._plan(operation, found, stopped_at, out_of_time):
                self._send_planning(deletion_id)
            else:
                self._when_set_aside(deletion_id)
        return operation.status

    def _plan(
        self,
        operation: Operation,
        found: Callable[[str], Iterable[Discovered]],
        stopped_at: Callable[[], str | None],
        out_of_time: Callable[[], bool],
    ) -> bool:
        deletion_id, number, cursor = operation.operation_id, 0, ""
        if (last := self._operations.last_part(deletion_id, "aside#")) is not None:
            # whoever writes another row has read the one before as the last: of this one alone the message may not be sent
            number, cursor = int(last.part.split("#")[1]) + 1, last_key(last.document)
            self._send(deletion_id, last.part)
        cursor = max(cursor, operation.document.get("planned_to", ""))
        for batch in batches(found(cursor), out_of_time, most=ASIDE_KEYS):
            part = f"aside#{number:08d}"
            if not self._write_row(deletion_id, part, batch, "PLANNED"):
                return False  # another delivery of this step is ahead: begin again after its last batch
            self._send(deletion_id, part)
            number += 1
            if out_of_time():
                return False
        if (planned_to := stopped_at()) is not None:
            self._transition(deletion_id, (SETTING_ASIDE,), SETTING_ASIDE, lambda _: {"planned_to": planned_to})
            return False
        # nothing is written where the window was closed meanwhile; of two deliveries the slower one may have seen fewer batches, since
        # what another one planned may be aside by now
        planned = self._batches(deletion_id)
        self._transition(deletion_id, (SETTING_ASIDE,), SETTING_ASIDE, lambda document: {"planned": max(planned, document["planned"] or 0)})
        return True

    def work(self, operation: Operation, part: str, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Moves one batch aside (`aside#N`) or back (`restore#N`), and writes what came of it once; without time enough, hands it on.

        Raises:
            StorageError, LedgerError: not done; the message comes again.
        """
        kind, number = part.split("#")
        wanted, result_part, counter, after = (
            (SETTING_ASIDE, f"moved#{number}", "done_0", self._when_moved)
            if kind == "aside"
            else (RESTORING, f"restored#{number}", "restored", self._when_restored)
        )
        deletion_id = operation.operation_id
        if operation.status != wanted:
            return dict(NOTHING)  # the window was closed meanwhile, or all of it is done
        done = self._operations.get(deletion_id, result_part)
        if done is None:
            result = self._moved(operation, number, out_of_time) if kind == "aside" else self._restored(operation, number, out_of_time)
            if result is None:
                self._send(deletion_id, part)
                return dict(NOTHING)
            at = self._now()
            self._operations.put_once_and_count(deletion_id, result_part, result, "", counter, created_at=at, expires_at=at + KEEP_MS)
        else:
            result = dict(done.document)
        after(deletion_id)
        return result

    def _moved(self, operation: Operation, number: str, out_of_time: Callable[[], bool]) -> dict[str, Any] | None:
        deletion_id = operation.operation_id
        batch = self._operations.get(deletion_id, f"aside#{number}")
        if batch is None:
            raise OperationNotFound(f"deletion {deletion_id} has no aside#{number}")
        items, moves = items_of(batch.document), self._moves(operation)
        seen = self._seen(deletion_id, number)
        if seen is None:
            looked = {"objects": [astuple(each) for each in moves.look(items)]}
            self._write_row(deletion_id, f"seen#{number}", looked, "SEEN")
            seen = self._seen(deletion_id, number) or []  # by this delivery or by another
        result = moves.set_aside(items, seen, out_of_time)
        if result is not None:
            gone = {each.key for each in seen} - {failure["key"] for failure in result["failures"]}
            result["cdn"] = self._purging.purge_batch([item for item in items if item.key in gone], set(), out_of_time)
        return result

    def _when_moved(self, deletion_id: str) -> None:
        if self._is_set_aside(self._operation(deletion_id)):
            self._send_planning(deletion_id)  # a step of its own: a worker has no time to add up very many batches

    def _is_set_aside(self, operation: Operation) -> bool:
        planned = operation.document["planned"]
        return operation.status == SETTING_ASIDE and planned is not None and operation.counters.get("done_0", 0) >= planned

    def _when_set_aside(self, deletion_id: str) -> None:
        if self._is_set_aside(self._operation(deletion_id)):
            change = {"set_aside": self._all_moved(deletion_id), "held_at": self._now()}
            self._transition(deletion_id, (SETTING_ASIDE,), HELD, lambda _: change)

    def _all_moved(self, deletion_id: str) -> dict[str, Any]:
        totals, records, left, shown, size = Totals(), 0, 0, list[dict[str, Any]](), 0
        hashed = hashlib.sha256()
        looked = self._operations.all_parts(deletion_id, "seen#")  # both are numbered in key order, and what was moved was seen
        for row in self._operations.all_parts(deletion_id, "moved#"):
            totals.merge(row.document)
            records += row.document["records"]
            failures = {failure["key"]: failure for failure in row.document["failures"]}
            left, size = left + len(failures), _show(shown, size, failures.values())
            seen = next(each for each in looked if each.part.split("#")[1] == row.part.split("#")[1])
            for each in _read(seen):
                if each.key not in failures:
                    hashed.update(f"{each.key}\0".encode())
        return {**totals.document(), "records": records, "keys_sha256": hashed.hexdigest(), "left_objects": left, "left": shown}

    def page(self, operation: Operation, cursor: str | None) -> tuple[list[dict[str, Any]], str | None] | None:
        """Reads some of what could not be set aside, or not moved back, and the cursor of what follows; None in any other state."""
        prefix = {HELD: "moved#", UNDONE: "restored#"}.get(operation.status)
        if prefix is None:
            return None
        rows, following = self._operations.parts(operation.operation_id, prefix, _ROWS_OF_A_PAGE, cursor)
        return [failure for row in rows for failure in row.document["failures"]], following

    # undoing

    def undo(self, operation: Operation) -> Operation:
        """Closes the window for good and begins to move everything back; asked again, goes on with it.

        Raises:
            Conflict: there is no window, or it has ended, or the erasure has begun.
        """
        deletion_id, erases_at, at = operation.operation_id, operation.document.get("erases_at"), self._now()
        if operation.status in OPEN and erases_at is not None and at < erases_at:
            change = {"restore_at": self.quiet_at(operation), "restoring": None, "undone_since": at}
            operation = self._transition(deletion_id, OPEN, RESTORING, lambda _: change) or self._operation(deletion_id)
        if operation.status not in (RESTORING, UNDONE):
            raise Conflict(
                f"deletion {deletion_id!r} is {operation.status.lower()} and cannot be undone: "
                + (
                    "it was asked for without an undo window"
                    if erases_at is None
                    else "its undo window is over, and what it held is erased"
                )
            )
        if operation.status == RESTORING:
            self._send_undo(operation, "")
        return operation

    def restore(self, operation: Operation, after: str, out_of_time: Callable[[], bool]) -> str:
        """Sends the batches to move back, once no worker can still be setting aside; opens the project when all are back.

        Args:
            after: the last batch that an earlier delivery of this step sent, or "".

        Returns the deletion's status afterwards.
        """
        deletion_id = operation.operation_id
        if operation.status != RESTORING:
            return operation.status
        if self._now() < operation.document["restore_at"]:
            self._send_undo(operation, after)
            return RESTORING
        if operation.document["restoring"] is None:
            moved = self._batches(deletion_id)
            operation = self._transition(deletion_id, (RESTORING,), RESTORING, lambda _: {"restoring": moved}) or operation
        restoring = operation.document["restoring"] or 0
        if operation.counters.get("restored", 0) >= restoring:
            return self._finish(operation)
        # what a planner wrote since was never moved, and must not be counted in place of what was
        for number in range(int(after.split("#")[1]) + 1 if after else 0, restoring):
            self._send(deletion_id, f"restore#{number:08d}")
            if out_of_time():
                self._send_undo(operation, f"aside#{number:08d}")
                break
        return RESTORING

    def _restored(self, operation: Operation, number: str, out_of_time: Callable[[], bool]) -> dict[str, Any] | None:
        # no row where no worker took the batch up: nothing of it was moved
        moved_back = self._moves(operation).bring_back(self._seen(operation.operation_id, number) or [], out_of_time)
        if moved_back is None:
            return None
        in_place, failures = moved_back
        for failure in failures:
            self._keep(operation, failure)
        return {
            "objects": len(in_place),
            "bytes": sum(each.size for each in in_place),
            "failures": [line(failure.seen, failure.why) for failure in failures],
        }

    def _keep(self, operation: Operation, failure: NotRestored) -> None:
        """Makes a quarantine entry of what could not be moved back, so that it can be restored by itself once its key is free."""
        if failure.copy is None:
            return
        document, record = operation.document, self._ledger.record(failure.seen.key)
        enter_copy(
            self._operations,
            entry_id(operation.operation_id, failure.seen.key),
            failure.copy,
            key=failure.seen.key,
            project_id=document["project_id"],
            epoch=document["epoch"] - 1,  # the one in which the project goes on
            record_id=record.object_id if record is not None and failure.seen.was_stored else None,
            run_id=operation.operation_id,
            why=f"Its project's deletion was undone, and it could not be restored: {failure.why}",
            at=self._now(),
            expires_at=self._now() + document["erases_at"] - document["requested_at"],
        )

    def _when_restored(self, deletion_id: str) -> None:
        operation = self._operation(deletion_id)
        restoring = operation.document.get("restoring")
        if operation.status == RESTORING and restoring is not None and operation.counters.get("restored", 0) >= restoring:
            self._send_undo(operation, "")

    def _finish(self, operation: Operation) -> str:
        deletion_id, document = operation.operation_id, operation.document
        back, failed, shown, size = Tally(), 0, list[dict[str, Any]](), 0
        for row in self._operations.all_parts(deletion_id, "restored#"):
            back += Tally(row.document["objects"], row.document["bytes"])
            failed, size = failed + len(row.document["failures"]), _show(shown, size, row.document["failures"])
        # an earlier delivery may have opened it and died, and the project be in another deletion since
        with contextlib.suppress(RecordChanged):
            self._ledger.undo_deletion(document["project_id"], deletion_id, document["epoch"])
        undone = {
            "objects": back.objects,
            "bytes": back.bytes,
            "undone_at": self._now(),
            "not_restored_objects": failed,
            "not_restored": shown,
        }
        self._transition(deletion_id, (RESTORING,), UNDONE, lambda _: {"undone": undone})
        self.leave(deletion_id)
        return UNDONE

    # small

    def _send(self, deletion_id: str, part: str) -> None:
        self._wiring.batches({"deletion_id": deletion_id, "part": part}, 0)

    def _send_planning(self, deletion_id: str) -> None:
        self._wiring.steps({"deletion_id": deletion_id, "step": "set_aside", "round": 0}, 0)

    def _send_undo(self, operation: Operation, after: str) -> None:
        wait_ms = max(0, operation.document["restore_at"] - self._now())
        message = {"deletion_id": operation.operation_id, "step": "undo", "after": after}
        self._wiring.steps(message, min(900, -(-wait_ms // 1000)))

    def _moves(self, operation: Operation) -> Moves:
        document = operation.document
        return Moves(self._store, self._ledger, document["project_id"], operation.operation_id, document.get("undone_since"))

    def _seen(self, deletion_id: str, number: str) -> list[Seen] | None:
        row = self._operations.get(deletion_id, f"seen#{number}")
        return None if row is None else _read(row)

    def _operation(self, deletion_id: str) -> Operation:
        operation = self._operations.get(deletion_id)
        if operation is None:
            raise OperationNotFound.of_deletion(deletion_id)
        return operation

    def _write_row(self, deletion_id: str, part: str, document: Mapping[str, Any] | JsonText, status: str) -> bool:
        """Writes a row that names keys, and so outlives the longest window and does not stay for ever; False where it is there already."""
        at = self._now()
        return self._operations.put_new(deletion_id, part, None, document, created_at=at, status=status, expires_at=at + KEEP_MS)

    def _batches(self, deletion_id: str) -> int:
        """Returns how many batches are planned by now, by whichever delivery."""
        last = self._operations.last_part(deletion_id, "aside#")
        return 0 if last is None else int(last.part.split("#")[1]) + 1

    def _transition(
        self, deletion_id: str, before: tuple[str, ...], after: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> Operation | None:
        """Takes the deletion's row from one of these states of round 0 to the next; None if someone else took it elsewhere first."""
        while True:
            current = self._operation(deletion_id)
            if current.status not in before or current.document["round"] != 0:
                return None
            try:
                return self._operations.update(current, document={**current.document, **change(current.document)}, status=after)
            except RecordChanged:
                continue


NOTHING: Mapping[str, Any] = {"objects": 0, "bytes": 0, "failures": []}


def _read(row: Operation) -> list[Seen]:
    return [Seen(*fields) for fields in row.document["objects"]]


def _show(shown: list[dict[str, Any]], size: int, lines: Iterable[dict[str, Any]]) -> int:
    """Adds to the lines that are shown as many as fit, and returns the size of all there were."""
    for each in lines:
        size += len(json.dumps(each))
        if size <= SHOWN_BYTES:
            shown.append(each)
    return size


def _window_id(deletion_id: str) -> str:
    return f"undo-window-{deletion_id}"
