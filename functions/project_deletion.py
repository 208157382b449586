"""project_deletion: the API that asks for it, the fan-out that plans and proves it, the worker that removes."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake import answers, metrics, receipt_page
from stocktake.errors import InvalidRequest
from stocktake.ids import now_ms
from stocktake.model import DeletionMode
from stocktake.problems import caller_of, make_api, out_of_time, text_body
from stocktake.requests import (
    DeletionBody,
    DeletionQuery,
    ListQuery,
    NoBody,
    PageQuery,
    ReceiptQuery,
    ReplayBody,
    read_body,
    read_id,
    read_query,
)
from stocktake.services import services

_ENDED = ("DELETED", "INCOMPLETE", "UNDONE")
_RESERVE_MS = 200_000  # what the receipt of very many keys takes, which is added up in one go

logger = Logger()
api = make_api(logger, lambda: services.access)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


@api.delete("/projects/<project_id>")
def delete_project(project_id: str) -> Response[str]:
    """Closes a project and starts its deletion, or says what that would remove."""
    flow, project_id = services.project_deletions, read_id(project_id)
    query = read_query(DeletionQuery, api.current_event.query_string_parameters)
    body = read_body(DeletionBody, text_body(api))
    mode = DeletionMode(body.mode) if body.mode else None
    if query.dry_run == "true":
        late = out_of_time(api.lambda_context, reserve_ms=5000)
        return answered(HTTPStatus.OK, flow.dry_run(project_id, mode=mode, undo=body.undo, cursor=query.cursor, out_of_time=late))
    if query.cursor is not None:
        raise InvalidRequest("a cursor is of a dry run: send dry_run=true with it, or leave it out")
    caller = caller_of(api)
    deletion = flow.request(project_id, reason=body.reason, mode=mode, requested_by=caller.name, undo=body.undo)
    metrics.deletion_requested(deletion.operation_id)
    logger.info("project deletion requested", extra={"deletion_id": deletion.operation_id, "subject": caller.subject})
    receipt = flow.receipt(deletion.operation_id)  # there already where the deletion was asked for before
    return answered(HTTPStatus.OK if receipt else HTTPStatus.ACCEPTED, answers.deletion(deletion, receipt))


@api.get("/deletions/<deletion_id>")
def get_deletion(deletion_id: str) -> dict[str, Any]:
    """Answers with a deletion and its receipt."""
    flow, deletion_id = services.project_deletions, read_id(deletion_id)
    return answers.deletion(flow.operation(deletion_id), flow.receipt(deletion_id))


@api.get("/deletions/<deletion_id>/receipt")
def get_receipt(deletion_id: str) -> Response[str]:
    """Answers with the receipt alone, as a file or as a page to print."""
    shape = read_query(ReceiptQuery, api.current_event.query_string_parameters).shape
    receipt = answers.timed(services.project_deletions.written_receipt(read_id(deletion_id)))
    if shape == "html":
        return Response(HTTPStatus.OK, receipt_page.TYPE, receipt_page.page(receipt), headers=receipt_page.HEADERS)
    headers = {"Content-Disposition": f'attachment; filename="receipt-{receipt["deletion_id"]}.json"', "Cache-Control": "no-store"}
    return Response(HTTPStatus.OK, content_types.APPLICATION_JSON, json.dumps(receipt, indent=1), headers=headers)


@api.post("/deletions/<deletion_id>/undo")
def undo_deletion(deletion_id: str) -> Response[str]:
    """Begins to move everything back."""
    deletion_id = read_id(deletion_id)
    logger.append_keys(deletion_id=deletion_id)
    read_body(NoBody, text_body(api))
    deletion = services.project_deletions.undo(deletion_id)
    logger.info("undo of a deletion requested", extra={"subject": caller_of(api).subject})
    return answered(HTTPStatus.OK if deletion.status == "UNDONE" else HTTPStatus.ACCEPTED, answers.deletion(deletion))


@api.post("/deletions/replay")
def replay_erasures() -> dict[str, Any]:
    """Erases again what a restore of the tables brought back, or says what that would be."""
    dry_run = read_body(ReplayBody, text_body(api)).dry_run
    return services.project_deletions.replay(dry_run=dry_run, out_of_time=out_of_time(api.lambda_context, reserve_ms=5000))


@api.get("/deletions/<deletion_id>/remaining")
def get_remaining(deletion_id: str) -> dict[str, Any]:
    """Answers with one page of the keys that a deletion could not remove."""
    cursor = read_query(PageQuery, api.current_event.query_string_parameters).cursor
    return services.project_deletions.remaining(read_id(deletion_id), cursor)


@api.get("/diagnostics/projects/<project_id>/discovery")
def diagnose_discovery(project_id: str) -> dict[str, Any]:
    """Answers with what each way of looking finds of a project."""
    query = read_query(ListQuery, api.current_event.query_string_parameters)
    late = out_of_time(api.lambda_context, reserve_ms=5000)
    return services.project_deletions.diagnose(read_id(project_id), limit=query.limit, cursor=query.cursor, out_of_time=late)


@api.post("/deletions/<deletion_id>/verify")
def verify_deletion(deletion_id: str) -> dict[str, Any]:
    """Lists everything afresh, now."""
    deletion_id = read_id(deletion_id)
    logger.append_keys(deletion_id=deletion_id)
    read_body(NoBody, text_body(api))
    return answers.timed(services.project_deletions.verify(deletion_id, out_of_time=out_of_time(api.lambda_context, reserve_ms=5000)))


def answered(status: HTTPStatus, document: dict[str, Any]) -> Response[str]:
    """Answers with JSON."""
    return Response(status, content_types.APPLICATION_JSON, json.dumps(document))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def api_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes requests of the HTTP API."""
    return api.resolve(event, context)


