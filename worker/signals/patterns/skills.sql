-- What each skill costs a tenant over all runs that repeat it: one broken tool in forty runs is one row.
-- Where only some runs changed, the others of their tenants are read from the rows that are kept.
-- Source: docs/specification-notes.md#extra-fields-on-patterns.
-- reads: pg_temp.stage_run_pattern, signals.run_pattern, pg_temp.stage_tenant
-- grain: tenant and skill, the most repeated first
-- params: only_changed, extras, skill_rows, skill_run_ids
with pattern_row as (
    select
        tenant_id,
        skill_id,
        run_id,
        pattern_type,
        strength,
        wasted_ms,
        wasted_cost_usd
    from pg_temp.stage_run_pattern
    where not cast(:only_changed as boolean)
    union all
    select
        tenant_id,
        skill_id,
        run_id,
        pattern_type,
        strength,
        wasted_ms,
        wasted_cost_usd
    from signals.run_pattern
    where
        cast(:only_changed as boolean)
        and tenant_id = any(array(select changed.tenant_id from pg_temp.stage_tenant as changed))
),

repeated_run as (
    -- A run that repeats a skill in both ways wastes what the wider of them says, once.
    select
        tenant_id,
        skill_id,
        run_id,
        max(strength) as strength,
        max(wasted_ms) as wasted_ms,
        max(wasted_cost_usd) as wasted_cost_usd,
        bool_or(pattern_type = 'step_oscillation') as is_oscillation,
        bool_or(pattern_type = 'tool_call_loop') as is_loop
    from pattern_row
    where skill_id is not null and cast(:extras as boolean)
    group by tenant_id, skill_id, run_id
),

repeated_skill as (
    select
        tenant_id,
        skill_id,
        count(*) as run_count,
        (array_agg(run_id order by strength desc, run_id asc))[1:(cast(:skill_run_ids as integer))] as run_ids,
        sum(wasted_ms) as wasted_ms,
        sum(wasted_cost_usd) as wasted_cost_usd,
        array_remove(array[
            case when bool_or(is_oscillation) then 'step_oscillation' end,
            case when bool_or(is_loop) then 'tool_call_loop' end
        ], null) as pattern_types
    from repeated_run
    group by tenant_id, skill_id
)

select
    ranked_skill.tenant_id,
    ranked_skill.rank,
    ranked_skill.skill_id,
    ranked_skill.pattern_types,
    ranked_skill.run_count,
    ranked_skill.run_ids,
    ranked_skill.wasted_ms,
    ranked_skill.wasted_cost_usd
from (
    select
        repeated_skill.*,
        row_number() over (
            partition by repeated_skill.tenant_id
            order by
                repeated_skill.run_count desc,
                repeated_skill.wasted_ms desc nulls last,
                repeated_skill.skill_id collate "C" asc
        ) as rank
    from repeated_skill
) as ranked_skill
where ranked_skill.rank <= cast(:skill_rows as integer)
