"""Acknowledgements: findings an operator knows of, quiet until they change.

An acknowledgement is of one key and class and of exactly what was seen: where kind, object or record are others by now, the finding is new
again. It is an operation of its own, so that the newest can be listed and one be read by what it is of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from stocktake.errors import OperationNotFound
from stocktake.ledger import Operation, Operations

KIND = "acknowledgement"
ACKNOWLEDGED = "ACKNOWLEDGED"
_ACTIVE, _REVOKED = "ACTIVE", "REVOKED"
_SHOWN = ("key", "class", "kind", "project", "layout", "bytes", "object", "record")


class Acknowledgements:
    """What is known and shall be quiet."""

    def __init__(self, operations: Operations, *, now: Callable[[], int]) -> None:
        self._operations = operations
        self._now = now

    def acknowledge(self, finding: Mapping[str, Any], *, run_id: str, is_marking: bool = False) -> Operation:
        """Lets this finding be quiet until it changes; said again, or after it was revoked, it is known anew.

        Args:
            is_marking: nobody asked for it: it comes of marking a record, and whoever wants something else done may.
        """
        at = self._now()
        shown = {name: finding.get(name) for name in _SHOWN}
        document = {**shown, "fingerprint": _fingerprint(finding), "run_id": run_id, "acknowledged_at": at, "is_marking": is_marking}
        return self._operations.put(_id_of(finding), "", KIND, document, created_at=at, status=_ACTIVE)

    def covers(self, finding: Mapping[str, Any]) -> bool:
        """Says whether exactly this was acknowledged."""
        row = self._operations.get(_id_of(finding))
        return row is not None and row.status == _ACTIVE and row.document["fingerprint"] == _fingerprint(finding)

    def is_to_be_quiet(self, finding: Mapping[str, Any]) -> bool:
        """Says whether somebody acknowledged exactly this, and not only the marking of its record did."""
        return self.covers(finding) and not self.is_marking(finding)

    def is_marking(self, finding: Mapping[str, Any]) -> bool:
        """Says whether what made a finding quiet was the marking of its record, and nobody's wish."""
        row = self._operations.get(_id_of(finding))
        return row is not None and bool(row.document.get("is_marking"))

    def recent(self, limit: int, cursor: str | None) -> tuple[list[Operation], str | None]:
        """Reads one page of those that hold, newest first."""
        return self._operations.recent_page(KIND, limit, cursor)

    def revoke(self, acknowledgement_id: str) -> Operation:
        """Ends one: the next run reports the finding again. Raises OperationNotFound."""
        row = self._operations.get(acknowledgement_id)
        if row is None or row.kind != KIND or row.status != _ACTIVE:
            raise OperationNotFound(f"there is no acknowledgement {acknowledgement_id!r}: GET /acknowledgements lists them")
        return self._operations.update(row, status=_REVOKED, listed=False)


def _id_of(finding: Mapping[str, Any]) -> str:
    return f"acknowledged-{hashlib.sha256(f'{finding["class"]}\n{finding["key"]}'.encode()).hexdigest()[:32]}"


def _fingerprint(finding: Mapping[str, Any]) -> str:
    seen = {side: finding[side] for side in ("kind", "object", "record")}
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()
