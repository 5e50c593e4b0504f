"""Locks that somebody else holds, and a pooler that shares sessions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, text

from snapshots.tables import freshness
from tests.chaos.faults import Unavailable, locks_held
from tests.chaos.world import ROOT
from tests.pooler import pooled
from worker.engine import ledger
from worker.engine.context import RefreshRequest
from worker.schedule import RECOMPUTE

if TYPE_CHECKING:
    from tests.chaos.faults import Measured, Scene
    from tests.chaos.world import World

#: Attention is refreshed every two seconds; older than this, it waits for another signal's lock.
_STARVED_S: Final = 15.0
_REQUESTS: Final = 3
_PATIENCE_S: Final = 60.0


def hold_traces(scene: Scene) -> Measured:
    """Lock `public.aos_traces` against everybody while recomputes of the patterns are asked for."""
    world, oldest_s = scene.world, 0.0
    with world.engine.begin() as conn:
        conn.execute(text("lock table public.aos_traces in access exclusive mode"))
        for _ in range(_REQUESTS):
            with world.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
                asked = ledger.request(books, RefreshRequest("patterns", mode="manual", requested_by="chaos"))
            world.app.send_task(RECOMPUTE, args=[asked])
        for _ in range(60 if scene.is_full else 15):
            world.wait(1)
            oldest_s = max(oldest_s, _attention_age_s(world))
    return {"attention_oldest_s": oldest_s, "starved": int(oldest_s > _STARVED_S)}


def _attention_age_s(world: World) -> float:
    age = func.extract("epoch", func.clock_timestamp() - func.min(freshness.c.verified_at))
    with world.engine.connect() as conn:
        return float(conn.execute(select(age).where(freshness.c.signal == "attention")).scalar_one())


def pool_transactions(scene: Scene) -> Measured:
    """Start a worker behind a pooler in transaction mode; it must refuse, and leave no lock of its own."""
    if shutil.which("pgbouncer") is None and shutil.which("pgbouncer", path="/usr/sbin") is None:
        raise Unavailable("pgbouncer is not installed")
    world = scene.world
    program = world.crew.of("worker")[0].program
    own = world.settings.worker_database_url
    assert own is not None
    with pooled([own.get_secret_value()], mode="transaction") as (url,):
        variables = {**program.env, "ACTIVITY_WORKER_DATABASE_URL": url.render_as_string(hide_password=False)}
        command = [sys.executable, "-m", "ops.cli", "worker"]
        ended = subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, timeout=_PATIENCE_S, check=False, text=True
        )
    is_refused = ended.returncode != 0 and "ACTIVITY_WORKER_DATABASE_URL: a pooler shares" in ended.stderr
    free = world.until(lambda: locks_held(world) == 0, _PATIENCE_S)
    return {"let_in": int(not is_refused), "stranded": int(free is None)}
