"""What each command shows, how it ends, and what it sends: against a twin of the API."""

from __future__ import annotations

import json
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stocktake_cli import main
from stocktake_cli.commands.group import stocktake
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Unreachable
from stocktake_cli.output import Output
from stocktake_cli.wire import Reply
from tests.unit.cli.answers import counts, deletion, finding, migration, planned, preview, project, run, suspects, tally
from tests.unit.cli.conftest import Cli, Sent, problem


def test_analytics_shows_records_and_objects_side_by_side_so_that_19_against_15_explains_itself(cli: Cli) -> None:
    shown = cli("analytics", answers={"GET /analytics": counts(), "GET /reconciliations": {"reconciliations": []}})
    lines = {line.strip().rpartition("  ")[0] or line: line for line in shown.out.splitlines()}
    assert any("records in the ledger" in line and " 19 " in line for line in lines.values())
    assert any("of them with a stored object" in line and " 15 " in line for line in lines.values())
    assert any("objects in the bucket" in line and " 15 " in line for line in lines.values())
    assert shown.exit == 0


@pytest.mark.parametrize("seen", [counts(bucket=16), counts(bucket=None), counts(orphan=1)], ids=["drift", "never-counted", "findings"])
def test_analytics_ends_with_1_where_the_story_differs_or_was_never_compared(cli: Cli, seen: dict[str, object]) -> None:
    shown = cli("analytics", "--json", answers={"GET /analytics": seen, "GET /reconciliations": {"reconciliations": []}})
    assert shown.exit == 1
    assert shown.document["status"] == "different"


@pytest.mark.parametrize(("bucket", "code"), [(19, 0), (11, 0), (20, 1)], ids=["acknowledged", "on the other side", "more than that"])
def test_analytics_ends_with_0_where_no_more_differs_than_is_acknowledged(cli: Cli, bucket: int, code: int) -> None:
    seen = counts(bucket=bucket) | {"acknowledged": {"objects": 4, "bytes": 1}}
    shown = cli("analytics", answers={"GET /analytics": seen, "GET /reconciliations": {"reconciliations": []}})
    assert (shown.exit, "acknowledged findings" in shown.out) == (code, True)


def test_analytics_draws_the_history_of_complete_runs_oldest_first(cli: Cli) -> None:
    of_an_inventory = {**run("of another day", orphan=3), "inventory": {"location": "s3://b/i/manifest.json"}}
    runs = [run("new", orphan=5), of_an_inventory, run("broken", "FAILED"), run("old", orphan=1)]
    shown = cli("analytics", answers={"GET /analytics": counts(), "GET /reconciliations": {"reconciliations": runs}})
    assert "▁█  1 → 5 in 2 runs" in shown.out


def test_runs_says_of_each_what_it_found_or_why_it_is_not_complete(cli: Cli) -> None:
    broken = {**run("broken", "FAILED"), "why": "the listing broke off"}
    del broken["counts"]
    shown = cli("runs", answers={"GET /reconciliations": {"reconciliations": [run("new", orphan=5), broken]}})
    new, failed = (line for line in shown.out.splitlines() if line.strip().startswith(("new", "broken")))
    assert new.split()[:2] == ["new", "complete"]
    assert new.split()[-2:] == ["20", "5"]
    assert "the listing broke off" in failed
    assert "stocktake reconcile" in cli("runs", answers={"GET /reconciliations": {"reconciliations": []}}).err


def recounted(**more: Any) -> dict[str, Any]:
    seen = {"recount_id": "r1", "status": "DONE", "repair": False, "shards": {"done": 16, "of": 16}, "rows": 32, "why": None}
    return {**seen, "drifted_rows": 0, "repaired": 0, "busy": 0, "attributed": 0, "drifted": [], **more}


DRIFT = {"project_id": "p1", "shard": "0a", "of": "STORED", "counted": tally(19), "found": tally(15)}


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (recounted(), 0),
        (recounted(drifted_rows=1, drifted=[DRIFT]), 1),
        (recounted(drifted_rows=1, repaired=1, drifted=[DRIFT]), 0),
        (recounted(status="RUNNING"), 1),
        (recounted(busy=1), 1),
        (recounted(status="FAILED", why="the table is gone"), 7),
    ],
)
def test_a_recount_ends_with_1_where_counts_are_not_proved(cli: Cli, ended: dict[str, Any], code: int) -> None:
    shown = cli("recount", "--timeout", "1", answers={"POST /recounts": ended, "GET /recounts/r1": ended})
    assert shown.exit == code
    assert ("19 objects" in shown.out and "15 objects" in shown.out) is bool(ended["drifted"])


def test_a_recount_of_one_project_repairs_only_where_asked(cli: Cli) -> None:
    cli("recount", "p1", "--repair", answers={"POST /recounts": recounted(), "GET /recounts/r1": recounted()})
    assert cli.wire.sent[0].body == {"repair": True, "project_id": "p1"}


def test_analytics_shows_the_sentence_that_adds_up_and_what_is_stored_by_layout(cli: Cli) -> None:
    seen = {**counts(), "explanation": "The ledger has 19 records.", "by_layout": [{"name": "current", **tally(15)}]}
    shown = cli("analytics", answers={"GET /analytics": seen, "GET /reconciliations": {"reconciliations": []}})
    assert "The ledger has 19 records." in shown.out
    assert "stored by layout" in shown.out


def test_projects_lists_what_each_holds(cli: Cli) -> None:
    shown = cli("projects", "--json", answers={"GET /analytics": counts()})
    assert [of["project_id"] for of in shown.result["projects"]] == ["p1"]


def test_projects_says_so_where_there_is_none(cli: Cli) -> None:
    shown = cli("projects", answers={"GET /analytics": {**counts(), "projects": [], "projects_in_all": 0}})
    assert (shown.out, "projects PROJECT_ID --open" in shown.err) == ("", True)


def test_a_project_is_opened_only_when_it_is_not_open(cli: Cli) -> None:
    answers: dict[str, Any] = {"GET /projects/p1": project(), "GET /projects/p1/analytics": counts()}
    assert cli("projects", "p1", "--open", answers=answers).exit == 0
    assert "POST /projects" not in cli.wire.asked()
    answers = {"GET /projects/p2": problem(404, "project-not-found", "none"), "POST /projects": project("p2")}
    assert cli("projects", "p2", "--open", answers={**answers, "GET /projects/p2/analytics": counts()}).exit == 0
    assert "POST /projects" in cli.wire.asked()


def removing(sent: Sent) -> dict[str, object]:
    if sent.query.get("dry_run") != "true":
        return deletion()
    return preview("k3") if sent.query.get("cursor") else preview("k1", "k2", cursor="more")


