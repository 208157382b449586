"""Looks at the bucket and the way to it. One request tells credentials, bucket, region, clock and the right to list apart.

Where that request fails, one check says why, and what it keeps from being looked at is skipped: a wrong key is one failure and not ten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from stocktake.diagnostics.check import Check
from stocktake.diagnostics.first_bytes import FirstBytes
from stocktake.diagnostics.surroundings import Credentials, Surroundings
from stocktake.errors import (
    BucketNotFound,
    ConfigurationError,
    ImportRefused,
    InvalidRequest,
    LedgerError,
    StorageDenied,
    StorageError,
    WrongRegion,
)
from stocktake.identity import IDENTITY_KEY, MAX_SKEW_MS, Identity
from stocktake.importing import read_url
from stocktake.ledger import Ledger
from stocktake.storage import CorsRule

REACHING = ("credentials", "bucket", "region", "clock", "permission-list")
READING = ("permission-head", "permission-get", "identity")
WRITING = ("permission-put", "permission-delete")

SKEW_WARNING_MS = 60_000
"""A minute is worth a word: presigned URLs begin that much late or end that much early."""

UPLOAD_HEADERS = ("content-type", "cache-control", "content-disposition", "if-none-match", "x-amz-checksum-sha256", "x-amz-meta-intent")
"""What a browser sends with a presigned PUT."""

UNKNOWN_CREDENTIALS = frozenset(
    {
        "CredentialRetrievalError",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "NoCredentialsError",
        "PartialCredentialsError",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "Unauthorized",
    }
)
"""How stores say that they do not know the key, or that the signature is not the key's. All else that is denied is a right that lacks."""
_OF_THE_CLOCK = "RequestTimeTooSkewed"
_COMPARED_BYTES = 64


@dataclass(frozen=True, slots=True)
class Reached:
    """What became of the first request. `identity` is there where other looks at the bucket can be made."""

    checks: Sequence[Check]
    identity: Identity | None = None
    region: str | None = None
    skew_ms: int | None = None
    because: str = "bucket"


