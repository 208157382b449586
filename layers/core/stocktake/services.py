"""Composition root: the only reader of the environment and the only maker of clients.

A function asks for one flow; what that flow needs is made once and kept for the life of the function's process. Each flow is imported
by the property that makes it, so that a cold start pays for no flow but its own.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stocktake.errors import ConfigurationError, NotFound, StocktakeError
from stocktake.ids import new_id, now_ms
from stocktake.layouts import Registry
from stocktake.ledger import CountRows, Ledger, Operations, Tables, tables
from stocktake.model import Quota
from stocktake.settings import Settings, audit, read_settings, unusable
from stocktake.storage import Profile, Store
from stocktake.storage.s3 import PROBE_VERSION, S3Store, make_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    import boto3
    from mypy_boto3_s3 import S3Client

    from stocktake.access import Access
    from stocktake.acknowledgements import Acknowledgements
    from stocktake.alignment import Aligner
    from stocktake.analytics import Analytics
    from stocktake.cdn import PublicCopies
    from stocktake.checks import Rules
    from stocktake.conformance import Conformance
    from stocktake.diagnostics import Credentials, Diagnostics, ObjectDiagnosis, SelfTest, Surroundings
    from stocktake.diagnostics.surroundings import Settings as StandingSettings
    from stocktake.drills import Drills
    from stocktake.generations import Generations
    from stocktake.idempotency import Idempotency
    from stocktake.identity import Identity
    from stocktake.importing import Fetcher
    from stocktake.intents import Intents
    from stocktake.inventory import Inventories
    from stocktake.messaging import Queue, StateMachine
    from stocktake.migration.exports import Exports
    from stocktake.migration.steps import Migrations, Send
    from stocktake.migration.storing import Storing
    from stocktake.object_deletion import ObjectDeletions
    from stocktake.object_events import ObjectEvents
    from stocktake.presigned import PresignedUploads
    from stocktake.project_deletion import ProjectDeletions
    from stocktake.quarantine import Quarantine
    from stocktake.r2_queue import R2Queue
    from stocktake.reconciliation import Reconciliations
    from stocktake.reconciliation.changes import Changes
    from stocktake.reconciliation.cost import Meter
    from stocktake.recounts import Recounts
    from stocktake.repair import Expiry, Holds, Repairs, Restorations
    from stocktake.sealing import DataKeys, Sealer
    from stocktake.serving import Serving
    from stocktake.tombstones import Tombstones
    from stocktake.upload import Uploads
    from stocktake.webhook import Signatures

# an API call has 30 seconds in all, so no single call may take the default minute
_IMPORT_SECONDS = 15
"""Of the 30 an API call has."""
_STEP_MS = 300_000
"""How long a step of a migration may take: the Timeout of its function."""
_AWS = Profile(
    conditional_put=True,
    conditional_copy=True,
    conditional_delete=True,
    versioning=False,
    md5_needed=False,
    ordered_listing=True,
    keeps_sha256=True,
    keeps_parts_sha256=True,
    names_deleted=True,
    lists_uploads=True,
)
_CONFIG = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
_BRIEF = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1})
"""For what an answer is better without than late."""


class Services:
    """Everything one deployment is made of, each part made when it is first asked for.

    Args:
        environment: the process environment; read once.
        tolerant: go on with settings that are malformed, as far as they can be read: for diagnostics, which say what is wrong with them.
    """

    def __init__(self, environment: Mapping[str, str], *, tolerant: bool = False) -> None:
        self._environment = environment
        self._tolerant = tolerant
        self._making = Lock()  # diagnostics ask for clients from several threads, and a session makes one at a time

    @cached_property
    def settings(self) -> Settings:
        """The checked settings. Raises ConfigurationError."""
        return read_settings(self._environment, tolerant=self._tolerant)

    @cached_property
    def layouts(self) -> Registry:
        """The key layouts of the bucket."""
        return Registry()

    @cached_property
    def store(self) -> S3Store:
        """The bucket. What its store can do is tried by the first process of the deployment that needs it, and kept for the others."""
        return S3Store(
            self.settings.storage_bucket, client=self._store_client, profile=self._known_profile(), learned=self.conformance.learn
        )

    @cached_property
    def image_origin(self) -> str:
        """Where the URLs lie that are signed for objects of the bucket: scheme and host, with the port where there is one.

        The page that anybody may read names it, so it is read off a URL that is signed with nobody's key: no secret is asked for.
        """
        settings = self.settings
        client = make_client(
            region=settings.storage_region,
            endpoint_url=settings.storage_endpoint or None,
            access_key_id="nobody",
            secret_access_key="nobody",
            addressing=settings.storage_addressing,
            read_seconds=settings.storage_read_seconds,
            session=self._boto3,
        )
        parts = urlsplit(S3Store(settings.storage_bucket, client=client).presign_get("-", seconds=1))
        return f"{parts.scheme}://{parts.netloc}"

    @cached_property
    def conformance(self) -> Conformance:
        """What the bucket's store was seen to do."""
        from stocktake.conformance import Conformance

        settings = self.settings
        where = f"{settings.storage_endpoint or 'AWS S3'} {settings.storage_bucket}"
        return Conformance(self.operations, where, PROBE_VERSION, now_ms)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger."""
        return Ledger(self._tables, shards=self.settings.ledger_shards)

    @cached_property
    def operations(self) -> Operations:
        """What deletions, reconciliations and quarantine remember."""
        return Operations(self._tables)

    @cached_property
    def access(self) -> Access:
        """Who may call the API."""
        from stocktake.access import Access
        from stocktake.routes import Owner
        from stocktake.signing_keys import SigningKeys, fetch
        from stocktake.tokens import Tokens

        # whatever else is malformed, is told to who may ask; but nobody is let in by what is malformed itself
        settings, malformed = read_settings(self._environment, tolerant=True), audit(self._environment).about("TOKEN_")
        if malformed:
            raise unusable(malformed)
        tokens = Tokens(
            SigningKeys(settings.token_issuer, settings.token_jwks_url, fetch=fetch, now=now_ms),
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            scope_prefix=settings.token_scope_prefix,
            projects_claim=settings.token_projects_claim,
            now=now_ms,
        )
        # each by the flow of the function that has its routes, and made when it is asked for
        return Access(
            tokens,
            {
                Owner.OBJECT: lambda object_id: self.object_deletions.project_of(object_id),
                Owner.UPLOAD: lambda upload_id: self.object_deletions.project_of(upload_id),
                Owner.GENERATION: lambda generation_id: self.generations.project_of(generation_id),
                Owner.DELETION: lambda deletion_id: self.project_deletions.project_of(deletion_id),
            },
        )

    @cached_property
    def uploads(self) -> Uploads:
        """The ways in whose bytes come through a function."""
        from stocktake.upload import Limits, Uploads

        settings = self.settings
        return Uploads(
            self.store,
            self.ledger,
            self._intents,
            self.generations,
            identity=self.identity,
            fetcher=self._fetcher,
            rules=self._rules,
            limits=Limits(
                settings.max_upload_bytes,
                settings.warn_upload_bytes,
                settings.batch_items,
                settings.batch_workers,
                None if settings.enable_storage else settings.max_inline_bytes,
            ),
            default_quota=_quota(settings.default_quota_objects, settings.default_quota_bytes),
            now=now_ms,
        )

    @cached_property
    def presigned(self) -> PresignedUploads:
        """The ways in whose bytes go straight to the bucket."""
        from stocktake.presigned import PresignedUploads

        settings = self.settings
        return PresignedUploads(
            self.store,
            self.ledger,
            self.operations,
            self._intents,
            self.object_deletions,
            self.generations,
            self._aligner("event"),
            self._rules,
            max_bytes=settings.max_object_bytes,
            warn_bytes=settings.warn_upload_bytes,
            seconds=settings.presigned_seconds,
            multipart_seconds=settings.multipart_seconds,
            now=now_ms,
            enabled=settings.enable_storage,
        )

    @cached_property
    def generations(self) -> Generations:
        """The generation jobs."""
        from stocktake.generations import Generations

        return Generations(self.ledger, self.operations, self._intents, self.object_deletions, self._sealer, now=now_ms)

    @cached_property
    def serving(self) -> Serving:
        """Records, and the way to their bytes."""
        from stocktake.serving import Serving

        settings = self.settings
        return Serving(
            self.store,
            self.ledger,
            self.object_deletions,
            self._sealer,
            public_base_url=settings.public_base_url or None,
            presigned_seconds=settings.presigned_seconds,
            max_bytes=settings.max_upload_bytes,
        )

    @cached_property
    def object_deletions(self) -> ObjectDeletions:
        """Deletions of single objects."""
        from stocktake.cdn import WHILE_A_CALLER_WAITS
        from stocktake.object_deletion import ObjectDeletions

        delay_ms = self.settings.sweep_delay_seconds * 1000
        copies = self._public_copies(*WHILE_A_CALLER_WAITS)
        return ObjectDeletions(self.store, self.ledger, self.operations, copies, sweep_delay_ms=delay_ms, now=now_ms)

    @cached_property
    def idempotency(self) -> Idempotency:
        """What was answered to requests with an Idempotency-Key."""
        from stocktake.idempotency import Idempotency

        return Idempotency(self.operations, now=now_ms, new_id=new_id)

    @cached_property
    def object_events(self) -> ObjectEvents:
        """The object_events flow."""
        from stocktake.object_events import ObjectEvents

        return ObjectEvents(self._aligner("event"), bucket=self.settings.storage_bucket)

    @cached_property
    def object_events_queue(self) -> Queue:
        """Where notifications of other carriers are put. Raises ConfigurationError."""
        return self._queue(self.settings.object_events_queue_url, "OBJECT_EVENTS_QUEUE_URL")

    @cached_property
    def r2_queue(self) -> R2Queue:
        """The queue that R2 sends its events to. Raises ConfigurationError."""
        from stocktake.r2_queue import API, R2Queue

        settings = self.settings
        absent = [name for name in ("r2_queue_account", "r2_queue_id", "r2_queue_token_secret") if not getattr(settings, name)]
        if absent:
            raise ConfigurationError(f"R2's queue cannot be asked without {', '.join(absent).upper()}: set the stack's R2Queue parameters")
        token = self._secret_fields(settings.r2_queue_token_secret, "the token of R2's queue", "api_token")[0]
        return R2Queue(account_id=settings.r2_queue_account, queue_id=settings.r2_queue_id, token=token, api=settings.r2_queue_api or API)

    @cached_property
    def webhook(self) -> Signatures:
        """What tells requests of our Worker from others. Raises NotFound where no secret is shared with one."""
        from stocktake.webhook import Signatures

        secret = self.settings.webhook_secret
        if not secret:
            raise NotFound("there is no webhook here: set WebhookSecretArn to the secret that is shared with the Worker")
        return Signatures(lambda: self._secret(secret, "the webhook"), now_ms)

    @cached_property
    def project_deletions(self) -> ProjectDeletions:
        """The project_deletion flow."""
        from stocktake.messaging import PROJECT_DELETION_REQUESTED, Bus
        from stocktake.project_deletion import ProjectDeletions, Purging, Wiring

        settings = self.settings
        bus = Bus(self._client("events"), settings.event_bus)
        wiring = Wiring(
            publish=lambda detail: bus.publish(PROJECT_DELETION_REQUESTED, detail),
            steps=self._queue(settings.deletion_queue_url, "DELETION_QUEUE_URL").send,
            batches=self._queue(settings.deletion_batch_queue_url, "DELETION_BATCH_QUEUE_URL").send,
            dead_letters=self._queue(settings.deletion_dead_letter_queue_url, "DELETION_DEAD_LETTER_QUEUE_URL").send,
        )
        return ProjectDeletions(
            self.store,
            self.ledger,
            self.operations,
            self.layouts,
            wiring,
            Purging(self._public_copies()),
            self._tombstones,
            sweep_delay_ms=settings.sweep_delay_seconds * 1000,
            undo_ms=settings.undo_days * 86_400_000,
            now=now_ms,
            new_id=new_id,
        )

    @cached_property
    def identity(self) -> Identity:
        """Which bucket this is."""
        from stocktake.identity import Identity

        return Identity(self.store, self.operations, now_ms, new_id, self.settings.storage_region)

    @cached_property
    def reconciliations(self) -> Reconciliations:
        """The reconciliation flow."""
        from stocktake.messaging import Reports
        from stocktake.reconciliation import Reconciliations
        from stocktake.reconciliation.cost import Prices

        settings = self.settings
        return Reconciliations(
            self.store,
            self.ledger,
            self.operations,
            self.layouts,
            identity=self.identity,
            inventories=self._inventories,
            grace_ms=settings.grace_seconds * 1000,
            meter=self._meter,
            prices=Prices.of(settings.store_prices, settings.storage_endpoint),
            workers=settings.reconciliation_workers,
            memory_gb=int(self._environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")) / 1024,
            launch=self._state_machine.launch,
            report=Reports(self._client("s3"), self.settings.operations_bucket).write,
            now=now_ms,
            new_id=new_id,
        )

    @cached_property
    def _inventories(self) -> Inventories:
        from stocktake.inventory import Inventories

        buckets: dict[str, Store] = {self.settings.operations_bucket: self._files}
        if self.settings.inventory_bucket:
            # S3 delivers an inventory into the region of the bucket that it is of
            client = make_client(region=self.settings.storage_region, read_seconds=60, session=self._boto3)
            buckets[self.settings.inventory_bucket] = S3Store(self.settings.inventory_bucket, client=client, profile=_AWS)
        return Inventories(self.settings.storage_bucket, buckets, self._files, now=now_ms)

    @cached_property
    def changes(self) -> Changes:
        """What moved from each run of reconciliation to the next."""
        from stocktake.reconciliation.changes import Changes

        return Changes(self.operations, now=now_ms)

    @cached_property
    def quarantine(self) -> Quarantine:
        """The quarantine."""
        from stocktake.quarantine import Quarantine

        return Quarantine(self._aligner("reconciliation"), self.operations, days=self.settings.quarantine_days, now=now_ms)

    @cached_property
    def acknowledgements(self) -> Acknowledgements:
        """The findings that shall be quiet until they change."""
        from stocktake.acknowledgements import Acknowledgements

        return Acknowledgements(self.operations, now=now_ms)

    @cached_property
    def repairs(self) -> Repairs:
        """The repair step of reconciliation."""
        from stocktake.repair import Actor, Breaker, Plans, Repairs

        settings = self.settings
        grace_ms = settings.grace_seconds * 1000
        breaker = Breaker(settings.breaker_max_actions, settings.breaker_max_percent, settings.breaker_max_per_project)
        actor = Actor(
            self._aligner("reconciliation"),
            self.quarantine,
            self.acknowledgements,
            self._storing,
            self.operations,
            self._holds,
            grace_ms=grace_ms,
            now=now_ms,
        )
        return Repairs(
            self.reconciliations,
            self.identity,
            actor,
            Plans(self.operations, self.acknowledgements, breaker, grace_ms=grace_ms, now=now_ms, new_id=new_id),
            breaker,
            self.operations,
            self._tombstones,
            grace_ms=grace_ms,
            launch=self._state_machine.launch,
            now=now_ms,
        )

    @cached_property
    def restorations(self) -> Restorations:
        """What takes a run's quarantine back."""
        from stocktake.repair import Restorations

        launch = self._state_machine.launch
        return Restorations(self.reconciliations, self.quarantine, self.operations, self._tombstones, self.store, launch=launch, now=now_ms)

    @cached_property
    def expiry(self) -> Expiry:
        """The end of what was set aside."""
        from stocktake.repair import Expiry

        return Expiry(self.reconciliations, self.quarantine, self._holds, self._tombstones)

    @cached_property
    def drills(self) -> Drills:
        """The drills of the quarantine."""
        from stocktake.drills import Drills

        return Drills(self.store, self.ledger, self.operations, self.quarantine, now=now_ms, new_id=new_id)

    @cached_property
    def migrations(self) -> Migrations:
        """The migration flow."""
        from stocktake.migration.imports import Importer
        from stocktake.migration.steps import Migrations
        from stocktake.migration_requests import COLUMNS, read_entry

        settings = self.settings
        importer = Importer(
            self.store,
            self.ledger,
            self.layouts,
            self.object_deletions,
            self._intents,
            self.uploads,
            self._storing,
            self._rules,
            max_inline_bytes=settings.max_inline_bytes,
            enabled=settings.enable_storage,
            now=now_ms,
        )
        return Migrations(
            self._files,
            self.ledger,
            self.operations,
            importer,
            self._storing,
            read_entry=read_entry,
            columns=COLUMNS,
            send=self._send_step,
            enabled=settings.enable_storage,
            batch=settings.migration_batch,
            workers=settings.batch_workers,
            seconds=settings.presigned_seconds,
            lease_ms=_STEP_MS,
            now=now_ms,
            new_id=new_id,
        )

    @cached_property
    def exports(self) -> Exports:
        """The way of the ledger out."""
        from stocktake.finding_lines import lines
        from stocktake.migration.exports import Exports

        return Exports(
            self._files,
            self.ledger,
            self.operations,
            self.layouts,
            findings=lambda run_id, form, after: lines(self.operations, run_id, form, after),
            send=self._send_step,
            seconds=self.settings.presigned_seconds,
            lease_ms=_STEP_MS,
            now=now_ms,
            new_id=new_id,
        )

    @cached_property
    def analytics(self) -> Analytics:
        """The analytics flow."""
        from stocktake.analytics import Analytics

        return Analytics(self.ledger, self.operations, now=now_ms)

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """The diagnostics flow: everything at once."""
        from stocktake.diagnostics import Diagnostics
        from stocktake.diagnostics.first_bytes import of_public_url
        from stocktake.diagnostics.other_looks import OtherLooks
        from stocktake.diagnostics.store_looks import StoreLooks

        settings, surroundings = self.settings, self._surroundings
        store = StoreLooks(self._bucket_alone, surroundings, self.ledger, of_public_url, settings.public_base_url)
        others = OtherLooks(
            surroundings, self.ledger, self.conformance, settings.enable_storage, settings.ledger_shards, settings.early_settings
        )
        return Diagnostics(store, others, surroundings, now_ms)

    def _bucket_alone(self) -> Identity:
        """Opens the bucket without asking the ledger what its store can do, so that looks at the one do not fail by the other."""
        from stocktake.identity import Identity

        settings = self.settings
        store = S3Store(settings.storage_bucket, client=self._store_client)
        return Identity(store, self.operations, now_ms, new_id, settings.storage_region)

    @cached_property
    def object_diagnosis(self) -> ObjectDiagnosis:
        """What is true of one key."""
        from stocktake.diagnostics import ObjectDiagnosis
        from stocktake.diagnostics.first_bytes import fetch

        return ObjectDiagnosis(
            self.store,
            self.ledger,
            self.operations,
            self.layouts,
            self.object_deletions,
            fetch,
            self.settings.grace_seconds * 1000,
            now_ms,
            self._surroundings.secrets,
        )

    @cached_property
    def self_test(self) -> SelfTest:
        """A round trip."""
        from stocktake.diagnostics import SelfTest
        from stocktake.diagnostics.first_bytes import fetch

        secrets = self._surroundings.secrets
        return SelfTest(lambda: self.store, self.operations, self.conformance, fetch, now_ms, new_id, secrets=secrets)

    @cached_property
    def _surroundings(self) -> Surroundings:
        from stocktake import described
        from stocktake.diagnostics import Surroundings

        settings, models = self.settings, self._tables
        names = {"objects": models.objects, "projects": models.projects, "operations": models.operations}
        return Surroundings(
            self._standing,
            self._whose,
            lambda role: described.table(models.client, names[role].Meta.table_name),
            lambda queue: described.letters(self._client("sqs"), settings.dead_letter_queues[queue]),
            tuple(settings.dead_letter_queues),
            self._secrets_in_memory,
        )

    def _standing(self) -> StandingSettings:
        """Reads how the settings stand, those too that only their flow looks at."""
        from stocktake.diagnostics.surroundings import Settings as StandingSettings

        found = audit(self._environment)
        standing, complaints = dict(found.standing), list(found.complaints)
        for name, read, must in (
            ("ALLOWED_TYPES", lambda: self._rules, "must name content types that docs/uploading.md lists, or nothing"),
            ("IMPORT_HOSTS", lambda: self._fetcher, "must name hosts, .example.com for a domain and all below it, or * alone"),
        ):
            try:
                read()
            except ConfigurationError:
                standing[name] = "malformed"
                complaints.append(f"{name} {must}")
        return StandingSettings(standing, tuple(complaints))

    def _whose(self) -> Credentials:
        """Says whose credentials the store's requests are signed with."""
        from stocktake import described

        access_key_id, secret_access_key = self._store_keys
        if access_key_id is None:
            found = self._session.get_credentials()
            return described.credentials("process", found.access_key if found else "", lambda: self._client("sts", _BRIEF))
        keys = {"aws_access_key_id": access_key_id, "aws_secret_access_key": secret_access_key}
        is_foreign = bool(self.settings.storage_endpoint)
        return described.credentials("secret", access_key_id, None if is_foreign else lambda: self._client("sts", _BRIEF, **keys))

    def _secrets_in_memory(self) -> tuple[str, ...]:
        """Returns every secret that this process holds and an answer might quote."""
        found = self._session.get_credentials()
        own = (found.access_key, found.secret_key, found.token) if found else ()
        of_store = self._store_keys if "_store_keys" in vars(self) else ()
        return tuple(secret for secret in (*own, *of_store) if secret)

    @cached_property
    def recounts(self) -> Recounts:
        """The recounts of the ledger."""
        from time import sleep

        from stocktake.recounts import Recounts

        rows = CountRows(self._tables, sleep=sleep)
        return Recounts(self.ledger, rows, self.operations, send=self._send_step, lease_ms=_STEP_MS, now=now_ms, new_id=new_id)

    @cached_property
    def _storing(self) -> Storing:
        from stocktake.migration.storing import Storing

        return Storing(self.store, self.ledger, self._intents, self.object_deletions, self._fetcher, self._rules, now=now_ms)

    @cached_property
    def _fetcher(self) -> Fetcher:
        from stocktake.importing import Fetcher

        settings = self.settings
        return Fetcher(hosts=settings.import_hosts, max_bytes=settings.max_import_bytes, seconds=_IMPORT_SECONDS)

    @cached_property
    def _files(self) -> S3Store:
        """The stack's own bucket as a store: files to import, and exports. It is AWS's, so what it can do need not be tried."""
        client = make_client(region=self._region, read_seconds=self.settings.storage_read_seconds, session=self._boto3)
        return S3Store(self.settings.operations_bucket, client=client, profile=_AWS)

    @cached_property
    def _send_step(self) -> Send:
        return self._queue(self.settings.migration_queue_url, "MIGRATION_QUEUE_URL").send

    @property
    def _region(self) -> str:
        return self._environment.get("AWS_REGION") or self._environment.get("AWS_DEFAULT_REGION", "us-east-1")

    @cached_property
    def _tombstones(self) -> Tombstones:
        from stocktake.tombstones import Tombstones

        return Tombstones(self._files, self.operations)

    def _public_copies(self, seconds: float = 10, attempts: int = 4) -> PublicCopies:
        from stocktake.cdn import Cloudflare, NoCdn, PublicCopies

        settings = self.settings

        def token() -> str:
            return self._secret(settings.cdn_secret, "the CDN's token").strip()

        cdn = Cloudflare(settings.cdn_zone_id, token, seconds=seconds, attempts=attempts) if settings.cdn_zone_id else NoCdn()
        return PublicCopies(cdn, settings.public_base_url or None)

    @cached_property
    def _state_machine(self) -> StateMachine:
        from stocktake.messaging import StateMachine

        return StateMachine(self._client("stepfunctions"), _own(self.settings.state_machine_arn, "RECONCILIATION_STATE_MACHINE_ARN"))

    @cached_property
    def _tables(self) -> Tables:
        settings = self.settings
        return tables(
            objects=settings.objects_table,
            projects=settings.projects_table,
            operations=settings.operations_table,
            region=self._region,
            session=self._session,
        )

    @cached_property
    def _meter(self) -> Meter:
        from stocktake.reconciliation.cost import Meter

        return Meter()

    @cached_property
    def _session(self) -> botocore.session.Session:
        # one for all clients: what each would make and read for itself takes some 50 ms of a cold start
        session = botocore.session.get_session()
        # said outright, because botocore would compose it anew twice for every request, a tenth of the request's CPU
        session.set_default_client_config(Config(user_agent=f"stocktake botocore/{botocore.__version__}"))
        if self.settings.state_machine_arn:  # a function of reconciliation, which says what its runs cost
            session.register("request-created", self._meter.sent)
            session.register("before-parameter-build.dynamodb.Query", self._meter.asking)
            session.register("after-call.dynamodb.Query", self._meter.answered)
        return session

    @cached_property
    def _boto3(self) -> boto3.session.Session:
        import boto3  # 25 ms of CPU, for the first client and not for the import of a handler

        return boto3.session.Session(botocore_session=self._session)

    @cached_property
    def _intents(self) -> Intents:
        from stocktake.intents import Intents

        return Intents(
            self.store,
            self.ledger,
            self.object_deletions,
            self._sealer,
            default_cache_control=self.settings.default_cache_control,
            now=now_ms,
        )

    @cached_property
    def _rules(self) -> Rules:
        from stocktake.checks import ALLOWED, Rules

        settings = self.settings
        unknown = set(settings.allowed_types) - set(ALLOWED)
        if unknown:
            raise ConfigurationError(
                f"ALLOWED_TYPES names {', '.join(sorted(unknown))}: it may name {', '.join(ALLOWED)}, or nothing for all of them"
            )
        return Rules(frozenset(settings.allowed_types or ALLOWED), settings.max_pixels, settings.max_side)

    @cached_property
    def _sealer(self) -> Sealer:
        from stocktake.sealing import RingInSecret, Sealer

        settings = self.settings
        keys: DataKeys | None = None
        if settings.sealing_kms_key:
            from stocktake.kms import KmsKeys

            keys = KmsKeys(self._client("kms"), settings.sealing_kms_key)
        elif settings.sealing_secret:
            keys = RingInSecret(lambda: self._secret(settings.sealing_secret, "the sealing keys"), now_ms)
        return Sealer(keys, frozenset(settings.sensitive_fields))

    @cached_property
    def _holds(self) -> Holds:
        from stocktake.repair import Holds

        return Holds(self._aligner("reconciliation"), self.operations, now=now_ms)

    def _aligner(self, source: str) -> Aligner:
        from stocktake.alignment import Aligner

        return Aligner(self.store, self.ledger, self.layouts, self.object_deletions, self._rules, now_ms, source)

    def _queue(self, url: str, setting: str) -> Queue:
        from stocktake.messaging import Queue

        return Queue(self._client("sqs"), _own(url, setting))

    def _client(self, service: str, config: Config = _CONFIG, **keys: str | None) -> Any:
        with self._making:
            return self._boto3.client(service, config=config, **keys)  # type: ignore[call-overload]  # the name is not a literal here

    @cached_property
    def _store_client(self) -> S3Client:
        settings = self.settings
        access_key_id, secret_access_key = self._store_keys
        with self._making:
            return make_client(
                region=settings.storage_region,
                endpoint_url=settings.storage_endpoint or None,
                access_key_id=access_key_id,
                secret_access_key=secret_access_key,
                addressing=settings.storage_addressing,
                read_seconds=settings.storage_read_seconds,
                session=self._boto3,
            )

    def _known_profile(self) -> Profile | None:
        try:
            return self.conformance.known()
        except StocktakeError:
            if not self._tolerant:
                raise
            return None  # what is wrong with the ledger is not the bucket's fault

    @cached_property
    def _store_keys(self) -> tuple[str, str] | tuple[None, None]:
        """Reads the store's keys from the secret; no keys to use the function's own role."""
        secret = self.settings.storage_credentials_secret
        if not secret:
            return None, None
        access_key_id, secret_access_key = self._secret_fields(secret, "the storage credentials", "access_key_id", "secret_access_key")
        return access_key_id, secret_access_key

    def _secret_fields(self, secret: str, what: str, *names: str) -> list[str]:
        """Reads the members of a secret that is a JSON object of texts."""
        try:
            document = json.loads(self._secret(secret, what))
            return [document[name] for name in names]
        except (ValueError, KeyError, TypeError) as error:
            # the cause is not chained: its text can hold what was in the secret
            members = ", ".join(f'"{name}": "..."' for name in names)
            raise ConfigurationError(f"the secret of {what} must hold JSON {{{members}}}") from (
                None if isinstance(error, ValueError) else error
            )

    def _secret(self, secret: str, what: str) -> str:
        try:
            return str(self._client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
        except KeyError:
            raise ConfigurationError(f"the secret of {what} holds bytes: put JSON text into it") from None
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            raise ConfigurationError(f"the secret of {what} cannot be read ({code}): see the function's role") from error


def _own(value: str, setting: str) -> str:
    """Returns a setting that only the functions have that need it. Raises ConfigurationError in every other."""
    if not value:
        raise ConfigurationError(f"{setting} is not set: this function is not one that needs it, or the template lost it")
    return value


def _quota(objects: int, size: int) -> Quota | None:
    """Makes the default quota of its settings, where 0 stands for none."""
    return Quota(objects or None, size or None) if objects or size else None


services = Services(os.environ)
"""The deployment this process belongs to. Nothing is read or made until a flow is asked for."""

tolerant_services = Services(os.environ, tolerant=True)
"""The same, for whoever looks what is wrong with it."""
