"""What a run says it will cost, and did."""

from __future__ import annotations

from typing import Any

import pytest

from stocktake.reconciliation.cost import Meter, Prices, bill, expected
from stocktake.reconciliation.runs import SAMPLED_KEYS
from tests.unit.world import World, never


@pytest.mark.parametrize(
    ("told", "endpoint", "prices"),
    [
        ("", "", Prices(5.0, 0.4, 5.0)),
        ("", "https://a.r2.cloudflarestorage.com", Prices(4.5, 0.36, 4.5)),
        ("", "https://s3.example.com", Prices(0.0, 0.0, 0.0)),
        ("1,0.5,2", "", Prices(1.0, 0.5, 2.0)),
        ("off", "", None),
    ],
)
def test_prices_are_those_of_the_store_unless_they_are_told(told: str, endpoint: str, prices: Prices | None) -> None:
    assert Prices.of(told, endpoint) == prices


def test_a_million_objects_cost_what_the_readme_says() -> None:
    one = bill(expected(1_000_000, 1_000_000, 11), 1_000_000, Prices.of("", ""), 1.0)
    assert one["requests"]["list"] == 1011
    assert one["ledger_units"]["read"] == 125_044
    assert one["usd"] == pytest.approx(0.0216, abs=0.0005)


def test_where_the_ledger_does_not_say_what_was_read_it_is_reckoned_from_the_records() -> None:
    assert bill({"query": 1}, 8000, None, 1.0)["ledger_units"]["read"] == 1000
    assert bill({"query": 1, "read_milliunits": 7000}, 8000, None, 1.0)["ledger_units"]["read"] == 7
    assert bill({}, 0, None, 1.0)["usd"] is None


def test_a_meter_counts_by_kind_and_begins_anew_when_it_was_read() -> None:
    meter, params = Meter(), dict[str, Any]()
    for name in ("ListObjectsV2", "HeadObject", "Query", "Query", "DeleteObject"):
        meter.sent(operation_name=name)
    meter.asking(params=params)
    meter.answered(parsed={"ConsumedCapacity": {"CapacityUnits": 0.5}})
    meter.answered(parsed={})
    assert params == {"ReturnConsumedCapacity": "TOTAL"}
    assert meter.taken() == {"list": 1, "get": 1, "query": 2, "read_milliunits": 500}
    assert meter.taken() == {}


def first_of_shard(world: World) -> None:
    """Uploads until the shard that is sampled has a record."""
    while not list(world.ledger.shard_keys(0)):
        world.upload()


def test_a_run_adds_up_what_its_steps_spent_and_the_next_one_expects_as_much(world: World) -> None:
    first_of_shard(world)
    first = world.runs.estimate()
    assert (first["by_run"], first["objects"], first["at_least"], first["seconds"]) == (None, world.ledger.shards, False, None)
    world.clock.advance(world.grace_ms + 1)
    run_id = world.plan()["run_id"]
    world.store.on_call = lambda operation, key: world.meter.sent(operation_name="ListObjectsV2") if operation == "list" else None
    world.runs.walk(run_id, 0, out_of_time=lambda: True)
    world.clock.advance(2000)
    world.runs.walk(run_id, 0, out_of_time=never)
    world.runs.summarise(run_id)
    counted = world.runs.run(run_id).document["cost"]["counted"]
    assert counted["requests"]["list"] == 1
    again = world.runs.estimate()
    assert (again["by_run"], again["objects"], again["seconds"]) == (run_id, len(world.bucket_keys()), 2)
    assert {name: again[name] for name in counted} == counted


def test_an_estimate_reads_a_bounded_part_of_the_ledger(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.ledger, "shard_keys", lambda shard: (str(number) for number in range(10 * SAMPLED_KEYS)))
    assert world.runs.estimate()["at_least"] is True
