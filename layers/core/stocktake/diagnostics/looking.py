"""All looks as one answer, within the time an API has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from stocktake.diagnostics.check import Check, worst
from stocktake.diagnostics.other_looks import TABLES, OtherLooks
from stocktake.diagnostics.redaction import redacted
from stocktake.diagnostics.side_by_side import Begun, checks_of, failure
from stocktake.diagnostics.store_looks import READING, Reached, StoreLooks, unreached, untried
from stocktake.diagnostics.surroundings import Surroundings

FIRST_SECONDS = 10.0
"""For what does not depend on the bucket, and for its first request."""
LATER_SECONDS = 8.0
"""For what does. Together they leave a third of the 29 s of an API call."""


type _Look = tuple[Sequence[str], Callable[[], Sequence[Check]]]
"""The names of the checks that come of it, and what is done for them."""
type _Looking = tuple[Sequence[str], Begun[Sequence[Check]]]


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """The looks of one deployment."""

    store: StoreLooks
    others: OtherLooks
    surroundings: Surroundings
    now: Callable[[], int]
    first_seconds: float = FIRST_SECONDS
    later_seconds: float = LATER_SECONDS

    def look(self) -> dict[str, Any]:
        """Looks at everything at once, and writes nothing. Raises nothing: what goes wrong is a check that failed."""
        at = self.now()
        reaching = Begun(self.store.reach, self.first_seconds)
        others = _begin(
            self.first_seconds,
            (("environment",), self.others.environment),
            (("waits",), self.others.waits),
            *(((f"table-{role}",), partial(self.others.table, role)) for role in TABLES),
            (("ledger",), self.others.in_use),
            (("conformance",), self.others.profile),
            (("dead-letters",), self.others.dead_letters),
        )
        reached = self._reached(reaching)
        later = _begin(
            self.later_seconds,
            (READING, partial(self.store.read, reached)),
            (("cors",), partial(self.store.cors, reached)),
            (("public-url",), partial(self.store.public_url, reached, self.others.shards)),
        )
        environment, *rest = _ended(others)
        of_bucket = _ended(later)
        # rights, one after the other, before what needs them
        checks = [environment, *reached.checks, *of_bucket[:2], *untried(), *of_bucket[2:], *rest]
        answer = {"as_of": at, "status": worst(checks), "checks": [check.document() for check in checks]}
        return dict(redacted(answer, self._secrets()))

    def _reached(self, reaching: Begun[Reached]) -> Reached:
        try:
            return reaching.result()
        except Exception as error:
            return unreached("bucket", [failure("bucket", error, reaching.seconds)])

    def _secrets(self) -> tuple[str, ...]:
        try:
            return self.surroundings.secrets()
        except Exception:  # where none can be read, none can be told
            return ()


def _begin(seconds: float, *looks: _Look) -> list[_Looking]:
    return [(names, Begun(look, seconds)) for names, look in looks]


def _ended(looking: Sequence[_Looking]) -> list[Check]:
    return [check for names, begun in looking for check in checks_of(names, begun)]
