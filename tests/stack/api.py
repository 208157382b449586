"""What the tests of the deployed stack ask of it again and again."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from stocktake.ledger import Ledger, tables
from stocktake_cli.commands.group import stocktake as command_line
from tests.promised import hold_to_document
from tools.stack import Settings, Stack
from tools.stack.settings import REGION, ROOT

Run = Callable[..., tuple[int, dict[str, Any]]]
"""`stocktake("analytics")`: gives a command and returns the exit code and the one document."""

GRACE_SECONDS = 10
"""EarlyGraceSeconds of samconfig's local environment."""

_projects = itertools.count(1)


def opened(stack: Stack, **fields: Any) -> str:
    """Opens a project of a test's own and returns its id."""
    project_id = f"p{next(_projects)}-{time.time_ns() // 1_000_000 % 10**8}"
    call(stack, "POST", "/projects", 201, json={"project_id": project_id, **fields})
    return project_id


def call(stack: Stack, method: str, path: str, status: int, **request: Any) -> Any:
    """Calls the API, insists on the status and on what the OpenAPI document says of it, and returns the document it answered with."""
    answer = asked(stack, method, path, **request)
    assert answer.status_code == status, (method, path, answer.status_code, answer.text)
    return answer.json() if answer.content else None


def asked(stack: Stack, method: str, path: str, **request: Any) -> requests.Response:
    """Calls the API and holds its answer to the OpenAPI document."""
    answer = stack.api.request(method, path, **request)
    hold_to_document(method, path, answer.status_code, answer.headers, answer.content)
    return answer


def refused(stack: Stack, method: str, path: str, **request: Any) -> tuple[int, str]:
    """Calls the API and returns the status and the type of the problem it answered with."""
    answer = asked(stack, method, path, **request)
    assert answer.headers["content-type"] == "application/problem+json", (answer.status_code, answer.text)
    return answer.status_code, answer.json()["type"].removeprefix("urn:stocktake:problem:")


def uploaded(stack: Stack, project: str, body: bytes, **headers: str) -> dict[str, Any]:
    """Uploads an image raw and returns its record; the underscores of header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    document: dict[str, Any] = call(
        stack, "POST", f"/projects/{project}/objects", 201, data=body, headers={"content-type": "image/png", **named}
    )
    return document


def begun(stack: Stack, project: str, body: bytes, content_type: str = "image/png", **fields: Any) -> dict[str, Any]:
    """Announces an upload that goes straight to the bucket, by one PUT unless `part_bytes` is said."""
    announced = {"content_type": content_type, "bytes": len(body), **fields}
    if "part_bytes" not in fields:
        announced["sha256"] = hashlib.sha256(body).hexdigest()
    document: dict[str, Any] = call(stack, "POST", f"/projects/{project}/uploads", 201, json=announced)
    return document


def send(request: Mapping[str, Any], body: bytes, **changed: str) -> int:
    """Sends a presigned request as any HTTP client would, and returns the status."""
    headers = {**request["headers"], **{name.replace("_", "-"): value for name, value in changed.items()}}
    return requests.request(request["method"], request["url"], headers=headers, data=body, timeout=30).status_code


def send_parts(stack: Stack, upload: Mapping[str, Any], body: bytes, numbers: Iterable[int]) -> list[str]:
    """Signs and sends some parts of an upload; returns the SHA-256 of each."""
    size = upload["part_bytes"]
    parts = {number: body[(number - 1) * size : number * size] for number in numbers}
    hashes = {number: hashlib.sha256(part).hexdigest() for number, part in parts.items()}
    wanted = [{"number": number, "sha256": sha256} for number, sha256 in hashes.items()]
    signed = call(stack, "POST", f"/uploads/{upload['upload_id']}/parts", 200, json={"parts": wanted})["parts"]
    assert [(part["number"], part["bytes"]) for part in signed] == [(number, len(part)) for number, part in parts.items()]
    for part in signed:
        assert send(part, parts[part["number"]]) == 200
    return list(hashes.values())


def keys(stack: Stack, prefix: str) -> list[str]:
    """Lists what the bucket holds."""
    return [row["Key"] for row in stack.bucket_client().list_objects_v2(Bucket=stack.bucket, Prefix=prefix).get("Contents", [])]


def open_uploads(stack: Stack, key: str) -> int:
    """Counts the multipart uploads that are open under a key."""
    found = stack.bucket_client().list_multipart_uploads(Bucket=stack.bucket, Prefix=key)
    return len(found.get("Uploads", []))


def tidy(stack: Stack) -> dict[str, int]:
    """Lets the timer's tick come now; returns what it ended."""
    payload = (ROOT / "events" / "upload" / "tidy.json").read_bytes()
    answer = stack.aws("lambda").invoke(FunctionName=stack.resources["UploadTidyFunction"], Payload=payload)
    document: dict[str, int] = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, document
    return document


