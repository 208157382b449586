"""The OpenAPI document, put together from the table of routes, the models of requests and answers, and the tree of errors.

Nothing of it is written twice: a route that no entry describes, or an entry of no route, is an error when the document is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from stocktake import __version__, errors
from stocktake.errors import StocktakeError
from stocktake.openapi import analytics, diagnostics, migration, object_events, project_deletion, reconciliation, upload
from stocktake.openapi.operation import Answer, Header, Operation
from stocktake.openapi.problem import Problem, by_status, every_error, example_of, schema_of
from stocktake.problems import PROBLEM_JSON
from stocktake.requests import MAX_ID
from stocktake.routes import ROUTES, Route

OPERATIONS = (
    *upload.OPERATIONS,
    *object_events.OPERATIONS,
    *project_deletion.OPERATIONS,
    *reconciliation.OPERATIONS,
    *migration.OPERATIONS,
    *analytics.OPERATIONS,
    *diagnostics.OPERATIONS,
)

_TAGS = {
    "upload": "Projects, objects, and every way in and out.",
    "object_events": "What happened in the bucket, told by those who saw it.",
    "project_deletion": "Deleting a project, with a receipt that proves it.",
    "reconciliation": "Bucket and ledger compared; findings, repair, quarantine.",
    "migration": "Records that exist already, brought in and moved into the bucket; and the ledger, written into files.",
    "analytics": "Counts, drift, and documents about the API itself.",
    "diagnostics": "Whether everything is as it should be, and what is true of one object.",
}

_DESCRIPTION = """\
Keeps an S3-compatible bucket and the ledger that describes it telling the same story.

Times are RFC 3339 in UTC, sizes are bytes. An unknown field or query parameter is an error. Errors are RFC 9457 problem documents:
their `type` is stable. A `Retry-After` says that the same request may succeed a little later.

