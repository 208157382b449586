"""Reconciliation: compare bucket and ledger, key by key, and report every difference.

```
plan -> walk range 0..n side by side, each from its cursor -> summarise -> (by request) repair
```

A run is an operation. Its ranges, findings and counts are parts of it, written so that a step killed anywhere and started again writes
the same rows: a range's cursor and totals are saved together, findings are named by their key.

Nothing is called a finding on the word of a listing or an index alone: a pair that does not match is read again on both sides, and what is
younger than the grace window is left for the next run. Comparing changes nothing; `repair` acts, by request.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from stocktake.comparison import merge_join
from stocktake.errors import OperationNotFound, ProjectNotFound, RunIncomplete
from stocktake.findings import Finding, classify
from stocktake.identity import Identity
from stocktake.layouts import SYSTEM_PREFIX, ParsedKey, Registry, other_spellings, project_stem
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.model import FindingClass, LedgerEntry, ListedObject, Record, State, StoredObject
from stocktake.storage import Store
from stocktake.storage.ordering import stream

KIND = "reconciliation"
KEYS_PER_RANGE = 50_000
MAX_RANGES = 64
CHECK_EVERY = 1000
"""Keys between two looks at the clock."""
SAVE_EVERY = 20_000
"""Keys between two saved cursors: what a killed step walks again at most."""
PROJECTS_PER_PART = 2000
"""Projects counted in one row: 2,000 x about 120 bytes stays under DynamoDB's 400 KB."""
NOBODY = "(none)"
"""Counts objects that belong to no project the ledger knows."""


