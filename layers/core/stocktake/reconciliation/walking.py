"""The walk: one range of the keys, both sides at once, each pair compared and each difference written down.

Nothing is called a finding on the word of a listing or an index alone: a pair that does not match is read again on both sides, and what is
younger than the grace window is left for the next run.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stocktake.acknowledgements import ACKNOWLEDGED, Acknowledgements
from stocktake.comparison import merge_join
from stocktake.errors import InvalidKey, LeaseLost, ListingOutOfOrder, OperationNotFound, RecordChanged, StorageError
from stocktake.findings import Finding, classify, sightings
from stocktake.inventory import Inventories
from stocktake.layouts import SYSTEM, SYSTEM_PREFIX, ParsedKey, Registry, project_stem
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.ledger.operations import PARTS_AT_ONCE, cursor_of
from stocktake.model import FindingClass, LedgerEntry, ListedObject, Record, State, StoredObject
from stocktake.reconciliation.cost import Meter
from stocktake.reconciliation.lease import Lease
from stocktake.reconciliation.owners import NOBODY, Owners, is_leaving
from stocktake.reconciliation.totals import BUCKET, PROJECTS_OF_RANGE, PROJECTS_PER_PART, STORED, Totals
from stocktake.spellings import Spellings
from stocktake.storage import Store
from stocktake.storage.ordering import stream
from stocktake.storage.refusals import check_is_of_key

CHECK_EVERY = 1000
"""Keys between two looks at the clock."""
SAVE_EVERY = 20_000
"""Keys between two saved cursors: what a killed step walks again at most."""
UNEXPLAINED = "unknown"
"""Stands for the layout of a key that none explains."""
_KEPT_OF_KEY = 200
"""Characters of a key too long to be a row's name, before its hash."""
_SHORTENED = re.compile(r"#[0-9a-f]{64}\Z")
_OBJECT_GONE = "objects", (FindingClass.MISSING, FindingClass.UNSTORED)
_RECORD_GONE = "records", (FindingClass.ORPHAN, FindingClass.UNKNOWN)
_LOSSES = {finding_class: loss for loss in (_OBJECT_GONE, _RECORD_GONE) for finding_class in loss[1]}
"""What a key has lost, and what it may be found as then, by each of these."""


PROGRESS = "progress"
"""The part that counts how many keys a run has walked."""


@dataclass(slots=True)
class _Step:
    """One walk of a range: of which run, the range's row as this step last wrote it, and since when it has not been written.

    `seen_at` is when the inventory was begun that is compared; None for a listing, which tells of now. What was written no later than
    `judged_until` was old enough for `previous`, the complete run before.
    """

    run_id: str
    previous: str | None
    judged_until: int
    grace_ms: int
    seen_at: int | None
    row: Operation
    since: int


