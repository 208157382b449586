"""What the probe makes of stores that cannot do what AWS can."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from html import escape, unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from stocktake.errors import InvalidRequest, StorageDenied, StorageError, StorageUnavailable
from stocktake.storage import Learned, Profile
from stocktake.storage.s3 import S3Store
from tests.unit.storage.wire import ABLE, UNABLE, Clock, Reply, Request, Wire, a_store, bare, of_object, refusal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Sorted = Callable[[Iterable[str]], list[str]]
FOLDER = ".stocktake/probe/probe-id/"


def directories_first(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: key.split("/"))


def utf16(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: key.encode("utf-16-be"))


@dataclass
class SmallStore:
    """Just enough of S3 to be probed; the fields say what it cannot do."""

    conditions: str = "honoured"  # or "ignored", "unknown" (501), "applied after all" (412, and done nevertheless)
    versioning: Reply = field(default_factory=lambda: Reply(body=b"<VersioningConfiguration/>"))
    order: Sorted = sorted
    md5_needed: bool = False
    start_after_works: bool = True
    files_are_no_folders: bool = False
    undeletable: str = ""
    names_versions: bool = False
    keeps_sha256: bool = True
    # "kept", "unknown" (501), "untaken" (501 to a part with a checksum, as R2), "unlisted", "unsaid" (taken, and HEAD does not tell),
    # or "refused" (400 to complete)
    parts: str = "kept"
    # "listed", "unlisted", or "unknown" (501)
    open_uploads: str = "listed"
    # "named", "unnamed", "only there" (what was absent is not named), "untrue" (named, and still there), or "unknown" (501)
    bulk: str = "named"
    checksums: dict[str, str] = field(default_factory=dict)
    uploads: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, request: Request) -> Reply:
        key = request.line.partition(" ")[2].removeprefix("/media").removeprefix("/")
        if "uploads" in request.query or "uploadId" in request.query:
            return self._multipart(request, key)
        if request.method == "GET" and "versioning" in request.query:
            return self.versioning
        if request.method == "GET" and "versions" in request.query:
            return Reply(body=b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>")
        if request.method == "GET":
            return self._list(request)
        if request.method == "POST":
            return self._delete_many(request)
        if request.method == "HEAD" and not key:
            return bare(200)
        if request.method == "HEAD":
            said: dict[str, Any] = {"x_amz_checksum_sha256": self.checksums[key]} if key in self.checksums else {}
            return of_object(self.objects[key], etag="e", is_head=True, **said) if key in self.objects else bare(404)
        is_conditional = {"if-none-match", "if-match"} & set(request.headers)
        if is_conditional and self.conditions == "unknown":
            return refusal(501, "NotImplemented")
        if is_conditional and self.conditions == "honoured":
            return refusal(412, "PreconditionFailed")
        if request.method == "DELETE":
            self.objects.pop(key, None)
        elif self.files_are_no_folders and any(other.startswith(f"{key}/") or key.startswith(f"{other}/") for other in self.objects):
            return refusal(409, "ExistingObjectIsFile")
        else:
            if self.keeps_sha256 and "x-amz-checksum-sha256" in request.headers:
                self.checksums[key] = request.headers["x-amz-checksum-sha256"]
            self.objects[key] = self.objects[FOLDER + "source"] if "x-amz-copy-source" in request.headers else request.body
        if is_conditional and self.conditions == "applied after all":
            return refusal(412, "PreconditionFailed")
        return Reply(body=b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>") if "x-amz-copy-source" in request.headers else self._put()

    def _multipart(self, request: Request, key: str) -> Reply:
        if "uploads" in request.query and request.method == "GET":
            return self._list_uploads()
        if "uploads" in request.query:
            if "x-amz-checksum-algorithm" not in request.headers:
                self.uploads.add(key)
                return Reply(body=b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>")
            if self.parts == "unknown":
                return refusal(501, "NotImplemented")
            assert request.headers["x-amz-checksum-algorithm"] == "SHA256"
            self.uploads.add(key)
            return Reply(body=b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>")
        if request.method == "DELETE":
            self.uploads.discard(key)
            return bare(204)
        if request.method == "PUT":
            if self.parts == "untaken" and "x-amz-checksum-sha256" in request.headers:
                return refusal(501, "NotImplemented")
            self.checksums[key] = request.headers["x-amz-checksum-sha256"]
            return bare(200, ETag="e")
        if request.method == "GET":
            if key not in self.uploads:
                return refusal(404, "NoSuchUpload")
            said = "" if self.parts == "unlisted" else f"<ChecksumSHA256>{self.checksums[key]}</ChecksumSHA256>"
            part = f"<Part><PartNumber>1</PartNumber><ETag>e</ETag><Size>7</Size>{said}</Part>"
            return Reply(body=f"<ListPartsResult>{part}<IsTruncated>false</IsTruncated></ListPartsResult>".encode())
        if self.parts == "refused":
            return refusal(400, "InvalidRequest")
        digest = base64.b64decode(self.checksums.pop(key))
        if self.parts != "unsaid":
            self.checksums[key] = base64.b64encode(hashlib.sha256(digest).digest()).decode() + "-1"
        self.uploads.discard(key)
        self.objects[key] = b"all"
        return Reply(body=b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")

    def _list_uploads(self) -> Reply:
        if self.open_uploads == "unknown":
            return refusal(501, "NotImplemented")
        rows = "".join(
            f"<Upload><Key>{key}</Key><UploadId>id</UploadId><Initiated>2023-11-14T22:13:20.000Z</Initiated></Upload>"
            for key in self.uploads
            if self.open_uploads == "listed"
        )
        return Reply(body=f"<ListMultipartUploadsResult>{rows}<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>".encode())

    def _put(self) -> Reply:
        return bare(200, x_amz_version_id="v1") if self.names_versions else bare(200)

    def _list(self, request: Request) -> Reply:
        keys = self.order(key for key in self.objects if key.startswith(request.query.get("prefix", "")))
        position = request.query.get("continuation-token") or (request.query.get("start-after", "") if self.start_after_works else "")
        if position:
            keys = keys[keys.index(position) + 1 :]
        size = int(request.query["max-keys"])
        rows = "".join(
            f"<Contents><Key>{quote(key)}</Key><Size>1</Size><ETag>e</ETag><LastModified>2023-11-14T22:13:20.000Z</LastModified></Contents>"
            for key in keys[:size]
        )
        more = f"<NextContinuationToken>{escape(keys[size - 1])}</NextContinuationToken>" if len(keys) > size else ""
        truncated = f"<IsTruncated>{str(len(keys) > size).lower()}</IsTruncated><EncodingType>url</EncodingType>"
        return Reply(body=f"<ListBucketResult>{rows}{truncated}{more}</ListBucketResult>".encode())

    def _delete_many(self, request: Request) -> Reply:
        if self.md5_needed:
            if "content-md5" not in request.headers:
                return refusal(400, "InvalidRequest")
            assert request.headers["content-md5"] == _md5(request.body)
        rows, asked = "", request.body.decode()
        if "bulk" in asked and "bulk-absent" in asked and self.bulk != "named":
            return self._delete_two(request)
        for key in map(unescape, re.findall(r"<Key>(.*?)</Key>", asked)):
            if self.undeletable and key.endswith(self.undeletable):
                rows += f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code></Error>"
            else:
                self.objects.pop(key, None)
                rows += f"<Deleted><Key>{escape(key)}</Key></Deleted>"
        return Reply(body=f"<DeleteResult>{rows}</DeleteResult>".encode())

    def _delete_two(self, request: Request) -> Reply:
        if self.bulk == "unknown":
            return refusal(501, "NotImplemented")
        if self.bulk != "untrue":
            self.objects.pop(FOLDER + "bulk")
        named = {"unnamed": (), "only there": ("bulk",), "untrue": ("bulk", "bulk-absent")}[self.bulk]
        rows = "".join(f"<Deleted><Key>{FOLDER}{name}</Key></Deleted>" for name in named)
        return Reply(body=f"<DeleteResult>{rows}</DeleteResult>".encode())


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def probed(small: SmallStore, client: S3Client, wire: Wire, seconds: Clock) -> Profile:
    wire.otherwise = small
    return a_store(client, seconds, None).profile()


ENABLED = Reply(body=b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
SUSPENDED = Reply(body=b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")


def test_a_store_that_can_everything_is_believed(client: S3Client, wire: Wire, seconds: Clock) -> None:
    small = SmallStore(versioning=ENABLED)

    assert probed(small, client, wire, seconds) == ABLE
    assert small.objects == {}
    assert len(wire.requests) < 70


def test_the_probe_runs_once_and_not_at_all_for_a_known_profile(client: S3Client, wire: Wire, seconds: Clock) -> None:
    wire.otherwise = SmallStore()
    store = a_store(client, seconds, None)

    store.profile()
    asked = len(wire.requests)
    store.profile()

    assert len(wire.requests) == asked
    assert a_store(client, seconds, UNABLE).profile() == UNABLE
    assert len(wire.requests) == asked + 1
    assert "versioning" in wire.requests[-1].query


def test_versioning_switched_on_is_known_five_minutes_later(client: S3Client, wire: Wire, seconds: Clock) -> None:
    small = SmallStore()
    wire.otherwise = small
    store = a_store(client, seconds, None)
    known = store.profile()
    small.versioning, asked = ENABLED, len(wire.requests)

    seconds.now += 299
    assert store.profile() == known
    assert len(wire.requests) == asked
    seconds.now += 1
    assert store.profile() == replace(known, versioning=True)
    assert store.profile().versioning
    assert len(wire.requests) == asked + 1


@pytest.mark.parametrize("answer", [refusal(403, "AccessDenied"), refusal(501, "NotImplemented")])
@pytest.mark.parametrize("known", [ABLE, UNABLE])
def test_what_is_known_of_versioning_stays_where_it_cannot_be_asked(
    client: S3Client, wire: Wire, seconds: Clock, known: Profile, answer: Reply
) -> None:
    store = a_store(client, seconds, known)
    wire.answers(answer)

    assert store.profile() == known
    assert store.profile() == known  # and is not asked for each time


def test_versioning_that_the_store_could_not_tell_now_is_asked_again(client: S3Client, wire: Wire, seconds: Clock) -> None:
    store = a_store(client, seconds, UNABLE)
    wire.otherwise = lambda request: bare(503)
    with pytest.raises(StorageUnavailable):
        store.profile()

    wire.otherwise = lambda request: ENABLED
    assert store.profile().versioning


@pytest.mark.parametrize("conditions", ["ignored", "unknown", "applied after all"])
def test_a_condition_counts_only_when_it_is_refused_and_nothing_happened(
    client: S3Client, wire: Wire, seconds: Clock, conditions: str
) -> None:
    profile = probed(SmallStore(conditions=conditions), client, wire, seconds)

    assert (profile.conditional_put, profile.conditional_copy, profile.conditional_delete) == (False, False, False)


@pytest.mark.parametrize(("answer", "versioning"), [(ENABLED, True), (SUSPENDED, True), (refusal(501, "NotImplemented"), False)])
def test_a_bucket_that_ever_kept_versions_has_versioning(
    client: S3Client, wire: Wire, seconds: Clock, answer: Reply, versioning: bool
) -> None:
    assert probed(SmallStore(versioning=answer), client, wire, seconds).versioning is versioning


@pytest.mark.parametrize("versioning", [True, False])
def test_where_the_question_is_forbidden_a_put_tells_whether_versions_are_kept(
    client: S3Client, wire: Wire, seconds: Clock, versioning: bool
) -> None:
    small = SmallStore(versioning=refusal(403, "AccessDenied"), names_versions=versioning)

    assert probed(small, client, wire, seconds).versioning is versioning
    assert small.objects == {}


@pytest.mark.parametrize("keeps", [True, False])
def test_a_store_keeps_checksums_when_head_gives_them_back(client: S3Client, wire: Wire, seconds: Clock, keeps: bool) -> None:
    small = SmallStore(keeps_sha256=keeps)

    assert probed(small, client, wire, seconds).keeps_sha256 is keeps
    assert small.objects == {}


@pytest.mark.parametrize("parts", ["kept", "unknown", "untaken", "unlisted", "unsaid", "refused"])
def test_a_store_keeps_checksums_of_parts_when_head_gives_their_hash(client: S3Client, wire: Wire, seconds: Clock, parts: str) -> None:
    small = SmallStore(parts=parts)

    assert probed(small, client, wire, seconds).keeps_parts_sha256 is (parts == "kept")
    assert (small.objects, small.uploads) == ({}, set())


@pytest.mark.parametrize("uploads", ["listed", "unlisted", "unknown"])
def test_open_uploads_are_listed_where_one_that_was_begun_is_shown(client: S3Client, wire: Wire, seconds: Clock, uploads: str) -> None:
    small = SmallStore(open_uploads=uploads)

    assert probed(small, client, wire, seconds).lists_uploads is (uploads == "listed")
    assert (small.objects, small.uploads) == ({}, set())


@pytest.mark.parametrize("bulk", ["named", "unnamed", "only there", "untrue", "unknown"])
def test_a_removal_in_bulk_is_trusted_where_it_names_every_key_and_truly(client: S3Client, wire: Wire, seconds: Clock, bulk: str) -> None:
    small = SmallStore(bulk=bulk)

    assert probed(small, client, wire, seconds).names_deleted is (bulk == "named")
    assert small.objects == {}


def test_what_cannot_list_uploads_lists_none_and_begins_none(client: S3Client, wire: Wire, seconds: Clock) -> None:
    store = a_store(client, seconds, replace(ABLE, lists_uploads=False))

    assert list(store.list_multipart_uploads()) == []
    with pytest.raises(InvalidRequest, match="send one PUT"):
        store.begin_multipart_upload("k", content_type="image/png")
    assert wire.requests == []


def test_what_lies_of_removals_in_bulk_is_asked_key_by_key(client: S3Client, wire: Wire, seconds: Clock) -> None:
    wire.answers(bare(204), bare(204))

    assert a_store(client, seconds, replace(ABLE, names_deleted=False)).delete_many(["a", "b"]).deleted == ("a", "b")
    assert wire.lines == ["DELETE /media/a", "DELETE /media/b"]


def test_others_are_told_what_was_probed_and_what_changed_and_nothing_else(client: S3Client, wire: Wire, seconds: Clock) -> None:
    told: list[tuple[Profile, Learned]] = []
    small = SmallStore()
    wire.otherwise = small
    store = S3Store("media", client=client, learned=lambda *what: told.append(what), clock=seconds, new_id=lambda: "probe-id")

    probed = store.profile()
    seconds.now += 300
    store.profile()
    assert told == [(probed, Learned.PROBED)]
    small.versioning = ENABLED
    seconds.now += 300
    versioned = store.profile()
    store.distrust_order()
    store.distrust_order()
    assert told[1:] == [(versioned, Learned.VERSIONING), (replace(versioned, ordered_listing=False), Learned.OUT_OF_ORDER)]
    assert not store.profile().ordered_listing
    assert store.probe() == store.profile() == versioned
    assert told[3:] == [(versioned, Learned.PROBED)]


def test_where_uploads_may_not_be_listed_the_store_is_believed(client: S3Client, wire: Wire, seconds: Clock) -> None:
    small = SmallStore()

    def answered(request: Request) -> Reply:
        return refusal(403, "AccessDenied") if "uploads" in request.query and request.method == "GET" else small(request)

    wire.otherwise = answered

    assert a_store(client, seconds, None).profile().lists_uploads
    assert small.uploads == set()


def test_content_md5_is_needed_where_a_batch_is_refused_without_it(client: S3Client, wire: Wire, seconds: Clock) -> None:
    small = SmallStore(md5_needed=True)

    assert probed(small, client, wire, seconds).md5_needed
    assert small.objects == {}


@pytest.mark.parametrize(
    "small",
    [
        SmallStore(order=directories_first),
        SmallStore(order=utf16),
        SmallStore(order=lambda keys: sorted(keys, key=str.lower)),
        SmallStore(order=lambda keys: sorted(keys)[:-1]),
        SmallStore(start_after_works=False),
        SmallStore(files_are_no_folders=True),
    ],
)
def test_a_listing_is_ordered_only_if_it_is_so_whole_in_pages_and_from_the_middle(
    client: S3Client, wire: Wire, seconds: Clock, small: SmallStore
) -> None:
    assert not probed(small, client, wire, seconds).ordered_listing
    assert small.objects == {}


def test_what_the_probe_cannot_remove_is_named(client: S3Client, wire: Wire, seconds: Clock) -> None:
    with pytest.raises(StorageError, match=r"left '\.stocktake/probe/probe-id/target' behind \(AccessDenied\)"):
        probed(SmallStore(undeletable="target"), client, wire, seconds)


@pytest.mark.parametrize(
    "asked",
    [
        lambda request: "versioning" in request.query or "version" in request.line,  # the question, and the put that stands in for it
        lambda request: "if-none-match" in request.headers,
        lambda request: request.method == "GET" and "prefix" in request.query,
        lambda request: "delete" in request.query and "content-md5" not in request.headers,
        lambda request: "uploadId" in request.query and request.method == "PUT",
        lambda request: "uploadId" in request.query and request.method == "GET",
        lambda request: "uploadId" in request.query and request.method == "POST",
    ],
)
@pytest.mark.parametrize(("answer", "error"), [(refusal(403, "AccessDenied"), StorageDenied), (bare(503), StorageUnavailable)])
def test_a_failure_that_says_nothing_of_the_capability_is_raised(
    client: S3Client,
    wire: Wire,
    seconds: Clock,
    asked: Callable[[Request], bool],
    answer: Reply,
    error: type[StorageError],
) -> None:
    small = SmallStore()
    wire.otherwise = lambda request: answer if asked(request) else small(request)

    with pytest.raises(error):
        a_store(client, seconds, None).profile()

    assert (small.objects, small.uploads) == ({}, set())
