"""Cloudflare's queue over HTTP, against a server of the test's own on the loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from stocktake import r2_queue
from stocktake.errors import ConfigurationError, MessagingError
from stocktake.r2_queue import R2Queue


class Cloudflare:
    """Answers what it is told to, and notes what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, str | None, Any]] = []
        theirs = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                theirs.asked.append((self.path, self.headers["Authorization"], document))
                status, body = theirs.answers.pop(0)
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def queue(self) -> R2Queue:
        return R2Queue(account_id="acc", queue_id="que", token="tok", api=f"http://127.0.0.1:{self.server.server_port}")


@pytest.fixture
def cloudflare() -> Iterator[Cloudflare]:
    theirs = Cloudflare()
    yield theirs
    theirs.server.shutdown()
    theirs.server.server_close()


def messages(*bodies: str) -> bytes:
    found = [{"lease_id": f"l{number}", "body": body, "id": "i", "attempts": 1} for number, body in enumerate(bodies)]
    return json.dumps({"success": True, "errors": [], "result": {"messages": found}}).encode()


def test_a_pull_leases_up_to_a_hundred_messages_of_the_one_queue(cloudflare: Cloudflare) -> None:
    cloudflare.answers = [(200, messages("eyJhIjogMX0=", "poison")), (200, messages())]
    queue = cloudflare.queue()
    assert [(message.lease_id, message.body) for message in queue.pull()] == [("l0", '{"a": 1}'), ("l1", "poison")]
    assert queue.pull() == []
    path = "/client/v4/accounts/acc/queues/que/messages/pull"
    assert cloudflare.asked == [(path, "Bearer tok", {"batch_size": 100, "visibility_timeout_ms": 120_000})] * 2


def test_leases_are_acknowledged_and_none_is_no_request(cloudflare: Cloudflare) -> None:
    cloudflare.answers = [(200, b'{"success": true, "result": {"ackCount": 2, "retryCount": 0, "warnings": []}}')]
    cloudflare.queue().acknowledge(["l0", "l1"])
    cloudflare.queue().acknowledge([])
    [(path, _, document)] = cloudflare.asked
    assert path.endswith("/messages/ack")
    assert document == {"acks": [{"lease_id": "l0"}, {"lease_id": "l1"}], "retries": []}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_or_queue_that_is_not_right_is_said_to_be_and_the_token_is_not_shown(cloudflare: Cloudflare, status: int) -> None:
    cloudflare.answers = [(status, b'{"success": false}')]
    with pytest.raises(ConfigurationError, match="R2QueueTokenSecretArn") as refused:
        cloudflare.queue().pull()
    assert "tok" not in str(refused.value).replace("token", "")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, b"{}"),
        (500, b"oops"),
        (307, b""),
        (200, b"not JSON"),
        (200, b"[]"),
        (200, b'{"success": false, "errors": [{"code": 1}]}'),
        (200, b'{"success": false, "result": {"messages": []}}'),
        (200, b'{"success": true, "result": {}}'),
        (200, b'{"success": true, "result": null}'),
        (200, b'{"success": true, "result": {"messages": [{"body": "x"}]}}'),
    ],
)
def test_any_other_answer_is_a_named_error_that_is_not_asked_again(cloudflare: Cloudflare, status: int, body: bytes) -> None:
    cloudflare.answers = [(status, body), (200, messages())]
    with pytest.raises(MessagingError, match="Cloudflare"):
        cloudflare.queue().pull()
    assert len(cloudflare.asked) == 1


def test_a_queue_that_does_not_answer_in_time_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r2_queue, "_TIMES", 0.05)
    silent = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # listens and never accepts
    try:
        queue = R2Queue(account_id="a", queue_id="q", token="t", api=f"http://127.0.0.1:{silent.server_port}")
        with pytest.raises(MessagingError, match="ReadTimeoutError"):
            queue.pull()
    finally:
        silent.server_close()
