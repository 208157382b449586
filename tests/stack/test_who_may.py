"""Who may, over HTTP: every route without a token, with a wrong one and with another project's, and what the logs say of it all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stocktake.routes import BY_TOKEN, Owner, Route, Scope
from tests.issuer import by_hand
from tests.stack.api import begun, call, opened, uploaded
from tests.unit.world import an_image
from tools.stack import Settings, Stack
from tools.stack.issuer import AUDIENCE, SCOPES, Issuer
from tools.stack.lifecycle import SEALING_SECRET_NAME, issuer_of

THINGS = (Owner.OBJECT, Owner.UPLOAD, Owner.GENERATION, Owner.DELETION)


@pytest.fixture(scope="module")
def issuer(stack: Stack, stack_settings: Settings) -> Issuer:
    return issuer_of(stack_settings)


@pytest.fixture(scope="module")
def ids(stack: Stack) -> dict[str, str]:
    """One of everything that a path can name, all of one project but the deletion, which is of another that is being deleted."""
    project, doomed = opened(stack), opened(stack)
    deletion = call(stack, "DELETE", f"/projects/{doomed}", 202)
    return {
        "project_id": project,
        "object_id": uploaded(stack, project, an_image(1))["object_id"],
        "upload_id": begun(stack, project, an_image(2))["upload_id"],
        "generation_id": call(stack, "POST", f"/projects/{project}/generations", 201, json={"outputs": 1})["generation_id"],
        "deletion_id": deletion["deletion_id"],
        "run_id": "01KAHRUN000000000000000000",
        "acknowledgement_id": "acknowledged-0123456789abcdef0123456789abcdef",
        "entry_id": "01KAHENTRY0000000000000000",
        "migration_id": "01KAHMIGRAT10N000000000000",
        "export_id": "01KAHEXP0RT000000000000000",
        "recount_id": "01KAHREC0VNT00000000000000",
    }


def sent(stack: Stack, token: str | None, route: Route, ids: dict[str, str], **headers: str) -> requests.Response:
    """Calls a route with a body that nobody could read."""
    path = route.path
    for name in route.names:
        path = path.replace(f"{{{name}}}", ids[name])
    body = None if route.method == "GET" else "{"
    return stack.api_with(token).request(route.method, path, data=body, headers={"content-type": "application/json", **headers})


def told(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:stocktake:problem:")


def forged(issuer: Issuer, *, key: ec.EllipticCurvePrivateKey | None = None, kid: str | None = None, **changes: Any) -> str:
    claims = {name: value for name, value in (some_claims(issuer) | changes).items() if value is not None}
    return jwt.encode(claims, key or issuer.key, "ES256", {"kid": kid or issuer.key_id})


def some_claims(issuer: Issuer) -> dict[str, Any]:
    at = int(time.time())
    return {"iss": issuer.url, "aud": AUDIENCE, "sub": "mallory", "iat": at, "exp": at + 600, "scope": " ".join(SCOPES), "projects": "*"}


def wrong_tokens(issuer: Issuer) -> dict[str, str]:
    """Makes a token of every wrong kind; all but the last would be good if it were not for one thing."""
    at = int(time.time())
    public = issuer.key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {
        "of another key": forged(issuer, key=ec.generate_private_key(ec.SECP256R1())),
        "of an unknown key": forged(issuer, kid="unknown"),
        "unsigned": by_hand({"alg": "none", "kid": issuer.key_id}, some_claims(issuer)),
        "signed with what is public": by_hand({"alg": "HS256", "kid": issuer.key_id}, some_claims(issuer), public),
        "of another issuer": forged(issuer, iss="https://issuer.example"),
        "for another audience": forged(issuer, aud="other"),
        "expired": forged(issuer, exp=at - 120),
        "not valid yet": forged(issuer, nbf=at + 600),
        "without subject": forged(issuer, sub=None),
        "without end": forged(issuer, exp=None),
        "of 9 KB": forged(issuer, padding="x" * 6000),
        "no token": "hunter2",
    }


def test_without_a_token_every_route_is_closed(stack: Stack, ids: dict[str, str]) -> None:
    for route in BY_TOKEN:
        answer = sent(stack, None, route, ids)
        assert told(answer) == (401, "unauthenticated"), route.key
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"


def test_with_a_wrong_token_every_route_is_closed(stack: Stack, issuer: Issuer, ids: dict[str, str]) -> None:
    token = wrong_tokens(issuer)["of another key"]
    for route in BY_TOKEN:
        answer = sent(stack, token, route, ids)
        assert told(answer) == (401, "unauthenticated"), route.key
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_every_kind_of_wrong_token_is_refused_and_not_quoted(stack: Stack, issuer: Issuer, ids: dict[str, str]) -> None:
    for kind, token in wrong_tokens(issuer).items():
        answer = sent(stack, token, BY_TOKEN[1], ids)
        assert told(answer) == (401, "unauthenticated"), kind
        assert not [part for part in token.split(".") if len(part) > 6 and part in answer.text], kind
    basic = stack.api_with(None).get("/analytics", headers={"authorization": "Basic YWRhOmh1bnRlcjI="})
    assert told(basic) == (401, "unauthenticated")


def test_without_its_scope_a_token_opens_no_route(stack: Stack, issuer: Issuer, ids: dict[str, str]) -> None:
    lacking = {scope: issuer.token(scopes=[other for other in Scope if other is not scope]) for scope in Scope}
    for route in BY_TOKEN:
        assert route.scope is not None
        answer = sent(stack, lacking[route.scope], route, ids)
        assert told(answer) == (403, "forbidden"), route.key
        assert f'scope="{route.scope}"' in answer.headers["www-authenticate"]


def test_another_projects_token_finds_nothing(stack: Stack, issuer: Issuer, ids: dict[str, str]) -> None:
    token = issuer.token(projects=["other"])
    nobodys = {name: f"{identity[:-1]}~" for name, identity in ids.items()}
    for route in BY_TOKEN:
        answer = sent(stack, token, route, ids)
        if route.owner is Owner.NONE:
            assert answer.status_code == 200, route.key  # it speaks of no project
            continue
        if route.owner in (Owner.ALL, Owner.BODY):
            assert told(answer) == (403, "forbidden"), route.key
            continue
        (name,) = route.names
        absent = sent(stack, token, route, nobodys)
        assert answer.status_code == absent.status_code == 404, route.key
        assert problem(answer, ids[name]) == problem(absent, nobodys[name]), route.key
        assert set(answer.headers) == set(absent.headers)


def problem(answer: requests.Response, identity: str) -> str:
    """Returns the problem to the byte, but for the request's id and the id it was asked for."""
    return answer.text.replace(answer.json()["request_id"], "REQUEST").replace(identity, "ID")


