"""Whatever meets whatever: no byte that somebody keeps is lost, and at rest bucket and ledger tell one story.

Machines of the flows' own steps: runs, repairs, restorations, the purge, events, uploads, deletions and writers who ask nobody. Each step
is a process that may be paused before its calls, go on later or die there, while others begin, go on and die. Time passes over all of them.

Every removal of bytes is judged when it happens, by who asked for it; the rest once everything has been driven to its end.

`HYPOTHESIS_PROFILE=long` lets them go on for hours, each time otherwise: CONTRIBUTING.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, currently_in_test_context, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from stocktake.errors import StocktakeError
from stocktake.layouts import QUARANTINE_PREFIX
from stocktake.ledger import Operation
from stocktake.model import Announced, Details, ProjectState, Record, State, StoredObject
from stocktake.presigned import Upload
from stocktake.project_deletion.undo_window import WORKER_MS
from stocktake.quarantine import DAY_MS, MOVE_MS
from stocktake.reconciliation.lease import LEASE_MS, SKEW_MS, STEP_MS
from stocktake.repair.restoring import TURN
from stocktake.storage import SignedRequest
from stocktake.storage.memory import MemoryStore
from stocktake.storage.rules import INTENT
from tests.unit.ledger.builders import Deployment
from tests.unit.processes import Process, Processes
from tests.unit.world import DAY, HOUR, SWEEP_DELAY, Clock, World, an_image, never

KEYS = (
    "projects/p1/scenes/s/media/a.png",
    "projects/p1/scenes/s/media/b.png",
    "projects/p10/scenes/s/media/a.png",
    "projects/nobody/scenes/s/media/a.png",
)
POLICIES: tuple[dict[str, str], ...] = (
    {"orphan": "quarantine", "orphan.none": "quarantine"},
    {"orphan": "delete"},
    {"orphan": "adopt", "missing": "mark_missing", "mismatch": "refresh", "unstored": "settle"},
    {"missing": "forget", "unstored.missing": "forget", "mismatch": "refresh"},
    {"orphan": "acknowledge", "missing": "acknowledge"},
)
HEAL = {"missing": "mark_missing", "mismatch": "refresh", "unstored": "settle", "orphan": "adopt"}
REQUEST_MS, EVENT_MS, BATCH_MS, FAN_OUT_MS = 29_000, 30_000, 60_000, 120_000
WINDOW = 2 * DAY
PAUSES = (1_000, WORKER_MS, STEP_MS + 1, SWEEP_DELAY, MOVE_MS + 1, LEASE_MS + SKEW_MS + 1, HOUR + 1, WINDOW, 31 * DAY_MS)
_CALLS = st.none() | st.integers(0, 12)
_WHICH = st.integers(0, 3)
_BOOLEANS = st.booleans()


def said(text: str) -> None:
    """Notes what happens, where hypothesis asks for it."""
    if currently_in_test_context():
        note(text)


@dataclass
class Kept:
    """Bytes that somebody keeps: put under this key, with these headers, and never asked to go."""

    key: str
    stored: StoredObject
    came_at: int


class WatchedStore(MemoryStore):
    """The bucket, which tells of everything that lies under a key no longer: by removal, or because something else does."""

    on_gone: Callable[[str, bytes], object] | None = None
    on_came: Callable[[str, bytes, StoredObject], object] | None = None

    def _add(self, key: str, body: bytes, stored: StoredObject | None) -> None:
        before = self._current(key)
        super()._add(key, body, stored)
        if before is not None and self.on_gone is not None:
            self.on_gone(key, before[0].body)
        if stored is not None and self.on_came is not None:
            self.on_came(key, body, stored)

    def _remove(self, key: str) -> None:
        before = self._current(key)
        super()._remove(key)
        if before is not None and self.on_gone is not None:
            self.on_gone(key, before[0].body)

    def under(self, key: str) -> tuple[bytes, StoredObject] | None:
        """Looks at what lies under a key, as nobody's call."""
        current = self._current(key)
        return None if current is None else (current[0].body, current[1])


