from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocktake.ids import derived_id, new_id, time_of_id

NOW = 1_795_239_000_000


def test_a_derived_id_is_a_ulid_of_the_seeds_time() -> None:
    seed = new_id(NOW)
    derived = derived_id(seed, "image")
    assert time_of_id(derived) == NOW
    assert derived != seed


def test_a_derived_id_is_the_same_in_every_process() -> None:
    assert derived_id("01M7Z3NYE0AAAAAAAAAAAAAAAA", "image") == "01M7Z3NYE01G3ZVPFZGHBYRXT4"


@given(first=st.tuples(st.integers(0, 9), st.text(max_size=3)), second=st.tuples(st.integers(0, 9), st.text(max_size=3)))
def test_other_seeds_and_other_names_give_other_ids(first: tuple[int, str], second: tuple[int, str]) -> None:
    ids = {derived_id(f"01M7Z3NYE0{number:016d}", name) for number, name in (first, second)}
    assert len(ids) == len({first, second})


@pytest.mark.parametrize("seed", ["", "01M7Z3NYE0", "01m7z3nye0aaaaaaaaaaaaaaaa"])
def test_nothing_is_derived_from_what_is_no_ulid(seed: str) -> None:
    with pytest.raises(ValueError, match="no ULID"):
        derived_id(seed, "image")
