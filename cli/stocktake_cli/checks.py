"""What `doctor` looks at, one thing after the other: first through the API, then past it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import islice
from typing import Any, Literal
from uuid import uuid4

from stocktake.errors import StocktakeError
from stocktake_cli import words
from stocktake_cli.deployment import asking
from stocktake_cli.edge import Session
from stocktake_cli.failures import Failure, Misused, NoSuchRoute, Refused, Unreachable
from stocktake_cli.profiles import Profile

Verdict = Literal["ok", "warn", "fail", "skip"]
_SKEW_SECONDS = 60
"""SigV4 takes a quarter of an hour, a token's times hold to the second: a minute is worth a word."""
_OLD_SECONDS = 2 * 86400
_PROBE = ".stocktake/probe/doctor-"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and what to do where it is not as it should be."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    exit: int = 0

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
    except Failure as failure:
        yield _failed("API", failure)
        return
    counts = json.loads(reply.body)
    yield Check("API", "ok", f"answers at {profile.url}")
    yield from _clock(reply.headers.get("date"), session.now())
    yield from _said_of_itself(session)
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
        yield Check("clock", "ok" if fine else "warn", f"{abs(skew):.0f} s from the API's", "" if fine else "set this machine's clock")


def _said_of_itself(session: Session) -> Iterator[Check]:
    """Asks the deployment whether its bucket is the one its ledger describes, and what its store can do."""
    try:
        identity = session.api.get("/diagnostics/identity")
        where, why = f" in {identity['region']}" if identity["region"] else "", identity["why"]
        found = f"{identity['bucket']}{where}: {why or 'the one the ledger describes'}"
        yield Check("identity of the bucket", "fail" if why else "ok", found, "see the stack's parameters" if why else "", 1)
        lines = session.api.get("/diagnostics/conformance")["lines"]
        without = ", ".join(line["name"] for line in lines if not line["holds"])
        said = f"it does without {without}" if without else f"all {len(lines)} things that are asked of it"
        yield Check("conformance of the store", "ok", said)
    except NoSuchRoute:
        return  # an older one, which does not say
    except Failure as failure:
        yield _failed("diagnostics", failure)


def _counts(counts: dict[str, Any], now: float) -> Iterator[Check]:
    bucket, findings = counts["bucket"], counts["findings"] or {}
    if bucket is None:
        yield Check("last complete run", "warn", "there is none", "stocktake reconcile")
        return
    age = now - datetime.fromisoformat(bucket["counted_at"]).astimezone(UTC).timestamp()
    stale = age > _OLD_SECONDS
    yield Check("last complete run", "warn" if stale else "ok", f"{words.seconds(age)} ago", "stocktake reconcile" if stale else "")
    drift = counts["drift"] or {"objects": 0, "bytes": 0}
    differs = bool(drift["objects"] or drift["bytes"])
    said = f"{_signed(drift)} when last counted, bucket less ledger; the bucket had {words.tally(bucket)}"
    yield Check("drift", "warn" if differs else "ok", said, "stocktake findings says why" if differs else "")
    found = {name: tally["objects"] for name, tally in findings.items() if tally["objects"]}
    said = ", ".join(f"{count:,} {name}" for name, count in found.items()) or "none"
    yield Check("findings", "warn" if found else "ok", said, "stocktake findings" if found else "")


def _signed(drift: dict[str, Any]) -> str:
    return ("+" if drift["objects"] > 0 else "") + words.tally(drift)


def past_api(session: Session) -> Iterator[Check]:
    """Looks at what lies behind the API: settings, tables, what the bucket lets one do, dead letters."""
    try:
        deployment = session.deployment
        deployment.environment  # noqa: B018  # asked for here, so that a failure is told here
    except Misused as failure:
        yield Check("stack", "skip", str(failure), failure.advice)
        return
    except Failure as failure:
        yield _failed("stack", failure)
        return
    services = deployment.services
    yield from _tried("settings", lambda: f"complete: {services.settings.storage_bucket}")
    yield from _tried("ledger", lambda: f"reads {words.count(sum(1 for _ in islice(services.ledger.entries(), 100)), 'record')}")
    yield from _tried("operations", lambda: f"knows {words.count(len(services.operations.recent('reconciliation', 5)), 'run')}")
    yield from _tables(session)
    yield from _bucket(session)
    try:
        for queue, count in deployment.dead_letters():
            advice = f"stocktake redrive {queue.name}" if queue.home else queue.holds
            yield Check(f"dead letters: {queue.name}", "warn" if count else "ok", f"{count:,}", advice if count else "")
    except Failure as failure:
        yield _failed("dead letters", failure)


