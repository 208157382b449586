"""A deletion that is undone on the deployed stack, and one that is erased, with the roles that the template grants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack.api import call, eventually, uploaded
from tests.unit.world import an_image
from tools.stack import Stack

PROJECT = "proj_undo"
OLD_KEY = f"projects/{PROJECT}/scenes/act one/media/café + tea.mp4"


@pytest.fixture
def with_a_window(stack: Stack) -> Iterator[Stack]:
    """The stack, with a day in which deletions can be undone."""
    functions, name = stack.aws("lambda"), stack.resources["ProjectDeletionApiFunction"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": {**variables, "UNDO_DAYS": "1"}})
    yield stack
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


def test_a_deletion_is_undone_to_the_byte_and_the_next_one_erased(with_a_window: Stack) -> None:
    stack, bucket = with_a_window, with_a_window.bucket_client()
    body = an_image(3)
    call(stack, "POST", "/projects", 201, json={"project_id": PROJECT, "metadata": {"customer": "Ada"}})
    document = uploaded(stack, PROJECT, body, **{"stocktake-metadata": json.dumps({"n": 1.0})})
    bucket.put_object(Bucket=stack.bucket, Key=OLD_KEY, Body=b"old", ContentType="video/mp4", Metadata={"scene": "1"})
    path = f"/objects/{document['object_id']}"
    before = call(stack, "GET", path, 200)

    deletion_id = call(stack, "DELETE", f"/projects/{PROJECT}", 202)["deletion_id"]
    held = eventually(lambda: call(stack, "GET", f"/deletions/{deletion_id}", 200), lambda found: found["status"] == "HELD", 120)
    assert (held["set_aside"]["objects"], held["set_aside"]["left_objects"]) == (2, 0)
    assert (keys_under(stack, f"projects/{PROJECT}/"), len(keys_under(stack, ".stocktake/quarantine/undo/"))) == ([], 2)
    assert stack.api.get(path).status_code == stack.api.get(f"{path}/content").status_code == 404
    assert stack.api.get(f"/deletions/{deletion_id}/receipt").status_code == 409
    stack.aws("sqs").send_message(QueueUrl=stack.outputs["DeletionQueueUrl"], MessageBody='{"step": "windows"}')  # as the timer does

    call(stack, "POST", f"/deletions/{deletion_id}/undo", 202)
    undone = eventually(lambda: call(stack, "GET", f"/deletions/{deletion_id}", 200), lambda found: found["status"] == "UNDONE", 240)
    assert (undone["undone"]["objects"], undone["undone"]["not_restored"]) == (2, [])
    assert without_url(call(stack, "GET", path, 200)) == without_url(before)
    assert stack.api.get(f"{path}/content", params={"as": "bytes"}).content == body
    old = bucket.get_object(Bucket=stack.bucket, Key=OLD_KEY)
    assert (old["Body"].read(), old["ContentType"], old["Metadata"]) == (b"old", "video/mp4", {"scene": "1"})
    assert keys_under(stack, ".stocktake/quarantine/undo/") == []
    assert call(stack, "GET", f"/projects/{PROJECT}", 200)["state"] == "ACTIVE"

    again = call(stack, "DELETE", f"/projects/{PROJECT}", 202)["deletion_id"]
    eventually(lambda: call(stack, "GET", f"/deletions/{again}", 200), lambda found: found["status"] == "HELD", 120)
    assert call(stack, "DELETE", f"/projects/{PROJECT}", 202, json={"undo": False})["status"] == "REMOVING"
    assert stack.api.post(f"/deletions/{again}/undo").status_code == 409
    ended = eventually(lambda: call(stack, "GET", f"/deletions/{again}", 200), lambda found: "receipt" in found, 240)
    assert (ended["receipt"]["status"], ended["receipt"]["objects"], ended["receipt"]["set_aside"]["objects"]) == ("DELETED", 2, 2)
    assert keys_under(stack, f"projects/{PROJECT}/") + keys_under(stack, ".stocktake/quarantine/undo/") == []


def keys_under(stack: Stack, prefix: str) -> list[str]:
    return [row["Key"] for row in stack.bucket_client().list_objects_v2(Bucket=stack.bucket, Prefix=prefix).get("Contents", [])]


def without_url(record: dict[str, Any]) -> dict[str, Any]:
    """Leaves out the URL, which is signed anew each time."""
    return {name: value for name, value in record.items() if name != "url"}
