import type { JSX } from "preact";
import { PREFIX } from "../api";
import { STORED_MS, type Annotations } from "../context";
import { count, plural, span, words } from "../format";
import { fill, type Stated } from "../meaning";
import type { Signal, Snapshot } from "../openapi";
import { usePoll, type Polled } from "../poll";
import { agentHref, runHref, type Route } from "../route";
import { Explain } from "../ui/explain";
import { Empty, hasPast, Movement, Name, Panel, Time, When } from "../ui/parts";
import { isSnoozed, showsSnoozed, SnoozedToggle } from "./snoozing";
import { TriageState, TriageTools } from "./triage";

type Column = Signal["columns"][number];
type Value = string | number | boolean | null | undefined;
type Item = Annotations & Record<string, unknown>;
export type PlainBody = Stated & { snapshot: Snapshot } & Record<string, unknown>;

/** Tell whether the catalogue describes the items of a signal, so that a table can show them. */
export const isPlain = (signal: Signal): boolean => signal.columns.length > 0;

/** Return the console's path of a signal. */
export const pathOf = (signal: Signal): string => signal.route.slice(PREFIX.length);

/** Return the items of a signal's body. */
export const itemsOf = (signal: Signal, body: PlainBody): Item[] => body[signal.item_list] as Item[];

const identify = (signal: Signal, item: Item): string => signal.item_key.map((name) => String(item[name] ?? "unknown")).join(", ");

/** A signal without a view of its own: its items as a table, with the columns of the catalogue. */
export function PlainPanel({ signal, route }: { signal: Signal; route: Route }): JSX.Element {
  const polled: Polled<PlainBody> = usePoll<PlainBody>(pathOf(signal), STORED_MS);
  const items = polled.data ? itemsOf(signal, polled.data) : [];
  const isWhole = showsSnoozed(route);
  const snoozed = items.filter(isSnoozed).length;
  const shown = items.filter((item) => isWhole || !isSnoozed(item));
  return (
    <Panel
      id={`signal-${signal.name}`}
      title={signal.title}
      polled={polled}
      note={polled.data ? plural(shown.length, "item") : null}
      tools={<SnoozedToggle amount={snoozed} what="item" isShown={isWhole} />}
    >
      <When polled={polled}>
        {(body) => (
          <>
            {signal.explanation ? <p class="dim">{fill(signal.explanation, signal, body)}</p> : null}
            {shown.length ? (
              <Items signal={signal} items={shown} moves={hasPast(items)} />
            ) : (
              <Empty title={snoozed ? "All items are snoozed" : `No ${signal.finds}`}>
                Last refresh <Time at={body.snapshot.verified_at} />.
              </Empty>
            )}
          </>
        )}
      </When>
    </Panel>
  );
}

function Items({ signal, items, moves }: { signal: Signal; items: Item[]; moves: boolean }): JSX.Element {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`Items: ${signal.title}`}>
      <table class="plain">
        <thead>
          <tr>
            {signal.columns.map((column) => (
              <th key={column.name} scope="col" class={isNumber(column) ? "number" : undefined} title={column.description}>
                {words(column.name)}
                {column.unit ? <small>{column.unit}</small> : null}
              </th>
            ))}
            <th scope="col">Triage</th>
          </tr>
        </thead>
        <tbody>
          {items.map((item) => (
            <tr key={item.fingerprint ?? identify(signal, item)} class={`row plain-item ${item.triage ? `is-${item.triage.state}` : ""}`}>
              {signal.columns.map((column, index) => (
                <Cell key={column.name} column={column} value={item[column.name] as Value} row={index === 0 ? (item.fingerprint ?? identify(signal, item)) : undefined} />
              ))}
              <td>
                {moves ? <Movement move={item.movement?.since_previous} /> : null}
                <TriageState triage={item.triage} />
                <TriageTools item={item} name={identify(signal, item)} />
                <Explain item={item} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const isNumber = ({ type }: Column): boolean => type === "integer" || type === "number";

/** Links of ids, by the name of the column. */
const LINKS: Record<string, (id: string) => string> = { run_id: runHref, agent_id: agentHref };

function Cell({ column, value, row }: { column: Column; value: Value; row: string | undefined }): JSX.Element {
  const href = LINKS[column.name];
  if (href && typeof value === "string") {
    return (
      <td>
        <Name href={href(value)} row={row}>
          {value}
        </Name>
      </td>
    );
  }
  return <td class={isNumber(column) ? "number" : undefined}>{shownAs(column, value)}</td>;
}

function shownAs({ type, unit }: Column, value: Value): JSX.Element | string {
  if (value === null || value === undefined) return "–";
  if (type === "timestamp") return <Time at={String(value)} />;
  if (type === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  return unit === "milliseconds" ? span(value) : count(value);
}
