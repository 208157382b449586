"""`reconcile` and `findings`: compare, and repair only what a plan names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

import click

from stocktake.layouts import project_stem
from stocktake_cli import words
from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command, wait_for
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Absent, Misused, NoSuchRoute

CLASSES = ("missing", "mismatch", "unstored", "orphan", "unknown", "duplicate_spelling")
UNSTORED = ("pending", "uncommitted", "inline", "external", "missing")
PLANNED = (*CLASSES, "orphan.none", *(f"unstored.{kind}" for kind in UNSTORED))
"""What a plan may name: the classes, apart from other orphans those of no project, and what is unstored by its kind."""
ENDED = ("COMPLETE", "INCOMPLETE", "FAILED", "STOPPED", "SKIPPED")
SURE = {"missing": "mark_missing", "mismatch": "refresh", "unstored": "settle"}
"""What `--apply` does by itself: it changes records, and no object. What is done to orphans has to be said."""
ACTIONS = ("mark_missing", "forget", "refetch", "refresh", "settle", "quarantine", "adopt", "delete", "acknowledge")
"""What a plan may say; which of them goes with which class the API knows."""
_PLAN = "/reconciliations/{run_id}/plan"


class _Do(click.ParamType[tuple[str, str]]):
    name = "CLASS=ACTION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, _, action = str(value).partition("=")
        if name not in PLANNED or action not in ACTIONS:
            self.fail(f"{value!r} is no CLASS=ACTION of {', '.join(PLANNED)} and {', '.join(ACTIONS)}", param, ctx)
        return name, action


class _Time(click.ParamType[str]):
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write it as 2026-11-26, or 2026-11-26T12:00:00Z", param, ctx)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


@command("reconcile", group=stocktake)
@click.option("--run", "run_id", metavar="RUN_ID", help="take up this run, and start no new one")
@click.option(
    "--apply",
    "applies",
    is_flag=True,
    help="repair: by itself missing=mark_missing mismatch=refresh unstored=settle, which touch no object",
)
@click.option(
    "--do", "plan", multiple=True, type=_Do(), help="with --apply: do this, and only what is said so; for orphans it has to be said"
)
@click.option("--yes", is_flag=True, help="with --apply: do it, and do not ask")
@click.option("--first-run", is_flag=True, help="with --apply: repair by the first complete run of a ledger too, which else only reports")
@click.option("--stop", "stop_id", metavar="RUN_ID", help="end this run, or its repair, and start none")
@click.option("--estimate", is_flag=True, help="say what a run would cost and how long it would take, and start none")
@click.option("--accept-loss", is_flag=True, help="run although the bucket lists much less than it should")
@click.option(
    "--inventory",
    metavar="s3://BUCKET/.../manifest.json",
    help="compare an S3 Inventory (CSV or Parquet) in place of the bucket's listing; the bucket is asked about what differs",
)
@click.option(
    "--direct",
    is_flag=True,
    help="compare here, past the API, with your own AWS rights: a report, kept nowhere, of what is acknowledged too",
)
@click.option("--timeout", type=click.IntRange(1), default=3600, show_default=True, metavar="SECONDS", help="how long to wait for the run")
def reconcile(
    session: Session,
    run_id: str | None,
    applies: bool,
    plan: tuple[tuple[str, str], ...],
    yes: bool,
    first_run: bool,
    stop_id: str | None,
    estimate: bool,
    accept_loss: bool,
    inventory: str | None,
    direct: bool,
    timeout: int,
) -> Outcome:
    """Compare bucket and ledger key by key, and say what differs; with --apply, repair what is still so.

    A run changes nothing. --apply says in numbers what would be done, and does it only with --yes, or when the run's id is typed. Ends
    with 0 where nothing differs, or where everything that differs was repaired.
    """
    _check_options(run_id, applies, plan, stop_id, yes=yes, first_run=first_run, estimate=estimate, direct=direct)
    of_new = [name for name, given in (("--inventory", inventory), ("--accept-loss", accept_loss)) if given]
    if of_new and (run_id or direct or stop_id or estimate):
        raise Misused(f"{of_new[0]} is for a new run, and no new run is started here", f"leave out the others, or {of_new[0]}")
    if direct:
        from stocktake_cli.direct import compare_here

        return compare_here(session)
    if stop_id:
        stopped = session.api.post("/reconciliations/{run_id}/stop", run_id=stop_id)
        session.out.say(f"{stopped['status']}: {stop_id}")
        return Outcome({"run": stopped, "plan": None, "applied": False})
    if estimate:
        return _estimated(session)
    run = finished_run(session, run_id, timeout, accept_loss=accept_loss, inventory=inventory)
    counts = run.get("counts", {})
    taken_up = f", started at {run['started_at']}" if run_id else ""  # else one of weeks ago reads as if it had just been made
    session.out.say(f"{run['status']}: {run['run_id']}{taken_up}" + (f" ({run['why']})" if run.get("why") else ""))
    rows = [(name, counts.get(name)) for name in ("bucket", "matched", "known", "young", "acknowledged", *CLASSES)]
    session.out.table(["", "#objects", "#bytes"], [(name, f"{of['objects']:,}", words.size(of["bytes"])) for name, of in rows if of])
    found = _found(run)
    if run["status"] != "COMPLETE":
        return Outcome({"run": run, "plan": None, "applied": False}, Exit.DIFFERENT)
    if not applies:
        if found:
            session.out.note(f"stocktake findings {run['run_id']} shows them; stocktake reconcile --run {run['run_id']} --apply repairs")
        return Outcome({"run": run, "plan": None, "applied": False}, Exit.DIFFERENT if found else Exit.FINE)
    return _apply(session, run, dict(plan) or SURE, yes=yes, first_run=first_run, timeout=timeout)


def _check_options(
    run_id: str | None,
    applies: bool,
    plan: tuple[tuple[str, str], ...],
    stop_id: str | None,
    *,
    yes: bool,
    first_run: bool,
    estimate: bool,
    direct: bool,
) -> None:
    of_repair = [name for name, given in (("--do", plan), ("--yes", yes), ("--first-run", first_run)) if given]
    if of_repair and not applies:
        raise Misused(f"{of_repair[0]} is for a repair, and --apply is not given", f"add --apply, or leave out {of_repair[0]}")
    alone = [name for name, given in (("--direct", direct), ("--stop", stop_id), ("--estimate", estimate)) if given]
    if alone and (len(alone) > 1 or applies or run_id):
        raise Misused(f"{alone[0]} stands alone", "leave out the others")


def _estimated(session: Session) -> Outcome:
    estimate = session.api.post("/reconciliations", {"dry_run": True})
    if "usd" not in estimate:
        raise Misused("this deployment gives no estimates", "it is of an older version")
    usd, took = estimate["usd"], estimate["seconds"]
    session.out.facts(
        {
            "objects": words.number(estimate["objects"]) + (" at least" if estimate["at_least"] else ""),
            "records": words.number(estimate["records"]),
            "costs": "not known" if usd is None else "under 0.01 USD" if usd < 0.01 else f"{usd:,.2f} USD",
            "takes": "not known" if took is None else words.seconds(took),
        }
    )
    return Outcome({"estimate": estimate})


def finished_run(
    session: Session, run_id: str | None, timeout: float, *, accept_loss: bool = False, inventory: str | None = None
) -> dict[str, Any]:
    """Starts a run, or takes one up, and waits until it has ended; returns it as it is then."""
    asked = {name: value for name, value in (("accept_loss", accept_loss), ("inventory", inventory)) if value}
    if run_id is None:
        run_id = str(session.api.post("/reconciliations", asked)["run_id"])
        session.out.note(f"begun: reconciliation {run_id}")

    def show(run: dict[str, Any]) -> tuple[str, float | None, float | None]:
        progress = run.get("progress") or {}
        keys, share, left = progress.get("keys"), progress.get("share"), progress.get("seconds_left")
        said = f", {keys:,} keys, {progress.get('keys_per_second', 0):,}/s" if keys else ""
        said += f", {words.seconds(left)} left" if left is not None else ""
        return f"{run['status'].lower()}: {run_id}{said}", share, 1.0 if share is not None else None

    look = lambda: session.api.get("/reconciliations/{run_id}", run_id=run_id)  # noqa: E731  # one line, used once
    then = f"stocktake reconcile --run {run_id} waits for its end, stocktake reconcile --stop {run_id} ends it"
    return wait_for(session, look, ended=ENDED, show=show, seconds=timeout, what=f"reconciliation {run_id}", then=then)


def _found(run: dict[str, Any]) -> int:
    return sum(run.get("counts", {}).get(name, {}).get("objects", 0) for name in CLASSES)


def _apply(session: Session, run: dict[str, Any], plan: dict[str, str], *, yes: bool, first_run: bool, timeout: float) -> Outcome:
    out, run_id = session.out, run["run_id"]
    planned = _planned(session, run, plan)
    out.table(
        ["class", "action", "#findings", "#bytes", "#put off", "#left out"],
        [
            (
                of["class"],
                of["action"],
                f"{of['count']:,}",
                words.size(of["bytes"]),
                f"{of['deferred']['count']:,}",
                sum(of["skipped"].values()),
            )
            for of in planned["actions"]
        ],
    )
    left_out = Counter[str]()
    for of in planned["actions"]:
        left_out.update(of["skipped"])
    if left_out:
        twice = "; what moves objects needs two runs in a row that saw the same, a grace window apart" if "seen_once" in left_out else ""
        out.note(f"left out: {words.reasons(left_out)}{twice}")
    if planned.get("warning"):
        out.say(planned["warning"], "yellow")
    what = "; ".join(f"{of['action']} {of['count']:,} {of['class']}" for of in planned["actions"] if of["count"])
    result = {"run": run, "plan": planned, "applied": False}
    if not what:
        out.say("There is nothing of what this would repair.")
        return Outcome(result, Exit.DIFFERENT if _found(run) else Exit.FINE)
    if not yes and not out.is_interactive:
        out.say(f"Would do: {what}.")
        out.note(f"Nothing was done: the same with --run {run_id} and --yes does it.")
        return Outcome(result, Exit.DIFFERENT)
    if not yes:
        out.confirm(f"This does: {what}; each only where it is still so.", run_id)
    asked: dict[str, Any] = {"plan_id": planned["plan_id"]} if planned["plan_id"] else {"plan": plan}
    session.api.post("/reconciliations/{run_id}/apply", asked | ({"first_run": True} if first_run else {}), run_id=run_id)

    def look() -> dict[str, Any]:
        seen = session.api.get("/reconciliations/{run_id}", run_id=run_id)
        return {**seen, "status": seen.get("repair", {}).get("status", "RUNNING")}

    def show(seen: dict[str, Any]) -> tuple[str, float | None, float | None]:
        return f"repairing: {sum(seen.get('repair', {}).get('done', {}).values()):,} done", None, None

    seen = wait_for(
        session,
        look,
        ended=("DONE", "FAILED", "STOPPED"),
        show=show,
        seconds=timeout,
        what=f"the repair by reconciliation {run_id}",
        then=f"stocktake findings {run_id} shows what came of each, stocktake reconcile --stop {run_id} ends it",
    )
    repair = seen.get("repair", {})
    rows = [*repair.get("done", {}).items(), ("skipped", repair.get("skipped", 0)), ("put off", repair.get("deferred", 0))]
    out.table(["done", "#"], [(name.lower(), f"{count:,}") for name, count in rows])
    out.say(f"repair {repair.get('status', 'RUNNING')}" + (f": {repair['why']}" if repair.get("why") else ""))
    if reasons := repair.get("reasons"):
        out.note(f"skipped: {words.reasons(reasons)}; what is still so, the next run finds again")
    repaired = repair.get("status") == "DONE" and sum(repair.get("done", {}).values()) >= _found(run)
    return Outcome({"run": {**run, "repair": repair}, "plan": planned, "applied": True}, Exit.FINE if repaired else Exit.DIFFERENT)


def _planned(session: Session, run: dict[str, Any], plan: dict[str, str]) -> dict[str, Any]:
    """Has the API say what it would do; a run of very many findings takes it several requests.

    A deployment that makes no plans is asked for nothing: what the run counted is the most that can be done, and there is no plan_id.
    """
    try:
        planned = session.api.post(_PLAN, {"plan": plan}, run_id=run["run_id"])
    except NoSuchRoute:
        nothing, counts = {"objects": 0, "bytes": 0}, run.get("counts", {})
        actions = []
        for name, action in plan.items():
            most = counts.get(name.partition(".")[0], nothing)
            line = {"class": name, "action": action, "count": most["objects"], "bytes": most["bytes"]}
            actions.append({**line, "deferred": {"count": 0, "bytes": 0}, "skipped": {}})
        return {"plan_id": None, "status": "READY", "actions": actions}
    with session.out.progress("planning"):
        while planned["status"] == "PLANNING":
            planned = session.api.post(_PLAN, {"plan_id": planned["plan_id"]}, run_id=run["run_id"])
    return planned


@command("findings", group=stocktake)
@click.argument("run_id", required=False)
@click.option("--class", "finding_class", type=click.Choice(CLASSES), help="only of this class")
@click.option("--kind", help="only of this kind of the class")
@click.option("--project", "project_id", metavar="PROJECT_ID", help="only of this project")
@click.option("--layout", help="only of keys of this layout")
@click.option("--since", type=_Time(), help="only what was first seen after this time (ISO 8601; UTC where it says no offset)")
@click.option("--changes", type=click.Choice(["new", "gone", "unchanged"]), help="only what became so since the run before")
@click.option("--by-project", is_flag=True, help="how many each project has, in place of the findings themselves")
@click.option("--acknowledged", "also_quiet", is_flag=True, help="also those that were acknowledged, and are quiet")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="how many at most")
@click.option("--all", "everything", is_flag=True, help="all of them, whatever their number")
def findings(
    session: Session,
    run_id: str | None,
    finding_class: str | None,
    kind: str | None,
    project_id: str | None,
    layout: str | None,
    since: str | None,
    changes: str | None,
    by_project: bool,
    also_quiet: bool,
    limit: int,
    everything: bool,
) -> Outcome:
    """Each key that differs, what it means, and what is recommended.

    Of RUN_ID, or of the newest complete run. Those that were acknowledged are quiet, and shown only with --acknowledged. Ends with 1 where
    there are any others.
    """
    query = {"class": finding_class, "kind": kind, "project": project_id, "layout": layout, "first_seen_after": since}
    path = "/reconciliations/{run_id}/findings"
    if changes:
        if kind or project_id or layout or since:
            raise Misused("--changes goes with --class alone", "leave out the other filters")
        path, query = "/reconciliations/{run_id}/changes", {"class": finding_class, "kind": changes}
    run_id = run_id or newest_run(session)
    if by_project:
        return _by_project(session, run_id, None if everything else limit)
    every = session.api.pages(path, "findings", {**query, "limit": 100}, run_id=run_id)
    passed = 0

    def loud() -> Iterator[dict[str, Any]]:
        nonlocal passed
        for of in every:
            if also_quiet or of.get("repair") != "ACKNOWLEDGED":
                yield of
            else:
                passed += 1

    found = loud()
    shown = list(found if everything else islice(found, limit))
    following = None if everything else next(found, None)
    more = following is not None
    rows = [(of["class"], of["kind"], words.size(of["bytes"]), of.get("repair", "FOUND").lower(), of["key"]) for of in shown]
    session.out.table(["class", "kind", "#bytes", "repair", "key"], rows)
    for said in words.recommendations(shown):
        session.out.say(said)
    if not rows:
        session.out.note("there is none")
    if more:
        session.out.note(f"the first {len(shown):,}; --all shows every one")
    if passed:
        session.out.note(f"{passed:,} more acknowledged, and quiet: --acknowledged shows them")
    # what is not shown counts too: the code is the same whatever --limit says, and one open finding settles it
    unseen = chain(shown, () if following is None else chain((following,), found))
    differs = any(of.get("repair") != "ACKNOWLEDGED" for of in unseen)
    return Outcome({"run_id": run_id, "findings": shown, "more": more}, Exit.DIFFERENT if differs else Exit.FINE)


def _by_project(session: Session, run_id: str, limit: int | None) -> Outcome:
    path = "/reconciliations/{run_id}/projects"
    # a run knows a project by the name that all its spellings share; `projects` shows the one it was opened by
    spelled = {project_stem(of["project_id"]): of["project_id"] for of in session.api.get("/analytics")["projects"]}
    counted = islice(session.api.pages(path, "projects", {"limit": 100}, run_id=run_id), limit)
    projects = [{"project_id": spelled.get(of["project"]), **of} for of in counted]
    rows = [
        (
            of["project_id"] or of["project"],
            words.number(of["bucket"]["objects"]),
            words.number(of["ledger"]["objects"]),
            _classes(of["classes"]),
        )
        for of in projects
    ]
    session.out.table(["project", "#in the bucket", "#in the ledger", "~findings"], rows)
    differs = any(_classes(of["classes"]) != "none" for of in projects)
    return Outcome({"run_id": run_id, "projects": projects}, Exit.DIFFERENT if differs else Exit.FINE)


def _classes(classes: dict[str, Any]) -> str:
    return ", ".join(f"{tally['objects']:,} {name}" for name, tally in classes.items() if name in CLASSES and tally["objects"]) or "none"


@command("acknowledgements", group=stocktake)
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--revoke", "revokes", is_flag=True, help="let the findings of these ids be reported again")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="how many at most")
def acknowledgements(session: Session, ids: tuple[str, ...], revokes: bool, limit: int) -> Outcome:
    """The findings that are quiet until object or record change: `reconcile --apply --do orphan=acknowledge` makes them so."""
    if revokes != bool(ids):
        raise Misused("--revoke goes with ids, and ids with --revoke", "stocktake acknowledgements --revoke ID...")
    path = "/acknowledgements/{acknowledgement_id}"
    ended = [session.api.call("DELETE", path, {"acknowledgement_id": name}, body={}) for name in dict.fromkeys(ids)]
    shown = [] if ids else list(islice(session.api.pages("/acknowledgements", "acknowledgements"), limit))
    rows = [
        (of["acknowledgement_id"], of["status"].lower(), of["class"], of["key"], words.time(of["acknowledged_at"]))
        for of in (*ended, *shown)
    ]
    session.out.table(["id", "status", "class", "key", "since"], rows)
    if not rows:
        session.out.note("there is none")
    return Outcome({"acknowledgements": shown, "revoked": ended})


def newest_run(session: Session) -> str:
    """Names the newest run that is complete. Raises Absent where none is."""
    for run in session.api.get("/reconciliations", {"limit": 50})["reconciliations"]:
        if run["status"] == "COMPLETE":
            return str(run["run_id"])
    raise Absent("no reconciliation is complete yet", "stocktake reconcile makes one")
