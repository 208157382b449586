"""`delete-project`, `verify` and what else there is of deletions: what each will do in numbers, and its proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from stocktake_cli import words
from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command, wait_for
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Absent

_SHOWN = 20
"""How many keys people are shown; `--json` has them all."""
_OVERDUE_SECONDS = 900
"""After its sweep was due: its message is lost then, and not late."""
_AGAIN_SECONDS = 2.0
_OF_SUSPECTS = (
    "A suspect is never deleted, and while one is there the deletion ends INCOMPLETE. Look at each: delete or move by hand what is this "
    "project's, or give the deployment a layout that says whose it is"
)


@command("delete-project", group=stocktake)
@click.argument("project_id")
@click.option("--dry-run", is_flag=True, help="only say what would go; also what happens where nobody can be asked and --yes is not given")
@click.option("--yes", is_flag=True, help="do it, and do not ask")
@click.option("--reason", metavar="TEXT", help="kept on the receipt; no personal data")
@click.option(
    "--mode",
    type=click.Choice(["both", "ledger", "listing", "sequential"]),
    help="one way of looking alone, or key after key; both ways, unless said otherwise",
)
@click.option("--no-undo", is_flag=True, help="erase at once, where the deployment would set everything aside first")
@click.option("--wait", is_flag=True, help="wait for the receipt, which comes when the last URL given out before is dead")
@click.option("--timeout", type=click.IntRange(1), default=7200, show_default=True, metavar="SECONDS", help="how long to wait for it")
def delete_project(
    session: Session,
    project_id: str,
    dry_run: bool,
    yes: bool,
    reason: str | None,
    mode: str | None,
    no_undo: bool,
    wait: bool,
    timeout: int,
) -> Outcome:
    """Remove everything a project ever stored, under every layout, and prove it.

    Says first what would go, and does it only with --yes, or when the project's id is typed. With --wait it ends with 0 only where the
    receipt says DELETED; `stocktake verify` looks again at any later time.
    """
    api, out = session.api, session.out
    preview = _preview(session, project_id)
    out.table(
        ["layout", "#objects", "#bytes"],
        [(name, f"{of['objects']:,}", words.size(of["bytes"])) for name, of in preview["by_layout"].items()],
    )
    _say_suspects(session, preview["suspects"], preview["suspect_objects"])
    if preview["suspect_objects"]:
        out.note(f"{_OF_SUSPECTS}.")
    undo = 0 if no_undo else preview.get("undo_seconds", 0)
    until = f"; it can be undone for {words.seconds(undo)}." if undo else ", for good."
    what = f"Would remove {words.tally(preview)} of {preview['project_id']}{until}"
    if not yes and (dry_run or not out.is_interactive):
        out.say(what)
        out.note("Nothing was done: --yes does it.")
        return Outcome({"dry_run": True, "preview": preview, "deletion": None})
    if dry_run:
        out.say(what)
        return Outcome({"dry_run": True, "preview": preview, "deletion": None})
    if not yes:
        out.confirm(what.replace("Would remove", "This removes"), project_id)
    asked = {"reason": reason, "mode": mode, "undo": False if no_undo else None}
    body = {name: value for name, value in asked.items() if value is not None}
    deletion = api.call("DELETE", "/projects/{project_id}", {"project_id": project_id}, body=body)
    if wait:
        out.note(f"begun: deletion {deletion['deletion_id']}")
        deletion = wait_for_receipt(session, deletion["deletion_id"], timeout)
    _say(session, deletion)
    done = deletion["status"] in ("DELETED", "HELD") or (not wait and deletion["status"] != "INCOMPLETE")
    return Outcome({"dry_run": False, "preview": preview, "deletion": deletion}, Exit.FINE if done else Exit.DIFFERENT)


def _preview(session: Session, project_id: str) -> dict[str, Any]:
    """Adds up the pages of a dry run: each has the totals of its own."""
    whole: dict[str, Any] = {}
    cursor = None
    with session.out.progress("looking for what would go") as bar:
        while True:
            query = {"dry_run": "true", "cursor": cursor}
            page = session.api.call("DELETE", "/projects/{project_id}", {"project_id": project_id}, query=query)
            if not whole:
                whole = {**page, "keys": list(page["keys"]), "suspects": list(page["suspects"])}
            else:
                _add(whole, page)
            bar.update(f"looking for what would go: {words.tally(whole)}")
            cursor = page["cursor"]
            if cursor is None:
                return {**whole, "complete": True, "cursor": None}


def _add(whole: dict[str, Any], page: dict[str, Any]) -> None:
    for member in ("objects", "bytes", "suspect_objects"):
        whole[member] += page[member]
    for member in ("by_layout", "by_source"):
        for name, tally in page[member].items():
            before = whole[member].setdefault(name, {"objects": 0, "bytes": 0})
            whole[member][name] = {unit: before[unit] + tally[unit] for unit in ("objects", "bytes")}
    whole["keys"] += page["keys"]
    whole["suspects"] += page["suspects"]


def wait_for_receipt(session: Session, deletion_id: str, timeout: float) -> dict[str, Any]:
    """Waits until a deletion has its receipt, or is held to be undone, or the time is over; returns the deletion."""

    def show(deletion: dict[str, Any]) -> tuple[str, float | None, float | None]:
        planned, done = deletion["batches"]["planned"], deletion["batches"]["done"]
        return f"{deletion['status'].lower()}, {done} of {planned or '?'} batches; final sweep at {deletion['sweep_at']}", None, None

    return wait_for(
        session,
        lambda: session.api.get("/deletions/{deletion_id}", deletion_id=deletion_id),
        ended=("DELETED", "INCOMPLETE", "UNDONE", "HELD"),
        show=show,
        seconds=timeout,
        what=f"deletion {deletion_id}",
        then=f"stocktake verify {deletion_id} --wait waits for its receipt, stocktake deletions shows how it stands",
    )


def _say(session: Session, deletion: dict[str, Any]) -> None:
    out = session.out
    receipt = deletion.get("receipt")
    if receipt is None:
        out.say(f"{deletion['status']}: {deletion['deletion_id']}")
        if deletion.get("erases_at"):
            _say_held(session, deletion)
            return
        out.note(f"The receipt comes after the final sweep at {deletion['sweep_at']}: stocktake verify {deletion['deletion_id']}")
        return
    out.facts(
        {
            "deletion": deletion["deletion_id"],
            "status": receipt["status"],
            "removed": words.tally(receipt),
            "records": words.number(receipt["records"]),
            "versions": words.number(receipt["versions"]),
            "left": words.number(receipt["remaining_objects"]),
            "suspects": words.number(receipt["suspect_objects"]),
        }
    )
    out.table(
        ["layout", "prefix", "#found by a fresh listing"], [(of["layout"], of["prefix"], of["objects"]) for of in receipt["listings"]]
    )
    _say_left(session, [f"{left['key']} ({left['why']})" for left in receipt["remaining"]], receipt["remaining_objects"])
    _say_suspects(session, receipt["suspects"], receipt["suspect_objects"])
    if receipt["status"] == "INCOMPLETE":
        _say_way_out(session, deletion["deletion_id"], has_suspects=bool(receipt["suspect_objects"]))


def _say_held(session: Session, deletion: Mapping[str, Any]) -> None:
    session.out.note(f"Set aside, and erased at {deletion['erases_at']}: until then stocktake undo {deletion['deletion_id']}")


def _say_left(session: Session, lines: Sequence[str], count: int) -> None:
    for line in lines[:_SHOWN]:
        session.out.say(f"left: {line}", "red")
    _say_more(session, count)


def _say_suspects(session: Session, suspects: Sequence[Mapping[str, Any]], count: int) -> None:
    for suspect in suspects[:_SHOWN]:
        session.out.say(f"suspect, left alone: {suspect['key']} ({suspect['why']})", "yellow")
    _say_more(session, count)


def _say_more(session: Session, count: int) -> None:
    if count > _SHOWN:
        session.out.say(f"and {count - _SHOWN:,} more")


def _say_way_out(session: Session, deletion_id: str, *, has_suspects: bool) -> None:
    """Says what ends an incomplete deletion: its cause is somebody's to remove, and then it has to be taken up again."""
    first = _OF_SUSPECTS if has_suspects else "Free what is left: a lock, a policy, a writer that goes on"
    session.out.note(f"{first}. Then stocktake redrive deletion --yes goes on with it; so does stocktake verify {deletion_id} --wait")


