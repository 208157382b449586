from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake import answers
from stocktake.errors import ProjectNotFound
from stocktake.explanations import counts_explained
from stocktake.model import State, Tally
from tests.inventories import a_row
from tests.unit.ledger.builders import Deployment, a_record
from tests.unit.test_inventory import an_inventory, compared
from tests.unit.test_reconciliation import ORPHAN, aged
from tests.unit.world import DAY, World


def test_first_field_report_19_rows_15_objects_analytics_says_15(world: World) -> None:
    for number in range(15):
        world.upload(color=number)
    for number in range(4):  # rows whose images never reached the bucket: they point at the generator's own URLs
        world.record(f"projects/p1/2026/11/{900 + number:026d}.png", State.EXTERNAL if number % 2 else State.PENDING)
    aged(world).reconcile()
    overall = world.analytics.overall()
    assert overall["records"]["objects"] == 19
    assert overall["stored"]["objects"] == 15
    assert overall["bucket"]["objects"] == 15
    assert overall["drift"]["objects"] == 0
    assert overall["findings"]["unstored"]["objects"] == 4
    assert overall["explanation"] == (
        "The ledger has 19 records: 15 with a stored object, 2 pending (announced, and not confirmed) and 2 external (the bytes lie at a "
        "foreign URL). The bucket held 15 objects when it was last counted, one for each record stored then."
    )


def test_second_field_report_12_rows_none_of_them_there(world: World) -> None:
    keys = [world.upload(color=number).key for number in range(12)]
    there = [f"projects/p1/scenes/s{number}/media/a.png" for number in range(6)]
    world.plant(*there)  # the bucket holds six others
    for key in keys:
        world.store.remove(key)
    run_id = aged(world).reconcile()
    assert {key for name, _, key in world.found(run_id) if name == "missing"} == set(keys)
    assert world.analytics.overall()["drift"]["objects"] == 6 - 12
    assert world.repair(run_id, {"missing": "mark_missing"})["done"] == {"MARK_MISSING": 12}
    overall = world.analytics.overall()
    assert (overall["stored"]["objects"], overall["counts"]["MISSING"]["objects"]) == (0, 12)
    assert {key for name, _, key in world.found(aged(world).reconcile()) if name == "missing"} == set()


def test_before_the_first_run_the_bucket_is_not_guessed(world: World) -> None:
    world.upload()
    overall = world.analytics.overall()
    assert (overall["bucket"], overall["drift"], overall["findings"]) == (None, None, None)
    assert overall["explanation"] == "The ledger has 1 record: 1 with a stored object. The bucket has not been counted yet."


def test_an_empty_bucket_is_not_said_to_hold_one_for_each_record(world: World) -> None:
    aged(world).reconcile()
    said = world.analytics.overall()["explanation"]
    assert said == "The ledger has 0 records: 0 with a stored object. The bucket held 0 objects when it was last counted."


def test_the_drift_is_bucket_minus_ledger_with_the_time_it_was_counted(world: World) -> None:
    world.plant(ORPHAN, body=b"12345")
    world.upload()
    aged(world).reconcile()
    counted_at = world.clock()
    world.clock.advance(1000)
    overall = world.analytics.overall()
    assert overall["drift"] == {"objects": 1, "bytes": 5}
    assert (overall["bucket"]["counted_at"], overall["as_of"]) == (counted_at, counted_at + 1000)
    assert overall["bucket"]["age_seconds"] == 1


def test_an_incomplete_run_is_never_shown_as_the_bucket(world: World) -> None:
    world.upload()
    aged(world).reconcile()
    world.upload(color=1)
    world.runs.summarise(world.plan()["run_id"])
    assert world.analytics.overall()["bucket"]["objects"] == 1


def test_each_project_has_its_own_line(world: World) -> None:
    world.uploads.create_project("proj_a", {})
    record = world.upload("proj_a")
    lines = {line["project_id"]: line["counts"]["STORED"]["objects"] for line in world.analytics.overall()["projects"]}
    assert lines == {"p1": 0, "proj_a": 1}
    assert world.analytics.project("a")["stored"] == {"objects": 1, "bytes": record.size}
    with pytest.raises(ProjectNotFound):
        world.analytics.project("nobody")


def test_runs_and_deletions_are_listed_newest_first(world: World) -> None:
    first = world.reconcile()
    world.clock.advance(1)
    second = world.reconcile()
    assert [run.operation_id for run in world.analytics.runs(5)] == [second, first]
    deletion = world.deletions.request("p1")
    assert [operation.operation_id for operation in world.analytics.deletions(5)] == [deletion.operation_id]


