"""Files of records: the same lines however they are read, from any of them on, and a line that cannot be read loses no other."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocktake.errors import InvalidRequest
from stocktake.migration import lines as reading
from stocktake.migration.lines import Line, Place, Read, read_csv, read_jsonl
from stocktake.migration_requests import read_entry
from stocktake.model import SessionPlace, State

PIXEL = base64.b64encode(b"pixel").decode()


def reader(file: bytes, sizes: Sequence[int] = (10**9,)) -> Read:
    """Reads a file, giving no more than the next of these sizes at once."""
    asked: list[int] = []

    def read(first: int, last: int) -> bytes:
        size = sizes[len(asked) % len(sizes)]
        asked.append(first)
        return file[first : min(last + 1, first + size)]

    return read


def jsonl(file: bytes, *, sizes: Sequence[int] = (10**9,), place: Place | None = None) -> list[Line]:
    return list(read_jsonl(reader(file, sizes), len(file), place or Place()))


def rows(file: bytes, *, sizes: Sequence[int] = (10**9,), place: Place | None = None) -> list[Line]:
    return list(read_csv(reader(file, sizes), len(file), {"id", "url", "metadata"}, place or Place()))


def contents(lines: Sequence[Line]) -> list[Any]:
    return [line.content for line in lines]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]), max_size=12), max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_jsonl_is_the_same_lines_in_any_chunks_and_from_any_line_on(
    texts: list[str], sizes: list[int], end: str, has_bom: bool, ends_well: bool
) -> None:
    file = (("\ufeff" if has_bom else "") + end.join(texts) + (end if ends_well else "")).encode()
    whole = jsonl(file)
    assert contents(whole) == [said for text in texts if (said := text.strip(" \t"))]
    assert jsonl(file, sizes=sizes) == whole
    for number, line in enumerate(whole):
        assert jsonl(file, sizes=sizes, place=line.after) == whole[number + 1 :]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(*[st.text(alphabet=st.sampled_from('ab,"\n\r é\ufeff'), max_size=6)] * 2), max_size=6),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
)
def test_csv_is_the_same_records_in_any_chunks_and_from_any_record_on(cells: list[tuple[str, str]], sizes: list[int], end: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "url"), *cells])
    file = text.getvalue().encode()
    whole = rows(file)
    assert contents(whole) == [{"id": first, "url": second} for first, second in cells]
    assert rows(file, sizes=sizes) == whole
    for number, line in enumerate(whole):
        assert rows(file, sizes=sizes, place=line.after) == whole[number + 1 :]


def test_lines_are_numbered_as_an_editor_numbers_them() -> None:
    assert [line.number for line in jsonl(b"{}\n\n  \n{}\n{}")] == [1, 4, 5]
    assert [line.number for line in rows(b'id,url\r\n"a\nb",c\n\nd,e')] == [2, 5]


def test_a_line_that_cannot_be_read_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 30)
    found = jsonl(b"a\n" + b"x" * 31 + b"\n\xff\nb\n" + b"y" * 40, sizes=(7,))
    assert contents(found) == ["a", None, None, "b", None]
    assert ["longer than" in (line.problem or "") for line in found] == [False, True, False, False, True]
    found = rows(b'id,url\na,b\n"\xff",c\none\n"' + b"x" * 40 + b'\nd,e\n"f"g,h\ni,j\n', sizes=(7,))
    assert contents(found) == [{"id": "a", "url": "b"}, None, None, None, {"id": "d", "url": "e"}, None, {"id": "i", "url": "j"}]
    problems = [line.problem or "" for line in found if line.content is None]
    assert [want in problem for want, problem in zip(("UTF-8", "1 cells", "longer", "quotation"), problems, strict=True)] == [True] * 4


def test_a_quotation_mark_that_is_not_closed_says_how_many_lines_it_takes() -> None:
    broken, following = rows(b'id,url\na,b\n"c,d\ne,f\n"g,h\ni,j\n')[1:]
    assert (broken.number, broken.content) == (3, None)
    assert "With it go the lines up to 5" in (broken.problem or "")
    assert following.content == {"id": "i", "url": "j"}


@pytest.mark.parametrize("header", [b"id,colour", b"id,id", b"", b'"id'])
def test_columns_that_are_not_known_are_an_error_and_never_dropped(header: bytes) -> None:
    with pytest.raises(InvalidRequest, match="first line of the CSV file"):
        rows(header + b"\na,b\n")


# ---- what a line says


def test_a_line_says_all_there_is_to_say_of_an_object() -> None:
    entry = read_entry(
        json.dumps(
            {
                "project_id": "p1",
                "content_base64": PIXEL,
                "id": "row 7",
                "content_type": "image/png",
                "file_name": "ü.png",
                "metadata": {"n": 1.0},
                "created_at": "2024-01-01T12:00:00+01:00",
                "layout": {"name": "session", "session": "s", "persona": "p"},
            }
        )
    )
    assert (entry.project_id, entry.body, entry.id, entry.kind, entry.declared_type) == ("p1", b"pixel", "row 7", "inline", "image/png")
    assert (entry.details.file_name, entry.details.metadata, entry.details.session_place) == ("ü.png", {"n": 1.0}, SessionPlace("p", "s"))
    assert entry.created_at == 1_704_106_800_000


def test_cells_of_csv_say_the_same_and_an_empty_one_says_nothing() -> None:
    entry = read_entry({"project_id": "p1", "key": "k", "metadata": '{"n": 1}', "file_name": "", "width": "8", "state": "STORED"})
    assert (entry.key, entry.details.metadata, entry.details.file_name, entry.width) == ("k", {"n": 1}, None, 8)
    assert entry.state is State.STORED


@pytest.mark.parametrize(
    ("said", "milliseconds"),
    [
        ("2024-01-01", 1_704_067_200_000),
        ("2024-01-01 00:00:00", 1_704_067_200_000),
        ("2024-01-01T00:00:00Z", 1_704_067_200_000),
        (1_704_067_200_000, 1_704_067_200_000),
        ("1704067200000", 1_704_067_200_000),
    ],
)
def test_a_time_is_iso_8601_or_milliseconds(said: Any, milliseconds: int) -> None:
    assert read_entry(json.dumps({"project_id": "p1", "key": "k", "created_at": said})).created_at == milliseconds


@pytest.mark.parametrize(
    ("url", "body", "declared"),
    [
        (f"data:image/png;base64,{PIXEL}", b"pixel", "image/png"),
        (f"data:IMAGE/PNG;charset=x;BASE64,{PIXEL}", b"pixel", "image/png"),
        ("data:image/svg+xml;utf8,%3Csvg/%3E", b"<svg/>", "image/svg+xml"),
        ("data:,a%20b", b"a b", None),
    ],
)
def test_a_data_url_is_bytes_and_their_type(url: str, body: bytes, declared: str | None) -> None:
    entry = read_entry(json.dumps({"project_id": "p1", "data_url": url}))
    assert (entry.body, entry.declared_type) == (body, declared)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"key": None}, "no object"),
        ({"url": "https://a.example/b"}, "url and key"),
        ({"colour": "red"}, "colour is unknown"),
        ({"project_id": ""}, "project_id"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": -1}, "created_at"),
        ({"id": "a", "object_id": "b"}, "id is yours"),
        ({"key": None, "content_base64": "%"}, "not base64"),
        ({"key": None, "data_url": "image/png"}, "begins with data:"),
        ({"key": None, "data_url": "data:image/png,a", "content_type": "image/gif"}, "correct the line"),
        ({"key": None, "content_base64": PIXEL, "width": 8}, "width"),
        ({"key": None, "url": "https://a.example/b", "original_url": "https://a.example/b"}, "original_url"),
        ({"sealed": "x"}, "object_id"),
        ({"sha256": "AB"}, "sha256"),
    ],
)
def test_a_line_that_does_not_say_one_thing_is_refused(changes: dict[str, Any], complaint: str) -> None:
    line = {"project_id": "p1", "key": "k", **changes}
    with pytest.raises(InvalidRequest, match=complaint):
        read_entry(json.dumps({name: value for name, value in line.items() if value is not None}))


@pytest.mark.parametrize("text", ["{", "[]", "nothing", '{"project_id": "p1", "key": "a", "key": "b"}'])
def test_what_is_no_json_object_or_says_a_thing_twice_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_entry(text)


def test_a_cell_that_should_be_json_is_named() -> None:
    with pytest.raises(InvalidRequest, match="cell metadata is not JSON"):
        read_entry({"project_id": "p1", "key": "k", "metadata": "{"})


@pytest.mark.parametrize("column", ["metadata", "layout"])
def test_a_cell_that_names_a_field_twice_is_refused_as_a_line_is(column: str) -> None:
    with pytest.raises(InvalidRequest, match="'n' twice"):
        read_entry({"project_id": "p1", "url": "https://images.example.com/a.png", column: '{"n": 1, "n": 2}'})
