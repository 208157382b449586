"""One thing that was looked at: how it is, what that means, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from stocktake.errors import StocktakeError

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One answer of a look.

    Args:
        name: the same in every answer.
        status: `skipped` where it could not or need not be looked at.
        says: what it means, in a sentence.
        do: what to do about it, None where nothing is.
        detail: figures and names, for programs; never a secret.
    """

    name: str
    status: Status
    says: str
    do: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_error(cls, name: str, error: StocktakeError, do: str | None = None, **detail: Any) -> Self:
        """Makes one that failed. What an error says after a colon or a semicolon is what to do."""
        said = str(error)
        return cls(name, "failed", said[:1].upper() + said[1:].removesuffix("."), do, {"problem": error.type, **detail})

    def document(self) -> dict[str, Any]:
        """Returns it as it is answered."""
        return asdict(self)


def worst(checks: Iterable[Check]) -> Status:
    """Says how all of them are together; what was skipped says nothing."""
    found = {check.status for check in checks}
    return "failed" if "failed" in found else "warning" if "warning" in found else "ok"
