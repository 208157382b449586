"""The pages are held to the code: links lead somewhere, and what a page names exists; the page of operation names everything there is.

Read as text: no deployment, no AWS, no network.
"""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import unquote

import pytest
import yaml
from botocore import xform_name
from botocore.model import ServiceModel
from botocore.session import get_session
from pydantic import BaseModel

from stocktake import errors, model
from stocktake.diagnostics.store_looks import _SET_CORS
from stocktake.explanations import _COUNTED, SENTENCES
from stocktake.openapi import analytics, migration, project_deletion, reconciliation
from stocktake.routes import ROUTES
from stocktake_cli.commands.group import every
from tests.conftest import TEMPLATE, TemplateLoader

ROOT = TEMPLATE.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG")] + sorted(DOCS.rglob("*.md"))
# written by hand for who deploys and operates
GUIDES = [DOCS / f"{name}.md" for name in ("deploy", "deploy-r2", "deploy-s3", "deploy-another-store", "operate", "security")]
TEXT = TEMPLATE.read_text()
STACK: dict[str, Any] = yaml.load(TEXT, Loader=TemplateLoader)  # a subclass of SafeLoader
OPERATE = (DOCS / "operate.md").read_text()

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(text: str) -> str:
    """Returns a page without its blocks of code and what stands in backquotes."""
    return _CODE.sub("`", _FENCE.sub("", text))


def commands(page: Path) -> Iterator[str]:
    """Yields each line of a page that a shell would run, continued lines as one, and what stands in backquotes."""
    text = page.read_text()
    for kind, block in _FENCE.findall(text):
        if kind == "sh":
            yield from block.replace("\\\n", " ").splitlines()
    for code in _CODE.findall(_FENCE.sub("", text)):
        yield code.strip("`")


