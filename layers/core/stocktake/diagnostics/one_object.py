"""One key on both sides: what each has, what differs, whether its URL gives it, what lies beside it. Writes nothing.

Metadata is named and not shown: this is for operators, and what callers sent of people is not theirs to read here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stocktake.diagnostics.check import Status
from stocktake.diagnostics.first_bytes import FirstBytes
from stocktake.diagnostics.redaction import redacted
from stocktake.errors import ObjectNotFound, StorageError
from stocktake.explanations import explained
from stocktake.findings import Finding, classify
from stocktake.layouts import SYSTEM_PREFIX, ParsedKey, Registry
from stocktake.ledger import Ledger, Operation, Operations
from stocktake.model import FindingClass, ListedObject, Record, State, StoredObject
from stocktake.object_deletion import ObjectDeletions, is_deleted
from stocktake.quarantine import KIND as QUARANTINE
from stocktake.reconciliation import KIND as RECONCILIATION
from stocktake.reconciliation.owners import Owners
from stocktake.reconciliation.walking import finding_part
from stocktake.spellings import Spellings
from stocktake.storage import Store
from stocktake.storage.rules import check_key

URL_SECONDS = 60
_BESIDE = 4
"""Neighbours on each side."""
_BACK = (1, 2, 3, 4, 6, 8, 12, 16, 20, 1024)
"""Characters of a name, before its ending, that are taken off to find what lies before it."""
_PAGE = 100
_RUNS = 3
_ENTRIES = 100
"""Newest runs, and newest quarantine entries, that are looked through for the key."""


@dataclass(frozen=True, slots=True)
class ObjectDiagnosis:
    """Looks at single keys of one deployment.

    Args:
        fetch: fetches the first bytes of a presigned URL; raises StorageUnavailable.
        grace_ms: below which age a difference may be an upload on its way.
        secrets: what no answer shows.
    """

    store: Store
    ledger: Ledger
    operations: Operations
    layouts: Registry
    deletions: ObjectDeletions
    fetch: Callable[[str], FirstBytes]
    grace_ms: int
    now: Callable[[], int]
    secrets: Callable[[], tuple[str, ...]] = tuple

    def of_object(self, object_id: str) -> dict[str, Any]:
        """Diagnoses an object by its id.

        Raises:
            ObjectDeleted: it was deleted by request.
            ObjectNotFound: no record has that id.
        """
        try:
            record = self.ledger.by_object_id(object_id)
        except ObjectNotFound:
            self.deletions.check_not_deleted(object_id)
            raise
        return self.of_key(record.key)

    def of_key(self, key: str) -> dict[str, Any]:
        """Diagnoses a key, whether or not anything is there. Raises InvalidKey, and what bucket and ledger raise."""
        check_key(key)  # before the ledger is asked: DynamoDB would refuse it as if the ledger did not answer
        at, record, stored = self.now(), self.ledger.record(key), self.store.head(key)
        parsed = self.layouts.parse(key)
        finding = self._finding(key, parsed, record, stored)
        url = self._fetched(key) if stored is not None else None
        status, says, todo = self._said(key, parsed, record, stored, finding, url)
        answer = {
            "as_of": at,
            "key": key,
            "status": status,
            "says": says,
            "do": todo,
            "layout": parsed.layout if parsed else None,
            "owners": list(parsed.candidates) if parsed else [],
            "record": _record(record),
            "object": _object(stored),
            "differences": _differences(record, stored, parsed),
            "finding": finding,
            "is_young": max(record.updated_at if record else 0, stored.last_modified if stored else 0) > at - self.grace_ms,
            "url": url,
            "neighbours": self._neighbours(key),
            "found_by_runs": list(self._found_by_runs(key)),
            "quarantine": list(self._set_aside(key)),
        }
        return dict(redacted(answer, self.secrets()))

    def _finding(self, key: str, parsed: ParsedKey | None, record: Record | None, stored: StoredObject | None) -> dict[str, Any] | None:
        if key.startswith(SYSTEM_PREFIX):
            return None
        verdict = classify(stored, record, parsed, Owners(self.ledger, self.layouts).state(parsed))
        if verdict is None:
            return None
        if (spelled := Spellings(self.store, self.ledger).kind(key, stored, record)) is not None:
            verdict = FindingClass.DUPLICATE_SPELLING, spelled
        layout, project = parsed.layout if parsed else None, record.project_id if record else None
        said = explained(Finding(key, *verdict, stored, record, layout, project).document())
        return {name: said[name] for name in ("class", "kind", "meaning", "likely_cause", "recommended")}

    def _fetched(self, key: str) -> dict[str, Any]:
        """Makes a presigned URL and fetches its first bytes, as a browser would the whole. The URL itself is shown to nobody."""
        try:
            answer = self.fetch(self.store.presign_get(key, seconds=URL_SECONDS))
        except StorageError as error:
            return {"status": None, "kind": None, "why": str(error)}
        why = None if answer.gives else _REFUSALS.get(answer.status, "the store does not give it")
        return {"status": answer.status, "kind": answer.kind, "why": why}

    def _said(
        self,
        key: str,
        parsed: ParsedKey | None,
        record: Record | None,
        stored: StoredObject | None,
        finding: Mapping[str, Any] | None,
        url: Mapping[str, Any] | None,
    ) -> tuple[Status, str, str | None]:
        """Says in one sentence how it stands, and what to do."""
        if key.startswith(SYSTEM_PREFIX):
            return "ok", "It is a key of Stocktake's own: no run counts it, and none is missed", None
        if record is None and stored is None:
            if parsed is not None and parsed.object_id and is_deleted(self.operations, parsed.object_id):
                return "ok", "It was deleted by request, and its deletion is proved", f"GET /objects/{parsed.object_id} names the receipt"
            return "warning", "Neither bucket nor ledger has anything under this key", _SPELLED
        if finding is not None:
            return "failed", f"{finding['meaning']} Likely: {finding['likely_cause']}", finding["recommended"]
        if record is not None and record.state in _SETTLED:
            return "warning", *_SETTLED[record.state]
        if url is not None and url["why"] is not None:
            return "failed", f"Bucket and ledger tell the same story, but its URL gives nothing: {url['why']}", _OF_URLS
        kind = f", which begins as {url['kind']}" if url and url["kind"] else ""
        return "ok", f"Bucket and ledger tell the same story, and a presigned URL gives the object{kind}", None

    def _neighbours(self, key: str) -> list[dict[str, Any]]:
        """Lists a few keys of the same folder before and after it: a mistyped name or a wrong ending shows itself.

        Keys of Stocktake's own are nobody's neighbours: the folder of a key without one is the whole bucket.
        """
        beside = [row for row in _beside(self.store, key) if row.key != key and not row.key.startswith(SYSTEM_PREFIX)]
        known = self.ledger.records([row.key for row in beside])
        return [
            {"key": row.key, "bytes": row.size, "in_ledger": row.key in known, "is_before": row.key < key}
            for row in sorted(beside, key=lambda row: row.key.encode())
        ]

    def _found_by_runs(self, key: str) -> Iterator[dict[str, Any]]:
        for run in self.operations.recent(RECONCILIATION, _RUNS):
            for finding_class in FindingClass:
                row = self.operations.get(run.operation_id, finding_part(finding_class, key))
                if row is not None and row.document["key"] == key:
                    seen = {name: row.document[name] for name in ("class", "kind", "first_seen_at", "sightings") if name in row.document}
                    yield {"run_id": run.operation_id, "run_status": run.status, **seen, "repair": row.status}

    def _set_aside(self, key: str) -> Iterator[dict[str, Any]]:
        for entry in self.operations.recent(QUARANTINE, _ENTRIES):
            if entry.document["key"] == key:
                yield _entry(entry)


def _beside(store: Store, key: str) -> list[ListedObject]:
    """Lists up to so many keys before and after a key in its folder, whether or not it is there.

    Listings go forward only. So they begin a little before the key, and further before it while too few keys lie between; once a page no
    longer reaches the key, there are enough, and they are those of the start before.
    """
    name = key.rpartition("/")[2]
    folder, ending = key[: len(key) - len(name)], len(name.rpartition(".")[2]) + 1 if "." in name else 0
    before: list[ListedObject] = []
    for cut in dict.fromkeys(min(ending + more, len(name)) for more in _BACK):
        page = next(iter(store.list(folder, after=key[: len(key) - cut] if cut < len(name) else "", page_size=_PAGE)), ())
        if len(page) == _PAGE and page[-1].key < key:
            break
        before = [row for row in page if row.key < key][-_BESIDE:]
        if len(before) == _BESIDE:
            break
    behind = next(iter(store.list(folder, after=key, page_size=_BESIDE)), ())
    return [*before, *behind[:_BESIDE]]


def _record(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "object_id": record.object_id,
        "project_id": record.project_id,
        "state": record.state.value,
        "bytes": record.size,
        "etag": record.etag,
        "sha256": record.sha256,
        "content_type": record.content_type,
        "layout": record.layout,
        "source": record.source,
        "version": record.version,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "metadata_names": sorted(record.metadata),
        "has_sealed_metadata": record.sealed is not None,
    }


def _object(stored: StoredObject | None) -> dict[str, Any] | None:
    if stored is None:
        return None
    return {
        "bytes": stored.size,
        "etag": stored.etag,
        "sha256": stored.sha256,
        "content_type": stored.content_type,
        "last_modified": stored.last_modified,
        "metadata_names": sorted(stored.metadata),
    }


def _differences(record: Record | None, stored: StoredObject | None, parsed: ParsedKey | None) -> list[dict[str, Any]]:
    """Names what both sides say, and say otherwise."""
    said: list[tuple[str, Any, Any]] = []
    if record is not None and stored is not None:
        said = [
            ("bytes", record.size, stored.size),
            ("etag", record.etag, stored.etag),
            ("sha256", record.sha256, stored.sha256),
            ("content_type", record.content_type, stored.content_type),
        ]
    if record is not None:
        said.append(("layout", record.layout, parsed.layout if parsed else "unknown"))
    return [
        {"what": what, "ledger": ledger, "bucket": bucket}
        for what, ledger, bucket in said
        if None not in (ledger, bucket) and ledger != bucket
    ]


def _entry(entry: Operation) -> dict[str, Any]:
    shown = {name: entry.document.get(name) for name in ("run_id", "why", "set_aside_at", "expires_at")}
    return {"entry_id": entry.operation_id, "status": entry.status, **shown}


_SETTLED = {
    State.QUARANTINED: (
        "It was set aside, and the ledger knows",
        "Quarantine, or `stocktake quarantine`, says until when it can be restored",
    ),
}
_REFUSALS = {
    403: "the store denies what was signed: see the credentials, the region and the clock",
    404: "the URL leads to another bucket or endpoint than the one that was asked",
    301: "the URL leads to another region",
    307: "the URL leads to another region",
}
_SPELLED = "See that the key is whole and spelled as it was stored: the neighbours are what lies in its folder"
_OF_URLS = "See StorageAddressing, StorageEndpoint and StorageRegion, and what Health or `stocktake doctor` says"
