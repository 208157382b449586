"""upload: check, store, record and serve objects. HTTP API in, JSON, bytes or a redirect out."""

from __future__ import annotations

import json
from base64 import b64decode
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake import answers
from stocktake.problems import make_api, text_body
from stocktake.requests import (
    Base64ObjectBody,
    ContentQuery,
    ListQuery,
    NewProjectBody,
    NoBody,
    NoQuery,
    read_body,
    read_metadata,
    read_query,
)
from stocktake.services import services
from stocktake.upload import NewObject

logger = Logger()
api = make_api(logger)


@api.post("/projects")
def create_project() -> Response[str]:
    """Opens a project."""
    body = read_body(NewProjectBody, text_body(api))
    return created(answers.project(services.uploads.create_project(body.project_id, body.metadata)))


@api.get("/projects/<project_id>")
def get_project(project_id: str) -> dict[str, Any]:
    """Answers with a project."""
    return answers.project(services.uploads.project(unquote(project_id)))


@api.post("/projects/<project_id>/objects")
def create_object(project_id: str) -> Response[str]:
    """Stores one object, sent raw or as base64 JSON."""
    read_query(NoQuery, api.current_event.query_string_parameters)
    uploaded = services.uploads.put(unquote(project_id), new_object())
    answer = answers.record(uploaded.record, services.uploads.url(uploaded.record))
    return created({**answer, "warnings": list(uploaded.warnings)})


@api.get("/projects/<project_id>/objects")
def list_objects(project_id: str) -> dict[str, Any]:
    """Answers with one page of a project's records."""
    query = read_query(ListQuery, api.current_event.query_string_parameters)
    records, following = services.uploads.page(unquote(project_id), query.limit, query.cursor)
    return {"objects": [answers.record(record) for record in records], "cursor": following}


@api.get("/objects/<object_id>")
def get_object(object_id: str) -> dict[str, Any]:
    """Answers with a record and where its bytes are."""
    record = services.uploads.record(object_id)
    return answers.record(record, services.uploads.url(record))


@api.delete("/objects/<object_id>")
def delete_object(object_id: str) -> Response[str]:
    """Removes one object, bytes first."""
    read_query(NoQuery, api.current_event.query_string_parameters)
    read_body(NoBody, text_body(api))
    services.uploads.delete(object_id)
    return Response(HTTPStatus.NO_CONTENT, body="")


@api.get("/objects/<object_id>/content")
def get_content(object_id: str) -> Response[bytes] | Response[str]:
    """Redirects to the bytes, or answers with them for `?as=bytes`."""
    if read_query(ContentQuery, api.current_event.query_string_parameters).way == "bytes":
        content = services.uploads.content(object_id)
        return Response(HTTPStatus.OK, content.object.content_type, content.body, headers=answers.content_headers(content.object))
    url = services.uploads.url(services.uploads.available(object_id))
    return Response(HTTPStatus.FOUND, body="", headers={"Location": url, "Cache-Control": "no-store"})


def new_object() -> NewObject:
    """Reads the object from either way of sending it."""
    event = api.current_event
    if (event.headers.get("content-type") or "").lower().startswith("application/json"):
        body = read_body(Base64ObjectBody, text_body(api))
        return NewObject(body.content(), body.content_type, body.file_name, body.cache_control, body.metadata)
    return NewObject(
        body=raw_body(),
        declared_type=event.headers.get("content-type"),
        file_name=unquote(event.headers.get("stocktake-file-name", "")) or None,
        cache_control=event.headers.get("cache-control"),
        metadata=read_metadata(event.headers.get("stocktake-metadata")),
    )


def raw_body() -> bytes:
    """Returns the bytes of the request."""
    return b64decode(api.current_event.body or "") if api.current_event.is_base64_encoded else (api.current_event.body or "").encode()


def created(document: dict[str, Any]) -> Response[str]:
    """Answers 201."""
    return Response(HTTPStatus.CREATED, content_types.APPLICATION_JSON, json.dumps(document))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes requests of the HTTP API."""
    return api.resolve(event, context)
