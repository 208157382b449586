from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from stocktake.errors import SealingError
from stocktake.kms import KmsKeys
from stocktake.sealing import Sealer
from tests.unit.conftest import REGION
from tests.unit.ledger.builders import no_connection

CONTEXT = {"project": "p1", "subject": "object-1"}


@pytest.fixture(scope="session")
def kms(aws: None) -> Any:
    return boto3.client("kms", REGION)


@pytest.fixture
def keys(kms: Any) -> KmsKeys:
    return KmsKeys(kms, kms.create_key()["KeyMetadata"]["Arn"])


def test_what_is_sealed_with_a_key_of_kms_is_opened_with_it(keys: KmsKeys) -> None:
    sealer, metadata = Sealer(keys), {"prompt": "a secret face", "seed": 7}
    clear, sealed = sealer.seal(metadata, ("prompt",), project_id="p1", subject_id="object-1")
    assert sealed is not None and json.loads(sealed)["key_id"] == keys.key_arn
    assert clear == {"seed": 7}
    assert sealer.open(clear, sealed, project_id="p1", subject_id="object-1") == metadata


def test_every_key_is_new_and_of_256_bits(keys: KmsKeys) -> None:
    first, second = keys.new(CONTEXT), keys.new(CONTEXT)
    assert len(first.key) == len(second.key) == 32
    assert first.key != second.key


def test_a_key_opens_in_its_context_only(keys: KmsKeys) -> None:
    made = keys.new(CONTEXT)
    assert keys.open(made.key_id, made.wrapped, dict(CONTEXT)) == made.key
    with pytest.raises(SealingError, match="KMS did not open"):
        keys.open(made.key_id, made.wrapped, {**CONTEXT, "subject": "object-2"})


@pytest.mark.parametrize("wrapped", ["", "AAAA", "no base64"])
def test_a_wrapped_key_that_was_altered_is_an_error(keys: KmsKeys, wrapped: str) -> None:
    with pytest.raises(SealingError):
        keys.open(keys.key_arn, wrapped, CONTEXT)


def test_only_the_key_that_is_named_opens(kms: Any, keys: KmsKeys) -> None:
    made, other = keys.new(CONTEXT), kms.create_key()["KeyMetadata"]["Arn"]
    with pytest.raises(SealingError):
        keys.open(other, made.wrapped, CONTEXT)


def test_a_key_that_kms_does_not_know_is_an_error_with_its_code(kms: Any) -> None:
    gone = KmsKeys(kms, f"arn:aws:kms:{REGION}:123456789012:key/00000000-0000-0000-0000-000000000000")
    with pytest.raises(SealingError, match=r"no key to seal with \(NotFoundException\): try again"):
        gone.new(CONTEXT)


def test_kms_that_does_not_answer_is_an_error(keys: KmsKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    def unanswered(operation: str, params: dict[str, Any]) -> Any:
        raise no_connection()

    made = keys.new(CONTEXT)
    monkeypatch.setattr(keys.client, "_make_api_call", unanswered)
    for ask in (lambda: keys.new(CONTEXT), lambda: keys.open(made.key_id, made.wrapped, CONTEXT)):
        with pytest.raises(SealingError, match=r"\(EndpointConnectionError\): try again"):
            ask()
