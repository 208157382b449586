"""object_events: notifications of the bucket through SQS or by a direct call in, the ledger brought in line, failures reported one by one.

And those of R2, carried into the same queue: posted by a Worker, or pulled from Cloudflare's queue by a schedule.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake import metrics
from stocktake.alignment import Alignment
from stocktake.errors import MessagingError
from stocktake.problems import make_api, out_of_time, text_body
from stocktake.relay import carried_text, relay
from stocktake.requests import read_body
from stocktake.services import services
from stocktake.webhook import PostedMessages

_ROUND_MS = 45_000  # what one more pull may take, with the sends and the acknowledgement that follow it

logger = Logger()
api = make_api(logger, lambda: services.access)
# one message that cannot be settled must not bring back the nine that were
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def settle(notification: str | Mapping[str, Any], settled: dict[str, Alignment]) -> None:
    """Brings the keys of one notification in line."""
    for event, alignment in services.object_events.handle(notification, settled):
        said = {"source": event.source, "event": event.name, "at": event.at, "sequencer": event.sequencer}
        logger.info("object event", extra={**said, "key": event.key, "outcome": alignment.outcome.value})


def bring_in_line(record: SQSRecord, settled: dict[str, Alignment]) -> None:
    """Settles one message; one that cannot be settled goes back to the queue alone."""
    try:
        settle(record.body, settled)
    except Exception:
        logger.exception(
            "notification not settled", extra={"message_id": record.message_id, "receives": record.attributes.approximate_receive_count}
        )
        raise


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Takes batches of the object events queue; or one notification, where a bucket, a topic or a rule calls the function itself.

    What raises then is called again by Lambda, twice, and put whole into the dead-letter queue.
    """
    settled: dict[str, Alignment] = {}
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            metrics.delivered(event)
            settling = partial(bring_in_line, settled=settled)
            failures = process_partial_response(event=event, record_handler=settling, processor=processor, context=context)
            metrics.settled(alignment.outcome for alignment in settled.values())
            return failures
    settle(event, settled)
    return metrics.settled(alignment.outcome for alignment in settled.values())


@logger.inject_lambda_context(clear_state=True)
def pull(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Carries what R2 has said over into the object events queue; started by a schedule."""
    theirs, ours = services.r2_queue, services.object_events_queue
    relayed = relay(theirs.pull, ours.send_all, theirs.acknowledge, out_of_time=out_of_time(context, reserve_ms=_ROUND_MS))
    logger.info("relayed", extra=asdict(relayed))
    metrics.carried(relayed.carried)
    return asdict(relayed)


@api.post("/events/r2")
def take_r2_messages() -> Response[str]:
    """Takes a batch that our Worker posted; it is told so once the object events queue has all of it."""
    event = api.current_event
    raw = a2b_base64(event.body or "") if event.is_base64_encoded else (event.body or "").encode()
    services.webhook.check(event.headers.get("stocktake-signature"), raw)
    messages = read_body(PostedMessages, text_body(api)).messages
    taken = services.object_events_queue.send_all([carried_text(message.body) for message in messages])
    if len(taken) < len(messages):
        raise MessagingError(f"{len(messages) - len(taken)} of the {len(messages)} messages were not taken: send them all again")
    metrics.carried(len(taken))
    return Response(HTTPStatus.ACCEPTED, content_types.APPLICATION_JSON, json.dumps({"taken": len(taken)}))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def webhook_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes requests of the HTTP API."""
    return api.resolve(event, context)
