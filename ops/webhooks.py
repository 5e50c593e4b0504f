"""Webhooks as an operator handles them: added, listed, tried and removed; a secret is shown once."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, insert, select, text

from snapshots.errors import ActivityError, ArgumentError
from snapshots.movement import KINDS
from snapshots.signals import SIGNALS
from snapshots.webhooks import FORMATS, dead_letter, webhook
from worker.webhooks import payloads
from worker.webhooks.addresses import check_url
from worker.webhooks.deliver import Means, Message, deliver, newest_no

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine, Row, RowMapping

    from snapshots.settings import Settings
    from worker.webhooks.sending import Outcome

#: What is shown of a webhook: neither its secret nor its URL, whose path may be one.
_SHOWN: Final = (
    "webhook_id",
    "tenant_id",
    "format",
    "signals",
    "kinds",
    "created_at",
    "disabled_at",
    "delivered_at",
    "attempts",
    "error",
)

_COUNTS: Final = ("webhooks", "failing", "disabled", "dead_letters_24h")
#: Status is asked for before the newest migration has run, too.
_HAS_WEBHOOKS: Final = text("select to_regclass('signals.webhook')")


class WebhookRequestError(ActivityError):
    """A webhook was asked for, or named, in a way that cannot be met."""


class WebhookArgumentError(WebhookRequestError, ArgumentError):
    """A webhook was asked for with a value that none can have."""


def add(  # noqa: PLR0913  # what a webhook is, each by itself
    conn: Connection,
    settings: Settings,
    tenant: str,
    url: str,
    *,
    written: str = "standard",
    signals: Sequence[str] = SIGNALS,
    kinds: Sequence[str] = KINDS,
) -> tuple[int, str]:
    """Store a webhook that is told of what changes from now on; return its id and its secret.

    Raises WebhookRequestError and TargetRefusedError naming what is wrong.
    """
    if not tenant.strip() or "\0" in tenant:
        raise WebhookArgumentError("tenant: expected a name")
    _check("format", [written], FORMATS)
    _check("signal", signals, SIGNALS)
    _check("kind", kinds, KINDS)
    check_url(url, allow_private=settings.notify_private)
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    row = {
        "tenant_id": tenant,
        "url": url,
        "secret": secret,
        "format": written,
        "signals": list(dict.fromkeys(signals)),
        "kinds": list(dict.fromkeys(kinds)),
        "last_no": newest_no(conn, tenant),
    }
    made = conn.execute(insert(webhook).values(row).returning(webhook.c.webhook_id)).scalar_one()
    return int(made), secret


def listed(conn: Connection, tenant: str | None = None) -> Sequence[RowMapping]:
    """Return the webhooks, of `tenant` alone if named, each with the host that it leads to and its dead letters."""
    host = func.substring(webhook.c.url, "^[a-z]+://([^/?#]*)").label("host")
    letters = select(func.count()).where(dead_letter.c.webhook_id == webhook.c.webhook_id).scalar_subquery()
    found = select(*(webhook.c[name] for name in _SHOWN), host, letters.label("dead_letters"))
    found = found if tenant is None else found.where(webhook.c.tenant_id == tenant)
    return conn.execute(found.order_by(webhook.c.webhook_id)).mappings().all()


def try_out(engine: Engine, settings: Settings, webhook_id: int, means: Means | None = None) -> Outcome:
    """Send a webhook a message without changes and return how that ended; no transaction waits for the receiver.

    Raises WebhookRequestError when there is none of that id.
    """
    with engine.connect() as conn:
        found = _find(conn, webhook_id)
    named = f"test_{webhook_id}_{secrets.token_hex(8)}"
    return deliver(found, Message(named, (), payloads.TEST_TYPE), settings, means or Means())


def remove(conn: Connection, webhook_id: int) -> None:
    """Forget a webhook and its dead letters. Raises WebhookRequestError when there is none of that id."""
    _find(conn, webhook_id)
    conn.execute(delete(dead_letter).where(dead_letter.c.webhook_id == webhook_id))
    conn.execute(delete(webhook).where(webhook.c.webhook_id == webhook_id))


def health(conn: Connection) -> dict[str, int]:
    """Return how many webhooks there are, how many fail or were disabled, and the dead letters of a day."""
    if conn.execute(_HAS_WEBHOOKS).scalar_one() is None:
        return dict.fromkeys(_COUNTS, 0)
    failing = func.count().filter(webhook.c.attempts > 0)
    disabled = func.count().filter(webhook.c.disabled_at.is_not(None))
    recent = dead_letter.c.died_at > func.clock_timestamp() - func.make_interval(0, 0, 0, 1)
    letters = select(func.count()).select_from(dead_letter).where(recent).scalar_subquery()
    row = conn.execute(select(func.count(), failing, disabled, letters).select_from(webhook)).one()
    return dict(zip(_COUNTS, row, strict=True))


def _find(conn: Connection, webhook_id: int) -> Row[Any]:
    this = select(webhook, func.clock_timestamp().label("now")).where(webhook.c.webhook_id == webhook_id)
    found = conn.execute(this).first()
    if found is None:
        raise WebhookRequestError(
            f"webhook: {webhook_id} does not exist; `activity webhooks list` names those there are"
        )
    return found


def _check(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    unknown = [value for value in values if value not in known]
    if unknown or not values:
        raise WebhookArgumentError(f"{name}: expected some of {', '.join(known)}")
