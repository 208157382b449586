"""The bodies, queries and headers the upload function takes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import Field, StringConstraints, ValidationError

from stocktake.errors import InvalidRequest, StocktakeError
from stocktake.idempotency import Scope, check_key
from stocktake.model import Announced, Details, NewObject, Quota, SessionPlace
from stocktake.requests import MAX_ID, Body, Query, RecentQuery, distinct, faults_of, read_body

_OURS = "stocktake-"
_KNOWN = ("stocktake-metadata", "stocktake-options", "stocktake-file-name")
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MOST_ITEMS = 100
"""Of a batch, whatever BatchItems says: its MaxValue in the template."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Lower-case hex."""


class QuotaBody(Body):
    """PUT /projects/{project_id}/quota: the most a project may hold; null or absent for no limit."""

    objects: int | None = Field(default=None, ge=0, le=10**15)
    bytes: int | None = Field(default=None, ge=0, le=10**18)

    def quota(self) -> Quota:
        """Returns it as the flows know it."""
        return Quota(self.objects, self.bytes)


class NewProjectBody(Body):
    """POST /projects."""

    project_id: str
    metadata: dict[str, Any] = Field(default_factory=dict)
    quota: QuotaBody | None = None


class LayoutBody(Body):
    """The session layout, asked for: `images/{session}/{persona}/...`."""

    name: Literal["session"]
    persona: str
    session: str | None = None


class OutputBody(Body):
    """The generation job an object belongs to, and its number among the job's outputs."""

    generation_id: str = Field(max_length=MAX_ID)
    output: int = Field(ge=0)


class _Options(Body):
    sensitive: list[str] = Field(default_factory=list, max_length=100)
    layout: LayoutBody | None = None
    generation: OutputBody | None = None


class OptionsHeader(_Options):
    """The `Stocktake-Options` header of a raw upload."""


class ObjectBody(_Options):
    """What any JSON body says of an object beside its bytes."""

    file_name: str | None = None
    cache_control: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    def details(self) -> Details:
        """Returns what is said of the object beside its bytes."""
        return details_of(self, self.file_name, self.cache_control, self.metadata)


