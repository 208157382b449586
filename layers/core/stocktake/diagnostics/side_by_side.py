"""Looks that run at once, each in a thread of its own with a deadline: one that hangs takes no other with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from stocktake.diagnostics.check import Check
from stocktake.errors import StocktakeError


class Begun[T]:
    """A look under way.

    A daemon thread and no executor: an executor's threads are waited for when the process ends, and one that hangs would hold it up. There
    are a dozen looks, so there are never more threads than that.

    Args:
        look: what is run at once.
        seconds: it has, from now on.
    """

    def __init__(self, look: Callable[[], T], seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._made: Future[T] = Future()
        threading.Thread(target=self._run, args=(look,), daemon=True).start()

    def _run(self, look: Callable[[], T]) -> None:
        try:
            self._made.set_result(look())
        except BaseException as error:
            self._made.set_exception(error)

    def result(self) -> T:
        """Waits for it. Raises what it raised, and TimeoutError once its time is over."""
        return self._made.result(max(0.0, self._end - time.monotonic()))


def checks_of(names: Sequence[str], begun: Begun[Sequence[Check]]) -> Sequence[Check]:
    """Waits for the checks of a look; where it fails or is late, each of `names` says so."""
    try:
        return begun.result()
    except Exception as error:
        return [failure(name, error, begun.seconds) for name in names]


def failure(name: str, error: Exception, seconds: float) -> Check:
    """Says of a look that gave no checks why not."""
    if isinstance(error, StocktakeError):
        return Check.of_error(name, error)
    if isinstance(error, TimeoutError):
        said = f"There was no answer within {seconds:g} seconds"
        todo = "Look again; if it stays so, see what lies between the function and it: a network, an endpoint, throttling"
        return Check(name, "failed", said, todo, {"problem": "timeout"})
    # not its text: nobody knows what it may hold
    return Check(name, "failed", f"The look itself broke off ({type(error).__name__})", "This is a fault of Stocktake: please report it")
