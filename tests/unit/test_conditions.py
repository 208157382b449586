"""The rules of RFC 9110 §13 and §14 that serving keeps."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stocktake.conditions import Full, NotModified, Partial, Serving, evaluate, headers_of
from stocktake.errors import PreconditionFailed, RangeNotSatisfiable

MODIFIED = 784_111_777_000  # the date the RFC gives as its example
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"


def served(*, size: int = 100, last_modified: int = MODIFIED, **headers: str) -> Serving:
    return evaluate({name.replace("_", "-"): value for name, value in headers.items()}, etag="abc", last_modified=last_modified, size=size)


def test_without_conditions_everything_is_served() -> None:
    assert served() == Full()


@pytest.mark.parametrize("tags", ['"abc"', 'W/"abc"', '"x", "abc"', '"x","abc" ,"y"', '"a,b", W/"abc"', "*", " * "])
def test_a_reader_that_has_the_tag_is_told_so(tags: str) -> None:
    assert served(if_none_match=tags) == NotModified()


@pytest.mark.parametrize("tags", ['"x"', '"ABC"', "abc", '""', "", '"x, abc"', '"*"', '"abc'])
def test_a_reader_that_has_other_tags_is_served(tags: str) -> None:
    assert served(if_none_match=tags) == Full()


@pytest.mark.parametrize("date", [DATE, LATER, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_an_object_not_changed_since_the_date_is_not_modified_in_every_form_of_date(date: str) -> None:
    assert served(if_modified_since=date) == NotModified()


def test_an_object_changed_since_the_date_is_served() -> None:
    assert served(if_modified_since=EARLIER) == Full()


def test_what_a_date_cannot_say_is_no_change() -> None:
    assert served(if_modified_since=DATE, last_modified=MODIFIED + 999) == NotModified()
    assert served(if_modified_since=DATE, last_modified=MODIFIED + 1000) == Full()


@pytest.mark.parametrize(
    "date", ["", "yesterday", "0", f"{LATER}, {LATER}", "Sun, 06 Nov 2094 08:49:37 +0000", "Sun, 31 Feb 2094 08:49:37 GMT"]
)
def test_a_date_that_cannot_be_read_is_not_a_condition(date: str) -> None:
    assert served(if_modified_since=date) == Full()
    assert served(if_unmodified_since=date) == Full()


def test_a_date_is_not_asked_where_tags_are_given() -> None:
    assert served(if_none_match='"x"', if_modified_since=LATER) == Full()
    assert served(if_none_match="", if_modified_since=LATER) == Full()
    assert served(if_none_match='"abc"', if_modified_since=EARLIER) == NotModified()


@pytest.mark.parametrize("tags", ['"abc"', '"x", "abc"', "*"])
def test_if_match_lets_its_own_object_through(tags: str) -> None:
    assert served(if_match=tags) == Full()


@pytest.mark.parametrize("tags", ['"x"', 'W/"abc"', "abc", ""])
def test_if_match_stops_another_object_and_a_weak_tag(tags: str) -> None:
    with pytest.raises(PreconditionFailed, match="read the object again"):
        served(if_match=tags)


def test_if_unmodified_since_stops_an_object_changed_later() -> None:
    assert served(if_unmodified_since=DATE) == Full()
    with pytest.raises(PreconditionFailed, match="read the object again"):
        served(if_unmodified_since=EARLIER)


def test_if_match_takes_the_place_of_if_unmodified_since() -> None:
    assert served(if_match='"abc"', if_unmodified_since=EARLIER) == Full()


def test_a_failed_precondition_comes_before_not_modified() -> None:
    with pytest.raises(PreconditionFailed):
        served(if_match='"x"', if_none_match='"abc"')


def test_a_precondition_that_holds_leaves_the_other_conditions_to_be_asked() -> None:
    assert served(if_match='"abc"', if_none_match='"abc"') == NotModified()
    assert served(if_unmodified_since=DATE, range="bytes=0-0") == Partial(0, 0)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=0-", 0, 99),
        ("bytes=99-", 99, 99),
        ("bytes=90-200", 90, 99),
        ("bytes=-1", 99, 99),
        ("bytes=-100", 0, 99),
        ("bytes=-200", 0, 99),
        ("BYTES=0-9", 0, 9),
        ("bytes= 0-9 ", 0, 9),
        ("bytes=0-9999999999999999999", 0, 99),
    ],
)
def test_one_range_is_served_as_far_as_the_object_goes(text: str, first: int, last: int) -> None:
    assert served(range=text) == Partial(first, last)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=9-0",
        "bytes=100-0",
        "bytes=0-9,20-29",
        "bytes 0-9",
        "bytes=+1-2",
        "bytes=-0x1",
        "items=0-9",
        "bytes=٠-٩",
        "bytes=" + "9" * 5000 + "-",
    ],
)
def test_several_ranges_other_units_and_malformed_ranges_are_not_asked_for(text: str) -> None:
    assert served(range=text) == Full()


@pytest.mark.parametrize("text", ["bytes=100-", "bytes=100-100", "bytes=-0"])
def test_a_range_outside_the_object_is_refused_and_told_the_size(text: str) -> None:
    with pytest.raises(RangeNotSatisfiable, match="100 bytes"):
        served(range=text)


def test_an_empty_object_has_no_ranges() -> None:
    assert served(size=0, range="bytes=-5") == Full()
    with pytest.raises(RangeNotSatisfiable):
        served(size=0, range="bytes=0-")


def test_not_modified_comes_before_the_range() -> None:
    assert served(if_none_match='"abc"', range="bytes=0-0") == NotModified()
    assert served(if_none_match='"abc"', range="bytes=500-") == NotModified()


@pytest.mark.parametrize("condition", ['"abc"', DATE])
def test_a_range_is_served_of_the_very_object_the_reader_has_a_part_of(condition: str) -> None:
    assert served(if_range=condition, range="bytes=5-9") == Partial(5, 9)


@pytest.mark.parametrize("condition", ['"x"', 'W/"abc"', "abc", "*", EARLIER, LATER, "yesterday", ""])
def test_a_range_of_another_object_becomes_everything(condition: str) -> None:
    assert served(if_range=condition, range="bytes=5-9") == Full()
    assert served(if_range=condition, range="bytes=500-") == Full()


def test_if_range_without_a_range_is_no_condition() -> None:
    assert served(if_range='"abc"') == Full()


@given(
    st.one_of(
        st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True),
        st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: f"bytes={pair[0]}-{pair[1]}"),
        st.text(),
    ),
    st.integers(0, 50),
)
@example("bytes=-1", 0)
def test_a_part_always_lies_inside_the_object(text: str, size: int) -> None:
    try:
        answer = served(range=text, size=size)
    except RangeNotSatisfiable:
        return
    assert answer == Full() or (isinstance(answer, Partial) and 0 <= answer.first <= answer.last < size)


@given(
    st.dictionaries(
        st.sampled_from(["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"]),
        st.one_of(st.text(), st.text('W/"abc,* '), st.sampled_from([DATE, EARLIER, '"abc"', "bytes=0-9", "bytes=500-"])),
    )
)
def test_whatever_a_reader_sends_is_answered_or_refused_by_name(headers: dict[str, str]) -> None:
    try:
        answer = evaluate(headers, etag="abc", last_modified=MODIFIED, size=100)
    except (PreconditionFailed, RangeNotSatisfiable):
        return
    assert isinstance(answer, Full | NotModified | Partial)


def test_headers_say_what_is_served_and_how_to_ask_again() -> None:
    always = {"ETag": '"abc"', "Last-Modified": DATE, "Accept-Ranges": "bytes"}
    assert headers_of(Full(), etag="abc", last_modified=MODIFIED + 999, size=100) == always
    assert headers_of(NotModified(), etag="abc", last_modified=MODIFIED, size=100) == always
    assert headers_of(Partial(5, 9), etag="abc", last_modified=MODIFIED, size=100) == {**always, "Content-Range": "bytes 5-9/100"}


def test_the_date_and_the_tag_that_were_sent_are_conditions_that_hold() -> None:
    sent = headers_of(Full(), etag="abc", last_modified=MODIFIED + 500, size=100)
    assert served(if_none_match=sent["ETag"], last_modified=MODIFIED + 500) == NotModified()
    assert served(if_modified_since=sent["Last-Modified"], last_modified=MODIFIED + 500) == NotModified()
    assert served(if_match=sent["ETag"], if_unmodified_since=sent["Last-Modified"], last_modified=MODIFIED + 500) == Full()
