"""Requests to one bucket: sent or signed, repeated where that is ours to do, listings read to their end, every failure one of ours.

Who repeats a request: boto3's standard mode repeats lost connections, 5xx and the throttling it knows, 4 requests in all. 409
ConditionalRequestConflict and the 429 of R2 it takes for final, so those are repeated here, and only what boto3 has not repeated already.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as NoConnectionError,
)
from botocore.parsers import ResponseParserError

from stocktake.errors import BucketNotFound, ListingIncomplete, StorageDenied, StorageError, StorageUnavailable, WrongRegion
from stocktake.storage import SignedRequest
from stocktake.storage.rules import check_presigned_seconds, encode_metadata

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Everything that boto3 raises on purpose; a parser's error is not one of its BotoCoreErrors.
type Failure = ClientError | BotoCoreError | ResponseParserError
FAILURES = (ClientError, BotoCoreError, ResponseParserError)

# Our own repeats: at most 3, after up to 0.2, 0.4 and 0.8 s (full jitter).
_REPEATS = 3
_FIRST_DELAY = 0.2

# How long a bucket that was seen may explain a 404 without being asked for again.
_BUCKET_SEEN_SECONDS = 60.0

_CONFLICT_CODES = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_BUSY_CODES = frozenset(
    {
        "SlowDown",
        "TooManyRequests",
        "TooManyRequestsException",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "RequestTimeout",
    }
)
# A 404 without a body, or with a web server's. Of an operation on an object it may be the key's, of any other it is the bucket's.
_BARE_NOT_FOUND = frozenset({"404", "NotFound", "Not Found"})
_OBJECT_OPERATIONS = frozenset(
    {
        "head_object",
        "get_object",
        "copy_object",
        "delete_object",
        "abort_multipart_upload",
        "list_parts",
        "complete_multipart_upload",
    }
)
_REGION_CODES = frozenset({"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_DENIED_CODES = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "AccountProblem",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "Unauthorized",
    }
)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_NO_WHOLE_ANSWER = (HTTPClientError, NoConnectionError, IncompleteReadError)


class Absent(StorageError):
    """404: no such key, upload or version; or, where the answer has no body, perhaps no such bucket."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message, code=code)
        self.is_certain = code.startswith("NoSuch")


class ConditionFailed(StorageError):
    """412: a condition of the request does not hold."""


class RangeBeyondEnd(StorageError):
    """416: the object is shorter than where the range begins."""


# boto3's parameters that become headers of a presigned request, all of them signed in version 4; user metadata beside them.
_SIGNED_HEADERS = {
    "ContentLength": "Content-Length",
    "ContentType": "Content-Type",
    "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "IfNoneMatch": "If-None-Match",
}

# Failures that say nothing of the capability that was tried.
OF_THE_STORE = (BucketNotFound, StorageDenied, StorageUnavailable, WrongRegion)


