"""The document and its page as they are served: made once in a process, known by their ETag."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from stocktake.conditions import NotModified, evaluate
from stocktake.openapi import page
from stocktake.openapi.document import document


@dataclass(frozen=True, slots=True)
class Served:
    """An answer; where the caller has it already, without content."""

    status: int
    content_type: str | None
    body: str
    headers: Mapping[str, str]


def document_for(headers: Mapping[str, str]) -> Served:
    """Answers a request for the document. `headers` are the request's, names in lower case."""
    return _answer(headers, "application/json", _document())


def page_for(headers: Mapping[str, str]) -> Served:
    """Answers a request for the page."""
    return _answer(headers, "text/html; charset=utf-8", _page(), page.HEADERS)


def _answer(headers: Mapping[str, str], content_type: str, body: str, more: Mapping[str, str] | None = None) -> Served:
    etag = hashlib.sha256(body.encode()).hexdigest()[:32]
    known = {name: value for name, value in headers.items() if name == "if-none-match"}
    is_known = isinstance(evaluate(known, etag=etag, last_modified=0, size=len(body)), NotModified)
    said = {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache", **(more or {})}
    return Served(304, None, "", said) if is_known else Served(200, content_type, body, said)


@cache
def _document() -> str:
    return json.dumps(document(), separators=(",", ":"))


@cache
def _page() -> str:
    return page.page(document())
