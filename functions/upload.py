"""upload: every way in, the records, and the way out. HTTP API in; JSON, bytes or a redirect out. And a schedule, for what never came."""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake import metrics
from stocktake import upload_answers as answers
from stocktake.answers import timed
from stocktake.idempotency import Answer, Attempt
from stocktake.layouts import project_stem
from stocktake.model import NewObject, Reserved
from stocktake.problems import caller_of, make_api, out_of_time, problem_of, text_body
from stocktake.requests import Body, ListQuery, NoBody, NoQuery, read_body, read_id, read_query
from stocktake.routes import Scope
from stocktake.services import services
from stocktake.upload_requests import (
    Base64ObjectBody,
    BatchBody,
    CompletionBody,
    ContentQuery,
    GenerationReportBody,
    GenerationsQuery,
    ImportBody,
    NewGenerationBody,
    NewProjectBody,
    NewUploadBody,
    PartsBody,
    QuotaBody,
    read_details,
    read_scope,
    refuse_ours,
)

if TYPE_CHECKING:
    from stocktake.upload import Uploaded

type Reserve = Callable[..., Reserved]
"""Gives the identity of what a request makes, the same in every retry of it; by a name where it makes several."""

_RESERVE_MS = 8000  # what one more object, part or intent may take

logger = Logger()
api = make_api(logger, lambda: services.access)


# ---- projects


@api.post("/projects")
def create_project() -> Response[str]:
    """Opens a project."""
    body = asked(NewProjectBody)
    quota = body.quota.quota() if body.quota else None
    if quota is not None:
        caller_of(api).require(Scope.OPERATE)  # else whoever opens a project would lift the limits that hold for it
    return created(answers.project(services.uploads.create_project(body.project_id, body.metadata, quota)))


@api.get("/projects/<project_id>")
def get_project(project_id: str) -> dict[str, Any]:
    """Answers with a project."""
    asked(NoBody)
    return answers.project(services.serving.project(read_id(project_id)))


@api.put("/projects/<project_id>/quota")
def set_quota(project_id: str) -> dict[str, Any]:
    """Replaces a project's quota."""
    return answers.project(services.uploads.set_quota(read_id(project_id), asked(QuotaBody).quota()))


# ---- ways in


@api.post("/projects/<project_id>/objects")
def create_object(project_id: str) -> Response[str]:
    """Stores one object, sent raw or as base64 JSON."""
    project_id, new = read_id(project_id), new_object()
    return once(project_id, lambda reserve: (HTTPStatus.CREATED, uploaded(services.uploads.put(project_id, new, reserve()))))


@api.post("/projects/<project_id>/objects/batch")
def create_objects(project_id: str) -> Response[str]:
    """Stores several objects, and answers for each with what came of it."""
    project_id, items = read_id(project_id), asked(BatchBody).items()

    def work(reserve: Reserve) -> tuple[int, dict[str, Any]]:
        late = out_of_time(api.lambda_context, reserve_ms=_RESERVE_MS)
        results = services.uploads.put_many(project_id, items, lambda number: reserve(str(number)), out_of_time=late)
        return HTTPStatus.MULTI_STATUS, {"results": [result_of(number, result) for number, result in enumerate(results)]}

    return once(project_id, work)


@api.post("/projects/<project_id>/imports")
def import_object(project_id: str) -> Response[str]:
    """Fetches an object from a URL and stores it."""
    project_id, body = read_id(project_id), asked(ImportBody)
    return once(
        project_id,
        lambda reserve: (HTTPStatus.CREATED, uploaded(services.uploads.import_url(project_id, body.url, body.details(), reserve()))),
    )


@api.post("/projects/<project_id>/uploads")
def begin_upload(project_id: str) -> Response[str]:
    """Announces an object whose bytes go straight to the bucket."""
    project_id, body = read_id(project_id), asked(NewUploadBody)
    return once(
        project_id,
        lambda reserve: (HTTPStatus.CREATED, answers.upload(services.presigned.begin(project_id, body.announced(), reserve()))),
    )