def test_every_number_of_the_explanation_is_accounted_for(world: World) -> None:
    stored = [world.upload(color=number) for number in range(5)]
    world.plant(ORPHAN, "somewhere/else.bin")
    world.store.remove(stored[0].key)
    aged(world).reconcile()
    world.upload(color=77)
    world.clock.advance(3 * DAY)
    overall = world.analytics.overall()
    assert overall["explanation"].endswith(
        "The bucket held 6 objects when it was last counted: the 5 of records stored then, plus 1 without a record, plus 1 "
        "under keys that no layout explains, less 1 whose object is missing. Since then the records stored have become 1 more."
    )


def test_what_is_acknowledged_is_named_and_explains_the_drift(world: World) -> None:
    for number in range(3):
        world.upload(color=number)
    there = [f"projects/p1/scenes/s{number}/media/a.png" for number in range(4)]
    world.plant(*there)
    world.repair(aged(world).reconcile(), {"orphan": "acknowledge"})
    run_id = aged(world).reconcile()
    overall, project = world.analytics.overall(), world.analytics.project("p1")
    assert (overall["acknowledged"], project["acknowledged"]) == ({"objects": 4, "bytes": 32}, {"objects": 4, "bytes": 32})
    assert [tally["objects"] for tally in overall["findings"].values()] == [0] * 6
    said = (
        "the 3 of records stored then, plus 4 for findings that are acknowledged. Of what was found then, 4 are acknowledged, and counted "
        "apart."
    )
    assert overall["explanation"].endswith(said)
    assert project["explanation"].endswith(said)
    world.plant("projects/p1/scenes/s/media/just-now.png")
    world.reconcile()
    assert (
        "plus 5 for findings that are acknowledged, uploads under way then or other findings." in world.analytics.overall()["explanation"]
    )
    assert world.analytics.keep_day()["acknowledged"]["objects"] == 4
    kept = world.analytics.keep_run(run_id)
    assert kept is not None
    assert kept["acknowledged"]["objects"] == 4


def test_of_what_is_acknowledged_on_both_sides_no_object_is_said_to_be_of_a_record(world: World) -> None:
    lost = world.upload()
    world.plant(ORPHAN)
    world.store.remove(lost.key)
    world.repair(aged(world).reconcile(), {"orphan": "acknowledge", "missing": "acknowledge"})
    aged(world).reconcile()
    assert "as many as records were stored then. Of what was found then, 2 are acknowledged" in world.analytics.overall()["explanation"]


@given(
    st.lists(st.integers(0, 30), min_size=6, max_size=6),
    st.tuples(*[st.integers(0, 9)] * 4),
    st.integers(0, 50),
    st.integers(0, 50),
)
def test_the_explanation_adds_up_whatever_was_found(states: list[int], found: tuple[int, int, int, int], held: int, then: int) -> None:
    counts = dict(zip(State, (Tally(number, number) for number in states), strict=True))
    by_class = {name: {"objects": number} for name, number in zip(("orphan", "unknown", "missing", "acknowledged"), found, strict=True)}
    said = counts_explained(counts, {"bucket": {"objects": held}, "stored_then": then}, by_class, 0)
    of_records, of_bucket = said.split("The bucket held ")
    records, *parts = _numbers(of_records)
    assert records == sum(parts) == sum(states)
    of_bucket = of_bucket.partition(" Since then")[0].partition(" Of what was found")[0]
    objects, *terms = _numbers(of_bucket)
    signs = [-1 if "less" in term else 1 for term in of_bucket.split(", ")[1:] if any(map(str.isdigit, term))] if terms else []
    assert objects == held == (terms[0] + sum(s * n for s, n in zip(signs, terms[1:], strict=True)) if terms else then)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.replace(",", " ").replace(".", " ").split() if word.isdigit()]


