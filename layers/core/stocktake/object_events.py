"""Object events: what a store says happened in the bucket, made into keys to bring in line.

`notifications` reads them in every shape they come in. An event says where to look and nothing more: `alignment` asks the bucket what is
true. So what an event says of order (sequencer, time) or content (size, ETag) is not used: events may be doubled, late, reordered, lost and
sent again, and have sequencers of any length or none, and the ledger ends the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stocktake.alignment import Aligner, Alignment
from stocktake.errors import InvalidRequest
from stocktake.notifications import ObjectEvent, read_notification


class ObjectEvents:
    """The object_events flow: every event of our bucket ends with ledger equal to bucket for its key."""

    def __init__(self, aligner: Aligner, *, bucket: str) -> None:
        self._aligner = aligner
        self._bucket = bucket

    def handle(
        self, notification: str | Mapping[str, Any], settled: dict[str, Alignment] | None = None
    ) -> list[tuple[ObjectEvent, Alignment]]:
        """Brings every key of one notification in line.

        Args:
            settled: what became of keys of notifications that were received together with this one, by key; the keys of this one are added.
                The bucket is not asked again about those: it was asked after all of the notifications had been sent.

        Raises:
            InvalidRequest: an unknown shape, or an event of another bucket than the one this stack keeps.
            RecordChanged, StorageError, LedgerError: could not be settled now; deliver the notification again.
        """
        events = read_notification(notification)
        for event in events:
            if event.bucket != self._bucket:
                raise InvalidRequest(
                    f"an event of bucket {event.bucket!r} came to the stack that keeps {self._bucket!r}: mend the notification's target"
                )
        known = {} if settled is None else settled
        for event in events:
            if event.key not in known:
                known[event.key] = self._aligner.align(event.key)
        return [(event, known[event.key]) for event in events]
