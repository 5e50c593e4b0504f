import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { usePage, type Annotations } from "../context";
import { usePoll } from "../poll";
import type { Explanation } from "../openapi";
import { Loading, Trouble } from "./parts";

const PERIOD_MS = 60_000;

/** The computation of an item's value, step by step, loaded on demand, for keys with the capability. */
export function Explain({ item }: { item: Annotations }): JSX.Element | null {
  const page = usePage();
  const [isOpen, setOpen] = useState(false);
  const path = item.fingerprint && page.can("activity.explain") ? `/activity/explain/${item.fingerprint}` : null;
  const polled = usePoll<Explanation>(isOpen ? path : null, PERIOD_MS);
  if (!path) return null;
  return (
    <details class="explain" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>How it was computed</summary>
      {polled.problem ? <Trouble problem={polled.problem} hasData={false} /> : null}
      {polled.data ? (
        <>
          <p class="dim">Signal: {polled.data.finds}.</p>
          <ol>
            {polled.data.arithmetic.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ol>
          {polled.data.source.agrees === false ? <p class="dim">New runs arrived; updates at the next refresh.</p> : null}
        </>
      ) : isOpen && !polled.problem ? (
        <Loading />
      ) : null}
    </details>
  );
}
