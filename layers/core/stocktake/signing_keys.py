"""The keys that a token's issuer signs with, as the issuer publishes them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import urllib3

from stocktake.errors import KeysUnavailable
from stocktake.settings import is_https_or_loopback

ALGORITHMS: Mapping[str, str] = {"RS256": "RSA", "ES256": "EC"}
"""What may sign a token, and the type of key it takes: a key is only ever used for the algorithm of its own type (RFC 8725 §3.1)."""

KEEP_MS = 3_600_000
_BETWEEN_MS = 60_000
"""Between two fetches, whatever is asked: tokens that name made-up keys must not become requests to the issuer."""
_BETWEEN_FAILURES_MS = 5_000
"""The same while no key is known and every request is refused."""

_SECONDS = 5.0
"""For one document; two of them leave most of an API call's 30 s."""
_MAX_BYTES = 262_144
_LEAST_RSA_BITS = 2048  # RFC 7518 §3.3

_log = logging.getLogger(__name__)


class SigningKeys:
    """The keys of one issuer, fetched when they are first needed and anew after an hour.

    A key that is not among them makes them be fetched again, once a minute at most. Where a fetch fails, the keys that are known go on.

    Args:
        issuer: as tokens name it.
        jwks_url: where the keys lie; "" to take it from the issuer's OpenID configuration.
        fetch: reads a document; raises KeysUnavailable.
        now: the time in milliseconds.
    """

    def __init__(self, issuer: str, jwks_url: str, *, fetch: Callable[[str], bytes], now: Callable[[], int]) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._fetch = fetch
        self._now = now
        self._keys: Mapping[tuple[str, str], jwt.PyJWK] = {}
        self._fetched_at: int | None = None
        self._next_at = 0

    def key(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Returns the key of that id for that algorithm, asking the issuer where it may be new; None when the issuer has none.

        Raises:
            KeysUnavailable: no key is known and none could be fetched.
        """
        found = self._keys.get((key_id, algorithm))
        is_old = self._fetched_at is None or self._now() - self._fetched_at >= KEEP_MS
        if (found is None or is_old) and self._now() >= self._next_at:
            self._refresh()
            found = self._keys.get((key_id, algorithm))
        if not self._keys:
            raise KeysUnavailable("the keys that tokens are verified with cannot be fetched from their issuer: try again in a moment")
        return found

    def _refresh(self) -> None:
        try:
            self._keys, self._fetched_at = self._published(), self._now()
        except KeysUnavailable as error:
            self._next_at = self._now() + (_BETWEEN_MS if self._keys else _BETWEEN_FAILURES_MS)
            _log.warning("the keys of the token issuer could not be fetched: %s", error)
        else:
            self._next_at = self._now() + _BETWEEN_MS

    def _published(self) -> Mapping[tuple[str, str], jwt.PyJWK]:
        document = self._document(self._jwks_url or self._discovered())
        listed = document.get("keys")
        keys = dict(named for jwk in (listed if isinstance(listed, list) else ()) if (named := _usable(jwk)) is not None)
        if not keys:
            raise KeysUnavailable("the issuer publishes no key with an id for RS256 (2048 bits or more) or ES256")
        return keys

    def _discovered(self) -> str:
        configuration = self._document(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if configuration.get("issuer") != self._issuer:
            raise KeysUnavailable("the OpenID configuration at TokenIssuer is of another issuer: spell TokenIssuer as its tokens do")
        return str(configuration.get("jwks_uri"))

    def _document(self, url: str) -> dict[str, Any]:
        try:
            document = json.loads(self._fetch(url))
        except (ValueError, RecursionError):
            raise KeysUnavailable(f"{url} is no JSON") from None
        if not isinstance(document, dict):
            raise KeysUnavailable(f"{url} holds no JSON object")
        return document


def _usable(jwk: Any) -> tuple[tuple[str, str], jwt.PyJWK] | None:
    """Reads a published key by its id and algorithm; None for one that verifies no token of ours."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str) or jwk.get("use", "sig") != "sig" or "d" in jwk:
        return None
    for algorithm, key_type in ALGORITHMS.items():
        if jwk.get("kty") == key_type and jwk.get("alg", algorithm) == algorithm and jwk.get("crv", "P-256") == "P-256":
            try:
                key = jwt.PyJWK(jwk, algorithm)
            except (jwt.PyJWTError, ValueError, TypeError):
                return None
            is_strong = key_type == "EC" or key.key.key_size >= _LEAST_RSA_BITS
            return ((jwk["kid"], algorithm), key) if is_strong else None
    return None


def fetch(url: str) -> bytes:
    """Reads one small document with one GET: no redirect, no retry, nothing decoded, at most so many seconds and bytes.

    Raises:
        KeysUnavailable: the address may not be asked, or gave nothing that can be taken.
    """
    if not is_https_or_loopback(url):
        raise KeysUnavailable(f"{url} is not https")
    end = time.monotonic() + _SECONDS
    body = b""
    # without retries urllib3 follows no redirect either
    timeout = urllib3.Timeout(connect=_SECONDS / 2, read=_SECONDS / 2)
    try:
        with (
            urllib3.PoolManager(retries=False, timeout=timeout) as pool,
            pool.request("GET", url, headers={"accept": "application/json"}, preload_content=False) as answer,
        ):
            if answer.status != 200:
                raise KeysUnavailable(f"{url} answered {answer.status}")
            while piece := answer.read1(16_384, decode_content=False):
                body += piece
                if len(body) > _MAX_BYTES or time.monotonic() > end:
                    raise KeysUnavailable(f"{url} is over {_MAX_BYTES} bytes or takes over {_SECONDS:g} s")
    except urllib3.exceptions.HTTPError as error:
        raise KeysUnavailable(f"{url} cannot be read ({type(error).__name__})") from error
    return body
