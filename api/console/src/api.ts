/** Requests to the API of the same origin; the session's cookie travels by itself. */
import type { Problem } from "./types";

const PREFIX = "/api/v1";
/** Shows that a page of ours made a request that changes something. */
const PROOF = { "Activity-Request": "console" };

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

export interface Answer<Body> {
  /** null for a 304: what is held still holds. */
  body: Body | null;
  etag: string | null;
  stale: boolean | null;
  verifiedAt: string | null;
}

/** How far the server's clock is ahead of this machine's, in milliseconds; ages are told by the server's. */
let ahead = 0;

export const now = (): number => Date.now() + ahead;

export async function read<Body>(path: string, etag: string | null = null, signal?: AbortSignal): Promise<Answer<Body>> {
  const response = await send(path, { headers: etag ? { "If-None-Match": etag } : {}, signal });
  const stale = response.headers.get("Snapshot-Stale");
  return {
    body: response.status === 304 ? null : ((await response.json()) as Body),
    etag: response.headers.get("ETag"),
    stale: stale === null ? null : stale === "?1",
    verifiedAt: response.headers.get("Snapshot-Verified-At"),
  };
}

export async function write(method: "POST" | "DELETE", path: string, body?: unknown): Promise<Response> {
  const json: Record<string, string> = body === undefined ? {} : { "Content-Type": "application/json" };
  return send(path, { method, headers: { ...PROOF, ...json }, body: body === undefined ? undefined : JSON.stringify(body) });
}

/** So many at a time: the API answers few live queries at once, and others ask too. */
const MOST = 3;
const waiting: (() => void)[] = [];
let underWay = 0;

async function inTurn(path: string, init: RequestInit): Promise<Response> {
  if (underWay >= MOST) await new Promise<void>((begin) => waiting.push(begin));
  underWay += 1;
  try {
    return await fetch(PREFIX + path, { ...init, cache: "no-store", credentials: "same-origin" });
  } finally {
    underWay -= 1;
    waiting.shift()?.();
  }
}

async function send(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await inTurn(path, init);
  } catch (ex) {
    if (ex instanceof DOMException && ex.name === "AbortError") throw ex;
    throw new ApiError(unreachable());
  }
  const date = Date.parse(response.headers.get("Date") ?? "");
  // The header tells whole seconds; half a second in is the best guess.
  if (!Number.isNaN(date)) ahead = date + 500 - Date.now();
  if (Math.abs(ahead) < 2000) ahead = 0;
  if (response.ok || response.status === 304) return response;
  throw new ApiError(await problemOf(response));
}

function unreachable(): Problem {
  return {
    status: 0,
    error: "unreachable",
    title: "No connection",
    detail: "The API does not answer.",
    request_id: null,
    retry_after_s: null,
  };
}

async function problemOf(response: Response): Promise<Problem> {
  const said = (await response.json().catch(() => ({}))) as Partial<Problem>;
  const retryAfter = Number(response.headers.get("Retry-After"));
  return {
    status: response.status,
    error: said.error ?? "unknown",
    title: said.title ?? response.statusText,
    detail: said.detail ?? `The API answered ${response.status}.`,
    request_id: response.headers.get("X-Request-Id"),
    retry_after_s: retryAfter > 0 ? retryAfter : null,
  };
}

/** Return `path` with the parameters that are set; a list repeats its name. */
export function withQuery(path: string, parameters: Record<string, string | string[] | number | null | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") query.append(name, String(each));
    }
  }
  const words = query.toString();
  return words ? `${path}?${words}` : path;
}
