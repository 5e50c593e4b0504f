import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, read, write, type Problem } from "./api";
import { PageContext, PATHS, type Page } from "./context";
import { useShortcuts, type Shortcut } from "./keys";
import { forgetAll, onSessionLost, refreshAll } from "./poll";
import { runHref, useRoute, type Route } from "./route";
import { setTheme, theme, type Theme } from "./settings";
import type { Session, Signal, SignalList } from "./openapi";
import { jumpTo, step } from "./ui/focus";
import { Logo } from "./ui/logo";
import { NoticeBar, pressUndo, type Notice } from "./ui/notice";
import { Empty, Loading, Trouble } from "./ui/parts";
import { AgentView } from "./views/agent";
import { ChangesView } from "./views/changes";
import { FreshnessStrip } from "./views/freshness";
import { Help } from "./views/help";
import { Login } from "./views/login";
import { Overview } from "./views/overview";
import { RunView } from "./views/run";
import { RunsView } from "./views/runs";
import { press } from "./views/triage";

type Entry = { kind: "asking" } | { kind: "out"; hasEnded: boolean } | { kind: "in"; session: Session; signals: Signal[] } | { kind: "failed"; problem: Problem };

const RETRY_MS = 3000;

/** The console: the login form, then the page. */
export function App(): JSX.Element {
  const [entry, setEntry] = useState<Entry>({ kind: "asking" });
  useEffect(() => {
    onSessionLost(() => {
      forgetAll();
      setEntry({ kind: "out", hasEnded: true });
    });
    const ask = (): void => {
      void entered().then(
        setEntry,
        (ex: unknown) => {
          if (!(ex instanceof ApiError)) throw ex;
          if (ex.problem.status === 401) setEntry({ kind: "out", hasEnded: false });
          else {
            setEntry({ kind: "failed", problem: ex.problem });
            window.setTimeout(ask, RETRY_MS);
          }
        },
      );
    };
    ask();
  }, []);
  const leave = (): void => {
    void write("DELETE", "/session").finally(() => {
      forgetAll();
      setEntry({ kind: "out", hasEnded: false });
    });
  };
  if (entry.kind === "in") return <Shell session={entry.session} signals={entry.signals} onLeave={leave} />;
  if (entry.kind === "out") return <Login hasEnded={entry.hasEnded} onSession={() => entered().then(setEntry)} />;
  return <main class="login">{entry.kind === "failed" ? <Trouble problem={entry.problem} hasData={false} /> : <Loading />}</main>;
}

/** Return the session and the signal catalogue of the cookie's key. */
async function entered(): Promise<Entry> {
  const [session, catalogue] = await Promise.all([read<Session>("/session"), read<SignalList>(PATHS.signals)]);
  return session.body && catalogue.body ? { kind: "in", session: session.body, signals: catalogue.body.signals } : { kind: "out", hasEnded: false };
}

