from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stocktake import upload_answers as answers
from stocktake.conditions import Full, NotModified, Partial
from stocktake.errors import (
    ObjectDeleted,
    ObjectMissing,
    ObjectNotFound,
    ObjectPending,
    ObjectQuarantined,
    ObjectUnavailable,
    PreconditionFailed,
    ProjectNotFound,
    RangeNotSatisfiable,
    StorageUnavailable,
    TooLarge,
)
from stocktake.model import Record, State, StoredObject
from stocktake.serving import Served, Serving
from stocktake.storage import Content
from tests.unit.world import World, an_image

LARGE = 100_001
"""One more than an answer of this deployment carries."""


def a_record(**changes: object) -> Record:
    fields: dict[str, object] = {
        "etag": "abc",
        "content_type": "image/png",
        "cache_control": "public, max-age=60",
        "key": "projects/p1/x.png",
        "state": State.STORED,
        **changes,
    }
    return Record(object_id="o1", project_id="p1", epoch=1, size=10, created_at=1_000, updated_at=1_000, **fields)  # type: ignore[arg-type]  # any of them


def served_bytes(record: Record, asked: Full | Partial | None = None) -> dict[str, str]:
    """Returns the headers of an answer that carries bytes of this record."""
    content = Content(StoredObject(record.key, record.size, "abc", 0), b"0123456789")
    return answers.content_headers(Served(record, asked or Full(), content=content))


def public(world: World, base: str = "https://cdn.example") -> Serving:
    """The same deployment with its bucket served publicly."""
    return Serving(
        world.store,
        world.ledger,
        world.object_deletions,
        world.sealer,
        public_base_url=base,
        presigned_seconds=900,
        max_bytes=100_000,
    )


def adopted(world: World, key: str, body: bytes, content_type: str = "video/mp4") -> Record:
    """Puts an object behind the ledger's back and lets its event adopt it."""
    world.store.plant(key, body, content_type=content_type)
    record = world.aligner().align(key).after
    assert record is not None
    return record


# ---- what is true of an object


def test_each_state_that_has_no_bytes_to_serve_is_answered_by_its_own_type_and_what_to_do(world: World) -> None:
    expected = {
        State.PENDING: (ObjectPending, "try again"),
        State.MISSING: (ObjectMissing, "upload it again"),
        State.QUARANTINED: (ObjectQuarantined, "restore it"),
    }
    assert {*expected, State.STORED, State.INLINE, State.EXTERNAL} == set(State)
    for state, (error, advice) in expected.items():
        record = world.record(f"projects/p1/{state}.png", state)
        for read in (world.serving.redirect, world.serving.bytes):
            with pytest.raises(ObjectUnavailable, match=rf"is {state.lower()}: .*{advice}") as raised:
                read(record.object_id, {})
            assert raised.type is error


def test_an_object_without_bytes_has_a_record_and_no_url(world: World) -> None:
    for state in set(State) - {State.STORED}:
        record = world.record(f"projects/p1/{state}.png", state)
        assert world.serving.record(record.object_id) == record
        assert (world.serving.url(record), public(world).url(record)) == (None, None)


def test_a_deleted_object_says_that_it_was_deleted_and_why(world: World) -> None:
    record = world.upload()
    world.object_deletions.delete(record.object_id, why="upload aborted")
    for read in (world.serving.redirect, world.serving.bytes):
        with pytest.raises(ObjectDeleted, match=r"upload aborted"):
            read(record.object_id, {})
    with pytest.raises(ObjectDeleted, match=r"upload aborted"):
        world.serving.record(record.object_id)


@pytest.mark.parametrize("noticed", [True, False])
def test_an_object_whose_deletion_stopped_half_way_is_deleted_and_not_missing(world: World, noticed: bool) -> None:
    record = world.upload()
    world.store.fail("delete", after_effect=True)
    with pytest.raises(StorageUnavailable):
        world.object_deletions.delete(record.object_id)
    if noticed:
        world.aligner().align(record.key)
    with pytest.raises(ObjectDeleted):
        world.serving.bytes(record.object_id, {})


