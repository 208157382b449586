"""After a restore of the tables: what was erased is erased again, and only in the ledger.

The bucket was not restored. It was proved empty of an erased project then, but for keys that were named, so that what else lies in it now
came later and is perhaps of a project created anew, whose records the restore has lost; also under a key that a record names, since keys of
older layouts are written again. A replayed deletion therefore removes the records that came back and no object. What the final sweep finds
in the bucket makes it INCOMPLETE, by name, for an operator to judge: who opens the project anew keeps it, and a run adopts it; who asks for
the deletion again in another mode has it removed. So the project is finished once its records are gone, whatever is named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stocktake.errors import ProjectNotFound
from stocktake.layouts import project_stem
from stocktake.ledger import Ledger
from stocktake.model import ProjectState
from stocktake.tombstones import Tombstone, Tombstones

SHOWN = 1000


def replay(
    ledger: Ledger, tombstones: Tombstones, erase: Callable[[Tombstone], str] | None, out_of_time: Callable[[], bool]
) -> dict[str, Any]:
    """Begins the deletion of every project that the tables brought back, and then lets deletions and repairs go on.

    Safe to say again at any time. Once a project's deletion is begun it is closed, so nothing waits for its end.

    Args:
        erase: begins the deletion of a tombstone's project again, or goes on with it, and returns its id. None for a dry run, which
            names the deletion that erased it, and changes nothing.

    Returns: `{"dry_run", "complete", "tombstones", "replayed": [{"project_id", "deletion_id"}]}`: whether all were looked at, how many
    that was, and the deletions begun, the first of them shown.
    """
    looked_at, complete = 0, True
    begun: dict[str, dict[str, str]] = {}
    for tombstone in tombstones.forgotten():
        if out_of_time():
            complete = False
            break
        looked_at += 1
        stem = project_stem(tombstone.project_id)
        if stem not in begun and _came_back(ledger, tombstone):
            begun[stem] = {"project_id": tombstone.project_id, "deletion_id": erase(tombstone) if erase else tombstone.deletion_id}
    if complete and erase:
        tombstones.catch_up()
    return {"dry_run": erase is None, "complete": complete, "tombstones": looked_at, "replayed": list(begun.values())[:SHOWN]}


def _came_back(ledger: Ledger, tombstone: Tombstone) -> bool:
    try:
        project = ledger.project(tombstone.project_id)
    except ProjectNotFound:
        return False  # created after the time that was restored
    # a later epoch is a project created anew, which this tombstone is not of
    return project.state is not ProjectState.DELETED and project.epoch <= tombstone.epoch
