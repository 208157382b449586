"""Which bucket this is: an object of ours in it, and the ledger's memory of it.

The object is written before the first project is opened, so before the first record. A bucket without it, or with another's, is not the one
the ledger describes: it was emptied or made anew, or endpoint, account, region or name point elsewhere. Nothing may be concluded from what
such a bucket lacks. Where the store tells its region, that is held against the setting and against what it told before; its clock is held
against ours, because age is what tells a lost object from one that is on its way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stocktake.errors import ObjectExists, RunIncomplete, StorageError, WrongRegion
from stocktake.layouts import SYSTEM_PREFIX
from stocktake.ledger import Operations
from stocktake.storage import Store

IDENTITY_KEY = f"{SYSTEM_PREFIX}identity.json"
MAX_SKEW_MS = 300_000
"""Beyond it one of the two clocks is wrong, and no age can be trusted."""

_ANY_REGION = frozenset({"", "auto"})
"""Settings that name no region: R2's."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What bucket and ledger say of the bucket's identity. `skew_ms` is how far the store's clock is ahead of ours, where it tells."""

    region: str | None
    known_region: str | None
    bucket_id: str | None
    known_id: str
    skew_ms: int | None


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of the bucket behind `store`, as `operations` knows it.

    Args:
        region: the one that is configured.
    """

    store: Store
    operations: Operations
    now: Callable[[], int]
    new_id: Callable[[int], str]
    region: str = ""

    def ensure(self) -> None:
        """Marks the bucket as the ledger's, once; a mark that is there already is taken over."""
        if self.operations.get("settings", "identity") is not None:
            return
        at = self.now()
        region = self.store.whereabouts().region
        body = json.dumps({"bucket_id": self.new_id(at), "created_at": at, "region": region}).encode()
        content = self.store.get(IDENTITY_KEY)
        if content is None:
            sha256 = hashlib.sha256(body).hexdigest()
            try:
                self.store.put(IDENTITY_KEY, body, content_type="application/json", sha256=sha256, only_if_absent=True)
            except ObjectExists:  # another first was quicker
                content = self.store.get(IDENTITY_KEY)
        found = content.body if content else body
        known = {"bucket_id": json.loads(found)["bucket_id"], "region": region}
        self.operations.put_new("settings", "identity", None, known, created_at=at, status="KNOWN")

    def check(self) -> Seen:
        """Makes sure that the bucket is the one this ledger describes, and that its clock can be held against ours.

        Raises:
            RunIncomplete: it is not, or the clocks are too far apart.
            WrongRegion: it is in another region than is configured.
            StorageError: the store does not answer, or not as asked.
        """
        self.ensure()
        seen = self.compare()
        assert seen is not None  # ensured before
        return seen

    def compare(self) -> Seen | None:
        """Makes sure of the same and writes nothing; None where the ledger was not used yet, and knows no bucket. Raises as `check`."""
        region, skew_ms = self.whereabouts()
        seen = self.read(region, skew_ms)
        if seen is not None:
            self._check(seen)
        elif problem := self.wrong_region(region):
            raise problem
        return seen

    def diagnose(self) -> dict[str, Any]:
        """Says what is seen of the bucket and what is wrong with it, if anything; raises nothing of the store's, and writes nothing.

        A ledger that has not been used yet knows no bucket: the first upload or run marks the one that is configured.
        """
        answer: dict[str, Any] = {
            "bucket": self.store.bucket,
            "configured_region": self.region,
            "region": None,
            "bucket_id": None,
            "known_bucket_id": None,
            "clock_skew_ms": None,
        }
        known = self.operations.get("settings", "identity")
        answer["known_bucket_id"] = known.document["bucket_id"] if known else None
        try:
            region, skew_ms = self.whereabouts()
            answer |= {"region": region, "clock_skew_ms": skew_ms}
            seen = self.read(region, skew_ms)
            if seen is not None:
                answer["bucket_id"] = seen.bucket_id
                self._check(seen)
            elif problem := self.wrong_region(region):
                raise problem
        except (RunIncomplete, StorageError) as error:
            return {**answer, "status": error.type, "why": str(error)}
        return {**answer, "status": "ok", "why": None}

    def whereabouts(self) -> tuple[str | None, int | None]:
        """Asks the store for the bucket's region, and how many milliseconds its clock is ahead of ours; None for what it does not tell."""
        before = self.now()
        told = self.store.whereabouts()
        # the store tells whole seconds, so half of one is what it leaves out on average
        return told.region, None if told.at is None else told.at + 500 - (before + self.now()) // 2

    def read(self, region: str | None, skew_ms: int | None) -> Seen | None:
        """Reads what bucket and ledger say of the bucket's identity, and writes nothing; None where the ledger knows none yet."""
        known = self.operations.get("settings", "identity")
        if known is None:
            return None
        content = self.store.get(IDENTITY_KEY)
        bucket_id = None if content is None else _bucket_id(content.body)
        return Seen(region, known.document.get("region"), bucket_id, known.document["bucket_id"], skew_ms)

    def wrong_region(self, region: str | None) -> WrongRegion | None:
        """Returns what is wrong where the bucket is in another region than is configured."""
        if region is not None and self.region not in _ANY_REGION and region != self.region:
            return WrongRegion(
                f"Bucket {self.store.bucket!r} is in {region!r}, and the stack is configured for {self.region!r}: set its parameter "
                f"StorageRegion to {region!r}. Until then uploads may go to, and be looked for in, another place than the one where the "
                "bucket is."
            )
        return None

    def other_bucket(self, seen: Seen) -> RunIncomplete | None:
        """Returns what is wrong where the bucket is not the one that the ledger describes."""
        name = self.store.bucket
        if None not in (seen.region, seen.known_region) and seen.region != seen.known_region:
            return RunIncomplete(
                f"bucket {name!r} is in {seen.region!r} and was in {seen.known_region!r} when this ledger began to describe it: it is "
                "another bucket of the same name; check endpoint, account, region and name before anything else"
            )
        if seen.bucket_id is None:
            return RunIncomplete(
                f"bucket {name!r} has no {IDENTITY_KEY}: it is not the bucket this ledger describes, or it was emptied or made anew; "
                "check endpoint, account, region and name before anything else"
            )
        if seen.bucket_id != seen.known_id:
            return RunIncomplete(
                f"bucket {name!r} is another bucket than the one this ledger describes, under the same name: check endpoint, account, "
                "region and name"
            )
        return None

    def _check(self, seen: Seen) -> None:
        for problem in (self.wrong_region(seen.region), self.other_bucket(seen)):
            if problem is not None:
                raise problem
        if seen.skew_ms is not None and abs(seen.skew_ms) > MAX_SKEW_MS:
            raise RunIncomplete(
                f"the store's clock is {abs(seen.skew_ms) // 1000} s {'ahead of' if seen.skew_ms > 0 else 'behind'} ours: no age can be "
                "trusted, so nothing is judged; set the store's clock"
            )


def _bucket_id(body: bytes) -> str | None:
    """Reads the mark; None where it is none of ours, which is as good as another's."""
    try:
        return str(json.loads(body)["bucket_id"])
    except (ValueError, KeyError, TypeError):
        return ""
