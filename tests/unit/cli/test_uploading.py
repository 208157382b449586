"""Uploads by the command line: nothing is sent twice, nothing is lost, whenever it is interrupted."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocktake_cli.api import Api
from stocktake_cli.failures import Unreachable
from stocktake_cli.uploading import Begun, Journal, Sender, Source, stored_hashes
from stocktake_cli.wire import Reply
from tests.unit.cli.conftest import URL, Cli, problem

PART = 4
SINGLE = 6
STORE = "https://store.example.com"


class Died(BaseException):
    """The process ended here."""


@dataclass
class World:
    """An API and a store, as far as uploads go. Announcements are idempotent by their key, and outlive the process that made them."""

    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    bytes_put: list[bytes] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    requests: int = 0
    die_at: int = -1
    dies_after: bool = False

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None = None) -> Reply:
        self.requests += 1
        dies = self.requests == self.die_at
        if dies and not self.dies_after:
            raise Died
        raw = body if body is None or isinstance(body, bytes) else body.read()
        reply = self._answer(method, url, headers, raw)
        if dies:
            raise Died
        return reply

    def _answer(self, method: str, url: str, headers: Mapping[str, str], raw: bytes | None) -> Reply:
        if url.startswith(STORE):
            assert not any(name.lower() == "authorization" for name in headers)  # the API's token is nobody else's
            return self._put(url, raw or b"")
        path = url.removeprefix(URL)
        if method == "GET" and path.startswith("/projects/p1/objects"):
            return self._json(
                {"objects": [of["object"] for of in self.uploads.values() if of["object"]["state"] == "STORED"], "cursor": None}
            )
        if path == "/projects/p1/uploads":
            return self._announce(headers["Idempotency-Key"], json.loads(raw or b""))
        found = re.fullmatch(r"/(uploads|objects)/([^/]+)(/complete|/parts)?", path)
        assert found is not None, path
        upload = self.uploads.get(found[2])
        if upload is None or found[2] in self.deleted:
            return problem(404, "upload-not-found", "none")
        if found[1] == "objects":
            return self._json(upload["object"])
        if found[3] == "/parts":
            wanted = json.loads(raw or b"")["parts"]
            return self._json({"parts": [self._ask(found[2], part["number"]) for part in wanted]})
        if found[3] == "/complete":
            return self._complete(upload)
        return self._json({**upload, "parts": [self._part(number, body) for number, body in upload["held"].items()]})

    def _announce(self, key: str, asked: dict[str, Any]) -> Reply:
        if key not in self.keys:
            upload_id = f"u{len(self.uploads)}"
            parts = asked.get("part_bytes")
            record = {"object_id": upload_id, "state": "PENDING", "sha256": None if parts else asked["sha256"], "bytes": asked["bytes"]}
            self.keys[key] = upload_id
            length = PART if parts else None
            self.uploads[upload_id] = {"upload_id": upload_id, "object": record, "part_bytes": length, "held": {}, "parts": []}
            self.uploads[upload_id]["request"] = None if parts else self._ask(upload_id, 1)
            return self._json(self.uploads[upload_id])
        # what is answered again is what was answered: its URL has ended since
        first = {**self.uploads[self.keys[key]], "parts": []}
        return self._json(first if first["request"] is None else {**first, "request": {**first["request"], "url": f"{STORE}/ended"}})

    def _ask(self, upload_id: str, number: int) -> dict[str, Any]:
        size = self.uploads[upload_id]["object"]["bytes"]
        last = min(PART, size - (number - 1) * PART)
        return {"method": "PUT", "url": f"{STORE}/{upload_id}/{number}", "headers": {}, "number": number, "bytes": last}

    def _put(self, url: str, body: bytes) -> Reply:
        if url == f"{STORE}/ended":
            return Reply(403)
        upload_id, number = url.removeprefix(f"{STORE}/").split("/")
        self.bytes_put.append(body)
        self.uploads[upload_id]["held"][int(number)] = body
        return Reply(200)

    def _complete(self, upload: dict[str, Any]) -> Reply:
        whole = b"".join(body for _, body in sorted(upload["held"].items()))
        if len(whole) != upload["object"]["bytes"]:
            return problem(409, "upload-incomplete", "bytes are not there yet: PUT them")
        upload["object"]["state"] = "STORED"
        upload["whole"] = whole
        return self._json(upload["object"])

    def _part(self, number: int, body: bytes) -> dict[str, Any]:
        return {"number": number, "bytes": len(body), "etag": "e", "sha256": sha256(body).hexdigest()}

    def _json(self, document: Mapping[str, Any]) -> Reply:
        shown = {name: value for name, value in document.items() if name not in ("held", "whole")}
        return Reply(200, {}, json.dumps(shown).encode())

    @property
    def stored(self) -> list[bytes]:
        return sorted(of["whole"] for of in self.uploads.values() if of["object"]["state"] == "STORED")


def sent(world: World, folder: Path, names: list[str], *, workers: int = 1) -> list[dict[str, Any]]:
    """Gives the command, as a process of its own would: with nothing but what is on the disk."""
    api = Api(world, URL, lambda: "t", sleep=lambda seconds: None)
    journal = Journal(folder / "journal.jsonl")
    sender = Sender(
        api,
        world,
        journal,
        "p1",
        stored_hashes(api, "p1"),
        workers=workers,
        single_bytes=SINGLE,
        part_bytes=PART,
        sleep=lambda seconds: None,
    )
    sources = [Source(folder / name, (folder / name).stat().st_size, "image/png") for name in names]
    return sender.send(sources, lambda amount: None)


def written(folder: Path, contents: list[bytes]) -> list[str]:
    names = [f"f{number}.png" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    return names


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(st.binary(min_size=1, max_size=14), min_size=1, max_size=4),
    deaths=st.lists(st.tuples(st.integers(1, 14), st.booleans()), max_size=3),
)
def test_an_upload_that_dies_anywhere_ends_with_each_content_stored_once_when_the_command_is_given_again(
    contents: list[bytes], deaths: list[tuple[int, bool]]
) -> None:
    world = World()
    with TemporaryDirectory() as name:
        folder = Path(name)
        names = written(folder, contents)
        for at, after in deaths:
            world.requests, world.die_at, world.dies_after = 0, at, after
            with suppress(Died):
                sent(world, folder, names)
        world.die_at = -1
        results = sent(world, folder, names)
        assert world.stored == sorted(set(contents))
        assert len(world.uploads) == len(set(contents))  # nothing was announced twice
        assert {result["outcome"] for result in results} <= {"stored", "skipped"}
        # and once more there is nothing to do
        before = len(world.bytes_put)
        assert {result["outcome"] for result in sent(world, folder, names)} == {"skipped"}
        assert len(world.bytes_put) == before


def test_parts_that_the_store_has_are_not_sent_again(tmp_path: Path) -> None:
    world = World()
    names = written(tmp_path, [b"aaaabbbbcc"])
    world.die_at = 5  # objects, announce, parts, first part, second part
    with suppress(Died):
        sent(world, tmp_path, names)
    world.die_at = -1
    sent(world, tmp_path, names)
    assert sorted(world.bytes_put) == [b"aaaa", b"bbbb", b"cc"]


def test_an_upload_is_taken_up_by_its_id_when_its_key_is_forgotten(tmp_path: Path) -> None:
    world = World()
    names = written(tmp_path, [b"one"])
    world.die_at = 3  # objects, announce, put
    with suppress(Died):
        sent(world, tmp_path, names)
    world.die_at = -1
    world.keys.clear()  # a day has gone
    sent(world, tmp_path, names)
    assert list(world.uploads) == ["u0"]


def test_an_announcement_whose_answer_was_lost_is_repeated_and_its_url_signed_anew(tmp_path: Path) -> None:
    world = World()
    names = written(tmp_path, [b"one"])
    world.die_at, world.dies_after = 2, True  # objects, announce
    with suppress(Died):
        sent(world, tmp_path, names)
    world.die_at = -1
    assert sent(world, tmp_path, names)[0]["outcome"] == "stored"
    assert list(world.uploads) == ["u0"]


def test_equal_files_side_by_side_are_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, announce, other = World(), World._announce, threading.Event()

    def slowly(of: World, key: str, asked: dict[str, Any]) -> Reply:
        other.wait(0.2)  # long enough for another to begin, were it let
        return announce(of, key, asked)

    monkeypatch.setattr(World, "_announce", slowly)
    names = written(tmp_path, [b"same"] * 6)
    outcomes = [result["outcome"] for result in sent(world, tmp_path, names, workers=4)]
    assert sorted(outcomes) == ["skipped"] * 5 + ["stored"]


def test_what_was_stored_and_deleted_since_is_sent_anew(tmp_path: Path) -> None:
    world = World()
    names = written(tmp_path, [b"one"])
    sent(world, tmp_path, names)
    world.deleted.add("u0")
    world.uploads["u0"]["object"]["state"] = "DELETED"
    assert sent(world, tmp_path, names)[0]["object_id"] == "u1"


def test_half_a_line_of_a_journal_costs_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j" / "journal.jsonl")
    journal.note("a", Begun("k1", "u1"))
    with journal.path.open("a") as file:
        file.write('{"sha256": "b", "ke')
    again = Journal(journal.path)
    assert (again.begun("a"), again.begun("b")) == (Begun("k1", "u1"), None)
    again.note("c", Begun("k2"))
    assert Journal(journal.path).begun("c") == Begun("k2")


def test_one_file_that_is_refused_does_not_hold_up_the_others(cli: Cli, tmp_path: Path) -> None:
    world = World()
    for name, content in (("a.png", b"one"), ("b.png", b"two"), (".hidden.png", b"no"), ("c.unknown-type", b"three"), ("d.png", b"")):
        (tmp_path / name).write_bytes(content)

    def send(method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None = None) -> Reply:
        if isinstance(body, bytes) and b'"a.png"' in body:
            return problem(415, "unsupported-type", "not taken: send an image")
        return world.send(method, url, headers, body)

    cli.wire.send = send  # type: ignore[method-assign]  # its answers are the world's
    shown = cli("upload", str(tmp_path), "--project", "p1", "--json")
    assert shown.exit == 1
    assert shown.result["totals"] == {"stored": 1, "skipped": 0, "would-send": 0, "failed": 3}
    assert {of["path"].rpartition("/")[2]: of["why"] for of in shown.result["files"] if of["why"]} == {
        "a.png": "not taken: send an image",
        "c.unknown-type": "neither its name nor its bytes say its type",
        "d.png": "it is empty",
    }


PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\0" * 20


def test_a_file_is_sent_as_what_its_bytes_are_whatever_its_name_says(cli: Cli, tmp_path: Path) -> None:
    world, announced = World(), dict[str, str]()
    for name, content in (("a.png", PNG + b"1"), ("b.jpg", PNG + b"2"), ("c", PNG + b"3"), ("d.svg", b"<svg/>")):
        (tmp_path / name).write_bytes(content)

    def send(method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None = None) -> Reply:
        if isinstance(body, bytes) and b'"content_type"' in body:
            said = json.loads(body)
            announced[said["file_name"]] = said["content_type"]
        return world.send(method, url, headers, body)

    cli.wire.send = send  # type: ignore[method-assign]  # its answers are the world's
    shown = cli("upload", str(tmp_path), "--project", "p1")
    assert (shown.exit, announced) == (0, {"a.png": "image/png", "b.jpg": "image/png", "c": "image/png", "d.svg": "image/svg+xml"})
    told = [line.rpartition("/")[2] for line in shown.err.splitlines() if line.startswith("sent as what it is, image/png")]
    assert told == ["b.jpg", "c"]


def test_what_is_passed_over_in_a_folder_is_said_with_why(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / ".git").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"one")
    (folder / ".hidden.png").write_bytes(b"no")
    (folder / "broken.png").symlink_to(tmp_path / "nowhere")
    (folder / "elsewhere").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")
    cli.wire.send = World().send  # type: ignore[method-assign]  # its answers are the world's
    shown = cli("upload", str(folder), "--project", "p1", "--json")
    assert {of["path"].rpartition("/")[2]: of["why"] for of in shown.result["passed_over"]} == {
        ".git": "hidden",
        ".hidden.png": "hidden",
        "broken.png": "a link that leads nowhere",
        "elsewhere": "a link to another folder",
        "pipe.png": "no file",
    }
    said = cli("upload", str(folder), str(folder / "pipe.png"), "--project", "p1").err
    assert ("1 file looked at, 6 passed over" in said, "broken.png (a link that leads nowhere)" in said) == (True, True)


def test_a_name_that_is_not_utf8_is_said_to_be_none(cli: Cli, tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).write_bytes(b"one")
    cli.wire.send = World().send  # type: ignore[method-assign]  # its answers are the world's
    shown = cli("upload", str(tmp_path), "--project", "p1", "--json")
    assert (shown.exit, shown.result["files"][0]["why"]) == (1, "its name is not UTF-8: give it another")
    assert cli("upload", str(tmp_path), "--project", "p1").exit == 1


def test_a_dry_run_sends_nothing(cli: Cli, tmp_path: Path) -> None:
    world = World()
    (tmp_path / "a.png").write_bytes(b"one")
    cli.wire.send = world.send  # type: ignore[method-assign]  # its answers are the world's
    shown = cli("upload", str(tmp_path), "--project", "p1", "--dry-run", "--json")
    assert (shown.exit, shown.result["totals"]["would-send"]) == (0, 1)
    assert world.uploads == {}


def test_a_deployment_that_does_not_answer_ends_it_and_says_so(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    assert cli("upload", str(tmp_path), "--project", "p1", answers={"GET /projects/p1/objects": Unreachable("nobody")}).exit == 4


def test_a_project_that_is_not_there_is_opened_by_an_option_which_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    gone = problem(404, "project-not-found", "there is no project 'p1': create it first")
    shown = cli("upload", str(tmp_path), "--project", "p1", answers={"GET /projects/p1/objects": gone})
    assert (shown.exit, "--open opens it" in shown.err) == (6, True)


def test_a_dry_run_of_a_project_that_would_be_opened_says_so_and_opens_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    gone = problem(404, "project-not-found", "there is no project 'p1': create it first")
    shown = cli("upload", str(tmp_path), "--project", "p1", "--open", "--dry-run", answers={"GET /projects/p1/objects": gone})
    assert (shown.exit, "1 would be sent" in shown.out, "p1 would be opened" in shown.err) == (0, True, True)
    assert cli.wire.asked() == ["GET /projects/p1/objects"]
