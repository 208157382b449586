"""The bodies and queries the API takes: every field named, every unknown one refused, nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

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

    reason: str | None = Field(
        default=None, max_length=1000, description="Why; kept on the receipt.", examples=["the customer asked for it"]
    )
    mode: Literal["both", "ledger", "listing", "sequential"] | None = Field(
        default=None,
        description="Where keys are looked for: in ledger and listings, unless one is named; sequential removes them one by one.",
    )
    undo: bool = Field(
        default=True,
        description="false: erase at once, also where deletions can be undone for a while, and what an earlier request has set aside.",
    )


class NoBody(Body):
    """A request that takes no body."""


_ABSENT: Any = None
"""The default of a field that may be left out, and may not be null."""
_ACTIONS: dict[str, Any] = {
    "missing": {"enum": ["mark_missing", "forget", "refetch", "acknowledge"]},
    "mismatch": {"enum": ["refresh", "acknowledge"]},
    "unstored": {"enum": ["settle", "refetch", "forget", "acknowledge"]},
    "orphan": {"enum": ["quarantine", "adopt", "delete", "acknowledge"]},
    "orphan.none": {"enum": ["quarantine", "acknowledge"]},
    "unstored.pending": {"enum": ["settle", "acknowledge"]},
    "unstored.uncommitted": {"enum": ["settle", "acknowledge"]},
    "unstored.inline": {"enum": ["refetch", "acknowledge"]},
    "unstored.external": {"enum": ["refetch", "acknowledge"]},
    "unstored.missing": {"enum": ["refetch", "forget", "acknowledge"]},
    "unknown": {"enum": ["acknowledge"]},
    "duplicate_spelling": {"enum": ["acknowledge"]},
}
"""For the document alone: `repair` decides, and says more of what is wrong."""


class RepairBody(Body):
    """What to do about a run's findings: an action for each class, a policy by its name, or a plan that was made before. One of them."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in ("plan", "policy", "plan_id")]})

    plan: dict[str, str] = Field(
        default=_ABSENT,
        min_length=1,
        description=(
            "An action by class of finding. missing: mark_missing, forget or refetch; mismatch: refresh; unstored: settle, refetch or "
            "forget; orphan: quarantine, adopt or delete; orphan.none: quarantine; any: acknowledge. What is unstored may be "
            "named by its kind, as unstored.missing: that counts then, and not what is said of the class. What is not named is left alone."
        ),
        examples=[{"missing": "mark_missing", "orphan": "quarantine"}],
        json_schema_extra={"properties": _ACTIONS, "additionalProperties": False},
    )
    policy: Literal["safe"] = Field(
        default=_ABSENT,
        description="safe: mark_missing, refresh and settle, which lose nothing.",
        examples=[],
    )
    plan_id: str = Field(
        default=_ABSENT, min_length=1, max_length=MAX_ID, description="Of a plan: to go on with it, or to apply it.", examples=[]
    )

    first_run: bool = Field(
        default=False,
        description="The run is the first complete one of this ledger, and its findings have been read: without, that one only reports.",
    )

    def chosen(self) -> str:
        """Returns the name of the one field that is given. Raises InvalidRequest where none or several are."""
        given = [name for name in ("plan", "policy", "plan_id") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidRequest(f"the body has {' and '.join(given) or 'none of them'}: give one of plan, policy and plan_id")
        return given[0]


class StartRunBody(Body):
    """POST /reconciliations, all optional."""

    dry_run: bool = Field(default=False, description="true: say what a run would cost, and start none.")
    accept_loss: bool = Field(
        default=False,
        description="Bucket or ledger lost more than a tenth since the last run, and the cause is known: compare all the same.",
    )
    inventory: str | None = Field(
        default=None,
        min_length=1,
        max_length=1200,
        description="The manifest of an S3 Inventory (CSV or Parquet) to compare in place of the bucket's listing. Not with dry_run.",
        examples=["s3://my-inventories/my-bucket/weekly/2026-11-22T01-00Z/manifest.json"],
    )


def _spelled_as_a_time(text: str) -> str:
    # pydantic would take a number for seconds since 1970
    if "T" not in text.upper():
        raise ValueError("write it as 2026-11-26T12:00:00Z")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_spelled_as_a_time)]
"""A time with its zone, as RFC 3339 spells it."""


class RecountBody(Body):
    """POST /recounts, all optional."""

    repair: bool = Field(
        default=False,
        description="true: put right what is counted wrong, and count by layout, type, provider and purpose what an older version wrote.",
    )
    project_id: str | None = Field(
        default=None, min_length=1, max_length=MAX_ID, description="Recount this project alone.", examples=["proj_sunset"]
    )


