"""What is sent as key, metadata and file name, and a profile's stored form."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.errors import ConfigurationError
from stocktake.storage import Profile
from stocktake.storage.rules import check_key, composite_sha256, decode_metadata, disposition, encode_metadata, is_same_write
from tests.unit.storage.wire import ABLE

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
def test_every_value_survives_the_headers(value: str) -> None:
    sent = encode_metadata({"name": value})["name"]

    assert sent.isascii()
    assert sent.isprintable()
    assert sent == sent.strip() != ""
    assert "  " not in sent
    assert "=?" not in sent
    assert decode_metadata({"Name": sent}) == {"name": value}


@pytest.mark.parametrize("value", ["i-1", "a b", "2cf24dba", "utf-8", "=", "?="])
def test_a_plain_value_travels_as_it_is(value: str) -> None:
    assert encode_metadata({"name": value}) == {"name": value}


@pytest.mark.parametrize("value", ["=?UTF-8?B?Y2Fmw6k=?=", "a =?b", "utf-8''caf%C3%A9", "utf-8''"])
def test_a_value_that_could_be_taken_for_encoded_text_is_encoded(value: str) -> None:
    sent = encode_metadata({"name": value})

    assert "=?" not in sent["name"]
    assert sent["name"] != value
    assert decode_metadata(sent) == {"name": value}


@pytest.mark.parametrize("value", ["=?UTF-8?Q?caf=C3=A9?=", "utf-8'en'x", "utf-8''not encoded", "utf-8''%zz", "utf-8''%FF", "", "café"])
def test_what_others_wrote_is_left_alone(value: str) -> None:
    assert decode_metadata({"name": value}) == {"name": value}


@pytest.mark.parametrize("key", ["k", "x" * 1024, "é" * 512, "\x01", "a/../b"])
def test_a_key_of_up_to_1024_bytes_is_a_key(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("file_name", "plain", "exact"),
    [
        ("photo.png", "photo.png", "photo.png"),
        ("été 1.png", "_t_ 1.png", "%C3%A9t%C3%A9%201.png"),
        ('a"b\\c/d\r\nSet-Cookie: x', "a_b_c_d__Set-Cookie: x", "a_b_c_d__Set-Cookie%3A%20x"),
        ("100%41.png", "100_41.png", "100%2541.png"),
        ("a  b   c.png", "a b c.png", "a%20%20b%20%20%20c.png"),
        ("half\ud800.png", "half_.png", "half%3F.png"),
    ],
)
def test_a_file_name_cannot_leave_its_header_or_its_folder(file_name: str, plain: str, exact: str) -> None:
    assert disposition("attachment", file_name) == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"


@pytest.mark.parametrize("kind", ["inline", "attachment"])
def test_a_disposition_without_a_name_is_its_kind(kind: Literal["inline", "attachment"]) -> None:
    assert disposition(kind, None) == kind
    assert disposition(kind, "a").startswith(f"{kind}; ")


def test_the_checksum_of_parts_is_that_of_their_checksums() -> None:
    digests = [hashlib.sha256(body).digest() for body in (b"a", b"b")]

    assert composite_sha256([digest.hex() for digest in digests]) == hashlib.sha256(b"".join(digests)).hexdigest() + "-2"


@given(TEXT)
def test_any_file_name_makes_one_ascii_line(file_name: str) -> None:
    header = disposition("inline", file_name)

    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


def test_only_an_intent_tells_a_write_from_another() -> None:
    assert is_same_write({"intent": "a"}, {"intent": "a", "x": "y"})
    assert not is_same_write({"intent": "a"}, {"intent": "b"})
    assert not is_same_write({"intent": "a"}, {})
    assert not is_same_write({}, {})


def test_a_profile_comes_back_from_its_stored_form() -> None:
    assert Profile.from_dict(ABLE.as_dict()) == ABLE


@pytest.mark.parametrize("change", [{"versioning": 1}, {"unheard_of": True}, {"versioning": None}])
def test_a_profile_that_another_version_stored_is_not_guessed_at(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="probe the store again"):
        Profile.from_dict(ABLE.as_dict() | change)
    with pytest.raises(ConfigurationError):
        Profile.from_dict({"versioning": True})
