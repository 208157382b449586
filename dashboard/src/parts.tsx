// What every view is made of.
import type { ComponentChildren } from "preact";
import { useContext, useEffect, useId, useRef, useState } from "preact/hooks";
import { Problem } from "./api";
import type { Resource } from "./state";
import { asProblem } from "./state";
import { Shared } from "./stock";
import { ago, at, number, pieces, plain, sentence } from "./words";

export function Key({ of, short = false }: { of: string; short?: boolean }) {
  return (
    <span class={short ? "key short" : "key"} dir="ltr" title={short ? plain(of) : undefined}>
      {pieces(of).map((piece, place) => (piece.hidden ? <b key={place}>{piece.text}</b> : <bdi key={place}>{piece.text}</bdi>))}
    </span>
  );
}

export function When({ time, now }: { time: string; now?: number }) {
  return (
    <time dateTime={time} title={at(time)}>
      {ago(time, now)}
    </time>
  );
}

export function Panel({ title, note, tools, flush = false, children }: { title: string; note?: ComponentChildren; tools?: ComponentChildren; flush?: boolean; children: ComponentChildren }) {
  const id = useId();
  return (
    <section class="panel" aria-labelledby={id}>
      <header>
        <div>
          <h2 id={id}>{title}</h2>
          {note && <p>{note}</p>}
        </div>
        {tools}
      </header>
      <div class={flush ? "flush" : "body"}>{children}</div>
    </section>
  );
}

/** A table that scrolls by itself where it is too wide, also by keyboard, and shows where there is more. What can be pressed, `acts`, stays in view. */
export function Table({ caption, head, acts = false, children }: { caption: string; head: ComponentChildren; acts?: boolean; children: ComponentChildren }) {
  const box = useRef<HTMLDivElement>(null);
  const [isMore, setMore] = useState(false);
  const look = (at: HTMLElement) => setMore(at.scrollLeft + at.clientWidth < at.scrollWidth - 1);
  useEffect(() => {
    const at = box.current!;
    const watcher = new ResizeObserver(() => look(at));
    for (const part of [at, at.firstElementChild!]) watcher.observe(part);
    return () => watcher.disconnect();
  }, []);
  return (
    <div class={`sideways ${acts ? "acts" : ""} ${isMore ? "further" : ""}`}>
      <div ref={box} class="scroll" role="region" aria-label={`${caption}, as a table`} tabIndex={0} onScroll={(event) => look(event.currentTarget)}>
        <table>
          <caption class="hidden">{caption}</caption>
          <thead>
            <tr>{head}</tr>
          </thead>
          <tbody>{children}</tbody>
        </table>
      </div>
    </div>
  );
}

export function Waiting({ what }: { what: string }) {
  return (
    <div class="wait">
      <span class="hidden">Loading {what}</span>
      <i />
      <i />
      <i />
    </div>
  );
}

export function Trouble({ problem, retry }: { problem: Problem; retry?: () => unknown }) {
  if (problem.isAbsent)
    return <p class="dim small">This deployment does not answer that yet. It comes with a newer version of the stack.</p>;
  return (
    <div class="trouble" role="alert">
      <strong class="bad">{problem.title}</strong>
      <p>
        {sentence(problem.detail)} {problem.advice}
      </p>
      {retry && (
        <button type="button" class="little" onClick={() => void retry()}>
          Try again
        </button>
      )}
    </div>
  );
}

/** Shows what was read; else that it is being read, or why it could not be. What was read before stays under the problem. */
export function Loaded<T>({ of, what, children }: { of: Resource<T>; what: string; children: (data: T) => ComponentChildren }) {
  const isSaid = useContext(Shared)?.away && of.problem?.status === 0;
  return (
    <>
      {of.problem && !isSaid && <Trouble problem={of.problem} retry={of.reload} />}
      {of.data !== undefined ? children(of.data) : isSaid ? <p class="dim small">It could not be read.</p> : of.problem ? null : <Waiting what={what} />}
    </>
  );
}

export function Tag({ tone = "", children }: { tone?: string; children: ComponentChildren }) {
  return <span class={`tag ${tone}`}>{children}</span>;
}

export function Empty({ children, title }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <strong>{title}</strong>
      {children}
    </div>
  );
}

/** Pages of what is here already. */
export function usePages<T>(rows: T[], size: number): { rows: T[]; pager: ComponentChildren } {
  const [page, set] = useState(0);
  const last = Math.max(0, Math.ceil(rows.length / size) - 1);
  const now = Math.min(page, last);
  const pager =
    last === 0 ? null : (
      <Pager says={`${number(now * size + 1)} to ${number(Math.min(rows.length, now * size + size))} of ${number(rows.length)}`} before={now > 0 ? () => set(now - 1) : undefined} after={now < last ? () => set(now + 1) : undefined} />
    );
  return { rows: rows.slice(now * size, now * size + size), pager };
}

export function Pager({ says, before, after, busy = false }: { says: string; before?: (() => void) | undefined; after?: (() => void) | undefined; busy?: boolean }) {
  return (
    <div class="pages">
      <span class="dim small" role="status">
        {says}
      </span>
      <span class="actions">
        <button type="button" class="little" disabled={!before || busy} onClick={before}>
          Previous
        </button>
        <button type="button" class="little" disabled={!after || busy} onClick={after}>
          Next
        </button>
      </span>
    </div>
  );
}

