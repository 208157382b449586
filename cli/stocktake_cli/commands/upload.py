"""`upload`: files and folders into a project, side by side, and from where it stopped."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path

import click

from stocktake_cli import words
from stocktake_cli.commands.analytics import open_project
from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Absent, Misused
from stocktake_cli.uploading import Journal, Sender, Source, stored_hashes

MIB = 1 << 20
_TYPES = {".avif": "image/avif", ".heic": "image/heic", ".webp": "image/webp", ".wav": "audio/x-wav", ".ogg": "audio/ogg"}
"""What not every system's table of types has, or has by another name."""
_SAID = {"skipped": "there already", "would-send": "would be sent"}
"""Outcomes in words for people, where they are not words already."""


@command("upload", group=stocktake)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@click.option("--project", "project_id", required=True, metavar="PROJECT_ID", help="whose they become")
@click.option("--open", "opens", is_flag=True, help="open the project, if it is not open")
@click.option("--workers", type=click.IntRange(1, 32), default=4, show_default=True, help="how many files, and parts of files, at a time")
@click.option(
    "--single-mib",
    type=click.IntRange(5, 5000),
    default=64,
    show_default=True,
    help="files up to this are sent in one PUT, larger ones in parts",
)
@click.option("--part-mib", type=click.IntRange(5, 256), default=16, show_default=True, help="of how much the parts are")
@click.option(
    "--journal", type=click.Path(dir_okay=False, path_type=Path), help="the file that remembers what was begun; one a project, unless named"
)
@click.option("--dry-run", is_flag=True, help="only say what would be sent")
def upload(
    session: Session,
    paths: tuple[Path, ...],
    project_id: str,
    opens: bool,
    workers: int,
    single_mib: int,
    part_mib: int,
    journal: Path | None,
    dry_run: bool,
) -> Outcome:
    """Upload files and folders to a project.

    What the project has already, told by SHA-256, is not sent. An interrupted upload goes on when the same command is given again, with
    the parts that are missing. Each file is stored when the bucket has confirmed its bytes, and not before. Ends with 1 where some files
    could not be stored.
    """
    if opens and not dry_run:
        open_project(session, project_id)
    sources, others = [], []
    for path in dict.fromkeys(_files(paths)):
        content_type = _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
        size = path.stat().st_size
        why = "its name does not say its type" if content_type is None else "it is empty" if size == 0 else None
        if content_type is None or why:
            others.append({"path": str(path), "outcome": "failed", "object_id": None, "why": why})
        else:
            sources.append(Source(path, size, content_type))
    if not sources and not others:
        raise Misused("there is no file in what was named", "name files, or folders with files in them")
    try:
        with session.out.progress("what the project has already"):
            stored = stored_hashes(session.api, project_id)
    except Absent as absent:
        if absent.type != "project-not-found":
            raise
        if not opens:
            raise Absent(str(absent), "--open opens it", problem=absent.problem) from absent
        session.out.note(f"{project_id} would be opened")  # a dry run, which opens nothing
        stored = {}
    remembered = Journal.of(journal, session.api.url, project_id)
    sender = Sender(
        session.api,
        session.wire,
        remembered,
        project_id,
        stored,
        workers=workers,
        single_bytes=single_mib * MIB,
        part_bytes=part_mib * MIB,
        sleep=session.sleep,
    )
    with session.out.progress(f"to {project_id}", total=sum(source.size for source in sources), in_bytes=True) as bar:
        results = [*others, *(sender.look(sources, bar.advance) if dry_run else sender.send(sources, bar.advance))]
    amounts = {
        outcome: sum(result["outcome"] == outcome for result in results) for outcome in ("stored", "skipped", "would-send", "failed")
    }
    for result in results:
        if result["outcome"] == "failed":
            session.out.say(f"not stored: {result['path']}: {result['why']}", "red")
    session.out.say(", ".join(f"{amount:,} {_SAID.get(outcome, outcome)}" for outcome, amount in amounts.items() if amount))
    where = f"; remembered in {remembered.path}" if remembered.path.exists() else ""
    session.out.note(f"{words.count(len(results), 'file')} looked at{where}")
    result = {"project_id": project_id, "dry_run": dry_run, "totals": amounts, "files": results}
    return Outcome(result, Exit.DIFFERENT if amounts["failed"] else Exit.FINE)


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in path.walk():
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (folder / name for name in sorted(names) if not name.startswith(".") and (folder / name).is_file())
