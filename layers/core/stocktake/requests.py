"""The bodies and queries the API takes: every field named, every unknown one refused, nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stocktake.errors import InvalidRequest

MAX_ID = 255
"""Characters. No id has as many; DynamoDB refuses a key over 2,048 bytes, which would look like a ledger that does not answer."""


class Body(BaseModel):
    """A JSON body: strict types, no unknown field."""

    # defer_build: a model takes 1 ms to build, and a process reads one or two of them
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Query(BaseModel):
    """A query: no unknown parameter."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class DeletionBody(Body):
    """DELETE /projects/{project_id}, all optional."""

    reason: str | None = Field(default=None, max_length=1000)
    mode: Literal["both", "ledger", "listing", "sequential"] | None = None


class NoBody(Body):
    """A request that takes no body."""


class RepairBody(Body):
    """POST /reconciliations/{run_id}/apply: what to do for each class of finding."""

    plan: dict[str, str] = Field(min_length=1)


class NoQuery(Query):
    """A request that takes no query."""


class DeletionQuery(Query):
    """DELETE /projects/{project_id}: a mistyped dry run must never delete."""

    dry_run: Literal["true", "false"] = "false"
    cursor: str | None = None


class ReceiptQuery(Query):
    """GET /deletions/{deletion_id}/receipt."""

    shape: Literal["json", "html"] = Field(default="json", alias="as")


class PageQuery(Query):
    """A list whose pages are as long as they are."""

    cursor: str | None = None


class ListQuery(Query):
    """Any list."""

    limit: int = Field(default=100, ge=1, le=500)
    cursor: str | None = None


class RecentQuery(Query):
    """The newest of something."""

    limit: int = Field(default=20, ge=1, le=100)


class FindingsQuery(ListQuery):
    """GET /reconciliations/{run_id}/findings."""

    finding_class: Literal["orphan", "missing", "mismatch", "unstored", "unknown"] | None = Field(default=None, alias="class")


def read_id(text: str) -> str:
    """Decodes an id that stands in a path. Raises InvalidRequest for one that is longer than any."""
    decoded = unquote(text)
    if len(decoded) > MAX_ID:
        raise InvalidRequest(f"the path names something by {len(decoded)} characters, and no id has over {MAX_ID}: check the path")
    return decoded


def read_body[B: Body](model: type[B], body: str | None, *, what: str = "the body") -> B:
    """Reads a JSON body into its model; an absent body reads as `{}`.

    Raises:
        InvalidRequest: naming each field that is wrong, absent, unknown or there twice.
    """
    text = body or "{}"
    try:
        read = model.model_validate_json(text)
    except ValidationError as error:
        raise InvalidRequest(f"{what} cannot be read: {faults_of(model, error)}") from None  # its cause holds what was sent
    # pydantic keeps the last of two fields of one name and says nothing; numbers need not be read again to see that
    json.loads(text, object_pairs_hook=distinct, parse_int=str, parse_float=str)
    return read


def distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a JSON object of its fields, as an `object_pairs_hook`. Raises InvalidRequest when two have one name."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise InvalidRequest(f"the JSON names {twice[:80]!r} twice in one object: which of the two is meant cannot be told; send one")
    return made


def read_query[Q: Query](model: type[Q], query: Mapping[str, str] | None) -> Q:
    """Reads the query parameters into their model.

    Raises:
        InvalidRequest: naming each parameter that is wrong or unknown.
    """
    try:
        return model.model_validate(dict(query or {}))
    except ValidationError as error:
        raise InvalidRequest(f"the query cannot be read: {faults_of(model, error)}") from error


def faults_of(model: type[BaseModel], error: ValidationError) -> str:
    """Says what is wrong with a body or query, field by field, and never what was sent."""
    known = ", ".join(field.alias or name for name, field in model.model_fields.items()) or "none"
    faults = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(step) for step in fault["loc"]) or "it"
        faults.append(f"{where} is unknown (known are: {known})" if fault["type"] == "extra_forbidden" else f"{where}: {fault['msg']}")
    return "; ".join(faults)
