from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stocktake.discovery import Discovered, Discovery, Suspect
from stocktake.layouts import MEDIA_KINDS, Registry, project_stem, spellings
from stocktake.ledger import Ledger
from stocktake.storage.memory import MemoryStore


@dataclass
class Projects:
    """A ledger that knows projects and no records."""

    stems: set[str] = field(default_factory=set)

    def has_project(self, project_id: str) -> bool:
        return project_stem(project_id) in self.stems

    def record(self, key: str) -> None:
        return None

    def project_records(self, project_id: str, *, after: str = "") -> Iterator[object]:
        return iter(())


# digits that continue each other, the separator, the prefix, and what patterns and URLs are made of
pieces = st.sampled_from(
    ["1", "10", "0", "a", "b", "_", "__", "proj_", "proj", ".", "*", "+", "[1]", "(1", "%", "%2F", "%5f", "\\d", "$", "é", " "]
)
ids = st.lists(pieces, min_size=1, max_size=4).map("".join).filter(lambda text: project_stem(text) not in ("", "proj"))
segments = st.one_of(st.lists(pieces, max_size=3).map("".join), ids)


def keys_of(project_id: str, scene: str, file: str) -> set[str]:
    """Every key that old code may have written for a project, in every spelling of its id."""
    stem = project_stem(project_id)
    keys = {f"proj_{stem}_{scene}_{file}", f"proj_proj_{stem}_{scene}_{file}"}
    for spelling in spellings(stem):
        keys.add(f"projects/{spelling}/scenes/{scene}/media/{file}")
        keys.add(f"projects/{spelling}/2026/11/01KAHXPLEN0000000000000000.png")
    keys |= {f"{kind}/{spelling}/{scene}/{file}" for kind in MEDIA_KINDS for spelling in spellings(stem)[1:]}
    return keys


def seen(project_id: str, projects: set[str], *keys: str) -> tuple[set[str], set[str]]:
    """Returns what a deletion of the project would remove of these keys, and what it would report."""
    store = MemoryStore(now=lambda: 0)
    for key in keys:
        store.plant(key)
    ledger = cast(Ledger, Projects({project_stem(project) for project in projects}))
    walked = list(Discovery(store, ledger, Registry(), project_id).walk())
    removed = {found.key for found in walked if isinstance(found, Discovered)}
    return removed, {found.key for found in walked if isinstance(found, Suspect)}


def test_a_flat_key_with_an_empty_scene_is_the_one_projects_that_exists() -> None:
    key = "proj_p__s_m.mp4"
    assert seen("p", {"p"}, key) == ({key}, set())
    assert seen("p", {"p", "p_"}, key) == (set(), {key})


@settings(max_examples=100, deadline=None)
@given(ids, ids, segments, segments)
@example("proj_1", "proj_10", "s", "m.mp4")
@example("1", "proj_proj_1", "s", "m.mp4")
@example("a", "a_b", "s", "m.mp4")
@example("a", "b", "a", "b")
@example("p", "p_", "", "m.mp4")
@example("p", "q", "_s", "m.mp4")
def test_a_deletion_removes_no_key_of_another_project_and_passes_none_of_its_own_in_silence(
    ours: str, theirs: str, scene: str, file: str
) -> None:
    our_keys, their_keys = keys_of(ours, scene, file), keys_of(theirs, scene, file)
    removed, suspects = seen(ours, {ours, theirs}, *our_keys, *their_keys)
    if project_stem(ours) != project_stem(theirs):
        # a flat key that both may have written is nobody's
        assert removed & (their_keys - our_keys) == set()
        assert not removed & our_keys & their_keys
    assert our_keys <= removed | suspects


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("proj_a_b_lonely", "names a project 'a' that does not exist"),
        ("proj_p__m.mp4", "no layout explains it"),
        ("projects/p//media/m.mp4", "no layout explains it"),
        ("projects/p/scenes//media/m.mp4", "no layout explains it"),
        ("audio/proj_p/s/", "no layout explains it"),
    ],
)
def test_a_key_with_a_segment_too_few_or_an_empty_one_is_a_suspect(key: str, why: str) -> None:
    store = MemoryStore(now=lambda: 0)
    store.plant(key)
    project_id = "a_b" if "a_b" in key else "p"
    [found] = Discovery(store, cast(Ledger, Projects({project_id})), Registry(), project_id).walk()
    assert isinstance(found, Suspect)
    assert why in found.why
