from __future__ import annotations

import contextlib
import io
import struct
import time
import zipfile
import zlib
from collections.abc import Callable

import pytest
from PIL import Image, PngImagePlugin

from stocktake import checks
from stocktake.checks import Rules
from stocktake.errors import InvalidRequest, TooLarge, UnsupportedType
from stocktake.storage.rules import needs_attachment

LIMIT = 1_000_000


def an_image(form: str, size: tuple[int, int] = (8, 8), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 80, 40)).save(buffer, form, **options)
    return buffer.getvalue()


def a_png_that_says(text: str) -> bytes:
    """A real image with the text in its metadata, as generators write their prompts."""
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    return an_image("PNG", pnginfo=info)


def a_png_of(width: int, height: int) -> bytes:
    """A sound PNG of a few bytes that claims any dimensions."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def an_animation(width: int, height: int, frames: int) -> bytes:
    """A GIF whose frames are one pixel each, on a canvas of any size."""
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * frames + b"\x3b"


@pytest.mark.parametrize(
    ("form", "content_type", "extension"),
    [
        ("PNG", "image/png", "png"),
        ("JPEG", "image/jpeg", "jpg"),
        ("WEBP", "image/webp", "webp"),
        ("GIF", "image/gif", "gif"),
        ("AVIF", "image/avif", "avif"),
    ],
)
def test_type_and_dimensions_are_read_from_the_bytes(form: str, content_type: str, extension: str) -> None:
    assert checks.inspect(an_image(form, (24, 16)), None, max_bytes=LIMIT) == checks.Inspected(content_type, extension, 24, 16)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\x1aE\xdf\xa3\x42\x82\x84webm" + bytes(20), "video/webm"),
        (b"ID3\x04" + bytes(20), "audio/mpeg"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(20), "audio/x-wav"),
        (b"OggS" + bytes(20), "audio/ogg"),
    ],
)
def test_webm_and_audio_are_sniffed_and_have_no_dimensions(body: bytes, content_type: str) -> None:
    assert checks.inspect(body, None, max_bytes=LIMIT) == checks.Inspected(content_type, checks.ALLOWED[content_type], None, None)


def test_an_svg_is_taken_with_its_declared_type() -> None:
    body = b"\xef\xbb\xbf\n <svg xmlns='http://www.w3.org/2000/svg'><path d='M0 0h9'/></svg>"
    assert checks.inspect(body, "image/svg+xml", max_bytes=LIMIT) == checks.Inspected("image/svg+xml", "svg", None, None)


@pytest.mark.parametrize("declared", [None, "", "image/png", "IMAGE/PNG; charset=binary", "application/octet-stream", "image/apng"])
def test_a_declared_type_that_agrees_or_says_nothing_is_taken(declared: str | None) -> None:
    assert checks.inspect(an_image("PNG"), declared, max_bytes=LIMIT).content_type == "image/png"


def test_an_alias_of_the_type_is_the_type() -> None:
    assert checks.inspect(an_image("JPEG"), "image/jpg", max_bytes=LIMIT).content_type == "image/jpeg"


def test_a_declared_type_that_the_bytes_deny_is_refused() -> None:
    with pytest.raises(UnsupportedType, match=r"says image/jpeg and the bytes are image/png"):
        checks.inspect(an_image("PNG"), "image/jpeg", max_bytes=LIMIT)


def test_an_svg_declared_as_another_image_is_refused() -> None:
    with pytest.raises(UnsupportedType, match=r"says image/png and the bytes are image/svg\+xml"):
        checks.inspect(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png", max_bytes=LIMIT)


def test_a_type_that_the_rules_leave_out_is_refused_and_told_what_is_taken() -> None:
    rules = Rules(allowed=frozenset({"image/png", "image/webp"}))
    assert checks.inspect(an_image("PNG"), None, max_bytes=LIMIT, rules=rules).content_type == "image/png"
    with pytest.raises(UnsupportedType, match=r"are image/jpeg: send one of image/png, image/webp$"):
        checks.inspect(an_image("JPEG"), None, max_bytes=LIMIT, rules=rules)


@pytest.mark.parametrize(
    "body",
    [
        b"<html></html>",
        b"   \n<!DOCTYPE html>",
        b"\xef\xbb\xbf \t\r\n<!doctype HTML><script>alert(1)</script>",
        "<html><script>alert(1)</script>".encode("utf-16"),
        b"\x0c<!-- a comment --><body onload=alert(1)>",
        b"hello",
        b'{"image": "data"}',
        b"%PDF-1.7 and more",
        b"PK\x03\x04" + bytes(40),
        b"MZ" + bytes(70),
    ],
)
@pytest.mark.parametrize("declared", ["image/png", None])
def test_text_markup_and_foreign_types_are_refused(body: bytes, declared: str | None) -> None:
    with pytest.raises(UnsupportedType):
        checks.inspect(body, declared, max_bytes=LIMIT)


@pytest.mark.parametrize(
    "magic", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x30\0\0\0WEBPVP8 ", b"\0\0\0\x10ftypavif\0\0\0\0"]
)
def test_text_behind_the_first_bytes_of_an_image_is_refused(magic: bytes) -> None:
    with pytest.raises(InvalidRequest):
        checks.inspect(magic + b"nothing but a text, and no image at all, however it begins", None, max_bytes=LIMIT)


@pytest.mark.parametrize(
    "markup",
    [
        b"<script>alert(1)</script>",
        b"<SCRIPT src=//x>",
        b"<!DOCTYPE html>",
        b"<HtMl\n>",
        b"<iframe/src=x>",
        b"<svg/onload=alert(1)>",
        b"<svg xmlns='http://www.w3.org/2000/svg'>",
        b"<img src=x onerror=alert(1)>",
        b"<p class='\xe9' onmouseover = alert(1)>",
        b"<a href=' javascript:alert(1)'>",
        b"<b oncut=alert(1)>",
        b"<set onend = alert(1)>",
        b"<meta http-equiv=refresh content='0;url=//x'>",
        b"<META content='0;url=//x'/http-equiv=refresh>",
        b"<link rel=stylesheet href=//x>",
        b"<base target=_top href = '//x'>",
        b"<form method=post action=//x>",
        b"<?php system('id');",
        "<script>alert(1)</script>".encode("utf-16-le"),
        "<script>alert(1)</script>".encode("utf-16-be"),
    ],
)
def test_an_image_that_is_a_page_as_well_is_refused(markup: bytes) -> None:
    with pytest.raises(UnsupportedType, match="markup"):
        checks.inspect(b"GIF89a/*" + markup + b"*/=0;", "image/gif", max_bytes=LIMIT)


def test_markup_in_the_metadata_of_a_sound_image_is_refused() -> None:
    with pytest.raises(UnsupportedType, match="markup"):
        checks.inspect(a_png_that_says("x" * 60_000 + "<script>alert(1)</script>"), None, max_bytes=LIMIT)


@pytest.mark.parametrize(
    "text",
    [
        "masterpiece, <lora:detail:0.8>, a <b>bold</b> sky, 3 < 4 > 2, (body:1.2), head on = yes",
        "<base>, <link to a page>, <meta: rel = 3>, <form follows function>, <metadata rel='x'>, <b one=1 on=2>",
        '{"prompt": "a page of html, with script and an iframe drawn on it", "onset = 4": "<p>", "class_type": "KSampler"}',
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
        'rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt><rdf:li xml:lang="x-default">a</rdf:li></rdf:Alt>'
        '</dc:title></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>',
        '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN"><plist version="1.0"><dict/></plist>',
    ],
)
def test_metadata_that_only_mentions_markup_is_taken(text: str) -> None:
    for body in (a_png_that_says(text), an_image("JPEG", comment=text.encode()), an_image("WEBP", xmp=text.encode())):
        checks.inspect(body, None, max_bytes=LIMIT)


@pytest.mark.parametrize(
    "begins",
    [
        "<",
        "<!doctype",
        "<html",
        "<?php",
        "<svg",
        "<img ",
        "<a ",
        "<a onload",
        "<a onload=",
        "<a href",
        "<a href=",
        "<a src='",
        '<a x="',
        "<meta ",
        "<form rel",
    ],
)
def test_the_search_for_markup_takes_no_longer_for_text_made_to_slow_it_down(begins: str) -> None:
    for again in (" ", "\n", "/", "'", "a", "=", "<", "<a ", "<a href=", " onload ", " href= ", " href=' "):
        image = a_png_that_says(begins + again * (65_000 // len(again)))
        before = time.process_time()
        with contextlib.suppress(UnsupportedType):  # some of them do come to hold markup
            checks.inspect(image, None, max_bytes=LIMIT)
        assert time.process_time() - before < 2  # seconds: some 10 ms, and 18 s for what once slowed it down


def test_an_image_that_is_a_pdf_as_well_is_refused() -> None:
    with pytest.raises(UnsupportedType, match="PDF"):
        checks.inspect(a_png_that_says("%PDF-1.4"), None, max_bytes=LIMIT)


def test_short_tags_that_do_not_go_on_in_text_are_chance() -> None:
    checks.inspect(an_image("JPEG", comment=b"\x07<svg \xe1\x9c\x01\x88 <ImG/\xff\xfe\x90\x03"), None, max_bytes=LIMIT)


def test_what_is_looked_for_at_the_beginning_may_stand_later() -> None:
    checks.inspect(a_png_that_says("x" * 1024 + "%PDF-1.4"), None, max_bytes=LIMIT)
    checks.inspect(an_image("PNG") + bytes(checks.HEAD_BYTES) + b"<script>", None, max_bytes=LIMIT)


def a_zip(files: int = 1, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(files):
            archive.writestr(f"{number}.class", b"code")
        archive.comment = comment
    return buffer.getvalue()


def joined_by_zipfile(image: bytes) -> bytes:
    buffer = io.BytesIO(image)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("a.class", b"code")
    return buffer.getvalue()


def as_zip64(image: bytes) -> bytes:
    body = a_zip()
    directory, end = body.index(b"PK\x01\x02"), len(body) - 22
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, end - directory, directory)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    return image + body[:end] + record + locator + b"PK\5\6" + b"\xff" * 16 + b"\0\0"


@pytest.mark.parametrize(
    "join",
    [
        lambda image: image + a_zip(),
        lambda image: image + a_zip(3, comment=b"x" * 65_535),
        lambda image: image + a_zip(1, comment=b"PK\5\6 in the comment, and enough after it to look like a record"),
        joined_by_zipfile,
        as_zip64,
    ],
    ids=["appended", "long comment", "a second signature", "offsets of the whole", "zip64"],
)
def test_an_image_with_a_zip_at_its_end_is_refused(join: Callable[[bytes], bytes]) -> None:
    body = join(an_image("PNG"))
    assert zipfile.is_zipfile(io.BytesIO(body))
    with pytest.raises(UnsupportedType, match="ZIP"):
        checks.inspect(body, None, max_bytes=LIMIT)


def test_an_image_with_a_zip_whose_directory_lies_where_its_end_says_is_refused() -> None:
    body = joined_by_zipfile(an_image("PNG"))
    with pytest.raises(UnsupportedType, match="ZIP"):
        checks.inspect(body[:-22] + b"a gap" + body[-22:], None, max_bytes=LIMIT)


def test_of_a_head_the_last_bytes_are_not_taken_for_the_end_of_the_object() -> None:
    body = an_image("PNG") + a_zip()
    assert checks.inspect_head(body, None, size=len(body) + 100_000).content_type == "image/png"


@pytest.mark.parametrize("tail", [b"PK\5\6", b"PK\5\6" + bytes(18), b"PK\5\6" + b"\xff" * 16 + b"\0\0", b"a" * 99])
def test_bytes_behind_an_image_that_no_unpacker_reads_are_taken(tail: bytes) -> None:
    checks.inspect(an_image("PNG") + tail, None, max_bytes=LIMIT)


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        checks.inspect(b"", "image/png", max_bytes=LIMIT)


def test_a_body_over_the_limit_is_refused_and_told_the_limit_and_the_other_way() -> None:
    body = an_image("PNG")
    checks.inspect(body, None, max_bytes=len(body))
    with pytest.raises(TooLarge, match=rf"takes {len(body) - 1}: use a presigned upload: POST /projects/{{project_id}}/uploads$"):
        checks.inspect(body, None, max_bytes=len(body) - 1)


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (20_001, 1), (1, 20_001), (10_000, 5_001), (2**31 - 1, 2**31 - 1)])
def test_dimensions_over_the_limits_are_refused(width: int, height: int) -> None:
    with pytest.raises(TooLarge, match=f"{width}x{height} pixels: make it smaller, at most 20000 a side and 50000000"):
        checks.inspect(a_png_of(width, height), None, max_bytes=LIMIT)


def test_dimensions_at_the_limits_are_taken() -> None:
    assert checks.inspect(a_png_of(20_000, 2_500), None, max_bytes=LIMIT).width == 20_000


def test_the_dimensions_are_those_of_the_largest_picture() -> None:
    body = an_image("GIF", (8, 8))
    at = body.index(b"\x2c\0\0\0\0") + 5
    inspected = checks.inspect(body[:at] + struct.pack("<HH", 30, 20) + body[at + 4 :], None, max_bytes=LIMIT)
    assert (inspected.width, inspected.height) == (30, 20)


def test_the_frames_of_an_animation_are_limited_together() -> None:
    assert checks.inspect(an_animation(1000, 1000, 999), None, max_bytes=LIMIT).height == 1000
    with pytest.raises(TooLarge, match="animation"):
        checks.inspect(an_animation(1000, 1000, 1000), None, max_bytes=LIMIT)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_of_a_head_type_and_dimensions_are_read(form: str) -> None:
    body = an_image(form, (600, 400), **({"lossless": True} if form == "WEBP" else {}))
    inspected = checks.inspect_head(body[:800], None, size=len(body) + 1_000_000 * (form != "WEBP"))
    assert (inspected.width, inspected.height) == (600, 400)


def test_of_an_avif_the_head_is_enough() -> None:
    noise = Image.effect_noise((256, 256), 90).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "AVIF", quality=90)
    body = buffer.getvalue()
    assert checks.inspect_head(body[:600], "image/avif", size=len(body)) == checks.Inspected("image/avif", "avif", 256, 256)


def test_a_head_is_refused_for_what_it_shows() -> None:
    with pytest.raises(TooLarge):
        checks.inspect_head(a_png_of(50_000, 50_000)[:50], None, size=90_000_000)
    with pytest.raises(UnsupportedType, match="markup"):
        checks.inspect_head(a_png_that_says("<script>")[:200], None, size=90_000_000)
    with pytest.raises(UnsupportedType, match="says image/gif"):
        checks.inspect_head(an_image("PNG")[:60], "image/gif", size=90_000_000)


def test_a_webp_whose_object_is_smaller_than_it_says_is_refused_by_its_head() -> None:
    body = an_image("WEBP", (64, 64))
    with pytest.raises(InvalidRequest, match="cut off"):
        checks.inspect_head(body[:40], None, size=len(body) - 1)


def test_a_head_without_dimensions_is_refused_and_says_so() -> None:
    body = an_image("JPEG", exif=b"Exif\0\0" + bytes(60_000))
    assert checks.inspect(body, None, max_bytes=LIMIT).width == 8
    with pytest.raises(UnsupportedType, match="not in its first 5000 bytes: save it with less metadata"):
        checks.inspect_head(body[:5000], None, size=len(body))


def test_a_head_that_is_the_whole_is_inspected_whole() -> None:
    body = an_image("PNG")[:-1]
    with pytest.raises(InvalidRequest, match="cut off"):
        checks.inspect_head(body, None, size=len(body))


def test_an_svg_larger_than_the_head_is_refused() -> None:
    with pytest.raises(UnsupportedType, match="read whole"):
        checks.inspect_head(b"<svg xmlns='http://www.w3.org/2000/svg'>", None, size=90_000)


@pytest.mark.parametrize(
    ("content_type", "attachment"),
    [
        ("image/png", False),
        ("image/jpeg", False),
        ("image/webp", False),
        ("image/gif", False),
        ("image/avif", False),
        ("image/heic", True),
        ("image/svg+xml", True),
        ("video/mp4", True),
        ("text/html", True),
        ("", True),
        (None, True),
    ],
)
def test_what_could_run_or_is_not_known_is_an_attachment(content_type: str | None, attachment: bool) -> None:
    assert needs_attachment(content_type) is attachment


def test_no_message_repeats_what_was_sent() -> None:
    for body in (b"GIF89a<script>secret()</script>", b"<svg secret='1'", b"<secret/>", a_png_that_says("<script>secret()")):
        with pytest.raises(InvalidRequest) as refused:
            checks.inspect(body, None, max_bytes=LIMIT)
        assert "secret" not in str(refused.value)
