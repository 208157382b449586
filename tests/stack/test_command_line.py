"""The command line against a deployed stack: the jobs of the field reports' scripts, as an operator would do them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.stack.api import Run, at_the_terminal
from tools.stack import Settings, Stack


@pytest.fixture
def stocktake(stack: Stack, stack_settings: Settings, tmp_path: Path) -> Iterator[Run]:
    with at_the_terminal(stack, stack_settings, tmp_path) as run:
        yield run


def an_image(folder: Path, name: str, color: int) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (color, 90, 7)).save(buffer, "PNG")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def test_a_deleted_project_leaves_no_file_behind_and_the_command_line_proves_it(stack: Stack, stocktake: Run, tmp_path: Path) -> None:
    for number in range(3):
        an_image(tmp_path / "pictures", f"scene-{number}/image.png", number)
    code, uploaded = stocktake("upload", str(tmp_path / "pictures"), "--project", "proj_cli", "--open")
    assert (code, uploaded["result"]["totals"]["stored"]) == (0, 3)
    # again: told by their hash, nothing is sent
    code, again = stocktake("upload", str(tmp_path / "pictures"), "--project", "proj_cli")
    assert (code, again["result"]["totals"]["skipped"]) == (0, 3)
    # what older versions left under other patterns, and what only looks like it
    bucket = stack.bucket_client()
    older = ["proj_proj_cli_scene1_media.mp4", "projects/proj_cli/scenes/s1/media/a.png", "audio/proj_cli/s1/a.mp3"]
    for key in (*older, "audio/proj_cli2/s1/a.mp3"):
        bucket.put_object(Bucket=stack.bucket, Key=key, Body=b"old")

    code, looked = stocktake("inspect", uploaded["result"]["files"][0]["object_id"])
    assert (code, looked["result"]["url"]["status"]) == (0, 206)
    code, preview = stocktake("delete-project", "proj_cli", "--dry-run")
    assert (code, preview["result"]["preview"]["objects"]) == (0, 6)
    code, gone = stocktake("delete-project", "proj_cli", "--yes", "--wait")
    assert (code, gone["result"]["deletion"]["status"]) == (0, "DELETED")
    code, verified = stocktake("verify", "proj_cli")
    assert (code, verified["result"]["verified"]["remaining"]["objects"]) == (0, 0)
    left = {of["Key"] for of in bucket.list_objects_v2(Bucket=stack.bucket).get("Contents", [])}
    assert left.isdisjoint(older)
    assert "audio/proj_cli2/s1/a.mp3" in left
    bucket.delete_object(Bucket=stack.bucket, Key="audio/proj_cli2/s1/a.mp3")


def test_doctor_and_self_test_find_a_fresh_stack_well_and_dead_letters_go_back(stack: Stack, stocktake: Run) -> None:
    code, health = stocktake("doctor", "--direct")
    assert [check for check in health["result"]["checks"] if check["verdict"] == "fail"] == []
    assert code == 0
    code, tested = stocktake("self-test")
    assert (code, tested["result"]["failed"]) == (0, 0)
    sqs, dead = stack.aws("sqs"), stack.outputs["ObjectEventsUndeliveredQueueUrl"]
    sqs.send_message(QueueUrl=dead, MessageBody=json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": stack.bucket}))
    code, moved = stocktake("redrive", "object-events-undelivered", "--yes")
    assert (code, moved["result"]["moved"]) == (0, 1)
    said = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["ApproximateNumberOfMessages"])
    assert said["Attributes"]["ApproximateNumberOfMessages"] == "0"
