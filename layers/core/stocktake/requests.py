"""The bodies and queries the API takes: every field named, every unknown one refused, nothing guessed."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stocktake.errors import InvalidRequest


class _Body(BaseModel):
    # defer_build: a model takes 1 ms to build, and a process reads one or two of them
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class NewProjectBody(_Body):
    """POST /projects."""

    project_id: str
    metadata: dict[str, Any] = Field(default_factory=dict)


class Base64ObjectBody(_Body):
    """POST /projects/{project_id}/objects with `content-type: application/json`."""

    content_base64: str
    content_type: str | None = None
    file_name: str | None = Field(default=None, max_length=255)
    cache_control: str | None = Field(default=None, max_length=255)
    metadata: dict[str, Any] = Field(default_factory=dict)

    def content(self) -> bytes:
        """Decodes the bytes. Raises InvalidRequest."""
        try:
            return base64.b64decode(self.content_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest(f"content_base64 is not base64: {error}") from error


class DeletionBody(_Body):
    """DELETE /projects/{project_id}, all optional."""

    reason: str | None = Field(default=None, max_length=1000)


class NoBody(_Body):
    """A request that takes no body."""


class RepairBody(_Body):
    """POST /reconciliations/{run_id}/apply: what to do for each class of finding."""

    plan: dict[str, str] = Field(min_length=1)


class NoQuery(_Query):
    """A request that takes no query."""


class ContentQuery(_Query):
    """GET /objects/{object_id}/content."""

    way: Literal["redirect", "bytes"] = Field(default="redirect", alias="as")


class DeletionQuery(_Query):
    """DELETE /projects/{project_id}: a mistyped dry run must never delete."""

    dry_run: Literal["true", "false"] = "false"


class ListQuery(_Query):
    """Any list."""

    limit: int = Field(default=100, ge=1, le=500)
    cursor: str | None = None


class RecentQuery(_Query):
    """The newest of something."""

    limit: int = Field(default=20, ge=1, le=100)


class FindingsQuery(ListQuery):
    """GET /reconciliations/{run_id}/findings."""

    finding_class: Literal["orphan", "missing", "mismatch", "unstored", "unknown"] | None = Field(default=None, alias="class")


def read_metadata(header: str | None) -> dict[str, Any]:
    """Reads the `Stocktake-Metadata` header of a raw upload: a JSON object, non-ASCII escaped. Raises InvalidRequest."""
    try:
        metadata = json.loads(header) if header else {}
    except ValueError as error:
        raise InvalidRequest(f"the header Stocktake-Metadata is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise InvalidRequest("the header Stocktake-Metadata must hold a JSON object")
    return metadata


def read_body[B: _Body](model: type[B], body: str | None) -> B:
    """Reads a JSON body into its model; an absent body reads as `{}`.

    Raises:
        InvalidRequest: naming each field that is wrong, absent or unknown.
    """
    try:
        return model.model_validate_json(body or "{}")
    except ValidationError as error:
        raise InvalidRequest(f"the body cannot be read: {_faults(model, error)}") from error


def read_query[Q: _Query](model: type[Q], query: Mapping[str, str] | None) -> Q:
    """Reads the query parameters into their model.

    Raises:
        InvalidRequest: naming each parameter that is wrong or unknown.
    """
    try:
        return model.model_validate(dict(query or {}))
    except ValidationError as error:
        raise InvalidRequest(f"the query cannot be read: {_faults(model, error)}") from error


def _faults(model: type[BaseModel], error: ValidationError) -> str:
    known = ", ".join(field.alias or name for name, field in model.model_fields.items()) or "none"
    faults = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(step) for step in fault["loc"]) or "it"
        faults.append(f"{where} is unknown (known are: {known})" if fault["type"] == "extra_forbidden" else f"{where}: {fault['msg']}")
    return "; ".join(faults)
