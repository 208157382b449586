"""The real template, built and deployed by the real sam: once per change of what it is made from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.stack.settings import ACCESS_KEY_ID, REGION, ROOT, SECRET_ACCESS_KEY, Settings, StackError, stack_bin

BUILT = ROOT / ".aws-sam" / "build"
ARTIFACTS_BUCKET = "stocktake-artifacts"

# What a deployed stack is made from. The lock of the stack's own programs is among it: another sam may build another template.
SOURCES = ("template.yaml", "samconfig.toml", "functions", "layers", "statemachines", "requirements/stack.txt")


def sources_digest(root: Path = ROOT) -> str:
    """Hashes names and bytes of everything the build reads, some 60 files in a few milliseconds."""
    digest = hashlib.sha256()
    for source in SOURCES:
        top = root / source
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def built_digest() -> str | None:
    """Says from which sources .aws-sam/build was made, None when it was not made or not finished."""
    try:
        return (BUILT.parent / "digest").read_text()
    except OSError:
        return None


def build(log: Path) -> str:
    """Builds functions and layers into .aws-sam/build, where two stacks of one checkout share them; returns the digest built.

    Raises:
        StackError: the template is missing, or sam said no.
    """
    if not (ROOT / "template.yaml").exists():
        raise StackError(f"there is no template.yaml in {ROOT}")
    (BUILT.parent).mkdir(exist_ok=True)
    with _alone(BUILT.parent / "lock"):
        digest = sources_digest()
        if built_digest() != digest:
            (BUILT.parent / "digest").unlink(missing_ok=True)
            _sam(
                "sam build",
                ["build", "--cached", "--parallel", "--build-dir", str(BUILT), "--cache-dir", str(BUILT.parent / "cache")],
                log=log,
            )
            (BUILT.parent / "digest").write_text(digest)
    return digest


def deploy(settings: Settings, parameters: Mapping[str, str], *, log: Path) -> None:
    """Deploys .aws-sam/build to the local AWS and waits until every resource is there.

    Raises:
        StackError: sam or the local AWS said no.
    """
    import boto3  # a second `up` needs none of it, and it takes a third of a second

    boto3.client("s3", **client_settings(settings)).create_bucket(Bucket=ARTIFACTS_BUCKET)
    _sam(
        "sam deploy",
        [
            "deploy",
            "--template-file",
            str(BUILT / "template.yaml"),
            "--stack-name",
            settings.stack_name,
            "--s3-bucket",
            ARTIFACTS_BUCKET,
            "--region",
            REGION,
            "--capabilities",
            "CAPABILITY_IAM",
            "CAPABILITY_AUTO_EXPAND",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--no-progressbar",
            # Quoted, or sam would end a value such as rate(1 day) at its space and drop an empty one.
            *(["--parameter-overrides", *(f'{name}="{value}"' for name, value in parameters.items())] if parameters else []),
        ],
        log=log,
        endpoint=settings.endpoint,
    )


def fit_to_machine(settings: Settings) -> None:
    """Lets each queue start two workers at a time, the least that AWS knows, whatever the template allows.

    The local AWS starts a process for each batch in flight, and each begins by unpacking the layer: the twenty that the template
    allows, because Lambda has room, kept a machine of two cores busy for 20 s after the first uploads.
    """
    import boto3

    functions = boto3.client("lambda", **client_settings(settings))
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        if mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 1000) > 2 and ":sqs:" in mapping.get("EventSourceArn", ""):
            functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": 2})


def let_batches_be_sent(settings: Settings) -> None:
    """Lets whoever may send a message to a queue send several in one request, as AWS does.

    AWS knows no permission but sqs:SendMessage for both; the local AWS asks for one that bears the name of the request.
    """
    import boto3

    iam = boto3.client("iam", **client_settings(settings))
    for role in iam.list_roles()["Roles"]:
        for policy in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
            document: Any = iam.get_role_policy(RoleName=role["RoleName"], PolicyName=policy)["PolicyDocument"]
            sending = [statement for statement in document["Statement"] if "sqs:SendMessage" in _listed(statement["Action"])]
            for statement in sending:
                statement["Action"] = [*_listed(statement["Action"]), "sqs:SendMessageBatch"]
            if sending:
                iam.put_role_policy(RoleName=role["RoleName"], PolicyName=policy, PolicyDocument=json.dumps(document))


def finish_tables(settings: Settings, resources: Mapping[str, str]) -> None:
    """Switches on what the template asks of its tables and the local AWS leaves out when it makes them: recovery and expiry."""
    import boto3

    dynamodb = boto3.client("dynamodb", **client_settings(settings))
    for role in ("Objects", "Projects", "Operations"):
        recovery: Any = {"PointInTimeRecoveryEnabled": True}
        dynamodb.update_continuous_backups(TableName=resources[f"{role}Table"], PointInTimeRecoverySpecification=recovery)
    expiry: Any = {"AttributeName": "expires_at", "Enabled": True}
    dynamodb.update_time_to_live(TableName=resources["OperationsTable"], TimeToLiveSpecification=expiry)


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def describe(settings: Settings) -> dict[str, Any]:
    """Asks the local AWS what was deployed: `resources` and `outputs`, by logical id."""
    import boto3

    cloudformation = boto3.client("cloudformation", **client_settings(settings))
    stack = cloudformation.describe_stacks(StackName=settings.stack_name)["Stacks"][0]
    resources = [
        row
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=settings.stack_name)
        for row in page["StackResourceSummaries"]
    ]
    apis = [row["PhysicalResourceId"] for row in resources if row["ResourceType"] == "AWS::ApiGatewayV2::Api"]
    if len(apis) != 1:
        raise StackError(f"the template makes {len(apis)} HTTP APIs; one was expected")
    return {
        "api_url": f"http://{apis[0]}.execute-api.localhost:{settings.port}",
        "resources": {row["LogicalResourceId"]: row["PhysicalResourceId"] for row in resources},
        "outputs": {row["OutputKey"]: row["OutputValue"] for row in stack.get("Outputs", [])},
    }


def local_parameters(root: Path = ROOT) -> dict[str, str]:
    """Reads the template parameters of samconfig.toml's [local] environment."""
    path = root / "samconfig.toml"
    config = tomllib.loads(path.read_text()) if path.exists() else {}
    given = config.get("local", {}).get("deploy", {}).get("parameters", {}).get("parameter_overrides", [])
    pairs = given.split() if isinstance(given, str) else given
    return dict(pair.split("=", 1) for pair in pairs)


