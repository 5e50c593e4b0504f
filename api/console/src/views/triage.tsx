import type { JSX } from "preact";
import { usePage } from "../context";
import type { Followed, Triage } from "../types";
import { Shape, Time } from "../ui/parts";

const WORDS: Record<Triage["state"], string> = { acknowledged: "Acknowledged", snoozed: "Snoozed", expected: "Expected" };

/** What somebody decided about an item. */
export function TriageState({ triage }: { triage: Triage | null | undefined }): JSX.Element | null {
  if (!triage) return null;
  return (
    <p class="triage-state">
      <Shape tone="plain" /> {WORDS[triage.state]}
      {triage.until ? (
        <>
          {" "}
          until <Time at={triage.until} />
        </>
      ) : null}
      {triage.actor ? ` by ${triage.actor}` : ""} <Time at={triage.at} relative />
      {triage.reason ? ` · ${triage.reason}` : ""}
      {triage.comment ? ` · “${triage.comment}”` : ""}
    </p>
  );
}

/** What may be decided about an item, for those who may. */
export function TriageTools({ item, name }: { item: Followed; name: string }): JSX.Element | null {
  const page = usePage();
  if (!item.fingerprint || !page.can("activity.triage")) return null;
  void name;
  return null;
}
