"""The reconciliation flow in the document: what its operations answer with, and the operations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stocktake import errors
from stocktake.openapi.operation import ETAG, LEFT_OUT, OBJECT_ID, OF_THE_BUCKET, Answer, AnswerBody, Count, Operation, Tally, Time
from stocktake.requests import ConformanceQuery, FindingsQuery, NoBody, RecentQuery, RepairBody

RUN_ID = "01KAHRECNC0000000000000000"
_KEY = "images/s1/baby-boomer/1795239000000-a1b2c3.png"
_DONE = "Findings by what was done about them."
_PLAN = {"missing": "mark_missing", "orphan": "quarantine"}


class RunCounts(AnswerBody):
    """What a run saw. What there is none of is left out."""

    bucket: Tally = Field(default=LEFT_OUT, description="Objects in the bucket.")
    ledger: dict[str, Tally] = Field(default=LEFT_OUT, description="Records by state.", examples=[{"stored": {"objects": 2, "bytes": 236}}])
    layout: dict[str, Tally] = Field(
        default=LEFT_OUT, description="Objects by layout.", examples=[{"current": {"objects": 2, "bytes": 236}}]
    )
    matched: Tally = Field(default=LEFT_OUT, description="Both sides tell the same.")
    known: Tally = Field(
        default=LEFT_OUT, description="Records that say themselves that their object is missing or set aside.", examples=[]
    )
    young: Tally = Field(default=LEFT_OUT, description="Too young to be judged: left for the next run.", examples=[])
    settled: Tally = Field(default=LEFT_OUT, description="Differed at first, and no more when both sides were asked again.", examples=[])
    unlisted: Tally = Field(default=LEFT_OUT, description="Objects that the listing left out.", examples=[])
    spelled_otherwise: Tally = Field(default=LEFT_OUT, description="Recorded under another Unicode spelling of the same key.", examples=[])
    system: Tally = Field(default=LEFT_OUT, description="Objects of Stocktake's own.", examples=[])
    orphan: Tally = Field(default=LEFT_OUT, description="Findings: objects without record.")
    missing: Tally = Field(default=LEFT_OUT, description="Findings: records whose object is gone.", examples=[])
    mismatch: Tally = Field(default=LEFT_OUT, description="Findings: object and record differ.", examples=[])
    unstored: Tally = Field(default=LEFT_OUT, description="Findings: records without object yet.", examples=[])
    unknown: Tally = Field(default=LEFT_OUT, description="Findings: keys no layout explains.", examples=[])


class Repair(AnswerBody):
    """How far a repair is."""

    status: Literal["RUNNING", "DONE", "FAILED"]
    plan: dict[str, str] = Field(description="As it was asked for.", examples=[_PLAN])
    started_at: Time
    finished_at: Time = Field(default=LEFT_OUT, description="Once it is DONE.")
    done: dict[str, int] = Field(description=_DONE, examples=[{"MARK_MISSING": 1}])
    skipped: Count = Field(description="Findings that were not true any more when both sides were asked again.")
    why: str = Field(default=LEFT_OUT, description="Why it broke off.", examples=[])


class RequestedRepair(Repair):
    """A repair that was asked for."""

    run_id: str = Field(examples=[RUN_ID])
    cursor: str | None = Field(description="Of its own.", examples=[None])


class ListedRun(AnswerBody):
    """A comparison of bucket and ledger, without its repair."""

    run_id: str = Field(examples=[RUN_ID])
    status: Literal["REQUESTED", "RUNNING", "COMPLETE", "INCOMPLETE", "FAILED"] = Field(
        description="Only what is COMPLETE can be acted on.", examples=["COMPLETE"]
    )
    started_at: Time
    grace_ms: int = Field(description="Milliseconds; what is younger is never a finding.", ge=0, examples=[3_600_000])
    ranges: int = Field(default=LEFT_OUT, description="Pieces the keys were cut into, once it is planned.", ge=1, examples=[1])
    finished_at: Time = Field(default=LEFT_OUT, description="Once it has ended.")
    counts: RunCounts = Field(default=LEFT_OUT, description="Once it has ended whole.")
    why: str | None = Field(default=None, description="Why it is not COMPLETE.", examples=[None])


class Run(ListedRun):
    """A comparison of bucket and ledger."""

    repair: Repair = Field(default=LEFT_OUT, description="Where one was asked for.")


class Runs(AnswerBody):
    """The newest runs."""

    reconciliations: list[ListedRun]


class SeenObject(AnswerBody):
    """What the bucket said."""

    bytes: int = Field(description="Size.", ge=0, examples=[118])
    etag: str = Field(examples=[ETAG])
    last_modified: Time


class SeenRecord(AnswerBody):
    """What the ledger said."""

    object_id: str = Field(examples=[OBJECT_ID])
    state: str = Field(examples=["STORED"])
    bytes: int = Field(description="Size.", ge=0, examples=[118])
    etag: str | None = Field(examples=[ETAG])
    version: int = Field(description="Grows with every change of the record.", ge=1, examples=[2])
    updated_at: Time


class Finding(AnswerBody):
    """One key on which bucket and ledger differ."""

    key: str = Field(examples=[_KEY])
    finding_class: Literal["orphan", "missing", "mismatch", "unstored", "unknown"] = Field(alias="class")
    kind: str = Field(description="Which of the class's cases it is.", examples=["active"])
    layout: str | None = Field(description="The layout that explains the key.", examples=["session"])
    project: str | None = Field(description="Whose it is, without proj_; null where nobody can say.", examples=["sunset"])
    bytes: int = Field(description="Size of the object, or what its record says.", ge=0, examples=[118])
    object: SeenObject | None = Field(description="null where there is none.")
    record: SeenRecord | None = Field(description="null where there is none.", examples=[None])
    meaning: str = Field(examples=["The bucket holds an object of a live project that the ledger does not know."])
    recommended: str = Field(examples=["Adopt it if it is wanted, else quarantine it."])
    first_seen_at: Time = Field(description="When a run first saw exactly this, and every complete run since has.")
    sightings: int = Field(description="In how many complete runs in a row exactly this was seen, this one included.", ge=1, examples=[2])
    repair: Literal["FOUND", "ACTING", "SKIPPED", "MARK_MISSING", "REFRESH", "SETTLE", "ADOPT", "QUARANTINE"] = Field(
        description="FOUND until a repair did something about it."
    )
    skipped: str = Field(default=LEFT_OUT, description="Why nothing was done.", examples=[])
    outcome: str = Field(default=LEFT_OUT, description="What was done.", examples=[])
    entry_id: str = Field(default=LEFT_OUT, description="Of the quarantine.", examples=[])


class Findings(AnswerBody):
    """One page of a run's findings, in key order within a class."""

    findings: list[Finding]
    cursor: str | None = Field(description="For the next page; null on the last one.", examples=[None])


