"""Where a run is cut into ranges of about equal size, with a bounded number of requests.

At first it is cut by what the last complete run counted, range by range, or, before there is one, at the quantiles of a ledger shard. Both
may be wrong: a ledger says nothing of a bucket it does not know yet. So what is not walked after some steps is cut again, in the middle of
the keys that are left, as the bucket itself shows them, until every worker has enough to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, takewhile

from stocktake.ledger import Ledger
from stocktake.storage import Store

KEYS_PER_RANGE = 100_000
FIRST_RANGES = 1000
MAX_RANGES = 2000
"""In all. What the state machine is told of a range is under 100 bytes, and it takes 256 KB."""
SAMPLED_KEYS = 5_000_000
"""Of one shard: as many as a step has time to read. What comes after them is one range, and cut again."""
KEPT_KEYS = 16 * FIRST_RANGES
"""Keys of a sample held in memory: a cut is wrong by a sixteenth of a range at most."""
MAX_CUT_BYTES = 150_000
"""A row takes 350,000, in which a character outside of ASCII may be written as twelve for its two to four."""
PIECES = 8
"""Into which one range is cut again at most."""
PROBES = 40
"""Requests for one cut at most."""

_LAST = "~"
_FIRST, _SYMBOLS, _DIGITS = 0x20, 95, 8
"""A cut is made of printable ASCII: eight symbols of 95 tell more keys apart than any bucket has."""


def cuts(store: Store, ledger: Ledger, counted: Iterable[tuple[str | None, int]]) -> list[str]:
    """Says after which texts to cut, in order; each need not be a key.

    Args:
        counted: of the last complete run's ranges in order, where each ends and how many keys it had; nothing before there is one.
    """
    # an unordered store lists everything for every range: one range, one listing
    if not store.profile().ordered_listing:
        return []
    known = list(counted)
    if known:
        return _fitting(_as_before(known))
    sample, each = _sample(ledger)
    pieces = ranges_of(len(sample) * each * ledger.shards)
    places = [len(sample) * piece // pieces for piece in range(1, pieces)]
    return _fitting(sorted({_between(sample[place - 1], sample[place]) for place in places if place}))


def ranges_of(keys: int) -> int:
    """Says into how many ranges so many keys are cut at first."""
    return min(FIRST_RANGES, keys // KEYS_PER_RANGE + 1)


def cut_again(store: Store, after: str, until: str | None, pieces: int) -> list[str]:
    """Cuts the keys that are left of a range, so that each piece holds a key of the bucket; fewer pieces where it has no more.

    Args:
        after, until: the keys that are left: after < key <= until.
        pieces: at most so many.
    """
    if pieces < 2 or not store.profile().ordered_listing:
        return []
    middle = _middle_of_keys(store, after, until)
    if middle is None:
        return []
    more = pieces // 2
    return [*cut_again(store, after, middle, more), middle, *cut_again(store, middle, until, more)]


def _fitting(found: list[str]) -> list[str]:
    """Leaves out every other cut until they fit into one row, where keys have a kilobyte in common."""
    while sum(len(cut.encode()) + 8 for cut in found) > MAX_CUT_BYTES:
        found = found[1::2]
    return found


def _as_before(known: list[tuple[str | None, int]]) -> list[str]:
    """Cuts where the ranges of a run ended, leaving out so many that none is small."""
    least = max(KEYS_PER_RANGE, sum(keys for _, keys in known) // FIRST_RANGES)
    found, held = [], 0
    for until, keys in known:
        held += keys
        if until is not None and held >= least:
            found.append(until)
            held = 0
    return found


def _sample(ledger: Ledger) -> tuple[list[str], int]:
    """Reads one shard, a fair sample of the keys, and keeps every so many-th of it: memory does not grow with the ledger."""
    kept: list[str] = []
    each = 1
    for number, key in enumerate(islice(ledger.shard_keys(0), SAMPLED_KEYS)):
        if number % each:
            continue
        kept.append(key)
        if len(kept) == 2 * KEPT_KEYS:
            kept, each = kept[::2], each * 2
    return kept, each


def _between(before: str, key: str) -> str:
    """Gives the shortest text that sorts after `before` and not after `key`."""
    return key[: _shared(before, key) + 1]


def _shared(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _middle_of_keys(store: Store, after: str, until: str | None) -> str | None:
    """Finds a text with keys of the bucket on both sides, by halving the texts in between until the upper half holds one."""
    first = _next_key(store, after)
    if first is None or (until is not None and first > until):
        return None
    upper = _upper(store, first, until)
    for _ in range(PROBES):
        middle = _middle(first, upper)
        if middle is None:
            return None
        beyond = _next_key(store, middle)
        if beyond is not None and (until is None or beyond <= until):
            return middle
        upper = middle
    return None


def _upper(store: Store, first: str, until: str | None) -> str | None:
    """Gives a text after which no key is left, as near to `first` as the start that all keys have in common: halving is slow along it."""
    common, most = 0, len(first)
    while common < most:
        length = (common + most + 1) // 2
        beyond = _next_key(store, first[:length] + _LAST)
        if beyond is not None and (until is None or beyond <= until):
            most = length - 1
        else:
            common = length
    upper = first[:common] + _LAST
    return upper if common and (until is None or upper < until) else until


def _next_key(store: Store, after: str) -> str | None:
    for page in store.list(after=after, page_size=1):
        for row in page:
            return row.key
    return None


def _middle(low: str, high: str | None) -> str | None:
    """Gives a text in the middle between two, or None where printable ASCII has none."""
    shared = 0 if high is None else _shared(low, high)
    top = _SYMBOLS**_DIGITS if high is None else _number(high[shared:])
    number = (_number(low[shared:]) + top) // 2
    symbols = []
    for _ in range(_DIGITS):
        number, symbol = divmod(number, _SYMBOLS)
        symbols.append(chr(_FIRST + symbol))
    middle = low[:shared] + "".join(reversed(symbols)).rstrip()
    return middle if low < middle and (high is None or middle < high) else None


def _number(text: str) -> int:
    number = 0
    for place in range(_DIGITS):
        symbol = ord(text[place]) - _FIRST if place < len(text) else 0
        number = number * _SYMBOLS + min(max(symbol, 0), _SYMBOLS - 1)
    return number
