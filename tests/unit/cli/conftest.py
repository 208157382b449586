"""The command line with a twin of the API in the place of HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from stocktake_cli.commands.group import stocktake
from stocktake_cli.deployment import Deployment
from stocktake_cli.wire import Reply

URL = "https://api.example.com"
NOW = 1_795_300_000.0

Answer = Mapping[str, Any] | Reply | Exception | Callable[["Sent"], Any]


@dataclass(frozen=True)
class Sent:
    """A request as the wire got it."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class Wire:
    """Answers by method and path; a list is answered one after the other, and its last one from then on."""

    answers: dict[str, Any] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None = None) -> Reply:
        target = urlsplit(url)
        raw = body if body is None or isinstance(body, bytes) else body.read()
        is_json = headers.get("content-type") == "application/json"
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        sent = Sent(method, target.path, query, headers, json.loads(raw) if raw and is_json else raw)
        self.sent.append(sent)
        answer = self.answers.get(f"{method} {target.path}")
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(sent)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Reply):
            return answer
        if answer is None:
            return problem(404, "no-such-route", "there is nothing at this path: GET /docs lists the paths")
        return Reply(200, {}, json.dumps(answer).encode())

    def asked(self) -> list[str]:
        return [f"{sent.method} {sent.path}" for sent in self.sent]


def problem(status: int, kind: str, detail: str, **headers: str) -> Reply:
    document = {"type": f"urn:stocktake:problem:{kind}", "title": kind, "status": status, "detail": detail, "request_id": "req-1"}
    return Reply(status, headers, json.dumps(document).encode())


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    exit: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one document on standard output."""
        shown: dict[str, Any] = json.loads(self.out)
        assert list(shown) == ["shape", "command", "exit", "status", "result", "problem"]
        assert shown["exit"] == self.exit
        return shown

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = self.document["result"]
        return found


class Cli:
    """`cli("analytics", "--json")`: runs a command against the answers of `cli.wire`, and waits for nothing."""

    def __init__(self, folder: Path) -> None:
        self.wire = Wire()
        self.deployment: Deployment | None = None
        self.slept: list[float] = []
        self.sleep: Callable[[float], None] = self.slept.append
        self.now: Callable[[], float] = lambda: NOW + sum(self.slept)
        self.environment = {
            "STOCKTAKE_CONFIG": str(folder / "config.toml"),
            "STOCKTAKE_HOME": str(folder / "no-stack"),
            "STOCKTAKE_URL": URL,
            "STOCKTAKE_TOKEN": "a-token",
            "STOCKTAKE_PROFILE": "",
            "XDG_CONFIG_HOME": str(folder),
        }

    def __call__(self, *arguments: str, answers: Mapping[str, Any] | None = None, typed: str = "") -> Ran:
        self.wire.answers.update(answers or {})
        given = {"wire": self.wire, "sleep": self.sleep, "now": self.now, "deployment": self.deployment}
        ended = CliRunner().invoke(stocktake, arguments, obj=given, env=self.environment, input=typed)
        return Ran(ended.exit_code, ended.stdout, ended.stderr)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)
