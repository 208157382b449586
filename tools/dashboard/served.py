"""The page over HTTP on the loopback: itself from the real function, everything else from answers that were made up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDB9.c2lnbmVk"
"""Of ada, until 2100; taken by nothing but this."""


@dataclass(frozen=True)
class Asked:
    """One request to the API."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    @property
    def key(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answered:
    """What is answered: JSON, or bytes as they are."""

    status: int
    body: Any
    content_type: str = "application/json"


Api = Callable[[Asked], Answered]


def problem(status: int, kind: str, detail: str) -> Answered:
    """Makes a problem document, as the API does."""
    document = {
        "type": f"urn:stocktake:problem:{kind}",
        "title": kind.replace("-", " "),
        "status": status,
        "detail": detail,
        "request_id": "r",
    }
    return Answered(status, document, "application/problem+json")


ABSENT = Answered(404, {"message": "Not Found"})
"""What API Gateway says of a path that is not there."""


@dataclass
class Site:
    """A page that is served: `api` is asked for everything else, and can be put in again at any time.

    Attributes:
        base: where it lies, a stage's path included.
        asked: every request to the API, in order.
        images: what the bucket holds, by path: it lies at the same address.
    """

    base: str
    api: Api
    images: Mapping[str, bytes]
    asked: list[Asked] = field(default_factory=list)
    token: str = TOKEN


@contextmanager
def serving(
    page: Callable[[str], tuple[str, Mapping[str, str]]], api: Api, images: Mapping[str, bytes], *, stage: str = ""
) -> Iterator[Site]:
    """Serves the page and its API on a free port of the loopback.

    Args:
        page: makes the page and its headers, given where the bucket's images come from.
        stage: what stands before every path, as a stage of API Gateway does.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            """Says nothing."""

        def answer(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            if parts.path == f"{stage}/dashboard":
                body, headers = page(origin)
                self.send(200, body.encode(), headers)
            elif parts.path in site.images:
                self.send(200, site.images[parts.path], {"Content-Type": "application/octet-stream"})
            elif not parts.path.startswith(f"{stage}/"):
                self.send(404, b"", {})
            else:
                asked = Asked(self.command, parts.path.removeprefix(stage), dict(parse_qsl(parts.query)), json.loads(raw) if raw else None)
                if self.headers.get("authorization") != f"Bearer {site.token}":
                    answered = problem(401, "unauthenticated", "the token has ended: get a fresh one")
                else:
                    site.asked.append(asked)
                    answered = site.api(asked)
                content = answered.body if isinstance(answered.body, bytes) else json.dumps(answered.body).encode()
                self.send(answered.status, content, {"Content-Type": answered.content_type})

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - http.server asks for these names

        def send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    origin = f"http://127.0.0.1:{server.server_port}"
    site = Site(f"{origin}{stage}", api, images)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
