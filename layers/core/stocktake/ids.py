"""Time and identity, made in one place so that flows can be handed others in tests."""

from __future__ import annotations

import hashlib
import secrets
import time

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def now_ms() -> int:
    """Returns the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def new_id(at: int) -> str:
    """Returns a ULID: 26 characters that sort by `at` (milliseconds) and hold 80 random bits.

    Source: the ULID specification, Crockford's base 32.
    """
    number = (at & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return _base32(number, 26)


def derived_id(seed: str, name: str) -> str:
    """Returns the ULID of `name` under `seed`, the same however often it is asked: the seed's time, and 80 bits of SHA-256 over both.

    Raises:
        ValueError: the seed is no ULID.
    """
    if time_of_id(seed) is None:
        raise ValueError(f"{seed!r} is no ULID: derive ids from one that new_id made")
    digest = hashlib.sha256(f"{seed}|{name}".encode()).digest()
    return seed[:10] + _base32(int.from_bytes(digest[:10]), 16)


def time_of_id(object_id: str) -> int | None:
    """Returns the milliseconds a ULID was made at, or None if it is not one."""
    if len(object_id) != 26 or any(character not in _CROCKFORD for character in object_id):
        return None
    value = 0
    for character in object_id[:10]:
        value = value << 5 | _CROCKFORD.index(character)
    return value


def _base32(number: int, length: int) -> str:
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(5 * (length - 1), -1, -5))
