"""The dashboard on the deployed stack, as an operator goes through it: sign in, compare, look, repair, restore, delete, verify."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.stack.api import GRACE_SECONDS, call, eventually, keys, opened, uploaded, without_events
from tests.unit.world import an_image
from tools.stack import Stack

SECONDS = 90_000
"""Milliseconds that anything may take: the machine may have other things to do."""


@pytest.fixture
def page(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce").new_page()
    page.set_default_timeout(SECONDS)
    expect.set_options(timeout=SECONDS)
    return page


def go(page: Page, view: str) -> None:
    page.get_by_role("navigation", name="Views").get_by_role("link", name=view).click()
    page.get_by_role("heading", level=1, name=view).wait_for()


def compare(stack: Stack, page: Page) -> None:
    """Starts a run by the page and waits for it by the API: the end of another's deletion may take the place of what the page says."""
    before = newest(stack).get("run_id")
    page.get_by_role("button", name="Start a reconcile").click()
    asked = page.get_by_role("dialog", name="Compare bucket and ledger")
    asked.get_by_role("button", name="Start").click()
    eventually(lambda: newest(stack), lambda run: run.get("run_id") != before and run["status"] == "COMPLETE", 120)
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_role("region", name="The run")).to_contain_text("complete")


def stored_at(stack: Stack, key: str) -> float:
    """Says when the store took an object, in seconds."""
    return stack.bucket_client().head_object(Bucket=stack.bucket, Key=key)["LastModified"].timestamp()


def newest(stack: Stack) -> dict[str, Any]:
    """Reads the newest run, whole; nothing where there is none."""
    runs = call(stack, "GET", "/reconciliations?limit=1", 200)["reconciliations"]
    found: dict[str, Any] = call(stack, "GET", f"/reconciliations/{runs[0]['run_id']}", 200) if runs else {}
    return found


def test_an_operator_does_it_all_in_the_browser(stack: Stack, page: Page) -> None:
    if stack.store != "s3":
        pytest.skip("the bucket of this store is looked at by the same requests; one store is enough for the page")
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if "Security Policy" in said.text else None)
    doomed, kept = opened(stack), opened(stack)
    uploaded(stack, doomed, an_image(71))
    uploaded(stack, kept, an_image(72))
    gone = uploaded(stack, kept, an_image(73))["key"]
    orphan = f"projects/{kept}/scenes/s1/media/orphan.png"
    bucket = stack.bucket_client()
    with without_events(stack):  # all the while: one that is late would tell the ledger of what the run is to find
        bucket.delete_object(Bucket=stack.bucket, Key=gone)
        bucket.put_object(Bucket=stack.bucket, Key=orphan, Body=an_image(74))
        operated(stack, page, doomed=doomed, kept=kept, gone=gone, orphan=orphan)
    assert refused == []


def operated(stack: Stack, page: Page, *, doomed: str, kept: str, gone: str, orphan: str) -> None:
    """Goes through the page from the door to the receipt."""
    page.goto(f"{stack.api_url}/dashboard")
    page.get_by_label("Token").fill(stack.token)
    page.get_by_role("button", name="Sign in").click()
    stored = call(stack, "GET", "/analytics", 200)["stored"]["objects"]
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{stored:,} objects are stored")

    # its final sweep comes while the rest goes on
    go(page, "Deletions")
    page.get_by_label("Project to delete").fill(doomed)
    page.keyboard.press("Enter")
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text("Removes 1 object")
    asked.get_by_label(f"Type {doomed} to go on").fill(doomed)
    asked.get_by_role("button", name="Delete 1 object").click()
    expect(page.get_by_text("The deletion has begun.")).to_be_visible()

    go(page, "Findings")
    time.sleep(max(0, stored_at(stack, orphan) + GRACE_SECONDS + 1 - time.time()))  # no run judges what is young
    compare(stack, page)
    time.sleep(GRACE_SECONDS + 1)
    compare(stack, page)  # what was seen once is set aside by no plan
    page.get_by_label("Project").fill(kept)
    page.keyboard.press("Enter")
    found = page.get_by_role("table", name="Findings")
    row = found.get_by_role("row").filter(has_text="orphan.png")
    expect(row).to_contain_text("orphan")
    expect(found.get_by_role("row").filter(has_text=gone.rpartition("/")[2])).to_contain_text("missing object")
    expect(row.locator("img")).to_have_js_property("complete", True)
    expect(row.locator("img")).not_to_have_js_property("naturalWidth", 0)
    row.get_by_role("button", name="More").click()
    expect(page.get_by_text("Adopt it if the application uses it, else quarantine it.")).to_be_visible()

    page.get_by_role("button", name="Plan a repair").click()
    plan = page.get_by_role("dialog")
    plan.get_by_label(re.compile("missing object")).wait_for()  # the kinds of what is unstored are read first
    for choice in plan.get_by_role("combobox").all():
        choice.select_option("")
    plan.get_by_label(re.compile("missing object")).select_option("mark_missing")
    plan.get_by_label(re.compile("orphan"), exact=False).first.select_option("quarantine")
    plan.get_by_role("button", name="Show what it would do").click()
    plan.get_by_role("button", name=re.compile(r"Apply to \d+ finding")).click()
    eventually(lambda: newest(stack).get("repair"), lambda repair: repair is not None and repair["status"] == "DONE", 120)
    assert keys(stack, orphan) == [], str(newest(stack)["repair"])
    assert call(stack, "GET", f"/projects/{kept}/analytics", 200)["counts"]["MISSING"]["objects"] == 1

    go(page, "Quarantine")
    page.get_by_role("row").filter(has_text=orphan).get_by_role("button", name="Restore").click()
    page.get_by_role("dialog").get_by_role("button", name="Restore 1 object").click()
    eventually(lambda: keys(stack, orphan), lambda found: found == [orphan])

    go(page, "Deletions")
    ended = page.get_by_role("row").filter(has_text=doomed)
    expect(ended).to_contain_text("deleted")
    ended.get_by_role("button", name="Verify").click()
    asked = page.get_by_role("dialog")
    asked.get_by_role("button", name="Verify").click()
    expect(asked).to_contain_text("Nothing is left: 0 objects")
    asked.get_by_role("button", name="Close").click()
    ended.get_by_role("button", name="Receipt").click()
    expect(page.get_by_role("dialog")).to_contain_text("Deleted: a fresh listing of every layout showed nothing.")
    with page.context.expect_page() as printed:
        page.get_by_role("link", name="Open to print").click()
    expect(printed.value.get_by_role("heading", name="Receipt of a deletion")).to_be_visible()
    assert printed.value.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"  # its style is let in
    page.get_by_role("dialog").get_by_role("button", name="Close").click()

    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("objects are stored")
