from __future__ import annotations

import base64
import json
import string
import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocktake.errors import ConfigurationError, InvalidRequest, SealingError
from stocktake.sealing import DataKey, KeyRing, RingInSecret, Sealer

FIRST, SECOND = bytes(range(32)), bytes(range(100, 132))
METADATA = {"persona": "Ada", "prompt": "a secret face", "aspectRatio": "16:9", "seed": 7, "numberOfImages": 2}
SENSITIVE = ("seed", "prompt")
SUBJECT: dict[str, str] = {"project_id": "p1", "subject_id": "object-1"}


def a_ring(current: str = "k1") -> KeyRing:
    return KeyRing(current, {"k1": FIRST, "k2": SECOND})


def ring_text(current: Any = "k1", **keys: Any) -> str:
    return json.dumps({"current": current, "keys": keys})


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(a_ring())


def sealed_by(sealer: Sealer, metadata: dict[str, Any] = METADATA) -> tuple[dict[str, Any], str]:
    clear, sealed = sealer.seal(metadata, SENSITIVE, **SUBJECT)
    assert sealed is not None
    return clear, sealed


def test_sensitive_fields_leave_the_metadata_and_come_back_in_their_places(sealer: Sealer) -> None:
    clear, sealed = sealed_by(sealer)
    assert clear == {"persona": "Ada", "aspectRatio": "16:9", "numberOfImages": 2}
    assert json.dumps(sealer.open(clear, sealed, **SUBJECT)) == json.dumps(METADATA)


def test_no_value_of_a_sensitive_field_can_be_read_from_the_sealed_text(sealer: Sealer) -> None:
    _, sealed = sealed_by(sealer)
    for part in (sealed, *(base64.b64decode(json.loads(sealed)[name]).decode("latin-1") for name in ("nonce", "data"))):
        assert "secret" not in part


NAMES = st.text(string.ascii_letters + "é\ud800 ", max_size=3)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None, exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(metadata=st.dictionaries(NAMES, VALUES, max_size=6), data=st.data())
def test_whatever_is_sealed_comes_back_with_its_types_and_its_order(metadata: dict[str, Any], data: st.DataObject) -> None:
    sensitive = data.draw(st.lists(st.sampled_from(sorted(metadata)), unique=True)) if metadata else []
    sealer = Sealer(a_ring())
    clear, sealed = sealer.seal(metadata, sensitive, **SUBJECT)
    stored = json.loads(json.dumps(clear))  # as a record keeps it
    assert not clear.keys() & set(sensitive)
    assert sorted(Sealer.names(sealed)) == sorted(sensitive)
    assert repr(sealer.open(stored, sealed, **SUBJECT)) == repr(metadata)


def test_nothing_is_sealed_where_nothing_is_sensitive() -> None:
    for keys in (None, a_ring()):
        sealer = Sealer(keys, frozenset({"never sent"}))
        clear, sealed = sealer.seal(METADATA, (), **SUBJECT)
        assert (clear, sealed) == (METADATA, None)
        assert sealer.open(clear, sealed, **SUBJECT) == METADATA


def test_what_a_deployment_always_seals_is_sealed_without_being_asked() -> None:
    sealer = Sealer(a_ring(), frozenset({"prompt", "participant"}))
    clear, sealed = sealer.seal(METADATA, ("seed",), **SUBJECT)
    assert "prompt" not in clear
    assert Sealer.names(sealed) == ("prompt", "seed")


def test_the_names_of_what_is_sealed_are_read_without_a_key(sealer: Sealer) -> None:
    assert Sealer.names(sealed_by(sealer)[1]) == ("prompt", "seed")
    assert Sealer.names(None) == ()


def test_a_sensitive_field_that_was_not_sent_is_an_error_that_names_it(sealer: Sealer) -> None:
    with pytest.raises(InvalidRequest, match=r"not in the metadata: 'promt', 'session'$"):
        sealer.seal(METADATA, ("prompt", "session", "promt"), **SUBJECT)


@pytest.mark.parametrize(("sensitive", "always"), [(("prompt",), set()), ((), {"prompt"})], ids=["asked for", "always"])
def test_nothing_sensitive_is_taken_where_sealing_is_not_set_up(sensitive: tuple[str, ...], always: set[str]) -> None:
    with pytest.raises(InvalidRequest, match="SealingKeysSecretArn or SealingKmsKeyArn") as refused:
        Sealer(None, frozenset(always)).seal(METADATA, sensitive, **SUBJECT)
    assert "secret face" not in str(refused.value)


