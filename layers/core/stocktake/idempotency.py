"""Idempotency-Key: one effect and one answer, however often a request is sent.

A key belongs to its caller and route. Its row in `operations` is begun before the work and says whose it is until when:

| the row | the request | becomes |
|---|---|---|
| is not there, or expired | any | work with a new seed |
| any other | has another body | IdempotencyMismatch |
| DONE | the same | the kept answer |
| RUNNING, lease not over | the same | IdempotencyInProgress |
| RUNNING, lease over | the same | work with the seed of the first attempt |

The *seed* is why the work can be repeated: every id it makes is derived from it, so that an attempt finds what an attempt before it had
written, and what was half done is finished instead of done a second time. Work that fails ends its lease at once. A first attempt that
was refused (InvalidRequest) wrote nothing: the key is free again, for a corrected body too. A process that dies leaves its lease to end by
itself. Every change of the row is a compare-and-set, so of two who take over one wins.

An answer that cannot be kept is given all the same, because the work is done: the next attempt works again and finds its own success.
An answer is kept as it is and unencrypted: no answer may hold in clear what was sealed.

Powertools' idempotency is not used. It runs an expired lease again without telling the work which attempt it repeats, so an upload that
was half done would be stored twice.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from stocktake.errors import IdempotencyInProgress, IdempotencyMismatch, InvalidRequest, LedgerError, RecordChanged, StocktakeError
from stocktake.ids import derived_id
from stocktake.ledger import Operation, Operations

MAX_KEY_CHARACTERS = 255

_RUNNING = "RUNNING"
_DONE = "DONE"

_PIECE_CHARACTERS = 300_000
"""Of a packed answer in one row: under operations.MAX_DOCUMENT_BYTES, with room for the rest of the document."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an Idempotency-Key is valid for.

    `route` is method and path as sent, `fingerprint` the hex hash of the body and of the headers that matter, `project` the stem of the
    project that takes the row with it when it is deleted, or "".
    """

    caller: str
    route: str
    key: str
    fingerprint: str
    project: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """The identity of one request, the same in every retry of it. `seed` is a ULID, `at` its time in milliseconds."""

    seed: str
    at: int
    is_retry: bool

    def object_id(self, name: str = "") -> str:
        """Returns the id of the thing the request calls `name`: the same in every retry."""
        return derived_id(self.seed, name)


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer; `replayed` when it is that of an earlier request."""

    status: int
    body: str
    replayed: bool


class Answer(NamedTuple):
    """What a request is answered with. One that is not final leaves something to do: sent again, the request goes on with it."""

    status: int
    body: str
    is_final: bool = True


def check_key(text: str) -> str:
    """Returns an Idempotency-Key unchanged. Raises InvalidRequest when it is not 1 to 255 printable ASCII characters."""
    if not 1 <= len(text) <= MAX_KEY_CHARACTERS or not all(" " <= character <= "~" for character in text):
        raise InvalidRequest(f"the Idempotency-Key must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters: send a UUID, for example")
    return text


def kind_of(project: str) -> str:
    """Returns the kind under which the rows of a project, by stem, are found when it is deleted."""
    return f"idempotency#{project}"


