"""Spans of other tools: kept until their trace is whole, and remembered so that none is counted twice.

A trace is its run: `trace_id` is also the run's id. Source: docs/opentelemetry.md "What is kept".
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from snapshots.tables import Bytewise, Instant, metadata

#: Rows change with every request and every writing of a trace.
_BUSY: Final = {"autovacuum_vacuum_scale_factor": "0.05", "fillfactor": "80"}

#: One row for each trace of whatever tenant: the id is the host's key, so that the first tenant to send it has it.
ingested_trace = Table(
    "ingested_trace",
    metadata,
    Column("trace_id", Bytewise, nullable=False),
    Column("tenant_id", Bytewise, nullable=False),
    Column("spans", Integer, nullable=False, server_default="0", comment="Spans that were accepted"),
    Column("pending", Integer, nullable=False, server_default="0", comment="Those of them that are not written yet"),
    Column("refused", Integer, nullable=False, server_default="0", comment="Spans that found no room"),
    Column("steps", Integer, nullable=False, server_default="0", comment="Steps that were written"),
    Column("late", Integer, nullable=False, server_default="0", comment="Spans written after the trace first was"),
    Column("has_root", Boolean, nullable=False, server_default=text("false"), comment="Its outermost span has ended"),
    Column("first_arrived_at", Instant, nullable=False),
    Column("last_arrived_at", Instant, nullable=False),
    Column("pending_since", Instant, comment="When the first of the spans arrived that are not written yet"),
    Column("shown_at", Instant, comment="When the run was last brought up to date while spans were still to come"),
    Column("written_at", Instant, comment="When the trace was first written"),
    Column("is_underived", Boolean, nullable=False, server_default=text("false"), comment="Its run is to be judged"),
    Column("problem", Text, comment="Why the trace is not written"),
    PrimaryKeyConstraint("trace_id"),
    CheckConstraint("tenant_id <> ''", name="tenant_named"),
    CheckConstraint("pending between 0 and spans", name="pending_of_spans"),
    CheckConstraint("(pending > 0) = (pending_since is not null)", name="pending_since_an_instant"),
    # Serves the search for traces that are ready to be written.
    Index(None, "pending_since", postgresql_where=text("pending > 0")),
    # Serves the derivation.
    Index("ix_ingested_trace_underived", "trace_id", postgresql_where=text("is_underived")),
    # Serves the removal of what retention no longer keeps.
    Index(None, "last_arrived_at"),
    postgresql_with=_BUSY,
)

ingested_span = Table(
    "ingested_span",
    metadata,
    Column("trace_id", Bytewise, nullable=False),
    Column("span_id", Bytewise, nullable=False),
    Column("tenant_id", Bytewise, nullable=False),
    Column("payload", JSONB, nullable=False, comment="What the signals need of it; no prompt and no answer"),
    Column("arrived_at", Instant, nullable=False),
    Column("written_at", Instant, comment="When it became part of the run; NULL while it waits"),
    Column("step_index", Integer, comment="The step that it became, where it is one"),
    Column("is_late", Boolean, nullable=False, server_default=text("false"), comment="It came after the trace"),
    PrimaryKeyConstraint("trace_id", "span_id"),
    CheckConstraint("tenant_id <> ''", name="tenant_named"),
    postgresql_with=_BUSY,
)
