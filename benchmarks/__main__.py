"""Runs every benchmark and writes `{name, ours, unit, peer_name, peer, ratio, target, better}` for each, as JSON and as a table.

`ratio` is ours over the peer's, and `target` is for it; where there is no peer, `target` is for ours. CPU time, not the clock's, wherever
the work is ours alone: these machines are shared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import answering, cold_start, comparing, deleting, ledger_reads, listing, reconciling, upload_cpu
from benchmarks.figures import Figure
from tools.stack import StackError

BENCHMARKS: tuple[Callable[[], list[Figure]], ...] = (
    cold_start.figures,
    upload_cpu.figures,
    comparing.figures,
    ledger_reads.figures,
    listing.figures,
    reconciling.figures,
    answering.figures,
    deleting.figures,
)


def main(arguments: list[str]) -> int:
    """Measures, writes and shows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the hot paths beside their peers.")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), help="where the figures go")
    output: Path = parser.parse_args(arguments).output
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    measured: list[Figure] = []
    try:
        for benchmark in BENCHMARKS:
            console.print(f"measuring {benchmark.__module__.rpartition('.')[2].replace('_', ' ')} ...")
            measured += benchmark()
    except StackError as error:
        console.print(f"[red]{error}[/red]")
        return 1
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps([figure.document() for figure in measured], indent=2) + "\n")
    table = Table("", "ours", "", "peer", "", "ratio", "target", "", expand=False)
    for figure in measured:
        row = figure.document()
        sign = "≥" if figure.better == "higher" else "≤"
        table.add_row(
            figure.name,
            f"{figure.ours:,.6g}",
            figure.unit,
            "" if figure.peer is None else f"{figure.peer:,.6g}",
            figure.peer_name or "",
            "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            f"{sign} {figure.target:,.6g}",
            "[green]met[/green]" if figure.is_met else "[red]missed[/red]",
        )
    console.print(table)
    console.print(f"written to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
