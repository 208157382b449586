"""What a reader may be answered with: everything, a part, or that it has it already. RFC 9110 §13 and §14, without touching the world.

Conditions are asked in the order of §13.2.2: If-Match, else If-Unmodified-Since; then If-None-Match, else If-Modified-Since; then Range, if
If-Range allows it. A date or a range that cannot be read is as good as not sent: the RFC wants dates ignored and lets ranges be. A list of
tags that cannot be read matches nothing, so that If-Match fails closed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate

from stocktake.errors import PreconditionFailed, RangeNotSatisfiable

_TAG = re.compile(r'(W/)?"([^"]*)"')
# Nineteen digits say every size there is; a number that is longer is not worth reading, and int() refuses some of them.
_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.IGNORECASE)
# The date of today, then the two of the past that a server still has to read (§5.6.7).
_DATE_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


@dataclass(frozen=True, slots=True)
class Full:
    """All bytes (200)."""


@dataclass(frozen=True, slots=True)
class NotModified:
    """No bytes, the reader has them (304)."""


@dataclass(frozen=True, slots=True)
class Partial:
    """The bytes from `first` to `last`, both included and both inside the object (206)."""

    first: int
    last: int


Serving = Full | NotModified | Partial


def evaluate(headers: Mapping[str, str], *, etag: str, last_modified: int, size: int) -> Serving:
    """Says what a GET with these headers is answered with. For a HEAD, leave `range` out: §14.2 defines it for GET alone.

    One range is served; of several, all bytes are, as §14.2 allows.

    Args:
        headers: the request's, with names in lower case.
        etag: the object's, strong, without quotation marks.
        last_modified: milliseconds since the epoch; compared in whole seconds, as that is all an HTTP date can say.
        size: bytes.

    Raises:
        PreconditionFailed: If-Match or If-Unmodified-Since do not hold.
        RangeNotSatisfiable: the object has no byte in the range.
    """
    modified = last_modified // 1000
    _check_preconditions(headers, etag, modified)
    if _is_known(headers, etag, modified):
        return NotModified()
    wanted, only_if = headers.get("range"), headers.get("if-range")
    if wanted is None or (only_if is not None and not _is_same(only_if, etag, modified)):
        return Full()
    return _read_range(wanted, size)


def headers_of(serving: Serving, *, etag: str, last_modified: int, size: int) -> dict[str, str]:
    """Returns the headers that say what is served and let the reader ask for the rest, or ask again.

    Args:
        etag: the object's, without quotation marks.
        last_modified: milliseconds since the epoch.
        size: bytes of the whole object.
    """
    headers = {"ETag": f'"{etag}"', "Last-Modified": formatdate(last_modified // 1000, usegmt=True), "Accept-Ranges": "bytes"}
    if isinstance(serving, Partial):
        headers["Content-Range"] = f"bytes {serving.first}-{serving.last}/{size}"
    return headers


def _check_preconditions(headers: Mapping[str, str], etag: str, modified: int) -> None:
    wanted = headers.get("if-match")
    if wanted is not None:
        # strong comparison (§13.1.1): a weak tag never matches
        if wanted.strip() != "*" and ("", etag) not in _TAG.findall(wanted):
            raise PreconditionFailed("If-Match names none of the object's ETag: read the object again and decide anew")
        return
    until = _read_date(headers.get("if-unmodified-since"))
    if until is not None and modified > until:
        raise PreconditionFailed("the object was changed after If-Unmodified-Since: read the object again and decide anew")


def _is_known(headers: Mapping[str, str], etag: str, modified: int) -> bool:
    known = headers.get("if-none-match")
    if known is not None:
        # weak comparison (§13.1.2): W/ makes no difference
        return known.strip() == "*" or any(tag == etag for _, tag in _TAG.findall(known))
    since = _read_date(headers.get("if-modified-since"))
    return since is not None and modified <= since


def _is_same(only_if: str, etag: str, modified: int) -> bool:
    """Tells whether If-Range means the object as it is: its very tag, strong, or its very date (§13.1.5)."""
    return only_if.strip() == f'"{etag}"' or _read_date(only_if) == modified


def _read_date(text: str | None) -> int | None:
    """Returns the seconds since the epoch of an HTTP date, or None if there is none that can be read."""
    for form in _DATE_FORMS:
        try:
            return int(datetime.strptime((text or "").strip(), form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return None


def _read_range(text: str, size: int) -> Full | Partial:
    match = _ONE_RANGE.fullmatch(text.strip())
    if match is None or match.group(1, 2) == ("", ""):
        return Full()
    first, last = match.groups()
    if not first:
        if int(last) == 0:
            raise _not_satisfiable(size)
        # The end of an empty object can be satisfied (§14.1.2), and no Content-Range can say so.
        return Partial(max(0, size - int(last)), size - 1) if size else Full()
    if last and int(last) < int(first):
        return Full()
    if int(first) >= size:
        raise _not_satisfiable(size)
    return Partial(int(first), min(int(last), size - 1) if last else size - 1)


def _not_satisfiable(size: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(f"the object has {size} bytes and none in the range asked for: ask for a range inside it", size=size)
