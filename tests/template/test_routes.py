"""The table of routes is the API: the template and the handlers have every route of it and no other."""

from __future__ import annotations

import re
from collections import Counter

import yaml
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver

import analytics
import diagnostics
import migration
import object_events
import project_deletion
import reconciliation
import upload
from stocktake.routes import ROUTES
from tests.conftest import TEMPLATE, TemplateLoader


def test_every_route_of_the_table_is_deployed_and_no_other() -> None:
    resources = yaml.load(TEMPLATE.read_text(), Loader=TemplateLoader)["Resources"].values()  # a subclass of SafeLoader
    deployed = Counter(resource["Properties"]["RouteKey"] for resource in resources if resource["Type"] == "AWS::ApiGatewayV2::Route")
    assert deployed == Counter(route.key for route in ROUTES)


def handled(api: APIGatewayHttpResolver) -> list[str]:
    """Names what a resolver takes, spelled as API Gateway does."""
    return [f"{route.method} {re.sub(r'<(\w+)>', r'{\1}', route.path)}" for route in api._static_routes + api._dynamic_routes]


def test_every_route_of_the_table_has_one_handler_and_no_other_has() -> None:
    modules = (upload, object_events, project_deletion, reconciliation, migration, analytics, diagnostics)
    taken = [key for module in modules for key in handled(module.api)]
    assert Counter(taken) == Counter(route.key for route in ROUTES)
