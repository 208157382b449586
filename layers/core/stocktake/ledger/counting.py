"""The arithmetic of count rows: what a move adds to the numbers of one, and what the numbers of a project's rows say together.

A row has numbers by state (`stored_objects`, `stored_bytes`, ...) and, in every dimension, by cell:

```
l:current:o  t:image/png:b  p:0:O  u:+:B      dimension : cell : measure
```

`o` and `b` are the objects and bytes that are stored, `O` and `B` the records of any state and their bytes. The cell of a provider or a
purpose is the place of its name among the project's, since callers may write anything there and rows have to stay small; `+` is every
further name. A record without one is in no cell: what the other dimensions have more is the number of those.

The cells that a record is counted in are written on its row (`counted_as`), one a line, and are taken off again from there. So neither
another version of this code nor a name that is taken meanwhile makes a removal miss the cell. A record of before there were cells has
none, and is in none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stocktake.model import LedgerEntry, ProjectState, Record, State, Tally

DIMENSIONS: Mapping[str, str] = {"layout": "l", "type": "t", "provider": "p", "purpose": "u"}
NAMED = ("provider", "purpose")
"""The dimensions whose cells are names that callers choose, in their metadata."""
MAX_NAMES = 32
"""Of a project's providers, and of its purposes."""
MAX_NAME = 64
OTHER = "other"
NONE = "none"
FURTHER = "+"
"""The cell of all names that came when there were enough."""
WRITES = "writes"
"""Grows with every change of a row's numbers, so that a recount knows whether anybody was there meanwhile."""

_LAYOUT = 32
_TYPES = frozenset(
    {
        "image/png",
        "image/jpeg",
        "image/webp",
        "image/gif",
        "image/avif",
        "image/heic",
        "image/svg+xml",
        "video/mp4",
        "video/webm",
        "audio/mpeg",
        "audio/x-wav",
        "audio/ogg",
        "application/octet-stream",
    }
)
"""What uploads may be, and what a store says of an object it was told nothing of. The bucket may say anything of what it holds."""

Numbers = dict[str, int]
"""The numbers of count rows by attribute."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is counted in one cell of a dimension: the stored objects, and the records of any state."""

    stored: Tally = field(default_factory=Tally)
    records: Tally = field(default_factory=Tally)

    def __add__(self, other: Cell) -> Cell:
        return Cell(self.stored + other.stored, self.records + other.records)

    def __sub__(self, other: Cell) -> Cell:
        return Cell(_less(self.stored, other.stored), _less(self.records, other.records))


class Names:
    """The providers and purposes of a project that are counted by name, each in the order in which it first came."""

    def __init__(self, names: Mapping[str, Sequence[str]] | None = None) -> None:
        self._names: dict[str, list[str]] = {dimension: list((names or {}).get(dimension, ())) for dimension in NAMED}

    @classmethod
    def parse(cls, text: str | None) -> Names:
        """Reads what a project's row keeps."""
        return cls(json.loads(text) if text else None)

    def text(self) -> str:
        """Returns what a project's row keeps."""
        return json.dumps(self._names, ensure_ascii=False, separators=(",", ":"))

    def cell(self, dimension: str, name: str) -> str | None:
        """Returns the cell of a name: its place, that of all further names once there are enough, or None for one that may still come."""
        names = self._names[dimension]
        if name in names:
            return str(names.index(name))
        return FURTHER if len(names) >= MAX_NAMES else None

    def name(self, dimension: str, cell: str) -> str:
        """Returns the name of a cell; of one whose name is not known (any more) that of all further ones."""
        names = self._names[dimension]
        return names[int(cell)] if cell.isdecimal() and int(cell) < len(names) else OTHER

    def with_more(self, said: Mapping[str, str]) -> Names:
        """Returns these and what was said besides, as far as there is room."""
        more = Names(self._names)
        for dimension, name in said.items():
            if more.cell(dimension, name) is None:
                more._names[dimension].append(name)
        return more


