"""What makes the whole of a run's counts doubtful, though every page came and the bucket is the right one.

Numbers alone decide here: those of the run, as `nested`, and those of the complete run before. What is in doubt is never acted on; where an
operator may know better, the sentence says how to say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LOST_PERCENT = 10
"""A bucket that lost more than this of what the ledger has as stored, since the last complete run, is in doubt. So is a ledger."""
LOST_OBJECTS = 100
"""And no fewer objects than this: below, the percentage would doubt small buckets at every turn."""
UNLISTED_PERCENT = 1
"""An inventory of the whole bucket leaves out nothing that is older than the grace window; one of a part of it leaves out a share."""
UNREADABLE_PERCENT = 1
"""A run that was refused more than this of the bucket's objects has not looked at the bucket."""
UNREADABLE_OBJECTS = 100
"""And no fewer objects than this, or all there are: a few under another key of encryption are somebody's."""
_ACCEPT = 'if nothing is wrong, start a run with "accept_loss": true'

Counts = Mapping[str, Any]


def is_whole(bounds: Iterable[tuple[str, str | None]]) -> bool:
    """Says whether ranges, each after a key and until one or the end, are all the keys there are, each once."""
    reached: str | None = ""
    for after, until in sorted(bounds, key=lambda it: it[0]):
        if after != reached:
            return False
        reached = until
    return reached is None


def left_out(counts: Counts) -> str | None:
    """Says how much an inventory leaves out of what the ledger knows and the bucket has: of the orphans it leaves out as large a share."""
    unlisted, stored = _objects(counts, "unlisted"), _objects(counts, "ledger", "stored")
    if unlisted * 100 <= stored * UNLISTED_PERCENT:
        return None
    return (
        f"the inventory leaves out {unlisted} of the {stored} objects that the ledger has as stored, and the bucket has them: it is of a "
        "part of the bucket. Configure it without a prefix, or compare by a listing"
    )


def unreadable(counts: Counts) -> str | None:
    """Says how much of what differs the store refused to show, where that is so much that the run saw too little."""
    refused, objects = _objects(counts, "unreadable"), _objects(counts, "bucket")
    is_much = refused >= UNREADABLE_OBJECTS and refused * 100 > objects * UNREADABLE_PERCENT
    if refused == 0 or (refused < objects and not is_much):
        return None
    return (
        f"the store refuses to show {refused} keys, in a bucket of {objects} objects, though it lists them: give the credentials the right "
        "to read them, and to use the keys they are encrypted with, then start a new run"
    )


def lost(before: Counts, counts: Counts) -> str | None:
    """Says what of bucket or ledger is gone since the run before and nobody asked for. Of a ledger that was emptied any number is much."""
    gone, had = _gone(before, counts, "objects")
    if _is_much(gone, had):
        return (
            f"{gone} objects that the ledger has as stored are gone since the run before, of some {had}, and nobody asked for it: look for "
            f"the cause; {_ACCEPT}"
        )
    gone, had = _gone(before, counts, "records")
    if _is_much(gone, had) or 0 < had <= gone:
        return (
            f"{gone} objects that the bucket had in the run before have no record any more, of some {had} that had one: the ledger's "
            f"tables have lost rows, or are those of an earlier time. Bring the records back before anything is set aside; {_ACCEPT}"
        )
    return None


def _gone(before: Counts, counts: Counts, what: str) -> tuple[int, int]:
    """Returns how many were lost, and of how many: nothing of what was deleted on request, and no more than there were."""
    gone = _objects(counts, "lost", what)
    had = min(_objects(before, "ledger", "stored"), _objects(counts, "ledger", "stored") + gone)
    return min(gone, had), had


def _is_much(gone: int, had: int) -> bool:
    return gone >= LOST_OBJECTS and gone * 100 > had * LOST_PERCENT


def _objects(counts: Counts, *path: str) -> int:
    for name in path:
        counts = counts.get(name, {})
    return int(counts.get("objects", 0))
