from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stocktake.errors import (
    IdempotencyInProgress,
    IdempotencyMismatch,
    InvalidRequest,
    LedgerError,
    ProjectClosed,
    StocktakeError,
    StorageUnavailable,
    TooLarge,
)
from stocktake.idempotency import Attempt, Idempotency, Kept, Scope, check_key, kind_of
from stocktake.ids import new_id, time_of_id
from stocktake.ledger.operations import MAX_DOCUMENT_BYTES
from tests.unit.ledger.builders import Deployment, client_error, no_answer
from tests.unit.world import DAY, Clock, Crash

LEASE = 60_000


def a_scope(**changes: str) -> Scope:
    return replace(Scope("a caller", "POST /projects/p1/objects", "key-1", "f1", "p1"), **changes)


@dataclass
class Shop:
    """A deployment's idempotency, and a work whose effects can be counted: it makes what is not there yet, under derived ids."""

    deployment: Deployment
    clock: Clock
    made: dict[str, str] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    padding: str = ""
    fails_with: Exception | None = None

    def __post_init__(self) -> None:
        self.idempotency = Idempotency(self.deployment.operations, now=self.clock, new_id=new_id)
        self._points = itertools.count()
        self._killed_at = -1

    def work(self, attempt: Attempt, body: str) -> tuple[int, str]:
        self.attempts.append(attempt)
        if self.fails_with is not None:
            raise self.fails_with
        for name in ("intent", "image"):
            self.point()
            self.made.setdefault(attempt.object_id(name), body)
        self.point()
        return 201, json.dumps({"object_id": attempt.object_id("image"), "body": body, "at": attempt.at, "padding": self.padding})

    def send(self, body: str = "a", **scope: str) -> Kept:
        return self.idempotency.once(a_scope(fingerprint=f"hash of {body}", **scope), lambda attempt: self.work(attempt, body))

    def row(self) -> Any:
        (row,) = self.deployment.operations.recent(kind_of("p1"), 10)
        return row

    def point(self) -> None:
        if next(self._points) == self._killed_at:
            raise Crash

    @contextmanager
    def killed_at(self, number: int) -> Iterator[None]:
        """Kills the process at a point: of the work, or before or after one of its calls to DynamoDB."""
        client: Any = self.deployment.tables.client
        inner = client._make_api_call

        def call(operation: str, params: dict[str, Any]) -> Any:
            self.point()
            reply = inner(operation, params)
            self.point()
            return reply

        self._points, self._killed_at = itertools.count(), number
        client._make_api_call = call
        try:
            yield
        finally:
            client._make_api_call = inner
            self._killed_at = -1


@pytest.fixture
def shop(deploy: Callable[..., Deployment]) -> Shop:
    return Shop(deploy(), Clock())


def test_without_a_key_the_work_is_done_and_nothing_is_kept(shop: Shop) -> None:
    answers = [shop.idempotency.once(None, lambda attempt: shop.work(attempt, "a")) for _ in range(2)]
    assert [answer.replayed for answer in answers] == [False, False]
    assert len(shop.made) == 4
    assert not shop.deployment.faults.calls


def test_an_attempt_has_the_time_and_the_ids_of_its_seed(shop: Shop) -> None:
    shop.send()
    (attempt,) = shop.attempts
    assert attempt.at == time_of_id(attempt.seed) == time_of_id(attempt.object_id()) == shop.clock.at
    assert not attempt.is_retry
    assert len({attempt.object_id(), attempt.object_id("x"), attempt.seed}) == 3


def test_the_same_request_again_has_the_same_answer_and_no_second_effect(shop: Shop) -> None:
    first = shop.send()
    shop.clock.advance(DAY - 1)
    assert shop.send() == Kept(201, first.body, replayed=True)
    assert not first.replayed
    assert len(shop.attempts) == 1


