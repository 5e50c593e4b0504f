/** The bodies of the API as the console reads them. What an API without an extra leaves out is optional here. */

export interface Session {
  tenant_id: string;
  capabilities: string[];
  valid_until: string | null;
}

export interface Provenance {
  as_of: string;
  computed_at: string;
  version: number;
  rule_version: string;
  stale_after: string | null;
  next_refresh_at: string | null;
  verified_at: string;
}

export interface Freshness {
  signals: SignalAge[];
}

export interface SignalAge {
  signal: SignalName;
  as_of: string | null;
  verified_at: string | null;
  age_s: number | null;
  stale_after: string | null;
  next_refresh_at: string | null;
  stale: boolean;
  failing?: boolean;
  last_attempt: { state: string; error_class: string | null; finished_at: string | null } | null;
}

export type SignalName = "patterns" | "cost" | "attention";

export type Move = "entered" | "rose" | "fell" | "same";

/** What the API adds to each item of a snapshot, where it follows their movement. */
export interface Followed {
  fingerprint?: string;
  movement?: { first_seen_at: string | null; refreshes_present: number | null; since_previous: Move | null; since_24h: Move | null } | null;
  triage?: Triage | null;
}

export interface Triage {
  state: "acknowledged" | "snoozed" | "expected";
  until: string | null;
  reason: string | null;
  comment: string | null;
  actor: string | null;
  at: string;
}

export interface Left {
  movement?: { left_since_previous?: { fingerprint: string; key: unknown }[]; left_24h?: { fingerprint: string; key: unknown }[] };
  snoozed_hidden?: number;
  snapshot: Provenance;
}

export const COMPONENTS = ["risk", "impact", "latency", "recency", "evidence"] as const;
export type Component = (typeof COMPONENTS)[number];
export type Contributions = Record<Component, number>;

export interface AttentionItem extends Followed {
  run_id: string;
  attention_score: number;
  reasons: string[];
  state: string | null;
  status: string | null;
  started_at: string | null;
  contributions: Contributions;
  rank: number;
  abandoned: boolean;
  links?: {
    patterns: { pattern_type: string; skill_id: string | null }[];
    cost: { agent_id: string; is_anomaly: boolean; robust_verdict: string | null } | null;
  };
}

export interface AttentionQueue extends Left {
  queue: AttentionItem[];
  total_attention_items: number;
  abandoned_items: number;
  generated_at: string;
  parameters: { weights: Contributions; abandoned_after_hours: number };
}

export interface Waste {
  cycle?: { period: number; repeats: number; skills: string[] } | null;
  density?: number | null;
  outcome_stable?: boolean | null;
  after_error?: boolean | null;
  wasted_ms?: number | null;
  wasted_cost_usd?: number | null;
  share_of_run?: number | null;
}

export interface PatternRun extends Waste {
  run_id: string;
  [name: string]: unknown;
}

export interface Pattern extends Followed, Waste {
  pattern_type: string;
  run_ids: string[];
  count: number;
  confidence: number;
  details: Record<string, number | string | null>;
  runs: PatternRun[];
}

export interface Patterns extends Left {
  window: { start: string; end: string };
  patterns: Pattern[];
  by_skill?: {
    skill_id: string | null;
    pattern_types: string[];
    run_count: number;
    run_ids: string[];
    wasted_ms: number | null;
    wasted_cost_usd: number | null;
  }[];
  parameters: Record<string, number | boolean>;
}

export interface Robust {
  method: string;
  n_baseline: number;
  n_current: number;
  median_usd: number | null;
  mad_usd: number | null;
  ratio: number | null;
  effect_usd: number | null;
  score: number | null;
  verdict: "normal" | "anomaly" | "saver" | "insufficient_data" | "cold_start";
  reason: string;
}

export interface AgentCost extends Followed {
  agent_id: string;
  current_cost_usd: number;
  baseline_avg_usd: number | null;
  baseline_p95_usd: number | null;
  z_score: number;
  is_anomaly: boolean;
  run_count: number;
  total_cost_usd: number;
  baseline_run_count: number;
  robust?: Robust | null;
  spike_runs?: { run_id: string; cost_usd: number; ratio: number }[];
  volume_ratio?: number | null;
}

export interface CostAnalysis extends Left {
  window: Record<string, string>;
  agents: AgentCost[];
  total_anomalies: number;
  total_cost_usd: number;
  savers?: string[];
  silent_agents?: { agent_id: string; baseline_runs: number; last_run_at: string | null }[];
  expected_false_flags?: { spec: number | null; robust: number | null };
  extra_parameters?: Record<string, number | string>;
  parameters: Record<string, number | boolean>;
}

export interface StatusSummary {
  summary: Record<string, number>;
  near_threshold_count: number;
  total: number;
}

export interface Dimension {
  dimension: string;
  state: string;
  buckets: { key: string; count: number }[];
  total_runs: number;
  other_runs: number;
}

export interface Run {
  run_id: string;
  agent_id: string | null;
  project_id: string | null;
  source: string | null;
  provider_type: string | null;
  state: string | null;
  status: string | null;
  started_at: string | null;
  last_seen_at: string | null;
  completed_at: string | null;
  duration_ms: number | null;
  risk_level: string | null;
  latency_bucket: string | null;
  evidence_health: string | null;
  integrity_status: string | null;
  incident_count: number | null;
  policy_draft_count: number | null;
  policy_violation: boolean | null;
  input_tokens: number | null;
  output_tokens: number | null;
  estimated_cost_usd: number | null;
  is_synthetic: boolean | null;
}

export interface RunList {
  items: Run[];
  has_more: boolean;
  next_cursor: string | null;
}

export interface Step {
  trace_id: string;
  step_index: number | null;
  skill_id: string | null;
  skill_name: string | null;
  status: string | null;
  outcome_category: string | null;
  outcome_code: string | null;
  duration_ms: number | null;
  retry_count: number | null;
  cost_cents: number | null;
  timestamp: string | null;
  is_slow: boolean;
}

export interface RunPattern extends Waste {
  pattern_type: string;
  rank: number;
  skill_id: string | null;
  [name: string]: unknown;
}

export interface RunDetail {
  run: Run;
  traces: { trace_id: string; started_at: string | null; step_count: number }[];
  traces_total: number;
  steps: Step[];
  has_more: boolean;
  next_cursor: string | null;
  signals: {
    patterns: RunPattern[] | null;
    attention: { rank: number; attention_score: number; contributions: Contributions; reasons: string[] } | null;
    cost: { agent_id: string; rank: number; z_score: number; is_anomaly: boolean; current_avg_cost: number; baseline_avg: number | null } | null;
    as_of: Record<string, string | null>;
  };
  signals_withheld: string[];
}

export interface Change {
  cursor: string;
  at: string;
  signal: SignalName;
  kind: "entered" | "left" | "rose" | "fell" | "worsened";
  fingerprint: string;
  key: { run_id?: string; agent_id?: string; pattern_type?: string; skill_id?: string | null };
  rank: number | null;
  previous_rank: number | null;
  value: number | null;
  previous_value: number | null;
}

export interface ChangeList {
  changes: Change[];
  next_cursor: string;
  has_more: boolean;
}

export interface Problem {
  status: number;
  error: string;
  title: string;
  detail: string;
  request_id: string | null;
  retry_after_s: number | null;
}
