"""Up and down: what a stack needs, in the order it needs it."""

from __future__ import annotations

import base64
import fcntl
import json
import secrets
import urllib.request
from typing import Any

from tools.stack import deployment, processes
from tools.stack.access import Stack
from tools.stack.issuer import AUDIENCE, KEY_SET, Issuer
from tools.stack.progress import step
from tools.stack.servers import LocalAws, SeaweedFs
from tools.stack.settings import ACCESS_KEY_ID, REGION, ROOT, SECRET_ACCESS_KEY, STORES, Settings

FOREIGN_BUCKET = "stocktake-media"
SECRET_NAME = "stocktake/storage"
SEALING_SECRET_NAME = "stocktake/sealing-keys"
ISSUER_BUCKET = "stocktake-issuer"
WEBHOOK_SECRET_NAME = "stocktake/webhook"
R2_QUEUE_SECRET_NAME = "stocktake/r2-queue"


def up(settings: Settings) -> Stack:
    """Brings the stack to what the sources say: starts what is not running, builds and deploys what has changed.

    A stack of the other store kind under the same home is stopped first; each kind keeps its own data.

    Returns: the stack, running.

    Raises:
        StackError: a port is taken, a program is missing, or a build or deploy failed.
    """
    for other in STORES:
        if other != settings.store:
            _stop(_with_store(settings, other))
    aws, foreign = LocalAws(settings), SeaweedFs(settings) if settings.store == "seaweedfs" else None
    if not aws.running() and processes.read(aws.pid_file) is None:
        processes.need_free({settings.port: "STOCKTAKE_PORT"})  # before anything else is started for nothing
    if foreign and not foreign.running():
        with step(f"SeaweedFS on 127.0.0.1:{settings.store_port}"):
            foreign.stop()
            foreign.start()
    if not aws.running():
        with step(f"local AWS on 127.0.0.1:{settings.port}"):
            if aws.pid_file.exists() and not aws.stop():
                # It ended without saving: what was deployed last may be unknown to it.
                (settings.data / "deployed.json").unlink(missing_ok=True)
            aws.start()
    issuer = issuer_of(settings)
    publish(settings, issuer)
    deployed_file = settings.data / "deployed.json"
    deployed = deployment.read_deployed(deployed_file)
    wanted = {
        "sources": deployment.sources_digest(),
        "parameters": deployment.local_parameters(),
        "port": settings.port,
        "store": [foreign.endpoint, *foreign.credentials()] if foreign else [],
    }
    if deployed.get("wanted") != wanted or not aws.knows(settings.stack_name):
        deployed_file.unlink(missing_ok=True)
        wanted["sources"] = build_all(settings)
        parameters = deployment.local_parameters() | prepare_secrets(settings)
        parameters |= {"TokenIssuer": issuer.url, "TokenAudience": AUDIENCE}
        if foreign:
            with step("bucket and secret of the foreign store"):
                parameters |= prepare_foreign(settings, foreign)
        with step("sam deploy"):
            deployment.deploy(settings, parameters, log=settings.log / "sam-deploy.log")
            deployment.fit_to_machine(settings)
            deployment.let_batches_be_sent(settings)
            deployed = {"wanted": wanted, **deployment.describe(settings)}
            deployment.finish_tables(settings, deployed["resources"])
        deployed_file.write_text(json.dumps(deployed, indent=1))
    settings.description.unlink(missing_ok=True)
    settings.description.touch(mode=0o600)  # it holds a token
    settings.description.write_text(json.dumps(_description(settings, deployed, foreign, issuer.token()), indent=1) + "\n")
    return Stack.running(settings)


def down(settings: Settings) -> bool:
    """Stops every server of this home, whichever store it was started with; True when there was one to stop."""
    settings.description.unlink(missing_ok=True)
    found = [_stop(_with_store(settings, store)) for store in STORES]
    return any(found)


def _stop(settings: Settings) -> bool:
    aws, foreign = LocalAws(settings), SeaweedFs(settings)
    found = False
    for server, name in ((aws, "local AWS"), (foreign, "SeaweedFS")):
        if server.pid_file.exists():
            found = True
            with step(f"stopping {name} ({settings.store})"):
                server.stop()
    return found


def _with_store(settings: Settings, store: str) -> Settings:
    return Settings(settings.home, settings.port, store, settings.store_port, settings.stack_name)


def build_all(settings: Settings) -> str:
    """Builds functions and layer when their sources have changed since; returns the digest of what is built.

    One process at a time builds; who waited for it finds it done.
    """
    lock_file = ROOT / ".local" / "build.lock"
    lock_file.parent.mkdir(exist_ok=True)
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if deployment.built_digest() == (digest := deployment.sources_digest()):
            return digest
        with step("sam build"):
            return deployment.build(settings.log / "sam-build.log")


