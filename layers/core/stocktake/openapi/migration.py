"""The migration flow in the document: what its operations answer with, and the operations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stocktake import errors
from stocktake.migration_requests import FindingsExportBody, NewExportBody, NewMigrationBody, ResultsQuery
from stocktake.openapi.operation import LEFT_OUT, OBJECT_ID, OF_THE_BUCKET, SHA256, Answer, AnswerBody, Operation, Time
from stocktake.openapi.upload import SignedRequest
from stocktake.requests import NoBody, RecentQuery

MIGRATION_ID = "01KAHM1GRAT10N000000000000"
EXPORT_ID = "01KAHEXP0RT000000000000000"
_KEY = f"projects/proj_sunset/2026/11/{OBJECT_ID}.png"


class Totals(AnswerBody):
    """The numbers of one phase of the run."""

    seen: int = Field(description="Lines or records looked at.", ge=0, examples=[120])
    done: int = Field(description="Of them, taken or moved.", ge=0, examples=[118])
    skipped: int = Field(description="Of them, in no need of it.", ge=0, examples=[1])
    failed: int = Field(description="Of them, not to be had: the results say why.", ge=0, examples=[1])
    bytes: int = Field(description="Of those that are done.", ge=0, examples=[13_924])
    inline: int = Field(description="Done, of bytes in the line or the ledger.", ge=0, examples=[100])
    external: int = Field(description="Done, of a URL.", ge=0, examples=[18])
    key: int = Field(description="Done, of an object that lay in the bucket.", ge=0, examples=[0])


class PhaseTotals(AnswerBody):
    """The numbers of the run by phase."""

    # `import` is no name in Python
    import_: Totals = Field(default=LEFT_OUT, alias="import", description="Lines of the file; left out where there is none.")
    migrate: Totals = Field(description="Records moved into the bucket.")


class MigrationSource(AnswerBody):
    """The file of a migration."""

    format: Literal["jsonl", "csv"]
    bytes: int = Field(description="Size.", ge=1, examples=[20_000])
    sha256: str = Field(description="Lower-case hex.", examples=[SHA256])


class ListedMigration(AnswerBody):
    """A migration among others."""

    migration_id: str = Field(examples=[MIGRATION_ID])
    status: Literal["WAITING", "RUNNING", "STOPPED", "COMPLETE", "FAILED"] = Field(
        description="WAITING for its file.", examples=["RUNNING"]
    )
    source: MigrationSource | None = Field(description="null where only what the ledger has is moved.")
    project_id: str | None = Field(description="null for all projects.", examples=["proj_sunset"])
    batch: int = Field(description="Lines or records of a batch.", ge=1, examples=[25])
    dry_run: bool = Field(description="Nothing is written.", examples=[False])
    create_projects: bool = Field(description="Projects that a line names and nobody opened are opened.", examples=[False])
    phase: Literal["import", "migrate"]
    run: int = Field(description="Grows by one when one that was complete is started again.", ge=1, examples=[1])
    requested_at: Time
    started_at: Time | None = Field(description="null until it is started.")
    ended_at: Time | None = Field(description="null while it runs or waits.", examples=[None])
    why: str | None = Field(description="Why it FAILED.", examples=[None])
    totals: PhaseTotals


class Remaining(AnswerBody):
    """An estimate of what is left of the phase; null where it cannot be said."""

    lines: int | None = Field(ge=0, examples=[30])
    records: int | None = Field(ge=0, examples=[None])


class Migration(ListedMigration):
    """A migration: where it stands, the numbers of its run, and the PUT of the file it waits for."""

    remaining: Remaining
    per_second: float | None = Field(description="Lines and records looked at in a second; null until it is started.", examples=[12.5])
    upload: SignedRequest | None = Field(description="While it is WAITING for its file.")
    expected: int | None = Field(description="Records there were to move when that phase began.", ge=0, examples=[None])


class Migrations(AnswerBody):
    """The newest migrations."""

    migrations: list[ListedMigration]


class MigrationResult(AnswerBody):
    """What came of one line or record."""

    phase: Literal["import", "migrate"]
    outcome: Literal["done", "skipped", "failed"]
    line: int = Field(default=LEFT_OUT, description="Of the file.", ge=1, examples=[1])
    id: str | None = Field(default=LEFT_OUT, description="What the line calls it.", examples=["a1"])
    object_id: str = Field(default=LEFT_OUT, description="Of the record.", examples=[OBJECT_ID])
    key: str = Field(default=LEFT_OUT, description="Under which it lies.", examples=[_KEY])
    kind: str = Field(default=LEFT_OUT, description="inline, external or key.", examples=["inline"])
    bytes: int = Field(default=LEFT_OUT, description="Size.", ge=0, examples=[118])
    problem: str = Field(default=LEFT_OUT, description="Of what failed: the type of its problem.", examples=[])
    why: str = Field(default=LEFT_OUT, description="Of what failed or was skipped.", examples=[])


class MigrationResults(AnswerBody):
    """One page of results, in the order of the batches."""

    results: list[MigrationResult]
    cursor: str | None = Field(description="For the next page; null on the last one.", examples=[None])


class ExportedFile(AnswerBody):
    """One file of an export."""

    url: str = Field(description="Signed for a while.", examples=["https://bucket.example.com/exports/00000.jsonl?X-Amz-Signature=..."])
    lines: int = Field(ge=0, examples=[120])
    bytes: int = Field(description="Size.", ge=0, examples=[60_000])
    sha256: str = Field(description="Lower-case hex.", examples=[SHA256])


class Export(AnswerBody):
    """An export of the ledger, or of a reconciliation's findings."""

    export_id: str = Field(examples=[EXPORT_ID])
    status: Literal["RUNNING", "COMPLETE", "FAILED"] = Field(examples=["COMPLETE"])
    project_id: str | None = Field(description="null for all projects.", examples=[None])
    run_id: str | None = Field(description="The reconciliation whose findings it holds; null where it holds the ledger.", examples=[None])
    format: Literal["jsonl", "csv"] = Field(description="Of the files.", examples=["jsonl"])
    contents: bool = Field(description="Whether bytes that lie in the ledger are in the lines.", examples=[False])
    requested_at: Time
    ended_at: Time | None = Field(description="null while it runs.")
    why: str | None = Field(description="Why it FAILED.", examples=[None])
    lines: int = Field(description="Of all files so far.", ge=0, examples=[120])
    bytes: int = Field(description="Of all files so far.", ge=0, examples=[60_000])
    files: list[ExportedFile] = Field(description="Once it is COMPLETE.")


