"""Looks at what is not the bucket: settings, waits, tables, ledger, dead letters, and what the store was seen to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stocktake.conformance import Conformance
from stocktake.dead_letters import DEAD_LETTERS
from stocktake.diagnostics.check import Check
from stocktake.diagnostics.store_looks import skipped
from stocktake.diagnostics.surroundings import Surroundings
from stocktake.errors import StocktakeError
from stocktake.ledger import SHAPES, Ledger, TableShape, differences, weaknesses

TABLES = tuple(SHAPES)


@dataclass(frozen=True, slots=True)
class OtherLooks:
    """Looks at one deployment, past its bucket."""

    surroundings: Surroundings
    ledger: Ledger
    conformance: Conformance
    is_storing: bool
    shards: int
    early: Sequence[str]

    def environment(self) -> Sequence[Check]:
        """Says of every setting whether it is set and can be read; never what it is."""
        seen = self.surroundings.settings()
        detail = {"settings": dict(sorted(seen.standing.items()))}
        if seen.complaints:
            said = f"Settings of the functions are wrong: {'; '.join(seen.complaints)}"
            return [Check("environment", "failed", said, "Correct the stack's parameters and deploy", detail)]
        if not self.is_storing:
            said = "Storage is switched off (ENABLE_STORAGE): what is uploaded stays in the ledger, and is not counted as stored"
            return [Check("environment", "warning", said, "Set EnableStorage to true, then migrate what is inline", detail)]
        return [Check("environment", "ok", f"All {len(seen.standing)} settings can be read", None, detail)]

    def waits(self) -> Sequence[Check]:
        """Says whether a wait ends before what it waits for has, as it may on a trial stack."""
        if self.surroundings.settings().about(*_EARLY):
            return skipped(("waits",), "environment")
        if self.early:
            said = f"Waits are cut short: {'; '.join(f'{name}, so that {_EARLY[name]}' for name in self.early)}"
            todo = "Set EarlyGraceSeconds and EarlySweepSeconds to 0, unless nothing in this stack is to be kept"
            return [Check("waits", "warning", said, todo, {"early": list(self.early)})]
        said = "Nothing is judged, and no receipt written, before the URLs given out have ended"
        return [Check("waits", "ok", said, None, {"early": []})]

    def table(self, role: str) -> Sequence[Check]:
        """Holds a table against what the code reads and writes by."""
        name = f"table-{role}"
        if self.surroundings.settings().about(f"{role.upper()}_TABLE"):
            return skipped((name,), "environment")
        wanted, found = SHAPES[role], self.surroundings.table(role)
        lacks, weak = differences(wanted, found), weaknesses(wanted, found)
        detail = {**_described(found), "missing": lacks}
        if lacks:
            todo = _REDEPLOY if found.key == wanted.key else _ANOTHER
            return [Check(name, "failed", f"The table of {role} is not as the code expects it: {'; '.join(lacks)}", todo, detail)]
        if weak:
            return [Check(name, "warning", f"The table of {role} does its work, but {'; '.join(weak)}", _REDEPLOY, detail)]
        return [Check(name, "ok", f"The table of {role} is as the code expects it", None, detail)]

    def in_use(self) -> Sequence[Check]:
        """Reads the ledger, and that it is divided as it was when it was first used."""
        if self.surroundings.settings().about("OBJECTS_TABLE", "PROJECTS_TABLE", "OPERATIONS_TABLE"):
            return skipped(("ledger",), "environment")
        shards = self.ledger.first_use()
        if shards is None:
            return [Check("ledger", "ok", "The ledger can be read; nothing has been recorded in it yet")]
        if shards != self.shards:
            said = f"LEDGER_SHARDS is {self.shards}, and these tables were first used with {shards}: records are looked for in wrong places"
            return [Check("ledger", "failed", said, f"Set LEDGER_SHARDS to {shards}", {"shards": shards, "configured": self.shards})]
        return [Check("ledger", "ok", "The ledger can be read", None, {"shards": shards})]

    def dead_letters(self) -> Sequence[Check]:
        """Counts what waits in each queue of dead letters, as SQS estimates."""
        name, counts, untold = "dead-letters", dict[str, int | None](), list[str]()
        if not self.surroundings.queues:
            return [Check(name, "skipped", "No queue of dead letters is named here (DEAD_LETTER_QUEUES)", "Deploy the stack anew")]
        for queue in self.surroundings.queues:
            try:
                counts[queue] = self.surroundings.letters(queue)
            except StocktakeError as error:
                counts[queue] = None
                untold.append(f"{queue} ({error})")
        detail = {"queues": counts}
        if untold:
            said = f"Queues of dead letters cannot be counted: {'; '.join(untold)}"
            return [Check(name, "failed", said, "See the function's role, and that the queues are there", detail)]
        waiting = {queue: count for queue, count in counts.items() if count}
        if waiting:
            listed = "; ".join(f"{count} in {queue}, {DEAD_LETTERS.get(queue, 'what failed')}" for queue, count in waiting.items())
            said = f"What failed without a word to its caller waits to be looked at: {listed}"
            return [Check(name, "warning", said, "Free the cause, then stocktake redrive QUEUE --yes sends them back", detail)]
        return [Check(name, "ok", f"Nothing waits in {len(counts)} queues of dead letters", None, detail)]

    def profile(self) -> Sequence[Check]:
        """Says what is known of the store; tries nothing."""
        known = self.conformance.known()
        if known is None:
            said = "What the store can do has not been tried yet; the first upload or run tries it"
            return [Check("conformance", "skipped", said, "GET /diagnostics/conformance tries it now")]
        answer = self.conformance.answer(known)
        without = [line["name"] for line in answer["lines"] if not line["holds"] and line["name"] not in _NEUTRAL]
        detail = {"profile": known.as_dict(), "probed_at": answer["probed_at"]}
        said = f"The store does without {', '.join(without)}, and the code goes another way there" if without else "The store can do all"
        return [Check("conformance", "ok", said, None, detail)]


def _described(found: TableShape) -> dict[str, object]:
    return {
        "key": list(found.key),
        "indexes": {
            name: {"key": list(index.key), "carries": None if index.carries is None else sorted(index.carries), "status": index.status}
            for name, index in sorted(found.indexes.items())
        },
        "expires_by": found.expires_by or None,
        "point_in_time_recovery": found.recovery,
        "on_demand": found.on_demand,
        "streams": found.streams,
        "status": found.status,
    }


_EARLY = {
    "EARLY_GRACE_SECONDS": "a run may report an upload on its way, and a repair act on it",
    "EARLY_SWEEP_SECONDS": "a URL given out before may bring an object after the receipt",
}
_NEUTRAL = ("versioning", "md5_needed")
"""Lines of a profile that a store is no worse without."""
_REDEPLOY = "Deploy the stack anew: its template makes the table as it should be"
_ANOTHER = "The key of a table never changes, so this is another table: see which one the setting names"
