"""The demonstration, number by number, on the local S3 and on a foreign store; and a restart in between."""

from __future__ import annotations

import pytest

from tests.conftest import shown
from tools.demo.__main__ import Story
from tools.stack import Settings, Stack, down, up


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


def test_the_same_story_on_a_foreign_store_without_events(foreign_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tell(foreign_stack, monkeypatch) == []
