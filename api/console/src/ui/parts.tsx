/** Components that the views share. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { now, type Problem } from "../api";
import { ago, local, old, utc, words } from "../format";
import type { Label, Tone } from "../meaning";
import type { Polled } from "../poll";
import type { ItemMovement } from "../openapi";

const SHAPES: Record<Tone, string> = {
  critical: "M5 1h6l4 4v6l-4 4H5l-4-4V5z",
  warning: "M8 1l7.500 13.500H.5z",
  notice: "M8 .8L15.200 8 8 15.200.8 8z",
  good: "M8 1a7 7 0 110 14A7 7 0 018 1z",
  plain: "M4 4h8v8H4z",
};

/** A shape per tone, so that colour is not the only distinction; a text beside it has the meaning. */
export function Shape({ tone }: { tone: Tone }): JSX.Element {
  return (
    <svg class={`shape tone-${tone}`} viewBox="0 0 16 16" width="10" height="10" aria-hidden="true" focusable="false">
      <path d={SHAPES[tone]} />
    </svg>
  );
}

export function Chip({ label, title }: { label: Label; title?: string }): JSX.Element {
  return (
    <span class={`chip tone-${label.tone}`} title={title}>
      <Shape tone={label.tone} />
      {label.words}
    </span>
  );
}

/** Return the current time by the server's clock, updated every `everyMs`. */
export function useNow(everyMs: number): number {
  const [instant, setInstant] = useState(now());
  useEffect(() => {
    const timer = window.setInterval(() => setInstant(now()), everyMs);
    return () => window.clearInterval(timer);
  }, [everyMs]);
  return instant;
}

/** An instant in the user's time zone, or its age. UTC shows on hover, and on focus where it is focusable. */
export function Time({ at, relative = false, focusable = false }: { at: string | null | undefined; relative?: boolean; focusable?: boolean }): JSX.Element {
  const present = useNow(relative ? 10_000 : 3_600_000);
  if (!at) return <span class="dim">unknown</span>;
  const instant = new Date(at);
  const shown = relative ? ago(Math.max(0, present - instant.getTime())) : local(instant);
  const tip = relative ? `${local(instant)} · ${utc(instant)}` : utc(instant);
  return focusable ? (
    <time dateTime={at} class="tip" tabIndex={0} data-tip={tip} aria-label={`${shown}, ${utc(instant)}`}>
      {shown}
    </time>
  ) : (
    <time dateTime={at} title={tip}>
      {shown}
    </time>
  );
}

/** The age of an instant, such as "2 min old". */
export function Age({ at }: { at: string }): JSX.Element {
  const present = useNow(10_000);
  const instant = new Date(at);
  return (
    <time dateTime={at} title={`${local(instant)} · ${utc(instant)}`}>
      {old(Math.max(0, present - instant.getTime()))}
    </time>
  );
}

type Move = ItemMovement["since_previous"];

const ARROWS: Record<Move, [string, string]> = {
  entered: ["new", "New since the last refresh"],
  rose: ["↑", "Rose since the last refresh"],
  fell: ["↓", "Fell since the last refresh"],
  same: ["", ""],
};

/** Tell whether movement is worth showing: at a first refresh every item is new. */
export const hasPast = (items: { movement?: ItemMovement }[]): boolean =>
  items.some((item) => item.movement?.since_previous !== "entered");

/** The movement of an item since the last refresh. */
export function Movement({ move }: { move: Move | null | undefined }): JSX.Element | null {
  const [sign, meaning] = ARROWS[move ?? "same"];
  return sign ? (
    <span class={`move move-${move}`} title={meaning}>
      <span aria-hidden="true">{sign}</span>
      <span class="sr">{meaning}</span>
    </span>
  ) : null;
}

interface PanelProps {
  id: string;
  title: string;
  note?: ComponentChildren;
  tools?: ComponentChildren;
  polled?: Polled<unknown>;
  children: ComponentChildren;
}

/** A section of a view: heading, tools, and the state of its data. */
export function Panel({ id, title, note, tools, polled, children }: PanelProps): JSX.Element {
  return (
    <section class="panel" aria-labelledby={`${id}-title`} id={id}>
      <header class="panel-head">
        <h2 id={`${id}-title`} tabIndex={-1}>
          {title}
        </h2>
        {note ? <p class="note">{note}</p> : null}
        {tools ? <div class="tools">{tools}</div> : null}
      </header>
      {polled?.stale ? (
        <p class="stale-note">
          <Shape tone="warning" /> Stale: last refresh <Time at={polled.verifiedAt} relative />. The worker may have stopped, and this data may be
          outdated.
        </p>
      ) : null}
      {polled?.problem ? <Trouble problem={polled.problem} hasData={polled.data !== null} /> : null}
      {children}
    </section>
  );
}

