"""The stores that the contract is asked of: the twin in its forms, and two real servers that each start once and are thrown away."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3

from stocktake.storage import SignedRequest, Store
from stocktake.storage.memory import Answer, MemoryStore
from stocktake.storage.s3 import S3Store, make_client
from tools.stack.settings import stack_bin

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
START_SECONDS = 40
VERSIONED = ("memory-versioned", "ministack-versioned", "seaweedfs-versioned")
# Not seaweedfs-versioned: of a versioned bucket, SeaweedFS 4.48 drops keys from small pages, and calls a key with an empty part deleted
# that is still there. Only the promises about versions are asked of it.
BACKENDS = ("memory", "memory-directory", "memory-versioned", "ministack", "ministack-versioned", "seaweedfs")


@dataclass(frozen=True)
class Backend:
    """A store, and what its contract needs from behind it."""

    name: str
    store: Store
    without_bucket: Store
    fetch: Callable[..., Answer]  # of a URL, or a SignedRequest and a body

    @property
    def is_versioned(self) -> bool:
        return self.name.endswith("-versioned")


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    name: str = request.param
    server, _, form = name.partition("-")
    if server == "memory":
        return _memory(name, form)
    owner, app = request.getfixturevalue(server)
    bucket = f"contract-{form or 'plain'}"
    owner.create_bucket(Bucket=bucket)
    if form == "versioned":
        owner.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return Backend(
        name=name,
        store=S3Store(bucket, client=app),
        without_bucket=S3Store("contract-no-such-bucket", client=app),
        fetch=_fetch,
    )


_folders = itertools.count(1)


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


@pytest.fixture
def folder() -> str:
    """A prefix that no other test uses."""
    return f"test-{next(_folders)}/"


def _memory(name: str, form: str) -> Backend:
    ticks = itertools.count(1_700_000_000_000)
    store = MemoryStore(now=lambda: next(ticks), ordering="directory" if form == "directory" else "utf8", versioning=form == "versioned")
    without_bucket = MemoryStore("none", now=lambda: next(ticks))
    without_bucket.bucket_exists = False
    return Backend(name, store, without_bucket, store.fetch)


def _fetch(request: SignedRequest | str, body: bytes = b"") -> Answer:
    """Sends a presigned request to the loopback address that the fixture bound."""
    if isinstance(request, str):
        request = SignedRequest("GET", request, {})
    with urllib3.PoolManager(retries=False, timeout=20) as client:
        reply = client.request(request.method, request.url, body=body or None, headers=dict(request.headers))
        return Answer(reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.data)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Client, S3Client]]:
    folder = tmp_path_factory.mktemp("ministack")
    (port,) = _free_ports(1)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "localhost",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",
        # Of signatures it checks only those of presigned URLs, against these.
        "AWS_ACCESS_KEY_ID": "owner",
        "AWS_SECRET_ACCESS_KEY": "owner-secret",
    }
    with _running([str(stack_bin() / "ministack")], folder, environment, f"http://127.0.0.1:{port}/_ministack/health"):
        client = _client(port, "owner")
        yield client, client


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Client, S3Client]]:
    folder = tmp_path_factory.mktemp("seaweedfs")
    (folder / "data").mkdir()
    # The app is no admin: for an admin SeaweedFS makes a missing bucket at the first put.
    identities = [
        {"name": name, "credentials": [{"accessKey": name, "secretKey": f"{name}-secret"}], "actions": actions}
        for name, actions in (("owner", ["Admin"]), ("app", ["Read", "Write", "List", "Tagging"]))
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    s3, filer, master, volume = _free_ports(4)
    command = [
        *(str(stack_bin() / "weed"), f"-logdir={folder}", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={master}", "-master.telemetry=false", "-master.volumeSizeLimitMB=64", f"-volume.port={volume}", "-volume.max=0"),
        *("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}"),
        *(f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with _running(command, folder, environment, f"http://127.0.0.1:{s3}/healthz"):
        yield _client(s3, "owner"), _client(s3, "app")


def _client(port: int, name: str) -> S3Client:
    return make_client(
        region=REGION,
        endpoint_url=f"http://127.0.0.1:{port}",
        access_key_id=name,
        secret_access_key=f"{name}-secret",
        addressing="path",
    )


class _running:  # noqa: N801  # read as the statement `with _running(...)`
    """Runs a server whose data is thrown away: it is killed at the end, because SeaweedFS takes half a minute to stop by itself."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str], health: str) -> None:
        self._log = folder / "server.log"
        self._command, self._folder, self._environment, self._health = command, folder, environment, health

    def __enter__(self) -> None:
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > end:
                self.__exit__()
                pytest.fail(f"{self._command[0]} did not start:\n{self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self._health, timeout=2):
                return True
        except OSError:
            return False


def _free_ports(count: int) -> list[int]:
    """Ports below those that the system gives out by itself; SeaweedFS listens on each plus 10000 as well."""
    found: list[int] = []
    for port in range(14000 + os.getpid() % 4000, 22000):
        if all(_is_free(candidate) for candidate in (port, port + 10000)):
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
