"""One line of somebody's records made a record of ours.

What has an identity of its own (`id`, or `object_id` of our own exports) has the same key and object id whenever it is imported into the
same life of a project, so the line that comes again finds its record. What has none is known by its migration and its place in the file.

- Bytes are checked as an upload's are, and lie in the ledger at first; what is too large for it goes straight into the bucket.
- A URL is only looked at: it is fetched when it is migrated.
- Of a key the bucket is asked; what lies there is adopted as it is, unless the key says that it is another project's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from stocktake import checks
from stocktake.alignment import record_of_object
from stocktake.confirmation import WHOLE_BYTES
from stocktake.errors import (
    Conflict,
    InvalidKey,
    InvalidRequest,
    ObjectDeleted,
    ObjectMissing,
    ProjectExists,
    ProjectNotFound,
    RecordChanged,
    StocktakeError,
    TooLarge,
)
from stocktake.ids import derived_id, id_of_time, time_of_id
from stocktake.importing import read_url
from stocktake.intents import Intents
from stocktake.layouts import QUARANTINE, SYSTEM, Registry, check_project_id, project_stem
from stocktake.ledger import Ledger
from stocktake.migration.entries import Entry
from stocktake.migration.storing import Storing
from stocktake.model import Project, ProjectState, Record, Reserved, State, StoredObject
from stocktake.object_deletion import ObjectDeletions
from stocktake.sealing import Sealer
from stocktake.storage import Store
from stocktake.upload import DIRECT_LIFE_MS, Uploads

SOURCE = "migration"
_AHEAD_MS = 86_400_000
"""By which the clock of another ledger may be ahead of ours: an id of a later time was given out by nobody."""
_ANY_EXTENSION = "bin"
"""Of an object at a URL that tells no type: what it is shows when it is fetched."""


@dataclass(frozen=True, slots=True)
class Intended:
    """The record a line asks for. `body` is what lies in the ledger with it; `is_large` says that it goes straight into the bucket."""

    record: Record
    body: bytes | None = field(default=None, repr=False)
    is_large: bool = False
    is_known_by_name: bool = False


class Importer:
    """Makes records of entries.

    Args:
        max_inline_bytes: the most that lies in the ledger.
        enabled: whether storage is on; while it is off nothing goes into the bucket.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        layouts: Registry,
        deletions: ObjectDeletions,
        intents: Intents,
        uploads: Uploads,
        storing: Storing,
        rules: checks.Rules,
        *,
        max_inline_bytes: int,
        enabled: bool,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._layouts = layouts
        self._deletions = deletions
        self._intents = intents
        self._uploads = uploads
        self._storing = storing
        self._rules = rules
        self._max_inline_bytes = max_inline_bytes
        self._enabled = enabled
        self._now = now

    def open_project(self, project_id: str, *, create: bool, dry_run: bool) -> Project:
        """Returns the open project of a line, opened for it where that was asked.

        Raises:
            ProjectNotFound, ProjectClosed: there is none, and none is to be made.
            InvalidKey: none can be made of that id.
        """
        try:
            return self._intents.remembered(project_id)
        except ProjectNotFound:
            if not create:
                raise ProjectNotFound(
                    f"there is no project {project_id!r}: open it by POST /projects, or start the migration with create_projects"
                ) from None
        if dry_run:
            return Project(check_project_id(project_id), ProjectState.ACTIVE, 1, self._now())
        try:
            return self._uploads.create_project(project_id, {})
        except ProjectExists:
            return self._intents.open_project(project_id)  # opened at this moment by another

    def intended(self, entry: Entry, project: Project, seed: str, place: int) -> Intended:
        """Says which record an entry asks for; asks the bucket of a key, and writes nothing.

        Args:
            seed: the migration's id.
            place: the line's own place in its file.

        Raises:
            InvalidRequest, TooLarge, UnsupportedType, InvalidKey, ImportRefused, SealingError: the line asks for none that can be.
            ObjectMissing: the bucket has nothing under its key.
            Conflict: its key is of another project.
        """
        object_id, at = self._identity(entry, project, seed, place)
        reserved = Reserved(object_id, at)
        if entry.body is not None:
            intended = self._of_bytes(entry, entry.body, project, reserved)
        elif entry.url is not None:
            intended = Intended(self._of_url(entry, entry.url, project, reserved))
        else:
            intended = Intended(self._of_key(entry, project, reserved))
        record = replace(
            intended.record,
            created_at=self._now() if entry.created_at is None else entry.created_at,
            updated_at=self._now(),
            original_url=entry.url or entry.original_url,
        )
        if entry.sealed is not None:
            if record.sealed is not None:
                raise InvalidRequest("the line brings metadata that is sealed, and some that is still to be: send the one or the other")
            Sealer.names(entry.sealed)  # raises where it is none of ours
            record = replace(record, sealed=entry.sealed)
        return replace(intended, record=record, is_known_by_name=entry.id is not None or entry.object_id is not None)

    def obstacles(self, wanted: Sequence[Intended]) -> tuple[dict[str, Record], dict[str, StocktakeError]]:
        """Reads what stands in the way of records, all at once.

        Returns:
            What is recorded under their keys, by key; and by object id why one that is not there must not be written: it was deleted by
            request, or is recorded under another key already, of this project or of another one.
        """
        recorded = self._ledger.records([intended.record.key for intended in wanted])
        absent = [intended for intended in wanted if intended.record.key not in recorded]
        new = [intended.record for intended in absent]
        # an id that is of this place in this file is nobody else's
        named = [intended.record for intended in absent if intended.is_known_by_name or intended.record.state is State.STORED]
        others = {key: record for record in named if record.state is not State.STORED for key in _other_forms(record.key)}
        # under another extension it is found consistently, and anywhere else as soon as the index knows it
        elsewhere = {others[key].object_id: key for key in self._ledger.records(list(others))}
        for record in named:
            found = self._ledger.find_object(record.object_id)
            if found is not None and found.key != record.key:
                elsewhere.setdefault(record.object_id, found.key)
        reasons: dict[str, StocktakeError] = {
            object_id: Conflict(f"this id is of object {object_id}, recorded under {key!r}: give the line another id")
            for object_id, key in elsewhere.items()
        }
        for object_id in self._deletions.deleted([record.object_id for record in new]):
            reasons[object_id] = ObjectDeleted(f"object {object_id} of this line was deleted by request: give the line another id")
        return recorded, reasons

    def write(self, intended: Intended) -> Record:
        """Writes the record, with its bytes; finding what this very batch had written before it was killed is as good.

        Raises:
            ProjectClosed, QuotaExceeded: its project does not take it; what was written is gone again.
            Conflict: its key is another object's.
            StorageError: the bucket did not take it.
        """
        record = intended.record
        if intended.is_large:
            return self._write_large(intended)
        try:
            written = self._ledger.move(None, record, gated=True, content=intended.body)
        except RecordChanged:
            written = self._found(intended)
            if written.state is State.PENDING:
                raise Conflict(
                    f"{record.key!r} is being uploaded: complete that upload, or abort it, and start the migration again"
                ) from None
        self._intents.check_quota(self._intents.remembered(record.project_id), written, is_ours=True)
        return written

    def _write_large(self, intended: Intended) -> Record:
        body, record = intended.body, intended.record
        assert body is not None
        now = self._now()
        intent = replace(record, state=State.PENDING, etag=None, expires_at=now + DIRECT_LIFE_MS)
        try:
            written = self._ledger.move(None, intent, gated=True)
        except RecordChanged:
            written = self._found(intended)
        if written.state is State.STORED:
            return written
        self._intents.check_quota(self._intents.remembered(record.project_id), written, is_ours=True)
        return self._intents.commit(written, self._storing.put(written, body))

    def _found(self, intended: Intended) -> Record:
        record = intended.record
        found = self._ledger.record(record.key)
        if found is None:
            self._check_name(record.key)
            raise RecordChanged(f"the record of {record.key!r} was removed at this moment: start the migration again")
        if found.object_id != record.object_id or differs(found, intended):  # of what came at this moment the line's details are not kept
            raise Conflict(f"{record.key!r} is recorded already, of another object: give the line another id")
        return found

    def _identity(self, entry: Entry, project: Project, seed: str, place: int) -> tuple[str, int]:
        """Returns object id and the time of its key."""
        if entry.object_id is not None:
            at = time_of_id(entry.object_id)
            if at is None or at > self._now() + _AHEAD_MS:
                raise InvalidRequest("object_id is none that we gave out: leave it out, and give the object an id of your own")
            return entry.object_id, at
        if entry.id is None:
            return derived_id(seed, str(place)), time_of_id(seed) or 0
        # of one life of the project: what was deleted with it does not stand in the way of what comes after
        born = id_of_time(project.created_at, "0" * 16)
        return derived_id(born, f"{project_stem(project.project_id)}|{project.epoch}|{entry.id}"), project.created_at

    def _of_bytes(self, entry: Entry, body: bytes, project: Project, reserved: Reserved) -> Intended:
        if entry.state not in (None, State.INLINE):
            raise InvalidRequest(f"a line with content is of an INLINE record, and this one says {entry.state}: leave state out")
        inspected = checks.inspect(body, entry.declared_type, max_bytes=len(body), rules=self._rules)
        sha256 = hashlib.sha256(body).hexdigest()
        _check_sha256(entry, sha256)
        is_large = len(body) > self._max_inline_bytes
        if is_large and not self._enabled:
            raise TooLarge(
                f"the object has {len(body)} bytes and {self._max_inline_bytes} are the most while storage is switched off (MaxInlineBytes)"
            )
        draft = self._intents.draft(project, reserved, inspected, entry.details, size=len(body), sha256=sha256, source=SOURCE)
        return Intended(replace(draft, state=State.INLINE, etag=sha256), body, is_large)

    def _of_url(self, entry: Entry, url: str, project: Project, reserved: Reserved) -> Record:
        if entry.state not in (None, State.EXTERNAL):
            raise InvalidRequest(f"a line with a url is of an EXTERNAL record, and this one says {entry.state}: leave state out")
        read_url(url)
        declared = checks.announced(entry.declared_type, self._rules) if entry.declared_type else None
        inspected = declared or checks.Inspected("", _extension(url), None, None)
        draft = self._intents.draft(project, reserved, inspected, entry.details, size=0, sha256=entry.sha256, source=SOURCE)
        return replace(draft, state=State.EXTERNAL, content_type=declared.content_type if declared else None)

    def _of_key(self, entry: Entry, project: Project, reserved: Reserved) -> Record:
        key, stem = entry.key or "", project_stem(project.project_id)
        if entry.state is State.INLINE:
            raise InvalidRequest("the bytes of an INLINE record are not in this line: export it with contents")
        if entry.details.session_place is not None:
            raise InvalidRequest("layout is for objects whose key is made here: leave it out beside a key")
        parsed = self._layouts.parse(key)
        if parsed is None or parsed.layout in (QUARANTINE.name, SYSTEM.name):
            raise InvalidKey(f"no layout explains the key {key[:120]!r}: nobody can say whose it is")
        owner = self._layouts.owner(parsed, self._ledger.has_project)
        if owner not in (None, stem) or (parsed.candidates and stem not in parsed.candidates):
            raise Conflict(f"the key {key[:120]!r} is of another project than {project.project_id!r}: correct the line")
        self._check_name(key)
        stored = self._store.head(key)
        if stored is None:
            raise ObjectMissing(f"the bucket has nothing under {key[:120]!r}: no record is made of what is not there")
        object_id = reserved.object_id if entry.object_id or parsed.object_id is None else parsed.object_id
        sha256 = self._sha256_of(entry, stored)
        details, declared = entry.details, entry.declared_type
        if declared is not None and stored.content_type is not None and declared != stored.content_type:
            raise InvalidRequest(
                f"the line says {declared[:80]} and the bucket serves {key[:120]!r} as {stored.content_type}: correct the line"
            )
        draft = self._intents.draft(
            project,
            Reserved(object_id, reserved.at),
            checks.Inspected(declared or stored.content_type or "application/octet-stream", _ANY_EXTENSION, entry.width, entry.height),
            details,
            size=stored.size,
            sha256=sha256,
            source=SOURCE,
        )
        found = record_of_object(stored, parsed, project, state=State.STORED, object_id=object_id, at=reserved.at, source=SOURCE)
        return replace(
            draft,
            key=key,
            state=State.STORED,
            layout=found.layout,
            etag=found.etag,
            content_type=declared or found.content_type,
            cache_control=details.cache_control or found.cache_control,
            # of our own export an absent name was absent
            file_name=details.file_name or (None if entry.object_id else found.file_name),
        )

    def _check_name(self, key: str) -> None:
        if (other := self._ledger.spelled_otherwise(key)) is not None:
            raise Conflict(f"{key[:120]!r} is recorded in another Unicode spelling, as {other.key[:120]!r}: a name has one record")

    def _sha256_of(self, entry: Entry, stored: StoredObject) -> str | None:
        known = stored.sha256
        if known is None and entry.sha256 is not None:
            if stored.size > WHOLE_BYTES:
                raise TooLarge(f"the store keeps no SHA-256, and reading {stored.size} bytes for it is too much: leave sha256 out")
            content = self._store.get(stored.key)
            known = hashlib.sha256(content.body).hexdigest() if content else None
        _check_sha256(entry, known)
        return known


