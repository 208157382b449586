"""The command line of the local stack, as far as it starts nothing."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import jwt
import pytest

from tools.stack.__main__ import main
from tools.stack.access import Stack


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STOCKTAKE_HOME", str(tmp_path))
    monkeypatch.delenv("STOCKTAKE_PORT", raising=False)
    return tmp_path


def running_on(home: Path, port: int) -> None:
    said: dict[str, object] = {field.name: "" for field in fields(Stack)}
    description = {**said, "endpoint": f"http://127.0.0.1:{port}", "store": "s3", "store_credentials": ["", ""]}
    (home / "stack.json").write_text(json.dumps(description))


def issuer_of(token: str) -> str:
    issuer: str = jwt.decode(token, options={"verify_signature": False})["iss"]
    return issuer


def test_a_token_is_of_the_stack_that_runs_whatever_port_the_environment_names(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running_on(home, 4700)
    assert main(["token", "--scope", "read", "--project", "p1"]) == 0
    assert issuer_of(capsys.readouterr().out.strip()) == "http://127.0.0.1:4700/stocktake-issuer"


def test_so_is_the_token_of_an_event(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running_on(home, 4700)
    assert main(["event", "upload/put_raw"]) == 0
    token = json.loads(capsys.readouterr().out)["headers"]["authorization"].removeprefix("Bearer ")
    assert issuer_of(token) == "http://127.0.0.1:4700/stocktake-issuer"


def test_where_no_stack_runs_there_is_no_token(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token"]) == 1
    assert "make up" in capsys.readouterr().err
