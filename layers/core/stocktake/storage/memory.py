"""`MemoryStore`: the bucket in memory, with the faults that real stores have, on order.

It passes the same contract as `S3Store`, so a flow tested on it is tested on the promises that it may rely on. What it adds for tests:

- what others do behind our back: `plant`, `remove`, `plant_multipart_upload`, `hide` (a listing that drops keys);
- failures: `fail` (before or after the operation took effect), `refuse_delete` (per-key errors in a batch);
- moments: `on_call` runs before every operation, to let a race or a crash happen exactly there;
- other stores: `ordering="directory"` lists and loses keys as SeaweedFS does, `versioning`, a `profile` of one's own, `bucket_exists`;
- the outside: `fetch` answers presigned requests as the store's HTTP server would; `calls` is what was asked for.
"""

from __future__ import annotations

import builtins
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, get_args
from urllib.parse import quote, urlencode

from stocktake.errors import (
    BucketNotFound,
    ConfirmationFailed,
    InvalidKey,
    InvalidRequest,
    ObjectChanged,
    ObjectExists,
    StorageUnavailable,
    UploadIncomplete,
    UploadNotFound,
)
from stocktake.model import DeleteResult, KeyFailure, ListedObject, StoredObject
from stocktake.storage import Content, CorsRule, MultipartUpload, ObjectVersion, Part, Profile, SignedRequest, Whereabouts
from stocktake.storage.rules import (
    MIN_PART_BYTES,
    check_key,
    check_part_number,
    check_presigned_seconds,
    checksum,
    composite_sha256,
    decode_metadata,
    disposition,
    encode_metadata,
    in_order,
    is_same_upload,
    is_same_write,
    range_header,
)

Operation = Literal[
    "put",
    "head",
    "get",
    "list",
    "copy",
    "delete",
    "delete_many",
    "presign_get",
    "presign_put",
    "begin_multipart_upload",
    "presign_part",
    "list_parts",
    "complete_multipart_upload",
    "list_multipart_uploads",
    "abort_multipart_upload",
    "list_versions",
    "delete_versions",
    "whereabouts",
    "cors",
]


@dataclass(slots=True)
class _Fault:
    operation: Operation
    key: str | None
    skip: int
    times: int
    error: BaseException
    after_effect: bool


@dataclass(frozen=True, slots=True)
class _Version:
    version_id: str
    body: bytes
    object: StoredObject | None  # None: a delete marker


@dataclass(frozen=True, slots=True)
class _Headers:
    """What an object is stored with and served with."""

    content_type: str
    metadata: Mapping[str, str]
    cache_control: str | None
    content_disposition: str | None


