"""Notification: what changed, told to each webhook of the tenant in order, at least once.

A message is a range of change numbers that stays the same until it is over, so that it has the same id whenever it is
sent. It is over when the receiver has it, or after so many attempts that it is written down as a dead letter.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, insert, literal, select, update

from snapshots import visibility
from snapshots.movement import change_counter, signal_change
from snapshots.signals import WORKER_ROLE
from snapshots.webhooks import dead_letter, webhook
from worker.webhooks import payloads, sending
from worker.webhooks.addresses import TargetRefusedError, resolve, target_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine, Row

    from snapshots.settings import Settings
    from worker.webhooks.addresses import Resolve

_log = logging.getLogger(__name__)

#: Changes of one message.
BATCH: Final = 100
#: Messages of one call at most, and seconds after which it begins no other: a worker has other things to do too, and
#: receivers that let it wait must not hold up refreshes.
MESSAGES: Final = 200
BUDGET_S: Final = 15
_LACKING: Final = "changes are no longer kept"
#: Nobody else takes a webhook for so long once it is taken; longer than a request may last.
_LEASE: Final = timedelta(seconds=3 * sending.TOTAL_S)
_FIRST_PAUSE_S: Final = 10
_LONGEST_PAUSE_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Means:
    """Delivery options: name resolution and certificate verification."""

    resolver: Resolve = resolve
    trusted: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Message to send: its id, its changes, and its type."""

    named: str
    rows: Sequence[Row[Any]]
    kind: str = payloads.TYPE


