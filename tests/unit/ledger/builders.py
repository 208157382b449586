"""Small builders, and a DynamoDB that fails when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field, replace
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from stocktake.ledger import Ledger, Operations, Tables
from stocktake.model import LedgerEntry, Record, State, Tally

NOW = 1_760_000_000_000


def a_record(key: str = "projects/p1/2026/01/a.png", **changes: Any) -> Record:
    record = Record(
        key=key,
        object_id=f"id-of-{key}",
        project_id="p1",
        epoch=1,
        state=State.STORED,
        size=10,
        created_at=NOW,
        updated_at=NOW,
        etag="0cc175b9",
        content_type="image/png",
    )
    return replace(record, **changes)


def an_intent(key: str = "projects/p1/2026/01/a.png", **changes: Any) -> Record:
    return a_record(key, **{"state": State.PENDING, "etag": None, "expires_at": NOW + 60_000, **changes})


def entry(record: Record) -> LedgerEntry:
    return LedgerEntry(record.key, record.project_id, record.state, record.size, record.etag, record.updated_at, record.version)


def nonzero(counts: Mapping[State, Tally]) -> dict[State, Tally]:
    return {state: tally for state, tally in counts.items() if tally != Tally()}


def client_error(code: str, operation: str = "TransactWriteItems", *, reasons: tuple[str, ...] = ()) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": code}}
    if reasons:
        response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return ClientError(response, operation)


def conflict() -> ClientError:
    return client_error("TransactionCanceledException", reasons=("None", "TransactionConflict"))


def no_answer() -> Exception:
    return ReadTimeoutError(endpoint_url="http://dynamodb")


def no_connection() -> Exception:
    return EndpointConnectionError(endpoint_url="http://dynamodb")


@dataclass
class Faults:
    """Stands between botocore and DynamoDB; also lets it do one call at a time, since moto is not safe for threads.

    `page_size` makes every query and scan answer in pages of that many items.
    """

    tables: Tables
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    page_size: int | None = None

    def __post_init__(self) -> None:
        client: Any = self.tables.client
        self._real = client._make_api_call
        self._lock = threading.RLock()
        self._planned: list[tuple[str, Exception | None, bool, Callable[[], object] | None]] = []
        client._make_api_call = self._call

    def refuse(self, operation: str, error: Exception, *, times: int = 1) -> None:
        """The next calls of `operation` fail before they do anything."""
        self._planned += [(operation, error, False, None)] * times

    def lose_reply(self, operation: str, error: Exception | None = None, *, times: int = 1) -> None:
        """The next calls of `operation` are done, and then seem to fail."""
        self._planned += [(operation, error or no_answer(), True, None)] * times

    def before(self, operation: str, do: Callable[[], object]) -> None:
        """Runs `do` just before the next call of `operation`: what a rival does between our read and our write."""
        self._planned.append((operation, None, False, do))

    def done(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.calls)

    def _call(self, operation: str, params: dict[str, Any]) -> Any:
        with self._lock:
            self.calls.append((operation, params))
            if self.page_size and operation in ("Query", "Scan"):
                params = {**params, "Limit": min(self.page_size, params.get("Limit", self.page_size))}
            fault = next((planned for planned in self._planned if planned[0] == operation), None)
            if fault is None:
                return self._real(operation, params)
            self._planned.remove(fault)
            _, error, is_done, do = fault
            if do is not None:
                Context().run(do)  # another process knows nothing of the call under way
            if error is None:
                return self._real(operation, params)
            if is_done:
                self._real(operation, params)
            raise error


@dataclass
class Deployment:
    """Fresh tables with a ledger and operations over them, and what was slept."""

    tables: Tables
    faults: Faults
    slept: list[float] = field(default_factory=list)
    shards: int = 16

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.tables, shards=self.shards, sleep=self.slept.append)
        self.operations = Operations(self.tables, sleep=self.slept.append)

    def record(self, key: str, **changes: Any) -> Record:
        """Commits a record."""
        moved = self.ledger.move(None, a_record(key, **changes), gated=True)
        assert moved is not None
        return moved
