"""May: the one place that decides whether a caller's token allows a request.

A request is let through by its token, then by the scope its route needs, then by the project it speaks of; what it says in its body is
read by nobody before that. What another project has looks as if it were not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from stocktake.errors import (
    Forbidden,
    GenerationNotFound,
    InvalidRequest,
    NoSuchRoute,
    NotFound,
    ObjectNotFound,
    OperationNotFound,
    ProjectNotFound,
    UploadNotFound,
)
from stocktake.requests import distinct, read_id
from stocktake.routes import ROUTES, Owner, Route

if TYPE_CHECKING:
    from stocktake.tokens import Caller, Tokens

_BY_KEY = {route.key: route for route in ROUTES}

_ABSENT: Mapping[Owner, tuple[str, Callable[[str], NotFound]]] = {
    Owner.OBJECT: ("object_id", ObjectNotFound.of),
    Owner.UPLOAD: ("upload_id", UploadNotFound.of),
    Owner.GENERATION: ("generation_id", GenerationNotFound.of),
    Owner.DELETION: ("deletion_id", OperationNotFound.of_deletion),
}
"""By what a path names a thing, and what is answered where there is no such thing."""


class Access:
    """Who may do what in one deployment.

    Args:
        tokens: says who a caller is.
        project_of: finds the project of an object, upload, generation or deletion by its id; None where there is none.
    """

    def __init__(self, tokens: Tokens, project_of: Mapping[Owner, Callable[[str], str | None]]) -> None:
        self._tokens = tokens
        self._project_of = project_of

    def admit(self, authorization: str | None, route_key: str, ids: Mapping[str, str], body: Callable[[], str | None]) -> Caller | None:
        """Lets a request through; returns its caller, None where the route asks for no token.

        Args:
            authorization: the header.
            route_key: method and path of the route that will answer, as in `routes`.
            ids: what stands in the places of that path.
            body: reads the body, which is asked for only where it names the project.

        Raises:
            Unauthenticated: there is no token, or it is not good.
            KeysUnavailable: that cannot be told now.
            NoSuchRoute: the route is in no table.
            Forbidden: the token lacks the scope, or is not for the projects that the request speaks of.
            NotFound: there is no such thing, or it is another project's: the two cannot be told apart.
            InvalidRequest: an id is none.
        """
        route = _BY_KEY.get(route_key)
        if route is not None and route.scope is None:
            return None  # its handler checks a signature, or has nothing to hide
        caller = self._tokens.caller(authorization)
        # the path itself may have been spelled as the table spells it
        if route is None or route.scope is None or not route.names <= ids.keys():
            raise NoSuchRoute.of()
        caller.require(route.scope)
        if caller.projects is not None:
            self._check_project(caller, route, ids, body)
        return caller

    def _check_project(self, caller: Caller, route: Route, ids: Mapping[str, str], body: Callable[[], str | None]) -> None:
        match route.owner:
            case Owner.NONE:
                return
            case Owner.PATH:
                project_id = read_id(ids["project_id"])
                if not caller.covers(project_id):
                    raise ProjectNotFound.of(project_id)
            case Owner.BODY:
                named = _named_project(body())
                if named is None or not caller.covers(named):
                    raise Forbidden("the token is not for that project: name one of its own as project_id")
            case Owner.OBJECT | Owner.UPLOAD | Owner.GENERATION | Owner.DELETION as owner:
                name, absent = _ABSENT[owner]
                wanted = read_id(ids[name])
                found = self._project_of[owner](wanted)
                if found is None or not caller.covers(found):
                    raise absent(wanted)
            case _:  # ALL, and whatever is added without a thought
                raise Forbidden('this speaks of every project: it takes a token whose projects are "*"')


def _named_project(body: str | None) -> str | None:
    """Reads which project a body names; None where none can be read, so that the request is refused."""
    try:
        document = json.loads(body or "{}", object_pairs_hook=distinct)
    except (ValueError, RecursionError, InvalidRequest):
        return None
    named = document.get("project_id") if isinstance(document, dict) else None
    return named if isinstance(named, str) else None
