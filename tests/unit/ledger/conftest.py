from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.ledger.builders import NOW, Deployment


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    """Fresh tables with the project p1 open."""
    made = deploy()
    made.ledger.create_project("p1", {}, NOW)
    made.faults.calls.clear()
    return made
