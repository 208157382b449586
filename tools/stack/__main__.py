"""The command line of the local stack: `python -m tools.stack up|down|status|env|build`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time

from tools.stack.access import Stack
from tools.stack.deployment import sources_digest
from tools.stack.lifecycle import build_all, deployed_sources, down, up
from tools.stack.servers import LocalAws, SeaweedFs
from tools.stack.settings import Settings, StackError


def main(arguments: list[str]) -> int:
    """Does one command; returns the exit status, 1 with one line on standard error when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m tools.stack", description="The local stack.")
    parser.add_argument("command", choices=("up", "down", "status", "env", "build"))
    command = parser.parse_args(arguments).command
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
    print(f"up in {time.monotonic() - began:.1f} s")


def _status(settings: Settings) -> int:
    stack = Stack.running(settings)
    settings = Settings(settings.home, int(stack.endpoint.rpartition(":")[2]), stack.store, settings.store_port)
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
