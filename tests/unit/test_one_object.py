"""One key on both sides: what is said of it, whatever is or is not there."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stocktake.diagnostics import ObjectDiagnosis
from stocktake.diagnostics.first_bytes import FirstBytes, fetch
from stocktake.errors import InvalidKey, ObjectDeleted, ObjectNotFound, StorageUnavailable
from stocktake.model import FindingClass, State
from tests.unit.world import HOUR, World, an_image, never


def diagnosis(world: World, **changes: Any) -> ObjectDiagnosis:
    def asked(url: str) -> FirstBytes:
        answer = world.store.fetch(url)
        return FirstBytes(answer.status, answer.body[:512])

    made = ObjectDiagnosis(
        world.store, world.ledger, world.operations, world.layouts, world.object_deletions, asked, world.grace_ms, world.clock
    )
    return replace(made, **changes)


def test_a_healthy_object_is_told_by_key_and_by_id_and_its_url_is_fetched(world: World) -> None:
    record = world.upload(metadata={"prompt": "a secret wish"})
    world.clock.advance(HOUR * 2)
    found = diagnosis(world).of_key(record.key)
    assert (found["status"], found["finding"], found["differences"], found["is_young"]) == ("ok", None, [], False)
    assert found["url"] == {"status": 200, "kind": "image/png", "why": None}
    assert (found["record"]["object_id"], found["object"]["bytes"], found["layout"]) == (record.object_id, record.size, "current")
    assert found["record"]["metadata_names"] == ["prompt"]
    shown = json.dumps(found)
    assert not any(hidden in shown for hidden in ("a secret wish", "memory://", "signature"))
    assert diagnosis(world).of_object(record.object_id) == found


def test_what_differs_is_named_with_both_sides(world: World) -> None:
    record = world.upload()
    world.store.plant(record.key, b"other bytes", content_type="text/plain")
    found = diagnosis(world).of_key(record.key)
    assert (found["status"], found["finding"]["class"], found["finding"]["kind"]) == ("failed", "mismatch", "size")
    assert {of["what"]: (of["ledger"], of["bucket"]) for of in found["differences"]}["bytes"] == (record.size, 11)
    assert {of["what"] for of in found["differences"]} >= {"bytes", "etag", "content_type"}
    assert (found["do"], found["is_young"]) == (found["finding"]["recommended"], True)


def test_an_image_that_is_gone_is_told_as_the_reader_of_a_broken_page_needs_it(world: World) -> None:
    record, beside = world.upload(), world.upload(color=1)
    world.store.delete(record.key)
    found = diagnosis(world).of_key(record.key)
    assert (found["status"], found["object"], found["url"], found["finding"]["class"]) == ("failed", None, None, "missing")
    assert "another region" in found["says"]
    assert found["neighbours"] == [{"key": beside.key, "bytes": beside.size, "in_ledger": True, "is_before": False}]


def test_a_key_without_a_folder_has_no_neighbours_of_stocktakes_own(world: World) -> None:
    world.store.plant(".stocktake/quarantine/p1/01ABC", b"aside")
    world.store.plant("b.png", b"beside")
    assert [of["key"] for of in diagnosis(world).of_key("a.png")["neighbours"]] == ["b.png"]


@pytest.mark.parametrize(
    ("key", "state", "status", "word"),
    [
        ("projects/p1/2026/11/a.png", State.MISSING, "failed", "says that its object is missing"),
        ("projects/p1/2026/11/a.png", State.QUARANTINED, "warning", "set aside"),
        ("projects/p1/2026/11/a.png", State.INLINE, "failed", "in the ledger and not in the bucket"),
        ("projects/p1/2026/11/a.png", None, "warning", "Neither"),
        (".stocktake/identity.json", None, "ok", "Stocktake's own"),
    ],
)
def test_every_state_has_its_sentence(world: World, key: str, state: State | None, status: str, word: str) -> None:
    if state is not None:
        world.record(key, state)
    found = diagnosis(world).of_key(key)
    assert (found["status"], word in found["says"]) == (status, True)


def test_an_object_without_record_and_one_that_no_layout_explains_are_told(world: World) -> None:
    world.plant("projects/p1/scenes/s/media/a.png", "nobody/knows.bin")
    orphan, unknown = (diagnosis(world).of_key(key) for key in ("projects/p1/scenes/s/media/a.png", "nobody/knows.bin"))
    assert (orphan["finding"]["class"], orphan["owners"], orphan["record"]) == (
        "orphan",
        ["1"] if orphan["owners"] == ["1"] else ["p1"],
        None,
    )
    assert (unknown["finding"]["class"], unknown["layout"]) == ("unknown", None)


def test_a_key_that_no_store_takes_is_refused_before_anybody_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(world.ledger, "record", asked.append)  # DynamoDB would refuse it
    with pytest.raises(InvalidKey):
        diagnosis(world).of_key("k" * 1025)
    assert asked == []


def test_what_was_deleted_by_request_is_told_as_that(world: World) -> None:
    record = world.upload()
    world.object_deletions.delete(record.object_id)
    found = diagnosis(world).of_key(record.key)
    assert (found["status"], "deleted by request" in found["says"]) == ("ok", True)
    with pytest.raises(ObjectDeleted):
        diagnosis(world).of_object(record.object_id)
    with pytest.raises(ObjectNotFound):
        diagnosis(world).of_object("01KAHN0NE00000000000000000")


@pytest.mark.parametrize(
    ("answer", "why"),
    [(FirstBytes(403), "credentials"), (FirstBytes(404), "another bucket"), (FirstBytes(500), "does not give it"), (None, "fetched")],
)
def test_a_url_that_gives_nothing_is_a_fault_though_both_sides_agree(world: World, answer: FirstBytes | None, why: str) -> None:
    def asked(url: str) -> FirstBytes:
        if answer is None:
            raise StorageUnavailable("The store's URLs cannot be fetched from here (TimeoutError)")
        return answer

    found = diagnosis(world, fetch=asked).of_key(world.upload().key)
    assert (found["status"], why in found["url"]["why"], why in found["says"]) == ("failed", True, True)


@pytest.mark.parametrize("many", [3, 2500])
def test_neighbours_are_a_few_before_and_behind_however_many_there_are(world: World, many: int) -> None:
    keys = [f"audio/p1/s/file-{number:05d}.mp3" for number in range(many)]
    world.plant(*keys, "audio/p1/t/beside.mp3")
    wanted = many - 2
    found = diagnosis(world).of_key(keys[wanted])["neighbours"]
    assert [of["key"] for of in found] == [*keys[max(0, wanted - 4) : wanted], *keys[wanted + 1 :]]
    assert [of["is_before"] for of in found] == [key < keys[wanted] for key in (of["key"] for of in found)]
    assert not any(of["in_ledger"] for of in found)


def test_neighbours_are_never_taken_from_a_page_that_does_not_reach_the_key(world: World) -> None:
    world.plant(*(f"audio/p1/s/file-{number:05d}.mp3" for number in (*range(200), *range(900, 1100))))
    found = diagnosis(world).of_key("audio/p1/s/file-01002.mp3")["neighbours"]
    assert [of["key"] for of in found if of["is_before"]] == ["audio/p1/s/file-01000.mp3", "audio/p1/s/file-01001.mp3"]


def test_what_runs_found_and_what_was_set_aside_is_told(world: World) -> None:
    record = world.upload()
    world.plant("projects/p1/scenes/s/media/a.png")
    world.store.delete(record.key)
    world.clock.advance(HOUR * 2)
    run_id = world.runs.request().operation_id
    for part in world.runs.plan(run_id)["ranges"]:
        world.runs.walk(run_id, part["number"], out_of_time=never)
    world.runs.summarise(run_id)
    (seen,) = diagnosis(world).of_key(record.key)["found_by_runs"]
    assert (seen["run_id"], seen["class"], seen["repair"]) == (run_id, FindingClass.MISSING, "FOUND")
    stored = world.store.head("projects/p1/scenes/s/media/a.png")
    assert stored is not None
    world.quarantine.set_aside(stored.key, stored.etag, stored, run_id=run_id, why="orphan")
    (entry,) = diagnosis(world).of_key(stored.key)["quarantine"]
    assert (entry["status"], entry["run_id"], entry["why"]) == ("HELD", run_id, "orphan")


class Server(http.server.BaseHTTPRequestHandler):
    """A store that gives bytes, a redirect, or a slow nothing."""

    seen: list[tuple[str, str | None]] = []  # noqa: RUF012  # of one test

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Range"]))
        moved = self.path.startswith("/moved")
        body = an_image()
        self.send_response(302 if moved else 206)
        if moved:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def served() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_first_bytes_of_a_url_are_asked_for_once_and_no_redirect_is_followed(served: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    Server.seen.clear()
    answer = fetch(f"{served}/a.png?X-Amz-Signature=4e2f0a7c")
    assert (answer.status, answer.gives, answer.kind, answer.content_type) == (206, True, "image/png", "image/png")
    assert fetch(f"{served}/moved?X-Amz-Signature=4e2f0a7c").status == 302
    assert Server.seen == [("/a.png?X-Amz-Signature=4e2f0a7c", "bytes=0-511"), ("/moved?X-Amz-Signature=4e2f0a7c", "bytes=0-511")]
    with pytest.raises(StorageUnavailable) as refused:
        fetch("http://127.0.0.1:9/a.png?X-Amz-Signature=4e2f0a7c", seconds=1)
    assert "4e2f0a7c" not in str(refused.value)
    assert "4e2f0a7c" not in caplog.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [(an_image(), "image/png"), (b"<?xml version='1.0'?><Error/>", "text/xml"), (b'{"a": 1}', "application/json"), (b"", None)],
)
def test_what_first_bytes_are_is_told_from_themselves(body: bytes, kind: str | None) -> None:
    assert FirstBytes(200, body, "image/jpeg").kind == kind
