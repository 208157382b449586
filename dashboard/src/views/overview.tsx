// How it stands, in one look: the sentence, the numbers side by side, where they come from and where they go.
import { Fragment } from "preact";
import { useMemo, useState } from "preact/hooks";
import type { Analytics, Named, Run, Trend } from "../answers";
import { isBusy, isDeleting, objectsOf } from "../answers";
import { Chart, type Line } from "../charts";
import { Empty, Key, Loaded, Panel, Table, Tag, usePages, Waiting, When } from "../parts";
import { useKinds } from "../kinds";
import { reconcile } from "../questions";
import { useNow, type Resource } from "../state";
import { useStock } from "../stock";
import { explained, MARKED, missing, verdict } from "../verdict";
import { ago, atClock, bytes, CLASSES, classed, listed, many, number, onDate, signed } from "../words";
import { DeletionRows, DeletionTable } from "./deletions";
import { Live, RunTag } from "./run";

export function Overview() {
  const { analytics, deletions } = useStock();
  const going = (deletions.data?.deletions ?? []).filter((deletion) => isDeleting(deletion) || deletion.status === "HELD");
  return (
    <>
      <Sentence />
      {analytics.problem && !analytics.data && <h1 class="hidden">Overview</h1>}
      <Loaded of={analytics} what="the counts">
        {(data) => (
          <>
            <Live />
            <Tiles of={data} />
          </>
        )}
      </Loaded>
      {going.length > 0 && (
        <Panel title="Deletions under way" flush>
          <DeletionTable caption="Deletions under way">
            <DeletionRows of={going} />
          </DeletionTable>
        </Panel>
      )}
      <div class="pair">
        <Days />
        <Differences />
      </div>
      <div class="pair">
        {analytics.data && <Shares of={analytics.data} />}
        <Newest />
      </div>
      {analytics.data && <Projects of={analytics.data} />}
    </>
  );
}

function Sentence() {
  const { analytics, runs, newest, deletions, diagnostics, ask, fresh, away } = useStock();
  const now = useNow();
  const counted = analytics.data?.bucket?.run_id;
  const kinds = useKinds(newest.data?.run_id === counted ? newest.data : undefined, fresh);
  if (!analytics.data) return analytics.problem ? null : <Waiting what="what is stored" />;
  const read: [string, Resource<unknown>][] = [["health", diagnostics], ["the deletions", deletions], ["the list of runs", runs], ...(runs.data?.reconciliations.length ? [["the newest run", newest] as [string, Resource<unknown>]] : [])];
  const known = {
    loading: read.some(([, part]) => part.data === undefined && !part.problem),
    // what a deployment does not have says nothing against it
    unread: away ? [] : read.filter(([, part]) => part.problem && !part.problem.isAbsent).map(([name]) => name),
  };
  const said = verdict(analytics.data, newest.data, deletions.data?.deletions ?? [], diagnostics.data, kinds, known, now);
  const compare = () => ask(reconcile(newest.data));
  return (
    <section class={`verdict ${away && said.tone !== "bad" ? "warn" : said.tone}`} aria-labelledby="verdict">
      <span class="lamp" aria-hidden="true" />
      <div class="says">
        <h1 id="verdict" tabIndex={-1}>
          {away ? `As of ${atClock(analytics.data.as_of)}, ${said.says.replace(/^By /, "by ")}` : said.says}
        </h1>
        {said.because.length > 0 && (
          <p>
            {said.because.join(" ")}
            {analytics.data.counts.MISSING.objects > 0 && counted && said.press !== "missing" && (
              <>
                {" "}
                <a href={`#findings/${counted}/${MARKED}`}>Show the records marked missing</a>
              </>
            )}
          </p>
        )}
      </div>
      <div class="actions">
        {said.press === "findings" && (
          <a class="button first" href={`#findings/${analytics.data.bucket?.run_id ?? ""}`}>
            Look at the findings
          </a>
        )}
        {said.press === "missing" && (
          <a class="button first" href={`#findings/${counted}/${MARKED}`}>
            Show the records marked missing
          </a>
        )}
        {said.press === "run" && (
          <a class="button first" href={`#findings/${newest.data?.run_id ?? ""}`}>
            Look at the run
          </a>
        )}
        {said.press === "deletions" && (
          <a class="button first" href="#deletions">
            Look at the deletions
          </a>
        )}
        {said.press === "health" && (
          <a class="button first" href="#health">
            Look at the checks
          </a>
        )}
        <button type="button" class={said.press === "reconcile" ? "first" : ""} disabled={isBusy(newest.data)} onClick={compare}>
          Start a reconcile
        </button>
      </div>
    </section>
  );
}