_STARTING = (errors.OperationNotFound, errors.UploadIncomplete, errors.Conflict, errors.MessagingError, *OF_THE_BUCKET)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST /migrations",
        "createMigration",
        "Bring existing records in, or move what is unstored into the bucket",
        "migration",
        {202: Answer("The migration: WAITING for its file, or started.", Migration)},
        (errors.StorageDisabled, errors.ProjectNotFound, *_STARTING),
        body=NewMigrationBody,
    ),
    Operation(
        "GET /migrations",
        "listMigrations",
        "List the newest migrations",
        "migration",
        {200: Answer("Newest first.", Migrations)},
        query=RecentQuery,
    ),
    Operation(
        "GET /migrations/{migration_id}",
        "getMigration",
        "Read a migration",
        "migration",
        {200: Answer("Where it stands.", Migration)},
        (errors.OperationNotFound,),
    ),
    Operation(
        "POST /migrations/{migration_id}/start",
        "startMigration",
        "Start a migration, or take it up again",
        "migration",
        {202: Answer("The migration, RUNNING.", Migration)},
        _STARTING,
        body=NoBody,
    ),
    Operation(
        "POST /migrations/{migration_id}/stop",
        "stopMigration",
        "Stop a migration after the batch under way",
        "migration",
        {200: Answer("The migration, STOPPED.", Migration)},
        (errors.OperationNotFound, errors.Conflict),
        body=NoBody,
    ),
    Operation(
        "GET /migrations/{migration_id}/results",
        "listMigrationResults",
        "List what came of each line and record",
        "migration",
        {200: Answer("One page.", MigrationResults)},
        (errors.OperationNotFound,),
        query=ResultsQuery,
    ),
    Operation(
        "POST /exports",
        "createExport",
        "Write the ledger into files",
        "migration",
        {202: Answer("The export, RUNNING.", Export)},
        (errors.ProjectNotFound, errors.MessagingError),
        body=NewExportBody,
    ),
    Operation(
        "POST /reconciliations/{run_id}/export",
        "exportFindings",
        "Write a run's findings into files",
        "reconciliation",
        {202: Answer("The export, RUNNING: GET /exports/{export_id} gives its files.", Export)},
        (errors.OperationNotFound, errors.RunIncomplete, errors.MessagingError),
        "Of any run that has ended. In CSV, text that a spreadsheet would take for a formula has an apostrophe before it, and so has text "
        "that begins with one; control characters are written as in URLs; key_encoded is the key to the byte, encoded as in URLs.",
        body=FindingsExportBody,
    ),
    Operation(
        "GET /exports/{export_id}",
        "getExport",
        "Read an export",
        "migration",
        {200: Answer("The export, with its files once it is COMPLETE.", Export)},
        (errors.OperationNotFound,),
    ),
)
