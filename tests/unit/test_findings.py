from __future__ import annotations

import csv
import io
import json
from typing import Any, get_args
from urllib.parse import unquote

import pytest

from stocktake.errors import InvalidRequest, OperationNotFound, RunIncomplete, StorageUnavailable
from stocktake.explanations import SENTENCES
from stocktake.layouts import Registry
from stocktake.model import FindingClass, State
from stocktake.reconciliation import Wanted, counts_by_project
from stocktake.requests import OfClassQuery
from tests.unit.test_reconciliation import aged
from tests.unit.world import HOUR, World, never

COMPOSED, DECOMPOSED = "projects/p1/scenes/s/media/caf\u00e9.png", "projects/p1/scenes/s/media/cafe\u0301.png"


def a_world_of_many(world: World) -> World:
    """Plants three unknown keys, four orphans of two projects and two layouts, and a record whose object is gone."""
    world.uploads.create_project("p2", {})
    world.plant("a.tar", "b.tar", "c.tar", body=b"12345")
    world.plant(*(f"projects/{project}/scenes/s/media/a.png" for project in ("p1", "p2")), "proj_p1_s_a.png", "audio/proj_p2/s/a.mp3")
    world.record("projects/p1/scenes/s/media/gone.png", State.STORED, size=7)
    return aged(world)


def keys(world: World, run_id: str, **wanted: Any) -> list[str]:
    """Reads every page of what is wanted, one finding at a time."""
    found, cursor = [], None
    while True:
        page, cursor = world.runs.findings(run_id, Wanted(**wanted), 1, cursor)
        found += [finding["key"] for finding in page]
        if cursor is None:
            return found


def changed(world: World, run_id: str, change: str, limit: int = 100) -> list[tuple[str, str]]:
    found, cursor = [], None
    while True:
        page, cursor = world.changes.page(world.runs.run(run_id), change, None, limit, cursor)
        found += [(row.document["key"], row.status) for row in page]
        if cursor is None:
            return found


# sentences


def test_every_class_and_kind_there_is_has_its_three_sentences_and_every_class_can_be_asked_for() -> None:
    assert {finding_class for finding_class, _ in SENTENCES} == set(FindingClass)
    for said in SENTENCES.values():
        assert all(text.endswith(".") and len(text) > 8 for text in (said.meaning, said.likely_cause, said.recommended)), said
    [asked] = [kind for kind in get_args(OfClassQuery.model_fields["finding_class"].annotation) if get_args(kind)]
    assert set(get_args(asked)) == {finding_class.value for finding_class in FindingClass}


# filters


def test_findings_pass_every_filter_that_is_given(world: World) -> None:
    run_id = a_world_of_many(world).reconcile()
    began = world.clock.at
    assert keys(world, run_id, finding_class="unknown") == ["a.tar", "b.tar", "c.tar"]
    assert keys(world, run_id, kind="gone") == ["projects/p1/scenes/s/media/gone.png"]
    assert keys(world, run_id, project="proj_p2") == ["audio/proj_p2/s/a.mp3", "projects/p2/scenes/s/media/a.png"]
    assert keys(world, run_id, project="(none)") == keys(world, run_id, layout="unknown") == ["a.tar", "b.tar", "c.tar"]
    assert keys(world, run_id, finding_class="orphan", project="p1", layout="flat") == ["proj_p1_s_a.png"]
    assert keys(world, run_id, finding_class="orphan", kind="deleted") == []
    assert len(keys(world, run_id, first_seen_after=began - 1, first_seen_before=began + 1)) == 8
    assert keys(world, run_id, first_seen_after=began) == keys(world, run_id, first_seen_before=began) == []
    run_id = world.seen_twice()
    world.repair(run_id)
    assert keys(world, run_id, repair="FOUND") == ["a.tar", "b.tar", "c.tar"]
    assert keys(world, run_id, repair="QUARANTINE", layout="content") == ["audio/proj_p2/s/a.mp3"]


def test_a_kind_that_there_is_not_is_refused_and_never_an_empty_list(world: World) -> None:
    run_id = a_world_of_many(world).reconcile()
    with pytest.raises(InvalidRequest, match=r"no kind 'etga' of findings: ask for one of .*, etag, "):
        keys(world, run_id, kind="etga")
    with pytest.raises(InvalidRequest, match="in class orphan"):
        keys(world, run_id, finding_class="orphan", kind="etag")


def test_a_page_reads_so_many_findings_at_most_and_goes_on_from_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.selection.READ_AT_MOST", 3)
    run_id = a_world_of_many(world).reconcile()
    page, cursor = world.runs.findings(run_id, Wanted(kind="no_layout"), 100, None)
    assert (page, cursor is None) == ([], False)
    assert keys(world, run_id, kind="no_layout") == ["a.tar", "b.tar", "c.tar"]
    with pytest.raises(InvalidRequest):
        world.runs.findings(run_id, Wanted("missing"), 100, cursor)


# counts


