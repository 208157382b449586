"""What tests may order of `MemoryStore`; what it promises as a store is in the contract."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from stocktake.errors import BucketNotFound, ObjectExists, StorageDenied, StorageUnavailable, UploadIncomplete, UploadNotFound
from stocktake.model import KeyFailure, StoredObject
from stocktake.storage import MultipartUpload, SignedRequest
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


def a_signed_put(store: MemoryStore, body: bytes = b"body") -> SignedRequest:
    digest = hashlib.sha256(body).hexdigest()
    return store.presign_put("k", seconds=60, size=len(body), content_type="image/png", sha256=digest, metadata={"intent": "i1"})


def an_upload(store: MemoryStore, *bodies: bytes) -> str:
    upload_id = store.begin_multipart_upload("k", content_type="image/png", metadata={"intent": "i1"})
    for number, body in enumerate(bodies, start=1):
        digest = hashlib.sha256(body).hexdigest()
        signed = store.presign_part("k", upload_id, number, seconds=60, size=len(body), sha256=digest)
        assert store.fetch(signed, body).status == 200
    return upload_id


def complete(store: MemoryStore, upload_id: str) -> StoredObject:
    return store.complete_multipart_upload("k", upload_id, store.list_parts("k", upload_id) or [], intent="i1")


def test_signing_the_same_twice_gives_the_same(store: MemoryStore) -> None:
    assert a_signed_put(store) == a_signed_put(store)


def test_a_presigned_put_expires_by_the_clock_passed_in() -> None:
    now = [0]
    store = MemoryStore(now=lambda: now[0])
    signed = a_signed_put(store)

    now[0] = 60_000
    assert store.fetch(signed, b"body").status == 403
    now[0] = 59_999
    assert store.fetch(signed, b"body").status == 200


def test_a_client_may_leave_the_length_to_be_taken_from_the_body(store: MemoryStore) -> None:
    signed = a_signed_put(store)
    others = {name: value for name, value in signed.headers.items() if name != "Content-Length"}

    assert store.fetch(replace(signed, headers=others), b"body!").status == 403
    assert store.fetch(replace(signed, headers=others), b"body").status == 200


def test_what_was_not_signed_may_be_added_unless_it_is_amazons(store: MemoryStore) -> None:
    """As AWS does it: a sender can choose how the object is cached where nobody else did."""
    signed = a_signed_put(store)

    assert store.fetch(replace(signed, headers={**signed.headers, "x-amz-meta-more": "x"}), b"body").status == 403
    assert store.fetch(replace(signed, headers={**signed.headers, "Cache-Control": "max-age=9"}), b"body").status == 200
    found = store.head("k")
    assert found is not None
    assert (found.cache_control, found.metadata) == ("max-age=9", {"intent": "i1"})


def test_what_is_sent_to_a_missing_bucket_is_not_found(store: MemoryStore) -> None:
    signed = a_signed_put(store)
    store.bucket_exists = False

    assert store.fetch(signed, b"body").status == 404


def test_what_others_send_is_no_call_and_what_is_signed_is(store: MemoryStore) -> None:
    store.fetch(a_signed_put(store), b"body")

    assert store.calls == [("presign_put", "k")]


def test_a_completion_whose_reply_was_lost_is_found_by_the_next_try() -> None:
    store = MemoryStore(now=lambda: 0, min_part_bytes=1)
    upload_id = an_upload(store, b"one", b"two")
    parts = store.list_parts("k", upload_id)
    assert parts is not None
    store.fail("complete_multipart_upload", after_effect=True)

    with pytest.raises(StorageUnavailable):
        store.complete_multipart_upload("k", upload_id, parts, intent="i1")

    assert store.complete_multipart_upload("k", upload_id, parts, intent="i1").size == 6
    with pytest.raises(UploadNotFound):
        store.complete_multipart_upload("k", upload_id, parts, intent="i2")


@pytest.mark.parametrize(("bodies", "takes"), [((b"1", b"22"), False), ((b"22", b"22", b"1"), True), ((b"22", b"333", b"1"), False)])
def test_parts_are_of_one_size_and_only_the_last_may_be_small(bodies: tuple[bytes, ...], takes: bool) -> None:
    """AWS wants the one, R2 the other; a flow that passes here passes at both."""
    store = MemoryStore(now=lambda: 0, min_part_bytes=2)
    upload_id = an_upload(store, *bodies)

    if takes:
        assert complete(store, upload_id).size == sum(map(len, bodies))
    else:
        with pytest.raises(UploadIncomplete):
            complete(store, upload_id)
        assert store.keys() == []


def test_a_store_that_keeps_no_checksums_gives_none_and_holds_one_put_against_them_and_no_parts() -> None:
    store = MemoryStore(now=lambda: 0, profile=UNABLE)

    assert put(store).sha256 is None
    with pytest.raises(ObjectExists):
        put(store, body=b"evil")
    store.remove("k")
    assert store.fetch(a_signed_put(store), b"evil").status == 400
    upload_id = an_upload(store, b"part")
    other = store.presign_part("k", upload_id, 1, seconds=60, size=4, sha256="0" * 64)
    assert other.headers == {"Content-Length": "4"}
    assert [store.fetch(other, body).status for body in (b"evil!", b"evil")] == [400, 200]
    assert [part.sha256 for part in store.list_parts("k", upload_id) or ()] == [None]
    done = complete(store, upload_id)
    assert (done.sha256, done.parts_sha256) == (None, None)
