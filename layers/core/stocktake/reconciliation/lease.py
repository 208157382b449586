"""One run at a time: a row of the operations table says whose turn it is, until when, and under which number.

Time only decides when another may take over; it never decides who may write. Whoever takes over gets a number one higher and closes the
rows of the run before (`Reconciliations`), and every write of a step is made on condition that its row is still the one it read. So a step
that slept through its end finds its row closed and writes nothing, whatever its clock says.

Clocks may differ by SKEW_MS: a taker waits that much longer than the end it reads, so one that is ahead by as much does not come before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from stocktake.errors import LeaseLost, RecordChanged, RunInProgress
from stocktake.ledger import Operation, Operations

type Work = Literal["compare", "apply"]

LEASE_MS = 900_000
"""Three times the 300 s of a step, and more than the state machine's longest wait between two tries of one."""
SKEW_MS = 300_000
"""By how much the clocks of two functions may differ."""

_ROW = ("settings", "reconciliation-lease")
_ATTEMPTS = 5
"""Rivals that may come between reading the row and writing it."""


@dataclass(frozen=True, slots=True)
class Held:
    """Whose turn it is, and whose it was before, where those never gave it back and are not closed yet."""

    owner: str
    work: Work
    fence: int
    ousted: tuple[tuple[str, Work], ...]


class Lease:
    """The lease of one deployment."""

    def __init__(self, operations: Operations, *, now: Callable[[], int]) -> None:
        self._operations = operations
        self._now = now

    def take(self, owner: str, work: Work) -> Held:
        """Takes the lease, or prolongs it for whoever holds it already; a dead holder's is taken over under the next number.

        Raises:
            RunInProgress: another one is alive; the error names it.
        """
        for _ in range(_ATTEMPTS):
            row, at = self._operations.get(*_ROW), self._now()
            if row is None:
                first = _document(owner, work, 1, at, [])
                if self._operations.put_new(*_ROW, None, first, created_at=at, status="HELD"):
                    return _held(first)
                continue
            before = row.document
            ousted = before["ousted"]
            if row.status == "HELD" and (before["owner"], before["work"]) == (owner, work):
                document = _document(owner, work, before["fence"], at, ousted)
            elif row.status == "HELD" and at <= before["ends_at"] + SKEW_MS:
                raise RunInProgress(
                    f"reconciliation {before['owner']} is alive ({before['work']}), and there is one at a time: wait for its end, or stop "
                    f"it with POST /reconciliations/{before['owner']}/stop",
                    run_id=before["owner"],
                    work=before["work"],
                )
            else:
                dead = [*ousted, [before["owner"], before["work"]]] if row.status == "HELD" else ousted
                document = _document(owner, work, before["fence"] + 1, at, dead)
            try:
                self._operations.update(row, document=document, status="HELD")
            except RecordChanged:
                continue
            return _held(document)
        raise RunInProgress("several reconciliations were asked for at this moment: try again", run_id="")

    def keep(self, owner: str, fence: int) -> None:
        """Makes sure that the lease is still held under this number, and prolongs it when half of it is over.

        Raises:
            LeaseLost: it was given back, or another one took it over.
        """
        row, at = self._holding(owner, fence), self._now()
        if row.document["ends_at"] - at > LEASE_MS // 2:
            return
        try:
            self._operations.update(row, document={**row.document, "ends_at": at + LEASE_MS})
        except RecordChanged:  # by another step of the same run, which prolonged it, or by a rival
            self._holding(owner, fence)

    def settled(self, held: Held) -> None:
        """Notes that what the ousted ones had open is closed. Raises LeaseLost."""
        row = self._holding(held.owner, held.fence)
        try:
            self._operations.update(row, document={**row.document, "ousted": []})
        except RecordChanged:
            self.settled(held)

    def free(self, owner: str, work: Work, fence: int | None = None) -> None:
        """Gives the lease back; nothing happens when it is another's by now, or has another number than `fence` where one is given."""
        row = self._operations.get(*_ROW)
        if row is None or row.status != "HELD" or (row.document["owner"], row.document["work"]) != (owner, work):
            return
        if fence in (None, row.document["fence"]):
            try:
                self._operations.update(row, status="FREE")
            except RecordChanged:
                self.free(owner, work, fence)

    def _holding(self, owner: str, fence: int) -> Operation:
        row = self._operations.get(*_ROW)
        if row is None or row.status != "HELD" or (row.document["owner"], row.document["fence"]) != (owner, fence):
            raise LeaseLost(f"reconciliation {owner} no longer has the lease: it was stopped, or ran out of time and was replaced")
        return row


def _document(owner: str, work: Work, fence: int, at: int, ousted: list[Any]) -> dict[str, Any]:
    return {"owner": owner, "work": work, "fence": fence, "ends_at": at + LEASE_MS, "ousted": ousted}


def _held(document: dict[str, Any]) -> Held:
    ousted = tuple((owner, work) for owner, work in document["ousted"])
    return Held(document["owner"], document["work"], document["fence"], ousted)