def test_another_body_under_a_key_that_was_answered_is_refused(shop: Shop) -> None:
    shop.send("a")
    shop.clock.advance(11 * LEASE)
    with pytest.raises(IdempotencyMismatch, match="another key"):
        shop.send("b")
    assert set(shop.made.values()) == {"a"}


@pytest.mark.parametrize(
    "changes", [{"caller": "b"}, {"route": "POST /projects/p2/objects"}, {"key": "key-2"}], ids=lambda it: next(iter(it))
)
def test_a_key_is_of_one_caller_and_one_route(shop: Shop, changes: dict[str, str]) -> None:
    shop.send("a")
    assert not shop.send("b", **changes).replayed


def test_parts_of_a_scope_do_not_run_into_each_other(shop: Shop) -> None:
    scopes = [("a", "b", "c"), ("a b", "", "c"), ("a", "b c", ""), ('a","b', "", "c"), ("a\nb", "", "c"), ("", "a", "bc")]
    for caller, route, key in scopes:
        assert not shop.send(caller=caller, route=route, key=key).replayed


def test_a_request_that_comes_while_the_first_is_answered_is_told_to_wait(shop: Shop) -> None:
    def impatient(attempt: Attempt) -> tuple[int, str]:
        shop.clock.advance(LEASE - 1)
        with pytest.raises(IdempotencyInProgress, match="few seconds"):
            shop.send("a")
        with pytest.raises(IdempotencyMismatch):
            shop.send("b")
        return shop.work(attempt, "a")

    shop.idempotency.once(a_scope(fingerprint="hash of a"), impatient)
    assert len(shop.attempts) == 1
    assert shop.send("a").replayed


def test_a_request_whose_process_died_is_taken_over_with_its_seed_when_its_lease_is_over(shop: Shop) -> None:
    with suppress(Crash), shop.killed_at(4):
        shop.send()
    shop.clock.advance(LEASE - 1)
    with pytest.raises(IdempotencyInProgress):
        shop.send()
    shop.clock.advance(1)
    with pytest.raises(IdempotencyMismatch):
        shop.send("b")
    assert not shop.send().replayed
    first, second = shop.attempts
    assert second == replace(first, is_retry=True)
    assert len(shop.made) == 2


def test_whoever_takes_over_has_a_lease_of_its_own(shop: Shop) -> None:
    for in_the_work in (4, 10):
        with suppress(Crash), shop.killed_at(in_the_work):
            shop.send()
        shop.clock.advance(LEASE - 1)
        with pytest.raises(IdempotencyInProgress):
            shop.send()
        shop.clock.advance(1)
    assert len(shop.attempts) == 2


