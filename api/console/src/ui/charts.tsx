/** Pictures of numbers; each says the same in words for those who do not see it. */
import { scaleLinear } from "d3-scale";
import { line } from "d3-shape";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { count, money, percent, times } from "../format";
import type { Tone } from "../meaning";
import { COMPONENT_CODES, COMPONENT_WORDS, MOST } from "../meaning";
import { COMPONENTS, type Contributions } from "../types";

/** The width that the layout gives, pixels. */
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

/** A score as the sum of its contributions; the bar's full width is the largest score there can be. */
export function ScoreBar({ contributions, score }: { contributions: Contributions; score: number }): JSX.Element {
  const parts = COMPONENTS.filter((name) => contributions[name] > 0);
  const said = parts.map((name) => `${COMPONENT_WORDS[name].toLowerCase()} ${contributions[name].toFixed(2)}`).join(", ");
  return (
    <span class="score-bar" role="img" aria-label={`Score ${score.toFixed(2)}: ${said}`}>
      {parts.map((name) => (
        <i
          key={name}
          class={`part-${name}`}
          style={{ width: `${(100 * contributions[name]) / MOST}%` }}
          title={`${COMPONENT_WORDS[name]} ${contributions[name].toFixed(3)}`}
        >
          {contributions[name] >= 0.12 ? COMPONENT_CODES[name] : ""}
        </i>
      ))}
    </span>
  );
}

export function ScoreLegend(): JSX.Element {
  return (
    <ul class="legend" aria-label="Parts of a score">
      {COMPONENTS.map((name) => (
        <li key={name}>
          <i class={`part-${name}`}>{COMPONENT_CODES[name]}</i>
          {COMPONENT_WORDS[name]}
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

/** What a run costs now beside the range that was usual, as multiples of the usual average. */
export function RangePlot({ current, average, p95, most, tone }: RangeProps): JSX.Element {
  if (!average) return <span class="dim">no baseline</span>;
  const x = scaleLinear([0, most], [2, 98]).clamp(true);
  const at = x(current / average);
  const isBeyond = current / average > most;
  const said = `now ${money(current)}, ${times(current / average)} the usual ${money(average)}; 95 % of runs cost up to ${money(p95)}`;
  return (
    <span class="range" role="img" aria-label={said} title={said}>
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
        <i class="key-band" /> usual, up to the 95th percentile
      </li>
      <li>
        <i class="key-mean" /> usual average
      </li>
      <li>
        <i class="key-now" /> now
      </li>
      <li>axis 0 to {times(most)} the average</li>
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

/** Counts as bars, each with its number and its share. */
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

/** The height of a small line is at least this share of its middle value, up and down. */
const LEAST_SPREAD = 0.05;

/** A line of a few points; what it says stands beside it in words. */
export function Sparkline({ points, label }: { points: { at: number; value: number }[]; label: string }): JSX.Element | null {
  const first = points[0];
  const last = points[points.length - 1];
  if (!first || !last || points.length < 2) return null;
  const values = points.map((point) => point.value);
  const x = scaleLinear([first.at, last.at], [1, 79]);
  // What hardly moved is drawn as a flat line, and not as a cliff.
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
