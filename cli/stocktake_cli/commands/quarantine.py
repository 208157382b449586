"""`quarantine`, `restore`, `purge` and `drill`: what was set aside, back, gone for good, and the proof that it comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import click

from stocktake_cli import words
from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command, wait_for
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Absent, Failure, Misused, Unreachable

_STATUSES = ("MOVING", "HELD", "CANCELLED", "RESTORING", "RESTORED", "PURGING", "PURGED")


@command("quarantine", group=stocktake)
@click.option("--project", "project_id", metavar="PROJECT_ID", help="only what was this project's")
@click.option("--run", "run_id", metavar="RUN_ID", help="only what this reconciliation set aside")
@click.option("--status", type=click.Choice(_STATUSES), help="only entries of this status")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="how many at most, the newest first")
def quarantine(session: Session, project_id: str | None, run_id: str | None, status: str | None, limit: int) -> Outcome:
    """What reconciliations set aside: where it was, why, and until when it can be restored."""
    query = {"project": project_id, "run": run_id, "status": status, "limit": min(limit, 100)}
    entries = list(islice(session.api.pages("/quarantine", "entries", query), limit))
    rows = [(of["entry_id"], of["status"].lower(), of["key"], words.size(of["size"]), words.time(of["expires_at"])) for of in entries]
    session.out.table(["entry", "status", "key", "#bytes", "until"], rows)
    if not rows:
        session.out.note("there is none")
    return Outcome({"entries": entries})


@command("restore", group=stocktake)
@click.argument("entry_ids", nargs=-1, metavar="[ENTRY_ID...]")
@click.option("--run", "run_id", metavar="RUN_ID", help="everything that this reconciliation set aside")
@click.option("--timeout", type=click.IntRange(1), default=3600, show_default=True, metavar="SECONDS", help="with --run: how long to wait")
def restore(session: Session, entry_ids: tuple[str, ...], run_id: str | None, timeout: int) -> Outcome:
    """Bring back what was set aside, bytes and record.

    Nothing is overwritten: an entry whose key holds another object by now is refused. Ends with 1 where some could not be restored.
    """
    if bool(run_id) == bool(entry_ids):
        raise Misused("say what to restore: entries or a run", "give ids of entries (`stocktake quarantine`), or --run")
    if run_id:
        return _restore_run(session, run_id, timeout)
    restored, failed = _each(
        session,
        entry_ids,
        ("restoring", "restored"),
        lambda entry_id: session.api.post("/quarantine/{entry_id}/restore", entry_id=entry_id),
    )
    return Outcome({"restored": restored, "failed": failed, "restoration": None}, Exit.DIFFERENT if failed else Exit.FINE)


@command("purge", group=stocktake)
@click.argument("entry_ids", nargs=-1, required=True, metavar="ENTRY_ID...")
@click.option("--yes", is_flag=True, help="do it, and do not ask")
def purge(session: Session, entry_ids: tuple[str, ...], yes: bool) -> Outcome:
    """Remove what was set aside for good, before its days are over.

    Removes only with --yes, or when it is confirmed: there is no way back. What has come under its key meanwhile stays where it is, and is
    recorded. Ends with 1 where some were not removed.
    """
    wanted = dict.fromkeys(entry_ids)
    if not yes:
        held = [of for of in session.api.pages("/quarantine", "entries", {"status": "HELD", "limit": 100}) if of["entry_id"] in wanted]
        _show(session, held)
        if absent := [entry_id for entry_id in wanted if entry_id not in {of["entry_id"] for of in held}]:
            raise Absent(f"nothing is held as {', '.join(absent)}", "stocktake quarantine --status HELD lists what is")
        would = f"{words.count(len(held), 'object')} of {words.size(sum(of['size'] for of in held))}"
        if not session.out.is_interactive:
            session.out.note(f"Nothing was removed: --yes removes {would} for good.")
            return Outcome({"held": held, "purged": [], "failed": []}, Exit.DIFFERENT)
        session.out.confirm(f"This removes {would} for good. There is no way back.", "purge")
    purged, failed = _each(
        session,
        wanted,
        ("removing", "removed"),
        lambda entry_id: session.api.call("DELETE", "/quarantine/{entry_id}", {"entry_id": entry_id}),
    )
    return Outcome({"held": [], "purged": purged, "failed": failed}, Exit.DIFFERENT if failed else Exit.FINE)


def _each(
    session: Session, entry_ids: Iterable[str], said: tuple[str, str], act: Callable[[str], dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Acts on entries, and shows and returns what came of each: those it was done to, and why not to the others. One alone just fails."""
    wanted, (doing, as_done) = list(dict.fromkeys(entry_ids)), said
    done, failed = [], []
    with session.out.progress(doing, total=len(wanted)) as bar:
        for entry_id in wanted:
            try:
                done.append(act(entry_id))
            except Unreachable:
                raise
            except Failure as failure:
                if len(wanted) == 1:
                    raise
                failed.append({"entry_id": entry_id, **failure.document()})
            bar.advance()
    _show(session, done)
    for refusal in failed:
        session.out.say(f"not {as_done}: {refusal['entry_id']} ({refusal['message']})", "red")
    return done, failed


