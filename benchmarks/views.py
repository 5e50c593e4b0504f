"""Materialized views of our own best SQL: what a team would run instead, refreshed concurrently.

Each is made of the query files themselves, one CTE per stage, so that what is compared is the way of refreshing alone.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from worker.engine import queries, stage
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from snapshots.settings import Settings

#: The steps of each signal up to its items, and the key that REFRESH ... CONCURRENTLY asks for.
_ITEMS: Final = {
    "patterns": (("patterns/facts", "patterns/runs", "patterns/items"), "tenant_id, pattern_type, rank"),
    "cost": (("cost/agents", "cost/items"), "tenant_id, agent_id"),
    "attention": (("attention/facts", "attention/runs", "attention/items"), "tenant_id, rank"),
}


def create(engine: Engine, settings: Settings, as_of: datetime) -> None:
    """Create and fill a view per signal, as of `as_of`."""
    with engine.begin() as conn:
        for signal, (_, key) in _ITEMS.items():
            body, binds = _composed(signal, settings, as_of)
            conn.execute(text(f"create materialized view bench_{signal} as {body}"), binds)
            conn.execute(text(f"create unique index on bench_{signal} ({key})"))


def drop(engine: Engine) -> None:
    """Drop the views."""
    with engine.begin() as conn:
        for signal in _ITEMS:
            conn.execute(text(f"drop materialized view bench_{signal}"))


def refresh(engine: Engine, settings: Settings) -> None:
    """Refresh all views concurrently with their readers, on two connections and with a refresh's memory."""
    with ThreadPoolExecutor(max_workers=2) as connections:
        for done in [connections.submit(_refresh, engine, signal, settings) for signal in _ITEMS]:
            done.result()


def _refresh(engine: Engine, signal: str, settings: Settings) -> None:
    with engine.begin() as conn:
        conn.execute(text(f"set local work_mem = '{settings.refresh_work_mem_mb}MB'"))
        conn.execute(text(f"refresh materialized view concurrently bench_{signal}"))


def _composed(signal: str, settings: Settings, as_of: datetime) -> tuple[str, dict[str, object]]:
    """Return one statement of the signal's steps, and its binds."""
    steps, _ = _ITEMS[signal]
    by_query = {step.query: step for step in SIGNALS[signal].steps}
    ctes, binds = [], SIGNALS[signal].parameters(settings, as_of)
    used: set[str] = set()
    for name in steps:
        step = by_query[name]
        columns = ", ".join(column.name for column in step.stage.columns)
        ctes.append(f"{step.stage.name} ({columns}) as materialized ({_without_stage(name)})")
        used |= set(queries.load(name).params)
    last = by_query[steps[-1]].stage.name
    return f"with {', '.join(ctes)} select * from {last}", {name: binds[name] for name in used}  # noqa: S608  # our own query files


def _without_stage(name: str) -> str:
    """Return the query over the CTEs in place of the stage; a view has no marks."""
    body = queries.load(name).text.text
    for marks in (stage.stage_dirty_trace, stage.stage_dirty_run, stage.stage_dirty_agent):
        columns = ", ".join(f"cast(null as text) as {column.name}" for column in marks.columns)
        body = body.replace(f"pg_temp.{marks.name}", f"(select {columns} where false)")
    return body.replace("pg_temp.", "")
