// One run: how it stands, and how far it is while it goes.
import type { Run } from "../answers";
import { isBusy, isRepairing, isWalking } from "../answers";
import { Tag } from "../parts";
import { stop } from "../questions";
import { useStock } from "../stock";
import { lasts, many, number } from "../words";

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
