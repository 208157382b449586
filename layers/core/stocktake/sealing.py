"""Sealing: metadata that only this service can read back.

What is named sensitive leaves `metadata` and becomes one sealed text in the record: AES-256-GCM, a new random nonce of 96 bits each time.

```
{"v": 1, "key_id": "k2", "wrapped": "", "fields": [["prompt", 3], ["seed", 5]], "nonce": base64, "data": base64}
```

The names are in the clear, with their places among what was sent, so that a record says what is sealed, and opening gives back the order.
All of it is authenticated, together with the project's stem and the id of the subject (an object or a generation job): a changed byte,
another project's record or another object's opens nothing. It is taken only in the very spelling it was written in.

Where the key comes from is `DataKeys`. A `KeyRing` holds the keys themselves, by id: a new one is added and made current, the old ones stay
for what they sealed. `kms.KmsKeys` asks KMS for a key for each sealing. A random nonce is safe for 2**32 sealings under one key of a ring:
rotate long before (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stocktake.errors import ConfigurationError, InvalidRequest, SealingError
from stocktake.layouts import project_stem
from stocktake.ledger.rows import json_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32

_VERSION = 1
_NONCE_BYTES = 12
_READ_AGAIN_MS = 60_000
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
"""Shorter than a key in base64: what is shown in errors cannot be one that was put in the wrong place."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key to seal with, and what has to be kept to get it again: the id of the key it comes from, and its wrapped form."""

    key: bytes = field(repr=False)
    key_id: str
    wrapped: str


class DataKeys(Protocol):
    """Where keys of KEY_BYTES come from. `context` is the same when a key is made and when it is opened; it is no secret.

    Raises (any method): SealingError.
    """

    def new(self, context: Mapping[str, str]) -> DataKey:
        """Returns a key to seal with."""
        ...

    def open(self, key_id: str, wrapped: str, context: Mapping[str, str]) -> bytes:
        """Returns the key that something was sealed with."""
        ...


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys kept in a secret: `current` seals, all of them open. The context is bound by the sealing itself."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, secret_text: str) -> KeyRing:
        """Reads the ring from its secret: `{"current": "k2", "keys": {"k1": "<base64 of 32 bytes>", "k2": "..."}}`.

        Raises:
            ConfigurationError: it is not of that form; the message holds nothing of the secret.
        """
        keys = _ring_of(secret_text)
        if keys is None:
            raise ConfigurationError(
                'the secret of the sealing keys must hold JSON {"current": "k2", "keys": {"k1": "...", "k2": "..."}}: '
                "ids of 1 to 32 letters, digits or ._-, each with the base64 of 32 bytes, and current is one of them"
            )
        return keys

    def new(self, context: Mapping[str, str]) -> DataKey:
        return DataKey(self.keys[self.current], self.current, "")

    def open(self, key_id: str, wrapped: str, context: Mapping[str, str]) -> bytes:
        if key_id not in self.keys:
            raise SealingError(f"the metadata is sealed with key {key_id!r}, which is not in the ring: put it back into the secret")
        return self.keys[key_id]


class RingInSecret:
    """A key ring that stays in its secret until something is sealed or opened: most functions never do, and may not read it.

    It is read again for a key that is not in it, because a function that stays warm outlives a rotation, and functions that started later
    seal with the new key. At most once a minute: what names a key that exists nowhere must not cost a read each time.

    Args:
        read: gives the text of the secret.
        now: the time in milliseconds.

    Raises (any method): ConfigurationError when it is no ring, and whatever `read` raises.
    """

    def __init__(self, read: Callable[[], str], now: Callable[[], int]) -> None:
        self._read = read
        self._now = now
        self._ring: KeyRing | None = None
        self._read_at = 0

    def new(self, context: Mapping[str, str]) -> DataKey:
        return (self._ring or self._read_anew()).new(context)

    def open(self, key_id: str, wrapped: str, context: Mapping[str, str]) -> bytes:
        ring = self._ring or self._read_anew()
        if key_id not in ring.keys and self._now() - self._read_at >= _READ_AGAIN_MS:
            ring = self._read_anew()
        return ring.open(key_id, wrapped, context)

    def _read_anew(self) -> KeyRing:
        self._read_at = self._now()
        self._ring = KeyRing.parse(self._read())
        return self._ring


def _ring_of(secret_text: str) -> KeyRing | None:
    """Returns None and no error for what is no ring: an error would hold the text, and go to the log as the cause of ours."""
    try:
        document = json.loads(secret_text)
        keys = {key_id: base64.b64decode(text, validate=True) for key_id, text in document["keys"].items()}
        ring = KeyRing(document["current"], keys)
        is_sound = ring.current in keys and all(_KEY_ID.fullmatch(key_id) and len(key) == KEY_BYTES for key_id, key in keys.items())
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return ring if is_sound else None