def test_delete_project_says_what_would_go_over_all_pages_and_does_nothing_unless_told_to(cli: Cli) -> None:
    shown = cli("delete-project", "p1", "--json", answers={"DELETE /projects/p1": removing})
    assert shown.exit == 0
    assert (shown.result["dry_run"], shown.result["preview"]["objects"], shown.result["preview"]["keys"]) == (True, 3, ["k1", "k2", "k3"])
    assert all(sent.query.get("dry_run") == "true" for sent in cli.wire.sent)


def test_a_dry_run_is_none_the_less_one_with_yes(cli: Cli) -> None:
    shown = cli("delete-project", "p1", "--dry-run", "--yes", answers={"DELETE /projects/p1": removing})
    assert "Would remove 3 objects" in shown.out
    assert all(sent.query.get("dry_run") == "true" for sent in cli.wire.sent)


def test_delete_project_with_yes_removes_and_says_when_the_receipt_comes(cli: Cli) -> None:
    shown = cli("delete-project", "p1", "--yes", "--reason", "gone", answers={"DELETE /projects/p1": removing})
    assert shown.exit == 0
    assert cli.wire.sent[-1].body == {"reason": "gone"}
    assert "2026-11-18T13:00:00.000Z" in shown.err


@pytest.mark.parametrize(("typed", "code"), [("p1\n", 0), ("yes\n", 3), ("p10\n", 3), ("\n", 3), ("", 5)])
def test_at_a_terminal_the_projects_id_has_to_be_typed_after_the_numbers_were_said(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    monkeypatch.setattr(Output, "is_interactive", property(lambda self: True))
    shown = cli("delete-project", "p1", answers={"DELETE /projects/p1": removing}, typed=typed)
    assert shown.exit == code
    assert "This removes 3 objects, 300 B of p1, for good." in shown.err
    assert [sent.query.get("dry_run") for sent in cli.wire.sent] == ["true", "true", *([None] if code == 0 else [])]


@pytest.mark.parametrize(("status", "left", "code"), [("DELETED", 0, 0), ("INCOMPLETE", 2, 1)])
def test_delete_project_waits_for_the_receipt_and_ends_with_0_only_where_it_says_deleted(
    cli: Cli, status: str, left: int, code: int
) -> None:
    answers = {"DELETE /projects/p1": removing, "GET /deletions/del-1": [deletion(), deletion(), deletion(status, left=left)]}
    shown = cli("delete-project", "p1", "--yes", "--wait", "--json", answers=answers)
    assert shown.exit == code
    assert shown.result["deletion"]["receipt"]["remaining_objects"] == left


def test_a_wait_ends_when_its_time_is_over(cli: Cli) -> None:
    answers = {"DELETE /projects/p1": removing, "GET /deletions/del-1": deletion()}
    assert cli("delete-project", "p1", "--yes", "--wait", "--timeout", "9", answers=answers).exit == 1
    assert 9 <= sum(cli.slept) < 20


def verified(left: int, status: str = "DELETED", *, suspected: int = 0) -> dict[str, object]:
    return {
        "deletion_id": "del-1",
        "status": status,
        "complete": True,
        "remaining": tally(left),
        "keys": [f"k{n}" for n in range(left)],
        **suspects(suspected),
    }


@pytest.mark.parametrize(("left", "status", "code"), [(0, "DELETED", 0), (1, "DELETED", 1), (0, "REMOVING", 1)])
def test_verify_ends_with_0_only_where_the_deletion_is_proved_and_a_fresh_listing_finds_nothing(
    cli: Cli, left: int, status: str, code: int
) -> None:
    answers = {"POST /deletions/del-1/verify": verified(left), "GET /deletions/del-1": deletion(status)}
    assert cli("verify", "del-1", answers=answers).exit == code


VERIFY = "POST /deletions/del-1/verify"


def test_verify_that_waited_for_the_receipt_looks_again_and_does_not_hold_what_went_since_against_it(cli: Cli) -> None:
    answers = {VERIFY: [verified(2, "REMOVING"), verified(0)], "GET /deletions/del-1": [deletion(), deletion(), deletion("DELETED")]}
    shown = cli("verify", "del-1", "--wait", answers=answers)
    assert (shown.exit, "left: k0" in shown.out) == (0, False)


def test_verify_that_waited_for_nothing_looks_once(cli: Cli) -> None:
    answers = {VERIFY: verified(0), "GET /deletions/del-1": deletion("DELETED")}
    assert cli("verify", "del-1", "--wait", answers=answers).exit == 0
    assert cli.wire.asked().count(VERIFY) == 1


def test_verify_shows_the_receipt_of_what_ended_incomplete_again_and_does_not_take_it_up_once_more(cli: Cli) -> None:
    answers = {VERIFY: verified(2, "INCOMPLETE"), "GET /deletions/del-1": [deletion(), deletion(), deletion("INCOMPLETE", left=1)]}
    shown = cli("verify", "del-1", "--wait", answers=answers)
    assert (shown.exit, "left: k0 (refused)" in shown.out, "k1" in shown.out) == (1, True, False)
    assert cli.wire.asked().count(VERIFY) == 1


@pytest.mark.parametrize("asked", [("verify", "del-1"), ("verify", "del-1", "--wait"), ("delete-project", "p1", "--yes", "--wait")])
def test_a_deletion_that_is_incomplete_for_a_suspect_alone_names_it_and_the_way_out(cli: Cli, asked: tuple[str, ...]) -> None:
    answers = {
        "DELETE /projects/p1": removing,
        VERIFY: verified(0, "INCOMPLETE", suspected=1),
        "GET /deletions/del-1": deletion("INCOMPLETE", suspected=1),
    }
    shown = cli(*asked, answers=answers)
    assert (shown.exit, "suspect, left alone: s0 (no layout explains it)" in shown.out) == (1, True)
    assert "delete or move by hand" in shown.err
    assert "stocktake redrive deletion --yes" in shown.err


def test_verify_says_why_by_the_receipt_of_before_and_how_many_more_there_are(cli: Cli) -> None:
    answers = {VERIFY: verified(23, "INCOMPLETE"), "GET /deletions/del-1": [deletion("INCOMPLETE", left=2), deletion("REMOVING")]}
    shown = cli("verify", "del-1", answers=answers)
    assert shown.out.splitlines()[-21:-18] == ["left: k0 (refused)", "left: k1 (refused)", "left: k2"]
    assert shown.out.splitlines()[-1] == "and 3 more"
    assert "Free what is left" in shown.err


def test_verify_of_what_is_held_says_until_when_it_can_be_undone(cli: Cli) -> None:
    held = {**deletion("HELD"), "erases_at": "2026-11-19T12:00:00.000Z"}
    shown = cli("verify", "del-1", answers={VERIFY: verified(2, "HELD"), "GET /deletions/del-1": held})
    assert (shown.exit, "until then stocktake undo del-1" in shown.err) == (1, True)


def test_verify_takes_a_project_for_its_last_deletion(cli: Cli) -> None:
    answers = {
        "GET /projects/p1": project(deletion_id="del-1"),
        "POST /deletions/del-1/verify": verified(0),
        "GET /deletions/del-1": deletion("DELETED"),
    }
    assert cli("verify", "p1", answers=answers).exit == 0
    assert cli("verify", "p9").exit == 6


def test_reconcile_waits_for_its_run_and_ends_with_1_where_something_differs(cli: Cli) -> None:
    waiting = [run(status="REQUESTED"), run(status="RUNNING"), run(orphan=2)]
    answers = {"POST /reconciliations": {"run_id": "run-1"}, "GET /reconciliations/run-1": waiting}
    shown = cli("reconcile", "--json", answers=answers)
    assert shown.exit == 1
    assert shown.result["run"]["counts"]["orphan"]["objects"] == 2
    assert not any("apply" in path for path in cli.wire.asked())


def test_what_to_say_next_after_a_run_are_whole_commands(cli: Cli) -> None:
    said = cli("reconcile", "--run", "run-1", answers={"GET /reconciliations/run-1": run(orphan=2)}).err
    assert "stocktake findings run-1 shows them; stocktake reconcile --run run-1 --apply repairs" in said


def test_reconcile_ends_with_0_where_nothing_differs(cli: Cli) -> None:
    answers = {"POST /reconciliations": {"run_id": "run-1"}, "GET /reconciliations/run-1": run()}
    assert cli("reconcile", answers=answers).exit == 0


def test_a_run_that_is_not_complete_is_never_applied(cli: Cli) -> None:
    shown = cli("reconcile", "--run", "run-1", "--apply", "--yes", answers={"GET /reconciliations/run-1": run(status="INCOMPLETE")})
    assert shown.exit == 1
    assert not any("apply" in path for path in cli.wire.asked())


PLAN = "POST /reconciliations/run-1/plan"


def test_apply_says_in_numbers_what_it_would_do_and_does_it_only_with_yes(cli: Cli) -> None:
    plans = [planned("PLANNING"), planned(missing=("mark_missing", 3))]
    answers = {"GET /reconciliations/run-1": run(missing=3, orphan=2), PLAN: plans}
    shown = cli("reconcile", "--run", "run-1", "--apply", answers=answers)
    assert "Would do: mark_missing 3 missing." in shown.out
    assert shown.exit == 1
    # what touches objects has to be said
    assert cli.wire.sent[1].body == {"plan": {"missing": "mark_missing", "mismatch": "refresh", "unstored": "settle"}}
    assert cli.wire.sent[2].body == {"plan_id": "plan-1"}
    assert not any("/apply" in path for path in cli.wire.asked())


def repaired(skipped: int = 0, **done: int) -> dict[str, object]:
    return {**run(missing=3), "repair": {"status": "DONE", "plan": {}, "done": done, "skipped": skipped}}


@pytest.mark.parametrize(("skipped", "done", "code"), [(0, 3, 0), (1, 2, 1)])
def test_apply_with_yes_ends_with_0_only_where_everything_that_differed_was_repaired(cli: Cli, skipped: int, done: int, code: int) -> None:
    answers = {
        "GET /reconciliations/run-1": [run(missing=3), repaired(skipped, MARK_MISSING=done)],
        PLAN: planned(missing=("mark_missing", 3)),
        "POST /reconciliations/run-1/apply": {"status": "RUNNING"},
    }
    assert cli("reconcile", "--run", "run-1", "--apply", "--yes", answers=answers).exit == code
    assert cli.wire.sent[2].body == {"plan_id": "plan-1"}  # exactly what was said is done


def test_apply_does_what_do_says_and_nothing_else(cli: Cli) -> None:
    answers = {
        "GET /reconciliations/run-1": [run(orphan=1), repaired(QUARANTINE=1)],
        PLAN: planned(orphan=("quarantine", 1)),
        "POST /reconciliations/run-1/apply": {},
    }
    asked = ("reconcile", "--run", "run-1", "--apply", "--do", "orphan=quarantine", "--first-run", "--yes")
    assert cli(*asked, answers=answers).exit == 0
    assert [sent.body for sent in cli.wire.sent[1:3]] == [{"plan": {"orphan": "quarantine"}}, {"plan_id": "plan-1", "first_run": True}]


def test_a_deployment_that_makes_no_plans_is_told_the_plan_itself(cli: Cli) -> None:
    runs = [run(missing=3), repaired(MARK_MISSING=3)]
    answers: dict[str, Any] = {"GET /reconciliations/run-1": runs, "POST /reconciliations/run-1/apply": {}}
    answers[PLAN] = Reply(404, {}, b'{"message":"Not Found"}')
    shown = cli("reconcile", "--run", "run-1", "--apply", "--do", "missing=mark_missing", "--yes", answers=answers)
    assert (shown.exit, cli.wire.sent[2].body) == (0, {"plan": {"missing": "mark_missing"}})


def test_apply_asks_for_nothing_where_there_is_nothing_of_it(cli: Cli) -> None:
    answers = {"GET /reconciliations/run-1": run(unknown=1), PLAN: planned(missing=("mark_missing", 0))}
    shown = cli("reconcile", "--run", "run-1", "--apply", "--yes", "--json", answers=answers)
    assert (shown.exit, shown.result["applied"]) == (1, False)
    assert not any("/apply" in path for path in cli.wire.asked())


def test_a_plan_that_names_no_class_is_told_all_that_can_be_named(cli: Cli) -> None:
    assert "orphan.none" in cli("reconcile", "--apply", "--do", "lost=adopt").err
    assert cli("reconcile", "--apply", "--do", "orphan.active=adopt").exit == 2


def test_a_run_that_was_taken_up_says_when_it_was_started(cli: Cli) -> None:
    answers = {"POST /reconciliations": {"run_id": "run-1"}, "GET /reconciliations/run-1": run()}
    assert "COMPLETE: run-1, started at 2026-11-18T12:00:00.000Z" in cli("reconcile", "--run", "run-1", answers=answers).out
    assert "started at" not in cli("reconcile").out


def test_a_run_can_be_stopped_and_estimated_before(cli: Cli) -> None:
    estimate = {"usd": 0.01, "seconds": 90, "objects": 5, "records": 6, "at_least": True}
    answers = {"POST /reconciliations/run-1/stop": run(status="STOPPED"), "POST /reconciliations": estimate}
    assert cli("reconcile", "--stop", "run-1", answers=answers).exit == 0
    shown = cli("reconcile", "--estimate")
    assert "1 min 30 s" in shown.out
    assert cli.wire.sent[-1].body == {"dry_run": True}


def test_reconcile_takes_an_inventory_in_place_of_the_listing(cli: Cli) -> None:
    answers = {"POST /reconciliations": {"run_id": "run-1"}, "GET /reconciliations/run-1": run()}
    assert cli("reconcile", "--inventory", "s3://b/i/manifest.json", answers=answers).exit == 0
    assert cli.wire.sent[0].body == {"inventory": "s3://b/i/manifest.json"}


WRONG = [
    ("--do", "orphan=burn", "--apply"),
    ("--do", "missing=mark_missing"),
    ("--yes",),
    ("--first-run",),
    ("--yes", "--stop", "run-1"),
    ("--direct", "--apply"),
    ("--inventory", "s3://b/i/manifest.json", "--run", "run-1"),
    ("--accept-loss", "--run", "run-1"),
    ("--accept-loss", "--direct"),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_plan_that_cannot_be_meant_is_refused_before_anything_is_asked(cli: Cli, wrong: tuple[str, ...]) -> None:
    assert cli("reconcile", *wrong).exit == 2
    assert cli.wire.sent == []


RECONCILE = {"POST /reconciliations": {"run_id": "run-1"}, "GET /reconciliations/run-1": run(status="RUNNING")}
WAITED: list[tuple[tuple[str, ...], dict[str, Any], str, str]] = [
    (("reconcile",), RECONCILE, "reconciliation run-1", "stocktake reconcile --stop run-1"),
    (
        ("reconcile", "--run", "run-1", "--apply", "--yes"),
        {
            "GET /reconciliations/run-1": [run(missing=3), {**run(missing=3), "repair": {"status": "RUNNING"}}],
            PLAN: planned(missing=("mark_missing", 3)),
            "POST /reconciliations/run-1/apply": {},
        },
        "the repair by reconciliation run-1",
        "stocktake reconcile --stop run-1",
    ),
    (
        ("migrate", "--yes"),
        {"POST /migrations": migration("RUNNING"), "GET /migrations/mig-1": migration("RUNNING")},
        "migration mig-1",
        "stocktake migrate --resume mig-1",
    ),
    (
        ("delete-project", "p1", "--yes", "--wait"),
        {"DELETE /projects/p1": removing, "GET /deletions/del-1": deletion("REMOVING")},
        "deletion del-1",
        "stocktake verify del-1 --wait",
    ),
    (
        ("undo", "del-1"),
        {"POST /deletions/del-1/undo": {}, "GET /deletions/del-1": deletion("RESTORING")},
        "deletion del-1",
        "stocktake undo del-1",
    ),
    (
        ("restore", "--run", "run-1"),
        {"POST /reconciliations/run-1/restore": {}, "GET /reconciliations/run-1": run()},
        "set aside",
        "stocktake reconcile --stop run-1",
    ),
    (
        ("recount",),
        {"POST /recounts": recounted(status="RUNNING"), "GET /recounts/r1": recounted(status="RUNNING")},
        "recount r1",
        "begins another",
    ),
    (
        ("export",),
        {"POST /exports": {"export_id": "exp-1"}, "GET /exports/exp-1": {"status": "RUNNING", "lines": 0, "bytes": 0}},
        "export exp-1",
        "begins another",
    ),
]


@pytest.mark.parametrize(("asked", "answers", "what", "then"), WAITED, ids=[asked[0] for asked, *_ in WAITED])
def test_an_interrupt_says_what_goes_on_in_the_deployment_and_what_takes_it_up_or_ends_it(
    cli: Cli, asked: tuple[str, ...], answers: dict[str, Any], what: str, then: str
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    cli.sleep = interrupt
    told = cli(*asked, "--json", answers=answers).document
    assert (told["exit"], told["status"], told["problem"]["type"]) == (5, "interrupted", "interrupted")
    assert f"{what} goes on in the deployment" in told["problem"]["message"]
    assert then in told["problem"]["advice"]


def test_the_id_of_what_begins_is_said_before_it_is_waited_for_and_again_when_the_time_is_over(cli: Cli) -> None:
    shown = cli("reconcile", "--timeout", "3", answers=RECONCILE)
    assert shown.err.splitlines()[0] == "begun: reconciliation run-1"
    assert "the time to wait is over; reconciliation run-1 goes on in the deployment: stocktake reconcile --run run-1" in shown.err


def test_migrations_lists_them_by_their_id_and_ends_with_1_where_one_failed(cli: Cli) -> None:
    seen = {**migration(), "source": None, "project_id": None, "dry_run": False, "requested_at": "2026-11-18T12:00:00.000Z"}
    failed = {**seen, "migration_id": "mig-2", "status": "FAILED", "why": "the file is gone", "dry_run": True}
    shown = cli("migrations", answers={"GET /migrations": {"migrations": [failed, seen]}})
    assert (shown.exit, [line.split()[:2] for line in shown.out.splitlines()[1:]]) == (1, [["mig-2", "failed,"], ["mig-1", "complete"]])
    assert cli("migrations", answers={"GET /migrations": {"migrations": [seen]}}).exit == 0
    assert "nothing was imported" in cli("migrations", answers={"GET /migrations": {"migrations": []}}).err


def test_findings_are_those_of_the_newest_complete_run(cli: Cli) -> None:
    runs = {"reconciliations": [run("run-3", "RUNNING"), run("run-2"), run("run-1")]}
    pages = [{"findings": [finding("a"), finding("b")], "cursor": "c"}, {"findings": [finding("c")], "cursor": None}]
    answers = {"GET /reconciliations": runs, "GET /reconciliations/run-2/findings": pages}
    shown = cli("findings", "--class", "orphan", "--json", answers=answers)
    assert shown.exit == 1
    assert [of["key"] for of in shown.result["findings"]] == ["a", "b", "c"]
    assert cli.wire.sent[-1].query == {"class": "orphan", "limit": "100", "cursor": "c"}


def test_findings_show_people_the_kind_beside_the_class(cli: Cli) -> None:
    shown = cli("findings", "r", answers={"GET /reconciliations/r/findings": {"findings": [finding("a")], "cursor": None}})
    assert shown.out.splitlines()[1].split() == ["orphan", "active", "3", "B", "found", "a"]


def test_findings_say_once_for_each_kind_what_is_recommended(cli: Cli) -> None:
    found = [finding("a"), finding("b"), {**finding("c", "unknown"), "kind": "no_layout", "recommended": "Look."}]
    shown = cli("findings", "r", answers={"GET /reconciliations/r/findings": {"findings": found, "cursor": None}})
    assert shown.out.splitlines()[4:] == ["orphan.active: Adopt it.", "unknown.no_layout: Look."]


def test_findings_show_so_many_and_say_that_there_are_more(cli: Cli) -> None:
    answers = {"GET /reconciliations/r/findings": {"findings": [finding("a"), finding("b")], "cursor": None}}
    shown = cli("findings", "r", "--limit", "1", "--json", answers=answers)
    assert (len(shown.result["findings"]), shown.result["more"]) == (1, True)


def test_findings_that_were_acknowledged_are_said_to_be_and_are_no_reason_to_end_with_1(cli: Cli) -> None:
    known = {**finding("a"), "repair": "ACKNOWLEDGED"}
    answers = {"GET /reconciliations/r/findings": {"findings": [known], "cursor": None}}
    shown = cli("findings", "r", answers=answers)
    assert (shown.exit, "there is none" in shown.err, "1 more acknowledged" in shown.err) == (0, True, True)
    shown = cli("findings", "r", "--acknowledged", answers=answers)
    assert (shown.exit, shown.out.splitlines()[1].split()[4]) == (0, "acknowledged")
    assert cli("findings", "r", answers={"GET /reconciliations/r/findings": {"findings": [known, finding("b")], "cursor": None}}).exit == 1


@pytest.mark.parametrize(("last", "code"), [("ACKNOWLEDGED", 0), ("FOUND", 1)])
def test_findings_end_the_same_however_many_are_shown(cli: Cli, last: str, code: int) -> None:
    known = {**finding("a"), "repair": "ACKNOWLEDGED"}
    pages = [{"findings": [known, known], "cursor": "c"}, {"findings": [{**finding("b"), "repair": last}], "cursor": None}]
    ended = [
        cli("findings", "r", *asked, answers={"GET /reconciliations/r/findings": list(pages)}).exit
        for asked in (("--limit", "1"), ("--all",))
    ]
    assert ended == [code, code]


def test_no_findings_end_with_0_and_no_run_with_6(cli: Cli) -> None:
    assert cli("findings", "r", answers={"GET /reconciliations/r/findings": {"findings": [], "cursor": None}}).exit == 0
    assert cli("findings", answers={"GET /reconciliations": {"reconciliations": []}}).exit == 6


def entry(entry_id: str, run_id: str = "run-1", status: str = "HELD") -> dict[str, object]:
    return {"entry_id": entry_id, "run_id": run_id, "status": status, "key": "k", "size": 3, "expires_at": "2026-12-01T00:00:00.000Z"}


def test_quarantine_lists_what_it_is_asked_for(cli: Cli) -> None:
    pages = [{"entries": [entry("e1"), entry("e2")], "cursor": "c"}, {"entries": [entry("e3")], "cursor": None}]
    shown = cli("quarantine", "--run", "run-1", "--status", "HELD", "--json", answers={"GET /quarantine": pages})
    assert [of["entry_id"] for of in shown.result["entries"]] == ["e1", "e2", "e3"]
    assert cli.wire.sent[-1].query == {"run": "run-1", "status": "HELD", "limit": "100", "cursor": "c"}


@pytest.mark.parametrize("status", ["STOPPED", "FAILED"])
def test_restore_waits_no_longer_than_the_restoration_goes_on_and_says_why_it_ended(cli: Cli, status: str) -> None:
    ended = {**run(), "restoration": {"status": status, "restored": 1, "failed": 0, "why": "it was stopped by request"}}
    answers = {"POST /reconciliations/run-1/restore": {}, "GET /reconciliations/run-1": [run(), ended]}
    shown = cli("restore", "--run", "run-1", answers=answers)
    assert (shown.exit, len(cli.slept)) == (1, 1)
    assert f"{status}: 1 restored, 0 not (it was stopped by request)" in shown.out
    assert "stocktake quarantine --run run-1 --status HELD" in shown.err


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 1)])
def test_restore_brings_back_what_a_run_set_aside(cli: Cli, failed: int, code: int) -> None:
    done = {**run(), "restoration": {"status": "DONE", "restored": 2, "failed": failed}}
    answers = {"POST /reconciliations/run-1/restore": {}, "GET /reconciliations/run-1": [run(), done]}
    shown = cli("restore", "--run", "run-1", "--json", answers=answers)
    assert (shown.exit, shown.result["restoration"]["restored"]) == (code, 2)


