"""The table at the end of a campaign: one line per kind of fault."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.campaign import Report, Row


def as_table(report: Report) -> str:
    """Return a table in Markdown: how often, how long until fresh, how old an answer was, and what else was seen."""
    names = dict.fromkeys(row.name for row in report.rows)
    lines = [
        "| fault | times | fresh after, s | oldest, s | slowest, s | seen beside 200 and 304 | measured, at most |"
    ]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    lines += [_line(name, [row for row in report.rows if row.name == name]) for name in sorted(names)]
    lines += [f"| {name} | skipped | | | | | {reason} |" for name, reason in report.skipped.items()]
    return "\n".join(lines)


def _line(name: str, rows: Sequence[Row]) -> str:
    fresh = sorted(row.fresh_s for row in rows if row.fresh_s is not None)
    middle = f"{fresh[len(fresh) // 2]:.1f}, at most {fresh[-1]:.1f}" if fresh else "never"
    oldest, slowest = max(row.oldest_s for row in rows), max(row.slowest_s for row in rows)
    return f"| {name} | {len(rows)} | {middle} | {oldest:.1f} | {slowest:.1f} | {_seen(rows)} | {_measured(rows)} |"


def _seen(rows: Sequence[Row]) -> str:
    seen: Counter[str] = sum((Counter(row.seen) for row in rows), Counter())
    return ", ".join(f"{what} x{number}" for what, number in seen.most_common() if what not in {"200", "304"}) or "-"


def _measured(rows: Sequence[Row]) -> str:
    """Return the largest of each number that the faults measured themselves."""
    found: dict[str, float] = {}
    for name, value in (item for row in rows for item in row.measured.items()):
        if not isinstance(value, str):
            found[name] = max(found.get(name, 0), value)
    return ", ".join(f"{name} {value:g}" for name, value in found.items()) or "-"