class Keeping(RuleBasedStateMachine):
    """One deployment, and what it may not lose."""

    deploy: ClassVar[Callable[..., Deployment]]

    @initialize(is_known=_BOOLEANS, has_window=_BOOLEANS)
    def begin(self, is_known: bool, has_window: bool) -> None:
        made, clock = type(self).deploy(shards=1), Clock()
        self.store = WatchedStore("data", now=clock)
        self.world = World(self.store, made.ledger, made.operations, clock, undo_ms=WINDOW if has_window else 0)
        self.clock = clock
        for project in ("p1", "p10"):
            self.world.uploads.create_project(project, {})
        self.kept: dict[bytes, Kept] = {}
        self.records: dict[str, Record] = {}
        self.announced: dict[str, tuple[SignedRequest, bytes]] = {}
        self.count = 0
        self.is_writer = False
        self.to_delete: set[tuple[str, str]] = set()
        self.forgotten: set[str] = set()
        self.deleted_objects: set[str] = set()
        self.deletions: set[str] = set()
        self.at_once: set[str] = set()
        self.events: list[str] = []
        self.told: set[bytes] = set()
        self.has_run = False
        self.deaths = 0
        self.executions: list[dict[str, Any]] = self.world.launched
        self.delivered: list[tuple[str, Mapping[str, Any]]] = []
        self.processes = Processes(self.world, made)
        self.store.on_gone, self.store.on_came = self.gone, self.came
        self.store.plant("notes.txt", b"an empty bucket is not believed")
        if is_known:
            for key in KEYS:
                self.somebody_puts(key, False)
            self.events.clear()
            for _ in range(2):
                self.clock.advance(HOUR + 1)
                self.run()

    def teardown(self) -> None:
        if not hasattr(self, "processes"):
            return
        try:
            self.come_to_rest()
        finally:
            self.processes.kill_all()

    # ---- what is kept

    def came(self, key: str, body: bytes, stored: StoredObject) -> None:
        if key.startswith("projects/") and body not in self.kept:
            self.kept[body] = Kept(key, stored, self.clock())
            self.events.append(key)

    def gone(self, key: str, body: bytes) -> None:
        """Judges that bytes do not lie under a key any more."""
        kept = self.kept.get(body)
        if kept is None:
            return
        if self.is_writer:
            if key == kept.key:
                del self.kept[body]
                self.events.append(key)
            return
        self.processes.outside(lambda: self.judge(key, body, kept))

    def judge(self, key: str, body: bytes, kept: Kept) -> None:
        who = self.processes.running
        record = self.world.ledger.record(kept.key)
        if key == kept.key and who is not None and who.name.startswith("step of"):
            assert record is None or record.state is State.QUARANTINED, f"{who} took away {key} of a record that is {record.state}"
        if self.lies(body) is not None:
            return
        entry = self.entry(key)
        asked = (
            (key == kept.key and (key, kept.stored.etag) in self.to_delete)
            or (entry is not None and entry.document["expires_at"] <= self.clock())
            or self.is_being_erased(kept.key)
            or self.is_deleted_by_itself(kept)
        )
        assert asked, f"{who} took away what lay under {key}, and nobody had asked for it"
        del self.kept[body]

    def is_being_erased(self, key: str) -> bool:
        """Says whether the project of a key is in a deletion that may erase."""
        if not key.startswith("projects/p1/"):
            return False
        project = self.world.ledger.project("p1")
        if project.state is not ProjectState.DELETING or project.deletion_id is None:
            return False
        deletion = self.world.deletions.operation(project.deletion_id).document
        is_over = deletion["erases_at"] is None or deletion["erases_at"] <= self.clock() or project.deletion_id in self.at_once
        return bool(deletion["round"] > 0 and is_over)

    def is_deleted_by_itself(self, kept: Kept) -> bool:
        object_id = kept.stored.metadata.get(INTENT)
        if object_id is None or self.world.object_deletions.why_deleted(object_id) is None:
            return False
        # an upload that was ended was never committed
        return object_id in self.deleted_objects or object_id not in self.records

    def lies(self, body: bytes) -> str | None:
        """Returns where bytes can be found: under their key, or in the quarantine, where an entry or an open deletion says so."""
        kept = self.kept[body]
        there = self.store.under(kept.key)
        if there is not None and there[0] == body:
            return kept.key
        for key in self.world.every_key():
            if key.startswith(QUARANTINE_PREFIX) and (found := self.store.under(key)) is not None and found[0] == body:
                entry = self.entry(key)
                if entry is not None and entry.status in ("MOVING", "HELD", "RESTORING"):
                    return key
                deletion = self.world.operations.get(key.rpartition("/")[2].partition("-")[0])
                if entry is None and deletion is not None and deletion.status in ("SETTING_ASIDE", "HELD", "RESTORING"):
                    return key
        return None

    def entry(self, key: str) -> Operation | None:
        """Reads the quarantine entry of a copy."""
        return self.world.operations.get(key.rpartition("/")[2]) if key.startswith(QUARANTINE_PREFIX) else None

    # ---- processes

    def process(
        self, name: str, work: Callable[[], Any], calls: int | None, lives_ms: int, then: Callable[[Any], object] = lambda answer: None
    ) -> None:
        self.go_on(self.processes.begin(name, work, dies_at=self.clock() + lives_ms, then=then), calls)

    def go_on(self, process: Process, calls: int | None) -> None:
        process.run(calls)
        if process.error is not None:
            said(f"  {process}: {type(process.error).__name__}: {process.error}")
            if not isinstance(process.error, StocktakeError):
                raise process.error

    @precondition(lambda self: self.processes.alive)
    @rule(which=_WHICH, calls=_CALLS)
    def goes_on(self, which: int, calls: int | None) -> None:
        process = self.processes.alive[which % len(self.processes.alive)]
        said(f"  {process} goes on")
        self.go_on(process, calls)

    @precondition(lambda self: self.processes.alive)
    @rule(which=_WHICH)
    def dies(self, which: int) -> None:
        process = self.processes.alive[which % len(self.processes.alive)]
        self.kill(process)

    def kill(self, process: Process) -> None:
        said(f"  {process} dies")
        self.deaths += 1
        process.kill()

    @rule(milliseconds=st.sampled_from(PAUSES))
    def time_passes(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)
        for process in [*self.processes.alive]:
            if process.dies_at < self.clock():
                self.kill(process)

    # ---- who writes

    @rule(key=st.sampled_from(KEYS), is_told=_BOOLEANS)
    def somebody_puts(self, key: str, is_told: bool) -> None:
        self.count += 1
        headers: Any = {"content_type": "image/png", "metadata": {"n": str(self.count)}, "cache_control": "no-store"}
        with self.writing(key, is_told=is_told):
            self.store.plant(key, f"bytes {self.count}".encode(), **headers)

    @rule(key=st.sampled_from(KEYS), is_told=_BOOLEANS)
    def somebody_removes(self, key: str, is_told: bool) -> None:
        with self.writing(key, is_told=is_told):
            self.store.remove(key)

    @contextmanager
    def writing(self, key: str, *, is_told: bool) -> Iterator[None]:
        """Somebody who asks nobody is at the bucket, and the event of it comes at once or later."""
        self.is_writer = True
        yield
        self.is_writer = False
        if is_told:
            self.event_of(key, None)

    # ---- events

    @precondition(lambda self: self.events)
    @rule(which=_WHICH, calls=_CALLS, again=_BOOLEANS)
    def an_event_comes(self, which: int, calls: int | None, again: bool) -> None:
        key = self.events[which % len(self.events)]
        self.event_of(key, calls, again=again)

    def event_of(self, key: str, calls: int | None, *, again: bool = False) -> None:
        under = self.store.under(key)

        def ended(_: object) -> None:
            if not again and key in self.events:
                self.events.remove(key)
            if under is not None:
                self.told.add(under[0])

        self.process(f"event of {key}", lambda: self.world.aligner().align(key), calls, EVENT_MS, ended)

    # ---- steps

    def run(self) -> str:
        """Makes a whole run; that the bucket has lost much is known."""
        run_id = self.world.runs.request(accept_loss=True).operation_id
        self.has_run = True
        self.executions.remove({"action": "compare", "run_id": run_id})
        self.world.runs.plan(run_id)
        return self.world.walked(run_id)

    def tidy(self) -> None:
        self.world.presigned.tidy(out_of_time=never)
        with suppress(StocktakeError):
            self.world.object_deletions.tidy(out_of_time=never)
        self.world.deletions.close_windows(out_of_time=never)

    def flow_of(self, execution: Mapping[str, Any]) -> Any:
        return self.world.restorations if str(execution["turn"]).startswith(TURN) else self.world.repairs()

    def step_of(self, execution: dict[str, Any], calls: int | None, *, late: bool) -> None:
        def ended(answer: dict[str, Any]) -> None:
            if answer["done"] and execution in self.executions:
                self.executions.remove(execution)

        run_id, turn, flow = execution["run_id"], execution["turn"], self.flow_of(execution)
        self.process(f"step of {turn}", lambda: flow.step(run_id, turn=turn, out_of_time=lambda: late), calls, STEP_MS, ended)

    def fail(self, execution: dict[str, Any], calls: int | None) -> None:
        self.executions.remove(execution)
        run_id, turn, flow = execution["run_id"], execution["turn"], self.flow_of(execution)
        self.process(f"failure of {turn}", lambda: flow.fail(run_id, "gave up", turn=turn), calls, STEP_MS)

    # ---- at rest

    def come_to_rest(self) -> None:
        """Drives everything to its end, and holds what is left against what was kept."""
        for process in [*self.processes.alive]:
            self.go_on(process, None)
        while self.executions:
            execution = self.executions[0]
            self.step_of(execution, None, late=False)
            if execution in self.executions:
                self.fail(execution, None)
        self.settle_deletions()
        self.clock.advance(LEASE_MS + SKEW_MS + MOVE_MS)
        self.tidy()
        self.clock.advance(HOUR + 1)
        run_id = self.run()
        self.world.expiry.purge(out_of_time=never)
        self.nothing_is_left_half_done()
        self.every_difference_is_named(run_id)
        self.what_was_told_is_recorded()
        self.world.repair(run_id, HEAL)
        self.clock.advance(HOUR + 1)
        run_id = self.run()
        self.every_difference_is_named(run_id)
        self.all_that_is_kept_is_there()
        self.counts_are_those_of_the_records()
        self.deletions_erased_what_was_theirs()
        self.what_is_held_can_be_restored()
        self.all_that_is_kept_is_there()
        self.nothing_comes_of_messages_that_come_again()
        self.all_that_is_kept_is_there()

    def settle_deletions(self) -> None:
        """Delivers every message, and lets every window end."""
        for _ in range(2):
            self.pump()
            project = self.world.ledger.project("p1")
            if project.state is ProjectState.DELETING:
                self.world.deletions.request("p1")  # one that was killed before it was announced is asked for again
                self.pump()
                self.clock.advance(WINDOW)
                self.world.deletions.close_windows(out_of_time=never)
                self.clock.advance(SWEEP_DELAY)
                self.world.deletions.verify(self.the_deletion(), out_of_time=never)
                self.pump()

    def the_deletion(self) -> str:
        deletion_id = self.world.ledger.project("p1").deletion_id
        assert deletion_id is not None
        self.deletions.add(deletion_id)
        return deletion_id

    def pump(self) -> None:
        while self.world.messages:
            queue, message, visible_at = self.world.messages.popleft()
            self.clock.at = max(self.clock.at, visible_at)
            self.delivered.append((queue, message))
            self.world.deliver(queue, message)

    def nothing_is_left_half_done(self) -> None:
        entries = {entry.operation_id: entry for entry in self.world.operations.of_kind("quarantine")}
        assert {entry.status for entry in entries.values()} <= {"HELD", "RESTORING", "RESTORED", "PURGED", "CANCELLED"}
        holders = {entry.document.get("record_id", name) for name, entry in entries.items() if entry.status in ("HELD", "RESTORING")}
        for listed in self.world.ledger.entries():
            record = self.world.ledger.record(listed.key)
            assert record is not None
            if record.state is State.QUARANTINED:
                assert record.object_id in holders, f"{record.key} is held by nobody"
            assert record.state is not State.PENDING or record.expires_at is None or self.store.under(record.key) is not None
        for deletion_id in self.deletions:
            deletion = self.world.deletions.operation(deletion_id)
            assert deletion.status in ("DELETED", "INCOMPLETE", "UNDONE"), f"deletion {deletion_id} is {deletion.status}"

    def every_difference_is_named(self, run_id: str) -> None:
        assert self.world.runs.run(run_id).status == "COMPLETE", self.world.runs.run(run_id).document
        page, _ = self.world.runs.findings(run_id, None, 500, None)
        named = {finding["key"] for finding in page}
        states = {entry.key: entry.state for entry in self.world.ledger.entries()}
        keys = self.world.bucket_keys()
        is_closed = self.world.ledger.project("p1").state is not ProjectState.ACTIVE
        for key in keys | set(states):
            in_line = (key in keys and states.get(key) is State.STORED) or (key not in keys and states.get(key) is State.QUARANTINED)
            leaves = is_closed and key.startswith("projects/p1/") and key not in keys
            assert in_line or leaves or key in named, f"nobody is told of {key}, {states.get(key)}"

    def what_was_told_is_recorded(self) -> None:
        """Who was killed between letting go of a key and looking at it leaves that to a run; nobody else does."""
        for body in self.told & set(self.kept):
            kept = self.kept[body]
            is_there = (found := self.store.under(kept.key)) is not None and found[0] == body and INTENT not in found[1].metadata
            if is_there and not self.deaths and "nobody" not in kept.key and not (self.deletions and "/p1/" in kept.key):
                record = self.world.ledger.record(kept.key)
                assert kept.key in self.forgotten or (record is not None and record.state is State.STORED), (
                    f"{kept.key} was told of: {record}"
                )

    def all_that_is_kept_is_there(self) -> None:
        for body, kept in self.kept.items():
            assert self.lies(body) is not None, f"{body!r} of {kept.key} is lost"
        for key in self.world.every_key():
            found = self.store.under(key)
            if found is not None and (of := self.kept.get(found[0])) is not None:
                for name in ("content_type", "cache_control", "metadata", "size"):
                    assert getattr(found[1], name) == getattr(of.stored, name), f"{key} has another {name}"
        project = self.world.ledger.project("p1")
        for object_id, record in self.records.items():
            is_of_now = project.state is ProjectState.ACTIVE and project.epoch == record.epoch
            if is_of_now and record.key not in self.forgotten and object_id not in self.deleted_objects:
                now = self.world.ledger.record(record.key)
                assert now is not None and now.object_id == object_id, f"the record of {record.key} is lost"
                assert now.metadata == record.metadata

    def deletions_erased_what_was_theirs(self) -> None:
        project = self.world.ledger.project("p1")
        for deletion_id in self.deletions:
            deletion = self.world.deletions.operation(deletion_id)
            if deletion.status != "DELETED":
                continue
            epoch, at = deletion.document["epoch"], deletion.document["requested_at"]
            assert project.epoch > epoch or (project.epoch == epoch and project.state is ProjectState.DELETED)
            for kept in self.kept.values():
                assert not kept.key.startswith("projects/p1/") or kept.came_at >= at, f"{kept.key} outlived the deletion of its project"
            for entry in self.world.ledger.entries():
                record = self.world.ledger.record(entry.key)
                assert record is not None
                assert record.project_id != "p1" or record.epoch > epoch, f"the record of {entry.key} outlived the deletion of its project"

    def nothing_comes_of_messages_that_come_again(self) -> None:
        told = {deletion_id: self.said_of(deletion_id) for deletion_id in self.deletions}
        keys = self.store.keys()
        for queue, message in [*self.delivered]:
            self.world.deliver(queue, message)
        self.pump()
        assert {deletion_id: self.said_of(deletion_id) for deletion_id in self.deletions} == told
        assert self.store.keys() == keys

    def said_of(self, deletion_id: str) -> object:
        return self.world.deletions.operation(deletion_id).status, self.world.deletions.receipt(deletion_id)

    def counts_are_those_of_the_records(self) -> None:
        for project in ("p1", "p10"):
            told: dict[str, tuple[int, int]] = {}
            for entry in self.world.ledger.entries():
                if entry.project_id == project:
                    count, size = told.get(entry.state.value, (0, 0))
                    told[entry.state.value] = (count + 1, size + entry.size)
            assert self.world.counts(project) == told

    def what_is_held_can_be_restored(self) -> None:
        for entry in [*self.world.operations.of_kind("quarantine")]:
            held = self.store.under(entry.document["quarantine_key"])
            if entry.status not in ("HELD", "RESTORING") or held is None or held[0] not in self.kept:
                continue
            key = entry.document["key"]
            under = self.store.under(key)
            if under is not None and under[0] != held[0]:
                self.somebody_removes(key, False)
                self.world.aligner().align(key)
            self.world.restorations.restore(entry.operation_id)
            under = self.store.under(key)
            assert under is not None and under[0] == held[0], f"{key} is not what was restored"
            self.world.aligner().align(key)
            record = self.world.ledger.record(key)
            project = self.world.ledger.project(entry.document["project_id"]) if entry.document["project_id"] is not None else None
            if project is not None and project.state is ProjectState.ACTIVE:
                assert record is not None and record.state is State.STORED and record.etag == under[1].etag, f"{key} was restored: {record}"


