"""docs/ and the code say the same of the command line."""

from __future__ import annotations

import re
from pathlib import Path

from stocktake.routes import ROUTES
from stocktake_cli.commands.group import stocktake
from stocktake_cli.page import PAGE, page

SCRIPTS = PAGE.parent / "scripts-to-commands.md"


def test_the_page_of_the_command_line_is_as_the_code_has_it() -> None:
    assert PAGE.read_text() == page(), "docs/command-line.md is older than the code: make command-line"


def test_the_page_of_the_field_reports_names_only_commands_and_options_that_there_are() -> None:
    said = re.findall(r"`stocktake ([a-z-]+)([^`]*)`", SCRIPTS.read_text())
    assert said
    for name, rest in said:
        command = stocktake.commands[name]
        known = {option for param in command.params for option in param.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, name


def test_every_command_does_the_job_of_a_script_or_is_about_the_command_line_itself() -> None:
    said = set(re.findall(r"`stocktake ([a-z-]+)", SCRIPTS.read_text()))
    assert set(stocktake.commands) - {"profiles", "completion"} <= said


def test_every_path_that_a_command_calls_is_one_of_the_api() -> None:
    called = set()
    for file in (PAGE.parents[1] / "cli" / "stocktake_cli").rglob("*.py"):
        called |= set(re.findall(r'"(/[a-z_]+(?:/[a-z_{}]+)*)"', file.read_text()))
    called -= {"/objects/{name}", "/uploads/{name}"}  # one or the other, by the same name
    known = {route.path for route in ROUTES}
    assert called - known == set()
    assert len(called) > 20


def test_the_page_is_in_the_readme() -> None:
    assert "docs/command-line.md" in Path(PAGE.parents[1] / "README.md").read_text()
