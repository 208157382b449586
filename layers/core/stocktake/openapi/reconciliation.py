"""The reconciliation flow in the document: what its operations answer with, and the operations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stocktake import errors
from stocktake.openapi.operation import ETAG, LEFT_OUT, OBJECT_ID, OF_THE_BUCKET, Answer, AnswerBody, Count, Operation, Tally, Time
from stocktake.requests import ActionsQuery, FindingsQuery, ListQuery, NoBody, QuarantineQuery, RecentQuery, RepairBody

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
    acknowledged: Tally = Field(
        default=LEFT_OUT, description="Findings of any class that are acknowledged, and in none of these.", examples=[]
    )


class Repair(AnswerBody):
    """How far a repair is."""

    status: Literal["RUNNING", "DONE", "FAILED"]
    plan: dict[str, str] = Field(description="As it was asked for.", examples=[_PLAN])
    started_at: Time
    finished_at: Time = Field(default=LEFT_OUT, description="Once it is DONE.")
    plan_id: str = Field(description="Of what was worked out before.", examples=[RUN_ID])
    turn: int = Field(description="The how-manieth repair of the run.", ge=1, examples=[1])
    done: dict[str, int] = Field(description=_DONE, examples=[{"MARK_MISSING": 1}])
    skipped: Count = Field(description="Findings that nothing was done about, for a reason of their own.")
    reasons: dict[str, int] = Field(description="Those by reason.", examples=[{"seen_once": 1, "changed": 1}])
    deferred: Count = Field(description="Findings over the breaker's caps: the next apply takes them. Known once it is DONE.")
    why: str = Field(default=LEFT_OUT, description="Why it broke off.", examples=[])


class Deferred(AnswerBody):
    """What is put off."""

    count: Count
    bytes: int = Field(ge=0, examples=[236])


class PlanLine(AnswerBody):
    """What would be done about one class."""

    finding_class: str = Field(alias="class", examples=["orphan"])
    action: str = Field(examples=["quarantine"])
    count: Count
    bytes: int = Field(ge=0, examples=[236])
    deferred: Deferred = Field(description="Over the breaker's caps: left for the next apply.")
    skipped: dict[str, int] = Field(description="Findings the action is not for, or not yet, by reason.", examples=[{"seen_once": 1}])


class Allowed(AnswerBody):
    """The breaker's caps for one apply."""

    actions: Count
    per_project: Count


class Planned(AnswerBody):
    """What an apply would do."""

    plan_id: str = Field(examples=[RUN_ID])
    run_id: str = Field(examples=[RUN_ID])
    status: Literal["PLANNING", "READY", "APPLIED"] = Field(
        description="PLANNING: there was no time to look at every finding; ask again with the plan_id, or apply it all the same.",
        examples=["READY"],
    )
    policy: dict[str, str] = Field(examples=[_PLAN])
    planned_at: Time
    expires_at: Time = Field(description="Until when it may be applied.")
    allowed: Allowed
    actions: list[PlanLine]
    warning: str = Field(default=LEFT_OUT, description="Where more is wanted than the breaker lets pass.", examples=[])


class RequestedRepair(Repair):
    """A repair that was asked for."""

    run_id: str = Field(examples=[RUN_ID])
    cursor: int = Field(description="Of its own.", examples=[0])
    planned: Planned


class Restoration(AnswerBody):
    """How far it is to take back what a run set aside."""

    run_id: str = Field(examples=[RUN_ID])
    status: Literal["RUNNING", "DONE", "FAILED"]
    turn: int = Field(description="The how-manieth of the run.", ge=1, examples=[1])
    started_at: Time
    finished_at: Time = Field(default=LEFT_OUT, description="Once it is DONE.", examples=[])
    restored: Count
    failed: Count = Field(description="Entries that could not be restored; each says why.")
    why: str = Field(default=LEFT_OUT, description="Why it broke off.", examples=[])


class ListedRun(AnswerBody):
    """A comparison of bucket and ledger, without its repair."""

    run_id: str = Field(examples=[RUN_ID])
    status: Literal["REQUESTED", "RUNNING", "COMPLETE", "INCOMPLETE", "FAILED"] = Field(
        description="Only what is COMPLETE can be acted on.", examples=["COMPLETE"]
    )
    started_at: Time
    grace_ms: int = Field(description="Milliseconds; what is younger is never a finding.", ge=0, examples=[3_600_000])
    ranges: int = Field(default=LEFT_OUT, description="Pieces the keys were cut into, once it is planned.", ge=1, examples=[1])
    previous: str | None = Field(default=LEFT_OUT, description="The complete run before it, once it is planned.", examples=[None])
    finished_at: Time = Field(default=LEFT_OUT, description="Once it has ended.")
    counts: RunCounts = Field(default=LEFT_OUT, description="Once it has ended whole.")
    why: str | None = Field(default=None, description="Why it is not COMPLETE.", examples=[None])


