import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ApiError, read, withQuery, type Problem } from "../api";
import { PATHS, STORED_MS, usePath, useSignal } from "../context";
import { count, decimal, money, plural, span, times, words } from "../format";
import { componentsOf, evidence, kindTitle, largestScore, levelOf, levelTone, ruleOf, statusTone, weightsOf } from "../meaning";
import { usePoll } from "../poll";
import { agentHref, type Route } from "../route";
import type { AttentionQueue, Patterns, Run, RunDetail, Step } from "../openapi";
import { ScoreBar } from "../ui/charts";
import { Chip, Empty, levelLabel, Panel, Time, Trouble, When } from "../ui/parts";
import { StepTable, Timeline } from "./timeline";
import { TriageState, TriageTools } from "./triage";
import { isSnoozed } from "./snoozing";
import { Withheld } from "./queue";
import { CopyButton } from "../ui/copy";
import { Explain } from "../ui/explain";
import { Trend } from "../ui/trend";

const PAGE = 200;
const LIVE_MS = 10_000;

/** One run: its properties, its signals and its steps. */
export function RunView({ route }: { route: Route }): JSX.Element {
  const path = withQuery(`/activity/runs/${encodeURIComponent(route.id)}`, { limit: PAGE });
  const allowed = usePath(path, "activity.threshold_signals");
  const polled = usePoll<RunDetail>(allowed, LIVE_MS);
  return (
    <article class="detail">
      <p class="crumbs">
        <a href="#/">Overview</a> <span aria-hidden="true">/</span> run
      </p>
      <header class="detail-head">
        <h1 class="id" tabIndex={-1}>
          {route.id}
        </h1>
        <CopyButton text={route.id} what="the run's id" />
        <CopyButton text={location.href} what="a link to this page" words="Copy link" />
      </header>
      {allowed === null ? <Withheld capability="activity.threshold_signals" /> : null}
      {polled.problem ? <Trouble problem={polled.problem} hasData={polled.data !== null} /> : null}
      {allowed === null ? null : <When polled={polled}>{(detail) => <Detail detail={detail} route={route} path={path} />}</When>}
    </article>
  );
}

function Detail({ detail, route, path }: { detail: RunDetail; route: Route; path: string }): JSX.Element {
  const more = useMoreSteps(path, detail);
  const steps = [...detail.steps, ...more.steps];
  const patterns = detail.signals.patterns ?? [];
  return (
    <>
      <Facts run={detail.run} />
      <div class="detail-grid">
        <Panel id="why" title="Signals">
          <Why detail={detail} />
        </Panel>
        <Panel id="steps" title="Steps" note={`${plural(steps.length, "step")}${more.next ? " so far" : ""} in ${plural(detail.traces_total, "trace")}`}>
          {steps.length ? (
            <>
              <Timeline steps={steps} startedAt={detail.run.started_at} patterns={patterns} axis={route.query.get("axis") === "order" ? "order" : "time"} />
              {more.problem ? <Trouble problem={more.problem} hasData /> : null}
              {more.next ? (
                <p class="panel-foot">
                  <button type="button" onClick={more.load} disabled={more.isLoading}>
                    Show more steps
                  </button>
                </p>
              ) : null}
              <details class="as-table">
                <summary>Show as a table</summary>
                <StepTable steps={steps} />
              </details>
            </>
          ) : (
            <Empty title="No steps recorded" tone="plain">
              Steps appear when they end. {detail.run.evidence_health === "MISSING" ? "The evidence of this run is missing." : ""}
            </Empty>
          )}
        </Panel>
      </div>
    </>
  );
}

function useMoreSteps(path: string, detail: RunDetail): { steps: Step[]; next: string | null; load: () => void; isLoading: boolean; problem: Problem | null } {
  const [pages, setPages] = useState<{ steps: Step[]; next: string | null; isLoading: boolean; problem: Problem | null }>({ steps: [], next: null, isLoading: false, problem: null });
  useEffect(() => setPages({ steps: [], next: null, isLoading: false, problem: null }), [path]);
  const next = pages.steps.length ? pages.next : detail.next_cursor;
  const load = (): void => {
    setPages((before) => ({ ...before, isLoading: true, problem: null }));
    read<RunDetail>(`${path}&cursor=${encodeURIComponent(next ?? "")}`).then(
      (answer) => setPages((before) => ({ steps: [...before.steps, ...(answer.body?.steps ?? [])], next: answer.body?.next_cursor ?? null, isLoading: false, problem: null })),
      (ex: unknown) => setPages((before) => ({ ...before, isLoading: false, problem: ex instanceof ApiError ? ex.problem : null })),
    );
  };
  return { ...pages, next, load };
}

