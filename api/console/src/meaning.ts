/** What the signals mean, in words: the levels behind a contribution, and what each pattern found. */
import { count, decimal, plural, span } from "./format";
import type { Component, Contributions, Pattern, SignalName, Waste } from "./types";

export type Tone = "critical" | "warning" | "notice" | "good" | "plain";

export interface Label {
  words: string;
  tone: Tone;
}

/** The scores of each component, from the definition: `docs/signals.md`. */
const LEVELS: Record<Component, [number, Label][]> = {
  risk: [
    [1, { words: "Violated", tone: "critical" }],
    [0.8, { words: "At risk", tone: "warning" }],
    [0.5, { words: "Near threshold", tone: "notice" }],
  ],
  impact: [
    [0.8, { words: "Policy violation", tone: "critical" }],
    [0.6, { words: "Incident", tone: "warning" }],
  ],
  latency: [
    [1, { words: "Stalled", tone: "warning" }],
    [0.5, { words: "Slow", tone: "notice" }],
  ],
  evidence: [
    [1, { words: "Evidence missing", tone: "warning" }],
    [0.5, { words: "Evidence degraded", tone: "notice" }],
  ],
  recency: [],
};

export const COMPONENT_WORDS: Record<Component, string> = {
  risk: "Risk",
  impact: "Impact",
  latency: "Latency",
  recency: "Recency",
  evidence: "Evidence",
};

/** Two letters for each component, where a word has no room. */
export const COMPONENT_CODES: Record<Component, string> = { risk: "Ri", impact: "Im", latency: "La", recency: "Re", evidence: "Ev" };

/** The weights that the definition froze, for answers that do not state them. */
export const WEIGHTS: Contributions = { risk: 0.35, impact: 0.25, latency: 0.15, recency: 0.15, evidence: 0.1 };
/** The largest score that the definition allows. */
export const MOST = 0.95;

/** Return the level that a component's contribution stands for. */
export function levelOf(component: Component, contribution: number, weights: Contributions = WEIGHTS): Label {
  const score = weights[component] > 0 ? contribution / weights[component] : 0;
  const found = LEVELS[component].find(([level]) => Math.abs(score - level) < 0.02);
  return found ? found[1] : { words: COMPONENT_WORDS[component], tone: "notice" };
}

export const SIGNAL_WORDS: Record<SignalName, string> = { attention: "Attention", patterns: "Patterns", cost: "Cost" };

export const PATTERN_WORDS: Record<string, string> = {
  retry_loop: "Retry loop",
  step_oscillation: "Repeated step",
  tool_call_loop: "Tool-call loop",
  timeout_cascade: "Timeout cascade",
};

/** What each pattern is, in a sentence. */
export const PATTERN_RULES: Record<string, string> = {
  retry_loop: "The retries of all steps of a run add up to 3 or more.",
  step_oscillation: "The same skill follows itself, 3 times or more in a run.",
  tool_call_loop: "One trace uses the same skill 3 times or more, at any distance.",
  timeout_cascade: "Two or more steps of a run were slow.",
};

type Details = Record<string, unknown>;
const number = (details: Details, name: string): number | null => (typeof details[name] === "number" ? (details[name] as number) : null);

/** Return what a pattern's entry found, in a sentence. */
export function finding(pattern: Pattern): string {
  const { details } = pattern;
  switch (pattern.pattern_type) {
    case "retry_loop":
      return `${decimal(number(details, "avg_retries"))} retries per run; one step up to ${plural(number(details, "max_step_retries") ?? 0, "time")}.`;
    case "step_oscillation":
      return `Followed itself ${plural(number(details, "oscillation_count") ?? 0, "time")} in the strongest run.`;
    case "tool_call_loop":
      return `Used ${plural(number(details, "loop_depth") ?? 0, "time")} in one trace${number(details, "loop_depth") === 5 ? " or more" : ""}.`;
    case "timeout_cascade":
      return `${plural(number(details, "slow_step_count") ?? 0, "slow step")}, ${span(number(details, "avg_duration_ms"))} each on average.`;
    default:
      return "";
  }
}

/** Return what a run's row of a pattern found. */
export function evidence(row: Details): string {
  const parts = [
    number(row, "total_retries") !== null && `${plural(number(row, "total_retries") ?? 0, "retry", "retries")} over ${plural(number(row, "retry_count") ?? 0, "step")}`,
    number(row, "oscillation_count") !== null && `followed itself ${plural(number(row, "oscillation_count") ?? 0, "time")}`,
    number(row, "loop_depth") !== null && `used ${plural(number(row, "loop_depth") ?? 0, "time")} in one trace`,
    number(row, "slow_step_count") !== null && `${plural(number(row, "slow_step_count") ?? 0, "slow step")}, ${span(number(row, "avg_duration_ms"))} each`,
  ];
  return parts.filter(Boolean).join(", ");
}

/** Return what the repeats beyond the first say, where the API tells. */
export function remarks(waste: Waste): string[] {
  const found: string[] = [];
  if (waste.cycle) found.push(`Cycle of ${waste.cycle.skills.join(" → ")}, ${count(waste.cycle.repeats)} times`);
  if (waste.outcome_stable === true) found.push("Every repeat ended alike");
  if (waste.outcome_stable === false) found.push("Outcomes vary: it may be polling");
  if (waste.after_error) found.push("Began after an error");
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
};
export const levelTone = (level: string | null): Tone => LEVEL_TONES[level ?? ""] ?? "plain";
