"""docs/field-reports.md names tests and files that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "field-reports.md").read_text()
STORIES = (ROOT / "tests" / "stack" / "test_field_reports.py").read_text()


def test_the_page_tells_of_every_story_that_is_run_and_of_no_other() -> None:
    told = set(re.findall(r"`(test_\w+)`", PAGE))
    assert told == set(re.findall(r"^def (test_\w+)", STORIES, re.MULTILINE))


def test_every_file_that_the_page_names_is_there() -> None:
    named = {ROOT / "tests" / name for name in re.findall(r"`((?:contract|functions|stack|template|unit)/[\w/]+\.py)`", PAGE)}
    linked = {ROOT / "docs" / name for name in re.findall(r"\]\(([^)#]+)\)", PAGE)}
    assert len(named) > 20
    assert [path for path in sorted(named | linked) if not path.exists()] == []
