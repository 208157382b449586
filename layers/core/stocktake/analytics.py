"""Analytics: what the ledger counts, beside what the bucket held when it was last counted whole, and the drift between them.

A record counts as stored only in state STORED. The bucket's figures are those of the last complete reconciliation and come with their
time and age. The drift is bucket minus ledger of that same walk, so that what was uploaded since is not taken for a difference.

The figures of each complete run and of each day are kept, so that there is a history of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stocktake.explanations import counts_explained
from stocktake.layouts import project_stem
from stocktake.ledger import Ledger, Operation, Operations, ProjectCounts
from stocktake.ledger.counting import DIMENSIONS, NONE, OTHER
from stocktake.model import ProjectState, State, Tally
from stocktake.project_deletion import KIND as DELETION
from stocktake.reconciliation import KIND as RECONCILIATION
from stocktake.reconciliation import count_of_project
from stocktake.recounts import KIND as RECOUNT

PROJECTS_SHOWN = 1000
CELLS_SHOWN = 100
"""Layouts, types, providers or purposes that are named; the rest is counted together."""
HISTORY = "history"
"""The operation whose parts are the days and runs of the past."""
KEEP_MS = 400 * 86_400_000
MAX_DAYS = 400
MAX_RUNS = 1000
"""Runs of the past in one answer, hourly ones of forty days: an answer of a function ends at 6 MB."""
_DAY_MS = 86_400_000
_TROUBLES = ("orphan", "missing", "mismatch", "unstored", "unknown", "duplicate_spelling")


class Analytics:
    """Exact counts of one ledger and the last complete count of its bucket."""

    def __init__(self, ledger: Ledger, operations: Operations, *, now: Callable[[], int]) -> None:
        self._ledger = ledger
        self._operations = operations
        self._now = now

    def overall(self) -> dict[str, Any]:
        """Returns counts and bytes of all projects in every dimension, the bucket's count, the drift, and each project's line."""
        totals = _Totals()
        largest: list[tuple[int, str, dict[str, Any]]] = []
        in_all = 0
        for project in self._ledger.all_counts():
            states = totals.add(project)
            if project.state is not ProjectState.DELETED or any(tally.objects for tally in states.values()):
                in_all += 1
                # the largest are shown: an answer of a function ends at 6 MB
                line = (states[State.STORED].objects, project.project_id, {"state": project.state.value, "counts": _counts(states)})
                heapq.heappush(largest, line) if len(largest) < PROJECTS_SHOWN else heapq.heappushpop(largest, line)
        run = self._latest_run()
        by_class = run.document["counts"] if run is not None else {}
        counted = None
        if run is not None:
            counted = self._counted(run, by_class.get("bucket", _NOTHING), by_class.get("ledger", {}).get("stored", _NOTHING))
        return {
            "as_of": self._now(),
            **_sides(totals, counted, by_class),
            **self._recounted(),
            "findings": None if run is None else {name: by_class.get(name, _NOTHING) for name in _TROUBLES},
            "projects": [{"project_id": project_id, **line} for _, project_id, line in sorted(largest, key=lambda shown: shown[1])],
            "projects_in_all": in_all,
        }

    def project(self, project_id: str) -> dict[str, Any]:
        """Returns counts and bytes of one project in every dimension, beside the bucket's count of it. Raises ProjectNotFound."""
        project = self._ledger.project(project_id)
        totals = _Totals()
        totals.add(self._ledger.project_counts(project.project_id))
        run = self._latest_run()
        counted, by_class = None, {}
        if run is not None:
            count = count_of_project(self._operations, run, project_stem(project.project_id))
            counted, by_class = self._counted(run, count["bucket"], count["ledger"]), count["classes"]
        return {
            "as_of": self._now(),
            "project_id": project.project_id,
            "state": project.state.value,
            **_sides(totals, counted, by_class),
            **self._recounted(),
        }

    def keep_day(self) -> dict[str, Any]:
        """Keeps the figures of this moment as those of this day, over older ones of the day, and returns them."""
        overall, at = self.overall(), self._now()
        day = f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d}"
        figures = {name: overall[name] for name in ("records", "stored", "counts", "drift", "acknowledged")}
        bucket = overall["bucket"] and {name: value for name, value in overall["bucket"].items() if name != "age_seconds"}
        document = {"day": day, "at": at, **figures, "bucket": bucket, **(overall["findings"] or dict.fromkeys(_TROUBLES))}
        self._operations.put(HISTORY, f"day#{day}", None, document, created_at=at, status="KEPT", expires_at=at + KEEP_MS)
        return document

    def keep_run(self, run_id: str) -> dict[str, Any] | None:
        """Keeps the figures of a complete run, and returns them; None of a run that is not complete.

        Nor are those of an inventory's run kept: its bucket is of another day than its ledger, so that its drift is none.
        """
        run = self._operations.get(run_id)
        if run is None or run.status != "COMPLETE" or "inventory" in run.document:
            return None
        counts, at = run.document["counts"], run.document["finished_at"]
        ledger: Mapping[str, Mapping[str, int]] = counts.get("ledger", {})
        states = {state.value: dict(ledger.get(state.lower(), _NOTHING)) for state in State}
        bucket, stored = counts.get("bucket", _NOTHING), states[State.STORED]
        document = {
            "run_id": run_id,
            "finished_at": at,
            "records": {name: sum(tally[name] for tally in states.values()) for name in _NOTHING},
            "stored": stored,
            "counts": states,
            "bucket": {"objects": bucket["objects"], "bytes": bucket["bytes"], "run_id": run_id, "counted_at": at},
            "drift": {name: bucket[name] - stored[name] for name in _NOTHING},
            "acknowledged": counts.get("acknowledged", _NOTHING),
            **{name: counts.get(name, _NOTHING) for name in _TROUBLES},
        }
        self._operations.put(HISTORY, f"run#{at:015d}#{run_id}", None, document, created_at=at, status="KEPT", expires_at=at + KEEP_MS)
        return document

    def history(self, days: int) -> dict[str, Any]:
        """Returns the figures of the last days, today's last, and of the complete runs in that time, both oldest first.

        Of the runs the newest MAX_RUNS; `more_runs` says whether that leaves out any of that time.
        """
        since = self._now() - days * _DAY_MS
        first = f"{datetime.fromtimestamp(since / 1000, UTC):%Y-%m-%d}"
        by_day, _ = self._operations.parts(HISTORY, "day#", MAX_DAYS, forward=False)
        by_run, further = self._operations.parts(HISTORY, "run#", MAX_RUNS, forward=False)
        runs = [row.document for row in reversed(by_run) if row.document["finished_at"] > since]
        return {
            "days": [row.document for row in reversed(by_day) if row.document["day"] > first],
            "runs": runs,
            "more_runs": further is not None and len(runs) == len(by_run),
        }

    def runs(self, limit: int) -> list[Operation]:
        """Reads the newest reconciliations."""
        return self._operations.recent(RECONCILIATION, limit)

    def deletions(self, limit: int) -> list[Operation]:
        """Reads the newest project deletions."""
        return self._operations.recent(DELETION, limit)

    def _latest_run(self) -> Operation | None:
        latest = self._operations.get("latest", RECONCILIATION)
        return self._operations.get(latest.document["run_id"]) if latest else None

    def _counted(self, run: Operation, bucket: Mapping[str, int], ledger: Mapping[str, int]) -> dict[str, Any]:
        """Returns the bucket's count of a run, and how far the ledger of that very walk was from it."""
        at = run.document["finished_at"]
        counted = {
            "objects": bucket["objects"],
            "bytes": bucket["bytes"],
            "run_id": run.operation_id,
            "counted_at": at,
            "age_seconds": max(self._now() - at, 0) // 1000,
        }
        return {"bucket": counted, "drift": {name: bucket[name] - ledger[name] for name in _NOTHING}, "stored_then": ledger["objects"]}

    def _recounted(self) -> dict[str, Any]:
        """Says when all counts were last compared with the records themselves, and what came of it."""
        latest = self._operations.get("latest", RECOUNT)
        if latest is None:
            return {"recounted_at": None, "recount": None}
        told = {name: value for name, value in latest.document.items() if name != "finished_at"}
        return {"recounted_at": latest.document["finished_at"], "recount": told}


