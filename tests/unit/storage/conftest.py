from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest

from stocktake.storage.s3 import S3Store
from tests.unit.storage.wire import Clock, Wire, a_client, a_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="session")
def boto3_session() -> boto3.session.Session:
    return boto3.session.Session()


@pytest.fixture(autouse=True)
def quick_clients(monkeypatch: pytest.MonkeyPatch, boto3_session: boto3.session.Session) -> None:
    """Makes clients from one session, which reads S3's model once, and without boto3's waits, which cannot be passed in."""
    monkeypatch.setattr(boto3.session, "Session", lambda: boto3_session)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.fixture
def client() -> S3Client:
    return a_client()


@pytest.fixture
def wire(client: S3Client) -> Iterator[Wire]:
    wire = Wire(client)
    yield wire
    wire.finish()


@pytest.fixture
def seconds() -> Clock:
    return Clock()


@pytest.fixture
def store(client: S3Client, seconds: Clock) -> S3Store:
    return a_store(client, seconds)
