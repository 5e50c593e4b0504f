import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ApiError, now, read, withQuery, type Problem } from "../api";
import { PATHS, STORED_MS, usePage, usePath } from "../context";
import { count, decimal, money, plural, times } from "../format";
import { usePoll, type Polled } from "../poll";
import { runsHref, type Route } from "../route";
import type { AgentCost, CostAnalysis, Run, RunList } from "../openapi";
import { currentOf } from "../verdicts";
import { RangePlot } from "../ui/charts";
import { Empty, Loading, Panel, Time, Trouble } from "../ui/parts";
import { axisOf, ratioOf, toneOf, Unpriced, Verdicts } from "./cost";
import { CostHistory, SHOWN_DAYS } from "./cost_history";
import { RunTable } from "./run_table";
import { Withheld } from "./queue";
import { Explain } from "../ui/explain";
import { Trend } from "../ui/trend";
import { TriageState, TriageTools } from "./triage";

const DAY_MS = 86_400_000;
const PAGE = 200;
const MOST_PAGES = 5;
const RECENT = 12;

/** One agent: its cost now and over time. */
export function AgentView({ route }: { route: Route }): JSX.Element {
  const page = usePage();
  const polled = usePoll<CostAnalysis>(usePath(PATHS.cost, "activity.cost_analysis"), STORED_MS);
  const agent = polled.data?.agents.find((each) => each.agent_id === route.id);
  const canList = page.can("activity.threshold_signals");
  const runs = useRuns(canList ? route.id : null);
  const isNobody = !agent && (polled.data !== null || !page.can("activity.cost_analysis")) && (canList ? runs.items?.length === 0 : true);
  return (
    <article class="detail">
      <p class="crumbs">
        <a href="#/">Overview</a> <span aria-hidden="true">/</span> agent
      </p>
      <header class="detail-head">
        <h1 class="id" tabIndex={-1}>
          {route.id}
        </h1>
        {isNobody ? null : <a href={runsHref({ agent_id: route.id })}>All runs of this agent</a>}
      </header>
      {isNobody ? <Nobody where={canList ? `the last ${SHOWN_DAYS} days` : "the cost analysis"} /> : <AgentPanels route={route} polled={polled} agent={agent} runs={runs} />}
    </article>
  );
}

function Nobody({ where }: { where: string }): JSX.Element {
  return (
    <Empty title={`No run of this agent in ${where}`} tone="plain">
      The name may be mistyped, or its runs are older. <a href="#/">Back to the overview</a>
    </Empty>
  );
}

interface PanelsProps {
  route: Route;
  polled: Polled<CostAnalysis>;
  agent: AgentCost | undefined;
  runs: Runs;
}

function AgentPanels({ route, polled, agent, runs }: PanelsProps): JSX.Element {
  const page = usePage();
  const canList = page.can("activity.threshold_signals");
  return (
    <>
      <div class="detail-grid">
        <Panel id="verdict" title="Cost per run now" polled={polled}>
          {agent && polled.data ? (
            <Verdict agent={agent} data={polled.data} />
          ) : polled.data ? (
            <WithoutCost runs={runs.items} data={polled.data} />
          ) : page.can("activity.cost_analysis") ? (
            <Loading />
          ) : (
            <Withheld capability="activity.cost_analysis" />
          )}
        </Panel>
        <Panel id="history" title="Cost over time" note={runs.items ? `${runs.isCut ? "newest " : ""}${plural(runs.items.length, "run")} of the last ${SHOWN_DAYS} days` : null}>
          {canList ? null : <Withheld capability="activity.threshold_signals" />}
          {runs.problem ? <Trouble problem={runs.problem} hasData={false} /> : null}
          {runs.items ? <CostHistory runs={runs.items} agent={agent} window={polled.data?.window} /> : canList && !runs.problem ? <Loading /> : null}
        </Panel>
      </div>
      {runs.items?.length ? (
        <Panel id="recent" title="Latest runs" key={route.id}>
          <RunTable runs={runs.items.slice(0, RECENT)} />
        </Panel>
      ) : null}
    </>
  );
}

/** The reason why an agent is not in the cost analysis: its runs have no cost, or there are none in the window. */
function WithoutCost({ runs, data }: { runs: Run[] | null; data: CostAnalysis }): JSX.Element {
  const since = Date.parse(data.window.current_start);
  const current = currentOf(data.window);
  const recent = runs?.filter((run) => run.started_at !== null && Date.parse(run.started_at) >= since) ?? [];
  const last = runs?.[0]?.started_at;
  if (recent.some((run) => run.estimated_cost_usd !== null)) {
    return (
      <Empty title="Not in the cost analysis yet" tone="plain">
        It appears at the next refresh.
      </Empty>
    );
  }
  if (recent.length) {
    return (
      <Empty title={`No cost recorded for ${plural(recent.length, "run")} in the last ${current}`} tone="plain">
        <Unpriced />
      </Empty>
    );
  }
  return (
    <Empty title={`No run in the last ${current}`} tone="plain">
      The cost analysis lists agents with priced runs in that time.
      {last ? (
        <>
          {" "}
          The latest run started <Time at={last} relative />.
        </>
      ) : null}
    </Empty>
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
    const path: string = withQuery("/activity/runs", { agent_id: agentId, started_after: since, limit: PAGE, cursor });
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
      <Verdicts agent={agent} data={data} withReasons />
      <Trend signal="cost" item={agent} value={agent.current_cost_usd} format={money} />
      <dl class="facts small">
        <div>
          <dt>Runs now</dt>
          <dd>{count(agent.run_count)}</dd>
        </div>
        <div>
          <dt>Baseline runs</dt>
          <dd>{count(agent.baseline_run_count)}</dd>
        </div>
        <div>
          <dt>Total now</dt>
          <dd>{money(agent.total_cost_usd)}</dd>
        </div>
        <div>
          <dt>z-score</dt>
          <dd>{decimal(agent.z_score, 2)}</dd>
        </div>
        {robust ? (
          <>
            <div>
              <dt>Baseline median</dt>
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
