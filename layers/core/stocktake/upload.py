"""Upload: check, announce, store, confirm, commit; and serve what was stored.

The order of writes is the whole point:

1. the bytes are checked: nothing is written for what is refused;
2. an *intent* (a PENDING record) is written, in one transaction with the counts and only into an open project: from here on a crash leaves
   a record that reconciliation resolves, never an object nobody knows;
3. the bytes are stored under a key never used before, only if it is absent, with their SHA-256, and the bucket is asked what it now holds;
4. the record becomes STORED in one transaction with the counts, only if the project is still open and of the same epoch.

A put that the store refused withdraws its intent once the bucket says that nothing arrived. A put whose end is not known leaves it: the
object may still come.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from stocktake import checks
from stocktake.errors import (
    BucketNotFound,
    Conflict,
    InvalidRequest,
    ObjectUnavailable,
    ProjectClosed,
    RecordChanged,
    StorageDenied,
    StorageError,
    TooLarge,
)
from stocktake.identity import Identity
from stocktake.layouts import build_current, check_project_id
from stocktake.ledger import Ledger
from stocktake.model import Project, ProjectState, Record, State, StoredObject
from stocktake.storage import Content, Store

_ATTEMPTS = 5
MAX_METADATA = 100_000
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes a request may carry, and from where on the caller is warned; seconds an intent lives and a presigned URL works."""

    max_bytes: int = 4_500_000
    warn_bytes: int = 4_000_000
    upload_seconds: int = 60
    presigned_seconds: int = 900


@dataclass(frozen=True, slots=True)
class NewObject:
    """What a caller sends. `metadata` is kept exactly, with its JSON types."""

    body: bytes
    declared_type: str | None = None
    file_name: str | None = None
    cache_control: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A stored object's record, and what the caller should know besides."""

    record: Record
    warnings: tuple[str, ...] = ()