def test_a_value_that_is_not_json_is_refused(sealer: Sealer) -> None:
    with pytest.raises(InvalidRequest, match="JSON"):
        sealer.seal({"prompt": float("nan")}, ("prompt",), **SUBJECT)


def test_what_is_sealed_is_not_opened_without_keys(sealer: Sealer) -> None:
    clear, sealed = sealed_by(sealer)
    with pytest.raises(SealingError, match="SealingKeysSecretArn"):
        Sealer(None).open(clear, sealed, **SUBJECT)


@pytest.mark.parametrize("other", [{"project_id": "p2"}, {"subject_id": "object-2"}], ids=["project", "object"])
def test_what_is_sealed_opens_for_its_project_and_its_object_only(sealer: Sealer, other: dict[str, str]) -> None:
    clear, sealed = sealed_by(sealer)
    with pytest.raises(SealingError, match="another project or object"):
        sealer.open(clear, sealed, **{**SUBJECT, **other})


def test_project_and_object_do_not_run_into_each_other(sealer: Sealer) -> None:
    _, sealed = sealer.seal(METADATA, SENSITIVE, project_id="a", subject_id="bc")
    with pytest.raises(SealingError):
        sealer.open({}, sealed, project_id="ab", subject_id="c")


def test_every_spelling_of_a_project_opens_what_it_sealed(sealer: Sealer) -> None:
    assert sealer.open(*sealed_by(sealer), project_id="proj_proj_p1", subject_id="object-1") == METADATA


def test_the_same_metadata_is_never_sealed_twice_alike(sealer: Sealer) -> None:
    first, second = (json.loads(sealed_by(sealer)[1]) for _ in range(2))
    assert first["nonce"] != second["nonce"]
    assert len(base64.b64decode(first["nonce"])) == 12


@pytest.mark.parametrize(
    ("name", "altered"),
    [
        ("v", 2),
        ("v", True),
        ("key_id", "k2"),
        ("wrapped", "AA=="),
        ("fields", [["prompt", 1]]),
        ("fields", [["seed", 3], ["prompt", 1]]),
        ("fields", [["prompt", 0], ["seed", 3]]),
        ("fields", [["prompt", 1], ["other", 3]]),
        ("fields", 7),
        ("fields", [["prompt", 1, 1]]),
        ("nonce", ""),
        ("nonce", encoded(bytes(12))),
        ("nonce", encoded(bytes(200))),
        ("data", ""),
        ("data", encoded(bytes(60))),
        ("data", "no base64"),
        ("data", None),
        ("more", 1),
    ],
)
def test_no_member_of_a_sealed_text_can_be_altered(sealer: Sealer, name: str, altered: Any) -> None:
    clear, sealed = sealed_by(sealer)
    forged = json.dumps({**json.loads(sealed), name: altered}, separators=(",", ":"))
    with pytest.raises(SealingError):
        sealer.open(clear, forged, **SUBJECT)


def test_no_character_of_a_sealed_text_can_be_changed_left_out_or_doubled(sealer: Sealer) -> None:
    clear, sealed = sealed_by(sealer)
    for at, character in enumerate(sealed):
        for other in ("", 2 * character, chr(ord(character) ^ 1), " " + character, "A" if character == "B" else "B"):
            with pytest.raises(SealingError):
                sealer.open(clear, sealed[:at] + other + sealed[at + 1 :], **SUBJECT)


@pytest.mark.parametrize("text", ["", "{}", "[]", "7", "null", "{" * 3, "[" * 200_000, '{"v":1}', "Ünï"])
def test_what_is_no_sealed_text_is_an_error(sealer: Sealer, text: str) -> None:
    for read in (lambda: sealer.open({}, text, **SUBJECT), lambda: Sealer.names(text)):
        with pytest.raises(SealingError, match="not of the form"):
            read()


def test_a_clear_field_under_a_sealed_name_does_not_hide_what_was_sealed(sealer: Sealer) -> None:
    clear, sealed = sealed_by(sealer)
    assert sealer.open({**clear, "prompt": "forged"}, sealed, **SUBJECT) == METADATA


