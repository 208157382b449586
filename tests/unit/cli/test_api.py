"""How the API is called: what is sent again, and what is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stocktake_cli.api import ATTEMPTS, Api
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Failure, Refused, Unreachable
from stocktake_cli.wire import Reply
from tests.unit.cli.conftest import URL, Wire, problem


def api(wire: Wire, tokens: Iterator[str] | None = None) -> Api:
    fresh = tokens or iter(["t1", "t2", "t3"])
    return Api(wire, URL, lambda: next(fresh), sleep=lambda seconds: None)


LATER = problem(503, "ledger-error", "later")


def test_a_read_is_sent_again_until_it_is_answered() -> None:
    wire = Wire({"GET /x": [LATER, Unreachable("nobody"), {"a": 1}]})
    assert api(wire).get("/x") == {"a": 1}


def test_and_not_for_ever() -> None:
    wire = Wire({"GET /x": LATER})
    with pytest.raises(Unreachable):
        api(wire).get("/x")
    assert len(wire.sent) == ATTEMPTS


@pytest.mark.parametrize("kind", ["wrong-region", "bucket-not-found", "storage-denied"])
def test_what_only_other_settings_can_mend_is_asked_once_and_told_with_what_to_set(kind: str) -> None:
    wire = Wire({"GET /x": problem(502, kind, "The bucket is elsewhere: set StorageRegion")})
    with pytest.raises(Failure) as told:
        api(wire).get("/x")
    assert (told.value.exit, str(told.value), told.value.advice) == (Exit.BROKEN, "The bucket is elsewhere", "set StorageRegion")
    assert len(wire.sent) == 1


@pytest.mark.parametrize("answer", [LATER, Unreachable("nobody")], ids=["later", "no-answer"])
def test_a_post_that_may_have_been_done_is_sent_once(answer: Reply | Exception) -> None:
    wire = Wire({"POST /x": answer})
    with pytest.raises(Unreachable):
        api(wire).post("/x")
    assert len(wire.sent) == 1


def test_a_post_that_was_refused_unread_or_bears_a_key_is_sent_again() -> None:
    wire = Wire({"POST /x": [problem(429, "throttled", "slower"), {"a": 1}], "POST /y": [LATER, {"a": 2}]})
    assert api(wire).post("/x") == {"a": 1}
    assert api(wire).post("/y", idempotency_key="k") == {"a": 2}
    assert {sent.headers["Idempotency-Key"] for sent in wire.sent if sent.path == "/y"} == {"k"}


def test_a_token_that_has_ended_is_fetched_anew_once() -> None:
    wire = Wire({"GET /x": [problem(401, "unauthenticated", "it ended"), {"a": 1}]})
    assert api(wire).get("/x") == {"a": 1}
    assert [sent.headers["authorization"] for sent in wire.sent] == ["Bearer t1", "Bearer t2"]
    wire = Wire({"GET /x": problem(401, "unauthenticated", "it ended")})
    with pytest.raises(Refused):
        api(wire).get("/x")
    assert len(wire.sent) == 2


def test_a_name_in_a_path_is_one_part_of_it_whatever_is_in_it() -> None:
    wire = Wire()
    with pytest.raises(Exception, match="cannot do that"):
        api(wire).get("/projects/{project_id}", project_id="../a b?x=1")
    assert wire.sent[0].path == "/projects/..%2Fa%20b%3Fx%3D1"
