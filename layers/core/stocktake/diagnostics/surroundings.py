"""What AWS tells of a deployment, as it is handed to the looks: this flow knows no SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from stocktake.ledger import TableShape


@dataclass(frozen=True, slots=True)
class Settings:
    """How the settings of the deployment stand.

    Args:
        standing: of every setting by its name: `set`, `not set` or `malformed`. No value is in it.
        complaints: one for each fault; it begins with the setting's name.
    """

    standing: Mapping[str, str]
    complaints: tuple[str, ...] = ()

    def about(self, *beginnings: str) -> tuple[str, ...]:
        """Returns the complaints about settings whose names begin like this."""
        return tuple(complaint for complaint in self.complaints if complaint.startswith(beginnings))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the store's requests are signed with.

    Args:
        source: a secret of the store's own keys, or what AWS gives the process (a function: its role).
        access_key_id: no more than its last four characters are ever shown.
        account: the AWS account they belong to, None where nobody can tell: a foreign store has no STS.
        principal: the ARN of who that is.
        refused: how AWS refused them, None where it did not, or was not asked.
    """

    source: Literal["secret", "process"]
    access_key_id: str = field(repr=False)
    account: str | None = None
    principal: str | None = None
    refused: str | None = None

    @property
    def shown(self) -> str:
        """The access key id, redacted."""
        return f"…{self.access_key_id[-4:]}" if len(self.access_key_id) >= 12 else "…"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is asked of AWS beside the bucket; each raises a StocktakeError where it gets no answer.

    Args:
        settings: reads how each setting stands.
        credentials: reads whose they are.
        table: describes a table by its role (`objects`, `projects`, `operations`).
        letters: counts a queue of dead letters by its name.
        queues: the names of those there are.
        secrets: what must be in no answer, whatever happens.
    """

    settings: Callable[[], Settings]
    credentials: Callable[[], Credentials]
    table: Callable[[str], TableShape]
    letters: Callable[[str], int]
    queues: tuple[str, ...]
    secrets: Callable[[], tuple[str, ...]] = tuple
