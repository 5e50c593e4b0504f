/** Polling: one request per path, shared by all components that show it. */
import { useEffect, useState } from "preact/hooks";
import { ApiError, read, type Problem } from "./api";

const LONGEST_PAUSE_MS = 60_000;

export interface Polled<Body> {
  data: Body | null;
  problem: Problem | null;
  stale: boolean;
  verifiedAt: string | null;
  /** Time of the next attempt after a failure, by this machine's clock. */
  retryAt: number | null;
  /** Time of the last response, by this machine's clock. */
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
  private pending: AbortController | null = null;

  constructor(
    private readonly path: string,
    private readonly periodMs: number,
  ) {}

  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    if (this.listeners.size === 1) this.requestNow();
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.stop();
    };
  }

  /** Send a request now, unless no component listens or the tab is hidden. */
  requestNow(): void {
    window.clearTimeout(this.timer);
    if (this.listeners.size === 0 || document.hidden || this.pending) return;
    void this.request();
  }

  stop(): void {
    window.clearTimeout(this.timer);
    this.pending?.abort();
    this.pending = null;
  }

  private async request(): Promise<void> {
    const mine = (this.pending = new AbortController());
    try {
      const answer = await read<unknown>(this.path, this.state.data === null ? null : this.etag, mine.signal);
      if (mine.signal.aborted) return;
      this.failures = 0;
      this.etag = answer.etag;
      const data = answer.body ?? this.state.data;
      this.notify({ data, problem: null, stale: answer.stale ?? false, verifiedAt: answer.verifiedAt, retryAt: null, answeredAt: Date.now() });
      this.schedule(this.periodMs);
    } catch (ex) {
      if (mine.signal.aborted) return;
      this.fail(ex);
    } finally {
      if (this.pending === mine) this.pending = null;
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
    this.schedule(pause);
    // A first overload is not shown: it usually passes.
    if (ex.problem.error === "overloaded" && this.failures === 1) return;
    // After 403 and 404 the data is gone; after other errors the last known data stays, with its age.
    const data = [403, 404].includes(ex.problem.status) ? null : this.state.data;
    this.notify({ ...this.state, data, problem: ex.problem, retryAt: Date.now() + pause });
  }

  private schedule(pauseMs: number): void {
    window.clearTimeout(this.timer);
    if (!document.hidden) this.timer = window.setTimeout(() => this.requestNow(), pauseMs);
  }

  private notify(state: Polled<unknown>): void {
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

/** Send a request for every path that is shown. */
export function refreshAll(): void {
  for (const poll of polls.values()) poll.requestNow();
}

/** Drop all data: it belongs to the session that ended. */
export function forgetAll(): void {
  for (const poll of polls.values()) poll.stop();
  polls.clear();
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refreshAll();
});
window.addEventListener("online", refreshAll);

/** Return the data at `path`, polled every `periodMs` while the page is visible; nothing for a null path. */
export function usePoll<Body>(path: string | null, periodMs: number): Polled<Body> {
  return usePolls<Body>(path === null ? [] : [path], periodMs)[0] ?? NOTHING;
}

/** Return the data at each of `paths`, as `usePoll` does. */
export function usePolls<Body>(paths: string[], periodMs: number): Polled<Body>[] {
  const [, redraw] = useState(0);
  useEffect(() => {
    const stops = paths.map((path) => pollOf(path, periodMs).listen(() => redraw((count) => count + 1)));
    return () => stops.forEach((stop) => stop());
  }, [paths.join(" "), periodMs]);
  return paths.map((path) => pollOf(path, periodMs).state as Polled<Body>);
}

function pollOf(path: string, periodMs: number): Poll {
  const known = polls.get(path);
  if (known) return known;
  const made = new Poll(path, periodMs);
  polls.set(path, made);
  return made;
}
