"""One transaction, brought to a known end.

A transaction ends in one of three ways: it took, a condition failed, or no one can say. The third is resolved here, by asking
whether the write is there, before it is tried again; so a caller sees only the first two, or a LedgerError that says which is unknown.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from pynamodb.connection import Connection
from pynamodb.exceptions import TransactWriteError
from pynamodb.transactions import TransactWrite

from stocktake.errors import LedgerError
from stocktake.ledger.failures import BUSY, CONDITION_FAILED, Sleep, back_off, code_of, is_in_doubt, named

ATTEMPTS = 10
"""With full jitter up to one second about 3 s of waiting in all, as long as a rival's commits take to pass."""

_DOUBTS = 2
"""botocore has tried three times before each of them."""


class TransactionInvalid(LedgerError):
    """DynamoDB took the transaction for malformed: among other things, over 4 MB."""


class Writes(TransactWrite):
    """PynamoDB's transaction, which also takes deletes and updates as DynamoDB spells them: a model makes each four times as dear."""

    def delete_as_written(self, delete: Mapping[str, Any]) -> None:
        self._delete_items.append(dict(delete))

    def update_as_written(self, update: Mapping[str, Any]) -> None:
        self._update_items.append(dict(update))


def new_write_id() -> str:
    """Returns 128 random bits as text, also short enough for a ClientRequestToken (36)."""
    return secrets.token_hex(16)


def commit(
    connection: Connection,
    fill: Callable[[Writes], None],
    *,
    landed: Callable[[], bool],
    what: str,
    sleep: Sleep,
    attempts: int = ATTEMPTS,
) -> frozenset[int]:
    """Writes a transaction, all of it or nothing.

    Args:
        fill: adds the actions; called once per attempt. Positions count condition checks first, then deletes, puts and updates, as
            PynamoDB sends them.
        landed: asked after a reply was lost: is the write there?
        what: continues "the ledger could not".

    Returns:
        The positions whose conditions failed; empty when the transaction took.

    Raises:
        LedgerError: it could not be written, or it is not known whether it was.
        TransactionInvalid: DynamoDB refused its form or its size.
    """
    token = new_write_id()
    doubts = 0
    last: TransactWriteError | None = None
    for attempt in range(attempts):
        if attempt:
            back_off(attempt, sleep)
        try:
            with Writes(connection=connection, client_request_token=token) as transaction:
                fill(transaction)
            return frozenset()
        except TransactWriteError as error:
            last = error
            if is_in_doubt(error):
                if _seen(landed):
                    return frozenset()
                doubts += 1
                if doubts == _DOUBTS:
                    break
                continue
            code = code_of(error)
            if code == "TransactionCanceledException":
                reasons = [reason.code if reason else None for reason in error.cancellation_reasons]
                failed = frozenset(position for position, reason in enumerate(reasons) if reason == CONDITION_FAILED)
                if failed:
                    return frozenset() if doubts and _seen(landed) else failed
                if "ValidationError" in reasons:
                    raise TransactionInvalid(str(named(error, what))) from error
                if not BUSY.issuperset(filter(None, reasons)):
                    raise named(error, what) from error
            elif code == "ValidationException":
                raise TransactionInvalid(str(named(error, what))) from error
            elif code not in BUSY:
                raise named(error, what) from error
            if not doubts:
                # what was cancelled for certain starts afresh; what is in doubt keeps its token, so that AWS does it at most once
                token = new_write_id()
    assert last is not None
    if doubts:
        raise LedgerError(f"the ledger did not answer, and whether it could {what} is not known: read again, then decide") from last
    raise LedgerError(f"the ledger was too busy to {what} after {attempts} attempts: try again in a moment") from last


def _seen(landed: Callable[[], bool]) -> bool:
    try:
        return landed()
    except LedgerError:
        return False  # still in doubt: the next attempt, under the same token, finds out
