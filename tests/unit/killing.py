"""A process that is killed before one of its calls, to the bucket or to DynamoDB."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.unit.ledger.builders import Deployment
from tests.unit.world import Crash, World


@dataclass
class Killing:
    """Whether the call was reached: work that made fewer was not killed."""

    happened: bool = False


@contextmanager
def killed_at(world: World, deployment: Deployment, call: int) -> Iterator[Killing]:
    """Kills what runs inside before its call number `call`, from 0."""
    client: Any = deployment.tables.client
    real, calls, killing = client._make_api_call, itertools.count(), Killing()

    def count(*_: object) -> None:
        if next(calls) == call:
            killing.happened = True
            raise Crash

    def counted(operation: str, params: dict[str, Any]) -> Any:
        count()
        return real(operation, params)

    world.store.on_call, client._make_api_call = count, counted
    try:
        yield killing
    except Crash:
        pass
    finally:
        world.store.on_call, client._make_api_call = None, real
