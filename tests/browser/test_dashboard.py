"""The dashboard as one meets it: every state of it, by hand, by keyboard and by ear, over answers that were made up."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import NOW, Visiting
from tools.dashboard.made_up import (
    DELETION_ID,
    DRY_RUN,
    HOSTILE,
    RUN_ID,
    VERIFIED,
    House,
    a_deletion,
    a_finding,
    a_run,
    analytics,
    empty,
    huge,
    lived_in,
    rfc,
    tally,
)
from tools.dashboard.served import Answered, Asked, problem

BROKEN = problem(503, "storage-unavailable", "the store gave no whole answer: try again")


def nothing_wrong() -> House:
    house = House(NOW, analytics(NOW, stored=1284, projects=[("sunset", 1284)], findings={"orphan": 0}))
    house.runs = [a_run(NOW, RUN_ID, {}, objects=1284)]
    return house


def verdict(page: Page) -> str:
    return page.get_by_role("heading", level=1).inner_text()


# the door


def test_a_token_opens_the_page_and_is_kept_nowhere(visiting: Visiting) -> None:
    visit = visiting()
    page = visit.page
    kept = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie, location.href, history.state]")
    assert kept == [0, 0, "", f"{visit.site.base}/dashboard", None]
    assert visit.site.token not in page.content()
    page.reload()
    expect(page.get_by_label("Token")).to_be_focused()
    assert page.get_by_label("Token").input_value() == ""


def test_a_wrong_token_is_told_what_is_wrong_with_it(visiting: Visiting) -> None:
    page = visiting(signed_in=False).page
    page.get_by_label("Token").fill("hunter2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The token has ended: get a fresh one.")
    page.get_by_label("Token").fill("two words é")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("That is no token")
    assert page.get_by_role("navigation").count() == 0


def test_a_token_that_ends_leads_back_to_the_door_and_leaves_nothing_behind(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.deletions = []  # what is under way would be asked for at any moment
    visit = visiting(house)
    expect(visit.page.get_by_text("3 uploads that were not confirmed")).to_be_visible()  # what is read last
    visit.settle()
    visit.site.token = "another"
    visit.page.get_by_role("button", name="Refresh").click()
    expect(visit.page.get_by_role("alert")).to_have_text("You were signed out: the token has ended: get a fresh one.")
    assert "12,281" not in visit.page.content()


def test_signing_out_forgets_everything(visiting: Visiting) -> None:
    page = visiting().page
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_focused()
    assert "12,281" not in page.content()


def test_under_a_stage_everything_is_asked_there(visiting: Visiting) -> None:
    visit = visiting(stage="/prod")
    assert "objects are stored" in verdict(visit.page)
    assert {asked.path.split("/")[1] for asked in visit.site.asked} >= {"analytics", "reconciliations", "deletions"}


# the sentence


def test_one_look_says_how_many_are_stored_what_is_wrong_and_what_to_press(visiting: Visiting) -> None:
    page = visiting().page
    assert verdict(page) == "By the ledger 12,281 objects are stored, and 20 differences need a look."
    expect(page.get_by_text("The last complete reconcile found 9 orphans, 5 missing objects")).to_be_visible()
    page.get_by_role("link", name="Look at the findings").click()
    expect(page.get_by_role("table", name="Findings")).to_be_visible()


def letters_wait() -> House:
    house = nothing_wrong()
    waiting = {"queues": {"deletion": 1}}
    house.checks = [{"name": "dead-letters", "status": "warning", "says": "1 waits.", "do": "Free the cause.", "detail": waiting}]
    return house


def unfinished() -> House:
    house = letters_wait()
    house.deletions = [{**a_deletion(NOW, "winter", "DELETED"), "status": "INCOMPLETE"}]
    return house


def half_gone() -> House:
    house = nothing_wrong()
    why = "the bucket holds 600 objects, of 1284 at the last run: send accept_loss if that is so"
    house.runs.insert(0, {**a_run(NOW, "01KAHRECNC0000000000000001", {}, objects=600), "status": "INCOMPLETE", "why": why})
    return house


def acknowledged() -> House:
    house = nothing_wrong()
    house.analytics |= {"acknowledged": {"objects": 4, "bytes": 400}, "drift": {"objects": 4, "bytes": 400}}
    return house


def missed() -> House:
    house = nothing_wrong()
    house.analytics["counts"]["MISSING"] = {"objects": 9, "bytes": 900}
    return house


def marked(*, open_: int, quiet: int, pending: int = 0) -> House:
    """A deployment whose records say that objects are gone, of which some are acknowledged, and where some uploads have not come yet."""
    house = nothing_wrong()
    house.analytics["counts"]["MISSING"] = tally(open_ + quiet)
    house.analytics["acknowledged"] = house.runs[0]["counts"]["acknowledged"] = tally(quiet)
    house.analytics["findings"]["unstored"] = house.runs[0]["counts"]["unstored"] = tally(open_ + pending)
    key = "projects/proj_sunset/2026/11/{}-{}.png"
    gone = [a_finding(NOW, "unstored", key.format("gone", number), kind="missing") for number in range(open_ + quiet)]
    for finding in gone[open_:]:
        finding["repair"] = "ACKNOWLEDGED"
    come = [a_finding(NOW, "unstored", key.format("pending", number), kind="pending") for number in range(pending)]
    house.findings = [*gone, *({**finding, "settles_at": rfc(NOW + timedelta(hours=1))} for finding in come)]
    return house


@pytest.mark.parametrize(
    ("house", "sentence", "press"),
    [
        (half_gone(), "By the ledger 1,284 objects are stored, but the newest run ended incomplete.", "Look at the run"),
        (empty(NOW), "By the ledger 0 objects are stored; the bucket has not been counted yet.", "Start a reconcile"),
        (nothing_wrong(), "1,284 objects are stored, and bucket and ledger tell the same story.", None),
        (acknowledged(), "1,284 objects are stored, and bucket and ledger differ only in what is acknowledged.", None),
        (missed(), "1,284 objects are stored, and 9 more objects are known to be missing.", "Start a reconcile"),
        (
            marked(open_=0, quiet=9),
            "1,284 objects are stored, and 9 more objects are known to be missing.",
            "Show the records marked missing",
        ),
        (
            marked(open_=4, quiet=5),
            "By the ledger 1,284 objects are stored, and 4 differences need a look.",
            "Show the records marked missing",
        ),
        (
            marked(open_=4, quiet=5, pending=1),
            "By the ledger 1,284 objects are stored, and 5 differences need a look.",
            "Look at the findings",
        ),
        (letters_wait(), "1,284 objects are stored, and bucket and ledger tell the same story.", "Look at the checks"),
        (unfinished(), "1,284 objects are stored, and bucket and ledger tell the same story.", "Look at the deletions"),
    ],
    ids=[
        "newest incomplete",
        "empty",
        "nothing wrong",
        "acknowledged",
        "marked since",
        "all acknowledged",
        "marked missing",
        "of two kinds",
        "dead letters",
        "incomplete deletion",
    ],
)
def test_the_sentence_suits_what_is_so(visiting: Visiting, house: House, sentence: str, press: str | None) -> None:
    page = visiting(house).page
    expect(page.get_by_role("heading", level=1)).to_have_text(sentence)
    expect(page.locator(".verdict .first")).to_have_text([press] if press else [])


def test_what_is_missing_and_known_is_amber_and_what_nobody_has_seen_is_red(visiting: Visiting) -> None:
    expect(visiting(marked(open_=0, quiet=9)).page.locator(".verdict.warn")).to_contain_text("9 records say that their objects are gone")
    expect(visiting(missed()).page.locator(".verdict.bad")).to_contain_text("9 records say that their objects are gone: forget them")


def test_what_is_unstored_is_said_and_decided_by_its_kind_and_nothing_is_proposed_that_would_do_nothing(visiting: Visiting) -> None:
    visit = visiting(marked(open_=4, quiet=5, pending=1))
    page = visit.page
    expect(page.locator(".verdict")).to_contain_text(
        "found 4 records marked missing and 1 upload that has not come, beside 5 acknowledged."
    )
    page.get_by_role("region", name="Latest run").get_by_role("button", name="Plan a repair").click()
    plan = page.get_by_role("dialog")
    gone, pending = plan.get_by_label("9 records marked missing, 5 of them acknowledged"), plan.get_by_label("1 upload that has not come")
    expect(gone).to_have_value("")
    expect(pending).to_have_value("")
    expect(plan).to_contain_text("Its time is not over, so that settling leaves it alone for now.")
    expect(plan).to_contain_text("Else forget the record, also where the file is uploaded again")  # the finding's own advice
    expect(gone.locator("option")).to_have_text(["leave alone", "forget", "fetch again", "acknowledge"])
    assert plan.get_by_role("button", name="Show what it would do").is_disabled()


def test_uploads_that_can_be_settled_are_proposed_to_be(visiting: Visiting) -> None:
    house = marked(open_=0, quiet=0, pending=2)
    house.findings[0]["settles_at"] = rfc(NOW - timedelta(hours=1))
    visit = visiting(house)
    visit.page.get_by_role("region", name="Latest run").get_by_role("button", name="Plan a repair").click()
    plan = visit.page.get_by_role("dialog")
    expect(plan.get_by_label("2 uploads that have not come")).to_have_value("settle")
    plan.get_by_role("button", name="Show what it would do").click()
    expect(plan.get_by_role("row", name="uploads that have not come settle")).to_be_visible()
    assert visit.requests("POST")[-1].body == {"plan": {"unstored.pending": "settle"}}


def test_one_press_leads_to_the_records_marked_missing_and_from_there_to_the_numbers_of_forgetting_them(visiting: Visiting) -> None:
    visit = visiting(marked(open_=0, quiet=9))
    page = visit.page
    page.get_by_role("link", name="Show the records marked missing").click()
    expect(page.get_by_role("table", name="Findings").get_by_role("row")).to_have_count(10)
    assert not visit.requests("POST")
    page.get_by_role("button", name="Forget these records …").click()
    plan = page.get_by_role("dialog")
    expect(plan.get_by_label("9 records marked missing, all acknowledged")).to_have_value("forget")
    plan.get_by_role("button", name="Show what it would do").click()
    expect(plan.get_by_role("row", name="records marked missing forget 9")).to_be_visible()
    assert visit.requests("POST")[-1].body == {"plan": {"unstored.missing": "forget"}}
    plan.get_by_label("9 findings are acted on for good").fill("9")
    plan.get_by_role("button", name="Apply to 9 findings").click()
    expect(page.get_by_text("The plan is being applied.")).to_be_visible()


def test_records_that_somebody_acknowledged_are_not_promised_to_be_forgotten(visiting: Visiting) -> None:
    house = marked(open_=0, quiet=9)
    planned = house.api(Asked("POST", f"/reconciliations/{RUN_ID}/plan", body={"plan": {"unstored.missing": "forget"}})).body
    planned["actions"][0] |= tally(5) | {"count": 5}
    del planned["actions"][0]["objects"]
    house.broken = {f"POST /reconciliations/{RUN_ID}/plan": Answered(200, planned)}
    page = visiting(house).page
    page.get_by_role("link", name="Show the records marked missing").click()
    page.get_by_role("button", name="Forget these records …").click()
    page.get_by_role("dialog").get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_role("dialog")).to_contain_text("4 more records were acknowledged by somebody, and stay as they are")


def test_a_repair_that_did_nothing_says_so_and_why(visiting: Visiting) -> None:
    house = marked(open_=4, quiet=5, pending=1)
    done = {"status": "DONE", "plan": {"unstored": "settle"}, "started_at": rfc(NOW), "plan_id": RUN_ID, "turn": 1, "done": {}}
    house.runs[0]["repair"] = {**done, "skipped": 5, "reasons": {"waiting": 1, "other_kind": 4}, "deferred": 0}
    visit = visiting(house)
    why = "Left alone: 1 not yet, their time is not over and 4 of a kind the action is not for."
    expect(visit.page.locator(".verdict")).to_contain_text(f"Its repair did nothing. {why}")


def test_why_the_newest_run_ended_is_said_and_is_bad(visiting: Visiting) -> None:
    page = visiting(half_gone()).page
    expect(page.locator(".verdict.bad")).to_contain_text("The newest run ended incomplete: the bucket holds 600 objects, of 1284")
    page.get_by_role("link", name="Look at the run").click()
    expect(page.get_by_role("region", name="The run", exact=True)).to_contain_text("accept_loss")


@pytest.mark.parametrize(("broken", "named"), [("GET /diagnostics", "Health"), ("GET /deletions?", "The deletions")])
def test_what_could_not_be_read_is_not_taken_to_be_well(visiting: Visiting, broken: str, named: str) -> None:
    house = nothing_wrong()
    visit = visiting(house, signed_in=False)
    if broken == "GET /diagnostics":
        house.broken = {broken: BROKEN}
    else:  # the door asks for one deletion, which is answered
        visit.page.route("**/deletions?limit=50", lambda route: route.fulfill(status=429, json={"message": "Too Many Requests"}))
    visit.sign_in()
    expect(visit.page.locator(".verdict.warn")).to_contain_text(f"{named} could not be read, so nobody knows whether all is well there.")


def test_nothing_is_green_before_all_of_it_is_read(visiting: Visiting) -> None:
    visit = visiting(nothing_wrong(), signed_in=False)
    held: list[Route] = []
    visit.page.route("**/diagnostics", lambda route: held.append(route))
    visit.sign_in()
    visit.settle()
    assert verdict(visit.page) == "1,284 objects are stored; whether all is well is being looked at."
    expect(visit.page.locator(".verdict.good")).to_have_count(0)
    held[0].continue_()
    expect(visit.page.locator(".verdict.good")).to_have_count(1)


def test_refresh_has_the_deployment_look_at_itself_again(visiting: Visiting) -> None:
    house = lived_in(NOW)
    visit = visiting(house)
    visit.settle()
    house.checks = [{"name": "clock", "status": "failed", "says": "The clocks are far apart.", "do": "Set the clock.", "detail": {}}]
    visit.page.get_by_role("button", name="Refresh").click()
    expect(visit.page.locator(".verdict.bad")).to_contain_text("1 check of the deployment fails: clock.")
    expect(visit.page.locator(".verdict")).to_contain_text("The deployment looked at itself")


def test_an_old_count_and_a_failing_check_and_an_incomplete_deletion_are_said(visiting: Visiting) -> None:
    house = nothing_wrong()
    house.analytics["bucket"]["counted_at"] = (NOW - timedelta(days=9)).isoformat()
    visit = visiting(house)
    page = visit.page
    expect(page.get_by_text("The bucket was last counted over a week ago")).to_be_visible()
    letters = {"queues": {"deletion": 3, "migration": 0}}
    house.checks = [
        {"name": "clock", "status": "failed", "says": "The clocks are far apart.", "do": "Set the clock.", "detail": {}},
        {"name": "dead-letters", "status": "warning", "says": "3 wait in deletion.", "do": "Free the cause.", "detail": letters},
    ]
    house.deletions = [{**lived_in(NOW).deletions[1], "status": "INCOMPLETE"}]
    page.reload()
    visit.sign_in()
    expect(
        page.get_by_text(
            "1 check of the deployment fails: clock. 1 deletion could not remove everything. 3 dead letters wait to be looked at."
        )
    ).to_be_visible()
    page.get_by_role("link", name="Look at the checks").click()
    expect(page.get_by_text("Set the clock.")).to_be_visible()
    expect(page.get_by_role("table", name="Dead letters").get_by_role("row").nth(1)).to_have_text("deletion3")


def test_five_numbers_stand_side_by_side_and_explain_themselves(visiting: Visiting) -> None:
    tiles = visiting().page.get_by_role("region", name="Side by side")
    said = tiles.inner_text()
    for expected in (
        "Records\n12,286",
        "Stored\n12,281",
        "In the bucket\n12,286",
        "Orphans\n9",
        "Missing\n5",
        "counted 3 hours ago; drift +5 then",
    ):
        assert expected in said
    assert "the others are 3 uploads under way" in said


def test_what_is_stored_is_counted_four_ways(visiting: Visiting) -> None:
    page = visiting().page
    panel = page.get_by_role("region", name="What is stored")
    expect(panel).to_contain_text("hierarchical")
    panel.get_by_role("button", name="Provider").click()
    expect(panel).to_contain_text("imagen")
    expect(panel).to_contain_text("not said")


def test_every_chart_has_its_numbers_as_a_table(visiting: Visiting) -> None:
    page = visiting().page
    panel = page.get_by_role("region", name="Objects by day", exact=True)
    expect(panel.get_by_role("img")).to_have_accessible_name(
        re.compile(r"Objects by day\. Records: [\d,]+ at the end; .*The table that follows")
    )
    panel.get_by_text("As a table").click()
    assert panel.get_by_role("row").count() == 61


def few(days: int, minutes_apart: list[float]) -> House:
    """A deployment of its first days, whose runs ended so long before each other."""
    house = lived_in(NOW)
    assert house.history is not None
    house.history["days"] = house.history["days"][-days:]
    house.runs = house.runs[: len(minutes_apart) + 1]
    at = NOW
    for run, apart in zip(house.runs, [0.0, *minutes_apart], strict=True):
        at -= timedelta(minutes=apart)
        run |= {"started_at": rfc(at - timedelta(seconds=2)), "finished_at": rfc(at)}
    return house


# what stands below each chart since it was last drawn
WRITTEN = """() => { window.written = {}; const {fillText, clearRect} = CanvasRenderingContext2D.prototype;
    const name = canvas => canvas.closest('section').querySelector('h2').textContent;
    CanvasRenderingContext2D.prototype.clearRect = function (...about) {
        window.written[name(this.canvas)] = [];
        return clearRect.apply(this, about);
    };
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        const half = this.measureText(text).width / 2, from = x - half, to = x + half;
        if (this.textAlign === 'center')
            window.written[name(this.canvas)].push({text, from, to, line: y, whole: from >= 0 && to <= this.canvas.width});
        return fillText.call(this, text, x, y);
    } }"""


@pytest.mark.parametrize(
    ("house", "size", "days", "runs"),
    [
        (few(1, []), (390, 844), None, r"\d\d:\d\d, \d+ \w{3,4}"),
        (few(2, [0.1, 0.2, 0.1, 7, 9]), (1280, 860), r"\d+ \w{3,4}, \d+ \w{3,4}", r"\d\d:\d\d:\d\d, .*"),
        (few(2, [0.1, 0.2, 0.1, 7, 9]), (390, 844), r"\d+ \w{3,4}, \d+ \w{3,4}", r"\d\d:\d\d.*"),
        (lived_in(NOW), (1280, 860), r"(\d+ \w{3,4}(, )?){3,}", r"(\d+ \w{3,4}(, )?){3,}"),
    ],
    ids=["one day and one run, phone", "six runs of one day", "the same, phone", "two months"],
)
def test_below_a_chart_no_label_is_said_twice_or_cut_or_lies_on_another(
    visiting: Visiting, house: House, size: tuple[int, int], days: str | None, runs: str
) -> None:
    visit = visiting(house, signed_in=False, size=size)
    visit.page.evaluate(WRITTEN)
    visit.sign_in()
    visit.settle()
    for name, pattern in (("Objects by day", days), ("Differences by run", runs)):
        panel = visit.page.get_by_role("region", name=name, exact=True)
        if pattern is None:  # one day is no line
            expect(panel).to_contain_text("Stored12,288")
            continue
        panel.get_by_role("img").wait_for()
        labels = visit.page.evaluate("window.written")[name]
        said = [label["text"] for label in labels]
        assert re.fullmatch(pattern, ", ".join(said)), said
        assert len(set(said)) == len(said) and all(label["whole"] for label in labels), labels
        for one, other in pairwise(labels):
            assert one["line"] != other["line"] or one["to"] < other["from"], labels


def test_what_is_known_to_be_missing_leads_to_its_records(visiting: Visiting) -> None:
    house = nothing_wrong()
    house.analytics["counts"]["MISSING"] = tally(1)
    house.runs[0]["counts"]["unstored"] = tally(2)
    house.findings = [a_finding(NOW, "unstored", f"projects/proj_sunset/{kind}.png", kind=kind) for kind in ("missing", "external")]
    visit = visiting(house)
    page = visit.page
    for link in ("marked so in their records", "Show the records marked missing"):
        page.get_by_role("link", name=link).click()
        found = page.get_by_role("table", name="Findings").get_by_role("row")
        expect(found).to_have_count(2)
        expect(found.nth(1)).to_contain_text("missing.png")
        expect(page.get_by_label("Kind")).to_have_value("missing")
        asked = [request.query for request in visit.requests(f"GET /reconciliations/{RUN_ID}/findings")]
        assert ("unstored", "missing") in [(query.get("class"), query.get("kind")) for query in asked]
        page.go_back()


def test_what_is_missing_by_the_last_run_leads_to_what_it_found(visiting: Visiting) -> None:
    page = visiting().page
    page.get_by_role("link", name="records whose object is gone").click()
    expect(page.get_by_role("table", name="Findings").get_by_role("row")).to_have_count(6)
    expect(page.get_by_role("button", name="5 missing objects")).to_have_attribute("aria-pressed", "true")


def test_what_was_counted_a_moment_ago_is_never_said_to_come(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.analytics["as_of"] = rfc(NOW + timedelta(minutes=5))  # the clock here is behind
    expect(visiting(house).page.get_by_text("as of just now")).to_be_visible()


# states


def test_a_part_that_fails_fails_alone_and_can_be_tried_again(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.broken = {"GET /reconciliations": BROKEN}
    page = visiting(house).page
    panel = page.get_by_role("region", name="Differences by run", exact=True)
    expect(panel.get_by_role("alert")).to_contain_text("the store gave no whole answer: try again")
    assert "12,281 objects are stored" in verdict(page)
    expect(page.get_by_role("region", name="Projects", exact=True)).to_contain_text("sunset")
    house.broken = {}
    panel.get_by_role("button", name="Try again").click()
    expect(panel.get_by_role("img")).to_be_visible()


def test_an_api_that_went_away_is_said_once_and_what_is_shown_is_as_of_before(visiting: Visiting) -> None:
    visit = visiting()
    page = visit.page
    visit.settle()
    page.route(lambda address: not address.endswith("/dashboard"), lambda route: route.abort())
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_role("alert")).to_have_count(1)
    expect(page.get_by_role("alert")).to_contain_text("The API did not answer")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"As of \d\d:\d\d, by the ledger 12,281 objects are stored"))
    page.get_by_role("button", name="Start a reconcile").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("The API did not answer")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^By the ledger 12,281"))


def test_without_its_counts_the_page_still_shows_all_else(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.broken = {"GET /analytics": Answered(500, {"message": "Internal Server Error"})}
    page = visiting(house).page
    expect(page.get_by_role("alert").first).to_contain_text("Internal Server Error")
    expect(page.get_by_role("region", name="Latest run")).to_contain_text("9 orphans")
    expect(page.get_by_role("region", name="Deletions under way", exact=True)).to_contain_text("summer-archive")


def test_what_a_deployment_does_not_have_yet_is_said_to_be_absent_and_not_to_fail(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.history, house.checks = None, None
    house.analytics = {name: value for name, value in house.analytics.items() if not name.startswith(("by_", "explanation", "recount"))}
    visit = visiting(house, older=True)
    expect(visit.page.get_by_role("region", name="Objects by day", exact=True)).to_contain_text("comes with a newer version")
    assert visit.page.get_by_role("alert").count() == 0
    assert "Of 12,286 records" in visit.page.get_by_role("region", name="Side by side").inner_text()
    visit.go("Health")
    visit.page.get_by_role("button", name="Identify the bucket").click()
    visit.page.get_by_role("dialog").get_by_role("button", name="Identify").click()
    expect(visit.page.get_by_role("dialog")).to_contain_text("stocktake-data")


def test_nothing_at_all_has_words_of_its_own_in_every_view(visiting: Visiting) -> None:
    visit = visiting(empty(NOW))
    expect(visit.page.get_by_text("There is no project yet")).to_be_visible()
    for view, said in (
        ("Findings", "There was no run yet"),
        ("Deletions", "No project was deleted yet"),
        ("Quarantine", "Nothing is set aside"),
    ):
        visit.go(view)
        expect(visit.page.get_by_text(said)).to_be_visible()


@pytest.mark.parametrize("size", [(1280, 860), (390, 844)], ids=["desktop", "phone"])
def test_a_million_records_and_ten_thousand_findings_stay_readable(visiting: Visiting, size: tuple[int, int]) -> None:
    visit = visiting(huge(NOW), size=size)
    page = visit.page
    assert verdict(page) == "By the ledger 1,000,000 objects are stored, and 10,000 differences need a look."
    expect(page.get_by_text("The 1,000 largest of 24,310")).to_be_visible()
    assert page.get_by_role("region", name="Projects", exact=True).get_by_role("row").count() == 16
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    for view in ("Findings", "Deletions"):
        visit.go(view)
        page.get_by_role("row").nth(5).wait_for()
        assert page.evaluate(fits)


def test_findings_are_read_page_by_page_and_class_by_class(visiting: Visiting) -> None:
    visit = visiting(huge(NOW))
    page = visit.page
    visit.go("Findings")
    pages = page.get_by_role("region", name="What was found")
    expect(pages).to_contain_text("1 to 50 of 10,000")
    pages.get_by_role("button", name="Next").click()
    expect(pages).to_contain_text("51 to 100 of 10,000")
    pages.get_by_role("button", name="Previous").click()
    expect(pages).to_contain_text("1 to 50 of 10,000")
    pages.get_by_role("button", name="3,000 missing objects").click()
    expect(pages).to_contain_text("1 to 50 of 3,000")
    expect(pages.get_by_role("row").nth(1)).to_contain_text("missing object")
    page.get_by_label("Project").fill("avatars")
    page.keyboard.press("Enter")
    expect(pages.get_by_role("row").nth(1)).to_contain_text("proj_avatars")
    asked = visit.requests(f"GET /reconciliations/{RUN_ID}/findings")[-1].query
    assert (asked["class"], asked["project"], asked["urls"]) == ("missing", "avatars", "true")


def test_keys_are_text_whatever_they_say(visiting: Visiting) -> None:
    house = huge(NOW)
    house.analytics["projects"][0]["project_id"] = HOSTILE[0]
    house.deletions[0]["project_id"] = HOSTILE[3]
    house.runs[0]["why"] = HOSTILE[0]
    visit = visiting(house)
    page = visit.page
    expect(page.get_by_role("region", name="Projects", exact=True)).to_contain_text('<img src=x onerror="document.title=1">')
    visit.go("Deletions")
    expect(page.get_by_role("row").nth(1)).to_contain_text("</script><script>document.title=1</script>")
    visit.go("Findings")
    page.get_by_role("row").nth(6).wait_for()
    rows = page.get_by_role("row").all_inner_texts()
    assert '<img src=x onerror="document.title=1">.png' in rows[1]
    assert "U+202E" in rows[2] and "U+2066" in rows[2] and "U+0007" in rows[2] and "\u202e" not in page.inner_text("body")
    assert "space" in rows[5]
    for button in page.get_by_role("button", name="More").all()[:6]:
        button.click()
    assert page.title() == "Findings · Stocktake"
    assert page.evaluate("document.querySelectorAll('img[onerror], main script').length") == 0


def test_images_come_from_the_bucket_and_what_is_none_is_named_in_its_place(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.findings[7]["key"] = broken = "projects/proj_sunset/2026/11/broken.png"
    house.pictures = 97  # more than there are, so that no other finding has the same
    visit = visiting(house)
    number = sum(broken.encode()) % house.pictures
    image = visit.site.images["/bucket/0"]
    visit.site.images = {**{f"/bucket/{other}": image for other in range(97)}, f"/bucket/{number}": b"<svg onload=alert(1)>"}
    visit.go("Findings")
    rows = visit.page.get_by_role("row")
    expect(rows.nth(8).locator("td.thumb")).to_have_text("png")
    expect(rows.nth(7).locator("td.thumb img")).to_have_js_property("complete", True)
    expect(rows.nth(7).locator("td.thumb img")).not_to_have_js_property("naturalWidth", 0)
    expect(rows.nth(1).locator("td.thumb")).to_have_text("gone")


def test_only_what_is_gone_is_called_gone(visiting: Visiting) -> None:
    house = lived_in(NOW)
    kinds = ("pending", "inline", "external", "missing")
    house.findings = [a_finding(NOW, "unstored", f"projects/proj_sunset/{kind}.png", kind=kind) for kind in kinds]
    visit = visiting(house)
    visit.go("Findings")
    expect(visit.page.locator("tbody td.thumb")).to_have_text(["png", "png", "png", "gone"])


def test_findings_that_are_acknowledged_are_counted_where_they_are_listed(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.runs[0]["counts"]["acknowledged"] = tally(1)
    house.findings.append({**a_finding(NOW, "orphan", "projects/proj_sunset/known.png"), "repair": "ACKNOWLEDGED"})
    visit = visiting(house)
    visit.go("Findings")
    found = visit.page.get_by_role("region", name="What was found")
    expect(found).to_contain_text("1 to 21 of 21, 1 of these acknowledged")
    expect(found.get_by_role("button", name="All 21")).to_be_visible()
    found.get_by_role("button", name="9 orphans").click()
    expect(found).to_contain_text("1 to 10 of 10, 1 of these acknowledged")
    expect(found.get_by_role("row").nth(1)).to_contain_text("of a live project")
    found.get_by_role("button", name="1 acknowledged").click()
    expect(found).to_contain_text("1 to 1 of 1")
    expect(found.get_by_role("row").nth(1)).to_contain_text("known.png")


def test_runs_of_one_minute_are_told_apart(visiting: Visiting) -> None:
    visit = visiting(few(1, [0.1, 0.1, 0.1]))
    visit.go("Findings")
    options = visit.page.get_by_label("Which run").locator("option").all_inner_texts()
    assert len(set(options)) == 4
    assert re.fullmatch(r"\d+ \w+ \d{4}, \d\d:\d\d:\d\d, 20 findings", options[0])


# deeds


def test_a_reconcile_says_what_it_will_do_and_is_watched_to_its_end(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.deletions = []
    visit = visiting(house)
    page = visit.page
    page.get_by_role("button", name="Start a reconcile").click()
    asked = page.get_by_role("dialog", name="Compare bucket and ledger")
    expect(asked).to_contain_text("Walks 12,286 objects in the bucket beside 12,286 records")
    assert [body.body for body in visit.requests("POST /reconciliations")] == [{"dry_run": True}]
    asked.get_by_role("button", name="Start").click()
    live = page.get_by_role("region", name="Under way", exact=True)
    expect(live).to_contain_text("keys so far, 12,000 a second")
    assert page.get_by_role("button", name="Start a reconcile").is_disabled()
    expect(page.get_by_text("The reconcile is complete.")).to_be_visible()
    expect(live).to_have_count(0)
    polled = len(visit.site.asked)
    page.wait_for_timeout(1200)
    assert len(visit.site.asked) == polled  # nothing is under way any more


def test_nobody_is_asked_while_nobody_looks(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.runs[0] |= {"status": "RUNNING"}
    house.runs[0].pop("finished_at")
    house.steps = 99
    visit = visiting(house)
    visit.page.get_by_role("region", name="Under way", exact=True).wait_for()
    define = "Object.defineProperty(document, 'hidden', {value: hidden, configurable: true})"
    hide = f"hidden => {{ {define}; document.dispatchEvent(new Event('visibilitychange')) }}"
    visit.page.evaluate(hide, True)
    visit.page.wait_for_timeout(300)
    polled = len(visit.site.asked)
    visit.page.wait_for_timeout(1500)
    assert len(visit.site.asked) == polled
    with visit.page.expect_request(re.compile("reconciliations/")):
        visit.page.evaluate(hide, False)


def test_a_plan_is_shown_in_numbers_before_it_is_applied(visiting: Visiting) -> None:
    visit = visiting()
    page = visit.page
    visit.go("Findings")
    page.get_by_role("button", name="Plan a repair").click()
    plan = page.get_by_role("dialog")
    expect(plan.get_by_label("5 missing objects")).to_have_value("mark_missing")
    expect(plan.get_by_label("9 orphans")).to_have_value("")  # what moves objects is chosen by nobody else
    plan.get_by_label("9 orphans").select_option("quarantine")
    plan.get_by_label("2 mismatches").select_option("")
    plan.get_by_role("button", name="Show what it would do").click()
    expect(plan.get_by_role("row", name="orphans quarantine 6")).to_contain_text("3 seen once only")
    wanted = {"missing": "mark_missing", "unstored.uncommitted": "settle", "orphan": "quarantine"}
    assert visit.requests("POST")[-1].body == {"plan": wanted}
    assert not visit.requests(f"POST /reconciliations/{RUN_ID}/apply")
    plan.get_by_role("button", name="Apply to 14 findings").click()
    expect(page.get_by_text("The plan is being applied.")).to_be_visible()
    assert visit.requests("POST")[-1].body == {"plan_id": "01KAHP1AN00000000000000000"}
    expect(page.get_by_text("The repair has ended: 5 findings acted on, 0 left alone.")).to_be_visible()
    expect(page.get_by_role("region", name="The run", exact=True)).to_contain_text("done: 5 mark missing")


@pytest.mark.parametrize("steps", [0, 1], ids=["over before it is asked for", "under way"])
def test_a_repair_of_an_older_run_is_followed_to_its_end(visiting: Visiting, steps: int) -> None:
    house = lived_in(NOW)
    house.steps = steps
    house.runs[3]["counts"]["missing"] = tally(5)
    visit = visiting(house)
    page = visit.page
    visit.go("Findings")
    page.get_by_label("Which run").select_option(house.runs[3]["run_id"])
    newer = "3 newer runs have compared since, the last one 3 hours ago"
    expect(page.get_by_text(newer)).to_be_visible()
    page.get_by_role("button", name="Plan a repair").click()
    plan = page.get_by_role("dialog")
    expect(plan).to_contain_text(newer)
    plan.get_by_role("button", name="Show what it would do").click()
    expect(plan).to_contain_text(newer)
    plan.get_by_role("button", name="Apply to").click()
    expect(page.get_by_text("The repair has ended: 5 findings acted on, 0 left alone.")).to_be_visible()
    expect(page.get_by_role("region", name="The run", exact=True)).to_contain_text("done: 5 mark missing")
    expect(page.get_by_role("region", name="Under way", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Plan a repair").click()
    plan.get_by_role("link", name="Look at the newest").click()
    expect(plan).to_have_count(0)
    expect(page.get_by_label("Which run")).to_have_value(RUN_ID)
    expect(page.get_by_text("newer runs have compared")).to_have_count(0)


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        ({"actions": 100, "per_project": 500}, "One apply does at most 100 actions."),
        ({"actions": 1000, "per_project": 500}, "One apply does at most 1,000 actions, of them at most 500 in one project."),
    ],
)
def test_what_one_apply_may_do_reads_as_meant(visiting: Visiting, allowed: dict[str, int], said: str) -> None:
    house = lived_in(NOW)
    planned = house.api(Asked("POST", f"/reconciliations/{RUN_ID}/plan", body={"plan": {"missing": "mark_missing"}})).body
    house.broken = {f"POST /reconciliations/{RUN_ID}/plan": Answered(200, {**planned, "allowed": allowed})}
    page = visiting(house).page
    page.get_by_role("region", name="Latest run").get_by_role("button", name="Plan a repair").click()
    page.get_by_role("dialog").get_by_role("button", name="Show what it would do").click()
    expect(page.get_by_role("dialog")).to_contain_text(said)


def test_what_is_for_good_is_typed_and_a_first_run_is_said_to_be_read(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.runs = [{**house.runs[0], "previous": None}]
    visit = visiting(house)
    page = visit.page
    visit.go("Findings")
    page.get_by_role("button", name="Plan a repair").click()
    plan = page.get_by_role("dialog")
    plan.get_by_label("5 missing objects").select_option("forget")
    assert plan.get_by_role("button", name="Show what it would do").is_disabled()
    plan.get_by_role("checkbox", name="I have read its findings").check()
    plan.get_by_role("button", name="Show what it would do").click()
    apply = plan.get_by_role("button", name="Apply to 10 findings")
    expect(apply).to_be_disabled()
    plan.get_by_label("acted on for good").fill("5")
    apply.click()
    expect(page.get_by_text("The plan is being applied.")).to_be_visible()
    assert visit.requests("POST")[-1].body == {"plan_id": "01KAHP1AN00000000000000000", "first_run": True}


def test_what_nobody_has_read_is_not_applied_by_a_second_click(visiting: Visiting) -> None:
    visit = visiting()
    page = visit.page
    visit.go("Findings")
    page.get_by_role("button", name="Plan a repair").click()
    plan = page.get_by_role("dialog")
    plan.get_by_label("9 orphans").select_option("delete")
    at = plan.get_by_role("button", name="Show what it would do").bounding_box()
    assert at is not None
    page.mouse.dblclick(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    expect(plan.get_by_role("heading", name="What the plan would do")).to_be_focused()
    page.keyboard.press("Enter")
    plan.get_by_label("acted on for good").fill("6")
    plan.get_by_role("button", name="Change the plan").click()
    plan.get_by_role("button", name="Show what it would do").click()
    expect(plan.get_by_label("acted on for good")).to_have_value("")
    assert not visit.requests(f"POST /reconciliations/{RUN_ID}/apply")


def test_a_plan_can_be_applied_only_after_a_moment_to_read_it(visiting: Visiting) -> None:
    page = visiting().page
    page.get_by_role("region", name="Latest run").get_by_role("button", name="Plan a repair").click()
    plan = page.get_by_role("dialog")
    page.evaluate("""() => { window.moments = {}; new MutationObserver(() => {
        const apply = [...document.querySelectorAll('dialog button')].find(button => button.textContent.startsWith('Apply'));
        if (apply) window.moments.shown ??= performance.now();
        if (apply && !apply.disabled) window.moments.open ??= performance.now();
    }).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true}) }""")
    plan.get_by_role("button", name="Show what it would do").click()
    expect(plan.get_by_role("button", name="Apply to")).to_be_enabled()
    assert page.evaluate("window.moments.open - window.moments.shown") > 600


def test_a_plan_that_is_not_counted_to_its_end_cannot_be_applied(visiting: Visiting) -> None:
    house = lived_in(NOW)
    counted = house.api(Asked("POST", f"/reconciliations/{RUN_ID}/plan", body={"plan": {"missing": "mark_missing"}})).body
    house.broken = {f"POST /reconciliations/{RUN_ID}/plan": Answered(200, {**counted, "status": "PLANNING"})}
    page = visiting(house).page
    page.get_by_role("region", name="Latest run").get_by_role("button", name="Plan a repair").click()
    plan = page.get_by_role("dialog")
    plan.get_by_role("button", name="Show what it would do").click()
    expect(plan).to_contain_text("Not all findings are counted yet")
    assert plan.get_by_role("button", name="Apply").count() == 0
    house.broken = {f"POST /reconciliations/{RUN_ID}/plan": Answered(200, counted)}
    plan.get_by_role("button", name="Go on counting").click()
    expect(plan.get_by_role("button", name="Apply to 5 findings")).to_be_enabled()


def test_a_dialog_that_works_is_closed_by_no_number_of_escapes(visiting: Visiting) -> None:
    page = visiting().page
    page.get_by_role("button", name="Start a reconcile").click()
    asked = page.get_by_role("dialog")
    asked.get_by_role("button", name="Start").wait_for()
    held: list[Route] = []
    page.route("**/reconciliations", lambda route: held.append(route))
    asked.get_by_role("button", name="Start").click()
    expect(asked).to_contain_text("Working")
    for _ in range(3):
        page.keyboard.press("Escape")
    expect(asked).to_be_visible()
    held[0].fulfill(status=409, json={"message": "busy"})
    expect(asked.get_by_role("alert")).to_contain_text("busy")
    page.keyboard.press("Escape")
    expect(asked).to_have_count(0)


def test_a_refusal_that_comes_late_does_not_end_the_session_that_followed(visiting: Visiting) -> None:
    visit = visiting()
    page = visit.page
    visit.settle()
    page.evaluate("""() => { const asked = fetch; window.late = new Promise((then) => { window.refuse = then; });
        window.fetch = async (...about) => {
            if (!String(about[0]).endsWith('/analytics')) return asked(...about);
            window.fetch = asked;
            await window.late;
            return new Response('{"detail": "the token has ended"}', {status: 401});
        } }""")
    page.get_by_role("button", name="Refresh").click()
    page.get_by_role("button", name="Sign out").click()
    visit.site.token = "another"
    visit.sign_in()
    page.evaluate("window.refuse()")
    page.wait_for_timeout(300)
    expect(page.get_by_role("navigation", name="Views")).to_be_visible()


def test_findings_that_could_not_be_read_leave_none_of_another_filter(visiting: Visiting) -> None:
    house = lived_in(NOW)
    visit = visiting(house)
    visit.go("Findings")
    found = visit.page.get_by_role("region", name="What was found")
    expect(found.get_by_role("table")).to_be_visible()
    house.broken = {f"GET /reconciliations/{RUN_ID}/findings": BROKEN}
    found.get_by_role("button", name="5 missing objects").click()
    expect(found.get_by_role("alert")).to_contain_text("the store gave no whole answer")
    expect(found.get_by_role("table")).to_have_count(0)


def test_what_a_run_set_aside_is_told_by_what_it_did_where_the_list_goes_on(visiting: Visiting) -> None:
    house = lived_in(NOW)
    plan = {"orphan": "quarantine"}
    repair = {"status": "DONE", "plan": plan, "started_at": "2026-11-27T01:00:00.000Z", "plan_id": RUN_ID, "turn": 1}
    house.runs[0]["repair"] = {**repair, "done": {"QUARANTINE": 240}, "skipped": 0, "reasons": {}, "deferred": 0}
    house.broken = {"GET /quarantine": Answered(200, {"entries": [], "cursor": "on"})}
    visit = visiting(house)
    visit.go("Findings")
    visit.page.get_by_role("button", name="Restore what this run set aside").click()
    expect(visit.page.get_by_role("dialog")).to_contain_text("The run set aside 240 objects. What of them is still held goes back")


def test_health_is_shown_without_writing_anything(visiting: Visiting) -> None:
    visit = visiting()
    visit.go("Health")
    checks = visit.page.get_by_role("region", name="Checks", exact=True)
    expect(checks).to_contain_text("1 warning, 7 fine and 1 not tried; looked at")
    for said in ("The bucket is the one that the ledger describes", "The store can do all"):
        expect(visit.page.get_by_text(said)).to_have_count(1)
    visit.settle()
    assert {asked.path for asked in visit.requests("GET /diagnostics")} == {"/diagnostics"}
    checks.get_by_role("button", name="List what the store can do").click()
    asked = visit.page.get_by_role("dialog")
    expect(asked).to_contain_text("some small objects of Stocktake's own are put")
    asked.get_by_role("button", name="List").click()
    expect(asked).to_contain_text("Listings are complete")


def test_an_object_is_restored_by_its_own_button(visiting: Visiting) -> None:
    visit = visiting()
    visit.go("Quarantine")
    visit.page.get_by_role("button", name="Restore …").first.click()
    asked = visit.page.get_by_role("dialog", name="Put the object back")
    expect(asked).to_contain_text("1 object of 420 kB goes back to where it lay")
    asked.get_by_role("button", name="Restore 1 object").click()
    expect(visit.page.get_by_text("Restored: projects/proj_sunset/")).to_be_visible()
    expect(visit.page.get_by_role("table", name="Quarantine").get_by_role("row")).to_have_count(2)


def test_an_object_is_removed_for_good_by_its_own_button(visiting: Visiting) -> None:
    visit = visiting()
    visit.go("Quarantine")
    visit.page.get_by_role("button", name="Remove …").first.click()
    asked = visit.page.get_by_role("dialog", name="Remove the object for good")
    expect(asked).to_contain_text("There is no way back.")
    asked.get_by_role("button", name="Remove 1 object for good").click()
    expect(visit.page.get_by_text("Removed: projects/proj_sunset/")).to_be_visible()
    expect(visit.page.get_by_role("table", name="Quarantine").get_by_role("row")).to_have_count(2)


def test_a_refusal_is_shown_in_the_question_and_nothing_closes(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.broken = {"POST /quarantine": problem(409, "object-exists", "something else lies under the key: look at both")}
    visit = visiting(house)
    visit.go("Quarantine")
    visit.page.get_by_role("button", name="Restore …").first.click()
    asked = visit.page.get_by_role("dialog")
    asked.get_by_role("button", name="Restore 1 object").click()
    expect(asked.get_by_role("alert")).to_contain_text("something else lies under the key")
    asked.get_by_role("button", name="Cancel").click()
    expect(asked).to_have_count(0)


def test_a_drill_tells_how_it_ended(visiting: Visiting) -> None:
    visit = visiting()
    visit.go("Quarantine")
    visit.page.get_by_role("button", name="Run a drill").click()
    visit.page.get_by_role("dialog").get_by_role("button", name="Run the drill").click()
    expect(visit.page.get_by_role("dialog")).to_contain_text("It passed.")


def test_a_deletion_is_verified_and_its_receipt_read_kept_and_printed(visiting: Visiting) -> None:
    visit = visiting()
    page = visit.page
    visit.go("Deletions")
    expect(page.get_by_role("row", name="summer-archive")).to_contain_text("9 of 14 batches")
    row = page.get_by_role("row", name="pilot-client")
    row.get_by_role("button", name="Verify").click()
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text("should find none of the 1,284 objects that went")
    asked.get_by_role("button", name="Verify").click()
    expect(asked).to_contain_text("Nothing is left: 0 objects")
    asked.get_by_role("button", name="Close").click()
    row.get_by_role("button", name="Receipt").click()
    receipt = page.get_by_role("dialog", name="Receipt of a deletion")
    expect(receipt).to_contain_text("Deleted: a fresh listing of every layout showed nothing.")
    with page.expect_download() as download:
        receipt.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"receipt-{DELETION_ID}.json"
    with page.context.expect_page() as printed:
        receipt.get_by_role("link", name="Open to print").click()
    expect(printed.value.get_by_role("heading", name="Receipt of a deletion")).to_be_visible()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("REMOVING", "DELETED", "A deletion has ended: its receipt is there."),
        ("SETTING_ASIDE", "HELD", "The project winter is set aside, and can be undone until "),
        ("RESTORING", "UNDONE", "The deletion of winter was undone."),
        ("SETTING_ASIDE", "REMOVING", None),
    ],
)
def test_what_became_of_a_deletion_is_said_and_not_that_it_ended(visiting: Visiting, before: str, after: str, said: str | None) -> None:
    house = lived_in(NOW)
    house.deletions = [{**a_deletion(NOW, "winter", "REMOVING"), "status": before, "erases_at": rfc(NOW + timedelta(days=7))}]
    visit = visiting(house)
    visit.page.get_by_role("region", name="Deletions under way", exact=True).wait_for()
    house.deletions[0]["status"] = after
    live = visit.page.locator("[role=status][aria-live=polite]")
    if said is None:
        visit.page.wait_for_timeout(1500)
        assert live.inner_text() == ""
    else:
        expect(live).to_contain_text(said)


@pytest.mark.parametrize(
    ("status", "will", "seen"),
    [
        ("REMOVING", "sends again what may have been lost on its way", "12 objects of 5.0 MB are there so far: the deletion goes on."),
        ("HELD", "what is set aside is listed as still there", "12 objects of 5.0 MB are still there, set aside as they should be."),
    ],
)
def test_a_deletion_can_be_verified_while_it_is_under_way(visiting: Visiting, status: str, will: str, seen: str) -> None:
    house = lived_in(NOW)
    house.deletions = [{**a_deletion(NOW, "winter", "REMOVING"), "status": status}]
    left = {**VERIFIED, "deletion_id": DELETION_ID, "checked_at": rfc(NOW), "status": status, "remaining": tally(12)}
    house.broken = {f"POST /deletions/{DELETION_ID}/verify": Answered(200, left)}
    visit = visiting(house)
    visit.go("Deletions")
    visit.page.get_by_role("row", name="winter").get_by_role("button", name="Verify").click()
    asked = visit.page.get_by_role("dialog")
    expect(asked).to_contain_text(will)
    asked.get_by_role("button", name="Verify").click()
    expect(asked).to_contain_text(seen)
    expect(asked.locator("strong.bad")).to_have_count(0)


def test_what_may_be_the_projects_is_named_and_never_said_to_be_nothing(visiting: Visiting) -> None:
    house = lived_in(NOW)
    suspects = [{"key": "proj_winter_loose.png", "bytes": 7, "why": "it fits two projects: winter and winter_loose"}]
    receipt = a_deletion(NOW, "winter", "DELETED")["receipt"] | {"status": "INCOMPLETE", "suspect_objects": 1, "suspects": suspects}
    house.deletions = [{**a_deletion(NOW, "winter", "DELETED"), "status": "INCOMPLETE", "receipt": receipt}]
    seen = {
        **VERIFIED,
        "deletion_id": DELETION_ID,
        "checked_at": rfc(NOW),
        "status": "INCOMPLETE",
        "suspect_objects": 1,
        "suspects": suspects,
    }
    house.broken = {f"POST /deletions/{DELETION_ID}/verify": Answered(200, seen)}
    visit = visiting(house)
    visit.go("Deletions")
    row = visit.page.get_by_role("row", name="winter")
    asked = visit.page.get_by_role("dialog")
    row.get_by_role("button", name="Receipt").click()
    expect(asked.locator("strong.bad")).to_have_text("Incomplete: 1 object may be the project's or another's.")
    expect(asked).to_contain_text("proj_winter_loose.png")
    expect(asked).to_contain_text("it fits two projects")
    asked.get_by_role("button", name="Close").click()
    row.get_by_role("button", name="Verify").click()
    asked.get_by_role("button", name="Verify").click()
    expect(asked).to_contain_text("proj_winter_loose.png")
    expect(asked).to_contain_text("ends incomplete while it is there: move or delete it by hand")
    expect(asked.locator("strong.good")).to_have_count(0)


def test_what_was_not_counted_to_its_end_is_deleted_as_at_least_that(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.broken = {
        "DELETE /projects/moodboards": Answered(200, {**DRY_RUN, "project_id": "moodboards", "complete": False, "cursor": "on"})
    }
    visit = visiting(house)
    visit.go("Deletions")
    visit.page.get_by_label("Project to delete").fill("moodboards")
    visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("dialog").get_by_role("button", name="Delete at least 12 objects")).to_be_visible()


def test_a_project_is_deleted_only_by_who_types_its_name(visiting: Visiting) -> None:
    visit = visiting()
    page = visit.page
    visit.go("Deletions")
    page.get_by_label("Project to delete").fill("moodboards")
    page.keyboard.press("Enter")
    asked = page.get_by_role("dialog", name="Delete the project moodboards")
    expect(asked).to_contain_text("Removes 12 objects of 5.0 MB")
    delete = asked.get_by_role("button", name="Delete 12 objects")
    expect(delete).to_be_disabled()
    asked.get_by_label("Type moodboards to go on").fill("moodboard")
    page.keyboard.press("Enter")
    expect(delete).to_be_disabled()
    assert [asked.query for asked in visit.requests("DELETE")] == [{"dry_run": "true"}]


def test_a_project_that_there_is_not_is_said_and_nothing_is_left_to_press(visiting: Visiting) -> None:
    house = lived_in(NOW)
    house.broken = {"DELETE /projects/sunsett": problem(404, "project-not-found", "there is no project 'sunsett': create it first")}
    visit = visiting(house)
    visit.go("Deletions")
    visit.page.get_by_label("Project to delete").fill("sunsett")
    visit.page.keyboard.press("Enter")
    asked = visit.page.get_by_role("dialog")
    expect(asked.get_by_role("alert")).to_contain_text("The ledger knows no project sunsett, so nothing can be deleted.")
    expect(asked).not_to_contain_text("create it")
    expect(asked.get_by_role("button")).to_have_text(["Close"])


# by keyboard, by ear, in any light


def test_on_a_phone_every_view_and_every_button_of_a_row_is_in_sight(visiting: Visiting) -> None:
    visit = visiting(size=(390, 844))
    beside = "all => all.map(one => one.getBoundingClientRect()).filter(box => box.left < 0 || box.right > innerWidth).length"
    for view in ("Overview", "Findings", "Deletions", "Quarantine", "Health"):
        visit.go(view) if view != "Overview" else None
        visit.settle()
        for seen in ("nav a", "main select", "main button"):
            assert visit.page.locator(seen).evaluate_all(beside) == 0, (view, seen)


@pytest.mark.parametrize("step", [0, 1], ids=["choosing", "planned"])
def test_on_a_phone_a_plan_is_no_wider_than_its_dialog(visiting: Visiting, step: int) -> None:
    visit = visiting(size=(390, 844))
    visit.go("Findings")
    visit.page.get_by_role("button", name="Plan a repair").click()
    plan = visit.page.get_by_role("dialog")
    plan.get_by_label("9 orphans").select_option("quarantine")
    if step:
        plan.get_by_role("button", name="Show what it would do").click()
        expect(plan.get_by_role("row", name="orphans quarantine")).to_contain_text("seen once only")
    assert plan.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    inside = "(all, right) => all.every(one => one.getBoundingClientRect().right <= right)"
    assert plan.get_by_role("button").evaluate_all(inside, 390)


def test_a_table_that_goes_on_sideways_shows_it(visiting: Visiting) -> None:
    page = visiting(size=(390, 844)).page
    table = page.get_by_role("region", name="Projects, those with the most")
    expect(table.locator("xpath=..")).to_have_class(re.compile("further"))
    table.evaluate("table => table.scrollTo({left: 9999})")
    expect(table.locator("xpath=..")).not_to_have_class(re.compile("further"))


def test_all_of_it_is_done_by_keyboard(visiting: Visiting) -> None:
    page = visiting().page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("button", name="Start a reconcile").focus()
    page.keyboard.press("Enter")
    asked = page.get_by_role("dialog")
    asked.get_by_role("button", name="Start").wait_for()
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    expect(asked).to_have_count(0)
    expect(page.get_by_role("button", name="Start a reconcile")).to_be_focused()
    page.get_by_role("link", name="Health").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Health")).to_be_focused()


def test_what_comes_of_a_deed_is_said_to_who_listens(visiting: Visiting) -> None:
    page = visiting().page
    live = page.locator("[role=status][aria-live=polite]")
    assert live.count() == 1 and live.inner_text() == ""  # there before anything is said in it
    page.get_by_role("button", name="Start a reconcile").click()
    page.get_by_role("dialog").get_by_role("button", name="Start").click()
    expect(live).to_contain_text("The reconcile has started.")


@pytest.mark.parametrize("size", [(1280, 860), (390, 844)], ids=["desktop", "phone"])
def test_axe_finds_nothing_to_say_in_any_light(visiting: Visiting, axe: str, size: tuple[int, int]) -> None:
    visit = visiting(signed_in=False, size=size, bypass=True)  # axe is no part of the page, and its policy lets none in
    page = visit.page
    page.evaluate(axe)
    found = {"door": violations(page)}
    visit.sign_in()
    page.get_by_role("region", name="Projects", exact=True).wait_for()
    page.get_by_text("As a table").last.click()
    found["overview"] = violations(page)
    for view in ("Findings", "Deletions", "Quarantine", "Health"):
        visit.go(view)
        visit.settle()
        if view == "Findings":
            page.get_by_role("button", name="More").first.click()
        found[view] = violations(page)
    visit.go("Findings")
    page.get_by_role("button", name="Plan a repair").click()
    found["plan"] = violations(page)
    page.get_by_role("dialog").get_by_role("button", name="Show what it would do").click()
    page.get_by_role("dialog").get_by_role("table").wait_for()
    found["planned"] = violations(page)
    assert {place: faults for place, faults in found.items() if faults} == {}


def violations(page: Page) -> list[str]:
    """Asks axe about all in the light, and about colours, which alone are others there, in the dark."""
    found: list[str] = []
    for scheme, rules in (("light", "null"), ("dark", "['color-contrast']")):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        only = f"{rules} ? {{runOnly: {rules}}} : {{}}"
        answer: dict[str, Any] = page.evaluate(f"axe.run(document, {{resultTypes: ['violations'], ...({only})}})")
        found += [
            f"{scheme} {fault['id']}: {node['target']} {node['failureSummary']}"
            for fault in answer["violations"]
            for node in fault["nodes"]
        ]
    return found


# figures, never pass or fail by the clock


def test_how_long_it_takes_to_show_a_million_records(visiting: Visiting, record_property: Any, capsys: pytest.CaptureFixture[str]) -> None:
    visit = visiting(huge(NOW), signed_in=False)
    began = time.perf_counter()
    visit.sign_in()
    visit.page.get_by_role("region", name="Projects", exact=True).get_by_role("row").nth(3).wait_for()
    overview = time.perf_counter() - began
    began = time.perf_counter()
    visit.go("Findings")
    visit.page.get_by_role("table", name="Findings").get_by_role("row").nth(50).wait_for()
    findings = time.perf_counter() - began
    record_property("overview_seconds", overview)
    with capsys.disabled():
        print(f"\ndashboard: 1,000,000 records and 1,000 projects shown in {overview:.2f} s, 50 of 10,000 findings in {findings:.2f} s")
