"""Who may post R2's events: whoever shares a secret with us, for five minutes. And the Worker of docs/ does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stocktake.errors import BadSignature, ConfigurationError, InvalidRequest, TooLarge
from stocktake.requests import read_body
from stocktake.webhook import MAX_BYTES, PostedMessages, Signatures

ROOT = Path(__file__).parents[2]
OLD, NEW = "an old secret of 32 characters...", "a new secret of 32 characters..."
AT = 1_795_239_000
BODY = b'{"messages":[]}'


def sign(secret: str, body: bytes = BODY, at: int = AT) -> str:
    return f"t={at},v1={hmac.new(secret.encode(), b'%d.%s' % (at, body), hashlib.sha256).hexdigest()}"


class Secret:
    """The secret as it lies in its vault, and how often it was read."""

    def __init__(self, **secrets: str) -> None:
        self.text, self.reads = json.dumps(secrets), 0

    def __call__(self) -> str:
        self.reads += 1
        return self.text


def signatures(secret: Secret, now: Callable[[], int] = lambda: AT * 1000) -> Signatures:
    return Signatures(secret, now)


def test_a_request_signed_with_the_secret_passes_and_the_secret_is_read_once() -> None:
    secret = Secret(current=NEW)
    check = signatures(secret).check
    check(sign(NEW), BODY)
    check(sign(NEW), BODY)
    assert secret.reads == 1


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "hello",
        sign(OLD),
        sign(NEW, b'{"messages": []}'),
        sign(NEW).replace(f"t={AT}", f"t={AT + 1}"),
        sign(NEW).upper(),
        sign(NEW) + ",v2=00",
        sign(NEW).replace("v1=", "v1=é"),
        f"t={AT}",
        f"t={AT},v1=",
        f"t=-1,v1={'0' * 64}",
    ],
)
def test_any_other_request_is_refused(header: str | None) -> None:
    with pytest.raises(BadSignature):
        signatures(Secret(current=NEW)).check(header, BODY)


@pytest.mark.parametrize(("seconds", "passes"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_a_signature_is_good_for_five_minutes_either_way(seconds: int, passes: bool) -> None:
    check = signatures(Secret(current=NEW), lambda: (AT + seconds) * 1000).check
    if passes:
        check(sign(NEW), BODY)
    else:
        with pytest.raises(BadSignature, match="five minutes"):
            check(sign(NEW), BODY)


def test_while_the_secret_is_changed_both_are_good_and_one_request_may_bear_both() -> None:
    check = signatures(Secret(current=NEW, previous=OLD)).check
    check(sign(NEW), BODY)
    check(sign(OLD), BODY)
    check(sign("a third secret of 32 characters..") + sign(OLD).partition(f"t={AT}")[2], BODY)


def test_a_secret_that_was_changed_is_found_by_a_process_that_lives_on_and_a_flood_does_not_read_it_again_and_again() -> None:
    at = [AT * 1000]
    secret = Secret(current=OLD)
    check = signatures(secret, lambda: at[0]).check
    check(sign(OLD), BODY)
    secret.text = json.dumps({"current": NEW})
    with pytest.raises(BadSignature):
        check(sign(NEW), BODY)
    at[0] += 60_000
    check(sign(NEW), BODY)
    for _ in range(5):
        with pytest.raises(BadSignature):
            check(sign(OLD), BODY)
    assert secret.reads == 2


def test_a_secret_that_cannot_be_read_is_not_asked_for_by_every_request_that_comes() -> None:
    secret = Secret()
    secret.text = "no secret"
    check = signatures(secret).check
    with pytest.raises(ConfigurationError):
        check(sign(NEW), BODY)
    for _ in range(5):
        with pytest.raises(BadSignature):
            check(sign(NEW), BODY)
    assert secret.reads == 1


def test_a_body_that_is_too_large_is_refused_before_anything_is_computed() -> None:
    secret = Secret(current=NEW)
    with pytest.raises(TooLarge, match="fewer messages"):
        signatures(secret).check(None, b"x" * (MAX_BYTES + 1))
    assert secret.reads == 0


@pytest.mark.parametrize(
    "text", ["hunter2-hunter2-hunter2-hunter2-h", "[]", "{}", '{"current": "short"}', '{"current": 7}', f'{{"previous": "{OLD}"}}']
)
def test_a_secret_of_another_form_is_named_and_not_shown(text: str) -> None:
    secret = Secret()
    secret.text = text
    with pytest.raises(ConfigurationError, match="the secret of the webhook must hold") as refused:
        signatures(secret).check(sign(NEW), BODY)
    assert "hunter2" not in repr(refused.value) + repr(refused.value.__cause__) + repr(refused.value.__context__)


@pytest.mark.parametrize(
    "body",
    [
        '{"messages": [{"id": "1"}]}',
        '{"messages": [{"id": 1, "body": {}}]}',
        "{}",
        '{"messages": [], "more": 1}',
        json.dumps({"messages": [{"id": "1", "body": 1}] * 101}),
    ],
)
def test_what_is_signed_and_no_batch_is_refused(body: str) -> None:
    with pytest.raises(InvalidRequest, match="messages"):
        read_body(PostedMessages, body)


# the Worker of docs/r2-events-worker, run by node as Cloudflare would run it

DRIVER = """
const worker = (await import("data:text/javascript;base64," + process.argv[1])).default;
const { messages, env, status } = JSON.parse(process.argv[2]);
for (const message of messages) {
  if (message.body === "<undefined>") message.body = undefined;  // JSON cannot say it
}
const did = { posted: [], acked: false, retried: null };
globalThis.fetch = async (url, request) => {
  did.posted.push({ url: String(url), method: request.method, headers: request.headers, body: request.body, redirect: request.redirect });
  if (status === 0) throw new TypeError("no network");
  return new Response("{}", { status });
};
await worker.queue({ messages, ackAll() { did.acked = true; }, retryAll(how) { did.retried = how; } }, env);
console.log(JSON.stringify(did));
"""


def run_worker(status: int, *bodies: Any) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on this machine: the Worker's own code cannot be run")
    source = (ROOT / "docs" / "r2-events-worker" / "src" / "index.js").read_bytes()
    batch = {
        "messages": [{"id": f"m{number}", "body": body} for number, body in enumerate(bodies)],
        "env": {"STOCKTAKE_URL": "https://api.example/", "WEBHOOK_SECRET": NEW},
        "status": status,
    }
    arguments = ["--input-type=module", "-e", DRIVER, base64.b64encode(source).decode(), json.dumps(batch)]
    done = subprocess.run([node, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    did: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return did


def test_what_the_worker_posts_is_what_we_take() -> None:
    event = {"action": "PutObject", "bucket": "data", "object": {"key": "café ✓ 𝄞.png", "size": 3}}
    did = run_worker(202, event, "poison", "<undefined>")
    [posted] = did["posted"]
    assert (posted["url"], posted["method"], posted["redirect"]) == ("https://api.example/events/r2", "POST", "manual")
    header = posted["headers"]["stocktake-signature"]
    at = int(header[2:].partition(",")[0])
    Signatures(Secret(current=NEW), lambda: at * 1000).check(header, posted["body"].encode())
    messages = read_body(PostedMessages, posted["body"]).messages
    assert [(message.id, message.body) for message in messages] == [("m0", event), ("m1", "poison"), ("m2", None)]
    assert (did["acked"], did["retried"]) == (True, None)


@pytest.mark.parametrize("status", [0, 200, 401, 503])
def test_the_worker_acknowledges_nothing_that_was_not_taken(status: int) -> None:
    did = run_worker(status, {"a": 1})
    assert did["acked"] is False
    assert did["retried"]["delaySeconds"] >= 10
