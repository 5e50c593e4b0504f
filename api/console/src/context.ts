/** What every view may ask of the page around it. */
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Session } from "./types";

export interface Page {
  session: Session;
  can: (capability: string) => boolean;
  /** Say for a moment what was done, and offer to undo it where that can be. */
  announce: (words: string, undo?: () => void) => void;
}

export const PageContext = createContext<Page | null>(null);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (!page) throw new Error("outside of the page");
  return page;
}

export const PATHS = {
  patterns: "/activity/patterns",
  cost: "/activity/cost-analysis",
  /** Without what is snoozed: the page of a hundred is full all the same. */
  attention: "/activity/attention-queue?limit=100&snoozed=hide",
  attentionWhole: "/activity/attention-queue?limit=100",
  freshness: "/activity/freshness",
  status: "/activity/summary/by-status",
} as const;

/** How often each kind of answer is asked for, milliseconds: what is stored costs little, what is counted more. */
export const STORED_MS = 5000;
export const COUNTED_MS = 30_000;

/** Return `path` where the key may read it, else null: nothing is asked for in vain. */
export function usePath(path: string, capability: string): string | null {
  return usePage().can(capability) ? path : null;
}
