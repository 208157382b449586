"""The OpenAPI document: complete, valid, the same as its copy; and the page that shows it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import stocktake
from stocktake.errors import InvalidRequest, StocktakeError
from stocktake.openapi import document as module
from stocktake.openapi import served
from stocktake.openapi.operation import Answer, Operation
from stocktake.openapi.page import page
from stocktake.openapi.problem import every_error
from stocktake.repair.policies import ACTIONS
from stocktake.routes import ROUTES
from tools.openapi import COPY, text

DOCUMENT = module.document()
OPERATIONS = {route.key: DOCUMENT["paths"][route.path][route.method.lower()] for route in ROUTES}


def test_it_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_the_copy_in_docs_is_what_the_code_says() -> None:
    assert COPY.read_text() == text(), "run `make openapi`"


def test_its_version_is_the_packages() -> None:
    assert DOCUMENT["info"]["version"] == stocktake.__version__


def test_a_route_that_nobody_describes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPERATIONS", module.OPERATIONS[1:])
    with pytest.raises(LookupError, match=r"of POST /projects$"):
        module.document()


def test_an_entry_of_no_route_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stray = Operation("GET /nowhere", "getNothing", "Nothing", "upload", {204: Answer("Nothing.")})
    monkeypatch.setattr(module, "OPERATIONS", (*module.OPERATIONS, stray))
    with pytest.raises(LookupError, match="GET /nowhere"):
        module.document()


@pytest.mark.parametrize("key", OPERATIONS)
def test_an_operation_says_all_a_caller_needs(key: str) -> None:
    operation = OPERATIONS[key]
    assert operation["summary"]
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    [route] = [route for route in ROUTES if route.key == key]
    by_signature: dict[str, list[object]] = {"POST /events/r2": [{"signature": []}], "GET /dashboard": []}
    assert operation["security"] == ([{"bearer": [route.scope]}] if route.scope else by_signature[key])
    unauthenticated = operation["responses"].get("401", {"description": ""})["description"]
    assert ("unauthenticated" in unauthenticated) is (route.scope is not None)
    responses = operation["responses"]
    assert any(status < "400" for status in responses)
    assert responses.keys() >= {"400", "404", "429", "500", "503"}
    problems = [
        content["schema"] for status in responses if (content := responses[status].get("content", {}).get("application/problem+json"))
    ]
    assert problems
    parameters = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
    assert parameters == set(re.findall(r"{(\w+)}", key))
    assert all(parameter["description"] for parameter in operation["parameters"])


def test_names_of_operations_are_unique() -> None:
    assert len({operation["operationId"] for operation in OPERATIONS.values()}) == len(OPERATIONS)


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: error.__name__)
def test_every_problem_type_is_described_and_may_be_answered_somewhere(error: type[StocktakeError]) -> None:
    assert DOCUMENT["components"]["schemas"][error.__name__]["properties"]["type"]["const"] == f"urn:stocktake:problem:{error.type}"
    reference = {"$ref": f"#/components/examples/{error.type}"}
    answered = {
        int(status)
        for operation in OPERATIONS.values()
        for status, response in operation["responses"].items()
        if reference in response.get("content", {}).get("application/problem+json", {}).get("examples", {}).values()
    }
    # roots that nothing raises as themselves have a place in the tree alone
    assert answered <= {error.status}
    assert answered or error.__subclasses__()


def test_no_two_problem_types_have_one_name() -> None:
    assert len({error.type for error in every_error()}) == len(list(every_error()))


def test_every_field_of_an_answer_is_named_and_no_other_may_come() -> None:
    loose = {"GatewayMessage"}
    problems = {error.__name__ for error in every_error()}
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if schema.get("type") == "object" and name not in loose | problems:
            assert schema["additionalProperties"] is False, name


def with_examples(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yields every schema of the document that stands beside an example, with that example."""
    if isinstance(node, dict):
        if isinstance(node.get("schema"), dict):
            if "example" in node:
                yield node["schema"], node["example"]
            for shown in node.get("examples", {}).values():
                reference = shown.get("$ref", "").rpartition("/")[2]
                yield node["schema"], (DOCUMENT["components"]["examples"][reference] if reference else shown)["value"]
        for value in node.values():
            yield from with_examples(value)
    if isinstance(node, list):
        for value in node:
            yield from with_examples(value)


