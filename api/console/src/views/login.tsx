import type { JSX, TargetedSubmitEvent } from "preact";
import { useRef, useState } from "preact/hooks";
import { ApiError, read, write } from "../api";
import type { Problem, Session } from "../types";
import { Logo } from "../ui/logo";

const REFUSALS: Record<string, string> = {
  unauthorized: "This key is not valid: it may be mistyped, expired or revoked.",
  invalid_body: "That is no key: expected one line, as it was printed when the key was made.",
  rate_limited: "Too many wrong keys from here. Wait a minute, then try again.",
  cross_site_request: "The API refused this page: its address is not the one that the browser sees.",
};

/** The way in. The key goes to the API once; what comes back is a cookie that no script can read. */
export function Login({ hasEnded, onSession }: { hasEnded: boolean; onSession: (session: Session) => void }): JSX.Element {
  const field = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [isBusy, setBusy] = useState(false);
  const enter = async (event: TargetedSubmitEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await write("POST", "/session", { api_key: field.current?.value.trim() ?? "" });
      const session = await read<Session>("/session").catch((ex: unknown) => {
        throw ex instanceof ApiError && ex.problem.status === 401 ? new ApiError({ ...ex.problem, error: "cookie_refused" }) : ex;
      });
      if (session.body) onSession(session.body);
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
      <p class="dim">Which runs are stuck, which agents cost more than they used to, and what needs you first.</p>
      <form onSubmit={enter} noValidate>
        {hasEnded ? <p class="login-note">Your session has ended: the key expired or was revoked. Enter a valid one.</p> : null}
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
          {isBusy ? "Opening…" : "Open"}
        </button>
        <p id="key-help" class="dim">
          The key names one tenant. An operator makes one with <code>activity keys create --tenant TENANT</code>; <code>make up</code> prints the demo's.
        </p>
      </form>
    </main>
  );
}

function message(problem: Problem): string {
  const known =
    problem.error === "cookie_refused"
      ? "The key is valid, but the browser kept no cookie. Over a network the console needs HTTPS; plain HTTP works on the machine itself."
      : (REFUSALS[problem.error] ?? problem.detail);
  return problem.request_id ? `${known} Request ${problem.request_id}.` : known;
}
