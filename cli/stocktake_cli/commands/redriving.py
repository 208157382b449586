"""`redrive`: dead letters back to where they are tried again."""

from __future__ import annotations

from typing import Any

import click

from stocktake_cli import words
from stocktake_cli.commands.group import stocktake
from stocktake_cli.deployment import DEAD_LETTERS, DeadLetters, asking
from stocktake_cli.edge import Outcome, Session, command
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Absent, Failure

_MOVABLE = [queue.name for queue in DEAD_LETTERS if queue.home]
_NO_MOVE_TASKS = ("UnsupportedOperation", "InvalidAction", "UnknownOperation", "ResourceNotFoundException", "InvalidParameterValue")
"""What SQS says of a queue that it moves nothing from (no dead-letter queue of another queue), and a local AWS of an action it has not."""
_IN_PLACE = "; nothing is sent back from here: stocktake reconcile begins a run, then purge the queue by hand"
"""What is said of a queue whose letters say only that something was due."""
_HIDDEN_SECONDS = 120
_POLL_SECONDS = 2.0


@command("redrive", group=stocktake)
@click.argument("queue", required=False, type=click.Choice(_MOVABLE))
@click.option("--yes", is_flag=True, help="do it, and do not ask")
@click.option("--timeout", type=click.IntRange(1), default=900, show_default=True, metavar="SECONDS", help="how long to wait for the end")
def redrive(session: Session, queue: str | None, yes: bool, timeout: int) -> Outcome:
    """The queues of what failed, and how much is in each; with QUEUE, move that back to where it is tried again.

    Moves only with --yes, or when it is confirmed. Nothing is lost on the way: a letter is taken off after it has been put back, and may be
    tried twice, which does no harm. Without QUEUE it ends with 1 where letters wait.
    """
    out = session.out
    waiting = {of.name: (of, count) for of, count in session.deployment.dead_letters()}
    if queue is None:
        rows = [(name, f"{count:,}", of.holds + ("" if of.home else _IN_PLACE)) for name, (of, count) in waiting.items()]
        out.table(["queue", "#letters", "~holds"], rows)
        listed = [{"queue": name, "letters": count, "movable": of.home is not None} for name, (of, count) in waiting.items()]
        return Outcome({"queues": listed, "moved": None}, Exit.DIFFERENT if any(count for _, count in waiting.values()) else Exit.FINE)
    if queue not in waiting:
        raise Absent(f"this deployment has no queue {queue}", "stocktake redrive shows those it has")
    letters, count = waiting[queue]
    result: dict[str, Any] = {"queues": [{"queue": queue, "letters": count, "movable": True}], "moved": None}
    if not count:
        out.say("There is nothing in it.")
        return Outcome({**result, "moved": 0})
    if not yes and not out.is_interactive:
        out.say(f"Would move {words.count(count, 'letter')} back: {letters.holds}.")
        out.note("Nothing was moved: --yes does it.")
        return Outcome(result, Exit.DIFFERENT)
    if not yes:
        out.confirm(f"This moves {words.count(count, 'letter')} back: {letters.holds}.", queue)
    moved = _move(session, letters, count, timeout)
    out.say(f"Moved {words.count(moved, 'letter')} back.")
    return Outcome({**result, "moved": moved}, Exit.FINE if moved >= count else Exit.DIFFERENT)


def _move(session: Session, letters: DeadLetters, count: int, timeout: float) -> int:
    from botocore.exceptions import ClientError

    deployment = session.deployment
    sqs, source, home = deployment.client("sqs"), deployment.outputs[letters.output], deployment.outputs[letters.home or ""]
    with asking(f"the queue {letters.name}"):
        arns = [sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"] for url in (source, home)]
        try:
            # the destination is named, because some of these letters came from no queue
            sqs.start_message_move_task(SourceArn=arns[0], DestinationArn=arns[1])
        except ClientError as error:
            if not any(code in error.response["Error"]["Code"] for code in _NO_MOVE_TASKS):
                raise
            return _move_here(session, sqs, source, home, count)
        return _watched(session, sqs, arns[0], count, timeout)


def _watched(session: Session, sqs: Any, source_arn: str, count: int, timeout: float) -> int:
    end = session.now() + timeout
    with session.out.progress("moving", total=count) as bar:
        while True:
            task = sqs.list_message_move_tasks(SourceArn=source_arn, MaxResults=1)["Results"][0]
            moved = int(task.get("ApproximateNumberOfMessagesMoved", 0))
            bar.update("moving", done=moved)
            if task["Status"] == "FAILED":
                raise Failure(f"SQS moved {moved} and stopped: {task.get('FailureReason', 'it does not say why')}", "say the command again")
            if task["Status"] in ("COMPLETED", "CANCELLED") or session.now() > end:
                return moved
            session.sleep(_POLL_SECONDS)


def _move_here(session: Session, sqs: Any, source: str, home: str, count: int) -> int:
    """Moves letter by letter: sent first, then taken off, so that one that dies between is there twice and never lost.

    At most as many as were there at the beginning: what fails again meanwhile is not moved in a circle.
    """
    moved = 0
    with session.out.progress("moving", total=count) as bar:
        while moved < count:
            received = sqs.receive_message(
                QueueUrl=source,
                MaxNumberOfMessages=min(10, count - moved),
                VisibilityTimeout=_HIDDEN_SECONDS,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            if not received:
                return moved
            for message in received:
                attributes = message.get("MessageAttributes")
                sqs.send_message(QueueUrl=home, MessageBody=message["Body"], **({"MessageAttributes": attributes} if attributes else {}))
                sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
                moved += 1
                bar.advance()
    return moved
