"""Key layouts: how a key is built, what a key says, and where a project's keys may lie.

A bucket that has lived holds keys of several generations. Each generation is a `Layout`; the `Registry` asks them in order and the first
that explains a key wins. A key that none explains is *unknown*: counted, shown, never deleted.

```
current       projects/{project}/{yyyy}/{mm}/{object_id}.{ext}             made by the server today
hierarchical  projects/{project}/scenes/{scene}/media/{file}
flat          proj_{project}_{scene}_{file}, proj_proj_{project}_{scene}_{file}
content       audio|images|media|videos/proj_{project}/{scene}/{file}
session       images/{session}/{persona}/{timestamp}-{random}.{ext}, images/{persona}/{timestamp}-{random}.{ext}
quarantine    .stocktake/quarantine/{project}/{entry}                      ours: set aside, and still the project's
system        .stocktake/...                                               ours: identity, probes
```

A session key names no project: only its record says whose it is. One made by the server names its object, because its timestamp and its
random part are the two halves of the object's id.

Ids of projects came with and without a leading `proj_`, and one bug doubled it. `proj_proj_1`, `proj_1` and `1` are therefore one
project; `project_stem` is its canonical name. The flat layout has no separator of its own: `proj_a_b_c.mp4` may be project `a`, scene `b`
or project `a_b`. Such a key names *candidates*, and only what the ledger knows of them decides (`Registry.owner`); while two of them
exist, nobody owns it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from stocktake.errors import InvalidKey
from stocktake.ids import id_of_time, time_of_id

MAX_KEY_BYTES = 1024
"""The longest key S3 and R2 take, in UTF-8 bytes; also DynamoDB's longest sort key."""

SYSTEM_PREFIX = ".stocktake/"
"""Keys of our own: not the application's objects, and in no count of them."""
QUARANTINE_PREFIX = f"{SYSTEM_PREFIX}quarantine/"
NOBODY = "-"
"""Holds what is set aside of no project, or of one that cannot be told; no project id begins with it."""
MEDIA_KINDS = ("audio", "images", "media", "videos")

_PROJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.~()$@=+-]{0,99}")
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
_SPELLED_TWICE = frozenset("K;`")
"""The ASCII characters that NFC makes of others: U+212A, U+037E and U+1FEF."""


class ParsedKey(NamedTuple):
    """What a layout reads in a key. A tuple, since a walk makes one of every key.

    `candidates` are stems of the projects it may belong to: none, one, or several where the key is ambiguous.
    """

    layout: str
    candidates: tuple[str, ...] = ()
    scene: str | None = None
    session: str | None = None
    persona: str | None = None
    file_name: str | None = None
    object_id: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """One generation of keys.

    `parse` returns None for a key of another shape. `prefixes` lists every prefix under which keys of the project (by stem) may lie; a key
    under one of them is the project's only if `parse` says so, because a prefix of the flat layout also catches longer ids. `explains` says
    whether `parse` would read the key, at a fifth of the cost; a layout without it is asked by `parse`.
    """

    name: str
    parse: Callable[[str], ParsedKey | None]
    prefixes: Callable[[str], tuple[str, ...]]
    explains: Callable[[str], bool] | None = None


@dataclass(frozen=True, slots=True)
class Prefix:
    """A place to list for a project."""

    layout: str
    prefix: str


def project_stem(project_id: str) -> str:
    """Returns the name shared by all historical spellings of a project: without any leading `proj_`."""
    stem = project_id
    while stem.startswith("proj_"):
        stem = stem[len("proj_") :]
    return stem


def spellings(stem: str) -> tuple[str, ...]:
    """Returns every spelling under which a project of this stem has written keys."""
    return (stem, f"proj_{stem}", f"proj_proj_{stem}")


def check_project_id(project_id: str) -> str:
    """Returns the id unchanged if new keys may hold it.

    Raises:
        InvalidKey: it is empty but for `proj_`, over 100 characters, or holds something else than letters, digits and `_.~()$@=+-`.
    """
    stem = project_stem(project_id)
    # a project named "proj" would own every flat key whose prefix was doubled, and old code never wrote "proj_" more than twice
    named = _PROJECT_ID.fullmatch(project_id) and _PROJECT_ID.fullmatch(stem)
    if not named or stem == "proj" or project_id not in spellings(stem):
        raise InvalidKey(
            f"project id {project_id[:120]!r} cannot be used in keys: use 1 to 100 letters, digits or _.~()$@=+-, beginning with a letter "
            "or digit also after a leading 'proj_', of which there may be two, and not 'proj' alone"
        )
    return project_id


