"""Every route, through its handler: without a token, with a wrong one, with too little, and with another project's."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

import analytics
import diagnostics
import migration
import project_deletion
import reconciliation
import upload
from stocktake import dashboard, sign_in
from stocktake.routes import BY_TOKEN, Owner, Route, Scope
from stocktake.services import Services
from tests.functions.conftest import DELETION_ID, EVENTS, GENERATION_ID, OBJECT_ID, UPLOAD_ID, Scene, context, event, stock
from tests.issuer import a_token, bearer, issuer
from tests.template.test_routes import handled
from tests.unit.test_edges import ENVIRONMENT

HANDLERS = {
    key: handler
    for module, handler in (
        (upload, upload.handler),
        (project_deletion, project_deletion.api_handler),
        (reconciliation, reconciliation.api_handler),
        (migration, migration.api_handler),
        (analytics, analytics.handler),
        (diagnostics, diagnostics.handler),
    )
    for key in handled(module.api)
}
IDS = {
    "project_id": "proj_sunset",
    "object_id": OBJECT_ID,
    "upload_id": UPLOAD_ID,
    "generation_id": GENERATION_ID,
    "deletion_id": DELETION_ID,
    "run_id": "01KAHRUN000000000000000000",
    "acknowledgement_id": "acknowledged-0123456789abcdef0123456789abcdef",
    "entry_id": "01KAHENTRY0000000000000000",
    "migration_id": "01KAHMIGRAT10N000000000000",
    "export_id": "01KAHEXP0RT000000000000000",
    "recount_id": "01KAHREC0VNT00000000000000",
}
EVERY_SCOPE = tuple(scope.value for scope in Scope)

every_route = pytest.mark.parametrize("route", BY_TOKEN, ids=lambda route: route.key)


def asked(route: Route, headers: dict[str, str], body: str = "{", **ids: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Calls a route as HTTP would, by default with a body that nobody could read; returns status, problem or document, and headers."""
    path = route.path
    for name in route.names:
        path = path.replace(f"{{{name}}}", {**IDS, **ids}[name])
    document = stock("upload/get_project") | {"routeKey": route.key, "rawPath": path, "body": body, "isBase64Encoded": False}
    document["headers"] |= {"content-type": "application/json", **headers}
    document["requestContext"]["http"] |= {"method": route.method, "path": path}
    answer = HANDLERS[route.key](document, context())
    document = json.loads(answer["body"]) if "json" in answer["headers"].get("Content-Type", "") else {}
    return answer["statusCode"], document, answer["headers"]


