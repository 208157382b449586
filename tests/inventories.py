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
from urllib.parse import quote_plus

from stocktake.model import ListedObject

MANIFEST = "inventories/data/weekly/2026-11-22T01-00Z/manifest.json"
CHECKSUM = MANIFEST.replace(".json", ".checksum")
COLUMNS = ("Bucket", "Key", "Size", "LastModifiedDate", "ETag", "StorageClass")
VERSIONED = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag")
Row = Mapping[str, Any]


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
    ) -> None:
        self._bucket = bucket
        self._put = put
        mixed = sorted(rows, key=lambda row: hashlib.md5(str(row).encode(), usedforsecurity=False).digest())
        self.files = {f"inventories/data/{number}.csv.gz": a_file(mixed[number::files], columns) for number in range(files)}
        self.told: dict[str, Any] = {
            "sourceBucket": source,
            "destinationBucket": f"arn:aws:s3:::{bucket}",
            "version": "2016-11-30",
            "creationTimestamp": str(at),
            "fileFormat": "CSV",
            "fileSchema": ", ".join(columns),
            "files": [{"key": key, "size": len(body), "MD5checksum": md5(body)} for key, body in self.files.items()],
        }

    def deliver(self) -> str:
        """Puts it into its bucket and returns its location."""
        manifest = json.dumps(self.told).encode()
        for key, body in {**self.files, MANIFEST: manifest, CHECKSUM: md5(manifest).encode()}.items():
            self._put(key, body)
        return f"s3://{self._bucket}/{MANIFEST}"


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
