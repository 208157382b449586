"""Several processes at work on one deployment: each goes on call by call, as far as it is told to, and dies where it is told to.

One runs at a time, so that what happens is what was chosen and can be made to happen again. A process is paused before what it writes, and
before it looks at an object: what others do meanwhile comes between two of these calls, and a death there is one before the call and after
the last one. Before other reads a pause would show nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.unit.ledger.builders import Deployment
from tests.unit.world import Crash, World

_TOO_LONG = 20
_WRITES = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem")
_LISTS = ("list", "list_versions", "list_multipart_uploads", "get", "whereabouts", "cors")


class Process:
    """Work that was begun. `over` says that it has ended, with `answer` or by `error`; one that was killed has neither."""

    def __init__(self, processes: Processes, name: str, work: Callable[[], Any], dies_at: int, then: Callable[[Any], object]) -> None:
        self.name = name
        self.dies_at = dies_at
        self.over = False
        self.answer: Any = None
        self.error: BaseException | None = None
        self.calls = 0
        self._processes = processes
        self._then = then
        self._left: int | None = 0
        self._killed = False
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._work, args=(work,), daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return self.name

    def run(self, calls: int | None = None) -> None:
        """Lets it make so many calls, or all that are left."""
        if not self.over:
            self._left = calls
            self._processes.running, before = self, self._processes.running
            self._go.release()
            assert self._paused.acquire(timeout=_TOO_LONG), f"{self} waits for itself"
            self._processes.running = before
            self._has_paused()

    def _has_paused(self) -> None:
        if self.over:
            self._processes.alive.remove(self)
            self._thread.join(_TOO_LONG)
            if self.error is None and not self._killed:
                self._then(self.answer)

    def kill(self) -> None:
        """Ends it before its next call."""
        self._killed = True
        self.run()

    def before_call(self) -> None:
        """Pauses here, in its own thread, where it has made the calls it may."""
        if self._left == 0 and not self._killed:
            self._paused.release()
            self._go.acquire()
        if self._killed:
            raise Crash
        self.calls += 1
        if self._left is not None:
            self._left -= 1

    def _work(self, work: Callable[[], Any]) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                self.answer = work()
        except Crash:
            pass
        except BaseException as error:  # for whoever lets it run
            self.error = error
        self.over = True
        self._paused.release()


class Processes:
    """The processes of one deployment. What runs in none of them is not held up."""

    def __init__(self, world: World, deployment: Deployment) -> None:
        self.alive: list[Process] = []
        self.running: Process | None = None
        self.looking = 0
        client: Any = deployment.tables.client
        real = client._make_api_call

        def call(operation: str, params: dict[str, Any]) -> Any:
            if operation in _WRITES:
                self._before_call()
            return real(operation, params)

        def on_call(operation: str, key: str | None) -> None:
            if operation not in _LISTS:
                self._before_call()

        client._make_api_call, world.store.on_call = call, on_call

    def begin(self, name: str, work: Callable[[], Any], *, dies_at: int, then: Callable[[Any], object] = lambda answer: None) -> Process:
        """Begins a process, which makes no call yet. `then` is what its answer leads to."""
        process = Process(self, name, work, dies_at, then)
        self.alive.append(process)
        return process

    def outside(self, look: Callable[[], Any]) -> Any:
        """Looks at the deployment as nobody's call: nothing pauses there."""
        self.looking += 1
        try:
            return look()
        finally:
            self.looking -= 1

    def kill_all(self) -> None:
        for process in [*self.alive]:
            process.kill()

    def _before_call(self) -> None:
        if self.running is not None and not self.looking:
            self.running.before_call()
