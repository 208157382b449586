"""What a run counts: per range while it walks, per project in rows of bounded size, and nested as it is answered."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stocktake.ledger import Operation, Operations

PROJECTS_PER_PART = 2000
"""Projects counted in one row: 2,000 x about 120 bytes stays under DynamoDB's 400 KB."""


@dataclass(slots=True)
class Totals:
    """What one range saw, kept with its cursor."""

    counts: Counter[str] = field(default_factory=Counter)
    projects: dict[str, list[int]] = field(default_factory=dict)
    flushed: int = 0

    def add(self, name: str, size: int) -> None:
        self.counts[f"{name}.objects"] += 1
        self.counts[f"{name}.bytes"] += size

    def own(self, project: str, size: int, *, side: int) -> None:
        """Counts an object for a project: side 0 is the bucket's, side 1 the ledger's."""
        tally = self.projects.setdefault(project, [0, 0, 0, 0])
        tally[2 * side] += 1
        tally[2 * side + 1] += size


def project_row(stem: str, rows: int) -> int:
    """Says in which of `rows` rows of a run a project's count lies."""
    return zlib.crc32(stem.encode()) % rows


def projects_part(number: int) -> str:
    """Names a row of a run's counts by project."""
    return f"projects#{number:06d}"


def count_of_project(operations: Operations, run: Operation, stem: str) -> dict[str, dict[str, int]]:
    """Reads what a run counted for one project, in the bucket and as stored in the ledger."""
    row = operations.get(run.operation_id, projects_part(project_row(stem, run.document["project_rows"])))
    objects, size, stored, stored_size = row.document["projects"].get(stem, (0, 0, 0, 0)) if row else (0, 0, 0, 0)
    return {"bucket": {"objects": objects, "bytes": size}, "ledger": {"objects": stored, "bytes": stored_size}}


def nested(counts: Mapping[str, int]) -> dict[str, Any]:
    """Turns `{"ledger.stored.objects": 3}` into `{"ledger": {"stored": {"objects": 3}}}`."""
    tree: dict[str, Any] = {}
    for name, number in sorted(counts.items()):
        *path, last = name.split(".")
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch[last] = number
    return tree
