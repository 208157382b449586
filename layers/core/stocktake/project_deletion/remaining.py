"""What a final sweep still found: every key with the reason, in rows of the deletion, however many there are.

Rows are written in key order while the sweep walks, so that a sweep which is short of time, or killed, goes on after the last key of the
last row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from stocktake.discovery import Discovered, Suspect
from stocktake.errors import Conflict
from stocktake.layouts import Prefix
from stocktake.ledger import Operation, Operations
from stocktake.project_deletion.batches import KEEP_MS
from stocktake.project_deletion.refusals import Refusal

PART_BYTES = 80_000
"""JSON of the lines of one row, which is one page of an answer: DynamoDB takes 400 KB an item."""
CAME_BACK = "it came back after every round: something keeps writing under this key"
UNSEEN = "a deletion in this mode does not remove it: if it may go, ask for the deletion again in mode both"


class Remaining:
    """The rows of one round of a deletion.

    `after` is the last key that is written; the sweep goes on behind it.
    """

    def __init__(self, operations: Operations, deletion_id: str, round_number: int, prefixes: Sequence[Prefix]) -> None:
        self._operations = operations
        self._deletion_id = deletion_id
        self._round = round_number
        self._prefixes = prefixes
        self._lines: list[dict[str, Any]] = []
        self._listed: Counter[str] = Counter()
        self._size = 0
        self._rows = 0
        self.after = ""
        if (row := operations.last_part(deletion_id, rows_of(round_number))) is not None:  # by an earlier delivery
            self._rows = int(row.part.rpartition("#")[2]) + 1
            self.after = row.document["lines"][-1]["key"]

    def add(self, found: Discovered | Suspect, refusal: Refusal | None, *, at: int, was_tried: bool) -> bool:
        """Takes in one key; False where another delivery of the sweep is ahead, and this one has to end."""
        line: dict[str, Any] = {"key": found.key, "bytes": found.size}
        if isinstance(found, Suspect):
            line |= {"why": found.why, "suspect": True}
        elif refusal is not None:
            line |= {"why": f"{refusal.code}: {refusal.message}", "refusals": refusal.times}
        else:
            line["why"] = CAME_BACK if was_tried else UNSEEN
        size = len(json.dumps(line))
        if self._size + size > PART_BYTES and not self.write(at=at):
            return False
        self._lines.append(line)
        self._size += size
        if isinstance(found, Discovered) and found.source in ("both", "listing"):
            self._listed.update(prefix.prefix for prefix in self._prefixes if found.key.startswith(prefix.prefix))
        return True

    def write(self, *, at: int) -> bool:
        """Writes what was taken in since the last row; False where another delivery of the sweep wrote that row."""
        if not self._lines:
            return True
        document = {"lines": self._lines, "listed": dict(self._listed)}
        part = f"{rows_of(self._round)}{self._rows:08d}"
        if not self._operations.put_new(
            self._deletion_id, part, None, document, created_at=at, status="REMAINING", expires_at=at + KEEP_MS
        ):
            return False
        self._rows += 1
        self.after = self._lines[-1]["key"]
        self._lines, self._size = [], 0
        self._listed.clear()
        return True


def rows_of(round_number: int) -> str:
    """Names the rows of a round, without their numbers."""
    return f"remaining#{round_number:02d}#"


def page(operations: Operations, deletion_id: str, round_number: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """Reads one row of what remained after a round, and the cursor of the next or None. Raises InvalidRequest for a foreign cursor."""
    rows, following = operations.parts(deletion_id, rows_of(round_number), 1, cursor)
    return [line for row in rows for line in row.document["lines"]], following


def still_under_way(operation: Operation) -> Conflict:
    """Says that a deletion has no receipt yet, or will have none."""
    deletion_id = operation.operation_id
    if operation.status == "UNDONE":
        return Conflict(f"deletion {deletion_id!r} was undone: nothing was erased, so that it has no receipt")
    return Conflict(
        f"deletion {deletion_id!r} is {operation.status.lower()}, and so still under way: its receipt is written after the final sweep, "
        "ask again then"
    )
