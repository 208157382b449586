"""Every way in, and what is there afterwards, over real HTTP: on the local S3, and where it matters on a foreign store too.

Presigned requests are sent by a plain HTTP client, as a caller's curl would. The success of an import is in `tests/unit/test_importing.py`,
against TLS servers of its own: an import wants a public address, and none is asked from here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
import requests

from tests.stack.api import (
    a_film,
    begun,
    call,
    configured,
    counts,
    eventually,
    keys,
    ledger_of,
    open_uploads,
    opened,
    refused,
    send,
    send_parts,
    tidy,
    uploaded,
    without_events,
)
from tests.unit.world import an_image
from tools.stack import Stack

FILM_BYTES = 200_000_000
PART_BYTES = 16 * 1024 * 1024
LEAST_PART_BYTES = 5 * 1024 * 1024
SWEEP_SECONDS = 10
"""EarlySweepSeconds of samconfig's local environment."""
PAGE = b"<!doctype html><script>alert(1)</script>"


@pytest.fixture(params=["stack", "foreign_stack"], ids=["own", "foreign"])
def place(request: pytest.FixtureRequest) -> Stack:
    """The stack with the bucket of its own, and the one whose bucket lies in a foreign store without events."""
    stack: Stack = request.getfixturevalue(request.param)
    return stack


@dataclass(frozen=True)
class Late:
    """What was written into a store by URLs that outlived their objects, and when the last of these was announced.

    Three objects of `project`, each taken back in its own way; and one under the keys of `session`, whose project is being deleted, and
    had a generation job.
    """

    project: str
    session: str
    deletion_id: str
    generation_id: str
    at: float
    statuses: list[int]


@pytest.fixture(scope="module")
def late(stack: Stack, foreign_stack: Stack) -> dict[str, Late]:
    """Writes late bytes into both stores, by the stores' addresses. Used early and asked for last: what sweeps takes its ten seconds."""
    return {place.store_endpoint: written_late(place) for place in (stack, foreign_stack)}


# ---- straight to the bucket, by one PUT


def test_a_url_outlives_what_it_was_made_for(place: Stack, late: dict[str, Late]) -> None:
    assert late[place.store_endpoint].statuses == [200, 200, 200, 200]


def test_an_image_goes_straight_to_the_bucket_and_is_stored_once_it_is_completed(place: Stack) -> None:
    project, body = opened(place), an_image(1)
    upload = begun(place, project, body, file_name="ü.png", metadata={"n": 1})
    path = f"/uploads/{upload['upload_id']}"
    assert refused(place, "POST", f"{path}/complete") == (409, "upload-incomplete")
    assert send(upload["request"], body) == 200
    record = call(place, "POST", f"{path}/complete", 200)
    assert (record["state"], record["bytes"], record["width"], record["metadata"]) == ("STORED", len(body), 8, {"n": 1})
    fetched = requests.get(record["url"], timeout=10)
    assert (fetched.content, fetched.headers["content-type"]) == (body, "image/png")
    assert fetched.headers["content-disposition"] == "inline; filename=\"_.png\"; filename*=UTF-8''%C3%BC.png"
    assert call(place, "POST", f"{path}/complete", 200)["updated_at"] == record["updated_at"]


def test_a_url_takes_nothing_but_what_it_was_signed_for(place: Stack) -> None:
    project, body = opened(place), an_image(2)
    upload = begun(place, project, body)
    other = an_image(3)
    assert len(other) == len(body)
    assert send(upload["request"], other) in (400, 403)
    assert send(upload["request"], body, content_type="text/html") == 403
    assert send(upload["request"], body + b"more", content_length=str(len(body) + 4)) == 403
    assert keys(place, f"projects/{project}/") == []
    assert send(upload["request"], body) == 200
    assert send(upload["request"], body) == 412


def test_an_upload_whose_caller_never_comes_back_is_committed_by_its_event(stack: Stack) -> None:
    if stack.store != "s3":
        pytest.skip("a foreign store sends no events; tidy commits there")
    project, body = opened(stack), an_image(4)
    upload = begun(stack, project, body)
    send(upload["request"], body)
    eventually(lambda: call(stack, "GET", f"/objects/{upload['upload_id']}", 200)["state"], lambda state: state == "STORED")