@dataclass(frozen=True, slots=True)
class StoreLooks:
    """Looks at one bucket.

    Args:
        open: opens the bucket, which may need a secret; raises ConfigurationError where that cannot be had.
        ask: fetches the first bytes of a public URL, from public addresses alone; raises ImportRefused.
        public_base_url: "" where the bucket is not public.
    """

    open: Callable[[], Identity]
    surroundings: Surroundings
    ledger: Ledger
    ask: Callable[[str], FirstBytes]
    public_base_url: str

    # the first request

    def reach(self) -> Reached:
        """Sends one request, and says what it tells."""
        complaints = self.surroundings.settings().about("STORAGE_")
        if complaints:
            return unreached("environment", ())
        try:
            identity, who = self.open(), self.surroundings.credentials()
        except ConfigurationError as error:
            return unreached("credentials", [Check.of_error("credentials", error, _SET_SECRET)])
        try:
            region, skew_ms = identity.whereabouts()
        except StorageError as error:
            return self._refused(error, who, identity)
        checks = [
            _taken(who),
            Check("bucket", "ok", f"The bucket {identity.store.bucket!r} answers", None, {"bucket": identity.store.bucket}),
            _region(identity, region),
            _clock(skew_ms),
            Check("permission-list", "ok", "Keys can be listed"),
        ]
        wrong = next((check.name for check in checks if check.name == "region" and check.status == "failed"), None)
        return Reached(checks, None if wrong else identity, region, skew_ms, wrong or "bucket")

    def _refused(self, error: StorageError, who: Credentials, identity: Identity) -> Reached:
        bucket, known = identity.store.bucket, [_taken(who)] if who.account else []
        if who.refused or (isinstance(error, StorageDenied) and error.code in UNKNOWN_CREDENTIALS):
            return unreached("credentials", [_unknown(who, error)])
        if error.code == _OF_THE_CLOCK:
            said = "The clocks of store and function are over a quarter of an hour apart, so every request is refused"
            return unreached("clock", [_taken(who), Check("clock", "failed", said, _SET_CLOCK, {"problem": error.code})])
        if isinstance(error, WrongRegion):
            answers = Check("bucket", "ok", f"There is a bucket {bucket!r}, in another region than is configured", None, {"bucket": bucket})
            return unreached("region", [*known, answers, Check.of_error("region", error, _SET_REGION, configured=identity.region)])
        if isinstance(error, StorageDenied):
            listing = Check("permission-list", "failed", f"Keys cannot be listed: the store denies it ({error.code})", _RIGHTS["list"])
            answers = Check("bucket", "ok", f"The bucket {bucket!r} answers, if only to refuse", None, {"bucket": bucket})
            reached = unreached("permission-list", [_taken(who), answers, listing])
            return Reached(reached.checks, identity, None, None, "permission-list")
        todo = "Check the parameters StorageBucketName and StorageEndpoint" if isinstance(error, BucketNotFound) else _NETWORK
        return unreached("bucket", [*known, Check.of_error("bucket", error, todo, bucket=bucket)])

    # what can be asked once the bucket answers

    def read(self, reached: Reached) -> Sequence[Check]:
        """Asks for the one object that is known to be there, the bucket's mark, and whether it is the ledger's."""
        if reached.identity is None:
            return skipped(READING, reached.because)
        store = reached.identity.store
        try:
            head = _permitted("head", store.head(IDENTITY_KEY) is not None)
        except StorageError as error:
            head = _denied("head", error)
        try:
            get = _permitted("get", store.get(IDENTITY_KEY) is not None)
        except StorageError as error:
            get = _denied("get", error)
            return [head, get, *skipped(("identity",), "permission-get")]
        return [head, get, self._mark(reached.identity, reached)]

    def _mark(self, identity: Identity, reached: Reached) -> Check:
        try:
            seen = identity.read(reached.region, reached.skew_ms)
        except (LedgerError, ConfigurationError):
            return skipped(("identity",), "ledger")[0]
        if seen is None:
            return Check("identity", "skipped", "The ledger describes no bucket yet: the first project that is opened marks it")
        problem = identity.other_bucket(seen)
        if problem is not None:
            return Check.of_error("identity", problem, "GET /diagnostics/identity says more; runs act on nothing until it is cleared up")
        return Check("identity", "ok", "The bucket is the one that the ledger describes", None, {"bucket_id": seen.bucket_id})

    def cors(self, reached: Reached) -> Sequence[Check]:
        """Asks what the bucket lets pages do, and holds it against what an upload from a browser needs."""
        if reached.identity is None:
            return skipped(("cors",), reached.because)
        try:
            rules = reached.identity.store.cors()
        except StorageDenied as error:
            said = f"The store does not let these credentials read its CORS rules ({error.code or 'denied'}), so they are not known"
            todo = "Grant s3:GetBucketCORS, or see the rules in the store's console: R2 shows them in the bucket's settings"
            return [Check("cors", "skipped", said, todo)]
        if rules is None:
            return [Check("cors", "skipped", "The store does not tell its CORS rules (NotImplemented)", "See the store's own settings")]
        rules = [rule for rule in rules if any(rule.origins)]  # of no origin is of nobody
        if not rules:
            said = "The bucket has no CORS rules: no page of a browser can upload to it. That is right where only servers upload"
            return [Check("cors", "skipped", said, _SET_CORS, {"rules": 0})]
        return [_cors(rules)]

    def public_url(self, reached: Reached, shards: int) -> Sequence[Check]:
        """Asks the public URL of some object that the ledger has, and compares the first bytes with the bucket's."""
        name = "public-url"
        if not self.public_base_url:
            said = "No public URL is configured (PUBLIC_BASE_URL): objects are served by URLs that are signed for a while"
            return [Check(name, "skipped", said, "Set the parameter PublicBaseUrl where a domain serves the bucket")]
        if reached.identity is None:
            return skipped((name,), reached.because)
        try:
            read_url(self.public_base_url)
        except ImportRefused:
            said = "The public URL is none that is asked from here: only https, on port 443 of a public name, is"
            return [Check(name, "skipped", said, "Open an object's public URL in a browser")]
        key = self.ledger.any_stored() if self.ledger.first_use() == shards else None
        if key is None:
            return [
                Check(name, "skipped", "No stored object was found that its public URL could be asked for", "Upload one and look again")
            ]
        try:
            answer = self.ask(f"{self.public_base_url}/{quote(key)}")
        except ImportRefused as error:
            said = str(error).partition(":")[0]
            return [Check(name, "failed", f"The public URL gives nothing: {said}", _SET_DOMAIN, {"status": None})]
        detail = {"status": answer.status, "kind": answer.kind}
        if not answer.gives:
            return [Check(name, "failed", f"The public URL of a stored object answers {_answers(answer.status)}", _SET_DOMAIN, detail)]
        if self._differs(reached.identity, key, answer):
            said = "The public URL gives other bytes than the bucket has under that key"
            todo = "See which bucket PublicBaseUrl serves, and whether a CDN before it keeps an old copy"
            return [Check(name, "failed", said, todo, detail)]
        return [Check(name, "ok", "The public URL of a stored object gives its bytes", None, detail)]

    def _differs(self, identity: Identity, key: str, answer: FirstBytes) -> bool:
        if not answer.body:
            return False
        try:
            content = identity.store.get(key, byte_range=(0, _COMPARED_BYTES - 1))
        except (InvalidRequest, StorageError):
            return False  # an empty object, or a right that another check speaks of
        return content is not None and content.body != answer.body[: len(content.body)]


