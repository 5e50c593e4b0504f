-- Finds the response content of the pattern signal: one entry per pattern, for two of the patterns per skill.
-- Source: docs/specification-notes.md#pattern-entries.
-- reads: pg_temp.stage_pattern_item, pg_temp.stage_run_pattern, pg_temp.stage_pattern_skill
-- grain: one row per tenant with findings, and one under the empty name for tenants without any
-- params: stated_parameters, confidence_version, extras, stated_extras
with confidence_rule (pattern_type, position, base, slope, origin, ceiling) as (
    -- base + slope * (evidence - origin), never above the ceiling. The third has a ceiling for the deployments
    -- whose loop window is longer than the specified five steps, where it would pass 1.
    values
    ('retry_loop', 1, 0.80, 0.10, 3, 0.99),
    ('step_oscillation', 2, 0.60, 0.10, 3, 0.95),
    ('tool_call_loop', 3, 0.70, 0.06, 3, 0.99),
    ('timeout_cascade', 4, 0.60, 0.15, 2, 0.95)
),

described_item as materialized (
    select
        item.*,
        case item.pattern_type
            when 'retry_loop'
                then (
                    select row_to_json(described.*) from (
                        select
                            item.run_id,
                            item.retry_count,
                            item.max_step_retries,
                            item.total_retries
                    ) as described
                )
            when 'step_oscillation'
                then (
                    select row_to_json(described.*) from (
                        select
                            item.run_id,
                            item.oscillation_count
                    ) as described
                )
            when 'tool_call_loop'
                then (
                    select row_to_json(described.*) from (
                        select
                            item.run_id,
                            item.loop_depth
                    ) as described
                )
            when 'timeout_cascade' then (
                select row_to_json(described.*) from (
                    select
                        item.run_id,
                        item.slow_step_count,
                        trim_scale(round(item.avg_duration_ms, 4)) as avg_duration_ms
                ) as described
            )
        end as run_json,
        (
            select row_to_json(found.*) from (
                select
                    item.cycle_period as period,
                    item.cycle_repeats as repeats,
                    item.cycle_skills as skills
            ) as found
            where item.cycle_period is not null
        ) as cycle
    from pg_temp.stage_pattern_item as item
),

