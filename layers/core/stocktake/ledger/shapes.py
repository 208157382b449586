"""What the code needs of its three tables: keys, indexes, and what each index has to carry. `template.yaml` makes them so.

DynamoDB takes any attribute into a row, so nothing is dropped on the way in. What can be dropped is on the way out: an index carries the
attributes it was made with, and a list that is read through it lacks every other one, without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stocktake.ledger.rows import COUNTED_ATTRIBUTES


@dataclass(frozen=True, slots=True)
class IndexShape:
    """An index. `carries` are the attributes that it has beside the keys; None for all of them."""

    key: tuple[str, ...]
    carries: frozenset[str] | None = frozenset()
    status: str = "ACTIVE"


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table: as the code needs it, or as DynamoDB describes it, where None stands for what it did not tell.

    Args:
        expires_by: the attribute by which rows expire; "" for none.
        recovery: whether it can be restored to a point in time.
        on_demand: whether it is billed by request, so that no capacity has to be foreseen.
        streams: whether its changes are streamed.
    """

    key: tuple[str, ...]
    indexes: Mapping[str, IndexShape] = field(default_factory=dict)
    expires_by: str | None = ""
    recovery: bool | None = True
    on_demand: bool | None = True
    streams: bool | None = False
    status: str = "ACTIVE"


SHAPES: Mapping[str, TableShape] = {
    "objects": TableShape(
        ("shard", "key"),
        {
            "by_object_id": IndexShape(("object_id",)),
            "by_project": IndexShape(("project", "key"), frozenset(COUNTED_ATTRIBUTES) - {"key"}),
            "by_expiry": IndexShape(("shard", "expires_at")),
        },
    ),
    "projects": TableShape(("project", "part")),
    "operations": TableShape(("operation_id", "part"), {"by_kind": IndexShape(("kind", "created_at"), None)}, expires_by="expires_at"),
}
"""By the table's role, as `OBJECTS_TABLE` names the first."""


def differences(wanted: TableShape, found: TableShape) -> list[str]:
    """Says in one sentence each what a table lacks of what the code needs; what was not told is not judged."""
    said = [] if found.status in ("ACTIVE", "UPDATING") else [f"it is {found.status.lower()}"]
    if found.key != wanted.key:
        said.append(f"its key is {_of(found.key)}, and the code reads by {_of(wanted.key)}")
    for name, index in wanted.indexes.items():
        said += _differences_of_index(name, index, found.indexes.get(name))
    if found.expires_by and not wanted.expires_by:
        said.append(f"its rows expire by {found.expires_by}, and none may: records and counts would vanish behind the ledger's back")
    return said


def weaknesses(wanted: TableShape, found: TableShape) -> list[str]:
    """Says in one sentence each what does not break the code, and will be missed one day."""
    said = []
    if found.expires_by is not None and wanted.expires_by and found.expires_by != wanted.expires_by:
        said.append(f"its rows do not expire by {wanted.expires_by}, so what is only kept for a while is kept for ever")
    if wanted.recovery and found.recovery is False:
        said.append("it cannot be restored to a point in time")
    if wanted.on_demand and found.on_demand is False:
        said.append("it has a fixed capacity, and requests over it are refused")
    return said


def _differences_of_index(name: str, wanted: IndexShape, found: IndexShape | None) -> list[str]:
    if found is None:
        return [f"the index {name} is missing"]
    if found.status != "ACTIVE":
        return [f"the index {name} is {found.status.lower()} and not ready"]
    if found.key != wanted.key:
        return [f"the key of the index {name} is {_of(found.key)}, and the code reads by {_of(wanted.key)}"]
    if wanted.carries is None:
        return [] if found.carries is None else [f"the index {name} does not carry whole rows: what it leaves out is missing in lists"]
    absent = sorted(wanted.carries - found.carries) if found.carries is not None else []
    return [f"the index {name} does not carry {', '.join(absent)}: lists that are read through it come without"] if absent else []


def _of(key: tuple[str, ...]) -> str:
    return " and ".join(key) or "nothing"
