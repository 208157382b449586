"""A whole walk of a reconciliation, from the bytes of both servers' answers to the saved totals, and the memory it takes.

S3 and DynamoDB are canned answers below boto3 and botocore, so that all CPU is ours: signing, reading, comparing, counting. Every object
has its record, as in a bucket that is well; a pair that differs costs three requests more. Clients are made once, as in a function's
process: what they cost is in the cold start's figure. TLS is not in it: on Lambda it comes on top, some 600 bytes an object to decrypt.
"""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from botocore.awsrequest import AWSResponse

from benchmarks.figures import Figure
from benchmarks.ledger_reads import Raw
from stocktake.layouts import Registry
from stocktake.ledger import Ledger, Operation, tables
from stocktake.reconciliation.cost import Meter
from stocktake.reconciliation.walking import Walker
from stocktake.storage import Profile
from stocktake.storage.ordering import stream
from stocktake.storage.s3 import S3Store, make_client

OBJECTS = 100_000
SMALL, LARGE = 10_000, 1_000_000
SHARDS = 16
PAGE = 1000
RUNS = 5
ETAG = "c4ca4238a0b923820dcc509a6f75849b"
STRIDE = 7919
"""A prime: in a disordered listing the n-th key is that of n times it."""

ABLE = Profile(
    conditional_put=True,
    conditional_copy=True,
    conditional_delete=True,
    versioning=False,
    md5_needed=False,
    ordered_listing=True,
    keeps_sha256=True,
    keeps_parts_sha256=True,
    names_deleted=True,
    lists_uploads=True,
)

type Work = Literal["walk", "sort"]