def test_a_token_for_one_project_opens_what_it_has(stack: Stack, issuer: Issuer, ids: dict[str, str]) -> None:
    mine = stack.api_with(issuer.token(scopes=["read", "write"], projects=[f"proj_{ids['project_id']}"]))
    for path in ("projects/{project_id}", "objects/{object_id}", "uploads/{upload_id}", "generations/{generation_id}"):
        assert mine.get(f"/{path.format(**ids)}").status_code == 200, path
    content = mine.get(f"/objects/{ids['object_id']}/content")
    assert (content.status_code, content.content) == (200, an_image(1))
    assert mine.post("/projects", json={"project_id": "someone-elses"}).status_code == 403


def test_a_browser_is_asked_for_a_token(stack: Stack) -> None:
    page = stack.api_with(None).get("/docs", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "<form>" in page.text and "default-src 'none'" in page.headers["content-security-policy"]


@pytest.fixture
def outspoken(stack: Stack) -> Iterator[None]:
    """LogLevel=DEBUG for the functions with an API."""
    functions = stack.aws("lambda")
    names = [stack.resources[f"{name}Function"] for name in ("Upload", "Analytics", "ProjectDeletionApi", "ReconciliationApi")]
    before = {name: functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"] for name in names}
    for name, variables in before.items():
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables | {"POWERTOOLS_LOG_LEVEL": "DEBUG"}})
    yield
    for name, variables in before.items():
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


@pytest.mark.usefixtures("outspoken")
def test_no_token_signature_or_secret_reaches_any_log(stack: Stack, stack_settings: Settings, issuer: Issuer, ids: dict[str, str]) -> None:
    body = an_image(3)
    project = ids["project_id"]
    sealed = {"sensitive": ["participant"]}
    record = uploaded(
        stack,
        project,
        body,
        stocktake_metadata=json.dumps({"participant": "Ada Lovelace"}),
        stocktake_options=json.dumps(sealed),
    )
    assert call(stack, "GET", f"/objects/{record['object_id']}", 200)["metadata"] == {"participant": "Ada Lovelace"}
    request = begun(stack, project, body)["request"]
    signature = request["url"].partition("X-Amz-Signature=")[2][:64]
    wrong = wrong_tokens(issuer)
    for token in wrong.values():
        stack.api_with(token).get(f"/projects/{project}")
        stack.api_with(token).get("/analytics")
    ring = json.loads(stack.aws("secretsmanager").get_secret_value(SecretId=SEALING_SECRET_NAME)["SecretString"])
    logs = stack.aws("logs")
    said = [
        event["message"]
        for group in logs.describe_log_groups()["logGroups"]
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        for event in page["events"]
    ]
    said += [path.read_text(errors="replace") for path in stack_settings.log.rglob("*.log")]
    everything = "\n".join(said)
    assert everything.count('"problem":"unauthenticated"') >= len(wrong)
    secrets = [stack.token, stack.token.rpartition(".")[2], *(token.rpartition(".")[0] for token in wrong.values() if "." in token)]
    for what in (*secrets, *ring["keys"].values(), signature, "X-Amz-Signature", "Ada Lovelace", "BEGIN PRIVATE"):
        assert what and what not in everything, what[:20]
