"""One ordered stream out of any listing."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.errors import ListingOutOfOrder, ListingTooLarge, StorageUnavailable
from stocktake.model import ListedObject
from stocktake.storage.memory import MemoryStore
from stocktake.storage.ordering import sorted_on_disk, stream, verified
from tests.unit.storage.wire import ABLE

KEYS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=30)


def row(key: str, size: int = 1) -> ListedObject:
    return ListedObject(key, size, f"etag of {key}", 1_700_000_000_000)


def keys_of(rows: Iterator[ListedObject]) -> list[str]:
    return [found.key for found in rows]


def test_an_ordered_listing_passes_as_it_is() -> None:
    pages = [[row("a"), row("a/b")], [], [row("b")]]

    assert list(verified(pages)) == [row("a"), row("a/b"), row("b")]


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"], ["a/b", "a-b"], ["\U0001f600", "\uff5e"]])
@pytest.mark.parametrize("page_size", [1, 2])
def test_a_listing_out_of_order_is_an_error_within_a_page_and_across_pages(keys: list[str], page_size: int) -> None:
    pages = [[row(key) for key in page] for page in itertools.batched(keys, page_size, strict=False)]

    with pytest.raises(ListingOutOfOrder, match="cannot be trusted"):
        list(verified(pages))


@given(KEYS)
def test_the_sort_on_disk_is_pythons_order_without_repeats(keys: list[str]) -> None:
    rows = list(sorted_on_disk([[row(key) for key in keys], [row(key) for key in keys[:2]]], tempfile.gettempdir()))

    assert rows == [row(key) for key in sorted(set(keys))]
    assert list(verified([rows])) == rows


def test_a_key_listed_twice_is_the_one_listed_last(tmp_path: Path) -> None:
    assert list(sorted_on_disk([[row("b", 1)], [row("a"), row("b", 2)]], str(tmp_path))) == [row("a"), row("b", 2)]


def test_the_sort_removes_its_file_when_done_when_left_and_when_broken(tmp_path: Path) -> None:
    def broken() -> Iterator[Sequence[ListedObject]]:
        yield [row("a")]
        raise StorageUnavailable("no")

    list(sorted_on_disk([[row("a")]], str(tmp_path)))
    left = sorted_on_disk([[row("a"), row("b")]], str(tmp_path))
    next(left)
    assert list(tmp_path.iterdir()) != []
    left.close()  # type: ignore[attr-defined]  # a generator
    with pytest.raises(StorageUnavailable):
        list(sorted_on_disk(broken(), str(tmp_path)))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ordering", ["utf8", "directory"])
def test_a_stream_holds_exactly_its_range(ordering: str, tmp_path: Path) -> None:
    store = MemoryStore(now=lambda: 0, ordering=ordering)  # type: ignore[arg-type]  # one of the two
    keys = ["p/a", "p/a-b", "p/a.b", "p/a/b", "p/a0", "p/b"]
    for key in [*keys, "q/a"]:
        store.plant(key)

    for after, until in itertools.product(["", *keys], [None, *keys]):
        expected = [key for key in keys if key > after and (until is None or key <= until)]
        assert keys_of(stream(store, "p/", after=after, until=until, directory=str(tmp_path))) == expected


def test_an_ordered_store_is_left_at_the_end_of_the_range() -> None:
    store = MemoryStore(now=lambda: 0)
    for number in range(3000):
        store.plant(f"{number:04}")

    assert len(list(stream(store, until="0500"))) == 501
    assert [call for call in store.calls if call[0] == "list"] == [("list", "")]


def test_a_store_that_lists_otherwise_than_it_was_probed_is_caught_and_sorted_from_then_on() -> None:
    store = MemoryStore(now=lambda: 0, ordering="directory", profile=ABLE)
    for key in ("a-b", "a/b"):
        store.plant(key)

    with pytest.raises(ListingOutOfOrder):
        list(stream(store))
    assert keys_of(stream(store)) == ["a-b", "a/b"]


def test_a_store_that_is_not_to_be_trusted_is_sorted_whatever_its_profile_says() -> None:
    store = MemoryStore(now=lambda: 0, ordering="directory", profile=ABLE)
    for key in ("a-b", "a/b"):
        store.plant(key)

    assert keys_of(stream(store, trust_order=False)) == ["a-b", "a/b"]


def test_what_breaks_the_order_beyond_the_range_is_noticed_on_its_last_page() -> None:
    store = MemoryStore(now=lambda: 0, ordering="directory", profile=ABLE)
    for key in ("a", "b/b", "b-b"):
        store.plant(key)

    with pytest.raises(ListingOutOfOrder):
        list(stream(store, until="a"))


def test_a_sort_that_the_disk_cannot_hold_ends_with_a_name_before_the_disk_is_full(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    pages = ([row(f"{number:06}") for number in range(start, start + 1000)] for start in range(0, 100_000, 1000))
    read = itertools.count()

    with pytest.raises(ListingTooLarge, match="SortDiskMegabytes"):
        list(sorted_on_disk((page for page in pages if next(read) >= 0), str(tmp_path), reserve_bytes=free - 2**20))

    assert next(read) < 30
    assert list(tmp_path.iterdir()) == []
