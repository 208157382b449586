"""Records by the thousand, written behind the ledger's back as it would have written them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stocktake.layouts import is_spelled_otherwise, project_stem
from stocktake.ledger import Tables, shard_of
from stocktake.ledger.rows import object_row, spelling_row
from stocktake.model import Record

SHARDS = 16


def put_records(made: Tables, records: Sequence[Record], *, shards: int = SHARDS) -> None:
    """Writes records of projects that are there, and counts them by their state."""
    counts: Counter[tuple[str, str, str]] = Counter()
    with made.objects.batch_write() as batch:
        for record in records:
            stem, shard = project_stem(record.project_id), shard_of(record.key, shards)
            batch.save(object_row(made.objects, record, shard=shard, project=stem, write_id="planted"))
            counts[stem, shard, f"{record.state.lower()}_objects"] += 1
            counts[stem, shard, f"{record.state.lower()}_bytes"] += record.size
    with made.spellings.batch_write() as batch:
        for key in (record.key for record in records if is_spelled_otherwise(record.key)):
            batch.save(spelling_row(made.spellings, key))
    for (stem, shard, name), amount in counts.items():
        made.client.update_item(
            TableName=made.projects.Meta.table_name,
            Key={"project": {"S": stem}, "part": {"S": f"counts#{shard}"}},
            UpdateExpression="ADD #name :amount",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":amount": {"N": str(amount)}},
        )
