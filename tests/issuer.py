"""An issuer of tokens for the tests: its key is made once, and its key set is served on the loopback as an issuer on the network would."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from tools.stack.issuer import KEY_SET, Issuer

URL = "https://issuer.example/"


@cache
def issuer() -> Issuer:
    return Issuer(URL, ec.generate_private_key(ec.SECP256R1()))


@cache
def a_token(*scopes: str, projects: tuple[str, ...] | str = "*") -> str:
    """Signs a token that is good for these scopes, for all of them where none is named."""
    return issuer().token(scopes=scopes, projects=projects) if scopes else issuer().token(projects=projects)


def bearer(token: str | None = None) -> dict[str, str]:
    """Makes the header that brings a token; one that may everything unless told."""
    return {"authorization": f"Bearer {token or a_token()}"}


def encoded(part: Any) -> str:
    """Encodes bytes, or anything as JSON, as a part of a token."""
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def by_hand(header: Mapping[str, Any], claims: Mapping[str, Any], secret: bytes = b"") -> str:
    """Makes a token that the library would refuse to make: signed with HMAC, or not at all."""
    said = f"{encoded(header)}.{encoded(claims)}"
    return f"{said}.{encoded(hmac.new(secret, said.encode(), hashlib.sha256).digest()) if secret else ''}"


@contextmanager
def served(documents: Mapping[str, bytes], *, redirects: Mapping[str, str] | None = None, pause: float = 0) -> Iterator[str]:
    """Serves documents by path; yields the address, without a slash at its end. A pause in seconds comes before every byte."""

    class Documents(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            body, target = documents.get(name), (redirects or {}).get(name)
            self.send_response(302 if target else 404 if body is None else 200)
            self.send_header("content-length", str(len(body or b"")))
            if target:
                self.send_header("location", target)
            self.end_headers()
            with suppress(ConnectionError):  # who asked may have had enough
                for piece in [bytes([byte]) for byte in body or b""] if pause else [body or b""]:
                    time.sleep(pause)
                    self.wfile.write(piece)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Documents)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def served_keys() -> Iterator[str]:
    """Serves the key set of the tests' issuer; yields its URL."""
    with served(issuer().documents()) as address:
        yield f"{address}/{KEY_SET}"
