"""What a store can do, learned by trying each thing once on objects of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from stocktake.errors import StorageDenied, StorageError
from stocktake.storage import MultipartUpload, ObjectVersion, Profile
from stocktake.storage.rules import checksum, composite_sha256
from stocktake.storage.s3_client import without_content_md5
from stocktake.storage.s3_deleting import plainly_gone
from stocktake.storage.s3_requests import OF_THE_STORE, ConditionFailed, Requests

if TYPE_CHECKING:
    from stocktake.storage.s3 import S3Store

PROBE_PREFIX = ".stocktake/probe/"

PROBE_VERSION = 2
"""Of the trials: a profile that another version of them made is not to be used. One more with every change of what a trial means."""

# Names whose order differs between UTF-8 bytes, directories (`/` before `-`), UTF-16 units (U+1F600 before U+FF5E) and collation.
_ORDER_NAMES = ("a", "a-b", "a.b", "a/b", "a/b/c", "a0", "Z", "\u00e9", "\uff5e", "\U0001f600")

# What is sent with a checksum.
_BODY = b"checked"
_SHA256 = hashlib.sha256(_BODY).hexdigest()


class Probe:
    """The trials of one store."""

    def __init__(
        self,
        store: S3Store,
        requests: Requests,
        versions: Callable[[str], Iterator[ObjectVersion]],
        uploads: Callable[[str], Iterator[MultipartUpload]],
    ) -> None:
        """Takes the store, its requests, and its listings of versions and uploads, which must not ask for the profile."""
        self._store = store
        self._requests = requests
        self._call = requests.call
        self._versions = versions
        self._uploads = uploads

    def profile(self, folder: str) -> Profile:
        """Tries everything under `folder`, about 50 requests, and removes what it put there, versions included.

        Raises:
            StorageError: something of it could not be removed; the message names it.
        """
        versioning = False
        try:
            versioning = self._keeps_versions(folder + "version")
            return Profile(
                conditional_put=self._honours_conditional_put(folder + "put"),
                conditional_copy=self._honours_conditional_copy(folder + "source", folder + "target"),
                conditional_delete=self._honours_conditional_delete(folder + "delete"),
                versioning=versioning,
                md5_needed=self._needs_content_md5(folder + "absent"),
                ordered_listing=self._lists_in_order(folder + "order/"),
                keeps_sha256=self._keeps_sha256(folder + "sha256"),
                keeps_parts_sha256=self._keeps_parts_sha256(folder + "parts"),
                names_deleted=self._names_deleted(folder + "bulk"),
                lists_uploads=self._lists_uploads(folder + "upload"),
            )
        finally:
            self._remove_probe(folder, versioning=versioning)

    def _honours_conditional_put(self, key: str) -> bool:
        self._call("put_object", Key=key, Body=b"first")
        refused = _is_refused(lambda: self._call("put_object", Key=key, Body=b"a second one", IfNoneMatch="*"))
        return refused and self._has_size(key, len(b"first"))

    def _honours_conditional_copy(self, source: str, target: str) -> bool:
        self._call("put_object", Key=source, Body=b"the source")
        self._call("put_object", Key=target, Body=b"target")
        copy_source = {"Bucket": self._store.bucket, "Key": source}
        refused = _is_refused(lambda: self._call("copy_object", Key=target, CopySource=copy_source, IfNoneMatch="*"))
        return refused and self._has_size(target, len(b"target"))

    def _honours_conditional_delete(self, key: str) -> bool:
        self._call("put_object", Key=key, Body=b"kept")
        refused = _is_refused(lambda: self._call("delete_object", Key=key, IfMatch=f'"{"0" * 32}"'))
        return refused and self._has_size(key, len(b"kept"))

    def _has_size(self, key: str, size: int) -> bool:
        found = self._store.head(key)
        return found is not None and found.size == size

    def _keeps_versions(self, key: str) -> bool:
        try:
            return keeps_versions(self._requests)
        except StorageDenied:
            # a token limited to objects may not ask; a bucket that keeps versions, or kept them, names one for what is put
            return self._call("put_object", Key=key, Body=b"version").get("VersionId") is not None
        except OF_THE_STORE:
            raise
        except StorageError:
            return False  # NotImplemented, as R2 says

    def _needs_content_md5(self, absent_key: str) -> bool:
        token = without_content_md5.set(True)
        try:
            self._call("delete_objects", Delete={"Objects": [{"Key": absent_key}], "Quiet": False})
        except OF_THE_STORE:
            raise
        except StorageError:
            return True
        finally:
            without_content_md5.reset(token)
        return False

    def _lists_in_order(self, folder: str) -> bool:
        """Tells whether listings, whole, in small pages and from the middle, are complete and in UTF-8 byte order."""
        expected = sorted(folder + name for name in _ORDER_NAMES)
        try:
            for key in reversed(expected):
                self._call("put_object", Key=key, Body=b"probe")
            return all(
                [row.key for page in self._store.list(folder, after=after, page_size=page_size) for row in page] == expected[seen:]
                for after, page_size, seen in (("", 1000, 0), ("", 2, 0), (expected[1], 2, 2), (expected[2], 1000, 3))
            )
        except OF_THE_STORE:
            raise
        except StorageError:
            return False  # some stores cannot hold both `a` and `a/b`

    def _keeps_sha256(self, key: str) -> bool:
        self._call("put_object", Key=key, Body=_BODY, ChecksumSHA256=checksum(_SHA256))
        found = self._store.head(key)
        return found is not None and found.sha256 == _SHA256

    def _keeps_parts_sha256(self, key: str) -> bool:
        try:
            upload_id = self._call("create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
            try:
                return self._completes_with_sha256(key, upload_id)
            except StorageError:
                self._store.abort_multipart_upload(key, upload_id)
                raise
        except OF_THE_STORE:
            raise
        except StorageError:
            return False

    def _completes_with_sha256(self, key: str, upload_id: str) -> bool:
        """Tells whether an upload of one part keeps its checksum all the way: listed, taken to complete, then in the hash of hashes."""
        part = {"PartNumber": 1, "ChecksumSHA256": checksum(_SHA256)}
        self._call("upload_part", Key=key, UploadId=upload_id, Body=_BODY, **part)
        listed = self._store.list_parts(key, upload_id) or ()
        # SeaweedFS 4.48 lists none, and completes such an upload only with them.
        if [found.sha256 for found in listed] != [_SHA256]:
            raise StorageError("The store does not list the checksum of a part.")
        parts = {"Parts": [part | {"ETag": listed[0].etag}]}
        self._call("complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload=parts)
        found = self._store.head(key)
        return found is not None and found.parts_sha256 == composite_sha256([_SHA256])

    def _names_deleted(self, key: str) -> bool:
        """Tells whether a removal in bulk names what was there and what was not, and what it names is gone."""
        self._call("put_object", Key=key, Body=b"gone")
        keys = {key, f"{key}-absent"}
        try:
            reply = self._call("delete_objects", Delete={"Objects": [{"Key": name} for name in sorted(keys)], "Quiet": False})
        except OF_THE_STORE:
            raise
        except StorageError:
            return False
        named = {*plainly_gone(reply), *(row.get("Key") for row in (*reply.get("Deleted", ()), *reply.get("Errors", ())))}
        return keys <= named and self._store.head(key) is None

    def _lists_uploads(self, key: str) -> bool:
        try:
            upload_id = self._call("create_multipart_upload", Key=key)["UploadId"]
            try:
                return any((upload.key, upload.upload_id) == (key, upload_id) for upload in self._uploads(key))
            except StorageDenied:
                return True  # by a role that needs no uploads; whoever does is told so
            finally:
                self._store.abort_multipart_upload(key, upload_id)
        except OF_THE_STORE:
            raise
        except StorageError:
            return False

    def _remove_probe(self, folder: str, *, versioning: bool) -> None:
        names = ["version", "put", "source", "target", "delete", "sha256", "parts", "bulk", *(f"order/{name}" for name in _ORDER_NAMES)]
        left = self._store.delete_many([folder + name for name in names]).errors
        if versioning:
            left += self._store.delete_versions(list(self._versions(folder))).errors
        if left:
            raise StorageError(f"The probe of the store left {left[0].key!r} behind ({left[0].code}): remove what is under {folder!r}.")


def keeps_versions(requests: Requests) -> bool:
    """Asks whether the bucket keeps versions, or kept them once.

    Raises:
        StorageDenied: a token limited to objects may not ask.
        StorageError: the store does not know the question, as R2 says with NotImplemented.
    """
    # Suspended counts: the versions kept before are still there.
    return requests.call("get_bucket_versioning").get("Status") in ("Enabled", "Suspended")


def _is_refused(request: Callable[[], object]) -> bool:
    """Makes a request whose condition does not hold; True when the store says so, False when it does it or knows no such condition."""
    try:
        request()
    except ConditionFailed:
        return True
    except OF_THE_STORE:
        raise
    except StorageError:
        return False
    return False
