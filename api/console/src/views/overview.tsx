import type { JSX } from "preact";
import { PATHS, STORED_MS, usePage, usePath } from "../context";
import { plural } from "../format";
import { jumpTo } from "../ui/focus";
import { Shape } from "../ui/parts";
import { usePoll, usePolls } from "../poll";
import type { Route } from "../route";
import type { AttentionQueue, CostAnalysis, Freshness, Patterns, Signal } from "../openapi";
import { CostPanel } from "./cost";
import { PatternsPanel } from "./patterns";
import { isPlain, itemsOf, pathOf, PlainPanel, type PlainBody } from "./plain";
import { QueuePanel } from "./queue";
import { isSnoozed } from "./snoozing";
import { DimensionPanel, StatusPanel } from "./summaries";

/** All signals of the tenant on one page. A signal without a view of its own has a table. */
export function Overview({ route }: { route: Route }): JSX.Element {
  const plain = usePage().signals.filter(isPlain);
  return (
    <>
      <Verdict plain={plain} />
      <div class="overview">
        <div class="column at-queue">
          <QueuePanel route={route} />
        </div>
        <div class="column at-patterns">
          <PatternsPanel route={route} />
        </div>
        <div class="column at-cost">
          <CostPanel route={route} />
        </div>
        <div class="pair at-pair">
          <StatusPanel />
          <DimensionPanel route={route} />
        </div>
      </div>
      {plain.length ? (
        <div class="plain-signals">
          {plain.map((signal) => (
            <PlainPanel key={signal.name} signal={signal} route={route} />
          ))}
        </div>
      ) : null}
    </>
  );
}

/** The state of all signals in one line. */
function Verdict({ plain }: { plain: Signal[] }): JSX.Element {
  const queue = usePoll<AttentionQueue>(usePath(PATHS.attention, "activity.attention_queue"), STORED_MS).data;
  const cost = usePoll<CostAnalysis>(usePath(PATHS.cost, "activity.cost_analysis"), STORED_MS).data;
  const patterns = usePoll<Patterns>(usePath(PATHS.patterns, "activity.patterns"), STORED_MS).data;
  const ages = usePoll<Freshness>(PATHS.freshness, STORED_MS).data;

  const bodies = usePolls<PlainBody>(plain.map(pathOf), STORED_MS);

  // Snoozed items are counted separately, here and in each panel.
  const waiting = queue ? queue.total_attention_items - (queue.snoozed_hidden ?? 0) : 0;
  const stuck = (patterns?.patterns ?? []).filter((pattern) => !isSnoozed(pattern));
  const runs = new Set(stuck.flatMap((pattern) => pattern.run_ids)).size;
  const costly = (cost?.agents ?? []).filter((agent) => agent.is_anomaly && !isSnoozed(agent)).length;
  const found = plain.map((signal, index) => ({ signal, items: bodies[index]?.data ? itemsOf(signal, bodies[index].data) : null }));
  const others = found.flatMap(({ items }) => items ?? []);
  const snoozed = (queue?.snoozed_hidden ?? 0) + [...(patterns?.patterns ?? []), ...(cost?.agents ?? []), ...others].filter(isSnoozed).length;
  const besides = snoozed ? `${plural(snoozed, "item")} snoozed` : "";
  const isStale = ages?.signals.some((signal) => signal.stale) ?? false;
  const isClear = queue !== null && patterns !== null && cost !== null && waiting + runs + costly === 0 && found.every(({ items }) => items?.every(isSnoozed));
  if (isClear && !isStale) {
    return (
      <p class="verdict clear">
        <Shape tone="good" /> All clear: no run needs attention, no run is stuck, no agent costs more than usual{besides ? `; ${besides}` : ""}.
      </p>
    );
  }
  return (
    <p class="verdict">
      {queue ? (
        <button type="button" class="link" onClick={() => jumpTo("queue")}>
          <b>{plural(waiting, "run")}</b> {waiting === 1 ? "needs" : "need"} attention
        </button>
      ) : null}
      {patterns ? (
        <button type="button" class="link" onClick={() => jumpTo("patterns")}>
          <b>{plural(runs, "run")}</b> stuck in {plural(stuck.length, "pattern")}
        </button>
      ) : null}
      {cost ? (
        <button type="button" class="link" onClick={() => jumpTo("cost")}>
          <b>{plural(costly, "agent")}</b> {costly === 1 ? "costs" : "cost"} more than usual
        </button>
      ) : null}
      {found.map(({ signal, items }) =>
        items?.length ? (
          <button key={signal.name} type="button" class="link" onClick={() => jumpTo(`signal-${signal.name}`)}>
            <b>{items.filter((item) => !isSnoozed(item)).length}</b> {signal.finds}
          </button>
        ) : null,
      )}
      {besides ? <span class="dim">{besides}</span> : null}
    </p>
  );
}
