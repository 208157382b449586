"""Thumbnails: where the images that findings speak of can be looked at for a while.

Only what a browser shows without running anything, as far as its name says; what is under the name nobody has looked at, and a browser that
is given it for an image takes it for an image or for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stocktake.storage import Store

SECONDS = 300
MAX_BYTES = 20 * 1000**2
"""What is larger is no help to who wants to see many at once."""
_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif")


def with_urls(findings: Iterable[Mapping[str, Any]], store: Store) -> list[dict[str, Any]]:
    """Returns the findings, each image that the bucket held with a `url` signed for five minutes; asks nothing of the bucket."""
    return [
        {**finding, "url": store.presign_get(finding["key"], seconds=SECONDS, inline=True)} if _is_shown(finding) else dict(finding)
        for finding in findings
    ]


def _is_shown(finding: Mapping[str, Any]) -> bool:
    seen = finding["object"]
    return seen is not None and seen["bytes"] <= MAX_BYTES and finding["key"].lower().endswith(_EXTENSIONS)
