"""Repair: act on the findings of a complete run, one by one, each only if it is still true.

A policy says for each class of finding what to do, or for each kind of what is unstored (`unstored.missing`); what it does not name is
left alone. The plan made of it says beforehand what will be done, what is put off and what is left out, and why. Before an action both
sides are read again, and a finding whose object or record moved since is skipped and says so. No action of any kind follows a run that did
not see everything.

| action | for | does |
|---|---|---|
| `mark_missing` | missing | the record becomes MISSING |
| `forget` | missing | the record goes, and a row says what it was |
| `refetch` | missing, unstored | the bytes are put back from the URL or the ledger, if they are the very ones |
| `refresh` | mismatch | the record says what the bucket says |
| `settle` | unstored | an arrived upload is committed, an ended intent without bytes is withdrawn |
| `adopt` | orphan | a record is made from the object |
| `quarantine` | orphan, orphan.none | the object is set aside, restorable; seen twice only |
| `delete` | orphan | the object goes; seen twice only, and set aside where the store takes no condition on a deletion |
| `acknowledge` | all | the finding is quiet until it changes |

A run may be applied again: what was put off, or stands in another class, is taken then. One apply runs at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from stocktake.acknowledgements import ACKNOWLEDGED
from stocktake.errors import BreakerOpen, Conflict, LeaseLost, RecordChanged, RunIncomplete
from stocktake.identity import Identity
from stocktake.ledger import Operation, Operations
from stocktake.reconciliation import Reconciliations
from stocktake.repair.acting import ACTING, FOUND, SKIPPED, Actor, action_begun
from stocktake.repair.breaker import Breaker
from stocktake.repair.plans import APPLIED, PLANNING, Plans, answer, check_usable, deferred_by, plan_id_of
from stocktake.repair.policies import ACKNOWLEDGE, checked, name_of, reason_against
from stocktake.repair.restoring import PART
from stocktake.tombstones import Tombstones

FINDINGS_AT_ONCE = 5
"""Between two saved cursors: about ten requests each."""
_PAGES = 5
"""Of findings, read for one page of actions at most."""


class Repairs:
    """The second step of a reconciliation.

    Args:
        launch: starts the state machine for `{"action", "run_id", "turn"}`.
        grace_ms: how long ago an orphan must have been seen first before it is moved.
    """

    def __init__(
        self,
        runs: Reconciliations,
        identity: Identity,
        actor: Actor,
        plans: Plans,
        breaker: Breaker,
        operations: Operations,
        tombstones: Tombstones,
        *,
        grace_ms: int,
        launch: Callable[[Mapping[str, Any]], None],
        now: Callable[[], int],
    ) -> None:
        self._runs = runs
        self._identity = identity
        self._actor = actor
        self._plans = plans
        self._breaker = breaker
        self._operations = operations
        self._tombstones = tombstones
        self._grace_ms = grace_ms
        self._launch = launch
        self._now = now

    def plan(self, run_id: str, policy: Mapping[str, str], *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Works out what an apply of this policy would do, keeps it for an hour, and changes nothing else.

        Raises:
            InvalidRequest: the policy names an unknown class or action.
            RunIncomplete: the run did not end COMPLETE.
        """
        chosen = checked(policy)
        run = self._actionable(run_id)
        return self._said(self._plans.go_on(self._plans.begin(run, chosen, self._turn(run_id)), out_of_time=out_of_time))

    def planned(self, run_id: str, plan_id: str, *, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Reads a plan, and goes on with one that is not READY yet. Raises OperationNotFound, RunIncomplete."""
        self._actionable(run_id)
        return self._said(self._plans.go_on(self._plans.get(run_id, plan_id), out_of_time=out_of_time))

    def request(
        self,
        run_id: str,
        policy: Mapping[str, str] | None = None,
        *,
        plan_id: str | None = None,
        first_run: bool = False,
        out_of_time: Callable[[], bool],
    ) -> dict[str, Any]:
        """Starts the repair of a run by a policy or a plan of one; it goes on in the state machine.

        Args:
            first_run: whoever asks has read what the first complete run of all reports.

        Raises:
            InvalidRequest: the policy names an unknown class or action.
            OperationNotFound: there is no such run or plan.
            RunIncomplete: the run did not end COMPLETE, is the first one and nobody said so, or the bucket is another one by now.
            RunInProgress: another run or repair is alive.
            BreakerOpen: the breaker lets nothing pass, or less than when the plan was made.
            Conflict: it is being repaired in another way, or the plan is not of now.
            LedgerRestored: the tables are older than the newest erasure.
        """
        chosen = checked(policy or {})
        self._tombstones.check()
        run = self._runs.to_act_on(run_id, first_run=first_run)
        self._check_breaker()
        self._check_not_restored(run_id)
        row = self._operations.get(run_id, "repair")
        if row is not None and row.status == "RUNNING":
            # the same request again, as after a launch that failed; launching twice starts one
            if row.document["plan_id"] != plan_id if plan_id else row.document["plan"] != chosen:
                raise Conflict(f"reconciliation {run_id} is being repaired by another plan: wait until that has ended")
            fence = self._runs.take(run_id, "apply").fence
            if fence != row.document["fence"]:  # else a step may be at work, which would find its row changed and end the repair
                row = self._operations.update(row, document={**row.document, "fence": fence})
        else:
            row = self._begin(run, row, chosen, plan_id, out_of_time=out_of_time)
        turn = row.document["turn"]
        self._launch({"action": "apply", "run_id": run_id, "turn": turn})
        plan = self._plans.get(run_id, row.document["plan_id"])
        return {"run_id": run_id, "status": "RUNNING", **row.document, "planned": answer(plan)}

    def repair(self, run_id: str) -> dict[str, Any] | None:
        """Reads how far the repair of a run is, or None if none was requested."""
        row = self._operations.get(run_id, "repair")
        return {"status": row.status, **row.document} if row else None

    def step(self, run_id: str, *, turn: int | str | None = None, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        """Acts on the next findings until all are done or time is short. Returns `{"run_id", "cursor", "done"}`.

        Args:
            turn: for which this step was launched; it does nothing for another.

        Raises:
            LedgerRestored, RunIncomplete, BreakerOpen, Conflict: nothing may be acted on any more.
            LeaseLost, RecordChanged: another step of this repair is at work: nothing was done since.
        """
        try:
            return self._step(run_id, turn, out_of_time)
        except (LeaseLost, RecordChanged):
            row = self._operations.get(run_id, "repair")
            if row is None or row.status == "RUNNING":
                raise
            return {"run_id": run_id, "cursor": None, "done": True}  # it was ended meanwhile: there is nothing left to do

    def _step(self, run_id: str, turn: int | str | None, out_of_time: Callable[[], bool]) -> dict[str, Any]:
        row = self._operations.get(run_id, "repair")
        if row is None or row.status != "RUNNING" or turn not in (None, row.document["turn"]):
            return {"run_id": run_id, "cursor": None, "done": True}
        with self._runs.lease.step(run_id, row.document["fence"]):
            row = self._acted_on(row, out_of_time)
        done = row.status == "DONE"
        if done:
            self._runs.lease.free(run_id, "apply", row.document["fence"])
        return {"run_id": run_id, "cursor": None if done else row.document["cursor"], "done": done}

    def fail(self, run_id: str, error: str, *, turn: int | str | None = None) -> dict[str, Any]:
        """Notes that a repair broke off; what it did is on the findings. One that has ended, or begun anew since `turn`, stays as it is."""
        row = self._operations.get(run_id, "repair")
        if row is not None and turn in (None, row.document["turn"]):
            if row.status == "RUNNING":
                row = self._operations.update(row, document={**row.document, "why": error[:2000]}, status="FAILED")
            self._runs.lease.free(run_id, "apply", row.document["fence"])
        return {"run_id": run_id, "status": "FAILED"}

    def actions(self, run_id: str, result: str | None, limit: int, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Reads what the newest repair of a run did, put off and left out, finding by finding, in the order of the findings.

        A page may be short, or empty, while there are more: it looks at so many findings and no more. Raises OperationNotFound.
        """
        self._runs.run(run_id)
        row = self._operations.get(run_id, "repair")
        found: list[dict[str, Any]] = []
        if row is None:
            return found, None
        for _ in range(_PAGES):
            page, cursor = self._operations.parts(run_id, "finding#", limit - len(found), cursor)
            lines = (self._line(finding, row) for finding in page)
            found += [line for line in lines if line is not None and result in (None, line["result"])]
            if cursor is None or len(found) >= limit:
                break
        return found, cursor

    def _begin(
        self, run: Operation, row: Operation | None, policy: dict[str, str], plan_id: str | None, *, out_of_time: Callable[[], bool]
    ) -> Operation:
        turn, at = 0 if row is None else row.document["turn"], self._now()
        if plan_id is None:
            plan = self._plans.go_on(self._plans.begin(run, policy, turn), out_of_time=out_of_time)
        else:
            plan = self._plans.get(run.operation_id, plan_id)
            check_usable(plan, now=at, turn=turn)
            self._plans.check_caps(plan, run)
        document = {
            "fence": self._runs.take(run.operation_id, "apply").fence,
            "plan": plan.document["policy"],
            "plan_id": plan_id_of(plan),
            "turn": turn + 1,
            "started_at": at,
            "cursor": 0,
            "done": {},
            "skipped": 0,
            "reasons": {},
            "deferred": 0,
        }
        if row is not None:
            return self._operations.update(row, document=document, status="RUNNING")
        return self._operations.put(run.operation_id, "repair", None, document, created_at=at, status="RUNNING", if_absent=True)

    def _acted_on(self, row: Operation, out_of_time: Callable[[], bool]) -> Operation:
        """Acts on the next findings of the plan, until all are done or time is short."""
        run_id = row.operation_id
        self._tombstones.check()
        self._check_not_restored(run_id)  # both may have been asked for at one moment
        run = self._actionable(run_id)
        self._identity.check()
        self._check_breaker()
        plan = self._plans.get(run_id, row.document["plan_id"])
        self._plans.check_caps(plan, run)
        plan = self._plans.go_on(plan, out_of_time=out_of_time)
        while plan.status != PLANNING and row.status == "RUNNING":
            row = self._act_on_some(row, plan, out_of_time)
            if out_of_time():
                break
        if row.status == "DONE" and plan.status != APPLIED:
            self._operations.update(plan, status=APPLIED)
        return row

    def _act_on_some(self, row: Operation, plan: Operation, out_of_time: Callable[[], bool]) -> Operation:
        """Acts on the next findings of the plan and saves how far it came; DONE after the last."""
        document = {**row.document}
        done, reasons, place = Counter(document["done"]), Counter(document["reasons"]), document["cursor"]
        some = self._plans.some(plan, place, FINDINGS_AT_ONCE)
        try:
            for planned in some:
                finding = self._operations.get(row.operation_id, planned.part)
                if finding is not None:
                    action = document["plan"][planned.name]
                    # a plan holds what is acknowledged only where that was no wish of anybody's
                    if finding.status in (FOUND, ACTING) or (finding.status == ACKNOWLEDGED and action != ACKNOWLEDGE):
                        # asked before every action: this step may have slept since the last one
                        self._runs.lease.keep(row.operation_id, document["fence"])
                        finding = self._actor.act(finding, row.operation_id, action)
                    if finding.status == SKIPPED:
                        reasons[finding.document["reason"]] += 1
                    else:
                        done[finding.status] += 1
                place += 1
                if out_of_time():
                    break
            is_last = place >= plan.document["held"]
            if is_last:
                for name, number in plan.document["skipped"].items():
                    reasons[name.rpartition(".")[2]] += number
                document |= {"finished_at": self._now(), "deferred": deferred_by(plan)}
            document |= _told(place, done, reasons)
            return self._operations.update(row, document=document, status="DONE" if is_last else "RUNNING")
        except (LeaseLost, RecordChanged):
            self._tell_of_ended(row, _told(place, done, reasons))
            raise

    def _tell_of_ended(self, row: Operation, told: Mapping[str, Any]) -> None:
        """Writes what was done since the row was last written onto a repair that was ended meanwhile; its status stays."""
        ended = self._operations.get(row.operation_id, row.part)
        if ended is not None and ended.status != "RUNNING" and ended.document["turn"] == row.document["turn"]:
            with suppress(RecordChanged):
                self._operations.update(ended, document={**ended.document, **told})

    def _line(self, finding: Operation, row: Operation) -> dict[str, Any] | None:
        document = finding.document
        action = row.document["plan"].get(name_of(document, row.document["plan"]))
        said: dict[str, Any] = {name: document[name] for name in ("key", "class", "kind", "project", "bytes")}
        if finding.status in (FOUND, ACTING):
            if action is None:
                return None
            is_begun = action_begun(finding) == action
            against = None if is_begun else reason_against(action, document, now=self._now(), grace_ms=self._grace_ms)
            if against is not None:
                return {**said, "action": action, "result": "skipped", "reason": against}
            if row.status == "RUNNING" or finding.status == ACTING:
                return {**said, "action": action, "result": "waiting"}
            return {**said, "action": action, "result": "deferred", "reason": "deferred"}
        # one that was known before this run is quiet, and no repair has seen it
        action = document.get("acting", None if finding.status == ACKNOWLEDGED else action)
        if action is None:
            return None
        if finding.status == SKIPPED:
            return {**said, "action": action, "result": "skipped", "reason": document["reason"], "why": document["skipped"]}
        return {
            **said,
            "action": action,
            "result": "done",
            **{name: document[name] for name in ("outcome", "entry_id") if name in document},
        }

    def _said(self, plan: Operation) -> dict[str, Any]:
        return {**answer(plan), "first": self._plans.first_page(plan)}

    def _turn(self, run_id: str) -> int:
        row = self._operations.get(run_id, "repair")
        return row.document["turn"] if row else 0

    def _actionable(self, run_id: str) -> Operation:
        run = self._runs.run(run_id)
        if run.status != "COMPLETE":
            raise RunIncomplete(
                f"reconciliation {run_id} is {run.status.lower()} and cannot be acted on: start a new one and wait until it is complete"
            )
        return run

    def _check_not_restored(self, run_id: str) -> None:
        restoration = self._operations.get(run_id, PART)
        if restoration is not None and restoration.status == "RUNNING":
            raise Conflict(
                f"what reconciliation {run_id} set aside is being restored: wait until that has ended, or stop it with "
                f"POST /reconciliations/{run_id}/stop"
            )

    def _check_breaker(self) -> None:
        if self._breaker.is_shut:
            raise BreakerOpen(
                "the breaker lets nothing pass: BreakerMaxActions, BreakerMaxPercent or BreakerMaxPerProject is 0. Raise it to repair"
            )


def _told(place: int, done: Counter[str], reasons: Counter[str]) -> dict[str, Any]:
    return {"cursor": place, "done": dict(done), "reasons": dict(reasons), "skipped": sum(reasons.values())}
