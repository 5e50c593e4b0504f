import type { JSX } from "preact";
import { plural } from "../format";
import { setQuery, type Route } from "../route";
import type { Followed } from "../types";

/** What is snoozed counts nowhere on the page, until somebody asks to see it. */
export const isSnoozed = (item: Followed): boolean => item.triage?.state === "snoozed";

export const showsSnoozed = (route: Route): boolean => route.query.get("snoozed") === "show";

/** Says how many are hidden as snoozed, and shows or hides them, on the whole page at once. */
export function SnoozedToggle({ amount, what, isShown }: { amount: number; what: string; isShown: boolean }): JSX.Element | null {
  if (amount === 0) return null;
  return (
    <button type="button" aria-pressed={isShown} onClick={() => setQuery({ snoozed: isShown ? null : "show" })}>
      {isShown ? "Hide" : "Show"} {plural(amount, `snoozed ${what}`)}
    </button>
  );
}
