"""`S3Store`: the bucket of any S3-compatible store, through boto3, with every answer checked.

What AWS S3, Cloudflare R2, SeaweedFS and the others do differently is not asked of their names: `profile()` tries it once. The rest
is made so that it holds for all of them: SigV4, plain bodies with an explicit SHA-256, Content-MD5 on DeleteObjects, no `Expect`.

A reply can be lost after the store acted. Every operation here is therefore one that may safely be seen twice: an unconditional put or
delete by nature, a conditional put by its `intent` (`rules.is_same_write`).
"""

from __future__ import annotations

import builtins
import hashlib
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

from stocktake.errors import (
    ConfirmationFailed,
    InvalidKey,
    InvalidRequest,
    ListingIncomplete,
    ObjectChanged,
    ObjectExists,
    StorageDenied,
    StorageError,
    StorageUnavailable,
)
from stocktake.model import DeleteResult, KeyFailure, ListedObject, StoredObject
from stocktake.storage import Content, CorsRule, Learned, MultipartUpload, ObjectVersion, Part, Profile, SignedRequest, Whereabouts
from stocktake.storage.refusals import check_is_of_key
from stocktake.storage.rules import (
    check_key,
    check_part_number,
    checksum,
    decode_metadata,
    disposition,
    encode_metadata,
    is_same_write,
    range_header,
)
from stocktake.storage.s3_client import make_client
from stocktake.storage.s3_deleting import plainly_gone
from stocktake.storage.s3_listing import rows_of
from stocktake.storage.s3_multipart import Multipart
from stocktake.storage.s3_probe import PROBE_PREFIX, PROBE_VERSION, Probe, keeps_versions
from stocktake.storage.s3_requests import (
    OF_THE_STORE,
    Absent,
    ConditionFailed,
    RangeBeyondEnd,
    Requests,
    bare,
    code_of,
    hex_of,
    object_headers,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["PROBE_PREFIX", "PROBE_VERSION", "S3Store", "make_client"]

_DELETE_CHUNK = 1000
_WITHOUT_CORS = frozenset({"NoSuchCORSConfiguration"})
_NO_QUESTION = frozenset({"NotImplemented", "MethodNotAllowed"})
_ABSENT_IN_BATCH = frozenset({"NoSuchKey", "NoSuchVersion"})
# Larger objects need a multipart copy (UploadPartCopy): AWS, CopyObject, "up to 5 GB".
_MAX_COPY_BYTES = 5 * 1024**3
_VERSIONING_KNOWN_SECONDS = 300.0
_ABORTS = 3

# What XML 1.0 cannot carry, and the line ends that its parsers rewrite (XML 1.0, sections 2.2 and 2.11). Surrogates never get this far.
_XML_HOSTILE = re.compile("[\x00-\x08\x0a-\x1f\ufffe\uffff]")

# Headers that a copy with replaced metadata would lose.
_KEPT_HEADERS = ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "Expires")

# A key, and the version of it that is meant.
type _Item = tuple[str, str | None]


