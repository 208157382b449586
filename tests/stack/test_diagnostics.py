"""Diagnostics of a deployed stack: well as it is made, and a right that is taken away is the one thing that is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.stack.api import call, opened, uploaded
from tests.unit.world import an_image
from tools.stack import Stack


@contextmanager
def without(stack: Stack, policy_name: str, *actions: str) -> Iterator[None]:
    """Takes actions from the role of the diagnostics, and gives them back."""
    iam, functions = stack.aws("iam"), stack.aws("lambda")
    role = functions.get_function_configuration(FunctionName=stack.resources["DiagnosticsFunction"])["Role"].rpartition("/")[2]
    policy = iam.get_role_policy(RoleName=role, PolicyName=policy_name)["PolicyDocument"]
    left = json.loads(json.dumps(policy))
    for statement in left["Statement"]:
        listed = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [action for action in listed if action not in actions] or ["s3:GetBucketLocation"]
    iam.put_role_policy(RoleName=role, PolicyName=policy_name, PolicyDocument=json.dumps(left))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy_name, PolicyDocument=json.dumps(policy))


def checks(stack: Stack) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in call(stack, "GET", "/diagnostics", 200)["checks"]}


def steps(stack: Stack) -> dict[str, str]:
    return {step["name"]: step["status"] for step in call(stack, "POST", "/diagnostics/self-test", 200)["steps"]}


def test_a_stack_as_it_is_deployed_is_well_and_says_what_it_is_not_allowed(stack: Stack) -> None:
    project = opened(stack)
    record = uploaded(stack, project, an_image(7))
    found = checks(stack)
    # other tests of this stack may have left dead letters, and its waits are those of a trial
    assert {name for name, check in found.items() if check["status"] in ("failed", "warning")} - {"dead-letters"} == {"waits"}
    assert (found["credentials"]["detail"]["account"], len(found["dead-letters"]["detail"]["queues"])) == ("000000000000", 7)
    assert set(steps(stack).values()) == {"ok"}
    assert not stack.bucket_client().list_objects_v2(Bucket=stack.bucket, Prefix=".stocktake/probe/self-test/").get("Contents")

    looked = call(stack, "GET", "/diagnostics/objects", 200, params={"object_id": record["object_id"]})
    assert (looked["status"], looked["url"]["kind"], looked["differences"]) == ("ok", "image/png", [])

    with without(stack, "data-bucket", "s3:ListBucket"):
        denied = checks(stack)
        assert {name: check["status"] for name, check in denied.items() if check["status"] == "failed"} == {"permission-list": "failed"}
        assert "s3:ListBucket" in denied["permission-list"]["do"]
    with without(stack, "data-bucket", "s3:PutObject"):
        assert steps(stack)["put"] == "failed"
    with without(stack, "own", "sqs:GetQueueAttributes"):
        assert {name for name, check in checks(stack).items() if check["status"] == "failed"} == {"dead-letters"}
