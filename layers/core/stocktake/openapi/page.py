"""The page that shows the document to people: made whole on the server, no script, no request to anywhere.

So it also shows where a page's scripts stay dead, as behind the sign-in page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_CSS = """
:root {
  color-scheme: light dark;
  --ink: light-dark(#1b1f24, #e8eaed); --dim: light-dark(#5b6570, #9aa4ae); --line: light-dark(#d9dee3, #343b43);
  --card: light-dark(#fff, #1c2126); --ground: light-dark(#f4f6f8, #121518); --link: light-dark(#0b5cad, #7db8f0);
}
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 72rem; margin: auto; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.4rem; margin: 0 }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
h3 { font-size: .95rem; margin: 1rem 0 .25rem }
a { color: var(--link) }
.dim { color: var(--dim) }
details { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; margin: .4rem 0; padding: .5rem .9rem }
summary { cursor: pointer; overflow-wrap: anywhere }
summary b { display: inline-block; min-width: 4.2rem }
code, pre { font: .9em/1.45 ui-monospace, monospace }
pre { overflow-x: auto; background: var(--ground); border-radius: .4rem; padding: .6rem .8rem; margin: .4rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600; color: var(--dim) }
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {_hash(_CSS)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page(document: Mapping[str, Any]) -> str:
    """Returns the page of an OpenAPI document."""
    info, schemas = document["info"], document["components"]["schemas"]
    operations = [(method, path, it) for path, methods in document["paths"].items() for method, it in methods.items()]
    sections = "".join(
        f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>"
        + "".join(_operation(*found) for found in operations if tag["name"] in found[2]["tags"])
        for tag in document["tags"]
    )
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in info["description"].split("\n\n"))
    shown = "".join(_schema(name, schema) for name, schema in sorted(schemas.items()))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])}: the API</title><style>{_CSS}</style></head><body><main>"
        f'<h1>{escape(info["title"])} <span class="dim">{escape(info["version"])}</span></h1>{paragraphs}{sections}'
        f"<h2>schemas</h2>{shown}</main></body></html>"
    )


def _operation(method: str, path: str, it: Mapping[str, Any]) -> str:
    scopes = " ".join(scope for requirement in it["security"] for names in requirement.values() for scope in names)
    parts = [f"<p>{escape(it.get('description', ''))}</p>", f'<p class="dim">Scope: {escape(scopes or "none")}</p>']
    if it["parameters"]:
        rows = [
            (f"<code>{escape(one['name'])}</code>", one["in"], _type(one["schema"]), escape(one["description"])) for one in it["parameters"]
        ]
        parts.append(f"<h3>Parameters</h3>{_table(('name', 'in', 'type', ''), rows)}")
    if "requestBody" in it:
        parts.append(f"<h3>Body</h3>{_content(it['requestBody']['content'])}")
    for status, response in it["responses"].items():
        headers = ", ".join(response.get("headers", {}))
        parts.append(f"<h3>{status}</h3><p>{escape(response['description'])}</p>")
        parts.append(f'<p class="dim">Headers: {escape(headers)}</p>' if headers else "")
        parts.append(_content(response.get("content", {})))
    return (
        f'<details id="{escape(it["operationId"])}"><summary><b>{method.upper()}</b> <code>{escape(path)}</code> '
        f'<span class="dim">{escape(it["summary"])}</span></summary>{"".join(parts)}</details>'
    )


def _content(content: Mapping[str, Any]) -> str:
    shown = []
    for media_type, it in content.items():
        shown.append(f"<p><code>{escape(media_type)}</code> {_type(it.get('schema', {}))}</p>")
        # a problem's example says no more than its schema
        for example in [it["example"]] if "example" in it else [one["value"] for one in it.get("examples", {}).values() if "value" in one]:
            shown.append(f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>")
    return "".join(shown)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(field)}</code>",
            _type(it) + ("" if field in required or "const" in it else ' <span class="dim">may be left out</span>'),
            escape(it.get("description", "")),
        )
        for field, it in schema.get("properties", {}).items()
    ]
    meaning = escape(schema.get("description", ""))
    return (
        f'<details id="schema-{escape(name)}"><summary><b>{escape(name)}</b> <span class="dim">{meaning}</span></summary>'
        f"{_table(('field', 'type', ''), rows)}</details>"
    )


def _type(schema: Mapping[str, Any]) -> str:
    """Says in a few words what a schema takes, with links to the schemas it names."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(_type(one) for one in schema[word])
    if "const" in schema or "enum" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items']) or 'anything'}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    return escape(str(schema.get("format") or schema.get("contentMediaType") or schema.get("type") or ""))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
