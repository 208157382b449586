"""Uploads whose bytes go straight to the bucket: whole lives, refusals, ends, races and crashes.

Parts have 5000 bytes here; that 5 MiB are the least is one test of its own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stocktake import presigned
from stocktake.alignment import Outcome
from stocktake.errors import (
    ConfirmationFailed,
    Conflict,
    InvalidRequest,
    ObjectDeleted,
    ProjectClosed,
    QuotaExceeded,
    RecordChanged,
    StocktakeError,
    StorageUnavailable,
    TooLarge,
    UnsupportedType,
    UploadIncomplete,
    UploadNotFound,
)
from stocktake.model import Announced, Details, NewObject, Project, Quota, Record, Reserved, State
from stocktake.presigned import Upload
from stocktake.storage import Profile, SignedRequest
from stocktake.storage.memory import MemoryStore
from tests.unit.ledger.builders import Deployment
from tests.unit.storage.wire import UNABLE
from tests.unit.test_confirmation import a_noisy_image
from tests.unit.world import DAY, HOUR, SWEEP_DELAY, Clock, Crash, World, an_image, never

PART = 5000
LARGE = a_noisy_image()
PIECES = [LARGE[start : start + PART] for start in range(0, len(LARGE), PART)]
HTML = b"<!doctype html><script>alert(document.cookie)</script>"
SLOW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presigned, "MIN_PART_BYTES", PART)


@pytest.fixture
def a_world(deploy: Callable[..., Deployment]) -> Callable[..., World]:
    """Makes deployments over stores that take small parts, with the project p1 open."""

    def make(profile: Profile | None = None, *, quota: Quota | None = None) -> World:
        made, clock = deploy(shards=1), Clock()  # every call is met by a crash or a rival here: no more of them than need be
        world = World(MemoryStore("data", now=clock, profile=profile, min_part_bytes=PART), made.ledger, made.operations, clock)
        world.uploads.create_project("p1", {}, quota)
        return world

    return make


@pytest.fixture
def world(a_world: Callable[..., World]) -> World:
    return a_world()


# ---- doing


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


HASHES = [sha256(piece) for piece in PIECES]


def begin(world: World, body: bytes, *, content_type: str = "image/png", reserved: Reserved | None = None, **details: Any) -> Upload:
    """Announces one PUT."""
    announced = Announced(content_type, len(body), sha256(body), details=Details(**details))
    return world.presigned.begin("p1", announced, reserved or world.reserve())


def begin_parts(world: World, *, reserved: Reserved | None = None) -> Upload:
    """Announces LARGE in parts."""
    return world.presigned.begin("p1", Announced("image/png", len(LARGE), part_bytes=PART), reserved or world.reserve())


def send(world: World, upload: Upload, body: bytes) -> int:
    assert upload.request is not None
    return world.store.fetch(upload.request, body).status


def send_parts(world: World, upload: Upload, *numbers: int) -> None:
    wanted = {number: HASHES[number - 1] for number in numbers or (1, 2, 3)}
    for number, (size, request) in world.presigned.sign_parts(upload.record.object_id, wanted).items():
        assert size == len(PIECES[number - 1])
        assert world.store.fetch(request, PIECES[number - 1]).status == 200


def complete(world: World, upload: Upload, hashes: list[str] | None = None, *, out_of_time: Callable[[], bool] = never) -> Record:
    return world.presigned.complete(upload.record.object_id, hashes or [], out_of_time=out_of_time)


def tidy(world: World) -> dict[str, int]:
    return world.presigned.tidy(out_of_time=never)


def sweep(world: World) -> None:
    """Lets every URL die, and what is due be done."""
    world.clock.advance(DAY + HOUR)
    tidy(world)
    world.clock.advance(SWEEP_DELAY + 1)
    world.object_deletions.tidy(out_of_time=never)


def is_clean(world: World) -> bool:
    """Says whether nothing at all is left of any upload: no object, record, count, open parts or session."""
    left = [*world.bucket_keys(), *world.ledger.entries(), *world.counts(), *world.store.list_multipart_uploads()]
    return not left and not list(world.operations.of_kind("multipart#p1"))


def land_late(world: World, upload: Upload, body: bytes) -> None:
    """A PUT that began while the URL lived ends now."""
    headers = world.intents.headers_of(upload.record)
    metadata = {"intent": upload.record.object_id}
    world.store.put(upload.record.key, body, sha256=sha256(body), metadata=metadata, only_if_absent=True, **headers)


def at_call(world: World, number: int, do: Callable[[], object]) -> Callable[[], bool]:
    """Runs `do` just before call `number` (from 0) of bucket or tables; what is returned ends that, and says whether it ran."""
    client: Any = world.ledger._tables.client
    real = client._make_api_call
    seen, ran = 0, False

    def count() -> None:
        nonlocal seen, ran
        seen += 1
        if seen == number + 1:
            ran = True
            do()

    def call(operation: str, params: Any) -> Any:
        count()
        return real(operation, params)

    def end() -> bool:
        client._make_api_call = real
        world.store.on_call = None
        return ran

    client._make_api_call = call
    world.store.on_call = lambda operation, key: count()
    return end


def killed_at(world: World, number: int, do: Callable[[], object]) -> bool:
    """Does something, killed before call `number`; says whether it came that far."""

    def kill() -> None:
        raise Crash

    end = at_call(world, number, kill)
    try:
        with contextlib.suppress(Crash, StocktakeError):
            do()
    finally:
        was_killed = end()
    return was_killed


# ---- one PUT


def test_a_single_put_is_signed_over_all_that_was_announced_and_ends_as_a_stored_record(world: World) -> None:
    body = an_image()
    upload = begin(world, body, file_name="Ada.png", metadata={"aspectRatio": "16:9", "numberOfImages": 2})
    assert upload.request is not None
    assert upload.request.method == "PUT"
    assert upload.request.headers == {
        "Content-Length": str(len(body)),
        "Content-Type": "image/png",
        "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
        "x-amz-meta-intent": upload.record.object_id,
        "Cache-Control": "public, max-age=31536000",
        "Content-Disposition": "inline; filename=\"Ada.png\"; filename*=UTF-8''Ada.png",
        "If-None-Match": "*",
    }
    assert world.counts() == {"PENDING": (1, len(body))}
    assert send(world, upload, body) == 200
    record = complete(world, upload)
    assert (record.state, record.size, record.sha256, record.width, record.height) == (State.STORED, len(body), sha256(body), 8, 8)
    assert world.ledger.record(record.key) == record
    assert world.counts() == {"STORED": (1, len(body))}
    assert world.bytes_of(record) == body
    assert world.serving.metadata(record) == {"aspectRatio": "16:9", "numberOfImages": 2}


def test_the_url_takes_nothing_but_what_it_was_signed_for_and_that_once(world: World) -> None:
    body = an_image()
    upload = begin(world, body)
    request = upload.request
    assert request is not None
    for changed in ("Content-Type", "x-amz-checksum-sha256", "x-amz-meta-intent", "If-None-Match", "Cache-Control"):
        without = {name: value for name, value in request.headers.items() if name != changed}
        assert world.store.fetch(replace(request, headers=without), body).status == 403, changed
        assert world.store.fetch(replace(request, headers={**without, changed: "other"}), body).status == 403, changed
    assert world.store.fetch(request, body + b"x").status == 400
    assert world.store.fetch(request, body[:-1] + b"x").status == 400
    assert world.store.fetch(SignedRequest("GET", request.url, {})).status == 403
    assert world.bucket_keys() == set()
    assert world.store.fetch(request, body).status == 200
    assert world.store.fetch(request, body).status == 412


def test_an_upload_is_not_complete_before_its_bytes_are_there(world: World) -> None:
    upload = begin(world, an_image())
    with pytest.raises(UploadIncomplete, match="no bytes"):
        complete(world, upload)
    assert list(world.counts()) == ["PENDING"]


def test_completing_twice_gives_the_same_record(world: World) -> None:
    upload = begin(world, an_image())
    send(world, upload, an_image())
    assert complete(world, upload) == complete(world, upload)
    assert world.counts() == {"STORED": (1, len(an_image()))}


@pytest.mark.parametrize("in_parts", [False, True], ids=["one PUT", "parts"])
def test_the_event_of_an_upload_commits_it_as_complete_would(world: World, in_parts: bool) -> None:
    def arrive() -> Upload:
        upload = begin_parts(world) if in_parts else begin(world, LARGE)
        if not in_parts:
            send(world, upload, LARGE)
            return upload
        send_parts(world, upload)
        with contextlib.suppress(StorageUnavailable):  # joined, and the completion dies
            world.store.fail("complete_multipart_upload", after_effect=True)
            complete(world, upload)
        return upload

    by_event, by_caller = arrive(), arrive()
    alignment = world.aligner().align(by_event.record.key)
    assert alignment.outcome is Outcome.COMMITTED
    assert alignment.after is not None
    ours = complete(world, by_caller)
    assert replace(alignment.after, key="", object_id="") == replace(ours, key="", object_id="")
    assert complete(world, by_event) == alignment.after
    assert list(world.operations.of_kind("multipart#p1")) == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(HTML, "image/png"), (an_image(form="JPEG"), "image/png")],
    ids=["HTML posing as PNG", "JPEG announced as PNG"],
)
def test_what_is_refused_is_committed_by_no_event_and_deleted_by_complete(world: World, body: bytes, content_type: str) -> None:
    upload = begin(world, body, content_type=content_type)
    assert send(world, upload, body) == 200
    assert world.aligner().align(upload.record.key).outcome is Outcome.DIFFERS
    assert list(world.counts()) == ["PENDING"]
    with pytest.raises(UnsupportedType):
        complete(world, upload)
    assert is_clean(world)
    assert world.object_deletions.why_deleted(upload.record.object_id) == "refused: unsupported-type"
    with pytest.raises(UploadNotFound, match="refused: unsupported-type"):
        complete(world, upload)


def test_a_late_put_of_what_was_refused_is_not_adopted_and_is_swept(world: World) -> None:
    upload = begin(world, HTML)
    send(world, upload, HTML)
    with pytest.raises(UnsupportedType):
        complete(world, upload)
    assert send(world, upload, HTML) == 200  # the URL still lives, and the key is empty again
    assert world.aligner().align(upload.record.key).outcome is Outcome.DELETED
    assert world.object_deletions.tidy(out_of_time=never) == 0
    assert world.bucket_keys() == {upload.record.key}
    sweep(world)
    assert is_clean(world)


def test_bytes_that_are_another_writers_are_neither_committed_nor_touched(world: World) -> None:
    upload = begin(world, an_image())
    world.plant(upload.record.key, body=b"another writer's")
    with pytest.raises(ConfirmationFailed):
        complete(world, upload)
    world.clock.advance(DAY)
    assert tidy(world) == {"differs": 1}
    assert world.bucket_keys() == {upload.record.key}
    assert list(world.counts()) == ["PENDING"]


def test_a_store_that_keeps_no_checksum_has_the_bytes_read_back(a_world: Callable[..., World]) -> None:
    world = a_world(UNABLE)
    upload = begin(world, an_image())
    assert "If-None-Match" not in (upload.request.headers if upload.request else {})
    send(world, upload, an_image())
    stored = world.store.head(upload.record.key)
    assert stored is not None
    assert stored.sha256 is None
    assert complete(world, upload).state is State.STORED


def test_an_open_upload_is_signed_again_for_what_is_left_of_its_life(world: World) -> None:
    upload = begin(world, an_image())
    world.clock.advance(600_000)
    again = world.presigned.upload(upload.record.object_id)
    assert again.request is not None
    assert upload.request is not None
    world.clock.advance(299_999)
    assert send(world, again, b"") == 400  # lives
    world.clock.advance(1)
    assert (send(world, again, b""), send(world, upload, b"")) == (403, 403)
    assert world.presigned.upload(upload.record.object_id).request is None


def test_an_upload_that_is_complete_asks_for_nothing_more(world: World) -> None:
    upload = begin(world, an_image())
    send(world, upload, an_image())
    record = complete(world, upload)
    assert world.presigned.upload(record.object_id) == Upload(record)


def test_only_uploads_by_url_are_found_as_such(world: World) -> None:
    stored = world.upload()
    for object_id in (stored.object_id, "nobody", ""):
        with pytest.raises(UploadNotFound):
            world.presigned.upload(object_id)
        with pytest.raises(UploadNotFound):
            world.presigned.abort(object_id)
    assert world.bytes_of(stored)


# ---- what is announced


@pytest.mark.parametrize(
    ("announced", "error", "message"),
    [
        (Announced("image/png", 10**12 + 1, "0" * 64), TooLarge, "MaxObjectBytes"),
        (Announced("image/png", 5_363_340_411, "0" * 64), TooLarge, "at most 5363340410 bytes.*with part_bytes"),
        (Announced("image/png", 10), InvalidRequest, "give the sha256.*or part_bytes"),
        (Announced("image/png", 10, "0" * 64, PART), InvalidRequest, "SHA-256 of each part"),
        (Announced("image/png", 10, None, PART - 1), InvalidRequest, "parts have 5000 to 5368709120 bytes"),
        (Announced("image/png", 10, None, 5 * 1024**3 + 1), InvalidRequest, "parts have 5000 to 5368709120 bytes"),
        (Announced("image/png", 50_000_001, None, PART), InvalidRequest, "10001 parts and 10000 are the most: use part_bytes of 5001"),
        (Announced("text/html", 10, "0" * 64), UnsupportedType, "text/html"),
    ],
    ids=["too large", "too large for one PUT", "no hash", "hash and parts", "small parts", "large parts", "too many parts", "type"],
)
def test_what_cannot_be_taken_is_refused_before_anything_is_written(
    world: World, announced: Announced, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        world.presigned.begin("p1", announced, world.reserve())
    assert is_clean(world)


def test_the_limits_themselves_are_taken(world: World) -> None:
    for announced in (
        Announced("image/png", 5_363_340_410, "0" * 64),
        Announced("image/png", 50_000_000, None, PART),
        Announced("image/png", 10**12, None, 5 * 1024**3),
    ):
        assert world.presigned.begin("p1", announced, world.reserve()).record.size == announced.size


def test_parts_have_5_mib_or_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(InvalidRequest, match="parts have 5242880 to"):
        world.presigned.begin("p1", Announced("image/png", 10, part_bytes=5 * 1024**2 - 1), world.reserve())


def test_what_must_be_read_back_has_lower_limits(a_world: Callable[..., World]) -> None:
    world, most = a_world(UNABLE), 256 * 1024**2
    with pytest.raises(TooLarge, match=f"at most {most} bytes"):
        world.presigned.begin("p1", Announced("image/png", most + 1, "0" * 64), world.reserve())
    with pytest.raises(InvalidRequest, match=f"use at most {most}"):
        world.presigned.begin("p1", Announced("image/png", most, part_bytes=most + 1), world.reserve())
    assert is_clean(world)
    world.presigned.begin("p1", Announced("image/png", most, "0" * 64), world.reserve())
    world.presigned.begin("p1", Announced("image/png", 10 * most, part_bytes=most), world.reserve())


def test_announced_bytes_count_against_the_quota_until_they_are_withdrawn(a_world: Callable[..., World]) -> None:
    world = a_world(quota=Quota(bytes=len(LARGE) + 10))
    upload = begin_parts(world)
    with pytest.raises(QuotaExceeded):
        begin(world, an_image())
    assert world.counts() == {"PENDING": (1, len(LARGE))}
    world.presigned.abort(upload.record.object_id)
    begin(world, an_image())
    world.clock.advance(HOUR)
    assert tidy(world) == {"forgotten": 1}
    with pytest.raises(UnsupportedType):
        second = begin(world, HTML)
        send(world, second, HTML)
        complete(world, second)
    begin_parts(world)


# ---- in parts


def test_parts_become_one_object_and_a_stored_record(world: World) -> None:
    upload = begin_parts(world)
    assert (upload.request, upload.part_bytes, upload.part_count, upload.parts) == (None, PART, 3, ())
    send_parts(world, upload)
    record = complete(world, upload, HASHES)
    stored = world.store.head(record.key)
    assert stored is not None
    assert stored.cache_control == "public, max-age=31536000"
    assert (record.state, record.etag, record.sha256, record.width) == (State.STORED, stored.etag, None, 64)
    assert world.bytes_of(record) == LARGE
    assert world.counts() == {"STORED": (1, len(LARGE))}
    assert list(world.store.list_multipart_uploads()) == []
    assert list(world.operations.of_kind("multipart#p1")) == []
    assert complete(world, upload, HASHES) == record
    assert world.presigned.upload(record.object_id) == Upload(record)


@SLOW
@given(st.integers(1, 60_000), st.integers(PART, 20_000))
def test_the_parts_of_any_upload_are_of_one_size_but_the_last_and_make_up_the_whole(world: World, size: int, part_bytes: int) -> None:
    upload = world.presigned.begin("p1", Announced("image/png", size, part_bytes=part_bytes), world.reserve())
    assert upload.part_count is not None
    signed = world.presigned.sign_parts(upload.record.object_id, dict.fromkeys(range(1, upload.part_count + 1), "0" * 64))
    sizes = [size for size, _ in signed.values()]
    assert sum(sizes) == size
    assert set(sizes[:-1]) <= {part_bytes}
    assert 1 <= sizes[-1] <= part_bytes
    assert [request.headers["Content-Length"] for _, request in signed.values()] == list(map(str, sizes))
    with pytest.raises(InvalidRequest, match="none of upload"):
        world.presigned.sign_parts(upload.record.object_id, {upload.part_count + 1: "0" * 64})


def test_a_number_that_is_no_part_is_refused_and_so_are_too_many_at_once(world: World) -> None:
    upload = begin_parts(world)
    for wanted in ({0: HASHES[0]}, {4: HASHES[0]}, {}, dict.fromkeys(range(1, 1002), HASHES[0])):
        with pytest.raises(InvalidRequest):
            world.presigned.sign_parts(upload.record.object_id, wanted)


def test_one_put_has_no_parts_to_sign(world: World) -> None:
    with pytest.raises(UploadNotFound, match="takes no parts"):
        world.presigned.sign_parts(begin(world, an_image()).record.object_id, {1: HASHES[0]})


def test_a_part_is_refused_that_is_not_the_one_signed(world: World) -> None:
    upload = begin_parts(world)
    [(_, request)] = world.presigned.sign_parts(upload.record.object_id, {1: HASHES[0]}).values()
    assert world.store.fetch(request, PIECES[1]).status == 400
    assert world.store.fetch(request, PIECES[0] + b"x").status == 400
    assert world.presigned.upload(upload.record.object_id).parts == ()


def test_an_upload_in_parts_goes_on_where_it_stopped(world: World) -> None:
    upload = begin_parts(world)
    send_parts(world, upload, 2)
    world.clock.advance(HOUR)  # the URLs are dead, the upload is not
    assert [part.number for part in world.presigned.upload(upload.record.object_id).parts] == [2]
    with pytest.raises(UploadIncomplete, match=r"2 of 3 parts are not there as announced \(1, 3\)"):
        complete(world, upload, HASHES)
    send_parts(world, upload, 1, 3)
    assert world.bytes_of(complete(world, upload, HASHES)) == LARGE


def test_a_wrong_part_is_named_and_can_be_replaced(world: World) -> None:
    upload = begin_parts(world)
    send_parts(world, upload)
    other = bytes(PART)
    [(_, request)] = world.presigned.sign_parts(upload.record.object_id, {2: sha256(other)}).values()
    assert world.store.fetch(request, other).status == 200
    with pytest.raises(UploadIncomplete, match=r"\(2\)"):
        complete(world, upload, HASHES)
    send_parts(world, upload, 2)
    assert world.bytes_of(complete(world, upload, HASHES)) == LARGE


def test_a_part_of_another_size_is_named(a_world: Callable[..., World]) -> None:
    world = a_world(UNABLE)
    upload = begin_parts(world)
    send_parts(world, upload, 1, 2)
    [(key, upload_id)] = [(open.key, open.upload_id) for open in world.store.list_multipart_uploads()]
    request = world.store.presign_part(key, upload_id, 3, seconds=60, size=PART, sha256=HASHES[0])
    assert world.store.fetch(request, PIECES[0]).status == 200
    with pytest.raises(UploadIncomplete, match=r"\(3\)"):
        complete(world, upload, HASHES)


def test_of_many_missing_parts_only_the_first_are_shown(world: World) -> None:
    upload = world.presigned.begin("p1", Announced("image/png", 30 * PART, part_bytes=PART), world.reserve())
    with pytest.raises(UploadIncomplete, match=r"30 of 30 parts .*19, 20, \.\.\.\)"):
        complete(world, upload)


def test_hashes_are_one_a_part_or_none(world: World) -> None:
    upload = begin_parts(world)
    send_parts(world, upload)
    for hashes in (HASHES[:2], [*HASHES, HASHES[0]]):
        with pytest.raises(InvalidRequest, match="has 3 parts"):
            complete(world, upload, hashes)
    assert complete(world, upload, []).state is State.STORED


def test_parts_joined_by_a_completion_that_died_are_held_against_the_hashes(world: World) -> None:
    upload = begin_parts(world)
    send_parts(world, upload)
    world.store.fail("complete_multipart_upload", after_effect=True)
    with pytest.raises(StorageUnavailable):
        complete(world, upload, HASHES)
    with pytest.raises(ConfirmationFailed, match="parts in the bucket"):
        complete(world, upload, HASHES[::-1])
    assert complete(world, upload, HASHES).state is State.STORED


def test_an_upload_the_store_gave_up_is_to_begin_anew(world: World) -> None:
    upload = begin_parts(world)
    [given_up] = world.store.list_multipart_uploads()
    world.store.abort_multipart_upload(given_up.key, given_up.upload_id)
    with pytest.raises(UploadNotFound, match="begin anew"):
        complete(world, upload)


def test_what_is_refused_in_parts_leaves_nothing(world: World) -> None:
    upload = world.presigned.begin("p1", Announced("image/png", len(HTML), part_bytes=PART), world.reserve())
    [(_, request)] = world.presigned.sign_parts(upload.record.object_id, {1: sha256(HTML)}).values()
    world.store.fetch(request, HTML)
    with pytest.raises(UnsupportedType):
        complete(world, upload)
    assert is_clean(world)


# ---- a store that keeps no checksums of parts


def test_parts_without_checksums_are_read_back_bit_by_bit_and_then_committed(a_world: Callable[..., World]) -> None:
    world = a_world(UNABLE)
    upload = begin_parts(world)
    send_parts(world, upload)
    for verified in (1, 2):
        times = iter([False, True])
        world.store.calls.clear()
        with pytest.raises(UploadIncomplete, match=f"{verified} of 3 parts are verified"):
            complete(world, upload, HASHES, out_of_time=lambda times=times: next(times))  # type: ignore[misc]  # bound now
        assert [operation for operation, _ in world.store.calls].count("get") == 1
        assert list(world.counts()) == ["PENDING"]
    stored = world.store.head(upload.record.key)
    assert stored is not None
    assert (stored.sha256, stored.parts_sha256) == (None, None)
    assert complete(world, upload, HASHES).state is State.STORED


def test_other_bytes_of_the_size_of_a_part_are_found_when_they_are_read_back(a_world: Callable[..., World]) -> None:
    world = a_world(UNABLE)
    upload = begin_parts(world)
    send_parts(world, upload, 1, 3)
    [(_, request)] = world.presigned.sign_parts(upload.record.object_id, {2: HASHES[1]}).values()
    assert world.store.fetch(request, bytes(PART)).status == 200
    with pytest.raises(ConfirmationFailed, match=r"part 2 in the bucket is not the one"):
        complete(world, upload, HASHES)
    assert list(world.counts()) == ["PENDING"]


def test_parts_without_checksums_are_not_committed_on_the_word_of_fewer_hashes_than_parts(a_world: Callable[..., World]) -> None:
    world = a_world(UNABLE)
    upload = begin_parts(world)
    send_parts(world, upload)
    with pytest.raises(UploadIncomplete, match="SHA-256 of every part"):
        complete(world, upload)
    with pytest.raises(InvalidRequest, match="has 3 parts"):
        complete(world, upload, HASHES[:1])
    with pytest.raises(ConfirmationFailed, match="part 3"):
        complete(world, upload, [*HASHES[:2], HASHES[0]])
    assert world.aligner().align(upload.record.key).outcome is Outcome.DIFFERS
    assert list(world.counts()) == ["PENDING"]


# ---- ends


def test_an_aborted_upload_leaves_nothing_and_its_late_bytes_are_swept(world: World) -> None:
    upload = begin(world, an_image())
    world.presigned.abort(upload.record.object_id)
    assert is_clean(world)
    assert send(world, upload, an_image()) == 200
    assert world.aligner().align(upload.record.key).outcome is Outcome.DELETED
    with pytest.raises(UploadNotFound, match="upload aborted"):
        complete(world, upload)
    sweep(world)
    assert is_clean(world)


def test_an_upload_in_parts_is_aborted_with_its_parts(world: World) -> None:
    upload = begin_parts(world)
    send_parts(world, upload)
    world.presigned.abort(upload.record.object_id)
    assert is_clean(world)
    with pytest.raises(UploadNotFound):
        world.presigned.sign_parts(upload.record.object_id, {1: HASHES[0]})


def test_an_abort_that_fails_half_way_is_ended_by_the_next_tidy(world: World) -> None:
    upload = begin_parts(world)
    world.store.fail("list_multipart_uploads")
    with pytest.raises(StorageUnavailable):
        world.presigned.abort(upload.record.object_id)
    with pytest.raises(UploadNotFound):
        complete(world, upload)
    assert tidy(world) == {"forgotten": 1}
    assert is_clean(world)


def test_bytes_that_arrived_before_a_half_failed_abort_are_committed_by_nobody(world: World) -> None:
    upload = begin(world, an_image())
    send(world, upload, an_image())
    world.store.fail("head")
    with pytest.raises(StorageUnavailable):
        world.presigned.abort(upload.record.object_id)
    assert world.aligner().align(upload.record.key).outcome is Outcome.HELD
    with pytest.raises(UploadNotFound):
        complete(world, upload)
    assert tidy(world) == {"forgotten": 1}
    assert is_clean(world)


def test_what_is_complete_is_not_aborted(world: World) -> None:
    upload = begin(world, an_image())
    send(world, upload, an_image())
    record = complete(world, upload)
    with pytest.raises(InvalidRequest, match="DELETE /objects/"):
        world.presigned.abort(record.object_id)
    assert world.bytes_of(record) == an_image()


def test_tidy_ends_what_is_over_and_nothing_else(world: World) -> None:
    empty, arrived, refused, parts = begin(world, an_image(1)), begin(world, an_image(2)), begin(world, HTML), begin_parts(world)
    send(world, arrived, an_image(2))
    send(world, refused, HTML)
    send_parts(world, parts)
    world.clock.advance(900_000 + 60_000 - 1)
    assert tidy(world) == {}
    world.clock.advance(1)
    assert tidy(world) == {"forgotten": 1, "committed": 1, "refused": 1}
    assert world.bucket_keys() == {arrived.record.key}
    assert len(list(world.store.list_multipart_uploads())) == 1
    assert world.object_deletions.why_deleted(empty.record.object_id) == "upload ended"
    world.clock.advance(DAY)
    assert tidy(world) == {"forgotten": 1}
    assert list(world.store.list_multipart_uploads()) == []
    assert list(world.operations.of_kind("multipart#p1")) == []
    assert world.counts() == {"STORED": (1, len(an_image(2)))}
    assert tidy(world) == {}


def test_a_put_that_ends_after_its_intent_did_is_not_adopted_and_is_swept(world: World) -> None:
    upload = begin(world, HTML)
    world.clock.advance(HOUR)
    assert tidy(world) == {"forgotten": 1}
    land_late(world, upload, HTML)
    assert world.aligner().align(upload.record.key).outcome is Outcome.DELETED
    world.clock.advance(SWEEP_DELAY - 1)
    assert world.object_deletions.tidy(out_of_time=never) == 0
    world.clock.advance(1)
    assert world.object_deletions.tidy(out_of_time=never) == 1
    assert is_clean(world)


def test_an_upload_announced_long_after_its_request_began_is_swept_after_its_url_died(world: World) -> None:
    reserved = world.reserve()
    world.clock.advance(DAY)
    upload = begin(world, HTML, reserved=replace(reserved, is_retry=True))
    world.presigned.abort(upload.record.object_id)
    assert send(world, upload, HTML) == 200
    sweep(world)
    assert is_clean(world)


def test_no_event_and_no_repair_withdraws_an_intent_whose_parts_only_tidy_aborts(world: World) -> None:
    upload = begin_parts(world)
    world.clock.advance(2 * DAY)
    assert world.aligner().align(upload.record.key).outcome is Outcome.WAITING
    assert tidy(world) == {"forgotten": 1}
    assert is_clean(world)


def test_tidy_stops_when_it_is_out_of_time_and_goes_on_the_next_time(world: World) -> None:
    for number in range(3):
        begin(world, an_image(number))
    world.clock.advance(HOUR)
    times = iter([False, True])
    assert world.presigned.tidy(out_of_time=lambda: next(times)) == {"forgotten": 1}
    assert tidy(world) == {"forgotten": 2}


def test_one_upload_that_cannot_be_ended_keeps_no_other(world: World) -> None:
    stuck = begin(world, an_image())
    for number in range(3):
        begin(world, an_image(number))
    world.clock.advance(HOUR)
    world.store.fail("head", key=stuck.record.key)
    assert tidy(world) == {"forgotten": 3, "storage-unavailable": 1}
    assert tidy(world) == {"forgotten": 1}
    assert is_clean(world)


def test_an_upload_by_request_that_is_over_is_still_withdrawn_by_tidy(world: World) -> None:
    world.store.fail("put")
    with pytest.raises(StorageUnavailable):
        world.upload()
    world.clock.advance(HOUR)
    assert tidy(world) == {"forgotten": 1}
    assert is_clean(world)


# ---- the project goes


def test_a_project_deleted_before_the_put_keeps_none_of_its_bytes(world: World) -> None:
    upload = begin(world, an_image())
    world.deletions.request("p1")
    assert send(world, upload, an_image()) == 200
    assert world.aligner().align(upload.record.key).outcome is Outcome.PROJECT_CLOSED
    world.pump()
    assert (world.bucket_keys(), world.counts(), world.ledger.project("p1").state) == (set(), {}, "DELETED")


def test_a_project_deleted_before_the_parts_come_signs_no_more_and_keeps_none(world: World) -> None:
    upload = begin_parts(world)
    [(_, request)] = world.presigned.sign_parts(upload.record.object_id, {1: HASHES[0]}).values()
    world.deletions.request("p1")
    assert world.store.fetch(request, PIECES[0]).status == 200
    with pytest.raises(ProjectClosed):
        world.presigned.sign_parts(upload.record.object_id, {2: HASHES[1]})
    world.pump()
    assert (world.bucket_keys(), list(world.store.list_multipart_uploads()), world.counts()) == (set(), [], {})


@pytest.mark.parametrize("in_parts", [False, True], ids=["one PUT", "parts"])
def test_a_project_deleted_between_put_and_complete_refuses_the_commit_and_keeps_nothing(world: World, in_parts: bool) -> None:
    upload = begin_parts(world) if in_parts else begin(world, an_image())
    send_parts(world, upload) if in_parts else send(world, upload, an_image())
    world.deletions.request("p1")
    with pytest.raises(ProjectClosed):
        complete(world, upload)
    assert world.bucket_keys() == (set() if in_parts else {upload.record.key})  # it joins no parts, and erases nothing by itself
    world.pump()
    assert (world.bucket_keys(), list(world.store.list_multipart_uploads()), world.counts()) == (set(), [], {})


def test_tidy_asks_once_whether_a_project_is_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.undo_ms = 3 * DAY
    for _ in range(3):
        begin_parts(world)
    world.deletions.request("p1")
    world.intents.forget("p1")
    world.clock.advance(DAY + HOUR)
    asked: list[str] = []
    real = world.intents.open_project

    def noted(project_id: str) -> Project:
        asked.append(project_id)
        return real(project_id)

    monkeypatch.setattr(world.intents, "open_project", noted)
    assert (tidy(world), asked) == ({"project-closed": 3}, ["p1"])


def test_parts_that_were_all_there_are_joined_after_an_undo_and_not_before(world: World) -> None:
    world.undo_ms = 3 * DAY
    upload = begin_parts(world)
    send_parts(world, upload)
    deletion_id = world.deletions.request("p1").operation_id
    world.pump()
    with pytest.raises(ProjectClosed):
        complete(world, upload)
    world.clock.advance(DAY + HOUR)
    assert (tidy(world), world.bucket_keys(), len(list(world.store.list_multipart_uploads()))) == ({"project-closed": 1}, set(), 1)
    world.deletions.undo(deletion_id)
    world.pump()
    assert complete(world, upload).state is State.STORED


# ---- retries


@pytest.mark.parametrize("in_parts", [False, True], ids=["one PUT", "parts"])
def test_beginning_again_finds_the_upload_however_far_it_came(world: World, in_parts: bool) -> None:
    reserved = world.reserve()
    retry = replace(reserved, is_retry=True)

    def again(reserved: Reserved) -> Upload:
        return begin_parts(world, reserved=reserved) if in_parts else begin(world, LARGE, reserved=reserved)

    upload = again(reserved)
    assert again(retry) == upload
    send_parts(world, upload, 2) if in_parts else send(world, upload, LARGE)
    assert [part.number for part in again(retry).parts] == ([2] if in_parts else [])
    if in_parts:
        send_parts(world, upload, 1, 3)
    record = complete(world, upload)
    assert again(retry) == Upload(record)
    world.object_deletions.delete(record.object_id)
    with pytest.raises(ObjectDeleted):
        again(retry)


def test_beginning_again_with_other_bytes_is_a_conflict(world: World) -> None:
    reserved = world.reserve()
    begin(world, an_image(), reserved=reserved)
    with pytest.raises(Conflict, match="other bytes"):
        begin(world, an_image(1), reserved=replace(reserved, is_retry=True))


def test_of_two_attempts_that_begin_at_once_one_upload_is_used(world: World) -> None:
    number = 0
    while True:
        reserved = world.reserve()
        rivals: list[Upload] = []
        rival = replace(reserved, is_retry=True)
        end = at_call(world, number, lambda rival=rival, rivals=rivals: rivals.append(begin_parts(world, reserved=rival)))  # type: ignore[misc]
        upload = begin_parts(world, reserved=reserved)
        if not end():
            break
        assert rivals[0].record.object_id == upload.record.object_id
        send_parts(world, upload)
        assert world.bytes_of(complete(world, upload)) == LARGE
        number += 1
    world.presigned.abort(reserved.object_id)
    assert number > 5
    assert list(world.store.list_multipart_uploads()) == []
    assert world.counts() == {"STORED": (number, number * len(LARGE))}


@pytest.mark.parametrize("in_parts", [False, True], ids=["one PUT", "parts"])
def test_a_begin_killed_at_any_call_and_sent_again_makes_one_object(world: World, in_parts: bool) -> None:
    number, was_killed = 0, True
    while was_killed:
        reserved = world.reserve()

        def attempt(reserved: Reserved = reserved) -> Upload:
            return begin_parts(world, reserved=reserved) if in_parts else begin(world, LARGE, reserved=reserved)

        was_killed = killed_at(world, number, attempt)
        upload = attempt(replace(reserved, is_retry=True))
        assert upload.record.object_id == reserved.object_id
        send_parts(world, upload) if in_parts else send(world, upload, LARGE)
        complete(world, upload)
        number += 1
    assert number > 3
    assert len(world.bucket_keys()) == number
    assert world.counts() == {"STORED": (number, number * len(LARGE))}
    world.clock.advance(2 * DAY)
    assert tidy(world) == {}
    assert list(world.store.list_multipart_uploads()) == []
    assert list(world.operations.of_kind("multipart#p1")) == []


@pytest.mark.parametrize("in_parts", [False, True], ids=["one PUT", "parts"])
def test_a_begin_killed_at_any_call_and_never_sent_again_leaves_nothing(world: World, in_parts: bool) -> None:
    number = 0
    while killed_at(world, number, lambda: begin_parts(world) if in_parts else begin(world, LARGE)):
        for entry in world.ledger.entries():  # whoever sees the record in a list may ask for it
            record = world.ledger.record(entry.key)
            assert record is not None
            assert world.presigned.upload(record.object_id).record == record
            with pytest.raises(UploadIncomplete):
                world.presigned.complete(record.object_id, [], out_of_time=never)
        world.clock.advance(2 * DAY)
        tidy(world)
        assert is_clean(world), number
        world.intents.forget("p1")
        number += 1
    assert number > 3


@pytest.mark.parametrize("profile", [None, UNABLE], ids=["checksums kept", "none kept"])
@pytest.mark.parametrize("in_parts", [False, True], ids=["one PUT", "parts"])
def test_a_complete_killed_at_any_call_and_sent_again_makes_one_object(
    a_world: Callable[..., World], in_parts: bool, profile: Profile | None
) -> None:
    world = a_world(profile)
    number, was_killed = 0, True
    while was_killed:
        upload = begin_parts(world) if in_parts else begin(world, LARGE)
        send_parts(world, upload) if in_parts else send(world, upload, LARGE)
        was_killed = killed_at(world, number, lambda upload=upload: complete(world, upload, HASHES if in_parts else None))  # type: ignore[misc]
        assert complete(world, upload, HASHES if in_parts else None).state is State.STORED
        number += 1
    assert number > 5
    assert world.tells_one_story()
    assert world.counts() == {"STORED": (number, number * len(LARGE))}
    world.clock.advance(2 * DAY)
    assert tidy(world) == {}
    assert list(world.store.list_multipart_uploads()) == []
    assert list(world.operations.of_kind("multipart#p1")) == []


def test_a_lost_reply_of_the_join_is_found_by_the_next_complete(world: World) -> None:
    upload = begin_parts(world)
    send_parts(world, upload)
    world.store.fail("complete_multipart_upload", after_effect=True)
    with pytest.raises(StorageUnavailable):
        complete(world, upload, HASHES)
    assert complete(world, upload, HASHES).state is State.STORED


@pytest.mark.parametrize("what", ["refused", "aborted", "over"])
def test_an_end_killed_at_any_call_is_ended_by_tidy(world: World, what: str) -> None:
    number, was_killed = 0, True
    while was_killed:
        body = HTML if what == "refused" else an_image()
        upload = begin(world, body) if number % 2 or what == "refused" else begin_parts(world)
        if what == "refused":
            send(world, upload, body)
        if what == "over":
            world.clock.advance(2 * DAY)
        act: dict[str, Callable[[], object]] = {
            "refused": lambda upload=upload: complete(world, upload),  # type: ignore[misc]
            "aborted": lambda upload=upload: world.presigned.abort(upload.record.object_id),  # type: ignore[misc]
            "over": lambda: tidy(world),
        }
        was_killed = killed_at(world, number, act[what])
        with contextlib.suppress(StocktakeError):  # what was half ended is committed by nobody
            assert complete(world, upload).state is not State.STORED
        world.clock.advance(2 * DAY)
        tidy(world)
        world.object_deletions.tidy(out_of_time=never)
        world.clock.advance(SWEEP_DELAY + 1)
        world.object_deletions.tidy(out_of_time=never)
        assert (world.bucket_keys(), world.counts(), list(world.store.list_multipart_uploads())) == (set(), {}, []), number
        assert world.operations.get(f"multipart-{upload.record.object_id}") is None or was_killed
        number += 1
    assert number > 8


# ---- races: the second happens whole, before each call of the first in turn


@pytest.mark.parametrize(
    ("first", "second", "way"),
    [
        ("complete", "complete", "parts"),
        ("complete", "abort", "PUT"),
        ("complete", "abort", "parts"),
        ("abort", "complete", "PUT"),
        ("abort", "complete", "parts"),
        ("complete", "tidy", "parts"),
        ("tidy", "complete", "PUT"),
        ("tidy", "complete", "parts"),
        ("complete", "event", "PUT"),
        ("event", "complete", "PUT"),
        ("abort", "event", "PUT"),
        ("complete", "delete project", "parts"),
    ],
)
def test_whatever_meets_at_any_call_either_the_object_is_stored_or_nothing_is_left(world: World, first: str, second: str, way: str) -> None:
    number, ran, in_parts = 0, True, way == "parts"
    ended: list[tuple[str, bool]] = []
    while ran:
        if world.ledger.project("p1").state != "ACTIVE":
            world.pump()
            world.uploads.create_project("p1", {})
        upload = begin_parts(world) if in_parts else begin(world, LARGE)
        is_late = "tidy" in (first, second)
        if in_parts:
            send_parts(world, upload)
        elif not is_late:
            send(world, upload, LARGE)
        if is_late:
            world.clock.advance(DAY + HOUR)
        done: list[str] = []

        def act(name: str, upload: Upload = upload, done: list[str] = done, is_late: bool = is_late) -> None:
            with contextlib.suppress(StocktakeError):
                if name == "complete":
                    if is_late and not in_parts:
                        land_late(world, upload, LARGE)
                    assert complete(world, upload, HASHES if in_parts else None).state is State.STORED
                elif name == "abort":
                    world.presigned.abort(upload.record.object_id)
                elif name == "tidy":
                    tidy(world)
                elif name == "event":
                    world.aligner().align(upload.record.key)
                else:
                    world.deletions.request("p1")
                done.append(name)

        end = at_call(world, number, lambda act=act: act(second))  # type: ignore[misc]
        act(first)
        ran = end()
        record = world.ledger.record(upload.record.key)
        is_stored = record is not None and record.state is State.STORED
        at = (number, done, record)
        assert not ("abort" in done and is_stored), at
        if second in ("complete", "event") and first in ("complete", "event"):
            assert sorted(done) == sorted((first, *[second] * ran)), at  # these two never spoil each other
        if "delete project" not in done:
            assert is_stored or "complete" not in done, at  # what was said to be stored is
        if is_stored:
            assert world.store.head(upload.record.key) is not None, at
        ended.append((upload.record.key, is_stored and "delete project" not in done))
        number += 1
    world.pump()
    sweep(world)
    for key, is_stored in ended:
        record = world.ledger.record(key)
        assert (record is not None, world.store.head(key) is not None) == (is_stored, is_stored), ended
    assert list(world.store.list_multipart_uploads()) == []
    assert number > 2


def test_the_loser_of_a_race_with_an_abort_is_told(world: World) -> None:
    upload = begin(world, an_image())
    send(world, upload, an_image())
    end = at_call(world, 1, lambda: complete(world, upload))  # after the abort has read the record
    with pytest.raises((RecordChanged, InvalidRequest)):
        world.presigned.abort(upload.record.object_id)
    assert end()
    assert list(world.counts()) == ["STORED"]


def test_an_upload_that_is_being_ended_is_committed_by_no_other_way_in(world: World) -> None:
    body = an_image()
    job = world.generations.create("p1", {}, (), 1, world.reserve())
    details = Details(generation_id=job.generation_id, output=0)
    announced = Announced("image/png", len(body), hashlib.sha256(body).hexdigest(), details=details)
    upload = world.presigned.begin("p1", announced, world.reserve())
    seen: list[type[Exception]] = []

    def rival(operation: str, key: str | None) -> None:
        if operation == "list_multipart_uploads":  # the abort has marked the record, and begins to erase
            world.store.on_call = None
            try:
                world.uploads.put("p1", NewObject(body, None, details), world.reserve())
            except StocktakeError as error:
                seen.append(type(error))

    world.store.on_call = rival
    world.presigned.abort(upload.record.object_id)
    assert seen and issubclass(seen[0], Conflict)
    assert ("put", upload.record.key) not in world.store.calls
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_an_intent_whose_url_is_out_is_not_withdrawn_by_a_quota_that_another_request_meets(world: World) -> None:
    body = an_image()
    announced = Announced("image/png", len(body), hashlib.sha256(body).hexdigest())
    reserved = world.reserve()
    upload = world.presigned.begin("p1", announced, reserved)
    world.uploads.set_quota("p1", Quota(objects=0))
    with pytest.raises(QuotaExceeded):
        world.presigned.begin("p1", announced, replace(reserved, is_retry=True))
    assert world.ledger.record(upload.record.key) == upload.record


def test_late_bytes_of_an_upload_of_ours_are_adopted_by_no_event(world: World) -> None:
    upload = begin(world, HTML)
    world.ledger.move(upload.record, None, gated=False)  # as if its tombstone had been lost too
    assert send(world, upload, HTML) == 200
    assert world.aligner().align(upload.record.key).outcome is Outcome.LATE
    assert world.ledger.record(upload.record.key) is None


@pytest.mark.parametrize("part_bytes", [None, PART * 10_000])
def test_an_svg_too_large_to_be_read_whole_is_refused_before_its_bytes_are_sent(world: World, part_bytes: int | None) -> None:
    sha256 = "0" * 64 if part_bytes is None else None
    with pytest.raises(TooLarge, match="SVG is read whole"):
        world.presigned.begin(
            "p1", Announced("image/svg+xml; charset=utf-8", 16 * 1024**2 + 1, sha256, part_bytes, Details()), world.reserve()
        )
    world.presigned.begin("p1", Announced("image/svg+xml", 16 * 1024**2, "0" * 64, None, Details()), world.reserve())


@pytest.mark.parametrize(("size", "warned"), [(89_999, 0), (90_000, 1)])
@pytest.mark.parametrize("part_bytes", [None, PART])
def test_a_large_upload_is_warned_of_either_way(world: World, part_bytes: int | None, size: int, warned: int) -> None:
    sha256 = "0" * 64 if part_bytes is None else None
    begun = world.presigned.begin("p1", Announced("image/png", size, sha256, part_bytes, Details()), world.reserve())
    assert len(begun.warnings) == warned
