"""DeleteObjects written and read at the price of the bytes: some 4 µs a key against 90 that botocore takes for its trees.

As with listings (`s3_listing`), only the rows are ours. On the way out botocore checks, builds and signs a request without rows, and they
are put into its body before it is signed. On the way back a handler takes out the rows that only say that a key is gone, where the store
wrote them plainly and one after the other; the rest of the answer, errors first of all, goes botocore's own way, and so does any answer
that is written otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ROWS = "rows_to_delete"
_GONE = "PlainlyDeleted"
_ASKED = frozenset({"Key", "VersionId"})

# The answer up to its first row, and nothing that could make of the rows something else than children of the root.
_HEAD = re.compile(rb'\s*(?:<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")? *\?>)?\s*<DeleteResult(?: [^<>&]*[^<>&/])?>\s*')
# Without what XML would read as another text: entities, and line ends that it joins.
_PLAIN = re.compile(rb"<Deleted><Key>([^<>&\r]+)</Key></Deleted>")
_ROW = b"<Deleted>"


def write_and_read_plainly(client: S3Client) -> None:
    """Makes a client write the rows of DeleteObjects itself, and take plain rows out of the answers, for `plainly_gone`."""
    client.meta.events.register("before-parameter-build.s3.DeleteObjects", _keep_rows)
    client.meta.events.register_first("before-call.s3.DeleteObjects", _put_in_rows)
    # before botocore looks for an error in a 200, as with listings
    client.meta.events.register_first("before-parse.*.DeleteObjects", _take_out_rows)


def plainly_gone(reply: Mapping[str, Any]) -> Sequence[str]:
    """Returns the keys that an answer named as gone in rows that botocore has not read."""
    gone: Sequence[str] = reply.get(_GONE, ())
    return gone


def _keep_rows(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    delete = params.get("Delete", {})
    rows = delete.get("Objects")
    # what is not plainly right is botocore's, which says what is wrong with it
    if rows and all(_ASKED.issuperset(row) and "Key" in row and all(isinstance(text, str) for text in row.values()) for row in rows):
        params["Delete"] = {"Quiet": False, **delete, "Objects": []}
        context[_ROWS] = rows


def _put_in_rows(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    if rows := context.get(_ROWS):
        written = "".join(
            f"<Object><Key>{_text(row['Key'])}</Key>"
            + (f"<VersionId>{_text(row['VersionId'])}</VersionId>" if "VersionId" in row else "")
            + "</Object>"
            for row in rows
        )
        params["body"] = params["body"].replace(b"<Quiet>", written.encode() + b"<Quiet>", 1)


def _text(value: str) -> str:
    return escape(value, {"\r": "&#xD;", "\n": "&#xA;"})


def _take_out_rows(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    body: bytes = response_dict["body"]
    first, last = body.find(_ROW), body.rfind(b"</Deleted>") + len(b"</Deleted>")
    if response_dict["status_code"] != 200 or first < 0 or not _HEAD.fullmatch(body, 0, first):
        return
    parts = _PLAIN.split(body[first:last])
    try:
        keys = [key.decode() for key in parts[1::2]]
    except UnicodeDecodeError:
        return
    if len(parts) > 1 and not any(parts[::2]):
        response_dict["body"] = body[:first] + body[last:]
        customized_response_dict[_GONE] = keys
