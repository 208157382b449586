"""The ledger out, as lines that can be imported again; and the findings of a reconciliation, as lines to look at.

A line says what a record says of its object: its key where it is STORED, its URL where it is EXTERNAL, and its bytes where it is INLINE and
they were asked for; without them such a line only tells that there is one. Intents are no objects yet and are left out. An export is files
of at most FILE_BYTES and a line, which one after the other are the whole; each is written before the row says that it is, and written again
under the same name where a step is killed in between.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import batched
from typing import Any

from stocktake.errors import (
    LedgerError,
    MessagingError,
    OperationNotFound,
    RecordChanged,
    RunIncomplete,
    StocktakeError,
    StorageUnavailable,
)
from stocktake.layouts import Registry
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.migration.steps import Send
from stocktake.model import Record, State
from stocktake.storage import Store

KIND = "export"
_CONTENT_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
FindingLines = Callable[[str, str, str], Iterator[tuple[str, bytes]]]
"""Yields (name, line) of a run's findings: its id, the form, and the name of the last one that was written."""
FILE_BYTES = 32_000_000
_RECORDS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of an export, and the URL that gives it for a while."""

    url: str
    lines: int
    bytes: int
    sha256: str


class Exports:
    """The exports of one deployment.

    Args:
        files: the stack's own bucket.
        findings: writes the lines of a run's findings.
        seconds: life of the URLs of files.
        lease_ms: how long a step may take; no other begins meanwhile.
    """

    def __init__(
        self,
        files: Store,
        ledger: Ledger,
        operations: Operations,
        layouts: Registry,
        *,
        findings: FindingLines,
        send: Send,
        seconds: int,
        lease_ms: int,
        now: Callable[[], int],
        new_id: Callable[[int], str],
    ) -> None:
        self._files = files
        self._ledger = ledger
        self._operations = operations
        self._layouts = layouts
        self._findings = findings
        self._send = send
        self._seconds = seconds
        self._lease_ms = lease_ms
        self._now = now
        self._new_id = new_id

    def request(self, project_id: str | None, *, contents: bool) -> Operation:
        """Starts an export of the ledger, or of one project.

        Args:
            contents: whether the bytes of INLINE records are in their lines.

        Raises:
            ProjectNotFound: there is no such project.
        """
        if project_id is not None:
            self._ledger.project(project_id)
        return self._begin({"project_id": project_id, "contents": contents, "run_id": None, "format": "jsonl"})

    def request_findings(self, run_id: str, form: str) -> Operation:
        """Starts an export of a run's findings as `jsonl` or `csv`.

        Raises:
            OperationNotFound: there is no such run.
            RunIncomplete: it has not ended, so its findings are not all there.
        """
        run = self._operations.get(run_id) if run_id else None
        if run is None or run.kind != "reconciliation":
            raise OperationNotFound(f"there is no reconciliation {run_id!r}: GET /reconciliations lists the newest")
        if run.status in ("REQUESTED", "RUNNING"):
            raise RunIncomplete(f"reconciliation {run_id} is {run.status.lower()}: export its findings once it has ended")
        return self._begin({"project_id": None, "contents": False, "run_id": run_id, "format": form})

    def _begin(self, subject: Mapping[str, Any]) -> Operation:
        at = self._now()
        export_id = self._new_id(at)
        document: dict[str, Any] = {
            **subject,
            "after": "",
            "files": [],
            "leased_until": 0,
            "requested_at": at,
            "ended_at": None,
            "why": None,
        }
        self._operations.put_new(export_id, "", KIND, document, created_at=at, status="RUNNING")
        self._send({"export_id": export_id}, 0)
        return self.operation(export_id)

    def operation(self, export_id: str) -> Operation:
        """Reads an export. Raises OperationNotFound."""
        operation = self._operations.get(export_id) if export_id else None
        if operation is None or operation.kind != KIND:
            raise OperationNotFound(f"there is no export {export_id!r}: use the export_id that its request was answered with")
        return operation

    def files(self, operation: Operation) -> list[ExportedFile]:
        """Signs the GETs of a whole export's files, in order; none of one that is not complete."""
        if operation.status != "COMPLETE":
            return []
        signed = []
        for number, row in enumerate(operation.document["files"]):
            name = f"{operation.operation_id}-{number:05d}.{operation.document['format']}"
            url = self._files.presign_get(_file(operation, number), seconds=self._seconds, file_name=name)
            signed.append(ExportedFile(url, row["lines"], row["bytes"], row["sha256"]))
        return signed

    def step(self, export_id: str, *, out_of_time: Callable[[], bool]) -> str:
        """Writes files until all records are in them or time is out; hands on what is left. Returns the export's status afterwards.

        Raises:
            LedgerError, StorageUnavailable, MessagingError: for now it cannot go on; the message comes again.
        """
        operation = self.operation(export_id)
        if operation.status != "RUNNING" or operation.document["leased_until"] > self._now():
            return operation.status
        try:
            operation = self._update(operation, leased_until=self._now() + self._lease_ms)
            lines = self._lines(operation.document)
            while True:
                body, count, after, is_last = _fill(lines, out_of_time)
                if count:
                    operation = self._write(operation, body, count, after)
                if is_last:
                    return self._update(operation, status="COMPLETE", ended_at=self._now(), leased_until=0).status
                if out_of_time():
                    operation = self._update(operation, leased_until=0)
                    self._send({"export_id": export_id}, 0)
                    return operation.status
        except RecordChanged:
            return self.operation(export_id).status  # another delivery has it
        except (LedgerError, MessagingError, StorageUnavailable):
            self._update(operation, leased_until=0)
            raise
        except StocktakeError as error:
            return self._update(operation, status="FAILED", why=str(error)[:2000], ended_at=self._now(), leased_until=0).status

    def _write(self, operation: Operation, body: bytes, count: int, after: str) -> Operation:
        written = list(operation.document["files"])
        sha256 = hashlib.sha256(body).hexdigest()
        content_type = _CONTENT_TYPES[operation.document["format"]]
        self._files.put(_file(operation, len(written)), body, content_type=content_type, sha256=sha256)
        return self._update(operation, files=[*written, {"lines": count, "bytes": len(body), "sha256": sha256}], after=after)

    def _update(self, operation: Operation, *, status: str | None = None, **change: Any) -> Operation:
        return self._operations.update(operation, document={**operation.document, **change}, status=status)

    def _lines(self, document: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
        """Yields each record's key and line, in key order; or each finding's name and line."""
        if document["run_id"] is not None:
            yield from self._findings(document["run_id"], document["format"], document["after"])
            return
        project, after = document["project_id"], document["after"]
        entries = self._ledger.entries(after) if project is None else self._ledger.project_records(project, after=after)
        for some in batched((entry.key for entry in entries), _RECORDS_AT_ONCE, strict=False):
            records = self._ledger.records(some)
            for record in (records[key] for key in some if key in records):
                if record.state is not State.PENDING:
                    yield record.key, json.dumps(self._line(record, contents=document["contents"])).encode() + b"\n"

    def _line(self, record: Record, *, contents: bool) -> dict[str, Any]:
        line: dict[str, Any] = {"project_id": record.project_id, "object_id": record.object_id, "state": record.state.value}
        body = self._ledger.content(record) if contents and record.state is State.INLINE else None
        if body is not None:
            line["content_base64"] = b64encode(body).decode()
        elif record.state is State.EXTERNAL:
            line["url"] = record.original_url
        else:
            line |= {"key": record.key, "width": record.width, "height": record.height}
        if "key" not in line and record.layout == "session" and (parsed := self._layouts.parse(record.key)) is not None:
            line["layout"] = {"name": "session", "session": parsed.session, "persona": parsed.persona}
        if "url" not in line:
            line["original_url"] = record.original_url
        if record.generation_id is not None and record.output is not None:
            line["generation"] = {"generation_id": record.generation_id, "output": record.output}
        line |= {
            "sha256": record.sha256,
            "content_type": record.content_type,
            "cache_control": record.cache_control,
            "file_name": record.file_name,
            "metadata": dict(record.metadata),
            "sealed": record.sealed,
            "created_at": record.created_at,
        }
        return {name: value for name, value in line.items() if value is not None}


def _fill(lines: Iterator[tuple[str, bytes]], late: Callable[[], bool]) -> tuple[bytes, int, str, bool]:
    """Takes lines until a file is full, time is out or there is none left; returns them, their number, the last key, and if none is."""
    body = bytearray()
    count, after = 0, ""
    for after, line in lines:
        body += line
        count += 1
        if len(body) >= FILE_BYTES or (count % _RECORDS_AT_ONCE == 0 and late()):
            return bytes(body), count, after, False
    return bytes(body), count, after, True


def _file(operation: Operation, number: int) -> str:
    return f"exports/{operation.operation_id}/{number:05d}.{operation.document['format']}"
