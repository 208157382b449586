"""The rows of an inventory's files, in either format that is read, as the same tuples.

CSV is gzipped, without a header, each value quoted and each key URL-encoded. Parquet is compressed with Snappy, its names are written
otherwise (`e_tag`), its keys are as they are and what has no value is null; so are the size and ETag of a delete marker.

ORC is not read: no reader of it fits.

Source: "Cataloging and analyzing your data with S3 Inventory", section on the list's contents ("When you're using the CSV file format, the
key name is URL-encoded"), and "Locating your inventory list" for the manifests of both, Amazon S3 User Guide
(docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory.html and storage-inventory-location.html).
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import batched
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote_plus

from stocktake.errors import InventoryUnusable

if TYPE_CHECKING:
    from arro3.core import RecordBatch

Row = tuple[str | None, str | None, int | None, int | None, str | None, bool | None, bool | None]
"""Bucket, key, size, last change in milliseconds, ETag, whether it is the latest version, whether it is a delete marker."""

NEEDED = ("Bucket", "Key", "Size", "LastModifiedDate", "ETag")
FLAGS = {"IsLatest": True, "IsDeleteMarker": False}
"""What an inventory of current versions alone leaves out, and what it means by that."""
FORMATS = ("CSV", "Parquet")

_AT_ONCE = 1000
_FLAG = {"true": True, "false": False}
_FIELD = re.compile(r"\b(?:required|optional)\s+\w+(?:\(\d+\))?\s+(\w+)")


def columns_of(file_format: str, schema: str) -> tuple[str, ...]:
    """Reads which columns the files have, by the names of the configuration, of a manifest's `fileSchema`."""
    if file_format == "Parquet":
        return tuple(map(_configured, _FIELD.findall(schema)))
    return tuple(name.strip() for name in schema.split(","))


def csv_rows(file: IO[bytes], columns: Sequence[str]) -> Iterator[list[Row]]:
    """Reads a CSV file of these columns from its first byte to its last.

    Raises:
        OSError, EOFError, zlib.error, csv.Error, ValueError: it is damaged.
    """
    place = {name: number for number, name in enumerate(columns)}
    bucket, key, size, changed, etag = (place[name] for name in NEEDED)
    # for a flag that is left out, the place behind the last, where each row is given the flag's own
    flags = [place.get(name, len(place) + number) for number, name in enumerate(FLAGS)]
    latest, marker = flags
    left_out = [str(value).lower() for value in FLAGS.values()]

    def typed(row: list[str]) -> Row:
        if len(row) != len(place):
            raise ValueError(f"a row of {len(row)} values")
        row += left_out
        key_, size_, flags_ = unquote_plus(row[key], errors="strict"), _size(row[size]), (_FLAG.get(row[latest]), _FLAG.get(row[marker]))
        return row[bucket], key_, size_, _milliseconds(row[changed]), row[etag], *flags_

    with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
        for rows in batched(csv.reader(text, strict=True), _AT_ONCE, strict=False):
            yield list(map(typed, rows))


def parquet_rows(file: IO[bytes], columns: Sequence[str]) -> Iterator[list[Row]]:
    """Reads a Parquet file, which can be sought in, a page of each column at a time: memory stays the same whatever its length.

    Raises:
        InventoryUnusable: there is no reader here.
        ValueError: it is damaged, or lacks a column that the manifest tells of.
    """
    try:
        from arro3.io import read_parquet  # 35 MB, in a layer that the function which sorts has alone
    except ImportError as error:
        raise InventoryUnusable(
            "inventories in Parquet are read by the reconciliation step alone, with the layer ParquetLayer, which is not here: deploy "
            f"template.yaml as it is, or configure the inventory with the format CSV ({error})"
        ) from error
    with _damage_named():
        reader = read_parquet(file, batch_size=_AT_ONCE)
        names = {_configured(name): name for name in reader.schema.names}
    # a flag that the manifest does not tell of holds as well
    read = [name for name in (*NEEDED, *FLAGS) if name in columns or name in names]
    if absent := [name for name in read if name not in names]:
        raise ValueError(f"it has no column {' and '.join(absent)}")
    while True:
        with _damage_named():
            batch = next(reader, None)
            if batch is None:
                return
            told = {name: _values(batch, names[name], name) for name in read}
        rows = [told[name] if name in told else [FLAGS[name]] * batch.num_rows for name in (*NEEDED, *FLAGS)]
        yield list(zip(*rows, strict=True))


def _values(batch: RecordBatch, column: str, name: str) -> list[object]:
    from arro3.core import DataType

    found = batch.column(column)
    if name == "LastModifiedDate":  # of whatever unit, with or without a zone: a number counts from 1970 in UTC
        found = found.cast(DataType.timestamp("ms"))
    wanted = DataType.int64() if name in ("Size", "LastModifiedDate") else DataType.bool() if name in FLAGS else DataType.utf8()
    values: list[object] = found.cast(wanted).to_pylist()
    return values


@contextmanager
def _damage_named() -> Iterator[None]:
    """Raises ValueError for what the reader raises on a damaged file: a bare Exception, or the panic of its Rust, which is no Exception."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise ValueError(str(error)) from error


def _configured(name: str) -> str:
    """Returns the name that a column of Parquet has in CSV and in the configuration: `ETag` of `e_tag`."""
    return "".join(map(str.capitalize, name.split("_")))


def _size(written: str) -> int | None:
    if not written:
        return None
    if not (written.isascii() and written.isdigit()):
        raise ValueError(f"a size of {written!r}")
    return int(written)


@lru_cache(4096)
def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)
