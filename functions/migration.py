"""migration: the API of migrations, exports and recounts, and the step that works on each of them, message by message."""

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

from stocktake import metrics
from stocktake import migration_answers as answers
from stocktake.answers import timed
from stocktake.ids import now_ms
from stocktake.migration_requests import FindingsExportBody, NewExportBody, NewMigrationBody, ResultsQuery
from stocktake.problems import make_api, out_of_time, text_body
from stocktake.requests import Body, NoBody, NoQuery, RecentQuery, RecountBody, read_body, read_id, read_query
from stocktake.services import services

_RESERVE_MS = 100_000  # what one more batch may take, with all its foreign hosts silent

logger = Logger()
api = make_api(logger, lambda: services.access)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


@api.post("/migrations")
def create_migration() -> Response[str]:
    """Takes a migration, and starts it where it waits for no file."""
    operation = services.migrations.request(asked(NewMigrationBody).asked())
    logger.info("migration requested", extra={"migration_id": operation.operation_id})
    return accepted(answers.migration(services.migrations, operation, now_ms()))


@api.get("/migrations")
def list_migrations() -> dict[str, Any]:
    """Answers with the newest migrations."""
    limit = read_query(RecentQuery, api.current_event.query_string_parameters).limit
    return {"migrations": [answers.listed_migration(services.migrations, one) for one in services.migrations.recent(limit)]}


@api.get("/migrations/<migration_id>")
def get_migration(migration_id: str) -> dict[str, Any]:
    """Answers with a migration and its numbers."""
    asked(NoBody)
    return answers.migration(services.migrations, services.migrations.operation(read_id(migration_id)), now_ms())


@api.post("/migrations/<migration_id>/start")
def start_migration(migration_id: str) -> Response[str]:
    """Starts a migration, takes it up again, or begins another run of it."""
    asked(NoBody)
    return accepted(answers.migration(services.migrations, services.migrations.start(read_id(migration_id)), now_ms()))


@api.post("/migrations/<migration_id>/stop")
def stop_migration(migration_id: str) -> dict[str, Any]:
    """Stops a migration after the batch under way."""
    asked(NoBody)
    return answers.migration(services.migrations, services.migrations.stop(read_id(migration_id)), now_ms())


@api.get("/migrations/<migration_id>/results")
def list_results(migration_id: str) -> dict[str, Any]:
    """Answers with one page of what came of each line and record."""
    query = read_query(ResultsQuery, api.current_event.query_string_parameters)
    page, following = services.migrations.results(read_id(migration_id), query.outcome, query.limit, query.cursor)
    return {"results": page, "cursor": following}


@api.post("/exports")
def create_export() -> Response[str]:
    """Starts an export."""
    body = asked(NewExportBody)
    operation = services.exports.request(body.project_id, contents=body.contents)
    return accepted(answers.export(services.exports, operation))


@api.post("/reconciliations/<run_id>/export")
def create_findings_export(run_id: str) -> Response[str]:
    """Starts an export of a run's findings."""
    body = asked(FindingsExportBody)
    return accepted(answers.export(services.exports, services.exports.request_findings(read_id(run_id), body.format)))


@api.get("/exports/<export_id>")
def get_export(export_id: str) -> dict[str, Any]:
    """Answers with an export and its files."""
    asked(NoBody)
    return answers.export(services.exports, services.exports.operation(read_id(export_id)))


@api.post("/recounts")
def create_recount() -> Response[str]:
    """Starts a recount."""
    body = asked(RecountBody)
    operation = services.recounts.request(repair=body.repair, project_id=body.project_id)
    logger.info("recount requested", extra={"recount_id": operation.operation_id, "repair": body.repair})
    return accepted(timed(services.recounts.answer(operation)))


@api.get("/recounts")
def list_recounts() -> dict[str, Any]:
    """Answers with the newest recounts, without their differences."""
    limit = read_query(RecentQuery, api.current_event.query_string_parameters).limit
    return {"recounts": [timed(services.recounts.answer(one, whole=False)) for one in services.recounts.recent(limit)]}


@api.get("/recounts/<recount_id>")
def get_recount(recount_id: str) -> dict[str, Any]:
    """Answers with a recount and its differences."""
    asked(NoBody)
    return timed(services.recounts.answer(services.recounts.operation(read_id(recount_id))))


def asked[B: Body](model: type[B]) -> B:
    """Reads the body of a request that takes no query."""
    read_query(NoQuery, api.current_event.query_string_parameters)
    return read_body(model, text_body(api))


def accepted(document: dict[str, Any]) -> Response[str]:
    """Answers 202."""
    return Response(HTTPStatus.ACCEPTED, content_types.APPLICATION_JSON, json.dumps(document))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def api_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes requests of the HTTP API."""
    return api.resolve(event, context)


def take_step(record: SQSRecord, lambda_context: LambdaContext) -> None:
    """Works on one migration, export or recount; or begins those of the day."""
    message = record.json_body
    late = out_of_time(lambda_context, reserve_ms=_RESERVE_MS)
    if message.get("begin") == "day":
        metrics.counted(services.analytics.keep_day())
        status = services.recounts.daily().status
    elif "recount_id" in message:
        recount = services.recounts.step(message["recount_id"], out_of_time=late)
        status = recount.status
        if status == "DONE":
            metrics.recounted(recount.operation_id, recount.document)
    elif "export_id" in message:
        status = services.exports.step(message["export_id"], out_of_time=late)
    else:
        status = services.migrations.step(message["migration_id"], message["turn"], out_of_time=late)
        if status in ("COMPLETE", "FAILED"):
            metrics.migration_ended(message["migration_id"], status)
    logger.info("migration step", extra={**message, "status": status})


@logger.inject_lambda_context(clear_state=True)
def step_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Takes messages of the migration queue."""
    metrics.delivered(event)
    return process_partial_response(event=event, record_handler=take_step, processor=processor, context=context)
