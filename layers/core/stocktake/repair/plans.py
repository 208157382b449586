"""Plans: what an apply would do, worked out before anything is done, and kept for a while.

A plan reads all findings of a run once, in stretches: where time is short it saves what it holds and goes on from there. What it holds is
saved under a new name each time, before the plan speaks of that name, so that a death in between, or another one that goes on with the
plan at the same moment, leaves the plan as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import batched
from typing import Any

from stocktake.acknowledgements import ACKNOWLEDGED, Acknowledgements
from stocktake.errors import BreakerOpen, Conflict, OperationNotFound
from stocktake.explanations import explained
from stocktake.ledger import Operation, Operations
from stocktake.repair.acting import ACTING, FOUND, action_begun
from stocktake.repair.breaker import Breaker, Oldest, Planned
from stocktake.repair.policies import ACKNOWLEDGE, name_of, reason_against

PLANNING, READY, APPLIED = "PLANNING", "READY", "APPLIED"
LIFE_MS = 3_600_000
"""For which a plan may be applied: long enough to read it, short enough that most of it still is true."""
_KEEP_MS = 90 * 86_400_000
_PAGE = 500
_ROW = 100
"""Findings in one row of what is held: their names have at most 1 KB, and in JSON three times that."""
SHOWN = 100
NOBODY = "(none)"


class Plans:
    """The plans of runs."""

    def __init__(
        self,
        operations: Operations,
        acknowledgements: Acknowledgements,
        breaker: Breaker,
        *,
        grace_ms: int,
        now: Callable[[], int],
        new_id: Callable[[int], str],
    ) -> None:
        self._operations = operations
        self._acknowledgements = acknowledgements
        self._breaker = breaker
        self._grace_ms = grace_ms
        self._now = now
        self._new_id = new_id

    def begin(self, run: Operation, policy: Mapping[str, str], turn: int) -> Operation:
        """Writes a plan that has looked at nothing yet. `turn` says how often the run had been acted on."""
        at = self._now()
        document: dict[str, Any] = {
            "policy": dict(policy),
            "turn": turn,
            "planned_at": at,
            "expires_at": at + LIFE_MS,
            "allowed": self._allowed(run, policy),
            "cursor": None,
            "saved": "",
            "held": 0,
            "wanted": {},
            "skipped": {},
        }
        return self._operations.put(
            run.operation_id, _part(self._new_id(at)), None, document, created_at=at, status=PLANNING, expires_at=at + _KEEP_MS
        )

    def get(self, run_id: str, plan_id: str) -> Operation:
        """Reads a plan. Raises OperationNotFound."""
        plan = self._operations.get(run_id, _part(plan_id)) if plan_id else None
        if plan is None:
            raise OperationNotFound(
                f"there is no plan {plan_id!r} of reconciliation {run_id!r}: POST /reconciliations/{{run_id}}/plan makes one"
            )
        return plan

    def check_caps(self, plan: Operation, run: Operation) -> None:
        """Makes sure that a plan was made under caps that still hold. Raises BreakerOpen where one is lower by now."""
        now = self._allowed(run, plan.document["policy"])
        if any(now[cap] < planned for cap, planned in plan.document["allowed"].items()):
            raise BreakerOpen(
                f"the breaker was lowered since this plan was made: one apply may do {now['actions']} actions by now, and "
                f"{now['per_project']} in one project. Plan anew"
            )

    def go_on(self, plan: Operation, *, out_of_time: Callable[[], bool]) -> Operation:
        """Looks at further findings until all are seen (READY) or time is short."""
        if plan.status != PLANNING:
            return plan
        document = {**plan.document}
        allowed = document["allowed"]
        oldest = Oldest(allowed["actions"], allowed["per_project"], self._held(plan))
        wanted, skipped = Counter(document["wanted"]), Counter(document["skipped"])
        cursor = document["cursor"]
        while True:
            page, cursor = self._operations.parts(plan.operation_id, "finding#", _PAGE, cursor)
            for finding in page:
                self._look_at(finding, document["policy"], oldest, wanted, skipped)
            if cursor is None or out_of_time():
                break
        held = oldest.held()
        saved = self._new_id(self._now())
        for number, some in enumerate(batched(held, _ROW, strict=False)):
            rows = {"held": [list(planned) for planned in some]}
            self._operations.put(
                plan.operation_id, _row(plan, saved, number), None, rows, created_at=self._now(), status="HELD", expires_at=plan.expires_at
            )
        taken: Counter[str] = Counter()
        for planned in held:
            taken[f"{planned.name}.objects"] += 1
            taken[f"{planned.name}.bytes"] += planned.bytes
        document |= {
            "cursor": cursor,
            "saved": saved,
            "held": len(held),
            "wanted": dict(wanted),
            "skipped": dict(skipped),
            "taken": dict(taken),
        }
        return self._operations.update(plan, document=document, status=READY if cursor is None else PLANNING)

    def some(self, plan: Operation, start: int, limit: int) -> Sequence[Planned]:
        """Reads what the plan holds, oldest first, from a place on; at most `limit`, and to the end of a row; nothing after the last.

        Raises:
            Conflict: time tidied a row of it away, which may go before the plan does.
        """
        if start >= plan.document["held"]:
            return []
        row = self._operations.get(plan.operation_id, _row(plan, plan.document["saved"], start // _ROW))
        if row is None:
            raise Conflict(f"what plan {plan_id_of(plan)} holds is kept no longer: plan anew")
        return [Planned(*fields) for fields in row.document["held"][start % _ROW :]][:limit]

    def first_page(self, plan: Operation) -> list[dict[str, Any]]:
        """Reads the findings that would be acted on first, each as it was seen."""
        found = (self._operations.get(plan.operation_id, planned.part) for planned in self.some(plan, 0, SHOWN))
        policy = plan.document["policy"]
        return [
            {**explained(finding.document), "action": policy[name_of(finding.document, policy)]} for finding in found if finding is not None
        ]

    def _allowed(self, run: Operation, policy: Mapping[str, str]) -> dict[str, int]:
        objects = run.document["counts"].get("bucket", {}).get("objects", 0)
        return {"actions": self._breaker.allowed(objects, policy.values()), "per_project": self._breaker.max_per_project}

    def _held(self, plan: Operation) -> list[Planned]:
        held: list[Planned] = []
        while len(held) < plan.document["held"]:
            held += self.some(plan, len(held), _ROW)
        return held

    def _look_at(self, finding: Operation, policy: Mapping[str, str], oldest: Oldest, wanted: Counter[str], skipped: Counter[str]) -> None:
        document = finding.document
        name = name_of(document, policy)
        action = policy.get(name)
        if action is None or not (finding.status in (FOUND, ACTING) or self._is_only_marked(finding, action)):
            return
        # what was begun as this very action may be half done, and is to be ended; as another one it begins anew, or has happened
        is_begun = action_begun(finding) == action
        against = None if is_begun else reason_against(action, document, now=self._now(), grace_ms=self._grace_ms)
        if against is not None:
            skipped[f"{name}.{against}"] += 1
            return
        wanted[f"{name}.objects"] += 1
        wanted[f"{name}.bytes"] += document["bytes"]
        first_seen_at = document.get("first_seen_at", finding.created_at)
        oldest.offer(Planned(first_seen_at, finding.part, name, document["project"] or NOBODY, document["bytes"]))

    def _is_only_marked(self, finding: Operation, action: str) -> bool:
        """Says whether a finding is quiet since its record was marked, and something else is wanted by now."""
        is_quiet = finding.status == ACKNOWLEDGED and finding.document["kind"] == "missing" and action != ACKNOWLEDGE
        return is_quiet and self._acknowledgements.is_marking(finding.document)


def check_usable(plan: Operation, *, now: int, turn: int) -> None:
    """Makes sure that a plan still may be applied. Raises Conflict."""
    if plan.document["turn"] != turn:
        raise Conflict(f"reconciliation {plan.operation_id} has been acted on since this plan was made: plan anew")
    if plan.document["expires_at"] <= now:
        raise Conflict("this plan has expired: plan anew, what it saw may have changed")


def answer(plan: Operation) -> dict[str, Any]:
    """Returns what a plan says of itself: by class what would be done, what is put off and what is left out, and why."""
    document = plan.document
    wanted, skipped, taken = document["wanted"], document["skipped"], document.get("taken", {})
    lines = []
    for name, action in document["policy"].items():
        count, size = taken.get(f"{name}.objects", 0), taken.get(f"{name}.bytes", 0)
        put_off = {"count": wanted.get(f"{name}.objects", 0) - count, "bytes": wanted.get(f"{name}.bytes", 0) - size}
        why = {key.removeprefix(f"{name}."): number for key, number in skipped.items() if key.rpartition(".")[0] == name}
        lines.append({"class": name, "action": action, "count": count, "bytes": size, "deferred": put_off, "skipped": why})
    shown = {field: document[field] for field in ("policy", "planned_at", "expires_at", "allowed")}
    said: dict[str, Any] = {"plan_id": plan_id_of(plan), "run_id": plan.operation_id, "status": plan.status, **shown, "actions": lines}
    deferred = deferred_by(plan)
    if deferred:
        said["warning"] = (
            f"OVER THE BREAKER: {deferred + document['held']} actions are wanted, and one apply may do {document['allowed']['actions']} "
            f"in all and {document['allowed']['per_project']} in one project. The oldest {document['held']} would be done "
            f"and {deferred} put off. Look for the cause before you apply: so many differences at once are seldom what they seem"
        )
    return said


def deferred_by(plan: Operation) -> int:
    """Returns how many findings a plan puts off."""
    document: Any = plan.document
    return int(sum(number for name, number in document["wanted"].items() if name.endswith(".objects")) - document["held"])


def plan_id_of(plan: Operation) -> str:
    """Returns the id by which a plan is asked for."""
    return plan.part.removeprefix("plan#")


def _part(plan_id: str) -> str:
    return f"plan#{plan_id}"


def _row(plan: Operation, saved: str, number: int) -> str:
    return f"held#{plan_id_of(plan)}#{saved}#{number:06d}"
