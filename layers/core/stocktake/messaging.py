"""What leaves a function: messages on queues, events on the bus, executions of the state machine, reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from stocktake.errors import MessagingError

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef
    from mypy_boto3_stepfunctions import SFNClient

_BATCH_MESSAGES = 10
_BATCH_BYTES = 262_144
"""Of the bodies of one SendMessageBatch. SQS takes more by now; it has always taken these."""
_ATTEMPTS = 3

SOURCE = "stocktake"
PROJECT_DELETION_REQUESTED = "ProjectDeletionRequested"


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Turns boto3's failures into MessagingError. Their whole text can name accounts, queues and roles: it stays the cause, for the log."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        raise MessagingError(f"{what} ({code}): try again") from error


@dataclass(frozen=True, slots=True)
class Queue:
    """One SQS queue of JSON messages."""

    client: SQSClient
    url: str

    def send(self, message: Mapping[str, Any], delay_seconds: int = 0) -> None:
        """Puts a message on the queue, to be seen after `delay_seconds` (0 to 900). Raises MessagingError."""
        with _named("a queue did not take a message"):
            self.client.send_message(QueueUrl=self.url, MessageBody=json.dumps(message), DelaySeconds=delay_seconds)

    def send_all(self, bodies: Sequence[str]) -> frozenset[int]:
        """Puts messages on the queue as they are, and again those that it does not take at first.

        Returns:
            The places of those it has. What keeps one back keeps no other back.

        Raises:
            MessagingError: the queue took none of them.
        """
        taken: set[int] = set()
        refusal: ClientError | BotoCoreError | None = None
        for places in _batches(bodies):
            try:
                taken |= self._send_batch({place: bodies[place] for place in places})
            except (ClientError, BotoCoreError) as error:
                refusal = error
        if bodies and not taken:
            with _named("a queue took none of the messages"):
                if refusal is not None:
                    raise refusal
            raise MessagingError("a queue took none of the messages: try again")
        return frozenset(taken)

    def _send_batch(self, bodies: Mapping[int, str]) -> set[int]:
        left = dict(bodies)
        for _ in range(_ATTEMPTS):
            entries: list[SendMessageBatchRequestEntryTypeDef] = [{"Id": str(place), "MessageBody": body} for place, body in left.items()]
            for entry in self.client.send_message_batch(QueueUrl=self.url, Entries=entries).get("Successful", ()):
                del left[int(entry["Id"])]
            if not left:
                break
        return bodies.keys() - left.keys()


def _batches(bodies: Sequence[str]) -> Iterator[list[int]]:
    """Yields the places of as many messages as go into one request; one that is too large goes alone, so that it fails alone."""
    batch: list[int] = []
    size = 0
    for place, body in enumerate(bodies):
        length = len(body.encode())
        if batch and (len(batch) == _BATCH_MESSAGES or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += length
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Bus:
    """The EventBridge bus on which projects are said to be deleted."""

    client: EventBridgeClient
    name: str

    def publish(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Puts one event on the bus. Raises MessagingError, also where EventBridge answers 200 and refuses the entry."""
        with _named("the bus did not take an event"):
            reply = self.client.put_events(
                Entries=[{"EventBusName": self.name, "Source": SOURCE, "DetailType": detail_type, "Detail": json.dumps(detail)}]
            )
        if reply.get("FailedEntryCount"):
            raise MessagingError(f"the bus did not take an event ({reply['Entries'][0].get('ErrorCode')}): try again")


@dataclass(frozen=True, slots=True)
class StateMachine:
    """The state machine that runs reconciliations."""

    client: SFNClient
    arn: str

    def launch(self, payload: Mapping[str, Any]) -> None:
        """Starts an execution; named by action, run and turn, so that asking twice starts one. Raises MessagingError."""
        name = "-".join(str(payload[part]) for part in ("action", "run_id", "turn") if part in payload)
        with _named(f"the state machine did not start {name}"):
            try:
                self.client.start_execution(stateMachineArn=self.arn, name=name, input=json.dumps(payload))
            except self.client.exceptions.ExecutionAlreadyExists:
                return


@dataclass(frozen=True, slots=True)
class Reports:
    """The stack's own bucket, where reports lie as files; the data bucket may be anywhere."""

    client: S3Client
    bucket: str

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Writes one report as JSON, over an older one of its name. Raises MessagingError."""
        with _named(f"the bucket of reports did not take {name}"):
            self.client.put_object(
                Bucket=self.bucket, Key=name, Body=json.dumps(document, indent=1).encode(), ContentType="application/json"
            )
