// Every deed there is: what it will do, in numbers, and the request that does it.
import { ask, encoded, Problem, query } from "./api";
import type { Conformance, Deletion, Drill, DryRun, Entry, Estimate, Identity, Run, SelfTest, Suspect, Tally, Verification } from "./answers";
import { Key, type Question, Tag } from "./parts";
import { at, bytes, lasts, listed, many, number, plain } from "./words";

const hasLost = (run: Run | undefined): boolean => run?.status === "INCOMPLETE" && (run.why ?? "").includes("accept_loss");

const nothing = async (): Promise<null> => null;

export const reconcile = (latest: Run | undefined): Question<Estimate> => ({
  title: "Compare bucket and ledger",
  prepare: () => ask<Estimate>("reconciliations", { method: "POST", body: { dry_run: true } }),
  says: (estimate) => (
    <>
      <p>
        Walks <strong>{many(estimate.objects, "object")}</strong> in the bucket beside{" "}
        <strong>
          {estimate.at_least ? "at least " : ""}
          {many(estimate.records, "record")}
        </strong>{" "}
        in the ledger, and reports what differs. It changes nothing.
      </p>
      <p class="dim small">
        {estimate.seconds === null ? "How long it takes nobody knows before the first complete run" : `It takes about ${lasts(estimate.seconds)}`}
        {estimate.usd === null ? "." : `, and costs ${estimate.usd < 0.01 ? "less than 0.01" : `about ${estimate.usd.toFixed(2)}`} USD by list prices.`}
      </p>
    </>
  ),
  // a bucket that lost much is compared only by who knows why
  offered: () => (hasLost(latest) ? "The bucket lost many of its objects since the last run, and I know why: compare all the same." : null),
  verb: () => "Start",
  act: async (_, ticked) => {
    await ask<Run>("reconciliations", { method: "POST", body: ticked ? { accept_loss: true } : {} });
    return "The reconcile has started.";
  },
});

export const stop = (run: Run): Question<null> => ({
  title: run.repair?.status === "RUNNING" || run.restoration?.status === "RUNNING" ? "Stop the repair" : "Stop the reconcile",
  danger: true,
  prepare: nothing,
  says: () => (
    <p>
      {run.repair?.status === "RUNNING"
        ? `It has done ${many(Object.values(run.repair.done).reduce((sum, count) => sum + count, 0), "action")} so far. That stays, and the rest is left as it is.`
        : run.restoration?.status === "RUNNING"
          ? `It has put back ${many(run.restoration.restored, "object")} so far. That stays, and the rest stays in quarantine.`
          : `${run.progress ? `It has walked ${many(run.progress.keys, "key")}. ` : ""}What was found so far stays; the run is never acted on.`}
    </p>
  ),
  verb: () => "Stop it",
  act: async () => {
    await ask(`reconciliations/${encoded(run.run_id)}/stop`, { method: "POST", body: {} });
    return "It was stopped.";
  },
});

export const restore = (entry: Entry): Question<null> => ({
  title: "Put the object back",
  prepare: nothing,
  says: () => (
    <>
      <p>
        <strong>1 object</strong> of {bytes(entry.size)} goes back to where it lay, with its headers and its record:
      </p>
      <p class="callout">
        <Key of={entry.key} />
      </p>
      <p class="dim small">Nothing is overwritten: where something else lies under the key by now, it stays in quarantine and you are told so.</p>
    </>
  ),
  verb: () => "Restore 1 object",
  act: async () => {
    await ask(`quarantine/${encoded(entry.entry_id)}/restore`, { method: "POST", body: {} });
    return `Restored: ${plain(entry.key)}`;
  },
});

export const purge = (entry: Entry): Question<null> => ({
  title: "Remove the object for good",
  danger: true,
  prepare: nothing,
  says: () => (
    <>
      <p>
        <strong>1 object</strong> of {bytes(entry.size)} that was set aside is removed before its days are over. <strong>There is no way back.</strong>
      </p>
      <p class="callout">
        <Key of={entry.key} />
      </p>
      <p class="dim small">What has come under its key meanwhile stays where it is, and is recorded.</p>
    </>
  ),
  verb: () => "Remove 1 object for good",
  act: async () => {
    await ask(`quarantine/${encoded(entry.entry_id)}`, { method: "DELETE", body: {} });
    return `Removed: ${plain(entry.key)}`;
  },
});

