"""A deployment in moto, with the project, object, deletion and run that the files of events/ speak of."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

import analytics
import diagnostics
import migration
import object_events
import project_deletion
import reconciliation
import upload
from stocktake.generations import Generation
from stocktake.ids import now_ms
from stocktake.model import Record, Reserved, State
from stocktake.presigned import Upload
from stocktake.services import Services
from stocktake.storage import Learned, Profile
from stocktake.upload_requests import NewGenerationBody, NewUploadBody
from tests.issuer import URL, bearer, served_keys
from tests.promised import hold_to_document
from tests.unit.test_edges import ENVIRONMENT

EVENTS = Path(__file__).parents[2] / "events"
REGION: Final = "eu-north-1"
OBJECT_ID = "01KAHXPLEN0000000000000000"
UPLOAD_ID = "01KAHXVP0AD000000000000000"
UPLOAD_IN_PARTS_ID = "01KAHPARTS0000000000000000"
GENERATION_ID = "01KAHGENERAT10N00000000000"
DELETION_ID = "01KAHDELETE000000000000000"
MIGRATION_ID = "01KAHM1GRAT10N000000000000"
RECOUNT_ID = "01KAHREC0VNT00000000000000"
EXPORT_ID = "01KAHEXP0RT000000000000000"
RUN_ID = "01KAHRECNC0000000000000000"
KEY = f"projects/proj_sunset/2026/11/{OBJECT_ID}.png"
BODY = b"the bytes of an image"
BUCKETS = ("stocktake-data", "stocktake-reports")
HANDLERS = (analytics, diagnostics, migration, object_events, project_deletion, reconciliation, upload)

_numbers = itertools.count()


def stock(name: str) -> dict[str, Any]:
    """Reads an event file as it is."""
    document: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return document


def event(name: str) -> dict[str, Any]:
    """Reads an event file; one of the HTTP API gets a token that may everything."""
    document = stock(name)
    if "rawPath" in document:
        document["headers"] |= bearer()
    return document


def sent(name: str, *, path: str | None = None, headers: Mapping[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """Reads an event file of the HTTP API and changes it; `headers` are added to those it has."""
    document = {**event(name), **changes}
    document["headers"] = {**document["headers"], **(headers or {})}
    if path is not None:
        document["rawPath"] = document["requestContext"]["http"]["path"] = path
    return document


class Context:
    """What Lambda hands a handler beside the event."""

    function_name = "stocktake"
    memory_limit_in_mb = 1024
    invoked_function_arn = f"arn:aws:lambda:{REGION}:123456789012:function:stocktake"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        return 300_000  # of the functions that work through something


def context() -> LambdaContext:
    return cast(LambdaContext, Context())


@dataclass
class Scene:
    """One deployment, and how its handlers are called."""

    services: Services
    environment: dict[str, str]
    launched: list[dict[str, Any]] = field(default_factory=list)

    def call(self, handler: Callable[..., Any], name: str) -> Any:
        """Invokes a handler with an event file."""
        return handler(event(name), context())

    def api(self, handler: Callable[..., Any], name: str, **changes: Any) -> tuple[int, Any]:
        """Invokes a handler of the HTTP API and holds its answer to the OpenAPI document; returns status and decoded body."""
        asked = sent(name, **changes)
        answer = handler(asked, context())
        body = answer.get("body") or ""
        method = asked["requestContext"]["http"]["method"]
        hold_to_document(method, asked["rawPath"], answer["statusCode"], answer.get("headers", {}), body)
        is_json = "json" in str(answer.get("headers", {}).get("Content-Type", ""))
        return answer["statusCode"], json.loads(body) if is_json else answer

    def an_object(self, state: State = State.STORED) -> Record:
        """Stores the object the events speak of, and its record."""
        project = self.services.ledger.project("proj_sunset")
        self.services.store._requests._client.put_object(Bucket="stocktake-data", Key=KEY, Body=BODY, ContentType="image/png")
        stored = self.services.store.head(KEY)
        assert stored is not None
        at = stored.last_modified
        record = Record(
            KEY,
            OBJECT_ID,
            project.project_id,
            project.epoch,
            state,
            len(BODY),
            at,
            at,
            etag=stored.etag,
            content_type="image/png",
            cache_control="public, max-age=31536000, immutable",
        )
        return self.services.ledger.move(None, record, gated=True)

    def an_upload(self, case: str, object_id: str) -> Upload:
        """Begins the upload of an event file, under an id that the other files speak of."""
        announced = NewUploadBody.model_validate_json(event(f"upload/{case}")["body"]).announced()
        return self.services.presigned.begin("proj_sunset", announced, Reserved(object_id, now_ms()))

    def a_generation(self) -> Generation:
        """Writes the generation job the events speak of."""
        body = NewGenerationBody.model_validate_json(event("upload/create_generation")["body"])
        return self.services.generations.create("proj_sunset", body.metadata, (), body.outputs, Reserved(GENERATION_ID, now_ms()))

    def a_run(self, run_id: str) -> str:
        """Takes a whole reconciliation to its end."""
        runs = self.services.reconciliations
        for piece in runs.plan(run_id)["ranges"]:
            while not runs.walk(run_id, piece["number"], out_of_time=lambda: False)["done"]:
                pass
        runs.summarise(run_id)
        return run_id

    def queued(self, url_setting: str) -> list[dict[str, Any]]:
        """Takes the messages of a queue."""
        return [json.loads(body) for body in self.queued_texts(url_setting)]

    def queued_texts(self, url_setting: str) -> list[str]:
        """Takes the messages of a queue, which need not be JSON."""
        sqs = boto3.client("sqs", REGION)
        messages = sqs.receive_message(QueueUrl=getattr(self.services.settings, url_setting), MaxNumberOfMessages=10).get("Messages", [])
        return [message["Body"] for message in messages]


@pytest.fixture(scope="session")
def sealing_secret(aws: None) -> str:
    """The ARN of a secret with a key that seals."""
    ring = json.dumps({"current": "k1", "keys": {"k1": base64.b64encode(bytes(32)).decode()}})
    made = boto3.client("secretsmanager", REGION).create_secret(Name="sealing-keys", SecretString=ring)
    return str(made["ARN"])


@pytest.fixture(scope="session")
def issuing() -> Iterator[dict[str, str]]:
    """The settings that make a function take the tokens of the tests' issuer, whose keys are served."""
    with served_keys() as url:
        yield {"TOKEN_ISSUER": URL, "TOKEN_JWKS_URL": url}


