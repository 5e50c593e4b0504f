import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, write } from "../api";
import { usePage, type Page } from "../context";
import { span } from "../format";
import { refreshAll } from "../poll";
import type { Followed, Problem, Triage } from "../types";
import { step } from "../ui/focus";
import { Shape, Time, Trouble } from "../ui/parts";

type Action = "acknowledge" | "snooze" | "expect" | "reopen";

interface Decision {
  action: Action;
  minutes?: number;
  reason?: string;
  comment?: string;
}

const STATES: Record<Triage["state"], string> = { acknowledged: "Acknowledged", snoozed: "Snoozed", expected: "Expected" };
const DONE: Record<Action, string> = { acknowledge: "Acknowledged", snooze: "Snoozed", expect: "Marked as expected", reopen: "Reopened" };

/** How long a decision may hold, in minutes. */
const SNOOZES: [number, string][] = [
  [60, "1 hour"],
  [240, "4 hours"],
  [480, "8 hours"],
  [1440, "a day"],
];
const EXPECTATIONS: [number, string][] = [
  [1440, "a day"],
  [10_080, "a week"],
  [43_200, "30 days"],
  [129_600, "90 days"],
];
/** An answer may be repeated for a second: what was decided shows after it at the latest. */
const REPEATED_MS = 1300;

/** Tell the API, and the page what was done; what nobody had decided about can be opened again at once. */
async function send(page: Page, item: Followed, name: string, decision: Decision): Promise<void> {
  await write("POST", "/activity/triage", { fingerprint: item.fingerprint, ...decision });
  const undo = (): void => void send(page, item, name, { action: "reopen" }).catch((ex: unknown) => page.announce(refusal(ex)));
  const forSoLong = decision.minutes ? ` for ${span(decision.minutes * 60_000)}` : "";
  page.announce(`${DONE[decision.action]}${forSoLong}: ${name}`, decision.action === "reopen" || item.triage ? undefined : undo);
  refreshAll();
  window.setTimeout(refreshAll, REPEATED_MS);
}

function refusal(ex: unknown): string {
  if (!(ex instanceof ApiError)) throw ex;
  return `Not undone: ${ex.problem.detail}`;
}

/** Leave a row that goes out of sight with the keyboard on the next one. */
function moveOn(): void {
  const row = document.activeElement?.closest(".item, .card, .agent");
  if (!row) return;
  step(1);
  if (row.contains(document.activeElement)) step(-1);
}

/** What somebody decided about an item. */
export function TriageState({ triage }: { triage: Triage | null | undefined }): JSX.Element | null {
  if (!triage) return null;
  return (
    <p class="triage-state">
      <Shape tone="plain" /> <b>{STATES[triage.state]}</b>
      {triage.until ? (
        <>
          {" until "}
          <Time at={triage.until} />
        </>
      ) : null}
      {triage.actor ? ` by ${triage.actor}` : ""}, <Time at={triage.at} relative />
      {triage.reason ? ` · ${triage.reason}` : ""}
      {triage.comment ? ` · “${triage.comment}”` : ""}
    </p>
  );
}

/** What may be decided about an item, for those who may. */
export function TriageTools({ item, name }: { item: Followed; name: string }): JSX.Element | null {
  const page = usePage();
  const [isOpen, setOpen] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const { fingerprint } = item;
  if (!fingerprint || !page.can("activity.triage")) return null;
  const decide = async (decision: Decision): Promise<boolean> => {
    setBusy(true);
    setProblem(null);
    try {
      await send(page, item, name, decision);
      if (decision.action === "snooze") moveOn();
      return true;
    } catch (ex) {
      if (!(ex instanceof ApiError)) throw ex;
      setProblem(ex.problem);
      return false;
    } finally {
      setBusy(false);
    }
  };
  const quick = (decision: Decision) => (): void => void decide(decision);
  return (
    <div class="triage-tools">
      {item.triage ? (
        <button type="button" class="quiet" disabled={isBusy} onClick={quick({ action: "reopen" })} aria-label={`Reopen ${name}`}>
          Reopen
        </button>
      ) : (
        <>
          <button type="button" class="quiet" data-triage="a" disabled={isBusy} onClick={quick({ action: "acknowledge" })} aria-label={`Acknowledge ${name}`}>
            Acknowledge
          </button>
          <button type="button" class="quiet" data-triage="s" disabled={isBusy} onClick={quick({ action: "snooze", minutes: 60 })} aria-label={`Snooze 1 h: ${name}`}>
            Snooze 1 h
          </button>
        </>
      )}
      <button type="button" class="quiet" data-triage="e" onClick={() => setOpen(true)} aria-label={`More about ${name}`} aria-haspopup="dialog">
        More…
      </button>
      {problem && !isOpen ? <Trouble problem={problem} hasData={false} /> : null}
      {isOpen ? <Dialog name={name} problem={problem} isBusy={isBusy} onDecide={decide} onClose={() => setOpen(false)} /> : null}
    </div>
  );
}

