"""Triage decisions: acknowledge, snooze, expect and reopen, recorded once and read back.

The writer role may add events for the tenant that the transaction names, and nothing else (docs/triage.md).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, Text, and_, bindparam, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from api.http.parameters import instant_of
from api.http.payload import invalid_member
from api.http.problems import ProblemError
from api.http.wire import instant_text
from api.queries.history import FINGERPRINT, item_not_found
from snapshots.movement import item_state
from snapshots.triage import (
    LONGEST_EXPECTATION,
    LONGEST_SNOOZE,
    MAX_COMMENT_CHARS,
    MAX_REASON_CHARS,
    SHORTEST,
    STATES,
    triage,
    triage_event,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Executable, Row, Select

    from api.auth.authentication import Caller
    from api.queries.reader import Reader

MEMBERS: Final = ("fingerprint", "action", "minutes", "until", "reason", "comment")
#: A join with what is there once at most.
_ALWAYS: Final[ColumnElement[bool]] = literal_column("true")
#: How many events of an item are given, the newest ones.
MAX_EVENTS: Final = 200
REQUEST_KEY: Final = re.compile(r"[!-~]{1,128}", re.ASCII)
_LONGEST: Final = {"snooze": LONGEST_SNOOZE, "expect": LONGEST_EXPECTATION}
_SPANS: Final = {"snooze": "15 minutes to 24 hours from now", "expect": "15 minutes to 366 days from now"}


@dataclass(frozen=True, slots=True)
class Decision:
    """Triage decision on an item; `until` is None where it has no end."""

    fingerprint: str
    action: str
    until: datetime | None
    reason: str | None
    comment: str | None
    #: The member that says when it ends, as it was given: a repeated request of `minutes` ends at another instant.
    span: tuple[str, object] | None = None

    @classmethod
    def of(cls, members: Mapping[str, Any], now: datetime) -> Decision:
        """Return the decision in `members`. Raises ProblemError (400) that names the member at fault."""
        action = members.get("action")
        if not isinstance(action, str) or action not in STATES:
            raise invalid_member("action", f"one of {', '.join(STATES)}")
        fingerprint = members.get("fingerprint")
        if not isinstance(fingerprint, str) or not FINGERPRINT.fullmatch(fingerprint):
            raise invalid_member("fingerprint", "a fingerprint: 32 letters of 0-9 and a-f")
        reason = _words(members, "reason", MAX_REASON_CHARS)
        if action == "expect" and reason is None:
            raise invalid_member("reason", "why it is expected")
        comment = _words(members, "comment", MAX_COMMENT_CHARS)
        end = _end(members, action, now)
        span = next(((name, members[name]) for name in ("minutes", "until") if members.get(name) is not None), None)
        return cls(fingerprint, action, end, reason, comment, span)

    def sha256(self) -> str:
        """Return what tells this request apart from another one."""
        asked = (self.fingerprint, self.action, self.reason, self.comment, *(self.span or ()))
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def said(self, at: datetime, actor: str) -> dict[str, object] | None:
        """Return the item's triage from now on; None when it is open."""
        if self.action == "reopen":
            return None
        words = {"until": self.until, "reason": self.reason, "comment": self.comment}
        return {"state": STATES[self.action], **words, "actor": actor, "at": at}


class TriageService:
    """Triage service: it records decisions and looks them up."""

    def __init__(self, writer: Reader | None, reader: Reader) -> None:
        """Take a writer with the triage role, if there is one, and a reader with the reader's."""
        self._writer = writer
        self._reader = reader

    def decide(self, caller: Caller, decision: Decision, request_key: str | None) -> dict[str, object]:
        """Write `decision` down and return the response; a repeated request is written once and answered alike.

        Raises ProblemError: 404 for an item that is not known, 409 for a `request_key` that named another request, 503
        where there is no writer.
        """
        if self._writer is None:
            raise ProblemError(
                503, "triage_unavailable", "This service has no ACTIVITY_TRIAGE_DATABASE_URL to write with."
            )
        values = {
            "tenant": caller.tenant_id,
            "fingerprint": decision.fingerprint,
            "action": decision.action,
            "until": decision.until,
            "reason": decision.reason,
            "comment": decision.comment,
            "actor": caller.actor,
            "request_key": request_key,
            "request_sha256": decision.sha256(),
        }
        # Twice: a request of the same name that is being written at this very moment can be read the second time.
        for _ in range(2):
            for row in self._writer.write(_ADD, values, tenant_id=caller.tenant_id):
                if row.request_sha256 != values["request_sha256"]:
                    detail = "Idempotency-Key: it named another request before; a new request needs a new key"
                    raise ProblemError(409, "idempotency_key_reused", detail)
                return {"triage": _said(row)}
        raise item_not_found(decision.fingerprint)

    def events(self, tenant_id: str, fingerprint: str, now: datetime) -> dict[str, object]:
        """Return what was said of an item, the newest first, and what holds. Raises ProblemError (404)."""
        rows = self._reader.rows(_history(tenant_id, fingerprint, now), tenant_id=tenant_id)
        if not rows:
            raise item_not_found(fingerprint)
        events = [_event(row) for row in rows if row.event_no is not None]
        now_said = {name: getattr(rows[0], f"now_{name}") for name in _said_columns()}
        return {
            "fingerprint": fingerprint,
            "triage": None if now_said["state"] is None else now_said,
            "events": events,
        }


