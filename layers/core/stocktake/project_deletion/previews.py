"""Looking without deleting: what a deletion would remove, and what each of the two ways of looking finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from stocktake.discovery import Discovery, Suspect
from stocktake.ledger.operations import cursor_of, text_of_cursor
from stocktake.project_deletion.receipts import KEYS_SHOWN, Totals, suspect_lines


def dry_run(discovery: Discovery, cursor: str | None, out_of_time: Callable[[], bool]) -> dict[str, Any]:
    """Says what a deletion would remove, by layout and source.

    The first page walks on after its keys, so that its totals are of the whole project as far as there was time (`complete`); the totals of
    a page that follows are of its own keys.

    Returns: `{"project_id", "dry_run", "complete", "objects", "bytes", "by_layout", "by_source", "keys", "suspect_objects", "suspects",
    "cursor"}`; `cursor` is of the keys that follow, or None.

    Raises InvalidRequest for a cursor that is not one of ours.
    """
    totals, complete = Totals(), True
    keys: list[str] = []
    suspects: list[Suspect] = []
    suspected = 0
    following: str | None = None
    last = cursor
    for found in discovery.walk(after=text_of_cursor(cursor) if cursor is not None else ""):
        if last != cursor and out_of_time():  # every page gets on by a key
            complete, following = False, following or last
            break
        last = cursor_of(found.key)
        if isinstance(found, Suspect):
            suspected += 1
            if len(suspects) < KEYS_SHOWN:
                suspects.append(found)
            continue
        if len(keys) < KEYS_SHOWN:
            keys.append(found.key)
        else:
            following = cursor_of(keys[-1])
            if cursor is not None:
                break
        totals.add(found.layout, found.source, found.size)
    if discovery.stopped_at is not None:
        complete, following = False, following or cursor_of(keys[-1] if len(keys) == KEYS_SHOWN else discovery.stopped_at)
    return {
        "project_id": discovery.project_id,
        "dry_run": True,
        "complete": complete,
        **totals.document(),
        "keys": keys,
        "suspect_objects": suspected,
        "suspects": suspect_lines(suspects),
        "cursor": following,
    }


def diagnosis(discovery: Discovery, limit: int, cursor: str | None, out_of_time: Callable[[], bool]) -> dict[str, Any]:
    """Says what both ways of looking find, and of each key that only one finds, why; suspects among them.

    A page ends after `limit` lines, or when time is short. Its counts are of the keys it looked at: those of all pages add up.

    Returns: `{"project_id", "found": {source: {"objects", "bytes"}}, "only_one": [...], "suspects": [...], "cursor"}`.

    Raises InvalidRequest for a cursor that is not one of ours.
    """
    objects: Counter[str] = Counter()
    size: Counter[str] = Counter()
    only_one: list[dict[str, Any]] = []
    suspects: list[dict[str, Any]] = []
    following: str | None = None
    last = cursor
    for found in discovery.walk(after=text_of_cursor(cursor) if cursor is not None else ""):
        if len(only_one) + len(suspects) == limit or (last != cursor and out_of_time()):  # every page gets on by a key
            following = last
            break
        last = cursor_of(found.key)
        if isinstance(found, Suspect):
            suspects.append({"key": found.key, "bytes": found.size, "why": found.why})
            continue
        objects[found.source] += 1
        size[found.source] += found.size
        if (why := discovery.why_only(found)) is not None:
            only_one.append({"key": found.key, "bytes": found.size, "layout": found.layout, "source": found.source, "why": why})
    if discovery.stopped_at is not None:
        following = cursor_of(discovery.stopped_at)
    return {
        "project_id": discovery.project_id,
        "found": {source: {"objects": objects[source], "bytes": size[source]} for source in sorted(objects)},
        "only_one": only_one,
        "suspects": suspects,
        "cursor": following,
    }
