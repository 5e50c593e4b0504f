"""The refresh engine: bring one signal of a shard, or of some tenants, up to date, and write its story down.

Celery rings; this module does the work and knows nothing of Celery (architecture.md "Refresh protocol").
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from psycopg2.errorcodes import LOCK_NOT_AVAILABLE, SERIALIZATION_FAILURE
from sqlalchemy import event, func, select
from sqlalchemy.exc import DBAPIError

from snapshots import visibility
from snapshots.body import in_utc
from snapshots.errors import ActivityError, sqlstate
from snapshots.signals import WORKER_ROLE
from snapshots.tables import freshness
from worker.engine import capture_trust, change_queue, fact_rules, ledger, locks, probe, quarantine
from worker.engine.bisection import retry_due, set_aside
from worker.engine.blockers import BlockerWatch, holders
from worker.engine.change_queue import START
from worker.engine.errors import (
    LocksHeldError,
    LockTimeoutError,
    ReplacedRulesError,
    TenantDataError,
    first_line,
    release,
    translated,
)
from worker.engine.incremental import Instant, Order, discard_marks, must_read_all, reconcile, refresh_batch
from worker.engine.limits import set_limits
from worker.engine.publish import draw_fence
from worker.engine.shards import WHOLE
from worker.engine.tables import fact_state
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from snapshots.settings import Settings
    from worker.engine.results import RefreshResult
    from worker.engine.shards import Shard

_log = logging.getLogger(__name__)

#: The errors after which an attempt is worth repeating; the tasks retry on these and no others.
RETRYABLE: Final = (DBAPIError,)

#: How often a comparison begins that meets other refreshes at the counters of changes.
RECONCILE_TRIES: Final = 5

#: A request waits so long for a refresh that is under way, seconds; then it is put back, and the process is free again.
LOCK_WAIT_S: Final = 2.0
#: Seconds after which it is tried again; after a lock_timeout, something of the host's holds the lock for longer.
AGAIN_S: Final = 5
BLOCKED_AGAIN_S: Final = 30


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a refresh: the ledger row it reports to, what it covers, and for how long it waits for another.

    `is_full` compares what is kept with a full recompute and repairs it; `is_manual` is what an operator asked for. One
    that `stays` is not over when its locks are taken: it stays `requested`, and run raises LocksHeldError.
    """

    signal: str
    refresh_id: int
    shard: Shard = WHOLE
    tenants: Sequence[str] | None = None
    is_full: bool = False
    wait_s: float = 0
    stays: bool = False
    will_retry: bool = False
    is_manual: bool = False


def run(engine: Engine, attempt: Attempt, settings: Settings) -> RefreshResult | None:
    """Run one attempt and write its story into the ledger; None when it was coalesced with another.

    Raises LockTimeoutError when something else holds a lock, and LocksHeldError when another refresh does and the
    attempt stays. Raises what the database raises; the last good snapshot stays as it was (R29), and what earlier
    batches published.
    """
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as books:
        try:
            return _locked(engine, books, attempt, settings)
        except Exception as ex:
            release(ex)
            _note_failure(autocommit, attempt, translated(ex))
            if translated(ex) is ex:
                raise
            raise translated(ex) from ex


def _note_failure(engine: Engine, attempt: Attempt, error: Exception) -> None:
    """Tell the ledger on a connection of its own, since the error may have ended the other ones."""
    is_blocked = isinstance(error, LockTimeoutError | LocksHeldError)
    will_retry = attempt.stays if is_blocked else attempt.will_retry and isinstance(error, RETRYABLE)
    try:
        with engine.connect() as books:
            ledger.mark_failed(books, attempt.refresh_id, error, will_retry=will_retry)
    except DBAPIError:
        _log.warning(
            "refresh signal=%s id=%s: the ledger cannot be told of the failure", attempt.signal, attempt.refresh_id
        )


