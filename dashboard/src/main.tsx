// The page: the door, the frame around the views, and what is read for all of them.
import "./style.css";
import { render } from "preact";
import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import { ask as call, encoded, forget, keep, onEnd, type Bearer } from "./api";
import type { Analytics, Deletion, Diagnostics, Run, Trend } from "./answers";
import { isBusy, isDeleting, isOpen } from "./answers";
import { Confirm, type Question } from "./parts";
import { Planning } from "./planning";
import { ReceiptDialog } from "./receipt";
import { asProblem, SLOWLY, SOON, useNow, usePlace, usePolling, useResource } from "./state";
import { Shared, type Stock } from "./stock";
import { Deletions } from "./views/deletions";
import { Findings } from "./views/findings";
import { Health } from "./views/health";
import { Overview } from "./views/overview";
import { Quarantine } from "./views/quarantine";
import { ended, newer } from "./views/run";
import { ago, atClock, became, lasts, sentence } from "./words";

const VIEWS = [
  ["overview", "Overview"],
  ["findings", "Findings"],
  ["deletions", "Deletions"],
  ["quarantine", "Quarantine"],
  ["health", "Health"],
] as const;

const Mark = () => (
  <svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
    <path d="M3 5.5 10 2l7 3.5v9L10 18l-7-3.5z" />
    <path d="m6.8 10 2.3 2.3 4.2-4.6" />
  </svg>
);

function App() {
  const [bearer, setBearer] = useState<Bearer | null>(null);
  const [why, setWhy] = useState("");
  const leave = (because: string) => {
    forget();
    setBearer(null);
    setWhy(because);
  };
  return bearer ? <Frame bearer={bearer} onLeave={leave} /> : <Door why={why} onEnter={setBearer} />;
}

function Door({ why, onEnter }: { why: string; onEnter: (bearer: Bearer) => void }) {
  const [said, say] = useState(why);
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const note = useId();
  useEffect(() => {
    document.title = "Sign in · Stocktake";
    field.current?.focus();
  }, []);
  const enter = async () => {
    // read off the field, so that no state of the page holds it besides
    const pasted = field.current!.value.trim().replace(/^bearer\s+/i, "");
    if (!pasted || busy) return;
    setBusy(true);
    say("");
    try {
      if (!/^[\x21-\x7e]+$/.test(pasted)) throw new Error("That is no token: it is one line of letters, digits, dots, dashes and underscores.");
      const bearer = keep(pasted);
      await call<unknown>("deletions?limit=1");
      onEnter(bearer);
    } catch (failure) {
      forget();
      const problem = asProblem(failure);
      say(failure instanceof Error && problem.title === "The page stumbled" ? failure.message : `${sentence(problem.detail).replace(/^./, (letter) => letter.toUpperCase())} ${problem.advice}`.trim());
      setBusy(false);
      field.current?.select();
    }
  };
  return (
    <main class="door">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void enter();
        }}
      >
        <p class="mark">
          <Mark />
          Stocktake
        </p>
        <div>
          <h1>Sign in</h1>
          <p class="dim">With a token that may operate all projects. It stays in this page's memory, and is gone when the page is loaded again.</p>
        </div>
        <div class="field">
          <label for="token">Token</label>
          <input id="token" ref={field} type="password" autocomplete="off" spellcheck={false} required aria-describedby={note} />
        </div>
        <button type="submit" class="first" disabled={busy}>
          {busy ? "Signing in …" : "Sign in"}
        </button>
        <p id={note} role="alert" class="bad small">
          {said}
        </p>
        <p class="dim small">
          On the local stack <code>make token</code> prints one.
        </p>
      </form>
    </main>
  );
}

