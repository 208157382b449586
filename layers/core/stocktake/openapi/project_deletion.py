"""The project_deletion flow in the document: what its operations answer with, and the operations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stocktake import errors
from stocktake.openapi.operation import LEFT_OUT, OF_THE_BUCKET, Answer, AnswerBody, Count, Operation, Tally, Time
from stocktake.requests import DeletionBody, DeletionQuery, NoBody

DELETION_ID = "01KAHDELETE000000000000000"
_KEY = "projects/proj_sunset/2026/11/01KAHXPLEN0000000000000000.png"
_BY_LAYOUT = "Objects and bytes by the layout of their keys; layouts with none are left out."
_BY_SOURCE = (
    "The same by how they were found: both, listing (no record), ledger (no prefix shows them), versions, or named (late, by name alone)."
)


class Line(AnswerBody):
    """One key, and what keeps it from going."""

    key: str = Field(examples=[_KEY])
    bytes: int = Field(description="Size.", ge=0, examples=[118])
    why: str = Field(description="For people.", examples=["it came back after every round: something keeps writing under this key"])


class Listing(AnswerBody):
    """A prefix that was listed afresh, and what was found under it."""

    layout: str = Field(examples=["current"])
    prefix: str = Field(examples=["projects/proj_sunset/"])
    objects: Count


class _Totals(AnswerBody):
    objects: Count
    bytes: int = Field(description="Of all of them.", ge=0, examples=[236])
    by_layout: dict[str, Tally] = Field(description=_BY_LAYOUT, examples=[{"current": {"objects": 2, "bytes": 236}}])
    by_source: dict[str, Tally] = Field(description=_BY_SOURCE, examples=[{"both": {"objects": 2, "bytes": 236}}])


class DryRun(_Totals):
    """What a deletion would remove. Nothing was."""

    project_id: str = Field(description="As its creator spelled it.", examples=["proj_sunset"])
    dry_run: Literal[True]
    complete: bool = Field(description="false where there was no time to see everything.", examples=[True])
    keys: list[str] = Field(description="The first of the keys.", examples=[[_KEY]])
    suspects: list[Line] = Field(description="What a prefix shows that is not provably the project's: it would stay.", examples=[[]])


class Receipt(_Totals):
    """What a deletion removed, and that nothing is left, or what is and why."""

    deletion_id: str = Field(examples=[DELETION_ID])
    project_id: str = Field(description="As its creator spelled it.", examples=["proj_sunset"])
    epoch: int = Field(description="The epoch that the deletion began.", ge=1, examples=[2])
    status: Literal["DELETED", "INCOMPLETE"] = Field(description="DELETED only if a fresh listing of every layout showed nothing.")
    reason: str | None = Field(description="As it was asked for.", examples=["the customer asked for it"])
    requested_at: Time
    finished_at: Time
    rounds: int = Field(description="How often everything was looked for.", ge=1, examples=[1])
    records: Count = Field(description="Rows removed from the ledger.")
    versions: Count = Field(description="Versions and delete markers removed; 0 where the bucket keeps none.")
    multipart_uploads_aborted: Count
    batches: Count
    listings: list[Listing] = Field(description="Of the final sweep.")
    listed_whole: bool = Field(description="Whether the final sweep had time to see everything.", examples=[True])
    remaining_objects: int = Field(description="Objects that are still there.", ge=0, examples=[0])
    remaining: list[Line] = Field(description="The first of them.", examples=[[]])
    suspect_objects: int = Field(description="Objects that are not provably the project's.", ge=0, examples=[0])
    suspects: list[Line] = Field(description="The first of them.", examples=[[]])


class Batches(AnswerBody):
    """How far the round is."""

    planned: int | None = Field(description="Batches there are; null until all are planned.", ge=0, examples=[1])
    done: int = Field(description="Batches that are done.", ge=0, examples=[1])


class ListedDeletion(AnswerBody):
    """A deletion of a project, without its receipt."""

    deletion_id: str = Field(examples=[DELETION_ID])
    status: Literal["REQUESTED", "REMOVING", "DELETED", "INCOMPLETE"]
    project_id: str = Field(description="As its creator spelled it.", examples=["proj_sunset"])
    epoch: int = Field(description="The epoch that the deletion began.", ge=1, examples=[2])
    reason: str | None = Field(description="As it was asked for.", examples=["the customer asked for it"])
    requested_at: Time
    sweep_at: Time = Field(description="When no URL can bring anything any more, and everything is looked at for the last time.")
    round: int = Field(description="Everything is looked for up to three times.", ge=1, examples=[1])
    batches: Batches


class Deletion(ListedDeletion):
    """A deletion of a project."""

    receipt: Receipt = Field(default=LEFT_OUT, description="Once it has ended.")


class Verification(AnswerBody):
    """What a fresh look at every layout showed."""

    deletion_id: str = Field(examples=[DELETION_ID])
    status: Literal["REQUESTED", "REMOVING", "DELETED", "INCOMPLETE"] = Field(description="The deletion's when asked.")
    checked_at: Time
    complete: bool = Field(description="false where there was no time to see everything.", examples=[True])
    remaining: Tally = Field(description="What is still there.", examples=[{"objects": 0, "bytes": 0}])
    keys: list[str] = Field(description="The first of the keys that remain.", examples=[[]])
    suspects: list[Line] = Field(description="What is not provably the project's.", examples=[[]])


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "DELETE /projects/{project_id}",
        "deleteProject",
        "Delete a project",
        "project_deletion",
        {
            200: Answer(
                "What it would remove (dry_run=true); or the deletion with its receipt, where it had ended before.", (DryRun, Deletion)
            ),
            202: Answer("The deletion, under way: the project takes nothing any more.", ListedDeletion),
        },
        (
            errors.ProjectNotFound,
            errors.RecordChanged,
            errors.OperationNotFound,
            errors.MessagingError,
            errors.ListingOutOfOrder,
            *OF_THE_BUCKET,
        ),
        "Removes everything it ever stored, under every layout. Asked again, answers with the same deletion.",
        body=DeletionBody,
        query=DeletionQuery,
    ),
    Operation(
        "GET /deletions/{deletion_id}",
        "getDeletion",
        "Read a deletion",
        "project_deletion",
        {200: Answer("How far it is, with its receipt once it has ended.", Deletion)},
        (errors.OperationNotFound,),
    ),
    Operation(
        "POST /deletions/{deletion_id}/verify",
        "verifyDeletion",
        "Look again",
        "project_deletion",
        {200: Answer("What is there now.", Verification)},
        (errors.OperationNotFound, errors.MessagingError, errors.ListingOutOfOrder, *OF_THE_BUCKET),
        "Lists every layout afresh. An incomplete deletion is taken up again.",
        body=NoBody,
    ),
)
