from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stocktake.errors import LedgerError, MessagingError, OperationNotFound, ProjectNotFound, RecordChanged
from stocktake.ledger import shard_of
from stocktake.model import State
from stocktake.recounts import LOOKS, SHOWN_PER_SHARD
from tests.planting import put_records
from tests.unit.ledger.builders import Deployment, a_record, client_error
from tests.unit.world import Crash, World, never


def a_ledger(world: World, records: int = 12) -> None:
    """Records of two projects, spread over the shards."""
    world.uploads.create_project("p2", {})
    for number in range(records):
        project = f"p{number % 2 + 1}"
        record = a_record(f"projects/{project}/2026/11/{number:026d}.png", project_id=project, size=number)
        world.ledger.move(None, replace(record, metadata={"provider": f"v{number % 3}"}), gated=True)


def falsify(deployment: Deployment, key: str, project: str = "p1", /, **numbers: int) -> None:
    """Adds to numbers of the count row of a key, as no code of ours does."""
    for name, amount in numbers.items():
        deployment.tables.client.update_item(
            TableName=deployment.tables.projects.Meta.table_name,
            Key={"project": {"S": project}, "part": {"S": f"counts#{shard_of(key, 16)}"}},
            UpdateExpression="ADD #n :n",
            ExpressionAttributeNames={"#n": name},
            ExpressionAttributeValues={":n": {"N": str(amount)}},
        )


def recounted(world: World, *, repair: bool = False, project_id: str | None = None) -> dict[str, Any]:
    """Takes a recount to its end and returns what it answers."""
    operation = world.recounts.request(repair=repair, project_id=project_id)
    world.pump()
    return world.recounts.answer(world.recounts.operation(operation.operation_id))


