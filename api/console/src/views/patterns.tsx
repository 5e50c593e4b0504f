import type { JSX } from "preact";
import { PATHS, STORED_MS, usePage, usePath } from "../context";
import { money, percent, plural, span } from "../format";
import { finding, PATTERN_RULES, PATTERN_WORDS, remarks } from "../meaning";
import { usePoll } from "../poll";
import { listed, runHref, setQuery, type Route } from "../route";
import type { Pattern, Patterns, Waste } from "../types";
import { Empty, hasPast, Movement, Name, Panel, Time, Toggles, When } from "../ui/parts";
import { Withheld } from "./queue";
import { isSnoozed, showsSnoozed, SnoozedToggle } from "./snoozing";
import { TriageState, TriageTools } from "./triage";

const FIRST_RUNS = 4;

export function PatternsPanel({ route }: { route: Route }): JSX.Element {
  const polled = usePoll<Patterns>(usePath(PATHS.patterns, "activity.patterns"), STORED_MS);
  const isAllowed = usePage().can("activity.patterns");
  const hours = polled.data?.parameters["window_hours"];
  const snoozed = polled.data?.patterns.filter(isSnoozed).length ?? 0;
  return (
    <Panel
      id="patterns"
      title="Stuck in a pattern"
      polled={polled}
      note={polled.data ? `last ${hours ?? 24} hours, by skill names alone` : null}
      tools={<SnoozedToggle amount={snoozed} what="pattern" isShown={showsSnoozed(route)} />}
    >
      {isAllowed ? <When polled={polled}>{(data) => <Cards data={data} route={route} />}</When> : <Withheld capability="activity.patterns" />}
    </Panel>
  );
}

function Cards({ data, route }: { data: Patterns; route: Route }): JSX.Element {
  if (data.patterns.length === 0) {
    return (
      <Empty title="No run is stuck in a pattern">
        No retry loop, repeated step, tool-call loop or timeout cascade. Verified <Time at={data.snapshot.verified_at} />.
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
          options={types.map((type) => [type, PATTERN_WORDS[type] ?? type, counted.filter((each) => each.pattern_type === type).length])}
        />
      </div>
      <ul class="cards">
        {shown.map((pattern) => (
          <Card key={`${pattern.pattern_type} ${pattern.details["skill_id"] ?? ""}`} pattern={pattern} moves={moves} />
        ))}
      </ul>
      {shown.length === 0 ? <Empty title={counted.length ? "No pattern matches these filters" : "No pattern but what is snoozed"} tone="plain" /> : null}
      {data.by_skill?.length ? <BySkill skills={data.by_skill} /> : null}
    </>
  );
}

function Card({ pattern, moves }: { pattern: Pattern; moves: boolean }): JSX.Element {
  const title = PATTERN_WORDS[pattern.pattern_type] ?? pattern.pattern_type;
  const skill = pattern.details["skill_id"];
  const rest = pattern.run_ids.slice(FIRST_RUNS);
  return (
    <li class={`card ${pattern.triage ? `is-${pattern.triage.state}` : ""}`}>
      <header>
        <h3 title={PATTERN_RULES[pattern.pattern_type]}>
          {title}
          {skill !== undefined ? <code>{skill ?? "unknown"}</code> : null}
        </h3>
        {moves ? <Movement move={pattern.movement?.since_previous} /> : null}
        <span class="card-count">{plural(pattern.count, "run")}</span>
      </header>
      <p>{finding(pattern)}</p>
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
        strength {pattern.confidence.toFixed(2)}
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

/** What the repeats after the first took, where the API tells. */
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
                <td>{skill.pattern_types.map((type) => PATTERN_WORDS[type] ?? type).join(", ")}</td>
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