function Shell({ session, signals, onLeave }: { session: Session; signals: Signal[]; onLeave: () => void }): JSX.Element {
  const route = useRoute();
  const [isHelping, setHelping] = useState(false);
  const [look, setLook] = useState<Theme>(theme());
  const [notice, setNotice] = useState<Notice | null>(null);
  const [isOpen, setOpen] = useState(false);
  const search = useRef<HTMLInputElement>(null);
  const main = useRef<HTMLElement>(null);
  const page = useMemo<Page>(
    () => ({ session, signals, can: (capability) => session.capabilities.includes(capability), announce: (words, undo) => setNotice({ words, undo: undo ?? null }) }),
    [session, signals],
  );
  const turn = (): void => {
    const next: Record<Theme, Theme> = { auto: "dark", dark: "light", light: "auto" };
    setLook(next[look]);
    setTheme(next[look]);
  };
  const go = (panel: string) => (): void => {
    if (location.hash !== "" && !location.hash.startsWith("#/?") && location.hash !== "#/") location.hash = "#/";
    window.setTimeout(() => jumpTo(panel), 50);
  };
  const find = (): void => {
    setOpen(true);
    window.setTimeout(() => search.current?.focus(), 0);
  };
  const shortcuts: Shortcut[] = [
    { keys: "j", words: "Next item", run: () => step(1) },
    { keys: "k", words: "Previous item", run: () => step(-1) },
    { keys: "/", words: "Find a run by id", run: find },
    { keys: "g o", words: "Go to overview", run: () => (location.hash = "#/") },
    { keys: "g q", words: "Go to queue", run: go("queue") },
    { keys: "g p", words: "Go to patterns", run: go("patterns") },
    { keys: "g c", words: "Go to cost", run: go("cost") },
    { keys: "g r", words: "Go to runs", run: () => (location.hash = "#/runs") },
    { keys: "g h", words: "Go to changes", run: () => (location.hash = "#/changes") },
    ...(page.can("activity.triage")
      ? [
          { keys: "a", words: "Acknowledge", run: () => press("a") },
          { keys: "s", words: "Snooze for 1 hour", run: () => press("s") },
          { keys: "e", words: "More triage options", run: () => press("e") },
          { keys: "u", words: "Undo the last decision", run: pressUndo },
        ]
      : []),
    { keys: "r", words: "Refresh now", run: refreshAll },
    { keys: "t", words: "Change the theme", run: turn },
    { keys: "?", words: "Show help", run: () => setHelping(true) },
  ];
  useShortcuts(shortcuts);
  useTitle(route, session);
  useArrival(route, main);
  useEffect(() => setOpen(false), [route.view, route.id]);
  return (
    <PageContext.Provider value={page}>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to content
      </a>
      <header class={`top ${isOpen ? "is-open" : ""}`}>
        <a class="brand" href="#/">
          <Logo />
          <span>Activity Signals</span>
        </a>
        <nav aria-label="Views">
          <a href="#/" aria-current={route.view === "overview" ? "page" : undefined}>
            Overview
          </a>
          <a href="#/runs" aria-current={route.view === "runs" ? "page" : undefined}>
            Runs
          </a>
          <a href="#/changes" aria-current={route.view === "changes" ? "page" : undefined}>
            Changes
          </a>
        </nav>
        <Find field={search} />
        <span class="tenant" title="Tenant of this key">
          {session.tenant_id}
        </span>
        <button type="button" class="menu-button" aria-expanded={isOpen} aria-controls="top-tools" onClick={() => setOpen(!isOpen)}>
          Menu
        </button>
        <div class="top-tools" id="top-tools">
          <button type="button" onClick={turn} aria-label={`Theme: ${look}. Change theme`} title="Change the theme (t)">
            {look === "auto" ? "Auto" : look === "dark" ? "Dark" : "Light"}
          </button>
          <button type="button" onClick={() => setHelping(true)} aria-label="Help" title="Help (?)">
            ?
          </button>
          <button type="button" onClick={onLeave}>
            Log out
          </button>
        </div>
      </header>
      <FreshnessStrip />
      <main id="main" ref={main} tabIndex={-1}>
        <NoticeBar notice={notice} onClose={() => setNotice(null)} />
        {route.view === "overview" ? <h1 class="sr">Overview of {session.tenant_id}</h1> : null}
        <View route={route} />
      </main>
      <Help isOpen={isHelping} shortcuts={shortcuts} onClose={() => setHelping(false)} />
    </PageContext.Provider>
  );
}

function View({ route }: { route: Route }): JSX.Element {
  if (route.view === "run") return <RunView key={route.id} route={route} />;
  if (route.view === "agent") return <AgentView key={route.id} route={route} />;
  if (route.view === "runs") return <RunsView route={route} />;
  if (route.view === "changes") return <ChangesView />;
  if (route.view === "unknown") return <NoSuchView route={route} />;
  return <Overview route={route} />;
}

function NoSuchView({ route }: { route: Route }): JSX.Element {
  return (
    <article class="detail">
      <h1 tabIndex={-1}>Page not found</h1>
      <Empty title="The console has no page at this URL" tone="plain">
        <code>#{route.id}</code> does not exist. <a href="#/">Back to the overview</a>
      </Empty>
    </article>
  );
}

function Find({ field }: { field: { current: HTMLInputElement | null } }): JSX.Element {
  const open = (event: SubmitEvent): void => {
    event.preventDefault();
    const id = field.current?.value.trim();
    if (!id || !field.current) return;
    field.current.value = "";
    field.current.blur();
    location.hash = runHref(id);
  };
  return (
    <form class="find" role="search" onSubmit={open}>
      <input ref={field} type="search" aria-label="Open a run by id" placeholder="Run id" spellcheck={false} autocomplete="off" />
      <kbd aria-hidden="true">/</kbd>
    </form>
  );
}

function useTitle(route: Route, session: Session): void {
  useEffect(() => {
    const named = { unknown: "Page not found", runs: "Runs", changes: "Changes", overview: session.tenant_id, run: route.id, agent: route.id };
    const where = named[route.view];
    document.title = `${where} · Activity Signals`;
  }, [route.view, route.id, session.tenant_id]);
}

/** Move the focus to the start of a view that was just opened, as a page load does. */
function useArrival(route: Route, main: { current: HTMLElement | null }): void {
  const isFirst = useRef(true);
  useEffect(() => {
    if (isFirst.current) {
      isFirst.current = false;
      return;
    }
    window.scrollTo(0, 0);
    (main.current?.querySelector<HTMLElement>("h1") ?? main.current)?.focus({ preventScroll: true });
  }, [route.view, route.id]);
}
