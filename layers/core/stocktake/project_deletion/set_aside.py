"""Setting the objects of one batch aside, for as long as their deletion can be undone, and moving them back.

Each object goes by itself, and no order of crashes loses one, because the copy comes first and the original goes last:

1. what lies under the batch's keys is written down once (`seen`); only that is moved, however often the batch is delivered;
2. the object is copied under a key of the quarantine, if it still is the one that was seen;
3. its record becomes QUARANTINED, with everything it says kept, so that counts and events know;
4. the original is deleted, if it still is what was copied.

On the way back the same in reverse: the copy is put under the key if nothing else lies there, the record says STORED again, the copy goes.

What is not moved stays where it is and is named: another object by now, more than the store copies, an upload under way. Records without
an object stay as they are: what they say is shown to nobody while the project is closed, and their bytes, if any, lie in the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stocktake.alignment import is_copy_of
from stocktake.discovery import Discovered
from stocktake.errors import ObjectChanged, ObjectExists, RecordChanged, StorageError
from stocktake.layouts import QUARANTINE_PREFIX, project_stem
from stocktake.ledger import Ledger
from stocktake.model import Record, State, StoredObject
from stocktake.project_deletion.receipts import Totals
from stocktake.storage import Store
from stocktake.storage.refusals import check_is_of_key

ASIDE_KEYS = 40
"""Keys of one batch: seven requests each, two to find one moved before, and a worker has half a minute before it hands the batch on."""
WHY_LENGTH = 300
_ATTEMPTS = 5
_REPLACED = "another object came under the key while this one was set aside: it stays in place, and this one's copy is kept"


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it lay under its key when its batch was first taken up.

    `was_stored` says that its record said so. `why` says why it is not to be moved, None where it is.
    """

    key: str
    etag: str
    size: int
    was_stored: bool
    why: str | None = None


@dataclass(frozen=True, slots=True)
class NotRestored:
    """An object that could not be moved back, and why; `copy` is what is kept of it, None where nothing is."""

    seen: Seen
    why: str
    copy: StoredObject | None


def has_object(found: Discovered) -> bool:
    """Says whether a key holds an object that can be set aside; what lies in the quarantine already is left there."""
    return found.source in ("both", "listing", "ledger") and not found.key.startswith(QUARANTINE_PREFIX)


