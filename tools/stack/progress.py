"""A line for each step of long work, with the seconds it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(what: str) -> Iterator[None]:
    """Prints what begins, and at the end of the same line how long it took; a failure ends the line too."""
    print(f"  {what:<52}", end="", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f"{time.monotonic() - began:6.1f} s", flush=True)
    sys.stdout.flush()