function Frame({ bearer, onLeave }: { bearer: Bearer; onLeave: (why: string) => void }) {
  const [place = "overview", detail, ...within] = usePlace();
  const view = VIEWS.some(([name]) => name === place) ? place : "overview";
  const analytics = useResource<Analytics>("analytics");
  const runs = useResource<{ reconciliations: Run[] }>("reconciliations?limit=30");
  const deletions = useResource<{ deletions: Deletion[] }>("deletions?limit=50");
  const history = useResource<Trend>("analytics/history?days=90");
  const diagnostics = useResource<Diagnostics>("diagnostics");
  // one that was skipped says nothing: another was alive, and that is the one to look at
  const newestId = (runs.data?.reconciliations.find((run) => run.status !== "SKIPPED") ?? runs.data?.reconciliations[0])?.run_id ?? null;
  const newest = useResource<Run>(newestId === null ? null : `reconciliations/${encoded(newestId)}`);
  const [question, setQuestion] = useState<Question<unknown> | null>(null);
  const [planned, setPlanned] = useState<{ run: Run; chosen: Record<string, string> | undefined } | null>(null);
  const [receipt, setReceipt] = useState<Deletion | null>(null);
  const [said, setSaid] = useState("");
  const [fresh, setFresh] = useState(0);
  const [begun, setBegun] = useState<string | null>(null);
  const main = useRef<HTMLElement>(null);
  const now = useNow();

  const read = useRef(Date.now());
  const refresh = () => {
    read.current = Date.now();
    setFresh((times) => times + 1);
    for (const part of [analytics, runs, newest, deletions, history]) void part.reload();
  };
  // a look at the deployment asks store and queues: only who wants to see what is so now has it made again
  const look = () => {
    refresh();
    void diagnostics.reload();
  };

  // who comes back to the tab sees what is so now, and not what was so when the tab was left
  const again = useRef(look);
  again.current = look;
  useEffect(() => {
    const shown = () => {
      if (document.hidden || Date.now() - read.current < 60_000) return;
      again.current();
    };
    document.addEventListener("visibilitychange", shown);
    return () => document.removeEventListener("visibilitychange", shown);
  }, []);

  // so does who turns to another view, and who just leaves the page open, in time: others work on the same deployment
  useEffect(() => {
    if (Date.now() - read.current > 30_000) refresh();
  }, [view]);
  usePolling(
    true,
    async () => {
      if (Date.now() - read.current >= SLOWLY.firstMs) refresh();
      return "";
    },
    SLOWLY,
  );

  // a run that ends moves the counts, the list of runs and the history. A repair that was begun here may be of an older run, and may have
  // ended before anybody asked
  const followed = begun ?? (isBusy(newest.data) ? newestId : null);
  usePolling(followed !== null, async () => {
    const run = followed === newestId ? await newest.reload() : await call<Run>(`reconciliations/${encoded(followed!)}`);
    if (run && !isBusy(run)) {
      setBegun(null);
      setSaid(ended(run));
      refresh();
    }
    return JSON.stringify([run?.progress, run?.repair, run?.restoration, run?.status]);
  });
  const going = (deletions.data?.deletions ?? []).filter(isDeleting);
  usePolling((deletions.data?.deletions ?? []).some(isOpen), async () => JSON.stringify((await deletions.reload())?.deletions.filter(isOpen)), going.length > 0 ? SOON : SLOWLY);
  const stood = useRef<Record<string, string>>({});
  useEffect(() => {
    if (!deletions.data) return;
    const moved = deletions.data.deletions.filter(({ deletion_id, status }) => (stood.current[deletion_id] ?? status) !== status);
    stood.current = Object.fromEntries(deletions.data.deletions.map(({ deletion_id, status }) => [deletion_id, status]));
    const told = moved.map(became).find((words) => words !== null);
    if (told) setSaid(told);
    if (moved.length) void analytics.reload();
  }, [deletions.data]);

  useEffect(() => {
    // whatever is asked from here on ends the session where the token has ended
    onEnd((said) => onLeave(`You were signed out: ${sentence(said)}`));
  }, []);
  useEffect(() => {
    document.title = `${VIEWS.find(([name]) => name === view)![1]} · Stocktake`;
    scrollTo(0, 0);
  }, [view]);
  const moved = useRef(false);
  useEffect(() => {
    if (moved.current) main.current?.querySelector<HTMLElement>("h1")?.focus();
    moved.current = true;
  }, [view]);

  const away = [analytics, runs, newest, deletions, history, diagnostics].some((part) => part.problem?.status === 0);
  const stock = useMemo<Stock>(
    () => ({
      analytics,
      runs,
      newest,
      deletions,
      history,
      diagnostics,
      fresh,
      away,
      ask: (asked) => setQuestion(asked as Question<unknown>),
      plan: (run, chosen) => setPlanned({ run, chosen }),
      receipt: setReceipt,
      say: setSaid,
      refresh,
    }),
    [fresh, analytics.data, analytics.problem, analytics.loading, runs.data, runs.problem, runs.loading, newest.data, newest.problem, newest.loading, deletions.data, deletions.problem, deletions.loading, history.data, history.problem, history.loading, diagnostics.data, diagnostics.problem, diagnostics.loading],
  );
  const done = (what: string | null, follows?: string) => {
    if (follows) setBegun(follows);
    if (what !== null) {
      setQuestion(null);
      setPlanned(null);
      setSaid(what);
    }
    refresh();
  };
  const counts: Record<string, number> = { deletions: going.length, health: diagnostics.data?.checks.filter((check) => check.status === "failed").length ?? 0 };
  const left = bearer.ends === null ? null : (bearer.ends - now) / 1000;

  return (
    <Shared.Provider value={stock}>
      <a class="skip" href="#main" onClick={(event) => {
        event.preventDefault();
        main.current?.focus();
      }}>
        Skip to the content
      </a>
      <header class="bar">
        <div>
          <span class="mark">
            <Mark />
            Stocktake
          </span>
          <nav aria-label="Views">
            <ul>
              {VIEWS.map(([name, label]) => (
                <li key={name}>
                  <a href={`#${name}`} aria-current={view === name ? "page" : undefined}>
                    {label}
                    {counts[name] ? (
                      <span class="count" title={name === "health" && diagnostics.data ? `Looked at ${ago(diagnostics.data.as_of, now)}` : undefined}>
                        {counts[name]}
                      </span>
                    ) : null}
                  </a>
                </li>
              ))}
            </ul>
          </nav>
          <div class="account">
            {analytics.data && (
              <span class="dim small who" title={`Counted by the ledger at ${atClock(analytics.data.as_of)}`}>
                as of {ago(analytics.data.as_of, now)}
              </span>
            )}
            <button type="button" class="plain little" onClick={look}>
              Refresh
            </button>
            <button type="button" class="plain little" onClick={() => onLeave("")} title={bearer.subject ? `Signed in as ${bearer.subject}` : undefined}>
              Sign out
            </button>
          </div>
        </div>
      </header>
      <main ref={main} tabIndex={-1} id="main">
        {left !== null && left < 300 && left > 0 && <p class="callout">The token ends in {lasts(left)}: what is shown goes with it. Sign in again with a fresh one.</p>}
        {away && (
          <div class="trouble" role="alert">
            <strong class="bad">The API did not answer</strong>
            <p>What is shown is what was so{analytics.data ? ` at ${atClock(analytics.data.as_of)}` : " before"}. Look at the connection, then try again.</p>
            <button type="button" class="little" onClick={look}>
              Try again
            </button>
          </div>
        )}
        {view === "overview" && <Overview />}
        {view === "findings" && <Findings runId={detail} within={within} />}
        {view === "deletions" && <Deletions />}
        {view === "quarantine" && <Quarantine />}
        {view === "health" && <Health />}
      </main>
      {question && <Confirm key={question.title} question={question} onClose={() => setQuestion(null)} onDone={(what) => done(what, question.follows)} />}
      {receipt && <ReceiptDialog of={receipt} onClose={() => setReceipt(null)} />}
      {planned && <Planning run={planned.run} proposed={planned.chosen} newer={newer(planned.run, runs.data?.reconciliations)} onClose={() => setPlanned(null)} onDone={(what) => done(what, planned.run.run_id)} />}
      <div role="status" aria-live="polite">
        {said && (
          <div class="notice">
            <span>{said}</span>
            <button type="button" onClick={() => setSaid("")} aria-label="Dismiss">
              ✕
            </button>
          </div>
        )}
      </div>
    </Shared.Provider>
  );
}

render(<App />, document.body);
export const y = 1;
