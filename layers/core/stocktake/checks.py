"""What may come in: the type is read from the bytes, never believed from a header.

The allow-list holds types a browser renders without running anything, and SVG, which is only served as an attachment and is read to its
last element (`svg.py`). Images and MP4 are walked to their last byte (`containers.py`): a file that was cut off is refused, and so are
dimensions that would exhaust whoever decodes them. WebM and audio are only sniffed.

A file can be a valid image and something else at once. Refused are those that a server's slip would make harmful:

- markup that runs or loads something, in the first 64 KiB, where the metadata lies: a browser that is told the wrong type runs it. Not
  every tag counts, because metadata is full of them: XMP (`<?xpacket`, `<x:xmpmeta`, `<rdf:li>`), property lists (`<?xml`), prompts
  (`<lora:name:1>`, `<b>`, JSON). The tags are those that make a page or run by themselves, any tag with an event handler, those that
  reload, style or send a page (`<meta http-equiv=`, `<link rel=`, `<base href=`, `<form action=`), and `<?php`. Handlers of three letters
  are named one by one, because any three letters are too often chance.
  `svg` and `img` must go on in text, or compressed bytes would hold them by chance in one of 300,000 files; as it is, of ten million.
  NUL bytes are left out, so UTF-16 hides nothing.
- a PDF header in the first 1024 bytes: readers accept it there (ISO 32000-1, annex H, note 13).
- a ZIP, and so a JAR, at the end: it is read from its end, whatever comes before.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import filetype

from stocktake import containers, svg
from stocktake.errors import InvalidRequest, TooLarge, UnsupportedType
from stocktake.storage.rules import SHOWN_IN_PLACE

ALLOWED = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/svg+xml": "svg",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
    "audio/ogg": "ogg",
}
"""Content types taken, with the extension their keys get."""

HEAD_BYTES = 65_536
"""What `inspect_head` needs of a larger object: browsers sniff 1445 bytes, and dimensions follow the metadata."""

_MEASURED = SHOWN_IN_PLACE | {"image/heic"}
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/apng": "image/png",
    "image/heif": "image/heic",
    "image/svg": "image/svg+xml",
    "audio/wav": "audio/x-wav",
    "audio/wave": "audio/x-wav",
    "audio/mp3": "audio/mpeg",
}
_UNSAID = {"", "application/octet-stream", "binary/octet-stream"}

_MARKUP = re.compile(
    rb"""<(?:
        (?:!doctype\s++html | html | head | body | script | iframe | object | embed | applet | frameset)[\s>/]
      | \?php\s
      | (?:svg | img)[\s>/][\t\n\r\x20-\x7e]{4}
      | (?:meta | link | base | form)[\s/](?:[^<>\s"'/]*+[\s"'/]++)*?(?:http-equiv | rel | href | action)\s*+=
      | [a-z](?:[^<>\s"'/]*+[\s"'/]++)*?(?:on(?:cut | end | [a-z]{4,30}+)\s*+= | (?:href|src|action)\s*+=\s*+(?:["']\s*+)?javascript:)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""Every repetition is possessive or ends at what cannot be in it: two that could share the same spaces would take quadratic time."""
_PDF_WINDOW = 1024
_ZIP_END = struct.Struct("<4s4H2LH")  # APPNOTE.TXT 4.3.16; a comment of up to 65,535 bytes may follow


@dataclass(frozen=True, slots=True)
class Rules:
    """What is taken of what is known.

    Args:
        allowed: content types, of ALLOWED.
        max_pixels: of one picture. 50 million are 200 MB when decoded.
        max_side: pixels across or down.
        max_animation_pixels: of all frames together, each as large as its canvas, as decoders compose them. They are decoded one after the
            other, so they cost time and not memory: a thousand million pixels are some ten seconds, or 16 of 1080p at 30 frames a second.
    """

    allowed: frozenset[str] = frozenset(ALLOWED)
    max_pixels: int = 50_000_000
    max_side: int = 20_000
    max_animation_pixels: int = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the bytes are. `width` and `height` are pixels of the largest picture in an image; None of what has no pixels of its own."""

    content_type: str
    extension: str
    width: int | None
    height: int | None


_DEFAULT_RULES = Rules()


def inspect(body: bytes, declared: str | None, *, max_bytes: int, rules: Rules = _DEFAULT_RULES) -> Inspected:
    """Reads the type of a whole body and refuses what is not allowed, cut off, too large when decoded, or more than that.

    Args:
        declared: the content type the caller names, or None; `application/octet-stream` counts as not named.
        max_bytes: the largest body taken.

    Raises:
        InvalidRequest: the body is empty, cut off or damaged.
        TooLarge: it is over `max_bytes`, or its pictures are over the limits of `rules`.
        UnsupportedType: the bytes are of no allowed type, of another than declared, not laid out as their type is, or more than that.
    """
    if len(body) > max_bytes:
        raise TooLarge(
            f"the body has {len(body)} bytes and this way takes {max_bytes}: use a presigned upload: POST /projects/{{project_id}}/uploads"
        )
    return inspect_head(body, declared, size=len(body), rules=rules)


def inspect_head(head: bytes, declared: str | None, *, size: int, rules: Rules = _DEFAULT_RULES) -> Inspected:
    """Reads the type of a stored object from its first bytes, and refuses what `inspect` refuses, as far as they show it.

    Not seen are the end (whether it is cut off, a ZIP) and later frames of an animation. Of an SVG the whole is needed.

    Args:
        head: the first HEAD_BYTES of the object or more; all of it, where it has no more.
        declared: the content type the caller named, or None.
        size: bytes of the whole object.

    Raises:
        InvalidRequest, TooLarge, UnsupportedType: as `inspect` does.
    """
    if not head:
        raise InvalidRequest("the body is empty: send the bytes of the image")
    content_type = _sniff(head, size)
    if content_type not in rules.allowed:
        raise UnsupportedType(f"the bytes are {content_type or 'of no known type'}: send one of {_names(rules)}")
    said = (declared or "").split(";")[0].strip().lower()
    if said not in _UNSAID and _ALIASES.get(said, said) != content_type:
        raise UnsupportedType(f"the content type says {said} and the bytes are {content_type}: name the type the bytes have, or none")
    if content_type != "image/svg+xml" and _MARKUP.search(head[:HEAD_BYTES].replace(b"\0", b"")):
        raise UnsupportedType(f"the bytes begin as {content_type} but hold markup a browser could run: send a clean file")
    if b"%PDF-" in head[:_PDF_WINDOW] or (len(head) == size and _ends_as_zip(head)):
        raise UnsupportedType(f"the bytes begin as {content_type} but are a PDF or a ZIP as well: send a clean file")
    largest = _measure(content_type, head, size, rules)
    return Inspected(content_type, ALLOWED[content_type], *(largest or (None, None)))


def announced(declared: str, rules: Rules = _DEFAULT_RULES) -> Inspected:
    """Reads the content type of bytes that are still to come. Raises UnsupportedType for one that is not taken."""
    said = declared.split(";")[0].strip().lower()
    content_type = _ALIASES.get(said, said)
    if content_type not in rules.allowed:
        raise UnsupportedType(f"objects of type {declared[:80]!r} are not taken: announce one of {_names(rules)}")
    return Inspected(content_type, ALLOWED[content_type], None, None)


def size_warnings(size: int, warn_bytes: int) -> tuple[str, ...]:
    """Says that an object is large, where it has `warn_bytes` or more."""
    return (f"the object has {size} bytes, over the {warn_bytes} from which on it is large",) if size >= warn_bytes else ()


def _names(rules: Rules) -> str:
    return ", ".join(name for name in ALLOWED if name in rules.allowed)


def signed_type(head: bytes) -> str | None:
    """Reads a type off the signature that bytes begin with; None where they have none, as an SVG."""
    guess: str | None = filetype.guess_mime(head)
    return None if guess is None else _ALIASES.get(guess, guess)


def _sniff(head: bytes, size: int) -> str | None:
    content_type = signed_type(head)
    if content_type is not None:
        return content_type
    if not svg.begins_as_markup(head):
        return None
    if len(head) < size:
        raise UnsupportedType(f"the bytes are markup, read whole before it is taken, and there are {size}: send an SVG in a request's body")
    svg.check_svg(head)
    return "image/svg+xml"


def _measure(content_type: str, head: bytes, size: int, rules: Rules) -> containers.Picture | None:
    largest = None
    together = 0
    for picture in containers.pictures(content_type, head, size):
        pixels = picture.width * picture.height
        together += pixels
        if max(picture) > rules.max_side or pixels > rules.max_pixels:
            raise TooLarge(
                f"the image has {picture.width}x{picture.height} pixels: make it smaller, at most {rules.max_side} a side and"
                f" {rules.max_pixels} in all"
            )
        if together > rules.max_animation_pixels:
            raise TooLarge(
                f"the frames of the animation have more than {rules.max_animation_pixels} pixels together: make it shorter or smaller"
            )
        if largest is None or pixels > largest.width * largest.height:
            largest = picture
    if largest is None and content_type in _MEASURED:
        raise UnsupportedType(f"the dimensions of the {content_type} are not in its first {len(head)} bytes: save it with less metadata")
    return largest


def _ends_as_zip(body: bytes) -> bool:
    """Tells whether unpackers find a ZIP: an end record that leads to a directory with entries, however much comes before it.

    They look for the record in the last 65,557 bytes and for the directory before it, or where it says; before it ZIP64 has a record more.
    """
    at = len(body)
    earliest = max(0, len(body) - _ZIP_END.size - 0xFFFF)
    while (at := body.rfind(b"PK\5\6", earliest, at)) >= 0:
        if len(body) - at >= _ZIP_END.size:
            *_, length, offset, _ = _ZIP_END.unpack_from(body, at)
            if b"PK\1\2" in (body[max(0, at - length) :][:4], body[offset : offset + 4]) or body[at - 20 : at - 16] == b"PK\6\7":
                return True
        at += 3  # the next one begins before this one
    return False
