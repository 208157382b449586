"""Who: the caller that a token names, once the token is found good."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from stocktake.errors import Forbidden, Unauthenticated
from stocktake.layouts import project_stem
from stocktake.routes import Scope
from stocktake.signing_keys import ALGORITHMS, SigningKeys

MAX_CHARACTERS = 8192
LEEWAY_SECONDS = 60
"""By which the issuer's clock and ours may differ."""

_REMEMBER_MS = 300_000
_REMEMBERED = 1000
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_TYPES = ("jwt", "at+jwt", "application/at+jwt")  # RFC 9068 §2.1, and what issuers wrote before it


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request and what they may, as a verified token says. `projects` holds stems; None stands for every project."""

    issuer: str
    subject: str
    scopes: frozenset[Scope]
    projects: frozenset[str] | None

    @property
    def name(self) -> str:
        """Names the caller among all that ever call."""
        return f"jwt:{self.issuer}:{self.subject}"

    def covers(self, project_id: str) -> bool:
        """Says whether the token is for that project, in any of its spellings."""
        return self.projects is None or project_stem(project_id) in self.projects

    def require(self, scope: Scope) -> None:
        """Makes sure that the token has that scope. Raises Forbidden."""
        if scope not in self.scopes:
            raise Forbidden(f"the token does not allow this: get one with the scope {scope}", scope=scope)


class Tokens:
    """The tokens of one issuer for one audience.

    A token that was found good is remembered by its hash until it expires, and for five minutes at most: a burst of requests costs
    one verification.

    Args:
        scope_prefix: what stands before `read`, `write` and `operate` in the issuer's scopes.
        projects_claim: the claim that lists project ids, or is "*".
        now: the time in milliseconds.
    """

    def __init__(
        self, keys: SigningKeys, *, issuer: str, audience: str, scope_prefix: str, projects_claim: str, now: Callable[[], int]
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._scope_prefix = scope_prefix
        self._projects_claim = projects_claim
        self._now = now
        self._known: OrderedDict[bytes, tuple[Caller, int]] = OrderedDict()

    def caller(self, authorization: str | None) -> Caller:
        """Returns the caller that the Authorization header of a request names.

        Raises:
            Unauthenticated: there is no token, or it is not good; the message says in what way and never holds any of it.
            KeysUnavailable: it cannot be told, because the issuer's keys cannot be had.
        """
        token = _bearer(authorization)
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and self._now() < known[1]:
            return known[0]
        claims = self._verified(token)
        caller = self._read(claims)
        self._known[digest] = caller, min(self._now() + _REMEMBER_MS, (int(claims["exp"]) + LEEWAY_SECONDS) * 1000)
        self._known.move_to_end(digest)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return caller

    def _verified(self, token: str) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise _wrong("its header cannot be read") from None
        algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise _wrong(f"it is not signed with {' or '.join(ALGORITHMS)}")
        if "crit" in header or "b64" in header:
            raise _wrong("its header asks for an extension (crit, b64) that is not known here")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise _wrong("its typ is not that of an access token")
        if not isinstance(key_id, str):
            raise _wrong("it does not say which key signed it (kid)")
        key = self._keys.key(key_id, algorithm)
        if key is None:
            raise _wrong("the key that it says signed it is not among its issuer's")
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "sub"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise _wrong("it has expired") from None
        except jwt.ImmatureSignatureError:
            raise _wrong("it is not valid yet") from None
        except jwt.InvalidIssuerError:
            raise _wrong("it is of another issuer") from None
        except jwt.InvalidSignatureError:
            raise _wrong("its signature is not its issuer's") from None
        except jwt.MissingRequiredClaimError as error:
            raise _wrong(f"it has no {error.claim}") from None
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise _wrong("its claims cannot be read") from None
        if claims.get("token_use", "access") != "access":
            raise _wrong("it tells who somebody is (token_use), and is not to be sent to an API")  # Cognito's name for its ID tokens
        self._check_audience(claims)
        return claims

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        # Cognito's access tokens have no aud and name their client: read as API Gateway's own authorizer reads them
        said = claims.get("aud", claims.get("client_id"))
        if said is None:
            raise _wrong("it has no aud")
        if self._audience not in (said if isinstance(said, list) else [said]):
            raise _wrong("it is for another audience")

    def _read(self, claims: Mapping[str, Any]) -> Caller:
        if not claims["sub"]:
            raise _wrong("it has no sub")
        words = claims.get("scope", claims.get("scp", ""))
        words = words.split(" ") if isinstance(words, str) else words
        if not isinstance(words, list):
            raise _wrong("its scope is neither text nor a list")
        named = {f"{self._scope_prefix}{scope}": scope for scope in Scope}
        scopes = frozenset(named[word] for word in words if isinstance(word, str) and word in named)
        return Caller(self._issuer, claims["sub"], scopes, self._projects(claims.get(self._projects_claim, [])))

    def _projects(self, said: Any) -> frozenset[str] | None:
        listed = [said] if said == "*" else said
        if not isinstance(listed, list) or not all(isinstance(project, str) for project in listed):
            raise _wrong(f'its {self._projects_claim} is neither a list of project ids nor "*"')
        return None if "*" in listed else frozenset(map(project_stem, listed))


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise Unauthenticated("this needs a token: send the header Authorization with Bearer and the token", is_without=True)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("the Authorization header is of another scheme: send Bearer and a token")
    token = token.strip()
    if len(token) > MAX_CHARACTERS:
        raise _wrong(f"it has over {MAX_CHARACTERS} characters")
    if _COMPACT.fullmatch(token) is None:
        raise _wrong("it is not a signed JWT")
    return token


def _wrong(why: str) -> Unauthenticated:
    return Unauthenticated(f"the token is not good, because {why}: get a new one from its issuer")
