"""The steps of a project deletion, each of which may be delivered twice, killed anywhere and started again."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from stocktake.comparison import merge_join
from stocktake.discovery import Discovered, Discovery, Suspect, Ways, ours_of, suspects_of
from stocktake.errors import Conflict, InvalidRequest, OperationNotFound, ProjectNotFound, RecordChanged
from stocktake.layouts import Registry
from stocktake.ledger import JsonText, Ledger, Operation, Operations
from stocktake.model import DeletionMode, Project, ProjectState, State, Tally
from stocktake.project_deletion import previews, receipts, remaining
from stocktake.project_deletion.batches import KEEP_MS, batches, items_of, last_key
from stocktake.project_deletion.purging import Purging
from stocktake.project_deletion.receipts import KEYS_SHOWN, pseudonym, suspect_lines
from stocktake.project_deletion.refusals import refusals
from stocktake.project_deletion.remaining import Remaining, still_under_way
from stocktake.project_deletion.removal import forget, remove, unsettled
from stocktake.project_deletion.replay import replay
from stocktake.project_deletion.set_aside import has_object
from stocktake.project_deletion.undo_window import NOTHING, OPEN, RESTORING, UNDONE, UndoWindow
from stocktake.project_deletion.wiring import Wiring
from stocktake.storage import MultipartUpload, Store
from stocktake.tombstones import Tombstone, Tombstones

KIND = "deletion"
MAX_ROUNDS = 3
ROUND_DELAY_SECONDS = 5
"""Before another round: what refused a delete is often a store that is throttling."""
SWEEP_OVERDUE_MS = 900_000
"""After the sweep's time: as long as its message may lie in the queue unseen, so that one that is only late is not sent twice."""


