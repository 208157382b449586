"""A batch of keys as it lies in its row: written before its message is sent, and deciding what the batch removed.

```
{"kinds": [[layout, source, project_id, state, counted_as], ...],
 "lines": [[key, place in kinds, size, versions or null, record's size, its etag, its updated_at, its version], ...]}
```

A line is one key, in the stream's order; a key of very many versions takes several. Without a record its kind and it end before what is of
the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from stocktake.discovery import Discovered
from stocktake.ledger import JsonText
from stocktake.model import LedgerEntry, State
from stocktake.storage import ObjectVersion

BATCH_KEYS = 1000
"""What DeleteObjects takes at most."""
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
Document = Mapping[str, Any]
_Kind = tuple[str | None, ...]
_STATES = {state.value: state for state in State}


def batches(
    found: Iterable[Discovered], out_of_time: Callable[[], bool], *, one_by_one: bool = False, most: int | None = None
) -> Iterator[JsonText]:
    """Yields batches as they are stored, of `most` keys; a smaller one when time is short, so that none of the looking is lost."""
    from msgspec.json import encode  # as the ledger's pages do, and 20 ms to import

    most = most or (SEQUENTIAL_KEYS if one_by_one else BATCH_KEYS)
    kinds: dict[_Kind, int] = {}
    lines: list[bytes] = []
    size = 0
    for item in chain.from_iterable(map(_lines, found)):
        kind = _kind(item)
        line = encode(_line(item, kinds.get(kind, len(kinds))))
        weight = len(line) + (0 if kind in kinds else len(encode(kind)))
        if lines and (len(lines) == most or size + weight > BATCH_BYTES or out_of_time()):
            yield _text(encode(list(kinds)), lines)
            kinds, lines, size = {}, [], 0
            line = encode(_line(item, 0))
        kinds.setdefault(kind, len(kinds))
        lines.append(line)
        size += weight
    if lines:
        yield _text(encode(list(kinds)), lines)


def _text(kinds: bytes, lines: Sequence[bytes]) -> JsonText:
    return JsonText((b'{"kinds":%b,"lines":[%b]}' % (kinds, b",".join(lines))).decode())


def items_of(document: Document) -> list[Discovered]:
    """Reads what a batch is of."""
    kinds = [(layout, source, of_record) for layout, source, *of_record in document["kinds"]]
    items = []
    for key, place, size, versions, *rest in document["lines"]:
        layout, source, of_record = kinds[place]
        entry = None
        if of_record:
            (project_id, state, counted_as), (record_size, etag, updated_at, version) = of_record, rest
            entry = LedgerEntry(key, project_id, _STATES[state], record_size, etag, updated_at, version, counted_as)
        items.append(Discovered(key, layout, source, size, entry, tuple(ObjectVersion(key, *fields) for fields in versions or ())))
    return items


def objects_of(document: Document) -> Iterator[str]:
    """Yields the keys of a batch's objects, in order: what else it holds counts no object."""
    counts = [source not in WITHOUT_OBJECT for _, source, *_ in document["kinds"]]
    return (line[0] for line in document["lines"] if counts[line[1]])


def last_key(document: Document) -> str:
    """Returns the key a batch ends with."""
    return str(document["lines"][-1][0])


def _lines(item: Discovered) -> Iterator[Discovered]:
    """Yields an item as lines that fit into rows: further versions of a key follow it as lines that count no object."""
    if len(item.versions) <= VERSIONS_AT_ONCE:
        yield item
        return
    yield item._replace(versions=item.versions[:VERSIONS_AT_ONCE])
    for start in range(VERSIONS_AT_ONCE, len(item.versions), VERSIONS_AT_ONCE):
        yield item._replace(source="versions", size=0, entry=None, versions=item.versions[start : start + VERSIONS_AT_ONCE])


def _kind(item: Discovered) -> _Kind:
    if (entry := item.entry) is None:
        return (item.layout, item.source)
    return (item.layout, item.source, entry.project_id, entry.state.value, entry.counted_as)


def _line(item: Discovered, place: int) -> list[Any]:
    versions = [[v.version_id, v.size, v.is_delete_marker, v.is_latest] for v in item.versions] or None
    if (entry := item.entry) is None:
        return [item.key, place, item.size, versions]
    return [item.key, place, item.size, versions, entry.size, entry.etag, entry.updated_at, entry.version]
