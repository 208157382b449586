// The API, asked with the token that was typed in. The token lives in this module and nowhere else: it is gone when the page is.

/** What an answer that is none says: RFC 9457 from the API, or what stands in front of it. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    readonly title: string,
    readonly detail: string,
  ) {
    super(detail);
  }

  /** The deployment has no such path: it is older, or its part is switched off. */
  get isAbsent(): boolean {
    return this.status === 404 && (this.type === "" || this.type.endsWith(":no-such-route"));
  }

  /** What to do about it, beside what the detail says. */
  get advice(): string {
    if (this.status === 0) return "Look at the connection, then try again.";
    if (this.status === 403) return "Sign in with a token that has it.";
    if (this.status === 429) return "Wait a moment, then try again.";
    if (this.status >= 500) return "Try again. If it stays so, look at the function's log.";
    return "";
  }
}

export interface Bearer {
  subject: string;
  ends: number | null;
}

let token: string | null = null;
let ended: (why: string) => void = () => undefined;

/** Keeps a token until the page is left, and says whose it is and until when, as far as it can be read. */
export function keep(pasted: string): Bearer {
  token = pasted;
  try {
    const part = pasted.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (sign) => sign.charCodeAt(0))));
    return { subject: String(claims.sub ?? ""), ends: typeof claims.exp === "number" ? claims.exp * 1000 : null };
  } catch {
    return { subject: "", ends: null };
  }
}

/** Tells `then` when the API takes the token no longer. */
export function onEnd(then: (why: string) => void): void {
  ended = then;
}

export function forget(): void {
  token = null;
  ended = () => undefined;
}

/** Sends a request and reads its JSON. Paths are relative to where the page lies, whatever stage or domain that is under. */
export async function ask<T>(path: string, { method = "GET", body, signal }: { method?: string; body?: unknown; signal?: AbortSignal } = {}): Promise<T> {
  return JSON.parse(await text(path, { method, body, signal })) as T;
}

export async function text(path: string, { method = "GET", body, signal }: { method?: string; body?: unknown; signal?: AbortSignal } = {}): Promise<string> {
  const mine = token;
  const headers: Record<string, string> = { authorization: `Bearer ${mine ?? ""}`, accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer: Response;
  let said: string;
  try {
    answer = await fetch(new URL(path, new URL(".", location.href)), {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: signal ?? null,
    });
    said = await answer.text();
  } catch (failure) {
    if (signal?.aborted) throw failure;
    throw new Problem(0, "", "The API did not answer", "No whole answer came back.");
  }
  if (answer.ok) return said;
  const problem = read(answer.status, said);
  // one that comes late, of a token that was left, says nothing of the one that is used now
  if (answer.status === 401 && mine === token) ended(problem.detail);
  throw problem;
}

function read(status: number, said: string): Problem {
  let document: { type?: string; title?: string; detail?: string; message?: string } = {};
  try {
    document = JSON.parse(said);
  } catch {
    // the gateway's own words are no JSON
  }
  const type = typeof document.type === "string" ? document.type : "";
  return new Problem(status, type, document.title ?? `The answer was ${status}`, document.detail ?? document.message ?? "");
}

export function encoded(id: string): string {
  return encodeURIComponent(id);
}

export function query(fields: Record<string, string | number | boolean | null | undefined>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}