@api.get("/uploads/<upload_id>")
def get_upload(upload_id: str) -> dict[str, Any]:
    """Answers with how an upload stands, and which parts the bucket has."""
    asked(NoBody)
    return answers.upload(services.presigned.upload(read_id(upload_id)))


@api.post("/uploads/<upload_id>/parts")
def sign_parts(upload_id: str) -> dict[str, Any]:
    """Signs the PUTs of some parts."""
    signed = services.presigned.sign_parts(read_id(upload_id), asked(PartsBody).wanted())
    return {"parts": [{"number": number, "bytes": size, **answers.signed(request)} for number, (size, request) in signed.items()]}


@api.post("/uploads/<upload_id>/complete")
def complete_upload(upload_id: str) -> dict[str, Any]:
    """Looks at what arrived and commits it."""
    body = asked(CompletionBody)
    late = out_of_time(api.lambda_context, reserve_ms=_RESERVE_MS)
    record = services.presigned.complete(read_id(upload_id), body.part_sha256, out_of_time=late)
    metrics.uploaded(record.size)
    return {**answers.record(record, services.serving.url(record)), "warnings": list(services.presigned.warnings(record))}


@api.delete("/uploads/<upload_id>")
def abort_upload(upload_id: str) -> Response[str]:
    """Ends an upload that is not complete."""
    asked(NoBody)
    services.presigned.abort(read_id(upload_id))
    return Response(HTTPStatus.NO_CONTENT, body="")


# ---- generation jobs


@api.post("/projects/<project_id>/generations")
def create_generation(project_id: str) -> Response[str]:
    """Writes a generation job."""
    project_id, body = read_id(project_id), asked(NewGenerationBody)

    def work(reserve: Reserve) -> tuple[int, dict[str, Any]]:
        made = services.generations.create(project_id, body.metadata, body.sensitive, body.outputs, reserve())
        return HTTPStatus.CREATED, answers.generation(made, services.serving.url)

    return once(project_id, work)


@api.get("/projects/<project_id>/generations")
def list_generations(project_id: str) -> dict[str, Any]:
    """Answers with one page of a project's jobs, newest first, without their images."""
    query = read_query(GenerationsQuery, api.current_event.query_string_parameters)
    jobs, following = services.generations.recent(read_id(project_id), query.limit, query.cursor)
    return {"generations": [answers.listed_generation(job) for job in jobs], "cursor": following}


@api.get("/generations/<generation_id>")
def get_generation(generation_id: str) -> dict[str, Any]:
    """Answers with a job, its metadata as it was sent, and all its images."""
    asked(NoBody)
    return answers.generation(services.generations.generation(read_id(generation_id), opened=True), services.serving.url)


@api.patch("/generations/<generation_id>")
def report_generation(generation_id: str) -> dict[str, Any]:
    """Notes what the worker says of its job."""
    body = asked(GenerationReportBody)
    return answers.generation(services.generations.report(read_id(generation_id), body.status, body.error), services.serving.url)


# ---- records and bytes


@api.get("/projects/<project_id>/objects")
def list_objects(project_id: str) -> dict[str, Any]:
    """Answers with one page of a project's records."""
    query = read_query(ListQuery, api.current_event.query_string_parameters)
    records, following = services.serving.page(read_id(project_id), query.limit, query.cursor, fits=answers.room_for_records())
    return {"objects": [answers.record(record) for record in records], "cursor": following}


@api.get("/objects/<object_id>")
def get_object(object_id: str) -> dict[str, Any]:
    """Answers with a record, its metadata as it was sent, and where its bytes are."""
    asked(NoBody)
    record = services.serving.record(read_id(object_id))
    return answers.record(record, services.serving.url(record), services.serving.metadata(record))


@api.delete("/objects/<object_id>")
def delete_object(object_id: str) -> dict[str, Any]:
    """Removes one object, and answers with the receipt."""
    asked(NoBody)
    receipt = services.object_deletions.delete(read_id(object_id))
    metrics.removed(receipt["objects"], receipt["bytes"])
    return timed(receipt)


