"""The settings of one deployment, read from the environment by `services` and checked before anything is made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from stocktake.errors import ConfigurationError

MAX_OBJECT_BYTES = 5 * 1024**4
"""S3: an object has at most 5 TiB; R2 takes a little less."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_R2_QUEUE_API = re.compile(r"https://api\.cloudflare\.com|http://127\.0\.0\.1:[0-9]{1,5}")
"""Nothing else is sent the token."""
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}(\.fifo)?")
_STORE_PRICES = re.compile(r"|off|[0-9]{1,4}(\.[0-9]{1,6})?(,[0-9]{1,4}(\.[0-9]{1,6})?){2}")

Addressing = Literal["auto", "path", "virtual"]
Standing = Literal["set", "not set", "malformed"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the template hands every function. Times in seconds unless the name says otherwise; `""` means not set."""

    storage_bucket: str
    storage_endpoint: str
    storage_region: str
    storage_credentials_secret: str
    storage_addressing: Addressing
    storage_read_seconds: int
    public_base_url: str
    cdn_zone_id: str
    cdn_secret: str
    objects_table: str
    projects_table: str
    operations_table: str
    operations_bucket: str
    inventory_bucket: str
    ledger_shards: int
    event_bus: str
    deletion_queue_url: str
    deletion_batch_queue_url: str
    deletion_dead_letter_queue_url: str
    object_events_queue_url: str
    dead_letter_queues: Mapping[str, str]
    r2_queue_api: str
    r2_queue_account: str
    r2_queue_id: str
    r2_queue_token_secret: str
    webhook_secret: str
    state_machine_arn: str
    reconciliation_workers: int
    store_prices: str
    max_upload_bytes: int
    max_object_bytes: int
    warn_upload_bytes: int
    max_pixels: int
    max_side: int
    allowed_types: tuple[str, ...]
    batch_items: int
    batch_workers: int
    import_hosts: tuple[str, ...]
    max_import_bytes: int
    enable_storage: bool
    max_inline_bytes: int
    migration_batch: int
    migration_queue_url: str
    default_quota_objects: int
    default_quota_bytes: int
    sensitive_fields: tuple[str, ...]
    sealing_secret: str
    sealing_kms_key: str
    default_cache_control: str
    presigned_seconds: int
    multipart_seconds: int
    grace_margin_seconds: int
    early_grace_seconds: int
    longest_put_seconds: int
    early_sweep_seconds: int
    undo_days: int
    quarantine_days: int
    breaker_max_actions: int
    breaker_max_percent: int
    breaker_max_per_project: int
    token_issuer: str
    token_audience: str
    token_jwks_url: str
    token_scope_prefix: str
    token_projects_claim: str

    @property
    def grace_seconds(self) -> int:
        """Below which age nothing is judged: twice the longest life of a URL, since one may be used in its last second, and a margin."""
        return self.early_grace_seconds or 2 * max(self.presigned_seconds, self.multipart_seconds) + self.grace_margin_seconds

    @property
    def early_settings(self) -> tuple[str, ...]:
        """The settings by which a wait ends before what it waits for has, which is for trials alone."""
        early = (("EARLY_GRACE_SECONDS", self.early_grace_seconds), ("EARLY_SWEEP_SECONDS", self.early_sweep_seconds))
        return tuple(name for name, seconds in early if seconds)

    @property
    def sweep_delay_seconds(self) -> int:
        """From a deletion to its final sweep: the life of a URL given out before, and the longest PUT begun in its last second.

        Parts need no wait of their own: the sweep aborts every open upload, and nothing but this API completes one.
        """
        return self.early_sweep_seconds or self.presigned_seconds + self.longest_put_seconds


@dataclass(slots=True)
class _Reader:
    environment: Mapping[str, str]
    complaints: list[str] = field(default_factory=list)  # each begins with the setting's name
    names: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        value = self.optional(name)
        if not value:
            self.complaints.append(f"{name} is not set")
        return value

    def optional(self, name: str) -> str:
        self.names.append(name)
        return self.environment.get(name, "")

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word for word in (part.strip() for part in self.optional(name).split(",")) if word)

    def queues(self, name: str) -> Mapping[str, str]:
        """Reads `deletion=stack-DeletionDeadLetterQueue-ABC,...`: what a queue is for, and its name."""
        queues = {word.partition("=")[0]: word.partition("=")[2] for word in self.words(name)}
        if not all(_QUEUE_NAME.fullmatch(queue) for queue in queues.values()):
            self.complaints.append(f"{name} must be words with the names of queues, as deletion=NAME, with commas between")
            return {}
        return queues

    def addressing(self, name: str) -> Addressing:
        match self.text(name):
            case "auto" | "path" | "virtual" as addressing:
                return addressing
            case "":
                return "auto"
        self.complaints.append(f"{name} must be one of auto, path, virtual")
        return "auto"

    def flag(self, name: str) -> bool:
        value = self.text(name)
        if value not in ("", "true", "false"):
            self.complaints.append(f"{name} must be true or false")
        return value == "true"

    def number(self, name: str, least: int, most: int, *, absent: str | None = None) -> int:
        """Reads a whole number; `absent` stands for a setting that this function is not given."""
        value = self.text(name) if absent is None else self.optional(name) or absent
        if value and not (value.isascii() and value.isdigit() and least <= int(value) <= most):
            self.complaints.append(f"{name} must be a whole number from {least} to {most}")
            return least
        return int(value) if value else least

    def power_of_two(self, name: str, most: int) -> int:
        number = self.number(name, 1, most)
        if number & (number - 1):
            self.complaints.append(f"{name} must be a power of two from 1 to {most}")
            return 1
        return number


def is_https_or_loopback(url: str) -> bool:
    """Says whether what comes from a URL can be believed: TLS tells who sent it, and the loopback is this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))


