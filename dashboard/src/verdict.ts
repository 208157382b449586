// The one sentence at the top: how much is stored, what is wrong, and what to press.
import type { Analytics, Deletion, Diagnostics, Run } from "./answers";
import { deadLetters, isBusy, isRepairing, isWalking } from "./answers";
import { marked, type Kinds } from "./kinds";
import { ago, CLASSES, classed, leftAlone, listed, many, number, ofKind, sentence } from "./words";

export type Press = "reconcile" | "findings" | "missing" | "run" | "deletions" | "health" | null;
export interface Verdict {
  tone: "good" | "warn" | "bad" | "";
  says: string;
  because: string[];
  press: Press;
}

/** What the sentence rests on beside the counts: what is still being read, and what could not be read. Neither is known to be well. */
export interface Known {
  loading: boolean;
  unread: string[];
}

const OLD_SECONDS = 8 * 86_400;
/** Where among the findings the records are that say themselves that their object is gone: class and kind. */
export const MARKED = "unstored/missing";
const BROKEN = ["INCOMPLETE", "FAILED"];

export function verdict(analytics: Analytics, run: Run | undefined, deletions: Deletion[], diagnostics: Diagnostics | undefined, kinds: Kinds | null | undefined, known: Known, now: number): Verdict {
  const because: string[] = [];
  const found = Object.entries(analytics.findings ?? {}).filter(([, tally]) => tally.objects > 0);
  const differ = found.reduce((sum, [, tally]) => sum + tally.objects, 0);
  const quiet = analytics.acknowledged?.objects ?? 0;
  // a repair of the very run whose count is shown: its findings are not what is so any more
  const repair = run?.run_id === analytics.bucket?.run_id ? run?.repair : undefined;
  const repaired = Object.values(repair?.done ?? {}).reduce((sum, count) => sum + count, 0);
  // it is the records that are counted: where the bucket did not say the same, that is said with the number
  const isBorneOut = analytics.bucket !== null && differ === 0 && !(run && BROKEN.includes(run.status));
  const stored = `${isBorneOut ? "" : "By the ledger "}${many(analytics.stored.objects, "object")} ${analytics.stored.objects === 1 ? "is" : "are"} stored`;
  const failing = (diagnostics?.checks ?? []).filter((check) => check.status === "failed");
  const incomplete = deletions.filter((deletion) => deletion.status === "INCOMPLETE");

  if (failing.length) because.push(`${many(failing.length, "check")} of the deployment ${failing.length === 1 ? "fails" : "fail"}: ${listed(failing.slice(0, 3).map((check) => check.name.replaceAll(/[_.-]/g, " ")))}.`);
  if (incomplete.length) because.push(`${many(incomplete.length, "deletion")} could not remove everything.`);
  const letters = Object.values(deadLetters(diagnostics)).reduce<number>((sum, count) => sum + (count ?? 0), 0);
  if (letters) because.push(`${many(letters, "dead letter")} ${letters === 1 ? "waits" : "wait"} to be looked at.`);
  const gone = analytics.counts.MISSING.objects;
  if (gone) because.push(`${many(gone, "record")}${differ ? " in all" : ""} ${gone === 1 ? "says" : "say"} that ${gone === 1 ? "its object is" : "their objects are"} gone: forget ${gone === 1 ? "it" : "them"}, also what you upload again, which has a record of its own.`);
  if (diagnostics && (failing.length || letters)) because.push(`The deployment looked at itself ${ago(diagnostics.as_of, now)}.`);
  if (known.unread.length) because.push(`${listed(known.unread).replace(/^./, (letter) => letter.toUpperCase())} could not be read, so nobody knows whether all is well there.`);
  const worse = (tone: Verdict["tone"]): Verdict["tone"] => {
    if (failing.length || incomplete.length || tone === "bad") return "bad";
    if (letters || known.unread.length || tone === "warn") return "warn";
    return known.loading ? "" : tone;
  };
  const trouble: Press = failing.length ? "health" : incomplete.length ? "deletions" : letters ? "health" : null;

  if (isBusy(run)) {
    const what = isWalking(run!) ? "a reconcile is comparing them with the bucket" : isRepairing(run!) ? "a repair is under way" : "";
    return { tone: worse(""), says: `${stored}, and ${what}.`, because, press: trouble };
  }
  if (run && BROKEN.includes(run.status)) {
    // what the last complete one counted may be what this one found gone
    because.unshift(`The newest run ended ${run.status.toLowerCase()}${run.why ? `: ${sentence(run.why)}` : "."}`);
    return { tone: "bad", says: `${stored}, but the newest run ended ${run.status.toLowerCase()}.`, because, press: trouble ?? "run" };
  }
  if (analytics.bucket === null) {
    because.unshift(
      analytics.records.objects === 0
        ? "Nothing was recorded so far. A first reconcile shows what the bucket already holds."
        : "The bucket was never counted whole, so nobody knows whether they are all there: start a reconcile.",
    );
    return { tone: worse("warn"), says: `${stored}; the bucket has not been counted yet.`, because, press: trouble ?? "reconcile" };
  }
  const age = (now - Date.parse(analytics.bucket.counted_at)) / 1000;
  if (differ > 0) {
    const serious = found.some(([name]) => CLASSES[name]?.tone === "bad");
    if (repaired > 0) {
      because.unshift(`Since that count a repair did ${many(repaired, "thing")}. Start a reconcile to see what is left.`);
      return { tone: worse("warn"), says: `${stored}; ${many(differ, "difference")} ${differ === 1 ? "was" : "were"} found, and repaired in part.`, because, press: trouble ?? "reconcile" };
    }
    if (repair?.status === "DONE") because.unshift(`Its repair did nothing${repair.skipped ? `. Left alone: ${leftAlone(repair.reasons)}` : ""}.`);
    because.unshift(`The last complete reconcile found ${listed(found.flatMap(([name, tally]) => split(name, tally.objects, kinds)))}${quiet ? `, beside ${number(quiet)} acknowledged` : ""}.`);
    return { tone: worse(serious ? "bad" : "warn"), says: `${stored}, and ${many(differ, "difference")} ${differ === 1 ? "needs" : "need"} a look.`, because, press: trouble ?? (kinds?.missing?.open.objects === differ ? "missing" : "findings") };
  }
  if (age > OLD_SECONDS) {
    because.unshift("The bucket was last counted over a week ago: start a reconcile to know that it is still so.");
    return { tone: worse("warn"), says: `${stored}, and nothing was wrong when the bucket was last counted.`, because, press: trouble ?? "reconcile" };
  }
  because.unshift(quiet ? `The last complete reconcile found ${many(quiet, "difference")} between bucket and ledger, and ${quiet === 1 ? "it is" : "each is"} acknowledged.` : "The last complete reconcile found no difference between bucket and ledger.");
  if (gone > 0) {
    // what was marked since that count is in no list yet, and nobody has seen it
    const seen = kinds?.missing ? kinds.missing.quiet : quiet;
    return { tone: worse(gone <= seen ? "warn" : "bad"), says: `${stored}, and ${many(gone, "more object")} ${gone === 1 ? "is" : "are"} known to be missing.`, because, press: trouble ?? ((kinds ? marked(kinds) : quiet) > 0 ? "missing" : "reconcile") };
  }
  if (known.loading) return { tone: worse(""), says: `${stored}; whether all is well is being looked at.`, because, press: trouble };
  const story = quiet ? "differ only in what is acknowledged" : "tell the same story";
  return { tone: worse("good"), says: `${stored}, and bucket and ledger ${story}.`, because, press: trouble };
}

