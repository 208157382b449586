"""Serving: records, where their bytes are, and the bytes themselves.

Whatever a caller asks for, the answer says what is true of the object: stored and where, kept in the ledger, at a foreign URL, announced,
missing, set aside, or deleted by request. What lies in the ledger can only be answered with, so it is, also where a redirect was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from stocktake import conditions
from stocktake.conditions import Full, NotModified, Partial
from stocktake.errors import (
    InvalidRequest,
    ObjectExternal,
    ObjectMissing,
    ObjectNotFound,
    ObjectPending,
    ObjectQuarantined,
    ObjectUnavailable,
    TooLarge,
)
from stocktake.ledger import Ledger
from stocktake.model import Project, ProjectState, Record, State, StoredObject
from stocktake.object_deletion import ObjectDeletions
from stocktake.sealing import Sealer
from stocktake.storage import Content, Store
from stocktake.storage.rules import needs_attachment


@dataclass(frozen=True, slots=True)
class Served:
    """What is answered to a request for an object's bytes: a place to go, the bytes asked for, or neither, because the caller has them."""

    record: Record
    asked: conditions.Serving
    url: str | None = None
    content: Content | None = None


class Serving:
    """Reads of one bucket and one ledger.

    Args:
        public_base_url: where the bucket is served publicly, without a trailing slash; None to presign instead.
        presigned_seconds: life of a presigned URL.
        max_bytes: the most an answer carries.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        deletions: ObjectDeletions,
        sealer: Sealer,
        *,
        public_base_url: str | None,
        presigned_seconds: int,
        max_bytes: int,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._deletions = deletions
        self._sealer = sealer
        self._public_base_url = public_base_url
        self._presigned_seconds = presigned_seconds
        self._max_bytes = max_bytes

    def project(self, project_id: str) -> Project:
        """Reads a project, by any of its spellings. Raises ProjectNotFound."""
        return self._ledger.project(project_id)

    def page(
        self, project_id: str, limit: int, cursor: str | None, *, fits: Callable[[Record], bool] = lambda _: True
    ) -> tuple[list[Record], str | None]:
        """Reads one page of a project's records in key order, ended early by `fits` as `Ledger.page_of_project` says.

        A project that is being deleted shows none, as one that is deleted has none.

        Raises:
            ProjectNotFound: there is no such project.
            InvalidRequest: the cursor is not one of ours.
        """
        project = self._ledger.project(project_id)
        if project.state is not ProjectState.ACTIVE:
            return [], None
        return self._ledger.page_of_project(project.project_id, limit, cursor, fits=fits)

    def record(self, object_id: str) -> Record:
        """Reads a record.

        Raises:
            ObjectDeleted: it was deleted by request.
            ObjectNotFound: there is no such object, or it goes or went with its project.
        """
        try:
            record = self._ledger.by_object_id(object_id)
        except ObjectNotFound:
            self._deletions.check_not_deleted(object_id)
            raise
        # a record may outlive the request for its project's deletion by the days for which that can be undone
        if self._ledger.project(record.project_id).state is not ProjectState.ACTIVE:
            raise ObjectNotFound.of(object_id)
        return record

    def metadata(self, record: Record) -> dict[str, Any]:
        """Returns the metadata of a record as it was sent, what is sealed opened. Raises SealingError."""
        return self._sealer.open(record.metadata, record.sealed, project_id=record.project_id, subject_id=record.object_id)

    def url(self, record: Record) -> str | None:
        """Returns where the bytes can be fetched: the public URL, or one signed for a while; None where they cannot.

        A signed URL of what could run in a browser saves it also where it was stored by others, without saying so.
        """
        if record.state is not State.STORED:
            return None
        if self._public_base_url:
            return self.public_url(record)
        saved_as = (record.file_name or _name(record)) if needs_attachment(record.content_type) else None
        return self._store.presign_get(record.key, seconds=self._presigned_seconds, file_name=saved_as)

    def public_url(self, record: Record) -> str | None:
        """Returns the public URL of stored bytes; None where the bucket has none. A signed one is for whoever asks for the record."""
        if record.state is not State.STORED or not self._public_base_url:
            return None
        return f"{self._public_base_url}/{quote(record.key)}"

    def redirect(self, object_id: str, headers: Mapping[str, str]) -> Served:
        """Says where the bytes are, or that the caller has them; of an object that lies in the ledger reads the bytes, as `bytes` does.

        Args:
            headers: of the request, names in lower case.

        Raises:
            ObjectNotFound, ObjectDeleted, ObjectUnavailable: there are no bytes to go to.
            PreconditionFailed: If-Match or If-Unmodified-Since does not hold.
        """
        record = self._available(object_id)
        if record.state is State.INLINE:
            return self.bytes(object_id, headers)
        if record.state is State.EXTERNAL:
            return Served(record, Full(), _foreign(record))
        # a range is the bucket's to answer
        asked = {name: value for name, value in headers.items() if name not in ("range", "if-range")}
        answer = self._evaluated(asked, record)
        return Served(record, answer, None if isinstance(answer, NotModified) else self.url(record))

    def bytes(self, object_id: str, headers: Mapping[str, str]) -> Served:
        """Reads the bytes, or the range of them that the request asks for.

        Raises:
            ObjectNotFound, ObjectDeleted, ObjectUnavailable: there are none.
            TooLarge: they do not fit into an answer; the URL of the object gives them.
            RangeNotSatisfiable, PreconditionFailed: as the request's headers say.
        """
        record = self._available(object_id)
        inline = self._ledger.content(record) if record.state is State.INLINE else None
        if record.state is State.INLINE and inline is None:
            record = self._available(object_id)  # migrated at this moment
        if record.state is State.EXTERNAL:
            raise ObjectExternal(f"object {object_id} is external: its bytes lie at a foreign URL; follow the redirect, or migrate it")
        asked = self._evaluated(headers, record)
        if isinstance(asked, NotModified):
            return Served(record, asked)
        size = record.size if isinstance(asked, Full) else asked.last - asked.first + 1
        if size > self._max_bytes:
            raise TooLarge(
                f"{size} bytes of object {object_id} were asked for and an answer carries {self._max_bytes}: "
                "fetch it by its url, or ask for a range"
            )
        byte_range = (asked.first, asked.last) if isinstance(asked, Partial) else None
        if inline is not None:
            return Served(record, asked, content=_inline(record, inline, byte_range))
        try:
            content = self._store.get(record.key, byte_range=byte_range)
        except InvalidRequest:  # the range is inside the object that is recorded, so the bucket has another, shorter one
            content = None
        if content is None or content.object.etag != record.etag:
            self._deletions.check_not_deleted(object_id)
            raise ObjectMissing(
                f"object {object_id} is recorded as stored, but the bucket has nothing, or something else, under its key: "
                "reconcile to record it"
            )
        return Served(record, asked, content=content)

    def _evaluated(self, headers: Mapping[str, str], record: Record) -> conditions.Serving:
        assert record.etag is not None  # a record is STORED or INLINE with it
        return conditions.evaluate(headers, etag=record.etag, last_modified=record.updated_at, size=record.size)

    def _available(self, object_id: str) -> Record:
        record = self.record(object_id)
        if record.state not in (State.STORED, State.INLINE, State.EXTERNAL):
            self._deletions.check_not_deleted(object_id)  # its deletion may be under way, or have stopped half-way
            error, why = _UNAVAILABLE[record.state]
            raise error(f"object {object_id} is {record.state.lower()}: {why}")
        return record


def _inline(record: Record, body: bytes, byte_range: tuple[int, int] | None) -> Content:
    """Returns bytes that lie in the ledger, or a range of them, as the bucket would give them."""
    stored = StoredObject(record.key, record.size, record.etag or "", record.updated_at, record.content_type, record.sha256)
    if byte_range is None:
        return Content(stored, body)
    first, last = byte_range
    return Content(stored, body[first : last + 1], f"bytes {first}-{last}/{record.size}")


def _foreign(record: Record) -> str:
    """Returns where the bytes of an EXTERNAL record lie. Raises ObjectExternal where that is no place to send a reader to."""
    url = record.original_url or ""
    if not url.startswith("https://"):
        raise ObjectExternal(f"object {record.object_id} is external and its URL is not https: nobody is sent there; migrate it")
    return url


def _name(record: Record) -> str:
    """Names a file after its object: only a URL signed over a name saves what was stored without saying so."""
    _, dot, extension = record.key.rpartition("/")[2].rpartition(".")
    return f"{record.object_id}{dot}{extension}" if dot else record.object_id


_UNAVAILABLE: Mapping[State, tuple[Callable[[str], ObjectUnavailable], str]] = {
    State.PENDING: (ObjectPending, "its bytes have not been confirmed yet; try again in a minute"),
    State.MISSING: (ObjectMissing, "the bucket was asked and has nothing under its key; upload it again"),
    State.QUARANTINED: (ObjectQuarantined, "it was set aside by a reconciliation; restore it from the quarantine"),
}