class S3Store:
    """One bucket of an S3-compatible store; see `Store` for what each method promises.

    Needs of the credentials, beside the obvious: s3:ListBucket (else AWS answers 403 for an absent key, and HeadBucket is refused),
    s3:GetBucketVersioning, and kms:Decrypt where the bucket encrypts with KMS (checksums are asked for on HEAD).
    """

    def __init__(
        self,
        bucket: str,
        *,
        client: S3Client,
        profile: Profile | None = None,
        learned: Callable[[Profile, Learned], None] = lambda profile, learned: None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """Takes the bucket's name and a client made by `make_client`; sends nothing.

        Args:
            profile: what the store can do, when that is known from an earlier `profile()`; probed at the first need when None.
            learned: is told of a profile that was probed or has changed, for other processes.
            sleep: waits, in seconds, before a repeat.
            jitter: the share of the longest wait that is waited, 0 to 1.
            clock: seconds that never go back.
            new_id: names the probe's folder.
        """
        self._bucket = bucket
        self._profile = profile
        self._learned = learned
        self._versioning_asked_at: float | None = None
        self._clock = clock
        self._new_id = new_id
        self._requests = Requests(bucket, client=client, sleep=sleep, jitter=jitter, clock=clock)
        self._multipart = Multipart(self, self._requests)

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket

    # Objects

    def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str,
        sha256: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        only_if_absent: bool = False,
    ) -> StoredObject:
        """Stores `body`, then asks for it with HEAD: PUT's own reply says what arrived, not what is kept. See `Store.put`.

        Where the store takes no If-None-Match, `only_if_absent` asks first and then puts: two writers at one moment may both succeed.
        """
        check_key(key)
        # The ETag can stand for the store's checksum in the confirmation only because the body was held against `sha256` here.
        if hashlib.sha256(body).hexdigest() != sha256:
            raise ConfirmationFailed(f"The bytes for {key!r} are not those that SHA-256 {sha256} was taken of; nothing was sent.")
        parameters: dict[str, Any] = {
            "Key": key,
            "Body": body,
            "ChecksumSHA256": checksum(sha256),
            **object_headers(content_type, metadata, cache_control, content_disposition),
        }
        if only_if_absent:
            if self.known_profile().conditional_put:
                parameters["IfNoneMatch"] = "*"
            elif (found := self.head(key)) is not None:
                return self._own_write(found, body, sha256, metadata or {}, cause=None)
        try:
            self._requests.call("put_object", **parameters)
        except ConditionFailed as error:
            found = self.head(key)
            if found is None:
                raise StorageUnavailable(f"{key!r} was there when it was to be written and is gone now: try again.") from error
            return self._own_write(found, body, sha256, metadata or {}, cause=error)
        return self._confirmed(key, body, sha256)

    def _own_write(
        self, found: StoredObject, body: bytes, sha256: str, metadata: Mapping[str, str], *, cause: StorageError | None
    ) -> StoredObject:
        """Confirms the object found when it is this very write, whose first reply was lost; else raises ObjectExists."""
        sent = {name.lower(): value for name, value in metadata.items()}
        hash_found = found.sha256 or found.metadata.get("sha256", sha256)  # a store that keeps neither is read back below
        if not is_same_write(sent, found.metadata) or found.size != len(body) or hash_found != sha256:
            raise ObjectExists(f"{found.key!r} already holds another object; nothing was overwritten.") from cause
        return self._confirmed(found.key, body, sha256)

    def _confirmed(self, key: str, body: bytes, sha256: str) -> StoredObject:
        """Returns what the bucket says of the object, once that is shown to be `body`: its size, and its checksum or its MD5.

        With neither at hand (an ETag under SSE-KMS is no MD5) the object is read back and hashed.
        """
        found = self.head(key)
        if found is None:
            raise ConfirmationFailed(f"The store took {key!r} and then had nothing under it.")
        if found.size != len(body):
            raise ConfirmationFailed(f"The store took {len(body)} bytes for {key!r} and then had {found.size}.")
        if found.sha256 is not None:
            if found.sha256 != sha256:
                raise ConfirmationFailed(f"The store took {key!r} with SHA-256 {sha256} and then had {found.sha256}.")
        elif found.etag != hashlib.md5(body, usedforsecurity=False).hexdigest():
            read = self.get(key)
            if read is None or hashlib.sha256(read.body).hexdigest() != sha256:
                raise ConfirmationFailed(f"The store took {key!r} with SHA-256 {sha256} and gave other bytes back.")
        return found

    def head(self, key: str) -> StoredObject | None:
        """Asks for one object. See `Store.head`.

        HEAD's 404 has no body to tell an absent key from an absent bucket, so the bucket is asked for too, at most once a minute.
        """
        reply = self._head(check_key(key))
        return None if reply is None else _stored(key, reply)

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return self._requests.call("head_object", Key=key, ChecksumMode="ENABLED")
        except Absent as error:
            self._requests.check_bucket_behind(error)
            return None

    def get(self, key: str, *, byte_range: tuple[int, int | None] | None = None) -> Content | None:
        """Reads an object into memory. See `Store.get`."""
        parameters: dict[str, Any] = {"Key": check_key(key)}
        if byte_range is None:
            parameters["ChecksumMode"] = "ENABLED"  # boto3 then holds the bytes against it
        else:
            parameters["Range"] = range_header(*byte_range)
        try:
            reply = self._requests.call("get_object", **parameters)
            body = reply["Body"].read()
        except Absent as error:
            self._requests.check_bucket_behind(error)
            return None
        except RangeBeyondEnd as error:
            raise InvalidRequest(f"{key!r} has no bytes in the range asked for.") from error
        except BotoCoreError as error:
            raise self._requests.translated(error, "get_object") from error
        if byte_range is None:
            return Content(_stored(key, reply, len(body)), body)
        content_range = reply.get("ContentRange", "")
        total = content_range.rpartition("/")[2]
        if not total.isdigit():
            raise StorageError(f"The store was asked for a part of {key!r} and did not say which part it gave.")
        return Content(_stored(key, reply, int(total)), body, content_range)

    def copy(
        self,
        source: str,
        target: str,
        *,
        if_etag: str | None = None,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> StoredObject | None:
        """Copies inside the bucket and confirms the target with HEAD. See `Store.copy`.

        The copy is always conditional on the source's ETag, so that the headers carried over belong to the bytes. Where the store takes no
        condition on the target, `only_if_absent` asks first and then copies: a writer at that moment is overwritten.

        Raises StorageError for a source over 5 GiB, which needs a multipart copy.
        """
        check_key(target)
        reply = self._head(check_key(source))
        if reply is None:
            return None
        found = _stored(source, reply)
        if if_etag is not None and found.etag != if_etag:
            raise ObjectChanged(f"{source!r} is no longer the object that was seen (ETag {if_etag}); nothing was copied.")
        if found.size > _MAX_COPY_BYTES:
            raise StorageError(f"{source!r} has {found.size} bytes; one request copies at most {_MAX_COPY_BYTES}.")
        parameters: dict[str, Any] = {
            "Key": target,
            "CopySource": {"Bucket": self._bucket, "Key": source},
            "CopySourceIfMatch": f'"{found.etag}"',
            "MetadataDirective": "COPY",
        }
        if metadata is not None:
            kept = {name: reply[name] for name in _KEPT_HEADERS if name in reply}
            parameters |= kept | {"MetadataDirective": "REPLACE", "Metadata": encode_metadata(metadata)}
        sent = found.metadata if metadata is None else {name.lower(): value for name, value in metadata.items()}
        if only_if_absent:
            if self.known_profile().conditional_copy:
                parameters["IfNoneMatch"] = "*"
            elif (taken := self.head(target)) is not None:
                return self._own_copy(found, taken, sent, cause=None)
        try:
            copied = self._requests.call("copy_object", **parameters)
        except Absent as error:
            self._requests.check_bucket_behind(error)
            return None
        except ConditionFailed as error:
            # One code for both conditions: ask which of the two does not hold.
            taken = self.head(target) if only_if_absent else None
            if taken is not None:
                return self._own_copy(found, taken, sent, cause=error)
            raise ObjectChanged(f"{source!r} changed while it was copied; nothing was copied.") from error
        return self._confirmed_copy(found, target, bare(copied.get("CopyObjectResult", {}).get("ETag", "")))

    def _own_copy(self, source: StoredObject, target: StoredObject, sent: Mapping[str, str], *, cause: StorageError | None) -> StoredObject:
        """Returns the target found when it is this very copy, whose first reply was lost; else raises ObjectExists."""
        if is_same_write(sent, target.metadata) and _may_be_same_bytes(source, target):
            return target
        raise ObjectExists(f"{target.key!r} already holds another object; nothing was overwritten.") from cause

    def _confirmed_copy(self, source: StoredObject, target: str, etag: str) -> StoredObject:
        """Returns what the bucket says of the target, once its size and ETag are those of the copy that was made.

        The ETag is held against the copy's own: a copy of a multipart upload or under KMS has another ETag than its source.
        """
        found = self.head(target)
        if found is None or found.etag != etag or not _may_be_same_bytes(source, found):
            raise ConfirmationFailed(f"The store copied {source.key!r} to {target!r} and then had something else there.")
        return found

    def delete(self, key: str, *, if_etag: str | None = None) -> None:
        """Removes one object. See `Store.delete`.

        Where the store takes no If-Match here, `if_etag` is compared with HEAD right before: a put in between is removed unseen.
        """
        parameters: dict[str, Any] = {"Key": check_key(key)}
        if if_etag is not None:
            if self.known_profile().conditional_delete:
                parameters["IfMatch"] = f'"{if_etag}"'
            else:
                found = self.head(key)
                if found is None:
                    return
                if found.etag != if_etag:
                    raise _changed(key)
        self._delete(parameters)

    def _delete(self, parameters: dict[str, Any]) -> None:
        try:
            self._requests.call("delete_object", **parameters)
        except Absent as error:
            self._requests.check_bucket_behind(error)
        except ConditionFailed as error:
            # Some stores answer 412 for an absent key, and our own lost reply leaves one.
            if self.head(parameters["Key"]) is not None:
                raise _changed(parameters["Key"]) from error

    # What others send

    def presign_get(self, key: str, *, seconds: int, file_name: str | None = None, inline: bool = False) -> str:
        """Signs a GET without asking the store. See `Store.presign_get`."""
        parameters = {"Key": check_key(key)}
        if inline or file_name is not None:
            parameters["ResponseContentDisposition"] = disposition("inline" if inline else "attachment", file_name)
        return self._requests.signed("get_object", seconds, **parameters).url

    def presign_put(
        self,
        key: str,
        *,
        seconds: int,
        size: int,
        content_type: str,
        sha256: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        only_if_absent: bool = False,
    ) -> SignedRequest:
        """Signs a PUT; asks the store nothing but, once, its profile. See `Store.presign_put`."""
        parameters: dict[str, Any] = {
            "Key": check_key(key),
            "ContentLength": size,
            "ChecksumSHA256": checksum(sha256),
            **object_headers(content_type, metadata, cache_control, content_disposition),
        }
        if only_if_absent and self.known_profile().conditional_put:
            parameters["IfNoneMatch"] = "*"
        return self._requests.signed("put_object", seconds, **parameters)

    # Uploads in parts

    def begin_multipart_upload(
        self,
        key: str,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
    ) -> str:
        """Opens an upload, with SHA-256s where the store keeps those of parts. See `Store.begin_multipart_upload`."""
        if not self.known_profile().lists_uploads:
            raise InvalidRequest("This store does not list open uploads, so one that is given up could never be removed: send one PUT.")
        return self._multipart.begin(check_key(key), content_type, metadata, cache_control, content_disposition)

    def presign_part(self, key: str, upload_id: str, number: int, *, seconds: int, size: int, sha256: str) -> SignedRequest:
        """Signs the PUT of a part; asks the store nothing but, once, its profile. See `Store.presign_part`."""
        parameters: dict[str, Any] = {
            "Key": check_key(key),
            "UploadId": upload_id,
            "PartNumber": check_part_number(number),
            "ContentLength": size,
        }
        announced = checksum(sha256)
        if self.known_profile().keeps_parts_sha256:
            parameters["ChecksumSHA256"] = announced
        return self._requests.signed("upload_part", seconds, **parameters)

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part] | None:
        """Reads every page of ListParts. See `Store.list_parts`."""
        return self._multipart.parts(check_key(key), upload_id)

    def complete_multipart_upload(
        self, key: str, upload_id: str, parts: Sequence[Part], *, intent: str, only_if_absent: bool = False
    ) -> StoredObject:
        """Makes one object of the parts and confirms it with HEAD. See `Store.complete_multipart_upload`."""
        return self._multipart.complete(check_key(key), upload_id, parts, intent, only_if_absent=only_if_absent)

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        """Ends an upload, and asks for its parts until there are none. See `Store.abort_multipart_upload`.

        Source: AWS, AbortMultipartUpload ("it might be necessary to abort a given multipart upload multiple times", for parts in flight).
        """
        for _ in range(_ABORTS):
            try:
                self._requests.call("abort_multipart_upload", Key=check_key(key), UploadId=upload_id)
            except Absent as error:
                self._requests.check_bucket_behind(error)
                return
            if not self.list_parts(key, upload_id):
                return
        raise StorageUnavailable(f"Parts of the upload to {key!r} still arrive although it was aborted: try again.")

    # Listings

    def list(self, prefix: str = "", *, after: str = "", page_size: int = 1000) -> Iterator[Sequence[ListedObject]]:
        """Yields the pages of ListObjectsV2. See `Store.list`."""
        start = {"StartAfter": after} if after else {}
        for page in self._requests.pages(
            "list_objects_v2", {"Prefix": prefix, "MaxKeys": page_size}, start, {"ContinuationToken": "NextContinuationToken"}
        ):
            yield rows_of(page, prefix)

    def list_multipart_uploads(self, prefix: str = "") -> Iterator[MultipartUpload]:
        """Yields the open uploads. See `Store.list_multipart_uploads`."""
        if self.known_profile().lists_uploads:
            yield from self._uploads(prefix)

    def _uploads(self, prefix: str) -> Iterator[MultipartUpload]:
        markers = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
        for page in self._requests.pages("list_multipart_uploads", {"Prefix": prefix}, {}, markers):
            for row in page.get("Uploads", ()):
                yield MultipartUpload(_under(prefix, row["Key"]), row["UploadId"], _milliseconds(row["Initiated"]))

    def list_versions(self, prefix: str = "") -> Iterator[ObjectVersion]:
        """Yields versions and delete markers in key order. See `Store.list_versions`."""
        if not self.profile().versioning:
            return  # a bucket that never kept versions lists each object as version "null"
        yield from self._versions(prefix)

    def _versions(self, prefix: str) -> Iterator[ObjectVersion]:
        markers = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
        for page in self._requests.pages("list_object_versions", {"Prefix": prefix}, {}, markers):
            versions = [
                ObjectVersion(_under(prefix, row["Key"]), row["VersionId"], row["Size"], is_delete_marker=False, is_latest=row["IsLatest"])
                for row in page.get("Versions", ())
            ]
            delete_markers = [
                ObjectVersion(_under(prefix, row["Key"]), row["VersionId"], 0, is_delete_marker=True, is_latest=row["IsLatest"])
                for row in page.get("DeleteMarkers", ())
            ]
            # S3 interleaves the two in key order, and boto3 splits them
            yield from sorted(versions + delete_markers, key=attrgetter("key"))

    # Removal in bulk

    def delete_many(self, keys: Sequence[str], *, one_by_one: bool = False) -> DeleteResult:
        """Removes keys with DeleteObjects, 1000 to a request, and one by one those that XML cannot carry. See `Store.delete_many`."""
        return self._delete_all([(key, None) for key in dict.fromkeys(keys)], one_by_one=one_by_one)

    def delete_versions(self, versions: Sequence[ObjectVersion], *, one_by_one: bool = False) -> DeleteResult:
        """Removes versions as `delete_many` removes keys. See `Store.delete_versions`."""
        items = list(dict.fromkeys((version.key, version.version_id) for version in versions))
        return self._delete_all(items, one_by_one=one_by_one)

    def _delete_all(self, items: Sequence[_Item], *, one_by_one: bool) -> DeleteResult:
        # what the probe itself removes is removed before anything is known
        one_by_one = one_by_one or (self._profile is not None and not self._profile.names_deleted)
        failures: dict[_Item, KeyFailure] = {}
        batch: builtins.list[_Item] = []
        for item in items:
            try:
                check_key(item[0])
            except InvalidKey as error:
                failures[item] = KeyFailure(item[0], "InvalidKey", str(error), item[1])
                continue
            if not one_by_one and not _XML_HOSTILE.search(item[0]):
                batch.append(item)
            elif (failure := self._delete_alone(item)) is not None:
                failures[item] = failure
        for first in range(0, len(batch), _DELETE_CHUNK):
            failures |= self._delete_chunk(batch[first : first + _DELETE_CHUNK])
        return DeleteResult(
            deleted=tuple(key for key, version in items if (key, version) not in failures),
            errors=tuple(failures[item] for item in items if item in failures),
        )

    def _delete_alone(self, item: _Item) -> KeyFailure | None:
        try:
            self._delete(_addressed(item))
        except StorageError as error:
            code = code_of(error.__cause__)
            if code != "AccessDenied":  # of which a project under lock has thousands: they are not doubled
                check_is_of_key(self, error)
            return KeyFailure(item[0], code, str(error), item[1])
        return None

    def _delete_chunk(self, chunk: Sequence[_Item]) -> dict[_Item, KeyFailure]:
        """Removes up to 1000 in one request; returns those not removed. What the reply does not name counts as not removed."""
        reply = self._requests.call("delete_objects", Delete={"Objects": [_addressed(item) for item in chunk], "Quiet": False})
        asked = set(chunk)
        unnamed = asked.difference((key, None) for key in plainly_gone(reply))
        for row in reply.get("Deleted", ()):
            # SeaweedFS names a removed delete marker only in DeleteMarkerVersionId.
            unnamed -= {(row.get("Key", ""), version) for version in (row.get("VersionId"), row.get("DeleteMarkerVersionId"), None)}
        unreported = "The store's answer does not name this key: whether it is gone is not known."
        failures = {item: KeyFailure(item[0], "Unreported", unreported, item[1]) for item in unnamed}
        for row in reply.get("Errors", ()):
            key, code = row.get("Key", ""), row.get("Code", "Unknown")
            if code == "NoSuchBucket":
                raise self._requests.no_bucket()
            for item in asked & {(key, row.get("VersionId")), (key, None)}:
                if code in _ABSENT_IN_BATCH:
                    failures.pop(item, None)
                else:
                    failures[item] = KeyFailure(key, code, row.get("Message", ""), item[1])
        return failures

    # Capabilities

    def whereabouts(self) -> Whereabouts:
        """Reads them from the headers of a listing of one key: a token limited to objects may not ask for the bucket. See `Store`."""
        headers = self._requests.call("list_objects_v2", MaxKeys=1)["ResponseMetadata"].get("HTTPHeaders", {})
        try:
            at = _milliseconds(parsedate_to_datetime(headers["date"]))
        except (KeyError, ValueError):
            at = None
        return Whereabouts(headers.get("x-amz-bucket-region"), at)

    def cors(self) -> Sequence[CorsRule] | None:
        """Asks which pages may send to the bucket. See `Store.cors`. Needs s3:GetBucketCORS, which R2's tokens for objects have not."""
        try:
            rules = self._requests.call("get_bucket_cors").get("CORSRules", ())
        except StorageError as error:
            if error.code in _WITHOUT_CORS:
                return ()
            if error.code in _NO_QUESTION:
                return None
            raise
        return tuple(
            CorsRule(*(tuple(rule.get(name, ())) for name in ("AllowedMethods", "AllowedOrigins", "AllowedHeaders", "ExposeHeaders")))
            for rule in rules
        )

    def profile(self) -> Profile:
        """Says what this store can do. See `Store.profile`. About 50 requests the first time, none of them when a profile was given.

        Whether versions are kept is asked again when that was last asked over 300 s ago, or by another process: it is the one capability
        that an owner switches on, and a deletion that did not know would only hide what it says is gone.
        """
        known, now = self.known_profile(), self._clock()
        if self._versioning_asked_at is not None and now - self._versioning_asked_at < _VERSIONING_KNOWN_SECONDS:
            return known
        try:
            known = replace(known, versioning=keeps_versions(self._requests))
        except StorageDenied:
            pass  # by a token limited to objects
        except OF_THE_STORE:
            raise
        except StorageError:
            pass  # NotImplemented
        self._versioning_asked_at = now
        if known != self._profile:
            self._learn(known, Learned.VERSIONING)
        return known

    def known_profile(self) -> Profile:
        """Says what this store can do as it was last told, `versioning` perhaps long ago; probes it when nothing is known."""
        return self._profile or self.probe()

    def probe(self) -> Profile:
        """Tries anew what this store can do, whatever is known of it. About 50 requests."""
        probe = Probe(self, self._requests, self._versions, self._uploads)
        known = probe.profile(f"{PROBE_PREFIX}{self._new_id()}/")
        self._versioning_asked_at = self._clock()
        self._learn(known, Learned.PROBED)
        return known

    def distrust_order(self) -> None:
        """Takes note of a listing that was not in order. See `Store.distrust_order`."""
        known = self.known_profile()
        if known.ordered_listing:
            self._learn(replace(known, ordered_listing=False), Learned.OUT_OF_ORDER)

    def _learn(self, profile: Profile, learned: Learned) -> None:
        self._profile = profile
        self._learned(profile, learned)