@pytest.mark.parametrize("object_id", ["", "nobody"])
def test_what_never_was_is_not_found(world: World, object_id: str) -> None:
    with pytest.raises(ObjectNotFound):
        world.serving.record(object_id)


def test_an_object_that_went_with_its_project_is_not_found(world: World) -> None:
    record = world.upload()
    world.delete_project()
    with pytest.raises(ObjectNotFound):
        world.serving.bytes(record.object_id, {})


# ---- metadata and lists


def test_sealed_metadata_is_opened_for_the_one_object_and_only_named_in_lists(world: World) -> None:
    record = world.upload(metadata={"prompt": "a cat", "size": 2}, sensitive=("prompt",))
    found = world.serving.record(record.object_id)
    assert world.serving.metadata(found) == {"prompt": "a cat", "size": 2}
    [listed], _ = world.serving.page("p1", 10, None)
    answer = answers.record(listed)
    assert (answer["metadata"], answer["sealed"], answer["url"]) == ({"size": 2}, ["prompt"], None)
    assert "a cat" not in repr(listed)


def test_a_project_is_listed_page_by_page_by_any_of_its_spellings(world: World) -> None:
    keys = sorted(world.upload(color=number).key for number in range(5))
    first, cursor = world.serving.page("proj_p1", 3, None)
    second, end = world.serving.page("p1", 3, cursor)
    assert [record.key for record in first + second] == keys
    assert end is None


def test_a_project_that_nobody_opened_has_no_list(world: World) -> None:
    with pytest.raises(ProjectNotFound):
        world.serving.page("nobody", 3, None)


# ---- where the bytes are


def test_urls_are_public_where_the_bucket_is_and_presigned_elsewhere(world: World) -> None:
    record = world.upload()
    assert world.store.fetch(str(world.serving.url(record))).body == an_image()
    assert public(world).url(record) == f"https://cdn.example/{record.key}"


def test_a_presigned_url_dies(world: World) -> None:
    url = world.serving.url(world.upload())
    world.clock.advance(900_000)
    assert world.store.fetch(str(url)).status == 403


def test_a_public_url_names_exactly_the_key_whatever_characters_it_has(world: World) -> None:
    for key in ("projects/p1/scenes/s/media/a b+c%2F?d#é.mp4", "proj_p1_s_100% done.mp4"):
        url = urlsplit(str(public(world).url(a_record(key=key))))
        assert (unquote(url.path), url.query, url.fragment) == (f"/{key}", "", "")


def test_a_redirect_leads_to_the_bytes(world: World) -> None:
    record = world.upload()
    served = world.serving.redirect(record.object_id, {})
    assert (served.asked, served.content) == (Full(), None)
    assert world.store.fetch(str(served.url)).body == an_image()


def test_a_redirect_leaves_ranges_to_the_bucket(world: World) -> None:
    record = world.upload()
    for headers in ({"range": "bytes=0-1"}, {"range": "bytes=999999-"}, {"range": "bytes=0-1", "if-range": f'"{record.etag}"'}):
        served = world.serving.redirect(record.object_id, headers)
        assert (served.asked, served.url is None) == (Full(), False)


@pytest.mark.parametrize("way", ["redirect", "bytes"])
def test_who_has_the_bytes_already_is_sent_nowhere_and_gets_none(world: World, way: str) -> None:
    record = world.upload()
    calls = len(world.store.calls)
    served = getattr(world.serving, way)(record.object_id, {"if-none-match": f'"{record.etag}"'})
    assert (served.asked, served.url, served.content) == (NotModified(), None, None)
    assert len(world.store.calls) == calls


@pytest.mark.parametrize("way", ["redirect", "bytes"])
def test_a_precondition_that_does_not_hold_is_refused(world: World, way: str) -> None:
    record = world.upload()
    with pytest.raises(PreconditionFailed):
        getattr(world.serving, way)(record.object_id, {"if-match": '"another"'})


