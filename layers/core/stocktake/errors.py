"""Everything Stocktake raises, and the HTTP status and problem type each becomes at the edge.

```
StocktakeError                        500 internal
├── InvalidRequest                    400 invalid-request
│   ├── UnsupportedType               415 unsupported-type
│   ├── TooLarge                      413 too-large
│   ├── InvalidKey                    400 invalid-key
│   ├── RangeNotSatisfiable           416 range-not-satisfiable
│   ├── IdempotencyMismatch           422 idempotency-mismatch  another body under a key that was used before
│   ├── ImportRefused                 400 import-refused        a URL that is not fetched, or did not give what was asked
│   └── InventoryUnusable             400 inventory-unusable    of another bucket, too old, damaged, or in a format that is not read
├── Unauthenticated                   401 unauthenticated      no token, or one that is not good
├── Forbidden                         403 forbidden            the token is good and does not allow it
├── KeysUnavailable                   503 keys-unavailable     the issuer's keys cannot be had, so no token can be verified
├── BadSignature                      401 bad-signature        a posted event is not signed, or not by our Worker
├── NotFound                          404 not-found
│   ├── NoSuchRoute                   404 no-such-route
│   ├── ProjectNotFound               404 project-not-found
│   ├── ObjectNotFound                404 object-not-found
│   ├── UploadNotFound                404 upload-not-found
│   ├── GenerationNotFound            404 generation-not-found
│   ├── OperationNotFound             404 operation-not-found
│   └── ObjectDeleted                 410 object-deleted       there was such an object, and its deletion is proved
├── ObjectUnavailable                 409 object-unavailable   the record is there, its bytes are not served
│   ├── ObjectPending                 409 object-pending
│   ├── ObjectMissing                 409 object-missing
│   ├── ObjectQuarantined             409 object-quarantined
│   └── ObjectExternal                409 object-external      its bytes lie at a foreign URL, which alone gives them
├── Conflict                          409 conflict
│   ├── ProjectExists                 409 project-exists
│   ├── ProjectClosed                 409 project-closed       deleting or deleted, or of an older epoch
│   ├── RecordChanged                 409 record-changed       a compare-and-set lost; read again
│   ├── ObjectExists                  409 object-exists        a conditional put met another object
│   ├── ObjectChanged                 409 object-changed       the object's ETag is not the one that was seen
│   ├── UploadIncomplete              409 upload-incomplete    bytes or parts that were announced are not there yet
│   ├── OutputExists                  409 output-exists        a generation has other bytes under that number
│   ├── RunInProgress                 409 run-in-progress      one reconciliation or repair at a time, and another one is alive
│   ├── LeaseLost                     409 lease-lost           a step of a run that was stopped, or that another one replaced
│   ├── PreconditionFailed            412 precondition-failed  If-Match or If-Unmodified-Since do not hold
│   └── IdempotencyInProgress         409 idempotency-in-progress  the first request with that key is still being answered
├── Refused                           409 refused              an action stopped by a safety rule
│   ├── BreakerOpen                   409 breaker-open
│   ├── RunIncomplete                 409 run-incomplete
│   ├── LedgerRestored                409 ledger-restored      the tables are older than the newest erasure
│   ├── QuotaExceeded                 409 quota-exceeded
│   ├── StorageDisabled               409 storage-disabled     EnableStorage is off: nothing goes into the bucket
│   └── ImportDisabled                403 import-disabled
├── StorageError                      502 storage-error        the bucket answered, but not as asked
│   ├── StorageDenied                 502 storage-denied
│   ├── BucketNotFound                502 bucket-not-found
│   ├── WrongRegion                   502 wrong-region
│   ├── StorageUnavailable            503 storage-unavailable  no answer, throttled or 5xx: try again
│   ├── ListingIncomplete             502 listing-incomplete   a page is cut short, contradicts itself or leads nowhere
│   ├── ListingOutOfOrder             502 listing-out-of-order
│   ├── ListingTooLarge               502 listing-too-large    the disk cannot hold the sort of a listing that is out of order
│   └── ConfirmationFailed            502 confirmation-failed  size or checksum differ from what was sent
├── LedgerError                       503 ledger-error
├── MessagingError                    503 messaging-error      a queue, the bus, the state machine or the reports did not take or give it
├── SealingError                      503 sealing-error        sealed metadata cannot be written or opened
└── ConfigurationError                500 configuration
```

Where the same request may succeed a little later, `retry_after` says after how many seconds.

`str(error)` is one sentence for the caller that says what happened and what to do; it never holds a secret.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self


class StocktakeError(Exception):
    """The root: catching it catches everything Stocktake raises on purpose."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal"
    retry_after: ClassVar[int | None] = None


class InvalidRequest(StocktakeError):
    """The caller sent something that cannot be accepted as it is."""

    status = 400
    type = "invalid-request"


