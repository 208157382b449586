"""The dashboard: one page that says at a glance how many objects are stored, what is wrong and what is going on.

Made whole on the server: no script, no request to anywhere, and a content security policy that holds it to that.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from html import escape
from typing import Any

from stocktake.ledger import Operation

_CSS = """
:root {
  color-scheme: light dark;
  --ink: light-dark(#1b1f24, #e8eaed); --dim: light-dark(#5b6570, #9aa4ae); --line: light-dark(#d9dee3, #343b43);
  --card: light-dark(#fff, #1c2126); --ground: light-dark(#f4f6f8, #121518);
  --good: light-dark(#1a7f4b, #4cc38a); --bad: light-dark(#b42318, #ff8a7a);
}
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 72rem; margin: auto; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.4rem; margin: 0 }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0 }
.dim { color: var(--dim) }
.good { color: var(--good) }
.bad { color: var(--bad) }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin-top: 1rem }
.card, .scroll { background: var(--card); border: 1px solid var(--line); border-radius: .6rem }
.card { padding: .8rem 1rem }
.card b { display: block; font-size: 1.8rem; line-height: 1.2 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .45rem .8rem; border-bottom: 1px solid var(--line); white-space: nowrap }
tr:last-child td { border-bottom: 0 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
td.w { white-space: normal; min-width: 11rem }
th { font-weight: 600; color: var(--dim) }
svg { display: block; width: 8rem; height: .7rem }
rect.track { fill: var(--line) }
rect.bar { fill: var(--good) }
"""

_HASH = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()

_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

PROJECTS_SHOWN = 200

_TROUBLE_WORDS = {
    "orphan": "objects without record",
    "missing": "records whose object is gone",
    "mismatch": "objects that differ from their record",
    "unstored": "records without object yet",
    "unknown": "keys no layout explains",
}


def page(analytics: Mapping[str, Any], runs: Sequence[Operation], deletions: Sequence[Operation]) -> str:
    """Returns the page for what `Analytics.overall`, `runs` and `deletions` say."""
    parts = [
        _cards(analytics),
        _troubles(analytics),
        _projects(analytics["projects"], analytics["projects_in_all"]),
        _runs(runs),
        _deletions(deletions),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Stocktake</title><style>{_CSS}</style></head><body><main><h1>Stocktake</h1>"
        f'<p class="dim">Ledger as of {_when(analytics["as_of"])}</p>{"".join(parts)}</main></body></html>'
    )


def _cards(analytics: Mapping[str, Any]) -> str:
    bucket, drift = analytics["bucket"], analytics["drift"]
    cards = [
        _card("stored", f"{analytics['stored']['objects']:,}", f"{_bytes(analytics['stored']['bytes'])} confirmed by the bucket"),
        _card("records in all", f"{analytics['records']['objects']:,}", "stored, pending, missing and set aside"),
    ]
    if bucket is None:
        cards.append(_card("in the bucket", "not counted", "no reconciliation has completed yet"))
    else:
        tone = "good" if drift["objects"] == 0 else "bad"
        cards.append(_card("in the bucket", f"{bucket['objects']:,}", f"{_bytes(bucket['bytes'])}, counted {_when(bucket['counted_at'])}"))
        cards.append(
            _card("drift", f"{drift['objects']:+,}" if drift["objects"] else "0", "bucket minus ledger when counted, in objects", tone)
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(label: str, number: str, note: str, tone: str = "") -> str:
    return (
        f'<div class="card"><span class="dim">{escape(label)}</span><b class="{tone}">{escape(number)}</b>'
        f'<p class="dim">{escape(note)}</p></div>'
    )


def _troubles(analytics: Mapping[str, Any]) -> str:
    if analytics["findings"] is None:
        return ""
    rows = [
        (f"{name}: {_TROUBLE_WORDS[name]}", f"{tally['objects']:,}", _bytes(tally["bytes"]))
        for name, tally in analytics["findings"].items()
        if tally["objects"]
    ]
    if not rows:
        return '<h2>Findings of the last complete run</h2><p class="good">None: bucket and ledger tell the same story.</p>'
    return "<h2>Findings of the last complete run</h2>" + _table(("What", "Objects", "Bytes"), rows, numbers={1, 2}, wrapped={0})


def _projects(projects: Sequence[Mapping[str, Any]], in_all: int) -> str:
    if not projects:
        return '<h2>Projects</h2><p class="dim">None yet: POST /projects opens one.</p>'
    rows = []
    for line in projects[:PROJECTS_SHOWN]:
        counts = line["counts"]
        stored, records = counts["STORED"], sum(tally["objects"] for tally in counts.values())
        rows.append(
            (
                line["project_id"],
                line["state"].lower(),
                _Bar(stored["objects"] / records if records else 0),
                f"{stored['objects']:,}",
                _bytes(stored["bytes"]),
                *(f"{counts[state]['objects']:,}" for state in ("MISSING", "PENDING", "QUARANTINED")),
            )
        )
    more = f'<p class="dim">and {in_all - len(rows):,} more</p>' if in_all > len(rows) else ""
    heads = ("Project", "State", "Stored of its records", "Stored", "Bytes", "Missing", "Pending", "Set aside")
    return "<h2>Projects</h2>" + _table(heads, rows, numbers={3, 4, 5, 6, 7}) + more


def _runs(runs: Sequence[Operation]) -> str:
    if not runs:
        return '<h2>Reconciliations</h2><p class="dim">None yet: POST /reconciliations starts one.</p>'
    rows = []
    for run in runs:
        counts = run.document.get("counts", {})
        found = sum(counts.get(name, {}).get("objects", 0) for name in _TROUBLE_WORDS)
        rows.append((run.operation_id, run.status.lower(), _when(run.created_at), f"{found:,}", run.document.get("why") or ""))
    return "<h2>Reconciliations</h2>" + _table(("Run", "Status", "Started", "Findings", ""), rows, numbers={3}, wrapped={4})


def _deletions(deletions: Sequence[Operation]) -> str:
    if not deletions:
        return ""
    rows = [
        (deletion.document["project_id"], deletion.status.lower(), _when(deletion.created_at), deletion.operation_id)
        for deletion in deletions
    ]
    return "<h2>Project deletions</h2>" + _table(("Project", "Status", "Requested", "Deletion"), rows)


class _Bar(float):
    """A share from 0 to 1, drawn."""


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Set[int] = frozenset(), wrapped: Set[int] = frozenset()) -> str:
    def cell(tag: str, column: int, value: Any) -> str:
        css = ' class="n"' if column in numbers else ' class="w"' if column in wrapped else ""
        if isinstance(value, _Bar):
            inner = (
                '<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="8"/>'
                f'<rect class="bar" width="{value * 100:.1f}" height="8"/></svg>'
            )
        else:
            inner = escape(str(value))
        return f"<{tag}{css}>{inner}</{tag}>"

    head = "".join(cell("th", column, value) for column, value in enumerate(heads))
    body = "".join("<tr>" + "".join(cell("td", column, value) for column, value in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _when(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _bytes(size: int) -> str:
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{size} B" if unit == "B" else f"{number:.1f} {unit}"
