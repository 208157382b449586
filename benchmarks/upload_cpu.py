"""The CPU of one upload, beside the least that could be called one: a bare put of the bytes and a save of the row.

The real handler gets the event of a raw upload and must answer 201. Ours and the peer take turns in one process, which does nothing else,
so that both see the same machine; bucket and tables are the local stack's, in processes of their own.
"""

from __future__ import annotations

import base64
import io
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
from PIL import Image
from pynamodb.attributes import Attribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from benchmarks.figures import Figure
from tools.stack import Settings, Stack, down, up
from tools.stack.access import with_token
from tools.stack.processes import free_ports
from tools.stack.settings import ACCESS_KEY_ID, REGION, ROOT, SECRET_ACCESS_KEY

UPLOADS = 250
WARM_UP = 30


def figures() -> list[Figure]:
    """Measures on a stack of its own, without notifications: their workers would meet the upload's own commit."""
    with _stack() as stack, tempfile.NamedTemporaryFile() as result:
        stack.bucket_client().put_bucket_notification_configuration(Bucket=stack.bucket, NotificationConfiguration={})
        configuration = stack.aws("lambda").get_function_configuration(FunctionName=stack.resources["UploadFunction"])
        environment = configuration["Environment"]["Variables"] | {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("layers/core", "functions", ".")),
            "AWS_ENDPOINT_URL": stack.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "STOCKTAKE_TOKEN": stack.token,
        }
        # the handler's log goes to standard output, as on Lambda
        command = [sys.executable, "-m", "benchmarks.upload_cpu", result.name]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        ours, peer = json.loads(Path(result.name).read_text())
    return [Figure("upload handler", ours * 1000, "CPU ms", 2.5, "lower", "boto3 put_object + PynamoDB save", peer * 1000)]


@contextmanager
def _stack() -> Iterator[Stack]:
    home = ROOT / ".local" / "bench"
    down(Settings(home))
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home, port=free_ports(1))
    try:
        yield up(settings)
    finally:
        down(settings)
        shutil.rmtree(home / "s3", ignore_errors=True)


def main(result: Path) -> None:
    """Measures in this process, whose environment is the function's; writes the median CPU seconds of both."""
    ours = _ours()
    ours()  # whose row the peer's is made after
    peer = _peer()
    taken: dict[Callable[[], object], list[float]] = {ours: [], peer: []}
    for turn in range(WARM_UP + UPLOADS):
        for work, seconds in taken.items():
            began = time.process_time()
            work()
            if turn >= WARM_UP:
                seconds.append(time.process_time() - began)
    result.write_text(json.dumps([statistics.median(seconds) for seconds in taken.values()]))


def _ours() -> Callable[[], object]:
    import upload

    context: Any = SimpleNamespace(
        function_name="upload",
        memory_limit_in_mb=1024,
        invoked_function_arn="arn:aws:lambda:local",
        aws_request_id="benchmark",
        get_remaining_time_in_millis=lambda: 30_000,
    )
    upload.handler(_event("create_project"), context)
    event = _event("put_raw") | {"body": base64.b64encode(_photograph()).decode()}
    event["headers"]["content-type"] = "image/jpeg"

    def work() -> None:
        answer = upload.handler(event, context)
        assert answer["statusCode"] == 201, answer

    return work


def _peer() -> Callable[[], object]:
    """Puts the bytes and saves a row of the attributes that ours has."""
    objects = os.environ["OBJECTS_TABLE"]
    item: dict[str, Any] = boto3.client("dynamodb").scan(TableName=objects, Limit=1)["Items"][0]
    attributes: dict[str, Attribute[Any]] = {
        name: (NumberAttribute if "N" in value else UnicodeAttribute)(hash_key=name == "shard", range_key=name == "key")
        for name, value in item.items()
    }
    meta = type("Meta", (), {"table_name": objects, "region": REGION})
    row = type("PeerRow", (Model,), {"Meta": meta, **attributes})
    values = {name: json.loads(value["N"]) if "N" in value else value["S"] for name, value in item.items()}
    client, bucket, body = boto3.client("s3"), os.environ["STORAGE_BUCKET"], _photograph()
    numbers = iter(range(1_000_000))

    def work() -> None:
        values["key"] = f"peer/{next(numbers)}.jpg"
        client.put_object(Bucket=bucket, Key=values["key"], Body=body, ContentType="image/jpeg")
        row(**values).save()

    return work


def _event(name: str) -> dict[str, Any]:
    return with_token(json.loads((ROOT / "events" / "upload" / f"{name}.json").read_text()), os.environ["STOCKTAKE_TOKEN"])


def _photograph() -> bytes:
    """Makes a JPEG of 1024 x 768 and about 200 KB, the same every time: a gradient with the noise of a sensor."""
    noise = Image.frombytes("L", (1024, 768), random.Random(1).randbytes(1024 * 768))
    image = Image.blend(Image.linear_gradient("L").resize((1024, 768)), noise, 0.12).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
