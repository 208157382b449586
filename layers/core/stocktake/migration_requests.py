"""The bodies and queries the migration function takes, and the lines of the files it reads."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from pydantic import Field

from stocktake.errors import InvalidRequest
from stocktake.migration.entries import MAX_SOURCE_BYTES, Entry, NewMigration, Source
from stocktake.model import State
from stocktake.requests import MAX_ID, Body, ListQuery, distinct, read_body
from stocktake.upload_requests import ObjectBody, Sha256

_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", re.DOTALL | re.IGNORECASE)
_JSON_COLUMNS = frozenset({"metadata", "sensitive", "layout", "generation", "width", "height"})
_LATEST = 253_402_300_799_999  # the end of the year 9999


class SourceBody(Body):
    """The file that is to come."""

    format: Literal["jsonl", "csv"]
    bytes: int = Field(ge=1, le=MAX_SOURCE_BYTES, description="How many there will be.", examples=[20_000])
    sha256: Sha256 = Field(description="Of the bytes.", examples=["9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a"])


class NewMigrationBody(Body):
    """POST /migrations."""

    source: SourceBody | None = Field(default=None, description="A file of records; without, what is unstored is moved into the bucket.")
    project_id: str | None = Field(default=None, max_length=MAX_ID, description="This project alone.")
    batch: int | None = Field(default=None, ge=1, le=100, description="Lines or records of a batch.")
    dry_run: bool = Field(default=False, description="Say what would be done, and do nothing.")
    create_projects: bool = Field(default=False, description="Open the projects that lines name and nobody opened.")

    def asked(self) -> NewMigration:
        """Returns it as the flow knows it. Raises InvalidRequest."""
        if self.source is None and self.create_projects:
            raise InvalidRequest("create_projects is for the lines of a source: leave it out, or send a source")
        source = Source(self.source.format, self.source.bytes, self.source.sha256) if self.source else None
        return NewMigration(source, self.project_id, self.batch, self.dry_run, self.create_projects)


class NewExportBody(Body):
    """POST /exports."""

    project_id: str | None = Field(default=None, max_length=MAX_ID, description="This project alone.")
    contents: bool = Field(default=False, description="Put the bytes that lie in the ledger into their lines.")


class FindingsExportBody(Body):
    """POST /reconciliations/{run_id}/export."""

    format: Literal["jsonl", "csv"] = Field(
        default="jsonl", description="jsonl loses nothing; csv opens in a spreadsheet, and no cell of it is taken for a formula."
    )


class ResultsQuery(ListQuery):
    """GET /migrations/{migration_id}/results."""

    outcome: Literal["done", "skipped", "failed"] | None = Field(default=None, description="Only these.")


class LineBody(ObjectBody):
    """One line of a file of records: exactly one of `content_base64`, `data_url`, `url` and `key`, and what is said of it."""

    project_id: str = Field(min_length=1, max_length=MAX_ID)
    content_base64: str | None = None
    data_url: str | None = None
    url: str | None = None
    key: str | None = Field(default=None, min_length=1, max_length=1024)
    id: str | None = Field(default=None, min_length=1, max_length=MAX_ID)
    object_id: str | None = Field(default=None, max_length=MAX_ID)
    state: Literal["STORED", "INLINE", "EXTERNAL", "MISSING", "QUARANTINED"] | None = None
    content_type: str | None = Field(default=None, max_length=MAX_ID)
    sha256: Sha256 | None = None
    created_at: int | str | None = None
    original_url: str | None = Field(default=None, max_length=2048)
    width: int | None = Field(default=None, ge=1)
    height: int | None = Field(default=None, ge=1)
    sealed: str | None = None

    def entry(self) -> Entry:
        """Returns it as the flow knows it. Raises InvalidRequest."""
        given = [name for name in ("content_base64", "data_url", "url", "key") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidRequest(f"the line has {' and '.join(given) or 'no object'}: give one of content_base64, data_url, url and key")
        if self.id is not None and self.object_id is not None:
            raise InvalidRequest("id is yours and object_id ours: give the one or the other")
        if self.sealed is not None and self.object_id is None:
            raise InvalidRequest("sealed metadata is bound to its object: give the object_id it was exported with")
        if self.key is None and (self.width is not None or self.height is not None):
            raise InvalidRequest("width and height are read from the bytes: leave them out")
        if self.url is not None and self.original_url is not None:
            raise InvalidRequest("original_url is the url of this line: leave it out")
        body, declared = None, self.content_type
        if self.content_base64 is not None:
            body = _decoded(self.content_base64, "content_base64")
        elif self.data_url is not None:
            body, declared = _data(self.data_url, self.content_type)
        return Entry(
            self.project_id,
            body=body,
            url=self.url,
            key=self.key,
            id=self.id,
            object_id=self.object_id,
            state=None if self.state is None else State(self.state),
            declared_type=declared,
            sha256=self.sha256,
            created_at=None if self.created_at is None else _milliseconds(self.created_at),
            original_url=self.original_url,
            width=self.width,
            height=self.height,
            sealed=self.sealed,
            details=self.details(),
        )


COLUMNS = frozenset(LineBody.model_fields)
"""What the columns of a CSV file may be called."""


def read_entry(content: str | Mapping[str, str]) -> Entry:
    """Reads one line of a file: the text of a JSONL line, or the cells of a CSV record by column. An empty cell says nothing.

    Raises:
        InvalidRequest: naming each field that is wrong, absent, unknown or there twice.
    """
    if not isinstance(content, str):
        content = json.dumps({name: _cell(name, text) for name, text in content.items() if text})
    return read_body(LineBody, content, what="the line").entry()


def _cell(name: str, text: str) -> Any:
    if name not in _JSON_COLUMNS:
        return text
    try:
        return json.loads(text, object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the cell {name} is not JSON: {error}") from error


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{what} is not base64: {error}") from error


def _data(url: str, declared: str | None) -> tuple[bytes, str | None]:
    """Takes a data URL apart into its bytes and their type (RFC 2397)."""
    parts = _DATA_URL.fullmatch(url)
    if parts is None:
        raise InvalidRequest("data_url is none: it begins with data:, and has a comma before its data")
    said, options, data = parts[1].strip().lower(), parts[2].lower(), parts[3]
    if said and declared is not None and declared.lower() != said:
        raise InvalidRequest(f"content_type says {declared[:80]} and the data URL {said[:80]}: correct the line")
    body = _decoded(data, "data_url") if options.endswith(";base64") else unquote_to_bytes(data)
    return body, declared or said or None


def _milliseconds(said: int | str) -> int:
    """Reads a time: milliseconds since the epoch, or ISO 8601, which is UTC where it names no offset."""
    try:
        if isinstance(said, str) and not said.isdecimal():
            at = datetime.fromisoformat(said)
            milliseconds = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
        else:
            milliseconds = int(said)
    except (ValueError, OverflowError):
        raise InvalidRequest("created_at is no time: give ISO 8601, such as 2026-11-26T12:00:00Z, or milliseconds") from None
    if not 0 <= milliseconds <= _LATEST:
        raise InvalidRequest("created_at lies before 1970 or after 9999: give ISO 8601, or milliseconds (not seconds)")
    return milliseconds