def figures() -> list[Figure]:
    """Measures microseconds of CPU an object, and megabytes."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "benchmark")
    measured = [
        Figure("whole reconciliation", _alone("cpu", "walk", OBJECTS) / OBJECTS * 1e6, "CPU µs per object", 25, "lower"),
        Figure("listing out of order, sorted on disk", _alone("cpu", "sort", OBJECTS) / OBJECTS * 1e6, "CPU µs per key", 25, "lower"),
    ]
    works: tuple[Work, ...] = ("walk", "sort")
    for work in works:
        small, large = _alone("memory", work, SMALL), _alone("memory", work, LARGE)
        measured.append(Figure(f"peak memory of a {work}: {LARGE:,} keys less {SMALL:,}", large - small, "MB", 10, "lower"))
    return measured


def _alone(what: str, work: Work, objects: int) -> float:
    """Returns a figure of a process of its own: what other benchmarks left in this one is collected again and again with what is new."""
    command = [sys.executable, "-m", "benchmarks.reconciling", what, work, str(objects)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def _cpu(work: Work, objects: int) -> float:
    """Returns the median CPU seconds of a work, whose answers are made in a first run that is not counted."""
    servers = Servers(objects, keeps_answers=True, is_ordered=work == "walk")
    taken = []
    for _ in range(RUNS + 1):
        began = time.process_time()
        _do(work, servers)
        taken.append(time.process_time() - began)
    return statistics.median(taken[1:])


def _do(work: Work, servers: Servers) -> None:
    if work == "sort":
        assert sum(1 for _ in stream(servers.store)) == servers.objects
        return
    rows = Rows()
    rest: Any = rows  # what a walk needs of Operations and Lease; of inventories nothing
    walker = Walker(
        servers.store, servers.ledger, rest, Registry(), inventories=rest, lease=rest, meter=Meter(), now=lambda: 1_900_000_000_000
    )
    assert walker.walk("run", 0, out_of_time=lambda: False)["done"]
    assert rows.row.document["counts"]["matched.objects"] == servers.objects, rows.row.document["counts"]


class Rows:
    """The rows of a run of one range, in memory."""

    def __init__(self) -> None:
        document: dict[str, Any] = {"after": "", "until": None, "cursor": "", "counts": {}, "projects": {}, "flushed": 0, "fence": 1}
        self.row = Operation("run", "range#0000", None, "OPEN", 0, 1, {**document, "previous": None, "grace_ms": 3_600_000})

    def get(self, _: str, part: str = "") -> Operation:
        """Gives the range for the run as well."""
        return self.row

    def update(self, row: Operation, *, document: Any, status: str = "OPEN") -> Operation:
        """Keeps it."""
        self.row = replace(row, document=document, status=status)
        return self.row

    def parts(self, *_: object) -> tuple[list[Operation], None]:
        """Has no findings."""
        return [], None

    def add(self, *_: object) -> None:
        """Nobody asks for its progress."""

    def keep(self, *_: object) -> None:
        """Nobody takes its lease."""


class Servers:
    """S3 and DynamoDB, answering for as many objects, each with its record.

    Args:
        keeps_answers: makes each answer once and keeps it; else memory does not grow with the number of objects.
        is_ordered: whether S3 lists in order.
    """

    def __init__(self, objects: int, *, keeps_answers: bool, is_ordered: bool) -> None:
        self.objects = objects
        self._is_ordered = is_ordered
        keep: Callable[[Any], Any] = lru_cache(None) if keeps_answers else lambda function: function
        self._listed, self._queried = keep(self._list), keep(self._query)

    @cached_property
    def store(self) -> S3Store:
        """A store that asks this S3."""
        client = make_client(
            region="us-east-1", endpoint_url="https://s3.example", access_key_id="key", secret_access_key="secret", addressing="path"
        )
        events: Any = client.meta.events  # the stubs forget that a handler may answer
        events.register_first("before-send.s3", self._answer_s3)
        return S3Store("bench", client=client, profile=replace(ABLE, ordered_listing=self._is_ordered))

    @cached_property
    def ledger(self) -> Ledger:
        """A ledger that asks this DynamoDB."""
        made = tables(objects="objects", projects="projects", operations="operations", region="us-east-1")
        events: Any = made.client.meta.events
        events.register("before-send.dynamodb", self._answer_dynamodb)
        ledger = Ledger(made, shards=SHARDS)
        ledger._shards_checked = True  # there is no table to ask
        return ledger

    def _answer_s3(self, request: Any, **_: object) -> AWSResponse:
        query = parse_qs(urlsplit(request.url).query, keep_blank_values=True)
        if "versioning" in query:
            return _answer(request, b"<VersioningConfiguration/>", "application/xml")
        return _answer(request, self._listed(int(query.get("continuation-token", ["0"])[0])), "application/xml")

    def _answer_dynamodb(self, request: Any, **_: object) -> AWSResponse:
        asked = json.loads(request.body)
        shard = int(asked["ExpressionAttributeValues"][":hash"]["S"], 16)
        last = asked.get("ExclusiveStartKey")
        first = _number(last["key"]["S"]) + SHARDS if last else shard
        return _answer(request, self._queried(first, asked["Limit"]), "application/x-amz-json-1.0")

    def _list(self, first: int) -> bytes:
        """Makes a page as AWS writes it."""
        end = min(first + PAGE, self.objects)
        rows = "".join(
            f"<Contents><Key>{self._key(number if self._is_ordered else number * STRIDE % self.objects)}</Key>"
            f"<LastModified>2026-11-{1 + number % 20:02}T10:{number // 60 % 60:02}:{number % 60:02}.000Z</LastModified>"
            f"<ETag>&quot;{ETAG}&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
            "<Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for number in range(first, end)
        )
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < self.objects else ""
        said = f"<KeyCount>{end - first}</KeyCount><IsTruncated>{str(end < self.objects).lower()}</IsTruncated>"
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name>'
        )
        return f"{head}<EncodingType>url</EncodingType>{said}{more}{rows}</ListBucketResult>".encode()

    def _query(self, first: int, rows: int) -> bytes:
        """Makes a page of the shard that the first object is of."""
        numbers = range(first, self.objects, SHARDS)
        items = [
            {
                "key": {"S": self._key(number)},
                "project_id": {"S": f"p{number * 50 // self.objects:02}"},
                "state": {"S": "STORED"},
                "size": {"N": "1"},
                "etag": {"S": ETAG},
                "updated_at": {"N": "1764151200000"},
                "version": {"N": "2"},
            }
            for number in numbers[:rows]
        ]
        page: dict[str, Any] = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
        if len(numbers) > rows:
            page["LastEvaluatedKey"] = {"shard": {"S": f"{first % SHARDS:02x}"}, "key": items[-1]["key"]}
        return json.dumps(page).encode()

    def _key(self, number: int) -> str:
        return f"projects/p{number * 50 // self.objects:02}/2026/11/{number:026d}.png"


def _number(key: str) -> int:
    return int(key.rpartition("/")[2].partition(".")[0])


def _answer(request: Any, body: bytes, content_type: str) -> AWSResponse:
    headers: Any = {"Content-Type": content_type, "Content-Length": str(len(body))}
    return AWSResponse(request.url, 200, headers, Raw(body))


def main(what: str, work: Work, objects: int) -> None:
    """Does the work in this process and prints the CPU seconds, or the most memory in MB, that it took."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "benchmark")
    if what == "cpu":
        print(json.dumps(_cpu(work, objects)))
        return
    _do(work, Servers(objects, keeps_answers=False, is_ordered=work == "walk"))
    print(json.dumps(_most_memory()))


def _most_memory() -> float:
    """Returns the most memory that this process took, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would tell the parent's at the fork, where that was more
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e6  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes, on macOS


if __name__ == "__main__":
    main(sys.argv[1], "sort" if sys.argv[2] == "sort" else "walk", int(sys.argv[3]))