def canonical(key: str) -> str:
    """Returns the spelling that all Unicode spellings of a key share (NFC). R2 takes two keys for one object where this is the same."""
    return unicodedata.normalize("NFC", key)


def is_spelled_otherwise(key: str) -> bool:
    """Says whether a key is in another spelling than the one that all of its spellings share."""
    return not key.isascii() and not unicodedata.is_normalized("NFC", key)


def has_spellings(key: str) -> bool:
    """Says whether a record may lie under another spelling of this key.

    ASCII has other spellings too: of `K` (the Kelvin sign), of the semicolon and of the grave accent. A key of the current layout has none
    all the same, because no project and no object has an id with such a sign in it, and so no record can lie there.
    """
    return not key.isascii() or (not _SPELLED_TWICE.isdisjoint(key) and _CURRENT.fullmatch(key) is None)


def other_spellings(key: str) -> set[str]:
    """Returns the other spellings of a key that systems write: composed (NFC) and decomposed (NFD). There may be more: see `canonical`."""
    return {canonical(key), unicodedata.normalize("NFD", key)} - {key}


def shared_beginning(key: str) -> str:
    """Returns a prefix that every spelling of a key begins with, letter by letter."""
    name = canonical(key)
    return name[: next((at for at, letter in enumerate(name) if not letter.isascii() or letter in _SPELLED_TWICE), len(name))]


def build_current(project_id: str, object_id: str, extension: str, at: int) -> str:
    """Returns the key of a new object: ASCII, made by the server, never reused.

    Args:
        at: milliseconds since the epoch; year and month are UTC.

    Raises:
        InvalidKey: the project id or the extension cannot be part of a key.
    """
    check_project_id(project_id)
    _check_extension(extension)
    month = datetime.fromtimestamp(at / 1000, UTC)
    return f"projects/{project_id}/{month:%Y/%m}/{object_id}.{extension}"


def build_session(session: str | None, persona: str, object_id: str, extension: str) -> str:
    """Returns the key of a new object in the layout by session and persona: ASCII, made by the server, never reused.

    The file name is the object's id in the form this layout has always had: its milliseconds as 13 digits, and its random part.

    Args:
        session: None for an object that belongs to a persona and to no session.
        object_id: a ULID.

    Raises:
        InvalidKey: the session, the persona, the object id or the extension cannot be part of such a key; the message says which.
    """
    if session is not None:
        _check_folder("session", session)
    _check_folder("persona", persona)
    _check_extension(extension)
    at = time_of_id(object_id)
    if at is None or at >= 10**13:
        raise InvalidKey(f"object id {object_id!r} cannot be part of a session key: it is not a ULID of a time of 13 digits")
    folders = persona if session is None else f"{session}/{persona}"
    return f"images/{folders}/{at:013d}-{object_id[-16:]}.{extension}"


def _check_folder(what: str, name: str) -> None:
    # images/proj_x/... is the content layout's, and lies under a prefix of the project x
    if not _PROJECT_ID.fullmatch(name) or name.startswith("proj_"):
        raise InvalidKey(
            f"{what} {name[:120]!r} cannot be used in keys: use 1 to 100 letters, digits or _.~()$@=+-, beginning with a letter or digit, "
            "and not with 'proj_'"
        )


def _check_extension(extension: str) -> None:
    if not _EXTENSION.fullmatch(extension):
        raise InvalidKey(f"extension {extension!r} cannot be part of a key: use 1 to 8 lower-case letters or digits")


