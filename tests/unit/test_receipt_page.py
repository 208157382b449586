from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from stocktake import receipt_page


def a_receipt(**changes: Any) -> dict[str, Any]:
    return {
        "deletion_id": "01KAHDELETE000000000000000",
        "project_id": "proj_1",
        "epoch": 2,
        "status": "INCOMPLETE",
        "mode": "both",
        "reason": "<script>alert(1)</script>",
        "requested_by": None,
        "requested_at": "2026-11-26T10:00:00.000Z",
        "finished_at": "2026-11-26T11:00:00.000Z",
        "rounds": 1,
        "objects": 1234,
        "bytes": 5678,
        "by_layout": {"current": {"objects": 1234, "bytes": 5678}},
        "by_source": {},
        "records": 1,
        "inline": {"objects": 4321, "bytes": 9},
        "versions": 0,
        "multipart_uploads_aborted": 0,
        "batches": 1,
        "retries": 0,
        "refused_objects": 0,
        "refused": [],
        "removed_keys_sha256": {"all": "ab" * 32, "rounds": {"1": "ab" * 32}},
        "listings": [{"layout": "current", "prefix": "projects/1/", "objects": 0}],
        "remaining_objects": 0,
        "remaining": [],
        "cdn": {"provider": "cloudflare", "purged": 2468, "failed": 1357, "failures": []},
        "suspect_objects": 3,
        "suspects": [{"key": "projects/1/<b>", "bytes": 7, "why": "no layout explains it"}],
        **changes,
    }


def test_a_page_shows_the_receipt_and_lets_nothing_in_it_act() -> None:
    page = receipt_page.page(a_receipt())
    for shown in ("INCOMPLETE", "1,234", "4,321", "2,468", "1,357", "ab" * 32, "projects/1/&lt;b&gt;", "and 2 more"):
        assert shown in page
    assert "<script" not in page
    assert "<b>" not in page


def test_a_page_may_load_and_run_nothing_but_its_own_style() -> None:
    style = re.search("<style>(.*?)</style>", receipt_page.page(a_receipt()), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = receipt_page.HEADERS["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "sandbox" in policy


def test_a_page_shows_what_was_set_aside_before_it_was_erased() -> None:
    page = receipt_page.page(a_receipt(set_aside={"objects": 8642, "keys_sha256": "cd" * 32}))
    assert "8,642" in page
    assert "cd" * 32 in page


def test_a_receipt_of_before_there_were_hashes_and_modes_has_its_page() -> None:
    old = a_receipt()
    for name in ("mode", "requested_by", "removed_keys_sha256", "retries", "refused_objects", "refused", "inline", "cdn"):
        del old[name]
    assert "1,234" in receipt_page.page(old)
