from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from stocktake.ledger import tables
from tests.unit.conftest import REGION
from tests.unit.ledger.builders import NOW, Deployment, Faults


@pytest.fixture(scope="session")
def deploy_on_moto(aws: None, table_definitions: dict[str, dict[str, Any]]) -> Callable[..., Deployment]:
    """Makes fresh tables in moto, which copies all of them for every transaction: so two sets take turns."""
    client = boto3.client("dynamodb", REGION)
    sets = [tables(objects=f"objects-{n}", projects=f"projects-{n}", operations=f"operations-{n}", region=REGION) for n in range(2)]
    turns = itertools.count()

    def make(*, shards: int = 16) -> Deployment:
        turn = next(turns)
        for name, definition in table_definitions.items():
            if turn > 1:
                client.delete_table(TableName=f"{name}-{turn % 2}")
            client.create_table(TableName=f"{name}-{turn % 2}", **definition)
        vars(sets[turn % 2].client).pop("_make_api_call", None)  # the faults of the deployment before
        return Deployment(sets[turn % 2], Faults(sets[turn % 2]), shards=shards)

    return make


@pytest.fixture(params=["twin", "moto"])
def deploy_on_either(request: pytest.FixtureRequest) -> Callable[..., Deployment]:
    """The ledger's tests run against both, which keeps them alike."""
    made: Callable[..., Deployment] = request.getfixturevalue("deploy" if request.param == "twin" else "deploy_on_moto")
    return made


@pytest.fixture
def deployment(deploy_on_either: Callable[..., Deployment]) -> Deployment:
    """Fresh tables with the project p1 open."""
    made = deploy_on_either()
    made.ledger.create_project("p1", {}, NOW)
    made.faults.calls.clear()
    return made
