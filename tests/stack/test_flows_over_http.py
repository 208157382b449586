"""The five flows of the deployed template, over real HTTP and with the real event wiring."""

from __future__ import annotations

import base64
import json

import pytest
import requests

from tests.stack.api import eventually, uploaded
from tests.unit.world import an_image
from tools.stack import Stack


@pytest.fixture(scope="module")
def project(stack: Stack) -> str:
    answer = stack.api.post("/projects", json={"project_id": "proj_http", "metadata": {"n": 1}})
    assert answer.status_code == 201, answer.text
    return "proj_http"


def test_an_image_goes_up_and_comes_back_by_redirect_and_as_bytes(stack: Stack, project: str) -> None:
    body = an_image(1)
    metadata = {"aspectRatio": "16:9", "numberOfImages": 2}
    document = uploaded(stack, project, body, **{"stocktake-metadata": json.dumps(metadata)})
    record = stack.api.get(f"/objects/{document['object_id']}").json()
    assert (record["state"], record["metadata"], record["bytes"]) == ("STORED", metadata, len(body))
    redirect = stack.api.get(f"/objects/{document['object_id']}/content", allow_redirects=False)
    assert redirect.status_code == 302
    fetched = requests.get(redirect.headers["location"], timeout=10)
    assert (fetched.content, fetched.headers["content-type"]) == (body, "image/png")
    assert fetched.headers["cache-control"] == "public, max-age=31536000, immutable"
    in_place = stack.api.get(f"/objects/{document['object_id']}/content", params={"as": "bytes"})
    assert (in_place.status_code, in_place.content) == (200, body)


def test_base64_json_is_the_other_way_in_and_an_unknown_field_is_an_error(stack: Stack, project: str) -> None:
    body = {"content_base64": base64.b64encode(an_image(2)).decode(), "file_name": "ü.png"}
    answer = stack.api.post(f"/projects/{project}/objects", json=body)
    assert (answer.status_code, answer.json()["file_name"]) == (201, "ü.png")
    refused = stack.api.post(f"/projects/{project}/objects", json={**body, "aspectRatio": "16:9"})
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
    assert refused.json()["type"] == "urn:stocktake:problem:invalid-request"


def test_what_happens_behind_our_back_reaches_the_ledger_by_itself(stack: Stack, project: str) -> None:
    if stack.store != "s3":
        pytest.skip("a foreign store sends no events; the demonstration shows that reconciliation finds what happened")
    document = uploaded(stack, project, an_image(4))
    bucket = stack.bucket_client()
    stranger = f"projects/{project}/scenes/act one/media/café + tea.png"
    bucket.put_object(Bucket=stack.bucket, Key=stranger, Body=b"stranger")
    bucket.delete_object(Bucket=stack.bucket, Key=document["key"])
    eventually(lambda: stack.api.get(f"/objects/{document['object_id']}").json()["state"], lambda state: state == "MISSING")

    def keys() -> list[str]:
        return [record["key"] for record in stack.api.get(f"/projects/{project}/objects").json()["objects"]]

    eventually(keys, lambda found: stranger in found)


def test_a_deleted_project_has_a_receipt_and_takes_nothing_any_more(stack: Stack) -> None:
    stack.api.post("/projects", json={"project_id": "proj_9"})
    document = uploaded(stack, "proj_9", an_image(5))
    stack.bucket_client().put_object(Bucket=stack.bucket, Key="proj_proj_9_s_media.mp4", Body=b"old")
    deletion_id = stack.api.delete("/projects/proj_9", json={"reason": "a test"}).json()["deletion_id"]
    late = stack.api.post("/projects/proj_9/objects", data=an_image(6), headers={"content-type": "image/png"})
    assert late.status_code == 409
    deletion = eventually(lambda: stack.api.get(f"/deletions/{deletion_id}").json(), lambda answer: "receipt" in answer)
    assert (deletion["receipt"]["status"], deletion["receipt"]["objects"]) == ("DELETED", 2)
    assert stack.api.get(f"/objects/{document['object_id']}").status_code == 404
    assert stack.api.post(f"/deletions/{deletion_id}/verify").json()["remaining"] == {"objects": 0, "bytes": 0}
    assert stack.api.get("/projects/proj_9").json()["state"] == "DELETED"


def test_every_route_answers_problems_and_never_a_bare_error(stack: Stack) -> None:
    for method, path in (
        ("GET", "/projects/none"),
        ("GET", "/deletions/none"),
        ("GET", "/reconciliations/none"),
        ("POST", "/quarantine/none/restore"),
    ):
        answer = stack.api.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
        assert answer.json()["detail"]
