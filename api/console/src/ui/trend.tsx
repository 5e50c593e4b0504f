import type { JSX } from "preact";
import { withQuery } from "../api";
import { usePage } from "../context";
import { usePoll } from "../poll";
import type { Followed, SignalName } from "../types";
import { Sparkline } from "./charts";

interface History {
  points: { at: string; value: number | null; rank: number | null }[];
}

const PERIOD_MS = 60_000;

/** How an item's value went, where the API keeps it: one small request a minute for each that is shown. */
export function Trend({ signal, item, format }: { signal: SignalName; item: Followed; format: (value: number) => string }): JSX.Element | null {
  const page = usePage();
  const path = item.fingerprint && page.can("activity.changes") ? withQuery("/activity/history", { signal, key: item.fingerprint }) : null;
  const polled = usePoll<History>(path, PERIOD_MS);
  const points = (polled.data?.points ?? []).flatMap((point) => (point.value === null ? [] : [{ at: Date.parse(point.at), value: point.value }]));
  const first = points[0];
  const last = points[points.length - 1];
  if (!first || !last || points.length < 2) return null;
  return <Sparkline points={points} label={`From ${format(first.value)} to ${format(last.value)} since it was first seen`} />;
}
