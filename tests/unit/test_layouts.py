from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stocktake.errors import InvalidKey
from stocktake.ids import new_id
from stocktake.layouts import (
    Layout,
    ParsedKey,
    Registry,
    build_current,
    build_session,
    canonical,
    check_project_id,
    has_spellings,
    is_made_for,
    is_spelled_otherwise,
    other_spellings,
    project_stem,
    shared_beginning,
    spellings,
)

REGISTRY = Registry()
OBJECT_ID = "01KAHXPMEN0000000000000000"
AT = 1_795_239_000_000  # 2026-11-21

project_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.~()$@=+-]{0,20}", fullmatch=True).filter(
    lambda text: (
        re.fullmatch(r"[A-Za-z0-9].*", project_stem(text)) and project_stem(text) != "proj" and text in spellings(project_stem(text))
    )
)
folders = st.one_of(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.~()$@=+-]{0,99}", fullmatch=True),
    # what other layouts are made of
    st.sampled_from(["projects", "scenes", "media", "images", "2026", "11", "proj", "proj-1", "1703123456789-a.png"]),
).filter(lambda text: not text.startswith("proj_"))
object_ids = st.integers(0, 10**13 - 1).map(new_id)
odd_text = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=12)


def owners(key: str, *known: str) -> str | None:
    parsed = REGISTRY.parse(key)
    return None if parsed is None else REGISTRY.owner(parsed, set(known).__contains__)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            f"projects/proj_1/2026/11/{OBJECT_ID}.png",
            ParsedKey("current", ("1",), object_id=OBJECT_ID, file_name=f"{OBJECT_ID}.png"),
        ),
        ("projects/proj_1/scenes/s2/media/clip.mp4", ParsedKey("hierarchical", ("1",), scene="s2", file_name="clip.mp4")),
        ("proj_proj_1_s2_media.mp4", ParsedKey("flat", ("1",), scene="s2", file_name="media.mp4")),
        ("proj_1_s2_media.mp4", ParsedKey("flat", ("1",), scene="s2", file_name="media.mp4")),
        ("audio/proj_1/s2/voice.mp3", ParsedKey("content", ("1",), scene="s2", file_name="voice.mp3")),
        ("images/proj_1/s2/still.png", ParsedKey("content", ("1",), scene="s2", file_name="still.png")),
        (
            "images/session123/baby-boomer/1703123456789-abc123def.jpg",
            ParsedKey("session", session="session123", persona="baby-boomer", file_name="1703123456789-abc123def.jpg"),
        ),
        (
            "images/baby-boomer/1703123456789-def456ghi.png",
            ParsedKey("session", persona="baby-boomer", file_name="1703123456789-def456ghi.png"),
        ),
        (".stocktake/identity.json", ParsedKey("system")),
        (".stocktake/quarantine/1/entry", ParsedKey("quarantine", ("1",))),
    ],
)
def test_every_historical_layout_is_recognised(key: str, expected: ParsedKey) -> None:
    assert REGISTRY.parse(key) == expected


@pytest.mark.parametrize(
    "key",
    [
        "",
        "backup.tar",
        "proj_1",
        "proj_1_media.mp4",
        "proj__s_media.mp4",
        "projects/proj_1/readme.txt",
        "projects//2026/11/x.png",
        "audio/1/s/f.mp3",
        "images/a/b/c/d.png",
    ],
)
def test_a_key_that_no_layout_explains_is_unknown(key: str) -> None:
    assert REGISTRY.parse(key) is None


def test_two_spellings_with_and_without_the_doubled_prefix_are_one_project() -> None:
    assert {project_stem(spelling) for spelling in ("proj_proj_1", "proj_1", "1")} == {"1"}


def test_proj_1_never_catches_proj_10() -> None:
    keys = ["proj_10_s_m.mp4", "proj_proj_10_s_m.mp4", "projects/proj_10/scenes/s/media/m.mp4", "audio/proj_10/s/m.mp3"]
    prefixes = [prefix.prefix for prefix in REGISTRY.prefixes("proj_1")]
    assert [key for key in keys if any(key.startswith(prefix) for prefix in prefixes)] == []
    assert {owners(key) for key in keys} == {"10"}


def test_an_ambiguous_key_belongs_to_the_one_candidate_that_exists() -> None:
    assert owners("proj_a_b_c.mp4", "a") == "a"
    assert owners("proj_a_b_c_d.mp4", "a_b") == "a_b"


