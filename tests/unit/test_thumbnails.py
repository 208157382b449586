"""Which findings are shown as images."""

from __future__ import annotations

import pytest

from stocktake.storage.memory import MemoryStore
from stocktake.thumbnails import MAX_BYTES, with_urls


def shown(key: str, size: int | None = 100) -> bool:
    [finding] = with_urls([{"key": key, "object": None if size is None else {"bytes": size}}], MemoryStore(now=lambda: 1))
    return "url" in finding


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.b.jpeg", "x/y.jpg", "a.webp", "a.gif", "a.avif"])
def test_an_image_by_its_name_has_a_url(name: str) -> None:
    assert shown(name)


@pytest.mark.parametrize("name", ["a.svg", "a.html", "a.png.html", "png", "a.mp4", "a.heic", ""])
def test_what_a_browser_could_run_or_cannot_show_has_none(name: str) -> None:
    assert not shown(name)


def test_what_is_gone_or_too_large_has_none() -> None:
    assert not shown("a.png", None)
    assert (shown("a.png", MAX_BYTES), shown("a.png", MAX_BYTES + 1)) == (True, False)
