"""Composition root: the only reader of the environment and the only maker of clients.

A function asks for one flow; what that flow needs is made once and kept for the life of the function's process. Each flow is imported
by the property that makes it, so that a cold start pays for no flow but its own.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import botocore
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stocktake.errors import ConfigurationError
from stocktake.ids import new_id, now_ms
from stocktake.layouts import Registry
from stocktake.ledger import Ledger, Operations, Tables, tables
from stocktake.settings import Settings, read_settings
from stocktake.storage import Profile
from stocktake.storage.s3 import S3Store, make_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stocktake.alignment import Aligner
    from stocktake.analytics import Analytics
    from stocktake.identity import Identity
    from stocktake.messaging import StateMachine
    from stocktake.object_events import ObjectEvents
    from stocktake.project_deletion import ProjectDeletions
    from stocktake.quarantine import Quarantine
    from stocktake.reconciliation import Reconciliations
    from stocktake.repair import Repairs
    from stocktake.upload import Uploads

# an API call has 30 seconds in all, so no single call may take the default minute
_CONFIG = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})


class Services:
    """Everything one deployment is made of, each part made when it is first asked for.

    Args:
        environment: the process environment; read once.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    @cached_property
    def settings(self) -> Settings:
        """The checked settings. Raises ConfigurationError."""
        return read_settings(self._environment)

    @cached_property
    def layouts(self) -> Registry:
        """The key layouts of the bucket."""
        return Registry()

    @cached_property
    def store(self) -> S3Store:
        """The bucket. What its store can do is probed by the first process of the deployment that needs it, and kept for the others."""
        settings = self.settings
        access_key_id, secret_access_key = self._credentials()
        client = make_client(
            region=settings.storage_region,
            endpoint_url=settings.storage_endpoint or None,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            addressing=settings.storage_addressing,
            read_seconds=settings.storage_read_seconds,
            session=self._session,
        )
        known = self._known_profile()
        if known is not None:
            return S3Store(settings.storage_bucket, client=client, profile=known)
        store = S3Store(settings.storage_bucket, client=client)
        self.operations.put("settings", "store-profile", None, store.profile().as_dict(), created_at=now_ms(), status="KNOWN")
        return store

    def _known_profile(self) -> Profile | None:
        row = self.operations.get("settings", "store-profile")
        try:
            return None if row is None else Profile.from_dict(row.document)
        except ConfigurationError:
            return None  # an older version knew other capabilities: probe again

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger."""
        return Ledger(self._tables, shards=self.settings.ledger_shards)

    @cached_property
    def operations(self) -> Operations:
        """What deletions, reconciliations and quarantine remember."""
        return Operations(self._tables)

    @cached_property
    def uploads(self) -> Uploads:
        """The upload flow."""
        from stocktake.upload import Limits, Uploads

        settings = self.settings
        return Uploads(
            self.store,
            self.ledger,
            identity=self._identity,
            limits=Limits(settings.max_upload_bytes, settings.warn_upload_bytes, presigned_seconds=settings.presigned_seconds),
            public_base_url=settings.public_base_url or None,
            default_cache_control=settings.default_cache_control,
            now=now_ms,
            new_id=new_id,
        )

    @cached_property
    def object_events(self) -> ObjectEvents:
        """The object_events flow."""
        from stocktake.object_events import ObjectEvents

        return ObjectEvents(self._aligner("event"), bucket=self.settings.storage_bucket)

    @cached_property
    def project_deletions(self) -> ProjectDeletions:
        """The project_deletion flow."""
        from stocktake.messaging import PROJECT_DELETION_REQUESTED, Bus, Queue
        from stocktake.project_deletion import ProjectDeletions, Wiring

        settings = self.settings
        bus = Bus(self._client("events"), settings.event_bus)
        sqs = self._client("sqs")
        wiring = Wiring(
            publish=lambda detail: bus.publish(PROJECT_DELETION_REQUESTED, detail),
            steps=Queue(sqs, settings.deletion_queue_url).send,
            batches=Queue(sqs, settings.deletion_batch_queue_url).send,
            dead_letters=Queue(sqs, settings.deletion_dead_letter_queue_url).send,
        )
        return ProjectDeletions(
            self.store,
            self.ledger,
            self.operations,
            self.layouts,
            wiring,
            sweep_delay_ms=settings.final_sweep_delay_seconds * 1000,
            now=now_ms,
            new_id=new_id,
        )

    @cached_property
    def reconciliations(self) -> Reconciliations:
        """The reconciliation flow."""
        from stocktake.messaging import Reports
        from stocktake.reconciliation import Reconciliations

        return Reconciliations(
            self.store,
            self.ledger,
            self.operations,
            self.layouts,
            identity=self._identity,
            grace_ms=self.settings.grace_seconds * 1000,
            launch=self._state_machine.launch,
            report=Reports(self._client("s3"), self.settings.operations_bucket).write,
            now=now_ms,
            new_id=new_id,
        )

    @cached_property
    def quarantine(self) -> Quarantine:
        """The quarantine."""
        from stocktake.quarantine import Quarantine

        return Quarantine(self.store, self.ledger, self.operations, self.layouts, days=self.settings.quarantine_days, now=now_ms)

    @cached_property
    def repairs(self) -> Repairs:
        """The repair step of reconciliation."""
        from stocktake.repair import Repairs

        return Repairs(
            self.reconciliations,
            self._aligner("reconciliation"),
            self.quarantine,
            self.operations,
            max_actions=self.settings.breaker_max_actions,
            max_percent=self.settings.breaker_max_percent,
            launch=self._state_machine.launch,
            now=now_ms,
        )

    @cached_property
    def analytics(self) -> Analytics:
        """The analytics flow."""
        from stocktake.analytics import Analytics

        return Analytics(self.ledger, self.operations, now=now_ms)

    @cached_property
    def _identity(self) -> Identity:
        from stocktake.identity import Identity

        return Identity(self.store, self.operations, now_ms, new_id)

    @cached_property
    def _state_machine(self) -> StateMachine:
        from stocktake.messaging import StateMachine

        return StateMachine(self._client("stepfunctions"), self.settings.state_machine_arn)

    @cached_property
    def _tables(self) -> Tables:
        settings = self.settings
        return tables(
            objects=settings.objects_table,
            projects=settings.projects_table,
            operations=settings.operations_table,
            region=self._environment.get("AWS_REGION") or self._environment.get("AWS_DEFAULT_REGION", "us-east-1"),
            session=self._session,
        )

    @cached_property
    def _session(self) -> botocore.session.Session:
        # one for all clients: what each would make and read for itself takes some 50 ms of a cold start
        session = botocore.session.get_session()
        # said outright, because botocore would compose it anew twice for every request, a tenth of the request's CPU
        session.set_default_client_config(Config(user_agent=f"stocktake botocore/{botocore.__version__}"))
        return session

    def _aligner(self, source: str) -> Aligner:
        from stocktake.alignment import Aligner

        return Aligner(self.store, self.ledger, self.layouts, now_ms, source)

    def _client(self, service: str) -> Any:
        return self._session.create_client(service, config=_CONFIG)

    def _credentials(self) -> tuple[str, str] | tuple[None, None]:
        """Reads the store's keys from the secret; no keys to use the function's own role."""
        secret = self.settings.storage_credentials_secret
        if not secret:
            return None, None
        try:
            text = self._client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
            keys = json.loads(text)
            return keys["access_key_id"], keys["secret_access_key"]
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            raise ConfigurationError(f"the secret of the storage credentials cannot be read ({code}): see the function's role") from error
        except (ValueError, KeyError, TypeError) as error:
            # the cause is not chained: its text can hold what was in the secret
            raise ConfigurationError(
                'the secret of the storage credentials must hold JSON {"access_key_id": "...", "secret_access_key": "..."}'
            ) from (None if isinstance(error, ValueError) else error)


services = Services(os.environ)
"""The deployment this process belongs to. Nothing is read or made until a flow is asked for."""
