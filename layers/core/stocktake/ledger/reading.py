"""Reading page by page, and several parts of a table side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from stocktake.ledger.failures import ledger_errors
from stocktake.ledger.rows import Raw

SEGMENTS = 4
"""Of a scan: a page of 1 MB takes DynamoDB some 50 ms, and four at a time are as many as one process reads meanwhile."""


def pages(what: str, call: Callable[..., Any], request: Mapping[str, Any]) -> Iterator[Raw]:
    """Yields the items of a query or scan, page by page. `what` continues "the ledger could not"."""
    yield from chain.from_iterable(item_lists(what, call, request))


def item_lists(what: str, call: Callable[..., Any], request: Mapping[str, Any]) -> Iterator[list[Raw]]:
    """Yields the items of a query or scan as a list for each page."""
    for page in whole_pages(what, call, request):
        yield page.pop("Items")  # taken out, so that nothing of it is held here while other pages are read


def whole_pages(what: str, call: Callable[..., Any], request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the pages of a query or scan as DynamoDB answers them, also those without an item."""
    asked = dict(request)
    while True:
        with ledger_errors(what):
            page = call(**asked)
        yield page
        last = page.get("LastEvaluatedKey")
        if not last:
            return
        asked["ExclusiveStartKey"] = last


def side_by_side(what: str, scan: Callable[..., Any], request: Mapping[str, Any]) -> Iterator[Any]:
    """Yields the items of a scan that is asked for in parts at once; those of one partition come one after the other, with others between.

    One page of each part is held at a time.
    """
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait  # for this alone, which most functions never do

    with ThreadPoolExecutor(SEGMENTS) as pool:
        under_way: dict[Future[Any], dict[str, Any]] = {}

        def ask(of_part: dict[str, Any]) -> None:
            under_way[pool.submit(scan, **of_part)] = of_part

        for segment in range(SEGMENTS):
            ask({**request, "Segment": segment, "TotalSegments": SEGMENTS})
        try:
            while under_way:
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    of_part = under_way.pop(future)
                    with ledger_errors(what):
                        page = future.result()
                    if page.get("LastEvaluatedKey"):
                        ask({**of_part, "ExclusiveStartKey": page["LastEvaluatedKey"]})
                    yield from page["Items"]
        finally:
            for future in under_way:
                future.cancel()
