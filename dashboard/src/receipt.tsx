// The receipt that a deletion ends in.
import { useEffect, useState } from "preact/hooks";
import { encoded, text, type Problem } from "./api";
import type { Deletion, Receipt } from "./answers";
import { Dialog, Key, Trouble, Waiting } from "./parts";
import { Layouts, Suspects } from "./questions";
import { asProblem } from "./state";
import { at, bytes, listed, many } from "./words";

/** A receipt: what it says, the file, and the page to print, which the API makes and which is under this page's policy. */
export function ReceiptDialog({ of, onClose }: { of: Deletion; onClose: () => void }) {
  const [receipt, set] = useState<Receipt>();
  const [files, setFiles] = useState<{ json: string; html: string }>();
  const [problem, setProblem] = useState<Problem>();
  const name = `deletions/${encoded(of.deletion_id)}/receipt`;
  useEffect(() => {
    const made: string[] = [];
    const fileOf = (content: string, type: string) => {
      const url = URL.createObjectURL(new Blob([content], { type }));
      made.push(url);
      return url;
    };
    void (async () => {
      try {
        const [json, html] = await Promise.all([text(name), text(`${name}?as=html`)]);
        set(JSON.parse(json) as Receipt);
        setFiles({ json: fileOf(json, "application/json"), html: fileOf(html, "text/html;charset=utf-8") });
      } catch (failure) {
        setProblem(asProblem(failure));
      }
    })();
    return () => made.forEach((url) => URL.revokeObjectURL(url));
  }, []);
  return (
    <Dialog
      title="Receipt of a deletion"
      wide
      busy={false}
      onClose={onClose}
      onSubmit={onClose}
      actions={
        <>
          {files && (
            <>
              <a class="button" href={files.html} target="_blank" rel="noopener">
                Open to print
              </a>
              <a class="button" href={files.json} download={`receipt-${of.deletion_id}.json`}>
                Download
              </a>
            </>
          )}
          <button type="submit" class="first">
            Close
          </button>
        </>
      }
    >
      {problem && <Trouble problem={problem} />}
      {!receipt && !problem && <Waiting what="the receipt" />}
      {receipt && (
        <>
          <p>
            {receipt.status === "DELETED" ? (
              <strong class="good">Deleted: a fresh listing of every layout showed nothing.</strong>
            ) : (
              <strong class="bad">
                Incomplete: {listed([...(receipt.remaining_objects ? [`${many(receipt.remaining_objects, "object")} could not be removed`] : []), ...(receipt.suspect_objects ? [`${many(receipt.suspect_objects, "object")} may be the project's or another's`] : [])])}.
              </strong>
            )}
          </p>
          <dl class="facts">
            <dt>Project</dt>
            <dd>
              <Key of={receipt.project_id} />
            </dd>
            <dt>Removed</dt>
            <dd>
              {many(receipt.objects, "object")} of {bytes(receipt.bytes)}, {many(receipt.records, "record")}, {many(receipt.versions, "version")}
            </dd>
            <dt>Reason</dt>
            <dd>{receipt.reason ?? "none was given"}</dd>
            <dt>Requested</dt>
            <dd>{at(receipt.requested_at)}</dd>
            <dt>Finished</dt>
            <dd>
              {at(receipt.finished_at)}, after {many(receipt.rounds, "round")}
            </dd>
            <dt>Listed afresh</dt>
            <dd>
              {many(receipt.listings.length, "place")}, {many(
                receipt.listings.reduce((sum, listing) => sum + listing.objects, 0),
                "object",
              )} found
            </dd>
            <dt>SHA-256 of the keys</dt>
            <dd>
              <code>{receipt.removed_keys_sha256?.all}</code>
            </dd>
          </dl>
          <Layouts tallies={receipt.by_layout} />
          {receipt.remaining.slice(0, 10).map((line) => (
            <p key={line.key} class="callout">
              <Key of={line.key} />
              <br />
              <span class="dim small">{line.why}</span>
            </p>
          ))}
          <Suspects count={receipt.suspect_objects} of={receipt.suspects} />
        </>
      )}
    </Dialog>
  );
}
