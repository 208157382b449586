"""What arrived by a URL is held against what was announced, then looked at."""

from __future__ import annotations

import hashlib
import io
import random
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from stocktake import confirmation
from stocktake.checks import Inspected, Rules
from stocktake.confirmation import check_composite, confirm, verify_parts
from stocktake.errors import ConfirmationFailed, InvalidRequest, ObjectChanged, TooLarge, UnsupportedType, UploadIncomplete
from stocktake.findings import classify
from stocktake.model import FindingClass, Record, State, StoredObject
from stocktake.storage.memory import MemoryStore
from stocktake.storage.rules import composite_sha256
from tests.unit.ledger.builders import an_intent
from tests.unit.storage.wire import UNABLE
from tests.unit.world import an_image, never

KEY = "projects/p1/2026/01/a.png"
RULES = Rules()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(now=lambda: 1)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def the_intent(body: bytes, **changes: Any) -> Record:
    return an_intent(KEY, **{"object_id": "o1", "size": len(body), "sha256": sha256(body), "source": "presigned", **changes})


def arrive(store: MemoryStore, body: bytes, *, intent: str = "o1", content_type: str = "image/png") -> StoredObject:
    return store.plant(KEY, body, content_type=content_type, metadata={"intent": intent})


def test_what_arrived_as_announced_is_measured(store: MemoryStore) -> None:
    body = an_image()
    assert confirm(store, the_intent(body), arrive(store, body), RULES) == Inspected("image/png", "png", 8, 8)


@pytest.mark.parametrize(
    ("intent", "body", "error"),
    [
        ("o2", an_image(), ConfirmationFailed),
        ("o1", an_image() + b"x", ConfirmationFailed),
        ("o1", an_image(1), InvalidRequest),
    ],
    ids=["another mark", "longer", "other bytes of its sender"],
)
@pytest.mark.parametrize("profile", [None, UNABLE], ids=["checksums kept", "read back"])
def test_what_is_not_the_announced_upload_is_not_confirmed(intent: str, body: bytes, error: type[Exception], profile: Any) -> None:
    store = MemoryStore(now=lambda: 1, profile=profile)
    with pytest.raises(error):
        confirm(store, the_intent(an_image()), arrive(store, body, intent=intent), RULES)


