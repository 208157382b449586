"""The boto3 client for any S3-compatible store: signed, timed and worded so that AWS, R2 and the others all take it."""

from __future__ import annotations

import base64
import contextvars
import hashlib
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from botocore.config import Config

from stocktake.storage.s3_deleting import write_and_read_plainly
from stocktake.storage.s3_listing import read_plainly

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client

_CONNECT_SECONDS = 3
_TOTAL_ATTEMPTS = 3
_POOL_CONNECTIONS = 32

# Set while the probe tries whether DeleteObjects is taken without Content-MD5.
without_content_md5 = contextvars.ContextVar("without_content_md5", default=False)


def make_client(
    *,
    region: str,
    endpoint_url: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    addressing: Literal["auto", "path", "virtual"] = "auto",
    read_seconds: float = 6,
    session: boto3.session.Session | None = None,
) -> S3Client:
    """Makes the boto3 client that `S3Store` needs, for AWS or any other store; sends nothing.

    Args:
        region: the bucket's; `auto` for R2.
        endpoint_url: the store's URL; None for AWS S3 (or what boto3's own AWS_ENDPOINT_URL says).
        access_key_id: with `secret_access_key`, the store's key pair; None for the credentials boto3 finds, as a Lambda role's.
        addressing: `path` (host/bucket/key), `virtual` (bucket.host/key) or `auto`.
        read_seconds: how long one answer may take. The default keeps a call with all its attempts, 3 x (3 + 6) s, inside the 30 s of an
            API; a copy of gigabytes takes longer.
        session: to share what it has read with other clients; None for one of its own.
    """
    import boto3  # 25 ms of CPU, for the first client and not for the import of a handler

    config = Config(
        # Without it presigning fell back to SigV2 in us-east-1 and silently dropped signed parameters.
        signature_version="s3v4",
        # The default sends PutObject as aws-chunked with a CRC32 trailer, which R2 and others refuse.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": _TOTAL_ATTEMPTS},
        max_pool_connections=_POOL_CONNECTIONS,
        s3={"addressing_style": addressing, "us_east_1_regional_endpoint": "regional"},
    )
    client: S3Client = (session or boto3.session.Session()).client(
        "s3",
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=config,
    )
    read_plainly(client)
    write_and_read_plainly(client)
    client.meta.events.register("before-call.s3.DeleteObjects", _add_content_md5)
    client.meta.events.register("before-call.s3.CopyObject", _ask_r2_too)
    client.meta.events.register("before-parameter-build.s3", _never_follow_to_another_region)
    if not _is_aws(client.meta.endpoint_url):
        client.meta.events.register("before-sign.s3", _drop_expect)
    return client


def _is_aws(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _add_content_md5(params: dict[str, Any], **_: object) -> None:
    """Adds what boto3 stopped sending and some stores still demand; harmless to the others."""
    if not without_content_md5.get():
        params["headers"]["Content-MD5"] = base64.b64encode(hashlib.md5(params["body"], usedforsecurity=False).digest()).decode()


def _ask_r2_too(params: dict[str, Any], **_: object) -> None:
    """Says a condition on a copy's target in R2's words as well; the others ignore a header that they do not know."""
    if "If-None-Match" in params["headers"]:
        params["headers"]["cf-copy-destination-if-none-match"] = params["headers"]["If-None-Match"]


def _drop_expect(request: Any, **_: object) -> None:
    """Removes `Expect: 100-continue`: a proxy that does not answer it costs a second a put. It is no signed header."""
    if "Expect" in request.headers:
        del request.headers["Expect"]


def _never_follow_to_another_region(context: dict[str, Any], **_: object) -> None:
    """Tells boto3's redirector that this request was already redirected, so that a wrong region is an error and not a hidden detour.

    Followed redirects double every cold request and leave presigned URLs, which cannot follow, broken.
    """
    context.get("s3_redirect", {})["redirected"] = True
    # with addressing "auto" botocore presigns for the global host outside us-east-1, which answers a fresh bucket with a redirect
    context["use_global_endpoint"] = False
