"""What deletions, reconciliations and quarantine remember: documents in parts, with counters.

An operation is a main row (part "") and any number of parts: batches, findings, failed keys. A part has a name that sorts, a JSON
document, a status and counters. Documents change by compare-and-set on their version; counters are added to and do not move it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import Any, NewType

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from stocktake.errors import InvalidRequest, LedgerError, OperationNotFound, RecordChanged, TooLarge
from stocktake.ledger.failures import BUSY, Sleep, back_off, code_of, is_in_doubt, ledger_errors, named
from stocktake.ledger.rows import Raw, Tables, json_text
from stocktake.ledger.transactions import ATTEMPTS, Writes, commit, new_write_id

_NAME_BYTES = 1024
"""What a key of the bucket, and a sort key of DynamoDB, has at most."""
MAX_DOCUMENT_BYTES = 350_000
"""Under DynamoDB's 400 KB an item, with room for the counters."""

PARTS_AT_ONCE = 99
"""What one transaction removes, beside the row it checks."""
_KEYS_PER_READ = 100
"""What one BatchGetItem takes."""

_MAIN = "!"
"""How part "" is stored: a sort key cannot be empty, and every name a part may have sorts after this."""

_COUNTER = "counter_"

JsonText = NewType("JsonText", str)
"""A document as it is stored: to write and check the lines of a batch of keys one by one takes a third of what the whole would take."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation (part "") or a part of one. `version` is the compare-and-set number of document and status."""

    operation_id: str
    part: str
    kind: str | None
    status: str
    created_at: int
    version: int
    document: Mapping[str, Any]
    counters: Mapping[str, int] = field(default_factory=dict)
    expires_at: int | None = None


