from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from stocktake import upload_answers
from stocktake.errors import (
    Conflict,
    GenerationNotFound,
    InvalidRequest,
    ObjectDeleted,
    ObjectUnavailable,
    OutputExists,
    ProjectClosed,
    ProjectNotFound,
    RecordChanged,
    StorageDenied,
    StorageUnavailable,
    TooLarge,
)
from stocktake.generations import KIND, Generation
from stocktake.intents import REMEMBERED_MS
from stocktake.model import Details, NewObject, Record, Reserved, SessionPlace, State
from tests.unit.killing import killed_at
from tests.unit.ledger.builders import Deployment
from tests.unit.world import World, an_image, never

MINUTE = 60_001


def a_job(world: World, outputs: int = 1, project_id: str = "p1", **metadata: Any) -> Generation:
    return world.generations.create(project_id, metadata, (), outputs, world.reserve())


def put_output(world: World, job: Generation, number: int = 0, color: int = 0, project_id: str = "p1") -> Record:
    return world.upload(project_id, color, generation_id=job.generation_id, output=number)


def now(world: World, job: Generation) -> Generation:
    return world.generations.generation(job.generation_id)


def shown(world: World, job: Generation) -> list[str]:
    return [output.status for output in now(world, job).outputs]


def records_of(world: World, job: Generation) -> list[Record]:
    records = map(world.ledger.record, [entry.key for entry in world.ledger.entries()])
    return [record for record in records if record is not None and record.generation_id == job.generation_id]


def lose_a_put(world: World, job: Generation, *, arrives: bool) -> None:
    """Uploads output 0 with its end unknown: the intent stays, and the bytes may have come."""
    world.store.fail("put", error=StorageUnavailable("no answer"), after_effect=arrives)
    with pytest.raises(StorageUnavailable):
        put_output(world, job)


def test_16_9_and_2_come_back_as_16_9_and_2(world: World) -> None:
    sent = {"aspectRatio": "16:9", "numberOfImages": 2, "persona": "ada", "quality": "hd", "seed": None, "scale": 1.0}
    job = world.generations.create("p1", sent, (), 2, world.reserve())
    images = [put_output(world, job, number, number) for number in range(2)]
    answer = upload_answers.generation(world.generations.generation(job.generation_id, opened=True), world.serving.url)
    assert json.dumps(answer["metadata"]) == json.dumps(sent)
    assert (answer["status"], answer["outputs"]) == ("completed", {"asked": 2, "stored": 2})
    assert [image["object_id"] for image in answer["images"]] == [record.object_id for record in images]
    assert [world.store.fetch(image["url"]).body for image in answer["images"]] == [an_image(0), an_image(1)]
    back = [upload_answers.record(world.serving.record(image["object_id"]))["generation"] for image in answer["images"]]
    assert back == [{"generation_id": job.generation_id, "output": number} for number in range(2)]
    assert len(list(world.operations.of_kind(f"{KIND}#p1"))) == 1
    assert list(world.counts()) == ["STORED"]
    assert world.counts()["STORED"][0] == 2


# ---- status


def test_a_job_nobody_began_is_queued_and_awaits_its_outputs(world: World) -> None:
    job = a_job(world, 3)
    assert (job.status, job.started_at, job.ended_at) == ("queued", None, None)
    assert shown(world, job) == ["awaited"] * 3


@pytest.mark.parametrize(
    ("stored", "said", "status"),
    [
        (0, None, "queued"),
        (0, "running", "running"),
        (1, None, "running"),
        (1, "running", "running"),
        (0, "completed", "failed"),
        (0, "failed", "failed"),
        (1, "completed", "partly_failed"),
        (1, "failed", "partly_failed"),
        (2, None, "completed"),
        (2, "running", "completed"),
        (2, "completed", "completed"),
        (2, "failed", "completed"),
    ],
)
def test_the_status_is_read_off_the_outputs_and_what_the_worker_said(world: World, stored: int, said: str | None, status: str) -> None:
    job = a_job(world, 2)
    for number in range(stored):
        put_output(world, job, number)
    if said is not None:
        world.generations.report(job.generation_id, said, None)
    assert now(world, job).status == status


def test_an_output_on_its_way_makes_a_job_running_and_never_completed(world: World) -> None:
    job = a_job(world)
    lose_a_put(world, job, arrives=True)
    assert (now(world, job).status, shown(world, job)) == ("running", ["pending"])
    world.generations.report(job.generation_id, "completed", None)
    assert now(world, job).status == "failed"


