/** Answers that are asked for again and again, one request for everybody who looks at the same path. */
import { useEffect, useState } from "preact/hooks";
import { ApiError, read } from "./api";
import type { Problem } from "./types";

const LONGEST_PAUSE_MS = 60_000;

export interface Polled<Body> {
  data: Body | null;
  problem: Problem | null;
  stale: boolean;
  verifiedAt: string | null;
  /** When it is asked for again after a failure, by this machine's clock. */
  retryAt: number | null;
  /** When it was last answered, by this machine's clock. */
  answeredAt: number | null;
}

const NOTHING: Polled<never> = { data: null, problem: null, stale: false, verifiedAt: null, retryAt: null, answeredAt: null };

type Listener = () => void;

class Poll {
  state: Polled<unknown> = NOTHING;
  private readonly listeners = new Set<Listener>();
  private etag: string | null = null;
  private timer: number | undefined;
  private failures = 0;
  private underWay: AbortController | null = null;

  constructor(
    private readonly path: string,
    private readonly periodMs: number,
  ) {}

  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    if (this.listeners.size === 1) this.ask();
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.stop();
    };
  }

  /** Ask at once, unless nobody looks. */
  ask(): void {
    window.clearTimeout(this.timer);
    if (this.listeners.size === 0 || document.hidden || this.underWay) return;
    void this.request();
  }

  stop(): void {
    window.clearTimeout(this.timer);
    this.underWay?.abort();
    this.underWay = null;
  }

  private async request(): Promise<void> {
    const mine = (this.underWay = new AbortController());
    try {
      const answer = await read<unknown>(this.path, this.state.data === null ? null : this.etag, mine.signal);
      if (mine.signal.aborted) return;
      this.failures = 0;
      this.etag = answer.etag;
      const data = answer.body ?? this.state.data;
      this.tell({ data, problem: null, stale: answer.stale ?? false, verifiedAt: answer.verifiedAt, retryAt: null, answeredAt: Date.now() });
      this.again(this.periodMs);
    } catch (ex) {
      if (mine.signal.aborted) return;
      this.fail(ex);
    } finally {
      if (this.underWay === mine) this.underWay = null;
    }
  }

  private fail(ex: unknown): void {
    if (!(ex instanceof ApiError)) throw ex;
    if (ex.problem.status === 401) {
      lost();
      return;
    }
    this.failures += 1;
    const pause = Math.min(LONGEST_PAUSE_MS, Math.max(1000 * 2 ** this.failures, 1000 * (ex.problem.retry_after_s ?? 0)));
    this.again(pause);
    // Busy for a moment is nothing to tell anybody of.
    if (ex.problem.error === "overloaded" && this.failures === 1) return;
    // What is gone for good is not shown any longer; what cannot be asked for stays, with its age.
    const data = [403, 404].includes(ex.problem.status) ? null : this.state.data;
    this.tell({ ...this.state, data, problem: ex.problem, retryAt: Date.now() + pause });
  }

  private again(pauseMs: number): void {
    window.clearTimeout(this.timer);
    if (!document.hidden) this.timer = window.setTimeout(() => this.ask(), pauseMs);
  }

  private tell(state: Polled<unknown>): void {
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}

const polls = new Map<string, Poll>();
let lost: () => void = () => undefined;

/** Call `listener` when the session is over. */
export function onSessionLost(listener: () => void): void {
  lost = listener;
}

/** Ask for everything that is looked at, now. */
export function refreshAll(): void {
  for (const poll of polls.values()) poll.ask();
}

/** Forget every answer: they belong to the session that ended. */
export function forgetAll(): void {
  for (const poll of polls.values()) poll.stop();
  polls.clear();
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refreshAll();
});
window.addEventListener("online", refreshAll);

/** Return the answer at `path`, asked for every `periodMs` while the page is visible; a null path asks for nothing. */
export function usePoll<Body>(path: string | null, periodMs: number): Polled<Body> {
  const [, redraw] = useState(0);
  useEffect(() => {
    if (path === null) return undefined;
    return pollOf(path, periodMs).listen(() => redraw((count) => count + 1));
  }, [path, periodMs]);
  return (path === null ? NOTHING : pollOf(path, periodMs).state) as Polled<Body>;
}

function pollOf(path: string, periodMs: number): Poll {
  const known = polls.get(path);
  if (known) return known;
  const made = new Poll(path, periodMs);
  polls.set(path, made);
  return made;
}
