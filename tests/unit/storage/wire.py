"""The wire between boto3 and a store, scripted: what is answered to each request in turn, and what was sent."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.awsrequest import AWSResponse

from stocktake.storage import Profile
from stocktake.storage.s3 import S3Store, make_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ABLE = Profile(
    conditional_put=True,
    conditional_copy=True,
    conditional_delete=True,
    versioning=True,
    md5_needed=False,
    ordered_listing=True,
    keeps_sha256=True,
    keeps_parts_sha256=True,
    names_deleted=True,
    lists_uploads=True,
)
UNABLE = Profile(
    conditional_put=False,
    conditional_copy=False,
    conditional_delete=False,
    versioning=False,
    md5_needed=True,
    ordered_listing=False,
    keeps_sha256=False,
    keeps_parts_sha256=False,
    names_deleted=False,
    lists_uploads=False,
)


@dataclass(frozen=True)
class Request:
    """One request as it was about to leave."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def line(self) -> str:
        return f"{self.method} {unquote(urlsplit(self.url).path)}"

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.url).query, keep_blank_values=True).items()}


@dataclass(frozen=True)
class Reply:
    """One answer of the store."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Reply | Exception | Callable[[Request], Reply]


def refusal(status: int, code: str, extra: str = "", **headers: str) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>as the store says</Message>{extra}</Error>"
    return Reply(status, body.encode(), {name.replace("_", "-"): value for name, value in headers.items()})


def bare(status: int, **headers: str) -> Reply:
    """An answer without a body, as to HEAD."""
    return Reply(status, b"", {name.replace("_", "-"): value for name, value in headers.items()})


def of_object(body: bytes, *, etag: str, status: int = 200, is_head: bool = False, **headers: str) -> Reply:
    return Reply(
        status,
        b"" if is_head else body,
        {"Content-Length": str(len(body)), "ETag": f'"{etag}"', "Last-Modified": "Wed, 15 Nov 2023 06:13:20 GMT"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
    )


class _Raw(io.BytesIO):
    def stream(self, amount: int = 65536, decode_content: bool | None = None) -> Iterator[bytes]:
        while chunk := self.read(amount):
            yield chunk


class Wire:
    """Answers the requests of one client from a script; a request beyond the script is a failure, and so is an answer never asked for.

    Attributes:
        otherwise: answers what is beyond the script.
    """

    def __init__(self, client: S3Client) -> None:
        self.requests: list[Request] = []
        self._script: list[Answer] = []
        self.otherwise: Callable[[Request], Reply] | None = None
        client.meta.events.register_first("before-send.s3", self._answer)  # type: ignore[arg-type]  # the stubs forget that a handler may answer

    def answers(self, *answers: Answer) -> None:
        self._script.extend(answers)

    @property
    def lines(self) -> list[str]:
        return [request.line for request in self.requests]

    def finish(self) -> None:
        assert self._script == [], "answers nobody asked for"

    def _answer(self, request: Any, **_: object) -> AWSResponse:
        body = request.body
        if hasattr(body, "read"):
            body = body.read()
        sent = Request(
            request.method,
            request.url,
            {name.lower(): value.decode() if isinstance(value, bytes) else str(value) for name, value in request.headers.items()},
            body or b"",
        )
        self.requests.append(sent)
        if not self._script and self.otherwise is not None:
            self._script.append(self.otherwise)
        assert self._script, f"unexpected {sent.line} {sent.query}"
        answer = self._script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        reply = answer if isinstance(answer, Reply) else answer(sent)
        headers: Any = {"Content-Length": str(len(reply.body))} | dict(reply.headers)
        return AWSResponse(sent.url, reply.status, headers, _Raw(reply.body))


class Clock:
    """Seconds that pass when told, or while sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def a_client(*, endpoint_url: str | None = "https://store.example", region: str = "auto") -> S3Client:
    return make_client(region=region, endpoint_url=endpoint_url, access_key_id="key", secret_access_key="secret", addressing="path")


def a_store(client: S3Client, clock: Clock, profile: Profile | None = ABLE) -> S3Store:
    return S3Store("media", client=client, profile=profile, sleep=clock.sleep, jitter=lambda: 0.5, clock=clock, new_id=lambda: "probe-id")
