"""Uploads into the layout by session and persona, whose keys name no project: everything about them hangs on the record."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from stocktake.alignment import Outcome
from stocktake.errors import InvalidKey
from stocktake.ids import id_of_time
from stocktake.model import SessionPlace, State
from tests.unit.world import World, an_image

BOTH = SessionPlace("ada", "s1")


@pytest.mark.parametrize(("place", "folders"), [(BOTH, "s1/ada"), (SessionPlace("ada"), "ada")], ids=["session", "persona"])
def test_an_upload_lies_under_its_session_and_persona_by_a_name_that_is_its_objects_id(
    world: World, place: SessionPlace, folders: str
) -> None:
    record = world.upload(session_place=place)
    match = re.fullmatch(rf"images/{folders}/([0-9]{{13}})-([0-9A-Z]{{16}})\.png", record.key)
    assert match is not None
    assert id_of_time(int(match[1]), match[2]) == record.object_id
    assert (record.layout, record.state, world.bytes_of(record)) == ("session", State.STORED, an_image())


def test_two_projects_share_a_session_and_each_keeps_its_own(world: World) -> None:
    world.uploads.create_project("p2", {})
    ours, theirs = world.upload("p1", session_place=BOTH), world.upload("p2", session_place=BOTH)
    world.delete_project("p1")
    assert world.bucket_keys() == {theirs.key}
    assert [record.key for record in world.serving.page("p2", 10, None)[0]] == [theirs.key]
    assert ours.key != theirs.key


@pytest.mark.parametrize(
    "place",
    [
        SessionPlace("../etc"),
        SessionPlace("a/b"),
        SessionPlace(""),
        SessionPlace("a\n"),
        SessionPlace("x" * 101),
        SessionPlace("ada", ".."),
        SessionPlace("ada", "proj_p1"),
        SessionPlace("proj_p1"),
        SessionPlace("ada", ""),
    ],
    ids=repr,
)
def test_a_place_that_would_make_an_unsafe_key_is_refused_before_anything_is_written(world: World, place: SessionPlace) -> None:
    with pytest.raises(InvalidKey):
        world.upload(session_place=place)
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_an_event_commits_a_session_upload_whose_commit_was_lost(world: World) -> None:
    record = world.upload(session_place=BOTH)
    lost = replace(record, state=State.PENDING, etag=None, expires_at=world.clock() + 1)
    world.ledger.move(record, lost, gated=True)
    assert world.aligner().align(record.key).outcome is Outcome.COMMITTED
    assert list(world.counts()) == ["STORED"]


def test_an_object_in_a_session_without_a_record_is_nobodys(world: World) -> None:
    record = world.upload(session_place=BOTH)
    world.ledger.move(record, None, gated=False)
    assert world.aligner("reconciliation").align(record.key).outcome is Outcome.NO_PROJECT
    assert (world.counts(), world.bucket_keys()) == ({}, {record.key})


def test_bucket_and_ledger_agree_on_session_uploads(world: World) -> None:
    world.upload(session_place=BOTH)
    world.clock.advance(world.grace_ms + 1)
    assert world.found(world.reconcile()) == set()
