"""The demonstration, number by number, on the local S3 and on a foreign store; and a restart in between."""

from __future__ import annotations

import shutil

import pytest

from tests.conftest import shown
from tools.demo.__main__ import Story
from tools.stack import Settings, Stack, down, up
from tools.stack.processes import free_ports
from tools.stack.settings import ROOT


def tell(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    story = Story(stack)
    story.tell()
    return story.checks.failed


def test_every_number_of_the_demonstration_is_right(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tell(stack, monkeypatch) == []


def test_what_was_stored_survives_a_restart(stack: Stack, stack_settings: Settings, request: pytest.FixtureRequest) -> None:
    answer = stack.api.post("/projects", json={"project_id": "before-the-restart"})
    assert answer.status_code == 201
    counts = stack.api.get("/analytics").json()["records"]
    with shown(request):
        down(stack_settings)
        again = up(stack_settings)
    assert again.api_url == stack.api_url
    assert again.api.get("/projects/before-the-restart").json()["state"] == "ACTIVE"
    assert again.api.get("/analytics").json()["records"] == counts


def test_the_same_story_on_a_foreign_store_without_events(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    home = ROOT / ".local" / "test-foreign"
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home, port=free_ports(1), store="seaweedfs", store_port=free_ports(4))
    try:
        with shown(request):
            stack = up(settings)
        assert tell(stack, monkeypatch) == []
    finally:
        with shown(request):
            down(settings)
        shutil.rmtree(home / "seaweedfs", ignore_errors=True)
