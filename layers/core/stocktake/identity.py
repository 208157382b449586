"""Which bucket this is: an object of ours in it, and the ledger's memory of it.

The object is written before the first project is opened, so before the first record. A bucket without it, or with another's, is not the one
the ledger describes: it was emptied, or endpoint, region or name point elsewhere. Nothing may be concluded from what such a bucket lacks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from stocktake.errors import ObjectExists, RunIncomplete
from stocktake.layouts import SYSTEM_PREFIX
from stocktake.ledger import Operations
from stocktake.storage import Store

IDENTITY_KEY = f"{SYSTEM_PREFIX}identity.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of the bucket behind `store`, as `operations` knows it."""

    store: Store
    operations: Operations
    now: Callable[[], int]
    new_id: Callable[[int], str]

    def ensure(self) -> None:
        """Marks the bucket as the ledger's, once; a mark that is there already is taken over."""
        if self.operations.get("settings", "identity") is not None:
            return
        at = self.now()
        body = json.dumps({"bucket_id": self.new_id(at), "created_at": at}).encode()
        content = self.store.get(IDENTITY_KEY)
        if content is None:
            sha256 = hashlib.sha256(body).hexdigest()
            try:
                self.store.put(IDENTITY_KEY, body, content_type="application/json", sha256=sha256, only_if_absent=True)
            except ObjectExists:  # another first was quicker
                content = self.store.get(IDENTITY_KEY)
        found = content.body if content else body
        self.operations.put_new("settings", "identity", None, {"bucket_id": json.loads(found)["bucket_id"]}, created_at=at, status="KNOWN")

    def check(self) -> None:
        """Makes sure that the bucket is the one this ledger describes. Raises RunIncomplete."""
        self.ensure()
        known, content = self.operations.get("settings", "identity"), self.store.get(IDENTITY_KEY)
        assert known is not None  # ensured above
        if content is None:
            raise RunIncomplete(
                f"bucket {self.store.bucket!r} has no {IDENTITY_KEY}: it is not the bucket this ledger describes, or it was emptied; "
                "check endpoint, region and name before anything else"
            )
        if json.loads(content.body)["bucket_id"] != known.document["bucket_id"]:
            raise RunIncomplete(
                f"bucket {self.store.bucket!r} is another bucket than the one this ledger describes: check endpoint, region and name"
            )
