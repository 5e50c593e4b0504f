-- Each agent's cost per run of the last day beside its baseline of the six days before.
-- The runs of all agents are read at once and gathered by hash; with `only_changed` those of each marked agent by
-- themselves, through the index of its runs.
-- Source: docs/specification-notes.md#cost-figures.
-- Source: docs/specification-notes.md#cost-windows.
-- Source: docs/specification-notes.md#missing-keys-are-unknown.
-- Source: docs/specification-notes.md#robust-cost-verdict.
-- reads: signals.source_run, pg_temp.stage_dirty_agent
-- grain: tenant and agent with a run in the current day, or with a cost that is not finite; with extras, an agent that
--     fell silent too
-- params: as_of, current_start, baseline_start, baseline_dates, tenants, excluded, shards, shard, only_changed,
--     exclude_synthetic, extras, robust_min_baseline, robust_score, robust_min_ratio, min_effect_usd, spike_rows
with changed_agent as (
    select distinct
        tenant_id,
        agent_id
    from pg_temp.stage_dirty_agent
    where cast(:only_changed as boolean) and tenant_id <> all(cast(:excluded as text[]))
),

agent_week as (
    select
        tenant_id,
        agent_id,
        avg(cost_usd) filter (where is_current and cost is not null) as current_avg_cost,
        sum(cost_usd) filter (where is_current and cost is not null) as total_cost,
        count(cost) filter (where is_current) as run_count,
        avg(cost_usd) filter (where is_baseline and cost is not null) as baseline_avg,
        stddev(cost_usd) filter (where is_baseline and cost is not null) as baseline_stddev,
        count(cost) filter (where is_baseline) as baseline_run_count,
        -- A run of both windows is counted once.
        count(*) filter (where cost is null and (is_current or is_baseline)) as non_finite_costs,
        array_agg(cost) filter (where is_baseline and cost is not null) as baseline_costs,
        array_agg(cost) filter (
            where is_current and cost is not null and cast(:extras as boolean)
        ) as current_costs,
        sum(cost_usd) filter (
            where is_baseline and cost is not null and cast(:extras as boolean)
        ) as baseline_total,
        -- Dates, a bit for each, between the midnights of the baseline: days that end at the instant would move with
        -- the clock, and no mark would say so.
        bit_count(cast(
            bit_or(1 << width_bucket(completed_at, cast(:baseline_dates as timestamptz[])))
            filter (where is_baseline and cost is not null and cast(:extras as boolean)) as bit(8)
        )) as baseline_days,
        max(completed_at) filter (
            where is_baseline and cost is not null and cast(:extras as boolean)
        ) as baseline_last_at
    from (
        select
            tenant_id,
            agent_id,
            completed_at,
            cast(estimated_cost_usd as numeric) as cost_usd,
            -- What a double cannot square would fail the refresh of every tenant: it counts as not finite. What is too
            -- small for a double counts as 0.
            case
                when estimated_cost_usd between -1e150 and 1e150
                    then cast(
                        case
                            when estimated_cost_usd between -1e-307 and 1e-307 then 0
                            else estimated_cost_usd
                        end as double precision
                    )
            end as cost,
            started_at >= cast(:current_start as timestamptz)
            and started_at <= cast(:as_of as timestamptz) as is_current,
            completed_at >= cast(:baseline_start as timestamptz)
            and completed_at < cast(:current_start as timestamptz)
            and coalesce(started_at <= cast(:as_of as timestamptz), true) as is_baseline
        from (
            select
                cast(tenant_id as text) as tenant_id,
                cast(coalesce(agent_id, 'unknown') as text) as agent_id,
                started_at,
                completed_at,
                estimated_cost_usd
            from signals.source_run
            where
                not cast(:only_changed as boolean)
                and (
                    (
                        completed_at >= cast(:baseline_start as timestamptz)
                        and completed_at < cast(:current_start as timestamptz)
                    )
                    or (
                        started_at >= cast(:current_start as timestamptz)
                        and started_at <= cast(:as_of as timestamptz)
                    )
                )
                and tenant_id <> ''
                and (cast(:tenants as text[]) is null or tenant_id = any(cast(:tenants as text[])))
                and tenant_id <> all(cast(:excluded as text[]))
                and (
                    cast(:shards as integer) = 1
                    or signals.slot_of(tenant_id) % cast(:shards as integer) = cast(:shard as integer)
                )
                and estimated_cost_usd is not null
                and not (cast(:exclude_synthetic as boolean) and is_synthetic)
        ) as named_run
        -- A fence: each run is judged once, and not by each aggregate again.
        offset 0 -- noqa: AM09
    ) as judged_run
    group by tenant_id, agent_id
    union all
    -- The same sums agent by agent: to gather these runs by hash too would cost a fifth more.
    select
        changed_agent.tenant_id,
        changed_agent.agent_id,
        week.*
    from changed_agent
    cross join
        lateral (
            select
                avg(cost_usd) filter (where is_current and cost is not null) as current_avg_cost,
                sum(cost_usd) filter (where is_current and cost is not null) as total_cost,
                count(cost) filter (where is_current) as run_count,
                avg(cost_usd) filter (where is_baseline and cost is not null) as baseline_avg,
                stddev(cost_usd) filter (where is_baseline and cost is not null) as baseline_stddev,
                count(cost) filter (where is_baseline) as baseline_run_count,
                count(*) filter (where cost is null and (is_current or is_baseline)) as non_finite_costs,
                array_agg(cost) filter (where is_baseline and cost is not null) as baseline_costs,
                array_agg(cost) filter (
                    where is_current and cost is not null and cast(:extras as boolean)
                ) as current_costs,
                sum(cost_usd) filter (
                    where is_baseline and cost is not null and cast(:extras as boolean)
                ) as baseline_total,
                bit_count(cast(
                    bit_or(1 << width_bucket(completed_at, cast(:baseline_dates as timestamptz[])))
                    filter (where is_baseline and cost is not null and cast(:extras as boolean)) as bit(8)
                )) as baseline_days,
                max(completed_at) filter (
                    where is_baseline and cost is not null and cast(:extras as boolean)
                ) as baseline_last_at
            from (
                select
                    completed_at,
                    cast(estimated_cost_usd as numeric) as cost_usd,
                    case
                        when estimated_cost_usd between -1e150 and 1e150
                            then cast(
                                case
                                    when estimated_cost_usd between -1e-307 and 1e-307 then 0
                                    else estimated_cost_usd
                                end as double precision
                            )
                    end as cost,
                    started_at >= cast(:current_start as timestamptz)
                    and started_at <= cast(:as_of as timestamptz) as is_current,
                    completed_at >= cast(:baseline_start as timestamptz)
                    and completed_at < cast(:current_start as timestamptz)
                    and coalesce(started_at <= cast(:as_of as timestamptz), true) as is_baseline
                from (
                    select
                        started_at,
                        completed_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = changed_agent.tenant_id
                        and agent_id = changed_agent.agent_id
                        and completed_at >= cast(:baseline_start as timestamptz)
                    union all
                    select
                        started_at,
                        completed_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = changed_agent.tenant_id
                        and agent_id = changed_agent.agent_id
                        and completed_at is null
                        and started_at >= cast(:current_start as timestamptz)
                    union all
                    -- What ended before it began is found through an index of its own, which is all but empty.
                    select
                        started_at,
                        completed_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = changed_agent.tenant_id
                        and agent_id = changed_agent.agent_id
                        and completed_at < started_at
                        and completed_at < cast(:baseline_start as timestamptz)
                        and started_at >= cast(:current_start as timestamptz)
                    union all
                    -- The runs of no agent are in the group of the agent `unknown`.
                    select
                        started_at,
                        completed_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        changed_agent.agent_id = 'unknown'
                        and tenant_id = changed_agent.tenant_id
                        and agent_id is null
                        and completed_at >= cast(:baseline_start as timestamptz)
                    union all
                    select
                        started_at,
                        completed_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        changed_agent.agent_id = 'unknown'
                        and tenant_id = changed_agent.tenant_id
                        and agent_id is null
                        and completed_at is null
                        and started_at >= cast(:current_start as timestamptz)
                    union all
                    select
                        started_at,
                        completed_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        changed_agent.agent_id = 'unknown'
                        and tenant_id = changed_agent.tenant_id
                        and agent_id is null
                        and completed_at < started_at
                        and completed_at < cast(:baseline_start as timestamptz)
                        and started_at >= cast(:current_start as timestamptz)
                ) as agent_run
                where
                    estimated_cost_usd is not null
                    and not (cast(:exclude_synthetic as boolean) and is_synthetic)
                offset 0 -- noqa: AM09
            ) as judged_run
        ) as week
)

