import type { JSX } from "preact";
import { now } from "../api";
import { money, span, words } from "../format";
import { statusTone } from "../meaning";
import { runHref } from "../route";
import type { Run } from "../openapi";
import { Chip, levelLabel, Name, Time } from "../ui/parts";

/** A table of runs. */
export function RunTable({ runs }: { runs: Run[] }): JSX.Element {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Runs">
      <table class="runs">
        <thead>
          <tr>
            <th scope="col">Run</th>
            <th scope="col">Agent</th>
            <th scope="col">Status</th>
            <th scope="col">Risk</th>
            <th scope="col">Started</th>
            <th scope="col" class="number">
              Duration
            </th>
            <th scope="col" class="number">
              Cost
            </th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <Row key={run.run_id} run={run} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ run }: { run: Run }): JSX.Element {
  const took = run.duration_ms ?? (run.started_at && run.state === "LIVE" ? now() - Date.parse(run.started_at) : null);
  return (
    <tr class="row">
      <th scope="row">
        <Name href={runHref(run.run_id)} row={run.run_id}>
          {run.run_id}
        </Name>
      </th>
      <td>{run.agent_id ?? "unknown"}</td>
      <td>
        <Chip label={levelLabel(run.status, statusTone(run.status))} />
      </td>
      <td>{words(run.risk_level)}</td>
      <td>
        <Time at={run.started_at} />
      </td>
      <td class="number">{took === null ? "–" : `${run.state === "LIVE" ? "so far " : ""}${span(took)}`}</td>
      <td class="number">{money(run.estimated_cost_usd)}</td>
    </tr>
  );
}
