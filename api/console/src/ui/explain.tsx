import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { usePage } from "../context";
import { usePoll } from "../poll";
import type { Followed } from "../types";
import { Loading, Trouble } from "./parts";

interface Explanation {
  finds: string;
  arithmetic: string[];
  source: { agrees: boolean | null } | null;
}

const PERIOD_MS = 60_000;

/** How an item came to its value, step by step, for those who ask and may. */
export function Explain({ item }: { item: Followed }): JSX.Element | null {
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
          <p class="dim">{polled.data.finds}</p>
          <ol>
            {polled.data.arithmetic.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ol>
          {polled.data.source?.agrees === false ? <p class="dim">The source has changed since: the next refresh will tell.</p> : null}
        </>
      ) : isOpen && !polled.problem ? (
        <Loading />
      ) : null}
    </details>
  );
}