class UnsupportedType(InvalidRequest):
    """The bytes are not of a type on the allow-list, or not of the type the caller names."""

    status = 415
    type = "unsupported-type"


class TooLarge(InvalidRequest):
    """The body is over the limit of the way it came in."""

    status = 413
    type = "too-large"


class InvalidKey(InvalidRequest):
    """A name would make a key no store can be trusted with."""

    type = "invalid-key"


class RangeNotSatisfiable(InvalidRequest):
    """The object, of `size` bytes, has none in the range asked for."""

    status = 416
    type = "range-not-satisfiable"

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class IdempotencyMismatch(InvalidRequest):
    """The Idempotency-Key was used before with another body."""

    status = 422
    type = "idempotency-mismatch"


class ImportRefused(InvalidRequest):
    """The URL is none that may be fetched, or what it gave cannot be taken."""

    type = "import-refused"


class InventoryUnusable(InvalidRequest):
    """The inventory cannot stand in for a listing: of another bucket, too old, damaged, or in a format that is not read."""

    type = "inventory-unusable"


class Unauthenticated(StocktakeError):
    """The request has no token (`is_without`), or one that is not good."""

    status = 401
    type = "unauthenticated"

    def __init__(self, message: str, *, is_without: bool = False) -> None:
        super().__init__(message)
        self.is_without = is_without


class Forbidden(StocktakeError):
    """The token is good and does not allow the request; `scope` is the one it lacks, if that is why."""

    status = 403
    type = "forbidden"

    def __init__(self, message: str, *, scope: str | None = None) -> None:
        super().__init__(message)
        self.scope = scope


class KeysUnavailable(StocktakeError):
    """The keys of the token issuer are not known and could not be fetched."""

    status = 503
    type = "keys-unavailable"
    retry_after = 5


class BadSignature(StocktakeError):
    """The request bears no signature, or none of a secret we share."""

    status = 401
    type = "bad-signature"


class NotFound(StocktakeError):
    """Nothing is recorded under that id. What belongs to another project is answered in the same words, which is why they are here."""

    status = 404
    type = "not-found"


class NoSuchRoute(NotFound):
    """No route of the API has that method and path."""

    type = "no-such-route"

    @classmethod
    def of(cls) -> Self:
        """Makes it for any path."""
        return cls("there is nothing at this path: GET /docs lists the paths")


class ProjectNotFound(NotFound):
    """No project has that id."""

    type = "project-not-found"

    @classmethod
    def of(cls, project_id: str) -> Self:
        """Makes it for a project that was never opened."""
        return cls(f"there is no project {project_id!r}: create it first")


class ObjectNotFound(NotFound):
    """No record has that object id."""

    type = "object-not-found"

    @classmethod
    def of(cls, object_id: str) -> Self:
        """Makes it for an object without record."""
        return cls(f"there is no object {object_id!r}: it was never stored, or it has been deleted")


class UploadNotFound(NotFound):
    """No presigned upload has that id."""

    type = "upload-not-found"

    @classmethod
    def of(cls, upload_id: str) -> Self:
        """Makes it for an upload without record."""
        return cls(f"there is no upload {upload_id!r}: it was never begun, was aborted, or ended without bytes; begin anew")


class GenerationNotFound(NotFound):
    """No generation job has that id."""

    type = "generation-not-found"

    @classmethod
    def of(cls, generation_id: str, where: str = "") -> Self:
        """Makes it for a job without row; `where` narrows it to a project."""
        return cls(f"there is no generation {generation_id!r}{where}: use the generation_id that creating it answered with")


class OperationNotFound(NotFound):
    """No deletion, reconciliation or quarantine entry has that id."""

    type = "operation-not-found"

    @classmethod
    def of_deletion(cls, deletion_id: str) -> Self:
        """Makes it for a deletion without row."""
        return cls(f"there is no deletion {deletion_id!r}: use the deletion_id that DELETE /projects/{{project_id}} answered with")


class ObjectDeleted(NotFound):
    """There was such an object; it was deleted by request, and the deletion is proved."""

    status = 410
    type = "object-deleted"


class ObjectUnavailable(StocktakeError):
    """The record exists, but its bytes are pending, missing or quarantined."""

    status = 409
    type = "object-unavailable"


class ObjectPending(ObjectUnavailable):
    """The bytes were announced and have not been confirmed yet."""

    type = "object-pending"
    retry_after = 60


class ObjectMissing(ObjectUnavailable):
    """The bucket was asked and has nothing under the record's key."""

    type = "object-missing"


class ObjectQuarantined(ObjectUnavailable):
    """A reconciliation set the bytes aside; they can be restored."""

    type = "object-quarantined"


class ObjectExternal(ObjectUnavailable):
    """The bytes lie at a foreign URL, and have not been migrated into the bucket."""

    type = "object-external"


