"""What a project ever stored, found by two independent ways at once.

The ledger by project and a full listing of every prefix of every layout are merged into one stream of keys. What only one of them knows is
as important as what both know: an object without record is the debris deletions used to leave behind, a record without object is a row
pointing at nothing.

A key of the session layout lies under no prefix of its project, so that once its record is removed nothing shows it. Keys under which a URL
given out before may still write are therefore asked for again by name: whoever removed their records names them.

Keys under the project's prefixes that no layout explains, or that more than one existing project may own while no record says whose they
are, are *suspects*: reported, never deleted.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
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

    `source` is `both`, `listing` (no record), `ledger` (an object no prefix shows), `record` (a record without object), `named` (an object
    that only its name brought up) or `gone` (asked for by name, and nothing is there). `versions` holds all versions and delete markers of
    the key where the bucket keeps them. `announced` says that its record is or was an intent, so that a multipart upload may be open under
    it.
    """

    key: str
    layout: str
    source: str
    size: int
    entry: LedgerEntry | None
    versions: tuple[ObjectVersion, ...] = ()
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A key whose record was removed while a URL might still write under it; `announced` as in `Discovered`."""

    key: str
    announced: bool


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

    def walk(self, after: str = "", named: Iterable[Named] = ()) -> Iterator[Discovered]:
        """Yields every key of the project after `after`, in key order, each once.

        Args:
            named: keys to ask for by name where no prefix shows them, in key order, each once.
        """
        self.listed = dict.fromkeys(self.layouts.prefixes(self.project_id), 0)
        merged = heapq.merge(*(self._under(prefix, after) for prefix in self.listed), key=attrgetter("key"))
        # prefixes of configured layouts may overlap: a key counts once
        in_bucket = (next(group) for _, group in groupby(merged, key=attrgetter("key")))
        records = self.ledger.project_records(self.project_id, after=after)
        shown = (self._discovered(found, entry) for found, entry in merge_join(in_bucket, records))
        for discovered, name in merge_join(shown, (name for name in named if name.key > after and not self._is_listed(name.key))):
            if discovered is not None:
                yield discovered
            elif name is not None:
                yield self._by_name(name)

    def uploads(self) -> Iterator[MultipartUpload]:
        """Yields the open multipart uploads under the project's prefixes, which no listing of objects shows."""
        stem = project_stem(self.project_id)
        for prefix in self.layouts.prefixes(self.project_id):
            for upload in self.store.list_multipart_uploads(prefix.prefix):
                parsed = self.layouts.parse(upload.key)
                if parsed is not None and self.layouts.owner(parsed, self._exists) == stem:
                    yield upload

    def uploads_of(self, found: Discovered) -> Iterator[MultipartUpload]:
        """Yields the open multipart uploads under a key that no prefix shows."""
        if found.announced and not self._is_listed(found.key):
            # more keys may begin with this one, and no more than a beginning can be asked for
            yield from (upload for upload in self.store.list_multipart_uploads(found.key) if upload.key == found.key)

    def _discovered(self, found: _InBucket | None, entry: LedgerEntry | None) -> Discovered:
        if found is not None:
            source = "both" if entry else "listing"
        else:
            assert entry is not None  # merge_join yields a key that one side has
            # no prefix shows it, or the listing dropped it: the bucket decides, also of what is INLINE or EXTERNAL, since its migration may
            # have been killed after the put
            found = self._asked(entry.key)
            source = "ledger" if found else "record"
            found = found or _InBucket(entry.key, 0)
        announced = entry is not None and entry.state is State.PENDING
        return Discovered(found.key, self._layout(found.key), source, found.size, entry, found.versions, announced)

    def _by_name(self, name: Named) -> Discovered:
        found = self._asked(name.key)
        if found is None or self._is_anothers(name.key):
            return Discovered(name.key, self._layout(name.key), "gone", 0, None, announced=name.announced)
        return Discovered(name.key, self._layout(name.key), "named", found.size, None, found.versions, name.announced)

    def _asked(self, key: str) -> _InBucket | None:
        if not self.store.profile().versioning:
            stored = self.store.head(key)
            return _InBucket(key, stored.size) if stored else None
        # a delete would only hide it: all that lies under the key has to go
        versions = tuple(version for version in self.store.list_versions(key) if version.key == key)
        return _InBucket(key, sum(version.size for version in versions), versions) if versions else None

    def _is_listed(self, key: str) -> bool:
        return any(key.startswith(prefix.prefix) for prefix in self.layouts.prefixes(self.project_id))

    def _is_anothers(self, key: str) -> bool:
        """Says whether a key that our record has left, and no prefix of ours shows, is another project's by now, or always was."""
        record = self.ledger.record(key)
        if record is not None:
            return project_stem(record.project_id) != project_stem(self.project_id)
        parsed = self.layouts.parse(key)
        return parsed is not None and bool(parsed.candidates)

    def _layout(self, key: str) -> str:
        parsed = self.layouts.parse(key)
        return parsed.layout if parsed else "unknown"

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