class Sealer:
    """Seals and opens the metadata of one deployment.

    Args:
        keys: None where sealing is not set up: nothing can be sealed then, and nothing opened.
        always: names of fields that are sealed whether the caller asks for it or not.
    """

    def __init__(self, keys: DataKeys | None, always: frozenset[str] = frozenset()) -> None:
        self._keys = keys
        self._always = always

    def seal(
        self, metadata: Mapping[str, Any], sensitive: Collection[str], *, project_id: str, subject_id: str
    ) -> tuple[dict[str, Any], str | None]:
        """Returns what stays readable, and the sealed text of the rest; None where nothing is to be sealed.

        Args:
            sensitive: names of members of `metadata`, at its top.
            subject_id: the object or generation job the metadata is of. Only under its id can it be opened again.

        Raises:
            InvalidRequest: a sensitive field is not in the metadata, sealing is not set up, or a value is not JSON.
            SealingError: no key could be had.
        """
        absent = sorted(set(sensitive) - metadata.keys())
        if absent:
            raise InvalidRequest(f"sensitive names fields that are not in the metadata: {', '.join(map(repr, absent))}")
        hidden = (set(sensitive) | self._always) & metadata.keys()
        if not hidden:
            return dict(metadata), None
        if self._keys is None:
            raise InvalidRequest(
                "fields of this metadata are to be sealed, and this deployment has no keys to seal with: set its parameter "
                "SealingKeysSecretArn or SealingKmsKeyArn, or send the metadata without them"
            )
        secret = {name: value for name, value in metadata.items() if name in hidden}
        clear = {name: value for name, value in metadata.items() if name not in hidden}
        text = json_text(secret, "the sensitive metadata")
        context = _context(project_id, subject_id)
        data_key = self._keys.new(context)
        places = tuple((name, place) for place, name in enumerate(metadata) if name in hidden)
        header = _Header(data_key.key_id, data_key.wrapped, places)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return clear, header.text_with(nonce, _cipher(data_key.key).encrypt(nonce, text.encode(), header.bound_to(context)))

    def open(self, metadata: Mapping[str, Any], sealed: str | None, *, project_id: str, subject_id: str) -> dict[str, Any]:
        """Returns the metadata exactly as it was sent, its order too.

        Args:
            metadata: what `seal` left readable.
            sealed: None where nothing was sealed.

        Raises:
            SealingError: it was altered or is of another project or subject, or its key cannot be had.
        """
        if sealed is None:
            return dict(metadata)
        header, nonce, data = _read(sealed)
        if self._keys is None:
            raise SealingError("the metadata is sealed and this deployment has no keys: set SealingKeysSecretArn or SealingKmsKeyArn again")
        context = _context(project_id, subject_id)
        key = self._keys.open(header.key_id, header.wrapped, context)
        secret = json.loads(_decrypted(key, nonce, data, header.bound_to(context), subject_id))
        members = [(name, value) for name, value in metadata.items() if name not in secret]
        for name, place in header.fields:
            members.insert(place, (name, secret[name]))
        return dict(members)

    @staticmethod
    def names(sealed: str | None) -> tuple[str, ...]:
        """Returns which fields are sealed, without opening anything. Raises SealingError when it is no sealed text."""
        return () if sealed is None else tuple(name for name, _ in _read(sealed)[0].fields)


@dataclass(frozen=True, slots=True)
class _Header:
    """What a sealed text says in the clear: the key, and the sealed names with their places among what was sent."""

    key_id: str
    wrapped: str
    fields: tuple[tuple[str, int], ...]

    def members(self) -> dict[str, Any]:
        return {"v": _VERSION, "key_id": self.key_id, "wrapped": self.wrapped, "fields": [list(named) for named in self.fields]}

    def text_with(self, nonce: bytes, data: bytes) -> str:
        return _json({**self.members(), "nonce": base64.b64encode(nonce).decode(), "data": base64.b64encode(data).decode()})

    def bound_to(self, context: Mapping[str, str]) -> bytes:
        """Returns what is authenticated beside the values."""
        return _json({**self.members(), **context}).encode()


def _context(project_id: str, subject_id: str) -> dict[str, str]:
    return {"project": project_stem(project_id), "subject": subject_id}


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _read(sealed: str) -> tuple[_Header, bytes, bytes]:
    try:
        document = json.loads(sealed)
        header = _Header(document["key_id"], document["wrapped"], tuple((name, place) for name, place in document["fields"]))
        nonce, data = (base64.b64decode(document[name], validate=True) for name in ("nonce", "data"))
        if header.text_with(nonce, data) != sealed:
            raise ValueError(
                "base64 and JSON spell the same content in several ways: only ours is taken, so that no byte changes unnoticed"
            )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SealingError(
            "the sealed metadata is not of the form this version writes: it was altered, or written by a newer one"
        ) from error
    return header, nonce, data


def _decrypted(key: bytes, nonce: bytes, data: bytes, bound: bytes, subject_id: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher(key).decrypt(nonce, data, bound)
    except (InvalidTag, ValueError) as error:
        raise SealingError(
            f"the sealed metadata of {subject_id!r} does not open: it was altered, or is of another project or object, "
            "or its key has changed under the same id"
        ) from error


def _cipher(key: bytes) -> AESGCM:
    # not at the top: a cold start that neither seals nor opens does not pay for it
    from cryptography.hazmat.primitives.ciphers import aead

    return aead.AESGCM(key)