class ProjectDeletions:
    """The project_deletion flow.

    Args:
        sweep_delay_ms: from the closing of the gate to the final sweep: the life of a presigned URL and the longest PUT begun as it ends.
        undo_ms: how long a deletion can be undone before it erases anything; 0 for never.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        operations: Operations,
        layouts: Registry,
        wiring: Wiring,
        purging: Purging,
        tombstones: Tombstones,
        *,
        sweep_delay_ms: int,
        undo_ms: int = 0,
        now: Callable[[], int],
        new_id: Callable[[int], str],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self._layouts = layouts
        self._wiring = wiring
        self._purging = purging
        self._tombstones = tombstones
        self._sweep_delay_ms = sweep_delay_ms
        self._undo_ms = undo_ms
        self._now = now
        self._new_id = new_id
        self._window = UndoWindow(store, ledger, operations, wiring, purging, now=now)

    def request(
        self,
        project_id: str,
        *,
        reason: str | None = None,
        requested_by: str | None = None,
        mode: DeletionMode | None = None,
        undo: bool = True,
    ) -> Operation:
        """Closes the project to every commit and starts its deletion; asked again, answers with the one under way or done.

        The gate closes before the deletion is announced. A crash between the two leaves a closed project whose deletion is announced by
        asking again, and never an announced deletion of an open project. One that ended incomplete is taken up again where another mode is
        asked for.

        Args:
            requested_by: the caller's name among all that ever call; only its pseudonym is kept.
            mode: None for BOTH, or for that of the deletion which is there already.
            undo: False to erase at once, also what a deletion that is there already has set aside.

        Raises:
            ProjectNotFound: there is no such project; its debris, if any, is what a reconciliation reports as orphans.
            Conflict: the deletion is under way in another mode, or is being undone.
            InvalidRequest: mode LEDGER, in which nothing can be set aside, and `undo` where there is an undo window.
            LedgerRestored: the tables are older than the newest erasure.
        """
        self._tombstones.check()
        undo_ms = self._undo_ms if undo else 0
        if undo_ms and mode is DeletionMode.LEDGER:
            raise InvalidRequest(
                "in mode ledger nothing can be set aside, since what lies in the quarantine only listings show: send undo false with it"
            )
        operation = self._request(project_id, reason, requested_by, mode, undo_ms=undo_ms)
        if operation.status == RESTORING:
            raise Conflict(f"deletion {operation.operation_id!r} of the project is being undone: wait until it is, then delete it again")
        if not undo and operation.status in OPEN and operation.document["round"] == 0:
            self._erase(operation)
            operation = self.operation(operation.operation_id)
        return operation

    def _request(
        self,
        project_id: str,
        reason: str | None,
        requested_by: str | None,
        mode: DeletionMode | None,
        *,
        replay_of: str | None = None,
        undo_ms: int = 0,
    ) -> Operation:
        at = self._now()
        project = self._ledger.begin_deletion(project_id, self._new_id(at), at)
        deletion_id = project.deletion_id
        assert deletion_id is not None  # begin_deletion names one
        operation = self._operations.get(deletion_id)
        if operation is not None:
            self._announce(operation)
        else:
            document = {
                "project_id": project.project_id,
                "epoch": project.epoch,
                "mode": mode or (DeletionMode.BOTH if replay_of is None else DeletionMode.LEDGER),
                "reason": reason,
                "requested_by": pseudonym(deletion_id, requested_by),
                "replay_of": replay_of,
                "requested_at": at,
                "sweep_at": at + self._sweep_delay_ms,
                "erases_at": at + undo_ms if undo_ms else None,
                "round": 0 if undo_ms else 1,
                "planned": None,
            }
            if undo_ms:
                self._window.enter(deletion_id, at + undo_ms)
            self._operations.put_new(deletion_id, "", KIND, document, created_at=at, status="REQUESTED")
            operation = self.operation(deletion_id)
        if mode is not None and mode != _mode(operation) and operation.status != "DELETED":
            operation = self._change_mode(operation, mode)
        if operation.status == "REQUESTED":
            round_number = operation.document["round"]
            step = "discover" if round_number else "set_aside"
            self._wiring.publish({"deletion_id": deletion_id, "project_id": project.project_id, "step": step, "round": round_number})
        return operation

    def _change_mode(self, operation: Operation, mode: DeletionMode) -> Operation:
        if operation.status != "INCOMPLETE":
            raise Conflict(
                f"the project is being deleted in mode {_mode(operation)}: wait for its receipt, and ask for mode {mode} "
                "if that says incomplete"
            )
        self._next_round(operation, {"mode": mode})
        return self.operation(operation.operation_id)

    def replay(self, *, dry_run: bool = False, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Erases again what a restore of the tables brought back, or says what that would be. See `replay.replay`."""
        return replay(self._ledger, self._tombstones, None if dry_run else self._erase_again, out_of_time)

    def _erase_again(self, tombstone: Tombstone) -> str:
        reason = f"replay of deletion {tombstone.deletion_id} after a restore of the ledger"
        operation = self._request(tombstone.project_id, reason, None, None, replay_of=tombstone.deletion_id)
        if operation.document.get("replay_of") is None:
            # restored in the middle of its deletion: results and messages of that round are lost, so it looks again
            self._erase(operation, {"replay_of": tombstone.deletion_id, "mode": DeletionMode.LEDGER}, also_undone=True)
        return operation.operation_id

    def dry_run(
        self,
        project_id: str,
        *,
        mode: DeletionMode | None = None,
        undo: bool = True,
        cursor: str | None = None,
        out_of_time: Callable[[], bool],
    ) -> dict[str, Any]:
        """Says what a deletion would remove, and removes nothing. See `previews.dry_run`. Raises ProjectNotFound, InvalidRequest."""
        project = self._ledger.project(project_id)
        preview = previews.dry_run(self._discovery(project.project_id, mode or DeletionMode.BOTH, out_of_time), cursor, out_of_time)
        return {**preview, "undo_seconds": self._undo_ms // 1000 if undo else 0}

    # the undo window

    def undo(self, deletion_id: str) -> Operation:
        """Begins to undo a deletion, or goes on with that: all that was set aside is moved back, and the project opened as it was.

        Raises:
            OperationNotFound: there is no such deletion.
            Conflict: it had no undo window, or that has ended.
            LedgerRestored: the tables are older than the newest erasure.
        """
        operation = self.operation(deletion_id)
        self._check_ledger(operation)
        return self._window.undo(operation)

    def set_aside(self, deletion_id: str, *, out_of_time: Callable[[], bool]) -> str:
        """Plans the batches to set aside and sends them to the workers. Returns the deletion's status afterwards."""
        operation = self.operation(deletion_id)
        self._check_ledger(operation)

        discovery = self._discovery(operation.document["project_id"], _mode(operation), out_of_time)

        def found(after: str) -> Iterator[Discovered]:
            for each in discovery.those(discovery.walk(after=after), has_object):
                yield each._replace(entry=None, versions=())  # what its record says, and whether it is there, the worker asks

        return self._window.set_aside(operation, found, lambda: discovery.stopped_at, out_of_time)

    def restore(self, deletion_id: str, after: str, *, out_of_time: Callable[[], bool]) -> str:
        """Takes the next step of undoing a deletion. Returns the deletion's status afterwards."""
        operation = self.operation(deletion_id)
        self._check_ledger(operation)
        return self._window.restore(operation, after, out_of_time)

    def close_windows(self, *, out_of_time: Callable[[], bool]) -> int:
        """Begins the erasure of every deletion whose undo window has ended, and returns how many. Saying it again is safe.

        Raises:
            LedgerRestored: there is one, and the tables are older than the newest erasure.
        """
        begun = 0
        for deletion_id in self._window.entered():
            if out_of_time():
                break
            operation = self._operations.get(deletion_id)
            if operation is None or operation.status == RESTORING:
                continue  # its request died before it was announced, and mends that when it is sent again; or its end takes it off
            if operation.status in OPEN and operation.document["round"] == 0:
                if operation.document["erases_at"] > self._now():
                    continue
                self._check_ledger(operation)
                self._erase(operation)
                begun += 1
            else:
                self._announce(operation)  # whoever began its erasure may have died before saying so
            self._window.leave(deletion_id)
        return begun

    def _erase(self, operation: Operation, also: Mapping[str, Any] | None = None, *, also_undone: bool = False) -> None:
        """Begins the erasure of what was set aside, or of what came back, unless its undo began first."""
        sweep_at = operation.document["sweep_at"]
        if operation.document["round"] == 0:
            sweep_at = max(sweep_at, self._window.quiet_at(operation))
        self._next_round(operation, {"sweep_at": sweep_at, **(also or {})}, also_undone=also_undone)

    def diagnose(self, project_id: str, *, limit: int, cursor: str | None, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Says what each way of looking finds, and removes nothing. See `previews.diagnosis`. Raises ProjectNotFound, InvalidRequest."""
        project = self._ledger.project(project_id)
        discovery = self._discovery(project.project_id, DeletionMode.BOTH, out_of_time)
        return {"state": project.state.value, **previews.diagnosis(discovery, limit, cursor, out_of_time)}

    def operation(self, deletion_id: str) -> Operation:
        """Reads a deletion. Raises OperationNotFound."""
        return _deletion(deletion_id, self._operations.get(deletion_id))

    def project_of(self, deletion_id: str) -> str | None:
        """Finds the project that a deletion removes; None where there is no such deletion."""
        try:
            return str(self.operation(deletion_id).document["project_id"])
        except OperationNotFound:
            return None

    def receipt(self, deletion_id: str) -> dict[str, Any] | None:
        """Reads the receipt, or None while the deletion is under way."""
        operation = self.operation(deletion_id)
        row = self._receipt_row(operation)
        return dict(row.document) if row else None

    def remaining(self, deletion_id: str, cursor: str | None) -> dict[str, Any]:
        """Reads one page of what a deletion could not remove, set aside or move back: `{"deletion_id", "status", "remaining", "cursor"}`.

        Raises:
            OperationNotFound: there is no such deletion.
            Conflict: it has no receipt yet.
            InvalidRequest: the cursor is not one of ours.
        """
        operation = self.operation(deletion_id)
        if (page := self._window.page(operation, cursor)) is not None:
            return {"deletion_id": deletion_id, "status": operation.status, "remaining": page[0], "cursor": page[1]}
        if (receipt := self._receipt_row(operation)) is None:
            raise still_under_way(operation)
        lines, following = remaining.page(self._operations, deletion_id, operation.document["round"], cursor)
        return {"deletion_id": deletion_id, "status": receipt.status, "remaining": lines, "cursor": following}

    def written_receipt(self, deletion_id: str) -> dict[str, Any]:
        """Reads the receipt. Raises OperationNotFound, and Conflict while there is none."""
        operation = self.operation(deletion_id)
        row = self._receipt_row(operation)
        if row is None:
            raise still_under_way(operation)
        return dict(row.document)

    def verify(self, deletion_id: str, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Looks for everything afresh, now. An incomplete deletion is taken up again with another round, what is overdue sent again.

        Returns `{"deletion_id", "status", "checked_at", "complete", "remaining": {"objects", "bytes"}, "keys", "suspect_objects",
        "suspects"}`; `status` is the deletion's when asked.

        Raises:
            OperationNotFound: there is no such deletion.
        """
        operation = self.operation(deletion_id)
        discovery = self._discovery(operation.document["project_id"], DeletionMode.BOTH, out_of_time)
        left, complete = Tally(), True
        keys: list[str] = []
        suspects: list[Suspect] = []
        suspected = 0
        if not self._superseded(operation):
            walk = discovery.walk(named=unsettled(self._operations, deletion_id, rounds=operation.document["round"]))
            for found in _and_uploads(walk, suspects_of(discovery.uploads(), ours="it is the project's"), discovery):
                if out_of_time():
                    complete = False
                    break
                if isinstance(found, Suspect):
                    suspected += 1
                    if len(suspects) < KEYS_SHOWN:
                        suspects.append(found)
                elif found.source != "gone" and not _is_counted_as_copy(operation, found):
                    left += Tally(1, found.size)
                    if len(keys) < KEYS_SHOWN:
                        keys.append(found.key)
            complete = complete and discovery.stopped_at is None
        if operation.status == "INCOMPLETE":
            self._next_round(operation)
        else:
            self._announce(operation)
            self._take_up(operation)
        return {
            "deletion_id": deletion_id,
            "status": operation.status,
            "checked_at": self._now(),
            "complete": complete,
            "remaining": {"objects": left.objects, "bytes": left.bytes},
            "keys": keys,
            "suspect_objects": suspected,
            "suspects": suspect_lines(suspects),
        }

    def discover(self, deletion_id: str, round_number: int, *, out_of_time: Callable[[], bool]) -> str:
        """Plans the batches of one round and sends them to the workers; hands on what it has no time for.

        Returns the deletion's status afterwards.
        """
        operation = self.operation(deletion_id)
        if operation.document["round"] != round_number or operation.status in ("DELETED", "INCOMPLETE"):
            return operation.status  # a late copy of a message that has been acted on
        self._check_ledger(operation)
        if operation.document["planned"] is None and not self._plan(operation, out_of_time):
            self._wiring.steps({"deletion_id": deletion_id, "step": "discover", "round": round_number}, 0)
            return "REMOVING"
        self._when_removed(deletion_id)
        return "REMOVING"

    def work(self, deletion_id: str, part: str, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Removes the keys of one batch, bytes first and records after, or moves them aside or back, and writes what came of it once.

        Raises:
            StorageError, LedgerError: not done; the message comes again.
        """
        if not part.startswith("batch#"):
            operation = self.operation(deletion_id)
            self._check_ledger(operation)
            return self._window.work(operation, part, out_of_time)
        round_number = int(part.split("#")[1])
        result_part = part.replace("batch#", "result#", 1)
        # together: each request takes as long as the removal of many keys
        rows = self._operations.several(deletion_id, ("", part, result_part))
        operation = _deletion(deletion_id, rows.get(""))
        self._check_ledger(operation)
        if (done := rows.get(result_part)) is None:
            if (batch := rows.get(part)) is None:
                raise OperationNotFound(f"deletion {deletion_id} has no {part}")
            # the receipt is the last that is asked for before anything goes
            if round_number != operation.document["round"] or self._receipt_row(operation) is not None:
                return dict(NOTHING)  # planned by a discovery that was overtaken: what it saw may be the project's created anew
            written_since: int = operation.document["requested_at"] - self._sweep_delay_ms
            items = items_of(batch.document)
            result = remove(self._store, self._ledger, items, written_since=written_since, one_by_one=_is_one_by_one(operation))
            result["cdn"] = self._purging.purge_batch(items, {failure["key"] for failure in result["failures"]}, out_of_time)
            expires_at = self._now() + KEEP_MS
            self._operations.put_once_and_count(deletion_id, result_part, result, "", _done(round_number), expires_at=expires_at)
        else:
            result = dict(done.document)
        self._when_removed(deletion_id)
        return result

    def sweep(self, deletion_id: str, round_number: int, *, out_of_time: Callable[[], bool]) -> str:
        """Looks for everything afresh once nothing can be on its way any more, and ends the deletion or begins another round.

        Returns the deletion's status afterwards.
        """
        operation = self.operation(deletion_id)
        if operation.document["round"] != round_number or operation.status in ("DELETED", "INCOMPLETE"):
            self._announce(operation)  # the delivery that moved it on may have died before it said so
            return operation.status
        at = self._now()
        wait_ms = operation.document["sweep_at"] - at
        if wait_ms > 0:
            self._send_sweep(operation, wait_ms)
            return operation.status
        if (written := self._receipt_row(operation)) is not None:
            return self._end(operation, written)
        self._check_ledger(operation)
        if not forget(self._operations, operation.document["project_id"], until=at, out_of_time=out_of_time):
            self._send_sweep(operation, 0)
            return operation.status
        discovery = self._discovery(operation.document["project_id"], DeletionMode.BOTH, out_of_time)
        uploads = list(discovery.uploads())
        self._abort(operation, ours_of(uploads), begun_by=at)  # begun since the round's own
        left = Remaining(self._operations, deletion_id, round_number, self._layouts.prefixes(operation.document["project_id"]))
        # absent from a deletion of before names were asked for, or keys of neighbours passed by
        asked, swept_to = operation.document.get("asked", ""), max(left.after, operation.document.get("swept_to", ""))
        names = unsettled(self._operations, deletion_id, rounds=round_number, after=max(asked, swept_to))
        walk = self._without_uploads(operation, discovery, discovery.walk(after=swept_to, named=names), begun_by=at)
        for found, refusal in merge_join(
            _and_uploads(walk, suspects_of(uploads, after=swept_to, ours=_NOT_ABORTED if _keeps_objects(operation) else None), discovery),
            refusals(self._operations, deletion_id, rounds=round_number),
        ):
            if found is None:
                continue  # refused once, and gone by now
            if isinstance(found, Discovered) and found.source == "gone":
                asked = found.key
            else:
                if isinstance(found, Discovered) and round_number < MAX_ROUNDS:
                    # what is found once another delivery has written the receipt may be the project's created anew
                    written = self._receipt_row(operation)
                    return self._next_round(operation) if written is None else self._end(operation, written)
                if not left.add(found, refusal, at=at, was_tried=_shows(operation, found)):
                    return operation.status  # another delivery of this step is ahead
            if out_of_time():
                # every URL is dead, so a name that brought up nothing never will: the next delivery goes on after what this one saw
                if left.write(at=at):
                    self._hand_on(operation, asked)
                return operation.status
        if not left.write(at=at):
            return operation.status
        if discovery.stopped_at is not None:
            self._hand_on(operation, asked, swept_to=discovery.stopped_at)
            return operation.status
        return self._finish(operation, out_of_time)

    def _hand_on(self, operation: Operation, asked: str, *, swept_to: str = "") -> None:
        """Sends the rest of a sweep on, behind the last name that brought up nothing and the last neighbour that was passed by."""
        self._change(
            operation, lambda document: {"asked": asked, "swept_to": max(swept_to, document.get("swept_to", ""))}, operation.status
        )
        self._send_sweep(operation, 0)

    # planning

    def _plan(self, operation: Operation, out_of_time: Callable[[], bool]) -> bool:
        at, number, cursor = self._now(), 0, ""
        if (last := self._operations.last_part(operation.operation_id, f"batch#{operation.document['round']:02d}#")) is not None:
            # whoever writes another row has read the one before as the last: of this one alone the message may not be sent
            number, cursor = int(last.part.split("#")[2]) + 1, last_key(last.document)
            self._send_batch(operation, last.part)
        cursor = max(cursor, operation.document.get("planned_to", ""))
        discovery = self._discovery(operation.document["project_id"], _mode(operation), out_of_time)
        one_by_one = _is_one_by_one(operation)
        if number == 0 and not _keeps_objects(operation):
            self._abort(operation, ours_of(discovery.uploads()), begun_by=at)
        names = unsettled(self._operations, operation.operation_id, rounds=operation.document["round"] - 1)
        walk = self._without_uploads(operation, discovery, discovery.walk(after=cursor, named=names), begun_by=at)
        found = discovery.those(walk, lambda _: True)
        if _keeps_objects(operation):
            found = (each._replace(source="record", size=0, versions=()) for each in found)
        for batch in batches(found, out_of_time, one_by_one=one_by_one):
            part = f"batch#{operation.document['round']:02d}#{number:08d}"
            if not self._write_row(operation, part, batch, "PLANNED"):
                return False  # another delivery of this step is ahead: begin again after its last batch
            self._send_batch(operation, part)
            number += 1
            if out_of_time():
                return False
        if (planned_to := discovery.stopped_at) is not None:
            self._change(operation, lambda document: {"planned_to": max(planned_to, document.get("planned_to", ""))}, operation.status)
            return False
        # a slower delivery of this step may have seen fewer batches: the count only grows
        self._change(operation, lambda document: {"planned": max(number, document["planned"] or 0)}, "REMOVING")
        return True

    def _send_batch(self, operation: Operation, part: str) -> None:
        if not _is_one_by_one(operation):  # else the first is sent once all are planned, and each after the one before
            self._wiring.batches({"deletion_id": operation.operation_id, "part": part}, 0)

    def _without_uploads(
        self, operation: Operation, discovery: Discovery, walk: Iterable[Discovered | Suspect], *, begun_by: int
    ) -> Iterator[Discovered | Suspect]:
        """Yields what was discovered, each key once the multipart uploads that only its name shows are aborted."""
        for found in walk:
            if isinstance(found, Discovered) and found.announced:
                self._abort(operation, discovery.uploads_of(found), begun_by=begun_by)
            yield found

    def _abort(self, operation: Operation, uploads: Iterable[MultipartUpload], *, begun_by: int) -> None:
        """Aborts uploads, but for those begun since the step and those found once the deletion has ended: the project's created anew.

        Args:
            begun_by: milliseconds; when the step began.
        """
        if _keeps_objects(operation):
            return
        # the row first: an upload counts as aborted once, however often this step is delivered
        for upload in uploads:
            if upload.initiated_at > begun_by:
                continue
            if self._receipt_row(operation) is not None:
                return
            document = {"key": upload.key, "upload_id": upload.upload_id, "initiated_at": upload.initiated_at}
            part = f"upload#{upload.upload_id}"
            self._write_row(operation, part, document, "ABORTED")
            self._store.abort_multipart_upload(upload.key, upload.upload_id)

    def _when_removed(self, deletion_id: str) -> None:
        operation = self.operation(deletion_id)
        planned, round_number = operation.document["planned"], operation.document["round"]
        if planned is None or operation.status in ("DELETED", "INCOMPLETE"):
            return
        done = operation.counters.get(_done(round_number), 0)
        if done >= planned:
            self._send_sweep(operation, max(0, operation.document["sweep_at"] - self._now()))
        elif _is_one_by_one(operation):
            self._wiring.batches({"deletion_id": deletion_id, "part": f"batch#{round_number:02d}#{done:08d}"}, 0)

    def _send_sweep(self, operation: Operation, wait_ms: int) -> None:
        # SQS delays a message by at most 900 seconds; a longer wait is handed on by the sweep itself
        seconds = min(900, -(-wait_ms // 1000))
        message = {"deletion_id": operation.operation_id, "step": "verify", "round": operation.document["round"]}
        self._wiring.steps(message, seconds)

    # ending

    def _next_round(self, operation: Operation, also: Mapping[str, Any] | None = None, *, also_undone: bool = False) -> str:
        document = operation.document
        if operation.status == "INCOMPLETE":
            try:
                self._ledger.resume_deletion(document["project_id"], operation.operation_id, document["epoch"])
            except RecordChanged:
                return operation.status  # a replay that had finished its project, which has been opened anew
        round_number = document["round"] + 1
        change = {"round": round_number, "round_began_at": self._now(), "planned": None, **_FROM_THE_START, **(also or {})}
        if self._change(operation, lambda _: change, "REMOVING", also_undone=also_undone):
            message = {"deletion_id": operation.operation_id, "step": "discover", "round": round_number}
            self._wiring.steps(message, ROUND_DELAY_SECONDS)
        return "REMOVING"

    def _finish(self, operation: Operation, out_of_time: Callable[[], bool]) -> str:
        deletion_id, document, at = operation.operation_id, operation.document, self._now()
        receipt = receipts.receipt(self._operations, operation, self._layouts.prefixes(document["project_id"]), at=at)
        receipt |= self._purging.finish(self._operations, deletion_id, out_of_time)
        self._tombstones.write(deletion_id, document["project_id"], document["epoch"], at=at)
        self._operations.put_new(deletion_id, _receipt(document["round"]), None, receipt, created_at=at, status=receipt["status"])
        written = self._receipt_row(operation)
        assert written is not None  # by this delivery of the step or by the one before it
        return self._end(operation, written)

    def _end(self, operation: Operation, receipt: Operation) -> str:
        deletion_id, document = operation.operation_id, operation.document
        if receipt.status == "DELETED" or self._is_replayed(operation):
            # a delivery before this one may have finished it and died, and the project been created anew since
            with contextlib.suppress(RecordChanged):
                self._ledger.finish_deletion(document["project_id"], deletion_id, document["epoch"], receipt.created_at)
        if receipt.status != "DELETED":
            # before the status says so: a letter too many is harmless, one too few leaves a deletion that nobody sees
            self._wiring.dead_letters({"deletion_id": deletion_id, "step": "resume"}, 0)
        self._change(operation, lambda _: {"finished_at": receipt.document["finished_at"]}, receipt.status)
        return receipt.status

    def _is_replayed(self, operation: Operation) -> bool:
        """Says whether a replay has removed every record, which is all it is for: what it names may be of a later life of the project."""
        return _keeps_objects(operation) and not list(self._ledger.project_records(operation.document["project_id"], limit=1))

    def resume(self, deletion_id: str) -> str:
        """Takes up an incomplete deletion again: what a redriven dead letter asks for."""
        operation = self.operation(deletion_id)
        if operation.status == "INCOMPLETE":
            return self._next_round(operation)
        self._announce(operation)
        self._take_up(operation)
        return operation.status

    def _take_up(self, operation: Operation) -> None:
        """Sends the first step again, or that of an undo window, since its message may be lost; taking it twice is harmless."""
        if operation.document["round"] == 0 and operation.status in OPEN:
            self._wiring.steps({"deletion_id": operation.operation_id, "step": "set_aside", "round": 0}, 0)
        elif operation.status == "REQUESTED":
            self._wiring.steps({"deletion_id": operation.operation_id, "step": "discover", "round": 1}, 0)
        elif operation.status == RESTORING:
            self._window.undo(operation)

    def _announce(self, operation: Operation) -> None:
        """Sends a round on its way that was begun and perhaps never announced; discovering twice is harmless."""
        if operation.status == "REMOVING" and operation.document["planned"] is None:
            message = {"deletion_id": operation.operation_id, "step": "discover", "round": operation.document["round"]}
            self._wiring.steps(message, ROUND_DELAY_SECONDS)
        self._resend_overdue(operation)

    def _resend_overdue(self, operation: Operation) -> None:
        """Sends again what should long be over, batches or sweep, since their messages may be lost; doing them twice is harmless."""
        document = operation.document
        planned, round_number = document["planned"], document["round"]
        due_at = max(document["sweep_at"], document.get("round_began_at", 0))
        if operation.status != "REMOVING" or planned is None or self._now() <= due_at + SWEEP_OVERDUE_MS:
            return
        if operation.counters.get(_done(round_number), 0) < planned:
            # a step of its own: whoever asks has no time for very many batches, and may send none
            self._send_resend(operation, 0)
        else:
            self._when_removed(operation.operation_id)

    def resend(self, deletion_id: str, round_number: int, first: int, *, out_of_time: Callable[[], bool]) -> str:
        """Sends the batches of a round again that have no result, from number `first` on. Returns the deletion's status."""
        operation = self.operation(deletion_id)
        if operation.status != "REMOVING" or operation.document["round"] != round_number:
            return operation.status
        if _is_one_by_one(operation):
            self._when_removed(deletion_id)  # the one whose turn it is
            return operation.status
        for number in range(first, operation.document["planned"] or 0):
            if out_of_time():
                self._send_resend(operation, number)
                break
            place = f"{round_number:02d}#{number:08d}"
            if self._operations.get(deletion_id, f"result#{place}") is None:
                self._send_batch(operation, f"batch#{place}")
        return operation.status

    def _send_resend(self, operation: Operation, first: int) -> None:
        message = {"deletion_id": operation.operation_id, "step": "resend", "round": operation.document["round"], "first": first}
        self._wiring.steps(message, 0)

    # small

    def _write_row(self, operation: Operation, part: str, document: Mapping[str, Any] | JsonText, status: str) -> bool:
        """Writes a row that names keys, and so does not stay for ever; False where another delivery of the step has written it."""
        at = self._now()
        return self._operations.put_new(operation.operation_id, part, None, document, created_at=at, status=status, expires_at=at + KEEP_MS)

    def _receipt_row(self, operation: Operation) -> Operation | None:
        """Reads the row that holds the receipt of a deletion as it stood after its round."""
        return self._operations.get(operation.operation_id, _receipt(operation.document["round"]))

    def _check_ledger(self, operation: Operation) -> None:
        """Stops a step while the tables are older than the newest erasure, unless it is of a replay. Raises LedgerRestored."""
        if operation.document.get("replay_of") is None:
            self._tombstones.check()

    def _discovery(self, project_id: str, mode: DeletionMode, out_of_time: Callable[[], bool]) -> Discovery:
        return Discovery(self._store, self._ledger, self._layouts, project_id, _WAYS.get(mode, Ways.BOTH), out_of_time)

    def _superseded(self, operation: Operation) -> bool:
        """Says whether the project was created anew, and perhaps is being deleted again: what lies under its prefixes is not this one's."""
        try:
            project: Project = self._ledger.project(operation.document["project_id"])
        except ProjectNotFound:
            return False
        is_in_another = project.state is ProjectState.DELETING and project.deletion_id != operation.operation_id
        return is_in_another or project.state is ProjectState.ACTIVE

    def _change(
        self, operation: Operation, change: Callable[[Mapping[str, Any]], Mapping[str, Any]], status: str, *, also_undone: bool = False
    ) -> bool:
        """Changes the deletion's row while it is in the round it was read in, not deleted, and not undone; False if someone else was first.

        Args:
            also_undone: also where it is being undone.
        """
        final = ("DELETED",) if also_undone else ("DELETED", RESTORING, UNDONE)
        while True:
            current = self.operation(operation.operation_id)
            if current.document["round"] != operation.document["round"] or current.status in final:
                return False
            try:
                self._operations.update(current, document={**current.document, **change(current.document)}, status=status)
            except RecordChanged:
                continue
            return True


def _and_uploads(walk: Iterator[Discovered | Suspect], uploads: Iterable[Suspect], discovery: Discovery) -> Iterator[Discovered | Suspect]:
    """Yields a walk, and among it the open multipart uploads that are suspects, as far as the walk comes."""
    for found in heapq.merge(walk, uploads, key=attrgetter("key")):
        if discovery.stopped_at is not None and found.key > discovery.stopped_at:
            return
        yield found


_NOT_ABORTED = "it may be of the project opened anew: a replay aborts none"
_FROM_THE_START = {"planned_to": "", "asked": "", "swept_to": ""}
"""How far a round has looked where it wrote no row: among keys of neighbours, and names that brought up nothing."""
_WAYS = {DeletionMode.LEDGER: Ways.LEDGER, DeletionMode.LISTING: Ways.LISTING}


def _deletion(deletion_id: str, row: Operation | None) -> Operation:
    if row is None or row.kind != KIND:
        raise OperationNotFound.of_deletion(deletion_id)
    return row


def _mode(operation: Operation) -> DeletionMode:
    # absent from a deletion of before there were modes
    return DeletionMode(operation.document.get("mode", DeletionMode.BOTH))


def _is_one_by_one(operation: Operation) -> bool:
    return _mode(operation) is DeletionMode.SEQUENTIAL


def _keeps_objects(operation: Operation) -> bool:
    """Says whether a deletion removes records alone: a replay does, until somebody who has looked asks for it in another mode."""
    return operation.document.get("replay_of") is not None and _mode(operation) is DeletionMode.LEDGER


def _is_counted_as_copy(operation: Operation, found: Discovered) -> bool:
    """Says whether it is the record of what is held aside: the copy in the quarantine is found too, and an object is counted once."""
    is_aside = found.source == "record" and found.entry is not None and found.entry.state is State.QUARANTINED
    return is_aside and operation.status == "HELD"


def _shows(operation: Operation, found: Discovered | Suspect) -> bool:
    """Says whether the rounds of a deletion saw such a key, so that they tried to remove it."""
    if _keeps_objects(operation):
        return False
    unseen = {DeletionMode.LEDGER: ("listing",), DeletionMode.LISTING: ("ledger", "record")}.get(_mode(operation), ())
    return isinstance(found, Suspect) or found.source not in unseen


def _done(round_number: int) -> str:
    """Names the counter of a round's finished batches."""
    return f"done_{round_number}"


def _receipt(round_number: int) -> str:
    """Names the part that holds the receipt of the deletion as it stood after a round."""
    return f"receipt#{round_number:02d}"
