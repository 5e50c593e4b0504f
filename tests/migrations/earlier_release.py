"""Maker of the dump that `test_upgrade` starts from: an earlier release's schema, with what its workers published.

Run it with the code and the packages of that release, so that nothing in the dump comes from a later one:

    git worktree add ../earlier 8a6c006 && make -C ../earlier install
    export PYTHONPATH=../earlier
    ../earlier/.venv/bin/python tests/migrations/earlier_release.py tests/migrations/files/106.sql.gz

It needs PostgreSQL 15, the oldest version that is supported: its dump can be restored into every later one.
"""

from __future__ import annotations

import gzip
import random
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, insert, select

from migrations import capture, runner
from ops import keys, webhooks
from snapshots import database, settings
from snapshots.movement import item_state
from snapshots.signals import SIGNALS
from snapshots.triage import triage_event
from tests.factories import insert_run, insert_step, insert_trace
from tests.migrations.dumps import dump
from tests.postgres import Server
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

_TENANTS: Final = ("acme", "globex", "initech", "umbrella")
_AGENTS: Final = ("planner", "coder", None)
_SKILLS: Final = ("search", "read", "write")
_RUNS_PER_TENANT: Final = 45
_SEED: Final = 20261101


def _plant(conn: Connection, chance: random.Random, tenant: str, number: int, now: datetime) -> None:
    """Insert a run of the last week with one trace: some fail, some cost much more, some are under way."""
    started = now - timedelta(seconds=chance.uniform(60, 7 * 86_400))
    is_live = chance.random() < 0.2
    run_id = insert_run(
        conn,
        id=f"{tenant}-{number}",
        tenant_id=tenant,
        agent_id=chance.choice(_AGENTS),
        state="LIVE" if is_live else "COMPLETED",
        status="running" if is_live else chance.choice(["succeeded", "failed"]),
        started_at=started,
        completed_at=None if is_live else started + timedelta(seconds=chance.uniform(1, 50)),
        risk_level=chance.choice(["NORMAL", "AT_RISK", "VIOLATED"]),
        latency_bucket=chance.choice(["OK", "SLOW", "STALLED"]),
        evidence_health=chance.choice(["FLOWING", "MISSING"]),
        estimated_cost_usd=chance.choice([None, 0.25, 0.5, 1.75, 40]),
    )
    trace_id = insert_trace(conn, trace_id=f"trace-{run_id}", run_id=run_id, tenant_id=tenant, started_at=started)
    for index in range(chance.randrange(1, 9)):
        told = {"skill_id": chance.choice(_SKILLS), "retry_count": chance.choice([0, 0, 2])}
        insert_step(conn, trace_id, index, **told, duration_ms=chance.uniform(1, 9000), timestamp=started)


def _decide(conn: Connection) -> None:
    """Acknowledge one item of each tenant, and snooze another of its queue."""
    for tenant in _TENANTS:
        known = select(item_state).where(item_state.c.tenant_id == tenant, item_state.c.left_at.is_(None))
        items = conn.execute(known.order_by(item_state.c.fingerprint).limit(2)).all()
        actions: tuple[dict[str, object], ...] = (
            {"action": "acknowledge"},
            {"action": "snooze", "until": func.now() + timedelta(days=3)},
        )
        for item, action in zip(items, actions, strict=False):
            told = {name: getattr(item, name) for name in ("tenant_id", "signal", "fingerprint", "key")}
            conn.execute(insert(triage_event).values(**told, **action, actor="anna", comment="seen"))


def _live(engine: Engine) -> None:
    """Do what an installation does in a while: rows come, workers refresh, people decide."""
    chance, current = random.Random(_SEED), settings.load()  # noqa: S311  # data of a test
    capture.install(engine)
    for part in range(3):
        with engine.begin() as conn:
            now = conn.execute(select(func.now())).scalar_one()
            for tenant in _TENANTS:
                for number in range(_RUNS_PER_TENANT // 3):
                    _plant(conn, chance, tenant, part * 100 + number, now)
        for signal in SIGNALS:
            refresh(engine, signal, current, mode="reconcile" if part == 1 else "tick")
    with engine.begin() as conn:
        _decide(conn)
        for tenant in _TENANTS:
            keys.create_key(conn, tenant, label="console")
            webhooks.add(conn, current, tenant, "https://hooks.example.com/activity")


def main(target: Path) -> None:
    """Write the dump of a database that this release's code has made to `target`, compressed."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server("pg15", Path(folder))
        try:
            url = server.create_database("earlier")
            runner.migrate(settings.load(database_url=url))
            engine = database.connect(url)
            _live(engine)
            engine.dispose()
            written = dump(server, url, "--no-owner", "--enable-row-security", "--inserts", "--rows-per-insert=50")
        finally:
            server.stop()
    target.write_bytes(gzip.compress(written.encode(), mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