def test_an_output_of_which_nothing_came_has_failed_once_the_job_has_ended(world: World) -> None:
    job = a_job(world, 2)
    world.store.fail("put", error=StorageDenied("no"))
    with pytest.raises(StorageDenied):
        put_output(world, job)
    assert shown(world, job) == ["pending", "awaited"]
    world.generations.report(job.generation_id, "failed", "the provider gave up")
    assert shown(world, job) == ["failed", "failed"]


def test_a_job_does_not_say_it_has_an_image_that_the_bucket_lost(world: World) -> None:
    job = a_job(world)
    record = put_output(world, job)
    world.store.remove(record.key)
    world.aligner().align(record.key)
    assert (now(world, job).status, shown(world, job)) == ("running", ["missing"])
    [image] = upload_answers.generation(now(world, job), world.serving.url)["images"]
    assert (image["status"], image["state"], image["url"]) == ("missing", "MISSING", None)


def test_a_deleted_output_leaves_the_job_completed_and_says_deleted(world: World) -> None:
    job = a_job(world, 2)
    kept, deleted = put_output(world, job, 0), put_output(world, job, 1)
    world.object_deletions.delete(deleted.object_id)
    assert (now(world, job).status, shown(world, job)) == ("completed", ["stored", "deleted"])
    answer = upload_answers.generation(now(world, job), world.serving.url)
    assert answer["outputs"] == {"asked": 2, "stored": 1}
    assert [image["url"] is None for image in answer["images"]] == [False, True]
    assert answer["images"][0]["object_id"] == kept.object_id


def test_an_output_that_was_refused_and_removed_is_not_one_the_job_had(world: World) -> None:
    job = a_job(world)
    record = put_output(world, job)
    world.object_deletions.delete(record.object_id, why="refused: unsupported-type")
    assert (now(world, job).status, shown(world, job)) == ("running", ["awaited"])


@pytest.mark.parametrize("by", ["the same request", "another request"])
def test_an_output_killed_at_any_call_is_not_claimed_and_comes_back_as_one_object(world: World, deployment: Deployment, by: str) -> None:
    for call in itertools.count():
        world.clock.advance(REMEMBERED_MS)
        job, reserved = a_job(world), world.reserve()
        details = Details(generation_id=job.generation_id, output=0)
        with killed_at(world, deployment, call) as killing:
            world.uploads.put("p1", NewObject(an_image(), None, details), reserved)
        killed = now(world, job)
        if killed.status == "completed":
            record = killed.outputs[0].record
            assert record is not None
            assert world.store.head(record.key) is not None
        again = replace(reserved, is_retry=True) if by == "the same request" else world.reserve()
        stored = world.uploads.put("p1", NewObject(an_image(), None, details), again).record
        assert now(world, job).status == "completed"
        assert now(world, job).outputs[0].record == stored
        assert records_of(world, job) == [stored]
        if not killing.happened:
            assert call >= 7
            break
    assert world.tells_one_story()


# ---- writing an output again


def test_the_same_output_sent_twice_is_the_same_object(world: World) -> None:
    job = a_job(world)
    first, second = put_output(world, job), put_output(world, job)
    assert first == second
    assert len(world.bucket_keys()) == 1


def test_the_same_output_sent_twice_at_once_is_one_object(world: World) -> None:
    job, both = a_job(world), threading.Barrier(2, timeout=20)

    def meet(operation: str, key: str | None) -> None:
        if operation == "put":
            both.wait()

    world.store.on_call = meet
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(put_output, world, job) for _ in range(2)]
        records = [future.result() for future in futures]
    assert records[0].object_id == records[1].object_id
    assert records_of(world, job) == [world.ledger.record(records[0].key)]
    assert list(world.counts()) == ["STORED"]
    assert world.tells_one_story()


def test_other_bytes_under_the_number_of_a_stored_output_are_refused(world: World) -> None:
    job = a_job(world)
    record = put_output(world, job)
    with pytest.raises(OutputExists, match=record.object_id):
        put_output(world, job, color=1)
    assert world.bucket_keys() == {record.key}
    assert list(world.counts()) == ["STORED"]


