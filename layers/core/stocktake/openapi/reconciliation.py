"""The reconciliation flow in the document: what its operations answer with, and the operations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stocktake import errors
from stocktake.openapi.operation import ETAG, LEFT_OUT, OBJECT_ID, OF_THE_BUCKET, Answer, AnswerBody, Count, Operation, Tally, Time
from stocktake.requests import (
    ActionsQuery,
    ChangesQuery,
    ConformanceQuery,
    FindingsQuery,
    ListQuery,
    NoBody,
    QuarantineQuery,
    RecentQuery,
    RepairBody,
    StartRunBody,
)

RUN_ID = "01KAHRECNC0000000000000000"
_KEY = "images/s1/baby-boomer/1795239000000-a1b2c3.png"
_DONE = "Findings by what was done about them."
_CLASSES = {"matched": {"objects": 2, "bytes": 236}, "orphan": {"objects": 1, "bytes": 118}}
_PLAN = {"missing": "mark_missing", "orphan": "quarantine"}


class RunCounts(AnswerBody):
    """What a run saw. What there is none of is left out."""

    bucket: Tally = Field(default=LEFT_OUT, description="Objects in the bucket.")
    ledger: dict[str, Tally] = Field(default=LEFT_OUT, description="Records by state.", examples=[{"stored": {"objects": 2, "bytes": 236}}])
    layout: dict[str, Tally] = Field(
        default=LEFT_OUT, description="Objects by layout.", examples=[{"current": {"objects": 2, "bytes": 236}}]
    )
    by_layout: dict[str, dict[str, Tally]] = Field(
        default=LEFT_OUT,
        description="What is counted below, by layout; unknown for keys that none explains.",
        examples=[{"current": _CLASSES}],
    )
    matched: Tally = Field(default=LEFT_OUT, description="Both sides tell the same.")
    known: Tally = Field(default=LEFT_OUT, description="Records that say themselves that their object is set aside.", examples=[])
    leaving: Tally = Field(
        default=LEFT_OUT, description="Records whose object is gone, and whose own deletion has not come to them yet.", examples=[]
    )
    young: Tally = Field(default=LEFT_OUT, description="Too young to be judged: left for the next run.", examples=[])
    settled: Tally = Field(default=LEFT_OUT, description="Differed at first, and no more when both sides were asked again.", examples=[])
    unreadable: Tally = Field(default=LEFT_OUT, description="Differ, and the store refuses to show them.", examples=[])
    unlisted: Tally = Field(default=LEFT_OUT, description="Objects that the listing left out.", examples=[])
    system: Tally = Field(default=LEFT_OUT, description="Objects of Stocktake's own.", examples=[])
    lost: dict[str, Tally] = Field(
        default=LEFT_OUT,
        description="Of the findings, those whose key had both sides in the run before: by what it has lost, objects or records.",
        examples=[],
    )
    orphan: Tally = Field(default=LEFT_OUT, description="Findings: objects without record.")
    missing: Tally = Field(default=LEFT_OUT, description="Findings: records whose object is gone.", examples=[])
    mismatch: Tally = Field(default=LEFT_OUT, description="Findings: object and record differ.", examples=[])
    unstored: Tally = Field(default=LEFT_OUT, description="Findings: records without object yet.", examples=[])
    unknown: Tally = Field(default=LEFT_OUT, description="Findings: keys no layout explains.", examples=[])
    duplicate_spelling: Tally = Field(
        default=LEFT_OUT, description="Findings: keys whose other side lies under another Unicode spelling.", examples=[]
    )
    acknowledged: Tally = Field(
        default=LEFT_OUT, description="Findings of any class that are acknowledged, and in none of these.", examples=[]
    )


class ChangesCounts(AnswerBody):
    """What moved since the run before: findings by class."""

    since: str | None = Field(description="The run before; null for the first.", examples=[None])
    new: dict[str, int] = Field(description="Not found by the run before, or not like this.", examples=[{"orphan": 1}])
    unchanged: dict[str, int] = Field(description="Found by the run before, exactly like this.", examples=[{}])
    gone: dict[str, int] = Field(description="Found by the run before and not by this one, with no repair between.", examples=[{}])
    repaired: dict[str, int] = Field(description="Found by the run before, acted on by its repair, and not found any more.", examples=[{}])


class Note(AnswerBody):
    """What a count that is no finding means."""

    meaning: str = Field(examples=["These differ and are younger than the grace window."])
    likely_cause: str = Field(examples=["They are uploads and deletions under way."])
    recommended: str = Field(examples=["Wait for the next run."])


class Repair(AnswerBody):
    """How far a repair is."""

    status: Literal["RUNNING", "DONE", "FAILED", "STOPPED"]
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
    status: Literal["RUNNING", "DONE", "FAILED", "STOPPED"]
    turn: int = Field(description="The how-manieth of the run.", ge=1, examples=[1])
    started_at: Time
    finished_at: Time = Field(default=LEFT_OUT, description="Once it is DONE.", examples=[])
    restored: Count
    failed: Count = Field(description="Entries that could not be restored; each says why.")
    why: str = Field(default=LEFT_OUT, description="Why it broke off.", examples=[])


class RunInventory(AnswerBody):
    """What a run reads in place of the bucket's listing."""

    location: str = Field(examples=["s3://my-inventories/my-bucket/weekly/2026-11-22T01-00Z/manifest.json"])
    created_at: Time = Field(description="When S3 began to scan the bucket: the grace window is measured from there.")
    files: int = Field(ge=1, examples=[4])
    sorted: Count = Field(description="Files that are checked and sorted; the walk begins after the last.")


