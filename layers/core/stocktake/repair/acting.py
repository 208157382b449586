"""One finding acted on: both sides read again, and nothing done to what moved since it was seen.

Every action can be killed anywhere and begun again. The finding says ACTING, and with what, before the first thing is done, so that who
comes next knows that what changed since may be this very action's own doing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stocktake.acknowledgements import ACKNOWLEDGED, Acknowledgements
from stocktake.alignment import Aligner, Outcome, same_bytes
from stocktake.errors import (
    BucketNotFound,
    Conflict,
    InvalidRequest,
    NotFound,
    ObjectChanged,
    RecordChanged,
    Refused,
    StocktakeError,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    WrongRegion,
)
from stocktake.explanations import explained
from stocktake.findings import unchanged
from stocktake.ledger import Operation, Operations
from stocktake.model import Record, State, StoredObject
from stocktake.quarantine import Quarantine
from stocktake.repair.policies import ACKNOWLEDGE, reason_against

if TYPE_CHECKING:
    from stocktake.migration.storing import Storing

ACTING = "ACTING"
FOUND = "FOUND"
SKIPPED = "SKIPPED"
FORGOTTEN = "forgotten"
"""The kind of row that says what a forgotten record was."""
OF_THE_STORE = (StorageUnavailable, StorageDenied, BucketNotFound, WrongRegion)
"""Not one key's trouble: nothing is known, and whoever asks again goes on."""
_OF_THE_KEY = (StorageError, InvalidRequest, Conflict, NotFound, Refused)
_KEEP_MS = 400 * 86_400_000
"""As long as the tombstone of a deleted object."""
_ALIGNING = {
    "mark_missing": {Outcome.MARKED_MISSING},
    "refresh": {Outcome.REFRESHED, Outcome.RETURNED},
    "settle": {Outcome.COMMITTED, Outcome.FORGOTTEN},
    "adopt": {Outcome.ADOPTED},
}
_KEPT = (
    "key",
    "object_id",
    "project_id",
    "epoch",
    "size",
    "etag",
    "sha256",
    "content_type",
    "layout",
    "source",
    "created_at",
    "updated_at",
)
"""What stays known of a forgotten record: what it was, and nothing its caller said."""


