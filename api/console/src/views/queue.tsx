import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { PATHS, STORED_MS, usePage, usePath } from "../context";
import { count, plural } from "../format";
import { COMPONENT_CODES, COMPONENT_WORDS, levelOf, PATTERN_WORDS, statusTone, WEIGHTS } from "../meaning";
import { usePoll } from "../poll";
import { agentHref, listed, runHref, setQuery, type Route } from "../route";
import { COMPONENTS, type AttentionItem, type AttentionQueue, type Component, type Followed } from "../types";
import { ScoreBar, ScoreLegend } from "../ui/charts";
import { Chip, Empty, hasPast, levelLabel, Movement, Name, Panel, Time, Toggles, When } from "../ui/parts";
import { Trend } from "../ui/trend";
import { TriageState, TriageTools } from "./triage";

const FIRST = 12;
/** The first items show how their score went: each takes a request of its own. */
const TRENDS = 5;
const REASONS: Component[] = ["risk", "impact", "latency", "evidence"];

export const isSnoozed = (item: Followed): boolean => item.triage?.state === "snoozed";

export function QueuePanel({ route }: { route: Route }): JSX.Element {
  const polled = usePoll<AttentionQueue>(usePath(PATHS.attention, "activity.attention_queue"), STORED_MS);
  const isAllowed = usePage().can("activity.attention_queue");
  return (
    <Panel id="queue" title="Needs you now" polled={polled} note={polled.data ? <Note queue={polled.data} /> : null}>
      {isAllowed ? <When polled={polled}>{(queue) => <Queue queue={queue} route={route} />}</When> : <Withheld capability="activity.attention_queue" />}
    </Panel>
  );
}

export function Withheld({ capability }: { capability: string }): JSX.Element {
  return (
    <Empty title="Not with this key" tone="plain">
      It lacks the capability <code>{capability}</code>; the operator can make a key that has it.
    </Empty>
  );
}

function Note({ queue }: { queue: AttentionQueue }): JSX.Element {
  return (
    <>
      {plural(queue.total_attention_items, "run")}, scored <Time at={queue.generated_at} relative />
    </>
  );
}

function Queue({ queue, route }: { queue: AttentionQueue; route: Route }): JSX.Element {
  const [isWhole, setWhole] = useState(false);
  const reasons = listed(route.query, "reason");
  const states = listed(route.query, "state");
  const agent = route.query.get("agent") ?? "";
  const showsSnoozed = route.query.get("snoozed") === "show";
  if (queue.queue.length === 0) {
    return (
      <Empty title="Nothing needs you">
        No run is live or finished in the last 24 hours with a reason to look at it. Verified <Time at={queue.snapshot.verified_at} />.
      </Empty>
    );
  }
  const snoozed = queue.queue.filter(isSnoozed).length;
  const found = queue.queue.filter(
    (item) =>
      (showsSnoozed || !isSnoozed(item)) &&
      (reasons.length === 0 || reasons.some((reason) => item.reasons.includes(reason))) &&
      (states.length === 0 || states.includes(item.state ?? "")) &&
      (!agent || item.links?.cost?.agent_id === agent),
  );
  const moves = hasPast(queue.queue);
  const shown = isWhole ? found : found.slice(0, FIRST);
  return (
    <>
      <Filters queue={queue} reasons={reasons} states={states} />
      {agent ? <ActiveFilter words={`Agent ${agent}`} onClear={() => setQuery({ agent: null })} /> : null}
      <ScoreLegend />
      <ol class="rows">
        {shown.map((item) => (
          <Item key={item.run_id} item={item} queue={queue} moves={moves} />
        ))}
      </ol>
      {found.length === 0 ? <Empty title="No run matches these filters" tone="plain" /> : null}
      <footer class="panel-foot">
        {found.length > FIRST ? (
          <button type="button" onClick={() => setWhole(!isWhole)} aria-expanded={isWhole}>
            {isWhole ? `Show the first ${FIRST}` : `Show all ${found.length}`}
          </button>
        ) : null}
        {snoozed > 0 ? (
          <button type="button" aria-pressed={showsSnoozed} onClick={() => setQuery({ snoozed: showsSnoozed ? null : "show" })}>
            {showsSnoozed ? "Hide" : "Show"} {plural(snoozed, "snoozed run")}
          </button>
        ) : null}
        {queue.total_attention_items > queue.queue.length ? (
          <span class="dim">
            The first {queue.queue.length} of {count(queue.total_attention_items)} are published.
          </span>
        ) : null}
        {queue.movement?.left_since_previous?.length ? <span class="dim">{plural(queue.movement.left_since_previous.length, "run")} left since the last refresh.</span> : null}
        {queue.abandoned_items > 0 ? (
          <span class="dim">
            {plural(queue.abandoned_items, "run")} without a heartbeat for {queue.parameters.abandoned_after_hours} h.
          </span>
        ) : null}
      </footer>
    </>
  );
}