export const restoreRun = (run: Run): Question<{ held: Entry[]; more: boolean }> => ({
  title: "Put back all that the run set aside",
  prepare: async () => {
    const page = await ask<{ entries: Entry[]; cursor: string | null }>(`quarantine${query({ run: run.run_id, status: "HELD", limit: 100 })}`);
    return { held: page.entries, more: page.cursor !== null };
  },
  says: ({ held, more }) => (
    <p>
      {more ? (
        // a page of a filtered list may be short, or empty, while there is more: what the run did is the better number
        <>
          The run set aside <strong>{many(run.repair?.done.QUARANTINE ?? held.length, "object")}</strong>. What of them is still held goes back to where it lay
        </>
      ) : (
        <>
          <strong>{many(held.length, "object")}</strong> of {bytes(held.reduce((sum, entry) => sum + entry.size, 0))} {held.length === 1 ? "goes" : "go"} back to where {held.length === 1 ? "it" : "they"} lay
        </>
      )}
      , each by itself. One that cannot be restored says why and stays in quarantine.
    </p>
  ),
  verb: ({ held, more }) => `Restore ${more ? "all" : many(held.length, "object")}`,
  possible: ({ held, more }) => held.length > 0 || more,
  follows: run.run_id,
  act: async () => {
    await ask(`reconciliations/${encoded(run.run_id)}/restore`, { method: "POST", body: {} });
    return "The restoration has started.";
  },
});

export const drill = (): Question<null> => ({
  title: "Prove that quarantine restores",
  prepare: nothing,
  says: () => (
    <p>
      <strong>1 object of Stocktake's own</strong> is planted in the project <code>stocktake-drill</code>, set aside, restored, compared byte by byte and taken away again. Nothing of yours is
      touched.
    </p>
  ),
  verb: () => "Run the drill",
  act: async () => {
    const done = await ask<Drill>("quarantine/drill", { method: "POST", body: {} });
    return done.status === "PASSED" ? (
      <p>
        <strong class="good">It passed.</strong> What was set aside came back exactly as it was.
      </p>
    ) : (
      <p>
        <strong class="bad">It failed.</strong> {done.why ?? listed(done.differences ?? [])} Do not apply a plan with quarantine before this is understood.
      </p>
    );
  },
});

export const selfTest = (): Question<null> => ({
  title: "Send an object the whole way",
  prepare: nothing,
  says: () => (
    <p>
      <strong>1 object of Stocktake's own</strong>, of some bytes, is put under <code>.stocktake/probe/</code>, listed, read, fetched by a URL and deleted again. Nothing of yours is touched.
    </p>
  ),
  verb: () => "Run the self-test",
  act: async () => {
    const seen = await ask<SelfTest>("diagnostics/self-test", { method: "POST", body: {} });
    return (
      <>
        <p>
          {seen.status === "ok" ? <strong class="good">Every step worked.</strong> : <strong class="bad">Not every step worked.</strong>} {seen.is_clean ? "" : "What it put may still be there."}
        </p>
        <ul class="checks">
          {seen.steps.map((step) => (
            <li key={step.name}>
              <h3>
                <Tag tone={step.status === "ok" ? "good" : step.status === "failed" ? "bad" : ""}>
                  {step.name} <span class="hidden">{step.status}</span>
                </Tag>
              </h3>
              <div>
                <p>
                  {step.says} <span class="dim">{number(step.took_ms)} ms</span>
                </p>
                {step.do && <p class="bad">{step.do}</p>}
              </div>
            </li>
          ))}
        </ul>
      </>
    );
  },
});

export const identify = (): Question<null> => ({
  title: "Identify the bucket",
  prepare: nothing,
  says: () => (
    <p>
      Reads the bucket's mark and compares it with the ledger's. A bucket that has none, of a ledger that knows none, is marked: <strong>1 small object of Stocktake's own</strong> is put, and stays.
    </p>
  ),
  verb: () => "Identify",
  act: async () => {
    const seen = await ask<Identity>("diagnostics/identity");
    return (
      <dl class="facts">
        <dt>It is the ledger's</dt>
        <dd>{seen.status === "ok" ? <Tag tone="good">yes</Tag> : <Tag tone="bad">{seen.status}</Tag>}</dd>
        {seen.why && (
          <>
            <dt>Why not</dt>
            <dd>{seen.why}</dd>
          </>
        )}
        <dt>Name</dt>
        <dd>
          <code>{seen.bucket}</code>
        </dd>
        <dt>Region</dt>
        <dd>
          {seen.region ?? "the store does not tell"}, set is {seen.configured_region}
        </dd>
        <dt>Clock</dt>
        <dd>{seen.clock_skew_ms === null ? "the store does not tell" : `${(Math.abs(seen.clock_skew_ms) / 1000).toFixed(1)} s ${seen.clock_skew_ms < 0 ? "behind" : "ahead of"} ours`}</dd>
      </dl>
    );
  },
});

