from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stocktake.ledger import Tables, tables
from stocktake.storage.memory import MemoryStore
from tests.dynamodb_twin import Twin
from tests.unit.grants import checked, roles_at_work
from tests.unit.ledger.builders import Deployment, Faults
from tests.unit.world import Clock, World

REGION = "eu-west-1"


@pytest.fixture(scope="session")
def table_sets(aws: None) -> list[Tables]:
    """Clients are dear (150 ms): two sets of tables take turns, so the two newest deployments are there."""
    return [tables(objects="objects", projects="projects", operations="operations", region=REGION) for _ in range(2)]


@pytest.fixture(scope="session")
def deploy(table_sets: list[Tables], table_definitions: dict[str, dict[str, Any]]) -> Callable[..., Deployment]:
    """Makes fresh tables as template.yaml defines them, in the twin of DynamoDB."""
    turns = itertools.cycle(table_sets)

    def make(*, shards: int = 16) -> Deployment:
        made = next(turns)
        vars(made.client)["_make_api_call"] = checked(Twin(table_definitions).call)
        return Deployment(made, Faults(made), shards=shards)

    return make


@pytest.fixture(scope="session", autouse=True)
def _roles() -> Iterator[None]:
    with roles_at_work():
        yield


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