_CURRENT = re.compile(r"projects/(?P<project>[^/]+)/[0-9]{4}/[0-9]{2}/(?P<object_id>[0-9A-Za-z]{16,40})\.(?P<extension>[a-z0-9]{1,8})")
_HIERARCHICAL = re.compile(r"projects/(?P<project>[^/]+)/scenes/(?P<scene>[^/]+)/media/(?P<file>[^/]+)")
_FLAT = re.compile(r"proj_(?P<rest>[^/]+)")
_CONTENT = re.compile(rf"(?:{'|'.join(MEDIA_KINDS)})/(?P<project>proj_[^/]+)/(?P<scene>[^/]+)/(?P<file>[^/]+)")
_QUARANTINE = re.compile(r"\.stocktake/quarantine/(?P<project>[^/]+)/[^/]+")
_UNDECIDED = re.compile(r"\.stocktake/quarantine/-/(?P<longest>[^/]+)_/[^/]+")
_SESSION = re.compile(r"images/(?:(?P<session>[^/]+)/)?(?P<persona>[^/]+)/(?P<file>[0-9]{10,16}-[0-9A-Za-z]+\.[0-9A-Za-z]{1,8})")
_SESSION_OBJECT = re.compile(r"(?P<at>[0-9]{13})-(?P<random>[0-9A-HJKMNP-TV-Z]{16})\.[0-9A-Za-z]{1,8}")


@lru_cache(maxsize=1024)  # keys of one project come one after the other
def _named(project: str) -> tuple[str, ...]:
    stem = project_stem(project)
    return (stem,) if stem and project in spellings(stem) else ()


def _parse_current(key: str) -> ParsedKey | None:
    match = _CURRENT.fullmatch(key)
    if match is None or not (candidates := _named(match["project"])):
        return None
    return ParsedKey("current", candidates, object_id=match["object_id"], file_name=f"{match['object_id']}.{match['extension']}")


def _parse_hierarchical(key: str) -> ParsedKey | None:
    match = _HIERARCHICAL.fullmatch(key)
    if match is None or not (candidates := _named(match["project"])):
        return None
    return ParsedKey("hierarchical", candidates, scene=match["scene"], file_name=match["file"])


def _parse_flat(key: str) -> ParsedKey | None:
    match = _FLAT.fullmatch(key)
    if match is None:
        return None
    if match["rest"].startswith("proj_proj_"):
        return None  # no code ever wrote it three times
    parts = project_stem(match["rest"]).split("_")
    # {project}_{scene}_{file}: at least one part each, so the project ends at the latest two parts before the end
    # a scene may be empty: that names a candidate more, and alone explains nothing
    candidates = _beginnings(parts[:-2])
    if not any(parts[n] for n in range(1, len(parts) - 1)) or not candidates:
        return None
    only = len(parts) == 3
    return ParsedKey("flat", candidates, scene=parts[1] if only else None, file_name=parts[-1])


