"""The stock OpenTelemetry SDK against a real receiver, and what the read layer then says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from falcon.testing import TestClient
from sqlalchemy import text

from api.app import create_app
from ops.keys import create_key
from ops.local import children
from snapshots import settings
from snapshots.database import connect
from snapshots.signals import AUTHENTICATOR_ROLE, INGEST_CAPABILITY, READER_ROLE, WORKER_ROLE
from tests.ingest import scripted_agent
from tests.ingest.receiving import receiving
from tests.ingest.spans import TENANT
from tests.served.serving import until
from worker.engine import refresh as refreshing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.postgres import Server
    from tests.served.serving import Served

WRITTEN = "select count(*) from signals.ingested_trace where written_at is not null"
STEPS = "select count(*) from public.aos_trace_steps"
PRICES = """
[[price]]
model = "gpt-4o*"
input_usd_per_million = 2.50
output_usd_per_million = 10.00
"""


@pytest.fixture
def receive(server: Server, fresh_database: str, engine: Engine, private_folder: Path) -> Iterator[Served]:
    """Yield a receiving process that writes traces after a second of quiet."""
    del engine  # opens the source
    prices = private_folder / "prices.toml"
    prices.write_text(PRICES)
    with receiving(server, fresh_database, private_folder, ingest_quiet_s=1, prices_file=prices) as served:
        yield served
    prices.unlink()


def run_agent(served: Served, token: str) -> list[str]:
    """Run the scripted agent with the SDK's own settings; return the ids of its two traces."""
    environment = {
        "PATH": os.environ["PATH"],  # noqa: TID251  # the child's own
        "OTEL_EXPORTER_OTLP_ENDPOINT": served.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "shop",
    }
    script = Path(scripted_agent.__file__)
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def patterns_of(server: Server, database: str) -> dict[str, Any]:
    """Refresh the patterns as a worker does, and return what the endpoint answers."""
    worker, reader = connect(server.url_as(WORKER_ROLE, database)), connect(server.url_as(READER_ROLE, database))
    keys, owner = connect(server.url_as(AUTHENTICATOR_ROLE, database)), connect(database)
    current = settings.load()
    with owner.begin() as conn:
        token = create_key(conn, TENANT).token
    refreshing.refresh(worker, "patterns", current)
    client = TestClient(create_app(reader, keys, current))
    body: dict[str, Any] = client.simulate_get(
        "/api/v1/activity/patterns", headers={"Authorization": f"Bearer {token}"}
    ).json
    for each in (worker, reader, keys, owner):
        each.dispose()
    return body


def test_the_planted_loop_of_a_stock_sdk_is_found_with_exact_counts(
    server: Server, fresh_database: str, engine: Engine, receive: Served
) -> None:
    with engine.begin() as conn:
        token = create_key(conn, TENANT, capabilities=[INGEST_CAPABILITY]).token

    looping, steady = run_agent(receive, token)
    until(
        lambda: _count(engine, "select count(*) from signals.ingested_trace where written_at is not null") == 2,
        "written",
    )

    steps = Counter(_column(engine, f"select skill_id from public.aos_trace_steps where trace_id = '{looping}'"))  # noqa: S608  # ours
    assert steps == {"search_orders": scripted_agent.USES, "chat gpt-4o": scripted_agent.USES}
    assert _count(engine, f"select count(*) from public.aos_trace_steps where trace_id = '{steady}'") == 4  # noqa: S608  # ours
    found = {
        (each["pattern_type"], each["details"].get("skill_id")): each
        for each in patterns_of(server, fresh_database)["patterns"]
    }
    assert set(found) == {
        ("retry_loop", None),
        ("tool_call_loop", "search_orders"),
        ("tool_call_loop", "chat gpt-4o"),
    }
    retries = found["retry_loop", None]
    assert retries["run_ids"] == [looping]
    assert retries["details"] == {
        "avg_retries": sum(scripted_agent.RETRIES),
        "retrying_steps": sum(each > 0 for each in scripted_agent.RETRIES),
        "max_step_retries": max(scripted_agent.RETRIES),
    }
    loop = found["tool_call_loop", "search_orders"]
    assert (loop["run_ids"], loop["details"]["loop_depth"]) == ([looping], 5)
    costs = _column(engine, "select estimated_cost_usd from public.runs order by 1")
    assert [float(cost) for cost in costs] == [2 * 0.0035, 7 * 0.0035]
    # Nothing of this is worth a warning, the number of threads that we chose included.
    assert '"WARNING"' not in receive.log()


def test_what_was_answered_survives_the_kill_of_every_process(
    server: Server, fresh_database: str, engine: Engine, private_folder: Path
) -> None:
    with engine.begin() as conn:
        token = create_key(conn, TENANT, capabilities=[INGEST_CAPABILITY]).token
    with receiving(server, fresh_database, private_folder, ingest_quiet_s=3600) as served:
        run_agent(served, token)
        # All at once: one by one, the first process would start another in the place of one that is gone.
        children.end_group(served.process.pid)
        served.process.wait()

    kept = _count(engine, "select count(*) from signals.ingested_span where written_at is null")

    assert kept == 2 + 2 * scripted_agent.USES + sum(scripted_agent.RETRIES) + 4
    with receiving(server, fresh_database, private_folder, ingest_quiet_s=0):
        until(
            lambda: _count(engine, "select count(*) from public.aos_trace_steps") == 2 * scripted_agent.USES + 4,
            "written",
        )


def _column(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as conn:
        return list(conn.execute(text(statement)).scalars())


def _count(engine: Engine, statement: str) -> int:
    return int(_column(engine, statement)[0])
