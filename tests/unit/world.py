"""A whole deployment in memory: the bucket's twin, moto's tables, and queues that are pumped by hand."""

from __future__ import annotations

import base64
import io
import itertools
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PIL import Image

from stocktake.acknowledgements import Acknowledgements
from stocktake.alignment import Aligner
from stocktake.analytics import Analytics
from stocktake.cdn import NO_TIME, PublicCopies, PurgeFailure
from stocktake.checks import Rules
from stocktake.drills import Drills
from stocktake.finding_lines import lines
from stocktake.generations import Generations
from stocktake.identity import IDENTITY_KEY, Identity
from stocktake.importing import Fetcher
from stocktake.intents import Intents
from stocktake.inventory import Inventories
from stocktake.layouts import Registry
from stocktake.ledger import CountRows, Ledger, Operations
from stocktake.migration.exports import Exports
from stocktake.migration.imports import Importer
from stocktake.migration.steps import Migrations
from stocktake.migration.storing import Storing
from stocktake.migration_requests import COLUMNS, read_entry
from stocktake.model import Details, NewObject, Record, Reserved, State
from stocktake.object_deletion import ObjectDeletions
from stocktake.object_events import ObjectEvents
from stocktake.presigned import PresignedUploads
from stocktake.project_deletion import ProjectDeletions, Purging, Wiring
from stocktake.quarantine import Quarantine
from stocktake.reconciliation import Reconciliations
from stocktake.reconciliation.changes import Changes
from stocktake.reconciliation.cost import Meter, Prices
from stocktake.recounts import Recounts
from stocktake.repair import Actor, Breaker, Expiry, Holds, Plans, Repairs, Restorations
from stocktake.sealing import KeyRing, Sealer
from stocktake.serving import Serving
from stocktake.storage.memory import MemoryStore
from stocktake.tombstones import Tombstones
from stocktake.upload import Limits, Uploaded, Uploads

HOUR = 3_600_000
OBVIOUS = {"missing": "mark_missing", "orphan": "quarantine"}
DAY = 24 * HOUR
SWEEP_DELAY = 960_000


