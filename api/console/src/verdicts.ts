/** Why an agent's cost got its verdicts: one short line for each rule, from the numbers and the thresholds of the answer. */
import { count, decimal, money, times } from "./format";
import type { AgentCost, CostAnalysis, Robust } from "./types";

type Stated = Pick<CostAnalysis, "parameters" | "extra_parameters">;

/** The defaults of the definition and of the robust rule, for answers that do not state them. */
const Z_THRESHOLD = 2;
const ROBUST_SCORE = 3.5;
const MIN_RUNS = 20;
const MIN_EFFECT_PERCENT = 50;

function stated(parameters: Record<string, number | string | boolean> | undefined, name: string, fallback: number): number {
  const value = Number(parameters?.[name]);
  return Number.isFinite(value) ? value : fallback;
}

/** Return why the definition's rule says what it says. */
export function specReason(agent: AgentCost, { parameters }: Stated): string {
  if (agent.baseline_avg_usd === null) return "no run with a cost completed in the six days before";
  const threshold = stated(parameters, "z_threshold", Z_THRESHOLD);
  const isAbove = agent.baseline_p95_usd !== null && agent.current_cost_usd > agent.baseline_p95_usd;
  const z = `z ${decimal(agent.z_score)} is ${agent.z_score > threshold ? "above" : "at most"} ${threshold}`;
  const p95 = `${money(agent.current_cost_usd)} is ${isAbove ? "above" : "within"} the usual 95 %, ${money(agent.baseline_p95_usd)}`;
  return isAbove === agent.z_score > threshold ? `${z}, and ${p95}` : `${z}, but ${p95}`;
}

type Reason = (robust: Robust, parameters: Stated["extra_parameters"]) => string;

const typical = (robust: Robust): string => `the typical run costs ${times(robust.ratio)} the usual`;
const beyond: Reason = (robust, parameters) => {
  const cut = stated(parameters, "robust_score", ROBUST_SCORE);
  return robust.score === null ? `${typical(robust)}, which never varied` : `${typical(robust)}, score ${decimal(robust.score)} beyond ±${cut}`;
};

const REASONS: Record<string, Reason> = {
  no_baseline: () => "no run of the six days before has a cost above 0",
  few_baseline_runs: (robust, parameters) => `${count(robust.n_baseline)} priced runs before, ${stated(parameters, "min_runs", MIN_RUNS)} are needed`,
  no_priced_run: () => "no run of the last day has a cost above 0",
  within_variation: (robust, parameters) => `${typical(robust)}, score ${decimal(robust.score)} within ±${stated(parameters, "robust_score", ROBUST_SCORE)}`,
  small_ratio: (robust, parameters) => `${typical(robust)}; ${times(1 + stated(parameters, "min_effect_percent", MIN_EFFECT_PERCENT) / 100)} counts`,
  small_effect: (robust, parameters) => `the day's bill changed by ${money(robust.effect_usd)}; ${money(stated(parameters, "min_effect_usd", 0))} counts`,
  costlier: beyond,
  cheaper: beyond,
};

/** Return why the robust rule says what it says. */
export const robustReason = (robust: Robust, { extra_parameters }: Stated): string => REASONS[robust.reason]?.(robust, extra_parameters) ?? robust.reason;

/** Tell whether the two rules say opposite things, so that a reader needs to know why. */
export const disagree = (agent: AgentCost): boolean => Boolean(agent.robust) && agent.is_anomaly !== (agent.robust?.verdict === "anomaly");
