"""Who has how many rows: the tenants to explain for, and each one's share of the source tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from ops.explaining.verdicts import Extent
from snapshots.errors import ActivityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

#: The source tables; what else a plan scans is ours.
SOURCES: Final = frozenset({"runs", "aos_traces", "aos_trace_steps"})

_COUNTS: Final = text("""
select
    coalesce(tenant_id, '') as tenant_id,
    cast(sum(run_count) as bigint) as runs,
    cast(sum(trace_count) as bigint) as traces
from (
    select tenant_id, count(*) as run_count, 0 as trace_count from signals.source_run group by tenant_id
    union all
    select tenant_id, 0, count(*) from signals.source_trace group by tenant_id
) as counted
group by coalesce(tenant_id, '')
""")
_BLOCKS: Final = text("""
select
    pg_class.relname,
    cast(pg_relation_size(pg_class.oid) / cast(current_setting('block_size') as integer) as integer) as blocks
from pg_class
inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_namespace.nspname = 'public' and pg_class.relname = any(:names)
""")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many runs and traces a tenant has."""

    runs: int
    traces: int


@dataclass(frozen=True, slots=True)
class Census:
    """The counts of every tenant (the empty one stands for rows without a tenant), and the tables' sizes in blocks."""

    tenants: Mapping[str, Counts]
    blocks: Mapping[str, int]

    @property
    def by_size(self) -> Sequence[str]:
        """Return the tenants, the largest first."""
        named = [(-(counts.runs + counts.traces), tenant) for tenant, counts in self.tenants.items() if tenant]
        return [tenant for _, tenant in sorted(named)]

    def chosen(self, tenant: str | None) -> Sequence[str]:
        """Return `tenant`, or the largest tenant and the one in the middle.

        Raises ActivityError when it has no rows, or nobody has.
        """
        ranked = self.by_size
        if not ranked:
            raise ActivityError("runs, aos_traces: no rows of any tenant; there is no plan to judge")
        if tenant is None:
            return list(dict.fromkeys([ranked[0], ranked[len(ranked) // 2]]))
        if tenant not in ranked:
            raise ActivityError(f"--tenant: {tenant!r} has no runs and no traces; expected a tenant that has some")
        return [tenant]

    def extents(self, tenant: str) -> dict[str, Extent]:
        """Return the source tables as `tenant` has part in them; steps go by their traces."""
        counts = self.tenants[tenant]
        runs = _share(counts.runs, sum(each.runs for each in self.tenants.values()))
        traces = _share(counts.traces, sum(each.traces for each in self.tenants.values()))
        shares = {"runs": runs, "aos_traces": traces, "aos_trace_steps": traces}
        return {name: Extent(self.blocks[name], share) for name, share in shares.items()}


def take(conn: Connection) -> Census:
    """Count the rows of every tenant, by one scan of the runs and one of the traces."""
    counted = conn.execute(_COUNTS).all()
    sizes = conn.execute(_BLOCKS, {"names": sorted(SOURCES)}).all()
    return Census(
        {row.tenant_id: Counts(row.runs, row.traces) for row in counted}, {row.relname: row.blocks for row in sizes}
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
