"""What a recount needs of the tables: count rows with the number of their writes, the records of a shard, and a repair that is fenced.

A count row's `writes` grows in every transaction that changes its numbers; functions of an older version change the numbers alone. So a row
that has the same of both before and after its shard's records were read was right or wrong for all of that time, and whatever is put right
on condition of them is right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import batched
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from stocktake.errors import LedgerError
from stocktake.ledger.counting import WRITES, Names, Numbers, add, add_row, numbers_of
from stocktake.ledger.failures import BUSY, Sleep, back_off, code_of, is_in_doubt, ledger_errors
from stocktake.ledger.reading import pages, whole_pages
from stocktake.ledger.rows import COUNTS_PREFIX, PROJECT_PART, Raw, Tables
from stocktake.ledger.transactions import ATTEMPTS
from stocktake.model import ProjectState, State

FEW = 50
"""Projects that are asked for by name: DynamoDB compares with up to 100 of them."""

_ROWS_PER_READ = 100
"""What one BatchGetItem takes."""

_NUMBERS_PER_REPAIR = 80
"""An expression of an update has 4 KB at most."""

_REST_SECONDS = 0.5

_REPAIRED_BY = "repaired_by"


@dataclass(frozen=True, slots=True)
class CountRow:
    """The count row of a project (by stem) and shard."""

    project: str
    shard: str
    writes: int
    numbers: Mapping[str, int]
    repaired_by: str | None = None
    """The recount that wrote it last."""

    @property
    def fence(self) -> str:
        """What is another after any write of the row's numbers, by whatever version of this code."""
        return digest_of([self.writes, {name: number for name, number in self.numbers.items() if number}])


@dataclass(frozen=True, slots=True)
class Owner:
    """A project whose rows are counted: its id as its creator spelled it, the epoch that its life began with, and its names in that."""

    project_id: str
    life: int
    names: Names


@dataclass(frozen=True, slots=True)
class CountedPage:
    """Some records of a shard: what those of each project count for, and how many no dimension counts. `last` is the key to go on after."""

    numbers: Mapping[str, Numbers]
    records: int
    unattributed: tuple[str, ...]
    last: str | None


