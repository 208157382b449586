"""The command line, run."""

from __future__ import annotations

import sys

from stocktake_cli.commands.group import stocktake


def run() -> None:
    """Runs `stocktake` with the arguments of this process."""
    # a pipe of another encoding than UTF-8 must not end a command in the middle of a table
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    stocktake(prog_name="stocktake")
