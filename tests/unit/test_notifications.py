from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocktake.errors import InvalidRequest
from stocktake.notifications import ObjectEvent, read_notification
from tests.unit.shapes import SHAPES, Shape, in_sns, s3

EVENTS = Path(__file__).parents[2] / "events" / "object_events"
KEY = "projects/proj_sunset/2026/11/01KAHXPLEN0000000000000000.png"
SPECIAL = "projects/proj_sunset/scenes/act one+two/media/100% café.png"


def file(case: str) -> Any:
    return json.loads((EVENTS / f"{case}.json").read_text())


def read(case: str) -> list[ObjectEvent]:
    """Reads an event file: each message of a batch of SQS, or the event as a function gets it."""
    document = file(case)
    bodies = [record["body"] for record in document.get("Records", ()) if "body" in record]
    return [event for notification in bodies or [document] for event in read_notification(notification)]


@pytest.mark.parametrize(
    ("case", "source", "name", "key", "size"),
    [
        ("s3_created", "aws:s3", "ObjectCreated:Put", KEY, 119),
        ("s3_direct", "aws:s3", "ObjectCreated:Put", KEY, 119),
        ("s3_created_zero_bytes", "aws:s3", "ObjectCreated:Put", KEY, 0),
        ("s3_created_encoded_key", "aws:s3", "ObjectCreated:Put", "projects/proj_sunset/scenes/act one+two/media/café.png", 119),
        ("s3_created_url_decoded_key", "aws:s3", "ObjectCreated:Put", SPECIAL, 119),
        ("s3_removed", "aws:s3", "ObjectRemoved:Delete", KEY, None),
        ("s3_delete_marker_created", "aws:s3", "ObjectRemoved:DeleteMarkerCreated", KEY, None),
        ("s3_lifecycle_expired", "aws:s3", "LifecycleExpiration:Delete", KEY, None),
        ("s3_restored", "aws:s3", "ObjectRestore:Completed", KEY, 119),
        ("s3_tagged", "aws:s3", "ObjectTagging:Put", KEY, None),
        ("sns_direct", "aws:s3", "ObjectCreated:Put", KEY, 119),
        ("sns_in_sqs", "aws:s3", "ObjectCreated:Put", SPECIAL, 119),
        ("sns_raw_in_sqs", "aws:s3", "ObjectCreated:Put", KEY, 119),
        ("eventbridge_created", "aws.s3", "Object Created", "projects/proj_sunset/scenes/act one/media/café.png", 119),
        ("eventbridge_direct", "aws.s3", "Object Created", KEY, 119),
        ("eventbridge_in_sns", "aws.s3", "Object Created", SPECIAL, 119),
        ("eventbridge_deleted", "aws.s3", "Object Deleted", KEY, None),
        ("eventbridge_lifecycle_expired", "aws.s3", "Object Deleted", KEY, None),
        ("eventbridge_tagged", "aws.s3", "Object Tags Added", KEY, None),
        ("minio_created", "minio:s3", "ObjectCreated:Put", SPECIAL, 119),
        ("minio_created_zero_bytes", "minio:s3", "ObjectCreated:Put", KEY, None),
        ("minio_removed", "minio:s3", "ObjectRemoved:Delete", KEY, None),
        ("ceph_created", "ceph:s3", "ObjectCreated:Put", SPECIAL, 119),
        ("ceph_removed", "ceph:s3", "ObjectRemoved:Delete", KEY, 0),
        ("r2_put", "r2", "PutObject", SPECIAL, 119),
        ("r2_copied", "r2", "CopyObject", KEY, 119),
        ("r2_multipart_completed", "r2", "CompleteMultipartUpload", KEY, 119),
        ("r2_deleted", "r2", "DeleteObject", KEY, None),
        ("r2_lifecycle_deleted", "r2", "LifecycleDeletion", KEY, None),
    ],
)
def test_every_shape_is_read_into_one(case: str, source: str, name: str, key: str, size: int | None) -> None:
    [event] = read(case)
    assert (event.source, event.name, event.bucket, event.key, event.size) == (source, name, "stocktake-data", key, size)
    assert event.at is not None and event.at.startswith("2026-11-21T05:30:00")


def test_several_messages_of_r2_may_come_in_one_list() -> None:
    assert [event.key for event in read("r2_list")] == [SPECIAL, KEY]


def test_a_sequencer_is_kept_as_it_was_written_where_there_is_one() -> None:
    sequencers = [event.sequencer for event in read("s3_sequencers_of_different_length")]
    assert sequencers == ["0055AED6DCD90281E5", "0065A1B2C3D4E5F6", None, "00"]


@pytest.mark.parametrize("case", ["s3_test_event", "sns_test_event"])
def test_the_test_event_of_a_new_notification_names_no_object(case: str) -> None:
    assert read(case) == []


def test_a_subscription_is_never_confirmed_by_itself_and_the_refusal_says_how_it_is() -> None:
    with pytest.raises(InvalidRequest, match="confirm-subscription") as refused:
        read("sns_subscription_confirmation")
    assert "bucket-events" in str(refused.value)
    assert "2336412f37f" not in str(refused.value)  # its token confirms


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        "",
        "[" * 100_000,
        "[]",
        "7",
        "null",
        '"a text"',
        "{}",
        '{"Records": [{"s3": {}}]}',
        '{"Records": [7]}',
        '{"Records": {}}',
        '{"Records": [{"eventName": "x", "s3": {"bucket": {"name": "b"}, "object": {"key": 7}}}]}',
        '{"source": "aws.s3", "detail": {}}',
        '{"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {}}}',
        '{"source": "aws.ec2", "detail-type": "x", "detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}}',
        '{"action": "PutObject", "bucket": "b", "object": {"size": 1}}',
        '{"action": "PutObject", "bucket": null, "object": {"key": "k"}}',
        '{"Type": "Notification", "Message": "hello"}',
        '{"Type": "Notification", "Message": {"Records": []}}',
        '{"Event": "s3:OtherEvent"}',
    ],
)
def test_what_is_no_notification_is_refused_and_told_what_was_expected(body: str) -> None:
    with pytest.raises(InvalidRequest, match=r"notification.*expected are S3, MinIO or Ceph Records"):
        read_notification(body)


def test_a_key_that_is_encoded_as_no_key_can_be_is_refused_and_not_read_as_another() -> None:
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        read_notification(json.dumps(s3("b", "k", False, None)).replace('"k"', '"caf%E9.png"'))


def test_envelopes_are_opened_to_a_depth_and_no_further() -> None:
    shape: Shape = s3
    for _ in range(3):
        shape = in_sns(shape)
    assert [event.key for event in read_notification(shape("b", "k", False, None))] == ["k"]
    with pytest.raises(InvalidRequest, match="nested"):
        read_notification(in_sns(shape)("b", "k", False, None))


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1).filter(lambda key: key.isprintable()), st.sampled_from(sorted(SHAPES)), st.booleans(), st.text(max_size=20))
def test_any_key_comes_through_any_shape_as_it_is(key: str, shape: str, removed: bool, sequencer: str) -> None:
    events = read_notification(json.dumps(SHAPES[shape]("b", key, removed, sequencer)))
    assert {(event.bucket, event.key) for event in events} == {("b", key)}


@settings(max_examples=30, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part)))
def test_whatever_comes_is_read_or_refused_and_nothing_else(message: Any) -> None:
    for disguised in (message, {"Records": message}, {"Records": [message]}, {"action": "a", "bucket": "b", "object": message}):
        try:
            read_notification(json.dumps(disguised))
        except InvalidRequest:
            continue
