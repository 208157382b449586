"""Who: which tokens are good, and what each kind of wrong one is told. Real keys, and where it matters a key set that is really fetched."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from stocktake.errors import KeysUnavailable, Unauthenticated
from stocktake.routes import Scope
from stocktake.signing_keys import KEEP_MS, SigningKeys, fetch
from stocktake.tokens import LEEWAY_SECONDS, Caller, Tokens
from tests.issuer import by_hand, encoded, served

ISSUER = "https://issuer.example/"
AUDIENCE = "stocktake"


@cache
def an_ec_key(name: str = "ours") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def an_rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def published(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    """Makes a JWK of the public half."""
    if isinstance(key, rsa.RSAPrivateKey):
        return {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}
    return {**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


def key_set(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": keys or [published(an_ec_key(), "e1"), published(an_rsa_key(), "r1")]}).encode()


class Clock:
    """A time that only the test moves."""

    def __init__(self) -> None:
        self.ms = int(time.time() * 1000)

    def __call__(self) -> int:
        return self.ms


class Published:
    """What the issuer answers with, and how often it was asked."""

    def __init__(self, body: bytes | None = None) -> None:
        self.body: bytes | None = key_set() if body is None else body
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if self.body is None:
            raise KeysUnavailable("it does not answer")
        return self.body


def some_tokens(answer: Callable[[str], bytes] | None = None, now: Callable[[], int] | None = None, **changes: str) -> Tokens:
    clock = now or Clock()
    keys = SigningKeys(ISSUER, "https://issuer.example/keys", fetch=answer or Published(), now=clock)
    named = {"issuer": ISSUER, "audience": AUDIENCE, "scope_prefix": "", "projects_claim": "projects", **changes}
    return Tokens(keys, **named, now=clock)


def some_claims(**changes: Any) -> dict[str, Any]:
    """Makes good claims; None takes one away."""
    at = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": at, "exp": at + 600, "scope": "read write", "projects": ["p1"]}
    return {name: value for name, value in (usual | changes).items() if value is not None}


def a_token(header: Mapping[str, Any] | None = None, *, key: Any = None, algorithm: str = "ES256", **changes: Any) -> str:
    return jwt.encode(some_claims(**changes), key or an_ec_key(), algorithm, {"kid": "e1", **(header or {})})


def a_forged_token(header: Mapping[str, Any], secret: bytes = b"") -> str:
    return by_hand(header, some_claims(), secret)


def public_pem() -> bytes:
    return an_rsa_key().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_a_good_token_says_who_and_what_and_for_which_projects() -> None:
    caller = some_tokens().caller(f"Bearer {a_token(projects=['proj_p1', 'p2'])}")
    assert caller == Caller(ISSUER, "ada", frozenset({Scope.READ, Scope.WRITE}), frozenset({"p1", "p2"}))
    assert [caller.covers(project) for project in ("p1", "proj_p1", "proj_proj_p1", "p2", "p10", "p", "")] == [True] * 4 + [False] * 3


@pytest.mark.parametrize(("algorithm", "kid", "key"), [("ES256", "e1", an_ec_key), ("RS256", "r1", an_rsa_key)])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_both_algorithms_are_taken(algorithm: str, kid: str, key: Callable[[], Any], scheme: str) -> None:
    assert some_tokens().caller(f"{scheme} {a_token({'kid': kid}, key=key(), algorithm=algorithm)}").subject == "ada"


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", "application/at+jwt", "AT+JWT"])
def test_every_name_of_an_access_token_is_taken(kind: str) -> None:
    assert some_tokens().caller(f"Bearer {a_token({'typ': kind})}").subject == "ada"


NAMED = {"alg": "ES256", "kid": "e1"}
WRONG: dict[str, tuple[Callable[[], str | None], str]] = {
    "none": (lambda: None, "needs a token"),
    "empty": (lambda: "", "needs a token"),
    "another scheme": (lambda: "Basic YWRhOmh1bnRlcjI=", "another scheme"),
    "the token alone": (a_token, "another scheme"),
    "no token after the scheme": (lambda: "Bearer ", "not a signed JWT"),
    "two of them": (lambda: f"Bearer {a_token()},Bearer {a_token()}", "not a signed JWT"),
    "no JWT": (lambda: "Bearer hunter2", "not a signed JWT"),
    "not ASCII": (lambda: "Bearer ä.ö.ü", "not a signed JWT"),
    "too long": (lambda: f"Bearer {a_token(padding='x' * 9000)}", "over 8192 characters"),
    "a header that is no JSON": (lambda: f"Bearer {encoded(b'{')}.{encoded(b'{}')}.x", "header cannot be read"),
    "a header without end": (lambda: f"Bearer {encoded(b'[' * 3000)}.{encoded(b'{}')}.x", "header cannot be read"),
    "a header that is a list": (lambda: f"Bearer {encoded([])}.{encoded({})}.x", "header cannot be read"),
    "alg none": (lambda: f"Bearer {a_forged_token({'alg': 'none', 'kid': 'e1'})}", "not signed with RS256 or ES256"),
    "alg None": (lambda: f"Bearer {a_forged_token({'alg': 'None', 'kid': 'e1'})}", "not signed with RS256 or ES256"),
    "no alg": (lambda: f"Bearer {a_forged_token({'kid': 'e1'})}", "not signed with RS256 or ES256"),
    "alg a list": (lambda: f"Bearer {a_forged_token({'alg': ['ES256'], 'kid': 'e1'})}", "not signed with RS256 or ES256"),
    "HS256 with the public key": (lambda: f"Bearer {a_forged_token({'alg': 'HS256', 'kid': 'r1'}, public_pem())}", "not signed with"),
    "RS512": (lambda: f"Bearer {a_token({'kid': 'r1'}, key=an_rsa_key(), algorithm='RS512')}", "not signed with RS256 or ES256"),
    "RS256 by name of the EC key": (lambda: f"Bearer {a_token(key=an_rsa_key(), algorithm='RS256')}", "not among its issuer's"),
    "no kid": (lambda: f"Bearer {jwt.encode(some_claims(), an_ec_key(), 'ES256')}", "which key signed it"),
    "kid a number": (lambda: f"Bearer {a_forged_token({'alg': 'ES256', 'kid': 7}, b'k')}", "header cannot be read"),
    "an unknown kid": (lambda: f"Bearer {a_token({'kid': 'e2'})}", "not among its issuer's"),
    "another key by the known kid": (lambda: f"Bearer {a_token(key=an_ec_key('theirs'))}", "signature is not its issuer's"),
    "a critical extension": (lambda: f"Bearer {a_forged_token({**NAMED, 'crit': ['exp'], 'exp': 1}, b'k')}", "header"),
    "an unencoded payload": (lambda: f"Bearer {a_forged_token({**NAMED, 'crit': ['b64'], 'b64': False}, b'k')}", "header"),
    "an extension the library knows": (lambda: f"Bearer {a_forged_token({**NAMED, 'crit': ['b64'], 'b64': True}, b'k')}", "extension"),
    "another typ": (lambda: f"Bearer {a_token({'typ': 'logout+jwt'})}", "typ"),
    "another issuer": (lambda: f"Bearer {a_token(iss='https://issuer.example')}", "another issuer"),
    "no issuer": (lambda: f"Bearer {a_token(iss=None)}", "no iss"),
    "another audience": (lambda: f"Bearer {a_token(aud='other')}", "another audience"),
    "other audiences": (lambda: f"Bearer {a_token(aud=['other', 'stocktake2'])}", "another audience"),
    "no audience": (lambda: f"Bearer {a_token(aud=None)}", "no aud"),
    "an ID token": (lambda: f"Bearer {a_token(token_use='id')}", "is not to be sent to an API"),
    "another audience and our client": (lambda: f"Bearer {a_token(aud='other', client_id=AUDIENCE)}", "another audience"),
    "expired": (lambda: f"Bearer {a_token(exp=int(time.time()) - LEEWAY_SECONDS - 1)}", "expired"),
    "no expiry": (lambda: f"Bearer {a_token(exp=None)}", "no exp"),
    "an expiry that is no time": (lambda: f"Bearer {a_token(exp='tomorrow')}", "cannot be read"),
    "not yet valid": (lambda: f"Bearer {a_token(nbf=int(time.time()) + LEEWAY_SECONDS + 60)}", "not valid yet"),
    "of the future": (lambda: f"Bearer {a_token(iat=int(time.time()) + LEEWAY_SECONDS + 60)}", "not valid yet"),
    "no subject": (lambda: f"Bearer {a_token(sub=None)}", "no sub"),
    "an empty subject": (lambda: f"Bearer {a_token(sub='')}", "no sub"),
    "a scope that is none": (lambda: f"Bearer {a_token(scope=7)}", "scope is neither"),
    "projects that are none": (lambda: f"Bearer {a_token(projects='p1')}", "projects is neither"),
    "projects that are no ids": (lambda: f"Bearer {a_token(projects=[1])}", "projects is neither"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_token_is_told_what_is_wrong_and_not_quoted(kind: str) -> None:
    make, complaint = WRONG[kind]
    header = make()
    with pytest.raises(Unauthenticated, match=complaint) as refused:
        some_tokens().caller(header)
    assert refused.value.is_without is (header in (None, ""))
    for said in (header or "").replace("Bearer", "").replace(",", ".").split("."):
        assert len(said) < 8 or said not in str(refused.value)
    assert refused.value.__cause__ is None  # nothing of the library's own words goes into a log


def test_clocks_may_differ_by_a_minute() -> None:
    at = int(time.time())
    for token in (a_token(exp=at - 30), a_token(nbf=at + 30), a_token(iat=at + 30)):
        assert some_tokens().caller(f"Bearer {token}").subject == "ada"


@given(place=st.integers(min_value=0), put=st.sampled_from("AQgw_-9z"))
def test_a_token_that_was_changed_anywhere_is_not_good(place: int, put: str) -> None:
    token = one_token()
    place %= len(token)
    changed = token[:place] + put + token[place + 1 :]
    # the last character of a part carries bits that decode to nothing, so that other spellings of the same bytes exist
    if token[place] == "." or [decoded(part) for part in changed.split(".")] == [decoded(part) for part in token.split(".")]:
        return
    with pytest.raises(Unauthenticated):
        SHARED.caller(f"Bearer {changed}")


@settings(max_examples=40)  # a text is dear to make
@given(st.text(max_size=300))
def test_no_text_is_a_token_and_none_breaks_the_reader(text: str) -> None:
    for header in (text, f"Bearer {text}", f"Bearer {encoded(text.encode(errors='replace'))}.{encoded({})}.AA"):
        with pytest.raises(Unauthenticated):
            SHARED.caller(header)


HEADER_FIELDS = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c"])


@given(st.dictionaries(HEADER_FIELDS, st.none() | st.text(max_size=5) | st.lists(st.integers())))
def test_no_header_of_whatever_shape_breaks_the_reader(header: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        SHARED.caller(f"Bearer {encoded(header)}.{encoded(some_claims())}.AAAA")


@cache
def one_token() -> str:
    return a_token()


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


SHARED = some_tokens()


# what a token says


@pytest.mark.parametrize(
    ("claims", "prefix", "scopes"),
    [
        ({"scope": "read write operate"}, "", {"read", "write", "operate"}),
        ({"scope": "openid email"}, "", set()),
        ({"scope": None}, "", set()),
        ({"scope": None, "scp": ["read", "operate", 7]}, "", {"read", "operate"}),
        ({"scope": None, "scp": "write"}, "", {"write"}),
        ({"scope": "read", "scp": ["operate"]}, "", {"read"}),
        ({"scope": "stocktake/read write stocktake/stocktake/operate"}, "stocktake/", {"read"}),
        ({"scope": "READ read\twrite"}, "", set()),
    ],
)
def test_scopes_are_those_named_and_no_other(claims: dict[str, Any], prefix: str, scopes: set[str]) -> None:
    assert some_tokens(scope_prefix=prefix).caller(f"Bearer {a_token(**claims)}").scopes == scopes


@pytest.mark.parametrize(
    ("said", "projects"), [("*", None), (["*"], None), (["p1", "*"], None), ([], set()), (None, set()), (["proj_proj_p1"], {"p1"})]
)
def test_projects_are_all_or_those_listed_and_none_when_nothing_is_said(said: Any, projects: set[str] | None) -> None:
    assert some_tokens().caller(f"Bearer {a_token(projects=said)}").projects == projects


def test_the_claim_of_the_projects_has_the_name_it_is_given() -> None:
    token = a_token(projects="*", tenants=["p2"])
    assert some_tokens(projects_claim="tenants").caller(f"Bearer {token}").projects == frozenset({"p2"})


def test_a_token_of_cognito_names_its_client_where_others_name_their_audience() -> None:
    assert some_tokens(audience="client").caller(f"Bearer {a_token(aud=None, client_id='client')}").subject == "ada"
    with pytest.raises(Unauthenticated, match="another audience"):
        some_tokens(audience="client").caller(f"Bearer {a_token(aud=None, client_id='other')}")


def test_callers_are_told_apart_by_issuer_and_subject() -> None:
    one, other = (some_tokens().caller(f"Bearer {a_token(sub=sub)}") for sub in ("ada", "ben"))
    assert one.name != other.name
    assert ISSUER in one.name


# what is remembered


def test_a_burst_costs_one_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = counted(monkeypatch)
    tokens, header = some_tokens(), f"Bearer {a_token()}"
    assert len({tokens.caller(header) for _ in range(50)}) == 1
    assert len(verified) == 1


def test_a_token_is_remembered_for_five_minutes_and_never_past_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    verified, clock = counted(monkeypatch), Clock()
    tokens, long, short = some_tokens(now=clock), f"Bearer {a_token()}", f"Bearer {a_token(exp=int(time.time()) + 100 - LEEWAY_SECONDS)}"
    for header in (long, short):
        tokens.caller(header)
    clock.ms += 101_000
    for header in (long, short):
        tokens.caller(header)
    assert len(verified) == 3
    clock.ms += 200_000
    tokens.caller(long)
    assert len(verified) == 4


def test_what_is_remembered_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.tokens._REMEMBERED", 2)
    verified, tokens = counted(monkeypatch), some_tokens()
    headers = [f"Bearer {a_token(sub=sub)}" for sub in ("ada", "ben", "cleo")]
    for header in (*headers, headers[2], headers[1], headers[0]):
        tokens.caller(header)
    assert len(verified) == 4


def test_a_wrong_token_is_not_remembered() -> None:
    tokens = some_tokens()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            tokens.caller(f"Bearer {a_token(aud='other')}")
    assert len(tokens._known) == 0


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes every token whose signature is looked at."""
    verified: list[str] = []
    decode = jwt.decode

    def noted(token: str, *args: Any, **named: Any) -> Any:
        verified.append(token)
        return decode(token, *args, **named)

    monkeypatch.setattr("stocktake.tokens.jwt.decode", noted)
    return verified


