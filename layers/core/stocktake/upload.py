"""Upload: check, announce, store, confirm, commit; alone, in batches, or from a URL.

The bytes are checked before anything is written, so nothing is written for what is refused; from there `intents` keeps the order. A put
that the store refused withdraws its intent once the bucket says that nothing arrived. A put whose end is not known leaves it: the object
may still come. A retry with the same identity finds its intent, or its success.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from stocktake import checks
from stocktake.errors import (
    BucketNotFound,
    InvalidRequest,
    ObjectNotFound,
    StocktakeError,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from stocktake.generations import Generations
from stocktake.identity import Identity
from stocktake.importing import Fetcher
from stocktake.intents import Intents
from stocktake.layouts import check_project_id
from stocktake.ledger import Ledger
from stocktake.model import Details, NewObject, Project, Quota, Record, Reserved, State, StoredObject
from stocktake.storage import Store
from stocktake.storage.rules import INTENT

MAX_METADATA = 100_000
DIRECT_LIFE_MS = 60_000
"""Of an intent whose bytes are sent by the function that wrote it: over the 29 s that has."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes one body may carry, and from where on the caller is warned; items of a batch, and how many of them at once.

    `inline_bytes` is None while storage is on; while it is off, the most bytes of an object, which is kept in the ledger.
    """

    max_bytes: int = 4_500_000
    warn_bytes: int = 10_000_000
    batch_items: int = 20
    batch_workers: int = 5
    inline_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A stored object's record, and what the caller should know besides."""

    record: Record
    warnings: tuple[str, ...] = ()


