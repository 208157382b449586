"""What is done past the API, by the layer's own rules: comparing, and looking at one key. Nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from stocktake.answers import timed
from stocktake.comparison import merge_join
from stocktake.explanations import explained
from stocktake.findings import Finding, classify
from stocktake.layouts import SYSTEM_PREFIX, other_spellings
from stocktake.model import FindingClass, ProjectState, Record, State, StoredObject
from stocktake.object_deletion import is_deleted
from stocktake.reconciliation.owners import NOBODY, Owners
from stocktake.services import Services
from stocktake.storage.ordering import stream
from stocktake_cli import words
from stocktake_cli.edge import Outcome, Session
from stocktake_cli.exits import Exit
from stocktake_cli.failures import Absent, Unreachable

_NEIGHBOURS = 5
_URL_SECONDS = 60


def compare_here(session: Session) -> Outcome:
    """Walks bucket and ledger from end to end and reports; `reconcile --direct`."""
    services, counts = session.deployment.services, Tallies()
    found = []
    with session.out.progress("comparing") as bar:
        for finding in differences(services, int(session.now() * 1000), counts):
            found.append(timed(explained(finding.document())))
            bar.update(f"comparing: {words.count(len(found), 'difference')}")
    rows = [(name, f"{of['objects']:,}", words.size(of["bytes"])) for name, of in counts.document().items()]
    session.out.table(["", "#objects", "#bytes"], rows)
    session.out.table(["class", "key", "recommended"], [(of["class"], of["key"], of["recommended"]) for of in found])
    return Outcome({"counts": counts.document(), "findings": found, "kept": False}, Exit.DIFFERENT if found else Exit.FINE)


class Tallies:
    """Objects and bytes by what was found of them."""

    def __init__(self) -> None:
        self._objects: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, name: str, size: int) -> None:
        """Counts one key."""
        self._objects[name] += 1
        self._bytes[name] += size

    def document(self) -> dict[str, dict[str, int]]:
        """Returns them as `--json` shows them."""
        return {name: {"objects": objects, "bytes": self._bytes[name]} for name, objects in self._objects.items()}


def differences(services: Services, now: int, counts: Tallies) -> Iterator[Finding]:
    """Yields what differs, by the rules of the layer; reads both sides once, in constant memory, and writes nothing.

    As in a run nothing is a finding on the word of a listing alone: what does not match is asked for again on both sides, and what is
    younger than the grace window is left out. What a run knows of earlier runs (sightings, what was acknowledged) is not looked at.
    """
    store, ledger, layouts = services.store, services.ledger, services.layouts
    owners, since = Owners(ledger, layouts), now - services.settings.grace_seconds * 1000
    for found, entry in merge_join(stream(store), ledger.entries()):
        key = found.key if found is not None else entry.key  # type: ignore[union-attr]  # one of the two is there
        if key.startswith(SYSTEM_PREFIX):
            continue
        if found is not None:
            counts.add("bucket", found.size)
            if entry is not None and entry.state is State.STORED and (entry.size, entry.etag) == (found.size, found.etag):
                counts.add("matched", found.size)
                continue
        record, stored = ledger.record(key), store.head(key)
        parsed = layouts.parse(key)
        verdict = classify(stored, record, parsed, owners.state(parsed))
        size = stored.size if stored else record.size if record else 0
        if verdict is None:
            counts.add("known" if record is not None and record.state in (State.MISSING, State.QUARANTINED) else "settled", size)
        elif (stored is not None and stored.last_modified > since) or (record is not None and record.updated_at > since):
            counts.add("young", size)
        elif verdict[0] is FindingClass.MISSING and record is not None and _is_leaving(services, record):
            counts.add("leaving", size)
        else:
            spelled = _spelled_otherwise(services, key, stored, record)
            finding_class, kind = verdict if spelled is None else (FindingClass.DUPLICATE_SPELLING, spelled)
            owner = owners.of(parsed, record)
            counts.add(finding_class.value, size)
            layout, project = parsed.layout if parsed else None, None if owner == NOBODY else owner
            yield Finding(key, finding_class, kind, stored, record, layout, project)


def _is_leaving(services: Services, record: Record) -> bool:
    """Says whether a record without its object is on its way out: a deletion removes the bytes first, and the record after them."""
    project = services.ledger.project(record.project_id)
    return project.state is not ProjectState.ACTIVE or is_deleted(services.operations, record.object_id)


def _spelled_otherwise(services: Services, key: str, stored: StoredObject | None, record: Record | None) -> str | None:
    """Says in which way the other side of a key lies under another Unicode spelling of it, or None where it does not."""
    store, ledger, others = services.store, services.ledger, other_spellings(key)
    if record is None and any(row.key == other for other in others for row in next(iter(store.list(other)), ())):
        return "two_objects"
    if record is None and any(ledger.record(other) is not None for other in others):
        return "recorded_otherwise"
    is_lost = record is not None and record.state is State.STORED and stored is None
    if is_lost and any(store.head(other) is not None and ledger.record(other) is None for other in others):
        return "stored_otherwise"
    return None


def inspect_here(session: Session, key: str) -> Outcome:
    """Looks at one key on both sides: record, object, what differs, a URL made and fetched, and what lies beside it."""
    services = session.deployment.services
    record = services.ledger.record(key) or services.ledger.find_object(key)
    key = record.key if record else key
    stored = services.store.head(key)
    if record is None and stored is None:
        raise Absent(f"neither bucket nor ledger has {key!r}", "is it the whole key, and this deployment's bucket?")
    parsed = services.layouts.parse(key)
    verdict = classify(stored, record, parsed, Owners(services.ledger, services.layouts).state(parsed))
    found = None
    if verdict is not None:
        found = Finding(key, *verdict, stored, record, parsed.layout if parsed else None, record.project_id if record else None).document()
    result = {
        "key": key,
        "layout": parsed.layout if parsed else None,
        "owners": list(parsed.candidates) if parsed else [],
        "record": _record(record),
        "object": _object(stored),
        "finding": timed(explained(found)) if found else None,
        "url": _fetched(session, services, key) if stored else None,
        "neighbours": _neighbours(services, key),
    }
    _draw(session, result)
    is_gone = record is not None and record.state is State.MISSING
    return Outcome(result, Exit.DIFFERENT if found or is_gone else Exit.FINE)


def _record(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return timed(
        {
            "object_id": record.object_id,
            "project_id": record.project_id,
            "state": record.state.value,
            "bytes": record.size,
            "etag": record.etag,
            "sha256": record.sha256,
            "content_type": record.content_type,
            "source": record.source,
            "version": record.version,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "metadata": dict(record.metadata),
        }
    )


def _object(stored: StoredObject | None) -> dict[str, Any] | None:
    if stored is None:
        return None
    return timed(
        {
            "bytes": stored.size,
            "etag": stored.etag,
            "sha256": stored.sha256,
            "content_type": stored.content_type,
            "last_modified": stored.last_modified,
            "metadata": dict(stored.metadata),
        }
    )


def _fetched(session: Session, services: Services, key: str) -> dict[str, Any]:
    """Makes a presigned URL and fetches the first byte by it, as a browser would the whole."""
    url = services.store.presign_get(key, seconds=_URL_SECONDS)
    try:
        reply = session.wire.send("GET", url, {"Range": "bytes=0-0"})
    except Unreachable as failure:
        return {"made": True, "status": None, "why": str(failure)}
    # 416: of an object without bytes none can be had
    return {"made": True, "status": reply.status, "why": None if reply.status in (200, 206, 416) else "the store does not give it"}


def _neighbours(services: Services, key: str) -> list[dict[str, Any]]:
    """Lists what lies in the same folder from the key on: a mistyped name or a wrong ending shows itself."""
    folder = key.rpartition("/")[0]
    pages = services.store.list(f"{folder}/" if folder else "", page_size=100)
    first = next(iter(pages), ())
    return [{"key": listed.key, "bytes": listed.size} for listed in first if listed.key != key][:_NEIGHBOURS]


def _draw(session: Session, result: Mapping[str, Any]) -> None:
    out, record, stored = session.out, result["record"], result["object"]
    out.facts({"key": result["key"], "layout": result["layout"] or "unknown", "may be of": ", ".join(result["owners"]) or "anyone"})
    rows = [
        (name, *(side[name] if side and side.get(name) is not None else "–" for side in (record, stored)))
        for name in ("bytes", "etag", "sha256", "content_type", "state", "object_id", "project_id", "updated_at", "last_modified")
    ]
    out.table(["", "in the ledger", "in the bucket"], rows)
    finding, url = result["finding"], result["url"]
    if finding:
        out.say(f"{finding['class']}: {finding['meaning']}", "yellow")
        out.say(f"likely cause: {finding['likely_cause']}")
        out.say(f"recommended: {finding['recommended']}")
    elif record and record["state"] == "MISSING":
        out.say("the ledger knows that its bytes are gone: send them again, or delete the object", "yellow")
    elif record and record["state"] == "QUARANTINED":
        out.say("it was set aside, as the ledger knows: stocktake quarantine says until when it can be restored", "yellow")
    else:
        out.say("bucket and ledger tell the same story", "green")
    if url:
        out.say(f"fetched by a presigned URL: {url['status'] or 'no answer'}" + (f" ({url['why']})" if url["why"] else ""))
    if result["neighbours"]:
        out.table(["beside it", "#bytes"], [(of["key"], words.size(of["bytes"])) for of in result["neighbours"]])