# the issuer's keys


def some_keys(answer: Callable[[str], bytes], clock: Callable[[], int], jwks_url: str = "https://issuer.example/keys") -> SigningKeys:
    return SigningKeys(ISSUER, jwks_url, fetch=answer, now=clock)


def test_keys_are_fetched_once_an_hour() -> None:
    answer, clock = Published(), Clock()
    keys = some_keys(answer, clock)
    for wait, asked in ((0, 1), (KEEP_MS - 1, 1), (1, 2), (1, 2)):
        clock.ms += wait
        assert keys.key("e1", "ES256") is not None
        assert len(answer.asked) == asked


def test_an_unknown_key_is_asked_for_once_a_minute_and_found_when_it_is_new() -> None:
    answer, clock = Published(), Clock()
    keys = some_keys(answer, clock)
    for _ in range(20):
        assert keys.key("made-up", "ES256") is None
    assert len(answer.asked) == 1
    answer.body = key_set(published(an_ec_key("theirs"), "e2"))
    clock.ms += 60_000
    assert keys.key("e2", "ES256") is not None
    assert keys.key("e1", "ES256") is None
    assert len(answer.asked) == 2


def test_known_keys_go_on_while_the_issuer_does_not_answer() -> None:
    answer, clock = Published(), Clock()
    keys = some_keys(answer, clock)
    keys.key("e1", "ES256")
    answer.body = None
    clock.ms += KEEP_MS
    for _ in range(20):
        assert keys.key("e1", "ES256") is not None
    assert len(answer.asked) == 2