def test_a_page_posing_as_an_image_is_refused_and_gone(stack: Stack) -> None:
    project = opened(stack)
    upload = begun(stack, project, PAGE)
    assert send(upload["request"], PAGE) == 200
    assert refused(stack, "POST", f"/uploads/{upload['upload_id']}/complete") == (415, "unsupported-type")
    assert refused(stack, "GET", f"/objects/{upload['upload_id']}") == (410, "object-deleted")
    assert (keys(stack, f"projects/{project}/"), counts(stack, project)) == ([], {})


# ---- straight to the bucket, in parts


def test_a_film_of_200_mb_goes_up_in_parts_with_a_break_and_comes_back_whole(place: Stack) -> None:
    project, film = opened(place), a_film(FILM_BYTES)
    upload = begun(place, project, film, "video/mp4", part_bytes=PART_BYTES)
    path, half = f"/uploads/{upload['upload_id']}", range(1, 7)
    hashes = send_parts(place, upload, film, half)
    # all that a caller remembers who was interrupted here is the id
    found = call(place, "GET", path, 200)
    assert (found["part_count"], [part["number"] for part in found["parts"]]) == (12, list(half))
    assert refused(place, "POST", f"{path}/complete") == (409, "upload-incomplete")
    hashes += send_parts(place, found, film, range(7, 13))
    record = eventually(
        # a store that keeps no checksums of parts is read back, over several requests where one is too short
        lambda: place.api.post(f"{path}/complete", json={"part_sha256": hashes}),
        lambda answer: answer.status_code != 409,
    ).json()
    assert (record["state"], record["bytes"], record["content_type"]) == ("STORED", FILM_BYTES, "video/mp4")
    digest = hashlib.sha256()
    for start in range(0, FILM_BYTES, 100_000_000):
        piece = requests.get(record["url"], headers={"range": f"bytes={start}-{start + 99_999_999}"}, timeout=30)
        assert piece.status_code == 206
        digest.update(piece.content)
    assert digest.digest() == hashlib.sha256(film).digest()
    content = f"/objects/{record['object_id']}/content?as=bytes"
    assert refused(place, "GET", content) == (413, "too-large")
    assert place.api.get(content, headers={"range": "bytes=-1000"}).content == film[-1000:]
    assert call(place, "DELETE", f"/objects/{record['object_id']}", 200)["bytes"] == FILM_BYTES
    assert open_uploads(place, record["key"]) == 0


def test_a_part_that_is_not_the_one_announced_is_found_out(place: Stack) -> None:
    project, film = opened(place), a_film(LEAST_PART_BYTES + 1000)
    upload = begun(place, project, film, "video/mp4", part_bytes=LEAST_PART_BYTES)
    first, _ = send_parts(place, upload, film, (1, 2))
    other = hashlib.sha256(b"other").hexdigest()
    answer = place.api.post(f"/uploads/{upload['upload_id']}/complete", json={"part_sha256": [first, other]})
    assert answer.status_code in (409, 502), answer.text
    assert call(place, "GET", f"/objects/{upload['upload_id']}", 200)["state"] == "PENDING"


def test_an_aborted_upload_leaves_nothing(stack: Stack) -> None:
    project, film = opened(stack), a_film(LEAST_PART_BYTES + 1000)
    upload = begun(stack, project, film, "video/mp4", part_bytes=LEAST_PART_BYTES)
    send_parts(stack, upload, film, (1,))
    path = f"/uploads/{upload['upload_id']}"
    call(stack, "DELETE", path, 204)
    assert refused(stack, "GET", path) == refused(stack, "POST", f"{path}/complete") == (404, "upload-not-found")
    assert (open_uploads(stack, upload["object"]["key"]), counts(stack, project)) == (0, {})


# ---- through the function


