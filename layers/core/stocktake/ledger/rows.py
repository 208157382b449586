"""The rows of the three tables, and the one connection all of them share.

```
objects     shard, key                     one row per record; `shard` is a stable hash of the key
            "inline#<shard>", key          the bytes of an INLINE record; no scan and no index meets them
            "spelling#<hash>", <hash>      under which spelling a name is recorded, if not under the canonical one; neither meets these
projects    project, "project"             state and epoch, the project's own row
            project, "counts#<shard>"      the numbers of `counting`, with copies of state and epoch
operations  operation_id, "!"              the operation itself: deletion, reconciliation, quarantine entry
            operation_id, <part>           what belongs to it: batches, findings, per-key errors
```

Models are made for given table names by `tables`, never at import, because PynamoDB ignores a `Meta` changed after the first connection.
They share one connection, hence one botocore client, one pool and one set of time limits: a client costs 130 ms of a cold start, and
PynamoDB would make one for every model and another for transactions.
"""

from __future__ import annotations

import hashlib
import json
import types
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore.parsers import JSONParser, ResponseParserFactory
from botocore.serialize import JSONSerializer
from pynamodb.attributes import Attribute, UnicodeAttribute
from pynamodb.connection import Connection
from pynamodb.constants import BINARY, NUMBER
from pynamodb.models import Model

from stocktake.errors import InvalidRequest, TooLarge
from stocktake.layouts import canonical
from stocktake.model import LedgerEntry, Project, ProjectState, Quota, Record, State

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CONNECT_TIMEOUT_SECONDS = 3
READ_TIMEOUT_SECONDS = 10
MAX_RETRY_ATTEMPTS = 2
"""With the first attempt three: the most that fits into the 30 s of an HTTP API when every one of them times out."""

MAX_ROW_BYTES = 380_000
"""Under DynamoDB's 400 KB an item, with room for the copies in the indexes' keys and for rounding."""

MAX_INLINE_BYTES = 350_000
"""Bytes of an INLINE record, which have an item of 400 KB to themselves and their key."""

_MANY_ITEMS = 25
"""Of a transaction: from here on the removal of a project, which sends one after the other."""
INLINE_PREFIX = "inline#"
SPELLING_PREFIX = "spelling#"
PROJECT_PART = "project"
COUNTS_PREFIX = "counts#"

Raw = Mapping[str, Mapping[str, Any]]
"""An item as DynamoDB spells it: `{"size": {"N": "3"}, ...}`."""


class Integer(Attribute[int]):
    """A whole number: PynamoDB's own number attribute goes through JSON and is typed float."""

    attr_type = NUMBER

    def serialize(self, value: Any) -> str:
        return str(int(value))

    def deserialize(self, value: Any) -> int:
        return int(value)


class Bytes(Attribute[bytes]):
    """Bytes as base64, as DynamoDB's JSON has them: our serializer sends what it is given."""

    attr_type = BINARY

    def serialize(self, value: Any) -> str:
        return b2a_base64(value, newline=False).decode()

    def deserialize(self, value: Any) -> bytes:
        return a2b_base64(value)


class ObjectRow(Model):
    """A record. `project` is the canonical stem of `project_id`; `write_id` tells whose write this is after a reply was lost."""

    shard = UnicodeAttribute(hash_key=True)
    key = UnicodeAttribute(range_key=True)
    project = UnicodeAttribute()
    project_id = UnicodeAttribute()
    object_id = UnicodeAttribute()
    epoch = Integer()
    state = UnicodeAttribute()
    size = Integer()
    created_at = Integer()
    updated_at = Integer()
    version = Integer()
    layout = UnicodeAttribute()
    etag = UnicodeAttribute(null=True)
    sha256 = UnicodeAttribute(null=True)
    content_type = UnicodeAttribute(null=True)
    cache_control = UnicodeAttribute(null=True)
    file_name = UnicodeAttribute(null=True)
    metadata = UnicodeAttribute()
    generation_id = UnicodeAttribute(null=True)
    source = UnicodeAttribute()
    expires_at = Integer(null=True)
    sealed = UnicodeAttribute(null=True)
    output = Integer(null=True)
    original_url = UnicodeAttribute(null=True)
    width = Integer(null=True)
    height = Integer(null=True)
    counted_as = UnicodeAttribute(null=True)
    write_id = UnicodeAttribute()