def test_without_any_key_it_is_said_that_nothing_can_be_told_and_the_issuer_is_left_in_peace() -> None:
    answer, clock = Published(), Clock()
    answer.body = None
    keys = some_keys(answer, clock)
    for _ in range(20):
        with pytest.raises(KeysUnavailable):
            keys.key("e1", "ES256")
    assert len(answer.asked) == 1
    answer.body = key_set()
    clock.ms += 5_000
    assert keys.key("e1", "ES256") is not None


@pytest.mark.parametrize(
    "jwk",
    [
        lambda: published(an_rsa_key(1024), "k"),
        lambda: published(an_rsa_key(), "k", use="enc"),
        lambda: published(an_rsa_key(), "k", alg="RS512"),
        lambda: published(an_rsa_key(), 7),  # type: ignore[arg-type]  # what an issuer may get wrong
        lambda: published(an_rsa_key(), "k", n="!"),
        lambda: {**jwt.algorithms.ECAlgorithm.to_jwk(an_ec_key(), as_dict=True), "kid": "k"},
        lambda: published(ec.generate_private_key(ec.SECP384R1()), "k"),
        lambda: {"kty": "oct", "k": encoded(b"hunter2"), "kid": "k"},
        lambda: {"kty": "EC", "kid": "k"},
        lambda: "no key",
    ],
    ids=["1024 bits", "for encryption", "of another algorithm", "kid a number", "broken", "private", "P-384", "a secret", "half", "text"],
)
def test_a_key_that_should_verify_nothing_verifies_nothing(jwk: Callable[[], Any]) -> None:
    keys = some_keys(Published(key_set(jwk(), published(an_ec_key(), "e1"))), Clock())
    assert [keys.key("k", algorithm) for algorithm in ("RS256", "ES256")] == [None, None]
    assert keys.key("e1", "ES256") is not None
    assert keys.key("e1", "RS256") is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [{"kty": "oct", "kid": "k"}]}'])