@dataclass(frozen=True, slots=True)
class Audit:
    """The settings as far as they can be read, and what is wrong with the others.

    Args:
        settings: what is malformed stands at its least, what is not set at nothing.
        standing: of every setting by its name: `set`, `not set` or `malformed`. No value is in it.
        complaints: one for each fault; it begins with the setting's name and shows no value.
    """

    settings: Settings
    standing: Mapping[str, Standing]
    complaints: tuple[str, ...]

    def about(self, *beginnings: str) -> tuple[str, ...]:
        """Returns the complaints about settings whose names begin like this."""
        return tuple(complaint for complaint in self.complaints if complaint.startswith(beginnings))


def read_settings(environment: Mapping[str, str], *, tolerant: bool = False) -> Settings:
    """Reads and checks the settings.

    Args:
        tolerant: take what can be read of them, as `Audit` says, and complain of nothing: for who looks what is wrong.

    Raises:
        ConfigurationError: with every complaint at once; it names settings and never shows their values.
    """
    found = audit(environment)
    if found.complaints and not tolerant:
        raise unusable(found.complaints)
    return found.settings


def unusable(complaints: Sequence[str]) -> ConfigurationError:
    """Makes the error of settings that cannot be used."""
    return ConfigurationError(f"the settings of this function cannot be used: {'; '.join(complaints)}. Correct the stack's parameters")


