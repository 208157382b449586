"""What a reconciliation says of one key: the class and the kind; `explanations` says what they mean.

The rules are pure: they get what both sides said and the time, and touch nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stocktake.alignment import same_bytes
from stocktake.confirmation import ENDED, UNCHECKED, is_of
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
        """Returns the finding as it is stored; `explained` adds its sentences, which are the same for a million of a kind."""
        return {
            "key": self.key,
            "class": self.finding_class.value,
            "kind": self.kind,
            "layout": self.layout,
            "project": self.project,
            "bytes": self.size,
            "object": None if self.stored is None else _seen_object(self.stored),
            "record": None if self.record is None else seen_record(self.record),
            **({"settles_at": _settles_at(self.record)} if self.record is not None and self.kind == "pending" else {}),
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
    if record.state in (State.INLINE, State.EXTERNAL) or (record.state is State.MISSING and stored is None):
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


def _settles_at(record: Record) -> int | None:
    """Returns when the time of an upload is over, so that whoever settles it withdraws it; None where its own sweep alone does that."""
    return None if record.source in UNCHECKED or record.source == ENDED else record.expires_at


def _seen_object(stored: StoredObject) -> dict[str, Any]:
    return {"bytes": stored.size, "etag": stored.etag, "last_modified": stored.last_modified}


def seen_record(record: Record) -> dict[str, Any]:
    """Returns what a finding keeps of a record."""
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
    of_object = None if stored is None else _seen_object(stored)
    of_record = None if record is None else seen_record(record)
    return bool(document["object"] == of_object and document["record"] == of_record)


def sightings(document: Mapping[str, Any], earlier: Mapping[str, Any] | None, at: int) -> dict[str, Any]:
    """Says since when and in how many runs in a row exactly this was seen; what moved between two runs was seen once.

    Args:
        earlier: what the complete run before found under the same key and class, or None.
    """
    same = earlier is not None and all(document[side] == earlier[side] for side in ("kind", "object", "record"))
    if earlier is None or not same or "first_seen_at" not in earlier:
        return {"first_seen_at": at, "sightings": 1}
    return {"first_seen_at": earlier["first_seen_at"], "sightings": earlier["sightings"] + 1}