class RepairsMeetWriters(Keeping):
    """Runs, repairs, restorations and the purge, on keys that others write."""

    # ---- runs, repairs, restorations

    @rule(calls=_CALLS)
    def a_run_is_made(self, calls: int | None) -> None:
        self.process("run", self.run, calls, STEP_MS)

    @precondition(lambda self: self.has_run)
    @rule(policy=st.sampled_from(POLICIES), calls=_CALLS, of_step=_CALLS, newest=_BOOLEANS)
    def a_repair_begins(self, policy: dict[str, str], calls: int | None, of_step: int | None, newest: bool) -> None:
        run_id = self.run_id(newest=newest)
        for finding in self.world.runs.findings(run_id, None, 100, None)[0]:
            if policy.get(finding["class"]) == "delete" and finding["kind"] != "none" and finding["sightings"] > 1:
                self.to_delete.add((finding["key"], finding["object"]["etag"]))
            if "forget" in policy.values():
                self.forgotten.add(finding["key"])
        repairs = self.world.repairs()
        self.process(f"request of {policy}", lambda: repairs.request(run_id, policy, first_run=True, out_of_time=never), calls, REQUEST_MS)
        self.the_newest_execution_steps(of_step)

    @precondition(lambda self: self.has_run)
    @rule(calls=_CALLS, of_step=_CALLS, newest=_BOOLEANS)
    def a_restoration_begins(self, calls: int | None, of_step: int | None, newest: bool) -> None:
        run_id = self.run_id(newest=newest)
        self.process("request of a restoration", lambda: self.world.restorations.request(run_id), calls, REQUEST_MS)
        self.the_newest_execution_steps(of_step)

    def run_id(self, *, newest: bool) -> str:
        runs = [run.operation_id for run in self.world.runs.recent(2)]
        return runs[0 if newest else -1]

    def the_newest_execution_steps(self, calls: int | None) -> None:
        if self.executions:
            self.step_of(self.executions[-1], calls, late=False)

    @precondition(lambda self: self.executions)
    @rule(which=_WHICH, calls=_CALLS, late=_BOOLEANS)
    def an_execution_goes_on(self, which: int, calls: int | None, late: bool) -> None:
        self.step_of(self.executions[which % len(self.executions)], calls, late=late)

    @precondition(lambda self: self.executions)
    @rule(which=_WHICH, calls=_CALLS)
    def an_execution_gives_up(self, which: int, calls: int | None) -> None:
        self.fail(self.executions[which % len(self.executions)], calls)

    @precondition(lambda self: self.has_run)
    @rule(calls=_CALLS, newest=_BOOLEANS)
    def an_operator_stops(self, calls: int | None, newest: bool) -> None:
        run_id = self.run_id(newest=newest)
        self.process("stop", lambda: self.world.runs.stop(run_id), calls, REQUEST_MS)

    @rule(which=_WHICH, calls=_CALLS)
    def an_entry_is_restored(self, which: int, calls: int | None) -> None:
        entries = self.world.quarantine.recent(10)[0]
        if entries:
            entry_id = entries[which % len(entries)].operation_id
            self.process("restore", lambda: self.world.restorations.restore(entry_id), calls, REQUEST_MS)

    @rule(calls=_CALLS)
    def the_purge_runs(self, calls: int | None) -> None:
        self.process("purge", lambda: self.world.expiry.purge(out_of_time=never), calls, STEP_MS)


