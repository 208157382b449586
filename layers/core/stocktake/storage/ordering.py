"""One stream in key order out of the pages of any listing.

The order is that of UTF-8 bytes, which is also Python's order of `str` (by code point). AWS and R2 list in it; stores that keep keys in
directories (SeaweedFS, S3 directory buckets) do not: `a/b` comes before `a-b` there, and StartAfter then drops keys.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter, lt
from pathlib import Path

from stocktake.errors import ListingOutOfOrder, ListingTooLarge
from stocktake.model import ListedObject
from stocktake.storage import Store

Pages = Iterable[Sequence[ListedObject]]

RESERVE_BYTES = 16 * 1024**2
"""What the sort leaves free of the disk it works on, for whatever else writes there."""

# 8 MB of pages in memory, the rest of the tree on disk.
_CACHE_KIB = 8 * 1024
_PAGE_BYTES = 4096


def verified(pages: Pages) -> Iterator[ListedObject]:
    """Yields the rows of an ordered listing, one by one.

    Raises:
        ListingOutOfOrder: a key is not greater than the one before it; a repeated key is not.
    """
    return chain.from_iterable(_verified(pages, ""))


def _verified(pages: Pages, after: str) -> Iterator[Sequence[ListedObject]]:
    """Yields the pages of an ordered listing that have rows; nothing of a page that breaks the order, or begins before it was asked to."""
    previous = after  # no key is empty, so every first key is greater than none
    for page in pages:
        keys = list(map(attrgetter("key"), page))
        if not all(map(lt, [previous, *keys], keys)):  # the last key has none after it to be held against
            for key in keys:
                if key <= previous:
                    raise ListingOutOfOrder(f"The store listed {key!r} after {previous!r}; its listing cannot be trusted to be complete.")
                previous = key
        if page:
            previous = keys[-1]
            yield page


def sorted_on_disk(pages: Pages, directory: str, *, reserve_bytes: int = RESERVE_BYTES) -> Iterator[ListedObject]:
    """Yields the rows of any listing in key order, through a file of its own under `directory`, which it removes at the end.

    A key listed twice is yielded once, as it was listed last: the store moved on between two pages, and the later page is nearer to now.

    Memory stays the same whatever the listing's length. The disk holds 55 bytes and the key a row where the listing is nearly in order, as
    that of a store with directories is, and up to 1.5 times that where it is not in any: with keys of 55 bytes at least 6 million rows a
    GB, and 9 million as a rule.

    Raises:
        ListingTooLarge: the rows would take more of the disk than is free, less `reserve_bytes`; the file is removed.
    """
    room = shutil.disk_usage(directory).free - reserve_bytes
    descriptor, path = tempfile.mkstemp(suffix=".sort", dir=directory)
    os.close(descriptor)
    rows = sqlite3.connect(path, isolation_level=None)
    try:
        # The file is thrown away whatever happens, so nothing is spent on surviving a crash.
        rows.execute("PRAGMA journal_mode = OFF")
        rows.execute("PRAGMA synchronous = OFF")
        rows.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        rows.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        rows.execute(f"PRAGMA max_page_count = {max(room // _PAGE_BYTES, 1)}")
        # Text is kept as UTF-8 and compared by its bytes (sqlite.org/datatype3.html, section 7: BINARY, "using memcmp()").
        rows.execute("CREATE TABLE listed (key TEXT PRIMARY KEY, size INTEGER, etag TEXT, last_modified INTEGER) WITHOUT ROWID")
        for page in pages:
            rows.execute("BEGIN")
            rows.executemany("INSERT OR REPLACE INTO listed VALUES (?, ?, ?, ?)", page)
            rows.execute("COMMIT")
        yield from map(ListedObject._make, rows.execute("SELECT key, size, etag, last_modified FROM listed ORDER BY key"))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise ListingTooLarge(
            f"The listing is out of order, and sorting it takes more than the {max(room, 0) // 1024**2} MB that are free in {directory}: "
            "give the function more ephemeral storage (SortDiskMegabytes)."
        ) from error
    finally:
        rows.close()
        Path(path).unlink()


def stream(
    store: Store,
    prefix: str = "",
    *,
    after: str = "",
    until: str | None = None,
    directory: str | None = None,
    trust_order: bool = True,
) -> Iterator[ListedObject]:
    """Yields the objects under `prefix` with `after` < key <= `until` in key order, whatever order the store lists in.

    A store that lists in order is read as it comes and verified on the way. Any other is listed whole from the start of the prefix,
    because its StartAfter drops keys, and sorted on disk: cut such a store into few ranges.

    Args:
        until: the last key of the range, itself included; None for no end. Ranges (a, b], (b, c] then share no key and miss none.
        directory: where the sort may write; the system's temporary directory when None.
        trust_order: False to sort whatever the profile says.

    Raises:
        ListingOutOfOrder: the store listed in order when it was probed and does not now. The store takes note of it, so that whoever
            begins anew gets the sort; what was yielded before may lack keys.
        ListingTooLarge: the disk cannot hold the sort.
    """
    if trust_order and store.profile().ordered_listing:
        try:
            for page in _verified(store.list(prefix, after=after), after):
                if until is not None and page[-1].key > until:
                    yield from page[: bisect_right(page, until, key=attrgetter("key"))]
                    return
                yield from page
        except ListingOutOfOrder:
            store.distrust_order()
            raise
        return
    in_range = ([row for row in page if row.key > after and (until is None or row.key <= until)] for page in store.list(prefix))
    yield from sorted_on_disk(in_range, directory or tempfile.gettempdir())
