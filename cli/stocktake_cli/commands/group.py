"""The group of all commands, and where each is: a module is imported when a command of it is given."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from stocktake import __version__
from stocktake_cli.exits import Exit

COMMANDS: Mapping[str, tuple[str, str]] = {
    "acknowledgements": ("reconciliation", "the findings that are quiet; --revoke has them reported again"),
    "analytics": ("analytics", "counts of ledger and bucket side by side, the drift, and its history"),
    "completion": ("profiles", "the shell's code that completes commands and options"),
    "delete-project": ("project_deletion", "remove everything a project ever stored, and prove it"),
    "deletions": ("project_deletion", "the newest deletions of projects, and what is next"),
    "doctor": ("health", "is everything as it should be: from the token to the dead letters"),
    "drill": ("quarantine", "prove that the quarantine restores"),
    "export": ("migration", "the ledger, or the findings of a run, as files"),
    "findings": ("reconciliation", "each key that differs, and what is recommended"),
    "import": ("migration", "bring existing records in from a file"),
    "inspect": ("looking", "one key or object, on both sides"),
    "migrate": ("migration", "move what lies in the ledger, or at foreign URLs, into the bucket"),
    "migrations": ("migration", "the newest imports and migrations, and how each stands"),
    "profiles": ("profiles", "the deployments that are known by name"),
    "projects": ("analytics", "the projects with what they hold, or one of them"),
    "purge": ("quarantine", "remove what was set aside for good, before its days are over"),
    "quarantine": ("quarantine", "what was set aside, and until when it can be restored"),
    "reconcile": ("reconciliation", "compare bucket and ledger key by key; with --apply, repair"),
    "recount": ("recounting", "compare the counts with the records"),
    "redrive": ("redriving", "what failed, back to where it is tried again"),
    "replay-erasures": ("project_deletion", "after a restore of the tables: delete again what came back"),
    "restore": ("quarantine", "bring back what was set aside"),
    "runs": ("analytics", "the newest reconciliations, and what they found"),
    "self-test": ("health", "try the bucket, then send an image the whole way"),
    "undo": ("project_deletion", "undo a deletion while its window is open"),
    "upload": ("upload", "files and folders into a project"),
    "verify": ("project_deletion", "is anything of a deleted project left"),
}
"""The module of each command, and what the list of them says of it."""
_CODES = "\n".join(f"  {code.value}  {code.meaning}" for code in Exit)


class _Commands(click.Group):
    """The commands by name. `--version` and `--help` import none of them: most of what a call costs is imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            import_module(f"stocktake_cli.commands.{COMMANDS[cmd_name][0]}")
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in sorted(COMMANDS.items())])


@click.group(
    cls=_Commands,
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


def every() -> Mapping[str, click.Command]:
    """Imports all commands and returns them by name."""
    for module in sorted({module for module, _ in COMMANDS.values()}):
        import_module(f"stocktake_cli.commands.{module}")
    return stocktake.commands
