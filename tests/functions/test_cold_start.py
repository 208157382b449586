"""What a cold start imports: its own flow, and nothing that only another or a later step needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.functions.conftest import Scene

ROOT = Path(__file__).parents[2]
FLOWS = {"upload", "object_events", "project_deletion", "reconciliation", "migration", "analytics", "diagnostics"}
# Each takes 10 to 100 ms of CPU; what needs one imports it where it is needed.
DEAR = {"arro3", "boto3", "PIL", "cryptography", "jwt", "msgspec", "multiprocessing"}


def imported_by(handler: str) -> set[str]:
    """Names the modules that a fresh interpreter holds after importing the handler."""
    show = f"import json, sys, {handler}; print(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "layers" / "core"), str(ROOT / "functions")])}
    shown = subprocess.run([sys.executable, "-c", show], env=environment, check=True, capture_output=True, text=True).stdout
    return set(json.loads(shown))


def test_every_client_is_of_the_one_session_that_says_who_asks(scene: Scene) -> None:
    services = scene.services
    clients: list[Any] = [services.store._requests._client, services._tables.client, services._client("sqs")]
    assert [client.meta.config.user_agent.split()[0] for client in clients] == ["stocktake"] * 3


@pytest.mark.parametrize("handler", sorted(FLOWS))
def test_a_cold_start_imports_no_flow_but_its_own_and_nothing_dear(handler: str) -> None:
    modules = imported_by(handler)
    assert {flow for flow in FLOWS - {handler} if f"stocktake.{flow}" in modules} == set()
    assert modules & DEAR == set()
    assert "stocktake.openapi" not in modules
