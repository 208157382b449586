"""Reading the ledger in bulk, beside the same page of rows through a PynamoDB model; both get the same canned reply of DynamoDB."""

from __future__ import annotations

import io
import json
import os
from typing import Any

from botocore.awsrequest import AWSResponse
from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from benchmarks.figures import Figure, cpu_seconds
from stocktake.ledger import Ledger, tables
from stocktake.ledger.rows import ENTRY_ATTRIBUTES

ROWS = 2000
PAGES = 5
SHARD = "00"


class PeerRow(Model):
    """A record as a plain PynamoDB model reads it, whole."""

    class Meta:
        """Where PynamoDB thinks the table is."""

        table_name = "objects"
        region = "us-east-1"

    shard = UnicodeAttribute(hash_key=True)
    key = UnicodeAttribute(range_key=True)
    object_id = UnicodeAttribute()
    project_id = UnicodeAttribute()
    state = UnicodeAttribute()
    size = NumberAttribute()
    etag = UnicodeAttribute()
    sha256 = UnicodeAttribute()
    content_type = UnicodeAttribute()
    created_at = NumberAttribute()
    updated_at = NumberAttribute()
    version = NumberAttribute()


def figures() -> list[Figure]:
    """Measures rows a second of CPU."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "benchmark")
    made = tables(objects="objects", projects="projects", operations="operations", region="us-east-1")
    _answer(made.client, _page(ENTRY_ATTRIBUTES))
    ledger = Ledger(made, shards=1)
    ledger._shards_checked = True  # there is no table to ask

    def ours() -> None:
        for _ in range(PAGES):
            assert sum(1 for _ in ledger.entries()) == ROWS

    connection = PeerRow._get_connection().connection  # PynamoDB offers no public way to its client
    _answer(connection.client, _page(tuple(PeerRow.get_attributes())))

    def peer() -> None:
        for _ in range(PAGES):
            assert sum(1 for _ in PeerRow.query(SHARD)) == ROWS

    rows = PAGES * ROWS
    return [Figure("ledger decoding", rows / cpu_seconds(ours), "rows per CPU s", 8, "higher", "PynamoDB model", rows / cpu_seconds(peer))]


def _page(attributes: tuple[str, ...]) -> bytes:
    texts = {
        "shard": SHARD,
        "state": "STORED",
        "content_type": "image/png",
        "etag": "9b2cf535f27731c974343645a3985328",
        "sha256": "ab" * 32,
    }
    items = []
    for number in range(ROWS):
        values: dict[str, Any] = {}
        for name in attributes:
            if name in ("size", "created_at", "updated_at", "version"):
                values[name] = {"N": "1795239000000"}
            elif name == "key":
                values[name] = {"S": f"projects/proj_sunset/2026/11/{number:026d}.png"}
            else:
                values[name] = {"S": texts.get(name, "01KAHXPLEN0000000000000000")}
        items.append(values)
    return json.dumps({"Items": items, "Count": ROWS, "ScannedCount": ROWS}).encode()


class Raw(io.BytesIO):
    """A body as urllib3 hands it over."""

    def stream(self, amount: int = 65536, **_: object) -> Any:
        """Yields the body, as urllib3 does."""
        while chunk := self.read(amount):
            yield chunk


def _answer(client: Any, body: bytes) -> None:
    def canned(request: Any, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 200, {"content-type": "application/x-amz-json-1.0"}, Raw(body))  # type: ignore[arg-type]  # headers of any mapping

    client.meta.events.register("before-send.dynamodb", canned)
