// Whether the deployment is well: what it says of itself when it is asked, dead letters among it.
import type { Diagnostics } from "../answers";
import { deadLetters } from "../answers";
import { Empty, Loaded, Panel, Table, Tag, When } from "../parts";
import { selfTest } from "../questions";
import { useResource } from "../state";
import { useStock } from "../stock";
import { number, plain } from "../words";

const TONES: Record<string, string> = { ok: "good", warning: "warn", failed: "bad", skipped: "" };
const ORDER = ["failed", "warning", "ok", "skipped"];

export function Health() {
  const { diagnostics, ask } = useStock();
  const absent = diagnostics.problem?.isAbsent ?? false;
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
      {!absent && (
        <Panel title="Checks" note={diagnostics.data && <When time={diagnostics.data.as_of} />}>
          <Loaded of={diagnostics} what="the checks">
            {(data) => <Checks of={data} />}
          </Loaded>
        </Panel>
      )}
      <Letters />
      <Bucket />
      <Store />
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
    <Panel title="Dead letters" note="What failed without a caller to be told of it" flush>
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
          Free the cause, then <code>stocktake redrive</code> sends them back.
        </p>
      )}
    </Panel>
  );
}

interface Identity {
  status: string;
  why: string | null;
  bucket: string;
  configured_region: string;
  region: string | null;
  bucket_id: string | null;
  known_bucket_id: string | null;
  clock_skew_ms: number | null;
}

function Bucket() {
  const identity = useResource<Identity>("diagnostics/identity");
  return (
    <Panel title="The bucket" note="Which one is seen, and whether it is the one the ledger describes">
      <Loaded of={identity} what="the bucket">
        {(data) => (
          <dl class="facts">
            <dt>It is the ledger's</dt>
            <dd>{data.status === "ok" ? <Tag tone="good">yes</Tag> : <Tag tone="bad">{data.status}</Tag>}</dd>
            {data.why && (
              <>
                <dt>Why not</dt>
                <dd>{data.why}</dd>
              </>
            )}
            <dt>Name</dt>
            <dd>
              <code>{data.bucket}</code>
            </dd>
            <dt>Region</dt>
            <dd>
              {data.region ?? "the store does not tell"}, set is {data.configured_region}
            </dd>
            <dt>Clock</dt>
            <dd>{data.clock_skew_ms === null ? "the store does not tell" : `${(Math.abs(data.clock_skew_ms) / 1000).toFixed(1)} s ${data.clock_skew_ms < 0 ? "behind" : "ahead of"} ours`}</dd>
          </dl>
        )}
      </Loaded>
    </Panel>
  );
}

interface Conformance {
  store: string;
  probed_at: string;
  lines: { name: string; holds: boolean; says: string; chooses: string }[];
}

function Store() {
  const conformance = useResource<Conformance>("diagnostics/conformance");
  return (
    <Panel title="The store" note={conformance.data && <>Tried <When time={conformance.data.probed_at} />: {conformance.data.store}</>}>
      <Loaded of={conformance} what="what the store can do">
        {(data) => (
          <ul class="checks">
            {data.lines.map((line) => (
              <li key={line.name}>
                <h3>
                  <Tag tone={line.holds ? "good" : ""}>
                    {line.name.replaceAll("_", " ")} <span class="hidden">{line.holds ? "yes" : "no"}</span>
                  </Tag>
                </h3>
                <div>
                  <p>{line.says}</p>
                  <p class="dim">{line.chooses}</p>
                </div>
              </li>
            ))}
          </ul>
        )}
      </Loaded>
    </Panel>
  );
}
