"""How to reach a local stack that runs: its API, its AWS, its bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import requests
from botocore.config import Config

from tools.stack.settings import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Settings, StackError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Api(requests.Session):
    """A requests session whose URLs are paths of the API: `api.post("/projects", json={...})`.

    The API's host name is one of `*.localhost`. curl and browsers know that to be the loopback; Python asks the resolver, which may not: so
    it connects to 127.0.0.1 and says the name in the Host header. Full URLs, such as presigned ones, go where they say.

    Args:
        token: what is sent to paths of the API, and nowhere else; None to send none.
        seconds: the time-out of a call that names none; an HTTP API answers within 30 s.
    """

    def __init__(self, url: str, token: str | None = None, *, seconds: float = 35) -> None:
        super().__init__()
        self.url = url.rstrip("/")
        self._token = token
        self._seconds = seconds
        # A proxy or a .netrc of this machine has no business with the loopback.
        self.trust_env = False

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Calls a path of the API, or any full URL."""
        if self._token and isinstance(url, str) and url.startswith("/"):
            kwargs["headers"] = {"Authorization": f"Bearer {self._token}", **(kwargs.get("headers") or {})}
        target = urlsplit(self.url + url if isinstance(url, str) and url.startswith("/") else str(url))
        if (target.hostname or "").endswith(".localhost"):
            kwargs["headers"] = {**(kwargs.get("headers") or {}), "Host": target.netloc}
            target = target._replace(netloc=f"127.0.0.1:{target.port}")
        kwargs.setdefault("timeout", self._seconds)
        return super().request(method, target.geturl(), *args, **kwargs)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Takes token and host name off a request that follows a redirect: only here does a bucket lie at the API's own address."""
        for name in ("Authorization", "Host"):
            prepared_request.headers.pop(name, None)


def with_token(event: Mapping[str, Any], token: str) -> dict[str, Any]:
    """Returns an event of the HTTP API with a token in its headers; any other as it is."""
    if "rawPath" not in event:
        return dict(event)
    return {**event, "headers": {**event["headers"], "authorization": f"Bearer {token}"}}


@dataclass(frozen=True)
class Stack:
    """A local stack as `.local/stack.json` tells it.

    Attributes:
        api_url: where the HTTP API answers, without a slash at the end.
        token: what lets its bearer do everything there, for some hours.
        resources: the physical id of every resource, by its name in the template (a queue's is its URL).
        outputs: what the template's Outputs say.
        endpoint: the local AWS.
        store: "s3" or "seaweedfs"; the bucket lies at `store_endpoint`, reached with `store_credentials`.
    """

    api_url: str
    token: str
    stack_name: str
    resources: dict[str, str]
    outputs: dict[str, str]
    endpoint: str
    store: str
    store_endpoint: str
    store_credentials: tuple[str, str]
    bucket: str

    @classmethod
    def running(cls, settings: Settings | None = None) -> Stack:
        """Reads the description of the stack that runs.

        Raises:
            StackError: none does.
        """
        description = (settings or Settings.from_environment()).description
        try:
            fields = json.loads(description.read_text())
        except OSError:
            raise StackError("the local stack is not running: start it with `make up`") from None
        fields["store_credentials"] = tuple(fields["store_credentials"])
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})

    @property
    def api(self) -> Api:
        """A new session with the API, with the token that may everything."""
        return Api(self.api_url, self.token)

    def api_with(self, token: str | None) -> Api:
        """Makes a session with another token, or with none."""
        return Api(self.api_url, token)

    def aws(self, service: str) -> Any:
        """Makes a boto3 client of the local AWS for any service."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # boto3-stubs has one overload per literal name
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            config=Config(retries={"total_max_attempts": 3, "mode": "standard"}),
        )

    def bucket_client(self) -> S3Client:
        """Makes a client of the store that holds the data bucket, whichever it is: to do there what Stocktake does not see."""
        access_key_id, secret_access_key = self.store_credentials
        return boto3.client(
            "s3",
            endpoint_url=self.store_endpoint,
            region_name=REGION,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def environment(self) -> dict[str, str]:
        """The settings that point aws, sam and boto3 at the local AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "STOCKTAKE_API": self.api_url,
            "STOCKTAKE_TOKEN": self.token,
            "STOCKTAKE_BUCKET": self.bucket,
        }
