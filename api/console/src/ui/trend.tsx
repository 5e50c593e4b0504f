import type { JSX } from "preact";
import { withQuery } from "../api";
import { usePage } from "../context";
import { ago } from "../format";
import { usePoll } from "../poll";
import type { Followed, SignalName } from "../types";
import { now } from "../api";
import { Sparkline } from "./charts";

interface History {
  points: { at: string; value: number | null; rank: number | null }[];
}

const PERIOD_MS = 60_000;

interface TrendProps {
  signal: SignalName;
  item: Followed;
  /** What the item's value is now: its history has a point for each change, and ageing is none. */
  value: number;
  format: (value: number) => string;
}

/** How an item's value went, where the API keeps it: one small request a minute for each that is shown. */
export function Trend({ signal, item, value, format }: TrendProps): JSX.Element | null {
  const page = usePage();
  const path = item.fingerprint && page.can("activity.changes") ? withQuery("/activity/history", { signal, key: item.fingerprint }) : null;
  const polled = usePoll<History>(path, PERIOD_MS);
  const points = (polled.data?.points ?? []).flatMap((point) => (point.value === null ? [] : [{ at: Date.parse(point.at), value: point.value }]));
  const first = points[0];
  // At the first refresh there is no past to draw.
  if (!first || (points.length < 2 && (item.movement?.refreshes_present ?? 0) < 2)) return null;
  const label = `${format(first.value)} ${ago(now() - first.at)}, ${format(value)} now`;
  return <Sparkline points={[...points, { at: now(), value }]} label={label} />;
}
