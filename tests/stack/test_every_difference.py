"""The whole promise of a reconciliation on the deployed stack: every class and kind of difference, among many objects that have none, is
found, none more and none less, while others upload and delete; a repair does what its plan says and no more; and the run after it finds
what no action is for, and nothing else.

`python -m tests.stack.test_every_difference 100000 2000` does the same among so many objects on the stack that runs (`make up`).
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import batched
from typing import Any

import pytest

from stocktake.ids import new_id, now_ms
from stocktake.ledger import Ledger, Tables, shard_of, tables
from stocktake.model import Record, State
from tests.planting import SHARDS, put_records
from tests.stack.api import call, eventually, uploaded, without_events
from tests.unit.world import an_image
from tools.stack import Stack
from tools.stack.settings import REGION

OBJECTS, DIFFERENCES = 600, 60
DAY = 86_400_000
BODY, OTHER = b"five!", b"six six"
PLAN = {"missing": "mark_missing", "mismatch": "refresh", "unstored": "settle", "orphan": "quarantine", "orphan.none": "quarantine"}

Found = tuple[str, str]
AFTER: dict[Found, tuple[str, bool]] = {
    # what a repair by PLAN says it did, and whether the next run finds it again
    ("orphan", "active"): ("QUARANTINE", False),
    ("orphan", "deleting"): ("FOUND", True),
    ("orphan", "deleted"): ("QUARANTINE", False),
    ("orphan", "none"): ("QUARANTINE", False),
    ("missing", "gone"): ("MARK_MISSING", False),
    ("mismatch", "size"): ("REFRESH", False),
    ("mismatch", "etag"): ("REFRESH", False),
    ("mismatch", "returned"): ("REFRESH", False),
    ("mismatch", "reappeared"): ("SKIPPED", True),
    ("mismatch", "not_as_announced"): ("FOUND", True),
    ("unstored", "pending"): ("SETTLE", False),
    ("unstored", "uncommitted"): ("SETTLE", False),
    ("unstored", "inline"): ("FOUND", True),
    ("unstored", "external"): ("FOUND", True),
    ("unstored", "missing"): ("FOUND", True),
    ("unknown", "no_layout"): ("FOUND", True),
    ("duplicate_spelling", "two_objects"): ("FOUND", True),
    ("duplicate_spelling", "recorded_otherwise"): ("FOUND", True),
    ("duplicate_spelling", "stored_otherwise"): ("FOUND", True),
}


@dataclass(frozen=True)
class Side:
    """One key: what the bucket holds of it, what the record says of it, and what a run must find."""

    key: str
    found: Found | None = None
    body: bytes | None = None
    state: State | None = None
    recorded: bytes = BODY


def test_every_difference_is_found_and_repaired_as_planned_while_others_write(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, stack.environment()[name])
    prove(stack, OBJECTS, DIFFERENCES)


def prove(stack: Stack, objects: int, differences: int) -> dict[str, Any]:
    """Plants, compares twice, repairs, compares again; leaves nothing behind. Returns figures."""
    planting = Planting(stack, f"{time.time_ns() // 1_000_000 % 10**9}")
    grace_ms = compared(stack)["grace_ms"]
    with without_tidying(stack):
        try:
            return found_and_repaired(stack, planting, objects, differences, grace_ms)
        finally:
            planting.clear()


def found_and_repaired(stack: Stack, planting: Planting, objects: int, differences: int, grace_ms: int) -> dict[str, Any]:
    began = time.monotonic()
    with without_events(stack):
        sides = planting.put(objects, differences)
    figures: dict[str, Any] = {"objects": objects, "findings": sum(side.found is not None for side in sides)}
    figures["planted_seconds"] = round(time.monotonic() - began)
    expected = {(*side.found, side.key) for side in sides if side.found is not None}
    time.sleep(grace_ms / 1000 + 1)
    with a_crowd(stack, planting.tag) as crowd:
        began = time.monotonic()
        sighted(stack, planting, expected, 1)
        figures["run_seconds"] = round(time.monotonic() - began, 1)
        time.sleep(grace_ms / 1000 + 1)
        run = sighted(stack, planting, expected, 2)  # what acts on orphans asks for two, so far apart
        changes = run["changes"]
        by_class = Counter(name for name, _, _ in expected)
        assert {name: changes["unchanged"].get(name, 0) >= count for name, count in by_class.items()} == dict.fromkeys(by_class, True)
        began = time.monotonic()
        call(stack, "POST", f"/reconciliations/{run['run_id']}/apply", 202, json={"plan": PLAN})
        ended = ("DONE", "FAILED")
        answer = eventually(lambda: read(stack, run["run_id"]), lambda found: found["repair"]["status"] in ended, 3600)
        figures["repair_seconds"] = round(time.monotonic() - began, 1)
        assert answer["repair"]["status"] == "DONE", answer["repair"]
        done = {(row["class"], row["kind"], row["key"]): row["repair"] for row in planting.findings(run["run_id"])}
        wrong = {finding: status for finding, status in done.items() if status != AFTER[finding[:2]][0]}
        assert (wrong, set(done) - expected, expected - set(done)) == ({}, set(), set()), wrong
        last = compared(stack)
        quiet = {row["key"] for row in planting.findings(last["run_id"]) if row["repair"] == "ACKNOWLEDGED"}
        assert quiet == {key for *kind, key in expected if kind == ["missing", "gone"]}
        left = {(row["class"], row["kind"], row["key"]) for row in planting.findings(last["run_id"]) if row["key"] not in quiet}
        remain = {finding for finding in expected if AFTER[finding[:2]][1]}
        assert (left - remain, remain - left) == (set(), set())
    assert crowd.uploads, "nobody uploaded during the runs"
    assert crowd.deletions, "nobody deleted during the runs"
    return {**figures, "uploads_meanwhile": crowd.uploads, "deletions_meanwhile": crowd.deletions}


def sighted(stack: Stack, planting: Planting, expected: set[tuple[str, str, str]], times: int) -> dict[str, Any]:
    """Compares, and insists that exactly what is expected is found, each once, and in that many runs in a row."""
    run = compared(stack)
    rows = planting.findings(run["run_id"])
    found = {(row["class"], row["kind"], row["key"]) for row in rows}
    assert (found - expected, expected - found) == (set(), set())
    assert len(rows) == len(found)
    assert {row["sightings"] for row in rows} == {times}
    return run


class Planting:
    """Objects and records of one test, and what becomes of them."""

    def __init__(self, stack: Stack, tag: str) -> None:
        self._stack = stack
        self.tag = tag
        self._bucket = stack.bucket_client()
        self._tables = tables_of(stack)
        self._ledger = Ledger(self._tables, shards=SHARDS)
        self._project, self._closing, self._deleted = (f"{name}{tag}" for name in ("diff", "closing", "deleted"))
        self._sides: list[Side] = []

    def put(self, objects: int, differences: int) -> list[Side]:
        """Plants so many objects in all, and at least so many differences among them, of every kind as many."""
        at = now_ms()
        for project in (self._project, self._closing, self._deleted):
            call(self._stack, "POST", "/projects", 201, json={"project_id": project})
        for project in (self._closing, self._deleted):
            self._ledger.begin_deletion(project, f"deletion-of-{project}", at)
        epoch = self._ledger.project(self._deleted).epoch
        self._ledger.finish_deletion(self._deleted, f"deletion-of-{self._deleted}", epoch, at)
        for number in itertools.count():
            if sum(side.found is not None for side in self._sides) >= differences:
                break
            self._sides += self._one_of_each(number)
        self._sides += self._alike(objects - len(self._sides))
        etags = {}
        with ThreadPoolExecutor(8) as threads:
            for body, etag in threads.map(self._put, [side for side in self._sides if side.body is not None]):
                etags[body] = etag
        put_records(self._tables, [self._record(side, number, etags, at - DAY) for number, side in enumerate(self._sides) if side.state])
        return self._sides

    def findings(self, run_id: str) -> list[dict[str, Any]]:
        """Reads every finding of a run about the planted keys, and about no others: whoever runs beside has keys of their own."""
        return [row for row in findings_of(self._stack, run_id) if self.tag in row["key"]]

    def clear(self) -> None:
        """Removes what was planted, what was set aside of it, and its records, without asking Stocktake."""
        keys = {side.key for side in self._sides}
        for prefix in (f".stocktake/quarantine/{name}{self.tag}/" for name in ("diff", "deleted", "nobody")):
            pages = self._bucket.get_paginator("list_objects_v2").paginate(Bucket=self._stack.bucket, Prefix=prefix)
            keys |= {row["Key"] for page in pages for row in page.get("Contents", [])}
        for some in batched(sorted(keys), 1000, strict=False):
            self._bucket.delete_objects(Bucket=self._stack.bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True})
        with self._tables.objects.batch_write() as batch:
            for entry in list(self._ledger.entries()):
                if self.tag in entry.key:
                    batch.delete(self._tables.objects(shard_of(entry.key, SHARDS), entry.key))
        for part in ("project", *(f"counts#{shard:02x}" for shard in range(SHARDS))):
            self._tables.client.delete_item(
                TableName=self._tables.projects.Meta.table_name, Key={"project": {"S": self._project}, "part": {"S": part}}
            )

    def _one_of_each(self, number: int) -> list[Side]:
        project, n = self._project, number

        def key(kind: str, of: str = project) -> str:
            return f"projects/{of}/scenes/{kind}-{n}/media/a.png"

        composed, decomposed, moved, lost = (f"projects/{project}/scenes/{n}/media/{name}.png" for name in SPELLINGS)
        return [
            Side(key("orphan"), ("orphan", "active"), BODY),
            Side(f"proj_{project}_{n}_a.mp4", ("orphan", "active"), BODY),
            Side(key("orphan", self._closing), ("orphan", "deleting"), BODY),
            Side(f"audio/proj_{self._deleted}/{n}/a.mp3", ("orphan", "deleted"), BODY),
            Side(key("orphan", f"nobody{self.tag}"), ("orphan", "none"), BODY),
            Side(f"images/session{self.tag}/persona/1703123456789-{n}.jpg", ("orphan", "none"), BODY),
            Side(key("gone"), ("missing", "gone"), None, State.STORED),
            Side(key("size"), ("mismatch", "size"), BODY, State.STORED, b"another size"),
            Side(key("etag"), ("mismatch", "etag"), BODY, State.STORED, b"five?"),
            Side(key("returned"), ("mismatch", "returned"), BODY, State.MISSING),
            Side(key("reappeared"), ("mismatch", "reappeared"), BODY, State.QUARANTINED),
            Side(key("announced"), ("mismatch", "not_as_announced"), OTHER, State.PENDING),
            Side(key("pending"), ("unstored", "pending"), None, State.PENDING),
            Side(key("uncommitted"), ("unstored", "uncommitted"), BODY, State.PENDING),
            Side(key("inline"), ("unstored", "inline"), None, State.INLINE),
            Side(key("external"), ("unstored", "external"), None, State.EXTERNAL),
            Side(f"backups/{self.tag}/{n}.tar", ("unknown", "no_layout"), BODY),
            Side(composed, ("duplicate_spelling", "two_objects"), BODY),
            Side(decomposed, ("duplicate_spelling", "two_objects"), OTHER),
            Side(moved, ("duplicate_spelling", "recorded_otherwise"), BODY),
            Side(lost, ("duplicate_spelling", "stored_otherwise"), None, State.STORED),
            Side(key("marked"), ("unstored", "missing"), None, State.MISSING),
            Side(key("aside"), None, None, State.QUARANTINED),
        ]

    def _alike(self, objects: int) -> Iterator[Side]:
        """Yields keys that both sides tell the same of, under every layout that can be told of this project."""
        project = self._project
        layouts = (
            f"projects/{project}/2026/11/{{n:026d}}.png",
            f"projects/{project}/scenes/s{{n}}/media/a b+c%41.png",
            f"proj_{project}_s{{n}}_media.mp4",
            f"videos/proj_{project}/s{{n}}/clip.mp4",
            f"images/s{self.tag}/persona/1703123456789-{{n}}.jpg",
        )
        return (Side(layouts[n % len(layouts)].format(n=n), None, BODY, State.STORED) for n in range(objects))

    def _put(self, side: Side) -> tuple[bytes, str]:
        assert side.body is not None
        answer = self._bucket.put_object(Bucket=self._stack.bucket, Key=side.key, Body=side.body, ContentType="image/png")
        return side.body, answer["ETag"].strip('"')

    def _record(self, side: Side, number: int, etags: Mapping[bytes, str], at: int) -> Record:
        assert side.state is not None
        record = Record(side.key, new_id(at + number % 1000), self._project, 1, side.state, len(side.recorded), at, at)
        expires_at = at + 60_000 if side.state is State.PENDING else None
        url = "https://images.example.com/a.png" if side.state is State.EXTERNAL else None
        return replace(record, etag=etags.get(side.recorded, "0" * 32), expires_at=expires_at, original_url=url, content_type="image/png")


TIMER = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")
SPELLINGS = ("caf\u00e9", "cafe\u0301", "\u00c5ngstrom", "A\u030angstrom")


@contextmanager
def without_tidying(stack: Stack) -> Iterator[None]:
    """Stops the timer that ends uploads which never came, or it would be first to settle the planted ones."""
    timers, name = stack.aws("scheduler"), stack.resources["UploadTidyTimer"]
    kept = {field: value for field, value in timers.get_schedule(Name=name).items() if field in TIMER}
    timers.update_schedule(**kept, State="DISABLED")
    try:
        yield
    finally:
        timers.update_schedule(**kept, State="ENABLED")


@dataclass
class Crowd:
    """What others did meanwhile."""

    uploads: int = 0
    deletions: int = 0


@contextmanager
def a_crowd(stack: Stack, tag: str) -> Iterator[Crowd]:
    """Uploads, deletes objects that are older than the grace window and young ones, and deletes whole projects, without a pause."""
    crowd, stopped = Crowd(), threading.Event()
    kept = f"crowd{tag}"
    call(stack, "POST", "/projects", 201, json={"project_id": kept})
    old = [uploaded(stack, kept, an_image(number))["object_id"] for number in range(12)]

    def move() -> None:
        for number in itertools.count():
            if stopped.wait(0.2):
                return
            fresh = uploaded(stack, kept, an_image(number))["object_id"]
            crowd.uploads += 1
            for object_id in (fresh, *old[:1]):
                call(stack, "DELETE", f"/objects/{object_id}", 200)
                crowd.deletions += 1
            del old[:1]
            if number % 10 == 0:
                doomed = f"doomed{number}-{tag}"
                call(stack, "POST", "/projects", 201, json={"project_id": doomed})
                uploaded(stack, doomed, an_image(number))
                call(stack, "DELETE", f"/projects/{doomed}", 202)
                crowd.deletions += 1

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield crowd
    finally:
        stopped.set()
        thread.join()
        call(stack, "DELETE", f"/projects/{kept}", 202)


def compared(stack: Stack) -> dict[str, Any]:
    """Compares bucket and ledger to the end, and returns the run."""
    run_id = call(stack, "POST", "/reconciliations", 202)["run_id"]
    run = eventually(lambda: read(stack, run_id), lambda found: found["status"] not in ("REQUESTED", "RUNNING"), 3600)
    assert run["status"] == "COMPLETE", run
    return run


def read(stack: Stack, run_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = call(stack, "GET", f"/reconciliations/{run_id}", 200)
    return answer


def findings_of(stack: Stack, run_id: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        params = {"limit": "500"} | ({"cursor": cursor} if cursor else {})
        page = call(stack, "GET", f"/reconciliations/{run_id}/findings", 200, params=params)
        yield from page["findings"]
        if (cursor := page["cursor"]) is None:
            return


def tables_of(stack: Stack) -> Tables:
    objects, projects, operations = (stack.resources[f"{name}Table"] for name in ("Objects", "Projects", "Operations"))
    return tables(objects=objects, projects=projects, operations=operations, region=REGION, host=stack.endpoint)


def allow(stack: Stack, actions: int) -> None:
    """Lets one repair act that often: the breaker is for fewer."""
    functions = stack.aws("lambda")
    for name in ("ReconciliationApiFunction", "ReconciliationStepFunction"):
        function = stack.resources[name]
        variables = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        variables |= {"BREAKER_MAX_ACTIONS": str(actions), "BREAKER_MAX_PER_PROJECT": str(actions), "BREAKER_MAX_PERCENT": "100"}
        functions.update_function_configuration(FunctionName=function, Environment={"Variables": variables})


def main(arguments: Sequence[str]) -> None:
    """Proves it at any size on the stack that runs."""
    stack = Stack.running()
    os.environ |= {name: value for name, value in stack.environment().items() if name.startswith("AWS_")}
    objects, differences = map(int, arguments)
    allow(stack, 10 * differences)
    for name, figure in prove(stack, objects, differences).items():
        print(f"{name:22} {figure}")


if __name__ == "__main__":
    main(sys.argv[1:])
