"""The JSON the API answers with. Times are RFC 3339 in UTC, sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stocktake.explanations import explained, notes
from stocktake.ledger import Operation


def time(milliseconds: int | None) -> str | None:
    """Writes a time as people and programs read it."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the document with every `..._at`, `as_of` and `last_modified` written as a time, at any depth."""
    return {name: _timed_value(name, value) for name, value in document.items()}


def _timed_value(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return timed(value)
    if isinstance(value, list):
        return [_timed_value("", item) for item in value]
    is_time = name.endswith(("_at", "as_of", "last_modified")) and isinstance(value, int)
    return time(value) if is_time else value


def deletion(operation: Operation, receipt: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Answers with a deletion: where it stands, and its receipt where there is one."""
    document, is_undone = operation.document, operation.status in ("RESTORING", "UNDONE")
    done = "restored" if is_undone else f"done_{document['round']}"
    answer: dict[str, Any] = {
        "deletion_id": operation.operation_id,
        "status": operation.status,
        **{name: document[name] for name in ("project_id", "epoch", "reason", "requested_at", "sweep_at", "round")},
        "mode": document.get("mode", "both"),
        "erases_at": document.get("erases_at"),
        "batches": {"planned": document["restoring" if is_undone else "planned"], "done": operation.counters.get(done, 0)},
        **{name: document[name] for name in ("set_aside", "undone") if name in document},
    }
    return timed(answer if receipt is None else {**answer, "receipt": receipt})


_OWN = frozenset({"cuts", "project_rows", "fence", "spent", "walking_since", "accept_loss"})
"""What a run keeps for itself."""


def run(
    operation: Operation,
    repair: Mapping[str, Any] | None,
    progress: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Answers with a reconciliation: how far it is while it walks, what changed since the one before, and its repair if there is one."""
    shown = {name: value for name, value in operation.document.items() if name not in _OWN}
    answer = {"run_id": operation.operation_id, "status": operation.status, **shown}
    if progress is not None:
        answer["progress"] = progress
    if changes is not None:
        answer |= {"changes": changes, "notes": notes(operation.document["counts"])}
    if repair is not None:
        answer["repair"] = {name: value for name, value in repair.items() if name not in ("cursor", "fence")}
    return timed(answer)


def finding(row: Operation) -> dict[str, Any]:
    """Answers with a finding, what it means and what was done about it."""
    return timed(explained({**row.document, "repair": row.status}))


def acknowledgement(row: Operation) -> dict[str, Any]:
    """Answers with an acknowledgement."""
    shown = {name: value for name, value in row.document.items() if name not in ("fingerprint", "is_marking")}
    return timed({"acknowledgement_id": row.operation_id, "status": row.status, **shown})


def drill(row: Operation) -> dict[str, Any]:
    """Answers with a drill."""
    shown = {name: value for name, value in row.document.items() if name != "etag"}
    return timed({"drill_id": row.operation_id, "status": row.status, **shown})


def drills(rows: Sequence[Operation], now: int) -> dict[str, Any]:
    """Answers with drills, newest first, and with how long ago the newest of them that passed was."""
    passed_at = next((row.document["finished_at"] for row in rows if row.status == "PASSED"), None)
    age = None if passed_at is None else (now - passed_at) // 1000
    return {"drills": [drill(row) for row in rows], "last_passed_at": time(passed_at), "age_seconds": age}


def history(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Answers with the figures of past days and runs; what was not counted yet when they were kept is None."""
    days = [{"acknowledged": None, **day, "at": time(day["at"])} for day in kept["days"]]
    return timed({**kept, "days": days, "runs": [{"acknowledged": None, **run} for run in kept["runs"]]})


def quarantine_entry(entry: Operation) -> dict[str, Any]:
    """Answers with a quarantine entry."""
    shown = {name: value for name, value in entry.document.items() if name not in ("copy_etag", "moving_since", "given_up_at", "was_free")}
    return timed({"entry_id": entry.operation_id, "status": entry.status, **shown})