def test_counts_that_are_right_are_proved_without_a_write(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    before = list(deployment.tables.projects.scan())
    told = recounted(world)
    assert (told["status"], told["rows"], told["drifted"], told["busy"]) == ("DONE", 32, [], 0)
    assert [row.attribute_values for row in deployment.tables.projects.scan()] == [row.attribute_values for row in before]


KEY = "projects/p1/2026/11/00000000000000000000000000.png"


def test_a_drift_is_reported_by_number_and_left_as_it_is(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=3, stored_bytes=-7)
    wrong = world.analytics.overall()
    told = recounted(world)
    counted, shard = world.ledger.counts("p1")[State.STORED], shard_of(KEY, 16)
    assert told["drifted"] == [{"project_id": "p1", "shard": shard, "of": "STORED", **_sides(told)}]
    line = told["drifted"][0]
    assert line["counted"]["objects"] - line["found"]["objects"] == 3
    assert line["counted"]["bytes"] - line["found"]["bytes"] == -7
    assert (told["drifted_rows"], told["repaired"], counted.objects) == (1, 0, 6 + 3)
    assert world.analytics.overall()["stored"] == wrong["stored"]


def _sides(told: dict[str, Any]) -> dict[str, Any]:
    return {side: told["drifted"][0][side] for side in ("counted", "found")}


def test_a_repair_makes_every_number_what_the_records_say(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    right = world.analytics.overall()
    falsify(deployment, KEY, stored_objects=3, missing_objects=2, **{"t:image/png:o": -5, "l:current:B": 9, "p:0:o": 1, "u:4:O": 2})
    assert world.analytics.overall()["by_type"] != right["by_type"]
    told = recounted(world, repair=True)
    assert (told["drifted_rows"], told["repaired"]) == (1, 1)
    assert [line["of"] for line in told["drifted"]] == [
        "layout current, any state",
        "MISSING",
        "provider v0, stored",
        "STORED",
        "type image/png, stored",
        "purpose other, any state",
    ]
    names = ("stored", "counts", "by_layout", "by_type", "by_provider", "by_purpose")
    assert {name: world.analytics.overall()[name] for name in names} == {name: right[name] for name in names}
    assert recounted(world)["drifted"] == []


def test_the_counts_say_when_they_were_proved(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    assert (world.analytics.overall()["recounted_at"], world.analytics.overall()["recount"]) == (None, None)
    falsify(deployment, KEY, stored_objects=1)
    told = recounted(world)
    overall = world.analytics.overall()
    assert overall["recounted_at"] == told["finished_at"] == world.clock()
    assert overall["recount"] == {
        "recount_id": told["recount_id"],
        **{name: told[name] for name in ("rows", "drifted_rows", "repaired", "busy", "attributed")},
    }
    recounted(world, project_id="p1")
    assert world.analytics.overall()["recount"]["recount_id"] == told["recount_id"], "a recount of one project proves no other"


def test_a_recount_of_one_project_looks_at_no_other(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=1)
    falsify(deployment, KEY, "p2", stored_objects=1)
    told = recounted(world, repair=True, project_id="proj_p1")
    assert (told["project_id"], told["rows"], told["repaired"]) == ("p1", 16, 1)
    assert world.ledger.counts("p2")[State.STORED].objects == 6 + 1
    with pytest.raises(ProjectNotFound):
        world.recounts.request(repair=False, project_id="nobody")


def writing_between(world: World, monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Has somebody write into the shard of KEY after its rows were read and before they are read again, so many times."""
    written: list[str] = []
    real = world.recounts._rows.records

    def records(shard: str, *rest: Any) -> Any:
        yield from real(shard, *rest)
        if shard == shard_of(KEY, 16) and len(written) < times:
            name = next(f"k{n}" for n in range(1000) if shard_of(f"k{n}", 16) == shard and f"k{n}" not in written)
            world.ledger.move(None, a_record(name, size=5), gated=True)
            written.append(name)

    monkeypatch.setattr(world.recounts._rows, "records", records)
    return written


@pytest.mark.parametrize("repair", [False, True])
def test_what_is_written_while_it_is_counted_is_counted_again_and_is_no_drift(
    world: World, monkeypatch: pytest.MonkeyPatch, repair: bool
) -> None:
    a_ledger(world)
    written = writing_between(world, monkeypatch, LOOKS - 1)
    told = recounted(world, repair=repair)
    assert (told["drifted"], told["repaired"], told["busy"], told["rows"]) == ([], 0, 0, 32)
    assert world.ledger.counts("p1")[State.STORED].objects == 6 + len(written)


@pytest.mark.parametrize("repair", [False, True])
def test_a_row_that_is_never_quiet_is_busy_and_nothing_is_done_to_it(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, repair: bool
) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=10)
    written = writing_between(world, monkeypatch, 1000)
    told = recounted(world, repair=repair)
    assert (told["drifted"], told["repaired"], told["busy"], told["rows"]) == ([], 0, 1, 31)
    assert world.ledger.counts("p1")[State.STORED].objects == 6 + len(written) + 10


def test_a_write_at_the_last_moment_is_not_overwritten_by_a_repair(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=10)
    real = world.recounts._rows.repair
    late = iter([True])

    def repair(row: Any, found: Any, *, by: str) -> bool:
        if next(late, False):
            name = next(f"k{n}" for n in range(1000) if shard_of(f"k{n}", 16) == row.shard)
            world.ledger.move(None, a_record(name), gated=True)
        return real(row, found, by=by)

    monkeypatch.setattr(world.recounts._rows, "repair", repair)
    told = recounted(world, repair=True)
    assert (told["repaired"], told["busy"]) == (1, 0)
    assert world.ledger.counts("p1")[State.STORED].objects == 7
    assert recounted(world)["drifted"] == []


def test_an_older_version_of_the_code_is_noticed_by_the_numbers_it_moves(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    rows = world.recounts._rows
    row = next(row for row in rows.rows(shard_of(KEY, 16)) if row.project == "p1")
    falsify(deployment, KEY, stored_objects=1)  # it counts no write
    assert not rows.repair(row, {**row.numbers, "stored_objects": 0}, by="r")


def test_a_number_that_an_older_version_begins_is_noticed_too(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    rows = world.recounts._rows
    row = next(row for row in rows.rows(shard_of(KEY, 16)) if row.project == "p1")
    falsify(deployment, KEY, missing_objects=1)  # of which the row had none
    assert not rows.repair(row, {**row.numbers, "missing_objects": 5}, by="r")


def test_what_an_older_version_writes_after_the_records_were_read_is_not_undone_by_a_repair(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=3)
    real = world.recounts._rows.records
    looks = iter(["attributes", "suspects", "would repair"])

    def records(shard: str, *rest: Any) -> Any:
        yield from real(shard, *rest)
        if shard == shard_of(KEY, 16) and next(looks, "") == "would repair":
            name = next(f"k{n}" for n in range(1000) if shard_of(f"k{n}", 16) == shard)
            put_records(deployment.tables, [a_record(name, size=1)])  # the record and its numbers, and no write

    monkeypatch.setattr(world.recounts._rows, "records", records)
    told = recounted(world, repair=True)
    assert next(looks, "") == ""
    assert (told["repaired"], told["busy"], told["rows"]) == (1, 0, 32)
    assert world.ledger.counts("p1")[State.STORED].objects == 7


@pytest.mark.parametrize("code", ["TransactionConflictException", "ProvisionedThroughputExceededException"])
def test_a_row_that_is_being_written_when_it_is_repaired_is_looked_at_again(world: World, deployment: Deployment, code: str) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=3)
    operation = world.recounts.request(repair=True, project_id="p1")
    real = world.recounts._rows._set

    def refused_once(*arguments: Any) -> bool:
        patched.setattr(world.recounts._rows, "_set", real)
        deployment.faults.refuse("UpdateItem", client_error(code, "UpdateItem"))
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(world.recounts._rows, "_set", refused_once)
        world.pump()
    told = world.recounts.answer(world.recounts.operation(operation.operation_id))
    assert (told["status"], told["repaired"], told["busy"]) == ("DONE", 1, 0)


def test_a_repair_whose_answer_was_lost_is_counted_as_one(world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=3)
    real = world.recounts._rows._set

    def lost(*arguments: Any) -> bool:
        deployment.faults.lose_reply("UpdateItem")
        return real(*arguments)

    monkeypatch.setattr(world.recounts._rows, "_set", lost)
    told = recounted(world, repair=True)
    assert (told["status"], told["drifted_rows"], told["repaired"], told["rows"]) == ("DONE", 1, 1, 32)
    again = recounted(world, repair=True)
    assert (again["drifted_rows"], again["repaired"]) == (0, 0), "it is the repair of that recount alone"


def test_a_step_that_dies_after_a_repair_counts_it_when_it_is_taken_up_again(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=3)
    recount_id = world.recounts.request(repair=True).operation_id
    real = world.recounts._rows._set

    def dying(*arguments: Any) -> bool:
        real(*arguments)
        raise Crash

    monkeypatch.setattr(world.recounts._rows, "_set", dying)
    with pytest.raises(Crash):
        world.recounts.step(recount_id, out_of_time=never)
    world.clock.advance(300_001)
    world.pump()
    told = world.recounts.answer(world.recounts.operation(recount_id))
    assert (told["status"], told["drifted_rows"], told["repaired"]) == ("DONE", 1, 1)


def test_a_repair_is_of_the_very_write_after_which_the_row_was_read(world: World) -> None:
    a_ledger(world)
    rows = world.recounts._rows
    row = next(row for row in rows.rows(shard_of(KEY, 16)) if row.project == "p1")
    assert not rows.repair(replace(row, writes=row.writes - 1), {**row.numbers, "missing_objects": 5}, by="r")
    assert rows.repair(row, {**row.numbers, "missing_objects": 5}, by="r")


def test_records_of_an_older_version_are_in_no_dimension_until_a_recount_that_repairs(world: World, deployment: Deployment) -> None:
    older = [
        a_record(f"projects/p1/2026/11/{number:026d}.png", object_id=f"o{number}", size=2, metadata={"purpose": "input"})
        for number in range(130)
    ]
    put_records(deployment.tables, older)
    world.ledger.move(None, a_record("projects/p1/2026/11/new.png", size=1), gated=True)
    overall = world.analytics.overall()
    assert (overall["stored"]["objects"], overall["unattributed"]) == (131, {"objects": 130, "bytes": 260})
    assert overall["by_purpose"] == [{"name": "none", "objects": 1, "bytes": 1}]
    assert "130 stored objects of an older version" in overall["explanation"]
    assert (recounted(world)["drifted"], recounted(world)["attributed"]) == ([], 0)
    told = recounted(world, repair=True)
    assert (told["attributed"], told["drifted"], told["busy"]) == (130, [], 0)
    overall = world.analytics.overall()
    assert overall["unattributed"] == {"objects": 0, "bytes": 0}
    assert overall["by_purpose"] == [{"name": "input", "objects": 130, "bytes": 260}, {"name": "none", "objects": 1, "bytes": 1}]
    assert world.ledger.record(older[0].key) == older[0], "nothing else of it changed, and neither did its version"


def test_half_of_a_transaction_in_a_page_of_records_is_no_drift(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_ledger(world)
    real = world.recounts._rows.records
    late = iter([True])

    def records(shard: str, *rest: Any) -> Any:
        for page in real(shard, *rest):
            if page.numbers.get("p1") and next(late, False):  # a record that is not seen yet, though its row was counted
                yield replace(page, numbers={**page.numbers, "p1": {}})
            else:
                yield page

    monkeypatch.setattr(world.recounts._rows, "records", records)
    told = recounted(world)
    assert next(late, False) is False
    assert (told["drifted_rows"], told["busy"], told["rows"]) == (0, 0, 32)


def test_counts_that_are_right_are_looked_at_once(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    deployment.slept.clear()
    recounted(world)
    assert deployment.slept == []
    falsify(deployment, KEY, stored_objects=1)
    recounted(world)
    assert len(deployment.slept) == 1


def test_older_records_that_nobody_can_count_stay_and_the_repair_goes_on(world: World, deployment: Deployment) -> None:
    world.uploads.create_project("p2", {})
    older = [
        a_record(f"projects/{project}/2026/11/{number:026d}.png", project_id=project, object_id=f"{project}{number}")
        for project in ("p1", "p2", "gone")
        for number in range(8)
    ]
    put_records(deployment.tables, older)
    deployment.tables.projects("p1", f"counts#{shard_of(KEY, 16)}").delete()
    for shard in range(16):
        deployment.tables.projects("gone", f"counts#{shard:02x}").delete()
    lost = sum(shard_of(record.key, 16) == shard_of(KEY, 16) for record in older if record.project_id == "p1")
    told = recounted(world, repair=True)
    assert (told["status"], told["attributed"]) == ("DONE", 16 - lost)
    assert {line["project_id"] for line in told["drifted"]} == {"p1", "gone"}


def test_older_records_with_too_many_names_for_one_update_are_counted_by_several(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake.ledger.ledger._NUMBERS_PER_UPDATE", 24)
    names = [name for n in range(1000) if shard_of(name := f"k{n:03d}", 16) == "00"][:10]
    older = [a_record(name, object_id=name, metadata={"provider": name}) for name in names]
    put_records(deployment.tables, older)
    told = recounted(world, repair=True)
    assert (told["attributed"], told["drifted"]) == (10, [])
    updates = [item["Update"] for _, call in deployment.faults.calls for item in call.get("TransactItems", ()) if "Update" in item]
    assert max(one["UpdateExpression"].count(":") for one in updates) <= 25, "24 numbers, and the write"


def test_who_read_a_record_before_it_was_attributed_moves_it_only_after_reading_it_again(world: World, deployment: Deployment) -> None:
    older = a_record(KEY, size=2)
    put_records(deployment.tables, [older])
    recounted(world, repair=True)
    with pytest.raises(RecordChanged):
        world.ledger.move(older, None, gated=False)
    world.ledger.move(world.ledger.record(KEY), None, gated=False)
    assert (recounted(world)["drifted"], world.analytics.overall()["by_type"]) == ([], [])


def test_a_step_that_is_short_of_time_hands_on_what_it_saw(world: World, deployment: Deployment) -> None:
    a_ledger(world, 40)
    falsify(deployment, KEY, stored_objects=1)
    deployment.faults.page_size = 2
    ended = world.recounts.request(repair=True)
    steps = 0
    while world.messages:
        _, message, _ = world.messages.popleft()
        ended = world.recounts.step(message["recount_id"], out_of_time=lambda: True)
        steps += 1
        assert len(world.messages) <= 1
    told = world.recounts.answer(ended)
    assert (told["status"], told["rows"], told["repaired"], told["busy"]) == ("DONE", 32, 1, 0)
    assert steps > 16


def test_messages_that_come_twice_count_once(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=1)
    world.deliveries = 2
    told = recounted(world, repair=True)
    assert (told["rows"], told["repaired"]) == (32, 1)


def test_a_step_that_dies_anywhere_is_taken_up_again(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=1)
    operation = world.recounts.request(repair=True)
    deaths: list[tuple[int, type[BaseException]]] = [(3, LedgerError), (5, Crash), (0, LedgerError), (7, Crash)]
    for number, death in deaths:
        for _ in range(number):
            deployment.faults.before("Query", lambda: None)
        refusal: Any = Crash() if death is Crash else client_error("ProvisionedThroughputExceededException", "Query")
        deployment.faults.refuse("Query", refusal)
        with pytest.raises(death):
            world.recounts.step(operation.operation_id, out_of_time=never)
        if death is Crash:
            assert world.recounts.step(operation.operation_id, out_of_time=never).status == "RUNNING", "its lease is not over"
            world.clock.advance(300_001)
    world.pump()
    told = world.recounts.answer(world.recounts.operation(operation.operation_id))
    assert (told["status"], told["rows"], told["repaired"]) == ("DONE", 32, 1)


def test_a_step_that_dies_before_it_wrote_down_how_far_it_is_leaves_what_the_next_goes_on_from(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name for n in range(1000) if shard_of(name := f"k{n:03d}", 16) == "00"][:20]
    for name in names:
        world.ledger.move(None, a_record(name, size=1), gated=True)
    deployment.faults.page_size = 4
    recount_id = world.recounts.request(repair=True).operation_id
    walk: dict[str, Any] = {}
    while walk.get("look") != 1:
        walk = world.recounts.step(recount_id, out_of_time=lambda: True).document["walk"] or {}

    def dying(operation: Any, **change: Any) -> Any:
        if change.get("walk"):
            raise Crash
        return real(operation, **change)

    real = world.recounts._update
    monkeypatch.setattr(world.recounts, "_update", dying)
    with pytest.raises(Crash):
        world.recounts.step(recount_id, out_of_time=iter([False, True]).__next__)
    monkeypatch.setattr(world.recounts, "_update", real)
    world.clock.advance(300_001)
    world.pump()
    told = world.recounts.answer(world.recounts.operation(recount_id))
    assert (told["status"], told["drifted_rows"], told["busy"]) == ("DONE", 0, 0)
    assert world.ledger.counts("p1")[State.STORED].objects == len(names)


def test_records_of_a_project_whose_count_row_is_lost_are_a_drift(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    deployment.tables.projects("p1", f"counts#{shard_of(KEY, 16)}").delete()
    told = recounted(world, repair=True)
    assert {(line["project_id"], line["shard"]) for line in told["drifted"]} == {("p1", shard_of(KEY, 16))}
    assert (told["repaired"], all(line["counted"]["objects"] == 0 for line in told["drifted"])) == (0, True)
    assert world.analytics.overall()["projects_in_all"] == 2, "and nobody is refused an answer for it"


def test_differences_are_shown_up_to_so_many_of_a_shard_and_all_are_counted(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    for number in range(SHOWN_PER_SHARD + 20):
        falsify(deployment, KEY, "p1", **{f"u:{number}:o": 1})
    told = recounted(world, repair=True)
    assert (told["drifted_rows"], told["repaired"], recounted(world)["drifted_rows"]) == (1, 1, 0)


def test_a_day_has_one_recount_that_repairs_nothing(world: World, deployment: Deployment) -> None:
    a_ledger(world)
    falsify(deployment, KEY, stored_objects=1)
    first, again = world.recounts.daily(), world.recounts.daily()
    world.pump()
    assert first.operation_id == again.operation_id == "daily-2026-11-21"
    told = world.recounts.answer(world.recounts.operation(first.operation_id))
    assert (told["repair"], told["drifted_rows"], told["repaired"]) == (False, 1, 0)
    assert [one.operation_id for one in world.recounts.recent(5)] == [first.operation_id]


def test_a_recount_that_the_queue_does_not_take_has_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(message: Any, delay: int) -> None:
        raise MessagingError("a queue did not take a message")

    monkeypatch.setattr(world.recounts, "_send", refuse)
    with pytest.raises(MessagingError):
        world.recounts.request(repair=False)
    (operation,) = world.recounts.recent(1)
    assert (operation.status, operation.document["why"]) == ("FAILED", "a queue did not take a message")
    with pytest.raises(OperationNotFound):
        world.recounts.operation("nobody's")


def test_the_recount_of_a_day_that_the_queue_did_not_take_is_taken_when_its_timer_is_delivered_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(message: Any, delay: int) -> None:
        raise MessagingError("a queue did not take a message")

    with monkeypatch.context() as broken:
        broken.setattr(world.recounts, "_send", refuse)
        with pytest.raises(MessagingError):
            world.recounts.daily()
    operation = world.recounts.daily()
    world.pump()
    assert world.recounts.operation(operation.operation_id).status == "DONE"


def test_what_is_kept_of_a_drift_holds_no_name_and_the_answer_has_them_while_their_project_lives(
    world: World, deployment: Deployment
) -> None:
    a_ledger(world)
    falsify(deployment, KEY, **{"p:0:o": 1})
    told = recounted(world)
    recount_id = told["recount_id"]
    assert [line["of"] for line in told["drifted"]] == ["provider v0, stored"]
    rows = list(world.operations.all_parts(recount_id))
    assert rows
    assert not any("v0" in repr(row.document) for row in rows)
    operation = world.recounts.operation(recount_id)
    closed = world.ledger.begin_deletion("p1", "d", world.clock())
    assert world.recounts.answer(operation)["drifted"] == told["drifted"], "the names are there until the project is gone"
    world.ledger.finish_deletion("p1", "d", closed.epoch, world.clock())
    assert [line["of"] for line in world.recounts.answer(operation)["drifted"]] == ["provider other, stored"]
    again = world.ledger.create_project("p1", {}, world.clock())
    world.ledger.move(None, a_record("anew", epoch=again.epoch, metadata={"provider": "another"}), gated=True)
    assert [line["of"] for line in world.recounts.answer(operation)["drifted"]] == ["provider other, stored"]
