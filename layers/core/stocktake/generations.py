"""Generation jobs: one request, one record, many objects.

A job keeps the request's metadata exactly as it was sent. Each of its outputs has a number, and a row that names the object before its
bytes move; the object's record names job and number. So the two are linked both ways whatever is killed in between, and writing the same
output again is writing the same object.

Nothing stores the status of a job: it is read off its outputs, and so cannot say "completed" of images that are not there. An output that
was stored and then deleted by request counts as stored, and so does one that is kept in the ledger; one that the bucket lost does not.

| outputs stored | the worker said | status |
|---|---|---|
| all | | completed |
| some | completed or failed | partly_failed |
| none | completed or failed | failed |
| some or none | running, or an output was begun | running |
| none | nothing | queued |

A job belongs to one life of its project: from the moment that is closed, the job is not found, also when the project is opened anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from stocktake.errors import Conflict, GenerationNotFound, InvalidRequest, OutputExists, RecordChanged, TooLarge
from stocktake.intents import Intents, key_of
from stocktake.layouts import project_stem
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.model import Details, Project, Record, Reserved
from stocktake.object_deletion import REQUESTED, ObjectDeletions
from stocktake.sealing import Sealer

KIND = "generation"
MAX_OUTPUTS = 100
MAX_METADATA = 250_000
"""Characters of JSON: sealed they are a third more, and a document of `Operations` ends at 350,000 bytes."""
_ATTEMPTS = 5
_BEGINNING_MS = 60_000


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a job. `record` is None where nothing of it is recorded (any more)."""

    number: int
    object_id: str | None
    status: str  # stored, inline, external, pending, missing, quarantined, deleted, failed, awaited
    record: Record | None


@dataclass(frozen=True, slots=True)
class Generation:
    """A job as it stands. `metadata` is without what is sealed, unless it was opened."""

    generation_id: str
    project_id: str
    status: str
    metadata: Mapping[str, Any]
    sealed: str | None
    outputs: tuple[Output, ...]
    error: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None


