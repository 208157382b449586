// What is read from the API and how it is kept fresh: each part by itself, so that one that fails leaves the others as they are.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ask, Problem } from "./api";

export interface Resource<T> {
  data: T | undefined;
  problem: Problem | undefined;
  loading: boolean;
  reload: () => Promise<T | undefined>;
}

/** Reads a path, keeps what it read while it reads it again, and drops what comes late. null reads nothing. */
export function useResource<T>(path: string | null): Resource<T> {
  const [state, set] = useState<{ path: string | null; data?: T; problem?: Problem; loading: boolean }>({ path, loading: path !== null });
  const turn = useRef<AbortController>(undefined);

  const reload = useCallback(async (): Promise<T | undefined> => {
    turn.current?.abort();
    if (path === null) return undefined;
    const mine = (turn.current = new AbortController());
    set((before) => ({ ...(before.path === path ? before : { path }), loading: true }));
    try {
      const data = await ask<T>(path, { signal: mine.signal });
      if (mine.signal.aborted) return undefined;
      set({ path, data, loading: false });
      return data;
    } catch (failure) {
      if (mine.signal.aborted) return undefined;
      set((before) => ({ ...(before.path === path ? before : { path }), problem: asProblem(failure), loading: false }));
      return undefined;
    }
  }, [path]);

  useEffect(() => {
    void reload();
    return () => turn.current?.abort();
  }, [reload]);

  const current = state.path === path ? state : { loading: path !== null, data: undefined, problem: undefined };
  return { data: current.data, problem: current.problem, loading: current.loading, reload };
}

export const asProblem = (failure: unknown): Problem =>
  failure instanceof Problem ? failure : new Problem(0, "", "The page stumbled", failure instanceof Error ? failure.message : String(failure));

/** How soon a thing is asked for again: while it moves, and while it waits for its time. */
export const SOON = { firstMs: 1000, lastMs: 15_000 };
export const SLOWLY = { firstMs: 60_000, lastMs: 300_000 };

/** Asks again and again while `active`, each time later while nothing moves, and not at all while nobody looks.
 *
 * `ask` says what it saw as a text; where that has changed the next one comes soon. */
export function usePolling(active: boolean, ask: () => Promise<string>, { firstMs, lastMs } = SOON): void {
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    if (!active) return undefined;
    let delay = firstMs;
    let seen = "";
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const wait = () => {
      clearTimeout(timer);
      if (!over && !document.hidden) timer = setTimeout(look, delay);
    };
    const look = async () => {
      const now = await latest.current().catch(() => seen);
      delay = now === seen ? Math.min(delay * 1.5, lastMs) : firstMs;
      seen = now;
      wait();
    };
    const shown = () => {
      delay = firstMs;
      wait();
    };
    document.addEventListener("visibilitychange", shown);
    wait();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [active, firstMs, lastMs]);
}

const clock = { now: Date.now(), lookers: new Set<(now: number) => void>() };
const EVERY_MS = 5000;

function tick(): void {
  clock.now = Date.now();
  for (const look of clock.lookers) look(clock.now);
}
setInterval(() => document.hidden || tick(), EVERY_MS);

/** The current time, read again every few seconds, for ages that are shown: one for all, so that no two beside each other differ. */
export function useNow(): number {
  const [now, set] = useState(clock.now);
  useEffect(() => {
    clock.lookers.add(set);
    tick();
    return () => void clock.lookers.delete(set);
  }, []);
  return now;
}

/** Where in the page we are: what stands after the `#`, in parts. */
export function usePlace(): string[] {
  const read = () => location.hash.slice(1).split("/").filter(Boolean).map(decodeURIComponentSafely);
  const [place, set] = useState(read);
  useEffect(() => {
    const moved = () => set(read());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return place;
}

function decodeURIComponentSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
