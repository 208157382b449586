"""Writes docs/openapi.json, the contract, as the code has it: `make openapi`. A test fails while the two differ."""

from __future__ import annotations

import json
from pathlib import Path

from stocktake.openapi.document import document

COPY = Path(__file__).parents[1] / "docs" / "openapi.json"


def text() -> str:
    """Returns the file's text."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COPY.write_text(text())
    print(COPY.relative_to(Path.cwd()))