@pytest.mark.parametrize(("status", "code"), [("PASSED", 0), ("FAILED", 1)])
def test_a_drill_ends_with_0_only_where_it_passed(cli: Cli, status: str, code: int) -> None:
    done = {"drill_id": "d1", "status": status, "differences": ["the metadata"] if code else []}
    shown = cli("drill", answers={"POST /quarantine/drill": done})
    assert shown.exit == code
    assert ("the metadata" in shown.out) == bool(code)


def test_drills_that_never_passed_end_with_1(cli: Cli) -> None:
    assert cli("drill", "--list", answers={"GET /quarantine/drills": {"drills": [], "last_passed_at": None}}).exit == 1
    assert "stocktake drill makes one" in cli("drill", "--list").err


def test_an_older_deployment_says_that_it_cannot_do_something(cli: Cli) -> None:
    shown = cli("drill", answers={"POST /quarantine/drill": Reply(404, {}, b'{"message":"Not Found"}')})
    assert shown.exit == 6
    assert "older than the command line" in shown.err


@pytest.mark.parametrize(("left", "code"), [(0, 0), (2, 1)])
def test_undo_ends_with_0_only_where_everything_came_back(cli: Cli, left: int, code: int) -> None:
    undone = {**deletion("UNDONE"), "undone": {**tally(3), "not_restored_objects": left, "not_restored": []}}
    answers = {"POST /deletions/del-1/undo": {}, "GET /deletions/del-1": [deletion("HELD"), deletion("RESTORING"), undone]}
    assert cli("undo", "del-1", answers=answers).exit == code


