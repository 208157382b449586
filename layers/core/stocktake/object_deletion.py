"""Deleting one object, with the care of a project's deletion: announced, erased, looked for again, and only then said.

1. a tombstone is written (DELETING), so that a crash leaves a deletion that is taken up again and never one that nobody remembers;
2. bytes go: every version of the key where the bucket keeps versions, and the open multipart uploads under it;
3. the bucket is asked whether anything is left;
4. the record goes, with its counts;
5. the tombstone says DELETED and holds the receipt;
6. where bytes may still be on their way, because the object is younger than the longest life of a URL, the key is swept once more after it.

The tombstone outlives every URL that was signed for the key. Late bytes are nobody's, because a key is made by the server for one object
and is never used again: events do not adopt them (`why_deleted`), and the sweep removes them. A tombstone holds no personal data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stocktake.errors import ObjectDeleted, ObjectNotFound, ObjectQuarantined, RecordChanged, StorageError
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
        sweep_delay_ms: the longest life of a presigned URL or a running upload.
    """

    def __init__(self, store: Store, ledger: Ledger, operations: Operations, *, sweep_delay_ms: int, now: Callable[[], int]) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self._sweep_delay_ms = sweep_delay_ms
        self._now = now

    def delete(self, object_id: str, *, why: str = REQUESTED) -> dict[str, Any]:
        """Removes one object and returns the receipt; asked again, returns the same receipt.

        Raises:
            ObjectNotFound: there is no such object, and none was deleted.
            ObjectQuarantined: it was set aside; restore it first.
            StorageError: something refused to go, and the message says what; asking again takes the deletion up.
            RecordChanged: the record kept changing; try again.
        """
        tombstone = self._tombstone(object_id)
        if tombstone is not None and tombstone.status == "DELETED":
            return dict(tombstone.document)
        try:
            record = self._ledger.by_object_id(object_id)
        except ObjectNotFound:
            if tombstone is None:
                raise
            return self._finish(tombstone)  # an attempt before had removed the record
        if record.state is State.QUARANTINED:
            raise ObjectQuarantined(f"object {object_id} is quarantined: restore it first")
        return self._finish(tombstone or self._announce(record, why))

    def erase(self, key: str) -> None:
        """Removes whatever lies under exactly this key: the object, all its versions, and multipart uploads.

        Raises:
            StorageError: something is still there afterwards.
        """
        for upload in self._uploads(key):
            self._store.abort_multipart_upload(upload.key, upload.upload_id)
        self._store.delete(key)
        if self._store.profile().versioning:
            failures = self._store.delete_versions(self._versions(key)).errors
            if failures:
                raise _refused(failures[0])
        if self._store.head(key) is not None:
            raise StorageError(f"{key!r} is still in the bucket after it was deleted: something writes it again, or holds it; try again")

    def tidy(self, *, out_of_time: Callable[[], bool]) -> int:
        """Ends the deletions that stopped half-way, and sweeps the keys whose last URL has died. Returns how many are done for good."""
        done = 0
        for tombstone in self._operations.of_kind(KIND):
            if out_of_time():
                break
            sweep_at = tombstone.document["sweep_at"]
            if tombstone.status == "DELETED" and sweep_at is not None and sweep_at > self._now():
                continue
            self._finish(tombstone)
            done += 1
        return done

    def why_deleted(self, object_id: str) -> str | None:
        """Returns why an object was deleted, or is being deleted; None when it was not."""
        tombstone = self._tombstone(object_id)
        return None if tombstone is None else str(tombstone.document["why"])

    def check_not_deleted(self, object_id: str) -> None:
        """Makes sure that no such object was deleted. Raises ObjectDeleted, with the reason."""
        why = self.why_deleted(object_id)
        if why is not None:
            raise ObjectDeleted(f"object {object_id} was deleted ({why}): upload it as a new object if it is needed again")

    def _announce(self, record: Record, why: str) -> Operation:
        # what goes is written down before it goes, so that a deletion taken up again says the same
        found, versions = self._store.head(record.key), self._versions(record.key)
        sweep_at = record.updated_at + self._sweep_delay_ms  # a retry announces and signs long after `created_at`
        document = {
            "object_id": record.object_id,
            "project_id": record.project_id,
            "key": record.key,
            "why": why,
            "requested_at": self._now(),
            "sweep_at": sweep_at if sweep_at > self._now() else None,
            "deleted_at": None,
            "swept_at": None,
            "bytes": sum(version.size for version in versions) if versions else found.size if found else 0,
            "versions": len(versions),
            "multipart_uploads_aborted": len(self._uploads(record.key)),
        }
        try:
            return self._write(document, "DELETING", KIND, if_absent=True)
        except RecordChanged:  # another request for the same object was first
            return self._begun(record.object_id)

    def _finish(self, tombstone: Operation) -> dict[str, Any]:
        document = {**tombstone.document}
        self.erase(document["key"])
        self._remove_record(document["key"], document["object_id"])
        at, sweep_at = self._now(), document["sweep_at"]
        document["deleted_at"] = document["deleted_at"] or at
        due = sweep_at is not None and sweep_at > at
        if not due:
            document["swept_at"] = at
        return dict(self._write(document, "DELETED", KIND if due else None).document)

    def _write(self, document: Mapping[str, Any], status: str, kind: str | None, *, if_absent: bool = False) -> Operation:
        """Writes a tombstone; those of a kind are the ones that still need something done."""
        return self._operations.put(
            _tombstone_id(document["object_id"]),
            "",
            kind,
            document,
            created_at=document["requested_at"],
            status=status,
            if_absent=if_absent,
            expires_at=document["requested_at"] + KEEP_MS,
        )

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
            try:
                self._ledger.move(record, None, gated=False)
            except RecordChanged:  # an event of this very deletion may have marked it missing meanwhile
                continue
            return
        raise RecordChanged(f"the record of object {object_id} kept changing while it was being deleted: try again")

    def _tombstone(self, object_id: str) -> Operation | None:
        return self._operations.get(_tombstone_id(object_id))


def _tombstone_id(object_id: str) -> str:
    return f"deleted-{object_id}"


def _refused(failure: KeyFailure) -> StorageError:
    return StorageError(
        f"a version of {failure.key!r} refuses to be deleted ({failure.code}: {failure.message[:200]}): free it, then try again"
    )
