"""Payload of a webhook: the message's body, and the headers that sign it (Standard Webhooks)."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from standardwebhooks import Webhook

from snapshots.body import instant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row

TYPE: Final = "activity.changes"
TEST_TYPE: Final = "activity.test"
#: Lines of a Slack message; the others are counted.
_SLACK_LINES: Final = 20
_MEMBERS: Final = ("signal", "kind", "fingerprint", "key", "rank", "previous_rank")


def body(kind: str, tenant_id: str, rows: Sequence[Row[Any]], written: str, now: datetime) -> bytes:
    """Return the body of a message about the changes in `rows`, in the format `written`."""
    if written == "slack":
        return _dump({"text": _lines(tenant_id, rows)})
    data = {"tenant_id": tenant_id, "changes": [_change(row) for row in rows]}
    return _dump({"type": kind, "timestamp": instant(now), "data": data})


def headers(secret: str, message_id: str, payload: bytes, now: datetime) -> Mapping[str, str]:
    """Return the headers of a message: its id, which stays the same when it is sent again, and its signature."""
    return {
        "content-type": "application/json",
        "user-agent": "activity-signals",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now.astimezone(UTC), payload.decode()),
    }


def _change(row: Row[Any]) -> dict[str, object]:
    values = row._mapping  # noqa: SLF001  # public API of SQLAlchemy, despite the underscore
    numbers = {name: None if values[name] is None else float(values[name]) for name in ("value", "previous_value")}
    return {
        "change_no": row.change_no,
        "at": instant(row.at),
        **{name: values[name] for name in _MEMBERS},
        **numbers,
    }


def _lines(tenant_id: str, rows: Sequence[Row[Any]]) -> str:
    if not rows:
        return f"{_plain(tenant_id)}: this is a test"
    lines = [f"{_plain(tenant_id)}: {row.kind} in {row.signal}: {_key(row)}" for row in rows[:_SLACK_LINES]]
    more = len(rows) - _SLACK_LINES
    return "\n".join([*lines, f"and {more} more"] if more > 0 else lines)


def _key(row: Row[Any]) -> str:
    return ", ".join(_plain(str(value)) for value in row.key.values() if value is not None)


def _plain(words: str) -> str:
    """Return `words` so that Slack reads no markup in them: an id must not become a link or call everybody."""
    escaped = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(letter if letter.isprintable() else " " for letter in escaped)[:200]


def _dump(members: Mapping[str, object]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
