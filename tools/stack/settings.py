"""Where the local stack lives: its ports, its folders, its programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STORES = ("s3", "seaweedfs")

# Made up, and the same for every local stack: nothing outside this machine knows them.
REGION = "us-east-1"
ACCESS_KEY_ID = "local"
SECRET_ACCESS_KEY = "local"


class StackError(Exception):
    """The stack cannot do what was asked; the message is one line for the person at the terminal."""


def stack_bin() -> Path:
    """Names the folder with `ministack`, `weed`, `sam` and the stack's Python: $STOCKTAKE_STACK_BIN, else .venv-stack/bin.

    Raises:
        StackError: nothing is installed there.
    """
    folder = Path(os.environ.get("STOCKTAKE_STACK_BIN") or ROOT / ".venv-stack" / "bin")
    if not (folder / "ministack").exists():
        raise StackError(f"the stack's programs are not in {folder}: run `sh tools/bootstrap.sh stack`, or `make up`, which does")
    return folder


@dataclass(frozen=True)
class Settings:
    """One local stack.

    Args:
        home: what belongs to it and survives a restart; one folder per store kind inside.
        port: where the local AWS answers.
        store: "s3" for the local AWS's own bucket, "seaweedfs" for a foreign one.
        store_port: where SeaweedFS's S3 answers; the three ports above it are its own too, and the same four plus 10000.
    """

    home: Path
    port: int = 4566
    store: str = "s3"
    store_port: int = 8333
    stack_name: str = "stocktake"

    def __post_init__(self) -> None:
        if self.store not in STORES:
            raise StackError(f"STORE is '{self.store}'; it is one of: {', '.join(STORES)}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Reads STOCKTAKE_HOME (.local), STOCKTAKE_PORT (4566), STORE (s3) and STOCKTAKE_STORE_PORT (8333).

        Raises:
            StackError: a port is not a number from 1024 to 55535, or the store is none we know.
        """
        return cls(
            home=Path(environment.get("STOCKTAKE_HOME") or ROOT / ".local").resolve(),
            port=_port(environment, "STOCKTAKE_PORT", 4566),
            store=environment.get("STORE") or "s3",
            store_port=_port(environment, "STOCKTAKE_STORE_PORT", 8333),
        )

    @property
    def data(self) -> Path:
        """What this store kind keeps: two kinds never share a ledger."""
        return self.home / self.store

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def description(self) -> Path:
        """Written after a deploy, removed by `down`: how to reach the stack that runs."""
        return self.home / "stack.json"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    # 55535: SeaweedFS takes each of its ports plus 10000 as well.
    if not text.isdecimal() or not 1024 <= int(text) <= 55535:
        raise StackError(f"{name} is '{text}'; it is a port from 1024 to 55535")
    return int(text)