def test_every_example_is_what_its_schema_says() -> None:
    examples = list(with_examples(DOCUMENT["paths"]))
    assert len(examples) > 200
    for schema, example in examples:
        validator = jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]}, validate_formats=True)
        assert validator.is_valid(example), (schema, example)


def test_every_json_that_is_taken_or_answered_has_an_example() -> None:
    for key, operation in OPERATIONS.items():
        answers = [response for status, response in operation["responses"].items() if status < "400"]
        for body in [*answers, *([operation["requestBody"]] if "requestBody" in operation else [])]:
            content = body.get("content", {}).get("application/json")
            assert not content or content["schema"] == {"type": "object"} or "example" in content or "examples" in content, key


def test_a_body_that_may_be_left_out_says_so() -> None:
    assert OPERATIONS["DELETE /projects/{project_id}"]["requestBody"]["required"] is False
    assert OPERATIONS["POST /projects"]["requestBody"]["required"] is True


def test_a_field_that_may_be_left_out_is_not_null_for_it() -> None:
    receipt = DOCUMENT["components"]["schemas"]["Deletion"]["properties"]["receipt"]
    assert "anyOf" not in receipt
    assert "default" not in receipt


def test_a_plan_may_say_what_a_repair_does_and_nothing_else() -> None:
    plan = DOCUMENT["components"]["schemas"]["RepairBody"]["properties"]["plan"]
    said = {name: set(action["enum"]) for name, action in plan["properties"].items()}
    assert said == {name: set(actions) for name, actions in ACTIONS.items()}
    assert plan["additionalProperties"] is False


class TestServed:
    def test_the_document_is_known_by_its_tag(self) -> None:
        first = served.document_for({})
        assert (first.status, first.content_type, json.loads(first.body)) == (200, "application/json", DOCUMENT)
        again = served.document_for({"if-none-match": first.headers["ETag"]})
        assert (again.status, again.body, again.headers["ETag"]) == (304, "", first.headers["ETag"])
        assert served.document_for({"if-none-match": '"another"'}).status == 200
        assert first.headers["Cache-Control"].startswith("private")

    def test_no_other_condition_or_range_is_looked_at(self) -> None:
        assert served.document_for({"range": "bytes=0-1", "if-match": '"another"'}).status == 200

    def test_the_page_runs_nothing_and_asks_nobody_for_anything(self) -> None:
        shown = served.page_for({})
        policy = shown.headers["Content-Security-Policy"]
        [style] = re.findall(r"<style>(.*?)</style>", shown.body, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<(?:script|link|img|iframe)|\ssrc=|\son\w+=|\sstyle=", shown.body)

    def test_the_page_shows_every_operation_and_every_schema_and_its_links_lead_somewhere(self) -> None:
        shown = served.page_for({}).body
        anchors = set(re.findall(r'id="([^"]+)"', shown))
        assert anchors >= {operation["operationId"] for operation in OPERATIONS.values()}
        assert anchors >= {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]}
        assert set(re.findall(r'href="#([^"]+)"', shown)) <= anchors

    def test_no_text_of_the_document_becomes_markup(self) -> None:
        hostile = {**DOCUMENT, "info": {**DOCUMENT["info"], "description": "<script>alert(1)</script>"}}
        assert "<script" not in page(hostile)


def test_the_classes_of_errors_that_every_operation_shares_are_few() -> None:
    shared = set.intersection(*({*operation["responses"]} for operation in OPERATIONS.values()))
    assert "409" not in shared
    assert InvalidRequest.status in {int(status) for status in shared}