def said_in(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Returns what metadata says of provider and purpose: texts of up to MAX_NAME characters. What is sealed is not there to be read."""
    said = {dimension: metadata.get(dimension) for dimension in NAMED}
    return {
        dimension: name.strip() if len(name.strip()) <= MAX_NAME and name.strip().isprintable() else OTHER
        for dimension, name in said.items()
        if isinstance(name, str) and name.strip()
    }


def counted_as(record: Record, cells: Mapping[str, str]) -> str:
    """Returns the cells of a record as its row keeps them. `cells` are those of its provider and purpose, where it has them."""
    layout = record.layout if len(record.layout) <= _LAYOUT and record.layout.replace("_", "a").isalnum() else OTHER
    return "\n".join((layout, _type(record.content_type), *(cells.get(dimension, "") for dimension in NAMED)))


def cells_of(kept: str) -> dict[str, str]:
    """Reads the cells of a record's provider and purpose from what its row keeps."""
    return {dimension: cell for dimension, cell in zip(NAMED, kept.split("\n")[2:], strict=True) if cell}


def _type(content_type: str | None) -> str:
    if not content_type:
        return NONE
    plain = content_type.partition(";")[0].strip().lower()
    return plain if plain in _TYPES else OTHER


def numbers_of(state: State, size: int, kept: str | None, objects: int = 1) -> Numbers:
    """Returns what a record counts for, or several that are alike, of `size` bytes together."""
    numbers = {f"{state.lower()}_objects": objects, f"{state.lower()}_bytes": size}
    if kept is not None:
        for letter, cell in zip(DIMENSIONS.values(), kept.split("\n"), strict=True):
            if cell:
                place = f"{letter}:{cell}:"
                numbers[place + "O"], numbers[place + "B"] = objects, size
                if state is State.STORED:
                    numbers[place + "o"], numbers[place + "b"] = objects, size
    return numbers


def deltas(before: LedgerEntry | Record | None, after: Record | None) -> Numbers:
    """Returns what a move adds to the numbers of its count row; nothing that is zero."""
    totals: Numbers = {}
    for record, sign in ((before, -1), (after, 1)):
        if record is not None:
            add(totals, numbers_of(record.state, record.size, record.counted_as), sign)
    return {name: amount for name, amount in totals.items() if amount}


def sum_of_removals(entries: Iterable[LedgerEntry | Record]) -> Numbers:
    """Returns what the removal of several records together adds to the numbers of their count row."""
    alike: dict[tuple[State, str | None], tuple[int, int]] = {}  # a project's are of few kinds
    for entry in entries:
        kind = (entry.state, entry.counted_as)
        objects, size = alike.get(kind, (0, 0))
        alike[kind] = (objects + 1, size + entry.size)
    totals: Numbers = {}
    for (state, kept), (objects, size) in alike.items():
        add(totals, numbers_of(state, size, kept, objects), -1)
    return {name: amount for name, amount in totals.items() if amount}


def add(totals: Numbers, numbers: Mapping[str, int], sign: int = 1) -> None:
    """Adds numbers to others."""
    for name, amount in numbers.items():
        totals[name] = totals.get(name, 0) + sign * amount


def count_differences(counted: Mapping[str, int], found: Mapping[str, int]) -> list[dict[str, Any]]:
    """Says where the numbers of a row are not those that were found: `{"of", "counted", "found"}`, objects and bytes each.

    `of` is the number's own name, so that what is kept of it holds no name of a caller's: `spelled` says it in words.
    """
    tallies: dict[str, dict[str, dict[str, int]]] = {}
    for name in sorted({*counted, *found}):
        if counted.get(name, 0) != found.get(name, 0):
            pair = _tally_of(name)
            for side, numbers in (("counted", counted), ("found", found)):
                objects, size = (numbers.get(each, 0) for each in pair)
                tallies.setdefault(pair[0], {})[side] = {"objects": objects, "bytes": size}
    return [{"of": of, **sides} for of, sides in tallies.items()]


def spelled(of: str, names: Names) -> str:
    """Says in words what a number is of. Of a name that is not known (any more) it says `other`."""
    if of in _OF_STATES:
        return of.rpartition("_")[0].upper()
    dimension, cell = _LETTERS.get(of[0], of[0]), of[2:-2]
    called = names.name(dimension, cell) if dimension in NAMED else cell
    return f"{dimension} {called}, {'stored' if of[-1] in 'ob' else 'any state'}"


def _tally_of(name: str) -> tuple[str, str]:
    """Names the two numbers of the tally that a number is in."""
    if name in _OF_STATES:
        state = name.rpartition("_")[0]
        return f"{state}_objects", f"{state}_bytes"
    objects, size = "ob" if name[-1] in "ob" else "OB"
    return name[:-1] + objects, name[:-1] + size


def add_row(totals: Numbers, raw: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds the numbers of a count row as DynamoDB spells it."""
    for name, value in raw.items():
        if is_number(name):
            totals[name] = totals.get(name, 0) + int(value["N"])


def is_number(name: str) -> bool:
    """Says whether an attribute of a count row is one of its numbers."""
    return name[1:2] == ":" or name in _OF_STATES


_STATES = tuple((state, f"{state.lower()}_objects", f"{state.lower()}_bytes") for state in State)
_OF_STATES = frozenset(number for _, *pair in _STATES for number in pair)


def by_state(numbers: Mapping[str, int]) -> dict[State, Tally]:
    """Reads the numbers by state."""
    return {state: Tally(numbers.get(objects, 0), numbers.get(size, 0)) for state, objects, size in _STATES}


@dataclass(frozen=True, slots=True)
class ProjectCounts:
    """What the ledger counts for one project: the numbers of all its count rows, and the names that are counted of it."""

    project_id: str
    state: ProjectState
    numbers: Mapping[str, int]
    names: Names

    @property
    def states(self) -> dict[State, Tally]:
        """The records by state."""
        return by_state(self.numbers)

    def stored(self) -> Iterator[tuple[str, str, int, int]]:
        """Yields what is stored in each cell: dimension, name, objects and bytes. What has no provider or purpose is in no cell of it."""
        for number, objects in self.numbers.items():
            if number[-2:] == ":o" and number[0] in _LETTERS:
                dimension, cell = _LETTERS[number[0]], number[2:-2]
                name = self.names.name(dimension, cell) if dimension in NAMED else cell
                yield dimension, name, objects, self.numbers.get(number[:-1] + "b", 0)

    @property
    def dimensions(self) -> dict[str, dict[str, Cell]]:
        """The cells of every dimension by name, also of what has no provider or purpose; without those of which there is nothing."""
        found = {dimension: dict[str, Cell]() for dimension in DIMENSIONS}
        for letter, cell in {(number[0], number[2:-2]) for number in self.numbers if number[1:2] == ":" and number[0] in _LETTERS}:
            place, dimension = f"{letter}:{cell}:", _LETTERS[letter]
            stored, records = (Tally(self.numbers.get(place + o, 0), self.numbers.get(place + b, 0)) for o, b in ("ob", "OB"))
            name = self.names.name(dimension, cell) if dimension in NAMED else cell
            if Cell(stored, records) != Cell():
                found[dimension][name] = found[dimension].get(name, Cell()) + Cell(stored, records)
        for dimension in NAMED:
            without = sum(found["layout"].values(), Cell()) - sum(found[dimension].values(), Cell())
            if without != Cell():
                found[dimension][NONE] = found[dimension].get(NONE, Cell()) + without
        return found

    @property
    def unattributed(self) -> Cell:
        """The records that no dimension counts, because an older version wrote them; a recount with repair counts them."""
        states = self.states
        return Cell(states[State.STORED], sum(states.values(), Tally())) - sum(self.dimensions["layout"].values(), Cell())


def _less(whole: Tally, part: Tally) -> Tally:
    return Tally(whole.objects - part.objects, whole.bytes - part.bytes)


_LETTERS = {letter: dimension for dimension, letter in DIMENSIONS.items()}