def incompressible(size: int) -> str:
    return random.Random(size).randbytes(size // 2).hex()


def kills(send: Callable[[], object], shop: Shop) -> Iterator[int]:
    """Yields after killing `send` at each of its points in turn, until it comes through."""
    for number in itertools.count():
        try:
            with shop.killed_at(number):
                send()
        except Crash:
            yield number
        else:
            return


@pytest.mark.parametrize("size", [0, 800_000], ids=["small answer", "answer in parts"])
def test_killed_anywhere_and_sent_again_the_effect_happens_once_and_the_answer_stays(shop: Shop, size: int) -> None:
    shop.padding = incompressible(size)
    points = 0
    for _ in kills(shop.send, shop):
        shop.clock.advance(LEASE)
        answer, again = shop.send(), shop.send()
        assert (again.replayed, again.body) == (True, answer.body)
        assert len(shop.made) == 2
        assert json.loads(answer.body)["object_id"] in shop.made
        shop.made.clear()
        shop.deployment.operations.remove(shop.row().operation_id)
        points += 1
    assert points >= 7


def test_killed_in_every_retry_too_the_effect_happens_once(shop: Shop) -> None:
    with suppress(Crash), shop.killed_at(3):
        shop.send()
    points = 0
    for _ in kills(shop.send, shop):
        shop.clock.advance(LEASE)
        points += 1
    assert len(shop.made) == 2
    assert len({attempt.seed for attempt in shop.attempts}) == 1
    assert points >= 10


def test_of_two_who_begin_at_the_same_moment_one_works(shop: Shop) -> None:
    shop.deployment.faults.before("UpdateItem", lambda: shop.send("a"))
    assert shop.send("a").replayed
    assert len(shop.attempts) == 1


def test_of_two_who_take_over_at_the_same_moment_one_works(shop: Shop) -> None:
    with suppress(Crash), shop.killed_at(3):
        shop.send()
    shop.clock.advance(LEASE)
    rival: list[Kept] = []
    shop.deployment.faults.before("UpdateItem", lambda: None)  # our put meets the row; then the rival is quicker
    shop.deployment.faults.before("UpdateItem", lambda: rival.append(shop.send()))
    with pytest.raises(IdempotencyInProgress):
        shop.send()
    assert len(rival) == 1
    assert len(shop.attempts) == 2
    assert len(shop.made) == 2


def test_of_two_who_take_over_an_expired_key_one_works(shop: Shop) -> None:
    shop.send("old")
    shop.clock.advance(DAY)
    shop.deployment.faults.before("UpdateItem", lambda: None)
    shop.deployment.faults.before("UpdateItem", lambda: shop.send("a"))
    with pytest.raises(IdempotencyInProgress):
        shop.send("b")
    assert shop.send("a").replayed
    assert set(shop.made.values()) == {"old", "a"}


def test_an_expired_key_that_is_used_again_is_in_progress_and_no_longer_answered(shop: Shop) -> None:
    shop.send("old")
    shop.clock.advance(DAY)
    with suppress(Crash), shop.killed_at(8):
        shop.send("a")
    with pytest.raises(IdempotencyInProgress):
        shop.send("a")


def test_a_key_that_is_tidied_away_while_it_is_looked_at_is_told_to_come_again(shop: Shop) -> None:
    shop.send()
    operation_id = shop.row().operation_id
    shop.deployment.faults.before("GetItem", lambda: None)  # the refused put makes sure that it was not its own
    shop.deployment.faults.before("GetItem", lambda: shop.deployment.operations.remove(operation_id))
    with pytest.raises(IdempotencyInProgress):
        shop.send()
    assert not shop.send().replayed


def test_a_worker_that_outlived_its_lease_does_not_overwrite_the_answer_of_who_took_over(shop: Shop) -> None:
    def slow(attempt: Attempt) -> tuple[int, str]:
        shop.clock.advance(LEASE)
        shop.send("a")
        return 201, "the slow one's"

    assert shop.idempotency.once(a_scope(fingerprint="hash of a"), slow).body == "the slow one's"
    assert shop.send("a").body != "the slow one's"


def test_a_worker_that_outlived_its_lease_and_fails_does_not_end_the_lease_of_who_took_over(shop: Shop) -> None:
    def slow(attempt: Attempt) -> tuple[int, str]:
        shop.clock.advance(LEASE)
        with suppress(Crash), shop.killed_at(8):
            shop.send("a")
        raise StorageUnavailable("no answer: try again")

    with pytest.raises(StorageUnavailable):
        shop.idempotency.once(a_scope(fingerprint="hash of a"), slow)
    with pytest.raises(IdempotencyInProgress):
        shop.send("a")


def test_an_expired_key_is_free_for_any_body_with_a_new_seed(shop: Shop) -> None:
    shop.send("a")
    shop.clock.advance(DAY)
    assert not shop.send("b").replayed
    first, second = shop.attempts
    assert second.seed != first.seed and second.at == shop.clock.at and not second.is_retry
    assert shop.send("b").replayed
    with pytest.raises(IdempotencyMismatch):
        shop.send("a")


@pytest.mark.parametrize("waited", [0, DAY], ids=["first", "after expiry"])
def test_dynamodb_may_tidy_a_key_when_it_has_expired_and_not_before(shop: Shop, waited: int) -> None:
    shop.send()
    shop.clock.advance(waited)
    shop.send()
    assert shop.row().expires_at == shop.clock.at // 1000 * 1000 + DAY


def test_a_take_over_lengthens_the_time_a_key_is_known(shop: Shop) -> None:
    with suppress(Crash), shop.killed_at(3):
        shop.send()
    shop.clock.advance(DAY - 1)
    shop.send()
    shop.clock.advance(DAY - 1)
    assert shop.send().replayed


@pytest.mark.parametrize(
    "error", [StorageUnavailable("no answer"), ProjectClosed("closed"), RuntimeError("a bug")], ids=lambda it: type(it).__name__
)
def test_work_that_fails_can_be_tried_again_at_once_with_its_seed_and_its_body(shop: Shop, error: Exception) -> None:
    shop.fails_with = error
    with pytest.raises(type(error)):
        shop.send("a")
    shop.fails_with = None
    with pytest.raises(IdempotencyMismatch):
        shop.send("b")
    assert not shop.send("a").replayed
    first, second = shop.attempts
    assert second == replace(first, is_retry=True)


def test_a_request_that_was_refused_leaves_its_key_for_a_corrected_body(shop: Shop) -> None:
    shop.fails_with = TooLarge("too large")
    with pytest.raises(TooLarge):
        shop.send("a")
    shop.fails_with = None
    assert not shop.send("b").replayed
    first, second = shop.attempts
    assert second.seed != first.seed and not second.is_retry


def test_a_retry_that_is_refused_does_not_give_away_what_an_attempt_before_it_wrote(shop: Shop) -> None:
    with suppress(Crash), shop.killed_at(4):
        shop.send("a")
    shop.clock.advance(LEASE)
    shop.fails_with = InvalidRequest("the limits were lowered meanwhile")
    with pytest.raises(InvalidRequest):
        shop.send("a")
    shop.fails_with = None
    with pytest.raises(IdempotencyMismatch):
        shop.send("b")
    shop.send("a")
    assert len({attempt.seed for attempt in shop.attempts}) == 1
    assert len(shop.made) == 2


def test_the_error_of_the_work_is_raised_also_where_the_lease_cannot_be_ended(shop: Shop) -> None:
    def fails(attempt: Attempt) -> tuple[int, str]:
        shop.deployment.faults.refuse("UpdateItem", no_answer())
        raise StorageUnavailable("no answer: try again")

    with pytest.raises(StorageUnavailable):
        shop.idempotency.once(a_scope(), fails)


def test_no_work_is_done_where_the_key_cannot_be_taken(shop: Shop) -> None:
    shop.deployment.faults.refuse("UpdateItem", no_answer())
    with pytest.raises(LedgerError):
        shop.send()
    assert not shop.attempts


def test_an_answer_that_cannot_be_kept_is_given_and_a_retry_finds_its_own_success(shop: Shop) -> None:
    shop.deployment.faults.before("UpdateItem", lambda: None)
    shop.deployment.faults.refuse("UpdateItem", client_error("AccessDeniedException", "UpdateItem"))
    answer = shop.send()
    shop.clock.advance(LEASE)
    again = shop.send()
    assert again == replace(answer, replayed=False)
    assert len(shop.made) == 2


@pytest.mark.parametrize("lost", [0, 1], ids=["of the key", "of the answer"])
def test_a_lost_reply_of_the_ledger_changes_nothing(shop: Shop, lost: int) -> None:
    for _ in range(lost):
        shop.deployment.faults.before("UpdateItem", lambda: None)
    shop.deployment.faults.lose_reply("UpdateItem")
    answer = shop.send()
    assert shop.send() == replace(answer, replayed=True)


def test_an_answer_of_six_megabytes_is_kept_whole(shop: Shop) -> None:
    shop.padding = incompressible(6_000_000)
    answer = shop.send()
    shop.deployment.faults.page_size = 3
    assert shop.send() == replace(answer, replayed=True)
    rows = [shop.row(), *shop.deployment.operations.all_parts(shop.row().operation_id)]
    assert len(rows) > 10
    assert all(len(json.dumps(row.document)) < MAX_DOCUMENT_BYTES and row.expires_at == rows[0].expires_at for row in rows)


@given(body=st.text(max_size=30), status=st.integers(200, 599))
@example(body='"\ud800"', status=200)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_answer_comes_back_to_the_character(shop: Shop, body: str, status: int) -> None:
    scope = a_scope(key=f"{status} {body!r}")
    shop.idempotency.once(scope, lambda attempt: (status, body))
    assert shop.idempotency.once(scope, lambda attempt: (500, "not again")) == Kept(status, body, replayed=True)


def test_parts_of_an_answer_that_did_not_come_to_be_kept_are_no_part_of_the_next(shop: Shop) -> None:
    shop.padding = incompressible(500_000)
    with suppress(Crash), shop.killed_at(9):
        shop.send()
    assert len(list(shop.deployment.operations.all_parts(shop.row().operation_id))) == 1
    shop.clock.advance(LEASE)
    answer = shop.send()
    assert shop.send().body == answer.body


def test_what_is_kept_of_a_project_goes_with_it(shop: Shop) -> None:
    shop.padding = incompressible(500_000)
    shop.send()
    operations = shop.deployment.operations
    for row in operations.of_kind(kind_of("p1")):
        operations.remove(row.operation_id)
    assert not shop.send().replayed


def test_a_key_that_is_tidied_away_while_it_is_answered_does_not_come_back(shop: Shop) -> None:
    def tidied(attempt: Attempt) -> tuple[int, str]:
        shop.deployment.operations.remove(shop.row().operation_id)
        return shop.work(attempt, "a")

    assert shop.idempotency.once(a_scope(), tidied).status == 201
    assert list(shop.deployment.operations.of_kind(kind_of("p1"))) == []


def test_a_kept_answer_that_lost_a_part_is_an_error_and_no_answer(shop: Shop) -> None:
    shop.padding = incompressible(500_000)
    shop.send()
    row = shop.row()
    (part,) = shop.deployment.operations.all_parts(row.operation_id)
    shop.deployment.tables.operations(row.operation_id, part.part).delete()
    with pytest.raises(LedgerError, match="being removed"):
        shop.send()


STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from("ab"), st.integers(0, 16)),
    st.tuples(st.just("fail"), st.sampled_from("ab"), st.sampled_from([InvalidRequest("no"), StorageUnavailable("no")])),
    st.tuples(st.just("wait"), st.sampled_from([1, LEASE - 1, LEASE]), st.none()),
)
_numbers = itertools.count()


@given(steps=st.lists(STEPS, min_size=2, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_between_a_key_has_one_effect_and_one_answer(shop: Shop, steps: list[tuple[str, Any, Any]]) -> None:
    key, answers = f"story {next(_numbers)}", set[str]()
    shop.made.clear()
    for step, what, how in [*steps, ("wait", LEASE, None), ("send", "a", -1), ("send", "b", -1)]:
        if step == "wait":
            shop.clock.advance(what)
            continue
        shop.fails_with = how if step == "fail" else None
        with suppress(Crash, StocktakeError), shop.killed_at(how if step == "send" else -1):
            answers.add(shop.send(what, key=key).body)
        assert len(set(shop.made.values())) <= 1, "two bodies under one key"
        assert len(shop.made) <= 2, "the effect of one body twice"
        assert len(answers) <= 1
    assert len(answers) == 1
    assert json.loads(answers.pop())["object_id"] in shop.made


@pytest.mark.parametrize("key", ["k", "8e03978e-40d5-43e8-bc93-6894a57f9324", '"quoted"', " ~", "x" * 255])
def test_a_key_of_printable_ascii_is_taken(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "a\tb", "\x7f", "é", "\x00"])
def test_a_key_of_anything_else_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 255 printable"):
        check_key(key)
