"""`analytics`, `runs` and `projects`: counts beside each other, when they were made, and whose they are."""

from __future__ import annotations

from typing import Any

import click

from stocktake_cli import words
from stocktake_cli.checks import drifts
from stocktake_cli.commands.group import stocktake
from stocktake_cli.commands.reconciliation import CLASSES
from stocktake_cli.edge import Outcome, Session, command
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Misused

_RUNS = 30
"""How many runs the history shows."""


@command("analytics", group=stocktake)
@click.argument("project_id", required=False)
def analytics(session: Session, project_id: str | None) -> Outcome:
    """Counts of ledger and bucket side by side, the drift between them, and its history.

    Of everything, or of PROJECT_ID. Ends with 1 where the two differ by more than is acknowledged, where the last complete run found
    something else, or where the bucket was never counted.
    """
    api = session.api
    if project_id:
        counts = api.get("/projects/{project_id}/analytics", project_id=project_id)
        runs: list[dict[str, Any]] = []
    else:
        counts = api.get("/analytics")
        runs = api.get("/reconciliations", {"limit": _RUNS})["reconciliations"]
    # an inventory's bucket is of another day than the run
    history = [_point(run) for run in reversed(runs) if run["status"] == "COMPLETE" and "counts" in run and not run.get("inventory")]
    _draw(session, counts, history)
    differs = counts["drift"] is None or drifts(counts) or _found(counts) > 0
    return Outcome({**counts, "history": history}, Exit.DIFFERENT if differs else Exit.FINE)


def _draw(session: Session, counts: dict[str, Any], history: list[dict[str, Any]]) -> None:
    out, bucket = session.out, counts["bucket"]
    counted = f"counted at {words.time(bucket['counted_at'])}" if bucket else "never counted: stocktake reconcile"
    rows = [
        ("records in the ledger", _cells(counts["records"]), ""),
        ("  of them with a stored object", _cells(counts["stored"]), ""),
        ("objects in the bucket", _cells(bucket), counted),
        ("drift", _cells(counts["drift"], signed=True), "bucket less ledger, when it was counted"),
    ]
    if counts.get("acknowledged"):  # absent where the deployment is of an older version
        rows.append(("acknowledged findings", _cells(counts["acknowledged"]), "in no class's count"))
    out.table(["", "#objects", "#bytes", "~"], [(name, *cells, note) for name, cells, note in rows], title=f"As of {counts['as_of']}")
    out.say()
    out.table(["records by state", "#objects", "#bytes"], [(state.lower(), *_cells(tally)) for state, tally in counts["counts"].items()])
    for name in ("layout", "type", "provider", "purpose"):
        if counts.get(f"by_{name}"):  # absent where the deployment is of an older version
            out.say()
            out.table([f"stored by {name}", "#objects", "#bytes"], [(of["name"], *_cells(of)) for of in counts[f"by_{name}"]])
    if counts.get("explanation"):
        out.say()
        out.say(counts["explanation"])
    if counts.get("findings"):
        out.say()
        out.table(["the last complete run found", "#objects", "#bytes"], [(kind, *_cells(of)) for kind, of in counts["findings"].items()])
    if len(history) > 1:
        out.say()
        for name, member in (("objects in the bucket", "bucket"), ("findings", "findings")):
            values = [point[member] for point in history]
            out.say(f"{name:<22} {words.sparkline(values)}  {values[0]:,} → {values[-1]:,} in {len(values)} runs")


def _point(run: dict[str, Any]) -> dict[str, Any]:
    counts = run["counts"]
    findings = sum(counts.get(kind, {}).get("objects", 0) for kind in CLASSES)
    return {
        "run_id": run["run_id"],
        "at": run.get("finished_at"),
        "bucket": counts.get("bucket", {}).get("objects", 0),
        "findings": findings,
    }


def _found(counts: dict[str, Any]) -> int:
    return sum(tally["objects"] for tally in (counts.get("findings") or {}).values())


