"""The comparison alone: two sorted streams in memory, walked once."""

from __future__ import annotations

from benchmarks.figures import Figure, cpu_seconds
from stocktake.comparison import merge_join
from stocktake.model import LedgerEntry, ListedObject, State

KEYS = 300_000


def figures() -> list[Figure]:
    """Measures keys a second of CPU, with every hundredth key on one side only."""
    names = [f"projects/p{number % 50:02}/2026/11/{number:026d}.png" for number in range(KEYS)]
    names.sort()
    listed = [ListedObject(name, 1, "etag", 0) for number, name in enumerate(names) if number % 100 != 1]
    entries = [LedgerEntry(name, "p", State.STORED, 1, "etag", 0, 1) for number, name in enumerate(names) if number % 100 != 2]
    seconds = cpu_seconds(lambda: sum(1 for _ in merge_join(listed, entries)))
    return [Figure("comparison alone", KEYS / seconds, "keys per CPU s", 700_000, "higher")]
