"""Presigned uploads: the bytes go straight to the bucket, and nothing counts before they were looked at.

```
begin -> PUT of the one URL                         -> complete -> STORED
begin -> sign parts -> PUT of each part's URL, ...  -> complete -> STORED
```

`begin` writes the intent. A URL is signed over length, type, SHA-256 and the intent's id, and only writes a key that is empty; a part's is
signed over its length, and over its SHA-256 where the store keeps those of parts. `complete` asks the bucket for size and checksum, reads
the bytes, and commits; the event of the object does the same for an upload whose caller never comes back, unless the bytes of parts can
be told only by the hashes that `complete` is given. What turns out to be none we take is deleted with a tombstone, so that the URL, which
still lives, leaves nothing.

An upload that is aborted, or whose time is over and that has no bytes, is ended: first its record is marked, by compare-and-set, so that
either somebody had committed it or nobody can any more; only then is anything erased, and with a tombstone too, because a PUT that began
as its URL died may still end. A crash in between is taken up by `tidy`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from stocktake import checks
from stocktake.alignment import Aligner, Outcome
from stocktake.confirmation import ENDED, UNCHECKED, WHOLE_BYTES, check_composite, confirm, verify_parts
from stocktake.errors import (
    ConfirmationFailed,
    InvalidRequest,
    ObjectNotFound,
    ProjectClosed,
    RecordChanged,
    StocktakeError,
    StorageDisabled,
    TooLarge,
    UploadIncomplete,
    UploadNotFound,
)
from stocktake.generations import Generations
from stocktake.intents import Intents
from stocktake.layouts import project_stem
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.model import Announced, Record, Reserved, State, StoredObject
from stocktake.object_deletion import ObjectDeletions
from stocktake.storage import Part, SignedRequest, Store
from stocktake.storage.rules import INTENT

KIND = "multipart"
MIN_PART_BYTES = 5 * 1024 * 1024
MAX_PART_BYTES = 5 * 1024**3
MAX_PARTS = 10_000
"""S3 and R2: parts of 5 MiB to 5 GiB, all but the last of one size on R2, at most 10,000."""
MAX_SINGLE_BYTES = 4_995 * 1024**3 // 1000
"""R2 takes 4.995 GiB in one PUT, S3 5 GiB."""
READ_BACK_BYTES = 256 * 1024 * 1024
"""What is read back within one request, of an object or of a part, where the store keeps no checksum of it."""
PARTS_AT_ONCE = 1000
INTENT_OUTLIVES_URL_MS = 60_000
"""A PUT that began as its URL died may still end."""
_SESSION_KEPT_MS = 30 * 86_400_000
"""After the intent's end: for one that is still being verified then. What a crash leaves goes with it."""
_MISSING_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as it stands.

    `request` is the PUT to send, for one in a single part that is still open. `parts` are those the bucket has, `part_count` how many there
    shall be; None where it is not in parts.
    """

    record: Record
    request: SignedRequest | None = None
    part_bytes: int | None = None
    part_count: int | None = None
    parts: tuple[Part, ...] = ()
    warnings: tuple[str, ...] = ()


class PresignedUploads:
    """The presigned ways in of one bucket.

    Args:
        max_bytes: the largest object taken.
        warn_bytes: from where on the caller is warned.
        seconds, multipart_seconds: lives of a URL (for a part too), and of a multipart upload.
        enabled: whether storage is on; while it is off no upload is begun, and those under way are still completed.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        operations: Operations,
        intents: Intents,
        deletions: ObjectDeletions,
        generations: Generations,
        aligner: Aligner,
        rules: checks.Rules,
        *,
        max_bytes: int,
        warn_bytes: int,
        seconds: int,
        multipart_seconds: int,
        now: Callable[[], int],
        enabled: bool = True,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self._intents = intents
        self._deletions = deletions
        self._generations = generations
        self._aligner = aligner
        self._rules = rules
        self._max_bytes = max_bytes
        self._warn_bytes = warn_bytes
        self._seconds = seconds
        self._multipart_seconds = multipart_seconds
        self._now = now
        self._enabled = enabled

    def begin(self, project_id: str, announced: Announced, reserved: Reserved) -> Upload:
        """Writes the intent of an upload and says how to send its bytes.

        Raises:
            InvalidRequest, TooLarge, UnsupportedType, InvalidKey: it cannot be taken; nothing was written.
            ProjectNotFound, ProjectClosed, QuotaExceeded, OutputExists: the project takes none.
            StorageDisabled: nothing goes into the bucket.
        """
        if not self._enabled:
            raise StorageDisabled(
                "storage is switched off (EnableStorage), so nothing goes straight to the bucket: "
                f"send the bytes by POST /projects/{project_id}/objects"
            )
        inspected = checks.announced(announced.content_type, self._rules)
        if inspected.content_type == "image/svg+xml" and announced.size > WHOLE_BYTES:
            raise TooLarge(f"an SVG is read whole before it is taken, so it may have {WHOLE_BYTES} bytes and this one has {announced.size}")
        parts = self._check_size(announced)
        details = announced.details
        fingerprint = announced.sha256 or f"{announced.size} bytes in parts of {announced.part_bytes}"
        reserved = self._generations.reserve(project_id, details, reserved, inspected.extension, fingerprint=fingerprint)
        intent = self._intents.announce(
            project_id,
            reserved,
            inspected,
            details,
            size=announced.size,
            sha256=announced.sha256,
            source="presigned" if parts is None else KIND,
            lives_ms=INTENT_OUTLIVES_URL_MS + 1000 * (self._seconds if parts is None else self._multipart_seconds),
        )
        if announced.part_bytes is not None and intent.state is State.PENDING:
            self._begin_parts(intent, announced.part_bytes, is_retry=reserved.is_retry)
        return self.upload(intent.object_id, intent)

    def upload(self, upload_id: str, record: Record | None = None) -> Upload:
        """Reads how an upload stands; for one in parts, which of them the bucket has.

        Raises:
            UploadNotFound: it never was, was aborted, or ended without bytes.
        """
        session = self._session(upload_id)
        record = record or self._record(upload_id, session)
        if session is None:
            return Upload(record, self._request(record), warnings=self.warnings(record))
        document = session.document
        parts = self._store.list_parts(document["key"], document["upload_id"]) or []
        return Upload(
            record, None, document["part_bytes"], _count(record.size, document["part_bytes"]), tuple(parts), self.warnings(record)
        )

    def warnings(self, record: Record) -> tuple[str, ...]:
        """Says what the caller should know of an object beside how it stands."""
        return checks.size_warnings(record.size, self._warn_bytes)

    def sign_parts(self, upload_id: str, wanted: Mapping[int, str]) -> dict[int, tuple[int, SignedRequest]]:
        """Signs the PUTs of some parts, each over its length and, where it is kept, its SHA-256; returns size and request by number.

        Args:
            wanted: SHA-256 in hex by part number, from 1; at most PARTS_AT_ONCE.

        Raises:
            UploadNotFound, UploadIncomplete: there is no such open upload in parts.
            InvalidRequest: a number is not one of its parts.
            ProjectClosed: its project was deleted.
        """
        session = self._session(upload_id)
        record = self._record(upload_id, session)
        if session is None or record.state is not State.PENDING:
            raise UploadNotFound(f"upload {upload_id} takes no parts: it is complete, or was begun without part_bytes")
        if not 1 <= len(wanted) <= PARTS_AT_ONCE:
            raise InvalidRequest(f"name 1 to {PARTS_AT_ONCE} parts at once")
        self._intents.open_project(record.project_id)
        part_bytes = session.document["part_bytes"]
        count = _count(record.size, part_bytes)
        signed = {}
        for number, sha256 in wanted.items():
            if not 1 <= number <= count:
                raise InvalidRequest(f"part {number} is none of upload {upload_id}: its parts are 1 to {count}")
            size = min(part_bytes, record.size - (number - 1) * part_bytes)
            request = self._store.presign_part(
                record.key, session.document["upload_id"], number, seconds=self._seconds, size=size, sha256=sha256
            )
            signed[number] = (size, request)
        return signed

    def complete(self, upload_id: str, part_sha256: Sequence[str], *, out_of_time: Callable[[], bool]) -> Record:
        """Looks at what arrived and commits it; for one that is committed, returns its record.

        Args:
            part_sha256: of every part in order, in hex; may be empty where the store keeps the parts' checksums itself.

        Raises:
            UploadNotFound: there is no such upload.
            UploadIncomplete: bytes or parts are not there yet, or there was no time to read all of them: ask again.
            ConfirmationFailed: what arrived is not what was announced.
            UnsupportedType, TooLarge, InvalidRequest: it is none that is taken; it was deleted. Or the hashes are not one a part.
            ProjectClosed: the project was closed. Its deletion takes what arrived; after an undo it can be completed.
            Conflict: the intent ended meanwhile.
        """
        session = self._session(upload_id)
        record = self._record(upload_id, session)
        if record.state is not State.PENDING:
            self._close(session)  # committed by its event, or by a completion that died before this
            return record
        if session is not None and part_sha256 and len(part_sha256) != (count := _count(record.size, session.document["part_bytes"])):
            raise InvalidRequest(f"upload {record.object_id} has {count} parts: give the SHA-256 of each, in order, or of none")
        stored = self._store.head(record.key)
        if stored is None and session is not None:
            self._intents.open_project(record.project_id)  # what a closed one joins could come behind its final sweep
            stored = self._join(record, session, part_sha256)
        if stored is None:
            raise UploadIncomplete(f"the bucket has no bytes of upload {upload_id} yet: PUT them as the upload says, then complete it")
        verified = session is not None and self._verify_parts(session, record, stored, part_sha256, out_of_time)
        return self._settle(record, stored, session, parts_verified=verified)

    def abort(self, upload_id: str) -> None:
        """Ends an upload that is not complete; what its URLs still bring is removed again.

        Raises:
            UploadNotFound: there is no such upload.
            InvalidRequest: it is complete: delete the object.
            RecordChanged: it was completed at this moment.
        """
        session = self._session(upload_id)
        record = self._record(upload_id, session)
        if record.state is not State.PENDING:
            raise InvalidRequest(f"upload {upload_id} is complete: DELETE /objects/{upload_id} deletes the object")
        self._end(record, session, why="upload aborted")

    def tidy(self, *, out_of_time: Callable[[], bool]) -> dict[str, int]:
        """Ends the intents whose time is over, and returns how many by outcome: that of one that cannot be ended now is its error's type.

        What arrived whole is committed, what is none we take is deleted, what did not come is withdrawn, what is not as announced is left.
        Those of a closed project are left to its deletion, or to the first call after an undo.
        """
        done: dict[str, int] = {}
        closed: set[str] = set()
        for record in self._ledger.expired_intents(self._now()):
            if out_of_time():
                break
            stem = project_stem(record.project_id)
            try:
                outcome = ProjectClosed.type if stem in closed else self._tidy(record)
            except StocktakeError as error:  # the others must not wait for one that cannot be ended
                outcome = error.type
                if isinstance(error, ProjectClosed):
                    closed.add(stem)  # it may have very many, for all the days in which its deletion can be undone
            done[outcome] = done.get(outcome, 0) + 1
        return done

    def _tidy(self, record: Record) -> str:
        self._intents.remembered(record.project_id)
        if record.source not in UNCHECKED and record.source != ENDED:
            return self._aligner.align(record.key).outcome.value
        session = self._session(record.object_id)
        stored = self._store.head(record.key)
        if stored is None or record.source == ENDED:
            self._end(record, session, why="upload ended")
            return Outcome.FORGOTTEN.value
        try:
            self._settle(record, stored, session, parts_verified=False)
        except (ConfirmationFailed, UploadIncomplete):
            return Outcome.DIFFERS.value
        except InvalidRequest:
            return "refused"
        return Outcome.COMMITTED.value

    def _settle(self, record: Record, stored: StoredObject, session: Operation | None, *, parts_verified: bool) -> Record:
        """Commits what arrived, or deletes it where it is none that is taken, and raises why."""
        try:
            inspected = confirm(self._store, record, stored, self._rules, parts_verified=parts_verified)
        except InvalidRequest as refused:
            self._deletions.delete(record.object_id, why=f"refused: {refused.type}")
            self._close(session)
            raise
        committed = self._intents.commit(record, stored, inspected)
        self._close(session)
        return committed

    def _end(self, record: Record, session: Operation | None, *, why: str) -> None:
        """Takes an intent out of everybody's hands, then erases what there is of it. Raises RecordChanged when it was committed first."""
        at = self._now()
        # expired from now on, so that `tidy` finds it if this dies half-way
        self._ledger.move(record, replace(record, source=ENDED, updated_at=at, expires_at=at), gated=False)
        self._deletions.delete(record.object_id, why=why)
        self._close(session)

    def _close(self, session: Operation | None) -> None:
        if session is not None:
            self._operations.remove(session.operation_id)

    def _check_size(self, announced: Announced) -> int | None:
        """Returns the number of parts, None for a single PUT."""
        if announced.size > self._max_bytes:
            raise TooLarge(f"the object has {announced.size} bytes and at most {self._max_bytes} are taken: MaxObjectBytes says so")
        if announced.part_bytes is None:
            self._check_single(announced)
            return None
        if announced.sha256 is not None:
            raise InvalidRequest("sha256 is of an object sent by one PUT: with part_bytes, give the SHA-256 of each part when it is signed")
        if not MIN_PART_BYTES <= announced.part_bytes <= MAX_PART_BYTES:
            raise InvalidRequest(
                f"part_bytes is {announced.part_bytes}: parts have {MIN_PART_BYTES} to {MAX_PART_BYTES} bytes, the last one may have less"
            )
        if announced.part_bytes > READ_BACK_BYTES and not self._store.profile().keeps_parts_sha256:
            raise InvalidRequest(
                f"part_bytes is {announced.part_bytes} and this store keeps no checksum of parts, so they are read back: "
                f"use at most {READ_BACK_BYTES}"
            )
        count = _count(announced.size, announced.part_bytes)
        if count > MAX_PARTS:
            raise InvalidRequest(
                f"{announced.size} bytes in parts of {announced.part_bytes} are {count} parts and {MAX_PARTS} are the most: "
                f"use part_bytes of {_count(announced.size, MAX_PARTS)} or more"
            )
        return count

    def _check_single(self, announced: Announced) -> None:
        if announced.sha256 is None:
            raise InvalidRequest("give the sha256 of the bytes in hex, or part_bytes to send them in parts")
        most = MAX_SINGLE_BYTES if self._store.profile().keeps_sha256 else READ_BACK_BYTES
        if announced.size > most:
            raise TooLarge(f"one PUT takes at most {most} bytes and the object has {announced.size}: send it in parts, with part_bytes")

    def _begin_parts(self, intent: Record, part_bytes: int, *, is_retry: bool) -> None:
        if self._session(intent.object_id) is not None:
            return  # by the attempt before this one
        # an attempt that died before it wrote its session left an upload under this key, which is its object's alone
        begun = (
            [upload.upload_id for upload in self._store.list_multipart_uploads(intent.key) if upload.key == intent.key] if is_retry else []
        )
        upload_id = (
            begun[0]
            if begun
            else self._store.begin_multipart_upload(intent.key, metadata={INTENT: intent.object_id}, **self._intents.headers_of(intent))
        )
        document = {"key": intent.key, "upload_id": upload_id, "part_bytes": part_bytes, "verified": 0}
        try:
            self._operations.put(
                _session_id(intent.object_id),
                "",
                f"{KIND}#{project_stem(intent.project_id)}",
                document,
                created_at=self._now(),
                status="OPEN",
                if_absent=True,
                expires_at=(intent.expires_at or self._now()) + _SESSION_KEPT_MS,
            )
        except RecordChanged:  # two attempts at once: the first one's upload is used
            session = self._session(intent.object_id)
            if session is None or session.document["upload_id"] != upload_id:
                self._store.abort_multipart_upload(intent.key, upload_id)

    def _request(self, record: Record) -> SignedRequest | None:
        left = ((record.expires_at or 0) - INTENT_OUTLIVES_URL_MS - self._now()) // 1000
        if record.state is not State.PENDING or left < 1 or record.sha256 is None:
            return None  # without a hash it is in parts, and the attempt that began it died before it said so
        return self._store.presign_put(
            record.key,
            seconds=min(left, self._seconds),
            size=record.size,
            sha256=record.sha256,
            metadata={INTENT: record.object_id},
            only_if_absent=True,
            **self._intents.headers_of(record),
        )

    def _join(self, record: Record, session: Operation, part_sha256: Sequence[str]) -> StoredObject:
        key, store_id, part_bytes = (session.document[name] for name in ("key", "upload_id", "part_bytes"))
        count = _count(record.size, part_bytes)
        parts = self._store.list_parts(key, store_id)
        if parts is None:
            stored = self._store.head(key)
            if stored is not None:
                return stored  # joined by another completion since we looked
            raise UploadNotFound(
                f"the store knows no upload {record.object_id} any more: it was aborted, or left open too long; begin anew"
            )
        by_number = {part.number: part for part in parts}
        wrong = []
        for number in range(1, count + 1):
            size, part = min(part_bytes, record.size - (number - 1) * part_bytes), by_number.get(number)
            said = part_sha256[number - 1] if part_sha256 else None
            if part is None or part.size != size or (said and part.sha256 and said != part.sha256):
                wrong.append(number)
        if wrong:
            shown = ", ".join(map(str, wrong[:_MISSING_SHOWN])) + (", ..." if len(wrong) > _MISSING_SHOWN else "")
            raise UploadIncomplete(
                f"{len(wrong)} of {count} parts are not there as announced ({shown}): sign and PUT them, then complete it"
            )
        return self._store.complete_multipart_upload(
            key, store_id, [by_number[number] for number in range(1, count + 1)], intent=record.object_id, only_if_absent=True
        )

    def _verify_parts(
        self, session: Operation, record: Record, stored: StoredObject, part_sha256: Sequence[str], out_of_time: Callable[[], bool]
    ) -> bool:
        if part_sha256:
            check_composite(stored, part_sha256)
        if stored.parts_sha256 is not None or not part_sha256:
            return False  # the store's own checksum decides, or there is none to decide
        document = session.document
        verified = verify_parts(
            self._store, stored, document["part_bytes"], part_sha256, first=document["verified"], out_of_time=out_of_time
        )
        if verified < len(part_sha256):
            with contextlib.suppress(RecordChanged):  # another request is reading it too
                self._operations.update(session, document={**document, "verified": verified})
            raise UploadIncomplete(
                f"{verified} of {len(part_sha256)} parts are verified; the store keeps no checksum to ask for: complete it again to go on"
            )
        return True

    def _record(self, upload_id: str, session: Operation | None) -> Record:
        record = None
        if session is not None:
            record = self._ledger.record(session.document["key"])
        else:
            try:
                record = self._ledger.by_object_id(upload_id)
            except ObjectNotFound:
                record = None
        if record is None or record.object_id != upload_id or record.source not in UNCHECKED:
            why = self._deletions.why_deleted(upload_id)
            if why is not None:
                raise UploadNotFound(f"upload {upload_id!r} is gone ({why}): begin anew")
            raise UploadNotFound.of(upload_id)
        return record

    def _session(self, upload_id: str) -> Operation | None:
        return self._operations.get(_session_id(upload_id)) if upload_id else None


def _session_id(upload_id: str) -> str:
    return f"{KIND}-{upload_id}"


def _count(size: int, part_bytes: int) -> int:
    return -(-size // part_bytes)
