/** Formats of numbers, times and names. */

const dollars = new Map<number, Intl.NumberFormat>();

export function money(usd: number | null | undefined): string {
  if (usd === null || usd === undefined) return "–";
  const size = Math.abs(usd);
  const digits = size === 0 || size >= 1 ? 2 : size >= 0.1 ? 3 : 4;
  let format = dollars.get(digits);
  if (!format) {
    format = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", minimumFractionDigits: digits, maximumFractionDigits: digits });
    dollars.set(digits, format);
  }
  return format.format(usd);
}

const whole = new Intl.NumberFormat();
export const count = (value: number | null | undefined): string => (value === null || value === undefined ? "–" : whole.format(value));

export const plural = (value: number, one: string, many = `${one}s`): string => `${count(value)} ${value === 1 ? one : many}`;

export function decimal(value: number | null | undefined, digits = 1): string {
  return value === null || value === undefined ? "–" : value.toFixed(digits).replace(/^-(?=[0.]*$)/, "");
}

export function percent(share: number): string {
  return share > 0 && share < 0.01 ? "<1 %" : `${Math.round(100 * share)} %`;
}

/** Return a ratio as a multiple. */
export const times = (ratio: number | null | undefined): string =>
  ratio === null || ratio === undefined ? "–" : `${ratio.toFixed(ratio < 10 ? 1 : 0)}×`;

const UNITS: [number, string][] = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1000, "s"],
];

/** Return a span of time: the two largest units, or milliseconds. */
export function span(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const [size, unit] = UNITS.find(([each]) => ms >= each) ?? [1000, "s"];
  const first = Math.floor(ms / size);
  const next = UNITS[UNITS.findIndex(([each]) => each === size) + 1];
  const rest = next ? Math.floor((ms - first * size) / next[0]) : 0;
  return rest && next && first < 10 ? `${first} ${unit} ${rest} ${next[1]}` : `${first} ${unit}`;
}

/** Return an age in its largest unit. */
export function ago(ms: number): string {
  if (ms < 5000) return "just now";
  const [size, unit] = UNITS.find(([each]) => ms >= each) ?? [1000, "s"];
  return `${Math.floor(ms / size)} ${unit} ago`;
}

/** Return an age as an adjective, such as "2 min old". */
export const old = (ms: number): string => (ms < 5000 ? `${Math.floor(ms / 1000)} s old` : ago(ms).replace(/ago$/, "old"));

const sameDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const otherDay = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** Return an instant in the reader's own zone; the date where it is not today. */
export function local(instant: Date): string {
  return (instant.toDateString() === new Date().toDateString() ? sameDay : otherDay).format(instant);
}

/** Return an instant in UTC, to the second. */
export const utc = (instant: Date): string => `${instant.toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** Return words for a name of the API: `step_oscillation` is "Step oscillation". */
export function words(name: string | null | undefined): string {
  if (!name) return "unknown";
  const spaced = name.toLowerCase().replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
