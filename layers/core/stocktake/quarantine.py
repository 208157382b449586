"""Quarantine: an object set aside under a key of ours, restorable to the byte.

The order of steps makes every crash harmless, because the entry comes first and the original goes last:

1. the entry is written (MOVING);
2. where the object's project is open, a QUARANTINED record holds the key, so that no event adopts it meanwhile;
3. the object is copied, only if it still is the one that was seen;
4. the original is deleted, only if it still is the one that was seen;
5. the entry says HELD.

Started again after a crash, the steps find what they had done. An object that changed on the way stays where it is; the copy goes only
while the object it was made of is still there. What is set aside still is its project's: deleting the project removes it too.

```
MOVING ─▶ HELD ─▶ RESTORING ─▶ RESTORED
   │        └───▶ PURGING ───▶ PURGED
   ├─▶ CANCELLED
   └─▶ RESTORING, or PURGING ─▶ CANCELLED: it broke off while the original lay in its place
```

Both ways out begin by compare-and-set, so that what is being restored is never purged. So does every attempt to move that is not the
first. A move that nobody goes on with is ended by whoever restores it, which makes the record say that the object is stored, or by the
next purge, which lets go of its key: but only once no step can be at work on it any more, for it would delete the original.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stocktake.alignment import Aligner, is_copy_of, record_of_object
from stocktake.errors import (
    BucketNotFound,
    Conflict,
    ObjectChanged,
    ObjectExists,
    OperationNotFound,
    ProjectClosed,
    ProjectNotFound,
    RecordChanged,
    StocktakeError,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    TooLarge,
    WrongRegion,
)
from stocktake.layouts import project_stem, quarantine_folder
from stocktake.ledger import Operation, Operations
from stocktake.model import Project, ProjectState, State, StoredObject

KIND = "quarantine"
DAY_MS = 86_400_000
MAX_BYTES = 5 * 2**30
"""What one CopyObject takes."""
MOVE_MS = 1_200_000
"""After which no attempt to move is at work: a step has 300 s, and two clocks differ by 300 s at most."""
_KEEP_MS = 90 * DAY_MS
"""For which an entry is shown whose object is back, or gone."""
_PAGES = 5
"""Of entries, read for one page of them at most."""


class Quarantine:
    """The quarantine of one bucket."""

    def __init__(
        self,
        aligner: Aligner,
        operations: Operations,
        *,
        days: int,
        now: Callable[[], int],
    ) -> None:
        self._aligner = aligner
        self._store = aligner.store
        self._ledger = aligner.ledger
        self._operations = operations
        self._layouts = aligner.layouts
        self._days = days
        self._now = now

    def set_aside(self, key: str, etag: str, stored: StoredObject | None, *, run_id: str, why: str) -> Operation:
        """Moves the object that a run saw under `key` with `etag` into quarantine and returns its entry.

        Asked again for the same object, it goes on where it stopped.

        Args:
            stored: what the bucket says of the key now.

        Raises:
            ObjectChanged: the object is no longer the one that was seen; it stays where it is.
            RecordChanged: the key has a record by now; the object stays where it is.
            TooLarge: it is larger than one request can copy; it stays where it is.
        """
        entry = self.begun(run_id, key, etag)
        if entry is None:
            if stored is None or stored.etag != etag:
                raise ObjectChanged(f"{key!r} is no longer the object that was seen")
            if stored.size > MAX_BYTES:
                raise TooLarge(f"{key!r} has {stored.size} bytes, and one request copies at most {MAX_BYTES}: it cannot be set aside")
            entry = self._enter(stored, run_id, why)
        elif entry.status == "MOVING":
            # whoever ends a move that broke off is told that this one is alive, or has ended it and this one is told
            entry = self._operations.update(entry, document={**entry.document, "moving_since": self._now()})
        if entry.status == "HELD":
            return entry
        if entry.status != "MOVING":
            raise ObjectChanged(f"setting {key!r} aside was given up before: the object had changed, or the move had broken off")
        try:
            if stored is None:  # an earlier attempt stopped after deleting the original
                copy = self._store.head(entry.document["quarantine_key"])
                if copy is None:
                    raise ObjectChanged(f"{key!r} is gone from the bucket")
            else:
                self._hold_key(entry, stored)
                copy = self._copy(stored, entry.document["quarantine_key"])
                self._store.delete(key, if_etag=etag)
        except (StorageUnavailable, StorageDenied, BucketNotFound, WrongRegion):
            raise  # nothing is known: the next attempt goes on
        except (ObjectChanged, RecordChanged, StorageError):
            self._release(entry)
            raise
        return self._hold(entry, copy)

    def begun(self, run_id: str, key: str, etag: str) -> Operation | None:
        """Returns the entry under which a run began to set this object aside, or None."""
        return self._operations.get(_entry_id(run_id, key, etag))

    def give_up(self, entry: Operation) -> None:
        """Ends a move that is not to go on; a copy that may be the only one left is held."""
        self._release(entry)

    def entry(self, entry_id: str) -> Operation:
        """Reads an entry. Raises OperationNotFound."""
        entry = self._operations.get(entry_id)
        if entry is None or entry.kind != KIND:
            raise OperationNotFound(f"there is no quarantine entry {entry_id!r}: GET /quarantine lists them")
        return entry

    def recent(
        self,
        limit: int,
        cursor: str | None = None,
        *,
        project: str | None = None,
        status: str | None = None,
        run_id: str | None = None,
    ) -> tuple[list[Operation], str | None]:
        """Reads one page of the entries, newest first, and the cursor of the next or None.

        With filters a page may be short, or empty, while there are more: it looks at so many entries and no more.
        """
        stem = None if project is None else project_stem(project)
        found: list[Operation] = []
        for _ in range(_PAGES):
            page, cursor = self._operations.recent_page(KIND, limit - len(found), cursor)
            for entry in page:
                owner = entry.document["project_id"]
                fits = stem is None or (owner is not None and project_stem(owner) == stem)
                if fits and status in (None, entry.status) and run_id in (None, entry.document["run_id"]):
                    found.append(entry)
            if cursor is None or len(found) >= limit:
                break
        return found, cursor

    def restore(self, entry_id: str) -> Operation:
        """Puts the bytes back under their key and makes the record say so; restoring twice restores once.

        An object whose project was open comes back as a STORED record: the operator has said that it is wanted. One that was nobody's, or a
        deleted project's, had no record and comes back without one. One whose move broke off never left its place, and is let go there.

        Raises:
            OperationNotFound: there is no such entry.
            Conflict: it is still being moved, its move was given up, its copy is gone, or its project was deleted since.
            ObjectExists: another object lies under the key by now; neither is touched.
        """
        entry = self.entry(entry_id)
        if entry.status == "MOVING":
            entry = self._moved(entry)
        if entry.status == "RESTORED":
            return entry
        if entry.status not in ("HELD", "RESTORING"):
            raise Conflict(f"quarantine entry {entry_id} is {entry.status.lower()}: only what is held can be restored")
        is_again = entry.status == "RESTORING"
        if entry.status == "HELD":
            was_free = self._store.head(entry.document["key"]) is None
            entry = self._operations.update(entry, document={**entry.document, "was_free": was_free}, status="RESTORING")
        try:
            self._put_back(entry, is_again=is_again)
        except (Conflict, ProjectNotFound):
            self._operations.update(entry, status="HELD")  # it stays where it is, and can be restored another time
            raise
        return self._end(entry, "RESTORED", "restored_at")

    def purge(self, *, out_of_time: Callable[[], bool]) -> dict[str, int]:
        """Removes for good what was kept for its days, until all is done or time is short; one that was killed on its way is ended.

        A copy goes only while it is the one that was made; else it stays, and its entry says so. The record of the key goes with it.
        A move that broke off is ended as well: what it moved is held, and what lies in its place still is let go there.

        Returns:
            How many entries were `purged`, and how many `kept` because something else lies in the copy's place.

        Raises:
            StorageError, LedgerError: the first that could not be ended; the others were not kept waiting for it. The next time goes on.
        """
        tally = {"purged": 0, "kept": 0}
        trouble: StocktakeError | None = None
        for entry in self._operations.of_kind(KIND):
            if out_of_time():
                break
            if not self._is_over(entry):
                continue
            try:
                current = self.entry(entry.operation_id)  # the list lags behind, and what is restored by now must stay
                if not self._is_over(current):
                    continue
                if current.status == "MOVING" or "given_up_at" in current.document:
                    self._end_move(current)
                else:
                    tally["purged" if self._purge(current) else "kept"] += 1
            except RecordChanged:
                continue  # somebody restores it at this moment, or goes on moving it
            except StocktakeError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble
        return tally

    def purge_early(self, entry_id: str) -> Operation:
        """Removes for good what is held, before its days are over, and what holds its key; purging twice purges once.

        What came under its key meanwhile stays, and is recorded.

        Raises:
            OperationNotFound: there is no such entry.
            Conflict: it is not held, or something else lies in the copy's place, which stays.
            RecordChanged: somebody restores it at this moment.
        """
        entry = self.entry(entry_id)
        if entry.status == "PURGED":
            return entry
        if entry.status not in ("HELD", "PURGING") or "given_up_at" in entry.document:
            raise Conflict(f"quarantine entry {entry_id} is {entry.status.lower()}: only what is held can be removed")
        if not self._purge(entry):
            raise Conflict(f"what lies under {entry.document['quarantine_key']!r} is not what was set aside: look at it; it stays")
        return self.entry(entry_id)

    def note(self, entry_id: str, why: str) -> None:
        """Writes down why an entry could not be restored."""
        entry = self.entry(entry_id)
        self._operations.update(entry, document={**entry.document, "not_restored": why[:2000]})

    def discard(self, entry: Operation) -> None:
        """Removes what was planted to be set aside, wherever it is on its way; for what is anybody's, there is `purge`."""
        self._store.delete(entry.document["quarantine_key"])
        self._let_go_of_key(entry)
        self._operations.update(entry, status="CANCELLED", expires_at=self._now() + _KEEP_MS)

    def _is_over(self, entry: Operation) -> bool:
        if entry.status == "MOVING":
            return self._has_broken_off(entry)
        return entry.status == "PURGING" or (entry.status == "HELD" and bool(entry.document["expires_at"] <= self._now()))

    def _has_broken_off(self, entry: Operation) -> bool:
        document: Any = entry.document
        return bool(document.get("moving_since", document["set_aside_at"]) <= self._now() - MOVE_MS)

    def _end_move(self, entry: Operation) -> None:
        """Says HELD of what a broken-off move had moved; takes copy and hold of any other away, and leaves the object in its place."""
        if entry.status == "MOVING":
            found, copy = self._store.head(entry.document["key"]), self._store.head(entry.document["quarantine_key"])
            if copy is not None and not _is_original(entry, found):
                if found is not None:
                    self._let_go_of_key(entry, was_removed=True)  # for the object that came under it since
                self._hold(entry, copy)
                return
            # from here on no attempt goes on with it, which would delete the original while the copy goes
            entry = self._operations.update(entry, document={**entry.document, "given_up_at": self._now()}, status="PURGING")
        self.discard(entry)

    def _purge(self, entry: Operation) -> bool:
        aside = entry.document["quarantine_key"]
        copy = self._store.head(aside)
        if copy is not None and not _is_copy(entry, copy):
            document = {**entry.document, "kept": f"{aside!r} does not hold what was set aside: look at it"}
            if entry.document.get("kept") is None:
                self._operations.update(entry, document=document, status="HELD")
            return False
        if entry.status == "HELD":
            entry = self._operations.update(entry, status="PURGING")
        if copy is not None:
            self._store.delete(aside, if_etag=copy.etag)
        self._let_go_of_key(entry, was_removed=True)
        self._end(entry, "PURGED", "purged_at")
        return True

    def _end(self, entry: Operation, status: str, when: str) -> Operation:
        at = self._now()
        return self._operations.update(entry, document={**entry.document, when: at}, status=status, expires_at=at + _KEEP_MS)

    def _put_back(self, entry: Operation, *, is_again: bool) -> None:
        self._check_project(entry)
        key, aside = entry.document["key"], entry.document["quarantine_key"]
        try:
            restored = self._store.copy(aside, key, only_if_absent=True)
        except ObjectExists:
            restored = self._store.head(key)
            if restored is None or not self._is_back(entry, restored, self._store.head(aside), is_again=is_again):
                raise
        if restored is None:
            restored = self._store.head(key)  # an attempt before may have stopped between removing the copy and saying so
            if restored is None or not self._is_back(entry, restored, None, is_again=is_again):
                raise Conflict(f"the copy of quarantine entry {entry.operation_id} is gone from the bucket: nothing can be restored")
        self._record_restored(entry, restored)
        self._store.delete(aside)

    def _is_back(self, entry: Operation, found: StoredObject, copy: StoredObject | None, *, is_again: bool) -> bool:
        """Says whether what lies under the key is what was set aside: it never left, or an attempt before put it there.

        Where an ETag is no hash, every copy has another. There, what is of its size is taken for it if the record says so that an attempt
        before wrote; or if one began, found the key free, and what came since under the held key has all the copy's headers.
        """
        if found.size != entry.document["size"]:
            return False
        same = None if copy is None else is_copy_of(found, copy)
        if same or found.etag in (entry.document["etag"], entry.document.get("copy_etag")):
            return True
        record = self._ledger.record(entry.document["key"])
        if record is None or record.object_id not in (_object_id(entry), entry.document.get("record_id")):
            return False
        if record.state is State.STORED:
            return record.etag == found.etag
        return copy is not None and same is None and is_again and bool(entry.document.get("was_free"))

    def _moved(self, entry: Operation) -> Operation:
        """Says of a move that was killed, or stopped, where its object is: HELD; or RESTORING, where it never left its place.

        Raises:
            Conflict: it lies in its place, and a step may be about to delete it there; or it is gone.
        """
        found, copy = self._store.head(entry.document["key"]), self._store.head(entry.document["quarantine_key"])
        if not _is_original(entry, found):
            if copy is None:
                raise Conflict(
                    f"the object of quarantine entry {entry.operation_id} is gone, and there is no copy: nothing can be restored"
                )
            return self._hold(entry, copy)
        if not self._has_broken_off(entry):
            raise Conflict(
                f"quarantine entry {entry.operation_id} is being moved, and its object still lies under its key: nothing is to be "
                f"restored. If the move broke off, restore it after {MOVE_MS // 60_000} minutes, which lets go of the key"
            )
        self._check_project(entry)
        return self._operations.update(entry, status="RESTORING")

    def _hold(self, entry: Operation, copy: StoredObject) -> Operation:
        # a copy of what was uploaded in parts has another ETag than its source
        return self._operations.update(entry, document={**entry.document, "copy_etag": copy.etag}, status="HELD")

    def _enter(self, seen: StoredObject, run_id: str, why: str) -> Operation:
        entry_id = _entry_id(run_id, seen.key, seen.etag)
        at, project = self._now(), self._project_of(seen.key)
        owners = (project_stem(project.project_id),) if project else self._candidates(seen.key)
        document = {
            "key": seen.key,
            # under the name of whose it is, or may be, so that deleting the project finds it as it finds every other layout
            "quarantine_key": f"{quarantine_folder(owners)}{entry_id}",
            "project_id": project.project_id if project else None,
            "epoch": project.epoch if project else None,
            "size": seen.size,
            "etag": seen.etag,
            "content_type": seen.content_type,
            "why": why,
            "run_id": run_id,
            "set_aside_at": at,
            "expires_at": at + self._days * DAY_MS,
        }
        self._operations.put_new(entry_id, "", KIND, document, created_at=at, status="MOVING")
        return self.entry(entry_id)

    def _hold_key(self, entry: Operation, seen: StoredObject) -> None:
        record = self._ledger.record(seen.key)
        if record is not None:
            if record.state is State.QUARANTINED and record.object_id == _object_id(entry):
                return  # held by the attempt that stopped
            raise RecordChanged(f"{seen.key!r} has a record by now and is no orphan any more")
        if self._ledger.spelled_otherwise(seen.key) is not None:
            raise RecordChanged(f"{seen.key!r} is recorded under another spelling of the same key")
        project, parsed = self._project_of(seen.key), self._layouts.parse(seen.key)
        if entry.document["epoch"] != (project.epoch if project else None):
            raise RecordChanged(f"the project of {seen.key!r} was opened or deleted since this move began")
        if project is None or parsed is None or project.state is ProjectState.DELETED:
            return
        if project.state is not ProjectState.ACTIVE:
            raise RecordChanged(f"the project of {seen.key!r} is being deleted: its deletion removes the object")
        at = self._now()
        held = record_of_object(seen, parsed, project, state=State.QUARANTINED, object_id=_object_id(entry), at=at, source="reconciliation")
        try:
            self._ledger.move(None, held, gated=True)
        except ProjectClosed as closed:
            raise RecordChanged(f"the project of {seen.key!r} is being deleted: its deletion removes the object") from closed

    def _copy(self, seen: StoredObject, aside: str) -> StoredObject:
        try:
            copied = self._store.copy(seen.key, aside, if_etag=seen.etag, only_if_absent=True)
        except ObjectExists:
            copied = self._store.head(aside)
        if copied is None:
            raise ObjectChanged(f"{seen.key!r} is gone from the bucket")
        if copied.size != seen.size:
            raise ObjectChanged(f"the copy of {seen.key!r} has {copied.size} bytes and the object {seen.size}")
        return copied

    def _release(self, entry: Operation) -> None:
        """Gives up a move. A copy goes only while the very object it was made of still lies under its key; else it is held."""
        key, aside = entry.document["key"], entry.document["quarantine_key"]
        self._let_go_of_key(entry)
        found, copy = self._store.head(key), self._store.head(aside)
        if copy is not None and (found is None or found.etag != entry.document["etag"]):
            # it may be the only one left: an attempt before may have deleted the original
            self._hold(entry, copy)
            return
        self._store.delete(aside)
        self._operations.update(entry, status="CANCELLED", expires_at=self._now() + _KEEP_MS)

    def _let_go_of_key(self, entry: Operation, *, was_removed: bool = False) -> None:
        record = self._ledger.record(entry.document["key"])
        if record is None or record.state is not State.QUARANTINED:
            return
        if record.object_id == _object_id(entry):
            self._aligner.let_go(record, was_removed=was_removed)
        elif record.object_id == entry.document.get("record_id"):
            # the object's own, of before its project's deletion: it goes on, and events and repairs take it up again
            self._ledger.move(record, replace(record, state=State.MISSING, updated_at=self._now()), gated=False)

    def _project_of(self, key: str) -> Project | None:
        parsed = self._layouts.parse(key)
        stem = self._layouts.owner(parsed, self._ledger.has_project) if parsed else None
        try:
            return self._ledger.project(stem) if stem else None
        except ProjectNotFound:
            return None

    def _check_project(self, entry: Operation) -> None:
        """Makes sure that no deletion began since: of what was set aside before it nothing may come back, of what came after it all.

        A project's epoch grows by one with every deletion and every opening. So a deleted one of the entry's own epoch was deleted already
        when the object was set aside, and an open one of the next epoch is that project, opened anew.
        """
        project_id, epoch = entry.document["project_id"], entry.document["epoch"]
        if project_id is None:
            self._check_candidates(entry)
            return
        project = self._ledger.project(project_id)
        undeleted = (ProjectState.ACTIVE, epoch), (ProjectState.DELETED, epoch), (ProjectState.ACTIVE, epoch + 1)
        if (project.state, project.epoch) not in undeleted:
            raise Conflict(f"project {project.project_id!r} was deleted since this object was set aside: nothing of it can be restored")

    def _check_candidates(self, entry: Operation) -> None:
        """Makes sure that no project that what was nobody's may belong to was deleted since."""
        for stem in self._candidates(entry.document["key"]):
            try:
                project = self._ledger.project(stem)
            except ProjectNotFound:
                continue
            if project.state is ProjectState.DELETING or (project.deleted_at or 0) >= entry.document["set_aside_at"]:
                raise Conflict(
                    f"project {project.project_id!r}, whose this object may have been, was deleted since it was set aside: it stays there"
                )

    def _candidates(self, key: str) -> tuple[str, ...]:
        parsed = self._layouts.parse(key)
        return parsed.candidates if parsed else ()

    def _record_restored(self, entry: Operation, restored: StoredObject) -> None:
        record = self._ledger.record(entry.document["key"])
        # that of another epoch is another object's, set aside since
        if record is not None and record.state is State.QUARANTINED and record.epoch == entry.document["epoch"]:
            after = replace(record, state=State.STORED, size=restored.size, etag=restored.etag, updated_at=self._now())
            self._ledger.move(record, after, gated=True)


