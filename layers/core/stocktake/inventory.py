"""S3 Inventory in place of a listing: its files are checked, sorted once into pages of our own, and walked as a listing is.

```
manifest ─▶ each file: size, MD5, rows ─▶ sorted on disk ─▶ pages and an index in the operations bucket ─▶ any range, merged
```

An inventory is a manifest and the files that it names, in CSV or Parquet (`inventory_rows.py`); no order is promised. What it says is of
the moment S3 began to scan the bucket, `created_at`: what changed since may be in it or not.

Sources: "Cataloging and analyzing your data with S3 Inventory" and "Locating your inventory list", Amazon S3 User Guide
(docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory.html and storage-inventory-location.html).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import tempfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched, groupby
from operator import attrgetter
from typing import Any, override

from stocktake.errors import InventoryUnusable, StorageDenied
from stocktake.identity import IDENTITY_KEY
from stocktake.inventory_rows import FORMATS, NEEDED, Row, columns_of, csv_rows, parquet_rows
from stocktake.merging import merged
from stocktake.model import ListedObject
from stocktake.storage import Store
from stocktake.storage.ordering import RESERVE_BYTES, sorted_on_disk

MAX_AGE_DAYS = 14
"""A weekly inventory may be two days on its way; the older one is, the more of what it says is young or looked up in vain."""
MAX_FILES = 256
"""A worker holds one page of each: some 2 MB."""
MAX_MANIFEST_BYTES = 8 * 1024**2
PREFIX = "inventories/"
"""Where the operations bucket may hold an inventory that was copied there."""
PAGES = f"{PREFIX}sorted/"

_DAY_MS = 86_400_000
_CLOCKS_MS = 300_000
"""How far two clocks may differ."""
_PAGE_ROWS = 5000
_READ_BYTES = 8 * 1024**2
_LOCATION = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+/manifest\.json)")
_MD5 = re.compile(r"[0-9a-f]{32}")
_KEY = attrgetter("key")


@dataclass(frozen=True, slots=True)
class InventoryFile:
    """A file of an inventory, as its manifest tells of it; `md5` is hex."""

    key: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says. `columns` are those of its files; `created_at` is when S3 began to scan the bucket."""

    location: str
    created_at: int
    format: str
    columns: tuple[str, ...]
    files: tuple[InventoryFile, ...]