class Walker:
    """Walks the ranges of runs."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        operations: Operations,
        layouts: Registry,
        *,
        inventories: Inventories,
        lease: Lease,
        meter: Meter,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._operations = operations
        self._layouts = layouts
        self._inventories = inventories
        self._lease = lease
        self._meter = meter
        self._now = now
        self._acknowledgements = Acknowledgements(operations, now=now)
        self._spellings = Spellings(store, ledger)

    def walk(self, run_id: str, number: int, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Compares one range from its saved cursor on, until its end or until time is short.

        Returns `{"run_id", "number", "done"}`.

        Raises:
            StorageError, LedgerError: a page failed; started again, the walk goes on from the last saved cursor.
            ListingOutOfOrder: the store does not list in order after all; to be walked again from `begin_sorted`.
            LeaseLost, RecordChanged: another step walks this range by now, or another run has the lease: this one wrote nothing since.
        """
        try:
            done = self._walk(run_id, number, out_of_time)
        except (LeaseLost, RecordChanged):
            row = self._operations.get(run_id, range_part(number))
            if row is None or row.status == "OPEN":
                raise
            done = True  # the run was ended meanwhile: there is nothing left to walk
        return {"run_id": run_id, "number": number, "done": done}

    def _walk(self, run_id: str, number: int, out_of_time: Callable[[], bool]) -> bool:
        row, run = self._operations.get(run_id, range_part(number)), self._operations.get(run_id)
        if row is None or run is None:
            raise OperationNotFound(f"reconciliation {run_id} has no range {number}")
        if row.status != "OPEN":
            return True
        self._meter.taken()  # what this process sent before was for something else
        self._lease.keep(run_id, run.document["fence"])
        document, inventory = row.document, run.document.get("inventory")
        if inventory is None and not document.get("sorted") and not self._store.profile().ordered_listing:
            if document["cursor"] != document["after"]:
                raise ListingOutOfOrder("The store was found to list out of order since this range was begun.")
            document = {**document, "sorted": True}
        # its version is what every write of this step depends on: one that is asleep somewhere has an older one from here on
        row = self._operations.update(row, document=document)
        seen_at = inventory["created_at"] if inventory else None
        previous = run.document["previous"]
        of = _Step(run_id, previous, self._judged_until(previous), run.document["grace_ms"], seen_at, row, self._now())
        self._forget_uncounted(of)
        bounds = row.document
        totals = Totals.of(bounds)
        owners = Owners(self._ledger, self._layouts)
        after, until = bounds["cursor"], bounds["until"]
        if inventory:
            listed = self._inventories.listed(run_id, inventory["files"], after=after, until=until)
        else:
            listed = stream(self._store, "", after=after, until=until, trust_order=not bounds.get("sorted"))
        entries = self._ledger.entries(after, until)
        since_save = 0
        for count, (found, entry) in enumerate(merge_join(listed, entries), 1):
            if found is not None and entry is not None and _agree(found, entry):
                layout = self._layouts.name_of(found.key) or UNEXPLAINED
                totals.match(project_stem(entry.project_id), layout, found.size)
                looked_again = False
            else:
                looked_again = self._compare(of, found, entry, totals, owners)
            since_save += 1
            # a pair that differs costs three requests: as long as a thousand that agree
            late = (looked_again or count % CHECK_EVERY == 0) and out_of_time()
            if late or since_save >= SAVE_EVERY or len(totals.projects) > PROJECTS_PER_PART:
                cursor = found.key if found is not None else entry.key  # type: ignore[union-attr]  # one of the two is there
                self._lease.keep(run_id, run.document["fence"])
                self._operations.add(run_id, PROGRESS, "keys", since_save)
                self._save(of, totals, cursor=cursor)
                since_save = 0
            if late:
                return False
        self._save(of, totals, status="DONE")
        self._operations.add(run_id, PROGRESS, "keys", since_save)
        return True

    def _forget_uncounted(self, of: _Step) -> None:
        """Removes the findings behind the cursor: of a step that was killed before it saved one, and no longer true, maybe."""
        after, until = of.row.document["cursor"], of.row.document["until"]
        for finding_class in FindingClass:
            prefix = _findings_of(finding_class)
            cursor: str | None = cursor_of(prefix + after[:_KEPT_OF_KEY])
            while cursor is not None:
                rows, cursor = self._operations.parts(of.run_id, prefix, PARTS_AT_ONCE, cursor)
                keys = {row.part: row.document["key"] for row in rows}
                parts = [part for part, key in keys.items() if key > after and (until is None or key <= until)]
                if parts:
                    self._operations.remove_while(of.row, of.run_id, parts)
                # shortened names are in key order as far as they are keys
                if until is not None and any(key[:_KEPT_OF_KEY] > until[:_KEPT_OF_KEY] for key in keys.values()):
                    break

    def _compare(
        self,
        of: _Step,
        found: ListedObject | None,
        entry: LedgerEntry | None,
        totals: Totals,
        owners: Owners,
    ) -> bool:
        """Counts a key that does not match, and reads both sides again unless that can wait; says whether it had to.

        What the store refuses to show, while it answers for others, is counted as that and ends no run.
        """
        key = found.key if found is not None else entry.key  # type: ignore[union-attr]  # one of the two is there
        size = found.size if found is not None else 0
        if key.startswith(SYSTEM_PREFIX):
            totals.add(SYSTEM.name, None, SYSTEM.name, size)
            return False
        parsed = self._layouts.parse(key)
        layout, project = parsed.layout if parsed else UNEXPLAINED, owners.of(parsed, entry)
        if found is not None:
            totals.add(BUCKET, project, layout, size)
        if entry is not None and entry.state is State.STORED:
            totals.add(STORED, project, layout, entry.size)
        elif entry is not None:
            totals.record(entry.state.lower(), entry.size)
        if found is None and entry is not None and entry.state is State.QUARANTINED:
            totals.add("known", project, layout, entry.size)
            return False
        if self._is_young(of, found, entry):
            totals.add("young", project, layout, size)
            return False
        try:
            self._look_again(of, key, found, parsed, totals, owners)
        except (StorageError, InvalidKey) as error:
            check_is_of_key(self._store, error)
            totals.add("unreadable", project, layout, size)  # nobody can say what it is: no finding, and nothing acts on it
        return True

    def _look_again(
        self,
        of: _Step,
        key: str,
        found: ListedObject | None,
        parsed: ParsedKey | None,
        totals: Totals,
        owners: Owners,
    ) -> None:
        record, stored = self._ledger.record(key), self._store.head(key)
        layout, project = parsed.layout if parsed else UNEXPLAINED, owners.of(parsed, record)
        is_newer = stored is not None and of.seen_at is not None and stored.last_modified > of.seen_at
        if found is None and record is not None:
            self._ledger.note_spelling(record)  # before the run ends, and so before anything is done about what it found
        if found is None and stored is not None and not is_newer and not self._spellings.is_listed(key):
            # the listing dropped it: the store's fault, never a finding
            totals.add("unlisted", project, layout, stored.size)
            totals.add(BUCKET, project, layout, stored.size)
        verdict = classify(stored, record, parsed, owners.state(parsed))
        if verdict is None or self._is_young(of, stored, record):
            totals.add("settled", project, layout, stored.size if stored else 0)
            return
        if stored is None and record is not None and is_leaving(self._ledger, self._operations, record):
            totals.add("leaving", project, layout, record.size)
            return
        spelled = self._spellings.kind(key, stored, record)
        if spelled is not None:
            verdict = FindingClass.DUPLICATE_SPELLING, spelled
        finding = Finding(key, *verdict, stored, record, parsed.layout if parsed else None, None if project == NOBODY else project)
        part, at = finding_part(finding.finding_class, key), self._now()
        earlier = self._operations.get(of.previous, part) if of.previous else None
        document = {**finding.document(), **sightings(finding.document(), earlier.document if earlier else None, at)}
        if earlier is None and (lost := self._lost(of, finding)):
            totals.lose(lost, finding.size)
        is_known = self._acknowledgements.covers(document)
        if is_known:
            document["sightings"] = max(document["sightings"], 2)  # whoever acknowledged it had seen it: it is not new
        totals.add("acknowledged" if is_known else finding.finding_class.value, project, layout, finding.size)
        status = ACKNOWLEDGED if is_known else "FOUND"
        self._operations.put_while(of.row, of.run_id, part, document, created_at=at, status=status)

    def _judged_until(self, run_id: str | None) -> int:
        run = self._operations.get(run_id) if run_id else None
        if run is None:
            return 0
        return int(run.document.get("inventory", {}).get("created_at", run.document["started_at"]) - run.document["grace_ms"])

    def _lost(self, of: _Step, finding: Finding) -> str | None:
        """Says which side this key has lost since the run before: that run judged it, and found nothing of the kind."""
        stored, record = finding.stored, finding.record
        what, classes = _LOSSES.get(finding.finding_class, ("", ()))
        if of.previous is None or (stored is not None and stored.last_modified > of.judged_until):
            return None
        if record is not None and (record.state not in (State.STORED, State.MISSING) or record.created_at > of.judged_until):
            return None  # it has had no object yet, or that run did not know it
        # a record that is marked, or a layout that is new, moves a key from one class to the other
        earlier = (self._operations.get(of.previous, finding_part(each, finding.key)) for each in classes)
        return what if classes and not any(earlier) else None

    def _is_young(self, of: _Step, found: ListedObject | StoredObject | None, entry: LedgerEntry | Record | None) -> bool:
        since = (self._now() if of.seen_at is None else of.seen_at) - of.grace_ms
        if found is None and entry is not None and entry.state is State.MISSING:
            return False  # nobody is on the way with it: the bucket was asked when it was marked
        return (found is not None and found.last_modified > since) or (entry is not None and entry.updated_at > since)

    def begin_sorted(self, run_id: str, number: int, broken: ListingOutOfOrder) -> dict[str, Any]:
        """Puts a range back to its beginning, to be walked over a sorted listing: keys before the break of the order may lack.

        Returns `{"run_id", "number", "done"}`.

        Raises:
            ListingOutOfOrder: it is sorted already.
        """
        row = self._operations.get(run_id, range_part(number))
        if row is None or row.document.get("sorted"):
            raise broken
        if row.status != "OPEN":
            return {"run_id": run_id, "number": number, "done": True}  # the run was ended meanwhile
        again = {**row.document, **Totals().document(), "cursor": row.document["after"], "sorted": True}
        self._operations.update(row, document=again)
        return {"run_id": run_id, "number": number, "done": False}

    def _save(self, of: _Step, totals: Totals, *, cursor: str | None = None, status: str = "OPEN") -> None:
        row = of.row
        if len(totals.projects) > PROJECTS_PER_PART:
            part = projects_of_range_part(row, totals.flushed)
            document: dict[str, Any] = {"counts": {}, "projects": totals.projects}
            self._operations.put_while(row, row.operation_id, part, document, created_at=self._now(), status="COUNTED")
            totals.projects, totals.flushed = {}, totals.flushed + 1
        spent, at = Counter(row.document.get("spent", {})), self._now()
        spent.update({**self._meter.taken(), "ms": at - of.since})
        document = {
            **row.document,
            **totals.document(),
            "spent": dict(spent),
            "cursor": row.document["cursor"] if cursor is None else cursor,
        }
        of.row, of.since = self._operations.update(row, document=document, status=status), at


def _agree(found: ListedObject, entry: LedgerEntry) -> bool:
    return entry.state is State.STORED and entry.size == found.size and entry.etag == found.etag


def range_part(number: int) -> str:
    """Names a range's row."""
    return f"range#{number:04d}"


def number_of(part: str) -> int:
    """Reads the number in the name of a range's row."""
    return int(part.split("#")[1])


def projects_of_range_part(row: Operation, number: int) -> str:
    """Names a row of what a range counted by project."""
    return f"{row.part}{PROJECTS_OF_RANGE}{number:06d}"


def finding_part(finding_class: FindingClass, key: str) -> str:
    """Names a finding's row: by its key, so that finding it again overwrites it; a sort key holds at most 1024 bytes.

    A key that looks as the name of a longer one does is named as that is, so that no two keys have one name.
    """
    name = _findings_of(finding_class) + key
    if len(name.encode()) > 1024 or _SHORTENED.search(key):
        name = f"{_findings_of(finding_class)}{key[:_KEPT_OF_KEY]}#{hashlib.sha256(key.encode()).hexdigest()}"
    return name


def _findings_of(finding_class: FindingClass) -> str:
    return f"finding#{finding_class}#"
