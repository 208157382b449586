"""What the store was seen to do, kept for every process of the deployment, and what each of it chooses.

The first process that needs it tries the store and writes down what it saw. What was written of another store, or by trials that meant
something else, is not used. It is tried again when it is a week old and a reconciliation begins, and by request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stocktake.errors import ConfigurationError
from stocktake.ledger import Operations
from stocktake.storage import Learned, Profile, Store

PART = "store-profile"
"""Of the settings, where the profile is kept."""

OLD_MS = 7 * 24 * 3600 * 1000
"""A store may be upgraded, and a profile is worth fifty requests a week."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one line of a profile says, and which way the code goes by it."""

    says: str
    if_true: str
    if_false: str


@dataclass(frozen=True, slots=True)
class Conformance:
    """The profile of one store, as `operations` keeps it.

    Args:
        store: what the profile is of: endpoint and bucket.
        version: of the trials.
    """

    operations: Operations
    store: str
    version: int
    now: Callable[[], int]

    def known(self) -> Profile | None:
        """Reads what is known of the store; None where it has to be tried first."""
        document = self._document()
        return None if document is None else Profile.from_dict(document["profile"])

    def learn(self, profile: Profile, learned: Learned) -> None:
        """Writes down what was learned of the store, for every process."""
        at = self.now()
        document = self._document()
        if learned is Learned.PROBED or document is None:
            document = {"store": self.store, "version": self.version, "probed_at": at, "noted": []}
        if learned is not Learned.PROBED:
            document["noted"] = [*document["noted"], {"what": learned.value, "noted_at": at}]
        self.operations.put("settings", PART, None, {**document, "profile": profile.as_dict()}, created_at=at, status="KNOWN")

    def renew(self, store: Store) -> None:
        """Tries the store anew when that is long ago. What a listing has shown since stays known: one trial does not outweigh it."""
        document = self._document()
        if document is None or self.now() - document["probed_at"] <= OLD_MS:
            return
        store.probe()
        if any(note["what"] == Learned.OUT_OF_ORDER for note in document["noted"]):
            store.distrust_order()

    def answer(self, profile: Profile) -> dict[str, Any]:
        """Says what the store can do, since when that is known, what each of it means and which way the code goes by it."""
        document = self._document() or {"probed_at": None, "noted": []}
        return {
            "store": self.store,
            "probed_at": document["probed_at"],
            "probe_version": self.version,
            "noted": document["noted"],
            "lines": [
                {
                    "name": name,
                    "holds": holds,
                    "says": MEANINGS[name].says,
                    "chooses": MEANINGS[name].if_true if holds else MEANINGS[name].if_false,
                }
                for name, holds in profile.as_dict().items()
            ],
        }

    def _document(self) -> dict[str, Any] | None:
        row = self.operations.get("settings", PART)
        if row is None or (row.document.get("store"), row.document.get("version")) != (self.store, self.version):
            return None
        try:
            Profile.from_dict(row.document["profile"])
        except (ConfigurationError, KeyError, TypeError):
            return None  # written by another version of the code
        return dict(row.document)


MEANINGS: Mapping[str, Meaning] = {
    "conditional_put": Meaning(
        "A put with If-None-Match: * is refused where the key is taken.",
        "Every upload is put on that condition, so that two writers cannot replace one another.",
        "The key is asked for before it is put. Two writers at one moment may both succeed; keys are never used twice by this API.",
    ),
    "conditional_copy": Meaning(
        "A copy on a condition never replaces an object.",
        "What is set aside or put back is copied on the condition that nothing lies there.",
        "The target is asked for before the copy, and confirmed after it. A writer at that moment is replaced.",
    ),
    "conditional_delete": Meaning(
        "A removal with If-Match is refused where the object is another.",
        "Originals of what was set aside are removed on the condition that they still are what was seen.",
        "The object is asked for right before it is removed. A put between the two is removed unseen.",
    ),
    "versioning": Meaning(
        "The bucket keeps versions, or kept them once. Asked again by every process, at most every five minutes.",
        "Deletions list and remove every version and delete marker, and their receipts count them.",
        "Deletions remove objects, and nothing is left of them.",
    ),
    "md5_needed": Meaning(
        "Removals in bulk are refused without Content-MD5.",
        "Every removal in bulk carries its Content-MD5.",
        "Every removal in bulk carries its Content-MD5 all the same: it does no harm.",
    ),
    "ordered_listing": Meaning(
        "Listings are complete, in the order of UTF-8 bytes, whole, in small pages and from any key on.",
        "Listings are merged with the ledger as they come, in as many ranges as there are keys for, and their order is checked on the way.",
        "Everything is listed from the start and sorted on disk, as one range. The findings are the same.",
    ),
    "keeps_sha256": Meaning(
        "HEAD gives the SHA-256 that came with a put.",
        "An upload is confirmed by the store's own checksum.",
        "An upload is confirmed by its MD5, or read back; presigned uploads are limited to what can be read back.",
    ),
    "keeps_parts_sha256": Meaning(
        "Parts are taken with their SHA-256, and HEAD gives that of them all.",
        "Each part's URL is signed over its SHA-256, and the store checks it.",
        "Parts are read back before they count.",
    ),
    "names_deleted": Meaning(
        "A removal in bulk says of every key what became of it, and truly.",
        "Removals go a thousand keys to a request, and refusals are kept by key.",
        "Each key is removed with a request of its own.",
    ),
    "lists_uploads": Meaning(
        "ListMultipartUploads shows an upload that is open.",
        "Deletions look for open uploads and abort them.",
        "No upload in parts is begun, because one that is given up could never be found. What others began is not seen.",
    ),
}