class Actor:
    """Does one action to one finding."""

    def __init__(
        self,
        aligner: Aligner,
        quarantine: Quarantine,
        acknowledgements: Acknowledgements,
        storing: Storing,
        operations: Operations,
        *,
        grace_ms: int,
        now: Callable[[], int],
    ) -> None:
        self._aligner = aligner
        self._store = aligner.store
        self._ledger = aligner.ledger
        self._quarantine = quarantine
        self._acknowledgements = acknowledgements
        self._storing = storing
        self._operations = operations
        self._grace_ms = grace_ms
        self._now = now

    def act(self, finding: Operation, run_id: str, action: str) -> Operation:
        """Does the action if the finding is still true, and returns the finding with what came of it.

        Raises:
            StorageUnavailable, StorageDenied, BucketNotFound, WrongRegion, LedgerError: nothing is known; acting again goes on.
        """
        document, key = finding.document, finding.document["key"]
        begun = finding.status == ACTING
        action = document.get("acting", action) if begun else action  # what was begun is ended, whatever is wanted by now
        # asked of what is to begin: half a move that were left so would be neither here nor there
        against = None if begun else reason_against(action, document, now=self._now(), grace_ms=self._grace_ms)
        if against is not None:
            return self._skip(finding, against, "the policy may do that only to other findings, or not yet")
        record, stored = self._ledger.record(key), self._store.head(key)
        if not begun:
            if not unchanged(document, stored, record):
                return self._skip(finding, "changed", "bucket or ledger changed since the finding")
            finding = self._operations.update(finding, document={**document, "acting": action}, status=ACTING)
        try:
            return self._do(finding, run_id, action, record, stored, begun=begun)
        except OF_THE_STORE:
            raise
        except _OF_THE_KEY as error:  # this key's own trouble: the others go on
            return self._skip(finding, _reason(error), str(error))

    def _do(
        self, finding: Operation, run_id: str, action: str, record: Record | None, stored: StoredObject | None, *, begun: bool
    ) -> Operation:
        if action == ACKNOWLEDGE:
            self._acknowledgements.acknowledge(finding.document, run_id=run_id)
            return self._done(finding, ACKNOWLEDGED)
        if action == "quarantine":
            return self._set_aside(finding, run_id, stored)
        if action == "delete":
            return self._delete(finding, run_id, record, stored)
        if action == "forget":
            return self._forget(finding, run_id, record, stored)
        if action == "refetch":
            return self._refetch(finding, record, stored)
        outcome = self._aligner.align(finding.document["key"]).outcome
        if outcome not in _ALIGNING[action] and not (begun and outcome in (Outcome.IN_LINE, Outcome.ABSENT)):
            return self._skip(finding, outcome.value, f"asked again, the key was {outcome.value}")
        return self._done(finding, action.upper(), outcome=outcome.value)

    def _set_aside(self, finding: Operation, run_id: str, stored: StoredObject | None) -> Operation:
        document = finding.document
        entry = self._quarantine.set_aside(
            document["key"], document["object"]["etag"], stored, run_id=run_id, why=explained(document)["meaning"]
        )
        return self._done(finding, "QUARANTINE", entry_id=entry.operation_id)

    def _delete(self, finding: Operation, run_id: str, record: Record | None, stored: StoredObject | None) -> Operation:
        key = finding.document["key"]
        if not self._store.profile().conditional_delete:
            return self._set_aside(finding, run_id, stored)  # whoever writes between a look and a deletion would lose what was written
        if record is not None:
            raise RecordChanged(f"{key!r} has a record by now and is no orphan any more")
        if self._ledger.spelled_otherwise(key) is not None:
            raise RecordChanged(f"{key!r} is recorded under another spelling of the same key")
        self._store.delete(key, if_etag=finding.document["object"]["etag"])
        if self._ledger.record(key) is not None:
            self._aligner.align(key)  # an event made a record of it at this moment: it says that the object is missing
        return self._done(finding, "DELETE")

    def _forget(self, finding: Operation, run_id: str, record: Record | None, stored: StoredObject | None) -> Operation:
        key, seen = finding.document["key"], finding.document["record"]
        if stored is not None:
            raise ObjectChanged(f"{key!r} is in the bucket again")
        if record is not None:
            if (record.object_id, record.version) != (seen["object_id"], seen["version"]):
                raise RecordChanged(f"the record of {key!r} is no longer the one that was seen")
            at, name = self._now(), f"{FORGOTTEN}-{record.object_id}"
            document = {**{field: getattr(record, field) for field in _KEPT}, "run_id": run_id, "forgotten_at": at}
            self._operations.put(name, "", FORGOTTEN, document, created_at=at, status="FORGOTTEN", expires_at=at + _KEEP_MS)
            self._ledger.move(record, None, gated=False)
            if self._store.head(key) is not None:
                self._ledger.move(None, record, gated=True)
                self._operations.put(name, "", None, document, created_at=at, status="RETURNED", expires_at=at + _KEEP_MS)
                raise ObjectChanged(f"{key!r} came back while its record was being forgotten: the record is kept")
        return self._done(finding, "FORGET")

    def _refetch(self, finding: Operation, record: Record | None, stored: StoredObject | None) -> Operation:
        key = finding.document["key"]
        if record is None:
            raise RecordChanged(f"the record of {key!r} is gone")
        if finding.document["class"] == "unstored":
            self._storing.store(key, record)
        elif stored is None:
            self._storing.refetch(record)
        elif not same_bytes(record, stored):
            raise ObjectChanged(f"another object lies under {key!r} by now")
        elif record.state is not State.STORED or record.etag != stored.etag:
            self._aligner.align(key)  # an attempt before this one put the bytes back and was killed
        return self._done(finding, "REFETCH")

    def _done(self, finding: Operation, status: str, **more: Any) -> Operation:
        return self._operations.update(finding, document={**finding.document, **more}, status=status)

    def _skip(self, finding: Operation, reason: str, why: str) -> Operation:
        return self._operations.update(finding, document={**finding.document, "reason": reason, "skipped": why}, status=SKIPPED)


def _reason(error: StocktakeError) -> str:
    return "changed" if isinstance(error, (ObjectChanged, RecordChanged)) else error.type.replace("-", "_")
