// A run's findings: by class, filtered, page by page, each with its image where there is one, and what it means.
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, encoded, query, type Problem } from "../api";
import type { Finding, Run } from "../answers";
import { isBusy } from "../answers";
import { Empty, Key, Loaded, Pager, Panel, Table, Tag, Trouble, Waiting, When } from "../parts";
import { marked, useKinds } from "../kinds";
import { reconcile, restoreRun } from "../questions";
import { asProblem, usePolling, useResource } from "../state";
import { useStock } from "../stock";
import { acted, at, atSecond, bytes, CLASSES, classed, KINDS, leftAlone, listed, many, number, plain } from "../words";
import { Live, Newer, newer, RunTag } from "./run";

export function Findings({ runId, within }: { runId: string | undefined; within: string[] }) {
  const stock = useStock();
  const chosen = runId ?? stock.runs.data?.reconciliations[0]?.run_id ?? null;
  const isNewest = chosen !== null && chosen === stock.newest.data?.run_id;
  const older = useResource<Run>(chosen !== null && !isNewest ? `reconciliations/${encoded(chosen)}` : null);
  const run = isNewest ? stock.newest : older;
  const busy = isBusy(stock.newest.data);
  usePolling(!isNewest && isBusy(older.data), async () => JSON.stringify(await older.reload()));
  useEffect(() => {
    if (stock.fresh && !isNewest) void older.reload();
  }, [stock.fresh]);
  const listedRuns = stock.runs.data?.reconciliations ?? [];

  return (
    <>
      <div class="head">
        <div>
          <h1 tabIndex={-1}>Findings</h1>
          <p>Where bucket and ledger differ, key by key. A run only reports; nothing is moved or removed before a plan is applied.</p>
        </div>
        <div class="actions">
          <button type="button" disabled={busy} onClick={() => stock.ask(reconcile(stock.newest.data))}>
            Start a reconcile
          </button>
          {run.data?.status === "COMPLETE" && (
            <button type="button" class="first" disabled={isBusy(run.data)} onClick={() => stock.plan(run.data!)}>
              Plan a repair
            </button>
          )}
        </div>
      </div>
      {stock.runs.problem && !(stock.away && stock.runs.problem.status === 0) && <Trouble problem={stock.runs.problem} retry={stock.runs.reload} />}
      {chosen === null ? (
        stock.runs.data ? (
          <div class="panel">
            <Empty title="There was no run yet">Start a reconcile: it compares both sides, and changes nothing.</Empty>
          </div>
        ) : (
          !stock.runs.problem && <Waiting what="the runs" />
        )
      ) : (
        <Loaded of={run} what="the run">
          {(data) => (
            <>
              <Live run={data} />
              <Summary run={data} others={listedRuns} />
              <Newer runs={newer(data, listedRuns)} />
              {data.counts && <List key={[data.run_id, ...within].join("/")} run={data} within={within} />}
            </>
          )}
        </Loaded>
      )}
    </>
  );
}

function Summary({ run, others }: { run: Run; others: Run[] }) {
  const { ask: question } = useStock();
  const known = others.some((other) => other.run_id === run.run_id) ? others : [run, ...others];
  const setAside = run.repair?.done.QUARANTINE ?? 0;
  return (
    <Panel
      title="The run"
      tools={
        <div>
          <label class="hidden" for="run">
            Which run
          </label>
          <select id="run" value={run.run_id} onChange={(event) => (location.hash = `findings/${event.currentTarget.value}`)}>
            {known.map((other) => (
              <option key={other.run_id} value={other.run_id}>
                {atSecond(other.started_at)}, {other.counts ? many(found(other), "finding") : other.status.toLowerCase()}
              </option>
            ))}
          </select>
        </div>
      }
    >
      <dl class="facts">
        <dt>Status</dt>
        <dd>
          <RunTag run={run} />
        </dd>
        <dt>Started</dt>
        <dd>
          <When time={run.started_at} />
        </dd>
        {run.counts && (
          <>
            <dt>Compared</dt>
            <dd>
              {many(run.counts.bucket?.objects ?? 0, "object")} of {bytes(run.counts.bucket?.bytes ?? 0)}; {number(run.counts.matched?.objects ?? 0)} match their records
            </dd>
          </>
        )}
        {run.why && (
          <>
            <dt>Why</dt>
            <dd>{run.why}</dd>
          </>
        )}
        {run.repair && (
          <>
            <dt>Repair</dt>
            <dd>
              {run.repair.status.toLowerCase()}: {listed(Object.entries(run.repair.done).map(([action, count]) => `${number(count)} ${acted(action)}`)) || "nothing done"}
              {run.repair.skipped ? `; ${number(run.repair.skipped)} left alone${run.repair.reasons ? `: ${leftAlone(run.repair.reasons)}` : ""}` : ""}
              {run.repair.deferred ? `; ${number(run.repair.deferred)} put off, apply again to take them` : ""}
              {run.repair.why ? `. ${run.repair.why}` : ""}
            </dd>
          </>
        )}
        {run.restoration && (
          <>
            <dt>Restored</dt>
            <dd>
              {many(run.restoration.restored, "object")}
              {run.restoration.failed ? `; ${number(run.restoration.failed)} could not be` : ""}
            </dd>
          </>
        )}
      </dl>
      {setAside > 0 && (
        <p class="actions under">
          <button type="button" class="little" disabled={isBusy(run)} onClick={() => question(restoreRun(run))}>
            Restore what this run set aside …
          </button>
        </p>
      )}
    </Panel>
  );
}

