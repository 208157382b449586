"""What template.yaml promises, read as text: no deployment, no AWS. `cfn-lint` and `sam validate` say whether AWS would take it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stocktake.dead_letters import DEAD_LETTERS
from stocktake.ledger import SHAPES
from stocktake.metrics import METRICS, NAMESPACE
from stocktake.project_deletion.undo_window import WORKER_MS
from stocktake.r2_queue import API, LEASE_MS
from stocktake.routes import ROUTES

ROOT = Path(__file__).resolve().parents[2]
# Nobody but who deploys can know them, and without them there is no API.
WITHOUT_DEFAULT = ("TokenIssuer", "TokenAudience")


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, each read as its long form: `!Ref x` as `{"Ref": "x"}`."""


def _long_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _long_form)

TEMPLATE: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)  # a SafeLoader with tags
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
GLOBALS: dict[str, Any] = TEMPLATE["Globals"]["Function"]
STATE_MACHINE: dict[str, Any] = json.loads((ROOT / "statemachines" / "reconciliation.asl.json").read_text())

# The public paths, by the flow that answers them.
PUBLIC_PATHS = {
    "UploadFunction": {
        "POST /projects",
        "GET /projects/{project_id}",
        "PUT /projects/{project_id}/quota",
        "POST /projects/{project_id}/objects",
        "POST /projects/{project_id}/objects/batch",
        "POST /projects/{project_id}/imports",
        "POST /projects/{project_id}/uploads",
        "GET /uploads/{upload_id}",
        "POST /uploads/{upload_id}/parts",
        "POST /uploads/{upload_id}/complete",
        "DELETE /uploads/{upload_id}",
        "POST /projects/{project_id}/generations",
        "GET /projects/{project_id}/generations",
        "GET /generations/{generation_id}",
        "PATCH /generations/{generation_id}",
        "GET /projects/{project_id}/objects",
        "GET /objects/{object_id}",
        "DELETE /objects/{object_id}",
        "GET /objects/{object_id}/content",
    },
    "ProjectDeletionApiFunction": {
        "DELETE /projects/{project_id}",
        "GET /deletions/{deletion_id}",
        "GET /deletions/{deletion_id}/receipt",
        "GET /deletions/{deletion_id}/remaining",
        "POST /deletions/replay",
        "GET /diagnostics/projects/{project_id}/discovery",
        "POST /deletions/{deletion_id}/verify",
        "POST /deletions/{deletion_id}/undo",
    },
    "ReconciliationApiFunction": {
        "POST /reconciliations",
        "GET /reconciliations",
        "GET /reconciliations/{run_id}",
        "GET /reconciliations/{run_id}/findings",
        "GET /reconciliations/{run_id}/changes",
        "GET /reconciliations/{run_id}/projects",
        "POST /reconciliations/{run_id}/apply",
        "POST /reconciliations/{run_id}/stop",
        "GET /diagnostics/identity",
        "POST /reconciliations/{run_id}/plan",
        "GET /reconciliations/{run_id}/actions",
        "POST /reconciliations/{run_id}/restore",
        "GET /acknowledgements",
        "DELETE /acknowledgements/{acknowledgement_id}",
        "GET /quarantine",
        "POST /quarantine/{entry_id}/restore",
        "DELETE /quarantine/{entry_id}",
        "POST /quarantine/drill",
        "GET /quarantine/drills",
        "GET /diagnostics/conformance",
    },
    "ObjectEventsWebhookFunction": {
        "POST /events/r2",
    },
    "MigrationApiFunction": {
        "POST /migrations",
        "GET /migrations",
        "GET /migrations/{migration_id}",
        "POST /migrations/{migration_id}/start",
        "POST /migrations/{migration_id}/stop",
        "GET /migrations/{migration_id}/results",
        "POST /exports",
        "POST /reconciliations/{run_id}/export",
        "GET /exports/{export_id}",
        "POST /recounts",
        "GET /recounts",
        "GET /recounts/{recount_id}",
    },
    "DiagnosticsFunction": {
        "GET /diagnostics",
        "GET /diagnostics/objects",
        "POST /diagnostics/self-test",
    },
    "AnalyticsFunction": {
        "GET /analytics",
        "GET /analytics/history",
        "GET /projects/{project_id}/analytics",
        "GET /deletions",
        "GET /dashboard",
        "GET /openapi.json",
        "GET /docs",
    },
}


def of_type(kind: str) -> dict[str, Any]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def of(name: str) -> dict[str, Any]:
    properties: dict[str, Any] = RESOURCES[name]["Properties"]
    return properties


FUNCTIONS = sorted(of_type("AWS::Serverless::Function"))
TABLES = sorted(of_type("AWS::DynamoDB::Table"))
BUCKETS = sorted(of_type("AWS::S3::Bucket"))
ROLES = sorted(of_type("AWS::IAM::Role"))
QUEUES = sorted(of_type("AWS::SQS::Queue"))
LOG_GROUPS = sorted(of_type("AWS::Logs::LogGroup"))
CONSUMED = sorted(name for name in QUEUES if "RedrivePolicy" in of(name))
DEAD_ENDS = sorted(set(QUEUES) - set(CONSUMED))  # nothing but a person takes messages from these


def named(value: Any) -> str:
    """Gives the logical id that a `Ref` or `GetAtt` names."""
    name: str = value["Ref"] if "Ref" in value else value["Fn::GetAtt"].split(".")[0]
    return name


def nodes(value: Any) -> Iterator[Any]:
    """Yields a value and everything in it."""
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)


def statements(resource: Any) -> list[dict[str, Any]]:
    found = [statement for node in nodes(resource) if isinstance(node, dict) for statement in node.get("Statement", ())]
    return [statement["Fn::If"][1] if "Fn::If" in statement else statement for statement in found]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def timeout(function: str) -> int:
    seconds: int = of(function).get("Timeout", GLOBALS["Timeout"])
    return seconds


def own_variables(function: str) -> dict[str, Any]:
    """Gives the environment that a function has beside that of them all."""
    variables: dict[str, Any] = of(function).get("Environment", {}).get("Variables", {})
    return variables


def sources(function: str) -> list[dict[str, Any]]:
    return [event["Properties"] for event in of(function).get("Events", {}).values() if event["Type"] == "SQS"]


def alarms_on(namespace: str, metric: str, dimension: str) -> set[str]:
    """Gives the logical ids that some alarm watches by this metric, at more than zero."""
    return {
        named(value["Value"])
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
        for value in alarm["Properties"]["Dimensions"]
        if (alarm["Properties"]["Namespace"], alarm["Properties"]["MetricName"], value["Name"]) == (namespace, metric, dimension)
        and (alarm["Properties"]["Threshold"], alarm["Properties"]["ComparisonOperator"]) == (0, "GreaterThanThreshold")
    }


