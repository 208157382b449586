"""reconciliation: the API of runs, findings, repairs and quarantine, and the steps of the state machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

from stocktake import answers, metrics
from stocktake.errors import ConfirmationFailed, InvalidRequest
from stocktake.ids import now_ms
from stocktake.problems import caller_of, make_api, out_of_time, text_body
from stocktake.reconciliation import Wanted, counts_by_project, run_of_execution
from stocktake.repair.policies import POLICIES
from stocktake.repair.restoring import TURN
from stocktake.requests import (
    ActionsQuery,
    ChangesQuery,
    ConformanceQuery,
    FindingsQuery,
    ListQuery,
    NoBody,
    QuarantineQuery,
    RecentQuery,
    RepairBody,
    StartRunBody,
    read_body,
    read_id,
    read_query,
)
from stocktake.routes import Scope
from stocktake.services import services
from stocktake.thumbnails import with_urls

logger = Logger()
api = make_api(logger, lambda: services.access)


@api.post("/reconciliations")
def start() -> Response[str]:
    """Starts a run, or says what one would cost."""
    body = read_body(StartRunBody, text_body(api))
    if body.dry_run and body.inventory is not None:
        raise InvalidRequest("what a run costs is estimated for a listing: give inventory or dry_run, not both")
    if body.dry_run:
        return answered(services.reconciliations.estimate())
    return accepted(answers.run(services.reconciliations.request(accept_loss=body.accept_loss, inventory=body.inventory), None))


@api.get("/reconciliations")
def list_runs() -> dict[str, Any]:
    """Answers with the newest runs."""
    return {"reconciliations": [answers.run(run, None) for run in services.reconciliations.recent(recent_limit())]}


@api.get("/reconciliations/<run_id>")
def get_run(run_id: str) -> dict[str, Any]:
    """Answers with a run, its repair and what takes that back."""
    run_id = read_id(run_id)
    runs = services.reconciliations
    run = runs.run(run_id)
    answer = answers.run(run, services.repairs.repair(run_id), runs.progress(run), services.changes.counts(run))
    restoration = services.restorations.restoration(run_id)
    return answer if restoration is None else {**answer, "restoration": answers.timed(restoration)}


@api.post("/reconciliations/<run_id>/stop")
def stop(run_id: str) -> dict[str, Any]:
    """Ends a run or its repair, and answers with both."""
    read_body(NoBody, text_body(api))
    run_id = read_id(run_id)
    return answers.run(services.reconciliations.stop(run_id), services.repairs.repair(run_id))


@api.get("/reconciliations/<run_id>/findings")
def get_findings(run_id: str) -> dict[str, Any]:
    """Answers with one page of a run's findings."""
    query = read_query(FindingsQuery, api.current_event.query_string_parameters)
    page, following = services.reconciliations.findings(read_id(run_id), wanted(query), query.limit, query.cursor)
    if query.urls and Scope.READ in caller_of(api).scopes:  # who may not read bytes is given no way to
        page = with_urls(page, services.store)
    return {"findings": [answers.timed(finding) for finding in page], "cursor": following}


@api.get("/reconciliations/<run_id>/changes")
def get_changes(run_id: str) -> dict[str, Any]:
    """Answers with one page of what is new, unchanged or gone since the run before."""
    query = read_query(ChangesQuery, api.current_event.query_string_parameters)
    run = services.reconciliations.run(read_id(run_id))
    page, following = services.changes.page(run, query.kind, query.finding_class, query.limit, query.cursor)
    return {"findings": [answers.finding(row) for row in page], "cursor": following}


@api.get("/reconciliations/<run_id>/projects")
def get_projects(run_id: str) -> dict[str, Any]:
    """Answers with one page of a run's counts by project and class."""
    query = read_query(ListQuery, api.current_event.query_string_parameters)
    run = services.reconciliations.run(read_id(run_id))
    page, following = counts_by_project(services.operations, run, query.limit, query.cursor)
    return {"projects": page, "cursor": following}


@api.post("/reconciliations/<run_id>/plan")
def plan(run_id: str) -> dict[str, Any]:
    """Says what an apply would do, and does nothing."""
    body, late = read_body(RepairBody, text_body(api)), out_of_time(api.lambda_context, reserve_ms=15_000)
    if body.chosen() == "plan_id":
        return answers.timed(services.repairs.planned(read_id(run_id), body.plan_id, out_of_time=late))
    return answers.timed(services.repairs.plan(read_id(run_id), policy_of(body), out_of_time=late))