def differs(found: Record, intended: Intended) -> bool:
    """Says whether what is recorded under a key is another object than the one a line asks for. What it became since is its own affair.

    A line that brings a key and no name for it means whatever is recorded there, by an event for one, if it is of the line's project.
    """
    record = intended.record
    if intended.is_known_by_name and found.object_id != record.object_id:
        return True
    if project_stem(found.project_id) != project_stem(record.project_id):
        return True
    return found.sha256 is not None and record.sha256 is not None and found.sha256 != record.sha256


def _other_forms(key: str) -> set[str]:
    """Returns the keys under which the object of this key would lie, were it of another type."""
    stem = key.rpartition(".")[0]
    return {f"{stem}.{extension}" for extension in (*checks.ALLOWED.values(), _ANY_EXTENSION)} - {key}


def _check_sha256(entry: Entry, known: str | None) -> None:
    if entry.sha256 is not None and entry.sha256 != known:
        raise InvalidRequest("the bytes are not those the line's sha256 was taken of: correct the line")


def _extension(url: str) -> str:
    """Returns the extension of a URL's path where it is one of a type we take: of the key alone, since nobody believes it."""
    ending = urlsplit(url).path.rpartition(".")[2].lower()
    return ending if ending in checks.ALLOWED.values() else _ANY_EXTENSION
