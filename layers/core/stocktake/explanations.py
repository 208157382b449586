"""What a finding means, why it likely is so, and what to do: three sentences for each kind. And why counts differ, in words that add up.

They are added when a finding is answered and not stored with it: a row stays small, and what was found before reads as well as what is
found today.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stocktake.model import FindingClass, State, Tally


@dataclass(frozen=True, slots=True)
class Sentences:
    """What is said of every finding of a kind."""

    meaning: str
    likely_cause: str
    recommended: str


def explained(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a stored finding with its sentences."""
    said = SENTENCES[FindingClass(document["class"]), document["kind"]]
    return {**document, **asdict(said)}


def notes(counts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Returns the sentences of what a run counted and did not make a finding of."""
    return {name: asdict(said) for name, said in _COUNTED.items() if counts.get(name, {}).get("objects", 0)}


def counts_explained(
    states: Mapping[State, Tally], counted: Mapping[str, Any] | None, by_class: Mapping[str, Any], unattributed: int
) -> str:
    """Says why there are as many records as there are, and why the bucket held more or fewer objects: every number is accounted for.

    Args:
        counted: the last complete count: `bucket` with its `objects`, and the records `stored_then`; None before one.
        by_class: what that count found, by class.
        unattributed: stored objects that no dimension counts.
    """
    records, stored = sum(tally.objects for tally in states.values()), states[State.STORED].objects
    others = [f"{tally.objects:,} {_STATES[state]}" for state, tally in states.items() if state in _STATES and tally.objects]
    said = [f"The ledger has {_number(records, 'record')}: {_listed([f'{stored:,} with a stored object', *others])}."]
    said.append("The bucket has not been counted yet." if counted is None else _bucket_explained(stored, counted, by_class))
    if unattributed:
        said.append(
            f"{_number(unattributed, 'stored object')} of an older version are in no count by layout, type, provider or purpose: "
            "a recount with repair brings them in."
        )
    return " ".join(said)


def _bucket_explained(stored: int, counted: Mapping[str, Any], by_class: Mapping[str, Any]) -> str:
    objects, then = counted["bucket"]["objects"], counted["stored_then"]
    more = {name: _objects(by_class, name) for name in ("orphan", "unknown")}
    missing, acknowledged = _objects(by_class, "missing"), _objects(by_class, "acknowledged")
    rest = objects - then - sum(more.values()) + missing
    # a run does not say of which class those are that it counts apart
    reasons = ["findings that are acknowledged"] if acknowledged else []
    others = not acknowledged or any(_objects(by_class, name) for name in _EITHER_WAY)
    reasons += ["uploads under way then or other findings"] if others else []
    terms = [f"plus {number:,} {_MORE[name]}" for name, number in more.items() if number]
    terms += [f"less {missing:,} whose object is missing"] if missing else []
    terms += [f"{'plus' if rest > 0 else 'less'} {abs(rest):,} for {', '.join(reasons)}"] if rest else []
    sum_ = f"the {then:,} of {'a record' if then == 1 else 'records'} stored then"
    text = f"The bucket held {_number(objects, 'object')} when it was last counted"
    if terms:
        text += f": {', '.join([sum_, *terms])}."
    else:
        text += ", as many as records were stored then." if acknowledged else ", one for each record stored then." if objects else "."
    if acknowledged:
        text += f" Of what was found then, {acknowledged:,} {'is' if acknowledged == 1 else 'are'} acknowledged, and counted apart."
    if stored != then:
        text += f" Since then the records stored have become {abs(stored - then):,} {'more' if stored > then else 'fewer'}."
    return text


def _objects(by_class: Mapping[str, Any], name: str) -> int:
    objects: int = by_class.get(name, {}).get("objects", 0)
    return objects


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


_STATES: Mapping[State, str] = {
    State.PENDING: "pending (announced, and not confirmed)",
    State.INLINE: "inline (the bytes lie in the ledger)",
    State.EXTERNAL: "external (the bytes lie at a foreign URL)",
    State.MISSING: "missing (the bucket was asked and has nothing)",
    State.QUARANTINED: "in quarantine",
}
_MORE = {"orphan": "without a record", "unknown": "under keys that no layout explains"}
_EITHER_WAY = ("young", "settled", "unreadable", "leaving", "known", "unstored", "mismatch", "duplicate_spelling")
"""What a run counts keys under of which one side alone may have had an object, beside those of the sum's own terms."""


SENTENCES: dict[tuple[FindingClass, str], Sentences] = {
    (FindingClass.ORPHAN, "active"): Sentences(
        "The bucket holds an object of a live project that the ledger does not know.",
        "It was uploaded around the API, by a script or a console; or its record was deleted by hand; or the events that would have "
        "recorded it were switched off or lost.",
        "Adopt it if the application uses it, else quarantine it.",
    ),
    (FindingClass.ORPHAN, "deleting"): Sentences(
        "The bucket holds an object of a project that is being deleted.",
        "The deletion has not come to it yet, or a URL that was signed before the deletion was used after it.",
        "Wait for the deletion's receipt: its final sweep removes the object, or names it with the reason.",
    ),
    (FindingClass.ORPHAN, "deleted"): Sentences(
        "The bucket holds an object of a project that was deleted.",
        "Something still writes under the project's keys: an old worker, a restored copy, or code with its own credentials.",
        "Quarantine it, from where it comes back as it lay, without a record, and find the writer: verifying the deletion again says "
        "whether there is more, and names what lies in quarantine too.",
    ),
    (FindingClass.ORPHAN, "none"): Sentences(
        "The bucket holds an object under a known layout, and no one project of the ledger can be named as its owner.",
        "The project was deleted from the application before its objects were; or it was never imported; or the key fits two projects, "
        "as flat keys with underscores do; or its layout names no project.",
        "Import the key with its project, or create the project and adopt it; quarantine it, by its own name in the plan, once nobody "
        "claims it.",
    ),
    (FindingClass.MISSING, "gone"): Sentences(
        "The record says the object is stored, and the bucket, asked for this very key, has nothing there.",
        "It was deleted in a console or by a lifecycle rule; or the record was written by older code although its upload had failed or "
        "gone to a bucket of the same name in another region.",
        "If there are many, compare bucket, endpoint and region with those of the uploader first; then mark them missing, upload again "
        "what still exists elsewhere, and forget the records.",
    ),
    (FindingClass.MISMATCH, "size"): Sentences(
        "Object and record differ in size.",
        "The object was overwritten around the API: by a script that converts in place, or by old code that uses a key twice.",
        "Look at one of them; if the new bytes are wanted, refresh the record from the bucket.",
    ),
    (FindingClass.MISMATCH, "etag"): Sentences(
        "Object and record have the same size and another ETag.",
        "The object was written again with other bytes of the same length; or with the same bytes, by a copy between buckets or in parts, "
        "either of which makes another ETag.",
        "Refresh the record from the bucket: its SHA-256 is kept only if the store confirms it.",
    ),
    (FindingClass.MISMATCH, "returned"): Sentences(
        "The record says that its object is missing, and the object is there again.",
        "Somebody uploaded it again or restored it from a copy, and the event of that did not arrive.",
        "Refresh the record from the bucket, so that it counts again.",
    ),
    (FindingClass.MISMATCH, "reappeared"): Sentences(
        "The record is in quarantine, and an object lies under its key.",
        "The application that wrote the object wrote it again after it had been set aside; or setting it aside broke off before the "
        "object had left its place.",
        "Look at the key's entry in quarantine. Is it MOVING, restore it, and the record says STORED; left alone, the next purge lets go "
        "of the key, and the next run finds an orphan. Is it HELD, look at both: restoring refuses to overwrite the one that is there. "
        "To keep that one, purge the entry: it is recorded then.",
    ),
    (FindingClass.MISMATCH, "not_as_announced"): Sentences(
        "An upload was announced and not confirmed, and the object under its key is not the one that was announced.",
        "The uploader announced one file and sent another, or part of it; or something else wrote under the key.",
        "Look at the object, and upload again what was meant. Nothing acts on it by itself.",
    ),
    (FindingClass.UNSTORED, "pending"): Sentences(
        "An upload was announced, and its bytes are not in the bucket.",
        "The uploader stopped half-way or was refused by the store, as with wrong credentials, and nobody tried again.",
        "Settle it: the intent is withdrawn once its time is over.",
    ),
    (FindingClass.UNSTORED, "uncommitted"): Sentences(
        "The bytes of an announced upload are in the bucket, and the record was not committed.",
        "The uploader ended between the upload and its completion: a closed browser, a timeout, a lost reply.",
        "Settle it: the upload is committed if its bytes pass the checks of any upload.",
    ),
    (FindingClass.UNSTORED, "inline"): Sentences(
        "The bytes lie in the ledger and not in the bucket, so the object is counted as unstored.",
        "It was stored while storage was switched off, or imported as base64 from a database.",
        "Migrate it into the bucket.",
    ),
    (FindingClass.UNSTORED, "external"): Sentences(
        "The bytes lie at a foreign URL and not in the bucket, so the object is counted as unstored.",
        "A generator's URL was recorded and its image never copied: URLs of this kind often expire within hours or days.",
        "Migrate it into the bucket before the URL expires.",
    ),
    (FindingClass.UNSTORED, "missing"): Sentences(
        "The record says that its object is missing, and the bucket has nothing there.",
        "It was deleted around the API, by a console, a script or a lifecycle rule; the event of that marked the record, or a repair did "
        "(`mark_missing`).",
        "If there are many, look who deletes there. Put the object back from a version or a backup, or fetch it again where it came from "
        "a URL. Else forget the record, also where the file is uploaded again, which makes a record of its own.",
    ),
    (FindingClass.UNKNOWN, "no_layout"): Sentences(
        "No layout explains the key, so nobody can say whose the object is.",
        "Another program shares the bucket; or an older version of the application had a pattern of keys that is not configured.",
        "Add a layout for the pattern if it is yours. Nothing ever deletes or moves it.",
    ),
    (FindingClass.DUPLICATE_SPELLING, "two_objects"): Sentences(
        "The object has no record, and another object lies under the same name in another Unicode spelling.",
        "The same file was uploaded from a system that composes accents (NFC) and from one that does not (NFD, as macOS file names).",
        "Compare the two and keep one. Nothing acts on it: R2 would take both keys for one object, and removing one would remove both.",
    ),
    (FindingClass.DUPLICATE_SPELLING, "recorded_otherwise"): Sentences(
        "The object has no record under its key, and one under the same name in another Unicode spelling.",
        "R2 lists an object under the spelling it was last put with; or a copy between stores rewrote the names.",
        "On R2 nothing is wrong. Elsewhere copy the object to the record's key. Nothing acts on it by itself.",
    ),
    (FindingClass.DUPLICATE_SPELLING, "stored_otherwise"): Sentences(
        "The record's object is not under its key, and there is one under the same name in another Unicode spelling.",
        "The name was normalised on its way: by a copy between stores, an archive, or a file system that the files went through.",
        "Copy the object to the record's key. Nothing acts on it: the bytes are not lost, so it must not be marked missing.",
    ),
}

_COUNTED: dict[str, Sentences] = {
    "known": Sentences(
        "These records say themselves that their object is in quarantine, and the bucket agrees.",
        "An earlier repair set them aside.",
        "Nothing, or restore them before they expire.",
    ),
    "leaving": Sentences(
        "The bytes of these records are gone, and their deletion, or their project's, has not come to the records yet.",
        "They were being deleted during the run; or a deletion stopped half-way.",
        "Nothing: a deletion that stopped is taken up again. The receipt says what it could not remove.",
    ),
    "young": Sentences(
        "These differ and are younger than the grace window.",
        "They are uploads and deletions under way.",
        "Wait for the next run.",
    ),
    "settled": Sentences(
        "These differed while they were listed, and no more when both sides were asked again.",
        "They were uploaded, deleted or brought in line during the run; or the store's listing lags behind.",
        "Nothing.",
    ),
    "unreadable": Sentences(
        "These differ, and the store refuses to show them, though it lists them and answers for other keys: nobody can say what they are.",
        "They are encrypted with a key that is their writer's own (SSE-C), or one of KMS that the credentials may not use; or a policy "
        "denies their prefix; or a key is longer than stores take.",
        "Give the credentials the right to read them, or their writer a bucket of its own. Nothing here is missed, moved or deleted.",
    ),
    "unlisted": Sentences(
        "The store's listing left these objects out, and the store has them when asked by key.",
        "The listing of this store drops keys, as some versions of SeaweedFS do; or they were uploaded behind the listing's back; or the "
        "inventory that was compared is of a part of the bucket.",
        "Nothing here. If it repeats, update the store: whatever else trusts its listings, a lifecycle rule or a backup, misses them too.",
    ),
}