def _locked(engine: Engine, books: Connection, attempt: Attempt, settings: Settings) -> RefreshResult | None:
    with engine.connect() as conn:
        slots = _slots(conn, attempt)
        with locks.held(engine, attempt.signal, slots, wait_s=attempt.wait_s) as lock:
            if lock is None:
                _note_held(books, attempt, slots)
                return None
            # A refresh whose locks are lost must not commit beside the next one.
            event.listen(conn, "commit", lambda _: lock.check())
            if _is_replaced(conn, attempt, slots, settings):
                if not attempt.is_manual:
                    ledger.mark_coalesced(
                        books, attempt.refresh_id, ReplacedRulesError("left to workers with other rules")
                    )
                return None
            with conn.begin():
                visibility.prove(conn, WORKER_ROLE)
            with conn.begin():
                ledger.close_lost(conn, besides=attempt.refresh_id, holder=lock.pid)
            instant = _instant(conn)
            if not ledger.mark_running(books, attempt.refresh_id, as_of=instant.as_of, fence=instant.fence):
                return None
            result = _watched(engine, conn, attempt, settings, instant)
            # Before the locks are let go: whoever waits for them with the same request must see that it is over.
            ledger.mark_succeeded(books, attempt.refresh_id, result)
            return result


def _note_held(books: Connection, attempt: Attempt, slots: Sequence[int]) -> None:
    """Close a tick whose locks another session holds; raise LocksHeldError for what stays."""
    error = LocksHeldError(holders(books, attempt.signal, slots) or f"{attempt.signal} was locked a moment ago")
    if attempt.stays:
        raise error
    ledger.mark_coalesced(books, attempt.refresh_id, error)


def _watched(engine: Engine, conn: Connection, attempt: Attempt, settings: Settings, instant: Instant) -> RefreshResult:
    """Do the work; raise LockTimeoutError, naming what holds the lock, when a statement could not have one in time."""
    with conn.begin():
        pid: int = conn.execute(select(func.pg_backend_pid())).scalar_one()
    limit_s = settings.refresh_lock_timeout_s
    with BlockerWatch(engine, pid, limit_s) as watch:
        try:
            return _work(conn, attempt, settings, instant)
        except DBAPIError as ex:
            if sqlstate(ex) != LOCK_NOT_AVAILABLE:
                raise
            raise LockTimeoutError(f"not within {limit_s} s: {watch.last or first_line(ex)}") from ex


def _slots(conn: Connection, attempt: Attempt) -> Sequence[int]:
    """Return the slots whose facts and snapshots the attempt changes, ascending."""
    if attempt.tenants is None:
        return attempt.shard.slots
    with conn.begin():
        tenant = func.unnest(list(attempt.tenants)).column_valued("tenant")
        slot = func.signals.slot_of(tenant)
        return conn.execute(select(slot).distinct().order_by(slot)).scalars().all()


def _is_replaced(conn: Connection, attempt: Attempt, slots: Sequence[int], settings: Settings) -> bool:
    """Tell whether workers of a newer version refresh these slots; a request then stays for one of them to take up."""
    with conn.begin():
        is_replaced = fact_rules.are_replaced(conn, SIGNALS[attempt.signal], slots, settings)
    if is_replaced:
        _log.warning(
            "refresh signal=%s id=%s: left to workers with other rules (another version, or other settings)",
            attempt.signal,
            attempt.refresh_id,
        )
    return is_replaced


def _instant(conn: Connection) -> Instant:
    with conn.begin():
        return Instant(*draw_fence(conn))


def _work(conn: Connection, attempt: Attempt, settings: Settings, instant: Instant) -> RefreshResult:
    limit = settings.refresh_batch_marks
    order = Order(SIGNALS[attempt.signal], attempt.refresh_id, attempt.shard, attempt.tenants, limit=limit)
    order = _without_quarantined(conn, _with_doubt(conn, order), is_manual=attempt.is_manual)
    _clear_for_full(conn, order, settings, instant)
    result = _drained(conn, order, settings, instant)
    if attempt.tenants is None and result.method == "incremental" and result.is_drained:
        result = _checked(conn, _without_quarantined(conn, order), settings, result, is_full=attempt.is_full)
    if order.excluded:
        retry_due(conn, order, settings, _instant(conn), since=instant.as_of)
        left_out = _without_quarantined(conn, order).excluded
        return replace(result, tenants_failed=len(left_out))
    return result


def _with_doubt(conn: Connection, order: Order) -> Order:
    """Return the order, marked where capture missed a change of the signal and has not been confirmed since."""
    with conn.begin():
        return replace(order, is_doubted=capture_trust.is_doubted(conn, order.signal))


