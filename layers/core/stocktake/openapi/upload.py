"""The upload flow in the document: what its operations answer with, and the operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from stocktake import errors
from stocktake.checks import ALLOWED
from stocktake.openapi.operation import (
    ETAG,
    GENERATION_ID,
    LEFT_OUT,
    OBJECT_ID,
    OF_THE_BUCKET,
    OF_WRITING,
    SHA256,
    Answer,
    AnswerBody,
    Count,
    Header,
    Operation,
    Time,
)
from stocktake.openapi.problem import Problem
from stocktake.requests import ListQuery
from stocktake.upload_requests import (
    Base64ObjectBody,
    BatchBody,
    CompletionBody,
    ContentQuery,
    GenerationReportBody,
    GenerationsQuery,
    ImportBody,
    NewGenerationBody,
    NewProjectBody,
    NewUploadBody,
    PartsBody,
    QuotaBody,
)

_KEY = f"projects/proj_sunset/2026/11/{OBJECT_ID}.png"
_URL = f"https://bucket.example.com/{_KEY}"
_METADATA = {"prompt": "A sunset", "aspectRatio": "16:9", "numberOfImages": 2}
_SEALED = "Names of fields of the metadata that are sealed; of an object or a job asked for by itself they are shown as well."


class Quota(AnswerBody):
    """The most a project may hold."""

    objects: int | None = Field(description="Objects; null for no limit.", examples=[1000])
    bytes: int | None = Field(description="Bytes; null for no limit.", examples=[10_000_000_000])


class Project(AnswerBody):
    """A project: the owner of objects."""

    project_id: str = Field(description="As its creator spelled it.", examples=["proj_sunset"])
    state: Literal["ACTIVE", "DELETING", "DELETED"] = Field(description="It takes uploads while it is ACTIVE.")
    epoch: int = Field(description="Grows by one with every deletion and every new opening.", ge=1, examples=[1])
    created_at: Time = Field(description="When this life of it was opened.")
    metadata: dict[str, Any] = Field(description="As it was sent.", examples=[{"customer": "c1"}])
    quota: Quota | None = Field(description="null for none.")
    deletion_id: str | None = Field(description="Of its deletion, once one was asked for.", examples=[None])


class OfGeneration(AnswerBody):
    """Where an object belongs among the outputs of a generation job."""

    generation_id: str = Field(description="The job's.", examples=[GENERATION_ID])
    output: int | None = Field(description="Counted from 0.", ge=0, examples=[0])


class Record(AnswerBody):
    """What the ledger knows of an object."""

    object_id: str = Field(description="A name for good.", examples=[OBJECT_ID])
    project_id: str = Field(description="Whose it is.", examples=["proj_sunset"])
    key: str = Field(description="Under which it lies in the bucket.", examples=[_KEY])
    state: Literal["PENDING", "STORED", "INLINE", "EXTERNAL", "MISSING", "QUARANTINED"] = Field(
        description="STORED only once the bucket has confirmed the bytes.", examples=["STORED"]
    )
    bytes: int = Field(description="Size.", ge=0, examples=[118])
    etag: str | None = Field(description="The bucket's, without quotation marks; null until it is STORED.", examples=[ETAG])
    sha256: str | None = Field(description="Lower-case hex; null where only the store's parts were hashed.", examples=[SHA256])
    content_type: str | None = Field(description="Told from the bytes.", examples=["image/png"])
    width: int | None = Field(description="Pixels, of an image that says so.", examples=[48])
    height: int | None = Field(description="Pixels.", examples=[32])
    cache_control: str | None = Field(description="Of the stored object.", examples=["public, max-age=31536000, immutable"])
    file_name: str | None = Field(description="What a download is called.", examples=["sunset at sea.png"])
    layout: str = Field(description="The layout of the key.", examples=["current"])
    source: str = Field(
        description="How it came: upload, import, presigned, multipart, event or reconciliation; ended for an intent on its way out.",
        examples=["upload"],
    )
    original_url: str | None = Field(description="Where it was imported from.", examples=[None])
    generation: OfGeneration | None = Field(description="null where it belongs to no job.", examples=[None])
    metadata: dict[str, Any] = Field(description="As it was sent.", examples=[_METADATA])
    sealed: list[str] = Field(description=_SEALED, examples=[[]])
    created_at: Time = Field(description="When it was announced.")
    updated_at: Time = Field(description="When the record last changed.")
    url: str | None = Field(
        description="Where its bytes are: public, or signed for a while. null where there are none, in lists, and in answers to uploads "
        "to a bucket that is not public.",
        examples=[_URL],
    )


class Uploaded(Record):
    """A stored object's record, and what the caller should know besides."""

    warnings: list[str] = Field(description="For people.", examples=[[]])