def test_deletions_says_of_each_how_it_stands_and_what_is_next(cli: Cli) -> None:
    late = "2026-11-21T12:00:00.000Z"
    lines = [
        {**deletion("DELETED"), "deletion_id": "del-3"},
        {**deletion("HELD"), "deletion_id": "del-2", "erases_at": late},
        {**deletion("REMOVING"), "sweep_at": late},
    ]
    cli.now = lambda: datetime.fromisoformat(late).timestamp() + 900
    shown = cli("deletions", "--limit", "3", answers={"GET /deletions": {"deletions": lines}})
    assert (shown.exit, cli.wire.sent[0].query) == (0, {"limit": "3"})
    assert [line.split()[:3] for line in shown.out.splitlines()[1:]] == [
        ["del-3", "deleted", "p1"],
        ["del-2", "held", "p1"],
        ["del-1", "removing", "p1"],
    ]
    assert "erased at 2026-11-21 12:00 UTC" in shown.out
    assert "final sweep at 2026-11-21 12:00 UTC" in shown.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (deletion("INCOMPLETE"), "stocktake verify del-1 names what is left, and the suspects"),
        ({**deletion("REMOVING"), "sweep_at": "2026-11-21T12:00:00.000Z"}, "overdue: stocktake verify del-1"),
    ],
)
def test_deletions_ends_with_1_where_one_needs_somebody(cli: Cli, line: dict[str, Any], said: str) -> None:
    cli.now = lambda: datetime.fromisoformat("2026-11-21T12:15:01.000Z").timestamp()
    shown = cli("deletions", answers={"GET /deletions": {"deletions": [line]}})
    assert (shown.exit, said in shown.out) == (1, True)


