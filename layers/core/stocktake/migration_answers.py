"""The JSON the migration function answers with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stocktake.answers import timed
from stocktake.upload_answers import signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stocktake.ledger import Operation
    from stocktake.migration.exports import Exports
    from stocktake.migration.steps import Migrations

_SHOWN = ("source", "project_id", "batch", "dry_run", "create_projects", "phase", "run", "requested_at", "started_at", "ended_at", "why")


def migration(flow: Migrations, operation: Operation, now: int) -> dict[str, Any]:
    """Answers with a migration: where it stands, the numbers of its run, and the PUT of the file it waits for."""
    document = operation.document
    upload = flow.upload(operation)
    return {
        **listed_migration(flow, operation),
        "remaining": flow.remaining(operation),
        "per_second": _rate(flow, operation, now),
        "upload": signed(upload) if upload else None,
        "expected": document["expected"],
    }


def listed_migration(flow: Migrations, operation: Operation) -> dict[str, Any]:
    """Answers with a migration among others."""
    shown = {name: operation.document[name] for name in _SHOWN}
    answer = timed({"migration_id": operation.operation_id, "status": operation.status, **shown})
    return {**answer, "totals": flow.totals(operation)}


def export(flow: Exports, operation: Operation) -> dict[str, Any]:
    """Answers with an export, and with its files once it is whole."""
    document = operation.document
    files: Sequence[dict[str, Any]] = document["files"]
    shown = {name: document[name] for name in ("project_id", "run_id", "format", "contents", "requested_at", "ended_at", "why")}
    return {
        **timed({"export_id": operation.operation_id, "status": operation.status, **shown}),
        "lines": sum(file["lines"] for file in files),
        "bytes": sum(file["bytes"] for file in files),
        "files": [{"url": file.url, "lines": file.lines, "bytes": file.bytes, "sha256": file.sha256} for file in flow.files(operation)],
    }


def _rate(flow: Migrations, operation: Operation, now: int) -> float | None:
    document = operation.document
    if document["started_at"] is None:
        return None
    seconds = ((document["ended_at"] or now) - document["started_at"]) / 1000
    worked_on = sum(totals["seen"] for totals in flow.totals(operation).values())
    return round(worked_on / seconds, 1) if seconds > 0 else None
