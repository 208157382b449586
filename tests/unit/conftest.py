from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from stocktake.ledger import tables
from stocktake.storage.memory import MemoryStore
from tests.unit.ledger.builders import Deployment, Faults
from tests.unit.world import Clock, World

REGION = "eu-west-1"


@pytest.fixture(scope="session")
def deploy(aws: None, table_definitions: dict[str, dict[str, Any]]) -> Callable[..., Deployment]:
    """Makes fresh tables as template.yaml defines them; the two newest deployments are there.

    Clients are dear (150 ms) and moto copies all tables for every transaction: so two sets of tables take turns.
    """
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


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    """The tables of `world`, and the faults between it and them."""
    return deploy()


@pytest.fixture
def world(deployment: Deployment) -> World:
    """A whole deployment in memory, with the project p1 open."""
    clock = Clock()
    world = World(MemoryStore("data", now=clock), deployment.ledger, deployment.operations, clock)
    world.uploads.create_project("p1", {})
    return world
