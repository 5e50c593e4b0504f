import type { JSX, TargetedSubmitEvent } from "preact";
import { useRef, useState } from "preact/hooks";
import { ApiError, write, type Problem } from "../api";
import { Logo } from "../ui/logo";

const REFUSALS: Record<string, string> = {
  unauthorized: "This key is not valid. It may be mistyped, expired or revoked.",
  invalid_body: "This is not a key. Paste the one line that `activity keys create` printed.",
  rate_limited: "Too many failed attempts. Wait a minute, then try again.",
  cross_site_request: "The API rejected this page because its origin does not match. A proxy must pass the Host header unchanged.",
};

/** The login form. It sends the key to the API once; the API sets a cookie that scripts cannot read. */
export function Login({ hasEnded, onSession }: { hasEnded: boolean; onSession: () => Promise<void> }): JSX.Element {
  const field = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  const enter = async (event: TargetedSubmitEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await write("POST", "/session", { api_key: field.current?.value.trim() ?? "" });
      await onSession().catch((ex: unknown) => {
        throw ex instanceof ApiError && ex.problem.status === 401 ? new ApiError({ ...ex.problem, error: "cookie_refused" }) : ex;
      });
    } catch (ex) {
      setBusy(false);
      if (!(ex instanceof ApiError)) throw ex;
      setProblem(ex.problem);
      field.current?.select();
      field.current?.focus();
    }
  };
  return (
    <main class="login" id="main" tabIndex={-1}>
      <Logo />
      <h1>Activity Signals</h1>
      <p class="dim">See which runs are stuck, which agents cost more than before, and what to look at first.</p>
      <form onSubmit={enter} noValidate>
        {hasEnded ? <p class="login-note">Your session has ended: the key expired or was revoked. Enter a valid key.</p> : null}
        <label for="key">API key</label>
        <input
          id="key"
          ref={field}
          type="password"
          name="key"
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          required
          autofocus
          aria-describedby="key-help key-problem"
          aria-invalid={problem !== null}
        />
        <p id="key-problem" class="login-problem" role="alert">
          {problem ? message(problem) : ""}
        </p>
        <button type="submit" class="primary" disabled={isBusy}>
          {isBusy ? "Logging in…" : "Log in"}
        </button>
        <p id="key-help" class="dim">
          A key belongs to one tenant. An operator creates it with <code>activity keys create --tenant TENANT</code>; <code>make up</code> prints the
          key of the demo.
        </p>
      </form>
    </main>
  );
}

function message(problem: Problem): string {
  const known =
    problem.error === "cookie_refused"
      ? "The key is valid, but the browser did not store the cookie. Over a network the console needs HTTPS; plain HTTP works only on the same machine."
      : (REFUSALS[problem.error] ?? problem.detail);
  return problem.request_id ? `${known} Request ${problem.request_id}.` : known;
}
