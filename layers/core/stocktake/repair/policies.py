"""What may be done about which finding, and what has to be true of it before.

A policy is `{class: action}`, or `{class.kind: action}` for what is unstored; what it does not name is left alone. It says what an
operator wants; `reason_against` says what of it is not to be done now, in words that stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stocktake.errors import InvalidRequest
from stocktake.model import FindingClass
from stocktake.quarantine import MAX_BYTES

ACKNOWLEDGE = "acknowledge"
_OWN: dict[str, tuple[str, ...]] = {
    "missing": ("mark_missing", "forget", "refetch"),
    "mismatch": ("refresh",),
    "unstored": ("settle", "refetch", "forget"),
    "orphan": ("quarantine", "adopt", "delete"),
}
ORPHAN_OF_NONE = "orphan.none"
"""Orphans whose project nobody can tell: named apart in a policy, because setting one aside may be setting a live project's file aside."""
_UNSTORED: dict[str, tuple[str, ...]] = {
    "pending": ("settle",),
    "uncommitted": ("settle",),
    "inline": ("refetch",),
    "external": ("refetch",),
    "missing": ("refetch", "forget"),
}
"""By kind: what is unstored is so for reasons that have nothing in common."""
ACTIONS: dict[str, tuple[str, ...]] = {
    **{name.value: (*_OWN.get(name.value, ()), ACKNOWLEDGE) for name in FindingClass},
    ORPHAN_OF_NONE: ("quarantine", ACKNOWLEDGE),
    **{f"unstored.{kind}": (*actions, ACKNOWLEDGE) for kind, actions in _UNSTORED.items()},
}
POLICIES: dict[str, dict[str, str]] = {"safe": {"missing": "mark_missing", "mismatch": "refresh", "unstored": "settle"}}
"""By name. `safe` moves no object and removes nothing: each of its actions is what an event would have done."""
MOVING = frozenset({"quarantine", "delete"})
"""What takes an object from where somebody may look for it: done only to what was seen twice, some time apart."""
_COPYING = frozenset({"quarantine"})
SIGHTINGS = 2
_KINDS: dict[str, frozenset[str]] = {
    "refresh": frozenset({"size", "etag", "returned", "reappeared"}),
    "settle": frozenset({"pending", "uncommitted"}),
    "refetch": frozenset({"gone", "missing", "inline", "external"}),
    "forget": frozenset({"gone", "missing"}),
}
"""Kinds an action is for, where it is not for all of its class."""


def checked(policy: Mapping[str, str]) -> dict[str, str]:
    """Returns the policy. Raises InvalidRequest for a class or an action there is not."""
    for name, action in policy.items():
        if name not in ACTIONS:
            raise InvalidRequest(f"nothing can be done about class {name!r}: name some of {', '.join(ACTIONS)}")
        if action not in ACTIONS[name]:
            raise InvalidRequest(f"{action!r} is no action for {name}: use one of {', '.join(ACTIONS[name])}")
    return dict(policy)


def name_of(finding: Mapping[str, Any], policy: Mapping[str, str]) -> str:
    """Returns the name by which a policy speaks of a finding, or "" where none does: a deletion at work removes its own orphans.

    Where the policy names the kind, that counts, and not what it says of the class.
    """
    own = f"{finding['class']}.{finding['kind']}"
    if own in policy:
        return own
    if finding["class"] != "orphan" or finding["kind"] in ("active", "deleted"):
        return str(finding["class"])
    return ORPHAN_OF_NONE if finding["kind"] == "none" else ""


def reason_against(action: str, finding: Mapping[str, Any], *, now: int, grace_ms: int) -> str | None:
    """Says why an action is not for this finding, or not yet; None where nothing is against it.

    `seen_once`: it would move the object, and a run before did not see exactly this, or not at least the grace window ago.
    `too_large`: it would copy more than one request can. `other_kind`: the action does nothing for findings of this kind. `waiting`: an
    upload's time is not over, or it is ended by its own sweep alone.
    """
    if action in _KINDS and finding["kind"] not in _KINDS[action]:
        return "other_kind"
    if action in MOVING and (finding.get("sightings", 1) < SIGHTINGS or finding.get("first_seen_at", now) > now - grace_ms):
        return "seen_once"
    if action in _COPYING and finding["bytes"] > MAX_BYTES:
        return "too_large"
    if action == "settle" and "settles_at" in finding and (finding["settles_at"] is None or finding["settles_at"] >= now):
        return "waiting"
    return None
