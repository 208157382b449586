"""The diagnostics handler over moto: every check of a deployed stack, one object, a round trip, and what is never shown."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import diagnostics
from stocktake import described
from stocktake.diagnostics.first_bytes import FirstBytes
from stocktake.errors import LedgerError, MessagingError
from stocktake.ledger import SHAPES
from stocktake.services import Services
from tests.functions.conftest import BODY, KEY, OBJECT_ID, REGION, Scene


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The presigned URLs that were fetched; moto answers no other client than boto3."""
    urls: list[str] = []

    def fetch(url: str) -> FirstBytes:
        urls.append(url)
        key = url.partition("amazonaws.com/")[2].partition("?")[0]
        body = boto3.client("s3", REGION).get_object(Bucket="stocktake-data", Key=key)["Body"].read()
        return FirstBytes(206, body)

    monkeypatch.setattr("stocktake.diagnostics.first_bytes.fetch", fetch)
    return urls


def checks(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in answer["checks"]}


def used(scene: Scene, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Services:
    """Puts a process with these settings in the handler's place."""
    made = Services({**scene.environment, **settings}, tolerant=True)
    monkeypatch.setattr(diagnostics, "services", made)
    return made


def switch_on(scene: Scene) -> None:
    """Switches on what the template does beside making the tables."""
    client = boto3.client("dynamodb", REGION)
    for role in SHAPES:
        name = scene.environment[f"{role.upper()}_TABLE"]
        client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True})
    by: Any = {"AttributeName": "expires_at", "Enabled": True}
    client.update_time_to_live(TableName=scene.environment["OPERATIONS_TABLE"], TimeToLiveSpecification=by)


