"""The command line, run."""

from __future__ import annotations

import sys

import click

from stocktake_cli.commands.group import stocktake


def run() -> None:
    """Runs `stocktake` with the arguments of this process, and ends the process with the code of what came of it."""
    # a pipe of another encoding than UTF-8 must not end a command in the middle of a table
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = stocktake.main(prog_name="stocktake", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):  # before the command began: click ends with 1, which says here that something differs
        from stocktake_cli.edge import interrupted  # which takes a moment, and few calls need it here

        code = interrupted(sys.argv[1:])
    sys.exit(code)