class ListedRun(AnswerBody):
    """A comparison of bucket and ledger, without its repair."""

    run_id: str = Field(examples=[RUN_ID])
    status: Literal["REQUESTED", "RUNNING", "COMPLETE", "INCOMPLETE", "FAILED", "STOPPED", "SKIPPED"] = Field(
        description="Only what is COMPLETE can be acted on.", examples=["COMPLETE"]
    )
    started_at: Time
    clock_skew_ms: int = Field(default=LEFT_OUT, description="How far the store's clock was ahead of ours, where it tells.", examples=[120])
    grace_ms: int = Field(description="Milliseconds; what is younger is never a finding.", ge=0, examples=[3_600_000])
    inventory: RunInventory = Field(default=LEFT_OUT, description="Where one was named.", examples=[])
    ranges: int = Field(default=LEFT_OUT, description="Pieces the keys were cut into, once it is planned.", ge=1, examples=[1])
    previous: str | None = Field(
        default=LEFT_OUT,
        description="The complete run before, once it is planned; null for the first, which only reports.",
        examples=[None],
    )
    finished_at: Time = Field(default=LEFT_OUT, description="Once it has ended.")
    cost: Cost = Field(default=LEFT_OUT, description="Once it is planned.", examples=[])
    counts: RunCounts = Field(default=LEFT_OUT, description="Once it has ended whole.")
    why: str | None = Field(default=None, description="Why it is not COMPLETE.", examples=[None])


class Requests(AnswerBody):
    """Requests by what they are paid as."""

    list: Count = Field(description="Pages of listings.")
    get: Count = Field(description="Objects asked for, and read.")
    put: Count = Field(description="Objects written.")
    query: Count = Field(description="Pages of the ledger.")
    read: Count = Field(description="Rows read one by one.")
    write: Count = Field(description="Rows written.")
    transaction: Count = Field(description="Findings written.")


class LedgerUnits(AnswerBody):
    """What DynamoDB counts."""

    read: Count
    write: Count


class Bill(AnswerBody):
    """What a run takes."""

    requests: Requests
    ledger_units: LedgerUnits
    walking_seconds: float = Field(description="Of all steps together.", ge=0, examples=[63.5])
    usd: float | None = Field(
        description="By list prices, of requests, units and walking; null where StorePrices is off.", examples=[0.0228]
    )


