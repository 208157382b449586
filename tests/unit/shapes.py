"""One event in every shape it may come in, as the stores and carriers write it: `SHAPES[name](bucket, key, removed, sequencer)`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

type Shape = Callable[[str, str, bool, str | None], Any]


def records(source: str, name: str, bucket: str, key: str, sequencer: str | None) -> dict[str, Any]:
    entity = {"key": key} | ({"sequencer": sequencer} if sequencer is not None else {})
    return {"Records": [{"eventSource": source, "eventName": name, "s3": {"bucket": {"name": bucket}, "object": entity}}]}


def s3(bucket: str, key: str, removed: bool, sequencer: str | None) -> Any:
    return records("aws:s3", "ObjectRemoved:Delete" if removed else "ObjectCreated:Put", bucket, quote_plus(key, safe="/"), sequencer)


def minio(bucket: str, key: str, removed: bool, sequencer: str | None) -> Any:
    name = "s3:ObjectRemoved:Delete" if removed else "s3:ObjectCreated:Put"
    return {"EventName": name, "Key": f"{bucket}/{key}", **records("minio:s3", name, bucket, quote_plus(key), sequencer)}


def ceph(bucket: str, key: str, removed: bool, sequencer: str | None) -> Any:
    return records("ceph:s3", "ObjectRemoved:Delete" if removed else "ObjectCreated:Put", bucket, key, sequencer)


def eventbridge(bucket: str, key: str, removed: bool, sequencer: str | None) -> Any:
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": sequencer}}
    return {"source": "aws.s3", "detail-type": "Object Deleted" if removed else "Object Created", "detail": detail}


def r2(bucket: str, key: str, removed: bool, sequencer: str | None) -> Any:
    return {"account": "a", "action": "DeleteObject" if removed else "PutObject", "bucket": bucket, "object": {"key": key}}


def r2_list(bucket: str, key: str, removed: bool, sequencer: str | None) -> Any:
    return [r2(bucket, key, removed, sequencer)] * 2


def in_sns(shape: Shape) -> Shape:
    return lambda *event: {"Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": json.dumps(shape(*event))}


def by_sns(shape: Shape) -> Shape:
    return lambda *event: {"Records": [{"EventSource": "aws:sns", "Sns": in_sns(shape)(*event)}]}


SHAPES: dict[str, Shape] = {
    "S3": s3,
    "MinIO": minio,
    "Ceph": ceph,
    "EventBridge": eventbridge,
    "R2": r2,
    "a list of R2's": r2_list,
    "S3 in SNS": in_sns(s3),
    "EventBridge in SNS": in_sns(eventbridge),
    "S3 by SNS to a function": by_sns(s3),
}
