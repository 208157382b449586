"""Every queue of what failed, by its name, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping

DEAD_LETTERS: Mapping[str, str] = {
    "object-events": "bucket events that failed five times",
    "object-events-undelivered": "bucket events that could not be delivered",
    "deletion": "deletions that failed five times or ended incomplete",
    "deletion-undelivered": "deletions that could not be delivered",
    "deletion-batch": "batches of keys that failed five times",
    "migration": "steps of migrations and exports that failed five times",
    "reconciliation-undelivered": "scheduled runs that could not start",
}
