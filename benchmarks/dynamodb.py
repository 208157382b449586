"""Which DynamoDB a benchmark keeps its ledger in, where the server shares the cores of what is measured.

dynoxide is a server of its own (Rust over SQLite, in memory): tables, indexes, conditions and transactions over HTTP, as the SDK asks for
them. A transaction of forty rows takes it 12 ms of CPU. The local AWS is a program in Python that does all of AWS, and takes 35. On AWS it
is none of ours, so the cheaper one is nearer to what is measured; all the ledger's work is done in either. It comes through npm, for Linux
on x86-64; elsewhere, or without npm, it is the local AWS, and the figure's name says so.
"""

from __future__ import annotations

import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import botocore.session
import yaml

from stocktake.ledger import Tables, tables
from tests.conftest import TEMPLATE, TemplateLoader
from tools.stack import Settings, StackError, processes
from tools.stack.deployment import client_settings
from tools.stack.servers import LocalAws
from tools.stack.settings import REGION, ROOT

_LOCK = ROOT / "requirements" / "bench"
_HOME = ROOT / "build" / "bench"


class Dynoxide:
    """A DynamoDB server alone."""

    name = "dynoxide"

    def __init__(self, program: Path, settings: Settings) -> None:
        self._program = program
        self._settings = settings
        self._pid_file = settings.data / "dynoxide.pid"

    def start(self) -> None:
        """Starts it with no tables."""
        port = self._settings.port
        processes.start(
            self.name,
            [str(self._program), "serve", "--port", str(port)],
            pid_file=self._pid_file,
            log=self._settings.log / "dynoxide.log",
            port=port,
            environment={"LANG": "C.UTF-8"},
            ready=lambda: _listens(port),
        )

    def stop(self) -> None:
        """Stops it; its tables are gone."""
        processes.stop(self._pid_file, seconds=5)


class AllOfAws(LocalAws):
    """The local AWS, for its DynamoDB."""

    name = "local AWS"


def dynamodb(settings: Settings) -> Dynoxide | AllOfAws:
    """Chooses the server, installing it where it can be had. Raises StackError where npm cannot install what it should."""
    npm = shutil.which("npm")
    if npm is None or (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return AllOfAws(settings)
    program = _HOME / "node_modules" / "@dynoxide" / "linux-x64" / "dynoxide"
    lock = _HOME / "package-lock.json"
    if not program.exists() or lock.read_bytes() != (_LOCK / lock.name).read_bytes():
        _HOME.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", lock.name):
            shutil.copyfile(_LOCK / name, _HOME / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(_HOME)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            raise StackError(f"npm could not install requirements/bench: run `{' '.join(command)}` to see why")
    return Dynoxide(program, settings)


def made_tables(settings: Settings, session: botocore.session.Session) -> Tables:
    """Makes the ledger's tables in a server, as template.yaml has them."""
    client = boto3.client("dynamodb", **client_settings(settings))
    resources = yaml.load(TEMPLATE.read_text(), Loader=TemplateLoader)["Resources"]  # a subclass of SafeLoader
    for name in ("objects", "projects", "operations"):
        properties = resources[f"{name.title()}Table"]["Properties"]
        wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        client.create_table(TableName=name, **{key: properties[key] for key in wanted if key in properties})
    return tables(objects="objects", projects="projects", operations="operations", region=REGION, host=settings.endpoint, session=session)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
