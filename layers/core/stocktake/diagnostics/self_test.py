"""A round trip on a key of its own: put, list, head, metadata, get, URL, record, delete, and gone. Each step is timed and says what failed.

Its keys lie under a prefix of Stocktake's own, which no layout shows, no event records and no run counts; each test has its own, so that
several at once do not meet. What it put is removed whatever happens; what a test left that was killed, a later one removes after an hour.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stocktake.conformance import Conformance
from stocktake.diagnostics.check import Check, worst
from stocktake.diagnostics.first_bytes import FirstBytes
from stocktake.diagnostics.redaction import redacted
from stocktake.diagnostics.side_by_side import Begun, failure
from stocktake.diagnostics.store_looks import UNKNOWN_CREDENTIALS
from stocktake.errors import ConfigurationError, StocktakeError, StorageDenied, StorageError
from stocktake.ids import time_of_id
from stocktake.layouts import SYSTEM_PREFIX
from stocktake.ledger import Operations
from stocktake.storage import Store

PREFIX = f"{SYSTEM_PREFIX}probe/self-test/"
OPERATION_PREFIX = "self-test-"

STEP_SECONDS = 6.0
TEST_SECONDS = 19.0
"""With one step that hangs, and its removal: within the 29 s of an API call."""
_LEFT_MS = 3_600_000
_SWEPT = 50
_URL_SECONDS = 60

METADATA: Mapping[str, Any] = {
    "prompt": "smörgåsbord, 100 %",
    "aspectRatio": "16:9",
    "numberOfImages": 2,
    "guidance": 7.5,
    "tags": ["a", None],
}
"""Of a record: what comes back has these values and these types, or something drops or rewrites it on the way."""
_HEADERS = {"note": "smörgåsbord, 100 %", "ratio": "16:9"}
"""Of the object."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Round trips in one deployment.

    Args:
        open: opens the bucket; raises ConfigurationError.
        fetch: fetches the first bytes of a presigned URL; raises StorageUnavailable.
        secrets: what no answer shows.
    """

    open: Callable[[], Store]
    operations: Operations
    conformance: Conformance
    fetch: Callable[[str], FirstBytes]
    now: Callable[[], int]
    new_id: Callable[[int], str]
    step_seconds: float = STEP_SECONDS
    test_seconds: float = TEST_SECONDS
    secrets: Callable[[], tuple[str, ...]] = tuple

    def run(self) -> dict[str, Any]:
        """Goes the whole way once, and takes away what it put. Raises nothing: what goes wrong is a step that failed."""
        at = self.now()
        test = _Test(self, self.new_id(at), time.monotonic() + self.test_seconds)
        test.go()
        answer = {
            "self_test_id": test.test_id,
            "key": test.key,
            "as_of": at,
            "status": worst(test.checks),
            "steps": [{**check.document(), "took_ms": test.took[check.name]} for check in test.checks],
            "is_clean": test.is_clean,
            "leftovers_removed": test.swept,
        }
        return dict(redacted(answer, self.secrets()))


@dataclass(slots=True)
class _Test:
    """One round trip."""

    wiring: SelfTest
    test_id: str
    end: float
    checks: list[Check] = field(default_factory=list)
    took: dict[str, int] = field(default_factory=dict)
    store: Store | None = None
    is_clean: bool = True
    _hangs: bool = False
    swept: int = 0

    @property
    def key(self) -> str:
        return f"{PREFIX}{self.test_id}"

    @property
    def body(self) -> bytes:
        return f"{self.test_id}: put by a self-test of Stocktake, and taken away by it\n".encode()

    def go(self) -> None:
        """Takes every step that can be taken."""
        try:
            steps = (
                ("put", self._put, ()),
                ("list", self._list, ("put",)),
                ("head", self._head, ("put",)),
                ("metadata", self._metadata, ("put", "head")),
                ("get", self._get, ("put",)),
                ("url", self._url, ("put",)),
                ("record", self._record, ()),
                ("delete", self._delete, ("put",)),
                ("gone", self._gone, ("put", "delete", "head")),
            )
            for name, step, needed in steps:
                lacking = next((other for other in needed if self._failed(other)), None)
                self._take(name, step, lacking)
        finally:
            self.is_clean = self._cleaned()

    def _failed(self, name: str) -> bool:
        return any(check.name == name and check.status != "ok" for check in self.checks)

    def _take(self, name: str, step: Callable[[], Check], lacking: str | None) -> None:
        left = self.end - time.monotonic()
        if lacking is not None or left <= 0:
            why = (
                f"Not tried, because {lacking} did not do what it promises" if lacking else "Not tried: the time for the whole test is over"
            )
            check, began = Check(name, "skipped", why), time.monotonic()
        else:
            began, begun = time.monotonic(), Begun(step, min(self.wiring.step_seconds, left))
            try:
                check = begun.result()
            except Exception as error:
                check = failure(name, error, begun.seconds)
                self._hangs |= name == "put" and isinstance(error, TimeoutError)  # its bytes may come after all
            check = replace(check, name=name, do=check.do or _todo(name, check))
        self.took[name] = round((time.monotonic() - began) * 1000)
        self.checks.append(check)

    # steps

    def _opened(self) -> Store:
        if self.store is None:
            self.store = self.wiring.open()
        return self.store

    def _put(self) -> Check:
        store = self._opened()
        sha256 = hashlib.sha256(self.body).hexdigest()
        stored = store.put(self.key, self.body, content_type="text/plain", sha256=sha256, metadata=_HEADERS)
        return _promised("put", stored.size == len(self.body), f"{stored.size} bytes were put, and confirmed by the bucket")

    def _list(self) -> Check:
        page = next(iter(self._opened().list(self.key)), ())
        return _promised("list", any(row.key == self.key for row in page), "A listing shows the key", "A listing leaves the key out")

    def _head(self) -> Check:
        stored = self._opened().head(self.key)
        if stored is None:
            return Check("head", "failed", "The bucket has nothing under a key that was put before")
        as_put = (stored.size, stored.content_type) == (len(self.body), "text/plain")
        return _promised("head", as_put, "Size and type are what was put", "Size or type are not what was put")

    def _metadata(self) -> Check:
        stored = self._opened().head(self.key)
        kept = {} if stored is None else {name: stored.metadata.get(name) for name in _HEADERS}
        lost = sorted(name for name, value in _HEADERS.items() if kept.get(name) != value)
        return _promised("metadata", not lost, "The object's metadata is what was sent", f"The object's metadata lost {', '.join(lost)}")

    def _get(self) -> Check:
        content = self._opened().get(self.key)
        is_same = content is not None and content.body == self.body
        return _promised(
            "get", is_same, "The same bytes come back", "Other bytes come back: is the endpoint the store itself, and no cache?"
        )

    def _url(self) -> Check:
        answer = self.wiring.fetch(self._opened().presign_get(self.key, seconds=_URL_SECONDS))
        if not answer.gives:
            said = f"A presigned URL answers {answer.status}"
            return Check(
                "url", "failed", said, "See StorageAddressing, StorageEndpoint, StorageRegion and the clock", {"status": answer.status}
            )
        same = answer.body == self.body[: len(answer.body)]
        return _promised("url", same and bool(answer.body), "A presigned URL gives the bytes", "A presigned URL gives other bytes")

    def _record(self) -> Check:
        operations, name, at = self.wiring.operations, f"{OPERATION_PREFIX}{self.test_id}", self.wiring.now()
        operations.put(name, "", None, METADATA, created_at=at, status="TESTING", expires_at=at + _LEFT_MS)
        try:
            row = operations.get(name)
            kept = row.document if row else {}
            lost = sorted(field for field, value in METADATA.items() if repr(kept.get(field)) != repr(value))
        finally:
            operations.remove(name)
        said = f"The ledger lost or rewrote {', '.join(lost)} of the metadata that was written"
        return _promised("record", not lost, "Metadata comes back from the ledger with its values and types", said)

    def _delete(self) -> Check:
        self._opened().delete(self.key)
        return Check("delete", "ok", "The store took the removal")

    def _gone(self) -> Check:
        is_gone = self._opened().head(self.key) is None
        return _promised("gone", is_gone, "Nothing is left under the key", "What was deleted is still there")

    # after it

    def _cleaned(self) -> bool:
        """Removes what the test put, also where a reply was lost, and what killed tests left; says whether its own is known to be gone."""
        store = self.store
        if store is None:
            return not self._hangs  # nothing was ever sent, unless it still is
        try:
            Begun(lambda: self._removed(store), self.wiring.step_seconds).result()
        except Exception:
            return False
        return not self._hangs

    def _removed(self, store: Store) -> None:
        if not self._is_told_gone():
            store.delete(self.key)
        keeps_versions = self._keeps_versions()
        if keeps_versions:
            _remove_versions(store, self.key)
        for row in next(iter(store.list(PREFIX, page_size=_SWEPT)), ()):
            made_at = time_of_id(row.key.removeprefix(PREFIX))
            if made_at is not None and made_at < self.wiring.now() - _LEFT_MS:
                store.delete(row.key)
                if keeps_versions:
                    _remove_versions(store, row.key)
                self.swept += 1

    def _is_told_gone(self) -> bool:
        return any(check.name == "gone" and check.status == "ok" for check in self.checks)

    def _keeps_versions(self) -> bool:
        try:
            known = self.wiring.conformance.known()
        except (StocktakeError, ConfigurationError):
            return False
        return known is not None and known.versioning


def _remove_versions(store: Store, key: str) -> None:
    left = store.delete_versions([version for version in store.list_versions(key) if version.key == key]).errors
    if left:
        raise StorageError(f"a version of a self-test's key refuses to be removed ({left[0].code})")


def _promised(name: str, is_so: bool, said: str, otherwise: str = "") -> Check:
    return Check(name, "ok" if is_so else "failed", said if is_so else otherwise or f"Not so: {said}")


def _todo(name: str, check: Check) -> str | None:
    """Says what to do about a step that failed: a right that lacks is named, anything else that has an error is a matter of the whole."""
    if check.status != "failed":
        return None
    problem, code = check.detail.get("problem"), check.detail.get("code", "")
    if problem == StorageDenied.type and code not in UNKNOWN_CREDENTIALS:
        return _RIGHTS.get(name)
    return _ODDITIES.get(name) if problem is None else _LOOK


_LOOK = "Health, or `stocktake doctor`, says what is wrong with credentials, bucket, network and tables"
_RIGHTS = {
    "put": "Grant s3:PutObject on the bucket's objects (R2: a token of tier Object Read & Write)",
    "list": "Grant s3:ListBucket on the bucket",
    "head": "Grant s3:GetObject on the bucket's objects",
    "get": "Grant s3:GetObject on the bucket's objects",
    "delete": "Grant s3:DeleteObject on the bucket's objects",
}
_ODDITIES = {
    "list": "The store's listings leave keys out: update it, for whatever trusts them misses these keys too",
    "head": "See whether a proxy before the store changes what goes through",
    "metadata": "The store, or a proxy before it, rewrites the metadata of objects: see its documentation on x-amz-meta headers",
    "get": "See whether the endpoint is the store itself and no cache",
    "url": "See what answers at the store's address: a proxy, a cache, another bucket",
    "record": "Rows do not come back as they were written: see what else writes to the operations table",
    "gone": "See whether the store, or a proxy before it, answers from a cache",
}
