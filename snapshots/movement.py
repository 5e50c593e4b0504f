"""The tables of movement: what entered, left, rose and fell, in order and without a gap.

They stand beside the snapshots, which stay a function of the source and of an instant alone. Source: docs/triage.md.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from snapshots.tables import Bytewise, Instant, metadata

#: What can happen to an item; `worsened` is a rise that asks for a second look.
KINDS: Final = ("entered", "left", "rose", "fell", "worsened")

_KNOWN_KIND: Final = "kind in ('entered', 'left', 'rose', 'fell', 'worsened')"

movement = Table(
    "movement",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("signal", Text, nullable=False),
    Column("version", BigInteger, nullable=False, comment="The version of the snapshot that it goes with"),
    Column("marks", ARRAY(Text), nullable=False, comment="What each item carries, in the items' order: JSON, open"),
    Column("entered", ARRAY(BigInteger), nullable=False, comment="The refresh of the slot at which each item entered"),
    Column("lengths", ARRAY(Integer), nullable=False, comment="Characters of each item within the content"),
    Column("departed", Text, nullable=False, comment="What left with this version: a JSON array"),
    PrimaryKeyConstraint("tenant_id", "signal"),
)

item_state = Table(
    "item_state",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("signal", Text, nullable=False),
    Column("fingerprint", Bytewise, nullable=False),
    Column("key", JSONB, nullable=False),
    Column("value", Numeric, nullable=False, comment="As of the last change"),
    Column("severity", Numeric, nullable=False, comment="What rises and falls; moves with no clock"),
    Column("mark", Numeric, nullable=False, comment="The least severity since it entered or last worsened"),
    Column("traits", ARRAY(Text), nullable=False, comment="Gaining one is worsening, whatever the severity"),
    Column("first_seen_at", Instant, nullable=False),
    Column("entered_refresh", BigInteger, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("left_at", Instant, comment="NULL while it is there"),
    PrimaryKeyConstraint("tenant_id", "signal", "fingerprint"),
    CheckConstraint("fingerprint ~ '^[0-9a-f]{32}$'", name="fingerprint_hex"),
    # Serves publication: which items of a tenant are gone.
    Index("ix_item_state_present", "tenant_id", "signal", postgresql_where=text("left_at is null")),
    # Serves the movement of the last 24 hours.
    Index("ix_item_state_changed", "tenant_id", "signal", "changed_at"),
    # Serves `signals.prune`.
    Index("ix_item_state_left", "left_at", postgresql_where=text("left_at is not null")),
)

signal_change = Table(
    "signal_change",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("change_no", BigInteger, nullable=False, comment="From 1 per tenant, no gaps, in the order of commits"),
    Column("signal", Text, nullable=False),
    Column("fingerprint", Bytewise, nullable=False),
    Column("key", JSONB, nullable=False),
    Column("kind", Text, nullable=False),
    Column("rank", Integer, comment="NULL when it left, or stands beyond the items that are stored"),
    Column("previous_rank", Integer, comment="In the version before"),
    Column("value", Numeric),
    Column("previous_value", Numeric, comment="As of the change before"),
    Column("severity", Numeric),
    Column("previous_severity", Numeric),
    Column("at", Instant, nullable=False, comment="as_of of the refresh that saw it"),
    Column("version", BigInteger, nullable=False),
    Column("recorded_at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    PrimaryKeyConstraint("tenant_id", "change_no"),
    CheckConstraint("change_no > 0", name="change_no_positive"),
    CheckConstraint(_KNOWN_KIND, name="known_kind"),
    # Serves the history of an item, and what it was 24 hours ago.
    Index("ix_signal_change_item", "tenant_id", "signal", "fingerprint", "at"),
    # Serves `signals.prune`.
    Index(None, "recorded_at"),
)

change_counter = Table(
    "change_counter",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("last_no", BigInteger, nullable=False),
    Column(
        "stream",
        Text,
        nullable=False,
        server_default=text("gen_random_uuid()::text"),
        comment="Differs when the numbers began anew",
    ),
    PrimaryKeyConstraint("tenant_id"),
    CheckConstraint("last_no >= 0", name="last_no_not_negative"),
)

#: What publication keeps beside the snapshots; each tenant reads its own rows.
TABLES: Final = (movement, item_state, signal_change, change_counter)