def test_the_same_bytes_in_another_layout_are_another_output(world: World) -> None:
    job = a_job(world)
    record = put_output(world, job)
    with pytest.raises(OutputExists, match="layout"):
        world.upload(generation_id=job.generation_id, output=0, session_place=SessionPlace("ada"))
    assert records_of(world, job) == [record]


def test_other_bytes_are_taken_once_a_failed_attempt_is_settled(world: World) -> None:
    job = a_job(world)
    lose_a_put(world, job, arrives=False)
    with pytest.raises(OutputExists):
        put_output(world, job, color=1)
    world.clock.advance(MINUTE)
    world.presigned.tidy(out_of_time=never)
    record = put_output(world, job, color=1)
    assert (now(world, job).status, records_of(world, job)) == ("completed", [record])


def test_an_attempt_whose_bytes_did_arrive_keeps_its_number_until_it_is_settled(world: World) -> None:
    job = a_job(world)
    lose_a_put(world, job, arrives=True)
    world.clock.advance(MINUTE)
    with pytest.raises(OutputExists):
        put_output(world, job, color=1)
    world.presigned.tidy(out_of_time=never)
    [record] = records_of(world, job)
    assert (record.state, world.bytes_of(record)) == (State.STORED, an_image())
    assert now(world, job).status == "completed"


def test_a_number_named_a_moment_ago_waits_for_its_intent(world: World) -> None:
    job = a_job(world)
    details = Details(generation_id=job.generation_id, output=0)
    first_attempt = world.clock() - 600_000
    late = Reserved(world.new_id(first_attempt), first_attempt, is_retry=True)
    world.generations.reserve("p1", details, late, "png", fingerprint="its")
    with pytest.raises(OutputExists):
        put_output(world, job, color=1)
    world.clock.advance(MINUTE)
    put_output(world, job, color=1)
    with pytest.raises(OutputExists):
        world.generations.reserve("p1", details, late, "png", fingerprint="its")


@pytest.mark.parametrize("color", [0, 1], ids=["the same bytes", "other bytes"])
def test_a_deleted_output_may_be_written_anew(world: World, color: int) -> None:
    job = a_job(world)
    deleted = put_output(world, job)
    world.object_deletions.delete(deleted.object_id)
    record = put_output(world, job, color=color)
    assert record.object_id != deleted.object_id
    assert (shown(world, job), records_of(world, job)) == (["stored"], [record])


def test_an_output_that_was_lost_is_not_stored_over_its_record(world: World) -> None:
    job = a_job(world)
    record = put_output(world, job)
    world.store.remove(record.key)
    world.aligner().align(record.key)
    with pytest.raises(ObjectUnavailable, match="missing"):
        put_output(world, job)
    world.object_deletions.delete(record.object_id)
    put_output(world, job)
    assert shown(world, job) == ["stored"]


def test_an_output_sent_again_while_it_is_deleted_does_not_come_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job(world)
    record, real = put_output(world, job), world.sealer.seal

    def deleting(*arguments, **named):  # type: ignore[no-untyped-def]  # stands in for seal, the last call before the intent
        world.object_deletions.delete(record.object_id)
        return real(*arguments, **named)

    monkeypatch.setattr(world.sealer, "seal", deleting)
    with pytest.raises(ObjectDeleted):
        put_output(world, job)
    assert (world.bucket_keys(), world.counts()) == (set(), {})
    assert shown(world, job) == ["deleted"]


def test_two_who_take_over_a_number_at_once_do_not_both_get_it(world: World, deployment: Deployment) -> None:
    job = a_job(world)
    world.object_deletions.delete(put_output(world, job).object_id)
    deployment.faults.before("UpdateItem", lambda: None)  # the attempt to write the row as a new one
    deployment.faults.before("UpdateItem", lambda: put_output(world, job, color=1))
    with pytest.raises(OutputExists):
        put_output(world, job, color=2)
    [record] = records_of(world, job)
    assert world.bytes_of(record) == an_image(1)


# ---- whose output


def test_an_upload_of_no_job_keeps_its_identity(world: World) -> None:
    reserved = world.reserve()
    assert world.generations.reserve("p1", Details(), reserved, "png", fingerprint="any") is reserved


