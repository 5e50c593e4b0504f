"""The statements of docs/writer-contract.md, run on a host as they are written: all three signals find the run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from migrations import capture, runner
from migrations.roles import ensure_roles
from snapshots import settings
from snapshots.database import connect
from snapshots.signals import SIGNALS
from snapshots.tables import snapshot
from worker.engine.refresh import refresh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def host(empty_database: str) -> Iterator[Engine]:
    """Yield an engine on a host at 094 with our schema, its changes captured."""
    engine = connect(empty_database)
    with engine.begin() as conn:
        conn.exec_driver_sql((ROOT / "tests" / "host_094.sql").read_text().replace("%", "%%"))
    ensure_roles(empty_database)
    runner.upgrade(empty_database)
    capture.install(engine)
    yield engine
    engine.dispose()


def content(engine: Engine) -> dict[str, Any]:
    with engine.connect() as conn:
        published = conn.execute(select(snapshot).where(snapshot.c.tenant_id == "acme"))
        return {row.signal: json.loads(row.content) for row in published}


def test_a_run_that_is_written_as_documented_is_in_every_signal(host: Engine) -> None:
    blocks = re.findall(
        r"^```sql\n(.*?)^```", (ROOT / "docs" / "writer-contract.md").read_text(), re.DOTALL | re.MULTILINE
    )
    for signal in SIGNALS:
        refresh(host, signal, settings.load())

    for block in blocks:
        with host.begin() as conn:
            conn.exec_driver_sql(block)
    methods = [done.method for signal in SIGNALS if (done := refresh(host, signal, settings.load(), mode="manual"))]

    found = content(host)
    assert len(blocks) == 4
    assert methods == ["incremental"] * 3
    patterns = {(each["pattern_type"], each["run_ids"][0]) for each in found["patterns"]["patterns"]}
    assert patterns == {(name, "run-2041") for name in ("retry_loop", "tool_call_loop", "timeout_cascade")}
    (agent,) = found["cost"]["agents"]
    assert (agent["agent_id"], float(agent["current_cost_usd"])) == ("billing-agent", 0.42)
    (item,) = found["attention"]["queue"]
    assert (item["run_id"], item["status"]) == ("run-2041", "succeeded")