select
    agent_week.tenant_id,
    agent_week.agent_id,
    agent_week.current_avg_cost,
    agent_week.total_cost,
    agent_week.run_count,
    agent_week.baseline_avg,
    baseline.p95 as baseline_p95,
    agent_week.baseline_stddev,
    agent_week.baseline_run_count,
    agent_week.non_finite_costs,
    baseline.priced as baseline_priced,
    present.priced as current_priced,
    baseline.log_median as baseline_log_median,
    spread.log_mad as baseline_log_mad,
    spread_of_mean.log_mean_ad as baseline_log_mean_ad,
    present.log_median as current_log_median,
    agent_week.baseline_total,
    agent_week.baseline_days,
    agent_week.baseline_last_at,
    spike.run_ids as spike_run_ids,
    spike.costs as spike_costs
from agent_week
-- Ordered agent by agent: an ordered aggregate above would sort all runs by the names of their agents. On the log scale
-- what is 0 or less has no place; an aggregate over nothing is NULL.
cross join
    lateral (
        select
            percentile_cont(0.95) within group (order by cost) as p95,
            case when cast(:extras as boolean) then count(*) filter (where cost > 0) end as priced,
            percentile_cont(0.5) within group (order by ln(cost)) filter (
                where cost > 0 and cast(:extras as boolean)
            ) as log_median,
            array_agg(ln(cost)) filter (where cost > 0 and cast(:extras as boolean)) as logs
        from (select unnest(agent_week.baseline_costs) as cost) as baseline_run
    ) as baseline
