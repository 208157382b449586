"""From a queue elsewhere into ours: what is carried, and what is acknowledged when."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import ANY, Stubber
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stocktake.errors import MessagingError
from stocktake.messaging import Queue
from stocktake.notifications import read_notification
from stocktake.relay import Leased, Relayed, carried_text, relay

EVENTS = Path(__file__).parents[2] / "events" / "object_events"
EVENT = {"action": "PutObject", "bucket": "data", "object": {"key": "café.png"}}


class Theirs:
    """The other queue. What is leased and not acknowledged comes again when `leases_end` is called."""

    def __init__(self, *bodies: str) -> None:
        self.waiting = [Leased(f"lease-{number}", body) for number, body in enumerate(bodies)]
        self.leased: list[Leased] = []
        self.acknowledged: list[str] = []

    def pull(self) -> list[Leased]:
        taken, self.waiting = self.waiting[:3], self.waiting[3:]
        self.leased += taken
        return taken

    def acknowledge(self, lease_ids: Sequence[str]) -> None:
        self.acknowledged += lease_ids
        self.leased = [message for message in self.leased if message.lease_id not in lease_ids]

    def leases_end(self) -> None:
        self.waiting, self.leased = self.leased + self.waiting, []


def never() -> bool:
    return False


def test_everything_is_carried_and_then_acknowledged() -> None:
    theirs = Theirs("a", "b", "c", "d", "poison")
    ours: list[str] = []

    def send(bodies: Sequence[str]) -> Collection[int]:
        ours.extend(bodies)
        return range(len(bodies))

    assert relay(theirs.pull, send, theirs.acknowledge, out_of_time=never) == Relayed(5, 0)
    assert ours == ["a", "b", "c", "d", "poison"]
    assert theirs.acknowledged == [f"lease-{number}" for number in range(5)]


def test_what_our_queue_did_not_take_is_not_acknowledged_and_keeps_nothing_else_back() -> None:
    theirs = Theirs("a", "b", "c", "d")
    assert relay(theirs.pull, lambda bodies: {0, 2} & set(range(len(bodies))), theirs.acknowledge, out_of_time=never) == Relayed(3, 1)
    assert theirs.acknowledged == ["lease-0", "lease-2", "lease-3"]


@pytest.mark.parametrize("dies_in", ["send", "acknowledge"])
def test_a_death_between_the_queues_loses_nothing(dies_in: str) -> None:
    theirs = Theirs("a", "b")
    ours: list[str] = []

    def send(bodies: Sequence[str]) -> Collection[int]:
        if dies_in == "send":
            raise MessagingError("no answer")
        ours.extend(bodies)
        return range(len(bodies))

    def dying(lease_ids: Sequence[str]) -> None:
        raise MessagingError("no answer")

    with pytest.raises(MessagingError):
        relay(theirs.pull, send, dying, out_of_time=never)
    assert theirs.acknowledged == []
    theirs.leases_end()
    dies_in = ""
    relay(theirs.pull, send, theirs.acknowledge, out_of_time=never)
    assert set(ours) == {"a", "b"}


def test_nothing_more_is_leased_once_the_time_is_over() -> None:
    theirs = Theirs("a", "b", "c", "d")
    answers = iter([False, True])
    relay(theirs.pull, lambda bodies: range(len(bodies)), theirs.acknowledge, out_of_time=lambda: next(answers))
    assert [message.body for message in theirs.waiting] == ["d"]


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("body", [EVENT, json.dumps(EVENT), in_base64(json.dumps(EVENT)), in_base64(json.dumps(EVENT, ensure_ascii=False))])
def test_a_body_may_come_as_json_as_text_or_as_base64(body: Any) -> None:
    [event] = read_notification(carried_text(body))
    assert event.key == "café.png"


@pytest.mark.parametrize("body", ["hello", "7777", "aGVsbG8=", "{", "", in_base64("[" * 100_000), "[" * 100_000])
def test_what_only_looks_encoded_stays_the_text_it_was(body: str) -> None:
    assert carried_text(body) == body


@settings(max_examples=50, deadline=None)
@example("{")
@example('"')
@example("\ufffe")
@given(st.text() | st.dictionaries(st.text(), st.text()))
def test_any_body_becomes_text_that_a_queue_carries_and_that_says_the_same(body: str | dict[str, str]) -> None:
    text = carried_text(body)
    assert all(c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000" for c in text)
    assert text == body or json.loads(text) == body


def test_a_key_that_no_message_can_hold_as_it_is_comes_through_escaped() -> None:
    [event] = read_notification(carried_text(json.dumps({**EVENT, "object": {"key": "a\ufffe"}}, ensure_ascii=False)))
    assert event.key == "a\ufffe"


def test_the_reply_of_a_pull_is_read_with_all_its_ways_to_write_a_body() -> None:
    reply = json.loads((EVENTS / "r2_pull_reply.json").read_text())
    texts = [carried_text(message["body"]) for message in reply["result"]["messages"]]
    assert [[event.name for event in read_notification(text)] for text in texts[:3]] == [["PutObject"], ["PutObject"], ["DeleteObject"]]
    assert texts[3] == "not a notification"


# our side


def a_queue() -> tuple[Queue, Stubber]:
    client = boto3.client("sqs", region_name="eu-north-1", aws_access_key_id="x", aws_secret_access_key="x")
    return Queue(client, "https://sqs.eu-north-1.amazonaws.com/1/q"), Stubber(client)


def taking(stub: Stubber, *ids: int, refused: Collection[int] = ()) -> None:
    entry = {"MD5OfMessageBody": "", "MessageId": "m"}
    failed = [{"Id": str(number), "SenderFault": False, "Code": "InternalError"} for number in refused]
    reply = {"Successful": [{"Id": str(number), **entry} for number in ids], "Failed": failed}
    entries = [{"Id": str(number), "MessageBody": ANY} for number in sorted({*ids, *refused})]
    stub.add_response("send_message_batch", reply, {"QueueUrl": ANY, "Entries": entries})


def test_messages_go_ten_at_a_time() -> None:
    queue, stub = a_queue()
    with stub:
        taking(stub, *range(10))
        taking(stub, 10, 11)
        assert queue.send_all([str(number) for number in range(12)]) == frozenset(range(12))
        assert queue.send_all([]) == frozenset()


def test_a_message_that_is_too_large_for_a_batch_goes_alone_and_fails_alone() -> None:
    queue, stub = a_queue()
    with stub:
        taking(stub, 0)
        stub.add_client_error("send_message_batch", "AWS.SimpleQueueService.BatchRequestTooLong")
        taking(stub, 2)
        assert queue.send_all(["a", "b" * 262_144, "c"]) == {0, 2}


def test_what_the_queue_refused_of_a_batch_is_sent_again_and_the_rest_is_not() -> None:
    queue, stub = a_queue()
    with stub:
        taking(stub, 0, 2, refused=[1])
        taking(stub, 1)
        assert queue.send_all(["a", "b", "c"]) == {0, 1, 2}


def test_what_the_queue_refuses_three_times_is_told_to_be_left() -> None:
    queue, stub = a_queue()
    with stub:
        taking(stub, 0, refused=[1])
        taking(stub, refused=[1])
        taking(stub, refused=[1])
        assert queue.send_all(["a", "b"]) == {0}
        stub.assert_no_pending_responses()


def test_a_queue_that_takes_nothing_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, stub = a_queue()
    with stub:
        stub.add_client_error("send_message_batch", "AccessDenied")
        with pytest.raises(MessagingError, match="took none of the messages \\(AccessDenied\\)"):
            queue.send_all(["a"])
        for _ in range(3):
            taking(stub, refused=[0])
        with pytest.raises(MessagingError, match="took none"):
            queue.send_all(["a"])

    def gone(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://sqs")

    monkeypatch.setattr(queue.client, "send_message_batch", gone)
    with pytest.raises(MessagingError, match="EndpointConnectionError"):
        queue.send_all(["a"])
