"""What a project ever stored, found by two independent ways at once.

The ledger by project and a full listing of every prefix of every layout are merged into one stream of keys. What only one of them knows is
as important as what both know: an object without record is the debris deletions used to leave behind, a record without object is a row
pointing at nothing.

Keys under the project's prefixes that no layout explains, or that more than one existing project may own while no record says whose they
are, are *suspects*: reported, never deleted.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from stocktake.comparison import merge_join
from stocktake.layouts import Prefix, Registry, project_stem
from stocktake.ledger import Ledger
from stocktake.model import LedgerEntry, State
from stocktake.storage import MultipartUpload, ObjectVersion, Store
from stocktake.storage.ordering import stream


@dataclass(frozen=True, slots=True)
class Discovered:
    """One key of a project, and how it was found.

    `source` is `both`, `listing` (no record), `ledger` (an object no prefix shows) or `record` (a record without object). `versions` holds
    all versions and delete markers of the key where the bucket keeps them.
    """

    key: str
    layout: str
    source: str
    size: int
    entry: LedgerEntry | None
    versions: tuple[ObjectVersion, ...] = ()


@dataclass(frozen=True, slots=True)
class Suspect:
    """A key that looks like the project's and is not provably so."""

    key: str
    size: int
    why: str


@dataclass(frozen=True, slots=True)
class _InBucket:
    key: str
    size: int
    versions: tuple[ObjectVersion, ...] = ()


@dataclass(slots=True)
class Discovery:
    """One pass over everything a project may have stored.

    `suspects`, and `listed` (the project's keys seen under each prefix), fill while `walk` is consumed.
    """

    store: Store
    ledger: Ledger
    layouts: Registry
    project_id: str
    suspects: list[Suspect] = field(default_factory=list)
    listed: dict[Prefix, int] = field(default_factory=dict)
    _known: dict[str, bool] = field(default_factory=dict)

    def walk(self, after: str = "") -> Iterator[Discovered]:
        """Yields every key of the project after `after`, in key order, each once."""
        self.listed = dict.fromkeys(self.layouts.prefixes(self.project_id), 0)
        merged = heapq.merge(*(self._under(prefix, after) for prefix in self.listed), key=attrgetter("key"))
        # prefixes of configured layouts may overlap: a key counts once
        in_bucket = (next(group) for _, group in groupby(merged, key=attrgetter("key")))
        for found, entry in merge_join(in_bucket, self.ledger.project_records(self.project_id, after=after)):
            yield self._discovered(found, entry)

    def uploads(self) -> Iterator[MultipartUpload]:
        """Yields the project's open multipart uploads, which no listing of objects shows."""
        stem = project_stem(self.project_id)
        for prefix in self.layouts.prefixes(self.project_id):
            for upload in self.store.list_multipart_uploads(prefix.prefix):
                parsed = self.layouts.parse(upload.key)
                if parsed is not None and self.layouts.owner(parsed, self._exists) == stem:
                    yield upload

    def _discovered(self, found: _InBucket | None, entry: LedgerEntry | None) -> Discovered:
        if found is not None:
            source = "both" if entry else "listing"
        else:
            assert entry is not None  # merge_join yields a key that one side has
            # no prefix shows it, or the listing dropped it: the bucket decides
            stored = self.store.head(entry.key) if entry.state not in (State.INLINE, State.EXTERNAL) else None
            source = "ledger" if stored else "record"
            found = _InBucket(entry.key, stored.size if stored else 0)
            if self.store.profile().versioning:
                # a delete would only hide it: what no prefix shows is asked for by its key
                versions = tuple(version for version in self.store.list_versions(entry.key) if version.key == entry.key)
                found = _InBucket(entry.key, sum(version.size for version in versions), versions)
                source = "ledger" if versions else "record"
        parsed = self.layouts.parse(found.key)
        return Discovered(found.key, parsed.layout if parsed else "unknown", source, found.size, entry, found.versions)

    def _under(self, prefix: Prefix, after: str) -> Iterator[_InBucket]:
        for found in self._objects(prefix.prefix, after):
            if self._owns(found):
                self.listed[prefix] += 1
                yield found

    def _objects(self, prefix: str, after: str) -> Iterator[_InBucket]:
        if not self.store.profile().versioning:
            yield from (_InBucket(listed.key, listed.size) for listed in stream(self.store, prefix, after=after))
            return
        # a listing of versions shows current objects too, and those that only a delete marker hides
        versions = (version for version in self.store.list_versions(prefix) if version.key > after)
        for key, group in groupby(versions, key=attrgetter("key")):
            all_of_key = tuple(group)
            yield _InBucket(key, sum(version.size for version in all_of_key), all_of_key)

    def _owns(self, found: _InBucket) -> bool:
        stem = project_stem(self.project_id)
        parsed = self.layouts.parse(found.key)
        if parsed is None:
            self.suspects.append(Suspect(found.key, found.size, "it lies under a prefix of the project, but no layout explains it"))
            return False
        owner = self.layouts.owner(parsed, self._exists)
        if owner is None and stem in parsed.candidates:
            record = self.ledger.record(found.key)
            if record is not None:
                return project_stem(record.project_id) == stem  # the key does not say whose it is, and the ledger does
            rivals = ", ".join(parsed.candidates)
            self.suspects.append(Suspect(found.key, found.size, f"it may belong to more than one existing project of {rivals}"))
        return owner == stem

    def _exists(self, stem: str) -> bool:
        if stem not in self._known:
            self._known[stem] = self.ledger.has_project(stem)
        return self._known[stem]
