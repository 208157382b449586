"""The issuer of the local stack's tokens: a key of its own, the two documents that publish it, and tokens signed with it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUDIENCE = "stocktake"
SCOPES = ("read", "write", "operate")
CONFIGURATION = ".well-known/openid-configuration"
KEY_SET = "jwks.json"
HOURS = 12


@dataclass(frozen=True)
class Issuer:
    """An issuer as tokens name it by `url`, with the one key that it signs with."""

    url: str
    key: EllipticCurvePrivateKey

    @classmethod
    def kept(cls, url: str, path: Path) -> Issuer:
        """Reads the key from a file only its owner may read, and makes one on first use."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(pem)
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # we made it
        return cls(url, key)

    @property
    def key_id(self) -> str:
        """Names the key by its own public half, so that another key never goes by its name."""
        return str(self._jwk["x"])[:16]

    @property
    def _jwk(self) -> dict[str, Any]:
        from jwt.algorithms import ECAlgorithm

        return ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)

    def documents(self) -> Mapping[str, bytes]:
        """Returns what an issuer publishes, by the path under its URL."""
        configuration = {"issuer": self.url, "jwks_uri": f"{self.url.rstrip('/')}/{KEY_SET}"}
        keys = {"keys": [{**self._jwk, "kid": self.key_id, "use": "sig", "alg": "ES256"}]}
        return {CONFIGURATION: json.dumps(configuration).encode(), KEY_SET: json.dumps(keys).encode()}

    def token(
        self,
        *,
        scopes: Sequence[str] = SCOPES,
        projects: Sequence[str] | str = "*",
        hours: float = HOURS,
        subject: str = "developer",
    ) -> str:
        """Signs a token; `projects` is a list of ids, or "*" for all."""
        import jwt

        at = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": at,
            "exp": at + int(hours * 3600),
            "scope": " ".join(scopes),
            "projects": projects if projects == "*" else list(projects),
        }
        return jwt.encode(claims, self.key, "ES256", {"kid": self.key_id, "typ": "at+jwt"})
