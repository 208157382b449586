"""The bucket, behind one protocol: `S3Store` for every S3-compatible store, `MemoryStore` as its twin for tests.

Both pass `tests/contract/test_storage_contract.py`; whatever that file does not ask is not promised. `ordering.py` turns the pages of
a listing into one stream in key order, `rules.py` holds what the two stores agree on (keys, metadata, file names).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, Self

from stocktake.errors import ConfigurationError
from stocktake.model import DeleteResult, ListedObject, StoredObject


@dataclass(frozen=True, slots=True)
class Content:
    """An object's bytes, whole or a range, with what HEAD would say of it."""

    object: StoredObject
    body: bytes
    content_range: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version or delete marker of a versioned bucket."""

    key: str
    version_id: str
    size: int
    is_delete_marker: bool
    is_latest: bool


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """An upload begun and neither completed nor aborted; its parts cost money and are invisible to listing."""

    key: str
    upload_id: str
    initiated_at: int


@dataclass(frozen=True, slots=True)
class Part:
    """One part that the store has of an open upload. `sha256` is hex, where the store keeps it."""

    number: int
    size: int
    etag: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that whoever holds it may send once or more until it expires: this method, this URL, and every one of these headers.

    Content-Length is among the headers; a browser sets it by itself from the body.
    """

    method: str
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Profile:
    """What this store can do, asked of the store and not of its brand."""

    conditional_put: bool  # If-None-Match: * on PutObject is honoured
    conditional_copy: bool  # a target that exists is never overwritten by a conditional CopyObject
    conditional_delete: bool  # If-Match on DeleteObject is honoured
    versioning: bool  # the bucket keeps versions, or kept them once (suspended)
    md5_needed: bool  # DeleteObjects is refused without Content-MD5
    ordered_listing: bool  # ListObjectsV2 is in UTF-8 byte order, complete, and honours StartAfter
    keeps_sha256: bool  # HEAD gives the SHA-256 that came with a PutObject
    keeps_parts_sha256: bool  # SHA-256s of an upload's parts are taken and listed, and HEAD gives the SHA-256 of them all
    names_deleted: bool  # DeleteObjects says of every key what became of it, and truly
    lists_uploads: bool  # ListMultipartUploads shows an upload that is open

    def as_dict(self) -> dict[str, bool]:
        """Gives the profile as it can be stored."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Reads a stored profile.

        Raises:
            ConfigurationError: fields are absent, unknown or not booleans, as when another version stored it: probe again.
        """
        names = {field.name for field in fields(cls)}
        if set(stored) != names or not all(isinstance(value, bool) for value in stored.values()):
            raise ConfigurationError(
                f"The stored store profile must hold exactly the booleans {', '.join(sorted(names))}: probe the store again."
            )
        return cls(**stored)