def client_settings(settings: Settings) -> dict[str, Any]:
    """What a boto3 client needs to talk to the local AWS."""
    return {
        "endpoint_url": settings.endpoint,
        "region_name": REGION,
        "aws_access_key_id": ACCESS_KEY_ID,
        "aws_secret_access_key": SECRET_ACCESS_KEY,
    }


def _sam(what: str, arguments: Sequence[str], *, log: Path, endpoint: str = "") -> None:
    """Runs sam in the root of the repository, with nothing of the caller's AWS settings; its output goes to the log."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_", "PYTHON", "MAKE", "MFLAGS"))}
    environment = inherited | {
        # sam looks for the template's python on PATH, the layer's Makefile for uv.
        "PATH": os.pathsep.join([str(stack_bin()), str(ROOT / ".venv-tools" / "bin"), os.environ.get("PATH", "")]),
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.25",  # it asks every 5 s otherwise, and the local AWS is done after one
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    if endpoint:
        environment["AWS_ENDPOINT_URL"] = endpoint
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        done = subprocess.run(
            [str(stack_bin() / "sam"), *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").strip().splitlines()[-25:])
        raise StackError(f"{what} failed; the end of {log}:\n{tail}")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the folder's lock: the tests' stack and the developer's may build at the same time."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def read_deployed(path: Path) -> dict[str, Any]:
    """Reads what was last deployed there; empty when nothing was."""
    try:
        deployed = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return deployed if isinstance(deployed, dict) else {}
