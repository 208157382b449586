"""A file of records, read line by line with bounded memory, from any line on.

A place in it is a byte offset, so that a reader that was stopped goes on exactly there. JSONL is a line a record; CSV is read by the csv
module, whose records may hold line ends in quotes. A line that cannot be read is one line lost and not the file: it comes with its problem.
In CSV a quotation mark that nothing closes takes with it the lines up to the next one, and the problem says how many.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from stocktake.errors import InvalidRequest

MAX_LINE_BYTES = 6_500_000
"""The largest object that fits into a request, 4.5 MB, as base64, and half a megabyte for what is said of it."""
CHUNK_BYTES = 1024 * 1024
_BOM = "\ufeff"
_JSON_SPACE = " \t\r\n"
# A limit of the process, so that it is set once and to one value, whoever reads CSV; each record's own length is looked at below.
csv.field_size_limit(MAX_LINE_BYTES)

Read = Callable[[int, int], bytes]
"""Gives the bytes of a file from one offset to another, both included."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to read on: a byte offset, and how many lines lie before it."""

    offset: int = 0
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a file: the text of its line, or its cells by column; or the problem why there is neither.

    `number` is that of the line it begins on, from 1; `offset` is its first byte, `after` where the next one begins.
    """

    number: int
    offset: int
    after: Place
    content: str | Mapping[str, str] | None
    problem: str | None = None


def read_jsonl(read: Read, size: int, place: Place = Place()) -> Iterator[Line]:  # frozen
    """Yields the lines of a JSONL file from `place` on; blank ones are passed over.

    Args:
        size: of the file, in bytes.
    """
    physical = _Physical(read, size, place)
    for raw in physical:
        number, offset, after = physical.place.lines, physical.begun.offset, physical.place
        if raw is None:
            yield Line(number, offset, after, None, _too_long(MAX_LINE_BYTES))
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            yield Line(number, offset, after, None, "the line is not UTF-8: write the file in UTF-8")
            continue
        if offset == 0:
            text = text.removeprefix(_BOM)
        if said := text.strip(_JSON_SPACE):
            yield Line(number, offset, after, said)


def read_csv(read: Read, size: int, columns: Collection[str], place: Place = Place()) -> Iterator[Line]:  # frozen
    """Yields the records of a CSV file, whose first one names the columns, from `place` on; blank lines are passed over.

    Args:
        columns: those there may be.

    Raises:
        InvalidRequest: the first record does not name columns, or one twice, or one that is not known.
    """
    start = _Physical(read, size, Place())
    header = _header(start, columns)
    physical = start if place.offset <= start.place.offset else _Physical(read, size, place)
    while True:
        physical.begin_record()
        begun = physical.place
        try:
            row = next(csv.reader(physical.text(), strict=True))
        except StopIteration:
            return
        except (csv.Error, _TooLong) as error:
            why = str(error) if isinstance(error, _TooLong) else f"the line is not CSV ({error}): check its quotation marks"
            if physical.place.lines > begun.lines + 1:  # which of them the quotation mark was to hold cannot be told
                why = f"{why}. With it go the lines up to {physical.place.lines}"
            yield Line(begun.lines + 1, begun.offset, physical.place, None, why)
            continue
        if not row:
            continue
        line = Line(begun.lines + 1, begun.offset, physical.place, None)
        if len(row) != len(header):
            yield _with(line, f"the line has {len(row)} cells and the first line names {len(header)} columns: check its quotation marks")
        elif any("\udc80" <= character <= "\udcff" for cell in row if not cell.isascii() for character in cell):
            yield _with(line, "the line is not UTF-8: write the file in UTF-8")
        else:
            yield Line(line.number, line.offset, line.after, dict(zip(header, row, strict=True)))


def _with(line: Line, problem: str) -> Line:
    return Line(line.number, line.offset, line.after, None, problem)


def _header(physical: _Physical, columns: Collection[str]) -> list[str]:
    known = f"known are {', '.join(sorted(columns))}"
    try:
        names = next(csv.reader(physical.text(), strict=True), [])
    except (csv.Error, _TooLong) as error:
        raise InvalidRequest(f"the first line of the CSV file names no columns ({error}): {known}") from error
    unknown = [name for name in names if name not in columns]
    if unknown or not names:
        raise InvalidRequest(f"the first line of the CSV file names {', '.join(unknown)[:200] or 'no columns'}: {known}")
    if len(set(names)) < len(names):
        raise InvalidRequest("the first line of the CSV file names a column twice: which of the two is meant cannot be told")
    return names


class _TooLong(Exception):
    """A record is longer than any that is read."""


def _too_long(size: int) -> str:
    return f"the line is longer than {size} bytes, the most one may have: send such an object by a presigned upload, and its key here"


class _Physical:
    """The lines of a file, each with its line end; None in place of one that is too long. `place` is after the last one given."""

    def __init__(self, read: Read, size: int, place: Place) -> None:
        self.begun = self.place = place
        self._record = 0
        self._lines = _split(read, size, place.offset)

    def __iter__(self) -> Iterator[bytes | None]:
        for raw, end in self._lines:
            self.begun, self.place = self.place, Place(end, self.place.lines + 1)
            yield raw

    def begin_record(self) -> None:
        """Counts the bytes of a record from here on."""
        self._record = 0

    def text(self) -> Iterator[str]:
        """Yields lines as text for the csv module, which asks for one after the other until a record is whole.

        Raises:
            _TooLong: the record, whose quotation mark may be missing, has over MAX_LINE_BYTES by now.
        """
        for raw in self:
            self._record += self.place.offset - self.begun.offset
            if raw is None or self._record > MAX_LINE_BYTES:
                raise _TooLong(_too_long(MAX_LINE_BYTES))
            line = raw.decode(errors="surrogateescape")
            yield line.removeprefix(_BOM) if self.begun.offset == 0 else line


def _split(read: Read, size: int, offset: int) -> Iterator[tuple[bytes | None, int]]:
    """Yields each line of a file with the offset after it, holding no more than one of them and a chunk."""
    held = bytearray()
    is_too_long = False
    while offset < size:
        chunk = read(offset, min(offset + CHUNK_BYTES, size) - 1)
        start = 0
        while (cut := chunk.find(b"\n", start)) >= 0:
            held += chunk[start : cut + 1]
            yield (None if is_too_long or len(held) > MAX_LINE_BYTES else bytes(held)), offset + cut + 1
            held.clear()
            is_too_long, start = False, cut + 1
        held += chunk[start:]
        if len(held) > MAX_LINE_BYTES:
            is_too_long = True
            held.clear()
        offset += len(chunk)
    if held or is_too_long:
        yield (None if is_too_long else bytes(held)), offset
