"""Where a deletion's messages go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Send = Callable[[Mapping[str, Any], int], None]
"""Puts a message on a queue, to be seen after so many seconds (0 to 900)."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where a deletion's messages go: the event bus, the two queues, and the dead-letter queue of what an operator must free."""

    publish: Callable[[Mapping[str, Any]], None]
    steps: Send
    batches: Send
    dead_letters: Send
