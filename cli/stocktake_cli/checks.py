"""What `doctor` looks at: token, API, counts and runs from here; all else by the layer's own looks, as the API runs them, and here."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from stocktake.errors import StocktakeError
from stocktake_cli import words
from stocktake_cli.edge import Session
from stocktake_cli.failures import Failure, Misused, NoSuchRoute, Refused, Unreachable
from stocktake_cli.profiles import Profile

Verdict = Literal["ok", "warn", "fail", "skip"]
_SKEW_SECONDS = 60
"""SigV4 takes a quarter of an hour, a token's times hold to the second: a minute is worth a word."""
_OLD_SECONDS = 2 * 86400
_VERDICTS: Mapping[str, Verdict] = {"ok": "ok", "warning": "warn", "failed": "fail", "skipped": "skip"}
DIRECT = "here: "
"""Before what was looked at past the API: the deployment and the operator need not find the same, and that tells."""
_TRIED = ("permission-put", "permission-delete")  # by the self-test


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and what to do where it is not as it should be."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    exit: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Returns it as `--json` shows it."""
        shown = asdict(self)
        del shown["exit"]
        return shown


def of_api(session: Session) -> Iterator[Check]:
    """Looks at profile, token, API, clock, counts and runs, as far as one leads to the next."""
    profile = session.profile
    yield Check("profile", "ok", f"{profile.name}: {profile.url or 'no API'}")
    if not profile.url:
        yield Check("API", "skip", "the profile names no url", "give it `url`, the stack's output ApiUrl")
        return
    try:
        token = profile.fetch_token(session.environment)
    except Failure as failure:
        yield _failed("token", failure)
        return
    yield token_check(token, session.now())
    try:
        reply = session.api.send("GET", "/analytics")
        counts = json.loads(reply.body)
    except Failure as failure:
        yield _failed("API", failure)
        return
    except ValueError:
        yield Check("API", "fail", f"{profile.url} answers, and not as Stocktake does", "stocktake profiles: is the URL the output ApiUrl?")
        return
    yield Check("API", "ok", f"answers at {profile.url}")
    yield from _clock(reply.headers.get("date"), session.now())
    yield from _said_of_itself(session)
    yield from _newest(session)
    yield from _counts(counts, session.now())


def token_check(token: str, now: float) -> Check:
    """Reads a token's claims, without verifying it: whose it is, what it allows, how long it lives."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        left, scope, projects = float(claims["exp"]) - now, claims.get("scope", claims.get("scp", "")), claims.get("projects")
    except (ValueError, KeyError, IndexError, TypeError):
        return Check("token", "fail", "it is no JSON Web Token with an end", "see what the profile's token_command prints", 3)
    scope = scope if isinstance(scope, str) else " ".join(map(str, scope))
    allows = f"{claims.get('sub', 'nobody')}: scope {scope}, projects {projects or 'none named'}"
    if left <= 0:
        return Check("token", "fail", f"it ended {words.seconds(-left)} ago ({allows})", "get a fresh one; locally `make up` writes it", 3)
    if "operate" not in scope:
        return Check("token", "warn", f"it ends in {words.seconds(left)} ({allows})", "most commands need the scope `operate`")
    return Check("token", "ok", f"it ends in {words.seconds(left)} ({allows})")


def _clock(date: str | None, now: float) -> Iterator[Check]:
    if not date:
        return
    with suppress(ValueError):
        skew = parsedate_to_datetime(date).timestamp() - now
        fine = abs(skew) <= _SKEW_SECONDS
        yield Check(
            "this machine's clock",
            "ok" if fine else "warn",
            f"{abs(skew):.0f} s from the API's",
            "" if fine else "set this machine's clock",
        )


def _said_of_itself(session: Session) -> Iterator[Check]:
    """Asks the deployment how it finds itself."""
    try:
        yield from map(of_layer, session.api.get("/diagnostics")["checks"])
    except NoSuchRoute:
        return  # an older one, which does not say
    except Failure as failure:
        yield _failed("diagnostics", failure)


def of_layer(found: Mapping[str, Any], prefix: str = "") -> Check:
    """Makes a check of one of the layer's."""
    failed = found["status"] == "failed"
    return Check(f"{prefix}{found['name']}", _VERDICTS[found["status"]], found["says"], found["do"] or "", int(failed), found["detail"])


