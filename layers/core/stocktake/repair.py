"""Repair: act on the findings of a complete run, one by one, each only if it is still true.

The plan says for each class of finding what to do; classes it does not name are left alone. Before an action both sides are read again,
and a finding whose object or record moved since is skipped and says so. No action of any kind follows a run that did not see everything.

| action | for | does |
|---|---|---|
| `mark_missing` | missing | the record becomes MISSING |
| `refresh` | mismatch | the record says what the bucket says |
| `settle` | unstored | an arrived upload is committed, an ended intent without bytes is withdrawn |
| `adopt` | orphan, orphan.none | a record is made from the object |
| `quarantine` | orphan, orphan.none | the object is set aside, restorable |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from stocktake.alignment import Aligner, Outcome
from stocktake.errors import (
    BreakerOpen,
    BucketNotFound,
    Conflict,
    InvalidRequest,
    LeaseLost,
    ObjectChanged,
    RecordChanged,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    WrongRegion,
)
from stocktake.explanations import explained
from stocktake.findings import unchanged
from stocktake.ledger import Operation, Operations
from stocktake.model import FindingClass, StoredObject
from stocktake.quarantine import Quarantine
from stocktake.reconciliation import Reconciliations
from stocktake.tombstones import Tombstones

ACTIONS: dict[FindingClass, tuple[str, ...]] = {
    FindingClass.MISSING: ("mark_missing",),
    FindingClass.MISMATCH: ("refresh",),
    FindingClass.UNSTORED: ("settle",),
    FindingClass.ORPHAN: ("quarantine", "adopt"),
}
ORPHAN_OF_NONE = "orphan.none"
"""Orphans whose project nobody can tell: named apart in a plan, because setting one aside may be setting a live project's file aside."""
_ACTING = "ACTING"
_OF_THE_STORE = (StorageUnavailable, StorageDenied, BucketNotFound, WrongRegion)
FINDINGS_AT_ONCE = 25
"""Between two looks at the clock: about ten requests each."""
_ALIGNING = {
    "mark_missing": {Outcome.MARKED_MISSING},
    "refresh": {Outcome.REFRESHED, Outcome.RETURNED},
    "settle": {Outcome.COMMITTED, Outcome.FORGOTTEN},
    "adopt": {Outcome.ADOPTED},
}


