"""`profiles` and `completion`: the command line about itself."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from stocktake_cli.commands.group import stocktake
from stocktake_cli.edge import Outcome, Session, command
from stocktake_cli.failures import Misused
from stocktake_cli.profiles import LOCAL, config_file, local_stack, read_profiles

_SHELLS = ("bash", "zsh", "fish")


@command("profiles", group=stocktake)
def profiles(session: Session) -> Outcome:
    """The deployments that are known by name, and the file they are in."""
    path = config_file(session.environment)
    known, default = read_profiles(path)
    shown = [{"name": name, "url": fields.get("url"), "default": name == default} for name, fields in known.items()]
    running = local_stack(session.environment, Path.cwd())
    if LOCAL not in known and running is not None:
        shown.append({"name": LOCAL, "url": str(running), "default": default == LOCAL})
    session.out.say(f"{path}{'' if path.exists() else ' (is not there yet)'}")
    session.out.table(["profile", "of", ""], [(of["name"], of["url"] or "–", "default" if of["default"] else "") for of in shown])
    return Outcome({"file": str(path), "profiles": shown})


@command("completion", group=stocktake)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(session: Session, shell: str) -> Outcome:
    """The shell's code that completes commands and options: `eval "$(stocktake completion bash)"`."""
    kind = get_completion_class(shell)
    if kind is None:
        raise Misused(f"there is no completion for {shell}", f"there is for {', '.join(_SHELLS)}")
    source = kind(stocktake, {}, "stocktake", "_STOCKTAKE_COMPLETE").source()
    if not session.out.as_json:
        click.echo(source)
    return Outcome({"shell": shell, "source": source, "login_shell": os.environ.get("SHELL")})
