// Of which kinds it is what a run found unstored: a run counts its classes alone, and what can be done about these goes by the kind.
import { useEffect, useState } from "preact/hooks";
import { ask, encoded, query } from "./api";
import type { Finding, Run, Tally } from "./answers";

export interface Kind {
  /** Still to be acted on, acknowledged, and neither: done, or left alone by a repair. */
  open: Tally;
  quiet: number;
  ended: number;
  /** Of the open ones, those whose time is not over, so that nothing is done about them yet. */
  waiting: number;
  recommended: string;
}
export type Kinds = Record<string, Kind>;

const PAGE = 500;
/** Beyond that a look at the page would read megabytes to split a number. */
const MOST = 1000;

/** Reads them of a run; undefined while they are read, null where there are too many of them or they cannot be read. */
export function useKinds(run: Run | undefined, fresh = 0): Kinds | null | undefined {
  const [kinds, set] = useState<{ of: string; kinds: Kinds | null }>();
  const open = run?.counts?.unstored?.objects ?? 0;
  const quiet = run?.counts?.acknowledged?.objects ?? 0;
  const id = run?.run_id;
  useEffect(() => {
    if (id === undefined || open + quiet === 0 || open + quiet > MOST) return undefined;
    const turn = new AbortController();
    void read(id, turn.signal).then(
      (read) => set({ of: id, kinds: read }),
      () => turn.signal.aborted || set({ of: id, kinds: null }),
    );
    return () => turn.abort();
  }, [id, open, quiet, run?.repair?.status, run?.repair?.started_at, fresh]);
  if (run?.counts && open + quiet === 0) return {};
  if (open + quiet > MOST) return null;
  return kinds && kinds.of === id ? kinds.kinds : undefined;
}

async function read(runId: string, signal: AbortSignal): Promise<Kinds> {
  const kinds: Kinds = {};
  let cursor: string | null = null;
  do {
    const page: { findings: Finding[]; cursor: string | null } = await ask(`reconciliations/${encoded(runId)}/findings${query({ class: "unstored", limit: PAGE, cursor })}`, { signal });
    for (const finding of page.findings) {
      const kind = (kinds[finding.kind] ??= { open: { objects: 0, bytes: 0 }, quiet: 0, ended: 0, waiting: 0, recommended: finding.recommended });
      if (finding.repair === "ACKNOWLEDGED") kind.quiet += 1;
      else if (finding.repair === "FOUND" || finding.repair === "ACTING") {
        kind.open.objects += 1;
        kind.open.bytes += finding.bytes;
        if (finding.settles_at !== undefined && (finding.settles_at === null || Date.parse(finding.settles_at) > Date.now())) kind.waiting += 1;
      } else kind.ended += 1;
    }
    cursor = page.cursor;
  } while (cursor !== null);
  return kinds;
}

/** How many records say that their object is gone, of those that the run listed and nothing was done about. */
export const marked = (kinds: Kinds | null | undefined): number => (kinds?.missing ? kinds.missing.open.objects + kinds.missing.quiet : 0);
