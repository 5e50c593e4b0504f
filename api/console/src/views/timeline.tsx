import { scaleLinear } from "d3-scale";
import type { JSX } from "preact";
import { money, plural, span, words } from "../format";
import { useSignal } from "../context";
import { kindTitle } from "../meaning";
import { setQuery } from "../route";
import type { RunSignals, Step } from "../openapi";
import { Shape, Time, Toggles } from "../ui/parts";

type RunPattern = NonNullable<RunSignals["patterns"]>[number];

interface Placed {
  step: Step;
  /** Start and end of the bar on the axis, percent. */
  from: number;
  to: number;
  /** Whether the previous step used the same skill. */
  again: boolean;
}

interface Lane {
  skill: string;
  name: string;
  placed: Placed[];
}

interface TimelineProps {
  steps: Step[];
  startedAt: string | null;
  patterns: RunPattern[];
  /** By time, or with one unit per step. */
  axis: "time" | "order";
}

const skillOf = (step: Step): string => step.skill_id ?? "unknown";
const isFailed = (step: Step): boolean => step.outcome_category === "FAILURE" || step.status === "failed";

/** The steps of a run: one lane per skill, in the order of first use. */
export function Timeline({ steps, startedAt, patterns, axis }: TimelineProps): JSX.Element {
  const hasTimes = steps.every((step) => step.timestamp !== null);
  const byTime = axis === "time" && hasTimes;
  const scale = byTime ? timeScale(steps, startedAt) : orderScale(steps);
  const lanes = lanesOf(steps, scale);
  return (
    <div class="timeline">
      <div class="timeline-tools">
        <Toggles
          name="Axis"
          chosen={[byTime ? "time" : "order"]}
          options={hasTimes ? [["time", "By time"], ["order", "By order"]] : [["order", "By order"]]}
          onChange={(chosen) => setQuery({ axis: chosen.includes("order") && byTime ? "order" : null })}
        />
        <ul class="legend">
          <li>
            <i class="key-step" /> step
          </li>
          <li>
            <i class="key-step is-slow" /> slow
          </li>
          <li>
            <i class="key-step is-failed" /> ✕ failed
          </li>
          <li>↻ retries</li>
          <li>
            <i class="key-again" /> repeated back to back
          </li>
        </ul>
      </div>
      <div class="lanes" role="img" aria-label={described(lanes)}>
        <div class="lane axis" aria-hidden="true">
          <span />
          <span class="track">
            {scale.ticks.map((tick) => (
              <i key={tick.at} class="tick" style={{ left: `${tick.at}%` }}>
                <span>{tick.words}</span>
              </i>
            ))}
          </span>
        </div>
        {lanes.map((lane) => (
          <LaneRow key={lane.skill} lane={lane} ticks={scale.ticks} patterns={patterns} />
        ))}
      </div>
    </div>
  );
}

interface Scale {
  from: (step: Step, index: number) => number;
  to: (step: Step, index: number) => number;
  ticks: { at: number; words: string }[];
}

function timeScale(steps: Step[], startedAt: string | null): Scale {
  const begins = steps.map((step) => Date.parse(step.timestamp ?? ""));
  const first = Math.min(...begins, startedAt ? Date.parse(startedAt) : Infinity);
  const last = Math.max(...steps.map((step, index) => (begins[index] ?? 0) + (step.duration_ms ?? 0)), first + 1);
  const x = scaleLinear([first, last], [0, 100]);
  const elapsed = scaleLinear([0, last - first], [0, 100]);
  const ticks = secondTicks(last - first).map((ms) => ({ at: elapsed(ms), words: ms === 0 ? "0" : span(ms) }));
  return {
    from: (step) => x(Date.parse(step.timestamp ?? "")),
    to: (step) => x(Date.parse(step.timestamp ?? "") + (step.duration_ms ?? 0)),
    ticks,
  };
}

/** Return the ticks of an axis that is `totalMs` long. */
function secondTicks(totalMs: number): number[] {
  const sizes = [100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000, 14_400_000, 86_400_000];
  const size = sizes.find((each) => totalMs / each <= 6) ?? totalMs / 5;
  return Array.from({ length: Math.floor(totalMs / size) + 1 }, (_, index) => index * size);
}

function orderScale(steps: Step[]): Scale {
  const x = scaleLinear([0, Math.max(1, steps.length)], [0, 100]);
  const every = Math.max(1, Math.ceil(steps.length / 10));
  const ticks = steps.map((_, index) => index).filter((index) => index % every === 0);
  return { from: (_, index) => x(index + 0.1), to: (_, index) => x(index + 0.9), ticks: ticks.map((index) => ({ at: x(index), words: `${index + 1}` })) };
}

