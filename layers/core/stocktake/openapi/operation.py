"""What the document says of one route, and the words that entries are written in.

An entry names what only this operation does. What every operation does alike (problems of any request, the gateway's own answers, the
token) is added by `document`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from stocktake import errors
from stocktake.errors import StocktakeError
from stocktake.requests import Body, NoQuery, Query


class AnswerBody(BaseModel):
    """The JSON of an answer: every field there is, none besides."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


LEFT_OUT: Any = None
"""The default of a field that an answer may be without. Where it is there, it is not null."""

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-21T05:30:00.000Z"]})]
"""RFC 3339, in UTC."""

Count = Annotated[int, Field(ge=0, examples=[2])]

OBJECT_ID = "01KAHXPLEN0000000000000000"
GENERATION_ID = "01KAHGENERAT10N00000000000"
SHA256 = "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a"
ETAG = "93b885adfe0da089cdf634904fd59f71"


class Tally(AnswerBody):
    """How many objects, and the bytes they have together."""

    objects: Count
    bytes: int = Field(examples=[236], ge=0)


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a request or of an answer."""

    name: str
    description: str
    example: str
    required: bool = False
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, slots=True)
class Answer:
    """One success: its JSON as a model, or one of several; other content as its media type; either, or neither for an empty body."""

    description: str
    body: type[AnswerBody] | tuple[type[AnswerBody], ...] | None = None
    media_type: str | None = None
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """What the document says of one route.

    Args:
        key: of the route, as API Gateway spells it.
        name: the operationId, from which clients name their method.
        answers: every success by status.
        problems: what this operation answers with besides what every operation may.
        body: the JSON it takes; `raw_types` are the media types of the bytes it takes as well.
        once: whether it takes an Idempotency-Key.
        signed: whether its requests bear a signature in place of a token.
    """

    key: str
    name: str
    summary: str
    tag: Literal["upload", "object_events", "project_deletion", "reconciliation", "migration", "analytics", "diagnostics"]
    answers: Mapping[int, Answer]
    problems: tuple[type[StocktakeError], ...] = ()
    description: str = ""
    body: type[Body] | None = None
    query: type[Query] = NoQuery
    headers: tuple[Header, ...] = ()
    raw_types: tuple[str, ...] = ()
    once: bool = False
    signed: bool = False


OF_THE_BUCKET = (
    errors.StorageError,
    errors.StorageDenied,
    errors.BucketNotFound,
    errors.WrongRegion,
    errors.StorageUnavailable,
)
"""Whatever asks the bucket."""

OF_WRITING = (*OF_THE_BUCKET, errors.ObjectExists, errors.ConfirmationFailed, errors.RecordChanged, errors.Conflict)
"""Whatever brings bytes into the bucket and commits them."""
