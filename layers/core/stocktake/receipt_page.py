"""A deletion's receipt as one page to print: no script, no request to anywhere, and a content security policy that holds it to that."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_CSS = """
@page { margin: 18mm }
* { box-sizing: border-box }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #111; background: #fff; font: 14px/1.45 system-ui, sans-serif }
h1 { font-size: 1.3rem; margin: 0 }
h2 { font-size: 1rem; margin: 1.4rem 0 .3rem; break-after: avoid }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #ccc; overflow-wrap: anywhere }
th { white-space: nowrap; font-weight: 600 }
tr { break-inside: avoid }
thead { display: table-header-group }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.status { font-size: 1.1rem; font-weight: 700 }
code { font: 12px/1.4 ui-monospace, monospace }
@media print { body { margin: 0; padding: 0; max-width: none } }
"""

STYLE = f"'sha256-{base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()}'"
"""What a policy calls the page's style."""

TYPE = "text/html; charset=utf-8"
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {STYLE}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_FACTS = (
    ("Project", "project_id"),
    ("Epoch", "epoch"),
    ("Deletion", "deletion_id"),
    ("Reason", "reason"),
    ("Requested by (pseudonym)", "requested_by"),
    ("Requested at", "requested_at"),
    ("Finished at", "finished_at"),
    ("Mode", "mode"),
    ("Rounds", "rounds"),
    ("Objects removed", "objects"),
    ("Bytes removed", "bytes"),
    ("Records removed", "records"),
    ("Versions removed", "versions"),
    ("Multipart uploads aborted", "multipart_uploads_aborted"),
    ("Keys refused at least once", "refused_objects"),
    ("Retries", "retries"),
)


def page(receipt: Mapping[str, Any]) -> str:
    """Returns the page for a receipt whose times are written out, as `answers.timed` does."""
    facts = [(label, receipt.get(name)) for label, name in _FACTS]
    facts += [("Of the records, with their bytes in the ledger", receipt.get("inline", {}).get("objects"))]
    if aside := receipt.get("set_aside"):
        facts += [("Objects set aside before, for an undo", aside["objects"]), ("SHA-256 of their keys", aside["keys_sha256"])]
    if (cdn := receipt.get("cdn", {"provider": "none"}))["provider"] != "none":
        facts += [(f"Purged from the CDN ({cdn['provider']})", cdn["purged"]), ("Not purged from it", cdn["failed"])]
    hashes = receipt.get("removed_keys_sha256", {"all": None, "rounds": {}})
    parts = [
        f'<h1>Receipt of a deletion</h1><p class="status">{escape(str(receipt["status"]))}</p>',
        _pairs([(label, "" if value is None else f"{value:,}" if isinstance(value, int) else value) for label, value in facts]),
        "<h2>SHA-256 of the removed keys</h2>",
        _pairs([("all", hashes["all"] or ""), *((f"round {number}", made) for number, made in hashes["rounds"].items())], code=True),
        *(_tallies(f"Removed, by {by}", receipt[f"by_{by}"]) for by in ("layout", "source")),
        "<h2>Fresh listings</h2>",
        _table(
            ("Layout", "Prefix", "Objects found"), [(row["layout"], row["prefix"], f"{row['objects']:,}") for row in receipt["listings"]]
        ),
        _keys("Keys that remain", receipt["remaining"], receipt["remaining_objects"]),
        _keys("Suspects, never deleted", receipt["suspects"], receipt["suspect_objects"]),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Receipt {escape(str(receipt['deletion_id']))}</title><style>{_CSS}</style></head><body>{''.join(parts)}</body></html>"
    )


def _pairs(pairs: Sequence[tuple[str, Any]], *, code: bool = False) -> str:
    tag = ("<code>", "</code>") if code else ("", "")
    rows = "".join(f"<tr><th>{escape(label)}</th><td>{tag[0]}{escape(str(value))}{tag[1]}</td></tr>" for label, value in pairs)
    return f"<table>{rows}</table>"


def _tallies(title: str, tallies: Mapping[str, Mapping[str, int]]) -> str:
    rows = [(name, f"{tally['objects']:,}", f"{tally['bytes']:,}") for name, tally in tallies.items()]
    return f"<h2>{escape(title)}</h2>" + (_table(("", "Objects", "Bytes"), rows) if rows else "<p>None.</p>")


def _keys(title: str, lines: Sequence[Mapping[str, Any]], in_all: int) -> str:
    if not in_all:
        return f"<h2>{escape(title)}</h2><p>None.</p>"
    more = f"<p>and {in_all - len(lines):,} more: GET /deletions/…/remaining lists all.</p>" if in_all > len(lines) else ""
    return f"<h2>{escape(title)} ({in_all:,})</h2>" + _table(("Key", "Bytes", "Why"), [_key(line) for line in lines]) + more


def _key(line: Mapping[str, Any]) -> tuple[str, str, str]:
    return line["key"], f"{line['bytes']:,}", line["why"]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(value)}</th>" for value in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
