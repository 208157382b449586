"""The whole promise of a project's deletion on the deployed stack: all layouts, versions, open uploads, a writer that does not stop, and
keys that refuse to go. Last of its folder, since the bucket keeps versions from here on.

`python -m tests.stack.test_zero_left 20000` does the same with as many objects on the stack that runs (`make up`), and says how long each
phase took. No event of the bucket is sent meanwhile: the local AWS starts a thread for each, and its functions would do nothing else.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import requests

from tests.stack.api import begun, call, eventually, send, uploaded, without_events
from tests.unit.world import an_image
from tools.stack import Stack

OBJECTS = 150
LAYOUTS = (
    "projects/{project}/scenes/s{n}/media/clip.mp4",
    "projects/{project}/2026/11/{n:026d}.png",
    "proj_{stem}_s{n}_media.mp4",
    "proj_proj_{stem}_s{n}_media.mp4",
    "audio/{project}/s{n}/voice.mp3",
    "images/{project}/s{n}/still.png",
)


def test_a_project_of_every_kind_of_object_ends_incomplete_by_what_refuses_and_deleted_once_that_is_freed(stack: Stack) -> None:
    prove(stack, OBJECTS)


def prove(stack: Stack, objects: int, say: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """Deletes a project of so many objects to its end, and returns the last receipt; `say` is told of each phase as it ends."""
    bucket, patience = stack.bucket_client(), 600 + objects // 5
    keep_versions(stack)
    stem = f"zero{time.time_ns() // 1_000_000 % 10**8}"
    ours, neighbour = f"proj_{stem}", f"proj_{stem}0"
    for project in (ours, neighbour):
        call(stack, "POST", "/projects", 201, json={"project_id": project})
    planted = [LAYOUTS[n % len(LAYOUTS)].format(project=ours, stem=stem, n=n) for n in range(objects)]
    theirs = [layout.format(project=neighbour, stem=f"{stem}0", n=1) for layout in LAYOUTS]
    put_all(stack, [*planted, *theirs], b"first")
    put_all(stack, planted[:40], b"second version")
    for key in planted[40:50]:
        bucket.delete_object(Bucket=stack.bucket, Key=key)  # only hidden by a delete marker
    for key in planted[:3]:
        bucket.create_multipart_upload(Bucket=stack.bucket, Key=key)
    locked = sorted(planted[100:103])
    for key in locked:
        bucket.put_object_legal_hold(Bucket=stack.bucket, Key=key, LegalHold={"Status": "ON"})
    recorded = [uploaded(stack, ours, an_image(number))["key"] for number in range(3)]
    by_url = begun(stack, ours, an_image(9))
    before = all_of(stack, neighbour, f"{stem}0")
    say("planted")

    with a_writer(stack, ours, by_url["request"]) as refused:
        requested = call(stack, "DELETE", f"/projects/{ours}", 202, json={"reason": "to the last byte"})
        first = receipt_of(stack, requested["deletion_id"], "INCOMPLETE", patience)
    say("INCOMPLETE")
    assert refused, "the writer never met the closed gate"
    assert [left["key"] for left in first["remaining"]] == locked, first["remaining"]
    assert all("AccessDenied" in left["why"] and left["refusals"] == 3 for left in first["remaining"])
    remaining = call(stack, "GET", f"/deletions/{requested['deletion_id']}/remaining", 200)["remaining"]
    assert [left["key"] for left in remaining] == locked
    assert first["objects"] >= objects - 3 + len(recorded)
    assert (first["multipart_uploads_aborted"], first["records"] >= len(recorded), first["refused_objects"]) == (3, True, 3)

    for key in locked:
        bucket.put_object_legal_hold(Bucket=stack.bucket, Key=key, LegalHold={"Status": "OFF"})
    call(stack, "POST", f"/deletions/{requested['deletion_id']}/verify", 200)
    last = receipt_of(stack, requested["deletion_id"], "DELETED", patience)
    say("DELETED")
    assert {row["objects"] for row in last["listings"]} == {0}
    assert last["objects"] == first["objects"] + 3
    assert versions_of(stack, ours, stem) == {}
    assert all_of(stack, neighbour, f"{stem}0") == before
    assert len(before) == len(theirs)
    return last


@contextmanager
def a_writer(stack: Stack, project: str, request: Any) -> Iterator[list[int]]:
    """Uploads into a project without a pause, by the API and by a URL given out before; yields the refusals it met."""
    refused: list[int] = []
    stopped = threading.Event()

    def write() -> None:
        api = stack.api
        while not stopped.wait(0.2):
            try:
                answer = api.post(f"/projects/{project}/objects", data=an_image(7), headers={"content-type": "image/png"})
            except requests.Timeout:  # the local AWS does one thing at a time, and a large page takes it long
                continue
            if answer.status_code == 409:
                refused.append(answer.status_code)
                if len(refused) < 15:  # for some seconds after the gate closed, and well before the sweep
                    send(request, an_image(9))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield refused
    finally:
        stopped.set()
        thread.join()


def keep_versions(stack: Stack) -> None:
    """Makes the bucket keep versions and take legal holds, and the deletion's functions forget that it did not."""
    bucket, functions = stack.bucket_client(), stack.aws("lambda")
    bucket.put_bucket_versioning(Bucket=stack.bucket, VersioningConfiguration={"Status": "Enabled"})
    bucket.put_object_lock_configuration(Bucket=stack.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    for name in ("ProjectDeletionApiFunction", "ProjectDeletionFanOutFunction", "ProjectDeletionWorkerFunction"):
        variables = functions.get_function_configuration(FunctionName=stack.resources[name])["Environment"]["Variables"]
        functions.update_function_configuration(
            FunctionName=stack.resources[name], Environment={"Variables": {**variables, "STARTED_ANEW": str(time.time_ns())}}
        )


def put_all(stack: Stack, keys: list[str], body: bytes) -> None:
    bucket = stack.bucket_client()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda key: bucket.put_object(Bucket=stack.bucket, Key=key, Body=body), keys))