function Fact({ name, children }: { name: string; children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Facts({ run }: { run: Run }): JSX.Element {
  return (
    <dl class="facts">
      <Fact name="Status">
        <Chip label={levelLabel(run.status, statusTone(run.status))} />
        {run.state === "LIVE" ? ", live" : ""}
      </Fact>
      <Fact name="Agent">{run.agent_id ? <a href={agentHref(run.agent_id)}>{run.agent_id}</a> : "unknown"}</Fact>
      <Fact name="Started">
        <Time at={run.started_at} focusable />
      </Fact>
      <Fact name={run.completed_at ? "Completed" : "Last heartbeat"}>
        <Time at={run.completed_at ?? run.last_seen_at} focusable />
      </Fact>
      <Fact name="Duration">{span(run.duration_ms)}</Fact>
      <Fact name="Cost">{money(run.estimated_cost_usd)}</Fact>
      <Fact name="Tokens">
        {run.input_tokens === null && run.output_tokens === null ? "–" : `${count(run.input_tokens)} in, ${count(run.output_tokens)} out`}
      </Fact>
      <Fact name="Risk">
        <Chip label={levelLabel(run.risk_level, levelTone(run.risk_level))} />
      </Fact>
      <Fact name="Latency">
        <Chip label={levelLabel(run.latency_bucket, levelTone(run.latency_bucket))} />
      </Fact>
      <Fact name="Evidence">
        <Chip label={levelLabel(run.evidence_health, levelTone(run.evidence_health))} />
      </Fact>
      <Fact name="Integrity">
        <Chip label={levelLabel(run.integrity_status, levelTone(run.integrity_status))} />
      </Fact>
      {run.policy_violation ? (
        <Fact name="Policy">
          <Chip label={{ words: "Violated", tone: "critical" }} />
        </Fact>
      ) : null}
      {run.incident_count ? <Fact name="Incidents">{count(run.incident_count)}</Fact> : null}
      <Fact name="Project">{run.project_id ?? "–"}</Fact>
      <Fact name="Provider">{run.provider_type ?? "–"}</Fact>
      <Fact name="Source">{run.source ?? "–"}</Fact>
      {run.is_synthetic ? <Fact name="Data">synthetic</Fact> : null}
    </dl>
  );
}

function Why({ detail }: { detail: RunDetail }): JSX.Element {
  const { attention, patterns, cost } = detail.signals;
  const signal = useSignal("patterns");
  const body = usePoll<Patterns>(usePath(PATHS.patterns, "activity.patterns"), STORED_MS).data;
  const isNowhere = !attention && !patterns?.length && !cost?.is_anomaly && detail.signals_withheld.length === 0;
  return (
    <>
      {isNowhere ? <Empty title="This run is in no signal" /> : null}
      {attention ? <Attention detail={detail} /> : null}
      {patterns?.map((pattern) => (
        <div class="reason" key={`${pattern.pattern_type} ${pattern.skill_id}`}>
          <h3>
            {kindTitle(signal, pattern.pattern_type)}
            {pattern.skill_id ? <code>{pattern.skill_id}</code> : null}
            <span class="dim">rank {pattern.rank} in this tenant</span>
          </h3>
          <p>{evidence(pattern)}</p>
          <p class="dim">Rule: {ruleOf(signal, pattern.pattern_type, body)}</p>
        </div>
      ))}
      {cost ? (
        <div class="reason">
          <h3>
            Cost of <a href={agentHref(cost.agent_id)}>{cost.agent_id}</a>
            <Chip label={cost.is_anomaly ? { words: "Anomaly", tone: "critical" } : { words: "Normal", tone: "plain" }} />
          </h3>
          <p>
            {money(cost.current_avg_cost)} per run now, {cost.baseline_avg === null ? "no baseline" : `usually ${money(cost.baseline_avg)}`}, z-score {decimal(cost.z_score)}.
            {detail.run.estimated_cost_usd && cost.baseline_avg ? ` This run: ${money(detail.run.estimated_cost_usd)}, ${times(detail.run.estimated_cost_usd / cost.baseline_avg)} the usual.` : ""}
          </p>
        </div>
      ) : null}
      {detail.signals_withheld.length ? <p class="dim">Not allowed with this key: {detail.signals_withheld.map(words).join(", ")}.</p> : null}
    </>
  );
}

function Attention({ detail }: { detail: RunDetail }): JSX.Element | null {
  const queue = usePoll<AttentionQueue>(usePath(PATHS.attentionWhole, "activity.attention_queue"), STORED_MS).data;
  const components = componentsOf(useSignal("attention"));
  const weights = weightsOf(queue);
  const { attention } = detail.signals;
  if (!attention) return null;
  const item = queue?.queue.find((each) => each.run_id === detail.run.run_id);
  return (
    <div class="reason">
      <h3>
        Needs attention <span class="dim">{placeOf(attention.rank, queue)}</span>
      </h3>
      <p class="score-line">
        <span class="score">{attention.attention_score.toFixed(2)}</span>
        <ScoreBar contributions={attention.contributions} score={attention.attention_score} components={components} most={largestScore(components, weights)} />
      </p>
      <ul class="parts">
        {components
          .filter(({ name }) => attention.contributions[name] > 0)
          .map((component) => {
            const { name, title, code, levels } = component;
            return (
              <li key={name}>
                <i class={`part-${name}`}>{code}</i>
                <span>{levels.length && weights ? `${title}: ${levelOf(component, attention.contributions[name], weights).words.toLowerCase()}` : title}</span>
                <span class="number">{attention.contributions[name].toFixed(3)}</span>
              </li>
            );
          })}
      </ul>
      {item ? (
        <>
          <Trend signal="attention" item={item} value={item.attention_score} format={(value) => value.toFixed(2)} />
          <Explain item={item} />
          <TriageState triage={item.triage} />
          <TriageTools item={item} name={item.run_id} />
        </>
      ) : null}
    </div>
  );
}

/** Return the position of a run in the queue. As in the overview, snoozed runs are not counted. */
function placeOf(rank: number, queue: AttentionQueue | null): string {
  const before = queue?.queue.filter((item) => item.rank < rank && isSnoozed(item)).length ?? 0;
  return before ? `position ${rank - before} in the queue, without ${count(before)} snoozed` : `position ${rank} in the queue`;
}
