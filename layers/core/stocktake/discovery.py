"""What a project ever stored, found by two independent ways at once.

The ledger by project and a full listing of every prefix of every layout are merged into one stream of keys. What only one of them knows is
as important as what both know: an object without record is the debris deletions used to leave behind, a record without object is a row
pointing at nothing.

A key of the session layout lies under no prefix of its project, so that once its record is removed nothing shows it. Keys under which a URL
given out before may still write are therefore asked for again by name: whoever removed their records names them.

Keys under the project's prefixes that no layout explains, or that more than one existing project may own, or that name none, while no
record says whose they are, are *suspects*: reported, never deleted.

One of the two ways alone can be asked for (`Ways`), where the other is not to be trusted: the ledger's keys are then asked for by name,
and the listing's records are read by key.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import batched, groupby
from operator import attrgetter
from typing import NamedTuple

from stocktake.comparison import merge_join
from stocktake.layouts import ParsedKey, Prefix, Registry, project_stem
from stocktake.ledger import Ledger
from stocktake.model import LedgerEntry, Record, State
from stocktake.storage import MultipartUpload, ObjectVersion, Store
from stocktake.storage.ordering import stream


class Ways(enum.Enum):
    """By which of the two ways to look."""

    BOTH = enum.auto()
    LEDGER = enum.auto()
    LISTING = enum.auto()


class Discovered(NamedTuple):
    """One key of a project, and how it was found. A tuple, since there are as many as keys.

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
class OpenUpload:
    """An open multipart upload, and why it is not provably the project's; None where it is."""

    upload: MultipartUpload
    doubt: str | None


def ours_of(uploads: Iterable[OpenUpload]) -> Iterator[MultipartUpload]:
    """Yields the uploads that are provably the project's."""
    return (each.upload for each in uploads if each.doubt is None)


def suspects_of(uploads: Iterable[OpenUpload], *, after: str = "", ours: str | None = None) -> list[Suspect]:
    """Returns the keys after `after` under which uploads are open that are not provably the project's, in key order, each once.

    Args:
        ours: says of those with one that is why they are named as well; None where they are not.
    """
    suspects: dict[str, Suspect] = {}
    for each in uploads:
        doubt = ours if each.doubt is None else each.doubt
        if doubt is not None and each.upload.key > after:
            suspects[each.upload.key] = Suspect(each.upload.key, 0, f"a multipart upload is open under it, and {doubt}")
    return [suspects[key] for key in sorted(suspects)]


class _InBucket(NamedTuple):
    key: str
    size: int
    versions: tuple[ObjectVersion, ...] = ()
    layout: str = "unknown"
    doubt: str | None = None  # why it is not provably the project's


@dataclass(frozen=True, slots=True)
class _Passed:
    """A neighbour's key under a prefix of ours, which stands for the many before it."""

    key: str


_NEIGHBOURS_AT_ONCE = 1000
"""Between two looks at the clock: a page of a listing."""
_RECORDS_AT_ONCE = 100
"""What one BatchGetItem takes."""


