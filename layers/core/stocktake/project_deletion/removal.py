"""Emptying one batch: bytes first, records after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stocktake.discovery import Discovered
from stocktake.errors import RecordChanged
from stocktake.ledger import Ledger
from stocktake.model import LedgerEntry
from stocktake.project_deletion.receipts import Totals, failure_line
from stocktake.storage import Store


def remove(store: Store, ledger: Ledger, items: Sequence[Discovered]) -> dict[str, Any]:
    """Removes the objects and versions of a batch, then the records of those that went, and returns the result as its row holds it."""
    plain = [item.key for item in items if not item.versions and item.source not in ("record", "versions")]
    versions = [version for item in items for version in item.versions]
    failures = list(store.delete_many(plain).errors) if plain else []
    if versions:
        failures += store.delete_versions(versions).errors
    refused = {failure.key for failure in failures}
    totals = Totals()
    entries: list[LedgerEntry] = []
    versions_removed = 0
    for item in items:
        if item.key in refused:
            continue
        totals.add(item.layout, item.source, item.size)
        versions_removed += len(item.versions)
        if item.entry is not None:
            entries.append(item.entry)
    _remove_records(ledger, entries)
    return {
        **totals.document(),
        "versions": versions_removed,
        "records": len(entries),
        "failures": [failure_line(failure) for failure in failures],
    }


def _remove_records(ledger: Ledger, entries: Sequence[LedgerEntry]) -> None:
    for key in ledger.remove_many(entries).changed:
        # read through an index, it was older than the row; the gate is closed, so what is there now stays
        while (record := ledger.record(key)) is not None:
            try:
                ledger.move(record, None, gated=False)
            except RecordChanged:
                continue
