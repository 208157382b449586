"""A storm of events in every shape and by every carrier, doubled and out of order, with poison among them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from stocktake.model import State
from tests.stack.api import eventually, ledger_of, opened, refused, without_events
from tests.unit.shapes import SHAPES, r2
from tools.stack import Stack
from tools.stack.lifecycle import WEBHOOK_SECRET_NAME
from tools.stack.settings import ROOT

KEYS = 24
POISON = "not a notification"


class Cloudflare:
    """A queue of Cloudflare's on the loopback: what is leased is gone once it is acknowledged, and never else."""

    def __init__(self, bodies: Sequence[str]) -> None:
        self.waiting = {f"lease-{number}": body for number, body in enumerate(bodies)}
        self.leased: dict[str, str] = {}
        theirs = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                result = theirs.pull(asked["batch_size"]) if self.path.endswith("/messages/pull") else theirs.ack(asked["acks"])
                body = json.dumps({"success": True, "errors": [], "messages": [], "result": result}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def pull(self, most: int) -> dict[str, Any]:
        taken = dict(itertools.islice(self.waiting.items(), most))
        self.waiting = {lease: body for lease, body in self.waiting.items() if lease not in taken}
        self.leased |= taken
        return {"messages": [{"lease_id": lease, "body": body, "id": lease, "attempts": 1} for lease, body in taken.items()]}

    def ack(self, acks: Sequence[dict[str, str]]) -> dict[str, Any]:
        for ack in acks:
            del self.leased[ack["lease_id"]]
        return {"ackCount": len(acks), "retryCount": 0}


@contextmanager
def impatient(stack: Stack) -> Iterator[None]:
    """Lets a message be seen again after 4 s in place of 180, and be a dead letter after 4 receives: the way is the same."""
    sqs, queue = stack.aws("sqs"), stack.resources["ObjectEventsQueue"]
    names = ("VisibilityTimeout", "RedrivePolicy")
    kept = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    redrive = json.dumps({**json.loads(kept["RedrivePolicy"]), "maxReceiveCount": 4})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "4", "RedrivePolicy": redrive})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={name: kept[name] for name in names})


def waiting(stack: Stack, queue: str) -> int:
    """Counts what is on a queue, or received and not yet done with."""
    names: list[Any] = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = stack.aws("sqs").get_queue_attributes(QueueUrl=stack.resources[queue], AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def send(stack: Stack, bodies: Sequence[str]) -> None:
    for batch in itertools.batched(bodies, 10, strict=False):
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(batch)]
        stack.aws("sqs").send_message_batch(QueueUrl=stack.resources["ObjectEventsQueue"], Entries=entries)


