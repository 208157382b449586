"""Deleting one object, with the care of a project's deletion: announced, erased, looked for again, and only then said.

1. a tombstone is written (DELETING), so that a crash leaves a deletion that is taken up again and never one that nobody remembers;
2. bytes go: every version of the key where the bucket keeps versions, and the open multipart uploads under it;
3. the bucket is asked whether anything is left;
4. the record goes, with its counts;
5. a CDN before the bucket is told to forget the object's public URL, where the object was there to be served;
6. the tombstone says DELETED and holds the receipt, with what the CDN did not take: it is no proof of bytes, and asking again tries again;
7. where bytes may still be on their way, because a URL or an upload of the object may still live, the key is swept once more after it.

The tombstone outlives every URL that was signed for the key. Late bytes are nobody's, because a key is made by the server for one object
and is never used again: events do not adopt them (`why_deleted`), and the sweep removes them. A key of an older layout was made by others,
who may write it again: what lies there once the record is gone is another object, and left alone. A tombstone holds no personal data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stocktake.cdn import PublicCopies
from stocktake.errors import ObjectDeleted, ObjectNotFound, ObjectQuarantined, RecordChanged, StocktakeError, StorageError
from stocktake.layouts import is_made_for
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.model import KeyFailure, Record, State
from stocktake.storage import MultipartUpload, ObjectVersion, Store

KIND = "object-deletion"
REQUESTED = "requested"
_ATTEMPTS = 5
KEEP_MS = 400 * 86_400_000
"""Long over the 7 days a presigned URL can live, and long enough to answer whoever follows an old link."""


class ObjectDeletions:
    """Deletions of single objects of one bucket.

    Args:
        copies: what is purged from a CDN.
        sweep_delay_ms: the longest life of a presigned URL or a running upload.
    """

    def __init__(
        self, store: Store, ledger: Ledger, operations: Operations, copies: PublicCopies, *, sweep_delay_ms: int, now: Callable[[], int]
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self._copies = copies
        self._sweep_delay_ms = sweep_delay_ms
        self._now = now

    def delete(self, object_id: str, *, why: str = REQUESTED) -> dict[str, Any]:
        """Removes one object and returns the receipt; asked again, returns the same receipt, which later also says when the key was swept.

        What a CDN did not forget it is told again whenever the deletion is asked for, and by the sweep of the key.

        Raises:
            ObjectNotFound: there is no such object, and none was deleted.
            ObjectQuarantined: it was set aside; restore it first.
            StorageError: something refused to go, and the message says what; asking again takes the deletion up.
            RecordChanged: the record kept changing; try again.
        """
        tombstone = self._tombstone(object_id) or self._announce(self._deletable(object_id), why)
        return dict((tombstone if _is_done(tombstone) else self._finish(tombstone)).document)

    def erase(self, key: str) -> None:
        """Removes whatever lies under exactly this key: the object, all its versions, and multipart uploads.

        Raises:
            StorageError: something is still there afterwards.
        """
        for upload in self._uploads(key):
            self._store.abort_multipart_upload(upload.key, upload.upload_id)
        self._store.delete(key)
        failures = self._store.delete_versions(self._versions(key)).errors if self._store.profile().versioning else ()
        if failures:
            raise _refused(failures[0])
        # a delete marker hides versions from HEAD
        if self._store.head(key) is not None or self._versions(key):
            raise StorageError(f"{key!r} is still in the bucket after it was deleted: something writes it again, or holds it; try again")

    def tidy(self, *, out_of_time: Callable[[], bool]) -> int:
        """Ends the deletions that stopped half-way, and sweeps the keys whose last URL has died. Returns how many are done for good.

        Raises:
            StocktakeError: the first that could not be ended; the others were not kept waiting for it.
        """
        done = 0
        trouble: StocktakeError | None = None
        for tombstone in self._operations.of_kind(KIND):
            if out_of_time():
                break
            if tombstone.status == "DELETED" and self._awaits_sweep(tombstone.document):
                continue
            try:
                done += self._finish(tombstone).kind is None
            except ObjectQuarantined:
                continue  # set aside with its project since: its turn comes when that is undone, or all of it erased
            except StocktakeError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble
        return done

    def project_of(self, object_id: str) -> str | None:
        """Finds the project of an object or upload, also of one that was deleted or has ended; None where there was none."""
        try:
            return self._ledger.by_object_id(object_id).project_id
        except ObjectNotFound:
            tombstone = self._tombstone(object_id)
            return None if tombstone is None else str(tombstone.document["project_id"])

    def why_deleted(self, object_id: str) -> str | None:
        """Returns why an object was deleted, or is being deleted; None when it was not."""
        tombstone = self._tombstone(object_id)
        return None if tombstone is None else str(tombstone.document["why"])

    def deleted(self, object_ids: Sequence[str]) -> set[str]:
        """Says which of these objects were deleted, or are being deleted."""
        known = self._operations.known([_tombstone_id(object_id) for object_id in object_ids])
        return {object_id for object_id in object_ids if _tombstone_id(object_id) in known}

    def check_not_deleted(self, object_id: str) -> None:
        """Makes sure that no such object was deleted. Raises ObjectDeleted, with the reason."""
        why = self.why_deleted(object_id)
        if why is not None:
            raise ObjectDeleted(f"object {object_id} was deleted ({why}): upload it as a new object if it is needed again")

    def _deletable(self, object_id: str) -> Record:
        record = self._ledger.by_object_id(object_id)
        _check_not_held(record, object_id)
        return record

    def _announce(self, record: Record, why: str) -> Operation:
        # what goes is written down before it goes, so that a deletion taken up again says the same
        found, versions = self._store.head(record.key), self._versions(record.key)
        document = {
            "object_id": record.object_id,
            "project_id": record.project_id,
            "key": record.key,
            "why": why,
            "requested_at": self._now(),
            "sweep_at": self._sweep_at(record),
            "deleted_at": None,
            "swept_at": None,
            "cdn": None,
            "bytes": sum(version.size for version in versions) if versions else found.size if found else _held(record),
            "versions": len(versions),
            "multipart_uploads_aborted": len(self._uploads(record.key)),
        }
        try:
            return self._operations.put(
                _tombstone_id(record.object_id),
                "",
                KIND,
                document,
                created_at=self._now(),
                status="DELETING",
                if_absent=True,
                expires_at=self._now() + KEEP_MS,
            )
        except RecordChanged:  # another request for the same object was first
            return self._begun(record.object_id)

    def _sweep_at(self, record: Record) -> int | None:
        """Returns when no bytes can be on their way any more; None where none are."""
        if not is_made_for(record.key, record.object_id):
            return None  # nothing was ever signed for it
        # by its first attempt's time a retry would seem older than the URL it was given: its last change came after that
        begun_at = self._now() if record.state is State.PENDING else record.updated_at
        sweep_at = begun_at + self._sweep_delay_ms
        return sweep_at if sweep_at > self._now() else None

    def _awaits_sweep(self, document: Mapping[str, Any]) -> bool:
        return document["sweep_at"] is not None and document["sweep_at"] > self._now()

    def _finish(self, tombstone: Operation) -> Operation:
        document = {**tombstone.document}
        key, object_id = document["key"], document["object_id"]
        record = self._ledger.record(key)
        _check_not_held(record, object_id)
        if is_made_for(key, object_id) if record is None else record.object_id == object_id:
            self.erase(key)
        self._remove_record(key, object_id)
        at, awaits_sweep = self._now(), self._awaits_sweep(document)
        document["deleted_at"] = document["deleted_at"] or at
        if document["why"] == REQUESTED:  # what was never committed was never served
            document["cdn"] = self._purge(key)
        if not awaits_sweep:
            document["swept_at"] = at
        try:
            return self._operations.update(tombstone, document=document, status="DELETED", listed=awaits_sweep)
        except RecordChanged:  # another request, or the timer, ended it first: there is one receipt
            return self._begun(object_id)

    def _purge(self, key: str) -> dict[str, Any]:
        purged, failures = self._copies.purge([key])
        return {"provider": self._copies.cdn.name, "purged": bool(purged), "why": failures.get(key)}

    def _begun(self, object_id: str) -> Operation:
        tombstone = self._tombstone(object_id)
        assert tombstone is not None  # it is kept for more than a year
        return tombstone

    def _uploads(self, key: str) -> list[MultipartUpload]:
        return [upload for upload in self._store.list_multipart_uploads(key) if upload.key == key]

    def _versions(self, key: str) -> list[ObjectVersion]:
        return [version for version in self._store.list_versions(key) if version.key == key]

    def _remove_record(self, key: str, object_id: str) -> None:
        for _ in range(_ATTEMPTS):
            record = self._ledger.record(key)
            if record is None or record.object_id != object_id:
                return
            _check_not_held(record, object_id)
            try:
                self._ledger.move(record, None, gated=False)
            except RecordChanged:  # an event of this very deletion may have marked it missing meanwhile
                continue
            return
        raise RecordChanged(f"the record of object {object_id} kept changing while it was being deleted: try again")

    def _tombstone(self, object_id: str) -> Operation | None:
        return self._operations.get(_tombstone_id(object_id))


def _check_not_held(record: Record | None, object_id: str) -> None:
    if record is not None and record.object_id == object_id and record.state is State.QUARANTINED:
        raise ObjectQuarantined(f"object {object_id} is quarantined: restore it first")


def _held(record: Record) -> int:
    """Returns the bytes of a record that lie in the ledger, and go with it."""
    return record.size if record.state is State.INLINE else 0


def is_deleted(operations: Operations, object_id: str) -> bool:
    """Says whether an object was deleted, or is being deleted."""
    return bool(operations.known([_tombstone_id(object_id)]))


def _is_done(tombstone: Operation) -> bool:
    return tombstone.status == "DELETED" and (tombstone.document.get("cdn") or {"why": None})["why"] is None


def _tombstone_id(object_id: str) -> str:
    return f"deleted-{object_id}"


def _refused(failure: KeyFailure) -> StorageError:
    return StorageError(
        f"a version of {failure.key!r} refuses to be deleted ({failure.code}: {failure.message[:200]}): free it, then try again"
    )