def _checked(
    conn: Connection, order: Order, settings: Settings, result: RefreshResult, *, is_full: bool
) -> RefreshResult:
    """Compare a sample with the source, and all rows where that is asked for or capture is doubted."""
    if not is_full and not order.is_doubted:
        try:
            found = _unreported(conn, order, settings, result.as_of)
        except DBAPIError as ex:
            # A sampled row breaks a query: the comparison finds its tenant.
            if not quarantine.is_of_data(ex):
                raise
        else:
            if not found:
                return result
            _log.error("refresh signal=%s: capture did not report %d sampled changes", order.signal.name, found)
            order = replace(order, is_doubted=True)
    compared = _reconciled(conn, order, settings).after(result)
    if order.is_doubted:
        with conn.begin():
            capture_trust.settle(conn, order.signal, settings, compared)
    return compared


def _unreported(conn: Connection, order: Order, settings: Settings, as_of: datetime) -> int:
    """Return how many sampled changes were not reported, and note the doubt that they give."""
    with conn.begin():
        set_limits(conn, settings)
        found = probe.unreported(conn, order, settings, as_of, draw_fence(conn)[1])
    if found:
        with conn.begin():
            capture_trust.doubt(conn, order.signal, found)
    return found


def _without_quarantined(conn: Connection, order: Order, *, is_manual: bool = False) -> Order:
    """Return the order without the tenants that are set aside; an operator's request has them tried again at once."""
    if order.tenants is not None:
        return order
    with conn.begin():
        if is_manual:
            quarantine.retry_now(conn, order.signal.name, order.shard)
        return replace(order, excluded=quarantine.excluded(conn, order.signal.name, order.shard))


def _drained(conn: Connection, order: Order, settings: Settings, instant: Instant) -> RefreshResult:
    """Refresh what the order asks for; tenants whose data breaks that are set aside, and the others go on.

    Raises TenantDataError for those that were asked for by name, once the others are done.
    """
    try:
        result = _drain(conn, order, settings, instant)
    except DBAPIError as ex:
        failed = set_aside(conn, order, settings, instant, ex)
        release(ex)
        if order.tenants is not None:
            rest = [tenant for tenant in order.tenants if tenant not in failed]
            if rest:
                _drained(conn, replace(order, tenants=rest), settings, _instant(conn))
            raise TenantDataError(f"{', '.join(failed)}: {first_line(ex)}") from None
        return _drained(conn, replace(order, excluded=[*order.excluded, *failed]), settings, _instant(conn))
    if order.tenants is not None:
        with conn.begin():
            quarantine.release(conn, order.signal.name, order.tenants)
    return replace(result, tenants_failed=len(order.excluded))


def _clear_for_full(conn: Connection, order: Order, settings: Settings, instant: Instant) -> None:
    """Empty a long queue batch by batch before every row is read anyway, rather than in one long transaction."""
    if order.tenants is not None:
        return
    with conn.begin():
        is_long = (
            change_queue.backlog(conn, order.signal, at_most=settings.refresh_batch_marks)
            >= settings.refresh_batch_marks
        )
        is_long = is_long and must_read_all(conn, order, settings, instant.as_of)
    while is_long:
        with conn.begin():
            set_limits(conn, settings)
            is_long = discard_marks(conn, order) == order.limit


def _drain(conn: Connection, order: Order, settings: Settings, instant: Instant) -> RefreshResult:
    """Refresh batch by batch, each in a transaction of its own, until no mark is left or the time is up."""
    deadline = time.monotonic() + settings.refresh_timeout_s / 2
    result, after = None, START
    while True:
        with conn.begin():
            set_limits(conn, settings)
            batch = refresh_batch(conn, replace(order, after=after), settings, instant)
        result = batch.result if result is None else batch.result.after(result)
        after = batch.last
        if batch.result.is_drained or time.monotonic() > deadline:
            return result
        instant = _instant(conn)


def _reconciled(conn: Connection, order: Order, settings: Settings, tries: int = RECONCILE_TRIES) -> RefreshResult:
    """Compare with a full recompute; tenants whose data breaks only that are set aside too, and the others compared.

    It sees one state of all: where another signal's refresh has counted a tenant's changes since, it begins anew.
    """
    try:
        result = _reconcile(conn, order, settings)
    except DBAPIError as ex:
        if sqlstate(ex) == SERIALIZATION_FAILURE and tries > 1:
            return _reconciled(conn, order, settings, tries - 1)
        failed = set_aside(conn, order, settings, _instant(conn), ex)
        release(ex)
        return _reconciled(conn, replace(order, excluded=[*order.excluded, *failed]), settings)
    return replace(result, tenants_failed=len(order.excluded))


