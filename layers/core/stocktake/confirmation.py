"""Confirmation: is the object that arrived by a presigned URL the one that was announced, and is it one we take?

The store checked what the URL was signed over: size, type and SHA-256, of parts on some stores the size alone. It is asked for them again
all the same, because a URL is only as strict as the store; and the bytes are read, because a signature says who wrote them and not what
they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from stocktake import checks
from stocktake.errors import ConfirmationFailed, InvalidRequest, ObjectChanged, UnsupportedType, UploadIncomplete
from stocktake.model import Record, StoredObject
from stocktake.storage import Store
from stocktake.storage.rules import INTENT, composite_sha256, needs_attachment

UNCHECKED = frozenset({"presigned", "multipart"})
"""Sources of records whose bytes nobody has looked at before they were stored."""
ENDED = "ended"
"""Source of an intent that is being ended: nobody commits it any more."""

WHOLE_BYTES = 16 * 1024 * 1024
"""Objects up to this size are checked whole; of larger ones the first bytes are."""
HEAD_BYTES = 256 * 1024
_CHUNK = 8 * 1024 * 1024


def confirm(store: Store, record: Record, stored: StoredObject, rules: checks.Rules, *, parts_verified: bool = False) -> checks.Inspected:
    """Makes sure that `stored` is what `record` announced, and returns what its bytes are.

    Args:
        parts_verified: the parts of a multipart upload were read back and held against their hashes (`verify_parts`).

    Raises:
        ConfirmationFailed: it is another object than announced.
        UploadIncomplete: the store gives no checksum to tell, and the hashes of the parts were not said.
        UnsupportedType, TooLarge, InvalidRequest: the upload brought it, and it is none that is taken, or not as it was signed.
        ObjectChanged: it changed while it was read.
    """
    if not is_of(record, stored):
        raise ConfirmationFailed(
            f"upload {record.object_id} announced {record.size} bytes and its key holds {stored.size}, perhaps of another writer: "
            "they are left alone; upload it again"
        )
    if record.sha256 is not None:
        if (stored.sha256 or _hash(store, stored)) != record.sha256:
            raise InvalidRequest(f"the bytes of upload {record.object_id} are not those its SHA-256 was taken of: begin anew")
    elif stored.parts_sha256 is None and not parts_verified:
        raise UploadIncomplete(f"the store keeps no checksum of upload {record.object_id}: complete it with the SHA-256 of every part")
    _check_headers(record, stored)
    if stored.size <= WHOLE_BYTES:
        return checks.inspect(_read(store, stored, 0, stored.size - 1), record.content_type, max_bytes=WHOLE_BYTES, rules=rules)
    head = _read(store, stored, 0, HEAD_BYTES - 1)
    return checks.inspect_head(head, record.content_type, size=stored.size, rules=rules)


def is_of(record: Record, stored: StoredObject) -> bool:
    """Says whether an object bears the mark of the upload a record announced, and its size."""
    return stored.metadata.get(INTENT) == record.object_id and stored.size == record.size


def _check_headers(record: Record, stored: StoredObject) -> None:
    """Refuses what would be served as another type, or in place where it is only to be saved: not every store holds a sender to both."""
    if stored.content_type != record.content_type:
        raise UnsupportedType(
            f"the bytes were sent as {stored.content_type} and announced as {record.content_type}: send the headers the upload names"
        )
    if needs_attachment(record.content_type) and not (stored.content_disposition or "").startswith("attachment"):
        raise UnsupportedType(
            f"{record.content_type} is only served as an attachment and was sent without that: send the headers the upload names"
        )


def check_composite(stored: StoredObject, part_sha256: Sequence[str]) -> None:
    """Holds the checksum the store keeps of a multipart upload against the hashes of its parts. Raises ConfirmationFailed."""
    if stored.parts_sha256 is not None and stored.parts_sha256 != composite_sha256(part_sha256):
        raise ConfirmationFailed("the parts in the bucket are not those the SHA-256s were taken of: abort the upload and begin anew")


def verify_parts(
    store: Store, stored: StoredObject, part_bytes: int, part_sha256: Sequence[str], *, first: int, out_of_time: Callable[[], bool]
) -> int:
    """Reads parts back and holds each against its hash, where the store keeps none; returns how many are verified, from part 0 on.

    Args:
        first: how many were verified before.

    Raises:
        ConfirmationFailed: a part is another than announced.
        ObjectChanged: the object changed while it was read.
    """
    for number in range(first, len(part_sha256)):
        if out_of_time():
            return number
        start = number * part_bytes
        if _hash(store, stored, start, min(start + part_bytes, stored.size)) != part_sha256[number]:
            raise ConfirmationFailed(
                f"part {number + 1} in the bucket is not the one its SHA-256 was taken of: abort the upload and begin anew"
            )
    return len(part_sha256)


def _hash(store: Store, stored: StoredObject, start: int = 0, end: int | None = None) -> str:
    """Hashes the bytes from `start` to before `end`, a piece at a time."""
    digest = hashlib.sha256()
    stop = stored.size if end is None else end
    for position in range(start, stop, _CHUNK):
        digest.update(_read(store, stored, position, min(position + _CHUNK, stop) - 1))
    return digest.hexdigest()


def _read(store: Store, stored: StoredObject, first: int, last: int) -> bytes:
    content = store.get(stored.key, byte_range=(first, last)) if stored.size else None
    if stored.size and (content is None or content.object.etag != stored.etag):
        raise ObjectChanged(f"{stored.key!r} changed while it was read: try again")
    return content.body if content else b""