def _beginnings(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(stem for n in range(1, len(parts) + 1) if (stem := "_".join(parts[:n])))


def _parse_content(key: str) -> ParsedKey | None:
    match = _CONTENT.fullmatch(key)
    if match is None or not (candidates := _named(match["project"])):
        return None
    return ParsedKey("content", candidates, scene=match["scene"], file_name=match["file"])


def _parse_session(key: str) -> ParsedKey | None:
    match = _SESSION.fullmatch(key)
    if match is None:
        return None
    ours = _SESSION_OBJECT.fullmatch(match["file"])
    object_id = id_of_time(int(ours["at"]), ours["random"]) if ours else None
    return ParsedKey("session", session=match["session"], persona=match["persona"], file_name=match["file"], object_id=object_id)


def _parse_quarantine(key: str) -> ParsedKey | None:
    if (undecided := _UNDECIDED.fullmatch(key)) is not None:
        return ParsedKey("quarantine", _beginnings(undecided["longest"].split("_")))
    match = _QUARANTINE.fullmatch(key)
    return ParsedKey("quarantine", (match["project"],)) if match else None


def quarantine_folder(candidates: Sequence[str]) -> str:
    """Returns where the copy of an object lies that may be one of these projects' (stems), so that each one's deletion finds it.

    Each candidate but the longest begins that one, up to a `_`, as in a flat key; others lie where no project's deletion looks, as what is
    nobody's does.
    """
    if len(candidates) == 1:
        return f"{QUARANTINE_PREFIX}{candidates[0]}/"
    longest = max(candidates, key=len, default="")
    if candidates and all(f"{longest}_".startswith(f"{stem}_") for stem in candidates):
        return f"{QUARANTINE_PREFIX}{NOBODY}/{longest}_/"
    return f"{QUARANTINE_PREFIX}{NOBODY}/"


def _parse_system(key: str) -> ParsedKey | None:
    return ParsedKey("system") if key.startswith(SYSTEM_PREFIX) else None


def _under_projects(stem: str) -> tuple[str, ...]:
    return tuple(f"projects/{spelling}/" for spelling in spellings(stem))


def _nowhere(stem: str) -> tuple[str, ...]:
    return ()


def _of_project(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    def explains(key: str) -> bool:
        match = pattern.fullmatch(key)
        return match is not None and bool(_named(match["project"]))

    return explains


CURRENT = Layout("current", _parse_current, _under_projects, _of_project(_CURRENT))
HIERARCHICAL = Layout("hierarchical", _parse_hierarchical, _under_projects, _of_project(_HIERARCHICAL))
FLAT = Layout("flat", _parse_flat, lambda stem: (f"proj_{stem}_", f"proj_proj_{stem}_"))
CONTENT = Layout(
    "content",
    _parse_content,
    lambda stem: tuple(f"{kind}/{spelling}/" for kind in MEDIA_KINDS for spelling in spellings(stem)[1:]),
    _of_project(_CONTENT),
)
SESSION = Layout("session", _parse_session, _nowhere, lambda key: _SESSION.fullmatch(key) is not None)
QUARANTINE = Layout(
    "quarantine",
    _parse_quarantine,
    lambda stem: (f"{QUARANTINE_PREFIX}{stem}/", f"{QUARANTINE_PREFIX}{NOBODY}/{stem}_"),
    lambda key: key.startswith(QUARANTINE_PREFIX) and _parse_quarantine(key) is not None,
)
SYSTEM = Layout("system", _parse_system, _nowhere, lambda key: key.startswith(SYSTEM_PREFIX))


def is_made_for(key: str, object_id: str) -> bool:
    """Says whether a key was made by the server for this very object, and so is never used for another."""
    return any((parsed := layout.parse(key)) is not None and parsed.object_id == object_id for layout in (CURRENT, SESSION))


def _reads(layout: Layout) -> Callable[[str], bool]:
    return lambda key: layout.parse(key) is not None


class Registry:
    """The layouts of one bucket, asked in order.

    `extra` layouts come before the historical ones, so that a house with its own pattern can name it first.
    """

    def __init__(self, *extra: Layout) -> None:
        self.layouts = (CURRENT, QUARANTINE, SYSTEM, *extra, HIERARCHICAL, CONTENT, SESSION, FLAT)
        self._askings = tuple((layout.name, layout.explains or _reads(layout)) for layout in self.layouts)

    def parse(self, key: str) -> ParsedKey | None:
        """Says what a key is; None when no layout explains it."""
        for layout in self.layouts:
            if (parsed := layout.parse(key)) is not None:
                return parsed
        return None

    def name_of(self, key: str) -> str | None:
        """Names the layout that `parse` would read the key with, and reads nothing: for what is asked of every key of a bucket."""
        for name, explains in self._askings:
            if explains(key):
                return name
        return None

    def prefixes(self, project_id: str) -> tuple[Prefix, ...]:
        """Returns every place the project's keys may lie; a prefix shared by two layouts is named once, with the first."""
        stem = project_stem(project_id)
        seen: dict[str, Prefix] = {}
        for layout in self.layouts:
            for prefix in layout.prefixes(stem):
                seen.setdefault(prefix, Prefix(layout.name, prefix))
        return tuple(seen.values())

    def owner(self, parsed: ParsedKey, exists: Callable[[str], bool]) -> str | None:
        """Returns the stem of the one project a key belongs to, or None while that is in doubt.

        Args:
            exists: whether the ledger knows a project (of any state) of that stem. Asked only where the key alone does not decide.
        """
        if len(parsed.candidates) <= 1:
            return parsed.candidates[0] if parsed.candidates else None
        known = [stem for stem in parsed.candidates if exists(stem)]
        return known[0] if len(known) == 1 else None