class Operations:
    """The operations table.

    Raises (any method): LedgerError when DynamoDB does not answer as asked, ConfigurationError when the table is not there.
    """

    def __init__(self, tables: Tables, *, sleep: Sleep = time.sleep) -> None:
        self._tables = tables
        self._row = tables.operations
        self._name = tables.operations.Meta.table_name
        self._sleep = sleep

    def put(
        self,
        operation_id: str,
        part: str,
        kind: str | None,
        document: Mapping[str, Any],
        *,
        created_at: int,
        status: str,
        if_absent: bool = False,
        expires_at: int | None = None,
    ) -> Operation:
        """Writes document, status and times; counters that are there stay, and the version grows by one.

        Args:
            kind: what `recent` finds an operation by (part "" only); of a part it is only kept.
            created_at, expires_at: milliseconds; the expiry is rounded down to the second, and only lets DynamoDB tidy.

        Raises:
            RecordChanged: `if_absent`, and the part is there already.
            InvalidRequest, TooLarge: the document is not JSON, or over MAX_DOCUMENT_BYTES.
        """
        row = self._row
        actions = [
            row.document.set(_document_text(document, operation_id, part)),
            row.status.set(status),
            row.created_at.set(created_at),
            row.version.add(1),
            _set_or_remove(row.kind, None if part else kind),
            _set_or_remove(row.part_kind, kind if part else None),
            _set_or_remove(row.expires_at, None if expires_at is None else expires_at // 1000),
        ]
        what = f"write operation {operation_id!r} part {part!r}"
        written = self._write(operation_id, part, actions, row.operation_id.does_not_exist() if if_absent else None, what)
        if written is None:
            raise RecordChanged(f"operation {operation_id!r} already has a part {part!r}: read it instead of writing it again")
        return written

    def put_new(
        self,
        operation_id: str,
        part: str,
        kind: str | None,
        document: Mapping[str, Any] | JsonText,
        *,
        created_at: int,
        status: str,
        expires_at: int | None = None,
    ) -> bool:
        """Writes a part that is not there yet; False, and nothing written, when it is: someone was here before.

        Unlike `put` it does not read back what it wrote, which of a batch of keys takes longer than all the rest.
        """
        write_id = new_write_id()
        numbers = {"created_at": created_at, "version": 1, **({} if expires_at is None else {"expires_at": expires_at // 1000})}
        texts = {"document": _document_text(document, operation_id, part), "status": status, "write_id": write_id}
        if kind is not None:
            texts["part_kind" if part else "kind"] = kind
        values = {**{name: {"S": text} for name, text in texts.items()}, **{name: {"N": str(number)} for name, number in numbers.items()}}
        request: Any = {
            "TableName": self._name,
            "Key": _key(operation_id, part),
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ConditionExpression": "attribute_not_exists(operation_id)",
            "ExpressionAttributeNames": {f"#{name}": name for name in values},
            "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()},
        }

        def send() -> bool:
            self._tables.client.update_item(**request)
            return True

        what = f"write operation {operation_id!r} part {part!r}"
        return self._to_its_end(send, lambda: self._is_ours(operation_id, part, write_id) or None, what) is not None

    def put_while(
        self, guard: Operation, operation_id: str, part: str, document: Mapping[str, Any], *, created_at: int, status: str
    ) -> None:
        """Writes a part as `put` does, in one transaction with a check that `guard` is still the version that was read.

        A check of one row by many writers at once makes them cancel each other: each needs a guard of its own.

        Raises:
            RecordChanged: the guard has changed since, or is gone; nothing was written.
            InvalidRequest, TooLarge: the document is not JSON, or over MAX_DOCUMENT_BYTES.
        """
        row, write_id = self._row, new_write_id()
        text = _document_text(document, operation_id, part)
        written = row(operation_id, _stored(part))

        def fill(transaction: TransactWrite) -> None:
            transaction.condition_check(row, guard.operation_id, _stored(guard.part), condition=row.version == guard.version)
            actions = [row.document.set(text), row.status.set(status), row.created_at.set(created_at), row.version.add(1)]
            transaction.update(written, actions=[*actions, row.write_id.set(write_id)])

        failed = commit(
            self._tables.connection,
            fill,
            landed=lambda: self._is_ours(operation_id, part, write_id),
            what=f"write operation {operation_id!r} part {part!r}",
            sleep=self._sleep,
        )
        if failed:
            raise _changed(guard)

    def remove_while(self, guard: Operation, operation_id: str, parts: Sequence[str]) -> None:
        """Removes at most PARTS_AT_ONCE parts, in one transaction with a check as in `put_while`. Saying it again is safe.

        Raises:
            RecordChanged: the guard has changed since, or is gone; nothing was removed.
        """
        row, what = self._row, f"remove {len(parts)} parts of operation {operation_id!r}"

        def fill(transaction: Writes) -> None:
            transaction.condition_check(row, guard.operation_id, _stored(guard.part), condition=row.version == guard.version)
            for part in parts:
                transaction.delete_as_written({"TableName": self._name, "Key": _key(operation_id, part)})

        def landed() -> bool:
            return self.get(operation_id, parts[0]) is None

        if commit(self._tables.connection, fill, landed=landed, what=what, sleep=self._sleep):
            raise _changed(guard)

    def get(self, operation_id: str, part: str = "") -> Operation | None:
        """Reads one part, consistently; None when there is none."""
        with ledger_errors(f"read operation {operation_id!r} part {part!r}"):
            raw = self._tables.client.get_item(TableName=self._name, Key=_key(operation_id, part), ConsistentRead=True).get("Item")
        return None if raw is None else _operation(raw)

    def several(self, operation_id: str, parts: Sequence[str]) -> dict[str, Operation]:
        """Reads parts, each consistently, with one request for a hundred of them; those that are not there are left out."""
        return {read.part: read for read in map(_operation, self._rows([_key(operation_id, part) for part in dict.fromkeys(parts)]))}

    def known(self, operation_ids: Sequence[str]) -> set[str]:
        """Says, consistently, which of these operations there are."""
        keys = [_key(operation_id, "") for operation_id in dict.fromkeys(operation_ids)]
        return {raw["operation_id"]["S"] for raw in self._rows(keys, {"ProjectionExpression": "operation_id"})}

    def _rows(self, keys: Sequence[dict[str, Any]], also: Mapping[str, Any] | None = None) -> Iterator[Raw]:
        """Reads rows by key, each once, consistently and in no order; absent ones are left out."""
        for some in batched(keys, _KEYS_PER_READ, strict=False):
            wanted: list[Any] = list(some)
            for attempt in range(ATTEMPTS):
                if attempt:
                    back_off(attempt, self._sleep)
                request: Any = {"Keys": wanted, "ConsistentRead": True, **(also or {})}
                with ledger_errors(f"read {len(wanted)} rows of operations"):
                    reply: dict[str, Any] = {**self._tables.client.batch_get_item(RequestItems={self._name: request})}
                yield from reply.get("Responses", {}).get(self._name, [])
                wanted = list(reply.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", []))
                if not wanted:
                    break
            else:
                raise LedgerError(f"the ledger was too busy to read {len(wanted)} rows of operations: try again in a moment")

    def update(
        self,
        operation: Operation,
        *,
        document: Mapping[str, Any] | None = None,
        status: str | None = None,
        expires_at: int | None = None,
        listed: bool = True,
    ) -> Operation:
        """Replaces what is given of document, status and expiry in exactly the version that was read.

        Args:
            expires_at: milliseconds, rounded down to the second; it only lets DynamoDB tidy.
            listed: False takes it off the list of its kind, for good.

        Raises:
            RecordChanged: it has changed since, or is gone.
            InvalidRequest, TooLarge: the document is not JSON, or over MAX_DOCUMENT_BYTES.
        """
        row = self._row
        actions: list[Action] = [row.version.set(operation.version + 1)]
        if document is not None:
            actions.append(row.document.set(_document_text(document, operation.operation_id, operation.part)))
        if status is not None:
            actions.append(row.status.set(status))
        if expires_at is not None:
            actions.append(row.expires_at.set(expires_at // 1000))
        if not listed:
            actions.append(row.kind.remove())
        what = f"update operation {operation.operation_id!r} part {operation.part!r}"
        written = self._write(operation.operation_id, operation.part, actions, row.version == operation.version, what)
        if written is None:
            raise RecordChanged(f"operation {operation.operation_id!r} part {operation.part!r} changed since it was read: read it again")
        return written

    def add(self, operation_id: str, part: str, counter: str, amount: int) -> int:
        """Adds to a counter and returns its new value; no two calls are told the same one.

        A part that is not there is begun; an operation is not. For progress, not for proof: when the reply is lost, botocore asks again and
        the amount may count twice. What must be exact goes through `put_once_and_count`.

        Raises:
            OperationNotFound: part "" of an operation that does not exist.
        """
        row = self._row(operation_id, _stored(part))
        what = f"count on operation {operation_id!r}"
        condition = None if part else self._row.operation_id.exists()
        for attempt in range(ATTEMPTS):
            if attempt:
                back_off(attempt, self._sleep)
            try:
                reply = row.update([Path([_COUNTER + counter]).add(amount)], condition=condition)
                return int(reply["Attributes"][_COUNTER + counter]["N"])
            except UpdateError as error:
                code = code_of(error)
                if code == "ConditionalCheckFailedException":
                    raise _not_found(operation_id) from error
                if code not in BUSY:
                    raise named(error, what) from error
        raise LedgerError(f"the ledger was too busy to {what} after {ATTEMPTS} attempts: try again in a moment")

    def remove(self, operation_id: str) -> int:
        """Removes an operation with all its parts, the operation itself last, and returns how many rows went. Saying it again is safe."""
        parts = [operation.part for operation in self.all_parts(operation_id)]
        for part in [*parts, ""]:
            with ledger_errors(f"remove operation {operation_id!r} part {part!r}"):
                self._tables.client.delete_item(TableName=self._name, Key=_key(operation_id, part))
        return len(parts) + 1

    def of_kind(self, kind: str) -> Iterator[Operation]:
        """Yields the operations of a kind, oldest first, page by page. The index may lag behind by a moment."""
        request: dict[str, Any] = {
            "TableName": self._name,
            "IndexName": "by_kind",
            "KeyConditionExpression": "#kind = :kind",
            "ExpressionAttributeNames": {"#kind": "kind"},
            "ExpressionAttributeValues": {":kind": {"S": kind}},
        }
        while True:
            with ledger_errors(f"list operations of kind {kind!r}"):
                page = self._tables.client.query(**request)
            yield from map(_operation, page["Items"])
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def put_once_and_count(
        self,
        operation_id: str,
        part: str,
        document: Mapping[str, Any],
        counter_part: str,
        counter: str | Mapping[str, int],
        *,
        created_at: int = 0,
        status: str = "",
        expires_at: int | None = None,
    ) -> bool:
        """Writes a part that is not there yet and, in the same transaction, counts it on `counter_part`.

        Args:
            counter: the name of a counter that grows by one, or amounts by name.

        Returns:
            False when the part is there already: this is a redelivery, and it was counted then.

        Raises:
            OperationNotFound: `counter_part` is "" and the operation does not exist.
            InvalidRequest, TooLarge: the document is not JSON, or over MAX_DOCUMENT_BYTES.
        """
        write_id = new_write_id()
        new = self._row(
            operation_id,
            _stored(part),
            document=_document_text(document, operation_id, part),
            status=status,
            created_at=created_at,
            version=1,
            expires_at=None if expires_at is None else expires_at // 1000,
            write_id=write_id,
        )
        amounts = {counter: 1} if isinstance(counter, str) else counter
        additions = [Path([_COUNTER + name]).add(amount) for name, amount in amounts.items()]
        counted = self._row(operation_id, _stored(counter_part))

        def fill(transaction: TransactWrite) -> None:
            transaction.save(new, condition=self._row.operation_id.does_not_exist())
            transaction.update(counted, actions=list(additions), condition=None if counter_part else self._row.operation_id.exists())

        failed = commit(
            self._tables.connection,
            fill,
            landed=lambda: self._is_ours(operation_id, part, write_id),
            what=f"write operation {operation_id!r} part {part!r}",
            sleep=self._sleep,
        )
        if not failed:
            return True
        if 0 in failed:
            return False
        raise _not_found(operation_id)

    def parts(
        self, operation_id: str, prefix: str, limit: int, cursor: str | None = None, forward: bool = True
    ) -> tuple[list[Operation], str | None]:
        """Reads one page of the parts whose names begin with `prefix`, by name; never the main row.

        Returns:
            The parts, and the cursor of the next page or None.

        Raises:
            InvalidRequest: the cursor is not one of ours.
        """
        start = None
        if cursor is not None:
            name = text_of_cursor(cursor)
            if not name or not name.startswith(prefix):
                raise InvalidRequest("the cursor is of another list: begin again without it")
            start = {"operation_id": {"S": operation_id}, "part": {"S": _stored(name)}}
        found: list[Operation] = []
        for raw in self._query(operation_id, prefix, start=start, page_size=limit + 1, forward=forward):
            if len(found) == limit:
                return found, cursor_of(found[-1].part)
            found.append(_operation(raw))
        return found, None

    def last_part(self, operation_id: str, prefix: str) -> Operation | None:
        """Reads the last, by name, of the parts whose names begin with `prefix`; None where there is none."""
        return next(map(_operation, self._query(operation_id, prefix, page_size=1, forward=False)), None)

    def all_parts(self, operation_id: str, prefix: str = "") -> Iterator[Operation]:
        """Yields every part whose name begins with `prefix`, by name, page by page."""
        for raw in self._query(operation_id, prefix):
            yield _operation(raw)

    def recent(self, kind: str, limit: int) -> list[Operation]:
        """Reads the newest operations of a kind, newest first. The index may lag behind by a moment."""
        return self.recent_page(kind, limit)[0]

    def recent_page(self, kind: str, limit: int, cursor: str | None = None) -> tuple[list[Operation], str | None]:
        """Reads the operations of a kind, newest first, page by page; a page holds at most 1 MB of them, as DynamoDB reads.

        Returns:
            The operations, and the cursor of the next page or None.

        Raises:
            InvalidRequest: the cursor is not one of ours.
        """
        request: dict[str, Any] = {
            "TableName": self._name,
            "IndexName": "by_kind",
            "KeyConditionExpression": "#kind = :kind",
            "ExpressionAttributeNames": {"#kind": "kind"},
            "ExpressionAttributeValues": {":kind": {"S": kind}},
            "ScanIndexForward": False,
            "Limit": limit + 1,
        }
        if cursor is not None:
            created_at, _, operation_id = text_of_cursor(cursor).partition("#")
            if not re.fullmatch("[0-9]{1,15}", created_at) or not operation_id:
                raise InvalidRequest("the cursor is of another list: begin again without it")
            request["ExclusiveStartKey"] = {
                "kind": {"S": kind},
                "created_at": {"N": created_at},
                "operation_id": {"S": operation_id},
                "part": {"S": _MAIN},
            }
        with ledger_errors(f"list operations of kind {kind!r}"):
            reply = self._tables.client.query(**request)
        found = [_operation(raw) for raw in reply["Items"][:limit]]
        more = len(reply["Items"]) > limit or "LastEvaluatedKey" in reply
        return found, cursor_of(f"{found[-1].created_at}#{found[-1].operation_id}") if found and more else None

    def _query(
        self, operation_id: str, prefix: str, *, start: dict[str, Any] | None = None, page_size: int | None = None, forward: bool = True
    ) -> Iterator[Raw]:
        # without a prefix every name sorts after the main row's
        request: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": "#id = :id AND " + ("begins_with(#part, :part)" if prefix else "#part > :part"),
            "ExpressionAttributeNames": {"#id": "operation_id", "#part": "part"},
            "ExpressionAttributeValues": {":id": {"S": operation_id}, ":part": {"S": prefix or _MAIN}},
            "ScanIndexForward": forward,
            "ConsistentRead": True,
        }
        if page_size is not None:
            request["Limit"] = page_size
        while True:
            if start is not None:
                request["ExclusiveStartKey"] = start
            with ledger_errors(f"list the parts of operation {operation_id!r}"):
                page = self._tables.client.query(**request)
            yield from page["Items"]
            start = page.get("LastEvaluatedKey")
            if not start:
                return

    def _write(self, operation_id: str, part: str, actions: list[Action], condition: Condition | None, what: str) -> Operation | None:
        """Updates one row, and reads back what it holds now; None when the condition failed."""
        write_id = new_write_id()
        row = self._row(operation_id, _stored(part))
        actions = [*actions, self._row.write_id.set(write_id)]

        def send() -> Operation:
            return _operation(row.update(list(actions), condition=condition)["Attributes"])

        def landed() -> Operation | None:
            return self.get(operation_id, part) if self._is_ours(operation_id, part, write_id) else None

        return self._to_its_end(send, landed, what)

    def _to_its_end[T](self, send: Callable[[], T], landed: Callable[[], T | None], what: str) -> T | None:
        """Sends the write of one row; None when the condition failed.

        Args:
            landed: asked after a reply was lost: what `send` would have returned if the row holds the write, or None.
        """
        for attempt in range(ATTEMPTS):
            if attempt:
                back_off(attempt, self._sleep)
            try:
                return send()
            except (UpdateError, BotoCoreError, ClientError) as error:
                code = code_of(error)
                # botocore tries again by itself after a lost reply, and then meets its own write
                failed = code == "ConditionalCheckFailedException"
                if failed or is_in_doubt(error):
                    if (written := landed()) is not None:
                        return written
                    if failed:
                        return None
                if code not in BUSY:
                    raise named(error, what) from error
        raise LedgerError(f"the ledger was too busy to {what} after {ATTEMPTS} attempts: try again in a moment")

    def _is_ours(self, operation_id: str, part: str, write_id: str) -> bool:
        with ledger_errors(f"read operation {operation_id!r} part {part!r}"):
            raw = self._tables.client.get_item(
                TableName=self._name,
                Key=_key(operation_id, part),
                ProjectionExpression="write_id",
                ConsistentRead=True,
            ).get("Item")
        return raw is not None and raw.get("write_id") == {"S": write_id}


def cursor_of(text: str) -> str:
    """Wraps the last name of a page as an opaque cursor that fits into a URL."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def text_of_cursor(cursor: str) -> str:
    """Unwraps a cursor. Raises InvalidRequest when it is not one of ours."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("the cursor is not one this service gave out: begin again without it") from error
    if not text:
        raise InvalidRequest("the cursor is empty: begin again without it")
    if len(text.encode()) > _NAME_BYTES:
        raise InvalidRequest("the cursor is not one this service gave out: begin again without it")
    return text


def _document_text(document: Mapping[str, Any] | JsonText, operation_id: str, part: str) -> str:
    if isinstance(document, str):
        text: str = document
    else:
        text = json_text(document, f"the document of operation {operation_id!r} part {part!r}")
    size = len(text.encode())
    if size > MAX_DOCUMENT_BYTES:
        raise TooLarge(
            f"the document of operation {operation_id!r} part {part!r} has {size} bytes, over {MAX_DOCUMENT_BYTES}: spread it over parts"
        )
    return text


def _stored(part: str) -> str:
    if part and part <= _MAIN:
        raise ValueError(f"part {part!r} would sort before the operation itself: begin it with a letter or digit")
    return part or _MAIN


def _key(operation_id: str, part: str) -> dict[str, Any]:
    return {"operation_id": {"S": operation_id}, "part": {"S": _stored(part)}}


def _set_or_remove(attribute: Any, value: Any) -> Action:
    return attribute.remove() if value is None else attribute.set(value)  # type: ignore[no-any-return]  # attributes of any type


def _operation(raw: Raw) -> Operation:
    part = raw["part"]["S"]
    kind = raw.get("kind") or raw.get("part_kind")
    expires_at = raw.get("expires_at")
    return Operation(
        operation_id=raw["operation_id"]["S"],
        part="" if part == _MAIN else part,
        kind=kind["S"] if kind else None,
        status=raw["status"]["S"] if "status" in raw else "",
        created_at=int(raw["created_at"]["N"]) if "created_at" in raw else 0,
        version=int(raw["version"]["N"]) if "version" in raw else 0,
        document=json.loads(raw["document"]["S"]) if "document" in raw else {},
        counters={name.removeprefix(_COUNTER): int(value["N"]) for name, value in raw.items() if name.startswith(_COUNTER)},
        expires_at=int(expires_at["N"]) * 1000 if expires_at else None,
    )


def _changed(guard: Operation) -> RecordChanged:
    return RecordChanged(
        f"operation {guard.operation_id!r} part {guard.part!r} changed since it was read, so nothing was written: read it again"
    )


def _not_found(operation_id: str) -> OperationNotFound:
    return OperationNotFound(f"there is no operation {operation_id!r}: begin it before counting on it")