@dataclass(slots=True)
class _Totals:
    """What one range saw, kept with its cursor."""

    counts: Counter[str] = field(default_factory=Counter)
    projects: dict[str, list[int]] = field(default_factory=dict)
    flushed: int = 0

    def add(self, name: str, size: int) -> None:
        self.counts[f"{name}.objects"] += 1
        self.counts[f"{name}.bytes"] += size

    def own(self, project: str, size: int, *, side: int) -> None:
        """Counts an object for a project: side 0 is the bucket's, side 1 the ledger's."""
        tally = self.projects.setdefault(project, [0, 0, 0, 0])
        tally[2 * side] += 1
        tally[2 * side + 1] += size


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
        self._layouts = layouts
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

    def findings(self, run_id: str, finding_class: str | None, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Reads one page of a run's findings, of one class or all, in key order within a class. Raises OperationNotFound."""
        self.run(run_id)
        prefix = f"finding#{finding_class}#" if finding_class else "finding#"
        rows, following = self._operations.parts(run_id, prefix, limit, cursor)
        return [{**row.document, "repair": row.status} for row in rows], following

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
            # kept before they are used: a plan that is made again must cut at the same keys
            run = self._operations.update(run, document={**run.document, "cuts": self._cuts()})
        bounds = ["", *run.document["cuts"], None]
        ranges = []
        for number, (after, until) in enumerate(pairwise(bounds)):
            document: dict[str, Any] = {"after": after, "until": until, "cursor": after, "counts": {}, "projects": {}, "flushed": 0}
            self._operations.put_new(run.operation_id, _range(number), None, document, created_at=self._now(), status="OPEN")
            ranges.append({"run_id": run.operation_id, "number": number, "done": False})
        self._operations.update(run, document={**run.document, "ranges": len(ranges)}, status="RUNNING")
        return {"run_id": run.operation_id, "ranges": ranges}

    def walk(self, run_id: str, number: int, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Compares one range from its saved cursor on, until its end or until time is short.

        Returns `{"run_id", "number", "done"}`.

        Raises:
            StorageError, LedgerError: a page failed; started again, the walk goes on from the last saved cursor.
        """
        row = self._operations.get(run_id, _range(number))
        if row is None:
            raise OperationNotFound(f"reconciliation {run_id} has no range {number}")
        if row.status == "DONE":
            return {"run_id": run_id, "number": number, "done": True}
        bounds = row.document
        totals = _Totals(Counter(bounds["counts"]), dict(bounds["projects"]), bounds["flushed"])
        owners = _Owners(self._ledger, self._layouts)
        listed = stream(self._store, "", after=bounds["cursor"], until=bounds["until"])
        entries = self._ledger.entries(after=bounds["cursor"], until=bounds["until"])
        since_save = 0
        for count, (found, entry) in enumerate(merge_join(listed, entries), 1):
            looked_again = self._compare(run_id, found, entry, totals, owners)
            since_save += 1
            # a pair that differs costs three requests: as long as a thousand that agree
            late = (looked_again or count % CHECK_EVERY == 0) and out_of_time()
            if late or since_save >= SAVE_EVERY or len(totals.projects) > PROJECTS_PER_PART:
                cursor = found.key if found is not None else entry.key  # type: ignore[union-attr]  # one of the two is there
                row, since_save = self._save(row, totals, cursor=cursor), 0
            if late:
                return {"run_id": run_id, "number": number, "done": False}
        self._save(row, totals, status="DONE")
        return {"run_id": run_id, "number": number, "done": True}

    def summarise(self, run_id: str) -> dict[str, Any]:
        """Adds up the ranges and ends the run: COMPLETE, or INCOMPLETE with the reason when the result is not to be acted on."""
        run = self.run(run_id)
        counts: Counter[str] = Counter()
        projects: dict[str, list[int]] = {}
        open_ranges = []
        for row in self._operations.all_parts(run_id, "range#"):
            if row.status == "OPEN":
                open_ranges.append(row.part)
            counts.update(row.document["counts"])
            for project, tally in row.document["projects"].items():
                projects[project] = [a + b for a, b in zip(projects.get(project, (0, 0, 0, 0)), tally, strict=True)]
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
            self._operations.put(run_id, _projects(number), None, {"projects": tallies}, created_at=at, status="COUNTED")
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

    def _compare(self, run_id: str, found: ListedObject | None, entry: LedgerEntry | None, totals: _Totals, owners: _Owners) -> bool:
        """Counts one key, and reads both sides again where they do not match; says whether it had to."""
        key = found.key if found is not None else entry.key  # type: ignore[union-attr]  # one of the two is there
        parsed = self._layouts.parse(key)
        if key.startswith(SYSTEM_PREFIX):
            totals.add("system", found.size if found else 0)
            return False
        if found is not None:
            totals.add("bucket", found.size)
            totals.add(f"layout.{parsed.layout if parsed else 'unknown'}", found.size)
            totals.own(owners.of(parsed, entry), found.size, side=0)
        if entry is not None:
            totals.add(f"ledger.{entry.state.lower()}", entry.size)
            if entry.state is State.STORED:
                totals.own(project_stem(entry.project_id), entry.size, side=1)
        if _agree(found, entry):
            totals.add("matched", found.size if found else 0)
            return False
        if found is None and entry is not None and entry.state in (State.MISSING, State.QUARANTINED):
            totals.add("known", entry.size)
            return False
        if self._is_young(found, entry):
            totals.add("young", found.size if found else 0)
            return False
        self._look_again(run_id, key, found, parsed, totals, owners)
        return True

    def _look_again(
        self, run_id: str, key: str, found: ListedObject | None, parsed: ParsedKey | None, totals: _Totals, owners: _Owners
    ) -> None:
        record, stored = self._ledger.record(key), self._store.head(key)
        if found is None and stored is not None:
            # the listing dropped it: the store's fault, never a finding
            totals.add("unlisted", stored.size)
            totals.add("bucket", stored.size)
            totals.own(owners.of(parsed, record), stored.size, side=0)
        if record is None and any(self._ledger.record(other) is not None for other in other_spellings(key)):
            totals.add("spelled_otherwise", stored.size if stored else 0)  # R2 lists the spelling that was last put
            return
        verdict = classify(stored, record, parsed, owners.state(parsed))
        if verdict is None or self._is_young(stored, record):
            totals.add("settled", stored.size if stored else 0)
            return
        project = owners.of(parsed, record)
        finding = Finding(key, *verdict, stored, record, parsed.layout if parsed else None, None if project == NOBODY else project)
        totals.add(finding.finding_class, finding.size)
        part = _finding(finding.finding_class, key)
        self._operations.put(run_id, part, None, finding.document(), created_at=self._now(), status="FOUND")

    def _is_young(self, found: ListedObject | StoredObject | None, entry: LedgerEntry | Record | None) -> bool:
        since = self._now() - self._grace_ms
        return (found is not None and found.last_modified > since) or (entry is not None and entry.updated_at > since)

    def _save(self, row: Operation, totals: _Totals, *, cursor: str | None = None, status: str = "OPEN") -> Operation:
        if len(totals.projects) > PROJECTS_PER_PART:
            part = f"{row.part}#projects#{totals.flushed:06d}"
            document: dict[str, Any] = {"counts": {}, "projects": totals.projects}
            self._operations.put(row.operation_id, part, None, document, created_at=self._now(), status="COUNTED")
            totals.projects, totals.flushed = {}, totals.flushed + 1
        document = {
            **row.document,
            "cursor": row.document["cursor"] if cursor is None else cursor,
            "counts": dict(totals.counts),
            "projects": totals.projects,
            "flushed": totals.flushed,
        }
        return self._operations.update(row, document=document, status=status)


def project_row(stem: str, rows: int) -> int:
    """Says in which of `rows` rows of a run a project's count lies."""
    return zlib.crc32(stem.encode()) % rows


def _projects(number: int) -> str:
    return f"projects#{number:06d}"


def count_of_project(operations: Operations, run: Operation, stem: str) -> dict[str, dict[str, int]]:
    """Reads what a run counted for one project, in the bucket and as stored in the ledger."""
    row = operations.get(run.operation_id, _projects(project_row(stem, run.document["project_rows"])))
    objects, size, stored, stored_size = row.document["projects"].get(stem, (0, 0, 0, 0)) if row else (0, 0, 0, 0)
    return {"bucket": {"objects": objects, "bytes": size}, "ledger": {"objects": stored, "bytes": stored_size}}


class _Owners:
    """Whose a key is, asked once per project while a range is walked."""

    def __init__(self, ledger: Ledger, layouts: Registry) -> None:
        self._ledger = ledger
        self._layouts = layouts
        self._states: dict[str, str] = {}

    def of(self, parsed: ParsedKey | None, entry: LedgerEntry | Record | None) -> str:
        if entry is not None:
            return project_stem(entry.project_id)
        stem = self._stem(parsed)
        return stem if stem is not None and self._state(stem) != "none" else NOBODY

    def state(self, parsed: ParsedKey | None) -> str:
        stem = self._stem(parsed)
        return "none" if stem is None else self._state(stem)

    def _stem(self, parsed: ParsedKey | None) -> str | None:
        return None if parsed is None else self._layouts.owner(parsed, lambda stem: self._state(stem) != "none")

    def _state(self, stem: str) -> str:
        if stem not in self._states:
            try:
                self._states[stem] = self._ledger.project(stem).state.lower()
            except ProjectNotFound:
                self._states[stem] = "none"
        return self._states[stem]


def _agree(found: ListedObject | None, entry: LedgerEntry | None) -> bool:
    if found is None or entry is None:
        return False
    return entry.state is State.STORED and (entry.size, entry.etag) == (found.size, found.etag)


def _range(number: int) -> str:
    return f"range#{number:04d}"


def _finding(finding_class: FindingClass, key: str) -> str:
    """Names a finding's row: by its key, so that finding it again overwrites it; a sort key holds at most 1024 bytes."""
    name = f"finding#{finding_class}#{key}"
    if len(name.encode()) > 1024:
        name = f"finding#{finding_class}#{key[:200]}#{hashlib.sha256(key.encode()).hexdigest()}"
    return name


def nested(counts: Mapping[str, int]) -> dict[str, Any]:
    """Turns `{"ledger.stored.objects": 3}` into `{"ledger": {"stored": {"objects": 3}}}`."""
    tree: dict[str, Any] = {}
    for name, number in sorted(counts.items()):
        *path, last = name.split(".")
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch[last] = number
    return tree


def run_of_execution(execution: str) -> str:
    """Names the run of a scheduled execution, which comes without one: the same at every retry of its steps."""
    return f"scheduled-{hashlib.sha256(execution.encode()).hexdigest()[:20]}"
