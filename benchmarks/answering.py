"""What the dashboard asks first, of a ledger that counts a million records of a thousand projects and keeps ten thousand findings.

The CPU that the answers take us; the ledger's server is a process of its own. A function of one core answers no sooner than that, and
waits beside it for DynamoDB: four pages of 1 MB at a time for the counts, one or four pages for the findings.
"""

from __future__ import annotations

import json
import os
import shutil
from itertools import batched
from typing import Any

import botocore.session

from benchmarks.dynamodb import dynamodb, made_tables
from benchmarks.figures import Figure, cpu_seconds
from stocktake import answers
from stocktake.analytics import Analytics
from stocktake.explanations import explained
from stocktake.findings import Finding
from stocktake.ids import now_ms
from stocktake.ledger import Ledger, Operations, Tables
from stocktake.model import FindingClass, StoredObject
from stocktake.reconciliation.selection import Wanted, selected
from stocktake.reconciliation.walking import finding_part
from tools.stack import Settings
from tools.stack.processes import free_ports
from tools.stack.settings import ACCESS_KEY_ID, ROOT, SECRET_ACCESS_KEY

PROJECTS = 1000
SHARDS = 16
OBJECTS_PER_ROW = 1_000_000 // PROJECTS // SHARDS
CELLS = ("l:current", "t:image/png", "t:image/webp", "p:0", "p:1", "u:0", "u:1")
FINDINGS = 10_000
SHOWN = 50
RUN = "run"


def figures() -> list[Figure]:
    """Measures CPU seconds an answer."""
    home = ROOT / ".local" / "bench"
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home, port=free_ports(1))
    settings.log.mkdir(parents=True)
    server = dynamodb(settings)
    os.environ.setdefault("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)  # the server takes any
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    server.start()
    try:
        made = made_tables(settings, botocore.session.get_session())
        _fill(made)
        operations = Operations(made)
        analytics = Analytics(Ledger(made, shards=SHARDS), operations, now=now_ms)

        def overview() -> None:
            answer = analytics.overall()
            assert (answer["projects_in_all"], answer["stored"]["objects"]) == (PROJECTS, PROJECTS * SHARDS * OBJECTS_PER_ROW), answer
            json.dumps(answers.timed(answer))

        def findings(wanted: Wanted, shown: int) -> None:
            rows, _ = selected(operations, RUN, wanted, SHOWN, None)
            assert len(rows) == shown, len(rows)
            json.dumps([answers.timed(explained({**row.document, "repair": row.status})) for row in rows])

        what = f"GET /analytics, {PROJECTS:,} projects and 1,000,000 records"
        of = f"of {FINDINGS:,} findings"
        return [
            Figure(what, cpu_seconds(overview), "CPU s", 1, "lower"),
            Figure(f"a page {of}", cpu_seconds(lambda: findings(Wanted(), SHOWN)), "CPU s", 1, "lower"),
            Figure(f"a page {of}, by a filter that none passes", cpu_seconds(lambda: findings(Wanted(kind="no"), 0)), "CPU s", 1, "lower"),
        ]
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def _fill(made: Tables) -> None:
    counted: dict[str, int] = {f"{cell}:{measure}": OBJECTS_PER_ROW for cell in CELLS for measure in "obOB"}
    numbers = {"stored_objects": OBJECTS_PER_ROW, "stored_bytes": OBJECTS_PER_ROW, "epoch": 1, "writes": OBJECTS_PER_ROW, **counted}
    names = json.dumps({"provider": ["one", "two"], "purpose": ["three", "four"]})
    rows: list[dict[str, Any]] = []
    for project in (f"project-{number:04d}" for number in range(PROJECTS)):
        own = {"project": project, "part": "project", "project_id": project, "state": "ACTIVE", "metadata": "{}", "names": names}
        rows.append(_raw(own, {"epoch": 1, "created_at": 1}))
        rows += (_raw({"project": project, "part": f"counts#{shard:02x}", "state": "ACTIVE"}, numbers) for shard in range(SHARDS))
    _write(made, "projects", rows)
    found: list[dict[str, Any]] = []
    for number in range(FINDINGS):
        key = f"projects/project-{number % PROJECTS:04d}/2026/11/{number:026d}.png"
        stored = StoredObject(key, size=1000, etag="0" * 32, last_modified=1, content_type="image/png", metadata={})
        finding = Finding(key, FindingClass.ORPHAN, "active", stored, None, "current", f"project-{number % PROJECTS:04d}")
        document = {**finding.document(), "first_seen_at": 1, "last_seen_at": 1, "sightings": 1}
        part = finding_part(finding.finding_class, key)
        texts = {"operation_id": RUN, "part": part, "status": "FOUND", "document": json.dumps(document), "write_id": "w"}
        found.append(_raw(texts, {"created_at": 1, "version": 1}))
    _write(made, "operations", found)


def _raw(texts: dict[str, str], numbers: dict[str, int]) -> dict[str, Any]:
    return {**{name: {"S": text} for name, text in texts.items()}, **{name: {"N": str(number)} for name, number in numbers.items()}}


def _write(made: Tables, table: str, rows: list[dict[str, Any]]) -> None:
    for some in batched(rows, 25, strict=False):
        made.client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": row}} for row in some]})