class QuarantineEntry(AnswerBody):
    """An object that was set aside."""

    entry_id: str = Field(examples=[f"{RUN_ID}-0123456789abcdef01234567"])
    status: Literal["MOVING", "HELD", "CANCELLED", "RESTORED"] = Field(description="What is HELD can be restored.", examples=["HELD"])
    key: str = Field(description="Where it lay.", examples=[_KEY])
    quarantine_key: str = Field(description="Where it lies.", examples=[f".stocktake/quarantine/sunset/{RUN_ID}-0123456789abcdef01234567"])
    project_id: str | None = Field(description="null where nobody can say.", examples=["proj_sunset"])
    epoch: int | None = Field(description="Of the project.", examples=[1])
    size: int = Field(description="Bytes.", ge=0, examples=[118])
    etag: str = Field(examples=[ETAG])
    content_type: str | None = Field(examples=["image/png"])
    why: str = Field(examples=["The bucket holds an object of a live project that the ledger does not know."])
    run_id: str = Field(description="The run that found it.", examples=[RUN_ID])
    set_aside_at: Time
    expires_at: Time
    restored_at: Time = Field(default=LEFT_OUT, description="Once it is RESTORED.", examples=[])


class QuarantineEntries(AnswerBody):
    """The newest entries."""

    entries: list[QuarantineEntry]


