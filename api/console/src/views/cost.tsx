import type { JSX } from "preact";
import { PATHS, STORED_MS, usePage, usePath } from "../context";
import { decimal, money, plural, times } from "../format";
import { VERDICTS, type Label, type Tone } from "../meaning";
import { usePoll } from "../poll";
import { disagree, robustReason, specReason } from "../verdicts";
import { agentHref, type Route } from "../route";
import type { AgentCost, CostAnalysis } from "../types";
import { RangeLegend, RangePlot } from "../ui/charts";
import { Chip, Empty, hasPast, Movement, Name, Panel, Time, When } from "../ui/parts";
import { Withheld } from "./queue";
import { isSnoozed, showsSnoozed, SnoozedToggle } from "./snoozing";
import { TriageState, TriageTools } from "./triage";

/** The axis ends here at most: an agent beyond is drawn at its end, with its multiple in words. */
const LONGEST_AXIS = 8;

export function CostPanel({ route }: { route: Route }): JSX.Element {
  const polled = usePoll<CostAnalysis>(usePath(PATHS.cost, "activity.cost_analysis"), STORED_MS);
  const isAllowed = usePage().can("activity.cost_analysis");
  const snoozed = polled.data?.agents.filter(isSnoozed).length ?? 0;
  return (
    <Panel
      id="cost"
      title="Cost per run"
      polled={polled}
      note={polled.data ? `${money(polled.data.total_cost_usd)} in the last 24 hours` : null}
      tools={<SnoozedToggle amount={snoozed} what="agent" isShown={showsSnoozed(route)} />}
    >
      {isAllowed ? <When polled={polled}>{(data) => <Agents data={data} isWhole={showsSnoozed(route)} />}</When> : <Withheld capability="activity.cost_analysis" />}
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

/** Where costs come from, for those who see none. */
export function Unpriced(): JSX.Element {
  return (
    <>
      Whoever writes the runs records <code>estimated_cost_usd</code>; for telemetry it comes from the prices that <code>ACTIVITY_PRICES_FILE</code> names: see “Prices” in the documentation on
      OpenTelemetry.
    </>
  );
}

function Agents({ data, isWhole }: { data: CostAnalysis; isWhole: boolean }): JSX.Element {
  if (data.agents.length === 0) {
    return (
      <Empty title="No run had a cost in the last 24 hours" tone="plain">
        Agents appear once their runs have one. <Unpriced /> Verified <Time at={data.snapshot.verified_at} />.
      </Empty>
    );
  }
  const agents = data.agents.filter((agent) => isWhole || !isSnoozed(agent));
  const most = axisOf(data.agents);
  const moves = hasPast(data.agents);
  return (
    <>
      <RangeLegend most={most} />
      <ul class="agents">
        {agents.map((agent) => (
          <Agent key={agent.agent_id} agent={agent} data={data} most={most} moves={moves} />
        ))}
      </ul>
      {agents.length === 0 ? <Empty title="No agent but what is snoozed" tone="plain" /> : null}
      <Remarks data={data} />
    </>
  );
}

function Agent({ agent, data, most, moves }: { agent: AgentCost; data: CostAnalysis; most: number; moves: boolean }): JSX.Element {
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
      <Verdicts agent={agent} data={data} says={disagree(agent)} />
      <TriageState triage={agent.triage} />
      <TriageTools item={agent} name={agent.agent_id} />
    </li>
  );
}

interface VerdictsProps {
  agent: AgentCost;
  data: CostAnalysis;
  /** Whether each says why. */
  says: boolean;
}

/** Both verdicts: the definition's, and the robust one where the API gives it. */
export function Verdicts({ agent, data, says }: VerdictsProps): JSX.Element {
  const robust = agent.robust ? VERDICTS[agent.robust.verdict] : undefined;
  return (
    <ul class={`verdicts ${says ? "says" : ""}`}>
      <li>
        <span class="dim">{says ? "z rule" : `z ${decimal(agent.z_score)}`}</span> <Chip label={specVerdict(agent)} title="The rule of the definition: z above the threshold, or above the 95th percentile" />
        {says ? <Why words={specReason(agent, data)} /> : null}
      </li>
      {robust && agent.robust ? (
        <li>
          <span class="dim">robust{says ? " rule" : ""}</span> <Chip label={robust} title="The rule on medians, which one costly run does not move" />
          {says ? <Why words={robustReason(agent.robust, data)} /> : null}
        </li>
      ) : null}
      {agent.volume_ratio && agent.volume_ratio >= 1.5 ? (
        <li>
          <Chip label={{ words: `${times(agent.volume_ratio)} the usual spend`, tone: "notice" }} title="Total of the last day over the usual day's" />
        </li>
      ) : null}
      {agent.spike_runs?.length ? <li class="dim">{plural(agent.spike_runs.length, "runaway run")}</li> : null}
    </ul>
  );
}

const Why = ({ words }: { words: string }): JSX.Element => <span class="why dim">: {words}</span>;

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
