"""analytics: counts of the ledger beside the bucket's, the deletions under way, the dashboard; and what the API says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake import answers, dashboard
from stocktake.errors import ConfigurationError
from stocktake.problems import make_api
from stocktake.requests import HistoryQuery, NoQuery, RecentQuery, read_id, read_query
from stocktake.services import services

if TYPE_CHECKING:
    from stocktake.openapi.served import Served

logger = Logger()
api = make_api(logger, lambda: services.access)


@api.get("/analytics")
def overall() -> dict[str, Any]:
    """Answers with the counts of everything."""
    return answers.timed(services.analytics.overall())


@api.get("/analytics/history")
def history() -> dict[str, Any]:
    """Answers with the figures of past days and runs."""
    days = read_query(HistoryQuery, api.current_event.query_string_parameters).days
    return answers.history(services.analytics.history(days))


@api.get("/projects/<project_id>/analytics")
def of_project(project_id: str) -> dict[str, Any]:
    """Answers with the counts of one project."""
    return answers.timed(services.analytics.project(read_id(project_id)))


@api.get("/deletions")
def list_deletions() -> dict[str, Any]:
    """Answers with the newest project deletions."""
    limit = read_query(RecentQuery, api.current_event.query_string_parameters).limit
    return {"deletions": [answers.deletion(deletion) for deletion in services.analytics.deletions(limit)]}


@api.get("/dashboard", compress=True)
def show_dashboard() -> Response[str]:
    """Answers with the dashboard, the same page for everybody."""
    read_query(NoQuery, api.current_event.query_string_parameters)
    try:
        images = services.image_origin
    except ConfigurationError:  # the page can still say, as diagnostics do, which setting is wrong; it would have no image to show
        images = ""
    return Response(200, dashboard.TYPE, dashboard.page(), headers=dashboard.headers(images))


@api.get("/openapi.json")
def show_document() -> Response[str]:
    """Answers with the OpenAPI document."""
    from stocktake.openapi import served  # what no other path needs

    return known_by_tag(served.document_for(api.current_event.headers))


@api.get("/docs")
def show_docs() -> Response[str]:
    """Answers with the document as a page."""
    from stocktake.openapi import served

    return known_by_tag(served.page_for(api.current_event.headers))


def known_by_tag(answer: Served) -> Response[str]:
    """Answers with a document about the API."""
    read_query(NoQuery, api.current_event.query_string_parameters)
    return Response(answer.status, answer.content_type, answer.body, headers=dict(answer.headers))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes requests of the HTTP API."""
    return api.resolve(event, context)