@dataclass(slots=True)
class _Upload:
    """An open upload and its parts so far."""

    initiated_at: int
    headers: _Headers
    parts: dict[int, tuple[bytes, Part]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Signed:
    """What a presigned URL of this store allows."""

    method: str
    key: str
    expires_at: int
    headers: Mapping[str, str]  # names in lower case
    response_disposition: str | None = None
    part: tuple[str, int] | None = None  # upload id and number


@dataclass(frozen=True, slots=True)
class Answer:
    """What the HTTP server of the store answers to a presigned request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class MemoryStore:
    """One bucket in memory; see `Store` for what each method promises and the module for what tests may order.

    Attributes:
        bucket_exists: set it to False and every operation raises BucketNotFound.
        region, skew_ms: where the bucket says it is, and how far its clock is ahead of `now`.
        cors_rules: what `cors` says.
        on_call: called with the operation and its (first) key or prefix before anything happens; for a listing before every page.
        calls: the operations asked for so far, each with its (first) key or prefix.
    """

    def __init__(
        self,
        bucket: str = "memory",
        *,
        now: Callable[[], int],
        ordering: Literal["utf8", "directory"] = "utf8",
        versioning: bool = False,
        profile: Profile | None = None,
        min_part_bytes: int = MIN_PART_BYTES,
    ) -> None:
        """Makes an empty bucket.

        Args:
            now: milliseconds since the epoch.
            ordering: `directory` sorts path by path, `a/b` before `a-b`, and listing after a key drops what UTF-8 order would still give.
            versioning: overwritten and removed objects stay as versions.
            profile: what `profile()` says instead of the truth, to make a flow take its other road. Checksums that it does not keep are
                not given, and those of parts neither signed nor checked.
            min_part_bytes: how small a part may be that is not the last; a test of a flow need not move megabytes.
        """
        self._bucket = bucket
        self._now = now
        self._ordering = ordering
        self._versioning = versioning
        self._told = profile or Profile(
            conditional_put=True,
            conditional_copy=True,
            conditional_delete=True,
            versioning=versioning,
            md5_needed=False,
            ordered_listing=ordering == "utf8",
            keeps_sha256=True,
            keeps_parts_sha256=True,
            names_deleted=True,
            lists_uploads=True,
        )
        self._profile = self._told
        self._min_part_bytes = min_part_bytes
        self._versions: dict[str, builtins.list[_Version]] = {}  # oldest first; never an empty list
        self._uploads: dict[tuple[str, str], _Upload] = {}
        self._signed: dict[str, _Signed] = {}
        self._count = 0
        self._hidden: set[str] = set()
        self._refused: dict[str, KeyFailure] = {}
        self._faults: builtins.list[_Fault] = []
        self._lock = threading.RLock()
        self.bucket_exists = True
        self.region: str | None = None
        self.skew_ms = 0
        self.cors_rules: Sequence[CorsRule] | None = ()
        self.on_call: Callable[[str, str | None], None] | None = None
        self.calls: builtins.list[tuple[str, str | None]] = []

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket

    # What tests order

    def fail(
        self,
        operation: Operation,
        *,
        times: int = 1,
        key: str | None = None,
        error: BaseException | None = None,
        skip: int = 0,
        after_effect: bool = False,
    ) -> None:
        """Makes the next `times` calls of `operation` raise `error`, StorageUnavailable when None.

        Args:
            key: only calls that name this key (or, for listings, this prefix).
            skip: lets so many matching calls through first; a listing counts one call a page.
            after_effect: the operation is done, and its reply lost.
        """
        if operation not in get_args(Operation):
            raise ValueError(f"There is no operation {operation!r}.")
        failure = error or StorageUnavailable(f"The store could not do {operation} now: try again.")
        self._faults.append(_Fault(operation, key, skip, times, failure, after_effect))

    def refuse_delete(self, key: str, code: str = "AccessDenied", message: str = "Access Denied", *, version_id: str | None = None) -> None:
        """Makes every removal of `key` in a batch, or of one version of it, end in this per-key error, until `allow_delete`."""
        self._refused[key] = KeyFailure(key, code, message, version_id)

    def allow_delete(self, key: str) -> None:
        """Ends what `refuse_delete` began."""
        self._refused.pop(key, None)

    def hide(self, *keys: str) -> None:
        """Leaves these keys out of every listing, as stores with broken listings do; HEAD and GET still find them."""
        self._hidden.update(keys)

    def plant(
        self,
        key: str,
        body: bytes = b"planted",
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        last_modified: int | None = None,
    ) -> StoredObject:
        """Puts an object behind our back: no fault, no `on_call`, no trace in `calls`."""
        with self._lock:
            stored = self._stored(key, body, _Headers(content_type, metadata or {}, cache_control, None))
            if last_modified is not None:
                stored = replace(stored, last_modified=last_modified)
            self._add(key, body, stored)
            return stored

    def remove(self, key: str) -> None:
        """Removes an object behind our back."""
        with self._lock:
            self._remove(key)

    def plant_multipart_upload(self, key: str, *, initiated_at: int | None = None) -> str:
        """Begins an upload behind our back and leaves it open; returns its upload id."""
        with self._lock:
            upload_id = self._next_id("upload")
            headers = _Headers("application/octet-stream", {}, None, None)
            self._uploads[key, upload_id] = _Upload(self._now() if initiated_at is None else initiated_at, headers)
            return upload_id

    def keys(self) -> builtins.list[str]:
        """Returns what the bucket holds, in key order, whatever its listings say."""
        with self._lock:
            return sorted(key for key in self._versions if self._current(key) is not None)

    def fetch(self, request: SignedRequest | str, body: bytes = b"") -> Answer:
        """Answers a presigned request as an HTTP server would; a URL alone is a GET.

        Content-Length need not be among the headers sent: a client adds it from the body. 403 for what was not signed so or has expired,
        404 for an absent bucket, object or upload, 412 where If-None-Match was signed and there is an object, 400 for a body that is not
        as long or has not the SHA-256 that its headers say.
        """
        if isinstance(request, str):
            request = SignedRequest("GET", request, {})
        signed = self._signed.get(request.url)
        sent = {"content-length": str(len(body))} | {name.lower(): value for name, value in request.headers.items()}
        if signed is None or signed.method != request.method or self._now() >= signed.expires_at:
            return Answer(403)
        # SigV4 wants every x-amz-* header signed, and leaves the others to the sender.
        if any(sent.get(name) != value for name, value in signed.headers.items()) or any(
            name.startswith("x-amz-") and name not in signed.headers for name in sent
        ):
            return Answer(403)
        with self._lock:
            if not self.bucket_exists:
                return Answer(404)
            if signed.method == "GET":
                return self._fetched(signed)
            arrived = checksum(hashlib.sha256(body).hexdigest())
            if sent["content-length"] != str(len(body)) or sent.get("x-amz-checksum-sha256", arrived) != arrived:
                return Answer(400)
            return self._taken(signed, sent, body)

    def _fetched(self, signed: _Signed) -> Answer:
        current = self._current(signed.key)
        if current is None:
            return Answer(404)
        version, stored = current
        headers = {"content-type": stored.content_type or "binary/octet-stream", "content-length": str(stored.size)}
        if stored.cache_control is not None:
            headers["cache-control"] = stored.cache_control
        shown = signed.response_disposition or stored.content_disposition
        if shown is not None:
            headers["content-disposition"] = shown
        return Answer(200, headers, version.body)

    def _taken(self, signed: _Signed, sent: Mapping[str, str], body: bytes) -> Answer:
        if signed.part is None:
            if "if-none-match" in sent and self._current(signed.key) is not None:
                return Answer(412)
            metadata = {name.removeprefix("x-amz-meta-"): value for name, value in sent.items() if name.startswith("x-amz-meta-")}
            headers = _Headers(sent["content-type"], decode_metadata(metadata), sent.get("cache-control"), sent.get("content-disposition"))
            stored = self._stored(signed.key, body, headers)
            self._add(signed.key, body, stored)
            return Answer(200, {"etag": f'"{stored.etag}"'})
        upload_id, number = signed.part
        upload = self._uploads.get((signed.key, upload_id))
        if upload is None:
            return Answer(404)
        part = Part(number, len(body), _md5(body), hashlib.sha256(body).hexdigest() if self._profile.keeps_parts_sha256 else None)
        upload.parts[number] = (body, part)
        return Answer(200, {"etag": f'"{part.etag}"'})

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
        """Stores `body`. See `Store.put`."""
        check_key(key)
        stored = self._stored(key, body, _Headers(content_type, metadata or {}, cache_control, content_disposition))
        if hashlib.sha256(body).hexdigest() != sha256:
            raise ConfirmationFailed(f"The bytes for {key!r} are not those that SHA-256 {sha256} was taken of; nothing was sent.")
        with self._operation("put", key):
            current = self._current(key)
            if only_if_absent and current is not None:
                return self._own_write(stored, body, current)
            self._add(key, body, stored)
            return stored

    def head(self, key: str) -> StoredObject | None:
        """Asks for one object. See `Store.head`."""
        check_key(key)
        with self._operation("head", key):
            current = self._current(key)
            return None if current is None else current[1]

    def get(self, key: str, *, byte_range: tuple[int, int | None] | None = None) -> Content | None:
        """Reads an object. See `Store.get`."""
        check_key(key)
        if byte_range is not None:
            range_header(*byte_range)
        with self._operation("get", key):
            current = self._current(key)
            if current is None:
                return None
            version, stored = current
            if byte_range is None:
                return Content(stored, version.body)
            first, last = byte_range[0], stored.size - 1 if byte_range[1] is None else min(byte_range[1], stored.size - 1)
            if first > last:
                raise InvalidRequest(f"{key!r} has no bytes in the range asked for.")
            return Content(stored, version.body[first : last + 1], f"bytes {first}-{last}/{stored.size}")

    def copy(
        self,
        source: str,
        target: str,
        *,
        if_etag: str | None = None,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> StoredObject | None:
        """Copies inside the bucket. See `Store.copy`."""
        check_key(target)
        check_key(source)
        encode_metadata(metadata or {})
        with self._operation("copy", source, target):
            current = self._current(source)
            if current is None:
                return None
            version, found = current
            if if_etag is not None and found.etag != if_etag:
                raise ObjectChanged(f"{source!r} is no longer the object that was seen (ETag {if_etag}); nothing was copied.")
            stored = replace(found, key=target, last_modified=self._now())
            if metadata is not None:
                stored = replace(stored, metadata=_lowered(metadata))
            taken = self._current(target)
            if only_if_absent and taken is not None:
                return self._own_write(stored, version.body, taken)
            self._add(target, version.body, stored)
            return stored

    def delete(self, key: str, *, if_etag: str | None = None) -> None:
        """Removes one object. See `Store.delete`."""
        check_key(key)
        with self._operation("delete", key):
            current = self._current(key)
            if if_etag is not None and current is not None and current[1].etag != if_etag:
                raise ObjectChanged(f"{key!r} is no longer the object that was seen; nothing was removed.")
            if if_etag is None or current is not None:
                self._remove(key)

    def delete_many(self, keys: Sequence[str], *, one_by_one: bool = False) -> DeleteResult:
        """Removes keys. See `Store.delete_many`."""
        distinct = list(dict.fromkeys(keys))
        if one_by_one:
            return _together([self.delete_many([key]) for key in distinct])
        with self._operation("delete_many", *distinct):
            errors = [failure for key in distinct if (failure := self._refusal(key)) is not None]
            refused = {failure.key for failure in errors}
            deleted = [key for key in distinct if key not in refused]
            for key in deleted:
                self._remove(key)
            return DeleteResult(tuple(deleted), tuple(errors))

    # What others send

    def presign_get(self, key: str, *, seconds: int, file_name: str | None = None, inline: bool = False) -> str:
        """Signs a GET that `fetch` answers. See `Store.presign_get`."""
        shown = disposition("inline" if inline else "attachment", file_name) if inline or file_name is not None else None
        return self._sign("presign_get", key, seconds, {}, response_disposition=shown).url

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
        """Signs a PUT that `fetch` answers. See `Store.presign_put`."""
        headers = {"Content-Length": str(size), "Content-Type": content_type, "x-amz-checksum-sha256": checksum(sha256)}
        headers |= {f"x-amz-meta-{name}": value for name, value in encode_metadata(metadata or {}).items()}
        if cache_control is not None:
            headers["Cache-Control"] = cache_control
        if content_disposition is not None:
            headers["Content-Disposition"] = content_disposition
        if only_if_absent and self.profile().conditional_put:
            headers["If-None-Match"] = "*"
        return self._sign("presign_put", key, seconds, headers)

    def _sign(
        self,
        operation: Operation,
        key: str,
        seconds: int,
        headers: Mapping[str, str],
        *,
        response_disposition: str | None = None,
        part: tuple[str, int] | None = None,
    ) -> SignedRequest:
        """Makes a URL that says all that it allows, so that signing the same again gives the same."""
        check_key(key)
        check_presigned_seconds(seconds)
        lost_reply = self._begin(operation, key)
        if lost_reply is not None:
            raise lost_reply
        lowered = {name.lower(): value for name, value in headers.items()}
        method = "GET" if operation == "presign_get" else "PUT"
        signed = _Signed(method, key, self._now() + seconds * 1000, lowered, response_disposition, part)
        query = {"expires": str(signed.expires_at), "signature": hashlib.sha256(repr(signed).encode()).hexdigest()}
        url = f"memory://{self._bucket}/{quote(key, safe='')}?{urlencode(query)}"
        self._signed[url] = signed
        return SignedRequest(method, url, dict(headers))

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
        """Opens an upload. See `Store.begin_multipart_upload`."""
        check_key(key)
        encode_metadata(metadata or {})
        with self._operation("begin_multipart_upload", key):
            upload_id = self._next_id("upload")
            headers = _Headers(content_type, metadata or {}, cache_control, content_disposition)
            self._uploads[key, upload_id] = _Upload(self._now(), headers)
            return upload_id

    def presign_part(self, key: str, upload_id: str, number: int, *, seconds: int, size: int, sha256: str) -> SignedRequest:
        """Signs the PUT of a part that `fetch` answers. See `Store.presign_part`."""
        headers, announced = {"Content-Length": str(size)}, checksum(sha256)
        if self._profile.keeps_parts_sha256:
            headers["x-amz-checksum-sha256"] = announced
        return self._sign("presign_part", key, seconds, headers, part=(upload_id, check_part_number(number)))

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part] | None:
        """Gives the parts so far. See `Store.list_parts`."""
        check_key(key)
        with self._operation("list_parts", key):
            upload = self._uploads.get((key, upload_id))
            return None if upload is None else [part for _, (_, part) in sorted(upload.parts.items())]

    def complete_multipart_upload(
        self, key: str, upload_id: str, parts: Sequence[Part], *, intent: str, only_if_absent: bool = False
    ) -> StoredObject:
        """Makes one object of the parts. See `Store.complete_multipart_upload`."""
        check_key(key)
        ordered = in_order(parts)
        with self._operation("complete_multipart_upload", key):
            current = self._current(key)
            is_done = current is not None and is_same_upload(current[1], ordered, intent)
            upload = self._uploads.get((key, upload_id))
            if current is not None and is_done and (only_if_absent or upload is None):
                return current[1]
            if current is not None and only_if_absent:
                raise ObjectExists(f"{key!r} already holds another object; nothing was overwritten.")
            if upload is None:
                raise UploadNotFound(f"The store has no such upload to {key!r}, nor what would have come of it: begin anew.")
            self._check_parts(key, upload, ordered)
            body = b"".join(upload.parts[part.number][0] for part in ordered)
            kept = [upload.parts[part.number][1].sha256 or "" for part in ordered]
            stored = replace(
                self._stored(key, body, upload.headers),
                etag=f"{_md5(b''.join(bytes.fromhex(part.etag) for part in ordered))}-{len(ordered)}",
                sha256=None,
                parts_sha256=composite_sha256(kept) if self._profile.keeps_parts_sha256 else None,
            )
            self._add(key, body, stored)
            del self._uploads[key, upload_id]
            return stored

    def _check_parts(self, key: str, upload: _Upload, named: Sequence[Part]) -> None:
        """Refuses what a store refuses: parts it does not have so, parts too small (AWS), parts not of one size (R2)."""
        for part in named:
            _, had = upload.parts.get(part.number, (b"", None))
            if had is None or had.etag != part.etag or (None not in (had.sha256, part.sha256) and had.sha256 != part.sha256):
                raise UploadIncomplete(f"The store does not have part {part.number} of {key!r} as it was named.")
        sizes = {upload.parts[part.number][1].size for part in named[:-1]}
        if len(sizes) > 1 or any(size < self._min_part_bytes for size in sizes):
            raise UploadIncomplete(f"The parts of {key!r} but the last must have one size of at least {self._min_part_bytes} bytes.")

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        """Ends an upload. See `Store.abort_multipart_upload`."""
        check_key(key)
        with self._operation("abort_multipart_upload", key):
            self._uploads.pop((key, upload_id), None)

    # Listings

    def list(self, prefix: str = "", *, after: str = "", page_size: int = 1000) -> Iterator[Sequence[ListedObject]]:
        """Yields pages of what the bucket holds at the moment each page is asked for. See `Store.list`."""
        position = after
        while True:
            with self._operation("list", prefix):
                listed = sorted((key for key in self.keys() if key not in self._hidden and key.startswith(prefix)), key=self._sort_key)
                if position:
                    listed = [key for key in listed if self._sort_key(key) > self._sort_key(position)]
                page = [
                    ListedObject(found.key, found.size, found.etag, found.last_modified) for found in map(self._object, listed[:page_size])
                ]
            yield page
            if len(listed) <= page_size:
                return
            position = page[-1].key

    def whereabouts(self) -> Whereabouts:
        """Says what was ordered. See `Store.whereabouts`."""
        with self._operation("whereabouts", ""):
            return Whereabouts(self.region, (self._now() + self.skew_ms) // 1000 * 1000)

    def cors(self) -> Sequence[CorsRule] | None:
        """Says what was ordered. See `Store.cors`."""
        with self._operation("cors", ""):
            return self.cors_rules

    def list_multipart_uploads(self, prefix: str = "") -> Iterator[MultipartUpload]:
        """Yields the open uploads. See `Store.list_multipart_uploads`."""
        with self._operation("list_multipart_uploads", prefix):
            uploads = [
                MultipartUpload(key, upload_id, self._uploads[key, upload_id].initiated_at)
                for key, upload_id in sorted(self._uploads)
                if key.startswith(prefix)
            ]
        yield from uploads

    def list_versions(self, prefix: str = "") -> Iterator[ObjectVersion]:
        """Yields versions and delete markers, the newest of each key first. See `Store.list_versions`."""
        with self._operation("list_versions", prefix):
            kept = [
                ObjectVersion(key, version.version_id, len(version.body), version.object is None, version is versions[-1])
                for key, versions in sorted(self._versions.items())
                if key.startswith(prefix) and self._versioning
                for version in reversed(versions)
            ]
        yield from kept

    def delete_versions(self, versions: Sequence[ObjectVersion], *, one_by_one: bool = False) -> DeleteResult:
        """Removes versions for good. See `Store.delete_versions`."""
        if one_by_one:
            return _together([self.delete_versions([version]) for version in dict.fromkeys(versions)])
        with self._operation("delete_versions", *(version.key for version in versions)):
            deleted: builtins.list[str] = []
            errors: builtins.list[KeyFailure] = []
            for key, version_id in dict.fromkeys((version.key, version.version_id) for version in versions):
                failure = self._refusal(key, version_id)
                if failure is not None:
                    errors.append(replace(failure, version_id=version_id))
                    continue
                deleted.append(key)
                kept = [version for version in self._versions.pop(key, []) if version.version_id != version_id]
                if kept:
                    self._versions[key] = kept
            return DeleteResult(tuple(deleted), tuple(errors))

    def profile(self) -> Profile:
        """Says what this store can do, or what it was told to say."""
        if not self.bucket_exists:
            raise self._no_bucket()
        return self._profile

    def probe(self) -> Profile:
        """Says what this store can do, or what it was told to say, and forgets what it was to distrust."""
        self._profile = self._told
        return self.profile()

    def distrust_order(self) -> None:
        """Says from now on that it does not list in order."""
        self._profile = replace(self._profile, ordered_listing=False)

    # Inside

    @contextmanager
    def _operation(self, operation: Operation, *keys: str) -> Iterator[None]:
        """Runs what tests ordered before, the operation itself as one indivisible step, and a lost reply after it."""
        lost_reply = self._begin(operation, *keys)
        with self._lock:
            if not self.bucket_exists:
                raise self._no_bucket()
            yield
        if lost_reply is not None:
            raise lost_reply

    def _begin(self, operation: Operation, *keys: str) -> BaseException | None:
        """Notes the call, lets `on_call` run and raises a fault that is due; returns one that is due after the effect."""
        first = keys[0] if keys else None
        self.calls.append((operation, first))
        if self.on_call is not None:
            self.on_call(operation, first)
        for fault in self._faults:
            if fault.operation != operation or (fault.key is not None and fault.key not in keys):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self._faults.remove(fault)
            if not fault.after_effect:
                raise fault.error
            return fault.error
        return None

    def _no_bucket(self) -> BucketNotFound:
        return BucketNotFound(f"There is no bucket {self._bucket!r} in memory: check the bucket and endpoint settings.")

    def _stored(self, key: str, body: bytes, headers: _Headers) -> StoredObject:
        encode_metadata(headers.metadata)  # refuses what headers cannot carry
        return StoredObject(
            key=key,
            size=len(body),
            etag=_md5(body),
            last_modified=self._now(),
            content_type=headers.content_type,
            sha256=hashlib.sha256(body).hexdigest() if self._profile.keeps_sha256 else None,
            metadata=_lowered(headers.metadata),
            cache_control=headers.cache_control,
            content_disposition=headers.content_disposition,
        )

    def _own_write(self, sent: StoredObject, body: bytes, found: tuple[_Version, StoredObject]) -> StoredObject:
        """Returns the object found when it is this very write; else raises ObjectExists."""
        version, stored = found
        if is_same_write(sent.metadata, stored.metadata) and version.body == body:
            return stored
        raise ObjectExists(f"{stored.key!r} already holds another object; nothing was overwritten.")

    def _current(self, key: str) -> tuple[_Version, StoredObject] | None:
        versions = self._versions.get(key)
        if not versions or versions[-1].object is None:
            return None
        return versions[-1], versions[-1].object

    def _object(self, key: str) -> StoredObject:
        current = self._current(key)
        assert current is not None, "only keys of objects are listed"
        return current[1]

    def _add(self, key: str, body: bytes, stored: StoredObject | None) -> None:
        version = _Version(self._next_id("version"), body, stored)
        self._versions[key] = [*self._versions.get(key, []), version] if self._versioning else [version]

    def _remove(self, key: str) -> None:
        if self._versioning:
            self._add(key, b"", None)
        else:
            self._versions.pop(key, None)

    def _refusal(self, key: str, version_id: str | None = None) -> KeyFailure | None:
        try:
            check_key(key)
        except InvalidKey as error:
            return KeyFailure(key, "InvalidKey", str(error))
        refused = self._refused.get(key)
        return refused if refused is not None and refused.version_id in (None, version_id) else None

    def _sort_key(self, key: str) -> tuple[str, ...]:
        return tuple(key.split("/")) if self._ordering == "directory" else (key,)

    def _next_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"


def _lowered(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in metadata.items()}


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _together(results: Sequence[DeleteResult]) -> DeleteResult:
    return DeleteResult(
        tuple(key for result in results for key in result.deleted), tuple(error for result in results for error in result.errors)
    )
