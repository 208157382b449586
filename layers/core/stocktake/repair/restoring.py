"""A whole run taken back: every object that a run's repairs set aside is restored, in steps, each on its own.

It goes through the run's orphans, each of which names its entry: unlike the list of the quarantine, their rows never lag behind. What
cannot be restored keeps its reason on its entry and does not stop the others. The steps are those of the state machine's apply, of which
there is one at a time for a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stocktake.errors import Conflict, LeaseLost, LedgerError, RecordChanged, StocktakeError
from stocktake.ledger import Operation, Operations
from stocktake.ledger.operations import cursor_of
from stocktake.model import FindingClass
from stocktake.quarantine import Quarantine
from stocktake.reconciliation import Reconciliations
from stocktake.reconciliation.selection import Wanted
from stocktake.repair.acting import FOUND
from stocktake.storage import Store
from stocktake.storage.refusals import check_is_of_key
from stocktake.tombstones import Tombstones

PART = "restoration"
TURN = "restore-"
"""Begins the name of a restoration's turn: a repair of the same run has numbers."""
_SET_ASIDE = Wanted(FindingClass.ORPHAN).prefix
"""Of no other class anything is set aside."""
_FINDINGS_AT_ONCE = 50
_OPEN = ("MOVING", "HELD", "RESTORING")