@api.post("/reconciliations/<run_id>/apply")
def apply(run_id: str) -> Response[str]:
    """Starts the repair of a run's findings."""
    body, late = read_body(RepairBody, text_body(api)), out_of_time(api.lambda_context, reserve_ms=15_000)
    policy = None if body.chosen() == "plan_id" else policy_of(body)
    requested = services.repairs.request(read_id(run_id), policy, plan_id=body.plan_id, first_run=body.first_run, out_of_time=late)
    return accepted(answers.timed({name: value for name, value in requested.items() if name != "fence"}))


@api.get("/diagnostics/identity")
def get_identity() -> dict[str, Any]:
    """Answers with which bucket is seen, and whether it is the ledger's."""
    return services.identity.diagnose()


@api.get("/reconciliations/<run_id>/actions")
def list_actions(run_id: str) -> dict[str, Any]:
    """Answers with one page of what the newest repair did, put off and left out."""
    query = read_query(ActionsQuery, api.current_event.query_string_parameters)
    page, following = services.repairs.actions(read_id(run_id), query.result, query.limit, query.cursor)
    return {"actions": page, "cursor": following}


@api.post("/reconciliations/<run_id>/restore")
def restore_run(run_id: str) -> Response[str]:
    """Starts taking back what a run set aside."""
    read_body(NoBody, text_body(api))
    return accepted(answers.timed(services.restorations.request(read_id(run_id))))


@api.get("/acknowledgements")
def list_acknowledgements() -> dict[str, Any]:
    """Answers with one page of the acknowledgements, newest first."""
    query = read_query(ListQuery, api.current_event.query_string_parameters)
    page, following = services.acknowledgements.recent(query.limit, query.cursor)
    return {"acknowledgements": [answers.acknowledgement(row) for row in page], "cursor": following}


@api.delete("/acknowledgements/<acknowledgement_id>")
def revoke(acknowledgement_id: str) -> dict[str, Any]:
    """Ends an acknowledgement."""
    read_body(NoBody, text_body(api))
    return answers.acknowledgement(services.acknowledgements.revoke(read_id(acknowledgement_id)))


@api.get("/quarantine")
def list_quarantine() -> dict[str, Any]:
    """Answers with one page of quarantine entries, newest first."""
    query = read_query(QuarantineQuery, api.current_event.query_string_parameters)
    filters = {"project": query.project, "status": query.status, "run_id": query.run}
    page, following = services.quarantine.recent(query.limit, query.cursor, **filters)
    return {"entries": [answers.quarantine_entry(entry) for entry in page], "cursor": following}


@api.post("/quarantine/<entry_id>/restore")
def restore(entry_id: str) -> dict[str, Any]:
    """Puts a quarantined object back."""
    read_body(NoBody, text_body(api))
    return answers.quarantine_entry(services.restorations.restore(read_id(entry_id)))


@api.delete("/quarantine/<entry_id>")
def purge_early(entry_id: str) -> dict[str, Any]:
    """Removes a quarantined object for good, before its days are over."""
    read_body(NoBody, text_body(api))
    return answers.quarantine_entry(services.expiry.purge_early(read_id(entry_id)))


@api.get("/diagnostics/conformance")
def get_conformance() -> dict[str, Any]:
    """Answers with what the store can do and what that chooses, tried anew where that is asked for."""
    query = read_query(ConformanceQuery, api.current_event.query_string_parameters)
    store = services.store
    return answers.timed(services.conformance.answer(store.probe() if query.fresh else store.profile()))


@api.post("/quarantine/drill")
def drill() -> dict[str, Any]:
    """Runs a drill of the quarantine."""
    read_body(NoBody, text_body(api))
    return answers.drill(services.drills.run())


@api.get("/quarantine/drills")
def list_drills() -> dict[str, Any]:
    """Answers with the newest drills."""
    return answers.drills(services.drills.recent(recent_limit()), now_ms())


def policy_of(body: RepairBody) -> Mapping[str, str]:
    """Returns the policy that a body names or spells out."""
    return POLICIES[body.policy] if body.chosen() == "policy" else body.plan