@dataclass(frozen=True, slots=True)
class Told:
    """Counts of the messages of one call."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0


def notify(engine: Engine, settings: Settings, means: Means | None = None) -> Told:
    """Tell every webhook that is due what it has not been told; return the counts.

    Raises VisibilityError where webhooks or changes could be hidden.
    """
    visibility.prove_engine(engine, WORKER_ROLE, sources=())
    means = means or Means()
    counts = {"delivered": 0, "failed": 0, "dead": 0, "nothing": 0}
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    deadline = time.monotonic() + BUDGET_S
    for _ in range(MESSAGES):
        if time.monotonic() > deadline:
            break
        with autocommit.connect() as conn:
            taken = _take(conn)
            if taken is None:
                break
            counts[_tell(conn, taken, settings, means)] += 1
    told = Told(counts["delivered"], counts["failed"], counts["dead"])
    if told != Told():
        _log.info("notify delivered=%d failed=%d dead=%d", told.delivered, told.failed, told.dead)
    return told


def pause_s(attempts: int) -> int:
    """Return how long to wait after the failure number `attempts`, seconds."""
    return min(int(_FIRST_PAUSE_S * 4 ** (attempts - 1)), _LONGEST_PAUSE_S)


def _take(conn: Connection) -> Row[Any] | None:
    """Return a webhook that is due and has something to hear, leased, its message fixed; None when there is none."""
    now = func.clock_timestamp()
    due = (
        select(webhook.c.webhook_id)
        .join(change_counter, change_counter.c.tenant_id == webhook.c.tenant_id)
        .where(
            webhook.c.disabled_at.is_(None),
            webhook.c.retry_at <= now,
            change_counter.c.last_no > webhook.c.last_no,
        )
        .order_by(webhook.c.retry_at)
        .limit(1)
        .with_for_update(of=webhook, skip_locked=True)
        .scalar_subquery()
    )
    newest = (
        select(func.least(change_counter.c.last_no, webhook.c.last_no + BATCH))
        .where(change_counter.c.tenant_id == webhook.c.tenant_id)
        .scalar_subquery()
    )
    lease = {"retry_at": now + _LEASE, "pending_no": func.coalesce(webhook.c.pending_no, newest)}
    statement = update(webhook).where(webhook.c.webhook_id == due).values(lease).returning(webhook, now.label("now"))
    return conn.execute(statement).first()


def _tell(conn: Connection, taken: Row[Any], settings: Settings, means: Means) -> str:
    """Send the message that a webhook is due for and write down how that ended."""
    rows, lacks = _changes(conn, taken), _lacks(conn, taken)
    if not rows:
        _advance(conn, taken, letter=_LACKING if lacks else None)
        return "dead" if lacks else "nothing"
    outcome = deliver(taken, Message(message_id(taken), rows), settings, means)
    if outcome.is_delivered:
        _advance(conn, taken, letter=_LACKING if lacks else None, delivered_at=func.clock_timestamp())
        return "delivered"
    return _failed(conn, taken, outcome, settings)


def message_id(taken: Row[Any]) -> str:
    """Return the id of the message that is under way: of this webhook and these changes, whenever it is sent."""
    return f"chg_{taken.webhook_id}_{taken.last_no + 1}_{taken.pending_no}"


def deliver(taken: Row[Any], message: Message, settings: Settings, means: Means) -> sending.Outcome:
    """Send one message and return how that ended."""
    try:
        target = target_of(taken.url, allow_private=settings.notify_private, resolver=means.resolver)
    except TargetRefusedError as ex:
        return sending.Outcome(None, str(ex))
    payload = payloads.body(message.kind, taken.tenant_id, message.rows, taken.format, taken.now)
    headers = payloads.headers(taken.secret, message.named, payload, taken.now)
    return sending.send(target, payload, headers, means.trusted)


def _changes(conn: Connection, taken: Row[Any]) -> Sequence[Row[Any]]:
    """Return the changes of the message that the webhook wants to hear of."""
    change = signal_change.c
    wanted = change.signal.in_(taken.signals), change.kind.in_(taken.kinds)
    return conn.execute(select(signal_change).where(_of_message(taken), *wanted).order_by(change.change_no)).all()


def _of_message(taken: Row[Any]) -> Any:  # noqa: ANN401  # a condition
    change = signal_change.c
    return (change.tenant_id == taken.tenant_id) & change.change_no.between(taken.last_no + 1, taken.pending_no)


def _lacks(conn: Connection, taken: Row[Any]) -> bool:
    """Tell whether retention has removed changes that the webhook has not been told."""
    kept = conn.execute(select(func.count()).select_from(signal_change).where(_of_message(taken))).scalar_one()
    return int(kept) < int(taken.pending_no - taken.last_no)


def _advance(conn: Connection, taken: Row[Any], *, letter: str | None = None, **values: Any) -> None:  # noqa: ANN401  # columns' values
    """Have the webhook hear what comes next, and write down in `letter` why it has not heard all of what came before.

    One statement: whoever was not in time for its lease changes nothing, and a webhook that is gone leaves no letter.
    """
    moved = {"last_no": taken.pending_no, "pending_no": None, "attempts": 0, "error": None}
    advanced = update(webhook).where(_still(taken)).values({**moved, "retry_at": func.clock_timestamp(), **values})
    if letter is None:
        conn.execute(advanced)
        return
    done = advanced.returning(webhook.c.webhook_id).cte("advanced")
    written = _letter(taken, letter)
    row = select(*(literal(value, dead_letter.c[name].type) for name, value in written.items())).select_from(done)
    if conn.execute(insert(dead_letter).from_select(list(written), row)).rowcount:
        _log.error("notify webhook=%s: message %s is a dead letter: %s", taken.webhook_id, message_id(taken), letter)


def _still(taken: Row[Any]) -> Any:  # noqa: ANN401  # a condition
    same = webhook.c.last_no == taken.last_no, webhook.c.pending_no == taken.pending_no
    return (webhook.c.webhook_id == taken.webhook_id) & same[0] & same[1]


def _failed(conn: Connection, taken: Row[Any], outcome: sending.Outcome, settings: Settings) -> str:
    attempts = taken.attempts + 1
    if outcome.is_gone:
        gone = update(webhook).where(_still(taken))
        conn.execute(gone.values(disabled_at=func.clock_timestamp(), error=outcome.words(), pending_no=None))
        return "failed"
    if attempts >= settings.notify_attempts:
        _advance(conn, taken, letter=outcome.words(), error=outcome.words())
        return "dead"
    retry_at = func.clock_timestamp() + timedelta(seconds=pause_s(attempts))
    later = {"attempts": attempts, "retry_at": retry_at, "error": outcome.words()}
    conn.execute(update(webhook).where(_still(taken)).values(later))
    return "failed"


def _letter(taken: Row[Any], error: str) -> dict[str, Any]:
    return {
        "tenant_id": taken.tenant_id,
        "webhook_id": taken.webhook_id,
        "message_id": message_id(taken),
        "first_no": taken.last_no + 1,
        "last_no": taken.pending_no,
        "attempts": taken.attempts + 1,
        "error": error,
    }


def newest_no(conn: Connection, tenant_id: str) -> int:
    """Return the number of the tenant's newest change, 0 when it has none: where a new webhook begins."""
    found = select(change_counter.c.last_no).where(change_counter.c.tenant_id == tenant_id)
    return int(conn.execute(found).scalar() or 0)
