"""One finding acted on: both sides read again, and nothing done to what moved since it was seen.

Every action can be killed anywhere and begun again. The finding says ACTING, and with what, before the first thing is done, so that who
comes next knows that what changed since may be this very action's own doing. That is an intent and no permission. What is met when a
finding is taken up again, by the same plan or another one, decides:

| both sides are | the plan wants what was begun | the plan wants something else |
|---|---|---|
| as they were seen | it begins anew, with every check | what was begun is dropped, and that begins, with every check |
| as what was begun leaves them | it is ended, and said to be done | the same: it has happened, whatever is wanted by now |
| as it leaves them half-way | it goes on | what holds the key is let go; then as in the first line |
| otherwise | what holds the key is let go; skipped as `changed` | the same |

So nothing is taken away under a plan that does not say so, and nothing that was taken away is said to have been skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stocktake.acknowledgements import ACKNOWLEDGED, Acknowledgements
from stocktake.alignment import Aligner, Alignment, Outcome, same_bytes
from stocktake.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    ObjectChanged,
    RecordChanged,
    Refused,
    StocktakeError,
    StorageError,
)
from stocktake.explanations import explained
from stocktake.findings import classify, seen_record, unchanged
from stocktake.ledger import Operation, Operations
from stocktake.model import FindingClass, Record, State, StoredObject
from stocktake.quarantine import Quarantine
from stocktake.reconciliation.owners import Owners
from stocktake.repair.holding import Holds, holds, is_hold
from stocktake.repair.policies import ACKNOWLEDGE, MOVING, reason_against
from stocktake.storage.refusals import check_is_of_key, is_refused

if TYPE_CHECKING:
    from stocktake.migration.storing import Storing

ACTING = "ACTING"
FOUND = "FOUND"
SKIPPED = "SKIPPED"
LET_GO = "let_go"
"""What came of a key that a deletion held and broke off."""
FORGOTTEN = "forgotten"
"""The kind of row that says what a forgotten record was."""
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
        holds: Holds,
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
        self._holds = holds
        self._grace_ms = grace_ms
        self._now = now

    def act(self, finding: Operation, run_id: str, action: str) -> Operation:
        """Does the action if the finding is still true, and returns the finding with what came of it.

        Raises:
            StorageError: the store refuses, or cannot do, whatever it is asked: nothing is known; acting again goes on.
            LedgerError: the same of the ledger.
        """
        document, key, begun = finding.document, finding.document["key"], action_begun(finding)
        try:
            record, stored = self._ledger.record(key), self._store.head(key)
            if begun not in (None, action) and not self._has_happened(begun, document, run_id, record, stored):
                self._drop(finding, run_id, record)
                document = {name: said for name, said in document.items() if name != "acting"}
                finding, begun, record = replace(finding, document=document), None, self._ledger.record(key)
            action = begun or action
            is_begun = begun is not None and not unchanged(document, stored, record)
            reason, why = self._against(action, document, run_id, record, stored, is_begun=is_begun)
            if reason:
                self._drop(finding, run_id, record)
                return self._skip(finding, reason, why)
            if not is_begun:
                finding = self._operations.update(finding, document={**document, "acting": action}, status=ACTING)
            return self._do(finding, run_id, action, record, stored, is_begun=is_begun)
        except _OF_THE_KEY as error:
            # else what was begun may still be under way: its key stays held
            check_is_of_key(self._store, error)
            with suppress(*_OF_THE_KEY):  # the purge does it where this cannot
                self._drop(finding, run_id, self._ledger.record(key))
            return self._skip(finding, _reason(error), str(error))  # the others go on

    def _against(
        self, action: str, document: Mapping[str, Any], run_id: str, record: Record | None, stored: StoredObject | None, *, is_begun: bool
    ) -> tuple[str, str]:
        """Says why nothing is to be done, by a word and a sentence; two empty ones where nothing is against it."""
        if is_begun:
            is_other = self._is_another(action, document, run_id, record, stored)
            return ("changed", "bucket or ledger changed while it was acted on") if is_other else ("", "")
        # of the finding alone, and first: what is not to be done yet is no change
        against = reason_against(action, document, now=self._now(), grace_ms=self._grace_ms)
        if against is not None:
            return against, "the policy may do that only to other findings, or not yet"
        if not unchanged(document, stored, record):
            return "changed", "bucket or ledger changed since the finding"
        if not self._is_still_its(document, stored, record):
            return "changed", "its project is another one, or in another state, since the finding"
        if action != ACKNOWLEDGE and self._acknowledgements.is_to_be_quiet(document):
            return "acknowledged", "somebody has acknowledged exactly this since the finding: revoke that to act on it"
        return "", ""

    def _has_happened(
        self, begun: str, document: Mapping[str, Any], run_id: str, record: Record | None, stored: StoredObject | None
    ) -> bool:
        """Says whether what was begun has had its effect, so that ending it takes nothing away any more."""
        if self._sets_aside(begun):
            status = self._status_aside(document, run_id)
            return status == "HELD" or (status == "MOVING" and stored is None)
        if begun == "delete":
            return stored is None and (record is None or is_hold(record))
        return begun == "forget" and record is None

    def _is_another(
        self, action: str, document: Mapping[str, Any], run_id: str, record: Record | None, stored: StoredObject | None
    ) -> bool:
        """Says whether what an action was begun on is another by now, without the action's own doing."""
        if action in MOVING:
            is_other = stored is not None and not unchanged(document, stored, None)
            return is_other and not (self._sets_aside(action) and self._status_aside(document, run_id) == "HELD")
        # while the record is as it was seen nothing was done yet, so that it was the object that changed; and one that is gone since is
        # not made anew by what is for records
        is_as_seen = unchanged({**document, "object": None}, None, record)
        return action in _ALIGNING and (is_as_seen or (record is None and stored is not None and not _is_of_hold(document)))

    def _is_still_its(self, document: Mapping[str, Any], stored: StoredObject | None, record: Record | None) -> bool:
        """Says whether an orphan's project still is what the run took it for; of the other classes the two sides say all."""
        if document["class"] != FindingClass.ORPHAN:
            return True
        parsed = self._aligner.layouts.parse(document["key"])
        verdict = classify(stored, record, parsed, Owners(self._ledger, self._aligner.layouts).state(parsed))
        return verdict == (FindingClass.ORPHAN, document["kind"])

    def _drop(self, finding: Operation, run_id: str, record: Record | None) -> None:
        """Lets go of what an action that was begun holds, so that the object is where and what it was."""
        if action_begun(finding) not in MOVING:
            return
        if is_hold(record):
            self._holds.let_go(finding.document["key"])
        entry = self._quarantine.begun(run_id, finding.document["key"], finding.document["object"]["etag"])
        if entry is not None and entry.status == "MOVING":
            self._quarantine.give_up(entry)

    def _sets_aside(self, action: str) -> bool:
        # without a condition on a deletion, whoever writes between a look and a deletion would lose what was written
        return action == "quarantine" or (action == "delete" and not self._store.profile().conditional_delete)

    def _status_aside(self, document: Mapping[str, Any], run_id: str) -> str | None:
        entry = self._quarantine.begun(run_id, document["key"], document["object"]["etag"])
        return None if entry is None else entry.status

    def _do(
        self, finding: Operation, run_id: str, action: str, record: Record | None, stored: StoredObject | None, *, is_begun: bool
    ) -> Operation:
        if action == ACKNOWLEDGE:
            self._acknowledgements.acknowledge(finding.document, run_id=run_id)
            return self._done(finding, ACKNOWLEDGED)
        if self._sets_aside(action):
            return self._set_aside(finding, run_id, stored)
        if action == "delete":
            return self._delete(finding, run_id, record, stored)
        if action == "forget":
            return self._forget(finding, run_id, record, stored)
        if action == "refetch":
            return self._refetch(finding, record, stored)
        if _is_of_hold(finding.document):
            self._holds.let_go(finding.document["key"])  # of a deletion that broke off, in another run: the key is an orphan's again
            return self._done(finding, action.upper(), outcome=LET_GO)
        alignment = self._aligner.align(finding.document["key"])
        outcome = alignment.outcome
        if outcome not in _ALIGNING[action] and not (is_begun and _was_aligned(action, alignment)):
            return self._skip(finding, outcome.value, f"asked again, the key was {outcome.value}")
        if action == "mark_missing":
            self._keep_quiet(finding, run_id)
        return self._done(finding, action.upper(), outcome=outcome.value)

    def _keep_quiet(self, finding: Operation, run_id: str) -> None:
        """Acknowledges what the next run will find of a record that was marked: whoever had it marked has seen it."""
        record = self._ledger.record(finding.document["key"])
        if record is not None and record.state is State.MISSING:
            marked = {"class": "unstored", "kind": "missing", "object": None, "record": seen_record(record)}
            self._acknowledgements.acknowledge({**finding.document, **marked}, run_id=run_id, is_marking=True)

    def _set_aside(self, finding: Operation, run_id: str, stored: StoredObject | None) -> Operation:
        document = finding.document
        entry = self._quarantine.set_aside(
            document["key"], document["object"]["etag"], stored, run_id=run_id, why=explained(document)["meaning"]
        )
        return self._done(finding, "QUARANTINE", entry_id=entry.operation_id)

    def _delete(self, finding: Operation, run_id: str, record: Record | None, stored: StoredObject | None) -> Operation:
        key = finding.document["key"]
        if stored is not None:
            self._holds.take(stored, run_id, record)
            if self._ledger.spelled_otherwise(key) is not None:
                raise RecordChanged(f"{key!r} is recorded under another spelling of the same key")
            self._store.delete(key, if_etag=finding.document["object"]["etag"])
        if self._holds.let_go(key, was_removed=True) is not None:
            # the deletion of its project took what held it, and an event made a record: it says what is missing
            with suppress(*_OF_THE_KEY):  # whatever becomes of that, the object is gone
                self._aligner.align(key)
        return self._done(finding, "DELETE")

    def _forget(self, finding: Operation, run_id: str, record: Record | None, stored: StoredObject | None) -> Operation:
        key, seen = finding.document["key"], finding.document["record"]
        name = f"{FORGOTTEN}-{seen['object_id']}"
        if record is None:
            row = self._operations.get(name)
            if row is None or row.status != "FORGOTTEN":
                raise RecordChanged(f"the record of {key!r} is gone")
            return self._done(finding, "FORGET")  # by an attempt that was killed, whatever lies under the key since
        if stored is not None:
            raise ObjectChanged(f"{key!r} is in the bucket again")
        if (record.object_id, record.version) != (seen["object_id"], seen["version"]):
            raise RecordChanged(f"the record of {key!r} is no longer the one that was seen")
        at = self._now()
        document = {**{field: getattr(record, field) for field in _KEPT}, "run_id": run_id, "forgotten_at": at}
        self._operations.put(name, "", FORGOTTEN, document, created_at=at, status="FORGOTTEN", expires_at=at + _KEEP_MS)
        self._ledger.move(record, None, gated=False)
        unknown: StorageError | None = None
        try:
            is_back = self._store.head(key) is not None
        except StorageError as error:
            is_back, unknown = True, error  # it may be: the next run tells
        if is_back:
            self._keep(record)
            self._operations.put(name, "", None, document, created_at=at, status="RETURNED", expires_at=at + _KEEP_MS)
            raise unknown or ObjectChanged(f"{key!r} came back while its record was being forgotten: the record is kept")
        return self._done(finding, "FORGET")

    def _keep(self, record: Record) -> None:
        """Puts back a record that was being forgotten, also in place of one that the event of its object's return made."""
        try:
            self._ledger.move(None, record, gated=True)
        except RecordChanged:
            adopted = self._ledger.record(record.key)
            if adopted is None or (adopted.state, adopted.source) != (State.STORED, "event"):
                raise
            self._ledger.move(adopted, record, gated=True)
            self._aligner.align(record.key)

    def _refetch(self, finding: Operation, record: Record | None, stored: StoredObject | None) -> Operation:
        key = finding.document["key"]
        if record is None:
            raise RecordChanged(f"the record of {key!r} is gone")
        if finding.document["kind"] in ("inline", "external"):
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


def action_begun(finding: Operation) -> str | None:
    """Returns the action that was begun and not ended, if any."""
    return finding.document.get("acting") if finding.status == ACTING else None


def _is_of_hold(document: Mapping[str, Any]) -> bool:
    """Says whether the record that a finding saw does nothing but hold its key."""
    return document["record"] is not None and holds(document["record"]["object_id"])


def _was_aligned(action: str, alignment: Alignment) -> bool:
    """Says whether a key that is in line by now is so as the action would have left it."""
    is_missing = alignment.after is not None and alignment.after.state is State.MISSING
    return alignment.outcome in (Outcome.IN_LINE, Outcome.ABSENT) and is_missing == (action == "mark_missing")


def _reason(error: StocktakeError) -> str:
    if is_refused(error):
        return "denied"
    return "changed" if isinstance(error, (ObjectChanged, RecordChanged)) else error.type.replace("-", "_")
