"""What `S3Store` sends for uploads in parts and signs for others, and what it makes of the answers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ConnectionClosedError

from stocktake.errors import (
    BucketNotFound,
    ConfirmationFailed,
    InvalidRequest,
    ObjectExists,
    StocktakeError,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    UploadIncomplete,
    UploadNotFound,
)
from stocktake.model import StoredObject
from stocktake.storage import Part, SignedRequest
from stocktake.storage.rules import composite_sha256
from stocktake.storage.s3 import S3Store
from tests.unit.storage.wire import UNABLE, Clock, Reply, Wire, a_client, a_store, bare, of_object, refusal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LOST = ConnectionClosedError(endpoint_url="https://store.example")
EXISTS = refusal(412, "PreconditionFailed")
NO_UPLOAD = refusal(404, "NoSuchUpload")
DONE = Reply(body=b"<CompleteMultipartUploadResult><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>")
DIGESTS = [hashlib.sha256(body).digest() for body in (b"first", b"last")]
PARTS = [Part(number, 5, f"etag-{number}", digest.hex()) for number, digest in enumerate(DIGESTS, start=1)]
COMPOSITE = base64.b64encode(hashlib.sha256(b"".join(DIGESTS)).digest()).decode() + "-2"


def base64_of(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def head(size: int = 10, *, intent: str = "i1", checksum: str | None = COMPOSITE) -> Reply:
    headers: dict[str, Any] = {} if checksum is None else {"x_amz_checksum_sha256": checksum, "x_amz_checksum_type": "COMPOSITE"}
    return of_object(bytes(size), etag="e-2", is_head=True, x_amz_meta_intent=intent, **headers)


def complete(store: S3Store, **options: Any) -> StoredObject:
    return store.complete_multipart_upload("k", "id", PARTS, **{"intent": "i1"} | options)


@pytest.fixture
def plain(client: S3Client, seconds: Clock) -> S3Store:
    """A store that honours no condition and keeps no checksum."""
    return a_store(client, seconds, replace(UNABLE, lists_uploads=True))


# what is signed


def signed_names(request: SignedRequest) -> set[str]:
    return set(parse_qs(urlsplit(request.url).query)["X-Amz-SignedHeaders"][0].split(";"))


@pytest.mark.parametrize(("endpoint", "region"), [(None, "us-east-1"), ("https://store.example", "auto")])
def test_every_header_of_a_presigned_request_is_signed(seconds: Clock, endpoint: str | None, region: str) -> None:
    store = a_store(a_client(endpoint_url=endpoint, region=region), seconds)
    everything: dict[str, Any] = {
        "metadata": {"Intent": "i1", "prompt": "\u732b"},
        "cache_control": "max-age=9",
        "content_disposition": "inline",
        "only_if_absent": True,
    }
    put = store.presign_put("k", seconds=60, size=5, content_type="image/png", sha256=DIGESTS[0].hex(), **everything)
    part = store.presign_part("k", "id", 7, seconds=60, size=5, sha256=DIGESTS[0].hex())

    assert put.headers == {
        "Content-Length": "5",
        "Content-Type": "image/png",
        "x-amz-checksum-sha256": base64_of(DIGESTS[0]),
        "x-amz-meta-intent": "i1",
        "x-amz-meta-prompt": "utf-8''%E7%8C%AB",
        "Cache-Control": "max-age=9",
        "Content-Disposition": "inline",
        "If-None-Match": "*",
    }
    assert part.headers == {"Content-Length": "5", "x-amz-checksum-sha256": base64_of(DIGESTS[0])}
    for request in (put, part):
        assert request.method == "PUT"
        assert signed_names(request) == {"host"} | {name.lower() for name in request.headers}
        assert "X-Amz-Expires=60" in request.url
    assert "uploadId=id&partNumber=7" in part.url


def test_a_store_without_conditional_puts_is_signed_none(plain: S3Store) -> None:
    request = plain.presign_put("k", seconds=60, size=5, content_type="image/png", sha256="0" * 64, only_if_absent=True)

    assert "If-None-Match" not in request.headers
    assert "if-none-match" not in signed_names(request)


def test_a_part_is_signed_without_its_checksum_for_a_store_that_keeps_none(plain: S3Store) -> None:
    """R2 answers 501 NotImplemented to any UploadPart with x-amz-checksum-sha256 (Alos-no/Cloudflare.NET#43)."""
    part = plain.presign_part("k", "id", 7, seconds=60, size=5, sha256=DIGESTS[0].hex())

    assert part.headers == {"Content-Length": "5"}
    assert signed_names(part) == {"host", "content-length"}
    assert "checksum" not in part.url.lower()
    with pytest.raises(InvalidRequest):
        plain.presign_part("k", "id", 7, seconds=60, size=5, sha256="none")


def test_signing_sends_nothing(store: S3Store, wire: Wire) -> None:
    store.presign_put("k", seconds=60, size=5, content_type="image/png", sha256="0" * 64, only_if_absent=True)
    store.presign_part("k", "id", 1, seconds=60, size=5, sha256="0" * 64)

    assert wire.requests == []


# begin


BEGUN = Reply(body=b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>")


def test_an_upload_is_begun_with_the_headers_of_its_object(store: S3Store, wire: Wire) -> None:
    wire.answers(BEGUN)
    headers = {"cache_control": "max-age=9", "content_disposition": "inline"}

    assert store.begin_multipart_upload("k", content_type="image/png", metadata={"Intent": "i1"}, **headers) == "id"

    sent = wire.requests[0].headers
    assert (sent["content-type"], sent["cache-control"], sent["content-disposition"]) == ("image/png", "max-age=9", "inline")
    assert (sent["x-amz-meta-intent"], sent["x-amz-checksum-algorithm"]) == ("i1", "SHA256")


def test_a_store_that_keeps_no_checksum_of_parts_is_asked_for_none(plain: S3Store, wire: Wire) -> None:
    wire.answers(BEGUN, DONE, head(checksum=None))

    plain.begin_multipart_upload("k", content_type="image/png")
    complete(plain)

    assert "x-amz-checksum-algorithm" not in wire.requests[0].headers
    assert b"Checksum" not in wire.requests[1].body


# list


def listed(*rows: str, more: str = "<IsTruncated>false</IsTruncated>") -> Reply:
    return Reply(body=f"<ListPartsResult>{''.join(rows)}{more}</ListPartsResult>".encode())


def row(number: int, size: int = 5, at: str = "2023-11-14T22:13:20.000Z", extra: str = "") -> str:
    return (
        f"<Part><PartNumber>{number}</PartNumber><Size>{size}</Size><ETag>&quot;etag-{number}&quot;</ETag>"
        f"<LastModified>{at}</LastModified>{extra}</Part>"
    )


def test_the_parts_are_listed_to_the_last_page_and_in_order(store: S3Store, wire: Wire) -> None:
    checksum = f"<ChecksumSHA256>{base64_of(DIGESTS[0])}</ChecksumSHA256>"
    wire.answers(
        listed(row(2), row(1, extra=checksum), more="<IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>"),
        listed(row(7, size=6)),
    )

    assert store.list_parts("k", "id") == [PARTS[0], Part(2, 5, "etag-2"), Part(7, 6, "etag-7")]
    assert [request.query.get("part-number-marker") for request in wire.requests] == [None, "2"]


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_part_listed_twice_the_later_one_counts(store: S3Store, wire: Wire, order: int) -> None:
    rows = [row(1, size=4), row(1, size=6, at="2023-11-14T22:13:21.000Z")][::order]
    wire.answers(listed(*rows, row(2)))

    assert store.list_parts("k", "id") == [Part(1, 6, "etag-1"), Part(2, 5, "etag-2")]


def test_a_list_of_parts_that_breaks_off_is_an_error(store: S3Store, wire: Wire) -> None:
    wire.answers(listed(row(1), more="<IsTruncated>true</IsTruncated>"))

    with pytest.raises(StorageError, match="not complete"):
        store.list_parts("k", "id")


@pytest.mark.parametrize("answers", [[NO_UPLOAD], [bare(404), bare(200)]])
def test_an_upload_that_is_not_there_has_no_parts(store: S3Store, wire: Wire, answers: list[Reply]) -> None:
    wire.answers(*answers)

    assert store.list_parts("k", "id") is None


@pytest.mark.parametrize("answers", [[refusal(404, "NoSuchBucket")], [bare(404), refusal(404, "NoSuchBucket")]])
@pytest.mark.parametrize("ask", [lambda store: store.list_parts("k", "id"), complete])
def test_a_missing_bucket_is_no_missing_upload(store: S3Store, wire: Wire, answers: list[Reply], ask: Callable[[S3Store], object]) -> None:
    wire.answers(*answers)

    with pytest.raises(BucketNotFound):
        ask(store)


# complete


def test_an_upload_is_completed_with_the_checksums_of_its_parts_and_confirmed(store: S3Store, wire: Wire) -> None:
    wire.answers(DONE, head())

    done = complete(store)

    assert (done.size, done.sha256, done.parts_sha256) == (10, None, composite_sha256([digest.hex() for digest in DIGESTS]))
    sent = wire.requests[0]
    assert (sent.line, sent.query) == ("POST /media/k", {"uploadId": "id"})
    assert sent.body.decode().count("<Part>") == 2
    for part, digest in zip(PARTS, DIGESTS, strict=True):
        assert f"<PartNumber>{part.number}</PartNumber>" in sent.body.decode()
        assert f"<ChecksumSHA256>{base64_of(digest)}</ChecksumSHA256>" in sent.body.decode()
    assert "if-none-match" not in sent.headers
    assert wire.requests[1].headers["x-amz-checksum-mode"] == "ENABLED"


def test_parts_go_in_order_whatever_order_they_are_given_in(store: S3Store, wire: Wire) -> None:
    wire.answers(DONE, head())

    store.complete_multipart_upload("k", "id", PARTS[::-1], intent="i1")

    body = wire.requests[0].body.decode()
    assert body.index("etag-1") < body.index("etag-2")


@pytest.mark.parametrize("checksum", [None, base64_of(DIGESTS[0])])
def test_a_composite_that_is_not_given_is_not_held_against_the_object(store: S3Store, wire: Wire, checksum: str | None) -> None:
    wire.answers(DONE, head(checksum=checksum))

    done = complete(store)

    assert (done.sha256, done.parts_sha256) == (None, None)


def test_parts_without_checksums_are_confirmed_by_size_and_intent(store: S3Store, wire: Wire) -> None:
    wire.answers(DONE, head())

    assert store.complete_multipart_upload("k", "id", [PARTS[0], Part(2, 5, "etag-2")], intent="i1").size == 10


OTHERS = [head(11), head(intent="i2"), head(checksum=base64_of(DIGESTS[0]) + "-2"), of_object(bytes(10), etag="e", is_head=True)]


@pytest.mark.parametrize("found", [[bare(404), bare(200)], *([other] for other in OTHERS)])
def test_an_upload_that_the_store_cannot_show_is_not_stored(store: S3Store, wire: Wire, found: list[Reply]) -> None:
    wire.answers(DONE, *found)

    with pytest.raises(ConfirmationFailed):
        complete(store)


def test_an_error_under_the_status_of_success_is_an_error(store: S3Store, wire: Wire) -> None:
    """AWS answers 200 before it knows (CompleteMultipartUpload, "a 200 OK response can contain either a success or an error")."""
    error = b"<Error><Code>InternalError</Code><Message>try again</Message></Error>"
    wire.otherwise = lambda request: Reply(body=error)

    with pytest.raises(StorageUnavailable):
        complete(store)

    assert {request.method for request in wire.requests} == {"POST"}


def test_a_completion_whose_reply_was_lost_finds_itself(store: S3Store, wire: Wire) -> None:
    wire.answers(LOST, NO_UPLOAD, head())

    assert complete(store).size == 10


@pytest.mark.parametrize("found", [[bare(404), bare(200)], *([other] for other in OTHERS)])
def test_an_upload_that_came_to_nothing_is_not_found(store: S3Store, wire: Wire, found: list[Reply]) -> None:
    wire.answers(NO_UPLOAD, *found)

    with pytest.raises(UploadNotFound):
        complete(store)


@pytest.mark.parametrize("code", ["InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest"])
def test_parts_that_the_store_does_not_take_are_incomplete(store: S3Store, wire: Wire, code: str) -> None:
    wire.answers(refusal(400, code))

    with pytest.raises(UploadIncomplete, match=code):
        complete(store)


@pytest.mark.parametrize(
    ("answer", "error"), [(refusal(400, "InvalidRequest"), StorageError), (refusal(403, "AccessDenied"), StorageDenied)]
)
def test_another_refusal_is_not_said_of_the_parts(store: S3Store, wire: Wire, answer: Reply, error: type[StocktakeError]) -> None:
    wire.answers(answer)

    with pytest.raises(error):
        complete(store)


def test_no_part_is_no_upload_and_nothing_is_sent(store: S3Store, wire: Wire) -> None:
    with pytest.raises(UploadIncomplete):
        store.complete_multipart_upload("k", "id", [], intent="i1")

    assert wire.requests == []


# complete, where nothing may be replaced


def test_a_free_key_is_asked_for_and_made_a_condition(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(404), bare(200), DONE, head())

    complete(store, only_if_absent=True)

    assert wire.lines == ["HEAD /media/k", "GET /media", "POST /media/k", "HEAD /media/k"]
    assert wire.requests[2].headers["if-none-match"] == "*"


def test_what_is_there_already_is_this_upload_or_another_object(store: S3Store, wire: Wire) -> None:
    wire.answers(head())
    assert complete(store, only_if_absent=True).size == 10

    for other in OTHERS:
        wire.answers(other)
        with pytest.raises(ObjectExists):
            complete(store, only_if_absent=True)
    assert {request.method for request in wire.requests} == {"HEAD"}


def test_what_comes_between_is_told_by_the_condition(store: S3Store, wire: Wire) -> None:
    free = [bare(404), bare(200)]
    wire.answers(*free, EXISTS, head())
    assert complete(store, only_if_absent=True).size == 10

    wire.answers(bare(404), EXISTS, head(intent="i2"))
    with pytest.raises(ObjectExists):
        complete(store, only_if_absent=True)

    wire.answers(bare(404), EXISTS, bare(404))
    with pytest.raises(StorageUnavailable, match="try again"):
        complete(store, only_if_absent=True)


def test_a_store_that_knows_no_condition_here_is_asked_without(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(404), bare(200), refusal(501, "NotImplemented"), DONE, head())

    assert complete(store, only_if_absent=True).size == 10

    assert ["if-none-match" in request.headers for request in wire.requests if request.method == "POST"] == [True, False]


# abort


def test_an_upload_is_aborted_again_while_parts_still_arrive(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(204), listed(row(1)), bare(204), NO_UPLOAD)

    store.abort_multipart_upload("k", "id")

    assert [request.method for request in wire.requests] == ["DELETE", "GET", "DELETE", "GET"]


def test_an_aborted_upload_without_parts_is_not_aborted_again(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(204), listed())

    store.abort_multipart_upload("k", "id")


def test_an_upload_whose_parts_stay_is_to_be_aborted_later(store: S3Store, wire: Wire) -> None:
    wire.answers(*[bare(204), listed(row(1))] * 3)

    with pytest.raises(StorageUnavailable, match="try again"):
        store.abort_multipart_upload("k", "id")