@pytest.mark.parametrize(
    ("body", "declared", "error"),
    [
        (b"<!doctype html><script>alert(1)</script>", "image/png", UnsupportedType),
        (an_image(form="JPEG"), "image/png", UnsupportedType),
        (an_image()[:-12], "image/png", InvalidRequest),
    ],
    ids=["HTML posing as PNG", "JPEG announced as PNG", "cut off"],
)
def test_what_is_announced_and_none_that_is_taken_is_refused(
    store: MemoryStore, body: bytes, declared: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        confirm(store, the_intent(body, content_type=declared), arrive(store, body, content_type=declared), RULES)


def test_an_image_too_large_to_decode_is_refused(store: MemoryStore) -> None:
    body = an_image()
    with pytest.raises(TooLarge, match="8x8"):
        confirm(store, the_intent(body), arrive(store, body), Rules(max_side=7))


def test_bytes_that_were_sent_under_another_type_than_signed_are_refused(store: MemoryStore) -> None:
    body = an_image()
    with pytest.raises(UnsupportedType, match="sent as text/html and announced as image/png"):
        confirm(store, the_intent(body), arrive(store, body, content_type="text/html"), RULES)


def test_what_may_only_be_saved_is_refused_when_it_would_be_shown_in_place(store: MemoryStore) -> None:
    body = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
    record = the_intent(body, content_type="image/svg+xml")
    with pytest.raises(UnsupportedType, match="attachment"):
        confirm(store, record, arrive(store, body, content_type="image/svg+xml"), RULES)
    store.remove(KEY)
    sent = store.put(
        KEY, body, content_type="image/svg+xml", sha256=sha256(body), metadata={"intent": "o1"}, content_disposition="attachment"
    )
    assert confirm(store, record, sent, RULES).content_type == "image/svg+xml"


def test_of_a_large_object_only_the_head_is_read(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(confirmation, "HEAD_BYTES", 1000)
    body = a_noisy_image()
    read: list[int] = []
    real = store.get

    def get(key: str, *, byte_range: tuple[int, int | None] | None = None) -> Any:
        content = real(key, byte_range=byte_range)
        read.append(len(content.body) if content else 0)
        return content

    monkeypatch.setattr(store, "get", get)
    assert confirm(store, the_intent(body), arrive(store, body), RULES).width == 64
    assert read == [1000]


def test_an_object_replaced_while_it_is_read_is_not_confirmed(store: MemoryStore) -> None:
    body = an_image()
    stored = arrive(store, body)

    def replaced(operation: str, key: str | None) -> None:
        store.plant(KEY, an_image(1), metadata={"intent": "o1"}, content_type="image/png")

    store.on_call = replaced
    with pytest.raises(ObjectChanged):
        confirm(store, the_intent(body), stored, RULES)
    store.on_call = lambda operation, key: store.remove(KEY)
    with pytest.raises(ObjectChanged):
        confirm(store, the_intent(body), stored, RULES)


def test_parts_nobody_vouches_for_are_not_confirmed(store: MemoryStore) -> None:
    body = an_image()
    in_parts = the_intent(body, sha256=None, source="multipart")
    stored = arrive(store, body)
    with pytest.raises(UploadIncomplete, match="SHA-256 of every part"):
        confirm(store, in_parts, stored, RULES)
    assert confirm(store, in_parts, stored, RULES, parts_verified=True).width == 8


def test_the_stores_own_checksum_of_the_parts_is_held_against_theirs(store: MemoryStore) -> None:
    hashes = [sha256(b"1"), sha256(b"2")]
    stored = replace(arrive(store, b"12"), parts_sha256=composite_sha256(hashes))
    check_composite(stored, hashes)
    with pytest.raises(ConfirmationFailed, match="abort the upload"):
        check_composite(stored, hashes[::-1])


def test_parts_are_read_back_one_by_one_from_where_it_stopped(store: MemoryStore) -> None:
    stored = arrive(store, b"11112222333")
    hashes = [sha256(b"1111"), sha256(b"2222"), sha256(b"333")]
    times = iter([False, False, True])
    assert verify_parts(store, stored, 4, hashes, first=0, out_of_time=lambda: next(times)) == 2
    store.calls.clear()
    assert verify_parts(store, stored, 4, hashes, first=2, out_of_time=never) == 3
    assert store.calls == [("get", KEY)]
    with pytest.raises(ConfirmationFailed, match="part 2"):
        verify_parts(store, stored, 4, [hashes[0], hashes[0], hashes[2]], first=0, out_of_time=never)


def test_a_part_larger_than_a_piece_is_hashed_piece_by_piece(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "_CHUNK", 3)
    stored = arrive(store, b"11112222333")
    assert verify_parts(store, stored, 8, [sha256(b"11112222"), sha256(b"333")], first=0, out_of_time=never) == 2
    assert len(store.calls) == 4


@pytest.mark.parametrize("profile", [None, UNABLE], ids=["checksums kept", "none kept"])
@pytest.mark.parametrize("source", ["presigned", "multipart"])
def test_a_reconciliation_tells_an_uncommitted_upload_from_what_was_not_announced(profile: Any, source: str) -> None:
    store, body = MemoryStore(now=lambda: 1, profile=profile), an_image()
    record = the_intent(body, source=source, sha256=None if source == "multipart" else sha256(body))
    assert classify(None, record, None, "active") == (FindingClass.UNSTORED, "pending")
    assert classify(arrive(store, body), record, None, "active") == (FindingClass.UNSTORED, "uncommitted")
    assert classify(arrive(store, body + b"x"), record, None, "active") == (FindingClass.MISMATCH, "not_as_announced")
    if profile is UNABLE:  # a hash that is kept says by itself whose bytes they are
        assert classify(arrive(store, body, intent="o2"), record, None, "active") == (FindingClass.MISMATCH, "not_as_announced")
    assert record.state is State.PENDING


def a_noisy_image() -> bytes:
    """Returns a PNG of about 12 KB."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (64, 64), random.Random(7).randbytes(64 * 64 * 3)).save(buffer, "PNG")
    return buffer.getvalue()
