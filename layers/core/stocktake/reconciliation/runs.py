"""Reconciliation: compare bucket and ledger, key by key, and report every difference.

```
plan -> walk range 0..n side by side, each from its cursor -> summarise -> (by request) repair
```

A run is an operation. Its ranges, findings and counts are parts of it, written so that a step killed anywhere and started again writes
the same rows: a range's cursor and totals are saved together, findings are named by their key.

One run or repair at a time: `lease`. A run that is over, whatever ended it, has no open range, and a step writes only into an open one.

Comparing changes nothing; `repair` acts, by request.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from stocktake.errors import (
    BucketNotFound,
    Conflict,
    OperationNotFound,
    RecordChanged,
    RunIncomplete,
    RunInProgress,
    StocktakeError,
    StorageDenied,
    WrongRegion,
)
from stocktake.identity import Identity
from stocktake.layouts import Registry
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.reconciliation.cutting import cuts
from stocktake.reconciliation.lease import Held, Lease, Work
from stocktake.reconciliation.totals import PROJECTS_PER_PART, nested, project_row, projects_part
from stocktake.reconciliation.walking import PROGRESS, Walker, range_part
from stocktake.storage import Store

KIND = "reconciliation"
SKEW_BORNE_MS = 60_000
"""A store's clock is told to the second and asked over a network; what is further off lengthens the grace window."""
LOST_PERCENT = 10
"""A bucket that lost more than this since the last complete run, beyond what the ledger let go, is in doubt."""
LOST_OBJECTS = 100
"""And no fewer objects than this: below, the percentage would doubt small buckets at every turn."""

