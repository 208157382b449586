"""What was erased, remembered outside the tables, so that a ledger restored to a point in time does not bring it back.

Each erased project leaves a small file in the operations bucket, written before its receipt; one of which keys remain does too, since all
else of it is gone. Files are numbered by a counter that lies in
the tables: a restored table has an older counter than the newest file has number, and that is how it is known. Until the tombstones it has
forgotten are replayed, nothing is deleted or repaired by it.

A file is named by its number counted down from a large one, so that the newest is the first that a listing shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from stocktake.errors import LedgerRestored, StorageError
from stocktake.ledger import Operations
from stocktake.storage import Store

PREFIX = "tombstones/"
_LAST = 10**12
_ROW = ("settings", "tombstones")
_COUNTER = "written"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One erasure. `number` grows with every tombstone that is written; `epoch` is the project's while it was deleted."""

    number: int
    deletion_id: str
    project_id: str
    epoch: int
    erased_at: int


class Tombstones:
    """The tombstones of one deployment.

    Args:
        store: the operations bucket, which no restore of the tables touches.

    Raises (any method): StorageError, LedgerError.
    """

    def __init__(self, store: Store, operations: Operations) -> None:
        self._store = store
        self._operations = operations

    def check(self) -> None:
        """Lets nothing pass while the tables are older than the newest tombstone. One listing of one key, and one read.

        Raises:
            LedgerRestored: they are.
        """
        newest, known = self._newest(), self._known()
        if newest > known:
            raise LedgerRestored(
                f"the ledger knows {known} erasures and the operations bucket {newest}: its tables were restored to an earlier time. "
                "POST /deletions/replay erases again what they brought back; until then nothing is deleted or repaired"
            )

    def write(self, deletion_id: str, project_id: str, epoch: int, *, at: int) -> None:
        """Writes the tombstone of a project whose deletion ends, also with keys that remain. Written twice it has two numbers, harmlessly.

        The counter first: a crash between the two leaves a number without file, and never a file that the tables do not know. Only while
        the tables are older it stays where it is: it says up to which tombstone they know, and a replay may not be through.
        """
        newest = self._newest()
        number = newest + 1 if newest > self._known() else self._operations.add(*_ROW, _COUNTER, 1)
        body = json.dumps(asdict(Tombstone(number, deletion_id, project_id, epoch, at)), indent=1).encode()
        key = f"{PREFIX}{_LAST - number:012d}-{deletion_id}.json"
        self._store.put(key, body, content_type="application/json", sha256=hashlib.sha256(body).hexdigest())

    def forgotten(self) -> Iterator[Tombstone]:
        """Yields the tombstones that the tables do not know, newest first."""
        known = self._known()
        for page in self._store.list(PREFIX):
            for row in page:
                if _number(row.key) <= known:
                    return
                content = self._store.get(row.key)
                if content is None:
                    raise StorageError(f"{row.key!r} was listed in the operations bucket and cannot be read: replay again")
                yield Tombstone(**json.loads(content.body))

    def catch_up(self) -> None:
        """Makes the tables know every tombstone: what they had forgotten has been replayed."""
        newest, known = self._newest(), self._known()
        if newest > known:
            self._operations.add(*_ROW, _COUNTER, newest - known)

    def _newest(self) -> int:
        for page in self._store.list(PREFIX, page_size=1):
            for row in page:
                return _number(row.key)
        return 0

    def _known(self) -> int:
        row = self._operations.get(*_ROW)
        return row.counters.get(_COUNTER, 0) if row else 0


def _number(key: str) -> int:
    text = key.removeprefix(PREFIX).partition("-")[0]
    if not (text.isascii() and text.isdigit()):
        raise StorageError(f"{key!r} is no tombstone: take it away from {PREFIX} in the operations bucket")
    return _LAST - int(text)