def entry_id(deletion_id: str, key: str) -> str:
    """Names an object that a deletion set aside."""
    return f"{deletion_id}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class Moves:
    """The moves of one deletion's objects. `undone_since` is when its undoing was asked for.

    Raises (any method): StorageError, LedgerError: nothing is known, and saying it again goes on. What the store refuses of one key alone
    keeps that one in its place.
    """

    store: Store
    ledger: Ledger
    project_id: str
    deletion_id: str
    undone_since: int | None = None

    def aside(self, key: str) -> str:
        """Returns where an object of this deletion lies while it can be restored: under the project's name, as all that is set aside."""
        return f"{QUARANTINE_PREFIX}{project_stem(self.project_id)}/{entry_id(self.deletion_id, key)}"

    def look(self, items: Sequence[Discovered]) -> list[Seen]:
        """Asks bucket and ledger for each key. What holds no object is left out: only a delete marker lies there, or it has gone."""
        records = self.ledger.records([item.key for item in items])
        return [seen for item in items if (seen := self._look(item, records.get(item.key))) is not None]

    def set_aside(self, items: Sequence[Discovered], seen: Sequence[Seen], out_of_time: Callable[[], bool]) -> dict[str, Any] | None:
        """Moves a batch's objects aside and returns the result as its row holds it; None where there was no time for all of them."""
        by_key = {item.key: item for item in items}
        totals, records = Totals(), 0
        left: list[dict[str, Any]] = []
        for each in seen:
            if out_of_time():
                return None
            try:
                self._set_aside(each)
            except (ObjectChanged, StorageError) as error:
                check_is_of_key(self.store, error)
                left.append(line(each, str(error)))
                continue
            item = by_key[each.key]
            totals.add(item.layout, item.source, each.size)
            records += each.was_stored
        return {**totals.document(), "records": records, "failures": left}

    def bring_back(self, seen: Sequence[Seen], out_of_time: Callable[[], bool]) -> tuple[list[Seen], list[NotRestored]] | None:
        """Moves objects back under their keys, and returns those that lie there and those that do not; None where time was short.

        One whose turn to be moved had not come lies in its place as well.
        """
        in_place: list[Seen] = []
        failures: list[NotRestored] = []
        for each in (each for each in seen if each.why is None):
            if out_of_time():
                return None
            try:
                failure = self._bring_back(each)
            except (ObjectChanged, StorageError) as error:
                check_is_of_key(self.store, error)
                failure = NotRestored(each, str(error), self.store.head(self.aside(each.key)))
            if failure is None:
                in_place.append(each)
            else:
                failures.append(failure)
        return in_place, failures

    def _look(self, item: Discovered, record: Record | None) -> Seen | None:
        was_stored = record is not None and record.state is State.STORED
        try:
            stored = self.store.head(item.key)
        except StorageError as error:
            check_is_of_key(self.store, error)
            return Seen(item.key, "", item.size, was_stored, str(error))
        return None if stored is None else Seen(item.key, stored.etag, stored.size, was_stored, self._why_not(record))

    def _why_not(self, record: Record | None) -> str | None:
        if record is None:
            return None
        if project_stem(record.project_id) != project_stem(self.project_id):
            return "its record names another project: it stays in place"
        if record.state in (State.STORED, State.MISSING):
            return None
        return f"its record is {record.state.lower()}: the bytes under its key stay in place, and nobody is shown them"

    def _set_aside(self, seen: Seen) -> None:
        """Moves one object aside, with its record. Raises ObjectChanged or StorageError: it stays in place, and the message says why."""
        if seen.why is not None:
            raise ObjectChanged(seen.why)
        copied = self._copied(seen)
        if copied is None:
            return  # an attempt before this one moved it
        if copied.size != seen.size:
            raise StorageError(f"the copy has {copied.size} bytes and the object {seen.size}: it stays in place")
        if seen.was_stored:
            # updated_at stays: it says since when no URL can have been given out
            is_recorded = self._change(seen.key, lambda now: replace(now, state=State.QUARANTINED) if now.state is State.STORED else None)
            if not is_recorded and self.store.head(seen.key) is None:
                self._drop(self.aside(seen.key))
                raise ObjectChanged("it was deleted by itself while it was being set aside: nothing is kept of it")
        try:
            self.store.delete(seen.key, if_etag=seen.etag)
        except ObjectChanged as changed:
            raise ObjectChanged(_REPLACED) from changed

    def _copied(self, seen: Seen) -> StoredObject | None:
        """Copies one object aside, or finds its copy; None where the original is gone as well, by an attempt before."""
        aside, is_gone = self.aside(seen.key), False
        try:
            copied = self.store.copy(seen.key, aside, if_etag=seen.etag, only_if_absent=True)
            is_gone = copied is None
        except (ObjectExists, ObjectChanged):
            copied = None
        copied = copied or self.store.head(aside)
        if copied is None:
            raise ObjectChanged("it changed, or went, while it was being set aside: what lies under the key stays in place")
        return None if is_gone else copied

    def _bring_back(self, seen: Seen) -> NotRestored | None:
        aside = self.aside(seen.key)
        try:
            restored = self.store.copy(aside, seen.key, only_if_absent=True)
        except ObjectExists:
            restored, copy = self.store.head(seen.key), self.store.head(aside)
            if restored is None or copy is None:
                raise RecordChanged(f"{seen.key!r} came and went while it was being restored: try again") from None
            # the original itself, or the copy that an attempt before had put there
            if not self._is_back(seen, restored, copy):
                return NotRestored(seen, "another object lies under the key: neither was touched, and this one's copy is kept", copy)
        if restored is None:
            return self._without_copy(seen)
        if restored.size != seen.size:
            return NotRestored(seen, f"what was restored has {restored.size} bytes and the object had {seen.size}", self.store.head(aside))
        self._release(seen, restored)
        self._drop(aside)
        return None

    def _is_back(self, seen: Seen, found: StoredObject, copy: StoredObject) -> bool:
        """Says whether what lies under a key is the original, or what an attempt before put there.

        Where an ETag is no hash, every copy has another: there, what came since the undo was asked for with all the copy's headers is it.
        """
        if found.size != seen.size:
            return False
        same = is_copy_of(found, copy)
        if same is None:
            same = self.undone_since is not None and found.last_modified >= self.undone_since // 1000 * 1000  # stores tell whole seconds
        return same or found.etag == seen.etag

    def _without_copy(self, seen: Seen) -> NotRestored | None:
        """Settles an object of which no copy is kept: it never moved, or is back already; else it is lost, and its record says so."""
        found, record = self.store.head(seen.key), self.ledger.record(seen.key)
        is_held = seen.was_stored and record is not None and record.state is State.QUARANTINED
        if found is None or (is_held and (found.size, found.etag) != (seen.size, seen.etag)):
            if is_held:
                self._change(seen.key, lambda now: replace(now, state=State.MISSING) if now.state is State.QUARANTINED else None)
            return NotRestored(seen, "its copy is gone from the quarantine, and it does not lie under its key", None)
        self._release(seen, found)
        return None

    def _release(self, seen: Seen, restored: StoredObject) -> None:
        def stored(record: Record) -> Record | None:
            if not seen.was_stored or record.state is not State.QUARANTINED:
                return None
            # a copy of what came in parts has another ETag; a record that told of another object before tells of that one still
            return replace(record, state=State.STORED, etag=restored.etag if record.etag == seen.etag else record.etag)

        self._change(seen.key, stored)

    def _change(self, key: str, change: Callable[[Record], Record | None]) -> bool:
        """Changes a record, if the change makes something of it, and says whether there is one."""
        for _ in range(_ATTEMPTS):
            record = self.ledger.record(key)
            after = None if record is None else change(record)
            if after is None:
                return record is not None
            try:
                self.ledger.move(record, after, gated=False)
            except RecordChanged:
                continue
            return True
        raise RecordChanged(f"the record of {key!r} kept changing while it was being set aside or restored: try again")

    def _drop(self, aside: str) -> None:
        if not self.store.profile().versioning:
            self.store.delete(aside)
            return
        # a delete would leave it as a version, and the project is to be as it was
        refused = self.store.delete_versions([version for version in self.store.list_versions(aside) if version.key == aside]).errors
        if refused:
            raise StorageError(f"it is restored, and its copy refuses to go ({refused[0].code}): the copy is kept")


def line(seen: Seen, why: str) -> dict[str, Any]:
    """Returns how a key that was not moved is named."""
    return {"key": seen.key, "bytes": seen.size, "why": why[:WHY_LENGTH]}
