"""How image files are laid out: walked from their first byte to their last, never decoded.

Every format here says where it ends: PNG by its IEND chunk, JPEG by its EOI marker, GIF by its trailer, WebP by its RIFF size, HEIC, AVIF
and MP4 by boxes that carry their lengths. So a walk finds a file that was cut off at any byte, and the dimensions of every picture in it,
in about a millisecond. Decoding finds less and costs more: Pillow loads a PNG without its last 22 bytes, a GIF without its trailer, and an
animation that lost its last frames; it takes 2 to 120 ms; it needs the whole file, and of a presigned upload only the first bytes are at
hand; and decoders are where hostile images break in (CVE-2023-4863), beside the bucket's credentials.

What a walk does not see: pixels that are nonsense inside a sound file (of PNG, the checksums are verified), a JPEG that somebody cut and
closed with an EOI again (decoders take it too), and what follows the end of an image, which decoders ignore (the video of a motion photo).
An MP4 cut exactly between two fragments is a shorter film and a sound file.

Sources: PNG, https://www.w3.org/TR/png-3/; JPEG, ITU-T T.81 annex B; GIF89a, https://www.w3.org/Graphics/GIF/spec-gif89a.txt;
WebP, RFC 9649; boxes, ISO/IEC 14496-12 and 23008-12.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from stocktake.errors import InvalidRequest, UnsupportedType


class Picture(NamedTuple):
    """One picture that a decoder of the file would make: pixels across and down."""

    width: int
    height: int


def pictures(content_type: str, data: bytes, size: int) -> Iterator[Picture]:
    """Walks a file and yields its pictures, each as soon as its dimensions are read: the canvas, then one for each frame of an animation.

    A caller that stops at a picture too large has spent nothing on it. An MP4 is walked and yields none; audio, WebM and SVG have no walk.

    Args:
        data: the file, or its first bytes; then the walk ends quietly where they end.
        size: bytes of the whole file.

    Raises:
        InvalidRequest: the file ends before it says it does, or a checksum in it does not match.
        UnsupportedType: it is not laid out as its type is.
    """
    walk = _WALKS.get(content_type)
    if walk is None:
        return
    file = _File(content_type, data, size)
    try:
        yield from walk(file)
    except _HeadEnded:
        return


class _HeadEnded(Exception):
    """The bytes at hand are read, and the file goes on."""


class _File:
    """A file that is read from front to back, and refuses to be read past its end, or in steps without number.

    A GIF takes two steps for every 256 bytes, which is more than the other formats do, and some for every frame. A hostile file of the same
    size could ask for a hundred times as many, and seconds of CPU.
    """

    __slots__ = ("at", "content_type", "data", "size", "steps")

    def __init__(self, content_type: str, data: bytes, size: int) -> None:
        self.content_type = content_type
        self.data = data
        self.size = size
        self.at = 0
        self.steps = 100_000 + size // 32

    def skip(self, count: int) -> None:
        self.at += count
        self.steps -= 1
        if self.at > self.size:
            raise self.cut_off()
        if self.steps < 0:
            raise self.malformed("is made of too many parts")

    def take(self, count: int) -> bytes:
        begin = self.at
        self.skip(count)
        if self.at > len(self.data):
            raise _HeadEnded
        return self.data[begin : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count))

    def picture(self, width: int, height: int) -> Picture:
        if not width or not height:
            raise self.malformed("has a picture without pixels")
        return Picture(width, height)

    def cut_off(self) -> InvalidRequest:
        return InvalidRequest(f"the {self.content_type} is cut off: its end is missing; send the whole file")

    def malformed(self, how: str) -> UnsupportedType:
        return UnsupportedType(f"the bytes begin as {self.content_type} but the file {how}: save the image anew and send that")


def _png(file: _File) -> Iterator[Picture]:
    view = memoryview(file.data)
    file.skip(8)
    canvas = None
    pixels = False
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", file.take(8))
        if (kind == b"IHDR") != (canvas is None):
            raise file.malformed("does not begin with its one header")
        begin = file.at
        if canvas is None:
            canvas = file.picture(file.number(4), file.number(4))
            yield canvas
        elif kind == b"fcTL":
            yield canvas  # however small its own rectangle, a frame is composed onto the canvas
        pixels = pixels or (kind == b"IDAT" and length > 0)
        file.at = begin
        file.skip(length)
        if file.number(4) != zlib.crc32(view[begin - 4 : begin + length]):
            raise InvalidRequest("the image/png is damaged: a checksum in it does not match; send it again")
    if not pixels:
        raise file.malformed("holds no picture")


_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: what browsers show
_JPEG_REFUSED = {
    *range(0xC0),
    0xC3,
    0xC5,
    0xC6,
    0xC7,
    0xC9,
    0xCA,
    0xCB,
    0xCD,
    0xCE,
    0xCF,
    *range(0xD0, 0xD9),
}  # other frames; what has no place here
_JPEG_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # within a scan 0xFF is followed by 0 or is a restart marker


def _jpeg(file: _File) -> Iterator[Picture]:
    file.skip(2)
    canvas = None
    scanned = False
    while True:
        if file.number(1) != 0xFF:
            raise file.malformed("is no sequence of segments")
        while (marker := file.number(1)) == 0xFF:
            pass  # any marker may be preceded by fill bytes
        if marker == 0xD9:
            break
        length = file.number(2)
        if length < 2 or marker in _JPEG_REFUSED:
            raise file.malformed("holds what no browser shows")
        if marker in _JPEG_FRAMES:
            if canvas is not None or length < 8:
                raise file.malformed("does not have one frame")
            height, width = struct.unpack(">xHH", file.take(5))
            canvas = file.picture(width, height)
            yield canvas
            length -= 5
        file.skip(length - 2)
        if marker == 0xDA:
            if canvas is None:
                raise file.malformed("has pixels before its dimensions")
            scanned = True
            following = _JPEG_AFTER_SCAN.search(file.data, file.at)
            file.at = following.start() if following else len(file.data)
    if not scanned:
        raise file.malformed("holds no picture")


def _gif(file: _File) -> Iterator[Picture]:
    file.skip(6)
    width, height, flags = struct.unpack("<HHB2x", file.take(7))
    file.skip(_gif_colors(flags))
    shown = False
    canvas = file.picture(width, height)
    yield canvas
    while (block := file.number(1)) != 0x3B:
        if block == 0x2C:
            left, top, width, height, flags = struct.unpack("<HHHHB", file.take(9))
            # a frame that reaches over the edge makes decoders enlarge the canvas
            canvas = file.picture(max(canvas.width, left + width), max(canvas.height, top + height))
            yield canvas
            file.skip(_gif_colors(flags) + 1)
            shown = True
        elif block == 0x21:
            file.skip(1)
        else:
            raise file.malformed("is no sequence of blocks")
        while length := file.number(1):
            file.skip(length)
    if not shown:
        raise file.malformed("holds no picture")


def _gif_colors(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(file: _File) -> Iterator[Picture]:
    (length,) = struct.unpack("<4xI4x", file.take(12))
    end = length + 8
    file.skip(end - file.at)
    file.at = 12
    canvas = frame = None
    shown = False
    while end - file.at >= 8:
        kind, length = struct.unpack("<4sI", file.take(8))
        begin = file.at
        if begin + length > end:
            raise file.malformed("has a chunk larger than itself")
        if kind == b"VP8X" and canvas is None:
            fields = file.take(10)
            frame = canvas = file.picture(1 + int.from_bytes(fields[4:7], "little"), 1 + int.from_bytes(fields[7:10], "little"))
            yield canvas
        elif kind == b"ANMF" and canvas is not None:
            fields = file.take(16)
            frame = file.picture(1 + int.from_bytes(fields[6:9], "little"), 1 + int.from_bytes(fields[9:12], "little"))
            if frame.width > canvas.width or frame.height > canvas.height:
                raise file.malformed("has a frame larger than its canvas")
            yield canvas
            length = 16  # what it holds are chunks again
        elif kind in (b"VP8 ", b"VP8L"):
            picture = _webp_bitstream(file, kind, length)
            if frame is None:
                frame = canvas = picture
                yield canvas
            elif picture != frame:
                raise file.malformed("holds a picture of other dimensions than it says")
            shown = True
        elif canvas is None:
            raise file.malformed("does not begin with its picture")
        file.at = min(begin + length + length % 2, end)
    if not shown:
        raise file.malformed("holds no picture")


def _webp_bitstream(file: _File, kind: bytes, length: int) -> Picture:
    if kind == b"VP8L":
        mark, bits = struct.unpack("<BI", file.take(5))
        if mark == 0x2F:
            return file.picture((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    else:
        tag, start, width, height = struct.unpack("<3s3sHH", file.take(10))
        partition = int.from_bytes(tag, "little") >> 5
        if not tag[0] & 1 and start == b"\x9d\x01\x2a" and partition <= length - 10:
            return file.picture(width & 0x3FFF, height & 0x3FFF)
    raise file.malformed("holds no picture")


# Only these are opened, and only in these places: so the depth is bounded. `meta` begins with four bytes of version and flags.
_OPENED = {b"": {b"meta": 4}, b"meta": {b"iprp": 0}, b"iprp": {b"ipco": 0}}


def _boxes(file: _File, end: int, parent: bytes = b"") -> Iterator[tuple[bytes, int]]:
    """Yields each box's kind and end, with `file` at its content; boxes without content of their own are gone into."""
    while file.at < end:
        begin = file.at
        length, kind = struct.unpack(">I4s", file.take(8))
        if length == 1:
            length = file.number(8)
        stop = begin + length
        if length < file.at - begin:  # 0 would be "to the end of the file": then a cut could not be told
            raise file.malformed("has a box without a length")
        if stop > end and parent:
            raise file.malformed("has a box larger than the one around it")
        inside = file.at
        file.skip(length - (inside - begin))
        file.at = inside
        yield kind, stop
        if kind in _OPENED.get(parent, {}):
            file.at = inside + _OPENED[parent][kind]
            yield from _boxes(file, stop, kind)
        file.at = stop