def test_a_body_over_the_limit_is_told_the_other_way(stack: Stack) -> None:
    project = opened(stack)
    answer = stack.api.post(f"/projects/{project}/objects", data=bytes(4_500_001), headers={"content-type": "image/png"})
    assert (answer.status_code, f"POST /projects/{project}/uploads" in answer.json()["detail"]) == (413, True)


def test_a_batch_answers_for_each_item_and_loses_none_to_another(stack: Stack) -> None:
    project = opened(stack)
    good = [{"content_base64": base64.b64encode(an_image(n)).decode(), "file_name": f"{n}.png"} for n in range(6)]
    page = {"content_base64": base64.b64encode(PAGE).decode(), "content_type": "image/png"}
    items = [*good[:2], page, *good[2:4], {**good[0], "unknown": 1}, *good[4:]]
    results = call(stack, "POST", f"/projects/{project}/objects/batch", 207, json={"objects": items})["results"]
    assert [result["status"] for result in results] == [201, 201, 415, 201, 201, 400, 201, 201]
    stored = [result["object"] for result in results if result["status"] == 201]
    assert [record["file_name"] for record in stored] == [item["file_name"] for item in good]
    assert sorted(keys(stack, f"projects/{project}/")) == sorted(record["key"] for record in stored)


def test_an_object_lies_under_the_session_layout_where_that_is_asked_for(stack: Stack) -> None:
    layout = {"name": "session", "persona": "baby-boomer", "session": "s-1"}
    record = uploaded(stack, opened(stack), an_image(1), stocktake_options=json.dumps({"layout": layout}))
    assert re.fullmatch(r"images/s-1/baby-boomer/\d{13}-[0-9A-Z]{16}\.png", record["key"])
    url = call(stack, "GET", f"/objects/{record['object_id']}", 200)["url"]
    assert requests.get(url, timeout=10).content == an_image(1)


def test_imports_are_off_unless_hosts_are_named(stack: Stack) -> None:
    request = {"json": {"url": "https://example.com/a.png"}}
    assert refused(stack, "POST", f"/projects/{opened(stack)}/imports", **request) == (403, "import-disabled")


def test_no_url_leads_an_import_inside(stack: Stack) -> None:
    project, inside = opened(stack), stack.api_url.removeprefix("http://")
    with configured(stack, IMPORT_HOSTS="*"):
        for host in ("127.0.0.1", f"127.0.0.1:{stack.endpoint.rpartition(':')[2]}", "169.254.169.254", "[::1]", "2130706433", inside):
            request = {"json": {"url": f"https://{host}/latest/meta-data"}}
            assert refused(stack, "POST", f"/projects/{project}/imports", **request) == (400, "import-refused"), host
    assert counts(stack, project) == {}


# ---- the same request again


def test_a_request_sent_again_under_its_key_is_answered_the_same_and_stores_nothing_more(stack: Stack) -> None:
    project = opened(stack)
    request: dict[str, Any] = {"data": an_image(1), "headers": {"content-type": "image/png", "Idempotency-Key": "k-1"}}
    first, second = (stack.api.post(f"/projects/{project}/objects", **request) for _ in range(2))
    assert (first.status_code, second.status_code, second.text) == (201, 201, first.text)
    assert ("idempotency-replayed" in first.headers, second.headers["idempotency-replayed"]) == (False, "true")
    assert counts(stack, project) == {"STORED": 1}


def test_another_body_under_the_same_key_is_refused(stack: Stack) -> None:
    project, headers = opened(stack), {"content-type": "image/png", "Idempotency-Key": "k-1"}
    uploaded(stack, project, an_image(1), **headers)
    path = f"/projects/{project}/objects"
    assert refused(stack, "POST", path, data=an_image(2), headers=headers) == (422, "idempotency-mismatch")


def test_two_requests_at_once_under_one_key_store_one_object(stack: Stack) -> None:
    project = opened(stack)
    request: dict[str, Any] = {"data": an_image(1), "headers": {"content-type": "image/png", "Idempotency-Key": "k-1"}}
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: stack.api.post(f"/projects/{project}/objects", **request), range(2)))
    assert {answer.status_code for answer in answers} in ({201}, {201, 409})
    assert len({answer.json()["object_id"] for answer in answers if answer.status_code == 201}) == 1
    assert counts(stack, project) == {"STORED": 1}


