"""Listing 100,000 objects of one SeaweedFS server, beside boto3's paginator, `s5cmd ls` and `rclone lsf`, which take turns.

By the clock, the server's share is most of it, and the same for all: on two cores it takes several times the CPU of our side. So ours is
also measured as a run of reconciliation lists, in several ranges at once, beside rclone as it lists by itself, eight folders at once; and
the CPU of our process beside boto3's.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from benchmarks.figures import Figure
from stocktake.storage.ordering import stream
from stocktake.storage.s3 import S3Store, make_client
from tools.stack import Settings
from tools.stack.processes import free_ports
from tools.stack.servers import SeaweedFs
from tools.stack.settings import REGION, ROOT, stack_bin

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OBJECTS = 100_000
FOLDERS = 50
RANGES = 4
TURNS = 3
BUCKET = "listing"


def figures() -> list[Figure]:
    """Measures keys a second of the clock, and microseconds of CPU a key."""
    home = ROOT / ".local" / "bench-listing"
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home, port=free_ports(1), store="seaweedfs", store_port=free_ports(4))
    settings.log.mkdir(parents=True)
    server = SeaweedFs(settings)
    try:
        server.start()
        return _measured(server)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def _measured(server: SeaweedFs) -> list[Figure]:
    access_key_id, secret_access_key = server.credentials()
    keys = {"AWS_ACCESS_KEY_ID": access_key_id, "AWS_SECRET_ACCESS_KEY": secret_access_key, "AWS_REGION": REGION}
    client = make_client(
        region=REGION,
        endpoint_url=server.endpoint,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        addressing="path",
        read_seconds=60,
    )
    client.create_bucket(Bucket=BUCKET)
    _fill(server.endpoint, keys)
    # SeaweedFS lists by directory; of these keys that is the order of bytes, which is verified on the way
    store = S3Store(BUCKET, client=client, profile=replace(S3Store(BUCKET, client=client).profile(), ordered_listing=True))
    plain = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
    )
    rclone = [
        *("rclone", "lsf", "-R", "--files-only", f":s3:{BUCKET}/projects", "--s3-provider", "SeaweedFS", "--s3-endpoint", server.endpoint),
        *("--s3-access-key-id", access_key_id, "--s3-secret-access-key", secret_access_key, "--config", os.devnull),
    ]
    ways: dict[str, Callable[[], int]] = {
        "ours": lambda: sum(len(page) for page in store.list("projects/")),
        "ours in ranges": lambda: _in_ranges(store),
        "boto3 paginator": lambda: _paginated(plain),
        "s5cmd ls": lambda: _lines(["s5cmd", "--endpoint-url", server.endpoint, "ls", f"s3://{BUCKET}/projects/*"], keys),
        "rclone lsf --fast-list": lambda: _lines([*rclone, "--fast-list"], keys),
        "rclone lsf": lambda: _lines(rclone, keys),
    }
    clock: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, listed in ways.items():
            began, spent = time.perf_counter(), time.process_time()
            assert listed() == OBJECTS, name
            cpu[name].append(time.process_time() - spent)
            clock[name].append(time.perf_counter() - began)
    rate = {name: OBJECTS / statistics.median(seconds) for name, seconds in clock.items()}
    peers = [
        ("ours", "boto3 paginator", 3),
        ("ours", "s5cmd ls", 1.2),
        ("ours", "rclone lsf --fast-list", 1),
        ("ours in ranges", "rclone lsf", 1),
    ]
    took = {name: statistics.median(seconds) / OBJECTS * 1e6 for name, seconds in cpu.items()}
    return [
        *(
            Figure(f"{ours.replace('ours', 'listing')} beside {peer}", rate[ours], "keys per s", target, "higher", peer, rate[peer])
            for ours, peer, target in peers
        ),
        Figure("listing, CPU", took["ours"], "CPU µs per key", 1 / 3, "lower", "boto3 paginator", took["boto3 paginator"]),
    ]


def _in_ranges(store: S3Store) -> int:
    """Lists as many ranges at once, each in verified order, as the branches of a run do."""
    cuts = [_key(OBJECTS * number // RANGES) for number in range(1, RANGES)]
    with ThreadPoolExecutor(RANGES) as pool:
        return sum(
            pool.map(lambda after, until: sum(1 for _ in stream(store, "projects/", after=after, until=until)), ["", *cuts], [*cuts, None])
        )


def _paginated(client: S3Client) -> int:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="projects/")
    return sum(len(page.get("Contents", ())) for page in pages)


def _lines(command: list[str], keys: Mapping[str, str]) -> int:
    environment = {"PATH": "/usr/bin:/bin", **keys}
    listed = subprocess.run([str(stack_bin() / command[0]), *command[1:]], check=True, env=environment, capture_output=True)
    return listed.stdout.count(b"\n")


def _key(number: int) -> str:
    """Makes keys that directories sort as bytes do, in order of the number."""
    return f"projects/p{number * FOLDERS // OBJECTS:02}/2026/11/{number:026d}.png"


def _fill(endpoint: str, keys: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, commands = Path(folder) / "1", Path(folder) / "commands"
        source.write_bytes(b"1")
        commands.write_text("".join(f"cp {source} s3://{BUCKET}/{_key(number)}\n" for number in range(OBJECTS)))
        _lines(["s5cmd", "--endpoint-url", endpoint, "--log", "error", "--numworkers", "64", "run", str(commands)], keys)