class Estimate(Bill):
    """What a run will take."""

    by_run: str | None = Field(description="The complete run it is taken from; null: from a part of the ledger.", examples=[RUN_ID])
    objects: Count = Field(description="In the bucket.")
    records: Count = Field(description="In the ledger.")
    at_least: bool = Field(description="Only so much was read of the ledger; there is more.", examples=[False])
    ranges: int = Field(description="Pieces the keys would be cut into.", ge=1, examples=[11])
    seconds: int | None = Field(description="From beginning to end; null before the first complete run.", ge=0, examples=[140])


class Cost(AnswerBody):
    """What a run takes: before, and after."""

    estimated: Estimate
    counted: Bill = Field(default=LEFT_OUT, description="Once it has ended whole. What killed steps sent is not in it.")


class Progress(AnswerBody):
    """How far a run is."""

    keys: int = Field(description="Walked so far.", ge=0, examples=[240_000])
    keys_per_second: int = Field(description="Of all ranges together, since it was planned.", ge=0, examples=[12_000])
    share: float | None = Field(
        description="Of the keys the run before saw, at most 1; null where nobody knows how many there are.", ge=0, le=1, examples=[0.24]
    )
    seconds_left: int | None = Field(description="If it goes on at this rate.", ge=0, examples=[63])


class Run(ListedRun):
    """A comparison of bucket and ledger."""

    progress: Progress = Field(default=LEFT_OUT, description="While it walks.", examples=[])
    changes: ChangesCounts = Field(default=LEFT_OUT, description="Of a run that is COMPLETE.")
    notes: dict[str, Note] = Field(
        default=LEFT_OUT, description="What the counts mean that are no findings, by their name, where there are any.", examples=[{}]
    )
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
    finding_class: Literal["orphan", "missing", "mismatch", "unstored", "unknown", "duplicate_spelling"] = Field(alias="class")
    kind: str = Field(description="Which of the class's cases it is.", examples=["active"])
    layout: str | None = Field(description="The layout that explains the key.", examples=["session"])
    project: str | None = Field(description="Whose it is, without proj_; null where nobody can say.", examples=["sunset"])
    bytes: int = Field(description="Size of the object, or what its record says.", ge=0, examples=[118])
    object: SeenObject | None = Field(description="null where there is none.")
    record: SeenRecord | None = Field(description="null where there is none.", examples=[None])
    settles_at: Time | None = Field(
        default=LEFT_OUT,
        description="Of an upload that has not come: from when on settling withdraws it; null where its own sweep alone does.",
        examples=[],
    )
    meaning: str = Field(examples=["The bucket holds an object of a live project that the ledger does not know."])
    likely_cause: str = Field(examples=["It was uploaded around the API, by a script or a console."])
    recommended: str = Field(examples=["Adopt it if the application uses it, else quarantine it."])
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
    url: str = Field(
        default=LEFT_OUT, description="With urls=true, of an image in the bucket: where it can be looked at for five minutes.", examples=[]
    )


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
        description=(
            "Of what was not done: deferred, seen_once, waiting, changed, other_kind, too_large, or what the key was or was refused for."
        ),
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


class ProjectCounts(AnswerBody):
    """What a run counted for one project."""

    project: str = Field(description="Without proj_; (none) for keys of no project the ledger knows.", examples=["sunset"])
    bucket: Tally = Field(description="Objects in the bucket.")
    ledger: Tally = Field(description="Records that say their object is stored.")
    classes: dict[str, Tally] = Field(description="As the run's counts, for this project.", examples=[_CLASSES])


class CountsByProject(AnswerBody):
    """One page of counts."""

    projects: list[ProjectCounts]
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