def test_every_flow_has_its_functions() -> None:
    assert {name: of(name)["Handler"] for name in FUNCTIONS} == {
        "UploadFunction": "upload.handler",
        "UploadTidyFunction": "upload.tidy",
        "ObjectEventsFunction": "object_events.handler",
        "ObjectEventsPullFunction": "object_events.pull",
        "ObjectEventsWebhookFunction": "object_events.webhook_handler",
        "ProjectDeletionApiFunction": "project_deletion.api_handler",
        "ProjectDeletionFanOutFunction": "project_deletion.fan_out_handler",
        "ProjectDeletionWorkerFunction": "project_deletion.worker_handler",
        "ReconciliationApiFunction": "reconciliation.api_handler",
        "ReconciliationStepFunction": "reconciliation.step_handler",
        "MigrationApiFunction": "migration.api_handler",
        "MigrationStepFunction": "migration.step_handler",
        "AnalyticsFunction": "analytics.handler",
        "DiagnosticsFunction": "diagnostics.handler",
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_handler_is_a_function_of_its_file(name: str) -> None:
    module, function = of(name)["Handler"].split(".")
    assert f"\ndef {function}(event" in (ROOT / GLOBALS["CodeUri"] / f"{module}.py").read_text()


class TestApi:
    def routes(self) -> dict[str, set[str]]:
        """The routes of the template, by the function their integration calls."""
        routes: dict[str, set[str]] = {}
        for route in of_type("AWS::ApiGatewayV2::Route").values():
            integration = re.fullmatch(r"integrations/\$\{(\w+)\}", route["Properties"]["Target"]["Fn::Sub"])
            assert integration
            function = named(of(integration[1])["IntegrationUri"])
            routes.setdefault(function, set()).add(route["Properties"]["RouteKey"])
        return routes

    def test_the_routes_are_the_public_paths(self) -> None:
        assert self.routes() == PUBLIC_PATHS
        assert len(of_type("AWS::ApiGatewayV2::Route")) == sum(map(len, PUBLIC_PATHS.values()))

    @pytest.mark.parametrize("function", sorted(PUBLIC_PATHS))
    def test_a_handler_answers_exactly_the_routes_it_is_given(self, function: str) -> None:
        code = (ROOT / "functions" / f"{of(function)['Handler'].split('.')[0]}.py").read_text()
        answered = re.findall(r'^@api\.(get|post|put|patch|delete)\("([^"]+)"[,)]', code, re.MULTILINE)
        assert {f"{method.upper()} {path.replace('<', '{').replace('>', '}')}" for method, path in answered} == self.routes()[function]

    def test_every_route_leaves_it_to_the_functions_who_may(self) -> None:
        for route in of_type("AWS::ApiGatewayV2::Route").values():
            assert route["Properties"]["AuthorizationType"] == "NONE"

    @pytest.mark.parametrize("parameter", WITHOUT_DEFAULT)
    def test_no_stack_is_deployed_that_names_no_issuer(self, parameter: str) -> None:
        assert "Default" not in PARAMETERS[parameter]
        assert re.search(PARAMETERS[parameter]["AllowedPattern"], "") is None

    @pytest.mark.parametrize("parameter", ["TokenIssuer", "TokenJwksUrl"])
    @pytest.mark.parametrize(
        ("url", "is_taken"),
        [
            ("https://cognito-idp.eu-north-1.amazonaws.com/eu-north-1_Ab12Cd34E", True),
            ("https://tenant.eu.auth0.com/", True),
            ("http://127.0.0.1:4566/stocktake-issuer", True),
            ("http://issuer.example", False),
            ("http://127.0.0.1.example/", False),
            ("ftp://issuer.example", False),
            ("https://issuer.example/ and more", False),
        ],
    )
    def test_an_issuer_is_asked_over_tls_or_on_the_loopback(self, parameter: str, url: str, is_taken: bool) -> None:
        assert bool(re.search(PARAMETERS[parameter]["AllowedPattern"], url)) is is_taken

    def test_pages_of_no_origin_but_those_named_may_call_the_api(self) -> None:
        condition, cors, otherwise = of("Api")["CorsConfiguration"]["Fn::If"]
        assert (condition, otherwise) == ("HasApiOrigins", {"Ref": "AWS::NoValue"})
        assert cors["AllowOrigins"] == {"Ref": "ApiOrigins"}
        assert "AllowCredentials" not in cors
        assert {"authorization", "idempotency-key", "range", "if-none-match", "stocktake-metadata"} <= set(cors["AllowHeaders"])
        assert {"etag", "content-range", "retry-after", "idempotency-replayed"} <= set(cors["ExposeHeaders"])
        assert set(cors["AllowMethods"]) == {route.method for route in ROUTES}

    def test_api_gateway_may_call_each_function_for_this_api_only(self) -> None:
        allowed = {named(permission["Properties"]["FunctionName"]) for permission in of_type("AWS::Lambda::Permission").values()}
        assert allowed == set(PUBLIC_PATHS)
        for permission in of_type("AWS::Lambda::Permission").values():
            assert "${Api}" in permission["Properties"]["SourceArn"]["Fn::Sub"]

    def test_integrations_use_payload_format_2(self) -> None:
        assert {row["Properties"]["PayloadFormatVersion"] for row in of_type("AWS::ApiGatewayV2::Integration").values()} == {"2.0"}

    def test_the_stage_throttles_and_logs_without_paths(self) -> None:
        stage = of("ApiStage")
        assert set(stage["DefaultRouteSettings"]) >= {"ThrottlingRateLimit", "ThrottlingBurstLimit"}
        assert stage["DefaultRouteSettings"]["DetailedMetricsEnabled"] is False  # every route's metrics are paid for one by one
        assert named(stage["AccessLogSettings"]["DestinationArn"]) in LOG_GROUPS
        dear = set(stage["RouteSettings"])
        assert {"POST /reconciliations", "POST /reconciliations/{run_id}/apply", "DELETE /projects/{project_id}"} <= dear
        waited_for = TEMPLATE["Resources"]["ApiStage"]["DependsOn"]  # a stage refuses settings of a route that is not there yet
        assert {of(route)["RouteKey"] for route in waited_for} == dear
        line = json.loads(stage["AccessLogSettings"]["Format"])
        assert line["route"] == "$context.routeKey"
        assert "$context.path" not in line.values()

    @pytest.mark.parametrize("function", sorted(PUBLIC_PATHS))
    def test_a_function_gives_up_before_the_api_does(self, function: str) -> None:
        assert timeout(function) < 30


class TestFunctions:
    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_each_has_a_log_group_of_its_own(self, function: str) -> None:
        group = of(function)["LoggingConfig"]["LogGroup"]["Ref"]
        assert group in LOG_GROUPS
        assert [other for other in FUNCTIONS if of(other)["LoggingConfig"]["LogGroup"]["Ref"] == group] == [function]

    @pytest.mark.parametrize("group", LOG_GROUPS)
    def test_logs_are_not_kept_for_ever(self, group: str) -> None:
        assert of(group)["RetentionInDays"] == {"Ref": "LogRetentionDays"}

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_each_has_a_role_of_its_own(self, function: str) -> None:
        role = named(of(function)["Role"])
        assert [other for other in FUNCTIONS if named(of(other)["Role"]) == role] == [function]
        assert "Policies" not in of(function)  # SAM would attach its broad managed policies

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_each_has_alarms_on_errors_and_throttles(self, function: str) -> None:
        assert function in alarms_on("AWS/Lambda", "Errors", "FunctionName")
        assert function in alarms_on("AWS/Lambda", "Throttles", "FunctionName")

    def test_a_chain_that_goes_round_by_a_queue_is_allowed_and_watched(self) -> None:
        # Lambda drops the messages of a function that is the 16th of a chain. Source: its guide, "recursive loop detection".
        looping = {"ProjectDeletionFanOutFunction", "ProjectDeletionWorkerFunction", "MigrationStepFunction"}
        assert {function for function in FUNCTIONS if of(function).get("RecursiveLoop") == "Allow"} == looping
        assert alarms_on("AWS/Lambda", "RecursiveInvocationsDropped", "FunctionName") == looping

    def test_the_code_runs_on_the_runtime_the_layer_is_built_for(self) -> None:
        layer = RESOURCES["CoreLayer"]
        assert [GLOBALS["Runtime"]] == layer["Properties"]["CompatibleRuntimes"] == ["python3.13"]
        assert GLOBALS["Architectures"] == layer["Properties"]["CompatibleArchitectures"] == [layer["Metadata"]["BuildArchitecture"]]
        assert GLOBALS["Layers"] == [{"Ref": "CoreLayer"}]
        assert "\nbuild-CoreLayer:" in (ROOT / layer["Properties"]["ContentUri"] / "Makefile").read_text()

    def test_the_reader_of_parquet_is_a_layer_of_the_function_that_sorts_inventories_alone(self) -> None:
        layer, core = RESOURCES["ParquetLayer"], RESOURCES["CoreLayer"]
        assert {function: of(function)["Layers"] for function in FUNCTIONS if "Layers" in of(function)} == {
            "ReconciliationStepFunction": [{"Ref": "ParquetLayer"}]  # SAM appends it to that of all functions
        }
        assert (layer["Metadata"], layer["Properties"]["CompatibleRuntimes"], layer["Properties"]["CompatibleArchitectures"]) == (
            core["Metadata"],
            core["Properties"]["CompatibleRuntimes"],
            core["Properties"]["CompatibleArchitectures"],
        )
        assert "\nbuild-ParquetLayer:" in (ROOT / layer["Properties"]["ContentUri"] / "Makefile").read_text()

    @pytest.mark.parametrize("layer", ["CoreLayer", "ParquetLayer"])
    def test_what_a_layer_installs_is_pinned_with_its_hashes(self, layer: str) -> None:
        folder = ROOT / RESOURCES[layer]["Properties"]["ContentUri"]
        wanted = re.findall(r"(?m)^([\w.-]+==[\w.]+)$", (folder / "requirements.in").read_text())
        locked = (folder / "requirements.txt").read_text()
        assert wanted and all(f"{pin} \\\n    --hash=sha256:" in locked for pin in wanted)
        assert "--require-hashes" in (folder / "Makefile").read_text()

    def test_every_setting_the_code_reads_is_set(self) -> None:
        code = (ROOT / "layers" / "core" / "stocktake" / "settings.py").read_text()
        read = set(re.findall(r'reader\.\w+\("([A-Z0-9_]+)"', code))
        assert len(read) > 15
        of_some = {name for function in FUNCTIONS for name in own_variables(function)}
        assert read <= set(GLOBALS["Environment"]["Variables"]) | of_some

    def test_the_bounds_of_the_settings_are_those_of_the_parameters(self) -> None:
        code = (ROOT / "layers" / "core" / "stocktake" / "settings.py").read_text()
        variables = GLOBALS["Environment"]["Variables"]
        for name, least, most in re.findall(r'reader\.number\("([A-Z_]+)", ([\d_]+), ([\d_]+)\)', code):
            if isinstance(variables[name], dict):
                parameter = PARAMETERS[variables[name]["Ref"]]
                assert int(least) <= parameter["MinValue"], name
                assert parameter["MaxValue"] <= int(most), name

    def test_the_environment_holds_no_secret(self) -> None:
        everywhere = list(GLOBALS["Environment"]["Variables"])
        named = [*everywhere, *(name for function in FUNCTIONS for name in own_variables(function))]
        names = [name for name in named if re.search("KEY|SECRET|PASSWORD|TOKEN", name)]
        about_tokens = [
            "TOKEN_ISSUER",
            "TOKEN_AUDIENCE",
            "TOKEN_JWKS_URL",
            "TOKEN_SCOPE_PREFIX",
            "TOKEN_PROJECTS_CLAIM",
        ]  # all of it public
        # and the ARNs, by which secrets are asked for
        arns = ["STORAGE_CREDENTIALS_SECRET", "SEALING_SECRET", "SEALING_KMS_KEY"]
        assert names == [*arns, *about_tokens, "R2_QUEUE_TOKEN_SECRET", "WEBHOOK_SECRET", *(["CDN_SECRET"] * 5)]

    def test_of_secrets_of_events_a_function_is_told_those_it_needs(self) -> None:
        told = {function: set(own_variables(function)) for function in FUNCTIONS if own_variables(function)}
        queue = {"R2_QUEUE_API", "R2_QUEUE_ACCOUNT", "R2_QUEUE_ID", "R2_QUEUE_TOKEN_SECRET"}
        assert told["ObjectEventsPullFunction"] == {"OBJECT_EVENTS_QUEUE_URL", *queue}
        assert told["ObjectEventsWebhookFunction"] == {"OBJECT_EVENTS_QUEUE_URL", "WEBHOOK_SECRET"}
        assert own_variables("ObjectEventsPullFunction")["R2_QUEUE_API"] == API

    def test_a_queue_is_told_to_the_functions_of_its_flow_alone(self) -> None:
        by_flow = {
            "ObjectEventsPull": ["OBJECT_EVENTS_QUEUE_URL"],
            "ObjectEventsWebhook": ["OBJECT_EVENTS_QUEUE_URL"],
            "ProjectDeletion": ["DELETION_BATCH_QUEUE_URL", "DELETION_DEAD_LETTER_QUEUE_URL", "DELETION_QUEUE_URL"],
            "Reconciliation": ["RECONCILIATION_STATE_MACHINE_ARN"],
            "Migration": ["MIGRATION_QUEUE_URL"],
        }
        for function in FUNCTIONS:
            names = sorted(name for name in own_variables(function) if name.endswith(("_QUEUE_URL", "_ARN")))
            assert names == next((own for flow, own in by_flow.items() if function.startswith(flow)), []), function

    def test_the_queues_of_dead_letters_are_told_to_diagnostics_alone_and_all_of_them(self) -> None:
        told = own_variables("DiagnosticsFunction")["DEAD_LETTER_QUEUES"]["Fn::Join"][1]
        by_name = dict(text["Fn::Sub"].removesuffix(".QueueName}").split("=${") for text in told)
        assert sorted(by_name.values()) == DEAD_ENDS
        assert list(by_name) == list(DEAD_LETTERS)
        assert [function for function in FUNCTIONS if "DEAD_LETTER_QUEUES" in own_variables(function)] == ["DiagnosticsFunction"]
        counted = [s for s in statements(of("DiagnosticsRole")) if "sqs:GetQueueAttributes" in s["Action"]]
        assert sorted(named(arn) for s in counted for arn in s["Resource"]) == DEAD_ENDS

    def test_the_environment_fits_with_the_longest_names(self) -> None:
        # Lambda takes 4 KB of names and values together. Source: its quotas.
        texts = {
            "AWS::StackName": "s" * 49,
            "AWS::Partition": "aws-us-gov",
            "AWS::Region": "ap-southeast-2",
            "AWS::AccountId": "1" * 12,
            "StorageBucketName": "b" * 63,
            "StorageEndpoint": "https://" + "a" * 32 + ".eu.r2.cloudflarestorage.com",
            "StorageRegion": "ap-southeast-2",
            "StorageCredentialsSecretArn": "arn:aws-us-gov:secretsmanager:ap-southeast-2:123456789012:secret:" + "s" * 60 + "-AbCdEf",
            "SealingKeysSecretArn": "arn:aws-us-gov:secretsmanager:ap-southeast-2:123456789012:secret:" + "s" * 60 + "-AbCdEf",
            "SealingKmsKeyArn": "",  # one of the two
            "R2QueueTokenSecretArn": "arn:aws-us-gov:secretsmanager:ap-southeast-2:123456789012:secret:" + "s" * 60 + "-AbCdEf",
            "R2QueueAccountId": "a" * 32,
            "R2QueueId": "a" * 32,
            "WebhookSecretArn": "arn:aws-us-gov:secretsmanager:ap-southeast-2:123456789012:secret:" + "s" * 60 + "-AbCdEf",
            "CdnZoneId": "c" * 32,
            "CdnTokenSecretArn": "arn:aws-us-gov:secretsmanager:ap-southeast-2:123456789012:secret:" + "s" * 60 + "-AbCdEf",
            "PublicBaseUrl": "https://" + "m" * 80,
            "DefaultCacheControl": "c" * 200,
            "AllowedTypes": "image/xxxxxxx," * 14,
            "ImportHosts": "images.of.some.provider.example.com," * 10,
            "SensitiveFields": "participant_name," * 10,
            "TokenIssuer": "https://" + "i" * 72,
            "TokenAudience": "a" * 80,
            "TokenJwksUrl": "https://" + "j" * 92,
            "TokenScopePrefix": "p" * 40,
        }
        names = dict.fromkeys(QUEUES, 80)

        def longest(value: Any) -> str:
            if isinstance(value, str):
                return re.sub(r"\$\{(.+?)\}", lambda found: longest({"Ref": found[1]}), value)
            if "Fn::If" in value:
                return max(map(longest, value["Fn::If"][1:]), key=len)
            if "Fn::Sub" in value:
                return longest(value["Fn::Sub"])
            if "Fn::Join" in value:
                separator, joined = value["Fn::Join"]
                return separator.join(map(longest, joined)) if isinstance(joined, list) else longest(joined)
            name = value["Ref"]
            if name.removesuffix(".QueueName") in names and name.endswith(".QueueName"):
                return "q" * names[name.removesuffix(".QueueName")]
            if name in names:  # a queue is named by its URL
                return f"https://sqs.ap-southeast-2.amazonaws.com/123456789012/{'q' * names[name]}"
            if name in RESOURCES:
                return "r" * 63 if name in BUCKETS else texts["AWS::StackName"] + "-" + name + "-ABCDEFGHIJKLM"
            return texts[name] if name in texts else str(PARAMETERS[name].get("MaxValue", PARAMETERS[name]["Default"]))

        def size(variables: dict[str, Any]) -> int:
            return sum(len(name) + len(longest(value)) for name, value in variables.items())

        assert size(GLOBALS["Environment"]["Variables"]) > 2000
        assert max(size(GLOBALS["Environment"]["Variables"] | own_variables(function)) for function in FUNCTIONS) < 4096

    def test_a_bucket_on_r2_dev_is_public_by_its_name_and_account(self) -> None:
        variables = GLOBALS["Environment"]["Variables"]
        assert variables["PUBLIC_BASE_URL"] == {
            "Fn::If": ["OnR2Dev", {"Fn::Sub": "https://${StorageBucketName}.${PublicR2AccountId}.r2.dev"}, {"Ref": "PublicBaseUrl"}]
        }
        unless, given = TEMPLATE["Conditions"]["OnR2Dev"]["Fn::And"]
        assert unless == {"Fn::Equals": [{"Ref": "PublicBaseUrl"}, ""]}
        assert given == {"Fn::Not": [{"Fn::Equals": [{"Ref": "PublicR2AccountId"}, ""]}]}


class TestPolicies:
    # Actions that know no resources: the only ones AWS grants on "*" alone.
    ANYWHERE = frozenset(
        {
            "logs:CreateLogDelivery",
            "logs:GetLogDelivery",
            "logs:UpdateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:DescribeResourcePolicies",
            "logs:DescribeLogGroups",
        }
    )

    @pytest.mark.parametrize("name", sorted([*ROLES, "StorageAccessPolicy"]))
    def test_a_role_names_its_resources(self, name: str) -> None:
        for statement in statements(of(name)):
            for resource in listed(statement.get("Resource", [])):
                text = json.dumps(resource)
                if resource == "*":
                    assert set(listed(statement["Action"])) <= self.ANYWHERE
                else:
                    assert "Ref" in text or "GetAtt" in text or "${" in text  # a resource of this stack or of a parameter
                    assert not re.search(r"(?<![/:])\*", text), text

    @pytest.mark.parametrize("name", ROLES)
    def test_a_role_names_its_actions(self, name: str) -> None:
        assert [action for statement in statements(of(name)) for action in listed(statement["Action"]) if "*" in action] == []

    @pytest.mark.parametrize("name", ROLES)
    def test_a_role_has_no_managed_policy_but_that_of_the_store(self, name: str) -> None:
        expected = {"Fn::If": ["HasStorageAccess", [{"Ref": "StorageAccessPolicy"}], {"Ref": "AWS::NoValue"}]}
        assert of(name).get("ManagedPolicyArns", expected) == expected

    @pytest.mark.parametrize("name", ROLES)
    def test_the_data_bucket_is_granted_on_aws_only(self, name: str) -> None:
        for policy in of(name)["Policies"]:
            if "${Bucket}" in json.dumps(policy):
                condition, _, otherwise = policy["Fn::If"]
                assert (condition, otherwise) == ("OnAws", {"Ref": "AWS::NoValue"})

    def test_only_the_flows_that_delete_may_delete_any_object(self) -> None:
        deleting = {
            name
            for name in ROLES
            for statement in statements(of(name))
            if "s3:DeleteObject" in listed(statement["Action"]) and "${Bucket}/*" in json.dumps(statement["Resource"])
        }
        assert deleting == {
            "UploadRole",
            "UploadTidyRole",
            "ProjectDeletionWorkerRole",
            "ReconciliationApiRole",
            "ReconciliationStepRole",
            "MigrationStepRole",
        }

    def test_whoever_aborts_an_upload_may_ask_whether_its_parts_are_gone(self) -> None:
        for statement in (statement for name in ROLES for statement in statements(of(name))):
            actions = listed(statement["Action"])
            assert ("s3:AbortMultipartUpload" in actions) <= ("s3:ListMultipartUploadParts" in actions)

    def test_of_a_deletions_functions_only_the_one_that_ends_it_forgets_operations(self) -> None:
        forgetting = {
            name
            for name in ("ProjectDeletionApiRole", "ProjectDeletionFanOutRole", "ProjectDeletionWorkerRole")
            for statement in statements(of(name))
            if "dynamodb:DeleteItem" in listed(statement["Action"]) and "OperationsTable" in json.dumps(statement["Resource"])
        }
        assert forgetting == {"ProjectDeletionFanOutRole"}

    def granted(self, role: str) -> set[tuple[str, str]]:
        """Gives the actions of a role, each with the table, index, bucket or parameter it is granted on."""
        pairs = set()
        for statement in statements(of(role)["Policies"]):
            for resource in listed(statement["Resource"]):
                text = json.dumps(resource)
                where = re.search(r"GetAtt\": \"(\w+)\.Arn|(\w+Table)\.Arn\}(/index/\w+)|(\$\{Bucket\}[^\"]*)|Ref\": \"(\w+)", text)
                assert where, text
                pairs |= {(action, "".join(filter(None, where.groups()))) for action in listed(statement["Action"])}
        return pairs

    def test_uploads_and_imports_alone_seal_and_only_uploads_ask_kms_to_open(self) -> None:
        sealing = {name for name in ROLES if "Sealing" in json.dumps(of(name))}
        assert sealing == {"UploadRole", "MigrationStepRole"}

    @pytest.mark.parametrize(
        ("role", "by_kms"), [("UploadRole", {"kms:GenerateDataKey", "kms:Decrypt"}), ("MigrationStepRole", {"kms:GenerateDataKey"})]
    )
    def test_keys_that_seal_are_granted_only_where_sealing_is_set_up(self, role: str, by_kms: set[str]) -> None:
        policies = {row["Fn::If"][0]: row["Fn::If"] for row in of(role)["Policies"] if "Fn::If" in row}
        for condition, actions, parameter in (
            ("SealsBySecret", {"secretsmanager:GetSecretValue"}, "SealingKeysSecretArn"),
            ("SealsByKms", by_kms, "SealingKmsKeyArn"),
        ):
            _, policy, otherwise = policies[condition]
            (statement,) = statements(policy)
            assert (set(listed(statement["Action"])), statement["Resource"]) == (actions, {"Ref": parameter})
            assert otherwise == {"Ref": "AWS::NoValue"}
            assert TEMPLATE["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}

    def test_only_what_deletes_reads_the_token_of_the_cdn(self) -> None:
        reading = {name for name in ROLES if "CdnTokenSecretArn" in json.dumps(of(name))}
        assert reading == {"ProjectDeletionFanOutRole", "ProjectDeletionWorkerRole", "UploadRole", "UploadTidyRole"}
        asked = {node["Ref"] for node in nodes(TEMPLATE["Rules"]["CdnIsWhole"]["Assertions"]) if is_ref(node)}
        assert asked == {"CdnTokenSecretArn", "PublicBaseUrl"}

    @pytest.mark.parametrize("role", ["UploadRole", "UploadTidyRole"])
    def test_uploads_reach_their_tables_their_bucket_and_nothing_else(self, role: str) -> None:
        granted = self.granted(role)
        assert {action.partition(":")[0] for action, _ in granted} <= {"logs", "dynamodb", "s3", "secretsmanager", "kms"}
        assert {where for action, where in granted if action.startswith("logs:")} == {role.replace("Role", "Logs")}
        indexes = {where for action, where in granted if "/index/" in where}
        assert indexes == {
            "ObjectsTable/index/by_object_id",
            "ObjectsTable/index/" + ("by_project" if role == "UploadRole" else "by_expiry"),
            "OperationsTable/index/by_kind",
        }
        assert not {action for action, where in granted if where == "ProjectsTable"} & {"dynamodb:DeleteItem"}

    def test_the_timer_writes_no_object_and_opens_no_project(self) -> None:
        granted = self.granted("UploadTidyRole")
        assert {where for action, where in granted if action == "s3:PutObject"} == {"${Bucket}/.stocktake/probe/*"}
        assert ("dynamodb:PutItem", "ProjectsTable") not in granted
        assert ("s3:DeleteObject", "${Bucket}/*") in granted

    def test_diagnostics_write_a_key_and_a_row_of_their_own_and_nothing_else(self) -> None:
        granted = self.granted("DiagnosticsRole")
        changing = {(action, where) for action, where in granted if re.search("Put|Update|Delete|Send|Start|Abort", action)}
        assert {where for action, where in changing if action.startswith("s3:")} == {"${Bucket}/.stocktake/probe/self-test/*"}
        assert {where for action, where in changing if action.startswith("dynamodb:")} == {"OperationsTable"}
        assert {action.partition(":")[0] for action, _ in granted} == {"logs", "dynamodb", "sqs", "s3"}
        for statement in statements(of("DiagnosticsRole")):
            writes = re.search("dynamodb:(Put|Update|Delete)", json.dumps(statement["Action"]))
            if writes:
                (keys,) = statement["Condition"].values()
                assert keys in ({"dynamodb:LeadingKeys": ["settings"]}, {"dynamodb:LeadingKeys": ["self-test-*"]})

    def test_analytics_writes_nothing_but_what_the_deployment_knows_of_itself(self) -> None:
        for statement in statements(of("AnalyticsRole")):
            writing = [action for action in listed(statement["Action"]) if re.search("Put|Update|Delete|Write|Send|Start", action)]
            if writing != ["logs:PutLogEvents"] and writing:
                assert statement["Condition"] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["settings"]}}

    @pytest.mark.parametrize(
        ("name", "secret"), [("ObjectEventsPullRole", "R2QueueTokenSecretArn"), ("ObjectEventsWebhookRole", "WebhookSecretArn")]
    )
    def test_what_carries_events_reads_its_secret_writes_the_queue_and_nothing_else(self, name: str, secret: str) -> None:
        granted = [(s["Action"], s["Resource"]) for s in statements(of(name)["Policies"])]
        logs, *others = granted
        assert logs[0] == ["logs:CreateLogStream", "logs:PutLogEvents"]
        assert others == [("sqs:SendMessage", {"Fn::GetAtt": "ObjectEventsQueue.Arn"}), ("secretsmanager:GetSecretValue", {"Ref": secret})]

    @pytest.mark.parametrize("name", ["ObjectEventsRole", "AnalyticsRole"])
    def test_flows_without_operations_write_settings_alone(self, name: str) -> None:
        for statement in statements(of(name)):
            writes = any(action in ("dynamodb:PutItem", "dynamodb:UpdateItem") for action in listed(statement["Action"]))
            if writes and "OperationsTable" in json.dumps(statement["Resource"]):
                assert statement["Condition"] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["settings"]}}

    def test_the_state_machine_may_call_the_step_function_alone(self) -> None:
        called = [s["Resource"] for s in statements(of("ReconciliationStateMachineRole")) if s["Action"] == "lambda:InvokeFunction"]
        assert called == [{"Fn::GetAtt": "ReconciliationStepFunction.Arn"}]

    def test_a_service_may_write_to_a_queue_only_for_this_stack(self) -> None:
        for policy in of_type("AWS::SQS::QueuePolicy").values():
            for statement in statements(policy):
                assert "aws:SourceArn" in json.dumps(statement["Condition"])
                assert statement["Action"] == "sqs:SendMessage"


