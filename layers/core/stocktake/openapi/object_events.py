"""The object_events flow in the document: what its operation answers with, and the operation."""

from __future__ import annotations

from pydantic import Field

from stocktake import errors
from stocktake.openapi.operation import Answer, AnswerBody, Operation
from stocktake.webhook import PostedMessages


class Taken(AnswerBody):
    """How many messages lie in our queue now."""

    taken: int = Field(description="All that were posted.", ge=0, examples=[1])


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST /events/r2",
        "takeR2Messages",
        "Post events of an R2 bucket",
        "object_events",
        {202: Answer("The object events queue has all of them.", Taken)},
        (errors.NotFound, errors.BadSignature, errors.TooLarge, errors.MessagingError),
        "For the Worker that reads R2's queue. Signed in place of a token. There only where WebhookSecretArn is set.",
        body=PostedMessages,
        signed=True,
    ),
)
