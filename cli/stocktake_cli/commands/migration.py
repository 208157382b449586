"""`import`, `migrate`, `migrations` and `export`: records in, what is unstored into the bucket, the ledger out."""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path
from typing import Any

import click

from stocktake_cli import words
from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command, wait_for
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Failure, Misused, Unreachable, in_commands

_BLOCK = 1 << 20
_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_FAILED = 200
"""How many failed lines are read back at most, for `--json`; the API has them all."""
_SHOWN = 20
"""How many of them people are shown."""

_timeout = click.option(
    "--timeout", type=click.IntRange(1), default=86400, show_default=True, metavar="SECONDS", help="how long to wait for the end"
)


@command("import", group=stocktake)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "kind", type=click.Choice(["jsonl", "csv"]), help="of FILE; by its name, unless said")
@click.option("--project", "project_id", metavar="PROJECT_ID", help="only lines of this project")
@click.option("--create-projects", is_flag=True, help="open projects that are not there yet")
@click.option("--batch", type=click.IntRange(1, 100), help="how many lines at a time")
@click.option("--dry-run", is_flag=True, help="read and check every line, and change nothing")
@click.option("--resume", "migration_id", metavar="MIGRATION_ID", help="go on with this one, which was stopped, or try again what failed")
@_timeout
def import_records(
    session: Session,
    file: Path | None,
    kind: str | None,
    project_id: str | None,
    create_projects: bool,
    batch: int | None,
    dry_run: bool,
    migration_id: str | None,
    timeout: int,
) -> Outcome:
    """Bring existing records in from a file, JSONL or CSV, one object a line.

    Lines that are done are skipped when the same comes again, and a line that is wrong loses no other. After the lines it moves into the
    bucket what is unstored, as `migrate --yes` does and without asking: of --project, or else of the whole ledger. Ends with 1 where lines
    failed, or something could not be moved.
    """
    api, out = session.api, session.out
    if migration_id is None:
        if file is None:
            raise Misused("nothing is named to import", "give a FILE, or --resume MIGRATION_ID")
        kind = kind or _FORMATS.get(file.suffix.lower())
        if kind is None:
            raise Misused(f"{file.name} is by its name neither .jsonl nor .csv", "say which it is: --format")
        length, digest = _hash(session, file)
        source = {"format": kind, "bytes": length, "sha256": digest}
        asked = {"source": source, "project_id": project_id, "batch": batch, "dry_run": dry_run, "create_projects": create_projects}
        migration = api.post("/migrations", {name: value for name, value in asked.items() if value is not None})
        migration_id = str(migration["migration_id"])
        out.note(f"begun: migration {migration_id}")
        _send(session, file, migration["upload"])
    api.post("/migrations/{migration_id}/start", migration_id=migration_id)
    return _followed(session, migration_id, timeout)


@command("migrate", group=stocktake)
@click.option("--project", "project_id", metavar="PROJECT_ID", help="only what is this project's")
@click.option("--batch", type=click.IntRange(1, 100), help="how many objects at a time")
@click.option("--yes", is_flag=True, help="do it, and do not ask")
@click.option("--resume", "migration_id", metavar="MIGRATION_ID", help="go on with this one, which was stopped, or try again what failed")
@click.option("--stop", "stop_id", metavar="MIGRATION_ID", help="stop this one after its batch under way")
@_timeout
def migrate(
    session: Session, project_id: str | None, batch: int | None, yes: bool, migration_id: str | None, stop_id: str | None, timeout: int
) -> Outcome:
    """Move what lies in the ledger itself, or at foreign URLs, into the bucket.

    Counts first, and moves only with --yes, or when it is confirmed. Bytes leave the ledger when the bucket has confirmed them. Ends with
    1 where something could not be moved.
    """
    api, out = session.api, session.out
    if stop_id:
        stopped = api.post("/migrations/{migration_id}/stop", migration_id=stop_id)
        out.say(f"{stopped['status']}: {stop_id}")
        return Outcome({"migration": stopped, "failed": []})
    if migration_id:
        api.post("/migrations/{migration_id}/start", migration_id=migration_id)
        return _followed(session, migration_id, timeout)
    asked = {name: value for name, value in (("project_id", project_id), ("batch", batch)) if value is not None}
    if not yes:
        counted = api.post("/migrations", {**asked, "dry_run": True})
        outcome = _followed(session, str(counted["migration_id"]), timeout)
        if not out.is_interactive:
            out.note("Nothing was moved: --yes does it.")
            return outcome
        totals = outcome.result["migration"]["totals"]["migrate"]
        out.confirm(f"This moves {words.count(totals['done'], 'object')}, {words.size(totals['bytes'])}, into the bucket.", "migrate")
    migration = api.post("/migrations", asked)
    out.note(f"begun: migration {migration['migration_id']}")
    return _followed(session, str(migration["migration_id"]), timeout)