def recent_limit() -> int:
    """Reads how many of the newest are asked for."""
    return read_query(RecentQuery, api.current_event.query_string_parameters).limit


def answered(document: dict[str, Any]) -> Response[str]:
    """Answers 200."""
    return Response(HTTPStatus.OK, content_types.APPLICATION_JSON, json.dumps(document))


def wanted(query: FindingsQuery) -> Wanted:
    """Reads the filters of a list of findings."""
    after, before = query.first_seen_after, query.first_seen_before
    return Wanted(
        finding_class=query.finding_class,
        kind=query.kind,
        project=query.project,
        layout=query.layout,
        repair=query.repair,
        first_seen_after=int(after.timestamp() * 1000) if after else None,
        first_seen_before=int(before.timestamp() * 1000) if before else None,
    )


def accepted(document: dict[str, Any]) -> Response[str]:
    """Answers 202."""
    return Response(HTTPStatus.ACCEPTED, content_types.APPLICATION_JSON, json.dumps(document))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP, clear_state=True)
def api_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes requests of the HTTP API."""
    return api.resolve(event, context)


@logger.inject_lambda_context(clear_state=True)
def step_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Takes one step of the state machine, or what a schedule asks for."""
    if event["step"] in ("purge", "drill"):
        return scheduled(event["step"], context)
    step, run_id = event["step"], event.get("run_id") or run_of_execution(event["execution"])
    logger.append_keys(run_id=run_id, step=step)
    late = out_of_time(context, reserve_ms=15_000)
    if step == "plan":
        services.conformance.renew(services.store)
        result = services.reconciliations.plan(run_id)
    elif step == "sort_inventory":
        # a file takes one step: none is begun that this one may have no time to end
        result = services.reconciliations.sort_inventory(run_id, out_of_time=out_of_time(context, reserve_ms=200_000))
    elif step == "walk":
        result = services.reconciliations.walk(run_id, event["number"], steps=event.get("steps", 0), out_of_time=late)
    elif step == "plan_again":
        result = services.reconciliations.plan_again(run_id, out_of_time=out_of_time(context, reserve_ms=120_000))
    elif step == "compare_runs":
        result = services.changes.step(run_id, out_of_time=late)
    elif step == "summarise":
        result = services.reconciliations.summarise(run_id)
        if services.analytics.keep_run(run_id) is not None:
            metrics.counted(services.analytics.keep_day())
        ended(run_id)
    elif step in ("apply", "fail_apply"):
        # what the execution was launched for, whatever is asked of this run by now; one that was started by hand has no turn
        turn = event.get("input", {}).get("turn")
        restores = services.restorations.is_running(run_id) if turn is None else str(turn).startswith(TURN)
        flow = services.restorations if restores else services.repairs
        if step == "apply":
            result = flow.step(run_id, turn=turn, out_of_time=late)
            repair = services.repairs.repair(run_id) if result["done"] and not restores else None
            if repair is not None:
                metrics.repaired(run_id, repair["done"])
        else:
            result = flow.fail(run_id, json.dumps(event["error"]), turn=turn)
    else:
        result = services.reconciliations.fail(run_id, json.dumps(event["error"]))
        ended(run_id)
    logger.info("reconciliation step", extra={"done": result.get("done"), "status": result.get("status")})
    return result


def ended(run_id: str) -> None:
    """Tells how a run ended."""
    run = services.reconciliations.run(run_id)
    metrics.run_ended(run_id, run.status, run.document)


def scheduled(step: str, context: LambdaContext) -> dict[str, Any]:
    """Purges what has expired, or runs a drill; one that failed is raised, so that the alarm on this function's errors tells of it."""
    if step == "purge":
        result = services.expiry.purge(out_of_time=out_of_time(context, reserve_ms=15_000))
        metrics.purged(result["purged"])
        logger.info("quarantine purged", extra=result)
        return result
    drilled = services.drills.run()
    metrics.drilled(drilled.status)
    logger.info("quarantine drill", extra={"drill_id": drilled.operation_id, "status": drilled.status})
    if drilled.status != "PASSED":
        raise ConfirmationFailed(f"{drilled.operation_id} failed: {drilled.document['why'] or ', '.join(drilled.document['differences'])}")
    return {"drill_id": drilled.operation_id, "status": drilled.status}
