"""The bodies of movement and triage, and what they add to each item."""

from __future__ import annotations

from typing import Final

from api.openapi.shapes import Schema, array, boolean, integer, moment, named, nullable, number, one_of, record, text
from snapshots.movement import KINDS
from snapshots.signal_catalogue import CATALOGUE
from snapshots.signals import SIGNALS
from snapshots.triage import MAX_COMMENT_CHARS, MAX_REASON_CHARS, STATES

FINGERPRINT: Final = text("Names the item for as long as it has its key.", pattern="^[0-9a-f]{32}$")
#: The key columns of plain signals, which may hold any value.
_PLAIN_KEYS: Final = sorted(
    {name for each in CATALOGUE.values() if each.is_plain for name in each.item_key}
    - {"pattern_type", "skill_id", "agent_id", "run_id"}
)
ITEM_KEY: Final = record(
    {
        "pattern_type": text(),
        "skill_id": nullable(text()),
        "agent_id": text(),
        "run_id": text(),
        **{name: {} for name in _PLAIN_KEYS},
    },
    optional=("pattern_type", "skill_id", "agent_id", "run_id", *_PLAIN_KEYS),
    description="What tells the item apart within its signal.",
)
_SINCE: Final = one_of(("entered", "rose", "fell", "same"))
ITEM_MOVEMENT: Final = record(
    {
        "first_seen_at": moment("The first time that is still known."),
        "since_previous": _SINCE,
        "refreshes_present": integer("Refreshes since it last entered.", minimum=1),
        "since_24h": _SINCE,
    }
)
#: What every item of a present snapshot carries after its own members.
ITEM_EXTRAS: Final[dict[str, Schema]] = {
    "fingerprint": FINGERPRINT,
    "movement": named("ItemMovement"),
    "triage": nullable(named("Triage")),
}
_GONE: Final = array(record({"fingerprint": FINGERPRINT, "key": named("ItemKey")}))
LIST_MOVEMENT: Final = record({"left_since_previous": _GONE, "left_24h": _GONE})
#: What the body carries beside its list.
LIST_EXTRAS: Final[dict[str, Schema]] = {
    "movement": named("ListMovement"),
    "snoozed_hidden": integer("With snoozed=hide: how many items were taken out."),
}

TRIAGE: Final = record(
    {
        "state": one_of(("acknowledged", "snoozed", "expected")),
        "until": nullable(moment()),
        "reason": nullable(text()),
        "comment": nullable(text()),
        "actor": text(),
        "at": moment(),
    },
    description="What the tenant's people have said of the item.",
)

#: PostgreSQL holds no NUL.
_NO_NUL: Final = r"^[^\u0000]*$"
DECISION: Final = record(
    {
        "fingerprint": FINGERPRINT,
        "action": one_of(STATES),
        "minutes": nullable(integer("From now; or `until`. snooze: to 1440.", minimum=15, maximum=527_040)),
        "until": nullable(moment("For snooze, 15 minutes to 24 hours ahead; for expect, up to 366 days.")),
        "reason": nullable(text("expect needs one.", maxLength=MAX_REASON_CHARS, pattern=_NO_NUL)),
        "comment": nullable(text(maxLength=MAX_COMMENT_CHARS, pattern=_NO_NUL)),
    },
    optional=("minutes", "until", "reason", "comment"),
)
DECIDED: Final = record({"triage": nullable(named("Triage"))}, description="null once it is open again.")
TRIAGE_HISTORY: Final = record(
    {
        "fingerprint": FINGERPRINT,
        "triage": nullable(named("Triage")),
        "events": array(
            record(
                {
                    "action": one_of(STATES),
                    "until": nullable(moment()),
                    "reason": nullable(text()),
                    "comment": nullable(text()),
                    "actor": text("`system` where the item became worse or came back."),
                    "at": moment(),
                }
            ),
            "The newest 200, first the last.",
        ),
    }
)

CHANGE: Final = record(
    {
        "cursor": text("Opaque: what comes after this change is what is since it."),
        "at": moment("The instant of the refresh that saw it."),
        "signal": one_of(SIGNALS),
        "kind": one_of(KINDS),
        "fingerprint": FINGERPRINT,
        "key": named("ItemKey"),
        "rank": nullable(integer("null when it left.", minimum=1)),
        "previous_rank": nullable(integer("In the version before.", minimum=1)),
        "value": nullable(number("attention_score, current_cost_usd, or the strongest run's count.")),
        "previous_value": nullable(number("At the change before.")),
    }
)
CHANGE_LIST: Final = record(
    {"changes": array(named("Change")), "next_cursor": text("Always there, changes or none."), "has_more": boolean()}
)
EXPLANATION: Final = record(
    {
        "fingerprint": FINGERPRINT,
        "signal": one_of(SIGNALS),
        "key": named("ItemKey"),
        "finds": text("What the signal finds."),
        "present": boolean(),
        "first_seen_at": moment(),
        "left_at": nullable(moment()),
        "snapshot": record({"as_of": moment(), "version": integer(minimum=1), "rule_version": text()}),
        "inputs": record({}, closed=False, description="What the rule read, as stored with the snapshot."),
        "thresholds": record({}, closed=False),
        "arithmetic": array(text(), "A sentence per step, the verdict last; none for an item that is gone."),
        "evidence": array(record({}, closed=False), "The rows that it is made of."),
        "value": nullable(number()),
        "source": record(
            {
                "checked_at": nullable(moment("null where it was not checked.")),
                "agrees": nullable(boolean("The source says today what the rule read then.")),
                "differences": array(record({"name": text(), "stored": {}, "now": {}})),
            }
        ),
    }
)
HISTORY: Final = record(
    {
        "signal": one_of(SIGNALS),
        "key": FINGERPRINT,
        "points": array(
            record({"at": moment(), "value": nullable(number()), "rank": nullable(integer(minimum=1))}),
            "Each holds until the next; a value of null is an item that is not there.",
        ),
    }
)

SCHEMAS: Final[dict[str, Schema]] = {
    "ItemKey": ITEM_KEY,
    "ItemMovement": ITEM_MOVEMENT,
    "ListMovement": LIST_MOVEMENT,
    "Triage": TRIAGE,
    "Decision": DECISION,
    "Decided": DECIDED,
    "TriageHistory": TRIAGE_HISTORY,
    "Change": CHANGE,
    "ChangeList": CHANGE_LIST,
    "History": HISTORY,
    "Explanation": EXPLANATION,
}
