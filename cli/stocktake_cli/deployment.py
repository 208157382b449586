"""What lies behind the API: reached with the operator's own AWS credentials, for when the API is down or cannot say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from stocktake.dead_letters import DEAD_LETTERS as HOLDS
from stocktake_cli.failures import Failure, Misused, Refused, Unreachable
from stocktake_cli.profiles import Profile

if TYPE_CHECKING:
    from stocktake.services import Services

FUNCTION = "ReconciliationStepFunction"
"""Whose environment holds the settings of bucket and ledger."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """A queue of what failed, and where it goes when it is to be tried again (None: nowhere, it is only looked at)."""

    name: str
    output: str
    home: str | None
    holds: str


_PLACES: Mapping[str, tuple[str, str | None]] = {
    "object-events": ("ObjectEventsDeadLetterQueueUrl", "ObjectEventsQueueUrl"),
    "object-events-undelivered": ("ObjectEventsUndeliveredQueueUrl", "ObjectEventsQueueUrl"),
    "deletion": ("DeletionDeadLetterQueueUrl", "DeletionQueueUrl"),
    "deletion-undelivered": ("DeletionUndeliveredQueueUrl", "DeletionQueueUrl"),
    "deletion-batch": ("DeletionBatchDeadLetterQueueUrl", "DeletionBatchQueueUrl"),
    "migration": ("MigrationDeadLetterQueueUrl", "MigrationQueueUrl"),
    "reconciliation-undelivered": ("ReconciliationUndeliveredQueueUrl", None),  # `stocktake reconcile` begins one
}
DEAD_LETTERS = tuple(DeadLetters(name, *_PLACES[name], holds) for name, holds in HOLDS.items())


class Deployment:
    """One stack, past its API.

    Args:
        session: a boto3 session of the stack's account.
        stack: the stack's name, "" where the profile gives every setting itself.
        settings: settings that are not to be read from the stack.
    """

    def __init__(self, session: Any, stack: str, settings: Mapping[str, str]) -> None:
        self._session = session
        self._stack = stack
        self._settings = settings

    @classmethod
    def of(cls, profile: Profile, environment: MutableMapping[str, str] = os.environ) -> Self:
        """Makes it for a profile. Puts the profile's AWS variables into the process environment, where every AWS SDK looks for them.

        Raises:
            Misused: the profile names neither a stack nor the settings of one.
        """
        if not profile.stack and not profile.settings:
            raise Misused(
                f"the profile {profile.name} does not say what lies behind the API",
                "give it `stack`, `region` and `aws_profile`, or a table `settings`",
            )
        environment.update(profile.aws)
        import boto3  # a quarter of a second, for the commands that need it

        return cls(boto3.session.Session(), profile.stack, profile.settings)

    def client(self, service: str) -> Any:
        """Makes a client of an AWS service."""
        from botocore.config import Config

        return self._session.client(service, config=Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard"}))

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        with _named("the stack's outputs"):
            stacks = self.client("cloudformation").describe_stacks(StackName=self._stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}

    @cached_property
    def environment(self) -> dict[str, str]:
        """The settings its functions have, as they have them: secrets by their ARN, never by their value."""
        found: dict[str, str] = {}
        if self._stack:
            with _named("the functions' settings"):
                resource = self.client("cloudformation").describe_stack_resource(StackName=self._stack, LogicalResourceId=FUNCTION)
                name = resource["StackResourceDetail"]["PhysicalResourceId"]
                function = self.client("lambda").get_function_configuration(FunctionName=name)
            queues = ((queue.name, self.outputs[queue.output]) for queue in DEAD_LETTERS if queue.output in self.outputs)
            found = {
                **function.get("Environment", {}).get("Variables", {}),
                "DEAD_LETTER_QUEUES": ",".join(f"{name}={url.rpartition('/')[2]}" for name, url in queues),
            }
        region = self._session.region_name or "us-east-1"
        return {"AWS_REGION": region, **found, **self._settings}

    @cached_property
    def services(self) -> Services:
        """The layer, made for this deployment and run here, with the operator's rights."""
        from stocktake.services import Services

        return Services(self.environment)

    @cached_property
    def looking(self) -> Services:
        """The same for diagnostics, which say what is wrong with settings in place of failing by them."""
        from stocktake.services import Services

        return Services(self.environment, tolerant=True)

    def dead_letters(self) -> Iterator[tuple[DeadLetters, int]]:
        """Yields each queue of dead letters with how many are in it, as SQS estimates."""
        sqs = self.client("sqs")
        for queue in DEAD_LETTERS:
            if queue.output in self.outputs:
                with _named(f"the queue {queue.name}"):
                    said = sqs.get_queue_attributes(QueueUrl=self.outputs[queue.output], AttributeNames=["ApproximateNumberOfMessages"])
                yield queue, int(said["Attributes"]["ApproximateNumberOfMessages"])


class _named:  # noqa: N801  # used as a statement, like contextlib's
    """Turns what an AWS SDK raises into a Failure that says what was asked for."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

        if isinstance(error, ClientError):
            code = error.response["Error"]["Code"]
            if code.startswith(("AccessDenied", "UnrecognizedClient", "ExpiredToken", "InvalidClientToken", "NotAuthorized")):
                raise Refused(f"AWS does not let you read {self._what} ({code})", "see the profile's aws_profile and its rights") from error
            raise Failure(f"{self._what} cannot be had ({code})", "see the profile's `stack` and `region`") from error
        if isinstance(error, NoCredentialsError):
            raise Refused(f"there are no AWS credentials to read {self._what} with", "give the profile `aws_profile`") from error
        if isinstance(error, (EndpointConnectionError, BotoCoreError)):
            raise Unreachable(f"AWS cannot be asked for {self._what}: {error}", "see the network and the profile's `region`") from error


def asking(what: str) -> _named:
    """Wraps calls of AWS: `with asking("the tables"): ...`. Raises a Failure that names what was asked for."""
    return _named(what)
