"""The page a browser gets in place of a bare 401: one field for a token, which then fetches what was asked for and shows it in place.

The token stays in the memory of the page and goes nowhere but to this API, in the header every client sends it in: there is no cookie that
could be sent by someone else's page, and nothing is left when the tab is closed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

HTML = "text/html; charset=utf-8"

_CSS = """
:root { color-scheme: light dark }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif }
main { max-width: 32rem; margin: 15vh auto 0; padding: 0 1rem }
h1 { font-size: 1.4rem }
label { display: block; margin-bottom: .25rem }
input, button { font: inherit; padding: .5rem .7rem; box-sizing: border-box }
input { width: 100%; margin-bottom: .75rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: 1rem }
"""

# What a page brings of style is put in through the object model, and what it brings of script stays dead: this page's policy is enough for
# every page that is shown in it.
_SCRIPT = """
"use strict";
const form = document.forms[0], note = document.getElementById("note");
form.addEventListener("submit", async event => {
  event.preventDefault();
  note.textContent = "";
  try {
    const authorization = "Bearer " + form.elements.token.value.trim();
    const answer = await fetch(location.href, { headers: { authorization, accept: "text/html, */*;q=0.5" }, cache: "no-store" });
    const text = await answer.text(), type = answer.headers.get("content-type") || "";
    if (answer.ok) show(text, type);
    else note.textContent = type.includes("json") ? JSON.parse(text).detail : "The answer was " + answer.status + ".";
  } catch {
    note.textContent = "Nothing could be fetched with that: look at the token, and try again.";
  }
});
function show(text, type) {
  document.querySelector("style").remove();
  if (!type.startsWith("text/html")) {
    const plain = document.createElement("pre");
    plain.textContent = text;
    document.body.replaceChildren(plain);
    return;
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  document.adoptedStyleSheets = [...page.querySelectorAll("style")].map(style => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(style.textContent);
    style.remove();
    return sheet;
  });
  document.title = page.title;
  document.body.replaceWith(document.adoptNode(page.body));
}
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    f"<title>Stocktake: sign in</title><style>{_CSS}</style></head><body><main><h1>Stocktake</h1>"
    '<form><label for="token">Token</label><input id="token" name="token" type="password" autocomplete="off" required autofocus>'
    '<button>Show the page</button></form><p id="note" role="alert"></p></main>'
    f"<script>{_SCRIPT}</script></body></html>"
)

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_CSS)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_for(method: str, headers: Mapping[str, str]) -> bool:
    """Says whether a request is a browser's that brings no token: it shows pages, and cannot say what a problem document asks for.

    Args:
        headers: names in any case.
    """
    return method == "GET" and not headers.get("authorization") and "text/html" in (headers.get("accept") or "")
