"""object_events: every shape of events/object_events through its handler, and R2's on their way into the queue."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

import object_events
from stocktake.errors import ConfigurationError, InvalidRequest, MessagingError
from stocktake.model import State, StoredObject
from stocktake.notifications import read_notification
from stocktake.services import Services
from tests.functions.conftest import BODY, EVENTS, KEY, REGION, Scene, context, stock
from tests.issuer import bearer
from tests.unit.test_edges import ENVIRONMENT

SPECIAL = "projects/proj_sunset/scenes/act one+two/media/100% café.png"
CREATED = {
    "s3_created": KEY,
    "s3_direct": KEY,
    "s3_created_zero_bytes": KEY,
    "s3_created_encoded_key": "projects/proj_sunset/scenes/act one+two/media/café.png",
    "s3_created_url_decoded_key": SPECIAL,
    "s3_sequencers_of_different_length": KEY,
    "s3_restored": KEY,
    "s3_tagged": KEY,
    "sns_direct": KEY,
    "sns_in_sqs": SPECIAL,
    "sns_raw_in_sqs": KEY,
    "eventbridge_created": "projects/proj_sunset/scenes/act one/media/café.png",
    "eventbridge_direct": KEY,
    "eventbridge_in_sns": SPECIAL,
    "eventbridge_tagged": KEY,
    "minio_created": SPECIAL,
    "minio_created_zero_bytes": KEY,
    "ceph_created": SPECIAL,
    "r2_put": SPECIAL,
    "r2_copied": KEY,
    "r2_multipart_completed": KEY,
    "r2_list": KEY,
}
REMOVED = [
    "s3_removed",
    "s3_delete_marker_created",
    "s3_lifecycle_expired",
    "eventbridge_deleted",
    "eventbridge_lifecycle_expired",
    "minio_removed",
    "ceph_removed",
    "r2_deleted",
    "r2_lifecycle_deleted",
]
DIRECT = ["s3_direct", "sns_direct", "eventbridge_direct"]
WEBHOOK_SECRET = "a secret of thirty-two characters or more"
SIGNED_AT_MS = 1_795_239_000_000


def remove(key: str = KEY) -> None:
    boto3.client("s3", REGION).delete_object(Bucket="stocktake-data", Key=key)


def put(key: str = KEY, body: bytes = BODY) -> None:
    boto3.client("s3", REGION).put_object(Bucket="stocktake-data", Key=key, Body=body)


def settled(scene: Scene, case: str) -> bool:
    """Invokes the handler with an event file; a direct call answers nothing, and raises if it fails."""
    answer = scene.call(object_events.handler, f"object_events/{case}")
    return bool(answer == (None if case in DIRECT else {"batchItemFailures": []}))


def state(scene: Scene, key: str = KEY) -> State | None:
    record = scene.services.ledger.record(key)
    return None if record is None else record.state


def test_every_event_of_an_object_that_is_there_ends_with_its_record_and_of_one_that_is_gone_without(scene: Scene) -> None:
    for case, key in CREATED.items():
        put(key)
        assert (case, settled(scene, case), state(scene, key)) == (case, True, State.STORED)
        remove(key)  # and the event comes again, late
        assert (case, settled(scene, case), state(scene, key)) == (case, True, State.MISSING)


def test_every_event_of_an_object_that_was_removed_marks_its_record_and_of_one_that_is_back_does_not(scene: Scene) -> None:
    scene.an_object()
    for case in REMOVED:
        remove()
        assert (case, settled(scene, case), state(scene)) == (case, True, State.MISSING)
        put()
        assert (case, settled(scene, case), state(scene)) == (case, True, State.STORED)


def test_every_event_file_of_an_object_is_one_of_these() -> None:
    others = {"s3_test_event", "sns_test_event", "sns_subscription_confirmation", "one_of_three_is_poison"}
    carried = {"r2_pull", "r2_pull_reply", "r2_webhook"}
    assert {path.stem for path in (EVENTS / "object_events").glob("*.json")} == {*CREATED, *REMOVED, *others, *carried}


def test_the_test_event_is_settled_and_does_nothing(scene: Scene) -> None:
    assert settled(scene, "s3_test_event")
    assert settled(scene, "sns_test_event")


def test_a_batch_asks_the_bucket_once_for_a_key(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    put()
    asked: list[str] = []
    head = scene.services.store.head

    def noted(key: str) -> StoredObject | None:
        asked.append(key)
        return head(key)

    monkeypatch.setattr(scene.services.store, "head", noted)
    for times in (1, 2):  # what one batch was told is not told to the next
        assert settled(scene, "s3_sequencers_of_different_length")
        assert asked == [KEY] * times


def test_one_poisoned_message_comes_back_alone(scene: Scene) -> None:
    scene.an_object()
    remove()
    failed = scene.call(object_events.handler, "object_events/one_of_three_is_poison")
    assert [item["itemIdentifier"][-1] for item in failed["batchItemFailures"]] == ["1"]
    assert state(scene) is State.MISSING


def test_a_subscription_that_waits_for_its_confirmation_comes_back_and_says_so_in_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    failed = scene.call(object_events.handler, "object_events/sns_subscription_confirmation")
    assert len(failed["batchItemFailures"]) == 1
    assert "confirm-subscription" in caplog.text


def test_a_direct_call_that_cannot_be_settled_raises_so_that_lambda_keeps_it(scene: Scene) -> None:
    poison: list[dict[str, Any]] = [{}, {"Records": [{"eventSource": "aws:kinesis"}]}, {"source": "aws.s3", "detail": {}}]
    for called_with in poison:
        with pytest.raises(InvalidRequest):
            object_events.handler(called_with, context())


# R2, carried: with a queue and secrets, and nothing else of a deployment


@dataclass
class Carrier:
    """What carries R2's events: the queue they are put on, and how the functions are called."""

    monkeypatch: pytest.MonkeyPatch
    environment: dict[str, str]

    def set(self, **settings: str) -> None:
        """Gives the functions these settings, in a new process."""
        self.environment |= settings
        self.monkeypatch.setattr(object_events, "services", Services(self.environment))

    def post(self, **changes: Any) -> tuple[int, Any]:
        """Posts the event file, changed, without any token; returns status and document."""
        document = stock("object_events/r2_webhook")
        headers = document["headers"] | changes.pop("headers", {})
        answer = object_events.webhook_handler({**document, **changes, "headers": headers}, context())
        return answer["statusCode"], json.loads(answer["body"])

    def waiting(self) -> list[str]:
        """Takes what is on the queue."""
        queue = self.environment["OBJECT_EVENTS_QUEUE_URL"]
        found = boto3.client("sqs", REGION).receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        return [message["Body"] for message in found.get("Messages", [])]