def _heif(file: _File) -> Iterator[Picture]:
    found = set()
    for kind, stop in _boxes(file, file.size):
        found.add(kind)
        if kind == b"ispe":
            file.skip(4)
            yield file.picture(file.number(4), file.number(4))
        elif kind == b"iloc":
            table = file.take(stop - file.at)
            _check_extents(_File(file.content_type, table, len(table)), file)
    if not found >= {b"ispe", b"iloc"}:
        raise file.malformed("holds no picture")


def _check_extents(table: _File, file: _File) -> None:
    """Refuses a file that ends before the last byte its table of items points to: one that was cut between two boxes."""
    version = table.number(4) >> 24
    widths = table.number(2)
    offset_width, length_width, base_width, index_width = (widths >> shift & 15 for shift in (12, 8, 4, 0))
    if version > 2 or not length_width:  # without lengths a table of a few bytes could ask for billions of steps
        raise file.malformed("has no readable table of items")
    for _ in range(table.number(4 if version == 2 else 2)):
        table.skip(4 if version == 2 else 2)
        method = table.number(2) & 15 if version else 0
        table.skip(2)
        base = table.number(base_width)
        for _ in range(table.number(2)):
            table.skip(index_width if version else 0)
            end = base + table.number(offset_width) + table.number(length_width)
            if method == 0 and end > file.size:
                raise file.cut_off()


def _mp4(file: _File) -> Iterator[Picture]:
    found = {kind for kind, _ in _boxes(file, file.size)}
    if b"moov" not in found or not found & {b"mdat", b"moof"}:
        raise InvalidRequest("the video/mp4 is cut off: it lacks its index or its media; send the whole file")
    yield from ()


_WALKS: dict[str, Callable[[_File], Iterator[Picture]]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/heic": _heif,
    "image/avif": _heif,
    "video/mp4": _mp4,
}
