"""A store that takes all Unicode spellings of a key for one object, as R2 does, and lists the one that was last put."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stocktake.layouts import canonical
from stocktake.model import DeleteResult, ListedObject, StoredObject
from stocktake.storage import Content
from stocktake.storage.memory import MemoryStore


class FoldingStore(MemoryStore):
    """The twin, with keys folded on their way in and spelled as they came on their way out."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._shown: dict[str, str] = {}

    def plant(self, key: str, body: bytes = b"planted", **more: Any) -> StoredObject:
        self._shown[canonical(key)] = key
        return super().plant(canonical(key), body, **more)

    def remove(self, key: str) -> None:
        super().remove(canonical(key))

    def put(self, key: str, body: bytes, **more: Any) -> StoredObject:
        self._shown[canonical(key)] = key
        return replace(super().put(canonical(key), body, **more), key=key)

    def head(self, key: str) -> StoredObject | None:
        found = super().head(canonical(key))
        return None if found is None else replace(found, key=key)

    def get(self, key: str, **more: Any) -> Content | None:
        return super().get(canonical(key), **more)

    def copy(self, source: str, target: str, *, metadata: Mapping[str, str] | None = None, **more: Any) -> StoredObject | None:
        copied = super().copy(canonical(source), canonical(target), metadata=metadata, **more)
        self._shown[canonical(target)] = target
        return None if copied is None else replace(copied, key=target)

    def delete(self, key: str, **more: Any) -> None:
        super().delete(canonical(key), **more)

    def delete_many(self, keys: Sequence[str], **more: Any) -> DeleteResult:
        result = super().delete_many([canonical(key) for key in keys], **more)
        return DeleteResult(tuple(keys), result.errors)

    def list(self, prefix: str = "", *, after: str = "", page_size: int = 1000) -> Iterator[Sequence[ListedObject]]:
        for page in super().list("", page_size=100_000):  # a twin of small buckets: one page
            shown = sorted(row._replace(key=self._shown.get(row.key, row.key)) for row in page)
            wanted = [row for row in shown if row.key.startswith(prefix) and row.key > after]
            yield from (wanted[start : start + page_size] for start in range(0, max(len(wanted), 1), page_size))
