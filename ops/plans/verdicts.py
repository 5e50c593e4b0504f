"""Plan verdicts: index scans, duration, sorts on disk (docs/specification-notes.md#query-plan-expectations)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.plans.plans import Plan

#: Milliseconds that a plan may take for `BUDGET_ROWS` rows or fewer; more rows have in proportion more.
BUDGET_MS: Final = 100.0
BUDGET_ROWS: Final = 10_000
#: From this share of a table on, an index saves no page: at 25 rows to a page, fewer than one page in a thousand is
#: without a row of a tenant who has a quarter of them, and reading all in order is the cheaper way.
SHARE_LIMIT: Final = 0.25
#: A table of so few blocks (128 kB) comes with one read-ahead: which way the planner takes is chance.
TINY_BLOCKS: Final = 16


@dataclass(frozen=True, slots=True)
class Extent:
    """A source table: its size in blocks, and which share of its rows, 0 to 1, belongs to what is read: the `part`."""

    blocks: int
    share: float
    part: str = "the tenant"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict on a plan, with the reason."""

    passes: bool
    reason: str


def judge(plan: Plan, extents: Mapping[str, Extent], rows: int) -> Verdict:
    """Judge the plan of a statement that reads one tenant, by its scans of the tables in `extents`.

    `rows` is how many source rows it stands for: the more, the more time it has.
    """
    scanned = {scan.relation: scan.is_sequential for scan in sorted(plan.scans, key=lambda scan: scan.is_sequential)}
    whole = [relation for relation in extents if scanned.get(relation)]
    faults = [_share(name, extents[name]) for name in whole if not _may_be_read_whole(extents[name])]
    faults += [*plan.spills, *_lateness(plan.ms, rows)]
    if faults:
        return Verdict(passes=False, reason="; ".join(faults))
    excuses = [_excuse(name, extents[name]) for name in whole]
    return Verdict(passes=True, reason="; ".join(excuses) or _by_index(scanned.keys() & extents.keys()))


def judge_spills(plan: Plan) -> Verdict:
    """Judge the plan of a statement that reads all tenants: it may read whole tables, and take its time."""
    return Verdict(not plan.spills, "; ".join(plan.spills) or "all tenants: nothing on disk")


def budget_ms(rows: int) -> float:
    """Return the milliseconds that a plan has for `rows` source rows."""
    return BUDGET_MS * max(1.0, rows / BUDGET_ROWS)


def _may_be_read_whole(extent: Extent) -> bool:
    return extent.blocks <= TINY_BLOCKS or extent.share >= SHARE_LIMIT


def _excuse(relation: str, extent: Extent) -> str:
    if extent.blocks <= TINY_BLOCKS:
        return f"Seq Scan of {relation}, which has {extent.blocks} blocks"
    return f"{_share(relation, extent)}: an index saves no page"


def _share(relation: str, extent: Extent) -> str:
    return f"Seq Scan of {relation}, of which {extent.part} has {_percent(extent.share)} %"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= SHARE_LIMIT else f"{100 * share:.2g}"


def _lateness(ms: float, rows: int) -> Iterator[str]:
    if ms > budget_ms(rows):
        yield f"{ms:.0f} ms, where {rows} rows have {budget_ms(rows):.0f} ms"


def _by_index(relations: set[str]) -> str:
    return f"by index: {', '.join(sorted(relations))}" if relations else "reads staged rows alone"
