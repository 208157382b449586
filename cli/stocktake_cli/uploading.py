"""Sending files: what is there already, what was begun, and the rest, side by side.

The order of writes: the journal says that a file is about to be announced, and under which idempotency key, before it is; so a command that
died anywhere announces nothing twice. What was announced is taken up by its upload id: the store says which parts it has.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import click

from stocktake_cli.api import Api
from stocktake_cli.failures import Absent, Failure, Misused, Refused, Unreachable
from stocktake_cli.wire import Wire

_BLOCK = 1 << 20
_MOST_PARTS = 10_000
_SIGNED_AT_ONCE = 100
_ATTEMPTS = 4

Moved = Callable[[float], None]
"""Is told how many bytes of a file are dealt with."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to send."""

    path: Path
    size: int
    content_type: str


@dataclass(frozen=True, slots=True)
class Begun:
    """What the journal knows of some bytes: the key they are announced under, the upload once it is, the object once it is stored."""

    key: str
    upload_id: str | None = None
    object_id: str | None = None


class Journal:
    """What was begun, in a file of one JSON line an event, so that another process can go on. Safe to use by several threads.

    A line that a dying process wrote half is passed over: what it would have said is found out again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._begun: dict[str, Begun] = {}
        try:
            for line in path.read_text().splitlines():
                self._take(line)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, UnicodeDecodeError) as error:
            raise Misused(f"the journal {path} cannot be read: {error}", "name another with --journal") from error

    @classmethod
    def of(cls, path: Path | None, url: str, project_id: str) -> Self:
        """Opens the journal of uploads to a project of a deployment."""
        name = hashlib.sha256(f"{url}\0{project_id}".encode()).hexdigest()[:32]
        return cls(path or Path(click.get_app_dir("stocktake")) / "uploads" / f"{name}.jsonl")

    def begun(self, digest: str) -> Begun | None:
        """Says what is known of bytes, by their SHA-256."""
        with self._lock:
            return self._begun.get(digest)

    def note(self, digest: str, begun: Begun) -> None:
        """Remembers it, on the disk before it returns."""
        line = json.dumps({"sha256": digest, "key": begun.key, "upload_id": begun.upload_id, "object_id": begun.object_id})
        with self._lock:
            self._begun[digest] = begun
            with self.path.open("a") as file:
                if file.tell() and not self._ends_with_line():
                    file.write("\n")
                file.write(line + "\n")

    def _ends_with_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, io.SEEK_END)
            return file.read(1) == b"\n"

    def _take(self, line: str) -> None:
        try:
            said = json.loads(line)
            self._begun[said["sha256"]] = Begun(said["key"], said["upload_id"], said["object_id"])
        except (ValueError, KeyError, TypeError):
            return


def stored_hashes(api: Api, project_id: str) -> dict[str, str]:
    """Reads what a project has stored: object ids by the SHA-256 of their bytes. What came in parts has none where the store keeps none."""
    pages = api.pages("/projects/{project_id}/objects", "objects", {"limit": 500}, project_id=project_id)
    return {record["sha256"]: record["object_id"] for record in pages if record["sha256"] and record["state"] in ("STORED", "INLINE")}


class Sender:
    """Sends files to one project.

    Args:
        stored: object ids by the SHA-256 of what the project has.
        single_bytes: what is larger goes in parts.
    """

    def __init__(
        self,
        api: Api,
        wire: Wire,
        journal: Journal,
        project_id: str,
        stored: Mapping[str, str],
        *,
        workers: int,
        single_bytes: int,
        part_bytes: int,
        sleep: Callable[[float], None],
    ) -> None:
        self._api = api
        self._wire = wire
        self._journal = journal
        self._project_id = project_id
        self._stored = dict(stored)
        self._workers = workers
        self._single_bytes = single_bytes
        self._part_bytes = part_bytes
        self._sleep = sleep
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Lock] = {}

    def look(self, sources: Sequence[Source], moved: Moved) -> Iterator[dict[str, Any]]:
        """Says of each file whether it would be sent; sends nothing."""
        for source in sources:
            digest = _digest(source.path)
            moved(source.size)
            known = self._known(digest)
            yield _result(source, "would-send") if known is None else _result(source, "skipped", known, "stored already")
            self._stored.setdefault(digest, "")

    def send(self, sources: Sequence[Source], moved: Moved) -> list[dict[str, Any]]:
        """Sends what is not stored yet, and returns what became of each file, in their order.

        One file's failure is its result. A deployment that does not answer ends all of it.

        Raises:
            Unreachable: it does not answer, or not any more; what was done is remembered.
        """
        results: dict[int, dict[str, Any]] = {}
        with ThreadPoolExecutor(self._workers) as files, ThreadPoolExecutor(self._workers) as parts:
            waiting: dict[Future[dict[str, Any]], int] = {}
            try:
                numbered = iter(enumerate(sources))
                while True:
                    # no more than are needed to keep every worker busy: a million files are not a million futures
                    while len(waiting) < 2 * self._workers and (following := next(numbered, None)) is not None:
                        waiting[files.submit(self._one, following[1], parts, moved)] = following[0]
                    if not waiting:
                        break
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        results[waiting.pop(future)] = future.result()
            except BaseException:
                self._stopping.set()
                for future in waiting:
                    future.cancel()
                raise
        return [results[number] for number in range(len(sources))]

    def _one(self, source: Source, parts: ThreadPoolExecutor, moved: Moved) -> dict[str, Any]:
        try:
            digest = _digest(source.path)
            with self._alone(digest):
                if (known := self._known(digest)) is not None:
                    moved(source.size)
                    return _result(source, "skipped", known, "stored already")
                record = self._store(source, digest, parts, moved)
                self._stored[digest] = record["object_id"]
            return _result(source, "stored", record["object_id"])
        except Unreachable:
            raise
        except Failure as failure:
            return _result(source, "failed", None, f"{failure}: {failure.advice}" if failure.advice else str(failure))
        except OSError as error:
            return _result(source, "failed", None, f"it cannot be read: {error.strerror or error}")

    def _alone(self, digest: str) -> threading.Lock:
        """One lock for the same bytes: of two equal files one is sent, and the other then is stored already."""
        with self._lock:
            return self._under_way.setdefault(digest, threading.Lock())

    def _known(self, digest: str) -> str | None:
        if digest in self._stored:
            return self._stored[digest]
        begun = self._journal.begun(digest)
        if begun is None or begun.object_id is None:
            return None
        try:
            record = self._api.get("/objects/{object_id}", object_id=begun.object_id)
        except Absent:
            return None  # stored once, and deleted since
        return begun.object_id if record["state"] in ("STORED", "INLINE") else None

    def _store(self, source: Source, digest: str, parts: ThreadPoolExecutor, moved: Moved) -> dict[str, Any]:
        begun = self._journal.begun(digest)
        session = self._taken_up(begun)
        if session is None or begun is None:
            is_again = begun is not None and begun.upload_id is None
            begun = begun if begun is not None and is_again else Begun(str(uuid.uuid4()))
            self._journal.note(digest, begun)
            session = self._announce(source, digest, begun.key)
            begun = Begun(begun.key, session["upload_id"])
            self._journal.note(digest, begun)
            if is_again:  # an answer that is repeated has old URLs and knows of no parts that came since
                session = self._api.get("/uploads/{upload_id}", upload_id=session["upload_id"])
        if session["object"]["state"] == "PENDING":
            if session["part_bytes"]:
                hashes = self._send_parts(source, session, parts, moved)
            else:
                hashes = []
                if session["request"] is not None:
                    self._put(session["request"], lambda: source.path.open("rb"), source.size, moved)
        else:
            hashes = []
            moved(source.size)
        record = self._complete(session["upload_id"], hashes)
        self._journal.note(digest, Begun(begun.key, begun.upload_id, record["object_id"]))
        return record

    def _taken_up(self, begun: Begun | None) -> dict[str, Any] | None:
        """Asks for an upload that was announced before; None where there is none any more."""
        if begun is None or begun.upload_id is None:
            return None
        try:
            session = self._api.get("/uploads/{upload_id}", upload_id=begun.upload_id)
        except (Absent, Refused):
            return None
        if session["object"]["state"] == "PENDING" and session["request"] is None and not session["part_bytes"]:
            return None  # its time is over
        return session if session["object"]["state"] in ("PENDING", "STORED", "INLINE") else None

    def _announce(self, source: Source, digest: str, key: str) -> dict[str, Any]:
        body: dict[str, Any] = {"content_type": source.content_type, "bytes": source.size, "file_name": source.path.name}
        if source.size > self._single_bytes:
            body["part_bytes"] = max(self._part_bytes, -(-source.size // _MOST_PARTS))
        else:
            body["sha256"] = digest
        return self._api.post("/projects/{project_id}/uploads", body, idempotency_key=key, project_id=self._project_id)

    def _send_parts(self, source: Source, session: dict[str, Any], pool: ThreadPoolExecutor, moved: Moved) -> list[str]:
        """Sends the parts that the store has not, or not as they are, and returns the hashes of all of them."""
        upload_id, length = session["upload_id"], session["part_bytes"]
        count = -(-source.size // length)
        there = {part["number"]: part for part in session["parts"]}
        hashes, missing = [], []
        for number in range(1, count + 1):
            self._check()
            body = _part(source.path, number, length)
            hashes.append(hashlib.sha256(body).hexdigest())
            part = there.get(number)
            if part is not None and part["bytes"] == len(body) and part["sha256"] in (None, hashes[-1]):
                moved(len(body))
            else:
                missing.append(number)
        for first in range(0, len(missing), _SIGNED_AT_ONCE):
            numbers = missing[first : first + _SIGNED_AT_ONCE]
            wanted = [{"number": number, "sha256": hashes[number - 1]} for number in numbers]
            signed = self._api.post("/uploads/{upload_id}/parts", {"parts": wanted}, upload_id=upload_id)["parts"]
            sending = [pool.submit(self._put, ask, _opener(source.path, ask["number"], length), ask["bytes"], moved) for ask in signed]
            try:
                for future in sending:
                    future.result()
            except BaseException:
                for future in sending:
                    future.cancel()
                raise
        return hashes

    def _put(self, ask: Mapping[str, Any], opened: Callable[[], IO[bytes]], size: int, moved: Moved) -> None:
        """Sends bytes to a signed URL, again where that may help."""
        for attempt in range(1, _ATTEMPTS + 1):
            self._check()
            try:
                with opened() as body:
                    reply = self._wire.send(ask["method"], ask["url"], ask["headers"], body)
            except Unreachable:
                if attempt == _ATTEMPTS:
                    raise
            else:
                # 412: the key holds something; that can only be these bytes, which `complete` then finds
                if reply.status < 300 or reply.status == 412:
                    moved(size)
                    return
                if reply.status < 500 and reply.status != 429:
                    raise Failure(
                        f"the store did not take it ({reply.status})", "was the file changed while it was sent? say the command again"
                    )
                if attempt == _ATTEMPTS:
                    raise Unreachable(f"the store does not take it now ({reply.status})", "say the command again later")
            self._sleep(0.3 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _complete(self, upload_id: str, hashes: Sequence[str]) -> dict[str, Any]:
        """Completes an upload; asked twice it answers the same, so it is asked again where it was not answered.

        A store that keeps no checksums has the parts read back, and one call does not get through many of them.
        """
        body = {"part_sha256": list(hashes)} if hashes else {}
        unanswered = incomplete = 0
        while True:
            self._check()
            try:
                return self._api.post("/uploads/{upload_id}/complete", body, upload_id=upload_id)
            except Unreachable:
                unanswered += 1
                if unanswered == _ATTEMPTS:
                    raise
            except Refused as refusal:
                incomplete += 1
                if refusal.type != "upload-incomplete" or incomplete > _ATTEMPTS + len(hashes):
                    raise
            self._sleep(0.3 * 2 ** min(unanswered + incomplete, _ATTEMPTS))

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Failure("stopped", "say the command again")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part(path: Path, number: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek((number - 1) * length)
        return file.read(length)


def _opener(path: Path, number: int, length: int) -> Callable[[], IO[bytes]]:
    return lambda: io.BytesIO(_part(path, number, length))


def _result(source: Source, outcome: str, object_id: str | None = None, why: str | None = None) -> dict[str, Any]:
    return {"path": str(source.path), "outcome": outcome, "object_id": object_id or None, "why": why}