class ReplayBody(Body):
    """POST /deletions/replay, all optional."""

    dry_run: bool = Field(default=False, description="true: say what would be erased again, and begin nothing.")


class NoQuery(Query):
    """A request that takes no query."""


class DeletionQuery(Query):
    """DELETE /projects/{project_id}: a mistyped dry run must never delete."""

    dry_run: Literal["true", "false"] = Field(default="false", description="true: say what would be removed, and remove nothing.")
    cursor: str | None = Field(default=None, min_length=1, description="Of a dry run that did not name every key.")


class ReceiptQuery(Query):
    """GET /deletions/{deletion_id}/receipt."""

    shape: Literal["json", "html"] = Field(default="json", alias="as", description="A file, or a page to print.")


class PageQuery(Query):
    """A list whose pages are as long as they are."""

    cursor: str | None = Field(default=None, min_length=1, description="Of the page before; the first page has none.")


class ListQuery(Query):
    """Any list."""

    limit: int = Field(default=100, ge=1, le=500, description="The most entries of the page.")
    cursor: str | None = Field(default=None, min_length=1, description="From the page before; without, the list begins.")


class RecentQuery(Query):
    """The newest of something."""

    limit: int = Field(default=20, ge=1, le=100, description="How many of the newest, at most.")


class HistoryQuery(Query):
    """GET /analytics/history."""

    days: int = Field(default=90, ge=1, le=400, description="How many days back; those before 400 days are not kept.")


class QuarantineQuery(Query):
    """GET /quarantine."""

    limit: int = Field(default=20, ge=1, le=100, description="The most entries of the page.")
    cursor: str | None = Field(default=None, min_length=1, description="From the page before; without, the list begins.")
    project: str | None = Field(default=None, min_length=1, max_length=MAX_ID, description="Entries of this project only.")
    status: Literal["MOVING", "HELD", "CANCELLED", "RESTORING", "RESTORED", "PURGING", "PURGED"] | None = Field(
        default=None, description="Entries of this status only."
    )
    run: str | None = Field(default=None, min_length=1, max_length=MAX_ID, description="Entries of this run only.")


class ActionsQuery(ListQuery):
    """GET /reconciliations/{run_id}/actions."""

    result: Literal["waiting", "done", "skipped", "deferred"] | None = Field(default=None, description="Actions of this result only.")


class OfClassQuery(ListQuery):
    """Findings of one class or all. A page may have fewer than `limit`, and none, and still not be the last: only its cursor says that."""

    finding_class: Literal["orphan", "missing", "mismatch", "unstored", "unknown", "duplicate_spelling"] | None = Field(
        default=None, alias="class", description="Findings of this class only."
    )


class ConformanceQuery(Query):
    """GET /diagnostics/conformance."""

    fresh: bool = Field(default=False, description="Try the store anew, with some fifty requests, in place of saying what is known of it.")


class ObjectQuery(Query):
    """GET /diagnostics/objects: one of the two."""

    key: str | None = Field(
        default=None, min_length=1, max_length=1024, description="Any key of the bucket, whole; with or without a record."
    )
    object_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID, description="The id of an object, in place of a key.")


class FindingsQuery(OfClassQuery):
    """GET /reconciliations/{run_id}/findings: what passes every filter that is given."""

    kind: str | None = Field(
        default=None, min_length=1, max_length=40, description="Of this kind only; one that there is not is refused.", examples=["etag"]
    )
    project: str | None = Field(
        default=None,
        min_length=1,
        max_length=120,
        description="Of this project only; (none) for those of no known one.",
    )
    layout: str | None = Field(
        default=None, min_length=1, max_length=100, description="Whose key is of this layout only; unknown for those that none explains."
    )
    repair: str | None = Field(default=None, min_length=1, max_length=40, description="About which this was done only.", examples=["FOUND"])
    first_seen_after: Moment | None = Field(default=None, description="First seen after this time only.")
    first_seen_before: Moment | None = Field(default=None, description="First seen before this time only.")
    urls: bool = Field(
        default=False, description="Give each image that lies in the bucket a `url` for five minutes, where the token has the scope read."
    )


class ChangesQuery(OfClassQuery):
    """GET /reconciliations/{run_id}/changes."""

    kind: Literal["new", "gone", "unchanged"] = Field(
        description="new: not found by the run before, or not like this. gone: found by the run before and not by this one."
    )


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
        where = ".".join(str(step) for step in fault["loc"])
        said = f"{where}: {fault['msg']}" if where else fault["msg"]  # what is no JSON is wrong as a whole, and nowhere in particular
        faults.append(f"{where} is unknown (known are: {known})" if fault["type"] == "extra_forbidden" else said)
    return "; ".join(faults)
