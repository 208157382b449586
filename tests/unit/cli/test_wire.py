"""Requests over HTTP, against a server of this process."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stocktake_cli.failures import Unreachable
from stocktake_cli.wire import Http


class Echo(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:  # its name is the method's
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:  # its name is the method's
        self.send_response(302)
        self.send_header("Location", "http://elsewhere.example/")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_name_of_the_loopback_is_reached_whatever_the_resolver_says_of_it(port: int) -> None:
    reply = Http().send("PUT", f"http://abc.execute-api.localhost:{port}/x", {"content-length": "3"}, io.BytesIO(b"abc"))
    assert (reply.status, reply.body, reply.headers["x-host"]) == (200, b"abc", f"abc.execute-api.localhost:{port}")


def test_a_redirect_is_an_answer_and_takes_no_token_elsewhere(port: int) -> None:
    assert Http().send("GET", f"http://127.0.0.1:{port}/x", {"authorization": "Bearer t"}).status == 302


def test_nobody_at_an_address_is_told_from_an_answer_that_is_late() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        Http().send("GET", "http://127.0.0.1:9/", {})
