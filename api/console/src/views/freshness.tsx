import type { JSX } from "preact";
import { PATHS, STORED_MS } from "../context";
import { local, span, utc, words } from "../format";
import { usePoll } from "../poll";
import type { Freshness } from "../openapi";
import { Shape, Trouble, useNow } from "../ui/parts";

type SignalAge = Freshness["signals"][number];

/** The age of each signal against the age from which it is stale. */
export function FreshnessStrip(): JSX.Element {
  const polled = usePoll<Freshness>(PATHS.freshness, STORED_MS);
  const present = useNow(1000);
  return (
    <section class="strip" aria-label="Freshness">
      <ul>
        <li class="strip-word dim">Last refresh</li>
        {polled.data?.signals.map((signal) => (
          <Age key={signal.signal} signal={signal} present={present} />
        ))}
      </ul>
      {polled.problem ? <Trouble problem={polled.problem} hasData={polled.data !== null} /> : null}
    </section>
  );
}

function Age({ signal, present }: { signal: SignalAge; present: number }): JSX.Element {
  const name = words(signal.signal);
  if (!signal.verified_at || !signal.stale_after) {
    return (
      <li class="age never">
        <span class="age-name">{name}</span>
        <span class="age-word">
          <Shape tone="plain" /> not computed yet
        </span>
      </li>
    );
  }
  const verified = Date.parse(signal.verified_at);
  const allowed = Date.parse(signal.stale_after) - verified;
  const age = Math.max(0, present - verified);
  const isStale = age > allowed;
  const tip = `Last refresh ${local(new Date(verified))} · ${utc(new Date(verified))}`;
  const failure = signal.last_attempt?.state === "failed" ? signal.last_attempt.error_class : null;
  return (
    <li class={`age ${isStale ? "is-stale" : ""}`}>
      <span class="age-name">{name}</span>
      <span class="age-word">
        <Shape tone={isStale ? "critical" : failure ? "warning" : "good"} />
        <span class={isStale || failure ? "" : "is-usual"}>{isStale ? "stale" : failure ? "last refresh failed" : "fresh"}</span>
      </span>
      <span class="tip age-number" tabIndex={0} data-tip={tip} aria-label={`${span(age)} old, stale after ${span(allowed)}. ${tip}`}>
        {seconds(age)}
        <span class="dim"> of {span(allowed)}</span>
      </span>
      <span class="age-track" aria-hidden="true">
        <i style={{ width: `${Math.min(100, (100 * age) / allowed)}%` }} />
      </span>
    </li>
  );
}

/** Return an age in whole seconds: it is redrawn each second. */
const seconds = (ms: number): string => (ms < 60_000 ? `${Math.floor(ms / 1000)} s` : span(Math.floor(ms / 1000) * 1000));
