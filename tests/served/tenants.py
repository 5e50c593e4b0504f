"""Two tenants whose rows are told apart in any answer, published as the worker publishes, with their credentials.

Each tenant has two words. Its public word is in the ids that an outsider may have heard of, and send. Its private word
is in everything that stands beside them; it is never sent, so that an answer which holds it quotes a row.
Source: docs/specification-notes.md#several-traces-per-run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ops.keys import create_key, revoke_key
from snapshots.body import instant
from snapshots.database import connect
from snapshots.settings import Settings
from snapshots.signals import SIGNALS
from tests.api import issuer
from tests.factories import insert_run, insert_step, insert_trace
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from pathlib import Path

    from joserfc.jwk import RSAKey
    from sqlalchemy import Connection

RUNS: Final = 40
_STATES: Final = ("COMPLETED", "COMPLETED", "LIVE")
_RISKS: Final = ("NORMAL", "NEAR_THRESHOLD", "AT_RISK", "VIOLATED")


@dataclass
class Tenant:
    """A tenant: its words, and its credentials. None of the tokens appears in a representation."""

    public: str
    private: str
    key: str = field(default="", repr=False)
    narrow_key: str = field(default="", repr=False)
    expired_key: str = field(default="", repr=False)
    revoked_key: str = field(default="", repr=False)

    @property
    def tenant_id(self) -> str:
        """Return the name of the tenant."""
        return f"tenant-{self.public}"

    def run_id(self, number: int) -> str:
        """Return the id of its run `number`, which an outsider may know."""
        return f"run-{self.public}-{number}"

    def claims(self, **overrides: object) -> dict[str, object]:
        """Return the claims of a token of the tenant that is valid now; None leaves a claim out."""
        now = int(time.time())
        own = {"tenant_id": self.tenant_id, "iat": now, "exp": now + 7200, "scope": "activity.patterns"}
        return issuer.claims(**own | overrides)


@dataclass
class Estate:
    """Backing services of a served API: the owner's URL, two tenants, and an issuer of tokens."""

    database: str
    first: Tenant
    second: Tenant
    signing_key: RSAKey = field(repr=False)
    key_file: Path
    #: Every signal was published before this instant, and none after it.
    furnished_at: str = ""

    def tokens_accepted(self) -> dict[str, object]:
        """Return the settings of an API that accepts the issuer's tokens."""
        return {"jwt_issuer": issuer.ISSUER, "jwt_audience": issuer.AUDIENCE, "jwt_jwks": self.key_file}

    def other(self, tenant: Tenant) -> Tenant:
        """Return the tenant that `tenant` is not."""
        return self.second if tenant is self.first else self.first


def furnish(database: str, folder: Path) -> Estate:
    """Fill a migrated database with two tenants, publish every signal, and return what was made."""
    signing_key = issuer.rsa("served")
    folder.mkdir(parents=True, exist_ok=True)
    key_file = folder / "issuer.json"
    key_file.write_bytes(issuer.key_set(signing_key))
    estate = Estate(database, Tenant("quokka", "vermilion"), Tenant("narwhal", "turquoise"), signing_key, key_file)
    _publish(estate)
    estate.furnished_at = instant(datetime.now(UTC))
    return estate


def _publish(estate: Estate) -> None:
    engine = connect(estate.database, name="activity tests")
    try:
        with engine.begin() as conn:
            for tenant in (estate.first, estate.second):
                _add_runs(conn, tenant)
                _add_keys(conn, tenant)
        with engine.begin() as conn:
            _share_a_run_id(conn, estate)
        for signal in SIGNALS:
            assert refresh(engine, signal, Settings()) is not None
        with engine.begin() as conn:
            _change_a_run(conn, estate.first)
        for signal in SIGNALS:
            refresh(engine, signal, Settings(), mode="reconcile")
    finally:
        engine.dispose()


def _add_runs(conn: Connection, tenant: Tenant) -> None:
    now = datetime.now(UTC)
    for number in range(RUNS):
        insert_run(conn, **_run(tenant, number, now))
        _add_trace(conn, tenant, number, now - timedelta(minutes=10 + number))


def _run(tenant: Tenant, number: int, now: datetime) -> dict[str, Any]:
    state = _STATES[number % len(_STATES)]
    started_at = now - timedelta(minutes=10 + number, days=2 * (number % 4 == 0))
    return {
        "id": tenant.run_id(number),
        "tenant_id": tenant.tenant_id,
        "agent_id": f"agent-{tenant.public}-{tenant.private}-{number % 3}",
        "goal": f"goal-{tenant.private}",
        "project_id": f"project-{tenant.public}" if number % 2 else f"project-{tenant.private}",
        "status": f"status-{tenant.private}" if number % 3 else "succeeded",
        "source": f"source-{tenant.private}",
        "provider_type": f"provider-{tenant.private}",
        "state": state,
        "risk_level": _RISKS[number % len(_RISKS)],
        "latency_bucket": "STALLED" if number % 5 == 0 else "OK",
        "policy_violation": number % 7 == 0,
        "started_at": started_at,
        "completed_at": started_at + timedelta(minutes=5) if state == "COMPLETED" else None,
        "last_seen_at": now,
        "duration_ms": 1000.5 * number,
        "estimated_cost_usd": 50 if number % 4 else 1,
    }


def _add_trace(conn: Connection, tenant: Tenant, number: int, started_at: datetime) -> None:
    trace_id = f"trace-{tenant.private}-{number}"
    insert_trace(
        conn, trace_id=trace_id, run_id=tenant.run_id(number), tenant_id=tenant.tenant_id, started_at=started_at
    )
    looks = {"skill_id": f"skill-{tenant.private}", "skill_name": f"Skill {tenant.private}", "retry_count": 2}
    for index in range(6):
        insert_step(conn, trace_id, index, **looks, duration_ms=9000.0, outcome_code=f"code-{tenant.private}")


def _share_a_run_id(conn: Connection, estate: Estate) -> None:
    """Give each tenant a trace that names a run of the other: hosts have such rows."""
    for tenant in (estate.first, estate.second):
        run_id = estate.other(tenant).run_id(1)
        trace = insert_trace(
            conn,
            trace_id=f"trace-{tenant.private}-astray",
            run_id=run_id,
            tenant_id=tenant.tenant_id,
            started_at=datetime.now(UTC) - timedelta(minutes=5),
        )
        insert_step(conn, trace, 0, skill_id=f"skill-{tenant.private}", retry_count=9)


def _change_a_run(conn: Connection, tenant: Tenant) -> None:
    """Make one version of each signal give way to another, which is kept."""
    run_id = insert_run(conn, **_run(tenant, RUNS, datetime.now(UTC)) | {"risk_level": "VIOLATED", "state": "LIVE"})
    insert_trace(conn, trace_id=f"trace-{run_id}", run_id=run_id, tenant_id=tenant.tenant_id)


def _add_keys(conn: Connection, tenant: Tenant) -> None:
    tenant.key = create_key(conn, tenant.tenant_id, label=tenant.private).token
    tenant.narrow_key = create_key(conn, tenant.tenant_id, capabilities=["activity.patterns"]).token
    revoked = create_key(conn, tenant.tenant_id)
    revoke_key(conn, revoked.key_id)
    tenant.revoked_key = revoked.token
    tenant.expired_key = create_key(conn, tenant.tenant_id, expires_in=timedelta(microseconds=1)).token