def _tables(session: Session) -> Iterator[Check]:
    """Holds key and indexes of each table against those the code reads by."""
    settings, dynamodb = session.deployment.services.settings, session.deployment.client("dynamodb")
    for name, key, indexes in (
        (settings.objects_table, ("shard", "key"), {"by_object_id", "by_project", "by_expiry"}),
        (settings.projects_table, ("project", "part"), set()),
        (settings.operations_table, ("operation_id", "part"), {"by_kind"}),
    ):
        yield from _tried(f"table {name}", partial(_table, dynamodb, name, key, indexes))


def _table(dynamodb: Any, name: str, key: tuple[str, str], indexes: set[str]) -> str:
    with asking(f"the table {name}"):
        table = dynamodb.describe_table(TableName=name)["Table"]
    found = {of["KeyType"]: of["AttributeName"] for of in table["KeySchema"]}
    if (found.get("HASH"), found.get("RANGE")) != key:
        raise Failure(f"its key is {found}, and the code reads by {key}", "was it made by this stack? deploy it anew")
    absent = indexes - {of["IndexName"] for of in table.get("GlobalSecondaryIndexes", []) if of.get("IndexStatus", "ACTIVE") == "ACTIVE"}
    if absent:
        raise Failure(f"the indexes {', '.join(sorted(absent))} are not there, or not ready", "wait for them, or deploy the stack anew")
    return f"{table['TableStatus'].lower()}, with {words.count(len(indexes), 'index') if len(indexes) == 1 else f'{len(indexes)} indexes'}"


def _bucket(session: Session) -> Iterator[Check]:
    """Tries each thing the bucket has to let one do, on a key of its own, which it removes."""
    store, key, body = session.deployment.services.store, f"{_PROBE}{uuid4().hex}", b"stocktake doctor\n"

    def put() -> str:
        stored = store.put(key, body, content_type="text/plain", sha256=hashlib.sha256(body).hexdigest())
        return f"confirmed {words.size(stored.size)}"

    def get() -> str:
        content = store.get(key)
        if content is None or content.body != body:
            raise Failure("what was put does not come back", "is the endpoint the store itself, and no cache?")
        return "the same bytes"

    def url() -> str:
        reply = session.wire.send("GET", store.presign_get(key, seconds=60), {})
        if reply.status != 200 or reply.body != body:
            raise Failure(f"a presigned URL answers {reply.status}", "see STORAGE_ADDRESSING, endpoint and region")
        return "fetched from here"

    def delete() -> str:
        store.delete(key)
        if store.head(key) is not None:
            raise Failure("what was deleted is still there", "see the rights of the credentials")
        return "gone"

    yield from _tried("bucket: list", lambda: f"{store.bucket}, first page {len(next(iter(store.list()), ())):,} keys")
    checks = list(_tried("bucket: put", put))
    yield from checks
    if checks[0].verdict == "ok":
        yield from _tried("bucket: get", get)
        yield from _tried("bucket: presigned URL", url)
        yield from _tried("bucket: delete", delete)
    yield from _tried("bucket: what it can do", lambda: ", ".join(name for name, can in store.profile().as_dict().items() if can))


def _tried(name: str, look: Callable[[], str]) -> Iterator[Check]:
    try:
        yield Check(name, "ok", look())
    except Failure as failure:
        yield _failed(name, failure)
    except StocktakeError as error:
        what, _, advice = str(error).partition(": ")
        yield Check(name, "fail", what, advice or error.type, 1)
    except Exception as error:  # one look that fails unforeseen must not hide the others
        yield Check(name, "fail", f"{type(error).__name__}: {error}", "look at what the profile names", 1)


def _failed(name: str, failure: Failure) -> Check:
    code = 4 if isinstance(failure, Unreachable) else 3 if isinstance(failure, Refused) else 1
    where = f" (request {failure.request_id})" if failure.request_id else ""
    return Check(name, "fail", f"{failure}{where}", failure.advice, code)


def is_unreachable(checks: list[Check], profile: Profile) -> bool:
    """Says whether the API did not answer, so that what lies behind it should be looked at."""
    return not profile.url or any(check.name == "API" and check.exit == 4 for check in checks)
