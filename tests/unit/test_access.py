"""May: every route of the table, for callers who may, may not, and may elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn, cast

import pytest

from stocktake.access import Access
from stocktake.errors import (
    Forbidden,
    GenerationNotFound,
    InvalidRequest,
    NoSuchRoute,
    NotFound,
    ObjectNotFound,
    OperationNotFound,
    ProjectNotFound,
    Unauthenticated,
    UploadNotFound,
)
from stocktake.routes import BY_TOKEN, ROUTES, Owner, Route, Scope
from stocktake.tokens import Caller, Tokens

ALL_SCOPES = frozenset(Scope)
THINGS = (Owner.OBJECT, Owner.UPLOAD, Owner.GENERATION, Owner.DELETION)
ABSENT: dict[Owner, type[NotFound]] = {
    Owner.PATH: ProjectNotFound,
    Owner.OBJECT: ObjectNotFound,
    Owner.UPLOAD: UploadNotFound,
    Owner.GENERATION: GenerationNotFound,
    Owner.DELETION: OperationNotFound,
}


def a_caller(*projects: str, scopes: frozenset[Scope] = ALL_SCOPES) -> Caller:
    """Makes a caller; of every project when none is named."""
    return Caller("https://issuer.example", "ada", scopes, frozenset(projects) or None)


def unread() -> NoReturn:
    raise AssertionError("the body was read")


def unasked(identity: str) -> NoReturn:
    raise AssertionError("the ledger was asked")


def admitted(
    caller: Caller | Unauthenticated,
    route: Route,
    *,
    ids: dict[str, str] | None = None,
    owner: Callable[[str], str | None] = unasked,
    body: Callable[[], str | None] = unread,
) -> Caller | None:
    class Told:
        def caller(self, authorization: str | None) -> Caller:
            assert authorization == "Bearer t"
            if isinstance(caller, Unauthenticated):
                raise caller
            return caller

    access = Access(cast(Tokens, Told()), dict.fromkeys(THINGS, owner))
    return access.admit("Bearer t", route.key, dict.fromkeys(route.names, "x1") if ids is None else ids, body)


def nothing() -> None:
    return None


def named(project_id: Any) -> Callable[[], str]:
    return lambda: json.dumps({"project_id": project_id})


every_route = pytest.mark.parametrize("route", BY_TOKEN, ids=lambda route: route.key)


def of(*owners: Owner) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", [route for route in BY_TOKEN if route.owner in owners], ids=lambda route: route.key)


@every_route
def test_no_route_is_open_to_who_has_no_good_token(route: Route) -> None:
    with pytest.raises(Unauthenticated):
        admitted(Unauthenticated("no"), route)


@every_route
def test_a_route_takes_its_own_scope_and_no_other(route: Route) -> None:
    assert route.scope is not None
    caller = a_caller(scopes=frozenset({route.scope}))
    assert admitted(caller, route) is caller
    with pytest.raises(Forbidden, match=f"scope {route.scope}") as refused:
        admitted(a_caller(scopes=ALL_SCOPES - {route.scope}), route)
    assert refused.value.scope == route.scope


def test_only_what_is_signed_and_the_page_that_a_token_is_typed_into_are_let_through_without_one() -> None:
    without = [route for route in ROUTES if route not in BY_TOKEN]
    assert [route.key for route in without] == ["POST /events/r2", "GET /dashboard"]
    assert [admitted(Unauthenticated("no"), route) for route in without] == [None, None]


@every_route
def test_whoever_may_all_projects_costs_no_question(route: Route) -> None:
    everywhere = a_caller()
    assert admitted(everywhere, route, owner=unasked, body=unread) is everywhere


@of(Owner.PATH)
@pytest.mark.parametrize("spelled", ["x1", "proj_x1", "proj_proj_x1", "proj%5Fx1"])
def test_a_project_in_the_path_must_be_one_of_the_tokens(route: Route, spelled: str) -> None:
    admitted(a_caller("x1"), route, ids={"project_id": spelled})
    with pytest.raises(ProjectNotFound, match="there is no project"):
        admitted(a_caller("x10"), route, ids={"project_id": spelled})


@of(*THINGS)
def test_a_thing_must_be_of_one_of_the_tokens_projects(route: Route) -> None:
    asked: list[str] = []

    def owner(identity: str) -> str:
        asked.append(identity)
        return "proj_x1"

    (name,) = route.names
    admitted(a_caller("x1"), route, ids={name: "01%20K"}, owner=owner)
    assert asked == ["01 K"]


@of(*THINGS)
def test_another_projects_thing_cannot_be_told_from_one_that_is_not_there(route: Route) -> None:
    refused = []
    for owner in (lambda identity: "theirs", lambda identity: None):
        with pytest.raises(ABSENT[route.owner]) as answer:
            admitted(a_caller("x1"), route, owner=owner)
        refused.append((type(answer.value), str(answer.value)))
    assert refused[0] == refused[1]


@of(Owner.ALL)
def test_what_speaks_of_every_project_takes_a_token_for_every_project(route: Route) -> None:
    with pytest.raises(Forbidden, match="every project") as refused:
        admitted(a_caller("x1"), route)
    assert refused.value.scope is None


@of(Owner.BODY)
def test_a_project_in_the_body_must_be_one_of_the_tokens(route: Route) -> None:
    admitted(a_caller("x1"), route, body=named("proj_x1"))
    bodies = [
        named("x2"),
        named(7),
        named(["x1"]),
        named(None),
        lambda: None,
        lambda: "{",
        lambda: "[]",
        lambda: '"x1"',
        lambda: "[" * 99999,
    ]
    for body in (*bodies, lambda: '{"project_id": "x2", "project_id": "x1"}'):
        with pytest.raises(Forbidden, match="not for that project"):
            admitted(a_caller("x1"), route, body=body)


def test_a_token_for_no_project_is_for_none() -> None:
    nobody = Caller("https://issuer.example", "ada", ALL_SCOPES, frozenset())
    for route in BY_TOKEN:
        if route.owner is not Owner.NONE:
            with pytest.raises((Forbidden, NotFound)):
                admitted(nobody, route, owner=lambda identity: "x1", body=named("x1"))


@pytest.mark.parametrize(
    "key", ["GET /nothing", "HEAD /projects/{project_id}", "OPTIONS /projects", "GET /projects/{object_id}", "get /analytics"]
)
def test_a_route_in_no_table_is_closed(key: str) -> None:
    method, _, path = key.partition(" ")
    for caller in (a_caller(), a_caller("x1")):
        with pytest.raises(NoSuchRoute):
            admitted(caller, Route(method, path, Scope.READ, Owner.NONE))


@every_route
def test_a_path_that_is_spelled_as_the_table_spells_it_is_no_route(route: Route) -> None:
    if route.names:
        for caller in (a_caller(), a_caller("x1")):
            with pytest.raises(NoSuchRoute):
                admitted(caller, route, ids={})


@of(Owner.PATH, *THINGS)
def test_an_id_that_is_longer_than_any_asks_nobody(route: Route) -> None:
    with pytest.raises(InvalidRequest):
        admitted(a_caller("x1"), route, ids=dict.fromkeys(route.names, "x" * 256))
