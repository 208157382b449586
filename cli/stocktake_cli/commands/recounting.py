"""`recount`: the counts held to the records."""

from __future__ import annotations

from typing import Any

import click

from stocktake_cli import words
from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command, wait_for
from stocktake_cli.exits import Exit


@command("recount", group=stocktake)
@click.argument("project_id", required=False)
@click.option("--repair", is_flag=True, help="put right what differs, and count records of an older version in every dimension")
@click.option("--timeout", type=click.IntRange(1), default=3600, show_default=True, metavar="SECONDS", help="how long to wait")
def recount(session: Session, project_id: str | None, repair: bool, timeout: int) -> Outcome:
    """Compare the counts with the records, of everything or of PROJECT_ID, while others write.

    Without --repair it changes nothing. Ends with 1 where counts differ and were not put right, or could not be compared.
    """
    body = {"repair": repair} | ({"project_id": project_id} if project_id else {})
    recount_id = str(session.api.post("/recounts", body)["recount_id"])

    def show(seen: dict[str, Any]) -> tuple[str, float, float]:
        done, of = seen["shards"]["done"], seen["shards"]["of"]
        return f"{seen['status'].lower()}: {recount_id}, {done} of {of} shards", done, of

    look = lambda: session.api.get("/recounts/{recount_id}", recount_id=recount_id)  # noqa: E731  # one line, used once
    then = "it ends by itself, and the same command begins another"
    ended = wait_for(session, look, ended=("DONE", "FAILED"), show=show, seconds=timeout, what=f"recount {recount_id}", then=then)
    session.out.table(
        ["project", "shard", "of", "#counted", "#found"],
        [(of["project_id"], of["shard"], of["of"], words.tally(of["counted"]), words.tally(of["found"])) for of in ended["drifted"]],
    )
    session.out.facts(
        {
            "compared": f"{ended['rows']:,} count rows",
            "differed": f"{ended['drifted_rows']:,}",
            "put right": f"{ended['repaired']:,}",
            "written at every look": f"{ended['busy']:,}",
            "records counted anew": f"{ended['attributed']:,}",
        }
    )
    if ended["status"] == "FAILED":
        session.out.say(f"it failed: {ended['why']}", "red")
        return Outcome({"recount": ended}, Exit.BROKEN)
    # one that is still under way, and rows that somebody wrote at every look, have not been proved
    proved = ended["status"] == "DONE" and ended["drifted_rows"] == ended["repaired"] and not ended["busy"]
    if ended["drifted_rows"] and not repair:
        session.out.note("stocktake recount --repair puts them right")
    return Outcome({"recount": ended}, Exit.FINE if proved else Exit.DIFFERENT)
