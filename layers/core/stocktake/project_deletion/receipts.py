"""What a deletion did and left, added up from the rows it wrote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from stocktake.discovery import Discovered, Discovery, Suspect
from stocktake.ledger import Operation, Operations
from stocktake.model import KeyFailure, Tally
from stocktake.project_deletion.batches import WITHOUT_OBJECT

REMAINING_SHOWN = 1000
LIST_BYTES = 100_000
"""JSON of one list on a receipt, of which there are two: DynamoDB takes 400 KB an item."""
MESSAGE_LENGTH = 100
"""What is kept of a store's own words about one key."""


def receipt(
    operations: Operations,
    operation: Operation,
    discovery: Discovery,
    remaining: Sequence[Discovered],
    objects: int,
    *,
    whole: bool,
    at: int,
) -> dict[str, Any]:
    """Returns the receipt of a deletion as it stands after its round.

    Args:
        discovery: the final sweep's, walked to its end or as far as there was time.
        remaining: the first of the objects that it found, of which there are `objects`.
        whole: whether it was walked to its end.
        at: milliseconds; when the deletion finished.
    """
    deletion_id, document = operation.operation_id, operation.document
    failures = {failure["key"]: failure for failure in _failures(operations, deletion_id, document["round"])}
    return {
        "deletion_id": deletion_id,
        "project_id": document["project_id"],
        "epoch": document["epoch"],
        "status": "DELETED" if whole and not objects and not discovery.suspects else "INCOMPLETE",
        "reason": document["reason"],
        "requested_at": document["requested_at"],
        "finished_at": at,
        "rounds": document["round"],
        **_removed(operations, deletion_id),
        "listings": [{"layout": prefix.layout, "prefix": prefix.prefix, "objects": count} for prefix, count in discovery.listed.items()],
        "listed_whole": whole,
        "remaining_objects": objects,
        "remaining": _fitting({"key": found.key, "bytes": found.size, "why": _why(failures.get(found.key))} for found in remaining),
        "suspect_objects": len(discovery.suspects),
        "suspects": suspect_lines(discovery.suspects),
    }


class Totals:
    """Objects and bytes by layout and by source, in the form receipts keep. Records without object count under `records` only."""

    def __init__(self) -> None:
        self._by: dict[str, Counter[tuple[str, str]]] = {"layout": Counter(), "source": Counter()}

    def add(self, layout: str, source: str, size: int) -> None:
        if source in WITHOUT_OBJECT:
            return
        for by, name in (("layout", layout), ("source", source)):
            self._by[by][name, "objects"] += 1
            self._by[by][name, "bytes"] += size

    def merge(self, document: Mapping[str, Any]) -> None:
        for by, counter in self._by.items():
            for name, tally in document[f"by_{by}"].items():
                counter[name, "objects"] += tally["objects"]
                counter[name, "bytes"] += tally["bytes"]

    def document(self) -> dict[str, Any]:
        layouts = self._by["layout"]
        names = {by: sorted({name for name, _ in counter}) for by, counter in self._by.items()}
        return {
            "objects": sum(layouts[name, "objects"] for name in names["layout"]),
            "bytes": sum(layouts[name, "bytes"] for name in names["layout"]),
            **{
                f"by_{by}": {name: {"objects": counter[name, "objects"], "bytes": counter[name, "bytes"]} for name in names[by]}
                for by, counter in self._by.items()
            },
        }


def _removed(operations: Operations, deletion_id: str) -> dict[str, Any]:
    totals, records, versions, batches, inline = Totals(), 0, 0, 0, Tally()
    for row in operations.all_parts(deletion_id, "result#"):
        totals.merge(row.document)
        records += row.document["records"]
        versions += row.document["versions"]
        inline += Tally(*row.document.get("inline", (0, 0)))  # absent from a deletion of before bytes could lie in the ledger
        batches += 1
    uploads = sum(1 for _ in operations.all_parts(deletion_id, "upload#"))
    in_ledger = {"objects": inline.objects, "bytes": inline.bytes}
    return {
        **totals.document(),
        "records": records,
        "inline": in_ledger,
        "versions": versions,
        "multipart_uploads_aborted": uploads,
        "batches": batches,
    }


def _failures(operations: Operations, deletion_id: str, round_number: int) -> Iterator[dict[str, str]]:
    for row in operations.all_parts(deletion_id, f"result#{round_number:02d}#"):
        yield from row.document["failures"]


def failure_line(failure: KeyFailure) -> dict[str, str]:
    """Returns why a key could not be deleted, as result rows keep it."""
    return {"key": failure.key, "code": failure.code, "message": failure.message[:MESSAGE_LENGTH]}


def suspect_lines(suspects: Sequence[Suspect]) -> list[dict[str, Any]]:
    """Returns the first suspects, as many as fit on a receipt."""
    return _fitting({"key": suspect.key, "bytes": suspect.size, "why": suspect.why} for suspect in suspects)


def _fitting(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the first lines, as many as fit on a receipt."""
    fitting, size = [], 0
    for line in lines:
        size += len(json.dumps(line))
        if size > LIST_BYTES:
            break
        fitting.append(line)
    return fitting


def _why(failure: Mapping[str, str] | None) -> str:
    if failure is not None:
        return f"{failure['code']}: {failure['message']}"
    return "it came back after every round: something keeps writing under this key"