@pytest.fixture
def scene(
    aws: None,
    table_definitions: dict[str, dict[str, Any]],
    sealing_secret: str,
    issuing: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    number = next(_numbers)
    dynamodb, sqs, s3 = boto3.client("dynamodb", REGION), boto3.client("sqs", REGION), boto3.client("s3", REGION)
    environment = {
        **ENVIRONMENT,
        **issuing,
        "AWS_REGION": REGION,
        "STORAGE_BUCKET": "stocktake-data",
        "OPERATIONS_BUCKET": "stocktake-reports",
        "RECONCILIATION_WORKERS": "6",
        "GRACE_MARGIN_SECONDS": "0",
        "EARLY_GRACE_SECONDS": "10",
        "SEALING_SECRET": sealing_secret,
    }
    for name, definition in table_definitions.items():
        environment[f"{name.upper()}_TABLE"] = f"{name}-functions-{number}"
        dynamodb.create_table(TableName=f"{name}-functions-{number}", **definition)
    queues = (
        "DELETION_QUEUE_URL",
        "DELETION_BATCH_QUEUE_URL",
        "DELETION_DEAD_LETTER_QUEUE_URL",
        "OBJECT_EVENTS_QUEUE_URL",
        "MIGRATION_QUEUE_URL",
    )
    for name in queues:
        environment[name] = sqs.create_queue(QueueName=f"{name}-{number}")["QueueUrl"]
    boto3.client("events", REGION).create_event_bus(Name=f"bus-{number}")
    environment["EVENT_BUS"] = f"bus-{number}"
    for bucket in BUCKETS:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    services = Services(environment)
    profile = Profile(
        conditional_put=True,
        conditional_copy=False,
        conditional_delete=False,
        versioning=False,
        md5_needed=False,
        ordered_listing=True,
        keeps_sha256=True,
        keeps_parts_sha256=False,
        names_deleted=True,
        lists_uploads=True,
    )
    services.conformance.learn(profile, Learned.PROBED)
    scene = Scene(services, environment)
    monkeypatch.setattr("stocktake.messaging.StateMachine.launch", lambda self, payload: scene.launched.append(dict(payload)))
    for module in HANDLERS:
        if hasattr(module, "services"):
            monkeypatch.setattr(module, "services", services)
    scene.api(upload.handler, "upload/create_project")
    yield scene
    for bucket in BUCKETS:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for row in page.get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=row["Key"])
        s3.delete_bucket(Bucket=bucket)
    for name in table_definitions:
        dynamodb.delete_table(TableName=f"{name}-functions-{number}")
