"""`doctor` and `self-test`: is everything as it should be, and does it work."""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Any

import click

from stocktake_cli import checks
from stocktake_cli.commands.analytics import open_project
from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Absent, Failure, NoSuchRoute

SELF_TEST_PROJECT = "stocktake-self-test"
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red"), "skip": ("–", "dim")}


@command("doctor", group=stocktake)
@click.option("--direct", is_flag=True, help="look from here as well, with your own AWS rights; done anyway where the API does not answer")
def doctor(session: Session, direct: bool) -> Outcome:
    """Look at token, API, clock, counts and runs; credentials, bucket, rights, settings, CORS, public URL, tables and dead letters.

    The deployment looks at itself and writes nothing. With --direct the same is looked at from here too, and a probe is put into the bucket
    and removed: what works from here and not from there, or the other way round, is a matter of rights, settings or the network.

    Every complaint says what to do. Ends with 0 where nothing failed, whatever it warns of; with 4 where the API does not answer, with 3
    where it refuses, with 1 where something else failed.
    """
    looked: list[checks.Check] = []
    for check in checks.of_api(session):
        looked.append(check)
        _say(session, check)
    if direct or checks.is_unreachable(looked, session.profile):
        for check in checks.past_api(session):
            looked.append(check)
            _say(session, check)
    failed = [check for check in looked if check.verdict == "fail"]
    codes = {check.exit for check in failed}
    code = next((Exit(code) for code in (4, 3, 1) if code in codes), Exit.DIFFERENT if failed else Exit.FINE)
    return Outcome({"checks": [check.document() for check in looked], "failed": len(failed)}, code)


def _say(session: Session, check: checks.Check) -> None:
    mark, style = _MARKS[check.verdict]
    session.out.say(f"{mark} {check.name}: {check.found}", style)
    if check.advice:
        session.out.say(f"    to do: {check.advice}")


@command("self-test", group=stocktake)
@click.option(
    "--project", "project_id", default=SELF_TEST_PROJECT, show_default=True, help="the project that is used; it is opened if need be"
)
@click.option("--direct", is_flag=True, help="try the bucket and the ledger alone, from here, with your own AWS rights")
def self_test(session: Session, project_id: str, direct: bool) -> Outcome:
    """Try the bucket step by step, then send an image the whole way: put, record, metadata, bytes, URL, delete.

    Nothing of it is left but its project, open and empty, which is in every list.

    Ends with 1 where a step did not do what it promises.
    """
    if direct:
        return _tried(session, session.deployment.looking.self_test.run())
    api, steps = session.api, _store_steps(session)

    def step(name: str, as_promised: bool, found: str) -> None:
        steps.append({"step": name, "ok": as_promised, "found": found})
        _say(session, checks.Check(name, "ok" if as_promised else "fail", found))

    open_project(session, project_id)
    body, metadata = _image(), {"prompt": "self-test", "aspectRatio": "16:9", "numberOfImages": 2}
    digest = hashlib.sha256(body).hexdigest()
    announced = api.post(
        "/projects/{project_id}/uploads",
        {"content_type": "image/png", "bytes": len(body), "sha256": digest, "file_name": "self-test.png", "metadata": metadata},
        project_id=project_id,
    )
    object_id, ask = announced["upload_id"], announced["request"]
    try:
        reply = session.wire.send(ask["method"], ask["url"], ask["headers"], body)
        step("put", reply.status < 300, f"the store answered {reply.status}")
        stored = api.post("/uploads/{upload_id}/complete", upload_id=object_id)
        step("confirmed", (stored["state"], stored["bytes"], stored["sha256"]) == ("STORED", len(body), digest), stored["state"])
        record = api.get("/objects/{object_id}", object_id=object_id)
        step("metadata", record["metadata"] == metadata, f"{len(record['metadata'])} of {len(metadata)} members, with their types")
        content = session.api.send("GET", "/objects/{object_id}/content", {"object_id": object_id}, query={"as": "bytes"})
        step("bytes", content.body == body, f"{len(content.body)} of {len(body)} bytes")
        fetched = session.wire.send("GET", record["url"], {})
        step("url", fetched.status == 200 and fetched.body == body, f"the URL answered {fetched.status}")
    except Failure:
        _leave_nothing(session, object_id)
        raise
    receipt = api.call("DELETE", "/objects/{object_id}", {"object_id": object_id})
    step("delete", receipt["bytes"] == len(body), f"receipt of {receipt['bytes']} bytes")
    step("gone", _is_gone(session, object_id), "asked for again")
    failed = sum(not of["ok"] for of in steps)
    result: dict[str, Any] = {"project_id": project_id, "object_id": object_id, "steps": steps, "failed": failed}
    return Outcome(result, Exit.DIFFERENT if failed else Exit.FINE)


def _tried(session: Session, test: dict[str, Any]) -> Outcome:
    """Shows the layer's own round trip."""
    steps = [_step(session, found) for found in test["steps"]]
    if not test["is_clean"]:
        session.out.say(f"! {test['key']} may be left: a later self-test removes it", "yellow")
    failed = sum(not of["ok"] for of in steps)
    result = {"project_id": None, "object_id": None, "steps": steps, "failed": failed, "key": test["key"], "is_clean": test["is_clean"]}
    return Outcome(result, Exit.DIFFERENT if failed else Exit.FINE)


def _store_steps(session: Session) -> list[dict[str, Any]]:
    """Has the deployment try its own bucket; an older one cannot."""
    try:
        test = session.api.post("/diagnostics/self-test")
    except NoSuchRoute:
        return []
    return [_step(session, found, "store: ") for found in test["steps"]]


def _step(session: Session, found: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    check = checks.of_layer(found, prefix)
    _say(session, check)
    return {"step": check.name, "ok": check.verdict == "ok", "found": check.found, "took_ms": found["took_ms"]}


def _leave_nothing(session: Session, object_id: str) -> None:
    for path in ("/objects/{name}", "/uploads/{name}"):  # it is the one or the other by now
        try:
            session.api.call("DELETE", path, {"name": object_id})
        except Failure:
            continue
        return


def _is_gone(session: Session, object_id: str) -> bool:
    try:
        session.api.get("/objects/{object_id}", object_id=object_id)
    except Absent:
        return True
    return False


def _image() -> bytes:
    """Draws a PNG of two grey pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00\x40\xc0")) + chunk(b"IEND", b"")
