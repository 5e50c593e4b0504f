/** The page around every view: the session, the signal catalogue, and how to announce something. */
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { AgentCost, Session, Signal } from "./openapi";

/** What the API adds to each item of a present snapshot. */
export type Annotations = Pick<AgentCost, "fingerprint" | "movement" | "triage">;

export interface Page {
  session: Session;
  /** The signals that the key may read. */
  signals: Signal[];
  can: (capability: string) => boolean;
  /** Show a notice for a moment, with a button to undo the action where that is possible. */
  announce: (words: string, undo?: () => void) => void;
}

export const PageContext = createContext<Page | null>(null);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (!page) throw new Error("outside of the page");
  return page;
}

/** Return the catalogue's entry of a signal; undefined for a key that may not read it. */
export const useSignal = (name: string): Signal | undefined => usePage().signals.find((each) => each.name === name);

export const PATHS = {
  signals: "/activity/signals",
  patterns: "/activity/patterns",
  cost: "/activity/cost-analysis",
  /** Without snoozed items: the limit counts the items that are shown. */
  attention: "/activity/attention-queue?limit=100&snoozed=hide",
  attentionWhole: "/activity/attention-queue?limit=100",
  freshness: "/activity/freshness",
  status: "/activity/summary/by-status",
} as const;

/** Polling periods, milliseconds: snapshots are cheap to read, live counts are not. */
export const STORED_MS = 5000;
export const COUNTED_MS = 30_000;

/** Return `path` where the key may read it, else null: the console sends no request that the API would refuse. */
export function usePath(path: string, capability: string): string | null {
  return usePage().can(capability) ? path : null;
}
