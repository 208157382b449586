"""upload, driven by the files of events/: what each route answers, what it refuses, and what it never says."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

import upload
from stocktake import errors
from stocktake.access import Access
from stocktake.errors import LedgerError, StocktakeError, StorageUnavailable
from stocktake.ids import now_ms
from stocktake.model import State
from stocktake.services import Services
from stocktake.upload_requests import read_scope
from tests.functions.conftest import (
    BODY,
    EVENTS,
    GENERATION_ID,
    KEY,
    OBJECT_ID,
    UPLOAD_ID,
    UPLOAD_IN_PARTS_ID,
    Scene,
    context,
    event,
    sent,
)
from tests.issuer import bearer, issuer
from tests.unit.ledger.builders import a_record
from tests.unit.test_edges import ENVIRONMENT
from tests.unit.world import an_image

METADATA = {"prompt": "A sunset", "aspectRatio": "16:9", "numberOfImages": 2}
CASES = sorted(path.stem for path in (EVENTS / "upload").glob("*.json"))
REQUESTS = [case for case in CASES if "rawPath" in event(f"upload/{case}")]
WITH_JSON = [case for case in REQUESTS if event(f"upload/{case}")["headers"].get("content-type") == "application/json"]
PART_BYTES = 5 * 1024 * 1024


def ask(name: str, **changes: Any) -> tuple[int, Any, dict[str, str]]:
    """Sends a changed event; returns status, decoded body and headers."""
    answer = upload.handler(sent(f"upload/{name}", **changes), context())
    return answer["statusCode"], json.loads(answer["body"] or "null"), answer["headers"]


def refused(name: str, **changes: Any) -> tuple[int, str]:
    """Sends a changed event; returns status and the type of the problem."""
    status, problem, headers = ask(name, **changes)
    assert headers["Content-Type"] == "application/problem+json"
    return status, problem["type"].removeprefix("urn:stocktake:problem:")


class Untouchable:
    """A deployment of which nothing may be asked but who may: whatever is, is a 500."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def __getattr__(self, name: str) -> Untouchable:
        return self

    def __call__(self, *args: object, **named: object) -> None:
        raise AssertionError("it was asked")


@pytest.fixture
def nothing(issuing: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "services", Untouchable(Services({**ENVIRONMENT, **issuing}).access))


def put_it(request: Mapping[str, Any], body: bytes) -> int:
    """Sends a signed PUT as a caller would."""
    return requests.put(request["url"], data=body, headers=dict(request["headers"]), timeout=10).status_code


def a_wav(size: int) -> bytes:
    fields = (16).to_bytes(4, "little") + bytes([1, 0, 1, 0]) + (8000).to_bytes(4, "little") * 2 + bytes([1, 0, 8, 0])
    start = b"RIFF" + (size - 8).to_bytes(4, "little") + b"WAVEfmt " + fields + b"data" + (size - 44).to_bytes(4, "little")
    return start + bytes(size - len(start))


def test_every_event_file_is_named_by_a_test() -> None:
    code = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    unnamed = [str(path) for path in EVENTS.rglob("*.json") if not re.search(rf'["/]{path.stem}"', code)]
    assert unnamed == []


def test_every_route_has_an_event() -> None:
    code = Path(upload.__file__).read_text()
    routes = {
        f"{method.upper()} {re.sub(r'<(.*?)>', r'{\1}', path)}"
        for method, path in re.findall(r'^@api\.(\w+)\("(.+)"\)', code, re.MULTILINE)
    }
    assert {event(f"upload/{case}")["routeKey"] for case in REQUESTS} == routes


# projects


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
    assert uploaded["url"] is None  # the bucket is not public, and a signed URL is for whoever asks for the record
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


def test_a_body_that_is_no_text_is_refused_by_name(scene: Scene) -> None:
    body = base64.b64encode(b"\xff\xfe{}").decode()
    answer = upload.handler(sent("upload/put_base64_json", body=body, isBase64Encoded=True), context())
    assert (answer["statusCode"], "UTF-8" in json.loads(answer["body"])["detail"]) == (400, True)


def test_a_limit_that_is_no_number_is_refused(scene: Scene) -> None:
    answer = upload.handler(sent("upload/list_objects", queryStringParameters={"limit": "many"}), context())
    assert (answer["statusCode"], "limit" in json.loads(answer["body"])["detail"]) == (400, True)


