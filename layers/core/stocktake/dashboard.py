"""The dashboard: one page, bundled from dashboard/ at the top of the repository, and the policy that holds it to what it is.

Anybody may read the page: it holds nothing of what is stored. It asks for a token, keeps it in its memory, and asks this API for the rest.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from stocktake import receipt_page

TYPE = "text/html; charset=utf-8"

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


@cache
def page() -> str:
    """Reads the page."""
    return Path(__file__).with_suffix(".html").read_text()


def headers(image_origin: str) -> dict[str, str]:
    """Returns the page's headers.

    Args:
        image_origin: where the bucket's images come from, or "" where that is not known; nothing else is asked of another host.
    """
    return {
        "Content-Security-Policy": f"{_policy()}; img-src data: {image_origin}".rstrip(),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


@cache
def _policy() -> str:
    # a receipt is opened from here as the page that the API makes of it, which is under this policy then
    styles = " ".join([_hash(found) for found in _STYLE.findall(page())] + [receipt_page.STYLE])
    return (
        f"default-src 'none'; script-src {_hash(*_SCRIPT.findall(page()))}; style-src {styles}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
