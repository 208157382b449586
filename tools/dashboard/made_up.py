"""A deployment that was made up: what its API answers, of any size and in any state, held to docs/openapi.json by the tests."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from stocktake.explanations import SENTENCES
from stocktake.model import FindingClass
from stocktake.thumbnails import with_urls
from tools.dashboard.served import ABSENT, Answered, Asked, problem

MARKUP = '<img src=x onerror="document.title=1">'
HOSTILE = (
    f"projects/proj_1/{MARKUP}.png",
    "projects/proj_1/2026/11/\u202egnp.exe\u2066/a\u0007b\u200b\u0301.png",
    f"images/{'ä' * 200}/{'deep/' * 100}end.png",
    "proj_1_</script><script>document.title=1</script>.png",
    " leading and trailing ",
    "javascript:alert(1).png",
)
"""Keys that anyone may have given an object."""

RUN_ID = "01KAHRECNC0000000000000000"
DELETION_ID = "01KAHDELETE000000000000000"
NOTHING = {"objects": 0, "bytes": 0}
_STATES = ("PENDING", "STORED", "INLINE", "EXTERNAL", "MISSING", "QUARANTINED")
CLASSES = ("orphan", "missing", "mismatch", "unstored", "unknown", "duplicate_spelling")
_KINDS = {"orphan": "active", "missing": "gone", "mismatch": "size", "unstored": "uncommitted", "unknown": "no_layout"}
_WITHOUT_OBJECT = ("pending", "inline", "external", "missing")
_ACTIONS = {"mark_missing": "MARK_MISSING", "quarantine": "QUARANTINE", "refresh": "REFRESH", "settle": "SETTLE"}


def tally(objects: int, size: int = 420_000) -> dict[str, int]:
    """Makes a count, `size` bytes an object."""
    return {"objects": objects, "bytes": objects * size}


def rfc(at: datetime) -> str:
    """Writes a time as the API does."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Urls:
    """Signs URLs into the bucket that a `Site` holds."""

    def __init__(self, base: str, pictures: int) -> None:
        self._base = base
        self._pictures = pictures

    def presign_get(self, key: str, *, seconds: int, file_name: str | None = None, inline: bool = False) -> str:
        """Returns one of a few images for any key."""
        return f"{self._base}/bucket/{sum(key.encode()) % self._pictures}"