export function ActiveFilter({ words, onClear }: { words: string; onClear: () => void }): JSX.Element {
  return (
    <p class="active-filter">
      {words}{" "}
      <button type="button" onClick={onClear}>
        Clear
      </button>
    </p>
  );
}

function Filters({ queue, reasons, states }: { queue: AttentionQueue; reasons: string[]; states: string[] }): JSX.Element {
  const amount = (matches: (item: AttentionItem) => boolean): number => queue.queue.filter(matches).length;
  return (
    <div class="filters">
      <Toggles
        name="Reason"
        chosen={reasons}
        onChange={(chosen) => setQuery({ reason: chosen })}
        options={REASONS.map((each) => [each, COMPONENT_WORDS[each], amount((item) => item.reasons.includes(each))])}
      />
      <Toggles
        name="State"
        chosen={states}
        onChange={(chosen) => setQuery({ state: chosen })}
        options={[
          ["LIVE", "Live", amount((item) => item.state === "LIVE")],
          ["COMPLETED", "Completed", amount((item) => item.state === "COMPLETED")],
        ]}
      />
    </div>
  );
}

function Item({ item, queue, moves }: { item: AttentionItem; queue: AttentionQueue; moves: boolean }): JSX.Element {
  const weights = queue.parameters.weights ?? WEIGHTS;
  const labels = REASONS.filter((name) => item.contributions[name] > 0).map((name) => levelOf(name, item.contributions[name], weights));
  const agent = item.links?.cost?.agent_id;
  return (
    <li class={`row item ${item.triage ? `is-${item.triage.state}` : ""}`}>
      <span class="rank">
        {item.rank}
        {moves ? <Movement move={item.movement?.since_previous} /> : null}
      </span>
      <div class="item-main">
        <p class="item-head">
          {labels.map((label) => (
            <Chip key={label.words} label={label} />
          ))}
          {item.abandoned ? <Chip label={{ words: "Abandoned", tone: "notice" }} title="No heartbeat for a day" /> : null}
        </p>
        <p class="item-facts">
          <Name href={runHref(item.run_id)} row={item.fingerprint ?? item.run_id}>
            {item.run_id}
          </Name>
          {agent ? <a href={agentHref(agent)}>{agent}</a> : null}
          <Chip label={levelLabel(item.status, statusTone(item.status))} />
          <span>
            started <Time at={item.started_at} relative />
          </span>
          {item.links?.patterns.map((link) => (
            <span key={`${link.pattern_type} ${link.skill_id}`} class="tag">
              {PATTERN_WORDS[link.pattern_type] ?? link.pattern_type}
              {link.skill_id ? `: ${link.skill_id}` : ""}
            </span>
          ))}
          {item.links?.cost?.is_anomaly ? <span class="tag">costly agent</span> : null}
        </p>
        <TriageState triage={item.triage} />
        <TriageTools item={item} name={item.run_id} />
      </div>
      <div class="item-score">
        <span class="score">{item.attention_score.toFixed(2)}</span>
        <ScoreBar contributions={item.contributions} score={item.attention_score} />
        <span class="score-words" aria-hidden="true">
          {COMPONENTS.filter((name) => item.contributions[name] > 0)
            .map((name) => `${COMPONENT_CODES[name]} ${item.contributions[name].toFixed(2).slice(1)}`)
            .join(" · ")}
        </span>
        {item.rank <= TRENDS ? <Trend signal="attention" item={item} format={(value) => value.toFixed(2)} /> : null}
      </div>
    </li>
  );
}
