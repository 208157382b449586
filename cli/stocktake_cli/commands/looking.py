"""`inspect`: one key or object, on both sides."""

from __future__ import annotations

import click

from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command


@command("inspect", group=stocktake)
@click.argument("key")
def inspect(session: Session, key: str) -> Outcome:
    """One key, or the id of an object: what ledger and bucket say of it, and what differs.

    Goes past the API, with your own AWS rights, since only so a key without a record can be seen. Makes a presigned URL and fetches by it,
    and shows what lies beside it. Ends with 1 where the two sides differ.
    """
    from stocktake_cli.direct import inspect_here

    return inspect_here(session, key)
