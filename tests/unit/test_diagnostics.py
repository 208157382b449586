"""Diagnostics: what is wrong is one check that says so in words one can act on, and what is right stays right beside it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.conformance import Conformance
from stocktake.dead_letters import DEAD_LETTERS
from stocktake.diagnostics import Credentials, Diagnostics, Surroundings
from stocktake.diagnostics.first_bytes import FirstBytes
from stocktake.diagnostics.other_looks import OtherLooks
from stocktake.diagnostics.redaction import REDACTED, redacted
from stocktake.diagnostics.store_looks import StoreLooks
from stocktake.diagnostics.surroundings import Settings
from stocktake.errors import (
    BucketNotFound,
    ConfigurationError,
    ImportRefused,
    LedgerError,
    MessagingError,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    WrongRegion,
)
from stocktake.identity import IDENTITY_KEY
from stocktake.ledger import SHAPES, IndexShape, TableShape
from stocktake.settings import audit
from stocktake.storage import CorsRule, Learned
from tests.unit.test_edges import ENVIRONMENT
from tests.unit.world import World, an_image, hanging

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
GOOD_CORS = CorsRule(("PUT", "GET"), ("https://app.example.com",), ("*",), ("ETag",))
OURS = Credentials("process", "AKIAIOSFODNN7EXAMPLE", "123456789012", "arn:aws:sts::123456789012:assumed-role/r/f")
# What need not or cannot be looked at in a deployment that is well.
SKIPPED = {"permission-put", "permission-delete"}


@dataclass
class Case:
    """A deployment that is well, and what a test makes of it."""

    world: World
    environment: dict[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    tables: dict[str, TableShape] = field(default_factory=lambda: dict(SHAPES))
    letters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DEAD_LETTERS, 0))
    who: Credentials = OURS
    public_base_url: str = "https://images.example.com"
    open_fails: Exception | None = None
    shards: int = 16
    is_storing: bool = True
    early: tuple[str, ...] = ()
    ask: Callable[[str], FirstBytes] | None = None
    seconds: float = 5.0
    hangs: threading.Event | None = None

    def __post_init__(self) -> None:
        self.record = self.world.upload()
        self.world.store.cors_rules = (GOOD_CORS,)
        self.world.store.region = "eu-north-1"
        self.conformance = Conformance(self.world.operations, "AWS S3 data", 2, self.world.clock)
        self.conformance.learn(self.world.store.profile(), Learned.PROBED)

    def _open(self) -> Any:
        if self.open_fails is not None:
            raise self.open_fails
        return replace(self.world.identity, region="eu-north-1")

    def _asked(self, url: str) -> FirstBytes:
        assert url == f"https://images.example.com/{self.record.key}"
        return FirstBytes(206, an_image(), "image/png")

    def _settings(self) -> Settings:
        found = audit(self.environment)
        return Settings(found.standing, found.complaints)

    def _letters(self, queue: str) -> int:
        count = self.letters[queue]
        if count < 0:
            raise MessagingError("SQS does not count it: AccessDenied")
        return count

    def _table(self, role: str) -> TableShape:
        if self.hangs is not None and role not in self.tables:
            self.hangs.wait(20)
        return self.tables[role]

    def look(self) -> dict[str, Any]:
        surroundings = Surroundings(
            self._settings, lambda: self.who, self._table, self._letters, tuple(self.letters), lambda: (SECRET, self.who.access_key_id)
        )
        store = StoreLooks(self._open, surroundings, self.world.ledger, self.ask or self._asked, self.public_base_url)
        others = OtherLooks(surroundings, self.world.ledger, self.conformance, self.is_storing, self.shards, self.early)
        return Diagnostics(store, others, surroundings, self.world.clock, self.seconds, self.seconds).look()

    def checks(self) -> dict[str, dict[str, Any]]:
        found = self.look()["checks"]
        assert len({check["name"] for check in found}) == len(found)
        return {check["name"]: check for check in found}


@pytest.fixture
def case(world: World) -> Case:
    return Case(world)


def test_of_a_deployment_that_is_well_every_check_is_ok_and_nothing_is_written(case: Case) -> None:
    before = (case.world.store.keys(), case.world.operations.get("settings", "identity"))
    case.world.store.calls.clear()
    answer = case.look()
    assert answer["status"] == "ok"
    assert {check["name"] for check in answer["checks"] if check["status"] != "ok"} == SKIPPED
    assert answer["as_of"] == case.world.clock()
    assert {operation for operation, _ in case.world.store.calls} <= {"whereabouts", "head", "get", "cors"}
    assert (case.world.store.keys(), case.world.operations.get("settings", "identity")) == before


def denied(code: str, operation: str = "list_objects_v2") -> StorageDenied:
    return StorageDenied(f"The store refused {operation} ({code}): the credentials may not do this.", code=code)


def shape(role: str, **changes: Any) -> TableShape:
    return replace(SHAPES[role], **changes)


def without(role: str, index: str) -> TableShape:
    return shape(role, indexes={name: of for name, of in SHAPES[role].indexes.items() if name != index})


Break = Callable[[Case], Any]


def unreachable(case: Case, error: StorageError) -> None:
    case.world.store.fail("whereabouts", error=error)


def another_identity(case: Case) -> None:
    case.world.store.plant(IDENTITY_KEY, json.dumps({"bucket_id": "another"}).encode())


def carrying(*absent: str) -> TableShape:
    indexes = dict(SHAPES["objects"].indexes)
    carries = indexes["by_project"].carries
    assert carries is not None
    indexes["by_project"] = replace(indexes["by_project"], carries=carries - set(absent))
    return shape("objects", indexes=indexes)


# What is broken; the one check that says so, how, and a word that an operator could act on.
FAULTS: dict[str, tuple[Break, str, str, str]] = {
    "a wrong secret key": (
        lambda case: unreachable(case, denied("SignatureDoesNotMatch")),
        "credentials",
        "failed",
        "SignatureDoesNotMatch",
    ),
    "an unknown key": (lambda case: unreachable(case, denied("InvalidAccessKeyId")), "credentials", "failed", "…MPLE"),
    "no credentials": (lambda case: unreachable(case, denied("NoCredentialsError")), "credentials", "failed", "NoCredentialsError"),
    "a secret of another form": (
        lambda case: setattr(case, "open_fails", ConfigurationError("the secret of the storage credentials must hold JSON")),
        "credentials",
        "failed",
        "must hold JSON",
    ),
    "a bucket that is not there": (lambda case: setattr(case.world.store, "bucket_exists", False), "bucket", "failed", "bucket"),
    "a store that does not answer": (
        lambda case: unreachable(case, StorageUnavailable("no whole answer")),
        "bucket",
        "failed",
        "See StorageEndpoint",
    ),
    "another region, as told": (lambda case: setattr(case.world.store, "region", "us-east-1"), "region", "failed", "StorageRegion"),
    "another region, as refused": (
        lambda case: unreachable(case, WrongRegion("Bucket 'data' is not in the configured region 'us-east-1': it is in 'eu-north-1'")),
        "region",
        "failed",
        "it is in 'eu-north-1'",
    ),
    "a clock two minutes off": (lambda case: setattr(case.world.store, "skew_ms", 120_000), "clock", "warning", "120 s ahead"),
    "a clock ten minutes off": (lambda case: setattr(case.world.store, "skew_ms", -600_000), "clock", "failed", "behind ours"),
    "a clock that every request is refused for": (
        lambda case: unreachable(case, denied("RequestTimeTooSkewed")),
        "clock",
        "failed",
        "quarter of an hour",
    ),
    "a list that is denied": (lambda case: unreachable(case, denied("AccessDenied")), "permission-list", "failed", "s3:ListBucket"),
    "a head that is denied": (
        lambda case: case.world.store.fail("head", error=denied("AccessDenied", "head_object")),
        "permission-head",
        "failed",
        "s3:GetObject",
    ),
    "a get that is denied": (
        lambda case: case.world.store.fail("get", times=2, key=IDENTITY_KEY, error=denied("AccessDenied", "get_object")),
        "permission-get",
        "failed",
        "s3:GetObject",
    ),
    "another bucket of the same name": (another_identity, "identity", "failed", "another bucket"),
    "a bucket that was emptied": (lambda case: case.world.store.remove(IDENTITY_KEY), "identity", "failed", "emptied"),
    "no rule for uploads": (
        lambda case: setattr(case.world.store, "cors_rules", (replace(GOOD_CORS, methods=("GET",)),)),
        "cors",
        "warning",
        "PUT",
    ),
    "an ETag that pages cannot read": (
        lambda case: setattr(case.world.store, "cors_rules", (replace(GOOD_CORS, exposed=()),)),
        "cors",
        "warning",
        "ETag",
    ),
    "headers that pages may not send": (
        lambda case: setattr(case.world.store, "cors_rules", (replace(GOOD_CORS, headers=("content-type",)),)),
        "cors",
        "warning",
        "x-amz-checksum-sha256",
    ),
    "a public URL of another bucket": (lambda case: setattr(case, "ask", lambda url: FirstBytes(404)), "public-url", "failed", "404"),
    "a public URL that is not public": (lambda case: setattr(case, "ask", lambda url: FirstBytes(403)), "public-url", "failed", "403"),
    "a public URL of a page": (
        lambda case: setattr(case, "ask", lambda url: FirstBytes(200, b"<!doctype html>", "text/html")),
        "public-url",
        "failed",
        "other bytes",
    ),
    "a setting that is malformed": (
        lambda case: case.environment.update(PRESIGNED_SECONDS="a quarter"),
        "environment",
        "failed",
        "PRESIGNED_SECONDS must be a whole number",
    ),
    "a setting that is not set": (lambda case: case.environment.update(EVENT_BUS=""), "environment", "failed", "EVENT_BUS is not set"),
    "storage that is off": (lambda case: setattr(case, "is_storing", False), "environment", "warning", "ENABLE_STORAGE"),
    "a missing index": (
        lambda case: case.tables.update(objects=without("objects", "by_project")),
        "table-objects",
        "failed",
        "the index by_project is missing",
    ),
    "an index that is not ready": (
        lambda case: case.tables.update(
            operations=shape("operations", indexes={"by_kind": IndexShape(("kind", "created_at"), None, "CREATING")})
        ),
        "table-operations",
        "failed",
        "creating and not ready",
    ),
    "a column that an index does not carry": (
        lambda case: case.tables.update(objects=carrying("etag", "size")),
        "table-objects",
        "failed",
        "does not carry etag, size",
    ),
    "another key": (
        lambda case: case.tables.update(projects=shape("projects", key=("id",))),
        "table-projects",
        "failed",
        "its key is id, and the code reads by project and part",
    ),
    "rows that vanish": (
        lambda case: case.tables.update(objects=shape("objects", expires_by="expires_at")),
        "table-objects",
        "failed",
        "vanish behind the ledger's back",
    ),
    "rows that never go": (
        lambda case: case.tables.update(operations=shape("operations", expires_by="")),
        "table-operations",
        "warning",
        "do not expire by expires_at",
    ),
    "no way back in time": (
        lambda case: case.tables.update(objects=shape("objects", recovery=False)),
        "table-objects",
        "warning",
        "point in time",
    ),
    "a fixed capacity": (
        lambda case: case.tables.update(objects=shape("objects", on_demand=False)),
        "table-objects",
        "warning",
        "capacity",
    ),
    "other shards": (lambda case: setattr(case, "shards", 8), "ledger", "failed", "Set LEDGER_SHARDS to 16"),
    "a grace window that is cut short": (
        lambda case: setattr(case, "early", ("EARLY_GRACE_SECONDS",)),
        "waits",
        "warning",
        "EARLY_GRACE_SECONDS, so that a run may report",
    ),
    "a sweep that comes early": (lambda case: setattr(case, "early", ("EARLY_SWEEP_SECONDS",)), "waits", "warning", "after the receipt"),
    "dead letters": (lambda case: case.letters.update(deletion=3), "dead-letters", "warning", "3 in deletion"),
    "a queue that cannot be counted": (lambda case: case.letters.update(deletion=-1), "dead-letters", "failed", "AccessDenied"),
}
# Of these the public URL cannot be tried, because the ledger would be looked through with the wrong number.
HURT_TOO = {"other shards": {"public-url"}}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_check_that_says_so_and_hurts_no_other(case: Case, fault: str) -> None:
    breaks, name, status, word = FAULTS[fault]
    breaks(case)
    answer = case.look()
    assert {check["name"]: check["status"] for check in answer["checks"] if check["status"] not in ("ok", "skipped")} == {name: status}
    (check,) = (check for check in answer["checks"] if check["name"] == name)
    assert word in f"{check['says']} {check['do']}"
    assert check["do"]
    assert answer["status"] == status


@pytest.mark.parametrize(
    "fault", [fault for fault, (_, name, _, _) in FAULTS.items() if name in ("environment", "waits", "dead-letters", "ledger")]
)
def test_what_is_no_fault_of_the_bucket_leaves_all_of_it_looked_at(case: Case, fault: str) -> None:
    FAULTS[fault][0](case)
    looked_at = {name for name, check in case.checks().items() if check["status"] != "skipped"}
    assert looked_at == set(case.checks()) - SKIPPED - HURT_TOO.get(fault, set())


@pytest.mark.parametrize(
    ("breaks", "name", "word"),
    [
        (lambda case: setattr(case.world.store, "cors_rules", None), "cors", "NotImplemented"),
        (lambda case: setattr(case.world.store, "cors_rules", ()), "cors", "only servers"),
        (lambda case: setattr(case.world.store, "cors_rules", (replace(GOOD_CORS, origins=("",)),)), "cors", "only servers"),
        (lambda case: case.world.store.fail("cors", error=denied("AccessDenied")), "cors", "AccessDenied"),
        (lambda case: setattr(case.world.store, "region", None), "region", "does not tell"),
        (lambda case: setattr(case, "public_base_url", ""), "public-url", "PUBLIC_BASE_URL"),
        (lambda case: setattr(case, "public_base_url", "http://169.254.169.254"), "public-url", "only https"),
        (lambda case: setattr(case, "letters", {}), "dead-letters", "DEAD_LETTER_QUEUES"),
    ],
)
def test_what_need_not_or_cannot_be_told_is_skipped_and_says_why(case: Case, breaks: Break, name: str, word: str) -> None:
    breaks(case)
    check = case.checks()[name]
    assert (check["status"], word in check["says"]) == ("skipped", True)
    assert case.look()["status"] == "ok"


def test_a_wait_that_cannot_be_read_is_not_said_to_be_long_enough(case: Case) -> None:
    case.environment["EARLY_SWEEP_SECONDS"] = "soon"
    check = case.checks()["waits"]
    assert (check["status"], "environment" in check["says"]) == ("skipped", True)


def test_a_url_that_leads_inside_is_never_asked(case: Case) -> None:
    case.public_base_url = "https://metadata.internal"
    case.ask = lambda url: (_ for _ in ()).throw(ImportRefused("metadata.internal does not lead to public addresses alone: give another"))
    assert case.checks()["public-url"]["says"].endswith("metadata.internal does not lead to public addresses alone")
    case.public_base_url = "http://127.0.0.1:9000"
    case.ask = None  # which would fail
    assert case.checks()["public-url"]["status"] == "skipped"


def test_before_anything_was_stored_nothing_is_wrong_and_nothing_is_written(world: World) -> None:
    case = Case(world)
    world.store.remove(IDENTITY_KEY)
    world.operations.remove("settings")  # identity, profile and shards
    answer = case.look()
    assert answer["status"] == "ok"
    skipped = {check["name"] for check in answer["checks"] if check["status"] == "skipped"}
    assert {"identity", "permission-head", "permission-get", "public-url", "conformance"} <= skipped
    assert world.operations.get("settings") is None
    assert world.operations.get("settings", "identity") is None
    assert world.store.head(IDENTITY_KEY) is None


def test_a_look_that_hangs_says_so_in_time_and_the_others_stand(case: Case) -> None:
    hung, case.seconds = threading.Event(), 0.3
    case.tables = {role: SHAPES[role] for role in ("projects", "operations")}
    case.hangs = hung
    began = time.monotonic()
    checks = case.checks()
    hung.set()
    assert time.monotonic() - began < 2
    assert {name: check["says"] for name, check in checks.items() if check["status"] == "failed"} == {
        "table-objects": "There was no answer within 0.3 seconds"
    }


def test_a_bucket_that_hangs_is_one_check_that_failed(case: Case) -> None:
    hung, case.seconds = threading.Event(), 0.3
    case.world.store.on_call = hanging("whereabouts", hung)
    checks = case.checks()
    hung.set()
    assert [name for name, check in checks.items() if check["status"] == "failed"] == ["bucket"]
    assert checks["credentials"]["says"] == "Not looked at, because bucket is not as it should be"


@pytest.mark.parametrize("error", [LedgerError("the ledger could not read"), RuntimeError(SECRET)], ids=["known", "unforeseen"])
def test_a_look_that_breaks_off_is_one_check_that_failed_and_tells_nothing_it_must_not(case: Case, error: Exception) -> None:
    def broken(role: str) -> TableShape:
        raise error

    case._table = broken  # type: ignore[method-assign]
    answer = case.look()
    assert all(check["do"] for check in answer["checks"] if check["status"] == "failed")
    assert sorted(check["name"] for check in answer["checks"] if check["status"] == "failed") == [
        f"table-{role}" for role in sorted(SHAPES)
    ]
    assert SECRET not in json.dumps(answer)


# What the teams of the field reports hunted for, and the words that would have told them.
@pytest.mark.parametrize(
    ("breaks", "name", "words"),
    [
        # uploads went to the wrong region and failed without a word
        (
            FAULTS["another region, as told"][0],
            "region",
            ("'us-east-1'", "'eu-north-1'", "StorageRegion", "uploads may have gone elsewhere"),
        ),
        # "Public URL not configured"; upload failures by permissions; CORS; storage that was switched off
        (lambda case: setattr(case, "public_base_url", ""), "public-url", ("No public URL is configured", "PublicBaseUrl")),
        (FAULTS["a list that is denied"][0], "permission-list", ("denies it (AccessDenied)", "Object Read & Write")),
        (FAULTS["no rule for uploads"][0], "cors", ("upload nothing", "UploadOrigins")),
        (FAULTS["storage that is off"][0], "environment", ("ENABLE_STORAGE", "not counted as stored")),
        # a column that was not there, so that values were dropped without an error
        (FAULTS["a column that an index does not carry"][0], "table-objects", ("come without", "Deploy the stack anew")),
        # the application ran with other credentials and settings than the scripts did; deletions failed silently
        (FAULTS["an unknown key"][0], "credentials", ("…MPLE", "not taken")),
        (FAULTS["a setting that is not set"][0], "environment", ("EVENT_BUS is not set",)),
        (FAULTS["dead letters"][0], "dead-letters", ("failed without a word", "deletions that failed five times or ended incomplete")),
    ],
)
def test_what_the_field_reports_hunted_for_is_named(case: Case, breaks: Break, name: str, words: tuple[str, ...]) -> None:
    breaks(case)
    check = case.checks()[name]
    assert [word for word in words if word not in f"{check['says']} {check['do']}"] == []


def test_whose_credentials_they_are_is_told_and_no_more_than_the_end_of_the_key(case: Case) -> None:
    check = case.checks()["credentials"]
    assert check["detail"] == {
        "source": "process",
        "access_key_id": "…MPLE",
        "account": "123456789012",
        "principal": "arn:aws:sts::123456789012:assumed-role/r/f",
    }
    case.who = Credentials("secret", "0123456789abcdef")
    assert "only AWS has STS" in case.checks()["credentials"]["says"]
    case.who = Credentials("process", "ASIAIOSFODNN7EXAMPLE", refused="ExpiredToken")
    case.world.store.fail("whereabouts", error=StorageUnavailable("no"))
    assert case.checks()["credentials"]["status"] == "failed"


def test_settings_are_told_as_set_or_not_and_never_what_they_are(case: Case) -> None:
    case.environment |= {"TOKEN_AUDIENCE": "hunter2-audience", "PUBLIC_BASE_URL": "https://hunter2.example/", "MAX_SIDE": "hunter2"}
    answer = case.look()
    standing = {check["name"]: check for check in answer["checks"]}["environment"]["detail"]["settings"]
    assert (standing["TOKEN_AUDIENCE"], standing["CDN_ZONE_ID"]) == ("set", "not set")
    assert (standing["PUBLIC_BASE_URL"], standing["MAX_SIDE"]) == ("malformed", "malformed")
    assert "hunter2" not in json.dumps(answer)


def test_a_setting_of_the_bucket_that_is_wrong_is_one_failure_and_not_ten(case: Case) -> None:
    case.environment["STORAGE_BUCKET"] = ""
    checks = case.checks()
    assert [name for name, check in checks.items() if check["status"] == "failed"] == ["environment"]
    assert checks["bucket"]["says"] == "Not looked at, because environment is not as it should be"
    case.environment |= {"STORAGE_BUCKET": "data", "OBJECTS_TABLE": ""}
    assert case.checks()["table-objects"]["status"] == "skipped"


SIGNED = (
    "https://s3.example.com/data/a.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261127"
    "&X-Amz-Signature=4e2f0a7c&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEJr"
)
PLANTED = [
    SIGNED,
    SECRET,
    "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJvcCJ9.c2lnbmF0dXJl",
    "https://user:hunter22@proxy.example/",
    "AKIAIOSFODNN7EXAMPLE",
    "secret_access_key=hunter22hunter22",
]
HIDDEN = ("4e2f0a7c", "IQoJb3JpZ2luX2VjEJr", SECRET, "c2lnbmF0dXJl", "hunter22", "AKIAIOSFODNN7EXAMPLE", "eyJzdWIiOiJvcCJ9")


@pytest.mark.parametrize(
    "plant",
    [
        lambda case, text: unreachable(case, StorageError(f"the store said: {text}")),
        lambda case, text: unreachable(case, BucketNotFound(f"no bucket at {text}")),
        lambda case, text: setattr(case, "open_fails", ConfigurationError(f"the secret holds {text}")),
        lambda case, text: setattr(case, "_table", lambda role: (_ for _ in ()).throw(LedgerError(f"could not: {text}"))),
        lambda case, text: setattr(case, "_letters", lambda queue: (_ for _ in ()).throw(MessagingError(text))),
        lambda case, text: setattr(case, "ask", lambda url: (_ for _ in ()).throw(ImportRefused(f"{SECRET} is not allowed: give another"))),
        lambda case, text: setattr(case, "who", replace(case.who, principal=text)),
    ],
)
def test_no_secret_that_anything_quotes_is_answered(case: Case, plant: Callable[[Case, str], None]) -> None:
    plant(case, " and ".join(PLANTED))
    shown = json.dumps(case.look(), ensure_ascii=False)
    assert [hidden for hidden in HIDDEN if hidden in shown] == []
    assert "redacted" in shown


@given(secret=st.text(min_size=6), before=st.text(), after=st.text())
def test_a_secret_that_is_known_is_in_no_text_at_any_depth(secret: str, before: str, after: str) -> None:
    document = {"says": before + secret + after, "detail": {"list": [{before + secret: (secret, 1)}], "number": 7}}
    shown = redacted(document, ["", "abc", secret])
    texts = [shown["says"], *shown["detail"]["list"][0], shown["detail"]["list"][0][next(iter(shown["detail"]["list"][0]))][0]]
    rest = REDACTED.replace(secret, "")
    assert all(secret not in text.replace(REDACTED, "") or secret in rest for text in texts)
    assert shown["detail"]["number"] == 7


def test_what_is_no_secret_stays_as_it_is() -> None:
    plain = ["projects/proj_1/2026/11/01KAHXPLEN0000000000000000.png", "s3:ListBucket", "arn:aws:sts::123456789012:assumed-role/r/f", "1:1"]
    assert redacted(plain) == plain
