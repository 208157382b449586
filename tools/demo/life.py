"""What goes wrong in life: done to the bucket behind Stocktake's back, and to the ledger as a crash would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stocktake.ids import new_id, now_ms
from stocktake.layouts import build_current
from stocktake.ledger import Ledger, tables
from stocktake.model import Record, State
from tools.stack.access import Stack
from tools.stack.settings import REGION


class Life:
    """The bucket and the ledger, reached without going through the API."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._bucket = stack.bucket_client()

    def remove(self, keys: Sequence[str]) -> None:
        """Deletes objects as someone in the store's console would."""
        for key in keys:
            self._bucket.delete_object(Bucket=self._stack.bucket, Key=key)

    def put(self, keys: Sequence[str], body: bytes, content_type: str = "image/png") -> None:
        """Stores objects as an old version of the application would."""
        for key in keys:
            self._bucket.put_object(Bucket=self._stack.bucket, Key=key, Body=body, ContentType=content_type)

    def holds(self, key: str) -> bool:
        """Says whether the bucket has an object under the key."""
        return self._bucket.list_objects_v2(Bucket=self._stack.bucket, Prefix=key, MaxKeys=1).get("KeyCount", 0) > 0

    @contextmanager
    def without_events(self) -> Iterator[None]:
        """Loses the bucket's notifications for a while, as happens when someone else writes its configuration."""
        if self._stack.store != "s3":
            yield  # a foreign store sends none
            return
        configuration = self._bucket.get_bucket_notification_configuration(Bucket=self._stack.bucket)
        queues = configuration.get("QueueConfigurations", [])
        self._bucket.put_bucket_notification_configuration(Bucket=self._stack.bucket, NotificationConfiguration={})
        try:
            yield
        finally:
            self._bucket.put_bucket_notification_configuration(
                Bucket=self._stack.bucket, NotificationConfiguration={"QueueConfigurations": queues}
            )

    def killed_upload(self, project_id: str, size: int) -> str:
        """Leaves what an upload leaves that was killed after announcing itself: an intent whose bytes never came. Returns its key."""
        resources, at = self._stack.resources, now_ms()
        ledger = Ledger(
            tables(
                objects=resources["ObjectsTable"],
                projects=resources["ProjectsTable"],
                operations=resources["OperationsTable"],
                region=REGION,
                host=self._stack.endpoint,
            )
        )
        project, object_id = ledger.project(project_id), new_id(at)
        intent = Record(
            key=build_current(project.project_id, object_id, "png", at),
            object_id=object_id,
            project_id=project.project_id,
            epoch=project.epoch,
            state=State.PENDING,
            size=size,
            created_at=at,
            updated_at=at,
            content_type="image/png",
            expires_at=at + 600_000,  # over what the story takes: the timer that ends such uploads runs here too
        )
        ledger.move(None, intent, gated=True)
        return intent.key
