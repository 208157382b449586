// One run: how it stands, how far it is while it goes, and what is said of it when it has ended.
import type { ComponentChildren } from "preact";
import type { Run } from "../answers";
import { isBusy, isRepairing, isWalking } from "../answers";
import { Tag } from "../parts";
import { stop } from "../questions";
import { useStock } from "../stock";
import { ago, lasts, leftAlone, many, number, sentence } from "../words";

const SAID: Record<string, [string, string]> = {
  REQUESTED: ["busy", "about to start"],
  RUNNING: ["busy", "comparing"],
  COMPLETE: ["good", "complete"],
  INCOMPLETE: ["warn", "incomplete"],
  FAILED: ["bad", "failed"],
  STOPPED: ["", "stopped"],
  SKIPPED: ["", "skipped"],
};

export function RunTag({ run }: { run: Run }) {
  if (isRepairing(run)) return <Tag tone="busy">{run.restoration?.status === "RUNNING" ? "restoring" : "being repaired"}</Tag>;
  const [tone, word] = SAID[run.status] ?? ["", run.status.toLowerCase()];
  return <Tag tone={tone}>{word}</Tag>;
}

/** What is said of a run that is busy no more. */
export function ended({ status, repair, restoration }: Run): string {
  if (status !== "COMPLETE") return `The run is ${status.toLowerCase()}.`;
  if (restoration && (!repair || Date.parse(restoration.started_at) > Date.parse(repair.started_at)))
    return `The restoration has ended: ${many(restoration.restored, "object")} ${restoration.restored === 1 ? "is" : "are"} back${restoration.failed ? `, ${number(restoration.failed)} could not be` : ""}.`;
  if (!repair) return "The reconcile is complete.";
  const done = Object.values(repair.done).reduce((sum, count) => sum + count, 0);
  const why = leftAlone(repair.reasons);
  if (repair.status === "DONE" && done === 0) return `The repair has ended, and did nothing${why ? `. Left alone: ${why}` : ""}.`;
  const did = `${many(done, "finding")} acted on, ${number(repair.skipped)} left alone${why ? ` (${why})` : ""}${repair.deferred ? `, ${number(repair.deferred)} put off` : ""}.`;
  if (repair.status !== "DONE") return `The repair ${repair.status === "STOPPED" ? "was stopped" : "failed"}: ${did} ${sentence(repair.why ?? "")}`;
  return `The repair has ended: ${did}`;
}

/** The complete runs that began after a run, the newest first: what it found may have been repaired since. */
export const newer = (run: Run, among: Run[] = []): Run[] => among.filter((other) => other.status === "COMPLETE" && Date.parse(other.started_at) > Date.parse(run.started_at));

export function Newer({ runs, onGo, children }: { runs: Run[]; onGo?: () => void; children?: ComponentChildren }) {
  if (runs.length === 0) return null;
  return (
    <p class="callout">
      {many(runs.length, "newer run")} {runs.length === 1 ? "has" : "have"} compared since, the last one {ago(runs[0]!.started_at)}: what this one found may be repaired or gone by now. {children}
      <a href={`#findings/${runs[0]!.run_id}`} onClick={onGo}>
        Look at the newest
      </a>
    </p>
  );
}

/** What goes on at this moment, with the way to end it. */
export function Live({ run }: { run?: Run | undefined }) {
  const { newest, ask } = useStock();
  const of = run ?? newest.data;
  if (!of || !isBusy(of)) return null;
  const done = Object.values(of.repair?.done ?? {}).reduce((sum, count) => sum + count, 0);
  const walked = of.progress;
  return (
    <section class="live" aria-label="Under way">
      <div>
        <strong>{isWalking(of) ? "Comparing bucket and ledger" : of.restoration?.status === "RUNNING" ? "Putting back what was set aside" : "Applying the plan"}</strong>
        <button type="button" class="little" onClick={() => ask(stop(of))}>
          Stop …
        </button>
      </div>
      <progress {...(isWalking(of) && walked?.share != null ? { max: 1, value: walked.share } : {})} aria-label="Progress" />
      <div class="dim small">
        <span>
          {isWalking(of)
            ? walked && walked.keys > 0
              ? `${many(walked.keys, "key")} so far${walked.keys_per_second ? `, ${number(walked.keys_per_second)} a second` : ""}`
              : "Getting ready"
            : of.restoration?.status === "RUNNING"
              ? `${many(of.restoration.restored, "object")} restored so far`
              : `${many(done, "action")} done, ${number(of.repair?.skipped ?? 0)} left alone so far`}
        </span>
        {isWalking(of) && walked?.seconds_left != null && <span>about {lasts(walked.seconds_left)} left</span>}
      </div>
    </section>
  );
}
