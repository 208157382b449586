"""The diagnostics flow in the document: what its operations answer with, and the operations."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stocktake import errors
from stocktake.openapi.operation import ETAG, OBJECT_ID, OF_THE_BUCKET, SHA256, Answer, AnswerBody, Count, Operation, Time
from stocktake.openapi.reconciliation import RUN_ID
from stocktake.requests import NoBody, ObjectQuery

_KEY = f"projects/proj_sunset/2026/11/{OBJECT_ID}.png"
Status = Literal["ok", "warning", "failed", "skipped"]


class Check(AnswerBody):
    """One thing that was looked at."""

    name: str = Field(
        description=(
            "environment, credentials, bucket, region, clock, permission-list, permission-head, permission-get, permission-put, "
            "permission-delete, identity, cors, public-url, table-objects, table-projects, table-operations, ledger, conformance, "
            "dead-letters or waits. Each is there once, in this order or another."
        ),
        examples=["region"],
    )
    status: Status = Field(description="skipped: it could not, or need not, be looked at; `says` tells why.", examples=["failed"])
    says: str = Field(
        description="What it means, for people.",
        examples=["Bucket 'pictures' is in 'eu-north-1', and the stack is configured for 'us-east-1'"],
    )
    do: str | None = Field(
        description="What to do about it; null where nothing is to be done.", examples=["Set the stack's parameter StorageRegion"]
    )
    detail: dict[str, Any] = Field(
        description="Figures and names, for programs; which ones depends on the check. Never a secret, and no value of a setting.",
        examples=[{"region": "eu-north-1", "configured": "us-east-1"}],
    )


class Diagnostics(AnswerBody):
    """Every check."""

    as_of: Time = Field(description="When the looks began.")
    status: Literal["ok", "warning", "failed"] = Field(
        description="The worst of all; what was skipped does not count.", examples=["failed"]
    )
    checks: list[Check]


class Step(Check):
    """One step of a self-test."""

    name: str = Field(description="put, list, head, metadata, get, url, record, delete or gone, in this order.", examples=["put"])
    status: Status = Field(description="skipped: a step that it needs has failed, or there was no time left.", examples=["ok"])
    says: str = Field(description="What came of it.", examples=["96 bytes were put, and confirmed by the bucket"])
    do: str | None = Field(description="What to do about it.", examples=[None])
    detail: dict[str, Any] = Field(description="Figures, where there are some.", examples=[{}])
    took_ms: Count = Field(description="How long it took.", examples=[41])


class SelfTest(AnswerBody):
    """A round trip."""

    self_test_id: str = Field(examples=["01KAHSE1FTEST0000000000000"])
    key: str = Field(description="What it put, and took away.", examples=[".stocktake/probe/self-test/01KAHSE1FTEST0000000000000"])
    as_of: Time = Field(description="When it began.")
    status: Literal["ok", "warning", "failed"] = Field(examples=["ok"])
    steps: list[Step]
    is_clean: bool = Field(description="Whether what it put is known to be gone.", examples=[True])
    leftovers_removed: Count = Field(description="Objects of tests that were killed over an hour ago, removed by this one.", examples=[0])


class DiagnosedRecord(AnswerBody):
    """What the ledger has."""

    object_id: str = Field(examples=[OBJECT_ID])
    project_id: str = Field(examples=["proj_sunset"])
    state: Literal["PENDING", "STORED", "INLINE", "EXTERNAL", "MISSING", "QUARANTINED"] = Field(examples=["STORED"])
    bytes: Count = Field(examples=[118])
    etag: str | None = Field(examples=[ETAG])
    sha256: str | None = Field(examples=[SHA256])
    content_type: str | None = Field(examples=["image/png"])
    layout: str = Field(examples=["current"])
    source: str = Field(description="How it came.", examples=["upload"])
    version: Count = Field(examples=[2])
    created_at: Time
    updated_at: Time
    metadata_names: list[str] = Field(description="Of its metadata no more than the names.", examples=[["aspectRatio", "prompt"]])
    has_sealed_metadata: bool = Field(examples=[False])


class DiagnosedObject(AnswerBody):
    """What the bucket has."""

    bytes: Count = Field(examples=[118])
    etag: str = Field(examples=[ETAG])
    sha256: str | None = Field(examples=[SHA256])
    content_type: str | None = Field(examples=["image/png"])
    last_modified: Time
    metadata_names: list[str] = Field(examples=[["intent"]])


class Difference(AnswerBody):
    """One thing that both sides say, and say otherwise."""

    what: Literal["bytes", "etag", "sha256", "content_type", "layout"] = Field(examples=["bytes"])
    ledger: str | int = Field(examples=[118])
    bucket: str | int = Field(examples=[97])


class DiagnosedFinding(AnswerBody):
    """What a run would find now."""

    finding_class: Literal["orphan", "missing", "mismatch", "unstored", "unknown", "duplicate_spelling"] = Field(
        alias="class", examples=["mismatch"]
    )
    kind: str = Field(examples=["size"])
    meaning: str = Field(examples=["Object and record differ in size."])
    likely_cause: str = Field(examples=["The object was overwritten around the API."])
    recommended: str = Field(examples=["Look at one of them; if the new bytes are wanted, refresh the record from the bucket."])


class FetchedUrl(AnswerBody):
    """A presigned URL, made and fetched. It is not shown: whoever has it can read the object."""

    status: int | None = Field(description="What the store answered; null where nobody did.", examples=[206])
    kind: str | None = Field(description="What its first bytes are, told from themselves.", examples=["image/png"])
    why: str | None = Field(description="Why it did not give the object; null where it did.", examples=[None])


class Neighbour(AnswerBody):
    """A key of the same folder."""

    key: str = Field(examples=["projects/proj_sunset/2026/11/01KAHNE1GHB0VR000000000000.png"])
    bytes: Count = Field(examples=[118])
    in_ledger: bool = Field(examples=[True])
    is_before: bool = Field(description="Whether it comes before the key in order.", examples=[False])


class FoundByRun(AnswerBody):
    """A finding about the key in one of the newest runs."""

    run_id: str = Field(examples=[RUN_ID])
    run_status: str = Field(examples=["COMPLETE"])
    finding_class: str = Field(alias="class", examples=["mismatch"])
    kind: str = Field(examples=["size"])
    first_seen_at: Time
    sightings: Count = Field(examples=[1])
    repair: str = Field(description="What was done about it.", examples=["FOUND"])


class HeldEntry(AnswerBody):
    """An entry of the quarantine about the key."""

    entry_id: str = Field(examples=[f"{RUN_ID}-0123456789abcdef01234567"])
    status: str = Field(examples=["HELD"])
    run_id: str | None = Field(examples=[RUN_ID])
    why: str | None = Field(examples=["orphan"])
    set_aside_at: Time | None = Field(examples=["2026-11-21T05:30:00.000Z"])
    expires_at: Time | None = Field(examples=["2026-12-21T05:30:00.000Z"])


class ObjectDiagnosis(AnswerBody):
    """One key on both sides."""

    as_of: Time
    key: str = Field(examples=[_KEY])
    status: Literal["ok", "warning", "failed"] = Field(examples=["failed"])
    says: str = Field(description="How it stands, in a sentence.", examples=["Object and record differ in size."])
    do: str | None = Field(examples=["Look at one of them; if the new bytes are wanted, refresh the record from the bucket."])
    layout: str | None = Field(description="null where no layout explains the key.", examples=["current"])
    owners: list[str] = Field(description="Stems of the projects it may belong to.", examples=[["sunset"]])
    record: DiagnosedRecord | None = Field(description="null where the ledger has none.")
    object: DiagnosedObject | None = Field(description="null where the bucket has none.")
    differences: list[Difference]
    finding: DiagnosedFinding | None = Field(description="null where a run would find nothing.")
    is_young: bool = Field(description="Whether it is below the grace window: a run would not judge it yet.", examples=[False])
    url: FetchedUrl | None = Field(description="null where there is no object to fetch.")
    neighbours: list[Neighbour] = Field(description="Up to four before and after it, in order.")
    found_by_runs: list[FoundByRun] = Field(description="By the three newest runs.")
    quarantine: list[HeldEntry] = Field(description="Of the hundred newest entries.")


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET /diagnostics",
        "getDiagnostics",
        "See whether everything is as it should be",
        "diagnostics",
        {200: Answer("Every check, whatever came of it.", Diagnostics)},
        description=(
            "Credentials, bucket, region, clock, rights, settings, CORS, public URL, tables, dead letters. All looks run at once, each "
            "with a deadline, and write nothing. What fails is a check that says so, and not an error of this path; a cause that keeps "
            "others from being looked at makes them skipped."
        ),
    ),
    Operation(
        "GET /diagnostics/objects",
        "diagnoseObject",
        "See what is true of one key",
        "diagnostics",
        {200: Answer("Both sides, also where neither has it.", ObjectDiagnosis)},
        (errors.ObjectNotFound, errors.ObjectDeleted, errors.InvalidKey, *OF_THE_BUCKET),
        "What ledger and bucket have, what differs, a presigned URL made and fetched, what lies beside it, and what runs found of it. "
        "Takes one of `key` and `object_id`.",
        query=ObjectQuery,
    ),
    Operation(
        "POST /diagnostics/self-test",
        "runSelfTest",
        "Try a round trip",
        "diagnostics",
        {200: Answer("What came of each step.", SelfTest)},
        description=(
            "Puts, lists, asks for, reads, fetches by URL and removes an object of Stocktake's own, and writes and reads a row of the "
            "ledger. No run counts it, and it is removed whatever happens."
        ),
        body=NoBody,
    ),
)
