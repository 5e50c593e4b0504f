"""The receiver beside a host that writes the same runs: no statement of the host's fails."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ingest.assembly.derive import derive
from tests.host_writer import A_MOMENT_S, change, host_session
from tests.ingest.spans import START, agent

if TYPE_CHECKING:
    from tests.ingest.receiver import Receiver
    from tests.postgres import Server


@pytest.mark.parametrize("does", ["assembles", "derives"])
def test_ingest_lets_go_of_runs_before_the_host_deadlocks(
    receiver: Receiver, server: Server, fresh_database: str, does: str
) -> None:
    traces = [f"{number:032x}" for number in (1, 2)]
    receiver.send(*(agent(traceId=trace_id) for trace_id in traces))
    receiver.round(31)
    if does == "assembles":
        receiver.send(*(agent(2, traceId=trace_id) for trace_id in traces))
    else:
        with receiver.owner.begin() as conn:
            conn.execute(text("update signals.ingested_trace set is_underived = true"))
            conn.execute(text("update public.runs set latency_bucket = 'STALLED'"))

    def work() -> None:
        if does == "assembles":
            receiver.round(100)
            return
        with receiver.assembler.engine.begin() as conn:
            derive(conn, START)

    with host_session(server, fresh_database) as host, ThreadPoolExecutor(1) as pool:
        change(host, traces[1])
        working = pool.submit(work)
        time.sleep(A_MOMENT_S)
        change(host, traces[0])
        host.commit()
        working.result()

    with receiver.assembler.engine.begin() as conn:
        derive(conn, START)
    assert {row["latency_bucket"] for row in receiver.rows("select latency_bucket from public.runs")} == {"OK"}
