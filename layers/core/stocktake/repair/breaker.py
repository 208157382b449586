"""The breaker: how much one apply may do, and which findings that is when there are more.

The oldest go first. Findings lie by key and not by age, so one pass offers them all, and no more are held than may be acted on: an older
one that comes later takes the place of the newest that is held, of its project where the project is full and of all where everything is.
That ends with what sorting them all and taking from the oldest would have taken: whatever was let go has enough older ones before it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

SMALL = 100
"""Actions below which a share of the bucket does not bind: else a small bucket could not be repaired at all."""
FOR_GOOD = "delete"
"""The action by which bytes go that nothing brings back: a share binds it in a bucket of any size."""


class Planned(NamedTuple):
    """A finding that is to be acted on. The order of the fields is that of the acting: by age, then by name."""

    first_seen_at: int
    part: str
    name: str
    project: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """Args: most actions of one apply; most as a share, in percent, of the objects in the bucket; most in one project. 0 is none at all."""

    max_actions: int
    max_percent: int
    max_per_project: int

    @property
    def is_shut(self) -> bool:
        """Whether nothing may be done."""
        return 0 in (self.max_actions, self.max_percent, self.max_per_project)

    def allowed(self, objects: int, actions: Iterable[str]) -> int:
        """Returns how many of these actions one apply may hold in a bucket of so many objects, of all of them together."""
        least = 1 if FOR_GOOD in actions else SMALL
        return 0 if self.is_shut else min(self.max_actions, max(least, objects * self.max_percent // 100))


class Oldest:
    """The oldest of what is offered, at most `total` and at most `per_project` of one project. Memory grows with `total` alone."""

    def __init__(self, total: int, per_project: int, held: Iterable[Planned] = ()) -> None:
        self._total = total
        self._per_project = per_project
        self._all: list[Planned] = []
        self._of_project: dict[str, list[Planned]] = {}
        for planned in held:
            self.offer(planned)

    def offer(self, planned: Planned) -> None:
        """Takes it if it is among the oldest so far; offered twice it is held once."""
        if not self._total or not self._per_project or (len(self._all) >= self._total and planned >= self._all[-1]):
            return
        place = bisect_left(self._all, planned)
        if place < len(self._all) and self._all[place] == planned:
            return
        own = self._of_project.setdefault(planned.project, [])
        if len(own) >= self._per_project:
            if planned >= own[-1]:
                return
            self._drop(own[-1])
        insort(self._all, planned)
        insort(self._of_project.setdefault(planned.project, []), planned)
        if len(self._all) > self._total:
            self._drop(self._all[-1])

    def held(self) -> list[Planned]:
        """Returns what is held, oldest first."""
        return list(self._all)

    def _drop(self, planned: Planned) -> None:
        del self._all[bisect_left(self._all, planned)]
        own = self._of_project[planned.project]
        del own[bisect_left(own, planned)]
        if not own:
            del self._of_project[planned.project]
