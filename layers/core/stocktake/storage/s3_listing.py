"""Pages of ListObjectsV2 read at the price of the bytes, not of botocore's XML tree: some 3 µs a key against 50.

botocore reads an answer twice as XML (once to find an error in a 200, once to walk it along the service's shapes). Here a handler that
runs before both takes out the rows, when they are written in the plain way that all stores write them; what is left of the document, its
beginning and end, goes botocore's own way. So signing, retries, errors and every statement about the listing as a whole stay botocore's,
and so does any page that is written in another way: it costs more, and reads the same.

What is plain: `<Contents>` that hold Key, LastModified, ETag and Size once each, in one order for the page, with nothing else but the
simple elements that stores are known to add, all of it printable ASCII. What XML could hide a row in, or a row could hide (comments,
CDATA, entities, prefixes, attributes, nesting), is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.parsers import expat

from stocktake.errors import ListingIncomplete
from stocktake.model import ListedObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ROWS = "PlainRows"
"""The member of an answer that holds the rows which were taken out of it."""

_OPEN, _CLOSE, _END = b"<Contents>", b"</Contents>", b"</ListBucketResult>"

# Printable ASCII but for the characters of markup: what asking for encoding-type=url leaves of any key.
_TEXT = rb"[ -%'-;=?-~]"
_QUOTE = rb'(?:&quot;|&#34;|")?'
_FIELDS = {
    b"<Key>": rb"<Key>(" + _TEXT + rb"++)</Key>",
    b"<LastModified>": rb"<LastModified>(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z)</LastModified>",
    b"<ETag>": rb"<ETag>" + _QUOTE + rb"([ !#-%'-;=?-~]*+)" + _QUOTE + rb"</ETag>",
    b"<Size>": rb"<Size>(\d{1,18})</Size>",
}
_IN_PLACE = tuple(permutations(_FIELDS))
_ADDED = (b"StorageClass", b"ChecksumAlgorithm", b"ChecksumType", b"Type")
# Possessive, so that a page that is not plain is told in one pass.
_OTHERS = (
    rb"(?:<(?:"
    + b"|".join(name + b">" + _TEXT + b"*+</" + name for name in _ADDED)
    + rb"|Owner>(?:<(?:ID>"
    + _TEXT
    + rb"*+</ID|DisplayName>"
    + _TEXT
    + rb"*+</DisplayName)>)*+</Owner)>)*+"
)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The rows of a page as they were written, each list in order of the rows."""

    keys: Sequence[bytes]
    sizes: Sequence[bytes]
    etags: Sequence[bytes]
    times: Sequence[bytes]


def read_plainly(client: S3Client) -> None:
    """Makes a client take the rows of plain pages out of its answers to ListObjectsV2, for `rows_of`; all else stays as it is."""
    # botocore looks for an error in a 200 at before-parse.s3.*, and calls the handlers of a wildcard before those of a name
    client.meta.events.register_first("before-parse.*.ListObjectsV2", _take_out_rows)


