"""Pages of ListObjectsV2: what is read quickly is what botocore reads, and nothing is ever taken for the end that is not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import botocore.handlers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.errors import ListingIncomplete, StorageError, StorageUnavailable
from stocktake.model import ListedObject
from stocktake.storage import s3_listing
from stocktake.storage.s3 import S3Store
from tests.unit.storage.wire import Clock, Reply, Wire, a_client, a_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>media</Name><Prefix/>'
)
LAST = "<IsTruncated>false</IsTruncated>"
URL = "<EncodingType>url</EncodingType>"
END = "</ListBucketResult>"
SECOND = "2023-11-14T22:13:20.123Z"
ODD = [
    "a b",
    "a+b",
    "a%b",
    "a%2Fb",
    "a%252Fb",
    "<x>&\"'",
    "]]>",
    "<![CDATA[x]]>",
    "&amp;",
    "\x01",
    "\r\n",
    "\ufffe",
    "é",
    "\U0001f600",
    "a//b",
    "../a",
    "a/",
]
FIRST_LOOK = "_looks_like_special_case_error"
"""What botocore does first with any answer: it reads it as XML."""
FIELDS = ("Key", "LastModified", "ETag", "Size")


def a_row(
    key: str = "a", *, order: Sequence[str] = FIELDS, more: str = "", quoted: str = "&quot;", at: str = SECOND, size: str = "1"
) -> str:
    written = {"Key": key, "LastModified": at, "ETag": f"{quoted}e{quoted}", "Size": size}
    return "<Contents>" + "".join(f"<{name}>{written[name]}</{name}>" for name in order) + more + "</Contents>"


def a_document(*rows: str, head: str = HEAD, tail: str = LAST + URL) -> str:
    return head + "".join(rows) + tail + END


def listed(store: S3Store, wire: Wire, document: str | bytes, prefix: str = "") -> list[ListedObject]:
    """Lists a bucket whose every answer is this document."""
    body = document if isinstance(document, bytes) else document.encode()
    wire.otherwise = lambda request: Reply(200, body)
    return [row for page in store.list(prefix) for row in page]


class Reader:
    """A store on a wire of its own, for properties, whose examples share it."""

    def __init__(self) -> None:
        client = a_client()
        self.wire = Wire(client)
        self.store = a_store(client, Clock())

    def read(self, document: bytes) -> list[ListedObject] | str:
        """Gives the rows, or the name of what is raised."""
        try:
            return listed(self.store, self.wire, document)
        except StorageError as error:
            return type(error).__name__

    def read_by_botocore(self, document: bytes, monkeypatch: pytest.MonkeyPatch) -> list[ListedObject] | str:
        with monkeypatch.context() as patched:
            patched.setattr(s3_listing, "_plain_rows", lambda body: None)
            return self.read(document)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.fixture(scope="module")
def patch() -> pytest.MonkeyPatch:
    return pytest.MonkeyPatch()


KEYS = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12))
MOMENTS = st.sampled_from([SECOND, "2023-11-14T22:13:20Z", "1999-02-28T00:00:00.5Z", "2024-02-29T23:59:59.999999Z"])
EXTRA = [
    "<StorageClass>STANDARD</StorageClass>",
    "<Owner><ID>i</ID><DisplayName>d</DisplayName></Owner>",
    "<ChecksumType>FULL_OBJECT</ChecksumType>",
    "",
]


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Pages as stores write them: an order of the fields, a way to quote, a way to encode, now and then something added."""
    ways: list[Callable[[str], str]] = [quote_plus, quote, lambda key: quote(key, safe="/"), lambda key: quote_plus(key, safe="/")]
    encode = draw(st.sampled_from(ways))
    order, quoted = draw(st.permutations(FIELDS)), draw(st.sampled_from(["&quot;", "&#34;", '"', ""]))
    rows = [
        a_row(
            encode(key),
            order=order,
            quoted=quoted,
            at=draw(MOMENTS),
            more=draw(st.sampled_from(EXTRA)),
            size=str(draw(st.integers(0, 2**50))),
        )
        for key in draw(st.lists(KEYS, max_size=6))
    ]
    count = f"<KeyCount>{len(rows)}</KeyCount>" if draw(st.booleans()) else ""
    about = [LAST, URL, count]
    split = draw(st.integers(0, 3))
    return a_document(*rows, head=HEAD + "".join(about[:split]), tail="".join(about[split:])).encode()


