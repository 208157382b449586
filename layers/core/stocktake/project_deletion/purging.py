"""What a CDN keeps of a deletion's objects: purged once their bytes are gone, and what failed tried again before the receipt.

A purge never changes what a receipt says of bucket and ledger; what the CDN did not take stands beside it, key by key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import batched, chain
from typing import Any

from stocktake.cdn import PublicCopies
from stocktake.discovery import Discovered
from stocktake.ledger import Operations

LIST_BYTES = 40_000
"""JSON of the failures on a receipt."""
_KEYS_AT_ONCE = 990
_NEVER_SERVED = ("versions", "gone")


class Purging:
    """The purges of one bucket."""

    def __init__(self, copies: PublicCopies) -> None:
        self._copies = copies

    def purge_batch(self, items: Sequence[Discovered], refused: set[str], out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Purges what a batch removed, as far as there is time; returns `{"purged", "failures": [{"why", "keys"}]}` for its result row."""
        keys = [item.key for item in items if item.source not in _NEVER_SERVED and item.key not in refused]
        return self._purge(keys, out_of_time)

    def finish(self, operations: Operations, deletion_id: str, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Tries again what the batches' purges failed on, as far as there is time, and returns what the receipt says of the CDN."""
        purged = failed = size = 0
        shown: list[dict[str, str]] = []

        def failures() -> Iterator[str]:
            nonlocal purged
            for row in chain(operations.all_parts(deletion_id, "moved#"), operations.all_parts(deletion_id, "result#")):
                said = row.document.get("cdn", {"purged": 0, "failures": []})  # absent from a deletion of before there were purges
                purged += said["purged"]
                for failure in said["failures"]:
                    yield from failure["keys"]

        for keys in batched(failures(), _KEYS_AT_ONCE, strict=False):
            again = self._purge(keys, out_of_time)
            purged += again["purged"]
            for failure in again["failures"]:
                failed += len(failure["keys"])
                for key in failure["keys"]:
                    size += len(json.dumps(key)) + len(failure["why"])
                    if size <= LIST_BYTES:
                        shown.append({"key": key, "why": failure["why"]})
        return {"cdn": {"provider": self._copies.cdn.name, "purged": purged, "failed": failed, "failures": shown}}

    def _purge(self, keys: Iterable[str], out_of_time: Callable[[], bool]) -> dict[str, Any]:
        grouped: dict[str, list[str]] = {}
        purged, failed = self._copies.purge(keys, out_of_time)
        for key, why in failed.items():
            grouped.setdefault(why, []).append(key)
        return {"purged": purged, "failures": [{"why": why, "keys": names} for why, names in grouped.items()]}