@pytest.mark.parametrize("number", [-1, 2, None])
def test_an_output_the_job_does_not_have_is_refused(world: World, number: int | None) -> None:
    job = a_job(world, 2)
    with pytest.raises(InvalidRequest, match="0 to 1"):
        world.upload(generation_id=job.generation_id, output=number)
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_an_output_of_another_projects_job_is_not_found(world: World) -> None:
    job = a_job(world)
    world.uploads.create_project("p2", {})
    with pytest.raises(GenerationNotFound):
        put_output(world, job, project_id="p2")
    assert world.counts("p2") == {}
    assert put_output(world, job, project_id="proj_p1").generation_id == job.generation_id


@pytest.mark.parametrize("generation_id", ["", "unknown"])
def test_a_job_that_never_was_is_not_found(world: World, generation_id: str) -> None:
    with pytest.raises(GenerationNotFound):
        world.generations.generation(generation_id)
    with pytest.raises(GenerationNotFound):
        world.generations.report(generation_id, "running", None)
    with pytest.raises(GenerationNotFound):
        world.upload(generation_id=generation_id, output=0)


def test_another_operation_is_no_job(world: World) -> None:
    run_id = world.plan()["run_id"]
    with pytest.raises(GenerationNotFound):
        world.generations.generation(run_id)


# ---- what the worker says


def test_a_report_notes_when_the_job_began_and_ended_and_why(world: World) -> None:
    job = a_job(world)
    began = world.clock()
    world.generations.report(job.generation_id, "running", None)
    world.clock.advance(5000)
    failed = world.generations.report(job.generation_id, "failed", "out of memory")
    assert (failed.started_at, failed.ended_at, failed.error) == (began, began + 5000, "out of memory")


@pytest.mark.parametrize("status", ["running", "completed", "failed"])
def test_a_report_said_again_changes_nothing(world: World, status: str) -> None:
    job = a_job(world)
    error = None if status == "running" else "why"
    first = world.generations.report(job.generation_id, status, error)
    world.clock.advance(5000)
    assert world.generations.report(job.generation_id, status, None) == first


def test_a_job_that_ended_does_not_run_again(world: World) -> None:
    job = a_job(world)
    ended = world.generations.report(job.generation_id, "completed", None)
    with pytest.raises(Conflict, match="ended"):
        world.generations.report(job.generation_id, "running", None)
    assert now(world, job) == ended


def test_an_error_of_a_job_that_runs_on_is_refused(world: World) -> None:
    job = a_job(world)
    with pytest.raises(InvalidRequest, match="error"):
        world.generations.report(job.generation_id, "running", "half of it failed")
    assert now(world, job) == job


def test_outputs_may_still_come_after_the_worker_said_the_job_failed(world: World) -> None:
    job = a_job(world)
    world.generations.report(job.generation_id, "failed", "timed out")
    put_output(world, job)
    assert now(world, job).status == "completed"


def test_two_reports_at_once_are_both_noted(world: World, deployment: Deployment) -> None:
    job = a_job(world)
    deployment.faults.before("UpdateItem", lambda: world.generations.report(job.generation_id, "running", None))
    began = world.clock()
    done = world.generations.report(job.generation_id, "failed", "why")
    assert (done.started_at, done.ended_at, done.error) == (began, began, "why")


def test_a_job_that_keeps_changing_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job(world)

    def busy(*_: object, **__: object) -> None:
        raise RecordChanged("changed")

    monkeypatch.setattr(world.operations, "update", busy)
    with pytest.raises(RecordChanged, match="try again"):
        world.generations.report(job.generation_id, "running", None)


# ---- creating, listing, ending


def test_a_job_killed_at_any_call_of_its_creation_is_created_once(world: World, deployment: Deployment) -> None:
    for call in itertools.count():
        reserved = world.reserve()
        with killed_at(world, deployment, call) as killing:
            world.generations.create("p1", {"n": 1}, (), 1, reserved)
        job = world.generations.create("p1", {"n": 1}, (), 1, replace(reserved, is_retry=True))
        assert (job.generation_id, job.created_at) == (reserved.object_id, reserved.at)
        assert len(list(world.operations.of_kind(f"{KIND}#p1"))) == call + 1
        if not killing.happened:
            break


def test_a_retry_of_a_creation_leaves_the_job_as_it_went_on(world: World) -> None:
    reserved = world.reserve()
    job = world.generations.create("p1", {"n": 1}, (), 1, reserved)
    world.generations.report(job.generation_id, "running", None)
    assert world.generations.create("p1", {"n": 1}, (), 1, reserved).status == "running"


