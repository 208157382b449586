"""Profiles: which deployment is meant, and where its token comes from.

A TOML file in the platform's folder for settings (`stocktake profiles` says where):

```toml
default = "prod"

[profiles.prod]
url = "https://abc123.execute-api.eu-west-1.amazonaws.com"
token_command = "my-login --audience https://stocktake.example.com"   # prints a token; or token_env = "NAME_OF_A_VARIABLE"
stack = "stocktake"          # the CloudFormation stack, for what goes past the API
region = "eu-west-1"
aws_profile = "operators"
```

`local` needs no entry: it is the stack that `make up` started, found by its `.local/stack.json`.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from stocktake_cli.failures import Misused, Refused

LOCAL = "local"
SOURCES = Path(__file__).resolve().parents[2]
"""The repository, where the command line was installed from one."""
_FIELDS = ("url", "token_command", "token_env", "stack", "region", "aws_profile", "endpoint_url", "settings")
_LOGIN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Profile:
    """One deployment as an operator reaches it.

    Attributes:
        url: of the API, without a slash at the end; "" where only what lies behind it is reached.
        aws: variables that make an AWS SDK speak to the deployment's account.
        stack: the name of its CloudFormation stack.
        settings: settings of the functions that are not to be read from the stack but are these.
    """

    name: str
    url: str = ""
    token_command: str = ""
    token_env: str = ""
    token: str = field(default="", repr=False)
    stack: str = ""
    aws: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Says whether it is a stack on this machine."""
        return _is_loopback(self.url)

    def fetch_token(self, environment: Mapping[str, str]) -> str:
        """Gets a token: given outright, from the environment, or from the profile's command.

        Raises:
            Refused: there is none to be had.
        """
        if self.token:
            return self.token
        if self.token_env:
            token = environment.get(self.token_env, "").strip()
            if not token:
                raise Refused(f"{self.token_env} is not set", f"put a token into it: the profile {self.name} takes its token from there")
            return token
        if self.token_command:
            return _from_command(self.token_command)
        raise Refused(f"the profile {self.name} names no way to a token", "give it token_command or token_env, or set STOCKTAKE_TOKEN")


def config_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Names the file of the profiles: $STOCKTAKE_CONFIG, else `config.toml` in the platform's folder for settings."""
    named = environment.get("STOCKTAKE_CONFIG")
    return Path(named) if named else Path(click.get_app_dir("stocktake")) / "config.toml"


def read_profiles(path: Path) -> tuple[dict[str, dict[str, Any]], str]:
    """Reads the profiles by name, and the name of the default one, "" where none is.

    Raises:
        Misused: the file is no TOML, or holds what no profile has.
    """
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}, ""
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misused(f"{path} cannot be read: {error}", "correct the file") from error
    profiles = document.get("profiles", {})
    for unknown in set(document) - {"default", "profiles"}:
        raise Misused(f"{path} has the unknown field {unknown!r}", "it may have `default` and tables [profiles.NAME]")
    for name, profile in profiles.items():
        for unknown in set(profile) - set(_FIELDS):
            raise Misused(f"the profile {name} has the unknown field {unknown!r}", f"it may have: {', '.join(_FIELDS)}")
    return profiles, str(document.get("default", ""))


def choose(name: str | None, environment: Mapping[str, str], *, here: Path | None = None) -> Profile:
    """Finds the profile that is meant: named, else $STOCKTAKE_PROFILE, else of $STOCKTAKE_URL, else the file's default.

    Args:
        here: from where a local stack is looked for, upwards; the working directory.

    Raises:
        Misused: there is no such profile, or none is named and there is no default.
    """
    profiles, default = read_profiles(config_file(environment))
    url = environment.get("STOCKTAKE_URL", "")
    wanted = name or environment.get("STOCKTAKE_PROFILE", "") or ("" if url else default)
    token = environment.get("STOCKTAKE_TOKEN", "")
    if wanted in profiles:
        return _profile(wanted, profiles[wanted], token)
    if wanted == LOCAL:
        return _local(_described(environment, here or Path.cwd()), token)
    if wanted:
        known = ", ".join(sorted({*profiles, LOCAL}))
        raise Misused(f"there is no profile {wanted!r}", f"there are: {known}; they are in {config_file(environment)}")
    if url:
        return _profile("environment", {"url": url}, token)
    raise Misused(
        "no deployment is named",
        f"give --profile (`local` is the stack of `make up`), set STOCKTAKE_URL, or write a default into {config_file(environment)}",
    )


def local_stack(environment: Mapping[str, str], here: Path) -> Path | None:
    """Finds the description of the local stack that runs: of $STOCKTAKE_HOME, of a folder above `here`, of the sources; or None."""
    homes = (
        [Path(home)] if (home := environment.get("STOCKTAKE_HOME")) else [folder / ".local" for folder in (here, *here.parents, SOURCES)]
    )
    return next((file for file in (home / "stack.json" for home in homes) if file.is_file()), None)


def _described(environment: Mapping[str, str], here: Path) -> dict[str, Any]:
    file = local_stack(environment, here)
    if file is None:
        raise Misused("no local stack runs", "start it with `make up`, in the folder of the sources")
    described: dict[str, Any] = json.loads(file.read_text())
    return described


def _local(described: Mapping[str, Any], token: str) -> Profile:
    return Profile(
        LOCAL,
        url=described["api_url"].rstrip("/"),
        token=token or described["token"],
        stack=described["stack_name"],
        # made up, and the same for every local stack
        aws={
            "AWS_ENDPOINT_URL": described["endpoint"],
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
    )


def _profile(name: str, fields: Mapping[str, Any], token: str) -> Profile:
    url = str(fields.get("url", "")).rstrip("/")
    parts = urlsplit(url)
    if url and parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(url)):
        raise Misused(f"the url of the profile {name} must begin with https://", "a token is sent to nothing that anyone could listen to")
    aws = {
        variable: str(fields[field])
        for variable, field in (("AWS_PROFILE", "aws_profile"), ("AWS_DEFAULT_REGION", "region"), ("AWS_ENDPOINT_URL", "endpoint_url"))
        if fields.get(field)
    }
    return Profile(
        name,
        url=url,
        token_command=str(fields.get("token_command", "")),
        token_env=str(fields.get("token_env", "")),
        token=token,
        stack=str(fields.get("stack", "")),
        aws=aws,
        settings={key: str(value) for key, value in fields.get("settings", {}).items()},
    )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost")


def _from_command(command: str) -> str:
    try:
        ran = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, timeout=_LOGIN_SECONDS, check=True, text=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Refused(f"the profile's token_command failed: {error}", "run it by hand and see what it says") from error
    if not (token := ran.stdout.strip()):
        raise Refused("the profile's token_command printed nothing", "it must print a token, and nothing besides, on standard output")
    return token
