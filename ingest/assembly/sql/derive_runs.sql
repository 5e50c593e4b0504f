-- Judges the runs that were made of telemetry: latency, evidence and risk, where they differ from what is stored.
-- A finished run is judged once after each writing; one that is under way, anew at every instant.
-- reads: source_run, signals.ingested_trace
-- grain: one row with the number of runs that were judged and changed
-- params: as_of, expected_ms, slow_up_to, silence_s
with due as (
    select
        trace_id,
        steps,
        late,
        refused,
        has_root,
        written_at
    from signals.ingested_trace
    where is_underived
    order by trace_id
    for update skip locked
),

evidence as (
    select
        source_run.run_id,
        source_run.state,
        source_run.last_seen_at,
        source_run.integrity_status,
        source_run.incident_count,
        source_run.policy_violation,
        cast(:expected_ms as double precision) as expected_ms,
        coalesce(
            source_run.duration_ms,
            extract(epoch from cast(:as_of as timestamptz) - source_run.started_at) * 1000
        ) as elapsed_ms,
        case
            when due.has_root and due.written_at is not null and due.steps = 0 then 'MISSING'
            when due.late > 0 or due.refused > 0 or (due.written_at is not null and not due.has_root) then 'DEGRADED'
            else 'FLOWING'
        end as evidence_health
    from due
    inner join signals.source_run on due.trace_id = source_run.run_id
),

timed as (
    select
        evidence.*,
        case
            when elapsed_ms > expected_ms * cast(:slow_up_to as double precision) then 'STALLED'
            when
                state = 'LIVE'
                and last_seen_at <= cast(:as_of as timestamptz) - make_interval(secs => cast(:silence_s as int))
                then 'STALLED'
            when elapsed_ms > expected_ms then 'SLOW'
            else 'OK'
        end as latency_bucket
    from evidence
),

judged as (
    select
        timed.run_id,
        timed.latency_bucket,
        timed.evidence_health,
        case
            when timed.integrity_status = 'FAILED' or timed.policy_violation then 'VIOLATED'
            when
                timed.latency_bucket = 'STALLED' or timed.integrity_status = 'DEGRADED' or timed.incident_count > 0
                then 'AT_RISK'
            when timed.latency_bucket = 'SLOW' or timed.evidence_health = 'DEGRADED' then 'NEAR_THRESHOLD'
            else 'NORMAL'
        end as risk_level
    from timed
),

differing as (
    select judged.*
    from judged
    inner join signals.source_run on judged.run_id = source_run.run_id
    where
        (source_run.latency_bucket, source_run.evidence_health, source_run.risk_level)
        is distinct from (judged.latency_bucket, judged.evidence_health, judged.risk_level)
),

-- Rows that a writer of the host holds are left for the next time: waiting for them could end in a deadlock of theirs.
locked as (
    select source_run.run_id
    from signals.source_run
    where source_run.run_id in (select differing.run_id from differing)
    order by source_run.run_id
    for no key update skip locked
),

postponed as (
    select differing.run_id
    from differing
    left join locked on differing.run_id = locked.run_id
    where locked.run_id is null
),

changed as (
    update signals.source_run
    set
        latency_bucket = differing.latency_bucket,
        evidence_health = differing.evidence_health,
        risk_level = differing.risk_level
    from differing
    inner join locked on differing.run_id = locked.run_id
    where source_run.run_id = differing.run_id
    returning source_run.run_id
),

settled as (
    update signals.ingested_trace
    set is_underived = false
    from due
    left join postponed on due.trace_id = postponed.run_id
    where
        ingested_trace.trace_id = due.trace_id
        and due.has_root and due.written_at is not null
        and postponed.run_id is null
    returning ingested_trace.trace_id
)

select
    (select count(*) from judged) as judged,
    (select count(*) from changed) as changed,
    (select count(*) from settled) as settled
