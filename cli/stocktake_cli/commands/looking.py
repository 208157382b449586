"""`inspect`: one key or object, on both sides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

from stocktake.layouts import project_stem
from stocktake_cli import words
from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Absent

_OBJECT_ID = re.compile("[0-9A-HJKMNP-TV-Z]{26}")


@command("inspect", group=stocktake)
@click.argument("key")
@click.option("--direct", is_flag=True, help="look from here, with your own AWS rights; done anyway where the profile names no API")
def inspect(session: Session, key: str, direct: bool) -> Outcome:
    """One key, or the id of an object: what ledger and bucket say of it, and what differs.

    Makes a presigned URL and fetches by it, and shows what lies beside it, what the newest runs found, and what was set aside. Ends with 1
    where the two sides differ, or the URL gives nothing.
    """
    is_id = _OBJECT_ID.fullmatch(key) is not None
    if direct or not session.profile.url:
        from stocktake_cli.direct import inspect_here

        result = inspect_here(session, key, is_id=is_id)
    else:
        result = session.api.get("/diagnostics/objects", {"object_id" if is_id else "key": key})
    if result["record"] is None and result["object"] is None and result["status"] == "warning":
        raise Absent(f"neither bucket nor ledger has {key!r}", _beside(key, result["neighbours"]))
    _draw(session, result)
    is_gone = result["record"] is not None and result["record"]["state"] == "MISSING"
    return Outcome(result, Exit.DIFFERENT if is_gone or result["status"] == "failed" else Exit.FINE)


def _beside(key: str, neighbours: list[dict[str, Any]]) -> str:
    if not neighbours:
        return "is it the whole key, and this deployment's bucket?"
    where = "In its folder lie" if "/" in key else "It names no folder, and the bucket has"
    return f"is it the whole key? {where} {', '.join(of['key'] for of in neighbours)}"


def _owners(result: Mapping[str, Any]) -> str:
    """Names the projects that the key may be of: the record's as it is spelled there, and any other by what all its spellings share."""
    project_id = (result["record"] or {}).get("project_id")
    spelled = {project_stem(project_id): project_id} if project_id else {}
    return ", ".join(spelled.get(owner, owner) for owner in result["owners"]) or "anyone"


def _draw(session: Session, result: Mapping[str, Any]) -> None:
    out, record, stored = session.out, result["record"], result["object"]
    out.facts({"key": result["key"], "layout": result["layout"] or "unknown", "may be of": _owners(result)})
    rows = [
        (name, *(side[name] if side and side.get(name) is not None else "–" for side in (record, stored)))
        for name in ("bytes", "etag", "sha256", "content_type", "state", "object_id", "project_id", "updated_at", "last_modified")
    ]
    out.table(["", "in the ledger", "in the bucket"], rows)
    out.say(result["says"], {"ok": "green"}.get(result["status"], "yellow"))
    if result["do"]:
        out.say(f"to do: {result['do']}")
    url = result["url"]
    if url:
        kind = f", begins as {url['kind']}" if url["kind"] else ""
        out.say(f"fetched by a presigned URL: {url['status'] or 'no answer'}{kind}" + (f" ({url['why']})" if url["why"] else ""))
    if result["found_by_runs"]:
        found = [(of["run_id"], of["class"], of["kind"], of["repair"]) for of in result["found_by_runs"]]
        out.table(["found by", "class", "kind", "repair"], found)
    if result["quarantine"]:
        out.table(
            ["set aside as", "status", "until"],
            [(of["entry_id"], of["status"], words.time(of["expires_at"])) for of in result["quarantine"]],
        )
    if result["neighbours"]:
        beside = [(of["key"], words.size(of["bytes"]), "yes" if of["in_ledger"] else "no") for of in result["neighbours"]]
        out.table(["beside it", "#bytes", "in the ledger"], beside)