class Idempotency:
    """The answers of one deployment.

    Args:
        lease_ms: how long a request has its key to itself; over the 29 s a function may run, so that its end is the process's end.
        keep_ms: how long a key and its answer are known, from the latest attempt. It is checked here and not left to DynamoDB's TTL.
    """

    def __init__(
        self,
        operations: Operations,
        *,
        now: Callable[[], int],
        new_id: Callable[[int], str],
        lease_ms: int = 60_000,
        keep_ms: int = 86_400_000,
    ) -> None:
        self._operations = operations
        self._now = now
        self._new_id = new_id
        self._lease_ms = lease_ms
        self._keep_ms = keep_ms

    def once(self, scope: Scope | None, work: Callable[[Attempt], Answer | tuple[int, str]]) -> Kept:
        """Does the work and keeps its answer, or answers with what was kept.

        Args:
            scope: None when the caller sent no key: the work is done, and nothing is kept.
            work: returns the HTTP status and the body. It must find what an earlier attempt of the same seed wrote. An answer that is not
                final is not kept.

        Raises:
            IdempotencyMismatch: the key was used before with another body.
            IdempotencyInProgress: another request with the key is being answered.
            LedgerError: the key could not be taken, or a kept answer not read; nothing was done.
            Whatever the work raises.
        """
        at = self._now()
        if scope is None:
            answer = Answer(*work(self._first_attempt(at)))
            return Kept(answer.status, answer.body, replayed=False)
        taken = self._take(scope, at)
        if isinstance(taken, Kept):
            return taken
        row, attempt = taken
        try:
            answer = Answer(*work(attempt))
        except Exception as error:
            # an attempt before a retry may have written: what it did stays bound to its body and its seed
            is_free = isinstance(error, InvalidRequest) and not attempt.is_retry
            self._let_go(row, "expires_at" if is_free else "leased_until")
            raise
        if answer.is_final:
            with contextlib.suppress(StocktakeError):
                self._keep(row, answer.status, answer.body)
        else:
            self._let_go(row, "leased_until")
        return Kept(answer.status, answer.body, replayed=False)

    def _first_attempt(self, at: int) -> Attempt:
        return Attempt(self._new_id(at), at, is_retry=False)

    def _take(self, scope: Scope, at: int) -> Kept | tuple[Operation, Attempt]:
        """Takes the key for one attempt, or returns the answer kept under it."""
        operation_id = _operation_id(scope)
        attempt = self._first_attempt(at)
        begun = self._begun(scope, attempt, at)
        expires_at = begun["expires_at"]
        with contextlib.suppress(RecordChanged):  # the first request of its key, which nearly all are, costs one write here
            return self._operations.put(
                operation_id, "", kind_of(scope.project), begun, created_at=at, status=_RUNNING, if_absent=True, expires_at=expires_at
            ), attempt
        row = self._operations.get(operation_id)
        if row is None:
            raise _in_progress()  # tidied away between the two calls
        held = row.document
        if held["expires_at"] > at:
            if held["fingerprint"] != scope.fingerprint:
                raise IdempotencyMismatch(
                    "this Idempotency-Key was used before for another request to the same path: send another key, or the same body again"
                )
            if row.status == _DONE:
                return self._kept(row)
            if held["leased_until"] > at:
                raise _in_progress()
            attempt = Attempt(held["seed"], held["at"], is_retry=True)
            begun = self._begun(scope, attempt, at)
        try:
            return self._operations.update(row, document=begun, status=_RUNNING, expires_at=expires_at), attempt
        except RecordChanged as lost:
            raise _in_progress() from lost

    def _begun(self, scope: Scope, attempt: Attempt, at: int) -> dict[str, Any]:
        return {
            "fingerprint": scope.fingerprint,
            "seed": attempt.seed,
            "at": attempt.at,
            "leased_until": at + self._lease_ms,
            "expires_at": at + self._keep_ms,
        }

    def _let_go(self, row: Operation, end: str) -> None:
        # where it cannot be written, or another took over meanwhile, the lease ends by itself
        with contextlib.suppress(StocktakeError):
            self._operations.update(row, document={**row.document, end: self._now()})

    def _keep(self, row: Operation, status: int, body: str) -> None:
        """Writes the answer: what one row does not hold goes into parts first, under a name no other attempt uses."""
        at = self._now()
        packed = base64.b64encode(zlib.compress(body.encode("utf-8", "surrogatepass"))).decode()
        pieces = [packed[start : start + _PIECE_CHARACTERS] for start in range(0, len(packed), _PIECE_CHARACTERS)]
        rest = f"answer#{self._new_id(at)}#"
        for number, piece in enumerate(pieces[1:], 1):
            self._operations.put(
                row.operation_id,
                f"{rest}{number:04d}",
                None,
                {"piece": piece},
                created_at=at,
                status=_DONE,
                expires_at=row.document["expires_at"],
            )
        answer = {"status": status, "piece": pieces[0], "pieces": len(pieces), "rest": rest}
        self._operations.update(row, document={**row.document, "answer": answer}, status=_DONE)

    def _kept(self, row: Operation) -> Kept:
        answer = row.document["answer"]
        pieces = [answer["piece"]]
        if answer["pieces"] > 1:
            pieces += [part.document["piece"] for part in self._operations.all_parts(row.operation_id, answer["rest"])]
        if len(pieces) != answer["pieces"]:
            raise LedgerError("the answer kept under this Idempotency-Key is being removed with its project: ask for the project first")
        body = zlib.decompress(base64.b64decode("".join(pieces))).decode("utf-8", "surrogatepass")
        return Kept(answer["status"], body, replayed=True)


def _operation_id(scope: Scope) -> str:
    # as a JSON array, so that no two scopes spell the same text
    text = json.dumps([scope.caller, scope.route, scope.key])
    return f"idempotency-{hashlib.sha256(text.encode()).hexdigest()}"


def _in_progress() -> IdempotencyInProgress:
    return IdempotencyInProgress("a request with this Idempotency-Key is still being answered: try again in a few seconds")