class Repairs:
    """The second step of a reconciliation.

    Args:
        max_actions, max_percent: the breaker: most actions of one repair, and most as a share of the objects in the bucket. The percentage
            does not bind below 100 actions, where it would stop small buckets from being repaired at all.
        launch: starts the state machine for `{"action", "run_id"}`.
    """

    def __init__(
        self,
        runs: Reconciliations,
        aligner: Aligner,
        quarantine: Quarantine,
        operations: Operations,
        tombstones: Tombstones,
        *,
        max_actions: int,
        max_percent: int,
        launch: Callable[[Mapping[str, Any]], None],
        now: Callable[[], int],
    ) -> None:
        self._runs = runs
        self._aligner = aligner
        self._quarantine = quarantine
        self._operations = operations
        self._tombstones = tombstones
        self._max_actions = max_actions
        self._max_percent = max_percent
        self._launch = launch
        self._now = now

    def request(self, run_id: str, plan: Mapping[str, str], *, first_run: bool = False) -> dict[str, Any]:
        """Starts the repair of a run by a plan of `{class: action}`; it goes on in the state machine.

        Args:
            first_run: whoever asks has read what the first complete run of all reports.

        Raises:
            InvalidRequest: the plan names an unknown class or action.
            RunIncomplete: the run did not end COMPLETE, is the first one and nobody said so, or the bucket is another one by now.
            RunInProgress: another run or repair is alive.
            BreakerOpen: the plan would act more often than allowed; nothing was done.
            Conflict: the run has been repaired, or is being repaired.
            LedgerRestored: the tables are older than the newest erasure.
        """
        chosen = _checked(plan)
        self._tombstones.check()
        run = self._runs.to_act_on(run_id, first_run=first_run)
        self._check_breaker(run, chosen)
        begun = self._operations.get(run_id, "repair")
        if begun is not None and (begun.status != "RUNNING" or begun.document["plan"] != chosen):
            raise Conflict(f"reconciliation {run_id} has been acted on: start a new one, its findings may have changed")
        held, at = self._runs.take(run_id, "apply"), self._now()
        document = {"plan": chosen, "started_at": at, "cursor": None, "done": {}, "skipped": 0, "fence": held.fence}
        if not self._operations.put_new(run_id, "repair", None, document, created_at=at, status="RUNNING"):
            # the same request again, as after a launch that failed; launching twice starts one
            begun = self._operations.get(run_id, "repair")
            if begun is None or begun.status != "RUNNING" or begun.document["plan"] != chosen:
                raise Conflict(f"reconciliation {run_id} has been acted on: start a new one, its findings may have changed")
            document = {**begun.document, "fence": held.fence}
            self._operations.update(begun, document=document)
        self._launch({"action": "apply", "run_id": run_id})
        return {"run_id": run_id, "status": "RUNNING", **document}

    def repair(self, run_id: str) -> dict[str, Any] | None:
        """Reads how far the repair of a run is, or None if none was requested."""
        row = self._operations.get(run_id, "repair")
        return {"status": row.status, **row.document} if row else None

    def step(self, run_id: str, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Acts on the next findings until all are done or time is short. Returns `{"run_id", "cursor", "done"}`.

        Raises:
            LedgerRestored: the tables are older than the newest erasure.
            LeaseLost, RecordChanged: another step of this repair is at work: nothing was done since.
        """
        try:
            return self._step(run_id, out_of_time)
        except (LeaseLost, RecordChanged):
            row = self._operations.get(run_id, "repair")
            if row is None or row.status == "RUNNING":
                raise
            return {"run_id": run_id, "cursor": None, "done": True}  # it was ended meanwhile: there is nothing left to do

    def _step(self, run_id: str, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        row = self._operations.get(run_id, "repair")
        if row is None or row.status != "RUNNING":
            return {"run_id": run_id, "cursor": None, "done": True}
        self._tombstones.check()
        fence = row.document["fence"]
        self._runs.lease.keep(run_id, fence)
        plan = row.document["plan"]
        cursor = row.document["cursor"]
        while True:
            page, cursor = self._operations.parts(run_id, "finding#", FINDINGS_AT_ONCE, cursor)
            done, skipped = Counter(row.document["done"]), row.document["skipped"]
            for finding in page:
                if finding.status in ("FOUND", _ACTING) and (action := _planned(plan, finding.document)):
                    self._runs.lease.keep(run_id, fence)  # asked before every action: a step may have slept since the last one
                    finding = self._act(finding, run_id, action)
                if finding.status == "SKIPPED":
                    skipped += 1
                elif finding.status != "FOUND":
                    done[finding.status] += 1
            status = "RUNNING" if cursor else "DONE"
            document = {**row.document, "cursor": cursor, "done": dict(done), "skipped": skipped}
            if cursor is None:
                document["finished_at"] = self._now()
            row = self._operations.update(row, document=document, status=status)
            if cursor is None:
                self._runs.lease.free(run_id, "apply")
            if cursor is None or out_of_time():
                return {"run_id": run_id, "cursor": cursor, "done": cursor is None}

    def fail(self, run_id: str, error: str) -> dict[str, Any]:
        """Notes that a repair broke off; what it did is on the findings."""
        row = self._operations.get(run_id, "repair")
        if row is not None and row.status not in ("STOPPED", "FAILED"):
            self._operations.update(row, document={**row.document, "why": error[:2000]}, status="FAILED")
        self._runs.lease.free(run_id, "apply")
        return {"run_id": run_id, "status": "FAILED"}

    def _act(self, finding: Operation, run_id: str, action: str) -> Operation:
        document, key = finding.document, finding.document["key"]
        record, stored = self._aligner.ledger.record(key), self._aligner.store.head(key)
        begun = finding.status == _ACTING  # by a repair that was killed on the way: what changed since may be its own doing
        if not begun:
            if not unchanged(document, stored, record):
                return self._skip(finding, "bucket or ledger changed since the finding")
            finding = self._operations.update(finding, status=_ACTING)
        try:
            if action == "quarantine":
                return self._set_aside(finding, run_id, stored)
            outcome = self._aligner.align(key).outcome
        except (ObjectChanged, RecordChanged) as changed:
            return self._skip(finding, str(changed))
        except StorageError as error:
            if isinstance(error, _OF_THE_STORE):
                raise
            return self._skip(finding, str(error))  # this key's own trouble: the others go on
        if outcome not in _ALIGNING[action] and not (begun and outcome in (Outcome.IN_LINE, Outcome.ABSENT)):
            return self._skip(finding, f"asked again, the key was {outcome.value}")
        return self._operations.update(finding, document={**document, "outcome": outcome.value}, status=action.upper())

    def _set_aside(self, finding: Operation, run_id: str, stored: StoredObject | None) -> Operation:
        document = finding.document
        entry = self._quarantine.set_aside(
            document["key"], document["object"]["etag"], stored, run_id=run_id, why=explained(document)["meaning"]
        )
        return self._operations.update(finding, document={**document, "entry_id": entry.operation_id}, status="QUARANTINE")

    def _skip(self, finding: Operation, why: str) -> Operation:
        return self._operations.update(finding, document={**finding.document, "skipped": why}, status="SKIPPED")

    def _check_breaker(self, run: Operation, plan: Mapping[str, str]) -> None:
        counts = run.document["counts"]
        classes = {name.partition(".")[0] for name in plan}
        actions = sum(counts.get(name, {}).get("objects", 0) for name in classes)
        allowed = min(self._max_actions, max(100, counts.get("bucket", {}).get("objects", 0) * self._max_percent // 100))
        if actions > allowed:
            raise BreakerOpen(
                f"the plan would act on {actions} keys and the breaker allows {allowed} (at most {self._max_actions}, and "
                f"{self._max_percent} % of the bucket): look for the cause first, then raise BreakerMaxActions or BreakerMaxPercent, "
                "or name fewer classes"
            )


def _planned(plan: Mapping[str, str], finding: Mapping[str, Any]) -> str | None:
    """Returns the action for a finding; an orphan that may be anyone's, or is its deletion's to remove, is not an orphan of the plan."""
    if finding["class"] != "orphan" or finding["kind"] in ("active", "deleted"):
        return plan.get(finding["class"])
    return plan.get(ORPHAN_OF_NONE) if finding["kind"] == "none" else None


def _checked(plan: Mapping[str, str]) -> dict[str, str]:
    for given, action in plan.items():
        name = "orphan" if given == ORPHAN_OF_NONE else given
        if name not in ACTIONS:
            raise InvalidRequest(f"nothing can be done about class {given!r}: name some of {', '.join(ACTIONS)}, {ORPHAN_OF_NONE}")
        if action not in ACTIONS[FindingClass(name)]:
            raise InvalidRequest(f"{action!r} is no action for {name}: use one of {', '.join(ACTIONS[FindingClass(name)])}")
    return dict(plan)