class Restorations:
    """Args: launch: starts the state machine for `{"action", "run_id", "turn"}`."""

    def __init__(
        self,
        runs: Reconciliations,
        quarantine: Quarantine,
        operations: Operations,
        tombstones: Tombstones,
        store: Store,
        *,
        launch: Callable[[Mapping[str, Any]], None],
        now: Callable[[], int],
    ) -> None:
        self._runs = runs
        self._quarantine = quarantine
        self._operations = operations
        self._tombstones = tombstones
        self._store = store
        self._launch = launch
        self._now = now

    def request(self, run_id: str) -> dict[str, Any]:
        """Starts restoring what was set aside by a run; asked again while it runs, it is the same.

        Raises:
            OperationNotFound: there is no such run.
            Conflict: the run is being repaired.
            RunInProgress: another run or repair is alive.
            LedgerRestored: the tables are older than the newest erasure.
        """
        self._tombstones.check()
        self._runs.run(run_id)
        repair = self._operations.get(run_id, "repair")
        if repair is not None and repair.status == "RUNNING":
            raise Conflict(f"reconciliation {run_id} is being repaired: wait until that has ended, then take it back")
        row, fence = self._operations.get(run_id, PART), self._runs.take(run_id, "apply").fence
        if row is not None and row.status == "RUNNING":
            if fence != row.document["fence"]:  # else a step may be at work, which would find its row changed and end all of it
                row = self._operations.update(row, document={**row.document, "fence": fence})
        else:
            turn = 1 if row is None else row.document["turn"] + 1
            document = {"turn": turn, "fence": fence, "started_at": self._now()}
            document |= {"cursor": None, "restored": 0, "failed": 0}
            if row is None:
                row = self._operations.put(run_id, PART, None, document, created_at=self._now(), status="RUNNING", if_absent=True)
            else:
                row = self._operations.update(row, document=document, status="RUNNING")
        self._launch({"action": "apply", "run_id": run_id, "turn": f"{TURN}{row.document['turn']}"})
        return _answer(row)

    def restore(self, entry_id: str) -> Operation:
        """Restores one entry; see `Quarantine.restore`.

        Raises:
            LedgerRestored: the tables are older than the newest erasure.
            RunIncomplete, WrongRegion: the bucket is not the one this ledger describes.
            OperationNotFound, Conflict, StorageError: as `Quarantine.restore`.
        """
        self._tombstones.check()
        self._runs.check_bucket()
        return self._quarantine.restore(entry_id)

    def restoration(self, run_id: str) -> dict[str, Any] | None:
        """Reads how far the newest of a run is; None if none was requested."""
        row = self._operations.get(run_id, PART)
        return None if row is None else _answer(row)

    def is_running(self, run_id: str) -> bool:
        """Says whether a run is being restored."""
        row = self._operations.get(run_id, PART)
        return row is not None and row.status == "RUNNING"

    def step(self, run_id: str, *, turn: int | str | None = None, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Restores the next entries until all are done or time is short. Returns `{"run_id", "cursor", "done"}`.

        Args:
            turn: for which this step was launched; it does nothing for another.

        Raises:
            LedgerRestored: the tables are older than the newest erasure.
            RunIncomplete, WrongRegion: the bucket is another one by now: nothing was restored into it.
            LeaseLost, RecordChanged: another step of this restoration is at work.
        """
        try:
            return self._step(run_id, turn, out_of_time)
        except (LeaseLost, RecordChanged):
            if self.is_running(run_id):
                raise
            return {"run_id": run_id, "cursor": None, "done": True}  # it was ended meanwhile

    def _step(self, run_id: str, turn: int | str | None, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        row = self._operations.get(run_id, PART)
        if row is None or row.status != "RUNNING" or turn not in (None, f"{TURN}{row.document['turn']}"):
            return {"run_id": run_id, "cursor": None, "done": True}
        with self._runs.lease.step(run_id, row.document["fence"]):
            row = self._restored(row, out_of_time)
        done = row.status == "DONE"
        if done:
            self._runs.lease.free(run_id, "apply", row.document["fence"])
        return {"run_id": run_id, "cursor": row.document["cursor"], "done": done}

    def fail(self, run_id: str, error: str, *, turn: int | str | None = None) -> dict[str, Any]:
        """Notes that it broke off; what is restored stays so. One that has ended, or begun anew since `turn`, stays as it is."""
        row = self._operations.get(run_id, PART)
        if row is not None and turn in (None, f"{TURN}{row.document['turn']}"):
            if row.status == "RUNNING":
                row = self._operations.update(row, document={**row.document, "why": error[:2000]}, status="FAILED")
            self._runs.lease.free(run_id, "apply", row.document["fence"])
        return {"run_id": run_id, "status": "FAILED"}

    def _restored(self, row: Operation, out_of_time: Callable[[], bool]) -> Operation:
        """Restores the next entries, until all are done or time is short."""
        run_id = row.operation_id
        self._tombstones.check()
        self._runs.check_bucket()
        while row.status == "RUNNING":
            document = {**row.document}
            page, cursor = self._operations.parts(run_id, _SET_ASIDE, _FINDINGS_AT_ONCE, document["cursor"])
            for finding in page:
                entry = None if finding.status == FOUND else self._begun(finding)
                if entry is not None and entry.status in _OPEN:
                    # asked before every entry: it may have been stopped, or have slept, since the last one
                    self._runs.lease.keep(run_id, document["fence"])
                    document["restored" if self._restore(entry.operation_id) else "failed"] += 1
                elif entry is not None and entry.document.get("restored_at", 0) >= document["started_at"]:
                    document["restored"] += 1  # by a step that was killed before it said so
                if out_of_time():
                    cursor = cursor_of(finding.part)
                    break
            document["cursor"] = cursor
            if cursor is None:
                document["finished_at"] = self._now()
            row = self._operations.update(row, document=document, status="RUNNING" if cursor else "DONE")
            if out_of_time():
                break
        return row

    def _begun(self, finding: Operation) -> Operation | None:
        """Reads the entry that an action on a finding began, whatever became of the action."""
        return self._quarantine.begun(finding.operation_id, finding.document["key"], finding.document["object"]["etag"])

    def _restore(self, entry_id: str) -> bool:
        try:
            self._quarantine.restore(entry_id)
        except LedgerError:
            raise
        except StocktakeError as error:
            check_is_of_key(self._store, error)
            self._quarantine.note(entry_id, str(error))
            return False
        return True


def _answer(row: Operation) -> dict[str, Any]:
    shown = {name: value for name, value in row.document.items() if name not in ("cursor", "fence")}
    return {"run_id": row.operation_id, "status": row.status, **shown}
