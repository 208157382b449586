"""Emptying one batch: bytes first, records after. And what is left to ask for when the records are gone."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, groupby
from operator import attrgetter
from typing import Any

from stocktake.discovery import Discovered, Named
from stocktake.errors import RecordChanged
from stocktake.layouts import project_stem
from stocktake.ledger import Ledger, Operations
from stocktake.model import KeyFailure, LedgerEntry, State
from stocktake.project_deletion.batches import WITHOUT_OBJECT
from stocktake.project_deletion.receipts import Totals, failure_line
from stocktake.storage import ObjectVersion, Store

_SHARES = (46, 36, 18)
"""Of a batch, in percent.

The records of a part go while the store is at the bytes of the next, and few are left to go after the last, when the store has nothing to
do. With their counts in 16 shards the records of 1000 keys fill 11 transactions, as those of one part would.
"""
_WHOLE = 300
"""Keys that are not cut: the more requests would take longer than they save."""
PERSONAL_KINDS = ("generation", "idempotency", "multipart")
"""Operations named `{kind}#{stem}`: what callers said (prompts, answers, keys of uploads) beside what the records say."""


def remove(store: Store, ledger: Ledger, items: Sequence[Discovered], *, written_since: int, one_by_one: bool = False) -> dict[str, Any]:
    """Removes the objects and versions of a batch, then the records of those that went, and returns the result as its row holds it.

    The records of one part of the batch go while the bytes of the next do: one waits for the ledger, the other for the store.

    Args:
        one_by_one: with a request for each, one after the other.
        written_since: milliseconds; a URL given out for a record that was last touched before is dead, unless the record is an intent.
    """
    refused: dict[str, KeyFailure] = {}
    gone: list[Discovered] = []
    partly: list[tuple[Discovered, list[ObjectVersion]]] = []
    with ThreadPoolExecutor(1) as beside:
        removals: list[Future[tuple[str, ...]]] = []
        for part in _parts(items):
            failures = _remove_bytes(store, part, one_by_one)
            # a key once, however many of its versions it was: the row has to hold them all
            of_keys = {key: failure for (key, _), failure in failures.items()}
            went = [item for item in part if item.key not in of_keys]
            removals.append(beside.submit(_remove_records, ledger, [item.entry for item in went if item.entry is not None]))
            refused |= of_keys
            gone += went
            partly += [
                (item, [version for version in item.versions if (item.key, version.version_id) not in failures])
                for item in part
                if item.key in of_keys
            ]
        changed = {key for removal in removals for key in removal.result()}
    totals = Totals()
    for item in gone:
        totals.add(item.layout, item.source, item.size)
    for item, versions in partly:  # an object counts where the last of its versions goes: another round sees only those that are left
        totals.add(item.layout, item.source, sum(version.size for version in versions), objects=0)
    entries = [item.entry for item in gone if item.entry is not None]
    inline = [entry.size for entry in entries if entry.state is State.INLINE]
    return {
        **totals.document(),
        "versions": sum(len(item.versions) for item in gone) + sum(len(versions) for _, versions in partly),
        "records": len(entries),
        "inline": [len(inline), sum(inline)],
        "failures": [failure_line(refused[key]) for key in sorted(refused)],
        "unsettled": [
            [entry.key, entry.state is State.PENDING]
            for entry in _unlisted(gone)
            if entry.key in changed or _may_be_written(entry, written_since)
        ],
    }


def _parts(items: Sequence[Discovered]) -> Iterator[Sequence[Discovered]]:
    first = 0
    for share in accumulate(_SHARES) if len(items) > _WHOLE else (100,):
        end = max(first, -(-len(items) * share // 100))
        # a key of very many versions is several lines, and its record goes when all of them have gone
        while 0 < end < len(items) and items[end].key == items[end - 1].key:
            end += 1
        if end > first:
            yield items[first:end]
        first = end


def _remove_bytes(store: Store, items: Sequence[Discovered], one_by_one: bool) -> dict[tuple[str, str | None], KeyFailure]:
    """Returns what the store refused, by key and version."""
    plain = [item.key for item in items if not item.versions and item.source not in WITHOUT_OBJECT]
    versions = [version for item in items for version in item.versions]
    failures = list(store.delete_many(plain, one_by_one=one_by_one).errors) if plain else []
    if versions:
        failures += store.delete_versions(versions, one_by_one=one_by_one).errors
    return {(failure.key, failure.version_id): failure for failure in reversed(failures)}


def _unlisted(items: Iterable[Discovered]) -> Iterator[LedgerEntry]:
    """Yields the records of which no listing knew an object."""
    return (item.entry for item in items if item.entry is not None and item.source in ("ledger", "record"))


def _may_be_written(entry: LedgerEntry, written_since: int) -> bool:
    """Says whether a URL given out for a record may still bring its object."""
    return entry.state is State.PENDING or entry.updated_at >= written_since


def unsettled(operations: Operations, deletion_id: str, *, rounds: int, after: str = "") -> Iterator[Named]:
    """Yields, in key order, what the first `rounds` rounds removed and a URL given out before may have written again since."""
    merged = heapq.merge(*(_unsettled_of(operations, deletion_id, number) for number in range(1, rounds + 1)), key=attrgetter("key"))
    # a record that the index still showed to the next round is in both
    return (next(group) for key, group in groupby(merged, key=attrgetter("key")) if key > after)


def _unsettled_of(operations: Operations, deletion_id: str, round_number: int) -> Iterator[Named]:
    # batches of a round are numbered in key order
    for row in operations.all_parts(deletion_id, f"result#{round_number:02d}#"):
        # absent from a deletion of before these were written down
        yield from (Named(key, announced) for key, announced in row.document.get("unsettled", ()))


def forget(operations: Operations, project_id: str, *, until: int, out_of_time: Callable[[], bool]) -> bool:
    """Removes what is kept of a project's requests beside its records, and says whether that was all. Saying it again is safe.

    Args:
        until: milliseconds; what began later is of the project created anew.
    """
    for kind in PERSONAL_KINDS:
        for operation in operations.of_kind(f"{kind}#{project_stem(project_id)}"):
            if operation.created_at > until:
                break  # they come oldest first
            operations.remove(operation.operation_id)
            if out_of_time():
                return False
    return True


def _remove_records(ledger: Ledger, entries: Sequence[LedgerEntry]) -> tuple[str, ...]:
    """Returns the keys whose records were newer than what was seen of them: touched, perhaps, by who puts their bytes at this moment."""
    changed = ledger.remove_many(entries).changed
    for key in changed:
        # read through an index, it was older than the row; the gate is closed, so what is there now stays
        while (record := ledger.record(key)) is not None:
            try:
                ledger.move(record, None, gated=False)
            except RecordChanged:
                continue
    return changed
