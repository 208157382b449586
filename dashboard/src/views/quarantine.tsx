// What was set aside, until when, and the way back.
import { useEffect, useState } from "preact/hooks";
import { query } from "../api";
import type { Drill, Entry } from "../answers";
import { Empty, Key, Loaded, Pager, Panel, Table, Tag, When } from "../parts";
import { drill, purge, restore } from "../questions";
import { useNow, useResource } from "../state";
import { useStock } from "../stock";
import { bytes, lasts, plain } from "../words";

const SAID: Record<string, [string, string]> = {
  MOVING: ["busy", "being moved"],
  HELD: ["warn", "held"],
  CANCELLED: ["", "cancelled"],
  RESTORING: ["busy", "being restored"],
  RESTORED: ["good", "restored"],
  PURGING: ["busy", "being purged"],
  PURGED: ["", "purged"],
};
const STATUSES = ["HELD", "RESTORED", "PURGED", "MOVING", "CANCELLED"];
const PAGE = 25;

export function Quarantine() {
  const { ask, fresh } = useStock();
  const [status, setStatus] = useState("HELD");
  const [starts, setStarts] = useState<(string | null)[]>([null]);
  const entries = useResource<{ entries: Entry[]; cursor: string | null }>(`quarantine${query({ status, limit: PAGE, cursor: starts[starts.length - 1] })}`);
  const now = useNow();
  useEffect(() => {
    if (fresh) void entries.reload();
  }, [fresh]);
  return (
    <>
      <div class="head">
        <div>
          <h1 tabIndex={-1}>Quarantine</h1>
          <p>What a repair moved out of the way. Each object can be put back, with its record, until its time is over.</p>
        </div>
      </div>
      <Panel
        title="Set aside"
        flush
        tools={
          <div>
            <label class="hidden" for="of-status">
              Status
            </label>
            <select
              id="of-status"
              value={status}
              onChange={(event) => {
                setStarts([null]);
                setStatus(event.currentTarget.value);
              }}
            >
              {STATUSES.map((name) => (
                <option key={name} value={name}>
                  {SAID[name]![1]}
                </option>
              ))}
              <option value="">of any status</option>
            </select>
          </div>
        }
      >
        <div class={entries.data ? "" : "within"}>
          <Loaded of={entries} what="the quarantine">
            {(data) =>
              data.entries.length === 0 && starts.length === 1 && data.cursor === null ? (
                <Empty title={status === "HELD" ? "Nothing is set aside" : "There is none like that"}>
                  {status === "HELD" && "A plan with quarantine moves objects here, and never removes them before their time."}
                </Empty>
              ) : (
                <>
                  <Table
                    caption="Quarantine, newest first"
                    acts
                    head={
                      <>
                        <th scope="col">Key</th>
                        <th scope="col" class="wide-only">
                          Status
                        </th>
                        <th scope="col" class="n wide-only">
                          Bytes
                        </th>
                        <th scope="col" class="wide-only">
                          Type
                        </th>
                        <th scope="col" class="wide-only">
                          Set aside
                        </th>
                        <th scope="col">Kept for</th>
                        <th scope="col">
                          <span class="hidden">Actions</span>
                        </th>
                      </>
                    }
                  >
                    {data.entries.map((entry) => {
                      const [tone, word] = SAID[entry.status] ?? ["", entry.status.toLowerCase()];
                      const said = <Tag tone={tone}>{word}</Tag>;
                      const left = (Date.parse(entry.expires_at) - now) / 1000;
                      return (
                        <tr key={entry.entry_id}>
                          <th scope="row">
                            <Key of={entry.key} short />
                            <div class="narrow-only">
                              {said} <span class="dim small">{bytes(entry.size)}</span>
                            </div>
                            {(entry.not_restored ?? entry.kept) && <p class="bad small">{entry.not_restored ?? entry.kept}</p>}
                          </th>
                          <td class="wide-only">{said}</td>
                          <td class="n wide-only">{bytes(entry.size)}</td>
                          <td class="wide-only dim">{entry.content_type ?? "not said"}</td>
                          <td class="when wide-only">
                            <When time={entry.set_aside_at} now={now} />
                          </td>
                          <td class="when">{entry.status !== "HELD" ? "–" : left > 0 ? lasts(left) : "its time is over"}</td>
                          <td class="act">
                            {(entry.status === "HELD" || entry.status === "MOVING") && (
                              <button type="button" class="little" onClick={() => ask(restore(entry))}>
                                Restore …<span class="hidden"> {plain(entry.key)}</span>
                              </button>
                            )}
                            {entry.status === "HELD" && (
                              <button type="button" class="little" onClick={() => ask(purge(entry))}>
                                Remove …<span class="hidden"> {plain(entry.key)}</span>
                              </button>
                            )}
                          </td>
                        </tr>
                      );
                    })}
                  </Table>
                  {(starts.length > 1 || data.cursor) && (
                    <Pager
                      busy={entries.loading}
                      says={`Page ${starts.length}`}
                      before={starts.length > 1 ? () => setStarts(starts.slice(0, -1)) : undefined}
                      after={data.cursor ? () => setStarts([...starts, data.cursor]) : undefined}
                    />
                  )}
                </>
              )
            }
          </Loaded>
        </div>
      </Panel>
      <Drills />
    </>
  );
}

function Drills() {
  const { ask, fresh } = useStock();
  const drills = useResource<{ drills: Drill[]; last_passed_at: string | null }>("quarantine/drills?limit=5");
  useEffect(() => {
    if (fresh) void drills.reload();
  }, [fresh]);
  return (
    <Panel
      title="Drills"
      note="An object of Stocktake's own, set aside and restored, to know that the way back is open"
      tools={
        <button type="button" class="little" onClick={() => ask(drill())}>
          Run a drill …
        </button>
      }
    >
      <Loaded of={drills} what="the drills">
        {(data) =>
          data.drills.length === 0 ? (
            <p class="dim">None was run yet.</p>
          ) : (
            <dl class="facts">
              <dt>Last passed</dt>
              <dd>{data.last_passed_at ? <When time={data.last_passed_at} /> : <span class="bad">none of the newest passed</span>}</dd>
              <dt>Newest</dt>
              <dd>
                <Tag tone={data.drills[0]!.status === "PASSED" ? "good" : data.drills[0]!.status === "FAILED" ? "bad" : "busy"}>{data.drills[0]!.status.toLowerCase()}</Tag> {data.drills[0]!.why ?? ""}
              </dd>
            </dl>
          )
        }
      </Loaded>
    </Panel>
  );
}