def audit(environment: Mapping[str, str]) -> Audit:
    """Reads the settings as far as they can be read, and says of each how it stands."""
    reader = _Reader(environment)
    settings = Settings(
        storage_bucket=reader.text("STORAGE_BUCKET"),
        storage_endpoint=reader.optional("STORAGE_ENDPOINT"),
        storage_region=reader.text("STORAGE_REGION"),
        storage_credentials_secret=reader.optional("STORAGE_CREDENTIALS_SECRET"),
        storage_addressing=reader.addressing("STORAGE_ADDRESSING"),
        storage_read_seconds=reader.number("STORAGE_READ_SECONDS", 1, 300),
        public_base_url=reader.optional("PUBLIC_BASE_URL"),
        cdn_zone_id=reader.optional("CDN_ZONE_ID"),
        cdn_secret=reader.optional("CDN_SECRET"),
        objects_table=reader.text("OBJECTS_TABLE"),
        projects_table=reader.text("PROJECTS_TABLE"),
        operations_table=reader.text("OPERATIONS_TABLE"),
        operations_bucket=reader.text("OPERATIONS_BUCKET"),
        inventory_bucket=reader.optional("INVENTORY_BUCKET"),
        ledger_shards=reader.power_of_two("LEDGER_SHARDS", 64),
        event_bus=reader.text("EVENT_BUS"),
        deletion_queue_url=reader.optional("DELETION_QUEUE_URL"),
        deletion_batch_queue_url=reader.optional("DELETION_BATCH_QUEUE_URL"),
        deletion_dead_letter_queue_url=reader.optional("DELETION_DEAD_LETTER_QUEUE_URL"),
        object_events_queue_url=reader.optional("OBJECT_EVENTS_QUEUE_URL"),
        dead_letter_queues=reader.queues("DEAD_LETTER_QUEUES"),
        r2_queue_api=reader.optional("R2_QUEUE_API"),
        r2_queue_account=reader.optional("R2_QUEUE_ACCOUNT"),
        r2_queue_id=reader.optional("R2_QUEUE_ID"),
        r2_queue_token_secret=reader.optional("R2_QUEUE_TOKEN_SECRET"),
        webhook_secret=reader.optional("WEBHOOK_SECRET"),
        state_machine_arn=reader.optional("RECONCILIATION_STATE_MACHINE_ARN"),
        reconciliation_workers=reader.number("RECONCILIATION_WORKERS", 1, 100),
        store_prices=reader.optional("STORE_PRICES"),
        max_upload_bytes=reader.number("MAX_UPLOAD_BYTES", 1, 4_500_000),
        max_object_bytes=reader.number("MAX_OBJECT_BYTES", 1, MAX_OBJECT_BYTES),
        warn_upload_bytes=reader.number("WARN_UPLOAD_BYTES", 1, MAX_OBJECT_BYTES),
        max_pixels=reader.number("MAX_PIXELS", 1, 1_000_000_000),
        max_side=reader.number("MAX_SIDE", 1, 1_000_000),
        allowed_types=reader.words("ALLOWED_TYPES"),
        batch_items=reader.number("BATCH_ITEMS", 1, 100),
        batch_workers=reader.number("BATCH_WORKERS", 1, 20),
        import_hosts=reader.words("IMPORT_HOSTS"),
        max_import_bytes=reader.number("MAX_IMPORT_BYTES", 1, 200_000_000),
        enable_storage=reader.flag("ENABLE_STORAGE"),
        max_inline_bytes=reader.number("MAX_INLINE_BYTES", 1, 350_000),
        migration_batch=reader.number("MIGRATION_BATCH", 1, 100),
        migration_queue_url=reader.optional("MIGRATION_QUEUE_URL"),
        default_quota_objects=reader.number("DEFAULT_QUOTA_OBJECTS", 0, 1_000_000_000_000),
        default_quota_bytes=reader.number("DEFAULT_QUOTA_BYTES", 0, 1_000_000_000_000_000_000),
        sensitive_fields=reader.words("SENSITIVE_FIELDS"),
        sealing_secret=reader.optional("SEALING_SECRET"),
        sealing_kms_key=reader.optional("SEALING_KMS_KEY"),
        default_cache_control=reader.text("DEFAULT_CACHE_CONTROL"),
        presigned_seconds=reader.number("PRESIGNED_SECONDS", 1, 604_800),
        multipart_seconds=reader.number("MULTIPART_SECONDS", 60, 604_800),
        grace_margin_seconds=reader.number("GRACE_MARGIN_SECONDS", 0, 2_592_000),
        early_grace_seconds=reader.number("EARLY_GRACE_SECONDS", 0, 86_400),
        longest_put_seconds=reader.number("LONGEST_PUT_SECONDS", 60, 86_400),
        early_sweep_seconds=reader.number("EARLY_SWEEP_SECONDS", 0, 86_400),
        undo_days=reader.number("UNDO_DAYS", 0, 90, absent="0"),
        quarantine_days=reader.number("QUARANTINE_DAYS", 1, 365),
        breaker_max_actions=reader.number("BREAKER_MAX_ACTIONS", 0, 100_000),
        breaker_max_percent=reader.number("BREAKER_MAX_PERCENT", 0, 100),
        breaker_max_per_project=reader.number("BREAKER_MAX_PER_PROJECT", 0, 100_000),
        token_issuer=reader.text("TOKEN_ISSUER"),
        token_audience=reader.text("TOKEN_AUDIENCE"),
        token_jwks_url=reader.optional("TOKEN_JWKS_URL"),
        token_scope_prefix=reader.optional("TOKEN_SCOPE_PREFIX"),
        token_projects_claim=reader.text("TOKEN_PROJECTS_CLAIM"),
    )
    for name, url in (("TOKEN_ISSUER", settings.token_issuer), ("TOKEN_JWKS_URL", settings.token_jwks_url)):
        if url and not is_https_or_loopback(url):
            reader.complaints.append(f"{name} must begin with https:// (or http:// on the loopback)")
    if settings.storage_endpoint and not settings.storage_endpoint.startswith(("https://", "http://")):
        reader.complaints.append("STORAGE_ENDPOINT must begin with https:// (or http:// on a private network)")
    if settings.storage_endpoint and not settings.storage_credentials_secret:
        reader.complaints.append("STORAGE_CREDENTIALS_SECRET must name a secret when STORAGE_ENDPOINT is set")
    if settings.sealing_secret and settings.sealing_kms_key:
        reader.complaints.append("SEALING_SECRET and SEALING_KMS_KEY are two ways to seal: set one")
    if settings.r2_queue_api and not _R2_QUEUE_API.fullmatch(settings.r2_queue_api):
        reader.complaints.append("R2_QUEUE_API must be https://api.cloudflare.com (or http://127.0.0.1:PORT, for a test)")
    if not _STORE_PRICES.fullmatch(settings.store_prices):
        reader.complaints.append("STORE_PRICES must be off, or three prices in USD a million: listings, reads, puts (4.5,0.36,4.5)")
    if settings.cdn_zone_id and not (settings.cdn_secret and settings.public_base_url):
        reader.complaints.append("CDN_ZONE_ID needs CDN_SECRET, the secret with its token, and PUBLIC_BASE_URL, the URLs it keeps")
    if settings.public_base_url.endswith("/"):
        reader.complaints.append("PUBLIC_BASE_URL must not end with a slash")
    malformed = {complaint.partition(" ")[0] for complaint in reader.complaints if not complaint.endswith(" is not set")}
    standing: dict[str, Standing] = {
        name: "malformed" if name in malformed else "set" if environment.get(name) else "not set" for name in reader.names
    }
    return Audit(settings, standing, tuple(reader.complaints))