REPLAY = "POST /deletions/replay"


def replay(*projects: str, complete: bool = True, dry_run: bool = False) -> dict[str, Any]:
    replayed = [{"project_id": name, "deletion_id": f"del-of-{name}"} for name in projects]
    return {"dry_run": dry_run, "complete": complete, "tombstones": len(projects), "replayed": replayed}


def test_a_replay_says_which_projects_came_back_and_deletes_them_only_with_yes(cli: Cli) -> None:
    shown = cli("replay-erasures", answers={REPLAY: replay("p1", "p2", dry_run=True)})
    assert (shown.exit, "Would delete 2 projects again" in shown.out) == (1, True)
    assert [sent.body for sent in cli.wire.sent] == [{"dry_run": True}]
    cli.wire.sent.clear()
    steps = [replay("p1", "p2", dry_run=True), replay("p1", complete=False), replay("p1", "p2")]
    shown = cli("replay-erasures", "--yes", "--json", answers={REPLAY: steps})
    assert (shown.exit, [of["project_id"] for of in shown.result["replayed"]]) == (0, ["p1", "p2"])
    assert [sent.body for sent in cli.wire.sent] == [{"dry_run": True}, {}, {}]


def test_a_replay_that_is_never_through_ends_with_1_when_its_time_is_over(cli: Cli) -> None:
    answers = {REPLAY: [replay("p1", dry_run=True), replay("p1", complete=False)]}
    assert cli("replay-erasures", "--yes", "--timeout", "9", answers=answers).exit == 1
    assert 9 <= sum(cli.slept) < 20


