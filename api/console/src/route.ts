/** Routes after the `#` of the URL, so that ids reach no server log and every view has a URL. */
import { useEffect, useState } from "preact/hooks";

export interface Route {
  view: "overview" | "runs" | "changes" | "run" | "agent" | "unknown";
  id: string;
  query: URLSearchParams;
}

export function parse(hash: string): Route {
  const [path = "", words = ""] = split(hash.replace(/^#/, ""));
  const query = new URLSearchParams(words);
  const [, view = "", ...rest] = path.split("/");
  const id = decode(rest.join("/"));
  if ((view === "runs" || view === "changes") && !id) return { view, id: "", query };
  if ((view === "run" || view === "agent") && id) return { view, id, query };
  if (path === "" || path === "/") return { view: "overview", id: "", query };
  return { view: "unknown", id: path, query };
}

function split(words: string): [string, string] {
  const at = words.indexOf("?");
  return at < 0 ? [words, ""] : [words.slice(0, at), words.slice(at + 1)];
}

function decode(words: string): string {
  try {
    return decodeURIComponent(words);
  } catch {
    return words;
  }
}

export const runHref = (id: string): string => `#/run/${encodeURIComponent(id)}`;
export const agentHref = (id: string): string => `#/agent/${encodeURIComponent(id)}`;
export function runsHref(filters: Record<string, string | string[]> = {}): string {
  return `#/runs${queryOf(filters)}`;
}

function queryOf(filters: Record<string, string | string[]>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) for (const each of [value].flat()) query.append(name, each);
  const words = query.toString();
  return words ? `?${words}` : "";
}

/** Return the present route, and redraw when it changes. */
export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const follow = (): void => setHash(location.hash);
    window.addEventListener("hashchange", follow);
    return () => window.removeEventListener("hashchange", follow);
  }, []);
  return parse(hash);
}

/** Change query parameters of the URL; null removes one. The history entry is replaced, so that Back leaves the view. */
export function setQuery(changes: Record<string, string | string[] | null>): void {
  const [path, words] = split(location.hash.replace(/^#/, ""));
  const query = new URLSearchParams(words);
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const each of value === null ? [] : [value].flat()) query.append(name, each);
  }
  const after = query.toString();
  history.replaceState(null, "", `#${path || "/"}${after ? `?${after}` : ""}`);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

/** Return a parameter that holds a list separated by commas. */
export const listed = (query: URLSearchParams, name: string): string[] =>
  query.getAll(name).flatMap((each) => each.split(",")).filter(Boolean);