class Run(ListedRun):
    """A comparison of bucket and ledger."""

    repair: Repair = Field(default=LEFT_OUT, description="Where one was asked for.")
    restoration: Restoration = Field(default=LEFT_OUT, description="Where one was asked for.", examples=[])


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


class SeenFinding(AnswerBody):
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


class Finding(SeenFinding):
    """A finding, and what came of it."""

    repair: Literal[
        "FOUND",
        "ACTING",
        "SKIPPED",
        "ACKNOWLEDGED",
        "MARK_MISSING",
        "FORGET",
        "REFETCH",
        "REFRESH",
        "SETTLE",
        "ADOPT",
        "QUARANTINE",
        "DELETE",
    ] = Field(description="FOUND until a repair did something about it; ACKNOWLEDGED where it is quiet.")
    acting: str = Field(default=LEFT_OUT, description="The action that was begun.", examples=[])
    reason: str = Field(default=LEFT_OUT, description="Why nothing was done, in a word that stays the same.", examples=[])
    skipped: str = Field(default=LEFT_OUT, description="Why nothing was done.", examples=[])
    outcome: str = Field(default=LEFT_OUT, description="What was done.", examples=[])
    entry_id: str = Field(default=LEFT_OUT, description="Of the quarantine.", examples=[])


class PlannedFinding(SeenFinding):
    """A finding, and what would be done about it."""

    action: str = Field(examples=["quarantine"])


class Plan(Planned):
    """What an apply would do, and to which first."""

    first: list[PlannedFinding] = Field(description="The first that would be acted on, oldest first: as many as 100, each as it was seen.")


class Action(AnswerBody):
    """What came of one finding."""

    key: str = Field(examples=[_KEY])
    finding_class: str = Field(alias="class", examples=["orphan"])
    kind: str = Field(examples=["active"])
    project: str | None = Field(examples=["sunset"])
    bytes: int = Field(ge=0, examples=[118])
    action: str = Field(examples=["quarantine"])
    result: Literal["waiting", "done", "skipped", "deferred"] = Field(
        description="waiting: the repair has not come to it.", examples=["skipped"]
    )
    reason: str = Field(
        default=LEFT_OUT,
        description="Of what was not done: deferred, seen_once, changed, other_kind, too_large, or what the key was or was refused for.",
        examples=["seen_once"],
    )
    why: str = Field(default=LEFT_OUT, description="The same as a sentence.", examples=[])
    outcome: str = Field(default=LEFT_OUT, description="What was done.", examples=[])
    entry_id: str = Field(default=LEFT_OUT, description="Of the quarantine.", examples=[])


class Actions(AnswerBody):
    """One page of what the newest repair of a run did, put off and left out; it may be short, or empty, while there are more."""

    actions: list[Action]
    cursor: str | None = Field(description="For the next page; null on the last one.", examples=[None])


class Acknowledgement(AnswerBody):
    """A finding that is quiet until it changes."""

    acknowledgement_id: str = Field(examples=["acknowledged-0123456789abcdef0123456789abcdef"])
    status: Literal["ACTIVE", "REVOKED"] = Field(examples=["ACTIVE"])
    key: str = Field(examples=[_KEY])
    finding_class: str = Field(alias="class", examples=["unknown"])
    kind: str = Field(examples=["no_layout"])
    layout: str | None = Field(examples=[None])
    project: str | None = Field(examples=[None])
    bytes: int = Field(ge=0, examples=[118])
    object: SeenObject | None
    record: SeenRecord | None = Field(examples=[None])
    run_id: str = Field(description="The run whose finding it was.", examples=[RUN_ID])
    acknowledged_at: Time


class AcknowledgementPage(AnswerBody):
    """One page, newest first."""

    acknowledgements: list[Acknowledgement]
    cursor: str | None = Field(description="For the next page; null on the last one.", examples=[None])


class Findings(AnswerBody):
    """One page of a run's findings, in key order within a class."""

    findings: list[Finding]
    cursor: str | None = Field(description="For the next page; null on the last one.", examples=[None])