# ---- generation jobs


def test_a_job_of_16_9_and_2_comes_back_as_16_9_and_2_with_both_its_images(stack: Stack) -> None:
    project = opened(stack)
    metadata = {"prompt": "a sky", "aspectRatio": "16:9", "numberOfImages": 2, "guidance": 7.5, "seed": None}
    job = call(stack, "POST", f"/projects/{project}/generations", 201, json={"metadata": metadata, "outputs": 2})
    path = f"/generations/{job['generation_id']}"
    assert (job["status"], call(stack, "PATCH", path, 200, json={"status": "running"})["status"]) == ("queued", "running")
    first = uploaded(stack, project, an_image(1), stocktake_options=json.dumps({"generation": output(job, 0)}))
    assert call(stack, "PATCH", path, 200, json={"status": "completed"})["status"] == "partly_failed"
    second = begun(stack, project, an_image(2), generation=output(job, 1))
    send(second["request"], an_image(2))
    call(stack, "POST", f"/uploads/{second['upload_id']}/complete", 200)
    done = call(stack, "GET", path, 200)
    assert (done["status"], json.dumps(done["metadata"])) == ("completed", json.dumps(metadata))
    assert [image["object_id"] for image in done["images"]] == [first["object_id"], second["upload_id"]]
    assert [requests.get(image["url"], timeout=10).content for image in done["images"]] == [an_image(1), an_image(2)]
    for number, image in enumerate(done["images"]):
        assert call(stack, "GET", f"/objects/{image['object_id']}", 200)["generation"] == output(job, number)
    assert call(stack, "GET", f"/projects/{project}/generations", 200)["generations"][0]["generation_id"] == job["generation_id"]


def test_an_output_sent_twice_is_one_object_and_other_bytes_are_refused(stack: Stack) -> None:
    project = opened(stack)
    job = call(stack, "POST", f"/projects/{project}/generations", 201, json={"outputs": 1})
    options = {"stocktake-options": json.dumps({"generation": output(job, 0)}), "content-type": "image/png"}
    assert uploaded(stack, project, an_image(1), **options)["object_id"] == uploaded(stack, project, an_image(1), **options)["object_id"]
    path = f"/projects/{project}/objects"
    assert refused(stack, "POST", path, data=an_image(2), headers=options) == (409, "output-exists")
    assert counts(stack, project) == {"STORED": 1}


# ---- sealed metadata


def test_what_is_named_sensitive_is_opened_for_its_own_reader_and_lies_nowhere_in_the_clear(stack: Stack) -> None:
    project, secret = opened(stack), "Ada Lovelace of St James's Square"
    metadata = {"persona": "p", "participant": secret, "n": 1}
    headers = {"stocktake-metadata": json.dumps(metadata), "stocktake-options": '{"sensitive": ["participant"]}', "Idempotency-Key": "k"}
    record = uploaded(stack, project, an_image(1), **headers)
    assert (record["metadata"], record["sealed"]) == ({"persona": "p", "n": 1}, ["participant"])
    read = call(stack, "GET", f"/objects/{record['object_id']}", 200)
    assert json.dumps(read["metadata"]) == json.dumps(metadata)
    dynamodb = stack.aws("dynamodb")
    rows = [dynamodb.scan(TableName=stack.resources[f"{name}Table"])["Items"] for name in ("Objects", "Projects", "Operations")]
    shown = [
        call(stack, "GET", f"/projects/{project}/objects", 200),
        stack.bucket_client().head_object(Bucket=stack.bucket, Key=record["key"]),
    ]
    assert record["object_id"] in str(rows)
    assert secret not in str(rows) and secret not in str(shown)


# ---- reading


