"""The refresh engine on one page: bring one signal of a shard, or of named tenants, to an instant.

Read `run`, then `worker.engine.batch`. Nothing here knows Celery: `worker.tasks` calls `refresh`, `refresh_requested`.
Source: docs/architecture.md#the-refresh-engine.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from psycopg2.errorcodes import LOCK_NOT_AVAILABLE
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import DBAPIError

from snapshots import visibility
from snapshots.body import in_utc
from snapshots.errors import ActivityError, first_line, sqlstate
from snapshots.signals import WORKER_ROLE
from snapshots.tables import freshness
from worker.engine import capture_trust, change_queue, fact_rules, ledger, locks, publish, quarantine, stage
from worker.engine.batch import at_now, refresh_batch
from worker.engine.blockers import BlockerWatch, holders
from worker.engine.context import RefreshContext, RefreshRequest, RefreshResult
from worker.engine.errors import (
    LocksHeldError,
    LockTimeoutError,
    ReplacedRulesError,
    TenantDataError,
    release,
    translated,
)
from worker.engine.limits import set_limits
from worker.engine.reconcile import check_facts
from worker.engine.shards import WHOLE
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from snapshots.settings import Settings
    from worker.engine.context import Mode
    from worker.engine.shards import Shard

_log = logging.getLogger(__name__)

#: The errors after which a refresh is worth repeating; the tasks retry on these and no others.
RETRYABLE: Final = (DBAPIError,)
#: How long a request waits for a refresh under way, seconds; then it is put back, and the process is free again.
LOCK_WAIT_S: Final = 2.0
#: Seconds after which it is tried again; after a lock_timeout, a session of the host's holds the lock for longer.
AGAIN_S: Final = 5
BLOCKED_AGAIN_S: Final = 30


class PutBackError(ActivityError):
    """A request met a lock and stays `requested`: it is to be tried again after `again_s` seconds."""

    def __init__(self, refresh_id: int, reason: LocksHeldError | LockTimeoutError) -> None:
        """Take the request's ledger id, and why."""
        super().__init__(f"refresh {refresh_id} is put back: {reason}")
        self.refresh_id = refresh_id
        self.again_s = AGAIN_S if isinstance(reason, LocksHeldError) else BLOCKED_AGAIN_S


def refresh(  # noqa: PLR0913  # what is refreshed, and what the ledger is told
    engine: Engine,
    signal: str,
    settings: Settings,
    *,
    shard: Shard = WHOLE,
    mode: Mode = "tick",
    requested_by: str = "schedule",
) -> RefreshResult | None:
    """Refresh `signal` for every tenant of a shard; None when another refresh answers for it.

    A tick ends at once when a refresh is under way, and when changes are not captured and the last refresh is younger
    than the slower period. A reconcile compares with a full recompute; it waits for a moment, then raises PutBackError.
    """
    request = RefreshRequest(signal, mode, requested_by, shard, is_full=mode == "reconcile")
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        if mode == "tick" and _is_too_early(books, request, settings):
            return None
        refresh_id = ledger.request(books, request)
    return run(engine, refresh_id, request, settings, wait_s=LOCK_WAIT_S if request.stays else 0)


def refresh_requested(
    engine: Engine, refresh_id: int, settings: Settings, *, will_retry: bool = False, wait_s: float = LOCK_WAIT_S
) -> RefreshResult | None:
    """Run the refresh that ledger row `refresh_id` asks for; None when another delivery has taken it already.

    Raises PutBackError when a lock that it needs is not free: its row then stays `requested`.
    """
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        request = ledger.claim(books, refresh_id)
    if request is None:
        return None
    return run(engine, refresh_id, request, settings, wait_s=wait_s, will_retry=will_retry)


