"""A local stack of the tests' own: other ports, other data, deployed from the real template, gone at the end.

STORE=seaweedfs runs the same tests with the bucket in a SeaweedFS server.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.conftest import shown
from tools.stack import Settings, Stack, down, up
from tools.stack.processes import free_ports
from tools.stack.settings import ROOT


@pytest.fixture(scope="session")
def stack_settings() -> Settings:
    """Where the stack of the tests lives: of these tests, where several processes share them."""
    home = ROOT / ".local" / f"test{os.environ.get('PYTEST_XDIST_WORKER', '')}"
    down(Settings(home))
    shutil.rmtree(home, ignore_errors=True)
    return Settings(home, port=free_ports(1), store=os.environ.get("STORE") or "s3", store_port=free_ports(4))


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, stack_settings: Settings) -> Iterator[Stack]:
    """A running stack that nothing was stored in yet: `stack.api.post("/projects", ...)`, `stack.bucket_client()`, `stack.aws("sqs")`.

    Its logs stay in .local/test*/log.
    """
    settings, home = stack_settings, stack_settings.home
    try:
        with shown(request):
            running = up(settings)
        yield running
    finally:
        with shown(request):
            down(settings)
        for store in home.iterdir():
            if store.name != "log":
                shutil.rmtree(store, ignore_errors=True)


@pytest.fixture(scope="session")
def foreign_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A second stack, whose bucket lies in a SeaweedFS server: another make of S3, and one that sends no events.

    Its logs stay in .local/test-foreign/log.
    """
    home = ROOT / ".local" / "test-foreign"
    down(Settings(home, store="seaweedfs"))
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home, port=free_ports(1), store="seaweedfs", store_port=free_ports(4))
    try:
        with shown(request):
            running = up(settings)
        yield running
    finally:
        with shown(request):
            down(settings)
        shutil.rmtree(home / "seaweedfs", ignore_errors=True)
