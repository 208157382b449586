"""Analytics: what the ledger counts, beside what the bucket held when it was last counted whole, and the drift between them.

A record counts as stored only in state STORED. The bucket's figures are those of the last complete reconciliation and come with their
time. The drift is bucket minus ledger of that same walk, so that what was uploaded since is not taken for a difference.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from stocktake.layouts import project_stem
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.model import ProjectState, State, Tally
from stocktake.project_deletion import KIND as DELETION
from stocktake.reconciliation import KIND as RECONCILIATION
from stocktake.reconciliation import count_of_project

PROJECTS_SHOWN = 1000
_TROUBLES = ("orphan", "missing", "mismatch", "unstored", "unknown")


class Analytics:
    """Exact counts of one ledger and the last complete count of its bucket."""

    def __init__(self, ledger: Ledger, operations: Operations, *, now: Callable[[], int]) -> None:
        self._ledger = ledger
        self._operations = operations
        self._now = now

    def overall(self) -> dict[str, Any]:
        """Returns counts and bytes of all projects by state, the bucket's count, the drift, and each project's line."""
        totals: dict[State, Tally] = {}
        largest: list[tuple[int, str, dict[str, Any]]] = []
        in_all = 0
        for project_id, state, counts in self._ledger.all_counts():
            for name, tally in counts.items():
                totals[name] = totals.get(name, Tally()) + tally
            if state is not ProjectState.DELETED or any(tally.objects for tally in counts.values()):
                in_all += 1
                # the largest are shown: an answer of a function ends at 6 MB
                line = (counts[State.STORED].objects, project_id, {"state": state.value, "counts": _counts(counts)})
                heapq.heappush(largest, line) if len(largest) < PROJECTS_SHOWN else heapq.heappushpop(largest, line)
        run = self._latest_run()
        counted = None
        if run is not None:
            by_side = run.document["counts"]
            counted = _counted(run, by_side.get("bucket", _NOTHING), by_side.get("ledger", {}).get("stored", _NOTHING))
        return {
            "as_of": self._now(),
            **_sides(totals, counted),
            "findings": None if run is None else {name: run.document["counts"].get(name, _NOTHING) for name in _TROUBLES},
            "projects": [{"project_id": project_id, **line} for _, project_id, line in sorted(largest, key=lambda shown: shown[1])],
            "projects_in_all": in_all,
        }

    def project(self, project_id: str) -> dict[str, Any]:
        """Returns counts and bytes of one project by state, beside the bucket's count of it. Raises ProjectNotFound."""
        project = self._ledger.project(project_id)
        counts = self._ledger.counts(project.project_id)
        run = self._latest_run()
        counted = None
        if run is not None:
            count = count_of_project(self._operations, run, project_stem(project.project_id))
            counted = _counted(run, count["bucket"], count["ledger"])
        return {"as_of": self._now(), "project_id": project.project_id, "state": project.state.value, **_sides(counts, counted)}

    def runs(self, limit: int) -> list[Operation]:
        """Reads the newest reconciliations."""
        return self._operations.recent(RECONCILIATION, limit)

    def deletions(self, limit: int) -> list[Operation]:
        """Reads the newest project deletions."""
        return self._operations.recent(DELETION, limit)

    def _latest_run(self) -> Operation | None:
        latest = self._operations.get("latest", RECONCILIATION)
        return self._operations.get(latest.document["run_id"]) if latest else None


_NOTHING: Mapping[str, int] = {"objects": 0, "bytes": 0}


def _counted(run: Operation, bucket: Mapping[str, int], ledger: Mapping[str, int]) -> dict[str, Any]:
    """Returns the bucket's count of a run, and how far the ledger of that very walk was from it."""
    counted = {
        "objects": bucket["objects"],
        "bytes": bucket["bytes"],
        "run_id": run.operation_id,
        "counted_at": run.document["finished_at"],
    }
    return {"bucket": counted, "drift": {name: bucket[name] - ledger[name] for name in ("objects", "bytes")}}


def _counts(counts: Mapping[State, Tally]) -> dict[str, Any]:
    return {state.value: {"objects": counts.get(state, Tally()).objects, "bytes": counts.get(state, Tally()).bytes} for state in State}


def _sides(counts: Mapping[State, Tally], counted: Mapping[str, Any] | None) -> dict[str, Any]:
    stored = counts.get(State.STORED, Tally())
    records = sum(counts.values(), Tally())
    return {
        "records": {"objects": records.objects, "bytes": records.bytes},
        "stored": {"objects": stored.objects, "bytes": stored.bytes},
        "counts": _counts(counts),
        "bucket": counted["bucket"] if counted else None,
        "drift": counted["drift"] if counted else None,
    }
