"""Every path of the HTTP API: what it needs of the caller's token, and whose project it speaks of. The one table that access, the template
and the OpenAPI document are held to.

A path that is not in this table is nobody's: it is answered as if it were not there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Scope(enum.StrEnum):
    """What a token lets its bearer do. Each stands for itself: an operator who also uploads holds `write` as well."""

    READ = "read"
    WRITE = "write"
    OPERATE = "operate"


class Owner(enum.Enum):
    """Where the project that a request speaks of is found."""

    PATH = enum.auto()  # {project_id} in the path
    BODY = enum.auto()  # `project_id` in the JSON body
    OBJECT = enum.auto()  # the project of {object_id}
    UPLOAD = enum.auto()  # of {upload_id}
    GENERATION = enum.auto()  # of {generation_id}
    DELETION = enum.auto()  # of {deletion_id}
    ALL = enum.auto()  # it speaks of every project, so the token must cover them all
    NONE = enum.auto()  # it speaks of none: documents about the API itself


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `path` is spelled as API Gateway spells it.

    `scope` is None where no token is asked for: the request bears a signature of its own, which the handler checks (`webhook`), or
    the answer is the same for everybody and tells nothing of what is stored (`dashboard`).
    """

    method: str
    path: str
    scope: Scope | None
    owner: Owner

    @property
    def key(self) -> str:
        """API Gateway's RouteKey."""
        return f"{self.method} {self.path}"

    @property
    def names(self) -> frozenset[str]:
        """What the places of the path are called."""
        return frozenset(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


_READ, _WRITE, _OPERATE = Scope.READ, Scope.WRITE, Scope.OPERATE

ROUTES: tuple[Route, ...] = (
    # upload
    Route("POST", "/projects", _WRITE, Owner.BODY),
    Route("GET", "/projects/{project_id}", _READ, Owner.PATH),
    Route("PUT", "/projects/{project_id}/quota", _OPERATE, Owner.PATH),
    Route("POST", "/projects/{project_id}/objects", _WRITE, Owner.PATH),
    Route("GET", "/projects/{project_id}/objects", _READ, Owner.PATH),
    Route("POST", "/projects/{project_id}/objects/batch", _WRITE, Owner.PATH),
    Route("POST", "/projects/{project_id}/imports", _WRITE, Owner.PATH),
    Route("POST", "/projects/{project_id}/uploads", _WRITE, Owner.PATH),
    Route("GET", "/uploads/{upload_id}", _WRITE, Owner.UPLOAD),  # it signs URLs that write
    Route("POST", "/uploads/{upload_id}/parts", _WRITE, Owner.UPLOAD),
    Route("POST", "/uploads/{upload_id}/complete", _WRITE, Owner.UPLOAD),
    Route("DELETE", "/uploads/{upload_id}", _WRITE, Owner.UPLOAD),
    Route("POST", "/projects/{project_id}/generations", _WRITE, Owner.PATH),
    Route("GET", "/projects/{project_id}/generations", _READ, Owner.PATH),
    Route("GET", "/generations/{generation_id}", _READ, Owner.GENERATION),
    Route("PATCH", "/generations/{generation_id}", _WRITE, Owner.GENERATION),
    Route("GET", "/objects/{object_id}", _READ, Owner.OBJECT),
    Route("DELETE", "/objects/{object_id}", _WRITE, Owner.OBJECT),
    Route("GET", "/objects/{object_id}/content", _READ, Owner.OBJECT),
    # object_events
    Route("POST", "/events/r2", None, Owner.NONE),
    # project_deletion
    Route("DELETE", "/projects/{project_id}", _OPERATE, Owner.PATH),
    Route("GET", "/deletions/{deletion_id}", _READ, Owner.DELETION),
    Route("GET", "/deletions/{deletion_id}/receipt", _READ, Owner.DELETION),
    Route("GET", "/deletions/{deletion_id}/remaining", _READ, Owner.DELETION),
    Route("POST", "/deletions/{deletion_id}/verify", _OPERATE, Owner.DELETION),
    Route("POST", "/deletions/{deletion_id}/undo", _OPERATE, Owner.DELETION),
    Route("POST", "/deletions/replay", _OPERATE, Owner.ALL),
    Route("GET", "/diagnostics/projects/{project_id}/discovery", _OPERATE, Owner.PATH),  # its suspects may be another project's
    # reconciliation
    Route("POST", "/reconciliations", _OPERATE, Owner.ALL),
    Route("GET", "/reconciliations", _OPERATE, Owner.ALL),
    Route("GET", "/reconciliations/{run_id}", _OPERATE, Owner.ALL),
    Route("GET", "/reconciliations/{run_id}/findings", _OPERATE, Owner.ALL),
    Route("GET", "/reconciliations/{run_id}/changes", _OPERATE, Owner.ALL),
    Route("GET", "/reconciliations/{run_id}/projects", _OPERATE, Owner.ALL),
    Route("POST", "/reconciliations/{run_id}/export", _OPERATE, Owner.ALL),
    Route("POST", "/reconciliations/{run_id}/apply", _OPERATE, Owner.ALL),
    Route("POST", "/reconciliations/{run_id}/stop", _OPERATE, Owner.ALL),
    Route("GET", "/diagnostics/identity", _OPERATE, Owner.ALL),
    Route("POST", "/reconciliations/{run_id}/plan", _OPERATE, Owner.ALL),
    Route("GET", "/reconciliations/{run_id}/actions", _OPERATE, Owner.ALL),
    Route("POST", "/reconciliations/{run_id}/restore", _OPERATE, Owner.ALL),
    Route("GET", "/acknowledgements", _OPERATE, Owner.ALL),
    Route("DELETE", "/acknowledgements/{acknowledgement_id}", _OPERATE, Owner.ALL),
    Route("GET", "/quarantine", _OPERATE, Owner.ALL),
    Route("POST", "/quarantine/{entry_id}/restore", _OPERATE, Owner.ALL),
    Route("DELETE", "/quarantine/{entry_id}", _OPERATE, Owner.ALL),
    Route("POST", "/quarantine/drill", _OPERATE, Owner.ALL),
    Route("GET", "/quarantine/drills", _OPERATE, Owner.ALL),
    Route("GET", "/diagnostics/conformance", _OPERATE, Owner.ALL),
    # migration
    Route("POST", "/migrations", _OPERATE, Owner.ALL),
    Route("GET", "/migrations", _OPERATE, Owner.ALL),
    Route("GET", "/migrations/{migration_id}", _OPERATE, Owner.ALL),
    Route("POST", "/migrations/{migration_id}/start", _OPERATE, Owner.ALL),
    Route("POST", "/migrations/{migration_id}/stop", _OPERATE, Owner.ALL),
    Route("GET", "/migrations/{migration_id}/results", _OPERATE, Owner.ALL),
    Route("POST", "/exports", _OPERATE, Owner.ALL),
    Route("GET", "/exports/{export_id}", _OPERATE, Owner.ALL),
    # analytics
    Route("GET", "/analytics", _OPERATE, Owner.ALL),
    Route("GET", "/projects/{project_id}/analytics", _READ, Owner.PATH),
    Route("GET", "/analytics/history", _OPERATE, Owner.ALL),
    Route("POST", "/recounts", _OPERATE, Owner.ALL),
    Route("GET", "/recounts", _OPERATE, Owner.ALL),
    Route("GET", "/recounts/{recount_id}", _OPERATE, Owner.ALL),
    Route("GET", "/deletions", _OPERATE, Owner.ALL),
    Route("GET", "/dashboard", None, Owner.NONE),  # the page alone: what it shows it asks for with a token, path by path
    Route("GET", "/openapi.json", _READ, Owner.NONE),
    Route("GET", "/docs", _READ, Owner.NONE),
    # diagnostics
    Route("GET", "/diagnostics", _OPERATE, Owner.ALL),
    Route("GET", "/diagnostics/objects", _OPERATE, Owner.ALL),  # any key of the bucket, and what lies beside it
    Route("POST", "/diagnostics/self-test", _OPERATE, Owner.ALL),
)

BY_TOKEN: tuple[Route, ...] = tuple(route for route in ROUTES if route.scope is not None)
"""The routes that ask for a token: all but those whose requests are signed, and the page that a token is typed into."""
