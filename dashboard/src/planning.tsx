// The plan of a repair: what is to be done about each class, what that would do in numbers, and then, if it is meant, the deed.
import { useEffect, useId, useState } from "preact/hooks";
import { ask, encoded, type Problem } from "./api";
import type { Plan, Run } from "./answers";
import { Dialog, Table, Trouble, Waiting } from "./parts";
import { marked, useKinds, type Kind } from "./kinds";
import { asProblem } from "./state";
import { Newer } from "./views/run";
import { acted, ACTIONS, bytes, CLASSES, leftAlone, listed, many, number, ofKind, planned, sentence } from "./words";

const CHOICES: Record<string, string[]> = {
  missing: ["mark_missing", "refetch", "forget", "acknowledge"],
  mismatch: ["refresh", "acknowledge"],
  unstored: ["settle", "refetch", "forget", "acknowledge"],
  orphan: ["quarantine", "adopt", "delete", "acknowledge"],
  unknown: ["acknowledge"],
  duplicate_spelling: ["acknowledge"],
};
/** What can be done about what is unstored goes by its kind. */
const BY_KIND: Record<string, string[]> = {
  pending: ["settle", "acknowledge"],
  uncommitted: ["settle", "acknowledge"],
  missing: ["forget", "refetch", "acknowledge"],
  external: ["refetch", "acknowledge"],
  inline: ["refetch", "acknowledge"],
};
/** What is proposed: it loses nothing. What was marked missing has nothing of the kind, and somebody has to choose. */
const SAFE: Record<string, string> = { missing: "mark_missing", mismatch: "refresh", unstored: "settle", "unstored.pending": "settle", "unstored.uncommitted": "settle" };
const FOR_GOOD = ["delete", "forget"];
const UNREAD_MS = 700;

/** What can be decided about by itself: a class, or a kind of what is unstored. */
interface Choice {
  name: string;
  label: string;
  hint: string;
  actions: string[];
  proposed: string | undefined;
}

function choices(run: Run, kinds: ReturnType<typeof useKinds>): Choice[] {
  return Object.keys(CHOICES).flatMap((name) => {
    if (name === "unstored" && kinds) return Object.entries(kinds).filter(([, kind]) => kind.open.objects + kind.quiet > 0).flatMap(([kind, of]) => ofKindOf(kind, of));
    const count = run.counts?.[name];
    if (!count?.objects) return [];
    return [{ name, label: `${many(count.objects, CLASSES[name]!.one, CLASSES[name]!.more)}, ${bytes(count.bytes)}`, hint: sentence(CLASSES[name]!.says.replace(/^./, (letter) => letter.toUpperCase())), actions: CHOICES[name]!, proposed: SAFE[name] }];
  });
}

function ofKindOf(kind: string, { open, quiet, waiting, recommended }: Kind): Choice[] {
  // of what is acknowledged only a record whose object is gone can still be ended
  const isQuiet = kind === "missing" && quiet > 0;
  if (open.objects === 0 && !isQuiet) return [];
  const name = `unstored.${kind}`;
  const all = open.objects + (isQuiet ? quiet : 0);
  const label = `${ofKind(kind, all)}${isQuiet ? `, ${open.objects ? `${number(quiet)} of them` : "all"} acknowledged` : `, ${bytes(open.bytes)}`}`;
  const hint = waiting ? `${waiting === open.objects ? "" : `${number(waiting)} of them: `}${waiting === 1 ? "its time is" : "their time is"} not over, so that settling leaves ${waiting === 1 ? "it" : "them"} alone for now.`.replace(/^./, (letter) => letter.toUpperCase()) : recommended;
  return [{ name, label, hint, actions: BY_KIND[kind] ?? ["acknowledge"], proposed: waiting < open.objects ? SAFE[name] : undefined }];
}

