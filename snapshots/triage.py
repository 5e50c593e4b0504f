"""The tables of triage: what people said of items, append-only, and the state that follows from it.

Source: docs/triage.md.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from snapshots.tables import Bytewise, Instant, metadata, signal

#: What can be said of an item, and the state that it is in then; `open` is what everything is in at first.
STATES: Final = {"acknowledge": "acknowledged", "snooze": "snoozed", "expect": "expected", "reopen": "open"}
#: How long a snooze may last.
SHORTEST: Final = timedelta(minutes=15)
LONGEST_SNOOZE: Final = timedelta(hours=24)
LONGEST_EXPECTATION: Final = timedelta(days=366)
MAX_REASON_CHARS: Final = 200
MAX_COMMENT_CHARS: Final = 2000
#: Who reopens what has become worse.
SYSTEM: Final = "system"


triage_event = Table(
    "triage_event",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("event_no", BigInteger, Identity(always=True), nullable=False),
    Column("signal", Text, ForeignKey(signal.c.name), nullable=False),
    Column("fingerprint", Bytewise, nullable=False),
    Column("key", JSONB, nullable=False),
    Column("action", Text, nullable=False),
    Column("until", Instant),
    Column("reason", Text),
    Column("comment", Text),
    Column("actor", Text, nullable=False, comment="The key or the subject of the token that asked, or system"),
    Column("at", Instant, nullable=False, server_default=text("clock_timestamp()")),
    Column("request_key", Text, comment="What the client named the request, so that it can repeat it"),
    Column("request_sha256", Text),
    PrimaryKeyConstraint("tenant_id", "event_no"),
    CheckConstraint("action in ('acknowledge', 'snooze', 'expect', 'reopen')", name="known_action"),
    CheckConstraint("(action in ('snooze', 'expect')) = (until is not null)", name="ends_when_it_must"),
    CheckConstraint("action <> 'expect' or reason is not null", name="expected_for_a_reason"),
    CheckConstraint("length(reason) <= 200 and length(comment) <= 2000 and length(actor) <= 300", name="words_bounded"),
    UniqueConstraint("tenant_id", "request_key", name="uq_triage_event_request"),
    # Serves the history of an item.
    Index("ix_triage_event_item", "tenant_id", "fingerprint", "event_no"),
    # Serves `signals.prune`.
    Index(None, "at"),
)

triage = Table(
    "triage",
    metadata,
    Column("tenant_id", Bytewise, nullable=False),
    Column("signal", Text, nullable=False),
    Column("fingerprint", Bytewise, nullable=False),
    Column("state", Text, nullable=False),
    Column("until", Instant),
    Column("reason", Text),
    Column("comment", Text),
    Column("actor", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("event_no", BigInteger, nullable=False, comment="The latest event of the item, which this is made of"),
    PrimaryKeyConstraint("tenant_id", "signal", "fingerprint"),
    CheckConstraint("state in ('open', 'acknowledged', 'snoozed', 'expected')", name="known_state"),
    # Serves publication: how many items a tenant does not want to see for now.
    Index("ix_triage_snoozed", "signal", "tenant_id", postgresql_where=text("state = 'snoozed'")),
)

TABLES: Final = (triage_event, triage)