@api.get("/objects/<object_id>/content")
def get_content(object_id: str) -> Response[bytes] | Response[str]:
    """Redirects to the bytes, or answers with them for `?as=bytes`."""
    as_bytes = read_query(ContentQuery, api.current_event.query_string_parameters).way == "bytes"
    read = services.serving.bytes if as_bytes else services.serving.redirect
    served = read(read_id(object_id), api.current_event.headers)
    headers = answers.content_headers(served)
    if not as_bytes and served.content is None:
        headers["Cache-Control"] = "no-store"  # where the bytes are is true for a while, and for this caller
    if served.url is not None:
        return Response(HTTPStatus.FOUND, body="", headers={**headers, "Location": served.url})
    if served.content is None:
        return Response(HTTPStatus.NOT_MODIFIED, body="", headers=headers)
    status = HTTPStatus.PARTIAL_CONTENT if served.content.content_range else HTTPStatus.OK
    return Response(status, served.record.content_type, served.content.body, headers=headers)


# ---- small


def asked[B: Body](model: type[B]) -> B:
    """Reads the body of a request that takes no query."""
    read_query(NoQuery, api.current_event.query_string_parameters)
    return read_body(model, text_body(api))


def new_object() -> NewObject:
    """Reads the object from either way of sending it."""
    read_query(NoQuery, api.current_event.query_string_parameters)
    headers = api.current_event.headers
    if (headers.get("content-type") or "").lower().startswith("application/json"):
        refuse_ours(headers)
        return read_body(Base64ObjectBody, text_body(api)).new_object()
    return NewObject(raw_body(), headers.get("content-type"), read_details(headers))


def raw_body() -> bytes:
    """Returns the bytes of the request."""
    return a2b_base64(api.current_event.body or "") if api.current_event.is_base64_encoded else (api.current_event.body or "").encode()


def once(project_id: str, work: Callable[[Reserve], tuple[int, Mapping[str, Any]]]) -> Response[str]:
    """Does the work of a request, or answers as it was answered when its Idempotency-Key came before."""

    def attempted(attempt: Attempt) -> Answer:
        status, document = work(lambda name="": Reserved(attempt.object_id(name), attempt.at, attempt.is_retry))
        # of a batch, what failed on our side is done when it is sent again
        is_final = all(result["status"] < HTTPStatus.INTERNAL_SERVER_ERROR for result in document.get("results", ()))
        return Answer(status, json.dumps(document), is_final)

    event = api.current_event
    kept = services.idempotency.once(read_scope(event.raw_event, event.headers, caller_of(api).name, project_stem(project_id)), attempted)
    headers = {"Idempotency-Replayed": "true"} if kept.replayed else {}
    return Response(kept.status, content_types.APPLICATION_JSON, kept.body, headers=headers)


def uploaded(result: Uploaded) -> dict[str, Any]:
    """Answers with what was stored."""
    metrics.uploaded(result.record.size)
    # no signed URL: an answer is kept under its Idempotency-Key for longer than one lives
    return {**answers.record(result.record, services.serving.public_url(result.record)), "warnings": list(result.warnings)}


def result_of(number: int, result: Uploaded | Exception) -> dict[str, Any]:
    """Answers for one item of a batch."""
    if isinstance(result, Exception):
        problem = problem_of(result, logger, api.current_event.request_context.request_id)
        return {"item": number, "status": problem["status"], "problem": problem}
    return {"item": number, "status": HTTPStatus.CREATED, "object": uploaded(result)}


def created(document: dict[str, Any]) -> Response[str]:
    """Answers 201."""
    return Response(HTTPStatus.CREATED, content_types.APPLICATION_JSON, json.dumps(document))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes requests of the HTTP API."""
    return api.resolve(event, context)


@logger.inject_lambda_context(clear_state=True)
def tidy(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Ends the uploads and deletions whose time has come; started by a schedule."""
    late = out_of_time(context, reserve_ms=_RESERVE_MS)
    ended: dict[str, int] = {}
    try:
        ended |= services.presigned.tidy(out_of_time=late)
    finally:  # an upload that cannot be ended keeps no deletion from its end
        ended["deletions"] = services.object_deletions.tidy(out_of_time=late)
        logger.info("tidied", extra={"ended": ended})
    return ended
