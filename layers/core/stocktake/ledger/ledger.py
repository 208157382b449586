"""The one class that writes records, projects and their counts.

A commit is one transaction of two items: the record's row, compared and set by its version, and the count row of the record's own
shard, which carries a copy of the project's state and epoch. So the counts cannot drift from the records, a closed project takes
nothing, and no single item is written by every commit: N count rows share the load (DynamoDB cancels transactions that meet on one item).

The bytes of an INLINE record are a third item of the transaction that makes the record INLINE, and of the one that ends that: a record has
them while it is INLINE, and no bytes are there without such a record.

One name has one record, in whatever Unicode spelling: R2 takes all spellings for one object, and of two records of one object either could
take the other's bytes. A record that is not under the canonical spelling has a row that names it, made and removed in its own transactions,
and no record is made whose name is taken. Most keys have one spelling, and pay nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import batched, chain, groupby, islice
from typing import Any, overload

from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from stocktake.errors import (
    ConfigurationError,
    InvalidKey,
    InvalidRequest,
    LedgerError,
    ObjectNotFound,
    ProjectClosed,
    ProjectExists,
    ProjectNotFound,
    RecordChanged,
    TooLarge,
)
from stocktake.layouts import MAX_KEY_BYTES, canonical, has_spellings, is_spelled_otherwise, project_stem
from stocktake.ledger.counting import (
    FURTHER,
    WRITES,
    Names,
    Numbers,
    ProjectCounts,
    add,
    add_row,
    by_state,
    cells_of,
    counted_as,
    deltas,
    said_in,
    sum_of_removals,
)
from stocktake.ledger.failures import Sleep, back_off, code_of, ledger_errors
from stocktake.ledger.operations import Operations, cursor_of, text_of_cursor
from stocktake.ledger.reading import item_lists, pages, side_by_side
from stocktake.ledger.rows import (
    COUNTED_ATTRIBUTES,
    COUNTS_PREFIX,
    ENTRY_ATTRIBUTES,
    INLINE_PREFIX,
    MAX_INLINE_BYTES,
    PROJECT_PART,
    InlineRow,
    ObjectRow,
    ProjectRow,
    Raw,
    SpellingRow,
    Tables,
    entry_of,
    json_text,
    object_row,
    project_of,
    projection,
    read_as,
    record_of,
    spelling_row,
)
from stocktake.ledger.transactions import ATTEMPTS, TransactionInvalid, Writes, commit, new_write_id
from stocktake.merging import merged
from stocktake.model import LedgerEntry, Project, ProjectState, Quota, Record, State, Tally

SETTINGS = "settings"
"""The operation under which the ledger keeps what is fixed when it is first used."""

MAX_SHARDS = 64
"""N count rows and the project's own must fit into one transaction of 100, and N queries into one merge."""

_ACTIONS = 100
"""What one transaction takes."""
_REMOVED_TOGETHER = 1000
"""Records that are sorted by count row before they are removed, so that a transaction has few of those: a batch of a deletion."""

_KEYS_PER_READ = 100
"""What one BatchGetItem takes."""

_ROWS_PER_PAGE = 1000
"""Of a scan, which holds two pages of each shard: of 1 KB each they are the 1 MB that DynamoDB answers with at most."""
_NUMBERS_PER_UPDATE = 250
"""An expression of an update has 4 KB at most, and a number takes some 12 bytes of it."""

_NAMED_PROJECTS = 1000
"""Of how many projects a process remembers the names that are counted."""

_PATIENT_ATTEMPTS = 30
"""Opening and closing touch every count row of a project, and meet each of its commits under way."""

_LOOKED_AT = 25
"""Rows of each shard that a look for any record reads."""

_AS_SEEN = "#version = :version AND #state = :state AND #size = :size AND #kept = :kept"
_AS_SEEN_UNCOUNTED = _AS_SEEN.replace("#kept = :kept", "attribute_not_exists(#kept)")
_SEEN_NAMES = {"#version": "version", "#state": "state", "#size": "size", "#kept": "counted_as"}

_INDEX_WAITS = (0.05, 0.2)
"""Seconds to wait for an object id to reach the index: usually well under 100 ms."""

_each = chain.from_iterable


@dataclass(frozen=True, slots=True)
class RemovedSummary:
    """What a bulk removal did. `changed` are keys whose record is no longer the one that was seen: they are still there."""

    removed: Tally = field(default_factory=Tally)
    already_gone: int = 0
    changed: tuple[str, ...] = ()

    def __add__(self, other: RemovedSummary) -> RemovedSummary:
        return RemovedSummary(self.removed + other.removed, self.already_gone + other.already_gone, self.changed + other.changed)


_Place = tuple[str, str]
"""Where a record is counted: the stem of its project, and its shard."""


