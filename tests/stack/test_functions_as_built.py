"""Each built function under the genuine Lambda runtime's emulator, with an event of events/ and nothing but its own code and layers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.rie import Emulator, handlers, layers
from tools.stack import Stack, stack_bin
from tools.stack.access import with_token
from tools.stack.settings import ROOT

CASES: dict[str, tuple[str, Any]] = {
    "UploadFunction": ("upload/put_markup", lambda answer: answer["statusCode"] == 415),
    "UploadTidyFunction": ("upload/tidy", lambda answer: "deletions" in answer),
    "ObjectEventsFunction": ("object_events/s3_test_event", lambda answer: answer == {"batchItemFailures": []}),
    "ObjectEventsPullFunction": ("object_events/r2_pull", lambda answer: answer.get("errorType") == "MessagingError"),
    "ObjectEventsWebhookFunction": ("object_events/r2_webhook", lambda answer: answer["statusCode"] == 401),
    "ProjectDeletionApiFunction": ("project_deletion/get_deletion", lambda answer: answer["statusCode"] == 404),
    "ProjectDeletionFanOutFunction": ("project_deletion/discover", lambda answer: len(answer["batchItemFailures"]) == 1),
    "ProjectDeletionWorkerFunction": ("project_deletion/batch", lambda answer: len(answer["batchItemFailures"]) == 1),
    "ReconciliationApiFunction": ("reconciliation/list_runs", lambda answer: answer["statusCode"] == 200),
    "ReconciliationStepFunction": ("reconciliation/step_plan", lambda answer: len(answer["ranges"]) == answer["walks"]),
    "MigrationApiFunction": ("migration/list_migrations", lambda answer: answer["statusCode"] == 200),
    "MigrationStepFunction": ("migration/step_migration", lambda answer: len(answer["batchItemFailures"]) == 1),
    "AnalyticsFunction": ("analytics/overall", lambda answer: answer["statusCode"] == 200),
    "DiagnosticsFunction": ("diagnostics/look", lambda answer: answer["statusCode"] == 200),
}


def event(stack: Stack, name: str, *, project: str = "proj_sunset") -> dict[str, Any]:
    text = (ROOT / "events" / f"{name}.json").read_text()
    return with_token(json.loads(text.replace("proj_sunset", project)), stack.token)


def test_every_function_of_the_template_has_a_case(stack: Stack) -> None:
    assert set(handlers()) == set(CASES)


@pytest.mark.parametrize("function", CASES)
def test_a_built_function_runs_under_the_lambda_runtime(stack: Stack, function: str) -> None:
    name, is_right = CASES[function]
    with Emulator.of(stack, function, R2_QUEUE_API="http://127.0.0.1:9") as emulator:  # where nobody is: no test asks the internet
        answer = emulator.invoke(event(stack, name))
        assert is_right(answer), (answer, emulator.logs())
        if name == "reconciliation/step_plan":  # or no other run may begin while this one, which nobody walks, is taken to be alive
            emulator.invoke({**event(stack, "reconciliation/step_fail"), "run_id": answer["run_id"]})


def test_the_step_that_sorts_inventories_can_read_parquet_and_no_other_function_carries_the_reader(built: Path) -> None:
    reading = [function for function in handlers() if any((built / layer / "python" / "arro3").exists() for layer in layers(function))]
    assert reading == ["ReconciliationStepFunction"]
    paths = [str(built / layer / "python") for layer in layers(reading[0])]
    script = "import sys; sys.path[:0] = sys.argv[1:]; from stocktake.inventory_rows import parquet_rows; from arro3.io import read_parquet"
    subprocess.run([str(stack_bin() / "python"), "-I", "-S", "-c", script, *paths], check=True)


@pytest.mark.parametrize(("layer", "megabytes"), [("CoreLayer", 60), ("ParquetLayer", 40)])
def test_a_layer_is_no_larger_than_a_cold_start_bears(built: Path, layer: str, megabytes: int) -> None:
    # together under the 250 MB that Lambda unpacks. Source: its quotas.
    assert sum(path.stat().st_size for path in (built / layer).rglob("*") if path.is_file()) < megabytes * 1_000_000


def test_an_upload_runs_whole_under_the_lambda_runtime(stack: Stack) -> None:
    with Emulator.of(stack, "UploadFunction") as emulator:
        # of its own: the examples of the contract, which others send, speak of proj_sunset too
        assert emulator.invoke(event(stack, "upload/create_project", project="proj_as_built"))["statusCode"] == 201
        stored = emulator.invoke(event(stack, "upload/put_raw", project="proj_as_built"))
        assert stored["statusCode"] == 201, (stored, emulator.logs())
        assert json.loads(stored["body"])["metadata"]["aspectRatio"] == "16:9"


def test_a_function_can_do_nothing_its_role_does_not_grant(stack: Stack) -> None:
    # by the API: under the emulator a function has the stack's own credentials
    iam, functions = stack.aws("iam"), stack.aws("lambda")
    name = functions.get_function_configuration(FunctionName=stack.resources["AnalyticsFunction"])["Role"].rpartition("/")[2]
    policy = iam.get_role_policy(RoleName=name, PolicyName="own")["PolicyDocument"]
    assert stack.api.get("/analytics").status_code == 200
    iam.delete_role_policy(RoleName=name, PolicyName="own")
    try:
        denied = stack.api.get("/analytics")
        assert denied.status_code == 503, denied.text
        assert denied.json()["type"] == "urn:stocktake:problem:ledger-error"
    finally:
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
    assert stack.api.get("/analytics").status_code == 200