def test_a_path_that_is_not_there_is_a_problem_too(scene: Scene) -> None:
    answer = upload.handler(sent("upload/get_project", rawPath="/nothing/here"), context())
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


# ways in


def test_options_choose_the_place_and_seal_what_is_sensitive(scene: Scene) -> None:
    status, uploaded, _ = ask("put_options")
    assert (status, uploaded["layout"], uploaded["sealed"]) == (201, "session", ["participant"])
    assert uploaded["key"].startswith("images/session-7/captain/")
    assert uploaded["metadata"] == METADATA
    _, record, _ = ask("get_object", path=f"/objects/{uploaded['object_id']}")
    assert record["metadata"] == {**METADATA, "participant": "Ada Lovelace"}
    _, page, _ = ask("list_objects")
    assert "Ada Lovelace" not in json.dumps(page)


def test_a_batch_answers_for_each_item_and_loses_none(scene: Scene) -> None:
    status, answer, _ = ask("batch")
    results = answer["results"]
    assert (status, [(result["item"], result["status"]) for result in results]) == (207, [(0, 201), (1, 415), (2, 400), (3, 201)])
    assert [results[number]["object"]["file_name"] for number in (0, 3)] == ["one.png", "four.png"]
    assert [results[number]["problem"]["type"].rpartition(":")[2] for number in (1, 2)] == ["unsupported-type", "invalid-request"]
    assert len(list(scene.services.ledger.entries())) == 2


def test_a_batch_sent_again_is_answered_again_and_stores_nothing(scene: Scene) -> None:
    first, again = ask("batch"), ask("batch")
    assert (again[0], again[1], again[2]["Idempotency-Replayed"]) == (207, first[1], "true")
    assert len(list(scene.services.ledger.entries())) == 2


def test_a_batch_that_failed_on_our_side_is_finished_when_it_is_sent_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failing = scene.services.store.put, iter([True])

    def once_unavailable(*args: Any, **kwargs: Any) -> Any:
        if next(failing, False):
            raise StorageUnavailable("no answer: try again")
        return real(*args, **kwargs)

    monkeypatch.setattr(scene.services.store, "put", once_unavailable)
    first, again, replayed = ask("batch"), ask("batch"), ask("batch")
    assert sorted({result["status"] for result in first[1]["results"]}) == [201, 400, 415, 503]
    assert sorted({result["status"] for result in again[1]["results"]}) == [201, 400, 415]
    stored = {result["item"]: result["object"]["object_id"] for result in first[1]["results"] if result["status"] == 201}
    assert stored.items() <= {result["item"]: result["object"]["object_id"] for result in again[1]["results"] if "object" in result}.items()
    assert replayed[1] == again[1]