def test_a_replay_of_nothing_asks_for_nothing(cli: Cli) -> None:
    assert cli("replay-erasures", "--yes", answers={REPLAY: replay(dry_run=True)}).exit == 0
    assert len(cli.wire.sent) == 1


def test_advice_of_the_api_is_given_in_commands(cli: Cli) -> None:
    frozen = problem(409, "ledger-restored", "it was restored: POST /deletions/replay erases again what came back")
    shown = cli("delete-project", "p1", "--yes", answers={"DELETE /projects/p1": frozen})
    assert "stocktake replay-erasures erases again" in shown.err


@pytest.mark.parametrize(
    ("detail", "advice"),
    [
        (
            "reconciliation 01KA-x is alive (listing): wait for its end, or stop it with POST /reconciliations/01KA-x/stop",
            "wait for its end, or stop it with stocktake reconcile --stop 01KA-x",
        ),
        ("there is no migration 'x': use the migration_id that POST /migrations answered with", "stocktake migrations lists them"),
        (
            "there is no deletion 'x': use the deletion_id that DELETE /projects/{project_id} answered with",
            "stocktake deletions lists them",
        ),
    ],
)
def test_an_id_in_an_advice_of_the_api_stays_in_the_command(cli: Cli, detail: str, advice: str) -> None:
    shown = cli("reconcile", answers={"POST /reconciliations": problem(409, "run-in-progress", detail)})
    assert f"to do: {advice}\n" in shown.err


def test_delete_project_says_how_long_it_can_be_undone_and_how(cli: Cli) -> None:
    def held(sent: Sent) -> dict[str, object]:
        if sent.query.get("dry_run"):
            return {**preview("k1"), "undo_seconds": 86400}
        return {**deletion("HELD"), "erases_at": "2026-11-19T12:00:00.000Z"}

    shown = cli("delete-project", "p1", "--yes", answers={"DELETE /projects/p1": held})
    assert "stocktake undo del-1" in shown.err
    assert "can be undone for 1 d" in cli("delete-project", "p1").out
    assert cli("delete-project", "p1", "--no-undo", "--yes").exit == 0
    assert cli.wire.sent[-1].body == {"undo": False}


def test_acknowledgements_are_listed_and_revoked(cli: Cli) -> None:
    quiet = {"acknowledgement_id": "a1", "status": "ACTIVE", "class": "orphan", "key": "k", "acknowledged_at": "2026-11-18T12:00:00.000Z"}
    answers = {"GET /acknowledgements": {"acknowledgements": [quiet], "cursor": None}, "DELETE /acknowledgements/a1": quiet}
    assert len(cli("acknowledgements", "--json", answers=answers).result["acknowledgements"]) == 1
    assert len(cli("acknowledgements", "--revoke", "a1", "--revoke", "a1", "--json").result["revoked"]) == 1
    assert (cli("acknowledgements", "a1").exit, cli("acknowledgements", "--revoke").exit) == (2, 2)


def test_changes_are_asked_of_the_api(cli: Cli) -> None:
    answers = {"GET /reconciliations/r/changes": {"findings": [finding("a")], "cursor": None}}
    assert cli("findings", "r", "--changes", "new", answers=answers).exit == 1
    assert cli.wire.sent[0].query == {"kind": "new", "limit": "100"}
    assert cli("findings", "r", "--changes", "new", "--project", "p1").exit == 2


@pytest.mark.parametrize(
    ("since", "asked"),
    [
        ("2026-11-26", "2026-11-26T00:00:00+00:00"),
        ("2026-11-26T12:00:00Z", "2026-11-26T12:00:00+00:00"),
        ("2026-11-26T12:00:00+02:00", "2026-11-26T12:00:00+02:00"),
    ],
)
def test_findings_since_a_time_are_asked_for_with_its_offset(cli: Cli, since: str, asked: str) -> None:
    cli("findings", "r", "--since", since, answers={"GET /reconciliations/r/findings": {"findings": [], "cursor": None}})
    assert cli.wire.sent[0].query["first_seen_after"] == asked


def test_what_is_no_time_is_said_to_be_none_before_anything_is_asked(cli: Cli) -> None:
    shown = cli("findings", "--since", "yesterday")
    assert (shown.exit, "write it as 2026-11-26" in shown.err, cli.wire.sent) == (2, True, [])


