"""What no answer of diagnostics shows: secrets that are known, and whatever looks like a token, a key or a signature.

Nothing puts them in on purpose. But an answer quotes what stores, resolvers and tables said, and a message that quotes a URL or a header
would carry them along: so every text of an answer goes through here, last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

REDACTED = "[redacted]"

_SHAPES = (
    re.compile(r"(?<=\w)://[^\s/@\"']+@"),  # user and password of a URL
    re.compile(r"(?i)(?<=[?&])(?:x-amz-[a-z-]+|signature|sig|token|awsaccesskeyid|key-pair-id|policy)=[^&\s\"'<>]+"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"),  # a JSON Web Token
    re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b"),
    re.compile(r"(?i)\b(?:signature|credential|secret_access_key|aws_secret_access_key|x-amz-security-token)\b\s*[=:]\s*[^\s,;&\"']{6,}"),
)
_SHORTEST = 6
"""A secret that is shorter would make holes into ordinary words."""


def redacted(document: Any, secrets: Iterable[str] = ()) -> Any:
    """Returns the document with every secret in every text of it replaced, names of members included."""
    known = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)
    return _redacted(document, known)


def _redacted(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        return _text(value, secrets)
    if isinstance(value, Mapping):
        return {_text(str(name), secrets): _redacted(member, secrets) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(member, secrets) for member in value]
    return value


def _text(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    for shape in _SHAPES:
        text = shape.sub(REDACTED, text)
    return text
