"""What a run costs: estimated before, counted while it goes, in requests and in dollars.

Requests are counted where botocore makes them, so tries that were repeated count too. What a killed step sent since it last saved its
cursor is not counted. List prices in USD, of us-east-1 and of R2, 2026: a bill may have discounts, and free tiers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

KINDS: Mapping[str, str] = {
    "ListObjectsV2": "list",
    "ListObjects": "list",
    "ListObjectVersions": "list",
    "ListMultipartUploads": "list",
    "HeadObject": "get",
    "GetObject": "get",
    "PutObject": "put",
    "CopyObject": "put",
    "Query": "query",
    "GetItem": "read",
    "BatchGetItem": "read",
    "PutItem": "write",
    "UpdateItem": "write",
    "DeleteItem": "write",
    "TransactWriteItems": "transaction",
}
"""Operations by what they are paid as. What is not here is free (deletes) or not of the store and the ledger."""

READ_UNITS = 0.125
"""USD a million, on demand."""
WRITE_UNITS = 0.625
GB_SECONDS = 16.6667
"""USD a million."""

UNITS_A_RECORD = 0.125
"""A record of up to 1 KB, read eventually consistently: half a unit for 4 KB."""
UNITS_A_TRANSACTION = 4
"""A finding of up to 1 KB and the check of its range's row, two units each."""
MS_A_KEY = 0.05
"""Until a run has measured it: 25 us of CPU, and as much of waiting."""
PAGE = 1000
"""Keys of a listing's page, and about as many records of 1 KB in one of DynamoDB."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a store asks for a million requests, in USD."""

    list: float
    get: float
    put: float

    @classmethod
    def of(cls, told: str, endpoint: str) -> Self | None:
        """Reads the setting: prices as `list,get,put`; `off` for none; empty for those of the store that the endpoint names."""
        if told == "off":
            return None
        if told:
            listing, getting, putting = (float(price) for price in told.split(","))
            return cls(listing, getting, putting)
        if not endpoint:
            return cls(5.0, 0.4, 5.0)
        return cls(4.5, 0.36, 4.5) if ".r2.cloudflarestorage.com" in endpoint else cls(0.0, 0.0, 0.0)


class Meter:
    """Counts what this process sends and reads."""

    def __init__(self) -> None:
        self._spent: Counter[str] = Counter()

    def sent(self, operation_name: str = "", **_: object) -> None:
        """Counts one request: botocore's `request-created`."""
        kind = KINDS.get(operation_name)
        if kind is not None:
            self._spent[kind] += 1

    def asking(self, **event: Any) -> None:
        """Has a query say what it consumed: botocore's `before-parameter-build`."""
        event["params"].setdefault("ReturnConsumedCapacity", "TOTAL")

    def answered(self, **event: Any) -> None:
        """Counts thousandths of what a query consumed: botocore's `after-call`."""
        consumed = event["parsed"].get("ConsumedCapacity")
        if isinstance(consumed, Mapping) and "CapacityUnits" in consumed:
            self._spent["read_milliunits"] += round(float(consumed["CapacityUnits"]) * 1000)

    def taken(self) -> dict[str, int]:
        """Gives what was spent since this was last asked."""
        spent, self._spent = self._spent, Counter()
        return dict(spent)


def bill(spent: Mapping[str, int], records: int, prices: Prices | None, memory_gb: float) -> dict[str, Any]:
    """Says what was, or would be, spent, and in dollars.

    Args:
        spent: by kind, with `ms` of walking.
        records: read from the ledger, for where the ledger does not say what that consumed.
        memory_gb: of the function that walks.
    """
    requests = {kind: spent.get(kind, 0) for kind in ("list", "get", "put", "query", "read", "write", "transaction")}
    queried = spent.get("read_milliunits", 0) / 1000 or records * UNITS_A_RECORD
    units = {"read": round(queried + requests["read"]), "write": requests["write"] + UNITS_A_TRANSACTION * requests["transaction"]}
    seconds = spent.get("ms", 0) / 1000
    answer: dict[str, Any] = {"requests": requests, "ledger_units": units, "walking_seconds": round(seconds, 1), "usd": None}
    if prices is not None:
        millions = (
            requests["list"] * prices.list
            + requests["get"] * prices.get
            + requests["put"] * prices.put
            + units["read"] * READ_UNITS
            + units["write"] * WRITE_UNITS
            + seconds * memory_gb * GB_SECONDS
        )
        answer["usd"] = round(millions / 1_000_000, 6)
    return answer


def expected(objects: int, records: int, ranges: int) -> dict[str, int]:
    """Says what a run of so many keys will spend, before any run has told: if nothing differs, which costs three requests a key more."""
    return {
        "list": objects // PAGE + ranges,
        "query": records // PAGE + ranges,
        "read_milliunits": round(records * UNITS_A_RECORD * 1000),
        "read": 4 * ranges,
        "write": 4 * ranges,
        "ms": round(max(objects, records) * MS_A_KEY),
    }