def test_what_is_stored_is_shown_by_layout_type_provider_and_purpose_the_most_first(world: World, deployment: Deployment) -> None:
    world.uploads.create_project("p2", {})
    for number in range(130):
        said = {"provider": f"v{number % 65 + (number % 2) * 1000}", "purpose": "output" if number % 10 else "input"}
        record = a_record(f"k{number}", project_id=f"p{number % 2 + 1}", size=2, metadata=said)
        world.ledger.move(None, record if number else replace(record, state=State.PENDING), gated=True)
    overall = world.analytics.overall()
    assert overall["by_layout"] == [{"name": "current", "objects": 129, "bytes": 258}]
    assert overall["by_type"] == [{"name": "image/png", "objects": 129, "bytes": 258}]
    assert overall["by_purpose"] == [{"name": "output", "objects": 117, "bytes": 234}, {"name": "input", "objects": 12, "bytes": 24}]
    assert overall["by_provider"][0] == {"name": "other", "objects": 66, "bytes": 2 * 66}
    for dimension in ("layout", "type", "provider", "purpose"):
        assert sum(line["objects"] for line in overall[f"by_{dimension}"]) == overall["stored"]["objects"]
        assert len(overall[f"by_{dimension}"]) <= 101
    assert world.analytics.project("p1")["by_purpose"][0]["name"] == "output"


def test_days_and_complete_runs_are_kept_as_they_were(world: World) -> None:
    first = aged(world).reconcile()
    world.analytics.keep_run(first)
    world.analytics.keep_day()
    world.upload()
    world.analytics.keep_day()
    world.clock.advance(DAY)
    second = aged(world).reconcile()
    world.analytics.keep_run(second)
    world.analytics.keep_run(second)
    world.analytics.keep_day()
    assert world.analytics.keep_run(world.plan()["run_id"]) is None, "a run that is not complete is no history"
    history = world.analytics.history(30)
    assert [(day["stored"]["objects"], day["bucket"]["objects"]) for day in history["days"]] == [(1, 0), (1, 1)]
    assert [(run["run_id"], run["records"]["objects"], run["orphan"]["objects"]) for run in history["runs"]] == [
        (first, 0, 0),
        (second, 1, 0),
    ]
    assert [day["day"] for day in world.analytics.history(1)["days"]] == [history["days"][1]["day"]]
    assert [run["run_id"] for run in world.analytics.history(1)["runs"]] == [second]
    world.clock.advance(40 * DAY)
    assert world.analytics.history(30) == {"days": [], "runs": [], "more_runs": False}


def test_an_inventorys_run_is_no_history_since_its_bucket_is_of_another_day_than_its_ledger(world: World) -> None:
    world.upload()
    rows = [a_row(row) for page in world.store.list() for row in page]
    inventory = an_inventory(world, rows, files=1).deliver()
    aged(world).upload(color=1)
    run_id = compared(aged(world), inventory)
    assert world.runs.run(run_id).status == "COMPLETE"
    assert world.analytics.keep_run(run_id) is None
    assert world.analytics.history(30)["runs"] == []


def test_runs_that_the_history_leaves_out_are_said_to_be_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.analytics.MAX_RUNS", 2)
    for _ in range(3):
        world.analytics.keep_run(world.reconcile())
        world.clock.advance(DAY)
    newest = world.analytics.history(30)
    assert (len(newest["runs"]), newest["more_runs"]) == (2, True)
    assert [(len(told["runs"]), told["more_runs"]) for told in map(world.analytics.history, (1, 2))] == [(0, False), (1, False)]


def test_figures_kept_before_it_was_told_what_is_acknowledged_say_that_nobody_knows() -> None:
    day, run, tally = {"day": "2026-11-26", "at": 0}, {"run_id": "r1", "finished_at": 0}, {"objects": 1, "bytes": 2}
    told = answers.history({"days": [day, {**day, "acknowledged": tally}], "runs": [run], "more_runs": False})
    assert [kept["acknowledged"] for kept in (*told["days"], *told["runs"])] == [None, tally, None]


def test_a_day_before_the_first_run_has_no_bucket(world: World) -> None:
    world.upload()
    day = world.analytics.keep_day()
    assert (day["stored"]["objects"], day["bucket"], day["orphan"]) == (1, None, None)


def test_the_counts_of_many_projects_take_a_few_reads_of_count_rows_and_touch_no_record(world: World, deployment: Deployment) -> None:
    for number in range(40):
        world.uploads.create_project(f"many-{number}", {})
    world.ledger.move(None, a_record("k", project_id="many-7", metadata={"provider": "openai"}), gated=True)
    deployment.faults.calls.clear()
    overall = world.analytics.overall()
    assert (overall["stored"]["objects"], overall["projects_in_all"]) == (1, 41)
    calls = [(name, params["TableName"]) for name, params in deployment.faults.calls]
    assert calls == [*[("Scan", "projects")] * 4, *[("GetItem", "operations")] * 2]
