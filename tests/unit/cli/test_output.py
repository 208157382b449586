"""What reaches a terminal: text, whatever a key tells the terminal to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from stocktake_cli.exits import Exit
from stocktake_cli.failures import Failure, Refused
from stocktake_cli.output import Output

KEY = "p/\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[red]:warning:\nx.png"
SHOWN = "p/⟨U+001B⟩]0;owned⟨U+0007⟩⟨U+001B⟩[2J⟨U+009B⟩31m⟨U+202E⟩[red]:warning:⟨U+000A⟩x.png"


def failing(key: str) -> Failure:
    return Refused(key, key, problem={"type": f"urn:stocktake:problem:{key}", "request_id": key})


@pytest.mark.parametrize(
    "show",
    [
        lambda out: out.say(KEY),
        lambda out: out.table(["key"], [(KEY,)], title=KEY),
        lambda out: out.facts({KEY: KEY}),
        lambda out: out.note(KEY),
        lambda out: out.failure(failing(KEY)),
    ],
    ids=["a line", "a table", "facts", "a note", "a failure"],
)
def test_nothing_of_a_key_is_obeyed_by_a_terminal(show: Callable[[Output], None], capsys: pytest.CaptureFixture[str]) -> None:
    show(Output(as_json=False))
    said = "".join(capsys.readouterr())
    assert SHOWN in said
    assert [character for character in said if not character.isprintable() and character != "\n"] == []


def test_what_is_asked_at_a_terminal_is_shown_as_text_too(capsys: pytest.CaptureFixture[str]) -> None:
    with CliRunner().isolation(input="no\n") as (_, errors, _), pytest.raises(Refused):
        Output(as_json=False).confirm(KEY, KEY)
    said = errors.getvalue().decode()
    assert said.count(SHOWN) == 2
    assert [character for character in said if not character.isprintable() and character != "\n"] == []


ID, LONG = "01KA0000000000000000000000", "projects/4ab440-studio/scenes/s1/media/" + "01KB0000000000000000000000" * 2 + ".png"
COLUMNS = ["entry", "status", "key", "#bytes", "until", "~why"]
ROW = (ID, "held", LONG, "1.5 MB", "2026-12-01 12:00 UTC", "nobody knows whose it is, and nobody has looked " * 3)


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> Output:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    return Output(as_json=False)


def plain(said: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()


@pytest.mark.parametrize("width", [40, 80, 110, 220])
def test_an_id_or_a_key_is_never_broken_whatever_the_terminals_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    at_a_terminal(monkeypatch, width).table(COLUMNS, [ROW])
    said = capsys.readouterr().out
    assert all(cell in said for cell in ROW[:5])
    assert max(len(line.rstrip()) for line in plain(said)) <= max(width, len(LONG) + 6)


def test_rows_that_are_too_wide_are_shown_each_by_itself_with_the_names_of_the_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_a_terminal(monkeypatch, 80).table(COLUMNS[:5], [ROW[:5]], title="held")
    assert plain(capsys.readouterr().out) == [
        "held",
        f"{ID}  status held",
        f"  key {LONG}",
        "  bytes 1.5 MB  until 2026-12-01 12:00 UTC",
    ]


def test_a_pipe_gets_each_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table(COLUMNS, [(*ROW[:5], ROW[5] * 9)])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_table_has_no_head_without_rows_and_no_column_that_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=False)
    out.table(COLUMNS, [])
    assert capsys.readouterr().out == ""
    out.table(["run", "#found", "~why"], [("r1", 0, ""), ("r2", 3, "")])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["run", "found"], ["r1", "0"], ["r2", "3"]]


def test_json_has_the_key_itself_and_no_character_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).document("findings", Exit.FINE, {"key": f"é{KEY}\udc80"})
    said = capsys.readouterr().out
    assert json.loads(said)["result"]["key"] == f"é{KEY}\udc80"
    assert [character for character in said if not character.isprintable() and character != "\n"] == []
