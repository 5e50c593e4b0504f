"""The tables of notification: where changes are told to, and what could not be told. Source: docs/webhooks.md."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from snapshots.tables import Bytewise, Instant, metadata

FORMATS: Final = ("standard", "slack")

webhook = Table(
    "webhook",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("webhook_id", BigInteger, Identity(always=True), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False, comment="What its messages are signed with: needed as it is"),
    Column("format", Text, nullable=False),
    Column("signals", ARRAY(Text), nullable=False),
    Column("kinds", ARRAY(Text), nullable=False),
    Column("created_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("disabled_at", Instant),
    Column("last_no", BigInteger, nullable=False, comment="The last change that is delivered, or in a dead letter"),
    Column(
        "pending_no", BigInteger, comment="The last change of the message that is under way: fixed until it is over"
    ),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column(
        "retry_at",
        Instant,
        nullable=False,
        server_default=text("clock_timestamp()"),
        comment="Not tried before; also what keeps two workers off each other",
    ),
    Column("delivered_at", Instant),
    Column("error", Text),
    PrimaryKeyConstraint("webhook_id"),
    CheckConstraint("tenant_id <> ''", name="tenant_named"),
    CheckConstraint("format in ('standard', 'slack')", name="known_format"),
    CheckConstraint("attempts >= 0", name="attempts_not_negative"),
    # Serves `activity webhooks list --tenant`.
    Index(None, "tenant_id"),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("letter_id", BigInteger, Identity(always=True), nullable=False),
    Column("webhook_id", BigInteger, nullable=False),
    Column("message_id", Text, nullable=False),
    Column(
        "first_no",
        BigInteger,
        nullable=False,
        comment="The changes that the message told of, as signal_change numbers them",
    ),
    Column("last_no", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("died_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("letter_id"),
    # Serves `signals.prune`, and `activity status`, which counts those of the last day.
    Index(None, "died_at"),
)
