"""A store whose ETags are no hashes and that keeps none, as S3 with SSE-KMS: each write has an ETag of its own, a copy too."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stocktake.model import StoredObject
from stocktake.storage.memory import MemoryStore


class HashlessStore(MemoryStore):
    """The twin, with numbers for ETags."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._told = self._profile = replace(self._profile, keeps_sha256=False)
        self._numbers = itertools.count(1)

    def copy(self, source: str, target: str, *, metadata: Mapping[str, str] | None = None, **more: Any) -> StoredObject | None:
        return None if super().copy(source, target, metadata=metadata, **more) is None else self.head(target)

    def _add(self, key: str, body: bytes, stored: StoredObject | None) -> None:
        super()._add(key, body, None if stored is None else replace(stored, etag=f"{next(self._numbers):032x}"))