class Records(AnswerBody):
    """One page of a project's records, in key order."""

    objects: list[Record] = Field(description="Fewer than `limit` where more would not fit into an answer.")
    cursor: str | None = Field(description="For the next page; null on the last one.", examples=[None])


class BatchResult(AnswerBody):
    """What came of one item of a batch: `object` or `problem`."""

    item: int = Field(description="Its place in the request, from 0.", ge=0, examples=[0])
    status: int = Field(description="The HTTP status it would have had alone.", ge=201, le=599, examples=[201])
    object: Uploaded = Field(default=LEFT_OUT, description="Of a 201.")
    problem: Problem = Field(default=LEFT_OUT, description="Of anything else.", examples=[])


class BatchResults(AnswerBody):
    """What came of each item, in order."""

    results: list[BatchResult]


class SignedRequest(AnswerBody):
    """A request to send exactly so, for as long as its URL lives."""

    method: Literal["PUT"]
    url: str = Field(description="The bucket's.", examples=[f"{_URL}?X-Amz-Signature=..."])
    headers: dict[str, str] = Field(description="All of them are signed.", examples=[{"content-type": "image/png", "if-none-match": "*"}])


class Part(AnswerBody):
    """A part that the bucket has."""

    number: int = Field(description="Counted from 1.", ge=1, examples=[1])
    bytes: int = Field(description="Size.", ge=0, examples=[5_242_880])
    etag: str = Field(description="The bucket's.", examples=[ETAG])
    sha256: str | None = Field(description="Lower-case hex; null where the store keeps none.", examples=[SHA256])


class Upload(AnswerBody):
    """An upload whose bytes go straight to the bucket, as it stands."""

    upload_id: str = Field(description="The object's id to be.", examples=[OBJECT_ID])
    object: Record = Field(description="The record: PENDING until the upload is complete.")
    expires_at: Time | None = Field(description="When the upload ends by itself; null once it is complete.")
    request: SignedRequest | None = Field(description="The PUT to send, for one that is still open and not in parts.")
    part_bytes: int | None = Field(description="Bytes of each part but the last; null for one PUT.", examples=[None])
    part_count: int | None = Field(description="How many parts there shall be.", examples=[None])
    parts: list[Part] = Field(description="Those the bucket has.", examples=[[]])
    warnings: list[str] = Field(description="For people.", examples=[[]])


class SignedPart(SignedRequest):
    """The PUT of one part."""

    number: int = Field(description="Counted from 1.", ge=1, examples=[1])
    bytes: int = Field(description="The size the part must have.", ge=1, examples=[5_242_880])


class SignedParts(AnswerBody):
    """The PUTs of the parts that were asked for."""

    parts: list[SignedPart]


class Outputs(AnswerBody):
    """How far a job is."""

    asked: int = Field(description="Outputs it shall yield.", ge=1, examples=[2])
    stored: int = Field(description="Outputs that are stored.", ge=0, examples=[1])


class ListedGeneration(AnswerBody):
    """A generation job without its images."""

    generation_id: str = Field(examples=[GENERATION_ID])
    project_id: str = Field(description="Whose it is.", examples=["proj_sunset"])
    status: Literal["queued", "running", "completed", "partly_failed", "failed"] = Field(
        description="Read off its outputs.", examples=["running"]
    )
    metadata: dict[str, Any] = Field(description="As it was sent.", examples=[_METADATA])
    sealed: list[str] = Field(description=_SEALED, examples=[[]])
    error: str | None = Field(description="What its worker said went wrong.", examples=[None])
    outputs: Outputs
    created_at: Time = Field(description="When it was asked for.")
    started_at: Time | None = Field(description="When its worker first reported.")
    ended_at: Time | None = Field(
        description="When its worker said it was over; null where it did not, also of one whose outputs are all stored.",
        examples=[None],
    )


