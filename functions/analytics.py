"""analytics: counts of the ledger beside the bucket's, the deletions under way, and the dashboard that shows them."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake import answers, dashboard
from stocktake.problems import make_api
from stocktake.requests import RecentQuery, read_query
from stocktake.services import services

logger = Logger()
api = make_api(logger, lambda: services.access)


@api.get("/analytics")
def overall() -> dict[str, Any]:
    """Answers with the counts of everything."""
    return answers.timed(services.analytics.overall())


@api.get("/projects/<project_id>/analytics")
def of_project(project_id: str) -> dict[str, Any]:
    """Answers with the counts of one project."""
    return answers.timed(services.analytics.project(unquote(project_id)))


@api.get("/deletions")
def list_deletions() -> dict[str, Any]:
    """Answers with the newest project deletions."""
    limit = read_query(RecentQuery, api.current_event.query_string_parameters).limit
    return {"deletions": [answers.deletion(deletion) for deletion in services.analytics.deletions(limit)]}


@api.get("/dashboard")
def show_dashboard() -> Response[str]:
    """Answers with the dashboard."""
    page = dashboard.page(services.analytics.overall(), services.analytics.runs(5), services.analytics.deletions(5))
    return Response(200, "text/html; charset=utf-8", page, headers=dashboard.HEADERS)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes requests of the HTTP API."""
    return api.resolve(event, context)