def _newest(session: Session) -> Iterator[Check]:
    """Tells of a run that ended in doubt after the one whose figures are shown."""
    try:
        runs = session.api.get("/reconciliations", {"limit": 1})["reconciliations"]
    except Failure as failure:
        yield _failed("newest run", failure)
        return
    if runs and runs[0]["status"] in ("INCOMPLETE", "FAILED"):
        said = f"it is {runs[0]['status']}, and the figures below are of an older one: {runs[0].get('why')}"
        yield Check("newest run", "fail", said, "remove what it names, and stocktake reconcile")


def _counts(counts: dict[str, Any], now: float) -> Iterator[Check]:
    bucket, findings = counts["bucket"], counts["findings"] or {}
    if bucket is None:
        yield Check("last complete run", "warn", "there is none", "stocktake reconcile")
        return
    age = now - datetime.fromisoformat(bucket["counted_at"]).astimezone(UTC).timestamp()
    stale = age > _OLD_SECONDS
    yield Check("last complete run", "warn" if stale else "ok", f"{words.seconds(age)} ago", "stocktake reconcile" if stale else "")
    drift, differs = counts["drift"] or {"objects": 0, "bytes": 0}, drifts(counts)
    quiet = (counts.get("acknowledged") or {"objects": 0})["objects"]
    said = f"{_signed(drift)} when last counted, bucket less ledger; the bucket had {words.tally(bucket)}"
    said += f"; {words.count(quiet, 'finding')} acknowledged" if quiet else ""
    yield Check("drift", "warn" if differs else "ok", said, "stocktake findings says why" if differs else "")
    found = {name: tally["objects"] for name, tally in findings.items() if tally["objects"]}
    said = ", ".join(f"{count:,} {name}" for name, count in found.items()) or "none"
    yield Check("findings", "warn" if found else "ok", said, "stocktake findings" if found else "")


def drifts(counts: Mapping[str, Any]) -> bool:
    """Says whether bucket and ledger differed by more, when they were last counted, than what is acknowledged can account for.

    A run tells neither the class of what it counts as acknowledged nor by how many bytes the sides of a mismatch differ: so objects are
    held against objects, and the drift's bytes are taken to be theirs.
    """
    drift, quiet = counts["drift"], counts.get("acknowledged")  # absent where the deployment is of an older version
    if drift is None:
        return False
    if quiet and quiet["objects"]:
        return abs(int(drift["objects"])) > int(quiet["objects"])
    return bool(drift["objects"] or drift["bytes"])


def _signed(drift: dict[str, Any]) -> str:
    return ("+" if drift["objects"] > 0 else "") + words.tally(drift)


def past_api(session: Session) -> Iterator[Check]:
    """Looks at what lies behind the API, as it is from here and with the operator's rights; puts a probe and removes it."""
    try:
        deployment = session.deployment
        deployment.environment  # noqa: B018  # asked for here, so that a failure is told here
    except Misused as failure:
        yield Check("stack", "skip", str(failure), failure.advice)
        return
    except Failure as failure:
        yield _failed("stack", failure)
        return
    try:
        looked, tested = deployment.looking.diagnostics.look(), deployment.looking.self_test.run()
    except StocktakeError as error:
        yield Check(f"{DIRECT}look", "fail", str(error), "see what the profile names", 1)
        return
    yield from (of_layer(found, DIRECT) for found in looked["checks"] if found["name"] not in _TRIED)
    yield from (of_layer(step, DIRECT) for step in tested["steps"])


def _failed(name: str, failure: Failure) -> Check:
    code = 4 if isinstance(failure, Unreachable) else 3 if isinstance(failure, Refused) else 1
    where = f" (request {failure.request_id})" if failure.request_id else ""
    return Check(name, "fail", f"{failure}{where}", failure.advice, code)


def is_unreachable(checks: list[Check], profile: Profile) -> bool:
    """Says whether the API did not answer, so that what lies behind it should be looked at."""
    return not profile.url or any(check.name == "API" and check.exit == 4 for check in checks)
