/** Requests to the API of the same origin. The browser adds the session cookie. */
export const PREFIX = "/api/v1";
/** Header that proves a writing request comes from the console. */
const PROOF = { "Activity-Request": "console" };

/** An error of the API, or of the connection to it. */
export interface Problem {
  /** 0 where there was no response. */
  status: number;
  error: string;
  title: string;
  detail: string;
  request_id: string | null;
  retry_after_s: number | null;
}

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

export interface Answer<Body> {
  /** null for a 304: the previous body still holds. */
  body: Body | null;
  etag: string | null;
  stale: boolean | null;
  verifiedAt: string | null;
}

/** Milliseconds that the server's clock is ahead of this machine's; ages are computed by the server's clock. */
let clockOffsetMs = 0;

export const now = (): number => Date.now() + clockOffsetMs;

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

/** Concurrent requests: the API limits concurrent live queries. */
const CONCURRENCY = 3;
const waiting: (() => void)[] = [];
let running = 0;

async function sendQueued(path: string, init: RequestInit): Promise<Response> {
  if (running >= CONCURRENCY) await new Promise<void>((begin) => waiting.push(begin));
  running += 1;
  try {
    return await fetch(PREFIX + path, { ...init, cache: "no-store", credentials: "same-origin" });
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

async function send(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await sendQueued(path, init);
  } catch (ex) {
    if (ex instanceof DOMException && ex.name === "AbortError") throw ex;
    throw new ApiError(unreachable());
  }
  const date = Date.parse(response.headers.get("Date") ?? "");
  // The header has whole seconds; half a second later is the best estimate.
  if (!Number.isNaN(date)) clockOffsetMs = date + 500 - Date.now();
  if (Math.abs(clockOffsetMs) < 2000) clockOffsetMs = 0;
  if (response.ok || response.status === 304) return response;
  throw new ApiError(await problemOf(response));
}

function unreachable(): Problem {
  return {
    status: 0,
    error: "unreachable",
    title: "No connection",
    detail: "The API did not respond.",
    request_id: null,
    retry_after_s: null,
  };
}

async function problemOf(response: Response): Promise<Problem> {
  const body = (await response.json().catch(() => ({}))) as Partial<Problem>;
  const retryAfter = Number(response.headers.get("Retry-After"));
  return {
    status: response.status,
    error: body.error ?? "unknown",
    title: body.title ?? response.statusText,
    detail: body.detail ?? `The API responded with status ${response.status}.`,
    request_id: response.headers.get("X-Request-Id"),
    retry_after_s: retryAfter > 0 ? retryAfter : null,
  };
}

/** Return `path` with the parameters that are set; a list becomes a repeated parameter. */
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
