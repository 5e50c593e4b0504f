import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { PATHS, STORED_MS, usePage, usePath, useSignal } from "../context";
import { count, plural, words } from "../format";
import { componentsOf, kindTitle, largestScore, levelOf, statusTone, weightsOf, type Component } from "../meaning";
import { usePoll } from "../poll";
import { agentHref, listed, runHref, setQuery, type Route } from "../route";
import type { AttentionItem, AttentionQueue } from "../openapi";
import { ScoreBar, ScoreLegend } from "../ui/charts";
import { Age, Chip, Empty, hasPast, levelLabel, Movement, Name, Panel, Time, Toggles, When } from "../ui/parts";
import { Trend } from "../ui/trend";
import { isSnoozed, showsSnoozed, SnoozedToggle } from "./snoozing";
import { TriageState, TriageTools } from "./triage";

const FIRST = 12;
/** The first items have a sparkline: each takes a request of its own. */
const TRENDS = 5;

/** The components that can be a reason: those with levels. */
const reasonsOf = (components: Component[]): Component[] => components.filter(({ levels }) => levels.length);

export function QueuePanel({ route }: { route: Route }): JSX.Element {
  const isWhole = showsSnoozed(route);
  const polled = usePoll<AttentionQueue>(usePath(isWhole ? PATHS.attentionWhole : PATHS.attention, "activity.attention_queue"), STORED_MS);
  const isAllowed = usePage().can("activity.attention_queue");
  const queue = polled.data;
  return (
    <Panel
      id="queue"
      title="Needs attention"
      polled={polled}
      note={queue ? plural(queue.total_attention_items - (isWhole ? 0 : snoozedOf(queue)), "run") : null}
      tools={queue ? <SnoozedToggle amount={snoozedOf(queue)} what="run" isShown={isWhole} /> : null}
    >
      {isAllowed ? (
        <When polled={polled}>{(found) => <Queue queue={found} route={route} verifiedAt={polled.verifiedAt} />}</When>
      ) : (
        <Withheld capability="activity.attention_queue" />
      )}
    </Panel>
  );
}

export function Withheld({ capability }: { capability: string }): JSX.Element {
  return (
    <Empty title="Not allowed with this key" tone="plain">
      The key lacks the capability <code>{capability}</code>. Ask the operator for a key that has it.
    </Empty>
  );
}

/** Return the number of snoozed items; the API counts those that it leaves out. */
const snoozedOf = (queue: AttentionQueue): number => queue.snoozed_hidden ?? queue.queue.filter(isSnoozed).length;

