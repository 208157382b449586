"""Uploads in parts: begun, looked at and completed once, however often a reply is lost.

Checksums: an upload begun with SHA256 takes one for each part, wants them again to complete, and keeps the hash of hashes (`COMPOSITE`;
AWS has no other kind of SHA-256 for parts). Whether the store does that is asked of the profile. Where it does not, nothing of it is
sent: R2 answers 501 NotImplemented to any UploadPart with x-amz-checksum-sha256 (Alos-no/Cloudflare.NET#43; R2, "S3 API compatibility",
UploadPart, lists Content-MD5 alone), and what arrived is told only by reading it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stocktake.errors import ConfirmationFailed, ObjectExists, StorageError, StorageUnavailable, UploadIncomplete, UploadNotFound
from stocktake.model import StoredObject
from stocktake.storage import Part
from stocktake.storage.rules import checksum, in_order, is_same_upload
from stocktake.storage.s3_requests import Absent, ConditionFailed, Requests, bare, code_of, hex_of, object_headers

if TYPE_CHECKING:
    from stocktake.storage.s3 import S3Store

# What is said of parts that are absent, changed, too small, or (R2, InvalidPart) not of one size; BadDigest of the composite.
_PARTS_REFUSED = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest"})


class Multipart:
    """The uploads in parts of one store; see `Store` for what each method promises."""

    def __init__(self, store: S3Store, requests: Requests) -> None:
        """Takes the store, for its HEAD and its profile, and its requests."""
        self._store = store
        self._requests = requests

    def begin(
        self,
        key: str,
        content_type: str,
        metadata: Mapping[str, str] | None,
        cache_control: str | None,
        content_disposition: str | None,
    ) -> str:
        """Opens an upload. See `Store.begin_multipart_upload`."""
        parameters = object_headers(content_type, metadata, cache_control, content_disposition)
        if self._store.known_profile().keeps_parts_sha256:
            parameters["ChecksumAlgorithm"] = "SHA256"
        return str(self._requests.call("create_multipart_upload", Key=key, **parameters)["UploadId"])

    def parts(self, key: str, upload_id: str) -> list[Part] | None:
        """Reads every page of ListParts. See `Store.list_parts`."""
        pages = self._requests.pages("list_parts", {"Key": key, "UploadId": upload_id}, {}, {"PartNumberMarker": "NextPartNumberMarker"})
        latest: dict[int, dict[str, Any]] = {}
        try:
            for row in (row for page in pages for row in page.get("Parts", ())):
                # SeaweedFS lists a part that was sent again beside what it replaced, and completes with the one that is named.
                kept = latest.get(row["PartNumber"])
                if kept is None or row["LastModified"] > kept["LastModified"]:
                    latest[row["PartNumber"]] = row
        except Absent as error:
            self._requests.check_bucket_behind(error)
            return None
        return [Part(number, row["Size"], bare(row["ETag"]), hex_of(row.get("ChecksumSHA256"))) for number, row in sorted(latest.items())]

    def complete(self, key: str, upload_id: str, parts: Sequence[Part], intent: str, *, only_if_absent: bool) -> StoredObject:
        """Makes the object and confirms it with HEAD. See `Store.complete_multipart_upload`."""
        ordered = in_order(parts)
        if only_if_absent and (found := self._store.head(key)) is not None:
            return self._own_upload(found, ordered, intent, cause=None)
        try:
            self._put_together(key, upload_id, ordered, only_if_absent=only_if_absent)
        except Absent as error:
            found = self._store.head(key)  # which tells an absent bucket too
            if found is None or not is_same_upload(found, ordered, intent):
                raise UploadNotFound(f"The store has no such upload to {key!r}, nor what would have come of it: begin anew.") from error
            return found
        except ConditionFailed as error:
            found = self._store.head(key)
            if found is None:
                raise StorageUnavailable(f"{key!r} was there when it was to be written and is gone now: try again.") from error
            return self._own_upload(found, ordered, intent, cause=error)
        except StorageError as error:
            if code_of(error.__cause__) in _PARTS_REFUSED:
                raise UploadIncomplete(f"The store does not take the parts of {key!r} as they are: {error}") from error
            raise
        found = self._store.head(key)
        if found is None or not is_same_upload(found, ordered, intent):
            raise ConfirmationFailed(f"The store put {key!r} together and then had something else under it.")
        return found

    def _put_together(self, key: str, upload_id: str, parts: Sequence[Part], *, only_if_absent: bool) -> None:
        named: list[dict[str, Any]] = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        if self._store.known_profile().keeps_parts_sha256:
            for row, part in zip(named, parts, strict=True):
                if part.sha256 is not None:
                    row["ChecksumSHA256"] = checksum(part.sha256)
        parameters: dict[str, Any] = {"Key": key, "UploadId": upload_id, "MultipartUpload": {"Parts": named}}
        if not only_if_absent:
            self._requests.call("complete_multipart_upload", **parameters)
            return
        # AWS and SeaweedFS honour the condition. R2's table names none for this operation, yet its changelog of 2023-08-11 tells of
        # completions that fail by one and end the upload. So it is always sent, and only a store that refuses to know it is asked without.
        try:
            self._requests.call("complete_multipart_upload", IfNoneMatch="*", **parameters)
        except StorageError as error:
            if code_of(error.__cause__) != "NotImplemented":
                raise
            self._requests.call("complete_multipart_upload", **parameters)

    def _own_upload(self, found: StoredObject, parts: Sequence[Part], intent: str, *, cause: StorageError | None) -> StoredObject:
        """Returns the object found when it is of this very upload, whose first reply was lost; else raises ObjectExists."""
        if not is_same_upload(found, parts, intent):
            raise ObjectExists(f"{found.key!r} already holds another object; nothing was overwritten.") from cause
        return found
