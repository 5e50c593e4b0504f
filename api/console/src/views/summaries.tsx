import type { JSX } from "preact";
import { COUNTED_MS, PATHS, usePage, usePath } from "../context";
import { count, plural, words } from "../format";
import { statusTone } from "../meaning";
import { usePoll } from "../poll";
import { agentHref, runsHref, setQuery, type Route } from "../route";
import type { DimensionCounts, StatusSummary } from "../openapi";
import { Bars } from "../ui/charts";
import { Empty, Panel, Select, When } from "../ui/parts";
import { Withheld } from "./queue";

export function StatusPanel(): JSX.Element {
  const polled = usePoll<StatusSummary>(usePath(PATHS.status, "activity.summary_by_status"), COUNTED_MS);
  const isAllowed = usePage().can("activity.summary_by_status");
  return (
    <Panel id="status" title="Completed runs" polled={polled} note={polled.data ? `${count(polled.data.total)} in total` : null}>
      {isAllowed ? <When polled={polled}>{(data) => <Statuses data={data} />}</When> : <Withheld capability="activity.summary_by_status" />}
    </Panel>
  );
}

function Statuses({ data }: { data: StatusSummary }): JSX.Element {
  const bars = Object.entries(data.summary).map(([status, value]) => ({
    key: status,
    label: words(status),
    value,
    tone: statusTone(status),
    href: runsHref({ state: "COMPLETED", status }),
  }));
  if (data.total === 0) {
    return (
      <Empty title="No completed run yet" tone="plain">
        Runs are counted once their state is COMPLETED.
      </Empty>
    );
  }
  return (
    <>
      <Bars bars={bars} total={data.total} name="Completed runs by status" />
      <p class="panel-foot">
        <a href={runsHref({ state: "COMPLETED", risk_level: ["NEAR_THRESHOLD", "AT_RISK"] })}>{plural(data.near_threshold_count, "run")} near a threshold</a>
      </p>
    </>
  );
}

const DIMENSIONS: [string, string][] = [
  ["agent_id", "Agent"],
  ["provider_type", "Provider"],
  ["source", "Source"],
];

export function DimensionPanel({ route }: { route: Route }): JSX.Element {
  const dim = DIMENSIONS.find(([name]) => name === route.query.get("dim"))?.[0] ?? "agent_id";
  const state = route.query.get("in") === "COMPLETED" ? "COMPLETED" : "LIVE";
  const path = usePath(`/activity/runs/by-dimension?dim=${dim}&state=${state}`, "activity.runs_by_dimension");
  const polled = usePoll<DimensionCounts>(path, COUNTED_MS);
  const tools = (
    <>
      <Select name="Runs" value={state} options={[["LIVE", "Live"], ["COMPLETED", "Completed"]]} onChange={(value) => setQuery({ in: value === "LIVE" ? null : value })} />
      <Select name="By" value={dim} options={DIMENSIONS} onChange={(value) => setQuery({ dim: value === "agent_id" ? null : value })} />
    </>
  );
  return (
    <Panel id="dimension" title={state === "LIVE" ? "Live runs" : "Completed runs by origin"} polled={polled} tools={tools}>
      {path === null ? <Withheld capability="activity.runs_by_dimension" /> : <When polled={polled}>{(data) => <Buckets data={data} />}</When>}
    </Panel>
  );
}

function Buckets({ data }: { data: DimensionCounts }): JSX.Element {
  if (data.total_runs === 0) {
    return (
      <Empty title={data.state === "LIVE" ? "No live run" : "No completed run yet"} tone="plain">
        Runs appear here as soon as they are recorded.
      </Empty>
    );
  }
  const bars = data.buckets.map((bucket) => ({
    key: bucket.key,
    label: bucket.key,
    value: bucket.count,
    href: data.dimension === "agent_id" && bucket.key !== "unknown" ? agentHref(bucket.key) : runsHref({ state: data.state, [data.dimension]: bucket.key }),
  }));
  return (
    <>
      <Bars bars={bars} total={data.total_runs} name={`Runs by ${data.dimension}`} />
      {data.other_runs ? <p class="panel-foot dim">and {plural(data.other_runs, "run")} in other groups</p> : null}
    </>
  );
}
