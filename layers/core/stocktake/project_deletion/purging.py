"""What a CDN keeps of a deletion's objects: purged once their bytes are gone, and what failed tried again before the receipt.

A purge never changes what a receipt says of bucket and ledger; what the CDN did not take stands beside it, key by key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import batched, chain
from typing import Any
from urllib.parse import quote

from stocktake.cdn import Cdn
from stocktake.discovery import Discovered
from stocktake.layouts import SYSTEM_PREFIX
from stocktake.ledger import Operations

LIST_BYTES = 40_000
"""JSON of the failures on a receipt."""
_KEYS_AT_ONCE = 990
_NEVER_SERVED = ("versions", "gone")


class Purging:
    """The purges of one bucket.

    Args:
        public_base_url: where the bucket is served publicly; None where only presigned URLs give objects, which no CDN keeps.
    """

    def __init__(self, cdn: Cdn, public_base_url: str | None) -> None:
        self._cdn = cdn
        self._public_base_url = public_base_url

    def purge_batch(self, items: Sequence[Discovered], refused: set[str]) -> dict[str, Any]:
        """Purges what a batch removed, and returns `{"purged", "failures": [{"why", "keys"}]}` for its result row."""
        keys = [item.key for item in items if item.source not in _NEVER_SERVED and item.key not in refused]
        return self._purge(dict.fromkeys(key for key in keys if not key.startswith(SYSTEM_PREFIX)))

    def finish(self, operations: Operations, deletion_id: str) -> dict[str, Any]:
        """Tries again what the batches' purges failed on, and returns what the receipt says of the CDN."""
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
            again = self._purge(keys)
            purged += again["purged"]
            for failure in again["failures"]:
                failed += len(failure["keys"])
                for key in failure["keys"]:
                    size += len(json.dumps(key)) + len(failure["why"])
                    if size <= LIST_BYTES:
                        shown.append({"key": key, "why": failure["why"]})
        return {"cdn": {"provider": self._cdn.name, "purged": purged, "failed": failed, "failures": shown}}

    def _purge(self, keys: Iterable[str]) -> dict[str, Any]:
        if self._public_base_url is None:
            return {"purged": 0, "failures": []}
        by_url = {f"{self._public_base_url}/{quote(key)}": key for key in keys}
        grouped: dict[str, list[str]] = {}
        failed = self._cdn.purge(list(by_url))
        for failure in failed:
            grouped.setdefault(failure.why, []).append(by_url[failure.url])
        purged = 0 if self._cdn.name == "none" else len(by_url) - len(failed)
        return {"purged": purged, "failures": [{"why": why, "keys": names} for why, names in grouped.items()]}