def deployed_sources(settings: Settings) -> str | None:
    """Says which sources the stack was last deployed from."""
    wanted = deployment.read_deployed(settings.data / "deployed.json").get("wanted", {})
    sources = wanted.get("sources")
    return sources if isinstance(sources, str) else None


def prepare_foreign(settings: Settings, foreign: SeaweedFs) -> dict[str, str]:
    """Makes the bucket in the foreign store and the secret with its credentials in the local AWS, as an operator of R2 would.

    Returns: the template parameters that name them.
    """
    import boto3  # a second `up` needs none of it, and it takes a third of a second

    access_key_id, secret_access_key = foreign.credentials()
    store = boto3.client(
        "s3",
        endpoint_url=foreign.endpoint,
        region_name=REGION,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
    )
    if FOREIGN_BUCKET not in [bucket["Name"] for bucket in store.list_buckets()["Buckets"]]:
        store.create_bucket(Bucket=FOREIGN_BUCKET)
    manager = boto3.client("secretsmanager", **deployment.client_settings(settings))
    value = json.dumps({"access_key_id": access_key_id, "secret_access_key": secret_access_key})
    try:
        arn = manager.create_secret(Name=SECRET_NAME, SecretString=value)["ARN"]
    except manager.exceptions.ResourceExistsException:
        arn = manager.put_secret_value(SecretId=SECRET_NAME, SecretString=value)["ARN"]
    return {
        "StorageBucketName": FOREIGN_BUCKET,
        "StorageEndpoint": foreign.endpoint,
        "StorageRegion": REGION,
        "StorageAddressing": "path",
        "StorageCredentialsSecretArn": arn,
    }


def issuer_of(settings: Settings) -> Issuer:
    """Returns the issuer of a stack's tokens.

    Its documents lie in a bucket of the local AWS, where functions fetch them over the loopback as they would fetch those of any issuer: no
    further server has to run.
    """
    return Issuer.kept(f"{settings.endpoint}/{ISSUER_BUCKET}", settings.home / "issuer.pem")


def publish(settings: Settings, issuer: Issuer) -> None:
    """Makes the issuer's documents readable for everyone on this machine, unless they are."""
    documents = issuer.documents()
    try:
        with urllib.request.urlopen(f"{issuer.url}/{KEY_SET}", timeout=5) as answer:  # loopback only
            if answer.read() == documents[KEY_SET]:
                return
    except OSError:
        pass  # not published yet
    import boto3

    s3 = boto3.client("s3", **deployment.client_settings(settings))
    s3.create_bucket(Bucket=ISSUER_BUCKET)
    s3.delete_public_access_block(Bucket=ISSUER_BUCKET)
    public = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{ISSUER_BUCKET}/*"}
    s3.put_bucket_policy(Bucket=ISSUER_BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [public]}))
    for name, body in documents.items():
        s3.put_object(Bucket=ISSUER_BUCKET, Key=name, Body=body, ContentType="application/json")


def prepare_secrets(settings: Settings) -> dict[str, str]:
    """Makes in the local AWS the keys that seal sensitive metadata, what is shared with a Worker of R2's events, and a token of R2's queue
    that is none. Secrets that are there are kept: what was sealed is to be opened.

    Returns: the template parameters that name them.
    """
    import boto3

    manager = boto3.client("secretsmanager", **deployment.client_settings(settings))

    def kept(name: str, document: dict[str, Any]) -> str:
        try:
            return str(manager.create_secret(Name=name, SecretString=json.dumps(document))["ARN"])
        except manager.exceptions.ResourceExistsException:
            return str(manager.describe_secret(SecretId=name)["ARN"])

    return {
        "SealingKeysSecretArn": kept(
            SEALING_SECRET_NAME, {"current": "k1", "keys": {"k1": base64.b64encode(secrets.token_bytes(32)).decode()}}
        ),
        "WebhookSecretArn": kept(WEBHOOK_SECRET_NAME, {"current": secrets.token_hex(32)}),
        "R2QueueTokenSecretArn": kept(R2_QUEUE_SECRET_NAME, {"api_token": "none"}),
    }


def _description(settings: Settings, deployed: dict[str, Any], foreign: SeaweedFs | None, token: str) -> dict[str, Any]:
    return {
        "api_url": deployed["api_url"],
        "token": token,
        "dashboard_url": f"{deployed['api_url']}/dashboard",
        "stack_name": settings.stack_name,
        "endpoint": settings.endpoint,
        "region": REGION,
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
        "store": settings.store,
        "store_endpoint": foreign.endpoint if foreign else settings.endpoint,
        "store_credentials": list(foreign.credentials()) if foreign else [ACCESS_KEY_ID, SECRET_ACCESS_KEY],
        "bucket": deployed["outputs"]["DataBucketName"],
        "resources": deployed["resources"],
        "outputs": deployed["outputs"],
    }
