// Whether the deployment is well: what it says of itself when it is asked, dead letters among it. To be shown it writes nothing.
import type { Diagnostics } from "../answers";
import { deadLetters } from "../answers";
import { Empty, Loaded, Panel, Table, Tag, When } from "../parts";
import { conform, identify, selfTest } from "../questions";
import { useStock } from "../stock";
import { listed, many, number, plain } from "../words";

const TONES: Record<string, string> = { ok: "good", warning: "warn", failed: "bad", skipped: "" };
const ORDER = ["failed", "warning", "ok", "skipped"];
const SUMS: Record<string, (count: number) => string> = {
  failed: (count) => `${number(count)} failed`,
  warning: (count) => many(count, "warning"),
  ok: (count) => `${number(count)} fine`,
  skipped: (count) => `${number(count)} not tried`,
};

const summed = ({ checks }: Diagnostics): string =>
  listed(ORDER.map((status) => [status, checks.filter((check) => check.status === status).length] as const).filter(([, count]) => count > 0).map(([status, count]) => SUMS[status]!(count)));

export function Health() {
  const { diagnostics, ask } = useStock();
  return (
    <>
      <div class="head">
        <div>
          <h1 tabIndex={-1}>Health</h1>
          <p>What the deployment finds when it looks at itself: credentials, bucket, tables, settings, clocks and dead letters. It never shows a secret.</p>
        </div>
        <div class="actions">
          <button type="button" disabled={diagnostics.loading} onClick={() => void diagnostics.reload()}>
            {diagnostics.loading ? "Looking …" : "Look again"}
          </button>
          {diagnostics.data && (
            <button type="button" onClick={() => ask(selfTest())}>
              Self-test …
            </button>
          )}
        </div>
      </div>
      <Panel
        title="Checks"
        note={
          diagnostics.data && (
            <>
              {summed(diagnostics.data)}; looked at <When time={diagnostics.data.as_of} />
            </>
          )
        }
        tools={
          <div class="actions">
            <button type="button" class="little" onClick={() => ask(identify())}>
              Identify the bucket …
            </button>
            <button type="button" class="little" onClick={() => ask(conform())}>
              List what the store can do …
            </button>
          </div>
        }
      >
        <Loaded of={diagnostics} what="the checks">
          {(data) => <Checks of={data} />}
        </Loaded>
      </Panel>
      <Letters />
    </>
  );
}

function Checks({ of }: { of: Diagnostics }) {
  const checks = of.checks.toSorted((one, other) => ORDER.indexOf(one.status) - ORDER.indexOf(other.status));
  if (checks.length === 0) return <Empty title="No check was made" />;
  return (
    <ul class="checks">
      {checks.map((check) => (
        <li key={check.name}>
          <h3>
            <Tag tone={TONES[check.status] ?? ""}>
              {check.name.replaceAll(/[_.-]/g, " ")} <span class="hidden">{check.status}</span>
            </Tag>
          </h3>
          <div>
            <p>{check.says}</p>
            {check.do && <p class={check.status === "failed" ? "bad" : "dim"}>{check.do}</p>}
            {hasMore(check.detail) && (
              <details>
                <summary>Details</summary>
                <pre>{plain(JSON.stringify(check.detail, null, 2)).replaceAll("⟨U+000A⟩", "\n")}</pre>
              </details>
            )}
          </div>
        </li>
      ))}
    </ul>
  );
}

const hasMore = (detail: unknown): boolean => detail !== null && detail !== undefined && (typeof detail !== "object" || Object.keys(detail).length > 0);

/** What failed without a caller to be told, by the queue it waits in. */
function Letters() {
  const { diagnostics } = useStock();
  const queues = Object.entries(deadLetters(diagnostics.data)).toSorted((one, other) => (other[1] ?? 0) - (one[1] ?? 0));
  if (queues.length === 0) return null;
  const waiting = queues.some(([, count]) => count);
  return (
    <Panel title="Dead letters" note={<>What failed without a caller to be told of it, counted <When time={diagnostics.data!.as_of} /></>} flush>
      <Table
        caption="Dead letters by queue"
        head={
          <>
            <th scope="col">Queue</th>
            <th scope="col" class="n">
              Letters
            </th>
          </>
        }
      >
        {queues.map(([name, count]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class={`n ${count ? "bad" : "dim"}`}>{count === null ? "not counted" : number(count)}</td>
          </tr>
        ))}
      </Table>
      {waiting && (
        <p class="within">
          Free the cause, then <code>stocktake redrive QUEUE --yes</code> sends them back.
        </p>
      )}
    </Panel>
  );
}