def take_step(record: SQSRecord, lambda_context: LambdaContext) -> None:
    """Takes one step of a deletion, or the schedule's look at those that can be undone no longer."""
    message = record.json_body
    step = message["step"]
    flow, late = services.project_deletions, out_of_time(lambda_context, reserve_ms=_RESERVE_MS)
    if step == "windows":
        logger.info("undo windows", extra={"ended": flow.close_windows(out_of_time=late)})
        return
    deletion_id = message["deletion_id"]
    logger.append_keys(deletion_id=deletion_id)
    before = flow.operation(deletion_id)
    if step == "set_aside":
        status = flow.set_aside(deletion_id, out_of_time=late)
    elif step == "undo":
        status = flow.restore(deletion_id, message["after"], out_of_time=late)
    elif step == "discover":
        status = flow.discover(deletion_id, message["round"], out_of_time=late)
    elif step == "verify":
        status = flow.sweep(deletion_id, message["round"], out_of_time=late)
    elif step == "resend":
        status = flow.resend(deletion_id, message["round"], message["first"], out_of_time=late)
    else:
        status = flow.resume(deletion_id)
    if status in _ENDED and status != before.status:  # a late copy of a message ends nothing
        metrics.deletion_ended(deletion_id, status, now_ms() - before.document["requested_at"])
    logger.info("deletion step", extra={"step": step, "round": message.get("round"), "status": status})


def remove_batch(record: SQSRecord, lambda_context: LambdaContext) -> None:
    """Removes the keys of one batch, or moves them aside or back."""
    message = record.json_body
    logger.append_keys(deletion_id=message["deletion_id"])
    late = out_of_time(lambda_context, reserve_ms=25_000)
    result = services.project_deletions.work(message["deletion_id"], message["part"], out_of_time=late)
    summary = {"objects": result["objects"], "bytes": result["bytes"], "failures": len(result["failures"])}
    metrics.removed(summary["objects"], summary["bytes"], refused=summary["failures"], deletion_id=message["deletion_id"])
    logger.info("deletion batch", extra={"part": message["part"], **summary})


@logger.inject_lambda_context(clear_state=True)
def fan_out_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Takes messages of the deletion queue."""
    metrics.delivered(event)
    return process_partial_response(event=event, record_handler=take_step, processor=processor, context=context)


@logger.inject_lambda_context(clear_state=True)
def worker_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Takes messages of the deletion batch queue."""
    metrics.delivered(event)
    return process_partial_response(event=event, record_handler=remove_batch, processor=processor, context=context)