class Inventories:
    """Reads inventories of one bucket.

    Args:
        source: the bucket that is compared.
        buckets: where inventories may lie, by name.
        pages: the operations bucket, for the sorted pages.
    """

    def __init__(self, source: str, buckets: Mapping[str, Store], pages: Store, *, now: Callable[[], int]) -> None:
        self._source = source
        self._buckets = buckets
        self._pages = pages
        self._now = now

    def manifest(self, location: str) -> Manifest:
        """Reads a manifest and holds it against its checksum, the bucket that is compared, and the calendar.

        Args:
            location: `s3://BUCKET/.../manifest.json`.

        Raises:
            InventoryUnusable: it is not there, is damaged, is of another bucket or too old, or its files cannot be read here.
        """
        store, key = self._place(location)
        try:
            found = store.head(key)
            if found is None or found.size > MAX_MANIFEST_BYTES:
                raise InventoryUnusable(f"there is no manifest at {location}: name the manifest.json of one inventory")
            body, checksum = _bytes(store, key), _bytes(store, f"{key.removesuffix('json')}checksum")
        except StorageDenied as error:  # also what is not there, for who may not list
            raise InventoryUnusable(f"there is no manifest at {location} that Stocktake may read, with its checksum ({error})") from error
        if hashlib.md5(body, usedforsecurity=False).hexdigest() != checksum.decode("ascii", "replace").strip().lower():
            raise InventoryUnusable(f"the manifest at {location} is not what the manifest.checksum beside it says: copy both again")
        try:
            return self._checked(location, json.loads(body))
        except (LookupError, TypeError, ValueError) as error:
            raise InventoryUnusable(f"the manifest at {location} is none of S3 Inventory ({error!r})") from error

    def _checked(self, location: str, told: Mapping[str, Any]) -> Manifest:
        file_format, columns = told["fileFormat"], columns_of(told["fileFormat"], told["fileSchema"])
        files = tuple(InventoryFile(str(file["key"]), int(file["size"]), str(file["MD5checksum"]).lower()) for file in told["files"])
        created_at = int(told["creationTimestamp"])
        age_ms = self._now() - created_at
        if told["sourceBucket"] != self._source:
            raise InventoryUnusable(f"the inventory is of the bucket {told['sourceBucket']!r}, and {self._source!r} is compared")
        if file_format not in FORMATS:
            raise InventoryUnusable(f"the inventory is in {file_format}, which is not read: configure it with the format CSV or Parquet")
        if absent := [name for name in NEEDED if name not in columns]:
            raise InventoryUnusable(
                f"the inventory lacks {' and '.join(absent)}: add size, last modified date and ETag to its configuration"
            )
        if not -_CLOCKS_MS <= age_ms <= MAX_AGE_DAYS * _DAY_MS:
            raise InventoryUnusable(f"the inventory is {age_ms // _DAY_MS} days old, and at most {MAX_AGE_DAYS} may be: take a newer one")
        if not 0 < len(files) <= MAX_FILES:
            raise InventoryUnusable(f"the inventory has {len(files)} files, and 1 to {MAX_FILES} are read: compare by a listing")
        if not all(_MD5.fullmatch(file.md5) and file.size > 0 for file in files):
            raise ValueError("a file without its size or MD5")
        return Manifest(location, created_at, file_format, columns, files)

    def sort(self, run_id: str, manifest: Manifest, number: int) -> None:
        """Writes what one file says is in the bucket into pages in key order; again, it writes the same.

        Raises:
            InventoryUnusable: the file is not there, or not what the manifest says; nothing was written.
            ListingTooLarge: the disk cannot hold the sort.
        """
        firsts, file = [], manifest.files[number]
        copied = file.size if manifest.format == "Parquet" else 0
        rows = sorted_on_disk(self._rows(manifest, file), tempfile.gettempdir(), reserve_bytes=RESERVE_BYTES + copied)
        for place, page in enumerate(batched(rows, _PAGE_ROWS, strict=False)):
            firsts.append(page[0].key)
            self._write(_page(run_id, number, place), list(zip(*page, strict=True)))
        self._write(_index(run_id, number), firsts)

    def listed(self, run_id: str, files: int, *, after: str, until: str | None) -> Iterator[ListedObject]:
        """Yields the objects with after < key <= until of all files in key order, each key once: of two files, as it was changed last.

        Raises InventoryUnusable: a page is no more there, since they are kept for some days only.
        """
        rows = merged(self._sorted(run_id, number, after, until) for number in range(files))
        return (max(same, key=attrgetter("last_modified")) for _, same in groupby(rows, key=_KEY))

    def check_whole(self, run_id: str, files: int) -> None:
        """Makes sure that the inventory has the object that marks every bucket of ours: one of a part of the bucket lacks it.

        Raises InventoryUnusable: it has not.
        """
        if not any(row.key == IDENTITY_KEY for row in self.listed(run_id, files, after=IDENTITY_KEY[:-1], until=IDENTITY_KEY)):
            raise InventoryUnusable(
                f"the inventory lacks {IDENTITY_KEY}, which this bucket has: it is of a part of the bucket, or of before Stocktake came to "
                "it. Configure it without a prefix, and take one of since"
            )

    def _sorted(self, run_id: str, number: int, after: str, until: str | None) -> Iterator[Sequence[ListedObject]]:
        firsts = self._read(_index(run_id, number))
        for place in range(max(bisect_right(firsts, after) - 1, 0), len(firsts)):
            if until is not None and firsts[place] > until:
                return
            page = list(map(ListedObject, *self._read(_page(run_id, number, place))))
            end = len(page) if until is None else bisect_right(page, until, key=_KEY)
            yield page[bisect_right(page, after, key=_KEY) : end]

    def _rows(self, manifest: Manifest, file: InventoryFile) -> Iterator[Sequence[ListedObject]]:
        """Reads a file's current objects: of a versioned bucket no older version, and no delete marker."""
        reading = _Reading(self._place(manifest.location)[0], file)
        try:
            if manifest.format == "CSV":
                yield from map(self._current, csv_rows(io.BufferedReader(reading, _READ_BYTES), manifest.columns))
            else:  # its index is at the end, so it is read from a copy; that has no name, and goes with whoever is killed
                with tempfile.TemporaryFile() as copy:
                    shutil.copyfileobj(reading, copy, _READ_BYTES)
                    reading.check()
                    yield from map(self._current, parquet_rows(copy, manifest.columns))
        except (StorageDenied, OSError, EOFError, zlib.error, csv.Error, LookupError, ValueError, OverflowError) as error:
            raise InventoryUnusable(f"the inventory's file {file.key} cannot be read ({error}): take another inventory") from error
        reading.check()

    def _current(self, rows: Sequence[Row]) -> list[ListedObject]:
        """Returns the objects that these rows say are there now. Raises ValueError where a row is none of this bucket's."""
        current = []
        for bucket, key, size, changed, etag, latest, marker in rows:
            if bucket != self._source or latest is None or marker is None:
                raise ValueError(f"a row of the bucket {bucket!r} whose flags are {latest} and {marker}")
            if latest and not marker:
                if not key or size is None or size < 0 or changed is None:
                    raise ValueError(f"a row of the key {key!r} with the size {size}, changed at {changed}")
                current.append(ListedObject(key, size, (etag or "").strip('"'), changed))
        return current

    def _place(self, location: str) -> tuple[Store, str]:
        named = _LOCATION.fullmatch(location)
        if named is None:
            raise InventoryUnusable(f"{location[:200]!r} names no manifest: write s3://BUCKET/.../manifest.json")
        bucket, key = named["bucket"], named["key"]
        if bucket not in self._buckets or (bucket == self._pages.bucket and not key.startswith(PREFIX)):
            raise InventoryUnusable(
                f"inventories are not read from {bucket}: InventoryBucketName names their bucket, or copy one to "
                f"s3://{self._pages.bucket}/{PREFIX}"
            )
        return self._buckets[bucket], key

    def _write(self, key: str, told: Sequence[Any]) -> None:
        body = zlib.compress(json.dumps(told).encode(), 1)
        self._pages.put(key, body, content_type="application/zlib", sha256=hashlib.sha256(body).hexdigest())

    def _read(self, key: str) -> list[Any]:
        found = self._pages.get(key)
        if found is None:
            raise InventoryUnusable("the sorted pages of this run's inventory are no more: start a new run")
        told: list[Any] = json.loads(zlib.decompress(found.body))
        return told


