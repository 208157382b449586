"""Photographs the dashboard over made-up data, for the README: `make screenshots`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Page

from stocktake import dashboard
from tools.dashboard.chromium import NoBrowser, chromium
from tools.dashboard.made_up import lived_in
from tools.dashboard.served import TOKEN, serving
from tools.demo.images import pictures

DOCS = Path(__file__).parents[2] / "docs"
_DESKTOP, _PHONE = (1280, 1000), (390, 844)
_SHOTS: tuple[tuple[str, str, Literal["light", "dark"], tuple[int, int]], ...] = (
    ("light", "Overview", "light", _DESKTOP),
    ("dark", "Overview", "dark", _DESKTOP),
    ("findings", "Findings", "light", _DESKTOP),
    ("phone", "Overview", "light", _PHONE),
)


def main() -> int:
    """Writes docs/dashboard-*.png; returns the exit status."""
    house = lived_in()
    house.pictures = 24
    images = {f"/bucket/{number}": picture.body for number, picture in enumerate(pictures(house.pictures))}
    try:
        with (
            serving(
                lambda origin: (dashboard.page(), {"Content-Type": dashboard.TYPE, **dashboard.headers(origin)}), house.api, images
            ) as site,
            chromium() as browser,
        ):
            house.images_at = site.base
            for name, view, scheme, (width, height) in _SHOTS:
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=2 if width < 500 else 1.5
                )
                page = context.new_page()
                page.goto(f"{site.base}/dashboard")
                page.get_by_label("Token").fill(TOKEN)
                page.get_by_role("button", name="Sign in").click()
                page.get_by_role("link", name=view).first.click()
                _wait_for_all(page)
                kept = _small(page.screenshot())
                (DOCS / f"dashboard-{name}.png").write_bytes(kept)
                print(f"docs/dashboard-{name}.png: {len(kept) // 1000} kB")
                context.close()
    except NoBrowser as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


def _wait_for_all(page: Page) -> None:
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_timeout(1500)
    # asked from outside: what waits inside of the page evaluates text, and the page's policy lets nothing do that
    while not page.evaluate(
        "[...document.images].filter(image => image.getBoundingClientRect().top < innerHeight).every(image => image.complete)"
    ):
        page.wait_for_timeout(50)
    page.evaluate("document.activeElement.blur()")


def _small(shot: bytes) -> bytes:
    """Writes a picture anew with 256 colours, of which a page has few; `kmeans` keeps those true that little of it has."""
    made = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(256, kmeans=4, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()


if __name__ == "__main__":
    sys.exit(main())