def _cells(tally: dict[str, Any] | None, *, signed: bool = False) -> tuple[str, str]:
    if tally is None:
        return "–", "–"
    objects, size = tally["objects"], tally["bytes"]
    return (f"{objects:+,}" if signed and objects else f"{objects:,}"), ("+" if signed and size > 0 else "") + words.size(size)


@command("runs", group=stocktake)
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="how many, the newest first")
def runs(session: Session, limit: int) -> Outcome:
    """The newest reconciliations: when, how they ended, what they found."""
    answer = session.api.get("/reconciliations", {"limit": limit})
    listed = answer["reconciliations"]
    rows = [
        (
            run["run_id"],
            run["status"].lower(),
            words.time(run["started_at"]),
            words.time(run.get("finished_at")),
            *_found_of(run),
            run.get("why") or "",
        )
        for run in listed
    ]
    session.out.table(["run", "status", "started", "finished", "#in the bucket", "#findings", "~why not complete"], rows)
    if not rows:
        session.out.note("nothing was compared yet: stocktake reconcile")
    return Outcome(answer)


def _found_of(run: dict[str, Any]) -> tuple[str, str]:
    if "counts" not in run:
        return "–", "–"
    point = _point(run)
    return f"{point['bucket']:,}", f"{point['findings']:,}"


@command("projects", group=stocktake)
@click.argument("project_id", required=False)
@click.option("--open", "opens", is_flag=True, help="open the project PROJECT_ID, if it is not open")
def projects(session: Session, project_id: str | None, opens: bool) -> Outcome:
    """The projects with what they hold, or one of them.

    Without PROJECT_ID the projects that hold most, as analytics has them.
    """
    api, out = session.api, session.out
    if project_id is None:
        if opens:
            raise Misused("--open needs the id of a project", "stocktake projects PROJECT_ID --open")
        seen = api.get("/analytics")
        rows = [_row(project) for project in seen["projects"]]
        out.table(["project", "state", "#stored", "#bytes", "#marked missing", "#not stored yet"], rows)
        if not rows:
            out.note("there is no project yet: stocktake projects PROJECT_ID --open opens one")
        if seen["projects_in_all"] > len(rows):
            out.note(f"{len(rows):,} of {seen['projects_in_all']:,} projects; the others by their id")
        return Outcome({"projects": seen["projects"], "projects_in_all": seen["projects_in_all"]})
    project = open_project(session, project_id) if opens else api.get("/projects/{project_id}", project_id=project_id)
    counts = api.get("/projects/{project_id}/analytics", project_id=project_id)
    quota = project["quota"] or {}
    out.facts(
        {
            "project": project["project_id"],
            "state": project["state"],
            "opened": project["created_at"],
            "stored": words.tally(counts["stored"]),
            "most objects": words.number(quota.get("objects")),
            "most bytes": words.number(quota.get("bytes")),
            "last deletion": project["deletion_id"] or "–",
        }
    )
    return Outcome({"project": project, "counts": counts["counts"]})


def open_project(session: Session, project_id: str) -> dict[str, Any]:
    """Opens a project unless it is open, and returns it."""
    from stocktake_cli.failures import Absent, Refused

    try:
        project = session.api.get("/projects/{project_id}", project_id=project_id)
        if project["state"] == "ACTIVE":
            return project
    except Absent:
        pass
    try:
        return session.api.post("/projects", {"project_id": project_id})
    except Refused as refusal:
        if refusal.type != "project-exists":
            raise
        return session.api.get("/projects/{project_id}", project_id=project_id)


def _row(project: dict[str, Any]) -> tuple[str, ...]:
    counts = project["counts"]
    waiting = sum(counts[state]["objects"] for state in ("PENDING", "INLINE", "EXTERNAL"))
    stored, missing = counts["STORED"], counts["MISSING"]["objects"]
    return (
        project["project_id"],
        project["state"].lower(),
        f"{stored['objects']:,}",
        words.size(stored["bytes"]),
        f"{missing:,}",
        f"{waiting:,}",
    )