const found = (run: Run): number => Object.keys(CLASSES).reduce((sum, name) => sum + (run.counts?.[name]?.objects ?? 0), 0);

const PAGE = 50;
const QUIET = "ACKNOWLEDGED";
/** Requests for one page: with filters an answer may hold few findings, or none, while there are more. */
const REQUESTS = 6;

function List({ run, within: [ofClass = "", ofKind = ""] }: { run: Run; within: string[] }) {
  const counted = Object.keys(CLASSES).filter((name) => (run.counts?.[name]?.objects ?? 0) > 0);
  // those that are acknowledged are listed, and counted apart from their classes
  const quiet = run.counts?.acknowledged?.objects ?? 0;
  const all = found(run) + quiet;
  const [wanted, setWanted] = useState({ class: ofClass, kind: ofKind, project: "", layout: "", repair: "" });
  const [typed, setTyped] = useState("");
  const [starts, setStarts] = useState<{ cursor: string | null; place: number }[]>([{ cursor: null, place: 0 }]);
  const [page, setPage] = useState<{ rows: Finding[]; after: string | null }>();
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(true);
  const [again, setAgain] = useState(0);
  const turn = useRef(0);
  const { cursor: from, place } = starts[starts.length - 1]!;
  const layouts = Object.keys((run.counts as unknown as { layout?: Record<string, unknown> })?.layout ?? {});
  const kinds = KINDS[wanted.class];
  const filtered = wanted.kind || wanted.project || wanted.layout || wanted.repair || (wanted.class && quiet);

  useEffect(() => {
    const mine = ++turn.current;
    setBusy(true);
    setProblem(undefined);
    void (async () => {
      const rows: Finding[] = [];
      let cursor: string | null = from;
      try {
        for (let asked = 0; asked < REQUESTS && rows.length < PAGE; asked += 1) {
          const answer: { findings: Finding[]; cursor: string | null } = await ask(
            `reconciliations/${encoded(run.run_id)}/findings${query({ ...wanted, limit: PAGE - rows.length, cursor, urls: true })}`,
          );
          if (mine !== turn.current) return;
          rows.push(...answer.findings);
          cursor = answer.cursor;
          if (cursor === null) break;
        }
        setPage({ rows, after: cursor });
      } catch (failure) {
        if (mine !== turn.current) return;
        setPage(undefined); // what stands there answers another question
        setProblem(asProblem(failure));
      }
      setBusy(false);
    })();
    return () => {
      turn.current += 1;
    };
  }, [run.run_id, run.repair?.status, run.repair?.started_at, wanted, from, again]);

  const want = (change: Partial<typeof wanted>) => {
    setStarts([{ cursor: null, place: 0 }]);
    setWanted({ ...wanted, ...change });
  };
  const upTo = place + (page?.rows.length ?? 0);
  // they are listed with their class and counted apart from it
  const known = wanted.repair ? 0 : (page?.rows.filter((row) => row.repair === QUIET).length ?? 0);
  // at the end it is known, also where nobody counted what a filter lets pass
  const inAll = page?.after === null ? upTo : filtered ? null : wanted.class ? run.counts![wanted.class]!.objects : all;
  return (
    <Panel
      title="What was found"
      flush
      tools={
        all > 0 && (
          <div class="choose" role="group" aria-label="Class of finding">
            <button type="button" aria-pressed={wanted.class === "" && wanted.repair !== QUIET} onClick={() => want({ class: "", kind: "", repair: "" })}>
              All {number(all)}
            </button>
            {counted.map((name) => (
              <button type="button" key={name} aria-pressed={wanted.class === name} onClick={() => want({ class: name, kind: "" })} title={CLASSES[name]!.says}>
                {classed(name, run.counts![name]!.objects)}
              </button>
            ))}
            {quiet > 0 && (
              <button type="button" aria-pressed={wanted.class === "" && wanted.repair === QUIET} onClick={() => want({ class: "", kind: "", repair: QUIET })} title="quiet until object or record change">
                {number(quiet)} acknowledged
              </button>
            )}
          </div>
        )
      }
    >
      {all > 0 && (
        <form
          class="filters within"
          onSubmit={(event) => {
            event.preventDefault();
            want({ project: typed.trim() });
          }}
        >
          <div class="field">
            <label for="of-project">Project</label>
            <input id="of-project" value={typed} autocomplete="off" spellcheck={false} onInput={(event) => setTyped(event.currentTarget.value)} onBlur={() => typed.trim() !== wanted.project && want({ project: typed.trim() })} />
          </div>
          {kinds && (
            <div class="field">
              <label for="of-kind">Kind</label>
              <select id="of-kind" value={wanted.kind} onChange={(event) => want({ kind: event.currentTarget.value })}>
                <option value="">any</option>
                {Object.entries(kinds).map(([kind, says]) => (
                  <option key={kind} value={kind}>
                    {says}
                  </option>
                ))}
              </select>
            </div>
          )}
          {layouts.length > 0 && (
            <div class="field">
              <label for="of-layout">Layout</label>
              <select id="of-layout" value={wanted.layout} onChange={(event) => want({ layout: event.currentTarget.value })}>
                <option value="">any</option>
                {[...layouts, "unknown"].map((layout) => (
                  <option key={layout}>{layout}</option>
                ))}
              </select>
            </div>
          )}
          <div class="field">
            <label for="of-repair">What was done</label>
            <select id="of-repair" value={wanted.repair} onChange={(event) => want({ repair: event.currentTarget.value })}>
              <option value="">anything</option>
              <option value="FOUND">nothing: open</option>
              {["QUARANTINE", "MARK_MISSING", "REFRESH", "SETTLE", "ADOPT", "DELETE", "FORGET", "REFETCH", "SKIPPED", QUIET].map((repair) => (
                <option key={repair} value={repair}>
                  {acted(repair)}
                </option>
              ))}
            </select>
          </div>
        </form>
      )}
      {run.status === "COMPLETE" && wanted.class === "unstored" && wanted.kind === "missing" && !(wanted.project || wanted.layout || wanted.repair) && <Marked run={run} />}
      {problem && (
        <div class="within">
          <Trouble problem={problem} retry={() => setAgain(again + 1)} />
        </div>
      )}
      {!page && !problem && (
        <div class="within">
          <Waiting what="the findings" />
        </div>
      )}
      {page && page.rows.length === 0 && (
        <Empty title={all === 0 ? "Nothing differs" : "No finding is like that"}>
          {all === 0 ? "Bucket and ledger tell the same story." : page.after ? "Not all were looked through yet: go on with Next." : wanted.kind === "missing" ? "What was marked missing since this run is found by the next one." : filtered ? "Look with fewer filters." : ""}
        </Empty>
      )}
      {page && page.rows.length > 0 && (
        <div aria-busy={busy}>
          <Table
            caption="Findings"
            acts
            head={
              <>
                <th scope="col" class="thumb">
                  <span class="hidden">Image</span>
                </th>
                <th scope="col">Key</th>
                <th scope="col" class="wide-only">
                  Class
                </th>
                <th scope="col" class="wide-only">
                  Project
                </th>
                <th scope="col" class="n">
                  Bytes
                </th>
                <th scope="col" class="wide-only">
                  First seen
                </th>
                <th scope="col">Done</th>
                <th scope="col">
                  <span class="hidden">More</span>
                </th>
              </>
            }
          >
            {page.rows.map((finding) => (
              <Row key={`${finding.class} ${finding.key}`} of={finding} />
            ))}
          </Table>
        </div>
      )}
      {page && (page.rows.length > 0 || page.after || starts.length > 1) && (
        <Pager
          busy={busy}
          says={busy ? "Loading …" : page.rows.length === 0 ? "None on this page" : `${number(place + 1)} to ${number(upTo)}${inAll === null ? "" : ` of ${number(inAll)}`}${known ? `, ${known === page.rows.length ? "all" : number(known)} of these acknowledged` : ""}`}
          before={starts.length > 1 ? () => setStarts(starts.slice(0, -1)) : undefined}
          after={page.after ? () => setStarts([...starts, { cursor: page.after, place: upTo }]) : undefined}
        />
      )}
    </Panel>
  );
}