class DeletionsMeetUploads(Keeping):
    """A project's deletion with its undo, uploads by every way in, deletions of single objects, and the project opened anew."""

    @rule(which=_WHICH)
    def somebody_removes_an_upload(self, which: int) -> None:
        uploads = [record.key for record in self.records.values()]
        if uploads:
            self.somebody_removes(uploads[which % len(uploads)], False)

    @precondition(lambda self: len(self.records) < 3)
    @rule(calls=_CALLS)
    def an_upload_comes(self, calls: int | None) -> None:
        self.count += 1
        body = an_image(self.count)
        self.process(
            f"upload {self.count}",
            lambda: self.world.put(body, metadata={"n": self.count}).record,
            calls,
            REQUEST_MS,
            lambda record: self.records.__setitem__(record.object_id, record),
        )

    @precondition(lambda self: len(self.announced) < 2)
    @rule(calls=_CALLS)
    def an_upload_is_announced(self, calls: int | None) -> None:
        self.count += 1
        body = an_image(self.count)
        announced = Announced("image/png", len(body), hashlib.sha256(body).hexdigest(), None, Details(metadata={"n": self.count}))

        def ended(upload: Upload) -> None:
            assert upload.request is not None
            self.announced[upload.record.object_id] = upload.request, body

        self.process("announcement", lambda: self.world.presigned.begin("p1", announced, self.world.reserve()), calls, REQUEST_MS, ended)

    @precondition(lambda self: self.announced)
    @rule(which=_WHICH)
    def the_bytes_come(self, which: int) -> None:
        request, body = [*self.announced.values()][which % len(self.announced)]
        self.store.fetch(request, body)

    @precondition(lambda self: self.announced)
    @rule(which=_WHICH, calls=_CALLS)
    def an_upload_is_completed(self, which: int, calls: int | None) -> None:
        upload_id = [*self.announced][which % len(self.announced)]
        complete = self.world.presigned.complete
        self.process(
            "completion",
            lambda: complete(upload_id, (), out_of_time=never),
            calls,
            REQUEST_MS,
            lambda record: self.records.__setitem__(record.object_id, record),
        )

    @precondition(lambda self: self.announced)
    @rule(which=_WHICH, calls=_CALLS)
    def an_upload_is_aborted(self, which: int, calls: int | None) -> None:
        upload_id = [*self.announced][which % len(self.announced)]
        self.process("abort", lambda: self.world.presigned.abort(upload_id), calls, REQUEST_MS)

    @precondition(lambda self: self.records)
    @rule(which=_WHICH, calls=_CALLS)
    def an_object_is_deleted(self, which: int, calls: int | None) -> None:
        object_id = [*self.records][which % len(self.records)]
        self.deleted_objects.add(object_id)
        self.process("deletion of an object", lambda: self.world.object_deletions.delete(object_id), calls, REQUEST_MS)

    @rule(calls=_CALLS)
    def all_is_tidied(self, calls: int | None) -> None:
        self.process("tidying", self.tidy, calls, FAN_OUT_MS)

    # ---- the deletion of a project

    @rule(undo=_BOOLEANS, calls=_CALLS)
    def the_project_is_deleted(self, undo: bool, calls: int | None) -> None:
        def ended(deletion: Operation) -> None:
            self.deletions.add(deletion.operation_id)

        if not undo and (deletion_id := self.world.ledger.project("p1").deletion_id) is not None:
            self.at_once.add(deletion_id)
        self.process("request of a deletion", lambda: self.world.deletions.request("p1", undo=undo), calls, REQUEST_MS, ended)

    @precondition(lambda self: self.world.messages)
    @rule(which=_WHICH, calls=_CALLS, again=_BOOLEANS)
    def a_message_comes(self, which: int, calls: int | None, again: bool) -> None:
        sent = self.world.messages[which % len(self.world.messages)]
        self.message_comes(sent, calls, again=again)

    @precondition(lambda self: self.world.messages)
    @rule(number=st.integers(1, 4), calls=_CALLS)
    def messages_come(self, number: int, calls: int | None) -> None:
        for left in range(number, 0, -1):
            if self.world.messages:
                self.message_comes(self.world.messages[0], calls if left == 1 else None)

    def message_comes(self, sent: tuple[str, dict[str, Any], int], calls: int | None, *, again: bool = False) -> None:
        queue, message, visible_at = sent
        if visible_at > self.clock():
            return
        self.delivered.append((queue, message))

        def ended(_: object) -> None:
            if not again and sent in self.world.messages:
                self.world.messages.remove(sent)

        lives = BATCH_MS if queue == "batches" else FAN_OUT_MS
        self.process(f"{queue} {message}", lambda: self.world.deliver(queue, message), calls, lives, ended)

    @precondition(lambda self: self.deletions)
    @rule(which=_WHICH, calls=_CALLS)
    def a_deletion_is_undone(self, which: int, calls: int | None) -> None:
        deletion_id = sorted(self.deletions)[which % len(self.deletions)]
        self.process("undo", lambda: self.world.deletions.undo(deletion_id), calls, REQUEST_MS)

    @precondition(lambda self: self.deletions)
    @rule(which=_WHICH, calls=_CALLS)
    def a_deletion_is_verified(self, which: int, calls: int | None) -> None:
        deletion_id = sorted(self.deletions)[which % len(self.deletions)]
        self.process("verification", lambda: self.world.deletions.verify(deletion_id, out_of_time=never), calls, REQUEST_MS)

    @precondition(lambda self: not any(process.name.startswith("batches") for process in self.processes.alive))
    @rule(calls=_CALLS)
    def the_project_is_opened_anew(self, calls: int | None) -> None:
        self.process("opening", lambda: self.world.uploads.create_project("p1", {}), calls, REQUEST_MS)