_ALIVE = ("REQUESTED", "RUNNING")
_OF_THE_BUCKET = (RunIncomplete, WrongRegion, BucketNotFound, StorageDenied)
"""What a plan meets when the bucket is not the one it should be: said on the run, and not tried again."""


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
        self.lease = Lease(operations, now=now)
        self._walker = Walker(store, ledger, operations, layouts, lease=self.lease, now=now)
        self._identity = identity
        self._grace_ms = grace_ms
        self._launch = launch
        self._report = report
        self._now = now
        self._new_id = new_id

    def request(self, *, accept_loss: bool = False) -> Operation:
        """Starts a run; it goes on in the state machine.

        Args:
            accept_loss: whoever asks knows that the bucket lost much since the last run.

        Raises:
            RunInProgress: another run or repair is alive.
            MessagingError: the state machine did not take it; the run is FAILED.
        """
        run_id = self._new_id(self._now())
        self.take(run_id, "compare")
        run = self._begin(run_id, accept_loss=accept_loss)
        try:
            self._launch({"action": "compare", "run_id": run_id})
        except StocktakeError as error:
            self._end(run, "FAILED", str(error))
            raise
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

    def findings(self, run_id: str, finding_class: str | None, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Reads one page of a run's findings, of one class or all, in key order within a class. Raises OperationNotFound."""
        self.run(run_id)
        prefix = f"finding#{finding_class}#" if finding_class else "finding#"
        rows, following = self._operations.parts(run_id, prefix, limit, cursor)
        return [{**row.document, "repair": row.status} for row in rows], following

    def to_act_on(self, run_id: str, *, first_run: bool) -> Operation:
        """Reads a run whose findings may be acted on: it saw everything, and its bucket is still the one the ledger describes.

        Args:
            first_run: whoever asks has read what the first complete run of all reports.

        Raises:
            RunIncomplete: the run did not end COMPLETE, is the first one and nobody said so, or the bucket is another one by now.
            OperationNotFound: there is no such run.
            StorageError: the bucket does not answer, or is in another region.
        """
        run = self.run(run_id)
        if run.status != "COMPLETE":
            raise RunIncomplete(
                f"reconciliation {run_id} is {run.status.lower()} and cannot be acted on: start a new one and wait until it is complete"
            )
        if run.document["previous"] is None and not first_run:
            raise RunIncomplete(
                f"reconciliation {run_id} is the first complete one of this ledger, which only reports: read its findings, and if they are "
                'what you expect, ask again with "first_run": true, or act on the next run'
            )
        self._identity.check()
        return run

    def stop(self, run_id: str) -> Operation:
        """Ends a run, or its repair, wherever it is: what was found stays readable, and is never acted on.

        Raises:
            OperationNotFound: there is no such run.
            Conflict: it has ended, and so has its repair.
        """
        run = self.run(run_id)
        repair = self._operations.get(run_id, "repair")
        if repair is not None and repair.status == "RUNNING":
            self._close(run_id, "apply", "STOPPED", "it was stopped by request")
            self.lease.free(run_id, "apply")
        elif run.status in _ALIVE or run.status == "STOPPED":
            self._end(run, "STOPPED", "it was stopped by request")
        else:
            raise Conflict(f"reconciliation {run_id} has ended ({run.status.lower()}): there is nothing to stop")
        return self.run(run_id)

    def take(self, run_id: str, work: Work) -> Held:
        """Takes the lease for a run or its repair, and closes what a dead holder left open. Raises RunInProgress."""
        held = self.lease.take(run_id, work)
        try:
            for dead, was_at in held.ousted:
                self._close(dead, was_at, "FAILED", f"it ran out of time, and {work} of {run_id} took its place")
            if held.ousted:
                self.lease.settled(held)
        except StocktakeError:
            self.lease.free(run_id, work)  # it keeps in mind whom the next one has to close
            raise
        return held

    def plan(self, run_id: str) -> dict[str, Any]:
        """Opens the run if it is not open yet, makes sure it looks at the right bucket, and cuts the keys into ranges.

        Returns `{"run_id", "ranges": [{"run_id", "number", "done"}], "walks"}` for the state machine. `walks` is False where there is
        nothing to do: another run is alive, and this one ends SKIPPED; or it was stopped before it began.

        Raises:
            RunIncomplete, WrongRegion, BucketNotFound, StorageDenied: the bucket is not the one this ledger describes.
        """
        run = self._begin(run_id)
        nothing = {"run_id": run_id, "ranges": [], "walks": False}
        if run.status not in _ALIVE:
            return nothing
        try:
            held = self.take(run_id, "compare")
        except RunInProgress as refusal:
            self._operations.update(run, document={**run.document, "finished_at": self._now(), "why": str(refusal)}, status="SKIPPED")
            return nothing
        try:
            skew = self._identity.check().skew_ms or 0
        except _OF_THE_BUCKET as doubt:
            self._end(run, "INCOMPLETE", str(doubt))
            raise
        bounds = ["", *self._cuts(run_id), None]
        latest = self._operations.get("latest", KIND)
        document = {
            # what was kept by a plan before this one goes on: it must be compared with the same run
            "previous": latest.document["run_id"] if latest else None,
            "walking_since": self._now(),
            "clock_skew_ms": skew,
            **run.document,
            "grace_ms": self._grace_ms + (abs(skew) if abs(skew) > SKEW_BORNE_MS else 0),
            "fence": held.fence,
            "ranges": len(bounds) - 1,
        }
        run = self._operations.update(run, document=document, status="RUNNING")
        ranges = []
        for number, (after, until) in enumerate(pairwise(bounds)):
            piece: dict[str, Any] = {
                "after": after,
                "until": until,
                "cursor": after,
                "counts": {},
                "projects": {},
                "flushed": 0,
                "fence": held.fence,
            }
            self._operations.put_new(run_id, range_part(number), None, piece, created_at=self._now(), status="OPEN")
            ranges.append({"run_id": run_id, "number": number, "done": False})
        return {"run_id": run_id, "ranges": ranges, "walks": True}

    def walk(self, run_id: str, number: int, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Compares one range; see `Walker.walk`."""
        return self._walker.walk(run_id, number, out_of_time=out_of_time)

    def summarise(self, run_id: str) -> dict[str, Any]:
        """Adds up the ranges and ends the run: COMPLETE, or INCOMPLETE with the reason when the result is not to be acted on.

        Raises:
            LeaseLost, RecordChanged: the run was stopped, or another one took its place: nothing was written.
        """
        run = self.run(run_id)
        if run.status == "RUNNING":
            run = self._ended(run)
        if run.status == "COMPLETE":
            self._show(run)
        self.lease.free(run_id, "compare")
        return {"run_id": run_id, "status": run.status}

    def _ended(self, run: Operation) -> Operation:
        run_id = run.operation_id
        self.lease.keep(run_id, run.document["fence"])
        counts: Counter[str] = Counter()
        projects: dict[str, list[int]] = {}
        open_ranges = []
        for row in self._operations.all_parts(run_id, "range#"):
            if row.status == "OPEN":
                open_ranges.append(row.part)
            counts.update(row.document["counts"])
            for project, tally in row.document["projects"].items():
                projects[project] = [a + b for a, b in zip(projects.get(project, (0, 0, 0, 0)), tally, strict=True)]
        doubt = f"{len(open_ranges)} ranges were not walked to their end" if open_ranges else self._doubt(run, counts)
        at = self._now()
        rows = -(-len(projects) // PROJECTS_PER_PART) or 1
        for number in range(rows):
            tallies = {name: tally for name, tally in projects.items() if project_row(name, rows) == number}
            self._operations.put_while(run, run_id, projects_part(number), {"projects": tallies}, created_at=at, status="COUNTED")
        status = "INCOMPLETE" if doubt else "COMPLETE"
        document = {**run.document, "finished_at": at, "counts": nested(counts), "project_rows": rows, "why": doubt}
        run = self._operations.update(run, document=document, status=status)
        if open_ranges:
            self._close_ranges(run_id)
        self._report(f"reconciliations/{run_id}.json", {"run_id": run_id, "status": status, **document})
        return run

    def _doubt(self, run: Operation, counts: Mapping[str, int]) -> str | None:
        """Says why the whole of what was counted cannot be believed, or None."""
        objects, stored = counts.get("bucket.objects", 0), counts.get("ledger.stored.objects", 0)
        if objects == 0 and stored > 0:
            return f"the bucket lists no object while the ledger has {stored} stored: check bucket, endpoint and region"
        try:
            self._identity.check()
        except _OF_THE_BUCKET as doubt:
            return str(doubt)
        previous = self._operations.get(run.document["previous"]) if run.document["previous"] else None
        if previous is None or run.document.get("accept_loss"):
            return None
        had = previous.document["counts"].get("bucket", {}).get("objects", 0)
        let_go = previous.document["counts"].get("ledger", {}).get("stored", {}).get("objects", 0) - stored
        lost = had - objects - max(let_go, 0)
        if lost >= LOST_OBJECTS and lost * 100 > had * LOST_PERCENT:
            return (
                f"the bucket has {objects} objects and had {had} in the run before, and {lost} of the difference nobody asked for: look "
                'for the cause, and if it is known, start a run with "accept_loss": true'
            )
        return None

    def _show(self, run: Operation) -> None:
        """Makes a complete run the one whose counts are shown, unless a newer one is."""
        document = {"run_id": run.operation_id, "finished_at": run.document["finished_at"]}
        latest = self._operations.get("latest", KIND)
        if latest is None:
            if not self._operations.put_new("latest", KIND, None, document, created_at=self._now(), status=run.status):
                self._show(run)
            return
        shown = self._operations.get(latest.document["run_id"])
        if shown is not None and (shown.created_at, shown.operation_id) >= (run.created_at, run.operation_id):
            return
        try:
            self._operations.update(latest, document=document, status=run.status)
        except RecordChanged:
            self._show(run)

    def fail(self, run_id: str, error: str) -> dict[str, Any]:
        """Ends a run that broke off; its findings stay readable and are never acted on."""
        run = self._end(self._begin(run_id), "FAILED", error)
        return {"run_id": run_id, "status": run.status}

    def _begin(self, run_id: str, *, accept_loss: bool = False) -> Operation:
        at = self._now()
        document: dict[str, Any] = {"started_at": at, "grace_ms": self._grace_ms}
        if accept_loss:
            document["accept_loss"] = True
        self._operations.put_new(run_id, "", KIND, document, created_at=at, status="REQUESTED")
        return self.run(run_id)

    def _end(self, run: Operation, status: str, why: str) -> Operation:
        """Ends a run before its summary, if it has not ended by itself, and lets the next one begin. Saying it again is safe."""
        run = self._close(run.operation_id, "compare", status, why) or run
        self.lease.free(run.operation_id, "compare")
        return run

    def _close(self, run_id: str, work: Work, status: str, why: str) -> Operation | None:
        """Ends a run, or its repair, and closes what its steps write into, so that none of them writes again."""
        part = "" if work == "compare" else "repair"
        while (row := self._operations.get(run_id, part)) is not None and row.status in _ALIVE:
            try:
                document = {**row.document, "finished_at": self._now(), "why": why[:2000]}
                self._operations.update(row, document=document, status=status)
            except RecordChanged:
                continue
        if work == "compare":
            self._close_ranges(run_id)
        return row

    def _close_ranges(self, run_id: str) -> None:
        for part in [row.part for row in self._operations.all_parts(run_id, "range#") if row.status == "OPEN"]:
            while (row := self._operations.get(run_id, part)) is not None and row.status == "OPEN":
                try:
                    self._operations.update(row, status="CLOSED")
                except RecordChanged:
                    continue  # a step saved its cursor

    def progress(self, run: Operation) -> dict[str, Any] | None:
        """Says how far a run is that is still walking; None of any other."""
        if run.status != "RUNNING":
            return None
        row = self._operations.get(run.operation_id, PROGRESS)
        keys = row.counters.get("keys", 0) if row else 0
        seconds = (self._now() - run.document["walking_since"]) / 1000
        rate = keys / seconds if seconds > 0 else 0.0
        return {"keys": keys, "keys_per_second": round(rate)}

    def _cuts(self, run_id: str) -> list[str]:
        """Reads where this run is cut; kept before they are used: a plan that is made again must cut at the same keys."""
        kept = self._operations.get(run_id, "cuts")
        if kept is None:
            document = {"cuts": cuts(self._store, self._ledger)}
            self._operations.put_new(run_id, "cuts", None, document, created_at=self._now(), status="KEPT")
            kept = self._operations.get(run_id, "cuts")
        assert kept is not None  # written above
        return list(kept.document["cuts"])


def run_of_execution(execution: str) -> str:
    """Names the run of a scheduled execution, which comes without one: the same at every retry of its steps."""
    return f"scheduled-{hashlib.sha256(execution.encode()).hexdigest()[:20]}"
