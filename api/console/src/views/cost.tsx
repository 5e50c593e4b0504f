import type { JSX } from "preact";
import { PATHS, STORED_MS, usePage, usePath, useSignal } from "../context";
import { decimal, money, plural, times } from "../format";
import { fill, VERDICTS, type Label, type Tone } from "../meaning";
import { usePoll } from "../poll";
import { disagree, robustReason, specReason, currentOf } from "../verdicts";
import { agentHref, type Route } from "../route";
import type { AgentCost, CostAnalysis } from "../openapi";
import { RangeLegend, RangePlot } from "../ui/charts";
import { Chip, Empty, hasPast, Movement, Name, Panel, Time, When } from "../ui/parts";
import { Withheld } from "./queue";
import { isSnoozed, showsSnoozed, SnoozedToggle } from "./snoozing";
import { TriageState, TriageTools } from "./triage";

/** The longest axis, multiples of the usual average; an agent beyond is drawn at its end, with the multiple as text. */
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
      note={polled.data ? `${money(polled.data.total_cost_usd)} in the last ${currentOf(polled.data.window)}` : null}
      tools={<SnoozedToggle amount={snoozed} what="agent" isShown={showsSnoozed(route)} />}
    >
      {isAllowed ? <When polled={polled}>{(data) => <Agents data={data} isWhole={showsSnoozed(route)} />}</When> : <Withheld capability="activity.cost_analysis" />}
    </Panel>
  );
}

export function ratioOf(agent: AgentCost): number | null {
  return agent.baseline_avg_usd ? agent.current_cost_usd / agent.baseline_avg_usd : null;
}

/** Return the end of the axis that all agents share, in multiples of the usual average. */
export function axisOf(agents: AgentCost[]): number {
  const ends = agents.map((agent) => Math.max(ratioOf(agent) ?? 0, (agent.baseline_p95_usd ?? 0) / (agent.baseline_avg_usd || 1)));
  return Math.min(LONGEST_AXIS, Math.max(2, Math.ceil(Math.max(0, ...ends) * 1.1)));
}

export function toneOf(agent: AgentCost): Tone {
  if (agent.is_anomaly || agent.robust?.verdict === "anomaly") return "critical";
  return agent.robust?.verdict === "saver" ? "good" : "plain";
}

/** Return the verdict of the z rule. */
export const specVerdict = (agent: AgentCost): Label =>
  agent.is_anomaly ? { words: "Anomaly", tone: "critical" } : agent.baseline_avg_usd === null ? { words: "No baseline", tone: "plain" } : { words: "Normal", tone: "plain" };

/** Explains where costs come from. */
export function Unpriced(): JSX.Element {
  return (
    <>
      The application that writes the runs sets <code>estimated_cost_usd</code>. For telemetry, set <code>ACTIVITY_PRICES_FILE</code> to a price list: see
      “Prices” in the documentation of OpenTelemetry.
    </>
  );
}

function Agents({ data, isWhole }: { data: CostAnalysis; isWhole: boolean }): JSX.Element {
  if (data.agents.length === 0) {
    return (
      <Empty title={`No run with a cost in the last ${currentOf(data.window)}`} tone="plain">
        Agents appear once their runs have a cost. <Unpriced /> Last refresh <Time at={data.snapshot.verified_at} />.
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
      {agents.length === 0 ? <Empty title="All agents are snoozed" tone="plain" /> : null}
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
      <Verdicts agent={agent} data={data} withReasons={disagree(agent)} />
      <TriageState triage={agent.triage} />
      <TriageTools item={agent} name={agent.agent_id} />
    </li>
  );
}

interface VerdictsProps {
  agent: AgentCost;
  data: CostAnalysis;
  /** Whether each verdict shows its reason. */
  withReasons: boolean;
}

/** Both verdicts of an agent: z rule and robust rule. */
export function Verdicts({ agent, data, withReasons }: VerdictsProps): JSX.Element {
  const signal = useSignal("cost");
  const rules = signal ? fill(signal.explanation, signal, data) : undefined;
  const robust = agent.robust ? VERDICTS[agent.robust.verdict] : undefined;
  return (
    <ul class={`verdicts ${withReasons ? "with-reasons" : ""}`}>
      <li>
        <span class="dim">{withReasons ? "z rule" : `z ${decimal(agent.z_score)}`}</span> <Chip label={specVerdict(agent)} title={rules} />
        {withReasons ? <Why words={specReason(agent, data)} /> : null}
      </li>
      {robust && agent.robust ? (
        <li>
          <span class="dim">robust{withReasons ? " rule" : ""}</span> <Chip label={robust} title={rules} />
          {withReasons ? <Why words={robustReason(agent.robust, data)} /> : null}
        </li>
      ) : null}
      {agent.volume_ratio ? (
        <li class="dim" title="Total cost of the current window against the mean day of the baseline">
          total {times(agent.volume_ratio)} the usual
        </li>
      ) : null}
      {agent.spike_runs?.length ? <li class="dim">{plural(agent.spike_runs.length, "outlier run")}</li> : null}
    </ul>
  );
}

const Why = ({ words }: { words: string }): JSX.Element => <span class="why dim">: {words}</span>;

function Remarks({ data }: { data: CostAnalysis }): JSX.Element | null {
  const flags = data.expected_false_flags;
  const lines = [
    data.savers?.length ? `Cheaper than usual: ${data.savers.join(", ")}.` : "",
    data.silent_agents?.length ? `No priced run in the last ${currentOf(data.window)}: ${data.silent_agents.map((agent) => agent.agent_id).join(", ")}.` : "",
    flags && decimal(flags.spec) !== decimal(0) ? `Expected false alarms with this many agents: ${decimal(flags.spec)} by the z rule, ${decimal(flags.robust)} by the robust rule.` : "",
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
