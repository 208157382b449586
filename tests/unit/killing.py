"""A process that is killed before one of its calls, to the bucket or to DynamoDB."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.unit.ledger.builders import Deployment
from tests.unit.world import Crash, World


@dataclass
class Killing:
    """Whether the call was reached: work that made fewer was not killed."""

    happened: bool = False


@contextmanager
def before_call(world: World, deployment: Deployment, call: int, then: Callable[[], object]) -> Iterator[list[bool]]:
    """Does `then` before call number `call`, from 0, of what runs inside; the list is empty where there were fewer."""
    client: Any = deployment.tables.client
    real, calls, done = client._make_api_call, itertools.count(), list[bool]()

    def count(*_: object) -> None:
        if not done and next(calls) == call:
            done.append(True)
            then()

    def counted(operation: str, params: dict[str, Any]) -> Any:
        count()
        return real(operation, params)

    world.store.on_call, client._make_api_call = count, counted
    try:
        yield done
    finally:
        world.store.on_call, client._make_api_call = None, real


@contextmanager
def killed_at(world: World, deployment: Deployment, call: int) -> Iterator[Killing]:
    """Kills what runs inside before its call number `call`, from 0."""
    killing = Killing()

    def die() -> None:
        killing.happened = True
        raise Crash

    with suppress(Crash), before_call(world, deployment, call, die):
        yield killing
