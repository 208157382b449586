"""Intents: what every way in shares. Announce, then let bytes move, then commit.

The order of writes is the whole point:

1. an *intent* (a PENDING record) is written, in one transaction with the counts and only into an open project: from here on a crash leaves
   a record that is resolved later, never an object nobody knows;
2. the bytes reach the bucket, under a key never used before;
3. the record becomes STORED in one transaction with the counts, only if the project is still open and of the same epoch.

While storage is switched off the second step falls away, and the third makes the record INLINE, its bytes in the same transaction.

An intent reserves its bytes: a quota is checked after the intent is counted, so that uploads begun together can refuse each other and
never pass the limit together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stocktake.checks import Inspected
from stocktake.confirmation import ENDED
from stocktake.errors import Conflict, InvalidRequest, ObjectDeleted, ObjectUnavailable, ProjectClosed, QuotaExceeded, RecordChanged
from stocktake.layouts import build_current, build_session, project_stem
from stocktake.ledger import Ledger
from stocktake.model import Details, Project, ProjectState, Record, Reserved, SessionPlace, State, StoredObject, Tally
from stocktake.object_deletion import ObjectDeletions
from stocktake.sealing import Sealer
from stocktake.storage import Store
from stocktake.storage.rules import content_disposition

MAX_FILE_NAME = 255
REMEMBERED_MS = 5000
"""How long a function remembers a project it has read: the most by which a changed quota is late."""
_REMEMBERED = 1000
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,255}")


class Intents:
    """The intents of one bucket and one ledger.

    Args:
        default_cache_control: sent for objects whose uploader names none.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        deletions: ObjectDeletions,
        sealer: Sealer,
        *,
        default_cache_control: str,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._deletions = deletions
        self._sealer = sealer
        self._default_cache_control = default_cache_control
        self._now = now
        self._projects: dict[str, tuple[Project, int]] = {}

    def open_project(self, project_id: str) -> Project:
        """Reads a project that takes uploads. Raises ProjectNotFound, ProjectClosed."""
        project = self._ledger.project(project_id)
        if project.state is not ProjectState.ACTIVE:
            raise ProjectClosed(f"project {project.project_id!r} is {project.state.lower()} and takes no uploads: create it anew first")
        return project

    def remembered(self, project_id: str) -> Project:
        """Returns an open project as it was read a moment ago, so that a burst of uploads reads it once. Raises as `open_project`."""
        stem, now = project_stem(project_id), self._now()
        project, read_at = self._projects.get(stem, (None, 0))
        if project is None or not 0 <= now - read_at < REMEMBERED_MS:
            project = self.open_project(project_id)
            if len(self._projects) >= _REMEMBERED:
                self._projects.clear()
            self._projects[stem] = (project, now)
        return project

    def forget(self, project_id: str) -> None:
        """Forgets what was remembered of a project, which has changed. Other functions forget it within REMEMBERED_MS."""
        self._projects.pop(project_stem(project_id), None)

    def announce(
        self,
        project_id: str,
        reserved: Reserved,
        inspected: Inspected,
        details: Details,
        *,
        size: int,
        sha256: str | None,
        source: str,
        lives_ms: int,
        original_url: str | None = None,
    ) -> Record:
        """Writes the intent of an upload and returns it; for a retry, what the attempt before had written: also one STORED or INLINE.

        Args:
            inspected: type, extension and dimensions; those of an object that is still to come are only announced.
            sha256: lower-case hex, or None where the parts are checked instead.
            lives_ms: how long the bytes may take.

        Raises:
            InvalidRequest, InvalidKey: the details cannot be kept.
            ProjectNotFound, ProjectClosed: the project takes no uploads.
            QuotaExceeded: the project may not hold it; what this call wrote is gone again.
            ObjectDeleted: a retry of what has been stored and deleted meanwhile.
            ObjectUnavailable: a retry of what has been stored, and is lost or set aside by now.
            Conflict: the identity was used for other bytes.
        """

        def announced_in(project: Project) -> Record:
            intent = self.draft(project, reserved, inspected, details, size=size, sha256=sha256, source=source)
            now = self._now()
            intent = replace(intent, updated_at=now, expires_at=now + lives_ms, original_url=original_url)
            is_ours = True
            try:
                written = self._ledger.move(None, intent, gated=True)
            except RecordChanged:
                written, is_ours = self._begun_before(intent), False
            if reserved.is_retry:
                self._check_not_deleted(written)
            if written.state is State.PENDING:
                self.check_quota(project, written, is_ours=is_ours)
            return written

        try:
            return announced_in(self.remembered(project_id))
        except ProjectClosed:
            # the gate is asked in the transaction: what was remembered can be old, and never lets anything pass
            self.forget(project_id)
            return announced_in(self.remembered(project_id))

    def draft(
        self,
        project: Project,
        reserved: Reserved,
        inspected: Inspected,
        details: Details,
        *,
        size: int,
        sha256: str | None,
        source: str,
    ) -> Record:
        """Returns the intent of an object as it would be written; writes nothing. Raises InvalidRequest, InvalidKey, SealingError."""
        _check_details(details)
        metadata, sealed = self._sealer.seal(
            details.metadata, details.sensitive, project_id=project.project_id, subject_id=reserved.object_id
        )
        return Record(
            key=key_of(project.project_id, reserved, inspected.extension, details.session_place),
            object_id=reserved.object_id,
            project_id=project.project_id,
            epoch=project.epoch,
            state=State.PENDING,
            size=size,
            created_at=reserved.at,
            updated_at=reserved.at,
            layout="current" if details.session_place is None else "session",
            sha256=sha256,
            content_type=inspected.content_type,
            cache_control=details.cache_control or self._default_cache_control,
            file_name=details.file_name,
            metadata=metadata,
            sealed=sealed,
            generation_id=details.generation_id,
            output=details.output,
            source=source,
            width=inspected.width,
            height=inspected.height,
        )

    def commit(self, intent: Record, stored: StoredObject, inspected: Inspected | None = None) -> Record:
        """Makes the record STORED: the bucket has confirmed the object. An intent that was withdrawn as over is recorded anew.

        Raises:
            ProjectClosed: the project was closed meanwhile. Intent and bytes stay: its deletion takes them, and an undo goes on with them.
            ObjectDeleted: the object was deleted meanwhile; the bytes are gone again.
            Conflict: someone else has the record by now; the bytes are theirs.
        """
        if intent.source == ENDED:
            raise _ended(intent)
        after = replace(intent, state=State.STORED, etag=stored.etag, updated_at=self._now(), expires_at=None)
        if inspected is not None:
            after = replace(after, content_type=inspected.content_type, width=inspected.width, height=inspected.height)
        return self._settle(intent, after)

    def keep_inline(self, intent: Record, body: bytes) -> Record:
        """Makes the record INLINE, with its bytes; the bucket is not asked. An intent that was withdrawn as over is recorded anew.

        Raises:
            ProjectClosed, ObjectDeleted: the project was closed, or the object deleted, meanwhile.
            Conflict: someone else has the record by now.
            TooLarge: the ledger cannot hold so many bytes.
        """
        if intent.source == ENDED:
            raise _ended(intent)
        after = replace(intent, state=State.INLINE, etag=intent.sha256, updated_at=self._now(), expires_at=None)
        return self._settle(intent, after, body)

    def _settle(self, intent: Record, after: Record, content: bytes | None = None) -> Record:
        try:
            return self._ledger.move(intent, after, gated=True, content=content)
        except RecordChanged as lost:
            current = self._ledger.record(intent.key)
            if current is None:
                return self._commit_anew(after, content)
            if current.object_id == intent.object_id and current.state is after.state:
                return current  # the event of our own put committed it first, or another attempt did
            raise Conflict(f"the upload {intent.object_id} was ended while its bytes came: upload it again") from lost

    def _commit_anew(self, after: Record, content: bytes | None) -> Record:
        """Records what is stored and has no record any more. Never erases on doubt: a retry may have met these bytes and claimed them."""
        try:
            self._deletions.check_not_deleted(after.object_id)
        except ObjectDeleted:
            if content is None:
                self._deletions.erase(after.key)  # as its deletion does, now and at its sweep
            raise
        try:
            return self._ledger.move(None, after, gated=True, content=content)
        except RecordChanged as lost:
            raise Conflict(f"the upload {after.object_id} is being sent by another request: ask for the object, then decide") from lost

    def withdraw(self, intent: Record) -> bool:
        """Removes an intent while it is one, and any other record while it is as given; False, and nothing removed, where it is not."""
        current = self._ledger.record(intent.key)
        if current is None or current.object_id != intent.object_id:
            return True
        if current.state is not State.PENDING and (current.state, current.version) != (intent.state, intent.version):
            return False
        try:
            self._ledger.move(current, None, gated=False)
        except RecordChanged:  # a deletion got there first, or the commit did
            return self._ledger.record(intent.key) is None
        return True

    def headers_of(self, intent: Record) -> dict[str, Any]:
        """Returns the arguments of a put that become the object's headers. Of what the caller said only the file name is among them."""
        assert intent.content_type is not None
        return {
            "content_type": intent.content_type,
            "cache_control": intent.cache_control,
            "content_disposition": content_disposition(intent.content_type, intent.file_name),
        }

    def _begun_before(self, intent: Record) -> Record:
        current = self._ledger.record(intent.key)
        if current is None:
            raise RecordChanged(f"the upload {intent.object_id} was withdrawn at this moment: upload it again")
        if current.source == ENDED:
            raise _ended(current)
        if (current.object_id, current.size, current.sha256) != (intent.object_id, intent.size, intent.sha256):
            raise Conflict(f"the identity {intent.object_id} is taken by other bytes: use a new Idempotency-Key, or another output number")
        if current.state not in (State.PENDING, State.STORED, State.INLINE):
            raise ObjectUnavailable(
                f"object {intent.object_id} was stored before and is {current.state.lower()}: restore it, or delete it and upload it as new"
            )
        return current

    def _check_not_deleted(self, written: Record) -> None:
        # asked after the intent is written: a deletion that comes later meets it, and one that came before is seen
        try:
            self._deletions.check_not_deleted(written.object_id)
        except ObjectDeleted:
            self.withdraw(written)
            raise

    def check_quota(self, project: Project, intent: Record, *, is_ours: bool) -> None:
        """Makes sure that a project may hold what it holds with a record just written; one that is ours goes again where it may not.

        Raises:
            QuotaExceeded: it may not.
        """
        # of an intent found as well: whoever wrote it may have died before asking. But that one is left to its end, for its URL may be out
        exceeded = self.over_quota(project)
        if exceeded is not None and (not is_ours or self.withdraw(intent)):
            raise exceeded

    def over_quota(self, project: Project) -> QuotaExceeded | None:
        """Says by how much a project is over its quota now; None where it is not."""
        quota = project.quota
        if quota is None:
            return None
        counts = self._ledger.counts(project.project_id)
        held = sum((tally for state, tally in counts.items() if state is not State.MISSING), Tally())
        for what, would_hold, most in (("objects", held.objects, quota.objects), ("bytes", held.bytes, quota.bytes)):
            if most is not None and would_hold > most:
                return QuotaExceeded(
                    f"project {project.project_id!r} would hold {would_hold} {what} and may hold {most}, uploads under way included: "
                    "delete objects, wait for uploads to end, or raise its quota"
                )
        return None


def _ended(intent: Record) -> RecordChanged:
    return RecordChanged(f"the upload {intent.object_id} is being ended at this moment: upload it again")


def key_of(project_id: str, reserved: Reserved, extension: str, place: SessionPlace | None) -> str:
    """Returns the key of a new object: of the current layout, or of the session layout where that was asked. Raises InvalidKey."""
    if place is None:
        return build_current(project_id, reserved.object_id, extension, reserved.at)
    return build_session(place.session, place.persona, reserved.object_id, extension)


def _check_details(details: Details) -> None:
    if details.cache_control is not None and not _HEADER_VALUE.fullmatch(details.cache_control):
        raise InvalidRequest("cache_control must be 1 to 255 printable ASCII characters, as a header carries them")
    if details.file_name is not None and not 1 <= len(details.file_name) <= MAX_FILE_NAME:
        raise InvalidRequest(f"file_name must have 1 to {MAX_FILE_NAME} characters: send a shorter one, or none")