class Image(AnswerBody):
    """One output of a job. The fields of an object are null while there is none."""

    output: int = Field(description="Counted from 0.", ge=0, examples=[0])
    status: Literal["stored", "pending", "inline", "external", "missing", "quarantined", "deleted", "failed", "awaited"]
    object_id: str | None = Field(description="Of the object that was begun under this number.", examples=[OBJECT_ID])
    state: str | None = Field(description="Of the record.", examples=["STORED"])
    bytes: int | None = Field(description="Size.", examples=[118])
    content_type: str | None = Field(description="Told from the bytes.", examples=["image/png"])
    url: str | None = Field(description="Where its bytes are, public or signed for a while.", examples=[_URL])


class Generation(ListedGeneration):
    """A generation job with all its images."""

    images: list[Image]


class Generations(AnswerBody):
    """One page of a project's jobs, newest first."""

    generations: list[ListedGeneration]
    cursor: str | None = Field(description="For the next page; null on the last one.", examples=[None])


class ObjectPurge(AnswerBody):
    """What the CDN before the bucket was told to forget. It says nothing of bucket and ledger."""

    provider: Literal["none", "cloudflare"] = Field(examples=["cloudflare"])
    purged: bool = Field(description="Whether the CDN took it.", examples=[True])
    why: str | None = Field(description="Why it did not, where there is one; asking for the deletion again tries again.", examples=[None])


class ObjectDeletion(AnswerBody):
    """The receipt of a single object's deletion."""

    object_id: str = Field(description="The object that went.", examples=[OBJECT_ID])
    project_id: str = Field(description="Whose it was.", examples=["proj_sunset"])
    key: str = Field(description="Under which nothing lies any more.", examples=[_KEY])
    why: str = Field(description="requested, or what ended its upload.", examples=["requested"])
    requested_at: Time = Field(description="When it was first asked for.")
    sweep_at: Time | None = Field(description="When a URL signed before is dead and the key is looked at again; null where none may live.")
    deleted_at: Time = Field(description="When bytes and record were gone.")
    swept_at: Time | None = Field(description="When the key was looked at for the last time.", examples=[None])
    bytes: int = Field(description="Of all versions that went.", ge=0, examples=[118])
    versions: Count = Field(description="That went; 0 where the bucket keeps none.")
    multipart_uploads_aborted: Count = Field(description="Uploads in parts that were open under the key.")
    cdn: ObjectPurge | None = Field(description="What became of its public URL; null of an upload that was never served.")


_LOCATION = Header("Location", "Where the bytes are.", _URL, required=True)
_ENTITY = (
    Header("ETag", "The bucket's.", f'"{ETAG}"', required=True),
    Header("Last-Modified", "When the record last changed.", "Sat, 21 Nov 2026 05:30:00 GMT", required=True),
    Header("Accept-Ranges", "bytes", "bytes", required=True),
    Header("Cache-Control", "private, as the object says otherwise; no-store on a redirect.", "private, max-age=31536000", required=True),
)
_SAFELY = (
    Header("Content-Disposition", "attachment, unless a browser can show it safely.", "inline", required=True),
    Header("X-Content-Type-Options", "nosniff", "nosniff", required=True),
    Header("Content-Security-Policy", "Nothing of it runs.", "default-src 'none'; sandbox", required=True),
)
_CONTENT_RANGE = Header("Content-Range", "Which bytes these are, of how many.", "bytes 4-8/118", required=True)

_CONDITIONS = (
    Header("If-Match", "Only if the object's ETag is one of these (412 otherwise).", f'"{ETAG}"'),
    Header("If-None-Match", "Only if it is none of these (304 otherwise).", f'"{ETAG}"'),
    Header("If-Modified-Since", "An HTTP date; ignored beside If-None-Match.", "Sat, 21 Nov 2026 05:30:00 GMT"),
    Header("If-Unmodified-Since", "An HTTP date; ignored beside If-Match.", "Sat, 21 Nov 2026 05:30:00 GMT"),
    Header("Range", "One range of bytes, with as=bytes; one that cannot be read is ignored.", "bytes=4-8"),
    Header("If-Range", "An ETag or date: the range only if the object is still that one.", f'"{ETAG}"'),
)
_RAW = (
    Header("Stocktake-File-Name", "What a download is called, percent-encoded UTF-8. Of raw bytes only.", "sunset%20at%20sea.png"),
    Header("Stocktake-Metadata", "A JSON object, what is not ASCII escaped. Of raw bytes only.", '{"prompt": "A sunset"}'),
    Header("Stocktake-Options", "JSON with sensitive, layout and generation. Of raw bytes only.", '{"sensitive": []}'),
    Header("Cache-Control", "Of the stored object. Of raw bytes only.", "public, max-age=86400"),
)

