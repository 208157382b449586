"""A round trip: each step says what it found, nothing of it is left or counted, and tests at once do not meet."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stocktake.conformance import Conformance
from stocktake.diagnostics import SelfTest
from stocktake.diagnostics.first_bytes import FirstBytes
from stocktake.diagnostics.self_test import PREFIX
from stocktake.errors import ConfigurationError, StorageDenied, StorageUnavailable
from stocktake.ids import new_id
from stocktake.storage import Learned
from stocktake.storage.memory import MemoryStore
from tests.unit.world import HOUR, World, hanging, never

STEPS = ["put", "list", "head", "metadata", "get", "url", "record", "delete", "gone"]


def a_test(world: World, **changes: Any) -> SelfTest:
    def fetch(url: str) -> FirstBytes:
        answer = world.store.fetch(url)
        return FirstBytes(answer.status, answer.body)

    conformance = Conformance(world.operations, "AWS S3 data", 2, world.clock)
    conformance.learn(world.store.profile(), Learned.PROBED)
    test = SelfTest(lambda: world.store, world.operations, conformance, fetch, world.clock, new_id, step_seconds=5, test_seconds=10)
    return replace(test, **changes)


def statuses(answer: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in answer["steps"]}


def rows(world: World) -> list[str]:
    """The rows of self-tests that are left."""
    names = vars(world.operations)["_tables"].client.scan(TableName="operations")["Items"]
    return [row["operation_id"]["S"] for row in names if row["operation_id"]["S"].startswith("self-test-")]


def denied(operation: str) -> StorageDenied:
    return StorageDenied(f"The store refused {operation} (AccessDenied): the credentials may not do this.", code="AccessDenied")


def test_a_round_trip_takes_every_step_and_leaves_nothing(world: World) -> None:
    before = world.store.keys()
    answer = a_test(world).run()
    assert (answer["status"], answer["is_clean"]) == ("ok", True)
    assert [step["name"] for step in answer["steps"]] == STEPS
    assert all(isinstance(step["took_ms"], int) for step in answer["steps"])
    assert world.store.keys() == before
    assert rows(world) == []


@pytest.mark.parametrize(
    ("operation", "step", "hurt", "right"),
    [
        ("put", "put", {"list", "head", "metadata", "get", "url", "delete", "gone"}, "s3:PutObject"),
        ("list", "list", set[str](), "s3:ListBucket"),
        ("get", "get", set[str](), "s3:GetObject"),
        ("delete", "delete", {"gone"}, "s3:DeleteObject"),
    ],
)
def test_a_right_that_lacks_is_one_step_that_failed_and_what_needs_it_is_skipped(
    world: World, operation: Any, step: str, hurt: set[str], right: str
) -> None:
    world.store.fail(operation, error=denied(operation))
    answer = a_test(world).run()
    found = statuses(answer)
    assert {name for name, status in found.items() if status == "failed"} == {step}
    assert {name for name, status in found.items() if status == "skipped"} == hurt
    assert right in next(of["do"] for of in answer["steps"] if of["name"] == step)
    assert not any(key.startswith(PREFIX) for key in world.store.keys())  # noqa: SIM118  # a store is no mapping


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (StorageDenied("The store refused put_object (SignatureDoesNotMatch)", code="SignatureDoesNotMatch"), "stocktake doctor"),
        (StorageUnavailable("The store gave no whole answer to put_object"), "stocktake doctor"),
        (denied("put_object"), "s3:PutObject"),
    ],
)
def test_what_is_no_lack_of_a_right_is_not_told_as_one(world: World, error: Exception, word: str) -> None:
    world.store.fail("put", error=error)
    assert word in a_test(world).run()["steps"][0]["do"]


def test_where_nothing_can_be_deleted_that_is_said_and_a_later_test_removes_it(world: World) -> None:
    world.store.fail("delete", times=2, error=denied("delete_object"))
    answer = a_test(world).run()
    assert (answer["is_clean"], answer["status"], statuses(answer)["delete"]) == (False, "failed", "failed")
    assert world.store.head(answer["key"]) is not None
    assert a_test(world).run()["leftovers_removed"] == 0  # it may still be at work
    later = a_test(world, now=lambda: int(time.time() * 1000) + 2 * HOUR).run()
    assert (later["leftovers_removed"], world.store.head(answer["key"])) == (1, None)


def test_what_was_put_although_the_reply_was_lost_is_removed(world: World) -> None:
    world.store.fail("put", after_effect=True)
    answer = a_test(world).run()
    assert (statuses(answer)["put"], answer["is_clean"]) == ("failed", True)
    assert world.store.head(answer["key"]) is None


def test_of_a_bucket_that_keeps_versions_none_is_left(world: World) -> None:
    world = replace(world, store=MemoryStore("data", now=world.clock, versioning=True))
    answer = a_test(world).run()
    assert (answer["status"], answer["is_clean"]) == ("ok", True)
    assert list(world.store.list_versions(PREFIX)) == []


@pytest.mark.parametrize(
    ("breaks", "step", "word"),
    [
        (lambda world, test: replace(test, fetch=lambda url: FirstBytes(403)), "url", "403"),
        (lambda world, test: replace(test, fetch=lambda url: FirstBytes(200, b"a page")), "url", "other bytes"),
        (lambda world, test: world.store.hide(*hidden(world, test)) or test, "list", "leaves the key out"),
    ],
)
def test_what_a_store_does_otherwise_is_named(world: World, breaks: Callable[..., SelfTest], step: str, word: str) -> None:
    answer = breaks(world, a_test(world)).run()
    assert {name for name, status in statuses(answer).items() if status == "failed"} == {step}
    assert word in next(of["says"] for of in answer["steps"] if of["name"] == step)


def hidden(world: World, test: SelfTest) -> list[str]:
    known = new_id(world.clock())
    object.__setattr__(test, "new_id", lambda at: known)
    return [f"{PREFIX}{known}"]


def test_metadata_that_a_store_rewrites_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = world.store.head

    def rewritten(key: str) -> Any:
        found = real(key)
        return found and replace(found, metadata={**found.metadata, "ratio": "1:1"})

    monkeypatch.setattr(world.store, "head", rewritten)
    answer = a_test(world).run()
    assert next(of for of in answer["steps"] if of["name"] == "metadata")["says"] == "The object's metadata lost ratio"


def test_metadata_that_the_ledger_drops_or_retypes_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = world.operations.get

    def dropped(operation_id: str, part: str = "") -> Any:
        row = real(operation_id, part)
        if row is None or not operation_id.startswith("self-test-"):
            return row
        return replace(row, document={**row.document, "aspectRatio": "1:1", "numberOfImages": 2.0})

    monkeypatch.setattr(world.operations, "get", dropped)
    answer = a_test(world).run()
    step = next(of for of in answer["steps"] if of["name"] == "record")
    assert (step["status"], "aspectRatio, numberOfImages" in step["says"]) == ("failed", True)
    assert rows(world) == []


def test_a_step_that_hangs_says_so_and_the_test_ends_in_time(world: World) -> None:
    hung = threading.Event()
    world.store.on_call = hanging("get", hung)
    began = time.monotonic()
    answer = a_test(world, step_seconds=0.3, test_seconds=2.0).run()
    hung.set()
    assert time.monotonic() - began < 3
    assert next(of["says"] for of in answer["steps"] if of["name"] == "get") == "There was no answer within 0.3 seconds"


def test_a_bucket_that_cannot_be_opened_fails_the_first_step_and_the_ledger_is_tried_all_the_same(world: World) -> None:
    def closed() -> Any:
        raise ConfigurationError("the secret of the storage credentials must hold JSON")

    answer = a_test(world, open=closed).run()
    assert (statuses(answer)["put"], statuses(answer)["record"], answer["is_clean"]) == ("failed", "ok", True)


def test_tests_at_once_do_not_meet_and_no_run_counts_them(world: World) -> None:
    world.upload()
    world.clock.advance(HOUR * 2)
    answers: list[dict[str, Any]] = []
    run_id = world.runs.request().operation_id
    planted = f"{PREFIX}{new_id(world.clock())}"  # of a test that is under way
    world.store.plant(planted)
    tests = [threading.Thread(target=lambda: answers.append(a_test(world).run())) for _ in range(4)]
    for test in tests:
        test.start()
    for part in world.runs.plan(run_id)["ranges"]:
        world.runs.walk(run_id, part["number"], out_of_time=never)
    for test in tests:
        test.join()
    assert [answer["status"] for answer in answers] == ["ok"] * 4
    assert len({answer["key"] for answer in answers}) == 4
    assert world.runs.summarise(run_id)["status"] == "COMPLETE"
    assert world.runs.findings(run_id, None, 500, None)[0] == []
    assert world.runs.run(run_id).document["counts"]["bucket"]["objects"] == 1
    assert world.store.head(planted) is not None
    assert world.aligner().align(planted).outcome == "system"


def test_nothing_that_a_store_quotes_of_a_secret_is_answered(world: World) -> None:
    said = "it said https://s3.example.com/a?X-Amz-Signature=4e2f0a7c and hunter22hunter22"
    world.store.fail("get", error=StorageUnavailable(said))
    answer = a_test(world, secrets=lambda: ("hunter22hunter22",)).run()
    assert statuses(answer)["get"] == "failed"
    shown = json.dumps(answer)
    assert not any(secret in shown for secret in ("4e2f0a7c", "hunter22", "X-Amz-Signature"))
