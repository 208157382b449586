from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from stocktake.merging import merged
from stocktake.model import LedgerEntry, State


def an_entry(key: str) -> LedgerEntry:
    return LedgerEntry(key, "p1", State.STORED, 1, "etag", 0, 1)


@st.composite
def streams(draw: st.DrawFn) -> list[list[list[LedgerEntry]]]:
    """Keys dealt to some streams, each in order and in pages, of which some are empty."""
    dealt: list[list[list[LedgerEntry]]] = [[[]] for _ in range(draw(st.integers(0, 4)))]
    for key in sorted(draw(st.sets(st.text(max_size=3), max_size=30))) if dealt else ():
        pages = dealt[draw(st.integers(0, len(dealt) - 1))]
        if draw(st.booleans()):
            pages.append([])
        pages[-1].append(an_entry(key))
        if draw(st.integers(0, 9)) == 0:
            pages.append([])
    return dealt


@settings(max_examples=150, deadline=None)
@given(streams())
def test_many_streams_in_order_are_one_in_order(dealt: list[list[list[LedgerEntry]]]) -> None:
    assert list(merged(map(iter, dealt))) == sorted(entry for pages in dealt for page in pages for entry in page)


def test_no_stream_is_read_further_than_it_has_to_be() -> None:
    read = list[str]()

    def pages(name: str, *keys: str) -> Iterator[list[LedgerEntry]]:
        for key in keys:
            read.append(key)
            yield [an_entry(f"{name}{key}")]

    stream = merged([pages("a", "1", "2"), pages("b", "3", "4")])
    assert read == []
    assert (next(stream).key, read) == ("a1", ["1", "3"])
    assert (next(stream).key, read) == ("a2", ["1", "3", "2"])
    assert [entry.key for entry in stream] == ["b3", "b4"]
