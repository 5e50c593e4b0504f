"""Settings: `ACTIVITY_*` variables, read once at the start of a process and validated by name.

Source: docs/specification-notes.md#rescoring.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # pydantic resolves it
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, create_model, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from snapshots.errors import SettingsError
from snapshots.setting_files import PREFIX, UrlFiles
from snapshots.setting_kinds import (
    Algorithms,
    DatabaseUrl,
    Flag,
    KeySource,
    NotBlank,
    Number,
    RedisUrl,
    Seconds,
    listed,
)
from snapshots.signal_catalogue import CATALOGUE, setting_fields

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource


if TYPE_CHECKING:

    class SignalSettings(BaseSettings):
        """Periods and thresholds of the signals; their names come from the catalogue."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # a number or a flag, by the signal's file
            """Return a period or a threshold."""

else:
    SignalSettings = create_model(
        "SignalSettings",
        __base__=BaseSettings,
        **{name: field for each in CATALOGUE.values() for name, field in setting_fields(each).items()},
    )


class Settings(SignalSettings):
    """Every setting of every part, with its default and its unit.

    Raises through `load`: SettingsError naming the variable and what was expected.
    Source: docs/operations.md; thresholds: docs/specification-notes.md#pattern-window-and-thresholds.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, and the files that it names; no `.env` file and no folder of secrets."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, UrlFiles(settings_cls)

    database_url: DatabaseUrl | None = Field(
        None, description="PostgreSQL URL of the owner: migrations, and every part without a URL of its own"
    )
    worker_database_url: DatabaseUrl | None = Field(None, description="PostgreSQL URL of the worker role")
    auth_database_url: DatabaseUrl | None = Field(None, description="PostgreSQL URL of the role that looks up API keys")
    reader_database_url: DatabaseUrl | None = Field(None, description="PostgreSQL URL of the role that serves reads")
    triage_database_url: DatabaseUrl | None = Field(None, description="PostgreSQL URL of the role that writes triage")
    ingest_database_url: DatabaseUrl | None = Field(None, description="PostgreSQL URL of the role that takes traces in")
    broker_url: RedisUrl | None = Field(None, description="Redis or Valkey URL of the message broker")
    source_mapping: Path | None = Field(
        None, description="TOML file that says what a host names the source tables and columns; read by `migrate`"
    )

    extras: Flag = Field(default=True, description="Compute the extra fields, which the specification does not define")
    exclude_synthetic: Flag = Field(default=False, description="Leave synthetic runs out of every signal")

    attention_rescore_s: Seconds = Field(
        300, description="Age at which an unchanged attention queue is rescored, seconds"
    )
    uncaptured_period_s: Seconds = Field(
        300,
        description="Least seconds between refreshes where no triggers capture changes and every row is read",
    )
    shards: Annotated[Literal[1, 2, 4, 8, 16, 32, 64], Number] = Field(
        1, description="Shards of tenants, refreshed in parallel"
    )
    refresh_batch_marks: int = Field(
        50_000, ge=1, le=10_000_000, description="Change marks that one transaction of a refresh consumes"
    )
    reconcile_period_s: Seconds = Field(3600, description="Seconds between full recomputes")
    prune_period_s: Seconds = Field(3600, description="Seconds between removals of what retention no longer keeps")
    history_days: int = Field(7, ge=1, le=365, description="Days for which replaced snapshots are kept")
    triage_days: int = Field(365, ge=1, le=3650, description="Days for which what people said of items is kept")
    notify_period_s: Seconds = Field(15, description="Seconds between looks for changes to tell webhooks of")
    notify_attempts: int = Field(
        8, ge=1, le=20, description="Attempts after which what a webhook was to be told is a dead letter"
    )
    notify_private: Flag = Field(
        default=False, description="Let webhooks lead to addresses that are not public, and to http"
    )
    ledger_days: int = Field(14, ge=1, le=365, description="Days for which the ledger of refreshes is kept")
    quarantine_after: int = Field(
        3, ge=1, le=100, description="Failures in a row from which a tenant is retried less and less often"
    )
    refresh_timeout_s: int = Field(240, ge=1, le=1200, description="statement_timeout of a refresh, seconds")
    refresh_lock_timeout_s: int = Field(
        10, ge=1, le=300, description="lock_timeout of a refresh, seconds: it gives way then, and is tried again"
    )
    refresh_work_mem_mb: int = Field(
        64, ge=4, le=4096, description="Memory of each sort or hash of a refresh, MB: too little and it sorts on disk"
    )
    worker_concurrency: int = Field(2, ge=1, le=64, description="Worker processes per `activity worker`")
    worker_max_memory_mb: int = Field(
        512, ge=128, le=65_536, description="Memory from which a worker process is replaced after its task, MB"
    )

    api_host: str = Field("127.0.0.1", description="Address on which the API listens")
    api_port: int = Field(8000, ge=1, le=65_535, description="Port on which the API listens")
    api_processes: int = Field(1, ge=1, le=64, description="API processes")
    api_threads: int = Field(
        4, ge=1, le=256, description="Requests that an API process works on at a time; more slow down repeated answers"
    )
    live_timeout_ms: int = Field(5000, ge=1, description="statement_timeout of a live query, milliseconds")
    api_live_concurrency: int = Field(
        3,
        ge=1,
        le=256,
        description="Live queries among them, one fewer than they are at most; more are refused with 503",
    )
    rate_limit_snapshots: int = Field(
        6000, ge=1, le=10_000_000, description="Snapshot reads per minute, API process and key; more are refused"
    )
    rate_limit_live: int = Field(
        600, ge=1, le=10_000_000, description="Live queries per minute and key, over all API processes"
    )
    rate_limit_logins: int = Field(
        30,
        ge=1,
        le=10_000_000,
        description="Wrong credentials per minute, API process and address at the console's login",
    )
    rate_limit_url: RedisUrl | None = Field(
        None, description="Redis or Valkey URL that counts live queries; without it each API process counts its own"
    )
    cors_origins: str = Field(
        "", description="Origins that browsers may read from, like https://ops.example.com, separated by commas"
    )
    metrics: Flag = Field(default=True, description="Serve /metrics, which needs no key and names no tenant")
    console: Flag = Field(default=True, description="Serve the console at /console/, and sessions for it")
    access_log: Flag = Field(default=True, description="Log every request as a line of JSON on standard output")

    api_keys: Flag = Field(default=True, description="Accept API keys; when false, tokens alone are accepted")
    jwt_issuer: NotBlank | None = Field(None, description="Issuer of the JSON web tokens to accept; none without it")
    jwt_audience: NotBlank | None = Field(None, description="Audience that a token must name")
    jwt_algorithms: Algorithms = Field(
        "RS256,ES256", description="Signature algorithms that are accepted, separated by commas; asymmetric ones only"
    )
    jwt_jwks: KeySource | None = Field(
        None, repr=False, description="Where the issuer's public keys are: a file, or an https URL (http on loopback)"
    )
    jwt_tenant_claim: str = Field("tenant_id", min_length=1, description="The claim that names the tenant")
    jwt_capabilities_claim: str = Field(
        "scope", min_length=1, description="The claim that lists capabilities: a list, or text separated by spaces"
    )
    jwt_leeway_s: int = Field(30, ge=0, le=300, description="Clock difference that is forgiven, seconds")

    ingest_host: str = Field("127.0.0.1", description="Address on which `activity receive` listens")
    ingest_port: int = Field(4318, ge=1, le=65_535, description="Port on which `activity receive` listens")
    ingest_processes: int = Field(1, ge=1, le=64, description="Receiving processes")
    ingest_threads: int = Field(4, ge=1, le=64, description="Requests that a receiving process reads at a time")
    ingest_max_body_mb: int = Field(
        8, ge=1, le=64, description="Largest body of a request, and largest body once it is decompressed, MB"
    )
    ingest_body_timeout_s: int = Field(
        30, ge=1, le=600, description="Seconds within which the whole body of a request must have come; else 408"
    )
    ingest_quiet_s: int = Field(
        30,
        ge=0,
        le=86_400,
        description="Seconds without a new span after which a trace whose root ended is written",
    )
    ingest_max_wait_s: int = Field(
        900, ge=1, le=604_800, description="Seconds after which a span is written, whatever its trace still waits for"
    )
    ingest_memory_days: int = Field(
        7, ge=1, le=365, description="Days for which spans are remembered, so that one sent again changes nothing"
    )
    prices: Literal["genai-prices", "none"] = Field(
        "genai-prices",
        description="Price list of models that the price file does not name; none leaves their cost unknown",
    )
    prices_file: NotBlank | None = Field(None, description="File of model prices, TOML or JSON; it wins over the list")
    derive: Flag = Field(
        default=True, description="Judge latency, evidence and risk of the runs that were made of traces taken in"
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged")

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        """Refuse tokens without what checks them, and a service that nobody could enter."""
        if self.jwt_issuer is not None:
            for name in ("jwt_audience", "jwt_jwks"):
                if getattr(self, name) is None:
                    msg = f"{PREFIX}{name.upper()}: not set; {PREFIX}JWT_ISSUER needs it"
                    raise ValueError(msg)
        elif not self.api_keys:
            msg = f"{PREFIX}API_KEYS: false leaves no credential at all; set {PREFIX}JWT_ISSUER to accept tokens"
            raise ValueError(msg)
        return self

    def signature_algorithms(self) -> tuple[str, ...]:
        """Return the signature algorithms that a token may have."""
        return listed(self.jwt_algorithms)

    def thresholds(self, signal: str) -> dict[str, int | float | bool]:
        """Return the thresholds of `signal` by the names that its body states them under."""
        declared = CATALOGUE[signal].thresholds
        return {name: getattr(self, threshold.setting or name) for name, threshold in declared.items()}

    def period_s(self, signal: str, *, is_captured: bool = True) -> int:
        """Return the seconds between two refreshes of `signal`; longer where every row has to be read.

        Never so long that a queue's scores outlive their limit.
        """
        period = int(getattr(self, f"{signal}_period_s"))
        slower = min(self.uncaptured_period_s, self.attention_rescore_s if signal == "attention" else 86_400)
        return period if is_captured else max(period, slower)


def load(**overrides: object) -> Settings:
    """Return the settings of this process: the environment's, and `overrides` on top.

    Raises SettingsError with one line per setting at fault; values are never repeated (they may be secrets).
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic validates them
    except ValidationError as ex:
        raise SettingsError("; ".join(_explain(dict(error)) for error in ex.errors())) from None


def _explain(error: dict[str, object]) -> str:
    location, reason = error["loc"], str(error["msg"]).removeprefix("Value error, ")
    if not (isinstance(location, tuple) and location):
        return reason  # a check across settings names the one to change
    return f"{PREFIX}{str(location[0]).upper()}: {reason}"
