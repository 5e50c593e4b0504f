import type { JSX } from "preact";
import { withQuery } from "../api";
import { COUNTED_MS, usePath } from "../context";
import { count, money, plural } from "../format";
import { PATTERN_WORDS, SIGNAL_WORDS, type Label } from "../meaning";
import { usePages } from "../pages";
import { usePoll } from "../poll";
import { agentHref, runHref } from "../route";
import type { Change, ChangeList } from "../types";
import { Chip, Empty, Name, Panel, Time, Trouble, When } from "../ui/parts";
import { Withheld } from "./queue";

const PAGE = 20;
const PATH = "/activity/changes";

/** What a change is called; `worsened` asks for a second look, and reopens what was decided. */
const KINDS: Record<Change["kind"], Label> = {
  entered: { words: "Entered", tone: "notice" },
  left: { words: "Left", tone: "good" },
  rose: { words: "Rose", tone: "warning" },
  fell: { words: "Fell", tone: "plain" },
  worsened: { words: "Worsened", tone: "critical" },
};

/** What entered, left, rose and fell, the newest first. */
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
      <Panel id="changes" title="What changed" polled={polled} note="the newest first">
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
      <Empty title="Nothing has changed" tone="plain">
        What enters a signal, leaves it, rises or falls shows here after the next refresh.
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
            Show earlier ones
          </button>
        ) : null}
      </footer>
    </>
  );
}

function Row({ change }: { change: Change }): JSX.Element {
  const [name, href] = itemOf(change);
  return (
    <li class="row change">
      <Time at={change.at} />
      <Chip label={KINDS[change.kind] ?? { words: change.kind, tone: "plain" }} />
      <span class="change-item">
        <span class="dim">{SIGNAL_WORDS[change.signal] ?? change.signal}</span>{" "}
        <Name href={href} row={change.cursor}>
          {name}
        </Name>
      </span>
      <span class="number">{valuesOf(change)}</span>
    </li>
  );
}

/** The name of what changed, and where it leads. */
function itemOf({ key }: Change): [string, string] {
  if (key.run_id !== undefined) return [key.run_id, runHref(key.run_id)];
  if (key.agent_id !== undefined) return [key.agent_id, agentHref(key.agent_id)];
  const type = key.pattern_type ?? "";
  return [`${PATTERN_WORDS[type] ?? type}${key.skill_id ? `: ${key.skill_id}` : ""}`, `#/?pattern=${encodeURIComponent(type)}`];
}

const FORMATS: Record<Change["signal"], (value: number) => string> = { attention: (value) => value.toFixed(2), patterns: count, cost: money };

function valuesOf({ signal, value, previous_value: previous }: Change): string {
  const format = FORMATS[signal] ?? String;
  const shown = [previous, value].filter((each): each is number => each !== null).map(format);
  return value === null && previous !== null ? `was ${shown[0]}` : shown.join(" → ");
}