class Requests:
    """The way to one bucket."""

    def __init__(
        self,
        bucket: str,
        *,
        client: S3Client,
        sleep: Callable[[float], None],
        jitter: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self.bucket = bucket
        self._client = client
        self._sleep = sleep
        self._jitter = jitter
        self._clock = clock
        self._bucket_seen_at: float | None = None

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Sends one request, repeats it where that is ours to do, and turns every failure into one of ours."""
        request = getattr(self._client, operation)
        repeats = 0
        while True:
            try:
                return request(Bucket=self.bucket, **parameters)  # type: ignore[no-any-return]  # one of a dozen TypedDicts
            except FAILURES as error:
                if repeats == _REPEATS or not _is_ours_to_repeat(error):
                    raise self.translated(error, operation) from error
                delay = _delay(error, repeats, self._jitter())
            self._sleep(delay)
            repeats += 1

    def signed(self, operation: str, seconds: int, **parameters: Any) -> SignedRequest:
        """Signs a request for whoever is to send it within `seconds`, with every parameter that is a header; sends nothing."""
        check_presigned_seconds(seconds)
        method = "GET" if operation == "get_object" else "PUT"
        headers = {header: str(parameters[name]) for name, header in _SIGNED_HEADERS.items() if name in parameters}
        headers |= {f"x-amz-meta-{name}": value for name, value in parameters.get("Metadata", {}).items()}
        try:
            url = self._client.generate_presigned_url(operation, Params={"Bucket": self.bucket, **parameters}, ExpiresIn=seconds)
        except BotoCoreError as error:
            raise self.translated(error, operation) from error
        return SignedRequest(method, url, headers)

    def translated(self, error: Failure, operation: str) -> StorageError:
        """Says what a failure of boto3 means in our words; holds neither credentials nor what was signed."""
        if isinstance(error, ClientError):
            return self._translated_answer(error, operation)
        if isinstance(error, ResponseParserError):
            return StorageError(f"The store's answer to {operation} is not S3's XML; is the endpoint an S3 endpoint?")
        if isinstance(error, _NO_WHOLE_ANSWER):
            return StorageUnavailable(f"The store gave no whole answer to {operation} ({type(error).__name__}): try again.")
        if isinstance(error, _NO_CREDENTIALS):
            return StorageDenied(
                f"There are no usable credentials for {operation} ({type(error).__name__}): see the storage credentials setting.",
                code=type(error).__name__,
            )
        return StorageError(f"{operation} could not be done: {error}")

    def _translated_answer(self, error: ClientError, operation: str) -> StorageError:
        code, status, headers = code_of(error), _status(error), error.response["ResponseMetadata"].get("HTTPHeaders", {})
        told = error.response.get("Error", {})
        region = self._client.meta.region_name
        right_region = headers.get("x-amz-bucket-region") or told.get("Region")
        if code == "NoSuchBucket" or (code in _BARE_NOT_FOUND and operation not in _OBJECT_OPERATIONS):
            return self.no_bucket()
        # HEAD signed for a wrong region is answered with a bare 400.
        if code in _REGION_CODES or status in (301, 302, 307) or (code == "400" and right_region not in (None, region)):
            told_where = f"it is in {right_region!r}; set the stack's parameter StorageRegion to that"
            where = told_where if right_region else "the store does not say which one it is in"
            return WrongRegion(f"Bucket {self.bucket!r} is not in the configured region {region!r}: {where}.")
        if status == 404:
            return Absent(f"The store has nothing for {operation} ({code}).", code)
        if status == 412 or code == "PreconditionFailed":
            return ConditionFailed(f"A condition of {operation} does not hold.")
        if status == 416 or code == "InvalidRange":
            return RangeBeyondEnd(f"The range asked for in {operation} begins beyond the object's end.")
        if code in _DENIED_CODES or status in (401, 403):
            hint = " AWS says so of an absent key too where s3:ListBucket is missing." if operation in ("head_object", "get_object") else ""
            return StorageDenied(f"The store refused {operation} ({code}): the credentials may not do this.{hint}", code=code)
        if code in _CONFLICT_CODES | _BUSY_CODES or status == 429 or (status >= 500 and status != 501):
            return StorageUnavailable(f"The store could not do {operation} now ({code}, status {status}): try again.")
        return StorageError(f"The store refused {operation} ({code}, status {status}): {str(told.get('Message', ''))[:200]}", code=code)

    def check_bucket_behind(self, absent: Absent) -> None:
        """Makes sure that a 404 without a reason is the key's and not the bucket's; asks for the bucket at most once a minute."""
        now = self._clock()
        if absent.is_certain or (self._bucket_seen_at is not None and now - self._bucket_seen_at < _BUCKET_SEEN_SECONDS):
            return
        # not HeadBucket: an R2 token limited to objects may not call it
        self.call("list_objects_v2", MaxKeys=1)
        self._bucket_seen_at = now

    def no_bucket(self) -> BucketNotFound:
        """Makes the error of a bucket that is not there."""
        return BucketNotFound(
            f"There is no bucket {self.bucket!r} at {self._client.meta.endpoint_url}: check the bucket and endpoint settings."
        )

    def pages(
        self, operation: str, parameters: dict[str, Any], start: dict[str, Any], markers: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        """Yields the pages of a listing to its end, and never ends without the store having said so.

        Args:
            start: parameters of the first request only.
            markers: request parameter to the name of its next value in the reply; the first one must be there in a truncated page.

        Raises:
            ListingIncomplete: a page does not say whether it is the last, is not the last and names no next one, or names one that was
                read before. Repeats are found as Brent's algorithm does: against the page before and one remembered at powers of two.
        """
        position, remembered, count = start, start, 0
        while True:
            page = self._page(operation, parameters | position)
            yield page
            if page.get("IsTruncated") is None:
                raise ListingIncomplete(
                    f"The store's answer to {operation} does not say whether more follows; the listing is not complete."
                )
            if not page["IsTruncated"]:
                return
            following = {name: page[reply_name] for name, reply_name in markers.items() if page.get(reply_name)}
            if "UploadIdMarker" in following and "KeyMarker" not in following and page.get("Uploads"):
                following["KeyMarker"] = page["Uploads"][-1]["Key"]  # SeaweedFS names only the upload
            if next(iter(markers)) not in following:
                raise ListingIncomplete(
                    f"The store's answer to {operation} is cut short and does not say where to go on; the listing is not complete."
                )
            if following in (position, remembered):
                raise ListingIncomplete(
                    f"The store's answer to {operation} leads back to a page already read; the listing is not complete."
                )
            count += 1
            if count & (count - 1) == 0:
                remembered = following
            position = following

    def _page(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.call(operation, **parameters)
        except StorageUnavailable as error:
            # boto3 makes a bare 500 of an answer that is no XML, as one is with a key that XML cannot carry.
            if operation != "list_multipart_uploads" or code_of(error.__cause__) != "500":
                raise
        except (ValueError, TypeError, LookupError) as error:  # what botocore lets through of a number or a date that is none
            raise ListingIncomplete(f"The store's answer to {operation} holds what cannot be: {error}") from error
        # The other listings boto3 asks for encoded by itself. This one not even we do at first: SeaweedFS says it encodes and does not.
        page = self.call(operation, EncodingType="url", **parameters)
        for row in page.get("Uploads", ()):
            row["Key"] = unquote_plus(row["Key"])
        if "NextKeyMarker" in page:
            page["NextKeyMarker"] = unquote_plus(page["NextKeyMarker"])
        return page


def object_headers(
    content_type: str, metadata: Mapping[str, str] | None, cache_control: str | None, content_disposition: str | None
) -> dict[str, Any]:
    """Gives boto3's parameters for the headers that an object is stored with and served with.

    Raises InvalidRequest for metadata that no header can carry.
    """
    parameters: dict[str, Any] = {"ContentType": content_type, "Metadata": encode_metadata(metadata or {})}
    if cache_control is not None:
        parameters["CacheControl"] = cache_control
    if content_disposition is not None:
        parameters["ContentDisposition"] = content_disposition
    return parameters


def bare(etag: str) -> str:
    """Gives an ETag without its quotation marks."""
    return etag.strip('"')


def hex_of(checksum: str | None) -> str | None:
    """Gives a checksum in hex, as we keep it, for one in base64, as S3 sends it."""
    return None if checksum is None else base64.b64decode(checksum).hex()


def _delay(error: Failure, repeats: int, jitter: float) -> float:
    """Returns the seconds to wait before a repeat; `jitter` is 0 to 1."""
    if isinstance(error, ClientError) and _status(error) == 429:
        return 1.0 + jitter  # R2 takes one write a second for a key
    return float(jitter * _FIRST_DELAY * 2**repeats)


def _is_ours_to_repeat(error: Failure) -> bool:
    """Tells whether another try may help and boto3 has not tried again itself."""
    if not isinstance(error, ClientError):
        return False
    if code_of(error) in _CONFLICT_CODES:
        return True
    return (code_of(error) in _BUSY_CODES or _status(error) == 429) and not error.response["ResponseMetadata"].get("RetryAttempts")


def code_of(error: BaseException | None) -> str:
    """Gives the store's error code; the exception's name where there was no answer."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