def counts(stack: Stack, project: str) -> dict[str, int]:
    """Reads how many records a project has of each state, without the states it has none of."""
    tallies = call(stack, "GET", f"/projects/{project}/analytics", 200)["counts"]
    return {state: tally["objects"] for state, tally in tallies.items() if tally["objects"]}


def ledger_of(stack: Stack) -> Ledger:
    """Reaches the ledger behind the API's back; the environment holds the credentials."""
    objects, projects, operations = (stack.resources[f"{name}Table"] for name in ("Objects", "Projects", "Operations"))
    return Ledger(tables(objects=objects, projects=projects, operations=operations, region=REGION, host=stack.endpoint))


@contextmanager
def without_events(stack: Stack) -> Iterator[None]:
    """Keeps the bucket's events from the ledger for a while."""
    if stack.store != "s3":
        yield
        return
    bucket = stack.bucket_client()
    kept = bucket.get_bucket_notification_configuration(Bucket=stack.bucket).get("QueueConfigurations", [])
    bucket.put_bucket_notification_configuration(Bucket=stack.bucket, NotificationConfiguration={})
    try:
        yield
    finally:
        bucket.put_bucket_notification_configuration(Bucket=stack.bucket, NotificationConfiguration={"QueueConfigurations": kept})


def events_taken(stack: Stack) -> None:
    """Waits until the bucket's events so far are dealt with: one that comes late would be told what is true by then."""
    wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    asked = {"QueueUrl": stack.resources["ObjectEventsQueue"], "AttributeNames": wanted}
    eventually(lambda: set(stack.aws("sqs").get_queue_attributes(**asked)["Attributes"].values()), lambda left: left == {"0"})


@contextmanager
def configured(stack: Stack, *functions: str, **settings: str) -> Iterator[None]:
    """Gives functions, or the upload function, other settings for a while, as a deployment with other parameters would."""
    client, before = stack.aws("lambda"), {}
    for name in functions or ("UploadFunction",):
        function = stack.resources[name]
        before[function] = client.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        client.update_function_configuration(FunctionName=function, Environment={"Variables": {**before[function], **settings}})
    try:
        yield
    finally:
        for function, variables in before.items():
            client.update_function_configuration(FunctionName=function, Environment={"Variables": variables})


@contextmanager
def at_the_terminal(stack: Stack, settings: Settings, folder: Path) -> Iterator[Run]:
    """Lets commands be given with `--profile local`, as `make up` leaves it; the command line's own settings lie in the folder."""
    here = {"STOCKTAKE_HOME": str(settings.home), "XDG_CONFIG_HOME": str(folder), "STOCKTAKE_PROFILE": "local"}

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        ended = CliRunner().invoke(command_line, [*arguments, "--json"], env=here)
        assert ended.stdout, ended.output
        return ended.exit_code, json.loads(ended.stdout)

    with pytest.MonkeyPatch.context() as environment:
        # what lies behind the API is reached by variables of the process, which other tests must not find
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            environment.setenv(name, stack.environment()[name])
        yield run


def eventually[T](ask: Callable[[], T], good: Callable[[T], bool], seconds: float = 60) -> T:
    """Asks until the answer is good, and returns it."""
    end = time.monotonic() + seconds
    while not good(value := ask()):
        assert time.monotonic() < end, f"waited {seconds} s in vain; last: {value}"
        time.sleep(0.3)
    return value


def a_film(size: int) -> bytes:
    """Makes an MP4 of so many bytes. Its media is noise that repeats at a prime distance, so that no two parts of it are alike."""
    head = (24).to_bytes(4) + b"ftypmp42\0\0\0\0mp42isom" + (8).to_bytes(4) + b"moov"
    media = size - len(head)
    noise = random.Random(size).randbytes(1_000_003)
    return head + media.to_bytes(4) + b"mdat" + (noise * (media // len(noise) + 1))[: media - 8]