_NOTHING: Mapping[str, int] = {"objects": 0, "bytes": 0}


class _Totals:
    """The sums over projects."""

    def __init__(self) -> None:
        self.states: dict[State, Tally] = dict.fromkeys(State, Tally())
        self.cells: dict[str, dict[str, list[int]]] = {dimension: {} for dimension in DIMENSIONS}

    def add(self, project: ProjectCounts) -> dict[State, Tally]:
        """Adds a project, and returns its counts by state."""
        states = project.states
        for state, tally in states.items():
            self.states[state] += tally
        for dimension, name, objects, size in project.stored():
            cell = self.cells[dimension].setdefault(name, [0, 0])
            cell[0] += objects
            cell[1] += size
        return states

    @property
    def unattributed(self) -> dict[str, int]:
        """What is stored and in no dimension."""
        stored = self.states[State.STORED]
        return _less([stored.objects, stored.bytes], self._sum("layout"))

    def _sum(self, dimension: str) -> list[int]:
        return [sum(cell[place] for cell in self.cells[dimension].values()) for place in range(2)]

    def lines(self, dimension: str) -> list[dict[str, Any]]:
        """Returns what is stored in each cell of a dimension, the largest first, and the rest together."""
        cells = {name: {"objects": objects, "bytes": size} for name, (objects, size) in self.cells[dimension].items()}
        without = _less(self._sum("layout"), self._sum(dimension))  # none of those without one is in a cell of its own
        cells[NONE] = _plus(cells.get(NONE, _NOTHING), without)
        rest = cells.pop(OTHER, _NOTHING)
        ranked = sorted((cell for cell in cells.items() if any(cell[1].values())), key=lambda cell: (-cell[1]["objects"], cell[0]))
        for _, cell in ranked[CELLS_SHOWN:]:
            rest = _plus(rest, cell)
        named = [*ranked[:CELLS_SHOWN], *([(OTHER, rest)] if any(rest.values()) else [])]
        return [{"name": name, **cell} for name, cell in sorted(named, key=lambda cell: -cell[1]["objects"])]


def _less(whole: Sequence[int], part: Sequence[int]) -> dict[str, int]:
    return {"objects": whole[0] - part[0], "bytes": whole[1] - part[1]}


def _plus(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one[name] + other[name] for name in _NOTHING}


def _tally(tally: Tally) -> dict[str, int]:
    return {"objects": tally.objects, "bytes": tally.bytes}


def _counts(counts: Mapping[State, Tally]) -> dict[str, Any]:
    return {state.value: _tally(counts.get(state, Tally())) for state in State}


def _sides(totals: _Totals, counted: Mapping[str, Any] | None, by_class: Mapping[str, Any]) -> dict[str, Any]:
    stored = totals.states[State.STORED]
    return {
        "records": _tally(sum(totals.states.values(), Tally())),
        "stored": _tally(stored),
        "counts": _counts(totals.states),
        "bucket": counted["bucket"] if counted else None,
        "drift": counted["drift"] if counted else None,
        "acknowledged": by_class.get("acknowledged", _NOTHING) if counted else None,
        **{f"by_{dimension}": totals.lines(dimension) for dimension in DIMENSIONS},
        "unattributed": totals.unattributed,
        "explanation": counts_explained(totals.states, counted, by_class, totals.unattributed["objects"]),
    }
