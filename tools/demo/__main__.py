"""Runs the demonstration on the local stack that runs, and checks every number of it.

Exit status 0 when every number is the one expected, 1 when one is not, 2 when no stack runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tools.demo.images import Picture, pictures
from tools.demo.life import Life
from tools.stack.access import Api, Stack
from tools.stack.settings import Settings, StackError

IMAGES = 120
WAYS = 7
"""Images that come in by another way than alone in a request's body."""
WORKERS = 4
GRACE_SECONDS = 10
"""As deployed by samconfig's local environment: what is younger is never a finding."""

PLAN = {"missing": "mark_missing", "orphan": "quarantine", "orphan.none": "quarantine"}

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


class Checks:
    """Compares what came with what was expected, and remembers every difference."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.passed = 0

    def equal(self, what: str, got: object, expected: object) -> None:
        """Notes whether the two are equal."""
        if got == expected:
            self.passed += 1
        else:
            self.failed.append(f"{what}: expected {expected}, got {got}")
            console.print(f"  [red]✗ {self.failed[-1]}[/red]")


class Story:
    """One run of the demonstration; its projects bear a tag, so that runs do not meet."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.api: Api = stack.api
        self.life = Life(stack)
        self.checks = Checks()
        self.tag = secrets.token_hex(3)
        # an id and one that begins with it, because deleting the first must never touch the second
        self.doomed, self.neighbour = f"proj_{self.tag}1", f"proj_{self.tag}10"
        self.projects = [self.doomed, self.neighbour, f"{self.tag}-sunset", f"{self.tag}-studio"]
        self.ways = f"{self.tag}-ways"
        self.keys: dict[str, list[str]] = {project: [] for project in self.projects}
        self.events = stack.store == "s3"

    def tell(self) -> bool:
        """Tells the story; True when every number was right."""
        before = self.analytics()
        self.upload()
        self.ways_in()
        uploaded = self.analytics()
        self.behind_our_back()
        self.reconcile("what the bucket and the ledger disagree on")
        countdown(f"a second look, {GRACE_SECONDS} s after the first: nothing is moved that was not seen twice", GRACE_SECONDS + 2)
        run = self.reconcile("the same, seen twice")
        self.repair(run)
        after = self.reconcile("once more, after the repair", expect=Counter(mismatch=1, unstored=5 if self.events else 1, unknown=2))
        self.delete_project()
        self.tidy(after)
        self.counts(before, uploaded, self.analytics())
        return not self.checks.failed

    # chapters

    def upload(self) -> None:
        """Opens the projects and uploads the images, half of them raw and half as base64 JSON."""
        chapter(f"Uploading {IMAGES} images into {len(self.projects)} projects")
        for project in self.projects:
            self.call("POST", "/projects", 201, json={"project_id": project, "metadata": {"demo": self.tag}})
        with progress() as bar, ThreadPoolExecutor(WORKERS) as pool:
            task = bar.add_task("uploads", total=IMAGES)

            def one(numbered: tuple[int, Picture]) -> dict[str, Any]:
                number, picture = numbered
                answer = self.send(self.projects[number % len(self.projects)], picture, raw=number % 2 == 0)
                bar.advance(task)
                return answer

            answers = list(pool.map(one, enumerate(pictures(IMAGES))))
        for answer in answers:
            self.keys[answer["project_id"]].append(answer["key"])
        sample = answers[0]
        record = self.call("GET", f"/objects/{sample['object_id']}", 200)
        self.checks.equal("a record's state", record["state"], "STORED")
        self.checks.equal("metadata as sent", record["metadata"], next(pictures(1)).metadata)
        content = self.api.get(f"/objects/{sample['object_id']}/content", params={"as": "bytes"})
        self.checks.equal("bytes as sent", content.content, next(pictures(1)).body)
        refused = self.api.post(f"/projects/{self.doomed}/objects", data=b"<html><script>", headers={"content-type": "image/png"})
        self.checks.equal("a page posing as an image", refused.status_code, 415)
        console.print(f"  {sample['key']}\n  refused as it should be: {refused.json()['detail']}")

    def ways_in(self) -> None:
        """Uploads by presigned URL, in a batch, and as the outputs of a generation job."""
        chapter("The other ways in")
        self.call("POST", "/projects", 201, json={"project_id": self.ways, "metadata": {"demo": self.tag}})
        presigned, *others = pictures(WAYS)
        table = Table("way in", "sent", "stored", "what came of it", expand=False)
        table.add_row("presigned URL", "1", "1", self.by_presigned_url(presigned))
        table.add_row("batch", "5", "4", self.by_batch(others[:4]))
        table.add_row("generation job", "2", "2", self.by_generation(others[4:]))
        console.print(table)

    def by_presigned_url(self, picture: Picture) -> str:
        """Announces an image, PUTs it straight into the bucket, and completes it."""
        announced = {
            "content_type": picture.content_type,
            "bytes": len(picture.body),
            "sha256": hashlib.sha256(picture.body).hexdigest(),
            "metadata": picture.metadata,
        }
        upload = self.call("POST", f"/projects/{self.ways}/uploads", 201, json=announced)
        request = upload["request"]
        for what, status in (("the bucket takes a presigned PUT", 200), ("and takes it once", 412)):
            sent = self.api.request(request["method"], request["url"], headers=request["headers"], data=picture.body)
            self.checks.equal(what, sent.status_code, status)
        record = self.call("POST", f"/uploads/{upload['upload_id']}/complete", 200)
        self.checks.equal("a completed upload", (record["state"], record["bytes"]), ("STORED", len(picture.body)))
        return f"PUT into the bucket, then looked at and {record['state']}: {record['bytes']:,} bytes"

    def by_batch(self, good: list[Picture]) -> str:
        """Uploads images in one request, and among them a page that poses as one."""
        items = [self.in_json(picture) for picture in good]
        items.insert(2, {"content_base64": base64.b64encode(b"<html><script>").decode(), "content_type": "image/png"})
        results = self.call("POST", f"/projects/{self.ways}/objects/batch", 207, json={"objects": items})["results"]
        statuses = [result["status"] for result in results]
        self.checks.equal("a batch, item by item", statuses, [201, 201, 415, 201, 201])
        return f"a result for each item: {', '.join(map(str, statuses))}"

    def by_generation(self, images: list[Picture]) -> str:
        """Writes a generation job and uploads its outputs."""
        metadata = {"prompt": "a sky", "aspectRatio": "16:9", "numberOfImages": len(images)}
        created = self.call("POST", f"/projects/{self.ways}/generations", 201, json={"metadata": metadata, "outputs": len(images)})
        path = f"/generations/{created['generation_id']}"
        for number, picture in enumerate(images):
            options = {"generation": {"generation_id": created["generation_id"], "output": number}}
            headers = {"content-type": picture.content_type, "stocktake-options": json.dumps(options)}
            self.call("POST", f"/projects/{self.ways}/objects", 201, data=picture.body, headers=headers)
        job = self.call("GET", path, 200)
        self.checks.equal("a job before and after its images", (created["status"], job["status"]), ("queued", "completed"))
        self.checks.equal("what was asked of the job, as it was sent", job["metadata"], metadata)
        self.checks.equal("images of the job", [image["bytes"] for image in job["images"]], [len(picture.body) for picture in images])
        return f"{job['status']}: {job['metadata']['aspectRatio']} and {job['metadata']['numberOfImages']}, as they were sent"

    def behind_our_back(self) -> None:
        """Does to the bucket what consoles, old versions and crashes do."""
        chapter("What goes wrong in life")
        sunset, studio = self.projects[2], self.projects[3]
        picture = next(pictures(1)).body
        gone, strangers = self.keys[studio][:4], [f"projects/{studio}/scenes/s{n}/media/late {n}.png" for n in range(3)]
        self.life.remove(gone)
        self.life.put(strangers, picture)
        console.print(f"  {len(gone)} objects removed and {len(strangers)} put by hand in {studio}")
        if self.events:
            self.wait(
                "the bucket's events to bring the ledger in line", lambda: self.project_counts(studio) == {"STORED": 29, "MISSING": 4}
            )
            self.checks.equal(f"{studio} after the events", self.project_counts(studio), {"STORED": 29, "MISSING": 4})
        with self.life.without_events():
            self.life.remove(self.keys[sunset][:5])
            self.life.put([self.keys[sunset][5]], picture + b"\0")
            self.life.put([f"projects/{sunset}/scenes/s{n}/media/image {n}.png" for n in range(3)], picture)
            self.life.put([f"proj_proj_{sunset}_scene{n}_media.png" for n in range(2)], picture)
            self.life.put([f"audio/proj_{sunset}/scene{n}/voice.mp3" for n in range(2)], picture, "audio/mpeg")
            self.life.put([f"images/session{self.tag}/baby-boomer/1703123456789-{self.tag}.png"], picture)
            self.life.put(self.unknown_keys(), picture)
        self.life.killed_upload(sunset, len(picture))
        console.print(
            f"  with no event to tell of it, in {sunset}: 5 removed, 1 overwritten, 7 put under old layouts, 1 upload killed half-way;"
        )
        console.print("  and besides: 1 image of no project, 2 keys that no layout explains")
        countdown(f"everything to be older than the grace window of {GRACE_SECONDS} s", GRACE_SECONDS + 2)

    def reconcile(self, title: str, expect: Counter[str] | None = None) -> str:
        """Runs a reconciliation and shows what it found of this story's keys. Returns the run's id."""
        chapter(f"Reconciliation: {title}")
        run_id = str(self.call("POST", "/reconciliations", 202)["run_id"])
        self.wait("the run", lambda: self.run(run_id)["status"] in ("COMPLETE", "INCOMPLETE", "FAILED"))
        run = self.run(run_id)
        self.checks.equal("the run's status", (run["status"], run.get("why")), ("COMPLETE", None))
        if expect is None:
            expect = Counter(missing=5, orphan=8, mismatch=1, unstored=1, unknown=2)
            # what events have told of, records say themselves by now; where there are none, reconciliation alone finds it
            expect += Counter(unstored=4) if self.events else Counter(missing=4, orphan=3)
        found = self.findings(run_id)
        table = Table("class", "keys", "for instance", "what it means", title_justify="left", expand=False)
        for name in ("orphan", "missing", "mismatch", "unstored", "unknown"):
            of_class = [finding for finding in found if finding["class"] == name]
            self.checks.equal(f"findings of class {name}", len(of_class), expect[name])
            if of_class:
                table.add_row(name, str(len(of_class)), of_class[0]["key"], of_class[0]["meaning"])
        console.print(table)
        return run_id

    def repair(self, run_id: str) -> None:
        """Applies what is obvious: missing is marked, orphans are set aside; then takes one of them back."""
        chapter("Repair: the missing marked, the orphans set aside")
        self.call("POST", f"/reconciliations/{run_id}/apply", 202, json={"plan": PLAN, "first_run": True})
        self.wait("the repair", lambda: self.run(run_id)["repair"]["status"] != "RUNNING")
        done = self.repairs(run_id)
        expected = {"MARK_MISSING": 5, "QUARANTINE": 8} if self.events else {"MARK_MISSING": 9, "QUARANTINE": 11}
        left = 8 if self.events else 4  # what events marked is in the ledger's own words, and in no plan of this story
        self.checks.equal("repairs done", done, {**expected, "FOUND": left})
        entries = [entry for entry in self.call("GET", "/quarantine", 200)["entries"] if self.tag in entry["key"]]
        self.checks.equal("quarantine entries", len(entries), expected["QUARANTINE"])
        entry = next(entry for entry in entries if entry["key"].startswith("projects/"))
        self.checks.equal("the orphan is out of the way", self.life.holds(entry["key"]), False)
        self.call("POST", f"/quarantine/{entry['entry_id']}/restore", 200)
        self.checks.equal("the restored object is back", self.life.holds(entry["key"]), True)
        done_words = ", ".join(f"{number} x {action}" for action, number in expected.items())
        console.print(f"  {done_words}; left alone: {done['FOUND']} findings the plan does not name\n  restored again: {entry['key']}")

    def delete_project(self) -> None:
        """Deletes a project with files of every age, and proves it."""
        chapter(f"Deleting {self.doomed}, with what old versions left of it")
        stem, picture = self.doomed.removeprefix("proj_"), next(pictures(1)).body
        with self.life.without_events():
            self.life.put([f"projects/proj_{stem}/scenes/s{n}/media/image.png" for n in range(2)], picture)
            self.life.put([f"proj_proj_{stem}_scene{n}_media.png" for n in range(2)], picture)
            self.life.put([f"proj_{stem}_scene_media.png", f"audio/proj_{stem}/scene/voice.mp3"], picture)
        neighbour = self.project_counts(self.neighbour)
        plan = self.call("DELETE", f"/projects/{self.doomed}", 200, params={"dry_run": "true"})
        expected = {"current": 30, "hierarchical": 2, "flat": 3, "content": 1}
        self.checks.equal("dry run by layout", {name: tally["objects"] for name, tally in plan["by_layout"].items()}, expected)
        deletion_id = self.call("DELETE", f"/projects/{self.doomed}", 202, json={"reason": "demonstration"})["deletion_id"]
        late = self.api.post(f"/projects/{self.doomed}/objects", data=picture, headers={"content-type": "image/png"})
        self.checks.equal(
            "an upload into the project meanwhile", (late.status_code, late.json()["type"]), (409, "urn:stocktake:problem:project-closed")
        )
        self.wait("the receipt (the final sweep waits 10 s)", lambda: "receipt" in self.deletion(deletion_id))
        receipt = self.deletion(deletion_id)["receipt"]
        self.checks.equal("the receipt says", receipt["status"], "DELETED")
        self.checks.equal("removed by layout", {name: tally["objects"] for name, tally in receipt["by_layout"].items()}, expected)
        self.checks.equal(
            "found by ledger and listing",
            {name: tally["objects"] for name, tally in receipt["by_source"].items()},
            {"both": 30, "listing": 6},
        )
        self.checks.equal("what the fresh listings show", sum(listing["objects"] for listing in receipt["listings"]), 0)
        self.checks.equal(f"{self.neighbour} untouched", self.project_counts(self.neighbour), neighbour)
        verified = self.call("POST", f"/deletions/{deletion_id}/verify", 200)
        self.checks.equal("listed afresh", verified["remaining"], {"objects": 0, "bytes": 0})
        table = Table("receipt", receipt["deletion_id"], show_header=True, expand=False)
        table.add_row("status", receipt["status"])
        table.add_row("removed", f"{receipt['objects']} objects, {receipt['bytes']:,} bytes, {receipt['records']} records")
        for name, tally in receipt["by_layout"].items():
            table.add_row(f"  layout {name}", f"{tally['objects']} objects, {tally['bytes']:,} bytes")
        table.add_row("found by", ", ".join(f"{name}: {tally['objects']}" for name, tally in receipt["by_source"].items()))
        table.add_row(
            "fresh listings", f"{len(receipt['listings'])} prefixes, {sum(listing['objects'] for listing in receipt['listings'])} objects"
        )
        console.print(table)

    def tidy(self, run_id: str) -> None:
        """Takes away the keys no layout explains, which Stocktake never deletes, and refreshes the overwritten record."""
        chapter("Tidying up")
        self.life.remove(self.unknown_keys())
        console.print(
            "  the 2 unknown keys: removed by this demonstration, which put them there; Stocktake never deletes what no layout explains"
        )
        self.call("POST", f"/reconciliations/{run_id}/apply", 202, json={"plan": {"mismatch": "refresh"}})
        self.wait("the refresh", lambda: self.run(run_id)["repair"]["status"] != "RUNNING")
        self.checks.equal("records refreshed", self.repairs(run_id).get("REFRESH"), 1)
        console.print("  the overwritten object: its record refreshed from the bucket, by plan")
        last = str(self.call("POST", "/reconciliations", 202)["run_id"])
        self.wait("a last count of the bucket", lambda: self.run(last)["status"] in ("COMPLETE", "INCOMPLETE", "FAILED"))

    def counts(self, before: dict[str, Any], uploaded: dict[str, Any], after: dict[str, Any]) -> None:
        """Shows the counts before and after as a table."""
        chapter("Counts: before, after the uploads, and at the end")
        table = Table("", "before", "uploaded", "at the end", expand=False)
        for title, path in (
            ("records", ("records", "objects")),
            ("stored", ("stored", "objects")),
            ("missing", ("counts", "MISSING", "objects")),
            ("quarantined", ("counts", "QUARANTINED", "objects")),
            ("pending", ("counts", "PENDING", "objects")),
            ("in the bucket when last counted", ("bucket", "objects")),
            ("drift when last counted", ("drift", "objects")),
        ):
            table.add_row(title, *(shown(counts, path) for counts in (before, uploaded, after)))
        console.print(table)
        console.print("  bucket and drift are those of the last whole count; the ledger moves with every upload")
        adopted = 3 if self.events else 0
        stored = IMAGES + WAYS - 30 - 9 + adopted + 1
        sums = f"{IMAGES} + {WAYS} uploaded - 30 deleted with their project - 9 lost + {adopted} strangers adopted + 1 restored"
        console.print(f"  stored by this run: {sums} = {stored}")
        console.print("  quarantined: records; an orphan of no project is held in quarantine without one")
        ours = [self.call("GET", f"/projects/{project}/analytics", 200) for project in (*self.projects, self.ways)]
        self.checks.equal("stored in these projects", sum(line["stored"]["objects"] for line in ours), stored)
        self.checks.equal("missing in these projects", sum(line["counts"]["MISSING"]["objects"] for line in ours), 9)
        self.checks.equal("these projects in the bucket", sum(line["bucket"]["objects"] for line in ours), stored)
        self.checks.equal("drift of each of these projects", [line["drift"]["objects"] for line in ours], [0] * len(ours))

    # asking

    def call(self, method: str, path: str, status: int, **request: Any) -> dict[str, Any]:
        """Calls the API and insists on the status."""
        answer = self.api.request(method, path, **request)
        if answer.status_code != status:
            raise StackError(f"{method} {path} answered {answer.status_code} and not {status}: {answer.text[:500]}")
        document: dict[str, Any] = answer.json()
        return document

    def send(self, project: str, picture: Picture, *, raw: bool) -> dict[str, Any]:
        """Uploads one image, one way or the other."""
        path = f"/projects/{project}/objects"
        if raw:
            headers = {"content-type": picture.content_type, "stocktake-metadata": json.dumps(picture.metadata)}
            return self.call("POST", path, 201, data=picture.body, headers=headers)
        return self.call("POST", path, 201, json=self.in_json(picture))

    def in_json(self, picture: Picture) -> dict[str, Any]:
        """Writes an image as the JSON body of an upload."""
        return {
            "content_base64": base64.b64encode(picture.body).decode(),
            "file_name": picture.name,
            "metadata": picture.metadata,
        }

    def analytics(self) -> dict[str, Any]:
        """Reads the counts of everything."""
        return self.call("GET", "/analytics", 200)

    def project_counts(self, project: str) -> dict[str, int]:
        """Reads the counts of one project, without the states it has none of."""
        counts = self.call("GET", f"/projects/{project}/analytics", 200)["counts"]
        return {state: tally["objects"] for state, tally in counts.items() if tally["objects"]}

    def run(self, run_id: str) -> dict[str, Any]:
        """Reads a reconciliation."""
        return self.call("GET", f"/reconciliations/{run_id}", 200)

    def deletion(self, deletion_id: str) -> dict[str, Any]:
        """Reads a deletion."""
        return self.call("GET", f"/deletions/{deletion_id}", 200)

    def findings(self, run_id: str) -> list[dict[str, Any]]:
        """Reads every finding about this story's keys that nobody has acknowledged."""
        found, cursor = [], None
        while True:
            page = self.call(
                "GET", f"/reconciliations/{run_id}/findings", 200, params={"limit": 200, **({"cursor": cursor} if cursor else {})}
            )
            found += [finding for finding in page["findings"] if self.tag in finding["key"] and finding["repair"] != "ACKNOWLEDGED"]
            if (cursor := page["cursor"]) is None:
                return found

    def repairs(self, run_id: str) -> dict[str, int]:
        """Counts what became of this story's findings."""
        return dict(Counter(finding["repair"] for finding in self.findings(run_id)))

    def unknown_keys(self) -> list[str]:
        """Names the two keys no layout explains."""
        return [f"backup-{self.tag}.tar", f"tmp/{self.tag}/thumb.png"]

    def wait(self, what: str, done: Callable[[], bool], *, seconds: float = 120) -> None:
        """Waits until something is so, visibly."""
        end = time.monotonic() + seconds
        if not console.is_terminal:
            console.print(f"  waiting for {what} ...")
        with console.status(f"waiting for {what}"):
            while not done():
                if time.monotonic() > end:
                    raise StackError(f"waited {seconds:.0f} s for {what} in vain: see the logs under .local/log")
                time.sleep(0.3)