class InlineRow(Model):
    """The bytes of an INLINE record, beside its row: a scan of records pays by their size, and so does every change of one."""

    shard = UnicodeAttribute(hash_key=True)
    key = UnicodeAttribute(range_key=True)
    content = Bytes()


class SpellingRow(Model):
    """Says under which spelling a name is recorded whose record is not under the canonical one. `key` is the hash of that."""

    shard = UnicodeAttribute(hash_key=True)
    key = UnicodeAttribute(range_key=True)
    spelled = UnicodeAttribute()


class ProjectRow(Model):
    """A project's own row or, under `counts#<shard>`, one of its count rows.

    The numbers of a count row (`stored_objects`, `stored_bytes`, ...) are only ever added to and summed, never loaded one by one: they
    are no attributes of the model. `names` are the providers and purposes that are counted by name.
    """

    project = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True)
    state = UnicodeAttribute()
    epoch = Integer()
    project_id = UnicodeAttribute(null=True)
    created_at = Integer(null=True)
    metadata = UnicodeAttribute(null=True)
    deletion_id = UnicodeAttribute(null=True)
    deleted_at = Integer(null=True)
    quota_objects = Integer(null=True)
    quota_bytes = Integer(null=True)
    names = UnicodeAttribute(null=True)
    write_id = UnicodeAttribute(null=True)


class OperationRow(Model):
    """An operation or one part of it. `kind` is set on operations only, so that the index over it lists them without their parts."""

    operation_id = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True)
    kind = UnicodeAttribute(null=True)
    part_kind = UnicodeAttribute(null=True)
    status = UnicodeAttribute(null=True)
    created_at = Integer(null=True)
    version = Integer(null=True)
    document = UnicodeAttribute(null=True)
    expires_at = Integer(null=True)
    write_id = UnicodeAttribute(null=True)


@dataclass(frozen=True, slots=True)
class Tables:
    """The models of one deployment, and the connection they share."""

    objects: type[ObjectRow]
    inline: type[InlineRow]
    spellings: type[SpellingRow]
    projects: type[ProjectRow]
    operations: type[OperationRow]
    connection: Connection

    @property
    def client(self) -> DynamoDBClient:
        """The low-level client, for bulk reads with a projection."""
        return cast("DynamoDBClient", self.connection.client)


def tables(
    *,
    objects: str,
    projects: str,
    operations: str,
    region: str,
    host: str | None = None,
    session: botocore.session.Session | None = None,
) -> Tables:
    """Makes the models for these table names. Opens no connection yet, but makes the client.

    Args:
        region: of the tables.
        host: URL of a local DynamoDB, else None; `AWS_ENDPOINT_URL` works too, as in any botocore client.
        session: of botocore, to share what it has read with other clients; None for one of its own. Its parsers are left as they were.
    """
    connection = _Connection(
        session or botocore.session.get_session(),
        region=region,
        host=host,
        connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS,
        read_timeout_seconds=READ_TIMEOUT_SECONDS,
        max_retry_attempts=MAX_RETRY_ATTEMPTS,
    )
    _make_client(connection)
    return Tables(
        objects=_bound(ObjectRow, objects, connection),
        inline=_bound(InlineRow, objects, connection),
        spellings=_bound(SpellingRow, objects, connection),
        projects=_bound(ProjectRow, projects, connection),
        operations=_bound(OperationRow, operations, connection),
        connection=connection,
    )


class _Connection(Connection):
    """PynamoDB's connection, over a session that is handed to it: PynamoDB's own would be one more for every thread."""

    def __init__(self, session: botocore.session.Session, **settings: Any) -> None:
        super().__init__(**settings)
        self._session = session

    @property
    def session(self) -> botocore.session.Session:
        return self._session


def _make_client(connection: Connection) -> None:
    """Makes the connection's client. It alone of its session gets our parser: the replies of other services hold blobs and timestamps."""
    session = connection.session
    usual = session.get_component("response_parser_factory")
    session.register_component("response_parser_factory", _PlainParserFactory())
    try:
        client = connection.client
    finally:
        session.register_component("response_parser_factory", usual)
    assert client is not None
    raw: Any = client
    raw._serializer = _PlainJsonSerializer()  # private to botocore, as is what follows
    _remember_endpoint(raw)


