"""What is new, unchanged and gone since the run before.

The findings of both runs lie in one order, so they are walked side by side as bucket and ledger are: nothing is held but a page of each,
and a step that is killed goes on from the name it saved. What is new or unchanged a finding says itself; what is gone is in no row of the
newer run, and is looked up in the older one when it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stocktake.comparison import merge_join
from stocktake.errors import OperationNotFound, RunIncomplete
from stocktake.ledger import Operation, Operations
from stocktake.ledger.operations import cursor_of, text_of_cursor
from stocktake.reconciliation.selection import READ_AT_MOST, Wanted, rows_after, selected
from stocktake.reconciliation.walking import CHECK_EVERY, SAVE_EVERY

NEW = "new"
UNCHANGED = "unchanged"
GONE = "gone"
REPAIRED = "repaired"
_PART = "changes"
_LEFT_ALONE = frozenset({"FOUND", "ACTING", "SKIPPED", "DEFERRED", "ACKNOWLEDGED"})
"""What a finding of the older run says when no repair made it go."""


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    row: Operation


class Changes:
    """What moved from each run to the next.

    A run's `previous` is the last one that was complete when it was planned.
    """

    def __init__(self, operations: Operations, *, now: Callable[[], int]) -> None:
        self._operations = operations
        self._now = now

    def step(self, run_id: str, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Counts what is new, unchanged and gone, from where it was killed or time was short. Returns `{"run_id", "done"}`.

        Raises:
            OperationNotFound: there is no such run.
        """
        run = self._operations.get(run_id)
        if run is None:
            raise OperationNotFound(f"there is no reconciliation {run_id!r}")
        self._operations.put_new(run_id, _PART, None, {"after": None, "counts": {}}, created_at=self._now(), status="OPEN")
        row = self._operations.get(run_id, _PART)
        if row is None or row.status == "DONE":
            return {"run_id": run_id, "done": True}
        counts = Counter(row.document["counts"])
        pairs = self._pairs(run.document.get("previous"), run_id, "finding#", row.document["after"])
        for count, (earlier, finding) in enumerate(pairs, 1):
            either = finding or earlier
            assert either is not None  # merge_join yields no empty pair
            counts[f"{_change(earlier, finding)}.{either.row.document['class']}"] += 1
            late = count % CHECK_EVERY == 0 and out_of_time()
            if late or count % SAVE_EVERY == 0:
                row = self._operations.update(row, document={"after": either.key, "counts": dict(counts)})
            if late:
                return {"run_id": run_id, "done": False}
        self._operations.update(row, document={"after": row.document["after"], "counts": dict(counts)}, status="DONE")
        return {"run_id": run_id, "done": True}

    def counts(self, run: Operation) -> dict[str, Any] | None:
        """Returns how many findings of each class are new, unchanged, gone by themselves and repaired; None of a run that is not whole."""
        row = self._operations.get(run.operation_id, _PART) if run.status == "COMPLETE" else None
        if row is None or row.status != "DONE":
            return None
        answer: dict[str, Any] = {"since": run.document["previous"], NEW: {}, UNCHANGED: {}, GONE: {}, REPAIRED: {}}
        for name, findings in sorted(row.document["counts"].items()):
            change, _, finding_class = name.partition(".")
            answer[change][finding_class] = findings
        return answer

    def page(
        self, run: Operation, change: str, finding_class: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Operation], str | None]:
        """Reads one page of the findings that are `new` or `unchanged`, or of the older run's that are `gone`, repaired or not.

        Returns:
            At most `limit` rows, fewer also where READ_AT_MOST were read; and the cursor of the next page, or None on the last one.

        Raises:
            RunIncomplete: the run did not see everything, so nobody can say what is gone.
            InvalidRequest: the cursor is not one of ours, or of another class.
        """
        run_id = run.operation_id
        if run.status != "COMPLETE":
            raise RunIncomplete(f"reconciliation {run_id} is {run.status.lower()}: only of a complete one can be said what is gone")
        wanted = Wanted(finding_class=finding_class, is_new=change == NEW)
        if change != GONE:
            return selected(self._operations, run_id, wanted, limit, cursor)
        gone: list[Operation] = []
        after = None if cursor is None else text_of_cursor(cursor)
        for count, (earlier, finding) in enumerate(self._pairs(run.document["previous"], run_id, wanted.prefix, after), 1):
            if len(gone) == limit or count > READ_AT_MOST:
                return gone, None if after is None else cursor_of(after)
            after = (finding or earlier).key  # type: ignore[union-attr]  # one of the two is there
            if finding is None and earlier is not None:
                gone.append(earlier.row)
        return gone, None

    def _pairs(self, previous: str | None, run_id: str, prefix: str, after: str | None) -> Iterator[tuple[_Row | None, _Row | None]]:
        def rows(of: str | None) -> Iterator[_Row]:
            return (_Row(row.part, row) for row in rows_after(self._operations, of, prefix, after)) if of else iter(())

        return merge_join(rows(previous), rows(run_id))


def _change(earlier: _Row | None, finding: _Row | None) -> str:
    if finding is not None:
        return NEW if finding.row.document["sightings"] == 1 else UNCHANGED
    return GONE if earlier is not None and earlier.row.status in _LEFT_ALONE else REPAIRED
