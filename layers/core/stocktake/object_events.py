"""Object events: what a store says happened in the bucket, made into keys to bring in line.

Shapes read here: S3's own notification (`Records`, keys form-encoded), S3 through EventBridge (`detail`, keys plain) and S3's test event,
which names no object. An event says where to look; `alignment` asks the bucket what is true.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from stocktake.alignment import Aligner, Alignment
from stocktake.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """One object that something happened to. `name` is the store's word for what, kept for the log."""

    bucket: str
    key: str
    name: str


def read_events(body: str) -> list[ObjectEvent]:
    """Reads a notification as it came off the queue; a test event holds none.

    Raises:
        InvalidRequest: it is no notification this version knows; the message belongs in the dead-letter queue.
    """
    try:
        message = json.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"the notification is not JSON: {error}") from error
    if isinstance(message, dict):
        try:
            if isinstance(message.get("Records"), list):
                return [_from_s3(record) for record in message["Records"]]
            if message.get("source") == "aws.s3" and isinstance(message.get("detail"), dict):
                return [_from_eventbridge(message)]
        except (KeyError, TypeError) as error:
            raise InvalidRequest(f"the notification lacks {error}: it is not an object event of a known shape") from error
        if message.get("Event") == "s3:TestEvent":
            return []
    raise InvalidRequest("the notification is of no known shape: expected S3 Records, an EventBridge detail of aws.s3, or s3:TestEvent")


def _from_s3(record: Mapping[str, Any]) -> ObjectEvent:
    # S3 form-encodes keys in its own notifications, so a space comes as "+"; decoded once, here
    entity = record["s3"]
    return ObjectEvent(entity["bucket"]["name"], unquote_plus(entity["object"]["key"]), record["eventName"])


def _from_eventbridge(message: Mapping[str, Any]) -> ObjectEvent:
    detail = message["detail"]
    return ObjectEvent(detail["bucket"]["name"], detail["object"]["key"], message["detail-type"])


class ObjectEvents:
    """The object_events flow: every event of our bucket ends with ledger equal to bucket for its key."""

    def __init__(self, aligner: Aligner, *, bucket: str) -> None:
        self._aligner = aligner
        self._bucket = bucket

    def handle(self, body: str) -> list[tuple[ObjectEvent, Alignment]]:
        """Brings every key of one notification in line.

        Raises:
            InvalidRequest: an unknown shape, or an event of another bucket than the one this stack keeps.
            RecordChanged, StorageError, LedgerError: could not be settled now; deliver the notification again.
        """
        events = read_events(body)
        for event in events:
            if event.bucket != self._bucket:
                raise InvalidRequest(
                    f"an event of bucket {event.bucket!r} came to the stack that keeps {self._bucket!r}: mend the notification's target"
                )
        return [(event, self._aligner.align(event.key)) for event in events]
