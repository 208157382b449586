"""The findings of a run as lines of a file: JSON Lines, which lose nothing, or CSV, which spreadsheets open.

A key is whatever somebody once named a file, so a cell of CSV can be meant to be run by who opens it. Text whose first character that can
be seen is a sign that spreadsheets read as a formula's, or the apostrophe that says it is none, gets an apostrophe before it (owasp.org,
CSV Injection), and control characters are written as in URLs. White space and what cannot be seen are looked past, since readers trim
them. `key_encoded` is the key to the byte, as S3 Inventory writes it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from stocktake.answers import timed
from stocktake.explanations import explained
from stocktake.ledger import Operations
from stocktake.reconciliation.selection import rows_after

_COLUMNS = (
    "key",
    "key_encoded",
    "class",
    "kind",
    "layout",
    "project",
    "bytes",
    "first_seen_at",
    "sightings",
    "repair",
    "object_bytes",
    "object_etag",
    "object_last_modified",
    "record_object_id",
    "record_state",
    "record_bytes",
    "record_etag",
    "record_updated_at",
    "meaning",
    "likely_cause",
    "recommended",
)
_FORMULA = ("=", "+", "-", "@", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four are their full-width forms
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def lines(operations: Operations, run_id: str, form: str, after: str) -> Iterator[tuple[str, bytes]]:
    """Yields the name of each finding's row and its line, in order, those after `after`; the first line of CSV names the columns."""
    head = _row(_COLUMNS) if form == "csv" and not after else b""
    for row in rows_after(operations, run_id, "finding#", after or None):
        document = timed(explained({**row.document, "repair": row.status}))
        yield row.part, head + (_csv(document) if form == "csv" else json.dumps(document).encode() + b"\n")
        head = b""


def _csv(document: dict[str, Any]) -> bytes:
    flat = {
        **document,
        "key_encoded": _encoded(document["key"]),
        **{f"object_{name}": value for name, value in (document["object"] or {}).items()},
        **{f"record_{name}": value for name, value in (document["record"] or {}).items()},
    }
    return _row([_cell(flat.get(name)) for name in _COLUMNS])


def _row(cells: Any) -> bytes:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow(cells)
    return line.getvalue().encode()


def _cell(value: Any) -> str:
    if not isinstance(value, str):
        return "" if value is None else str(value)
    text = _CONTROL.sub(lambda match: quote(match[0]), value)
    first = next((character for character in text if character.isprintable() and not character.isspace()), "")
    return f"'{text}" if first in _FORMULA else text


def _encoded(key: str) -> str:
    encoded = quote(key, safe="/")
    return f"%2D{encoded[1:]}" if encoded.startswith("-") else encoded