_OF_THE_PROJECT = (errors.ProjectNotFound, errors.ProjectClosed)
_OF_OBJECTS = (
    *_OF_THE_PROJECT,
    errors.InvalidKey,
    errors.TooLarge,
    errors.UnsupportedType,
    errors.QuotaExceeded,
    errors.GenerationNotFound,
    errors.OutputExists,
    errors.ObjectUnavailable,
    errors.SealingError,
)
_OF_AN_OBJECT = (errors.ObjectNotFound, errors.ObjectDeleted)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST /projects",
        "createProject",
        "Open a project",
        "upload",
        {201: Answer("The project, ACTIVE.", Project)},
        (errors.InvalidKey, errors.TooLarge, errors.ProjectExists, *OF_THE_BUCKET, errors.ConfirmationFailed),
        "Opens a project, or opens a deleted one anew under its next epoch.",
        body=NewProjectBody,
    ),
    Operation(
        "GET /projects/{project_id}",
        "getProject",
        "Read a project",
        "upload",
        {200: Answer("The project, by any spelling of its id.", Project)},
        (errors.ProjectNotFound,),
    ),
    Operation(
        "PUT /projects/{project_id}/quota",
        "setQuota",
        "Replace a project's quota",
        "upload",
        {200: Answer("The project with its quota. What it holds already stays.", Project)},
        _OF_THE_PROJECT,
        body=QuotaBody,
    ),
    Operation(
        "POST /projects/{project_id}/objects",
        "createObject",
        "Upload an object",
        "upload",
        {201: Answer("The record of the stored object.", Uploaded)},
        (*_OF_OBJECTS, *OF_WRITING),
        "Takes the bytes as they are, with what is said of them in headers; or JSON that holds both. Up to 4.5 MB.",
        body=Base64ObjectBody,
        headers=_RAW,
        raw_types=tuple(ALLOWED),
        once=True,
    ),
    Operation(
        "GET /projects/{project_id}/objects",
        "listObjects",
        "List a project's records",
        "upload",
        {200: Answer("One page.", Records)},
        (errors.ProjectNotFound,),
        query=ListQuery,
    ),
    Operation(
        "POST /projects/{project_id}/objects/batch",
        "createObjects",
        "Upload several objects",
        "upload",
        {207: Answer("What came of each, in order: what is wrong with one is in its result.", BatchResults)},
        body=BatchBody,
        once=True,
    ),
    Operation(
        "POST /projects/{project_id}/imports",
        "importObject",
        "Import an object from a URL",
        "upload",
        {201: Answer("The record of the stored object.", Uploaded)},
        (*_OF_OBJECTS, *OF_WRITING, errors.ImportDisabled, errors.ImportRefused),
        "Off until ImportHosts names hosts.",
        body=ImportBody,
        once=True,
    ),
    Operation(
        "POST /projects/{project_id}/uploads",
        "beginUpload",
        "Announce an upload",
        "upload",
        {201: Answer("How to send its bytes.", Upload)},
        (*_OF_OBJECTS, *OF_THE_BUCKET, errors.RecordChanged, errors.Conflict, errors.UploadNotFound, errors.StorageDisabled),
        "With sha256 one PUT straight to the bucket; with part_bytes in parts, each signed by itself.",
        body=NewUploadBody,
        once=True,
    ),
    Operation(
        "GET /uploads/{upload_id}",
        "getUpload",
        "See how an upload stands",
        "upload",
        {200: Answer("The upload, its PUT signed anew, or the parts the bucket has.", Upload)},
        (errors.UploadNotFound, *OF_THE_BUCKET),
    ),
    Operation(
        "POST /uploads/{upload_id}/parts",
        "signParts",
        "Sign the PUTs of parts",
        "upload",
        {200: Answer("The requests to send.", SignedParts)},
        (errors.UploadNotFound, *_OF_THE_PROJECT, *OF_THE_BUCKET),
        body=PartsBody,
    ),
    Operation(
        "POST /uploads/{upload_id}/complete",
        "completeUpload",
        "Complete an upload",
        "upload",
        {200: Answer("The record of the object, STORED.", Uploaded)},
        (
            errors.UploadNotFound,
            errors.UploadIncomplete,
            errors.UnsupportedType,
            errors.TooLarge,
            errors.ObjectChanged,
            *_OF_THE_PROJECT,
            errors.QuotaExceeded,
            *OF_WRITING,
        ),
        "Looks at what arrived and commits it. What is none that is taken is deleted. Asked again, answers the same.",
        body=CompletionBody,
    ),
    Operation(
        "DELETE /uploads/{upload_id}",
        "abortUpload",
        "Give an upload up",
        "upload",
        {204: Answer("It has ended. What its URLs still bring is removed again.")},
        (errors.UploadNotFound, errors.RecordChanged, errors.ObjectQuarantined, *OF_THE_BUCKET),
    ),
    Operation(
        "POST /projects/{project_id}/generations",
        "createGeneration",
        "Create a generation job",
        "upload",
        {201: Answer("The job, queued.", Generation)},
        (*_OF_THE_PROJECT, errors.TooLarge, errors.SealingError),
        body=NewGenerationBody,
        once=True,
    ),
    Operation(
        "GET /projects/{project_id}/generations",
        "listGenerations",
        "List a project's generation jobs",
        "upload",
        {200: Answer("One page, newest first, without the images.", Generations)},
        (errors.ProjectNotFound,),
        query=GenerationsQuery,
    ),
    Operation(
        "GET /generations/{generation_id}",
        "getGeneration",
        "Read a generation job",
        "upload",
        {200: Answer("The job and all its images, its sealed metadata opened.", Generation)},
        (errors.GenerationNotFound, errors.ProjectNotFound, errors.SealingError),
    ),
    Operation(
        "PATCH /generations/{generation_id}",
        "reportGeneration",
        "Report on a generation job",
        "upload",
        {200: Answer("The job as it stands.", Generation)},
        (errors.GenerationNotFound, errors.ProjectNotFound, errors.Conflict, errors.RecordChanged),
        "What its worker says of it. Saying it again changes nothing.",
        body=GenerationReportBody,
    ),
    Operation(
        "GET /objects/{object_id}",
        "getObject",
        "Read a record",
        "upload",
        {200: Answer("The record, its sealed metadata opened, with where its bytes are.", Record)},
        (*_OF_AN_OBJECT, errors.SealingError),
    ),
    Operation(
        "DELETE /objects/{object_id}",
        "deleteObject",
        "Delete an object",
        "upload",
        {200: Answer("The receipt; asked again, the same one.", ObjectDeletion)},
        (errors.ObjectNotFound, errors.ObjectQuarantined, errors.RecordChanged, *OF_THE_BUCKET),
        "Removes every version and open part of it and asks the bucket whether anything is left.",
    ),
    Operation(
        "GET /objects/{object_id}/content",
        "getContent",
        "Fetch an object's bytes",
        "upload",
        {
            200: Answer("The bytes, with as=bytes.", media_type="*/*", headers=(*_ENTITY, *_SAFELY)),
            206: Answer("The range of them that was asked for.", media_type="*/*", headers=(*_ENTITY, *_SAFELY, _CONTENT_RANGE)),
            302: Answer("Where they are.", headers=(*(replace(header, required=False) for header in _ENTITY), _LOCATION)),
            304: Answer("The caller has them.", headers=_ENTITY),
        },
        (
            *_OF_AN_OBJECT,
            errors.ObjectUnavailable,
            errors.ObjectPending,
            errors.ObjectMissing,
            errors.ObjectQuarantined,
            errors.ObjectExternal,
            errors.TooLarge,
            errors.RangeNotSatisfiable,
            errors.PreconditionFailed,
            *OF_THE_BUCKET,
        ),
        query=ContentQuery,
        headers=_CONDITIONS,
    ),
)
