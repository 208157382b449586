"""Where a run is cut into ranges of about equal size, found with a bounded number of requests."""

from __future__ import annotations

from itertools import takewhile

from stocktake.ledger import Ledger
from stocktake.storage import Store

KEYS_PER_RANGE = 100_000
MAX_RANGES = 1000
KEPT_KEYS = 16 * MAX_RANGES
"""Keys of a sample held in memory: a cut is wrong by a sixteenth of a range at most."""


def cuts(store: Store, ledger: Ledger) -> list[str]:
    """Says after which texts to cut, in order; each is the shortest that does, and need not be a key."""
    # an unordered store lists everything for every range: one range, one listing
    if not store.profile().ordered_listing:
        return []
    sample, each = _sample(ledger)
    pieces = min(MAX_RANGES, len(sample) * each * ledger.shards // KEYS_PER_RANGE + 1)
    places = [len(sample) * piece // pieces for piece in range(1, pieces)]
    return sorted({_between(sample[place - 1], sample[place]) for place in places if place})


def _sample(ledger: Ledger) -> tuple[list[str], int]:
    """Reads one shard, a fair sample of the keys, and keeps every so many-th of it: memory does not grow with the ledger."""
    kept: list[str] = []
    each = 1
    for number, key in enumerate(ledger.shard_keys(0)):
        if number % each:
            continue
        kept.append(key)
        if len(kept) == 2 * KEPT_KEYS:
            kept, each = kept[::2], each * 2
    return kept, each


def _between(before: str, key: str) -> str:
    """Gives the shortest text that sorts after `before` and not after `key`."""
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, key, strict=False)))
    return key[: shared + 1]
