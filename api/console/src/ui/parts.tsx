/** The small parts that every view is made of. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { now } from "../api";
import { ago, local, utc, words } from "../format";
import type { Label, Tone } from "../meaning";
import type { Polled } from "../poll";
import type { Move, Problem } from "../types";

const SHAPES: Record<Tone, string> = {
  critical: "M5 1h6l4 4v6l-4 4H5l-4-4V5z",
  warning: "M8 1l7.500 13.500H.5z",
  notice: "M8 .8L15.200 8 8 15.200.8 8z",
  good: "M8 1a7 7 0 110 14A7 7 0 018 1z",
  plain: "M4 4h8v8H4z",
};

/** A shape per tone, so that none is told by its colour alone; the words beside it say what it means. */
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

/** The present instant by the server's clock, told anew every `everyMs`. */
export function useNow(everyMs: number): number {
  const [instant, setInstant] = useState(now());
  useEffect(() => {
    const timer = window.setInterval(() => setInstant(now()), everyMs);
    return () => window.clearInterval(timer);
  }, [everyMs]);
  return instant;
}

/** An instant in the reader's zone, or how long ago it was; UTC shows on hover, and on focus where it can have it. */
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

const ARROWS: Record<Move, [string, string]> = {
  entered: ["new", "New since the last refresh"],
  rose: ["↑", "Rose since the last refresh"],
  fell: ["↓", "Fell since the last refresh"],
  same: ["", ""],
};

/** Tell whether anything was there before: at a first refresh everything is new, and nothing of it is news. */
export const hasPast = (items: { movement?: { since_previous: Move | null } | null }[]): boolean =>
  items.some((item) => item.movement?.since_previous !== "entered");

/** How an item moved since the last refresh, where the API tells. */
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

/** A section of a view: its heading, what can be done in it, and what is wrong with its answer. */
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
          <Shape tone="warning" /> Stale: last confirmed <Time at={polled.verifiedAt} relative />. The worker may have stopped; what follows may have
          changed since.
        </p>
      ) : null}
      {polled?.problem ? <Trouble problem={polled.problem} hasData={polled.data !== null} /> : null}
      {children}
    </section>
  );
}

const ADVICE: Record<string, [string, string]> = {
  snapshot_not_ready: ["No data yet", "This signal has not been computed for this tenant. It appears after the worker's first refresh; if it does not, run `activity status` on the server."],
  capability_missing: ["Not with this key", "Ask the operator for a key with this capability."],
  rate_limited: ["Too many requests", "This key asked more often than it may; the page waits and tries again."],
  overloaded: ["The API is busy", "The page waits a moment and tries again."],
  query_timeout: ["The query took too long", "The page tries again. If it stays, the database is busy: `activity status` says more."],
  database_unavailable: ["The database does not answer", "The page keeps trying. The operator sees the cause in the API's log."],
  schema_mismatch: ["The database is at another version", "An upgrade may be under way; otherwise run `activity migrate`."],
  isolation_not_enforced: ["The API refuses to serve", "Its database role could see every tenant's rows; its log says how."],
  unreachable: ["The API does not answer", "Check the connection; the page keeps trying."],
  internal_error: ["The request failed", "The API's log names the cause under the request's id."],
  run_not_found: ["No such run", "This tenant has no run of that id. It may have been removed, or belong to another tenant."],
};

/** What went wrong, what to do, and the name of the request in the log. */
export function Trouble({ problem, hasData }: { problem: Problem; hasData: boolean }): JSX.Element {
  const [title, advice] = ADVICE[problem.error] ?? ["The request was refused", "The page keeps trying."];
  const isWaiting = problem.error === "snapshot_not_ready";
  return (
    <div class={`trouble ${isWaiting ? "waiting" : ""}`}>
      <p>
        <Shape tone={isWaiting ? "plain" : "warning"} /> <strong>{title}.</strong> {problem.detail}
      </p>
      <p class="dim">
        {advice}
        {hasData ? " Shown is what was known before." : ""}
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

/** Run a panel's body once there is something to show. */
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

/** Filters that can be combined, each a toggle. */
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

/** The name of a run or an agent, whole for copying and for readers, shortened by the layout alone. */
export function Name({ href, children, row }: { href: string; children: string; row?: string }): JSX.Element {
  return (
    <a class="id" href={href} data-row={row} title={children}>
      {children}
    </a>
  );
}

export const levelLabel = (level: string | null | undefined, tone: Tone): Label => ({ words: words(level), tone });