def _remember_endpoint(client: Any) -> None:
    """Makes a DynamoDB client work out its endpoint once for each operation.

    botocore does it for every call, and reads every table's name in the request for it, in case one is an ARN of another account: a tenth
    of what a transaction costs. Ours are names, so that one operation has one endpoint for the life of a client.
    """
    resolver = client._ruleset_resolver
    construct, known = resolver.construct_endpoint, dict[str, Any]()

    def remembered(operation_model: Any, call_args: Any, request_context: Any) -> Any:
        name = operation_model.name
        if name not in known:
            known[name] = construct(operation_model, call_args, request_context)
        return known[name]

    resolver.construct_endpoint = remembered


def _bound[Row: Model](row: type[Row], table_name: str, connection: Connection) -> type[Row]:
    meta = type("Meta", (), {"table_name": table_name, "region": connection.region, "host": connection.host})
    members = {"Meta": meta, "__module__": row.__module__, "__doc__": row.__doc__}
    bound = cast(type[Row], types.new_class(row.__name__, (row,), exec_body=lambda namespace: namespace.update(members)))
    table = bound._get_connection()  # PynamoDB offers no public way to hand a model its connection
    with suppress(ValueError):  # known already: bytes lie in the table of their records, under the same keys
        connection.add_meta_table(table.get_meta_table())
    table.connection = connection
    return bound


_read_as: ContextVar[Callable[[bytes], dict[str, Any]] | None] = ContextVar("read_as", default=None)
"""How the answer to the call under way is read, where it is not as plain JSON."""


def answer_of(body: bytes) -> dict[str, Any]:
    """Reads the answer to the call under way: as plain JSON, or as `read_as` has it."""
    return (_read_as.get() or json.loads)(body)


class _PlainJsonParser(JSONParser):
    """Takes DynamoDB's JSON as it is.

    botocore walks every reply along the service's shapes, to decode blobs and timestamps that our rows do not have: 84 µs an item of
    twelve attributes against 6 µs. Errors go the usual way.
    """

    def _do_parse(self, response: Any, shape: Any) -> Any:
        parsed = answer_of(response["body"])
        self._inject_response_metadata(parsed, response["headers"])  # type: ignore[attr-defined]  # private to botocore, hence not in its stubs
        return parsed


