"""Reconciliation: compare bucket and ledger, key by key, and report every difference.

```
plan -> (sort the inventory) -> walk range 0..n side by side, each from its cursor -> summarise -> (by request) repair
```

A run is an operation. Its ranges, findings and counts are parts of it, written so that a step killed anywhere and started again writes
the same rows: a range's cursor and totals are saved together, and findings behind the cursor are removed before it goes on.

One run or repair at a time: `lease`. A run that is over, whatever ended it, has no open range, and a step writes only into an open one.

Comparing changes nothing; `repair` acts, by request.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from stocktake.errors import (
    BucketNotFound,
    Conflict,
    InventoryUnusable,
    ListingOutOfOrder,
    OperationNotFound,
    RecordChanged,
    RunIncomplete,
    RunInProgress,
    StocktakeError,
    StorageDenied,
    WrongRegion,
)
from stocktake.explanations import explained
from stocktake.identity import Identity
from stocktake.inventory import Inventories
from stocktake.layouts import Registry
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.reconciliation import doubts
from stocktake.reconciliation.cost import Meter, Prices, bill, expected
from stocktake.reconciliation.cutting import MAX_RANGES, PIECES, cut_again, cuts, ranges_of
from stocktake.reconciliation.lease import Held, Lease, Work
from stocktake.reconciliation.selection import Wanted, selected
from stocktake.reconciliation.totals import PROJECTS_PER_PART, added_up, nested, project_row, projects_part
from stocktake.reconciliation.walking import PROGRESS, Walker, number_of, range_part
from stocktake.storage import Store

KIND = "reconciliation"
SKEW_BORNE_MS = 60_000
"""A store's clock is told to the second and asked over a network; what is further off lengthens the grace window."""
STEPS_A_ROUND = 3
"""Of a range, some fifteen minutes, before what is left of it is cut again."""
SAMPLED_KEYS = 100_000
"""Of one shard, for an estimate before the first run: as many as an API call has time to read."""

_ALIVE = ("REQUESTED", "RUNNING")
_ROWS: Mapping[Work, tuple[str, ...]] = {"compare": ("",), "apply": ("repair", "restoration")}
"""Which rows of a run say that it is at work."""
_OF_THE_BUCKET = (RunIncomplete, WrongRegion, BucketNotFound, StorageDenied)
"""What a plan meets when the bucket is not the one it should be: said on the run, and not tried again."""