class _Reading(io.RawIOBase):
    """A file of an inventory, read piece by piece; what came is held against its manifest at the end."""

    def __init__(self, store: Store, file: InventoryFile) -> None:
        self._store = store
        self._file = file
        self._at = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._file.size - self._at)
        if wanted <= 0:
            return 0
        piece = self._store.get(self._file.key, byte_range=(self._at, self._at + wanted - 1))
        if piece is None or piece.object.size != self._file.size:
            raise InventoryUnusable(
                f"the inventory's file {self._file.key} is not there with {self._file.size} bytes: take another inventory"
            )
        buffer[:wanted] = piece.body
        self._at += wanted
        self._md5.update(piece.body)
        return wanted

    def check(self) -> None:
        """Raises InventoryUnusable where the bytes were not those that the manifest names."""
        if self._at != self._file.size or self._md5.hexdigest() != self._file.md5:
            raise InventoryUnusable(f"the inventory's file {self._file.key} is not the one of its manifest: its MD5 is another")


def _bytes(store: Store, key: str) -> bytes:
    found = store.get(key)
    if found is None:
        raise InventoryUnusable(f"{key} is not in the bucket {store.bucket}: an inventory is whole once its manifest.checksum is there")
    return found.body


def _index(run_id: str, number: int) -> str:
    return f"{PAGES}{run_id}/{number:04d}/index"


def _page(run_id: str, number: int, place: int) -> str:
    return f"{PAGES}{run_id}/{number:04d}/{place:06d}"
