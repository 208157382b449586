"""The project_deletion flow in the document: what its operations answer with, and the operations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stocktake import errors
from stocktake.openapi.operation import LEFT_OUT, OF_THE_BUCKET, SHA256, Answer, AnswerBody, Count, Header, Operation, Tally, Time
from stocktake.requests import DeletionBody, DeletionQuery, ListQuery, NoBody, PageQuery, ReceiptQuery, ReplayBody

DELETION_ID = "01KAHDELETE000000000000000"
_KEY = "projects/proj_sunset/2026/11/01KAHXPLEN0000000000000000.png"
_BY_LAYOUT = "Objects and bytes by the layout of their keys; layouts with none are left out."
_BY_SOURCE = (
    "The same by how they were found: both, listing (no record), ledger (no prefix shows them), versions, or named (late, by name alone)."
)
_CURSOR = "For the next page; null on the last one."

Mode = Annotated[
    Literal["both", "ledger", "listing", "sequential"],
    Field(description="Where keys were looked for; sequential: in both, and removed one by one.", examples=["both"]),
]


class Line(AnswerBody):
    """One key, and why it is named."""

    key: str = Field(examples=[_KEY])
    bytes: int = Field(description="Size.", ge=0, examples=[118])
    why: str = Field(description="For people.", examples=["it came back after every round: something keeps writing under this key"])


class RemainingLine(Line):
    """One key that is still there, and what keeps it from going."""

    refusals: int = Field(default=LEFT_OUT, description="In how many rounds the store refused to delete it.", ge=1, examples=[3])


class PagedLine(RemainingLine):
    """One key of all that remain, or that are suspects."""

    suspect: Literal[True] = Field(default=LEFT_OUT, description="It is not provably the project's, and was not touched.", examples=[])


class Refusal(AnswerBody):
    """A key that the store refused to delete at least once, and what it said last. What remains of them is among `remaining`."""

    key: str = Field(examples=[_KEY])
    code: str = Field(examples=["SlowDown"])
    message: str = Field(description="The store's own words.", examples=["Reduce your request rate."])
    refusals: int = Field(description="In how many rounds.", ge=1, examples=[1])


class RemovedKeys(AnswerBody):
    """SHA-256, in hex, of the removed keys in order, each followed by a zero byte: what `LC_ALL=C sort -z | sha256sum` says of them."""

    all: str = Field(examples=[SHA256])
    rounds: dict[str, str] = Field(description="By the number of the round.", examples=[{"1": SHA256}])


class NotPurged(AnswerBody):
    """A key that the CDN may still serve."""

    key: str = Field(examples=[_KEY])
    why: str = Field(description="What the CDN said.", examples=["the CDN answered 429"])


class Purges(AnswerBody):
    """What the CDN before the bucket was told to forget. It changes nothing of what is said of bucket and ledger."""

    provider: Literal["none", "cloudflare"]
    purged: Count
    failed: int = Field(description="Keys it did not take.", ge=0, examples=[0])
    failures: list[NotPurged] = Field(description="The first of them.", examples=[[]])


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


class SetAside(_Totals):
    """What lies aside, or lay there before it was erased, and what could not be moved there."""

    records: Count = Field(description="Records that say QUARANTINED for it; all they say beside is kept.")
    keys_sha256: str = Field(
        description="SHA-256 of the keys in order, each followed by a zero byte: an erasure removes them under keys of the quarantine.",
        examples=[SHA256],
    )
    left_objects: int = Field(
        description="Objects that stayed in place: not copied, changed, or of an upload under way.", ge=0, examples=[0]
    )
    left: list[Line] = Field(description="The first of them; GET .../remaining lists all.", examples=[[]])


class Undone(AnswerBody):
    """What an undo moved back."""

    objects: int = Field(description="Objects that lie under their keys again, or never left them.", ge=0, examples=[2])
    bytes: int = Field(description="Of all of them.", ge=0, examples=[236])
    undone_at: Time
    not_restored_objects: int = Field(description="Objects that could not be moved back.", ge=0, examples=[0])
    not_restored: list[Line] = Field(
        description="The first of them; GET .../remaining lists all. Of those whose key is taken GET /quarantine shows the copies.",
        examples=[[]],
    )


class DryRun(_Totals):
    """What a deletion would remove. Nothing was. The first page counts the whole project; those that follow count their own keys."""

    project_id: str = Field(description="As its creator spelled it.", examples=["proj_sunset"])
    dry_run: Literal[True]
    undo_seconds: int = Field(
        description="For how long it could be undone before it erases anything; 0 for not at all.", ge=0, examples=[0]
    )
    complete: bool = Field(description="false where there was no time to see everything.", examples=[True])
    keys: list[str] = Field(description="The keys of this page.", examples=[[_KEY]])
    suspect_objects: int = Field(description="What a prefix shows that is not provably the project's: it would stay.", ge=0, examples=[0])
    suspects: list[Line] = Field(description="The first of them.", examples=[[]])
    cursor: str | None = Field(description=_CURSOR, examples=[None])


class Receipt(_Totals):
    """What a deletion removed, and that nothing is left, or what is and why."""

    deletion_id: str = Field(examples=[DELETION_ID])
    project_id: str = Field(description="As its creator spelled it.", examples=["proj_sunset"])
    epoch: int = Field(description="The epoch that the deletion began.", ge=1, examples=[2])
    status: Literal["DELETED", "INCOMPLETE"] = Field(description="DELETED only if a fresh listing of every layout showed nothing.")
    mode: Mode
    reason: str | None = Field(description="As it was asked for.", examples=["the customer asked for it"])
    requested_by: str | None = Field(
        description="A pseudonym of who asked: SHA-256 of deletion_id, a zero byte and the caller's name; null where nobody did.",
        examples=[SHA256],
    )
    replay_of: str | None = Field(description="The deletion that was replayed after a restore of the ledger.", examples=[None])
    requested_at: Time
    finished_at: Time
    rounds: int = Field(description="How often everything was looked for.", ge=1, examples=[1])
    set_aside: SetAside | None = Field(
        description="What could be undone before it was erased; null where nothing was set aside, or not all of it.", examples=[None]
    )
    records: Count = Field(description="Rows removed from the ledger.")
    inline: Tally = Field(description="Of these, what lay in the ledger itself.", examples=[{"objects": 0, "bytes": 0}])
    versions: Count = Field(description="Versions and delete markers removed; 0 where the bucket keeps none.")
    multipart_uploads_aborted: Count
    batches: Count
    listings: list[Listing] = Field(description="Of the final sweep.")
    retries: int = Field(description="Refusals that were followed by another try.", ge=0, examples=[0])
    refused_objects: int = Field(description="Keys that were refused at least once.", ge=0, examples=[0])
    refused: list[Refusal] = Field(description="The first of them.", examples=[[]])
    removed_keys_sha256: RemovedKeys
    remaining_objects: int = Field(description="Objects that are still there.", ge=0, examples=[0])
    remaining: list[RemainingLine] = Field(description="The first of them.", examples=[[]])
    suspect_objects: int = Field(description="Objects that are not provably the project's.", ge=0, examples=[0])
    suspects: list[Line] = Field(description="The first of them.", examples=[[]])
    cdn: Purges


Status = Literal["REQUESTED", "SETTING_ASIDE", "HELD", "RESTORING", "UNDONE", "REMOVING", "DELETED", "INCOMPLETE"]


class Batches(AnswerBody):
    """How far the round is, or the undo."""

    planned: int | None = Field(description="Batches there are; null until all are planned.", ge=0, examples=[1])
    done: int = Field(description="Batches that are done.", ge=0, examples=[1])


class ListedDeletion(AnswerBody):
    """A deletion of a project, without its receipt."""

    deletion_id: str = Field(examples=[DELETION_ID])
    status: Status = Field(
        description="SETTING_ASIDE, HELD: nothing is erased yet, and it can be undone. RESTORING, UNDONE: it is being, or was undone.",
        examples=["REMOVING"],
    )
    project_id: str = Field(description="As its creator spelled it.", examples=["proj_sunset"])
    epoch: int = Field(description="The epoch that the deletion began.", ge=1, examples=[2])
    reason: str | None = Field(description="As it was asked for.", examples=["the customer asked for it"])
    requested_at: Time
    sweep_at: Time = Field(description="When no URL can bring anything any more, and everything is looked at for the last time.")
    erases_at: Time | None = Field(
        description="Until when it can be undone; what was set aside is erased then. null where there is no undo window."
    )
    round: int = Field(description="Everything is looked for up to three times; 0 before anything is erased.", ge=0, examples=[1])
    mode: Mode
    batches: Batches
    set_aside: SetAside = Field(default=LEFT_OUT, description="Once all is set aside.", examples=[])
    undone: Undone = Field(default=LEFT_OUT, description="Once it is undone.", examples=[])


class Deletion(ListedDeletion):
    """A deletion of a project."""

    receipt: Receipt = Field(default=LEFT_OUT, description="Once it has ended.")


class Verification(AnswerBody):
    """What a fresh look at every layout showed."""

    deletion_id: str = Field(examples=[DELETION_ID])
    status: Status = Field(description="The deletion's when asked: while it is HELD, what remains lies aside.", examples=["DELETED"])
    checked_at: Time
    complete: bool = Field(description="false where there was no time to see everything.", examples=[True])
    remaining: Tally = Field(description="What is still there.", examples=[{"objects": 0, "bytes": 0}])
    keys: list[str] = Field(description="The first of the keys that remain.", examples=[[]])
    suspect_objects: int = Field(description="Objects that are not provably the project's.", ge=0, examples=[0])
    suspects: list[Line] = Field(description="The first of them.", examples=[[]])


class RemainingPage(AnswerBody):
    """One page of what a deletion could not remove, suspects among it, in key order; or not set aside, or an undo not move back.

    A page may be empty and have a cursor.
    """

    deletion_id: str = Field(examples=[DELETION_ID])
    status: Literal["HELD", "UNDONE", "DELETED", "INCOMPLETE"] = Field(examples=["INCOMPLETE"])
    remaining: list[PagedLine]
    cursor: str | None = Field(description=_CURSOR, examples=[None])


class Replayed(AnswerBody):
    """A project that a restore brought back, and the deletion that removes it again."""

    project_id: str = Field(examples=["proj_sunset"])
    deletion_id: str = Field(description="In a dry run the one that erased it.", examples=[DELETION_ID])


class Replay(AnswerBody):
    """What was begun to erase again, or would be."""

    dry_run: bool = Field(description="true: nothing was begun.", examples=[False])
    complete: bool = Field(description="false where there was no time to look at everything: say it again.", examples=[True])
    tombstones: int = Field(description="Erasures that the ledger did not know.", ge=0, examples=[1])
    replayed: list[Replayed] = Field(description="The first of the deletions.")


class OnlyOne(AnswerBody):
    """A key that only one way of looking finds."""

    key: str = Field(examples=[_KEY])
    bytes: int = Field(description="In the bucket.", ge=0, examples=[118])
    layout: str = Field(examples=["current"])
    source: Literal["listing", "ledger", "record"] = Field(
        description="Found by: listing (no record), ledger (no prefix shows it), record (without object)."
    )
    why: str = Field(description="For people.", examples=["no record names it: it came behind the ledger's back, or its record is lost"])


class Discovery(AnswerBody):
    """What each of the two ways of looking finds of a project; the counts of all pages add up."""

    project_id: str = Field(description="As its creator spelled it.", examples=["proj_sunset"])
    state: Literal["ACTIVE", "DELETING", "DELETED"] = Field(description="The project's.")
    found: dict[str, Tally] = Field(
        description="By source: both, listing, ledger, or record (without object).", examples=[{"both": {"objects": 2, "bytes": 236}}]
    )
    only_one: list[OnlyOne]
    suspects: list[Line] = Field(description="What is not provably the project's.", examples=[[]])
    cursor: str | None = Field(description=_CURSOR, examples=[None])


_NO_STORE = Header("Cache-Control", "Kept by nobody.", "no-store", required=True)
_FILE = Header("Content-Disposition", "A name for the file.", f'attachment; filename="receipt-{DELETION_ID}.json"')


OF_THE_LISTING = (errors.ListingIncomplete, errors.ListingOutOfOrder, errors.ListingTooLarge)
"""What may be wrong with a listing, beside what may be wrong with any request to the bucket."""

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
            202: Answer("The deletion, under way: the project takes nothing any more, and shows nothing.", ListedDeletion),
        },
        (
            errors.ProjectNotFound,
            errors.Conflict,
            errors.LedgerRestored,
            errors.RecordChanged,
            errors.OperationNotFound,
            errors.MessagingError,
            *OF_THE_LISTING,
            *OF_THE_BUCKET,
        ),
        "Removes everything it ever stored, under every layout. Asked again, answers with the same deletion; one that is incomplete is "
        "taken up again where another mode is asked for. Where the deployment has an undo window, everything is set aside first and erased "
        "when that ends, unless undo is false.",
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
        "GET /deletions/{deletion_id}/receipt",
        "getReceipt",
        "Read a receipt alone",
        "project_deletion",
        {
            200: Answer(
                "The receipt as a file; or a page to print (as=html), which asks no other host for anything.",
                Receipt,
                media_type="text/html; charset=utf-8",
                headers=(_NO_STORE, _FILE),
            )
        },
        (errors.OperationNotFound, errors.Conflict),
        query=ReceiptQuery,
    ),
    Operation(
        "GET /deletions/{deletion_id}/remaining",
        "listRemaining",
        "List all that a deletion could not remove, set aside or move back",
        "project_deletion",
        {200: Answer("One page.", RemainingPage)},
        (errors.OperationNotFound, errors.Conflict),
        query=PageQuery,
    ),
    Operation(
        "POST /deletions/{deletion_id}/verify",
        "verifyDeletion",
        "Look again",
        "project_deletion",
        {200: Answer("What is there now.", Verification)},
        (errors.OperationNotFound, errors.MessagingError, *OF_THE_LISTING, *OF_THE_BUCKET),
        "Lists every layout afresh. An incomplete deletion is taken up again.",
        body=NoBody,
    ),
    Operation(
        "POST /deletions/{deletion_id}/undo",
        "undoDeletion",
        "Undo a deletion",
        "project_deletion",
        {
            200: Answer("It is undone.", ListedDeletion),
            202: Answer("It is being undone: everything is moved back, and then the project opens as it was.", ListedDeletion),
        },
        (errors.OperationNotFound, errors.Conflict, errors.RecordChanged, errors.LedgerRestored, errors.MessagingError, *OF_THE_BUCKET),
        "While its undo window is open: moves all that was set aside back under its keys, and opens the project with its records, "
        "metadata, quota and jobs. What cannot be moved back is named. Safe to say again.",
        body=NoBody,
    ),
    Operation(
        "POST /deletions/replay",
        "replayErasures",
        "Erase again what a restore brought back",
        "project_deletion",
        {200: Answer("The deletions that were begun, or would be.", Replay)},
        (errors.OperationNotFound, errors.RecordChanged, errors.MessagingError, *OF_THE_BUCKET),
        "After the tables were restored to an earlier time: begins the deletion of every project that was erased since, by the ledger "
        "alone. Until it is done, nothing is deleted or repaired. Safe to say again.",
        body=ReplayBody,
    ),
    Operation(
        "GET /diagnostics/projects/{project_id}/discovery",
        "diagnoseDiscovery",
        "See what each way of looking finds",
        "project_deletion",
        {200: Answer("One page; nothing is removed.", Discovery)},
        (errors.ProjectNotFound, *OF_THE_LISTING, *OF_THE_BUCKET),
        query=ListQuery,
    ),
)