def test_bytes_come_in_ranges_and_only_when_they_are_new(stack: Stack) -> None:
    body = an_image(1)
    record = uploaded(stack, opened(stack), body, stocktake_file_name="%C3%BC.png")
    path, ask = f"/objects/{record['object_id']}/content?as=bytes", stack.api.get
    part = ask(path, headers={"range": "bytes=8-15"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, body[8:16], f"bytes 8-15/{len(body)}")
    whole = ask(path)
    assert (whole.content, whole.headers["x-content-type-options"]) == (body, "nosniff")
    assert whole.headers["content-disposition"] == "inline; filename=\"_.png\"; filename*=UTF-8''%C3%BC.png"
    etag = whole.headers["etag"]
    assert (ask(path, headers={"if-none-match": etag}).status_code, ask(path, headers={"if-none-match": etag}).content) == (304, b"")
    assert ask(path, headers={"if-none-match": '"other"'}).status_code == 200
    assert refused(stack, "GET", path, headers={"if-match": '"other"'}) == (412, "precondition-failed")
    assert refused(stack, "GET", path, headers={"range": "bytes=9999-"}) == (416, "range-not-satisfiable")


# ---- deleting


def test_a_deleted_object_has_a_receipt_and_is_gone(stack: Stack) -> None:
    project, body = opened(stack), an_image(1)
    record = uploaded(stack, project, body)
    path = f"/objects/{record['object_id']}"
    receipt = call(stack, "DELETE", path, 200)
    assert (receipt["key"], receipt["bytes"], receipt["why"]) == (record["key"], len(body), "requested")
    assert receipt["deleted_at"]
    assert call(stack, "DELETE", path, 200) == receipt
    assert refused(stack, "GET", path) == refused(stack, "GET", f"{path}/content") == (410, "object-deleted")
    assert (keys(stack, record["key"]), counts(stack, project)) == ([], {})


def test_late_bytes_of_what_was_deleted_refused_or_aborted_are_nobodys_and_are_swept(place: Stack, late: dict[str, Late]) -> None:
    written = late[place.store_endpoint]
    time.sleep(max(0, written.at + SWEEP_SECONDS - time.time()))
    assert counts(place, written.project) == {}
    tidy(place)
    assert (keys(place, f"projects/{written.project}/"), counts(place, written.project)) == ([], {})


def test_uploads_that_never_came_are_ended_by_tidy(place: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    project, film, body = opened(place), a_film(LEAST_PART_BYTES + 1000), an_image(1)
    unused, arrived = begun(place, project, body), begun(place, project, an_image(2))
    parts = begun(place, project, film, "video/mp4", part_bytes=LEAST_PART_BYTES)
    send_parts(place, parts, film, (1,))
    assert counts(place, project) == {"PENDING": 3}
    with without_events(place):
        send(arrived["request"], an_image(2))
    expire(place, monkeypatch, unused, arrived, parts)
    tidy(place)
    assert counts(place, project) == {"STORED": 1}
    assert refused(place, "GET", f"/uploads/{unused['upload_id']}") == (404, "upload-not-found")
    assert refused(place, "GET", f"/uploads/{parts['upload_id']}") == (404, "upload-not-found")
    assert open_uploads(place, parts["object"]["key"]) == 0


def test_a_session_key_written_after_its_project_was_deleted_does_not_outlive_the_receipt(place: Stack, late: dict[str, Late]) -> None:
    written = late[place.store_endpoint]
    receipt = receipt_of(place, written.deletion_id)
    assert (receipt["status"], receipt["by_source"]["named"]["objects"]) == ("DELETED", 1)
    assert keys(place, f"images/{written.session}/") == []


def test_the_generation_jobs_of_a_deleted_project_are_gone_with_it(place: Stack, late: dict[str, Late]) -> None:
    written = late[place.store_endpoint]
    receipt_of(place, written.deletion_id)
    assert refused(place, "GET", f"/generations/{written.generation_id}") == (404, "generation-not-found")


# ---- quotas


def test_a_quota_is_never_passed_also_by_uploads_at_once_and_is_given_back(stack: Stack) -> None:
    project = opened(stack, quota={"objects": 2})
    path, png = f"/projects/{project}/objects", {"content-type": "image/png"}
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda n: stack.api.post(path, data=an_image(n), headers=png), range(3)))
    stored = [answer.json() for answer in answers if answer.status_code == 201]
    assert {answer.json()["type"] for answer in answers if answer.status_code != 201} == {"urn:stocktake:problem:quota-exceeded"}
    assert len(stored) <= 2 and counts(stack, project).get("STORED", 0) == len(stored)
    for number in range(2 - len(stored)):  # those that met had refused each other
        stored.append(uploaded(stack, project, an_image(10 + number)))
    announced = {"content_type": "image/png", "bytes": 9, "sha256": "0" * 64}
    assert refused(stack, "POST", f"/projects/{project}/uploads", json=announced) == (409, "quota-exceeded")
    call(stack, "DELETE", f"/objects/{stored[0]['object_id']}", 200)
    reserved = call(stack, "POST", f"/projects/{project}/uploads", 201, json=announced)
    assert refused(stack, "POST", path, data=an_image(20), headers=png) == (409, "quota-exceeded")
    call(stack, "DELETE", f"/uploads/{reserved['upload_id']}", 204)
    uploaded(stack, project, an_image(20))
    assert call(stack, "PUT", f"/projects/{project}/quota", 200, json={"objects": 3})["quota"] == {"objects": 3, "bytes": None}
    uploaded(stack, project, an_image(21))