class EverythingMeetsEverything(RepairsMeetWriters, DeletionsMeetUploads):
    """All of it at once: for long runs."""


type Move = Callable[[EverythingMeetsEverything, int | None], object]


def repair(policy: dict[str, str]) -> Move:
    return lambda machine, calls: machine.a_repair_begins(policy, None, calls, True) if machine.has_run else None


def passing(milliseconds: int) -> Move:
    return lambda machine, _: machine.time_passes(milliseconds)


def only_with(what: str, move: Move) -> Move:
    """A move that there is nothing for where the machine has none of this."""
    return lambda machine, calls: move(machine, calls) if getattr(machine, what) else None


MOVES: dict[str, Move] = {
    "set orphans aside": repair(POLICIES[0]),
    "delete orphans": repair(POLICIES[1]),
    "adopt and mark": repair(POLICIES[2]),
    "forget": repair(POLICIES[3]),
    "acknowledge": repair(POLICIES[4]),
    "restore a run": only_with("has_run", lambda machine, calls: machine.a_restoration_begins(None, calls, True)),
    "restore an entry": lambda machine, calls: machine.an_entry_is_restored(0, calls),
    "stop": only_with("has_run", lambda machine, calls: machine.an_operator_stops(calls, True)),
    "give up": only_with("executions", lambda machine, calls: machine.an_execution_gives_up(0, calls)),
    "purge": lambda machine, calls: machine.the_purge_runs(calls),
    "compare": lambda machine, calls: machine.a_run_is_made(calls),
    "put": lambda machine, _: machine.somebody_puts(KEYS[0], True),
    "put untold": lambda machine, _: machine.somebody_puts(KEYS[0], False),
    "remove": lambda machine, _: machine.somebody_removes(KEYS[0], True),
    "event": lambda machine, calls: machine.event_of(KEYS[0], calls, again=True),
    "upload": lambda machine, calls: machine.an_upload_comes(calls),
    "announce": lambda machine, calls: machine.an_upload_is_announced(calls),
    "send": only_with("announced", lambda machine, _: machine.the_bytes_come(0)),
    "complete": only_with("announced", lambda machine, calls: machine.an_upload_is_completed(0, calls)),
    "abort": only_with("announced", lambda machine, calls: machine.an_upload_is_aborted(0, calls)),
    "delete an object": only_with("records", lambda machine, calls: machine.an_object_is_deleted(0, calls)),
    "tidy": lambda machine, calls: machine.all_is_tidied(calls),
    "delete the project": lambda machine, calls: machine.the_project_is_deleted(True, calls),
    "delete it at once": lambda machine, calls: machine.the_project_is_deleted(False, calls),
    "a message": lambda machine, calls: machine.messages_come(1, calls),
    "messages": lambda machine, calls: machine.messages_come(4, calls),
    "undo": only_with("deletions", lambda machine, calls: machine.a_deletion_is_undone(0, calls)),
    "open it anew": lambda machine, calls: machine.the_project_is_opened_anew(calls),
    "a minute": passing(WORKER_MS),
    "twenty minutes": passing(MOVE_MS + 1),
    "two days": passing(WINDOW),
    "a month": passing(31 * DAY_MS),
}
_MOVES = st.sampled_from(sorted(MOVES))