export const conform = (): Question<null> => ({
  title: "List what the store can do",
  wide: true,
  prepare: nothing,
  says: () => (
    <p>
      Reads what was found out about the store. Where nobody has tried it yet it is tried now: <strong>some small objects of Stocktake's own</strong> are put under <code>.stocktake/</code> and taken away again, and the answer is written down.
    </p>
  ),
  verb: () => "List",
  act: async () => {
    const seen = await ask<Conformance>("diagnostics/conformance");
    return (
      <>
        <p class="dim">
          {plain(seen.store)}, tried {at(seen.probed_at)}
        </p>
        <ul class="checks">
          {seen.lines.map((line) => (
            <li key={line.name}>
              <h3>
                <Tag tone={line.holds ? "good" : ""}>
                  {line.name.replaceAll("_", " ")} <span class="hidden">{line.holds ? "yes" : "no"}</span>
                </Tag>
              </h3>
              <div>
                <p>{line.says}</p>
                <p class="dim">{line.chooses}</p>
              </div>
            </li>
          ))}
        </ul>
      </>
    );
  },
});

const UNDER_WAY = ["REQUESTED", "SETTING_ASIDE", "RESTORING", "REMOVING"];

export const verify = (deletion: Deletion): Question<Deletion> => ({
  title: `Verify the deletion of ${plain(deletion.project_id)}`,
  prepare: () => ask<Deletion>(`deletions/${encoded(deletion.deletion_id)}`),
  says: ({ receipt, status }) => (
    <>
      <p>
        Lists{" "}
        <strong>{receipt ? `the ${many(receipt.listings.length, "place")}` : "every place"} where the project's objects could lie</strong> afresh, now
        {receipt ? `, and should find none of the ${many(receipt.objects, "object")} that went` : ""}.
      </p>
      {status === "INCOMPLETE" ? (
        <p>This deletion is incomplete: verifying begins another round, which removes what can be removed by now.</p>
      ) : status === "HELD" ? (
        <p>Nothing is erased before the time to undo it is over: what is set aside is listed as still there. Verifying sends again what may have been lost on its way.</p>
      ) : UNDER_WAY.includes(status) ? (
        <p>It is under way: verifying also sends again what may have been lost on its way, once that is overdue. What is done is not done twice.</p>
      ) : (
        <p class="dim small">It changes nothing.</p>
      )}
    </>
  ),
  verb: () => "Verify",
  act: async () => {
    const seen = await ask<Verification>(`deletions/${encoded(deletion.deletion_id)}/verify`, { method: "POST", body: {} });
    return (
      <>
        <p>
          {seen.remaining.objects === 0 && seen.complete && seen.suspect_objects > 0 ? (
            <strong class="warn">
              {many(seen.suspect_objects, "object")} {seen.suspect_objects === 1 ? "is" : "are"} left that may be the project's or another's.
            </strong>
          ) : seen.remaining.objects === 0 && seen.complete ? (
            <strong class="good">Nothing is left: 0 objects, looked for at {at(seen.checked_at)}.</strong>
          ) : seen.remaining.objects === 0 ? (
            <strong class="warn">Nothing was found so far, and there was no time to look everywhere: verify again.</strong>
          ) : seen.status === "HELD" ? (
            <strong>
              {many(seen.remaining.objects, "object")} of {bytes(seen.remaining.bytes)} {seen.remaining.objects === 1 ? "is" : "are"} still there, set aside as {seen.remaining.objects === 1 ? "it" : "they"} should be.
            </strong>
          ) : UNDER_WAY.includes(seen.status) || seen.status === "UNDONE" ? (
            <strong class={seen.status === "UNDONE" ? "" : "warn"}>
              {many(seen.remaining.objects, "object")} of {bytes(seen.remaining.bytes)} {seen.remaining.objects === 1 ? "is" : "are"} there{seen.status === "UNDONE" ? ": the deletion was undone." : " so far: the deletion goes on."}
            </strong>
          ) : (
            <strong class="bad">
              {many(seen.remaining.objects, "object")} of {bytes(seen.remaining.bytes)} {seen.remaining.objects === 1 ? "is" : "are"} still there.
            </strong>
          )}
        </p>
        {seen.keys.slice(0, 10).map((key) => (
          <p key={key} class="callout">
            <Key of={key} />
          </p>
        ))}
        <Suspects count={seen.suspect_objects} of={seen.suspects} />
      </>
    );
  },
});

