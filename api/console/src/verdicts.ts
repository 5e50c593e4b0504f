/** Reasons of an agent's verdicts: one short line per rule, from the numbers and the thresholds of the body. */
import { count, decimal, money, times } from "./format";
import type { Parameters } from "./meaning";
import type { AgentCost, CostAnalysis, RobustVerdict } from "./openapi";

type Body = Pick<CostAnalysis, "parameters" | "extra_parameters">;

const HOUR_MS = 3_600_000;

/** Return the length of the current window, milliseconds. */
export const currentMsOf = (window: CostAnalysis["window"]): number => Date.parse(window.current_end) - Date.parse(window.current_start);

/** Return the length of the current window in hours, as text. */
export const currentOf = (window: CostAnalysis["window"]): string => `${count(currentMsOf(window) / HOUR_MS)} h`;

/** Return the reason of the z rule's verdict. */
export function specReason(agent: AgentCost, body: Body): string {
  const { baseline_p95_usd: p95, z_score: z } = agent;
  if (agent.baseline_avg_usd === null) return "no run with a cost completed in the baseline window";
  const threshold = Number(body.parameters["z_threshold"]);
  const isCostly = p95 !== null && agent.current_cost_usd > p95;
  const cost = `${isCostly ? "above" : "within"} the 95th percentile (${money(p95)})`;
  const deviation = `z ${decimal(z)} is ${z > threshold ? "over" : z === threshold ? "equal to" : "under"} ${threshold}`;
  return isCostly === z > threshold ? `${cost} and ${deviation}` : `${cost}; ${deviation}`;
}

const typical = (robust: RobustVerdict): string => `the median run costs ${times(robust.ratio)} the usual`;

type Reason = (robust: RobustVerdict, stated: (name: string) => number) => string;

const beyond: Reason = (robust, stated) =>
  robust.score === null ? `${typical(robust)}; costs never varied before` : `${typical(robust)}; score ${decimal(robust.score)} is beyond ±${stated("robust_score")}`;

const REASONS: Record<RobustVerdict["reason"], Reason> = {
  no_baseline: () => "no run with a cost above 0 in the baseline window",
  few_baseline_runs: (robust, stated) => `${count(robust.n_baseline)} priced runs in the baseline window; ${stated("min_runs")} are needed`,
  no_priced_run: () => "no run with a cost above 0 in the current window",
  within_variation: (robust, stated) => `${typical(robust)}; score ${decimal(robust.score)} is within ±${stated("robust_score")}`,
  small_ratio: (robust, stated) => `${typical(robust)}; the minimum is ${times(1 + stated("min_effect_percent") / 100)}`,
  small_effect: (robust, stated) => `total cost changed by ${money(robust.effect_usd)}; the minimum is ${money(stated("min_effect_usd"))}`,
  costlier: beyond,
  cheaper: beyond,
};

/** Return the reason of the robust rule's verdict. */
export function robustReason(robust: RobustVerdict, { extra_parameters }: Body): string {
  const parameters: Parameters = extra_parameters ?? {};
  return REASONS[robust.reason](robust, (name) => Number(parameters[name]));
}

/** Tell whether the two rules disagree, so that a reader needs the reasons. */
export const disagree = (agent: AgentCost): boolean => Boolean(agent.robust) && agent.is_anomaly !== (agent.robust?.verdict === "anomaly");
