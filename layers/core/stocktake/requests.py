"""The JSON bodies the API takes: every field named, every unknown one refused, nothing converted behind the caller's back."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stocktake.errors import InvalidRequest


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NewProjectBody(_Body):
    """POST /projects."""

    project_id: str
    metadata: dict[str, Any] = Field(default_factory=dict)


class Base64ObjectBody(_Body):
    """POST /projects/{project_id}/objects with `content-type: application/json`."""

    content_base64: str
    content_type: str | None = None
    file_name: str | None = Field(default=None, max_length=255)
    cache_control: str | None = Field(default=None, max_length=255)
    metadata: dict[str, Any] = Field(default_factory=dict)

    def content(self) -> bytes:
        """Decodes the bytes. Raises InvalidRequest."""
        try:
            return base64.b64decode(self.content_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest(f"content_base64 is not base64: {error}") from error


class DeletionBody(_Body):
    """DELETE /projects/{project_id}, all optional."""

    reason: str | None = Field(default=None, max_length=1000)


class RepairBody(_Body):
    """POST /reconciliations/{run_id}/apply: what to do for each class of finding."""

    plan: dict[str, str] | None = None


def read_metadata(header: str | None) -> dict[str, Any]:
    """Reads the `Stocktake-Metadata` header of a raw upload: a JSON object, non-ASCII escaped. Raises InvalidRequest."""
    try:
        metadata = json.loads(header) if header else {}
    except ValueError as error:
        raise InvalidRequest(f"the header Stocktake-Metadata is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise InvalidRequest("the header Stocktake-Metadata must hold a JSON object")
    return metadata


def read_body[B: _Body](model: type[B], body: str | None) -> B:
    """Reads a JSON body into its model; an absent body reads as `{}`.

    Raises:
        InvalidRequest: naming each field that is wrong, absent or unknown.
    """
    try:
        return model.model_validate_json(body or "{}")
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(step) for step in fault['loc']) or 'body'}: {fault['msg']}" for fault in error.errors(include_url=False)
        )
        raise InvalidRequest(f"the body cannot be read: {faults}") from error
