"""What was set aside is removed for good once its days are over, and never on doubt.

Nothing is purged while the tables are older than the newest erasure, nor unless the newest run ended COMPLETE and the bucket still is the
one this ledger describes: in another one every copy would seem to be gone, and its entry be ended with the copy still there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stocktake.errors import RunIncomplete
from stocktake.ledger import Operation
from stocktake.quarantine import Quarantine
from stocktake.reconciliation import Reconciliations
from stocktake.repair.holding import Holds
from stocktake.tombstones import Tombstones


class Expiry:
    """The end of the quarantine's entries, and of what deletions that broke off hold."""

    def __init__(self, runs: Reconciliations, quarantine: Quarantine, holds: Holds, tombstones: Tombstones) -> None:
        self._runs = runs
        self._quarantine = quarantine
        self._holds = holds
        self._tombstones = tombstones

    def purge(self, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Removes what has expired, and returns how many were `purged` and `kept`; or `why` nothing was looked at.

        Raises:
            LedgerRestored: the tables are older than the newest erasure; nothing was removed.
            RunIncomplete, WrongRegion: the bucket is another one by now; nothing was removed.
            StorageError, LedgerError: the first that could not be removed; the others were, and the next time goes on.
        """
        self._tombstones.check()
        # a schedule skips its runs while a repair takes its days, and looks at nothing then
        newest = next((run for run in self._runs.recent(100) if run.status != "SKIPPED"), None)
        if newest is None or newest.status != "COMPLETE":
            status = newest.status.lower() if newest else "not there"
            return {"purged": 0, "kept": 0, "why": str(RunIncomplete(f"the newest reconciliation is {status}: nothing is purged"))}
        self._runs.check_bucket()
        self._holds.purge(out_of_time=out_of_time)
        return dict(self._quarantine.purge(out_of_time=out_of_time))

    def purge_early(self, entry_id: str) -> Operation:
        """Removes one entry's copy for good because an operator says so; see `Quarantine.purge_early`.

        Raises:
            LedgerRestored: the tables are older than the newest erasure.
            RunIncomplete, WrongRegion: the bucket is not the one this ledger describes.
            OperationNotFound, Conflict, RecordChanged, StorageError: as `Quarantine.purge_early`.
        """
        self._tombstones.check()
        self._runs.check_bucket()
        return self._quarantine.purge_early(entry_id)