class Uploads:
    """The upload flow over one bucket and one ledger.

    Args:
        identity: marks the bucket as this ledger's before anything is recorded.
        public_base_url: where the bucket is served publicly, without a trailing slash; None to presign instead.
        default_cache_control: sent for objects whose uploader names none.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        *,
        identity: Identity,
        limits: Limits,
        public_base_url: str | None,
        default_cache_control: str,
        now: Callable[[], int],
        new_id: Callable[[int], str],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._identity = identity
        self._limits = limits
        self._public_base_url = public_base_url
        self._default_cache_control = default_cache_control
        self._now = now
        self._new_id = new_id

    def create_project(self, project_id: str, metadata: Mapping[str, Any]) -> Project:
        """Opens a project, or opens a deleted one anew under its next epoch.

        Raises:
            InvalidKey: the id cannot be part of a key.
            TooLarge: the metadata is longer than MAX_METADATA.
            ProjectExists: it is open, or still being deleted, under any historical spelling.
        """
        check_project_id(project_id)
        if len(json.dumps(metadata)) > MAX_METADATA:
            raise TooLarge(f"the metadata of a project may have {MAX_METADATA} characters as JSON: keep what is longer elsewhere")
        self._identity.ensure()
        return self._ledger.create_project(project_id, metadata, self._now())

    def put(self, project_id: str, new: NewObject) -> Uploaded:
        """Stores one object and records it.

        Raises:
            InvalidRequest, TooLarge, UnsupportedType: the bytes are refused; nothing was written.
            ProjectNotFound, ProjectClosed: the project takes no uploads; what was written is gone again.
            StorageError: the bucket did not take or confirm the bytes.
        """
        if new.cache_control is not None and not _HEADER_VALUE.fullmatch(new.cache_control):
            raise InvalidRequest("cache_control must be 1 to 255 printable ASCII characters, as a header carries them")
        inspected = checks.inspect(new.body, new.declared_type, max_bytes=self._limits.max_bytes)
        project = self._ledger.project(project_id)
        if project.state is not ProjectState.ACTIVE:
            raise ProjectClosed(f"project {project.project_id!r} is {project.state.lower()} and takes no uploads: create it anew first")
        at = self._now()
        object_id = self._new_id(at)
        intent = Record(
            key=build_current(project.project_id, object_id, inspected.extension, at),
            object_id=object_id,
            project_id=project.project_id,
            epoch=project.epoch,
            state=State.PENDING,
            size=len(new.body),
            created_at=at,
            updated_at=at,
            sha256=hashlib.sha256(new.body).hexdigest(),
            content_type=inspected.content_type,
            cache_control=new.cache_control or self._default_cache_control,
            file_name=new.file_name,
            metadata=new.metadata,
            expires_at=at + self._limits.upload_seconds * 1000,
        )
        intent = self._ledger.move(None, intent, gated=True)
        record = self._commit(intent, self._store_bytes(intent, new.body))
        warnings: tuple[str, ...] = ()
        if record.size >= self._limits.warn_bytes:
            warnings = (f"the object has {record.size} bytes, close to the limit of {self._limits.max_bytes} for this way of uploading",)
        return Uploaded(record, warnings)

    def project(self, project_id: str) -> Project:
        """Reads a project, by any of its spellings. Raises ProjectNotFound."""
        return self._ledger.project(project_id)

    def record(self, object_id: str) -> Record:
        """Reads a record. Raises ObjectNotFound."""
        return self._ledger.by_object_id(object_id)

    def page(self, project_id: str, limit: int, cursor: str | None) -> tuple[list[Record], str | None]:
        """Reads one page of a project's records in key order. Raises ProjectNotFound."""
        project = self._ledger.project(project_id)
        return self._ledger.page_of_project(project.project_id, limit, cursor)

    def url(self, record: Record) -> str:
        """Returns where the bytes can be fetched: the public URL, or one signed for a while."""
        if self._public_base_url:
            return f"{self._public_base_url}/{quote(record.key)}"
        return self._store.presign_get(record.key, seconds=self._limits.presigned_seconds)

    def content(self, object_id: str) -> Content:
        """Reads the bytes.

        Raises:
            ObjectNotFound: there is no such record.
            ObjectUnavailable: there is, but its bytes are not in the bucket; the message says why.
            TooLarge: the bytes do not fit into an answer; its URL gives them.
        """
        record = self.available(object_id)
        if record.size > self._limits.max_bytes:
            raise TooLarge(f"object {object_id} has {record.size} bytes and answers carry {self._limits.max_bytes}: fetch it by its url")
        content = self._store.get(record.key)
        if content is None:
            raise ObjectUnavailable(
                f"object {object_id} is recorded as stored, but the bucket has nothing under its key: reconcile to record the loss"
            )
        return content

    def available(self, object_id: str) -> Record:
        """Reads the record of an object that can be fetched. Raises ObjectNotFound, ObjectUnavailable."""
        record = self.record(object_id)
        if record.state is not State.STORED:
            raise ObjectUnavailable(f"object {object_id} is {record.state.lower()}: {_WHY_UNAVAILABLE[record.state]}")
        return record

    def delete(self, object_id: str) -> None:
        """Removes one object, bytes first and record after, so that a crash between leaves a missing object and not an unknown one.

        Raises:
            ObjectNotFound: there is no such record.
            RecordChanged: the record kept changing; try again.
        """
        for _ in range(_ATTEMPTS):
            record = self.record(object_id)
            if record.state is State.QUARANTINED:
                raise ObjectUnavailable(f"object {object_id} is quarantined: restore it first")
            if record.state is State.PENDING and (record.expires_at or 0) > self._now():
                raise ObjectUnavailable(f"object {object_id} is being uploaded: delete it once the upload has ended")
            self._store.delete(record.key)
            try:
                self._ledger.move(record, None, gated=False)
            except RecordChanged:  # an event of this very deletion may have marked it missing meanwhile
                continue
            return
        raise RecordChanged(f"the record of object {object_id} kept changing while it was being deleted: try again")

    def _store_bytes(self, intent: Record, body: bytes) -> StoredObject:
        assert intent.sha256 is not None and intent.content_type is not None
        try:
            return self._store.put(
                intent.key,
                body,
                content_type=intent.content_type,
                sha256=intent.sha256,
                metadata={"intent": intent.object_id, "sha256": intent.sha256},
                cache_control=intent.cache_control,
                only_if_absent=True,
            )
        except (StorageDenied, BucketNotFound):
            # withdrawn only where the bucket says that nothing arrived: a put can be taken and its confirmation denied
            with contextlib.suppress(StorageError):
                if self._store.head(intent.key) is None:
                    self._ledger.move(intent, None, gated=False)
            raise

    def _commit(self, intent: Record, stored: StoredObject) -> Record:
        after = replace(intent, state=State.STORED, etag=stored.etag, updated_at=self._now(), expires_at=None)
        try:
            return self._ledger.move(intent, after, gated=True)
        except ProjectClosed:
            # the project was deleted while the bytes were on their way: they are ours, and never served
            self._store.delete(intent.key)
            self._withdraw(intent)
            raise
        except RecordChanged as lost:
            current = self._ledger.record(intent.key)
            if current is not None and current.state is State.STORED and current.sha256 == intent.sha256:
                return current  # the event of our own put committed it first
            if current is None:
                self._store.delete(intent.key)
            raise Conflict(f"the upload {intent.object_id} took longer than its intent lives and was withdrawn: upload it again") from lost

    def _withdraw(self, intent: Record) -> None:
        current = self._ledger.record(intent.key)
        if current is None:
            return
        try:
            self._ledger.move(current, None, gated=False)
        except RecordChanged:
            return  # the deletion of the project got there first


_WHY_UNAVAILABLE = {
    State.PENDING: "its bytes have not been confirmed yet; try again in a minute",
    State.INLINE: "its bytes lie in the ledger and have not been migrated into the bucket",
    State.EXTERNAL: "its bytes lie at a foreign URL and have not been migrated into the bucket",
    State.MISSING: "the bucket was asked and has nothing under its key; upload it again",
    State.QUARANTINED: "it was set aside by a reconciliation; restore it from the quarantine",
}
