"""Numbers and names as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_REASONS = {
    "seen_once": "seen once only",
    "other_kind": "of a kind the action is not for",
    "too_large": "over 5 GiB",
    "changed": "changed since",
    "waiting": "whose time is not over",
    "denied": "refused by the store",
    "acknowledged": "acknowledged since",
}
_BARS = "▁▂▃▄▅▆▇█"


def size(count: float) -> str:
    """Says a number of bytes as the dashboard does: `812 B`, `1.5 MB`, `120 MB`; in powers of ten, as stores bill."""
    for unit in _UNITS:
        if abs(count) < 999.5 or unit == _UNITS[-1]:
            return f"{count:,.0f} {unit}" if unit == "B" or abs(count) >= 99.5 else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit returns")


def number(count: int | None) -> str:
    """Says a whole number with separators, and what is not known as a dash."""
    return "–" if count is None else f"{count:,}"


def tally(of: Mapping[str, Any] | None) -> str:
    """Says objects and bytes: `12 objects, 3.4 MB`."""
    if of is None:
        return "–"
    objects = int(of["objects"])
    return f"{objects:,} object{'' if objects == 1 else 's'}, {size(of['bytes'])}"


def count(amount: int, noun: str) -> str:
    """Says how many: `1 object`, `2 objects`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def seconds(amount: float) -> str:
    """Says a span: `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    whole = max(0, round(amount))
    for above, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= above:
            rest = whole % above // below
            return f"{whole // above} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def time(at: str | None) -> str:
    """Says a time of the API to the minute: `2026-11-18 12:00 UTC`, which is what it answers in; a dash for none."""
    return "–" if not at else f"{at[:10]} {at[11:16]} UTC"


def recommendations(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Says what is recommended, once for each kind there is among findings."""
    said = {(of["class"], of["kind"]): of["recommended"] for of in findings}
    return [f"{name}.{kind}: {recommended}" for (name, kind), recommended in said.items()]


def reasons(amounts: Mapping[str, int]) -> str:
    """Says why findings were left out of a plan or skipped by a repair: `4 of a kind the action is not for, 1 whose time is not over`."""
    return ", ".join(f"{amount:,} {_REASONS.get(reason, reason.replace('_', ' '))}" for reason, amount in amounts.items())


def is_seen(character: str) -> bool:
    """Says whether a character stands for itself alone: no terminal obeys it, and it does not change how the rest is read."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def plain(text: str) -> str:
    """Writes out what cannot be seen, or is obeyed by a terminal, as the dashboard does: `a⟨U+001B⟩b`."""
    if text.isprintable():
        return text
    return "".join(character if is_seen(character) else f"⟨U+{ord(character):04X}⟩" for character in text)


def sparkline(values: Sequence[float]) -> str:
    """Draws values as a row of bars, the lowest bar for the least of them; nothing for none."""
    if not values:
        return ""
    least, most = min(values), max(values)
    if most == least:
        return _BARS[0] * len(values)
    return "".join(_BARS[round((value - least) / (most - least) * (len(_BARS) - 1))] for value in values)