@pytest.fixture(scope="module")
def shared(aws: None) -> dict[str, str]:
    """The ARNs of the secrets."""
    secrets = boto3.client("secretsmanager", REGION)
    held = {"WEBHOOK_SECRET": {"current": WEBHOOK_SECRET}, "R2_QUEUE_TOKEN_SECRET": {"api_token": "t"}}
    return {name: secrets.create_secret(Name=name, SecretString=json.dumps(secret))["ARN"] for name, secret in held.items()}


@pytest.fixture
def carrier(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Carrier]:
    sqs = boto3.client("sqs", REGION)
    queue = sqs.create_queue(QueueName="carried")["QueueUrl"]
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    carrier = Carrier(monkeypatch, {**ENVIRONMENT, "AWS_REGION": REGION})
    carrier.set(OBJECT_EVENTS_QUEUE_URL=queue)
    yield carrier
    sqs.delete_queue(QueueUrl=queue)


@pytest.fixture
def webhook(carrier: Carrier, shared: dict[str, str]) -> Carrier:
    """A carrier with the webhook set up, at the time the event file was signed."""
    carrier.set(WEBHOOK_SECRET=shared["WEBHOOK_SECRET"])
    carrier.monkeypatch.setattr("stocktake.services.now_ms", lambda: SIGNED_AT_MS)
    return carrier