/** What was found of a class; of what is unstored by its kinds, where these are known and add up. */
function split(name: string, count: number, kinds: Kinds | null | undefined): string[] {
  const parts = name === "unstored" ? Object.entries(kinds ?? {}).map(([kind, of]): [string, number] => [kind, of.open.objects + of.ended]) : [];
  if (parts.reduce((sum, [, number]) => sum + number, 0) !== count) return [classed(name, count)];
  return parts.filter(([, number]) => number > 0).map(([kind, number]) => ofKind(kind, number));
}

/** What is missing: by the last complete run, or, once that was repaired or found none, by the records that say so themselves. */
export function missing(analytics: Analytics, run: Run | undefined): { objects: number | null; note: string; at: string } {
  const found = analytics.findings?.missing?.objects ?? null;
  const known = analytics.counts.MISSING.objects;
  const isMarked = run !== undefined && run.run_id === analytics.bucket?.run_id && (run.repair?.done.MARK_MISSING ?? 0) > 0;
  if (known > 0 && (isMarked || !found)) return { objects: known, note: "marked so in their records", at: isMarked ? "missing" : MARKED };
  if (found === null) return { objects: null, note: "not looked for yet", at: "" };
  return { objects: found, note: `records whose object is gone${known ? `; ${number(known)} marked so before` : ""}`, at: "missing" };
}

/** Says where the numbers that stand side by side part, so that 19 against 15 explains itself. */
export function explained(analytics: Analytics): string {
  if (analytics.explanation) return analytics.explanation;
  const states: [keyof Analytics["counts"], string][] = [
    ["PENDING", "announced"],
    ["INLINE", "in the ledger itself"],
    ["EXTERNAL", "at foreign URLs"],
    ["MISSING", "missing from the bucket"],
    ["QUARANTINED", "set aside"],
  ];
  const others = states.filter(([state]) => analytics.counts[state].objects > 0).map(([state, says]) => `${many(analytics.counts[state].objects, "is", "are")} ${says}`);
  return others.length ? `Of ${many(analytics.records.objects, "record")}, ${many(analytics.stored.objects, "is", "are")} of stored objects; ${listed(others)}.` : "";
}
