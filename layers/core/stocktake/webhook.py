"""The webhook: R2's messages, posted by a Worker that shares a secret with us.

```
stocktake-signature: t=1795239000,v1=HEX          HMAC-SHA256 of "1795239000." and the body's bytes; more than one v1 may be given
{"messages": [{"id": "...", "body": {...}}, ...]}  at most 100 of them, and 256 KB
```

The secret is `{"current": "...", "previous": "..."}`. Both are good, so that it can be changed on either side first.
A request that is caught and sent again within the five minutes tells the same events again, which does no harm.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Any

from pydantic import Field

from stocktake.errors import BadSignature, ConfigurationError, TooLarge
from stocktake.requests import Body

MAX_BYTES = 262_144
TOLERANCE_MS = 300_000

_READ_AGAIN_MS = 60_000
_LEAST_SECRET = 32
"""Characters. 16 random bytes in hex have as many."""
_HEADER = re.compile(r"t=([0-9]{1,12})((?:,v1=[0-9a-f]{64}){1,4})")
_AN_EVENT = {
    "account": "3f4b7e3dcab231cbfdaa90a6a28bd548",
    "action": "PutObject",
    "bucket": "my-bucket",
    "object": {"key": "images/s1/baby-boomer/1795239000000-a1b2c3.png", "size": 118, "eTag": "93b885adfe0da089cdf634904fd59f71"},
    "eventTime": "2026-11-21T05:30:00.000Z",
}


class PostedMessage(Body):
    """One message of the Worker's batch, as its queue gave it."""

    id: str = Field(max_length=255, examples=["1d0d3b7e0a1c4f6e"])
    body: Any = Field(description="R2's own words.", examples=[_AN_EVENT])


class PostedMessages(Body):
    """POST /events/r2."""

    messages: list[PostedMessage] = Field(max_length=100, description="A batch of the queue, as the Worker was given it.")


class Signatures:
    """Tells requests of our Worker from all others.

    The secret is read when the first request comes, and again for a signature that is of none it held: at most once a minute, for anybody
    can send one.

    Args:
        read: gives the text of the secret.
        now: the time in milliseconds.
    """

    def __init__(self, read: Callable[[], str], now: Callable[[], int]) -> None:
        self._read = read
        self._now = now
        self._secrets: tuple[bytes, ...] = ()
        self._read_at: int | None = None

    def check(self, header: str | None, body: bytes) -> None:
        """Lets a request pass that was signed with one of the secrets in the last five minutes.

        Raises:
            TooLarge: the body has more than 256 KB; its signature was not looked at.
            BadSignature: it was not, or there is no signature.
            ConfigurationError: the secret is not of its form.
        """
        if len(body) > MAX_BYTES:
            raise TooLarge(f"the body has {len(body)} bytes and the limit is {MAX_BYTES}: send fewer messages at a time")
        parts = _HEADER.fullmatch(header or "")
        if parts is None:
            raise BadSignature("the request bears no signature: send stocktake-signature: t=UNIX_SECONDS,v1=HEX")
        if abs(self._now() - int(parts[1]) * 1000) > TOLERANCE_MS:
            raise BadSignature("the signature is older than five minutes, or of the future: sign when you send, and check the clock")
        given = re.findall(r"v1=([0-9a-f]+)", parts[2])
        signed = parts[1].encode() + b"." + body
        if not (_agrees(self._secrets, signed, given) or (self._may_read() and _agrees(self._read_anew(), signed, given))):
            raise BadSignature("the signature is of another secret or another body: check the Worker's WEBHOOK_SECRET")

    def _may_read(self) -> bool:
        return self._read_at is None or self._now() - self._read_at >= _READ_AGAIN_MS

    def _read_anew(self) -> tuple[bytes, ...]:
        self._read_at = self._now()  # also where it cannot be read: whoever asks, it is asked for once a minute
        self._secrets = _secrets_of(self._read())
        return self._secrets


def _agrees(secrets: tuple[bytes, ...], signed: bytes, given: list[str]) -> bool:
    good = [hmac.new(secret, signed, hashlib.sha256).hexdigest() for secret in secrets]
    return any(hmac.compare_digest(one, other) for one in good for other in given)


def _secrets_of(text: str) -> tuple[bytes, ...]:
    try:
        document = json.loads(text)
        secrets = [document["current"], *([document["previous"]] if document.get("previous") else [])]
        sound = all(isinstance(secret, str) and len(secret) >= _LEAST_SECRET for secret in secrets)
    except (ValueError, TypeError, KeyError, AttributeError):
        sound, secrets = False, []
    if not sound:  # outside of the handling, so that no cause shows what was read
        raise ConfigurationError(
            'the secret of the webhook must hold JSON {"current": "...", "previous": "..."}, previous or not, '
            f"each a text of {_LEAST_SECRET} characters and more"
        )
    return tuple(secret.encode() for secret in secrets)