def test_a_deployment_is_looked_at_whole(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.an_object()
    switch_on(scene)
    queues = {"deletion": scene.environment["DELETION_DEAD_LETTER_QUEUE_URL"], "migration": scene.environment["MIGRATION_QUEUE_URL"]}
    sqs = boto3.client("sqs", REGION)
    sqs.send_message(QueueUrl=queues["deletion"], MessageBody="a letter")
    used(scene, monkeypatch, DEAD_LETTER_QUEUES=",".join(f"{name}={url.rpartition('/')[2]}" for name, url in queues.items()))
    status, answer = scene.api(diagnostics.handler, "diagnostics/look")
    found = checks(answer)
    assert (status, answer["status"]) == (200, "warning")
    warned = {name for name, of in found.items() if of["status"] not in ("ok", "skipped")}
    assert {name: found[name]["status"] for name in warned} == {"dead-letters": "warning", "waits": "warning"}
    assert found["waits"]["detail"] == {"early": ["EARLY_GRACE_SECONDS"]}
    assert found["dead-letters"]["detail"]["queues"] == {"deletion": 1, "migration": 0}
    assert found["credentials"]["detail"]["account"] == "123456789012"
    assert found["region"]["detail"]["configured"] == REGION
    assert found["table-operations"]["detail"] | {"indexes": None} == {
        "key": ["operation_id", "part"],
        "indexes": None,
        "expires_by": "expires_at",
        "point_in_time_recovery": True,
        "on_demand": True,
        "streams": False,
        "status": "ACTIVE",
        "missing": [],
    }


def test_one_object_is_diagnosed_by_key_or_id(scene: Scene, asked: list[str]) -> None:
    scene.an_object()
    status, by_key = scene.api(diagnostics.handler, "diagnostics/diagnose_object", queryStringParameters={"key": KEY})
    assert (status, by_key["status"], by_key["record"]["object_id"]) == (200, "ok", OBJECT_ID)
    status, by_id = scene.api(diagnostics.handler, "diagnostics/diagnose_object", queryStringParameters={"object_id": OBJECT_ID})
    assert (status, by_id["key"], by_id["url"]["status"]) == (200, KEY, 206)
    shown = json.dumps([by_key, by_id])
    assert "X-Amz-" in asked[0]
    assert not any(hidden in shown for hidden in ("X-Amz-", "Signature", "AccessKeyId", BODY.decode()))


def test_a_question_that_cannot_be_meant_is_refused_and_an_object_that_nobody_knows_not_found(scene: Scene) -> None:
    for query in (None, {"key": KEY, "object_id": OBJECT_ID}, {"keys": KEY}, {"key": ""}, {"key": "x" * 1025}):
        status, problem = scene.api(diagnostics.handler, "diagnostics/diagnose_object", queryStringParameters=query)
        assert (status, problem["type"]) == (400, "urn:stocktake:problem:invalid-request")
    query = {"object_id": "01KAHN0NE00000000000000000"}
    status, problem = scene.api(diagnostics.handler, "diagnostics/diagnose_object", queryStringParameters=query)
    assert (status, problem["type"]) == (404, "urn:stocktake:problem:object-not-found")


def test_a_round_trip_leaves_nothing(scene: Scene, asked: list[str]) -> None:
    status, answer = scene.api(diagnostics.handler, "diagnostics/self_test")
    assert (status, answer["status"], answer["is_clean"]) == (200, "ok", True)
    kept = boto3.client("s3", REGION).list_objects_v2(Bucket="stocktake-data", Prefix=".stocktake/probe/")
    assert (kept["KeyCount"], len(asked)) == (0, 1)
    assert "X-Amz-" not in json.dumps(answer)


def test_settings_that_are_malformed_are_answered_as_a_check_and_not_as_an_error(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"PRESIGNED_SECONDS": "hunter2", "ALLOWED_TYPES": "hunter2", "IMPORT_HOSTS": "hunter2!", "DEAD_LETTER_QUEUES": "hunter2 / 3"}
    used(scene, monkeypatch, **wrong)
    status, answer = scene.api(diagnostics.handler, "diagnostics/look")
    environment = checks(answer)["environment"]
    assert (status, environment["status"]) == (200, "failed")
    assert [name for name in wrong if environment["detail"]["settings"][name] != "malformed"] == []
    assert [name for name in wrong if name not in environment["says"]] == []
    assert checks(answer)["bucket"]["status"] == "ok"
    assert "hunter2" not in json.dumps(answer)


def test_nobody_is_let_in_by_settings_of_tokens_that_are_malformed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    used(scene, monkeypatch, TOKEN_JWKS_URL="http://elsewhere.example/keys")
    status, problem = scene.api(diagnostics.handler, "diagnostics/look")
    assert (status, problem["type"]) == (500, "urn:stocktake:problem:configuration")


def broken(conformance: object) -> None:
    raise RuntimeError("the ledger hangs")


def test_a_ledger_that_is_not_there_leaves_the_bucket_looked_at(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    used(scene, monkeypatch, OPERATIONS_TABLE="nowhere")
    found = checks(scene.api(diagnostics.handler, "diagnostics/look")[1])
    assert {name for name in ("credentials", "bucket", "permission-list") if found[name]["status"] == "ok"} == {
        "credentials",
        "bucket",
        "permission-list",
    }
    assert found["table-operations"]["status"] == "failed"
    assert "a table is not there" in found["table-operations"]["says"]
    # nor is what is known of the store waited for before the bucket is looked at
    monkeypatch.setattr("stocktake.conformance.Conformance.known", broken)
    used(scene, monkeypatch)
    found = checks(scene.api(diagnostics.handler, "diagnostics/look")[1])
    assert (found["bucket"]["status"], found["conformance"]["status"]) == ("ok", "failed")


def test_keys_of_a_secret_are_told_by_their_end_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"access_key_id": "0123456789abcdef-last", "secret_access_key": "hunter2hunter2hunter2"}
    secret = boto3.client("secretsmanager", REGION).create_secret(Name="storage-keys", SecretString=json.dumps(keys))["ARN"]
    caplog.set_level("DEBUG", "stocktake")
    used(scene, monkeypatch, STORAGE_CREDENTIALS_SECRET=secret)
    answer = scene.api(diagnostics.handler, "diagnostics/look")[1]
    boto3.client("secretsmanager", REGION).delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    assert checks(answer)["credentials"]["detail"]["access_key_id"] == "…last"
    assert not any(value in json.dumps(answer) + caplog.text for value in keys.values())


class Client:
    """An AWS client whose every call is refused."""

    def __getattr__(self, name: str) -> Any:
        def refused(**_: Any) -> Any:
            raise ClientError({"Error": {"Code": "ExpiredToken", "Message": "arn:aws:iam::1:role/secret"}}, name)

        return refused


def test_what_aws_refuses_is_told_by_its_code() -> None:
    client: Any = Client()
    who = described.credentials("process", "AKIAIOSFODNN7EXAMPLE", lambda: client)
    assert (who.account, who.refused, who.shown) == (None, "ExpiredToken", "…MPLE")
    assert described.credentials("secret", "short", None).shown == "…"
    for told, error in ((described.table, LedgerError), (described.letters, MessagingError)):
        with pytest.raises(error, match="ExpiredToken"):
            told(client, "name")