@dataclass
class House:
    """What is answered, by path. `api` is what a `Site` takes."""

    now: datetime
    analytics: dict[str, Any]
    runs: list[dict[str, Any]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    deletions: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    drills: list[dict[str, Any]] = field(default_factory=list)
    history: dict[str, Any] | None = None
    checks: list[dict[str, Any]] | None = None
    images_at: str = ""
    pictures: int = 3
    """How many the bucket at `images_at` holds, by number."""
    steps: int = 1
    """Answers for which a run or repair goes on once it was asked for."""
    left: dict[str, int] = field(default_factory=dict)
    """The same, of those that are under way."""
    broken: dict[str, Answered] = field(default_factory=dict)
    """What is answered in place of anything else, by the beginning of method and path."""

    def api(self, asked: Asked) -> Answered:
        """Answers a request."""
        for beginning, answer in self.broken.items():
            if asked.key.startswith(beginning):
                return answer
        match asked.method, asked.path.strip("/").split("/"):
            case "GET", ["analytics"]:
                return Answered(200, self.analytics)
            case "GET", ["analytics", "history"]:
                return ABSENT if self.history is None else Answered(200, self.history)
            case "GET", ["diagnostics"]:
                if self.checks is None:
                    return ABSENT
                worst = "failed" if any(check["status"] == "failed" for check in self.checks) else "ok"
                return Answered(200, {"as_of": rfc(self.now), "status": worst, "checks": self.checks})
            case "GET", ["diagnostics", "identity"]:
                return Answered(200, IDENTITY)
            case "GET", ["diagnostics", "conformance"]:
                return Answered(200, {**CONFORMANCE, "probed_at": rfc(self.now - timedelta(days=2))})
            case "GET", ["reconciliations"]:
                return Answered(
                    200, {"reconciliations": [without(run, "changes", "repair", "restoration", "progress") for run in self.runs]}
                )
            case "POST", ["reconciliations"]:
                return self._start((asked.body or {}).get("dry_run", False))
            case "GET", ["reconciliations", run_id]:
                run = self._run(run_id)
                self._step(run)
                return Answered(200, run)
            case "GET", ["reconciliations", _, "findings"]:
                return self._findings(asked.query)
            case "POST", ["reconciliations", run_id, "plan"]:
                return Answered(200, self._plan(run_id, asked.body["plan"]))
            case "POST", ["reconciliations", run_id, "apply"]:
                return self._apply(self._run(run_id))
            case "GET", ["deletions"]:
                return Answered(200, {"deletions": [without(deletion, "receipt") for deletion in self.deletions]})
            case "GET", ["deletions", deletion_id]:
                return Answered(200, self._deletion(deletion_id))
            case "GET", ["deletions", deletion_id, "receipt"]:
                receipt = self._deletion(deletion_id)["receipt"]
                page = b"<!doctype html><title>Receipt</title><h1>Receipt of a deletion</h1>"
                return Answered(200, page, "text/html; charset=utf-8") if asked.query.get("as") == "html" else Answered(200, receipt)
            case "POST", ["deletions", deletion_id, "verify"]:
                return Answered(200, {**VERIFIED, "deletion_id": deletion_id, "checked_at": rfc(self.now)})
            case "GET", ["quarantine"]:
                wanted = asked.query.get("status")
                return Answered(200, {"entries": [entry for entry in self.entries if wanted in (None, entry["status"])], "cursor": None})
            case "POST", ["quarantine", "drill"]:
                return Answered(200, DRILL)
            case "GET", ["quarantine", "drills"]:
                return Answered(200, {"drills": self.drills, "last_passed_at": None, "age_seconds": None})
            case "POST", ["quarantine", entry_id, "restore"]:
                [entry] = [entry for entry in self.entries if entry["entry_id"] == entry_id]
                entry |= {"status": "RESTORED", "restored_at": rfc(self.now)}
                return Answered(200, entry)
            case "DELETE", ["quarantine", entry_id]:
                [entry] = [entry for entry in self.entries if entry["entry_id"] == entry_id]
                entry |= {"status": "PURGED", "purged_at": rfc(self.now)}
                return Answered(200, entry)
            case "DELETE", ["projects", project_id]:
                return Answered(200, {**DRY_RUN, "project_id": project_id})
        return problem(404, "no-such-route", f"there is no {asked.key}")

    def _run(self, run_id: str) -> dict[str, Any]:
        return next(run for run in self.runs if run["run_id"] == run_id)

    def _deletion(self, deletion_id: str) -> dict[str, Any]:
        return next(deletion for deletion in self.deletions if deletion["deletion_id"] == deletion_id)

    def _start(self, is_dry: bool) -> Answered:
        objects = (self.analytics["bucket"] or NOTHING)["objects"]
        if is_dry:
            return Answered(200, {**ESTIMATE, "objects": objects, "records": self.analytics["records"]["objects"]})
        run = {"run_id": f"01KAHRECNC{len(self.runs):016d}", "status": "RUNNING", "started_at": rfc(self.now), "grace_ms": 3_600_000}
        self.runs.insert(0, run)
        return Answered(202, run)

    def _step(self, run: dict[str, Any]) -> None:
        if run["status"] == "RUNNING":
            left = self._left(run)
            objects = max(1, (self.analytics["bucket"] or NOTHING)["objects"])
            done = 1 - left / (self.steps + 1)
            run["progress"] = {"keys": int(objects * done), "keys_per_second": 12_000, "share": done, "seconds_left": left}
            if left <= 0:
                del run["progress"]
                run |= {
                    "status": "COMPLETE",
                    "finished_at": rfc(self.now),
                    "counts": self.runs[1]["counts"],
                    "previous": RUN_ID,
                    "why": None,
                }
                run["changes"] = {"since": RUN_ID, "new": {}, "unchanged": {}, "gone": {}, "repaired": {}}
        repair = run.get("repair", {})
        if repair.get("status") == "RUNNING" and self._left(run) <= 0:
            repair |= {"status": "DONE", "finished_at": rfc(self.now), "done": {"MARK_MISSING": 5}}

    def _left(self, run: Mapping[str, Any]) -> int:
        """Counts down once; begins anew where it was at its end."""
        left = self.left.pop(run["run_id"], self.steps)
        if left > 0:
            self.left[run["run_id"]] = left - 1
        return left

    def _findings(self, query: Mapping[str, str]) -> Answered:
        filters = {name: query[name] for name in ("class", "kind", "project", "layout", "repair") if name in query}
        wanted = [finding for finding in self.findings if all(finding[name] == value for name, value in filters.items())]
        start, limit = int(query.get("cursor", 0)), int(query.get("limit", 100))
        page: Sequence[Mapping[str, Any]] = wanted[start : start + limit]
        if query.get("urls") == "true":
            page = with_urls(page, Urls(self.images_at, self.pictures))  # type: ignore[arg-type]  # all of a store that it asks for
        return Answered(200, {"findings": page, "cursor": str(start + limit) if start + limit < len(wanted) else None})

    def _plan(self, run_id: str, policy: Mapping[str, str]) -> dict[str, Any]:
        counts = self._run(run_id)["counts"]
        lines = []
        for name, action in policy.items():
            count = self._of_kind(*name.split(".")) if name.startswith("unstored.") else counts.get(name, NOTHING)["objects"]
            skipped = {"seen_once": count // 3} if action in ("quarantine", "delete") and count // 3 else {}
            done = count - sum(skipped.values())
            lines.append(
                {
                    "class": name,
                    "action": action,
                    "count": done,
                    "bytes": done * 420_000,
                    "deferred": {"count": 0, "bytes": 0},
                    "skipped": skipped,
                }
            )
        return {
            "plan_id": "01KAHP1AN00000000000000000",
            "run_id": run_id,
            "status": "READY",
            "policy": policy,
            "planned_at": rfc(self.now),
            "expires_at": rfc(self.now + timedelta(hours=1)),
            "allowed": {"actions": 1000, "per_project": 500},
            "actions": lines,
            "first": [],
        }

    def _of_kind(self, name: str, kind: str) -> int:
        """Counts what a plan that names a kind takes of it: of records whose object is gone also those that are acknowledged."""
        taken = ("FOUND", "ACKNOWLEDGED") if kind == "missing" else ("FOUND",)
        return sum((finding["class"], finding["kind"]) == (name, kind) and finding["repair"] in taken for finding in self.findings)

    def _apply(self, run: dict[str, Any]) -> Answered:
        plan = self._plan(run["run_id"], {"missing": "mark_missing"})
        repair = {"status": "RUNNING", "plan": plan["policy"], "started_at": rfc(self.now), "plan_id": plan["plan_id"], "turn": 1}
        run["repair"] = {**repair, "done": {}, "skipped": 0, "reasons": {}, "deferred": 0}
        planned = without(plan, "first")
        return Answered(202, {**run["repair"], "run_id": run["run_id"], "cursor": 0, "planned": planned})


def without(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Returns a document without some of its fields."""
    return {name: value for name, value in document.items() if name not in names}


def analytics(
    now: datetime, *, stored: int, projects: Sequence[tuple[str, int]] = (), findings: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Makes what GET /analytics answers; without findings the bucket was never counted."""
    found = {name: tally((findings or {}).get(name, 0)) for name in CLASSES}
    counts: dict[str, dict[str, int]] = {**dict.fromkeys(_STATES, NOTHING), "STORED": tally(stored)}
    if findings:
        counts |= {"PENDING": tally(findings.get("unstored", 0)), "QUARANTINED": tally(findings.get("orphan", 0) // 4)}
    records = sum(count["objects"] for count in counts.values())
    in_bucket = stored - found["missing"]["objects"] + found["orphan"]["objects"] + found["unknown"]["objects"]
    lines = [
        {"project_id": name, "state": "ACTIVE", "counts": {**dict.fromkeys(_STATES, NOTHING), "STORED": tally(objects)}}
        for name, objects in projects
    ]
    bucket = None
    if findings is not None:
        bucket = {**tally(in_bucket), "run_id": RUN_ID, "counted_at": rfc(now - timedelta(hours=3)), "age_seconds": 10_800}
    return {
        "as_of": rfc(now),
        "records": tally(records),
        "stored": tally(stored),
        "counts": counts,
        "bucket": bucket,
        "drift": None if bucket is None else {"objects": in_bucket - stored, "bytes": (in_bucket - stored) * 420_000},
        "acknowledged": None if bucket is None else NOTHING,
        "findings": None if bucket is None else found,
        "projects": lines,
        "projects_in_all": len(lines),
        **{name: [{"name": "none", **tally(stored)}] if stored else [] for name in ("by_layout", "by_type", "by_provider", "by_purpose")},
        "unattributed": NOTHING,
        "explanation": f"The ledger has {records:,} records: {stored:,} with a stored object.",
        "recounted_at": rfc(now - timedelta(hours=9)),
        "recount": {
            "recount_id": f"daily-{now:%Y-%m-%d}",
            "rows": 16 * len(lines),
            "drifted_rows": 0,
            "repaired": 0,
            "busy": 0,
            "attributed": 0,
        },
    }


def a_day(at: datetime, stored: int, *, records: int, in_bucket: int) -> dict[str, Any]:
    """Makes a day of the history."""
    counted = {**tally(in_bucket), "run_id": RUN_ID, "counted_at": rfc(at)}
    counts = {**dict.fromkeys(_STATES, NOTHING), "STORED": tally(stored), "PENDING": tally(records - stored)}
    return {
        "day": f"{at:%Y-%m-%d}",
        "at": rfc(at),
        "records": tally(records),
        "stored": tally(stored),
        "counts": counts,
        "bucket": counted,
        "drift": {"objects": in_bucket - stored, "bytes": 0},
        "acknowledged": NOTHING,
        **{
            name: tally(number)
            for number, name in enumerate(("unknown", "mismatch", "missing", "unstored", "orphan", "duplicate_spelling"))
        },
    }


def a_run(now: datetime, run_id: str, counts: Mapping[str, int], *, objects: int = 1000, previous: str | None = RUN_ID) -> dict[str, Any]:
    """Makes a complete run, without its changes."""
    found = {name: tally(count) for name, count in counts.items() if count}
    return {
        "run_id": run_id,
        "status": "COMPLETE",
        "started_at": rfc(now - timedelta(minutes=2)),
        "finished_at": rfc(now),
        "grace_ms": 3_600_000,
        "ranges": 1,
        "previous": previous,
        "why": None,
        "counts": {
            "bucket": tally(objects),
            "matched": tally(objects - sum(counts.values())),
            "layout": {"current": tally(objects)},
            **found,
        },
    }


def a_finding(
    now: datetime, name: str, key: str, *, kind: str | None = None, project: str | None = "sunset", layout: str | None = "current"
) -> dict[str, Any]:
    """Makes a finding, with what is really said of its kind; of one kind of its class, unless told which."""
    kind = kind or _KINDS[name]
    said = SENTENCES[FindingClass(name), kind]
    seen_at = rfc(now - timedelta(days=2, minutes=sum(key.encode()) % 4000))
    etag = "93b885adfe0da089cdf634904fd59f71"
    record = {
        "object_id": "01KAHXPLEN0000000000000000",
        "state": "STORED",
        "bytes": 418_000,
        "etag": etag,
        "version": 2,
        "updated_at": seen_at,
    }
    return {
        "key": key,
        "class": name,
        "kind": kind,
        "layout": layout,
        "project": project,
        "bytes": 420_000,
        "object": None if name == "missing" or kind in _WITHOUT_OBJECT else {"bytes": 420_000, "etag": etag, "last_modified": seen_at},
        "record": None if name in ("orphan", "unknown") else record,
        "meaning": said.meaning,
        "likely_cause": said.likely_cause,
        "recommended": said.recommended,
        "first_seen_at": seen_at,
        "sightings": 2,
        "repair": "FOUND",
    }


def empty(now: datetime) -> House:
    """A deployment that nothing was stored in yet."""
    return House(now, analytics(now, stored=0))


_PLACES = (
    "harbour",
    "orchard",
    "old town",
    "lighthouse",
    "market",
    "meadow",
    "station",
    "canal",
    "rooftop",
    "greenhouse",
    "pier",
    "library",
)
_PROJECTS = (
    "sunset",
    "atlas-editorial",
    "winter-campaign",
    "moodboards",
    "storyboard-07",
    "catalogue-2026",
    "avatars",
    "field-notes",
    "posters",
)


def lived_in(now: datetime | None = None, *, images_at: str = "") -> House:
    """A deployment as one meets it: some thousand objects, and a dozen things to look at."""
    now = now or datetime.now(UTC)
    dice = random.Random(7)
    sizes = (3911, 2840, 1967, 1203, 884, 641, 402, 288, 145)
    found = {"missing": 5, "orphan": 9, "mismatch": 2, "unstored": 3, "unknown": 1}
    house = House(
        now, analytics(now, stored=sum(sizes), projects=list(zip(_PROJECTS, sizes, strict=True)), findings=found), images_at=images_at
    )
    stored = sum(sizes)
    house.analytics |= {
        "by_layout": cut(stored, ("current", 78), ("hierarchical", 11), ("session", 7), ("flat", 3), ("content", 1)),
        "by_type": cut(stored, ("image/png", 46), ("image/webp", 31), ("image/jpeg", 17), ("image/avif", 4), ("video/mp4", 2)),
        "by_provider": cut(stored, ("imagen", 52), ("flux", 27), ("none", 14), ("firefly", 7)),
        "by_purpose": cut(stored, ("generation", 66), ("reference", 21), ("upload", 13)),
    }
    house.analytics["explanation"] = (
        f"{house.analytics['records']['objects']:,} records say of {stored:,} objects that they are stored: "
        "the others are 3 uploads under way and 2 objects set aside. The bucket holds 5 more: 10 without a record, less 5 that are gone."
    )
    house.runs = [a_run(now - timedelta(hours=3), RUN_ID, found, objects=stored + 5)]
    house.runs[0]["changes"] = {
        "since": "01KAHRECNC0000000000000009",
        "new": {"orphan": 3, "missing": 1},
        "unchanged": {"orphan": 6},
        "gone": {"orphan": 4},
        "repaired": {},
    }
    trend = [(14, 2), (11, 2), (12, 0), (9, 1), (13, 1), (7, 0), (8, 4), (4, 3), (6, 1), (10, 0), (16, 2), (12, 4)]
    for number, (orphans, missing) in enumerate(trend):
        at = now - timedelta(hours=27 + 24 * number)
        counts = {"orphan": orphans, "missing": missing, "mismatch": dice.randrange(3), "unstored": dice.randrange(5)}
        house.runs.append(a_run(at, f"01KAHRECNC{number + 9:016d}", counts, objects=stored - 90 * number))
    house.findings = [finding for name, count in found.items() for finding in some_findings(now, name, count)]
    days = [now - timedelta(days=back) for back in range(60, 0, -1)]
    house.history = {"days": [], "runs": [], "more_runs": False}
    for number, day in enumerate(days):
        grown = int(stored * (0.52 + 0.48 * (number / 59) ** 1.25)) + dice.randrange(40)
        records, in_bucket = grown + 20 + dice.randrange(30), grown + dice.randrange(-6, 18)
        house.history["days"].append(a_day(day, grown, records=records, in_bucket=in_bucket))
    house.deletions = [
        a_deletion(now - timedelta(minutes=9), "summer-archive", "REMOVING", deletion_id="01KAHDELETE000000000000001"),
        a_deletion(now - timedelta(days=4), "pilot-client", "DELETED", objects=1284),
        a_deletion(now - timedelta(days=19), "spring-tests", "DELETED", deletion_id="01KAHDELETE000000000000002", objects=96),
    ]
    house.entries = [an_entry(now - timedelta(days=number + 1), key) for number, key in enumerate(names("quarantined", 2))]
    house.drills = [{**DRILL, "started_at": rfc(now - timedelta(days=3)), "finished_at": rfc(now - timedelta(days=3))}]
    house.checks = [
        {
            "name": "credentials",
            "status": "ok",
            "says": "The bucket's credentials are valid, and are the stack's own role.",
            "do": None,
            "detail": {},
        },
        {"name": "bucket", "status": "ok", "says": "stocktake-data answers from eu-north-1 in 41 ms.", "do": None, "detail": {}},
        {"name": "identity", "status": "ok", "says": "The bucket is the one that the ledger describes", "do": None, "detail": {}},
        {"name": "conformance", "status": "ok", "says": "The store can do all", "do": None, "detail": {}},
        {"name": "permission-list", "status": "ok", "says": "List, put, head, get and delete are allowed.", "do": None, "detail": {}},
        {"name": "clock", "status": "ok", "says": "The store's clock is 0.2 s ahead of ours.", "do": None, "detail": {}},
        {
            "name": "dead-letters",
            "status": "ok",
            "says": "Nothing waits in 4 queues of dead letters",
            "do": None,
            "detail": {"queues": {"deletion": 0, "deletion-batch": 0, "migration": 0, "object-events": 0}},
        },
        {
            "name": "cors",
            "status": "warning",
            "says": "The bucket has no CORS rule.",
            "do": "Set UploadOrigins if browsers upload.",
            "detail": {},
        },
        {"name": "public-url", "status": "skipped", "says": "No public URL is set: URLs are signed.", "do": None, "detail": {}},
    ]
    return house


def huge(now: datetime) -> House:
    """A deployment of a million records and ten thousand findings, of keys that nobody would wish for."""
    projects = [(f"project-{number:04d}-{'x' * (number % 60)}", 2000 - number) for number in range(1000)]
    found = {"orphan": 6000, "missing": 3000, "mismatch": 600, "unstored": 300, "unknown": 100}
    house = House(now, analytics(now, stored=1_000_000, projects=projects, findings=found))
    house.analytics |= {name: cut(1_000_000, *((f"{name}-{number}", 1) for number in range(100))) for name in ("by_type", "by_provider")}
    house.analytics["projects_in_all"] = 24_310
    house.runs = [a_run(now - timedelta(hours=number), f"01KAHRECNC{number:016d}", found, objects=1_003_100) for number in range(30)]
    house.runs[0]["run_id"] = RUN_ID
    house.findings = [a_finding(now, "orphan", key) for key in HOSTILE] + [
        finding for name, count in found.items() for finding in some_findings(now, name, count)
    ]
    days = [now - timedelta(days=back) for back in range(90, 0, -1)]
    house.history = {"days": [a_day(day, 10**6, records=10**6, in_bucket=10**6) for day in days], "runs": [], "more_runs": False}
    house.deletions = [a_deletion(now, f"old-{number}", "DELETED", deletion_id=f"01KAHDELETE{number:015d}") for number in range(50)]
    return house


def some_findings(now: datetime, name: str, count: int) -> Iterator[dict[str, Any]]:
    """Yields findings of a class, under keys as applications make them."""
    for number, key in enumerate(names(name, count)):
        if name == "unknown":
            yield a_finding(now, name, f"exports/{key}.tar", project=None, layout=None)
        elif number % 4 == 3:
            yield a_finding(now, name, f"projects/proj_avatars/scenes/s{number}/media/{key}.webp", project="avatars", layout="hierarchical")
        else:
            yield a_finding(now, name, f"projects/proj_sunset/2026/11/{key}.png")


def names(seed: str, count: int) -> Iterator[str]:
    """Yields file names, the same at every run."""
    dice = random.Random(seed)
    for number in range(count):
        yield f"{dice.choice(_PLACES).replace(' ', '-')}-{dice.randrange(16**6):06x}{number:04d}"


def cut(objects: int, *shares: tuple[str, int]) -> list[dict[str, Any]]:
    """Makes counts by name of percentages."""
    return [{"name": name, **tally(objects * share // 100)} for name, share in shares]


def a_deletion(at: datetime, project: str, status: str, *, deletion_id: str = DELETION_ID, objects: int = 12) -> dict[str, Any]:
    """Makes a deletion, with its receipt where it has ended."""
    made = {
        "deletion_id": deletion_id,
        "status": status,
        "project_id": project,
        "epoch": 2,
        "reason": "the customer asked for it",
        "requested_at": rfc(at),
        "sweep_at": rfc(at + timedelta(hours=2)),
        "erases_at": None,
        "round": 1,
        "mode": "both",
        "batches": {"planned": 14, "done": 9 if status == "REMOVING" else 14},
    }
    if status == "REMOVING":
        return made
    receipt = {
        **{name: made[name] for name in ("deletion_id", "project_id", "epoch", "status", "mode", "reason", "requested_at")},
        **tally(objects),
        "by_layout": {"current": tally(objects)},
        "by_source": {"both": tally(objects)},
        "requested_by": None,
        "replay_of": None,
        "finished_at": rfc(at + timedelta(hours=2)),
        "rounds": 1,
        "set_aside": None,
        "records": objects,
        "inline": NOTHING,
        "versions": 0,
        "multipart_uploads_aborted": 0,
        "batches": 14,
        "listings": [{"layout": "current", "prefix": f"projects/{project}/", "objects": 0}],
        "retries": 0,
        "refused_objects": 0,
        "refused": [],
        "removed_keys_sha256": {"all": "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a", "rounds": {}},
        "remaining_objects": 0,
        "remaining": [],
        "suspect_objects": 0,
        "suspects": [],
        "cdn": {"provider": "none", "purged": 0, "failed": 0, "failures": []},
    }
    return {**made, "receipt": receipt}


def an_entry(at: datetime, key: str) -> dict[str, Any]:
    """Makes a quarantine entry that is held."""
    return {
        "entry_id": f"{RUN_ID}-{key}",
        "status": "HELD",
        "key": f"projects/proj_sunset/2026/11/{key}.png",
        "quarantine_key": f".stocktake/quarantine/sunset/{RUN_ID}-{key}",
        "project_id": "proj_sunset",
        "epoch": 1,
        "size": 420_000,
        "etag": "93b885adfe0da089cdf634904fd59f71",
        "content_type": "image/png",
        "why": "The bucket holds an object of a live project that the ledger does not know.",
        "run_id": RUN_ID,
        "set_aside_at": rfc(at),
        "expires_at": rfc(at + timedelta(days=30)),
    }


IDENTITY = {
    "status": "ok",
    "why": None,
    "bucket": "stocktake-data",
    "configured_region": "eu-north-1",
    "region": "eu-north-1",
    "bucket_id": RUN_ID,
    "known_bucket_id": RUN_ID,
    "clock_skew_ms": 180,
}
CONFORMANCE = {
    "store": "AWS S3 stocktake-data",
    "probe_version": 2,
    "noted": [],
    "lines": [
        {
            "name": "ordered_listing",
            "holds": True,
            "says": "Listings are complete, in the order of UTF-8 bytes.",
            "chooses": "Listings are merged with the ledger as they come.",
        }
    ],
}
_REQUESTS = dict.fromkeys(("list", "get", "put", "query", "read", "write", "transaction"), 12)
ESTIMATE = {
    "requests": _REQUESTS,
    "ledger_units": {"read": 140, "write": 20},
    "walking_seconds": 3.1,
    "usd": 0.0031,
    "by_run": RUN_ID,
    "at_least": False,
    "ranges": 1,
    "seconds": 12,
}
VERIFIED = {"status": "DELETED", "complete": True, "remaining": NOTHING, "keys": [], "suspect_objects": 0, "suspects": []}
DRY_RUN: dict[str, Any] = {
    **tally(12),
    "by_layout": {"current": tally(12)},
    "by_source": {"both": tally(12)},
    "dry_run": True,
    "undo_seconds": 0,
    "complete": True,
    "keys": [],
    "suspect_objects": 0,
    "suspects": [],
    "cursor": None,
}
DRILL: dict[str, Any] = {
    "drill_id": f"drill-{RUN_ID}",
    "status": "PASSED",
    "started_at": "2026-11-21T05:30:00.000Z",
    "differences": [],
    "why": None,
}
