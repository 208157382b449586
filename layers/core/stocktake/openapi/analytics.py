"""The analytics flow in the document, and the documents about the API itself: what the operations answer with, and the operations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stocktake import errors
from stocktake.openapi.operation import Answer, AnswerBody, Count, Header, Operation, Tally, Time
from stocktake.openapi.project_deletion import ListedDeletion
from stocktake.openapi.reconciliation import RUN_ID
from stocktake.requests import HistoryQuery, RecentQuery, RecountBody


class NamedTally(AnswerBody):
    """What is stored in one cell of a dimension."""

    name: str = Field(description='"none" of what has none, "other" of all further ones.', examples=["image/png"])
    objects: Count
    bytes: int = Field(ge=0, examples=[236])


class StateCounts(AnswerBody):
    """Records by state."""

    PENDING: Tally
    STORED: Tally
    INLINE: Tally
    EXTERNAL: Tally
    MISSING: Tally
    QUARANTINED: Tally


class CountedThen(AnswerBody):
    """What the bucket held when it was counted whole."""

    objects: Count
    bytes: int = Field(description="Of all of them.", ge=0, examples=[236])
    run_id: str = Field(description="The reconciliation that counted.", examples=[RUN_ID])
    counted_at: Time


class BucketCount(CountedThen):
    """What the bucket held when it was last counted whole."""

    age_seconds: int = Field(description="How long ago.", ge=0, examples=[3600])


class LastRecount(AnswerBody):
    """The last whole recount."""

    recount_id: str = Field(examples=["daily-2026-11-27"])
    rows: Count = Field(description="Count rows that were compared with their records.")
    drifted_rows: int = Field(description="That counted something else.", ge=0, examples=[0])
    repaired: int = Field(description="Of these, put right.", ge=0, examples=[0])
    busy: int = Field(description="Rows that were written at every look, and of which nothing is said.", ge=0, examples=[0])
    attributed: int = Field(description="Records of an older version that it counted in every dimension.", ge=0, examples=[0])


class Drift(AnswerBody):
    """Bucket minus ledger, as one walk saw both."""

    objects: int = Field(examples=[0])
    bytes: int = Field(examples=[0])


class SignedTally(AnswerBody):
    """Objects and bytes as a row has them; what is counted wrong may be below zero."""

    objects: int = Field(examples=[2])
    bytes: int = Field(examples=[236])


class _Sides(AnswerBody):
    as_of: Time = Field(description="When the ledger was asked.")
    records: Tally = Field(description="Records of any state.")
    stored: Tally = Field(description="Records of objects that the bucket has confirmed.")
    counts: StateCounts
    bucket: BucketCount | None = Field(description="null until a reconciliation has completed.")
    drift: Drift | None = Field(description="null until a reconciliation has completed.")
    acknowledged: Tally | None = Field(
        description="Findings of that count that are acknowledged, of any class and in no class's count; the drift may be theirs."
    )
    by_layout: list[NamedTally] = Field(description="What is stored by layout of the key, most first, 100 at most.")
    by_type: list[NamedTally] = Field(description="By content type.")
    by_provider: list[NamedTally] = Field(description="By the field provider of the metadata.")
    by_purpose: list[NamedTally] = Field(description="By the field purpose of the metadata.")
    unattributed: Tally = Field(description="Stored objects of an older version, in none of the four until a recount with repair.")
    explanation: str = Field(
        description="The numbers in words, so that they add up.",
        examples=["The ledger has 19 records: 15 with a stored object and 4 external (the bytes lie at a foreign URL)."],
    )
    recounted_at: Time | None = Field(description="When all counts were last compared with the records; null until they were.")
    recount: LastRecount | None = Field(description="What came of that; null until then.")


class FindingCounts(AnswerBody):
    """Findings of the last complete reconciliation by class."""

    orphan: Tally
    missing: Tally
    mismatch: Tally
    unstored: Tally
    unknown: Tally
    duplicate_spelling: Tally


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


class _Kept(AnswerBody):
    records: Tally
    stored: Tally
    counts: StateCounts
    bucket: CountedThen | None
    drift: Drift | None
    acknowledged: Tally | None = Field(description="null too where the figures were kept before it was told.")
    orphan: Tally | None
    missing: Tally | None
    mismatch: Tally | None
    unstored: Tally | None
    unknown: Tally | None
    duplicate_spelling: Tally | None


class DayFigures(_Kept):
    """The figures of one day as they last were; those of the bucket are null before its first count."""

    day: str = Field(description="UTC.", examples=["2026-11-27"])
    at: Time = Field(description="When they were taken.")


class RunFigures(_Kept):
    """The figures of one complete reconciliation, both sides of its own walk."""

    run_id: str = Field(examples=[RUN_ID])
    finished_at: Time


class History(AnswerBody):
    """Past figures, oldest first."""

    days: list[DayFigures]
    runs: list[RunFigures] = Field(description="The newest 1,000 at most; none of those that read an inventory.")
    more_runs: bool = Field(description="Whether more than these were complete in that time.", examples=[False])


class RecountShards(AnswerBody):
    """How far a recount is."""

    done: Count
    of: int = Field(ge=1, examples=[16])


class CountDrift(AnswerBody):
    """One tally of a count row that is not what the records say."""

    project_id: str = Field(examples=["proj_sunset"])
    shard: str = Field(examples=["0a"])
    of: str = Field(
        description='A state; or dimension, cell and what of it, as "type image/png, stored" or "layout current, any state".',
        examples=["STORED"],
    )
    counted: SignedTally = Field(description="By the row.")
    found: SignedTally = Field(description="In the records.")


class ListedRecount(AnswerBody):
    """A recount, without its differences."""

    recount_id: str = Field(examples=["daily-2026-11-27"])
    status: Literal["RUNNING", "DONE", "FAILED"]
    repair: bool = Field(examples=[False])
    project_id: str | None = Field(description="The one project that is recounted; null for all.", examples=[None])
    started_at: Time
    finished_at: Time | None
    shards: RecountShards
    rows: Count = Field(description="Count rows compared with their records so far.")
    drifted_rows: int = Field(description="That counted something else.", ge=0, examples=[0])
    repaired: int = Field(description="Of these, put right.", ge=0, examples=[0])
    busy: int = Field(description="Rows that were written at every look, and of which nothing is said.", ge=0, examples=[0])
    attributed: int = Field(description="Records of an older version that it counted in every dimension.", ge=0, examples=[0])
    why: str | None = Field(description="Why it FAILED.", examples=[None])


class Recount(ListedRecount):
    """A recount."""

    drifted: list[CountDrift] = Field(description="Tallies that differed, up to 100 of each shard.")


class Recounts(AnswerBody):
    """The newest recounts."""

    recounts: list[ListedRecount]


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
        "GET /analytics/history",
        "getHistory",
        "Read the counts of past days and runs",
        "analytics",
        {200: Answer("Oldest first.", History)},
        query=HistoryQuery,
    ),
    Operation(
        "POST /recounts",
        "createRecount",
        "Compare the counts with the records",
        "analytics",
        {202: Answer("The recount, RUNNING.", Recount)},
        (errors.ProjectNotFound, errors.MessagingError),
        "Reports and repairs nothing, unless repair is true. A count is judged only if nobody wrote it while its records were read; what "
        "is written all the time is busy, and nothing is said of it.",
        body=RecountBody,
    ),
    Operation(
        "GET /recounts",
        "listRecounts",
        "List the newest recounts",
        "analytics",
        {200: Answer("Newest first, without their differences.", Recounts)},
        query=RecentQuery,
    ),
    Operation(
        "GET /recounts/{recount_id}",
        "getRecount",
        "Read a recount",
        "analytics",
        {200: Answer("How far it is, and what differs.", Recount)},
        (errors.OperationNotFound,),
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