export function Planning({ run, proposed, newer, onClose, onDone }: { run: Run; proposed: Record<string, string> | undefined; newer: Run[]; onClose: () => void; onDone: (said: string) => void }) {
  const kinds = useKinds(run);
  const found = choices(run, kinds);
  const [changed, setChosen] = useState<Record<string, string> | undefined>(proposed);
  const chosen = changed ?? Object.fromEntries(found.filter((choice) => choice.proposed).map((choice) => [choice.name, choice.proposed!]));
  const [nobodys, setNobodys] = useState(false);
  const [plan, setPlan] = useState<Plan>();
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const [read, setRead] = useState(false);
  const [typed, setTyped] = useState("");
  const [settled, setSettled] = useState(false);
  const field = useId();
  const isFirst = run.previous === null;

  const wanted = { ...chosen, ...(nobodys && chosen.orphan && ["quarantine", "acknowledge"].includes(chosen.orphan) ? { "orphan.none": chosen.orphan } : {}) };
  const name = `reconciliations/${encoded(run.run_id)}`;

  const attempt = async (what: () => Promise<void>) => {
    setBusy(true);
    setProblem(undefined);
    try {
      await what();
    } catch (failure) {
      setProblem(asProblem(failure));
    }
    setBusy(false);
  };
  const first = isFirst ? { first_run: read } : {};
  const count = () =>
    attempt(async () => {
      let made = await ask<Plan>(`${name}/plan`, { method: "POST", body: { ...(plan ? { plan_id: plan.plan_id } : { plan: wanted }), ...first } });
      // a run with very many findings is read in several requests
      for (let more = 0; made.status === "PLANNING" && more < 100; more += 1) made = await ask<Plan>(`${name}/plan`, { method: "POST", body: { plan_id: made.plan_id, ...first } });
      setPlan(made);
    });
  const apply = () =>
    attempt(async () => {
      await ask(`${name}/apply`, { method: "POST", body: { plan_id: plan!.plan_id, ...first } });
      onDone("The plan is being applied.");
    });

  // what somebody acknowledged by itself, and not by marking it, no plan takes
  const gone = plan?.actions.find((line) => line.class === "unstored.missing" && line.action !== "acknowledge");
  const kept = gone && plan?.status !== "PLANNING" ? Math.max(0, marked(kinds) - gone.count - gone.deferred.count - Object.values(gone.skipped).reduce((sum, count) => sum + count, 0)) : 0;
  const acts = plan?.actions.filter((line) => line.count > 0) ?? [];
  const total = acts.reduce((sum, line) => sum + line.count, 0);
  const forGood = acts.filter((line) => FOR_GOOD.includes(line.action)).reduce((sum, line) => sum + line.count, 0);
  const leaves = plan?.actions.some((line) => line.deferred.count > 0 || Object.keys(line.skipped).length > 0);
  const isCounted = plan !== undefined && plan.status !== "PLANNING";
  const ready = isCounted ? settled && total > 0 && (forGood === 0 || typed.trim() === String(forGood)) : plan !== undefined || (kinds !== undefined && Object.keys(wanted).length > 0 && (!isFirst || read));

  // a second click or Enter that was meant for the step before must not apply what nobody has read
  useEffect(() => {
    if (!plan) return undefined;
    const timer = setTimeout(() => setSettled(true), UNREAD_MS);
    return () => {
      clearTimeout(timer);
      setSettled(false);
    };
  }, [plan]);

  return (
    <Dialog
      title={plan ? "What the plan would do" : "Plan a repair"}
      wide
      busy={busy}
      onClose={onClose}
      onSubmit={() => void (busy || !ready ? undefined : isCounted ? apply() : count())}
      actions={
        <>
          {plan && (
            <button
              type="button"
              class="plain"
              disabled={busy}
              onClick={() => {
                setPlan(undefined);
                setTyped("");
              }}
            >
              Change the plan
            </button>
          )}
          <button type="button" onClick={onClose} disabled={busy}>
            Cancel
          </button>
          {isCounted ? (
            <button key="apply" type="submit" class={forGood > 0 ? "danger" : "first"} disabled={!ready || busy}>
              {busy ? "Working …" : `Apply to ${many(total, "finding")}`}
            </button>
          ) : (
            <button key="count" type="submit" class="first" disabled={!ready || busy}>
              {busy ? "Working …" : plan ? "Go on counting" : "Show what it would do"}
            </button>
          )}
        </>
      }
    >
      <Newer runs={newer} onGo={onClose}>
        What is so no more is left alone.{" "}
      </Newer>
      {!plan && (
        <>
          <p class="dim">Nothing happens yet. What is not chosen is left alone.</p>
          {kinds === undefined ? <Waiting what="what was found" /> : found.length === 0 && <p>This run found nothing that could be acted on.</p>}
          {kinds !== undefined && found.map(({ name: of, label, hint, actions }) => (
            <div class="field" key={of}>
              <label for={`${field}-${of}`}>{label}</label>
              <select
                id={`${field}-${of}`}
                value={chosen[of] ?? ""}
                onChange={(event) => {
                  const { [of]: _, ...others } = chosen;
                  const action = event.currentTarget.value;
                  setChosen(action ? { ...others, [of]: action } : others);
                }}
              >
                <option value="">leave alone</option>
                {actions.map((action) => (
                  <option key={action} value={action}>
                    {acted(action)}
                  </option>
                ))}
              </select>
              <p class="dim small">{chosen[of] ? ACTIONS[chosen[of]]!.says : hint}</p>
              {of === "orphan" && chosen.orphan && chosen.orphan !== "delete" && (
                <label class="check">
                  <input type="checkbox" checked={nobodys} onChange={(event) => setNobodys(event.currentTarget.checked)} />
                  <span>Also orphans that may be anyone's: of no project that the ledger knows</span>
                </label>
              )}
            </div>
          ))}
          {isFirst && (
            <label class="check">
              <input type="checkbox" checked={read} onChange={(event) => setRead(event.currentTarget.checked)} />
              <span>This is the first complete run of this ledger, which only reports. I have read its findings, and they are what I expect.</span>
            </label>
          )}
        </>
      )}
      {plan && (
        <div role="status" class="says">
          <Table
            caption="What would be done, by class of finding"
            head={
              <>
                <th scope="col">Findings</th>
                <th scope="col">Action</th>
                <th scope="col" class="n">
                  Now
                </th>
                <th scope="col" class="n">
                  Bytes
                </th>
                {leaves && <th scope="col">Not now</th>}
              </>
            }
          >
              {plan.actions.map((line) => (
                <tr key={`${line.class} ${line.action}`}>
                  <th scope="row">{planned(line.class)}</th>
                  <td>{acted(line.action)}</td>
                  <td class="n">
                    <strong>{number(line.count)}</strong>
                  </td>
                  <td class="n">{bytes(line.bytes)}</td>
                  {leaves && <td class="dim small">
                    {listed([
                      ...(line.deferred.count ? [`${number(line.deferred.count)} put off: over what one apply may do`] : []),
                      ...(Object.keys(line.skipped).length ? [leftAlone(line.skipped)] : []),
                    ])}
                  </td>}
                </tr>
              ))}
          </Table>
          {!isCounted && <p class="callout">Not all findings are counted yet, so this cannot be applied: go on counting.</p>}
          {kept > 0 && (
            <p class="callout">
              {many(kept, "more record")} {kept === 1 ? "was" : "were"} acknowledged by somebody, and {kept === 1 ? "stays" : "stay"} as {kept === 1 ? "it is" : "they are"}: revoke that with <code>stocktake acknowledgements --revoke</code>, and the next run finds {kept === 1 ? "it" : "them"} open.
            </p>
          )}
          {plan.warning && <p class="callout">{plan.warning}</p>}
          <p class="dim small">
            {total === 0 && isCounted ? "There is nothing to do now. " : "Each finding is read again on both sides at the moment, and what has changed is left alone. "}
            One apply does at most {many(plan.allowed.actions, "action")}{plan.allowed.per_project < plan.allowed.actions ? `, of them at most ${number(plan.allowed.per_project)} in one project` : ""}.
          </p>
        </div>
      )}
      {isCounted && forGood > 0 && (
        <div class="field">
          <label for={field}>
            {many(forGood, "finding")} {forGood === 1 ? "is" : "are"} acted on for good. Type <code>{forGood}</code> to go on
          </label>
          <input id={field} value={typed} inputMode="numeric" autocomplete="off" onInput={(event) => setTyped(event.currentTarget.value)} />
        </div>
      )}
      {busy && !plan && <Waiting what="what the plan would do" />}
      {problem && <Trouble problem={problem} />}
    </Dialog>
  );
}