class BucketIdentity(AnswerBody):
    """Which bucket is seen, and whether it is the one this ledger describes."""

    status: str = Field(description="ok, or the type of the problem.", examples=["ok"])
    why: str | None = Field(description="What is wrong, and what to do.", examples=[None])
    bucket: str = Field(description="Its name.", examples=["stocktake-data"])
    configured_region: str = Field(examples=["eu-north-1"])
    region: str | None = Field(description="Where the bucket is; null where the store does not tell.", examples=["eu-north-1"])
    bucket_id: str | None = Field(description="The mark found in the bucket; null where there is none.", examples=[RUN_ID])
    known_bucket_id: str | None = Field(description="The mark this ledger knows; null before the first project.", examples=[RUN_ID])
    clock_skew_ms: int | None = Field(
        description="How far the store's clock is ahead of ours; null where it does not tell.", examples=[120]
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST /reconciliations",
        "startReconciliation",
        "Compare bucket and ledger",
        "reconciliation",
        {202: Answer("The run, asked for.", ListedRun), 200: Answer("What a run would cost; with dry_run.", Estimate)},
        (errors.MessagingError, errors.RunInProgress, errors.LeaseLost, errors.InventoryUnusable),
        "Changes nothing: it reports. One run or repair at a time.",
        body=StartRunBody,
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
        "Filters may be mixed. A page reads at most 2,000 findings and hands back a cursor: with filters it may hold few or none and not "
        "be the last.",
        query=FindingsQuery,
    ),
    Operation(
        "GET /reconciliations/{run_id}/changes",
        "listChanges",
        "List what is new, gone or unchanged since the run before",
        "reconciliation",
        {200: Answer("One page. What is gone is shown as the run before found it, and with what its repair did.", Findings)},
        (errors.OperationNotFound, errors.RunIncomplete),
        "A page reads at most 2,000 findings and hands back a cursor: it may hold few or none and not be the last.",
        query=ChangesQuery,
    ),
    Operation(
        "GET /reconciliations/{run_id}/projects",
        "listCountsByProject",
        "List a run's counts by project and class",
        "reconciliation",
        {200: Answer("One page, which may hold few or none and not be the last.", CountsByProject)},
        (errors.OperationNotFound,),
        "There are none before the run has ended.",
        query=ListQuery,
    ),
    Operation(
        "POST /reconciliations/{run_id}/apply",
        "applyReconciliation",
        "Repair a run's findings by a plan",
        "reconciliation",
        {202: Answer("The repair, asked for.", RequestedRepair)},
        (
            errors.OperationNotFound,
            errors.RunIncomplete,
            errors.RunInProgress,
            errors.LeaseLost,
            errors.BreakerOpen,
            errors.LedgerRestored,
            errors.Conflict,
            errors.MessagingError,
            *OF_THE_BUCKET,
        ),
        "Every finding is checked again on both sides at the moment of acting. The same request again while it runs is the same repair, "
        "and once it is done another one, which takes what was put off.",
        body=RepairBody,
    ),
    Operation(
        "POST /reconciliations/{run_id}/stop",
        "stopReconciliation",
        "End a run or its repair",
        "reconciliation",
        {200: Answer("The run as it was left.", Run)},
        (errors.OperationNotFound, errors.Conflict),
        "What it found stays readable and is never acted on. Stopping again is safe. A repair whose step is at an object ends with "
        "it: until then, whoever asks for another run or repair is answered `run-in-progress`.",
        body=NoBody,
    ),
    Operation(
        "GET /diagnostics/identity",
        "diagnoseIdentity",
        "See whether the bucket is the one the ledger describes",
        "reconciliation",
        {200: Answer("What is seen of it.", BucketIdentity)},
        description="Region, mark and clock: what a run checks before it compares. A bucket that has no mark yet is marked.",
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
        (
            errors.OperationNotFound,
            errors.RunInProgress,
            errors.LeaseLost,
            errors.Conflict,
            errors.RecordChanged,
            errors.LedgerRestored,
            errors.MessagingError,
        ),
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
            errors.LedgerRestored,
            errors.RunIncomplete,
            *OF_THE_BUCKET,
        ),
        body=NoBody,
    ),
    Operation(
        "DELETE /quarantine/{entry_id}",
        "purgeQuarantined",
        "Remove what was set aside for good, before its days are over",
        "reconciliation",
        {200: Answer("The entry, PURGED.", QuarantineEntry)},
        (
            errors.OperationNotFound,
            errors.Conflict,
            errors.ObjectChanged,
            errors.RecordChanged,
            errors.ProjectClosed,
            errors.LedgerRestored,
            errors.RunIncomplete,
            *OF_THE_BUCKET,
        ),
        "What has come under its key meanwhile stays where it is, and is recorded. There is no way back.",
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