def shard_of(key: str, shards: int) -> str:
    """Returns the shard of a key: the first 32 bits of its SHA-256 modulo `shards`, as two hex digits.

    Raises:
        InvalidKey: the key is empty, over 1024 bytes, or no valid Unicode.
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise InvalidKey(f"key {key[:120]!r} is no valid Unicode: no store keeps it as it is") from error
    if not 0 < len(encoded) <= MAX_KEY_BYTES:
        raise InvalidKey(f"a key has 1 to {MAX_KEY_BYTES} bytes, this one has {len(encoded)}: {key[:120]!r}")
    return f"{int.from_bytes(hashlib.sha256(encoded).digest()[:4]) % shards:02x}"


class Ledger:
    """Records, projects and counts.

    Raises (any method): LedgerError when DynamoDB does not answer as asked, ConfigurationError when a table is not there or was made
    with another number of shards.

    Args:
        shards: N, a power of two up to 64. It is written into the operations table on first use and cannot change afterwards.
        sleep: waits that many seconds between attempts.
    """

    def __init__(self, tables: Tables, *, shards: int = 16, sleep: Sleep = time.sleep) -> None:
        if not 0 < shards <= MAX_SHARDS or shards & (shards - 1):
            raise ConfigurationError(f"LEDGER_SHARDS is {shards}: it must be a power of two from 1 to {MAX_SHARDS}")
        self._tables = tables
        self._shards = shards
        self._shards_checked = False
        self._sleep = sleep
        self._names: dict[tuple[str, int], Names] = {}

    @property
    def shards(self) -> int:
        """Returns N, the number of shards the keys are spread over."""
        return self._shards

    def first_use(self) -> int | None:
        """Reads over how many shards these tables were first used, and writes nothing; None where they never were."""
        settings = Operations(self._tables, sleep=self._sleep).get(SETTINGS)
        return None if settings is None else settings.document.get("shards")

    # ---- records

    def record(self, key: str) -> Record | None:
        """Reads the record of a key, consistently; None when there is none."""
        row = self._object_row(key)
        return None if row is None else record_of(row)

    def spelled_otherwise(self, key: str) -> Record | None:
        """Reads the record of this name under any other Unicode spelling than this one, consistently; None where there is none."""
        if not has_spellings(key):
            return None
        name = canonical(key)
        if name != key and len(name.encode()) <= MAX_KEY_BYTES and (record := self.record(name)) is not None:
            return record
        spelled = self._spelled(key)
        return None if spelled in (None, key) else self.record(spelled)

    def note_spelling(self, record: Record) -> None:
        """Makes sure that a record is found under every spelling of its name: an older version wrote none of what that takes."""
        key = record.key
        if not is_spelled_otherwise(key) or self._spelled(key) is not None:
            return
        objects = self._tables.objects

        def fill(transaction: Writes) -> None:
            transaction.condition_check(objects, self._shard(key), key, condition=objects.key.exists())
            transaction.save(self._spelling_row(key), condition=self._tables.spellings.key.does_not_exist())

        what = f"note the spelling of {key!r}"
        commit(self._tables.connection, fill, landed=lambda: self._spelled(key) == key, what=what, sleep=self._sleep)

    def records(self, keys: Sequence[str]) -> dict[str, Record]:
        """Reads the records of these keys, consistently; keys without a record are left out."""
        return {raw["key"]["S"]: record_of(self._tables.objects.from_raw_data(dict(raw))) for raw in self._rows(list(dict.fromkeys(keys)))}

    def by_object_id(self, object_id: str) -> Record:
        """Reads a record by its object id: the index names the key, the row itself is then read consistently.

        Raises:
            ObjectNotFound: no record has it, also not after a moment for the index to catch up.
        """
        if object_id:
            for wait in (*_INDEX_WAITS, None):
                record = self.find_object(object_id)
                if record is not None:
                    return record
                if wait is not None:
                    self._sleep(wait)
        raise ObjectNotFound.of(object_id)

    def find_object(self, object_id: str) -> Record | None:
        """Reads a record by its object id as far as the index knows it at this moment; None where it does not."""
        names = projection("key", "object_id")
        request = self._request("by_object_id", "object_id", object_id, names, consistent=False)
        for raw in self._query("find an object id", request):
            record = self.record(raw["key"]["S"])
            if record is not None and record.object_id == object_id:
                return record
        return None

    def any_stored(self) -> str | None:
        """Names the key of some record whose object is in the bucket, as a short look into each shard finds one; None where it does not."""
        names = projection("key", "state")
        for shard in self._all_shards():
            rows = self._query("look for a record", self._request(None, "shard", shard, names, consistent=False, limit=_LOOKED_AT))
            for raw in islice(rows, _LOOKED_AT):
                if raw["state"]["S"] == State.STORED:
                    return str(raw["key"]["S"])
        return None

    def content(self, record: Record) -> bytes | None:
        """Reads the bytes of an INLINE record, consistently; None when it is INLINE no more, or gone."""
        row = self._tables.inline(INLINE_PREFIX + self._shard(record.key), record.key)
        return row.content if _is_there(row, f"read the bytes of {record.key[:120]!r}") else None

    @overload
    def move(self, before: Record | None, after: Record, *, gated: bool, content: bytes | None = None) -> Record: ...
    @overload
    def move(self, before: Record | None, after: None, *, gated: bool) -> None: ...
    def move(self, before: Record | None, after: Record | None, *, gated: bool, content: bytes | None = None) -> Record | None:
        """Takes a record from one state to the next, with its counts, in one transaction. Every change of a record is this.

        Args:
            before: the record as it was read; None when the key must have no record yet.
            after: the record as it shall be (its version is set here); None when the row shall go.
            gated: only if the project is active and of the record's epoch.
            content: the bytes of a record that becomes INLINE; at most MAX_INLINE_BYTES.

        Returns:
            The record as written, or None when the row is gone. After a lost reply, a removal counts as ours once the row is gone.

        Raises:
            RecordChanged: the record is no longer `before`, or the name of a new one is recorded in another spelling; nothing was written.
            ProjectClosed: `gated`, and the project is being deleted, is deleted or has another epoch; nothing was written.
            ProjectNotFound: no such project was ever created; nothing was written.
            InvalidRequest: the record cannot be kept: its metadata is not JSON, it is too large, or its key is not one.
            TooLarge: `content` is over MAX_INLINE_BYTES.
        """
        subject = after if after is not None else before
        if subject is None:
            raise ValueError("move(None, None) moves nothing")
        stem = project_stem(subject.project_id)
        if before is not None and (before.key != subject.key or project_stem(before.project_id) != stem):
            raise ValueError(f"a move keeps key and project: {before.key!r} of {before.project_id!r} became {subject!r}")
        if not stem or not subject.object_id:
            raise InvalidRequest(f"the record of {subject.key!r} needs a project and an object id")
        was_inline = before is not None and before.state is State.INLINE
        is_inline = after is not None and after.state is State.INLINE
        if (content is not None) != (is_inline and not was_inline) or (content is not None and len(content) != subject.size):
            raise ValueError(f"bytes come with a record when it becomes INLINE, all {subject.size} of them, and at no other time")
        if content is not None and len(content) > MAX_INLINE_BYTES:
            raise TooLarge(f"{len(content)} bytes of {subject.key!r} are over the {MAX_INLINE_BYTES} that the ledger can hold")
        shard = self._shard(subject.key)
        objects = self._tables.objects
        write_id = new_write_id()
        written: Record | None = None
        row: ObjectRow
        if after is None:
            row = objects(shard, subject.key)
        else:
            written = replace(
                after,
                version=1 if before is None else before.version + 1,
                expires_at=after.expires_at if after.state is State.PENDING else None,  # the index of open intents holds nothing else
                counted_as=self._counted_as(stem, before, after),
            )
            row = object_row(objects, written, shard=shard, project=stem, write_id=write_id)
        condition = objects.key.does_not_exist() if before is None else self._is_as_seen(before)
        additions = deltas(before, written)
        gate = subject.epoch if gated else None
        inline = self._tables.inline(INLINE_PREFIX + shard, subject.key, content=content)
        loses_bytes = was_inline and not is_inline
        spelling = self._take_name(subject.key) if before is None else self._leave_name(subject.key) if after is None else ()

        def fill(transaction: Writes) -> None:
            if additions:
                transaction.update_as_written(self._counting(stem, shard, additions, gate))
            elif gated:
                is_open = self._is_at(ProjectState.ACTIVE, subject.epoch)
                transaction.condition_check(self._tables.projects, stem, COUNTS_PREFIX + shard, condition=is_open)
            for add_to in spelling:
                add_to(transaction)
            if after is None:
                transaction.delete(row, condition=condition)
            else:
                transaction.save(row, condition=condition)
            if loses_bytes:
                transaction.delete(inline)
            elif content is not None:
                transaction.save(inline)

        def landed() -> bool:
            stored = self._object_row(subject.key)
            return stored is None if after is None else stored is not None and stored.write_id == write_id

        failed = commit(self._tables.connection, fill, landed=landed, what=f"write the record of {subject.key!r}", sleep=self._sleep)
        # PynamoDB sends checks first and updates last
        gate_position = 1 + (loses_bytes or content is not None) + len(spelling) if additions else 0
        if failed and (additions or gated) and gate_position in failed:
            raise self._closed(subject.project_id, subject.epoch, gated=gated)
        if failed:
            raise RecordChanged(f"the record of {subject.key!r} is not the one that was read: read it again and decide anew")
        return written

    def remove_many(self, entries: Iterable[LedgerEntry | Record]) -> RemovedSummary:
        """Removes records with counts and bytes, many to a transaction; each only if it is still the one that was seen.

        Calling it again with the same entries is safe and exact: what is gone is counted as already gone and taken off the counts
        once. Memory stays bounded whatever comes in.

        Raises:
            ProjectNotFound: a record's project was never created.
        """
        summary = RemovedSummary()
        for some in batched(entries, _REMOVED_TOGETHER, strict=False):
            places = {entry.key: (project_stem(entry.project_id), self._shard(entry.key)) for entry in some}
            sorted_by_place = sorted({entry.key: entry for entry in some}.values(), key=lambda entry: places[entry.key])
            for part in _transactions(sorted_by_place, places):
                summary += self._remove(part, places)
        return summary

    def attribute(self, records: Iterable[Record]) -> int:
        """Counts records in the dimensions of `counting` that an older version wrote, many to a transaction; nothing else of them changes.

        Returns how many were. One that changed meanwhile, or has been counted, is left as it is; so is one whose project has no count row
        to count it on. What an older version wrote without being found under every spelling of its name is found so from then on.
        """
        groups: dict[tuple[str, str], list[Record]] = {}
        for record in records:
            if record.counted_as is None:
                self.note_spelling(record)
                groups.setdefault((project_stem(record.project_id), self._shard(record.key)), []).append(record)
        parts = ((place, some) for place, group in groups.items() for some in batched(group, _ACTIONS // 2 - 1, strict=False))
        return sum(self._attribute(*place, some) for place, some in parts)

    # ---- scans

    def entries(self, after: str = "", until: str | None = None) -> Iterator[LedgerEntry]:
        """Yields the records with after < key <= until in key order (UTF-8 bytes), as a bucket lists.

        N queries, each sorted, merged lazily: memory is two pages of each, whatever the ledger holds.
        """
        return merged(self._shard_entries(shard, after, until) for shard in self._all_shards())

    def shard_keys(self, shard: str | int, after: str = "", until: str | None = None) -> Iterator[str]:
        """Yields the keys of one shard with after < key <= until, in order: a fair sample of one in N of all keys.

        Args:
            shard: its number, or its name of two hex digits.
        """
        name = f"{shard:02x}" if isinstance(shard, int) else shard
        return (entry.key for entry in _each(self._shard_entries(name, after, until)))

    def project_records(self, project_id: str, *, after: str = "", limit: int | None = None) -> Iterator[LedgerEntry]:
        """Yields what the index says of a project's records, in key order, page by page.

        The index may lag behind by a moment: who removes by it lists again.
        """
        stem = project_stem(project_id)
        if not stem or limit == 0:
            return iter(())
        names = projection(*COUNTED_ATTRIBUTES)
        request = self._request("by_project", "project", stem, names, sort="key", after=after, consistent=False, limit=limit)
        return islice(_each(self._entry_pages("list a project's records", request)), limit)

    def page_of_project(
        self, project_id: str, limit: int, cursor: str | None = None, *, fits: Callable[[Record], bool] = lambda _: True
    ) -> tuple[list[Record], str | None]:
        """Reads one page of a project's records, whole and consistently, in key order.

        Args:
            fits: says of one record after the other whether the page has room for it; the page ends before the first that has none. A
                record that has none in an empty page is the whole of it, so that every page gets further.

        Returns:
            Up to `limit` records (fewer where one went meanwhile, or did not fit), and the cursor of the next page or None.

        Raises:
            InvalidRequest: the cursor is not one of ours.
        """
        after = "" if cursor is None else text_of_cursor(cursor)
        keys = [entry.key for entry in self.project_records(project_id, after=after, limit=limit + 1)]
        page: list[Record] = []
        for some in batched(keys[:limit], _KEYS_PER_READ, strict=False):  # records may be large: none is read for a page that is full
            records = self.records(some)
            for record in (records[key] for key in some if key in records):
                if not fits(record) and page:
                    return page, cursor_of(page[-1].key)
                page.append(record)
        return page, cursor_of(keys[limit - 1]) if len(keys) > limit else None

    def expired_intents(self, now: int) -> Iterator[Record]:
        """Yields the records that are still PENDING and whose intent ended at or before `now`, read consistently one by one.

        It begins at another shard each time, so that none is always the one that there is no time for.
        """
        names, shards = projection("key", "expires_at"), self._all_shards()
        first = now % len(shards)
        for shard in (*shards[first:], *shards[:first]):
            request = self._request("by_expiry", "shard", shard, names, sort="expires_at", until=now, consistent=False)
            for raw in self._query("list expired intents", request):
                record = self.record(raw["key"]["S"])
                if record is not None and record.state is State.PENDING and record.expires_at is not None and record.expires_at <= now:
                    yield record

    # ---- projects

    def project(self, project_id: str) -> Project:
        """Reads a project by any spelling of its id, consistently. Raises ProjectNotFound."""
        row = self._project_row(project_stem(project_id))
        if row is None:
            raise ProjectNotFound.of(project_id)
        return project_of(row)

    def has_project(self, project_id: str) -> bool:
        """Says whether there is a project of this id, in any spelling and any state."""
        return self._project_row(project_stem(project_id)) is not None

    def create_project(self, project_id: str, metadata: Mapping[str, Any], now: int, *, quota: Quota | None = None) -> Project:
        """Opens a project, or opens a deleted one anew under its next epoch.

        Raises:
            ProjectExists: it is open or still being deleted, under any spelling.
            InvalidRequest: the id is empty, or the metadata is not JSON.
        """
        stem = project_stem(project_id)
        if not stem:
            raise InvalidRequest(f"project id {project_id!r} is empty but for 'proj_': give it a name")
        exists = ProjectExists(
            f"project {project_id!r} exists or is still being deleted: use it, choose another id, or wait for the receipt"
        )
        tombstone = self._project_row(stem)
        if tombstone is not None and tombstone.state != ProjectState.DELETED:
            raise exists
        projects = self._tables.projects
        condition = projects.project.does_not_exist() if tombstone is None else self._is_at(ProjectState.DELETED, tombstone.epoch)
        new = projects(
            stem,
            PROJECT_PART,
            project_id=project_id,
            state=ProjectState.ACTIVE.value,
            epoch=1 if tombstone is None else tombstone.epoch + 1,
            created_at=now,
            metadata=json_text(metadata, "the metadata"),
            quota_objects=quota.objects if quota else None,
            quota_bytes=quota.bytes if quota else None,
            write_id=new_write_id(),
        )
        if not self._flip(new, condition):
            raise exists
        return project_of(new)

    def set_quota(self, project_id: str, quota: Quota | None) -> Project:
        """Replaces the quota of an open project; what it holds already stays, also when it is more.

        Raises:
            ProjectNotFound: there is no such project.
            ProjectClosed: it is being deleted, or is deleted.
        """
        stem = project_stem(project_id)
        projects = self._tables.projects
        row = self._project_row(stem)
        if row is None:
            raise ProjectNotFound.of(project_id)
        actions: list[Action] = [
            projects.quota_objects.set(quota.objects) if quota and quota.objects is not None else projects.quota_objects.remove(),
            projects.quota_bytes.set(quota.bytes) if quota and quota.bytes is not None else projects.quota_bytes.remove(),
        ]
        with ledger_errors(f"write the quota of project {project_id!r}"):
            try:
                row.update(actions, condition=projects.state == ProjectState.ACTIVE.value)
            except UpdateError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                raise ProjectClosed(f"project {project_id!r} is being deleted or is deleted: it has no quota to change") from error
        return self.project(project_id)

    def begin_deletion(self, project_id: str, deletion_id: str, now: int) -> Project:
        """Closes a project: from the moment this returns no commit of any epoch before is taken.

        Returns:
            The project as it is now. One that is being deleted already, or is deleted, is returned as it is, with the id of that deletion.

        Raises:
            ProjectNotFound: there is no such project.
        """
        stem = project_stem(project_id)
        while True:
            row = self._project_row(stem)
            if row is None:
                raise ProjectNotFound(f"there is no project {project_id!r}: nothing to delete")
            if row.state != ProjectState.ACTIVE:
                return project_of(row)
            # the row is written whole, and an upload may be taking up a name in it
            condition = self._is_at(ProjectState.ACTIVE, row.epoch) & self._has_names(row.names)
            row.state = ProjectState.DELETING.value
            row.epoch += 1
            row.deletion_id = deletion_id
            row.write_id = new_write_id()
            if self._flip(row, condition):
                return project_of(row)

    def resume_deletion(self, project_id: str, deletion_id: str, epoch: int) -> None:
        """Puts a finished project back into its deletion, so that none is opened anew while it goes on. Saying it again changes nothing.

        Raises:
            ProjectNotFound: there is no such project.
            RecordChanged: it is not of this deletion any more: opened anew, or undone.
        """
        row = self._project_row(project_stem(project_id))
        if row is None:
            raise ProjectNotFound(f"there is no project {project_id!r}: nothing to go on with")
        if (row.state, row.deletion_id, row.epoch) == (ProjectState.DELETING, deletion_id, epoch):
            return
        condition = self._is_at(ProjectState.DELETED, epoch) & (self._tables.projects.deletion_id == deletion_id)
        row.state = ProjectState.DELETING.value
        row.deleted_at = None
        row.write_id = new_write_id()
        if not self._flip(row, condition):
            raise RecordChanged(f"project {project_id!r} is not in deletion {deletion_id!r} of epoch {epoch} any more: read it again")

    def undo_deletion(self, project_id: str, deletion_id: str, epoch: int) -> Project:
        """Opens a project again as it was before this deletion began, in the epoch of before. Saying it again changes nothing.

        Args:
            epoch: the one that the deletion began.

        Raises:
            ProjectNotFound: there is no such project.
            RecordChanged: the project is not in this deletion (any more).
        """
        stem = project_stem(project_id)
        row = self._project_row(stem)
        if row is None:
            raise ProjectNotFound(f"there is no project {project_id!r}: nothing to open again")
        if row.state == ProjectState.ACTIVE and not row.deletion_id and row.epoch == epoch - 1:
            return project_of(row)
        condition = self._is_at(ProjectState.DELETING, epoch) & (self._tables.projects.deletion_id == deletion_id)
        row.state = ProjectState.ACTIVE.value
        row.epoch = epoch - 1
        row.deletion_id = None
        row.write_id = new_write_id()
        if not self._flip(row, condition):
            raise RecordChanged(f"project {project_id!r} is not in deletion {deletion_id!r} of epoch {epoch}: read it again")
        return project_of(row)

    def finish_deletion(self, project_id: str, deletion_id: str, epoch: int, now: int) -> Project:
        """Leaves of a deleted project a tombstone without its metadata. Saying it again changes nothing.

        Raises:
            ProjectNotFound: there is no such project.
            RecordChanged: the project is not in this deletion (any more): another id, another epoch, or open again.
        """
        stem = project_stem(project_id)
        row = self._project_row(stem)
        if row is None:
            raise ProjectNotFound(f"there is no project {project_id!r}: nothing to finish")
        if (row.state, row.deletion_id, row.epoch) == (ProjectState.DELETED, deletion_id, epoch):
            return project_of(row)
        projects = self._tables.projects
        condition = self._is_at(ProjectState.DELETING, epoch) & (projects.deletion_id == deletion_id)
        row.state = ProjectState.DELETED.value
        row.epoch = epoch
        row.metadata = row.quota_objects = row.quota_bytes = row.names = None
        row.deleted_at = now
        row.write_id = new_write_id()
        if not self._flip(row, condition):
            current = self.project(project_id)
            if (current.state, current.deletion_id, current.epoch) == (ProjectState.DELETED, deletion_id, epoch):
                return current
            raise RecordChanged(f"project {project_id!r} is not in deletion {deletion_id!r} of epoch {epoch}: read it again")
        return project_of(row)

    # ---- counts

    def counts(self, project_id: str) -> dict[State, Tally]:
        """Sums a project's count rows by state, read consistently. Raises ProjectNotFound."""
        return by_state(self._numbers(project_id)[0])

    def project_counts(self, project_id: str) -> ProjectCounts:
        """Sums a project's count rows in every dimension, read consistently. Raises ProjectNotFound."""
        numbers, row = self._numbers(project_id)
        return ProjectCounts(*_whose(project_stem(project_id), row), numbers, _names_of(row))

    def _numbers(self, project_id: str) -> tuple[Numbers, Raw]:
        """Reads what a project's count rows say together, and its own row; where that is not there, one of them, which says its state."""
        numbers: Numbers = {}
        own: Raw | None = None
        stem = project_stem(project_id)
        if stem:
            request = self._request(None, "project", stem, {}, table=self._tables.projects)
            for raw in self._query("read a project's counts", request):
                if raw["part"]["S"].startswith(COUNTS_PREFIX):
                    add_row(numbers, raw)
                    own = own or raw
                elif raw["part"]["S"] == PROJECT_PART:
                    own = raw
        if own is None:
            raise ProjectNotFound(f"there is no project {project_id!r}: nothing is counted for it")
        return numbers, own

    def all_counts(self) -> Iterator[ProjectCounts]:
        """Yields every project, deleted ones included, with its state and its counts.

        The rows of a project lie side by side, so that only a few projects are held at a time. Each row is read consistently; rows that
        change during the scan are as they were when it passed them. A project of which rows are lost is counted by those it has.
        """
        from stocktake.ledger.count_pages import CountItem, add_item, count_page, raw_of  # as above: msgspec

        self._check_shards()
        open_projects: dict[str, _Partial] = {}
        request: dict[str, Any] = {"TableName": self._tables.projects.Meta.table_name, "ConsistentRead": True}
        items: Iterator[CountItem] = side_by_side("scan the counts", read_as(count_page, self._tables.client.scan), request)
        for item in items:
            stem, part = item["project"].S or "", item["part"].S or ""
            partial = open_projects.setdefault(stem, _Partial())
            if part == PROJECT_PART:
                partial.own = raw_of(item)
            elif part.startswith(COUNTS_PREFIX):
                partial.count_rows += 1
                add_item(partial.numbers, item)
            if partial.own is not None and partial.count_rows == self._shards:
                del open_projects[stem]
                yield ProjectCounts(*_whose(stem, partial.own), partial.numbers, _names_of(partial.own))
        for stem in open_projects:  # created while the scan was under way; or rows are lost
            try:
                yield self.project_counts(stem)
            except ProjectNotFound:
                continue  # other hands removed it just now

    # ---- inside

    def _shard(self, key: str) -> str:
        self._check_shards()
        return shard_of(key, self._shards)

    def _all_shards(self) -> list[str]:
        self._check_shards()
        return [f"{number:02x}" for number in range(self._shards)]

    def _check_shards(self) -> None:
        if self._shards_checked:
            return
        operations = Operations(self._tables, sleep=self._sleep)
        settings = operations.get(SETTINGS)
        if settings is None:
            try:
                settings = operations.put(SETTINGS, "", None, {"shards": self._shards}, created_at=0, status="", if_absent=True)
            except RecordChanged:  # another function was first
                settings = operations.get(SETTINGS)
        made_with = settings.document.get("shards") if settings else None
        if made_with != self._shards:
            raise ConfigurationError(f"LEDGER_SHARDS is {self._shards}, but these tables were first used with {made_with}: set it to that")
        self._shards_checked = True

    def _object_row(self, key: str) -> ObjectRow | None:
        objects = self._tables.objects
        with ledger_errors(f"read the record of {key[:120]!r}"):
            try:
                return objects.get(self._shard(key), key, consistent_read=True)
            except objects.DoesNotExist:
                return None

    def _project_row(self, stem: str) -> ProjectRow | None:
        if not stem:
            return None  # DynamoDB takes no empty key
        projects = self._tables.projects
        with ledger_errors(f"read project {stem!r}"):
            try:
                return projects.get(stem, PROJECT_PART, consistent_read=True)
            except projects.DoesNotExist:
                return None

    def _is_as_seen(self, seen: Record) -> Condition:
        # the counts are derived from state and size, and a key recorded anew starts at version 1 again: so these two are compared as well
        objects = self._tables.objects
        condition: Condition = (objects.version == seen.version) & (objects.state == seen.state.value) & (objects.size == seen.size)
        # a recount writes what a record is counted as without making a new version of it
        kept: Condition = objects.counted_as.does_not_exist() if seen.counted_as is None else objects.counted_as == seen.counted_as
        as_seen: Condition = condition & kept
        return as_seen

    def _spelled(self, key: str) -> str | None:
        """Says under which spelling the name of this key is recorded, if not under the canonical one."""
        row = self._spelling_row(key)
        return row.spelled if _is_there(row, f"read under which spelling {key[:120]!r} is recorded") else None

    def _spelling_row(self, key: str) -> SpellingRow:
        return spelling_row(self._tables.spellings, key)

    def _take_name(self, key: str) -> Sequence[Callable[[Writes], None]]:
        """Returns what the transaction of a new record does besides, so that its name has no other record in any spelling."""
        if not has_spellings(key):
            return ()
        objects, row, name = self._tables.objects, self._spelling_row(key), canonical(key)
        is_free: Condition = self._tables.spellings.key.does_not_exist()
        if name == key:
            return (lambda writes: writes.condition_check(self._tables.spellings, row.shard, row.key, condition=is_free),)
        steps: list[Callable[[Writes], None]] = [lambda writes: writes.save(row, condition=is_free)]
        if len(name.encode()) <= MAX_KEY_BYTES:
            is_absent: Condition = objects.key.does_not_exist()
            steps.append(lambda writes: writes.condition_check(objects, self._shard(name), name, condition=is_absent))
        return steps

    def _leave_name(self, key: str) -> Sequence[Callable[[Writes], None]]:
        """Returns what the transaction that removes a record does besides."""
        # of two records of one name, which an older version may have written, the row may name the other
        is_ours = is_spelled_otherwise(key) and self._spelled(key) in (None, key)
        return (lambda writes: writes.delete(self._spelling_row(key)),) if is_ours else ()

    def _has_names(self, names: str | None) -> Condition:
        projects = self._tables.projects
        condition: Condition = projects.names.does_not_exist() if names is None else projects.names == names
        return condition

    def _is_at(self, state: ProjectState, epoch: int) -> Condition:
        projects = self._tables.projects
        condition: Condition = (projects.state == state.value) & (projects.epoch == epoch)
        return condition

    def _counted_as(self, stem: str, before: Record | None, after: Record) -> str:
        """Says what a record shall be counted as, and takes up the names it says if they are new to its project."""
        said = said_in(after.metadata)
        if before is not None and before.counted_as is not None and said == said_in(before.metadata):
            return counted_as(after, cells_of(before.counted_as))
        return counted_as(after, self.cells(stem, after.epoch, said) if said else {})

    def cells(self, stem: str, epoch: int, said: Mapping[str, str]) -> dict[str, str]:
        """Returns the cells of names in the counts of a project, and takes up those that are new to it while it is open."""
        names = self._names.get((stem, epoch), Names())
        for attempt in range(ATTEMPTS):
            found = {dimension: names.cell(dimension, name) for dimension, name in said.items()}
            if None not in found.values():
                break
            if attempt:
                back_off(attempt, self._sleep)
            names, lost = self._taken_up(stem, epoch, said)
            if len(self._names) >= _NAMED_PROJECTS:
                self._names.clear()
            self._names[stem, epoch] = names
            if not lost:
                break
        return {dimension: names.cell(dimension, name) or FURTHER for dimension, name in said.items()}

    def _taken_up(self, stem: str, epoch: int, said: Mapping[str, str]) -> tuple[Names, bool]:
        """Reads the names of a project's life, and writes them with what is said besides if it is open and there is room.

        Returns what is there, and whether somebody else was writing them: another attempt may take up what is missing, and only then.
        """
        row = self._project_row(stem)
        if row is None or row.epoch - (row.state != ProjectState.ACTIVE) != epoch:
            return (
                Names(),
                False,
            )  # of another life, whose places mean other names: the gate refuses the write, or it is counted as a further name
        names = Names.parse(row.names)
        more = names.with_more(said)
        if row.state != ProjectState.ACTIVE or more.text() == names.text():
            return names, False
        condition = self._is_at(ProjectState.ACTIVE, epoch) & self._has_names(row.names)
        with ledger_errors(f"write the names that are counted of project {stem!r}"):
            try:
                row.update([self._tables.projects.names.set(more.text())], condition=condition)
            except UpdateError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                return names, True
        return more, False

    def _counting(self, stem: str, shard: str, additions: Mapping[str, int], epoch: int | None) -> dict[str, Any]:
        """Returns the update of a count row, through the gate where an epoch is given.

        One without still needs the row: counts of a project that was never created would belong to no one.
        """
        amounts = {WRITES: 1, **additions}
        gate: dict[str, Any] = {"ConditionExpression": "attribute_exists(#state)"}
        values: dict[str, Any] = {f":{place}": {"N": str(amount)} for place, amount in enumerate(amounts.values())}
        names = {"#state": "state", **{f"#{place}": name for place, name in enumerate(amounts)}}
        if epoch is not None:
            gate = {"ConditionExpression": "#state = :state AND #epoch = :epoch"}
            names["#epoch"] = "epoch"
            values |= {":state": {"S": ProjectState.ACTIVE.value}, ":epoch": {"N": str(epoch)}}
        return {
            "TableName": self._tables.projects.Meta.table_name,
            "Key": {"project": {"S": stem}, "part": {"S": COUNTS_PREFIX + shard}},
            "UpdateExpression": "ADD " + ", ".join(f"#{place} :{place}" for place in range(len(amounts))),
            **gate,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }

    def _closed(self, project_id: str, epoch: int, *, gated: bool) -> Exception:
        project = self.project(project_id)
        if gated and project.state is not ProjectState.ACTIVE:
            return ProjectClosed(f"project {project.project_id!r} is {project.state.lower()}: it takes no objects until it is created anew")
        if gated and project.epoch != epoch:
            return ProjectClosed(f"project {project.project_id!r} is at epoch {project.epoch}, this write is of epoch {epoch}: begin anew")
        return LedgerError(f"the count rows of project {project.project_id!r} do not match it: other hands than the ledger's changed them")

    def _flip(self, row: ProjectRow, condition: Condition) -> bool:
        """Writes a project's row and copies its state and epoch to all its count rows, in one transaction; False when the condition failed.

        The numbers of the count rows stay: they belong to the records, not to the project's state.
        """
        projects = self._tables.projects

        def fill(transaction: Writes) -> None:
            transaction.save(row, condition=condition)
            for shard in self._all_shards():
                transaction.update(
                    projects(row.project, COUNTS_PREFIX + shard), actions=[projects.state.set(row.state), projects.epoch.set(row.epoch)]
                )

        def landed() -> bool:
            stored = self._project_row(row.project)
            return stored is not None and stored.write_id == row.write_id

        what = f"write project {row.project_id!r}"
        return not commit(self._tables.connection, fill, landed=landed, what=what, sleep=self._sleep, attempts=_PATIENT_ATTEMPTS)

    def _attribute(self, stem: str, shard: str, records: Sequence[Record]) -> int:
        after = [replace(record, counted_as=self._counted_as(stem, None, record)) for record in records]
        additions: Numbers = {}
        for before, counted in zip(records, after, strict=True):
            add(additions, deltas(before, counted))
        if len(additions) > _NUMBERS_PER_UPDATE and len(records) > 1:
            half = len(records) // 2
            return self._attribute(stem, shard, records[:half]) + self._attribute(stem, shard, records[half:])
        write_id = new_write_id()

        def fill(transaction: Writes) -> None:
            for before, counted in zip(records, after, strict=True):
                transaction.update_as_written(self._naming(shard, before, str(counted.counted_as), write_id))
            transaction.update_as_written(self._counting(stem, shard, additions, None))

        def landed() -> bool:
            stored = self._object_row(records[0].key)
            return stored is not None and stored.write_id == write_id

        what = f"count {len(records)} records of project {stem!r}"
        failed = commit(self._tables.connection, fill, landed=landed, what=what, sleep=self._sleep)
        if not failed:
            return len(records)
        if len(records) in failed:
            return 0
        left = [record for place, record in enumerate(records) if place not in failed]
        return self._attribute(stem, shard, left) if left else 0

    def _naming(self, shard: str, seen: Record, kept: str, write_id: str) -> dict[str, Any]:
        """Returns the update that says what a record is counted as, while it is as it was seen."""
        removal = self._removal(shard, seen)
        return {
            **removal,
            "UpdateExpression": "SET #kept = :new, #write = :write",
            "ExpressionAttributeNames": {**removal["ExpressionAttributeNames"], "#write": "write_id"},
            "ExpressionAttributeValues": {**removal["ExpressionAttributeValues"], ":new": {"S": kept}, ":write": {"S": write_id}},
        }

    def _remove(self, entries: Sequence[LedgerEntry | Record], places: Mapping[str, _Place]) -> RemovedSummary:
        summary = RemovedSummary()
        for attempt in range(ATTEMPTS):
            if attempt:
                if attempt > 1:
                    back_off(attempt, self._sleep)
                # some were not as seen: sort out which, by one read instead of one failed transaction for each
                entries, others = self._sorted_out(entries)
                summary += others
                if not entries:
                    return summary
            try:
                taken = self._try_to_remove(entries, places)
            except TransactionInvalid:
                if len(entries) == 1:
                    raise
                half = len(entries) // 2  # over the 4 MB of a transaction, or too many numbers for one update
                return summary + self._remove(entries[:half], places) + self._remove(entries[half:], places)
            if taken:
                return summary + RemovedSummary(removed=Tally(len(entries), sum(entry.size for entry in entries)))
        raise LedgerError(
            f"{len(entries)} records, the first of them {entries[0].key!r}, kept changing while they were being removed: try again"
        )

    def _sorted_out(self, entries: Sequence[LedgerEntry | Record]) -> tuple[list[LedgerEntry | Record], RemovedSummary]:
        """Reads the entries anew: those that are as they were seen, with what they are counted as, and a summary of the others."""
        seen = {entry.key: entry for entry in entries}
        now = {raw["key"]["S"]: entry_of(raw) for raw in self._rows(list(seen), COUNTED_ATTRIBUTES)}
        changed = tuple(key for key, entry in seen.items() if key in now and not _is_same(entry, now[key]))
        same: list[LedgerEntry | Record] = [now[key] for key in seen if key in now and key not in changed]
        return same, RemovedSummary(already_gone=len(seen) - len(now), changed=changed)

    def _try_to_remove(self, entries: Sequence[LedgerEntry | Record], places: Mapping[str, _Place]) -> bool:
        """Removes records, sorted by place, in one transaction; False where one of them is not as it was seen."""
        additions = {place: sum_of_removals(some) for place, some in groupby(entries, key=lambda entry: places[entry.key])}
        if (most := max(map(len, additions.values()))) > _NUMBERS_PER_UPDATE:
            raise TransactionInvalid(f"{most} numbers are too many for one update")
        inline = [entry.key for entry in entries if entry.state is State.INLINE]
        spelled = [entry.key for entry in entries if is_spelled_otherwise(entry.key)]

        def fill(transaction: Writes) -> None:
            for entry in entries:
                transaction.delete_as_written(self._removal(places[entry.key][1], entry))
            for key in inline:
                transaction.delete(self._tables.inline(INLINE_PREFIX + places[key][1], key))
            for key in spelled:
                transaction.delete(self._spelling_row(key))
            for (stem, shard), numbers in additions.items():
                transaction.update_as_written(self._counting(stem, shard, numbers, None))

        def landed() -> bool:
            return not any(self._rows([entry.key for entry in entries], ("key",)))

        what = f"remove {len(entries)} records, the first of them {entries[0].key!r}"
        failed = commit(self._tables.connection, fill, landed=landed, what=what, sleep=self._sleep)
        for position, (stem, _) in enumerate(additions, len(entries) + len(inline) + len(spelled)):
            if position in failed:
                raise self._closed(stem, 0, gated=False)
        return not failed

    def _removal(self, shard: str, seen: LedgerEntry | Record) -> dict[str, Any]:
        """Returns the delete of a record as it was seen, under the condition of `_is_as_seen`."""
        values = {":version": {"N": str(seen.version)}, ":state": {"S": seen.state.value}, ":size": {"N": str(seen.size)}}
        if seen.counted_as is not None:
            values[":kept"] = {"S": seen.counted_as}
        return {
            "TableName": self._tables.objects.Meta.table_name,
            "Key": {"shard": {"S": shard}, "key": {"S": seen.key}},
            "ConditionExpression": _AS_SEEN_UNCOUNTED if seen.counted_as is None else _AS_SEEN,
            "ExpressionAttributeNames": _SEEN_NAMES,
            "ExpressionAttributeValues": values,
        }

    def _rows(self, keys: Sequence[str], attributes: Sequence[str] = ()) -> Iterator[Raw]:
        """Reads rows by key, consistently, in no order; absent ones are left out."""
        table = self._tables.objects.Meta.table_name
        for start in range(0, len(keys), _KEYS_PER_READ):
            wanted: list[Any] = [{"shard": {"S": self._shard(key)}, "key": {"S": key}} for key in keys[start : start + _KEYS_PER_READ]]
            attempt = 0
            while wanted:
                if attempt:
                    back_off(attempt, self._sleep)
                attempt += 1
                request: Any = {"Keys": wanted, "ConsistentRead": True, **(projection(*attributes) if attributes else {})}
                with ledger_errors(f"read {len(wanted)} records"):
                    reply: dict[str, Any] = {**self._tables.client.batch_get_item(RequestItems={table: request})}
                yield from reply.get("Responses", {}).get(table, [])
                wanted = list(reply.get("UnprocessedKeys", {}).get(table, {}).get("Keys", []))
                if wanted and attempt == ATTEMPTS:
                    raise LedgerError(f"the ledger was too busy to read {len(wanted)} records in {attempt} attempts: try again in a moment")

    def _shard_entries(self, shard: str, after: str, until: str | None) -> Iterator[list[LedgerEntry]]:
        """Yields the entries of a shard with after < key <= until page by page; a page may be empty."""
        if until is not None and until <= after:
            return
        names = projection(*ENTRY_ATTRIBUTES)
        request = self._request(None, "shard", shard, names, sort="key", after=after, until=until, limit=_ROWS_PER_PAGE)
        for page in self._entry_pages("scan the records", request):
            # of two bounds the lower one is in the answer
            yield page[1:] if page and page[0].key == after else page

    def _entry_pages(self, what: str, request: Mapping[str, Any]) -> Iterator[list[LedgerEntry]]:
        """Yields the entries of a query for ENTRY_ATTRIBUTES or COUNTED_ATTRIBUTES page by page; a page may be empty."""
        from stocktake.ledger.entry_pages import entry_page  # for what most functions never do: msgspec takes 20 ms to import

        read: Iterator[Any] = item_lists(what, read_as(entry_page, self._tables.client.query), request)
        return read

    def _query(self, what: str, request: Mapping[str, Any]) -> Iterator[Raw]:
        """Yields the items of a query, page by page."""
        return pages(what, self._tables.client.query, request)

    def _request(
        self,
        index: str | None,
        hash_name: str,
        hash_value: str,
        names: Mapping[str, Any],
        *,
        table: type[ObjectRow | ProjectRow] | None = None,
        sort: str = "",
        after: str = "",
        until: str | int | None = None,
        consistent: bool = True,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Returns the query for the items of one hash value with after < sort key <= until, or after <= where both are given.

        One condition on the sort key is all that DynamoDB takes, and BETWEEN includes both ends.
        """
        placeholders = {**names.get("ExpressionAttributeNames", {}), "#hash": hash_name}
        values: dict[str, Any] = {":hash": {"S": hash_value}}
        condition = "#hash = :hash"
        if after:
            values[":after"] = {"S": after}
        if until is not None:
            values[":until"] = {"N": str(until)} if isinstance(until, int) else {"S": until}
        if after or until is not None:
            placeholders["#sort"] = sort
            both = after and until is not None
            condition += " AND " + ("#sort BETWEEN :after AND :until" if both else "#sort > :after" if after else "#sort <= :until")
        request: dict[str, Any] = {
            **names,
            "TableName": (table or self._tables.objects).Meta.table_name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": placeholders,
            "ExpressionAttributeValues": values,
            "ConsistentRead": consistent,
        }
        if index is not None:
            request["IndexName"] = index
        if limit is not None:
            request["Limit"] = limit
        return request


@dataclass(slots=True)
class _Partial:
    """A project of which a scan has seen some rows."""

    own: Raw | None = None
    count_rows: int = 0
    numbers: Numbers = field(default_factory=dict)


def _transactions(entries: Iterable[LedgerEntry | Record], places: Mapping[str, _Place]) -> Iterator[list[LedgerEntry | Record]]:
    """Cuts what is to be removed, sorted by place, so that each part fits into a transaction with all that goes with it."""
    part: list[LedgerEntry | Record] = []
    actions, last = 0, None
    for entry in entries:
        rows, place = 1 + (entry.state is State.INLINE) + is_spelled_otherwise(entry.key), places[entry.key]
        if actions + rows + (place != last) > _ACTIONS:
            yield part
            part, actions, last = [], 0, None
        part.append(entry)
        actions += rows + (place != last)
        last = place
    if part:
        yield part


def _is_there(row: InlineRow | SpellingRow, what: str) -> bool:
    """Fills a row with what the table has of it, read consistently; False where it has none."""
    with ledger_errors(what):
        try:
            row.refresh(consistent_read=True)
        except row.DoesNotExist:
            return False
    return True


def _whose(stem: str, row: Raw) -> tuple[str, ProjectState]:
    """Reads whose counts they are: the id as its creator spelled it, where the project's own row is there, and the state."""
    return row["project_id"]["S"] if "project_id" in row else stem, ProjectState(row["state"]["S"])


def _names_of(row: Raw) -> Names:
    return Names.parse(row["names"]["S"] if "names" in row else None)


def _is_same(seen: LedgerEntry | Record, now: LedgerEntry) -> bool:
    return (seen.version, seen.state, seen.size) == (now.version, now.state, now.size)