def test_a_run_counts_every_class_for_each_project_and_layout(world: World) -> None:
    record = world.upload()
    world.upload("p1", color=1)
    run_id = a_world_of_many(world).reconcile()
    run = world.runs.run(run_id)
    by_layout = run.document["counts"]["by_layout"]
    assert by_layout["unknown"] == {"unknown": {"objects": 3, "bytes": 15}}
    assert by_layout["current"]["matched"]["objects"] == 2
    assert by_layout["hierarchical"] == {"orphan": {"objects": 2, "bytes": 16}, "missing": {"objects": 1, "bytes": 7}}
    [none, p1, p2] = counts_by_project(world.operations, run, 10, None)[0]
    assert (none["project"], none["classes"]) == ("(none)", {"unknown": {"objects": 3, "bytes": 15}})
    assert {name: tally["objects"] for name, tally in p1["classes"].items()} == {"matched": 2, "missing": 1, "orphan": 2}
    assert (p1["bucket"]["objects"], p1["ledger"]["objects"], p2["bucket"]) == (4, 3, {"objects": 2, "bytes": 16})
    assert run.document["counts"]["bucket"]["objects"] == 9
    assert p1["classes"]["matched"]["bytes"] >= record.size


def test_counts_by_project_are_paged_over_their_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.runs.PROJECTS_PER_PART", 2)
    names = {f"q{number}" for number in range(4)}
    for name in names:
        world.uploads.create_project(name, {})
        world.plant(f"projects/{name}/scenes/s/media/a.png")
    run = world.runs.run(aged(world).reconcile())
    found, cursor = [], None
    while True:
        page, cursor = counts_by_project(world.operations, run, 1, cursor)
        found += [line["project"] for line in page]
        if cursor is None:
            break
    assert (sorted(found), len(found)) == (sorted(names), 4)
    with pytest.raises(InvalidRequest):
        counts_by_project(world.operations, run, 1, "eA")


def test_a_layout_is_named_as_it_is_read() -> None:
    registry = Registry()
    keys = [
        "projects/proj_proj_proj_1/2026/11/00000000000000000000000001.png",
        "projects/proj_/scenes/s/media/a",
        "images/proj_/s/a",
        "",
        "x",
    ]
    keys += [
        "projects/p/2026/11/00000000000000000000000001.png",
        "projects/p/scenes/s/media/a\n",
        "images/proj_1/s/a.png",
        "proj_a_b_c.mp4",
    ]
    keys += ["images/s/p/1795239000000-a1.png", "images/p/1795239000000-a1.png", ".stocktake/quarantine/1/e", ".stocktake/x", "proj__a_b"]
    for key in keys:
        parsed = registry.parse(key)
        assert registry.name_of(key) == (parsed.layout if parsed else None), key


# spellings


def test_two_objects_under_two_spellings_are_told_from_a_record_under_another(world: World) -> None:
    world.plant(COMPOSED, DECOMPOSED)
    assert world.found(aged(world).reconcile()) == {
        ("duplicate_spelling", "two_objects", COMPOSED),
        ("duplicate_spelling", "two_objects", DECOMPOSED),
    }
    world.aligner().align(COMPOSED)
    assert world.found(aged(world).reconcile()) == {("duplicate_spelling", "two_objects", DECOMPOSED)}


def test_an_object_that_r2_lists_under_another_spelling_is_counted_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plant(COMPOSED)
    world.aligner().align(COMPOSED)
    world.store.remove(COMPOSED)
    world.plant(DECOMPOSED)
    real = world.store.head
    monkeypatch.setattr(world.store, "head", lambda key: real(DECOMPOSED if key == COMPOSED else key))  # one object, as R2 has it
    run_id = aged(world).reconcile()
    assert {finding[:2] for finding in world.found(run_id)} <= {("duplicate_spelling", "recorded_otherwise"), ("mismatch", "etag")}
    counts = world.runs.run(run_id).document["counts"]
    assert (counts["bucket"]["objects"], "unlisted" in counts) == (1, False)


def test_nothing_acts_on_a_spelling(world: World) -> None:
    world.plant(COMPOSED, DECOMPOSED)
    run_id = aged(world).reconcile()
    assert world.repair(run_id)["done"] == {}
    assert world.bucket_keys() == {COMPOSED, DECOMPOSED}
    with pytest.raises(InvalidRequest):
        world.repair(run_id, {"duplicate_spelling": "quarantine"})


# since the run before


def test_what_is_new_unchanged_gone_and_repaired_is_counted_and_listed(world: World) -> None:
    first = a_world_of_many(world).reconcile()
    assert world.changes.counts(world.runs.run(first)) == {
        "since": None,
        "new": {"missing": 1, "orphan": 4, "unknown": 3},
        "unchanged": {},
        "gone": {},
        "repaired": {},
    }
    world.repair(first, {"missing": "mark_missing"})
    world.store.remove("a.tar")
    world.plant("b.tar", body=b"another")
    world.plant("d.tar")
    world.clock.advance(2 * HOUR)
    second = world.reconcile()
    assert world.changes.counts(world.runs.run(second)) == {
        "since": first,
        "new": {"unknown": 2},
        "unchanged": {"orphan": 4, "unknown": 1, "unstored": 1},
        "gone": {"unknown": 1},
        "repaired": {"missing": 1},
    }
    for limit in (1, 100):
        assert changed(world, second, "new", limit) == [("b.tar", "FOUND"), ("d.tar", "FOUND")]
        assert len(changed(world, second, "unchanged", limit)) == 6
        assert changed(world, second, "gone", limit) == [("projects/p1/scenes/s/media/gone.png", "MARK_MISSING"), ("a.tar", "FOUND")]
    assert changed(world, first, "gone") == []