@given(documents())
def test_a_page_reads_as_botocore_reads_it(reader: Reader, patch: pytest.MonkeyPatch, document: bytes) -> None:
    rows = reader.read(document)

    assert rows == reader.read_by_botocore(document, patch)
    assert len(rows) == document.count(b"<Contents>")


HOSTILE = [
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<Contents>",
    "</Contents>",
    "<Contents/>",
    "<Key>",
    "</Key>",
    "<Key>b</Key>",
    "<x>",
    "</x>",
    "<x/>",
    "&",
    "&amp;",
]
HOSTILE += [
    "&x;",
    "<",
    ">",
    '"',
    "\n",
    " ",
    "\0",
    "\x01",
    "é",
    "<Size>2</Size>",
    LAST,
    "<IsTruncated>",
    "</ListBucketResult>",
    a_row("b"),
    "%",
    "+",
    "%zz",
    "<?x?>",
]
HOSTILE += [
    "<CommonPrefixes>",
    "</CommonPrefixes>",
    '<Contents xmlns="x">',
    "<Contents >",
    "<KeyCount>7</KeyCount>",
    "<!DOCTYPE x>",
    "2",
    "-",
    "Z",
    ".5",
]


@given(documents(), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(["", *HOSTILE])), min_size=1, max_size=3))
def test_whatever_comes_in_between_reads_as_botocore_reads_it_or_is_an_error(
    reader: Reader, patch: pytest.MonkeyPatch, document: bytes, edits: list[tuple[float, int, str]]
) -> None:
    for where, dropped, put in edits:
        place = int(where * len(document))
        document = document[:place] + put.encode() + document[place + dropped :]

    assert reader.read(document) == reader.read_by_botocore(document, patch)