def test_what_broke_in_one_item_of_a_batch_shows_nothing_of_itself(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(scene.services.uploads, "put", broken)
    status, answer, _ = ask("batch")
    assert (status, answer["results"][0]["status"]) == (207, 500)
    assert "hunter2" not in json.dumps(answer)


def test_imports_are_refused_until_a_host_is_named(scene: Scene) -> None:
    assert refused("import_object") == (403, "import-disabled")


def test_a_body_over_the_limit_is_told_the_presigned_way(scene: Scene) -> None:
    status, problem, _ = ask("put_raw", body=base64.b64encode(bytes(4_500_001)).decode())
    assert (status, problem["type"]) == (413, "urn:stocktake:problem:too-large")
    assert "POST /projects/proj_sunset/uploads" in problem["detail"]


def test_a_quota_is_set_and_held(scene: Scene) -> None:
    status, project, _ = ask("set_quota")
    assert (status, project["quota"]) == (200, {"objects": 1, "bytes": 1_000_000})
    assert ask("put_raw")[0] == 201
    assert refused("put_raw") == (409, "quota-exceeded")


# presigned uploads


def test_an_upload_goes_by_its_url_and_counts_when_it_is_complete(scene: Scene) -> None:
    status, begun, _ = ask("begin_upload")
    assert (status, begun["object"]["state"], begun["request"]["method"], begun["parts"]) == (201, "PENDING", "PUT", [])
    assert put_it(begun["request"], base64.b64decode(event("upload/put_raw")["body"])) == 200
    completed = ask("complete_upload", path=f"/uploads/{begun['upload_id']}/complete")
    assert (completed[0], completed[1]["state"], completed[1]["metadata"]) == (200, "STORED", METADATA)
    assert completed[1]["url"].startswith("https://")


def test_a_large_upload_is_warned_of_as_it_begins_and_as_it_is_complete(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.services, "settings", replace(scene.services.settings, warn_upload_bytes=2))
    _, begun, _ = ask("begin_upload")
    put_it(begun["request"], base64.b64decode(event("upload/put_raw")["body"]))
    _, completed, _ = ask("complete_upload", path=f"/uploads/{begun['upload_id']}/complete")
    assert ["from which on it is large" in warning for warning in begun["warnings"] + completed["warnings"]] == [True, True]


def test_an_upload_is_shown_while_it_is_open_and_completed_only_with_its_bytes(scene: Scene) -> None:
    begun = scene.an_upload("begin_upload", UPLOAD_ID)
    status, shown, _ = ask("get_upload")
    assert (status, shown["upload_id"], shown["object"]["key"]) == (200, UPLOAD_ID, begun.record.key)
    assert shown["request"]["headers"]["If-None-Match"] == "*"
    status, problem, headers = ask("complete_upload")
    assert (status, problem["type"], headers["Retry-After"]) == (409, "urn:stocktake:problem:upload-incomplete", "5")


def test_an_aborted_upload_is_gone(scene: Scene) -> None:
    scene.an_upload("begin_upload", UPLOAD_ID)
    answer = scene.call(upload.handler, "upload/abort_upload")
    assert (answer["statusCode"], answer["body"], "Content-Type" in answer["headers"]) == (204, "", False)
    assert refused("get_upload") == (404, "upload-not-found")


def test_an_upload_in_parts_is_sent_part_by_part_and_read_back(scene: Scene) -> None:
    status, begun, _ = ask("begin_upload_in_parts")
    assert (status, begun["part_bytes"], begun["part_count"], begun["request"]) == (201, PART_BYTES, 2, None)
    body, path = a_wav(begun["object"]["bytes"]), f"/uploads/{begun['upload_id']}"
    pieces = [body[:PART_BYTES], body[PART_BYTES:]]
    hashes = [hashlib.sha256(piece).hexdigest() for piece in pieces]
    wanted = {"parts": [{"number": number, "sha256": sha256} for number, sha256 in enumerate(hashes, 1)]}
    _, signed, _ = ask("sign_parts", path=f"{path}/parts", body=json.dumps(wanted))
    assert [put_it(part, piece) for part, piece in zip(signed["parts"], pieces, strict=True)] == [200, 200]
    _, shown, _ = ask("get_upload", path=path)
    assert [(part["number"], part["bytes"]) for part in shown["parts"]] == [(1, PART_BYTES), (2, len(pieces[1]))]
    status, record, _ = ask("complete_upload_in_parts", path=f"{path}/complete", body=json.dumps({"part_sha256": hashes}))
    assert (status, record["state"], record["content_type"]) == (200, "STORED", "audio/x-wav")


def test_parts_are_signed_with_their_sizes_and_asked_for_by_number(scene: Scene) -> None:
    scene.an_upload("begin_upload_in_parts", UPLOAD_IN_PARTS_ID)
    _, signed, _ = ask("sign_parts")
    assert [(part["number"], part["bytes"], part["method"]) for part in signed["parts"]] == [(1, 5_242_880, "PUT"), (2, 757_164, "PUT")]
    status, problem, _ = ask("complete_upload_in_parts")
    assert (status, "2 of 2 parts are not there as announced (1, 2)" in problem["detail"]) == (409, True)


def test_a_list_of_large_records_comes_in_answers_that_lambda_gives(scene: Scene) -> None:
    keys = [f"projects/sunset/2026/11/{number}.png" for number in range(6)]
    for key in keys:  # 2 bytes a letter in the ledger, 7 in the answer
        scene.services.ledger.move(None, a_record(key, project_id="proj_sunset", metadata={"prompt": "\u00e9" * 150_000}), gated=True)
    seen: list[str] = []
    query = {"limit": "500"}
    while True:
        answer = upload.handler(sent("upload/list_objects", queryStringParameters=query), context())
        assert (answer["statusCode"], len(json.dumps(answer)) < 6_000_000) == (200, True)
        page = json.loads(answer["body"])
        seen += [row["key"] for row in page["objects"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert seen == keys


# generation jobs


def test_a_job_comes_back_with_its_metadata_as_it_was_sent(scene: Scene) -> None:
    status, job, _ = ask("create_generation")
    assert (status, job["status"], job["outputs"]) == (201, "queued", {"asked": 2, "stored": 0})
    _, shown, _ = ask("get_generation", path=f"/generations/{job['generation_id']}")
    assert json.dumps(shown["metadata"]) == json.dumps(json.loads(event("upload/create_generation")["body"])["metadata"])


def test_jobs_are_listed_without_their_images_and_page_by_page(scene: Scene) -> None:
    made = {ask("create_generation")[1]["generation_id"] for _ in range(2)}
    _, first, _ = ask("list_generations", queryStringParameters={"limit": "1"})
    _, second, _ = ask("list_generations", queryStringParameters={"limit": "1", "cursor": first["cursor"]})
    rows = first["generations"] + second["generations"]
    assert ({row["generation_id"] for row in rows}, second["cursor"]) == (made, None)
    assert [("images" in row, row["outputs"]) for row in rows] == [(False, {"asked": 2, "stored": 0})] * 2


def test_what_is_sealed_of_a_job_is_shown_by_itself_alone(scene: Scene) -> None:
    _, job, _ = ask("create_generation")
    status, listed, _ = ask("list_generations")
    assert (status, [row["generation_id"] for row in listed["generations"]]) == (200, [job["generation_id"]])
    assert job["sealed"] == listed["generations"][0]["sealed"] == ["participant"]
    assert "Ada Lovelace" not in json.dumps([job, listed])


def test_an_output_is_linked_both_ways_and_a_failed_job_says_what_it_has(scene: Scene) -> None:
    scene.a_generation()
    _, uploaded, _ = ask("put_output")
    assert uploaded["generation"] == {"generation_id": GENERATION_ID, "output": 1}
    assert ask("put_output")[1]["object_id"] == uploaded["object_id"]
    assert refused("put_output", body=base64.b64encode(an_image(9)).decode()) == (409, "output-exists")
    _, job, _ = ask("get_generation")
    assert [(image["output"], image["status"], image["object_id"]) for image in job["images"]] == [
        (0, "awaited", None),
        (1, "stored", uploaded["object_id"]),
    ]
    assert job["images"][1]["url"].startswith("https://")
    status, reported, _ = ask("report_generation")
    assert (status, reported["status"], reported["error"]) == (200, "partly_failed", "the provider refused the second image")


# idempotency


def test_a_request_sent_again_under_its_key_is_answered_as_before(scene: Scene) -> None:
    first, again = ask("put_idempotent"), ask("put_idempotent")
    assert (again[0], again[1], again[2]["Idempotency-Replayed"]) == (201, first[1], "true")
    assert "Idempotency-Replayed" not in first[2]
    assert len(list(scene.services.ledger.entries())) == 1


def test_another_body_under_a_key_is_refused(scene: Scene) -> None:
    ask("put_idempotent")
    assert refused("put_idempotent_other_body") == (422, "idempotency-mismatch")
    assert len(list(scene.services.ledger.entries())) == 1


@pytest.mark.parametrize("name", ["Idempotency-Key", "IDEMPOTENCY-KEY"])
def test_the_key_is_read_in_any_case(scene: Scene, name: str) -> None:
    first, again = ask("put_raw", headers={"idempotency-key": "k"}), ask("put_raw", headers={name: "k"})
    assert again[1] == first[1]


def test_what_is_said_in_headers_that_matter_is_part_of_the_request(scene: Scene) -> None:
    ask("put_idempotent")
    for name, value in {
        "Stocktake-Metadata": "{}",
        "Stocktake-File-Name": "other.png",
        "STOCKTAKE-OPTIONS": "{}",
        "Cache-Control": "no-store",
        "Content-Type": "image/x-other",
    }.items():
        assert refused("put_idempotent", headers={name: value}) == (422, "idempotency-mismatch"), name


def test_headers_that_say_nothing_of_the_object_are_no_part_of_the_request(scene: Scene) -> None:
    first, again = ask("put_idempotent"), ask("put_idempotent", headers={"user-agent": "another", "x-amzn-trace-id": "Root=1-2-3"})
    assert again[1] == first[1]


@pytest.mark.parametrize("key", ["", "x" * 256, "clé"])
@pytest.mark.usefixtures("nothing")
def test_a_key_that_is_none_is_refused(key: str) -> None:
    assert refused("put_idempotent", headers={"idempotency-key": key}) == (400, "invalid-request")


def test_a_key_whose_request_is_being_answered_says_when_to_come_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(scene.services.uploads, "put", killed)
        with pytest.raises(Killed):
            ask("put_idempotent")
    status, problem, headers = ask("put_idempotent")
    assert (status, problem["type"], headers["Retry-After"]) == (409, "urn:stocktake:problem:idempotency-in-progress", "5")


def test_a_key_belongs_to_its_caller(scene: Scene) -> None:
    objects = {ask("put_idempotent", headers=bearer(issuer().token(subject=who)))[1]["object_id"] for who in ("ada", "ben")}
    assert len(objects) == 2


def test_a_key_belongs_to_all_tokens_of_its_caller(scene: Scene) -> None:
    answers = [ask("put_idempotent", headers=bearer(issuer().token(hours=hours))) for hours in (1, 2)]
    assert answers[0][1] == answers[1][1]
    assert answers[1][2]["Idempotency-Replayed"] == "true"


def test_a_key_belongs_to_its_route(scene: Scene) -> None:
    ask("put_idempotent")
    assert ask("create_generation", headers={"idempotency-key": event("upload/put_idempotent")["headers"]["idempotency-key"]})[0] == 201


# bytes


def test_a_range_is_answered_as_binary(scene: Scene) -> None:
    scene.an_object()
    answer = scene.call(upload.handler, "upload/get_content_range")
    assert (answer["statusCode"], answer["isBase64Encoded"], base64.b64decode(answer["body"])) == (206, True, BODY[4:9])
    assert answer["headers"]["Content-Range"] == f"bytes 4-8/{len(BODY)}"
    assert answer["headers"]["Content-Type"] == "image/png"


def test_a_range_outside_is_told_the_size(scene: Scene) -> None:
    scene.an_object()
    status, problem, headers = ask("get_content_range_outside")
    assert (status, problem["type"]) == (416, "urn:stocktake:problem:range-not-satisfiable")
    assert headers["Content-Range"] == f"bytes */{len(BODY)}"


def test_who_has_the_bytes_gets_none(scene: Scene) -> None:
    record = scene.an_object()
    answer = scene.call(upload.handler, "upload/get_content_if_none_match")
    assert (answer["statusCode"], answer["body"], answer["isBase64Encoded"]) == (304, "", False)
    assert (answer["headers"]["ETag"], "Content-Type" in answer["headers"]) == (f'"{record.etag}"', False)


def test_a_redirect_that_is_not_needed_is_not_kept_by_caches_either(scene: Scene) -> None:
    record = scene.an_object()
    status, _, headers = ask("get_content_redirect", headers={"if-none-match": f'"{record.etag}"'})
    assert (status, headers["Cache-Control"]) == (304, "no-store")


def test_bytes_that_are_others_than_asked_for_are_not_sent(scene: Scene) -> None:
    scene.an_object()
    assert refused("get_content_if_match") == (412, "precondition-failed")


def test_a_redirect_is_not_kept_by_caches(scene: Scene) -> None:
    scene.an_object()
    answer = scene.call(upload.handler, "upload/get_content_redirect")
    assert (answer["statusCode"], answer["body"], answer["headers"]["Cache-Control"]) == (302, "", "no-store")


@pytest.mark.parametrize(("state", "kind"), [(State.PENDING, "object-pending"), (State.QUARANTINED, "object-quarantined")])
def test_bytes_that_are_not_served_say_why(scene: Scene, state: State, kind: str) -> None:
    scene.an_object(state)
    assert refused("get_content") == (409, kind)


# what is refused before anything is asked or done


@pytest.mark.parametrize("case", WITH_JSON)
@pytest.mark.usefixtures("nothing")
def test_an_unknown_field_is_refused(case: str) -> None:
    body = {**json.loads(event(f"upload/{case}")["body"]), "surprise": 1}
    status, problem, _ = ask(case, body=json.dumps(body))
    assert (status, "surprise is unknown" in problem["detail"]) == (400, True)


@pytest.mark.parametrize("case", REQUESTS)
@pytest.mark.usefixtures("nothing")
def test_an_unknown_parameter_of_the_query_is_refused(case: str) -> None:
    status, problem, _ = ask(case, queryStringParameters={"surprise": "1"})
    assert (status, "surprise is unknown" in problem["detail"]) == (400, True)


@pytest.mark.parametrize("case", ["abort_upload", "delete_object", "get_object", "get_project", "get_upload", "get_generation"])
@pytest.mark.usefixtures("nothing")
def test_a_body_where_none_is_read_is_refused(case: str) -> None:
    assert refused(case, body='{"dry_run": true}') == (400, "invalid-request")


@pytest.mark.parametrize("case", WITH_JSON)
@pytest.mark.parametrize(
    ("body", "is_base64"), [("{", False), ("[]", False), ('"text"', False), (base64.b64encode(b"\xff\xfe{}").decode(), True)]
)
@pytest.mark.usefixtures("nothing")
def test_a_body_that_is_no_json_object_is_refused(case: str, body: str, is_base64: bool) -> None:
    assert refused(case, body=body, isBase64Encoded=is_base64) == (400, "invalid-request")


@pytest.mark.usefixtures("nothing")
def test_a_batch_of_more_items_than_any_takes_is_refused_before_an_item_is_read() -> None:
    status, problem, _ = ask("batch", body=json.dumps({"objects": [{}] * 101}))
    assert (status, "100" in problem["detail"]) == (400, True)


@pytest.mark.usefixtures("nothing")
def test_a_header_of_ours_that_is_none_is_refused_by_name() -> None:
    status, problem, _ = ask("put_raw", headers={"stocktake-metdata": "{}"})
    assert (status, "stocktake-metdata" in problem["detail"]) == (400, True)


@pytest.mark.usefixtures("nothing")
def test_a_header_of_ours_beside_a_json_body_is_refused_by_name() -> None:
    status, problem, _ = ask("put_base64_json", headers={"content-type": "application/json", "stocktake-metadata": "{}"})
    assert (status, "stocktake-metadata" in problem["detail"]) == (400, True)


@pytest.mark.parametrize("name", ["%ff.png", "%C3.png", "100%.png", "%zz"])
@pytest.mark.usefixtures("nothing")
def test_a_file_name_that_is_not_percent_encoded_text_is_refused(name: str) -> None:
    assert refused("put_raw", headers={"stocktake-file-name": name}) == (400, "invalid-request")


@pytest.mark.parametrize("header", ["stocktake-metadata", "stocktake-options"])
@pytest.mark.usefixtures("nothing")
def test_a_header_that_names_a_field_twice_is_refused(header: str) -> None:
    twice = '{"sensitive": [], "sensitive": ["prompt"]}'
    status, problem, _ = ask("put_raw", headers={header: twice})
    assert (status, "'sensitive' twice" in problem["detail"]) == (400, True)


@pytest.mark.usefixtures("nothing")
def test_a_body_that_names_a_field_twice_is_refused_however_deep() -> None:
    status, problem, _ = ask("create_project", body='{"project_id": "p2", "metadata": {"a": [{"b": 1, "b": 2}]}}')
    assert (status, "'b' twice" in problem["detail"]) == (400, True)


def test_a_number_of_any_length_is_kept_in_a_body_that_is_read_for_twins(scene: Scene) -> None:
    status, project, _ = ask("create_project", body='{"project_id": "p2", "metadata": {"a": 1e3, "b": 12345678901234567890}}')
    assert (status, project["metadata"]) == (201, {"a": 1000.0, "b": 12345678901234567890})


@pytest.mark.parametrize("quota", [{"objects": 10**15 + 1}, {"bytes": 10**18 + 1}])
@pytest.mark.usefixtures("nothing")
def test_a_quota_over_what_is_counted_is_refused(quota: dict[str, int]) -> None:
    assert refused("set_quota", body=json.dumps(quota)) == (400, "invalid-request")


def test_a_header_of_another_name_and_the_same_value_is_another_request() -> None:
    def fingerprint(**headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        scope = read_scope(event("upload/put_raw"), {"idempotency-key": "k", **named}, "jwt:i:ada", "p1")
        assert scope is not None
        return scope.fingerprint

    assert fingerprint(stocktake_metadata="{}") != fingerprint(stocktake_options="{}")


@pytest.mark.parametrize("value", ["{", "[]", "NaN", '{"a": ' + "9" * 5000 + "}"])
@pytest.mark.usefixtures("nothing")
def test_a_metadata_header_that_is_no_json_object_is_refused(value: str) -> None:
    assert refused("put_raw", headers={"stocktake-metadata": value}) == (400, "invalid-request")


def test_metadata_that_no_json_can_give_back_is_refused(scene: Scene) -> None:
    for value in ("NaN", "1e999", "[" * 9000 + "]" * 9000):
        assert refused("put_raw", headers={"stocktake-metadata": f'{{"a": {value}}}'}) == (400, "invalid-request"), value[:9]


@pytest.mark.parametrize("case", [case for case in REQUESTS if "pathParameters" in event(f"upload/{case}")])
@pytest.mark.usefixtures("nothing")
def test_an_id_longer_than_any_never_reaches_the_ledger(case: str) -> None:
    (identity,) = event(f"upload/{case}")["pathParameters"].values()
    assert refused(case, path=event(f"upload/{case}")["rawPath"].replace(identity, "x" * 256)) == (400, "invalid-request")


def test_a_job_named_longer_than_any_never_reaches_the_ledger(nothing: None) -> None:
    options = json.dumps({"generation": {"generation_id": "x" * 256, "output": 0}})
    assert refused("put_output", headers={"stocktake-options": options}) == (400, "invalid-request")


PATHS = {
    "/projects/%00": "project-not-found",
    "/projects/..%2f..%2fproj_sunset": "project-not-found",
    "/projects/%ff": "project-not-found",
    "/projects/a/b": "no-such-route",
    "/projects/a\x01b": "no-such-route",
    "/projects/": "no-such-route",
    "/objects/%2e%2e%2f": "object-not-found",
    "/uploads/%0d%0a": "upload-not-found",
    "/generations/settings": "generation-not-found",
}


def test_a_path_that_names_nothing_is_not_found(scene: Scene) -> None:
    assert {path: refused("get_project", path=path) for path in PATHS} == {path: (404, kind) for path, kind in PATHS.items()}


def test_an_id_that_cannot_be_a_key_opens_no_project(scene: Scene) -> None:
    for project_id in ("a/b", "..", "a\x00b", "a b", "proj_", "x" * 101, "é"):
        assert refused("create_project", body=json.dumps({"project_id": project_id})) == (400, "invalid-key"), project_id


# errors


def every_error() -> list[type[StocktakeError]]:
    return [member for member in vars(errors).values() if isinstance(member, type) and issubclass(member, StocktakeError)]


TREE = {name: (int(status), kind) for name, status, kind in re.findall(r"(\w+)\s+(\d{3}) ([a-z-]+)", errors.__doc__ or "")}
TRY_AGAIN = {
    "ObjectPending": 60,
    "RecordChanged": 1,
    "UploadIncomplete": 5,
    "IdempotencyInProgress": 5,
    "StorageUnavailable": 5,
    "LedgerError": 5,
    "MessagingError": 5,
    "KeysUnavailable": 5,
}


@pytest.mark.parametrize("kind", every_error())
def test_an_error_is_answered_as_the_tree_of_errors_says(
    issuing: dict[str, str], monkeypatch: pytest.MonkeyPatch, kind: type[StocktakeError]
) -> None:
    def broken(project_id: str) -> None:
        wants: dict[str, dict[str, Any]] = {"RangeNotSatisfiable": {"size": 7}, "RunInProgress": {"run_id": "01KAHRECNC0000000000000000"}}
        more = wants.get(kind.__name__, {})
        raise kind("what happened: what to do", **more)

    access = Services({**ENVIRONMENT, **issuing}).access
    monkeypatch.setattr(upload, "services", SimpleNamespace(access=access, serving=SimpleNamespace(project=broken)))
    status, problem, headers = ask("get_project")
    assert (status, problem["type"]) == (TREE[kind.__name__][0], f"urn:stocktake:problem:{TREE[kind.__name__][1]}")
    assert (problem["status"], problem["detail"]) == (status, "what happened: what to do")
    assert headers["Content-Type"] == "application/problem+json"
    assert headers.get("Retry-After") == (str(TRY_AGAIN[kind.__name__]) if kind.__name__ in TRY_AGAIN else None)


def test_the_tree_of_errors_is_whole() -> None:
    assert set(TREE) == {kind.__name__ for kind in every_error()}
    assert len({kind for _, kind in TREE.values()}) == len(TREE)


# tidy


def ended_upload(scene: Scene) -> None:
    record = scene.an_upload("begin_upload", UPLOAD_ID).record
    scene.services.ledger.move(record, replace(record, expires_at=now_ms() - 1), gated=True)


def test_the_timer_ends_uploads_and_deletions(scene: Scene) -> None:
    ended_upload(scene)
    assert scene.call(upload.tidy, "upload/tidy") == {"forgotten": 1, "deletions": 0}
    assert refused("get_upload") == (404, "upload-not-found")
    assert scene.call(upload.tidy, "upload/tidy") == {"deletions": 0}


def test_the_timer_needs_no_key_that_seals(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ended_upload(scene)
    unreadable = {**scene.environment, "SEALING_SECRET": "arn:aws:secretsmanager:eu-north-1:123456789012:secret:not-for-tidy"}
    monkeypatch.setattr(upload, "services", Services(unreadable))
    assert scene.call(upload.tidy, "upload/tidy") == {"forgotten": 1, "deletions": 0}


def test_an_upload_that_cannot_be_ended_keeps_no_deletion_from_its_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(*, out_of_time: object) -> None:
        raise StorageUnavailable("the store gave no answer: try again")

    def swept(*, out_of_time: object) -> int:
        asked.append(out_of_time)
        return 1

    monkeypatch.setattr(scene.services.presigned, "tidy", broken)
    monkeypatch.setattr(scene.services.object_deletions, "tidy", swept)
    with pytest.raises(StorageUnavailable):
        scene.call(upload.tidy, "upload/tidy")
    assert len(asked) == 1


# logs


SAID = [
    *("A sunset", "Ada Lovelace", "captain", "session-7", "sunset at sea", "sunset%20at", "one.png", "imagen", "refused the second"),
    *("5f2b7c1e", "batch-2026", "0123456789abcdef", "images.example.org", "iVBORw0KGgo", "max-age=60", "hunter2"),
]
"""Of bodies, metadata, queries and headers of ours."""


def test_nothing_that_was_sent_is_logged(scene: Scene) -> None:
    lines = io.StringIO()
    ours, everyone = logging.StreamHandler(lines), logging.StreamHandler(lines)
    ours.setFormatter(upload.logger.registered_formatter)
    logger, root = logging.getLogger(upload.logger.name), logging.getLogger()
    level = logger.level
    logger.addHandler(ours)
    root.addHandler(everyone)
    logger.setLevel(logging.DEBUG)
    try:
        scene.an_upload("begin_upload", UPLOAD_ID)
        scene.an_upload("begin_upload_in_parts", UPLOAD_IN_PARTS_ID)
        scene.a_generation()
        scene.an_object()
        statuses = {
            case: upload.handler(event(f"upload/{case}"), context())["statusCode"] for case in [*REQUESTS, "put_idempotent", "batch"]
        }
        layout = {"name": "session", "persona": "../hunter2"}
        for options in ({"layout": layout}, {"sensitive": ["hunter2"]}, {"generation": {"generation_id": "hunter2", "output": 0}}):
            assert ask("put_raw", headers={"stocktake-options": json.dumps(options)})[0] in (400, 404)
        assert refused("create_project", body=json.dumps({"project_id": "hunter2/"})) == (400, "invalid-key")
        assert refused("list_objects", queryStringParameters={"cursor": "hunter2"}) == (400, "invalid-request")
    finally:
        logger.setLevel(level)
        logger.removeHandler(ours)
        root.removeHandler(everyone)
    logged = lines.getvalue()
    assert max(statuses.values()) < 500
    assert logged.count("refused") > 10
    assert [said for said in SAID if said in logged] == []


def test_what_failed_on_our_side_is_logged_with_its_reason(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.StringIO()
    ours = logging.StreamHandler(lines)
    ours.setFormatter(upload.logger.registered_formatter)
    logging.getLogger(upload.logger.name).addHandler(ours)

    def broken(*args: object) -> None:
        raise LedgerError("the ledger did not answer: try again")

    monkeypatch.setattr(scene.services.serving, "project", broken)
    try:
        ask("get_project")
    finally:
        logging.getLogger(upload.logger.name).removeHandler(ours)
    line = json.loads(lines.getvalue())
    assert (line["level"], line["problem"], line["detail"]) == ("ERROR", "ledger-error", "the ledger did not answer: try again")
    assert line["correlation_id"] == "JKJaXmPLvHcESHA="
