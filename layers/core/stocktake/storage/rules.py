"""What every store agrees on: which keys, metadata, checksums and file names are sent, and in what form.

Metadata travels in `x-amz-meta-*` headers, which are only safe for printable ASCII: AWS refuses or re-encodes the rest, R2 decodes and
encodes RFC 2047 words, and proxies trim blanks. A value of printable ASCII words with single spaces goes as it is; any other value goes as
an RFC 8187 extended value, `utf-8''caf%C3%A9`, and so does a plain one that could be mistaken for encoded text. Decoding undoes exactly
that, so every value comes back as it was given. Values that other programs wrote and that look like neither come back untouched.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import quote, unquote

from stocktake.errors import InvalidKey, InvalidRequest, UploadIncomplete
from stocktake.model import StoredObject
from stocktake.storage import Part

MAX_KEY_BYTES = 1024
MAX_PRESIGNED_SECONDS = 604_800
# AWS and R2 alike: at most 10,000 parts, each but the last of 5 MiB or more (R2 limits; AWS, "Amazon S3 multipart upload limits").
MAX_PARTS = 10_000
MIN_PART_BYTES = 5 * 1024**2
INTENT = "intent"
SHOWN_IN_PLACE = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"})
"""What a browser may show where it finds it: image types that cannot run anything. All else is saved."""

_EXTENDED = "utf-8''"
_PLAIN_VALUE = re.compile(r"[!-~]+(?: [!-~]+)*")
_EXTENDED_VALUE = re.compile(r"utf-8''(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})*")
_METADATA_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE_IN_FILE_NAME = re.compile(r'[\x00-\x1f\x7f/\\"]')


def check_key(key: str) -> str:
    """Returns the key when a store can hold it.

    Raises:
        InvalidKey: it is empty, longer than 1024 bytes of UTF-8, or holds a lone surrogate.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidKey("The key is not Unicode text: it holds half of a surrogate pair.") from error
    if not 1 <= size <= MAX_KEY_BYTES:
        raise InvalidKey(f"A key has 1 to {MAX_KEY_BYTES} bytes of UTF-8; this one has {size}.")
    return key


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Gives the headers' form of user metadata, names in lower case.

    Raises:
        InvalidRequest: a name is not a header name, two names differ only in case, or a value is not Unicode text.
    """
    encoded: dict[str, str] = {}
    for name, value in metadata.items():
        lower = name.lower()
        if not _METADATA_NAME.fullmatch(lower) or lower in encoded:
            raise InvalidRequest(f"Metadata names are distinct words of a-z, 0-9, '.', '_' and '-'; {name!r} is not.")
        encoded[lower] = _encode_value(name, value)
    return encoded


def _encode_value(name: str, value: str) -> str:
    # "=?" opens an RFC 2047 word, which R2 would decode; a value in our own encoded form would be decoded by us.
    if _PLAIN_VALUE.fullmatch(value) and "=?" not in value and not value.startswith(_EXTENDED):
        return value
    try:
        return _EXTENDED + quote(value, safe="")
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"The metadata value of {name!r} is not Unicode text: it holds half of a surrogate pair.") from error


def decode_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """Gives back what `encode_metadata` was given, names in lower case; leaves what other programs wrote as it is."""
    return {name.lower(): _decode_value(value) for name, value in headers.items()}


def _decode_value(value: str) -> str:
    if not _EXTENDED_VALUE.fullmatch(value):
        return value
    try:
        return unquote(value.removeprefix(_EXTENDED), errors="strict")
    except UnicodeDecodeError:
        return value  # somebody else's, and not UTF-8


def needs_attachment(content_type: str | None) -> bool:
    """Tells whether a browser must save the bytes and not show them in place: all but the image types that cannot run anything."""
    return content_type not in SHOWN_IN_PLACE


def content_disposition(content_type: str, file_name: str | None) -> str | None:
    """Gives how an object is to be shown: never in place what could run, and under the caller's name where there is one."""
    if needs_attachment(content_type):
        return disposition("attachment", file_name)
    return disposition("inline", file_name) if file_name else None


