"""What may come in: the type is read from the bytes, never believed from a header.

The allow-list holds types a browser renders without running anything. Markup is looked for even where the magic bytes are right, because a
file can be a valid GIF and an HTML page at once and a browser that sniffs would run it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import filetype

from stocktake.errors import InvalidRequest, TooLarge, UnsupportedType

ALLOWED = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/heic": "heic",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
    "audio/ogg": "ogg",
}
"""Content types taken, with the extension their keys get."""

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "audio/wav": "audio/x-wav",
    "audio/wave": "audio/x-wav",
    "audio/mp3": "audio/mpeg",
}
_UNSAID = {"", "application/octet-stream", "binary/octet-stream"}
_MARKUP = re.compile(rb"<\s*(?:!doctype\s+html|html|script|svg|iframe|body|head|object|embed)[\s>/]", re.IGNORECASE)
_MARKUP_WINDOW = 4096


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the bytes are."""

    content_type: str
    extension: str


def inspect(body: bytes, declared: str | None, *, max_bytes: int) -> Inspected:
    """Reads the type of `body` and refuses what is not allowed.

    Args:
        declared: the content type the caller names, or None; `application/octet-stream` counts as not named.
        max_bytes: the largest body taken.

    Raises:
        InvalidRequest: the body is empty.
        TooLarge: it is over `max_bytes`.
        UnsupportedType: the bytes are of no allowed type, of another than declared, or hold markup.
    """
    if not body:
        raise InvalidRequest("the body is empty: send the bytes of the image")
    if len(body) > max_bytes:
        raise TooLarge(f"the body has {len(body)} bytes and the limit is {max_bytes}: send a smaller file")
    guess = filetype.guess(body)
    sniffed = _ALIASES.get(guess.mime, guess.mime) if guess else None
    if sniffed not in ALLOWED:
        raise UnsupportedType(f"the bytes are {sniffed or 'of no known type'}: send one of {', '.join(ALLOWED)}")
    if _MARKUP.search(body, 0, _MARKUP_WINDOW):
        raise UnsupportedType(f"the bytes begin as {sniffed} but hold markup a browser could run: send a clean file")
    said = (declared or "").split(";")[0].strip().lower()
    if said not in _UNSAID and _ALIASES.get(said, said) != sniffed:
        raise UnsupportedType(f"the content type says {said} and the bytes are {sniffed}: name the type the bytes have, or none")
    return Inspected(sniffed, ALLOWED[sniffed])
