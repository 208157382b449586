// What of the API's answers is shown. docs/openapi.json says all of it; what may be absent is marked so.

export interface Tally {
  objects: number;
  bytes: number;
}
export type State = "PENDING" | "STORED" | "INLINE" | "EXTERNAL" | "MISSING" | "QUARANTINED";
export type Counts = Record<State, Tally>;
export interface Named extends Tally {
  name: string | null;
}

export interface Analytics {
  as_of: string;
  records: Tally;
  stored: Tally;
  counts: Counts;
  bucket: (Tally & { run_id: string; counted_at: string; age_seconds?: number }) | null;
  drift: Tally | null;
  acknowledged?: Tally | null;
  findings: Record<string, Tally> | null;
  projects: { project_id: string; state: string; counts: Counts }[];
  projects_in_all: number;
  explanation?: string;
  recounted_at?: string | null;
  recount?: { drifted_rows: number; repaired: number } | null;
  by_layout?: Named[];
  by_type?: Named[];
  by_provider?: Named[];
  by_purpose?: Named[];
}

export interface Point {
  records?: Tally | number | null;
  stored?: Tally | number | null;
  bucket?: Tally | number | null;
  orphan?: Tally | number | null;
  missing?: Tally | number | null;
  mismatch?: Tally | number | null;
  unstored?: Tally | number | null;
}
export interface Trend {
  days: (Point & { day: string; at?: string })[];
  runs?: (Point & { run_id: string; finished_at: string })[];
  more_runs?: boolean;
}

export interface Repair {
  status: string;
  plan: Record<string, string>;
  done: Record<string, number>;
  skipped: number;
  reasons?: Record<string, number>;
  deferred: number;
  started_at: string;
  finished_at?: string;
  why?: string;
}
export interface Run {
  run_id: string;
  status: string;
  started_at: string;
  finished_at?: string;
  previous?: string | null;
  why?: string | null;
  counts?: Record<string, Tally>;
  progress?: { keys: number; keys_per_second: number; share: number | null; seconds_left: number | null };
  changes?: { since: string | null; new: Record<string, number>; gone: Record<string, number>; repaired: Record<string, number> };
  repair?: Repair;
  restoration?: { status: string; started_at: string; restored: number; failed: number; why?: string };
}

export interface Seen {
  bytes: number;
  etag: string | null;
  last_modified?: string;
  state?: string;
  object_id?: string;
  updated_at?: string;
}
export interface Finding {
  key: string;
  class: string;
  kind: string;
  layout: string | null;
  project: string | null;
  bytes: number;
  object: Seen | null;
  record: Seen | null;
  meaning: string;
  likely_cause: string;
  recommended: string;
  first_seen_at: string;
  sightings: number;
  settles_at?: string | null;
  repair: string;
  skipped?: string;
  outcome?: string;
  url?: string;
}

export interface Plan {
  plan_id: string;
  status: "PLANNING" | "READY" | "APPLIED";
  allowed: { actions: number; per_project: number };
  actions: { class: string; action: string; count: number; bytes: number; deferred: { count: number; bytes: number }; skipped: Record<string, number> }[];
  warning?: string;
}

export interface Estimate {
  objects: number;
  records: number;
  at_least: boolean;
  seconds: number | null;
  usd: number | null;
  by_run: string | null;
}

export interface Receipt extends Tally {
  deletion_id: string;
  project_id: string;
  status: string;
  reason: string | null;
  requested_at: string;
  finished_at: string;
  rounds: number;
  records: number;
  versions: number;
  multipart_uploads_aborted: number;
  by_layout: Record<string, Tally>;
  listings: { layout: string; prefix: string; objects: number }[];
  removed_keys_sha256: { all: string };
  remaining_objects: number;
  remaining: { key: string; why: string }[];
  suspect_objects: number;
  suspects?: Suspect[];
}
/** What lies under a project's prefixes and is not provably its own. */
export interface Suspect {
  key: string;
  why: string;
}
export interface Deletion {
  deletion_id: string;
  status: string;
  project_id: string;
  reason: string | null;
  requested_at: string;
  sweep_at: string;
  erases_at: string | null;
  round: number;
  batches: { planned: number | null; done: number };
  set_aside?: Tally;
  receipt?: Receipt;
}
export interface DryRun extends Tally {
  project_id: string;
  complete: boolean;
  undo_seconds: number;
  by_layout: Record<string, Tally>;
  suspect_objects: number;
  suspects?: Suspect[];
}
export interface Verification {
  status: string;
  checked_at: string;
  complete: boolean;
  remaining: Tally;
  keys: string[];
  suspect_objects: number;
  suspects?: Suspect[];
}

export interface Entry {
  entry_id: string;
  status: string;
  key: string;
  project_id: string | null;
  size: number;
  content_type: string | null;
  why: string;
  run_id: string;
  set_aside_at: string;
  expires_at: string;
  not_restored?: string;
  kept?: string;
}
export interface Drill {
  drill_id: string;
  status: string;
  started_at: string;
  finished_at?: string;
  differences?: string[];
  why?: string | null;
}

export interface Diagnostics {
  as_of: string;
  status: string;
  checks: { name: string; status: string; says: string; do?: string | null; detail?: unknown }[];
}

/** How many dead letters wait, by queue; null where they could not be counted. */
export function deadLetters(of: Diagnostics | undefined): Record<string, number | null> {
  const detail = of?.checks.find((check) => check.name === "dead-letters")?.detail as { queues?: Record<string, number | null> } | undefined;
  return detail?.queues ?? {};
}

export interface Identity {
  status: string;
  why: string | null;
  bucket: string;
  configured_region: string;
  region: string | null;
  clock_skew_ms: number | null;
}
export interface Conformance {
  store: string;
  probed_at: string;
  lines: { name: string; holds: boolean; says: string; chooses: string }[];
}

export interface SelfTest {
  status: string;
  steps: { name: string; status: string; says: string; do: string | null; took_ms: number }[];
  is_clean: boolean;
}

export const objectsOf = (value: Tally | number | null | undefined): number | null =>
  typeof value === "number" ? value : (value?.objects ?? null);

const RUNNING = ["REQUESTED", "RUNNING"];
const DELETING = ["REQUESTED", "SETTING_ASIDE", "RESTORING", "REMOVING"];

export const isWalking = (run: Run): boolean => RUNNING.includes(run.status);
export const isRepairing = (run: Run): boolean => run.repair?.status === "RUNNING" || run.restoration?.status === "RUNNING";
export const isBusy = (run: Run | undefined): boolean => run !== undefined && (isWalking(run) || isRepairing(run));
/** It moves, or will by itself once it can be undone no more. */
export const isOpen = (deletion: Deletion): boolean => isDeleting(deletion) || deletion.status === "HELD";
export const isDeleting = (deletion: Deletion): boolean => DELETING.includes(deletion.status);