# ---- small


def output(job: dict[str, Any], number: int) -> dict[str, Any]:
    return {"generation_id": job["generation_id"], "output": number}


def receipt_of(stack: Stack, deletion_id: str) -> dict[str, Any]:
    answer = eventually(lambda: call(stack, "GET", f"/deletions/{deletion_id}", 200), lambda answer: answer["status"] == "DELETED")
    receipt: dict[str, Any] = answer["receipt"]
    return receipt


def written_late(stack: Stack) -> Late:
    # on a machine that is busy the sweep may be there first
    session, deletion_id, generation_id, status = next(filter(None, (written_after_deletion(stack) for _ in range(5))))
    project = opened(stack)
    uploads = [(begun(stack, project, body), body) for body in (an_image(1), PAGE, an_image(2))]
    at = time.time()
    (deleted, _), (page, _), (aborted, _) = uploads
    assert [send(upload["request"], body) for upload, body in uploads[:2]] == [200, 200]
    call(stack, "POST", f"/uploads/{deleted['upload_id']}/complete", 200)
    call(stack, "DELETE", f"/objects/{deleted['upload_id']}", 200)
    call(stack, "POST", f"/uploads/{page['upload_id']}/complete", 415)
    call(stack, "DELETE", f"/uploads/{aborted['upload_id']}", 204)
    assert keys(stack, f"projects/{project}/") == []
    statuses = [status, *(send(upload["request"], body) for upload, body in uploads)]
    return Late(project, session, deletion_id, generation_id, at, statuses)


def written_after_deletion(stack: Stack) -> tuple[str, str, str, int] | None:
    """Sends the bytes of a session key once its record went with its project. Returns None if the final sweep may have been before them."""
    doomed, session = opened(stack), f"s{time.time_ns()}"
    layout = {"name": "session", "persona": "baby-boomer", "session": session}
    unsent = begun(stack, doomed, an_image(1), layout=layout)
    job = call(stack, "POST", f"/projects/{doomed}/generations", 201, json={"metadata": {"prompt": "a face"}})
    asked_at = time.time()
    deletion_id = call(stack, "DELETE", f"/projects/{doomed}", 202)["deletion_id"]
    eventually(lambda: counts(stack, doomed), lambda left: not left)
    status = send(unsent["request"], an_image(1))
    return None if time.time() > asked_at + SWEEP_SECONDS else (session, deletion_id, job["generation_id"], status)


def expire(stack: Stack, monkeypatch: pytest.MonkeyPatch, *uploads: dict[str, Any]) -> None:
    """Lets the time of uploads be over: the least a deployment can set is two minutes."""
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    ledger = ledger_of(stack)
    for upload in uploads:
        record = ledger.record(upload["object"]["key"])
        assert record is not None
        ledger.move(record, replace(record, expires_at=record.created_at), gated=False)
