"""Notifications: what a store says happened in the bucket, made into object events. Told apart by shape, never by configuration:

| from | its shape | its keys |
|---|---|---|
| S3, and stores that speak as S3 does | `Records` with `s3` | form-encoded |
| MinIO | the same, `minio:s3`, beside a `Key` with the bucket's name in it | form-encoded, slashes too |
| Ceph | the same, `ceph:s3` | plain |
| EventBridge | `source` aws.s3 with `detail` | plain |
| R2 | `action`, `bucket`, `object`; or a list of those | plain |
| SNS, in SQS or by itself | `Type` Notification with `Message`, or `Records` with `Sns` | those of the message inside |
| S3, when a notification is set up | `Event` s3:TestEvent | it names none |

SNS's raw delivery is the message itself, so it is one of these. Events that say nothing about whether the object exists (tags, restores)
are read like the others: the bucket is asked, and finds nothing to change.

Sources: Amazon S3 User Guide, "Event message structure" and "EventBridge event message structure"; Amazon SNS Developer Guide, "Parsing
message formats"; MinIO's cmd/event-notification.go (`url.QueryEscape`); Ceph's rgw_notify.cc (the object's name as it is); Cloudflare R2,
"Event notifications".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from stocktake.errors import InvalidRequest

_LEVELS = 4
"""Envelopes in envelopes. A list from a Worker, and EventBridge by SNS, take two."""

_EXPECTED = (
    "expected are S3, MinIO or Ceph Records, an EventBridge event of aws.s3, an R2 message, or s3:TestEvent, "
    "each as it is or in an SNS notification"
)
_CONFIRMATIONS = ("SubscriptionConfirmation", "UnsubscribeConfirmation")


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """One object that something happened to. The bucket and the key are where to look; the rest is kept for the log and decides nothing.

    `name` is the store's word for what happened, without the `s3:` that some put before it. `sequencer`, `size` in bytes and `at`, the time
    as it was written, are None where the store does not say.
    """

    source: str
    bucket: str
    key: str
    name: str
    sequencer: str | None = None
    size: int | None = None
    at: str | None = None


def read_notification(message: str | Mapping[str, Any]) -> tuple[ObjectEvent, ...]:
    """Reads one notification, as the text that came off a queue or as the event a function was called with; a test event holds none.

    Raises:
        InvalidRequest: it is no notification this version knows, whole; it belongs in the dead-letter queue.
    """
    return tuple(_events(_parsed(message) if isinstance(message, str) else message, _LEVELS))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the notification is not JSON ({type(error).__name__}): {_EXPECTED}") from None  # its text holds keys


def _events(message: Any, levels: int) -> Iterator[ObjectEvent]:
    if not levels:
        raise InvalidRequest(f"the notification is nested over {_LEVELS} deep: send it in one envelope")
    match message:
        case {"Records": [*records]}:
            for record in records:
                yield from _of_record(record, levels)
        case {"source": "aws.s3" as source, "detail-type": str(name), "detail": {"bucket": {"name": str(bucket)}, "object": dict(entity)}}:
            yield _event(source, bucket, entity, name, message.get("time"))
        case {"action": str(name), "bucket": str(bucket), "object": dict(entity)}:
            yield _event("r2", bucket, entity, name, message.get("eventTime"))
        case {"Type": "Notification", "Message": str(text)}:
            yield from _events(_parsed(text), levels - 1)
        case {"Type": str(kind), "TopicArn": str(topic)} if kind in _CONFIRMATIONS:
            # Its SubscribeURL is never fetched: whoever can write to the queue could name any.
            raise InvalidRequest(
                f"this is the {kind} of {topic} and no notification: confirm it as the topic's owner with `aws sns confirm-subscription`, "
                "or subscribe the queue from its own account, which needs none"
            )
        case {"Event": "s3:TestEvent"}:
            return
        case [_, *_]:
            for part in message:
                yield from _events(part, levels - 1)
        case _:
            raise InvalidRequest(f"the notification is of no known shape: {_EXPECTED}")


def _of_record(record: Any, levels: int) -> Iterator[ObjectEvent]:
    match record:
        case {"eventName": str(name), "s3": {"bucket": {"name": str(bucket)}, "object": {"key": str(key)} as entity}}:
            source = str(record.get("eventSource", "s3"))
            decoded = key if source == "ceph:s3" else _decoded(key)
            yield _event(source, bucket, {**entity, "key": decoded}, name.removeprefix("s3:"), record.get("eventTime"))
        case {"Sns": dict(envelope)}:
            yield from _events(envelope, levels - 1)
        case _:
            raise InvalidRequest(f"the notification holds a record of no known shape: {_EXPECTED}")


def _event(source: str, bucket: str, entity: Mapping[str, Any], name: str, at: Any) -> ObjectEvent:
    key, sequencer, size = entity.get("key"), entity.get("sequencer"), entity.get("size")
    if not isinstance(key, str):
        raise InvalidRequest(f"the notification names no key: {_EXPECTED}")
    return ObjectEvent(
        source,
        bucket,
        key,
        name,
        sequencer if isinstance(sequencer, str) else None,
        size if isinstance(size, int) else None,
        at if isinstance(at, str) else None,
    )


def _decoded(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        # read loosely it would be another key, which the bucket does not have: an event lost in silence
        raise InvalidRequest("the notification's key is form-encoded and not UTF-8: no such key can be asked for") from None