class CountRows:
    """The count rows, apart from what moves them.

    Raises (any method): LedgerError when DynamoDB does not answer as asked.
    """

    def __init__(self, tables: Tables, *, sleep: Sleep) -> None:
        self._tables = tables
        self._name = tables.projects.Meta.table_name
        self._sleep = sleep

    def rows(self, shard: str, projects: Collection[str] | None = None) -> Iterator[CountRow]:
        """Yields the count rows of a shard, read consistently: of these projects, or of all."""
        part = COUNTS_PREFIX + shard
        if projects is not None and len(projects) <= FEW:
            found = self._named(projects, part)
        else:
            request: dict[str, Any] = {
                "TableName": self._name,
                "FilterExpression": "#part = :part",
                "ExpressionAttributeNames": {"#part": "part"},
                "ExpressionAttributeValues": {":part": {"S": part}},
                "ConsistentRead": True,
            }
            found = pages("read the count rows", self._tables.client.scan, request)
        for raw in found:
            if projects is None or raw["project"]["S"] in projects:
                yield _row(raw, shard)

    def records(self, shard: str, after: str, projects: Collection[str] | None = None) -> Iterator[CountedPage]:
        """Yields what the records of a shard behind a key count for, page by page and read consistently: of these projects, or of all."""
        request: dict[str, Any] = {
            "TableName": self._tables.objects.Meta.table_name,
            "KeyConditionExpression": "#shard = :shard" + (" AND #key > :after" if after else ""),
            "ProjectionExpression": "#key, #project, #state, #size, #kept",
            "ExpressionAttributeNames": {
                "#shard": "shard",
                "#key": "key",
                "#project": "project",
                "#state": "state",
                "#size": "size",
                "#kept": "counted_as",
            },
            "ExpressionAttributeValues": {":shard": {"S": shard}, **({":after": {"S": after}} if after else {})},
            "ConsistentRead": True,
        }
        if projects is not None and len(projects) <= FEW:
            places = {f":p{place}": {"S": project} for place, project in enumerate(sorted(projects))}
            request["FilterExpression"] = f"#project IN ({', '.join(places)})"
            request["ExpressionAttributeValues"] |= places
        for page in whole_pages("read the records of a shard", self._tables.client.query, request):
            yield _counted(page, projects)

    def rest(self) -> None:
        """Waits as long as a transaction takes, before rows and records are read once more."""
        self._sleep(_REST_SECONDS)

    def repair(self, row: CountRow, found: Mapping[str, int], *, by: str) -> bool:
        """Makes the numbers of a row those that were found.

        False once somebody has written it since, or is writing it, or no one can say whether it took: read the row again. Nothing more is
        written then. Many numbers take several writes; a repair that ends between two of them leaves the others to the next look.

        Args:
            by: the recount, which the row then names. So a repair whose answer was lost is known for what it was.
        """
        wrong = sorted(name for name in {*row.numbers, *found} if row.numbers.get(name, 0) != found.get(name, 0))
        writes = row.writes
        for some in batched(wrong, _NUMBERS_PER_REPAIR, strict=False):
            if not self._set(row, {name: found.get(name, 0) for name in some}, writes, by):
                return False
            writes += 1
        return True

    def owners(self, stems: Collection[str]) -> dict[str, Owner]:
        """Reads the projects' own rows, by stem, those that are there."""
        raws = (raw for some in batched(sorted(set(stems)), _ROWS_PER_READ, strict=False) for raw in self._named(some, PROJECT_PART))
        return {raw["project"]["S"]: _owner(raw) for raw in raws}

    def _set(self, row: CountRow, numbers: Mapping[str, int], writes: int, by: str) -> bool:
        names = {"#state": "state", "#writes": WRITES, "#by": _REPAIRED_BY}
        values = {":one": {"N": "1"}, ":by": {"S": by}}
        conditions = ["attribute_exists(#state)", "#writes = :writes" if writes else "attribute_not_exists(#writes)"]
        if writes:
            values[":writes"] = {"N": str(writes)}
        held, gone = ["#by = :by"], list[str]()
        for place, (name, number) in enumerate(numbers.items()):
            names[f"#{place}"] = name
            # as it was read: an older version of this code changes the numbers by state, and counts no write
            if name not in row.numbers:
                conditions.append(f"attribute_not_exists(#{place})")
            else:
                conditions.append(f"#{place} = :was{place}")
                values[f":was{place}"] = {"N": str(row.numbers[name])}
            if number:
                held.append(f"#{place} = :{place}")
                values[f":{place}"] = {"N": str(number)}
            else:
                gone.append(f"#{place}")
        clauses = ["ADD #writes :one", "SET " + ", ".join(held), *(["REMOVE " + ", ".join(gone)] if gone else [])]
        with ledger_errors(f"write the counts of project {row.project!r}"):
            try:
                self._tables.client.update_item(
                    TableName=self._name,
                    Key={"project": {"S": row.project}, "part": {"S": COUNTS_PREFIX + row.shard}},
                    UpdateExpression=" ".join(clauses),
                    ConditionExpression=" AND ".join(conditions),
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                )
            except (ClientError, BotoCoreError) as error:
                # an answer that was lost and asked for again meets its own write, which the next look knows by its name
                if code_of(error) not in {"ConditionalCheckFailedException", *BUSY} and not is_in_doubt(error):
                    raise
                return False
        return True

    def _named(self, projects: Collection[str], part: str) -> Iterator[Raw]:
        wanted: list[Any] = [{"project": {"S": project}, "part": {"S": part}} for project in sorted(projects)]
        attempt = 0
        while wanted:
            if attempt == ATTEMPTS:
                raise LedgerError(f"the ledger was too busy to read {len(wanted)} count rows: try again in a moment")
            if attempt:
                back_off(attempt, self._sleep)
            attempt += 1
            request: Any = {self._name: {"Keys": wanted, "ConsistentRead": True}}
            with ledger_errors(f"read {len(wanted)} count rows"):
                reply: dict[str, Any] = {**self._tables.client.batch_get_item(RequestItems=request)}
            yield from reply.get("Responses", {}).get(self._name, [])
            wanted = list(reply.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", []))


def _row(raw: Raw, shard: str) -> CountRow:
    numbers: Numbers = {}
    add_row(numbers, raw)
    by = raw[_REPAIRED_BY]["S"] if _REPAIRED_BY in raw else None
    return CountRow(raw["project"]["S"], shard, int(raw[WRITES]["N"]) if WRITES in raw else 0, numbers, by)


def _owner(raw: Raw) -> Owner:
    is_open = raw["state"]["S"] == ProjectState.ACTIVE
    return Owner(
        raw["project_id"]["S"] if "project_id" in raw else raw["project"]["S"],
        int(raw["epoch"]["N"]) - (not is_open),
        Names.parse(raw["names"]["S"] if "names" in raw else None),
    )


def digest_of(document: Any) -> str:
    """Returns a short digest of a document, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def _counted(page: Mapping[str, Any], projects: Collection[str] | None) -> CountedPage:
    numbers: dict[str, Numbers] = {}
    bare: list[str] = []
    records = 0
    for raw in page["Items"]:
        project = raw["project"]["S"]
        if projects is not None and project not in projects:
            continue
        records += 1
        kept = raw["counted_as"]["S"] if "counted_as" in raw else None
        if kept is None:
            bare.append(raw["key"]["S"])
        add(numbers.setdefault(project, {}), numbers_of(State(raw["state"]["S"]), int(raw["size"]["N"]), kept))
    last = page.get("LastEvaluatedKey")
    return CountedPage(numbers, records, tuple(bare), last["key"]["S"] if last else None)