/** What can be done about the records that say that their object is gone: nothing of it is ever proposed, and none of it can be taken back. */
function Marked({ run }: { run: Run }) {
  const { plan, fresh } = useStock();
  const kinds = useKinds(run, fresh);
  if (kinds && marked(kinds) === 0) return null;
  const choose = (action: string) => plan(run, { "unstored.missing": action });
  return (
    <div class="within">
      <div class="callout">
        <p>
          Forget the records of what nobody brings back, and of what you upload again, which has a record of its own. What was imported from a URL can be fetched again from there, under its own record. Either way the numbers
          come first.
        </p>
        <p class="actions under">
          <button type="button" class="first little" disabled={isBusy(run)} onClick={() => choose("forget")}>
            Forget these records …
          </button>
          <button type="button" class="little" disabled={isBusy(run)} onClick={() => choose("refetch")}>
            Fetch again …
          </button>
        </p>
      </div>
    </div>
  );
}

function Row({ of }: { of: Finding }) {
  const [open, set] = useState(false);
  const known = CLASSES[of.class];
  const kind = KINDS[of.class]?.[of.kind];
  const called = (
    <>
      <Tag tone={known?.tone ?? ""}>{known?.one ?? of.class}</Tag>
      {kind && <div class="dim small">{kind}</div>}
    </>
  );
  return (
    <>
      <tr>
        <td class="thumb">
          <Thumbnail of={of} />
        </td>
        <th scope="row">
          <Key of={of.key} short />
          <div class="narrow-only">{called}</div>
        </th>
        <td class="wide-only">{called}</td>
        <td class="wide-only">{of.project ? <Key of={of.project} short /> : <span class="dim">nobody's</span>}</td>
        <td class="n">{bytes(of.bytes)}</td>
        <td class="when wide-only">
          <When time={of.first_seen_at} />
        </td>
        <td class={of.repair === "FOUND" ? "dim" : ""}>{of.repair === "FOUND" ? "open" : of.repair === QUIET ? "acknowledged" : acted(of.repair)}</td>
        <td class="act">
          <button type="button" class="plain little" aria-expanded={open} onClick={() => set(!open)}>
            {open ? "Less" : "More"}
            <span class="hidden"> about {plain(of.key)}</span>
          </button>
        </td>
      </tr>
      {open && (
        <tr class="more">
          <td colSpan={8}>
            <dl class="facts">
              <dt>Key</dt>
              <dd>
                <Key of={of.key} />
              </dd>
              <dt>Means</dt>
              <dd>{of.meaning}</dd>
              <dt>Likely cause</dt>
              <dd>{of.likely_cause}</dd>
              <dt>What to do</dt>
              <dd>{of.recommended}</dd>
              <dt>In the bucket</dt>
              <dd>{of.object ? `${bytes(of.object.bytes)}, ETag ${of.object.etag}, written ${of.object.last_modified ? at(of.object.last_modified) : "nobody knows when"}` : "nothing"}</dd>
              <dt>In the ledger</dt>
              <dd>{of.record ? `${(of.record.state ?? "").toLowerCase()}, ${bytes(of.record.bytes)}, object ${of.record.object_id}` : "nothing"}</dd>
              <dt>Layout</dt>
              <dd>{of.layout ?? "none explains the key"}</dd>
              <dt>Seen</dt>
              <dd>
                in {many(of.sightings, "run")} in a row, first {at(of.first_seen_at)}
              </dd>
              {(of.skipped || of.outcome) && (
                <>
                  <dt>What came of it</dt>
                  <dd>{of.skipped ?? of.outcome}</dd>
                </>
              )}
            </dl>
          </td>
        </tr>
      )}
    </>
  );
}

/** The image under a key. What lies there nobody has checked: as an `img` it is an image or nothing, and runs nothing. */
function Thumbnail({ of }: { of: Finding }) {
  const [failed, fail] = useState(false);
  // what never came, or lies elsewhere, is not gone
  const isGone = of.class === "missing" || (of.class === "unstored" && of.kind === "missing");
  const ending = /\.([a-z0-9]{1,4})$/i.exec(of.key)?.[1] ?? "";
  if (!of.url || failed || !/^https?:/.test(of.url)) return <span aria-hidden="true">{isGone ? "gone" : ending}</span>;
  return <img src={of.url} alt="" width={44} height={44} loading="lazy" decoding="async" referrerpolicy="no-referrer" onError={() => fail(true)} />;
}
