from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from stocktake.errors import InvalidRequest, ProjectClosed, ProjectExists, ProjectNotFound, RecordChanged
from stocktake.model import Project, ProjectState, State, Tally
from tests.unit.ledger.builders import NOW, Deployment, nonzero


def test_a_project_comes_back_as_it_was_created(deployment: Deployment) -> None:
    created = deployment.ledger.create_project("proj_p2", {"owner": "Zoë", "plan": 1.0}, NOW)
    assert created == Project("proj_p2", ProjectState.ACTIVE, 1, NOW, {"owner": "Zoë", "plan": 1.0})
    assert deployment.ledger.project("proj_proj_p2") == created
    assert deployment.ledger.has_project("proj_proj_p2")
    assert repr(deployment.ledger.project("p2").metadata) == repr(created.metadata)


@pytest.mark.parametrize("project_id", ["nobody", "proj_", ""])
def test_an_unknown_project_is_not_found(deployment: Deployment, project_id: str) -> None:
    assert not deployment.ledger.has_project(project_id)
    for ask in (deployment.ledger.project, deployment.ledger.counts):
        with pytest.raises(ProjectNotFound):
            ask(project_id)
    with pytest.raises(ProjectNotFound):
        deployment.ledger.begin_deletion(project_id, "d1", NOW)
    with pytest.raises(ProjectNotFound):
        deployment.ledger.finish_deletion(project_id, "d1", 2, NOW)


def test_a_project_without_a_name_cannot_be_created(deployment: Deployment) -> None:
    with pytest.raises(InvalidRequest):
        deployment.ledger.create_project("proj_proj_", {}, NOW)


@pytest.mark.parametrize("spelling", ["p1", "proj_p1", "proj_proj_p1"])
def test_an_open_project_cannot_be_created_again_under_any_spelling(deployment: Deployment, spelling: str) -> None:
    with pytest.raises(ProjectExists):
        deployment.ledger.create_project(spelling, {}, NOW)


def test_a_new_project_counts_nothing(deployment: Deployment) -> None:
    assert deployment.ledger.counts("p1") == dict.fromkeys(State, Tally())


def test_of_two_who_create_a_project_at_once_one_is_told_that_it_exists(deployment: Deployment) -> None:
    deployment.faults.before("TransactWriteItems", lambda: deployment.ledger.create_project("p2", {"by": "rival"}, NOW))
    with pytest.raises(ProjectExists):
        deployment.ledger.create_project("p2", {"by": "me"}, NOW)
    assert deployment.ledger.project("p2").metadata == {"by": "rival"}


def test_deletion_closes_the_project_and_leaves_a_tombstone_without_metadata(deployment: Deployment) -> None:
    ledger = deployment.ledger
    ledger.create_project("proj_p2", {"owner": "someone"}, NOW)
    deleting = ledger.begin_deletion("p2", "d1", NOW + 1)
    assert deleting == Project("proj_p2", ProjectState.DELETING, 2, NOW, {"owner": "someone"}, deletion_id="d1")
    with pytest.raises(ProjectExists):
        ledger.create_project("p2", {}, NOW)
    deleted = ledger.finish_deletion("p2", "d1", 2, NOW + 2)
    assert deleted == Project("proj_p2", ProjectState.DELETED, 2, NOW, {}, deletion_id="d1", deleted_at=NOW + 2)
    assert ledger.project("p2") == deleted
    raw = deployment.tables.projects.get("p2", "project").serialize()
    assert "someone" not in repr(raw) and "metadata" not in raw


def test_beginning_a_deletion_again_returns_the_one_that_is_under_way(deployment: Deployment) -> None:
    first = deployment.ledger.begin_deletion("p1", "d1", NOW)
    assert deployment.ledger.begin_deletion("proj_p1", "d2", NOW) == first
    deleted = deployment.ledger.finish_deletion("p1", "d1", first.epoch, NOW)
    assert deployment.ledger.begin_deletion("p1", "d3", NOW) == deleted


def test_finishing_a_deletion_again_changes_nothing(deployment: Deployment) -> None:
    closed = deployment.ledger.begin_deletion("p1", "d1", NOW)
    first = deployment.ledger.finish_deletion("p1", "d1", closed.epoch, NOW)
    assert deployment.ledger.finish_deletion("p1", "d1", closed.epoch, NOW + 99) == first


def test_only_the_deletion_that_closed_the_project_can_finish_it(deployment: Deployment) -> None:
    ledger = deployment.ledger
    with pytest.raises(RecordChanged):
        ledger.finish_deletion("p1", "d1", 1, NOW)  # still open
    closed = ledger.begin_deletion("p1", "d1", NOW)
    for deletion_id, epoch in (("d2", closed.epoch), ("d1", closed.epoch - 1)):
        with pytest.raises(RecordChanged):
            ledger.finish_deletion("p1", deletion_id, epoch, NOW)
    assert ledger.project("p1") == closed
    ledger.finish_deletion("p1", "d1", closed.epoch, NOW)
    reopened = ledger.create_project("p1", {}, NOW)
    with pytest.raises(RecordChanged):
        ledger.finish_deletion("p1", "d1", closed.epoch, NOW)
    assert ledger.project("p1") == reopened


