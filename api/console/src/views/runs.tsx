import type { JSX } from "preact";
import { withQuery } from "../api";
import { COUNTED_MS, usePath } from "../context";
import { plural, words } from "../format";
import { usePages } from "../pages";
import { usePoll } from "../poll";
import { setQuery, type Route } from "../route";
import type { DimensionCounts, Run, RunList } from "../openapi";
import { Empty, Panel, Select, Toggles, Trouble, When } from "../ui/parts";
import { RunTable } from "./run_table";
import { Withheld } from "./queue";

const STATUSES = ["running", "succeeded", "failed", "aborted", "retry"];
const RISKS = ["NEAR_THRESHOLD", "AT_RISK", "VIOLATED"];
const SORTS: [string, string][] = [
  ["started_at", "Newest"],
  ["duration_ms", "Longest"],
  ["estimated_cost_usd", "Most expensive"],
];
const PAGE = 50;

/** The runs of the tenant. The URL holds the filters. */
export function RunsView({ route }: { route: Route }): JSX.Element {
  const { query } = route;
  const filters = {
    state: query.get("state"),
    status: query.getAll("status"),
    risk_level: query.getAll("risk_level"),
    agent_id: query.getAll("agent_id"),
    provider_type: query.getAll("provider_type"),
    source: query.getAll("source"),
    sort: query.get("sort"),
  };
  const path = usePath(withQuery("/activity/runs", { ...filters, limit: PAGE }), "activity.threshold_signals");
  const polled = usePoll<RunList>(path, COUNTED_MS);
  return (
    <article class="detail">
      <p class="crumbs">
        <a href="#/">Overview</a> <span aria-hidden="true">/</span> runs
      </p>
      <header class="detail-head">
        <h1 tabIndex={-1}>Runs</h1>
      </header>
      <Filters filters={filters} />
      <Panel id="runs" title={path === null ? "Runs" : heading(filters)} polled={polled}>
        {path === null ? <Withheld capability="activity.threshold_signals" /> : <When polled={polled}>{(page) => <Pages key={path} path={path} first={page} />}</When>}
      </Panel>
    </article>
  );
}

type Filtered = Record<"status" | "risk_level" | "agent_id" | "provider_type" | "source", string[]> & { state: string | null; sort: string | null };

function heading(filters: Filtered): string {
  // A final status implies a completed run.
  const state = filters.status.length && filters.state === "COMPLETED" ? "" : (filters.state ?? "");
  const parts = [state, ...filters.status, ...filters.risk_level].filter(Boolean).map((each) => words(each).toLowerCase());
  const others = [...filters.agent_id, ...filters.provider_type, ...filters.source];
  const whose = others.length ? ` of ${others.join(", ")}` : "";
  return parts.length || whose ? `${parts.length ? words(parts.join(", ")) : "All"} runs${whose}` : "All runs";
}

function Filters({ filters }: { filters: Filtered }): JSX.Element {
  const agents = usePoll<DimensionCounts>(usePath("/activity/runs/by-dimension?dim=agent_id&state=COMPLETED", "activity.runs_by_dimension"), COUNTED_MS).data;
  const chosenAgent = filters.agent_id[0] ?? "";
  const names = [...new Set([...(agents?.buckets.map((bucket) => bucket.key) ?? []), chosenAgent])].filter((name) => name && name !== "unknown");
  const isFiltered = Object.values(filters).some((value) => value !== null && value.length > 0);
  return (
    <div class="filters">
      <Toggles
        name="State"
        chosen={filters.state ? [filters.state] : []}
        options={[["LIVE", "Live"], ["COMPLETED", "Completed"]]}
        onChange={(chosen) => setQuery({ state: chosen.at(-1) ?? null })}
      />
      <Toggles name="Status" chosen={filters.status} options={STATUSES.map((each) => [each, words(each)])} onChange={(status) => setQuery({ status })} />
      <Toggles name="Risk" chosen={filters.risk_level} options={RISKS.map((each) => [each, words(each)])} onChange={(risk_level) => setQuery({ risk_level })} />
      {names.length ? (
        <Select name="Agent" value={chosenAgent} options={[["", "All"], ...names.map((name): [string, string] => [name, name])]} onChange={(value) => setQuery({ agent_id: value || null })} />
      ) : null}
      <Select name="Sort" value={filters.sort ?? "started_at"} options={SORTS} onChange={(value) => setQuery({ sort: value === "started_at" ? null : value })} />
      {isFiltered ? (
        <button type="button" onClick={() => setQuery(Object.fromEntries(Object.keys(filters).map((name) => [name, null])))}>
          Clear filters
        </button>
      ) : null}
    </div>
  );
}

function Pages({ path, first }: { path: string; first: RunList }): JSX.Element {
  const { items: runs, next, problem, load } = usePages<RunList, Run>(first, {
    itemsOf: (page) => page.items,
    nextOf: (page) => page.next_cursor,
    pathOf: (cursor) => `${path}&cursor=${encodeURIComponent(cursor)}`,
  });
  if (runs.length === 0) {
    return (
      <Empty title="No run matches the filters" tone="plain">
        Remove a filter, or wait for the next run.
      </Empty>
    );
  }
  return (
    <>
      <RunTable runs={runs} />
      {problem ? <Trouble problem={problem} hasData /> : null}
      <footer class="panel-foot">
        <span class="dim">{plural(runs.length, "run")} shown</span>
        {next ? (
          <button type="button" onClick={load}>
            Show more
          </button>
        ) : null}
      </footer>
    </>
  );
}
