"""Why a command could not do what it was asked.

```
Failure             7  something nobody foresaw, or the deployment's own settings
├── Misused         2  the command line, the profile or the request is wrong
├── Refused         3  denied, stopped by a safety rule, or not confirmed
├── Interrupted     5  by the person at the terminal
├── Unreachable     4  no answer, or one that says to try again later
└── Absent          6  there is nothing of that name
    └── NoSuchRoute 6  the deployment has no such path
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from stocktake_cli.exits import Exit


class Failure(Exception):
    """The root. `str(failure)` says what happened; `advice` what to do about it; `problem` is the API's own document, if it sent one."""

    exit: ClassVar[Exit] = Exit.BROKEN

    def __init__(self, message: str, advice: str = "", *, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.advice = advice
        self.problem = dict(problem) if problem else None

    @property
    def type(self) -> str:
        """The problem's stable name, without its urn; of what failed here, the class's, spelled alike."""
        kind = str((self.problem or {}).get("type", ""))
        return kind.rpartition(":")[2] or re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    @property
    def request_id(self) -> str | None:
        """What finds the request in the logs."""
        found = (self.problem or {}).get("request_id")
        return str(found) if found else None

    def document(self) -> dict[str, Any]:
        """Returns it as `--json` shows it."""
        return {"type": self.type, "message": str(self), "advice": self.advice or None, "request_id": self.request_id}


class Misused(Failure):
    """What was asked cannot be meant, or cannot be understood."""

    exit = Exit.USAGE


class Refused(Failure):
    """It could be done, and must not be, or not by this caller."""

    exit = Exit.REFUSED


class Unreachable(Failure):
    """Nobody answered, or the answer was to come again."""

    exit = Exit.UNREACHABLE


class Interrupted(Failure):
    """Somebody ended it."""

    exit = Exit.INTERRUPTED


class Absent(Failure):
    """There is nothing under that name."""

    exit = Exit.NOT_FOUND


class NoSuchRoute(Absent):
    """The deployment has no such path: it is older than this command line, or its API is another."""


def of_status(status: int, problem: Mapping[str, Any]) -> Failure:
    """Makes the failure an answer of the API stands for. `problem` is its RFC 9457 document, or API Gateway's `{"message": ...}`."""
    detail = str(problem.get("detail") or problem.get("message") or f"the API answered {status} and said nothing")
    if status == 404 and str(problem.get("type", "no-such-route")).endswith("no-such-route"):
        return NoSuchRoute(
            "this deployment cannot do that",
            "it is older than the command line, so deploy it anew; or a name that was given is none, as one with a slash",
            problem=problem,
        )
    what, _, advice = detail.partition(": ")  # a detail says what happened and, after a colon, what to do
    if not advice:
        what, advice = detail, _ADVICE.get(status, "")
    made = Failure if is_of_settings(problem) else _class_of(status)
    return made(what, in_commands(advice), problem=problem)


def in_commands(advice: str) -> str:
    """Says advice of the API, which speaks of its paths, in terms of commands."""
    for said, command in _COMMANDS.items():
        pattern = re.escape(said).replace(re.escape("{id}"), r"([\w-]+)")
        advice = re.sub(rf"{pattern}(?![\w/{{])", command.replace("{id}", r"\1"), advice)
    return advice


def is_of_settings(problem: Mapping[str, Any]) -> bool:
    """Says whether the deployment is set up wrong: its bucket answers, and will answer the same however often it is asked."""
    return str(problem.get("type", "")).rpartition(":")[2] in _OF_SETTINGS


def _class_of(status: int) -> type[Failure]:
    if status in (404, 410):
        return Absent
    if status in (401, 403, 409, 412):
        return Refused
    if status in (429, 502, 503, 504):
        return Unreachable
    return Misused if 400 <= status < 500 else Failure


_OF_SETTINGS = frozenset({"wrong-region", "bucket-not-found", "storage-denied"})
_ADVICE = {
    401: "get a fresh token; `stocktake doctor` says what is wrong with this one",
    403: "use a token with the scope and projects this needs; `stocktake doctor` shows what this one allows",
    404: "look at the id; of another's project the API says the same",
    429: "wait a little and ask again",
    500: "the request id finds it in the logs",
    503: "wait a little and ask again",
}
_COMMANDS = {
    "create it first": "look at the id; stocktake projects PROJECT_ID --open opens a new one",
    "GET /reconciliations lists the newest": "stocktake runs lists them; stocktake findings without an id takes the newest",
    "GET /quarantine": "stocktake quarantine",
    "GET /acknowledgements": "stocktake acknowledgements",
    "POST /deletions/replay": "stocktake replay-erasures",
    "POST /reconciliations/{id}/stop": "stocktake reconcile --stop {id}",
    "POST /reconciliations/{run_id}/plan makes one": "stocktake reconcile --run RUN_ID --apply makes one",
    "use the migration_id that POST /migrations answered with": "stocktake migrations lists them",
    "use the deletion_id that DELETE /projects/{project_id} answered with": "stocktake deletions lists them",
    "open it by POST /projects, or start the migration with create_projects": "stocktake projects PROJECT_ID --open, or --create-projects",
}
"""Advice of the API in terms of its paths, and the same in terms of commands; `{id}` stands for any."""
