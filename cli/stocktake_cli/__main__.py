"""Where `stocktake` begins; also `python -m stocktake_cli`, where it is not on PATH."""

from __future__ import annotations

import sys

from stocktake_cli.exits import Exit


def main() -> None:
    """Runs the command line. What it is made of is imported here, so that an interrupt meanwhile is told like any other."""
    try:
        from stocktake_cli.main import run

        run()
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)


if __name__ == "__main__":
    main()