@command("verify", group=stocktake)
@click.argument("deletion_or_project")
@click.option("--wait", is_flag=True, help="wait until an incomplete deletion, which this takes up again, has its receipt")
@click.option("--timeout", type=click.IntRange(1), default=7200, show_default=True, metavar="SECONDS", help="how long to wait for it")
def verify(session: Session, deletion_or_project: str, wait: bool, timeout: int) -> Outcome:
    """List every layout afresh, and say whether anything of a deleted project is left.

    DELETION_OR_PROJECT is the id of a deletion, or that of a project: its last deletion is meant then. Names what is left, and the
    suspects, which no deletion removes and which keep it INCOMPLETE. Ends with 0 only where the deletion is proved and nothing is left.
    """
    api, out = session.api, session.out
    before = _deletion(session, deletion_or_project)
    deletion_id = str(before["deletion_id"])
    found = api.post("/deletions/{deletion_id}/verify", deletion_id=deletion_id)
    deletion = wait_for_receipt(session, deletion_id, timeout) if wait else api.get("/deletions/{deletion_id}", deletion_id=deletion_id)
    if wait and deletion["status"] == "INCOMPLETE":
        # its receipt is newer than the look, and another look would take it up once more
        _say(session, deletion)
        return Outcome({"verified": found, "deletion": deletion}, Exit.DIFFERENT)
    if wait and deletion["status"] != found["status"]:
        found = api.post("/deletions/{deletion_id}/verify", deletion_id=deletion_id)  # what was still to go may be gone since
    out.facts(
        {
            "deletion": deletion_id,
            "status": deletion["status"],
            "left, looked at afresh": words.tally(found["remaining"]),
            "looked": "to the end" if found["complete"] else "not to the end: say it again",
            "suspects, left alone": words.number(found["suspect_objects"]),
        }
    )
    # a look alone knows no reason; the receipt it takes up again has it
    reasons = {line["key"]: f" ({line['why']})" for line in (before.get("receipt") or {}).get("remaining", [])}
    _say_left(session, [key + reasons.get(key, "") for key in found["keys"]], found["remaining"]["objects"])
    _say_suspects(session, found.get("suspects", []), found["suspect_objects"])  # absent where the deployment is of an older version
    if deletion.get("erases_at") and deletion["status"] == "HELD":
        _say_held(session, deletion)
    if found["status"] == "INCOMPLETE":
        _say_way_out(session, deletion_id, has_suspects=bool(found["suspect_objects"]))
    proved = deletion["status"] == "DELETED" and found["complete"] and found["remaining"]["objects"] == 0
    return Outcome({"verified": found, "deletion": deletion}, Exit.FINE if proved else Exit.DIFFERENT)


