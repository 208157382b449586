"""What the functions tell CloudWatch, read from what they print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import analytics
import migration
import object_events
import project_deletion
import reconciliation
import upload
from stocktake import metrics
from stocktake.errors import StocktakeError
from stocktake.metrics import METRICS
from tests.functions.conftest import DELETION_ID, RECOUNT_ID, Scene, context, event


@dataclass(frozen=True)
class Told:
    """One metric of one line."""

    name: str
    value: float
    by: dict[str, str]
    line: dict[str, Any]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns what was told since it was last asked."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "a-stack")

    def read() -> list[Told]:
        found = []
        for text in capsys.readouterr().out.splitlines():
            line = json.loads(text)
            if "_aws" in line:
                found += list(_read(line))
        return found

    return read


def _read(line: dict[str, Any]) -> Iterator[Told]:
    known = {metric.name: metric for metric in METRICS}
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], line["service"]) == ("Stocktake", "a-stack")
    in_all, *by = directive["Dimensions"]
    assert in_all == ["service"]
    for one in directive["Metrics"]:
        metric = known[one["Name"]]
        assert (one["Unit"], by) == (metric.unit, [["service", metric.by]] if metric.by else [])
        yield Told(metric.name, line[metric.name][0], {metric.by: line[metric.by]} if metric.by else {}, line)


def values(told: list[Told], *names: str) -> dict[str, float]:
    return {one.name: one.value for one in told if one.name in names}


def test_an_upload_its_bytes_and_a_refusal_are_told(scene: Scene, told: Any) -> None:
    status, record = scene.api(upload.handler, "upload/put_raw")
    assert status == 201
    assert values(told(), "Uploads", "UploadedBytes") == {"Uploads": 1, "UploadedBytes": record["bytes"]}
    scene.api(upload.handler, "upload/get_object")
    (refused,) = [one for one in told() if one.name == "Refusals"]
    assert refused.by == {"problem": "object-not-found"}
    removed = scene.an_object()
    scene.api(upload.handler, "upload/delete_object")
    assert values(told(), "RemovedObjects", "RemovedBytes", "KeysRefused") == {
        "RemovedObjects": 1,
        "RemovedBytes": removed.size,
        "KeysRefused": 0,
    }


def test_what_is_not_foreseen_is_told_as_a_failure(told: Any) -> None:
    from aws_lambda_powertools import Logger

    from stocktake.errors import LedgerError
    from stocktake.problems import problem_of

    problem_of(LedgerError("busy"), Logger(), "r")
    problem_of(ZeroDivisionError(), Logger(), "r")
    assert [(one.name, one.by["problem"]) for one in told()] == [("Failures", "ledger-error"), ("Failures", "internal")]


def test_what_events_came_to_and_what_came_again_is_told(scene: Scene, told: Any) -> None:
    scene.an_object()
    notification = event("object_events/s3_created")
    notification["Records"][0]["attributes"]["ApproximateReceiveCount"] = "3"
    object_events.handler(notification, context())
    lines = told()
    assert values(lines, "Redeliveries") == {"Redeliveries": 1}
    assert sum(one.value for one in lines if one.name == "Events") >= 1


def test_a_deletion_is_told_with_its_id_beside_the_metric_and_in_no_dimension(
    scene: Scene, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: DELETION_ID)
    scene.api(project_deletion.api_handler, "project_deletion/delete_project")
    (requested,) = [one for one in told() if one.name == "DeletionsRequested"]
    assert requested.line["deletion_id"] == DELETION_ID
    metrics.removed(3, 30, refused=1, deletion_id="d")
    metrics.deletion_ended("d", "INCOMPLETE", 65_000)
    lines = told()
    assert values(lines, "RemovedObjects", "KeysRefused", "DeletionSeconds") == {
        "RemovedObjects": 3,
        "KeysRefused": 1,
        "DeletionSeconds": 65,
    }
    assert {one.line["deletion_id"] for one in lines} == {"d"}
    assert next(one for one in lines if one.name == "Deletions").by == {"status": "INCOMPLETE"}


def test_a_complete_run_tells_its_findings_its_drift_and_what_it_took(scene: Scene, told: Any) -> None:
    scene.an_object()
    run_id = scene.a_run("01KAHRUN000000000000000000")
    told()
    reconciliation.step_handler({"step": "summarise", "run_id": run_id}, context())
    lines = told()
    assert [one.by for one in lines if one.name == "Runs"] == [{"status": "COMPLETE"}]
    assert {one.by["class"]: one.value for one in lines if one.name == "Findings"}["missing"] == 0
    assert values(lines, "BucketDrift", "StoredBytes").keys() == {"BucketDrift", "StoredBytes"}
    assert {one.by["state"]: one.value for one in lines if one.name == "Records"}["STORED"] == 1
    assert all(one.line["run_id"] == run_id for one in lines if one.name in ("Runs", "Findings", "RunSeconds"))


def test_a_run_that_broke_off_tells_that_alone(scene: Scene, told: Any) -> None:
    reconciliation.step_handler({"step": "fail", "run_id": "01KAHRUN000000000000000000", "error": {}}, context())
    assert [(one.name, one.by) for one in told()] == [("Runs", {"status": "FAILED"})]


def test_a_recount_tells_what_differs_and_is_not_repaired(scene: Scene, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: RECOUNT_ID)
    scene.services.recounts.request(repair=False)
    scene.call(migration.step_handler, "migration/step_recount")
    assert values(told(), "CountDrift", "CountsRepaired", "CountsBusy") == {"CountDrift": 0, "CountsRepaired": 0, "CountsBusy": 0}
    totals = {"drifted_rows": 3, "repaired": 2, "busy": 1}
    metrics.recounted("r", {"totals": totals, "started_at": 0, "finished_at": 1500})
    assert values(told(), "CountDrift", "RecountSeconds") == {"CountDrift": 1, "RecountSeconds": 1.5}


@pytest.mark.parametrize(
    "tell",
    [
        lambda: metrics.run_ended("r", "COMPLETE", {}),
        lambda: metrics.recounted("r", {"totals": {}}),
        lambda: metrics.counted({}),
        lambda: metrics.deletion_ended("d", "DELETED", None),  # type: ignore[arg-type]  # as a document of another version may have it
        lambda: metrics.tell({metrics.UPLOADS: "many"}),  # type: ignore[dict-item]  # which Powertools refuses
    ],
)
def test_a_metric_that_cannot_be_told_is_logged_and_fails_nobody(caplog: pytest.LogCaptureFixture, tell: Callable[[], None]) -> None:
    tell()
    assert "a metric was not told" in caplog.text


def test_a_message_is_done_whatever_becomes_of_its_metrics(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no more lines")

    monkeypatch.setattr("stocktake.metrics.EphemeralMetrics", refuse)
    monkeypatch.setattr("stocktake.services.new_id", lambda at: RECOUNT_ID)
    scene.services.recounts.request(repair=False)
    assert scene.call(migration.step_handler, "migration/step_recount") == {"batchItemFailures": []}


def test_repairs_quarantine_and_migrations_are_told_by_what_they_did(told: Any) -> None:
    metrics.repaired("run", {"MARK_MISSING": 3, "QUARANTINE": 2})
    metrics.purged(4)
    metrics.drilled("PASSED")
    metrics.migration_ended("m", "FAILED")
    metrics.carried(7)
    assert [(one.name, one.value, *one.by.values()) for one in told()] == [
        ("Repaired", 3, "MARK_MISSING"),
        ("Repaired", 2, "QUARANTINE"),
        ("Purged", 4),
        ("Drills", 1, "PASSED"),
        ("Migrations", 1, "FAILED"),
        ("EventsCarried", 7),
    ]


def test_no_dimension_has_more_values_than_the_code_has_words_for_it() -> None:
    problems = {kind.type for kind in _below(StocktakeError)}
    assert {metric.by for metric in METRICS} == {None, "problem", "outcome", "status", "class", "action", "state"}
    assert len(problems) < 100
    assert analytics.handler is not None  # its own answers are counted by `problem_of`


def _below(kind: type[StocktakeError]) -> Iterator[type[StocktakeError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _below(narrower)
