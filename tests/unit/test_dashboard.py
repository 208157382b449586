"""The dashboard's page: what its policy allows, and that it is what its sources make."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from stocktake import dashboard, receipt_page

SOURCES = Path(__file__).parents[2] / "dashboard"
STORE = "https://stocktake-data.s3.eu-north-1.amazonaws.com"


def policy() -> dict[str, list[str]]:
    said = dashboard.headers(STORE)["Content-Security-Policy"]
    return {name: values for name, *values in (directive.split() for directive in said.split("; "))}


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_this_script_this_style_this_api_and_images_of_this_bucket_alone() -> None:
    [script] = re.findall(r"<script>(.*?)</script>", dashboard.page(), re.DOTALL)
    [style] = re.findall(r"<style>(.*?)</style>", dashboard.page(), re.DOTALL)
    nothing = ["'none'"]
    assert policy() == {
        "default-src": nothing,
        "script-src": [hashed(script)],
        "style-src": [hashed(style), receipt_page.STYLE],
        "connect-src": ["'self'"],
        "img-src": ["data:", STORE],
        "base-uri": nothing,
        "form-action": nothing,
        "frame-ancestors": nothing,
        "require-trusted-types-for": ["'script'"],
        "trusted-types": nothing,
    }


def test_the_page_is_kept_by_nobody_and_told_to_nobody() -> None:
    headers = dashboard.headers(STORE)
    assert (headers["Cache-Control"], headers["Referrer-Policy"], headers["X-Content-Type-Options"]) == (
        "no-store",
        "no-referrer",
        "nosniff",
    )


def test_the_page_is_one_document_that_names_no_other_place() -> None:
    page = dashboard.page()
    assert not re.search(r"\b(src|href)=[\"']?(?!data:,|#)[a-z/]", page.partition("<script>")[0])
    named = re.findall(r"https?://([^/\s\"'`)]+)", page.partition("-->")[2])
    assert set(named) == {"www.w3.org"}  # what XML's vocabularies are called
    assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie|\beval\(|new Function", page)


def test_the_page_carries_the_licences_of_what_it_is_made_of() -> None:
    comment = dashboard.page().partition("-->")[0]
    assert "preact 11" in comment and "uplot 1" in comment
    assert comment.count("Permission is hereby granted, free of charge") == 2


def test_the_lock_names_no_registry() -> None:
    assert "resolved" not in (SOURCES / "package-lock.json").read_text()


def test_the_page_is_what_its_sources_make() -> None:
    root = SOURCES.parent
    ready = subprocess.run(["sh", "tools/bootstrap.sh", "dashboard"], cwd=root, capture_output=True, text=True, check=False)
    if ready.returncode:
        pytest.skip(f"the page cannot be made anew: {ready.stderr.strip()}")
    made = subprocess.run(["node", "bundle.mjs", "--check"], cwd=SOURCES, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
