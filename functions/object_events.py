"""object_events: notifications of the bucket through SQS in, the ledger brought in line, failures reported one by one."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake.services import services

logger = Logger()
# one message that cannot be settled must not bring back the nine that were
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def bring_in_line(record: SQSRecord) -> None:
    """Settles one notification; one that cannot be settled goes back to the queue alone."""
    try:
        settled = services.object_events.handle(record.body)
    except Exception:
        logger.exception(
            "notification not settled", extra={"message_id": record.message_id, "receives": record.attributes.approximate_receive_count}
        )
        raise
    for event, alignment in settled:
        logger.info("object event", extra={"event": event.name, "key": event.key, "outcome": alignment.outcome.value})


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Takes batches of the object events queue."""
    return process_partial_response(event=event, record_handler=bring_in_line, processor=processor, context=context)
