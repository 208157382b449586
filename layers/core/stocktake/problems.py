"""Errors at the edge: each class of `errors` becomes one RFC 9457 problem document, in one place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.middlewares import NextMiddleware
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake import metrics, sign_in
from stocktake.errors import Forbidden, InvalidRequest, NoSuchRoute, RangeNotSatisfiable, StocktakeError, Unauthenticated

if TYPE_CHECKING:
    from stocktake.access import Access
    from stocktake.tokens import Caller

PROBLEM_JSON = "application/problem+json"


def problem_of(error: Exception, logger: Logger, request_id: str) -> dict[str, Any]:
    """Logs and counts an error, and makes its problem document.

    `type` is stable and is what programs should look at; `detail` is for people. What was not foreseen shows nothing of itself. What was
    refused is logged without its detail: that may quote what the caller sent.
    """
    if isinstance(error, StocktakeError):
        metrics.answered_with(error.type, error.status)
        if error.status < 500:
            logger.warning("refused", extra={"problem": error.type})
        else:
            logger.error("failed", extra={"problem": error.type, "detail": str(error)})
        return _document(error.status, error.type, str(error), request_id)
    metrics.answered_with("internal", 500)
    logger.error("unforeseen", exc_info=error, extra={"error": type(error).__name__})
    return _document(500, "internal", "something went wrong on our side; the request id finds it in the logs", request_id)


def problem_headers(error: Exception) -> dict[str, str]:
    """Returns what HTTP says of an error in headers.

    That is when to try again, how much there is to range over (RFC 9110 §10.2.3, §14.4), and what a token must be (RFC 6750 §3).
    """
    headers = {}
    if isinstance(error, StocktakeError) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer" if error.is_without else 'Bearer error="invalid_token"'
    if isinstance(error, Forbidden):
        scope = f', scope="{error.scope}"' if error.scope else ""
        headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope"{scope}'
    return headers


def make_api(logger: Logger, access: Callable[[], Access]) -> APIGatewayHttpResolver:
    """Makes the resolver every API function uses.

    Nothing is answered to a request that `access` does not let through. Errors are answered as problems, anything unforeseen as a 500 that
    shows nothing.
    """
    api = APIGatewayHttpResolver()

    def let_through(app: APIGatewayHttpResolver, following: NextMiddleware) -> Response[Any]:
        asked = app.request
        key = f"{asked.method} {asked.route}"
        caller = access().admit(app.current_event.headers.get("authorization"), key, asked.path_parameters, lambda: text_body(app))
        app.context["caller"] = caller
        return following(app)

    def answer(error: Exception) -> Response[str]:
        document = problem_of(error, logger, str(api.current_event.request_context.request_id))
        headers = problem_headers(error)
        if isinstance(error, Unauthenticated) and sign_in.is_for(api.current_event.http_method, api.current_event.headers):
            return Response(document["status"], sign_in.HTML, sign_in.PAGE, headers={**headers, **sign_in.HEADERS})
        return Response(document["status"], PROBLEM_JSON, json.dumps(document), headers=headers)

    @api.not_found
    def no_route(error: Exception) -> Response[str]:
        return answer(NoSuchRoute.of())

    api.use(middlewares=[let_through])
    api.exception_handler(StocktakeError)(answer)
    api.exception_handler(Exception)(answer)
    return api


def caller_of(api: APIGatewayHttpResolver) -> Caller:
    """Returns who sent the request that is being answered."""
    caller: Caller = api.context["caller"]
    return caller


def _document(status: int, kind: str, detail: str, request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:stocktake:problem:{kind}",
        "title": kind.replace("-", " "),
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }


def text_body(api: APIGatewayHttpResolver) -> str | None:
    """Returns the body as text. Raises InvalidRequest."""
    try:
        return api.current_event.decoded_body
    except UnicodeDecodeError as error:
        raise InvalidRequest("the body is not UTF-8 text: send JSON, or name the type of the bytes in content-type") from error


def out_of_time(context: LambdaContext, *, reserve_ms: int) -> Callable[[], bool]:
    """Returns a function that says whether less than `reserve_ms` of the invocation is left."""
    return lambda: context.get_remaining_time_in_millis() < reserve_ms