class Closed:
    """A deployment of which nothing but who may is ever asked."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.access = Services({**ENVIRONMENT, **settings}).access


@pytest.fixture(scope="module")
def closed(issuing: dict[str, str]) -> Closed:
    return Closed(issuing)


@pytest.fixture
def nothing_asked(closed: Closed, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (upload, project_deletion, reconciliation, migration, analytics, diagnostics):
        monkeypatch.setattr(module, "services", closed)


@every_route
@pytest.mark.usefixtures("nothing_asked")
def test_without_a_token_no_route_does_anything(route: Route) -> None:
    status, problem, headers = asked(route, {})
    assert (status, problem["type"], headers["WWW-Authenticate"]) == (401, "urn:stocktake:problem:unauthenticated", "Bearer")


@every_route
@pytest.mark.usefixtures("nothing_asked")
def test_a_wrong_token_opens_no_route(route: Route) -> None:
    status, problem, headers = asked(route, bearer(a_token()[:-9] + "AAAAAAAAA"))
    assert (status, problem["type"]) == (401, "urn:stocktake:problem:unauthenticated")
    assert headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@every_route
@pytest.mark.usefixtures("nothing_asked")
def test_a_token_without_the_scope_is_told_which(route: Route) -> None:
    others = tuple(scope for scope in EVERY_SCOPE if scope != route.scope)
    status, problem, headers = asked(route, bearer(a_token(*others)))
    assert (status, problem["type"]) == (403, "urn:stocktake:problem:forbidden")
    assert headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{route.scope}"'


@pytest.mark.parametrize(
    "route", [route for route in BY_TOKEN if route.owner in (Owner.PATH, Owner.ALL, Owner.BODY)], ids=lambda route: route.key
)
@pytest.mark.usefixtures("nothing_asked")
def test_a_token_for_another_project_is_refused_before_anything_is_read(route: Route) -> None:
    status, problem, _ = asked(route, bearer(a_token(*EVERY_SCOPE, projects=("other",))))
    if route.owner is Owner.PATH:
        assert (status, problem["type"]) == (404, "urn:stocktake:problem:project-not-found")
        assert problem["detail"] == "there is no project 'proj_sunset': create it first"
    else:
        assert (status, problem["type"]) == (403, "urn:stocktake:problem:forbidden")


def test_what_another_project_has_looks_as_if_it_were_not_there(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.services.new_id", lambda at: DELETION_ID)
    scene.an_object()
    scene.an_upload("begin_upload", UPLOAD_ID)
    scene.a_generation()
    mine, theirs = (bearer(a_token(*EVERY_SCOPE, projects=(project,))) for project in ("sunset", "other"))
    of_what_is_there = [route for route in BY_TOKEN if route.owner in (Owner.OBJECT, Owner.UPLOAD, Owner.GENERATION)]
    of_deletions = [route for route in BY_TOKEN if route.owner is Owner.DELETION]
    for routes in (of_what_is_there, of_deletions):
        if routes is of_deletions:  # of a project that is being deleted, nothing is shown
            scene.services.project_deletions.request("proj_sunset", reason=None)
        for route in routes:
            (name,) = route.names
            nobodys = f"{IDS[name][:-1]}X"
            hidden, absent = asked(route, theirs), asked(route, theirs, **{name: nobodys})
            assert json.dumps(hidden).replace(IDS[name], nobodys) == json.dumps(absent), route.key
            assert (hidden[0], asked(route, mine)[0]) != (404, 404), route.key


def test_a_deleted_object_of_another_project_leaves_no_trace_either(scene: Scene) -> None:
    scene.an_object()
    scene.services.object_deletions.delete(OBJECT_ID)
    route = next(route for route in BY_TOKEN if route.key == "GET /objects/{object_id}")
    assert asked(route, bearer(a_token("read", projects=("sunset",))), body="")[0] == 410
    assert asked(route, bearer(a_token("read", projects=("other",))), body="")[0] == 404


def test_a_caller_of_one_project_opens_and_uses_it_and_no_other(scene: Scene) -> None:
    token = bearer(a_token("read", "write", projects=("garden",)))

    def sent(case: str, **changes: Any) -> int:
        document = event(f"upload/{case}") | changes
        document["headers"] |= token
        status: int = upload.handler(document, context())["statusCode"]
        return status

    assert sent("create_project", body=json.dumps({"project_id": "proj_garden"})) == 201
    assert sent("put_raw", rawPath="/projects/garden/objects") == 201
    assert sent("list_objects", rawPath="/projects/garden/objects") == 200
    assert sent("create_project", body=json.dumps({"project_id": "meadow"})) == 403
    assert sent("put_raw") == 404


def test_who_may_only_write_opens_a_project_and_names_no_quota_of_it(scene: Scene) -> None:
    [route] = [route for route in BY_TOKEN if route.key == "POST /projects"]
    writer = bearer(a_token("write", projects=("dawn",)))
    status, _, headers = asked(route, writer, body=json.dumps({"project_id": "dawn", "quota": {"objects": None}}))
    assert (status, headers["WWW-Authenticate"]) == (403, 'Bearer error="insufficient_scope", scope="operate"')
    assert asked(route, writer, body=json.dumps({"project_id": "dawn"}))[0] == 201
    assert asked(route, bearer(), body=json.dumps({"project_id": "dusk", "quota": {"objects": 3}}))[0] == 201


@pytest.mark.parametrize("name", sorted(str(path.relative_to(EVENTS))[:-5] for path in EVENTS.rglob("*.json")))
@pytest.mark.usefixtures("nothing_asked")
def test_an_event_file_brings_no_token_and_is_refused(name: str) -> None:
    document = stock(name)
    if document.get("routeKey") in {route.key for route in BY_TOKEN}:
        assert "authorization" not in document["headers"]
        handler: Callable[..., dict[str, Any]] = HANDLERS[document["routeKey"]]
        assert handler(document, context())["statusCode"] == 401


@pytest.mark.usefixtures("nothing_asked")
def test_a_path_of_no_route_is_told_to_callers_alone() -> None:
    document = stock("upload/get_project") | {"rawPath": "/nothing/here"}
    assert upload.handler(document, context())["statusCode"] == 401
    document["headers"] |= bearer()
    answer = upload.handler(document, context())
    assert (answer["statusCode"], json.loads(answer["body"])["type"]) == (404, "urn:stocktake:problem:no-such-route")


def test_keys_that_cannot_be_fetched_close_every_route_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "services", Closed({"TOKEN_JWKS_URL": "http://127.0.0.1:9/keys"}))
    status, problem, headers = asked(BY_TOKEN[0], bearer())
    assert (status, problem["type"], headers["Retry-After"]) == (503, "urn:stocktake:problem:keys-unavailable", "5")


def test_a_function_without_an_issuer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "services", Services({**ENVIRONMENT, "TOKEN_ISSUER": ""}))
    status, problem, _ = asked(BY_TOKEN[0], bearer())
    assert (status, problem["type"]) == (500, "urn:stocktake:problem:configuration")


# a browser


def browsed(case: str, **headers: str) -> dict[str, Any]:
    document = stock(f"analytics/{case}")
    document["headers"] |= {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", **headers}
    answer: dict[str, Any] = analytics.handler(document, context())
    return answer


@pytest.mark.usefixtures("nothing_asked")
def test_a_browser_without_a_token_is_given_a_field_for_one() -> None:
    answer = browsed("docs")
    assert (answer["statusCode"], answer["headers"]["WWW-Authenticate"]) == (401, "Bearer")
    assert answer["headers"]["Content-Type"] == "text/html; charset=utf-8"
    assert answer["body"] == sign_in.PAGE
    policy = answer["headers"]["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "connect-src 'self'" in policy
    assert "http" not in sign_in.PAGE  # nothing comes from elsewhere


@pytest.mark.usefixtures("nothing_asked")
def test_a_wrong_token_is_told_so_as_any_client_is() -> None:
    answer = browsed("docs", authorization="Bearer hunter2")
    assert (answer["statusCode"], answer["headers"]["Content-Type"]) == (401, "application/problem+json")


def test_the_dashboard_is_the_same_page_for_everybody_and_holds_nothing_of_what_is_stored(scene: Scene) -> None:
    scene.an_object()
    pages = [browsed("dashboard", **headers)["body"] for headers in ({}, bearer(a_token("operate")), {"authorization": "Bearer hunter2"})]
    assert pages == [dashboard.page()] * 3
    assert "proj_sunset" not in pages[0]


# logs


def test_no_token_and_no_signature_is_logged(scene: Scene) -> None:
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(upload.logger.registered_formatter)
    ours = [logging.getLogger(module.logger.name) for module in (upload, project_deletion, reconciliation, analytics)]
    levels = [logger.level for logger in ours]
    for logger in (logging.getLogger(), *ours):
        logger.addHandler(handler)
    for logger in ours:
        logger.setLevel(logging.DEBUG)  # as LogLevel=DEBUG does
    wrong = [f"{a_token()[:-9]}AAAAAAAAA", issuer().token(hours=-1), "hunter2hunter2"]
    try:
        for token in (*wrong, a_token()):
            for route in BY_TOKEN:
                asked(route, bearer(token))
        for case in ("put_options", "begin_upload"):
            assert upload.handler(event(f"upload/{case}"), context())["statusCode"] == 201
        project_deletion.api_handler(event("project_deletion/delete_project"), context())
    finally:
        for logger in (logging.getLogger(), *ours):
            logger.removeHandler(handler)
        for logger, level in zip(ours, levels, strict=True):
            logger.setLevel(level)
    logged = lines.getvalue()
    assert logged.count("refused") > len(BY_TOKEN) * len(wrong)
    assert '"subject":"developer"' in logged  # who asked for a deletion is noted here, and nowhere else
    secrets = [part for token in (*wrong, a_token()) for part in token.split(".")]
    assert [secret for secret in (*secrets, "X-Amz-Signature", "Bearer ey", "Ada Lovelace") if secret in logged] == []
