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
from rich.console import Console, JustifyMethod
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
from rich.text import Text

from stocktake_cli import words
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Failure, Refused

SHAPE = 1
"""The number of `--json`'s shape: it goes up when a member goes or changes its meaning, never when one comes."""
_WIDE = 100_000
"""What reads a pipe has no width, and nothing must be cut or broken for it."""
_GAP = 2
_PROSE = 44
"""How narrow a column of prose may get before a table counts as too wide: a command with an id fits into it."""


class Output:
    """Where a command says things.

    Args:
        as_json: one JSON document on standard output and nothing else there.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
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
        """Shows a table to people; nothing where it has no rows, and no column that says nothing in any of them.

        A column whose name begins with `#` is of numbers, and stands to the right; one whose name begins with `~` is of prose, which goes
        over several lines where it has to. All else, ids and keys above all, is to be copied, so it is never broken: where the columns
        are too wide for the terminal, each row is shown by itself, with the names in it.
        """
        cells = [[Text(words.plain(str(cell))) for cell in row] for row in rows]
        if self.as_json or not cells:
            return
        told = [place for place in range(len(columns)) if any(row[place] for row in cells)]
        columns, cells = [columns[place] for place in told], [[row[place] for place in told] for row in cells]
        names = [Text(words.plain(column.lstrip("#~"))) for column in columns]
        widest = [max(cell.cell_len for cell in column) for column in zip(names, *cells, strict=True)]
        narrowest = [min(wide, _PROSE) if column.startswith("~") else wide for wide, column in zip(widest, columns, strict=True)]
        if sum(narrowest) + _GAP * (len(columns) - 1) > self._out.width:
            if title:
                self.say(title, "bold")
            for row in cells:
                self._apart(columns, names, row)
            return
        table = Table(title=_shown(title) or None, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
        for column, name in zip(columns, names, strict=True):
            justify: JustifyMethod = "right" if column.startswith("#") else "left"
            table.add_column(name, justify=justify, overflow="fold", no_wrap=not column.startswith("~"))
        for row in cells:
            table.add_row(*row)
        self._out.print(table, soft_wrap=False)

    def _apart(self, columns: Sequence[str], names: Sequence[Text], row: Sequence[Text]) -> None:
        """Shows a row by itself: as many cells on a line as fit, each with its column's name, and a line is broken between cells alone."""
        lines = [row[0]]
        for column, name, cell in list(zip(columns, names, row, strict=True))[1:]:
            if not cell:
                continue
            piece = Text.assemble((f"{name} " if name else "", "dim"), cell)
            if column.startswith("~"):
                lines += [Text(" " * _GAP) + line for line in piece.wrap(self._out, max(1, self._out.width - _GAP))]
            elif lines[-1].cell_len + _GAP + piece.cell_len <= self._out.width:
                lines[-1] = Text.assemble(lines[-1], " " * _GAP, piece)
            else:
                lines.append(Text(" " * _GAP) + piece)
        for line in lines:
            self._out.print(line)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Shows names and values to people, one a line."""
        if not self.as_json:
            names = [Text(words.plain(name)) for name in facts]
            widest = max((name.cell_len for name in names), default=0)
            for name, value in zip(names, facts.values(), strict=True):
                self._out.print(Text.assemble(name, " " * (widest - name.cell_len + _GAP), words.plain(str(value))))

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
