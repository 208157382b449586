"""A run that reads an inventory, through the state machine and with the layers that the step has as deployed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stocktake.inventory_rows import FORMATS
from stocktake.model import ListedObject
from tests.inventories import Delivery, a_row
from tests.stack.api import call, eventually
from tools.stack import Stack

KEYS = ("backups/a b+c%20d.tar", "backups/e\u0301.tar", "backups/plain.tar")


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_counts_what_an_inventory_lists_as_one_that_lists_the_bucket(stack: Stack, form: str) -> None:
    bucket, files, operations = stack.bucket_client(), stack.aws("s3"), stack.resources["OperationsBucket"]
    for key in KEYS:
        bucket.put_object(Bucket=stack.bucket, Key=key, Body=b"kept")
    by_listing = run_of(stack)
    listed = [row for page in bucket.get_paginator("list_objects_v2").paginate(Bucket=stack.bucket) for row in page["Contents"]]
    rows = [ListedObject(row["Key"], row["Size"], row["ETag"], round(row["LastModified"].timestamp() * 1000)) for row in listed]
    delivered = Delivery(
        operations,
        lambda key, body: files.put_object(Bucket=operations, Key=key, Body=body),
        [a_row(row, stack.bucket) for row in rows],
        time.time_ns() // 1_000_000,
        source=stack.bucket,
        form=form,
    )
    run = run_of(stack, inventory=delivered.deliver())
    assert (run["status"], run.get("why"), run["inventory"]["sorted"]) == ("COMPLETE", None, 3)
    assert [run["counts"][name] for name in ("bucket", "system")] == [by_listing["counts"][name] for name in ("bucket", "system")]
    assert run["counts"]["bucket"]["objects"] + run["counts"]["system"]["objects"] == len(rows) > len(KEYS)


def run_of(stack: Stack, **asked: Any) -> dict[str, Any]:
    """Starts a run and returns it at its end; what other tests removed is no loss."""
    run_id = call(stack, "POST", "/reconciliations", 202, json={"accept_loss": True, **asked})["run_id"]
    answer: dict[str, Any] = eventually(lambda: call(stack, "GET", f"/reconciliations/{run_id}", 200), lambda run: "finished_at" in run)
    return answer
