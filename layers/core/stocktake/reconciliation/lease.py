"""One run at a time: a row of the operations table says whose turn it is, until when, and under which number.

Time only decides when another may take over; it never decides who may write. Whoever takes over gets a number one higher and closes the
rows of the run before (`Reconciliations`), and every write of a step is made on condition that its row is still the one it read. So a step
that slept through its end finds its row closed and writes nothing, whatever its clock says.

Clocks may differ by SKEW_MS: a taker waits that much longer than the end it reads, so one that is ahead by as much does not come before it.

What a step asks of the bucket no row holds back, and a deletion may be under way when its repair is stopped. So the steps of an apply say
when they begin and when they end (`step`), and what is given back meanwhile is ENDING: nobody has it until the last step has left, or until
the longest of them must be over.

```
HELD ─▶ FREE
  └───▶ ENDING ─▶ FREE: while a step is at work
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from stocktake.errors import LeaseLost, RecordChanged, RunInProgress, StorageUnavailable
from stocktake.ledger import Operation, Operations

type Work = Literal["compare", "apply"]

STEP_MS = 300_000
"""The longest a step lives, as the template has it."""
LEASE_MS = 3 * STEP_MS
"""More than a step and the state machine's longest wait between two tries of one."""
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
                first = _document(owner, work, 1, at, [], [])
                if self._operations.put_new(*_ROW, None, first, created_at=at, status="HELD"):
                    return _held(first)
                continue
            before = row.document
            ousted = before["ousted"]
            if row.status == "HELD" and (before["owner"], before["work"]) == (owner, work):
                document = _document(owner, work, before["fence"], at, ousted, before["at_work"])
            elif row.status != "FREE" and at <= before["ends_at"] + SKEW_MS:
                raise _refused(row, at)
            else:
                dead = [*ousted, [before["owner"], before["work"]]] if row.status == "HELD" else ousted
                document = _document(owner, work, before["fence"] + 1, at, dead, [])
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

    @contextmanager
    def step(self, owner: str, fence: int) -> Iterator[None]:
        """Says that a step is at work, for as long as it is; for all its time where it is killed, or the store does not answer it.

        Raises:
            LeaseLost: it was given back, or another one took it over.
        """
        until = self._enter(owner, fence)
        try:
            yield
        except StorageUnavailable:
            raise  # what was asked of the bucket may still be under way
        except Exception:
            self._leave(owner, fence, until)
            raise
        self._leave(owner, fence, until)

    def free(self, owner: str, work: Work, fence: int | None = None) -> None:
        """Gives the lease back, or lets the last step that is at work do so.

        Nothing happens when it is another's by now, or has another number than `fence` where one is given.
        """
        row = self._operations.get(*_ROW)
        if row is None or row.status == "FREE" or (row.document["owner"], row.document["work"]) != (owner, work):
            return
        if fence in (None, row.document["fence"]):
            try:
                self._give_back(row, row.document["at_work"])
            except RecordChanged:
                self.free(owner, work, fence)

    def _enter(self, owner: str, fence: int) -> int:
        row, at = self._holding(owner, fence), self._now()
        until = at + STEP_MS
        document = {**row.document, "ends_at": at + LEASE_MS, "at_work": [*row.document["at_work"], until]}
        try:
            self._operations.update(row, document=document)
        except RecordChanged:
            return self._enter(owner, fence)
        return until

    def _leave(self, owner: str, fence: int, until: int) -> None:
        row = self._operations.get(*_ROW)
        if row is None or (row.document["owner"], row.document["fence"]) != (owner, fence) or until not in row.document["at_work"]:
            return
        others = [*row.document["at_work"]]
        others.remove(until)  # which of two that end at one time is the same
        try:
            if row.status == "HELD":
                self._operations.update(row, document={**row.document, "at_work": others})
            else:
                self._give_back(row, others)
        except RecordChanged:
            self._leave(owner, fence, until)

    def _give_back(self, row: Operation, at_work: list[int]) -> None:
        # of steps that died long ago the last one's end is past: it keeps nobody waiting
        document = {**row.document, "at_work": at_work, "ends_at": max(at_work, default=0)}
        self._operations.update(row, document=document, status="ENDING" if at_work else "FREE")

    def _holding(self, owner: str, fence: int) -> Operation:
        row = self._operations.get(*_ROW)
        if row is None or row.status != "HELD" or (row.document["owner"], row.document["fence"]) != (owner, fence):
            raise LeaseLost(f"reconciliation {owner} no longer has the lease: it was stopped, or ran out of time and was replaced")
        return row


def _document(owner: str, work: Work, fence: int, at: int, ousted: list[Any], at_work: list[int]) -> dict[str, Any]:
    return {"owner": owner, "work": work, "fence": fence, "ends_at": at + LEASE_MS, "ousted": ousted, "at_work": at_work}


def _refused(row: Operation, at: int) -> RunInProgress:
    document: Mapping[str, Any] = row.document
    owner, work = document["owner"], document["work"]
    if row.status == "ENDING":
        minutes = -((at - SKEW_MS - document["ends_at"]) // 60_000)
        why = (
            f"reconciliation {owner} is ending ({work}): its step is still at an object, and ends with it. Try again in a moment; where "
            f"that step has died, in {minutes} minutes at most"
        )
    else:
        why = (
            f"reconciliation {owner} is alive ({work}), and there is one at a time: wait for its end, or stop it with POST "
            f"/reconciliations/{owner}/stop"
        )
    return RunInProgress(why, run_id=owner, work=work)


def _held(document: dict[str, Any]) -> Held:
    ousted = tuple((owner, work) for owner, work in document["ousted"])
    return Held(document["owner"], document["work"], document["fence"], ousted)