def test_what_the_worker_posts_is_put_on_the_queue_and_then_taken(webhook: Carrier) -> None:
    assert webhook.post() == (202, {"taken": 2})
    found = [read_notification(text) for text in webhook.waiting()]
    assert {(event.name, event.key) for [event] in found} == {("PutObject", SPECIAL), ("DeleteObject", KEY)}


def test_a_body_that_comes_as_base64_is_checked_and_read_as_the_bytes_it_stands_for(webhook: Carrier) -> None:
    body = base64.b64encode(stock("object_events/r2_webhook")["body"].encode()).decode()
    assert webhook.post(body=body, isBase64Encoded=True) == (202, {"taken": 2})


def test_what_is_not_signed_is_refused_and_reaches_no_queue_token_or_not(webhook: Carrier) -> None:
    for signature in ("", f"t={SIGNED_AT_MS // 1000},v1={'0' * 64}"):
        for token in ({}, bearer()):
            status, problem = webhook.post(headers={"stocktake-signature": signature, **token})
            assert (status, problem["type"]) == (401, "urn:stocktake:problem:bad-signature")
    assert webhook.waiting() == []


def test_the_same_signature_is_of_no_other_body_and_of_no_other_time(webhook: Carrier) -> None:
    assert webhook.post(body='{"messages": []}')[0] == 401
    webhook.monkeypatch.setattr("stocktake.services.now_ms", lambda: SIGNED_AT_MS + 301_000)
    webhook.set()
    assert webhook.post()[0] == 401


def test_without_a_shared_secret_there_is_no_webhook(carrier: Carrier) -> None:
    status, problem = carrier.post()
    assert (status, problem["type"]) == (404, "urn:stocktake:problem:not-found")


def test_a_batch_of_which_the_queue_did_not_take_all_is_asked_for_again(webhook: Carrier) -> None:
    webhook.monkeypatch.setattr("stocktake.messaging.Queue.send_all", lambda self, bodies: frozenset({0}))
    status, problem = webhook.post()
    assert (status, problem["type"]) == (503, "urn:stocktake:problem:messaging-error")


@pytest.fixture
def pulling(carrier: Carrier, shared: dict[str, str]) -> list[tuple[str, Any]]:
    """R2's queue set up, its answers those of the event file and then none; gives what it was asked."""
    carrier.set(R2_QUEUE_ACCOUNT="a", R2_QUEUE_ID="q", R2_QUEUE_TOKEN_SECRET=shared["R2_QUEUE_TOKEN_SECRET"])
    replies = [stock("object_events/r2_pull_reply"), {"success": True, "result": {"messages": []}}]
    asked: list[tuple[str, Any]] = []

    def post(self: Any, action: str, document: Any) -> Any:
        asked.append((action, document))
        return replies.pop(0) if action == "pull" else {"success": True}

    carrier.monkeypatch.setattr("stocktake.r2_queue.R2Queue._post", post)
    return asked


def tick() -> dict[str, int]:
    return object_events.pull(stock("object_events/r2_pull"), context())


def test_what_r2s_queue_holds_is_carried_into_ours_poison_too_and_then_acknowledged(
    carrier: Carrier, pulling: list[tuple[str, Any]]
) -> None:
    assert tick() == {"carried": 4, "left": 0}
    assert [action for action, _ in pulling] == ["pull", "ack", "pull"]
    assert [ack["lease_id"][-1] for ack in pulling[1][1]["acks"]] == ["1", "2", "3", "4"]
    texts = carrier.waiting()
    assert len(texts) == 4
    texts.remove("not a notification")
    assert {event.key for text in texts for event in read_notification(text)} == {KEY, SPECIAL}


def test_what_our_queue_does_not_take_stays_in_r2s(carrier: Carrier, pulling: list[tuple[str, Any]]) -> None:
    carrier.set(OBJECT_EVENTS_QUEUE_URL=carrier.environment["OBJECT_EVENTS_QUEUE_URL"] + "-gone")
    with pytest.raises(MessagingError):
        tick()
    assert [action for action, _ in pulling] == ["pull"]


def test_a_pull_that_is_not_set_up_says_what_is_lacking(carrier: Carrier) -> None:
    with pytest.raises(ConfigurationError, match="R2_QUEUE_TOKEN_SECRET"):
        tick()
