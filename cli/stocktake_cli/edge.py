"""The edge: what every command has in common. Its options, what it is handed, how it ends."""

from __future__ import annotations

import functools
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Concatenate

import click

from stocktake.errors import NotFound, StocktakeError
from stocktake_cli.api import Api
from stocktake_cli.deployment import Deployment
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Absent, Failure, Interrupted, Misused, of_status
from stocktake_cli.output import Output
from stocktake_cli.profiles import Profile, choose
from stocktake_cli.wire import Http, Wire


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: what `--json` shows as `result`, and the exit code."""

    result: Mapping[str, Any]
    exit: Exit = Exit.FINE


class Session:
    """What a command works with; each part is made when it is first asked for."""

    def __init__(
        self,
        out: Output,
        profile_name: str | None,
        environment: Mapping[str, str],
        *,
        wire: Wire | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        deployment: Deployment | None = None,
    ) -> None:
        self.out = out
        self.environment = environment
        self.sleep = sleep
        self.now = now
        self._profile_name = profile_name
        self._wire = wire
        self._deployment = deployment

    @cached_property
    def profile(self) -> Profile:
        """The deployment that is meant. Raises Misused."""
        return choose(self._profile_name, self.environment)

    @cached_property
    def wire(self) -> Wire:
        """What sends requests."""
        return self._wire or Http()

    @cached_property
    def api(self) -> Api:
        """The deployment's API. Raises Misused where the profile has none."""
        profile = self.profile
        if not profile.url:
            raise Misused(f"the profile {profile.name} names no url of an API", "give it `url`, the stack's output ApiUrl")
        return Api(self.wire, profile.url, lambda: profile.fetch_token(self.environment), sleep=self.sleep)

    @cached_property
    def deployment(self) -> Deployment:
        """What lies behind the API: bucket, tables, queues. Raises Misused where the profile does not say where."""
        return self._deployment or Deployment.of(self.profile)


def command[**P](
    name: str, *, group: click.Group
) -> Callable[[Callable[Concatenate[Session, P], Outcome]], Callable[Concatenate[Session, P], Outcome]]:
    """Adds a function to the commands. It is handed a Session and its options, and returns an Outcome; a Failure it raises is shown."""

    def add(function: Callable[Concatenate[Session, P], Outcome]) -> Callable[Concatenate[Session, P], Outcome]:
        @click.option("--profile", "profile_", metavar="NAME", help="the deployment that is meant")
        @click.option("--json", "json_", is_flag=True, help="one JSON document on standard output, for programs")
        @click.option("--debug", is_flag=True, envvar="STOCKTAKE_DEBUG", help="show where an unforeseen failure came from")
        @click.pass_context
        @functools.wraps(function)
        def run(context: click.Context, /, *args: P.args, **options: P.kwargs) -> None:
            profile, as_json, debug = (options.pop(key) for key in ("profile_", "json_", "debug"))
            profile = profile or (context.obj or {}).get("profile")
            given = context.obj or {}
            made: dict[str, Any] = {key: given[key] for key in ("wire", "sleep", "now", "deployment") if key in given}
            session = Session(Output(as_json=bool(as_json)), str(profile) if profile else None, os.environ, **made)
            context.exit(_run(name, session, lambda: function(session, *args, **options), debug=bool(debug)))

        made = group.command(name)(run)
        made.params.sort(key=lambda param: param.name in ("profile_", "json_", "debug"))  # its own before those of all
        return function

    return add


def interrupted(arguments: Sequence[str]) -> Exit:
    """Says that a command of these arguments was interrupted before it did anything."""
    out, failure = Output(as_json="--json" in arguments), Interrupted("interrupted", "nothing was begun")
    out.document(next((given for given in arguments if not given.startswith("-")), ""), failure.exit, None, failure)
    out.failure(failure)
    return failure.exit


def _run(name: str, session: Session, work: Callable[[], Outcome], *, debug: bool) -> Exit:
    out = session.out
    try:
        outcome = work()
    except (KeyboardInterrupt, click.Abort):
        failure: Failure = Interrupted("interrupted", "give the same command again: an upload goes on, and anything else begins anew")
    except Failure as error:
        failure = error
    except StocktakeError as error:  # of what is done past the API
        failure = _of_layer(error)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read has seen enough
        return Exit.FINE
    except Exception as error:
        if debug:
            traceback.print_exc()
        failure = Failure(f"{type(error).__name__}: {error}", "this is a fault of the command line: --debug shows where it came from")
    else:
        out.document(name, outcome.exit, outcome.result)
        return outcome.exit
    out.document(name, failure.exit, None, failure)
    out.failure(failure)
    return failure.exit


def _of_layer(error: StocktakeError) -> Failure:
    if isinstance(error, NotFound):
        return Absent(str(error))
    return of_status(error.status, {"type": f"urn:stocktake:problem:{error.type}", "detail": str(error)})


def wait_for(
    session: Session,
    look: Callable[[], dict[str, Any]],
    *,
    ended: Iterable[str],
    show: Callable[[dict[str, Any]], tuple[str, float | None, float | None]],
    seconds: float,
    what: str,
    then: str,
) -> dict[str, Any]:
    """Looks again and again, less and less often, until the status is one of `ended` or the time is over; returns what was seen last.

    Raises:
        Interrupted: with the name of what goes on in the deployment none the less, and how to take it up or end it.

    Args:
        show: says of what was seen what to show: words, done, and total.
        what: what it is, by its id.
        then: the commands that take it up, or end it.
    """
    ended, pause, end = frozenset(ended), 0.5, session.now() + seconds
    try:
        seen = look()
        with session.out.progress("waiting", total=None) as bar:
            while seen["status"] not in ended and session.now() < end:
                words, done, total = show(seen)
                bar.update(words, done=done, total=total)
                session.sleep(pause)
                pause = min(pause * 1.4, 5.0)
                seen = look()
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted here; {what} goes on in the deployment", then) from None
    if seen["status"] not in ended:
        session.out.note(f"the time to wait is over; {what} goes on in the deployment: {then}")
    return seen
