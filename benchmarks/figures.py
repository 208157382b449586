"""What a benchmark yields, and how it is measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One measurement, with its peer's of the same run where there is one."""

    name: str
    ours: float
    unit: str
    target: float
    better: Literal["higher", "lower"]
    peer_name: str | None = None
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's."""
        return None if self.peer is None else self.ours / self.peer

    @property
    def is_met(self) -> bool:
        """Says whether the figure reaches its target."""
        value = self.ours if self.ratio is None else self.ratio
        return value >= self.target if self.better == "higher" else value <= self.target

    def document(self) -> dict[str, Any]:
        """Returns the figure as it is written."""
        return {
            "name": self.name,
            "ours": round(self.ours, 4),
            "unit": self.unit,
            "peer_name": self.peer_name,
            "peer": None if self.peer is None else round(self.peer, 4),
            "ratio": None if self.ratio is None else round(self.ratio, 4),
            "target": self.target,
            "better": self.better,
        }


def cpu_seconds(work: Callable[[], object], *, runs: int = 5) -> float:
    """Returns the median CPU seconds of `work`, after one run that is not counted."""
    work()
    taken = []
    for _ in range(runs):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)
