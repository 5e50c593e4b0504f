"""`activity explain-item`: why an item is there, from what was stored, and what a recompute says of it now."""

from __future__ import annotations

import json
import time
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import click
from sqlalchemy import func, select

from api.auth.visibility import Proof
from api.http import wire
from api.http.problems import ProblemError
from api.queries.explain.explanation import explain
from api.queries.history import fingerprint_of
from api.queries.reader import Reader
from snapshots import database, settings
from snapshots.body import ITEM_LISTS
from snapshots.errors import ActivityError, ArgumentError
from snapshots.signals import READER_ROLE
from worker.engine import compute as computation

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from snapshots.settings import Settings

#: The source is asked for as long as an operator is ready to wait, milliseconds.
_PATIENCE_MS: Final = 60_000


@click.command("explain-item")
@click.argument("fingerprint")
@click.option("--tenant", required=True, help="The tenant whose item it is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of sentences.")
def explain_item(fingerprint: str, tenant: str, *, as_json: bool) -> None:
    """Say why the item FINGERPRINT is there: inputs, thresholds, arithmetic, evidence, and what the source says now."""
    current = settings.load()
    found = _explained(current, tenant, fingerprint)
    if found["present"]:
        found["recomputed"] = _recomputed(current, tenant, found)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else "\n".join(_sentences(found)))


def _explained(current: Settings, tenant: str, fingerprint: str) -> dict[str, Any]:
    engine = _engine(current, "reader", is_autocommit=True)
    try:
        with engine.connect() as conn:
            now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
        reader = Reader(engine, _PATIENCE_MS, proof=Proof(READER_ROLE, time.monotonic))
        found = explain(reader, tenant, fingerprint_of(fingerprint, "fingerprint"), now)
    except ProblemError as ex:
        kind = ArgumentError if ex.status is HTTPStatus.BAD_REQUEST else ActivityError
        raise kind(ex.detail) from None
    finally:
        engine.dispose()
    printed: dict[str, Any] = json.loads(wire.dump(found))
    return printed


def _recomputed(current: Settings, tenant: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return the item that the rule gives today for the snapshot's own instant, None where it gives none."""
    as_of = datetime.fromisoformat(found["snapshot"]["as_of"])
    engine = _engine(current, "worker")
    try:
        with engine.connect() as conn:
            body = json.loads(computation.preview(conn, found["signal"], tenant, current, as_of))
    finally:
        engine.dispose()
    items = [item for item in body[ITEM_LISTS[found["signal"]]] if _key_of(found, item) == found["key"]]
    return {"as_of": found["snapshot"]["as_of"], "item": items[0] if items else None}


def _key_of(found: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    return {name: item.get(name, item.get("details", {}).get(name)) for name in found["key"]}


def _engine(current: Settings, role: database.Role, *, is_autocommit: bool = False) -> Engine:
    level = "AUTOCOMMIT" if is_autocommit else "READ COMMITTED"
    return database.connect(
        database.url_of(current, role),
        name="activity explain-item",
        read_deadline_s=60,
        # The reader's statements pin their settings themselves: a pooler may stand between.
        keeps_session=role != "reader",
        isolation_level=level,
    )


def _sentences(found: dict[str, Any]) -> list[str]:
    made, key = found["snapshot"], ", ".join(f"{name} {value}" for name, value in found["key"].items())
    lines = [
        f"{found['signal']}: {key}",
        f"one of the {found['finds']}; first seen {found['first_seen_at']}",
        f"version {made['version']} as of {made['as_of']}, rule {made['rule_version']}",
    ]
    if not found["present"]:
        return [*lines, f"left at {found['left_at']}; what it was made of is no longer stored"]
    lines += [f"  {sentence}" for sentence in found["arithmetic"]]
    lines += [f"  with {name} = {json.dumps(value)}" for name, value in found["thresholds"].items()]
    return [*lines, *_source(found)]


def _members(found: dict[str, Any], item: dict[str, Any]) -> str:
    """Return what a recomputed item says, but for its key and for what has members of its own; --json has it all."""
    plain = {**item, **item.get("details", {})}
    said = {name: _plain(value) for name, value in plain.items() if name not in found["key"]}
    return ", ".join(f"{name} {words}" for name, words in said.items() if words is not None)


def _plain(value: object) -> str | None:
    """Return a value as people read it; None where there is none, or it has members."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " and ".join(value) or "none"
    if value is None or isinstance(value, dict | list):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _source(found: dict[str, Any]) -> list[str]:
    """Say what the source says now, and what the rule makes of it."""
    differences = found["source"]["differences"]
    lines = [
        f"the source has changed since: {each['name']} was {each['stored']}, is {each['now']}" for each in differences
    ]
    if found["source"]["agrees"]:
        lines = ["the source still says the same"]
    again = found["recomputed"]
    what = "gives no such item any more" if again["item"] is None else f"gives {_members(found, again['item'])}"
    return [*lines, f"recomputed for {again['as_of']} from the source as it is now, the rule {what}"]