def test_findings_are_counted_by_project(cli: Cli) -> None:
    of_project: dict[str, Any] = {
        "project": "p1",
        "bucket": tally(5),
        "ledger": tally(4),
        "classes": {"orphan": tally(1), "matched": tally(4)},
    }
    page = {"projects": [of_project, {**of_project, "project": "(none)"}], "cursor": None}
    answers = {"GET /reconciliations/r/projects": page, "GET /analytics": {"projects": [{"project_id": "proj_p1"}]}}
    shown = cli("findings", "r", "--by-project", answers=answers)
    assert shown.exit == 1
    assert [line.split()[0] for line in shown.out.splitlines()[1:]] == ["proj_p1", "(none)"]  # as `projects` spells it
    assert shown.out.splitlines()[1].endswith("1 orphan")
    del of_project["classes"]["orphan"]
    assert cli("findings", "r", "--by-project").exit == 0


def test_the_findings_of_a_run_are_exported_in_the_format_that_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    answers: dict[str, Any] = {"POST /reconciliations/r/export": {"export_id": "exp-1"}, "GET /out": Reply(200, {}, b"{}\n")}
    answers["GET /exports/exp-1"] = exported(b"{}\n")
    shown = cli("export", "--findings", "r", "--format", "csv", "--to", str(tmp_path), "--json", answers=answers)
    assert shown.exit == 0
    assert shown.result["files"][0]["path"].endswith("exp-1-0001.csv")
    assert cli.wire.sent[0].body == {"format": "csv"}


def test_one_entry_that_cannot_be_restored_does_not_hold_up_the_others(cli: Cli) -> None:
    answers = {"POST /quarantine/e1/restore": problem(409, "object-exists", "taken"), "POST /quarantine/e2/restore": entry("e2")}
    shown = cli("restore", "e1", "e2", "--json", answers=answers)
    assert shown.exit == 1
    assert (shown.result["failed"][0]["type"], len(shown.result["restored"])) == ("object-exists", 1)
    assert cli("restore", "e1").exit == 3


def test_what_was_set_aside_is_removed_for_good_only_when_that_is_said(cli: Cli) -> None:
    listed = {"entries": [entry("e1"), entry("e2")], "cursor": None}
    shown = cli("purge", "e1", "--json", answers={"GET /quarantine": listed})
    assert (shown.exit, [of["entry_id"] for of in shown.result["held"]], shown.result["purged"]) == (1, ["e1"], [])
    assert "--yes removes 1 object of 3 B for good" in cli("purge", "e1", answers={"GET /quarantine": listed}).err
    assert {sent.method for sent in cli.wire.sent} == {"GET"}
    assert cli("purge", "e1", "e9", answers={"GET /quarantine": listed}).exit == 6
    answers = {"DELETE /quarantine/e1": entry("e1", status="PURGED"), "DELETE /quarantine/e2": problem(409, "conflict", "it is restoring")}
    shown = cli("purge", "e1", "e2", "--yes", answers=answers)
    assert shown.exit == 1
    assert "not removed: e2 (it is restoring)" in shown.out
    assert cli("purge", "e1", "--yes", answers=answers).exit == 0


def test_import_sends_the_file_with_its_hash_starts_it_and_shows_the_lines_that_failed(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"{}\n")
    answers = {
        "POST /migrations": migration("WAITING"),
        "PUT /f": Reply(200),
        "POST /migrations/mig-1/start": migration("RUNNING"),
        "GET /migrations/mig-1": [migration("RUNNING"), migration(failed=1)],
        "GET /migrations/mig-1/results": {
            "results": [{"line": 7, "id": "row-6", "why": "no project"}, {"line": 9, "id": None, "why": "no JSON"}],
            "cursor": None,
        },
    }
    shown = cli("import", str(file), "--create-projects", answers=answers)
    assert shown.exit == 1
    assert "line 7, row-6: no project" in shown.out
    assert "line 9: no JSON" in shown.out
    source = {"format": "jsonl", "bytes": 3, "sha256": sha256(b"{}\n").hexdigest()}
    assert cli.wire.sent[0].body == {"source": source, "dry_run": False, "create_projects": True}
    assert cli.wire.sent[1].body == b"{}\n"


@pytest.mark.parametrize(
    ("name", "asked", "kind"), [("r.CSV", (), "csv"), ("r.ndjson", (), "jsonl"), ("r.txt", ("--format", "csv"), "csv")]
)
def test_the_format_of_an_import_is_told_by_the_files_name_or_said(
    cli: Cli, tmp_path: Path, name: str, asked: tuple[str, ...], kind: str
) -> None:
    (tmp_path / name).write_bytes(b"{}\n")
    answers = {"POST /migrations": migration("WAITING"), "PUT /f": Reply(200), "POST /migrations/mig-1/start": migration()}
    cli("import", str(tmp_path / name), *asked, answers={**answers, "GET /migrations/mig-1": migration()})
    assert cli.wire.sent[0].body["source"]["format"] == kind


def test_a_file_that_is_by_its_name_no_file_of_records_is_refused_before_anything_is_sent(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "sample.png"
    file.write_bytes(b"\x89PNG\r\n")
    shown = cli("import", str(file))
    assert (shown.exit, "neither .jsonl nor .csv" in shown.err, "--format" in shown.err) == (2, True, True)
    assert cli.wire.sent == []


def test_a_migration_says_how_many_more_failed_than_it_shows(cli: Cli) -> None:
    results = {"results": [{"line": number, "why": "no JSON"} for number in range(1, 201)], "cursor": None}
    answers = {"POST /migrations": migration(), "GET /migrations/mig-1": migration(failed=209), "GET /migrations/mig-1/results": results}
    shown = cli("migrate", "--yes", answers=answers)
    assert (shown.out.count("failed: line"), "and 189 more" in shown.out) == (20, True)
    assert "COMPLETE, and 209 failed: mig-1" in shown.out


def test_migrate_counts_and_moves_only_with_yes(cli: Cli) -> None:
    answers = {"POST /migrations": migration("RUNNING"), "GET /migrations/mig-1": migration()}
    assert cli("migrate", "--project", "p1", answers=answers).exit == 0
    assert cli.wire.sent[0].body == {"project_id": "p1", "dry_run": True}
    cli.wire.sent.clear()
    assert cli("migrate", "--yes").exit == 0
    assert cli.wire.sent[0].body == {}


def test_a_record_that_could_not_be_moved_is_named_by_its_key(cli: Cli) -> None:
    results = {"results": [{"key": "images/s/a.png", "outcome": "failed", "why": "importing from URLs is off"}], "cursor": None}
    answers = {"POST /migrations": migration(), "GET /migrations/mig-1": migration(failed=1), "GET /migrations/mig-1/results": results}
    assert "failed: images/s/a.png: importing from URLs is off" in cli("migrate", "--yes", answers=answers).out


def exported(text: bytes, digest: str = "") -> dict[str, object]:
    file = {"url": "https://store.example.com/out", "lines": 1, "bytes": len(text), "sha256": digest or sha256(text).hexdigest()}
    return {"export_id": "exp-1", "status": "COMPLETE", "why": None, "lines": 1, "bytes": len(text), "files": [file]}


def test_export_writes_the_files_and_believes_none_that_did_not_come_whole(cli: Cli, tmp_path: Path) -> None:
    answers = {"POST /exports": {"export_id": "exp-1"}, "GET /out": Reply(200, {}, b"{}\n")}
    shown = cli("export", "--to", str(tmp_path), "--json", answers={**answers, "GET /exports/exp-1": exported(b"{}\n")})
    assert shown.exit == 0
    assert Path(shown.result["files"][0]["path"]).read_bytes() == b"{}\n"
    folder = tmp_path / "other"
    shown = cli("export", "--to", str(folder), answers={"GET /exports/exp-1": exported(b"{}\n", digest="0" * 64)})
    assert shown.exit == 7
    assert list(folder.iterdir()) == []


def test_a_problem_is_shown_as_what_happened_what_to_do_and_what_finds_it_in_the_logs(cli: Cli) -> None:
    shown = cli(
        "projects", "p9", answers={"GET /projects/p9": problem(404, "project-not-found", "there is no project 'p9': create it first")}
    )
    assert shown.exit == 6
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "project-not-found: there is no project 'p9'",
        "  to do: look at the id; stocktake projects PROJECT_ID --open opens a new one",
        "  in the logs: req-1",
    ]