class QuarantineEntry(AnswerBody):
    """An object that was set aside."""

    entry_id: str = Field(examples=[f"{RUN_ID}-0123456789abcdef01234567"])
    status: Literal["MOVING", "HELD", "CANCELLED", "RESTORING", "RESTORED", "PURGING", "PURGED"] = Field(
        description="What is HELD can be restored.", examples=["HELD"]
    )
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
    purged_at: Time = Field(default=LEFT_OUT, description="Once it is PURGED.", examples=[])
    not_restored: str = Field(default=LEFT_OUT, description="Why it was not restored with its run.", examples=[])
    kept: str = Field(default=LEFT_OUT, description="Why it was not purged when its time had come.", examples=[])


class Drill(AnswerBody):
    """An object of Stocktake's own that was set aside and restored, and held against what it was."""

    drill_id: str = Field(examples=[f"drill-{RUN_ID}"])
    status: Literal["RUNNING", "PASSED", "FAILED"] = Field(examples=["PASSED"])
    started_at: Time
    finished_at: Time = Field(default=LEFT_OUT, description="Once it has ended.")
    differences: list[str] = Field(default=LEFT_OUT, description="What was not as it had been.", examples=[[]])
    why: str | None = Field(default=LEFT_OUT, description="What stopped it.", examples=[None])


class DrillList(AnswerBody):
    """The newest drills."""

    drills: list[Drill]
    last_passed_at: Time | None = Field(description="null where none of these passed.")
    age_seconds: int | None = Field(description="Seconds since then.", ge=0, examples=[3600])


class QuarantineEntries(AnswerBody):
    """One page, newest first; with filters it may be short, or empty, while there are more."""

    entries: list[QuarantineEntry]
    cursor: str | None = Field(description="For the next page; null on the last one.", examples=[None])


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
        "Every finding is checked again on both sides at the moment of acting. The same request again while it runs is the same repair, "
        "and once it is done another one, which takes what was put off.",
        body=RepairBody,
    ),
    Operation(
        "POST /reconciliations/{run_id}/plan",
        "planReconciliation",
        "Say what an apply would do",
        "reconciliation",
        {200: Answer("The plan.", Plan)},
        (errors.OperationNotFound, errors.RunIncomplete),
        "Changes nothing. The plan may be applied within the hour.",
        body=RepairBody,
    ),
    Operation(
        "GET /reconciliations/{run_id}/actions",
        "listActions",
        "List what a repair did, put off and left out",
        "reconciliation",
        {200: Answer("One page, in the order of the findings.", Actions)},
        (errors.OperationNotFound,),
        query=ActionsQuery,
    ),
    Operation(
        "POST /reconciliations/{run_id}/restore",
        "restoreRun",
        "Put back all that a run set aside",
        "reconciliation",
        {202: Answer("How far it is.", Restoration)},
        (errors.OperationNotFound, errors.Conflict, errors.RecordChanged, errors.LedgerRestored, errors.MessagingError),
        "Each object on its own: one that cannot be restored does not stop the others.",
        body=NoBody,
    ),
    Operation(
        "GET /acknowledgements",
        "listAcknowledgements",
        "List the findings that are quiet",
        "reconciliation",
        {200: Answer("Newest first.", AcknowledgementPage)},
        query=ListQuery,
    ),
    Operation(
        "DELETE /acknowledgements/{acknowledgement_id}",
        "revokeAcknowledgement",
        "Let a finding be reported again",
        "reconciliation",
        {200: Answer("What was acknowledged, REVOKED.", Acknowledgement)},
        (errors.OperationNotFound, errors.RecordChanged),
        body=NoBody,
    ),
    Operation(
        "GET /quarantine",
        "listQuarantine",
        "List what was set aside",
        "reconciliation",
        {200: Answer("Newest first.", QuarantineEntries)},
        query=QuarantineQuery,
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
        "POST /quarantine/drill",
        "drillQuarantine",
        "Prove that quarantine restores",
        "reconciliation",
        {200: Answer("What came of it, passed or not.", Drill)},
        (errors.Conflict, errors.RecordChanged, *OF_THE_BUCKET),
        "Plants an object of Stocktake's own, sets it aside, restores it, compares it and takes it away again.",
        body=NoBody,
    ),
    Operation(
        "GET /quarantine/drills",
        "listDrills",
        "List the newest drills",
        "reconciliation",
        {200: Answer("Newest first.", DrillList)},
        query=RecentQuery,
    ),
)
