"""Which deployment is meant, and where its token comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stocktake_cli.failures import Misused, Refused
from stocktake_cli.profiles import choose

FILE = """
default = "prod"
[profiles.prod]
url = "https://prod.example/"
token_env = "PROD_TOKEN"
stack = "stocktake"
region = "eu-west-1"
[profiles.dev]
url = "https://dev.example"
token_command = "printf dev-token"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.toml").write_text(FILE)
    return {"STOCKTAKE_CONFIG": str(tmp_path / "config.toml"), "STOCKTAKE_HOME": str(tmp_path / ".local")}


def test_the_default_is_taken_where_none_is_named(environment: dict[str, str]) -> None:
    profile = choose(None, environment)
    assert (profile.name, profile.url, profile.stack) == ("prod", "https://prod.example", "stocktake")
    assert profile.aws == {"AWS_DEFAULT_REGION": "eu-west-1"}


def test_a_name_goes_before_the_variable_and_the_variable_before_a_url(environment: dict[str, str]) -> None:
    environment |= {"STOCKTAKE_PROFILE": "prod", "STOCKTAKE_URL": "https://other.example"}
    assert choose("dev", environment).name == "dev"
    assert choose(None, environment).name == "prod"
    del environment["STOCKTAKE_PROFILE"]
    assert choose(None, environment).url == "https://other.example"


def test_a_token_comes_from_the_command_the_variable_or_is_given_outright(environment: dict[str, str]) -> None:
    assert choose("dev", environment).fetch_token(environment) == "dev-token"
    assert choose("prod", environment).fetch_token({"PROD_TOKEN": " prod-token\n"}) == "prod-token"
    assert choose("prod", environment | {"STOCKTAKE_TOKEN": "given"}).fetch_token({}) == "given"


@pytest.mark.parametrize(
    "command", ["false", "true", "/no/such/program", "'"], ids=["fails", "says-nothing", "is-not-there", "is-no-command"]
)
def test_a_token_command_that_gives_none_is_a_refusal_that_says_so(environment: dict[str, str], command: str) -> None:
    Path(environment["STOCKTAKE_CONFIG"]).write_text(f'[profiles.p]\nurl = "https://p.example"\ntoken_command = "{command}"\n')
    with pytest.raises(Refused, match="token_command"):
        choose("p", environment).fetch_token(environment)


def test_a_profile_without_a_way_to_a_token_says_how_to_give_it_one(environment: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        choose("prod", environment).fetch_token({})
    assert "PROD_TOKEN" in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    ["[profiles.p]\nuri = 'x'", "profile = 1", "not toml", "[profiles.p]\nurl = 'http://api.example'"],
    ids=["field", "table", "syntax", "plain-http"],
)
def test_a_file_that_says_something_else_than_profiles_is_an_error(environment: dict[str, str], wrong: str) -> None:
    Path(environment["STOCKTAKE_CONFIG"]).write_text(wrong)
    with pytest.raises(Misused):
        choose("p", environment)


def test_a_name_that_is_none_says_which_there_are(environment: dict[str, str]) -> None:
    with pytest.raises(Misused) as misused:
        choose("staging", environment)
    assert "dev, local, prod" in misused.value.advice


def test_local_is_the_stack_that_runs_and_needs_no_entry(environment: dict[str, str]) -> None:
    with pytest.raises(Misused, match="no local stack runs"):
        choose("local", environment)
    home = Path(environment["STOCKTAKE_HOME"])
    home.mkdir()
    described = {"api_url": "http://abc.localhost:4566", "token": "t", "stack_name": "stocktake", "endpoint": "http://127.0.0.1:4566"}
    (home / "stack.json").write_text(json.dumps(described))
    profile = choose("local", environment)
    assert (profile.url, profile.fetch_token({}), profile.is_local) == ("http://abc.localhost:4566", "t", True)
    assert profile.aws["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"


def test_local_is_found_from_any_folder_below_the_sources(environment: dict[str, str], tmp_path: Path) -> None:
    del environment["STOCKTAKE_HOME"]
    (tmp_path / ".local").mkdir()
    described = {"api_url": "http://abc.localhost:4566", "token": "t", "stack_name": "s", "endpoint": "http://127.0.0.1:4566"}
    (tmp_path / ".local" / "stack.json").write_text(json.dumps(described))
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert choose("local", environment, here=below).stack == "s"


def test_no_token_is_shown_by_a_profile(environment: dict[str, str]) -> None:
    assert "secret" not in repr(choose("dev", environment | {"STOCKTAKE_TOKEN": "secret"}))
