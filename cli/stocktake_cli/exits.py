"""The exit codes, which scripts may rely on."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """What a command's exit code says. `docs/command-line.md` holds the same table."""

    FINE = 0
    DIFFERENT = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    INTERRUPTED = 5
    NOT_FOUND = 6
    BROKEN = 7

    @property
    def meaning(self) -> str:
        """Says it in words."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.FINE: "done, and nothing is wrong; or a dry run that found nothing to complain of",
    Exit.DIFFERENT: "done, and there are differences; or not everything could be done",
    Exit.USAGE: "the command line, a file it names, the profile, or what the API was sent is wrong; nothing was done",
    Exit.REFUSED: "refused: the token does not allow it, a safety rule stopped it, or it was not confirmed",
    Exit.UNREACHABLE: "no answer, or one that says to try again later",
    Exit.INTERRUPTED: "interrupted; what runs in the deployment goes on there, and is said with the commands that take it up or end it",
    Exit.NOT_FOUND: "there is no such project, object, run or deletion, or the deployment is too old for it",
    Exit.BROKEN: "something failed that nobody foresaw, there or here; or the deployment is set up wrong",
}