def _take_out_rows(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    # what this hook puts into the second dict becomes a part of the answer, over what botocore made of the document
    if response_dict["status_code"] != 200:
        return
    if (taken := _plain_rows(response_dict["body"])) is not None:
        response_dict["body"], customized_response_dict[_ROWS] = taken
    customized_response_dict["IsTruncated"] = _says_more_follows(response_dict["body"])


def _says_more_follows(document: bytes) -> bool | None:
    """Reads IsTruncated by the letter: botocore takes every text but `true` for the end of the listing. None where nothing is said."""
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError:
        return None  # botocore asks again for it
    said = [child.text for child in root if child.tag.rpartition("}")[2] == "IsTruncated"]
    return {"true": True, "false": False}.get(said[0] or "") if len(said) == 1 else None


def _plain_rows(body: bytes) -> tuple[bytes, _Columns] | None:
    """Gives the document without its rows, and the rows; None for a page without rows or with any that is not plain."""
    first, last = body.find(_OPEN), body.rfind(_CLOSE)
    if first < 0 or last < first:
        return None
    head, tail = body[:first], body[last + len(_CLOSE) :]
    if b"<Contents" in head or b"<Contents" in tail or not _is_in_root(head):
        return None
    row = body[first : body.find(_CLOSE, first)]
    order = tuple(sorted(_FIELDS, key=row.find))
    parts = _pattern(order).split(body[first : last + len(_CLOSE)])
    # beside the fields: what lies before, between and after the rows
    if len(parts) == 1 or any(parts[:: len(_FIELDS) + 1]):
        return None
    fields = {name: parts[place :: len(_FIELDS) + 1] for place, name in enumerate(order, 1)}
    return head + tail, _Columns(fields[b"<Key>"], fields[b"<Size>"], fields[b"<ETag>"], fields[b"<LastModified>"])


@lru_cache(len(_IN_PLACE))
def _pattern(order: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Makes what one row looks like whose fields come in this order."""
    return re.compile(_OPEN + _OTHERS + _OTHERS.join(_FIELDS[name] for name in order) + _OTHERS + _CLOSE)


def _is_in_root(head: bytes) -> bool:
    """Tells whether what follows `head` is a child of the listing, and not of something in it."""
    try:
        expat.ParserCreate().Parse(head + _END, True)
    except expat.ExpatError:
        return False
    return True


def rows_of(page: Mapping[str, Any], prefix: str) -> list[ListedObject]:
    """Gives the rows of one page of ListObjectsV2, whichever way they were read.

    Raises:
        ListingIncomplete: a row lacks something or holds what cannot be, a key lies outside of `prefix`, or the store counts other rows
            than it lists.
    """
    try:
        plain: _Columns | None = page.get(_ROWS)
        rows = list(_rows(page)) if plain is None else _plain(plain, is_encoded=page.get("EncodingType") == "url")
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ListingIncomplete(
            f"The store listed an object without a good key, size, ETag or date ({error}); the listing is not complete."
        ) from error
    if prefix:
        for row in rows:
            if not row.key.startswith(prefix):
                raise ListingIncomplete(
                    f"The store was asked for keys under {prefix!r} and listed {row.key!r}; the listing cannot be trusted."
                )
    if page.get("KeyCount", len(rows)) != len(rows) + len(page.get("CommonPrefixes", ())):
        raise ListingIncomplete(f"The store counts {page['KeyCount']} keys in a page and lists {len(rows)}; the listing is not complete.")
    return rows


def _rows(page: Mapping[str, Any]) -> Iterator[ListedObject]:
    for row in page.get("Contents", ()):
        moment: datetime = row["LastModified"]
        if not row["Key"] or row["Size"] < 0:
            raise ValueError(f"{row['Size']} bytes under {row['Key']!r}")
        yield ListedObject(row["Key"], row["Size"], row["ETag"].strip('"'), round(moment.timestamp() * 1000))


def _plain(columns: _Columns, *, is_encoded: bool) -> list[ListedObject]:
    # decoded as a column each: NUL is no text of XML
    text = b"\0".join(columns.keys).decode("ascii")
    if is_encoded:
        text = text.replace("%2F", "/")  # no other escape holds these three characters, and some stores write one for every folder
    keys = text.split("\0")
    if is_encoded and ("%" in text or "+" in text):
        keys = [unquote_plus(key) if "%" in key or "+" in key else key for key in keys]
    etags = b"\0".join(columns.etags).decode("ascii").split("\0")
    rows = zip(keys, map(int, columns.sizes), etags, map(_milliseconds, columns.times), strict=True)
    return list(map(ListedObject._make, rows))  # a call of the class takes twice as long


@lru_cache(4096)
def _milliseconds(moment: bytes) -> int:
    # objects come in bursts, so most rows share their second with another
    return round(datetime.fromisoformat(moment.decode("ascii")).timestamp() * 1000)