class Conflict(StocktakeError):
    """What is there now does not allow what was asked."""

    status = 409
    type = "conflict"


class ProjectExists(Conflict):
    """A project of that id, in any historical spelling, is already open."""

    type = "project-exists"


class ProjectClosed(Conflict):
    """The project is being deleted or is deleted, or the write belongs to an older epoch."""

    type = "project-closed"


class RecordChanged(Conflict):
    """The record is no longer the one that was read: read it again and decide anew."""

    type = "record-changed"
    retry_after = 1


class ObjectExists(Conflict):
    """A conditional put found another object under the key."""

    type = "object-exists"


class ObjectChanged(Conflict):
    """The object under the key is no longer the one that was seen."""

    type = "object-changed"


class UploadIncomplete(Conflict):
    """Bytes or parts that were announced are not in the bucket yet, or still being verified."""

    type = "upload-incomplete"
    retry_after = 5


class OutputExists(Conflict):
    """A generation job has other bytes under that output number."""

    type = "output-exists"


class RunInProgress(Conflict):
    """Another run or repair is alive; `run_id` is its id, and it is at work to `compare` or to `apply`."""

    type = "run-in-progress"

    def __init__(self, message: str, *, run_id: str, work: Literal["compare", "apply"] = "compare") -> None:
        super().__init__(message)
        self.run_id = run_id
        self.work = work


class LeaseLost(Conflict):
    """The step belongs to a run that was stopped, or whose time ran out and that another one replaced: it must not write any more."""

    type = "lease-lost"


class PreconditionFailed(Conflict):
    """The reader's If-Match or If-Unmodified-Since does not hold for the object as it is."""

    status = 412
    type = "precondition-failed"


class IdempotencyInProgress(Conflict):
    """The first request with this Idempotency-Key is still being answered."""

    type = "idempotency-in-progress"
    retry_after = 5


class Refused(StocktakeError):
    """A safety rule stopped the action; nothing was done."""

    status = 409
    type = "refused"


class BreakerOpen(Refused):
    """The plan holds more actions than one apply may do."""

    type = "breaker-open"


class RunIncomplete(Refused):
    """The reconciliation did not see everything, so nothing may be acted on."""

    type = "run-incomplete"


class LedgerRestored(Refused):
    """The tables were restored to a time before the newest erasure, and hold again what was erased."""

    type = "ledger-restored"


class QuotaExceeded(Refused):
    """The project may not hold so many objects or bytes."""

    type = "quota-exceeded"


class StorageDisabled(Refused):
    """Storage is switched off, and this way in needs the bucket."""

    type = "storage-disabled"


class ImportDisabled(Refused):
    """Importing from URLs is off, or not allowed from that host."""

    status = 403
    type = "import-disabled"


class StorageError(StocktakeError):
    """The store answered something other than what was asked for; `code` is its own word for it, "" where it gave none."""

    status = 502
    type = "storage-error"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class StorageDenied(StorageError):
    """The credentials may not do this."""

    type = "storage-denied"


class BucketNotFound(StorageError):
    """The configured bucket does not exist at the configured endpoint."""

    type = "bucket-not-found"


class WrongRegion(StorageError):
    """The bucket lies in another region than the configured one; the message names both where the store tells."""

    type = "wrong-region"


class StorageUnavailable(StorageError):
    """No answer, throttling or a server error, after the client's own retries."""

    status = 503
    type = "storage-unavailable"
    retry_after = 5


class ListingIncomplete(StorageError):
    """A listing that cannot be taken for whole: a page is cut short, contradicts itself, or does not say whether or where it goes on."""

    type = "listing-incomplete"


class ListingOutOfOrder(StorageError):
    """A listing was not in UTF-8 byte order, so it cannot be merged as a stream."""

    type = "listing-out-of-order"


class ListingTooLarge(StorageError):
    """A listing that is out of order has more rows than the disk can hold while they are sorted."""

    type = "listing-too-large"


class ConfirmationFailed(StorageError):
    """The bucket holds something else than what was sent: size or checksum differ."""

    type = "confirmation-failed"


class LedgerError(StocktakeError):
    """DynamoDB did not take or give what was asked, after retries."""

    status = 503
    type = "ledger-error"
    retry_after = 5


class MessagingError(StocktakeError):
    """A queue, the event bus, the state machine or the bucket of reports did not take what was sent, or give what it has; asking again is
    safe."""

    status = 503
    type = "messaging-error"
    retry_after = 5


class SealingError(StocktakeError):
    """Sealed metadata cannot be written or opened: no key, another key, or it is not of this object."""

    status = 503
    type = "sealing-error"


class ConfigurationError(StocktakeError):
    """A setting is absent or malformed; the message names it and what it should be."""

    type = "configuration"
