"""Deleting a project to its receipt, beside `s5cmd rm` and `rclone delete` of as many objects on the same SeaweedFS server.

Ours does more: each object has a record, which goes too; both ways of looking are walked before and after; every batch is written down
first; and a receipt proves the end. All of it is in the figure. Ten workers run at once, as the template has it, as threads of one process.

SeaweedFS and whoever deletes share one core. The ledger's server, of which the peers have none, has another to itself, because on AWS it
takes none of ours either (`dynamodb` says which server it is). Where a machine has one core, or lets nobody choose, all share it.

Machines that are shared have fast and slow minutes: all take turns, and of each the median is told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import batched
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config

from benchmarks.dynamodb import dynamodb, made_tables
from benchmarks.figures import Figure
from stocktake.cdn import NoCdn, PublicCopies
from stocktake.ids import new_id, now_ms
from stocktake.layouts import Registry
from stocktake.ledger import Ledger, Operations, Tables, shard_of
from stocktake.project_deletion import ProjectDeletions, Purging, Wiring
from stocktake.storage.memory import MemoryStore
from stocktake.storage.s3 import S3Store, make_client
from stocktake.tombstones import Tombstones
from tools.stack import Settings
from tools.stack.processes import free_ports
from tools.stack.servers import SeaweedFs
from tools.stack.settings import ACCESS_KEY_ID, REGION, ROOT, SECRET_ACCESS_KEY, stack_bin

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OBJECTS = 20_000
ROUNDS = 3
WORKERS = 10
SHARDS = 16
_CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
BUCKET = "deleting"
OURS = "ours"


def figures() -> list[Figure]:
    """Measures objects deleted a second of the clock, each on a bucket filled afresh."""
    with on_core(0):
        ledger_name, measured = _measured()
    rates = {name: median(all_of_it) for name, all_of_it in measured.items()}
    ours = rates.pop(OURS)
    faster = max(rates, key=rates.__getitem__)
    return [
        Figure(f"project deletion, ledger in {ledger_name}", ours, "objects per s", 0.8, "higher", faster, rates[faster]),
        *(
            Figure(f"project deletion beside {name}", ours, "objects per s", 0.8, "higher", name, rates[name])
            for name in rates
            if name != faster
        ),
    ]


def _measured() -> tuple[str, dict[str, list[float]]]:
    """Returns the ledger's server, and the rates of ours and the peers in each round."""
    home = ROOT / ".local" / "bench"
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home, port=free_ports(1), store="seaweedfs", store_port=free_ports(4))
    settings.log.mkdir(parents=True)
    store, ledger = SeaweedFs(settings), dynamodb(settings)
    os.environ.setdefault("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)  # the ledger's server takes any
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    try:
        with on_core(1):
            ledger.start()
        store.start()
        access_key_id, secret_access_key = store.credentials()
        session = botocore.session.get_session()
        session.set_default_client_config(Config(user_agent="stocktake"))  # said outright, as the services do
        client = make_client(
            region=REGION,
            endpoint_url=store.endpoint,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            addressing="path",
            read_seconds=30,
            session=boto3.session.Session(botocore_session=session),
        )
        client.create_bucket(Bucket=BUCKET)
        keys = {"AWS_ACCESS_KEY_ID": access_key_id, "AWS_SECRET_ACCESS_KEY": secret_access_key, "AWS_REGION": REGION}
        peers = {
            "s5cmd rm": ["s5cmd", "--endpoint-url", store.endpoint, "--log", "error", "rm", f"s3://{BUCKET}/projects/*"],
            "rclone delete": [
                *("rclone", "delete", f":s3:{BUCKET}/projects", "--s3-provider", "SeaweedFS", "--s3-endpoint", store.endpoint),
                *("--s3-access-key-id", access_key_id, "--s3-secret-access-key", secret_access_key, "--config", os.devnull),
            ],
        }
        bucket, tables = S3Store(BUCKET, client=client), made_tables(settings, session)
        rates: dict[str, list[float]] = defaultdict(list)
        for number in range(ROUNDS):
            project_id = f"bench{number}"
            _fill(project_id, store.endpoint, keys)
            rates[OURS].append(_ours(project_id, bucket, tables))
            assert _left(client) == 0, project_id
            for name, command in peers.items():
                _fill(project_id, store.endpoint, keys)
                rates[name].append(OBJECTS / _timed([str(stack_bin() / command[0]), *command[1:]], keys))
                assert _left(client) == 0, name
    finally:
        ledger.stop()
        store.stop()
        shutil.rmtree(home, ignore_errors=True)
    return ledger.name, rates


@contextmanager
def on_core(number: int | None) -> Iterator[None]:
    """Keeps this thread, and what it starts, to one of the cores it has; to all for None, and where it cannot be said."""
    if len(_CORES) < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _CORES if number is None else {_CORES[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _ours(project_id: str, store: S3Store, made: Tables) -> float:
    ledger, operations = Ledger(made, shards=SHARDS), Operations(made)
    ledger.create_project(project_id, {}, now_ms())
    with on_core(None):
        _record(project_id, made)
    store.profile()
    messages: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
    wiring = Wiring(
        publish=messages.put,
        steps=lambda message, _: messages.put(message),
        batches=lambda message, _: messages.put(message),
        dead_letters=lambda message, _: None,
    )
    flow = ProjectDeletions(
        store,
        ledger,
        operations,
        Registry(),
        wiring,
        Purging(PublicCopies(NoCdn(), None)),
        Tombstones(MemoryStore("reports", now=now_ms), operations),
        sweep_delay_ms=0,
        now=now_ms,
        new_id=new_id,
    )
    began = time.perf_counter()
    deletion_id = flow.request(project_id).operation_id
    with ThreadPoolExecutor(WORKERS) as pool:
        for finished in [pool.submit(_work, flow, messages) for _ in range(WORKERS)]:
            finished.result()
    seconds = time.perf_counter() - began
    receipt = flow.receipt(deletion_id)
    assert receipt is not None
    assert (receipt["status"], receipt["objects"], receipt["records"]) == ("DELETED", OBJECTS, OBJECTS), receipt
    return OBJECTS / seconds


def _work(flow: ProjectDeletions, messages: SimpleQueue[Mapping[str, Any] | None]) -> None:
    """Takes one message after the other, until the deletion has ended, here or elsewhere, or a message could not be acted on."""
    try:
        for message in iter(messages.get, None):
            if _deliver(flow, message) in ("DELETED", "INCOMPLETE"):
                break
    finally:
        messages.put(None)  # who takes it tells the next


def _deliver(flow: ProjectDeletions, message: Mapping[str, Any]) -> str | None:
    """Acts on a message, and returns the status that a step leaves the deletion in."""
    if "part" in message:
        flow.work(message["deletion_id"], message["part"], out_of_time=lambda: False)
        return None
    step = flow.discover if message["step"] == "discover" else flow.sweep
    return step(message["deletion_id"], message["round"], out_of_time=lambda: False)


def _key(project_id: str, number: int) -> str:
    return f"projects/{project_id}/2026/11/{number:026d}.png"


def _fill(project_id: str, endpoint: str, keys: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(OBJECTS):
            path = Path(folder) / _key(project_id, number)
            if number == 0:
                path.parent.mkdir(parents=True)
            path.write_bytes(b"0" * 1000)
        with on_core(None):
            _timed([str(stack_bin() / "s5cmd"), "--endpoint-url", endpoint, "--log", "error", "cp", f"{folder}/", f"s3://{BUCKET}/"], keys)


def _timed(command: list[str], keys: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin", **keys}, capture_output=True)
    return time.perf_counter() - began


def _left(client: S3Client) -> int:
    return client.list_objects_v2(Bucket=BUCKET, Prefix="projects/", MaxKeys=1)["KeyCount"]


def _record(project_id: str, made: Tables) -> None:
    """Writes the records of the objects in bulk, and their counts."""
    at = str(now_ms())
    counts: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for number in range(OBJECTS):
        key = _key(project_id, number)
        shard = shard_of(key, SHARDS)
        counts[shard] = counts.get(shard, 0) + 1
        texts = {"shard": shard, "key": key, "project": project_id, "project_id": project_id, "state": "STORED"}
        texts |= {
            "object_id": f"{project_id}{number:026d}",
            "layout": "current",
            "etag": "0" * 32,
            "metadata": "{}",
            "source": "upload",
            "write_id": "w",
        }
        texts |= {"content_type": "image/png", "counted_as": "current\nimage/png\n\n0"}
        numbers = {"epoch": "1", "size": "1000", "created_at": at, "updated_at": at, "version": "1"}
        rows.append({**{name: {"S": text} for name, text in texts.items()}, **{name: {"N": text} for name, text in numbers.items()}})
    for some in batched(rows, 25, strict=False):
        made.client.batch_write_item(RequestItems={"objects": [{"PutRequest": {"Item": row}} for row in some]})
    for shard, objects in counts.items():
        made.client.update_item(
            TableName="projects",
            Key={"project": {"S": project_id}, "part": {"S": f"counts#{shard}"}},
            UpdateExpression="ADD stored_objects :objects, stored_bytes :bytes",
            ExpressionAttributeValues={":objects": {"N": str(objects)}, ":bytes": {"N": str(1000 * objects)}},
        )
