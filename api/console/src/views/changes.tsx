import type { JSX } from "preact";
import { withQuery } from "../api";
import { COUNTED_MS, usePage, usePath } from "../context";
import { count, money, plural, words } from "../format";
import { kindTitle, type Label } from "../meaning";
import { usePages } from "../pages";
import { usePoll } from "../poll";
import { agentHref, runHref } from "../route";
import type { Change, ChangeList, Signal } from "../openapi";
import { Chip, Empty, Name, Panel, Time, Trouble, When } from "../ui/parts";
import { Withheld } from "./queue";

const PAGE = 20;
const PATH = "/activity/changes";

/** Labels of the kinds of changes; `worsened` reopens an item that has a triage decision. */
const KINDS: Record<Change["kind"], Label> = {
  entered: { words: "Entered", tone: "notice" },
  left: { words: "Left", tone: "good" },
  rose: { words: "Rose", tone: "warning" },
  fell: { words: "Fell", tone: "plain" },
  worsened: { words: "Worsened", tone: "critical" },
};

/** Items that entered, left, rose, fell or worsened, newest first. */
export function ChangesView(): JSX.Element {
  const path = usePath(withQuery(PATH, { before: "now", limit: PAGE }), "activity.changes");
  const polled = usePoll<ChangeList>(path, COUNTED_MS);
  return (
    <article class="detail">
      <p class="crumbs">
        <a href="#/">Overview</a> <span aria-hidden="true">/</span> changes
      </p>
      <header class="detail-head">
        <h1 tabIndex={-1}>Changes</h1>
      </header>
      <Panel id="changes" title="Changes of all signals" polled={polled} note="newest first">
        {path === null ? <Withheld capability="activity.changes" /> : <When polled={polled}>{(page) => <Changes first={page} />}</When>}
      </Panel>
    </article>
  );
}

function Changes({ first }: { first: ChangeList }): JSX.Element {
  const { items, next, problem, load } = usePages<ChangeList, Change>(first, {
    itemsOf: (page) => page.changes,
    nextOf: (page) => (page.has_more ? page.next_cursor : null),
    pathOf: (cursor) => withQuery(PATH, { before: cursor, limit: PAGE }),
  });
  if (items.length === 0) {
    return (
      <Empty title="No changes" tone="plain">
        Items that enter or leave a signal, rise or fall appear here after the next refresh.
      </Empty>
    );
  }
  return (
    <>
      <ol class="changes">
        {items.map((change) => (
          <Row key={change.cursor} change={change} />
        ))}
      </ol>
      {problem ? <Trouble problem={problem} hasData /> : null}
      <footer class="panel-foot">
        <span class="dim">{plural(items.length, "change")} shown</span>
        {next ? (
          <button type="button" onClick={load}>
            Show earlier changes
          </button>
        ) : null}
      </footer>
    </>
  );
}

function Row({ change }: { change: Change }): JSX.Element {
  const signal = usePage().signals.find((each) => each.name === change.signal);
  const [name, href] = itemOf(change, signal);
  return (
    <li class="row change">
      <Time at={change.at} />
      <Chip label={KINDS[change.kind] ?? { words: change.kind, tone: "plain" }} />
      <span class="change-item">
        <span class="dim">{words(change.signal)}</span>{" "}
        <Name href={href} row={change.cursor}>
          {name}
        </Name>
      </span>
      <span class="number">{valuesOf(change)}</span>
    </li>
  );
}

/** Return the name of an item and its link. */
function itemOf({ key }: Change, signal: Signal | undefined): [string, string] {
  const { run_id: run, agent_id: agent, pattern_type: type, ...others } = key;
  if (run) return [run, runHref(run)];
  if (agent) return [agent, agentHref(agent)];
  const rest = Object.values(others).filter(Boolean).join(", ");
  return type ? [`${kindTitle(signal, type)}${rest ? `: ${rest}` : ""}`, `#/?pattern=${encodeURIComponent(type)}`] : [rest || "unknown", "#/"];
}

const FORMATS: Record<string, (value: number) => string> = { attention: (value) => value.toFixed(2), patterns: count, cost: money };

function valuesOf({ signal, value, previous_value: previous }: Change): string {
  const format = FORMATS[signal] ?? String;
  const shown = [previous, value].filter((each): each is number => each !== null).map(format);
  return value === null && previous !== null ? `was ${shown[0]}` : shown.join(" → ");
}