def _add() -> Executable:
    """Return the statement that writes an event of a known item down, or finds the one that its request wrote."""
    value = {name: bindparam(name, type_=Text) for name in ("tenant", "fingerprint", "request_key")}
    item = (
        select(item_state.c.signal, item_state.c.key)
        .where(item_state.c.tenant_id == value["tenant"], item_state.c.fingerprint == value["fingerprint"])
        .cte("item")
    )
    copied = {"tenant_id": value["tenant"], "signal": item.c.signal, "fingerprint": value["fingerprint"]}
    said = {name: bindparam(name, type_=Text) for name in ("action", "reason", "comment", "actor", "request_sha256")}
    row = {
        **copied,
        "key": item.c.key,
        **said,
        "until": bindparam("until", type_=DateTime(timezone=True)),
        "request_key": value["request_key"],
    }
    names = ("action", "until", "reason", "comment", "actor", "at", "request_sha256")
    added = (
        insert(triage_event)
        .from_select(list(row), select(*row.values()).select_from(item))
        .on_conflict_do_nothing(index_elements=["tenant_id", "request_key"])
        .returning(*(triage_event.c[name] for name in names))
        .cte("added")
    )
    earlier = select(*(triage_event.c[name] for name in names)).where(
        triage_event.c.tenant_id == value["tenant"], triage_event.c.request_key == value["request_key"]
    )
    return select(added).union_all(earlier)


_ADD: Final = _add()


def _said_columns() -> dict[str, ColumnElement[Any]]:
    """Return the members of an item's triage, by name."""
    said = triage.c
    return {
        "state": said.state,
        "until": instant_text(said.until),
        "reason": said.reason,
        "comment": said.comment,
        "actor": said.actor,
        "at": instant_text(said.at),
    }


def _holds_at(now: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that what was said of an item holds at `now`."""
    return and_(triage.c.state != "open", triage.c.until.is_(None) | (triage.c.until > now))


def _history(tenant_id: str, fingerprint: str, now: datetime) -> Select[*tuple[Any, ...]]:
    """Return an item's events, each with what holds of it now; one row without an event if there is none."""
    events = (
        select(triage_event)
        .where(triage_event.c.tenant_id == tenant_id, triage_event.c.fingerprint == fingerprint)
        .order_by(triage_event.c.event_no.desc())
        .limit(MAX_EVENTS)
        .lateral("event")
    )
    said = {name: column.label(f"now_{name}") for name, column in _said_columns().items()}
    holds = (
        select(*said.values())
        .where(triage.c.tenant_id == tenant_id, triage.c.fingerprint == fingerprint, _holds_at(bindparam("now", now)))
        .lateral("holds")
    )
    known = (
        select(item_state.c.fingerprint.label("known"))
        .where(item_state.c.tenant_id == tenant_id, item_state.c.fingerprint == fingerprint)
        .subquery()
    )
    rows = known.outerjoin(holds, _ALWAYS).outerjoin(events, _ALWAYS)
    return select(known, holds, events).select_from(rows).order_by(events.c.event_no.desc())


def _event(row: Row[Any]) -> dict[str, object]:
    names = ("action", "until", "reason", "comment", "actor", "at")
    return {name: getattr(row, name) for name in names}


def _said(row: Row[Any]) -> dict[str, object] | None:
    """Return the triage that an event leads to."""
    decision = Decision("", row.action, row.until, row.reason, row.comment)
    return decision.said(row.at, row.actor)


def _words(members: Mapping[str, Any], name: str, longest: int) -> str | None:
    """Return the text of a member, None where it is absent, null or blank."""
    words = members.get(name)
    if words is None:
        return None
    if not isinstance(words, str) or len(words) > longest or not _storable(words):
        raise invalid_member(name, f"text of at most {longest} characters, without NUL")
    return words.strip() or None


def _storable(words: str) -> bool:
    return "\x00" not in words and not any("\ud800" <= letter <= "\udfff" for letter in words)


def _end(members: Mapping[str, Any], action: str, now: datetime) -> datetime | None:
    """Return when a decision ends: in `minutes`, or at `until`, for the two actions that have an end."""
    given = [name for name in ("minutes", "until") if members.get(name) is not None]
    if action not in _LONGEST:
        if given:
            raise invalid_member(given[0], f"none for {action}, which has no end")
        return None
    if len(given) != 1:
        raise invalid_member("minutes", f"either minutes or until for {action}")
    end = _in_minutes(members["minutes"], now) if given == ["minutes"] else _at(members["until"])
    # A request takes a moment: what was 15 minutes away when it was written still is.
    if not SHORTEST - timedelta(minutes=1) <= end - now <= _LONGEST[action]:
        raise invalid_member(given[0], _SPANS[action])
    return end


def _in_minutes(minutes: object, now: datetime) -> datetime:
    if not isinstance(minutes, int) or isinstance(minutes, bool) or not 15 <= minutes <= 366 * 24 * 60:  # noqa: PLR2004  # SHORTEST and LONGEST_EXPECTATION in minutes
        raise invalid_member("minutes", "a whole number, 15 or more")
    return now + timedelta(minutes=minutes)


def _at(until: object) -> datetime:
    end = instant_of(until) if isinstance(until, str) else None
    if end is None:
        raise invalid_member("until", "an RFC 3339 timestamp with a zone, like 2026-01-17T12:00:00Z")
    return end.astimezone(UTC)
