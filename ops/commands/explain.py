"""`activity explain`: the plan of every signal and live query, judged."""

from __future__ import annotations

import json
import sys
from itertools import chain, product
from typing import TYPE_CHECKING, Any, Final

import click

from ops.plans import census
from ops.plans.measuring import live_findings, signal_findings
from ops.plans.ticking import tick_findings
from snapshots import database, settings, visibility
from snapshots.signals import SIGNALS, WORKER_ROLE, check_signal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ops.plans.measuring import Finding

_HEADINGS: Final = ("query", "tenant", "rows", "ms", "buffers", "verdict", "reason")
#: The headings whose cells are numbers.
_RIGHT: Final = frozenset({"rows", "ms", "buffers"})


@click.command()
@click.option("--signal", "signals", multiple=True, help="Only this signal; repeatable; default all and live queries.")
@click.option("--tenant", help="The tenant to explain for; default the largest one and the one in the middle.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def explain(signals: tuple[str, ...], tenant: str | None, *, as_json: bool) -> None:
    """Run each query under EXPLAIN ANALYZE and judge its plan; exit 1 when one fails. Publishes nothing."""
    found = list(_findings([check_signal(name) for name in signals], tenant))
    click.echo(json.dumps([_member(each) for each in found], indent=2) if as_json else _table(found))
    sys.exit(0 if all(each.verdict.passes for each in found) else 1)


def _findings(signals: Sequence[str], tenant: str | None) -> Iterator[Finding]:
    """Yield the findings tenant by tenant, then those of all tenants at once; live queries only beside all signals."""
    current = settings.load()
    worker = database.connect(
        database.url_of(current, "worker"),
        name="activity explain",
        read_deadline_s=current.refresh_timeout_s + database.GRACE_S,
    )
    visibility.prove_engine(worker, WORKER_ROLE)
    with worker.connect() as conn:
        counted = census.take(conn)
    tenants, chosen = counted.chosen(tenant), list(dict.fromkeys(signals)) or SIGNALS
    for scope, name in product((*tenants, None), chosen):
        yield from signal_findings(worker, current, name, scope, counted)
        yield from tick_findings(worker, current, name, scope, counted)
    worker.dispose()
    if not signals:
        reader = database.connect(
            database.url_of(current, "reader"),
            name="activity explain",
            read_deadline_s=current.refresh_timeout_s + database.GRACE_S,
            keeps_session=False,
        )
        yield from chain.from_iterable(live_findings(reader, current, each, counted) for each in tenants)
        reader.dispose()


def _member(finding: Finding) -> dict[str, Any]:
    plan, verdict = finding.plan, finding.verdict
    return {
        "query": finding.query,
        "tenant": finding.tenant,
        "rows": finding.rows,
        "ms": round(plan.ms, 3),
        "buffers": plan.buffers,
        "verdict": "pass" if verdict.passes else "fail",
        "reason": verdict.reason,
        "indexes": sorted(plan.indexes),
    }


def _table(findings: Sequence[Finding]) -> str:
    """Return one line per finding, in columns as wide as what they hold."""
    members = [_member(each) for each in findings]
    rows = [_HEADINGS, *(tuple(_cell(member[name]) for name in _HEADINGS) for member in members)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(_padded, _HEADINGS, row, widths)).rstrip() for row in rows)


def _cell(value: object) -> str:
    if value is None:
        return "(all)"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _padded(heading: str, cell: str, width: int) -> str:
    return cell.rjust(width) if heading in _RIGHT else cell.ljust(width)
