from __future__ import annotations

import io

import pytest
from PIL import Image

from stocktake import checks
from stocktake.errors import InvalidRequest, TooLarge, UnsupportedType

LIMIT = 1_000_000


def an_image(form: str, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 80, 40)).save(buffer, form)
    return buffer.getvalue()


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
def test_the_type_is_read_from_the_bytes(form: str, content_type: str, extension: str) -> None:
    assert checks.inspect(an_image(form), None, max_bytes=LIMIT) == checks.Inspected(content_type, extension)


@pytest.mark.parametrize("declared", [None, "", "image/png", "IMAGE/PNG; charset=binary", "application/octet-stream"])
def test_a_declared_type_that_agrees_or_says_nothing_is_taken(declared: str | None) -> None:
    assert checks.inspect(an_image("PNG"), declared, max_bytes=LIMIT).content_type == "image/png"


def test_an_alias_of_the_type_is_the_type() -> None:
    assert checks.inspect(an_image("JPEG"), "image/jpg", max_bytes=LIMIT).content_type == "image/jpeg"


def test_a_declared_type_that_the_bytes_deny_is_refused() -> None:
    with pytest.raises(UnsupportedType, match=r"says image/jpeg and the bytes are image/png"):
        checks.inspect(an_image("PNG"), "image/jpeg", max_bytes=LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        b"<html></html>",
        b"   \n<!DOCTYPE html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"hello",
        b"%PDF-1.7 and more",
        b"PK\x03\x04" + bytes(40),
    ],
)
def test_text_markup_and_foreign_types_are_refused(body: bytes) -> None:
    with pytest.raises(UnsupportedType):
        checks.inspect(body, "image/png", max_bytes=LIMIT)


def test_a_file_that_is_both_gif_and_page_is_refused() -> None:
    with pytest.raises(UnsupportedType, match="markup"):
        checks.inspect(b"GIF89a/*<script>alert(1)</script>*/=0;", "image/gif", max_bytes=LIMIT)


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        checks.inspect(b"", "image/png", max_bytes=LIMIT)


def test_a_body_over_the_limit_is_refused_and_told_the_limit() -> None:
    body = an_image("PNG")
    checks.inspect(body, None, max_bytes=len(body))
    with pytest.raises(TooLarge, match=str(len(body) - 1)):
        checks.inspect(body, None, max_bytes=len(body) - 1)
