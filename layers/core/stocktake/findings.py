"""What a reconciliation says of one key: the class, the kind, and a sentence that says what it means and what to do.

The rules are pure: they get what both sides said and the time, and touch nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stocktake.alignment import same_bytes
from stocktake.confirmation import UNCHECKED, is_of
from stocktake.layouts import ParsedKey
from stocktake.model import FindingClass, Record, State, StoredObject


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between bucket and ledger, with what was seen of both. `kind` says which of the class's cases it is."""

    key: str
    finding_class: FindingClass
    kind: str
    stored: StoredObject | None
    record: Record | None
    layout: str | None
    project: str | None

    @property
    def size(self) -> int:
        """Bytes concerned: the object's, or those the record speaks of."""
        if self.stored is not None:
            return self.stored.size
        return self.record.size if self.record is not None else 0

    def document(self) -> dict[str, Any]:
        """Returns the finding as it is stored and answered."""
        meaning, action = _SENTENCES[self.finding_class, self.kind]
        return {
            "key": self.key,
            "class": self.finding_class.value,
            "kind": self.kind,
            "layout": self.layout,
            "project": self.project,
            "bytes": self.size,
            "object": None if self.stored is None else _seen_object(self.stored),
            "record": None if self.record is None else _seen_record(self.record),
            "meaning": meaning,
            "recommended": action,
        }


def classify(
    stored: StoredObject | None, record: Record | None, parsed: ParsedKey | None, owner_state: str
) -> tuple[FindingClass, str] | None:
    """Says what is wrong with one key, or None if bucket and ledger tell the same story.

    Args:
        owner_state: of the project the key belongs to: `active`, `deleting`, `deleted` or `none`.
    """
    if record is None:
        if stored is None:
            return None
        return (FindingClass.UNKNOWN, "no_layout") if parsed is None else (FindingClass.ORPHAN, owner_state)
    if record.state is State.PENDING:
        if stored is None:
            return FindingClass.UNSTORED, "pending"
        arrived = same_bytes(record, stored) or (record.source in UNCHECKED and is_of(record, stored))
        return (FindingClass.UNSTORED, "uncommitted") if arrived else (FindingClass.MISMATCH, "not_as_announced")
    if record.state in (State.INLINE, State.EXTERNAL):
        return FindingClass.UNSTORED, record.state.lower()
    if stored is None:
        return (FindingClass.MISSING, "gone") if record.state is State.STORED else None
    if record.state is State.MISSING:
        return FindingClass.MISMATCH, "returned"
    if record.state is State.QUARANTINED:
        return FindingClass.MISMATCH, "reappeared"
    if record.size != stored.size:
        return FindingClass.MISMATCH, "size"
    return (FindingClass.MISMATCH, "etag") if record.etag != stored.etag else None


def _seen_object(stored: StoredObject) -> dict[str, Any]:
    return {"bytes": stored.size, "etag": stored.etag, "last_modified": stored.last_modified}


def _seen_record(record: Record) -> dict[str, Any]:
    return {
        "object_id": record.object_id,
        "state": record.state.value,
        "bytes": record.size,
        "etag": record.etag,
        "version": record.version,
        "updated_at": record.updated_at,
    }


def unchanged(document: Mapping[str, Any], stored: StoredObject | None, record: Record | None) -> bool:
    """Says whether both sides still are what a finding saw."""
    seen_object = None if stored is None else _seen_object(stored)
    seen_record = None if record is None else _seen_record(record)
    return bool(document["object"] == seen_object and document["record"] == seen_record)


def sightings(document: Mapping[str, Any], earlier: Mapping[str, Any] | None, at: int) -> dict[str, Any]:
    """Says since when and in how many runs in a row exactly this was seen; what moved between two runs was seen once.

    Args:
        earlier: what the complete run before found under the same key and class, or None.
    """
    same = earlier is not None and all(document[side] == earlier[side] for side in ("kind", "object", "record"))
    if earlier is None or not same or "first_seen_at" not in earlier:
        return {"first_seen_at": at, "sightings": 1}
    return {"first_seen_at": earlier["first_seen_at"], "sightings": earlier["sightings"] + 1}


_SENTENCES: dict[tuple[FindingClass, str], tuple[str, str]] = {
    (FindingClass.ORPHAN, "active"): (
        "The bucket holds an object of a live project that the ledger does not know: an upload that went around the API, or an event that "
        "was lost.",
        "Adopt it if it is wanted, else quarantine it.",
    ),
    (FindingClass.ORPHAN, "deleting"): (
        "The bucket holds an object of a project that is being deleted: the deletion's own sweep will remove it.",
        "Wait for the deletion's receipt.",
    ),
    (FindingClass.ORPHAN, "deleted"): (
        "The bucket holds an object of a project that was deleted: something wrote it after the receipt.",
        "Quarantine it, and find the writer.",
    ),
    (FindingClass.ORPHAN, "none"): (
        "The bucket holds an object of a known layout whose project the ledger does not know, or cannot tell from others.",
        "Create the project to adopt it, or quarantine it.",
    ),
    (FindingClass.MISSING, "gone"): (
        "The record says the object is stored, and the bucket has nothing under its key: it was deleted by hand, or went to another bucket "
        "or region.",
        "Mark it missing so that no count includes it; upload it again if the bytes still exist.",
    ),
    (FindingClass.MISMATCH, "size"): (
        "Object and record differ in size: the object was overwritten without going through the API.",
        "Refresh the record from the bucket.",
    ),
    (FindingClass.MISMATCH, "etag"): (
        "Object and record have the same size and another ETag: the object was overwritten without going through the API.",
        "Refresh the record from the bucket.",
    ),
    (FindingClass.MISMATCH, "returned"): (
        "The record says missing, and the object is there again.",
        "Refresh the record from the bucket.",
    ),
    (FindingClass.MISMATCH, "reappeared"): (
        "The record is quarantined, and another object lies under its key.",
        "Look at both before restoring: the restore will refuse to overwrite it.",
    ),
    (FindingClass.MISMATCH, "not_as_announced"): (
        "An upload was announced and never confirmed, and the object under its key is not the one announced.",
        "Look at the object; nothing acts on it by itself.",
    ),
    (FindingClass.UNSTORED, "pending"): (
        "An upload was announced and its bytes never arrived: the uploader stopped half-way.",
        "Settle it: the intent is withdrawn once it has ended.",
    ),
    (FindingClass.UNSTORED, "uncommitted"): (
        "The bytes of an announced upload arrived, and the commit did not: the uploader stopped in between.",
        "Settle it: the upload is committed, if its bytes are of a type that is taken.",
    ),
    (FindingClass.UNSTORED, "inline"): (
        "The bytes lie in the ledger and not in the bucket.",
        "Migrate it into the bucket.",
    ),
    (FindingClass.UNSTORED, "external"): (
        "The bytes lie at a foreign URL and not in the bucket.",
        "Migrate it into the bucket before the URL expires.",
    ),
    (FindingClass.UNKNOWN, "no_layout"): (
        "No layout explains the key, so nobody can say whose it is.",
        "Add a layout for it if it is yours; it is never deleted.",
    ),
}