def test_a_redirect_to_what_others_stored_and_could_run_in_a_browser_saves_it(world: World) -> None:
    record = adopted(world, "projects/p1/scenes/s/media/evil.html", b"<script>", "text/html")
    answer = world.store.fetch(str(world.serving.redirect(record.object_id, {}).url))
    assert answer.headers["content-disposition"].startswith('attachment; filename="evil.html"')


def test_a_redirect_to_an_image_shows_it_as_it_was_stored(world: World) -> None:
    named, plain = world.upload(file_name="Käse.png"), world.upload(color=1)
    shown = [world.store.fetch(str(world.serving.url(record))).headers.get("content-disposition") for record in (named, plain)]
    assert shown == ["inline; filename=\"K_se.png\"; filename*=UTF-8''K%C3%A4se.png", None]


# ---- the bytes themselves


def test_the_bytes_come_back_as_they_were(world: World) -> None:
    record = world.upload(color=3)
    assert world.bytes_of(record) == an_image(3)


def test_any_range_gives_exactly_those_bytes_and_says_which(world: World) -> None:
    body = an_image()
    record, size = world.upload(), len(body)
    for text, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=3-9", 3, 9),
        ("bytes=5-", 5, size - 1),
        ("bytes=-4", size - 4, size - 1),
        ("bytes=0-999999", 0, size - 1),
        (f"bytes=-{size + 9}", 0, size - 1),
    ):
        served = world.serving.bytes(record.object_id, {"range": text})
        assert served.content is not None
        assert (served.asked, served.content.body) == (Partial(first, last), body[first : last + 1])
        assert answers.content_headers(served)["Content-Range"] == f"bytes {first}-{last}/{size}"


def test_a_range_of_another_version_than_the_reader_has_gives_everything(world: World) -> None:
    record = world.upload()
    for tag, expected in ((f'"{record.etag}"', Partial(0, 1)), ('"another"', Full()), (f'W/"{record.etag}"', Full())):
        assert world.serving.bytes(record.object_id, {"range": "bytes=0-1", "if-range": tag}).asked == expected


def test_a_range_without_bytes_is_refused_and_nothing_is_read(world: World) -> None:
    record = world.upload()
    calls = len(world.store.calls)
    with pytest.raises(RangeNotSatisfiable, match=f"{record.size} bytes"):
        world.serving.bytes(record.object_id, {"range": f"bytes={record.size}-"})
    assert len(world.store.calls) == calls


def test_bytes_that_no_answer_carries_are_not_read(world: World) -> None:
    record = adopted(world, "projects/p1/scenes/s/media/large.mp4", bytes(LARGE))
    calls = len(world.store.calls)
    for headers in ({}, {"range": "bytes=0-"}, {"range": f"bytes=0-{LARGE - 1}"}):
        with pytest.raises(TooLarge, match="by its url"):
            world.serving.bytes(record.object_id, headers)
    assert len(world.store.calls) == calls


def test_a_large_object_is_read_range_by_range_as_large_as_an_answer_carries(world: World) -> None:
    body = bytes(range(256)) * 391
    record = adopted(world, "projects/p1/scenes/s/media/large.mp4", body)
    read = b""
    for first in range(0, len(body), 100_000):
        content = world.serving.bytes(record.object_id, {"range": f"bytes={first}-{first + 99_999}"}).content
        assert content is not None
        read += content.body
    assert read == body


def test_an_object_without_a_byte_is_served_whole(world: World) -> None:
    record = adopted(world, "projects/p1/scenes/s/media/empty.mp4", b"")
    for headers in ({}, {"range": "bytes=-5"}):
        served = world.serving.bytes(record.object_id, headers)
        assert served.content is not None
        assert (served.asked, served.content.body) == (Full(), b"")


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=20-30"}], ids=["whole", "a range"])
def test_bytes_lost_since_the_last_look_are_a_clear_answer(world: World, headers: Mapping[str, str]) -> None:
    record = world.upload()
    world.store.remove(record.key)
    with pytest.raises(ObjectMissing, match="under its key"):
        world.serving.bytes(record.object_id, headers)


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=20-30"}, {"range": "bytes=0-1"}], ids=["whole", "beyond its end", "inside"])
def test_bytes_of_another_object_under_the_key_are_never_served(world: World, headers: Mapping[str, str]) -> None:
    record = world.upload()
    world.plant(record.key, body=b"short")
    with pytest.raises(ObjectMissing, match="something else"):
        world.serving.bytes(record.object_id, headers)


