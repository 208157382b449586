"""The ledger: what should be in the bucket, whose it is, and how much of it there is.

`Ledger` is the only writer of records, projects and their counts; `Operations` keeps what deletions, reconciliations and quarantine
remember.
"""

from __future__ import annotations

from stocktake.ledger.counting import Cell, ProjectCounts
from stocktake.ledger.ledger import Ledger, RemovedSummary, shard_of
from stocktake.ledger.operations import JsonText, Operation, Operations
from stocktake.ledger.recounting import CountRow, CountRows
from stocktake.ledger.rows import Tables, tables
from stocktake.ledger.shapes import SHAPES, IndexShape, TableShape, differences, weaknesses

__all__ = [
    "SHAPES",
    "Cell",
    "CountRow",
    "CountRows",
    "IndexShape",
    "JsonText",
    "Ledger",
    "Operation",
    "Operations",
    "ProjectCounts",
    "RemovedSummary",
    "TableShape",
    "Tables",
    "differences",
    "shard_of",
    "tables",
    "weaknesses",
]
