"""The deployment's API, as the commands call it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from stocktake_cli.failures import Failure, Unreachable, is_of_settings, of_status
from stocktake_cli.wire import Reply, Wire

ATTEMPTS = 5
_AGAIN = (429, 502, 503, 504)
_MOST_SECONDS = 20.0
"""What is waited between two attempts, at most, whatever the API says."""


class Api:
    """Calls paths of one deployment's API: `api.get("/projects/{project_id}", project_id="p1")`.

    A request that may be sent twice without harm is sent again where it was not answered, or the answer was to come again: every GET, PUT
    and DELETE, and a POST that bears an idempotency key. Any other POST only where it was refused unread (429).

    Raises (any method): a Failure, of the class that its answer's status stands for.

    Args:
        fetch_token: gets a token; asked again once, when the API takes the one before for ended.
    """

    def __init__(self, wire: Wire, url: str, fetch_token: Callable[[], str], *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._wire = wire
        self._url = url
        self._fetch_token = fetch_token
        self._sleep = sleep
        self._token = ""

    @property
    def url(self) -> str:
        """Where it is."""
        return self._url

    def get(self, path: str, query: Mapping[str, Any] | None = None, **names: str) -> dict[str, Any]:
        """Reads a document."""
        return self.call("GET", path, names, query=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None, **names: str) -> dict[str, Any]:
        """Sends a document and returns the answer's."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self.call("POST", path, names, body={} if body is None else body, headers=headers)

    def pages(self, path: str, member: str, query: Mapping[str, Any] | None = None, **names: str) -> Iterator[dict[str, Any]]:
        """Yields the items of a list, page after page, as they are asked for."""
        cursor = None
        while True:
            page = self.get(path, {**(query or {}), "cursor": cursor}, **names)
            yield from page[member]
            cursor = page.get("cursor")
            if cursor is None:
                return

    def call(
        self,
        method: str,
        path: str,
        names: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Calls a path, with names for its places, and returns the JSON it answers with; nothing for an answer without a body."""
        reply = self.send(method, path, names, query=query, body=body, headers=headers)
        return _document(reply)

    def send(
        self,
        method: str,
        path: str,
        names: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Calls a path and returns its answer, whose status is below 400."""
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        url = self._url + path.format(**{name: quote(value, safe="") for name, value in (names or {}).items()})
        url += f"?{urlencode(asked)}" if asked else ""
        sent = {"accept": "application/json", **(headers or {})}
        payload = None if body is None else json.dumps(body).encode()
        if payload is not None:
            sent["content-type"] = "application/json"
        may_repeat = method != "POST" or "Idempotency-Key" in sent
        renewed = False
        for attempt in range(1, ATTEMPTS + 1):
            self._token = self._token or self._fetch_token()
            try:
                reply = self._wire.send(method, url, {**sent, "authorization": f"Bearer {self._token}"}, payload)
            except Unreachable:
                if not may_repeat or attempt == ATTEMPTS:
                    raise
                self._pause(attempt, None)
                continue
            if reply.status < 400:
                return reply
            if reply.status == 401 and not renewed:
                before, self._token, renewed = self._token, self._fetch_token(), True
                if self._token != before:
                    continue
            problem = _problem(reply)
            is_worth_it = reply.status in _AGAIN and not is_of_settings(problem)
            if is_worth_it and (may_repeat or reply.status == 429) and attempt < ATTEMPTS:
                self._pause(attempt, reply.headers.get("retry-after"))
                continue
            raise of_status(reply.status, problem)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, attempt: int, retry_after: str | None) -> None:
        wanted = float(retry_after) if retry_after and retry_after.isdigit() else 0.3 * 2**attempt
        self._sleep(min(wanted, _MOST_SECONDS) * random.uniform(0.8, 1.2))


def _document(reply: Reply) -> dict[str, Any]:
    if not reply.body:
        return {}
    try:
        document = json.loads(reply.body)
    except ValueError as error:
        raise Failure("the answer is no JSON", "see whether the profile's url is that of the API") from error
    if not isinstance(document, dict):
        raise Failure("the answer is not of the API", "see whether the profile's url is that of the API")
    return document


def _problem(reply: Reply) -> dict[str, Any]:
    try:
        document = json.loads(reply.body)
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {}