def unreached(because: str, told: Sequence[Check]) -> Reached:
    """Makes what is known where the first request led no further: `because` names the check that says why."""
    known = {check.name for check in told}
    checks = [*told, *skipped([name for name in REACHING if name not in known], because)]
    return Reached(sorted(checks, key=lambda check: REACHING.index(check.name)), because=because)


def skipped(names: Sequence[str], because: str) -> list[Check]:
    """Says of checks that another one keeps them from being looked at."""
    return [Check(name, "skipped", f"Not looked at, because {because} is not as it should be", f"See {because} first") for name in names]


def _taken(who: Credentials) -> Check:
    whose = f"of account {who.account}" if who.account else "whose account nobody tells (only AWS has STS)"
    origin = "the secret of the storage credentials" if who.source == "secret" else "the process that looks, on AWS its role"
    return Check("credentials", "ok", f"The store takes the access key {who.shown}, {whose}; it is from {origin}", None, _whose(who))


def _unknown(who: Credentials, error: StorageError) -> Check:
    code = who.refused or error.code
    said = f"The access key {who.shown} is not taken ({code}): it is unknown, was revoked or has ended, or the secret key is not its own"
    todo = _SET_SECRET if who.source == "secret" else "See the credentials of this process"
    return Check("credentials", "failed", said, todo, {**_whose(who), "problem": code})


def _whose(who: Credentials) -> dict[str, str | None]:
    return {"source": who.source, "access_key_id": who.shown, "account": who.account, "principal": who.principal}


def _region(identity: Identity, region: str | None) -> Check:
    detail = {"region": region, "configured": identity.region}
    problem = identity.wrong_region(region)
    if problem is not None:
        return Check.of_error("region", problem, _SET_REGION, **detail)
    if region is None:
        said = f"The store does not tell where the bucket is; requests are signed for {identity.region!r}, and it takes them"
        return Check("region", "skipped", said, None, detail)
    return Check("region", "ok", f"The bucket is in {region!r}, as configured", None, detail)