function Tiles({ of }: { of: Analytics }) {
  const { newest } = useStock();
  const now = useNow();
  const why = explained(of);
  const gone = missing(of, newest.data);
  return (
    <section class="panel side" aria-label="Side by side">
      <dl class="tiles">
        <Tile name="Records" value={of.records.objects} note={`that speak of ${bytes(of.records.bytes)}`} />
        <Tile name="Stored" value={of.stored.objects} note={`${bytes(of.stored.bytes)}, confirmed when they were stored`} />
        <Tile
          name="In the bucket"
          value={of.bucket?.objects ?? null}
          note={of.bucket ? `${bytes(of.bucket.bytes)}, counted ${ago(of.bucket.counted_at, now)}${of.drift?.objects ? `; drift ${signed(of.drift.objects)} then` : ""}` : "not counted yet"}
        />
        <Tile name="Orphans" value={of.findings?.orphan?.objects ?? null} tone={of.findings?.orphan?.objects ? "warn" : ""} note={of.findings ? `${bytes(of.findings.orphan?.bytes ?? 0)} without a record` : "not looked for yet"} />
        <Tile name="Missing" value={gone.objects} tone={gone.objects ? "bad" : ""} note={gone.note} to={gone.objects && of.bucket ? `#findings/${of.bucket.run_id}/${gone.at}` : undefined} />
      </dl>
      {(why || of.recounted_at) && (
        <p class="explained">
          {why}
          {of.recounted_at && (
            <>
              {" "}
              The ledger's counts were proved against its records <When time={of.recounted_at} now={now} />
              {of.recount && of.recount.drifted_rows > of.recount.repaired ? (
                <strong class="bad">: {many(of.recount.drifted_rows - of.recount.repaired, "row")} counted wrong.</strong>
              ) : (
                "."
              )}
            </>
          )}
        </p>
      )}
    </section>
  );
}

function Tile({ name, value, note, tone = "", to }: { name: string; value: number | null; note: string; tone?: string; to?: string | undefined }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class={`big ${tone} ${value !== null && value > 9_999_999 ? "long" : ""}`}>{value === null ? "–" : number(value)}</dd>
      <dd>{to ? <a href={to}>{note}</a> : note}</dd>
    </div>
  );
}

function Days() {
  const { history } = useStock();
  return (
    <Panel title="Objects by day">
      <Loaded of={history} what="the history">
        {(data) => <DayChart of={data} />}
      </Loaded>
    </Panel>
  );
}

function DayChart({ of }: { of: Trend }) {
  const { times, lines } = useMemo(() => {
    const days = of.days.toSorted((one, other) => one.day.localeCompare(other.day));
    const lines: Line[] = [
      { name: "Records", tone: 3, values: days.map((day) => objectsOf(day.records)) },
      { name: "Stored", tone: 1, filled: true, drawn: { width: 3 }, values: days.map((day) => objectsOf(day.stored)) },
      { name: "In the bucket", tone: 2, drawn: { dash: [5, 5] }, values: days.map((day) => objectsOf(day.bucket)) },
    ];
    return { times: days.map((day) => Date.parse(day.day)), lines };
  }, [of]);
  if (times.length === 0) return <Empty title="No day has ended yet">Once a day the counts are written down.</Empty>;
  if (times.length === 1)
    return (
      <>
        <dl class="facts">
          {lines.map((line) => (
            <Fragment key={line.name}>
              <dt>{line.name}</dt>
              <dd>{line.values[0] == null ? "not counted" : number(line.values[0])}</dd>
            </Fragment>
          ))}
        </dl>
        <p class="dim small under">On {onDate(times[0]!)}, the first day that was written down. From the second on they are drawn.</p>
      </>
    );
  return <Chart label="Objects by day" times={times} lines={lines} by="day" />;
}

function Differences() {
  const { runs, history } = useStock();
  return (
    <Panel title="Differences by run" note={history.data?.more_runs ? `The newest ${many(history.data.runs?.length ?? 0, "run")}` : undefined}>
      <Loaded of={runs} what="the runs">
        {(data) => <RunChart of={data.reconciliations} before={history.data?.runs} />}
      </Loaded>
    </Panel>
  );
}

