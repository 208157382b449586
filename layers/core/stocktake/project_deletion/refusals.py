"""What the store refused to delete, round by round, read back from the result rows in key order."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from stocktake.ledger import Operations


@dataclass(frozen=True, slots=True)
class Refusal:
    """A key that was refused: in how many rounds, in which one last, and what the store said then."""

    key: str
    times: int
    last_round: int
    code: str
    message: str


def refusals(operations: Operations, deletion_id: str, *, rounds: int) -> Iterator[Refusal]:
    """Yields what the first `rounds` rounds were refused, in key order and each key once. Memory is a row a round."""
    merged = heapq.merge(*(_of_round(operations, deletion_id, number) for number in range(1, rounds + 1)), key=attrgetter("key"))
    for key, group in groupby(merged, key=attrgetter("key")):
        *before, last = group
        in_rounds = {refusal.last_round for refusal in (*before, last)}
        yield Refusal(key, len(in_rounds), last.last_round, last.code, last.message)


def _of_round(operations: Operations, deletion_id: str, round_number: int) -> Iterator[Refusal]:
    # batches of a round are numbered in key order, and each row holds its refusals in that order
    for row in operations.all_parts(deletion_id, f"result#{round_number:02d}#"):
        for failure in row.document["failures"]:
            yield Refusal(failure["key"], 1, round_number, failure["code"], failure["message"])