export const undo = (deletion: Deletion): Question<null> => ({
  title: `Undo the deletion of ${plain(deletion.project_id)}`,
  prepare: nothing,
  says: () => (
    <p>
      {deletion.set_aside ? <strong>{`${many(deletion.set_aside.objects, "object")} of ${bytes(deletion.set_aside.bytes)} `}</strong> : "What was set aside "}
      go back to where they lay, and the project opens as it was.
    </p>
  ),
  verb: () => "Undo the deletion",
  act: async () => {
    await ask(`deletions/${encoded(deletion.deletion_id)}/undo`, { method: "POST", body: {} });
    return "The deletion is being undone.";
  },
});

export const deleteProject = (projectId: string): Question<DryRun> => ({
  title: `Delete the project ${plain(projectId)}`,
  danger: true,
  prepare: async () => {
    try {
      return await ask<DryRun>(`projects/${encoded(projectId)}?dry_run=true`, { method: "DELETE" });
    } catch (failure) {
      if (!(failure instanceof Problem && failure.type.endsWith(":project-not-found"))) throw failure;
      // what the API says of it is for who stores, not for who deletes
      throw new Problem(404, failure.type, "There is no such project", `The ledger knows no project ${plain(projectId)}, so nothing can be deleted. The overview lists the ids there are.`);
    }
  },
  says: (dry) => (
    <>
      <p>
        Removes{" "}
        <strong>
          {dry.complete ? "" : "at least "}
          {many(dry.objects, "object")} of {bytes(dry.bytes)}
        </strong>{" "}
        from bucket and ledger, and closes the project at once.{" "}
        {dry.undo_seconds > 0 ? `It can be undone for ${lasts(dry.undo_seconds)}.` : "It cannot be undone."}
      </p>
      <Layouts tallies={dry.by_layout} />
      <Suspects count={dry.suspect_objects} of={dry.suspects} />
    </>
  ),
  typed: () => projectId,
  verb: (dry) => `Delete ${dry.complete ? "" : "at least "}${many(dry.objects, "object")}`,
  act: async () => {
    await ask(`projects/${encoded(projectId)}`, { method: "DELETE", body: { reason: "asked for on the dashboard" } });
    return "The deletion has begun. Its receipt follows the final sweep.";
  },
});

/** Names what no deletion touches, and says what it means: while one is there, the deletion does not end as DELETED. */
export function Suspects({ count, of = [] }: { count: number; of?: Suspect[] | undefined }) {
  if (count === 0) return null;
  const shown = of.slice(0, 10);
  return (
    <>
      <p>
        {many(count, "object")} under the same prefixes {count === 1 ? "is" : "are"} not provably the project's. A deletion never touches {count === 1 ? "it" : "them"}, and ends incomplete while {count === 1 ? "it is" : "they are"} there: move or delete{" "}
        {count === 1 ? "it" : "them"} by hand, or configure a layout that says whose {count === 1 ? "it is" : "they are"}, then verify the deletion again.
      </p>
      {shown.map((suspect) => (
        <p key={suspect.key} class="callout">
          <Key of={suspect.key} />
          <br />
          <span class="dim small">{suspect.why}</span>
        </p>
      ))}
      {count > shown.length && shown.length > 0 && <p class="dim small">And {number(count - shown.length)} more.</p>}
    </>
  );
}

export function Layouts({ tallies }: { tallies: Record<string, Tally> }) {
  const rows = Object.entries(tallies);
  if (rows.length === 0) return null;
  return (
    <table>
      <caption class="hidden">By layout</caption>
      <thead>
        <tr>
          <th scope="col">Layout</th>
          <th scope="col" class="n">
            Objects
          </th>
          <th scope="col" class="n">
            Bytes
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, tally]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class="n">{number(tally.objects)}</td>
            <td class="n">{bytes(tally.bytes)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