const DRAWN = [
  ["orphan", "Orphans", 5, { width: 3 }],
  ["missing", "Missing", 4, {}],
  ["mismatch", "Mismatches", 1, { dash: [8, 6] }],
  ["unstored", "Unstored", 3, { dash: [3, 6] }],
] as const satisfies readonly (readonly [string, string, Line["tone"], { width?: number; dash?: number[] }])[];

/** The history of runs goes far back; what lists the newest has them too, where there is no history. */
function RunChart({ of, before }: { of: Run[]; before: Trend["runs"] }) {
  const { times, lines } = useMemo(() => {
    const newest = of.filter((run) => run.status === "COMPLETE" && run.counts && run.finished_at).toReversed();
    const runs = before?.length ? before : newest.map((run) => ({ finished_at: run.finished_at!, ...run.counts }) as NonNullable<typeof before>[number]);
    const lines: Line[] = DRAWN.map(([name, label, tone, drawn]) => ({ name: label, tone, drawn: drawn as NonNullable<Line["drawn"]>, values: runs.map((run) => objectsOf(run[name]) ?? 0) }));
    return { times: runs.map((run) => Date.parse(run.finished_at)), lines };
  }, [of, before]);
  if (times.length === 0) return <Empty title="No run is complete yet">What differs is drawn here, run by run.</Empty>;
  return <Chart label="Differences by run" times={times} lines={lines} by="run" />;
}

const CUTS = [
  ["by_layout", "Layout"],
  ["by_type", "Type"],
  ["by_provider", "Provider"],
  ["by_purpose", "Purpose"],
] as const;
const SHOWN = 8;

function Shares({ of }: { of: Analytics }) {
  const there = CUTS.filter(([field]) => of[field] !== undefined);
  const [field, set] = useState<(typeof CUTS)[number][0]>("by_layout");
  const chosen = there.some(([name]) => name === field) ? field : there[0]?.[0];
  const rows = (chosen ? of[chosen]! : []).toSorted((one: Named, other: Named) => other.objects - one.objects);
  const all = rows.reduce((sum, row) => sum + row.objects, 0);
  const rest = rows.slice(SHOWN);
  const shown = rest.length > 1 ? [...rows.slice(0, SHOWN), { name: `${number(rest.length)} others`, objects: rest.reduce((sum, row) => sum + row.objects, 0), bytes: rest.reduce((sum, row) => sum + row.bytes, 0) }] : rows;
  return (
    <Panel
      title="What is stored"
      tools={
        there.length > 1 && (
          <div class="choose" role="group" aria-label="Counted by">
            {there.map(([name, label]) => (
              <button type="button" key={name} aria-pressed={name === chosen} onClick={() => set(name)}>
                {label}
              </button>
            ))}
          </div>
        )
      }
    >
      {there.length === 0 ? (
        <p class="dim small">This deployment does not count by layout, type, provider and purpose yet. It comes with a newer version of the stack.</p>
      ) : shown.length === 0 ? (
        <Empty title="Nothing is stored yet" />
      ) : (
        <ul class="shares">
          {shown.map((row) => {
            const name = !row.name || row.name === "none" ? "not said" : row.name;
            return (
              <li key={name}>
                <span title={name}>
                  <Key of={name} />
                </span>
                <span class="n">
                  {number(row.objects)} <span class="dim">· {bytes(row.bytes)}</span>
                </span>
                <progress max={all || 1} value={row.objects} aria-label={`${name}: ${number(row.objects)} of ${number(all)}`} />
              </li>
            );
          })}
        </ul>
      )}
    </Panel>
  );
}

