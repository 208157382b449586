"""What the deployment tells CloudWatch of itself: lines of the log in CloudWatch's embedded metric format, which cost no call.

The names of metrics are here and nowhere else: dashboard, alarms and README are held to `METRICS`. Every metric has the dimension
`service`, which is the stack's name; one that is told `by` something is told in all and by that, since CloudWatch asks money for every
value a dimension has. So these have few values, and ids are fields of the line beside the metrics, where Logs Insights finds them.

A message that is delivered twice may be counted twice. What has to be exact is in the ledger. What cannot be told is logged: no request and
no message fails for a metric.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal

from aws_lambda_powertools.metrics.metrics import EphemeralMetrics

NAMESPACE = "Stocktake"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: what it means, and what it is told by besides."""

    name: str
    unit: Literal["Count", "Bytes", "Seconds", "None"]
    means: str
    by: str | None = None


UPLOADS = Metric("Uploads", "Count", "objects stored by the API")
UPLOADED_BYTES = Metric("UploadedBytes", "Bytes", "their bytes")
REFUSALS = Metric("Refusals", "Count", "requests, and items of batches, that were refused (4xx)", by="problem")
FAILURES = Metric("Failures", "Count", "requests, and items of batches, that failed on our side (5xx)", by="problem")
EVENTS = Metric("Events", "Count", "keys that events of the bucket told of, by what became of each", by="outcome")
EVENTS_CARRIED = Metric("EventsCarried", "Count", "messages carried over from R2's queue or its Worker")
REDELIVERIES = Metric("Redeliveries", "Count", "messages of our queues that came again, because they failed before or took too long")
DELETIONS_REQUESTED = Metric("DeletionsRequested", "Count", "deletions of projects that were asked for")
DELETIONS = Metric("Deletions", "Count", "deletions of projects that ended, by how", by="status")
DELETION_SECONDS = Metric(
    "DeletionSeconds", "Seconds", "from the request of a deletion to its end, the wait for open URLs included", by="status"
)
REMOVED_OBJECTS = Metric("RemovedObjects", "Count", "objects removed by deletions, of projects or of single objects")
REMOVED_BYTES = Metric("RemovedBytes", "Bytes", "their bytes")
KEYS_REFUSED = Metric("KeysRefused", "Count", "keys that the store refused to remove, at one attempt")
RUNS = Metric("Runs", "Count", "reconciliations that ended, by how", by="status")
RUN_SECONDS = Metric("RunSeconds", "Seconds", "how long a complete reconciliation took")
RUN_COST = Metric("RunCost", "None", "what it cost, in USD")
FINDINGS = Metric("Findings", "Count", "what it found, by class", by="class")
BUCKET_DRIFT = Metric("BucketDrift", "Count", "objects in the bucket less records stored, as it saw both")
REPAIRED = Metric("Repaired", "Count", "findings that a repair acted on, by the action", by="action")
PURGED = Metric("Purged", "Count", "quarantine entries removed for good")
DRILLS = Metric("Drills", "Count", "drills of the quarantine, by how they ended", by="status")
MIGRATIONS = Metric("Migrations", "Count", "migrations that ended, by how", by="status")
RECORDS = Metric("Records", "Count", "records in the ledger, once a day and after a complete reconciliation", by="state")
STORED_BYTES = Metric("StoredBytes", "Bytes", "bytes of the stored ones, as often")
COUNT_DRIFT = Metric("CountDrift", "Count", "count rows that a recount found to differ from the records, and did not repair")
COUNTS_REPAIRED = Metric("CountsRepaired", "Count", "count rows that it repaired")
COUNTS_BUSY = Metric("CountsBusy", "Count", "count rows that were written at each of its looks, and of which it says nothing")
RECOUNT_SECONDS = Metric("RecountSeconds", "Seconds", "how long it took")

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


def _never_fails[**P](told: Callable[P, None]) -> Callable[P, None]:
    """Returns what tells the same, and logs what goes wrong on the way: also in the arithmetic, over documents of any version."""

    @wraps(told)
    def guarded(*arguments: P.args, **named: P.kwargs) -> None:
        try:
            told(*arguments, **named)
        except Exception:
            _log.exception("a metric was not told: %s", told.__name__)

    return guarded


@_never_fails
def tell(values: Mapping[Metric, float], *, of: str | None = None, **fields: str) -> None:
    """Writes one line of metrics.

    Args:
        values: by metric; all of them told by the same, or by nothing.
        of: the value of what they are told by.
        fields: that the line has besides, for Logs Insights.
    """
    line = EphemeralMetrics(namespace=NAMESPACE)
    for metric, value in values.items():
        line.add_metric(metric.name, metric.unit, value)
    (by,) = {metric.by for metric in values}
    if by is not None and of is not None:
        line.add_dimensions(**({"service": line.service} if line.service else {}), **{by: of})
    for name, field in fields.items():
        line.add_metadata(name, field)
    line.flush_metrics()


