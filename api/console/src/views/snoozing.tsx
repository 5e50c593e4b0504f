import type { JSX } from "preact";
import { plural } from "../format";
import { setQuery, type Route } from "../route";
import type { Annotations } from "../context";

/** Tell whether an item is snoozed: hidden, and not counted anywhere on the page. */
export const isSnoozed = (item: Annotations): boolean => item.triage?.state === "snoozed";

export const showsSnoozed = (route: Route): boolean => route.query.get("snoozed") === "show";

/** The number of snoozed items, as a button that shows or hides them on the whole page. */
export function SnoozedToggle({ amount, what, isShown }: { amount: number; what: string; isShown: boolean }): JSX.Element | null {
  if (amount === 0) return null;
  return (
    <button type="button" aria-pressed={isShown} onClick={() => setQuery({ snoozed: isShown ? null : "show" })}>
      {isShown ? "Hide" : "Show"} {plural(amount, `snoozed ${what}`)}
    </button>
  );
}
