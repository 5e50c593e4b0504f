"""Readers of the benchmark: tenants with snapshots, a key for each, and the one with patterns of median size."""

from __future__ import annotations

import random
import secrets
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, make_url, text

from migrations.roles import ensure_roles
from ops.keys import create_key
from snapshots.signals import SIGNALS
from snapshots.tables import api_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

#: So many tenants have snapshots, whatever the scale: memory must not depend on them.
TENANTS: Final = 2_000
_DRAWS: Final = 1_000

#: What an earlier run left where the database is kept: a refresh since then has emptied its copies.
_FORGET: Final = tuple(
    text(f"delete from signals.{table} where tenant_id like 'copy\\_%'")  # noqa: S608  # names are ours
    for table in ("triage_event", "triage", "item_state", "movement", "snapshot")
)
#: Copies of what real tenants were published, for tenants that have no runs.
_COPIES: Final = text("""
create temporary table copied on commit drop as
with original as (
    select
        tenant_id,
        row_number() over (order by tenant_id) - 1 as place,
        count(*) over () as tenants
    from (select distinct tenant_id from signals.snapshot) as published
)

select
    original.tenant_id,
    'copy_' || lpad(cast(number as text), 5, '0') as copy_id
from generate_series(1, greatest(0, cast(:wanted as int) - (select count(*) from original))) as number
inner join original on original.place = number % original.tenants
""")
#: What a copy is: the snapshots of the original, and what is known of its items.
_COPY: Final = (
    text("""
insert into signals.snapshot (
    tenant_id, signal, version, content, items, basis, shape, window_json, as_of, computed_at, rule_version, fence,
    refresh_id
)
select
    copied.copy_id, signal, version, content, items, basis, shape, window_json, as_of, computed_at, rule_version, fence,
    refresh_id
from copied
inner join signals.snapshot on snapshot.tenant_id = copied.tenant_id
"""),
    text("""
insert into signals.movement (tenant_id, signal, version, marks, entered, lengths, departed)
select copied.copy_id, signal, version, marks, entered, lengths, departed
from copied
inner join signals.movement on movement.tenant_id = copied.tenant_id
"""),
    text("""
insert into signals.item_state (
    tenant_id, signal, fingerprint, key, value, severity, mark, traits, first_seen_at, entered_refresh, changed_at,
    left_at
)
select
    copied.copy_id, signal, fingerprint, key, value, severity, mark, traits, first_seen_at, entered_refresh, changed_at,
    left_at
from copied
inner join signals.item_state on item_state.tenant_id = copied.tenant_id
"""),
    # Every tenant has something to say of every fifth item.
    text("""
insert into signals.triage_event (tenant_id, signal, fingerprint, key, action, until, comment, actor)
select tenant_id, signal, fingerprint, key, 'snooze', clock_timestamp() + interval '20 hours', 'in repair', 'benchmark'
from signals.item_state
where left_at is null and get_byte(decode(left(fingerprint, 2), 'hex'), 0) % 5 = 0
"""),
)
_MEDIAN: Final = text("""
with complete as (
    select
        tenant_id,
        max(octet_length(content)) filter (where signal = 'patterns') as bytes
    from signals.snapshot
    group by tenant_id
    having count(*) = :signals
)

select tenant_id
from complete
order by bytes, tenant_id
offset (select count(*) / 2 from complete)
limit 1
""")


@dataclass(frozen=True, slots=True)
class Audience:
    """The tenants' tokens, the median tenant of those with all three signals, that of the median run, and drawn ones.

    Tenants are drawn by their runs. Half of all runs are of tenants as large as `of_median_run`, or larger.
    """

    tokens: Mapping[str, str] = field(repr=False)
    median: str
    of_median_run: str
    drawn: tuple[str, ...]


def gather(engine: Engine, tenants: int = TENANTS) -> Audience:
    """Publish copies until `tenants` have snapshots, make a key for each, and return them all."""
    with engine.begin() as conn:
        for statement in _FORGET:
            conn.execute(statement)
        median = conn.execute(_MEDIAN, {"signals": len(SIGNALS)}).scalar_one()
        sizes = conn.execute(text("select tenant_id, count(*) from runs group by tenant_id order by tenant_id")).all()
        conn.execute(_COPIES, {"wanted": tenants})
        for statement in _COPY:
            conn.execute(statement)
        # Those of an earlier run, where the database is kept.
        conn.execute(delete(api_key))
        published = conn.execute(text("select distinct tenant_id from signals.snapshot order by tenant_id")).scalars()
        tokens = {tenant: create_key(conn, tenant, label="benchmark").token for tenant in published}
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        conn.exec_driver_sql(
            "vacuum analyze signals.snapshot, signals.movement, signals.item_state, signals.triage, signals.api_key"
        )
    names, counts = [row[0] for row in sizes], [row[1] for row in sizes]
    drawn = random.Random(0).choices(names, counts, k=_DRAWS)  # noqa: S311  # no secret
    return Audience(tokens, median, of_median_run(dict(zip(names, counts, strict=True))), tuple(drawn))


def of_median_run(runs: Mapping[str, int]) -> str:
    """Return the tenant that the run in the middle belongs to, when runs stand in the order of their tenants' sizes."""
    by_size = sorted(runs, key=lambda tenant: (runs[tenant], tenant))
    upto = list(accumulate(runs[tenant] for tenant in by_size))
    return by_size[bisect_left(upto, upto[-1] / 2)]


def role_urls(engine: Engine) -> dict[str, str]:
    """Return URLs of logins with the rights of the API's roles alone, by the variables that name them."""
    password = secrets.token_hex(16)
    owner = engine.url.render_as_string(hide_password=False)
    urls = {
        role: make_url(owner).set(username=f"bench_{role}", password=password) for role in ("auth", "reader", "triage")
    }
    # A login that an earlier run left in a kept database would keep its password.
    with engine.begin() as conn:
        conn.exec_driver_sql("drop role if exists bench_auth, bench_reader, bench_triage")
    ensure_roles(owner, urls)
    return {
        f"ACTIVITY_{role.upper()}_DATABASE_URL": url.render_as_string(hide_password=False) for role, url in urls.items()
    }
