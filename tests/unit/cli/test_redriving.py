"""Dead letters back to where they are tried again: never lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stocktake_cli.deployment import DEAD_LETTERS, Deployment
from tests.unit.cli.conftest import Cli


class Queues:
    """SQS, with or without move tasks. `fail_at` ends the call of that number, before or after it was done."""

    def __init__(self, letters: int, *, moves: bool) -> None:
        self.dead = [f"letter {number}" for number in range(letters)]
        self.home: list[str] = []
        self.moves = moves
        self.calls = 0
        self.fail_at = -1

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:  # noqa: N803  # boto3's spelling
        waiting = len(self.dead) if "deletion-dead" in QueueUrl else 0
        return {"Attributes": {"ApproximateNumberOfMessages": str(waiting), "QueueArn": f"arn:{QueueUrl}"}}

    def start_message_move_task(self, SourceArn: str, DestinationArn: str) -> None:  # noqa: N803
        assert (SourceArn, DestinationArn) == ("arn:https://sqs/deletion-dead", "arn:https://sqs/deletion")
        if not self.moves:
            raise ClientError({"Error": {"Code": "InvalidAction", "Message": "no"}}, "StartMessageMoveTask")
        self.home, self.dead = self.dead, []

    def list_message_move_tasks(self, SourceArn: str, MaxResults: int) -> dict[str, Any]:  # noqa: N803
        return {"Results": [{"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": len(self.home)}]}

    def receive_message(self, MaxNumberOfMessages: int, **rest: Any) -> dict[str, Any]:  # noqa: N803
        return {"Messages": [{"Body": body, "ReceiptHandle": body} for body in self.dead[:MaxNumberOfMessages]]}

    def send_message(self, MessageBody: str, **rest: Any) -> None:  # noqa: N803
        self._count()
        self.home.append(MessageBody)
        self._count()

    def delete_message(self, ReceiptHandle: str, **rest: Any) -> None:  # noqa: N803
        self._count()
        self.dead.remove(ReceiptHandle)

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "no"}}, "any")


class Stack(Deployment):
    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def client(self, service: str) -> Any:
        assert service == "sqs"
        return self._queues

    @property
    def outputs(self) -> dict[str, str]:
        return {
            "DeletionQueueUrl": "https://sqs/deletion",
            "DeletionDeadLetterQueueUrl": "https://sqs/deletion-dead",
            "MigrationDeadLetterQueueUrl": "https://sqs/migration-dead",
            "ReconciliationUndeliveredQueueUrl": "https://sqs/reconciliation-undelivered",
        }


@pytest.fixture
def with_queues(cli: Cli) -> Callable[..., Queues]:
    def made(letters: int, *, moves: bool = True) -> Queues:
        queues = Queues(letters, moves=moves)
        cli.deployment = Stack(queues)
        return queues

    return made


def test_the_queues_are_shown_with_what_is_in_them(cli: Cli, with_queues: Callable[..., Queues]) -> None:
    with_queues(3)
    shown = cli("redrive", "--json")
    assert shown.exit == 1
    assert {of["queue"]: of["letters"] for of in shown.result["queues"]} == {"deletion": 3, "migration": 0, "reconciliation-undelivered": 0}
    with_queues(0)
    shown = cli("redrive")
    assert (shown.exit, shown.out.count("nothing is sent back from here: stocktake reconcile begins a run")) == (0, 1)


@pytest.mark.parametrize("moves", [True, False], ids=["by-sqs", "letter-by-letter"])
def test_letters_go_back_only_with_yes(cli: Cli, with_queues: Callable[..., Queues], moves: bool) -> None:
    queues = with_queues(12, moves=moves)
    assert "Would move 12 letters" in cli("redrive", "deletion").out
    assert queues.home == []
    shown = cli("redrive", "deletion", "--yes", "--json")
    assert (shown.exit, shown.result["moved"], len(queues.home), queues.dead) == (0, 12, 12, [])


@pytest.mark.parametrize("fail_at", range(1, 7))
def test_a_letter_is_never_lost_wherever_the_moving_breaks_off(cli: Cli, with_queues: Callable[..., Queues], fail_at: int) -> None:
    queues = with_queues(2, moves=False)
    queues.fail_at = fail_at
    assert cli("redrive", "deletion", "--yes").exit == 7
    assert {*queues.dead, *queues.home} == {"letter 0", "letter 1"}


def test_what_fails_again_meanwhile_is_not_moved_in_a_circle(cli: Cli, with_queues: Callable[..., Queues]) -> None:
    queues = with_queues(2, moves=False)
    send = queues.send_message

    def fails_again(MessageBody: str, **rest: Any) -> None:  # noqa: N803
        send(MessageBody, **rest)
        queues.dead.append(f"{MessageBody} again")

    queues.send_message = fails_again  # type: ignore[method-assign]  # the letter comes back at once
    assert cli("redrive", "deletion", "--yes", "--json").result["moved"] == 2


def test_a_queue_that_the_deployment_has_not_is_not_found(cli: Cli, with_queues: Callable[..., Queues]) -> None:
    with_queues(1)
    assert cli("redrive", "object-events", "--yes").exit == 6


def test_every_queue_of_dead_letters_in_the_template_is_known() -> None:
    from stocktake_cli.profiles import SOURCES

    outputs = {
        line.strip().rstrip(":")
        for line in (SOURCES / "template.yaml").read_text().partition("\nOutputs:")[2].splitlines()
        if line.strip().endswith(("DeadLetterQueueUrl:", "UndeliveredQueueUrl:"))
    }
    assert outputs == {queue.output for queue in DEAD_LETTERS}