def test_an_ambiguous_key_belongs_to_nobody_while_two_candidates_exist() -> None:
    assert owners("proj_a_b_c_d.mp4", "a", "a_b") is None


def test_an_ambiguous_key_of_no_known_project_belongs_to_nobody() -> None:
    assert owners("proj_a_b_c_d.mp4") is None


@given(project_ids, st.sampled_from(["png", "jpg", "webp"]))
@example("proj_1", "png")
def test_a_built_key_is_read_back_as_its_project_and_object(project_id: str, extension: str) -> None:
    parsed = REGISTRY.parse(build_current(project_id, OBJECT_ID, extension, AT))
    assert parsed is not None
    assert (parsed.layout, parsed.candidates, parsed.object_id) == ("current", (project_stem(project_id),), OBJECT_ID)


@given(st.none() | folders, folders, object_ids, st.sampled_from(["png", "jpg", "webp"]))
@example(None, "scenes", OBJECT_ID, "png")
@example("projects", "scenes", "00000000000000000000000001", "png")
def test_a_built_session_key_is_read_back_whole_and_no_other_layout_claims_it(
    session: str | None, persona: str, object_id: str, extension: str
) -> None:
    key = build_session(session, persona, object_id, extension)
    file_name = key.rsplit("/", 1)[1]
    expected = ParsedKey("session", session=session, persona=persona, object_id=object_id, file_name=file_name)
    assert [parsed for layout in REGISTRY.layouts if (parsed := layout.parse(key))] == [expected]


@given(project_ids, st.none() | folders, folders, object_ids)
def test_no_prefix_of_any_project_shows_a_built_session_key(project_id: str, session: str | None, persona: str, object_id: str) -> None:
    key = build_session(session, persona, object_id, "png")
    assert [prefix for prefix in REGISTRY.prefixes(project_id) if key.startswith(prefix.prefix)] == []


def test_a_session_key_carries_the_time_and_the_random_part_of_its_object_id() -> None:
    # the id and its time are the ULID specification's example
    assert build_session("s1", "ada", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "png") == "images/s1/ada/1469922850259-TSV4RRFFQ69G5FAV.png"


@pytest.mark.parametrize("file", ["1703123456789-abc123def.jpg", "170312345678-0000000000000000.jpg", "1703123456789-000000000000000U.jpg"])
def test_a_session_key_of_another_hand_names_no_object(file: str) -> None:
    parsed = REGISTRY.parse(f"images/s/p/{file}")
    assert parsed is not None
    assert (parsed.layout, parsed.object_id) == ("session", None)


@pytest.mark.parametrize("name", ["", "..", ".a", "a/b", "a\n", "é", "a b", "proj_1", "x" * 101])
def test_a_session_or_persona_that_would_make_an_unsafe_key_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(InvalidKey, match="session"):
        build_session(name, "ada", OBJECT_ID, "png")
    with pytest.raises(InvalidKey, match="persona"):
        build_session("s", name, OBJECT_ID, "png")


@pytest.mark.parametrize("object_id", ["", "1", "0" * 25 + "U", "9" * 26, "../../../../../../../../ab"])
def test_an_object_id_that_is_no_ulid_makes_no_session_key(object_id: str) -> None:
    with pytest.raises(InvalidKey, match="object id"):
        build_session("s", "p", object_id, "png")


@given(project_ids, odd_text, odd_text)
@example("1", "s", "m.mp4")
def test_every_key_that_names_its_project_lies_under_a_prefix_of_it(project_id: str, scene: str, file: str) -> None:
    stem = project_stem(project_id)
    prefixes = [prefix.prefix for prefix in REGISTRY.prefixes(project_id)]
    for spelling in spellings(stem):
        keys = [f"projects/{spelling}/scenes/{scene}/media/{file}", f"proj_{stem}_{scene}_{file}", f"proj_proj_{stem}_{scene}_{file}"]
        if spelling != stem:
            keys.append(f"audio/{spelling}/{scene}/{file}")
        for key in keys:
            parsed = REGISTRY.parse(key)
            if parsed is not None and stem in parsed.candidates:
                assert any(key.startswith(prefix) for prefix in prefixes)


