"""Every problem type in the document, drawn from `errors`: what a class is there, it is here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import Field

from stocktake.errors import StocktakeError
from stocktake.openapi.operation import AnswerBody

URN = "urn:stocktake:problem:"


class Problem(AnswerBody):
    """An RFC 9457 problem document. `type` is stable and what programs look at; `detail` is for people and says what to do."""

    type: str = Field(description="urn:stocktake:problem: and the name of the problem.", examples=[f"{URN}project-not-found"])
    title: str = Field(description="The name in words.", examples=["project not found"])
    status: int = Field(description="The HTTP status.", ge=400, le=599, examples=[404])
    detail: str = Field(description="What happened and what to do.", examples=["there is no project 'proj_9': create it first"])
    request_id: str = Field(description="Finds the request in the logs.", examples=["JKJaXmPLvHcESHA="])


def every_error(root: type[StocktakeError] = StocktakeError) -> Iterator[type[StocktakeError]]:
    """Yields the tree that `errors` draws, each class before those under it. What others derive from it is answered as its base is."""
    yield root
    for under in root.__subclasses__():
        if under.__module__ == root.__module__:
            yield from every_error(under)


def schema_of(error: type[StocktakeError]) -> dict[str, Any]:
    """Returns the schema of one problem type: `Problem` with its constants."""
    return {
        "description": (error.__doc__ or "").strip(),
        "allOf": [{"$ref": "#/components/schemas/Problem"}],
        "properties": {"type": {"const": URN + error.type}, "status": {"const": error.status}},
    }


def example_of(error: type[StocktakeError]) -> dict[str, Any]:
    """Returns an example of one problem type, to be named where the type may occur."""
    document = {
        "type": URN + error.type,
        "title": error.type.replace("-", " "),
        "status": error.status,
        "detail": (error.__doc__ or "").strip(),
        "request_id": "JKJaXmPLvHcESHA=",
    }
    return {"summary": error.type, "value": document}


def by_status(errors: Iterable[type[StocktakeError]]) -> Mapping[int, list[type[StocktakeError]]]:
    """Sorts problem types by the status they are answered with, each once."""
    sorted_out: dict[int, list[type[StocktakeError]]] = defaultdict(list)
    for error in sorted(set(errors), key=lambda error: (error.status, error.type)):
        sorted_out[error.status].append(error)
    return sorted_out