/** A title and advice for each error; `detail` where the API's own text has more to say. */
const ADVICE: Record<string, [title: string, advice: string, withDetail?: "detail"]> = {
  snapshot_not_ready: ["No data yet", "This signal appears after the worker's first refresh. If it does not, run `activity status` on the server."],
  capability_missing: ["Not allowed with this key", "Ask the operator for a key with this capability.", "detail"],
  rate_limited: ["Too many requests", "This key has reached its rate limit. The page retries automatically."],
  overloaded: ["The API is busy", "The page retries in a moment."],
  query_timeout: ["The query took too long", "The page retries. If the error stays, run `activity status` on the server: the database is busy."],
  database_unavailable: ["The database does not respond", "The page keeps retrying. The cause is in the API's log."],
  schema_mismatch: ["The database has another schema version", "An upgrade may be in progress; otherwise run `activity migrate`."],
  isolation_not_enforced: ["The API does not serve data", "Its database role could read the rows of other tenants. The reason is in the API's log."],
  unreachable: ["The API does not respond", "Check the connection. The page keeps retrying."],
  internal_error: ["The request failed", "The cause is in the API's log, under the request id."],
  run_not_found: ["No run with this id", "It may be mistyped, deleted, or of another tenant."],
};

/** An error: its title, what to do, and the request id for the log. */
export function Trouble({ problem, hasData }: { problem: Problem; hasData: boolean }): JSX.Element {
  const [title, advice, detail] = ADVICE[problem.error] ?? ["The request failed", "The page keeps retrying.", "detail"];
  const isWaiting = problem.error === "snapshot_not_ready";
  return (
    <div class={`trouble ${isWaiting ? "waiting" : ""}`}>
      <p>
        <Shape tone={isWaiting ? "plain" : "warning"} /> <strong>{title}.</strong>{detail ? ` ${problem.detail}` : ""}
      </p>
      <p class="dim">
        {advice}
        {hasData ? " The data below is from before." : ""}
        {problem.request_id ? (
          <>
            {" "}
            Request <code>{problem.request_id}</code>
          </>
        ) : null}
      </p>
    </div>
  );
}

export function Empty({ title, children, tone = "good" }: { title: string; children?: ComponentChildren; tone?: Tone }): JSX.Element {
  return (
    <div class="empty">
      <p class="empty-title">
        <Shape tone={tone} /> {title}
      </p>
      {children ? <p class="dim">{children}</p> : null}
    </div>
  );
}

export function Loading(): JSX.Element {
  return (
    <div class="loading">
      <span class="sr">Loading</span>
      <i />
      <i />
      <i />
    </div>
  );
}

/** Render a panel's body once there is data. */
export function When<Body>({ polled, children }: { polled: Polled<Body>; children: (data: Body) => ComponentChildren }): JSX.Element | null {
  if (polled.data !== null) return <>{children(polled.data)}</>;
  return polled.problem ? null : <Loading />;
}

interface ChoiceProps {
  name: string;
  options: [value: string, words: string, amount?: number][];
  chosen: string[];
  onChange: (chosen: string[]) => void;
}

/** Filters that can be combined: a toggle button each. */
export function Toggles({ name, options, chosen, onChange }: ChoiceProps): JSX.Element {
  return (
    <div class="toggles" role="group" aria-label={name}>
      {options.map(([value, shown, amount]) => {
        const isOn = chosen.includes(value);
        return (
          <button
            key={value}
            type="button"
            aria-pressed={isOn}
            onClick={() => onChange(isOn ? chosen.filter((each) => each !== value) : [...chosen, value])}
          >
            {shown}
            {amount === undefined ? null : <span class="amount">{amount}</span>}
          </button>
        );
      })}
    </div>
  );
}

export function Select({ name, value, options, onChange }: { name: string; value: string; options: [string, string][]; onChange: (value: string) => void }): JSX.Element {
  return (
    <label class="select">
      <span>{name}</span>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([each, shown]) => (
          <option key={each} value={each}>
            {shown}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A link with the id of a run or an agent. CSS truncates it; copying and screen readers get the whole id. */
export function Name({ href, children, row }: { href: string; children: string; row?: string }): JSX.Element {
  return (
    <a class="id" href={href} data-row={row} title={children}>
      {children}
    </a>
  );
}

export const levelLabel = (level: string | null | undefined, tone: Tone): Label => ({ words: words(level), tone });
