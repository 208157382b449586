"""Inventories as S3 delivers them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from arro3.core import Array, DataType, Field, Schema, Table
from arro3.io import write_parquet

from stocktake.model import ListedObject

MANIFEST = "inventories/data/weekly/2026-11-22T01-00Z/manifest.json"
CHECKSUM = MANIFEST.replace(".json", ".checksum")
COLUMNS = ("Bucket", "Key", "Size", "LastModifiedDate", "ETag", "StorageClass")
VERSIONED = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag")
Row = Mapping[str, Any]
PARQUET_NAMES = {
    "ETag": "e_tag",
    "IsDeleteMarker": "is_delete_marker",
    "IsLatest": "is_latest",
    "LastModifiedDate": "last_modified_date",
} | {
    "StorageClass": "storage_class",
    "VersionId": "version_id",
}
_PARQUET_TYPES = {
    "IsLatest": ("boolean", ""),
    "IsDeleteMarker": ("boolean", ""),
    "Size": ("int64", ""),
    "LastModifiedDate": ("int64", " (TIMESTAMP(MILLIS,true))"),
}


def a_row(found: ListedObject, bucket: str = "data") -> dict[str, Any]:
    """What S3 writes of an object."""
    at = datetime.fromtimestamp(found.last_modified / 1000, UTC)
    return {
        "Bucket": bucket,
        "Key": quote_plus(found.key, safe="/"),
        "Size": found.size,
        "LastModifiedDate": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "ETag": found.etag,
        "StorageClass": "STANDARD",
        "VersionId": "v1",
        "IsLatest": "true",
        "IsDeleteMarker": "false",
    }


def a_file(rows: Iterable[Row], columns: tuple[str, ...] = COLUMNS) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([row[name] for name in columns] for row in rows)
    return gzip.compress(text.getvalue().encode())


def a_parquet_file(
    rows: Iterable[Row], columns: tuple[str, ...] = COLUMNS, *, unit: Any = "ms", zone: str | None = "UTC", rows_a_group: int = 2
) -> bytes:
    """The same rows as S3 writes them in Parquet: keys as they are, null for what has no value."""
    written = list(rows)
    types = {
        "IsLatest": DataType.bool(),
        "IsDeleteMarker": DataType.bool(),
        "Size": DataType.int64(),
        "LastModifiedDate": DataType.timestamp(unit, tz=zone),
    }
    fields = [
        Field(_parquet_name(name), types.get(name, DataType.utf8()), nullable=any(_value(name, row[name]) is None for row in written))
        for name in columns
    ]
    arrays = []
    for name, field in zip(columns, fields, strict=True):
        values = [_value(name, row[name]) for row in written]
        if name == "LastModifiedDate":
            arrays.append(Array(values, DataType.int64()).cast(DataType.timestamp("ms")).cast(field.type))
        else:
            arrays.append(Array(values, field.type))
    body = io.BytesIO()
    table = Table.from_arrays(arrays, schema=Schema(fields))
    write_parquet(table, body, compression="snappy", max_row_group_size=rows_a_group, skip_arrow_metadata=True)
    return body.getvalue()


def _parquet_name(name: str) -> str:
    return PARQUET_NAMES.get(name, name.lower())


def _value(name: str, text: Any) -> Any:
    if text == "":
        return None
    if name == "Key":
        return unquote_plus(text)
    if name in ("IsLatest", "IsDeleteMarker"):
        return text == "true"
    if name == "LastModifiedDate":
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    return text


def the_schema(columns: tuple[str, ...], form: str) -> str:
    """What a manifest says of the columns."""
    if form != "Parquet":
        return ", ".join(columns)
    fields = []
    for name in columns:
        kind, annotation = _PARQUET_TYPES.get(name, ("binary", " (STRING)"))
        fields.append(f"  {'required' if name in ('Bucket', 'Key') else 'optional'} {kind} {_parquet_name(name)}{annotation};")
    return f"message s3.inventory {{{''.join(fields)}}}"


class Delivery:
    """An inventory as S3 makes it, in some files and no order; `files` and `told` may be spoiled before it is delivered."""

    def __init__(
        self,
        bucket: str,
        put: Callable[[str, bytes], object],
        rows: Iterable[Row],
        at: int,
        *,
        source: str,
        files: int = 3,
        columns: tuple[str, ...] = COLUMNS,
        form: str = "CSV",
    ) -> None:
        self._bucket = bucket
        self._put = put
        mixed = sorted(rows, key=lambda row: hashlib.md5(str(row).encode(), usedforsecurity=False).digest())
        write, suffix = (a_parquet_file, "parquet") if form == "Parquet" else (a_file, "csv.gz")
        self.files = {f"inventories/data/{number}.{suffix}": write(mixed[number::files], columns) for number in range(files)}
        self.told: dict[str, Any] = {
            "sourceBucket": source,
            "destinationBucket": f"arn:aws:s3:::{bucket}",
            "version": "2016-11-30",
            "creationTimestamp": str(at),
            "fileFormat": form,
            "fileSchema": the_schema(columns, form),
            "files": [{"key": key, "size": len(body), "MD5checksum": md5(body)} for key, body in self.files.items()],
        }

    def put_file(self, number: int, body: bytes) -> None:
        """Puts another file in the place of one, and lets the manifest tell of it."""
        told = self.told["files"][number]
        self.files[told["key"]] = body
        told |= {"size": len(body), "MD5checksum": md5(body)}

    def deliver(self) -> str:
        """Puts it into its bucket and returns its location."""
        manifest = json.dumps(self.told).encode()
        for key, body in {**self.files, MANIFEST: manifest, CHECKSUM: md5(manifest).encode()}.items():
            self._put(key, body)
        return f"s3://{self._bucket}/{MANIFEST}"


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
