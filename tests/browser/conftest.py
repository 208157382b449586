"""One Chromium for all of them, and a page of the dashboard over an API that was made up.

Whatever a test does, the page may ask no foreign host for anything, break none of its own policy and stumble over nothing.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from stocktake import dashboard
from tests.promised import hold_to_document
from tools.dashboard.made_up import House, lived_in
from tools.dashboard.served import Answered, Asked, Site, serving
from tools.demo.images import pictures

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)
_PATIENCE_MS = 30_000  # the machine may have other things to do


@pytest.fixture(scope="session")
def axe() -> str:
    done = subprocess.run(["sh", "tools/bootstrap.sh", "dashboard"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"axe cannot be had: {done.stderr.strip()}")
    return (ROOT / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def images() -> Mapping[str, bytes]:
    return {f"/bucket/{number}": picture.body for number, picture in enumerate(pictures(3))}


def the_page(origin: str) -> tuple[str, Mapping[str, str]]:
    return dashboard.page(), {"Content-Type": dashboard.TYPE, **dashboard.headers(origin)}


@dataclass
class Visit:
    """A page that is open, and what it did that it may not."""

    page: Page
    site: Site
    faults: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Writes down what a page may never do."""

        def said(message: ConsoleMessage) -> None:
            if "Content Security Policy" in message.text or "Trusted" in message.text:
                self.faults.append(message.text)

        def asked(request: Request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.site.base).netloc:
                self.faults.append(f"asked {request.url}")

        self.page.on("pageerror", lambda error: self.faults.append(f"stumbled: {error}"))
        self.page.on("console", said)
        self.page.on("request", asked)

    def sign_in(self) -> None:
        self.page.get_by_label("Token").fill(self.site.token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("navigation", name="Views").wait_for()

    def go(self, view: str) -> None:
        self.page.get_by_role("navigation", name="Views").get_by_role("link", name=view).click()
        self.page.get_by_role("heading", level=1, name=view).wait_for()

    def settle(self) -> None:
        """Waits until the page asks for nothing more."""
        seen = -1
        while seen != len(self.site.asked):
            seen = len(self.site.asked)
            self.page.wait_for_timeout(300)

    def requests(self, beginning: str) -> list[Asked]:
        return [asked for asked in self.site.asked if asked.key.startswith(beginning)]


Visiting = Callable[..., Visit]


@pytest.fixture
def visiting(browser: Browser, images: Mapping[str, bytes]) -> Iterator[Visiting]:
    """Opens the page over a house; signs in, unless told not to. What is `older` is not held to this contract."""
    with ExitStack() as stack:
        visits: list[Visit] = []

        def visit(
            house: House | None = None,
            *,
            signed_in: bool = True,
            stage: str = "",
            scheme: Literal["light", "dark"] = "light",
            size: tuple[int, int] = (1280, 860),
            bypass: bool = False,
            older: bool = False,
        ) -> Visit:
            house = house or lived_in(NOW)
            site = stack.enter_context(serving(the_page, house.api if older else promised(house), images, stage=stage))
            house.images_at = site.base.removesuffix(stage)
            context = browser.new_context(
                viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce", bypass_csp=bypass
            )
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(_PATIENCE_MS)
            expect.set_options(timeout=_PATIENCE_MS)
            opened = Visit(page, site)
            visits.append(opened)
            opened.watch()
            page.goto(f"{site.base}/dashboard")
            if signed_in:
                opened.sign_in()
            return opened

        yield visit
        assert [fault for opened in visits for fault in opened.faults] == []


def promised(house: House) -> Callable[[Asked], Answered]:
    """Holds what is made up to the contract, so that the page is shown nothing that the API would not say."""

    def answer(asked: Asked) -> Answered:
        answered = house.api(asked)
        if not isinstance(answered.body, bytes) and answered.content_type == "application/json":
            hold_to_document(asked.method, asked.path, answered.status, _headers(answered), json.dumps(answered.body))
        return answered

    return answer


def _headers(answered: Answered) -> dict[str, str]:
    # those of a receipt are of no interest to the page
    return {"Content-Type": answered.content_type, "Content-Disposition": "attachment", "Cache-Control": "no-store"}
