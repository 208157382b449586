// Numbers, times and names as people read them.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
const precise = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const seconds = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const local = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const dated = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });

export const number = (value: number): string => whole.format(value);
export const compact = (value: number): string => short.format(value);
export const signed = (value: number): string => (value > 0 ? `+${number(value)}` : value < 0 ? `−${number(-value)}` : "0");
export const many = (count: number, one: string, more = `${one}s`): string => `${number(count)} ${count === 1 ? one : more}`;
/** What others say, as a sentence that another can follow. */
export const sentence = (said: string): string => (said && !/[.!?]$/.test(said) ? `${said}.` : said);
export const listed = (parts: string[]): string =>
  parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}`;

export function bytes(size: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let step = 0;
  let left = size;
  while (Math.abs(left) >= 999.5 && step < units.length - 1) {
    left /= 1000;
    step += 1;
  }
  return `${step === 0 || Math.abs(left) >= 99.5 ? Math.round(left) : left.toFixed(1)} ${units[step]}`;
}

export function lasts(seconds: number): string {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return many(Math.round(seconds), "second");
  if (seconds < 5400) return many(Math.round(seconds / 60), "minute");
  if (seconds < 129_600) return many(Math.round(seconds / 3600), "hour");
  return many(Math.round(seconds / 86_400), "day");
}

export const at = (time: string): string => date.format(new Date(time));
export const atSecond = (time: string): string => precise.format(new Date(time));
export const atClock = (time: string | number): string => clock.format(new Date(time));
/** A day of the history, which is one of UTC. */
export const onDay = (milliseconds: number): string => day.format(new Date(milliseconds));
export const onDate = (milliseconds: number): string => dated.format(new Date(milliseconds));

/** Names moments beside each other, none like its neighbour: by their days, and by the clock where several are of one day. */
export function moments(times: number[]): string[] {
  const days = times.map((time) => local.format(time));
  if (new Set(days).size === days.length && days.length > 1) return days;
  const minutes = times.map((time, place) => `${days[place]} ${clock.format(time)}`);
  const clocks = new Set(minutes).size === minutes.length ? clock : seconds;
  return times.map((time, place) => `${clocks.format(time)}${days[place] === days[place - 1] ? "" : `\n${days[place]}`}`);
}

/** How long ago a thing was. It is past whatever our clock says: that may be behind, and is read every few seconds only. */
export function ago(time: string, now = Date.now()): string {
  const seconds = (now - Date.parse(time)) / 1000;
  return seconds < 5 ? "just now" : seconds < 60 ? "less than a minute ago" : `${lasts(seconds)} ago`;
}
/** How long until a thing comes. */
export function until(time: string, now = Date.now()): string {
  const seconds = (Date.parse(time) - now) / 1000;
  return seconds < 5 ? "at any moment" : `in ${lasts(seconds)}`;
}

/** What is said of a deletion that has come so far while the page was open; nothing of what goes on. */
export function became(deletion: { status: string; project_id: string; erases_at: string | null }): string | null {
  if (deletion.status === "DELETED" || deletion.status === "INCOMPLETE") return "A deletion has ended: its receipt is there.";
  if (deletion.status === "HELD") return `The project ${plain(deletion.project_id)} is set aside, and can be undone${deletion.erases_at ? ` until ${at(deletion.erases_at)}` : ""}.`;
  if (deletion.status === "UNDONE") return `The deletion of ${plain(deletion.project_id)} was undone.`;
  return null;
}

/** What a class of finding is called, one and many. */
export const CLASSES: Record<string, { one: string; more: string; says: string; tone: "bad" | "warn" | "" }> = {
  missing: { one: "missing object", more: "missing objects", says: "records whose object is gone", tone: "bad" },
  orphan: { one: "orphan", more: "orphans", says: "objects without a record", tone: "warn" },
  mismatch: { one: "mismatch", more: "mismatches", says: "objects that differ from their record", tone: "warn" },
  unstored: { one: "unstored record", more: "unstored records", says: "records without an object yet", tone: "warn" },
  unknown: { one: "unknown key", more: "unknown keys", says: "keys that no layout explains", tone: "" },
  duplicate_spelling: { one: "duplicate spelling", more: "duplicate spellings", says: "names in two Unicode spellings", tone: "" },
};
/** Which of a class's cases a finding is. */
export const KINDS: Record<string, Record<string, string>> = {
  orphan: { active: "of a live project", deleting: "of a project being deleted", deleted: "of a deleted project", none: "of no known project" },
  mismatch: { size: "another size", etag: "another ETag", returned: "there again", reappeared: "written again", not_as_announced: "not as announced" },
  unstored: { pending: "announced, not come", uncommitted: "come, not confirmed", inline: "in the ledger itself", external: "at a foreign URL", missing: "marked missing" },
  duplicate_spelling: { two_objects: "two objects", recorded_otherwise: "recorded otherwise", stored_otherwise: "stored otherwise" },
};
/** What one of them is called where it has to be said what is to be done about it. */
const UNSTORED: Record<string, [string, string]> = {
  pending: ["upload that has not come", "uploads that have not come"],
  uncommitted: ["upload that was not confirmed", "uploads that were not confirmed"],
  inline: ["record with its bytes in the ledger", "records with their bytes in the ledger"],
  external: ["record of a foreign URL", "records of foreign URLs"],
  missing: ["record marked missing", "records marked missing"],
};
export const ofKind = (kind: string, count: number): string => many(count, ...(UNSTORED[kind] ?? [`unstored record (${kind})`, `unstored records (${kind})`]));
/** What a line of a plan is about, in the plural. */
export const planned = (name: string): string => {
  if (name === "orphan.none") return "orphans of nobody";
  const kind = name.split(".")[1];
  return (kind ? UNSTORED[kind]?.[1] : CLASSES[name]?.more) ?? name;
};
export const classed = (name: string, count: number): string => {
  const known = CLASSES[name];
  return known ? many(count, known.one, known.more) : `${number(count)} ${name.replaceAll("_", " ")}`;
};

/** What an action does, for a button and for a sentence. */
export const ACTIONS: Record<string, { name: string; says: string }> = {
  mark_missing: { name: "mark missing", says: "The record says that its object is missing, and is counted as stored no more." },
  forget: { name: "forget", says: "The record goes, with its counts. A row is kept for 400 days that says what it was." },
  refetch: { name: "fetch again", says: "The bytes are put back from where they came, if they are still the very same." },
  refresh: { name: "refresh", says: "The record says what the bucket says." },
  settle: { name: "settle", says: "What has arrived is committed; an upload that ended without bytes is withdrawn." },
  adopt: { name: "adopt", says: "A record is made for the object, where it can be told whose it is." },
  quarantine: { name: "quarantine", says: "The object is set aside, and can be restored for some days." },
  delete: { name: "delete", says: "The object goes for good." },
  acknowledge: { name: "acknowledge", says: "The finding is quiet until object or record change." },
};
export const acted = (action: string): string => ACTIONS[action.toLowerCase()]?.name ?? action.toLowerCase().replaceAll("_", " ");

export const REASONS: Record<string, string> = {
  seen_once: "seen once only, which the next run takes",
  other_kind: "of a kind the action is not for",
  too_large: "over 5 GiB",
  changed: "changed since",
  waiting: "not yet, their time is not over",
  denied: "refused by the store",
  acknowledged: "acknowledged since",
};
/** What was left alone, by reason. */
export const leftAlone = (reasons: Record<string, number> = {}): string => listed(Object.entries(reasons).filter(([, count]) => count > 0).map(([reason, count]) => `${number(count)} ${REASONS[reason] ?? reason.replaceAll("_", " ")}`));

const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]|^ | $/gu;

/** Cuts a key into what can be shown as it is and what cannot be seen, or would change how the rest is read. */
export function pieces(key: string): { text: string; hidden: boolean }[] {
  const found: { text: string; hidden: boolean }[] = [];
  let from = 0;
  for (const match of key.matchAll(HIDDEN)) {
    if (match.index > from) found.push({ text: key.slice(from, match.index), hidden: false });
    found.push({ text: match[0] === " " ? "space" : `U+${match[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`, hidden: true });
    from = match.index + match[0].length;
  }
  if (from < key.length) found.push({ text: key.slice(from), hidden: false });
  return found;
}
export const plain = (key: string): string => pieces(key).map((piece) => (piece.hidden ? `⟨${piece.text}⟩` : piece.text)).join("");
// x