def post(stack: Stack, messages: Sequence[Any]) -> Any:
    """Posts a batch as the Worker does, and returns the answer."""
    secret = stack.aws("secretsmanager").get_secret_value(SecretId=WEBHOOK_SECRET_NAME)["SecretString"]
    body = json.dumps({"messages": [{"id": str(number), "body": message} for number, message in enumerate(messages)]}).encode()
    at = int(time.time())
    mac = hmac.new(json.loads(secret)["current"].encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
    answer = stack.api.post(
        "/events/r2", data=body, headers={"content-type": "application/json", "stocktake-signature": f"t={at},v1={mac}"}
    )
    assert answer.status_code == 202, answer.text
    return answer.json()


def pull(stack: Stack, cloudflare: Cloudflare) -> Any:
    """Lets the function that pulls ask a queue of the test's own."""
    functions, name = stack.aws("lambda"), stack.resources["ObjectEventsPullFunction"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    elsewhere = {**variables, "R2_QUEUE_API": f"http://127.0.0.1:{cloudflare.server.server_port}"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": elsewhere})
    try:
        payload = (ROOT / "events" / "object_events" / "r2_pull.json").read_bytes()
        answer = functions.invoke(FunctionName=name, Payload=payload)
        document = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, document
        return document
    finally:
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


def test_a_storm_of_every_shape_by_every_carrier_ends_with_ledger_equal_to_bucket_and_the_poison_alone_in_the_dead_letter_queue(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    project, dice, bucket, sqs = opened(stack), random.Random(7), stack.bucket_client(), stack.aws("sqs")
    keys = [f"projects/{project}/scenes/act {number} + 5% é/media/a.png" for number in range(KEYS)]
    shapes = itertools.cycle(SHAPES.values())
    by_sqs: list[str] = []
    by_webhook: list[Any] = [POISON]
    by_pull: list[str] = [POISON]

    def tell(key: str, removed: bool) -> None:
        event = next(shapes)(stack.bucket, key, removed, dice.choice([None, "", "00", f"{dice.getrandbits(72):018X}"]))
        by_sqs.extend([json.dumps(event)] * 2)
        if len(by_webhook) <= len(by_pull):
            by_webhook.append(r2(stack.bucket, key, removed, None))
        else:
            by_pull.append(base64.b64encode(json.dumps(r2(stack.bucket, key, removed, None)).encode()).decode())

    with without_events(stack), impatient(stack):
        for number, key in enumerate(keys):
            bucket.put_object(Bucket=stack.bucket, Key=key, Body=bytes(number))  # the first is empty
            tell(key, removed=False)
        send(stack, [POISON, *by_sqs[: KEYS // 2]])
        for key in keys[::3]:
            bucket.delete_object(Bucket=stack.bucket, Key=key)
            tell(key, removed=True)
        for key in keys[1::3]:
            bucket.put_object(Bucket=stack.bucket, Key=key, Body=b"other bytes")
            tell(key, removed=False)
        for events in (by_sqs, by_webhook, by_pull):
            dice.shuffle(events)
        send(stack, by_sqs)
        assert post(stack, by_webhook) == {"taken": len(by_webhook)}
        cloudflare = Cloudflare(by_pull)
        assert pull(stack, cloudflare) == {"carried": len(by_pull), "left": 0}
        assert (cloudflare.waiting, cloudflare.leased) == ({}, {})
        cloudflare.server.shutdown()
        cloudflare.server.server_close()

        eventually(lambda: waiting(stack, "ObjectEventsQueue"), lambda left: left == 0)
    dead = sqs.receive_message(QueueUrl=stack.resources["ObjectEventsDeadLetterQueue"], MaxNumberOfMessages=10, VisibilityTimeout=0)
    assert [message["Body"] for message in dead.get("Messages", [])] == [POISON] * 3
    assert waiting(stack, "ObjectEventsDeadLetterQueue") == 3
    sqs.purge_queue(QueueUrl=stack.resources["ObjectEventsDeadLetterQueue"])
    entries = [entry for entry in ledger_of(stack).entries() if entry.key.startswith(f"projects/{project}/")]
    listed = bucket.list_objects_v2(Bucket=stack.bucket, Prefix=f"projects/{project}/")["Contents"]
    assert {entry.key: entry.size for entry in entries if entry.state is State.STORED} == {row["Key"]: row["Size"] for row in listed}
    assert {entry.state for entry in entries} <= {State.STORED, State.MISSING}
    assert len(listed) == KEYS - len(keys[::3])


def test_what_calls_the_function_past_the_queue_is_settled_too_and_fails_when_it_cannot_be(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # that Lambda puts what failed three times into the dead-letter queue is in the template; the local AWS does not read it there
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    key, ledger, functions = f"projects/{opened(stack)}/scenes/s/media/a.png", ledger_of(stack), stack.aws("lambda")

    def call(notification: Any, how: str) -> Any:
        payload = json.dumps(notification).encode()
        return functions.invoke(FunctionName=stack.resources["ObjectEventsFunction"], InvocationType=how, Payload=payload)

    with without_events(stack):
        stack.bucket_client().put_object(Bucket=stack.bucket, Key=key, Body=b"stranger")
        call(SHAPES["S3 by SNS to a function"](stack.bucket, key, False, None), "Event")
        eventually(lambda: ledger.record(key), lambda record: record is not None)
    assert "FunctionError" in call({"what": POISON}, "RequestResponse")


def test_what_is_posted_without_a_signature_is_refused(stack: Stack) -> None:
    assert refused(stack, "POST", "/events/r2", json={"messages": []}) == (401, "bad-signature")