@dataclass(slots=True)
class Discovery:
    """One pass over everything a project may have stored.

    `listed`, the project's keys seen under each prefix, fills while `walk` is consumed.

    A flat prefix may hold very many keys of neighbours, of which `walk` yields none. Where `out_of_time` says so among them it ends before
    its end, and `stopped_at` is the key that it came to; None after a walk to the end.
    """

    store: Store
    ledger: Ledger
    layouts: Registry
    project_id: str
    ways: Ways = Ways.BOTH
    out_of_time: Callable[[], bool] | None = None
    stopped_at: str | None = None
    listed: dict[Prefix, int] = field(default_factory=dict)
    _known: dict[str, bool] = field(default_factory=dict)

    def walk(self, after: str = "", named: Iterable[Named] = ()) -> Iterator[Discovered | Suspect]:
        """Yields every key of the project after `after`, and every suspect, in key order, each once.

        Args:
            named: keys to ask for by name where no prefix shows them, in key order, each once.
        """
        self.listed = dict.fromkeys(self.layouts.prefixes(self.project_id), 0)
        shown = self._shown(after)
        for discovered, name in merge_join(shown, (name for name in named if name.key > after and not self._is_listed(name.key))):
            if isinstance(discovered, _Passed):
                if self.out_of_time is not None and self.out_of_time():
                    self.stopped_at = discovered.key
                    return
            elif discovered is not None:
                yield discovered
            elif name is not None:
                yield self._by_name(name)

    def those(self, walk: Iterable[Discovered | Suspect], wanted: Callable[[Discovered], bool]) -> Iterator[Discovered]:
        """Yields what is wanted of a walk. It may stop as `walk` does, since very many may come that are not."""
        for found in walk:
            if isinstance(found, Discovered) and wanted(found):
                yield found
            elif self.out_of_time is not None and self.out_of_time():
                self.stopped_at = found.key
                return

    def why_only(self, found: Discovered) -> str | None:
        """Says in words why only one of the two ways found a key; None where both did."""
        if found.source == "listing":
            return "no record names it: it came behind the ledger's back, or its record is lost"
        if found.source == "ledger":
            if self._is_listed(found.key):
                return "the listing of its prefix left it out: it came since, or the store drops keys from its listings"
            return "no prefix of the project shows it: its layout names no project, so that only its record does"
        if found.source == "record" and found.entry is not None:
            return _WITHOUT_OBJECT[found.entry.state]
        return None

    def uploads(self) -> Iterator[OpenUpload]:
        """Yields the open multipart uploads under the project's prefixes, which no listing of objects shows, but for a neighbour's."""
        for prefix in self.layouts.prefixes(self.project_id):
            for upload in self.store.list_multipart_uploads(prefix.prefix):
                owned, doubt = self._ownership(upload.key, self.layouts.parse(upload.key))
                if owned or doubt is not None:
                    yield OpenUpload(upload, doubt)

    def uploads_of(self, found: Discovered) -> Iterator[MultipartUpload]:
        """Yields the open multipart uploads under a key that no prefix shows."""
        if found.announced and not self._is_listed(found.key):
            # more keys may begin with this one, and no more than a beginning can be asked for
            yield from (upload for upload in self.store.list_multipart_uploads(found.key) if upload.key == found.key)

    def _shown(self, after: str) -> Iterator[Discovered | Suspect | _Passed]:
        if self.ways is Ways.LISTING:
            yield from self._with_records(self._in_bucket(after))
            return
        in_bucket = self._in_bucket(after) if self.ways is Ways.BOTH else ()
        for found, entry in merge_join(in_bucket, self.ledger.project_records(self.project_id, after=after)):
            if not isinstance(found, _Passed):
                yield self._discovered(found, entry)
            elif entry is not None:  # the key is a neighbour's and the record ours
                yield self._discovered(None, entry)
            else:
                yield found

    def _in_bucket(self, after: str) -> Iterator[_InBucket | _Passed]:
        merged = heapq.merge(*(self._under(prefix, after) for prefix in self.listed), key=attrgetter("key"))
        # prefixes of configured layouts may overlap: a key counts once
        return (next(group) for _, group in groupby(merged, key=attrgetter("key")))

    def _with_records(self, in_bucket: Iterable[_InBucket | _Passed]) -> Iterator[Discovered | Suspect | _Passed]:
        stem = project_stem(self.project_id)
        for some in batched(in_bucket, _RECORDS_AT_ONCE, strict=False):
            records = self.ledger.records([found.key for found in some if isinstance(found, _InBucket) and found.doubt is None])
            for found in some:
                if isinstance(found, _Passed):
                    yield found
                    continue
                record = records.get(found.key)
                entry = _entry(record) if record is not None and project_stem(record.project_id) == stem else None
                if found.doubt is not None:
                    yield Suspect(found.key, found.size, found.doubt)
                else:
                    announced = entry is not None and entry.state is State.PENDING
                    yield Discovered(found.key, found.layout, "listing", found.size, entry, found.versions, announced)

    def _discovered(self, found: _InBucket | None, entry: LedgerEntry | None) -> Discovered | Suspect:
        if found is not None and found.doubt is not None and entry is None:
            return Suspect(found.key, found.size, found.doubt)
        if found is not None:
            source = "listing" if entry is None else "ledger" if found.doubt else "both"  # where the key is in doubt the ledger decides
        else:
            assert entry is not None  # merge_join yields a key that one side has
            # no prefix shows it, or the listing dropped it: the bucket decides, also of what is INLINE or EXTERNAL, since its migration may
            # have been killed after the put
            found = self._asked(entry.key)
            source = "ledger" if found else "record"
            found = found or _InBucket(entry.key, 0, layout=self._layout(entry.key))
        announced = entry is not None and entry.state is State.PENDING
        return Discovered(found.key, found.layout, source, found.size, entry, found.versions, announced)

    def _by_name(self, name: Named) -> Discovered:
        found = self._asked(name.key)
        if found is None or self._is_anothers(name.key):
            return Discovered(name.key, self._layout(name.key), "gone", 0, None, announced=name.announced)
        return Discovered(name.key, found.layout, "named", found.size, None, found.versions, name.announced)

    def _asked(self, key: str) -> _InBucket | None:
        if not self.store.profile().versioning:
            stored = self.store.head(key)
            return _InBucket(key, stored.size, layout=self._layout(key)) if stored else None
        # a delete would only hide it: all that lies under the key has to go
        versions = tuple(version for version in self.store.list_versions(key) if version.key == key)
        return _InBucket(key, sum(version.size for version in versions), versions, self._layout(key)) if versions else None

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
        return self.layouts.name_of(key) or "unknown"

    def _under(self, prefix: Prefix, after: str) -> Iterator[_InBucket | _Passed]:
        neighbours = 0
        for key, size, versions in self._objects(prefix.prefix, after):
            parsed = self.layouts.parse(key)
            owned, doubt = self._ownership(key, parsed)
            if owned or doubt is not None:
                self.listed[prefix] += owned
                yield _InBucket(key, size, versions, parsed.layout if parsed else "unknown", doubt)
            else:
                neighbours += 1
                if neighbours % _NEIGHBOURS_AT_ONCE == 0:
                    yield _Passed(key)

    def _objects(self, prefix: str, after: str) -> Iterator[tuple[str, int, tuple[ObjectVersion, ...]]]:
        if not self.store.profile().versioning:
            yield from ((listed.key, listed.size, ()) for listed in stream(self.store, prefix, after=after))
            return
        # a listing of versions shows current objects too, and those that only a delete marker hides
        versions = (version for version in self.store.list_versions(prefix) if version.key > after)
        for key, group in groupby(versions, key=attrgetter("key")):
            all_of_key = tuple(group)
            yield key, sum(version.size for version in all_of_key), all_of_key

    def _ownership(self, key: str, parsed: ParsedKey | None) -> tuple[bool, str | None]:
        """Says whether a key under one of our prefixes is the project's; and where that is in doubt, why."""
        stem = project_stem(self.project_id)
        if parsed is None:
            return False, "it lies under a prefix of the project, but no layout explains it"
        if not parsed.candidates:
            # a session key of a persona that is named as this project is spelled
            record = self.ledger.record(key)
            if record is None:
                return False, "it lies under a prefix of the project, and its layout does not say whose it is"
            return project_stem(record.project_id) == stem, None
        owner = self.layouts.owner(parsed, self._exists)
        if owner is None and stem in parsed.candidates:
            record = self.ledger.record(key)
            if record is not None:
                return project_stem(record.project_id) == stem, None  # the key does not say whose it is, and the ledger does
            return False, f"it may belong to more than one existing project of {', '.join(parsed.candidates)}"
        if owner is not None and owner != stem and not self._exists(owner):
            return False, f"it names a project {owner!r} that does not exist"
        return owner == stem, None

    def _exists(self, stem: str) -> bool:
        if stem not in self._known:
            self._known[stem] = self.ledger.has_project(stem)
        return self._known[stem]


_WITHOUT_OBJECT = {
    State.PENDING: "it was announced, and its bytes have not come",
    State.STORED: "the record says stored and the bucket has nothing: it was deleted behind the ledger's back",
    State.INLINE: "its bytes lie in the ledger and not in the bucket",
    State.EXTERNAL: "its bytes lie at a foreign URL and not in the bucket",
    State.MISSING: "it was missed before: the bucket was asked and had nothing",
    State.QUARANTINED: "it was set aside: its bytes lie under a key of the quarantine",
}


def _entry(record: Record) -> LedgerEntry:
    """Returns what a scan of the ledger would say of a record."""
    return LedgerEntry(
        record.key, record.project_id, record.state, record.size, record.etag, record.updated_at, record.version, record.counted_as
    )
