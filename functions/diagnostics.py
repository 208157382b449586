"""diagnostics: is everything as it should be, what is true of one object, and does a round trip work."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake import answers
from stocktake.errors import InvalidRequest
from stocktake.problems import make_api, text_body
from stocktake.requests import NoBody, NoQuery, ObjectQuery, read_body, read_query
from stocktake.services import tolerant_services as services

logger = Logger()
api = make_api(logger, lambda: services.access)


@api.get("/diagnostics")
def look() -> dict[str, Any]:
    """Answers with every check."""
    read_query(NoQuery, api.current_event.query_string_parameters)
    return answers.timed(services.diagnostics.look())


@api.get("/diagnostics/objects")
def diagnose_object() -> dict[str, Any]:
    """Answers with what is true of one key or object."""
    query = read_query(ObjectQuery, api.current_event.query_string_parameters)
    if (query.key is None) == (query.object_id is None):
        raise InvalidRequest("the query names neither or both of key and object_id: give one of them")
    diagnosis = services.object_diagnosis
    return answers.timed(diagnosis.of_object(query.object_id) if query.object_id is not None else diagnosis.of_key(query.key or ""))


@api.post("/diagnostics/self-test")
def self_test() -> dict[str, Any]:
    """Answers with what came of a round trip."""
    read_body(NoBody, text_body(api))
    return answers.timed(services.self_test.run())


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes requests of the HTTP API."""
    return api.resolve(event, context)
