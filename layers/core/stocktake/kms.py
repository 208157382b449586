"""Keys for sealing from AWS KMS: a new one for each sealing, kept only in the form that KMS can open."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from stocktake.errors import SealingError
from stocktake.sealing import DataKey


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Turns boto3's failures into SealingError. Their whole text can name accounts and roles: it stays the cause, for the log."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        raise SealingError(f"{what} ({code}): try again; if it stays so, check the key and the function's role") from error


@dataclass(frozen=True, slots=True)
class KmsKeys:
    """Data keys under one KMS key. KMS binds them to the context, which CloudTrail shows in the clear: ids, no values.

    Rotation is KMS's own: an open names the key that wrapped, and KMS finds its version. Source: AWS KMS Developer Guide, "Rotate AWS KMS
    keys".
    """

    client: Any  # boto3's of KMS
    key_arn: str

    def new(self, context: Mapping[str, str]) -> DataKey:
        with _named("KMS gave no key to seal with"):
            reply = self.client.generate_data_key(KeyId=self.key_arn, KeySpec="AES_256", EncryptionContext=dict(context))
        return DataKey(reply["Plaintext"], reply["KeyId"], base64.b64encode(reply["CiphertextBlob"]).decode())

    def open(self, key_id: str, wrapped: str, context: Mapping[str, str]) -> bytes:
        try:
            blob = base64.b64decode(wrapped, validate=True)
        except ValueError as error:
            raise SealingError(f"the key wrapped by {key_id!r} is not base64: the sealed metadata was altered") from error
        with _named(f"KMS did not open what {key_id!r} sealed"):
            reply = self.client.decrypt(KeyId=key_id, CiphertextBlob=blob, EncryptionContext=dict(context))
        plaintext: bytes = reply["Plaintext"]
        return plaintext