-- Extra fields follow the specified members (docs/specification-notes.md#extra-fields-on-patterns).
written_item as (
    select
        described_item.*,
        case
            when cast(:extras as boolean)
                then left(cast(described_item.run_json as text), -1) || ',' || (
                    select right(cast(row_to_json(extra.*) as text), -1) from (
                        select
                            described_item.cycle,
                            trim_scale(round(described_item.density, 4)) as density,
                            described_item.outcome_stable,
                            described_item.after_error,
                            trim_scale(round(described_item.wasted_ms, 4)) as wasted_ms,
                            trim_scale(round(described_item.wasted_cost_usd, 8)) as wasted_cost_usd,
                            trim_scale(round(described_item.share_of_run, 4)) as share_of_run,
                            'skill_name_only' as evidence_basis
                    ) as extra
                )
            else cast(described_item.run_json as text)
        end as run_text
    from described_item
),

entry as (
    select
        item.tenant_id,
        item.pattern_type,
        item.skill_id,
        min(item.rank) as strongest_rank,
        count(*) as run_count,
        array_agg(item.run_id order by item.rank asc) as run_ids,
        string_agg(item.run_text, ',' order by item.rank asc) as runs,
        avg(item.total_retries) as avg_retries,
        avg(item.avg_duration_ms) as avg_duration_ms,
        -- The strongest run that has one.
        (array_agg(item.cycle order by item.rank asc) filter (where item.cycle is not null))[1] as cycle,
        avg(item.density) as density,
        bool_and(item.outcome_stable) as outcome_stable,
        bool_and(item.after_error) as after_error,
        sum(item.wasted_ms) as wasted_ms,
        sum(item.wasted_cost_usd) as wasted_cost_usd,
        avg(item.share_of_run) as share_of_run
    from written_item as item
    group by item.tenant_id, item.pattern_type, item.skill_id
),

-- Counts are those of the strongest run, averages are means over the entry's runs.
detailed_entry as (
    select
        entry.*,
        case entry.pattern_type
            when 'retry_loop' then entry.avg_retries
            when 'step_oscillation' then strongest.oscillation_count
            when 'tool_call_loop' then strongest.loop_depth
            when 'timeout_cascade' then strongest.slow_step_count
        end as evidence,
        case entry.pattern_type
            when 'retry_loop'
                then (
                    select row_to_json(detail.*) from (
                        select
                            trim_scale(round(entry.avg_retries, 4)) as avg_retries,
                            strongest.retry_count as retrying_steps,
                            strongest.max_step_retries
                    ) as detail
                )
            when 'step_oscillation'
                then (
                    select row_to_json(detail.*) from (
                        select
                            entry.skill_id,
                            strongest.oscillation_count
                    ) as detail
                )
            when 'tool_call_loop'
                then (
                    select row_to_json(detail.*) from (
                        select
                            entry.skill_id,
                            strongest.loop_depth
                    ) as detail
                )
            when 'timeout_cascade' then (
                select row_to_json(detail.*) from (
                    select
                        strongest.slow_step_count,
                        trim_scale(round(entry.avg_duration_ms, 4)) as avg_duration_ms
                ) as detail
            )
        end as details
    from entry
    inner join pg_temp.stage_pattern_item as strongest
        on
            entry.tenant_id = strongest.tenant_id
            and entry.pattern_type = strongest.pattern_type
            and entry.strongest_rank = strongest.rank
),

written_entry as materialized (
    select
        detailed_entry.tenant_id,
        detailed_entry.strongest_rank,
        confidence_rule.position,
        (
            select cast(row_to_json(written.*) as text) from (
                select
                    detailed_entry.pattern_type,
                    detailed_entry.run_ids,
                    detailed_entry.run_count as count,
                    trim_scale(round(greatest(0.5, least(
                        confidence_rule.ceiling,
                        confidence_rule.base
                        + confidence_rule.slope * (detailed_entry.evidence - confidence_rule.origin)
                    )), 2)) as confidence,
                    detailed_entry.details,
                    cast('[' || detailed_entry.runs || ']' as json) as runs
            ) as written
        ) as entry_json,
        case
            when cast(:extras as boolean)
                then (
                    select cast(row_to_json(extra.*) as text) from (
                        select
                            detailed_entry.cycle,
                            trim_scale(round(detailed_entry.density, 4)) as density,
                            detailed_entry.outcome_stable,
                            detailed_entry.after_error,
                            trim_scale(round(detailed_entry.wasted_ms, 4)) as wasted_ms,
                            trim_scale(round(detailed_entry.wasted_cost_usd, 8)) as wasted_cost_usd,
                            trim_scale(round(detailed_entry.share_of_run, 4)) as share_of_run,
                            'skill_name_only' as evidence_basis
                    ) as extra
                )
        end as extra_json
    from detailed_entry
    inner join confidence_rule on detailed_entry.pattern_type = confidence_rule.pattern_type
),

whole_entry as materialized (
    select
        written_entry.tenant_id,
        written_entry.position,
        written_entry.strongest_rank,
        case
            when written_entry.extra_json is null then written_entry.entry_json
            else left(written_entry.entry_json, -1) || ',' || right(written_entry.extra_json, -1)
        end as entry_json
    from written_entry
),

pattern_list as (
    select
        whole_entry.tenant_id,
        string_agg(
            whole_entry.entry_json, ',' order by whole_entry.position asc, whole_entry.strongest_rank asc
        ) as patterns,
        array_agg(
            length(whole_entry.entry_json) order by whole_entry.position asc, whole_entry.strongest_rank asc
        ) as lengths
    from whole_entry
    group by whole_entry.tenant_id
),

skill_list as (
    select
        skill.tenant_id,
        string_agg(
            cast(
                (
                    select row_to_json(written.*) from (
                        select
                            skill.skill_id,
                            skill.pattern_types,
                            skill.run_count,
                            skill.run_ids,
                            trim_scale(round(skill.wasted_ms, 4)) as wasted_ms,
                            trim_scale(round(skill.wasted_cost_usd, 8)) as wasted_cost_usd
                    ) as written
                ) as text
            ), ',' order by skill.rank asc
        ) as skills
    from pg_temp.stage_pattern_skill as skill
    group by skill.tenant_id
),

data_quality as (
    select
        run_pattern.tenant_id,
        sum(run_pattern.strength) as non_finite_durations
    from pg_temp.stage_run_pattern as run_pattern
    where run_pattern.pattern_type = 'non_finite_durations'
    group by run_pattern.tenant_id
),

answered_tenant as (
    select '' as tenant_id
    union distinct
    select pattern_list.tenant_id from pattern_list
    union distinct
    select data_quality.tenant_id from data_quality
),

answer as materialized (
    select
        answered_tenant.tenant_id,
        pattern_list.lengths,
        '{"patterns":[' || coalesce(pattern_list.patterns, '')
        || '],"parameters":' || cast(:stated_parameters as text)
        || ',"confidence_version":' || to_json(cast(:confidence_version as text))
        || ',"data_quality":{"non_finite_durations":' || coalesce(data_quality.non_finite_durations, 0)
        || '}' || case
            when cast(:extras as boolean)
                then
                    ',"by_skill":[' || coalesce(skill_list.skills, '')
                    || '],"extra_parameters":' || cast(:stated_extras as text)
            else ''
        end || '}' as content
    from answered_tenant
    left join pattern_list on answered_tenant.tenant_id = pattern_list.tenant_id
    left join data_quality on answered_tenant.tenant_id = data_quality.tenant_id
    left join skill_list on answered_tenant.tenant_id = skill_list.tenant_id
),

known_content as materialized (
    select
        answer.*,
        md5(answer.content) as basis
    from answer
)

select
    tenant_id,
    content,
    cast(null as text[]) as items,
    lengths,
    basis,
    basis as shape
from known_content
