"""One key: ask the bucket, correct the ledger.

An event is a hint and a finding is a memory; both may be late, doubled or out of order. `Aligner.align` therefore looks at nothing but
the key: it reads the record, asks the bucket, and moves the record by compare-and-set on its version. Whoever asked last and wins wrote
what the bucket said after the version it replaces, so any order of events ends with ledger equal to bucket.

One race is left: the object comes back between HEAD and the write that marks it missing, and the event of its return finds record and
bucket equal. After marking a record missing the bucket is therefore asked once more.

A name has one record, in whatever Unicode spelling. An event of another spelling is one of that record's: R2 takes the two for one object.

An object that comes by a presigned URL is committed only once it was looked at (`confirmation`). One that comes after its deletion was
proved is nobody's: its key was made for one object and is never used again, so it is not adopted, and the deletion's own sweep removes it.
Its intent is never withdrawn here: a URL may still bring bytes, and `presigned` leaves the tombstone that keeps those from being adopted.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

from stocktake.checks import Inspected, Rules
from stocktake.confirmation import ENDED, UNCHECKED, confirm
from stocktake.errors import (
    ConfirmationFailed,
    InvalidRequest,
    ObjectNotFound,
    ProjectClosed,
    ProjectNotFound,
    RecordChanged,
    StorageError,
    UploadIncomplete,
)
from stocktake.ids import new_id, time_of_id
from stocktake.layouts import SYSTEM_PREFIX, ParsedKey, Registry
from stocktake.ledger import Ledger
from stocktake.model import Project, ProjectState, Record, State, StoredObject
from stocktake.object_deletion import ObjectDeletions
from stocktake.storage import Store
from stocktake.storage.refusals import check_is_of_key
from stocktake.storage.rules import INTENT

_ATTEMPTS = 5
_OURS = frozenset({INTENT, "sha256"})
"""Headers that uploads of ours put on an object, and no caller."""


class Outcome(enum.StrEnum):
    """What aligning one key did, or why nothing was done."""

    IN_LINE = "in_line"
    ADOPTED = "adopted"  # object without record: now recorded
    COMMITTED = "committed"  # intent whose object has arrived: now STORED
    REFRESHED = "refreshed"  # the object changed behind the record
    RETURNED = "returned"  # a missing object is back
    MARKED_MISSING = "marked_missing"
    WAITING = "waiting"  # an intent without object yet
    FORGOTTEN = "forgotten"  # an intent past its end without object: withdrawn
    ABSENT = "absent"  # neither object nor record
    SPELLED_OTHERWISE = "spelled_otherwise"  # recorded under another Unicode spelling of the same key: that one was brought in line
    SYSTEM = "system"  # a key of our own
    UNKNOWN_KEY = "unknown_key"
    NO_PROJECT = "no_project"
    PROJECT_CLOSED = "project_closed"
    DIFFERS = "differs"  # an intent whose object is not the one announced: left for reconciliation
    HELD = "held"  # quarantined, inline, external or being ended: its own flow decides
    LATE = "late"  # bytes of an upload of ours that came after its intent had ended: reconciliation reports them
    DELETED = "deleted"  # an object that was deleted by request, and whose bytes came late


@dataclass(frozen=True, slots=True)
class Alignment:
    """What was found and done for one key."""

    outcome: Outcome
    before: Record | None
    after: Record | None


@dataclass(frozen=True, slots=True)
class Aligner:
    """Brings single keys in line; `source` is written on records it makes."""

    store: Store
    ledger: Ledger
    layouts: Registry
    deletions: ObjectDeletions
    rules: Rules
    now: Callable[[], int]
    source: str

    def align(self, key: str) -> Alignment:
        """Makes the record of `key` say what the bucket says of it now.

        Raises:
            RecordChanged: the record kept changing under five attempts; try again later.
            StorageError, LedgerError: one side could not be asked; nothing was changed on doubt.
        """
        parsed = self.layouts.parse(key)
        if key.startswith(SYSTEM_PREFIX):
            return Alignment(Outcome.SYSTEM, None, None)
        for _ in range(_ATTEMPTS):
            record = self.ledger.record(key)
            if record is None and (other := self.ledger.spelled_otherwise(key)) is not None:
                # where both are one object, what happened to it under this spelling is for the record that there is
                there = self.align(other.key)
                return Alignment(Outcome.SPELLED_OTHERWISE, there.before, there.after)
            stored = self.store.head(key)
            try:
                if record is None:
                    return self._without_record(key, parsed, stored)
                if stored is None:
                    alignment = self._without_object(record)
                    if alignment.outcome is Outcome.MARKED_MISSING and self.store.head(key) is not None:
                        continue
                    return alignment
                return self._with_both(record, stored)
            except RecordChanged:
                continue
        raise RecordChanged(f"the record of {key!r} changed {_ATTEMPTS} times while it was being brought in line: try again later")

    def let_go(self, held: Record, *, was_removed: bool) -> None:
        """Removes the record that holds a key, and does for what came under the key meanwhile what its event would have done.

        That event found the key held, and comes no second time. The object that was held for is left without a record, and so is one that
        the store refuses to show, of which no event could have told either.

        Args:
            was_removed: whether that object is known to be gone; else what has its bytes is taken for it.

        Raises:
            RecordChanged: the record is another by now.
            StorageError, LedgerError: one side could not be asked.
        """
        is_shown = self._is_shown(held.key)  # where the store does not answer, the key stays held
        self.ledger.move(held, None, gated=False)
        stored = self.store.head(held.key) if is_shown else None
        if stored is not None and (was_removed or not same_bytes(held, stored)):
            replace(self, source="event").align(held.key)

    def _is_shown(self, key: str) -> bool:
        try:
            self.store.head(key)
        except StorageError as error:
            check_is_of_key(self.store, error)
            return False
        return True

    def owner_of(self, parsed: ParsedKey | None) -> str | None:
        """Returns the stem of the project a parsed key belongs to, or None while no one or more than one may own it."""
        return None if parsed is None else self.layouts.owner(parsed, self.ledger.has_project)

    def _without_record(self, key: str, parsed: ParsedKey | None, stored: StoredObject | None) -> Alignment:
        if stored is None:
            return Alignment(Outcome.ABSENT, None, None)
        if parsed is None:
            return Alignment(Outcome.UNKNOWN_KEY, None, None)
        known = parsed.object_id or _intent(stored)
        if known is not None and self.deletions.why_deleted(known) is not None:
            return Alignment(Outcome.DELETED, None, None)
        if self.source == "event" and INTENT in stored.metadata:
            return Alignment(Outcome.LATE, None, None)
        stem = self.owner_of(parsed)
        if stem is None:
            return Alignment(Outcome.NO_PROJECT, None, None)
        try:
            project = self.ledger.project(stem)
        except ProjectNotFound:
            return Alignment(Outcome.NO_PROJECT, None, None)
        if project.state is not ProjectState.ACTIVE:
            return Alignment(Outcome.PROJECT_CLOSED, None, None)
        at = self.now()
        record = record_of_object(
            stored, parsed, project, state=State.STORED, object_id=self._identity(known, at), at=at, source=self.source
        )
        return self._moved(Outcome.ADOPTED, None, record)

    def _identity(self, known: str | None, at: int) -> str:
        # an object we once stored keeps the id callers know, unless a copy of it already bears that id
        if known is not None:
            try:
                self.ledger.by_object_id(known)
            except ObjectNotFound:
                return known
        return new_id(at)

    def _without_object(self, record: Record) -> Alignment:
        at = self.now()
        if record.state is State.STORED:
            return self._moved(Outcome.MARKED_MISSING, record, replace(record, state=State.MISSING, updated_at=at))
        if record.state is State.PENDING:
            is_ours_to_end = record.source not in UNCHECKED and record.source != ENDED
            if is_ours_to_end and record.expires_at is not None and record.expires_at < at:
                return self._moved(Outcome.FORGOTTEN, record, None, gated=False)
            return Alignment(Outcome.WAITING, record, record)
        if record.state is State.QUARANTINED:
            return Alignment(Outcome.HELD, record, record)
        return Alignment(Outcome.IN_LINE, record, record)

    def _with_both(self, record: Record, stored: StoredObject) -> Alignment:
        if record.state not in (State.STORED, State.MISSING, State.PENDING) or record.source == ENDED:
            return Alignment(Outcome.HELD, record, record)
        inspected = None
        if record.state is State.PENDING:
            try:
                inspected = self._confirmed(record, stored)
            except (ConfirmationFailed, InvalidRequest, UploadIncomplete):
                return Alignment(Outcome.DIFFERS, record, record)
        if record.state is State.STORED and (record.size, record.etag) == (stored.size, stored.etag):
            return Alignment(Outcome.IN_LINE, record, record)
        after = replace(
            record,
            state=State.STORED,
            size=stored.size,
            etag=stored.etag,
            sha256=stored.sha256 or (record.sha256 if same_bytes(record, stored) else None),
            content_type=stored.content_type,
            cache_control=stored.cache_control,
            updated_at=self.now(),
            expires_at=None,
        )
        if inspected is not None:
            after = replace(after, width=inspected.width, height=inspected.height)
        outcome = {State.PENDING: Outcome.COMMITTED, State.MISSING: Outcome.RETURNED}.get(record.state, Outcome.REFRESHED)
        return self._moved(outcome, record, after)

    def _confirmed(self, record: Record, stored: StoredObject) -> Inspected | None:
        if record.source in UNCHECKED:
            return confirm(self.store, record, stored, self.rules)
        if not same_bytes(record, stored):
            raise ConfirmationFailed(f"the object under {record.key!r} is not the one announced")
        return None  # it was looked at before it was stored

    def _moved(self, outcome: Outcome, before: Record | None, after: Record | None, *, gated: bool = True) -> Alignment:
        try:
            moved = self.ledger.move(before, after, gated=gated)
        except (ProjectClosed, ProjectNotFound):
            return Alignment(Outcome.PROJECT_CLOSED, before, before)
        return Alignment(outcome, before, moved)


def record_of_object(
    stored: StoredObject, parsed: ParsedKey, project: Project, *, state: State, object_id: str, at: int, source: str
) -> Record:
    """Makes the record of an object that was found in the bucket and not announced by an upload."""
    return Record(
        key=stored.key,
        object_id=object_id,
        project_id=project.project_id,
        epoch=project.epoch,
        state=state,
        size=stored.size,
        created_at=at,
        updated_at=at,
        layout=parsed.layout,
        etag=stored.etag,
        sha256=stored.sha256 or _uploaded_sha256(stored),
        content_type=stored.content_type,
        cache_control=stored.cache_control,
        file_name=parsed.file_name,
        metadata={name: value for name, value in stored.metadata.items() if name not in _OURS},
        source=source,
    )


def _intent(stored: StoredObject) -> str | None:
    """Returns the id under which an upload of ours wrote the object, where its headers say so."""
    intent = stored.metadata.get(INTENT)
    return intent if intent is not None and time_of_id(intent) is not None else None


def _uploaded_sha256(stored: StoredObject) -> str | None:
    """Returns the SHA-256 an upload of ours put on the object: the store held the bytes against it when they came in."""
    return stored.metadata.get("sha256") if _intent(stored) is not None else None


def is_copy_of(found: StoredObject, copy: StoredObject) -> bool | None:
    """Says whether one object is a copy of the other; None where nothing tells them apart and no hash tells that they are the same."""
    if found.size != copy.size:
        return False
    if found.sha256 is not None and copy.sha256 is not None:
        return found.sha256 == copy.sha256
    if found.etag == copy.etag:
        return True
    headers = ("content_type", "cache_control", "metadata")
    return None if all(getattr(found, name) == getattr(copy, name) for name in headers) else False


def same_bytes(record: Record, stored: StoredObject) -> bool:
    """Says whether the object is the one the record was written for.

    The store's own SHA-256 decides where it keeps one; else the SHA-256 the uploader put on the object, which the store checked the bytes
    against when they came in; else the ETag.
    """
    if record.size != stored.size:
        return False
    sha256 = stored.sha256 or stored.metadata.get("sha256")
    if sha256 is not None and record.sha256 is not None:
        return sha256 == record.sha256
    return record.etag is not None and record.etag == stored.etag
