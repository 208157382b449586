"""docs/command-line.md: what the command line says of itself. `make command-line` writes it, and a test holds the two together."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stocktake_cli.commands.group import every, stocktake
from stocktake_cli.exits import Exit
from stocktake_cli.profiles import SOURCES

PAGE = SOURCES / "docs" / "command-line.md"
_HEAD = """# The command line

`stocktake` is for operators: it speaks to a deployed stack by its API, and past the API to bucket, tables and queues where the API cannot
say. This page is made from the code (`make command-line`); [which command does the job of which script](scripts-to-commands.md) is another.

In the repository `make` installs it into `.venv`, as `.venv/bin/stocktake`. Anywhere else: `pip install .` in the repository's folder, with
Python 3.13. `python -m stocktake_cli` is the same. `eval "$(stocktake completion bash)"` completes commands and options (zsh and fish too).

## Profiles

A profile says which deployment is meant, and where its token comes from. `local` is the stack of `make up` or `make demo` and needs no
entry. The others are in a TOML file, `config.toml` in the platform's folder for settings; `stocktake profiles` says where, and
STOCKTAKE_CONFIG names another:

```toml
default = "prod"

[profiles.prod]
url = "https://abc123.execute-api.eu-west-1.amazonaws.com"            # the stack's output ApiUrl
token_command = "my-login --audience https://stocktake.example.com"   # prints a token; or token_env = "A_VARIABLE"
# for what goes past the API: doctor, self-test, inspect and reconcile with --direct, redrive
stack = "stocktake"
region = "eu-west-1"
aws_profile = "operators"
# what is not to be read from the functions of the stack, or all of it where there is none
# settings = { STORAGE_BUCKET = "my-bucket" }
```

`--profile NAME` stands before the command or behind it. Without it STOCKTAKE_PROFILE is taken, or STOCKTAKE_URL, or the default;
STOCKTAKE_TOKEN goes before the profile's own way to a token. A token is sent to https addresses alone, and to this machine.

Past the API the layer runs here, with your own AWS rights: it reads the stack's outputs and the settings of its functions, tables and
bucket, and the secret of the store's keys where there is one. `doctor --direct`, `self-test --direct` and the first look at a new bucket
put a probe under `.stocktake/probe/` and remove it, the first two a row of the ledger as well; nothing else is written, but by
`redrive --yes`. What `doctor` says of the deployment by its API, and of what is seen from here (`here: ...`), are the same looks: where
only one of them fails, rights, settings or network differ.

## What scripts may rely on

`--json` writes one document on standard output, and nothing else there; notes go to standard error, and bars only to a terminal:

```json
{"shape": 1, "command": "findings", "exit": 1, "status": "different", "result": {}, "problem": null}
```

`result` is what the command found, and null where it failed; `problem` then has `type` (the API's stable name), `message`, `advice` and
`request_id`. `shape` goes up when a member goes or changes its meaning. A command line that cannot be understood (exit 2) is answered on
standard error alone.

| exit | `status` | means |
|---|---|---|
"""
_MIDDLE = """
What people are shown has control and format characters, in keys and wherever else, written out: `a⟨U+001B⟩b`, as on the dashboard.
`--json` has every text whole, escaped as JSON escapes.

What removes or moves something says first, in numbers, what it would do. It does it with `--yes`, or at a terminal when the word that is
asked for is typed: the project's id for a project, the run's for a repair. Where nobody can be asked and `--yes` is not given, it is a dry
run.

A request is sent again where that cannot do harm, and an `upload` that was interrupted goes on when the same command is given again. What
runs in the deployment (a run, a repair, a deletion, a migration) does not end with the command that waits for it: its id is said when it
begins, and on an interrupt, or when `--timeout` is over, how to take it up and how to end it.

## Commands
"""


def page() -> str:
    """Writes the page out."""
    rows = "".join(f"| {code.value} | `{code.name.lower()}` | {code.meaning} |\n" for code in Exit)
    return _HEAD + rows + _MIDDLE + "".join(_section(name, command) for name, command in sorted(every().items()))


def _section(name: str, command: click.Command) -> str:
    above = click.Context(stocktake, info_name="stocktake", terminal_width=110, **stocktake.context_settings)
    context = click.Context(command, info_name=name, parent=above)
    return f"\n### {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"


def write(path: Path = PAGE) -> None:
    """Writes the page where it belongs."""
    path.write_text(page())


if __name__ == "__main__":
    write()
    sys.exit(0)
