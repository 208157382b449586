// Project deletions: how far they are, and what they can be asked.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Deletion } from "../answers";
import { isDeleting } from "../answers";
import { Empty, Key, Loaded, Panel, Table, Tag, usePages, When } from "../parts";
import { deleteProject, undo, verify } from "../questions";
import { useNow } from "../state";
import { useStock } from "../stock";
import { many, number, plain, until } from "../words";

const SAID: Record<string, [string, string]> = {
  REQUESTED: ["busy", "about to begin"],
  SETTING_ASIDE: ["busy", "setting aside"],
  HELD: ["warn", "can be undone"],
  RESTORING: ["busy", "being undone"],
  UNDONE: ["", "undone"],
  REMOVING: ["busy", "removing"],
  DELETED: ["good", "deleted"],
  INCOMPLETE: ["bad", "incomplete"],
};

export function Deletions() {
  const { deletions, ask } = useStock();
  const [project, setProject] = useState("");
  return (
    <>
      <div class="head">
        <div>
          <h1 tabIndex={-1}>Deletions</h1>
          <p>Everything a project ever stored, removed under every layout, and proved by a receipt. Nothing is called deleted before that.</p>
        </div>
        <form
          class="actions"
          onSubmit={(event) => {
            event.preventDefault();
            if (project.trim()) ask(deleteProject(project.trim()));
          }}
        >
          <label class="hidden" for="doomed">
            Project to delete
          </label>
          <input id="doomed" placeholder="Project id" autocomplete="off" spellcheck={false} value={project} onInput={(event) => setProject(event.currentTarget.value)} />
          <button type="submit" disabled={!project.trim()}>
            Delete …
          </button>
        </form>
      </div>
      <Panel title="The newest" flush>
        <div class={deletions.data ? "" : "within"}>
          <Loaded of={deletions} what="the deletions">
            {(data) => (data.deletions.length ? <List of={data.deletions} /> : <Empty title="No project was deleted yet">Deletions appear here with their progress, and keep their receipts.</Empty>)}
          </Loaded>
        </div>
      </Panel>
    </>
  );
}

function List({ of }: { of: Deletion[] }) {
  const { rows, pager } = usePages(of, 20);
  return (
    <>
      <DeletionTable caption="Project deletions, newest first">
        <DeletionRows of={rows} />
      </DeletionTable>
      {pager}
    </>
  );
}

export function DeletionTable({ caption, children }: { caption: string; children: ComponentChildren }) {
  return (
    <Table
      caption={caption}
      acts
      head={
        <>
          <th scope="col">Project</th>
          <th scope="col">Status</th>
          <th scope="col" class="wide-only">
            Requested
          </th>
          <th scope="col" class="wide-only">
            Progress
          </th>
          <th scope="col">
            <span class="hidden">Actions</span>
          </th>
        </>
      }
    >
      {children}
    </Table>
  );
}

export function DeletionRows({ of }: { of: Deletion[] }) {
  const { ask, receipt } = useStock();
  const now = useNow();
  return (
    <>
      {of.map((deletion) => {
        const [tone, word] = SAID[deletion.status] ?? ["", deletion.status.toLowerCase()];
        const ended = deletion.status === "DELETED" || deletion.status === "INCOMPLETE";
        return (
          <tr key={deletion.deletion_id}>
            <th scope="row">
              <Key of={deletion.project_id} short />
            </th>
            <td>
              <Tag tone={tone}>{word}</Tag>
              <div class="narrow-only">
                <Progress of={deletion} now={now} />
              </div>
            </td>
            <td class="when wide-only">
              <When time={deletion.requested_at} now={now} />
            </td>
            <td class="wide-only">
              <Progress of={deletion} now={now} />
            </td>
            <td class="act">
              {deletion.status === "HELD" && (
                <button type="button" class="little" onClick={() => ask(undo(deletion))}>
                  Undo …
                </button>
              )}
              {ended && (
                <button type="button" class="little" onClick={() => receipt(deletion)}>
                  Receipt<span class="hidden"> of {plain(deletion.project_id)}</span>
                </button>
              )}
              <button type="button" class="little" onClick={() => ask(verify(deletion))}>
                Verify …<span class="hidden"> the deletion of {plain(deletion.project_id)}</span>
              </button>
            </td>
          </tr>
        );
      })}
    </>
  );
}

function Progress({ of, now }: { of: Deletion; now: number }) {
  const { planned, done } = of.batches;
  if (of.status === "HELD") return <span class="dim small">{of.erases_at ? `erased ${until(of.erases_at, now)}` : ""}</span>;
  if (!isDeleting(of)) return <span class="dim small">{of.round > 1 ? `in ${of.round} rounds` : ""}</span>;
  const waits = of.status === "REMOVING" && planned !== null && done >= planned;
  return (
    <div class="progress">
      <progress {...(planned ? { max: planned, value: done } : {})} aria-label={`Batches of the deletion of ${plain(of.project_id)}`} />
      <span class="dim small">
        {waits ? `all batches done; the final sweep ${Date.parse(of.sweep_at) > now ? `comes ${until(of.sweep_at, now)}` : "is under way"}` : planned === null ? "looking for everything" : `${number(done)} of ${many(planned, "batch", "batches")}`}
      </span>
    </div>
  );
}
