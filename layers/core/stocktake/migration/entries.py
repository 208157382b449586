"""What is asked for, and what one line of a file says of one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from stocktake.model import Details, State

MAX_SOURCE_BYTES = 5_000_000_000
"""What one PUT carries: S3 takes 5 GiB."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of records that is to come: `jsonl` or `csv`, its bytes, and their SHA-256 in hex."""

    format: Literal["jsonl", "csv"]
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class NewMigration:
    """What is asked for. Without a source, what is unstored in the ledger is migrated; with a project, that project's alone."""

    source: Source | None = None
    project_id: str | None = None
    batch: int | None = None
    dry_run: bool = False
    create_projects: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """An object of somebody's records: its `body`, or the `url` or the `key` where it lies.

    `id` is the caller's own, and what the object is known by when the line comes again; `object_id` is ours, of a line that we exported.
    `state` is what an export says of it. `sealed` is metadata that we sealed, for this object in this project alone.
    """

    project_id: str
    body: bytes | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    key: str | None = None
    id: str | None = None
    object_id: str | None = None
    state: State | None = None
    declared_type: str | None = None
    sha256: str | None = None
    created_at: int | None = None
    original_url: str | None = field(default=None, repr=False)
    width: int | None = None
    height: int | None = None
    sealed: str | None = field(default=None, repr=False)
    details: Details = field(default_factory=Details)

    @property
    def name(self) -> str | None:
        """What a reader of the file knows it by."""
        return self.id or self.object_id or self.key

    @property
    def kind(self) -> str:
        """How the object comes: `inline`, `external` or `key`."""
        return "inline" if self.body is not None else "external" if self.url is not None else "key"


ReadEntry = Callable[[str | Mapping[str, str]], Entry]
"""Reads a line's text, or its cells by column. Raises InvalidRequest."""
