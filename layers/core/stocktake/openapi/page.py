"""The page that shows the document: Swagger UI as Powertools ships it, all of it in one answer.

It loads nothing from anywhere; its policy lets it run these very scripts and call this API, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

_ASSETS = "aws_lambda_powertools.event_handler.openapi.swagger_ui"
_START = """\
SwaggerUIBundle({
  spec: JSON.parse(document.getElementById("openapi").textContent), dom_id: "#docs",
  docExpansion: "none", defaultModelsExpandDepth: 0, filter: true, tryItOutEnabled: false, validatorUrl: null,
})"""


def page(document: str) -> tuple[str, str]:
    """Makes the page of a document in JSON; returns it with the policy it is to be served under."""
    script = files(_ASSETS).joinpath("swagger-ui-bundle.min.js").read_text()
    style = files(_ASSETS).joinpath("swagger-ui.min.css").read_text()
    data = document.replace("<", "\\u003c")  # no text of it may end the element it stands in
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>Stocktake: the API</title><style>{style}</style></head><body><div id="docs"></div>'
        f'<script type="application/json" id="openapi">{data}</script><script>{script}</script><script>{_START}</script></body></html>'
    )
    policy = (
        f"default-src 'none'; script-src {_hash(script)} {_hash(_START)}; style-src {_hash(style)}; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