@given(st.lists(project_ids, min_size=2, max_size=6), st.text(max_size=30))
def test_no_key_belongs_to_two_projects(projects: list[str], tail: str) -> None:
    stems = {project_stem(project) for project in projects}
    for stem in stems:
        for prefix in REGISTRY.prefixes(stem):
            parsed = REGISTRY.parse(prefix.prefix + tail)
            if parsed is not None:
                claimed = [other for other in stems if other in parsed.candidates]
                owner = REGISTRY.owner(parsed, stems.__contains__)
                assert owner is None or owner in claimed or len(parsed.candidates) == 1
                assert len(claimed) <= 1 or owner is None


@given(st.text(max_size=60))
@example("proj_proj_")
@example("projects/../scenes/a/media/b")
def test_reading_any_key_whatever_never_fails(key: str) -> None:
    parsed = REGISTRY.parse(key)
    assert parsed is None or all(parsed.candidates)


@given(project_ids)
def test_no_prefix_of_a_project_lies_inside_another(project_id: str) -> None:
    prefixes = [prefix.prefix for prefix in REGISTRY.prefixes(project_id)]
    assert [(a, b) for a in prefixes for b in prefixes if a != b and b.startswith(a)] == []


@pytest.mark.parametrize(
    "project_id",
    [
        "",
        "proj_",
        "proj_proj_",
        "proj",
        "proj_proj",
        "proj_proj_proj_9",
        "a/b",
        "..",
        ".a",
        "a\n",
        "é",
        "a b",
        "a%2fb",
        "x" * 101,
        "proj_/x",
    ],
)
def test_an_id_that_would_make_an_unsafe_key_is_refused(project_id: str) -> None:
    with pytest.raises(InvalidKey, match="project id"):
        check_project_id(project_id)


def test_an_extension_that_would_make_an_unsafe_key_is_refused() -> None:
    with pytest.raises(InvalidKey, match="extension"):
        build_current("p", OBJECT_ID, "../x", AT)
    with pytest.raises(InvalidKey, match="extension"):
        build_session("s", "p", OBJECT_ID, "../x")


def test_a_house_can_put_its_own_layout_before_the_historical_ones() -> None:
    own = Layout("own", lambda key: ParsedKey("own", ("7",)) if key.startswith("own/7/") else None, lambda stem: (f"own/{stem}/",))
    registry = Registry(own)
    assert registry.parse("own/7/x") == ParsedKey("own", ("7",))
    assert "own/7/" in [prefix.prefix for prefix in registry.prefixes("7")]


@pytest.mark.parametrize("key", [build_current("p", OBJECT_ID, "png", 0), build_session("s", "ada", OBJECT_ID, "png")])
def test_a_key_the_server_built_is_made_for_its_own_object_and_for_no_other(key: str) -> None:
    assert is_made_for(key, OBJECT_ID)
    assert not is_made_for(key, OBJECT_ID[:-1] + "1")


@pytest.mark.parametrize(
    "key", [f"projects/p/scenes/s/media/{OBJECT_ID}.png", f"proj_p_s_{OBJECT_ID}.png", "images/s/p/1703123456789-a.png"]
)
def test_a_key_of_another_hand_is_made_for_no_object(key: str) -> None:
    assert not is_made_for(key, OBJECT_ID)


def test_the_ascii_characters_that_have_another_spelling_are_known() -> None:
    others = {unicodedata.normalize("NFC", chr(code)) for code in range(128, sys.maxunicode + 1)}
    assert {one for one in others if one.isascii()} == {letter for letter in map(chr, range(128)) if has_spellings(f"a/{letter}")}


def test_no_key_of_the_current_layout_has_another_spelling_that_could_be_recorded() -> None:
    key = build_current("proj_Kiwi", "01KAHXPKEN0000000000000000", "png", AT)
    assert not has_spellings(key)
    for other in (key.replace("Kiwi", "\u212aiwi"), key.replace("PKE", "P\u212aE")):
        assert canonical(other) == key
        parsed = REGISTRY.parse(other)
        with pytest.raises(InvalidKey):
            check_project_id(parsed.candidates[0] if parsed else "")


@given(st.text(st.sampled_from("aeqKs;`./_\u00e9\u0301\u0323\u0307\u0338\u030a\u212a\u212b\u037e\u1e69<="), max_size=12))
@example("<\u0338")
def test_every_spelling_of_a_key_begins_as_all_do(key: str) -> None:
    for other in (key, canonical(key), unicodedata.normalize("NFD", key), *other_spellings(key)):
        assert other.startswith(shared_beginning(key))
        assert is_spelled_otherwise(other) == (other != canonical(other))
        assert other == key or has_spellings(key)
