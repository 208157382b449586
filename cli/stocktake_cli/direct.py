"""What is done past the API, by the layer's own rules: comparing, and looking at one key. Nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from stocktake.answers import timed
from stocktake.comparison import merge_join
from stocktake.errors import InvalidKey, ListingOutOfOrder, StorageError
from stocktake.explanations import explained
from stocktake.findings import Finding, classify
from stocktake.layouts import SYSTEM_PREFIX
from stocktake.model import FindingClass, Record, State, StoredObject
from stocktake.reconciliation.owners import NOBODY, Owners, is_leaving
from stocktake.services import Services
from stocktake.spellings import Spellings
from stocktake.storage.ordering import stream
from stocktake.storage.refusals import check_is_of_key
from stocktake_cli import words
from stocktake_cli.edge import Outcome, Session
from stocktake_cli.exits import Exit

SHOWN = 1000
"""Findings that people are shown, so that memory does not grow with what differs; `--json` has all of them."""


def compare_here(session: Session) -> Outcome:
    """Walks bucket and ledger from end to end and reports; `reconcile --direct`.

    Raises:
        RunIncomplete, WrongRegion: the bucket is not the one this ledger describes, so that nothing can be said of what it lacks.
    """
    services = session.deployment.services
    seen = services.identity.compare()
    # as in a run, a store's clock that is off lengthens the grace window by as much
    since = int(session.now() * 1000) - services.settings.grace_seconds * 1000 - abs((seen.skew_ms if seen else None) or 0)
    try:
        counts, found, differing = _walked(session, since)
    except ListingOutOfOrder:  # the store has taken note of it, and is sorted from now on
        session.out.note("the store does not list in order: it is listed again, and sorted on this machine's disk")
        counts, found, differing = _walked(session, since)
    rows = [(name, f"{of['objects']:,}", words.size(of["bytes"])) for name, of in counts.document().items()]
    session.out.table(["", "#objects", "#bytes"], rows)
    session.out.table(["class", "kind", "key"], [(of["class"], of["kind"], of["key"]) for of in found])
    for said in words.recommendations(found):
        session.out.say(said)
    if differing:
        session.out.note("acknowledged findings are among them: what is compared here is told nothing of any run before")
    if differing > len(found):
        session.out.note(f"the first {len(found):,} of {words.count(differing, 'difference')}; --json has all")
    return Outcome({"counts": counts.document(), "findings": found, "kept": False}, Exit.DIFFERENT if differing else Exit.FINE)


def _walked(session: Session, since: int) -> tuple[Tallies, list[dict[str, Any]], int]:
    """Returns what was counted, the findings (all of them for `--json` alone), and how many there are."""
    counts, found, differing = Tallies(), list[dict[str, Any]](), 0
    with session.out.progress("comparing") as bar:
        for differing, finding in enumerate(differences(session.deployment.services, since, counts), 1):  # the last is told
            if session.out.as_json or differing <= SHOWN:
                found.append(timed(explained(finding.document())))
            bar.update(f"comparing: {words.count(differing, 'difference')}")
    return counts, found, differing


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


def differences(services: Services, since: int, counts: Tallies) -> Iterator[Finding]:
    """Yields what differs, by the rules of the layer; reads both sides once, in constant memory, and writes nothing.

    As in a run nothing is a finding on the word of a listing alone: what does not match is asked for again on both sides, and what is
    changed after `since` is left out. What a run knows of earlier runs (sightings, what was acknowledged) is not looked at.
    """
    store, ledger, layouts = services.store, services.ledger, services.layouts
    owners = Owners(ledger, layouts)
    for found, entry in merge_join(stream(store), ledger.entries()):
        key = found.key if found is not None else entry.key  # type: ignore[union-attr]  # one of the two is there
        if key.startswith(SYSTEM_PREFIX):
            continue
        if found is not None:
            counts.add("bucket", found.size)
            if entry is not None and entry.state is State.STORED and (entry.size, entry.etag) == (found.size, found.etag):
                counts.add("matched", found.size)
                continue
        record = ledger.record(key)
        try:
            stored = store.head(key)
        except (StorageError, InvalidKey) as error:
            check_is_of_key(store, error)
            counts.add("unreadable", found.size if found is not None else 0)
            continue
        parsed = layouts.parse(key)
        verdict = classify(stored, record, parsed, owners.state(parsed))
        size = stored.size if stored else record.size if record else 0
        if verdict is None:
            counts.add("known" if record is not None and record.state is State.QUARANTINED else "settled", size)
        elif verdict != (FindingClass.UNSTORED, "missing") and _is_young(stored, record, since):
            counts.add("young", size)
        elif stored is None and record is not None and is_leaving(ledger, services.operations, record):
            counts.add("leaving", size)
        else:
            spelled = Spellings(store, ledger).kind(key, stored, record)
            finding_class, kind = verdict if spelled is None else (FindingClass.DUPLICATE_SPELLING, spelled)
            owner = owners.of(parsed, record)
            counts.add(finding_class.value, size)
            layout, project = parsed.layout if parsed else None, None if owner == NOBODY else owner
            yield Finding(key, finding_class, kind, stored, record, layout, project)


def _is_young(stored: StoredObject | None, record: Record | None, since: int) -> bool:
    return (stored is not None and stored.last_modified > since) or (record is not None and record.updated_at > since)


def inspect_here(session: Session, key: str, *, is_id: bool) -> dict[str, Any]:
    """Looks at one key on both sides, as the API would."""
    diagnosis = session.deployment.looking.object_diagnosis
    return timed(diagnosis.of_object(key) if is_id else diagnosis.of_key(key))
