"""What every store promises, asked of the twin and of real servers alike.

Where stores may differ, the profile says how, and the test asks for what the profile promises.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from stocktake.errors import (
    BucketNotFound,
    InvalidKey,
    InvalidRequest,
    ObjectChanged,
    ObjectExists,
    StorageDenied,
    StorageError,
    UploadIncomplete,
    UploadNotFound,
)
from stocktake.model import StoredObject
from stocktake.storage import Content, ObjectVersion, Part, Profile, SignedRequest, Store
from stocktake.storage.memory import Answer
from stocktake.storage.ordering import stream, verified
from stocktake.storage.refusals import check_is_of_key, is_refused
from stocktake.storage.rules import composite_sha256
from stocktake.storage.s3 import S3Store
from tests.contract.conftest import VERSIONED, Backend

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NFC, NFD = "caf\u00e9", "cafe\u0301"
ODD_NAMES = (
    "with space",
    "plus+plus",
    "per%20cent",
    "100%",
    NFC,
    NFD,
    "a/../b",
    "a/./c",
    "/leading",
    "double//slash",
    "trailing/",
    "\x01control",
    "tab\there",
    "line\nfeed",
    "carriage\rreturn",
    "non-character\ufffe",
    "emoji\U0001f600",
    "&<>\"'",
    "?query=1#fragment",
    "semi;colon,comma",
    "~tilde*(paren)",
    "x" * 200 + "/" + "y" * 200,
)


def a_put(store: Store, key: str, body: bytes = b"body", **options: Any) -> StoredObject:
    options = {"content_type": "image/png", "sha256": hashlib.sha256(body).hexdigest()} | options
    return store.put(key, body, **options)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def a_signed_put(store: Store, key: str, body: bytes = b"body", **options: Any) -> SignedRequest:
    signed: dict[str, Any] = {"seconds": 60, "size": len(body), "content_type": "image/png", "sha256": sha256(body)}
    return store.presign_put(key, **signed | options)


def with_header(request: SignedRequest, name: str, value: str | None) -> SignedRequest:
    """The request with a header set to another value, or left out."""
    others = {sent: value for sent, value in request.headers.items() if sent.lower() != name.lower()}
    return replace(request, headers=others if value is None else others | {name: value})


def read(store: Store, key: str) -> Content:
    content = store.get(key)
    assert content is not None
    return content


def listed(store: Store, prefix: str, **options: Any) -> list[str]:
    return [row.key for page in store.list(prefix, **options) for row in page]


# put, head, get


def test_what_is_put_comes_back_as_it_was(store: Store, folder: str) -> None:
    before = time.time() * 1000 if store.bucket != "memory" else 0
    headers = {"content_type": "image/gif", "cache_control": "max-age=60", "content_disposition": 'inline; filename="a b"'}
    put = a_put(store, folder + "k", b"\x00\xffbytes", metadata={"intent": "i1"}, **headers)

    content = read(store, folder + "k")

    assert content.body == b"\x00\xffbytes"
    assert content.content_range is None
    for found in (put, store.head(folder + "k"), content.object):
        assert found is not None
        assert (found.key, found.size, found.etag) == (folder + "k", 7, hashlib.md5(b"\x00\xffbytes").hexdigest())
        assert {name: getattr(found, name) for name in headers} == headers
        assert found.metadata == {"intent": "i1"}
        assert (found.sha256, found.parts_sha256) == (sha256(b"\x00\xffbytes") if store.profile().keeps_sha256 else None, None)
        assert found.last_modified >= before - 2000  # HTTP dates have no fractions


def test_an_object_may_be_empty(store: Store, folder: str) -> None:
    assert a_put(store, folder + "empty", b"").size == 0

    assert read(store, folder + "empty").body == b""
    assert [(row.key, row.size) for page in store.list(folder) for row in page] == [(folder + "empty", 0)]


def test_an_object_may_be_large(store: Store, folder: str) -> None:
    body = bytes(range(256)) * 20_000

    assert a_put(store, folder + "large", body).size == len(body)
    assert read(store, folder + "large").body == body


@pytest.mark.parametrize(
    "value",
    [
        "plain words, 1/2",
        "",
        " blanks around ",
        "two  blanks",
        NFC,
        NFD,
        "\u732b \U0001f600",
        "line\r\nend\ttab",
        "=?UTF-8?B?Y2Fmw6k=?=",
        "utf-8''caf%C3%A9",
        "100% %41 a+b",
        '"quoted"',
    ],
)
def test_metadata_values_come_back_exactly(store: Store, folder: str, value: str) -> None:
    a_put(store, folder + "k", metadata={"value": value, "other": "x"})

    assert read(store, folder + "k").object.metadata == {"value": value, "other": "x"}


def test_metadata_names_come_back_in_lower_case(store: Store, folder: str) -> None:
    assert a_put(store, folder + "k", metadata={"Intent-Id": "A"}).metadata == {"intent-id": "A"}


@pytest.mark.parametrize("metadata", [{"a b": "x"}, {"": "x"}, {"é": "x"}, {"a": "x", "A": "y"}, {"a": "\ud800"}])
def test_metadata_that_no_header_can_carry_is_refused(store: Store, folder: str, metadata: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        a_put(store, folder + "k", metadata=metadata)

    assert store.head(folder + "k") is None


def test_bytes_that_are_not_those_of_the_hash_are_never_stored(store: Store, folder: str) -> None:
    with pytest.raises(StorageError):
        a_put(store, folder + "k", b"damaged", sha256=hashlib.sha256(b"intact!").hexdigest())

    assert store.head(folder + "k") is None


def test_an_unconditional_put_replaces(store: Store, folder: str) -> None:
    a_put(store, folder + "k", b"one", metadata={"a": "1"})
    a_put(store, folder + "k", b"second", content_type="text/plain")

    content = read(store, folder + "k")
    assert (content.body, content.object.content_type, content.object.metadata) == (b"second", "text/plain", {})


def test_a_conditional_put_stores_under_a_free_key(store: Store, folder: str) -> None:
    assert a_put(store, folder + "k", b"one", only_if_absent=True).size == 3


@pytest.mark.parametrize("second", [b"another", b"one"])
def test_a_conditional_put_never_replaces_what_others_stored(store: Store, folder: str, second: bytes) -> None:
    a_put(store, folder + "k", b"one", metadata={"intent": "i1"})

    for metadata in ({"intent": "i2"}, {}):
        with pytest.raises(ObjectExists):
            a_put(store, folder + "k", second, metadata=metadata, only_if_absent=True)

    assert read(store, folder + "k").body == b"one"


def test_a_conditional_put_that_meets_itself_succeeds(store: Store, folder: str) -> None:
    a_put(store, folder + "k", b"one", metadata={"Intent": "i1"}, only_if_absent=True)

    assert a_put(store, folder + "k", b"one", metadata={"Intent": "i1"}, only_if_absent=True).size == 3


@pytest.mark.parametrize("other", [b"longer than that", b"two"])
def test_one_intent_cannot_store_two_bodies(store: Store, folder: str, other: bytes) -> None:
    a_put(store, folder + "k", b"one", metadata={"intent": "i1"}, only_if_absent=True)

    with pytest.raises(ObjectExists):
        a_put(store, folder + "k", other, metadata={"intent": "i1"}, only_if_absent=True)


def test_of_many_conditional_puts_at_once_one_wins(store: Store, folder: str) -> None:
    assert store.profile().conditional_put, "each of these stores honours conditional puts"

    def attempt(number: int) -> bool:
        try:
            a_put(store, folder + "k", b"%d" % number, metadata={"intent": str(number)}, only_if_absent=True)
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(attempt, range(6)))

    assert won.count(True) == 1
    assert read(store, folder + "k").body == b"%d" % won.index(True)


def test_what_is_not_there_is_none(store: Store, folder: str) -> None:
    assert store.head(folder + "absent") is None
    assert store.get(folder + "absent") is None
    assert store.get(folder + "absent", byte_range=(0, 1)) is None
    assert store.copy(folder + "absent", folder + "target") is None
    assert listed(store, folder) == []


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "half \ud800"])
def test_a_key_that_no_store_can_hold_is_refused(store: Store, key: str) -> None:
    for ask in (
        lambda: a_put(store, key),
        lambda: store.head(key),
        lambda: store.get(key),
        lambda: store.copy(key, "target"),
        lambda: store.copy("source", key),
        lambda: store.delete(key),
        lambda: store.presign_get(key, seconds=60),
        lambda: a_signed_put(store, key),
        lambda: store.begin_multipart_upload(key, content_type="image/png"),
        lambda: store.presign_part(key, "id", 1, seconds=60, size=1, sha256="0" * 64),
        lambda: store.list_parts(key, "id"),
        lambda: store.complete_multipart_upload(key, "id", [Part(1, 1, "e")], intent="i"),
        lambda: store.abort_multipart_upload(key, "id"),
    ):
        with pytest.raises(InvalidKey):
            ask()


@pytest.mark.parametrize(
    ("byte_range", "body", "said"), [((0, 0), b"0", "0-0"), ((2, 4), b"234", "2-4"), ((7, None), b"789", "7-9"), ((8, 99), b"89", "8-9")]
)
def test_a_range_is_inclusive_and_ends_with_the_object(
    store: Store, folder: str, byte_range: tuple[int, int | None], body: bytes, said: str
) -> None:
    a_put(store, folder + "k", b"0123456789")

    content = store.get(folder + "k", byte_range=byte_range)

    assert content is not None
    assert (content.body, content.object.size, content.content_range) == (body, 10, f"bytes {said}/10")


@pytest.mark.parametrize("byte_range", [(10, None), (10, 12), (4, 3), (-1, 2)])
def test_a_range_without_bytes_is_refused(store: Store, folder: str, byte_range: tuple[int, int | None]) -> None:
    a_put(store, folder + "k", b"0123456789")

    with pytest.raises(InvalidRequest):
        store.get(folder + "k", byte_range=byte_range)


# list


ORDERED_NAMES = sorted(["a", "a-b", "a.b", "a/b", "a/b/c", "a/c", "a0", "Z", "é", "\uff5e", "\U0001f600"])


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_a_listing_holds_every_key_once_whatever_the_page(store: Store, folder: str, page_size: int) -> None:
    for name in reversed(ORDERED_NAMES):
        a_put(store, folder + name, name.encode())

    pages = list(store.list(folder, page_size=page_size))

    rows = [row for page in pages for row in page]
    assert all(len(page) <= page_size for page in pages)
    assert sorted(row.key for row in rows) == [folder + name for name in ORDERED_NAMES]
    for row in rows:
        name = row.key.removeprefix(folder)
        assert (row.size, row.etag) == (len(name.encode()), hashlib.md5(name.encode()).hexdigest())
        found = store.head(row.key)
        assert found is not None
        assert abs(found.last_modified - row.last_modified) < 1000
    if store.profile().ordered_listing:
        assert list(verified(pages)) == rows


def test_a_stream_is_in_key_order_and_complete_on_every_store(store: Store, folder: str) -> None:
    for name in ORDERED_NAMES:
        a_put(store, folder + name)
    keys = [folder + name for name in ORDERED_NAMES]

    assert [row.key for row in stream(store, folder)] == keys
    for position, key in enumerate(keys):
        assert [row.key for row in stream(store, folder, after=key)] == keys[position + 1 :]
        assert [row.key for row in stream(store, folder, until=key)] == keys[: position + 1]
    assert [row.key for row in stream(store, folder, after=folder + "a-", until=folder + "a/b/")] == [
        folder + name for name in ("a-b", "a.b", "a/b")
    ]


def test_a_listing_after_a_key_leaves_out_that_key_and_those_before(store: Store, folder: str) -> None:
    for name in ("k1", "k2", "k3", "k4"):
        a_put(store, folder + name)

    for page_size in (1, 2, 1000):
        assert listed(store, folder, after=folder + "k2", page_size=page_size) == [folder + "k3", folder + "k4"]
        assert listed(store, folder, after=folder + "k2x", page_size=page_size) == [folder + "k3", folder + "k4"]
        assert listed(store, folder, after=folder + "k4", page_size=page_size) == []


def test_a_prefix_is_compared_letter_by_letter(store: Store, folder: str) -> None:
    for name in ("proj_1/a", "proj_10/a", "proj_1a", "Proj_1/a"):
        a_put(store, folder + name)

    assert listed(store, folder + "proj_1/") == [folder + "proj_1/a"]
    assert sorted(listed(store, folder + "proj_1")) == sorted(folder + name for name in ("proj_1/a", "proj_10/a", "proj_1a"))
    assert listed(store, folder + "proj_2") == []


# odd keys


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_key_is_refused_or_is_a_key_like_any_other(store: Store, folder: str, name: str) -> None:
    """A store that keeps keys in directories (its listings are unordered) may refuse a key, or lists one with empty parts another way."""
    key = folder + name
    in_directories = not store.profile().ordered_listing
    try:
        a_put(store, key, name.encode())
    except StorageError:
        assert in_directories
        return

    assert read(store, key).body == name.encode()
    if not in_directories or ("//" not in key and not key.endswith("/")):
        assert listed(store, folder) == [key]
    copied = store.copy(key, folder + "copy")
    assert copied is not None
    assert copied.size == len(name.encode())
    assert store.delete_many([key]).deleted == (key,)
    assert store.head(key) is None
    a_put(store, key)
    store.delete(key)
    assert store.head(key) is None


def test_the_two_spellings_of_an_accent_are_two_keys_here(store: Store, folder: str) -> None:
    """R2 makes them one; nothing in this project relies on either."""
    a_put(store, folder + NFC, b"composed")
    a_put(store, folder + NFD, b"decomposed")

    assert (read(store, folder + NFC).body, read(store, folder + NFD).body) == (b"composed", b"decomposed")


# copy


def test_a_copy_keeps_bytes_headers_and_metadata(store: Store, folder: str) -> None:
    a_put(store, folder + "s", b"body", content_type="image/webp", content_disposition="inline", metadata={"a": NFC, "intent": "i"})

    copied = store.copy(folder + "s", folder + "t")

    assert copied is not None
    assert (copied.key, copied.size, copied.content_type, copied.content_disposition) == (folder + "t", 4, "image/webp", "inline")
    assert copied.metadata == {"a": NFC, "intent": "i"}
    assert read(store, folder + "t").body == b"body"
    assert read(store, folder + "s").body == b"body"


def test_a_copy_with_new_metadata_keeps_the_headers(store: Store, folder: str) -> None:
    a_put(store, folder + "s", content_type="image/webp", cache_control="max-age=1", metadata={"a": "1"})

    copied = store.copy(folder + "s", folder + "t", metadata={"B": NFC})

    assert copied is not None
    assert (copied.content_type, copied.cache_control, copied.metadata) == ("image/webp", "max-age=1", {"b": NFC})


def test_a_copy_replaces_what_the_target_held(store: Store, folder: str) -> None:
    a_put(store, folder + "s", b"source")
    a_put(store, folder + "t", b"target")

    assert store.copy(folder + "s", folder + "t") is not None
    assert read(store, folder + "t").body == b"source"


def test_a_conditional_copy_wants_the_source_that_was_seen(store: Store, folder: str) -> None:
    seen = a_put(store, folder + "s", b"seen")

    assert store.copy(folder + "s", folder + "t1", if_etag=seen.etag) is not None
    a_put(store, folder + "s", b"changed")
    with pytest.raises(ObjectChanged):
        store.copy(folder + "s", folder + "t2", if_etag=seen.etag)
    assert store.head(folder + "t2") is None


def test_a_copy_to_an_absent_key_never_replaces_what_others_stored(store: Store, folder: str) -> None:
    source = a_put(store, folder + "s", b"source", metadata={"intent": "i1"})
    a_put(store, folder + "t", b"target", metadata={"intent": "i0"})

    for metadata in (None, {"intent": "i2"}):
        with pytest.raises(ObjectExists):
            store.copy(folder + "s", folder + "t", only_if_absent=True, metadata=metadata)
    with pytest.raises(ObjectExists):
        store.copy(folder + "s", folder + "t", only_if_absent=True, if_etag=source.etag)

    assert read(store, folder + "t").body == b"target"
    assert store.copy(folder + "s", folder + "free", only_if_absent=True) is not None


def test_a_conditional_copy_that_meets_itself_succeeds(store: Store, folder: str) -> None:
    a_put(store, folder + "s", b"source")

    for _ in range(2):
        copied = store.copy(folder + "s", folder + "t", only_if_absent=True, metadata={"intent": "i1"})
        assert copied is not None
        assert copied.metadata == {"intent": "i1"}


# delete


def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(store: Store, folder: str) -> None:
    a_put(store, folder + "k")

    store.delete(folder + "k")
    store.delete(folder + "k")

    assert store.head(folder + "k") is None
    assert listed(store, folder) == []


def test_a_conditional_delete_removes_only_what_was_seen(store: Store, folder: str) -> None:
    seen = a_put(store, folder + "k", b"seen")
    now = a_put(store, folder + "k", b"changed")

    with pytest.raises(ObjectChanged):
        store.delete(folder + "k", if_etag=seen.etag)
    assert read(store, folder + "k").body == b"changed"

    store.delete(folder + "k", if_etag=now.etag)
    store.delete(folder + "k", if_etag=now.etag)
    assert store.head(folder + "k") is None


def test_any_number_of_keys_is_deleted_and_absent_ones_count(store: Store, folder: str) -> None:
    keys = [f"{folder}{number:04}" for number in range(2105)]
    there = [keys[number] for number in (0, 999, 1000, 1999, 2000, 2104)]
    for key in there:
        a_put(store, key)
    a_put(store, folder + "other")

    result = store.delete_many([*keys, keys[7]])

    assert (result.deleted, result.errors) == (tuple(keys), ())
    assert listed(store, folder) == [folder + "other"]


def test_keys_and_versions_can_be_deleted_one_by_one(store: Store, folder: str) -> None:
    keys = [folder + name for name in ("a", "b", "&<>")]
    for key in keys:
        a_put(store, key)

    result = store.delete_many([*keys, folder + "absent"], one_by_one=True)

    assert (result.deleted, result.errors) == ((*keys, folder + "absent"), ())
    assert listed(store, folder) == []
    assert store.delete_versions(list(store.list_versions(folder)), one_by_one=True).errors == ()
    assert list(store.list_versions(folder)) == []


def test_deleting_nothing_is_no_error(store: Store) -> None:
    assert store.delete_many([]).deleted == ()
    assert store.delete_versions([]).deleted == ()


def test_a_key_that_cannot_be_deleted_does_not_stop_the_others(store: Store, folder: str) -> None:
    odd = [folder + name for name in ("k", "\x01", "cr\r", "lf\n", "\ufffe", "&<>", NFC)]
    for key in odd:
        a_put(store, key)

    result = store.delete_many(["", *odd, "x" * 1025])

    assert sorted(result.deleted) == sorted(odd)
    assert [(failure.key, failure.code) for failure in result.errors] == [("", "InvalidKey"), ("x" * 1025, "InvalidKey")]
    assert listed(store, folder) == []


# what others send


def test_a_presigned_url_gives_the_object_to_anyone(backend: Backend, folder: str) -> None:
    key = folder + "a b+c%20é.png"
    a_put(backend.store, key, b"picture", content_type="image/png", cache_control="max-age=5")

    answer = backend.fetch(backend.store.presign_get(key, seconds=60))

    assert (answer.status, answer.body) == (200, b"picture")
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/png", "max-age=5")
    assert "content-disposition" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, 'attachment; filename="stored"'),
        ({"inline": True}, "inline"),
        ({"inline": True, "file_name": "a.png"}, "inline; filename=\"a.png\"; filename*=UTF-8''a.png"),
        (
            {"file_name": 'été; "../x".png'},
            "attachment; filename=\"_t_; _.._x_.png\"; filename*=UTF-8''%C3%A9t%C3%A9%3B%20_.._x_.png",
        ),
    ],
)
def test_a_presigned_url_says_whether_to_show_or_to_save_and_under_which_name(
    backend: Backend, folder: str, asked: dict[str, Any], said: str
) -> None:
    a_put(backend.store, folder + "k", content_disposition='attachment; filename="stored"')

    answer = backend.fetch(backend.store.presign_get(folder + "k", seconds=60, **asked))

    assert answer.headers["content-disposition"] == said


def test_a_presigned_url_is_for_reading_only(backend: Backend, folder: str) -> None:
    a_put(backend.store, folder + "k", b"kept")

    assert backend.fetch(SignedRequest("PUT", backend.store.presign_get(folder + "k", seconds=60), {}), b"evil").status == 403
    assert read(backend.store, folder + "k").body == b"kept"


def test_a_presigned_url_of_an_absent_key_is_not_found(backend: Backend, folder: str) -> None:
    assert backend.fetch(backend.store.presign_get(folder + "absent", seconds=60)).status == 404


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_a_presigned_request_lives_a_second_to_a_week(store: Store, seconds: int) -> None:
    for sign in (
        lambda: store.presign_get("k", seconds=seconds),
        lambda: a_signed_put(store, "k", seconds=seconds),
        lambda: store.presign_part("k", "id", 1, seconds=seconds, size=1, sha256="0" * 64),
    ):
        with pytest.raises(InvalidRequest):
            sign()


@pytest.mark.parametrize("digest", ["", "0" * 63, "A" * 64, base64.b64encode(bytes(32)).decode()])
def test_a_checksum_that_is_none_is_not_signed(store: Store, digest: str) -> None:
    with pytest.raises(InvalidRequest):
        a_signed_put(store, "k", sha256=digest)
    with pytest.raises(InvalidRequest):
        store.presign_part("k", "id", 1, seconds=60, size=1, sha256=digest)


@pytest.mark.parametrize("backend", ["ministack", "seaweedfs"], indirect=True)
def test_an_expired_request_is_refused(backend: Backend, folder: str) -> None:
    request = a_signed_put(backend.store, folder + "k", seconds=1)
    time.sleep(2.1)  # whole seconds count

    assert backend.fetch(request, b"body").status == 403
    assert backend.store.head(folder + "k") is None


SIGNED: dict[str, Any] = {
    "metadata": {"intent": "i1", "Prompt": f"a {NFC}  1/2"},
    "cache_control": "max-age=60",
    "content_disposition": "attachment; filename=\"a b\"; filename*=UTF-8''a%20b",
}


def test_what_is_sent_as_signed_is_stored_as_signed(backend: Backend, folder: str) -> None:
    key = folder + "a b+c%20é.png"

    answer = backend.fetch(a_signed_put(backend.store, key, only_if_absent=True, **SIGNED), b"body")

    assert answer.status == 200
    content = read(backend.store, key)
    assert (content.body, content.object.etag, content.object.content_type) == (b"body", hashlib.md5(b"body").hexdigest(), "image/png")
    assert content.object.metadata == {"intent": "i1", "prompt": f"a {NFC}  1/2"}
    assert (content.object.cache_control, content.object.content_disposition) == ("max-age=60", SIGNED["content_disposition"])
    assert content.object.sha256 == (sha256(b"body") if backend.store.profile().keeps_sha256 else None)
    served = backend.fetch(backend.store.presign_get(key, seconds=60))
    assert (served.body, served.headers["content-disposition"]) == (b"body", SIGNED["content_disposition"])


@pytest.mark.parametrize(
    ("name", "value", "body"),
    [
        ("Content-Length", "3", b"bod"),
        ("Content-Length", "5", b"body!"),
        ("Content-Type", "text/html", b"body"),
        ("Content-Type", None, b"body"),
        ("x-amz-checksum-sha256", base64.b64encode(hashlib.sha256(b"evil").digest()).decode(), b"evil"),
        ("x-amz-checksum-sha256", None, b"evil"),
        ("If-None-Match", None, b"body"),
        ("x-amz-meta-intent", "i2", b"body"),
        ("x-amz-meta-intent", None, b"body"),
        ("Cache-Control", "no-store", b"body"),
        ("Content-Disposition", None, b"body"),
    ],
)
def test_what_is_sent_otherwise_is_refused_and_not_stored(backend: Backend, folder: str, name: str, value: str | None, body: bytes) -> None:
    request = a_signed_put(backend.store, folder + "k", only_if_absent=True, **SIGNED)
    assert name in request.headers

    assert backend.fetch(with_header(request, name, value), body).status == 403
    assert backend.store.head(folder + "k") is None


def test_a_presigned_put_is_of_one_key_and_for_nothing_but_putting(backend: Backend, folder: str) -> None:
    a_put(backend.store, folder + "other", b"kept")
    request = a_signed_put(backend.store, folder + "mine")

    elsewhere = replace(request, url=request.url.replace("mine", "other"))
    assert backend.fetch(elsewhere, b"body").status == 403
    assert backend.fetch(replace(request, method="GET", headers={})).status == 403
    assert read(backend.store, folder + "other").body == b"kept"


def test_other_bytes_under_the_signed_checksum_are_refused_and_not_stored(backend: Backend, folder: str) -> None:
    answer = backend.fetch(a_signed_put(backend.store, folder + "k"), b"evil")

    assert answer.status == 400
    assert backend.store.head(folder + "k") is None


def test_a_presigned_put_of_a_free_key_never_replaces(backend: Backend, folder: str) -> None:
    assert backend.store.profile().conditional_put
    request = a_signed_put(backend.store, folder + "k", only_if_absent=True)
    a_put(backend.store, folder + "k", b"first")

    assert backend.fetch(request, b"body").status == 412
    assert read(backend.store, folder + "k").body == b"first"


def test_a_presigned_put_without_that_condition_replaces(backend: Backend, folder: str) -> None:
    a_put(backend.store, folder + "k", b"first")

    assert backend.fetch(a_signed_put(backend.store, folder + "k"), b"body").status == 200
    assert read(backend.store, folder + "k").body == b"body"


def test_an_empty_object_can_be_sent_too(backend: Backend, folder: str) -> None:
    assert backend.fetch(a_signed_put(backend.store, folder + "k", b""), b"").status == 200
    assert read(backend.store, folder + "k").body == b""


# multipart uploads

FIRST, LAST = bytes(range(256)) * 20_480, b"the last part may be small"
BOTH = {1: FIRST, 2: LAST}


def begun(store: Store, key: str, intent: str = "i1", **options: Any) -> str:
    return store.begin_multipart_upload(key, content_type="image/png", metadata={"intent": intent}, **options)


def send_part(backend: Backend, key: str, upload_id: str, number: int, body: bytes) -> Answer:
    signed = backend.store.presign_part(key, upload_id, number, seconds=60, size=len(body), sha256=sha256(body))
    return backend.fetch(signed, body)


def uploaded(backend: Backend, key: str, bodies: dict[int, bytes], intent: str = "i1") -> tuple[str, Sequence[Part]]:
    """Begins an upload and sends its parts, the last one first; gives its id and the parts as the store lists them."""
    upload_id = begun(backend.store, key, intent)
    for number, body in reversed(bodies.items()):
        assert send_part(backend, key, upload_id, number, body).status == 200
    parts = backend.store.list_parts(key, upload_id)
    assert parts is not None
    return upload_id, parts


def test_open_uploads_are_listed_by_prefix_and_aborted(backend: Backend, folder: str) -> None:
    store = backend.store
    ids = {folder + name: begun(store, folder + name) for name in ("p1/a", "p1/b c", "p10/a")}

    found = {upload.key: upload for upload in store.list_multipart_uploads(folder + "p1/")}

    assert {key: upload.upload_id for key, upload in found.items()} == {key: ids[key] for key in (folder + "p1/a", folder + "p1/b c")}
    assert all(upload.initiated_at > 1_500_000_000_000 for upload in found.values())
    assert listed(store, folder) == []
    for upload in found.values():
        store.abort_multipart_upload(upload.key, upload.upload_id)
        store.abort_multipart_upload(upload.key, upload.upload_id)
    assert [upload.key for upload in store.list_multipart_uploads(folder)] == [folder + "p10/a"]


def test_parts_become_one_object_with_the_headers_it_was_begun_with(backend: Backend, folder: str) -> None:
    store, key = backend.store, folder + "a b+c%20é.png"
    upload_id = store.begin_multipart_upload(key, content_type="image/webp", **SIGNED)
    for number in (2, 1):
        assert send_part(backend, key, upload_id, number, BOTH[number]).status == 200
    parts = store.list_parts(key, upload_id)
    assert parts is not None

    done = store.complete_multipart_upload(key, upload_id, list(reversed(parts)), intent="i1")

    content = read(store, key)
    assert content.body == FIRST + LAST
    assert done == content.object == store.head(key)
    assert (done.size, done.content_type, done.cache_control) == (len(FIRST + LAST), "image/webp", "max-age=60")
    assert (done.content_disposition, done.metadata) == (SIGNED["content_disposition"], {"intent": "i1", "prompt": f"a {NFC}  1/2"})
    composite = composite_sha256([sha256(FIRST), sha256(LAST)])
    assert (done.sha256, done.parts_sha256) == (None, composite if store.profile().keeps_parts_sha256 else None)
    assert list(store.list_multipart_uploads(folder)) == []


def test_the_parts_of_an_upload_are_listed_in_order_with_what_is_known_of_them(backend: Backend, folder: str) -> None:
    bodies = {1: b"one", 3: b"three", 10: b"ten"}

    _, parts = uploaded(backend, folder + "k", bodies)

    kept = backend.store.profile().keeps_parts_sha256
    assert parts == [
        Part(number, len(body), hashlib.md5(body).hexdigest(), sha256(body) if kept else None) for number, body in bodies.items()
    ]


def test_a_part_sent_again_replaces_the_one_before(backend: Backend, folder: str) -> None:
    upload_id, _ = uploaded(backend, folder + "k", {1: b"first try"})
    if backend.name == "seaweedfs":
        time.sleep(1.1)  # it keeps both, and tells which is the later one by whole seconds

    assert send_part(backend, folder + "k", upload_id, 1, b"again").status == 200

    parts = backend.store.list_parts(folder + "k", upload_id)
    assert parts is not None
    assert [part.size for part in parts] == [5]
    backend.store.complete_multipart_upload(folder + "k", upload_id, parts, intent="i1")
    assert read(backend.store, folder + "k").body == b"again"


@pytest.mark.parametrize(("said", "body"), [("3", b"par"), ("5", b"part!")])
def test_a_part_of_another_size_than_the_one_signed_is_refused(backend: Backend, folder: str, said: str, body: bytes) -> None:
    upload_id = begun(backend.store, folder + "k")
    signed = backend.store.presign_part(folder + "k", upload_id, 1, seconds=60, size=4, sha256=sha256(b"part"))

    assert backend.fetch(with_header(signed, "Content-Length", said), body).status == 403
    assert backend.store.list_parts(folder + "k", upload_id) == []


@pytest.mark.parametrize("backend", ["memory", "ministack"], indirect=True)
@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("x-amz-checksum-sha256", base64.b64encode(hashlib.sha256(b"evil").digest()).decode(), 403),
        ("x-amz-checksum-sha256", None, 403),
        ("Content-Length", "4", 400),
    ],
)
def test_a_part_of_other_bytes_is_refused_where_checksums_of_parts_are_kept(
    backend: Backend, folder: str, name: str, value: str | None, status: int
) -> None:
    upload_id = begun(backend.store, folder + "k")
    signed = backend.store.presign_part(folder + "k", upload_id, 1, seconds=60, size=4, sha256=sha256(b"part"))

    assert backend.fetch(with_header(signed, name, value), b"evil").status == status
    assert backend.store.list_parts(folder + "k", upload_id) == []


def test_a_part_is_signed_with_its_checksum_only_where_the_store_keeps_it(backend: Backend, folder: str) -> None:
    upload_id = begun(backend.store, folder + "k")
    signed = backend.store.presign_part(folder + "k", upload_id, 1, seconds=60, size=4, sha256=sha256(b"part"))
    kept = backend.store.profile().keeps_parts_sha256

    assert ("x-amz-checksum-sha256" in signed.headers) is kept
    assert backend.fetch(signed, b"evil").status == (400 if kept else 200)


@pytest.mark.parametrize("backend", ["ministack", "seaweedfs"], indirect=True)
def test_a_part_is_signed_for_one_upload_and_place(backend: Backend, folder: str) -> None:
    upload_id, other = begun(backend.store, folder + "k"), begun(backend.store, folder + "k")
    signed = backend.store.presign_part(folder + "k", upload_id, 1, seconds=60, size=4, sha256=sha256(b"part"))

    for url in (signed.url.replace(upload_id, other), signed.url.replace("partNumber=1", "partNumber=2")):
        assert url != signed.url
        assert backend.fetch(replace(signed, url=url), b"part").status == 403
    assert [backend.store.list_parts(folder + "k", begun_id) for begun_id in (upload_id, other)] == [[], []]


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_parts_are_numbered_1_to_10000(store: Store, number: int) -> None:
    with pytest.raises(InvalidRequest):
        store.presign_part("k", "id", number, seconds=60, size=1, sha256="0" * 64)


def test_an_upload_that_is_no_more_has_no_parts(backend: Backend, folder: str) -> None:
    store, key = backend.store, folder + "k"
    aborted, _ = uploaded(backend, key, {1: b"part"})
    completed, parts = uploaded(backend, key, {1: b"part"})

    store.abort_multipart_upload(key, aborted)
    store.complete_multipart_upload(key, completed, parts, intent="i1")

    assert [store.list_parts(key, upload_id) for upload_id in (aborted, completed, "no-such-upload")] == [None] * 3
    assert store.list_parts(folder + "other", begun(store, key)) is None


def test_a_part_for_an_upload_that_is_no_more_is_refused(backend: Backend, folder: str) -> None:
    upload_id = begun(backend.store, folder + "k")
    backend.store.abort_multipart_upload(folder + "k", upload_id)

    assert send_part(backend, folder + "k", upload_id, 1, b"part").status == 404


@pytest.mark.parametrize("only_if_absent", [False, True])
def test_an_upload_may_be_completed_twice_and_is_one_object(backend: Backend, folder: str, only_if_absent: bool) -> None:
    upload_id, parts = uploaded(backend, folder + "k", {1: b"part"})

    done = [
        backend.store.complete_multipart_upload(folder + "k", upload_id, parts, intent="i1", only_if_absent=only_if_absent)
        for _ in range(2)
    ]

    assert done[0] == done[1]
    assert read(backend.store, folder + "k").body == b"part"
    assert len(list(backend.store.list_versions(folder))) == int(backend.is_versioned)


def test_an_upload_completed_by_many_at_once_is_one_object(backend: Backend, folder: str) -> None:
    upload_id, parts = uploaded(backend, folder + "k", {1: b"part"})

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: backend.store.complete_multipart_upload(folder + "k", upload_id, parts, intent="i1"), range(4)))

    assert len({found.etag for found in done}) == 1
    assert read(backend.store, folder + "k").body == b"part"


def test_parts_that_are_not_named_are_dropped(backend: Backend, folder: str) -> None:
    upload_id, parts = uploaded(backend, folder + "k", {1: b"wanted", 2: b"not wanted"})

    assert backend.store.complete_multipart_upload(folder + "k", upload_id, parts[:1], intent="i1").size == 6
    assert read(backend.store, folder + "k").body == b"wanted"


@pytest.mark.parametrize(
    "named",
    [
        lambda parts: [],
        lambda parts: [*parts, Part(3, 4, "0" * 32)],
        lambda parts: [replace(parts[0], etag="0" * 32), parts[1]],
        pytest.param(lambda parts: [replace(parts[1], number=1), replace(parts[0], number=2)], id="swapped"),
    ],
)
def test_an_upload_without_all_of_the_named_parts_is_incomplete_and_goes_on(
    backend: Backend, folder: str, named: Callable[[Sequence[Part]], Sequence[Part]]
) -> None:
    store, key = backend.store, folder + "k"
    upload_id, parts = uploaded(backend, key, BOTH)

    with pytest.raises(UploadIncomplete):
        store.complete_multipart_upload(key, upload_id, named(parts), intent="i1")

    assert store.head(key) is None
    assert store.list_parts(key, upload_id) == parts
    assert store.complete_multipart_upload(key, upload_id, parts, intent="i1").size == len(FIRST + LAST)


@pytest.mark.parametrize("backend", ["memory", "seaweedfs"], indirect=True)  # ministack takes parts of any size
def test_parts_that_are_too_small_make_no_object(backend: Backend, folder: str) -> None:
    upload_id, parts = uploaded(backend, folder + "k", {1: b"small", 2: b"last"})

    with pytest.raises(UploadIncomplete):
        backend.store.complete_multipart_upload(folder + "k", upload_id, parts, intent="i1")

    assert backend.store.head(folder + "k") is None


def test_an_upload_that_came_to_nothing_is_not_found(backend: Backend, folder: str) -> None:
    store, key = backend.store, folder + "k"
    upload_id, parts = uploaded(backend, key, {1: b"part"})
    store.abort_multipart_upload(key, upload_id)

    for other in (None, {"intent": "i2"}, {}):
        if other is not None:
            a_put(store, key, b"part", metadata=other)
        with pytest.raises(UploadNotFound):
            store.complete_multipart_upload(key, upload_id, parts, intent="i1")


def test_an_upload_to_a_free_key_never_replaces_what_others_stored(backend: Backend, folder: str) -> None:
    store, key = backend.store, folder + "k"
    upload_id, parts = uploaded(backend, key, {1: b"part"})

    for metadata in ({"intent": "i2"}, {}):
        a_put(store, key, b"kept", metadata=metadata)
        with pytest.raises(ObjectExists):
            store.complete_multipart_upload(key, upload_id, parts, intent="i1", only_if_absent=True)

    assert read(store, key).body == b"kept"


def test_an_upload_to_a_taken_key_replaces_where_nothing_else_was_asked(backend: Backend, folder: str) -> None:
    upload_id, parts = uploaded(backend, folder + "k", {1: b"part"})
    a_put(backend.store, folder + "k", b"replaced", metadata={"intent": "i2"})

    backend.store.complete_multipart_upload(folder + "k", upload_id, parts, intent="i1")

    assert read(backend.store, folder + "k").body == b"part"


# versions


@pytest.mark.parametrize("backend", VERSIONED, indirect=True)
def test_versions_are_kept_listed_and_removed_for_good(store: Store, folder: str) -> None:
    a_put(store, folder + "k", b"1")
    a_put(store, folder + "k", b"22")
    store.delete(folder + "k")
    a_put(store, folder + "other/k", b"333")

    versions = list(store.list_versions(folder + "k"))

    assert sorted((version.size, version.is_delete_marker, version.is_latest) for version in versions) == [
        (0, True, True),
        (1, False, False),
        (2, False, False),
    ]
    result = store.delete_versions(versions)
    assert (result.deleted, result.errors) == ((folder + "k",) * 3, ())
    assert list(store.list_versions(folder + "k")) == []
    assert [version.key for version in store.list_versions(folder)] == [folder + "other/k"]


@pytest.mark.parametrize("backend", VERSIONED, indirect=True)
def test_removing_the_delete_marker_alone_brings_the_object_back(store: Store, folder: str) -> None:
    a_put(store, folder + "k", b"1")
    assert store.delete_many([folder + "k"]).deleted == (folder + "k",)
    assert store.head(folder + "k") is None

    store.delete_versions([version for version in store.list_versions(folder) if version.is_delete_marker])

    assert read(store, folder + "k").body == b"1"


@pytest.mark.parametrize("backend", VERSIONED, indirect=True)
def test_the_probe_of_a_versioned_bucket_leaves_no_versions(store: Store) -> None:
    assert store.profile().versioning

    assert list(store.list_versions(".stocktake/")) == []


def test_versions_of_a_bucket_that_began_to_keep_them_are_listed_and_removed(ministack: tuple[S3Client, S3Client]) -> None:
    owner, app = ministack
    owner.create_bucket(Bucket="contract-later-versioned")
    passed = [0.0]
    store = S3Store("contract-later-versioned", client=app, clock=lambda: passed[0])
    assert not store.profile().versioning
    owner.put_bucket_versioning(Bucket="contract-later-versioned", VersioningConfiguration={"Status": "Enabled"})
    a_put(store, "k")
    store.delete("k")

    passed[0] = 300.0
    versions = list(store.list_versions("k"))

    assert sorted(version.is_delete_marker for version in versions) == [False, True]
    assert store.delete_versions(versions).errors == ()
    assert "Versions" not in owner.list_object_versions(Bucket="contract-later-versioned")


@pytest.mark.parametrize("backend", ["memory", "ministack", "seaweedfs"], indirect=True)
def test_a_bucket_without_versions_lists_none(store: Store, folder: str) -> None:
    a_put(store, folder + "k")

    assert list(store.list_versions(folder)) == []
    assert store.head(folder + "k") is not None


# the bucket and the profile


def everything(store: Store) -> Iterator[tuple[str, Callable[[], object]]]:
    version = ObjectVersion("k", "null", 1, is_delete_marker=False, is_latest=True)
    yield "put", lambda: a_put(store, "k")
    yield "head", lambda: store.head("k")
    yield "get", lambda: store.get("k")
    yield "range", lambda: store.get("k", byte_range=(0, 1))
    yield "list", lambda: list(store.list("p"))
    yield "whereabouts", lambda: store.whereabouts()
    yield "cors", lambda: store.cors()
    yield "copy", lambda: store.copy("k", "t")
    yield "delete", lambda: store.delete("k")
    yield "delete_many", lambda: store.delete_many(["k", "\x01"])
    yield "delete_odd", lambda: store.delete_many(["\x01"])
    yield "list_multipart_uploads", lambda: list(store.list_multipart_uploads())
    yield "begin_multipart_upload", lambda: begun(store, "k")
    yield "list_parts", lambda: store.list_parts("k", "id")
    yield "complete_multipart_upload", lambda: store.complete_multipart_upload("k", "id", [Part(1, 1, "0" * 32)], intent="i")
    yield "abort_multipart_upload", lambda: store.abort_multipart_upload("k", "id")
    yield "list_versions", lambda: list(store.list_versions())
    yield "delete_versions", lambda: store.delete_versions([version])
    yield "profile", lambda: store.profile()
    yield "conditional put", lambda: a_put(store, "k", only_if_absent=True)
    yield "conditional presigned put", lambda: a_signed_put(store, "k", only_if_absent=True)
    yield (
        "conditional completion",
        lambda: store.complete_multipart_upload("k", "id", [Part(1, 1, "0" * 32)], intent="i", only_if_absent=True),
    )
    yield "conditional delete", lambda: store.delete("k", if_etag="0" * 32)


def test_a_missing_bucket_is_always_an_error_and_never_nothing_there(backend: Backend) -> None:
    said: dict[str, str] = {}
    for name, ask in everything(backend.without_bucket):
        try:
            ask()
        except (BucketNotFound, StorageDenied) as error:  # a store may answer "denied" so as not to say what exists
            said[name] = type(error).__name__
        else:
            said[name] = "no error"

    assert set(said.values()) <= {"BucketNotFound", "StorageDenied"}, said
    assert said["head"] == said["list"] == said["delete_many"] == "BucketNotFound", said


def test_a_refusal_is_one_keys_where_the_store_answers_for_others_and_never_where_it_answers_for_none(backend: Backend) -> None:
    refused = StorageDenied("a HEAD was refused", code="403")

    check_is_of_key(backend.store, refused)
    with pytest.raises((BucketNotFound, StorageDenied)):
        check_is_of_key(backend.without_bucket, refused)


@pytest.mark.parametrize("server", ["ministack", "seaweedfs"])
def test_an_object_under_its_writers_own_key_of_encryption_is_refused_and_listed_and_others_are_not(
    request: pytest.FixtureRequest, server: str
) -> None:
    owner, app = request.getfixturevalue(server)
    owner.create_bucket(Bucket="contract-encrypted")
    app.put_object(Bucket="contract-encrypted", Key="a", Body=b"body", SSECustomerAlgorithm="AES256", SSECustomerKey=bytes(32))
    store = S3Store("contract-encrypted", client=app)
    a_put(store, "b")

    asked: tuple[Callable[[], object], ...] = (lambda: store.head("a"), lambda: store.copy("a", "c"))
    for ask in asked:
        with pytest.raises(StorageError) as refused:
            ask()
        assert is_refused(refused.value)
        check_is_of_key(store, refused.value)
    assert (listed(store, ""), store.head("b") is not None) == (["a", "b"], True)


def test_a_store_says_what_time_it_is_by_the_clock_that_dates_its_objects(store: Store, folder: str) -> None:
    stored, at = a_put(store, f"{folder}k"), store.whereabouts().at
    assert at is not None
    assert abs(at - stored.last_modified) < 60_000


def test_a_bucket_without_cors_rules_says_that_there_are_none(store: Store) -> None:
    assert store.cors() == ()


def test_the_profile_says_what_these_stores_are(backend: Backend) -> None:
    profile = backend.store.profile()

    assert profile.conditional_put
    assert profile.conditional_delete
    assert profile.conditional_copy is not backend.name.startswith("ministack")
    assert profile.versioning is backend.is_versioned
    assert profile.md5_needed is False
    assert profile.keeps_sha256
    assert profile.keeps_parts_sha256 is not backend.name.startswith("seaweedfs")
    assert profile.names_deleted
    assert profile.lists_uploads
    assert profile.ordered_listing is not (backend.name.startswith("seaweedfs") or backend.name == "memory-directory")
    assert Profile.from_dict(profile.as_dict()) == profile


def test_the_probe_leaves_nothing_behind(store: Store) -> None:
    store.profile()

    assert listed(store, ".stocktake/") == []
    assert list(store.list_multipart_uploads(".stocktake/")) == []