@pytest.mark.parametrize("way", ["AWS", "SeaweedFS", "R2", "MinIO"])
def test_of_a_page_as_the_stores_write_it_botocore_sees_no_row(
    store: S3Store, wire: Wire, client: S3Client, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    at, standard = "<LastModified>2023-11-14T22:13:20.000Z</LastModified>", "<StorageClass>STANDARD</StorageClass>"
    rows = {
        "AWS": f"<Key>a/b</Key>{at}<ETag>&quot;e&quot;</ETag>"
        f"<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>1</Size>{standard}",
        "SeaweedFS": f"<Key>a%2Fb</Key><ETag>&#34;e&#34;</ETag><Size>1</Size>{standard}<LastModified>2023-11-14T22:13:20Z</LastModified>",
        "R2": f'<Key>a%2Fb</Key><Size>1</Size>{at}<ETag>"e"</ETag>{standard}',
        "MinIO": f"<Key>a/b</Key>{at}<ETag>&#34;e&#34;</ETag><Size>1</Size>"
        f"<Owner><ID>02d6</ID><DisplayName>minio</DisplayName></Owner>{standard}",
    }
    seen: list[bytes] = []
    looks: Callable[[int, bytes], bool] = vars(botocore.handlers)[FIRST_LOOK]

    def spied(status: int, body: bytes) -> bool:
        seen.append(body)
        return looks(status, body)

    monkeypatch.setattr(botocore.handlers, FIRST_LOOK, spied)

    assert listed(store, wire, a_document(f"<Contents>{rows[way]}</Contents>")) == [ListedObject("a/b", 1, "e", 1_700_000_000_000)]
    assert seen == [a_document().encode()]


INCOMPLETE = {
    "no word of more": a_document(a_row(), tail=URL),
    "a word of more that is none": a_document(a_row(), tail="<IsTruncated>TRUE</IsTruncated>"),
    "two words of more": a_document(a_row(), tail=LAST + "<IsTruncated>true</IsTruncated>"),
    "more without a way to it": a_document(a_row(), tail="<IsTruncated>true</IsTruncated>"),
    "more rows counted than listed": a_document(a_row(), tail=LAST + "<KeyCount>2</KeyCount>"),
    "fewer rows counted than listed": a_document(a_row(), a_row("b"), tail=LAST + "<KeyCount>1</KeyCount>"),
    "a count that is no number": a_document(a_row(), tail=LAST + "<KeyCount>x</KeyCount>"),
    "a row without a key": a_document(a_row(), a_row(order=("Size", "ETag", "LastModified"))),
    "a row without a size": a_document(a_row(order=("Key", "ETag", "LastModified"))),
    "a row without an ETag": a_document(a_row(order=("Key", "Size", "LastModified"))),
    "a row without a date": a_document(a_row(order=("Key", "Size", "ETag"))),
    "an empty row": a_document(a_row(), "<Contents/>"),
    "an empty key": a_document(a_row("")),
    "a size that is no number": a_document(a_row(size="1x")),
    "a negative size": a_document(a_row(size="-1")),
    "a date that is none": a_document(a_row(at="2023-02-30T00:00:00Z")),
    "another document": "<html>Please sign in</html>",
    "an empty answer": "",
}


@pytest.mark.parametrize("document", INCOMPLETE.values(), ids=INCOMPLETE.keys())
def test_what_is_no_whole_page_is_an_error_with_a_name(store: S3Store, wire: Wire, document: str) -> None:
    with pytest.raises(ListingIncomplete, match=r"not complete|cannot be"):
        listed(store, wire, document)


CUT = a_document(a_row("a"), a_row("b"))


@pytest.mark.parametrize(
    "document",
    [
        *(CUT[:place] for place in range(1, len(CUT), 23)),
        "<Error><Code>InternalError</Code><Message>no</Message></Error>",
        "Service unavailable",
    ],
)
def test_an_answer_cut_short_or_an_error_in_a_200_is_asked_for_again_and_then_an_error(store: S3Store, wire: Wire, document: str) -> None:
    with pytest.raises(StorageUnavailable):
        listed(store, wire, document)
    assert len(wire.requests) == 3

    wire.answers(Reply(200, document.encode()))
    assert [row.key for row in listed(store, wire, CUT)] == ["a", "b"]


@pytest.mark.parametrize(
    "document",
    [
        HEAD + "<!-- " + a_row("b") + " -->" + LAST + END,
        a_document("<!-- ", a_row("b"), " -->"),
        a_document("<x>", a_row("b"), "</x>"),
        a_document("<x><![CDATA[", a_row("b"), "]]></x>"),
        a_document("<Other><Contents>", a_row("b"), "</Contents></Other>"),
    ],
)
def test_what_only_looks_like_a_row_is_none(store: S3Store, wire: Wire, document: str) -> None:
    assert listed(store, wire, document) == []


@pytest.mark.parametrize("key", ODD)
def test_an_odd_key_comes_through_in_every_way_to_encode_it(store: S3Store, wire: Wire, key: str) -> None:
    for encoded in (quote_plus(key), quote(key, safe="/"), quote(key), re.sub("%2F", "%2f", quote(key))):
        assert [row.key for row in listed(store, wire, a_document(a_row(encoded)))] == [key]


@pytest.mark.parametrize("key", [key for key in ODD if not set(key) & set("\x01\r\ufffe")])
def test_a_store_that_does_not_encode_is_read_as_it_writes(store: S3Store, wire: Wire, key: str) -> None:
    assert [row.key for row in listed(store, wire, a_document(a_row("a"), a_row(escape(key)), tail=LAST))] == ["a", key]


def test_rows_in_different_ways_on_one_page_are_all_read(store: S3Store, wire: Wire) -> None:
    rows = [a_row(name, order=order) for name, order in zip("abcd", itertools.permutations(FIELDS), strict=False)]

    assert [row.key for row in listed(store, wire, a_document(*rows))] == ["a", "b", "c", "d"]


def test_a_key_outside_of_the_prefix_is_an_error(store: S3Store, wire: Wire) -> None:
    with pytest.raises(ListingIncomplete, match="cannot be trusted"):
        listed(store, wire, a_document(a_row("p/a"), a_row("q/a")), prefix="p/")
