"""What is done past the API: the layer's own comparison and one key on both sides, with nothing written."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from stocktake.errors import StorageDenied
from stocktake.identity import IDENTITY_KEY
from stocktake.layouts import Registry
from stocktake.storage.memory import MemoryStore
from stocktake_cli.deployment import Deployment
from stocktake_cli.failures import Unreachable
from tests.unit.cli.conftest import Cli
from tests.unit.ledger.builders import Deployment as LedgerDeployment
from tests.unit.test_diagnostics import Case
from tests.unit.test_one_object import diagnosis
from tests.unit.test_reconciliation import SCENES, a_world_that_lists_by_directory
from tests.unit.test_self_test import a_test
from tests.unit.world import HOUR, Clock, World, never


class Behind(Deployment):
    """A deployment in memory."""

    def __init__(self, world: World) -> None:
        made: Any = SimpleNamespace(
            store=world.store,
            identity=world.identity,
            ledger=world.ledger,
            operations=world.operations,
            layouts=Registry(),
            settings=SimpleNamespace(grace_seconds=600, storage_bucket="data"),
            object_diagnosis=diagnosis(world),
            self_test=a_test(world),
            diagnostics=SimpleNamespace(look=lambda: Case(world).look()),
        )
        self.__dict__ |= {"services": made, "looking": made, "environment": {}}


@pytest.fixture
def direct(cli: Cli, world: World) -> Cli:
    cli.deployment = Behind(world)
    return cli


def a_run(world: World) -> set[tuple[str, str]]:
    """What a run of the deployment finds."""
    run_id = world.runs.request().operation_id
    for part in world.runs.plan(run_id)["ranges"]:
        world.runs.walk(run_id, part["number"], out_of_time=never)
    assert world.runs.summarise(run_id)["status"] == "COMPLETE"
    return {(of["class"], of["key"]) for of in world.runs.findings(run_id, None, 500, None)[0]}


def test_reconcile_direct_finds_what_a_run_finds_and_writes_nothing(direct: Cli, world: World) -> None:
    kept, lost, changed, young = (world.upload(color=color) for color in range(4))
    world.store.delete(lost.key)
    twice = [f"projects/p1/scenes/s/media/caf{letter}.png" for letter in ("\u00e9", "e\u0301")]
    world.plant("projects/p1/scenes/s/media/orphan.png", "nobody/knows.bin", changed.key, *twice)
    world.clock.advance(HOUR)
    world.store.delete(young.key)
    world.plant("projects/p1/scenes/s/media/just-now.png")
    direct.now = lambda: world.clock() / 1000 + 1
    shown = direct("reconcile", "--direct", "--json")
    assert shown.exit == 1
    found = {(of["class"], of["key"]) for of in shown.result["findings"]}
    assert ("missing", lost.key) in found
    assert ("mismatch", changed.key) in found
    assert {("duplicate_spelling", key) for key in twice} <= found
    assert not any("just-now" in key for _, key in found)
    assert shown.result["counts"]["matched"] == {"objects": 1, "bytes": kept.size}
    assert (world.operations.recent("reconciliation", 5), world.ledger.record(lost.key)) == ([], lost)
    assert a_run(world) == found


def test_reconcile_direct_counts_what_the_store_refuses_to_show(direct: Cli, world: World) -> None:
    world.plant("nobody/knows.bin", "nobody/reads.bin", body=b"12345")
    world.clock.advance(HOUR)
    direct.now = lambda: world.clock() / 1000
    world.store.fail("head", key="nobody/reads.bin", error=StorageDenied("of a policy", code="403"))
    shown = direct("reconcile", "--direct", "--json")
    assert [of["key"] for of in shown.result["findings"]] == ["nobody/knows.bin"]
    assert shown.result["counts"]["unreadable"] == {"objects": 1, "bytes": 5}


def test_reconcile_direct_ends_with_0_where_both_tell_the_same(direct: Cli, world: World) -> None:
    world.upload()
    assert direct("reconcile", "--direct").exit == 0


def test_reconcile_direct_says_nothing_of_a_bucket_that_is_not_the_ledgers(direct: Cli, world: World) -> None:
    world.upload()
    for key in [IDENTITY_KEY, *world.store.keys()]:
        world.store.remove(key)
    world.clock.advance(HOUR)
    direct.now = lambda: world.clock() / 1000
    shown = direct("reconcile", "--direct", "--json")
    assert (shown.exit, shown.document["problem"]["type"], shown.document["result"]) == (3, "run-incomplete", None)
    assert world.store.keys() == [], "nothing is written, the mark neither"


def test_reconcile_direct_of_a_ledger_that_was_never_used_marks_no_bucket(cli: Cli, deployment: LedgerDeployment) -> None:
    clock = Clock()
    world = World(MemoryStore("data", now=clock), deployment.ledger, deployment.operations, clock)
    world.plant("nobody/knows.bin")
    world.clock.advance(HOUR)
    cli.deployment, cli.now = Behind(world), lambda: clock() / 1000
    assert cli("reconcile", "--direct").exit == 1
    assert (world.store.keys(), world.operations.get("settings", "identity")) == (["nobody/knows.bin"], None)
    world.store.region = "eu-west-1"
    cli.deployment.services.__dict__["identity"] = replace(world.identity, region="eu-north-1")
    assert cli("reconcile", "--direct", "--json").document["problem"]["type"] == "wrong-region"


def test_a_clock_of_the_store_that_is_off_lengthens_the_grace_window_by_as_much(direct: Cli, world: World) -> None:
    world.plant("nobody/knows.bin")
    world.clock.advance(610_000)
    direct.now = lambda: world.clock() / 1000
    world.store.skew_ms = -120_000
    assert direct("reconcile", "--direct").exit == 0
    world.store.skew_ms = 0
    assert direct("reconcile", "--direct").exit == 1


def test_reconcile_direct_sorts_a_listing_that_is_not_in_order_at_the_first_try(
    cli: Cli, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, keys = a_world_that_lists_by_directory(world)
    monkeypatch.setattr(world.store, "list", partial(world.store.list, page_size=1))
    cli.deployment, cli.now = Behind(world), lambda: world.clock() / 1000
    shown = cli("reconcile", "--direct", "--json")
    assert (shown.exit, {of["key"] for of in shown.result["findings"]}) == (1, keys)
    assert shown.result["counts"]["bucket"]["objects"] == len(SCENES), "what was counted at the first try is not counted again"


def test_people_are_shown_so_many_differences_and_told_how_many_there_are(
    direct: Cli, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake_cli.direct.SHOWN", 1)
    world.plant(*(f"nobody/knows-{number}.bin" for number in range(3)))
    world.clock.advance(HOUR)
    direct.now = lambda: world.clock() / 1000
    shown = direct("reconcile", "--direct")
    assert (shown.exit, shown.out.count("knows-"), "the first 1 of 3 differences" in shown.err) == (1, 1, True)
    assert "acknowledged findings are among them" in shown.err
    assert len(direct("reconcile", "--direct", "--json").result["findings"]) == 3


def test_inspect_tells_a_healthy_object_by_key_and_by_id(direct: Cli, world: World) -> None:
    record = world.upload()
    for name in (record.key, record.object_id):
        shown = direct("inspect", name, "--direct", "--json")
        assert shown.exit == 0
        assert (shown.result["key"], shown.result["finding"], shown.result["layout"]) == (record.key, None, "current")
    assert direct.wire.sent == []


def test_inspect_says_what_differs_and_what_lies_beside(direct: Cli, world: World) -> None:
    record, beside = world.upload(), world.upload(color=1)
    world.store.delete(record.key)
    shown = direct("inspect", record.key, "--direct", "--json")
    assert shown.exit == 1
    assert (shown.result["finding"]["class"], shown.result["object"], shown.result["url"]) == ("missing", None, None)
    assert beside.key in [of["key"] for of in shown.result["neighbours"]]
    assert "to do: " in direct("inspect", record.key, "--direct").out


def test_inspect_asks_the_api_and_shows_what_it_says_as_it_shows_what_is_seen_from_here(direct: Cli, world: World) -> None:
    record = world.upload()
    world.store.delete(record.key)
    seen = direct("inspect", record.key, "--direct")
    answer = direct("inspect", record.key, "--direct", "--json").result
    asked = direct("inspect", record.key, answers={"GET /diagnostics/objects": answer})
    assert (asked.exit, asked.out) == (seen.exit, seen.out)
    assert direct.wire.sent[-1].query == {"key": record.key}
    direct("inspect", record.object_id)
    assert direct.wire.sent[-1].query == {"object_id": record.object_id}


def test_inspect_finds_nothing_where_neither_side_knows_the_key_and_names_what_lies_beside(direct: Cli, world: World) -> None:
    record = world.upload()
    mistyped = record.key.replace(".png", ".jpg")
    shown = direct("inspect", mistyped, "--direct", "--json")
    assert (shown.exit, record.key in shown.document["problem"]["advice"]) == (6, True)
    top = direct("inspect", "picture.jpg", "--direct", "--json").document["problem"]["advice"]
    assert (f"It names no folder, and the bucket has {record.key}" in top, "In its folder" in top) == (True, False)


def test_inspect_names_the_project_as_its_record_spells_it(direct: Cli, world: World) -> None:
    world.uploads.create_project("proj_77", {})
    record = world.upload("proj_77")
    said = [line.split() for line in direct("inspect", record.key, "--direct").out.splitlines()]
    assert ["may", "be", "of", "proj_77"] in said


def test_doctor_looks_from_here_too_and_tells_the_two_apart(direct: Cli) -> None:
    shown = direct("doctor", "--direct", "--json", answers={"GET /analytics": Unreachable("nobody")})
    names = [check["name"] for check in shown.result["checks"]]
    assert {"here: credentials", "here: region", "here: dead-letters", "here: put", "here: gone"} <= set(names)
    assert "here: permission-put" not in names
    assert shown.exit == 4


def test_a_self_test_from_here_tries_bucket_and_ledger_alone_and_says_what_is_left(direct: Cli, world: World) -> None:
    shown = direct("self-test", "--direct", "--json")
    assert (shown.exit, shown.result["failed"], shown.result["is_clean"], direct.wire.sent) == (0, 0, True, [])
    world.store.fail("delete", times=2, error=StorageDenied("The store refused delete_object (AccessDenied)", code="AccessDenied"))
    shown = direct("self-test", "--direct")
    assert (shown.exit, "may be left" in shown.out) == (1, True)
