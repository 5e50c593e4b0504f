"""Row counts per tenant: the tenants to explain for, and each one's share of the source tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from ops.plans.verdicts import Extent
from snapshots.errors import ActivityError
from snapshots.source import HOST_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

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
_BLOCKS: Final = text(f"""
select
    host.source,
    pg_class.relname,
    cast(pg_relation_size(pg_class.oid) / cast(current_setting('block_size') as integer) as integer) as blocks
from {HOST_TABLES} as host
inner join pg_catalog.pg_class on pg_class.oid = host.relation
""")  # noqa: S608  # a constant


@dataclass(frozen=True, slots=True)
class Counts:
    """Number of runs and traces of a tenant."""

    runs: int
    traces: int


@dataclass(frozen=True, slots=True)
class HostTable:
    """A table that one of our views reads: its name on the host, and its size in blocks."""

    name: str
    blocks: int


@dataclass(frozen=True, slots=True)
class Census:
    """The counts of every tenant (the empty one stands for rows without a tenant), and the host's tables by our view.

    What a plan scans beside `sources` is ours.
    """

    tenants: Mapping[str, Counts]
    tables: Mapping[str, HostTable]

    @property
    def sources(self) -> frozenset[str]:
        """Return the names of the host's tables."""
        return frozenset(table.name for table in self.tables.values())

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
        shares = {"source_run": runs, "source_trace": traces, "source_step": traces}
        return {
            self.tables[view].name: Extent(self.tables[view].blocks, share)
            for view, share in shares.items()
            if view in self.tables
        }

    def crumbs(self, part: str) -> dict[str, Extent]:
        """Return the source tables as a few keys have part in them: next to none, whosesoever they are."""
        return {each.name: Extent(each.blocks, 0.0, part) for each in self.tables.values()}


def take(conn: Connection) -> Census:
    """Count the rows of every tenant, by one scan of the runs and one of the traces."""
    counted = conn.execute(_COUNTS).all()
    sizes = conn.execute(_BLOCKS).all()
    return Census(
        {row.tenant_id: Counts(row.runs, row.traces) for row in counted},
        {row.source: HostTable(row.relname, row.blocks) for row in sizes},
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
