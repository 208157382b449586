"""The JSON and the headers the upload function answers with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stocktake.answers import time
from stocktake.conditions import headers_of
from stocktake.sealing import Sealer
from stocktake.storage.rules import content_disposition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stocktake.generations import Generation, Output
    from stocktake.model import Project, Record
    from stocktake.presigned import Upload
    from stocktake.serving import Served
    from stocktake.storage import SignedRequest

_OF_SHARED_CACHES = {"public", "private", "s-maxage"}


LIST_BYTES = 5_000_000
"""Most bytes of a list: a Lambda answers with at most 6 MB. Source: AWS, "Lambda quotas", request and response of an invocation."""


def project(project: Project) -> dict[str, Any]:
    """Answers with a project."""
    return {
        "project_id": project.project_id,
        "state": project.state.value,
        "epoch": project.epoch,
        "created_at": time(project.created_at),
        "metadata": dict(project.metadata),
        "quota": {"objects": project.quota.objects, "bytes": project.quota.bytes} if project.quota else None,
        "deletion_id": project.deletion_id,
    }


def record(record: Record, url: str | None = None, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Answers with a record.

    Args:
        url: where its bytes can be fetched, where that was asked and there are any.
        metadata: all of it, what is sealed opened; without, `sealed` names what is not shown.
    """
    return {
        "object_id": record.object_id,
        "project_id": record.project_id,
        "key": record.key,
        "state": record.state.value,
        "bytes": record.size,
        "etag": record.etag,
        "sha256": record.sha256,
        "content_type": record.content_type,
        "width": record.width,
        "height": record.height,
        "cache_control": record.cache_control,
        "file_name": record.file_name,
        "layout": record.layout,
        "source": record.source,
        "original_url": record.original_url,
        "generation": None if record.generation_id is None else {"generation_id": record.generation_id, "output": record.output},
        "metadata": dict(record.metadata if metadata is None else metadata),
        "sealed": list(Sealer.names(record.sealed)),
        "created_at": time(record.created_at),
        "updated_at": time(record.updated_at),
        "url": url,
    }


def room_for_records(left: int = LIST_BYTES) -> Callable[[Record], bool]:
    """Returns what says of one record after the other whether an answer has room for it too.

    Args:
        left: the bytes there are.
    """

    def fits(found: Record) -> bool:
        nonlocal left
        left -= len(json.dumps(json.dumps(record(found))))  # the body is a string in the Lambda's own JSON: its quotes are escaped again
        return left >= 0

    return fits


def upload(upload: Upload) -> dict[str, Any]:
    """Answers with a presigned upload: the PUT to send, or how its parts stand."""
    stands = upload.record
    return {
        "upload_id": stands.object_id,
        "object": record(stands),
        "expires_at": time(stands.expires_at),
        "request": signed(upload.request) if upload.request else None,
        "part_bytes": upload.part_bytes,
        "part_count": upload.part_count,
        "parts": [{"number": part.number, "bytes": part.size, "etag": part.etag, "sha256": part.sha256} for part in upload.parts],
        "warnings": list(upload.warnings),
    }


def signed(request: SignedRequest) -> dict[str, Any]:
    """Answers with a request to send exactly so."""
    return {"method": request.method, "url": request.url, "headers": dict(request.headers)}


def generation(generation: Generation, url: Callable[[Record], str | None]) -> dict[str, Any]:
    """Answers with a generation job and all its images.

    Args:
        url: gives where the bytes of a record can be fetched.
    """
    return {**listed_generation(generation), "images": [_image(output, url) for output in generation.outputs]}


def listed_generation(generation: Generation) -> dict[str, Any]:
    """Answers with a generation job among others: how it stands, without its images, whose URLs would make a list too long."""
    stored = [output for output in generation.outputs if output.status == "stored"]
    return {
        "generation_id": generation.generation_id,
        "project_id": generation.project_id,
        "status": generation.status,
        "metadata": dict(generation.metadata),
        "sealed": list(Sealer.names(generation.sealed)),
        "error": generation.error,
        "outputs": {"asked": len(generation.outputs), "stored": len(stored)},
        "created_at": time(generation.created_at),
        "started_at": time(generation.started_at),
        "ended_at": time(generation.ended_at),
    }


def _image(output: Output, url: Callable[[Record], str | None]) -> dict[str, Any]:
    found = output.record
    return {
        "output": output.number,
        "status": output.status,
        "object_id": output.object_id,
        "state": found.state.value if found else None,
        "bytes": found.size if found else None,
        "content_type": found.content_type if found else None,
        "url": url(found) if found else None,
    }


def _private(cache_control: str | None) -> str:
    """Keeps an object's Cache-Control for the caller's own cache: what authorisation protects is not for one that others share."""
    said = [directive.strip() for directive in (cache_control or "").split(",")]
    return ", ".join(["private", *(one for one in said if one and one.partition("=")[0].lower() not in _OF_SHARED_CACHES)])


def content_headers(served: Served) -> dict[str, str]:
    """Returns the headers bytes are served with: never sniffed, never run, shown in place only where a browser can do no harm with it."""
    found = served.record
    if found.etag is None:  # EXTERNAL: what lies there is not known
        return {}
    headers = headers_of(served.asked, etag=found.etag, last_modified=found.updated_at, size=found.size)
    headers["Cache-Control"] = _private(found.cache_control)
    if served.content is not None:
        shown = content_disposition(found.content_type or "application/octet-stream", found.file_name)
        headers |= {
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Content-Disposition": shown or "inline",
        }
    return headers