class Generations:
    """The generation jobs of one deployment."""

    def __init__(
        self,
        ledger: Ledger,
        operations: Operations,
        intents: Intents,
        deletions: ObjectDeletions,
        sealer: Sealer,
        *,
        now: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._operations = operations
        self._intents = intents
        self._deletions = deletions
        self._sealer = sealer
        self._now = now

    def create(
        self, project_id: str, metadata: Mapping[str, Any], sensitive: Collection[str], outputs: int, reserved: Reserved
    ) -> Generation:
        """Writes a job that is queued; a retry finds the one it had written.

        Args:
            outputs: how many objects it shall yield, 1 to MAX_OUTPUTS.

        Raises:
            ProjectNotFound, ProjectClosed: the project takes none.
            InvalidRequest: the metadata cannot be kept.
            TooLarge: the metadata is longer than MAX_METADATA.
        """
        if not 1 <= outputs <= MAX_OUTPUTS:
            raise InvalidRequest(f"a generation has 1 to {MAX_OUTPUTS} outputs and this one {outputs}: create several")
        if len(json.dumps(metadata)) > MAX_METADATA:
            raise TooLarge(f"the metadata of a generation may have {MAX_METADATA} characters as JSON: keep what is longer elsewhere")
        project = self._intents.open_project(project_id)
        generation_id = reserved.object_id
        clear, sealed = self._sealer.seal(metadata, sensitive, project_id=project.project_id, subject_id=generation_id)
        document = {
            "project_id": project.project_id,
            "epoch": project.epoch,
            "metadata": clear,
            "sealed": sealed,
            "outputs": outputs,
            "started_at": None,
            "ended_at": None,
            "error": None,
        }
        kind = f"{KIND}#{project_stem(project.project_id)}"
        self._operations.put_new(generation_id, "", kind, document, created_at=reserved.at, status="OPEN")
        return self.generation(generation_id)

    def generation(self, generation_id: str, *, opened: bool = False) -> Generation:
        """Reads a job with all its outputs.

        Args:
            opened: with the sealed metadata in its place.

        Raises:
            GenerationNotFound: there is no such job, or it went with its project.
            SealingError: what is sealed cannot be opened.
        """
        return self._read(self._operation(generation_id), opened=opened)

    def project_of(self, generation_id: str) -> str | None:
        """Finds the project of a job; None where there is no such job."""
        operation = self._operations.get(generation_id) if generation_id else None
        is_job = operation is not None and (operation.kind or "").startswith(f"{KIND}#")
        return str(operation.document["project_id"]) if operation is not None and is_job else None

    def _read(self, operation: Operation, *, opened: bool = False) -> Generation:
        generation_id, document = operation.operation_id, operation.document
        rows = {int(row.part.split("#")[1]): row for row in self._operations.all_parts(generation_id, "output#")}
        records = self._ledger.records([row.document["key"] for row in rows.values()])
        outputs = tuple(self._output(number, rows.get(number), records, document) for number in range(document["outputs"]))
        metadata = document["metadata"]
        if opened:
            metadata = self._sealer.open(metadata, document["sealed"], project_id=document["project_id"], subject_id=generation_id)
        return Generation(
            generation_id,
            document["project_id"],
            _status(document, outputs),
            metadata,
            document["sealed"],
            outputs,
            document["error"],
            operation.created_at,
            document["started_at"],
            document["ended_at"],
        )

    def recent(self, project_id: str, limit: int, cursor: str | None = None) -> tuple[list[Generation], str | None]:
        """Reads the jobs of a project, newest first; one made at this moment may not be among them yet.

        Returns:
            Up to `limit` jobs, fewer where their metadata is large, and the cursor of the next page or None.

        Raises:
            ProjectNotFound: there is no such project.
            InvalidRequest: the cursor is not one of ours.
        """
        epoch = self._ledger.project(project_id).epoch
        found, following = self._operations.recent_page(f"{KIND}#{project_stem(project_id)}", limit, cursor)
        return [self._read(operation) for operation in found if operation.document["epoch"] == epoch], following

    def report(self, generation_id: str, status: str, error: str | None) -> Generation:
        """Notes what the worker says of its job: `running`, `completed` or `failed`. Saying it again changes nothing.

        Raises:
            GenerationNotFound: there is no such job.
            InvalidRequest: an error is told of a job that runs on.
            Conflict: it has ended and cannot run again.
        """
        if status == "running" and error is not None:
            raise InvalidRequest("error is told with completed or failed: send it then, or leave it out")
        for _ in range(_ATTEMPTS):
            operation = self._operation(generation_id)
            document = operation.document
            if status == "running" and document["ended_at"] is not None:
                raise Conflict(f"generation {generation_id} has ended and cannot run again: create a new one")
            change: dict[str, Any] = {"started_at": document["started_at"] or self._now()}
            if status != "running":
                change |= {"ended_at": document["ended_at"] or self._now(), "error": error if error is not None else document["error"]}
            try:
                self._operations.update(operation, document={**document, **change})
            except RecordChanged:
                continue
            return self.generation(generation_id)
        raise RecordChanged(f"generation {generation_id} kept changing: try again")

    def reserve(self, project_id: str, details: Details, reserved: Reserved, extension: str, *, fingerprint: str) -> Reserved:
        """Names the object of an output before its bytes move; returns its identity, the same for the same bytes however often sent.

        An upload that belongs to no job keeps the identity it has.

        Args:
            extension: of the key to come.
            fingerprint: of the bytes; others are another output.

        Raises:
            ProjectNotFound, ProjectClosed: the project takes no uploads.
            GenerationNotFound: there is no such job in this project.
            InvalidRequest: the job has no output of that number.
            OutputExists: other bytes are, or are being, stored under it; or the same under a key of another type or layout.
        """
        if details.generation_id is None:
            return reserved
        operation = self._operation(details.generation_id, self._intents.open_project(project_id))
        number = details.output
        if number is None or not 0 <= number < operation.document["outputs"]:
            raise InvalidRequest(
                f"generation {details.generation_id} has the outputs 0 to {operation.document['outputs'] - 1}: name one of them"
            )
        part = f"output#{number:04d}"
        key = key_of(operation.document["project_id"], reserved, extension, details.session_place)
        document = {"object_id": reserved.object_id, "at": reserved.at, "fingerprint": fingerprint, "key": key, "begun_at": self._now()}
        for _ in range(_ATTEMPTS):
            if self._operations.put_new(details.generation_id, part, None, document, created_at=self._now(), status="BEGUN"):
                return reserved
            row = self._operations.get(details.generation_id, part)
            if row is None:
                continue
            if self._deletions.why_deleted(row.document["object_id"]) is None:
                begun = Reserved(row.document["object_id"], row.document["at"], is_retry=True)
                same_key = key_of(operation.document["project_id"], begun, extension, details.session_place) == row.document["key"]
                if row.document["fingerprint"] == fingerprint and same_key:
                    return begun
                if self._is_taken(row):
                    raise OutputExists(
                        f"output {number} of generation {details.generation_id} is, or is becoming, object {begun.object_id}, of other "
                        "bytes, type or layout: use another number, delete that object first, or try again once its upload has ended"
                    )
            try:
                self._operations.update(row, document=document)  # what was begun under it came to nothing, or was deleted
            except RecordChanged:
                continue
            return reserved
        raise RecordChanged(f"output {number} of generation {details.generation_id} kept changing: try again")

    def _is_taken(self, row: Operation) -> bool:
        record = self._ledger.record(row.document["key"])
        # The row comes before the intent: the upload that wrote it is given the time to write that too. An intent that is over still holds
        # the number, because its bytes may have arrived: `tidy` commits or withdraws it.
        return record is not None or int(row.document["begun_at"]) + _BEGINNING_MS > self._now()

    def _output(self, number: int, row: Operation | None, records: Mapping[str, Record], document: Mapping[str, Any]) -> Output:
        if row is None:
            return Output(number, None, "awaited" if document["ended_at"] is None else "failed", None)
        record, object_id = records.get(row.document["key"]), row.document["object_id"]
        if record is not None and record.object_id == object_id:
            return Output(number, object_id, record.state.lower(), record)
        why = self._deletions.why_deleted(object_id)
        if why == REQUESTED:
            return Output(number, object_id, "deleted", None)
        if document["ended_at"] is not None:
            return Output(number, object_id, "failed", None)
        # refused, aborted, or over without bytes: the number waits for another attempt
        is_beginning = why is None and row.document["begun_at"] + _BEGINNING_MS > self._now()
        return Output(number, object_id, "pending" if is_beginning else "awaited", None)

    def _operation(self, generation_id: str, project: Project | None = None) -> Operation:
        """Reads the row of a job that belongs to `project`, or to the one it names, as that is now."""
        operation = self._operations.get(generation_id) if generation_id else None
        if operation is not None and (operation.kind or "").startswith(f"{KIND}#"):
            document = operation.document
            owner = project or self._ledger.project(document["project_id"])
            if (project_stem(owner.project_id), owner.epoch) == (project_stem(document["project_id"]), document["epoch"]):
                return operation
        where = f" in project {project.project_id!r}" if project else ""
        raise GenerationNotFound.of(generation_id, where)


def _status(document: Mapping[str, Any], outputs: Collection[Output]) -> str:
    stored = sum(output.status in ("stored", "inline", "deleted") for output in outputs)
    if stored == document["outputs"]:
        return "completed"
    if document["ended_at"] is not None:
        return "partly_failed" if stored else "failed"
    begun = document["started_at"] is not None or any(output.object_id is not None for output in outputs)
    return "running" if begun else "queued"