def test_a_ring_is_read_from_its_secret() -> None:
    ring = KeyRing.parse(ring_text("k2", k1=encoded(FIRST), k2=encoded(SECOND)))
    assert (ring.current, ring.keys) == ("k2", {"k1": FIRST, "k2": SECOND})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "null",
        encoded(FIRST),
        json.dumps({"keys": {"k1": encoded(FIRST)}}),
        json.dumps({"current": "k1"}),
        json.dumps({"current": "k1", "keys": [encoded(FIRST)]}),
        ring_text(),
        ring_text("k2", k1=encoded(FIRST)),
        ring_text(["k1"], k1=encoded(FIRST)),
        ring_text(encoded(FIRST), k1=encoded(FIRST)),
        ring_text(k1=encoded(FIRST[:31])),
        ring_text(k1=encoded(FIRST), k2=encoded(SECOND) + "="),
        ring_text(k1=encoded(FIRST), k2="not base64! " + encoded(SECOND)),
        ring_text(k1=encoded(FIRST), k2=None),
        ring_text(encoded(FIRST), **{encoded(FIRST): encoded(FIRST)}),
        ring_text("", **{"": encoded(FIRST)}),
        ring_text(k1=encoded(FIRST)) + "}",
    ],
)
def test_a_secret_that_is_no_ring_is_refused_without_showing_anything_of_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match='"current": "k2"') as refused:
        KeyRing.parse(text)
    shown = "".join(traceback.format_exception(refused.value, chain=True))
    assert not any(encoded(key)[:30] in shown for key in (FIRST, SECOND))
    assert refused.value.__cause__ is refused.value.__context__ is None


def test_after_a_rotation_the_new_key_seals_and_the_old_one_opens() -> None:
    clear, sealed = sealed_by(Sealer(a_ring("k1")))
    rotated = Sealer(a_ring("k2"))
    assert rotated.open(clear, sealed, **SUBJECT) == METADATA
    assert json.loads(sealed_by(rotated)[1])["key_id"] == "k2"


def test_a_key_that_left_the_ring_is_named() -> None:
    clear, sealed = sealed_by(Sealer(a_ring("k1")))
    with pytest.raises(SealingError, match=r"key 'k1'.*put it back"):
        Sealer(KeyRing("k2", {"k2": SECOND})).open(clear, sealed, **SUBJECT)


def test_a_key_that_changed_under_its_id_opens_nothing() -> None:
    clear, sealed = sealed_by(Sealer(a_ring("k1")))
    with pytest.raises(SealingError, match="same id"):
        Sealer(KeyRing("k1", {"k1": SECOND})).open(clear, sealed, **SUBJECT)


def test_a_ring_stays_in_its_secret_until_something_is_sealed_or_opened_and_is_read_once() -> None:
    reads: list[str] = []

    def read() -> str:
        reads.append(ring_text(k1=encoded(FIRST)))
        return reads[-1]

    sealer = Sealer(RingInSecret(read, lambda: 0))
    clear, nothing_sealed = sealer.seal(METADATA, (), **SUBJECT)
    assert sealer.open(clear, nothing_sealed, **SUBJECT) == METADATA
    assert not reads
    clear, sealed = sealed_by(sealer)
    assert sealer.open(clear, sealed, **SUBJECT) == METADATA
    assert len(reads) == 1


def test_a_key_that_came_into_the_ring_later_is_read_from_its_secret_at_most_once_a_minute() -> None:
    secret = ring_text(k1=encoded(FIRST))
    time = 1_000_000  # milliseconds
    reads: list[int] = []

    def read() -> str:
        reads.append(time)
        return secret

    warm = Sealer(RingInSecret(read, lambda: time))
    sealed_by(warm)
    clear, sealed = sealed_by(Sealer(KeyRing("k2", {"k2": SECOND})))
    time += 60_000
    with pytest.raises(SealingError, match="put it back"):
        warm.open(clear, sealed, **SUBJECT)
    secret = ring_text(k1=encoded(FIRST), k2=encoded(SECOND))
    time += 59_999
    with pytest.raises(SealingError, match="put it back"):
        warm.open(clear, sealed, **SUBJECT)
    time += 1
    assert warm.open(clear, sealed, **SUBJECT) == METADATA
    assert reads == [1_000_000, 1_060_000, 1_120_000]


def test_no_key_is_shown_by_what_holds_it() -> None:
    for holder in (a_ring(), DataKey(FIRST, "k1", "")):
        assert repr(FIRST) not in repr(holder) and "k1" in repr(holder)
