"""The nouns: frozen, without behaviour that touches the world.

Times are integers of milliseconds since the epoch (UTC), named `..._at`. Sizes are bytes. An ETag is kept without its
quotation marks. A `project_id` is spelled as its creator spelled it; `layouts.project_stem` says which spellings are one project.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class State(enum.StrEnum):
    """Where the bytes of a record are."""

    PENDING = "PENDING"  # an intent: bytes may or may not have arrived
    STORED = "STORED"  # the bucket confirmed size and checksum
    INLINE = "INLINE"  # the bytes lie in the ledger
    EXTERNAL = "EXTERNAL"  # the bytes lie at a foreign URL
    MISSING = "MISSING"  # the bucket was asked and had nothing
    QUARANTINED = "QUARANTINED"  # moved aside, restorable until it expires


class ProjectState(enum.StrEnum):
    """Whether a project takes commits."""

    ACTIVE = "ACTIVE"
    DELETING = "DELETING"
    DELETED = "DELETED"


class FindingClass(enum.StrEnum):
    """What a reconciliation says of one key."""

    ORPHAN = "orphan"  # object without record
    MISSING = "missing"  # record says STORED, the object is gone
    MISMATCH = "mismatch"  # both are there and differ
    UNSTORED = "unstored"  # record that has no object yet: pending, inline or external
    UNKNOWN = "unknown"  # object under a key that no layout explains
    DUPLICATE_SPELLING = "duplicate_spelling"  # two keys that differ only in how Unicode spells a letter


class DeletionMode(enum.StrEnum):
    """How a project's deletion looks for its keys and removes them. Whatever the mode, it is proved by both ways of looking."""

    BOTH = "both"  # what the ledger and the listings show, a thousand keys to a request
    LEDGER = "ledger"  # what the ledger shows, each key asked for by name
    LISTING = "listing"  # what the listings show
    SEQUENTIAL = "sequential"  # as BOTH, one key after the other with a request each


@dataclass(frozen=True, slots=True)
class Quota:
    """The most objects and bytes a project may hold; None for no limit of that kind."""

    objects: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """The owner of objects. `epoch` grows by one with every deletion and every re-creation.

    `quota` is the most it may hold, announced uploads included; None for no limit.
    """

    project_id: str
    state: ProjectState
    epoch: int
    created_at: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    deletion_id: str | None = None
    deleted_at: int | None = None
    quota: Quota | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What HEAD says of an object.

    `sha256` is lower-case hex, from the store's own checksum where it keeps one, else None. `parts_sha256` is what a store keeps in its
    place for a multipart upload: the SHA-256 of the parts' SHA-256s in hex, a dash, and the number of parts. `metadata` is the user
    metadata of the object's headers, keys in lower case.
    """

    key: str
    size: int
    etag: str
    last_modified: int
    content_type: str | None = None
    sha256: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    cache_control: str | None = None
    parts_sha256: str | None = None
    content_disposition: str | None = None


class ListedObject(NamedTuple):
    """One row of a bucket listing. A tuple, because a frozen dataclass takes five times as long to make, and buckets hold millions."""

    key: str
    size: int
    etag: str
    last_modified: int


@dataclass(frozen=True, slots=True)
class Record:
    """The ledger's row of one object. `version` is the compare-and-set number, 1 when first written.

    `metadata` is what the caller sent, with its JSON types, without what is `sealed`: the encrypted rest, as `sealing` writes it.
    `expires_at` is set while PENDING (end of the intent). `source` says how it came: `upload` and `import` (checked before anything was
    written), `presigned` and `multipart` (checked before the commit), `event` and `reconciliation` (found in the bucket), `ended` (an
    intent on its way out). `output` is its number among the images of its generation job, from 0. `counted_as` is what the ledger counts
    it as, written and read by the ledger alone; None for one of before there were such counts.
    """

    key: str
    object_id: str
    project_id: str
    epoch: int
    state: State
    size: int
    created_at: int
    updated_at: int
    version: int = 1
    layout: str = "current"
    etag: str | None = None
    sha256: str | None = None
    content_type: str | None = None
    cache_control: str | None = None
    file_name: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    generation_id: str | None = None
    source: str = "upload"
    expires_at: int | None = None
    sealed: str | None = None
    output: int | None = None
    original_url: str | None = None
    width: int | None = None
    height: int | None = None
    counted_as: str | None = field(default=None, compare=False, repr=False)


class LedgerEntry(NamedTuple):
    """What a scan of the ledger reads of a record: enough to compare, no more. A tuple, as the listed object it is compared with.

    `counted_as` is read only to remove it.
    """

    key: str
    project_id: str
    state: State
    size: int
    etag: str | None
    updated_at: int
    version: int
    counted_as: str | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Objects and bytes."""

    objects: int = 0
    bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.objects + other.objects, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class KeyFailure:
    """Why one key, or one version of it, could not be deleted: the store's code and message."""

    key: str
    code: str
    message: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """What a batch delete did: the keys now gone, and those refused with the reason."""

    deleted: tuple[str, ...]
    errors: tuple[KeyFailure, ...]


@dataclass(frozen=True, slots=True)
class SessionPlace:
    """A place in the session layout: `images/{session}/{persona}/...`, or without the session."""

    persona: str
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """What a caller says of an object beside its bytes. `metadata` keeps its JSON types; `sensitive` names what of it is sealed."""

    file_name: str | None = None
    cache_control: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sensitive: tuple[str, ...] = ()
    session_place: SessionPlace | None = None
    generation_id: str | None = None
    output: int | None = None


@dataclass(frozen=True, slots=True)
class NewObject:
    """What a caller sends."""

    body: bytes = field(repr=False)
    declared_type: str | None = None
    details: Details = field(default_factory=Details)


@dataclass(frozen=True, slots=True)
class Announced:
    """An object that is to come. One PUT with its `sha256`; or, with `part_bytes`, in parts of that size whose hashes come later."""

    content_type: str
    size: int
    sha256: str | None = None
    part_bytes: int | None = None
    details: Details = field(default_factory=Details)


@dataclass(frozen=True, slots=True)
class Reserved:
    """The identity of an object before it exists; the same in every retry of the request that makes it."""

    object_id: str
    at: int
    is_retry: bool = False
