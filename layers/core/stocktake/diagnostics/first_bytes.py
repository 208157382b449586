"""The first bytes of what a URL gives: one GET, no redirect, nothing decoded, and the URL, whose query is a signature, in no log."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import filetype

from stocktake.errors import StorageUnavailable
from stocktake.importing import Fetcher, read_url

COUNT = 512
"""Enough for every signature that is known."""


@dataclass(frozen=True, slots=True)
class FirstBytes:
    """What was answered. A status of 416 is that of an object without bytes."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str | None = None

    @property
    def gives(self) -> bool:
        """Whether the object was given."""
        return self.status in (200, 206, 416)

    @property
    def kind(self) -> str | None:
        """What the bytes are, told from themselves; None where there are none, or none that tell."""
        if not self.body:
            return None
        guess: str | None = filetype.guess_mime(self.body)
        if guess is None and self.body.lstrip()[:1] in (b"<", b"{"):
            return "text/xml" if self.body.lstrip()[:1] == b"<" else "application/json"
        return guess


def fetch(url: str, *, seconds: float = 5) -> FirstBytes:
    """Asks a presigned URL of our own store for its first bytes.

    The standard library's client and not urllib3's: that one logs the whole URL when a server's headers are malformed.

    Raises:
        StorageUnavailable: nobody answered as HTTP does.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    # resolvers need not know that every such name is the loopback
    place = "127.0.0.1" if host.endswith(".localhost") else host
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers: Mapping[str, str] = {"Host": parts.netloc, "Range": f"bytes=0-{COUNT - 1}", "Accept-Encoding": "identity"}
    try:
        with closing(make(place, port, timeout=seconds)) as connection:
            connection.request("GET", f"{parts.path or '/'}?{parts.query}", headers=headers)
            with closing(connection.getresponse()) as answer:
                return FirstBytes(answer.status, answer.read(COUNT), answer.getheader("Content-Type"))
    except (OSError, http.client.HTTPException) as error:
        raise StorageUnavailable(f"The store's URLs cannot be fetched from here ({type(error).__name__})") from None


def of_public_url(url: str, *, seconds: float = 5) -> FirstBytes:
    """Asks a public URL for its first bytes, as an import does: over https, from addresses that are public alone.

    Raises:
        ImportRefused: it may not be asked, or nobody answered.
    """
    host, _ = read_url(url)
    return FirstBytes(*Fetcher(hosts=(host,), max_bytes=COUNT, seconds=seconds).begin(url, COUNT))
