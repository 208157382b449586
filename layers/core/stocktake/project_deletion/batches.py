"""A batch of keys as it lies in its row: written before its message is sent, and deciding what the batch removed.

A line is one key, in the stream's order; a key of very many versions takes several.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from stocktake.discovery import Discovered
from stocktake.model import LedgerEntry, State
from stocktake.storage import ObjectVersion

BATCH_KEYS = 1000
"""One DeleteObjects request."""
SEQUENTIAL_KEYS = 200
"""Of a batch whose keys go one by one: at 0.2 s each, what a worker has time for."""
BATCH_BYTES = 160_000
"""JSON in one batch row: DynamoDB takes 400 KB an item, and a result row may hold every key twice, with what store or CDN said of it."""
KEEP_MS = 400 * 86_400_000
"""How long the rows stay that name keys, which callers may have chosen: long enough to show what a receipt was added up from."""
VERSIONS_AT_ONCE = 500
"""Versions of one key in one line of a batch row."""
WITHOUT_OBJECT = ("record", "versions", "gone")
"""Sources of lines that count no object: what else they hold is removed all the same."""
_as_stored = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps makes one for every line


def batches(
    found: Iterable[Discovered], out_of_time: Callable[[], bool], *, one_by_one: bool = False, most: int | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Yields batches as they are stored, of `most` keys; a smaller one when time is short, so that none of the looking is lost."""
    most = most or (SEQUENTIAL_KEYS if one_by_one else BATCH_KEYS)
    batch: list[dict[str, Any]] = []
    size = 0
    for line in (line for item in found for line in _lines(item)):
        written = write_line(line)
        weight = len(_as_stored(written))  # a control character of a key takes six bytes there
        if batch and (len(batch) == most or size + weight > BATCH_BYTES or out_of_time()):
            yield batch
            batch, size = [], 0
        batch.append(written)
        size += weight
    if batch:
        yield batch


def _lines(item: Discovered) -> Iterator[Discovered]:
    """Yields an item as lines that fit into rows: further versions of a key follow it as lines that count no object."""
    if len(item.versions) <= VERSIONS_AT_ONCE:
        yield item
        return
    yield replace(item, versions=item.versions[:VERSIONS_AT_ONCE])
    for start in range(VERSIONS_AT_ONCE, len(item.versions), VERSIONS_AT_ONCE):
        yield replace(item, source="versions", size=0, entry=None, versions=item.versions[start : start + VERSIONS_AT_ONCE])


def write_line(item: Discovered) -> dict[str, Any]:
    """Returns a line as it is stored."""
    written: dict[str, Any] = {"key": item.key, "layout": item.layout, "source": item.source, "size": item.size}
    if item.entry is not None:
        entry = item.entry
        written["entry"] = [entry.project_id, entry.state, entry.size, entry.etag, entry.updated_at, entry.version]
    if item.versions:
        written["versions"] = [[v.version_id, v.size, v.is_delete_marker, v.is_latest] for v in item.versions]
    return written


def read_line(written: Mapping[str, Any]) -> Discovered:
    """Returns what a stored line says."""
    key, entry = written["key"], None
    if "entry" in written:
        project_id, state, size, etag, updated_at, version = written["entry"]
        entry = LedgerEntry(key, project_id, State(state), size, etag, updated_at, version)
    versions = tuple(ObjectVersion(key, *fields) for fields in written.get("versions", ()))
    return Discovered(key, written["layout"], written["source"], written["size"], entry, versions)
