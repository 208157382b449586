"""One record whose bytes lie in the ledger or at a foreign URL, moved into the bucket.

The order is that of an upload, and the record is its own intent:

1. the record is touched: its project is open, and a deletion that comes now knows that bytes may be on their way to its key;
2. the bytes are put under that key, where nothing lies, and the bucket confirms their size and SHA-256; where it keeps no SHA-256 they are
   read back and hashed;
3. the record becomes STORED by compare-and-set, and in the same transaction the bytes in the ledger go.

A crash leaves the record as it was, with its bytes, or STORED. What was put before a crash is found by its mark, and putting it again has
no effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from stocktake import checks
from stocktake.errors import ConfirmationFailed, ImportRefused, InvalidRequest, ObjectNotFound, RecordChanged
from stocktake.importing import Fetcher
from stocktake.intents import Intents
from stocktake.ledger import Ledger
from stocktake.model import Record, State, StoredObject
from stocktake.object_deletion import ObjectDeletions
from stocktake.storage import Store
from stocktake.storage.rules import INTENT

_ATTEMPTS = 5
UNSTORED = (State.INLINE, State.EXTERNAL)


class Storing:
    """Moves records of one ledger into one bucket.

    Args:
        fetcher: reads foreign URLs, as far as the deployment allows any.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        intents: Intents,
        deletions: ObjectDeletions,
        fetcher: Fetcher,
        rules: checks.Rules,
        *,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._intents = intents
        self._deletions = deletions
        self._fetcher = fetcher
        self._rules = rules
        self._now = now

    def store(self, key: str, read: Record | None = None) -> Record:
        """Makes the record of `key` STORED, and returns it; one that is STORED already is returned as it is.

        Args:
            read: the record as it was read a moment ago, where it was.

        Raises:
            ObjectNotFound: there is no such record (any more).
            Conflict: it is neither unstored nor STORED, or another object lies under its key, or it kept changing.
            ProjectClosed, QuotaExceeded: its project does not take it.
            ImportDisabled, ImportRefused, TooLarge, UnsupportedType, InvalidRequest: the foreign URL gives none that is taken.
            StorageError: the bucket did not take or confirm the bytes. The record, and its bytes, are as they were whatever is raised.
        """
        for _ in range(_ATTEMPTS):
            record, read = read or self._ledger.record(key), None
            if record is None:
                raise ObjectNotFound(f"the record of {key!r} is gone: it was deleted meanwhile")
            if record.state is State.STORED:
                return record
            if record.state not in UNSTORED:
                raise RecordChanged(f"the record of {key!r} is {record.state.lower()} by now: nothing of it is to be migrated")
            try:
                return self._inline(record) if record.state is State.INLINE else self._external(record)
            except RecordChanged:
                continue
        raise RecordChanged(f"the record of {key!r} kept changing while it was migrated: start the migration again")

    def check(self, record: Record) -> None:
        """Says of a record whether its bytes may be asked for where they lie; asks nobody, and writes nothing.

        Raises:
            ImportDisabled, ImportRefused, InvalidRequest: its foreign URL may not be fetched, or is none.
        """
        if record.state is State.EXTERNAL:
            self._fetcher.allowed(_url_of(record))

    def put(self, record: Record, body: bytes) -> StoredObject:
        """Puts a record's bytes under its key, marked as its own, and returns what the bucket has confirmed, hash included.

        Raises:
            ObjectExists: the key holds another object.
            ConfirmationFailed: the bucket holds something else afterwards.
        """
        assert record.sha256 is not None
        stored = self._store.put(
            record.key,
            body,
            sha256=record.sha256,
            metadata={INTENT: record.object_id, "sha256": record.sha256},
            only_if_absent=True,
            **self._intents.headers_of(record),
        )
        if stored.sha256 is None:
            content = self._store.get(record.key)
            if content is None or content.object.etag != stored.etag or _sha256(content.body) != record.sha256:
                raise ConfirmationFailed(f"the bytes under {record.key!r} are not those that were put there: start the migration again")
        return stored

    def refetch(self, record: Record) -> Record:
        """Puts the bytes of a record whose object is gone back from the URL they came from, and returns the record, STORED.

        Raises:
            ImportRefused: no URL or no SHA-256 is recorded, or the URL gives other bytes than were; nothing was written.
            ObjectExists, ProjectClosed, RecordChanged, ImportDisabled, TooLarge, StorageError: as `store`.
        """
        if record.original_url is None or record.sha256 is None or record.content_type is None:
            raise ImportRefused(
                f"object {record.object_id} has no URL, SHA-256 and type on record, by which its bytes could be had back and known"
            )
        body = self._fetcher.fetch(record.original_url).body
        if (len(body), _sha256(body)) != (record.size, record.sha256):
            raise ImportRefused(f"the URL of {record.object_id} gives other bytes than those that were recorded")
        return self._stored(self._touched(record), body)

    def _inline(self, record: Record) -> Record:
        body = self._ledger.content(record)
        if body is None:
            raise RecordChanged(f"the record of {record.key!r} was migrated at this moment")
        if _sha256(body) != record.sha256:
            raise ConfirmationFailed(f"the bytes of {record.key!r} in the ledger are not those that were recorded: restore the table")
        return self._stored(self._touched(record), body)

    def _external(self, record: Record) -> Record:
        url = _url_of(record)
        project = self._intents.remembered(record.project_id)
        # only what was touched can have been put
        body, declared = self._put_before(record) if record.version > 1 else None, record.content_type
        if body is None:
            fetched = self._fetcher.fetch(url)
            body, declared = fetched.body, declared or fetched.content_type
        sha256 = _sha256(body)
        if record.sha256 not in (None, sha256):
            raise InvalidRequest(f"the URL of {record.object_id} does not give the bytes whose SHA-256 was recorded: import it anew")
        inspected = checks.inspect(body, declared, max_bytes=len(body), rules=self._rules)
        # its bytes count from here on, so that a quota is not passed by objects that are fetched together
        touched = self._touched(replace(record, size=len(body)), before=record)
        exceeded = self._intents.over_quota(project)
        if exceeded is not None:
            self._ledger.move(touched, replace(touched, size=record.size), gated=False)
            raise exceeded
        found = replace(touched, sha256=sha256, content_type=inspected.content_type, width=inspected.width, height=inspected.height)
        return self._stored(touched, body, found)

    def _put_before(self, record: Record) -> bytes | None:
        """Reads what an attempt before this one put under the key: the URL may give other bytes by now, or none."""
        stored = self._store.head(record.key)
        if stored is None or stored.metadata.get(INTENT) != record.object_id:
            return None
        content = self._store.get(record.key)
        return content.body if content else None

    def _touched(self, record: Record, *, before: Record | None = None) -> Record:
        return self._ledger.move(before or record, replace(record, updated_at=self._now()), gated=True)

    def _stored(self, touched: Record, body: bytes, found: Record | None = None) -> Record:
        """Puts the bytes and moves the record; erases them where the record is gone.

        In a project that was closed meanwhile they stay: it was touched, so that the deletion sweeps the key, and after an undo the mark
        lets the next attempt find them. They may also be all there is by now, since another attempt may have made the record STORED first.
        """
        after = found or touched
        stored = self.put(after, body)
        try:
            return self._ledger.move(
                touched, replace(after, state=State.STORED, size=stored.size, etag=stored.etag, updated_at=self._now()), gated=True
            )
        except RecordChanged:
            if self._ledger.record(touched.key) is None:
                self._deletions.erase(touched.key)  # its object was deleted meanwhile, and its key is never used again
                raise ObjectNotFound(f"object {touched.object_id} was deleted while it was migrated") from None
            raise


def _url_of(record: Record) -> str:
    if record.original_url is None:
        raise InvalidRequest(f"object {record.object_id} is external and no URL is recorded: import it anew")
    return record.original_url


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