def versions_of(stack: Stack, project: str, stem: str) -> dict[tuple[str, str], str]:
    """Reads every version and delete marker under a project's prefixes, by key and id, with its ETag."""
    pages = stack.bucket_client().get_paginator("list_object_versions")
    prefixes = (f"projects/{project}/", f"proj_{stem}_", f"proj_proj_{stem}_", f"audio/{project}/", f"images/{project}/")
    found = {}
    for prefix in prefixes:
        for page in pages.paginate(Bucket=stack.bucket, Prefix=prefix):
            for row in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                found[row["Key"], row["VersionId"]] = str(row.get("ETag", ""))
    return found


def all_of(stack: Stack, project: str, stem: str) -> dict[tuple[str, str], tuple[str, bytes]]:
    """Reads every version under a project's prefixes, to the byte."""
    bucket = stack.bucket_client()
    return {
        (key, version): (etag, bucket.get_object(Bucket=stack.bucket, Key=key, VersionId=version)["Body"].read())
        for (key, version), etag in versions_of(stack, project, stem).items()
    }


def receipt_of(stack: Stack, deletion_id: str, status: str, seconds: float) -> dict[str, Any]:
    """Waits until a deletion has ended so, and returns its receipt."""

    def ask() -> dict[str, Any]:
        try:
            found: dict[str, Any] = call(stack, "GET", f"/deletions/{deletion_id}", 200)
        except requests.Timeout:
            return {"status": "no answer"}
        return found

    answer = eventually(ask, lambda found: found["status"] == status, seconds)
    receipt: dict[str, Any] = answer["receipt"]
    return receipt


if __name__ == "__main__":
    began = time.monotonic()
    running = Stack.running()
    with without_events(running):
        receipt = prove(running, int(sys.argv[1]), lambda phase: print(f"{time.monotonic() - began:.0f} s: {phase}", flush=True))
    print(json.dumps(receipt, indent=1))
