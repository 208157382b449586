"""What tests may order of `MemoryStore`; what it promises as a store is in the contract."""

from __future__ import annotations

import hashlib

import pytest

from stocktake.errors import BucketNotFound, ObjectExists, StorageDenied, StorageUnavailable
from stocktake.model import KeyFailure, StoredObject
from stocktake.storage import MultipartUpload
from stocktake.storage.memory import MemoryStore
from tests.unit.storage.wire import UNABLE


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(now=lambda: 1_700_000_000_000)


def put(store: MemoryStore, key: str = "k", body: bytes = b"body", intent: str = "i1") -> StoredObject:
    sha256 = hashlib.sha256(body).hexdigest()
    return store.put(key, body, content_type="image/png", sha256=sha256, metadata={"intent": intent}, only_if_absent=True)


def test_a_failure_happens_as_often_as_ordered_and_before_any_effect(store: MemoryStore) -> None:
    store.fail("put", times=2)

    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            put(store)
    assert store.keys() == []
    put(store)
    assert store.keys() == ["k"]


def test_a_lost_reply_comes_after_the_effect_and_the_next_try_finds_itself(store: MemoryStore) -> None:
    store.fail("put", after_effect=True)

    with pytest.raises(StorageUnavailable):
        put(store)
    assert store.keys() == ["k"]
    assert put(store).size == 4
    with pytest.raises(ObjectExists):
        put(store, intent="i2")


def test_a_failure_may_be_one_keys_and_any_error(store: MemoryStore) -> None:
    store.fail("delete_many", key="b", error=StorageDenied("no"))

    assert store.delete_many(["a"]).errors == ()
    with pytest.raises(StorageDenied):
        store.delete_many(["a", "b"])


def test_a_listing_may_fail_at_a_later_page(store: MemoryStore) -> None:
    for key in "abcd":
        store.plant(key)
    store.fail("list", skip=1)

    pages = store.list(page_size=2)

    assert [row.key for row in next(pages)] == ["a", "b"]
    with pytest.raises(StorageUnavailable):
        next(pages)


def test_an_unknown_operation_cannot_be_made_to_fail(store: MemoryStore) -> None:
    with pytest.raises(ValueError, match="putt"):
        store.fail("putt")  # type: ignore[arg-type]  # the point of the test


def test_a_refused_key_stays_until_it_is_allowed(store: MemoryStore) -> None:
    store.plant("a")
    store.plant("b")
    store.refuse_delete("a", "Locked", "held")

    result = store.delete_many(["a", "b"])
    assert (result.deleted, result.errors) == (("b",), (KeyFailure("a", "Locked", "held"),))
    assert store.keys() == ["a"]

    store.allow_delete("a")
    assert store.delete_many(["a"]).deleted == ("a",)


def test_a_refused_key_keeps_its_versions() -> None:
    store = MemoryStore(now=lambda: 0, versioning=True)
    store.plant("a")
    store.plant("a")
    store.refuse_delete("a")

    result = store.delete_versions(list(store.list_versions()))

    assert [failure.key for failure in result.errors] == ["a", "a"]
    assert len(list(store.list_versions())) == 2
    store.allow_delete("a")
    assert store.delete_versions(list(store.list_versions())[:1]).deleted == ("a",)
    assert len(list(store.list_versions())) == 1


def test_a_hidden_key_is_in_no_listing_and_is_there(store: MemoryStore) -> None:
    store.plant("a")
    store.plant("b")
    store.hide("a")

    assert [row.key for page in store.list() for row in page] == ["b"]
    assert store.head("a") is not None


def test_what_happens_at_a_call_happens_before_it(store: MemoryStore) -> None:
    store.plant("a")
    seen: list[tuple[str, str | None]] = []

    def race(operation: str, key: str | None) -> None:
        seen.append((operation, key))
        store.remove("a")

    store.on_call = race

    assert store.head("a") is None
    store.delete_many([])
    assert seen == store.calls == [("head", "a"), ("delete_many", None)]


def test_planted_objects_may_be_old(store: MemoryStore) -> None:
    assert store.plant("a", last_modified=5).last_modified == 5
    assert store.plant("b").last_modified == 1_700_000_000_000
    assert store.calls == []


def test_planted_uploads_may_be_old(store: MemoryStore) -> None:
    upload_id = store.plant_multipart_upload("a", initiated_at=5)

    assert list(store.list_multipart_uploads()) == [MultipartUpload("a", upload_id, 5)]


def test_a_listing_sees_what_changes_between_its_pages(store: MemoryStore) -> None:
    for key in "abc":
        store.plant(key)
    pages = store.list(page_size=1)
    next(pages)

    store.remove("b")
    store.plant("d")

    assert [row.key for page in pages for row in page] == ["c", "d"]


def test_listing_as_directories_after_a_key_drops_what_byte_order_would_give() -> None:
    store = MemoryStore(now=lambda: 0, ordering="directory")
    for key in ("a/b", "a-b", "a.b"):
        store.plant(key)

    assert [row.key for page in store.list() for row in page] == ["a/b", "a-b", "a.b"]
    assert [row.key for page in store.list(after="a-b") for row in page] == ["a.b"]


def test_a_bucket_can_go_missing(store: MemoryStore) -> None:
    store.plant("a")
    store.bucket_exists = False

    with pytest.raises(BucketNotFound):
        store.head("a")


def test_a_profile_of_ones_own_is_what_it_says() -> None:
    assert MemoryStore(now=lambda: 0, profile=UNABLE).profile() == UNABLE


def test_a_presigned_url_expires_by_the_clock_passed_in() -> None:
    now = [0]
    store = MemoryStore(now=lambda: now[0])
    store.plant("a b/c", b"x", cache_control="max-age=1")
    url = store.presign_get("a b/c", seconds=60)

    now[0] = 59_999
    assert store.fetch(url).body == b"x"
    now[0] = 60_000
    assert store.fetch(url).status == 403
