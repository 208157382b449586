"""What each function's role may do with the tables, as template.yaml grants it, held against what its flows do in these tests.

On the local AWS everybody may everything, so that a right which is missing would be met on AWS first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from stocktake.object_deletion import ObjectDeletions
from stocktake.object_events import ObjectEvents
from stocktake.presigned import PresignedUploads
from stocktake.project_deletion import ProjectDeletions
from stocktake.reconciliation import Reconciliations
from stocktake.repair import Expiry, Repairs, Restorations
from stocktake.upload import Uploads
from tests.conftest import template_resources

ROLES: dict[str, tuple[tuple[type, tuple[str, ...]], ...]] = {
    "UploadRole": (
        (Uploads, ("create_project", "put", "put_many", "set_quota", "import_url")),
        (PresignedUploads, ("begin", "sign_parts", "complete", "abort")),
        (ObjectDeletions, ("delete",)),
    ),
    "UploadTidyRole": ((PresignedUploads, ("tidy",)), (ObjectDeletions, ("tidy",))),
    "ObjectEventsRole": ((ObjectEvents, ("handle",)),),
    "ProjectDeletionApiRole": ((ProjectDeletions, ("request", "verify", "undo", "replay", "diagnose", "remaining", "dry_run")),),
    "ProjectDeletionFanOutRole": ((ProjectDeletions, ("discover", "sweep", "resend", "resume", "set_aside", "restore", "close_windows")),),
    "ProjectDeletionWorkerRole": ((ProjectDeletions, ("work",)),),
    "ReconciliationApiRole": (
        (Reconciliations, ("request", "estimate", "stop", "findings")),
        (Repairs, ("plan", "request", "actions")),
        (Restorations, ("request", "restore")),
        (Expiry, ("purge_early",)),
    ),
    "ReconciliationStepRole": (
        (Reconciliations, ("plan", "plan_again", "walk", "summarise", "fail", "sort_inventory")),
        (Repairs, ("step", "fail")),
        (Restorations, ("step", "fail")),
        (Expiry, ("purge",)),
    ),
}
"""Who calls what, as the handlers do. None of these calls another of another role."""
_TABLES = {"ObjectsTable": "objects", "ProjectsTable": "projects", "OperationsTable": "operations"}
_WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
_role: ContextVar[str | None] = ContextVar("role", default=None)

Call = Callable[[str, dict[str, Any]], Any]
Grant = tuple[str, str, str | None]
"""An action, a table, and the index it is of, if any."""


def checked(call: Call) -> Call:
    """Makes a client's call fail where the role at work may not make it."""

    def may(operation: str, request: dict[str, Any]) -> Any:
        if (role := _role.get()) is not None and (refused := _needed(operation, request) - _granted()[role]):
            raise AssertionError(f"{role} of template.yaml may not do {sorted(refused, key=str)}")
        return call(operation, request)

    return may


@contextmanager
def roles_at_work() -> Iterator[None]:
    """Lets the flows be done by the roles of their functions."""
    with pytest.MonkeyPatch.context() as patch:
        for role, flows in ROLES.items():
            for flow, names in flows:
                for name in names:
                    patch.setattr(flow, name, _as(role, getattr(flow, name)))
        yield


def _as(role: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def acting(*args: Any, **kwargs: Any) -> Any:
        before = _role.set(role)
        try:
            return method(*args, **kwargs)
        finally:
            _role.reset(before)

    return acting


def _needed(operation: str, request: dict[str, Any]) -> set[Grant]:
    if operation == "TransactWriteItems":
        writes = [next(iter(item.items())) for item in request["TransactItems"]]
        return {(_WRITES[kind], body["TableName"], None) for kind, body in writes}
    if operation == "BatchGetItem":
        return {(operation, table, None) for table in request["RequestItems"]}
    return {(operation, request["TableName"], request.get("IndexName"))}


@functools.cache
def _granted() -> dict[str, set[Grant]]:
    return {role: set(_grants_of(template_resources()[role]["Properties"])) for role in ROLES}


def _grants_of(role: dict[str, Any]) -> Iterator[Grant]:
    for policy in role["Policies"]:
        if policy is None:
            continue  # one that a condition adds, of buckets
        for statement in policy["PolicyDocument"]["Statement"]:
            actions, resources = _listed(statement["Action"]), _listed(statement["Resource"])
            for resource in resources if "LeadingKeys" not in str(statement.get("Condition")) else ():
                table = next((name for logical, name in _TABLES.items() if logical in resource), None)
                if table is not None:
                    index = resource.partition("/index/")[2] or None
                    yield from ((action.removeprefix("dynamodb:"), table, index) for action in actions)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