API Gateway, in front, has answers of its own, with a JSON `message` and no problem: 404 for a path or method that is not here, 413 for a
body over 10 MB, 429 when it is asked too often, 503 when there was no answer within 30 s. A path parameter that holds `%2F` is no path
of this API.\
"""

_OF_EVERY = (
    errors.InvalidRequest,
    errors.NoSuchRoute,
    StocktakeError,
    errors.ConfigurationError,
    errors.LedgerError,
)
_OF_TOKENS = (errors.Unauthenticated, errors.Forbidden, errors.KeysUnavailable)
_OF_ONCE = (errors.IdempotencyMismatch, errors.IdempotencyInProgress)

_GATEWAY = {
    404: "The gateway's own, for what is no path of this API.",
    413: "The gateway's own, for a body over 10 MB.",
    429: "The gateway's own: asked too often.",
    500: "The gateway's own: the function broke off.",
    503: "The gateway's own: no answer in time.",
}

_OF_MEDIA: Mapping[str, Mapping[str, str]] = {"application/json": {"type": "object"}, "text/html; charset=utf-8": {"type": "string"}}

_ID = {"type": "string", "pattern": "^[0-9A-Za-z-]+$", "minLength": 1, "maxLength": MAX_ID}
_PATH: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "project_id": (
        "A project, by any spelling: with proj_ in front once, twice or not at all.",
        {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.~()$@=+-]*$", "minLength": 1, "maxLength": 100},
        "proj_sunset",
    ),
    "object_id": ("An object.", _ID, "01KAHXPLEN0000000000000000"),
    "upload_id": ("An upload: the id its object will have.", _ID, "01KAHXVP0AD000000000000000"),
    "generation_id": ("A generation job.", _ID, "01KAHGENERAT10N00000000000"),
    "deletion_id": ("The deletion of a project.", _ID, project_deletion.DELETION_ID),
    "run_id": ("A reconciliation.", _ID, reconciliation.RUN_ID),
    "migration_id": ("A migration.", _ID, migration.MIGRATION_ID),
    "export_id": ("An export.", _ID, migration.EXPORT_ID),
    "recount_id": ("A recount.", _ID, "daily-2026-11-27"),
    "acknowledgement_id": ("What is quiet.", {"type": "string"}, "acknowledged-0123456789abcdef0123456789abcdef"),
    "entry_id": ("A quarantine entry.", _ID, f"{reconciliation.RUN_ID}-0123456789abcdef01234567"),
}

_IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    "For a day the same key answers what it answered, whatever becomes of the connection. A UUID, for example.",
    "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    schema={"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
)
_REPLAYED = Header("Idempotency-Replayed", "true where this is the answer to an earlier request.", "true", schema={"const": "true"})
_RETRY_AFTER = Header(
    "Retry-After", "Seconds after which the same request may succeed.", "5", schema={"type": "string", "pattern": "^[0-9]+$"}
)
_CHALLENGE = Header("WWW-Authenticate", "What the token lacks (RFC 6750).", 'Bearer error="invalid_token"', required=True)
_CONTENT_RANGE = Header("Content-Range", "How many bytes there are.", "bytes */118", required=True)
_OF_PROBLEMS: tuple[tuple[Header, Callable[[type[StocktakeError]], bool]], ...] = (
    (_RETRY_AFTER, lambda error: error.retry_after is not None),
    (_CHALLENGE, lambda error: error is errors.Unauthenticated),
    (replace(_CHALLENGE, required=False), lambda error: error is errors.Forbidden),
    (_CONTENT_RANGE, lambda error: error is errors.RangeNotSatisfiable),
)


def document() -> dict[str, Any]:
    """Makes the OpenAPI 3.1 document of the whole API.

    Raises:
        LookupError: a route has no entry, or an entry no route.
    """
    described = {operation.key: operation for operation in OPERATIONS}
    if stray := described.keys() ^ {route.key for route in ROUTES}:
        raise LookupError(f"the table of routes and the document do not tell the same of {', '.join(sorted(stray))}")
    schemas = _schemas(OPERATIONS)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, described[route.key], schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stocktake",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "Where this document was read."}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**_without(schemas, "examples", []), **{error.__name__: schema_of(error) for error in every_error()}},
            "examples": {error.type: example_of(error) for error in every_error()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token whose scope holds what the operation names.",
                },
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "stocktake-signature",
                    "description": "t=UNIX_SECONDS,v1=HEX: HMAC-SHA256 of the seconds, a dot and the body, under the shared secret.",
                },
            },
        },
    }


def _operation(route: Route, operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [{"bearer": [route.scope.value]}] if route.scope else [{"signature": []}] if operation.signed else [],
        "parameters": _parameters(route, operation, schemas),
        "responses": {str(status): response for status, response in sorted(_responses(route, operation, schemas).items())},
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body is not None:
        described["requestBody"] = _request_body(operation.body, operation.raw_types, schemas)
    return described


def _parameters(route: Route, operation: Operation, schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name in [step[1:-1] for step in route.path.split("/") if step.startswith("{")]:
        description, schema, example = _PATH[name]
        found.append({"name": name, "in": "path", "required": True, "description": description, "schema": schema, "example": example})
    query = schemas[operation.query.__name__]
    for name, schema in query.get("properties", {}).items():
        shown = {word: value for word, value in schema.items() if word != "description"}
        found.append(
            {
                "name": name,
                "in": "query",
                "required": name in query.get("required", ()),
                "description": schema["description"],
                "schema": shown,
            }
        )
    for header in (*operation.headers, *([_IDEMPOTENCY_KEY] if operation.once else [])):
        found.append({"name": header.name, "in": "header", **_header(header)})
    return found


def _header(header: Header) -> dict[str, Any]:
    return {"description": header.description, "required": header.required, "schema": dict(header.schema), "example": header.example}


def _request_body(body: type[BaseModel], raw_types: Iterable[str], schemas: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": _json(body, schemas)}
    for media_type in raw_types:
        content[media_type] = {"schema": {"type": "string", "contentMediaType": media_type}}
    # a body all of whose fields may be left out may be left out itself
    is_required = any(name in schemas[body.__name__] for name in ("required", "oneOf"))
    return {"required": is_required, "content": content}


def _responses(route: Route, operation: Operation, schemas: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    responses = {status: _success(answer, operation, schemas) for status, answer in operation.answers.items()}
    problems = by_status((*_OF_EVERY, *operation.problems, *(_OF_TOKENS if route.scope else ()), *(_OF_ONCE if operation.once else ())))
    for status in sorted(problems.keys() | _GATEWAY.keys()):
        responses[status] = _failure(status, problems.get(status, []))
    if route.method == "GET" and route.scope:
        # a browser that comes without a token is given a page to sign in
        responses[errors.Unauthenticated.status]["content"]["text/html; charset=utf-8"] = {"schema": {"type": "string"}}
    return responses


def _success(answer: Answer, operation: Operation, schemas: Mapping[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.description}
    headers = (*answer.headers, *([_REPLAYED] if operation.once else []))
    if headers:
        response["headers"] = {header.name: _header(header) for header in headers}
    if isinstance(answer.body, tuple):
        response["content"] = {
            "application/json": {
                "schema": {"oneOf": [_reference(model) for model in answer.body]},
                "examples": {model.__name__: {"value": example(_reference(model), schemas)} for model in answer.body},
            }
        }
    elif answer.body is not None:
        response["content"] = {"application/json": _json(answer.body, schemas)}
    if answer.media_type is not None:
        response.setdefault("content", {})[answer.media_type] = {"schema": _OF_MEDIA.get(answer.media_type, {})}
    return response


def _failure(status: int, problems: list[type[StocktakeError]]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": "; ".join(error.type for error in problems) or _GATEWAY[status], "content": {}}
    if problems:
        schemas = [{"$ref": f"#/components/schemas/{error.__name__}"} for error in problems]
        response["content"][PROBLEM_JSON] = {
            "schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas},
            "examples": {error.type: {"$ref": f"#/components/examples/{error.type}"} for error in problems},
        }
    if status in _GATEWAY:
        response["content"]["application/json"] = {"schema": {"$ref": "#/components/schemas/GatewayMessage"}}
    headers = [header for header, says in _OF_PROBLEMS if any(says(error) for error in problems)]
    if headers:
        response["headers"] = {header.name: _header(header) for header in headers}
    return response


def _json(model: type[BaseModel], schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {"schema": _reference(model), "example": example(_reference(model), schemas)}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    models: dict[str, type[BaseModel]] = {Problem.__name__: Problem}
    for operation in operations:
        bodies = [answer.body for answer in operation.answers.values()]
        answered = [model for body in bodies if body is not None for model in (body if isinstance(body, tuple) else (body,))]
        for model in (operation.query, *answered, *([operation.body] if operation.body else [])):
            models[model.__name__] = model
    _, made = models_json_schema(
        [(model, "validation") for model in models.values()],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Untitled,
    )
    gateway = {
        "description": "What API Gateway says by itself.",
        "type": "object",
        "properties": {"message": {"type": ["string", "null"]}},
        "required": ["message"],
    }
    # a field of an answer that may be left out is never null for it
    return {**_without(dict(sorted(made["$defs"].items())), "default", None), "GatewayMessage": gateway}


def _without(schema: Any, word: str, value: Any) -> Any:
    """Drops a word that says this value, at any depth."""
    if isinstance(schema, dict):
        return {name: _without(said, word, value) for name, said in schema.items() if (name, said) != (word, value)}
    return [_without(said, word, value) for said in schema] if isinstance(schema, list) else schema


def example(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """Puts an example together from those of the fields. One that may be left out is, if it has none, or says `examples=[]`."""
    if "$ref" in schema and "examples" not in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for word in ("examples", "enum"):
        if word in schema:
            return schema[word][0]
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], schemas)
    if schema.get("type") == "array":
        return [example(schema["items"], schemas)]
    if schema.get("type") == "object":
        required = schema.get("required", ())
        return {
            name: example(field, schemas)
            for name, field in schema.get("properties", {}).items()
            if name in required or _says(field, schemas)
        }
    raise LookupError(f"no example can be made of {schema}: give the field one")


def _says(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> bool:
    if schema.get("examples") == [] or "default" in schema:
        return False
    try:
        example(schema, schemas)
    except LookupError:
        return False
    return True