class TestQueues:
    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_what_a_queue_starts_can_fail_without_losing_a_message(self, function: str) -> None:
        for source in sources(function):
            queue = of(named(source["Queue"]))
            assert queue["RedrivePolicy"]["maxReceiveCount"] == 5
            assert named(queue["RedrivePolicy"]["deadLetterTargetArn"]) in DEAD_ENDS
            assert queue["VisibilityTimeout"] >= 6 * timeout(function)
            assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]

    def test_every_consumed_queue_has_one_consumer_and_its_own_dead_letters(self) -> None:
        consumed = [named(source["Queue"]) for function in FUNCTIONS for source in sources(function)]
        assert sorted(consumed) == CONSUMED
        dead = [named(of(queue)["RedrivePolicy"]["deadLetterTargetArn"]) for queue in CONSUMED]
        assert len(set(dead)) == len(dead)

    @pytest.mark.parametrize("queue", CONSUMED)
    def test_a_dead_letter_queue_takes_from_its_queue_alone(self, queue: str) -> None:
        allow = of(named(of(queue)["RedrivePolicy"]["deadLetterTargetArn"]))["RedriveAllowPolicy"]
        name = of(queue)["QueueName"]["Fn::Sub"]
        assert allow["redrivePermission"] == "byQueue"
        assert [arn["Fn::Sub"].partition("${AWS::AccountId}:")[2] for arn in allow["sourceQueueArns"]] == [name]

    @pytest.mark.parametrize("queue", QUEUES)
    def test_every_queue_is_encrypted(self, queue: str) -> None:
        assert of(queue)["SqsManagedSseEnabled"] is True

    @pytest.mark.parametrize("queue", DEAD_ENDS)
    def test_a_dead_end_keeps_messages_as_long_as_it_can_and_raises_an_alarm(self, queue: str) -> None:
        assert of(queue)["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert queue in alarms_on("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName")

    def test_what_eventbridge_cannot_deliver_is_kept(self) -> None:
        targets = [target for rule in of_type("AWS::Events::Rule").values() for target in rule["Properties"]["Targets"]]
        # what these did not start, the next tick does
        ticking = (
            "UploadTidyTimer",
            "UndoWindowTimer",
            "ObjectEventsPullTimer",
            "QuarantinePurgeTimer",
            "QuarantineDrillTimer",
            "RecountTimer",
        )
        timers = {name: row for name, row in of_type("AWS::Scheduler::Schedule").items() if name not in ticking}
        targets += [schedule["Properties"]["Target"] for schedule in timers.values()]
        assert len(targets) == 3
        for target in targets:
            assert named(target["DeadLetterConfig"]["Arn"]) in DEAD_ENDS

    @pytest.mark.parametrize("step", ["purge", "drill"])
    def test_the_quarantine_is_purged_and_drilled_by_schedules_of_the_step_function(self, step: str) -> None:
        target = of(f"Quarantine{step.capitalize()}Timer")["Target"]
        assert (named(target["Arn"]), json.loads(target["Input"])) == ("ReconciliationStepFunction", {"step": step})
        (statement,) = of("QuarantineTimerRole")["Policies"][0]["PolicyDocument"]["Statement"]
        assert (statement["Action"], named(statement["Resource"])) == ("lambda:InvokeFunction", "ReconciliationStepFunction")

    @pytest.mark.parametrize("role", ["ReconciliationApiRole", "ReconciliationStepRole"])
    def test_only_the_project_of_drills_may_be_opened_by_a_reconciliation(self, role: str) -> None:
        statements = of(role)["Policies"][0]["PolicyDocument"]["Statement"]
        opening = [row for row in statements if row["Action"] == "dynamodb:PutItem"]
        assert [(named(row["Resource"]), row["Condition"]) for row in opening] == [
            ("ProjectsTable", {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["stocktake-drill"]}})
        ]