def _show(session: Session, entries: Sequence[dict[str, Any]]) -> None:
    session.out.table(["entry", "key", "#bytes"], [(of["entry_id"], of["key"], words.size(of["size"])) for of in entries])


def _restore_run(session: Session, run_id: str, timeout: float) -> Outcome:
    session.api.post("/reconciliations/{run_id}/restore", run_id=run_id)

    def look() -> dict[str, Any]:
        return {"status": "RUNNING", **session.api.get("/reconciliations/{run_id}", run_id=run_id).get("restoration", {})}

    done = wait_for(
        session,
        look,
        ended=("DONE", "FAILED", "STOPPED"),
        show=lambda seen: (f"restoring: {seen.get('restored', 0):,} restored", None, None),
        seconds=timeout,
        what=f"the restoration of what reconciliation {run_id} set aside",
        then=f"stocktake restore --run {run_id} waits for its end, stocktake reconcile --stop {run_id} ends it",
    )
    failed = done.get("failed", 0)
    why = f" ({done['why']})" if done.get("why") else ""
    session.out.say(f"{done['status']}: {done.get('restored', 0):,} restored, {failed:,} not{why}")
    if failed or done["status"] != "DONE":
        session.out.note(f"stocktake quarantine --run {run_id} --status HELD shows what is not")
    fine = done["status"] == "DONE" and not failed
    return Outcome({"restored": [], "failed": [], "restoration": done}, Exit.FINE if fine else Exit.DIFFERENT)


@command("drill", group=stocktake)
@click.option("--list", "lists", is_flag=True, help="only show the newest drills, and when one last passed")
def drill(session: Session, lists: bool) -> Outcome:
    """Prove that quarantine restores: an object of Stocktake's own is planted, set aside, restored and compared.

    Its project, stocktake-drill, stays, and is in every list.
    Ends with 1 where it did not come back as it was.
    """
    if lists:
        seen = session.api.get("/quarantine/drills", {"limit": 20})
        session.out.table(
            ["drill", "status", "began"], [(of["drill_id"], of["status"].lower(), words.time(of["started_at"])) for of in seen["drills"]]
        )
        if not seen["drills"]:
            session.out.note("there was none yet: stocktake drill makes one")
        session.out.say(f"last passed: {words.time(seen['last_passed_at']) if seen['last_passed_at'] else 'never'}")
        return Outcome(seen, Exit.FINE if seen["last_passed_at"] else Exit.DIFFERENT)
    done = session.api.post("/quarantine/drill")
    session.out.say(f"{done['status']}: {done['drill_id']}" + (f" ({done['why']})" if done.get("why") else ""))
    for difference in done.get("differences", []):
        session.out.say(f"not as it was: {difference}", "red")
    return Outcome(done, Exit.FINE if done["status"] == "PASSED" else Exit.DIFFERENT)