@command("undo", group=stocktake)
@click.argument("deletion_or_project")
@click.option("--timeout", type=click.IntRange(1), default=3600, show_default=True, metavar="SECONDS", help="how long to wait for the end")
def undo(session: Session, deletion_or_project: str, timeout: int) -> Outcome:
    """Undo a deletion while its undo window is open: everything that was set aside comes back, and the project opens as it was.

    Ends with 1 where something could not be moved back; it is named.
    """
    deletion_id = str(_deletion(session, deletion_or_project)["deletion_id"])
    session.api.post("/deletions/{deletion_id}/undo", deletion_id=deletion_id)
    deletion = wait_for(
        session,
        lambda: session.api.get("/deletions/{deletion_id}", deletion_id=deletion_id),
        ended=("UNDONE", "DELETED", "INCOMPLETE"),
        show=lambda seen: (f"{seen['status'].lower()}: {deletion_id}", None, None),
        seconds=timeout,
        what=f"the undoing of deletion {deletion_id}",
        then=f"stocktake undo {deletion_id} waits for its end, stocktake deletions shows how it stands",
    )
    back = deletion.get("undone") or {}
    session.out.say(f"{deletion['status']}: {deletion_id}" + (f", {words.tally(back)} back" if back else ""))
    for left in back.get("not_restored", [])[:_SHOWN]:
        session.out.say(f"not restored: {left['key']} ({left['why']})", "red")
    fine = deletion["status"] == "UNDONE" and not back.get("not_restored_objects")
    return Outcome({"deletion": deletion}, Exit.FINE if fine else Exit.DIFFERENT)


@command("deletions", group=stocktake)
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="how many, the newest first")
def deletions(session: Session, limit: int) -> Outcome:
    """The newest deletions of projects: when they were asked for, how they stand, and what is next.

    Ends with 1 where one ended INCOMPLETE, or its final sweep is overdue.
    """
    listed = session.api.get("/deletions", {"limit": limit})["deletions"]
    nexts = {of["deletion_id"]: _next(of, session.now()) for of in listed}
    rows = [
        (of["deletion_id"], of["status"].lower(), of["project_id"], words.time(of["requested_at"]), nexts[of["deletion_id"]])
        for of in listed
    ]
    session.out.table(["deletion", "status", "project", "asked for", "~next"], rows)
    if not rows:
        session.out.note("no project was deleted yet")
    stuck = any(of["status"] == "INCOMPLETE" or _is_overdue(of, session.now()) for of in listed)
    return Outcome({"deletions": listed}, Exit.DIFFERENT if stuck else Exit.FINE)


