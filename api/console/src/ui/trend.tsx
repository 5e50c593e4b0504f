import type { JSX } from "preact";
import { now, withQuery } from "../api";
import { usePage, type Annotations } from "../context";
import { ago } from "../format";
import { usePoll } from "../poll";
import type { History } from "../openapi";
import { Sparkline } from "./charts";

const PERIOD_MS = 60_000;

interface TrendProps {
  signal: string;
  item: Annotations;
  /** The current value: the history has a point per change, and ageing is not a change. */
  value: number;
  format: (value: number) => string;
}

/** The history of an item's value as a sparkline: one request a minute per item that is shown. */
export function Trend({ signal, item, value, format }: TrendProps): JSX.Element | null {
  const page = usePage();
  const path = item.fingerprint && page.can("activity.changes") ? withQuery("/activity/history", { signal, key: item.fingerprint }) : null;
  const polled = usePoll<History>(path, PERIOD_MS);
  const points = (polled.data?.points ?? []).flatMap((point) => (point.value === null ? [] : [{ at: Date.parse(point.at), value: point.value }]));
  const first = points[0];
  // At the first refresh there is no history to draw.
  if (!first || (points.length < 2 && (item.movement?.refreshes_present ?? 0) < 2)) return null;
  const label = `${format(first.value)} ${ago(now() - first.at)}, ${format(value)} now`;
  return <Sparkline points={[...points, { at: now(), value }]} label={label} />;
}
