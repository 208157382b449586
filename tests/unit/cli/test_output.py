"""What reaches a terminal: text, whatever a key tells the terminal to do."""

from __future__ import annotations

import json
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


def test_json_has_the_key_itself_and_no_character_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).document("findings", Exit.FINE, {"key": f"é{KEY}\udc80"})
    said = capsys.readouterr().out
    assert json.loads(said)["result"]["key"] == f"é{KEY}\udc80"
    assert [character for character in said if not character.isprintable() and character != "\n"] == []