def enter_copy(
    operations: Operations,
    entry_id: str,
    copy: StoredObject,
    *,
    key: str,
    project_id: str,
    epoch: int,
    record_id: str | None = None,
    run_id: str,
    why: str,
    at: int,
    expires_at: int,
) -> None:
    """Makes an entry of a copy that lies in the quarantine already, as that of an undone deletion which met another object.

    Args:
        record_id: the object id of the record that waits under the key for it; None where there is none.
    """
    document = {
        "key": key,
        "quarantine_key": copy.key,
        "project_id": project_id,
        "epoch": epoch,
        "record_id": record_id,
        "size": copy.size,
        "etag": copy.etag,
        "content_type": copy.content_type,
        "why": why,
        "run_id": run_id,
        "set_aside_at": at,
        "expires_at": expires_at,
    }
    operations.put_new(entry_id, "", KIND, document, created_at=at, status="HELD")


def _is_copy(entry: Operation, found: StoredObject) -> bool:
    document: Any = entry.document
    return bool(found.size == document["size"] and found.etag == document.get("copy_etag", document["etag"]))


def _is_original(entry: Operation, found: StoredObject | None) -> bool:
    return found is not None and bool((found.size, found.etag) == (entry.document["size"], entry.document["etag"]))


def _entry_id(run_id: str, key: str, etag: str) -> str:
    """Names an entry by run and object, so that a repair that starts again finds the entry it had begun."""
    return f"{run_id}-{hashlib.sha256(f'{key}\n{etag}'.encode()).hexdigest()[:24]}"


def _object_id(entry: Operation) -> str:
    return entry.operation_id
