"""Recounts: what the records say, beside what is counted of them, shard by shard; put right where that was asked for.

```
attribute (to repair) -> for each shard: read its count rows, read its records, read its count rows again, judge -> latest
```

A row is judged only if its number of writes and its numbers are the same before and after its records were read: then nobody wrote in
between, and both sides are of one moment. Rows that were written meanwhile are looked at again, by themselves, and are *busy* if that
happens each time: nothing is said of them, and nothing done. A row that differs is looked at again too, and has drifted if it was not
written and the same was found: a page of records may show a transaction half done. A repair is a write on condition of what was read, so
it is right however many write beside it.

A recount is an operation. What a shard came to is a part of it, written before the next is begun; where a step ends inside of a shard, what
it saw so far is kept too. So a step may be killed, repeated or delivered twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import batched
from typing import Any

from stocktake.errors import LedgerError, MessagingError, OperationNotFound, RecordChanged, StocktakeError
from stocktake.layouts import project_stem
from stocktake.ledger import CountRow, CountRows, Ledger, Operation, Operations
from stocktake.ledger.counting import Names, Numbers, add, count_differences, spelled
from stocktake.ledger.recounting import Owner, digest_of

KIND = "recount"
LOOKS = 4
"""At a row, before it is busy; two of them in agreement are a drift."""
KEEP_MS = 400 * 86_400_000
SHOWN_PER_SHARD = 100
"""Differences that are kept one by one; all are counted."""

_WALK_MS = 30 * 86_400_000
"""Longer than any queue keeps the message that goes on from there."""

_PROJECTS_PER_PART = 40
"""Of a shard that is not done: 40 x 350 numbers of some 20 bytes stay under DynamoDB's 400 KB."""
_TRANSIENT = (LedgerError, MessagingError)
"""What SQS tries again; anything else that ends a step ends the recount, with its reason."""

Send = Callable[[Mapping[str, Any], int], None]


@dataclass(slots=True)
class _Walk:
    """How far a shard is. `left` are the projects of this look, None for all; `fences` are those of their rows when it began."""

    number: int
    look: int = 0
    after: str = ""
    left: frozenset[str] | None = None
    fences: dict[str, str] = field(default_factory=dict)
    found: dict[str, Numbers] = field(default_factory=dict)
    suspects: dict[str, str] = field(default_factory=dict)
    """The rows that differed at the look before, with what was seen then."""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def shard(self) -> str:
        return f"{self.number:02x}"


