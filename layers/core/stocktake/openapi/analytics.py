"""The analytics flow in the document, and the documents about the API itself: what the operations answer with, and the operations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stocktake import errors
from stocktake.openapi.operation import Answer, AnswerBody, Count, Header, Operation, Tally, Time
from stocktake.openapi.project_deletion import ListedDeletion
from stocktake.openapi.reconciliation import RUN_ID
from stocktake.requests import RecentQuery


class StateCounts(AnswerBody):
    """Records by state."""

    PENDING: Tally
    STORED: Tally
    INLINE: Tally
    EXTERNAL: Tally
    MISSING: Tally
    QUARANTINED: Tally


class BucketCount(AnswerBody):
    """What the bucket held when it was last counted whole."""

    objects: Count
    bytes: int = Field(description="Of all of them.", ge=0, examples=[236])
    run_id: str = Field(description="The reconciliation that counted.", examples=[RUN_ID])
    counted_at: Time


class Drift(AnswerBody):
    """Bucket minus ledger, as one walk saw both."""

    objects: int = Field(examples=[0])
    bytes: int = Field(examples=[0])


class _Sides(AnswerBody):
    as_of: Time = Field(description="When the ledger was asked.")
    records: Tally = Field(description="Records of any state.")
    stored: Tally = Field(description="Records of objects that the bucket has confirmed.")
    counts: StateCounts
    bucket: BucketCount | None = Field(description="null until a reconciliation has completed.")
    drift: Drift | None = Field(description="null until a reconciliation has completed.")


class FindingCounts(AnswerBody):
    """Findings of the last complete reconciliation by class."""

    orphan: Tally
    missing: Tally
    mismatch: Tally
    unstored: Tally
    unknown: Tally


class ProjectLine(AnswerBody):
    """One project's counts."""

    project_id: str = Field(examples=["proj_sunset"])
    state: Literal["ACTIVE", "DELETING", "DELETED"]
    counts: StateCounts


class Analytics(_Sides):
    """Counts of everything."""

    findings: FindingCounts | None = Field(description="null until a reconciliation has completed.")
    projects: list[ProjectLine] = Field(description="Up to 1000, those with the most stored objects, by id.")
    projects_in_all: Count = Field(description="How many there are.")


class ProjectAnalytics(_Sides):
    """Counts of one project."""

    project_id: str = Field(description="As its creator spelled it.", examples=["proj_sunset"])
    state: Literal["ACTIVE", "DELETING", "DELETED"]


class Deletions(AnswerBody):
    """The newest deletions."""

    deletions: list[ListedDeletion]


_ETAG = Header("ETag", "Of this version of it.", '"6f1ed002ab559585"', required=True)
_CACHE = Header("Cache-Control", "Kept by the caller alone, and asked for again.", "private, no-cache", required=True)
_KNOWN = Header("If-None-Match", "Only if it is another than this one (304 otherwise).", '"6f1ed002ab559585"')

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET /analytics",
        "getAnalytics",
        "Count everything",
        "analytics",
        {200: Answer("Ledger and bucket side by side.", Analytics)},
    ),
    Operation(
        "GET /projects/{project_id}/analytics",
        "getProjectAnalytics",
        "Count one project",
        "analytics",
        {200: Answer("Ledger and bucket side by side.", ProjectAnalytics)},
        (errors.ProjectNotFound,),
    ),
    Operation(
        "GET /deletions",
        "listDeletions",
        "List the newest deletions",
        "analytics",
        {200: Answer("Newest first, without receipts.", Deletions)},
        query=RecentQuery,
    ),
    Operation(
        "GET /dashboard",
        "showDashboard",
        "Open the dashboard",
        "analytics",
        {
            200: Answer(
                "The page, the same for everybody: it asks for a token, and this API, with that, for what it shows.",
                media_type="text/html; charset=utf-8",
            )
        },
    ),
    Operation(
        "GET /openapi.json",
        "getOpenapi",
        "Read this document",
        "analytics",
        {
            200: Answer("The document; a JSON object.", headers=(_ETAG, _CACHE), media_type="application/json"),
            304: Answer("The caller has it.", headers=(_ETAG, _CACHE)),
        },
        headers=(_KNOWN,),
    ),
    Operation(
        "GET /docs",
        "showDocs",
        "Read this document as a page",
        "analytics",
        {
            200: Answer(
                "A page for people; it asks no other host for anything.", media_type="text/html; charset=utf-8", headers=(_ETAG, _CACHE)
            ),
            304: Answer("The caller has it.", headers=(_ETAG, _CACHE)),
        },
        headers=(_KNOWN,),
    ),
)