def run(  # noqa: PLR0913  # the request, and how it meets locks and errors
    engine: Engine,
    refresh_id: int,
    request: RefreshRequest,
    settings: Settings,
    *,
    wait_s: float = 0,
    will_retry: bool = False,
) -> RefreshResult | None:
    """Run one request and report it to the ledger; None when another refresh answers for it.

    Raises PutBackError when a lock is taken and the request stays, LockTimeoutError for a tick that a lock of another
    session stopped, and what the database raises. The last snapshots, and what earlier batches published, stay.
    """
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    try:
        with autocommit.connect() as books:
            result = _run_locked(engine, books, refresh_id, request, settings, wait_s=wait_s)
    except Exception as ex:
        is_blocked = isinstance(ex, LocksHeldError | LockTimeoutError)
        will_retry = request.stays if is_blocked else will_retry and isinstance(ex, RETRYABLE)
        try:
            # On a connection of its own, since the error may have ended the others.
            with autocommit.connect() as books:
                ledger.mark_failed(books, refresh_id, translated(ex), will_retry=will_retry)
        except DBAPIError:
            _log.warning("refresh signal=%s id=%s: its failure cannot be recorded", request.signal, refresh_id)
        release(ex)
        if isinstance(ex, LocksHeldError | LockTimeoutError) and request.stays:
            raise PutBackError(refresh_id, ex) from ex
        # Named in no variable: an error that its own frame holds lives until a full collection.
        if translated(ex) is ex:
            raise
        raise translated(ex) from ex
    _log_result(result, refresh_id, request.signal)
    return result


def _run_locked(  # noqa: PLR0913  # as `run`, with the ledger's connection
    engine: Engine,
    books: Connection,
    refresh_id: int,
    request: RefreshRequest,
    settings: Settings,
    *,
    wait_s: float,
) -> RefreshResult | None:
    """Run a request once it has the locks of its slots; a tick that cannot have them is recorded as coalesced."""
    spec, shard, tenants = SIGNALS[request.signal], request.shard, request.tenants
    slots = shard.slots if tenants is None else change_queue.slots_of(books, tenants)
    with engine.connect() as conn, locks.held(engine, spec.name, slots, wait_s=wait_s) as lock:
        if lock is None:
            words = holders(books, spec.name, slots) or f"{spec.name} was locked a moment ago"
            if request.stays:
                raise LocksHeldError(words)
            ledger.mark_coalesced(books, refresh_id, LocksHeldError(words))
            return None
        if fact_rules.are_replaced(books, spec, slots, settings):
            words = "left to workers with other rules (another version, or other settings)"
            _log.warning("refresh signal=%s id=%s: %s", spec.name, refresh_id, words)
            if request.mode != "manual":
                ledger.mark_coalesced(books, refresh_id, ReplacedRulesError(words))
            return None
        # A refresh whose locks are lost must not commit beside the next one.
        event.listen(conn, "commit", lambda _: lock.check())
        with conn.begin():
            pid: int = conn.execute(select(func.pg_backend_pid())).scalar_one()
        with BlockerWatch(engine, pid, settings.refresh_lock_timeout_s) as watch:
            try:
                with conn.begin():
                    set_limits(conn, settings)
                    visibility.prove(conn, WORKER_ROLE, spec.sources or (spec.tenants.name,))
                    ledger.close_lost(conn, besides=refresh_id, holder=lock.pid)
                    as_of, fence = publish.draw_fence(conn)
                if not ledger.mark_running(books, refresh_id, as_of=as_of, fence=fence):
                    return None
                context = RefreshContext(spec, settings, refresh_id, as_of, fence, shard, tenants)
                result = _refresh_and_check(conn, context, request)
            except DBAPIError as ex:
                if sqlstate(ex) != LOCK_NOT_AVAILABLE:
                    raise
                words = watch.last or first_line(ex)
                raise LockTimeoutError(f"not within {settings.refresh_lock_timeout_s} s: {words}") from ex
        # Before the locks are let go: whoever waits for them with the same request must see that it is over.
        ledger.mark_succeeded(books, refresh_id, result)
        return result


def _refresh_and_check(conn: Connection, context: RefreshContext, request: RefreshRequest) -> RefreshResult:
    """Refresh batch by batch, compare with the source, and retry the tenants in quarantine that are due."""
    if context.tenants is not None:
        return _refresh_batches(conn, context)
    with conn.begin():
        if request.mode == "manual":
            quarantine.retry_now(conn, context.spec.name, context.shard)
        excluded = quarantine.excluded(conn, context.spec.name, context.shard)
        is_doubted = capture_trust.is_doubted(conn, context.spec)
    context = replace(context, excluded=excluded, is_doubted=is_doubted)
    _discard_long_queue(conn, context)
    result = _refresh_batches(conn, context)
    if result.method == "incremental" and result.is_drained:
        with conn.begin():
            context = replace(context, excluded=quarantine.excluded(conn, context.spec.name, context.shard))
        result = check_facts(conn, context, result, is_full=request.is_full)
    if not context.excluded:
        return result
    quarantine.retry_due(conn, at_now(conn, context), since=context.as_of)
    with conn.begin():
        return replace(result, tenants_failed=len(quarantine.excluded(conn, context.spec.name, context.shard)))