def an_image(color: int = 0, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (color % 256, color // 256 % 256, 7)).save(buffer, form)
    return buffer.getvalue()


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.at = 1_795_239_000_000

    def __call__(self) -> int:
        return self.at

    def advance(self, milliseconds: int) -> None:
        self.at += milliseconds


def _numbered() -> Callable[[int], str]:
    numbers = itertools.count(1)
    # 26 characters as real ids have, so that keys are of the current layout
    return lambda at: f"{next(numbers):026d}"


class Crash(BaseException):
    """A process that is killed: nothing catches it."""


def never() -> bool:
    return False


def hanging(operation: str, until: threading.Event) -> Callable[[str, str | None], None]:
    """Makes an operation of the store hang, at most for as long as no test should run."""

    def wait(called: str, key: str | None) -> None:
        if called == operation:
            until.wait(20)

    return wait


@dataclass
class ListeningCdn:
    """A CDN that notes what it is told to forget, and does not take what it is told to refuse."""

    name: str = "listening"
    purged: list[str] = field(default_factory=list)
    refusing: set[str] = field(default_factory=set)

    def purge(self, urls: Sequence[str], out_of_time: Callable[[], bool] = never) -> list[PurgeFailure]:
        if out_of_time():
            return [PurgeFailure(url, NO_TIME) for url in urls]
        self.purged += [url for url in urls if url not in self.refusing]
        return [PurgeFailure(url, "the CDN answered 500") for url in urls if url in self.refusing]


@dataclass
class World:
    """One deployment. `messages` holds what was sent and not yet delivered, as (queue, message, visible at)."""

    store: MemoryStore
    ledger: Ledger
    operations: Operations
    clock: Clock
    layouts: Registry = field(default_factory=Registry)
    rules: Rules = field(default_factory=Rules)
    grace_ms: int = HOUR
    inline_bytes: int | None = None
    undo_ms: int = 0
    fetcher: Fetcher = field(default_factory=lambda: Fetcher(hosts=(), max_bytes=100_000, seconds=5))
    messages: deque[tuple[str, dict[str, Any], int]] = field(default_factory=deque)
    dead_letters: list[dict[str, Any]] = field(default_factory=list)
    launched: list[dict[str, Any]] = field(default_factory=list)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    deliveries: int = 1
    cdn: ListeningCdn = field(default_factory=ListeningCdn)
    public_base_url: str | None = None
    meter: Meter = field(default_factory=Meter)
    operations_bucket: MemoryStore = field(default_factory=lambda: MemoryStore("reports", now=Clock()))

    new_id: Callable[[int], str] = field(default_factory=_numbered)

    # flows

    @cached_property
    def identity(self) -> Identity:
        return Identity(self.store, self.operations, self.clock, self.new_id)

    @property
    def copies(self) -> PublicCopies:
        return PublicCopies(self.cdn, self.public_base_url)

    @cached_property
    def object_deletions(self) -> ObjectDeletions:
        return ObjectDeletions(self.store, self.ledger, self.operations, self.copies, sweep_delay_ms=SWEEP_DELAY, now=self.clock)

    @cached_property
    def sealer(self) -> Sealer:
        keys = {"current": "k1", "keys": {"k1": base64.b64encode(bytes(32)).decode()}}
        return Sealer(KeyRing.parse(json.dumps(keys)))

    @cached_property
    def intents(self) -> Intents:
        return Intents(
            self.store,
            self.ledger,
            self.object_deletions,
            self.sealer,
            default_cache_control="public, max-age=31536000",
            now=self.clock,
        )

    @cached_property
    def generations(self) -> Generations:
        return Generations(self.ledger, self.operations, self.intents, self.object_deletions, self.sealer, now=self.clock)

    @cached_property
    def uploads(self) -> Uploads:
        return Uploads(
            self.store,
            self.ledger,
            self.intents,
            self.generations,
            identity=self.identity,
            fetcher=self.fetcher,
            rules=self.rules,
            limits=Limits(max_bytes=100_000, warn_bytes=90_000, inline_bytes=self.inline_bytes),
            default_quota=None,
            now=self.clock,
        )

    @cached_property
    def presigned(self) -> PresignedUploads:
        return PresignedUploads(
            self.store,
            self.ledger,
            self.operations,
            self.intents,
            self.object_deletions,
            self.generations,
            self.aligner(),
            self.rules,
            max_bytes=10**12,
            warn_bytes=90_000,
            seconds=900,
            multipart_seconds=86_400,
            now=self.clock,
            enabled=self.inline_bytes is None,
        )

    @cached_property
    def serving(self) -> Serving:
        return Serving(
            self.store,
            self.ledger,
            self.object_deletions,
            self.sealer,
            public_base_url=None,
            presigned_seconds=900,
            max_bytes=100_000,
        )

    def aligner(self, source: str = "event") -> Aligner:
        return Aligner(self.store, self.ledger, self.layouts, self.object_deletions, self.rules, self.clock, source)

    @cached_property
    def events(self) -> ObjectEvents:
        return ObjectEvents(self.aligner(), bucket=self.store.bucket)

    @cached_property
    def tombstones(self) -> Tombstones:
        return Tombstones(self.operations_bucket, self.operations)

    @cached_property
    def deletions(self) -> ProjectDeletions:
        wiring = Wiring(
            publish=lambda detail: self._send("steps", detail, 0),
            steps=lambda message, delay: self._send("steps", message, delay),
            batches=lambda message, delay: self._send("batches", message, delay),
            dead_letters=lambda message, delay: self.dead_letters.append(dict(message)),
        )
        return ProjectDeletions(
            self.store,
            self.ledger,
            self.operations,
            self.layouts,
            wiring,
            Purging(self.copies),
            self.tombstones,
            sweep_delay_ms=SWEEP_DELAY,
            undo_ms=self.undo_ms,
            now=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def runs(self) -> Reconciliations:
        return Reconciliations(
            self.store,
            self.ledger,
            self.operations,
            self.layouts,
            identity=self.identity,
            inventories=self.inventories,
            grace_ms=self.grace_ms,
            meter=self.meter,
            prices=Prices.of("", ""),
            memory_gb=1.0,
            workers=6,
            launch=lambda payload: self.launched.append(dict(payload)),
            report=lambda name, document: self.reports.__setitem__(name, dict(document)),
            now=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def inventories(self) -> Inventories:
        return Inventories(self.store.bucket, {self.files.bucket: self.files}, self.files, now=self.clock)

    @cached_property
    def changes(self) -> Changes:
        return Changes(self.operations, now=self.clock)

    @cached_property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.aligner("reconciliation"), self.operations, days=30, now=self.clock)

    @cached_property
    def acknowledgements(self) -> Acknowledgements:
        return Acknowledgements(self.operations, now=self.clock)

    @cached_property
    def holds(self) -> Holds:
        return Holds(self.aligner("reconciliation"), self.operations, now=self.clock)

    @cached_property
    def actor(self) -> Actor:
        return Actor(
            self.aligner("reconciliation"),
            self.quarantine,
            self.acknowledgements,
            self.storing,
            self.operations,
            self.holds,
            grace_ms=self.grace_ms,
            now=self.clock,
        )

    def repairs(self, *, max_actions: int = 1000, max_percent: int = 100, max_per_project: int = 1000) -> Repairs:
        breaker = Breaker(max_actions, max_percent, max_per_project)
        return Repairs(
            self.runs,
            self.identity,
            self.actor,
            Plans(self.operations, self.acknowledgements, breaker, grace_ms=self.grace_ms, now=self.clock, new_id=self.new_id),
            breaker,
            self.operations,
            self.tombstones,
            grace_ms=self.grace_ms,
            launch=lambda payload: self.launched.append(dict(payload)),
            now=self.clock,
        )

    @cached_property
    def restorations(self) -> Restorations:
        launch = self.launched.append
        return Restorations(
            self.runs, self.quarantine, self.operations, self.tombstones, self.store, launch=lambda it: launch(dict(it)), now=self.clock
        )

    @cached_property
    def expiry(self) -> Expiry:
        return Expiry(self.runs, self.quarantine, self.holds, self.tombstones)

    @cached_property
    def drills(self) -> Drills:
        return Drills(self.store, self.ledger, self.operations, self.quarantine, now=self.clock, new_id=self.new_id)

    @cached_property
    def files(self) -> MemoryStore:
        """The stack's own bucket."""
        return MemoryStore("reports", now=self.clock)

    @cached_property
    def storing(self) -> Storing:
        return Storing(self.store, self.ledger, self.intents, self.object_deletions, self.fetcher, self.rules, now=self.clock)

    @cached_property
    def importer(self) -> Importer:
        return Importer(
            self.store,
            self.ledger,
            self.layouts,
            self.object_deletions,
            self.intents,
            self.uploads,
            self.storing,
            self.rules,
            max_inline_bytes=self.inline_bytes or 1000,
            enabled=self.inline_bytes is None,
            now=self.clock,
        )

    @cached_property
    def migrations(self) -> Migrations:
        return Migrations(
            self.files,
            self.ledger,
            self.operations,
            self.importer,
            self.storing,
            read_entry=read_entry,
            columns=COLUMNS,
            send=lambda message, delay: self._send("migrations", message, delay),
            enabled=self.inline_bytes is None,
            batch=10,
            workers=3,
            seconds=900,
            lease_ms=300_000,
            now=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def exports(self) -> Exports:
        return Exports(
            self.files,
            self.ledger,
            self.operations,
            self.layouts,
            findings=lambda run_id, form, after: lines(self.operations, run_id, form, after),
            send=lambda message, delay: self._send("migrations", message, delay),
            seconds=900,
            lease_ms=300_000,
            now=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def analytics(self) -> Analytics:
        return Analytics(self.ledger, self.operations, now=self.clock)

    @cached_property
    def recounts(self) -> Recounts:
        rows = CountRows(self.ledger._tables, sleep=self.ledger._sleep)
        return Recounts(
            self.ledger,
            rows,
            self.operations,
            send=lambda message, delay: self._send("migrations", message, delay),
            lease_ms=300_000,
            now=self.clock,
            new_id=self.new_id,
        )

    def with_store(self, store: MemoryStore) -> World:
        """Returns this deployment over another, empty bucket that bears the same identity."""
        known = self.operations.get("settings", "identity")
        assert known is not None
        store.plant(IDENTITY_KEY, json.dumps(dict(known.document)).encode())
        return World(store, self.ledger, self.operations, self.clock)

    def without_storage(self, inline_bytes: int = 1000) -> World:
        """Returns this deployment with storage switched off."""
        return World(self.store, self.ledger, self.operations, self.clock, new_id=self.new_id, inline_bytes=inline_bytes)

    # doing

    def reserve(self) -> Reserved:
        """Makes the identity of something new."""
        at = self.clock()
        return Reserved(self.new_id(at), at)

    def put(self, body: bytes, project_id: str = "p1", *, declared_type: str | None = None, **details: Any) -> Uploaded:
        return self.uploads.put(project_id, NewObject(body, declared_type, Details(**details)), self.reserve())

    def upload(self, project_id: str = "p1", color: int = 0, **details: Any) -> Record:
        return self.put(an_image(color), project_id, **details).record

    def bytes_of(self, record: Record) -> bytes:
        """Reads an object's bytes as a caller would."""
        content = self.serving.bytes(record.object_id, {}).content
        assert content is not None
        return content.body

    def plant(self, *keys: str, body: bytes = b"stranger") -> None:
        """Puts objects behind the ledger's back."""
        for key in keys:
            self.store.plant(key, body)

    def record(self, key: str, state: State, *, project_id: str = "p1", size: int = 5, **changes: Any) -> Record:
        """Writes a record behind the bucket's back."""
        at = self.clock()
        project = self.ledger.project(project_id)
        fields = {"etag": "0" * 32, "expires_at": at + 60_000 if state is State.PENDING else None, **changes}
        created_at = fields.pop("created_at", at)
        record = Record(key, self.new_id(at), project.project_id, project.epoch, state, size, created_at, at, **fields)
        return self.ledger.move(None, record, gated=True, content=bytes(size) if state is State.INLINE else None)

    def pump(self) -> None:
        """Delivers every message, `deliveries` times each, waiting where one is delayed."""
        while self.messages:
            queue, message, visible_at = self.messages.popleft()
            self.clock.at = max(self.clock.at, visible_at)
            for _ in range(self.deliveries):
                self.deliver(queue, message)

    def deliver(self, queue: str, message: Mapping[str, Any]) -> None:
        if queue == "batches":
            self.deletions.work(message["deletion_id"], message["part"], out_of_time=never)
        elif queue == "migrations":
            if "recount_id" in message:
                self.recounts.step(message["recount_id"], out_of_time=never)
            elif "export_id" in message:
                self.exports.step(message["export_id"], out_of_time=never)
            else:
                self.migrations.step(message["migration_id"], message["turn"], out_of_time=never)
        elif message["step"] == "set_aside":
            self.deletions.set_aside(message["deletion_id"], out_of_time=never)
        elif message["step"] == "undo":
            self.deletions.restore(message["deletion_id"], message["after"], out_of_time=never)
        elif message["step"] == "discover":
            self.deletions.discover(message["deletion_id"], message["round"], out_of_time=never)
        elif message["step"] == "verify":
            self.deletions.sweep(message["deletion_id"], message["round"], out_of_time=never)
        elif message["step"] == "resend":
            self.deletions.resend(message["deletion_id"], message["round"], message["first"], out_of_time=never)
        else:
            self.deletions.resume(message["deletion_id"])

    def delete_project(self, project_id: str = "p1") -> dict[str, Any]:
        """Deletes a project to its receipt."""
        deletion = self.deletions.request(project_id, reason="a test")
        self.pump()
        receipt = self.deletions.receipt(deletion.operation_id)
        assert receipt is not None
        return receipt

    def plan(self) -> dict[str, Any]:
        """Opens a run and cuts it into ranges."""
        return self.runs.plan(self.new_id(self.clock()))

    def reconcile(self) -> str:
        """Runs a whole reconciliation, as the state machine would, and returns its id."""
        return self.walked(self.plan()["run_id"])

    def walked(self, run_id: str) -> str:
        """Takes a run that is planned to its end and returns its id."""
        for row in list(self.operations.all_parts(run_id, "range#")):
            if row.status == "OPEN":
                while not self.runs.walk(run_id, int(row.part.split("#")[1]), out_of_time=never)["done"]:
                    pass
        self.changes.step(run_id, out_of_time=never)
        self.runs.summarise(run_id)
        return run_id

    def seen_twice(self) -> str:
        """Runs two whole reconciliations, each a grace window after what was before it, and returns the id of the second."""
        for _ in range(2):
            self.clock.advance(self.grace_ms + 1)
            self.reconcile()
        return str(self.runs.recent(1)[0].operation_id)

    def finding(self, run_id: str, key: str) -> dict[str, Any]:
        """Returns what a run says of a key."""
        page, _ = self.runs.findings(run_id, None, 500, None)
        return next(finding for finding in page if finding["key"] == key)

    def found(self, run_id: str) -> set[tuple[str, str, str]]:
        """Returns (class, kind, key) of every finding of a run that nobody has acknowledged."""
        page, cursor = self.runs.findings(run_id, None, 500, None)
        assert cursor is None
        return {(finding["class"], finding["kind"], finding["key"]) for finding in page if finding["repair"] != "ACKNOWLEDGED"}

    def repair(self, run_id: str, plan: Mapping[str, str] = OBVIOUS) -> dict[str, Any]:
        """Repairs a run, also the first one, to its end and returns what the repair says of itself."""
        repairs = self.repairs()
        repairs.request(run_id, plan, first_run=True, out_of_time=never)
        return self.ended(repairs, run_id)

    def ended(self, repairs: Repairs, run_id: str) -> dict[str, Any]:
        """Takes a repair that was begun to its end and returns what it says of itself."""
        while not repairs.step(run_id, out_of_time=never)["done"]:
            pass
        repair = repairs.repair(run_id)
        assert repair is not None
        return repair

    def counts(self, project_id: str = "p1") -> dict[str, tuple[int, int]]:
        """Returns (objects, bytes) by state, without the states of which there is none."""
        counts = self.ledger.counts(project_id)
        return {state.value: (tally.objects, tally.bytes) for state, tally in counts.items() if tally.objects or tally.bytes}

    def bucket_keys(self) -> set[str]:
        """Returns every key in the bucket but our own."""
        return {row.key for page in self.store.list() for row in page if not row.key.startswith(".stocktake/")}

    def every_key(self) -> list[str]:
        """Returns every key in the bucket, our own among them."""
        return list(self.store.keys())

    def tells_one_story(self) -> bool:
        """Says whether every record that claims an object has it, and every object has its record."""
        stored = {entry.key for entry in self.ledger.entries() if entry.state is State.STORED}
        return stored == self.bucket_keys()

    def _send(self, queue: str, message: Mapping[str, Any], delay_seconds: int) -> None:
        # through JSON, as a queue carries it
        self.messages.append((queue, json.loads(json.dumps(message)), self.clock() + delay_seconds * 1000))
