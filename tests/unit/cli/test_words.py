from __future__ import annotations

import pytest

from stocktake_cli import words


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0, "0 B"), (812, "812 B"), (1500, "1.5 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (2_000_000_000, "2.0 GB"), (-1500, "-1.5 kB")],
)
def test_bytes_are_said_in_the_unit_that_fits(amount: int, said: str) -> None:
    assert words.size(amount) == said


@pytest.mark.parametrize(
    ("amount", "said"), [(0.4, "0 s"), (12, "12 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (86400, "1 d"), (-5, "0 s")]
)
def test_a_span_is_said_in_two_units_at_most(amount: float, said: str) -> None:
    assert words.seconds(amount) == said


def test_a_sparkline_goes_from_the_least_to_the_most() -> None:
    assert words.sparkline([0, 7]) == "▁█"
    assert words.sparkline([3, 3, 3]) == "▁▁▁"
    assert words.sparkline([]) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Café 日本/a b\u3000.png", "Café 日本/a b\u3000.png"),
        ("\x1b]0;owned\x07\x9b2J", "⟨U+001B⟩]0;owned⟨U+0007⟩⟨U+009B⟩2J"),
        ("a\nb\u202egnp.exe\u200b\ufeff\u2028\udc80", "a⟨U+000A⟩b⟨U+202E⟩gnp.exe⟨U+200B⟩⟨U+FEFF⟩⟨U+2028⟩⟨U+DC80⟩"),
    ],
    ids=["as it is", "what a terminal obeys", "what nobody sees"],
)
def test_what_a_terminal_obeys_or_nobody_sees_is_written_out(text: str, said: str) -> None:
    assert words.plain(text) == said


def test_why_something_is_left_out_is_said_in_words_also_where_the_deployment_knows_more_reasons() -> None:
    said = words.reasons({"other_kind": 1200, "waiting": 1, "object_locked": 2})
    assert said == "1,200 of a kind the action is not for, 1 whose time is not over, 2 object locked"