def _next(deletion: dict[str, Any], now: float) -> str:
    status, deletion_id = deletion["status"], deletion["deletion_id"]
    if status == "INCOMPLETE":
        return f"stocktake verify {deletion_id} names what is left, and the suspects"
    if _is_overdue(deletion, now):
        return f"overdue: stocktake verify {deletion_id} sends its sweep again"
    if status == "HELD":
        return f"erased at {words.time(deletion['erases_at'])}"
    return f"final sweep at {words.time(deletion['sweep_at'])}" if status in ("REQUESTED", "REMOVING") else ""


def _is_overdue(deletion: dict[str, Any], now: float) -> bool:
    due = datetime.fromisoformat(deletion["sweep_at"]).timestamp()
    return deletion["status"] in ("REQUESTED", "REMOVING") and now > due + _OVERDUE_SECONDS


@command("replay-erasures", group=stocktake)
@click.option("--yes", is_flag=True, help="do it, and do not ask")
@click.option("--timeout", type=click.IntRange(1), default=3600, show_default=True, metavar="SECONDS", help="how long to say it again")
def replay_erasures(session: Session, yes: bool, timeout: int) -> Outcome:
    """After a restore of the tables: delete again the projects that were deleted since, and that it brought back.

    Says first which those are, and does it only with --yes, or when `replay` is typed. Until it is done the deployment deletes and repairs
    nothing. What is in the bucket and in no record is left alone; receipts come as of any deletion.
    """
    out = session.out
    dry = session.api.post("/deletions/replay", {"dry_run": True})
    out.table(["project", "erased by"], [(of["project_id"], of["deletion_id"]) for of in dry["replayed"][:_SHOWN]])
    if not dry["tombstones"] and dry["complete"]:
        out.say("The tables know of every erasure: there is nothing to do.")
        return Outcome({"dry_run": True, "replayed": []})
    least = "" if dry["complete"] else "at least "
    out.say(f"The tables have forgotten {least}{words.count(dry['tombstones'], 'erasure')}.")
    what = f"{least}{words.count(len(dry['replayed']), 'project')} again, by the records that came back"
    if not yes and not out.is_interactive:
        out.say(f"Would delete {what}.")
        out.note("Nothing was done: --yes does it.")
        return Outcome({"dry_run": True, "replayed": dry["replayed"]}, Exit.DIFFERENT)
    if not yes:
        out.confirm(f"This deletes {what}, for good.", "replay")
    begun: dict[str, dict[str, Any]] = {}
    end, complete = session.now() + timeout, False
    with out.progress("deleting again") as bar:
        while not complete and session.now() < end:
            answer = session.api.post("/deletions/replay")
            begun |= {of["deletion_id"]: of for of in answer["replayed"]}
            complete = answer["complete"]
            bar.update(f"deleting again: {words.count(len(begun), 'project')}")
            session.sleep(0 if complete else _AGAIN_SECONDS)
    out.say(f"{words.count(len(begun), 'deletion')} begun" + ("." if complete else ", and not all looked at: say it again."))
    out.note("stocktake deletions shows how they stand; stocktake redrive, which letters of deletions wait since the restore")
    return Outcome({"dry_run": False, "replayed": list(begun.values())}, Exit.FINE if complete else Exit.DIFFERENT)


def _deletion(session: Session, name: str) -> dict[str, Any]:
    """Reads the deletion of that id, or the last one of the project of that id. Raises Absent."""
    try:
        return session.api.get("/deletions/{deletion_id}", deletion_id=name)
    except Absent as absent:
        try:
            project = session.api.get("/projects/{project_id}", project_id=name)
        except Absent:
            raise Absent(f"there is neither a deletion nor a project {name!r}", "look at the id") from absent
        if project["deletion_id"] is None:
            raise Absent(
                f"the project {name} is open, and no deletion of it is under way or done",
                "an earlier one of a project that was opened anew goes by its own id; stocktake delete-project says what would go",
            ) from absent
        return session.api.get("/deletions/{deletion_id}", deletion_id=str(project["deletion_id"]))
