"""Access rights on our tables: a grant and a row-level policy per role, forced on the owner too.

A policy per role is needed: under forced row-level security with policies for the reader alone, the owner's own refresh
would change no row and say nothing (docs/security.md#roles).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alembic import op

from migrations import ingest
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_ROLE, READER_ROLE, TRIAGE_ROLE, WORKER_ROLE
from snapshots.source import TENANT_SETTING
from snapshots.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The tables whose rows belong to a tenant and are read by it.
TENANT_TABLES: Final = ("snapshot", "snapshot_history", "pattern_item", "cost_item", "attention_item")
#: The tables without a tenant.
SHARED_TABLES: Final = ("refresh", "freshness")

#: The tenant that a reader's transaction names; unset and empty alike match no row.
NAMED_TENANT: Final = f"tenant_id = nullif(current_setting('{TENANT_SETTING}', true), '')"


def protect() -> None:
    """Force row-level security on every table with tenants' rows, and give each role its policy."""
    for table in (*TENANT_TABLES, "api_key"):
        op.execute(f"alter table {SCHEMA}.{table} enable row level security")
        op.execute(f"alter table {SCHEMA}.{table} force row level security")
        _policy(table, "owner", "current_user", "true")
    for table in TENANT_TABLES:
        _policy(table, "worker", WORKER_ROLE, "true")
        _policy(table, "reader", READER_ROLE, NAMED_TENANT, command="select")
    _policy("api_key", "authenticator", AUTHENTICATOR_ROLE, "true", command="select")


def _policy(table: str, name: str, role: str, condition: str, *, command: str = "all") -> None:
    op.execute(f"create policy {table}_{name} on {SCHEMA}.{table} for {command} to {role} using ({condition})")


def grant_tables() -> None:
    """Grant each role what its part needs, and nothing else."""
    op.execute(f"grant usage on schema {SCHEMA} to {WORKER_ROLE}, {AUTHENTICATOR_ROLE}, {READER_ROLE}")
    _grant("select, insert, update, delete", (*TENANT_TABLES, *SHARED_TABLES), WORKER_ROLE)
    op.execute(f"grant usage on sequence {SCHEMA}.fence to {WORKER_ROLE}")
    _grant("select", (*TENANT_TABLES, "freshness"), READER_ROLE)
    _grant("select", ("api_key",), AUTHENTICATOR_ROLE)
    _grant("select", ("alembic_version",), f"{WORKER_ROLE}, {READER_ROLE}")
    # A refresh stages its rows in temporary tables; a host may have revoked that from PUBLIC.
    op.execute(
        f"do $$ begin execute format('grant temporary on database %I to {WORKER_ROLE}', current_database()); end $$"
    )


def protect_worker_tables(tables: Sequence[str]) -> None:
    """Force row-level security on tables of the worker's own, and grant them to it alone."""
    for table in tables:
        op.execute(f"alter table {SCHEMA}.{table} enable row level security")
        op.execute(f"alter table {SCHEMA}.{table} force row level security")
        _policy(table, "owner", "current_user", "true")
        _policy(table, "worker", WORKER_ROLE, "true")
    _grant("select, insert, update, delete", tables, WORKER_ROLE)


def protect_tenant_tables(tables: Sequence[str]) -> None:
    """Force row-level security on tables that the worker writes and each tenant reads its rows of; grant them so."""
    protect_worker_tables(tables)
    for table in tables:
        _policy(table, "reader", READER_ROLE, NAMED_TENANT, command="select")
    _grant("select", tables, READER_ROLE)


#: What a triage event consists of; its number and its instant are the database's.
_EVENT: Final = (
    "tenant_id, signal, fingerprint, key, action, until, reason, comment, actor, request_key, request_sha256"
)


def allow_triage() -> None:
    """Let the triage role add events for the tenant that it names, and read what it needs for that; nothing else."""
    op.execute(f"grant usage on schema {SCHEMA} to {TRIAGE_ROLE}")
    op.execute(f"grant insert ({_EVENT}) on {SCHEMA}.triage_event to {TRIAGE_ROLE}")
    read = ("triage_event", "triage", "item_state")
    _grant("select", read, TRIAGE_ROLE)
    for table in read:
        _policy(table, "triage", TRIAGE_ROLE, NAMED_TENANT, command="select")
    op.execute(
        f"create policy triage_event_triage_adds on {SCHEMA}.triage_event for insert to {TRIAGE_ROLE}"
        f" with check ({NAMED_TENANT})"
    )
    # What was said stays said: the worker adds what it reopens, and removes what retention no longer keeps.
    op.execute(f"revoke update on {SCHEMA}.triage_event from {WORKER_ROLE}")


def revoke_triage() -> None:
    """Take back what the triage role has on things that outlive the tables of triage."""
    op.execute(f"revoke usage on schema {SCHEMA} from {TRIAGE_ROLE}")
    op.execute(f"revoke all on {SCHEMA}.item_state from {TRIAGE_ROLE}")
    op.execute(f"drop policy item_state_triage on {SCHEMA}.item_state")


