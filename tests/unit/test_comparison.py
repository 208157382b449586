from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from stocktake.comparison import merge_join

keys = st.sets(st.text(max_size=6), max_size=40)


@dataclass(frozen=True)
class Row:
    key: str


@given(keys, keys)
def test_the_walk_finds_what_a_set_comparison_finds(left: set[str], right: set[str]) -> None:
    pairs = list(merge_join([Row(key) for key in sorted(left)], [Row(key) for key in sorted(right)]))
    assert {a.key for a, b in pairs if a and b is None} == left - right
    assert {b.key for a, b in pairs if b and a is None} == right - left
    assert {a.key for a, b in pairs if a and b} == left & right
    assert [(a or b).key for a, b in pairs if a or b] == sorted(left | right)  # type: ignore[union-attr]  # one of the two is there


def test_the_walk_reads_no_further_than_it_must() -> None:
    read: list[str] = []

    def endless(name: str):  # type: ignore[no-untyped-def]  # a generator of rows
        for number in range(10**9):
            read.append(name)
            yield Row(f"{number:010d}")

    walk = merge_join(endless("left"), endless("right"))
    for _ in range(5):
        next(walk)
    assert len(read) <= 14
