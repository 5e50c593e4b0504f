-- Runs of many agents, each with a baseline and a current day, whose costs are drawn from one distribution.
-- Binds: agents, baseline, current, shape, factor, as_of. `factor` multiplies the costs of the current day alone.
insert into runs (id, tenant_id, agent_id, status, state, goal, started_at, completed_at, estimated_cost_usd)
select
    'run_' || agent_number || '_' || run_number,
    'simulated',
    'agent_' || agent_number,
    'succeeded',
    'COMPLETED',
    '',
    started_at,
    started_at,
    cast(
        0.1 * case when run_number > cast(:baseline as integer) then cast(:factor as double precision) else 1 end
        * case cast(:shape as text)
            -- Sigma 1 of the log cost.
            when 'lognormal' then exp(normal_draw)
            -- A Pareto tail of exponent 1.5: a mean, and no variance.
            when 'heavy' then power(1 - uniform_draw, -1 / 1.5)
            -- Twice as dear at noon as at midnight, and sigma 0.8 beside that.
            when 'seasonal' then exp(0.8 * normal_draw + 0.35 * sin(extract(hour from started_at) / 24 * 2 * pi()))
        end as numeric
    )
from (
    select
        agent_number,
        run_number,
        random() as uniform_draw,
        sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) as normal_draw,
        case
            when run_number > cast(:baseline as integer)
                then cast(:as_of as timestamptz) - random() * interval '23 hours'
            else cast(:as_of as timestamptz) - interval '25 hours' - random() * interval '142 hours'
        end as started_at
    from generate_series(1, cast(:agents as integer)) as agent_number
    cross join generate_series(1, cast(:baseline as integer) + cast(:current as integer)) as run_number
) as drawn_run;
