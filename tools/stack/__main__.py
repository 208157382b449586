"""The command line of the local stack: `python -m tools.stack up|down|status|env|build|token|event`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tools.stack.access import Stack, with_token
from tools.stack.deployment import sources_digest
from tools.stack.issuer import HOURS, SCOPES
from tools.stack.lifecycle import build_all, deployed_sources, down, issuer_of, up
from tools.stack.servers import LocalAws, SeaweedFs
from tools.stack.settings import ROOT, Settings, StackError


def main(arguments: list[str]) -> int:
    """Does one command; returns the exit status, 1 with one line on standard error when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m tools.stack", description="The local stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status", "env", "build"):
        commands.add_parser(name)
    asked = commands.add_parser("token", help="print a token for the API")
    asked.add_argument(
        "--scope", action="append", choices=SCOPES, help="what it lets its bearer do, each by its own --scope; else everything"
    )
    asked.add_argument("--project", action="append", help="a project it is for, each by its own --project; else all")
    asked.add_argument("--hours", type=float, default=HOURS, help="how long it lives")
    asked.add_argument("--subject", default="developer", help="whose it is")
    commands.add_parser("event", help="print an event of events/ with a fresh token").add_argument("name", help="such as upload/put_raw")
    options = parser.parse_args(arguments)
    command = options.command
    try:
        settings = Settings.from_environment()
        if command == "up":
            _up(settings)
        elif command == "down":
            print("The local stack is down; what it stored is kept." if down(settings) else "The local stack was not running.")
        elif command == "env":
            for name, value in Stack.running(settings).environment().items():
                print(f"export {name}={shlex.quote(value)}")
        elif command == "build":
            build_all(settings)
        elif command == "token":
            scopes, projects = options.scope or SCOPES, options.project or "*"
            print(issuer_of(_as_it_runs(settings)).token(scopes=scopes, projects=projects, hours=options.hours, subject=options.subject))
        elif command == "event":
            with suppress(StackError):  # an event may be looked at without a stack
                settings = _as_it_runs(settings)
            print(json.dumps(with_token(_event(options.name), issuer_of(settings).token()), indent=1))
        else:
            return _status(settings)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stack: stopped half-way; `up` goes on from there, `down` stops what was started", file=sys.stderr)
        return 130
    return 0


def _up(settings: Settings) -> None:
    began = time.monotonic()
    stack = up(settings)
    print(f"API        {stack.api_url}/")
    print(f"dashboard  {stack.api_url}/dashboard")
    print(f"bucket     {stack.bucket} at {stack.store_endpoint} ({stack.store})")
    print(f"token      {stack.token}")
    print("terminal   .venv/bin/stocktake --profile local")
    print(f"up in {time.monotonic() - began:.1f} s; the token may everything for {HOURS} hours, `make token` prints a fresh one")


def _as_it_runs(settings: Settings) -> Settings:
    """Puts in the port and the store that the stack was started with: the environment may name others by now, and tokens name their issuer
    by the port."""
    stack = Stack.running(settings)
    return replace(settings, port=int(stack.endpoint.rpartition(":")[2]), store=stack.store)


def _event(name: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((ROOT / "events" / f"{name}.json").read_text())
    except OSError:
        raise StackError(f"there is no events/{name}.json") from None
    return document


def _status(settings: Settings) -> int:
    stack, settings = Stack.running(settings), _as_it_runs(settings)
    servers = {"local AWS": LocalAws(settings).running()}
    if stack.store == "seaweedfs":
        servers["SeaweedFS"] = SeaweedFs(settings).running()
    for name, runs in servers.items():
        print(f"{name:<10} {'runs' if runs else 'does not answer'}")
    print(f"API        {stack.api_url}/")
    print(f"bucket     {stack.bucket} at {stack.store_endpoint} ({stack.store})")
    current = deployed_sources(settings) == sources_digest()
    print(f"deployed   {'from the sources as they are' if current else 'from older sources: make up'}")
    return 0 if all(servers.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
