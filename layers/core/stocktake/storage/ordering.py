"""One stream in key order out of the pages of any listing.

The order is that of UTF-8 bytes, which is also Python's order of `str` (by code point). AWS and R2 list in it; stores that keep keys in
directories (SeaweedFS, S3 directory buckets) do not: `a/b` comes before `a-b` there, and StartAfter then drops keys.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stocktake.errors import ListingOutOfOrder
from stocktake.model import ListedObject
from stocktake.storage import Store

Pages = Iterable[Sequence[ListedObject]]

# 8 MB of pages in memory, the rest of the tree on disk.
_CACHE_KIB = 8 * 1024


def verified(pages: Pages) -> Iterator[ListedObject]:
    """Yields the rows of an ordered listing, one by one.

    Raises:
        ListingOutOfOrder: a key is not greater than the one before it; a repeated key is not.
    """
    previous = ""  # no key is empty, so every first key is greater
    for page in pages:
        for row in page:
            if row.key <= previous:
                raise ListingOutOfOrder(f"The store listed {row.key!r} after {previous!r}; its listing cannot be trusted to be complete.")
            previous = row.key
            yield row


def sorted_on_disk(pages: Pages, directory: str) -> Iterator[ListedObject]:
    """Yields the rows of any listing in key order, through a file of its own under `directory`, which it removes at the end.

    Memory stays bounded whatever the listing's length; the disk holds about 100 bytes and twice the key a row. A key listed twice is
    yielded once, as it was listed last: the store moved on between two pages, and the later page is nearer to now.
    """
    descriptor, path = tempfile.mkstemp(suffix=".sort", dir=directory)
    os.close(descriptor)
    rows = sqlite3.connect(path, isolation_level=None)
    try:
        # The file is thrown away whatever happens, so nothing is spent on surviving a crash.
        rows.execute("PRAGMA journal_mode = OFF")
        rows.execute("PRAGMA synchronous = OFF")
        rows.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # Blobs compare as bytes (sqlite.org/datatype3.html, section 4.1): the key's UTF-8 is its sort key.
        rows.execute("CREATE TABLE listed (key BLOB PRIMARY KEY, size INTEGER, etag TEXT, last_modified INTEGER) WITHOUT ROWID")
        for page in pages:
            rows.execute("BEGIN")
            rows.executemany(
                "INSERT OR REPLACE INTO listed VALUES (?, ?, ?, ?)",
                ((row.key.encode(), row.size, row.etag, row.last_modified) for row in page),
            )
            rows.execute("COMMIT")
        for key, size, etag, last_modified in rows.execute("SELECT key, size, etag, last_modified FROM listed ORDER BY key"):
            yield ListedObject(key.decode(), size, etag, last_modified)
    finally:
        rows.close()
        Path(path).unlink()


def stream(
    store: Store, prefix: str = "", *, after: str = "", until: str | None = None, directory: str | None = None
) -> Iterator[ListedObject]:
    """Yields the objects under `prefix` with `after` < key <= `until` in key order, whatever order the store lists in.

    A store that lists in order is read as it comes and verified on the way. Any other is listed whole from the start of the prefix,
    because its StartAfter drops keys, and sorted on disk: cut such a store into few ranges.

    Args:
        until: the last key of the range, itself included; None for no end. Ranges (a, b], (b, c] then share no key and miss none.
        directory: where the sort may write; the system's temporary directory when None.

    Raises:
        ListingOutOfOrder: the store listed in order when it was probed and does not now.
    """
    if store.profile().ordered_listing:
        for row in verified(store.list(prefix, after=after)):
            if until is not None and row.key > until:
                return
            yield row
        return
    in_range = ([row for row in page if row.key > after and (until is None or row.key <= until)] for page in store.list(prefix))
    yield from sorted_on_disk(in_range, directory or tempfile.gettempdir())
