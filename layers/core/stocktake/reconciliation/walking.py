"""The walk: one range of the keys, both sides at once, each pair compared and each difference written down.

Nothing is called a finding on the word of a listing or an index alone: a pair that does not match is read again on both sides, and what is
younger than the grace window is left for the next run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from stocktake.acknowledgements import ACKNOWLEDGED, Acknowledgements
from stocktake.comparison import merge_join
from stocktake.errors import OperationNotFound
from stocktake.findings import Finding, classify, sightings
from stocktake.layouts import SYSTEM_PREFIX, ParsedKey, Registry, other_spellings, project_stem
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.model import FindingClass, LedgerEntry, ListedObject, Record, State, StoredObject
from stocktake.reconciliation.owners import NOBODY, Owners
from stocktake.reconciliation.totals import PROJECTS_PER_PART, Totals
from stocktake.storage import Store
from stocktake.storage.ordering import stream

CHECK_EVERY = 1000
"""Keys between two looks at the clock."""
SAVE_EVERY = 20_000
"""Keys between two saved cursors: what a killed step walks again at most."""


class Walker:
    """Walks the ranges of runs.

    Args:
        grace_ms: what is younger is never a finding; longer than the slowest upload.
    """

    def __init__(
        self, store: Store, ledger: Ledger, operations: Operations, layouts: Registry, *, grace_ms: int, now: Callable[[], int]
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self._layouts = layouts
        self._grace_ms = grace_ms
        self._now = now
        self._acknowledgements = Acknowledgements(operations, now=now)

    def walk(self, run_id: str, number: int, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Compares one range from its saved cursor on, until its end or until time is short.

        Returns `{"run_id", "number", "done"}`.

        Raises:
            StorageError, LedgerError: a page failed; started again, the walk goes on from the last saved cursor.
        """
        row = self._operations.get(run_id, range_part(number))
        if row is None:
            raise OperationNotFound(f"reconciliation {run_id} has no range {number}")
        if row.status == "DONE":
            return {"run_id": run_id, "number": number, "done": True}
        run = self._operations.get(run_id)
        previous = run.document["previous"] if run else None
        bounds = row.document
        totals = Totals(Counter(bounds["counts"]), dict(bounds["projects"]), bounds["flushed"])
        owners = Owners(self._ledger, self._layouts)
        listed = stream(self._store, "", after=bounds["cursor"], until=bounds["until"])
        entries = self._ledger.entries(after=bounds["cursor"], until=bounds["until"])
        since_save = 0
        for count, (found, entry) in enumerate(merge_join(listed, entries), 1):
            looked_again = self._compare(run_id, previous, found, entry, totals, owners)
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

    def _compare(
        self,
        run_id: str,
        previous: str | None,
        found: ListedObject | None,
        entry: LedgerEntry | None,
        totals: Totals,
        owners: Owners,
    ) -> bool:
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
        self._look_again(run_id, previous, key, found, parsed, totals, owners)
        return True

    def _look_again(
        self,
        run_id: str,
        previous: str | None,
        key: str,
        found: ListedObject | None,
        parsed: ParsedKey | None,
        totals: Totals,
        owners: Owners,
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
        part, at = finding_part(finding.finding_class, key), self._now()
        earlier = self._operations.get(previous, part) if previous else None
        document = {**finding.document(), **sightings(finding.document(), earlier.document if earlier else None, at)}
        is_known = self._acknowledgements.covers(document)
        totals.add("acknowledged" if is_known else finding.finding_class, finding.size)
        self._operations.put(run_id, part, None, document, created_at=at, status=ACKNOWLEDGED if is_known else "FOUND")

    def _is_young(self, found: ListedObject | StoredObject | None, entry: LedgerEntry | Record | None) -> bool:
        since = self._now() - self._grace_ms
        return (found is not None and found.last_modified > since) or (entry is not None and entry.updated_at > since)

    def _save(self, row: Operation, totals: Totals, *, cursor: str | None = None, status: str = "OPEN") -> Operation:
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


def _agree(found: ListedObject | None, entry: LedgerEntry | None) -> bool:
    if found is None or entry is None:
        return False
    return entry.state is State.STORED and (entry.size, entry.etag) == (found.size, found.etag)


def range_part(number: int) -> str:
    """Names a range's row."""
    return f"range#{number:04d}"


def finding_part(finding_class: FindingClass, key: str) -> str:
    """Names a finding's row: by its key, so that finding it again overwrites it; a sort key holds at most 1024 bytes."""
    name = f"finding#{finding_class}#{key}"
    if len(name.encode()) > 1024:
        name = f"finding#{finding_class}#{key[:200]}#{hashlib.sha256(key.encode()).hexdigest()}"
    return name