def uploaded(size: int) -> None:
    """Tells of an object that was stored."""
    tell({UPLOADS: 1, UPLOADED_BYTES: size})


def answered_with(problem: str, status: int) -> None:
    """Tells of a request, or an item of a batch, that was answered with a problem."""
    tell({FAILURES if status >= 500 else REFUSALS: 1}, of=problem)


@_never_fails
def settled(outcomes: Iterable[str]) -> None:
    """Tells what became of the keys of some events."""
    for outcome, number in sorted(Counter(outcomes).items()):
        tell({EVENTS: number}, of=outcome)


def carried(messages: int) -> None:
    """Tells how many messages were carried into our queue."""
    tell({EVENTS_CARRIED: messages})


@_never_fails
def delivered(event: Mapping[str, Any]) -> None:
    """Tells how many messages of a queue's batch were delivered before, where any were."""
    receives = (record.get("attributes", {}).get("ApproximateReceiveCount", "1") for record in event.get("Records", ()))
    again = sum(count != "1" for count in receives)
    if again:
        tell({REDELIVERIES: again})


def deletion_requested(deletion_id: str) -> None:
    """Tells that a project's deletion was asked for."""
    tell({DELETIONS_REQUESTED: 1}, deletion_id=deletion_id)


@_never_fails
def deletion_ended(deletion_id: str, status: str, milliseconds: int) -> None:
    """Tells that a project's deletion ended: deleted, incomplete or undone."""
    tell({DELETIONS: 1, DELETION_SECONDS: milliseconds / 1000}, of=status, deletion_id=deletion_id)


def removed(objects: int, size: int, *, refused: int = 0, **ids: str) -> None:
    """Tells what a deletion removed, and how many keys it could not."""
    tell({REMOVED_OBJECTS: objects, REMOVED_BYTES: size, KEYS_REFUSED: refused}, **ids)


@_never_fails
def run_ended(run_id: str, status: str, document: Mapping[str, Any]) -> None:
    """Tells that a reconciliation ended; of a complete one how long it took, what it cost and what it found."""
    tell({RUNS: 1}, of=status, run_id=run_id)
    if status != "COMPLETE":
        return
    counts: Mapping[str, Any] = document["counts"]
    drift = _objects(counts, "bucket") - _objects(counts.get("ledger", {}), "stored")
    values = {RUN_SECONDS: (document["finished_at"] - document["started_at"]) / 1000, BUCKET_DRIFT: drift}
    usd = document["cost"].get("counted", {}).get("usd")
    tell({**values, RUN_COST: usd} if usd is not None else values, run_id=run_id)
    for name in ("orphan", "missing", "mismatch", "unstored", "unknown", "duplicate_spelling"):
        tell({FINDINGS: _objects(counts, name)}, of=name, run_id=run_id)


@_never_fails
def repaired(run_id: str, done: Mapping[str, int]) -> None:
    """Tells what a repair did, by action."""
    for action, number in sorted(done.items()):
        tell({REPAIRED: number}, of=action, run_id=run_id)


def purged(entries: int) -> None:
    """Tells how many quarantine entries were removed for good."""
    tell({PURGED: entries})


def drilled(status: str) -> None:
    """Tells how a drill of the quarantine ended."""
    tell({DRILLS: 1}, of=status)


def migration_ended(migration_id: str, status: str) -> None:
    """Tells that a migration ended."""
    tell({MIGRATIONS: 1}, of=status, migration_id=migration_id)


@_never_fails
def counted(figures: Mapping[str, Any]) -> None:
    """Tells what the ledger counts: the figures of a day."""
    for state, tally in figures["counts"].items():
        tell({RECORDS: tally["objects"]}, of=state)
    tell({STORED_BYTES: figures["stored"]["bytes"]})


@_never_fails
def recounted(recount_id: str, document: Mapping[str, Any]) -> None:
    """Tells what a recount came to."""
    totals = document["totals"]
    values = {COUNT_DRIFT: totals["drifted_rows"] - totals["repaired"], COUNTS_REPAIRED: totals["repaired"], COUNTS_BUSY: totals["busy"]}
    tell({**values, RECOUNT_SECONDS: (document["finished_at"] - document["started_at"]) / 1000}, recount_id=recount_id)


def _objects(counts: Mapping[str, Any], name: str) -> int:
    objects: int = counts.get(name, {}).get("objects", 0)
    return objects
