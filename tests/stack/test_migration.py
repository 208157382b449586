"""Five thousand records of somebody's: imported, migrated, interrupted in each phase, resumed, and counted right; and exported again.

URLs cannot be fetched here, since an import wants a public address: they fail with that reason and stay where they are.
`tests/unit/test_migration.py` shows how they are stored.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.stack.api import call, counts, eventually, refused, send
from tests.unit.world import an_image
from tools.stack import Stack

PROJECT = "proj_moved"
INLINE, DATA_URLS, URLS, KEYS, BROKEN = 300, 200, 1300, 200, 3000
PATIENCE = 300  # seconds; on two idle cores the whole takes a minute
BODY_OF_KEYS = an_image(7)


def key_of(number: int) -> str:
    return f"projects/{PROJECT}/scenes/s{number % 50}/media/{number:05d}.png"


def body_of(number: int) -> bytes:
    return an_image(number % 200)


def lines() -> list[str]:
    """Makes the file: every kind in turn, so that each batch has all of them."""
    broken = (
        "{",
        '{"project_id": "proj_moved", "content_base64": "AAAA"}',
        f'{{"project_id": "proj_moved", "key": "{key_of(99_999)}"}}',
        '{"project_id": "proj_moved", "url": "http://images.example.com/a.png"}',
        '{"project_id": "proj_moved", "key": "loose.png", "colour": "red"}',
    )

    def one(kind: str, number: int) -> str:
        line: dict[str, Any] = {"project_id": PROJECT, "id": f"{kind} {number}", "metadata": {"number": number}}
        if kind == "inline":
            line["content_base64"] = b64encode(body_of(number)).decode()
        elif kind == "data":
            line["data_url"] = f"data:image/png;base64,{b64encode(body_of(number)).decode()}"
        elif kind == "url":
            line["url"] = f"https://images.example.com/{number}.png"
        elif kind == "key":
            line = {**line, "key": key_of(number), "created_at": "2024-01-01T00:00:00Z"}
        else:
            return broken[number % len(broken)]
        return json.dumps(line)

    left = Counter(inline=INLINE, data=DATA_URLS, url=URLS, key=KEYS, broken=BROKEN)
    made: list[str] = []
    while left.total():
        for kind in [kind for kind, count in left.items() if count]:
            left[kind] -= 1
            made.append(one(kind, left[kind]))
    return made


@pytest.fixture(scope="module")
def old_objects(stack: Stack) -> None:
    """Puts what the bare keys name, and waits for the events: the project is not open yet, so none adopts any of it."""
    bucket = stack.bucket_client()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: bucket.put_object(Bucket=stack.bucket, Key=key_of(n), Body=BODY_OF_KEYS), range(KEYS)))
    queue = stack.resources["ObjectEventsQueue"]
    waiting = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def events() -> set[str]:
        return set(stack.aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=waiting)["Attributes"].values())

    eventually(events, lambda left: left == {"0"})


def test_five_thousand_records_are_imported_migrated_interrupted_resumed_and_counted_right(stack: Stack, old_objects: None) -> None:
    file = "\n".join(lines()).encode()
    source = {"format": "jsonl", "bytes": len(file), "sha256": hashlib.sha256(file).hexdigest()}
    made = call(stack, "POST", "/migrations", 202, json={"source": source, "batch": 100, "create_projects": True, "project_id": PROJECT})
    path = f"/migrations/{made['migration_id']}"
    assert refused(stack, "POST", f"{path}/start") == (409, "upload-incomplete")
    assert send(made["upload"], file[:-1] + b"x") != 200
    assert send(made["upload"], file) == 200
    call(stack, "POST", f"{path}/start", 202)

    def now() -> Any:
        return call(stack, "GET", path, 200)

    def interrupted(phase: str, at: int) -> None:
        """Stops the migration once a phase has got so far, sees that it stands, and takes it up again."""
        eventually(now, lambda it: it["totals"][phase]["seen"] >= at, PATIENCE)
        call(stack, "POST", f"{path}/stop", 200)
        stands = eventually(lambda: (now()["totals"], now()["totals"]), lambda pair: pair[0] == pair[1])[0]
        assert stands[phase]["seen"] < (5000 if phase == "import" else INLINE + DATA_URLS + URLS + KEYS)
        assert now()["status"] == "STOPPED"
        call(stack, "POST", f"{path}/start", 202)

    interrupted("import", 2000)
    interrupted("migrate", 300)
    ended = eventually(now, lambda it: it["status"] not in ("RUNNING", "STOPPED"), PATIENCE)
    assert (ended["status"], ended["why"]) == ("COMPLETE", None)
    inline = INLINE + DATA_URLS
    size = sum(len(body_of(number)) for count in (INLINE, DATA_URLS) for number in range(count))
    assert ended["totals"] == {
        "import": {
            "seen": 5000,
            "done": 5000 - BROKEN,
            "skipped": 0,
            "failed": BROKEN,
            "bytes": size + KEYS * len(BODY_OF_KEYS),
            "inline": inline,
            "external": URLS,
            "key": KEYS,
        },
        "migrate": {
            "seen": inline + URLS + KEYS,
            "done": inline,
            "skipped": KEYS,
            "failed": URLS,
            "bytes": size,
            "inline": 0,
            "external": 0,
            "key": 0,
        },
    }
    assert counts(stack, PROJECT) == {"STORED": inline + KEYS, "EXTERNAL": URLS}

    why: Counter[tuple[str, str]] = Counter()
    cursor = None
    while True:
        page = call(
            stack, "GET", f"{path}/results", 200, params={"outcome": "failed", "limit": 500} | ({"cursor": cursor} if cursor else {})
        )
        why.update((result["phase"], result["problem"].rpartition(":")[2]) for result in page["results"])
        if (cursor := page["cursor"]) is None:
            break
    fifth = BROKEN // 5
    assert why == {
        ("import", "invalid-request"): 2 * fifth,
        ("import", "unsupported-type"): fifth,
        ("import", "object-missing"): fifth,
        ("import", "import-refused"): fifth,
        ("migrate", "import-disabled"): URLS,
    }


def test_the_whole_ledger_goes_out_as_it_is(stack: Stack, old_objects: None) -> None:
    made = call(stack, "POST", "/exports", 202, json={"project_id": PROJECT})
    export = eventually(lambda: call(stack, "GET", f"/exports/{made['export_id']}", 200), lambda it: it["status"] != "RUNNING")
    text = "".join(requests.get(file["url"], timeout=30).text for file in export["files"])
    found = [json.loads(line) for line in text.splitlines()]
    assert (export["status"], export["lines"]) == ("COMPLETE", len(found))
    assert Counter(line["state"] for line in found) == counts(stack, PROJECT)
    assert {line["metadata"]["number"] for line in found if "url" in line} == set(range(URLS))