/** The browser's own dialog: it holds the focus; what opened it has that back. */
export function Dialog({ title, wide = false, busy, onClose, onSubmit, children, actions }: { title: string; wide?: boolean; busy: boolean; onClose: () => void; onSubmit: () => void; children: ComponentChildren; actions: ComponentChildren }) {
  const box = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const opener = document.activeElement;
    box.current!.showModal();
    return () => {
      // what opened it may be gone, or be of no use any more: then the view begins anew
      setTimeout(() => {
        if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
        if (document.activeElement === document.body) document.querySelector<HTMLElement>("main h1")?.focus();
      });
    };
  }, []);
  // another title is another step: who listens, and who presses Enter, is at its beginning
  const shown = useRef(title);
  useEffect(() => {
    if (shown.current !== title) document.getElementById(id)?.focus();
    shown.current = title;
  }, [title]);
  return (
    <dialog
      ref={box}
      class={wide ? "wide" : ""}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        if (!busy) onClose();
      }}
      onClose={() => {
        // a second Escape closes it whatever is said to the first
        if (busy) box.current?.showModal();
        else onClose();
      }}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onSubmit();
        }}
      >
        <h2 id={id} tabIndex={-1}>
          {title}
        </h2>
        <div class="says">{children}</div>
        <div class="actions">{actions}</div>
      </form>
    </dialog>
  );
}

/** What is asked before anything is done: what will happen in numbers, then the button that does it. */
export interface Question<T> {
  title: string;
  danger?: boolean;
  wide?: boolean;
  /** Reads the numbers; changes nothing. */
  prepare: () => Promise<T>;
  says: (facts: T) => ComponentChildren;
  verb: (facts: T) => string;
  /** What has to be typed first. */
  typed?: (facts: T) => string | null;
  /** What has to be ticked first. */
  ticked?: (facts: T) => string | null;
  /** What may be ticked. */
  offered?: (facts: T) => string | null;
  /** A text that comes back closes the question and is said; anything else is shown in it. */
  act: (facts: T, ticked: boolean) => Promise<string | ComponentChildren>;
  possible?: (facts: T) => boolean;
  /** The run that goes on by it, which is followed to its end. */
  follows?: string;
}

export function Confirm<T>({ question, onClose, onDone }: { question: Question<T>; onClose: () => void; onDone: (said: string | null) => void }) {
  const [facts, setFacts] = useState<{ of: T }>();
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const [typed, setTyped] = useState("");
  const [ticked, setTicked] = useState(false);
  const [outcome, setOutcome] = useState<{ of: ComponentChildren }>();
  const field = useId();
  const end = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    question.prepare().then(
      (of) => setFacts({ of }),
      (failure) => setProblem(asProblem(failure)),
    );
  }, []);
  useEffect(() => {
    if (outcome) end.current?.focus();
  }, [outcome]);

  const wantedWord = facts && question.typed?.(facts.of);
  const wantedTick = facts && question.ticked?.(facts.of);
  const offeredTick = facts && question.offered?.(facts.of);
  const ready = facts !== undefined && (!wantedWord || typed.trim() === wantedWord) && (!wantedTick || ticked) && (question.possible?.(facts.of) ?? true);

  const act = async () => {
    if (!facts || !ready || busy || outcome) return;
    setBusy(true);
    setProblem(undefined);
    try {
      const said = await question.act(facts.of, ticked);
      if (typeof said === "string") onDone(said);
      else {
        onDone(null);
        setOutcome({ of: said });
      }
    } catch (failure) {
      setProblem(asProblem(failure));
    }
    setBusy(false);
  };

  return (
    <Dialog
      title={question.title}
      wide={question.wide ?? false}
      busy={busy}
      onClose={onClose}
      onSubmit={() => void act()}
      actions={
        outcome ? (
          <button type="button" class="first" ref={end} onClick={onClose}>
            Close
          </button>
        ) : problem && !facts ? (
          // without its numbers nothing can be done
          <button type="button" onClick={onClose}>
            Close
          </button>
        ) : (
          <>
            <button type="button" onClick={onClose} disabled={busy}>
              Cancel
            </button>
            <button type="submit" class={question.danger ? "danger" : "first"} disabled={!ready || busy}>
              {busy ? "Working …" : facts ? question.verb(facts.of) : "Looking …"}
            </button>
          </>
        )
      }
    >
      <div role="status" class="says">
        {outcome ? outcome.of : facts ? question.says(facts.of) : problem ? null : <Waiting what="the numbers" />}
      </div>
      {!outcome && (wantedTick ?? offeredTick) && (
        <label class="check">
          <input type="checkbox" checked={ticked} onChange={(event) => setTicked(event.currentTarget.checked)} />
          <span>{wantedTick ?? offeredTick}</span>
        </label>
      )}
      {!outcome && wantedWord && (
        <div class="field">
          <label for={field}>
            Type <code>{plain(wantedWord)}</code> to go on
          </label>
          <input id={field} value={typed} autocomplete="off" spellcheck={false} onInput={(event) => setTyped(event.currentTarget.value)} />
        </div>
      )}
      {problem && <Trouble problem={problem} />}
    </Dialog>
  );
}
