"""What happens when DynamoDB is busy, does not answer, or answers after the write was done."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import NoCredentialsError

from stocktake.errors import ConfigurationError, LedgerError, ProjectClosed, RecordChanged
from stocktake.ledger import Ledger, tables
from stocktake.ledger.rows import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS
from stocktake.model import ProjectState, State, Tally
from tests.unit.ledger.builders import (
    NOW,
    Deployment,
    a_record,
    client_error,
    conflict,
    no_answer,
    no_connection,
    nonzero,
)

_DOUBTS = [
    pytest.param(no_answer(), id="timeout"),
    pytest.param(no_connection(), id="connection lost"),
    pytest.param(client_error("InternalServerError"), id="server error"),
    pytest.param(client_error("503"), id="gateway error"),
    pytest.param(client_error("TransactionInProgressException"), id="still in progress"),
]


class RawReply(io.BytesIO):
    def stream(self, amount: int = 65536, **_: object) -> Iterator[bytes]:
        """Yields the body, as urllib3 does."""
        yield self.read()


def _tokens(deployment: Deployment) -> list[str]:
    return [params["ClientRequestToken"] for name, params in deployment.faults.calls if name == "TransactWriteItems"]


@pytest.mark.parametrize("error", _DOUBTS)
def test_a_commit_that_took_before_the_reply_was_lost_is_a_success(deployment: Deployment, error: Exception) -> None:
    deployment.faults.lose_reply("TransactWriteItems", error)
    record = deployment.record("k")
    assert deployment.ledger.record("k") == record
    assert nonzero(deployment.ledger.counts("p1")) == {State.STORED: Tally(1, 10)}
    assert deployment.faults.done("TransactWriteItems") == 1


@pytest.mark.parametrize("error", _DOUBTS)
def test_a_commit_that_did_not_take_is_tried_again_under_the_same_token(deployment: Deployment, error: Exception) -> None:
    deployment.faults.refuse("TransactWriteItems", error)
    deployment.record("k")
    assert nonzero(deployment.ledger.counts("p1")) == {State.STORED: Tally(1, 10)}
    first, second = _tokens(deployment)
    assert first == second


def test_a_conflict_after_a_lost_reply_keeps_the_token_of_what_is_in_doubt(deployment: Deployment) -> None:
    deployment.faults.refuse("TransactWriteItems", no_answer())
    deployment.faults.refuse("TransactWriteItems", conflict())
    deployment.record("k")
    assert len(_tokens(deployment)) == 3 and len(set(_tokens(deployment))) == 1


def test_a_write_of_another_is_not_taken_for_ours_after_a_lost_reply(deployment: Deployment) -> None:
    deployment.faults.refuse("TransactWriteItems", no_answer())
    deployment.faults.before("GetItem", lambda: None)  # the check of the settings
    deployment.faults.before("GetItem", lambda: Ledger(deployment.tables).move(None, a_record("k", size=77), gated=True))
    fresh = Ledger(deployment.tables, sleep=deployment.slept.append)
    with pytest.raises(RecordChanged):
        fresh.move(None, a_record("k"), gated=True)
    assert nonzero(deployment.ledger.counts("p1")) == {State.STORED: Tally(1, 77)}


def test_our_write_seen_only_at_the_second_attempt_is_a_success(deployment: Deployment) -> None:
    deployment.faults.lose_reply("TransactWriteItems")
    deployment.faults.refuse("GetItem", no_answer())  # so the first look fails, too, and the second attempt meets our own row
    record = deployment.record("k")
    assert deployment.ledger.record("k") == record
    assert nonzero(deployment.ledger.counts("p1")) == {State.STORED: Tally(1, 10)}
    assert deployment.faults.done("TransactWriteItems") == 2


def test_a_removal_that_took_before_the_reply_was_lost_is_a_success(deployment: Deployment) -> None:
    record = deployment.record("k")
    deployment.faults.lose_reply("TransactWriteItems")
    assert deployment.ledger.move(record, None, gated=False) is None
    assert nonzero(deployment.ledger.counts("p1")) == {}


def test_a_removal_that_did_not_take_is_not_taken_for_done(deployment: Deployment) -> None:
    record = deployment.record("k")
    deployment.faults.refuse("TransactWriteItems", no_answer(), times=2)
    with pytest.raises(LedgerError, match="not known"):
        deployment.ledger.move(record, None, gated=False)
    assert deployment.ledger.record("k") == record


def test_without_any_answer_the_error_says_that_the_end_is_not_known(deployment: Deployment) -> None:
    deployment.faults.refuse("TransactWriteItems", no_answer(), times=2)
    deployment.faults.refuse("GetItem", no_answer(), times=2)
    with pytest.raises(LedgerError, match="not known") as failure:
        deployment.record("k")
    assert failure.value.__cause__ is not None


def test_a_project_closed_while_a_reply_was_lost_refuses_the_second_attempt(deployment: Deployment) -> None:
    deployment.faults.refuse("TransactWriteItems", no_answer())
    deployment.faults.before("TransactWriteItems", lambda: Ledger(deployment.tables).begin_deletion("p1", "d1", NOW))
    with pytest.raises(ProjectClosed):
        deployment.record("k")
    assert deployment.ledger.record("k") is None


def test_a_closing_whose_reply_was_lost_is_a_success(deployment: Deployment) -> None:
    deployment.faults.lose_reply("TransactWriteItems")
    closed = deployment.ledger.begin_deletion("p1", "d1", NOW)
    assert (closed.state, closed.epoch) == (ProjectState.DELETING, 2)
    deployment.faults.lose_reply("TransactWriteItems")
    assert deployment.ledger.finish_deletion("p1", "d1", 2, NOW).state is ProjectState.DELETED
    deployment.faults.lose_reply("TransactWriteItems")
    assert deployment.ledger.create_project("p1", {}, NOW).epoch == 3


@pytest.mark.parametrize(
    "error",
    [
        conflict(),
        client_error("TransactionCanceledException", reasons=("ThrottlingError", "TransactionConflict")),
        client_error("ThrottlingException"),
        client_error("ProvisionedThroughputExceededException"),
        client_error("RequestLimitExceeded"),
    ],
    ids=str,
)
def test_a_busy_ledger_is_waited_for_longer_each_time(deployment: Deployment, error: Exception) -> None:
    deployment.faults.refuse("TransactWriteItems", error, times=9)
    deployment.record("k")
    assert len(deployment.slept) == 9
    assert all(0 <= waited <= min(1.0, 0.02 * 2**attempt) for attempt, waited in enumerate(deployment.slept))
    assert any(waited < min(1.0, 0.02 * 2**attempt) for attempt, waited in enumerate(deployment.slept))  # with jitter
    assert len(set(_tokens(deployment))) == 10  # what was cancelled for certain starts afresh


def test_a_ledger_that_stays_busy_is_an_error_in_the_end(deployment: Deployment) -> None:
    deployment.faults.refuse("TransactWriteItems", conflict(), times=10)
    with pytest.raises(LedgerError, match="too busy"):
        deployment.record("k")
    assert deployment.ledger.record("k") is None


def test_closing_a_busy_project_is_tried_more_patiently(deployment: Deployment) -> None:
    deployment.faults.refuse("TransactWriteItems", conflict(), times=29)
    assert deployment.ledger.begin_deletion("p1", "d1", NOW).state is ProjectState.DELETING


@pytest.mark.parametrize(
    "error",
    [
        client_error("AccessDeniedException"),
        client_error("TransactionCanceledException", reasons=("ItemCollectionSizeLimitExceeded", "None")),
        client_error("ValidationException"),
        NoCredentialsError(),
    ],
    ids=str,
)
def test_what_cannot_work_is_not_tried_again(deployment: Deployment, error: Exception) -> None:
    deployment.faults.refuse("TransactWriteItems", error)
    with pytest.raises(LedgerError) as failure:
        deployment.record("k")
    assert failure.value.__cause__ is not None
    assert deployment.faults.done("TransactWriteItems") == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda deployment: deployment.ledger.record("k"),
        lambda deployment: deployment.ledger.project("p1"),
        lambda deployment: deployment.ledger.by_object_id("o1"),
        lambda deployment: deployment.ledger.counts("p1"),
        lambda deployment: list(deployment.ledger.all_counts()),
        lambda deployment: deployment.operations.get("o", "part"),
        lambda deployment: deployment.operations.recent("deletion", 3),
        lambda deployment: list(deployment.operations.all_parts("o")),
        lambda deployment: deployment.operations.put("o", "", "k", {}, created_at=1, status=""),
        lambda deployment: deployment.operations.add("o", "p", "c", 1),
    ],
)
@pytest.mark.parametrize(
    "error", [client_error("AccessDeniedException"), no_connection(), client_error("ResourceNotFoundException")], ids=str
)
def test_every_question_fails_with_our_own_error(deployment: Deployment, ask: Callable[[Deployment], Any], error: Exception) -> None:
    deployment.ledger.record("warm")  # the settings are read by now
    for operation in ("GetItem", "Query", "Scan", "UpdateItem"):
        deployment.faults.refuse(operation, error, times=3)
    wanted = ConfigurationError if "ResourceNotFound" in str(error) else LedgerError
    with pytest.raises(wanted) as failure:
        ask(deployment)
    assert failure.value.__cause__ is not None


def test_tables_that_are_not_there_are_a_matter_of_configuration(aws: None) -> None:
    nowhere = tables(objects="no-o", projects="no-p", operations="no-n", region="eu-west-1")
    with pytest.raises(ConfigurationError, match="OBJECTS_TABLE"):
        Ledger(nowhere).record("k")


def test_of_two_who_fix_the_number_of_shards_at_once_both_read_the_same(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    deployment.faults.before("UpdateItem", lambda: Ledger(deployment.tables).record("k"))
    assert deployment.ledger.record("k") is None
    rival = deploy()
    rival.faults.before("UpdateItem", lambda: Ledger(rival.tables, shards=8).record("k"))
    with pytest.raises(ConfigurationError, match="8"):
        rival.ledger.record("k")


def test_models_transactions_and_bulk_reads_share_one_client_and_its_limits(deployment: Deployment) -> None:
    made = deployment.tables
    clients = {id(row._get_connection().connection.client) for row in (made.objects, made.projects, made.operations)}
    assert clients == {id(made.client)}
    config: Any = made.client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
    assert config.retries == {"total_max_attempts": 3, "mode": "standard"}


def test_a_session_that_is_shared_reads_the_replies_of_other_services_as_before(aws: None) -> None:
    session = botocore.session.get_session()
    assert tables(objects="a", projects="b", operations="c", region="eu-west-1", session=session).connection.session is session
    secrets: Any = session.create_client("secretsmanager", "eu-west-1")

    def canned(request: Any, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 200, {}, RawReply(b'{"SecretBinary": "aGk="}'))  # type: ignore[arg-type]  # headers of any mapping

    secrets.meta.events.register_first("before-send.secretsmanager", canned)
    assert secrets.get_secret_value(SecretId="s")["SecretBinary"] == b"hi"


def test_a_session_that_is_shared_is_left_as_it_was_when_no_client_can_be_made(aws: None) -> None:
    session = botocore.session.get_session()
    parsers = session.get_component("response_parser_factory")
    with pytest.raises(ValueError, match="not a url"):
        tables(objects="a", projects="b", operations="c", region="eu-west-1", host="not a url", session=session)
    assert session.get_component("response_parser_factory") is parsers


def test_tables_of_two_deployments_do_not_meet(deploy: Callable[..., Deployment]) -> None:
    one, other = deploy(), deploy()
    one.ledger.create_project("p1", {}, NOW)
    other.ledger.create_project("p1", {}, NOW)
    record = one.record("k")
    assert other.ledger.record("k") is None
    assert one.ledger.move(record, replace(record, size=11), gated=True) is not None
    assert nonzero(other.ledger.counts("p1")) == {}


def test_the_host_of_a_local_dynamodb_is_used_for_all(aws: None) -> None:
    local = tables(objects="a", projects="b", operations="c", region="eu-west-1", host="http://127.0.0.1:4598")
    assert local.client.meta.endpoint_url == "http://127.0.0.1:4598"


def test_an_endpoint_is_worked_out_once_for_an_operation(aws: None) -> None:
    connection = tables(objects="a", projects="b", operations="c", region="eu-west-1").connection
    client: Any = connection.client
    asked: list[str] = []
    provider = client._ruleset_resolver._provider
    real = provider.resolve_endpoint

    def counted(**parameters: Any) -> Any:
        asked.append(parameters["Region"])
        return real(**parameters)

    provider.resolve_endpoint = counted
    for _ in range(3):
        with contextlib.suppress(client.exceptions.ResourceNotFoundException):
            client.get_item(TableName="a", Key={"shard": {"S": "00"}, "key": {"S": "k"}})
    assert asked == ["eu-west-1"]
