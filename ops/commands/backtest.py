"""`activity backtest`: what a rule would have flagged with other thresholds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click
from sqlalchemy import func, select

from ops.arguments import INSTANT
from snapshots import database, settings, visibility
from snapshots.body import in_utc
from snapshots.errors import ActivityError, SettingsError
from snapshots.signals import WORKER_ROLE, check_signal
from worker import backtest as backtesting
from worker.engine.limits import set_limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from worker.backtest import Item, Judgement, Replay

_STEP: Final = re.compile(r"([1-9]\d{0,4})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
#: Items that are named of those that come or go.
_NAMED: Final = 20
_SPAN: Final = timedelta(days=1)
_NOTE: Final = """\
The rule is replayed over the source as it stands now: rows that came late or changed since are judged as they are.
  current    items flagged with the thresholds in force
  candidate  items flagged with those of --set
  added      items flagged by candidate alone
  removed    items flagged by current alone
  stored     items flagged in what was published then; - where no version of that time is kept
"""


@click.command()
@click.argument("signal")
@click.option("--tenant", required=True, help="The tenant to replay for.")
@click.option("--from", "start", type=INSTANT, help="First instant, RFC 3339 with a zone; default a day before --to.")
@click.option("--to", "end", type=INSTANT, help="Last instant; default now.")
@click.option("--every", default="1h", show_default=True, help="Step: a number and m, h or d.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A threshold; repeatable.")
@click.option("--rule", type=click.Choice(["spec", "robust"]), default="spec", show_default=True, help="Of cost alone.")
def backtest(  # noqa: PLR0913, PLR0917  # one parameter per option
    signal: str,
    tenant: str,
    start: datetime | None,
    end: datetime | None,
    every: str,
    assignments: Sequence[str],
    rule: str,
) -> None:
    """Print what SIGNAL would have flagged from instant to instant with other thresholds; writes nothing."""
    check_signal(signal)
    if rule == "robust" and signal != "cost":
        raise SettingsError(f"--rule: {signal} has no robust rule; expected spec")
    current = settings.load()
    candidate = backtesting.with_thresholds(current, signal, _assigned(assignments))
    step = _step(every)
    engine = database.connect(
        database.url_of(current, "worker"),
        name="activity backtest",
        read_deadline_s=current.refresh_timeout_s + database.GRACE_S,
    )
    with engine.connect() as conn:
        set_limits(conn, current)
        visibility.prove(conn, WORKER_ROLE)
        moments = _moments(conn, start, end, step)
        asked = backtesting.Rule(signal, tenant, is_robust=rule == "robust")
        if not backtesting.has_runs(conn, tenant):
            raise ActivityError(f"--tenant: there are no runs and no traces of {tenant!r}; is the name right?")
        replays = list(backtesting.replay(conn, asked, moments, current, candidate))
        decided = backtesting.decisions(conn, asked)
        conn.rollback()
    engine.dispose()
    click.echo("\n".join(_report(replays, decided)))


def _moments(conn: Connection, start: datetime | None, end: datetime | None, step: timedelta) -> list[datetime]:
    now: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    last = end or now.replace(microsecond=0)
    if last > now:
        raise SettingsError(f"--to: {last.isoformat()} is in the future; expected an instant up to now")
    return backtesting.instants(start or last - _SPAN, last, step)


def _assigned(assignments: Sequence[str]) -> dict[str, str]:
    pairs = [assignment.partition("=") for assignment in assignments]
    for assignment, (name, sign, value) in zip(assignments, pairs, strict=True):
        if not (name and sign and value):
            raise SettingsError(f"--set: {assignment!r} sets nothing; expected NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _step(every: str) -> timedelta:
    found = _STEP.fullmatch(every)
    if found is None:
        raise SettingsError(f"--every: {every!r} is no step; expected a number and m, h or d, like 30m")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _report(replays: Sequence[Replay], decided: dict[Item, str]) -> Iterator[str]:
    yield _NOTE
    yield f"{'instant':25} {'current':>8} {'candidate':>9} {'added':>6} {'removed':>7} {'stored':>7}"
    for each in replays:
        stored = "-" if each.stored is None else len(each.stored)
        added, removed = each.candidate - each.current, each.current - each.candidate
        moment = in_utc(each.at).isoformat()
        counts = f"{len(each.current):>8} {len(each.candidate):>9} {len(added):>6} {len(removed):>7} {stored:>7}"
        yield f"{moment:25} {counts}"
    current = frozenset[backtesting.Item]().union(*(each.current for each in replays))
    candidate = frozenset[backtesting.Item]().union(*(each.candidate for each in replays))
    yield from _named("added", candidate - current)
    yield from _named("removed", current - candidate)
    yield f"current thresholds: {_judgement(backtesting.judged(current, decided))}"
    yield f"candidate thresholds: {_judgement(backtesting.judged(candidate, decided))}"


def _named(what: str, items: frozenset[Item]) -> Iterator[str]:
    names = sorted(" ".join(part for part in item if part is not None) for item in items)
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{what}: {', '.join(names[:_NAMED])}{more}"


def _judgement(found: Judgement) -> str:
    counts = f"{found.flagged} items flagged, {found.acted} acknowledged, {found.expected} expected"
    if found.precision is None:
        return f"{counts}; nobody judged any"
    return f"{counts}; precision {found.precision:.0%} of those judged"