def test_of_two_who_finish_at_once_both_see_the_tombstone(deployment: Deployment) -> None:
    closed = deployment.ledger.begin_deletion("p1", "d1", NOW)
    deployment.faults.before("TransactWriteItems", lambda: deployment.ledger.finish_deletion("p1", "d1", closed.epoch, NOW + 1))
    assert deployment.ledger.finish_deletion("p1", "d1", closed.epoch, NOW + 2).deleted_at == NOW + 1


def test_of_two_who_delete_at_once_both_are_told_the_same_deletion(deployment: Deployment) -> None:
    deployment.faults.before("TransactWriteItems", lambda: deployment.ledger.begin_deletion("p1", "rival", NOW))
    closed = deployment.ledger.begin_deletion("p1", "mine", NOW)
    assert (closed.deletion_id, closed.epoch) == ("rival", 2)


def test_a_deleted_project_is_opened_anew_under_its_next_epoch(deployment: Deployment) -> None:
    ledger = deployment.ledger
    closed = ledger.begin_deletion("p1", "d1", NOW)
    ledger.finish_deletion("p1", "d1", closed.epoch, NOW)
    assert ledger.create_project("proj_p1", {"again": True}, NOW + 5) == Project(
        "proj_p1", ProjectState.ACTIVE, 3, NOW + 5, {"again": True}
    )


def test_what_a_deletion_could_not_remove_is_still_counted_when_the_project_is_opened_anew(deployment: Deployment) -> None:
    ledger = deployment.ledger
    deployment.record("stays")
    closed = ledger.begin_deletion("p1", "d1", NOW)
    ledger.finish_deletion("p1", "d1", closed.epoch, NOW)
    ledger.create_project("p1", {}, NOW)
    assert nonzero(ledger.counts("p1")) == {State.STORED: Tally(1, 10)}


def test_closing_is_one_transaction_over_the_project_and_all_its_count_rows(deployment: Deployment) -> None:
    deployment.ledger.begin_deletion("p1", "d1", NOW)
    (items,) = [params["TransactItems"] for name, params in deployment.faults.calls if name == "TransactWriteItems"]
    assert len(items) == 17


def test_all_counts_yields_every_project_with_its_state(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(shards=4)
    ledger = deployment.ledger
    assert list(ledger.all_counts()) == []
    for number in range(5):
        ledger.create_project(f"proj_p{number}", {}, NOW)
        for key in range(number):
            deployment.record(f"{number}/{key}", project_id=f"p{number}", size=7)
    closed = ledger.begin_deletion("p3", "d", NOW)
    ledger.finish_deletion("p3", "d", closed.epoch, NOW)
    deployment.faults.page_size = 3  # a page ends inside a project
    seen = {project.project_id: (project.state, nonzero(project.states)) for project in ledger.all_counts()}
    assert seen == {
        f"proj_p{number}": (
            ProjectState.DELETED if number == 3 else ProjectState.ACTIVE,
            {State.STORED: Tally(number, 7 * number)} if number else {},
        )
        for number in range(5)
    }


def test_a_project_created_while_all_counts_runs_is_counted_whole(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake.ledger.reading.SEGMENTS", 1)
    deployment = deploy(shards=4)
    ledger = deployment.ledger
    ledger.create_project("p1", {}, NOW)
    deployment.record("k")
    deployment.faults.page_size = 2  # two count rows: the scan has passed the place where the others would have been
    scan = ledger.all_counts()
    client, table = deployment.tables.client, deployment.tables.projects.Meta.table_name
    real = client.get_item(TableName=table, Key={"project": {"S": "p1"}, "part": {"S": "counts#03"}})["Item"]
    deployment.faults.before("Scan", lambda: None)
    deployment.faults.before("Scan", lambda: client.delete_item(TableName=table, Key={"project": {"S": "p1"}, "part": {"S": "counts#03"}}))
    deployment.faults.before("Scan", lambda: client.put_item(TableName=table, Item=real))
    assert [(project.project_id, nonzero(project.states)) for project in scan] == [("p1", {State.STORED: Tally(1, 10)})]


def test_closing_while_commits_rush_in_leaves_no_commit_behind_the_gate(deployment: Deployment) -> None:
    def commit(number: int) -> bool:
        try:
            deployment.record(f"k{number}")
        except ProjectClosed:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        commits = [pool.submit(commit, number) for number in range(20)]
        closing = pool.submit(deployment.ledger.begin_deletion, "p1", "d1", NOW)
        late = [pool.submit(commit, number) for number in range(20, 40)]
        taken = sum(future.result() for future in (*commits, *late))
    assert closing.result().state is ProjectState.DELETING
    assert nonzero(deployment.ledger.counts("p1")).get(State.STORED, Tally()) == Tally(taken, 10 * taken)
    assert sum(1 for _ in deployment.ledger.entries()) == taken
    assert not commit(99)
