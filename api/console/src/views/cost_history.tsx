import { scaleLinear, scaleUtc } from "d3-scale";
import type { JSX } from "preact";
import { now } from "../api";
import { local, money, times } from "../format";
import { runHref } from "../route";
import type { AgentCost, CostAnalysis, Run } from "../openapi";
import { useWidth } from "../ui/charts";
import { Empty, Name } from "../ui/parts";
import { currentMsOf, currentOf } from "../verdicts";

const DAY_MS = 86_400_000;
/** Days that the chart shows. */
export const SHOWN_DAYS = 7;
const HEIGHT = 260;
/** Labels stand right of the plot and above it, where there are no dots. */
const MARGIN = { top: 26, right: 46, bottom: 26, left: 56 };
/** Labels of lines that are closer than this would overlap, pixels. */
const LINE_HEIGHT = 14;

interface CostHistoryProps {
  runs: Run[];
  agent: AgentCost | undefined;
  window: CostAnalysis["window"] | undefined;
}

/** The cost of each run over the days, with the usual average and 95th percentile. */
export function CostHistory({ runs, agent, window }: CostHistoryProps): JSX.Element {
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
      <svg width={width} height={HEIGHT} role="img" aria-label={`Cost of ${priced.length} runs over ${SHOWN_DAYS} days, from ${money(Math.min(...priced.map((run) => run.estimated_cost_usd ?? 0)))} to ${money(most)}; the table below has the latest.`}>
        {window ? (
          <>
            <rect class="today" x={x(present - currentMsOf(window))} width={x(present) - x(present - currentMsOf(window))} y={MARGIN.top} height={HEIGHT - MARGIN.top - MARGIN.bottom} />
            <text class="today-word" x={x(present)} y={MARGIN.top - 9} text-anchor="end">
              last {currentOf(window)}
            </text>
          </>
        ) : null}
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
        {levelsOf(agent, y).map((level) => (
          <Level key={level.kind} level={level} width={width} />
        ))}
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
          <span class="dim">Outlier runs:</span>
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

interface LevelLine {
  y: number;
  nameY: number;
  name: string;
  kind: "mean" | "p95";
}

/** Return the lines of average and 95th percentile, with labels that do not overlap. */
function levelsOf(agent: AgentCost | undefined, y: (usd: number) => number): LevelLine[] {
  const mean = agent?.baseline_avg_usd ? y(agent.baseline_avg_usd) : null;
  const p95 = agent?.baseline_p95_usd ? y(agent.baseline_p95_usd) : null;
  // A few expensive runs can lift the mean above the 95th percentile.
  const sign = mean !== null && p95 !== null && mean < p95 ? -1 : 1;
  const push = mean === null || p95 === null ? 0 : (sign * Math.max(0, LINE_HEIGHT - Math.abs(mean - p95))) / 2;
  const lines: LevelLine[] = [];
  if (mean !== null) lines.push({ y: mean, nameY: mean + push, name: "usual", kind: "mean" });
  if (p95 !== null) lines.push({ y: p95, nameY: p95 - push, name: "p95", kind: "p95" });
  return lines;
}

function Level({ level, width }: { level: LevelLine; width: number }): JSX.Element {
  const end = width - MARGIN.right;
  return (
    <g class={`level level-${level.kind}`}>
      <line x1={MARGIN.left} x2={end} y1={level.y} y2={level.y} />
      <text x={end + 6} y={level.nameY + 4}>
        {level.name}
      </text>
    </g>
  );
}
