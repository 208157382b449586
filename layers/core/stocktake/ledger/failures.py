"""DynamoDB's errors, told apart by what is known afterwards: nothing was written, something may have been, or it cannot work."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from pynamodb.exceptions import PynamoDBException

from stocktake.errors import ConfigurationError, LedgerError, StocktakeError

CONDITION_FAILED = "ConditionalCheckFailed"

BUSY = frozenset(
    {
        "TransactionConflict",
        "TransactionConflictException",
        "ThrottlingError",
        "ThrottlingException",
        "Throttling",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
    }
)
"""Refused for the moment; nothing was written."""

IN_DOUBT = frozenset(
    {
        "TransactionInProgressException",
        "InternalServerError",
        "InternalFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "500",
        "502",
        "503",
        "504",
    }
)
"""The write may have been done."""

Sleep = Callable[[float], None]

_random = secrets.SystemRandom()


def back_off(attempt: int, sleep: Sleep) -> None:
    """Waits before attempt number `attempt` (from 1): at random up to 20 ms, doubled each time, at most one second.

    Full jitter, because the rivals for one count row are each other: waiting equally long they would meet again.
    """
    sleep(_random.uniform(0, min(1.0, 0.02 * 2 ** (attempt - 1))))


def code_of(error: BaseException) -> str | None:
    """Returns DynamoDB's error code, or None when no answer came."""
    cause = error.cause if isinstance(error, PynamoDBException) else error
    return str(cause.response.get("Error", {}).get("Code")) if isinstance(cause, ClientError) else None


def is_in_doubt(error: BaseException) -> bool:
    """Says whether what was asked may have been done all the same: a lost reply, or a server error."""
    cause = error.cause if isinstance(error, PynamoDBException) else error
    return isinstance(cause, HTTPClientError | BotoConnectionError) or code_of(error) in IN_DOUBT


def named(error: BaseException, what: str) -> StocktakeError:
    """Returns our error for one of PynamoDB's or botocore's; `what` continues "the ledger could not"."""
    code = code_of(error)
    if code == "ResourceNotFoundException":
        return ConfigurationError(
            f"the ledger could not {what}: a table is not there; check OBJECTS_TABLE, PROJECTS_TABLE, OPERATIONS_TABLE and the region"
        )
    cause = error.cause if isinstance(error, PynamoDBException) and error.cause is not None else error
    reason = code or type(cause).__name__
    return LedgerError(
        f"the ledger could not {what} ({reason}): try again; if it stays so, check the function's role and the tables' limits"
    )


@contextmanager
def ledger_errors(what: str) -> Iterator[None]:
    """Turns PynamoDB's and botocore's errors into ours, with their cause. `what` continues "the ledger could not"."""
    try:
        yield
    except (PynamoDBException, BotoCoreError, ClientError) as error:
        raise named(error, what) from error
