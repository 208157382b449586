"""What a command shows: JSON on standard output for programs, or tables for people; progress on standard error, only on a terminal.

A key is whatever somebody once named a file, and a terminal does what control characters tell it. So nothing is shown to people as it
came: all that is shown goes through `_shown`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from stocktake_cli import words
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Failure, Refused

SHAPE = 1
"""The number of `--json`'s shape: it goes up when a member goes or changes its meaning, never when one comes."""
_WIDE = 400


class Output:
    """Where a command says things.

    Args:
        as_json: one JSON document on standard output and nothing else there.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # what reads a pipe has no width, and a key must not be cut for it
        self._out = Console(soft_wrap=True, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _WIDE)
        self._err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

    @property
    def is_interactive(self) -> bool:
        """Says whether somebody is there to be asked."""
        return not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()

    def say(self, text: str = "", style: str = "") -> None:
        """Shows a line to people."""
        if not self.as_json:
            self._out.print(_shown(text), style=style or None)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
        """Shows a table to people; a column whose name begins with `#` is of numbers, and stands to the right."""
        if self.as_json:
            return
        table = Table(title=_shown(title) or None, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.removeprefix("#"), justify="right" if column.startswith("#") else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_shown(cell) for cell in row))
        self._out.print(table, soft_wrap=False)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Shows names and values to people, one a line."""
        if not self.as_json:
            table = Table.grid("", "", padding=(0, 2, 0, 0))
            for name, value in facts.items():
                table.add_row(_shown(name), _shown(value))
            self._out.print(table, soft_wrap=False)

    def note(self, text: str) -> None:
        """Says something beside the result, on standard error."""
        if not self.as_json:
            self._err.print(_shown(text), style="dim")

    def document(self, command: str, code: Exit, result: Mapping[str, Any] | None, failure: Failure | None = None) -> None:
        """Writes the one document of `--json`, whatever came of the command."""
        if self.as_json:
            shown = {
                "shape": SHAPE,
                "command": command,
                "exit": int(code),
                "status": code.name.lower(),
                "result": None if result is None else dict(result),
                "problem": None if failure is None else failure.document(),
            }
            click.echo(_escaped(json.dumps(shown, indent=1, ensure_ascii=not _takes_unicode())))

    def failure(self, failure: Failure) -> None:
        """Says what went wrong, what to do, and what finds it in the logs."""
        if self.as_json:
            return
        self._err.print(f"[bold red]{_shown(failure.type)}[/]: {_shown(failure)}")
        if failure.advice:
            self._err.print(f"  [bold]to do[/]: {_shown(failure.advice)}")
        if failure.request_id:
            self._err.print(f"  [dim]in the logs[/]: {_shown(failure.request_id)}")

    def confirm(self, what: str, word: str) -> None:
        """Asks for a word to be typed, after saying in numbers what will happen.

        Raises:
            Refused: another word was typed.
        """
        self._err.print(_shown(what), style="bold")
        typed = click.prompt(f"Type {words.plain(word)} to do it", default="", show_default=False, err=True)
        if typed.strip() != word:
            raise Refused("not confirmed, so nothing was done", f"it takes the word {word}, or --yes")

    @contextmanager
    def progress(self, what: str, total: int | None = None, *, in_bytes: bool = False) -> Iterator[Bar]:
        """Shows how far something is: bar, rate and time left where the total is known. Nothing where nobody looks."""
        columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
        if in_bytes:
            columns += [BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
        elif total is not None:
            columns += [BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
        else:
            columns.append(TimeElapsedColumn())
        quiet = self.as_json or not sys.stderr.isatty()
        with Progress(*columns, console=self._err, transient=True, disable=quiet) as progress:
            yield Bar(progress, progress.add_task(_shown(what), total=total))


class Bar:
    """A progress bar; may be moved by several threads."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, amount: float = 1) -> None:
        """Moves it on; back, where an attempt begins anew."""
        self._progress.advance(self._task, amount)

    def update(self, what: str, *, done: float | None = None, total: float | None = None) -> None:
        """Says something else beside it, and where it stands."""
        self._progress.update(self._task, description=_shown(what), completed=done, total=total)


class _Rate(ProgressColumn):
    def render(self, task: Any) -> str:
        speed = task.finished_speed or task.speed
        return "" if speed is None else f"{speed:,.1f}/s"


def _shown(what: object) -> str:
    return escape(words.plain(str(what)))


def _escaped(document: str) -> str:
    """Escapes what JSON need not escape and a terminal obeys: of what is not seen, the line ends between members alone stay."""
    return "\n".join(line if line.isprintable() else "".join(map(_escape, line)) for line in document.split("\n"))


def _escape(character: str) -> str:
    return character if words.is_seen(character) else json.dumps(character)[1:-1]


def _takes_unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