cross join
    lateral (
        select
            case when cast(:extras as boolean) then count(*) filter (where cost > 0) end as priced,
            percentile_cont(0.5) within group (order by ln(cost)) filter (where cost > 0) as log_median,
            max(cost) as highest_cost
        from (select unnest(agent_week.current_costs) as cost) as current_run
    ) as present
cross join
    lateral (
        select percentile_cont(0.5) within group (order by abs(cost_log - baseline.log_median)) as log_mad
        from (select unnest(baseline.logs) as cost_log) as baseline_run
    ) as spread
cross join
    lateral (
        -- More than half of the costs are one and the same: what the others say.
        select avg(cast(abs(cost_log - baseline.log_median) as numeric)) as log_mean_ad
        from unnest(baseline.logs) as cost_log
        where spread.log_mad = 0
    ) as spread_of_mean
cross join
    lateral (
        -- What a single run must cost to be a spike; no exponent of which a double cannot hold the square.
        select
            case
                when baseline.priced >= cast(:robust_min_baseline as integer)
                    then greatest(
                        exp(least(
                            300,
                            baseline.log_median + cast(:robust_score as double precision) * coalesce(
                                1.4826 * nullif(spread.log_mad, 0),
                                1.253314 * cast(spread_of_mean.log_mean_ad as double precision),
                                0
                            )
                        )),
                        exp(least(300, baseline.log_median)) * cast(:robust_min_ratio as double precision),
                        exp(least(300, baseline.log_median)) + cast(:min_effect_usd as double precision)
                    )
            end as cost
    ) as spike_floor
cross join
    lateral (
        select
            array_agg(spike_run.run_id order by spike_run.cost desc, spike_run.run_id collate "C" asc) as run_ids,
            array_agg(
                cast(spike_run.cost as numeric) order by spike_run.cost desc, spike_run.run_id collate "C" asc
            ) as costs
        from (
            select
                costly_run.run_id,
                costly_run.cost
            from (
                select
                    run_id,
                    case
                        when estimated_cost_usd between -1e150 and 1e150
                            then cast(
                                case
                                    when estimated_cost_usd between -1e-307 and 1e-307 then 0
                                    else estimated_cost_usd
                                end as double precision
                            )
                    end as cost
                from (
                    -- By their end, which is in the index of an agent's runs, as the start is not; each end by itself,
                    -- since an index is not asked for either of two.
                    select
                        run_id,
                        started_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = agent_week.tenant_id
                        and (agent_id = agent_week.agent_id or (agent_id is null and agent_week.agent_id = 'unknown'))
                        and completed_at >= cast(:current_start as timestamptz)
                    union all
                    select
                        run_id,
                        started_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = agent_week.tenant_id
                        and (agent_id = agent_week.agent_id or (agent_id is null and agent_week.agent_id = 'unknown'))
                        and completed_at is null
                    union all
                    select
                        run_id,
                        started_at,
                        estimated_cost_usd,
                        is_synthetic
                    from signals.source_run
                    where
                        tenant_id = agent_week.tenant_id
                        and (agent_id = agent_week.agent_id or (agent_id is null and agent_week.agent_id = 'unknown'))
                        and completed_at < started_at
                        and completed_at < cast(:current_start as timestamptz)
                ) as agent_run
                where
                    -- Few agents have a cost that is this high: the others' runs are not read again.
                    present.highest_cost > spike_floor.cost
                    and started_at >= cast(:current_start as timestamptz)
                    and started_at <= cast(:as_of as timestamptz)
                    and estimated_cost_usd is not null
                    and not (cast(:exclude_synthetic as boolean) and is_synthetic)
            ) as costly_run
            where costly_run.cost > spike_floor.cost
            order by costly_run.cost desc, costly_run.run_id collate "C" asc
            limit cast(:spike_rows as integer)
        ) as spike_run
    ) as spike
where
    agent_week.run_count > 0
    or agent_week.non_finite_costs > 0
    or (cast(:extras as boolean) and agent_week.baseline_run_count >= cast(:robust_min_baseline as integer))