def test_a_comparison_of_runs_short_of_time_or_killed_goes_on_from_what_it_saved(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.reconciliation.changes.CHECK_EVERY", 2)
    run_id = a_world_of_many(world).reconcile()
    expected = world.changes.counts(world.runs.run(run_id))
    row = world.operations.get(run_id, "changes")
    assert row is not None
    world.operations.update(row, document={"after": None, "counts": {}}, status="OPEN")
    steps = 1
    while not world.changes.step(run_id, out_of_time=lambda: True)["done"]:
        steps += 1
    assert steps == 5
    assert world.changes.counts(world.runs.run(run_id)) == expected
    assert world.changes.step(run_id, out_of_time=never)["done"]
    with pytest.raises(OperationNotFound):
        world.changes.step("nothing", out_of_time=never)


def test_a_page_of_what_is_gone_reads_so_many_findings_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a_world_of_many(world).reconcile()
    world.store.remove("c.tar")
    second = world.reconcile()
    monkeypatch.setattr("stocktake.reconciliation.changes.READ_AT_MOST", 3)
    page, cursor = world.changes.page(world.runs.run(second), "gone", None, 100, None)
    assert (page, cursor is None) == ([], False)
    assert changed(world, second, "gone") == [("c.tar", "FOUND")]


def test_nobody_can_say_what_is_gone_after_a_run_that_did_not_see_everything(world: World) -> None:
    run_id = world.plan()["run_id"]
    with pytest.raises(RunIncomplete):
        world.changes.page(world.runs.run(run_id), "gone", None, 10, None)
    assert world.changes.counts(world.runs.run(run_id)) is None


# files


def exported(world: World, run_id: str, form: str) -> bytes:
    operation = world.exports.request_findings(run_id, form)
    world.pump()
    done = world.exports.operation(operation.operation_id)
    assert done.status == "COMPLETE"
    return b"".join(world.files.fetch(file.url).body for file in world.exports.files(done))


def test_findings_are_exported_as_lines_that_say_what_the_api_says(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.migration.exports.FILE_BYTES", 1000)  # files of a line or two
    run_id = a_world_of_many(world).reconcile()
    read = [json.loads(line) for line in exported(world, run_id, "jsonl").splitlines()]
    assert [line["key"] for line in read] == [finding["key"] for finding in world.runs.findings(run_id, None, 100, None)[0]]
    assert all(line["meaning"] and line["likely_cause"] and line["recommended"] and line["first_seen_at"].endswith("Z") for line in read)


def test_no_cell_of_a_csv_is_taken_for_a_formula_and_every_key_can_be_had_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.migration.exports.FILE_BYTES", 1000)
    odd = {"=1+1", "+1", "-1", "@x", "'=1", "\uff1d1", "a\r\nb", '"q",;x', "caf\u00e9 %41", "\t=1", "x\u2028y"}
    trimmed = {f"{unseen}=1" for unseen in (" ", "\u00a0", "\u3000", "\u200b", "\ufeff", " \u200b\ufeff ")}
    odd |= trimmed
    world.plant(*odd)
    body = exported(world, aged(world).reconcile(), "csv").decode()
    rows = list(csv.DictReader(io.StringIO(body, newline="")))
    assert {unquote(row["key_encoded"]) for row in rows} == odd
    for cell in (cell for row in rows for cell in row.values()):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d")), cell
    assert {row["key"] for row in rows} >= {"'=1+1", "''=1", "a%0D%0Ab", "%09=1", *(f"'{key}" for key in trimmed)}
    assert body.count("\n") == len(odd) + 1


def test_findings_of_a_run_that_has_not_ended_are_not_exported(world: World) -> None:
    run_id = world.plan()["run_id"]
    with pytest.raises(RunIncomplete):
        world.exports.request_findings(run_id, "csv")
    with pytest.raises(OperationNotFound):
        world.exports.request_findings("nothing", "csv")


# deletions under way


def test_what_its_deletion_has_not_come_to_yet_is_not_missing(world: World) -> None:
    world.uploads.create_project("p2", {})
    gone, kept = world.upload(), world.upload("p2")
    aged(world)
    world.plant("keeps the bucket from being empty")
    world.store.fail("delete", error=StorageUnavailable("after the tombstone"))
    with pytest.raises(StorageUnavailable):
        world.object_deletions.delete(gone.object_id)
    world.store.remove(gone.key)
    world.store.remove(kept.key)
    world.ledger.begin_deletion("p2", "a deletion", world.clock.at)
    run_id = world.reconcile()
    assert world.found(run_id) == set()
    assert world.runs.run(run_id).document["counts"]["leaving"]["objects"] == 2
