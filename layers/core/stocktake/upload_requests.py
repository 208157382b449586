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

_METADATA = "Any JSON object; comes back exactly, with its types."
_SENSITIVE = "Names of fields of the metadata that are sealed."
_A_GIF = "R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs="
_A_SHA256 = "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Lower-case hex."""


class QuotaBody(Body):
    """PUT /projects/{project_id}/quota: the most a project may hold; null or absent for no limit."""

    objects: int | None = Field(
        default=None, ge=0, le=10**15, description="The most objects, announced ones included; null for no limit.", examples=[1000]
    )
    bytes: int | None = Field(default=None, ge=0, le=10**18, description="The most bytes; null for no limit.", examples=[10_000_000_000])

    def quota(self) -> Quota:
        """Returns it as the flows know it."""
        return Quota(self.objects, self.bytes)


class NewProjectBody(Body):
    """POST /projects."""

    project_id: str = Field(
        description="1 to 100 letters, digits or _.~()$@=+-, beginning with a letter or digit, also after a leading proj_.",
        examples=["proj_sunset"],
        json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_.~()$@=+-]*$", "minLength": 1, "maxLength": 100},
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description=_METADATA, examples=[{"customer": "c1"}])
    quota: QuotaBody | None = Field(
        default=None, description="The most it may hold, which takes the scope operate; without, DefaultQuotaObjects and DefaultQuotaBytes."
    )


class LayoutBody(Body):
    """The session layout, asked for: `images/{session}/{persona}/...`."""

    name: Literal["session"]
    persona: str = Field(description="A folder's name of the key, as a project id is spelled.", examples=["baby-boomer"])
    session: str | None = Field(default=None, description="The folder above it; null for none.", examples=["s1"])


class OutputBody(Body):
    """The generation job an object belongs to, and its number among the job's outputs."""

    generation_id: str = Field(max_length=MAX_ID, examples=["01KAHGENERAT10N00000000000"])
    output: int = Field(ge=0, description="Counted from 0.", examples=[0])


class _Options(Body):
    sensitive: list[str] = Field(default_factory=list, max_length=100, description=_SENSITIVE)
    layout: LayoutBody | None = Field(default=None, description="Another layout of the key than the current one.", examples=[])
    generation: OutputBody | None = Field(default=None, description="The job it is an output of.", examples=[])


class OptionsHeader(_Options):
    """The `Stocktake-Options` header of a raw upload."""


class ObjectBody(_Options):
    """What any JSON body says of an object beside its bytes."""

    file_name: str | None = Field(
        default=None, description="What a download is called, up to 255 characters; never part of a key.", examples=["sunset at sea.png"]
    )
    cache_control: str | None = Field(
        default=None, description="Of the stored object; 1 to 255 printable ASCII characters.", examples=["public, max-age=86400"]
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description=_METADATA, examples=[{"prompt": "A sunset", "aspectRatio": "16:9", "numberOfImages": 2}]
    )

    def details(self) -> Details:
        """Returns what is said of the object beside its bytes."""
        return details_of(self, self.file_name, self.cache_control, self.metadata)


class Base64ObjectBody(ObjectBody):
    """POST /projects/{project_id}/objects with `content-type: application/json`, and each item of a batch."""

    content_base64: str = Field(description="The bytes, as standard base64.", examples=[_A_GIF])
    content_type: str | None = Field(default=None, description="Told from the bytes; one that names another is refused.")

    def new_object(self) -> NewObject:
        """Decodes the bytes. Raises InvalidRequest."""
        try:
            body = base64.b64decode(self.content_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest(f"content_base64 is not base64: {error}") from error
        return NewObject(body, self.content_type, self.details())


class BatchBody(Body):
    """POST /projects/{project_id}/objects/batch. The items are read one by one, so that one that is wrong loses no other."""

    objects: list[Any] = Field(
        max_length=_MOST_ITEMS,
        description="1 to BatchItems objects, each as one sent alone (Base64ObjectBody).",
        examples=[[{"content_base64": _A_GIF, "file_name": "dot.gif"}]],
        json_schema_extra={"minItems": 1},
    )

    def items(self) -> list[NewObject | StocktakeError]:
        """Reads every item: the object, or why it cannot be read."""
        return [_item(item) for item in self.objects]


class ImportBody(ObjectBody):
    """POST /projects/{project_id}/imports."""

    url: str = Field(description="A public https address of a host that ImportHosts names.", examples=["https://images.example.com/a.png"])


class NewUploadBody(ObjectBody):
    """POST /projects/{project_id}/uploads: `sha256` for one PUT, or `part_bytes` for parts."""

    content_type: str = Field(description="The type the bytes will have.", examples=["image/png"])
    bytes: int = Field(ge=1, description="How many there will be.", examples=[118])
    sha256: Sha256 | None = Field(default=None, description="Of the bytes, for one PUT.", examples=[_A_SHA256])
    part_bytes: int | None = Field(default=None, ge=1, description="Of each part but the last: 5 MiB to 5 GiB. In place of sha256.")

    def announced(self) -> Announced:
        """Returns the object that is to come."""
        return Announced(self.content_type, self.bytes, self.sha256, self.part_bytes, self.details())


class PartBody(Body):
    """One part to sign."""

    number: int = Field(ge=1, description="Counted from 1.", examples=[1])
    sha256: Sha256 = Field(description="Of the part's bytes.", examples=[_A_SHA256])


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

    part_sha256: list[Sha256] = Field(default_factory=list, description="Of every part, in order. R2 and its like need them.")


class NewGenerationBody(Body):
    """POST /projects/{project_id}/generations."""

    metadata: dict[str, Any] = Field(
        default_factory=dict, description=_METADATA, examples=[{"prompt": "A sunset", "aspectRatio": "16:9", "numberOfImages": 2}]
    )
    sensitive: list[str] = Field(default_factory=list, max_length=100, description=_SENSITIVE)
    outputs: int = Field(
        default=1, description="How many objects it shall yield.", examples=[2], json_schema_extra={"minimum": 1, "maximum": 100}
    )


class GenerationReportBody(Body):
    """PATCH /generations/{generation_id}: what the worker says of its job."""

    status: Literal["running", "completed", "failed"]
    error: str | None = Field(default=None, max_length=2000, description="What went wrong; with completed or failed only.")


class GenerationsQuery(RecentQuery):
    """GET /projects/{project_id}/generations."""

    cursor: str | None = Field(default=None, min_length=1, description="From the page before; without, the list begins.")


class ContentQuery(Query):
    """GET /objects/{object_id}/content."""

    way: Literal["redirect", "bytes"] = Field(
        default="redirect", alias="as", description="bytes: the answer carries them, in place of a redirect to them."
    )


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
