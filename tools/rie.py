"""Runs a built function under the genuine Lambda runtime, without Docker.

aws-sam-cli ships AWS's Runtime Interface Emulator and PyPI has AWS's runtime client: together they start the handler as Lambda does, in a
process that sees the built function, its built layers and the standard library, and nothing else of this machine.

    python -m tools.rie UploadFunction events/upload/put_markup.json

builds what has changed and runs that function once with the settings it has in the running local stack (`make up`), and with its token.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tools.stack import Settings, Stack, StackError, stack_bin
from tools.stack.access import with_token
from tools.stack.deployment import BUILT
from tools.stack.lifecycle import build_all
from tools.stack.settings import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY

# What the image has beside the runtime's own standard library; the client's two helpers are pure Python.
RUNTIME_PACKAGES = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")


class Emulator:
    """One execution environment of one function: a context manager, warm from its first invocation to its end.

    Args:
        function: the name of a function in the template, such as "UploadFunction", built beforehand.
        environment: the function's environment variables; credentials and the AWS endpoint too, where it calls AWS.
        timeout: seconds of one invocation, as the handler's context tells them.
        memory: megabytes, as the context tells them; not enforced.
    """

    def __init__(self, function: str, environment: Mapping[str, str], *, timeout: int = 30, memory: int = 1024) -> None:
        self.function = function
        self.handler = handlers()[function]
        self._environment = dict(environment)
        self._limits = {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout), "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory)}
        self._timeout = timeout
        self._folder = tempfile.TemporaryDirectory(prefix="stocktake-rie-")
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, stack: Stack, function: str, **settings: str) -> Self:
        """Makes the environment that a function has in a running stack: its settings but those given, its limits, and that stack's AWS."""
        configuration = stack.aws("lambda").get_function_configuration(FunctionName=stack.resources[function])
        environment = configuration.get("Environment", {}).get("Variables", {}) | {
            "AWS_ENDPOINT_URL": stack.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        }
        return cls(function, environment | settings, timeout=configuration["Timeout"], memory=configuration["MemorySize"])

    def __enter__(self) -> Self:
        site = next((stack_bin().parent / "lib").glob("python3*/site-packages"))
        packages = Path(self._folder.name) / "runtime"
        packages.mkdir()
        for entry in site.iterdir():
            if entry.name.split(".")[0] in RUNTIME_PACKAGES:
                (packages / entry.name).symlink_to(entry)
        code = BUILT / self.function
        found = [str(BUILT / layer / "python") for layer in layers(self.function)]
        self._port = _free_port()
        self.log = Path(self._folder.name) / "log"
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    str(_emulator(site)),
                    "--log-level=error",
                    f"--runtime-interface-emulator-address=127.0.0.1:{self._port}",
                    f"--runtime-api-address=127.0.0.1:{_free_port()}",
                    str(stack_bin() / "python"),
                    "-S",  # without this machine's packages: the layer has to be enough
                    "-m",
                    "awslambdaric",
                    self.handler,
                ],
                cwd=code,
                env={
                    "PATH": "/usr/bin:/bin",
                    "LANG": "C.UTF-8",
                    "TZ": ":UTC",
                    "PYTHONPATH": os.pathsep.join([str(code), *found, str(packages)]),
                    "LAMBDA_TASK_ROOT": str(code),
                    "AWS_LAMBDA_FUNCTION_NAME": self.function,
                    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
                    **self._limits,
                    **self._environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while not _listens(self._port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")
                self.__exit__(None, None, None)
                raise StackError(f"the Lambda emulator did not start: {said}")
            time.sleep(0.02)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # the emulator and the runtime it started: the session is theirs alone
            self._process.wait()
        self._folder.cleanup()

    def invoke(self, event: Any) -> Any:
        """Hands the handler an event; returns what it returned, or Lambda's own {"errorType", "errorMessage", ...} when it raised."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/2015-03-31/functions/function/invocations", data=json.dumps(event).encode(), method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout + 15) as answer:  # loopback only
                body = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        try:
            return json.loads(body)
        except ValueError:
            raise StackError(f"{self.function} ended without an answer: {body.decode(errors='replace')} {self.logs()}") from None

    def logs(self) -> str:
        """What the function has written so far."""
        return self.log.read_text(errors="replace")


def handlers() -> dict[str, str]:
    """Reads from the built template which handler each function has."""
    return {
        name: resource["Properties"]["Handler"]
        for name, resource in _built_template()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def layers(function: str) -> list[str]:
    """Reads from the built template which layers a function has: those of all functions, then its own."""
    template = _built_template()
    own = template["Resources"][function]["Properties"].get("Layers", [])
    return [layer["Ref"] for layer in [*template["Globals"]["Function"]["Layers"], *own]]


def _built_template() -> dict[str, Any]:
    template: dict[str, Any] = yaml.safe_load((BUILT / "template.yaml").read_text())
    return template


def _emulator(site: Path) -> Path:
    """The emulator for this machine.

    Raises:
        StackError: AWS builds it for Linux alone.
    """
    architecture = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())
    if platform.system() != "Linux" or architecture is None:
        raise StackError("the Lambda emulator runs on Linux, x86_64 or arm64")
    return site / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{architecture}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main(arguments: list[str]) -> int:
    """Runs one function once; prints its answer on standard output and its log on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tools.rie", description="Run a built function under the genuine Lambda runtime.")
    parser.add_argument("function", help="its name in template.yaml, such as UploadFunction")
    parser.add_argument("event", type=Path, help="a file of events/")
    options = parser.parse_args(arguments)
    try:
        stack = Stack.running()
        build_all(Settings.from_environment())
        if options.function not in handlers():
            raise StackError(f"there is no function {options.function}; there are: {', '.join(sorted(handlers()))}")
        with Emulator.of(stack, options.function) as emulator:
            event = with_token(json.loads(options.event.read_text()), stack.token)
            print(json.dumps(emulator.invoke(event), indent=1, ensure_ascii=False))
            print(emulator.logs(), file=sys.stderr, end="")
    except (StackError, OSError, ValueError) as error:
        print(f"rie: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
