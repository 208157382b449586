"""The group that every command is added to."""

from __future__ import annotations

import click

from stocktake import __version__
from stocktake_cli.exits import Exit

_CODES = "\n".join(f"  {code.value}  {code.meaning}" for code in Exit)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=f"\b\nExit codes:\n{_CODES}",
)
@click.version_option(__version__, message="stocktake %(version)s")
@click.option("--profile", metavar="NAME", help="the deployment that is meant; `local` is the stack of `make up`")
@click.pass_context
def stocktake(context: click.Context, profile: str | None) -> None:
    """Keep a bucket and the ledger that describes it telling the same story: look, compare, repair, delete with proof."""
    context.ensure_object(dict)
    context.obj["profile"] = profile
