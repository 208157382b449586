"""Reconciliation: compare bucket and ledger, key by key, and report every difference.

```
plan -> walk range 0..n side by side, each from its cursor -> summarise -> (by request) repair
```

A run is an operation. Its ranges, findings and counts are parts of it, written so that a step killed anywhere and started again writes
the same rows: a range's cursor and totals are saved together, findings are named by their key.

Comparing changes nothing; `repair` acts, by request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from stocktake.errors import OperationNotFound, RunIncomplete
from stocktake.explanations import explained
from stocktake.identity import Identity
from stocktake.layouts import Registry
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.reconciliation.selection import Wanted, selected
from stocktake.reconciliation.totals import PROJECTS_PER_PART, added_up, nested, project_row, projects_part
from stocktake.reconciliation.walking import Walker, range_part
from stocktake.storage import Store

KIND = "reconciliation"
KEYS_PER_RANGE = 50_000
MAX_RANGES = 64


class Reconciliations:
    """The reconciliation flow: runs and their findings.

    Args:
        identity: says whether the bucket is the one this ledger describes.
        grace_ms: what is younger is never a finding; longer than the slowest upload.
        launch: starts the state machine for `{"action", "run_id"}`.
        report: writes a report under a name.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        operations: Operations,
        layouts: Registry,
        *,
        identity: Identity,
        grace_ms: int,
        launch: Callable[[Mapping[str, Any]], None],
        report: Callable[[str, Mapping[str, Any]], None],
        now: Callable[[], int],
        new_id: Callable[[int], str],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self._walker = Walker(store, ledger, operations, layouts, grace_ms=grace_ms, now=now)
        self._identity = identity
        self._grace_ms = grace_ms
        self._launch = launch
        self._report = report
        self._now = now
        self._new_id = new_id

    def request(self) -> Operation:
        """Starts a run; it goes on in the state machine."""
        run = self._begin(self._new_id(self._now()))
        self._launch({"action": "compare", "run_id": run.operation_id})
        return run

    def run(self, run_id: str) -> Operation:
        """Reads a run. Raises OperationNotFound."""
        run = self._operations.get(run_id)
        if run is None or run.kind != KIND:
            raise OperationNotFound(f"there is no reconciliation {run_id!r}: GET /reconciliations lists the newest")
        return run

    def recent(self, limit: int) -> list[Operation]:
        """Reads the newest runs."""
        return self._operations.recent(KIND, limit)

    def findings(self, run_id: str, wanted: Wanted | None, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Reads one page of a run's findings, all or those wanted; see `selected`. Raises OperationNotFound."""
        self.run(run_id)
        rows, following = selected(self._operations, run_id, wanted or Wanted(), limit, cursor)
        return [explained({**row.document, "repair": row.status}) for row in rows], following

    def plan(self, run_id: str) -> dict[str, Any]:
        """Opens the run if it is not open yet, makes sure it looks at the right bucket, and cuts the keys into ranges.

        Returns `{"run_id", "ranges": [{"run_id", "number", "done"}]}` for the state machine.

        Raises:
            RunIncomplete: the bucket is not the one this ledger describes.
        """
        run = self._begin(run_id)
        try:
            self._identity.check()
        except RunIncomplete as doubt:
            self.fail(run.operation_id, str(doubt))
            raise
        if "cuts" not in run.document:
            latest = self._operations.get("latest", KIND)
            previous = latest.document["run_id"] if latest else None
            # kept before they are used: a plan that is made again must cut at the same keys, and compare with the same run
            run = self._operations.update(run, document={**run.document, "cuts": self._cuts(), "previous": previous})
        bounds = ["", *run.document["cuts"], None]
        ranges = []
        for number, (after, until) in enumerate(pairwise(bounds)):
            document: dict[str, Any] = {"after": after, "until": until, "cursor": after, "counts": {}, "projects": {}, "flushed": 0}
            self._operations.put_new(run.operation_id, range_part(number), None, document, created_at=self._now(), status="OPEN")
            ranges.append({"run_id": run.operation_id, "number": number, "done": False})
        self._operations.update(run, document={**run.document, "ranges": len(ranges)}, status="RUNNING")
        return {"run_id": run.operation_id, "ranges": ranges}

    def walk(self, run_id: str, number: int, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Compares one range; see `Walker.walk`."""
        return self._walker.walk(run_id, number, out_of_time=out_of_time)

    def summarise(self, run_id: str) -> dict[str, Any]:
        """Adds up the ranges and ends the run: COMPLETE, or INCOMPLETE with the reason when the result is not to be acted on."""
        run = self.run(run_id)
        counts, projects, open_ranges = added_up(self._operations.all_parts(run_id, "range#"))
        doubt = None
        if open_ranges:
            doubt = f"{len(open_ranges)} ranges were not walked to their end"
        elif counts["bucket.objects"] == 0 and counts["ledger.stored.objects"] > 0:
            stored = counts["ledger.stored.objects"]
            doubt = f"the bucket lists no object while the ledger has {stored} stored: check bucket, endpoint and region"
        at = self._now()
        rows = -(-len(projects) // PROJECTS_PER_PART) or 1
        for number in range(rows):
            tallies = {name: tally for name, tally in projects.items() if project_row(name, rows) == number}
            self._operations.put(run_id, projects_part(number), None, {"projects": tallies}, created_at=at, status="COUNTED")
        status = "INCOMPLETE" if doubt else "COMPLETE"
        document = {**run.document, "finished_at": at, "counts": nested(counts), "project_rows": rows, "why": doubt}
        self._report(f"reconciliations/{run_id}.json", {"run_id": run_id, "status": status, **document})
        self._operations.update(run, document=document, status=status)
        if not doubt and self._is_newest(run):
            self._operations.put("latest", KIND, None, {"run_id": run_id, "finished_at": at}, created_at=at, status=status)
        return {"run_id": run_id, "status": status}

    def _is_newest(self, run: Operation) -> bool:
        latest = self._operations.get("latest", KIND)
        shown = self._operations.get(latest.document["run_id"]) if latest else None
        return shown is None or shown.created_at <= run.created_at

    def fail(self, run_id: str, error: str) -> dict[str, Any]:
        """Ends a run that broke off; its findings stay readable and are never acted on."""
        run = self._begin(run_id)
        self._operations.update(run, document={**run.document, "finished_at": self._now(), "why": error[:2000]}, status="FAILED")
        return {"run_id": run_id, "status": "FAILED"}

    def _begin(self, run_id: str) -> Operation:
        at = self._now()
        self._operations.put_new(run_id, "", KIND, {"started_at": at, "grace_ms": self._grace_ms}, created_at=at, status="REQUESTED")
        return self.run(run_id)

    def _cuts(self) -> list[str]:
        # an unordered store lists everything for every range: one range, one listing
        if not self._store.profile().ordered_listing:
            return []
        # a shard holds a fair sample of the keys, so its quantiles are the bucket's
        sample = list(self._ledger.shard_keys(0))
        pieces = min(MAX_RANGES, len(sample) * self._ledger.shards // KEYS_PER_RANGE + 1)
        return [sample[len(sample) * piece // pieces] for piece in range(1, pieces)]


def run_of_execution(execution: str) -> str:
    """Names the run of a scheduled execution, which comes without one: the same at every retry of its steps."""
    return f"scheduled-{hashlib.sha256(execution.encode()).hexdigest()[:20]}"
