/** Charts. Each has a text alternative with the same numbers. */
import { scaleLinear } from "d3-scale";
import { line } from "d3-shape";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { count, money, percent, times } from "../format";
import type { Component, Tone } from "../meaning";
import type { Contributions } from "../openapi";

/** Return a ref and the width of its element, pixels. */
export function useWidth(fallback: number): [{ current: HTMLDivElement | null }, number] {
  const ref = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(fallback);
  useEffect(() => {
    const element = ref.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(([entry]) => entry && setWidth(Math.max(120, Math.floor(entry.contentRect.width))));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

/** A part of the bar that is narrower than this share has no room for its code. */
const LEAST_CODED = 0.12;

interface ScoreBarProps {
  contributions: Contributions;
  score: number;
  components: Component[];
  /** The largest possible score: the bar's full width. */
  most: number;
}

/** A score as the sum of its contributions. */
export function ScoreBar({ contributions, score, components, most }: ScoreBarProps): JSX.Element {
  const parts = components.filter(({ name }) => contributions[name] > 0);
  const label = parts.map(({ name, title }) => `${title.toLowerCase()} ${contributions[name].toFixed(2)}`).join(", ");
  return (
    <span class="score-bar" role="img" aria-label={`Score ${score.toFixed(2)}: ${label}`}>
      {parts.map(({ name, title, code }) => (
        <i key={name} class={`part-${name}`} style={{ width: `${(100 * contributions[name]) / most}%` }} title={`${title} ${contributions[name].toFixed(3)}`}>
          {contributions[name] / most >= LEAST_CODED ? code : ""}
        </i>
      ))}
    </span>
  );
}

export function ScoreLegend({ components }: { components: Component[] }): JSX.Element {
  return (
    <ul class="legend" aria-label="Components of a score">
      {components.map(({ name, title, code }) => (
        <li key={name}>
          <i class={`part-${name}`}>{code}</i>
          {title}
        </li>
      ))}
    </ul>
  );
}

interface RangeProps {
  current: number;
  average: number | null;
  p95: number | null;
  /** The largest multiple of the average on the axis, the same for all rows. */
  most: number;
  tone: Tone;
}

/** The current cost of a run on its usual range, in multiples of the usual average. */
export function RangePlot({ current, average, p95, most, tone }: RangeProps): JSX.Element {
  if (!average) return <span class="dim">no baseline</span>;
  const x = scaleLinear([0, most], [2, 98]).clamp(true);
  const at = x(current / average);
  const isBeyond = current / average > most;
  const label = `now ${money(current)}, ${times(current / average)} the usual ${money(average)}; 95th percentile ${money(p95)}`;
  return (
    <span class="range" role="img" aria-label={label} title={label}>
      <svg viewBox="0 0 100 18" preserveAspectRatio="none" aria-hidden="true">
        <line class="range-axis" x1={x(0)} x2={x(most)} y1="9" y2="9" />
        <rect class="range-band" x={x(0)} width={x((p95 ?? average) / average) - x(0)} y="5" height="8" />
      </svg>
      <i class="range-mean" style={{ left: `${x(1)}%` }} />
      <i class="range-p95" style={{ left: `${x((p95 ?? average) / average)}%` }} />
      <i class={`range-now tone-${tone} ${isBeyond ? "beyond" : ""}`} style={{ left: `${at}%` }} />
    </span>
  );
}

export function RangeLegend({ most }: { most: number }): JSX.Element {
  return (
    <ul class="legend">
      <li>
        <i class="key-band" /> usual range, to the 95th percentile
      </li>
      <li>
        <i class="key-mean" /> usual average
      </li>
      <li>
        <i class="key-now" /> now
      </li>
      <li>axis: 0 to {times(most)} the average</li>
    </ul>
  );
}

interface Bar {
  key: string;
  label: string;
  value: number;
  tone?: Tone;
  href?: string;
}

/** A bar per count, with the number and the share. */
export function Bars({ bars, total, name }: { bars: Bar[]; total: number; name: string }): JSX.Element {
  const most = Math.max(1, ...bars.map((bar) => bar.value));
  return (
    <ul class="bars" aria-label={name}>
      {bars.map((bar) => (
        <li key={bar.key}>
          <span class="bar-label">{bar.href ? <a href={bar.href}>{bar.label}</a> : bar.label}</span>
          <span class="bar-track" aria-hidden="true">
            <i class={`tone-${bar.tone ?? "plain"}`} style={{ width: `${(100 * bar.value) / most}%` }} />
          </span>
          <span class="bar-value">
            {count(bar.value)}
            <small>{total ? percent(bar.value / total) : ""}</small>
          </span>
        </li>
      ))}
    </ul>
  );
}

/** The axis of a sparkline spans at least this share of its middle value, up and down. */
const LEAST_SPREAD = 0.05;

/** A sparkline. */
export function Sparkline({ points, label }: { points: { at: number; value: number }[]; label: string }): JSX.Element | null {
  const first = points[0];
  const last = points[points.length - 1];
  if (!first || !last || points.length < 2) return null;
  const values = points.map((point) => point.value);
  const x = scaleLinear([first.at, last.at], [1, 79]);
  // A small change is drawn as a nearly flat line.
  const middle = (Math.min(...values) + Math.max(...values)) / 2;
  const half = Math.max((Math.max(...values) - Math.min(...values)) / 2, Math.abs(middle) * LEAST_SPREAD, Number.MIN_VALUE);
  const y = scaleLinear([middle - half, middle + half], [17, 3]);
  const path = line<{ at: number; value: number }>((point) => x(point.at), (point) => y(point.value))(points);
  return (
    <svg class="spark" viewBox="0 0 80 20" width="80" height="20" role="img" aria-label={label}>
      <title>{label}</title>
      <path d={path ?? ""} />
      <circle cx={x(last.at)} cy={y(last.value)} r="2" />
    </svg>
  );
}
