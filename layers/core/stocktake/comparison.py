"""Two sorted streams, one walk, constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


def merge_join[L: _Keyed, R: _Keyed](left: Iterable[L], right: Iterable[R]) -> Iterator[tuple[L | None, R | None]]:
    """Yields each key of either stream once, with what each side has under it, in key order.

    Both streams must be strictly ascending by key; Python orders `str` by code point, which is the UTF-8 byte order that S3 and DynamoDB
    list in. The caller verifies that order: this walk trusts it.
    """
    lefts, rights = iter(left), iter(right)
    a, b = next(lefts, None), next(rights, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a.key < b.key):
            yield a, None
            a = next(lefts, None)
        elif a is None or b.key < a.key:
            yield None, b
            b = next(rights, None)
        else:
            yield a, b
            a, b = next(lefts, None), next(rights, None)