class Learned(enum.StrEnum):
    """Why a store's profile is another than it was."""

    PROBED = "probed"  # all of it was tried
    VERSIONING = "versioning"  # the owner switched versions on or off
    OUT_OF_ORDER = "out-of-order"  # a listing was, though the profile said that it would be in order


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a bucket is, and what time it is there; None for what the store does not tell."""

    region: str | None
    at: int | None  # milliseconds, to the second


@dataclass(frozen=True, slots=True)
class CorsRule:
    """What pages of some origins may do with a bucket: methods, headers they may send (`*` for any), headers of answers they may read."""

    methods: tuple[str, ...]
    origins: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()


class Store(Protocol):
    """One bucket.

    Raises (any method): StorageDenied, BucketNotFound, WrongRegion, StorageUnavailable, StorageError; and InvalidKey for a key that
    is empty, longer than 1024 UTF-8 bytes or not Unicode text. A missing bucket is always an error, never "nothing there".
    """

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        ...

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
        """Stores `body` and asks the bucket for it again: returns only what the bucket has confirmed.

        Args:
            sha256: hex, of `body`; it goes with it so that the store refuses damaged bytes.
            metadata: names are header names and come back in lower case; values may be any text without lone surrogates. The name
                `intent` is the caller's id of this very write: a conditional put that meets its own intent, size and hash has met
                itself (its first reply was lost, or the caller tries again) and succeeds.

        Raises:
            ObjectExists: `only_if_absent`, and the key holds another object.
            ConfirmationFailed: `body` is not what `sha256` says, or the bucket then holds nothing or something else.
            InvalidRequest: metadata that no header can carry.
        """
        ...

    def head(self, key: str) -> StoredObject | None:
        """Asks for one object; None when the bucket has none under the key."""
        ...

    def get(self, key: str, *, byte_range: tuple[int, int | None] | None = None) -> Content | None:
        """Reads an object, or the inclusive byte range of it; None when there is none.

        `object.size` is the whole object's size, also for a range.

        Raises InvalidRequest for a range that holds no bytes, as one that begins beyond the end.
        """
        ...

    def list(self, prefix: str = "", *, after: str = "", page_size: int = 1000) -> Iterator[Sequence[ListedObject]]:
        """Yields pages of the keys under `prefix` that come after `after`, as the store orders them.

        Ends only when the store has said that it is the end. Where `profile().ordered_listing` is False the order is the store's own and
        `after` may drop keys: use `ordering.stream`.

        Raises ListingIncomplete for a page that is cut short, contradicts itself, holds what was not asked for, or does not say whether
        and where the listing goes on.
        """
        ...

    def copy(
        self,
        source: str,
        target: str,
        *,
        if_etag: str | None = None,
        only_if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> StoredObject | None:
        """Copies inside the bucket, headers and metadata kept unless `metadata` replaces the metadata; None when the source is gone.

        Raises:
            ObjectChanged: the source's ETag is not `if_etag`, or it changed while it was copied.
            ObjectExists: `only_if_absent` and the target is taken by anything but this copy, told by the `intent` in the metadata copied.
            ConfirmationFailed: the target does not hold what was copied.
        """
        ...

    def delete(self, key: str, *, if_etag: str | None = None) -> None:
        """Removes one object; an absent key is not an error, with `if_etag` or without.

        Raises ObjectChanged when `if_etag` is given and the object's ETag is another one.
        """
        ...

    def delete_many(self, keys: Sequence[str], *, one_by_one: bool = False) -> DeleteResult:
        """Removes any number of keys, 1000 to a request; an absent key counts as deleted; refusals are kept per key.

        With `one_by_one` each key has a request of its own, one after the other. So it is where not `profile().names_deleted`: what such a
        store says of a removal in bulk is not to be trusted.

        Every distinct key given is in exactly one of `deleted` and `errors`. A failure of a whole request is raised; keys of requests
        before it are gone then, and giving them again is harmless.
        """
        ...

    def presign_get(self, key: str, *, seconds: int, file_name: str | None = None, inline: bool = False) -> str:
        """Signs a GET that lives for `seconds` (1 to 604800): as a download named `file_name` where that is given, shown where `inline`.

        With neither the object comes with the disposition it was stored with. The URL dies earlier when the credentials that signed it
        do. Raises InvalidRequest for other `seconds`.
        """
        ...

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
        """Signs a PUT of exactly these bytes under exactly these headers, for `seconds` (1 to 604800); asks nothing of the bucket.

        The store refuses a body of another length or SHA-256, and a request in which a signed header is changed or left out. Not refused
        are Cache-Control, Content-Disposition and other headers of HTTP that were not signed and the sender adds (SigV4 wants only
        `x-amz-*` ones signed, and not every store asks even that): give what the sender must not choose, and look at the outcome.

        Args:
            size: bytes.
            sha256: hex.
            only_if_absent: where `profile().conditional_put`, If-None-Match is signed too, so that the request cannot replace an object.

        Raises:
            InvalidRequest: other `seconds`, no SHA-256, or metadata that no header can carry.

        Source: R2, "Presigned URLs" (a signed header can be neither omitted nor changed); piotrkulpinski/openads#14 saw R2 refuse a body
        longer than its signed Content-Length.
        """
        ...

    def begin_multipart_upload(
        self,
        key: str,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
    ) -> str:
        """Opens an upload in parts and returns its id; what is in it costs money until it is completed or aborted.

        Args:
            metadata: the completed object's. Its `intent` is what `complete_multipart_upload` knows its own work by.

        Raises InvalidRequest for metadata that no header can carry, and where not `profile().lists_uploads`: an upload that nobody could
        find again is not begun.
        """
        ...

    def presign_part(self, key: str, upload_id: str, number: int, *, seconds: int, size: int, sha256: str) -> SignedRequest:
        """Signs the PUT of one part of this size, for `seconds` (1 to 604800); asks nothing of the bucket but, once, its profile.

        Where `profile().keeps_parts_sha256`, its SHA-256 is signed too, and the store refuses other bytes. Elsewhere any bytes of the size
        are taken, because a store may refuse every part that comes with a checksum (R2): read them back before they count.

        All parts but the last must have one size, of 5 MiB to 5 GiB (R2, "Upload objects: part size limits"). A part that is sent again
        replaces the one before.

        Args:
            number: 1 to 10,000, the part's place.
            size: bytes.
            sha256: hex, of the part.

        Raises:
            InvalidRequest: other `seconds` or `number`, or no SHA-256.
        """
        ...

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part] | None:
        """Asks which parts the store has of an open upload, in order of number.

        None when there is no such upload: it was aborted, or completed, which `head` tells.
        """
        ...

    def complete_multipart_upload(
        self, key: str, upload_id: str, parts: Sequence[Part], *, intent: str, only_if_absent: bool = False
    ) -> StoredObject:
        """Makes one object of the parts and asks the bucket for it: returns only what the bucket has confirmed.

        May be seen twice: an upload that is no more is taken for completed when the key holds an object of this intent, size and, where
        the store keeps it, composite SHA-256.

        Args:
            parts: as `list_parts` gave them; what else was uploaded is dropped.
            intent: the `intent` of the metadata given at `begin_multipart_upload`.
            only_if_absent: never replaces another object. A store that takes no If-None-Match here (R2's table lists none) is only asked
                before: of two that write one key at one moment the later one may then replace. Keys that are never used twice are safe.

        Raises:
            ObjectExists: `only_if_absent`, and the key holds another object; the upload may still be open.
            UploadIncomplete: the store has not all of these parts, or does not take them as they are (too small, not of one size).
            UploadNotFound: there is no such upload, and no object of this intent.
            ConfirmationFailed: the upload was completed, and the bucket then holds nothing or something else.
        """
        ...

    def list_multipart_uploads(self, prefix: str = "") -> Iterator[MultipartUpload]:
        """Yields the open multipart uploads under `prefix`; nothing where not `profile().lists_uploads`, though there may be some."""
        ...

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        """Ends an upload and frees its parts; an unknown upload is not an error.

        Raises StorageUnavailable while parts that were on their way are still kept: abort it again.
        """
        ...

    def list_versions(self, prefix: str = "") -> Iterator[ObjectVersion]:
        """Yields every version and delete marker under `prefix`; nothing where the store keeps no versions."""
        ...

    def delete_versions(self, versions: Sequence[ObjectVersion], *, one_by_one: bool = False) -> DeleteResult:
        """Removes exactly these versions, for good, as `delete_many` removes keys.

        `deleted` and `errors` hold one entry a version, with its key.
        """
        ...

    def whereabouts(self) -> Whereabouts:
        """Asks the store, with one request, in which region the bucket is and what time it is."""
        ...

    def cors(self) -> Sequence[CorsRule] | None:
        """Asks which pages may send to the bucket and read from it; None where the store does not know the question."""
        ...

    def profile(self) -> Profile:
        """Says what this store can do; probes once with objects under `.stocktake/probe/`, which it removes.

        Only `versioning` may change later: whether it was switched on is asked again, at most every five minutes.
        """
        ...

    def probe(self) -> Profile:
        """Tries anew what this store can do, whatever is known of it, and goes by that from now on."""
        ...

    def distrust_order(self) -> None:
        """Takes note of a listing that was not in order: from now on `profile().ordered_listing` is False."""
        ...