function lanesOf(steps: Step[], scale: Scale): Lane[] {
  const lanes = new Map<string, Lane>();
  steps.forEach((step, index) => {
    const skill = skillOf(step);
    const lane = lanes.get(skill) ?? { skill, name: step.skill_name ?? skill, placed: [] };
    const before = steps[index - 1];
    lane.placed.push({ step, from: scale.from(step, index), to: scale.to(step, index), again: before !== undefined && skillOf(before) === skill });
    lanes.set(skill, lane);
  });
  return [...lanes.values()];
}

function described(lanes: Lane[]): string {
  return lanes
    .map((lane) => {
      const found = [
        plural(lane.placed.length, "step"),
        ...[
          [lane.placed.filter(({ step }) => step.is_slow).length, "slow"],
          [lane.placed.filter(({ step }) => isFailed(step)).length, "failed"],
          [lane.placed.filter(({ again }) => again).length, "repeated back to back"],
          [lane.placed.reduce((sum, { step }) => sum + (step.retry_count ?? 0), 0), "retries"],
        ].flatMap(([amount, what]) => (amount ? [`${amount} ${what}`] : [])),
      ];
      return `${lane.name}: ${found.join(", ")}`;
    })
    .join(". ");
}

function LaneRow({ lane, ticks, patterns }: { lane: Lane; ticks: Scale["ticks"]; patterns: RunPattern[] }): JSX.Element {
  const signal = useSignal("patterns");
  const tags = patterns.filter((pattern) => pattern.skill_id === lane.skill).map((pattern) => kindTitle(signal, pattern.pattern_type));
  return (
    <div class="lane">
      <span class="lane-name">
        <span title={lane.skill}>{lane.name}</span>
        {lane.placed.length > 1 ? <small>×{lane.placed.length}</small> : null}
        {tags.map((tag) => (
          <span key={tag} class="tag">
            {tag}
          </span>
        ))}
      </span>
      <span class="track">
        {ticks.map((tick) => (
          <i key={tick.at} class="grid-line" style={{ left: `${tick.at}%` }} />
        ))}
        {lane.placed.map((placed, index) => {
          const before = lane.placed[index - 1];
          return placed.again && before ? <i key={`again ${index}`} class="again" style={{ left: `${before.to}%`, width: `${Math.max(0, placed.from - before.to)}%` }} /> : null;
        })}
        {lane.placed.map((placed, index) => (
          <Bar key={index} placed={placed} />
        ))}
      </span>
    </div>
  );
}

function Bar({ placed }: { placed: Placed }): JSX.Element {
  const { step, from, to } = placed;
  const marks = [isFailed(step) ? "✕" : "", step.retry_count ? `↻${step.retry_count}` : "", step.is_slow ? span(step.duration_ms) : ""].filter(Boolean).join(" ");
  const kinds = `${step.is_slow ? "is-slow" : ""} ${isFailed(step) ? "is-failed" : ""}`;
  const label = `#${step.step_index ?? "?"} ${step.skill_name ?? skillOf(step)}: ${span(step.duration_ms)}, ${words(step.status).toLowerCase()}${step.outcome_code ? ` (${step.outcome_code})` : ""}`;
  return (
    <>
      <i class={`step ${kinds}`} style={{ left: `${from}%`, width: `${to - from}%` }} title={label} />
      {marks ? (
        <b class={`mark ${from > 70 ? "before" : ""}`} style={from > 70 ? { right: `${100 - from}%` } : { left: `${to}%` }}>
          {marks}
        </b>
      ) : null}
    </>
  );
}

/** The steps as a table. */
export function StepTable({ steps }: { steps: Step[] }): JSX.Element {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Step table">
      <table>
        <thead>
          <tr>
            <th scope="col" class="number">#</th>
            <th scope="col">Skill</th>
            <th scope="col">Outcome</th>
            <th scope="col" class="number">Duration</th>
            <th scope="col" class="number">Retries</th>
            <th scope="col" class="number">Cost</th>
            <th scope="col">Time</th>
          </tr>
        </thead>
        <tbody>
          {steps.map((step, index) => (
            <tr key={index}>
              <td class="number">{step.step_index ?? "–"}</td>
              <th scope="row">{step.skill_name ?? skillOf(step)}</th>
              <td>
                <Shape tone={isFailed(step) ? "critical" : "good"} /> {words(step.status)}
                {step.outcome_code ? ` (${step.outcome_code})` : ""}
              </td>
              <td class="number">
                {span(step.duration_ms)}
                {step.is_slow ? " slow" : ""}
              </td>
              <td class="number">{step.retry_count || "–"}</td>
              <td class="number">{step.cost_cents === null ? "–" : money(step.cost_cents / 100)}</td>
              <td>
                <Time at={step.timestamp} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
