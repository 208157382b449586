"""What `S3Store` does with answers that real servers give seldom: repeats, failures, wrong regions, listings that break off."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, NoCredentialsError, ReadTimeoutError
from botocore.parsers import ResponseParserError

from stocktake.errors import BucketNotFound, StorageDenied, StorageError, StorageUnavailable, WrongRegion
from stocktake.storage import Whereabouts
from stocktake.storage.s3 import S3Store, make_client
from tests.unit.storage.wire import Clock, Reply, Wire, bare, of_object, refusal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LOST = ConnectionClosedError(endpoint_url="https://store.example")


def a_page(*keys: str, more: str = "<IsTruncated>false</IsTruncated>", encoding: str = "") -> Reply:
    rows = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><ETag>&quot;e&quot;</ETag><LastModified>2023-11-14T22:13:20.123Z</LastModified></Contents>"
        for key in keys
    )
    return Reply(body=f"<ListBucketResult>{rows}{more}{encoding}</ListBucketResult>".encode())


def cut(token: str) -> str:
    return f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"


# repeats


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_409_is_repeated_after_growing_waits(store: S3Store, wire: Wire, seconds: Clock, code: str) -> None:
    wire.answers(*[refusal(409, code)] * 3, bare(204))

    store.delete("k")

    assert wire.lines == ["DELETE /media/k"] * 4
    assert seconds.slept == [0.1, 0.2, 0.4]  # half of 0.2, 0.4 and 0.8 s: the jitter of the test is 0.5


def test_a_409_without_end_is_unavailable(store: S3Store, wire: Wire, seconds: Clock) -> None:
    wire.answers(*[refusal(409, "ConditionalRequestConflict")] * 4)

    with pytest.raises(StorageUnavailable, match="try again") as caught:
        store.delete("k")

    assert isinstance(caught.value.__cause__, ClientError)
    assert len(seconds.slept) == 3


def test_another_409_is_final(store: S3Store, wire: Wire) -> None:
    wire.answers(refusal(409, "InvalidBucketState"))

    with pytest.raises(StorageError, match="InvalidBucketState"):
        store.delete("k")


def test_a_429_is_repeated_and_never_more_than_3_requests_are_sent(store: S3Store, wire: Wire) -> None:
    wire.answers(*[refusal(429, "TooManyRequests")] * 3)

    with pytest.raises(StorageUnavailable):
        store.delete("k")


def test_a_429_that_passes_is_nothing(store: S3Store, wire: Wire) -> None:
    wire.answers(refusal(429, "TooManyRequests"), bare(204))

    store.delete("k")


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (502, "BadGateway")])
def test_what_boto3_repeats_is_not_repeated_again(store: S3Store, wire: Wire, seconds: Clock, status: int, code: str) -> None:
    wire.answers(*[refusal(status, code)] * 3)

    with pytest.raises(StorageUnavailable):
        store.delete("k")

    assert seconds.slept == []


@pytest.mark.parametrize("failure", [LOST, ReadTimeoutError(endpoint_url="https://store.example")])
def test_no_answer_is_unavailable_after_3_requests(store: S3Store, wire: Wire, failure: Exception) -> None:
    wire.answers(*[failure] * 3)

    with pytest.raises(StorageUnavailable) as caught:
        store.head("k")

    assert caught.value.__cause__ is failure


def test_an_endpoint_that_nobody_listens_on_is_unavailable(seconds: Clock) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        client = make_client(region="auto", endpoint_url=url, access_key_id="key", secret_access_key="secret", addressing="path")

        with pytest.raises(StorageUnavailable):
            S3Store("media", client=client, sleep=seconds.sleep).head("k")


# failures


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(404, "NoSuchBucket"), BucketNotFound),
        (refusal(403, "AccessDenied"), StorageDenied),
        (refusal(403, "InvalidAccessKeyId"), StorageDenied),
        (refusal(403, "SignatureDoesNotMatch"), StorageDenied),
        (refusal(403, "RequestTimeTooSkewed"), StorageDenied),
        (refusal(400, "ExpiredToken"), StorageDenied),
        (refusal(401, "Unauthorized"), StorageDenied),
        (refusal(501, "NotImplemented"), StorageError),
        (refusal(400, "InvalidRequest"), StorageError),
    ],
)
def test_every_failure_is_one_of_ours(store: S3Store, wire: Wire, answer: Reply, error: type[StorageError]) -> None:
    wire.answers(answer)

    with pytest.raises(StorageError) as caught:
        store.delete_many(["k"])

    assert type(caught.value) is error
    assert caught.value.__cause__ is not None
    assert "secret" not in str(caught.value)


def test_without_credentials_nothing_can_be_asked(store: S3Store, wire: Wire) -> None:
    wire.answers(NoCredentialsError())

    with pytest.raises(StorageDenied, match="credentials"):
        store.head("k")


def test_a_bucket_name_that_cannot_be_is_a_storage_error(client: S3Client, wire: Wire) -> None:
    bad = S3Store("no such name", client=client)

    with pytest.raises(StorageError, match="head_object could not be done"):
        bad.head("k")


def test_a_denied_head_says_that_listing_may_be_what_is_missing(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(403))

    with pytest.raises(StorageDenied, match="s3:ListBucket"):
        store.head("k")


# absent key, absent bucket


def test_a_404_to_head_asks_for_the_bucket_too_once_a_minute(store: S3Store, wire: Wire, seconds: Clock) -> None:
    wire.answers(bare(404), a_page(), bare(404))
    assert store.head("k") is None
    seconds.now += 59
    assert store.head("k") is None
    assert wire.lines == ["HEAD /media/k", "GET /media", "HEAD /media/k"]

    seconds.now += 2
    wire.answers(bare(404), bare(404))
    with pytest.raises(BucketNotFound, match=r"'media' at https://store\.example"):
        store.head("k")


def test_a_404_that_names_the_key_needs_no_second_question(store: S3Store, wire: Wire) -> None:
    wire.answers(refusal(404, "NoSuchKey"))

    assert store.get("k") is None


def test_a_bare_404_to_a_delete_of_a_missing_bucket_is_not_a_deletion(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(404), bare(404))

    with pytest.raises(BucketNotFound):
        store.delete("k")


def test_a_bare_404_to_a_listing_is_a_missing_bucket(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(404))

    with pytest.raises(BucketNotFound):
        list(store.list())


# regions


@pytest.mark.parametrize(
    "answer",
    [
        refusal(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"),
        refusal(307, "TemporaryRedirect", x_amz_bucket_region="eu-west-1"),
        refusal(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
        refusal(400, "IllegalLocationConstraintException", x_amz_bucket_region="eu-west-1"),
    ],
)
def test_a_wrong_region_is_named_and_not_followed(store: S3Store, wire: Wire, answer: Reply) -> None:
    wire.answers(answer)

    with pytest.raises(WrongRegion, match=r"not in the configured region 'auto': it is in 'eu-west-1'"):
        store.delete_many(["k"])


@pytest.mark.parametrize("status", [301, 400])
def test_a_wrong_region_is_seen_in_heads_bare_answer(store: S3Store, wire: Wire, status: int) -> None:
    wire.answers(bare(status, x_amz_bucket_region="eu-west-1"))

    with pytest.raises(WrongRegion, match="'eu-west-1'"):
        store.head("k")


_EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Date": "Wed, 15 Nov 2023 06:13:20 GMT", "x-amz-bucket-region": "eu-west-1"}, Whereabouts("eu-west-1", 1_700_028_800_000)),
        ({"Date": "yesterday"}, Whereabouts(None, None)),
        ({}, Whereabouts(None, None)),
    ],
)
def test_a_bucket_says_where_and_when_it_is_in_the_headers_of_a_listing(
    store: S3Store, wire: Wire, headers: dict[str, str], told: Whereabouts
) -> None:
    wire.answers(Reply(200, _EMPTY, headers))

    assert store.whereabouts() == told
    assert wire.requests[0].query["max-keys"] == "1"


def test_a_wrong_region_that_the_store_does_not_name(store: S3Store, wire: Wire) -> None:
    wire.answers(refusal(301, "PermanentRedirect"))

    with pytest.raises(WrongRegion, match="does not say"):
        store.delete("k")


def test_a_bad_request_in_the_right_region_is_no_wrong_region(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(400, x_amz_bucket_region="auto"))

    with pytest.raises(StorageError) as caught:
        store.head("k")
    assert not isinstance(caught.value, WrongRegion)


# listings


def test_a_listing_goes_on_with_the_token_and_asks_after_a_key_only_once(store: S3Store, wire: Wire) -> None:
    wire.answers(a_page("p/a", "p/b", more=cut("t1")), a_page(more=cut("t2")), a_page("p/c"))

    pages = list(store.list("p/", after="p/0", page_size=2))

    assert [[row.key for row in page] for page in pages] == [["p/a", "p/b"], [], ["p/c"]]
    assert (pages[0][0].size, pages[0][0].etag, pages[0][0].last_modified) == (1, "e", 1_700_000_000_123)
    assert [(request.query.get("start-after"), request.query.get("continuation-token")) for request in wire.requests] == [
        ("p/0", None),
        (None, "t1"),
        (None, "t2"),
    ]
    assert {request.query["max-keys"] for request in wire.requests} == {"2"}
    assert {request.query["encoding-type"] for request in wire.requests} == {"url"}


def test_encoded_keys_are_decoded_and_plain_ones_are_left(store: S3Store, wire: Wire) -> None:
    wire.answers(a_page("a%2Fb+c%01", encoding="<EncodingType>url</EncodingType>"), a_page("a%2Fb+c"))

    assert [row.key for page in store.list() for row in page] == ["a/b c\x01"]
    assert [row.key for page in store.list() for row in page] == ["a%2Fb+c"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([a_page("a", more="<IsTruncated>true</IsTruncated>")], "where to go on"),
        ([a_page("a", more="")], "whether more follows"),
        ([Reply(200, b"")], "whether more follows"),
        ([a_page("a", more=cut("t1")), a_page("b", more=cut("t1"))], "already read"),
        ([a_page("a", more=cut(token)) for token in ("t1", "t2", "t3", "t2")], "already read"),
    ],
)
def test_a_listing_that_breaks_off_or_turns_back_is_an_error(store: S3Store, wire: Wire, answers: list[Reply], said: str) -> None:
    wire.answers(*answers)

    with pytest.raises(StorageError, match=said):
        list(store.list())


def test_a_listing_whose_later_page_fails_is_an_error(store: S3Store, wire: Wire) -> None:
    wire.answers(a_page("a", more=cut("t1")), refusal(403, "AccessDenied"))

    pages = store.list()

    assert [row.key for row in next(pages)] == ["a"]
    with pytest.raises(StorageDenied):
        next(pages)


def test_a_key_outside_the_prefix_makes_a_listing_untrusted(store: S3Store, wire: Wire) -> None:
    wire.answers(a_page("p/a", "q/b"))

    with pytest.raises(StorageError, match="cannot be trusted"):
        list(store.list("p/"))


def uploads(*rows: tuple[str, str], more: str = "<IsTruncated>false</IsTruncated>") -> Reply:
    listed = "".join(
        f"<Upload><Key>{key}</Key><UploadId>{upload_id}</UploadId><Initiated>2023-11-14T22:13:20.000Z</Initiated></Upload>"
        for key, upload_id in rows
    )
    return Reply(body=f"<ListMultipartUploadsResult>{listed}{more}</ListMultipartUploadsResult>".encode())


def test_open_uploads_are_read_to_the_end_by_both_markers(store: S3Store, wire: Wire) -> None:
    truncated = "<IsTruncated>true</IsTruncated>"
    wire.answers(
        uploads(("a", "1"), more=f"{truncated}<NextKeyMarker>a</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>"),
        uploads(("a", "2"), more=f"{truncated}<NextUploadIdMarker>2</NextUploadIdMarker>"),
        uploads(("b", "3")),
    )

    assert [(upload.key, upload.upload_id) for upload in store.list_multipart_uploads()] == [("a", "1"), ("a", "2"), ("b", "3")]
    assert [(request.query.get("key-marker"), request.query.get("upload-id-marker")) for request in wire.requests] == [
        (None, None),
        ("a", "1"),
        ("a", "2"),
    ]


def test_open_uploads_that_xml_cannot_carry_are_asked_for_encoded(store: S3Store, wire: Wire) -> None:
    marker = "<IsTruncated>true</IsTruncated><NextKeyMarker>k%01</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>"
    wire.answers(*[uploads(("k\x01", "1"))] * 3, uploads(("k%01", "1"), more=marker), uploads(("l", "2")))

    assert [upload.key for upload in store.list_multipart_uploads("")] == ["k\x01", "l"]
    assert [request.query.get("encoding-type") for request in wire.requests[2:]] == [None, "url", None]
    assert wire.requests[4].query["key-marker"] == "k\x01"


def test_a_last_encoded_page_has_no_marker(store: S3Store, wire: Wire) -> None:
    wire.answers(*[uploads(("k\x01", "1"))] * 3, uploads(("k%01", "1")))

    assert [upload.key for upload in store.list_multipart_uploads()] == ["k\x01"]


@pytest.mark.parametrize("answer", [refusal(503, "ServiceUnavailable"), LOST])
def test_open_uploads_of_a_store_that_is_down_are_unavailable(store: S3Store, wire: Wire, answer: Reply | Exception) -> None:
    wire.answers(*[answer] * 3)

    with pytest.raises(StorageUnavailable):
        list(store.list_multipart_uploads())


def test_a_listing_that_is_no_xml_is_unavailable(store: S3Store, wire: Wire) -> None:
    wire.answers(*[a_page("k\x01")] * 3)

    with pytest.raises(StorageUnavailable):
        list(store.list())


def test_an_answer_that_boto3_cannot_read_is_an_error(store: S3Store, wire: Wire) -> None:
    wire.answers(ResponseParserError("no"))

    with pytest.raises(StorageError, match="is the endpoint an S3 endpoint"):
        list(store.list())


def test_versions_are_read_to_the_end_by_both_markers(store: S3Store, wire: Wire) -> None:
    def page(key: str, version: str, kind: str, more: str) -> Reply:
        row = f"<Key>{key}</Key><VersionId>{version}</VersionId><IsLatest>true</IsLatest><Size>3</Size>"
        return Reply(body=f"<ListVersionsResult><{kind}>{row}</{kind}>{more}</ListVersionsResult>".encode())

    marker = "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>"
    enabled = Reply(body=b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
    wire.answers(enabled, page("k", "v1", "Version", marker), page("k", "v2", "DeleteMarker", "<IsTruncated>false</IsTruncated>"))

    versions = list(store.list_versions("k"))

    assert [(v.version_id, v.size, v.is_delete_marker) for v in versions] == [("v1", 3, False), ("v2", 0, True)]
    assert (wire.requests[2].query["key-marker"], wire.requests[2].query["version-id-marker"]) == ("k", "v1")


def test_a_get_that_ends_early_is_unavailable(store: S3Store, wire: Wire) -> None:
    wire.answers(of_object(b"half", etag="e", Content_Length="9"))

    with pytest.raises(StorageUnavailable):
        store.get("k")


def test_a_get_that_arrives_damaged_is_an_error(store: S3Store, wire: Wire) -> None:
    wire.answers(of_object(b"damaged", etag="e", x_amz_checksum_sha256="LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="))

    with pytest.raises(StorageError, match="checksum"):
        store.get("k")


@pytest.mark.parametrize("said", [{}, {"Content_Range": "bytes 0-1/*"}])
def test_a_part_that_does_not_say_which_is_an_error(store: S3Store, wire: Wire, said: dict[str, Any]) -> None:
    wire.answers(of_object(b"ab", etag="e", status=206, **said))

    with pytest.raises(StorageError, match="which part"):
        store.get("k", byte_range=(0, 1))


def test_a_head_without_a_length_is_an_error(store: S3Store, wire: Wire) -> None:
    answer = of_object(b"", etag="e")
    wire.answers(Reply(200, b"", {name: value for name, value in answer.headers.items() if name != "ETag"}))

    with pytest.raises(StorageError, match="'ETag'"):
        store.head("k")