class Reconciliations:
    """The reconciliation flow: runs and their findings.

    Args:
        identity: says whether the bucket is the one this ledger describes.
        inventories: what a run may read in place of the bucket's listing.
        grace_ms: what is younger is never a finding; longer than the slowest upload.
        meter: counts what this process sends.
        prices: what the store asks; None to leave dollars out.
        memory_gb: of the function that walks.
        workers: how many of it walk at once.
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
        inventories: Inventories,
        grace_ms: int,
        meter: Meter,
        prices: Prices | None,
        memory_gb: float,
        workers: int,
        launch: Callable[[Mapping[str, Any]], None],
        report: Callable[[str, Mapping[str, Any]], None],
        now: Callable[[], int],
        new_id: Callable[[int], str],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self.lease = Lease(operations, now=now)
        self._inventories = inventories
        self._walker = Walker(store, ledger, operations, layouts, inventories=inventories, lease=self.lease, meter=meter, now=now)
        self._meter = meter
        self._prices = prices
        self._memory_gb = memory_gb
        self._workers = workers
        self._identity = identity
        self._grace_ms = grace_ms
        self._launch = launch
        self._report = report
        self._now = now
        self._new_id = new_id

    def request(self, *, accept_loss: bool = False, inventory: str | None = None) -> Operation:
        """Starts a run; it goes on in the state machine.

        Args:
            accept_loss: whoever asks knows why bucket or ledger lost much since the last run.
            inventory: the manifest of an inventory that is read in place of the bucket's listing, as `s3://BUCKET/KEY`.

        Raises:
            RunInProgress: another run or repair is alive.
            InventoryUnusable: the inventory cannot be compared; nothing was started.
            MessagingError: the state machine did not take it; the run is FAILED.
        """
        told = {}
        if inventory is not None:
            manifest = self._inventories.manifest(inventory)
            told = {"inventory": {"location": inventory, "created_at": manifest.created_at, "files": len(manifest.files), "sorted": 0}}
        run_id = self._new_id(self._now())
        self.take(run_id, "compare")
        run = self._begin(run_id, accept_loss=accept_loss, **told)
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

    def findings(self, run_id: str, wanted: Wanted | None, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Reads one page of a run's findings, all or those wanted; see `selected`. Raises OperationNotFound."""
        self.run(run_id)
        rows, following = selected(self._operations, run_id, wanted or Wanted(), limit, cursor)
        return [explained({**row.document, "repair": row.status}) for row in rows], following

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
        if run.document.get("previous") is None and not first_run:
            raise RunIncomplete(
                f"reconciliation {run_id} is the first complete one of this ledger, which only reports: read its findings, and if they are "
                'what you expect, ask again with "first_run": true, or act on the next run'
            )
        self._identity.check()
        return run

    def check_bucket(self) -> None:
        """Makes sure that the bucket is the one this ledger describes, before anything is done to it.

        Raises:
            RunIncomplete, WrongRegion: it is not, or the clocks are too far apart.
            StorageError: it does not answer.
        """
        self._identity.check()

    def stop(self, run_id: str) -> Operation:
        """Ends a run, or its repair, wherever it is: what was found stays readable, and is never acted on.

        Raises:
            OperationNotFound: there is no such run.
            Conflict: it has ended, and so has its repair.
        """
        run = self.run(run_id)
        acting = {row.status for part in _ROWS["apply"] if (row := self._operations.get(run_id, part)) is not None}
        if "RUNNING" in acting:
            self._close(run_id, "apply", "STOPPED", "it was stopped by request")
            self.lease.free(run_id, "apply")  # or its step does, which may be at an object
        elif run.status in _ALIVE or run.status == "STOPPED":
            self._end(run, "STOPPED", "it was stopped by request")
        elif "STOPPED" not in acting:
            raise Conflict(f"reconciliation {run_id} has ended ({run.status.lower()}): there is nothing to stop")
        return self.run(run_id)

    def take(self, run_id: str, work: Work) -> Held:
        """Takes the lease for a run or its repair, and closes what a dead holder left open. Raises RunInProgress."""
        try:
            held = self.lease.take(run_id, work)
        except RunInProgress as refusal:
            # it says that it has ended a moment before it gives the lease back, and may have died in between
            if not self._is_over(refusal):
                raise
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

    def _is_over(self, refusal: RunInProgress) -> bool:
        """Says whether the holder of the lease has ended, and if so does for it what it may not have done yet."""
        # a restoration has the lease as a repair has it, and the run's repair ended before it
        parts = _ROWS[refusal.work] if refusal.run_id else ()
        rows = [row for part in parts if (row := self._operations.get(refusal.run_id, part)) is not None]
        if not rows or any(row.status in _ALIVE for row in rows):
            return False
        if refusal.work == "compare":
            self._close_ranges(refusal.run_id)
            if rows[0].status == "COMPLETE":
                self._show(rows[0])
        # where it has the lease under another number than these, it has begun anew and has not written that down yet
        fences = [row.document["fence"] for row in rows if "fence" in row.document]
        self.lease.free(refusal.run_id, refusal.work, max(fences, default=None))
        return True

    def plan(self, run_id: str) -> dict[str, Any]:
        """Opens the run if it is not open yet, makes sure it looks at the right bucket, and cuts the keys into ranges.

        Returns `{"run_id", "ranges": [{"run_id", "number", "steps", "done"}], "walks", "sorts", "workers"}` for the state machine. `walks`
        is False where there is nothing to do: another run is alive, and this one ends SKIPPED; or it was stopped before it began. `sorts`
        is True where an inventory has to be sorted first.

        Raises:
            RunIncomplete, WrongRegion, BucketNotFound, StorageDenied: the bucket is not the one this ledger describes.
        """
        self._meter.taken()  # what this process sent before was for something else
        run = self._begin(run_id)
        if run.status not in _ALIVE:
            return self._round(run_id, ())
        try:
            held = self.take(run_id, "compare")
        except RunInProgress as refusal:
            self._operations.update(run, document={**run.document, "finished_at": self._now(), "why": str(refusal)}, status="SKIPPED")
            return self._round(run_id, ())
        try:
            skew = self._identity.check().skew_ms or 0
        except _OF_THE_BUCKET as doubt:
            self._end(run, "INCOMPLETE", str(doubt))
            raise
        previous = self._latest()
        cut = self._cuts(run_id, previous)
        document = {
            # what was kept by a plan before this one goes on: it must be compared with the same run
            "previous": previous.operation_id if previous else None,
            "cost": {"estimated": self.estimate()},
            "walking_since": self._now(),
            "clock_skew_ms": skew,
            **run.document,
            "grace_ms": self._grace_ms + (abs(skew) if abs(skew) > SKEW_BORNE_MS else 0),
            "fence": held.fence,
            "ranges": len(cut) + 1,
            "spent": self._meter.taken(),
        }
        run = self._operations.update(run, document=document, status="RUNNING")
        for number, (after, until) in enumerate(zip(["", *cut], [*cut, None], strict=True)):
            self._open(run, number, after, until)
        return self._round(run_id, range(len(cut) + 1), sorts="inventory" in document)

    def sort_inventory(self, run_id: str, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Sorts the files of a run's inventory, one after the other, until all are sorted or time is short; answers `{"run_id", "done"}`.

        A file that is not what its manifest says ends the run INCOMPLETE, and so does an inventory of a part of the bucket.

        Raises:
            LeaseLost: another run took its place.
        """
        run = self.run(run_id)
        try:
            while run.status == "RUNNING" and run.document["inventory"]["sorted"] < run.document["inventory"]["files"]:
                self.lease.keep(run_id, run.document["fence"])
                told = run.document["inventory"]
                manifest = self._inventories.manifest(told["location"])
                if (manifest.created_at, len(manifest.files)) != (told["created_at"], told["files"]):
                    raise InventoryUnusable(f"the manifest at {told['location']} is another than when this run was asked for")
                self._inventories.sort(run_id, manifest, told["sorted"])
                document = {**run.document, "inventory": {**told, "sorted": told["sorted"] + 1}}
                run = self._operations.update(run, document=document)
                if out_of_time():
                    break
            if run.status == "RUNNING" and run.document["inventory"]["sorted"] == run.document["inventory"]["files"]:
                self._inventories.check_whole(run_id, run.document["inventory"]["files"])
        except InventoryUnusable as doubt:
            self._end(run, "INCOMPLETE", str(doubt))
            return {"run_id": run_id, "done": True}
        return {
            "run_id": run_id,
            "done": run.status != "RUNNING" or run.document["inventory"]["sorted"] == run.document["inventory"]["files"],
        }

    def plan_again(self, run_id: str, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Cuts again what is not walked yet, so that every worker has some of it, and answers as `plan` does.

        A range that there is no time left to cut is walked on as it is.

        Raises:
            LeaseLost: another run took its place.
        """
        self._meter.taken()
        run = self.run(run_id)
        if run.status != "RUNNING":
            return self._round(run_id, ())
        self.lease.keep(run_id, run.document["fence"])
        rows = [row for row in self._operations.all_parts(run_id, "range#") if row.status == "OPEN" or "split" in row.document]
        for row in rows:
            self._open_pieces(run, row)  # of a cut that was killed on the way
        still = [row for row in rows if row.status == "OPEN"]
        ranges, numbers = run.document["ranges"], [number_of(row.part) for row in still]
        pieces = min(PIECES, 2 * self._workers // len(still)) if still else 0
        for row in still:
            if out_of_time():
                break
            found = cut_again(self._store, row.document["cursor"], row.document["until"], pieces)
            if not found or ranges + len(found) > MAX_RANGES:
                continue
            # the numbers are kept before their rows are, and where this one ends with them: a cut that is made again makes the same
            self._count_ranges(run_id, ranges + len(found))
            ends = [*found[1:], row.document["until"]]
            split = [(ranges + place, after, until) for place, (after, until) in enumerate(zip(found, ends, strict=True))]
            row = self._operations.update(row, document={**row.document, "until": found[0], "split": split})
            self._open_pieces(run, row)
            numbers += [number for number, _, _ in split]
            ranges += len(found)
        return self._round(run_id, sorted(numbers))

    def _count_ranges(self, run_id: str, ranges: int) -> None:
        run = self.run(run_id)
        self._operations.update(run, document={**run.document, "ranges": ranges})

    def _open_pieces(self, run: Operation, row: Operation) -> None:
        for number, after, until in row.document.get("split", ()):
            self._open(run, number, after, until)

    def _open(self, run: Operation, number: int, after: str, until: str | None) -> None:
        document: dict[str, Any] = {
            "after": after,
            "until": until,
            "cursor": after,
            "counts": {},
            "projects": {},
            "flushed": 0,
            "fence": run.document["fence"],
        }
        self._operations.put_new(run.operation_id, range_part(number), None, document, created_at=self._now(), status="OPEN")

    def _round(self, run_id: str, numbers: Iterable[int], *, sorts: bool = False) -> dict[str, Any]:
        ranges = [{"run_id": run_id, "number": number, "steps": 0, "done": False} for number in numbers]
        return {"run_id": run_id, "ranges": ranges, "walks": bool(ranges), "sorts": sorts, "workers": self._workers}

    def walk(self, run_id: str, number: int, *, out_of_time: Callable[[], bool], steps: int = 0) -> dict[str, Any]:
        """Compares one range; see `Walker.walk`. Where the listing turns out not to be in order, begins it again by a sort.

        Args:
            steps: how many of this round this range has had.

        Returns:
            `{"run_id", "number", "steps", "done"}`; done when the range ends, or has had its steps and may be cut again.
        """
        try:
            walked = self._walker.walk(run_id, number, out_of_time=out_of_time)
        except ListingOutOfOrder as broken:
            walked = self._walker.begin_sorted(run_id, number, broken)
        return {**walked, "steps": steps + 1, "done": walked["done"] or steps + 1 >= STEPS_A_ROUND}

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
        self._meter.taken()
        run_id = run.operation_id
        self.lease.keep(run_id, run.document["fence"])
        spent: Counter[str] = Counter(run.document["spent"])
        is_sorted = set[bool]()
        bounds = list[tuple[str, str | None]]()

        def noted() -> Iterator[Operation]:
            for row in self._operations.all_parts(run_id, "range#"):
                if row.status != "COUNTED":
                    is_sorted.add(row.document.get("sorted", False))
                    bounds.append((row.document["after"], row.document["until"]))
                spent.update(row.document.get("spent", {}))
                yield row

        counts, projects, open_ranges = added_up(noted())
        doubt = f"{len(open_ranges)} ranges were not walked to their end" if open_ranges else None
        if doubt is None and not doubts.is_whole(bounds):
            doubt = "the ranges that were walked are not all the keys, each once: a row of this run is lost; start a new run"
        if doubt is None and len(is_sorted) == 2:
            doubt = "the store listed out of order in some ranges, so the others may lack keys: start a new run, which sorts the listing"
        doubt = doubt or self._doubt(run, counts)
        at = self._now()
        rows = -(-len(projects) // PROJECTS_PER_PART) or 1
        for number in range(rows):
            tallies = {name: tally for name, tally in projects.items() if project_row(name, rows) == number}
            self._operations.put_while(run, run_id, projects_part(number), {"projects": tallies}, created_at=at, status="COUNTED")
        status = "INCOMPLETE" if doubt else "COMPLETE"
        spent.update(self._meter.taken())
        records = sum(number for name, number in counts.items() if name.startswith("ledger.") and name.endswith(".objects"))
        cost = {**run.document["cost"], "counted": bill(spent, records, self._prices, self._memory_gb)}
        document = {
            **run.document,
            "finished_at": at,
            "counts": nested(counts),
            "project_rows": rows,
            "why": doubt,
            "cost": cost,
            "spent": dict(spent),
        }
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
        counted, inventory = nested(counts), run.document.get("inventory")
        if inventory and (why := doubts.left_out(counted)):
            return why
        if why := doubts.unreadable(counted):
            return why
        previous = self._operations.get(run.document["previous"]) if run.document["previous"] else None
        if previous is None or run.document.get("accept_loss"):
            return None
        return doubts.lost(previous.document["counts"], counted)

    def _show(self, run: Operation) -> None:
        """Makes a complete run the one whose counts are shown, unless a newer one is, or it counted an inventory, which is older."""
        if "inventory" in run.document:
            return
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

    def _begin(self, run_id: str, *, accept_loss: bool = False, **told: Any) -> Operation:
        at = self._now()
        document: dict[str, Any] = {"started_at": at, "grace_ms": self._grace_ms, **told}
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
        row = None
        for part in _ROWS[work]:
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
        told = run.document["cost"]["estimated"]
        awaited = None if told["at_least"] else max(told["objects"], told["records"])
        return {
            "keys": keys,
            "keys_per_second": round(rate),
            # of what the run before saw: it may turn out to be more
            "share": min(1.0, round(keys / awaited, 3)) if awaited else None,
            "seconds_left": round(max(awaited - keys, 0) / rate) if awaited and rate else None,
        }

    def estimate(self) -> dict[str, Any]:
        """Says what a run would cost and how long it would take, by the last complete run; before there is one, by a part of the ledger."""
        last = self._latest()
        if last is None:
            sample = sum(1 for _ in islice(self._ledger.shard_keys(0), SAMPLED_KEYS))
            objects = records = sample * self._ledger.shards
            ranges = ranges_of(objects)
            spent, seconds, at_least = expected(objects, records, ranges), None, sample == SAMPLED_KEYS
        else:
            counts, ranges = last.document["counts"], last.document["ranges"]
            objects = counts.get("bucket", {}).get("objects", 0)
            records = sum(tally["objects"] for tally in counts.get("ledger", {}).values())
            spent = last.document.get("spent") or expected(objects, records, ranges)
            seconds, at_least = (last.document["finished_at"] - last.document["started_at"]) // 1000, False
        return {
            "by_run": last.operation_id if last else None,
            "objects": objects,
            "records": records,
            "at_least": at_least,
            "ranges": ranges,
            "seconds": seconds,
            **bill(spent, records, self._prices, self._memory_gb),
        }

    def _latest(self) -> Operation | None:
        latest = self._operations.get("latest", KIND)
        return self._operations.get(latest.document["run_id"]) if latest else None

    def _cuts(self, run_id: str, previous: Operation | None) -> list[str]:
        """Reads where this run is cut; kept before they are used: a plan that is made again must cut at the same keys."""
        kept = self._operations.get(run_id, "cuts")
        if kept is None:
            document = {"cuts": cuts(self._store, self._ledger, self._counted(previous))}
            self._operations.put_new(run_id, "cuts", None, document, created_at=self._now(), status="KEPT")
            kept = self._operations.get(run_id, "cuts")
        assert kept is not None  # written above
        return list(kept.document["cuts"])

    def _counted(self, previous: Operation | None) -> list[tuple[str | None, int]]:
        """Says of a run's ranges, in the order of their keys, where each ends and how many keys it had."""
        if previous is None:
            return []
        rows = [row.document for row in self._operations.all_parts(previous.operation_id, "range#") if row.status == "DONE"]
        return [(row["until"], _keys(row["counts"])) for row in sorted(rows, key=lambda row: str(row["after"]))]


def _keys(counts: Mapping[str, int]) -> int:
    records = sum(number for name, number in counts.items() if name.startswith("ledger.") and name.endswith(".objects"))
    return max(counts.get("bucket.objects", 0), records)


def run_of_execution(execution: str) -> str:
    """Names the run of a scheduled execution, which comes without one: the same at every retry of its steps."""
    return f"scheduled-{hashlib.sha256(execution.encode()).hexdigest()[:20]}"
