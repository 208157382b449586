"""What a deletion did and left, added up from the rows it wrote."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from stocktake.discovery import Suspect
from stocktake.layouts import Prefix
from stocktake.ledger import Operation, Operations
from stocktake.model import KeyFailure, Tally
from stocktake.project_deletion.batches import WITHOUT_OBJECT, objects_of
from stocktake.project_deletion.refusals import refusals
from stocktake.project_deletion.remaining import rows_of

KEYS_SHOWN = 1000
LIST_BYTES = 80_000
"""JSON of one list on a receipt, of which there are three: DynamoDB takes 400 KB an item."""
MESSAGE_LENGTH = 100
"""Bytes that are kept of a store's own words about one key."""


def receipt(operations: Operations, operation: Operation, prefixes: Sequence[Prefix], *, at: int) -> dict[str, Any]:
    """Returns the receipt of a deletion as it stands after its round, once the final sweep has written all that remains.

    Args:
        prefixes: every place that the sweep listed.
        at: milliseconds; when the deletion finished.
    """
    deletion_id, document = operation.operation_id, operation.document
    left = _left(operations, deletion_id, document["round"], prefixes)
    return {
        "deletion_id": deletion_id,
        "project_id": document["project_id"],
        "epoch": document["epoch"],
        "status": "INCOMPLETE" if left["remaining_objects"] or left["suspect_objects"] else "DELETED",
        "mode": document.get("mode", "both"),
        "reason": document["reason"],
        "requested_by": document.get("requested_by"),
        "replay_of": document.get("replay_of"),
        "requested_at": document["requested_at"],
        "finished_at": at,
        "rounds": document["round"],
        "set_aside": document.get("set_aside"),
        **_removed(operations, deletion_id),
        **_refused(operations, deletion_id, document["round"]),
        "removed_keys_sha256": _hashes(operations, deletion_id, document["round"]),
        **left,
    }


def pseudonym(deletion_id: str, requested_by: str | None) -> str | None:
    """Returns what a receipt keeps of who asked: SHA-256 of the deletion's id, a zero byte, and the caller's name; None for nobody.

    Who knows the name can confirm it. Who does not can neither read it nor tell which receipts are of one person.
    """
    return None if requested_by is None else hashlib.sha256(f"{deletion_id}\0{requested_by}".encode()).hexdigest()


class Totals:
    """Objects and bytes by layout and by source, in the form receipts keep. Records without object count under `records` only."""

    def __init__(self) -> None:
        self._by: dict[str, Counter[tuple[str, str]]] = {"layout": Counter(), "source": Counter()}

    def add(self, layout: str, source: str, size: int, *, objects: int = 1) -> None:
        if source in WITHOUT_OBJECT:
            return
        for by, name in (("layout", layout), ("source", source)):
            self._by[by][name, "objects"] += objects
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


def _refused(operations: Operations, deletion_id: str, rounds: int) -> dict[str, Any]:
    """Returns which keys were refused, in how many rounds, and how many of those refusals were followed by another try."""
    keys = retries = size = 0
    shown: list[dict[str, Any]] = []
    for refusal in refusals(operations, deletion_id, rounds=rounds):
        keys += 1
        retries += refusal.times - (refusal.last_round == rounds)
        line = {"key": refusal.key, "code": refusal.code, "message": refusal.message, "refusals": refusal.times}
        size += len(json.dumps(line))
        if size <= LIST_BYTES:
            shown.append(line)
    return {"retries": retries, "refused_objects": keys, "refused": shown}


def _hashes(operations: Operations, deletion_id: str, rounds: int) -> dict[str, Any]:
    """Returns the SHA-256 of the sorted list of removed keys, of each round and of all.

    It is of the keys' UTF-8 bytes, each followed by a zero byte, which is what `LC_ALL=C sort -z | sha256sum` reads. A key that was
    written again and removed in two rounds is in the list twice, as it is twice among the objects.
    """
    numbers = range(1, rounds + 1)
    of_round = {number: hashlib.sha256() for number in numbers}
    of_all = hashlib.sha256()
    merged = heapq.merge(*(_removed_keys(operations, deletion_id, number) for number in numbers))
    for key, number in merged:
        line = f"{key}\0".encode()
        of_round[number].update(line)
        of_all.update(line)
    return {"all": of_all.hexdigest(), "rounds": {str(number): made.hexdigest() for number, made in of_round.items()}}


def _removed_keys(operations: Operations, deletion_id: str, round_number: int) -> Iterator[tuple[str, int]]:
    """Yields the keys whose objects a round removed, in order, each with the round's number."""
    # both are numbered in key order, and a batch whose result is not written has removed nothing that is counted
    batches = operations.all_parts(deletion_id, f"batch#{round_number:02d}#")
    for result in operations.all_parts(deletion_id, f"result#{round_number:02d}#"):
        batch = next((batch for batch in batches if batch.part.split("#")[2] == result.part.split("#")[2]), None)
        if batch is None:
            return  # of an incomplete deletion taken up again after more than a year: the rows of its first rounds expire one by one
        refused = {failure["key"] for failure in result.document["failures"]}
        for key in objects_of(batch.document):
            if key not in refused:
                yield key, round_number


def _left(operations: Operations, deletion_id: str, round_number: int, prefixes: Sequence[Prefix]) -> dict[str, Any]:
    """Returns what the fresh listings read and what remains, with the first keys of it; all of them are in the rows."""
    counts: Counter[bool] = Counter()
    shown: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    size: Counter[bool] = Counter()
    listed: Counter[str] = Counter()
    for row in operations.all_parts(deletion_id, rows_of(round_number)):
        listed.update(row.document["listed"])
        for line in row.document["lines"]:
            is_suspect = line.get("suspect", False)
            counts[is_suspect] += 1
            size[is_suspect] += len(json.dumps(line))
            if size[is_suspect] <= LIST_BYTES:
                shown[is_suspect].append({name: value for name, value in line.items() if name != "suspect"})
    return {
        "listings": [{"layout": prefix.layout, "prefix": prefix.prefix, "objects": listed[prefix.prefix]} for prefix in prefixes],
        "remaining_objects": counts[False],
        "remaining": shown[False],
        "suspect_objects": counts[True],
        "suspects": shown[True],
    }


def failure_line(failure: KeyFailure) -> dict[str, str]:
    """Returns why a key could not be deleted, as result rows keep it."""
    return {"key": failure.key, "code": failure.code, "message": failure.message.encode()[:MESSAGE_LENGTH].decode(errors="ignore")}


def suspect_lines(suspects: Iterable[Suspect]) -> list[dict[str, Any]]:
    """Returns the first suspects, as many as an answer holds."""
    fitting, size = [], 0
    for suspect in suspects:
        line = {"key": suspect.key, "bytes": suspect.size, "why": suspect.why}
        size += len(json.dumps(line))
        if size > LIST_BYTES:
            break
        fitting.append(line)
    return fitting