IS_LONG = settings.get_current_profile_name() == "long"
HOW = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=not IS_LONG,
    max_examples=settings().max_examples if IS_LONG else 30,
    stateful_step_count=40 if IS_LONG else 20,
)


@pytest.mark.parametrize("machine", [RepairsMeetWriters, DeletionsMeetUploads, *([EverythingMeetsEverything] if IS_LONG else [])])
def test_nothing_is_lost_whatever_meets_whatever(deploy: Callable[..., Deployment], machine: type[Keeping]) -> None:
    Keeping.deploy = deploy
    run_state_machine_as_test(machine, settings=HOW)


@settings(HOW)
@given(
    is_known=_BOOLEANS,
    has_window=_BOOLEANS,
    before=st.lists(_MOVES, max_size=3),
    first=_MOVES,
    calls=st.integers(0, 12),
    meanwhile=st.lists(_MOVES, min_size=1, max_size=3),
    dies=_BOOLEANS,
)
def test_nothing_is_lost_whatever_comes_between_two_calls_of_a_step(
    deploy: Callable[..., Deployment],
    is_known: bool,
    has_window: bool,
    before: list[str],
    first: str,
    calls: int,
    meanwhile: list[str],
    dies: bool,
) -> None:
    Keeping.deploy = deploy
    machine = EverythingMeetsEverything()
    machine.begin(is_known, has_window)
    try:
        for name in before:
            MOVES[name](machine, None)
        MOVES[first](machine, calls)
        for name in meanwhile:
            MOVES[name](machine, None)
        for process in [*machine.processes.alive]:
            machine.kill(process) if dies else machine.go_on(process, None)
        machine.come_to_rest()
    finally:
        machine.processes.kill_all()


@pytest.mark.parametrize(
    ("first", "meanwhile"),
    [
        ("delete orphans", ("stop", "adopt and mark")),
        ("delete orphans", ("put",)),
        ("delete orphans", ("event",)),
        ("upload", ("delete the project",)),
    ],
)
def test_what_once_lost_something_loses_nothing_wherever_in_the_step_it_comes(
    deploy: Callable[..., Deployment], first: str, meanwhile: tuple[str, ...]
) -> None:
    Keeping.deploy = deploy
    for calls in range(8):
        machine = EverythingMeetsEverything()
        machine.begin(first != "upload", first == "upload")
        try:
            for name in (first, *meanwhile):
                MOVES[name](machine, calls if name == first else None)
            machine.come_to_rest()
        finally:
            machine.processes.kill_all()
