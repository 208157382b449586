"""Answers of the API, as short as the commands need them."""

from __future__ import annotations

from typing import Any

STATES = ("PENDING", "STORED", "INLINE", "EXTERNAL", "MISSING", "QUARANTINED")
CLASSES = ("orphan", "missing", "mismatch", "unstored", "unknown")


def tally(objects: int = 0, size: int | None = None) -> dict[str, int]:
    return {"objects": objects, "bytes": objects * 100 if size is None else size}


def counts(*, stored: int = 15, missing: int = 4, bucket: int | None = 15, **findings: int) -> dict[str, Any]:
    by_state = {state: tally() for state in STATES} | {"STORED": tally(stored), "MISSING": tally(missing)}
    counted = None if bucket is None else {**tally(bucket), "run_id": "run-1", "counted_at": "2026-11-18T12:00:00.000Z"}
    return {
        "as_of": "2026-11-18T12:00:01.000Z",
        "records": tally(stored + missing),
        "stored": tally(stored),
        "counts": by_state,
        "bucket": counted,
        "drift": None if bucket is None else tally(bucket - stored),
        "findings": None if bucket is None else {name: tally(findings.get(name, 0)) for name in CLASSES},
        "projects": [{"project_id": "p1", "state": "ACTIVE", "counts": by_state}],
        "projects_in_all": 1,
    }


def run(run_id: str = "run-1", status: str = "COMPLETE", **found: int) -> dict[str, Any]:
    seen = {"bucket": tally(20), "matched": tally(15)} | {name: tally(count) for name, count in found.items()}
    return {"run_id": run_id, "status": status, "started_at": "2026-11-18T12:00:00.000Z", "grace_ms": 1, "counts": seen, "why": None}


def finding(key: str, finding_class: str = "orphan") -> dict[str, Any]:
    return {
        "key": key,
        "class": finding_class,
        "kind": "active",
        "bytes": 3,
        "repair": "FOUND",
        "meaning": "It differs.",
        "recommended": "Adopt it.",
    }


def project(project_id: str = "p1", deletion_id: str | None = None) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "state": "ACTIVE",
        "epoch": 1,
        "created_at": "2026-11-18T12:00:00.000Z",
        "metadata": {},
        "quota": None,
        "deletion_id": deletion_id,
    }


def preview(*keys: str, cursor: str | None = None) -> dict[str, Any]:
    return {
        **tally(len(keys)),
        "by_layout": {"current": tally(len(keys))},
        "by_source": {"listing": tally(len(keys))},
        "project_id": "p1",
        "dry_run": True,
        "complete": cursor is None,
        "keys": list(keys),
        "suspect_objects": 0,
        "suspects": [],
        "cursor": cursor,
    }


def suspects(count: int) -> dict[str, Any]:
    lines = [{"key": f"s{number}", "bytes": 1, "why": "no layout explains it"} for number in range(count)]
    return {"suspect_objects": count, "suspects": lines}


def deletion(status: str = "REQUESTED", *, left: int = 0, suspected: int = 0) -> dict[str, Any]:
    begun = {
        "deletion_id": "del-1",
        "status": status,
        "project_id": "p1",
        "requested_at": "2026-11-18T12:00:00.000Z",
        "sweep_at": "2026-11-18T13:00:00.000Z",
        "batches": {"planned": 1, "done": 1},
    }
    if status not in ("DELETED", "INCOMPLETE"):
        return begun
    receipt = {
        **tally(3),
        "status": status,
        "records": 3,
        "versions": 0,
        "remaining_objects": left,
        **suspects(suspected),
        "listings": [{"layout": "current", "prefix": "projects/p1/", "objects": left}],
        "remaining": [{"key": f"k{number}", "bytes": 1, "why": "refused"} for number in range(left)],
    }
    return {**begun, "receipt": receipt}


def migration(status: str = "COMPLETE", *, done: int = 2, failed: int = 0) -> dict[str, Any]:
    totals = {"seen": done + failed, "done": done, "skipped": 0, "failed": failed, "bytes": 10}
    return {
        "migration_id": "mig-1",
        "status": status,
        "phase": "migrate",
        "totals": {"migrate": totals},
        "remaining": {"lines": None, "records": 0},
        "per_second": 2.5,
        "why": None,
        "upload": {"method": "PUT", "url": "https://store.example.com/f", "headers": {"content-length": "3"}},
    }


def planned(status: str = "READY", *, plan_id: str = "plan-1", **actions: tuple[str, int]) -> dict[str, Any]:
    lines = [
        {"class": name, "action": action, "count": count, "bytes": count, "deferred": {"count": 0, "bytes": 0}, "skipped": {}}
        for name, (action, count) in actions.items()
    ]
    return {"plan_id": plan_id, "run_id": "run-1", "status": status, "actions": lines}