def _clock(skew_ms: int | None) -> Check:
    if skew_ms is None:
        return Check("clock", "skipped", "The store does not tell the time")
    seconds, detail = abs(skew_ms) // 1000, {"skew_ms": skew_ms}
    said = f"The store's clock is {seconds} s {'ahead of' if skew_ms > 0 else 'behind'} ours"
    if abs(skew_ms) > MAX_SKEW_MS:
        return Check("clock", "failed", f"{said}: no age can be trusted, and signed URLs may be refused", _SET_CLOCK, detail)
    if abs(skew_ms) > SKEW_WARNING_MS:
        return Check("clock", "warning", f"{said}: signed URLs end that much too early or too late", _SET_CLOCK, detail)
    return Check("clock", "ok", said, None, detail)


def _permitted(operation: str, is_there: bool) -> Check:
    if is_there:
        return Check(f"permission-{operation}", "ok", f"The store allows {operation}")
    said = f"Whether the store allows {operation} cannot be told: there is no object of Stocktake's own yet to ask for"
    return Check(f"permission-{operation}", "skipped", said, f"{_SELF_TEST} puts one, and asks for it")


def _denied(operation: str, error: StorageError) -> Check:
    return Check.of_error(f"permission-{operation}", error, _RIGHTS[operation])


def untried() -> list[Check]:
    """Says of the rights to write that a look does not try them."""
    return [Check(name, "skipped", "Not tried, because a look writes nothing", f"{_SELF_TEST} tries it") for name in WRITING]


def _cors(rules: Sequence[CorsRule]) -> Check:
    puts = [rule for rule in rules if "PUT" in rule.methods]
    origins = sorted({origin for rule in rules for origin in rule.origins})
    detail = {
        "rules": len(rules),
        "origins": origins,
        "methods": sorted({method for rule in rules for method in rule.methods}),
    }
    if not puts:
        said = "No CORS rule of the bucket allows PUT: pages can read from it, and upload nothing"
        return Check("cors", "warning", said, _SET_CORS, {**detail, "lacks": ["PUT"]})
    lacks = min((_lacks(rule) for rule in puts), key=len)
    if lacks:
        said = f"The CORS rule for PUT lacks {', '.join(lacks)}: a browser refuses the upload, or cannot read what came of it"
        return Check("cors", "warning", said, _SET_CORS, {**detail, "lacks": lacks})
    return Check("cors", "ok", f"Pages of {', '.join(origins)} may upload", None, {**detail, "lacks": []})


def _lacks(rule: CorsRule) -> list[str]:
    allowed, exposed = {header.lower() for header in rule.headers}, {header.lower() for header in rule.exposed}
    headers = [] if "*" in allowed else [f"the header {header}" for header in UPLOAD_HEADERS if header not in allowed]
    return headers + ([] if "etag" in exposed else ["ETag among the headers that are exposed"])


def _answers(status: int) -> str:
    if 300 <= status < 400:
        return f"{status}, a redirect, which an img element follows and an upload does not"
    return f"{status} {_WORDS.get(status, '')}".strip()


_WORDS = {401: "(not public)", 403: "(not public)", 404: "(nothing there)"}
_SET_SECRET = "Put a valid key pair into the secret of StorageCredentialsSecretArn; functions read it when their processes start"
_SET_REGION = "Set the stack's parameter StorageRegion to where the bucket is, and reconcile: uploads may have gone elsewhere"
_SET_CLOCK = "Set the clock of the store, or of the machine this runs on"
_SET_CORS = (
    "Set UploadOrigins for a bucket of the stack's own, or give the bucket the rule that docs/deploy-s3.md has under Browsers and public "
    "URLs, or docs/deploy-r2.md for R2"
)
_SELF_TEST = "The self-test (the button under Health, or `stocktake self-test`)"
_SET_DOMAIN = "See that PublicBaseUrl is the domain of this very bucket, and that it is public there"
_NETWORK = "See StorageEndpoint and the network between the function and the store"
_RIGHTS = {
    "list": "Grant s3:ListBucket on the bucket (R2: a token of tier Object Read & Write)",
    "head": "Grant s3:GetObject on the bucket's objects",
    "get": "Grant s3:GetObject on the bucket's objects",
}
