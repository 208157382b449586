"""One name in several Unicode spellings: what lies under another one than a key's own.

R2 takes all spellings of a name for one object, answers to each, and lists the one that was last put. Any other store takes them for as
many objects. Which it is only a listing tells. The ledger has at most one record for a name, and finds it by any spelling.
"""

from __future__ import annotations

from dataclasses import dataclass

from stocktake.layouts import canonical, has_spellings, other_spellings, shared_beginning
from stocktake.ledger import Ledger
from stocktake.model import Record, State, StoredObject
from stocktake.storage import Store


@dataclass(frozen=True, slots=True)
class Spellings:
    """Looks on both sides for other spellings of single keys that differ."""

    store: Store
    ledger: Ledger

    def kind(self, key: str, stored: StoredObject | None, record: Record | None) -> str | None:
        """Says in which way the other side of a key lies under another spelling of it, or None where it does not.

        Args:
            stored, record: what each side has under exactly this key.
        """
        if record is None:
            recorded = self.ledger.spelled_otherwise(key)
            if recorded is not None:
                return "two_objects" if self._lists(recorded.key) else "recorded_otherwise"
            return "two_objects" if any(map(self._lists, other_spellings(key))) else None
        if record.state is not State.STORED or stored is not None:
            return None
        is_elsewhere = any(self.store.head(other) is not None and self.ledger.record(other) is None for other in other_spellings(key))
        return "stored_otherwise" if is_elsewhere else None

    def is_listed(self, key: str) -> bool:
        """Says whether the store lists the name of this key in another spelling, as far as one page beyond the usual ones shows."""
        if not has_spellings(key):
            return False
        if any(map(self._lists, other_spellings(key))):
            return True
        page = next(iter(self.store.list(shared_beginning(key))), ())
        return any(row.key != key and canonical(row.key) == canonical(key) for row in page)

    def _lists(self, key: str) -> bool:
        """Says whether the store lists an object under exactly this spelling; HEAD would not tell, where all are one object."""
        return any(row.key == key for row in next(iter(self.store.list(key)), ()))
