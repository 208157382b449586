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
_HEAD = 8192
"""What the signature of a type may take, as the library that knows them reads."""
_SHOWN = 20
"""How many names of a kind people are shown; `--json` has them all."""
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

    Of a folder everything in it, but for what is hidden. What the project has already, told by SHA-256, is not sent. A file is sent as the
    type that its bytes are of, whatever its name says. An interrupted upload goes on when the same command is given again, with
    the parts that are missing. Each file is stored when the bucket has confirmed its bytes, and not before. Ends with 1 where some files
    could not be stored.
    """
    if opens and not dry_run:
        open_project(session, project_id)
    sources, others, passed_over, renamed = list[Source](), [], list[dict[str, str]](), list[Source]()
    for path in dict.fromkeys(_files(paths, passed_over)):
        named, size = _type_by_name(path), path.stat().st_size
        content_type = _type_by_bytes(path) or named
        why = "neither its name nor its bytes say its type" if content_type is None else "it is empty" if size == 0 else None
        why = why if _is_utf8(path.name) else "its name is not UTF-8: give it another"
        if content_type is None or why:
            others.append({"path": str(path), "outcome": "failed", "object_id": None, "why": why})
        else:
            sources.append(Source(path, size, content_type))
            if content_type != named:
                renamed.append(sources[-1])
    for told in passed_over[:_SHOWN]:
        session.out.note(f"passed over: {told['path']} ({told['why']})")
    for source in renamed[:_SHOWN]:
        session.out.note(f"sent as what it is, {source.content_type}: {source.path}")
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
    left = f", {len(passed_over):,} passed over" if passed_over else ""
    session.out.note(f"{words.count(len(results), 'file')} looked at{left}{where}")
    result = {"project_id": project_id, "dry_run": dry_run, "totals": amounts, "files": results, "passed_over": passed_over}
    return Outcome(result, Exit.DIFFERENT if amounts["failed"] else Exit.FINE)


def _files(paths: tuple[Path, ...], passed_over: list[dict[str, str]]) -> Iterator[Path]:
    """Yields the files that are named, and those of the folders that are; puts with its reason what it passes over in these."""
    for path in paths:
        if not path.is_dir():
            if path.is_file():
                yield path
            else:
                passed_over.append({"path": str(path), "why": "no file"})
            continue
        for folder, folders, names in path.walk():
            for name in sorted((*folders, *names)):
                if why := _no_file(folder / name, is_folder=name in folders):
                    passed_over.append({"path": str(folder / name), "why": why})
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (folder / name for name in sorted(names) if not _no_file(folder / name, is_folder=False))


def _no_file(path: Path, *, is_folder: bool) -> str | None:
    if path.name.startswith("."):
        return "hidden"
    if is_folder or path.is_file():
        return None
    if path.is_symlink():
        return "a link to another folder" if path.is_dir() else "a link that leads nowhere"
    return "no file"


def _type_by_name(path: Path) -> str | None:
    return _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]


def _type_by_bytes(path: Path) -> str | None:
    """Reads the type as the deployment will, which refuses a name that says another; None where its signature does not tell."""
    from stocktake.checks import ALLOWED, signed_type

    try:
        with path.open("rb") as file:
            content_type = signed_type(file.read(_HEAD))
    except OSError:
        return None  # who sends it says why it cannot be read
    return content_type if content_type in ALLOWED else None


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
