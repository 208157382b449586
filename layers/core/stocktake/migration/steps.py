"""The migration flow: taken, started, stopped, worked on step by step, and told about."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from textwrap import shorten
from typing import Any, Literal

from stocktake.errors import (
    Conflict,
    InvalidRequest,
    LedgerError,
    MessagingError,
    ObjectNotFound,
    OperationNotFound,
    RecordChanged,
    StocktakeError,
    StorageDisabled,
    StorageUnavailable,
    UploadIncomplete,
)
from stocktake.layouts import project_stem
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.ledger.operations import cursor_of, text_of_cursor
from stocktake.migration.entries import Entry, NewMigration, ReadEntry
from stocktake.migration.imports import Importer, Intended, differs
from stocktake.migration.lines import Line, Place, read_csv, read_jsonl
from stocktake.migration.storing import UNSTORED, Storing
from stocktake.model import State
from stocktake.storage import SignedRequest, Store

KIND = "migration"
IMPORT, MIGRATE = "import", "migrate"
COUNTERS = ("seen", "done", "skipped", "failed", "bytes", "inline", "external", "key")
BATCH_BYTES = 32_000_000
"""Lines held at once, whatever their number: each of up to 6.5 MB is decoded besides."""
ENTRIES_AT_ONCE = 5000
"""Records that are passed over before the place is kept: a ledger may hold millions that are stored already."""
ROUNDS = 5
"""Records that one worker moves in a batch: each may wait 15 s for a foreign host, and a batch has to end within a step."""
_WHY_CHARACTERS = 200
"""With ids and keys of any length, the results of a whole batch have to fit into one row."""
_NAME_BYTES = 1024
_RESULT_ROWS = 100
_CURSOR = re.compile("(result#[0-9]{4,}#[a-z]+#[0-9]{8,12})@([0-9]{1,9})")
_TRANSIENT = (LedgerError, MessagingError, StorageUnavailable)
"""What SQS tries again; anything else that ends a step ends the migration, with its reason."""

Send = Callable[[Mapping[str, Any], int], None]
"""Puts a message on the queue, to be seen after so many seconds."""
Outcome = Literal["done", "skipped", "failed"]


class Migrations:
    """The migrations of one deployment.

    Args:
        files: the stack's own bucket, where files to import lie.
        read_entry: reads one line.
        columns: that a CSV file may have.
        enabled: whether storage is on.
        batch: lines or records of a batch, where none is asked for.
        workers: how many of a batch are worked on at once.
        seconds: life of the URL that a file is put to.
        lease_ms: how long a step may take; no other begins meanwhile.
    """

    def __init__(
        self,
        files: Store,
        ledger: Ledger,
        operations: Operations,
        importer: Importer,
        storing: Storing,
        *,
        read_entry: ReadEntry,
        columns: frozenset[str],
        send: Send,
        enabled: bool,
        batch: int,
        workers: int,
        seconds: int,
        lease_ms: int,
        now: Callable[[], int],
        new_id: Callable[[int], str],
    ) -> None:
        self._files = files
        self._ledger = ledger
        self._operations = operations
        self._importer = importer
        self._storing = storing
        self._read_entry = read_entry
        self._columns = columns
        self._send = send
        self._enabled = enabled
        self._batch = batch
        self._workers = workers
        self._seconds = seconds
        self._lease_ms = lease_ms
        self._now = now
        self._new_id = new_id

    # asking

    def request(self, new: NewMigration) -> Operation:
        """Writes a migration. One without a source is started; one with a source waits for its file.

        Raises:
            StorageDisabled: storage is off, so that nothing can be migrated into the bucket.
            ProjectNotFound: there is no such project.
        """
        if new.source is None and not self._enabled:
            raise StorageDisabled("storage is switched off (EnableStorage), so nothing is moved into the bucket: switch it on first")
        if new.project_id is not None and not new.create_projects:
            self._ledger.project(new.project_id)
        at = self._now()
        migration_id = self._new_id(at)
        source = None
        if new.source is not None:
            source = {"format": new.source.format, "bytes": new.source.bytes, "sha256": new.source.sha256}
        document = {
            "source": source,
            "project_id": new.project_id,
            "batch": new.batch or self._batch,
            "dry_run": new.dry_run,
            "create_projects": new.create_projects,
            "phase": IMPORT if source else MIGRATE,
            "run": 1,
            "turn": 0,
            "leased_until": 0,
            "expected": None,
            "requested_at": at,
            "started_at": None,
            "ended_at": None,
            "why": None,
        }
        self._operations.put_new(migration_id, "", KIND, document, created_at=at, status="WAITING")
        return self.start(migration_id) if source is None else self.operation(migration_id)

    def upload(self, operation: Operation) -> SignedRequest | None:
        """Signs the PUT of the file a migration waits for; None where it waits for none."""
        source = operation.document["source"]
        if operation.status != "WAITING" or source is None:
            return None
        return self._files.presign_put(
            _file(operation.operation_id),
            seconds=self._seconds,
            size=source["bytes"],
            content_type="application/octet-stream",
            sha256=source["sha256"],
        )

    def operation(self, migration_id: str) -> Operation:
        """Reads a migration. Raises OperationNotFound."""
        operation = self._operations.get(migration_id) if migration_id else None
        if operation is None or operation.kind != KIND:
            raise OperationNotFound(f"there is no migration {migration_id!r}: use the migration_id that POST /migrations answered with")
        return operation

    def recent(self, limit: int) -> list[Operation]:
        """Reads the newest migrations, newest first."""
        return self._operations.recent(KIND, limit)

    def start(self, migration_id: str) -> Operation:
        """Starts a migration, takes one up that was stopped or failed, or begins another run of one that is complete.

        Of one that runs its message is sent again, since it may be lost.

        Raises:
            OperationNotFound: there is no such migration.
            UploadIncomplete: its file is not there yet.
            Conflict: what is there is not the file that was announced.
        """
        while True:
            operation = self.operation(migration_id)
            document = operation.document
            if operation.status != "RUNNING":
                self._check_file(operation)
                again = operation.status == "COMPLETE"
                change: dict[str, Any] = {"turn": document["turn"] + 1, "leased_until": 0, "ended_at": None, "why": None}
                if again:
                    change |= {"run": document["run"] + 1, "phase": IMPORT if document["source"] else MIGRATE, "expected": None}
                if again or document["started_at"] is None:
                    change["started_at"] = self._now()
                try:
                    operation = self._operations.update(operation, document={**document, **change}, status="RUNNING")
                except RecordChanged:
                    continue
            self._send(_message(operation), 0)
            return operation

    def stop(self, migration_id: str) -> Operation:
        """Stops a migration that runs, after the batch under way; one that is stopped stays so.

        Raises:
            OperationNotFound: there is no such migration.
            Conflict: it does not run.
        """
        while True:
            operation = self.operation(migration_id)
            if operation.status == "STOPPED":
                return operation
            if operation.status != "RUNNING":
                raise Conflict(f"migration {migration_id} is {operation.status.lower()}: there is nothing to stop")
            try:
                return self._operations.update(operation, document={**operation.document, "ended_at": self._now()}, status="STOPPED")
            except RecordChanged:
                continue

    def totals(self, operation: Operation) -> dict[str, dict[str, int]]:
        """Returns the numbers of the run by phase."""
        run = operation.document["run"]
        phases = (IMPORT, MIGRATE) if operation.document["source"] else (MIGRATE,)
        return {phase: {name: operation.counters.get(_counter(run, phase, name), 0) for name in COUNTERS} for phase in phases}

    def remaining(self, operation: Operation) -> dict[str, int | None]:
        """Estimates what is left of the phase under way: lines, from the bytes of the file that are left, or records.

        Either is None where it cannot be said.
        """
        document = operation.document
        if operation.status in ("WAITING", "COMPLETE"):
            return {"lines": None, "records": None}
        if document["phase"] == IMPORT:
            row = self._newest(operation, IMPORT)
            if row is None:
                return {"lines": None, "records": None}
            offset, lines = row.document["end"]
            left = document["source"]["bytes"] - offset
            return {"lines": -(-left * lines // offset) if offset else None, "records": None}
        if document["expected"] is None:
            return {"lines": None, "records": None}
        totals = self.totals(operation)[MIGRATE]
        return {"lines": None, "records": max(0, document["expected"] - totals["done"] - totals["failed"])}

    def results(
        self, migration_id: str, outcome: Outcome | None, limit: int, cursor: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Reads one page of what came of each line and record of the run, in the order of the batches.

        Args:
            outcome: only these.

        Returns:
            Up to `limit` of them, fewer where many others lie between, and the cursor of the next page or None.

        Raises:
            OperationNotFound: there is no such migration.
            InvalidRequest: the cursor is not one of ours.
        """
        operation = self.operation(migration_id)
        prefix = f"result#{operation.document['run']:04d}#"
        after, first = None, 0
        if cursor is not None:
            said = _CURSOR.fullmatch(text_of_cursor(cursor))
            if said is None or not said[1].startswith(prefix):
                raise InvalidRequest("the cursor is of another list: begin again without it")
            # the row it stopped in is read again: the cursor of `parts` is the last row that is done with
            after, first = cursor_of(_before(said[1])), int(said[2])
        rows, following = self._operations.parts(migration_id, prefix, _RESULT_ROWS, after)
        found: list[dict[str, Any]] = []
        for row in rows:
            lines = row.document["lines"]
            for place in range(first, len(lines)):
                if outcome in (None, lines[place]["outcome"]):
                    if len(found) == limit:
                        return found, cursor_of(f"{row.part}@{place}")
                    found.append({"phase": row.part.split("#")[2], **lines[place]})
            first = 0
        return found, cursor_of(f"{rows[-1].part}@{len(rows[-1].document['lines'])}") if following else None

    # working

    def step(self, migration_id: str, turn: int, *, out_of_time: Callable[[], bool]) -> str:
        """Works on a migration until it is done, stopped or out of time; hands on what is left. Returns its status afterwards.

        Raises:
            LedgerError, StorageUnavailable, MessagingError: for now it cannot go on; the message comes again.
        """
        operation = self.operation(migration_id)
        document = operation.document
        if operation.status != "RUNNING" or document["turn"] != turn or document["leased_until"] > self._now():
            return operation.status  # a copy of a message, or one of before it was stopped
        try:
            operation = self._operations.update(operation, document={**document, "leased_until": self._now() + self._lease_ms})
        except RecordChanged:
            return operation.status  # another delivery was first
        late = out_of_time
        try:
            while (current := self._running(operation)) is not None:
                phase = current.document["phase"]
                is_done = (self._import if phase == IMPORT else self._migrate)(current, late)
                if is_done:
                    self._end_phase(current)
                elif late() and self._change(operation, {"leased_until": 0}):
                    self._send(_message(operation), 0)
                    break
        except _TRANSIENT:
            self._change(operation, {"leased_until": 0})
            raise
        except StocktakeError as error:
            self._change(operation, {"leased_until": 0, "why": str(error)[:2000], "ended_at": self._now()}, "FAILED")
        return self.operation(migration_id).status

    def _import(self, operation: Operation, late: Callable[[], bool]) -> bool:
        """Takes the lines of the file, batch by batch; True once there is none left."""
        row = self._newest(operation, IMPORT)
        number, redo = 0, row
        place = Place()
        if row is not None:
            number = int(row.part.rpartition("#")[2])
            place = Place(*row.document["begin"])
            if self._has_result(operation, row):
                number, redo, place = number + 1, None, Place(*row.document["end"])
        lines = self._lines(operation, place)
        ahead: Line | None = None
        with ThreadPoolExecutor(self._workers) as pool:
            while True:
                end = Place(*redo.document["end"]) if redo else None
                batch, ahead = _take(lines, ahead, operation.document["batch"], end)
                if not batch:
                    return True
                asked, there = self._look(self._asked(operation, batch, pool))
                if redo is None:
                    begin = (batch[0].offset, batch[0].number - 1)
                    after = batch[-1].after
                    document = {"begin": begin, "end": (after.offset, after.lines), "there": there}
                    if not self._put_batch(operation, IMPORT, number, document):
                        return False  # another delivery is ahead: begin again after its last batch
                else:
                    there, redo = redo.document["there"], None
                results = self._take_lines(operation, pool, batch, asked, frozenset(there))
                self._put_result(operation, IMPORT, number, results, seen=len(batch))
                number += 1
                if late() or self._running(operation) is None:
                    return False

    def _asked(self, operation: Operation, batch: Sequence[Line], pool: ThreadPoolExecutor) -> list[_Asked]:
        document = operation.document

        def ask(line: Line) -> _Asked:
            if line.content is None:
                return _Asked(None, InvalidRequest(line.problem or "the line cannot be read"))
            entry = None
            try:
                entry = self._read_entry(line.content)
                wanted = document["project_id"]
                if wanted is not None and project_stem(wanted) != project_stem(entry.project_id):
                    return _Asked(entry, _OfAnother(f"the migration is of project {wanted!r} alone"))
                project = self._importer.open_project(entry.project_id, create=document["create_projects"], dry_run=document["dry_run"])
                return _Asked(entry, self._importer.intended(entry, project, operation.operation_id, line.offset))
            except LedgerError:
                raise
            except Exception as error:  # one line's trouble, foreseen or not, must not stop the others
                return _Asked(entry, error)

        return list(pool.map(ask, batch))

    def _look(self, asked: Sequence[_Asked]) -> tuple[list[_Asked], list[int]]:
        """Looks at what stands in the way of a batch before anything of it is acted on.

        Returns:
            The batch, with the reasons of what must not be written; and which of it is recorded, by its place: of twins in it the second is
            taken for that, too.
        """
        recorded, reasons = self._importer.obstacles([item.came_of for item in asked if isinstance(item.came_of, Intended)])
        looked: list[_Asked] = []
        there: list[int] = []
        seen: dict[str, str] = {}
        keys: set[str] = set()
        for number, item in enumerate(asked):
            if isinstance(item.came_of, Intended):
                record = item.came_of.record
                is_twin = record.object_id in seen or record.key in keys
                keys.add(record.key)
                first = seen.setdefault(record.object_id, record.key)
                if record.object_id in reasons and record.key not in recorded:
                    item = _Asked(item.entry, reasons[record.object_id])
                elif first != record.key:
                    item = _Asked(item.entry, Conflict(f"a line before this one has the same id, under {first!r}: give this one another"))
                elif is_twin or (record.key in recorded and recorded[record.key].state is not State.PENDING):
                    there.append(number)
            looked.append(item)
        return looked, there

    def _take_lines(
        self, operation: Operation, pool: ThreadPoolExecutor, batch: Sequence[Line], asked: Sequence[_Asked], there: frozenset[int]
    ) -> list[dict[str, Any]]:
        """Takes those that were not there, and then the others: among them is what comes twice in the batch itself."""
        results: dict[int, dict[str, Any]] = {}
        for is_there in (False, True):
            wave = [number for number in range(len(batch)) if (number in there) is is_there]
            lines, wanted = [batch[number] for number in wave], [asked[number] for number in wave]
            results |= zip(wave, pool.map(partial(self._take_line, operation, is_there), lines, wanted), strict=True)
        return [results[number] for number in range(len(batch))]

    def _take_line(self, operation: Operation, is_there: bool, line: Line, asked: _Asked) -> dict[str, Any]:
        name = asked.entry.name if asked.entry else _named(line.content)
        result: dict[str, Any] = {"line": line.number, "id": _shown(name) if name else None}
        intended = asked.came_of
        if isinstance(intended, Exception):
            outcome: Outcome = "skipped" if isinstance(intended, _OfAnother) else "failed"
            return {**result, "outcome": outcome, **_why(intended)}
        record, kind = intended.record, asked.entry.kind if asked.entry else ""
        result |= {"object_id": record.object_id, "key": record.key, "kind": kind}
        if is_there and (found := self._ledger.record(record.key)) is not None:
            if differs(found, intended):
                return {**result, "outcome": "failed", **_why(Conflict(f"{record.key!r} is recorded already, of another object"))}
            return {**result, "outcome": "skipped", "why": "it is recorded already"}
        try:
            written = record if operation.document["dry_run"] else self._importer.write(intended)
        except LedgerError:
            raise
        except Exception as error:  # as above
            return {**result, "outcome": "failed", **_why(error)}
        return {**result, "outcome": "done", "bytes": written.size}

    def _migrate(self, operation: Operation, late: Callable[[], bool]) -> bool:
        """Moves what is unstored into the bucket, batch by batch in key order; True once there is none left."""
        if operation.document["expected"] is None:
            self._change(operation, {"expected": self._expected(operation.document["project_id"])})
        row = self._newest(operation, MIGRATE)
        number, cursor = 0, ""
        with ThreadPoolExecutor(self._workers) as pool:
            if row is not None:
                number, cursor = int(row.part.rpartition("#")[2]) + 1, row.document["until"]
                if not self._has_result(operation, row):
                    self._move(operation, pool, number - 1, row.document)
            for document in self._batches(operation, cursor):
                if not self._put_batch(operation, MIGRATE, number, document):
                    return False  # another delivery is ahead
                self._move(operation, pool, number, document)
                number += 1
                if late() or self._running(operation) is None:
                    return False
        return True

    def _batches(self, operation: Operation, cursor: str) -> Iterator[dict[str, Any]]:
        """Yields batches of unstored records, each with how many stored ones were passed over on the way."""
        project, most = operation.document["project_id"], min(operation.document["batch"], self._workers * ROUNDS)
        stem = None if project is None else project_stem(project)
        keys: list[str] = []
        passed = walked = 0
        last = cursor
        for entry in self._ledger.entries(cursor):
            walked, last = walked + 1, entry.key
            if stem is None or project_stem(entry.project_id) == stem:
                if entry.state in UNSTORED:
                    keys.append(entry.key)
                passed += entry.state is State.STORED
            if len(keys) == most or walked == ENTRIES_AT_ONCE:
                yield {"keys": keys, "until": last, "passed": passed}
                keys, passed, walked = [], 0, 0
        if walked:
            yield {"keys": keys, "until": last, "passed": passed}

    def _move(self, operation: Operation, pool: ThreadPoolExecutor, number: int, document: Mapping[str, Any]) -> None:
        is_dry = operation.document["dry_run"]
        held = self._ledger.records(document["keys"])

        def move(key: str) -> dict[str, Any]:
            try:
                record = held[key] if is_dry else self._storing.store(key, held.get(key))
                if is_dry:
                    self._storing.check(record)
            except (KeyError, ObjectNotFound):
                return {"key": key, "outcome": "skipped", "why": "it was deleted meanwhile"}
            except LedgerError:
                raise
            except Exception as error:  # one record's trouble, foreseen or not, must not stop the others
                return {"key": key, "outcome": "failed", **_why(error)}
            kind = {"kind": record.state.lower()} if is_dry else {}
            return {"key": key, "object_id": record.object_id, "outcome": "done", "bytes": record.size, **kind}

        results = list(pool.map(move, document["keys"]))
        self._put_result(operation, MIGRATE, number, results, seen=len(results) + document["passed"], passed=document["passed"])

    # small

    def _lines(self, operation: Operation, place: Place) -> Iterator[Line]:
        source = operation.document["source"]
        name, size = _file(operation.operation_id), source["bytes"]
        self._check_file(operation)

        def read(first: int, last: int) -> bytes:
            content = self._files.get(name, byte_range=(first, last))
            if content is None or len(content.body) != last - first + 1:
                raise Conflict("the file of this migration is gone or another by now: begin a new migration")
            return content.body

        if source["format"] == "csv":
            return read_csv(read, size, self._columns, place)
        return read_jsonl(read, size, place)

    def _check_file(self, operation: Operation) -> None:
        source = operation.document["source"]
        if source is None:
            return
        found = self._files.head(_file(operation.operation_id))
        if found is None:
            raise UploadIncomplete(
                f"the file of migration {operation.operation_id} is not there: PUT it as its upload says, which GET signs anew"
            )
        if found.size != source["bytes"] or found.sha256 not in (None, source["sha256"]):
            raise Conflict("the file that was put is not the one that was announced: begin a new migration")

    def _expected(self, project_id: str | None) -> int:
        if project_id is not None and not self._ledger.has_project(project_id):
            return 0  # none of its lines was taken, so it was not opened
        counts = (project.states for project in self._ledger.all_counts()) if project_id is None else [self._ledger.counts(project_id)]
        return sum(tallies[state].objects for tallies in counts for state in UNSTORED)

    def _newest(self, operation: Operation, phase: str) -> Operation | None:
        rows, _ = self._operations.parts(operation.operation_id, f"batch#{operation.document['run']:04d}#{phase}#", 1, forward=False)
        return rows[0] if rows else None

    def _has_result(self, operation: Operation, batch: Operation) -> bool:
        return self._operations.get(operation.operation_id, batch.part.replace("batch#", "result#", 1)) is not None

    def _put_batch(self, operation: Operation, phase: str, number: int, document: Mapping[str, Any]) -> bool:
        part = _part("batch", operation, phase, number)
        return self._operations.put_new(operation.operation_id, part, None, document, created_at=self._now(), status="PLANNED")

    def _put_result(
        self, operation: Operation, phase: str, number: int, results: Sequence[Mapping[str, Any]], *, seen: int, passed: int = 0
    ) -> None:
        amounts = dict.fromkeys(COUNTERS, 0)
        amounts |= {"seen": seen, "skipped": passed}
        for result in results:
            amounts[result["outcome"]] += 1
            if result["outcome"] == "done":
                amounts["bytes"] += result["bytes"]
                if "kind" in result:
                    amounts[result["kind"]] += 1
        counted = {_counter(operation.document["run"], phase, name): amount for name, amount in amounts.items() if amount}
        part = _part("result", operation, phase, number)
        self._operations.put_once_and_count(
            operation.operation_id, part, {"lines": list(results)}, "", counted or {_counter(1, phase, "seen"): 0}, created_at=self._now()
        )

    def _running(self, operation: Operation) -> Operation | None:
        current = self.operation(operation.operation_id)
        return current if current.status == "RUNNING" and current.document["turn"] == operation.document["turn"] else None

    def _end_phase(self, operation: Operation) -> None:
        if operation.document["phase"] == IMPORT and self._enabled:
            self._change(operation, {"phase": MIGRATE})
        else:
            self._change(operation, {"leased_until": 0, "ended_at": self._now()}, "COMPLETE")

    def _change(self, operation: Operation, change: Mapping[str, Any], status: str | None = None) -> bool:
        """Changes the row while the migration runs in the turn it was read in; False where somebody stopped it, or started it again."""
        while (current := self._running(operation)) is not None:
            try:
                self._operations.update(current, document={**current.document, **change}, status=status)
            except RecordChanged:
                continue
            return True
        return False