# ---- headers


def test_bytes_are_served_never_sniffed_and_never_run() -> None:
    headers = served_bytes(a_record())
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("image/png", "inline"),
        ("image/jpeg", "inline"),
        ("image/webp", "inline"),
        ("image/svg+xml", "attachment"),
        ("text/html", "attachment"),
        ("application/pdf", "attachment"),
        ("video/mp4", "attachment"),
        ("application/octet-stream", "attachment"),
        ("image/png; charset=utf-8", "attachment"),
        (None, "attachment"),
    ],
)
def test_only_images_that_cannot_run_anything_are_shown_in_place(content_type: str | None, kind: str) -> None:
    for file_name in (None, "x.png"):
        assert served_bytes(a_record(content_type=content_type, file_name=file_name))["Content-Disposition"].split(";")[0] == kind


@given(st.text(min_size=1, max_size=255), st.sampled_from(["image/png", "text/html"]))
@example('a"; filename="evil.exe', "image/png")
@example("a\r\nSet-Cookie: x=1", "text/html")
@example("../../etc/passwd", "image/png")
@example("..\\..\\boot.ini", "image/png")
@example("\udc80\u202egpj.exe", "image/png")
@example("100%41.png", "image/png")
def test_no_file_name_leaves_its_header_or_its_folder(file_name: str, content_type: str) -> None:
    shown = served_bytes(a_record(content_type=content_type, file_name=file_name))["Content-Disposition"]
    match = re.fullmatch(r"(inline|attachment); filename=\"([^\"\\/%\x00-\x1f\x7f]*)\"; filename\*=UTF-8''([A-Za-z0-9._~%-]*)", shown)
    assert match is not None and shown.isascii()
    decoded = unquote(match[3], errors="strict")
    assert re.search(r'[\x00-\x1f\x7f/\\"]', decoded) is None
    if re.search(r'[\x00-\x1f\x7f/\\"\ud800-\udfff]', file_name) is None:
        assert decoded == file_name


def test_an_answer_says_what_lets_the_reader_ask_for_the_rest_or_again() -> None:
    headers = served_bytes(a_record(), Partial(2, 5))
    assert {name: headers[name] for name in ("ETag", "Last-Modified", "Accept-Ranges", "Content-Range", "Cache-Control")} == {
        "ETag": '"abc"',
        "Last-Modified": "Thu, 01 Jan 1970 00:00:01 GMT",
        "Accept-Ranges": "bytes",
        "Content-Range": "bytes 2-5/10",
        "Cache-Control": "private, max-age=60",
    }


def test_a_whole_object_is_answered_without_a_content_range() -> None:
    assert "Content-Range" not in served_bytes(a_record())


@pytest.mark.parametrize(
    ("kept", "answered"),
    [
        (None, "private"),
        ("public, max-age=31536000, immutable", "private, max-age=31536000, immutable"),
        ("PUBLIC,s-maxage=60 , max-age=5", "private, max-age=5"),
        ("private, no-cache", "private, no-cache"),
        ("no-store", "private, no-store"),
    ],
)
def test_what_the_api_itself_answers_is_kept_by_no_cache_that_others_share(kept: str | None, answered: str) -> None:
    assert served_bytes(a_record(cache_control=kept))["Cache-Control"] == answered


def test_a_signed_url_of_what_came_to_be_html_saves_it_also_where_nobody_named_it(world: World) -> None:
    record = replace(world.upload(), content_type="text/html")
    answer = world.store.fetch(str(world.serving.url(record)))
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="{record.object_id}.png";')


def test_an_answer_without_bytes_says_how_long_they_keep_and_nothing_of_how_they_are_shown() -> None:
    assert answers.content_headers(Served(a_record(), NotModified())) == {
        "ETag": '"abc"',
        "Last-Modified": "Thu, 01 Jan 1970 00:00:01 GMT",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=60",
    }
