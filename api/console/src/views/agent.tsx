import { scaleLinear, scaleUtc } from "d3-scale";
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ApiError, now, read, withQuery } from "../api";
import { PATHS, STORED_MS, usePage, usePath } from "../context";
import { count, decimal, local, money, plural, span, times, words } from "../format";
import { statusTone } from "../meaning";
import { usePoll } from "../poll";
import { runHref, runsHref, type Route } from "../route";
import type { AgentCost, CostAnalysis, Problem, Run, RunList } from "../types";
import { RangePlot, useWidth } from "../ui/charts";
import { Chip, Empty, levelLabel, Loading, Name, Panel, Time, Trouble } from "../ui/parts";
import { axisOf, ratioOf, toneOf, Verdicts } from "./cost";
import { Withheld } from "./queue";
import { Explain } from "../ui/explain";
import { Trend } from "../ui/trend";
import { TriageState, TriageTools } from "./triage";

const DAY_MS = 86_400_000;
const SHOWN_DAYS = 7;
const PAGE = 200;
const MOST_PAGES = 5;
const RECENT = 12;

/** One agent: what it costs, over time and now. */
export function AgentView({ route }: { route: Route }): JSX.Element {
  const page = usePage();
  const polled = usePoll<CostAnalysis>(usePath(PATHS.cost, "activity.cost_analysis"), STORED_MS);
  const agent = polled.data?.agents.find((each) => each.agent_id === route.id);
  const canList = page.can("activity.threshold_signals");
  const runs = useRuns(canList ? route.id : null);
  return (
    <article class="detail">
      <p class="crumbs">
        <a href="#/">Overview</a> <span aria-hidden="true">/</span> agent
      </p>
      <header class="detail-head">
        <h1 class="id" tabIndex={-1}>
          {route.id}
        </h1>
        <a href={runsHref({ agent_id: route.id })}>All its runs</a>
      </header>
      <div class="detail-grid">
        <Panel id="verdict" title="Cost per run, now" polled={polled}>
          {agent && polled.data ? (
            <Verdict agent={agent} data={polled.data} />
          ) : polled.data ? (
            <Empty title="No cost in the last 24 hours" tone="plain">
              The cost analysis lists agents with a run in the last day.
            </Empty>
          ) : page.can("activity.cost_analysis") ? (
            <Loading />
          ) : (
            <Withheld capability="activity.cost_analysis" />
          )}
        </Panel>
        <Panel id="history" title="Cost over time" note={runs.items ? `${plural(runs.items.length, "completed run")} of the last ${SHOWN_DAYS} days${runs.isCut ? ", the newest" : ""}` : null}>
          {!canList ? <Withheld capability="activity.threshold_signals" /> : null}
          {runs.problem ? <Trouble problem={runs.problem} hasData={false} /> : null}
          {runs.items ? <History runs={runs.items} agent={agent} /> : canList && !runs.problem ? <Loading /> : null}
        </Panel>
      </div>
      {runs.items?.length ? (
        <Panel id="recent" title="Latest runs">
          <RunTable runs={runs.items.slice(0, RECENT)} />
        </Panel>
      ) : null}
    </article>
  );
}

interface Runs {
  items: Run[] | null;
  isCut: boolean;
  problem: Problem | null;
}

function useRuns(agentId: string | null): Runs {
  const [runs, setRuns] = useState<Runs>({ items: null, isCut: false, problem: null });
  useEffect(() => {
    if (agentId === null) return undefined;
    const mine = new AbortController();
    setRuns({ items: null, isCut: false, problem: null });
    void allRuns(agentId, mine.signal).then(
      (found) => !mine.signal.aborted && setRuns({ ...found, problem: null }),
      (ex: unknown) => !mine.signal.aborted && ex instanceof ApiError && setRuns({ items: null, isCut: false, problem: ex.problem }),
    );
    return () => mine.abort();
  }, [agentId]);
  return runs;
}

