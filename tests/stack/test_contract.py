"""The deployed API held to its own document: by schemathesis over every operation, and by what API Gateway answers by itself."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stocktake.routes import ROUTES
from tests.fuzzed import fuzz
from tests.stack.api import a_film, asked, begun, call, eventually, opened, send, uploaded
from tests.unit.world import an_image
from tools.stack import Stack

_images = itertools.count(500)


@pytest.fixture(scope="module")
def ids(stack: Stack) -> dict[str, list[str]]:
    """What is there to be asked for, by path parameter; and for what ends a thing, things of its own."""
    project, doomed, gone = opened(stack), opened(stack), opened(stack)
    kept, lost = ([uploaded(stack, project, an_image(next(_images)))["object_id"] for _ in range(2)] for _ in range(2))
    one, sent = an_image(next(_images)), an_image(next(_images))
    uploads = [begun(stack, project, body) for body in (one, sent)]
    assert send(uploads[1]["request"], sent) == 200
    in_parts, given_up = (begun(stack, project, a_film(11_000_000), "video/mp4", part_bytes=6_000_000) for _ in range(2))
    job = call(stack, "POST", f"/projects/{project}/generations", 201, json={"outputs": 3})["generation_id"]
    stranger = f"projects/{project}/scenes/s1/media/stranger-{hashlib.sha256(one).hexdigest()[:8]}.png"
    stack.bucket_client().put_object(Bucket=stack.bucket, Key=stranger, Body=b"a stranger")
    run = call(stack, "POST", "/reconciliations", 202)["run_id"]
    eventually(lambda: call(stack, "GET", f"/reconciliations/{run}", 200)["status"], lambda status: status == "COMPLETE")
    return {
        "project_id": [project],
        "deleteProject.project_id": [doomed],
        "object_id": kept,
        "deleteObject.object_id": lost,
        "upload_id": [*(upload["upload_id"] for upload in uploads), in_parts["upload_id"]],
        "abortUpload.upload_id": [given_up["upload_id"]],
        "signParts.upload_id": [in_parts["upload_id"]],
        "completeUpload.upload_id": [uploads[1]["upload_id"], in_parts["upload_id"]],
        "generation_id": [job],
        "deletion_id": [call(stack, "DELETE", f"/projects/{gone}", 202)["deletion_id"]],
        "run_id": [run],
    }


def test_no_request_is_answered_with_what_the_document_does_not_have(stack: Stack, ids: dict[str, list[str]], tmp_path: Path) -> None:
    address = urlsplit(stack.api_url)
    found = fuzz(f"http://127.0.0.1:{address.port}", stack.token, {"Host": address.netloc}, ids, tmp_path)
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr[-2000:]
    assert f"Tested: {len(ROUTES)}" in found.stdout


def test_the_document_and_its_page_are_served(stack: Stack) -> None:
    served = asked(stack, "GET", "/openapi.json")
    assert served.json()["openapi"] == "3.1.0"
    assert asked(stack, "GET", "/openapi.json", headers={"If-None-Match": served.headers["ETag"]}).status_code == 304
    page = asked(stack, "GET", "/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("DELETE", "/analytics"), ("GET", "/projects/a%2Fb")])
def test_what_is_no_route_is_the_gateways_to_answer(stack: Stack, method: str, path: str) -> None:
    answer = stack.api.request(method, path)
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (404, "application/json", {"message": "Not Found"})