function Newest() {
  const { newest, runs, plan } = useStock();
  const now = useNow();
  const none = runs.data && runs.data.reconciliations.length === 0;
  return (
    <Panel title="Latest run" tools={newest.data && <RunTag run={newest.data} />}>
      {none ? (
        <Empty title="There was no run yet">A reconcile compares bucket and ledger, key by key.</Empty>
      ) : (
        <Loaded of={newest} what="the latest run">
          {(run) => {
            const found = Object.keys(CLASSES).filter((name) => (run.counts?.[name]?.objects ?? 0) > 0);
            const quiet = run.counts?.acknowledged?.objects ?? 0;
            const said = [...found.map((name) => classed(name, run.counts![name]!.objects)), ...(quiet ? [`${number(quiet)} acknowledged`] : [])];
            return (
              <>
                <dl class="facts">
                  <dt>Ended</dt>
                  <dd>{run.finished_at ? <When time={run.finished_at} now={now} /> : "not yet"}</dd>
                  {run.counts && (
                    <>
                      <dt>Compared</dt>
                      <dd>{many(run.counts.bucket?.objects ?? 0, "object")}</dd>
                      <dt>Found</dt>
                      <dd>{said.length ? listed(said) : <span class="good">no difference</span>}</dd>
                    </>
                  )}
                  {run.changes?.since && (
                    <>
                      <dt>Since the run before</dt>
                      <dd>
                        {sum(run.changes.new)} new, {sum(run.changes.gone)} gone, {sum(run.changes.repaired)} repaired
                      </dd>
                    </>
                  )}
                  {run.repair && (
                    <>
                      <dt>Repair</dt>
                      <dd>
                        {sum(run.repair.done)} done, {number(run.repair.skipped)} left alone, {number(run.repair.deferred)} put off
                      </dd>
                    </>
                  )}
                  {run.why && (
                    <>
                      <dt>Why</dt>
                      <dd>{run.why}</dd>
                    </>
                  )}
                </dl>
                <p class="actions under">
                  <a class="button little" href={`#findings/${run.run_id}`}>
                    {found.length ? "Findings" : "The run"}
                  </a>
                  {run.status === "COMPLETE" && found.length > 0 && (
                    <button type="button" class="little" disabled={isBusy(run)} onClick={() => plan(run)}>
                      Plan a repair
                    </button>
                  )}
                </p>
              </>
            );
          }}
        </Loaded>
      )}
    </Panel>
  );
}

const sum = (counts: Record<string, number>): string => number(Object.values(counts).reduce((all, count) => all + count, 0));

function Projects({ of }: { of: Analytics }) {
  const [wanted, set] = useState("");
  const rows = useMemo(() => {
    const word = wanted.trim().toLowerCase();
    return of.projects.filter((project) => project.project_id.toLowerCase().includes(word)).toSorted((one, other) => other.counts.STORED.objects - one.counts.STORED.objects);
  }, [of, wanted]);
  const { rows: shown, pager } = usePages(rows, 15);
  return (
    <Panel
      title="Projects"
      flush
      note={`${of.projects_in_all > of.projects.length ? `The ${number(of.projects.length)} largest of ${number(of.projects_in_all)}. ` : ""}As the ledger says: what a run finds of one is among its findings, by project`}
      tools={
        of.projects.length > 8 && (
          <div>
            <label class="hidden" for="project-filter">
              Filter projects by id
            </label>
            <input id="project-filter" type="search" placeholder="Filter by id" value={wanted} onInput={(event) => set(event.currentTarget.value)} />
          </div>
        )
      }
    >
      {of.projects.length === 0 ? (
        <Empty title="There is no project yet">An application opens one with its first upload.</Empty>
      ) : rows.length === 0 ? (
        <Empty title="No project has that in its id" />
      ) : (
        <>
          <Table
            caption="Projects, those with the most stored objects first"
            head={
              <>
                <th scope="col">Project</th>
                <th scope="col">State</th>
                <th scope="col" class="n">
                  Stored
                </th>
                <th scope="col" class="n">
                  Bytes
                </th>
                <th scope="col" class="n">
                  Marked missing
                </th>
                <th scope="col" class="n">
                  Pending
                </th>
                <th scope="col" class="n">
                  Set aside
                </th>
              </>
            }
          >
            {shown.map((project) => (
              <tr key={project.project_id}>
                <th scope="row">
                  <Key of={project.project_id} short />
                </th>
                <td>
                  <Tag tone={project.state === "ACTIVE" ? "good" : project.state === "DELETING" ? "busy" : ""}>{project.state.toLowerCase()}</Tag>
                </td>
                <td class="n">{number(project.counts.STORED.objects)}</td>
                <td class="n">{bytes(project.counts.STORED.bytes)}</td>
                <td class={`n ${project.counts.MISSING.objects ? "bad" : "dim"}`}>{number(project.counts.MISSING.objects)}</td>
                <td class={`n ${project.counts.PENDING.objects ? "" : "dim"}`}>{number(project.counts.PENDING.objects)}</td>
                <td class={`n ${project.counts.QUARANTINED.objects ? "" : "dim"}`}>{number(project.counts.QUARANTINED.objects)}</td>
              </tr>
            ))}
          </Table>
          {pager}
        </>
      )}
    </Panel>
  );
}
