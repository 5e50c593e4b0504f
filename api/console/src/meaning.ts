/** The words of the signal catalogue, and the presentation of the values that bodies hold. */
import { count, decimal, plural, span, words } from "./format";
import type { Contributions, Pattern, PatternRun, RunSignals, Signal } from "./openapi";

export type Tone = "critical" | "warning" | "notice" | "good" | "plain";

export interface Label {
  words: string;
  tone: Tone;
}

export type Parameters = Record<string, unknown>;

/** The members of any snapshot that state what it was computed with. */
export interface Stated {
  parameters?: Parameters;
  extra_parameters?: Parameters;
}

/** Return `text` with each threshold's name in braces replaced by its value in `body`, or its default before there is a body. */
export function fill(text: string, signal: Signal, body: Stated | null | undefined): string {
  return text.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = body?.parameters?.[name] ?? body?.extra_parameters?.[name] ?? signal.thresholds.find((each) => each.name === name)?.default;
    return typeof value === "number" ? count(value) : String(value);
  });
}

export type Component = Signal["components"][number] & { name: keyof Contributions };

/** Return the components of the attention score, in the order of the sum. */
export const componentsOf = (signal: Signal | undefined): Component[] => (signal?.components ?? []) as Component[];

/** Return the weights that a queue states. */
export const weightsOf = (body: Stated | null): Contributions | undefined => body?.parameters?.["weights"] as Contributions | undefined;

/** Return the largest score that levels and weights allow. */
export function largestScore(components: Component[], weights: Contributions | undefined): number {
  const most = components.map(({ name, levels }) => (weights?.[name] ?? 0) * (levels.length ? Math.max(...levels.map((level) => level.score)) : 1));
  return most.reduce((sum, each) => sum + each, 0) || 1;
}

/** Contributions are rounded; levels are further apart than this. */
const TOLERANCE = 0.02;

/** Return the level that a component's contribution stands for, or the component's title where it has no level. */
export function levelOf(component: Component, contribution: number, weights: Contributions | undefined): Label {
  const score = contribution / (weights?.[component.name] ?? Number.NaN);
  const level = component.levels.find((each) => Math.abs(each.score - score) < TOLERANCE);
  return level ? { words: level.title, tone: levelTone(level.value) } : { words: component.title, tone: "notice" };
}

/** Return the title of a kind of item. */
export const kindTitle = (signal: Signal | undefined, kind: string): string => signal?.kinds.find((each) => each.name === kind)?.title ?? words(kind);

/** Return the rule of a kind of item, with the thresholds of `body`. */
export function ruleOf(signal: Signal | undefined, kind: string, body: Stated | null): string {
  const rule = signal?.kinds.find((each) => each.name === kind)?.rule;
  return signal && rule ? fill(rule, signal, body) : "";
}

/** Return the evidence of a pattern's entry, in a sentence. */
export function finding({ pattern_type: type, details }: Pattern, body: Stated): string {
  const depth = details.loop_depth ?? 0;
  switch (type) {
    case "retry_loop":
      return `${decimal(details.avg_retries)} retries per run; up to ${plural(details.max_step_retries ?? 0, "retry", "retries")} of one step.`;
    case "step_oscillation":
      return `Repeated back to back ${plural(details.oscillation_count ?? 0, "time")} in the worst run.`;
    case "tool_call_loop":
      // The depth is counted up to this.
      return `Used ${plural(depth, "time")}${depth === body.parameters?.["loop_window_steps"] ? " or more" : ""} in one trace.`;
    case "timeout_cascade":
      return `${plural(details.slow_step_count ?? 0, "slow step")} in the worst run, ${span(details.avg_duration_ms)} on average.`;
    default:
      return "";
  }
}

/** Return the evidence of one run of a pattern, in a sentence. */
export function evidence(row: NonNullable<RunSignals["patterns"]>[number]): string {
  const parts = [
    row.total_retries !== undefined && `${plural(row.total_retries, "retry", "retries")} in ${plural(row.retry_count ?? 0, "step")}`,
    row.oscillation_count !== undefined && `Repeated back to back ${plural(row.oscillation_count, "time")}`,
    row.loop_depth !== undefined && `Used ${plural(row.loop_depth, "time")} in one trace`,
    row.slow_step_count !== undefined && `${plural(row.slow_step_count, "slow step")}, ${span(row.avg_duration_ms)} on average`,
  ];
  return `${parts.filter(Boolean).join(", ")}.`;
}

export type Waste = Pick<PatternRun, "cycle" | "outcome_stable" | "after_error" | "wasted_ms" | "wasted_cost_usd" | "share_of_run">;

/** Return remarks on the repeats after the first use. */
export function remarks(waste: Waste): string[] {
  const found: string[] = [];
  if (waste.cycle) found.push(`Cycle of ${waste.cycle.skills.join(" → ")}, ${count(waste.cycle.repeats)} times`);
  if (waste.outcome_stable === true) found.push("All repeats had the same outcome");
  if (waste.outcome_stable === false) found.push("Outcomes differ: this may be polling");
  if (waste.after_error) found.push("Started after an error");
  return found;
}

export const VERDICTS: Record<string, Label> = {
  anomaly: { words: "Anomaly", tone: "critical" },
  saver: { words: "Cheaper", tone: "good" },
  normal: { words: "Normal", tone: "plain" },
  insufficient_data: { words: "Too few runs", tone: "plain" },
  cold_start: { words: "New agent", tone: "notice" },
};

const STATUSES: Record<string, Tone> = {
  succeeded: "good",
  failed: "critical",
  aborted: "warning",
  halted: "warning",
  retry: "notice",
  running: "plain",
  queued: "plain",
  pending_approval: "notice",
};
export const statusTone = (status: string | null): Tone => STATUSES[status ?? ""] ?? "plain";

const LEVEL_TONES: Record<string, Tone> = {
  NORMAL: "good", NEAR_THRESHOLD: "notice", AT_RISK: "warning", VIOLATED: "critical",
  OK: "good", SLOW: "notice", STALLED: "warning",
  FLOWING: "good", DEGRADED: "notice", MISSING: "warning",
  VERIFIED: "good", UNKNOWN: "plain", FAILED: "critical",
  "policy violation": "critical", incident: "warning",
};
export const levelTone = (level: string | null): Tone => LEVEL_TONES[level ?? ""] ?? "plain";