def test_and_in_json_as_the_one_document(cli: Cli) -> None:
    shown = cli("projects", "p9", "--json", answers={"GET /projects/p9": problem(404, "project-not-found", "none: create it")})
    problem_shown = {"type": "project-not-found", "message": "none", "advice": "create it", "request_id": "req-1"}
    assert shown.document == {"shape": 1, "command": "projects", "exit": 6, "status": "not_found", "result": None, "problem": problem_shown}
    assert shown.err == ""


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(400, "invalid-request", "wrong"), 2),
        (problem(401, "unauthenticated", "no token"), 3),
        (problem(403, "forbidden", "no scope"), 3),
        (problem(409, "breaker-open", "too many"), 3),
        (problem(404, "operation-not-found", "none"), 6),
        (problem(410, "object-deleted", "gone"), 6),
        (problem(429, "throttled", "later"), 4),
        (problem(503, "ledger-error", "later"), 4),
        (problem(500, "internal", "ours"), 7),
        (Reply(503, {}, b"Service Unavailable"), 4),
        (Reply(200, {}, b"<html>"), 7),
        (Unreachable("nobody answers"), 4),
        (KeyboardInterrupt(), 5),
        (ZeroDivisionError("nobody foresaw it"), 7),
    ],
    ids=lambda value: value if isinstance(value, int) else repr(value)[:40],
)
def test_the_exit_code_says_what_came_of_it_and_no_traceback_is_shown(cli: Cli, answer: object, code: int) -> None:
    def answered(sent: Sent) -> object:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    shown = cli("projects", answers={"GET /analytics": answered})
    assert shown.exit == code
    assert "Traceback" not in shown.out + shown.err
    assert shown.err.strip()


def test_a_failure_that_nobody_foresaw_shows_where_it_came_from_only_when_asked(cli: Cli) -> None:
    def fails(sent: Sent) -> object:
        raise ZeroDivisionError("nobody foresaw it")

    assert "Traceback" in cli("projects", "--debug", answers={"GET /analytics": fails}).err


def test_completion_prints_the_shells_code(cli: Cli) -> None:
    assert "_STOCKTAKE_COMPLETE=bash_complete" in cli("completion", "bash").out


def test_profiles_shows_the_file_and_the_names(cli: Cli) -> None:
    Path(cli.environment["STOCKTAKE_CONFIG"]).write_text('default = "prod"\n[profiles.prod]\nurl = "https://a.example"\n')
    shown = cli("profiles", "--json")
    assert shown.result["profiles"] == [{"name": "prod", "url": "https://a.example", "default": True}]


def test_json_is_one_document_whatever_the_command_says_to_people(cli: Cli) -> None:
    shown = cli(
        "--profile", "", "analytics", "--json", answers={"GET /analytics": counts(), "GET /reconciliations": {"reconciliations": []}}
    )
    assert json.loads(shown.out)["command"] == "analytics"
    assert shown.err == ""


@pytest.mark.parametrize("arguments", [("--profile", "prod", "findings"), ("findings", "--profile", "prod")], ids=["before", "behind"])
def test_a_profile_that_is_named_goes_before_that_of_the_environment(cli: Cli, arguments: tuple[str, ...]) -> None:
    cli.environment["STOCKTAKE_PROFILE"] = "dev"
    assert "there is no profile 'prod'" in cli(*arguments).err
    assert cli.wire.sent == []


def test_a_repair_says_why_it_skipped_something(cli: Cli) -> None:
    seen = repaired(1, MARK_MISSING=2)
    seen["repair"]["reasons"] = {"waiting": 1}  # type: ignore[index]  # it is a mapping
    answers = {
        "POST /reconciliations": run(missing=3),
        "GET /reconciliations/run-1": [run(missing=3), seen],
        "POST /reconciliations/run-1/plan": planned(missing=("mark_missing", 3)),
        "POST /reconciliations/run-1/apply": {},
    }
    assert "skipped: 1 whose time is not over;" in cli("reconcile", "--apply", "--yes", answers=answers).err


def test_a_project_opened_anew_is_not_said_to_have_never_been_deleted(cli: Cli) -> None:
    gone = problem(404, "operation-not-found", "there is no deletion 'p1'")
    shown = cli("verify", "p1", answers={"GET /deletions/p1": gone, "GET /projects/p1": project()})
    assert (shown.exit, "goes by its own id" in shown.err) == (6, True)


def test_what_there_is_none_of_is_said_to_be_none(cli: Cli) -> None:
    assert "there is none" in cli("quarantine", answers={"GET /quarantine": {"entries": [], "cursor": None}}).err


def test_a_plan_says_why_it_leaves_something_out(cli: Cli) -> None:
    plan = planned(orphan=("quarantine", 0))
    plan["actions"][0]["skipped"] = {"seen_once": 2}
    answers = {"GET /reconciliations/run-1": run(orphan=2), PLAN: plan}
    shown = cli("reconcile", "--run", "run-1", "--apply", "--do", "orphan=quarantine", answers=answers)
    assert "left out: 2 seen once only; what moves objects needs two runs" in shown.err


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupt_before_the_command_began_ends_as_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stocktake, "make_context", interrupt)
    monkeypatch.setattr("sys.argv", ["stocktake", "runs", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == Exit.INTERRUPTED
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == "interrupted" if as_json else "interrupted" in said.err


def test_arguments_there_are_not_end_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stocktake", "runs", "--nothing"])
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == 2
