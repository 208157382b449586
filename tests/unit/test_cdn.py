from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import urllib3

from stocktake.cdn import NO_TIME, Cloudflare, NoCdn
from stocktake.errors import ConfigurationError

ZONE = "0123456789abcdef0123456789abcdef"
PURGED = (200, {"success": True, "errors": []})


@dataclass
class Api:
    """A server that answers as it is told, in turn, and then that it has purged."""

    url: str = ""
    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, list[str]]] = field(default_factory=list)

    def cdn(self, token: str = "t0ken") -> Cloudflare:
        return Cloudflare(ZONE, lambda: token, api=self.url)


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            made.asked.append((self.path, self.headers["authorization"], body["files"]))
            status, said = made.answers.pop(0) if made.answers else PURGED
            text = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("retry-after", "0")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def urls(count: int) -> list[str]:
    return [f"https://media.example/{number}.png" for number in range(count)]


def test_urls_are_purged_thirty_to_a_request_with_the_token_of_the_zone(api: Api) -> None:
    assert api.cdn().purge(urls(61)) == []
    assert [(path, token, len(files)) for path, token, files in api.asked] == [
        (f"/zones/{ZONE}/purge_cache", "Bearer t0ken", size) for size in (30, 30, 1)
    ]
    assert [url for _, _, files in api.asked for url in files] == urls(61)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_cdn_that_is_busy_is_asked_again(api: Api, status: int) -> None:
    api.answers = [(status, "busy"), PURGED]
    assert api.cdn().purge(urls(1)) == []
    assert len(api.asked) == 2


def test_what_the_cdn_refuses_comes_back_url_by_url_with_its_words(api: Api) -> None:
    refused = (400, {"success": False, "errors": [{"code": 1134, "message": "Unable to purge\n, invalid url"}]})
    api.answers = [refused, PURGED]
    failures = api.cdn().purge(urls(31))
    assert [failure.url for failure in failures] == urls(30)
    assert {failure.why for failure in failures} == {"the CDN answered 400: 1134 Unable to purge , invalid url"}


def test_an_answer_of_200_that_does_not_say_success_is_a_failure(api: Api) -> None:
    api.answers = [(200, {"success": False}), (200, "<html>")]
    assert len(api.cdn().purge(urls(31))) == 31


def test_a_token_that_is_refused_is_not_tried_for_every_request_and_never_shown(api: Api) -> None:
    api.answers = [(403, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]})]
    failures = api.cdn("hunter2").purge(urls(90))
    assert (len(failures), len(api.asked)) == (90, 1)
    assert "hunter2" not in str(failures)


def test_no_further_request_is_sent_once_time_is_short_and_its_urls_are_named(api: Api) -> None:
    failures = api.cdn().purge(urls(61), iter([False, True]).__next__)
    assert [failure.url for failure in failures] == urls(61)[30:]
    assert ({failure.why for failure in failures}, len(api.asked)) == ({NO_TIME}, 1)


def test_a_cdn_that_cannot_be_reached_or_has_no_token_raises_nothing(api: Api) -> None:
    def no_token() -> str:
        raise ConfigurationError("the secret of the CDN's token cannot be read (AccessDenied): see the function's role")

    [failure] = Cloudflare(ZONE, no_token, api=api.url).purge(urls(1))
    assert "cannot be read" in failure.why
    unreachable = Cloudflare(ZONE, lambda: "t", api="http://127.0.0.1:1", http=urllib3.PoolManager(retries=0))
    assert {failure.why for failure in unreachable.purge(urls(31))} == {"the CDN did not answer (MaxRetryError)"}


def test_no_cdn_takes_everything() -> None:
    assert NoCdn().purge(urls(1)) == ()
