"""What stands between the flows and the world: ids, settings, request bodies, messages, answers."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from pydantic import BaseModel

from stocktake import answers, requests, upload_answers, upload_requests
from stocktake.conditions import Full
from stocktake.errors import ConfigurationError, InvalidRequest, MessagingError
from stocktake.ids import new_id, now_ms, time_of_id
from stocktake.messaging import Bus, Queue, StateMachine
from stocktake.model import Details, Record, SessionPlace, State, StoredObject
from stocktake.requests import read_body
from stocktake.serving import Served
from stocktake.settings import read_settings
from stocktake.storage import Content
from stocktake.upload_requests import Base64ObjectBody, NewProjectBody, read_details

ENVIRONMENT = {
    "STORAGE_BUCKET": "data",
    "STORAGE_ENDPOINT": "",
    "STORAGE_REGION": "eu-north-1",
    "STORAGE_CREDENTIALS_SECRET": "",
    "STORAGE_ADDRESSING": "auto",
    "STORAGE_READ_SECONDS": "6",
    "OPERATIONS_BUCKET": "reports",
    "INVENTORY_BUCKET": "inventories",
    "PUBLIC_BASE_URL": "",
    "CDN_ZONE_ID": "",
    "CDN_SECRET": "",
    "OBJECTS_TABLE": "objects",
    "PROJECTS_TABLE": "projects",
    "OPERATIONS_TABLE": "operations",
    "LEDGER_SHARDS": "16",
    "EVENT_BUS": "bus",
    "DELETION_QUEUE_URL": "https://sqs/deletion",
    "DELETION_BATCH_QUEUE_URL": "https://sqs/batch",
    "DELETION_DEAD_LETTER_QUEUE_URL": "https://sqs/dead",
    "OBJECT_EVENTS_QUEUE_URL": "https://sqs/events",
    "DEAD_LETTER_QUEUES": "",
    "R2_QUEUE_API": "https://api.cloudflare.com",
    "R2_QUEUE_ACCOUNT": "0123456789abcdef0123456789abcdef",
    "R2_QUEUE_ID": "fedcba9876543210fedcba9876543210",
    "R2_QUEUE_TOKEN_SECRET": "",
    "WEBHOOK_SECRET": "",
    "STORE_PRICES": "",
    "RECONCILIATION_WORKERS": "6",
    "RECONCILIATION_STATE_MACHINE_ARN": "arn:aws:states:eu-north-1:123456789012:stateMachine:r",
    "MAX_UPLOAD_BYTES": "4500000",
    "MAX_OBJECT_BYTES": "5000000000",
    "WARN_UPLOAD_BYTES": "10000000",
    "MAX_PIXELS": "50000000",
    "MAX_SIDE": "20000",
    "ALLOWED_TYPES": "",
    "BATCH_ITEMS": "20",
    "BATCH_WORKERS": "5",
    "IMPORT_HOSTS": "",
    "MAX_IMPORT_BYTES": "25000000",
    "ENABLE_STORAGE": "true",
    "MAX_INLINE_BYTES": "256000",
    "MIGRATION_BATCH": "10",
    "MIGRATION_QUEUE_URL": "https://sqs/migration",
    "DEFAULT_QUOTA_OBJECTS": "0",
    "DEFAULT_QUOTA_BYTES": "0",
    "SENSITIVE_FIELDS": "",
    "SEALING_SECRET": "",
    "SEALING_KMS_KEY": "",
    "MULTIPART_SECONDS": "86400",
    "DEFAULT_CACHE_CONTROL": "public, max-age=31536000",
    "PRESIGNED_SECONDS": "900",
    "GRACE_MARGIN_SECONDS": "3600",
    "EARLY_GRACE_SECONDS": "0",
    "LONGEST_PUT_SECONDS": "2700",
    "EARLY_SWEEP_SECONDS": "0",
    "QUARANTINE_DAYS": "30",
    "BREAKER_MAX_ACTIONS": "1000",
    "BREAKER_MAX_PERCENT": "5",
    "BREAKER_MAX_PER_PROJECT": "500",
    "TOKEN_ISSUER": "https://issuer.example/",
    "TOKEN_AUDIENCE": "stocktake",
    "TOKEN_JWKS_URL": "",
    "TOKEN_SCOPE_PREFIX": "",
    "TOKEN_PROJECTS_CLAIM": "projects",
}


def test_ids_sort_by_time_and_tell_it() -> None:
    early, late = new_id(1_000), new_id(2_000)
    assert early < late
    assert (len(early), time_of_id(early), time_of_id(late)) == (26, 1_000, 2_000)


def test_ids_of_one_moment_differ() -> None:
    assert len({new_id(now_ms()) for _ in range(100)}) == 100


@pytest.mark.parametrize("text", ["", "short", "01KAHXPLEN000000000000000I", "x" * 26])
def test_what_is_no_id_has_no_time(text: str) -> None:
    assert time_of_id(text) is None


def test_settings_are_read_as_the_template_sets_them() -> None:
    settings = read_settings(ENVIRONMENT)
    assert (settings.storage_bucket, settings.ledger_shards, settings.grace_seconds) == ("data", 16, 2 * 86_400 + 3600)


def test_the_final_sweep_waits_for_the_longest_put_begun_as_the_last_url_ends_and_is_early_only_where_that_is_said() -> None:
    assert read_settings(ENVIRONMENT).sweep_delay_seconds == 900 + 2700
    longer = {"PRESIGNED_SECONDS": "604800", "LONGEST_PUT_SECONDS": "86400"}
    assert read_settings({**ENVIRONMENT, **longer}).sweep_delay_seconds == 604_800 + 86_400
    assert read_settings({**ENVIRONMENT, "EARLY_SWEEP_SECONDS": "10"}).sweep_delay_seconds == 10


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"STORAGE_BUCKET": ""}, "STORAGE_BUCKET is not set"),
        ({"STORAGE_ADDRESSING": "sideways"}, "STORAGE_ADDRESSING must be one of"),
        ({"LEDGER_SHARDS": "12"}, "LEDGER_SHARDS must be a power of two"),
        ({"UNDO_DAYS": "91"}, "UNDO_DAYS must be a whole number from 0 to 90"),
        ({"ENABLE_STORAGE": "off"}, "ENABLE_STORAGE must be true or false"),
        ({"GRACE_MARGIN_SECONDS": "2592001"}, "GRACE_MARGIN_SECONDS must be a whole number from 0"),
        ({"GRACE_MARGIN_SECONDS": "a day"}, "GRACE_MARGIN_SECONDS must be a whole number"),
        ({"STORAGE_ENDPOINT": "r2.example", "STORAGE_CREDENTIALS_SECRET": "arn"}, "STORAGE_ENDPOINT must begin with https://"),
        ({"STORAGE_ENDPOINT": "https://r2.example"}, "STORAGE_CREDENTIALS_SECRET must name a secret"),
        ({"R2_QUEUE_API": "https://api.cloudflare.com.evil.example"}, "R2_QUEUE_API must be https://api.cloudflare.com"),
        ({"R2_QUEUE_API": "http://192.0.2.1:80"}, "R2_QUEUE_API must be https://api.cloudflare.com"),
        ({"CDN_ZONE_ID": "z", "PUBLIC_BASE_URL": "https://cdn.example"}, "CDN_ZONE_ID needs CDN_SECRET"),
        ({"CDN_ZONE_ID": "z", "CDN_SECRET": "arn"}, "PUBLIC_BASE_URL, the URLs it keeps"),
        ({"PUBLIC_BASE_URL": "https://cdn.example/"}, "PUBLIC_BASE_URL must not end with a slash"),
        ({"TOKEN_ISSUER": ""}, "TOKEN_ISSUER is not set"),
        ({"TOKEN_AUDIENCE": ""}, "TOKEN_AUDIENCE is not set"),
        ({"TOKEN_ISSUER": "http://issuer.example"}, "TOKEN_ISSUER must begin with https://"),
        ({"TOKEN_JWKS_URL": "http://issuer.example/keys"}, "TOKEN_JWKS_URL must begin with https://"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(changes: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read_settings({**ENVIRONMENT, **changes})


def test_all_complaints_come_at_once_and_show_no_values() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_settings({**ENVIRONMENT, "OBJECTS_TABLE": "", "LEDGER_SHARDS": "hunter2"})
    assert "OBJECTS_TABLE" in str(refused.value)
    assert "LEDGER_SHARDS" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_every_body_and_query_can_be_built() -> None:
    members = [*vars(requests).values(), *vars(upload_requests).values()]
    models = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel) and member is not BaseModel]
    assert len(models) > 10
    for model in models:
        model.model_rebuild(force=True, raise_errors=True)


def test_an_unknown_field_is_an_error_and_never_dropped() -> None:
    with pytest.raises(InvalidRequest, match="aspectRatio"):
        read_body(Base64ObjectBody, json.dumps({"content_base64": "aGk=", "aspectRatio": "16:9"}))


def test_metadata_comes_through_a_body_with_its_types() -> None:
    metadata = {"aspectRatio": "16:9", "numberOfImages": 2, "guidance": 7.0, "tags": ["a", None, True], "nested": {"é": "ü"}}
    body = read_body(Base64ObjectBody, json.dumps({"content_base64": "aGk=", "metadata": metadata}))
    assert json.dumps(body.metadata) == json.dumps(metadata)
    assert body.new_object().body == b"hi"


@pytest.mark.parametrize(("body", "complaint"), [(None, "project_id"), ("{", "body"), ('{"project_id": 7}', "project_id"), ("[]", "body")])
def test_a_body_that_cannot_be_read_says_which_field(body: str | None, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        read_body(NewProjectBody, body)


def test_what_is_not_base64_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not base64"):
        Base64ObjectBody(content_base64="a b c").new_object()


@pytest.mark.parametrize("header", ["{", "[1]", "7"])
def test_a_metadata_header_that_is_no_object_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest, match="Stocktake-Metadata"):
        read_details({"stocktake-metadata": header})


def test_the_headers_of_a_raw_upload_say_what_a_body_says() -> None:
    options = {"sensitive": ["who"], "layout": {"name": "session", "persona": "p"}, "generation": {"generation_id": "g", "output": 1}}
    headers = {
        "stocktake-metadata": '{"n": 2}',
        "stocktake-file-name": "caf%C3%A9.png",
        "cache-control": "no-store",
        "stocktake-options": json.dumps(options),
    }
    assert read_details(headers) == Details("café.png", "no-store", {"n": 2}, ("who",), SessionPlace("p"), "g", 1)
    assert read_details({}) == Details()


def test_an_unknown_option_is_an_error_that_names_the_header() -> None:
    with pytest.raises(InvalidRequest, match="Stocktake-Options cannot be read: colour is unknown"):
        read_details({"stocktake-options": '{"colour": "red"}'})


def a_client(service: str) -> Any:
    return boto3.client(service, region_name="eu-north-1", aws_access_key_id="x", aws_secret_access_key="x")  # type: ignore[call-overload]  # any service


def test_a_queue_that_takes_no_message_is_a_named_error() -> None:
    client = a_client("sqs")
    with Stubber(client) as stub:
        stub.add_client_error("send_message", "AWS.SimpleQueueService.NonExistentQueue")
        with pytest.raises(MessagingError, match="did not take a message"):
            Queue(client, "https://sqs/q").send({"a": 1})


def test_a_bus_that_answers_200_and_refuses_the_entry_is_an_error() -> None:
    client = a_client("events")
    with Stubber(client) as stub:
        stub.add_response(
            "put_events", {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}]}
        )
        with pytest.raises(MessagingError, match="ThrottlingException"):
            Bus(client, "bus").publish("ProjectDeletionRequested", {})
        stub.add_client_error("put_events", "InternalException")
        with pytest.raises(MessagingError, match="did not take an event"):
            Bus(client, "bus").publish("ProjectDeletionRequested", {})


def test_launching_the_same_step_twice_starts_one_execution() -> None:
    client = a_client("stepfunctions")
    machine = StateMachine(client, ENVIRONMENT["RECONCILIATION_STATE_MACHINE_ARN"])
    with Stubber(client) as stub:
        stub.add_client_error("start_execution", "ExecutionAlreadyExists")
        machine.launch({"action": "compare", "run_id": "r"})
        stub.add_client_error("start_execution", "StateMachineDoesNotExist")
        with pytest.raises(MessagingError, match="compare-r"):
            machine.launch({"action": "compare", "run_id": "r"})


def test_times_are_answered_in_utc_at_any_depth() -> None:
    document = answers.timed({"as_of": 0, "deep": [{"finished_at": 1_795_239_000_123, "n_at": "as is"}]})
    assert document == {"as_of": "1970-01-01T00:00:00.000Z", "deep": [{"finished_at": "2026-11-21T05:30:00.123Z", "n_at": "as is"}]}


def a_served(content_type: str, file_name: str | None = None) -> Served:
    record = Record("k", "o", "p", 1, State.STORED, 1, 0, 0, etag="e", content_type=content_type, file_name=file_name)
    return Served(record, Full(), content=Content(StoredObject("k", 1, "e", 0), b"x"))


@pytest.mark.parametrize(
    ("content_type", "disposition"), [("image/png", "inline"), ("video/mp4", "attachment"), ("image/svg+xml", "attachment")]
)
def test_only_harmless_images_are_shown_in_place(content_type: str, disposition: str) -> None:
    headers = upload_answers.content_headers(a_served(content_type))
    assert headers["Content-Disposition"] == disposition
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_file_name_cannot_break_out_of_its_header() -> None:
    headers = upload_answers.content_headers(a_served("image/png", 'a"\r\nSet-Cookie: x=é.png'))
    assert (
        headers["Content-Disposition"]
        == "inline; filename=\"a___Set-Cookie: x=_.png\"; filename*=UTF-8''a___Set-Cookie%3A%20x%3D%C3%A9.png"
    )