class ConformanceNote(AnswerBody):
    """What was learned of the store after it was tried."""

    what: Literal["versioning", "out-of-order"] = Field(
        description="versioning: the owner switched it on or off. out-of-order: a listing was, against what the trial had shown."
    )
    noted_at: Time


class ConformanceLine(AnswerBody):
    """One thing that a store can do or cannot."""

    name: str = Field(examples=["ordered_listing"])
    holds: bool = Field(examples=[True])
    says: str = Field(description="What it means.", examples=["Listings are complete, in the order of UTF-8 bytes."])
    chooses: str = Field(description="Which way the code goes by it.", examples=["Listings are merged with the ledger as they come."])


class Conformance(AnswerBody):
    """What the store behind the bucket can do, as it was seen."""

    store: str = Field(description="Endpoint and bucket.", examples=["AWS S3 stocktake-data"])
    probed_at: Time = Field(description="When it was tried last.")
    probe_version: int = Field(description="Of the trials: what another version wrote down is not used.", ge=1, examples=[2])
    noted: list[ConformanceNote] = Field(description="Since then.", examples=[[]])
    lines: list[ConformanceLine]


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST /reconciliations",
        "startReconciliation",
        "Compare bucket and ledger",
        "reconciliation",
        {202: Answer("The run, asked for.", ListedRun)},
        (errors.MessagingError,),
        "Changes nothing: it reports.",
        body=NoBody,
    ),
    Operation(
        "GET /reconciliations",
        "listReconciliations",
        "List the newest runs",
        "reconciliation",
        {200: Answer("Newest first.", Runs)},
        query=RecentQuery,
    ),
    Operation(
        "GET /reconciliations/{run_id}",
        "getReconciliation",
        "Read a run",
        "reconciliation",
        {200: Answer("The run and its repair.", Run)},
        (errors.OperationNotFound,),
    ),
    Operation(
        "GET /reconciliations/{run_id}/findings",
        "listFindings",
        "List a run's findings",
        "reconciliation",
        {200: Answer("One page.", Findings)},
        (errors.OperationNotFound,),
        query=FindingsQuery,
    ),
    Operation(
        "POST /reconciliations/{run_id}/apply",
        "applyReconciliation",
        "Repair a run's findings by a plan",
        "reconciliation",
        {202: Answer("The repair, asked for.", RequestedRepair)},
        (errors.OperationNotFound, errors.RunIncomplete, errors.BreakerOpen, errors.LedgerRestored, errors.Conflict, errors.MessagingError),
        "Every finding is checked again on both sides at the moment of acting. The same plan again is the same repair.",
        body=RepairBody,
    ),
    Operation(
        "GET /quarantine",
        "listQuarantine",
        "List what was set aside",
        "reconciliation",
        {200: Answer("Newest first.", QuarantineEntries)},
        query=RecentQuery,
    ),
    Operation(
        "POST /quarantine/{entry_id}/restore",
        "restoreQuarantined",
        "Put an object back",
        "reconciliation",
        {200: Answer("The entry, RESTORED.", QuarantineEntry)},
        (
            errors.OperationNotFound,
            errors.Conflict,
            errors.ObjectExists,
            errors.ObjectChanged,
            errors.RecordChanged,
            errors.ProjectNotFound,
            errors.ProjectClosed,
            errors.ConfirmationFailed,
            *OF_THE_BUCKET,
        ),
        body=NoBody,
    ),
    Operation(
        "GET /diagnostics/conformance",
        "getConformance",
        "Say what the store can do",
        "reconciliation",
        {200: Answer("Each thing it can or cannot do, and what that chooses.", Conformance)},
        OF_THE_BUCKET,
        "The store is tried once, with objects under .stocktake/probe/ that are removed again; anew by request, and when a reconciliation "
        "begins after a week.",
        query=ConformanceQuery,
    ),
)