def chapter(title: str) -> None:
    """Begins a chapter."""
    console.print(f"\n[bold]{title}[/bold]")


def countdown(what: str, seconds: int) -> None:
    """Waits a fixed time, visibly."""
    if not console.is_terminal:
        console.print(f"  waiting {seconds} s for {what} ...")
    with progress() as bar:
        task = bar.add_task(f"waiting for {what}", total=seconds)
        for _ in range(seconds):
            time.sleep(1)
            bar.advance(task)


def progress() -> Progress:
    """Makes a progress bar."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def shown(document: dict[str, Any], path: tuple[str, ...]) -> str:
    """Writes a nested number, where it has been counted."""
    value: Any = document
    for step in path:
        value = value[step] if value else None
    return "not counted yet" if value is None else str(value)


def main() -> int:
    """Tells the story and says how it ended."""
    began = time.monotonic()
    try:
        stack = Stack.running(Settings.from_environment(os.environ))
        os.environ.update(stack.environment())  # the ledger's connection finds its credentials there, as on Lambda
        story = Story(stack)
        right = story.tell()
    except StackError as error:
        console.print(f"[red]{error}[/red]")
        return 2
    except KeyboardInterrupt:
        console.print("[yellow]stopped half-way[/yellow]: `make demo` tells it again, beside what is there; `make down` ends the stack")
        return 130
    checks = story.checks
    chapter("The end")
    if not right:
        console.print(f"[red]{len(checks.failed)} numbers were not the ones expected:[/red]")
        for failure in checks.failed:
            console.print(f"  [red]✗[/red] {failure}")
    else:
        console.print(f"[green]All {checks.passed} numbers are the ones expected[/green], in {time.monotonic() - began:.0f} s.")
    console.print(f"The dashboard: {story.stack.api_url}/dashboard")
    console.print(f"What to sign in with there: {story.stack.token}", soft_wrap=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
