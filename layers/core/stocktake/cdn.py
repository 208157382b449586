"""The CDN before the bucket: what it keeps of deleted objects is purged by their public URLs.

No purge fails by an exception: each URL that a CDN did not take comes back with the reason, and the caller decides what that means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from stocktake.errors import StocktakeError
from stocktake.layouts import SYSTEM_PREFIX

if TYPE_CHECKING:
    import urllib3

CLOUDFLARE = "https://api.cloudflare.com/client/v4"
URLS_PER_REQUEST = 30
"""Taken on every plan: 100 by today's table, 30 by older ones. Source: Cloudflare, "Purge cache", limits by plan."""
_SECONDS = 10
_ATTEMPTS = 4
WHILE_A_CALLER_WAITS = (3, 2)
"""Seconds and attempts where the purge is inside a request of an API, which ends after 30 s."""
NO_TIME = "there was no time left to tell the CDN"
_LONGEST_WAIT_SECONDS = 4
"""Between attempts, whatever Retry-After says: a batch of a thousand keys is 34 requests of one function of a minute."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class PurgeFailure:
    """A URL that may still be served, and why."""

    url: str
    why: str


class Cdn(Protocol):
    """A CDN that forgets what it is told to."""

    @property
    def name(self) -> str:
        """Names it on receipts."""
        ...

    def purge(self, urls: Sequence[str], out_of_time: Callable[[], bool] = _never) -> Sequence[PurgeFailure]:
        """Has the CDN forget these URLs as far as there is time, and returns those it did not. Saying it again is safe."""
        ...


class NoCdn:
    """There is none, or none that can be told."""

    name = "none"

    def purge(self, urls: Sequence[str], out_of_time: Callable[[], bool] = _never) -> Sequence[PurgeFailure]:
        return ()


class Cloudflare:
    """One zone of Cloudflare.

    Args:
        zone_id: of the domain under which the bucket is public.
        token: gives an API token that may purge this zone ("Cache Purge"); asked when it is first needed.
        seconds: to wait for a connection, and for an answer.
        attempts: of one request, in all.
        http: for tests; one of our own unless told.
    """

    name = "cloudflare"

    def __init__(
        self,
        zone_id: str,
        token: Callable[[], str],
        *,
        seconds: float = _SECONDS,
        attempts: int = _ATTEMPTS,
        http: urllib3.PoolManager | None = None,
        api: str = CLOUDFLARE,
    ) -> None:
        self._url = f"{api}/zones/{zone_id}/purge_cache"
        self._token = token
        self._seconds = seconds
        self._attempts = attempts
        self._http = http

    def purge(self, urls: Sequence[str], out_of_time: Callable[[], bool] = _never) -> Sequence[PurgeFailure]:
        """Sends 30 URLs a request; throttling and server errors are tried again. See `Cdn.purge`.

        Once the CDN does not answer or knows the token no more, or time is short, what is left is not tried.
        """
        failures: list[PurgeFailure] = []
        given_up = ""
        for some in batched(urls, URLS_PER_REQUEST, strict=False):
            if not given_up and out_of_time():
                given_up = NO_TIME
            why, given_up = (given_up, given_up) if given_up else self._purge(some)
            failures += [PurgeFailure(url, why) for url in some if why]
        return failures

    def _purge(self, urls: Sequence[str]) -> tuple[str, str]:
        """Purges some URLs; returns why not, and the same again where no other request would fare better."""
        import urllib3  # botocore has it loaded by now

        try:
            headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
            reply = self._pool().request("POST", self._url, body=json.dumps({"files": list(urls)}).encode(), headers=headers)
        except StocktakeError as error:
            return str(error), str(error)
        except urllib3.exceptions.HTTPError as error:
            why = f"the CDN did not answer ({type(error).__name__})"
            return why, why
        if reply.status == 200 and _said(reply.data).get("success") is True:
            return "", ""
        why = f"the CDN answered {reply.status}{_complaint(_said(reply.data))}"
        return why, why if reply.status in (401, 403, 429) or reply.status >= 500 else ""

    def _pool(self) -> urllib3.PoolManager:
        if self._http is None:
            import urllib3

            retries = urllib3.Retry(
                total=self._attempts - 1,
                redirect=0,
                backoff_factor=0.5,
                backoff_max=_LONGEST_WAIT_SECONDS,
                backoff_jitter=0.5,
                retry_after_max=_LONGEST_WAIT_SECONDS,
                status_forcelist=(429, 500, 502, 503, 504),
                allowed_methods=None,  # a purge may be said twice
                raise_on_status=False,
            )
            self._http = urllib3.PoolManager(timeout=self._seconds, retries=retries)
        return self._http


@dataclass(frozen=True, slots=True)
class PublicCopies:
    """What a CDN keeps of the objects of one bucket.

    Args:
        base_url: where the bucket is served publicly; None where only presigned URLs give objects, which no CDN keeps.
    """

    cdn: Cdn
    base_url: str | None

    def purge(self, keys: Iterable[str], out_of_time: Callable[[], bool] = _never) -> tuple[int, Mapping[str, str]]:
        """Purges what lies publicly under these keys; returns how many a CDN took, and of the others why not."""
        if self.base_url is None:
            return 0, {}
        by_url = {f"{self.base_url}/{quote(key)}": key for key in keys if not key.startswith(SYSTEM_PREFIX)}
        failures = {by_url[failure.url]: failure.why for failure in self.cdn.purge(list(by_url), out_of_time)}
        return 0 if self.cdn.name == NoCdn.name else len(by_url) - len(failures), failures


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _complaint(said: dict[str, Any]) -> str:
    """Returns Cloudflare's first error as `: 10000 Authentication error`, short and without anything odd; nothing where it names none."""
    errors = said.get("errors")
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return ""
    text = f": {errors[0].get('code', '')} {errors[0].get('message', '')}"
    return re.sub(r"[^\x20-\x7e]+", " ", text)[:120]