def _addressed(item: _Item) -> dict[str, Any]:
    key, version = item
    return {"Key": key} if version is None else {"Key": key, "VersionId": version}


def _changed(key: str) -> ObjectChanged:
    return ObjectChanged(f"{key!r} is no longer the object that was seen; nothing was removed.")


def _may_be_same_bytes(one: StoredObject, other: StoredObject) -> bool:
    return one.size == other.size and (None in (one.sha256, other.sha256) or one.sha256 == other.sha256)


def _under(prefix: str, key: str) -> str:
    if not key.startswith(prefix):
        raise ListingIncomplete(f"The store was asked for keys under {prefix!r} and listed {key!r}; the listing cannot be trusted.")
    return key


def _stored(key: str, reply: Mapping[str, Any], size: int | None = None) -> StoredObject:
    sha256, parts_sha256 = _checksums(reply)
    try:
        return StoredObject(
            key=key,
            size=reply["ContentLength"] if size is None else size,
            etag=bare(reply["ETag"]),
            last_modified=_milliseconds(reply["LastModified"]),
            content_type=reply.get("ContentType"),
            sha256=sha256,
            metadata=decode_metadata(reply.get("Metadata", {})),
            cache_control=reply.get("CacheControl"),
            parts_sha256=parts_sha256,
            content_disposition=reply.get("ContentDisposition"),
        )
    except KeyError as error:
        raise StorageError(f"The store's answer for {key!r} has no {error}; a proxy before it may have removed that header.") from error


def _checksums(reply: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Gives the SHA-256 of the object and that of a multipart upload's parts, as `StoredObject` has them; None for what is not kept."""
    kept, dash, count = reply.get("ChecksumSHA256", "").partition("-")
    if not kept:
        return None, None
    if dash:
        return None, f"{hex_of(kept)}-{count}"
    # Without the number of parts, a hash of hashes can be held against nothing.
    return (None if reply.get("ChecksumType") == "COMPOSITE" else hex_of(kept)), None


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