def _reconcile(conn: Connection, order: Order, settings: Settings) -> RefreshResult:
    """Compare with a full recompute, both on one state of the source."""
    conn.execution_options(isolation_level="REPEATABLE READ")
    with conn.begin():
        set_limits(conn, settings)
        instant, (_, next_fence) = Instant(*draw_fence(conn)), draw_fence(conn)
        return reconcile(conn, order, settings, instant, next_fence)


class PutBackError(ActivityError):
    """A request met a lock and stays `requested`: it is to be tried again after `again_s` seconds."""

    def __init__(self, refresh_id: int, reason: LocksHeldError | LockTimeoutError) -> None:
        """Take the request's ledger id, and why."""
        super().__init__(f"refresh {refresh_id} is put back: {reason}")
        self.refresh_id = refresh_id
        self.again_s = AGAIN_S if isinstance(reason, LocksHeldError) else BLOCKED_AGAIN_S


def _run_or_put_back(engine: Engine, attempt: Attempt, settings: Settings) -> RefreshResult | None:
    """Run an attempt; raise PutBackError where it stays `requested`."""
    try:
        return run(engine, attempt, settings)
    except (LocksHeldError, LockTimeoutError) as ex:
        if not attempt.stays:
            raise
        raise PutBackError(attempt.refresh_id, ex) from ex


def refresh(  # noqa: PLR0913  # what is refreshed, and what the ledger is told
    engine: Engine,
    signal: str,
    settings: Settings,
    *,
    shard: Shard = WHOLE,
    mode: ledger.Mode = "tick",
    requested_by: str = "schedule",
) -> RefreshResult | None:
    """Refresh `signal` for every tenant of a shard.

    A tick ends at once when a refresh is under way, and when changes are not captured and the last refresh is younger
    than the slower period. A reconcile compares with a full recompute; it waits for a moment, then raises PutBackError.
    """
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        if mode == "tick" and _is_too_early(books, signal, settings, shard):
            return None
        refresh_id = ledger.request(books, signal, mode=mode, requested_by=requested_by, shard=shard)
    stays = mode != "tick"
    attempt = Attempt(
        signal, refresh_id, shard, is_full=mode == "reconcile", wait_s=LOCK_WAIT_S if stays else 0, stays=stays
    )
    return _reported(_run_or_put_back(engine, attempt, settings), refresh_id, signal)


def _is_too_early(conn: Connection, signal: str, settings: Settings, shard: Shard) -> bool:
    """Tell whether every row would have to be read, and was read a short while ago."""
    is_captured = select(fact_state.c.slot).where(fact_state.c.signal == signal).limit(1)
    if not capture_trust.is_doubted(conn, SIGNALS[signal]) and (
        conn.execute(is_captured).first() or change_queue.fingerprint(conn, SIGNALS[signal])
    ):
        return False
    age = func.clock_timestamp() - func.min(freshness.c.verified_at)
    limit = settings.period_s(signal, is_captured=False) - settings.period_s(signal)
    is_young = (func.count() == len(shard.slots)) & (func.extract("epoch", age).between(0, limit))
    known = freshness.c.signal == signal, freshness.c.slot.in_(shard.slots)
    return bool(conn.execute(select(is_young).where(*known)).scalar_one())


def refresh_requested(
    engine: Engine, refresh_id: int, settings: Settings, *, will_retry: bool = False, wait_s: float = LOCK_WAIT_S
) -> RefreshResult | None:
    """Run the refresh that ledger row `refresh_id` asks for; None when another delivery has taken it already.

    Raises PutBackError when a lock that it needs is not free: its row then stays `requested`.
    """
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
        asked = ledger.claim(books, refresh_id)
    if asked is None:
        return None
    attempt = Attempt(
        asked.signal,
        refresh_id,
        asked.shard,
        tenants=asked.tenants,
        is_full=asked.is_full,
        wait_s=wait_s,
        stays=True,
        will_retry=will_retry,
        is_manual=asked.mode == "manual",
    )
    return _reported(_run_or_put_back(engine, attempt, settings), refresh_id, asked.signal)


def _reported(result: RefreshResult | None, refresh_id: int, signal: str) -> RefreshResult | None:
    """Log one event per refresh."""
    if result is None:
        _log.info("refresh signal=%s id=%s: done or under way elsewhere", signal, refresh_id)
        return None
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
    return result