class Base64ObjectBody(ObjectBody):
    """POST /projects/{project_id}/objects with `content-type: application/json`, and each item of a batch."""

    content_base64: str
    content_type: str | None = None

    def new_object(self) -> NewObject:
        """Decodes the bytes. Raises InvalidRequest."""
        try:
            body = base64.b64decode(self.content_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest(f"content_base64 is not base64: {error}") from error
        return NewObject(body, self.content_type, self.details())


class BatchBody(Body):
    """POST /projects/{project_id}/objects/batch. The items are read one by one, so that one that is wrong loses no other."""

    objects: list[Any] = Field(max_length=_MOST_ITEMS)

    def items(self) -> list[NewObject | StocktakeError]:
        """Reads every item: the object, or why it cannot be read."""
        return [_item(item) for item in self.objects]


class ImportBody(ObjectBody):
    """POST /projects/{project_id}/imports."""

    url: str


class NewUploadBody(ObjectBody):
    """POST /projects/{project_id}/uploads: `sha256` for one PUT, or `part_bytes` for parts."""

    content_type: str
    bytes: int = Field(ge=1)
    sha256: Sha256 | None = None
    part_bytes: int | None = Field(default=None, ge=1)

    def announced(self) -> Announced:
        """Returns the object that is to come."""
        return Announced(self.content_type, self.bytes, self.sha256, self.part_bytes, self.details())


class PartBody(Body):
    """One part to sign."""

    number: int = Field(ge=1)
    sha256: Sha256


class PartsBody(Body):
    """POST /uploads/{upload_id}/parts."""

    parts: list[PartBody] = Field(min_length=1)

    def wanted(self) -> dict[int, str]:
        """Returns the hashes by part number. Raises InvalidRequest for a number named twice."""
        wanted = {part.number: part.sha256 for part in self.parts}
        if len(wanted) < len(self.parts):
            raise InvalidRequest("parts names a number twice: name each part once")
        return wanted


class CompletionBody(Body):
    """POST /uploads/{upload_id}/complete: for one in parts the SHA-256 of each, in order."""

    part_sha256: list[Sha256] = Field(default_factory=list)


class NewGenerationBody(Body):
    """POST /projects/{project_id}/generations."""

    metadata: dict[str, Any] = Field(default_factory=dict)
    sensitive: list[str] = Field(default_factory=list, max_length=100)
    outputs: int = 1


class GenerationReportBody(Body):
    """PATCH /generations/{generation_id}: what the worker says of its job."""

    status: Literal["running", "completed", "failed"]
    error: str | None = Field(default=None, max_length=2000)


class GenerationsQuery(RecentQuery):
    """GET /projects/{project_id}/generations."""

    cursor: str | None = None


class ContentQuery(Query):
    """GET /objects/{object_id}/content."""

    way: Literal["redirect", "bytes"] = Field(default="redirect", alias="as")


def read_details(headers: Mapping[str, str]) -> Details:
    """Reads what the headers of a raw upload say.

    They are `Stocktake-File-Name` (percent-encoded), `Cache-Control`, and, as JSON objects with all that is not ASCII escaped,
    `Stocktake-Metadata` and `Stocktake-Options`.

    Raises:
        InvalidRequest: naming the header and what is wrong in it, or one of ours that is none of these.
    """
    unknown = [name for name in _ours(headers) if name not in _KNOWN]
    if unknown:
        raise InvalidRequest(f"no header is called {', '.join(unknown)}: known are {', '.join(_KNOWN)}")
    try:
        metadata = json.loads(headers.get("stocktake-metadata") or "{}", object_pairs_hook=distinct)
    except ValueError as error:
        raise InvalidRequest(f"the header Stocktake-Metadata is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise InvalidRequest("the header Stocktake-Metadata must hold a JSON object")
    options = read_body(OptionsHeader, headers.get("stocktake-options"), what="the header Stocktake-Options")
    return details_of(options, _file_name(headers.get("stocktake-file-name", "")), headers.get("cache-control"), metadata)


def refuse_ours(headers: Mapping[str, str]) -> None:
    """Refuses headers of ours beside a JSON body, which says all that itself. Raises InvalidRequest."""
    if ours := _ours(headers):
        raise InvalidRequest(f"a JSON body says what the headers {', '.join(ours)} would: leave them out and put it into the body")


def details_of(options: _Options, file_name: str | None, cache_control: str | None, metadata: Mapping[str, Any]) -> Details:
    """Puts together what a caller said of an object beside its bytes."""
    place, generation = options.layout, options.generation
    return Details(
        file_name=file_name,
        cache_control=cache_control,
        metadata=metadata,
        sensitive=tuple(options.sensitive),
        session_place=SessionPlace(place.persona, place.session) if place else None,
        generation_id=generation.generation_id if generation else None,
        output=generation.output if generation else None,
    )


def read_scope(event: Mapping[str, Any], headers: Mapping[str, str], caller: str, project: str) -> Scope | None:
    """Reads the `Idempotency-Key` of a request; None where it has none.

    Args:
        event: the HTTP API's event, version 2.0.
        caller: the name of who sent it.
        project: stem of the project the request is about.

    Raises:
        InvalidRequest: the key is none.
    """
    key = headers.get("idempotency-key")
    if key is None:
        return None
    context = event["requestContext"]
    named = [(name, headers.get(name, "")) for name in ("content-type", "cache-control", *_ours(headers))]
    said = [event.get("rawQueryString") or "", event.get("body") or "", named]
    fingerprint = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    route = f"{context['http']['method']} {event['rawPath']}"
    return Scope(caller, route, check_key(key), fingerprint, project)


def _ours(headers: Mapping[str, str]) -> list[str]:
    return sorted(name for name in headers if name.startswith(_OURS))


def _file_name(text: str) -> str | None:
    try:
        if _NO_ESCAPE.search(text) is None:
            return unquote(text, errors="strict") or None
    except UnicodeDecodeError:
        pass
    raise InvalidRequest("the header Stocktake-File-Name is not percent-encoded UTF-8: encode the name, a % of its own as %25")


def _item(item: Any) -> NewObject | StocktakeError:
    try:
        return Base64ObjectBody.model_validate(item).new_object()
    except ValidationError as error:
        return InvalidRequest(f"the object cannot be read: {faults_of(Base64ObjectBody, error)}")
    except StocktakeError as error:
        return error