async function allRuns(agentId: string, signal: AbortSignal): Promise<{ items: Run[]; isCut: boolean }> {
  const since = new Date(now() - SHOWN_DAYS * DAY_MS).toISOString();
  const items: Run[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const path: string = withQuery("/activity/runs", { agent_id: agentId, state: "COMPLETED", started_after: since, limit: PAGE, cursor });
    const answer = await read<RunList>(path, null, signal);
    items.push(...(answer.body?.items ?? []));
    cursor = answer.body?.next_cursor ?? null;
    if (cursor === null) return { items, isCut: false };
  }
  return { items, isCut: true };
}

function Verdict({ agent, data }: { agent: AgentCost; data: CostAnalysis }): JSX.Element {
  const { robust } = agent;
  return (
    <div class="verdict-box">
      <p class="big">
        {money(agent.current_cost_usd)} <small>{times(ratioOf(agent))} the usual {money(agent.baseline_avg_usd)}</small>
      </p>
      <RangePlot current={agent.current_cost_usd} average={agent.baseline_avg_usd} p95={agent.baseline_p95_usd} most={axisOf(data.agents)} tone={toneOf(agent)} />
      <Verdicts agent={agent} />
      <Trend signal="cost" item={agent} format={money} />
      {robust?.reason ? <p class="dim">Robust rule: {words(robust.reason)}.</p> : null}
      <dl class="facts small">
        <div>
          <dt>Runs now</dt>
          <dd>{count(agent.run_count)}</dd>
        </div>
        <div>
          <dt>Runs before</dt>
          <dd>{count(agent.baseline_run_count)}</dd>
        </div>
        <div>
          <dt>Spent now</dt>
          <dd>{money(agent.total_cost_usd)}</dd>
        </div>
        <div>
          <dt>z</dt>
          <dd>{decimal(agent.z_score, 2)}</dd>
        </div>
        {robust ? (
          <>
            <div>
              <dt>Usual median</dt>
              <dd>{money(robust.median_usd)}</dd>
            </div>
            <div>
              <dt>Robust score</dt>
              <dd>{decimal(robust.score, 2)}</dd>
            </div>
          </>
        ) : null}
      </dl>
      <Explain item={agent} />
      <TriageState triage={agent.triage} />
      <TriageTools item={agent} name={agent.agent_id} />
    </div>
  );
}

const HEIGHT = 260;
const MARGIN = { top: 12, right: 12, bottom: 26, left: 56 };