def disposition(kind: Literal["inline", "attachment"], file_name: str | None) -> str:
    """Gives the Content-Disposition that makes a browser show an object or save it, under `file_name` where that is given.

    Holds both forms of RFC 6266 section 4.3: a quoted ASCII name for old clients, and the exact name as an RFC 8187 value. Path
    separators, quotes and control characters become `_`, so that a name can neither leave its folder nor its header. The plain form has no
    two spaces together, because a signature is made over one, and what checks it may not make one of two (AWS, "Signature Version 4
    signing process", canonical headers).
    """
    if file_name is None:
        return kind
    safe = _UNSAFE_IN_FILE_NAME.sub("_", file_name).encode(errors="replace").decode()
    # A literal % in the plain form is read as an escape by some clients (RFC 6266 appendix D).
    plain = safe.encode("ascii", errors="replace").decode().replace("?", "_").replace("%", "_")
    plain = re.sub(" +", " ", plain)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='')}"


def checksum(sha256: str) -> str:
    """Gives the form in which S3 sends a SHA-256: the base64 of its bytes.

    Args:
        sha256: 64 digits of lower-case hex.

    Raises:
        InvalidRequest: it is anything else.
    """
    if not _SHA256.fullmatch(sha256):
        raise InvalidRequest("A SHA-256 is 64 digits of lower-case hex.")
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def composite_sha256(hexes: Sequence[str]) -> str:
    """Gives what a store keeps of a multipart upload: the SHA-256 of its parts' SHA-256s, and their number, as `<hex>-N`.

    Args:
        hexes: the SHA-256 of each part in hex, in order of the parts.

    Source: AWS, "Checking object integrity in Amazon S3", composite checksums.
    """
    digests = b"".join(map(bytes.fromhex, hexes))
    return f"{hashlib.sha256(digests).hexdigest()}-{len(hexes)}"


def check_part_number(number: int) -> int:
    """Returns the number of a part when a store takes it.

    Raises:
        InvalidRequest: it is not 1 to 10,000.
    """
    if not 1 <= number <= MAX_PARTS:
        raise InvalidRequest(f"The parts of an upload are numbered 1 to {MAX_PARTS}, not {number}.")
    return number


def check_presigned_seconds(seconds: int) -> int:
    """Returns the life of a presigned URL when SigV4 allows it.

    Raises:
        InvalidRequest: it is not 1 second to 7 days.
    """
    if not 1 <= seconds <= MAX_PRESIGNED_SECONDS:
        raise InvalidRequest(f"A presigned URL lives 1 to {MAX_PRESIGNED_SECONDS} seconds, not {seconds}.")
    return seconds


def range_header(first: int, last: int | None) -> str:
    """Gives the Range header of an inclusive byte range, to the object's end when `last` is None.

    Raises:
        InvalidRequest: the range is empty or negative; stores would ignore it and send everything.
    """
    if first < 0 or (last is not None and last < first):
        raise InvalidRequest(f"Bytes {first} to {last} are no range.")
    return f"bytes={first}-{'' if last is None else last}"


def is_same_write(sent: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Tells by the `intent` in both metadata whether the object found is the outcome of the very write that was sent."""
    return INTENT in sent and sent[INTENT] == found.get(INTENT)


def in_order(parts: Sequence[Part]) -> list[Part]:
    """Returns the parts of an upload in the order in which they make the object.

    Raises:
        UploadIncomplete: there are none, which stores call malformed.
    """
    if not parts:
        raise UploadIncomplete("No part was named of the upload to complete: upload its parts first.")
    return sorted(parts, key=lambda part: part.number)


def is_same_upload(found: StoredObject, parts: Sequence[Part], intent: str) -> bool:
    """Tells whether an object is what these parts, in order, make: of that intent, their size, and their checksum where all are kept."""
    if found.metadata.get(INTENT) != intent or found.size != sum(part.size for part in parts):
        return False
    hexes = [part.sha256 for part in parts if part.sha256 is not None]
    return found.parts_sha256 is None or len(hexes) < len(parts) or found.parts_sha256 == composite_sha256(hexes)
