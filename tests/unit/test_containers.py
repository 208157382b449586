"""Files are made by Pillow, or by hand where it cannot make them, and then cut, damaged or made to lie."""

from __future__ import annotations

import io
import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stocktake.containers import pictures
from stocktake.errors import InvalidRequest, UnsupportedType

TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp", "AVIF": "image/avif"}


def a_picture(number: int = 0, size: tuple[int, int] = (16, 12), mode: str = "RGB") -> Image.Image:
    dice = random.Random(number)
    return Image.frombytes("RGB", size, dice.randbytes(size[0] * size[1] * 3)).convert(mode)


def encoded(form: str, frames: int = 1, size: tuple[int, int] = (16, 12), mode: str = "RGB", **options: object) -> bytes:
    first, *others = (a_picture(number, size, mode) for number in range(frames))
    buffer = io.BytesIO()
    first.save(buffer, form, **({"save_all": True, "append_images": others} if others else {}), **options)
    return buffer.getvalue()


def a_box(kind: bytes, *content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


def a_heic(width: int = 640, height: int = 480, *, media: bytes = b"m" * 50, extent: int | None = None) -> bytes:
    """As phones write it: one item, its dimensions in `ispe`, its bytes in the last box, where `iloc` points to."""

    def meta(offset: int) -> bytes:
        location = struct.pack(">IHH", 0, 0x4400, 1) + struct.pack(">HHH", 1, 0, 1) + struct.pack(">II", offset, extent or len(media))
        shape = a_box(b"ipco", a_box(b"ispe", struct.pack(">III", 0, width, height)))
        return a_box(b"meta", bytes(4), a_box(b"hdlr", bytes(20)), a_box(b"iloc", location), a_box(b"iprp", shape))

    kind = a_box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    return kind + meta(len(kind) + len(meta(0)) + 8) + a_box(b"mdat", media)


def an_mp4(*, index_first: bool = True, fragments: int = 0) -> bytes:
    index = a_box(b"moov", a_box(b"mvhd", bytes(30)))
    media = [a_box(b"moof", bytes(9)) + a_box(b"mdat", bytes(40)) for _ in range(fragments)] or [a_box(b"mdat", bytes(40))]
    return a_box(b"ftyp", b"isom", bytes(4), b"isommp42") + b"".join([index, *media] if index_first else [*media, index])


WHOLE = {
    "PNG": encoded("PNG"),
    "PNG interlaced palette": encoded("PNG", mode="P"),
    "PNG animated": encoded("PNG", 3),
    "JPEG": encoded("JPEG"),
    "JPEG progressive": encoded("JPEG", progressive=True),
    "JPEG gray with restarts": encoded("JPEG", mode="L", restart_marker_blocks=1),
    "JPEG with a thumbnail": encoded("JPEG", exif=b"Exif\0\0" + encoded("JPEG", size=(4, 4))),
    "GIF": encoded("GIF"),
    "GIF animated": encoded("GIF", 3, comment=b"a comment"),
    "WEBP": encoded("WEBP"),
    "WEBP lossless": encoded("WEBP", lossless=True),
    "WEBP with alpha": encoded("WEBP", mode="RGBA", exif=b"Exif\0\0odd"),
    "WEBP animated": encoded("WEBP", 3),
    "AVIF": encoded("AVIF"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_image_has_its_dimensions(name: str) -> None:
    body = WHOLE[name]
    found = list(pictures(TYPES[name.split()[0]], body, len(body)))
    assert set(found) == {(16, 12)}
    assert len(found) >= (3 if "animated" in name else 1)


@pytest.mark.parametrize("name", WHOLE)
def test_an_image_cut_off_at_any_byte_is_refused(name: str) -> None:
    body = WHOLE[name]
    for length in range(12, len(body)):
        with pytest.raises(InvalidRequest):
            list(pictures(TYPES[name.split()[0]], body[:length], length))


@pytest.mark.parametrize("name", WHOLE)
def test_an_image_cut_off_within_its_pixels_is_called_so(name: str) -> None:
    body = WHOLE[name]
    with pytest.raises(InvalidRequest, match="cut off: its end is missing; send the whole file"):
        list(pictures(TYPES[name.split()[0]], body[:-3], len(body) - 3))


@given(
    form=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    mode=st.sampled_from(["L", "RGB"]),
    frames=st.integers(1, 3),
    cut=st.floats(0, 1, exclude_max=True),
)
@settings(deadline=None, max_examples=60)
def test_images_of_all_sizes_are_taken_whole_and_refused_cut(form: str, size: tuple[int, int], mode: str, frames: int, cut: float) -> None:
    body = encoded(form, frames if form != "JPEG" else 1, size, mode)
    assert set(pictures(TYPES[form], body, len(body))) == {size}
    length = 12 + int(cut * (len(body) - 12))
    with pytest.raises(InvalidRequest):
        list(pictures(TYPES[form], body[:length], length))


@pytest.mark.parametrize("body", [a_heic(), an_mp4(), an_mp4(index_first=False)], ids=["heic", "mp4", "mp4, index last"])
def test_a_heic_or_mp4_cut_off_at_any_byte_is_refused(body: bytes) -> None:
    content_type = "image/heic" if b"heic" in body else "video/mp4"
    list(pictures(content_type, body, len(body)))
    for length in range(12, len(body)):
        with pytest.raises(InvalidRequest, match=r"cut off|holds no picture"):
            list(pictures(content_type, body[:length], length))


def test_an_mp4_of_fragments_is_taken() -> None:
    body = an_mp4(fragments=3)
    assert list(pictures("video/mp4", body, len(body))) == []


def test_a_heic_has_its_dimensions() -> None:
    body = a_heic(4032, 3024)
    assert list(pictures("image/heic", body, len(body))) == [(4032, 3024)]


def test_a_heic_whose_items_lie_past_its_end_is_refused() -> None:
    body = a_heic(extent=51)
    with pytest.raises(InvalidRequest, match="cut off"):
        list(pictures("image/heic", body, len(body)))


def test_items_of_a_heic_that_lie_in_its_own_table_are_not_looked_for_in_the_file() -> None:
    location = struct.pack(">IHHHHHHII", 1 << 24, 0x4400, 1, 7, 1, 0, 1, 9999, 9)
    shape = a_box(b"iprp", a_box(b"ipco", a_box(b"ispe", struct.pack(">III", 0, 8, 9))))
    body = a_box(b"ftyp", b"heic", bytes(4)) + a_box(b"meta", bytes(4), a_box(b"iloc", location), shape)
    assert list(pictures("image/heic", body, len(body))) == [(8, 9)]


def test_chunks_of_odd_length_are_padded() -> None:
    body = a_riff(CANVAS[:12] + bytes([15, 0, 0, 11, 0, 0]), b"ICCP\3\0\0\0abc\0", VP8)
    assert set(pictures("image/webp", body, len(body))) == {(16, 12)}


def test_a_box_may_have_a_long_length_but_not_none() -> None:
    body = an_mp4()
    at = body.index(b"mdat") - 4
    long = body[:at] + struct.pack(">I4sQ", 1, b"mdat", 56) + body[at + 8 :]
    assert list(pictures("video/mp4", long, len(long))) == []
    open_ended = body[:at] + struct.pack(">I4s", 0, b"mdat") + body[at + 8 :]
    with pytest.raises(UnsupportedType, match="without a length"):
        list(pictures("video/mp4", open_ended, len(open_ended)))


@pytest.mark.parametrize("name", WHOLE)
def test_what_follows_the_end_of_an_image_is_not_looked_at(name: str) -> None:
    body = WHOLE[name] + (a_box(b"free", bytes(9)) if name == "AVIF" else b"the video of a motion photo")
    list(pictures(TYPES[name.split()[0]], body, len(body)))


@pytest.mark.parametrize("name", WHOLE)
def test_of_the_first_bytes_the_walk_ends_quietly_where_they_end(name: str) -> None:
    body = WHOLE[name]
    for length in range(12, len(body)):
        assert set(pictures(TYPES[name.split()[0]], body[:length], len(body))) <= {(16, 12)}


@pytest.mark.parametrize("name", ["PNG", "PNG animated"])
def test_a_png_with_any_byte_damaged_is_refused(name: str) -> None:
    body = WHOLE[name]
    for at in range(8, len(body)):
        damaged = body[:at] + bytes([body[at] ^ 0x21]) + body[at + 1 :]
        with pytest.raises(InvalidRequest):
            list(pictures("image/png", damaged, len(damaged)))


def a_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG, HEADER = b"\x89PNG\r\n\x1a\n", a_chunk(b"IHDR", struct.pack(">II5B", 4, 4, 8, 0, 0, 0, 0))
VP8, CANVAS = encoded("WEBP")[12:], b"VP8X" + struct.pack("<II", 10, 2) + bytes([9, 0, 0, 9, 0, 0])


def a_riff(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def a_webp_frame(width: int, height: int, bitstream: bytes) -> bytes:
    shape = bytes(6) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + bytes(4)
    return b"ANMF" + struct.pack("<I", 16 + len(bitstream)) + shape + bitstream


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        ("image/png", PNG + a_chunk(b"IDAT", b"x") + HEADER + a_chunk(b"IEND"), "one header"),
        ("image/png", PNG + HEADER + HEADER + a_chunk(b"IDAT", b"x") + a_chunk(b"IEND"), "one header"),
        ("image/png", PNG + HEADER + a_chunk(b"IDAT") + a_chunk(b"IEND"), "no picture"),
        ("image/png", PNG + a_chunk(b"IHDR", bytes(13)) + a_chunk(b"IDAT", b"x") + a_chunk(b"IEND"), "without pixels"),
        ("image/jpeg", b"\xff\xd8\xff\xd9", "no picture"),
        ("image/jpeg", b"\xff\xd8 text", "no sequence"),
        ("image/jpeg", b"\xff\xd8\xff\xda\0\2pixels\xff\xd9", "pixels before"),
        ("image/jpeg", WHOLE["JPEG"].replace(b"\xff\xc0", b"\xff\xc3"), "no browser"),
        ("image/jpeg", WHOLE["JPEG"].replace(b"\xff\xc0", b"\xff\xc0\0\x0b\x08\0\x04\0\x04\1\1\x11\0\xff\xc0"), "one frame"),
        ("image/jpeg", b"\xff\xd8\xff\xfe\0\1", "no browser"),
        ("image/jpeg", b"\xff\xd8\xff\xc0\0\x07\x08\0\4\0\4\xff\xda\0\2\xff\xd9", "one frame"),
        ("image/gif", b"GIF89a\4\0\4\0\0\0\0\x3b", "no picture"),
        ("image/gif", b"GIF89a\4\0\4\0\0\0\0 text", "no sequence"),
        ("image/webp", a_riff(b"text" + bytes(8)), "does not begin"),
        ("image/webp", a_riff(a_webp_frame(16, 12, VP8)), "does not begin"),
        ("image/webp", a_riff(CANVAS), "no picture"),
        ("image/webp", a_riff(b"VP8 \x0a\0\0\0" + bytes(10)), "no picture"),
        ("image/webp", a_riff(b"VP8L\x0a\0\0\0" + bytes(10)), "no picture"),
        ("image/webp", a_riff(b"VP8 \xff\0\0\0" + VP8[8:]), "larger than itself"),
        ("image/webp", a_riff(VP8[:-6]), "larger than itself"),
        ("image/webp", a_riff(VP8[:4] + struct.pack("<I", 12) + VP8[8:20]), "no picture"),
        ("image/webp", a_riff(VP8[:8] + bytes([VP8[8] | 1]) + VP8[9:]), "no picture"),
        ("image/webp", a_riff(CANVAS, VP8), "other dimensions"),
        ("image/webp", a_riff(CANVAS, a_webp_frame(16, 12, VP8)), "larger than its canvas"),
        ("image/webp", a_riff(CANVAS, a_webp_frame(4, 4, VP8)), "other dimensions"),
        ("image/avif", a_box(b"ftyp", b"avif", bytes(4)) + a_box(b"meta", bytes(4)), "no picture"),
        ("image/avif", a_box(b"ftyp", b"avif", bytes(4)) + a_box(b"meta", bytes(4), struct.pack(">I4s", 99, b"iprp")), "around it"),
        ("image/avif", a_box(b"meta", bytes(4), a_box(b"iprp", a_box(b"ipco", a_box(b"ispe", b"\0\0\0\1" * 3)))), "no picture"),
        ("image/avif", a_box(b"meta", bytes(4), a_box(b"iloc", b"\3\0\0\0\x44\0" + bytes(9))), "table of items"),
        ("image/avif", a_box(b"meta", bytes(4), a_box(b"iloc", bytes(4), b"\0\0", b"\xff\xff" * 2)), "table of items"),
        ("image/heic", a_heic(0, 5), "without pixels"),
    ],
)
def test_a_file_that_is_not_laid_out_as_its_type_is_refused(content_type: str, body: bytes, why: str) -> None:
    with pytest.raises(UnsupportedType, match=f"the bytes begin as {content_type} but .*{why}.*: save the image anew"):
        list(pictures(content_type, body, len(body)))


def test_a_gif_frame_that_reaches_over_the_edge_enlarges_the_canvas() -> None:
    body = bytearray(encoded("GIF"))
    at = body.index(b"\x2c\0\0\0\0")
    body[at + 5 : at + 9] = struct.pack("<HH", 65_535, 40_000)
    assert (65_535, 40_000) in list(pictures("image/gif", bytes(body), len(body)))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("image/jpeg", b"\xff\xd8" + b"\xff\xfe\0\2" * 100_000),
        ("image/gif", b"GIF89a\4\0\4\0\0\0\0\x21\xfe" + b"\1x" * 100_000),
        ("image/avif", a_box(b"meta", bytes(4), a_box(b"iloc", struct.pack(">IHHHHH", 0, 0x0100, 2, 1, 0, 65_535), bytes(99_999)))),
    ],
)
def test_a_file_of_parts_without_number_is_given_up(content_type: str, body: bytes) -> None:
    with pytest.raises(UnsupportedType, match="too many parts"):
        list(pictures(content_type, body, len(body)))


def test_a_long_animation_of_small_frames_is_walked_to_its_end() -> None:
    frame = b"\x21\xf9\4\0\0\0\0\0" + struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    body = b"GIF89a\4\0\4\0\0\0\0" + frame * 5000 + b"\x3b"
    assert len(list(pictures("image/gif", body, len(body)))) == 5001


def test_a_caller_that_stops_at_the_dimensions_never_reaches_the_rest() -> None:
    body = WHOLE["PNG"][:40]
    assert next(pictures("image/png", body, len(body))) == (16, 12)


def test_types_without_a_walk_yield_nothing() -> None:
    assert list(pictures("audio/mpeg", b"ID3", 3)) == []
