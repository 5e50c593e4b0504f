"""The scales, and the database that a benchmark fills and measures.

S: 100k runs of 200 tenants over 8 days. M: 1.0M runs of 2,000 tenants. H: S's daily rate over 80 days.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
from sqlalchemy import func, select, text

from migrations import runner
from migrations.roles import ensure_roles
from ops.local.embedded.postgres import EMBEDDED_BINARIES, PostgresCluster
from snapshots.database import connect, normalise
from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

GENERATE: Final = Path(__file__).parent / "sql" / "generate.sql"
#: setseed's argument: the same rows in every run, their dates aside.
SEED: Final = 0.42


@dataclass(frozen=True, slots=True)
class Scale:
    """Size of the data: runs in all, tenants, and the days that the runs are spread over."""

    runs: int
    tenants: int
    days: int


SCALES: Final = {"s": Scale(100_000, 200, 8), "m": Scale(1_000_000, 2_000, 8), "h": Scale(1_000_000, 200, 80)}


@contextmanager
def filled_database(scale: Scale, kept_in: Path | None = None) -> Iterator[tuple[Engine, datetime]]:
    """Yield an engine on a private cluster with the scale's rows, and the instant that they are dated back from.

    The cluster stays in `kept_in`, and is filled once; without it, it goes. Raises ActivityError for other rows there.
    """
    with _migrated(kept_in) as (engine, folder):
        yield engine, _filled_once(engine, scale, folder / "filled.json")


@contextmanager
def empty_database() -> Iterator[Engine]:
    """Yield an engine on a private cluster with a migrated database, which goes."""
    with _migrated(None) as (engine, _):
        yield engine


@contextmanager
def _migrated(kept_in: Path | None) -> Iterator[tuple[Engine, Path]]:
    with tempfile.TemporaryDirectory(prefix="activity-bench-") as passing:
        folder = kept_in or Path(passing)
        cluster = PostgresCluster(EMBEDDED_BINARIES, folder / "postgres", durable=False, settings=_server())
        cluster.start()
        try:
            engine = connect(cluster.superuser_url(), name="activity bench", pool_size=6)
            ensure_roles(normalise(cluster.superuser_url()), {})
            runner.upgrade(cluster.superuser_url())
            yield engine, folder
            engine.dispose()
        finally:
            cluster.stop()


def _filled_once(engine: Engine, scale: Scale, record: Path) -> datetime:
    """Write the scale's rows unless `record` says that they are there; return what they are dated back from."""
    if record.exists():
        kept = json.loads(record.read_text())
        if kept["scale"] != asdict(scale):
            raise ActivityError(f"{record.parent}: holds the rows of another scale; choose another folder")
        return datetime.fromisoformat(kept["as_of"])
    as_of = fill(engine, scale)
    record.write_text(json.dumps({"scale": asdict(scale), "as_of": as_of.isoformat()}))
    return as_of


def _server() -> dict[str, str]:
    """Return the settings of a server that was set up for its machine: a quarter of the memory for its buffers."""
    return {"shared_buffers": f"{psutil.virtual_memory().total // 4 // 2**20}MB", "max_wal_size": "4GB"}


def fill(engine: Engine, scale: Scale) -> datetime:
    """Write the scale's rows, dated back from now; return that now."""
    with engine.begin() as conn:
        conn.execute(select(func.setseed(SEED)))
        as_of: datetime = conn.execute(select(func.now())).scalar_one()
        sizes = {"runs": scale.runs, "tenants": scale.tenants, "days": scale.days, "as_of": as_of}
        for statement in statements(GENERATE):
            conn.execute(text(statement), sizes)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        conn.execute(text("vacuum analyze"))
    return as_of


def statements(path: Path) -> list[str]:
    """Return the statements of a file, comments stripped (a colon-word there would read as a bind)."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("--")]
    return [part for part in "\n".join(lines).split(";\n") if part.strip()]
