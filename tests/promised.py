"""What the OpenAPI document promises of an answer: every test that gets one of the API's holds it to that."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from stocktake.openapi.document import document
from stocktake.routes import ROUTES

_NO_CONTENT = (204, 302, 304)


def hold_to_document(method: str, path: str, status: int, headers: Mapping[str, str], body: str | bytes | None) -> None:
    """Fails unless the document has this answer: its status, its media type, its headers and every field of its JSON."""
    route = next((route for route in ROUTES if route.method == method and _of(route.path).fullmatch(path.partition("?")[0])), None)
    if route is None:
        return  # a path that is nobody's: API Gateway's to answer
    described = _document()["paths"][route.path][method.lower()]["responses"]
    assert str(status) in described, f"{route.key} answered {status}, which the document does not know: {body!r}"
    answer = described[str(status)]
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name, header in answer.get("headers", {}).items() if header["required"] and name.lower() not in given]
    assert not missing, f"{route.key} answered {status} without {missing}"
    if status in _NO_CONTENT:
        assert not body, f"{route.key} answered {status} with a body"
        return
    media_type = given["content-type"]
    assert "*/*" in answer["content"] or media_type in answer["content"], f"{route.key} answered {status} as {media_type}"
    if "json" in media_type and "*/*" not in answer["content"]:
        faults = [
            f"{fault.instance_path}: {fault.message}"
            for fault in _schema(route.key, status, media_type).iter_errors(json.loads(body or ""))
        ]
        assert not faults, f"{route.key} answered {status} otherwise than documented: {faults}"


@functools.cache
def _document() -> dict[str, Any]:
    return document()


@functools.cache
def _of(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)))


@functools.cache
def _schema(key: str, status: int, media_type: str) -> jsonschema_rs.Draft202012Validator:
    method, path = key.split(" ")
    content = _document()["paths"][path][method.lower()]["responses"][str(status)]["content"][media_type]
    schema = {**content.get("schema", {}), "components": {"schemas": _document()["components"]["schemas"]}}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