function Queue({ queue, route, verifiedAt }: { queue: AttentionQueue; route: Route; verifiedAt: string | null }): JSX.Element {
  const [isWhole, setWhole] = useState(false);
  const reasons = listed(route.query, "reason");
  const states = listed(route.query, "state");
  const agent = route.query.get("agent") ?? "";
  const hidden = queue.snoozed_hidden ?? 0;
  const components = componentsOf(useSignal("attention"));
  if (queue.queue.length === 0) {
    return hidden ? (
      <Empty title="Only snoozed runs need attention">Snoozed runs come back when the time is over, or when they get worse.</Empty>
    ) : (
      <Empty title="No run needs attention">
        Last refresh <Time at={queue.snapshot.verified_at} />.
      </Empty>
    );
  }
  const places = new Map(queue.queue.map((item, index) => [item.run_id, index + 1]));
  const found = queue.queue.filter(
    (item) =>
      (reasons.length === 0 || reasons.some((reason) => item.reasons.includes(reason))) &&
      (states.length === 0 || states.includes(item.state ?? "")) &&
      (!agent || item.links?.cost?.agent_id === agent),
  );
  const moves = hasPast(queue.queue);
  const shown = isWhole ? found : found.slice(0, FIRST);
  return (
    <>
      <Filters queue={queue} components={reasonsOf(components)} reasons={reasons} states={states} />
      {agent ? <ActiveFilter words={`Agent ${agent}`} onClear={() => setQuery({ agent: null })} /> : null}
      <ScoreLegend components={components} />
      <ol class="rows">
        {shown.map((item) => (
          <Item key={item.run_id} item={item} place={places.get(item.run_id) ?? item.rank} queue={queue} components={components} moves={moves} />
        ))}
      </ol>
      {found.length === 0 ? <Empty title="No run matches these filters" tone="plain" /> : null}
      <footer class="panel-foot">
        {found.length > FIRST ? (
          <button type="button" onClick={() => setWhole(!isWhole)} aria-expanded={isWhole}>
            {isWhole ? `Show the first ${FIRST}` : `Show all ${found.length}`}
          </button>
        ) : null}
        {queue.total_attention_items - hidden > queue.queue.length ? (
          <span class="dim">
            Showing the first {queue.queue.length} of {count(queue.total_attention_items - hidden)}.
          </span>
        ) : null}
        {queue.movement?.left_since_previous?.length ? <span class="dim">{plural(queue.movement.left_since_previous.length, "run")} left since the last refresh.</span> : null}
        {queue.abandoned_items > 0 ? (
          <span class="dim">
            {plural(queue.abandoned_items, "abandoned run")}: {noHeartbeat(queue)}.
          </span>
        ) : null}
        <span class="dim ages">
          Scores <Age at={queue.generated_at} />; no changes as of <Time at={verifiedAt ?? queue.snapshot.verified_at} relative />.
        </span>
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

const noHeartbeat = (queue: AttentionQueue): string => `no heartbeat for ${String(queue.parameters["abandoned_after_hours"])} h`;

interface FiltersProps {
  queue: AttentionQueue;
  components: Component[];
  reasons: string[];
  states: string[];
}

function Filters({ queue, components, reasons, states }: FiltersProps): JSX.Element {
  const amount = (matches: (item: AttentionItem) => boolean): number => queue.queue.filter(matches).length;
  return (
    <div class="filters">
      <Toggles
        name="Reason"
        chosen={reasons}
        onChange={(chosen) => setQuery({ reason: chosen })}
        options={components.map(({ name, title }) => [name, title, amount((item) => item.reasons.includes(name))])}
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

interface ItemProps {
  item: AttentionItem;
  place: number;
  queue: AttentionQueue;
  components: Component[];
  moves: boolean;
}

function Item({ item, place, queue, components, moves }: ItemProps): JSX.Element {
  const patterns = useSignal("patterns");
  const weights = weightsOf(queue);
  const labels = reasonsOf(components)
    .filter(({ name }) => item.contributions[name] > 0)
    .map((component) => levelOf(component, item.contributions[component.name], weights));
  const agent = item.links?.cost?.agent_id;
  return (
    <li class={`row item ${item.triage ? `is-${item.triage.state}` : ""}`}>
      <span class="rank" title={place === item.rank ? undefined : `Number ${item.rank} including snoozed runs`}>
        {place}
        {moves ? <Movement move={item.movement?.since_previous} /> : null}
      </span>
      <div class="item-main">
        <p class="item-head">
          {labels.map((label) => (
            <Chip key={label.words} label={label} />
          ))}
          {item.abandoned ? <Chip label={{ words: "Abandoned", tone: "notice" }} title={words(noHeartbeat(queue))} /> : null}
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
              {kindTitle(patterns, link.pattern_type)}
              {link.skill_id ? `: ${link.skill_id}` : ""}
            </span>
          ))}
          {item.links?.cost?.is_anomaly ? <span class="tag">cost anomaly</span> : null}
        </p>
        <TriageState triage={item.triage} />
        <TriageTools item={item} name={item.run_id} />
      </div>
      <div class="item-score">
        <span class="score">{item.attention_score.toFixed(2)}</span>
        <ScoreBar contributions={item.contributions} score={item.attention_score} components={components} most={largestScore(components, weights)} />
        <span class="score-words" aria-hidden="true">
          {components
            .filter(({ name }) => item.contributions[name] > 0)
            .map(({ name, code }) => `${code} ${item.contributions[name].toFixed(2).slice(1)}`)
            .join(" · ")}
        </span>
        {place <= TRENDS ? <Trend signal="attention" item={item} value={item.attention_score} format={(value) => value.toFixed(2)} /> : null}
      </div>
    </li>
  );
}