@command("migrations", group=stocktake)
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="how many, the newest first")
def migrations(session: Session, limit: int) -> Outcome:
    """The newest migrations, those that `import` and `migrate` began: how each stands, and its numbers.

    One that is stopped or FAILED goes on with `stocktake migrate --resume`. Ends with 1 where one FAILED.
    """
    listed = session.api.get("/migrations", {"limit": limit})["migrations"]
    rows = [
        (
            of["migration_id"],
            of["status"].lower() + (", dry run" if of["dry_run"] else ""),
            "file" if of["source"] else "ledger",
            of["project_id"] or "all",
            words.time(of["requested_at"]),
            *(words.number(sum(phase[name] for phase in of["totals"].values())) for name in ("done", "failed")),
            of["why"] or "",
        )
        for of in listed
    ]
    session.out.table(["migration", "status", "from", "project", "asked for", "#done", "#failed", "~why it failed"], rows)
    if not rows:
        session.out.note("nothing was imported or migrated yet")
    return Outcome({"migrations": listed}, Exit.DIFFERENT if any(of["status"] == "FAILED" for of in listed) else Exit.FINE)


@command("export", group=stocktake)
@click.option("--project", "project_id", metavar="PROJECT_ID", help="only this project's records")
@click.option("--contents", is_flag=True, help="with the bytes that lie in the ledger itself")
@click.option("--findings", "run_id", metavar="RUN_ID", help="the findings of this reconciliation, in place of the ledger")
@click.option("--format", "kind", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True, help="of findings")
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="the folder to write the files into; this one"
)
@_timeout
def export(session: Session, project_id: str | None, contents: bool, run_id: str | None, kind: str, folder: Path, timeout: int) -> Outcome:
    """Write the ledger, or a project, as JSONL files that can be imported again; or the findings of a run.

    Each file is checked by its SHA-256 when it has come.
    """
    api, out = session.api, session.out
    if run_id:
        if project_id or contents:
            raise Misused("--findings is of a whole run", "leave out --project and --contents")
        begun = api.post("/reconciliations/{run_id}/export", {"format": kind}, run_id=run_id)
    else:
        begun = api.post("/exports", {"contents": contents} | ({"project_id": project_id} if project_id else {}))
    export_id, ending = str(begun["export_id"]), kind if run_id else "jsonl"
    done = wait_for(
        session,
        lambda: api.get("/exports/{export_id}", export_id=export_id),
        ended=("COMPLETE", "FAILED"),
        show=lambda seen: (f"{seen['status'].lower()}: {words.count(seen['lines'], 'line')}, {words.size(seen['bytes'])}", None, None),
        seconds=timeout,
        what=f"export {export_id}",
        then="it ends by itself, and the same command begins another",
    )
    files = []
    if done["status"] == "COMPLETE":
        folder.mkdir(parents=True, exist_ok=True)
        with out.progress("fetching", total=done["bytes"], in_bytes=True) as bar:
            for number, part in enumerate(done["files"], 1):
                path = folder / f"{export_id}-{number:04d}.{ending}"
                _fetch(session, part, path)
                bar.advance(part["bytes"])
                files.append({"path": str(path), **{name: part[name] for name in ("lines", "bytes", "sha256")}})
    out.table(["file", "#lines", "#bytes"], [(of["path"], f"{of['lines']:,}", words.size(of["bytes"])) for of in files])
    out.say(f"{done['status']}: {export_id}" + (f" ({done['why']})" if done["why"] else ""))
    result = {"export_id": export_id, "status": done["status"], "lines": done["lines"], "bytes": done["bytes"], "files": files}
    return Outcome(result, Exit.FINE if done["status"] == "COMPLETE" else Exit.DIFFERENT)


