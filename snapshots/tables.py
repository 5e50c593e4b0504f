"""The tables that we own, all in schema `signals`: what is published, and the ledger of what ran.

Source: docs/architecture.md#tables, docs/specification-notes.md#content-and-confirmation,
    docs/specification-notes.md#fencing-and-the-database-clock, docs/specification-notes.md#rescoring.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA: Final = "signals"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    },
)

Bytewise: Final = Text(collation="C")
Instant: Final = DateTime(timezone=True)

#: Publication is fenced by these numbers: drawn once the lock is held, compared before a row is replaced.
fence_sequence = Sequence("fence", metadata=metadata, data_type=BigInteger)

signal = Table(
    "signal",
    metadata,
    Column(
        "name",
        Text,
        primary_key=True,
        comment="A signal of this installation; `activity migrate` adds those of its version",
    ),
)

refresh = Table(
    "refresh",
    metadata,
    Column("refresh_id", BigInteger, Identity(always=True), primary_key=True),
    Column("signal", Text, ForeignKey(signal.c.name), nullable=False),
    Column("shard", SmallInteger, nullable=False, server_default="0"),
    Column("mode", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("tenants", ARRAY(Text), comment="The tenants asked for; NULL is all of them"),
    Column("shards", SmallInteger, nullable=False, server_default="1", comment="How many shards there were"),
    Column("is_full", Boolean, nullable=False, server_default=text("false"), comment="Asked to read every row anew"),
    Column("method", Text, comment="incremental, or full where every row was read"),
    Column("marks", BigInteger, comment="Change marks that were consumed"),
    Column("drift", Integer, comment="Tenants that a reconcile had to repair; NULL where nothing was compared"),
    Column("state", Text, nullable=False),
    Column("requested_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("as_of", Instant),
    Column("fence", BigInteger),
    Column("tenants_seen", Integer),
    Column("tenants_changed", Integer),
    Column("rows_changed", BigInteger),
    Column("error_class", Text),
    Column("error", Text),
    Column("tenants_failed", Integer, comment="Tenants that were left out, since their data breaks a query"),
    CheckConstraint("mode in ('tick', 'reconcile', 'manual')", name="known_mode"),
    CheckConstraint("state in ('requested', 'running', 'succeeded', 'failed', 'coalesced')", name="known_state"),
    CheckConstraint("method in ('incremental', 'full')", name="known_method"),
    CheckConstraint("shard >= 0 and shard < shards", name="shard_of_shards"),
    CheckConstraint(
        "(state in ('succeeded', 'failed', 'coalesced')) = (finished_at is not null)", name="finished_when_over"
    ),
    # Serves `activity status` and the newest attempt per signal.
    Index(None, "signal", "refresh_id"),
    # Serves `signals.prune`.
    Index(None, "requested_at"),
    # Serves the search for refreshes of lost workers.
    Index("ix_refresh_running", "signal", postgresql_where=text("state = 'running'")),
)

#: The view of the ledger that the reader may see: how refreshes went, not for whom.
attempt = Table(
    "attempt",
    MetaData(schema=SCHEMA),
    Column("refresh_id", BigInteger),
    *(Column(name, Text) for name in ("signal", "state", "error_class")),
    *(Column(name, SmallInteger) for name in ("shard", "shards")),
    *(Column(name, Instant) for name in ("started_at", "finished_at")),
)

freshness = Table(
    "freshness",
    metadata,
    Column("signal", Text, nullable=False),
    Column("slot", SmallInteger, nullable=False),
    Column("as_of", Instant, nullable=False, comment="The instant that the slot's snapshots answer for"),
    Column("verified_at", Instant, nullable=False, comment="When every tenant of the slot was last confirmed"),
    Column("period_s", Integer, nullable=False),
    Column("window_json", Text, comment="The `window` member of the body; NULL where the signal has none"),
    Column("empty_content", Text, nullable=False, comment="What a tenant without findings is served"),
    Column("rule_version", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("refresh_id", BigInteger, nullable=False),
    Column(
        "refreshes", BigInteger, nullable=False, server_default=text("0"), comment="How often the slot was confirmed"
    ),
    PrimaryKeyConstraint("signal", "slot"),
    CheckConstraint("period_s > 0", name="period_positive"),
    CheckConstraint("slot between 0 and 63", name="known_slot"),
    postgresql_with={"fillfactor": "50"},
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("signal", Text, nullable=False),
    Column("version", BigInteger, nullable=False, comment="Counts the changes of content, from 1"),
    Column("content", Text, nullable=False, comment="A JSON object without window and snapshot, ready to send"),
    Column("items", ARRAY(Text), comment="The list's items as JSON, for limits other than the default"),
    Column("basis", Text, nullable=False, comment="Differs when the content does, the clock's own movement aside"),
    Column("shape", Text, nullable=False, comment="Differs when membership, order or reasons do"),
    Column("window_json", Text),
    Column("as_of", Instant, nullable=False),
    Column("computed_at", Instant, nullable=False),
    Column("rule_version", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("refresh_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "signal"),
    CheckConstraint("version > 0", name="version_positive"),
    CheckConstraint("tenant_id <> ''", name="tenant_named"),
    # Serves the rescoring of queues that have grown old.
    Index(None, "as_of", postgresql_where=text("signal = 'attention'")),
    postgresql_with={"fillfactor": "60"},
)

snapshot_history = Table(
    "snapshot_history",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("signal", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Column("items", ARRAY(Text)),
    Column("window_json", Text),
    Column("as_of", Instant, nullable=False),
    Column("computed_at", Instant, nullable=False),
    Column("rule_version", Text, nullable=False),
    Column("replaced_at", Instant, nullable=False, comment="as_of of the version that came after; the partition key"),
    PrimaryKeyConstraint("tenant_id", "signal", "version", "replaced_at"),
    postgresql_partition_by="RANGE (replaced_at)",
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("signal", Text, ForeignKey(signal.c.name), nullable=False),
    Column("tenant_id", Bytewise, nullable=False),
    Column("failures", Integer, nullable=False, comment="Attempts in a row that failed"),
    Column("error_class", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("first_failed_at", Instant, nullable=False),
    Column("last_failed_at", Instant, nullable=False),
    Column("retry_at", Instant, nullable=False),
    Column("as_of", Instant, comment="The instant that its snapshot was last confirmed for"),
    Column("window_json", Text),
    PrimaryKeyConstraint("signal", "tenant_id"),
    CheckConstraint("failures > 0", name="failures_positive"),
    CheckConstraint("tenant_id <> ''", name="tenant_named"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("key_id", Text, primary_key=True, comment="The visible prefix of the key"),
    Column("tenant_id", Bytewise, nullable=False),
    Column("secret_sha256", Text, nullable=False, comment="Hex SHA-256 of the secret, which has 256 random bits"),
    Column("capabilities", ARRAY(Text), nullable=False),
    Column("label", Text, nullable=False, server_default=""),
    Column("created_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant, comment="To the minute"),
    CheckConstraint("tenant_id <> ''", name="tenant_named"),
    CheckConstraint("secret_sha256 ~ '^[0-9a-f]{64}$'", name="secret_hashed"),
    CheckConstraint("expires_at > created_at", name="expires_after_creation"),
    # Serves `activity keys list --tenant`.
    Index(None, "tenant_id"),
)

created_object = Table(
    "created_object",
    metadata,
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False, comment="Qualified by schema, and for a column by its table"),
    Column("revision", Text, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("kind", "name"),
    CheckConstraint("kind in ('table', 'view', 'index', 'column')", name="known_kind"),
)

source_mapping = Table(
    "source_mapping",
    metadata,
    Column("source", Text, primary_key=True, comment="Our name for the table"),
    Column("host_schema", Text, nullable=False),
    Column("host_table", Text, nullable=False),
    Column("columns", JSONB, nullable=False, comment="Those named otherwise, constant or absent, by our names"),
    CheckConstraint("source in ('runs', 'aos_traces', 'aos_trace_steps')", name="known_source"),
)
