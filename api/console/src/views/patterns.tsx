import type { JSX } from "preact";
import { PATHS, STORED_MS, usePage, usePath, useSignal } from "../context";
import { money, percent, plural, span } from "../format";
import { finding, kindTitle, remarks, ruleOf, type Waste } from "../meaning";
import { usePoll } from "../poll";
import { listed, runHref, setQuery, type Route } from "../route";
import type { Pattern, Patterns } from "../openapi";
import { Empty, hasPast, Movement, Name, Panel, Time, Toggles, When } from "../ui/parts";
import { Withheld } from "./queue";
import { isSnoozed, showsSnoozed, SnoozedToggle } from "./snoozing";
import { TriageState, TriageTools } from "./triage";

const FIRST_RUNS = 4;

export function PatternsPanel({ route }: { route: Route }): JSX.Element {
  const polled = usePoll<Patterns>(usePath(PATHS.patterns, "activity.patterns"), STORED_MS);
  const isAllowed = usePage().can("activity.patterns");
  const snoozed = polled.data?.patterns.filter(isSnoozed).length ?? 0;
  return (
    <Panel
      id="patterns"
      title="Stuck in a pattern"
      polled={polled}
      note={polled.data ? `last ${String(polled.data.parameters["window_hours"])} h, matched by skill name only` : null}
      tools={<SnoozedToggle amount={snoozed} what="pattern" isShown={showsSnoozed(route)} />}
    >
      {isAllowed ? <When polled={polled}>{(data) => <Cards data={data} route={route} />}</When> : <Withheld capability="activity.patterns" />}
    </Panel>
  );
}

function Cards({ data, route }: { data: Patterns; route: Route }): JSX.Element {
  const signal = useSignal("patterns");
  if (data.patterns.length === 0) {
    return (
      <Empty title="No run is stuck in a pattern">
        Last refresh <Time at={data.snapshot.verified_at} />.
      </Empty>
    );
  }
  const moves = hasPast(data.patterns);
  const chosen = listed(route.query, "pattern");
  const counted = data.patterns.filter((pattern) => showsSnoozed(route) || !isSnoozed(pattern));
  const types = [...new Set(data.patterns.map((pattern) => pattern.pattern_type))];
  const shown = counted.filter((pattern) => chosen.length === 0 || chosen.includes(pattern.pattern_type));
  return (
    <>
      <div class="filters">
        <Toggles
          name="Pattern"
          chosen={chosen}
          onChange={(types) => setQuery({ pattern: types })}
          options={types.map((type) => [type, kindTitle(signal, type), counted.filter((each) => each.pattern_type === type).length])}
        />
      </div>
      <ul class="cards">
        {shown.map((pattern) => (
          <Card key={`${pattern.pattern_type} ${pattern.details["skill_id"] ?? ""}`} pattern={pattern} body={data} moves={moves} />
        ))}
      </ul>
      {shown.length === 0 ? <Empty title={counted.length ? "No pattern matches these filters" : "All patterns are snoozed"} tone="plain" /> : null}
      {data.by_skill?.length ? <BySkill skills={data.by_skill} /> : null}
    </>
  );
}

function Card({ pattern, body, moves }: { pattern: Pattern; body: Patterns; moves: boolean }): JSX.Element {
  const signal = useSignal("patterns");
  const title = kindTitle(signal, pattern.pattern_type);
  const skill = pattern.details["skill_id"];
  const rest = pattern.run_ids.slice(FIRST_RUNS);
  return (
    <li class={`card ${pattern.triage ? `is-${pattern.triage.state}` : ""}`}>
      <header>
        <h3 title={ruleOf(signal, pattern.pattern_type, body)}>
          {title}
          {skill !== undefined ? <code>{skill ?? "unknown"}</code> : null}
        </h3>
        {moves ? <Movement move={pattern.movement?.since_previous} /> : null}
        <span class="card-count">{plural(pattern.count, "run")}</span>
      </header>
      <p>{finding(pattern, body)}</p>
      {remarks(pattern).map((remark) => (
        <p key={remark} class="remark">
          {remark}
        </p>
      ))}
      <WasteLine waste={pattern} />
      <p class="strength">
        <span class="strength-track" aria-hidden="true">
          <i style={{ width: `${100 * pattern.confidence}%` }} />
        </span>
        confidence {pattern.confidence.toFixed(2)}
      </p>
      <ul class="run-links">
        {pattern.run_ids.slice(0, FIRST_RUNS).map((id, index) => (
          <li key={id}>
            <Name href={runHref(id)} row={index === 0 ? (pattern.fingerprint ?? id) : undefined}>
              {id}
            </Name>
          </li>
        ))}
        {rest.length ? (
          <li>
            <details>
              <summary>{rest.length} more</summary>
              {rest.map((id) => (
                <Name key={id} href={runHref(id)}>
                  {id}
                </Name>
              ))}
            </details>
          </li>
        ) : null}
      </ul>
      <TriageState triage={pattern.triage} />
      <TriageTools item={pattern} name={title} />
    </li>
  );
}

/** Time and cost of the repeats after the first use. */
export function WasteLine({ waste }: { waste: Waste }): JSX.Element | null {
  const time = waste.wasted_ms;
  const cost = waste.wasted_cost_usd;
  if (!time && !cost) return null;
  return (
    <p class="waste">
      Wasted {time ? <b>{span(time)}</b> : null}
      {time && cost ? " and " : null}
      {cost ? <b>{money(cost)}</b> : null}
      {waste.share_of_run ? <span class="dim"> · {percent(waste.share_of_run)} of the run</span> : null}
    </p>
  );
}

function BySkill({ skills }: { skills: NonNullable<Patterns["by_skill"]> }): JSX.Element {
  const signal = useSignal("patterns");
  return (
    <details class="by-skill">
      <summary>By skill: {plural(skills.length, "skill")}</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="Patterns by skill">
        <table>
          <thead>
            <tr>
              <th scope="col">Skill</th>
              <th scope="col">Patterns</th>
              <th scope="col" class="number">
                Runs
              </th>
              <th scope="col" class="number">
                Wasted
              </th>
            </tr>
          </thead>
          <tbody>
            {skills.slice(0, 10).map((skill) => (
              <tr key={skill.skill_id}>
                <th scope="row">{skill.skill_id ?? "unknown"}</th>
                <td>{skill.pattern_types.map((type) => kindTitle(signal, type)).join(", ")}</td>
                <td class="number">{skill.run_count}</td>
                <td class="number">
                  {skill.wasted_ms ? span(skill.wasted_ms) : "–"}
                  {skill.wasted_cost_usd ? `, ${money(skill.wasted_cost_usd)}` : ""}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
