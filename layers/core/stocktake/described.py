"""What AWS says of a deployment's credentials, tables and queues, for diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from stocktake.diagnostics.surroundings import Credentials
from stocktake.errors import MessagingError
from stocktake.ledger import IndexShape, TableShape
from stocktake.ledger.failures import ledger_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

_REFUSALS = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"}
)


def credentials(source: Literal["secret", "process"], access_key_id: str, sts: Callable[[], Any] | None) -> Credentials:
    """Asks STS whose an access key is; every identity may. Where it gives no answer, whose it is stays untold.

    Args:
        sts: makes the client that signs with that key; None for the keys of a foreign store, of which AWS knows nothing.
    """
    if sts is None:
        return Credentials(source, access_key_id)
    try:
        said = sts().get_caller_identity()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return Credentials(source, access_key_id, refused=code if code in _REFUSALS else None)
    except BotoCoreError:
        return Credentials(source, access_key_id)
    return Credentials(source, access_key_id, said["Account"], said["Arn"])


def table(client: DynamoDBClient, name: str) -> TableShape:
    """Describes a table.

    Raises:
        ConfigurationError: it is not there.
        LedgerError: DynamoDB does not describe it.
    """
    with ledger_errors(f"describe the table {name!r}"):
        found: dict[str, Any] = {**client.describe_table(TableName=name)["Table"]}
    return TableShape(
        _key(found),
        {index["IndexName"]: _index(index) for index in found.get("GlobalSecondaryIndexes", ())},
        _expires_by(client, name),
        _recovery(client, name),
        _on_demand(found),
        bool(found.get("StreamSpecification", {}).get("StreamEnabled", False)),
        found.get("TableStatus", "ACTIVE"),
    )


def letters(client: SQSClient, queue: str) -> int:
    """Counts the messages of a queue, by its name, as SQS estimates. Raises MessagingError."""
    try:
        url = client.get_queue_url(QueueName=queue)["QueueUrl"]
        said = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    except (ClientError, BotoCoreError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        raise MessagingError(f"SQS does not count it: {code}") from error
    return int(said["Attributes"]["ApproximateNumberOfMessages"])


def _key(described: Any) -> tuple[str, ...]:
    parts = {part["KeyType"]: part["AttributeName"] for part in described["KeySchema"]}
    return tuple(parts[kind] for kind in ("HASH", "RANGE") if kind in parts)


def _index(described: Any) -> IndexShape:
    projection = described.get("Projection", {})
    whole = projection.get("ProjectionType") == "ALL"
    carries = None if whole else frozenset(projection.get("NonKeyAttributes", ()))
    return IndexShape(_key(described), carries, described.get("IndexStatus", "ACTIVE"))


def _on_demand(described: Any) -> bool | None:
    mode = described.get("BillingModeSummary", {}).get("BillingMode")
    if mode is not None:
        return bool(mode == "PAY_PER_REQUEST")
    # a table that was always provisioned has no summary, and a capacity
    return False if described.get("ProvisionedThroughput", {}).get("ReadCapacityUnits") else None


def _expires_by(client: DynamoDBClient, name: str) -> str | None:
    """Returns the attribute that rows expire by, "" for none, None where DynamoDB does not tell."""
    with suppress(ClientError, BotoCoreError):
        said = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        return said.get("AttributeName", "") if said.get("TimeToLiveStatus") in ("ENABLED", "ENABLING") else ""
    return None


def _recovery(client: DynamoDBClient, name: str) -> bool | None:
    """Says whether a table can be restored to a point in time, None where DynamoDB does not tell."""
    with suppress(ClientError, BotoCoreError):
        said = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        return said.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED"
    return None
