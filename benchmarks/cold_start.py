"""What a cold start pays: the layers' size, and the CPU a fresh interpreter spends importing each handler as built."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from pathlib import Path

from benchmarks.figures import Figure
from tools.rie import handlers
from tools.stack import Settings, stack_bin
from tools.stack.deployment import BUILT
from tools.stack.lifecycle import build_all

RUNS = 5
MEGABYTE = 1_000_000
_MEASURE = """
import json, sys, time
sys.path[:0] = sys.argv[2:]
began = time.process_time()
__import__(sys.argv[1])
print(json.dumps(time.process_time() - began))
"""


def figures() -> list[Figure]:
    """Measures the built artefacts, building what has changed."""
    build_all(Settings.from_environment())
    layer = BUILT / "CoreLayer" / "python"
    measured = [
        Figure("layer, unzipped", _size(layer) / MEGABYTE, "MB", 60, "lower"),
        Figure("layer of the step that sorts inventories, unzipped", _size(BUILT / "ParquetLayer") / MEGABYTE, "MB", 40, "lower"),
    ]
    modules = sorted({(handler.partition(".")[0], function) for function, handler in handlers().items()})
    for module in dict.fromkeys(module for module, _ in modules):
        function = next(function for name, function in modules if name == module)
        taken = [_import(module, str(BUILT / function), str(layer)) for _ in range(RUNS)]
        measured.append(Figure(f"cold import of {module}", statistics.median(taken) * 1000, "CPU ms", 400, "lower"))
    return measured


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _import(module: str, *paths: str) -> float:
    # -I -S: nothing of this machine; -X frozen_modules stays as Lambda has it
    command = [str(stack_bin() / "python"), "-I", "-S", "-c", _MEASURE, module, *paths]
    environment = {"PATH": os.environ.get("PATH", ""), "AWS_REGION": "us-east-1"}
    return float(json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout))
