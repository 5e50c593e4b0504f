import type { JSX } from "preact";
import { PATHS, STORED_MS, usePage, usePath } from "../context";
import { decimal, money, plural, times } from "../format";
import { VERDICTS, type Label, type Tone } from "../meaning";
import { usePoll } from "../poll";
import { agentHref } from "../route";
import type { AgentCost, CostAnalysis } from "../types";
import { RangeLegend, RangePlot } from "../ui/charts";
import { Chip, Empty, hasPast, Movement, Name, Panel, Time, When } from "../ui/parts";
import { Withheld } from "./queue";
import { TriageState, TriageTools } from "./triage";

/** The axis ends here at most: an agent beyond is drawn at its end, with its multiple in words. */
const LONGEST_AXIS = 8;

export function CostPanel(): JSX.Element {
  const polled = usePoll<CostAnalysis>(usePath(PATHS.cost, "activity.cost_analysis"), STORED_MS);
  const isAllowed = usePage().can("activity.cost_analysis");
  return (
    <Panel id="cost" title="Cost per run" polled={polled} note={polled.data ? `${money(polled.data.total_cost_usd)} in the last 24 hours` : null}>
      {isAllowed ? <When polled={polled}>{(data) => <Agents data={data} />}</When> : <Withheld capability="activity.cost_analysis" />}
    </Panel>
  );
}

export function ratioOf(agent: AgentCost): number | null {
  return agent.baseline_avg_usd ? agent.current_cost_usd / agent.baseline_avg_usd : null;
}

/** The end of the axis that all of `agents` share, in multiples of the usual average. */
export function axisOf(agents: AgentCost[]): number {
  const ends = agents.map((agent) => Math.max(ratioOf(agent) ?? 0, (agent.baseline_p95_usd ?? 0) / (agent.baseline_avg_usd || 1)));
  return Math.min(LONGEST_AXIS, Math.max(2, Math.ceil(Math.max(0, ...ends) * 1.1)));
}

export function toneOf(agent: AgentCost): Tone {
  if (agent.is_anomaly || agent.robust?.verdict === "anomaly") return "critical";
  return agent.robust?.verdict === "saver" ? "good" : "plain";
}

/** The definition's own verdict. */
export const specVerdict = (agent: AgentCost): Label =>
  agent.is_anomaly ? { words: "Anomaly", tone: "critical" } : agent.baseline_avg_usd === null ? { words: "No baseline", tone: "plain" } : { words: "Normal", tone: "plain" };

function Agents({ data }: { data: CostAnalysis }): JSX.Element {
  if (data.agents.length === 0) {
    return (
      <Empty title="No run had a cost in the last 24 hours" tone="plain">
        Agents appear once runs report <code>estimated_cost_usd</code>. Verified <Time at={data.snapshot.verified_at} />.
      </Empty>
    );
  }
  const most = axisOf(data.agents);
  const moves = hasPast(data.agents);
  return (
    <>
      <RangeLegend most={most} />
      <ul class="agents">
        {data.agents.map((agent) => (
          <Agent key={agent.agent_id} agent={agent} most={most} moves={moves} />
        ))}
      </ul>
      <Remarks data={data} />
    </>
  );
}

function Agent({ agent, most, moves }: { agent: AgentCost; most: number; moves: boolean }): JSX.Element {
  const ratio = ratioOf(agent);
  return (
    <li class={`row agent ${agent.triage ? `is-${agent.triage.state}` : ""}`}>
      <p class="agent-name">
        <Name href={agentHref(agent.agent_id)} row={agent.fingerprint ?? agent.agent_id}>
          {agent.agent_id}
        </Name>
        {moves ? <Movement move={agent.movement?.since_previous} /> : null}
        <span class="dim">{plural(agent.run_count, "run")}</span>
      </p>
      <p class="agent-numbers">
        <b>{money(agent.current_cost_usd)}</b> <span class="dim">usually {money(agent.baseline_avg_usd)}</span> <b class="ratio">{times(ratio)}</b>
      </p>
      <RangePlot current={agent.current_cost_usd} average={agent.baseline_avg_usd} p95={agent.baseline_p95_usd} most={most} tone={toneOf(agent)} />
      <Verdicts agent={agent} />
      <TriageState triage={agent.triage} />
      <TriageTools item={agent} name={agent.agent_id} />
    </li>
  );
}

/** Both verdicts: the definition's, and the robust one where the API gives it. */
export function Verdicts({ agent }: { agent: AgentCost }): JSX.Element {
  const robust = agent.robust ? VERDICTS[agent.robust.verdict] : undefined;
  return (
    <p class="verdicts">
      <span>
        <span class="dim">z {decimal(agent.z_score)}</span> <Chip label={specVerdict(agent)} title="The rule of the definition: z above the threshold, or above the 95th percentile" />
      </span>
      {robust ? (
        <span>
          <span class="dim">robust</span> <Chip label={robust} title={agent.robust?.reason} />
        </span>
      ) : null}
      {agent.volume_ratio && agent.volume_ratio >= 1.5 ? (
        <span>
          <Chip label={{ words: `${times(agent.volume_ratio)} the usual spend`, tone: "notice" }} title="Total of the last day over the usual day's" />
        </span>
      ) : null}
      {agent.spike_runs?.length ? <span class="dim">{plural(agent.spike_runs.length, "runaway run")}</span> : null}
    </p>
  );
}

function Remarks({ data }: { data: CostAnalysis }): JSX.Element | null {
  const flags = data.expected_false_flags;
  const lines = [
    data.savers?.length ? `Cheaper than usual: ${data.savers.join(", ")}.` : "",
    data.silent_agents?.length ? `Silent for a day: ${data.silent_agents.map((agent) => agent.agent_id).join(", ")}.` : "",
    flags && flags.spec !== null && flags.spec >= 0.1 ? `Of so many healthy agents, about ${decimal(flags.spec)} are flagged by the z rule by chance${flags.robust !== null ? `, ${decimal(flags.robust)} by the robust one` : ""}.` : "",
  ].filter(Boolean);
  return lines.length ? (
    <footer class="panel-foot">
      {lines.map((line) => (
        <span key={line} class="dim">
          {line}
        </span>
      ))}
    </footer>
  ) : null;
}
