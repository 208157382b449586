"""`doctor` and `self-test`: each complaint says what to do, and nothing is left behind."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from stocktake_cli.checks import token_check
from stocktake_cli.failures import Unreachable
from stocktake_cli.wire import Reply
from tests.unit.cli.answers import counts, project, run
from tests.unit.cli.conftest import NOW, Cli, Sent, problem

RUNS = {"reconciliations": [run()]}


def token(**claims: Any) -> str:
    payload = {"sub": "op", "exp": NOW + 3600, "scope": "read write operate", "projects": "*", **claims}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip('=')}.signature"


def test_a_doctor_that_finds_nothing_wrong_ends_with_0(cli: Cli) -> None:
    cli.environment["STOCKTAKE_TOKEN"] = token()
    seen = counts()
    seen["bucket"]["counted_at"] = "2026-11-22T11:00:00.000Z"
    shown = cli("doctor", "--json", answers={"GET /analytics": seen, "GET /reconciliations": RUNS})
    verdicts = {check["name"]: check["verdict"] for check in shown.result["checks"]}
    assert verdicts == {"profile": "ok", "token": "ok", "API": "ok", "last complete run": "ok", "drift": "ok", "findings": "ok"}
    assert shown.exit == 0
    cli.wire.answers["GET /analytics"] = {**seen, "drift": {"objects": 4, "bytes": 9}, "acknowledged": {"objects": 4, "bytes": 9}}
    (drift,) = (check for check in cli("doctor", "--json").result["checks"] if check["name"] == "drift")
    assert (drift["verdict"], "4 findings acknowledged" in drift["found"]) == ("ok", True)


@pytest.mark.parametrize(
    ("answer", "code"),
    [(Unreachable("nobody", "see"), 4), (problem(401, "unauthenticated", "it ended"), 3), (problem(500, "internal", "ours"), 1)],
    ids=["no-answer", "refused", "broken"],
)
def test_what_fails_is_told_with_its_advice_and_decides_the_exit_code(cli: Cli, answer: Any, code: int) -> None:
    cli.environment["STOCKTAKE_TOKEN"] = token()
    shown = cli("doctor", "--json", answers={"GET /analytics": answer, "GET /reconciliations": RUNS})
    assert shown.exit == code
    assert next(check for check in shown.result["checks"] if check["name"] == "API")["advice"]


def test_where_the_api_does_not_answer_it_looks_past_it_and_says_what_it_lacks_for_that(cli: Cli) -> None:
    cli.environment["STOCKTAKE_TOKEN"] = token()
    shown = cli("doctor", "--json", answers={"GET /analytics": Unreachable("nobody")})
    assert shown.result["checks"][-1]["name"] == "stack"
    assert "aws_profile" in shown.result["checks"][-1]["advice"]


def test_the_deployment_is_asked_how_it_finds_itself(cli: Cli) -> None:
    cli.environment["STOCKTAKE_TOKEN"] = token()
    checks = [
        {
            "name": "region",
            "status": "failed",
            "says": "Bucket 'data' is elsewhere",
            "do": "Set StorageRegion",
            "detail": {"region": "us-east-1"},
        },
        {"name": "conformance", "status": "ok", "says": "The store can do all", "do": None, "detail": {}},
        {"name": "cors", "status": "skipped", "says": "The store does not tell", "do": None, "detail": {}},
        {
            "name": "dead-letters",
            "status": "warning",
            "says": "3 in deletion",
            "do": "stocktake redrive",
            "detail": {"queues": {"deletion": 3}},
        },
    ]
    answers = {
        "GET /analytics": counts(),
        "GET /reconciliations": RUNS,
        "GET /diagnostics": {"as_of": "", "status": "failed", "checks": checks},
    }
    shown = cli("doctor", "--json", answers=answers)
    found = {check["name"]: (check["verdict"], check["found"], check["advice"], check["detail"]) for check in shown.result["checks"]}
    assert found["region"] == ("fail", "Bucket 'data' is elsewhere", "Set StorageRegion", {"region": "us-east-1"})
    assert [found[name][0] for name in ("conformance", "cors", "dead-letters")] == ["ok", "skip", "warn"]
    assert shown.exit == 1


def test_a_newest_run_that_ended_in_doubt_is_told_beside_the_figures_of_an_older_one(cli: Cli) -> None:
    cli.environment["STOCKTAKE_TOKEN"] = token()
    doubtful = {**run("r2", "INCOMPLETE"), "why": "a tenth of the objects is gone"}
    answers = {"GET /analytics": counts(), "GET /reconciliations": {"reconciliations": [doubtful]}}
    shown = cli("doctor", "--json", answers=answers)
    newest = next(check for check in shown.result["checks"] if check["name"] == "newest run")
    assert (newest["verdict"], "a tenth of the objects" in newest["found"]) == ("fail", True)


def test_an_address_that_is_not_stocktakes_is_told(cli: Cli) -> None:
    cli.environment["STOCKTAKE_TOKEN"] = token()
    shown = cli("doctor", "--json", answers={"GET /analytics": Reply(200, {}, b"<html>welcome</html>")})
    assert next(check["verdict"] for check in shown.result["checks"] if check["name"] == "API") == "fail"


def test_a_clock_that_is_wrong_is_told(cli: Cli) -> None:
    cli.environment["STOCKTAKE_TOKEN"] = token()
    answer = Reply(200, {"date": "Sun, 22 Nov 2026 13:00:00 GMT"}, json.dumps(counts()).encode())
    shown = cli("doctor", "--json", answers={"GET /analytics": answer, "GET /reconciliations": RUNS})
    assert next(check["verdict"] for check in shown.result["checks"] if check["name"] == "this machine's clock") == "warn"


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (token(), "ok"),
        (token(exp=NOW - 1), "fail"),
        (token(scope="read"), "warn"),
        (token(exp=None), "fail"),
        ("", "fail"),
        ("a.b.c", "fail"),
        (token(scope=["operate"]), "ok"),
    ],
)
def test_a_token_is_read_for_what_it_allows_and_how_long(given: str, verdict: str) -> None:
    assert token_check(given, NOW).verdict == verdict


class Objects:
    """The API and the store for one object."""

    def __init__(self, *, drops: str = "") -> None:
        self.body: bytes | None = None
        self.metadata: dict[str, Any] = {}
        self.deleted = False
        self.drops = drops

    def answers(self) -> dict[str, Any]:
        def announce(sent: Sent) -> dict[str, Any]:
            self.metadata = {name: value for name, value in sent.body["metadata"].items() if name != self.drops}
            self.sha256 = sent.body["sha256"]
            return {"upload_id": "o1", "request": {"method": "PUT", "url": "https://s.example/put", "headers": {}}}

        def put(sent: Sent) -> Reply:
            self.body = sent.body
            return Reply(200)

        def record(sent: Sent) -> Any:
            if self.deleted:
                return problem(410, "object-deleted", "gone")
            size = len(self.body or b"")
            return {"state": "STORED", "bytes": size, "sha256": self.sha256, "metadata": self.metadata, "url": "https://s.example/get"}

        def delete(sent: Sent) -> dict[str, Any]:
            self.deleted = True
            return {"bytes": len(self.body or b"")}

        return {
            "GET /projects/stocktake-self-test": project("stocktake-self-test"),
            "POST /projects/stocktake-self-test/uploads": announce,
            "PUT /put": put,
            "POST /uploads/o1/complete": record,
            "GET /objects/o1": record,
            "GET /objects/o1/content": lambda sent: Reply(200, {}, self.body or b""),
            "GET /get": lambda sent: Reply(200, {}, self.body or b""),
            "DELETE /objects/o1": delete,
        }


def test_a_self_test_goes_the_whole_way_and_leaves_nothing(cli: Cli) -> None:
    objects = Objects()
    shown = cli("self-test", "--json", answers=objects.answers())
    assert (shown.exit, shown.result["failed"], objects.deleted) == (0, 0, True)
    assert [step["step"] for step in shown.result["steps"]] == ["put", "confirmed", "metadata", "bytes", "url", "delete", "gone"]


def test_a_self_test_has_the_deployment_try_its_own_bucket_first(cli: Cli) -> None:
    steps: list[dict[str, Any]] = [
        {"name": name, "status": status, "says": name, "do": None, "detail": {}, "took_ms": 3}
        for name, status in (("put", "ok"), ("url", "failed"))
    ]
    test = {"self_test_id": "t", "key": ".stocktake/probe/self-test/t", "status": "failed", "steps": steps, "is_clean": True}
    shown = cli("self-test", "--json", answers=Objects().answers() | {"POST /diagnostics/self-test": test})
    assert (shown.exit, [step["step"] for step in shown.result["steps"]][:3]) == (1, ["store: put", "store: url", "put"])
    assert [step["step"] for step in shown.result["steps"] if not step["ok"]] == ["store: url"]


def test_a_self_test_sees_a_field_of_the_metadata_that_was_dropped(cli: Cli) -> None:
    shown = cli("self-test", "--json", answers=Objects(drops="aspectRatio").answers())
    assert shown.exit == 1
    assert [step["step"] for step in shown.result["steps"] if not step["ok"]] == ["metadata"]


def test_a_self_test_that_breaks_off_leaves_nothing_either(cli: Cli) -> None:
    objects = Objects()
    answers = objects.answers() | {"GET /objects/o1": problem(500, "internal", "ours")}
    assert cli("self-test", answers=answers).exit == 7
    assert objects.deleted
