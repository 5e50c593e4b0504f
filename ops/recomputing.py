"""Manual recomputes: a ledger row first, a message second; and what a refresh would change, without publishing."""

from __future__ import annotations

import difflib
import json
import time
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import click
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError
from rich.console import Console
from sqlalchemy import func, select

from snapshots.errors import ActivityError, BrokerUnavailableError, SettingsError
from snapshots.tables import quarantine, refresh, snapshot
from worker.app import create_app
from worker.engine import ledger
from worker.engine.compute import stage_signal
from worker.engine.context import RefreshRequest
from worker.engine.limits import set_limits
from worker.engine.shards import WHOLE, shards
from worker.engine.stage import stage_content
from worker.schedule import RECOMPUTE
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine, Row

    from snapshots.settings import Settings

POLL_S: Final = 0.2
#: Tenants in quarantine that are named.
_SHOWN: Final = 10


def request(  # noqa: PLR0913  # one argument per option of the command
    engine: Engine,
    settings: Settings,
    signals: Sequence[str],
    tenants: Sequence[str],
    *,
    requested_by: str,
    is_full: bool = False,
) -> dict[int, str]:
    """Write one ledger row per signal and shard and send the workers its id; return the signals by id.

    Tenants that are named are one shard.

    Raises BrokerUnavailableError when the message cannot be sent; the rows then say failed.
    """
    app = create_app(settings)
    asked: dict[int, str] = {}
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        for signal, shard in product(signals, [WHOLE] if tenants else shards(settings.shards)):
            request = RefreshRequest(signal, "manual", requested_by, shard, tenants, is_full)
            asked[ledger.request(books, request)] = signal
        unsent = list(asked)
        for refresh_id in asked:
            try:
                app.send_task(RECOMPUTE, args=[refresh_id])
            except (BrokerError, RedisError, OSError) as ex:
                problem = BrokerUnavailableError("broker: no answer; is ACTIVITY_BROKER_URL right, and the server up?")
                for lost in unsent:
                    ledger.mark_failed(books, lost, problem, will_retry=False)
                raise problem from ex
            unsent.remove(refresh_id)
    return asked


def wait(engine: Engine, requested: Mapping[int, str], *, timeout_s: int) -> None:
    """Poll the ledger until every requested refresh is over, and print each one's end.

    Raises ActivityError when one failed, left out a tenant or is not over in time.
    """
    deadline = time.monotonic() + timeout_s
    open_ids = dict(requested)
    failures, incomplete = [], set()
    with (
        engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books,
        Console(stderr=True).status("waiting for the workers"),
    ):
        while open_ids and time.monotonic() < deadline:
            for row in _finished(books, list(open_ids)):
                click.echo(f"{open_ids.pop(row.refresh_id)}: {_describe(row)}")
                failures += [row.signal] if row.state == "failed" else []
                incomplete |= {row.signal} if row.tenants_failed else set()
            if open_ids:
                time.sleep(POLL_S)
    if open_ids:
        raise ActivityError(
            f"{', '.join(open_ids.values())}: not done after {timeout_s} s; {_reason(engine, list(open_ids))}"
        )
    if failures:
        raise ActivityError(f"{', '.join(failures)}: the refresh failed")
    with engine.connect() as conn:
        left_out = [told for signal in sorted(incomplete) for told in _quarantined(conn, signal)]
    if left_out:
        raise ActivityError("; ".join(left_out))


def _quarantined(conn: Connection, signal: str) -> Iterator[str]:
    """Yield which tenants of a signal are in quarantine, if any still is."""
    is_signal = quarantine.c.signal == signal
    tenants = conn.execute(select(quarantine.c.tenant_id).where(is_signal).order_by(quarantine.c.tenant_id)).scalars()
    found = list(tenants)
    if found:
        shown, more = ", ".join(found[:_SHOWN]), len(found) - _SHOWN
        count = "1 tenant is" if len(found) == 1 else f"{len(found)} tenants are"
        yield f"{signal}: succeeded, but {count} quarantined: {shown}" + (f" and {more} more" if more > 0 else "")


def _reason(engine: Engine, ids: Sequence[int]) -> str:
    """Return what the ledger says of requests that are not done."""
    with engine.connect() as conn:
        known = select(refresh.c.error).where(refresh.c.refresh_id.in_(ids), refresh.c.error.is_not(None))
        errors = conn.execute(known.distinct()).scalars().all()
    return "; ".join(errors) if errors else "are workers up?"


def _finished(books: Connection, ids: Sequence[int]) -> Sequence[Row[Any]]:
    over = refresh.c.refresh_id.in_(ids), refresh.c.finished_at.is_not(None)
    return books.execute(select(refresh).where(*over).order_by(refresh.c.refresh_id)).all()


def _describe(row: Row[Any]) -> str:
    if row.state == "failed":
        return f"failed: {row.error_class}: {row.error}"
    drift = "" if row.drift is None else f", {row.drift} repaired"
    failed = f", {row.tenants_failed} left out" if row.tenants_failed else ""
    return f"{row.state}, {row.tenants_changed or 0} of {row.tenants_seen or 0} tenants changed{drift}{failed}"


def print_differences(
    engine: Engine, signals: Sequence[str], tenants: Sequence[str], settings: Settings, as_of: datetime | None
) -> None:
    """Print, per tenant, how a refresh would change the published content, within its limits; publishes nothing.

    Raises SettingsError when `as_of` is in the future.
    """
    for signal in signals:
        with engine.connect() as conn:
            now = conn.execute(select(func.clock_timestamp())).scalar_one()
            if as_of is not None and as_of > now:
                raise SettingsError(f"--as-of: {as_of.isoformat()} is in the future; expected an instant up to now")
            set_limits(conn, settings)
            stage_signal(conn, SIGNALS[signal], settings, as_of or now, list(tenants) or None)
            differing = 0
            for lines in _differences(conn, signal, tenants):
                differing += 1
                click.echo("\n".join(lines))
            click.echo(f"{signal}: {differing} tenants would change")


def _differences(conn: Connection, signal: str, tenants: Sequence[str]) -> Iterator[list[str]]:
    staged = select(stage_content).where(stage_content.c.tenant_id != "").subquery()
    published = select(snapshot).where(snapshot.c.signal == signal)
    if tenants:
        published = published.where(snapshot.c.tenant_id.in_(tenants))
    current = published.subquery()
    tenant = func.coalesce(current.c.tenant_id, staged.c.tenant_id)
    empty = select(stage_content.c.content).where(stage_content.c.tenant_id == "").scalar_subquery()
    empty_basis = select(stage_content.c.basis).where(stage_content.c.tenant_id == "").scalar_subquery()
    rows = conn.execute(
        select(
            tenant.label("tenant_id"),
            current.c.content.label("published"),
            func.coalesce(staged.c.content, empty).label("computed"),
        )
        .select_from(staged.join(current, current.c.tenant_id == staged.c.tenant_id, full=True))
        .where(current.c.basis.is_distinct_from(func.coalesce(staged.c.basis, empty_basis)))
        .order_by(tenant)
    )
    for row in rows:
        before, after = _pretty(row.published), _pretty(row.computed)
        lines = list(
            difflib.unified_diff(before, after, f"{row.tenant_id} published", f"{row.tenant_id} computed", lineterm="")
        )
        if lines:
            yield lines


def _pretty(content: str | None) -> list[str]:
    return json.dumps(json.loads(content), indent=2, ensure_ascii=False).splitlines() if content else []
