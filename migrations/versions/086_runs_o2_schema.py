"""The source tables, the view and the indexes that a host has from its revision 086, each only where absent.

Looser than the host's: data columns are nullable and costs have no scale, so that files from many tools load.

Revision ID: 086_runs_o2_schema
Revises:
Source: docs/specification-notes.md#numbers-and-rounding.
"""

from __future__ import annotations

from typing import Final

from migrations.objects import create, create_index, drop_recorded

revision = "086_runs_o2_schema"
down_revision = None
branch_labels = None
depends_on = None

RUNS: Final = """
create table public.runs (
    id varchar primary key,
    agent_id varchar,
    goal varchar,
    status varchar,
    attempts integer not null default 0,
    max_attempts integer not null default 3,
    error_message varchar,
    idempotency_key text,
    parent_run_id text,
    priority integer default 0,
    tenant_id text,
    is_synthetic boolean not null default false,
    synthetic_scenario_id text,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    completed_at timestamptz,
    next_attempt_at timestamptz,
    duration_ms double precision,
    state varchar(20) default 'LIVE',
    project_id varchar(36),
    last_seen_at timestamptz,
    source varchar(20) default 'agent',
    provider_type varchar(30) default 'anthropic',
    risk_level varchar(20) default 'NORMAL',
    latency_bucket varchar(20) default 'OK',
    evidence_health varchar(20) default 'FLOWING',
    integrity_status varchar(20) default 'UNKNOWN',
    incident_count integer default 0,
    policy_draft_count integer default 0,
    policy_violation boolean default false,
    input_tokens integer,
    output_tokens integer,
    estimated_cost_usd numeric,
    expected_latency_ms integer
)
"""

RUNS_VIEW: Final = """
create view public.v_runs_o2 as
select
    id as run_id, tenant_id, project_id, is_synthetic, source, provider_type, state, status, started_at, last_seen_at,
    completed_at, duration_ms, risk_level, latency_bucket, evidence_health, integrity_status, incident_count,
    policy_draft_count, policy_violation, input_tokens, output_tokens, estimated_cost_usd, expected_latency_ms,
    synthetic_scenario_id
from public.runs
"""

TRACES: Final = """
create table public.aos_traces (
    id uuid primary key default gen_random_uuid(),
    trace_id varchar(64) not null unique,
    run_id varchar(64) not null,
    correlation_id varchar(64) not null default '',
    tenant_id varchar(64) not null,
    agent_id varchar(64),
    root_hash varchar(64) not null default '',
    plan jsonb not null default '{}',
    trace jsonb not null default '{}',
    status varchar(32) not null default 'running',
    started_at timestamptz default now(),
    completed_at timestamptz,
    created_at timestamptz not null default now(),
    is_synthetic boolean not null default false,
    archived_at timestamptz
)
"""

STEPS: Final = """
create table public.aos_trace_steps (
    id uuid primary key default gen_random_uuid(),
    trace_id varchar(64) not null references public.aos_traces (trace_id) on delete cascade,
    step_index integer not null,
    skill_id varchar(128),
    skill_name varchar(128),
    params jsonb not null default '{}',
    status varchar(32),
    outcome_category varchar(64),
    outcome_code varchar(64),
    cost_cents double precision default 0,
    duration_ms double precision default 0,
    retry_count integer default 0,
    "timestamp" timestamptz default now(),
    is_synthetic boolean not null default false,
    archived_at timestamptz
)
"""

#: name, table and definition, as a host has them.
INDEXES: Final = (
    ("ix_runs_agent_id", "public.runs", "(agent_id)"),
    ("idx_runs_tenant_id", "public.runs", "(tenant_id)"),
    ("idx_runs_tenant_state_started", "public.runs", "(tenant_id, state, started_at)"),
    ("idx_runs_tenant_risk", "public.runs", "(tenant_id, risk_level)"),
    ("idx_runs_tenant_status", "public.runs", "(tenant_id, status)"),
    ("idx_runs_tenant_completed", "public.runs", "(tenant_id, completed_at)"),
    ("idx_runs_tenant_latency", "public.runs", "(tenant_id, latency_bucket)"),
    ("idx_runs_tenant_lastseen", "public.runs", "(tenant_id, last_seen_at)"),
    ("idx_runs_tenant_project", "public.runs", "(tenant_id, project_id)"),
    ("idx_aos_traces_tenant", "public.aos_traces", "(tenant_id)"),
    ("idx_aos_traces_run_id", "public.aos_traces", "(run_id)"),
    ("idx_aos_traces_created_at", "public.aos_traces", "(created_at)"),
    ("idx_aos_trace_steps_trace", "public.aos_trace_steps", "(trace_id)"),
)


def upgrade() -> None:
    create("table", "public.runs", RUNS, revision)
    create("view", "public.v_runs_o2", RUNS_VIEW, revision)
    create("table", "public.aos_traces", TRACES, revision)
    steps_are_ours = create("table", "public.aos_trace_steps", STEPS, revision)
    for name, table, definition in INDEXES:
        create_index(name, table, definition, revision)
    if steps_are_ours:
        # A host's steps may be keyed by a constraint under another name, or hold doubles.
        key = "(trace_id, step_index)"
        create_index("idx_aos_trace_steps_composite", "public.aos_trace_steps", key, revision, unique=True)


def downgrade() -> None:
    drop_recorded(revision)