class TestEvents:
    def test_the_deletion_event_reaches_its_queue_as_its_detail(self) -> None:
        rule = of("DeletionRule")
        assert named(rule["EventBusName"]) == "DeletionBus"
        assert rule["EventPattern"] == {"source": ["stocktake"], "detail-type": ["ProjectDeletionRequested"]}
        (target,) = rule["Targets"]
        assert (named(target["Arn"]), target["InputPath"]) == ("DeletionQueue", "$.detail")

    def test_undo_windows_are_looked_at_by_a_timer_whatever_their_length_is_set_to(self) -> None:
        timer = of("UndoWindowTimer")
        assert "Condition" not in RESOURCES["UndoWindowTimer"]
        assert (named(timer["Target"]["Arn"]), json.loads(timer["Target"]["Input"])) == ("DeletionQueue", {"step": "windows"})
        (statement,) = statements(of(named(timer["Target"]["RoleArn"]))["Policies"])
        assert (statement["Action"], statement["Resource"]) == ("sqs:SendMessage", {"Fn::GetAtt": "DeletionQueue.Arn"})
        assert (PARAMETERS["UndoDays"]["MinValue"], PARAMETERS["UndoDays"]["MaxValue"]) == (0, 90)
        told = {function for function in FUNCTIONS if "UNDO_DAYS" in own_variables(function)}
        assert told == {"ProjectDeletionApiFunction"}

    def test_nothing_is_moved_back_or_swept_before_the_last_worker_that_sets_aside_is_dead(self) -> None:
        assert timeout("ProjectDeletionWorkerFunction") * 1000 < WORKER_MS

    def test_bucket_events_take_one_of_two_roads(self) -> None:
        condition, direct, bridge = of("DataBucket")["NotificationConfiguration"]["Fn::If"]
        assert condition == "DirectEvents"
        assert {row["Event"] for row in direct["QueueConfigurations"]} == {
            "s3:ObjectCreated:*",
            "s3:ObjectRemoved:*",
            "s3:LifecycleExpiration:*",
        }
        assert {named(row["Queue"]) for row in direct["QueueConfigurations"]} == {"ObjectEventsQueue"}
        assert bridge == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
        assert RESOURCES["ObjectEventsRule"]["Condition"] == "EventsByBridge"

    def test_the_timer_of_uploads_starts_tidy_and_leaves_a_lost_start_to_the_next(self) -> None:
        timer = of("UploadTidyTimer")
        assert timer["ScheduleExpression"] == {"Ref": "TidySchedule"}
        assert timer["FlexibleTimeWindow"] == {"Mode": "OFF"}
        assert named(timer["Target"]["Arn"]) == "UploadTidyFunction"
        assert timer["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
        (statement,) = statements(of(named(timer["Target"]["RoleArn"]))["Policies"])
        assert (statement["Action"], statement["Resource"]) == ("lambda:InvokeFunction", {"Fn::GetAtt": "UploadTidyFunction.Arn"})

    def test_a_tidying_ends_before_the_next_begins(self) -> None:
        minutes = re.fullmatch(r"rate\((\d+) minutes\)", PARAMETERS["TidySchedule"]["Default"])
        assert minutes
        assert timeout("UploadTidyFunction") < 60 * int(minutes[1])
        # Scheduler leaves its call to Lambda, whose own retries and queue know nothing of the schedule
        invoking = of("UploadTidyFunction")["EventInvokeConfig"]
        assert invoking["MaximumRetryAttempts"] == 0
        assert invoking["MaximumEventAgeInSeconds"] < 60 * int(minutes[1])

    def test_a_call_past_the_queue_that_fails_for_good_ends_in_the_same_dead_letter_queue(self) -> None:
        assert of("ObjectEventsFunction")["DeadLetterQueue"] == {
            "Type": "SQS",
            "TargetArn": {"Fn::GetAtt": "ObjectEventsDeadLetterQueue.Arn"},
        }
        assert "EventInvokeConfig" not in of("ObjectEventsFunction")  # Lambda's own two retries
        sending = [s["Resource"] for s in statements(of("ObjectEventsRole")) if "sqs:SendMessage" in listed(s["Action"])]
        assert sending == [{"Fn::GetAtt": "ObjectEventsDeadLetterQueue.Arn"}]

    def test_a_topic_that_is_named_reaches_the_queue_and_no_other_does(self) -> None:
        assert RESOURCES["ObjectEventsSubscription"]["Condition"] == "EventsByTopic"
        subscription = of("ObjectEventsSubscription")
        assert (subscription["TopicArn"], named(subscription["Endpoint"])) == ({"Ref": "ObjectEventsTopicArn"}, "ObjectEventsQueue")
        assert named(subscription["RedrivePolicy"]["deadLetterTargetArn"]) == "ObjectEventsUndeliveredQueue"
        for policy in ("ObjectEventsQueuePolicy", "ObjectEventsUndeliveredQueuePolicy"):
            (condition, statement, otherwise) = next(
                node["Fn::If"] for node in nodes(of(policy)) if isinstance(node, dict) and "EventsByTopic" in node.get("Fn::If", ())
            )
            assert (condition, otherwise) == ("EventsByTopic", {"Ref": "AWS::NoValue"})
            assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
            assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Ref": "ObjectEventsTopicArn"}}}

    @pytest.mark.parametrize(("part", "condition"), [("ObjectEventsPull", "PullsR2"), ("ObjectEventsWebhook", "TakesWebhook")])
    def test_what_carries_events_is_there_only_where_it_is_set_up(self, part: str, condition: str) -> None:
        theirs = [name for name in RESOURCES if name.startswith(part)]
        assert len(theirs) >= 5
        assert {RESOURCES[name].get("Condition") for name in theirs} == {condition}

    def test_the_path_of_the_webhook_is_there_only_where_a_secret_is_shared(self) -> None:
        assert RESOURCES["TakeR2MessagesRoute"]["Condition"] == "TakesWebhook"
        assert TEMPLATE["Conditions"]["TakesWebhook"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "WebhookSecretArn"}, ""]}]}

    def test_a_pull_leaves_a_lost_start_to_the_next_and_ends_before_its_leases_do(self) -> None:
        timer = of("ObjectEventsPullTimer")
        assert (timer["ScheduleExpression"], named(timer["Target"]["Arn"])) == ({"Ref": "R2PullSchedule"}, "ObjectEventsPullFunction")
        assert timer["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
        assert of("ObjectEventsPullFunction")["EventInvokeConfig"]["MaximumRetryAttempts"] == 0
        assert timeout("ObjectEventsPullFunction") * 1000 <= LEASE_MS
        (statement,) = statements(of(named(timer["Target"]["RoleArn"]))["Policies"])
        assert (statement["Action"], statement["Resource"]) == ("lambda:InvokeFunction", {"Fn::GetAtt": "ObjectEventsPullFunction.Arn"})

    def test_the_schedule_only_compares(self) -> None:
        assert json.loads(of("ReconciliationTimer")["Target"]["Input"]) == {"action": "compare"}
        assert named(of("ReconciliationTimer")["Target"]["Arn"]) == "ReconciliationStateMachine"


class TestTables:
    @pytest.mark.parametrize("role", sorted(SHAPES))
    def test_a_table_is_as_diagnostics_expect_it(self, role: str) -> None:
        table, wanted = of(f"{role.title()}Table"), SHAPES[role]
        assert tuple(part["AttributeName"] for part in table["KeySchema"]) == wanted.key
        made = {index["IndexName"]: index for index in table.get("GlobalSecondaryIndexes", ())}
        assert set(made) == set(wanted.indexes)
        for name, index in wanted.indexes.items():
            assert tuple(part["AttributeName"] for part in made[name]["KeySchema"]) == index.key
            projection = made[name]["Projection"]
            assert (projection["ProjectionType"] == "ALL") is (index.carries is None)
            assert (index.carries or frozenset()) == frozenset(projection.get("NonKeyAttributes", ()))
        assert table.get("TimeToLiveSpecification", {}).get("AttributeName", "") == wanted.expires_by
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}

    @pytest.mark.parametrize("table", TABLES)
    def test_a_table_can_be_recovered_and_outlives_the_stack(self, table: str) -> None:
        assert of(table)["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert of(table)["SSESpecification"] == {"SSEEnabled": True}
        assert of(table)["BillingMode"] == "PAY_PER_REQUEST"
        assert of(table)["DeletionProtectionEnabled"] == {"Ref": "TableDeletionProtection"}
        assert (RESOURCES[table]["DeletionPolicy"], RESOURCES[table]["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")

    def test_the_keys_are_those_of_the_ledger(self) -> None:
        def keys(of_what: dict[str, Any]) -> list[str]:
            return [key["AttributeName"] for key in of_what["KeySchema"]]

        assert {table: keys(of(table)) for table in TABLES} == {
            "ObjectsTable": ["shard", "key"],
            "ProjectsTable": ["project", "part"],
            "OperationsTable": ["operation_id", "part"],
        }
        assert {index["IndexName"]: keys(index) for table in TABLES for index in of(table).get("GlobalSecondaryIndexes", ())} == {
            "by_object_id": ["object_id"],
            "by_project": ["project", "key"],
            "by_expiry": ["shard", "expires_at"],
            "by_kind": ["kind", "created_at"],
        }

    def test_only_operations_are_tidied_by_time(self) -> None:
        assert [table for table in TABLES if "TimeToLiveSpecification" in of(table)] == ["OperationsTable"]


class TestBuckets:
    @pytest.mark.parametrize("bucket", BUCKETS)
    def test_a_bucket_is_private_encrypted_and_kept(self, bucket: str) -> None:
        assert set(of(bucket)["PublicAccessBlockConfiguration"].values()) == {True}
        assert of(bucket)["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        assert "BucketEncryption" in of(bucket)
        assert (RESOURCES[bucket]["DeletionPolicy"], RESOURCES[bucket]["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")

    @pytest.mark.parametrize("bucket", BUCKETS)
    def test_a_bucket_refuses_what_is_not_encrypted_on_its_way(self, bucket: str) -> None:
        (policy,) = [row for row in of_type("AWS::S3::BucketPolicy").values() if named(row["Properties"]["Bucket"]) == bucket]
        (statement,) = statements(policy)
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert len(statement["Resource"]) == 2

    @pytest.mark.parametrize("bucket", BUCKETS)
    def test_a_bucket_gives_up_unfinished_multipart_uploads(self, bucket: str) -> None:
        rules = of(bucket)["LifecycleConfiguration"]["Rules"]
        assert {"DaysAfterInitiation": 7} in [rule.get("AbortIncompleteMultipartUpload") for rule in rules]

    def test_pages_may_put_to_the_bucket_only_from_origins_that_are_named(self) -> None:
        condition, cors, otherwise = of("DataBucket")["CorsConfiguration"]["Fn::If"]
        assert (condition, otherwise) == ("HasUploadOrigins", {"Ref": "AWS::NoValue"})
        (rule,) = cors["CorsRules"]
        assert rule["AllowedOrigins"] == {"Ref": "UploadOrigins"}
        assert (set(rule["AllowedMethods"]), rule["ExposedHeaders"]) == ({"PUT", "GET", "HEAD"}, ["ETag"])
        assert TEMPLATE["Conditions"]["HasUploadOrigins"] == {
            "Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "UploadOrigins"}]}, ""]}]
        }

    def test_reports_expire_and_what_was_erased_is_remembered_for_ever(self) -> None:
        rules = of("OperationsBucket")["LifecycleConfiguration"]["Rules"]
        expiring = ["reconciliations/", "exports/", "migrations/", "inventories/sorted/"]
        assert [rule["Prefix"] for rule in rules if "ExpirationInDays" in rule] == expiring

    def test_only_the_step_that_ends_a_deletion_writes_what_was_erased(self) -> None:
        writing = {
            name
            for name in ROLES
            for statement in statements(of(name))
            if "s3:PutObject" in listed(statement["Action"]) and "/tombstones/" in json.dumps(statement["Resource"])
        }
        assert writing == {"ProjectDeletionFanOutRole"}

    def test_no_lifecycle_rule_expires_objects_of_the_data_bucket(self) -> None:
        assert "Expiration" not in json.dumps(of("DataBucket")["LifecycleConfiguration"])


class TestParameters:
    @pytest.mark.parametrize("name", sorted(PARAMETERS))
    def test_a_parameter_has_type_default_bounds_and_description(self, name: str) -> None:
        parameter = PARAMETERS[name]
        assert {"Type", "Description"} <= set(parameter)
        if name in WITHOUT_DEFAULT:
            assert "Default" not in parameter
            return
        if "AllowedValues" in parameter:
            assert parameter["Default"] in parameter["AllowedValues"]
        elif parameter["Type"] == "Number":
            assert parameter["MinValue"] <= parameter["Default"] <= parameter["MaxValue"]
        elif parameter["Type"] == "CommaDelimitedList":
            assert parameter["Default"] == ""  # and the function checks the words
        else:
            assert re.search(parameter["AllowedPattern"], parameter["Default"])

    @pytest.mark.parametrize("name", sorted(name for name, row in PARAMETERS.items() if row["Type"] == "Number"))
    def test_a_number_says_its_unit(self, name: str) -> None:
        assert re.search(r"\b(bytes|[Ss]econds?|[Dd]ays|MB|percent|count)\b", PARAMETERS[name]["Description"])

    def test_credentials_come_by_reference_alone(self) -> None:
        secret = [name for name in PARAMETERS if re.search("Key|Secret|Password|Credential", name)]
        assert secret == [
            "StorageCredentialsSecretArn",
            "StorageKmsKeyArn",
            "CdnTokenSecretArn",
            "R2QueueTokenSecretArn",
            "WebhookSecretArn",
            "SealingKeysSecretArn",
            "SealingKmsKeyArn",
        ]
        pattern = PARAMETERS["StorageCredentialsSecretArn"]["AllowedPattern"]
        assert re.search(pattern, "arn:aws:secretsmanager:eu-west-1:123456789012:secret:store/r2-AbC123")
        assert not re.search(pattern, "AKIAIOSFODNN7EXAMPLE")

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("StorageEndpoint", "https://abc.r2.cloudflarestorage.com", "s3.example.org"),
            ("StorageEndpoint", "http://127.0.0.1:8333", "https://user@host"),
            ("PublicBaseUrl", "https://media.example.org/a", "https://media.example.org/"),
            ("StorageBucketName", "my.bucket-1", "my/bucket"),
            ("ReconciliationSchedule", "cron(0 3 ? * MON *)", "daily"),
            ("AlarmTopicArn", "arn:aws:sns:eu-west-1:123456789012:alarms", "alarms"),
            ("ObjectEventsTopicArn", "arn:aws:sns:eu-west-1:123456789012:events", "events"),
            ("R2QueueId", "0123456789abcdef0123456789abcdef", "my-queue"),
            ("R2PullSchedule", "rate(5 minutes)", "5 minutes"),
            ("StorageRegion", "auto", "EU West"),
        ],
    )
    def test_a_pattern_takes_what_is_right_and_refuses_what_is_not(self, name: str, good: str, bad: str) -> None:
        assert re.search(PARAMETERS[name]["AllowedPattern"], good)
        assert not re.search(PARAMETERS[name]["AllowedPattern"], bad)

    def test_an_upload_fits_a_synchronous_payload_as_base64(self) -> None:
        assert PARAMETERS["MaxUploadBytes"]["MaxValue"] * 4 / 3 < 6 * 1024 * 1024 - 64 * 1024  # the envelope's headers

    def test_only_the_local_stack_says_that_its_final_sweep_comes_before_the_last_url_has_ended(self) -> None:
        assert PARAMETERS["EarlySweepSeconds"]["Default"] == 0
        config = tomllib.loads((ROOT / "samconfig.toml").read_text())
        deploys = {name: row["deploy"]["parameters"].get("parameter_overrides", []) for name, row in config.items() if name != "version"}
        assert [name for name, pairs in deploys.items() if "EarlySweepSeconds" in str(pairs)] == ["local"]

    @pytest.mark.parametrize(
        ("given", "is_taken"),
        [
            ({}, True),
            ({"EarlyGraceSeconds": "1"}, False),
            ({"EarlySweepSeconds": "1"}, False),
            ({"EarlyGraceSeconds": "86400", "EarlySweepSeconds": "1", "TrialStack": "nothing-in-it-is-to-be-kept"}, True),
        ],
        ids=["as it is", "grace", "sweep", "a trial"],
    )
    def test_no_wait_is_cut_short_but_where_nothing_is_to_be_kept(self, given: dict[str, str], is_taken: bool) -> None:
        rule = TEMPLATE["Rules"]["EarlyIsForTrials"]
        parameters = {name: str(row["Default"]) for name, row in PARAMETERS.items() if "Default" in row} | given
        applies = is_true(rule["RuleCondition"], parameters)
        assert (not applies or all(is_true(row["Assert"], parameters) for row in rule["Assertions"])) == is_taken

    def test_only_the_local_stack_is_a_trial(self) -> None:
        assert PARAMETERS["TrialStack"]["Default"] == ""
        config = tomllib.loads((ROOT / "samconfig.toml").read_text())
        assert [name for name, row in config.items() if "TrialStack" in str(row)] == ["local"]

    def test_every_parameter_is_shown_in_one_group(self) -> None:
        groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        shown = [name for group in groups for name in group["Parameters"]]
        assert sorted(shown) == sorted(PARAMETERS)

    def test_every_parameter_is_used(self) -> None:
        used = {
            node["Ref"] for section in ("Globals", "Conditions", "Rules", "Resources") for node in nodes(TEMPLATE[section]) if is_ref(node)
        }
        assert set(PARAMETERS) <= used

    def test_a_foreign_store_must_be_named_whole(self) -> None:
        asked = {node["Ref"] for node in nodes(TEMPLATE["Rules"]["ForeignStoreIsWhole"]["Assertions"]) if is_ref(node)}
        assert {"StorageBucketName", "StorageCredentialsSecretArn", "StorageRegion"} <= asked

    def test_a_queue_of_r2_must_be_named_whole(self) -> None:
        asked = {node["Ref"] for node in nodes(TEMPLATE["Rules"]["R2QueueIsWhole"]["Assertions"]) if is_ref(node)}
        assert asked == {"R2QueueAccountId", "R2QueueTokenSecretArn"}

    @pytest.mark.parametrize("environment", ["local", "dev", "prod"])
    def test_samconfig_gives_values_the_template_takes(self, environment: str) -> None:
        config = tomllib.loads((ROOT / "samconfig.toml").read_text())[environment]["deploy"]["parameters"]
        for pair in config["parameter_overrides"]:
            name, value = pair.split("=", 1)
            parameter = PARAMETERS[name]
            if "AllowedValues" in parameter:
                assert value in map(str, parameter["AllowedValues"]), name
            elif parameter["Type"] == "Number":
                assert parameter["MinValue"] <= int(value) <= parameter["MaxValue"], name
            else:
                assert re.search(parameter["AllowedPattern"], value), name


def is_true(node: Any, parameters: Mapping[str, str]) -> Any:
    """Works out a condition of CloudFormation's rules."""
    match node:
        case {"Ref": name}:
            return parameters[name]
        case {"Fn::Equals": [one, other]}:
            return is_true(one, parameters) == is_true(other, parameters)
        case {"Fn::Not": [of]}:
            return not is_true(of, parameters)
        case {"Fn::Or": several}:
            return any(is_true(of, parameters) for of in several)
    return node


def is_ref(node: Any) -> bool:
    return isinstance(node, dict) and set(node) == {"Ref"}


class TestAlarms:
    @pytest.mark.parametrize("alarm", sorted(of_type("AWS::CloudWatch::Alarm")))
    def test_an_alarm_says_what_happened_and_reaches_the_topic(self, alarm: str) -> None:
        assert of(alarm)["AlarmActions"] == {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
        assert of(alarm)["AlarmDescription"]
        assert of(alarm)["TreatMissingData"] == "notBreaching"

    def test_the_api_and_the_state_machine_are_watched(self) -> None:
        assert alarms_on("AWS/ApiGateway", "5xx", "ApiId") == {"Api"}
        assert alarms_on("AWS/States", "ExecutionsFailed", "StateMachineArn") == {"ReconciliationStateMachine"}
        assert alarms_on("AWS/States", "ExecutionsTimedOut", "StateMachineArn") == {"ReconciliationStateMachine"}

    def test_an_alarm_lives_no_longer_than_what_it_watches(self) -> None:
        for name, alarm in of_type("AWS::CloudWatch::Alarm").items():
            for dimension in alarm["Properties"]["Dimensions"]:
                if alarm["Properties"]["Namespace"] == NAMESPACE:
                    continue  # ours watch the stack and what happens in it
                assert RESOURCES[named(dimension["Value"])].get("Condition") == alarm.get("Condition"), name


class TestMetrics:
    def test_every_metric_is_on_the_dashboard_and_none_that_is_not_told(self) -> None:
        shown = {*re.findall(r'\["Stocktake", "(\w+)"', self.body()), *re.findall(r'MetricName="(\w+)"', self.body().replace("\\", ""))}
        assert shown == {metric.name for metric in METRICS}

    def test_a_widget_searches_by_what_its_metric_is_told_by(self) -> None:
        by = {metric.name: metric.by for metric in METRICS}
        searches = re.findall(r'SEARCH\(\'{Stocktake,service,(\w+)} MetricName="(\w+)"', self.body().replace("\\", ""))
        assert searches
        assert all(by[name] == dimension for dimension, name in searches)

    def test_the_dashboard_is_json_that_shows_every_dead_letter_queue(self) -> None:
        widgets = json.loads(self.body().replace("${!", "${"))["widgets"]
        assert all(widget["properties"]["region"] == "${AWS::Region}" and widget["properties"]["title"] for widget in widgets)
        queues = {name for name in of_type("AWS::SQS::Queue") if re.search("DeadLetter|Undelivered", name)}
        assert set(re.findall(r"\$\{(\w+)\.QueueName\}", self.body())) == queues

    def test_an_alarm_of_ours_watches_a_metric_as_it_is_told(self) -> None:
        by = {metric.name: metric.by for metric in METRICS}
        watched = {}
        for alarm in of_type("AWS::CloudWatch::Alarm").values():
            one = alarm["Properties"]
            if one["Namespace"] == NAMESPACE:
                stack, *rest = one["Dimensions"]
                assert stack == {"Name": "service", "Value": {"Ref": "AWS::StackName"}}
                assert [dimension["Name"] for dimension in rest] in ([], [by[one["MetricName"]]])
                watched[one["MetricName"]] = [dimension["Value"] for dimension in rest]
        assert watched == {
            "Deletions": ["INCOMPLETE"],
            "Runs": ["INCOMPLETE"],
            "Findings": ["missing"],
            "Events": ["marked_missing"],
            "CountDrift": [],
        }
        assert GLOBALS["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}

    def test_the_page_of_operation_says_what_each_metric_means(self) -> None:
        text = (ROOT / "docs" / "operate.md").read_text()
        for metric in METRICS:
            assert f"| `{metric.name}` |" in text, metric.name

    def body(self) -> str:
        return str(of("Dashboard")["DashboardBody"]["Fn::Sub"])


class TestStateMachine:
    def tasks(self) -> dict[str, Any]:
        inner = STATE_MACHINE["States"]["Walk ranges"]["ItemProcessor"]["States"]
        return {name: state for name, state in (STATE_MACHINE["States"] | inner).items() if state["Type"] == "Task"}

    def test_it_is_given_everything_its_definition_leaves_open(self) -> None:
        given = set(of("ReconciliationStateMachine")["DefinitionSubstitutions"])
        assert set(re.findall(r"\$\{(\w+)\}", json.dumps(STATE_MACHINE))) == given
        assert (ROOT / of("ReconciliationStateMachine")["DefinitionUri"]).is_file()

    def test_every_next_state_exists(self) -> None:
        for machine in (STATE_MACHINE, STATE_MACHINE["States"]["Walk ranges"]["ItemProcessor"]):
            states = machine["States"]
            assert machine["StartAt"] in states
            for state in states.values():
                own = {name: value for name, value in state.items() if name != "ItemProcessor"}
                for node in nodes(own):
                    if isinstance(node, dict):
                        assert {value for key, value in node.items() if key in ("Next", "Default")} <= set(states)

    def test_every_step_the_function_knows_has_a_task(self) -> None:
        steps = {task["Parameters"]["Payload"]["step"] for task in self.tasks().values() if "Payload" in task["Parameters"]}
        known = {"plan", "sort_inventory", "plan_again", "walk", "compare_runs", "summarise", "fail", "apply", "fail_apply"}
        assert steps | {"walk"} == known
        assert STATE_MACHINE["States"]["Walk ranges"]["ItemProcessor"]["States"]["Name step"]["Result"] == "walk"

    def test_every_task_is_tried_again_when_lambda_is_at_fault(self) -> None:
        for task in self.tasks().values():
            retried = {error for retry in task["Retry"] for error in retry["ErrorEquals"]}
            assert {"Lambda.ServiceException", "Lambda.TooManyRequestsException"} <= retried
            assert all(retry["BackoffRate"] > 1 and retry["JitterStrategy"] == "FULL" for retry in task["Retry"])

    def test_no_failure_ends_a_run_unrecorded(self) -> None:
        states = STATE_MACHINE["States"]
        for name, recorder in (
            ("Plan", "fail"),
            ("Sort inventory", "fail"),
            ("Plan again", "fail"),
            ("Walk ranges", "fail"),
            ("Summarise", "fail"),
            ("Apply", "fail_apply"),
        ):
            (catch,) = states[name]["Catch"]
            assert catch["ErrorEquals"] == ["States.ALL"]
            assert states[catch["Next"]]["Parameters"]["Payload"]["step"] == recorder
            assert states[states[catch["Next"]]["Next"]]["Type"] == "Fail"

    def test_the_steps_of_an_apply_are_told_for_which_turn_they_were_launched(self) -> None:
        for name in ("Apply", "Record apply failure"):
            assert STATE_MACHINE["States"][name]["Parameters"]["Payload"]["input.$"] == "$$.Execution.Input"

    def test_one_lost_range_fails_the_run(self) -> None:
        walk = STATE_MACHINE["States"]["Walk ranges"]
        assert walk["ToleratedFailurePercentage"] == 0
        assert walk["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}

    def test_what_is_left_of_a_round_is_cut_again_and_walked_until_nothing_is(self) -> None:
        states = STATE_MACHINE["States"]
        walk = states["Walk ranges"]
        assert walk["MaxConcurrencyPath"] == "$.workers"
        assert (walk["Next"], states["Plan again"]["Next"]) == ("Plan again", "Anything left")
        for choice, otherwise in (("Anything to walk", "Nothing to walk"), ("Anything left", "Compare runs")):
            assert states[choice]["Choices"][-1] == {"Variable": "$.walks", "BooleanEquals": True, "Next": "Walk ranges"}
            assert states[choice]["Default"] == otherwise
        assert states["Nothing to walk"]["Type"] == "Succeed"  # a run that was skipped is no failure, and alarms nobody

    def test_an_inventory_is_sorted_to_its_end_before_any_range_is_walked(self) -> None:
        states = STATE_MACHINE["States"]
        assert states["Anything to walk"]["Choices"][0] == {"Variable": "$.sorts", "BooleanEquals": True, "Next": "Sort inventory"}
        assert (states["Sort inventory"]["Next"], states["Inventory sorted"]["Default"]) == ("Inventory sorted", "Sort inventory")
        assert states["Inventory sorted"]["Choices"] == [{"Variable": "$.inventory.done", "BooleanEquals": True, "Next": "Walk ranges"}]

    def test_inventories_are_read_by_the_functions_of_reconciliation_alone(self) -> None:
        reading = {name for name in ROLES if "InventoryBucketName" in json.dumps(of(name))}
        assert reading == {"ReconciliationApiRole", "ReconciliationStepRole"}
        for name in reading:
            own = [s for s in statements(of(name)) if "InventoryBucketName" in json.dumps(s.get("Resource"))]
            assert {action for s in own for action in listed(s["Action"])} == {"s3:GetObject", "s3:ListBucket"}

    def test_its_steps_may_make_what_they_write_depend_on_their_range(self) -> None:
        operations = [s for s in statements(of("ReconciliationStepRole")) if "OperationsTable" in json.dumps(s)]
        assert any("dynamodb:ConditionCheckItem" in s["Action"] for s in operations)

    @pytest.mark.parametrize("flow", ["Upload", "ObjectEvents", "ReconciliationApi", "ReconciliationStep", "MigrationStep"])
    def test_who_makes_records_may_check_that_a_name_has_none(self, flow: str) -> None:
        objects = [s for s in statements(of(f"{flow}Role")) if "ObjectsTable" in json.dumps(s)]
        assert any({"dynamodb:PutItem", "dynamodb:ConditionCheckItem"} <= set(s["Action"]) for s in objects)

    def test_its_role_knows_the_label_of_the_map(self) -> None:
        label = STATE_MACHINE["States"]["Walk ranges"]["Label"]
        assert f"-reconciliation/{label}:*" in json.dumps(of("ReconciliationStateMachineRole"))

    def test_its_logs_hold_no_keys(self) -> None:
        assert of("ReconciliationStateMachine")["Logging"]["IncludeExecutionData"] is False