@dataclass(frozen=True, slots=True)
class _Asked:
    """A line's entry, and the record it asks for or why it gets none."""

    entry: Entry | None
    came_of: Intended | Exception


class _OfAnother(StocktakeError):
    """The line is of another project than the migration."""

    type = "other-project"


def _take(lines: Iterator[Line], ahead: Line | None, most: int, end: Place | None) -> tuple[list[Line], Line | None]:
    """Takes the lines of one batch: up to `end` where it was taken before, else as many as it may hold; and the one read too far."""
    batch: list[Line] = []
    size = 0
    line = ahead or next(lines, None)
    while line is not None:
        size += line.after.offset - line.offset
        is_full = line.offset >= end.offset if end else len(batch) == most or (bool(batch) and size > BATCH_BYTES)
        if is_full:
            break
        batch.append(line)
        line = next(lines, None)
    return batch, line


def _why(error: Exception) -> dict[str, str]:
    if not isinstance(error, StocktakeError):
        return {"problem": "urn:stocktake:problem:internal", "why": f"something went wrong on our side ({type(error).__name__})"}
    return {"problem": f"urn:stocktake:problem:{error.type}", "why": shorten(str(error), _WHY_CHARACTERS, placeholder=" …")}


def _named(content: str | Mapping[str, str] | None) -> str | None:
    """Reads what a line calls its object, where the line as a whole cannot be taken: among ten thousand its number says little."""
    try:
        said = json.loads(content) if isinstance(content, str) else content
    except (ValueError, RecursionError):
        return None
    names = [said.get(field) for field in ("id", "object_id")] if isinstance(said, Mapping) else []
    return next((name for name in names if isinstance(name, str)), None)


def _shown(name: str) -> str:
    """Returns what a line calls its object, or the beginning of it: a key has at most 1,024 bytes, and a line may name anything."""
    while (over := len(json.dumps(name, ensure_ascii=False).encode(errors="surrogatepass")) - _NAME_BYTES - 2) > 0:
        name = name[: -(over // 6 or 1)]  # no character is more than six bytes of JSON
    return name


def _message(operation: Operation) -> dict[str, Any]:
    return {"migration_id": operation.operation_id, "turn": operation.document["turn"]}


def _file(migration_id: str) -> str:
    """Names the file of a migration in the stack's own bucket."""
    return f"migrations/{migration_id}/source"


def _part(what: str, operation: Operation, phase: str, number: int) -> str:
    return f"{what}#{operation.document['run']:04d}#{phase}#{number:08d}"


def _before(part: str) -> str:
    """Returns the name of the row before this one, whether there is one or not: rows are numbered."""
    stem, _, number = part.rpartition("#")
    return f"{stem}#{int(number) - 1:08d}" if int(number) else f"{stem}#"


def _counter(run: int, phase: str, name: str) -> str:
    return f"r{run}_{phase}_{name}"
