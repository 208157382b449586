"""What `S3Store` sends, and what it makes of answers to puts, copies and removals."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ConnectionClosedError, NoCredentialsError

from stocktake.errors import (
    BucketNotFound,
    ConfirmationFailed,
    ObjectChanged,
    ObjectExists,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    WrongRegion,
)
from stocktake.model import KeyFailure
from stocktake.storage import CorsRule, ObjectVersion
from stocktake.storage.refusals import check_is_of_key, is_refused
from stocktake.storage.s3 import S3Store
from tests.unit.storage.wire import UNABLE, Clock, Reply, Request, Wire, a_client, a_store, bare, of_object, refusal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BODY = b"hello"
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
CHECKSUM = base64.b64encode(bytes.fromhex(SHA256)).decode()
LOST = ConnectionClosedError(endpoint_url="https://store.example")
EXISTS = refusal(412, "PreconditionFailed")
AN_EMPTY_PAGE = Reply(body=b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")


def put(store: S3Store, **options: Any) -> Any:
    return store.put("k", BODY, **{"content_type": "image/png", "sha256": SHA256} | options)


def head(body: bytes = BODY, *, etag: str = MD5, **headers: Any) -> Reply:
    return of_object(body, etag=etag, is_head=True, **headers)


@pytest.fixture
def plain(client: S3Client, seconds: Clock) -> S3Store:
    """A store that honours no condition."""
    return a_store(client, seconds, UNABLE)


# what is sent


def test_a_put_is_a_plain_body_with_its_sha256_signed_in_version_4(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(200), head())

    put(store, metadata={"intent": "i1"}, cache_control="max-age=9", only_if_absent=True)

    sent = wire.requests[0]
    assert (sent.line, sent.body) == ("PUT /media/k", BODY)
    headers = sent.headers
    assert headers["x-amz-checksum-sha256"] == CHECKSUM
    assert (headers["content-length"], headers["content-type"], headers["cache-control"]) == ("5", "image/png", "max-age=9")
    assert (headers["x-amz-meta-intent"], headers["if-none-match"]) == ("i1", "*")
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")
    assert not {"expect", "x-amz-trailer", "content-encoding", "transfer-encoding"} & set(headers)
    assert wire.requests[1].headers["x-amz-checksum-mode"] == "ENABLED"


@pytest.mark.parametrize(
    ("endpoint", "expects"), [(None, True), ("https://s3.eu-west-1.amazonaws.com", True), ("https://amazonaws.com.example", False)]
)
def test_expect_is_left_to_aws_alone(seconds: Clock, endpoint: str | None, expects: bool) -> None:
    client = a_client(endpoint_url=endpoint, region="eu-west-1")
    wire = Wire(client)
    wire.answers(bare(200), head())

    put(a_store(client, seconds))

    assert ("expect" in wire.requests[0].headers) is expects


def test_a_batch_delete_carries_its_md5(store: S3Store, wire: Wire) -> None:
    wire.answers(Reply(body=b"<DeleteResult><Deleted><Key>k</Key></Deleted></DeleteResult>"))

    assert store.delete_many(["k"]).deleted == ("k",)

    sent = wire.requests[0]
    assert sent.headers["content-md5"] == base64.b64encode(hashlib.md5(sent.body).digest()).decode()
    assert b"<Quiet>false</Quiet>" in sent.body


def test_keys_deleted_one_by_one_have_a_request_each_and_a_refusal_of_their_own(store: S3Store, wire: Wire) -> None:
    refused = Reply(403, b"<Error><Code>AccessDenied</Code><Message>locked</Message></Error>")
    wire.answers(Reply(204), refused, Reply(204))

    result = store.delete_many(["a", "b", "c"], one_by_one=True)

    assert [(request.method, request.url.rpartition("/")[2]) for request in wire.requests] == [("DELETE", key) for key in "abc"]
    assert (result.deleted, [(failure.key, failure.code) for failure in result.errors]) == (("a", "c"), [("b", "AccessDenied")])


def test_a_conditional_copy_is_worded_for_r2_too(store: S3Store, wire: Wire) -> None:
    wire.answers(head(), Reply(body=b"<CopyObjectResult><ETag>&quot;new&quot;</ETag></CopyObjectResult>"), head(etag="new"))

    store.copy("a b", "t", only_if_absent=True)

    headers = wire.requests[1].headers
    assert (headers["if-none-match"], headers["cf-copy-destination-if-none-match"]) == ("*", "*")
    assert headers["x-amz-copy-source-if-match"] == f'"{MD5}"'
    assert headers["x-amz-copy-source"] == "media/a%20b"


def test_an_unconditional_copy_says_nothing_of_the_target(store: S3Store, wire: Wire) -> None:
    wire.answers(head(), Reply(body=b"<CopyObjectResult><ETag>new</ETag></CopyObjectResult>"), head(etag="new"))

    store.copy("s", "t")

    assert not {"if-none-match", "cf-copy-destination-if-none-match"} & set(wire.requests[1].headers)


CORS = b"""<CORSConfiguration><CORSRule><AllowedOrigin>https://app.example.com</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>
<AllowedMethod>GET</AllowedMethod><AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader></CORSRule></CORSConfiguration>"""


@pytest.mark.parametrize(
    ("answer", "rules"),
    [
        (Reply(200, CORS), (CorsRule(("PUT", "GET"), ("https://app.example.com",), ("*",), ("ETag",)),)),
        (refusal(404, "NoSuchCORSConfiguration"), ()),
        (refusal(501, "NotImplemented"), None),
        (refusal(405, "MethodNotAllowed"), None),
    ],
)
def test_the_cors_rules_are_read_or_there_are_none_or_the_store_does_not_know_the_question(
    store: S3Store, wire: Wire, answer: Reply, rules: tuple[CorsRule, ...] | None
) -> None:
    wire.answers(answer)
    assert store.cors() == rules


def test_a_token_that_may_not_read_the_cors_rules_is_denied_in_the_stores_own_word(store: S3Store, wire: Wire) -> None:
    wire.answers(refusal(403, "AccessDenied"))
    with pytest.raises(StorageDenied) as denied:
        store.cors()
    assert denied.value.code == "AccessDenied"


def test_presigned_urls_are_signed_in_version_4_in_every_region(seconds: Clock) -> None:
    store = a_store(a_client(endpoint_url=None, region="us-east-1"), seconds)

    url = store.presign_get("k", seconds=60, file_name="f.png")

    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
    assert "X-Amz-Expires=60" in url
    assert "response-content-disposition=attachment" in url
    assert url.startswith("https://s3.us-east-1.amazonaws.com/media/k?")


def test_a_presigned_url_needs_credentials(client: S3Client, seconds: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> str:
        raise NoCredentialsError

    monkeypatch.setattr(client, "generate_presigned_url", none)

    with pytest.raises(StorageDenied):
        a_store(client, seconds).presign_get("k", seconds=60)


# the confirmation of a put


def test_the_stores_checksum_confirms(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(200), head(etag="under-kms", x_amz_checksum_sha256=CHECKSUM))

    assert put(store).sha256 == SHA256


def test_an_etag_that_is_the_md5_confirms(store: S3Store, wire: Wire) -> None:
    wire.answers(bare(200), head())

    assert put(store).sha256 is None


@pytest.mark.parametrize(
    "composite", [{"x_amz_checksum_sha256": f"{CHECKSUM}-2"}, {"x_amz_checksum_sha256": CHECKSUM, "x_amz_checksum_type": "COMPOSITE"}]
)
def test_without_either_the_object_is_read_back(store: S3Store, wire: Wire, composite: dict[str, Any]) -> None:
    wire.answers(bare(200), head(etag="under-kms", **composite), of_object(BODY, etag="under-kms"))

    assert put(store).etag == "under-kms"


@pytest.mark.parametrize(
    "answers",
    [
        [bare(404), bare(200)],
        [head(b"hell")],
        [head(x_amz_checksum_sha256=base64.b64encode(bytes(32)).decode())],
        [head(etag="other"), of_object(b"hullo", etag="other")],
        [head(etag="other"), refusal(404, "NoSuchKey")],
    ],
)
def test_what_the_store_cannot_show_is_not_stored(store: S3Store, wire: Wire, answers: list[Reply]) -> None:
    wire.answers(bare(200), *answers)

    with pytest.raises(ConfirmationFailed):
        put(store)


def test_a_body_that_is_not_its_hash_is_not_sent(store: S3Store, wire: Wire) -> None:
    with pytest.raises(ConfirmationFailed, match="nothing was sent"):
        put(store, sha256="0" * 64)

    assert wire.requests == []


def test_a_damaged_body_that_the_store_refuses_is_an_error(store: S3Store, wire: Wire) -> None:
    wire.answers(refusal(400, "BadDigest"))

    with pytest.raises(StorageError, match="BadDigest"):
        put(store)


# conditional puts


def test_a_put_whose_reply_was_lost_finds_itself(store: S3Store, wire: Wire) -> None:
    wire.answers(LOST, EXISTS, head(x_amz_meta_intent="i1", x_amz_checksum_sha256=CHECKSUM), head(x_amz_checksum_sha256=CHECKSUM))

    assert put(store, metadata={"Intent": "i1"}, only_if_absent=True).size == 5
    assert wire.lines == ["PUT /media/k"] * 2 + ["HEAD /media/k"] * 2


def test_a_put_that_finds_itself_without_any_hash_is_read_back(store: S3Store, wire: Wire) -> None:
    wire.answers(EXISTS, *[head(etag="e", x_amz_meta_intent="i1")] * 2, of_object(BODY, etag="e"))

    assert put(store, metadata={"intent": "i1"}, only_if_absent=True).etag == "e"


@pytest.mark.parametrize(
    "found",
    [
        head(x_amz_meta_intent="i2"),
        head(),
        head(b"longer", x_amz_meta_intent="i1"),
        head(x_amz_meta_intent="i1", x_amz_meta_sha256="0" * 64),
        head(x_amz_meta_intent="i1", x_amz_checksum_sha256=base64.b64encode(bytes(32)).decode()),
    ],
)
def test_a_put_that_finds_another_object_says_so(store: S3Store, wire: Wire, found: Reply) -> None:
    wire.answers(EXISTS, found)

    with pytest.raises(ObjectExists) as caught:
        put(store, metadata={"intent": "i1"}, only_if_absent=True)

    assert caught.value.__cause__ is not None


def test_a_put_without_an_intent_never_finds_itself(store: S3Store, wire: Wire) -> None:
    wire.answers(EXISTS, head())

    with pytest.raises(ObjectExists):
        put(store, only_if_absent=True)


def test_a_put_refused_by_an_object_that_is_gone_is_to_be_tried_again(store: S3Store, wire: Wire) -> None:
    wire.answers(EXISTS, bare(404), bare(200))

    with pytest.raises(StorageUnavailable, match="try again"):
        put(store, only_if_absent=True)


def test_a_store_without_conditions_is_asked_before_a_put(plain: S3Store, wire: Wire) -> None:
    wire.answers(head(x_amz_meta_intent="i2"))
    with pytest.raises(ObjectExists):
        put(plain, metadata={"intent": "i1"}, only_if_absent=True)

    wire.answers(bare(404), bare(200), bare(200), head())
    assert put(plain, metadata={"intent": "i1"}, only_if_absent=True).size == 5
    assert all("if-none-match" not in request.headers for request in wire.requests)


# copies

COPIED = Reply(body=b"<CopyObjectResult><ETag>&quot;new&quot;</ETag></CopyObjectResult>")


def test_a_copy_with_new_metadata_carries_every_header_over(store: S3Store, wire: Wire) -> None:
    headers: dict[str, Any] = {
        "Content_Type": "image/png",
        "Cache_Control": "max-age=9",
        "Content_Disposition": "attachment",
        "Content_Encoding": "identity",
        "Content_Language": "de",
        "Expires": "Wed, 15 Nov 2023 06:13:20 GMT",
    }
    wire.answers(head(**headers), COPIED, head(etag="new"))

    store.copy("s", "t", metadata={"A": "1"})

    sent = wire.requests[1].headers
    assert {name: sent[name.lower()] for name in (header.replace("_", "-") for header in headers)} == {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    assert (sent["x-amz-metadata-directive"], sent["x-amz-meta-a"]) == ("REPLACE", "1")


def test_a_source_that_is_not_the_one_seen_is_not_copied(store: S3Store, wire: Wire) -> None:
    wire.answers(head())

    with pytest.raises(ObjectChanged):
        store.copy("s", "t", if_etag="other")


@pytest.mark.parametrize("only_if_absent", [False, True])
def test_a_source_that_changes_while_it_is_copied_is_not_copied(store: S3Store, wire: Wire, only_if_absent: bool) -> None:
    wire.answers(head(), EXISTS, *([bare(404), bare(200)] if only_if_absent else []))

    with pytest.raises(ObjectChanged, match="while it was copied"):
        store.copy("s", "t", only_if_absent=only_if_absent)


def test_a_source_that_goes_while_it_is_copied_is_gone(store: S3Store, wire: Wire) -> None:
    wire.answers(head(), refusal(404, "NoSuchKey"))

    assert store.copy("s", "t") is None


def test_a_source_over_5_gib_is_refused_by_name(store: S3Store, wire: Wire) -> None:
    wire.answers(head(Content_Length=str(5 * 1024**3 + 1)))

    with pytest.raises(StorageError, match="5368709121 bytes"):
        store.copy("s", "t")


def test_a_copy_whose_reply_was_lost_finds_itself(store: S3Store, wire: Wire) -> None:
    own = head(etag="new", x_amz_meta_intent="i1")
    wire.answers(head(), LOST, EXISTS, own)

    copied = store.copy("s", "t", only_if_absent=True, metadata={"intent": "i1"})

    assert copied is not None
    assert copied.etag == "new"


@pytest.mark.parametrize("taken", [head(x_amz_meta_intent="i2"), head(b"longer", x_amz_meta_intent="i1"), head()])
def test_a_taken_target_is_left_alone(store: S3Store, wire: Wire, taken: Reply) -> None:
    wire.answers(head(), EXISTS, taken)

    with pytest.raises(ObjectExists):
        store.copy("s", "t", only_if_absent=True, metadata={"intent": "i1"})


def test_a_store_without_conditions_is_asked_before_a_copy(plain: S3Store, wire: Wire) -> None:
    wire.answers(head(), head())
    with pytest.raises(ObjectExists):
        plain.copy("s", "t", only_if_absent=True)

    wire.answers(head(), bare(404), bare(200), COPIED, head(etag="new"))
    assert plain.copy("s", "t", only_if_absent=True) is not None
    assert all("if-none-match" not in request.headers for request in wire.requests)


@pytest.mark.parametrize(
    ("copied", "found"),
    [
        (COPIED, [bare(404), bare(200)]),
        (COPIED, [head(b"short", etag="other")]),
        (COPIED, [head(b"longer", etag="new")]),
        (COPIED, [head(etag="new", x_amz_checksum_sha256=base64.b64encode(bytes(32)).decode())]),
        (Reply(body=b"<Other/>"), [head(etag="new")]),
    ],
)
def test_a_copy_that_the_store_cannot_show_is_no_copy(store: S3Store, wire: Wire, copied: Reply, found: list[Reply]) -> None:
    wire.answers(head(x_amz_checksum_sha256=CHECKSUM), copied, *found)

    with pytest.raises(ConfirmationFailed):
        store.copy("s", "t")


# removal


def test_a_conditional_delete_whose_reply_was_lost_is_done(store: S3Store, wire: Wire) -> None:
    wire.answers(LOST, EXISTS, bare(404), bare(200))

    store.delete("k", if_etag="e")

    assert wire.requests[0].headers["if-match"] == '"e"'


def test_a_conditional_delete_of_another_object_is_refused(store: S3Store, wire: Wire) -> None:
    wire.answers(EXISTS, head())

    with pytest.raises(ObjectChanged):
        store.delete("k", if_etag="e")


def test_a_store_without_conditions_is_asked_before_a_delete(plain: S3Store, wire: Wire) -> None:
    wire.answers(head())
    with pytest.raises(ObjectChanged):
        plain.delete("k", if_etag="e")
    assert wire.lines == ["HEAD /media/k"]

    wire.answers(head(), bare(204))
    plain.delete("k", if_etag=MD5)
    assert wire.lines[1:] == ["HEAD /media/k", "DELETE /media/k"]
    assert "if-match" not in wire.requests[-1].headers

    wire.answers(bare(404), bare(200))
    plain.delete("k", if_etag=MD5)


def batch(deleted: str = "", errors: str = "") -> Reply:
    return Reply(body=f"<DeleteResult>{deleted}{errors}</DeleteResult>".encode())


def gone(*keys: str) -> str:
    return "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)


def refused(key: str, code: str) -> str:
    return f"<Error><Key>{key}</Key><Code>{code}</Code><Message>why</Message></Error>"


def test_a_batch_keeps_each_keys_error(store: S3Store, wire: Wire) -> None:
    wire.answers(batch(gone("a"), refused("b", "AccessDenied") + refused("c", "InternalError")))

    result = store.delete_many(["a", "b", "c"])

    assert result.deleted == ("a",)
    assert result.errors == (KeyFailure("b", "AccessDenied", "why"), KeyFailure("c", "InternalError", "why"))


def test_a_key_that_the_answer_does_not_name_is_not_deleted(store: S3Store, wire: Wire) -> None:
    wire.answers(batch(gone("a", "stranger"), refused("other", "AccessDenied")))

    result = store.delete_many(["a", "b"])

    assert result.deleted == ("a",)
    assert [(failure.key, failure.code) for failure in result.errors] == [("b", "Unreported")]


def test_a_key_both_deleted_and_refused_is_not_deleted(store: S3Store, wire: Wire) -> None:
    wire.answers(batch(gone("a"), refused("a", "AccessDenied")))

    assert [failure.code for failure in store.delete_many(["a"]).errors] == ["AccessDenied"]


def test_an_absent_key_reported_as_an_error_counts_as_deleted(store: S3Store, wire: Wire) -> None:
    wire.answers(batch(errors=refused("a", "NoSuchKey")))

    assert store.delete_many(["a"]).deleted == ("a",)


@pytest.mark.parametrize("answer", [batch(errors=refused("a", "NoSuchBucket")), refusal(404, "NoSuchBucket"), bare(404)])
def test_a_missing_bucket_never_counts_as_deleted(store: S3Store, wire: Wire, answer: Reply) -> None:
    wire.answers(answer)

    with pytest.raises(BucketNotFound):
        store.delete_many(["a"])


def test_a_thousand_keys_go_in_one_request_and_the_next_in_another(store: S3Store, wire: Wire) -> None:
    def all_gone(request: Request) -> Reply:
        return batch(gone(*re.findall(r"<Key>(.*?)</Key>", request.body.decode())))

    wire.answers(all_gone, all_gone)

    result = store.delete_many([f"k{number}" for number in range(1001)])

    assert len(result.deleted) == 1001
    assert [request.body.count(b"<Key>") for request in wire.requests] == [1000, 1]


@pytest.mark.parametrize("key", ["\x01", "a\rb", "a\nb", "\x0b", "\x1f", "\ufffe", "\uffff"])
def test_a_key_that_xml_cannot_carry_is_deleted_alone(store: S3Store, wire: Wire, key: str) -> None:
    wire.answers(bare(204), batch(gone("plain", "tab\there", "\x7f", "\U0001fffe")))

    assert store.delete_many([key, "plain", "tab\there", "\x7f", "\U0001fffe"]).errors == ()

    assert wire.lines == [f"DELETE /media/{key}", "POST /media"]


def test_a_refusal_of_a_key_deleted_alone_is_kept(store: S3Store, wire: Wire) -> None:
    wire.answers(refusal(403, "AccessDenied"), refusal(400, "InvalidRequest"), AN_EMPTY_PAGE, bare(204))

    result = store.delete_many(["\x01", "\x02", "\x03"])

    assert result.deleted == ("\x03",)
    assert [(failure.key, failure.code) for failure in result.errors] == [("\x01", "AccessDenied"), ("\x02", "InvalidRequest")]


@pytest.mark.parametrize("status", [400, 403])
def test_a_head_that_is_refused_without_a_word_is_of_the_key_where_the_store_answers_for_others(
    store: S3Store, wire: Wire, status: int
) -> None:
    wire.answers(bare(status), AN_EMPTY_PAGE, refusal(400, "ExpiredToken"))
    with pytest.raises(StorageError) as refused:
        store.head("k")
    assert is_refused(refused.value)

    check_is_of_key(store, refused.value)
    with pytest.raises(StorageDenied, match="ExpiredToken"):
        check_is_of_key(store, refused.value)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([refusal(403, "InvalidAccessKeyId")] * 2, StorageDenied),
        ([refusal(404, "NoSuchBucket")], BucketNotFound),
        ([refusal(301, "PermanentRedirect")], WrongRegion),
    ],
)
def test_what_is_wrong_with_every_request_is_not_one_keys_error(
    store: S3Store, wire: Wire, answers: list[Reply], error: type[StorageError]
) -> None:
    wire.answers(*answers)

    with pytest.raises(error):
        store.delete_many(["\x01"])


def test_versions_are_matched_by_key_and_version(store: S3Store, wire: Wire) -> None:
    versions = [
        ObjectVersion(key, version, 1, False, False)
        for key, version in (("k", "v1"), ("k", "v2"), ("k", "v3"), ("\x01", "v4"), ("l", "v5"))
    ]
    wire.answers(
        bare(204),
        batch(
            "<Deleted><Key>k</Key><VersionId>v1</VersionId></Deleted>"
            "<Deleted><Key>k</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>v2</DeleteMarkerVersionId></Deleted>",
            "<Error><Key>k</Key><VersionId>v3</VersionId><Code>AccessDenied</Code><Message>locked</Message></Error>"
            "<Error><Key>l</Key><VersionId>v5</VersionId><Code>NoSuchVersion</Code></Error>",
        ),
    )

    result = store.delete_versions(versions)

    assert result.deleted == ("k", "k", "\x01", "l")
    assert result.errors == (KeyFailure("k", "AccessDenied", "locked", "v3"),)
    assert wire.requests[0].query["versionId"] == "v4"


def test_a_version_named_by_its_key_alone_is_not_deleted(store: S3Store, wire: Wire) -> None:
    wire.answers(batch(gone("k")))

    assert [failure.code for failure in store.delete_versions([ObjectVersion("k", "v1", 1, False, True)]).errors] == ["Unreported"]


def test_a_version_deleted_alone_that_is_gone_already_is_deleted(store: S3Store, wire: Wire) -> None:
    wire.answers(refusal(404, "NoSuchVersion"))

    assert store.delete_versions([ObjectVersion("\x01", "v", 1, False, True)]).errors == ()


def test_aborting_an_unknown_upload_is_no_error_and_a_missing_bucket_is(store: S3Store, wire: Wire) -> None:
    wire.answers(refusal(404, "NoSuchUpload"))
    store.abort_multipart_upload("k", "id")

    wire.answers(refusal(404, "NoSuchBucket"))
    with pytest.raises(BucketNotFound):
        store.abort_multipart_upload("k", "id")