def open_to_ingest(tables: Sequence[str]) -> None:
    """Force row-level security on the tables where spans wait, and let the ingest role write there.

    What it needs of the host's tables is granted apart (`migrations.ingest`): an upgrade changes nothing of a host's.
    """
    for table in tables:
        op.execute(f"alter table {SCHEMA}.{table} enable row level security")
        op.execute(f"alter table {SCHEMA}.{table} force row level security")
        _policy(table, "owner", "current_user", "true")
        _policy(table, "ingest", INGEST_ROLE, "true")
    op.execute(f"grant usage on schema {SCHEMA} to {INGEST_ROLE}")
    _grant("select, insert, update, delete", tables, INGEST_ROLE)
    # What the host calls its tables, and which runs and traces are there already; what it judges of those it wrote.
    _grant("select", ("alembic_version", "source_mapping", "source_run", "source_trace"), INGEST_ROLE)
    op.execute(f"grant update (latency_bucket, evidence_health, risk_level) on {SCHEMA}.source_run to {INGEST_ROLE}")
    # What is written goes through temporary tables, as every load does.
    op.execute(
        f"do $$ begin execute format('grant temporary on database %I to {INGEST_ROLE}', current_database()); end $$"
    )


def revoke_ingest() -> None:
    """Take back what `open_to_ingest` granted on things that outlive its tables."""
    op.execute(
        f"do $$ begin execute format('revoke temporary on database %I from {INGEST_ROLE}', current_database()); end $$"
    )
    op.execute(f"revoke usage on schema {SCHEMA} from {INGEST_ROLE}")
    # A host that is detached has no views.
    for name in ("alembic_version", "source_mapping", "source_run", "source_trace"):
        op.execute(
            f"do $$ begin if to_regclass('{SCHEMA}.{name}') is not null then"
            f" revoke all on {SCHEMA}.{name} from {INGEST_ROLE}; end if; end $$"
        )
    ingest.close_source(op.get_bind())


def revoke_lasting() -> None:
    """Take back what is granted on things that outlive our tables: the database, the schema, Alembic's table."""
    groups = f"{WORKER_ROLE}, {AUTHENTICATOR_ROLE}, {READER_ROLE}"
    op.execute(f"revoke usage on schema {SCHEMA} from {groups}")
    op.execute(f"revoke all on {SCHEMA}.alembic_version from {groups}")
    op.execute(
        f"do $$ begin execute format('revoke temporary on database %I from {WORKER_ROLE}', current_database()); end $$"
    )


def show_quarantine() -> None:
    """Let a reader see since when its tenant is set aside, and not why: an error may quote what broke."""
    _policy("quarantine", "reader", READER_ROLE, NAMED_TENANT, command="select")
    op.execute(
        f"grant select (signal, tenant_id, first_failed_at, as_of, window_json) on {SCHEMA}.quarantine to {READER_ROLE}"
    )


#: What tells how it stands with the spans taken in, and neither whose they are nor what they say.
_INGEST_STATE: Final = "pending, pending_since, last_arrived_at, refused"


def show_ingest() -> None:
    """Let the worker's role, which watches, see how many spans wait, and since when."""
    _policy("ingested_trace", "worker", WORKER_ROLE, "true", command="select")
    op.execute(f"grant select ({_INGEST_STATE}) on {SCHEMA}.ingested_trace to {WORKER_ROLE}")


def hide_ingest() -> None:
    """Take that back."""
    op.execute(f"revoke select ({_INGEST_STATE}) on {SCHEMA}.ingested_trace from {WORKER_ROLE}")  # noqa: S608  # constants
    op.execute(f"drop policy ingested_trace_worker on {SCHEMA}.ingested_trace")


def grant_signal_lookup() -> None:
    """Let the worker and the triage role read which signals there are: their rows refer to them."""
    _grant("select", ("signal",), f"{WORKER_ROLE}, {TRIAGE_ROLE}")


def allow_touching_keys() -> None:
    """Let the authenticator write down when a key was last used, and nothing else of it."""
    op.execute(f"grant update (last_used_at) on {SCHEMA}.api_key to {AUTHENTICATOR_ROLE}")
    op.execute(
        f"create policy api_key_authenticator_touch on {SCHEMA}.api_key for update to {AUTHENTICATOR_ROLE} using (true)"
    )


def grant_views(names: Sequence[str], role: str) -> None:
    """Grant `role` the views; their owner's rights reach the host's tables."""
    _grant("select", names, role)


def _grant(privileges: str, tables: Sequence[str], role: str) -> None:
    listed = ", ".join(f"{SCHEMA}.{table}" for table in tables)
    op.execute(f"grant {privileges} on {listed} to {role}")
