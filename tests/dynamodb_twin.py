"""DynamoDB in memory, as far as the ledger uses it: its expressions, its transactions, its pages and its limits.

It takes the calls where botocore would send them, so PynamoDB and our own requests are as they always are; only the network, HTTP and
moto's price (some milliseconds a call) are gone. The ledger's own tests run against moto as well, which keeps the two alike.
"""

from __future__ import annotations

import json
import operator
import pickle
import re
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, TypeGuard
from zlib import crc32

from botocore.exceptions import ClientError

from stocktake.ledger.rows import answer_of

type Value = dict[str, Any]
type Item = dict[str, Value]
type SortKey = tuple[Any, ...]

_PAGE_BYTES = 1024 * 1024
_ITEM_BYTES = 400 * 1024
_HASH_BYTES, _RANGE_BYTES = 2048, 1024
_TOKEN = re.compile(r"\s*(<=|>=|<>|[()=<>,+-]|[#:]?[A-Za-z0-9_.\-\[\]]+)")


class Twin:
    """Tables by name. `definitions` are those of CloudFormation: KeySchema, AttributeDefinitions, GlobalSecondaryIndexes."""

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._tables = {name: _Table(definition) for name, definition in definitions.items()}
        self._done: dict[str, Any] = {}
        self._lock = threading.RLock()

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Does one call, alone, and answers as DynamoDB would. Raises ClientError."""
        with self._lock:
            handler: Callable[[Mapping[str, Any]], dict[str, Any]] | None = getattr(self, "_" + _snake(operation), None)
            if handler is None:
                raise NotImplementedError(f"the twin of DynamoDB knows no {operation}: add it, or test with moto")
            # what is kept and what is answered share nothing with the caller's, and the answer is read as that of the service is
            answer = answer_of(json.dumps(handler(pickle.loads(pickle.dumps(request)))).encode())  # a fifth of what a deepcopy takes
            return {**answer, "ResponseMetadata": {"HTTPStatusCode": 200, "RetryAttempts": 0}}

    def _table(self, name: str, operation: str) -> _Table:
        if name not in self._tables:
            raise _error("ResourceNotFoundException", "Requested resource not found", operation)
        return self._tables[name]

    def _describe_table(self, request: Mapping[str, Any]) -> dict[str, Any]:
        table = self._table(request["TableName"], "DescribeTable")
        return {"Table": {**table.definition, "TableName": request["TableName"], "TableStatus": "ACTIVE"}}

    def _get_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        table = self._table(request["TableName"], "GetItem")
        item = table.rows.get(table.key_of(request["Key"], "GetItem", exactly=True))
        return {} if item is None else {"Item": _projected(item, request)}

    def _batch_get_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if sum(len(of_table["Keys"]) for of_table in request["RequestItems"].values()) > 100:
            raise _error("ValidationException", "Too many items requested for the BatchGetItem call", "BatchGetItem")
        answers: dict[str, list[Item]] = {}
        for name, wanted in request["RequestItems"].items():
            table = self._table(name, "BatchGetItem")
            keys = [table.key_of(key, "BatchGetItem", exactly=True) for key in wanted["Keys"]]
            if len(set(keys)) < len(keys):
                raise _error("ValidationException", "Provided list of item keys contains duplicates", "BatchGetItem")
            answers[name] = [_projected(table.rows[key], wanted) for key in keys if key in table.rows]
        return {"Responses": answers, "UnprocessedKeys": {}}

    def _batch_write_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if sum(map(len, request["RequestItems"].values())) > 25:
            raise _error("ValidationException", "Too many items requested for the BatchWriteItem call", "BatchWriteItem")
        for name, writes in request["RequestItems"].items():
            for write in writes:
                if "PutRequest" in write:
                    self._put_item({"TableName": name, **write["PutRequest"]})
                else:
                    self._delete_item({"TableName": name, **write["DeleteRequest"]})
        return {"UnprocessedItems": {}}

    def _put_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._write("PutItem", request)

    def _delete_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._write("DeleteItem", request)

    def _update_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._write("UpdateItem", request)

    def _write(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        table = self._table(request["TableName"], operation)
        change = _change(table, operation, request)
        if not change.holds:
            error = _error("ConditionalCheckFailedException", "The conditional request failed", operation)
            if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and change.before is not None:
                error.response["Item"] = change.before  # type: ignore[typeddict-unknown-key]  # as DynamoDB does
            raise error
        table.write(change)
        wanted = request.get("ReturnValues", "NONE")
        if wanted == "ALL_OLD" and change.before is not None:
            return {"Attributes": change.before}
        if wanted == "ALL_NEW" and change.after is not None:
            return {"Attributes": change.after}
        if wanted == "UPDATED_NEW" and change.after is not None:
            return {"Attributes": {name: change.after[name] for name in change.touched if name in change.after}}
        return {}

    def _transact_write_items(self, request: Mapping[str, Any]) -> dict[str, Any]:
        token = request.get("ClientRequestToken")
        if token in self._done:
            if self._done[token] != request["TransactItems"]:
                raise _error("IdempotentParameterMismatchException", "The token came with other items before", "TransactWriteItems")
            return {}
        actions = request["TransactItems"]
        if len(actions) > 100:
            raise _error("ValidationException", "Member must have length less than or equal to 100", "TransactWriteItems")
        changes: list[tuple[_Table, _Change, Mapping[str, Any]]] = []
        for action in actions:
            ((kind, inner),) = action.items()
            table = self._table(inner["TableName"], "TransactWriteItems")
            changes.append((table, _change(table, _OPERATIONS[kind], inner), inner))
        if len({(id(table), change.key) for table, change, _ in changes}) < len(changes):
            message = "Transaction request cannot include multiple operations on one item"
            raise _error("ValidationException", message, "TransactWriteItems")
        if sum(_size(change.after or {}) for _, change, _ in changes) > 4 * _PAGE_BYTES:
            raise _error("ValidationException", "Transaction request is too large", "TransactWriteItems")
        reasons: list[dict[str, Any]] = []
        for _, change, inner in changes:
            reason: dict[str, Any] = {"Code": "None"}
            if not change.holds:
                reason = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
                if inner.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and change.before is not None:
                    reason["Item"] = change.before
            reasons.append(reason)
        if any(reason["Code"] != "None" for reason in reasons):
            codes = ", ".join(reason["Code"] for reason in reasons)
            message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
            error = _error("TransactionCanceledException", message, "TransactWriteItems")
            error.response["CancellationReasons"] = reasons  # type: ignore[typeddict-item]  # an Item as we spell it
            raise error
        for table, change, _ in changes:
            table.write(change)
        if token:
            self._done[token] = actions
        return {}

    def _query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._read("Query", request)

    def _scan(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._read("Scan", request)

    def _read(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        table = self._table(request["TableName"], operation)
        index = request.get("IndexName")
        if index is not None and request.get("ConsistentRead"):
            raise _error("ValidationException", "Consistent reads are not supported on global secondary indexes", operation)
        schema = table.schemas[index]
        rows = table.sorted_rows(schema)
        condition = request.get("KeyConditionExpression")
        if condition is not None:
            rows = _in_key_range(rows, schema, _parsed(condition), request)
        if not request.get("ScanIndexForward", True):
            rows = rows[::-1]
        if segments := request.get("TotalSegments"):
            rows = [row for row in rows if crc32(str(row[0][0]).encode()) % segments == request["Segment"]]
        if start := request.get("ExclusiveStartKey"):
            place = _order_of(start, schema, table)
            forward = request.get("ScanIndexForward", True)
            rows = [row for row in rows if (row[0] > place if forward else row[0] < place)]
        keep = request.get("FilterExpression")
        found: list[Item] = []
        read = size = 0
        for _, item in rows:
            size += _size(item)
            if read and size > _PAGE_BYTES:
                break
            read += 1
            if keep is None or _holds(_parsed(keep), item, request):
                found.append(_projected(table.in_index(item, index), request))
            if read == request.get("Limit"):
                break
        reply: dict[str, Any] = {"Count": len(found), "ScannedCount": read}
        if request.get("Select") != "COUNT":
            reply["Items"] = found
        # as DynamoDB does, also where the limit was met by the very last row
        if read and (read == request.get("Limit") or read < len(rows)):
            last = rows[read - 1][1]
            reply["LastEvaluatedKey"] = {name: last[name] for name in dict.fromkeys((*schema, *table.schemas[None]))}
        return reply


@dataclass(frozen=True)
class _Change:
    """What a write would do to one item, and whether its condition holds."""

    key: SortKey
    before: Item | None
    after: Item | None
    holds: bool
    touched: tuple[str, ...] = ()
    writes: bool = True


@dataclass
class _Table:
    definition: Mapping[str, Any]
    rows: dict[SortKey, Item] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.types = {one["AttributeName"]: one["AttributeType"] for one in self.definition["AttributeDefinitions"]}
        self.schemas: dict[str | None, tuple[str, ...]] = {None: _names(self.definition["KeySchema"])}
        self._projections: dict[str | None, Mapping[str, Any]] = {}
        for index in self.definition.get("GlobalSecondaryIndexes", ()):
            self.schemas[index["IndexName"]] = _names(index["KeySchema"])
            self._projections[index["IndexName"]] = index["Projection"]
        self._sorted: dict[tuple[str, ...], list[tuple[SortKey, Item]]] = {}

    def key_of(self, attributes: Item, operation: str, *, exactly: bool = False) -> SortKey:
        schema = self.schemas[None]
        if exactly and set(attributes) != set(schema):
            raise _error("ValidationException", "The provided key element does not match the schema", operation)
        for name, most in zip(schema, (_HASH_BYTES, _RANGE_BYTES), strict=False):
            value = attributes.get(name)
            if value is None or self.types[name] not in value:
                raise _error("ValidationException", "One or more parameter values were invalid: Type mismatch for key", operation)
            text = value.get("S")
            if text is not None and not 0 < len(text.encode()) <= most:
                message = f"One or more parameter values were invalid: the size of key {name} is empty or exceeds {most} bytes"
                raise _error("ValidationException", message, operation)
        return tuple(_plain(attributes[name]) for name in schema)

    def write(self, change: _Change) -> None:
        if not change.writes:
            return
        for schema, rows in self._sorted.items():
            if self._is_in(change.before, schema):
                del rows[bisect_left(rows, _order_of(change.before, schema, self), key=_by_order)]
            if self._is_in(change.after, schema):
                insort(rows, (_order_of(change.after, schema, self), change.after), key=_by_order)
        if change.after is None:
            self.rows.pop(change.key, None)
        else:
            self.rows[change.key] = change.after

    def sorted_rows(self, schema: tuple[str, ...]) -> list[tuple[SortKey, Item]]:
        if schema not in self._sorted:
            rows = ((_order_of(item, schema, self), item) for item in self.rows.values() if self._is_in(item, schema))
            self._sorted[schema] = sorted(rows, key=_by_order)
        return self._sorted[schema]

    def _is_in(self, item: Item | None, schema: tuple[str, ...]) -> TypeGuard[Item]:
        """Says whether an index has an item: it is sparse, and what lacks its keys is not in it."""
        return item is not None and all(name in item for name in schema)

    def in_index(self, item: Item, index: str | None) -> Item:
        projection = self._projections.get(index, {"ProjectionType": "ALL"})
        if projection["ProjectionType"] == "ALL":
            return item
        names = {*self.schemas[index], *self.schemas[None], *projection.get("NonKeyAttributes", ())}
        return {name: value for name, value in item.items() if name in names}


_OPERATIONS = {"Put": "PutItem", "Delete": "DeleteItem", "Update": "UpdateItem", "ConditionCheck": "ConditionCheck"}


def _change(table: _Table, operation: str, request: Mapping[str, Any]) -> _Change:
    given = request["Item"] if operation == "PutItem" else request["Key"]
    key = table.key_of(given, operation, exactly=operation != "PutItem")
    before = table.rows.get(key)
    condition = request.get("ConditionExpression")
    holds = condition is None or _holds(_parsed(condition), before or {}, request)
    if operation == "ConditionCheck":
        return _Change(key, before, before, holds, writes=False)
    if operation == "DeleteItem":
        return _Change(key, before, None, holds)
    touched: tuple[str, ...] = ()
    if operation == "PutItem":
        after: Item = dict(given)
    elif holds:
        after, touched = _updated(before or dict(given), request)
    else:
        after = before or {}
    for name, value in after.items():
        declared = table.types.get(name)
        if declared is not None and declared not in value:
            raise _error("ValidationException", f"Type mismatch for index key {name}", operation)
        if declared == "S" and value["S"] == "":
            raise _error("ValidationException", f"The index key {name} is an empty string", operation)
    if _size(after) > _ITEM_BYTES:
        raise _error("ValidationException", "Item size has exceeded the maximum allowed size", operation)
    return _Change(key, before, after, holds, touched)


# -- expressions


@cache
def _tokens(text: str) -> tuple[str, ...]:
    found, at = [], 0
    text = text.strip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise NotImplementedError(f"the twin of DynamoDB cannot read {text!r} at {at}")
        found.append(token[1])
        at = token.end()
    return tuple(found)


@cache
def _parsed(text: str) -> tuple[Any, ...]:
    """Reads a condition into nested tuples: ("and", a, b), ("=", operand, operand), ("attribute_exists", path)..."""
    tokens = list(_tokens(text))

    def take(*expected: str) -> str:
        token = tokens.pop(0)
        assert not expected or token.upper() in expected, (text, token)
        return token

    def ahead() -> str:
        return tokens[0].upper() if tokens else ""

    def either() -> tuple[Any, ...]:
        left = both()
        while ahead() == "OR":
            take()
            left = ("or", left, both())
        return left

    def both() -> tuple[Any, ...]:
        left = negated()
        while ahead() == "AND":
            take()
            left = ("and", left, negated())
        return left

    def negated() -> tuple[Any, ...]:
        if ahead() == "NOT":
            take()
            return ("not", negated())
        return one()

    def one() -> tuple[Any, ...]:
        if ahead() == "(":
            take()
            inner = either()
            take(")")
            return inner
        name = take()
        if ahead() == "(" and name in ("attribute_exists", "attribute_not_exists", "begins_with", "contains"):
            take()
            arguments = [take()]
            while ahead() == ",":
                take()
                arguments.append(take())
            take(")")
            return (name, *arguments)
        comparator = take().upper()
        if comparator == "BETWEEN":
            low = take()
            take("AND")
            return ("between", name, low, take())
        if comparator == "IN":
            take("(")
            arguments = [take()]
            while ahead() == ",":
                take()
                arguments.append(take())
            take(")")
            return ("in", name, *arguments)
        return (comparator, name, take())

    made = either()
    assert not tokens, (text, tokens)
    return made


def _operand(token: str, item: Item, request: Mapping[str, Any]) -> Value | None:
    if token.startswith(":"):
        value: Value = request["ExpressionAttributeValues"][token]
        return value
    return item.get(_name(token, request))


def _name(token: str, request: Mapping[str, Any]) -> str:
    name: str = request["ExpressionAttributeNames"][token] if token.startswith("#") else token
    return name


def _holds(condition: tuple[Any, ...], item: Item, request: Mapping[str, Any]) -> bool:
    kind, *rest = condition
    if kind == "and":
        return _holds(rest[0], item, request) and _holds(rest[1], item, request)
    if kind == "or":
        return _holds(rest[0], item, request) or _holds(rest[1], item, request)
    if kind == "not":
        return not _holds(rest[0], item, request)
    if kind == "attribute_exists":
        return _name(rest[0], request) in item
    if kind == "attribute_not_exists":
        return _name(rest[0], request) not in item
    values = [_operand(token, item, request) for token in rest]
    if kind == "in":
        return values[0] is not None and values[0] in values[1:]
    if kind == "<>":
        return values[0] != values[1]
    if any(value is None for value in values):
        return False  # what is not there is neither less nor more
    if len({next(iter(value)) for value in values if value}) > 1:
        return False  # values of two types compare as unequal
    plain = [_plain(value) for value in values if value is not None]
    if kind == "begins_with":
        return bool(plain[0].startswith(plain[1]))
    if kind == "contains":
        return plain[1] in plain[0]
    if kind == "between":
        return bool(plain[1] <= plain[0] <= plain[2])
    return _COMPARE[kind](plain[0], plain[1])


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _updated(before: Item, request: Mapping[str, Any]) -> tuple[Item, tuple[str, ...]]:
    """Returns the item after an UpdateExpression, and the names of what it set. Every operand is what was there before."""
    after, touched = dict(before), []
    clause = ""
    for clause, one in _clauses(request["UpdateExpression"]):
        target = _name(one[0], request)
        touched.append(target)
        if clause == "SET":
            after[target] = _assigned(one[2:], before, request)
        elif clause == "REMOVE":
            after.pop(target, None)
        elif clause == "ADD":
            amount = request["ExpressionAttributeValues"][one[1]]["N"]
            after[target] = {"N": str(Decimal(before.get(target, {"N": "0"})["N"]) + Decimal(amount))}
        else:
            raise NotImplementedError(f"the twin of DynamoDB knows no {clause}")
    return after, tuple(touched)


def _clauses(expression: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    clause, one, depth = "", list[str](), 0
    for token in (*_tokens(expression), ","):
        if token.upper() in ("SET", "REMOVE", "ADD", "DELETE") and not depth:
            if one:
                yield clause, tuple(one)
            clause, one = token.upper(), []
        elif token == "," and not depth:
            if one:
                yield clause, tuple(one)
            one = []
        else:
            depth += (token == "(") - (token == ")")
            one.append(token)


def _assigned(tokens: Sequence[str], item: Item, request: Mapping[str, Any]) -> Value:
    terms: list[Value] = []
    signs: list[int] = [1]
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if token in "+-":
            signs.append(1 if token == "+" else -1)
            continue
        if token == "if_not_exists":
            _, path, _, default, _ = (rest.pop(0) for _ in range(5))
            value = item.get(_name(path, request)) or _operand(default, item, request)
        else:
            value = _operand(token, item, request)
        if value is None:
            message = "The provided expression refers to an attribute that does not exist in the item"
            raise _error("ValidationException", message, "UpdateItem")
        terms.append(value)
    if len(terms) == 1:
        return terms[0]
    return {"N": str(sum(sign * Decimal(term["N"]) for sign, term in zip(signs, terms, strict=True)))}


def _projected(item: Item, request: Mapping[str, Any]) -> Item:
    expression = request.get("ProjectionExpression")
    if expression is None:
        return item
    names = [_name(name.strip(), request) for name in expression.split(",")]
    return {name: item[name] for name in names if name in item}


def _in_key_range(
    rows: list[tuple[SortKey, Item]], schema: tuple[str, ...], condition: tuple[Any, ...], request: Mapping[str, Any]
) -> list[tuple[SortKey, Item]]:
    equal = condition[1] if condition[0] == "and" else condition
    hashed = _plain(request["ExpressionAttributeValues"][equal[2]])
    assert (equal[0], _name(equal[1], request)) == ("=", schema[0]), "the hash key comes first, and is equal to something"
    low = bisect_left(rows, (hashed,), key=lambda row: row[0][:1])
    high = bisect_right(rows, (hashed,), key=lambda row: row[0][:1])
    some = rows[low:high]
    return [row for row in some if _holds(condition[2], row[1], request)] if condition[0] == "and" else some


def _order_of(item: Mapping[str, Value], schema: tuple[str, ...], table: _Table) -> SortKey:
    # rows of an index that share its keys are told apart by the table's
    return tuple(_plain(item[name]) for name in dict.fromkeys((*schema, *table.schemas[None])))


def _by_order(row: tuple[SortKey, Item]) -> SortKey:
    return row[0]


def _plain(value: Value) -> Any:
    ((kind, inner),) = value.items()
    return Decimal(inner) if kind == "N" else inner


def _size(item: Item) -> int:
    return sum(len(name.encode()) + _length(value) for name, value in item.items())


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping) and "B" in value:
        return len(value["B"]) * 3 // 4  # base64, as it is sent
    if isinstance(value, Mapping):
        return sum(_length(inner) for inner in value.values())
    return sum(map(_length, value)) if isinstance(value, Iterable) and not isinstance(value, bytes) else len(str(value))


def _names(schema: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    return tuple(one["AttributeName"] for one in sorted(schema, key=lambda one: one["KeyType"]))  # HASH before RANGE


@cache
def _snake(operation: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def _error(code: str, message: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation)  # type: ignore[typeddict-item]  # as much of it as anyone reads