class Uploads:
    """The upload flow over one bucket and one ledger.

    Args:
        identity: marks the bucket as this ledger's before anything is recorded.
        fetcher: reads URLs, as far as the deployment allows any.
        default_quota: of projects that are opened without one.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        intents: Intents,
        generations: Generations,
        *,
        identity: Identity,
        fetcher: Fetcher,
        rules: checks.Rules,
        limits: Limits,
        default_quota: Quota | None,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._intents = intents
        self._generations = generations
        self._identity = identity
        self._fetcher = fetcher
        self._rules = rules
        self._limits = limits
        self._default_quota = default_quota
        self._now = now

    def create_project(self, project_id: str, metadata: Mapping[str, Any], quota: Quota | None = None) -> Project:
        """Opens a project, or opens a deleted one anew under its next epoch.

        Raises:
            InvalidKey: the id cannot be part of a key.
            TooLarge: the metadata is longer than MAX_METADATA.
            ProjectExists: it is open, or still being deleted, under any historical spelling.
        """
        check_project_id(project_id)
        if len(json.dumps(metadata)) > MAX_METADATA:
            raise TooLarge(f"the metadata of a project may have {MAX_METADATA} characters as JSON: keep what is longer elsewhere")
        if self._limits.inline_bytes is None:
            self._identity.ensure()
        return self._ledger.create_project(project_id, metadata, self._now(), quota=quota or self._default_quota)

    def set_quota(self, project_id: str, quota: Quota) -> Project:
        """Replaces a project's quota; what it holds already stays. Raises ProjectNotFound, ProjectClosed."""
        project = self._ledger.set_quota(project_id, quota)
        self._intents.forget(project_id)
        return project

    def put(self, project_id: str, new: NewObject, reserved: Reserved) -> Uploaded:
        """Stores one object and records it.

        Raises:
            InvalidRequest, TooLarge, UnsupportedType: the bytes are refused; nothing was written.
            ProjectNotFound, ProjectClosed, QuotaExceeded, OutputExists: the project takes it not; what was written is gone again.
            StorageError: the bucket did not take or confirm the bytes.
        """
        if len(new.body) > self._limits.max_bytes:
            raise TooLarge(
                f"the body has {len(new.body)} bytes and {self._limits.max_bytes} are the most that fit into a request: "
                f"send it straight to the bucket by POST /projects/{project_id}/uploads"
            )
        return self._put(project_id, new, reserved, max_bytes=self._limits.max_bytes, source="upload")

    def put_many(
        self,
        project_id: str,
        items: Sequence[NewObject | StocktakeError],
        reserve: Callable[[int], Reserved],
        *,
        out_of_time: Callable[[], bool],
    ) -> list[Uploaded | Exception]:
        """Stores several objects, some at once, and returns for each, in order, what came of it.

        Args:
            items: what to store; an item that could not be read is its error, and is returned as that.
            reserve: gives the identity of an item by its number.

        Raises:
            InvalidRequest: there are more items than a batch takes.
        """
        if not 1 <= len(items) <= self._limits.batch_items:
            raise InvalidRequest(f"a batch has 1 to {self._limits.batch_items} objects and this one {len(items)}: send several batches")

        def put(number: int, item: NewObject | StocktakeError) -> Uploaded | Exception:
            if isinstance(item, StocktakeError):
                return item
            if out_of_time():
                return StorageUnavailable("the batch ran out of time before this object was begun: send it again")
            try:
                return self.put(project_id, item, reserve(number))
            except Exception as error:  # one item's trouble, foreseen or not, must not lose what the others did
                return error

        with ThreadPoolExecutor(self._limits.batch_workers) as pool:
            return list(pool.map(put, range(len(items)), items))

    def import_url(self, project_id: str, url: str, details: Details, reserved: Reserved) -> Uploaded:
        """Fetches an object from a URL, stores it and records it with where it came from.

        Raises:
            ImportDisabled, ImportRefused, TooLarge: the URL is not fetched, or did not give an object.
            What `put` raises.
        """
        self._intents.open_project(project_id)
        if reserved.is_retry:
            with contextlib.suppress(ObjectNotFound):
                stored = self._ledger.by_object_id(reserved.object_id)
                if stored.state in (State.STORED, State.INLINE):
                    return self._uploaded(stored)  # by the attempt before this one; the URL may be dead by now, or give something else
        fetched = self._fetcher.fetch(url)
        new = NewObject(fetched.body, fetched.content_type, details)
        return self._put(project_id, new, reserved, max_bytes=len(fetched.body), source="import", original_url=url)

    def _put(
        self, project_id: str, new: NewObject, reserved: Reserved, *, max_bytes: int, source: str, original_url: str | None = None
    ) -> Uploaded:
        inline_bytes = self._limits.inline_bytes
        if inline_bytes is not None and len(new.body) > inline_bytes:
            raise TooLarge(
                f"the object has {len(new.body)} bytes and {inline_bytes} are the most while storage is switched off (MaxInlineBytes): "
                "send a smaller one, or switch EnableStorage on"
            )
        inspected = checks.inspect(new.body, new.declared_type, max_bytes=max_bytes, rules=self._rules)
        sha256 = hashlib.sha256(new.body).hexdigest()
        reserved = self._generations.reserve(project_id, new.details, reserved, inspected.extension, fingerprint=sha256)
        intent = self._intents.announce(
            project_id,
            reserved,
            inspected,
            new.details,
            size=len(new.body),
            sha256=sha256,
            source=source,
            lives_ms=DIRECT_LIFE_MS,
            original_url=original_url,
        )
        if intent.state is not State.PENDING:
            return self._uploaded(intent)  # by the attempt before this one
        if inline_bytes is not None:
            return self._uploaded(self._intents.keep_inline(intent, new.body))
        return self._uploaded(self._intents.commit(intent, self._store_bytes(intent, new.body)))

    def _uploaded(self, record: Record) -> Uploaded:
        return Uploaded(record, checks.size_warnings(record.size, self._limits.warn_bytes))

    def _store_bytes(self, intent: Record, body: bytes) -> StoredObject:
        assert intent.sha256 is not None
        try:
            return self._store.put(
                intent.key,
                body,
                sha256=intent.sha256,
                metadata={INTENT: intent.object_id, "sha256": intent.sha256},
                only_if_absent=True,
                **self._intents.headers_of(intent),
            )
        except (StorageDenied, BucketNotFound):
            # withdrawn only where the bucket says that nothing arrived: a put can be taken and its confirmation denied
            with contextlib.suppress(StorageError):
                if self._store.head(intent.key) is None:
                    self._intents.withdraw(intent)
            raise
