import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, write, type Problem } from "../api";
import { usePage, type Annotations, type Page } from "../context";
import { span } from "../format";
import { refreshAll } from "../poll";
import type { Decision as Sent, Triage } from "../openapi";
import { step } from "../ui/focus";
import { Shape, Time, Trouble } from "../ui/parts";

type Action = Sent["action"];
type Decision = Omit<Sent, "fingerprint">;

const STATES: Record<Triage["state"], string> = { acknowledged: "Acknowledged", snoozed: "Snoozed", expected: "Expected" };
const DONE: Record<Action, string> = { acknowledge: "Acknowledged", snooze: "Snoozed", expect: "Marked as expected", reopen: "Reopened" };

/** Durations that the dialog offers, in minutes. */
const SNOOZES: [number, string][] = [
  [60, "1 hour"],
  [240, "4 hours"],
  [480, "8 hours"],
  [1440, "1 day"],
];
const EXPECTATIONS: [number, string][] = [
  [1440, "1 day"],
  [10_080, "1 week"],
  [43_200, "30 days"],
  [129_600, "90 days"],
];
/** The API may repeat a response for a second; after this delay the decision is visible. */
const REPEATED_MS = 1300;

/** Send a decision and announce it. Undo reopens an item that had no decision before. */
async function send(page: Page, item: Annotations, name: string, decision: Decision): Promise<void> {
  await write("POST", "/activity/triage", { fingerprint: item.fingerprint, ...decision });
  const undo = (): void => void send(page, item, name, { action: "reopen" }).catch((ex: unknown) => page.announce(refusal(ex)));
  const forSoLong = decision.minutes ? ` for ${span(decision.minutes * 60_000)}` : "";
  page.announce(`${DONE[decision.action]}${forSoLong}: ${name}`, decision.action === "reopen" || item.triage ? undefined : undo);
  refreshAll();
  window.setTimeout(refreshAll, REPEATED_MS);
}

function refusal(ex: unknown): string {
  if (!(ex instanceof ApiError)) throw ex;
  return `Undo failed: ${ex.problem.detail}`;
}

/** Move the focus from a row that will be hidden to the next one. */
function moveOn(): void {
  const row = document.activeElement?.closest(".item, .card, .agent, .plain-item");
  if (!row) return;
  step(1);
  if (row.contains(document.activeElement)) step(-1);
}

/** The current triage decision about an item. */
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

/** The triage buttons of an item, for keys with the capability. */
export function TriageTools({ item, name }: { item: Annotations; name: string }): JSX.Element | null {
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
      <button type="button" class="quiet" data-triage="e" onClick={() => setOpen(true)} aria-label={`More triage options for ${name}`} aria-haspopup="dialog">
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
          Triage <span class="id">{name}</span>
        </h2>
        <fieldset>
          <legend>Decision</legend>
          <Choice value="acknowledge" chosen={action} onChoose={choose} title="Acknowledge" meaning="Stays listed; reopens if it gets worse." />
          <Choice value="snooze" chosen={action} onChoose={choose} title="Snooze" meaning="Hidden; comes back when the time is over or it gets worse." />
          <Choice value="expect" chosen={action} onChoose={choose} title="Expected" meaning="Known and intended. Stays listed; reopens when the time is over or it gets worse." />
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

/** Click a triage button of the focused item. */
export function press(which: "a" | "s" | "e"): void {
  document.activeElement?.closest(".item, .card, .agent, .plain-item, .reason, .verdict-box")?.querySelector<HTMLElement>(`[data-triage="${which}"]`)?.click();
}