function History({ runs, agent }: { runs: Run[]; agent: AgentCost | undefined }): JSX.Element {
  const [ref, width] = useWidth(640);
  const priced = runs.filter((run) => run.estimated_cost_usd !== null && run.started_at !== null);
  if (priced.length === 0) return <Empty title="No completed run with a cost" tone="plain" />;
  const present = now();
  const most = Math.max(...priced.map((run) => run.estimated_cost_usd ?? 0), agent?.baseline_p95_usd ?? 0);
  const x = scaleUtc([present - SHOWN_DAYS * DAY_MS, present], [MARGIN.left, width - MARGIN.right]);
  const y = scaleLinear([0, most], [HEIGHT - MARGIN.bottom, MARGIN.top]).nice(4);
  const spikes = new Set(agent?.spike_runs?.map((spike) => spike.run_id));
  return (
    <div ref={ref} class="history">
      <svg width={width} height={HEIGHT} role="img" aria-label={`Cost of ${priced.length} runs over ${SHOWN_DAYS} days, from ${money(Math.min(...priced.map((run) => run.estimated_cost_usd ?? 0)))} to ${money(most)}; the table below lists the latest.`}>
        <rect class="today" x={x(present - DAY_MS)} width={x(present) - x(present - DAY_MS)} y={MARGIN.top} height={HEIGHT - MARGIN.top - MARGIN.bottom} />
        <text class="today-word" x={x(present) - 4} y={HEIGHT - MARGIN.bottom - 6} text-anchor="end">
          last 24 h
        </text>
        {y.ticks(4).map((tick) => (
          <g key={tick}>
            <line class="grid" x1={MARGIN.left} x2={width - MARGIN.right} y1={y(tick)} y2={y(tick)} />
            <text x={MARGIN.left - 6} y={y(tick) + 4} text-anchor="end">
              {money(tick)}
            </text>
          </g>
        ))}
        {dayTicks(present, width).map((tick) => (
          <text key={tick} x={x(tick)} y={HEIGHT - 8} text-anchor="middle">
            {new Date(tick).toLocaleDateString(undefined, { weekday: "short", day: "numeric" })}
          </text>
        ))}
        {agent?.baseline_avg_usd ? <Level y={y(agent.baseline_avg_usd)} width={width} name="usual" kind="mean" /> : null}
        {agent?.baseline_p95_usd ? <Level y={y(agent.baseline_p95_usd)} width={width} name="95 %" kind="p95" /> : null}
        {priced.map((run) => (
          <circle
            key={run.run_id}
            class={`dot ${spikes.has(run.run_id) ? "spike" : ""}`}
            cx={x(Date.parse(run.started_at ?? ""))}
            cy={y(run.estimated_cost_usd ?? 0)}
            r={spikes.has(run.run_id) ? 5 : 3}
            onClick={() => (location.hash = runHref(run.run_id))}
          >
            <title>{`${run.run_id}: ${money(run.estimated_cost_usd)}, ${local(new Date(run.started_at ?? ""))}`}</title>
          </circle>
        ))}
      </svg>
      {agent?.spike_runs?.length ? (
        <p class="panel-foot">
          <span class="dim">Runaway runs:</span>
          {agent.spike_runs.slice(0, 5).map((spike) => (
            <span key={spike.run_id}>
              <Name href={runHref(spike.run_id)}>{spike.run_id}</Name> {money(spike.cost_usd)}, {times(spike.ratio)}
            </span>
          ))}
        </p>
      ) : null}
    </div>
  );
}

function dayTicks(present: number, width: number): number[] {
  const midnight = new Date(present);
  midnight.setHours(0, 0, 0, 0);
  const every = width < 420 ? 2 : 1;
  return Array.from({ length: SHOWN_DAYS }, (_, index) => midnight.getTime() - index * DAY_MS).filter((_, index) => index % every === 0 && index < SHOWN_DAYS);
}

function Level({ y, width, name, kind }: { y: number; width: number; name: string; kind: string }): JSX.Element {
  return (
    <g class={`level level-${kind}`}>
      <line x1={MARGIN.left} x2={width - MARGIN.right} y1={y} y2={y} />
      <text x={MARGIN.left + 4} y={y - 4}>
        {name}
      </text>
    </g>
  );
}

/** Runs, one a line. */
export function RunTable({ runs }: { runs: Run[] }): JSX.Element {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Runs">
      <table class="runs">
        <thead>
          <tr>
            <th scope="col">Run</th>
            <th scope="col">Agent</th>
            <th scope="col">Status</th>
            <th scope="col">Risk</th>
            <th scope="col">Started</th>
            <th scope="col" class="number">
              Took
            </th>
            <th scope="col" class="number">
              Cost
            </th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <Row key={run.run_id} run={run} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ run }: { run: Run }): JSX.Element {
  const took = run.duration_ms ?? (run.started_at && run.state === "LIVE" ? now() - Date.parse(run.started_at) : null);
  return (
    <tr class="row">
      <th scope="row">
        <Name href={runHref(run.run_id)} row={run.run_id}>
          {run.run_id}
        </Name>
      </th>
      <td>{run.agent_id ?? "unknown"}</td>
      <td>
        <Chip label={levelLabel(run.status, statusTone(run.status))} />
      </td>
      <td>{words(run.risk_level)}</td>
      <td>
        <Time at={run.started_at} />
      </td>
      <td class="number">{took === null ? "–" : `${run.state === "LIVE" ? "so far " : ""}${span(took)}`}</td>
      <td class="number">{money(run.estimated_cost_usd)}</td>
    </tr>
  );
}