def read_as(read: Callable[[bytes], dict[str, Any]], call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a call of a client's whose answers `read` makes of their bytes."""

    def reading(**request: Any) -> Any:
        token = _read_as.set(read)
        try:
            return call(**request)
        finally:
            _read_as.reset(token)

    return reading


class _PlainJsonSerializer(JSONSerializer):
    """Sends what it is given: PynamoDB and our bulk reads write DynamoDB's JSON themselves, without blobs and timestamps."""

    def serialize_to_request(self, parameters: Mapping[str, Any], operation_model: Any) -> Any:
        request: Any = super().serialize_to_request({}, operation_model)
        return {**request, "body": _written(parameters)}


def _written(request: Mapping[str, Any]) -> bytes:
    if len(request.get("TransactItems", ())) < _MANY_ITEMS:
        return json.dumps(request).encode()
    from msgspec.json import encode  # an eighth of the time; 20 ms to import, for what most functions never do

    return encode(request)


class _PlainParserFactory(ResponseParserFactory):
    def create_parser(self, protocol_name: str) -> Any:
        return _PlainJsonParser() if protocol_name == "json" else super().create_parser(protocol_name)


ENTRY_ATTRIBUTES = ("key", "project_id", "state", "size", "etag", "updated_at", "version")
COUNTED_ATTRIBUTES = (*ENTRY_ATTRIBUTES, "counted_as")


def projection(*attributes: str) -> dict[str, Any]:
    """Returns the request members that ask for these attributes only; by placeholders, because `key` and `size` are reserved words."""
    return {
        "ProjectionExpression": ", ".join(f"#{name}" for name in attributes),
        "ExpressionAttributeNames": {f"#{name}": name for name in attributes},
    }


def entry_of(raw: Raw) -> LedgerEntry:
    """Reads an item projected to COUNTED_ATTRIBUTES; whole pages of them are `entry_page`'s."""
    etag, kept = raw.get("etag"), raw.get("counted_as")
    return LedgerEntry(
        raw["key"]["S"],
        raw["project_id"]["S"],
        State(raw["state"]["S"]),
        int(raw["size"]["N"]),
        etag["S"] if etag else None,
        int(raw["updated_at"]["N"]),
        int(raw["version"]["N"]),
        kept["S"] if kept else None,
    )


def record_of(row: ObjectRow) -> Record:
    """Reads a whole row."""
    return Record(
        key=row.key,
        object_id=row.object_id,
        project_id=row.project_id,
        epoch=row.epoch,
        state=State(row.state),
        size=row.size,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
        layout=row.layout,
        etag=row.etag,
        sha256=row.sha256,
        content_type=row.content_type,
        cache_control=row.cache_control,
        file_name=row.file_name,
        metadata=json.loads(row.metadata),
        generation_id=row.generation_id,
        source=row.source,
        expires_at=row.expires_at,
        sealed=row.sealed,
        output=row.output,
        original_url=row.original_url,
        width=row.width,
        height=row.height,
        counted_as=row.counted_as,
    )


def spelling_row(row: type[SpellingRow], key: str) -> SpellingRow:
    """Makes the row of the name of a key that is not in its canonical spelling."""
    name = hashlib.sha256(canonical(key).encode()).hexdigest()  # the name itself may be longer than a sort key
    return row(SPELLING_PREFIX + name[:2], name, spelled=key)


def object_row(row: type[ObjectRow], record: Record, *, shard: str, project: str, write_id: str) -> ObjectRow:
    """Makes the row of a record.

    Raises:
        InvalidRequest: the metadata is not JSON, or text that is no Unicode stands somewhere.
        TooLarge: the row would be over MAX_ROW_BYTES.
    """
    values: dict[str, Any] = {
        "shard": shard,
        "key": record.key,
        "project": project,
        "project_id": record.project_id,
        "object_id": record.object_id,
        "epoch": record.epoch,
        "state": record.state.value,
        "size": record.size,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "version": record.version,
        "layout": record.layout,
        "etag": record.etag,
        "sha256": record.sha256,
        "content_type": record.content_type,
        "cache_control": record.cache_control,
        "file_name": record.file_name,
        "metadata": json_text(record.metadata, "the metadata"),
        "generation_id": record.generation_id,
        "source": record.source,
        "expires_at": record.expires_at,
        "sealed": record.sealed,
        "output": record.output,
        "original_url": record.original_url,
        "width": record.width,
        "height": record.height,
        "counted_as": record.counted_as,
        "write_id": write_id,
    }
    # what is absent is not set: PynamoDB takes as long for a None as for a value
    made = row(**{name: value for name, value in values.items() if value is not None})
    try:
        # not serialized for it: that takes as long as the rest of writing a row
        size = sum(len(name) + len(str(value).encode()) for name, value in made.attribute_values.items() if value is not None)
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"the record of {record.key!r} holds text with a lone surrogate, which is no Unicode: send valid UTF-8"
        ) from error
    if size > MAX_ROW_BYTES:
        raise TooLarge(f"the record of {record.key!r} would take {size} bytes of the {MAX_ROW_BYTES} a record may: send less metadata")
    return made


def project_of(row: ProjectRow) -> Project:
    """Reads a project's own row."""
    return Project(
        project_id=row.project_id or row.project,
        state=ProjectState(row.state),
        epoch=row.epoch,
        created_at=row.created_at or 0,
        metadata=json.loads(row.metadata) if row.metadata else {},
        deletion_id=row.deletion_id,
        deleted_at=row.deleted_at,
        quota=_quota(row.quota_objects, row.quota_bytes),
    )


def _quota(objects: int | None, size: int | None) -> Quota | None:
    return None if objects is None and size is None else Quota(objects, size)


def json_text(value: Mapping[str, Any], what: str) -> str:
    """Writes JSON that reads back as the same values and types: 1.0 stays 1.0, and a lone surrogate stays what it was.

    Raises:
        InvalidRequest: it is not JSON (NaN, infinities, keys that are no text, other types, too deep).
    """
    try:
        _check_keys(value)
        text = json.dumps(dict(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        try:
            text.encode()
        except UnicodeEncodeError:
            text = json.dumps(dict(value), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{what} cannot be kept as JSON: send objects, arrays, text, finite numbers, true, false and null") from error
    return text


_LEAVES = frozenset({str, int, float, bool, type(None)})


def _check_keys(value: Any) -> None:
    # json.dumps would write the key 1 as "1" without a word, and what is kept would not be what was sent
    members: Iterable[Any] = ()
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"key {name!r} is no text")
        members = value.values()
    elif isinstance(value, list | tuple):
        members = value
    for member in members:
        if type(member) not in _LEAVES:  # most are, and to ask what they are takes longer than to write them
            _check_keys(member)
