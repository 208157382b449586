"""What every kind of test shares: a marker by its directory, and the built functions."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import yaml

from tests.fast_moto import fast_moto
from tools.stack import Settings
from tools.stack.deployment import BUILT
from tools.stack.lifecycle import build_all

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# a time limit an example fails whenever the machine is busy
hypothesis.settings.register_profile("stocktake", deadline=None)
hypothesis.settings.load_profile("stocktake")

HERE = Path(__file__).parent
TEMPLATE = Path(__file__).parents[1] / "template.yaml"


_WITH_FOREIGN_STORE = ("tests/contract/", "tests/stack/test_whole_story.py", "tests/stack/test_uploads_over_http.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(item.path.relative_to(HERE).parts[0])


def pytest_collection_finish() -> None:
    """Spares the collector what stays for good: with moto and all that is collected, it took a third of the functions' tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands tests out one by one, but those that share servers or a browser together: their process starts them once, on its own ports.

    There are two such groups, about as long as one another, each with a local stack of its own: what needs the second make of store is one.

    pytest-xdist 3.8 means its groups for that, and writes them into an attribute that pytest 9.2 no longer reads.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ServersTogether(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(_WITH_FOREIGN_STORE):
                return "servers, one of them foreign"
            if nodeid.startswith("tests/browser/"):
                return "a browser"
            return "servers" if nodeid.startswith("tests/stack/") else nodeid

    return ServersTogether(config, log)


@contextmanager
def shown(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lets what a fixture prints through to the terminal: long work shows its progress."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():
        print(flush=True)
        yield


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest) -> Path:
    """.aws-sam/build, made by the real `sam build` from the sources as they are: a folder for each function and layer."""
    with shown(request):
        build_all(Settings.from_environment())
    return BUILT


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; where there is none, and none can be installed, the tests that ask for it say why they cannot run."""
    from tools.dashboard.chromium import NoBrowser, chromium  # playwright takes a moment, and few processes need it

    with ExitStack() as stack:
        try:
            started = stack.enter_context(chromium())
        except NoBrowser as error:
            pytest.skip(str(error))
        yield started


class TemplateLoader(yaml.CSafeLoader):
    """Reads what CloudFormation's short tags are said of, `X.Arn` of `!GetAtt X.Arn`; and nothing of those said of more than a word."""


TemplateLoader.add_multi_constructor("!", lambda loader, suffix, node: node.value if isinstance(node, yaml.ScalarNode) else None)


@cache
def template_resources() -> dict[str, Any]:
    resources: dict[str, Any] = yaml.load(TEMPLATE.read_text(), Loader=TemplateLoader)["Resources"]  # a subclass of SafeLoader
    return resources


@pytest.fixture(scope="session")
def table_definitions() -> dict[str, dict[str, Any]]:
    resources = template_resources()
    wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {
        name: {
            key: resources[f"{name.title()}Table"]["Properties"][key]
            for key in wanted
            if key in resources[f"{name.title()}Table"]["Properties"]
        }
        for name in ("objects", "projects", "operations")
    }


@pytest.fixture(scope="session")
def aws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment, fast_moto():
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        environment.delenv("AWS_PROFILE", raising=False)
        yield
