// What all views share: what was read, who is signed in, and the way to ask before something is done.
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Analytics, Deletion, Diagnostics, Run, Trend } from "./answers";
import type { Question } from "./parts";
import type { Resource } from "./state";

export interface Stock {
  analytics: Resource<Analytics>;
  runs: Resource<{ reconciliations: Run[] }>;
  newest: Resource<Run>;
  deletions: Resource<{ deletions: Deletion[] }>;
  history: Resource<Trend>;
  diagnostics: Resource<Diagnostics>;
  /** The API did not answer at all, so that what is shown is of before. It is said once, above every view. */
  away: boolean;
  /** Opens a question; nothing is done before it is answered. */
  ask: <T>(question: Question<T>) => void;
  /** How often it was read again: what a view reads for itself is read again with it. */
  fresh: number;
  /** Opens the plan of a run's repair; with what somebody chose already, where they did. */
  plan: (run: Run, chosen?: Record<string, string>) => void;
  /** Shows the receipt of a deletion that has ended. */
  receipt: (deletion: Deletion) => void;
  /** Tells what happened, also to who listens. */
  say: (what: string) => void;
  /** Reads again what a change may have moved. */
  refresh: () => void;
}

export const Shared = createContext<Stock | null>(null);
export const useStock = (): Stock => useContext(Shared)!;