def test_a_key_set_that_holds_no_key_is_none(body: bytes) -> None:
    with pytest.raises(KeysUnavailable):
        some_keys(Published(body), Clock()).key("e1", "ES256")


def test_the_key_set_is_where_the_issuer_says() -> None:
    documents: dict[str, bytes] = {"keys": key_set()}
    with served(documents) as address:
        documents[".well-known/openid-configuration"] = json.dumps({"issuer": f"{address}/", "jwks_uri": f"{address}/keys"}).encode()
        keys = SigningKeys(f"{address}/", "", fetch=fetch, now=Clock())
        assert keys.key("e1", "ES256") is not None
        stranger = SigningKeys(address, "", fetch=fetch, now=Clock())
        with pytest.raises(KeysUnavailable):
            stranger.key("e1", "ES256")


@pytest.mark.parametrize(
    "url", ["http://issuer.example/keys", "file:///etc/passwd", "http://127.0.0.1.example/", "https://[::1", "None", ""]
)
def test_keys_are_taken_over_tls_or_from_this_machine_alone(url: str) -> None:
    with pytest.raises(KeysUnavailable):
        fetch(url)


def test_a_document_that_is_too_large_or_not_there_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.signing_keys._MAX_BYTES", 100)
    with served({"large": b"x" * 101, "right": b"x" * 100}) as address:
        assert fetch(f"{address}/right") == b"x" * 100
        for path in ("large", "absent"):
            with pytest.raises(KeysUnavailable):
                fetch(f"{address}/{path}")
    with pytest.raises(KeysUnavailable):
        fetch(f"{address}/right")


def test_a_redirect_is_not_followed() -> None:
    with served({"right": b"{}"}, redirects={"moved": "/right"}) as address, pytest.raises(KeysUnavailable, match="302"):
        fetch(f"{address}/moved")


def test_a_document_that_comes_too_slowly_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stocktake.signing_keys._SECONDS", 0.2)
    with served({"slow": b"x" * 20}, pause=0.05) as address, pytest.raises(KeysUnavailable):
        fetch(f"{address}/slow")
