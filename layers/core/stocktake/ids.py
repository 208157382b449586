"""Time and identity, made in one place so that flows can be handed others in tests."""

from __future__ import annotations

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
    return _text(at & (1 << 48) - 1, 10) + _text(secrets.randbits(80), 16)


def id_of_time(at: int, random: str) -> str:
    """Returns the ULID of a time (milliseconds) and of the 16 characters that hold its random bits: what `time_of_id` takes apart."""
    return _text(at, 10) + random


def time_of_id(object_id: str) -> int | None:
    """Returns the milliseconds a ULID was made at, or None if it is not one."""
    if len(object_id) != 26 or any(character not in _CROCKFORD for character in object_id):
        return None
    value = 0
    for character in object_id[:10]:
        value = value << 5 | _CROCKFORD.index(character)
    return value


def _text(number: int, length: int) -> str:
    return "".join(_CROCKFORD[number >> 5 * place & 31] for place in reversed(range(length)))
