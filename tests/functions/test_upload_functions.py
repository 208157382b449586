from __future__ import annotations

import base64
import json
from typing import Any

import pytest

import upload
from stocktake.errors import LedgerError
from stocktake.model import State
from tests.functions.conftest import BODY, KEY, OBJECT_ID, Scene, context, event


def test_a_project_is_opened_once_and_read_back(scene: Scene) -> None:
    status, project = scene.api(upload.handler, "upload/get_project")
    assert (status, project["project_id"], project["metadata"]) == (200, "proj_sunset", {"customer": "Ada", "tier": 2})
    status, problem = scene.api(upload.handler, "upload/create_project")
    assert (status, problem["type"]) == (409, "urn:stocktake:problem:project-exists")


@pytest.mark.parametrize("case", ["put_raw", "put_base64_json"])
def test_an_image_is_stored_either_way_and_comes_back_to_the_byte(scene: Scene, case: str) -> None:
    status, uploaded = scene.api(upload.handler, f"upload/{case}")
    assert (status, uploaded["state"]) == (201, "STORED")
    assert uploaded["metadata"] == {"prompt": "A sunset", "aspectRatio": "16:9", "numberOfImages": 2}
    assert uploaded["key"].startswith("projects/proj_sunset/")
    assert uploaded["url"].startswith("https://")
    asked = event("upload/get_content")
    asked["rawPath"] = asked["requestContext"]["http"]["path"] = f"/objects/{uploaded['object_id']}/content"
    answer = upload.handler(asked, context())
    sent = event("upload/put_raw")["body"]
    assert (answer["statusCode"], answer["isBase64Encoded"], answer["body"]) == (200, True, sent)
    assert answer["headers"]["X-Content-Type-Options"] == "nosniff"


def test_file_name_and_cache_control_are_kept_as_sent(scene: Scene) -> None:
    _, raw = scene.api(upload.handler, "upload/put_raw")
    _, sent_as_json = scene.api(upload.handler, "upload/put_base64_json")
    assert (raw["file_name"], raw["cache_control"]) == ("sunset at sea.png", "public, max-age=31536000")
    assert (sent_as_json["file_name"], sent_as_json["cache_control"]) == ("sunset.png", "private, max-age=60")


@pytest.mark.parametrize(
    ("case", "status", "kind"), [("put_unknown_field", 400, "invalid-request"), ("put_markup", 415, "unsupported-type")]
)
def test_what_is_refused_is_a_problem_with_a_stable_type(scene: Scene, case: str, status: int, kind: str) -> None:
    answer = scene.call(upload.handler, f"upload/{case}")
    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["type"]) == (status, f"urn:stocktake:problem:{kind}")
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert problem["request_id"] == "JKJaXmPLvHcESHA="
    assert list(scene.services.ledger.entries()) == []


def test_a_record_is_read_and_its_bytes_are_a_redirect_away(scene: Scene) -> None:
    scene.an_object()
    status, record = scene.api(upload.handler, "upload/get_object")
    assert (status, record["object_id"], record["key"], record["bytes"]) == (200, OBJECT_ID, KEY, len(BODY))
    asked = event("upload/get_content")
    del asked["queryStringParameters"]
    answer = upload.handler(asked, context())
    assert answer["statusCode"] == 302
    assert KEY in answer["headers"]["Location"]


def test_the_bytes_themselves_are_answered_where_asked(scene: Scene) -> None:
    scene.an_object()
    answer = scene.call(upload.handler, "upload/get_content")
    assert base64.b64decode(answer["body"]) == BODY


def test_an_object_that_is_not_stored_says_so(scene: Scene) -> None:
    scene.an_object(State.MISSING)
    status, problem = scene.api(upload.handler, "upload/get_content")
    assert (status, problem["type"]) == (409, "urn:stocktake:problem:object-missing")


def test_an_object_is_deleted_once(scene: Scene) -> None:
    scene.an_object()
    status, receipt = scene.api(upload.handler, "upload/delete_object")
    assert (status, receipt["key"], receipt["bytes"]) == (200, KEY, len(BODY))
    assert receipt["deleted_at"]
    assert scene.api(upload.handler, "upload/delete_object") == (200, receipt)
    status, problem = scene.api(upload.handler, "upload/get_object")
    assert (status, problem["type"]) == (410, "urn:stocktake:problem:object-deleted")


def test_objects_are_listed(scene: Scene) -> None:
    scene.an_object()
    status, page = scene.api(upload.handler, "upload/list_objects")
    assert (status, [record["key"] for record in page["objects"]], page["cursor"]) == (200, [KEY], None)


def changed(name: str, **changes: Any) -> dict[str, Any]:
    return {**event(name), **changes}


def test_a_body_that_is_no_text_is_refused_by_name(scene: Scene) -> None:
    body = base64.b64encode(b"\xff\xfe{}").decode()
    answer = upload.handler(changed("upload/put_base64_json", body=body, isBase64Encoded=True), context())
    assert (answer["statusCode"], "UTF-8" in json.loads(answer["body"])["detail"]) == (400, True)


def test_a_limit_that_is_no_number_is_refused(scene: Scene) -> None:
    answer = upload.handler(changed("upload/list_objects", queryStringParameters={"limit": "many"}), context())
    assert (answer["statusCode"], "limit" in json.loads(answer["body"])["detail"]) == (400, True)


def test_a_path_that_is_not_there_is_a_problem_too(scene: Scene) -> None:
    answer = upload.handler(changed("upload/get_project", rawPath="/nothing/here"), context())
    assert (answer["statusCode"], json.loads(answer["body"])["type"]) == (404, "urn:stocktake:problem:no-such-route")


def test_what_nobody_foresaw_shows_nothing_of_itself(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(scene.services.serving, "project", broken)
    answer = scene.call(upload.handler, "upload/get_project")
    assert answer["statusCode"] == 500
    assert "hunter2" not in answer["body"]


def test_a_ledger_that_does_not_answer_is_a_503(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise LedgerError("the ledger did not answer: try again")

    monkeypatch.setattr(scene.services.serving, "project", broken)
    status, problem = scene.api(upload.handler, "upload/get_project")
    assert (status, problem["type"]) == (503, "urn:stocktake:problem:ledger-error")
