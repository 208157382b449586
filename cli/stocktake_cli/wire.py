"""Requests over HTTP: urllib3, which comes with botocore, so that the command line brings no second client."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Protocol
from urllib.parse import urlsplit

import urllib3

from stocktake_cli.failures import Unreachable


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Wire(Protocol):
    """What sends a request: `Http`, and a twin in the tests."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None = None) -> Reply:
        """Sends a request once and returns its answer, whatever its status. Redirects are answers.

        Raises Unreachable when there is none.
        """
        ...


class Http:
    """The wire. Safe to use by several threads.

    Args:
        seconds: how long an answer may take to begin: an HTTP API has 30 s.
    """

    def __init__(self, *, seconds: float = 40, connections: int = 64) -> None:
        self._settings = {
            "timeout": urllib3.Timeout(connect=5, read=seconds),
            "retries": False,
            "maxsize": connections,
            "block": False,
        }

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None = None) -> Reply:
        target = urlsplit(url)
        headers = dict(headers)
        if (target.hostname or "").endswith(".localhost"):
            # Browsers and curl know every such name to be the loopback; resolvers need not.
            headers["Host"] = target.netloc
            target = target._replace(netloc=f"127.0.0.1:{target.port or 80}")
        try:
            answer = self._pool(target.scheme, target.hostname or "").request(
                method, target.geturl(), body=body, headers=headers, redirect=False, preload_content=True
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(*_why(error, target.scheme, target.netloc)) from error
        return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def _pool(self, scheme: str, host: str) -> urllib3.PoolManager:
        return self._direct if host in ("127.0.0.1", "localhost", "::1") or urllib.request.proxy_bypass(host) else self._proxied(scheme)

    @cached_property
    def _direct(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(**self._settings)  # type: ignore[arg-type]  # its settings are of several types

    @cached_property
    def _proxies(self) -> dict[str, urllib3.PoolManager]:
        proxies = {scheme: url for scheme, url in urllib.request.getproxies().items() if scheme in ("http", "https")}
        return {scheme: urllib3.ProxyManager(url, **self._settings) for scheme, url in proxies.items()}  # type: ignore[arg-type]  # as above

    def _proxied(self, scheme: str) -> urllib3.PoolManager:
        return self._proxies.get(scheme, self._direct)


def _why(error: Exception, scheme: str, place: str) -> tuple[str, str]:
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return f"there is no host {place}", "look at the url of the profile: `stocktake profiles`"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"{scheme}://{place} has no certificate that can be trusted", "look at the address, and at what stands between"
    # a connection that is refused counts as a time-out for urllib3
    if isinstance(error, urllib3.exceptions.TimeoutError) and not isinstance(error, urllib3.exceptions.NewConnectionError):
        return f"{place} did not answer in time", "try again; if it goes on, look at the stack's alarms"
    return f"{place} cannot be reached", "see whether it runs and the network lets you; `stocktake doctor --direct` goes past the API"