def _fetch(session: Session, part: dict[str, Any], path: Path) -> None:
    reply = session.wire.send("GET", part["url"], {})
    if reply.status != 200:
        raise Failure(f"a file of the export could not be fetched ({reply.status})", "its URL has ended, perhaps: export again")
    if hashlib.sha256(reply.body).hexdigest() != part["sha256"]:
        raise Failure("a file of the export did not come as it was written", "export again")
    partial = path.with_suffix(".part")
    partial.write_bytes(reply.body)
    partial.replace(path)  # under its name a file is whole


def _hash(session: Session, file: Path) -> tuple[int, str]:
    length, digest = file.stat().st_size, hashlib.sha256()
    with file.open("rb") as stream, session.out.progress("reading", total=length, in_bytes=True) as bar:
        while block := stream.read(_BLOCK):
            digest.update(block)
            bar.advance(len(block))
    return length, digest.hexdigest()


def _send(session: Session, file: Path, ask: dict[str, Any]) -> None:
    for attempt in (1, 2, 3):
        try:
            with file.open("rb") as stream:
                reply = session.wire.send(ask["method"], ask["url"], ask["headers"], stream)
        except Unreachable:
            if attempt == 3:
                raise
            session.sleep(attempt)
            continue
        if reply.status < 300:
            return
        if reply.status < 500 or attempt == 3:
            raise Failure(f"the store did not take the file ({reply.status})", "was it changed while it was sent? say the command again")
        session.sleep(attempt)


def _followed(session: Session, migration_id: str, timeout: float) -> Outcome:
    api, out = session.api, session.out

    def show(seen: dict[str, Any]) -> tuple[str, float | None, float | None]:
        phase = seen["totals"].get(seen["phase"], {})
        left = seen["remaining"].get("lines" if seen["phase"] == "import" else "records")
        total = None if left is None else phase.get("seen", 0) + left
        rate = f", {seen['per_second']:,.1f}/s" if seen["per_second"] else ""
        return f"{seen['status'].lower()}, {seen['phase']}{rate}", phase.get("seen", 0), total

    done = wait_for(
        session,
        lambda: api.get("/migrations/{migration_id}", migration_id=migration_id),
        ended=("STOPPED", "COMPLETE", "FAILED"),
        show=show,
        seconds=timeout,
        what=f"migration {migration_id}",
        then=f"stocktake migrate --resume {migration_id} waits for its end, stocktake migrate --stop {migration_id} ends it",
    )
    names = ("seen", "done", "skipped", "failed")
    rows = [(phase, *(f"{of[name]:,}" for name in names), words.size(of["bytes"])) for phase, of in done["totals"].items()]
    out.table(["phase", *(f"#{name}" for name in names), "#bytes"], rows)
    failures = sum(of["failed"] for of in done["totals"].values())
    failed: list[dict[str, Any]] = []
    if failures:
        results = api.pages("/migrations/{migration_id}/results", "results", {"outcome": "failed"}, migration_id=migration_id)
        failed = list(islice(results, _FAILED))
    for result in failed[:_SHOWN]:
        out.say(f"failed: {_named(result)}: {in_commands(result.get('why', ''))}", "red")
    if failures > _SHOWN:
        out.say(f"and {failures - _SHOWN:,} more", "red")
    said = f", and {words.number(failures)} failed" if failures else ""
    out.say(f"{done['status']}{said}: {migration_id}" + (f" ({done['why']})" if done["why"] else ""))
    fine = done["status"] == "COMPLETE" and not failures
    return Outcome({"migration": done, "failed": failed}, Exit.FINE if fine else Exit.DIFFERENT)


def _named(result: dict[str, Any]) -> str:
    """Says which one is meant: by its line and what the line calls it, or by its key."""
    if "line" in result:
        return f"line {result['line']}" + (f", {result['id']}" if result.get("id") else "")
    return str(result.get("key") or result.get("object_id") or "")