def anchors(text: str) -> set[str]:
    """Names what GitHub makes of a page's headings: lower case, no punctuation, a dash for each blank, and a number for the same again."""
    seen: Counter[str] = Counter()
    found = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#{1,6} (.+)$", _FENCE.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    wrong = []
    for target in re.findall(r"!?\[[^]]*\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (fragment and fragment not in anchors(file.read_text())):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_has_for_the_shell_can_be_read_by_one(page: Path) -> None:
    blocks = [textwrap.dedent(block) for kind, block in _FENCE.findall(page.read_text()) if kind == "sh"]
    if blocks:
        read = subprocess.run(["bash", "-n"], input="\n".join(blocks), capture_output=True, text=True, check=False)
        assert read.stderr == ""


def test_advice_of_the_code_names_pages_and_headings_that_are_there() -> None:
    pages = set(re.findall(r"docs/[\w-]+\.md", _SET_CORS))
    assert pages == {"docs/deploy-s3.md", "docs/deploy-r2.md"}
    for page in pages:
        assert re.search(r"^## \d\. Browsers(,| and) public URLs", (ROOT / page).read_text(), re.MULTILINE), page


def test_every_page_is_in_the_index_and_the_index_is_in_the_readme() -> None:
    listed = set(re.findall(r"\]\(([^)#\s]+\.md)\)", (DOCS / "README.md").read_text()))
    assert {str(page.relative_to(DOCS)) for page in PAGES if DOCS in page.parents} - {"README.md"} <= listed
    assert "](docs/README.md)" in (ROOT / "README.md").read_text()


class TestThePageOfOperation:
    def test_every_alarm_of_the_template_has_its_row_and_none_is_named_that_there_is_not(self) -> None:
        alarms = [name for name, resource in STACK["Resources"].items() if resource["Type"] == "AWS::CloudWatch::Alarm"]
        assert Counter(alarms) == Counter(rows("## Alarms"))
        assert set(re.findall(r"\b[A-Z]\w+Alarm\b", OPERATE)) <= set(alarms)

    def test_an_alarm_of_a_function_is_told_beside_its_log_group(self) -> None:
        groups = re.findall(
            r"^  (\w+)Logs:\n(?: {4}.*\n)+? {6}LogGroupName: !Sub /aws/lambda/\$\{AWS::StackName\}-(\S+)", TEXT, re.MULTILINE
        )
        assert set(re.findall(r"^\| `(\w+)ErrorsAlarm` \| `([a-z-]+)` \|", OPERATE, re.MULTILINE)) == set(groups)

    def test_every_problem_has_its_row_with_its_status_and_the_time_after_which_to_try_again(self) -> None:
        said = {
            kind: (int(status), again) for kind, status, again in re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \| ([^|]+) \|", OPERATE, re.M)
        }
        known = {kind.type: kind for kind in kinds(errors.StocktakeError)}
        assert said.keys() == known.keys()
        for name, (status, again) in said.items():
            assert status == known[name].status, name
            seconds = re.findall(r"after (\d+) s", again)
            assert seconds == ([] if known[name].retry_after is None else [str(known[name].retry_after)]), name

    def test_every_kind_of_finding_has_its_row_and_so_has_what_is_only_counted(self) -> None:
        assert Counter(rows("## Findings")) == Counter([*(f"{name}.{kind}" for name, kind in SENTENCES), *_COUNTED])

    @pytest.mark.parametrize(
        ("heading", "statuses"),
        [
            ("### Of a run", reconciliation.ListedRun),
            ("### Of a repair or a restoration", reconciliation.Repair),
            ("### Of a repair or a restoration", reconciliation.Restoration),
            ("### Of a plan", reconciliation.Planned),
            ("### Of a finding's repair", reconciliation.Finding),
            ("### Of a deletion", project_deletion.ListedDeletion),
            ("### Of a migration", migration.ListedMigration),
            ("### Of a recount", analytics.ListedRecount),
            ("### Of an export", migration.Export),
            ("### Of a quarantine entry", reconciliation.QuarantineEntry),
            ("### Of a drill", reconciliation.Drill),
            ("### Of an acknowledgement", reconciliation.Acknowledgement),
            ("### Of a record", model.State),
            ("### Of a project", model.ProjectState),
        ],
    )
    def test_every_status_has_its_row(self, heading: str, statuses: Any) -> None:
        if issubclass(statuses, BaseModel):
            said = statuses.model_fields["repair" if statuses is reconciliation.Finding else "status"].annotation
            assert get_origin(said) is Literal
            assert Counter(rows(heading)) == Counter(get_args(said))
        else:
            assert Counter(rows(heading)) == Counter(statuses)


def rows(heading: str) -> list[str]:
    """Reads what stands in backquotes in the first column of the tables under a heading, down to the next one of its level."""
    level = heading.split(" ")[0]
    text = re.split(rf"^#{{1,{len(level)}}} ", OPERATE.split(f"\n{heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)


def kinds(root: type[errors.StocktakeError]) -> Iterator[type[errors.StocktakeError]]:
    """Yields an error and all that are made of it in `errors`: others are of one flow's own, or of a test's, and no problem's."""
    if root.__module__ == errors.__name__:
        yield root
    for one in root.__subclasses__():
        yield from kinds(one)


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
class TestWhatAGuideNames:
    def test_each_stocktake_command_has_the_options_it_is_given(self, page: Path) -> None:
        for line in commands(page):
            for name, rest in re.findall(r"(?:^|\| |&& |`|; )stocktake ([a-z-]+)([^|&;#`]*)", line):
                assert name in every(), line
                known = {option for param in every()[name].params for option in param.opts}
                assert set(re.findall(r"(?<![\w-])--[a-z-]+", rest)) <= known, line

    def test_each_aws_command_has_the_options_it_is_given(self, page: Path) -> None:
        general = {"--query", "--output", "--region", "--endpoint-url", "--profile"}
        for line in commands(page):
            for service, operation, rest in re.findall(r"\baws ([a-z0-9-]+) ([a-z0-9-]+)((?:\"[^\"]*\"|'[^']*'|[^|;&])*)", line):
                if service in ("configure", "logs") or (service, operation) in WITHOUT_MODEL or operation == "wait":
                    continue
                taken = arguments(service, operation)
                given = set(re.findall(r"(?<![\w-])--[a-z0-9-]+", re.sub(r"\"[^\"]*\"|'[^']*'", "", rest)))
                assert {re.sub(r"^--(no-)?", "--", option) for option in given} - general <= taken, line

    def test_each_parameter_and_output_of_the_stack_is_one(self, page: Path) -> None:
        for line in commands(page):
            if "parameter-overrides" in line:
                said = set(re.findall(r"(?<![\w$-])([A-Z]\w+[a-z]\w*)=", line.split("parameter-overrides")[1]))
                assert said <= STACK["Parameters"].keys(), line
            assert set(re.findall(r"\$\(output (\w+)\)", line)) <= STACK["Outputs"].keys(), line

    def test_each_path_of_the_api_is_one(self, page: Path) -> None:
        said = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[a-z0-9/{}_.-]+)", page.read_text()))
        assert said <= {(route.method, route.path) for route in ROUTES}


WITHOUT_MODEL = {("s3", "cp"), ("s3", "sync")}
"""Commands of the AWS CLI that are more than one call."""


@cache
def described_by_the_sdk(service: str) -> ServiceModel:
    return get_session().get_service_model(service)


@cache
def arguments(service: str, operation: str) -> set[str]:
    """Names the options of a command of the AWS CLI, by the AWS SDK's description of the call."""
    described = described_by_the_sdk({"s3api": "s3"}.get(service, service))
    name = next(name for name in described.operation_names if xform_name(name, "-") == operation)
    shape = described.operation_model(name).input_shape
    return {f"--{xform_name(member, '-')}" for member in (shape.members if shape else ())} | OF_THE_CLI.get((service, operation), set())


OF_THE_CLI = {
    ("lambda", "create-function"): {"--zip-file"},
    ("sns", "subscribe"): {"--notification-endpoint"},
}
"""Options that the CLI has beside the members of the call, or by another name."""


def test_what_the_page_of_security_leans_on_is_there() -> None:
    text = (DOCS / "security.md").read_text()
    named = re.findall(r"`((?:layers|tests|tools|requirements)/[\w/.]*)(?:::(\w+))?`", text)
    assert len(named) > 50
    for path, test in named:
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(), test
    template = (ROOT / "tests" / "template" / "test_template.py").read_text()
    assert [test for test in re.findall(r"`(test_\w+)`", text) if f"def {test}(" not in template] == []


def test_every_function_has_its_row_on_the_page_of_security() -> None:
    functions = {name for name, resource in STACK["Resources"].items() if resource["Type"] == "AWS::Serverless::Function"}
    said = [line.split(" | ")[0] for line in (DOCS / "security.md").read_text().splitlines() if line.startswith("| `")]
    assert functions == {name for cell in said for name in re.findall(r"`(\w+Function)`", cell)}