def _refresh_batches(conn: Connection, context: RefreshContext) -> RefreshResult:
    """Refresh in one transaction per batch, until no change event is left or the time is up.

    Tenants whose data breaks that go into quarantine, and the others go on. Raises TenantDataError for those that were
    named, once the others are done.
    """
    deadline = time.monotonic() + context.settings.refresh_timeout_s / 2
    result, after, first = None, None, context
    try:
        while True:
            with conn.begin():
                set_limits(conn, context.settings)
                batch = refresh_batch(conn, context, after=after, limit=context.settings.refresh_batch_marks)
            result, after = batch.after(result), batch.last
            if batch.is_drained or time.monotonic() > deadline:
                break
            context = at_now(conn, context)
    except DBAPIError as ex:
        failed = quarantine.isolate(conn, first, ex)
        release(ex)
        if context.tenants is None:
            return _refresh_batches(conn, at_now(conn, context).excluding(failed))
        rest = [tenant for tenant in context.tenants if tenant not in failed]
        if rest:
            _refresh_batches(conn, replace(at_now(conn, context), tenants=rest))
        raise TenantDataError(f"{', '.join(failed)}: {first_line(ex)}") from None
    if context.tenants is not None:
        with conn.begin():
            quarantine.release(conn, context.spec.name, context.tenants)
    return replace(result, tenants_failed=len(context.excluded))


def _discard_long_queue(conn: Connection, context: RefreshContext) -> None:
    """Empty a long queue batch by batch before every row is read anyway, rather than in one long transaction."""
    spec, settings, limit = context.spec, context.settings, context.settings.refresh_batch_marks
    if spec.incremental is None:
        return
    with conn.begin():
        is_long = change_queue.backlog(conn, spec, at_most=limit) >= limit
        present = (context.as_of, change_queue.fingerprint(conn, spec))
        is_long = is_long and fact_rules.hold_since(conn, spec, context.shard.slots, settings, present) is None
    while is_long:
        with conn.begin():
            set_limits(conn, settings)
            stage.prepare(conn)
            fact_rules.invalidate(conn, spec, context.shard.slots)
            is_long = change_queue.take(conn, spec, context.shard, limit=limit).marks == limit


def _is_too_early(conn: Connection, request: RefreshRequest, settings: Settings) -> bool:
    """Tell whether every row would have to be read, and was read a short while ago."""
    spec, slots = SIGNALS[request.signal], request.shard.slots
    is_captured = text("select from signals.fact_state where signal = :signal limit 1").bindparams(signal=spec.name)
    if not capture_trust.is_doubted(conn, spec) and (
        conn.execute(is_captured).first() is not None or change_queue.fingerprint(conn, spec)
    ):
        return False
    age = func.clock_timestamp() - func.min(freshness.c.verified_at)
    limit = settings.period_s(spec.name, is_captured=False) - settings.period_s(spec.name)
    is_young = (func.count() == len(slots)) & (func.extract("epoch", age).between(0, limit))
    known = freshness.c.signal == spec.name, freshness.c.slot.in_(slots)
    return bool(conn.execute(select(is_young).where(*known)).scalar_one())


def _log_result(result: RefreshResult | None, refresh_id: int, signal: str) -> None:
    if result is None:
        _log.info("refresh signal=%s id=%s: done or under way elsewhere", signal, refresh_id)
        return
    _log.info(
        "refresh signal=%s id=%s state=succeeded method=%s as_of=%s marks=%d tenants=%d changed=%d rows=%d",
        signal,
        refresh_id,
        result.method,
        in_utc(result.as_of).isoformat(),
        result.marks,
        result.tenants_seen,
        result.tenants_changed,
        result.rows_changed,
    )
    if result.drift:
        _log.error("reconcile signal=%s id=%s repaired drift=%d tenants", signal, refresh_id, result.drift)