class Recounts:
    """The recounts of one deployment.

    Args:
        send: puts a message on the queue that brings the next step.
        lease_ms: how long a step may take; no other begins meanwhile.
    """

    def __init__(
        self,
        ledger: Ledger,
        rows: CountRows,
        operations: Operations,
        *,
        send: Send,
        lease_ms: int,
        now: Callable[[], int],
        new_id: Callable[[int], str],
    ) -> None:
        self._ledger = ledger
        self._rows = rows
        self._operations = operations
        self._send = send
        self._lease_ms = lease_ms
        self._now = now
        self._new_id = new_id

    def request(self, *, repair: bool, project_id: str | None = None) -> Operation:
        """Starts a recount of everything, or of one project.

        Args:
            repair: put right what is counted wrong, and count in every dimension what an older version wrote.

        Raises:
            ProjectNotFound: there is no such project.
            MessagingError: the queue did not take it; the recount is FAILED.
        """
        if project_id is not None:
            project_id = self._ledger.project(project_id).project_id
        operation = self._new(self._new_id(self._now()), repair=repair, project_id=project_id)
        try:
            self._send({"recount_id": operation.operation_id}, 0)
        except MessagingError as error:
            self._update(operation, status="FAILED", why=str(error)[:2000], finished_at=self._now())
            raise
        return operation

    def daily(self) -> Operation:
        """Starts the recount of this day, which repairs nothing, unless it was started.

        Raises:
            MessagingError: the queue did not take it; saying it again starts it.
        """
        operation = self._new(f"daily-{datetime.fromtimestamp(self._now() / 1000, UTC):%Y-%m-%d}", repair=False, project_id=None)
        self._send({"recount_id": operation.operation_id}, 0)
        return operation

    def operation(self, recount_id: str) -> Operation:
        """Reads a recount. Raises OperationNotFound."""
        operation = self._operations.get(recount_id) if recount_id else None
        if operation is None or operation.kind != KIND:
            raise OperationNotFound(f"there is no recount {recount_id!r}: GET /recounts lists the newest")
        return operation

    def recent(self, limit: int) -> list[Operation]:
        """Reads the newest recounts."""
        return self._operations.recent(KIND, limit)

    def answer(self, operation: Operation, *, whole: bool = True) -> dict[str, Any]:
        """Returns what is answered of a recount; `whole` with each difference that was kept."""
        document = operation.document
        answer: dict[str, Any] = {
            "recount_id": operation.operation_id,
            "status": operation.status,
            "repair": document["repair"],
            "project_id": document["project_id"],
            "started_at": document["started_at"],
            "finished_at": document["finished_at"],
            "shards": {"done": document["shard"], "of": self._ledger.shards},
            **document["totals"],
            "why": document["why"],
        }
        if whole:
            rows = self._operations.all_parts(operation.operation_id, "shard#")
            answer["drifted"] = self._spelled([line for row in rows for line in row.document["drifted"]])
        return answer

    def _spelled(self, kept: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Says what each difference is of, by the names that its project has now; those of an ended life are gone with it."""
        owners = self._rows.owners({line["project"] for line in kept})
        lines = []
        for line in kept:
            owner = owners.get(line["project"])
            names = owner.names if owner is not None and owner.life == line["life"] else Names()
            sides = {side: line[side] for side in ("counted", "found")}
            lines.append({"project_id": line["project_id"], "shard": line["shard"], "of": spelled(line["of"], names), **sides})
        return lines

    def step(self, recount_id: str, *, out_of_time: Callable[[], bool]) -> Operation:
        """Works on a recount until it is done or out of time; hands on what is left. Returns it as it is afterwards.

        Raises:
            LedgerError, MessagingError: for now it cannot go on; the message comes again.
        """
        operation = self.operation(recount_id)
        if operation.status != "RUNNING" or operation.document["leased_until"] > self._now():
            return operation
        try:
            operation = self._update(operation, leased_until=self._now() + self._lease_ms)
            while (number := operation.document["shard"]) < self._ledger.shards:
                walk = self._taken_up(operation) or _Walk(number, left=self._only(operation), result=_nothing())
                if not self._count(operation, walk, out_of_time):
                    operation = self._update(operation, walk=self._kept(operation, walk), leased_until=0)
                    self._send({"recount_id": recount_id}, 0)
                    return operation
                operation = self._ended(operation, walk)
            operation = self._update(operation, status="DONE", finished_at=self._now(), leased_until=0)
            if operation.document["project_id"] is None:
                document = {"recount_id": recount_id, "finished_at": operation.document["finished_at"], **operation.document["totals"]}
                self._operations.put("latest", KIND, None, document, created_at=self._now(), status="DONE")
            return operation
        except RecordChanged:
            return self.operation(recount_id)  # another delivery has it
        except _TRANSIENT:
            self._update(operation, leased_until=0)
            raise
        except StocktakeError as error:
            return self._update(operation, status="FAILED", why=str(error)[:2000], finished_at=self._now(), leased_until=0)

    def _count(self, operation: Operation, walk: _Walk, late: Callable[[], bool]) -> bool:
        """Counts a shard, look by look, and puts it right where that was asked for; False when time is short."""
        repairs = operation.document["repair"]
        if walk.look == 0:
            if repairs and not self._attribute(walk, late):
                return False
            walk.look, walk.after = 1, ""
        while walk.look <= LOOKS:
            if not walk.after:
                walk.fences = {row.project: row.fence for row in self._rows.rows(walk.shard, walk.left)}
                walk.found = {}
            for page in self._rows.records(walk.shard, walk.after, walk.left):
                for project, numbers in page.numbers.items():
                    add(walk.found.setdefault(project, {}), numbers)
                if page.last is not None:
                    walk.after = page.last
                    if late():
                        return False
            self._judge(walk, repair_as=operation.operation_id if repairs else None)
            if not walk.left:
                break
            walk.look, walk.after = walk.look + 1, ""
            self._rows.rest()
        walk.result["busy"] = len(walk.left or ())
        return True

    def _attribute(self, walk: _Walk, late: Callable[[], bool]) -> bool:
        for page in self._rows.records(walk.shard, walk.after, walk.left):
            for keys in batched(page.unattributed, 100, strict=False):
                walk.result["attributed"] += self._ledger.attribute(self._ledger.records(keys).values())
            if page.last is not None:
                walk.after = page.last
                if late():
                    return False
        return True

    def _judge(self, walk: _Walk, *, repair_as: str | None) -> None:
        """Judges the rows of a look; leaves to the next one those that were written meanwhile, and those that differ for the first time.

        Args:
            repair_as: the recount that repairs what differs, None for one that does not.
        """
        busy: set[str] = set()
        seen: set[str] = set()
        before, walk.suspects = walk.suspects, {}
        for row in self._rows.rows(walk.shard, walk.left):
            seen.add(row.project)
            if walk.fences.get(row.project) != row.fence:
                busy.add(row.project)
                continue
            found = {name: number for name, number in walk.found.get(row.project, {}).items() if number}
            counted = {name: number for name, number in row.numbers.items() if number}
            if found == counted:
                walk.result["rows"] += 1
                if repair_as is not None and row.repaired_by == repair_as:
                    # by this recount, which was not told so, or was killed before it had written it down
                    walk.result["drifted_rows"] += 1
                    walk.result["repaired"] += 1
            elif before.get(row.project) != (sight := digest_of([row.fence, found])):
                walk.suspects[row.project] = sight
                busy.add(row.project)
            elif repair_as is not None and not self._rows.repair(row, found, by=repair_as):
                busy.add(row.project)
            else:
                walk.result["rows"] += 1
                walk.result["repaired"] += repair_as is not None
                self._note(walk, row, counted, found)
        # records of a project that has no row here, and no commit can be counted on one: other hands removed it
        for project in walk.found.keys() - seen:
            walk.result["rows"] += 1
            self._note(walk, CountRow(project, walk.shard, 0, {}), {}, walk.found[project])
        walk.left = frozenset(busy)

    def _note(self, walk: _Walk, row: CountRow, counted: Numbers, found: Numbers) -> None:
        walk.result["drifted_rows"] += 1
        room = SHOWN_PER_SHARD - len(walk.result["drifted"])
        lines = count_differences(counted, found)[: max(room, 0)]
        owner = self._rows.owners([row.project]).get(row.project, Owner(row.project, 0, Names()))
        whose = {"project": row.project, "project_id": owner.project_id, "life": owner.life, "shard": row.shard}
        walk.result["drifted"] += [{**whose, **line} for line in lines]

    def _new(self, recount_id: str, *, repair: bool, project_id: str | None) -> Operation:
        at = self._now()
        document: dict[str, Any] = {
            "repair": repair,
            "project_id": project_id,
            "started_at": at,
            "finished_at": None,
            "shard": 0,
            "walk": None,
            "totals": dict.fromkeys(_TOTALS, 0),
            "leased_until": 0,
            "why": None,
        }
        self._operations.put_new(recount_id, "", KIND, document, created_at=at, status="RUNNING", expires_at=at + KEEP_MS)
        return self.operation(recount_id)

    def _ended(self, operation: Operation, walk: _Walk) -> Operation:
        """Writes what a shard came to, then goes on to the next."""
        at = self._now()
        part = f"shard#{walk.shard}"
        self._operations.put(operation.operation_id, part, None, walk.result, created_at=at, status="COUNTED", expires_at=at + KEEP_MS)
        totals = {name: operation.document["totals"][name] + walk.result[name] for name in _TOTALS}
        return self._update(operation, shard=walk.number + 1, totals=totals, walk=None, leased_until=at + self._lease_ms)

    def _kept(self, operation: Operation, walk: _Walk) -> dict[str, Any]:
        """Keeps how far a shard is: what was found in rows of some projects each.

        The rows bear the version that this step holds. So a step that dies before it has written their version down overwrites nothing of
        what the next one goes on from.
        """
        left = walk.left or frozenset()
        parts = list(batched(sorted({*walk.fences, *walk.found, *left}), _PROJECTS_PER_PART, strict=False))
        at = self._now()
        for place, some in enumerate(parts):
            document = {name: [name in left, walk.fences.get(name), walk.found.get(name, {}), walk.suspects.get(name)] for name in some}
            part = _walk_part(operation.version, place)
            self._operations.put(operation.operation_id, part, None, document, created_at=at, status="KEPT", expires_at=at + _WALK_MS)
        return {
            "version": operation.version,
            "look": walk.look,
            "after": walk.after,
            "all": walk.left is None,
            "parts": len(parts),
            "result": walk.result,
        }

    def _taken_up(self, operation: Operation) -> _Walk | None:
        kept = operation.document["walk"]
        if kept is None:
            return None
        walk = _Walk(operation.document["shard"], kept["look"], kept["after"], result=dict(kept["result"]))
        left = set[str]()
        for place in range(kept["parts"]):
            row = self._operations.get(operation.operation_id, _walk_part(kept["version"], place))
            if row is None:
                return None  # tidied away: the shard is begun anew
            for project, (is_left, fence, found, sight) in row.document.items():
                if is_left:
                    left.add(project)
                if fence is not None:
                    walk.fences[project] = fence
                if found:
                    walk.found[project] = found
                if sight is not None:
                    walk.suspects[project] = sight
        walk.left = None if kept["all"] else frozenset(left)
        return walk

    def _only(self, operation: Operation) -> frozenset[str] | None:
        project_id = operation.document["project_id"]
        return None if project_id is None else frozenset({project_stem(project_id)})

    def _update(self, operation: Operation, *, status: str | None = None, **change: Any) -> Operation:
        return self._operations.update(operation, document={**operation.document, **change}, status=status)


_TOTALS = ("rows", "drifted_rows", "repaired", "busy", "attributed")


def _nothing() -> dict[str, Any]:
    return {**dict.fromkeys(_TOTALS, 0), "drifted": []}


def _walk_part(version: int, place: int) -> str:
    return f"walk#{version:09d}#{place:06d}"