interface DialogProps {
  name: string;
  problem: Problem | null;
  isBusy: boolean;
  onDecide: (decision: Decision) => Promise<boolean>;
  onClose: () => void;
}

function Dialog({ name, problem, isBusy, onDecide, onClose }: DialogProps): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [action, setAction] = useState<"acknowledge" | "snooze" | "expect">("snooze");
  const [minutes, setMinutes] = useState(240);
  const [reason, setReason] = useState("");
  const [comment, setComment] = useState("");
  useEffect(() => dialog.current?.showModal(), []);
  const spans = action === "snooze" ? SNOOZES : action === "expect" ? EXPECTATIONS : [];
  const choose = (chosen: "acknowledge" | "snooze" | "expect"): void => {
    setAction(chosen);
    setMinutes(chosen === "expect" ? 10_080 : 240);
  };
  const send = (event: Event): void => {
    event.preventDefault();
    const words = { ...(reason.trim() ? { reason: reason.trim() } : {}), ...(comment.trim() ? { comment: comment.trim() } : {}) };
    void onDecide({ action, ...(spans.length ? { minutes } : {}), ...words }).then((isDone) => isDone && dialog.current?.close());
  };
  return (
    <dialog ref={dialog} class="triage-dialog" aria-labelledby="triage-title" onClose={onClose}>
      <form onSubmit={send}>
        <h2 id="triage-title">
          Decide about <span class="id">{name}</span>
        </h2>
        <fieldset>
          <legend>What it is</legend>
          <Choice value="acknowledge" chosen={action} onChoose={choose} title="Acknowledge" meaning="I am on it. It stays in sight until it is better." />
          <Choice value="snooze" chosen={action} onChoose={choose} title="Snooze" meaning="Not now. It is out of sight, and comes back when it is worse." />
          <Choice value="expect" chosen={action} onChoose={choose} title="Expected" meaning="This is how it should be, for a while." />
        </fieldset>
        {spans.length ? (
          <label>
            For
            <select value={minutes} onChange={(event) => setMinutes(Number(event.currentTarget.value))}>
              {spans.map(([each, words]) => (
                <option key={each} value={each}>
                  {words}
                </option>
              ))}
            </select>
          </label>
        ) : null}
        <label>
          Reason{action === "expect" ? "" : " (optional)"}
          <input value={reason} onInput={(event) => setReason(event.currentTarget.value)} required={action === "expect"} maxLength={200} />
        </label>
        <label>
          Comment (optional)
          <textarea value={comment} onInput={(event) => setComment(event.currentTarget.value)} maxLength={2000} rows={2} />
        </label>
        {problem ? <Trouble problem={problem} hasData={false} /> : null}
        <footer>
          <button type="submit" class="primary" disabled={isBusy}>
            Save
          </button>
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
        </footer>
      </form>
    </dialog>
  );
}

interface ChoiceProps<Value extends string> {
  value: Value;
  chosen: Value;
  title: string;
  meaning: string;
  onChoose: (value: Value) => void;
}

function Choice<Value extends string>({ value, chosen, title, meaning, onChoose }: ChoiceProps<Value>): JSX.Element {
  return (
    <label class="choice">
      <input type="radio" name="action" checked={chosen === value} onChange={() => onChoose(value)} />
      <span>
        <b>{title}</b>
        <span class="dim">{meaning}</span>
      </span>
    </label>
  );
}

/** Press the button of the item under the keyboard. */
export function press(which: "a" | "s" | "e"): void {
  document.activeElement?.closest(".item, .card, .agent, .reason, .verdict-box")?.querySelector<HTMLElement>(`[data-triage="${which}"]`)?.click();
}
