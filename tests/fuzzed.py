"""The API asked by schemathesis, by the document it serves: ordinary requests and broken ones, each answer held to the document."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]

# The same requests every time: what is found today is found tomorrow, and what is not found is not found by chance.
_CONFIGURATION = """
seed = 1
workers = 2
request-timeout = 35
max-redirects = 0
hooks = "tests.fuzzed_bodies"
[auth.openapi.bearer]
bearer = "{token}"
[generation]
deterministic = true
# a header that nobody knows is ignored, as HTTP wants it
allow-extra-parameters = false
max-examples = 6
no-shrink = true
database = "none"
# nothing is left in the tree, and no run depends on the one before
[cache]
enabled = false
[phases.stateful]
enabled = false
[phases.coverage]
unexpected-methods = []
# API Gateway answers 404 to a method that is not here, where 405 would be right, and lets nobody answer otherwise
[checks.unsupported_method]
enabled = false
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "410", "412", "416", "422"]
"""

# What is valid by its schema may be refused all the same, for what no schema says.
_MAY_REFUSE = {
    "createObject": "bytes that are of no type, or of another than was said",
    "importObject": "a URL that is not fetched",
    "beginUpload": "neither sha256 nor part_bytes, or both",
    "signParts": "a number named twice",
    "reportGeneration": "an error of a job that runs on",
    "listObjects": "a cursor that was not given out",
    "listGenerations": "a cursor that was not given out",
    "listFindings": "a cursor that was not given out",
    "listChanges": "a cursor that was not given out",
    "listCountsByProject": "a cursor that was not given out",
    "listActions": "a cursor that was not given out",
    "listAcknowledgements": "a cursor that was not given out",
    "listQuarantine": "a cursor that was not given out",
    "listRemaining": "a cursor that was not given out",
    "diagnoseDiscovery": "a cursor that was not given out",
    "diagnoseObject": "neither key nor object_id, or both",
    "listMigrationResults": "a cursor that was not given out",
    "deleteProject": "a cursor without the dry run that it is of",
    "startReconciliation": "an inventory that is not there",
    "createMigration": "what is said of a source that is not there",
    "completeUpload": "hashes that are not one a part, bytes that are of no type",
    "abortUpload": "one that is complete",
    "createGeneration": "98.0, which is an integer to JSON Schema and none to us",
    "setQuota": "the same",
    "createProject": "the one name that cannot be told from others, proj",
}


# What breaks its schema is refused, but not as a whole.
_MAY_ACCEPT = {"createObjects": "each item has its own answer, also where the project is none"}


def fuzz(
    url: str, token: str, headers: Mapping[str, str], ids: Mapping[str, Sequence[str]], home: Path
) -> subprocess.CompletedProcess[str]:
    """Runs schemathesis over every operation.

    Args:
        url: where the API answers.
        token: one that may everything.
        headers: of every request.
        ids: what is there, by path parameter; under `OPERATION.PARAMETER`, what this operation alone is given.
    """
    configuration = home / "schemathesis.toml"
    configuration.write_text(_CONFIGURATION.replace("{token}", token) + _given(ids))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run", "docs/openapi.json", "--url", url]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers" / "core")]), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def _given(ids: Mapping[str, Sequence[str]]) -> str:
    """Writes which ids are asked for, three times out of four: of what is not there there is enough."""
    alone: dict[str, dict[str, str]] = {operation: {} for operation in (*_MAY_REFUSE, *_MAY_ACCEPT)}
    text = ["[parameters]"]
    for name in ids:
        operation, dot, parameter = name.rpartition(".")
        binding = f'"path.{parameter}" = {{dictionary = "{name.replace(".", "-")}", probability = 0.75}}'
        if dot:
            alone.setdefault(operation, {})[parameter] = binding
        else:
            text.append(binding)
    for operation, bindings in alone.items():
        text += ["[[operations]]", f'include-operation-id = "{operation}"', "[operations.parameters]", *bindings.values()]
        if operation in _MAY_REFUSE:
            text += ["[operations.checks.positive_data_acceptance]", "enabled = false"]
        if operation in _MAY_ACCEPT:
            text += ["[operations.checks.negative_data_rejection]", "enabled = false"]
    for name, values in ids.items():
        text += [f"[dictionaries.{name.replace('.', '-')}]", f"values = {list(values)}"]
    return "\n".join(text) + "\n"