def test_sealed_metadata_of_a_job_is_shown_by_its_own_get_alone(world: World) -> None:
    sent = {"a": 1, "prompt": "a secret wish", "z": [1, 2.0]}
    job = world.generations.create("p1", sent, ["prompt"], 1, world.reserve())
    for read in (job, now(world, job), *world.generations.recent("p1", 5)[0], world.generations.report(job.generation_id, "running", None)):
        answer = upload_answers.generation(read, world.serving.url)
        assert "a secret wish" not in json.dumps(answer)
        assert (answer["metadata"], answer["sealed"]) == ({"a": 1, "z": [1, 2.0]}, ["prompt"])
    opened = world.generations.generation(job.generation_id, opened=True)
    assert json.dumps(dict(opened.metadata)) == json.dumps(sent)


def test_the_newest_jobs_of_a_project_are_listed_newest_first(world: World) -> None:
    world.uploads.create_project("p2", {})
    made = []
    for number in range(3):
        made.append(a_job(world, number=number).generation_id)
        world.clock.advance(1000)
    a_job(world, project_id="p2")
    assert [job.generation_id for job in world.generations.recent("proj_p1", 2)[0]] == [made[2], made[1]]


def test_jobs_are_listed_as_they_stand(world: World) -> None:
    job = a_job(world)
    put_output(world, job)
    assert world.generations.recent("p1", 5) == ([now(world, job)], None)
    assert now(world, job).status == "completed"


def test_jobs_of_a_project_that_never_was_are_not_listed(world: World) -> None:
    with pytest.raises(ProjectNotFound):
        world.generations.recent("nobody", 5)
    with pytest.raises(ProjectNotFound):
        a_job(world, project_id="nobody")


def test_a_closed_project_takes_no_jobs_and_no_outputs(world: World) -> None:
    job = a_job(world)
    world.deletions.request("p1")
    with pytest.raises(ProjectClosed):
        a_job(world)
    with pytest.raises(ProjectClosed):
        put_output(world, job)
    assert world.generations.recent("p1", 5) == ([], None)


@pytest.mark.parametrize("when", ["closed", "deleted", "opened anew"])
def test_a_job_is_gone_with_its_project(world: World, when: str) -> None:
    job = a_job(world, prompt="what a deleted project wished for")
    put_output(world, job)
    if when == "closed":
        world.deletions.request("p1")
    else:
        world.delete_project()
    if when == "opened anew":
        world.uploads.create_project("p1", {})
        with pytest.raises(GenerationNotFound):
            put_output(world, job)
    with pytest.raises(GenerationNotFound):
        now(world, job)
    with pytest.raises(GenerationNotFound):
        world.generations.report(job.generation_id, "completed", None)
    assert world.generations.recent("p1", 5) == ([], None)


def test_a_job_written_while_its_project_closes_is_never_shown(world: World, deployment: Deployment) -> None:
    reserved = world.reserve()
    deployment.faults.before("UpdateItem", lambda: world.deletions.request("p1"))
    with pytest.raises(GenerationNotFound):
        world.generations.create("p1", {"prompt": "late"}, (), 1, reserved)
    world.pump()
    world.uploads.create_project("p1", {})
    assert world.generations.recent("p1", 5) == ([], None)


def test_an_output_whose_project_closes_under_it_is_stored_by_nobody(world: World) -> None:
    job = a_job(world)
    seen: list[str] = []

    def close(operation: str, key: str | None) -> None:
        if operation == "put" and not seen:
            seen.append(operation)
            world.deletions.request("p1")

    world.store.on_call = close
    with pytest.raises(ProjectClosed):
        put_output(world, job)
    assert set(world.counts()) == {"PENDING"}
    world.pump()
    assert (world.bucket_keys(), world.counts()) == (set(), {})


def test_metadata_too_long_for_a_row_is_refused_by_name_and_what_fits_is_kept(world: World) -> None:
    with pytest.raises(TooLarge, match="metadata of a generation"):
        a_job(world, prompt="x" * 250_000)
    longest = "x" * (250_000 - len(json.dumps({"prompt": ""})))
    assert now(world, a_job(world, prompt=longest)).metadata == {"prompt": longest}
    world.generations.create("p1", {"prompt": longest}, ("prompt",), 1, world.reserve())
