"""docs/ and the code say the same of the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stocktake.routes import ROUTES
from stocktake_cli.commands.group import COMMANDS, every
from stocktake_cli.page import PAGE, page

SCRIPTS = PAGE.parent / "scripts-to-commands.md"


def test_the_page_of_the_command_line_is_as_the_code_has_it() -> None:
    assert PAGE.read_text() == page(), "docs/command-line.md is older than the code: make command-line"


def test_the_page_of_the_field_reports_names_only_commands_and_options_that_there_are() -> None:
    said = re.findall(r"`stocktake ([a-z-]+)([^`]*)`", SCRIPTS.read_text())
    assert said
    for name, rest in said:
        command = every()[name]
        known = {option for param in command.params for option in param.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, name


def test_every_command_does_the_job_of_a_script_or_is_about_the_command_line_itself() -> None:
    said = set(re.findall(r"`stocktake ([a-z-]+)", SCRIPTS.read_text()))
    assert set(every()) - {"profiles", "completion"} <= said


def test_the_list_of_commands_has_each_where_it_is() -> None:
    where = {name: str(command.callback.__module__) for name, command in every().items() if command.callback}
    assert where == {name: f"stocktake_cli.commands.{module}" for name, (module, _) in COMMANDS.items()}


@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_what_is_said_of_the_command_line_itself_imports_none_of_its_commands(asked: str) -> None:
    script = "import sys; from stocktake_cli.main import run\ntry: run()\nfinally: print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", script, asked], capture_output=True, text=True, check=True)
    assert ran.stdout
    assert {"rich", "urllib3", "stocktake_cli.edge", "pydantic", "botocore"} & set(ran.stderr.split()) == set()


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
